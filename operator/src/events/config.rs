//! Pure: where events go, as an installation lists it in a file.

use std::path::PathBuf;

use serde::Deserialize;

use crate::jsonl::Rotation;
use crate::settings::LineSink;

/// What the sources of the guides begin with: `aws.one` and `aws.monitron`.
pub const GUIDES: &str = "aws";

/// What sources begin with where AWS keeps those of the guides for itself, unless it is listed otherwise.
const OURS: &str = "fleetform";

/// Longest name of a sink.
const LONGEST_NAME: usize = 40;

/// Size at which a file is rotated, unless it is listed otherwise.
const ROTATE_MIB: u64 = 100;

/// How many rotated files are kept, unless it is listed otherwise.
const KEEP: usize = 10;

/// One sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkSettings {
    /// How it is called in metrics and logs, and where it goes on after a restart.
    pub name: String,
    /// Whether what a device tells is acknowledged only when this sink has it.
    pub required: bool,
    /// What the sources of its events begin with, in the place of `aws`.
    pub source: String,
    /// Where its events go.
    pub target: Target,
}

/// Where events go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// JSON documents, one a line.
    JsonLines {
        /// Where to.
        to: LineSink,
        /// When a file is rotated.
        rotation: Rotation,
    },
    /// A receiver of `CloudEvents`.
    CloudEvents {
        /// Where it is.
        url: String,
        /// How events are written for it.
        mode: Mode,
        /// A file with the value of the header `Authorization`.
        authorization: Option<PathBuf>,
    },
    /// An event bus of Amazon EventBridge.
    EventBridge {
        /// Its name or ARN.
        bus: String,
        /// Its region; that of the installation when none is listed.
        region: Option<String>,
    },
    /// Kubernetes Events about the objects, for people.
    KubernetesEvents,
}

/// How `CloudEvents` are written (HTTP protocol binding, 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Mode {
    /// One in each request, as one JSON document.
    #[default]
    Structured,
    /// One in each request, with its attributes in headers.
    Binary,
    /// Many in each request, as a JSON array.
    Batched,
}

/// What is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sinks {
    /// Where events go.
    pub sinks: Vec<SinkSettings>,
    /// A file for what a sink refuses for good.
    pub dead_letters: Option<PathBuf>,
}

impl Sinks {
    /// The names of those that are required.
    pub fn required(&self) -> impl Iterator<Item = &str> {
        self.sinks.iter().filter(|sink| sink.required).map(|sink| sink.name.as_str())
    }
}

/// A list that cannot be meant.
#[derive(Debug, thiserror::Error)]
pub enum NoSinks {
    /// It does not read as what it is to be.
    #[error("{0}")]
    Malformed(String),
    /// An entry is wrong: which field, and what to do.
    #[error("sinks[{index}]{field}: {why}")]
    Entry {
        /// Its place.
        index: usize,
        /// Which of its fields, with a dot before it.
        field: &'static str,
        /// What is wrong, and what to do.
        why: String,
    },
    /// Nobody could tell what was refused.
    #[error("deadLetters: a sink writes into this file: choose another one")]
    DeadLetters,
    /// What a device tells would be acknowledged before anybody has it.
    #[error(
        "sinks: none but Kubernetes Events is required, so that what devices tell could be lost: set required of another one to true"
    )]
    NoneRequired,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct List {
    sinks: Vec<Entry>,
    dead_letters: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default = "yes")]
    required: bool,
    source: Option<String>,
    json_lines: Option<JsonLines>,
    cloud_events: Option<CloudEvents>,
    event_bridge: Option<EventBridge>,
    kubernetes_events: Option<KubernetesEvents>,
}

const fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JsonLines {
    path: Option<PathBuf>,
    #[serde(rename = "rotateMiB")]
    rotate_mib: Option<u64>,
    keep: Option<usize>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CloudEvents {
    url: String,
    #[serde(default)]
    mode: Mode,
    authorization_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct EventBridge {
    bus: Option<String>,
    region: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KubernetesEvents {}

/// When files are rotated, unless it is listed otherwise.
pub const ROTATION: Rotation = Rotation { bytes: ROTATE_MIB << 20, keep: KEEP };

/// Standard output, and nothing else: where nothing is listed.
pub fn standard_output() -> Sinks {
    let target = Target::JsonLines { to: LineSink::Stdout, rotation: ROTATION };
    let sink = SinkSettings { name: "stdout".to_owned(), required: true, source: GUIDES.to_owned(), target };
    Sinks { sinks: vec![sink], dead_letters: None }
}

/// Reads a list, in YAML or JSON.
pub fn read(text: &str) -> Result<Sinks, NoSinks> {
    let list: List = serde_saphyr::from_str(text).map_err(|error| NoSinks::Malformed(error.to_string()))?;
    let mut sinks: Vec<SinkSettings> = Vec::new();
    for (index, entry) in list.sinks.into_iter().enumerate() {
        let wrong = |field, why: &str| NoSinks::Entry { index, field, why: why.to_owned() };
        let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=LONGEST_NAME).contains(&entry.name.len()) || !entry.name.chars().all(is_letter) {
            return Err(wrong(".name", "1 to 40 lower case letters, digits and hyphens"));
        }
        if sinks.iter().any(|other| other.name == entry.name) {
            return Err(wrong(".name", "another sink is called so: a sink goes on by its name after a restart"));
        }
        let (lines, events, bus) = (entry.json_lines, entry.cloud_events, entry.event_bridge);
        let (target, usual) = match (lines, events, bus, entry.kubernetes_events) {
            (Some(lines), None, None, None) => (lines.target(index)?, GUIDES),
            (None, Some(events), None, None) => (events.target(index)?, GUIDES),
            (None, None, Some(EventBridge { bus, region }), None) => {
                let bus = bus.unwrap_or_else(|| "default".to_owned());
                (Target::EventBridge { bus, region }, OURS)
            }
            (None, None, None, Some(KubernetesEvents {})) => (Target::KubernetesEvents, GUIDES),
            _ => {
                let why = "say where its events go, by one of: jsonLines, cloudEvents, eventBridge, kubernetesEvents";
                return Err(wrong("", why));
            }
        };
        if sinks.iter().any(|other| other.target == target || other.target.shares_a_file_with(&target)) {
            return Err(wrong("", "another sink writes there"));
        }
        let source = entry.source.unwrap_or_else(|| usual.to_owned());
        if !is_source(&source) {
            return Err(wrong(".source", "1 to 64 letters, digits and . _ / -"));
        }
        let is_taken = source == GUIDES || source.starts_with("aws.");
        if is_taken && matches!(target, Target::EventBridge { .. }) {
            return Err(wrong(
                ".source",
                "EventBridge takes no sources that begin with aws.: choose another, such as fleetform",
            ));
        }
        sinks.push(SinkSettings { name: entry.name, required: entry.required, source, target });
    }
    // Kubernetes Events are never told of people.
    let is_dead_letters = |sink: &SinkSettings| matches!(&sink.target, Target::JsonLines { to: LineSink::File(path), .. } if Some(path) == list.dead_letters.as_ref());
    if sinks.iter().any(is_dead_letters) {
        return Err(NoSinks::DeadLetters);
    }
    if !sinks.iter().any(|sink| sink.required && sink.target != Target::KubernetesEvents) {
        return Err(NoSinks::NoneRequired);
    }
    Ok(Sinks { sinks, dead_letters: list.dead_letters })
}

impl JsonLines {
    fn target(self, index: usize) -> Result<Target, NoSinks> {
        let wrong = |field, why: &str| NoSinks::Entry { index, field, why: why.to_owned() };
        let (rotate_mib, keep) = (self.rotate_mib.unwrap_or(ROTATE_MIB), self.keep.unwrap_or(KEEP));
        if !(1..=1 << 20).contains(&rotate_mib) {
            return Err(wrong(".jsonLines.rotateMiB", "1 to 1048576"));
        }
        if !(1..=1000).contains(&keep) {
            return Err(wrong(".jsonLines.keep", "1 to 1000"));
        }
        let to = self.path.map_or(LineSink::Stdout, LineSink::File);
        Ok(Target::JsonLines { to, rotation: Rotation { bytes: rotate_mib << 20, keep } })
    }
}

impl CloudEvents {
    fn target(self, index: usize) -> Result<Target, NoSinks> {
        let is_url = self.url.parse::<axum::http::Uri>().is_ok_and(|url| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.authority().is_some_and(|host| !host.as_str().contains('@'))
        });
        if !is_url {
            let why =
                "must be https://host/path or http://host/path, without a password: that is for authorizationFile"
                    .to_owned();
            return Err(NoSinks::Entry { index, field: ".cloudEvents.url", why });
        }
        if self.authorization_file.is_some() && !self.url.starts_with("https://") {
            let why = "authorizationFile takes https: a secret is not sent in the clear".to_owned();
            return Err(NoSinks::Entry { index, field: ".cloudEvents.url", why });
        }
        Ok(Target::CloudEvents { url: self.url, mode: self.mode, authorization: self.authorization_file })
    }
}

impl Target {
    fn shares_a_file_with(&self, other: &Self) -> bool {
        matches!((self, other), (Self::JsonLines { to: one, .. }, Self::JsonLines { to: two, .. }) if one == two)
    }
}

fn is_source(text: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-');
    (1..=64).contains(&text.len()) && text.chars().all(is_letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_read_with_what_is_usual() {
        let sinks = read("sinks:\n- name: file\n  jsonLines: { path: /var/lib/events.jsonl }\n").unwrap();
        let target = Target::JsonLines {
            to: LineSink::File("/var/lib/events.jsonl".into()),
            rotation: Rotation { bytes: 100 << 20, keep: 10 },
        };
        assert_eq!(sinks.dead_letters, None);
        assert_eq!(sinks.sinks, [SinkSettings { name: "file".into(), required: true, source: "aws".into(), target }]);
        let listed = read(
            "deadLetters: /d\nsinks:\n- { name: out, jsonLines: {}, required: false }\n- { name: file, source: example.fleet, jsonLines: { path: a, rotateMiB: 1, keep: 2 } }\n- { name: bus, eventBridge: { bus: fleet, region: eu-west-1 } }\n",
        )
        .unwrap();
        let several = &listed.sinks;
        assert_eq!(listed.dead_letters, Some("/d".into()));
        let bus = Target::EventBridge { bus: "fleet".into(), region: Some("eu-west-1".into()) };
        assert_eq!((several[2].source.as_str(), &several[2].target), ("fleetform", &bus));
        assert_eq!((several[0].required, several[1].source.as_str()), (false, "example.fleet"));
        assert_eq!(standard_output().sinks.len(), 1);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_its_field() {
        for (text, told) in [
            ("{}", "sinks"),
            ("sinks: []", "is required"),
            ("sinks: [{ name: a, jsonLines: {}, required: false }]", "is required"),
            ("sinks: [{ name: A, jsonLines: {} }]", "sinks[0].name"),
            ("sinks: [{ name: a, kubernetesEvents: {} }]", "none but Kubernetes Events is required"),
            ("sinks: [{ name: a, kubernetesEvents: {} }, { name: b, kubernetesEvents: {} }]", "sinks[1]: another sink"),
            ("sinks: [{ name: a }]", "sinks[0]: say where"),
            ("sinks: [{ name: a, jsonLines: {} }, { name: a, jsonLines: { path: b } }]", "sinks[1].name: another sink"),
            (
                "sinks: [{ name: a, jsonLines: { path: b } }, { name: c, jsonLines: { path: b } }]",
                "sinks[1]: another sink",
            ),
            ("sinks: [{ name: a, eventBridge: {} }, { name: b, eventBridge: {} }]", "sinks[1]: another sink"),
            ("sinks: [{ name: a, source: aws, eventBridge: {} }]", "sinks[0].source: EventBridge"),
            ("sinks: [{ name: a, source: aws.fleet, eventBridge: {} }]", "sinks[0].source: EventBridge"),
            ("sinks: [{ name: a, cloudEvents: { url: events.example.com } }]", "sinks[0].cloudEvents.url"),
            ("sinks: [{ name: a, cloudEvents: { url: 'https://a:b@c' } }]", "sinks[0].cloudEvents.url"),
            ("sinks: [{ name: a, cloudEvents: { url: 'http://c', authorizationFile: f } }]", "https"),
            ("sinks: [{ name: a, jsonLines: {}, eventBridge: {} }]", "sinks[0]: say where"),
            ("sinks: [{ name: a, jsonLines: { rotateMiB: 0 } }]", "sinks[0].jsonLines.rotateMiB"),
            ("sinks: [{ name: a, jsonLines: { keep: 0 } }]", "sinks[0].jsonLines.keep"),
            ("sinks: [{ name: a, source: 'a b', jsonLines: {} }]", "sinks[0].source"),
            ("sinks: [{ name: a, jsonLine: {} }]", "jsonLine"),
            ("deadLetters: b\nsinks: [{ name: a, jsonLines: { path: b } }]", "deadLetters"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
