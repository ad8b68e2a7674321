//! Pure: what to do about a site.

use std::time::Duration;

use fleetform_crds::condition::{self, ConditionType, Reason, Statement, Status};
use fleetform_crds::{DeviceInstance, Project, Site, SiteStatus};
use fleetform_domain::configuration::OperationMode;
use fleetform_domain::id::{Installation, ResourceId};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cache::Found;
use crate::controllers::{Obstacle, grace_left, no_project, quota};
use crate::reconcile::names;
use crate::reconcile::plan::{Action, Plan};

/// What a site's plan depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Where ARNs come from.
    pub installation: &'a Installation,
    /// The namespace's project.
    pub project: Found<Project>,
    /// What stands in its way when there are more sites, or projects, than there may be.
    pub over_quota: Option<Obstacle>,
    /// What is to be said when it has more gateways or assets than it may.
    pub exceeded: Option<String>,
    /// How many assets are there. One that does not read counts.
    pub assets: usize,
    /// The site's device instances.
    pub devices: Vec<&'a DeviceInstance>,
    /// The Secret with the address that the spec refers to, if there is no such Secret.
    pub missing_address: Option<String>,
    /// Whether device instances of the namespace do not read: then more may stand here than are seen.
    pub unreadable: bool,
    /// Whether a code of the site is being redeemed now: then the stored count of active devices must not fall to 0,
    /// because it keeps the address from being edited.
    pub redeeming: bool,
    /// Now.
    pub now: Timestamp,
}

/// The plan for a site.
pub fn plan(site: &Site, facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(uid) = site.metadata.uid.as_deref().filter(|_| site.metadata.deletion_timestamp.is_none()) else {
        return plan;
    };
    if matches!(facts.project, Found::Unreadable(_)) {
        // What is stored stays as it is until the project reads.
        return plan;
    }
    let project = matches!(facts.project, Found::Here(_));
    let current = site.status.as_ref();
    if !project
        && current.is_none_or(|status| status.observed_generation.is_none())
        && let Some(left) = grace_left(site, facts.now)
    {
        plan.look_again_in(left);
        return plan;
    }
    let mode = |device: &&DeviceInstance| device.status.as_ref()?.configuration.as_ref()?.operation_mode;
    let has = |wanted| facts.devices.iter().filter_map(mode).any(|mode| mode == wanted);
    let (enrollment, entry) = (has(OperationMode::Enrollment), has(OperationMode::Entry));
    let active = facts.devices.iter().filter(|device| device.is_active()).count();
    let mut activated_count = i64::try_from(active).unwrap_or(i64::MAX);
    let mut device_instance_count = i64::try_from(facts.devices.len()).unwrap_or(i64::MAX);
    let stored = current.map_or(0, |status| status.activated_count);
    if facts.unreadable {
        // What keeps address and site must not fall because a device cannot be read.
        activated_count = activated_count.max(stored);
        device_instance_count = device_instance_count.max(current.map_or(0, |status| status.device_instance_count));
    }
    if facts.redeeming && activated_count == 0 && stored > 0 {
        activated_count = stored;
        plan.look_again_in(Duration::from_secs(5));
    }
    let mut statements = if let (true, Some(obstacle)) = (project, &facts.over_quota) {
        obstacle.statements()
    } else if let (true, Some(secret)) = (project, &facts.missing_address) {
        let message = format!(
            "spec.addressFrom: there is no Secret {secret} of type {} in this namespace; create it, or refer to another one",
            names::ADDRESS_TYPE
        );
        Obstacle::waits(Reason::SecretUnusable, message).statements()
    } else if let (true, Some(zone)) = (project, unknown_zone(site)) {
        let message = format!(
            "spec.timeZone: there is no time zone {zone}: choose a name of the IANA time zone database, such as \
             America/Los_Angeles; until then no maintenance window opens at this site"
        );
        Obstacle::stalls(Reason::TimeZoneUnknown, message).statements()
    } else if project {
        vec![Statement::new(ConditionType::Ready, Status::True, Reason::Reconciled, "the site is in use")]
    } else {
        no_project(site.metadata.namespace.as_deref().unwrap_or_default()).statements()
    };
    statements.push(equipment(enrollment, entry));
    let id = ResourceId::of(uid);
    let conditions = current.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let desired = |statements: &[Statement]| SiteStatus {
        observed_generation: site.metadata.generation,
        arn: Some(facts.installation.site_arn(&id)),
        site_id: Some(id.clone()),
        device_instance_count,
        activated_count,
        asset_count: i64::try_from(facts.assets).unwrap_or(i64::MAX),
        enrollment_device_present: enrollment,
        entry_device_present: entry,
        conditions: condition::merge(conditions, statements, site.metadata.generation, facts.now),
    };
    let before = desired(&statements);
    let exceeded = facts.exceeded.as_deref();
    if project {
        statements.push(quota::within(exceeded));
    }
    let patch = quota::patch(current, &before, &desired(&statements), exceeded);
    plan.actions.extend(patch.map(Action::PatchStatus));
    plan
}

/// The time zone of the site, if it is none.
fn unknown_zone(site: &Site) -> Option<&str> {
    site.spec.time_zone.as_deref().filter(|zone| TimeZone::get(zone).is_err())
}

fn equipment(enrollment: bool, entry: bool) -> Statement {
    let missing = match (enrollment, entry) {
        (true, true) => {
            return Statement::new(
                ConditionType::FullyEquipped,
                Status::True,
                Reason::EnrollmentAndEntryPresent,
                "the site has enrollment and entry devices",
            );
        }
        (false, true) => "an enrollment device: people cannot enroll here",
        (true, false) => "an entry device: people cannot enter here",
        (false, false) => "an enrollment device and an entry device",
    };
    let message = format!("the site has yet to get {missing}");
    Statement::new(ConditionType::FullyEquipped, Status::False, Reason::EnrollmentOrEntryMissing, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::controllers::fixtures;
    use fleetform_crds::DeviceInstanceStatus;
    use fleetform_crds::device_instance::ConfigurationStatus;
    use fleetform_domain::activation::Phase;
    use jiff::SignedDuration;
    use serde_json::json;

    fn device(mode: OperationMode, phase: Phase) -> DeviceInstance {
        let mut device = fixtures::device(&json!({ "operationMode": mode }));
        device.status = Some(DeviceInstanceStatus {
            phase: Some(phase),
            configuration: Some(ConfigurationStatus { operation_mode: Some(mode), ..ConfigurationStatus::default() }),
            ..DeviceInstanceStatus::default()
        });
        device
    }

    fn check(site: &Site, devices: &[DeviceInstance], project: bool, redeeming: bool, now: Timestamp) -> Plan {
        let installation = fixtures::installation();
        let project = if project { Found::Here(Arc::new(fixtures::project())) } else { Found::Absent };
        let devices = devices.iter().collect();
        let facts = Facts {
            installation: &installation,
            project,
            over_quota: None,
            exceeded: None,
            assets: 0,
            devices,
            missing_address: None,
            unreadable: false,
            redeeming,
            now,
        };
        plan(site, &facts)
    }

    fn executed(mut site: Site, plan: &Plan) -> Site {
        for action in &plan.actions {
            let Action::PatchStatus(patch) = action else { panic!("a site's plan only patches its status") };
            let mut status = serde_json::to_value(site.status.clone().unwrap_or_default()).unwrap();
            json_patch::merge(&mut status, patch);
            site.status = Some(serde_json::from_value(status).unwrap());
        }
        site
    }

    #[test]
    fn a_site_counts_its_devices_and_says_what_it_lacks() {
        let devices =
            [device(OperationMode::Entry, Phase::Active), device(OperationMode::Entry, Phase::ReadyForActivation)];
        let plan = check(&fixtures::site(), &devices, true, false, fixtures::noon());
        insta::assert_json_snapshot!("site_with_two_doors", plan);
        let site = executed(fixtures::site(), &plan);
        assert!(check(&site, &devices, true, false, fixtures::noon()).actions.is_empty());
    }

    #[test]
    fn a_site_without_a_project_waits_for_it_and_says_so_after_a_moment() {
        let created = fixtures::noon() - SignedDuration::from_mins(1);
        assert!(check(&fixtures::site(), &[], false, false, created).actions.is_empty());
        insta::assert_json_snapshot!(
            "site_without_project",
            check(&fixtures::site(), &[], false, false, fixtures::noon())
        );
    }

    #[test]
    fn counts_do_not_fall_while_devices_cannot_be_read() {
        let active = [device(OperationMode::Entry, Phase::Active)];
        let site = executed(fixtures::site(), &check(&fixtures::site(), &active, true, false, fixtures::noon()));
        let installation = fixtures::installation();
        let mut facts = Facts {
            installation: &installation,
            project: Found::Here(Arc::new(fixtures::project())),
            over_quota: None,
            exceeded: None,
            assets: 0,
            devices: Vec::new(),
            missing_address: Some("confidential".into()),
            unreadable: true,
            redeeming: false,
            now: fixtures::noon(),
        };
        let held = executed(site.clone(), &plan(&site, &facts)).status.unwrap();
        assert_eq!((held.device_instance_count, held.activated_count), (1, 1));
        assert!(held.conditions[0].message.starts_with("spec.addressFrom: there is no Secret confidential of type"));
        facts.unreadable = false;
        let fallen = executed(site.clone(), &plan(&site, &facts)).status.unwrap();
        assert_eq!((fallen.device_instance_count, fallen.activated_count), (0, 0));
    }

    #[test]
    fn the_count_that_keeps_an_address_fixed_does_not_fall_while_a_code_is_redeemed() {
        let active = [device(OperationMode::Entry, Phase::Active)];
        let site = executed(fixtures::site(), &check(&fixtures::site(), &active, true, false, fixtures::noon()));
        let ready = [device(OperationMode::Entry, Phase::ReadyForActivation)];
        let held = executed(site.clone(), &check(&site, &ready, true, true, fixtures::noon()));
        assert_eq!(held.status.unwrap().activated_count, 1);
        let lowered = executed(site.clone(), &check(&site, &ready, true, false, fixtures::noon()));
        assert_eq!(lowered.status.unwrap().activated_count, 0);
    }
    #[test]
    fn a_site_says_that_it_is_over_quota_and_that_its_gateways_are() {
        let installation = fixtures::installation();
        let mut facts = Facts {
            installation: &installation,
            project: Found::Here(Arc::new(fixtures::project())),
            over_quota: Some(Obstacle::stalls(Reason::QuotaExceeded, "this site is over the quota")),
            assets: 2,
            exceeded: Some("3 gateways of 2: roof is over quota".into()),
            devices: Vec::new(),
            missing_address: None,
            unreadable: false,
            redeeming: false,
            now: fixtures::noon(),
        };
        let over = plan(&fixtures::site(), &facts);
        insta::assert_json_snapshot!("site_over_quota", over);
        let site = executed(fixtures::site(), &over);
        assert!(plan(&site, &facts).actions.is_empty());
        (facts.over_quota, facts.exceeded) = (None, None);
        let site = executed(site.clone(), &plan(&site, &facts));
        let conditions = &site.status.as_ref().unwrap().conditions;
        let said: Vec<_> =
            conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect();
        let ready = ("Ready", "True", "Reconciled");
        assert_eq!((said[0], said[2]), (ready, ("WithinQuota", "True", "QuotaKept")));
    }
}
