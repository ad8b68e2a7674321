//! What goes into one call, and what its answers mean. That rules route what arrives is tried end to end.

use axum::http::StatusCode;
use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::events::sinks::fixtures::{event, outgoing};

/// A bus whose service answers a call by its number of entries.
async fn answering(
    status: u16,
    answer: impl Fn() -> Value + Clone + Send + Sync + 'static,
) -> (Bus, tokio::task::JoinHandle<()>) {
    let status = StatusCode::from_u16(status).unwrap();
    let (config, server) = aws::tests::serving(move |_, _| (status, answer().to_string()), true).await;
    (Bus { client: Client::new(&config), name: "fleet".into(), has_taken: AtomicBool::new(false) }, server)
}

#[test]
fn an_entry_is_the_event_with_our_id_in_its_detail() {
    let entry = entry(&event(7), "fleet");
    let detail: Value = serde_json::from_str(entry.detail().unwrap()).unwrap();
    insta::assert_json_snapshot!(json!({
        "bus": entry.event_bus_name(), "source": entry.source(), "detailType": entry.detail_type(), "detail": detail,
        "resources": entry.resources(), "time": entry.time().map(DateTime::secs),
    }));
}

#[tokio::test]
async fn each_entry_has_its_own_answer() {
    let codes = || {
        json!({ "FailedEntryCount": 4, "Entries": [
            { "EventId": "1" },
            { "ErrorCode": "InternalFailure", "ErrorMessage": "secret words" },
            { "ErrorCode": "MalformedDetail", "ErrorMessage": "secret words" },
            { "ErrorCode": "ThrottlingException" },
            { "EventId": "2" },
            { "ErrorCode": "ResourceNotFoundException" },
        ] })
    };
    let (mut bus, server) = answering(200, codes).await;
    let left = bus.put(&outgoing(7)).await.unwrap();
    assert_eq!(left.again, [1, 3, 5, 6], "also what is not answered for");
    assert_eq!(left.refused, [(2, "EventBridge finds it wrong (MalformedDetail)".to_owned())]);
    assert_eq!(left.why.as_deref(), Some("EventBridge could not take it now (InternalFailure)"));
    server.abort();
}

#[tokio::test]
async fn what_refuses_a_call_refuses_all_of_it_and_what_comes_behind_waits() {
    for (status, code, told) in [
        (400, "ThrottlingException", "too many requests"),
        (400, "AccessDeniedException", "events:PutEvents"),
        (400, "ExpiredTokenException", "credentials"),
        (500, "InternalException", "InternalException"),
    ] {
        let answer = move || json!({ "__type": code, "message": "" });
        let (mut bus, server) = answering(status, answer).await;
        let left = bus.put(&outgoing(23)).await.unwrap();
        assert_eq!(left.again, (0..23).collect::<Vec<_>>(), "{code}");
        assert!(left.why.unwrap().contains(told), "{code}");
        server.abort();
    }
}

#[tokio::test]
async fn what_makes_a_call_malformed_is_found_by_itself() {
    let (config, server) = aws::tests::serving(
        |_, body| {
            let is_wrong = body.contains(&Uuid::from_u128(3).to_string());
            let entries = body.matches("DetailType").count();
            let taken = json!({ "FailedEntryCount": 0, "Entries": vec![json!({ "EventId": "1" }); entries] });
            let refused = json!({ "__type": "ValidationException", "message": "secret words" });
            let (status, answer) = if is_wrong { (StatusCode::BAD_REQUEST, refused) } else { (StatusCode::OK, taken) };
            (status, answer.to_string())
        },
        true,
    )
    .await;
    let left = Bus { client: Client::new(&config), name: "fleet".into(), has_taken: AtomicBool::new(false) }
        .put(&outgoing(12))
        .await
        .unwrap();
    assert_eq!((left.refused.len(), left.refused[0].0, left.again.len()), (1, 2, 0));
    server.abort();
}

#[tokio::test]
async fn where_every_call_is_malformed_it_is_not_the_events() {
    let (mut bus, server) = answering(400, || json!({ "__type": "ValidationException", "message": "" })).await;
    let left = bus.put(&outgoing(12)).await.unwrap();
    assert_eq!((left.refused.len(), left.again.len()), (0, 12));
    assert!(left.why.unwrap().contains("eventBridge.bus"));
    assert!(bus.check().await.unwrap_err().to_string().contains("eventBridge.bus"));
    server.abort();
}

#[tokio::test]
async fn a_bus_that_is_not_there_is_told_at_the_start() {
    let missing = || json!({ "__type": "ResourceNotFoundException", "message": "" });
    let (bus, server) = answering(400, missing).await;
    assert!(bus.check().await.unwrap_err().to_string().contains("no event bus fleet"));
    server.abort();
    let (bus, server) = answering(400, || json!({ "__type": "AccessDeniedException", "message": "" })).await;
    assert!(bus.check().await.is_ok(), "who may put events need not be allowed to look");
    server.abort();
}

proptest! {
    /// However large events are: each is in one call, in their order, and no call is more than EventBridge takes, but for what is too large
    /// by itself.
    #[test]
    fn calls_are_no_more_than_is_taken(sizes in prop::collection::vec(1..300_000_usize, 0..60)) {
        let chunks = chunks(&sizes);
        let places: Vec<usize> = chunks.iter().cloned().flatten().collect();
        prop_assert_eq!(places, (0..sizes.len()).collect::<Vec<_>>());
        for chunk in chunks {
            let bytes: usize = sizes[chunk.clone()].iter().sum();
            prop_assert!(chunk.len() <= ENTRIES && (bytes <= BYTES || chunk.len() == 1));
        }
    }
}
