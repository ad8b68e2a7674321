//! Personal data: where it is not, and what recognising somebody does not write.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::ConditionType;
use fleetform_domain::people::{Hand, RecognitionFailure};
use fleetform_domain::wire::PalmPresented;
use fleetform_e2e::wait::{self, Look};
use kube::api::DeleteParams;

use super::audit;
use super::people::{BADGE, House, completed, palm, profile};
use super::project::{LIMIT, Project, reason};
use super::stage::Stage;

/// All objects of the project, of every kind that the API server has, with the contents of Secrets decoded.
async fn all_objects(project: &Project) -> Result<String> {
    let cluster = project.stage.cluster();
    let kinds = cluster.kubectl(&["api-resources", "--namespaced", "--verbs=list", "--output=name"], None).await?;
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.ends_with("metrics.k8s.io")).collect();
    let arguments =
        ["get", &kinds.join(","), "--namespace", &project.namespace, "--output=json", "--show-managed-fields"];
    let mut text = cluster.kubectl(&arguments, None).await?;
    let list: serde_json::Value = serde_json::from_str(&text)?;
    let secrets = list["items"].as_array().context("a list")?.iter().filter(|object| object["kind"] == "Secret");
    for value in secrets.filter_map(|secret| secret["data"].as_object()).flat_map(|data| data.values()) {
        let plain = STANDARD.decode(value.as_str().unwrap_or_default())?;
        writeln!(text, "{}", String::from_utf8_lossy(&plain))?;
    }
    Ok(text)
}

/// Neither what is stored nor what is logged or measured holds a badge or a palm.
async fn nothing_is_found(house: &House, user: &str) -> Result<()> {
    let stage = &house.project.stage;
    // It may be some hundred milliseconds behind.
    audit::writes(&house.project).await?;
    let log = std::fs::read_to_string(stage.installation.dir().join("operator.log"))?;
    let api_server = std::fs::read_to_string(stage.plane.audit_log())?;
    let places = [
        ("the objects", all_objects(&house.project).await?, user),
        ("the log", log, user),
        ("the audit log", api_server, user),
        ("the audit trail", std::fs::read_to_string(stage.installation.audit_path())?, "CreateDeviceActivationQrCode"),
        ("the metrics", stage.installation.metrics().await?, "fleetform_recognitions_total"),
    ];
    let mut secrets = vec![BADGE.to_owned(), STANDARD.encode(BADGE)];
    for (hand, look) in [(Hand::Left, 0), (Hand::Right, 0), (Hand::Right, 5)] {
        let palm = palm(1, hand, look);
        let (text, hex) = (STANDARD.encode(palm.code.bytes()), fleetform_domain::hex(palm.code.bytes()));
        // The end is the same at every look.
        secrets.extend([text[..40].to_owned(), text[text.len() - 80..].to_owned(), hex[hex.len() - 80..].to_owned()]);
    }
    for (place, text, sign) in &places {
        ensure!(text.contains(sign), "{place}: nobody was here, so nothing could be found");
        for secret in &secrets {
            ensure!(!text.contains(secret), "{place} hold a badge or a palm");
        }
    }
    // Who reads the event sink is to know the badge: there it is found.
    let events = serde_json::to_string(&stage.installation.events()?)?;
    ensure!(events.contains(BADGE), "the events name the badge");
    ensure!(secrets[2..].iter().all(|palm| !events.contains(palm)), "the events hold a palm");
    Ok(())
}

pub(crate) async fn nothing_that_is_kept_gives_a_badge_or_a_palm_away(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "personal", &["door"]).await?;
    let both = vec![palm(1, Hand::Left, 0), palm(1, Hand::Right, 0)];
    let name = house.desk.enroll(completed(BADGE, both.clone())?).await?.user.context("the person is enrolled")?;
    // Recognised, refused, and read by who may.
    ensure!(house.asks("door", 1).await?.is_ok());
    ensure!(house.desk.enroll(completed(BADGE, both.clone())?).await?.refused.is_some());
    ensure!(house.desk.enroll(completed("88", both)?).await?.refused.is_some());
    house.project.appoint("manager", "fleetform-full-access").await?;
    wait::until("the manager's right to be in force", LIMIT, async || {
        Ok(match profile(&house, "manager", name.as_str()).await? {
            Ok(_) => Look::Done(()),
            Err(status) => Look::NotYet(status.to_string()),
        })
    })
    .await?;
    let held = house.catches_up("door", None).await?;
    house.desk.keeps_enrollments(false).await?;
    nothing_is_found(&house, name.as_str()).await?;

    house.users().delete(name.as_str(), &DeleteParams::default()).await?;
    house.until_pending(name.as_str(), &["door"]).await?;
    nothing_is_found(&house, name.as_str()).await?;
    house.catches_up("door", Some(&held)).await?;
    house.until_gone(name.as_str()).await
}

pub(crate) async fn recognitions_write_nothing(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "unwritten", &["east", "west"]).await?;
    house.enroll(BADGE, 1).await?;
    let mut held = [house.catches_up("east", None).await?, house.catches_up("west", None).await?];
    // The desk is silent from now on, which is written once; sums follow within two seconds.
    let is_silent = |desk: &DeviceInstance| reason(desk, ConditionType::Connected, "False").is_some();
    let mut looks = 0;
    while !is_silent(&house.project.api::<DeviceInstance>().get("front-desk").await?) {
        ensure!(looks < 60, "the desk is not missed");
        looks += 1;
        for (door, held) in ["east", "west"].iter().zip(&mut held) {
            *held = house.catches_up(door, Some(held)).await?;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let project = Project { stage: Arc::clone(&stage), namespace: house.project.namespace.clone() };
    let before = audit::at_rest(&project, LIMIT, async || {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(2)).await;
            for (door, held) in ["east", "west"].iter().zip(&mut held) {
                *held = house.catches_up(door, Some(held)).await?;
            }
        }
        Ok(())
    })
    .await?;
    for round in 0..10 {
        for (door, held) in ["east", "west"].iter().zip(&held) {
            let (person, expected) =
                if round % 2 == 0 { (1, None) } else { (9, Some(RecognitionFailure::PalmNotRecognized)) };
            let answer = house.asks(door, person).await?;
            ensure!(answer.as_ref().err() == expected.as_ref(), "{answer:?}");
            let unread = PalmPresented::NotRecognized { reason: RecognitionFailure::PalmNotReadable };
            house.door(door)?.present(unread).await??;
            ensure!(house.catches_up(door, Some(held)).await? == *held, "the list is the same");
        }
    }
    let after = audit::writes(&house.project).await?;
    ensure!(after == before, "recognitions were written down: {:?}", after.get(before.len()..));
    // An enrollment is one write.
    let name = house.enroll("77", 2).await?;
    let after = audit::writes(&house.project).await?;
    let written = after.iter().filter(|write| !before.contains(write)).collect::<Vec<_>>();
    ensure!(written.contains(&&format!("create enrolledusers {name}")), "{written:?}");
    ensure!(written.iter().all(|write| !write.contains("enrolledusers") || write.starts_with("create")), "{written:?}");
    Ok(())
}
