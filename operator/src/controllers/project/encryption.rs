//! Pure: which data key a project is to have, and what is yet to be sealed with it.

use fleetform_crds::Project;
use fleetform_crds::condition::{ConditionType, Reason, Statement, Status};
use fleetform_crds::project::{DataKey, Encryption, KeyProvider};
use jiff::{SignedDuration, Timestamp};

use crate::controllers::Obstacle;
use crate::reconcile::plan::Action;
use crate::settings::WRITE_TIMEOUT;
use crate::vault::{KeyTrouble, REMADE_AFTER};

/// Most data keys that a project has at once.
const MOST_KEYS: usize = 4;

/// How many are sealed again before others have their turn.
pub const BATCH: usize = 50;

/// How soon it is looked again whether the data key in force is open.
const OPENING: SignedDuration = SignedDuration::from_secs(1);

/// Something that is sealed with another data key than the one in force.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub enum Stale {
    /// A person: name of the `EnrolledUser`.
    User(String),
    /// A revision: name of its Secret.
    Revision(String),
}

/// What is known of the keys of a project.
#[derive(Clone, Debug)]
pub struct KeyFacts {
    /// Whether the data keys that it has are open; and, if so, since when new things are sealed with the one in force, if they are.
    pub open: Result<Option<Timestamp>, KeyTrouble>,
    /// The data key that was made now, or why it could not be.
    pub made: Option<Result<DataKey, KeyTrouble>>,
    /// What is sealed with another key than the one in force, at most [`BATCH`] of it.
    pub stale: Vec<Stale>,
    /// Whether there may be more that is not seen.
    pub unreadable: bool,
    /// Now.
    pub now: Timestamp,
}

impl KeyFacts {
    /// Whether it is not known yet if the data keys can be opened.
    pub fn is_opening(&self) -> bool {
        self.made.is_none() && self.open == Err(KeyTrouble::Opening)
    }
}

/// What is to be done about keys, and said.
#[derive(Debug)]
pub struct Keys {
    /// What the project has from now on.
    pub data_keys: Vec<DataKey>,
    /// Seal these again.
    pub actions: Vec<Action>,
    /// What is in the way.
    pub obstacle: Option<Obstacle>,
    /// `KeyAvailable`.
    pub statement: Statement,
    /// When to look again.
    pub look_again: Option<Timestamp>,
}

/// Whether the project is to get a data key: it has none, or wants another one than that in force. While what it has cannot be opened, it gets
/// none: nothing could be sealed with it again.
pub fn wants(project: &Project, open: &Result<Option<Timestamp>, KeyTrouble>) -> Option<Encryption> {
    let wanted = project.encryption();
    match project.data_keys() {
        [] => Some(wanted),
        [current, ..] if is_as_wanted(current, &wanted) => None,
        keys => (open.is_ok() && keys.len() < MOST_KEYS).then_some(wanted),
    }
}

fn is_as_wanted(key: &DataKey, wanted: &Encryption) -> bool {
    (key.provider, &key.key_arn, key.generation) == (wanted.provider, &wanted.key_arn, wanted.data_key_generation)
}

/// What to do about the keys of a project.
pub fn plan(project: &Project, facts: &KeyFacts) -> Keys {
    let mut data_keys = project.data_keys().to_vec();
    let mut look_again = None;
    let trouble = match &facts.made {
        Some(Ok(key)) => {
            data_keys.insert(0, key.clone());
            None
        }
        Some(Err(trouble)) => {
            look_again = Some(facts.now + REMADE_AFTER);
            Some(*trouble)
        }
        None => facts.open.err().filter(|trouble| *trouble != KeyTrouble::NotMade),
    };
    let mut actions = Vec::new();
    if facts.made.is_none() && data_keys.len() > 1 {
        actions.extend(facts.stale.iter().cloned().map(Action::Reseal));
        if !facts.stale.is_empty() {
            look_again = Some(facts.now);
        } else if facts.open == Ok(None) {
            look_again = Some(facts.now + OPENING);
        } else if let Ok(Some(since)) = facts.open
            && !facts.unreadable
        {
            // A write that was under way when the key changed may have been sealed with the one before.
            let settled = since + 2 * SignedDuration::try_from(WRITE_TIMEOUT).unwrap_or_default();
            if settled <= facts.now {
                data_keys.truncate(1);
            } else {
                look_again = Some(settled);
            }
        }
    }
    let is_moving = data_keys.len() > 1;
    let (obstacle, statement) = match trouble {
        Some(trouble) => {
            let message = told(trouble, project, facts);
            let obstacle = if trouble.is_mistake() {
                Obstacle::stalls(trouble.reason(), message.clone())
            } else {
                Obstacle::waits(trouble.reason(), message.clone())
            };
            // A wanted key that cannot be had takes nothing away: what is sealed with the one before can be read.
            let holds = Status::from(facts.open.is_ok());
            (Some(obstacle), Statement::new(ConditionType::KeyAvailable, holds, trouble.reason(), message))
        }
        None if is_moving => {
            let message = "what is sealed of the project is being sealed again with the data key that is wanted now; both are in use";
            (None, Statement::new(ConditionType::KeyAvailable, Status::True, Reason::Resealing, message))
        }
        None => {
            let message = match data_keys.first().map(|key| (key.provider, &key.key_arn)) {
                Some((KeyProvider::AwsKms, Some(arn))) => format!("sealed with a data key under {arn}"),
                _ => "sealed with a data key under the key of the installation".to_owned(),
            };
            (None, Statement::new(ConditionType::KeyAvailable, Status::True, Reason::KeyInUse, message))
        }
    };
    Keys { data_keys, actions, obstacle, statement, look_again }
}

fn told(trouble: KeyTrouble, project: &Project, facts: &KeyFacts) -> String {
    let kept = if project.data_keys().is_empty() {
        "nothing can be sealed until then"
    } else if facts.open.is_ok() {
        "the key before it stays in use"
    } else {
        "until then nobody reads enrolled users or configurations of this project; devices keep what they have"
    };
    format!("{trouble}; {kept}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::controllers::fixtures;

    /// Of a project whose data key is in force.
    pub(crate) fn in_force() -> KeyFacts {
        let open = Ok(Some(fixtures::noon() - SignedDuration::from_mins(1)));
        KeyFacts { open, made: None, stale: Vec::new(), unreadable: false, now: fixtures::noon() }
    }

    fn key(generation: u32, age: i64) -> DataKey {
        serde_json::from_value(serde_json::json!({
            "id": format!("{generation:016x}"),
            "provider": "Local",
            "generation": generation,
            "sealed": "…",
            "createdAt": fixtures::noon() - SignedDuration::from_secs(age),
        }))
        .unwrap()
    }

    fn project(generation: u32, keys: &[DataKey]) -> Project {
        let mut project = fixtures::project();
        project.spec.encryption = Some(Encryption { data_key_generation: generation, ..Encryption::default() });
        project.status.get_or_insert_default().data_keys = keys.to_vec();
        project
    }

    fn kept(keys: &Keys) -> Vec<u32> {
        keys.data_keys.iter().map(|key| key.generation).collect()
    }

    #[test]
    fn a_key_is_made_when_there_is_none_or_another_is_wanted() {
        assert!(wants(&project(0, &[]), &Err(KeyTrouble::NotMade)).is_some());
        assert!(wants(&project(0, &[key(0, 60)]), &in_force().open).is_none());
        assert!(wants(&project(1, &[key(0, 60)]), &in_force().open).is_some());
        assert!(wants(&project(1, &[key(0, 60)]), &Err(KeyTrouble::Disabled)).is_none(), "what is closed stays");
        let many: Vec<DataKey> = (0..4).rev().map(|generation| key(generation, 60)).collect();
        assert!(wants(&project(9, &many), &in_force().open).is_none(), "first what there is comes to an end");
    }

    #[test]
    fn a_new_key_is_in_force_and_the_one_before_goes_when_nothing_is_sealed_with_it() {
        let made = plan(&project(1, &[key(0, 60)]), &KeyFacts { made: Some(Ok(key(1, 0))), ..in_force() });
        assert_eq!(kept(&made), [1, 0]);
        assert_eq!(made.statement.reason, Reason::Resealing);
        let both = project(1, &[key(1, 60), key(0, 600)]);
        let stale = vec![Stale::User("eu-1".into()), Stale::Revision("entry-r1".into())];
        let moving = plan(&both, &KeyFacts { stale, ..in_force() });
        assert_eq!((kept(&moving), moving.actions.len(), moving.look_again), (vec![1, 0], 2, Some(fixtures::noon())));
        assert_eq!(kept(&plan(&both, &in_force())), [1]);
        for waits in [
            KeyFacts { open: Ok(None), ..in_force() },
            KeyFacts { unreadable: true, ..in_force() },
            KeyFacts { open: Err(KeyTrouble::Throttled), ..in_force() },
        ] {
            assert_eq!(kept(&plan(&both, &waits)), [1, 0], "{waits:?}");
        }
        let opening = plan(&both, &KeyFacts { open: Ok(None), ..in_force() });
        assert_eq!(opening.look_again, Some(fixtures::noon() + OPENING), "nobody tells of it");
        let young = KeyFacts { open: Ok(Some(fixtures::noon() - SignedDuration::from_secs(5))), ..in_force() };
        let young = plan(&both, &young);
        assert_eq!((kept(&young), young.look_again.is_some()), (vec![1, 0], true), "a write may be under way");
    }

    #[test]
    fn a_key_that_cannot_be_had_takes_nothing_away_and_one_that_is_withdrawn_does() {
        let refused = KeyFacts { made: Some(Err(KeyTrouble::OtherAccount)), ..in_force() };
        let refused = plan(&project(1, &[key(0, 60)]), &refused);
        insta::assert_json_snapshot!("a_key_that_cannot_be_had", refused.obstacle.unwrap().message);
        assert_eq!((refused.statement.status, refused.statement.reason), (Status::True, Reason::KeyNotUsable));
        let withdrawn = KeyFacts { open: Err(KeyTrouble::AccessDenied), ..in_force() };
        let withdrawn = plan(&project(0, &[key(0, 60)]), &withdrawn);
        insta::assert_json_snapshot!("a_key_that_is_withdrawn", withdrawn.obstacle.unwrap().message);
        assert_eq!((withdrawn.statement.status, withdrawn.statement.reason), (Status::False, Reason::AccessDenied));
    }
}
