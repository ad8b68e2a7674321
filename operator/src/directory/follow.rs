//! Asks outside directories anew for everybody who has, or is to have, a role, creates people there, and has those looked at of whom
//! something else is said.

use std::collections::HashMap;
use std::time::Duration;

use futures::StreamExt as _;

use super::Question;
use crate::cache::{Kind, Name};
use crate::context::Context;
use crate::queue::Key;

/// Longest time between two looks at who is due.
const LOOK: Duration = Duration::from_secs(5);

/// Shortest time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// How many questions are asked at once.
const AT_ONCE: usize = 8;

/// What is asked, and whom the answer concerns.
#[derive(Debug, Default)]
struct Asked {
    stores: HashMap<String, Vec<Key>>,
    lookups: HashMap<Question, Vec<Key>>,
}

impl Asked {
    /// By what the API server holds.
    fn of(context: &Context) -> Self {
        let world = &context.world;
        let mut asked = Self::default();
        for project in world.projects.all() {
            let Some(store) = project.identity_store() else { continue };
            let project = Name::of(&*project);
            let concerned = asked.stores.entry(store.to_owned()).or_default();
            concerned.push(Key::new(Kind::Project, project.clone()));
            for user in world.admins.in_namespace(&project.namespace) {
                let key = Key::new(Kind::AdminUser, Name::of(&*user));
                if let Some(question) = Question::of(store, &user) {
                    asked.lookups.entry(question).or_default().push(key.clone());
                }
                concerned.push(key);
            }
        }
        asked
    }
}

/// Follows until it is dropped. Nothing is asked where all projects have the built-in directory.
pub async fn follow(context: Context) {
    let directories = &context.directories;
    loop {
        let _ = tokio::time::timeout(LOOK, directories.asked.notified()).await;
        let asked = Asked::of(&context);
        directories.prerequisites.retain(|store| asked.stores.contains_key(store));
        directories.lookups.retain(|question| asked.lookups.contains_key(question));
        let now = context.clock.now();
        let due = asked.stores.iter().filter(|(store, _)| directories.prerequisites.is_due(store, now));
        futures::stream::iter(due)
            .for_each_concurrent(AT_ONCE, |(store, concerned)| async {
                if directories.check(store).await {
                    look(&context, concerned);
                }
            })
            .await;
        futures::stream::iter(directories.take_wanted())
            .for_each_concurrent(AT_ONCE, |(question, person)| {
                let (context, concerned) = (&context, asked.lookups.get(&question));
                async move {
                    // Whoever leads creates, and nobody is created for an AdminUser that is gone.
                    if let Some(concerned) = concerned.filter(|_| context.leadership.is_leading()) {
                        context.directories.create(&question, &person).await;
                        look(context, concerned);
                    }
                }
            })
            .await;
        let due = asked.lookups.iter().filter(|(question, _)| directories.lookups.is_due(question, now));
        futures::stream::iter(due)
            .for_each_concurrent(AT_ONCE, |(question, concerned)| async {
                if directories.ask(question).await {
                    look(&context, concerned);
                }
            })
            .await;
        tokio::time::sleep(PAUSE).await;
    }
}

fn look(context: &Context, concerned: &[Key]) {
    for key in concerned {
        context.queue.add(key.clone());
    }
}
