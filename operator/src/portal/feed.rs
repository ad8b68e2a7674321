//! Pure: the devices as the portal shows them, and what changed since a version. What changed costs as much as what changed,
//! however many devices there are.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use fleetform_domain::wire::{DeviceList, DeviceName, DeviceSummary};

/// Most departures that are remembered. Who asks about an older version gets the whole list.
const KEPT_DEPARTURES: usize = 8192;

/// Which devices somebody asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Scope {
    /// Only those of this project.
    pub(super) project: Option<String>,
    /// Only those of this site.
    pub(super) site: Option<String>,
    /// Only those that are simulated, or only those that are not.
    pub(super) simulated: Option<bool>,
}

impl Scope {
    fn covers(&self, device: &DeviceSummary) -> bool {
        self.project.as_ref().is_none_or(|project| *project == device.id.project)
            && self.site.as_ref().is_none_or(|site| *site == device.site)
            && self.simulated.is_none_or(|simulated| simulated == device.simulated)
    }
}

/// A device that went, or was moved out of what some ask for; as it was before.
#[derive(Debug)]
struct Departure {
    version: u64,
    before: Arc<DeviceSummary>,
}

/// The devices.
#[derive(Debug)]
pub(super) struct Feed {
    /// Versions of another process, or of an earlier life of this one, mean nothing here.
    epoch: String,
    version: u64,
    /// Departures up to this version are forgotten.
    forgotten: u64,
    devices: HashMap<DeviceName, u64>,
    by_version: BTreeMap<u64, Arc<DeviceSummary>>,
    departures: VecDeque<Departure>,
    kept_departures: usize,
}

/// What is to be answered.
#[derive(Debug)]
pub(super) struct Listing {
    /// Whether it is the whole list.
    pub(super) complete: bool,
    version: String,
    items: Vec<Arc<DeviceSummary>>,
    removed: Vec<DeviceName>,
}

impl Listing {
    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.removed.is_empty()
    }

    /// To be given as `since` next time.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// The answer.
    pub(super) fn into_list(self) -> DeviceList {
        let items = self.items.iter().map(|device| DeviceSummary::clone(device)).collect();
        DeviceList { version: self.version, complete: self.complete, items, removed: self.removed }
    }
}

impl Feed {
    /// An empty feed. `epoch` must differ between processes.
    pub(super) fn new(epoch: String) -> Self {
        Self {
            epoch,
            version: 0,
            forgotten: 0,
            devices: HashMap::new(),
            by_version: BTreeMap::new(),
            departures: VecDeque::new(),
            kept_departures: KEPT_DEPARTURES,
        }
    }

    /// Takes a device as it is now. Answers whether that is news.
    pub(super) fn put(&mut self, device: DeviceSummary) -> bool {
        let before = self.devices.get(&device.id).and_then(|version| self.by_version.get(version));
        if before.is_some_and(|before| **before == device) {
            return false;
        }
        self.version += 1;
        let before = self.devices.insert(device.id.clone(), self.version);
        let before = before.and_then(|version| self.by_version.remove(&version));
        if let Some(before) = before.filter(|before| before.site != device.site || before.simulated != device.simulated)
        {
            self.depart(before);
        }
        self.by_version.insert(self.version, Arc::new(device));
        true
    }

    /// Takes it that a device is gone. Answers whether that is news.
    pub(super) fn remove(&mut self, name: &DeviceName) -> bool {
        let Some(before) = self.devices.remove(name).and_then(|version| self.by_version.remove(&version)) else {
            return false;
        };
        self.version += 1;
        self.depart(before);
        true
    }

    fn depart(&mut self, before: Arc<DeviceSummary>) {
        self.departures.push_back(Departure { version: self.version, before });
        if self.departures.len() > self.kept_departures
            && let Some(oldest) = self.departures.pop_front()
        {
            self.forgotten = oldest.version;
        }
    }

    /// The devices in `scope`, or what changed of them since a version that is still known.
    pub(super) fn list(&self, scope: &Scope, since: Option<&str>) -> Listing {
        let since = since.and_then(|since| self.known_version(since));
        let newer = self.by_version.range(since.map_or(0, |since| since + 1)..);
        let items: Vec<_> = newer.filter(|(_, device)| scope.covers(device)).map(|(_, d)| Arc::clone(d)).collect();
        let removed = since.map(|since| self.departed(scope, since)).unwrap_or_default();
        Listing { complete: since.is_none(), version: format!("{}.{}", self.epoch, self.version), items, removed }
    }

    fn departed(&self, scope: &Scope, since: u64) -> Vec<DeviceName> {
        let first = self.departures.partition_point(|departure| departure.version <= since);
        let there = |name: &DeviceName| {
            let device = self.devices.get(name).and_then(|version| self.by_version.get(version));
            device.is_some_and(|device| scope.covers(device))
        };
        let departed = self.departures.range(first..).map(|departure| &departure.before);
        let mut names: Vec<DeviceName> =
            departed.filter(|device| scope.covers(device) && !there(&device.id)).map(|d| d.id.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn known_version(&self, text: &str) -> Option<u64> {
        let (epoch, version) = text.rsplit_once('.')?;
        let version = version.parse().ok()?;
        (epoch == self.epoch && (self.forgotten..=self.version).contains(&version)).then_some(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fleetform_domain::activation::Phase;
    use fleetform_domain::configuration::DeviceType;
    use proptest::prelude::*;

    fn device(name: &str, site: &str, simulated: bool, sequence: i64) -> DeviceSummary {
        DeviceSummary {
            id: DeviceName { project: "library".into(), name: name.into() },
            uid: format!("uid-{name}"),
            display_name: name.to_uppercase(),
            site: site.into(),
            device_type: DeviceType::Reader,
            phase: Phase::ReadyForActivation,
            activation_sequence: sequence,
            simulated,
        }
    }

    fn name(name: &str) -> DeviceName {
        DeviceName { project: "library".into(), name: name.into() }
    }

    fn at_site(site: &str) -> Scope {
        Scope { site: Some(site.into()), ..Scope::default() }
    }

    fn names(list: &DeviceList) -> (Vec<&str>, Vec<&str>) {
        let items = list.items.iter().map(|device| device.id.name.as_str()).collect();
        (items, list.removed.iter().map(|name| name.name.as_str()).collect())
    }

    #[test]
    fn a_delta_says_what_changed_and_what_went() {
        let mut feed = Feed::new("e".into());
        assert!(feed.put(device("a", "central", true, 1)));
        assert!(feed.put(device("b", "central", true, 1)));
        assert!(!feed.put(device("b", "central", true, 1)), "the same again is no news");
        let whole = feed.list(&Scope::default(), None).into_list();
        assert!(whole.complete);
        assert_eq!(names(&whole), (vec!["a", "b"], vec![]));

        feed.put(device("a", "central", true, 2));
        feed.put(device("c", "ballard", true, 1));
        feed.remove(&name("b"));
        assert!(!feed.remove(&name("b")));
        let delta = feed.list(&Scope::default(), Some(&whole.version)).into_list();
        assert!(!delta.complete);
        assert_eq!(names(&delta), (vec!["a", "c"], vec!["b"]));
        assert!(feed.list(&Scope::default(), Some(&delta.version)).is_empty());
    }

    #[test]
    fn who_asks_for_one_site_hears_of_no_other() {
        let mut feed = Feed::new("e".into());
        feed.put(device("a", "central", true, 1));
        feed.put(device("b", "ballard", true, 1));
        let start = feed.list(&at_site("central"), None).into_list();
        assert_eq!(names(&start), (vec!["a"], vec![]));
        feed.put(device("b", "ballard", true, 2));
        feed.remove(&name("b"));
        assert!(feed.list(&at_site("central"), Some(&start.version)).is_empty());

        feed.put(device("a", "ballard", true, 1));
        let moved = feed.list(&at_site("central"), Some(&start.version)).into_list();
        assert_eq!(names(&moved), (vec![], vec!["a"]));
        feed.put(device("a", "central", true, 1));
        let back = feed.list(&at_site("central"), Some(&start.version)).into_list();
        assert_eq!(names(&back), (vec!["a"], vec![]), "it came back before anybody looked");
    }

    #[test]
    fn a_device_that_is_no_longer_simulated_leaves_those_that_are() {
        let mut feed = Feed::new("e".into());
        let simulated = Scope { simulated: Some(true), ..Scope::default() };
        feed.put(device("a", "central", true, 1));
        let start = feed.list(&simulated, None).into_list();
        feed.put(device("a", "central", false, 1));
        let delta = feed.list(&simulated, Some(&start.version)).into_list();
        assert_eq!(names(&delta), (vec![], vec!["a"]));
    }

    #[test]
    fn versions_that_mean_nothing_here_get_the_whole_list() {
        let mut feed = Feed { kept_departures: 2, ..Feed::new("e".into()) };
        for n in 0..4 {
            feed.put(device(&n.to_string(), "central", true, 1));
        }
        let old = feed.list(&Scope::default(), None).into_list().version;
        for n in 0..3 {
            feed.remove(&name(&n.to_string()));
        }
        for since in [old.as_str(), "other.4", "e.99", "e.x", "e", ""] {
            assert!(feed.list(&Scope::default(), Some(since)).complete, "{since}");
        }
        assert!(!feed.list(&Scope::default(), Some("e.5")).complete);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u8, bool, i64),
        Remove(u8),
        Look,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..6_u8, 0..2_u8, any::<bool>(), 0..3_i64).prop_map(|(n, s, m, q)| Step::Put(n, s, m, q)),
            1 => (0..6_u8).prop_map(Step::Remove),
            1 => Just(Step::Look),
        ]
    }

    proptest! {
        #[test]
        fn deltas_laid_over_each_other_make_the_whole_list(steps in proptest::collection::vec(step(), 0..60)) {
            let mut feed = Feed { kept_departures: 4, ..Feed::new("e".into()) };
            let scope = Scope { site: Some("0".into()), simulated: Some(true), project: None };
            let mut seen: BTreeMap<DeviceName, DeviceSummary> = BTreeMap::new();
            let mut since: Option<String> = None;
            for step in steps.into_iter().chain([Step::Look]) {
                match step {
                    Step::Put(n, site, simulated, sequence) => {
                        feed.put(device(&n.to_string(), &site.to_string(), simulated, sequence));
                    }
                    Step::Remove(n) => {
                        feed.remove(&name(&n.to_string()));
                    }
                    Step::Look => {
                        let list = feed.list(&scope, since.as_deref()).into_list();
                        if list.complete {
                            seen.clear();
                        }
                        for gone in &list.removed {
                            seen.remove(gone);
                        }
                        seen.extend(list.items.iter().map(|device| (device.id.clone(), device.clone())));
                        since = Some(list.version);
                        let whole = feed.list(&scope, None).into_list().items;
                        let whole: BTreeMap<_, _> = whole.into_iter().map(|d| (d.id.clone(), d)).collect();
                        prop_assert_eq!(&seen, &whole);
                    }
                }
            }
        }
    }
}
