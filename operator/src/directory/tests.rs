//! What is told of people while an identity store answers, refuses and is away.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::identity_center::{Answer, Group as StoredGroup, User};
use super::trouble::Call;
use super::*;
use crate::cache::Scope;
use crate::clock::SystemClock;
use crate::controllers::fixtures;

const STORE: &str = "d-906703eea2";

/// An identity store in memory.
#[derive(Debug, Default)]
struct Store {
    users: Mutex<BTreeMap<String, User>>,
    trouble: Mutex<Option<DirectoryTrouble>>,
    calls: Mutex<usize>,
}

impl Store {
    fn answer<T>(&self, answer: impl FnOnce() -> Result<T, DirectoryTrouble>) -> Result<T, DirectoryTrouble> {
        *self.calls.lock() += 1;
        match *self.trouble.lock() {
            Some(trouble) => Err(trouble),
            None => answer(),
        }
    }
}

impl IdentityStores for Store {
    fn person<'a>(&'a self, _store: &'a str, by: By<'a>) -> Answer<'a, Option<User>> {
        use person::Account as _;
        let users = self.users.lock();
        let is_it = |user: &&User| match by {
            By::UserName(name) => user.user_name == name,
            By::Email(email) => user.has_address(email),
        };
        let found = users.values().find(is_it).cloned();
        let answer = self.answer(|| Ok(found));
        Box::pin(async move { answer })
    }

    fn group<'a>(&'a self, _store: &'a str, name: &'a str) -> Answer<'a, Option<StoredGroup>> {
        let group = (name == "night shift").then(|| StoredGroup { id: "g-1".into(), name: "Night shift".into() });
        let answer = self.answer(|| Ok(group));
        Box::pin(async move { answer })
    }

    fn create<'a>(&'a self, _store: &'a str, person: &'a NewPerson) -> Answer<'a, String> {
        let answer = self.answer(|| {
            let mut users = self.users.lock();
            let id = format!("id-{}", person.user_name);
            if users.contains_key(&id) {
                return Err(DirectoryTrouble::Taken);
            }
            users.insert(id.clone(), user(&person.user_name, &person.email));
            Ok(id)
        });
        Box::pin(async move { answer })
    }

    fn lacking<'a>(
        &'a self,
        _store: &'a str,
    ) -> std::pin::Pin<Box<dyn Future<Output = Vec<DirectoryTrouble>> + Send + 'a>> {
        let answer = self.answer(|| Ok(()));
        Box::pin(async move { answer.err().into_iter().collect() })
    }
}

fn user(name: &str, email: &str) -> User {
    User { id: format!("id-{name}"), user_name: name.into(), emails: vec![email.into()], disabled: false }
}

fn project() -> Project {
    let mut project = fixtures::project();
    let directory = json!({ "provider": "IamIdentityCenter", "identityStoreId": STORE });
    project.spec.directory = Some(serde_json::from_value(directory).unwrap());
    project
}

fn admin(who: &Value) -> AdminUser {
    let mut spec = json!({ "role": "Viewer" });
    json_patch::merge(&mut spec, who);
    serde_json::from_value(json!({
        "apiVersion": "fleetform.dev/v1alpha1", "kind": "AdminUser",
        "metadata": { "name": "mary", "namespace": "library" }, "spec": spec,
    }))
    .unwrap()
}

fn directories(store: &Arc<Store>) -> Directories {
    let service: Arc<dyn IdentityStores> = Arc::clone(store) as Arc<dyn IdentityStores>;
    let prefix = SubjectPrefix::parse("idc:").unwrap();
    Directories::new(service, prefix, SignedDuration::from_mins(3), Arc::new(SystemClock))
}

fn find(directories: &Directories, user: &AdminUser) -> Lookup {
    directories.find(&World::new(vec![Scope::All]), &project(), user)
}

async fn asked(directories: &Directories, user: &AdminUser) -> Lookup {
    directories.ask(&Question::of(STORE, user).unwrap()).await;
    find(directories, user)
}

#[tokio::test]
async fn people_and_groups_are_who_the_store_says_with_the_prefix() {
    let store = Arc::new(Store::default());
    store.users.lock().insert("id-Mary".into(), user("Mary", "mary@example.com"));
    let mut gone = user("gone", "gone@example.com");
    gone.disabled = true;
    store.users.lock().insert("id-gone".into(), gone);
    let directories = directories(&store);
    let mary = admin(&json!({ "person": { "email": "MARY@example.com" } }));
    assert_eq!(find(&directories, &mary), Lookup::Asked, "nobody waits for an answer");
    assert_eq!(*store.calls.lock(), 0);
    let Lookup::Here(found) = asked(&directories, &mary).await else { panic!("she is there") };
    assert_eq!(found.directory_id.as_deref(), Some("id-Mary"));
    assert_eq!(found.kubernetes_user.as_deref(), Some("idc:Mary"), "as the store writes it");
    assert_eq!((found.subjects[0].kind.as_str(), found.subjects[0].name.as_str()), ("User", "idc:Mary"));
    let Lookup::Here(group) = asked(&directories, &admin(&json!({ "group": { "name": "night shift" } }))).await else {
        panic!("it is there")
    };
    assert_eq!((group.subjects[0].kind.as_str(), group.subjects[0].name.as_str()), ("Group", "idc:Night shift"));
    let disabled = asked(&directories, &admin(&json!({ "person": { "userName": "gone" } }))).await;
    assert!(matches!(&disabled, Lookup::Impossible(why) if why.contains("disabled")), "{disabled:?}");
    // Who was renamed is nobody of that name any more.
    store.users.lock().clear();
    assert_eq!(asked(&directories, &mary).await, Lookup::Absent);
}

#[tokio::test]
async fn a_store_that_refuses_is_told_at_once_and_one_that_is_away_is_not() {
    let store = Arc::new(Store::default());
    store.users.lock().insert("id-mary".into(), user("mary", "mary@example.com"));
    let directories = directories(&store);
    let mary = admin(&json!({ "person": { "userName": "mary" } }));
    let here = asked(&directories, &mary).await;
    assert!(matches!(here, Lookup::Here(_)), "{here:?}");
    for passing in [DirectoryTrouble::Unreachable, DirectoryTrouble::Throttled] {
        *store.trouble.lock() = Some(passing);
        assert_eq!(asked(&directories, &mary).await, here);
    }
    // Nobody asks a store again and again that does not answer.
    assert_eq!(*store.calls.lock(), 2);
    for refusal in [DirectoryTrouble::AccessDenied(Call::GetUserId), DirectoryTrouble::Credentials] {
        let directories = self::directories(&store);
        *store.trouble.lock() = None;
        assert_eq!(asked(&directories, &mary).await, here);
        *store.trouble.lock() = Some(refusal);
        assert_eq!(asked(&directories, &mary).await, Lookup::Unanswered(refusal));
    }
}

#[tokio::test]
async fn who_is_created_is_there_and_who_cannot_be_hears_why() {
    let store = Arc::new(Store::default());
    let directories = directories(&store);
    let mary = admin(&json!({ "person": {
        "userName": "mary", "email": "mary@example.com", "firstName": "Mary", "lastName": "Major", "create": true,
    } }));
    assert_eq!(asked(&directories, &mary).await, Lookup::Absent);
    let new = person::new_person(project().directory_provider(), mary.spec.person.as_ref().unwrap(), None).unwrap();
    let question = Question::of(STORE, &mary).unwrap();
    // Two who ask for the same person at once have one made.
    directories.want(STORE, &mary, &new);
    directories.want(STORE, &mary, &new);
    let wanted = directories.take_wanted();
    assert_eq!(wanted, HashMap::from([(question.clone(), new.clone())]));
    assert!(directories.take_wanted().is_empty());
    directories.create(&question, &new).await;
    let made = find(&directories, &mary);
    assert!(matches!(&made, Lookup::Here(mary) if mary.directory_id.as_deref() == Some("id-mary")), "{made:?}");
    assert_eq!(asked(&directories, &mary).await, made, "and the same when it is asked for");
    directories.create(&question, &new).await;
    assert_eq!(find(&directories, &mary), made, "whoever made them");
    // The name is taken by somebody who cannot be found by it yet.
    let hidden = NewPerson { user_name: "hidden".into(), ..new };
    let who = admin(&json!({ "person": { "userName": "hidden", "email": "hidden@example.com" } }));
    store.users.lock().insert("id-hidden".into(), user("other", "other@example.com"));
    directories.create(&Question::of(STORE, &who).unwrap(), &hidden).await;
    assert_eq!(find(&directories, &who), Lookup::Unanswered(DirectoryTrouble::Taken));
}

#[tokio::test]
async fn what_a_store_lacks_is_known_once_it_was_asked() {
    let store = Arc::new(Store::default());
    let directories = directories(&store);
    assert_eq!(directories.lacking(&fixtures::project()), Some(Vec::new()), "the built-in one lacks nothing");
    assert_eq!(directories.lacking(&project()), None);
    let denied = DirectoryTrouble::AccessDenied(Call::ListUsers);
    *store.trouble.lock() = Some(denied);
    assert!(directories.check(&STORE.to_owned()).await, "it is news");
    assert_eq!(directories.lacking(&project()), Some(vec![denied]));
    assert!(
        directories.prerequisites.is_due(&STORE.to_owned(), directories.clock.now() + SignedDuration::from_secs(1))
    );
    *store.trouble.lock() = None;
    assert!(directories.check(&STORE.to_owned()).await);
    assert_eq!(directories.lacking(&project()), Some(Vec::new()));
    assert!(!directories.check(&STORE.to_owned()).await);
    *store.trouble.lock() = Some(DirectoryTrouble::Unreachable);
    assert!(!directories.check(&STORE.to_owned()).await, "it may be over in a moment");
    assert_eq!(directories.lacking(&project()), Some(Vec::new()));
}
