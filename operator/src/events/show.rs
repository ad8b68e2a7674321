//! Events for a person to read: `fleetform events`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use fleetform_domain::event::{DeviceChange, Event, MachineChange, Source};
use jiff::Timestamp;

/// How often a file that is followed is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Which events are shown. What is not said is any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of the display name of the site, whatever its case.
    pub site: Option<String>,
    /// Part of the display name of the device or machine, or the id of a device instance, whatever its case.
    pub device: Option<String>,
    /// Part of the type, whatever its case.
    pub detail_type: Option<String>,
    /// From then on.
    pub since: Option<Timestamp>,
    /// Before then.
    pub until: Option<Timestamp>,
}

/// How events are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Form {
    /// One in each line, in columns. Badge numbers are left out.
    #[default]
    Table,
    /// As they are, one in each line.
    Json,
}

impl Filter {
    fn lets_through(&self, event: &Event) -> bool {
        let row = Row::of(event);
        let holds = |wanted: &Option<String>, found: &[&str]| {
            wanted.as_ref().is_none_or(|wanted| {
                let wanted = wanted.to_lowercase();
                found.iter().any(|found| found.to_lowercase().contains(&wanted))
            })
        };
        let arns: Vec<String> = event.resources.iter().map(ToString::to_string).collect();
        let mut who: Vec<&str> = vec![&row.who];
        who.extend(arns.iter().filter_map(|arn| arn.rsplit_once('/').map(|(_, id)| id)));
        let is_timely = |time: Timestamp| {
            self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
        };
        holds(&self.site, &[&row.site])
            && holds(&self.device, &who)
            && holds(&self.detail_type, &[&event.detail_type])
            && ((self.since.is_none() && self.until.is_none()) || event.time.parse().is_ok_and(is_timely))
    }
}

/// An event as a line.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    site: String,
    who: String,
    note: String,
}

impl Row {
    fn of(event: &Event) -> Self {
        if let Some(detail) = event.device() {
            let note = match detail.data.change {
                DeviceChange::Health { previous_health_status, .. } => format!("before: {previous_health_status:?}"),
                DeviceChange::Connectivity { previous_connectivity, .. } => {
                    format!("before: {previous_connectivity:?}")
                }
            };
            let (site, who) = (detail.metadata.site_name.clone(), detail.data.device_instance_name.clone());
            return Self { site, who, note: format!("{note}, asset tag {}", detail.data.asset_tag_id) };
        }
        if let Some(detail) = event.machine() {
            let note = match &detail.data.change {
                MachineChange::State { cause: Some(cause), .. } => cause.clone(),
                MachineChange::State { previous_state: Some(previous), .. } => format!("before: {previous:?}"),
                MachineChange::State { .. } => String::new(),
                MachineChange::Phase { resolution: Some(codes), .. } => {
                    format!("{:?}, {:?}: {:?}", codes.failure_mode, codes.failure_cause, codes.action)
                }
                MachineChange::Phase { previous_phase, .. } => format!("before: {previous_phase:?}"),
            };
            let who = format!("{} {}", detail.data.asset_name, detail.data.position);
            return Self { site: detail.metadata.site_name.clone(), who, note };
        }
        let data = event.person().map(|detail| &detail.data);
        let who = data.map(|data| match &data.source {
            Source::Enrollment { enrollment_source, .. } => enrollment_source.clone(),
            Source::Request { request_source, .. } => request_source.clone(),
        });
        let note = data.and_then(|data| data.reason.clone());
        Self { site: String::new(), who: who.unwrap_or_default(), note: note.unwrap_or_default() }
    }
}

/// What stands above a table.
pub const TITLE: &str = "TIME                  SITE                  DEVICE                TYPE                                      NOTE\n";

fn line(event: &Event, form: Form) -> String {
    match form {
        Form::Json => serde_json::to_string(event).expect("what was read is written") + "\n",
        Form::Table => {
            let Row { site, who, note } = Row::of(event);
            let shown = [&site, &who].map(|text| cell(text));
            let [site, who] = shown;
            let line = format!("{:<20}  {site}  {who}  {:<40}  {}", event.time, event.detail_type, clean(&note));
            line.trim_end().to_owned() + "\n"
        }
    }
}

/// A text in a column: what a terminal could take for something else is left out.
fn cell(text: &str) -> String {
    let text = clean(text);
    let short: String = if text.chars().count() > 20 { text.chars().take(19).chain(['…']).collect() } else { text };
    let blanks = 20_usize.saturating_sub(short.chars().count());
    short + &" ".repeat(blanks)
}

fn clean(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

/// Shows the events of a stream, line by line; how many lines were no events. A line that is being written is left for the next time.
pub fn show(mut from: impl BufRead, filter: &Filter, form: Form, mut to: impl Write) -> io::Result<u64> {
    let (mut text, mut odd) = (Vec::new(), 0);
    loop {
        text.clear();
        if from.read_until(b'\n', &mut text)? == 0 {
            break;
        }
        odd += u64::from(!show_line(&text, filter, form, &mut to)?);
    }
    to.flush()?;
    Ok(odd)
}

/// Shows the event of a line, if it is let through; whether it was one.
fn show_line(text: &[u8], filter: &Filter, form: Form, to: &mut impl Write) -> io::Result<bool> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok(true);
    }
    let Ok(event) = serde_json::from_slice::<Event>(text) else { return Ok(false) };
    if filter.lets_through(&event) {
        to.write_all(line(&event, form).as_bytes())?;
    }
    Ok(true)
}

/// Shows the events of a file and what is appended to it, also when another file takes its place, until `to` takes no more.
pub fn follow(path: &Path, filter: &Filter, form: Form, mut to: impl Write) -> io::Result<()> {
    let mut file = BufReader::new(File::open(path)?);
    let mut half = Vec::new();
    loop {
        if file.read_until(b'\n', &mut half)? > 0 && half.ends_with(b"\n") {
            show_line(&half, filter, form, &mut to)?;
            half.clear();
            continue;
        }
        to.flush()?;
        // All of the old file is read before the next one.
        if let Ok(next) = File::open(path)
            && next.metadata()?.ino() != file.get_ref().metadata()?.ino()
        {
            if file.fill_buf()?.is_empty() {
                file = BufReader::new(next);
                half.clear();
            }
            continue;
        }
        std::thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::events::sinks::fixtures::{event, events};

    const OFFLINE: &str = include_str!("show/offline.json");

    fn shown(text: &str, filter: &Filter, form: Form) -> (String, u64) {
        let mut to = Vec::new();
        let odd = show(text.as_bytes(), filter, form, &mut to).unwrap();
        (String::from_utf8(to).unwrap(), odd)
    }

    fn lines(events: &[Event]) -> String {
        events.iter().map(|event| line(event, Form::Json)).collect()
    }

    #[test]
    fn events_are_one_line_each() {
        let text = format!("{}{}\nno event\n", lines(&events(1)), OFFLINE.trim());
        let (table, odd) = shown(&text, &Filter::default(), Form::Table);
        insta::assert_snapshot!(format!("{TITLE}{table}"));
        assert_eq!(odd, 1);
        let (json, _) = shown(&text, &Filter::default(), Form::Json);
        assert_eq!(json.lines().count(), 2);
        assert_eq!(serde_json::from_str::<Event>(json.lines().next().unwrap()).unwrap(), event(1));
    }

    #[test]
    fn a_filter_lets_through_what_fits_all_of_it() {
        let text = format!("{}{}\n", lines(&events(2)), OFFLINE.trim());
        let count = |filter: Filter| shown(&text, &filter, Form::Json).0.lines().count();
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(count(Filter::default()), 3);
        assert_eq!(count(Filter { site: some("central"), ..Filter::default() }), 1);
        assert_eq!(count(Filter { site: some("annex"), ..Filter::default() }), 0);
        assert_eq!(count(Filter { device: some("ENTRANCE"), ..Filter::default() }), 1);
        assert_eq!(count(Filter { device: some("12345678901234"), ..Filter::default() }), 1, "by the id of its ARN");
        assert_eq!(count(Filter { detail_type: some("recognition"), ..Filter::default() }), 2);
        assert_eq!(count(Filter { detail_type: some("offline"), device: some("x"), ..Filter::default() }), 0);
        let noon = Some("2026-01-01T12:00:00Z".parse().unwrap());
        assert_eq!(count(Filter { since: noon, ..Filter::default() }), 3);
        assert_eq!(count(Filter { until: noon, ..Filter::default() }), 0);
    }

    #[test]
    fn what_a_name_holds_does_nothing_to_a_terminal() {
        let odd = OFFLINE.replace("Main entrance", "\\u001b[2Jgone\\n");
        let (table, _) = shown(&odd, &Filter::default(), Form::Table);
        assert!(!table.contains('\u{1b}') && table.lines().count() == 1, "{table:?}");
    }

    /// Tells of what is written.
    struct Heard(mpsc::Sender<String>);

    impl Write for Heard {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.0.send(text).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_file_is_followed_also_when_another_takes_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, lines(&events(1))).unwrap();
        let (tell, heard) = mpsc::channel();
        let watched = path.clone();
        let follower = std::thread::spawn(move || follow(&watched, &Filter::default(), Form::Json, Heard(tell)));
        let next = || serde_json::from_str::<Event>(&heard.recv_timeout(Duration::from_secs(20)).unwrap()).unwrap();
        assert_eq!(next(), event(1));
        let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let whole = line(&event(2), Form::Json);
        let (begin, end) = whole.split_at(20);
        file.write_all(begin.as_bytes()).unwrap();
        std::thread::sleep(LOOK * 2);
        file.write_all(end.as_bytes()).unwrap();
        assert_eq!(next(), event(2));
        std::fs::rename(&path, folder.path().join("events.jsonl.1")).unwrap();
        file.write_all(line(&event(3), Form::Json).as_bytes()).unwrap();
        std::fs::write(&path, line(&event(4), Form::Json)).unwrap();
        assert_eq!((next(), next()), (event(3), event(4)));
        drop(heard);
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(lines(&events(1)).as_bytes()).unwrap();
        assert!(follower.join().unwrap().is_err(), "who reads no more ends it");
    }
}
