//! Pure: what to do about a template.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use fleetform_crds::condition::{self, ConditionType, Reason, Statement, Status};
use fleetform_crds::config_template::TemplateDevices;
use fleetform_crds::{ConfigTemplate, ConfigTemplateStatus, DeviceInstance, Project};
use fleetform_domain::activation::Phase;
use fleetform_domain::id::{Installation, ResourceId};
use fleetform_domain::rollout::Stage;
use jiff::Timestamp;

use super::rollout::{self, Circumstances, Digests};
use crate::cache::Found;
use crate::controllers::{Obstacle, grace_left, no_project};
use crate::reconcile::names;
use crate::reconcile::plan::{Action, News, Plan, RevisionSecret};
use crate::reconcile::status;

/// Time between two tries to store a revision that was refused.
const REFUSED_RETRY: Duration = Duration::from_secs(30);

/// What a template's plan depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Where ARNs come from.
    pub installation: &'a Installation,
    /// The namespace's project, which owns the revisions.
    pub project: Found<Project>,
    /// Whether the Secret with the revision that the status names is there.
    pub stored: bool,
    /// Why a revision was not stored, when that was just tried.
    pub refused: Option<Obstacle>,
    /// Time zones of sites, by name.
    pub zones: BTreeMap<String, String>,
    /// The devices that may take the current revision already, and since when.
    pub admitted: HashMap<String, Timestamp>,
    /// Whether device instances of the namespace do not read: then more may refer to the template than are seen.
    pub unreadable: bool,
    /// The device instances that refer to the template.
    pub devices: Vec<&'a DeviceInstance>,
    /// Now.
    pub now: Timestamp,
}

/// The plan for a template: a revision first, then the status that names it.
pub fn plan(template: &ConfigTemplate, facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    let (Some(uid), Some(name), None) =
        (&template.metadata.uid, &template.metadata.name, &template.metadata.deletion_timestamp)
    else {
        return plan;
    };
    if matches!(facts.project, Found::Unreadable(_)) {
        // What is stored stays as it is until the project reads.
        return plan;
    }
    let current = template.status.clone().unwrap_or_default();
    let digests = Digests::new(&template.spec.configuration);
    let count = || {
        let mut devices = count(template, &digests, &facts.devices);
        if facts.unreadable {
            devices.total = devices.total.max(current.devices.total);
        }
        devices
    };
    let (mut admit, mut news) = (Vec::new(), None);
    let mut desired =
        ConfigTemplateStatus { observed_generation: template.metadata.generation, devices: count(), ..current.clone() };
    let statements = if let Some(obstacle) = &facts.refused {
        // Nothing refers to a revision that is not stored.
        desired.observed_generation = current.observed_generation;
        plan.look_again_in(REFUSED_RETRY);
        obstacle.statements()
    } else if matches!(facts.project, Found::Here(_)) {
        let digest = template.spec.configuration.digest();
        let same = current.digest.as_ref() == Some(&digest);
        let revision = current.revision.unwrap_or(0) + u32::from(!same);
        // One that somebody deleted, or that went with an earlier Project, is made anew: devices fetch it.
        if !same || !facts.stored {
            plan.actions.push(Action::CreateRevision(Box::new(RevisionSecret {
                name: names::revision_secret(name, uid, revision),
                template_uid: uid.clone(),
                revision,
                configuration: template.spec.configuration.clone(),
            })));
        }
        if !same {
            desired.revision = Some(revision);
            desired.digest = Some(digest);
        }
        if let Some(strategy) = &template.spec.rollout {
            let circumstances = Circumstances {
                digests: &digests,
                devices: &facts.devices,
                zones: &facts.zones,
                admitted: if same { &facts.admitted } else { &HashMap::new() },
                now: facts.now,
            };
            let step = rollout::step(template, strategy, revision, &circumstances);
            if let Some(at) = step.look_again {
                plan.look_again_at(at, facts.now);
            }
            desired.rollout = Some(step.status);
            admit = step.admit;
            news = step.news;
            step.statements
        } else {
            desired.rollout = None;
            vec![Statement::new(ConditionType::Ready, Status::True, Reason::Reconciled, "the revision can be used")]
        }
    } else {
        if current.observed_generation.is_none()
            && let Some(left) = grace_left(template, facts.now)
        {
            plan.look_again_in(left);
            return plan;
        }
        no_project(template.metadata.namespace.as_deref().unwrap_or_default()).statements()
    };
    let id = ResourceId::of(uid);
    desired.arn = Some(facts.installation.template_arn(&id));
    desired.template_id = Some(id);
    desired.conditions = condition::merge(&current.conditions, &statements, template.metadata.generation, facts.now);
    plan.actions.extend(status::patch(template.status.as_ref(), &desired).map(Action::PatchStatus));
    if let (Some(revision), false) = (desired.revision, admit.is_empty()) {
        plan.actions.push(Action::Admit { revision, devices: admit });
    }
    plan.actions.extend(news.map(Action::Publish));
    plan.actions.extend(condition::new_stall(&current.conditions, &statements).map(News::stall).map(Action::Publish));
    plan
}

fn count(template: &ConfigTemplate, digests: &Digests<'_>, devices: &[&DeviceInstance]) -> TemplateDevices {
    let mut counted =
        TemplateDevices { total: i64::try_from(devices.len()).unwrap_or(i64::MAX), ..TemplateDevices::default() };
    for device in devices {
        match rollout::stage(template, device, digests) {
            Some(Stage::Done) if device.phase() == Phase::Active => {
                counted.updated += 1;
                counted.applied += 1;
            }
            Some(Stage::Done | Stage::Changing(_) | Stage::Refused(_)) => counted.updated += 1,
            Some(Stage::Waiting) | None => {}
        }
    }
    counted
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::controllers::fixtures;
    use fleetform_domain::configuration::Configuration;

    fn check(template: &ConfigTemplate, project: bool) -> Plan {
        check_with(template, project, true)
    }

    fn check_with(template: &ConfigTemplate, project: bool, stored: bool) -> Plan {
        let installation = fixtures::installation();
        let facts = Facts {
            installation: &installation,
            project: if project { Found::Here(Arc::new(fixtures::project())) } else { Found::Absent },
            stored,
            refused: None,
            zones: BTreeMap::new(),
            admitted: HashMap::new(),
            unreadable: false,
            devices: Vec::new(),
            now: fixtures::noon(),
        };
        plan(template, &facts)
    }

    fn fresh(configuration: Configuration) -> ConfigTemplate {
        let mut template = fixtures::template(configuration, 1);
        template.status = None;
        template
    }

    fn executed(mut template: ConfigTemplate, plan: &Plan) -> ConfigTemplate {
        for action in &plan.actions {
            if let Action::PatchStatus(patch) = action {
                let mut status = serde_json::to_value(template.status.clone().unwrap_or_default()).unwrap();
                json_patch::merge(&mut status, patch);
                template.status = Some(serde_json::from_value(status).unwrap());
            }
        }
        template
    }

    #[test]
    fn a_template_stores_a_revision_before_it_names_it() {
        let plan = check(&fresh(fixtures::entry()), true);
        insta::assert_json_snapshot!("first_revision", plan);
        let template = executed(fresh(fixtures::entry()), &plan);
        assert!(check(&template, true).actions.is_empty());
    }

    #[test]
    fn only_a_change_of_the_configuration_makes_a_revision() {
        let mut template = executed(fresh(fixtures::entry()), &check(&fresh(fixtures::entry()), true));
        template.metadata.generation = Some(2);
        template.spec.display_name = "Doors".into();
        let renamed = check(&template, true);
        assert!(matches!(&renamed.actions[..], [Action::PatchStatus(_)]));
        template.spec.configuration = fixtures::enrollment();
        let template = executed(template.clone(), &check(&template, true));
        assert_eq!(template.status.unwrap().revision, Some(2));
    }

    #[test]
    fn a_revision_that_is_gone_is_made_anew() {
        let template = executed(fresh(fixtures::entry()), &check(&fresh(fixtures::entry()), true));
        let plan = check_with(&template, true, false);
        let [Action::CreateRevision(revision)] = &plan.actions[..] else { panic!("{plan:#?}") };
        assert_eq!((revision.name.as_str(), revision.revision), ("entry-00000000-r1", 1));
        assert_eq!(revision.configuration, fixtures::entry());
    }

    #[test]
    fn a_revision_that_is_refused_is_said_and_not_referred_to() {
        let installation = fixtures::installation();
        let facts = Facts {
            installation: &installation,
            project: Found::Here(Arc::new(fixtures::project())),
            stored: false,
            refused: Some(Obstacle::waits(Reason::WriteRefused, "exceeded quota")),
            zones: BTreeMap::new(),
            admitted: HashMap::new(),
            unreadable: false,
            devices: Vec::new(),
            now: fixtures::noon(),
        };
        let plan = plan(&fresh(fixtures::entry()), &facts);
        insta::assert_json_snapshot!("refused_revision", plan);
        let status = executed(fresh(fixtures::entry()), &plan).status.unwrap();
        assert_eq!((status.revision, status.observed_generation), (None, None));
    }

    #[test]
    fn without_a_project_nothing_is_stored() {
        insta::assert_json_snapshot!("template_without_project", check(&fresh(fixtures::entry()), false));
    }
}
