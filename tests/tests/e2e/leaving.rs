//! What does not go while people are there, and whom people wait for when they go.

use std::sync::Arc;

use anyhow::Result;
use fleetform_crds::Project as ProjectObject;
use kube::api::DeleteParams;
use serde_json::json;

use super::deletion::{is_deleted, is_refused};
use super::people::{BADGE, House};
use super::stage::Stage;

/// What is sealed for a Project opens in no other one.
pub(crate) async fn a_project_stays_while_people_are_enrolled(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "peopled", &[]).await?;
    let (name, other) = (house.enroll(BADGE, 1).await?, house.enroll("77", 2).await?);
    let deactivated = json!({ "spec": { "activation": { "epoch": 1 } } });
    let confirmed = json!({ "spec": { "deletionConfirmation": "Delete" } });
    house.users().delete(&other, &DeleteParams::default()).await?;
    house.until_gone(&other).await?;
    house.project.patch::<fleetform_crds::DeviceInstance>("front-desk", deactivated).await?;
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
