//! What is sent to receivers of `CloudEvents`, and what their answers mean.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;
use crate::events::sinks::fixtures::{event, outgoing};

/// What a receiver got: headers and body of each request.
type Got = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

/// A receiver that answers by the ids of the events of a request, and where it is.
async fn receiver(answer: impl Fn(&[u128]) -> u16 + Clone + Send + Sync + 'static) -> (String, Got, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/events", listener.local_addr().unwrap());
    let got = Got::default();
    let handler = move |State(got): State<Got>, headers: HeaderMap, body: String| async move {
        let body: Value = serde_json::from_str(&body).unwrap();
        let id = |document: &Value| document["id"].as_str()?.parse::<Uuid>().ok().map(|id| id.as_u128());
        let in_header = headers.get("ce-id").and_then(|id| Some(id.to_str().ok()?.parse::<Uuid>().ok()?.as_u128()));
        let ids: Vec<u128> = match (&body, in_header) {
            (_, Some(id)) => vec![id],
            (Value::Array(all), _) => all.iter().filter_map(id).collect(),
            (one, _) => id(one).into_iter().collect(),
        };
        got.lock().push((headers, body));
        StatusCode::from_u16(answer(&ids)).unwrap()
    };
    let router = Router::new().fallback(handler).with_state(Arc::clone(&got));
    let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, got, server)
}

fn attributes_of(headers: &HeaderMap) -> Vec<String> {
    let ours = headers.iter().filter(|(name, _)| name.as_str().starts_with("ce-") || *name == CONTENT_TYPE);
    let mut told: Vec<_> = ours.map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    told.sort();
    told
}

#[tokio::test]
async fn events_are_written_as_each_mode_has_them() {
    for mode in [Mode::Structured, Mode::Binary, Mode::Batched] {
        let (url, got, server) = receiver(|_| 202).await;
        let mut receiver = Receiver::new(&url, mode, None).unwrap();
        assert_eq!(receiver.put(&outgoing(2)).await.unwrap(), Left::default());
        let got = got.lock();
        let told: Vec<_> = got.iter().map(|(headers, body)| (attributes_of(headers), body)).collect();
        insta::assert_json_snapshot!(format!("{mode:?}").to_lowercase(), told);
        server.abort();
    }
}

#[tokio::test]
async fn what_one_event_is_refused_for_stops_no_other() {
    for mode in [Mode::Structured, Mode::Binary, Mode::Batched] {
        let (url, got, server) = receiver(|ids| if ids.contains(&2) { 400 } else { 200 }).await;
        let mut receiver = Receiver::new(&url, mode, None).unwrap();
        let left = receiver.put(&outgoing(3)).await.unwrap();
        assert_eq!(left.refused, [(1, "the receiver answers 400".to_owned())], "{mode:?}");
        assert!(left.again.is_empty(), "{mode:?}");
        assert!(got.lock().len() >= 3);
        server.abort();
    }
}

#[tokio::test]
async fn a_receiver_that_has_enough_is_left_alone_and_gets_the_rest_again() {
    for (mode, status) in [(Mode::Structured, 429), (Mode::Binary, 503), (Mode::Batched, 500), (Mode::Structured, 401)]
    {
        let (url, got, server) = receiver(move |ids| if ids.contains(&2) { status } else { 200 }).await;
        let mut receiver = Receiver::new(&url, mode, None).unwrap();
        let left = receiver.put(&outgoing(4)).await.unwrap();
        let first = usize::from(mode != Mode::Batched);
        assert_eq!(left.again, (first..4).collect::<Vec<_>>(), "{mode:?}");
        assert!(left.why.unwrap().contains(&status.to_string()));
        assert!(got.lock().len() <= 2, "{mode:?}");
        server.abort();
        let _ = server.await;
        let left = receiver.put(&outgoing(4)).await.unwrap();
        assert_eq!(left.again, [0, 1, 2, 3], "nobody listens");
    }
}

#[tokio::test]
async fn who_may_send_is_said_from_a_file_that_may_change() {
    let (url, got, server) = receiver(|_| 200).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut receiver = Receiver::new(&url, Mode::Structured, Some(file.path().to_owned())).unwrap();
    for secret in ["Bearer one", "Bearer two"] {
        std::fs::write(&file, format!("{secret}\n")).unwrap();
        receiver.put(&outgoing(1)).await.unwrap();
        assert_eq!(got.lock().last().unwrap().0[AUTHORIZATION], secret);
    }
    assert!(!format!("{receiver:?}").contains("two"));
    drop(file);
    assert!(receiver.put(&outgoing(1)).await.unwrap_err().to_string().contains("authorizationFile"));
    server.abort();
}

#[test]
fn what_stands_in_a_header_is_encoded() {
    assert_eq!(encoded("Euro € 100%"), "Euro%20%E2%82%AC%20100%25");
    let odd = Event { detail_type: "a\r\nb: \"c\"".into(), ..event(1) };
    assert_eq!(binary(&odd)["ce-type"], "a%0D%0Ab:%20%22c%22");
}
