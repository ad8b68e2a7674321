//! Who came first among those that share a quota. Kept as objects come and go: while a quota is kept, asking costs nothing.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use kube::Resource;
use parking_lot::RwLock;

use super::{Found, KindCache, Name, Observed};

/// The objects of one kind by what they belong to, the oldest first; of two of the same second the one whose name comes first.
///
/// # Guarantees
/// An object that no longer reads keeps the place that it had: nobody is let in, and later thrown out, because of that.
#[derive(Debug, Default)]
pub struct Ranks(RwLock<Places>);

type Place = (Timestamp, Name);

#[derive(Debug, Default)]
struct Places {
    by_parent: HashMap<Name, BTreeSet<Place>>,
    of: HashMap<Name, (Name, Timestamp)>,
}

impl Places {
    fn put(&mut self, name: &Name, place: Option<(Name, Timestamp)>) {
        if self.of.get(name) == place.as_ref() {
            return;
        }
        if let Some((parent, created)) = self.of.remove(name)
            && let Some(places) = self.by_parent.get_mut(&parent)
        {
            places.remove(&(created, name.clone()));
            if places.is_empty() {
                self.by_parent.remove(&parent);
            }
        }
        if let Some((parent, created)) = place {
            self.by_parent.entry(parent.clone()).or_default().insert((created, name.clone()));
            self.of.insert(name.clone(), (parent, created));
        }
    }
}

impl Ranks {
    /// Takes what was observed of an object of `cache`. `parent` is what it belongs to, if it counts.
    pub(super) fn take<K: Resource<DynamicType = ()>>(
        &self,
        cache: &KindCache<K>,
        observed: &Observed<K>,
        parent: impl Fn(&K) -> Option<Name>,
    ) {
        match observed {
            Observed::Changed { new, .. } => {
                let created = new.meta().creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
                self.0.write().put(&Name::of(&**new), parent(new).map(|parent| (parent, created)));
            }
            Observed::Gone { name, .. } if matches!(cache.find(name), Found::Absent) => self.0.write().put(name, None),
            Observed::Gone { .. } | Observed::Known => {}
        }
    }

    /// Whether the object of this name comes after the first `allowed` of those that it shares a quota with.
    pub fn is_over(&self, name: &Name, allowed: u32) -> bool {
        let places = self.0.read();
        let Some((parent, created)) = places.of.get(name) else { return false };
        let Some(shared) = places.by_parent.get(parent) else { return false };
        let allowed = count(allowed);
        // Quotas are kept as a rule; only where one is exceeded somebody has to count.
        shared.len() > allowed
            && shared.iter().nth(allowed).is_some_and(|(since, first)| (since, first) <= (created, name))
    }

    /// Those of `parent`, the oldest first.
    pub fn members(&self, parent: &Name) -> Vec<Name> {
        self.over(parent, 0)
    }

    /// The oldest of `parent`.
    pub fn first(&self, parent: &Name) -> Option<Name> {
        let places = self.0.read();
        Some(places.by_parent.get(parent)?.first()?.1.clone())
    }

    /// Those of `parent` that come after the first `allowed`, the oldest first.
    pub fn over(&self, parent: &Name, allowed: u32) -> Vec<Name> {
        let places = self.0.read();
        let shared = places.by_parent.get(parent).into_iter().flatten();
        shared.skip(count(allowed)).map(|(_, name)| name.clone()).collect()
    }
}

fn count(allowed: u32) -> usize {
    usize::try_from(allowed).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Scope;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::DeserializeGuard;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    fn name(name: &str) -> Name {
        Name::new("n", name)
    }

    fn ranks(members: &[(&str, i64)]) -> Ranks {
        let ranks = Ranks::default();
        for (member, second) in members {
            put(&ranks, member, Some(*second));
        }
        ranks
    }

    fn put(ranks: &Ranks, member: &str, second: Option<i64>) {
        let place = second.map(|second| (name("parent"), Timestamp::from_second(second).unwrap()));
        ranks.0.write().put(&name(member), place);
    }

    fn over(ranks: &Ranks, allowed: u32) -> Vec<String> {
        let over = ranks.over(&name("parent"), allowed);
        for member in ["a", "b", "c", "d"] {
            assert_eq!(ranks.is_over(&name(member), allowed), over.contains(&name(member)), "{member} of {allowed}");
        }
        over.into_iter().map(|name| name.name).collect()
    }

    #[test]
    fn the_older_ones_keep_their_places_and_names_decide_within_a_second() {
        let ranks = ranks(&[("d", 1), ("b", 2), ("a", 2), ("c", 3)]);
        assert_eq!(over(&ranks, 4), Vec::<String>::new());
        assert_eq!(over(&ranks, 2), ["b", "c"]);
        assert_eq!(over(&ranks, 0), ["d", "a", "b", "c"]);
    }

    #[test]
    fn who_goes_makes_room_and_who_comes_again_starts_over() {
        let ranks = ranks(&[("a", 1), ("b", 2), ("c", 3)]);
        put(&ranks, "a", None);
        assert_eq!(over(&ranks, 1), ["c"]);
        put(&ranks, "b", Some(4));
        assert_eq!(over(&ranks, 1), ["b"]);
        for member in ["b", "c"] {
            put(&ranks, member, None);
        }
        let places = ranks.0.read();
        assert!(places.of.is_empty() && places.by_parent.is_empty(), "nothing is left of who went");
    }

    #[test]
    fn what_no_longer_reads_keeps_its_place_until_it_is_gone() {
        let object = |version: u32, data: serde_json::Value| {
            let metadata = json!({ "namespace": "n", "name": "a", "resourceVersion": version.to_string() });
            let object = json!({ "metadata": metadata, "data": data });
            serde_json::from_value::<DeserializeGuard<ConfigMap>>(object).unwrap()
        };
        let (cache, ranks) = (KindCache::default(), Ranks::default());
        let take = |event| {
            for observed in cache.take(&Scope::All, event) {
                ranks.take(&cache, &observed, |_| Some(name("parent")));
            }
            over(&ranks, 0)
        };
        assert_eq!(take(Event::Apply(object(1, json!({})))), ["a"]);
        assert_eq!(take(Event::Apply(object(2, json!("no object")))), ["a"]);
        assert_eq!(take(Event::Delete(object(3, json!({})))), Vec::<String>::new());
    }
}
