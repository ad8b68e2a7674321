//! Which objects have to be looked at when another one changes.

use std::sync::Arc;
use std::time::Duration;

use fleetform_crds::Site;

use super::debounce::Debounce;
use crate::cache::{Change, Found, Kind, Name, Reference, SecretOf, World};
use crate::controllers::device::configuration;
use crate::queue::{Key, Queue};

/// Longest time until people are counted: a morning of enrollments writes a project once a minute, not with each person.
const PEOPLE_INTERVAL: Duration = Duration::from_mins(1);

/// Puts on the queue what `change` concerns.
pub fn fan_out(world: &World, queue: &Queue, debounce: &Debounce, change: &Change) {
    match change {
        Change::Project { name, matters, rekeyed } => {
            queue.add(Key::new(Kind::Project, name.clone()));
            if *rekeyed {
                sealed(world, queue, &name.namespace);
            }
            if *matters {
                whole_project(world, queue, debounce, name);
            }
        }
        Change::Site { name, matters } => {
            queue.add(Key::new(Kind::Site, name.clone()));
            sum_up(queue, debounce, project(name));
            if *matters {
                let devices = world.devices.in_namespace(&name.namespace);
                let there = devices.into_iter().filter(|device| device.spec.site_ref.name == name.name);
                add_all(queue, Kind::DeviceInstance, &there.collect::<Vec<_>>());
                for asset in world.machines.assets.members(name) {
                    queue.add(Key::new(Kind::Asset, asset));
                }
                people_of_site(world, queue, name);
            }
        }
        Change::ConfigTemplate { name, matters } => {
            queue.add(Key::new(Kind::ConfigTemplate, name.clone()));
            if *matters {
                let devices = world.devices.in_namespace(&name.namespace);
                let users = devices.into_iter().filter(|device| device.template_name() == Some(name.name.as_str()));
                add_all(queue, Kind::DeviceInstance, &users.collect::<Vec<_>>());
            }
        }
        Change::DeviceInstance { name, sites, templates, assets, gone: _ } => {
            queue.add(Key::new(Kind::DeviceInstance, name.clone()));
            sum_up(queue, debounce, project(name));
            for site in sites {
                sum_up(queue, debounce, Key::new(Kind::Site, Name::new(&name.namespace, site)));
            }
            for template in templates {
                sum_up(queue, debounce, Key::new(Kind::ConfigTemplate, Name::new(&name.namespace, template)));
            }
            for asset in assets {
                sum_up(queue, debounce, Key::new(Kind::Asset, Name::new(&name.namespace, asset)));
            }
        }
        Change::Asset { name, site, matters } => {
            queue.add(Key::new(Kind::Asset, name.clone()));
            for alert in world.machines.alerts.members(name) {
                if world.alerts.get(&alert).is_some_and(|alert| !alert.is_resolved()) {
                    queue.add(Key::new(Kind::Alert, alert));
                }
            }
            if *matters {
                for sensor in world.machines.sensors_of_asset(name) {
                    queue.add(Key::new(Kind::DeviceInstance, sensor));
                }
                if let Some(site) = site {
                    sum_up(queue, debounce, Key::new(Kind::Site, Name::new(&name.namespace, site)));
                }
            }
        }
        Change::Alert { name, asset, gone: _ } => {
            queue.add(Key::new(Kind::Alert, name.clone()));
            if let Some(asset) = asset {
                queue.add(Key::new(Kind::Asset, Name::new(&name.namespace, asset)));
            }
        }
        Change::AdminUser { name, site: None, matters: true } => {
            // Whoever waits for another Admin.
            add_all(queue, Kind::AdminUser, &world.admins.in_namespace(&name.namespace));
            queue.add(Key::new(Kind::AdminUser, name.clone()));
            sum_up(queue, debounce, project(name));
        }
        Change::AdminUser { name, site: Some(site), matters: true } => {
            let site = Name::new(&name.namespace, site);
            queue.add(Key::new(Kind::AdminUser, name.clone()));
            people_of_site(world, queue, &site);
            sum_up(queue, debounce, Key::new(Kind::Site, site));
        }
        Change::Grant { namespace, of } => grant(world, queue, namespace, of.as_deref()),
        Change::AdminUser { name, .. } => {
            queue.add(Key::new(Kind::AdminUser, name.clone()));
        }
        Change::Person { namespace } => add_all(queue, Kind::AdminUser, &world.admins.in_namespace(namespace)),
        Change::EnrolledUser { name } => {
            queue.add(Key::new(Kind::EnrolledUser, name.clone()));
            count_people(world, queue, debounce, name);
        }
        Change::Secret { name, of: Some(of) } => secret(world, queue, name, of),
        Change::Secret { of: None, .. } => {}
        Change::Referenced { name, what: Reference::Wifi } => wifi(world, queue, name),
        Change::Referenced { name, what: Reference::Address } => {
            let sites = world.sites.in_namespace(&name.namespace);
            let refers = |site: &&Arc<Site>| site.spec.address_from.as_ref().is_some_and(|from| from.name == name.name);
            sites.iter().filter(refers).for_each(|site| queue.add(Key::new(Kind::Site, Name::of(&**site))));
        }
    }
}

/// What is sealed in a namespace, whose project has other keys, or can be read or not: revisions wait for that, and whom it does not open
/// says so.
pub fn sealed(world: &World, queue: &Queue, namespace: &str) {
    add_all(queue, Kind::ConfigTemplate, &world.templates.in_namespace(namespace));
    add_all(queue, Kind::EnrolledUser, &world.users.in_namespace(namespace));
}

/// All of a project that came, went or was configured anew. One that came or went took or left a place among all projects.
fn whole_project(world: &World, queue: &Queue, debounce: &Debounce, name: &Name) {
    let others = world.projects.all();
    let others = others.iter().map(|project| Name::of(&**project)).filter(|other| other != name);
    others.for_each(|other| sum_up(queue, debounce, Key::new(Kind::Project, other)));
    let namespace = &name.namespace;
    add_all(queue, Kind::Site, &world.sites.in_namespace(namespace));
    add_all(queue, Kind::ConfigTemplate, &world.templates.in_namespace(namespace));
    add_all(queue, Kind::DeviceInstance, &world.devices.in_namespace(namespace));
    add_all(queue, Kind::Asset, &world.assets.in_namespace(namespace));
    add_all(queue, Kind::AdminUser, &world.admins.in_namespace(namespace));
}

/// Those who have a role at this site alone: it is there or not, or one of them took or left a place.
fn people_of_site(world: &World, queue: &Queue, site: &Name) {
    for user in world.admin_ranks.members(site) {
        queue.add(Key::new(Kind::AdminUser, user));
    }
}

/// Whose role it is. One that nobody owns is somebody's by its name, or nobody's and goes.
fn grant(world: &World, queue: &Queue, namespace: &str, of: Option<&str>) {
    if let Some(user) = of {
        queue.add(Key::new(Kind::AdminUser, Name::new(namespace, user)));
    } else {
        add_all(queue, Kind::AdminUser, &world.admins.in_namespace(namespace));
        queue.add(Key::new(Kind::Project, Name::new(namespace, fleetform_crds::project::NAME)));
    }
}

/// Whose Secret it is.
fn secret(world: &World, queue: &Queue, name: &Name, of: &SecretOf) {
    match of {
        SecretOf::Device(owner) => {
            queue.add(Key::new(Kind::DeviceInstance, Name::new(&name.namespace, owner)));
        }
        SecretOf::Admin(owner) => queue.add(Key::new(Kind::AdminUser, Name::new(&name.namespace, owner))),
        SecretOf::Template(uid) => {
            let templates = world.templates.in_namespace(&name.namespace);
            let found = templates.iter().filter(|template| template.metadata.uid.as_ref() == Some(uid));
            found.for_each(|template| queue.add(Key::new(Kind::ConfigTemplate, Name::of(&**template))));
        }
    }
}

/// Devices that connect with the credentials in this Secret.
fn wifi(world: &World, queue: &Queue, name: &Name) {
    for device in world.devices.in_namespace(&name.namespace) {
        let template = device.template_name().map(|template| Name::new(&name.namespace, template));
        let template = template.map(|template| world.templates.find(&template));
        let wanted = configuration::wifi_secret(&device, template.as_ref(), None);
        // A device that keeps an earlier revision of its template goes by what that refers to.
        let in_force = configuration::credentials_in_force(&device);
        if [wanted, in_force].contains(&Some(name.name.as_str())) {
            queue.add(Key::new(Kind::DeviceInstance, Name::of(&*device)));
        }
    }
}

/// Whether there is anybody decides whether the project may be deleted; how many there are can wait.
fn count_people(world: &World, queue: &Queue, debounce: &Debounce, name: &Name) {
    let Found::Here(here) = world.project(&name.namespace) else { return };
    let counted = here.status.as_ref().is_some_and(|status| status.enrolled_user_count > 0);
    if world.users.has_any_in(&name.namespace) == counted {
        queue.add_after(project(name), PEOPLE_INTERVAL);
    } else {
        sum_up(queue, debounce, project(name));
    }
}

fn project(name: &Name) -> Key {
    Key::new(Kind::Project, Name::new(&name.namespace, fleetform_crds::project::NAME))
}

fn add_all<K: kube::Resource>(queue: &Queue, kind: Kind, objects: &[Arc<K>]) {
    for object in objects {
        queue.add(Key::new(kind, Name::of(&**object)));
    }
}

fn sum_up(queue: &Queue, debounce: &Debounce, key: Key) {
    let delay = debounce.delay(&key);
    if delay.is_zero() { queue.add(key) } else { queue.add_after(key, delay) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Scope;
    use crate::controllers::fixtures;
    use crate::people::fixtures::user;
    use serde_json::json;

    /// How many are looked at at once when a person came to a project that says that there are so many.
    fn at_once(counted: i64, there: bool) -> usize {
        let (world, queue) = (World::new(vec![Scope::All]), Queue::default());
        let (mut library, person) = (fixtures::project(), user("eu-1", 1));
        let status = json!({ "enrolledUserCount": counted, "conditions": [] });
        library.status = Some(serde_json::from_value(status).unwrap());
        world.own_project(library);
        let name = Name::of(&person);
        if there {
            world.own_user(person);
        }
        fan_out(&world, &queue, &Debounce::default(), &Change::EnrolledUser { name });
        queue.depth()
    }

    #[test]
    fn the_first_person_of_a_project_and_the_last_are_counted_at_once_and_no_other() {
        assert_eq!((at_once(0, true), at_once(1, false)), (2, 2));
        assert_eq!((at_once(1, true), at_once(0, false)), (1, 1));
    }
}
