//! People at desks and doors: enrolled, recognised and forgotten.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use fleetform_crds::condition::{ConditionType, is_true};
use fleetform_crds::enrolled_user::ABANDON_ANNOTATION;
use fleetform_crds::{ConfigTemplate, DeviceInstance, EnrolledUser};
use fleetform_domain::event::{Event, UserStatus, person_event_id, un_enrollment_event_id};
use fleetform_domain::id::ResourceId;
use fleetform_domain::people::{
    BadgeNumber, Consent, EnrollmentFailure, Hand, PALM_CODE_BYTES, Palm, PalmCode, RecognitionFailure,
};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{
    DeviceText, EnrolledUserProfile, EnrollmentOutcome, PalmPresented, RecognizedUser, enrolled_user_profile_path,
};
use fleetform_e2e::installation::AUDIENCE;
use fleetform_e2e::wait::{self, Look};
use jiff::Timestamp;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::project::{INSTALLER, LIMIT, Project, TEMPLATE, reader, reason, template};
use super::raw::{exchange, request};
use super::stage::Stage;
use super::trail;
use super::wire::Wire;

pub(crate) const BADGE: &str = "1111358294500";

/// A palm as unlike others as palms are; another look at it differs in some places.
pub(crate) fn palm(person: u8, hand: Hand, look: u8) -> Palm {
    let mut code = [0; PALM_CODE_BYTES];
    for (part, chunk) in (0u8..).zip(code.chunks_mut(32)) {
        chunk.copy_from_slice(&Sha256::digest([person, u8::from(hand == Hand::Left), part]));
    }
    for place in 0..usize::from(look) * 20 {
        code[place % PALM_CODE_BYTES] ^= 1 << (place / PALM_CODE_BYTES);
    }
    Palm { hand, code: PalmCode::new(code) }
}

fn badge(number: &str) -> Result<BadgeNumber> {
    Ok(number.try_into()?)
}

pub(crate) fn completed(number: &str, palms: Vec<Palm>) -> Result<EnrollmentOutcome> {
    let consent = Consent { version: "2026-01".into(), given_at: Timestamp::now() };
    agreed(consent, number, palms)
}

pub(crate) fn agreed(consent: Consent, number: &str, palms: Vec<Palm>) -> Result<EnrollmentOutcome> {
    Ok(EnrollmentOutcome::Completed { badge_number: badge(number)?, consent, palms })
}

/// The instance of the desk.
pub(crate) const DESK: &str = "front-desk";

/// A project whose desk is ready for activation, and whose doors are to hold lists of the enrolled users.
pub(crate) async fn with_a_desk(stage: &Arc<Stage>, prefix: &str) -> Result<Project> {
    let project = Project::new(stage, prefix).await?;
    let mut offline = template(0);
    offline["configuration"]["offlineRecognition"] = true.into();
    project.patch::<ConfigTemplate>(TEMPLATE, json!({ "spec": offline })).await?;
    let mut desk = reader("Front desk");
    desk["configuration"] = json!({ "operationMode": "Enrollment", "consentVersion": "2026-01" });
    project.create::<DeviceInstance>(json!({ "metadata": { "name": DESK }, "spec": desk })).await?;
    project.until_ready_for_activation(DESK).await?;
    Ok(project)
}

/// A project with a desk and doors.
pub(crate) struct House {
    pub(crate) project: Project,
    pub(crate) desk: Wire,
    doors: BTreeMap<String, Wire>,
}

impl House {
    /// One desk, and doors that hold lists of the enrolled users.
    pub(crate) async fn open(stage: &Arc<Stage>, prefix: &str, doors: &[&str]) -> Result<Self> {
        let project = with_a_desk(stage, prefix).await?;
        let installer = project.installer().await?;
        let desk = Wire::activated(&project, &installer, DESK).await?;
        let mut house = Self { project, desk, doors: BTreeMap::new() };
        for name in doors {
            house.project.ready_device(name).await?;
            let door = Wire::activated(&house.project, &installer, name).await?;
            house.doors.insert((*name).to_owned(), door);
        }
        Ok(house)
    }

    pub(crate) fn door(&mut self, name: &str) -> Result<&mut Wire> {
        self.doors.get_mut(name).with_context(|| format!("there is no door {name}"))
    }

    pub(crate) fn users(&self) -> Api<EnrolledUser> {
        self.project.api()
    }

    /// Enrolls somebody with the right hand, and the desk has heard so; the name.
    pub(crate) async fn enroll(&mut self, number: &str, person: u8) -> Result<String> {
        let name = self.enroll_unheard(number, person).await?;
        self.desk.keeps_enrollments(false).await?;
        Ok(name)
    }

    /// The same, and the desk says nothing of it yet.
    async fn enroll_unheard(&mut self, number: &str, person: u8) -> Result<String> {
        let answer = self.desk.enroll(completed(number, vec![palm(person, Hand::Right, 0)])?).await?;
        ensure!(answer.acknowledged && answer.refused.is_none(), "{answer:?}");
        Ok(answer.user.context("the person is enrolled")?.to_string())
    }

    /// What the gateway says whose palm it is.
    pub(crate) async fn asks(&mut self, door: &str, person: u8) -> Result<Result<RecognizedUser, RecognitionFailure>> {
        let palm = palm(person, Hand::Right, 5);
        let answer = self.door(door)?.present(PalmPresented::Ask { palm }).await??;
        ensure!(answer.acknowledged, "{answer:?}");
        match (answer.recognized, answer.reason) {
            (Some(found), None) => Ok(Ok(found)),
            (None, Some(reason)) => Ok(Err(reason)),
            other => bail!("{other:?}"),
        }
    }

    /// The door brings its list up to date and says so; the revision that it holds then.
    pub(crate) async fn catches_up(&mut self, door: &str, holds: Option<&DeviceText>) -> Result<DeviceText> {
        let door = self.door(door)?;
        let wanted = door.check_in(holds, 0).await??.enrolled_users_revision.context("it is to hold a list")?;
        if holds == Some(&wanted) {
            return Ok(wanted);
        }
        let list = door.users(holds).await??;
        ensure!(list.next.is_none(), "they fit on one page");
        door.check_in(Some(&list.revision), 0).await??;
        Ok(list.revision)
    }

    /// The events with these ids: each once, in this order, or an error.
    pub(crate) async fn told_once(&self, ids: &[Uuid]) -> Result<Vec<Event>> {
        wait::until("the events", LIMIT, async || {
            let events = self.project.stage.installation.events()?;
            let of = |id| events.iter().filter(|event| event.id == id).cloned().collect::<Vec<_>>();
            let found: Vec<_> = ids.iter().map(|id| of(*id)).collect();
            ensure!(found.iter().all(|events| events.len() < 2), "an event stands twice: {found:#?}");
            let found: Vec<Event> = found.into_iter().flatten().collect();
            Ok(if found.len() == ids.len() { Look::Done(found) } else { Look::NotYet(format!("{found:#?}")) })
        })
        .await
    }

    /// The door is back after its association has ended, has forgotten everybody, and says so.
    async fn hears_of_its_end(&mut self, door: &str) -> Result<()> {
        let refusal = self.door(door)?.check_in(None, 0).await?.err().context("its association has ended")?;
        ensure!(refusal.code == Some(ProblemCode::AssociationEnded), "{refusal}");
        Ok(())
    }

    pub(crate) async fn until_gone(&self, user: &str) -> Result<()> {
        wait::until(&format!("{user} to be gone"), LIMIT, async || {
            Ok(match self.users().get_opt(user).await? {
                None => Look::Done(()),
                Some(user) => Look::NotYet(format!("{:#?}", user.status)),
            })
        })
        .await
    }

    /// Waits until the status of somebody who was deleted names these devices.
    pub(crate) async fn until_pending(&self, user: &str, devices: &[&str]) -> Result<EnrolledUser> {
        self.project
            .until_any(user, &format!("waiting for {devices:?}"), |user: &EnrolledUser| {
                let status = user.status.as_ref().and_then(|status| status.un_enrollment.as_ref());
                status.is_some_and(|status| status.pending_devices == devices)
            })
            .await
    }
}

pub(crate) fn badge_of(event: &Event) -> Option<String> {
    let data = serde_json::to_value(event).ok()?["detail"]["data"].clone();
    let text = data.get("associatedIds").or_else(|| data.get("associatedId"))?.as_str()?;
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let one = value.get(0).unwrap_or(&value);
    Some(one["associatedIdValue"].as_str()?.to_owned())
}

pub(crate) async fn a_person_enrolls_and_is_recognised(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "enrolled", &["door"]).await?;
    let both = vec![palm(1, Hand::Left, 0), palm(1, Hand::Right, 0)];
    let answer = house.desk.enroll(completed(BADGE, both.clone())?).await?;
    ensure!(answer.acknowledged && answer.refused.is_none(), "{answer:?}");
    let name = answer.user.context("the person is enrolled")?.to_string();
    ensure!(name.len() == 35 && name.starts_with("eu-"), "{name}");

    let arguments = ["get", "enrolledusers", "--namespace", &house.project.namespace];
    let list = stage.cluster().kubectl(&arguments, None).await?;
    for shown in [name.as_str(), "4500", "front-desk", "True"] {
        ensure!(list.contains(shown), "kubectl does not show {shown}:\n{list}");
    }
    let user = house.users().get(&name).await?;
    ensure!(user.spec.consent.version == "2026-01" && user.spec.badge_last_four == "4500", "{user:#?}");
    ensure!(user.status.as_ref().is_some_and(|status| is_true(&status.conditions, ConditionType::Ready)), "{user:#?}");
    let written = user.metadata.managed_fields.iter().flatten().map(|entry| &entry.subresource).collect::<Vec<_>>();
    ensure!(written == [&None], "it took one write, and none of its status: {written:?}");
    let metrics = stage.installation.metrics().await?;
    ensure!(metrics.contains("fleetform_enrollments_total{outcome=\"enrolled\"}"), "{metrics}");

    // The same again is the same, also when somebody else has come to the desk since.
    let again = house.desk.enroll_again(completed(BADGE, both)?).await?;
    ensure!(again.user.is_some_and(|user| user.as_str() == name) && again.acknowledged, "it is told once more");
    // Or, once the device has heard that it succeeded, without the palms; and for no other badge.
    let user: DeviceText = name.as_str().try_into()?;
    let known = |number| anyhow::Ok(EnrollmentOutcome::Enrolled { user: user.clone(), badge_number: badge(number)? });
    ensure!(house.desk.enroll_again(known(BADGE)?).await?.acknowledged, "it is told once more");
    ensure!(house.desk.enroll_again(known("78")?).await.is_err(), "nobody of that badge has that name");
    let other = house.enroll("77", 2).await?;
    ensure!(other != name);

    // One round trip, either hand, another look.
    let found = house.asks("door", 1).await?;
    ensure!(found == Ok(RecognizedUser { user: name.as_str().try_into()?, badge_number: badge(BADGE)? }), "{found:?}");
    let left = PalmPresented::Ask { palm: palm(1, Hand::Left, 8) };
    let found = house.door("door")?.present(left).await??;
    ensure!(found.recognized.is_some_and(|found| found.user.as_str() == name));
    let nobody = house.asks("door", 9).await?;
    ensure!(nobody == Err(RecognitionFailure::PalmNotRecognized), "{nobody:?}");
    let asked_at_the_desk = house.desk.present(PalmPresented::Ask { palm: palm(1, Hand::Right, 1) }).await?;
    let refusal = asked_at_the_desk.err().context("a desk recognises nobody")?;
    ensure!(refusal.code == Some(ProblemCode::NotFound), "{refusal}");

    let (desk, door) = (house.desk.association.clone(), house.door("door")?.association.clone());
    let ids = [(&desk, 1), (&desk, 2), (&door, 1), (&door, 2), (&door, 3)];
    let events = house.told_once(&ids.map(|(association, sequence)| person_event_id(association, sequence))).await?;
    let told: Vec<_> = events.iter().map(|event| (event.detail_type.as_str(), badge_of(event))).collect();
    let badge = || Some(BADGE.to_owned());
    let expected = [
        ("New Successful Enrollment", badge()),
        ("New Successful Enrollment", Some("77".to_owned())),
        ("Successful Recognition", badge()),
        ("Successful Recognition", badge()),
        ("Unsuccessful Recognition", None),
    ];
    ensure!(told == expected, "{told:?}");
    Ok(())
}

pub(crate) async fn what_fails_at_a_desk_or_a_door_is_told_once_and_by_its_reason(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "failures-of-people", &["door"]).await?;
    house.enroll(BADGE, 1).await?;
    for (number, person, expected) in [
        // Leading zeros make no other badge.
        (format!("000{BADGE}"), 2, EnrollmentFailure::BadgeAlreadyEnrolled),
        ("88".to_owned(), 1, EnrollmentFailure::PalmAlreadyEnrolled),
    ] {
        let answer = house.desk.enroll(completed(&number, vec![palm(person, Hand::Right, 3)])?).await?;
        ensure!(answer.refused == Some(expected) && answer.user.is_none() && answer.acknowledged, "{answer:?}");
        let again = house.desk.enroll_again(completed(&number, vec![palm(person, Hand::Right, 3)])?).await?;
        ensure!(again == answer, "{again:?}");
    }
    for reason in [EnrollmentFailure::ConsentDeclined, EnrollmentFailure::BadgeNotReadable] {
        let badge_number = (reason == EnrollmentFailure::ConsentDeclined).then(|| badge("99")).transpose()?;
        let answer = house.desk.enroll(EnrollmentOutcome::Failed { reason, badge_number }).await?;
        ensure!(answer.acknowledged && answer.refused.is_none(), "{answer:?}");
    }
    // A door enrolls nobody.
    let at_the_door = house.door("door")?.enroll(completed("99", vec![palm(3, Hand::Right, 0)])?).await?;
    ensure!(at_the_door.refused == Some(EnrollmentFailure::NotAnEnrollmentDevice), "{at_the_door:?}");
    let unread = PalmPresented::NotRecognized { reason: RecognitionFailure::PalmNotReadable };
    house.door("door")?.present(unread.clone()).await??;
    house.door("door")?.present_again(unread).await??;
    // Somebody whom nobody knows any more was recognised all the same.
    let stranger = PalmPresented::Recognized { user: "eu-gone".try_into()? };
    ensure!(house.door("door")?.present(stranger).await??.acknowledged);
    ensure!(house.users().list(&ListParams::default()).await?.items.len() == 1, "one is enrolled");

    // What no schema says.
    let one_hand = completed("99", vec![palm(3, Hand::Right, 0), palm(4, Hand::Right, 0)])?;
    let refusal = house.desk.try_enroll(one_hand).await?.err().context("two right hands")?;
    ensure!(refusal.code == Some(ProblemCode::MalformedRequest) && refusal.detail.contains("palms"), "{refusal}");

    let (desk, door) = (house.desk.association.clone(), house.door("door")?.association.clone());
    let ids = (2..=5).map(|n| person_event_id(&desk, n)).chain((1..=3).map(|n| person_event_id(&door, n)));
    let events = house.told_once(&ids.collect::<Vec<_>>()).await?;
    let reason = |event: &Event| event.person().and_then(|person| person.data.reason.clone());
    let told: Vec<_> = events.iter().map(|e| (e.detail_type.as_str(), reason(e), badge_of(e))).collect();
    let (enrollment, recognition) = ("Unsuccessful Enrollment", "Unsuccessful Recognition");
    let why = |reason: &str| Some(reason.to_owned());
    let expected = [
        (enrollment, why("BADGE_ALREADY_ENROLLED"), Some(format!("000{BADGE}"))),
        (enrollment, why("PALM_ALREADY_ENROLLED"), why("88")),
        (enrollment, why("CONSENT_DECLINED"), why("99")),
        (enrollment, why("BADGE_NOT_READABLE"), None),
        (enrollment, why("NOT_AN_ENROLLMENT_DEVICE"), why("99")),
        (recognition, why("PALM_NOT_READABLE"), None),
        ("Successful Recognition", None, None),
    ];
    ensure!(told == expected, "{told:#?}");
    Ok(())
}

pub(crate) async fn somebody_who_is_deleted_is_forgotten_by_every_device(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "un-enrolled", &["east", "west"]).await?;
    let (name, other) = (house.enroll(BADGE, 1).await?, house.enroll("77", 2).await?);
    let east = house.catches_up("east", None).await?;
    let west = house.catches_up("west", None).await?;
    ensure!(east == west, "they hold the same people");
    let nothing_new = house.door("east")?.users(Some(&east)).await??;
    ensure!(nothing_new.users.is_empty() && !nothing_new.complete, "{nothing_new:?}");
    let whole = house.door("east")?.users(None).await??;
    ensure!(whole.complete && whole.users.len() == 2 && whole.revision == east, "{whole:?}");
    let refusal = house.desk.users(None).await?.err().context("a desk holds no list")?;
    ensure!(refusal.code == Some(ProblemCode::NotFound), "{refusal}");

    // A door that waits hears of the deletion at once; the other is silent.
    let uid = house.users().get(&name).await?.uid().context("it has a UID")?;
    let mut waiting = house.doors.remove("east").context("the east door")?;
    let held = east.clone();
    let waits = tokio::spawn(async move {
        let answer = waiting.check_in(Some(&held), 30).await;
        (waiting, answer)
    });
    house.users().delete(&name, &DeleteParams::default()).await?;
    let (mut door, answer) = waits.await?;
    let mut wanted = answer??.enrolled_users_revision.context("it is to hold a list")?;
    while wanted == east {
        // The gateway answers before the device would be missed; that may have been before the deletion.
        wanted = door.check_in(Some(&east), 3).await??.enrolled_users_revision.context("it is to hold a list")?;
    }
    let news = door.users(Some(&east)).await??;
    ensure!(news.removed.iter().map(DeviceText::as_str).collect::<Vec<_>>() == [name.as_str()], "{news:?}");
    ensure!(!news.complete && news.users.is_empty() && news.revision == wanted, "{news:?}");
    door.check_in(Some(&news.revision), 0).await??;
    house.doors.insert("east".to_owned(), door);

    let user = house.until_pending(&name, &["west"]).await?;
    let conditions = &user.status.context("a status")?.conditions;
    let ready = conditions.iter().find(|condition| condition.type_ == "Ready").context("Ready")?;
    ensure!(ready.status == "False" && ready.message.contains("forget the person when back: west"), "{ready:?}");
    let nobody = house.asks("east", 1).await?;
    ensure!(nobody == Err(RecognitionFailure::PalmNotRecognized), "{nobody:?}");
    ensure!(house.asks("east", 2).await?.is_ok_and(|found| found.user.as_str() == other));
    // The badge is not free yet.
    let early = house.desk.enroll(completed(BADGE, vec![palm(1, Hand::Right, 0)])?).await?;
    ensure!(early.refused == Some(EnrollmentFailure::UnEnrollmentInProgress), "{early:?}");
    // The silent door recognised the person by its own list meanwhile.
    let alone = PalmPresented::Recognized { user: name.as_str().try_into()? };
    house.door("west")?.present(alone).await??;

    let after = house.catches_up("west", Some(&west)).await?;
    ensure!(after == wanted, "both hold the same people again");
    house.until_gone(&name).await?;
    let by_itself = person_event_id(&house.door("west")?.association.clone(), house.door("west")?.sequence);
    let events = house.told_once(&[by_itself, un_enrollment_event_id(&uid)]).await?;
    ensure!(events[0].detail_type == "Successful Recognition" && badge_of(&events[0]).as_deref() == Some(BADGE));
    ensure!(events[1].detail_type == "New Successful Un-enrollment", "{:?}", events[1]);
    ensure!(badge_of(&events[1]).as_deref() == Some(BADGE), "{:?}", events[1]);
    let project: fleetform_crds::Project = house.project.api::<fleetform_crds::Project>().get("project").await?;
    let data = serde_json::to_value(&events[1])?["detail"]["data"].clone();
    ensure!(data["requestSource"] == ResourceId::of(&project.uid().context("a UID")?).as_str(), "{data}");
    ensure!(data["userStatus"] == "DELETED", "{data}");

    // Now the person may come again, and is somebody new.
    let again = house.enroll(BADGE, 1).await?;
    ensure!(again == name && house.asks("east", 1).await?.is_ok());
    Ok(())
}

/// A device that never comes back is deactivated, or given up on.
pub(crate) async fn a_device_that_stays_away_is_deactivated_or_given_up_on(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "stays-away", &["burned"]).await?;
    house.enroll("77", 2).await?;
    let (first, second) = (house.enroll(BADGE, 1).await?, house.enroll("88", 3).await?);
    let third = house.enroll("99", 4).await?;
    let held = house.catches_up("burned", None).await?;
    let uid = house.users().get(&first).await?.uid().context("it has a UID")?;
    house.users().delete(&first, &DeleteParams::default()).await?;
    house.until_pending(&first, &["burned"]).await?;
    let why = json!({ "metadata": { "annotations": { ABANDON_ANNOTATION: "the house burned down" } } });
    house.project.patch::<EnrolledUser>(&first, why).await?;
    house.until_gone(&first).await?;
    let events = house.told_once(&[un_enrollment_event_id(&uid)]).await?;
    ensure!(events[0].detail_type == "Unsuccessful Un-enrollment", "{events:?}");
    ensure!(events[0].person().is_some_and(|person| person.data.reason.as_deref() == Some("DEVICES_NOT_CONFIRMED")));

    let uid = house.users().get(&second).await?.uid().context("it has a UID")?;
    house.users().delete(&second, &DeleteParams::default()).await?;
    house.until_pending(&second, &["burned"]).await?;
    let deactivate = json!({ "spec": { "activation": { "epoch": 1 } } });
    house.project.patch::<DeviceInstance>("burned", deactivate).await?;
    // It may go by its list until it has been without its gateway for seven days, or hears that it is to wipe itself.
    let waits = |user: &EnrolledUser| {
        let conditions = user.status.as_ref().map(|status| &status.conditions);
        let mut ready = conditions.into_iter().flatten().filter(|condition| condition.type_ == "Ready");
        ready.any(|ready| ready.message.contains("burned (deactivated or deleted; until 2"))
    };
    house.project.until_any(&second, "waiting for what was deactivated", waits).await?;
    stage.installation.kill_operator()?;
    stage.installation.start_operator().await?;
    house.project.until_any(&second, "waiting on after a restart", waits).await?;
    // The new process has yet to hear from the desk.
    house.desk.keeps_enrollments(false).await?;
    // That it was answered so proves nothing, as the answer may be lost: the door still says that it holds its list.
    let refusal = house.door("burned")?.check_in(Some(&held), 0).await?.err().context("its association has ended")?;
    ensure!(refusal.code == Some(ProblemCode::AssociationEnded), "{refusal}");
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    house.project.until_any(&second, "waiting for the door itself", waits).await?;
    house.hears_of_its_end("burned").await?;
    house.until_gone(&second).await?;
    let events = house.told_once(&[un_enrollment_event_id(&uid)]).await?;
    ensure!(events[0].detail_type == "New Successful Un-enrollment", "{events:?}");

    // So it is when the instance is deleted: it stays until then.
    let uid = house.users().get(&third).await?.uid().context("it has a UID")?;
    house.project.ready_device("razed").await?;
    let installer = house.project.installer().await?;
    let razed = Wire::activated(&house.project, &installer, "razed").await?;
    house.doors.insert("razed".to_owned(), razed);
    house.catches_up("razed", None).await?;
    house.project.api::<DeviceInstance>().delete("razed", &DeleteParams::default()).await?;
    house
        .project
        .until_any("razed", "saying that it is waited for", |instance: &DeviceInstance| {
            let ready = reason(instance, ConditionType::Ready, "False");
            ready.is_some_and(|(_, message)| message.contains("waited for until 2"))
        })
        .await?;
    house.users().delete(&third, &DeleteParams::default()).await?;
    house
        .project
        .until_any(&third, "waiting for what was deleted", |user: &EnrolledUser| {
            let status = user.status.as_ref().and_then(|status| status.un_enrollment.as_ref());
            status.is_some_and(|status| status.pending_devices == ["razed"])
        })
        .await?;
    house.hears_of_its_end("razed").await?;
    house.until_gone(&third).await?;
    house.told_once(&[un_enrollment_event_id(&uid)]).await?;
    wait::until("the instance to be gone", LIMIT, async || {
        Ok(match house.project.api::<DeviceInstance>().get_opt("razed").await? {
            None => Look::Done(()),
            Some(left) => Look::NotYet(format!("{:#?}", left.metadata)),
        })
    })
    .await?;

    // With nobody to wait for, a namespace goes with the people in it.
    let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(stage.client());
    house.project.patch::<DeviceInstance>("front-desk", json!({ "spec": { "activation": { "epoch": 1 } } })).await?;
    wait::until("the namespace to be let go", LIMIT, async || {
        Ok(match namespaces.delete(&house.project.namespace, &DeleteParams::default()).await {
            Ok(_) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await?;
    wait::until("the namespace to be gone", LIMIT, async || {
        Ok(match namespaces.get_opt(&house.project.namespace).await? {
            None => Look::Done(()),
            Some(namespace) => Look::NotYet(format!("{:#?}", namespace.status)),
        })
    })
    .await
}

/// The profile as the portal shows it to an account; the status otherwise.
pub(crate) async fn profile(house: &House, account: &str, user: &str) -> Result<Result<EnrolledUserProfile, u16>> {
    let stage = &house.project.stage;
    let token = stage.cluster().audience_token(&house.project.namespace, account, AUDIENCE).await?;
    let path = enrolled_user_profile_path(&house.project.namespace, user);
    let bytes = request("GET", &path, &format!("Authorization: Bearer {token}\r\n"), "");
    let authority = stage.installation.authority().await?;
    let answer = exchange(&stage.installation.portal_url(), &authority, &bytes).await?;
    if answer.status != 200 {
        return Ok(Err(answer.status));
    }
    ensure!(answer.head.to_ascii_lowercase().contains("cache-control: no-store"), "{}", answer.head);
    Ok(Ok(serde_json::from_str(&answer.body)?))
}

pub(crate) async fn who_may_read_profiles_sees_the_whole_badge_and_nobody_else(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "profiles", &[]).await?;
    let name = house.enroll(BADGE, 1).await?;
    house.project.appoint("manager", "fleetform-full-access").await?;
    house.project.appoint("auditor", "fleetform-read-only").await?;
    let seen = wait::until("the manager's right to be in force", LIMIT, async || {
        Ok(match profile(&house, "manager", &name).await? {
            Ok(profile) => Look::Done(profile),
            Err(status) => Look::NotYet(status.to_string()),
        })
    })
    .await?;
    ensure!(seen.badge_number == badge(BADGE)? && seen.user_status == UserStatus::Active, "{seen:?}");
    ensure!(seen.enrollment_source == "front-desk" && seen.palms == 1 && seen.consent.version == "2026-01", "{seen:?}");
    // What is forbidden and what is not there look alike.
    for (account, user) in
        [("auditor", name.as_str()), (INSTALLER, name.as_str()), ("manager", "eu-0"), ("auditor", "Eu_0")]
    {
        let answer = profile(&house, account, user).await?;
        ensure!(answer.as_ref().err() == Some(&404), "{account} sees {answer:?}");
    }
    let trail = trail::of_project(&house.project)?;
    let asked = |who: &str, user: &str| {
        let records = trail.iter().filter(|record| record.event_name == "GetEnrolledUserProfile");
        records
            .filter(|record| record.user_identity.arn.ends_with(&format!(":{who}")))
            .filter(|record| trail::parameter(record, "enrolledUser") == Some(user))
            .map(|record| record.error_code.as_deref())
            .next_back()
    };
    ensure!(asked("manager", &name) == Some(None), "{trail:#?}");
    ensure!(asked("manager", "eu-0") == Some(Some("ResourceNotFoundException")), "{trail:#?}");
    ensure!(asked("auditor", &name) == Some(Some("AccessDenied")), "{trail:#?}");
    // What is no name is refused, and not written down.
    for file in [stage.installation.audit_path(), stage.installation.dir().join("operator.log")] {
        let text = std::fs::read_to_string(&file)?;
        ensure!(!text.contains(BADGE), "{} holds the badge", file.display());
        ensure!(!text.contains("Eu_0"), "{} holds what anybody may have sent", file.display());
    }
    Ok(())
}

/// A desk lost the answer, and tells of the enrollment again after the person was deleted and the operator started anew.
pub(crate) async fn a_desk_that_lost_the_answer_enrolls_nobody_again(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "retold", &[]).await?;
    let name = house.enroll_unheard(BADGE, 1).await?;
    house.desk.keeps_enrollments(true).await?;
    let retold = || completed(BADGE, vec![palm(1, Hand::Right, 0)]);
    house.users().delete(&name, &DeleteParams::default()).await?;
    house.until_pending(&name, &["front-desk"]).await?;
    stage.installation.kill_operator()?;
    stage.installation.start_operator().await?;
    house.desk.keeps_enrollments(true).await?;
    house.until_pending(&name, &["front-desk"]).await?;
    let answer = house.desk.enroll_again(retold()?).await?;
    ensure!(answer.refused == Some(EnrollmentFailure::UnEnrollmentInProgress) && answer.user.is_none(), "{answer:?}");
    house.desk.keeps_enrollments(false).await?;
    house.until_gone(&name).await?;
    let left = house.users().list(&ListParams::default()).await?.items;
    ensure!(left.is_empty(), "{left:#?}");
    Ok(())
}

/// The operator is killed while a device has yet to forget somebody, and after an enrollment whose answer was lost.
pub(crate) async fn people_outlive_the_operator(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "outlive", &["east", "west"]).await?;
    let (name, other) = (house.enroll(BADGE, 1).await?, house.enroll("77", 2).await?);
    let held = house.catches_up("east", None).await?;
    house.catches_up("west", None).await?;
    let uid = house.users().get(&name).await?.uid().context("it has a UID")?;
    house.users().delete(&name, &DeleteParams::default()).await?;
    house.until_pending(&name, &["east", "west"]).await?;
    let after = house.catches_up("east", Some(&held)).await?;
    house.until_pending(&name, &["west"]).await?;

    stage.installation.kill_operator()?;
    stage.installation.start_operator().await?;
    // Lists are the same as before: who caught up has nothing to fetch, and was not forgotten to have done so.
    let wanted = house.door("east")?.check_in(Some(&after), 0).await??.enrolled_users_revision;
    ensure!(wanted.as_ref() == Some(&after), "{wanted:?} is another list than {after:?}");
    house.until_pending(&name, &["west"]).await?;
    ensure!(house.asks("east", 1).await? == Err(RecognitionFailure::PalmNotRecognized));
    ensure!(house.asks("east", 2).await?.is_ok_and(|found| found.user.as_str() == other));
    // The desk tells of its last enrollment again, as it lost the answer.
    let again = house.desk.enroll_again(completed("77", vec![palm(2, Hand::Right, 0)])?).await?;
    ensure!(again.user.is_some_and(|user| user.as_str() == other), "it is the same enrollment");

    let list = house.door("west")?.users(Some(&held)).await??;
    ensure!(list.complete && list.users.len() == 1 && list.revision == after, "{list:?}");
    house.door("west")?.check_in(Some(&list.revision), 0).await??;
    house.until_gone(&name).await?;
    let enrolled = person_event_id(&house.desk.association, 2);
    house.told_once(&[un_enrollment_event_id(&uid), enrolled]).await.map(drop)
}
