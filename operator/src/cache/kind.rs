//! The objects of one kind.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::watcher::Event;
use parking_lot::RwLock;

use super::{Name, Scope};

/// Most deleted names that are remembered, so that a late answer to a write does not bring an object back.
const KEPT_TOMBSTONES: usize = 4096;

/// The objects of one kind, by namespace and name.
#[derive(Debug)]
pub struct KindCache<K> {
    inner: RwLock<Inner<K>>,
}

#[derive(Debug)]
struct Inner<K> {
    objects: BTreeMap<Name, Arc<K>>,
    unreadable: HashMap<Name, String>,
    relists: HashMap<Scope, Relist>,
    /// The newest version that was ever seen.
    newest: u64,
    listed: HashSet<Scope>,
    tombstones: HashMap<Name, u64>,
    tombstone_order: VecDeque<Name>,
}

/// A list that is being read.
#[derive(Debug)]
struct Relist {
    seen: HashSet<Name>,
    /// The newest version that had been seen when the list was asked for. What the list says is not older.
    began_at: u64,
}

/// Something that another object refers to.
#[derive(Clone, Debug)]
pub enum Found<K> {
    /// It is there.
    Here(Arc<K>),
    /// It is there, but does not read.
    Unreadable(String),
    /// It is not there.
    Absent,
}

impl<K> Found<K> {
    /// The object, if it is there and reads.
    pub fn here(&self) -> Option<&K> {
        match self {
            Self::Here(object) => Some(object),
            Self::Unreadable(_) | Self::Absent => None,
        }
    }
}

/// What an observation did to the cache.
#[derive(Debug)]
pub enum Observed<K> {
    /// The object is new or newer.
    Changed {
        /// Before.
        old: Option<Arc<K>>,
        /// After.
        new: Arc<K>,
    },
    /// The object is gone, or cannot be read (any longer).
    Gone {
        /// Which one.
        name: Name,
        /// Before, if it could be read then.
        old: Option<Arc<K>>,
    },
    /// The cache knew it already, or knows better.
    Known,
}

impl<K> Default for KindCache<K> {
    fn default() -> Self {
        let inner = Inner {
            objects: BTreeMap::new(),
            unreadable: HashMap::new(),
            relists: HashMap::new(),
            newest: 0,
            listed: HashSet::new(),
            tombstones: HashMap::new(),
            tombstone_order: VecDeque::new(),
        };
        Self { inner: RwLock::new(inner) }
    }
}

/// Drops what no decision needs and what takes most of the memory.
pub(super) fn strip<K: Resource>(object: &mut K) {
    let metadata = object.meta_mut();
    metadata.managed_fields = None;
    if let Some(annotations) = &mut metadata.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
}

/// The revision of the store that an object was written with; 0 when it says none.
pub fn version_of<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

impl<K: Resource<DynamicType = ()>> KindCache<K> {
    /// The object of this name.
    pub fn get(&self, name: &Name) -> Option<Arc<K>> {
        self.inner.read().objects.get(name).cloned()
    }

    /// The object of this name, or why there is none.
    pub fn find(&self, name: &Name) -> Found<K> {
        let inner = self.inner.read();
        match (inner.objects.get(name), inner.unreadable.get(name)) {
            (Some(object), _) => Found::Here(Arc::clone(object)),
            (None, Some(why)) => Found::Unreadable(why.clone()),
            (None, None) => Found::Absent,
        }
    }

    /// Whether there are objects in a namespace, also such as cannot be read.
    pub fn has_any_in(&self, namespace: &str) -> bool {
        let first = self.inner.read().objects.range(Name::new(namespace, "")..).next().map(|(name, _)| name.clone());
        first.is_some_and(|first| first.namespace == namespace) || self.unreadable_in(namespace) > 0
    }

    /// How many objects of a namespace cannot be read.
    pub fn unreadable_in(&self, namespace: &str) -> usize {
        self.inner.read().unreadable.keys().filter(|name| name.namespace == namespace).count()
    }

    /// How many objects cannot be read.
    pub fn unreadable_count(&self) -> usize {
        self.inner.read().unreadable.len()
    }

    /// All objects of a namespace.
    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        let start = Name::new(namespace, "");
        let inner = self.inner.read();
        inner
            .objects
            .range(start..)
            .take_while(|(name, _)| name.namespace == namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// All objects.
    pub fn all(&self) -> Vec<Arc<K>> {
        self.inner.read().objects.values().cloned().collect()
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.inner.read().objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the first list of each of so many watches has been read whole.
    pub fn is_synced(&self, watches: usize) -> bool {
        self.inner.read().listed.len() >= watches
    }

    /// Takes what the watch of `scope` delivered; returns what changed. A relist ends with the objects that are gone.
    pub fn take(&self, scope: &Scope, event: Event<DeserializeGuard<K>>) -> Vec<Observed<K>> {
        match event {
            Event::Init => {
                let mut inner = self.inner.write();
                let began_at = inner.newest;
                inner.relists.insert(scope.clone(), Relist { seen: HashSet::new(), began_at });
                Vec::new()
            }
            Event::InitApply(object) => {
                let name = Name::of(&object);
                if let Ok(listed) = &object.0 {
                    self.notice_restore(scope, &name, version_of(listed));
                }
                let observed = self.observe(object.0.map_err(|invalid| (name.clone(), invalid.error)));
                if let Some(relist) = self.inner.write().relists.get_mut(scope) {
                    relist.seen.insert(name);
                }
                vec![observed]
            }
            Event::InitDone => {
                let observed = self.end_relist(scope);
                self.inner.write().listed.insert(scope.clone());
                observed
            }
            Event::Apply(object) => {
                let name = Name::of(&object);
                vec![self.observe(object.0.map_err(|invalid| (name, invalid.error)))]
            }
            Event::Delete(object) => vec![self.remove(&Name::of(&object), version_of(&object))],
        }
    }

    /// Takes what one of our own writes returned.
    pub fn take_own(&self, mut object: K) -> Observed<K> {
        // The watch brings this version too, but an object that is known is not taken again.
        strip(&mut object);
        self.observe(Ok(object))
    }

    /// Forgets an object that one of our own writes deleted.
    pub fn forget(&self, name: &Name) -> Observed<K> {
        let version = self.get(name).map_or(0, |object| version_of(&*object));
        self.remove(name, version)
    }

    /// A list that says less of an object than was known before the list was asked for comes from a store that went back: it
    /// was restored from a backup. Then what it says counts, and what was remembered of the lost future does not.
    fn notice_restore(&self, scope: &Scope, name: &Name, listed: u64) {
        let mut inner = self.inner.write();
        let began_at = inner.relists.get(scope).map_or(0, |relist| relist.began_at);
        let known = inner.objects.get(name).map(|known| version_of(&**known));
        let known = known.max(inner.tombstones.get(name).copied()).unwrap_or(0);
        if listed < known && known <= began_at {
            tracing::warn!(object = %name, "the API server went back in time, as after the restore of a backup");
            inner.objects.remove(name);
            inner.tombstones.clear();
            inner.tombstone_order.clear();
        }
    }

    fn observe(&self, object: Result<K, (Name, String)>) -> Observed<K> {
        let mut inner = self.inner.write();
        match object {
            Ok(object) => {
                let name = Name::of(&object);
                let version = version_of(&object);
                inner.newest = inner.newest.max(version);
                let newest = inner.objects.get(&name).map(|known| version_of(&**known));
                let deleted = inner.tombstones.get(&name).copied();
                if newest.is_some_and(|newest| newest >= version) || deleted.is_some_and(|deleted| deleted >= version) {
                    return Observed::Known;
                }
                inner.unreadable.remove(&name);
                let new = Arc::new(object);
                let old = inner.objects.insert(name, Arc::clone(&new));
                Observed::Changed { old, new }
            }
            Err((name, error)) => {
                let old = inner.objects.remove(&name);
                if inner.unreadable.get(&name) == Some(&error) {
                    return Observed::Known;
                }
                let kind = K::kind(&());
                tracing::warn!(%kind, object = %name, error, "an object cannot be read, and is left as it is");
                inner.unreadable.insert(name.clone(), error);
                Observed::Gone { name, old }
            }
        }
    }

    fn remove(&self, name: &Name, version: u64) -> Observed<K> {
        let mut inner = self.inner.write();
        let was_unreadable = inner.unreadable.remove(name).is_some();
        inner.newest = inner.newest.max(version);
        if inner.tombstones.insert(name.clone(), version).is_none() {
            inner.tombstone_order.push_back(name.clone());
        }
        if inner.tombstone_order.len() > KEPT_TOMBSTONES
            && let Some(oldest) = inner.tombstone_order.pop_front()
        {
            inner.tombstones.remove(&oldest);
        }
        let newer = inner.objects.get(name).is_some_and(|known| version_of(&**known) > version);
        if newer {
            return Observed::Known;
        }
        match inner.objects.remove(name) {
            None if !was_unreadable => Observed::Known,
            old => Observed::Gone { name: name.clone(), old },
        }
    }

    fn end_relist(&self, scope: &Scope) -> Vec<Observed<K>> {
        let mut inner = self.inner.write();
        let Some(relist) = inner.relists.remove(scope) else { return Vec::new() };
        let gone = |name: &Name| scope.covers(name) && !relist.seen.contains(name);
        let missing = inner.objects.keys().chain(inner.unreadable.keys()).filter(|name| gone(name));
        let missing: Vec<Name> = missing.cloned().collect();
        // No tombstones: after a restore an object of the name may come again with a smaller version, and what was made after
        // the list was asked for is brought back by the watch.
        let gone = |name: Name| {
            inner.unreadable.remove(&name);
            let old = inner.objects.remove(&name);
            Observed::Gone { name, old }
        };
        missing.into_iter().map(gone).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::ObjectMeta;

    fn map(name: &str, version: u64) -> ConfigMap {
        let metadata = ObjectMeta {
            namespace: Some("n".into()),
            name: Some(name.into()),
            resource_version: Some(version.to_string()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn good(name: &str, version: u64) -> DeserializeGuard<ConfigMap> {
        DeserializeGuard(Ok(map(name, version)))
    }

    fn names(cache: &KindCache<ConfigMap>) -> Vec<(String, u64)> {
        cache.all().iter().map(|m| (m.metadata.name.clone().unwrap(), version_of(&**m))).collect()
    }

    #[test]
    fn an_object_never_goes_back_to_an_older_version() {
        let cache = KindCache::default();
        cache.take(&Scope::All, Event::Apply(good("a", 5)));
        assert!(matches!(cache.take_own(map("a", 9)), Observed::Changed { .. }));
        assert!(matches!(cache.take(&Scope::All, Event::Apply(good("a", 7)))[0], Observed::Known));
        assert_eq!(names(&cache), [("a".into(), 9)]);
    }

    #[test]
    fn a_late_answer_does_not_bring_a_deleted_object_back() {
        let cache = KindCache::default();
        cache.take(&Scope::All, Event::Apply(good("a", 5)));
        cache.take(&Scope::All, Event::Delete(good("a", 12)));
        assert!(matches!(cache.take_own(map("a", 10)), Observed::Known));
        assert!(cache.is_empty());
        cache.take(&Scope::All, Event::Apply(good("a", 13)));
        assert_eq!(cache.len(), 1, "a new object of the same name is taken");
    }

    #[test]
    fn a_relist_ends_with_what_is_gone() {
        let cache = KindCache::default();
        cache.take(&Scope::All, Event::Apply(good("a", 1)));
        cache.take(&Scope::All, Event::Apply(good("b", 2)));
        cache.take(&Scope::All, Event::Init);
        cache.take(&Scope::All, Event::InitApply(good("b", 2)));
        assert!(!cache.is_synced(1));
        let observed = cache.take(&Scope::All, Event::InitDone);
        assert!(matches!(&observed[..], [Observed::Gone { .. }]));
        assert_eq!(names(&cache), [("b".into(), 2)]);
        assert!(cache.is_synced(1));
    }

    #[test]
    fn a_store_that_was_restored_from_a_backup_is_believed() {
        let cache = KindCache::default();
        cache.take(&Scope::All, Event::Apply(good("kept", 50)));
        cache.take(&Scope::All, Event::Apply(good("made-since", 60)));
        cache.take(&Scope::All, Event::Delete(good("deleted-since", 70)));
        cache.take(&Scope::All, Event::Init);
        cache.take(&Scope::All, Event::InitApply(good("kept", 20)));
        cache.take(&Scope::All, Event::InitApply(good("deleted-since", 10)));
        cache.take(&Scope::All, Event::InitDone);
        assert_eq!(names(&cache), [("deleted-since".into(), 10), ("kept".into(), 20)]);
        cache.take(&Scope::All, Event::Apply(good("kept", 31)));
        cache.take(&Scope::All, Event::Apply(good("made-since", 32)));
        assert_eq!(names(&cache), [("deleted-since".into(), 10), ("kept".into(), 31), ("made-since".into(), 32)]);
    }

    #[test]
    fn a_list_that_was_asked_for_before_our_own_write_does_not_undo_it() {
        let cache = KindCache::default();
        cache.take(&Scope::All, Event::Apply(good("a", 50)));
        cache.take(&Scope::All, Event::Init);
        cache.take_own(map("a", 60));
        cache.take(&Scope::All, Event::InitApply(good("a", 50)));
        cache.take(&Scope::All, Event::InitDone);
        assert_eq!(names(&cache), [("a".into(), 60)]);
    }

    #[test]
    fn an_object_that_does_not_read_is_a_change_each_way() {
        let bad = || {
            let mut object = serde_json::to_value(map("a", 5)).unwrap();
            object["data"] = "no object".into();
            serde_json::from_value::<DeserializeGuard<ConfigMap>>(object).unwrap()
        };
        let cache = KindCache::default();
        assert!(matches!(cache.take(&Scope::All, Event::Apply(bad()))[0], Observed::Gone { old: None, .. }));
        assert!(matches!(cache.take(&Scope::All, Event::Apply(bad()))[0], Observed::Known), "it is said once");
        assert_eq!((cache.unreadable_in("n"), cache.unreadable_in("m")), (1, 0));
        assert!(matches!(cache.take(&Scope::All, Event::Apply(good("a", 6)))[0], Observed::Changed { old: None, .. }));
        cache.take(&Scope::All, Event::Apply(bad()));
        assert!(matches!(cache.take(&Scope::All, Event::Delete(good("a", 7)))[0], Observed::Gone { old: None, .. }));
        assert_eq!(cache.unreadable_count(), 0);
    }

    #[test]
    fn a_relist_of_one_namespace_leaves_the_others_alone() {
        let (cache, n, m) = (KindCache::default(), Scope::Namespace("n".into()), Scope::Namespace("m".into()));
        cache.take(&n, Event::Apply(good("a", 1)));
        cache.take(&m, Event::Init);
        cache.take(&m, Event::InitDone);
        assert_eq!(cache.len(), 1);
        assert!(cache.is_synced(1) && !cache.is_synced(2));
        cache.take(&n, Event::Init);
        cache.take(&n, Event::InitDone);
        assert!(cache.is_empty() && cache.is_synced(2));
    }
}
