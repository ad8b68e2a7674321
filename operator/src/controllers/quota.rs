//! Quotas, as the cache tells: who is over one, and whose status does not say what is so.

use std::collections::HashSet;

use fleetform_crds::condition::{ConditionType, Reason, Statement, has_reason};
use fleetform_crds::{AdminUser, Asset, DeviceInstance, Project};
use fleetform_domain::quota::Quota;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use serde_json::Value;

use super::Obstacle;
use super::device::facts::is_associated;
use crate::cache::{Name, Ranks, World};
use crate::context::Context;
use crate::reconcile::status;

/// Quotas and who is over them.
#[derive(Clone, Copy, Debug)]
pub struct Quotas<'a> {
    world: &'a World,
    max_projects: u32,
}

impl<'a> Quotas<'a> {
    /// The quotas of this installation.
    pub fn of(context: &'a Context) -> Self {
        Self { world: &context.world, max_projects: context.settings.max_projects }
    }

    /// What stands in the way of a project that is over quota.
    pub fn project(&self, project: &Name) -> Option<Obstacle> {
        let refusal = self.project_refusal(project)?;
        Some(Obstacle::stalls(Reason::QuotaExceeded, format!("this project {refusal}")))
    }

    /// What stands in the way of a site that is over quota, or whose project is.
    pub fn site(&self, project: &Project, site: &Name) -> Option<Obstacle> {
        if let Some(refusal) = self.site_refusal(project, site) {
            return Some(Obstacle::stalls(Reason::QuotaExceeded, format!("this site {refusal}")));
        }
        self.waits_for_project(project)
    }

    /// What stands in the way of a device instance that is over quota, or whose site or project is. Only the first one stalls:
    /// it is said of an active device too.
    pub fn device(&self, project: &Project, device: &DeviceInstance) -> Option<Obstacle> {
        let name = Name::of(device);
        let allowed = project.gateway_quota();
        if self.world.gateway_ranks.is_over(&name, allowed) {
            let message = format!("this gateway {}", Quota::Gateways.refusal(allowed));
            return Some(Obstacle::stalls(Reason::QuotaExceeded, message));
        }
        self.waits_for_site(project, &Name::new(name.namespace, &device.spec.site_ref.name))
    }

    /// What stands in the way of an asset that is over quota, or whose site or project is.
    pub fn asset(&self, project: &Project, asset: &Asset) -> Option<Obstacle> {
        let (name, allowed) = (Name::of(asset), project.asset_quota());
        if self.world.machines.assets.is_over(&name, allowed) {
            let message = format!("this asset {}", Quota::Assets.refusal(allowed));
            return Some(Obstacle::stalls(Reason::QuotaExceeded, message));
        }
        self.waits_for_site(project, &Name::new(name.namespace, &asset.spec.site_ref.name))
    }

    /// What stands in the way of somebody who is to have a role at a site where enough have one. A site or project that is over quota keeps
    /// its people: they put that right.
    pub fn admin(&self, project: &Project, user: &AdminUser) -> Option<Obstacle> {
        let allowed = project.user_quota();
        let over = self.world.admin_ranks.is_over(&Name::of(user), allowed);
        over.then(|| {
            let message = format!("this AdminUser {}", Quota::Users.refusal(allowed));
            Obstacle::stalls(Reason::QuotaExceeded, message)
        })
    }

    /// What a project says when it has more sites than it may.
    pub fn exceeded_sites(&self, project: &Project) -> Option<String> {
        let allowed = project.site_quota();
        exceeded(Quota::Sites, allowed, &self.world.site_ranks.over(&Name::of(project), allowed))
    }

    /// What a site says when it has more gateways, assets or people than it may.
    pub fn exceeded_at(&self, project: &Project, site: &Name) -> Option<String> {
        let of = |quota, ranks: &Ranks, allowed| exceeded(quota, allowed, &ranks.over(site, allowed));
        let gateways = of(Quota::Gateways, &self.world.gateway_ranks, project.gateway_quota());
        let assets = of(Quota::Assets, &self.world.machines.assets, project.asset_quota());
        let users = of(Quota::Users, &self.world.admin_ranks, project.user_quota());
        [gateways, assets, users].into_iter().flatten().reduce(|said, more| format!("{said}. And {more}"))
    }

    /// Sites whose status does not say what is so: room was made, or was taken by an older one.
    pub fn sites_that_say_otherwise(&self, project: &Project) -> Vec<Name> {
        let parent = Name::of(project);
        let all_wait = self.project_refusal(&parent).is_some();
        let over: HashSet<Name> = self.world.site_ranks.over(&parent, project.site_quota()).into_iter().collect();
        let sites = self.world.sites.in_namespace(&parent.namespace);
        let conditions = sites.iter().map(|site| (Name::of(&**site), site.status.as_ref().map(|s| &s.conditions)));
        let otherwise = conditions.filter(|(name, says)| says_over(*says) != (all_wait || over.contains(name)));
        otherwise.map(|(name, _)| name).collect()
    }

    /// The same of the device instances of a site.
    pub fn devices_that_say_otherwise(&self, project: &Project, site: &Name, devices: &[&DeviceInstance]) -> Vec<Name> {
        let all_wait = self.site(project, site).is_some();
        let over = self.world.gateway_ranks.over(site, project.gateway_quota());
        let over: HashSet<Name> = over.into_iter().collect();
        let otherwise = devices.iter().copied().filter(|device| {
            let is_over = (all_wait && !is_associated(device))
                || (!over.is_empty() && over.contains(&Name::of::<DeviceInstance>(device)));
            says_over(device.status.as_ref().map(|status| &status.conditions)) != is_over
        });
        otherwise.map(Name::of).collect()
    }

    /// The same of the assets of a site.
    pub fn assets_that_say_otherwise(&self, project: &Project, site: &Name) -> Vec<Name> {
        let all_wait = self.site(project, site).is_some();
        let assets = self.world.machines.assets.members(site);
        let allowed = usize::try_from(project.asset_quota()).unwrap_or(usize::MAX);
        let otherwise = assets.into_iter().enumerate().filter(|(place, asset)| {
            let asset = self.world.assets.get(asset);
            let conditions = asset.as_ref().and_then(|asset| asset.status.as_ref()).map(|status| &status.conditions);
            asset.is_some() && says_over(conditions) != (all_wait || *place >= allowed)
        });
        otherwise.map(|(_, asset)| asset).collect()
    }

    fn project_refusal(&self, project: &Name) -> Option<String> {
        let over = self.world.project_ranks.is_over(project, self.max_projects);
        over.then(|| Quota::Projects.refusal(self.max_projects))
    }

    fn site_refusal(&self, project: &Project, site: &Name) -> Option<String> {
        let allowed = project.site_quota();
        self.world.site_ranks.is_over(site, allowed).then(|| Quota::Sites.refusal(allowed))
    }

    fn waits_for_site(&self, project: &Project, site: &Name) -> Option<Obstacle> {
        if let Some(refusal) = self.site_refusal(project, site) {
            let message = format!("spec.siteRef: Site {} {refusal}", site.name);
            return Some(Obstacle::waits(Reason::QuotaExceeded, message));
        }
        self.waits_for_project(project)
    }

    fn waits_for_project(&self, project: &Project) -> Option<Obstacle> {
        let refusal = self.project_refusal(&Name::of(project))?;
        Some(Obstacle::waits(Reason::QuotaExceeded, format!("the Project of this namespace {refusal}")))
    }
}

/// Whether conditions say that their object is over quota, or waits for one that is.
fn says_over(conditions: Option<&Vec<Condition>>) -> bool {
    conditions.is_some_and(|conditions| has_reason(conditions, ConditionType::Ready, Reason::QuotaExceeded))
}

fn exceeded(quota: Quota, allowed: u32, over: &[Name]) -> Option<String> {
    quota.exceeded(allowed, &over.iter().map(|name| name.name.as_str()).collect::<Vec<_>>())
}

/// What a project or site says of its quotas, given what it has to say of those that are exceeded.
pub(crate) fn within(exceeded: Option<&str>) -> Statement {
    match exceeded {
        Some(message) => Statement::new(ConditionType::WithinQuota, false, Reason::QuotaExceeded, message),
        None => Statement::new(ConditionType::WithinQuota, true, Reason::QuotaKept, "no quota is exceeded"),
    }
}

/// The patch that makes `current` into `desired`. `without` is the same without a word about quotas: that none is exceeded goes
/// along with what is written anyway, and is no reason to write.
pub(crate) fn patch<S: Serialize + PartialEq>(
    current: Option<&S>,
    without: &S,
    desired: &S,
    exceeded: Option<&str>,
) -> Option<Value> {
    let has_nothing_to_say = exceeded.is_none() && current == Some(without);
    if has_nothing_to_say { None } else { status::patch(current, desired) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Scope;
    use crate::controllers::fixtures;
    use fleetform_crds::{ProjectStatus, Site, SiteStatus};
    use fleetform_domain::activation::{Association, Phase};
    use fleetform_domain::configuration::DeviceType;
    use jiff::SignedDuration;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use kube::Resource;
    use serde_json::json;

    fn world() -> World {
        World::new(vec![Scope::All])
    }

    fn quotas(world: &World) -> Quotas<'_> {
        Quotas { world, max_projects: 1 }
    }

    fn named<K: Resource>(mut object: K, name: &str, second: i64) -> K {
        let meta = object.meta_mut();
        meta.name = Some(name.into());
        meta.creation_timestamp = Some(Time(fixtures::noon() + SignedDuration::from_secs(second)));
        object
    }

    fn project(sites: u32, gateways: u32) -> Project {
        let mut project = fixtures::project();
        project.spec.quotas =
            Some(serde_json::from_value(json!({"sites": sites, "gatewaysPerSite": gateways})).unwrap());
        project
    }

    fn gateway(name: &str, second: i64) -> DeviceInstance {
        let mut device = named(fixtures::device(&json!({})), name, second);
        device.spec.device_type = DeviceType::Gateway;
        device
    }

    fn active(mut device: DeviceInstance) -> DeviceInstance {
        let association = Association {
            id: "association".into(),
            token_sha256: "token".into(),
            device_key_sha256: "key".into(),
            epoch: 0,
            sequence: 1,
            site_uid: "site".into(),
        };
        device.status = Some(
            serde_json::from_value(json!({
                "phase": Phase::Active, "activation": { "association": association },
            }))
            .unwrap(),
        );
        device
    }

    fn over() -> Vec<Condition> {
        let says = Obstacle::waits(Reason::QuotaExceeded, "").statements();
        fleetform_crds::condition::merge(&[], &says, Some(1), fixtures::noon())
    }

    fn at(name: &str) -> Name {
        Name::new("library", name)
    }

    fn message(obstacle: Option<Obstacle>) -> String {
        obstacle.map_or_else(String::new, |found| {
            format!("{}: {}", if found.waits { "waits" } else { "stalls" }, found.message)
        })
    }

    #[test]
    fn only_gateways_count_and_the_younger_one_is_over() {
        let world = world();
        let (first, second) = (gateway("z", 1), gateway("a", 2));
        let reader = fixtures::device(&json!({}));
        for device in [&second, &first, &reader] {
            world.own_device(device.clone());
        }
        let quotas = quotas(&world);
        assert_eq!(quotas.device(&project(9, 2), &second), None);
        assert_eq!(quotas.device(&project(9, 1), &first), None);
        assert_eq!(quotas.device(&project(9, 0), &reader), None);
        insta::assert_snapshot!(message(quotas.device(&project(9, 1), &second)));
        assert_eq!(quotas.exceeded_at(&project(9, 2), &at("central")), None);
        insta::assert_snapshot!(quotas.exceeded_at(&project(9, 1), &at("central")).unwrap());
    }

    #[test]
    fn what_is_in_a_site_or_project_that_is_over_waits_with_it() {
        let world = world();
        let mut other = project(1, 9);
        other.metadata.namespace = Some("museum".into());
        other.metadata.creation_timestamp = Some(Time(fixtures::noon() - SignedDuration::from_hours(1)));
        world.own_site(named(fixtures::site(), "annex", 1));
        world.own_site(named(fixtures::site(), "central", 2));
        world.own_project(project(1, 9));
        let device = fixtures::device(&json!({}));
        let said = |what: &str, sites: u32| {
            let quotas = quotas(&world);
            let (project, site) = (project(sites, 9), at("central"));
            let (of_project, of_site) =
                (message(quotas.project(&at("project"))), message(quotas.site(&project, &site)));
            let of_device = message(quotas.device(&project, &device));
            format!("{what}\nproject {of_project}\nsite {of_site}\ndevice {of_device}\n")
        };
        let site = said("a site too many", 1);
        world.own_project(other);
        let both = said("room for the site, and an older project", 2);
        insta::assert_snapshot!(format!("{site}\n{both}"));
    }

    #[test]
    fn who_says_otherwise_looks_again() {
        let world = world();
        let project = project(1, 1);
        let mut sites = [named(fixtures::site(), "annex", 1), named(fixtures::site(), "central", 2)];
        let say = |site: &mut Site, version: &str| {
            site.status = Some(SiteStatus { conditions: over(), ..SiteStatus::default() });
            site.metadata.resource_version = Some(version.into());
        };
        for site in &sites {
            world.own_site(site.clone());
        }
        assert_eq!(quotas(&world).sites_that_say_otherwise(&project), [at("central")], "it has yet to say so");
        say(&mut sites[1], "2");
        world.own_site(sites[1].clone());
        assert_eq!(quotas(&world).sites_that_say_otherwise(&project), []);
        say(&mut sites[0], "3");
        world.own_site(sites[0].clone());
        assert_eq!(quotas(&world).sites_that_say_otherwise(&project), [at("annex")], "it has its place");
    }

    #[test]
    fn who_is_active_says_so_of_its_own_quota_alone() {
        let world = world();
        let [first, second, third] = [gateway("a", 1), active(gateway("b", 2)), active(gateway("c", 3))];
        let devices = [&first, &second, &third];
        for device in devices {
            world.own_device(device.clone());
        }
        let look = |project: &Project| {
            let found = quotas(&world).devices_that_say_otherwise(project, &at("central"), &devices);
            found.into_iter().map(|name| name.name).collect::<Vec<_>>()
        };
        world.own_site(fixtures::site());
        assert_eq!(look(&project(1, 2)), ["c"]);
        assert_eq!(look(&project(0, 2)), ["a", "c"], "the site is over: b is served on");
        assert_eq!(look(&project(1, 3)), Vec::<String>::new());
    }

    #[test]
    fn a_quota_that_is_kept_is_no_reason_to_write() {
        let status = |conditions| ProjectStatus { conditions, ..ProjectStatus::default() };
        let (silent, saying) = (status(Vec::new()), status(over()));
        assert_eq!(patch(Some(&silent), &silent, &saying, None), None);
        assert!(patch(Some(&silent), &silent, &saying, Some("exceeded")).is_some());
        let changed = ProjectStatus { site_count: 1, ..saying.clone() };
        assert!(patch(Some(&silent), &ProjectStatus { site_count: 1, ..silent.clone() }, &changed, None).is_some());
        assert_eq!(patch(Some(&saying), &silent, &saying, None), None);
    }
}
