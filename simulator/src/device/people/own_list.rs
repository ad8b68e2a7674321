//! Pure: the list of enrolled users that an Entry device holds, how it is brought up to date page by page, and whom it recognises by
//! it.

use std::collections::BTreeMap;

use fleetform_domain::people::matching::identify;
use fleetform_domain::people::{Palm, RecognitionFailure};
use fleetform_domain::wire::{DeviceText, ListedUser, RecognizedUser, UserList};
use serde::{Deserialize, Serialize};

/// The people whom a device knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OwnList {
    /// Of the gateway's list.
    pub(super) revision: DeviceText,
    users: BTreeMap<DeviceText, ListedUser>,
}

/// A list on its way: what was held, and the pages so far.
#[derive(Debug)]
pub(super) struct Draft {
    held: Option<OwnList>,
    users: BTreeMap<DeviceText, ListedUser>,
}

impl OwnList {
    /// Whose palm it is, by the rule of the gateway.
    pub(super) fn recognise(&self, palm: &Palm) -> Result<RecognizedUser, RecognitionFailure> {
        let people = self.users.values().map(|user| (user, user.palms.as_slice()));
        let user = identify(palm, people)?;
        Ok(RecognizedUser { user: user.user.clone(), badge_number: user.badge_number.clone() })
    }
}

impl Draft {
    /// From what is held now.
    pub(super) fn of(held: Option<OwnList>) -> Self {
        let users = held.as_ref().map(|held| held.users.clone()).unwrap_or_default();
        Self { held, users }
    }

    /// Takes in a page. Answers what is to be held from now on, if that changes: at once without those who are to be forgotten, and
    /// with all else when the last page is there.
    pub(super) fn take(&mut self, page: &UserList, is_first: bool) -> Option<OwnList> {
        if page.complete && is_first {
            self.users.clear();
        }
        let mut has_forgotten = false;
        for name in &page.removed {
            self.users.remove(name);
            has_forgotten |= self.held.as_mut().is_some_and(|held| held.users.remove(name).is_some());
        }
        self.users.extend(page.users.iter().map(|user| (user.user.clone(), user.clone())));
        if page.next.is_none() {
            let whole = OwnList { revision: page.revision.clone(), users: std::mem::take(&mut self.users) };
            self.held = Some(whole);
            return self.held.clone();
        }
        self.held.clone().filter(|_| has_forgotten)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fleetform_domain::people::Hand;
    use proptest::prelude::*;

    use super::*;
    use crate::people::Person;

    fn name(number: u64) -> DeviceText {
        format!("u-{number}").try_into().unwrap()
    }

    fn listed(number: u64) -> ListedUser {
        let person = Person::new(1, number);
        let palms = vec![person.look(Hand::Right, 0), person.look(Hand::Left, 0)];
        ListedUser { user: name(number), badge_number: person.badge(), palms }
    }

    fn page(revision: u64, users: &[u64], removed: &[u64]) -> UserList {
        UserList {
            revision: format!("r{revision}").try_into().unwrap(),
            complete: false,
            users: users.iter().copied().map(listed).collect(),
            removed: removed.iter().copied().map(name).collect(),
            next: None,
        }
    }

    fn with_more(page: UserList) -> UserList {
        UserList { next: Some("more".try_into().unwrap()), ..page }
    }

    fn recognised(list: &OwnList, number: u64, hand: Hand) -> Result<DeviceText, RecognitionFailure> {
        list.recognise(&Person::new(1, number).look(hand, 9)).map(|user| user.user)
    }

    #[test]
    fn somebody_is_recognised_by_either_hand_and_nobody_by_anothers() {
        let list = Draft::of(None).take(&page(1, &[1, 2, 3], &[]), true).unwrap();
        for hand in [Hand::Left, Hand::Right] {
            assert_eq!(recognised(&list, 2, hand), Ok(name(2)));
            assert_eq!(recognised(&list, 4, hand), Err(RecognitionFailure::PalmNotRecognized));
        }
        let mut wrong = Person::new(1, 2).look(Hand::Right, 0);
        wrong.hand = Hand::Left;
        assert_eq!(list.recognise(&wrong), Err(RecognitionFailure::PalmNotRecognized));
    }

    #[test]
    fn two_who_come_into_question_are_nobody() {
        let mut twin = listed(2);
        twin.user = name(99);
        let mut both = page(1, &[1, 2], &[]);
        both.users.push(twin);
        let list = Draft::of(None).take(&both, true).unwrap();
        assert_eq!(recognised(&list, 2, Hand::Right), Err(RecognitionFailure::Ambiguous));
        assert_eq!(recognised(&list, 1, Hand::Right), Ok(name(1)));
    }

    #[test]
    fn who_is_removed_is_forgotten_at_once_and_who_is_new_known_at_the_end() {
        let held = Draft::of(None).take(&page(1, &[1, 2], &[]), true).unwrap();
        let mut draft = Draft::of(Some(held.clone()));
        assert_eq!(draft.take(&with_more(page(2, &[3], &[])), true), None);
        let shrunk = draft.take(&with_more(page(2, &[], &[1])), false).unwrap();
        assert_eq!(shrunk.revision, held.revision, "it is asked again from where it was");
        assert_eq!(recognised(&shrunk, 1, Hand::Right), Err(RecognitionFailure::PalmNotRecognized));
        assert_eq!(recognised(&shrunk, 3, Hand::Right), Err(RecognitionFailure::PalmNotRecognized));
        let whole = draft.take(&page(2, &[4], &[]), false).unwrap();
        assert_eq!(whole.revision.as_str(), "r2");
        for (number, expected) in [(1, false), (2, true), (3, true), (4, true)] {
            assert_eq!(recognised(&whole, number, Hand::Left).is_ok(), expected, "{number}");
        }
    }

    #[test]
    fn a_list_that_starts_anew_leaves_nothing_of_the_old_one() {
        let held = Draft::of(None).take(&page(1, &[1, 2], &[]), true).unwrap();
        let mut draft = Draft::of(Some(held));
        let first = UserList { complete: true, ..with_more(page(9, &[3], &[])) };
        let second = UserList { complete: true, ..page(9, &[4], &[]) };
        assert_eq!(draft.take(&first, true), None, "the old one counts until the new one is there");
        let whole = draft.take(&second, false).unwrap();
        let known: Vec<u64> = (1..=4).filter(|number| recognised(&whole, *number, Hand::Right).is_ok()).collect();
        assert_eq!(known, [3, 4]);
    }

    /// What happens at the gateway, and when the device asks.
    #[derive(Clone, Debug)]
    enum Event {
        Enroll(u64),
        Delete(u64),
        /// The device asks, and gets so many pages before the line breaks; all when there are fewer.
        Ask {
            pages: usize,
        },
        /// The gateway has forgotten what changed when: who asks gets all.
        Restart,
    }

    fn events() -> impl Strategy<Value = Vec<Event>> {
        let event = prop_oneof![
            3 => (0_u64..8).prop_map(Event::Enroll),
            3 => (0_u64..8).prop_map(Event::Delete),
            3 => (0_usize..6).prop_map(|pages| Event::Ask { pages }),
            1 => Just(Event::Restart),
        ];
        prop::collection::vec(event, 1..40)
    }

    /// A gateway that tells what changed since a revision.
    #[derive(Default)]
    struct Gateway {
        enrolled: BTreeSet<u64>,
        /// Who changed, by revision.
        log: Vec<u64>,
        forgotten: usize,
    }

    impl Gateway {
        fn pages(&self, since: Option<&DeviceText>) -> Vec<UserList> {
            let since = since.and_then(|since| since.as_str()[1..].parse().ok()).filter(|at| *at >= self.forgotten);
            let changed: BTreeSet<u64> = match since {
                Some(at) => self.log[at..].iter().copied().collect(),
                None => self.enrolled.clone(),
            };
            let changed: Vec<u64> = changed.into_iter().collect();
            let revision = self.log.len() as u64;
            let mut pages: Vec<UserList> = changed
                .chunks(2)
                .map(|some| {
                    let (users, removed): (Vec<u64>, Vec<u64>) =
                        some.iter().partition(|number| self.enrolled.contains(number));
                    with_more(UserList { complete: since.is_none(), ..page(revision, &users, &removed) })
                })
                .collect();
            pages.push(UserList { complete: since.is_none(), ..page(revision, &[], &[]) });
            pages
        }
    }

    proptest! {
        #[test]
        fn a_device_that_has_caught_up_never_recognises_somebody_who_was_removed(events in events()) {
            let mut gateway = Gateway::default();
            let mut held: Option<OwnList> = None;
            for event in events.into_iter().chain([Event::Ask { pages: usize::MAX }]) {
                match event {
                    Event::Enroll(number) => {
                        if gateway.enrolled.insert(number) { gateway.log.push(number); }
                    }
                    Event::Delete(number) => {
                        if gateway.enrolled.remove(&number) { gateway.log.push(number); }
                    }
                    Event::Restart => gateway.forgotten = gateway.log.len() + 1,
                    Event::Ask { pages } => {
                        let all = gateway.pages(held.as_ref().map(|held| &held.revision));
                        let caught_up = pages >= all.len();
                        let mut draft = Draft::of(held.clone());
                        for (number, page) in all.iter().take(pages).enumerate() {
                            held = draft.take(page, number == 0).or(held);
                            let known = held.iter().flat_map(|held| held.users.keys()).collect::<BTreeSet<_>>();
                            prop_assert!(page.removed.iter().all(|name| !known.contains(name)), "at once");
                        }
                        if caught_up {
                            let held = held.as_ref().unwrap();
                            for number in 0..8 {
                                let is_known = recognised(held, number, Hand::Right).is_ok();
                                prop_assert_eq!(is_known, gateway.enrolled.contains(&number), "{}", number);
                            }
                        }
                    }
                }
            }
        }
    }
}
