//! Pure: what is sent to a receiver over HTTP, and what it answers; and lines of a file.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

/// Names an action of EventBridge.
pub(super) const TARGET: &str = "x-amz-target";

/// The media type of requests to EventBridge, and of its answers.
pub(super) const JSON: &str = "application/x-amz-json-1.1";

/// How events stand in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// `PutEvents` of EventBridge. Our id is in the detail.
    PutEvents,
    /// The batched mode of `CloudEvents`.
    Batch,
}

#[derive(Deserialize)]
struct PutEvents<T> {
    #[serde(rename = "Entries")]
    entries: Vec<T>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "Detail")]
    detail: String,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

impl Format {
    /// That of a request with these headers, if it brings events.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let header = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
        match (header(TARGET), header(CONTENT_TYPE.as_str())) {
            (Some(b"AWSEvents.PutEvents"), _) => Some(Self::PutEvents),
            (None, Some(b"application/cloudevents-batch+json")) => Some(Self::Batch),
            _ => None,
        }
    }

    /// How many events are in a body.
    pub(super) fn count(self, body: &[u8]) -> serde_json::Result<usize> {
        match self {
            Self::PutEvents => serde_json::from_slice::<PutEvents<IgnoredAny>>(body).map(|call| call.entries.len()),
            Self::Batch => serde_json::from_slice::<Vec<IgnoredAny>>(body).map(|batch| batch.len()),
        }
    }

    /// The ids of the events in a body.
    pub(super) fn ids(self, body: &[u8]) -> serde_json::Result<Vec<String>> {
        match self {
            Self::PutEvents => {
                let call: PutEvents<Entry> = serde_json::from_slice(body)?;
                call.entries.iter().map(|entry| Ok(serde_json::from_str::<Named>(&entry.detail)?.id)).collect()
            }
            Self::Batch => Ok(serde_json::from_slice::<Vec<Named>>(body)?.into_iter().map(|event| event.id).collect()),
        }
    }

    /// The media type of its answers.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::PutEvents => JSON,
            Self::Batch => "text/plain",
        }
    }

    /// What a receiver answers that takes so many events.
    pub(super) fn answer(self, count: usize) -> String {
        match self {
            Self::PutEvents => {
                let taken = json!({ "EventId": "11710aed-b79e-4468-a20b-bb3c0c3b4860" });
                json!({ "FailedEntryCount": 0, "Entries": vec![taken; count] }).to_string()
            }
            Self::Batch => String::new(),
        }
    }
}

/// The ids of events that are JSON documents, one a line.
pub(super) fn ids_of_lines(text: &[u8]) -> serde_json::Result<Vec<String>> {
    let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Ok(serde_json::from_slice::<Named>(line)?.id)).collect()
}

/// The lines of a text in portions of so many.
pub(super) fn portions(text: &[u8], lines: usize) -> Vec<&[u8]> {
    let (mut portions, mut from, mut count) = (Vec::new(), 0, 0);
    for (place, byte) in text.iter().enumerate() {
        if *byte == b'\n' {
            count += 1;
            if count == lines {
                portions.push(&text[from..=place]);
                (from, count) = (place + 1, 0);
            }
        }
    }
    if from < text.len() {
        portions.push(&text[from..]);
    }
    portions
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderName, HeaderValue};
    use serde_json::{Value, json};

    use super::{Format, ids_of_lines, portions};

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))])
    }

    #[test]
    fn events_are_found_in_a_call_of_event_bridge() {
        let format = Format::of(&headers("x-amz-target", "AWSEvents.PutEvents")).unwrap();
        let detail = |id: &str| json!({ "version": "1.0.0", "id": id }).to_string();
        let call = json!({ "Entries": [{ "Source": "a", "Detail": detail("one") }, { "Detail": detail("two") }] });
        let body = call.to_string();
        assert_eq!(format.count(body.as_bytes()).unwrap(), 2);
        assert_eq!(format.ids(body.as_bytes()).unwrap(), ["one", "two"]);
        let answer: Value = serde_json::from_str(&format.answer(2)).unwrap();
        assert_eq!((answer["FailedEntryCount"].as_u64(), answer["Entries"].as_array().unwrap().len()), (Some(0), 2));
        assert_eq!(Format::of(&headers("x-amz-target", "AWSEvents.DescribeEventBus")), None);
    }

    #[test]
    fn events_are_found_in_a_batch_of_cloud_events() {
        let format = Format::of(&headers("content-type", "application/cloudevents-batch+json")).unwrap();
        let body = json!([{ "id": "one", "data": { "id": "other" } }, { "id": "two" }]).to_string();
        assert_eq!(format.count(body.as_bytes()).unwrap(), 2);
        assert_eq!(format.ids(body.as_bytes()).unwrap(), ["one", "two"]);
        assert_eq!(Format::of(&headers("content-type", "text/plain")), None);
    }

    #[test]
    fn lines_go_in_portions_and_none_is_lost() {
        let text = b"{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n";
        assert_eq!(ids_of_lines(text).unwrap(), ["a", "b", "c"]);
        let of = |lines| portions(text, lines).into_iter().map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!((of(1), of(2), of(3), of(4)), (vec![11, 11, 11], vec![22, 11], vec![33], vec![33]));
        assert!(portions(b"", 2).is_empty());
    }
}
