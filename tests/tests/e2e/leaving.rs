//! What does not go while people are there, and whom people wait for when they go.

use std::sync::Arc;

use anyhow::{Result, ensure};
use fleetform_crds::{DeviceInstance, EnrolledUser, Project as ProjectObject};
use fleetform_domain::people::{EnrollmentFailure, Hand};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::DeleteParams;
use serde_json::json;

use super::deletion::{is_deleted, is_refused};
use super::people::{BADGE, House, completed, palm};
use super::stage::Stage;
use super::upgrade::{counts, delete_unreadable, store_unreadable};

/// What is sealed for a Project opens in no other one.
pub(crate) async fn a_project_stays_while_people_are_enrolled(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "peopled", &[]).await?;
    let (name, other) = (house.enroll(BADGE, 1).await?, house.enroll("77", 2).await?);
    let deactivated = json!({ "spec": { "activation": { "epoch": 1 } } });
    let confirmed = json!({ "spec": { "deletionConfirmation": "Delete" } });
    house.users().delete(&other, &DeleteParams::default()).await?;
    house.until_gone(&other).await?;
    house.project.patch::<DeviceInstance>("front-desk", deactivated).await?;
    house.project.patch::<ProjectObject>("project", confirmed).await?;
    is_refused::<ProjectObject>(&house.project, "project", "This project still has").await?;
    let counted = |project: &ProjectObject| {
        project.status.as_ref().is_some_and(|status| (status.enrolled_user_count, status.activated_count) == (1, 0))
    };
    house.project.until_any("project", "counting one person", counted).await?;
    is_refused::<ProjectObject>(&house.project, "project", "This project still has 1 enrolled user and").await?;
    house.users().delete(&name, &DeleteParams::default()).await?;
    house.until_gone(&name).await?;
    is_deleted::<ProjectObject>(&house.project, "project").await
}

/// Its device may hold a list with the person, for all that is known.
pub(crate) async fn an_instance_that_does_not_read_is_waited_for(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "unread", &[]).await?;
    let name = house.enroll(BADGE, 1).await?;
    store_unreadable(&house.project).await?;
    counts(&stage, 1).await?;
    house.users().delete(&name, &DeleteParams::default()).await?;
    let waits = |user: &EnrolledUser| {
        let Some(status) = &user.status else { return false };
        let says = |condition: &Condition| condition.message.contains("1 of the DeviceInstances here cannot be read");
        let counted = status.un_enrollment.as_ref().map(|waiting| waiting.pending_device_count);
        counted == Some(1) && status.conditions.iter().any(says)
    };
    house.project.until_any(&name, "waiting for what does not read", waits).await?;
    stage.installation.kill_operator()?;
    stage.installation.start_operator().await?;
    counts(&stage, 1).await?;
    // The new process hears that the desk keeps nothing, and waits on.
    house.desk.keeps_enrollments(false).await?;
    let early = house.desk.enroll(completed(BADGE, vec![palm(1, Hand::Right, 0)])?).await?;
    ensure!(early.refused == Some(EnrollmentFailure::UnEnrollmentInProgress), "{early:?}");
    house.project.until_any(&name, "waiting on", waits).await?;
    delete_unreadable(&house.project).await?;
    house.until_gone(&name).await?;
    counts(&stage, 0).await
}
