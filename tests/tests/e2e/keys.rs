//! Keys of projects: of the installation and of the customer, moved, withdrawn and given back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_credential_types::Credentials;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{BehaviorVersion, Region};
use aws_sdk_kms::types::{KeySpec, KeyUsageType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fleetform_crds::condition::{ConditionType, Reason, has_reason};
use fleetform_crds::project::{DataKey, KeyProvider};
use fleetform_crds::{EnrolledUser, Project as ProjectObject};
use fleetform_domain::people::Hand;
use fleetform_e2e::stand_ins;
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use super::people::{BADGE, House, completed, palm, profile};
use super::project::{LIMIT, Project};
use super::stage::Stage;

/// Between two times that a device asks three things: oftener it would be told to wait.
const PAUSE: Duration = Duration::from_secs(2);

/// AWS KMS, as the customer reaches it.
async fn kms(stage: &Stage) -> Result<Client> {
    let [(_, account), (_, secret)] = stand_ins::CREDENTIALS;
    let config = aws_sdk_kms::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new(account, secret, None, None, "customer"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(stage.kms().await?.url());
    Ok(Client::from_conf(config.build()))
}

async fn new_key(kms: &Client) -> Result<String> {
    let made = kms.create_key().send().await?;
    made.key_metadata.and_then(|key| key.arn).context("a key has an ARN")
}

fn encryption(arn: &str, generation: u32) -> Value {
    json!({ "spec": { "encryption": { "provider": "AwsKms", "keyArn": arn, "dataKeyGeneration": generation } } })
}

fn keys(project: &ProjectObject) -> &[DataKey] {
    project.data_keys()
}

/// Status and reason of `KeyAvailable`.
fn available(project: &ProjectObject) -> Option<(&str, &str)> {
    let conditions = project.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let found = conditions.iter().find(|found| found.type_ == ConditionType::KeyAvailable.as_str())?;
    Some((&found.status, &found.reason))
}

async fn until_available(project: &Project, holds: bool, reason: Reason) -> Result<ProjectObject> {
    let wanted = (if holds { "True" } else { "False" }, reason.as_str());
    project.until_any("project", &format!("{wanted:?}"), |found: &ProjectObject| available(found) == Some(wanted)).await
}

/// Waits until one data key is left, of this provider and generation.
async fn until_moved(project: &Project, provider: KeyProvider, generation: u32) -> Result<DataKey> {
    let found = project
        .until_any("project", "sealed with one key alone", |found: &ProjectObject| {
            let is_wanted = |key: &DataKey| (key.provider, key.generation) == (provider, generation);
            matches!(keys(found), [only] if is_wanted(only))
                && available(found) == Some(("True", Reason::KeyInUse.as_str()))
        })
        .await?;
    keys(&found).first().cloned().context("it has a key")
}

/// All that is sealed of a project, with the id of the key that it was sealed with.
async fn sealed(project: &Project) -> Result<Vec<(String, String)>> {
    let id = |sealed: &[u8]| fleetform_domain::hex(&STANDARD.decode(sealed).unwrap_or_default()[1..9]);
    let users = project.api::<EnrolledUser>().list(&ListParams::default()).await?;
    let mut found: Vec<(String, String)> =
        users.iter().map(|user| (user.name_any(), id(user.spec.sealed_profile.as_bytes()))).collect();
    let revisions = ListParams::default().labels("fleetform.dev/secret=configuration-revision");
    for secret in project.api::<Secret>().list(&revisions).await? {
        let data = secret.data.clone().unwrap_or_default();
        let sealed = data.get("configuration.sealed").context("it is sealed")?;
        ensure!(data.len() == 1, "nothing lies beside what is sealed");
        ensure!(secret.labels().get("fleetform.dev/data-key") == Some(&id(&sealed.0)), "{:?}", secret.labels());
        found.push((secret.name_any(), id(&sealed.0)));
    }
    Ok(found)
}

async fn until_asked(house: &mut House, door: &str, statuses: [u16; 3]) -> Result<()> {
    for _ in 0..40 {
        let found = house.door(door)?.sealed(palm(1, Hand::Right, 5)).await?;
        if found == statuses {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
    anyhow::bail!("{door} is not answered with {statuses:?}")
}

pub(crate) async fn a_project_moves_between_keys_and_nobody_notices(stage: Arc<Stage>) -> Result<()> {
    let kms = kms(&stage).await?;
    let mut house = House::open(&stage, "moves", &["east"]).await?;
    let user = house.enroll(BADGE, 1).await?;
    let own = until_moved(&house.project, KeyProvider::Local, 0).await?;
    let before = sealed(&house.project).await?;
    ensure!(before.len() >= 2 && before.iter().all(|(_, id)| *id == own.id), "{before:?}");
    let held = house.catches_up("east", None).await?;

    let arn = new_key(&kms).await?;
    let mut last = own.clone();
    for (change, provider, generation) in [
        (encryption(&arn, 0), KeyProvider::AwsKms, 0),
        (encryption(&arn, 1), KeyProvider::AwsKms, 1),
        (json!({ "spec": { "encryption": { "provider": "Local", "keyArn": null } } }), KeyProvider::Local, 1),
    ] {
        house.project.patch::<ProjectObject>("project", change).await?;
        let project = house.project.api::<ProjectObject>();
        let moved = async {
            wait::until("another key to be in force alone", LIMIT, async || {
                let found = project.get("project").await?;
                let [only] = keys(&found) else { return Ok(Look::NotYet(format!("{:?}", available(&found)))) };
                let is_wanted = (only.provider, only.generation) == (provider, generation);
                Ok(if is_wanted { Look::Done(only.clone()) } else { Look::NotYet(format!("{:?}", only.id)) })
            })
            .await
        };
        tokio::pin!(moved);
        let now = loop {
            tokio::select! {
                moved = &mut moved => break moved?,
                () = tokio::time::sleep(PAUSE) => {
                    let answers = house.door("east")?.sealed(palm(1, Hand::Right, 5)).await?;
                    ensure!(answers == [200; 3], "a device is interrupted: {answers:?}");
                }
            }
        };
        ensure!(now.id != last.id && now.key_arn.is_some() == (provider == KeyProvider::AwsKms), "{now:?}");
        let after = sealed(&house.project).await?;
        // A revision that no device needs any more may have gone meanwhile.
        ensure!(after.len() >= 2 && after.iter().all(|(_, id)| *id == now.id), "{after:?} with {}", now.id);
        ensure!(house.asks("east", 1).await?.is_ok_and(|found| found.user.as_str() == user), "they are who they were");
        last = now;
    }
    // The list is the same to doors: who is on it has not changed.
    let wanted = house.door("east")?.check_in(Some(&held), 0).await??.enrolled_users_revision;
    ensure!(wanted.as_ref() == Some(&held), "{wanted:?} is another list than {held:?}");
    Ok(())
}

pub(crate) async fn a_key_that_is_withdrawn_closes_the_project_and_opens_it_when_it_is_back(
    stage: Arc<Stage>,
) -> Result<()> {
    let kms = kms(&stage).await?;
    let mut house = House::open(&stage, "withdrawn", &["east"]).await?;
    house.project.appoint("manager", "fleetform-full-access").await?;
    let arn = new_key(&kms).await?;
    house.project.patch::<ProjectObject>("project", encryption(&arn, 0)).await?;
    until_moved(&house.project, KeyProvider::AwsKms, 0).await?;
    let user = house.enroll(BADGE, 1).await?;
    let held = house.catches_up("east", None).await?;
    until_asked(&mut house, "east", [200; 3]).await?;

    kms.disable_key().key_id(&arn).send().await?;
    until_available(&house.project, false, Reason::KeyDisabled).await?;
    until_asked(&mut house, "east", [503; 3]).await?;
    let refused = house.desk.enrolls_now(completed("77", vec![palm(2, Hand::Right, 0)])?).await?;
    ensure!(refused == Some(503), "a desk is answered {refused:?}");
    wait::until("the manager's right to be in force", LIMIT, async || {
        Ok(match profile(&house, "manager", &user).await? {
            Err(503) => Look::Done(()),
            other => Look::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    // Check-ins go on, and a door keeps the list that it has.
    let wanted = house.door("east")?.check_in(Some(&held), 0).await??.enrolled_users_revision;
    ensure!(wanted.as_ref() == Some(&held), "{wanted:?} is another list than {held:?}");
    // Nothing falls back: what is sealed waits for its key, whatever else is wanted now.
    house
        .project
        .patch::<ProjectObject>("project", json!({ "spec": { "encryption": { "provider": "Local", "keyArn": null } } }))
        .await?;
    until_available(&house.project, false, Reason::KeyDisabled).await?;
    house.project.patch::<ProjectObject>("project", encryption(&arn, 0)).await?;

    // To be deleted is another state, and another reason.
    kms.schedule_key_deletion().key_id(&arn).pending_window_in_days(7).send().await?;
    until_available(&house.project, false, Reason::KeyInvalidState).await?;
    kms.cancel_key_deletion().key_id(&arn).send().await?;
    kms.enable_key().key_id(&arn).send().await?;
    until_available(&house.project, true, Reason::KeyInUse).await?;
    until_asked(&mut house, "east", [200; 3]).await?;
    ensure!(house.asks("east", 1).await?.is_ok_and(|found| found.user.as_str() == user), "they are who they were");
    ensure!(house.catches_up("east", Some(&held)).await? == held, "the list is the same");
    Ok(())
}

/// As after a restore from Git, which knows no status: what was sealed before is lost, and everything else goes on.
pub(crate) async fn a_project_that_lost_its_data_key_says_whom_it_lost_and_goes_on(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "lost", &["east"]).await?;
    let user = house.enroll(BADGE, 1).await?;
    let before = until_moved(&house.project, KeyProvider::Local, 0).await?;
    let lost = Patch::Merge(json!({ "status": { "dataKeys": null } }));
    stage.installation.kill_operator()?;
    house.project.api::<ProjectObject>().patch_status("project", &PatchParams::default(), &lost).await?;
    stage.installation.start_operator().await?;
    let now = wait::until("another data key", LIMIT, async || {
        let found = house.project.api::<ProjectObject>().get("project").await?;
        Ok(match keys(&found) {
            [key] if key.id != before.id => Look::Done(key.id.clone()),
            other => Look::NotYet(format!("{other:?}")),
        })
    })
    .await?;
    house
        .project
        .until_any(&user, "unreadable", |user: &EnrolledUser| {
            user.status
                .as_ref()
                .is_some_and(|status| has_reason(&status.conditions, ConditionType::Ready, Reason::ProfileUnreadable))
        })
        .await?;
    // The revision of the template is made anew, and served.
    until_asked(&mut house, "east", [200; 3]).await?;
    let left = sealed(&house.project).await?;
    ensure!(left.iter().any(|(name, id)| *name != user && *id == now), "{left:?}");
    // Who was lost is removed, and enrolls again.
    house.users().delete(&user, &DeleteParams::default()).await?;
    let held = house.catches_up("east", None).await?;
    house.desk.keeps_enrollments(false).await?;
    house.until_gone(&user).await?;
    let again = house.enroll(BADGE, 1).await?;
    ensure!(again == user, "a name goes by the badge");
    ensure!(house.asks("east", 1).await?.is_ok_and(|found| found.user.as_str() == user), "they are back");
    house.catches_up("east", Some(&held)).await.map(drop)
}

pub(crate) async fn a_key_that_cannot_be_used_takes_nothing_away(stage: Arc<Stage>) -> Result<()> {
    let kms = kms(&stage).await?;
    let project = Project::new(&stage, "unusable").await?;
    until_moved(&project, KeyProvider::Local, 0).await?;
    let asymmetric = kms.create_key().key_spec(KeySpec::Rsa2048).key_usage(KeyUsageType::SignVerify).send().await?;
    let asymmetric = asymmetric.key_metadata.and_then(|key| key.arn).context("a key has an ARN")?;
    let of = |region: &str, account: &str, key: &str| format!("arn:aws:kms:{region}:{account}:key/{key}");
    for (arn, reason) in [
        (of("us-east-1", "999999999999", "1"), Reason::KeyNotUsable),
        (of("eu-west-1", "123456789012", "1"), Reason::KeyNotUsable),
        (of("us-east-1", "123456789012", "00000000-0000-4000-8000-000000000000"), Reason::KeyNotFound),
        (asymmetric, Reason::KeyNotUsable),
    ] {
        project.patch::<ProjectObject>("project", encryption(&arn, 0)).await?;
        let found = until_available(&project, true, reason).await?;
        ensure!(matches!(keys(&found), [own] if own.provider == KeyProvider::Local), "{:?}", keys(&found));
        let conditions = found.status.map(|status| status.conditions).unwrap_or_default();
        let ready = conditions.iter().find(|found| found.type_ == "Ready").context("it has Ready")?;
        ensure!(ready.status == "False" && ready.reason == reason.as_str(), "{ready:?}");
        ensure!(
            ready.message.contains("keyArn") && ready.message.contains("the key before it stays in use"),
            "{ready:?}"
        );
    }
    project.patch::<ProjectObject>("project", json!({ "spec": { "encryption": null } })).await?;
    until_moved(&project, KeyProvider::Local, 0).await.map(drop)
}
