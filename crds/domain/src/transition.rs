//! Pure: health and connectivity of a device, and the record of how they changed.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether all health checks of a device passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Health {
    /// All health checks passed.
    Healthy,
    /// One or more health checks failed.
    Critical,
}

/// Whether a device reports to its gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Connectivity {
    /// The device checked in when it was due.
    Connected,
    /// The device is silent. It reconnects by itself.
    Disconnected,
}

/// One change of health or connectivity: the fact that an event is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Transition {
    /// Counts the transitions of one device instance, from 1.
    #[schemars(range(min = 1))]
    pub sequence: i64,
    /// When the change was seen (RFC 3339).
    #[schemars(with = "String", extend("format" = "date-time"))]
    pub time: Timestamp,
    /// Asset tag of the hardware that changed: by the time its event is delivered another one may be in its place.
    #[schemars(length(max = 64))]
    #[serde(default)]
    pub asset_tag_id: String,
    /// What changed to what.
    #[serde(flatten)]
    pub change: Change,
}

/// What changed to what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum Change {
    /// Health.
    Health {
        /// Before.
        previous: Health,
        /// After.
        current: Health,
    },
    /// Connectivity.
    Connectivity {
        /// Before.
        previous: Connectivity,
        /// After.
        current: Connectivity,
    },
}

// Written by hand: a structural schema (what Kubernetes takes) has no room for a tagged union.
impl JsonSchema for Change {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Change".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let value = |text: &str| {
            serde_json::json!({
                "description": text,
                "type": "string",
                "enum": ["HEALTHY", "CRITICAL", "CONNECTED", "DISCONNECTED"],
            })
        };
        schemars::json_schema!({
            "type": "object",
            "required": ["kind", "previous", "current"],
            "properties": {
                "kind": { "description": "What changed.", "type": "string", "enum": ["Health", "Connectivity"] },
                "previous": value("The value before."),
                "current": value("The value after."),
            },
        })
    }
}

/// How many transitions an object keeps. What is older may only go once it is told, or kept elsewhere.
pub const KEPT_TRANSITIONS: usize = 32;

/// How many transitions a device gets in an hour before it counts as flapping: one hostile or broken device must not
/// exhaust the API server.
pub const TRANSITIONS_PER_HOUR: usize = 6;

/// Whether another transition may be recorded now, or when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance {
    /// It may.
    Granted,
    /// The device is flapping; the next may be recorded then.
    Flapping {
        /// When the oldest of the last hour's transitions is an hour old.
        until: Timestamp,
    },
}

/// Whether the transitions so far leave room for another one at `now`. The writes are counted, not the facts: health and
/// connectivity that change together are stored together.
pub fn allowance(transitions: &[Transition], now: Timestamp) -> Allowance {
    let hour = SignedDuration::from_hours(1);
    let mut times: Vec<Timestamp> =
        transitions.iter().map(|t| t.time).filter(|time| now.duration_since(*time) < hour).collect();
    times.dedup();
    if times.len() < TRANSITIONS_PER_HOUR {
        return Allowance::Granted;
    }
    let oldest_that_counts = times[times.len() - TRANSITIONS_PER_HOUR];
    Allowance::Flapping { until: oldest_that_counts + hour }
}

/// Adds `changes` of the hardware `asset_tag` at `now` to the record, which may then exceed [`KEPT_TRANSITIONS`].
pub fn record(
    transitions: &mut Vec<Transition>,
    changes: impl IntoIterator<Item = Change>,
    asset_tag: &str,
    now: Timestamp,
) {
    for change in changes {
        let sequence = transitions.last().map_or(0, |last| last.sequence) + 1;
        transitions.push(Transition { sequence, time: now, asset_tag_id: asset_tag.to_owned(), change });
    }
}

/// Since when the device is disconnected, if the last change of its connectivity says that it is. Oldest transitions first.
pub fn disconnected_since(transitions: &[Transition]) -> Option<Timestamp> {
    let last = transitions.iter().rev().find_map(|transition| match transition.change {
        Change::Connectivity { current, .. } => Some((current, transition.time)),
        Change::Health { .. } => None,
    });
    last.filter(|(now, _)| *now == Connectivity::Disconnected).map(|(_, time)| time)
}

/// Since when the device is critical, if the last change of its health says that it is. Oldest transitions first.
pub fn critical_since(transitions: &[Transition]) -> Option<Timestamp> {
    let last = transitions.iter().rev().find_map(|transition| match transition.change {
        Change::Health { current, .. } => Some((current, transition.time)),
        Change::Connectivity { .. } => None,
    });
    last.filter(|(now, _)| *now == Health::Critical).map(|(_, time)| time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + second).unwrap()
    }

    fn lost() -> Change {
        Change::Connectivity { previous: Connectivity::Connected, current: Connectivity::Disconnected }
    }

    #[test]
    fn the_seventh_write_of_an_hour_waits_until_the_first_is_an_hour_old() {
        let mut transitions = Vec::new();
        for n in 0..6 {
            assert_eq!(allowance(&transitions, at(n * 60)), Allowance::Granted);
            record(&mut transitions, [lost(), lost()], "1", at(n * 60));
        }
        assert_eq!(allowance(&transitions, at(360)), Allowance::Flapping { until: at(3600) });
        assert_eq!(allowance(&transitions, at(3600)), Allowance::Granted);
    }

    #[test]
    fn sequences_go_on_when_old_transitions_are_dropped() {
        let mut transitions = Vec::new();
        for n in 0..50 {
            record(&mut transitions, [lost()], "1", at(n));
            transitions.drain(..transitions.len().saturating_sub(3));
        }
        assert_eq!(transitions.last().unwrap().sequence, 50);
    }

    #[test]
    fn a_transition_is_flat_json() {
        let transition = Transition { sequence: 1, time: at(0), asset_tag_id: "0000195169".into(), change: lost() };
        let json = serde_json::to_value(transition).unwrap();
        assert_eq!(
            json,
            serde_json::json!({"sequence": 1, "time": "2023-11-14T22:13:20Z", "assetTagId": "0000195169", "kind": "Connectivity",
                "previous": "CONNECTED", "current": "DISCONNECTED"})
        );
    }
}
