//! What the cache takes of people who work with a project: who is to have which role, what they have, and who is in the directory.

use fleetform_crds::AdminUser;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;

use super::change::{admin_change, grant_change, person_change};
use super::{Change, Name, Observed, Scope, World};
use crate::directory::native::AccountMeta;

impl World {
    pub(super) fn take_admin(&self, scope: &Scope, event: Event<DeserializeGuard<AdminUser>>) {
        let observed = self.admins.take(scope, event);
        let changes: Vec<Change> = observed.iter().filter_map(|observed| self.rank_admin(observed)).collect();
        self.publish(&changes);
    }

    pub(super) fn take_role(&self, scope: &Scope, event: Event<DeserializeGuard<Role>>) {
        let changes: Vec<Change> = self.roles.take(scope, event).iter().filter_map(grant_change).collect();
        self.publish(&changes);
    }

    pub(super) fn take_binding(&self, scope: &Scope, event: Event<DeserializeGuard<RoleBinding>>) {
        let changes: Vec<Change> = self.bindings.take(scope, event).iter().filter_map(grant_change).collect();
        self.publish(&changes);
    }

    pub(super) fn take_person(&self, scope: &Scope, event: Event<DeserializeGuard<AccountMeta>>) {
        let changes: Vec<Change> = self.people.take(scope, event).iter().filter_map(person_change).collect();
        self.publish(&changes);
    }

    /// What one of our own writes to an admin user returned.
    pub fn own_admin(&self, admin: AdminUser) {
        let change = self.rank_admin(&self.admins.take_own(admin));
        self.publish(change.as_slice());
    }

    /// With one of our own writes this admin user went.
    pub fn forget_admin(&self, name: &Name) {
        let change = self.rank_admin(&self.admins.forget(name));
        self.publish(change.as_slice());
    }

    /// What one of our own writes to a Role returned.
    pub fn own_role(&self, role: Role) {
        let change = grant_change(&self.roles.take_own(role));
        self.publish(change.as_slice());
    }

    /// One of our own writes deleted this Role.
    pub fn forget_role(&self, name: &Name) {
        let change = grant_change(&self.roles.forget(name));
        self.publish(change.as_slice());
    }

    /// What one of our own writes to a RoleBinding returned.
    pub fn own_binding(&self, binding: RoleBinding) {
        let change = grant_change(&self.bindings.take_own(binding));
        self.publish(change.as_slice());
    }

    /// One of our own writes deleted this RoleBinding.
    pub fn forget_binding(&self, name: &Name) {
        let change = grant_change(&self.bindings.forget(name));
        self.publish(change.as_slice());
    }

    /// What one of our own writes to a person of a built-in directory returned.
    pub fn own_person(&self, person: AccountMeta) {
        let change = person_change(&self.people.take_own(person));
        self.publish(change.as_slice());
    }

    fn rank_admin(&self, observed: &Observed<AdminUser>) -> Option<Change> {
        let site = |user: &AdminUser| Some(Name::new(Name::of(user).namespace, user.site()?));
        self.admin_ranks.take(&self.admins, observed, site);
        admin_change(observed)
    }
}
