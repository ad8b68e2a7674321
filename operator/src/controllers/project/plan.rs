//! Pure: what to do about a project.

use std::collections::HashSet;
use std::time::Duration;

use fleetform_crds::condition::{self, ConditionType, Reason, Statement, Status};
use fleetform_crds::{Project, ProjectStatus};
use fleetform_domain::id::{Installation, ResourceId};
use jiff::{SignedDuration, Timestamp};

use super::directory::{self, DirectoryFacts};
use super::encryption::{self, KeyFacts};
use crate::controllers::admin::Orphan;
use crate::controllers::{Obstacle, quota};
use crate::reconcile::plan::{Action, Plan};

/// A revision that no version refers to is kept so long, in case the version that needs it is being written.
const UNREFERENCED_FOR: SignedDuration = SignedDuration::from_secs(60);

/// How soon it is looked again when the data keys are being opened.
const OPENING: Duration = Duration::from_secs(1);

/// What a project's plan depends on.
#[derive(Debug)]
pub struct Facts<'a> {
    /// Where ARNs come from.
    pub installation: &'a Installation,
    /// Sites in the namespace.
    pub sites: usize,
    /// Device instances in the namespace.
    pub devices: usize,
    /// Of these, active ones.
    pub active: usize,
    /// Admins who stay.
    pub admins: usize,
    /// Enrolled users in the namespace, also those that do not read.
    pub users: usize,
    /// Whether device instances of the namespace do not read: then more are there, and more is in use, than is seen.
    pub unreadable: bool,
    /// Whether the gateway can tell who is silent; if not, when it will, once it serves.
    pub connectivity_known: Result<(), Option<Timestamp>>,
    /// What stands in its way when there are more projects than there may be.
    pub over_quota: Option<Obstacle>,
    /// What is to be said when it has more sites than it may.
    pub exceeded_sites: Option<String>,
    /// Revisions in use: UID of the template, number.
    pub referenced: HashSet<(&'a str, u32)>,
    /// Revisions that are stored.
    pub stored: Vec<StoredRevision>,
    /// Roles and `RoleBindings` that were made for somebody who is no more.
    pub orphans: Vec<Orphan>,
    /// Its data keys.
    pub keys: KeyFacts,
    /// Its directory.
    pub directory: DirectoryFacts,
    /// Now.
    pub now: Timestamp,
}

/// A stored revision of a template.
#[derive(Clone, Debug)]
pub struct StoredRevision {
    /// Name of its Secret.
    pub name: String,
    /// UID of its Secret.
    pub uid: String,
    /// UID of the template.
    pub template_uid: String,
    /// From 1.
    pub revision: u32,
    /// When it was stored.
    pub created: Timestamp,
}

/// The plan for a project.
pub fn plan(project: &Project, facts: &Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    let Some(uid) = project.metadata.uid.as_deref().filter(|_| project.metadata.deletion_timestamp.is_none()) else {
        return plan;
    };
    if facts.keys.is_opening() {
        // Whether it can be read is known in a moment, and said then.
        plan.look_again_in(OPENING);
        return plan;
    }
    for revision in &facts.stored {
        if facts.unreadable || facts.referenced.contains(&(revision.template_uid.as_str(), revision.revision)) {
            continue;
        }
        let due = revision.created + UNREFERENCED_FOR;
        if due <= facts.now {
            plan.actions.push(Action::DeleteSecret { name: revision.name.clone(), uid: revision.uid.clone() });
        } else {
            plan.look_again_at(due, facts.now);
        }
    }
    let known = match facts.connectivity_known {
        Ok(()) => Statement::new(
            ConditionType::ConnectivityKnown,
            Status::True,
            Reason::GatewaySettled,
            "the gateway has been up long enough to tell which devices are silent",
        ),
        Err(until) => {
            if let Some(until) = until {
                plan.look_again_at(until, facts.now);
            }
            Statement::new(
                ConditionType::ConnectivityKnown,
                Status::False,
                Reason::GatewayStarting,
                "the gateway has just started: connectivity is shown as it was last known",
            )
        }
    };
    plan.actions.extend(facts.orphans.iter().cloned().map(|Orphan { is_role, name, uid }| {
        if is_role { Action::DeleteRole { name, uid } } else { Action::DeleteBinding { name, uid } }
    }));
    let keys = encryption::plan(project, &facts.keys);
    plan.actions.extend(keys.actions);
    if let Some(at) = keys.look_again {
        plan.look_again_at(at, facts.now);
    }
    let mut statements = match facts.over_quota.as_ref().or(keys.obstacle.as_ref()) {
        Some(obstacle) => obstacle.statements(),
        None => {
            vec![Statement::new(ConditionType::Ready, Status::True, Reason::Reconciled, "the project is in use")]
        }
    };
    statements.extend([known, keys.statement]);
    let exceeded = facts.over_quota.as_ref().map(|obstacle| obstacle.message.as_str());
    let exceeded = exceeded.or(facts.exceeded_sites.as_deref());
    let current = project.status.as_ref();
    let conditions = current.map(|status| status.conditions.as_slice()).unwrap_or_default();
    statements.push(quota::within(exceeded));
    statements.extend(directory::statement(&facts.directory));
    // Nothing is written to say alone that nothing is wrong.
    let is_news = |statement: &&Statement| {
        let is_unsaid = condition::status_of(conditions, statement.condition).is_none();
        !(is_unsaid && statement.status == Status::True && is_beside(statement, &facts.directory))
    };
    let news: Vec<Statement> = statements.iter().filter(is_news).cloned().collect();
    let id = ResourceId::of(uid);
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let kept = |counted: i64, stored: fn(&ProjectStatus) -> i64| {
        if facts.unreadable { counted.max(current.map_or(0, stored)) } else { counted }
    };
    let desired = |statements: &[Statement]| ProjectStatus {
        observed_generation: project.metadata.generation,
        arn: Some(facts.installation.project_arn(&id)),
        project_id: Some(id.clone()),
        site_count: count(facts.sites),
        device_instance_count: kept(count(facts.devices), |status| status.device_instance_count),
        activated_count: kept(count(facts.active), |status| status.activated_count),
        admin_count: count(facts.admins),
        enrolled_user_count: count(facts.users),
        data_keys: keys.data_keys.clone(),
        conditions: {
            let mut merged = condition::merge(conditions, statements, project.metadata.generation, facts.now);
            merged.extend(directory::unchanged(&facts.directory, conditions));
            merged
        },
    };
    let patch = quota::patch(current, &desired(&news), &desired(&statements), exceeded);
    plan.actions.extend(patch.map(Action::PatchStatus));
    plan
}

/// Whether it is about quotas, or about a directory that cannot lack anything.
fn is_beside(statement: &Statement, directory: &DirectoryFacts) -> bool {
    match statement.condition {
        ConditionType::WithinQuota => true,
        ConditionType::DirectoryReady => *directory == DirectoryFacts::Native,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::fixtures;
    use crate::vault::KeyTrouble;

    fn facts(installation: &Installation) -> Facts<'_> {
        Facts {
            installation,
            sites: 3,
            devices: 40,
            active: 12,
            admins: 2,
            users: 250,
            unreadable: false,
            connectivity_known: Ok(()),
            over_quota: None,
            exceeded_sites: None,
            referenced: HashSet::from([("template", 2)]),
            stored: Vec::new(),
            orphans: Vec::new(),
            keys: encryption::tests::in_force(),
            directory: DirectoryFacts::Native,
            now: fixtures::noon(),
        }
    }

    fn check(project: &Project, known: Result<(), Option<Timestamp>>, stored: Vec<StoredRevision>) -> Plan {
        let installation = fixtures::installation();
        plan(project, &Facts { connectivity_known: known, stored, ..facts(&installation) })
    }

    fn executed(mut project: Project, plan: &Plan) -> Project {
        for action in &plan.actions {
            let Action::PatchStatus(patch) = action else { panic!("no revision is stored") };
            let mut status = serde_json::to_value(project.status.clone().unwrap_or_default()).unwrap();
            json_patch::merge(&mut status, patch);
            project.status = Some(serde_json::from_value(status).unwrap());
        }
        project
    }

    #[test]
    fn a_project_says_which_quota_is_exceeded_and_when_it_no_longer_is() {
        let installation = fixtures::installation();
        let sites = Some("4 sites of 3: annex is over quota; delete another site".to_owned());
        let exceeded = plan(&fixtures::project(), &Facts { exceeded_sites: sites, ..facts(&installation) });
        insta::assert_json_snapshot!("too_many_sites", exceeded);
        let over = Some(Obstacle::stalls(Reason::QuotaExceeded, "this project is over the quota"));
        let over = plan(&fixtures::project(), &Facts { over_quota: over, ..facts(&installation) });
        insta::assert_json_snapshot!("too_many_projects", over);
        for plan_before in [exceeded, over] {
            let project = executed(fixtures::project(), &plan_before);
            let project = executed(project.clone(), &plan(&project, &facts(&installation)));
            let status = project.status.as_ref().unwrap();
            assert!(["Ready", "WithinQuota"].iter().all(|type_| {
                status.conditions.iter().any(|condition| condition.type_ == *type_ && condition.status == "True")
            }));
            assert!(plan(&project, &facts(&installation)).actions.is_empty());
        }
    }

    #[test]
    fn a_project_that_never_spoke_of_quotas_is_not_written_for_their_sake() {
        let mut project = executed(fixtures::project(), &check(&fixtures::project(), Ok(()), Vec::new()));
        project.status.as_mut().unwrap().conditions.retain(|condition| condition.type_ != "WithinQuota");
        assert!(check(&project, Ok(()), Vec::new()).actions.is_empty());
    }

    #[test]
    fn what_a_directory_lacks_is_said_once_and_nothing_while_it_is_not_known() {
        use crate::directory::{DirectoryTrouble, trouble::Call};
        let installation = fixtures::installation();
        let with = |directory| Facts { directory, ..facts(&installation) };
        let denied = [Call::ListUsers, Call::ListGroups].map(DirectoryTrouble::AccessDenied).to_vec();
        let lacking = plan(&fixtures::project(), &with(DirectoryFacts::Outside(denied.clone())));
        insta::assert_json_snapshot!("directory_lacks", lacking);
        let project = executed(fixtures::project(), &lacking);
        for known in [DirectoryFacts::Outside(denied), DirectoryFacts::Unknown] {
            assert!(plan(&project, &with(known)).actions.is_empty());
        }
        for ready in [DirectoryFacts::Outside(Vec::new()), DirectoryFacts::Native] {
            let project = executed(project.clone(), &plan(&project, &with(ready.clone())));
            let conditions = &project.status.as_ref().unwrap().conditions;
            assert!(condition::is_true(conditions, ConditionType::DirectoryReady));
            assert!(plan(&project, &with(ready)).actions.is_empty());
        }
        // Of the built-in one it goes along with what is written anyway; of another one it is news.
        let mut silent = executed(fixtures::project(), &plan(&fixtures::project(), &with(DirectoryFacts::Native)));
        silent.status.as_mut().unwrap().conditions.retain(|condition| condition.type_ != "DirectoryReady");
        assert!(plan(&silent, &with(DirectoryFacts::Native)).actions.is_empty());
        assert_eq!(plan(&silent, &with(DirectoryFacts::Outside(Vec::new()))).actions.len(), 1);
    }

    fn revision(number: u32, age: i64) -> StoredRevision {
        StoredRevision {
            name: format!("entry-r{number}"),
            uid: number.to_string(),
            template_uid: "template".into(),
            revision: number,
            created: fixtures::noon() - SignedDuration::from_secs(age),
        }
    }

    #[test]
    fn while_keys_are_being_opened_nothing_is_said() {
        let installation = fixtures::installation();
        let keys = KeyFacts { open: Err(KeyTrouble::Opening), ..encryption::tests::in_force() };
        let plan = plan(&fixtures::project(), &Facts { keys, ..facts(&installation) });
        assert!(plan.actions.is_empty() && plan.look_again.is_some(), "{plan:?}");
    }

    #[test]
    fn a_project_counts_what_is_in_it() {
        insta::assert_json_snapshot!("project", check(&fixtures::project(), Ok(()), Vec::new()));
    }

    #[test]
    fn a_gateway_that_has_just_started_is_one_condition_of_the_project() {
        let until = fixtures::noon() + SignedDuration::from_secs(90);
        insta::assert_json_snapshot!("gateway_starting", check(&fixtures::project(), Err(Some(until)), Vec::new()));
    }

    #[test]
    fn revisions_that_nobody_refers_to_are_pruned_after_a_while() {
        let plan = check(&fixtures::project(), Ok(()), vec![revision(1, 600), revision(2, 600), revision(3, 10)]);
        let deleted: Vec<_> = plan
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::DeleteSecret { name, .. } => Some(name.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(deleted, ["entry-r1"]);
        assert!(plan.look_again.is_some(), "the third is looked at again");
    }
}
