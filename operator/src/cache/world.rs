//! All kinds together, with the indexes that the gateway needs.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use fleetform_crds::{AdminUser, Alert, Asset, ConfigTemplate, DeviceInstance, EnrolledUser, Project, Site};
use fleetform_domain::configuration::DeviceType;
use fleetform_domain::id::ResourceId;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::watcher::Event;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, mpsc};

use super::change::{
    alert_change, asset_change, change_of, gone, project_change, secret_change, site_change, template_change,
    user_change,
};
use crate::directory::native::AccountMeta;

use super::{Change, Found, KindCache, Machines, Name, Observed, Ranks, Reference, Scope};

/// Metadata of a Secret that the operator made. Its contents are never cached.
pub type SecretMeta = PartialObjectMeta<Secret>;

/// The cache of everything.
#[derive(Debug)]
pub struct World {
    scopes: Vec<Scope>,
    /// Projects.
    pub projects: KindCache<Project>,
    /// Sites.
    pub sites: KindCache<Site>,
    /// Templates.
    pub templates: KindCache<ConfigTemplate>,
    /// Device instances.
    pub devices: KindCache<DeviceInstance>,
    /// Assets.
    pub assets: KindCache<Asset>,
    /// Alerts.
    pub alerts: KindCache<Alert>,
    /// Enrolled users.
    pub users: KindCache<EnrolledUser>,
    /// Admin users.
    pub admins: KindCache<AdminUser>,
    /// Roles of ours.
    pub roles: KindCache<Role>,
    /// `RoleBindings` of ours.
    pub bindings: KindCache<RoleBinding>,
    /// People of built-in directories, metadata only.
    pub people: KindCache<AccountMeta>,
    /// Secrets of ours, metadata only.
    pub secrets: KindCache<SecretMeta>,
    /// Secrets of people with Wi-Fi credentials, metadata only.
    pub wifi_secrets: KindCache<SecretMeta>,
    /// Secrets of people with addresses, metadata only.
    pub address_secrets: KindCache<SecretMeta>,
    /// Projects by the time they came.
    pub project_ranks: Ranks,
    /// Sites by the time they came, by their project.
    pub site_ranks: Ranks,
    /// Gateways by the time they came, by their site.
    pub gateway_ranks: Ranks,
    /// People and groups with a role at one site by the time they came, by their site.
    pub admin_ranks: Ranks,
    /// Who is where among sensors, assets and alerts.
    pub machines: Machines,
    by_uid: RwLock<HashMap<String, Name>>,
    by_association: RwLock<HashMap<String, Name>>,
    by_asset_tag: RwLock<HashMap<String, BTreeSet<Name>>>,
    waiting: Mutex<HashMap<Name, Arc<Notify>>>,
    subscribers: Mutex<Vec<mpsc::UnboundedSender<Change>>>,
}

impl World {
    /// An empty cache of what these watches see.
    pub fn new(scopes: Vec<Scope>) -> Self {
        Self {
            scopes,
            projects: KindCache::default(),
            sites: KindCache::default(),
            templates: KindCache::default(),
            devices: KindCache::default(),
            assets: KindCache::default(),
            alerts: KindCache::default(),
            users: KindCache::default(),
            admins: KindCache::default(),
            roles: KindCache::default(),
            bindings: KindCache::default(),
            people: KindCache::default(),
            secrets: KindCache::default(),
            wifi_secrets: KindCache::default(),
            address_secrets: KindCache::default(),
            project_ranks: Ranks::default(),
            site_ranks: Ranks::default(),
            gateway_ranks: Ranks::default(),
            admin_ranks: Ranks::default(),
            machines: Machines::default(),
            by_uid: RwLock::default(),
            by_association: RwLock::default(),
            by_asset_tag: RwLock::default(),
            waiting: Mutex::default(),
            subscribers: Mutex::default(),
        }
    }

    /// What is watched.
    pub fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    /// Whether every kind has been listed once.
    pub fn is_synced(&self) -> bool {
        let watches = self.scopes.len();
        self.projects.is_synced(watches)
            && self.sites.is_synced(watches)
            && self.templates.is_synced(watches)
            && self.devices.is_synced(watches)
            && self.assets.is_synced(watches)
            && self.alerts.is_synced(watches)
            && self.users.is_synced(watches)
            && self.admins.is_synced(watches)
            && self.roles.is_synced(watches)
            && self.bindings.is_synced(watches)
            && self.people.is_synced(watches)
            && self.secrets.is_synced(watches)
            && self.wifi_secrets.is_synced(watches)
            && self.address_secrets.is_synced(watches)
    }

    /// The device instance with this UID.
    pub fn device_by_uid(&self, uid: &str) -> Option<Arc<DeviceInstance>> {
        let name = self.by_uid.read().get(uid).cloned()?;
        self.devices.get(&name)
    }

    /// The device instance that has this association now.
    pub fn device_by_association(&self, id: &str) -> Option<Arc<DeviceInstance>> {
        let name = self.by_association.read().get(id).cloned()?;
        self.devices.get(&name)
    }

    /// Where the project with this UID is.
    pub fn namespace_of_project(&self, uid: &str) -> Option<String> {
        let projects = self.projects.all();
        let found = projects.iter().find(|project| project.metadata.uid.as_deref() == Some(uid))?;
        Some(Name::of(&**found).namespace)
    }

    /// The sensor whose device instance has this id.
    pub fn sensor(&self, id: &ResourceId) -> Option<Arc<DeviceInstance>> {
        self.devices.get(&self.machines.sensor(id)?)
    }

    /// The project of a namespace.
    pub fn project(&self, namespace: &str) -> Found<Project> {
        self.projects.find(&Name::new(namespace, fleetform_crds::project::NAME))
    }

    /// All changes from now on.
    pub fn subscribe(&self) -> mpsc::UnboundedReceiver<Change> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscribers.lock().push(sender);
        receiver
    }

    /// Wakes at the next change of this device instance. Take it before looking at the instance.
    pub fn device_changes(&self, name: &Name) -> Arc<Notify> {
        Arc::clone(self.waiting.lock().entry(name.clone()).or_default())
    }

    /// Forgets the waiters of an instance that nobody waits for any more.
    pub fn done_waiting(&self, name: &Name, notify: &Arc<Notify>) {
        let mut waiting = self.waiting.lock();
        // One count is the map's, one the caller's.
        if Arc::strong_count(notify) <= 2 {
            waiting.remove(name);
        }
    }

    pub(super) fn take_project(&self, scope: &Scope, event: Event<DeserializeGuard<Project>>) {
        let observed = self.projects.take(scope, event);
        let changes: Vec<Change> = observed.iter().filter_map(|observed| self.rank_project(observed)).collect();
        self.publish(&changes);
    }

    pub(super) fn take_site(&self, scope: &Scope, event: Event<DeserializeGuard<Site>>) {
        let observed = self.sites.take(scope, event);
        let changes: Vec<Change> = observed.iter().filter_map(|observed| self.rank_site(observed)).collect();
        self.publish(&changes);
    }

    pub(super) fn take_template(&self, scope: &Scope, event: Event<DeserializeGuard<ConfigTemplate>>) {
        let changes: Vec<Change> = self.templates.take(scope, event).iter().filter_map(template_change).collect();
        self.publish(&changes);
    }

    pub(super) fn take_device(&self, scope: &Scope, event: Event<DeserializeGuard<DeviceInstance>>) {
        let observed = self.devices.take(scope, event);
        let changes: Vec<Change> = observed.iter().flat_map(|observed| self.index(observed)).collect();
        self.publish(&changes);
    }

    pub(super) fn take_asset(&self, scope: &Scope, event: Event<DeserializeGuard<Asset>>) {
        let observed = self.assets.take(scope, event);
        let changes: Vec<Change> = observed.iter().filter_map(|observed| self.rank_asset(observed)).collect();
        self.publish(&changes);
    }

    pub(super) fn take_alert(&self, scope: &Scope, event: Event<DeserializeGuard<Alert>>) {
        let observed = self.alerts.take(scope, event);
        let changes: Vec<Change> = observed.iter().filter_map(|observed| self.rank_alert(observed)).collect();
        self.publish(&changes);
    }

    pub(super) fn take_user(&self, scope: &Scope, event: Event<DeserializeGuard<EnrolledUser>>) {
        let changes: Vec<Change> = self.users.take(scope, event).iter().filter_map(user_change).collect();
        self.publish(&changes);
    }

    pub(super) fn take_secret(&self, scope: &Scope, event: Event<DeserializeGuard<SecretMeta>>) {
        let changes: Vec<Change> = self.secrets.take(scope, event).iter().filter_map(secret_change).collect();
        self.publish(&changes);
    }

    pub(super) fn take_referenced(&self, what: Reference, scope: &Scope, event: Event<DeserializeGuard<SecretMeta>>) {
        let cache = match what {
            Reference::Wifi => &self.wifi_secrets,
            Reference::Address => &self.address_secrets,
        };
        let observed = cache.take(scope, event);
        let names = observed.iter().filter_map(|observed| change_of(observed, |_, _| true));
        let changes: Vec<Change> = names.map(|(name, _)| Change::Referenced { name, what }).collect();
        self.publish(&changes);
    }

    /// What one of our own writes to a project returned.
    pub fn own_project(&self, project: Project) {
        let change = self.rank_project(&self.projects.take_own(project));
        self.publish(change.as_slice());
    }

    /// What one of our own writes to a site returned.
    pub fn own_site(&self, site: Site) {
        let change = self.rank_site(&self.sites.take_own(site));
        self.publish(change.as_slice());
    }

    /// What one of our own writes to a template returned.
    pub fn own_template(&self, template: ConfigTemplate) {
        let change = template_change(&self.templates.take_own(template));
        self.publish(change.as_slice());
    }

    /// What one of our own writes to a device instance returned.
    pub fn own_device(&self, device: DeviceInstance) {
        let changes = self.index(&self.devices.take_own(device));
        self.publish(&changes);
    }

    /// What one of our own writes to an asset returned.
    pub fn own_asset(&self, asset: Asset) {
        let change = self.rank_asset(&self.assets.take_own(asset));
        self.publish(change.as_slice());
    }

    /// What one of our own writes to an alert returned.
    pub fn own_alert(&self, alert: Alert) {
        let change = self.rank_alert(&self.alerts.take_own(alert));
        self.publish(change.as_slice());
    }

    /// One of our own writes deleted this alert.
    pub fn forget_alert(&self, name: &Name) {
        let change = self.rank_alert(&self.alerts.forget(name));
        self.publish(change.as_slice());
    }

    /// What one of our own writes to an enrolled user returned.
    pub fn own_user(&self, user: EnrolledUser) {
        let change = user_change(&self.users.take_own(user));
        self.publish(change.as_slice());
    }

    /// With one of our own writes this enrolled user went.
    pub fn forget_user(&self, name: &Name) {
        let change = user_change(&self.users.forget(name));
        self.publish(change.as_slice());
    }

    /// What one of our own writes to a Secret returned.
    pub fn own_secret(&self, secret: SecretMeta) {
        let change = secret_change(&self.secrets.take_own(secret));
        self.publish(change.as_slice());
    }

    /// One of our own writes deleted this Secret.
    pub fn forget_secret(&self, name: &Name) {
        let change = secret_change(&self.secrets.forget(name));
        self.publish(change.as_slice());
    }

    /// Names of other device instances whose hardware claims this asset tag.
    pub fn others_with_tag(&self, asset_tag: &str, name: &Name) -> Vec<Name> {
        let tags = self.by_asset_tag.read();
        tags.get(asset_tag).into_iter().flatten().filter(|other| *other != name).cloned().collect()
    }

    fn rank_project(&self, observed: &Observed<Project>) -> Option<Change> {
        // All of them share the quota of the installation, which is no object.
        self.project_ranks.take(&self.projects, observed, |_| Some(Name::new("", "")));
        project_change(observed)
    }

    fn rank_site(&self, observed: &Observed<Site>) -> Option<Change> {
        let project = |site: &Site| Name::new(Name::of(site).namespace, fleetform_crds::project::NAME);
        self.site_ranks.take(&self.sites, observed, |site| Some(project(site)));
        site_change(observed)
    }

    fn rank_asset(&self, observed: &Observed<Asset>) -> Option<Change> {
        self.machines.take_asset(&self.assets, observed);
        asset_change(observed)
    }

    fn rank_alert(&self, observed: &Observed<Alert>) -> Option<Change> {
        self.machines.take_alert(&self.alerts, observed);
        alert_change(observed)
    }

    fn index(&self, observed: &Observed<DeviceInstance>) -> Vec<Change> {
        self.gateway_ranks.take(&self.devices, observed, |device| {
            let counts = device.spec.device_type == DeviceType::Gateway;
            counts.then(|| Name::new(Name::of(device).namespace, &device.spec.site_ref.name))
        });
        let (name, old, new) = match observed {
            Observed::Changed { old, new } => (Name::of(&**new), old.as_ref(), Some(new)),
            Observed::Gone { name, old } => (name.clone(), old.as_ref(), None),
            Observed::Known => return Vec::new(),
        };
        let uid = |device: &Arc<DeviceInstance>| device.metadata.uid.clone();
        let association = |device: &Arc<DeviceInstance>| device.association().map(|a| a.id.clone());
        reindex(&mut self.by_uid.write(), &name, old.and_then(uid), new.and_then(uid));
        reindex(&mut self.by_association.write(), &name, old.and_then(association), new.and_then(association));
        let concerned = self.machines.take_device(&self.devices, observed);
        let waiting = self.waiting.lock();
        let woken = std::iter::once(&name).chain(&concerned.gateways).filter_map(|name| waiting.get(name));
        woken.for_each(|notify| notify.notify_waiters());
        drop(waiting);
        let both = || old.into_iter().chain(new);
        let mut sites: Vec<String> = both().map(|device| device.spec.site_ref.name.clone()).collect();
        let mut templates: Vec<String> = both().filter_map(|d| d.template_name().map(ToOwned::to_owned)).collect();
        sites.dedup();
        templates.dedup();
        // Those that share a tag with it, or no longer do, have something to say about that.
        let mut others = self.retag(&name, old, new);
        others.extend(concerned.devices);
        let others = others.into_iter().map(|name| Change::DeviceInstance {
            name,
            sites: vec![],
            templates: vec![],
            assets: vec![],
            gone: None,
        });
        let assets = concerned.assets.into_iter().collect();
        let gone = gone(observed);
        std::iter::once(Change::DeviceInstance { name, sites, templates, assets, gone }).chain(others).collect()
    }

    fn retag(
        &self,
        name: &Name,
        old: Option<&Arc<DeviceInstance>>,
        new: Option<&Arc<DeviceInstance>>,
    ) -> BTreeSet<Name> {
        let tag = |device: &Arc<DeviceInstance>| {
            let device = device.status.as_ref().and_then(|status| status.device.as_ref());
            device.map(|device| device.asset_tag_id.clone())
        };
        let (old, new) = (old.and_then(tag), new.and_then(tag));
        let mut others = BTreeSet::new();
        if old == new {
            return others;
        }
        let mut tags = self.by_asset_tag.write();
        if let Some(old) = old
            && let Some(names) = tags.get_mut(&old)
        {
            names.remove(name);
            others.extend(names.iter().cloned());
            if names.is_empty() {
                tags.remove(&old);
            }
        }
        if let Some(new) = new {
            let names = tags.entry(new).or_default();
            others.extend(names.iter().cloned());
            names.insert(name.clone());
        }
        others
    }

    pub(super) fn publish(&self, changes: &[Change]) {
        if changes.is_empty() {
            return;
        }
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|subscriber| changes.iter().all(|change| subscriber.send(change.clone()).is_ok()));
    }
}

fn reindex(index: &mut HashMap<String, Name>, name: &Name, old: Option<String>, new: Option<String>) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        index.remove(&old);
    }
    if let Some(new) = new {
        index.insert(new, name.clone());
    }
}
