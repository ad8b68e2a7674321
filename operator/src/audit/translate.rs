//! Audit events of Kubernetes, one a line, become records, one a line.

use std::io::{self, BufRead, Write};

use fleetform_domain::audit::{Event, Record, Translator};

/// Translates line by line, so that a log may be larger than memory and may still be growing. A line that does not read is told to
/// `complaints` by its number and stops nothing; how many there were is returned.
pub fn translate(
    translator: &Translator,
    mut events: impl BufRead,
    mut output: impl Write,
    mut complaints: impl Write,
) -> io::Result<u64> {
    let (mut line, mut number, mut unread) = (Vec::new(), 0_u64, 0);
    while events.read_until(b'\n', &mut line)? > 0 {
        number += 1;
        let event = line.trim_ascii();
        let text = std::str::from_utf8(event).map_err(|_| "it is not UTF-8".to_owned());
        match text.and_then(|text| if text.is_empty() { Ok(Vec::new()) } else { records(translator, text) }) {
            Ok(found) => {
                for record in found {
                    serde_json::to_writer(&mut output, &record)?;
                    output.write_all(b"\n")?;
                }
            }
            Err(why) => {
                unread += 1;
                writeln!(complaints, "fleetform: line {number} is no audit event: {why}")?;
            }
        }
        line.clear();
    }
    output.flush()?;
    Ok(unread)
}

/// The records of one event. What is wrong is said without a word of what was there.
pub fn records(translator: &Translator, event: &str) -> Result<Vec<Record>, String> {
    let event = Event::read(event).map_err(|error| {
        let what = if error.is_data() { "a member is missing, or is not what it should be" } else { "it is not JSON" };
        format!("{what}, at column {}", error.column())
    })?;
    Ok(translator.records(&event))
}

#[cfg(test)]
mod tests {
    use fleetform_domain::audit::OPERATOR_USER;

    use super::*;
    use crate::controllers::fixtures;

    fn event(verb: &str, stage: &str) -> String {
        serde_json::json!({
            "auditID": "e15fbea4", "stage": stage, "verb": verb, "user": { "username": "mary" },
            "requestReceivedTimestamp": "2026-11-21T13:02:40.452701Z",
            "objectRef": { "resource": "sites", "apiGroup": "fleetform.dev", "namespace": "library", "name": "central" },
        })
        .to_string()
    }

    #[test]
    fn a_line_that_does_not_read_stops_no_other() {
        let translator = Translator::new(fixtures::installation(), vec![OPERATOR_USER.to_owned()]);
        let lines = [
            event("get", "ResponseComplete").into_bytes(),
            b"{\"passphrase\":\"secret\"".to_vec(),
            b"{\"auditID\":\"secret\"}".to_vec(),
            b"\xff".to_vec(),
            Vec::new(),
            event("get", "RequestReceived").into_bytes(),
            event("delete", "ResponseComplete").into_bytes(),
        ];
        let (mut output, mut complaints) = (Vec::new(), Vec::new());
        let unread = translate(&translator, lines.join(&b'\n').as_slice(), &mut output, &mut complaints).unwrap();
        assert_eq!(unread, 3);
        let records = String::from_utf8(output).unwrap();
        let names: Vec<_> =
            records.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().event_name).collect();
        assert_eq!(names, ["GetSite", "DeleteSite"]);
        insta::assert_snapshot!("complaints", String::from_utf8(complaints).unwrap());
    }
}
