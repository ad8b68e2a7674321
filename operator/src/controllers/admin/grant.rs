//! Pure: what Kubernetes is to hold for somebody who has a role. In a project that is a RoleBinding. At one site it is a Role of their own,
//! with rights to that site alone, and for those who write there another RoleBinding: RBAC cannot narrow a create to a site, so a policy
//! asks for the rights of the first.

use std::collections::BTreeMap;

use fleetform_crds::{AdminUser, GROUP};
use fleetform_domain::admin::Role;
use k8s_openapi::api::rbac::v1::{PolicyRule, RoleRef, Subject};
use kube::ResourceExt as _;

use crate::reconcile::names;
use crate::reconcile::plan::{BindingDraft, RoleDraft};

/// Group of Roles and `RoleBindings`.
const RBAC: &str = "rbac.authorization.k8s.io";

/// What somebody is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// A Role of their own.
    pub role: Option<RoleDraft>,
    /// What they are bound to.
    pub bindings: Vec<BindingDraft>,
}

/// What these are to have by an admin user. `prefix` is what the names of the installation's `ClusterRoles` begin with.
pub fn grant(user: &AdminUser, prefix: &str, subjects: &[Subject]) -> Grant {
    let (admin, role) = (user.name_any(), user.spec.role);
    let binding = |name, role_ref| BindingDraft { name, role_ref, subjects: subjects.to_vec() };
    let Some(site) = user.site() else {
        let whole = binding(names::role_binding(&admin, role), cluster_role(prefix, role.cluster_role()));
        return Grant { role: None, bindings: vec![whole] };
    };
    let own = names::site_role(&admin, role);
    let to_own = RoleRef { api_group: Some(RBAC.to_owned()), kind: "Role".to_owned(), name: own.clone() };
    let writes = role.site_cluster_role().map(|writes| cluster_role(prefix, writes));
    let writes = writes.map(|writes| binding(names::site_writes(&admin, role), writes));
    let bindings = std::iter::once(binding(own.clone(), to_own)).chain(writes).collect();
    Grant { role: Some(RoleDraft { name: own, rules: site_rules(role, site) }), bindings }
}

/// The rules of the Role that somebody has who has this role at this site: one for each verb, in one order, so that they can be compared.
pub fn site_rules(role: Role, site: &str) -> Vec<PolicyRule> {
    let mut by_verb: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for right in role.site_rights() {
        by_verb.entry(right.verb).or_default().push(right.resource.to_owned());
    }
    let of_verb = |(verb, resources): (&str, Vec<String>)| PolicyRule {
        api_groups: Some(vec![GROUP.to_owned()]),
        resources: Some(resources),
        resource_names: Some(vec![site.to_owned()]),
        verbs: vec![verb.to_owned()],
        non_resource_urls: None,
    };
    by_verb.into_iter().map(of_verb).collect()
}

/// What refers to the `ClusterRole` of Admins of the whole project.
pub fn project_admin(prefix: &str) -> RoleRef {
    cluster_role(prefix, Role::Admin.cluster_role())
}

fn cluster_role(prefix: &str, suffix: &str) -> RoleRef {
    RoleRef { api_group: Some(RBAC.to_owned()), kind: "ClusterRole".to_owned(), name: format!("{prefix}-{suffix}") }
}
