//! Follows the portal's list, by one long poll after the other.

use std::sync::Arc;
use std::time::Duration;

use fleetform_domain::wire::{DeviceList, DeviceListQuery};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};

use super::FleetOptions;
use crate::installer::{Installer, InstallerError};
use crate::telemetry::Telemetry;

/// After a change, so that many changes come in few lists.
const GATHER: Duration = Duration::from_millis(100);

/// Least time between two questions whose answer is nothing, should the portal not wait as asked.
const LEAST: Duration = Duration::from_secs(1);

/// Sends every list that says something new, until nobody listens.
pub(super) async fn follow(
    installer: Arc<Installer>,
    telemetry: Arc<Telemetry>,
    options: FleetOptions,
    lists: Sender<DeviceList>,
) {
    let mut since = None;
    let mut failures = 0;
    while !lists.is_closed() {
        let wait_seconds = if since.is_some() { options.list_wait_seconds } else { 0 };
        let query = DeviceListQuery {
            site: None,
            simulated: options.project.is_none().then_some(true),
            since: since.clone(),
            wait_seconds,
        };
        let asked = Instant::now();
        let list = match &options.project {
            Some(project) => installer.project_devices(project, &query).await,
            None => installer.devices(&query).await,
        };
        let pause = match list {
            Ok(list) => {
                telemetry.list("ok");
                failures = 0;
                since = Some(list.version.clone());
                if list.complete || !list.items.is_empty() || !list.removed.is_empty() {
                    if lists.send(list).await.is_err() {
                        return;
                    }
                    GATHER
                } else {
                    LEAST.saturating_sub(asked.elapsed())
                }
            }
            Err(error) => {
                telemetry.list(error.kind());
                telemetry.trouble("the list of devices cannot be read", error.kind(), &error);
                failures += 1;
                since = since.filter(|_| still_holds(&error));
                options.list_backoff.delay(failures, rand::random())
            }
        };
        sleep(pause).await;
    }
}

/// Whether what is known of the list may be built upon after this error. A portal that no longer knows the version may
/// say so by refusing; then the whole list is asked for.
fn still_holds(error: &InstallerError) -> bool {
    match error {
        InstallerError::Refused(refusal) => !matches!(refusal.status, 400 | 409 | 410 | 412 | 422),
        _ => true,
    }
}
