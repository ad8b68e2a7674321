//! The list of enrolled users on the device's disk: sealed, brought up to date when the gateway says that there is another one, and
//! forgotten when it says that there is none.

use std::time::{Duration, Instant};

use fleetform_domain::wire::{
    CHECK_IN_PATH, CheckInResponse, DeviceText, MAX_USERS_PER_PAGE, USER_LIST_PATH, UserList,
};

use super::own_list::{Draft, OwnList};
use super::vault::{Content, Vault};
use crate::device::{Device, DeviceError};
use crate::storage::{PeopleRecord, Record, Stage};
use crate::transport::{Question, TransportError};

/// Largest page of the list, in bytes: two palms of 344 characters and a name and a number for each person, generously.
const LARGEST_PAGE: usize = MAX_USERS_PER_PAGE * 2 * 1024;

/// Most pages of a list: two million people.
const MOST_PAGES: usize = 10_000;

impl Device {
    /// The revision of the list of enrolled users that it holds.
    pub fn enrolled_users_revision(&self) -> Option<&DeviceText> {
        self.association().and_then(|association| association.users_revision.as_deref())
    }

    /// Does as the gateway says about the list. One that it does not get now it asks for with the next answer.
    pub(in crate::device) async fn follow_users(&mut self, answer: &CheckInResponse) -> Result<(), DeviceError> {
        let wanted = answer.enrolled_users_revision.as_ref();
        if self.enrolled_users_revision() == wanted {
            return self.note_contact_on_disk().await;
        }
        if wanted.is_none() {
            return self.forget_users().await;
        }
        match self.fetch_users().await {
            Ok(()) => Ok(()),
            Err(error @ DeviceError::AssociationEnded) => Err(error),
            Err(error @ DeviceError::Storage(_)) => {
                // One that cannot be brought up to date may hold somebody who is to be forgotten. To remove it takes no room.
                tracing::debug!(device = %self.asset_tag, %error, "the list of enrolled users cannot be kept");
                self.drop_users().await
            }
            Err(error) => {
                tracing::debug!(device = %self.asset_tag, %error, "the list of enrolled users was not fetched");
                Ok(())
            }
        }
    }

    /// Notes on the disk that the gateway was there, so that no power cut makes the device go by its list for longer than it may. Not
    /// each time, but so often that it locks itself by a sixteenth of its time too early at most.
    async fn note_contact_on_disk(&mut self) -> Result<(), DeviceError> {
        let limit = self.association().and_then(|association| association.maximum_offline).unwrap_or_default();
        let now = self.quirks.clock.now();
        let is_noted = self.people.contact.is_some_and(|noted| now.abs_diff(noted) < limit.as_secs() / 16);
        if is_noted || self.enrolled_users_revision().is_none() {
            return Ok(());
        }
        match self.rewrite(move |committed| committed.people.contact = Some(now)).await {
            Ok(()) => self.people.contact = Some(now),
            // Then it locks itself earlier.
            Err(DeviceError::Storage(error)) => {
                tracing::debug!(device = %self.asset_tag, %error, "that the gateway was there was not noted");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The device starts, and has not been with its gateway since: how long that is by its clock counts, power or not.
    pub(in crate::device) fn remember_contact(&mut self, record: &PeopleRecord) {
        if let (None, Some(noted)) = (self.last_contact, record.contact) {
            self.last_contact = Some(Instant::now());
            // A clock that went backwards tells nothing: it may have been for ever.
            self.passed = self.quirks.clock.now().checked_sub(noted).map_or(Duration::MAX, Duration::from_secs);
        }
    }

    async fn fetch_users(&mut self) -> Result<(), DeviceError> {
        let held = self.own_list().await?;
        let since = held.as_ref().map(|held| held.revision.clone());
        let (mut draft, mut after) = (Draft::of(held), None);
        for number in 0..MOST_PAGES {
            let page: UserList = self.ask(&question(since.as_ref(), after.as_ref())).await?;
            after = page.next.clone();
            if let Some(list) = draft.take(&page, number == 0) {
                self.hold_users(list).await?;
            }
            if after.is_none() {
                return Ok(());
            }
        }
        Err(TransportError::Malformed("the list of enrolled users does not end".into()).into())
    }

    /// Keeps the list, first itself and then which one it is.
    async fn hold_users(&mut self, list: OwnList) -> Result<(), DeviceError> {
        let Some(vault) = self.vault() else { return Err(self.out_of_turn("keep a list")) };
        let revision = list.revision.clone();
        if self.quirks.disk_full {
            return Err(self.full_disk().into());
        }
        let seal = move || vault.seal(Content::Users, &list);
        let sealed = tokio::task::spawn_blocking(seal).await.ok().flatten().ok_or(DeviceError::Crypto("a seal"))?;
        self.disk(move |disk, tag| disk.save_users(tag, &sealed)).await?;
        self.note_users(Some(revision)).await
    }

    /// The list that it holds, read from the disk; none when there is none that it can open.
    pub(super) async fn own_list(&mut self) -> Result<Option<OwnList>, DeviceError> {
        let Some(vault) = self.vault() else { return Ok(None) };
        let read = self.disk(move |disk, tag| {
            let sealed = disk.load_users(tag)?;
            Ok(sealed.and_then(|sealed| vault.open(Content::Users, &sealed)))
        });
        let list: Option<OwnList> = read.await?;
        if list.is_none() && self.enrolled_users_revision().is_some() {
            // It is lost: the next check-in says so, and the gateway gives another one.
            self.note_users(None).await?;
        }
        Ok(list)
    }

    /// Forgets the list.
    async fn forget_users(&mut self) -> Result<(), DeviceError> {
        self.disk(|disk, tag| disk.remove_users(tag)).await?;
        self.note_users(None).await
    }

    /// The association has ended. Before the device forgets its key it forgets everybody, and says so once with a check-in: until it has,
    /// the gateway does not know that it recognises nobody any more.
    pub(in crate::device) async fn take_leave(&mut self) {
        let left = async {
            self.drop_users().await?;
            self.change_untold(PeopleRecord::forget_people).await?;
            self.counter += 1;
            let message = self.state_report(0);
            self.answer(&Question::post_json(CHECK_IN_PATH, &message).once()).await
        };
        if let Err(error) = left.await {
            tracing::debug!(device = %self.asset_tag, %error, "the gateway was not told that everybody is forgotten");
        }
    }

    /// Forgets the list. One that cannot be removed is still held, and is said to be.
    async fn drop_users(&mut self) -> Result<(), DeviceError> {
        self.disk(|disk, tag| disk.remove_users(tag)).await?;
        // It is gone, whether or not the record can say so.
        match self.note_users(None).await {
            Err(DeviceError::Storage(_)) => {
                self.set_users_revision(None);
                Ok(())
            }
            done => done,
        }
    }

    async fn note_users(&mut self, revision: Option<DeviceText>) -> Result<(), DeviceError> {
        let (stored, contact) = (revision.clone(), revision.is_some().then(|| self.quirks.clock.now()));
        self.rewrite(move |committed| {
            committed.people.users_revision = stored;
            committed.people.contact = contact;
        })
        .await?;
        self.people.contact = contact;
        self.set_users_revision(revision);
        Ok(())
    }

    fn set_users_revision(&mut self, revision: Option<DeviceText>) {
        if let Some(association) = self.association_mut() {
            association.users_revision = revision.map(Box::new);
        }
    }

    /// What seals for this device in its association; none when it has none.
    pub(super) fn vault(&self) -> Option<Vault> {
        self.association().map(|association| Vault::new(&association.key, &association.id))
    }

    /// What its disk holds of people.
    pub(super) async fn people_record(&self) -> Result<PeopleRecord, DeviceError> {
        Ok(match self.disk(|disk, tag| disk.load(tag)).await? {
            Some(Record { stage: Stage::Active(committed), .. }) => committed.people,
            _ => PeopleRecord::default(),
        })
    }
}

fn question(since: Option<&DeviceText>, after: Option<&DeviceText>) -> Question {
    // Texts of devices need no escapes.
    let query: Vec<String> = [("since", since), ("after", after)]
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", value?)))
        .collect();
    let mark = if query.is_empty() { "" } else { "?" };
    Question::get(format!("{USER_LIST_PATH}{mark}{}", query.join("&"))).limited_to(LARGEST_PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stands_in_the_query() {
        let text = |text: &str| DeviceText::try_from(text).unwrap();
        let (since, after) = (text("r-7"), text("u_9"));
        for (since, after, expected) in [
            (None, None, "GET /v1/users"),
            (Some(&since), None, "GET /v1/users?since=r-7"),
            (None, Some(&after), "GET /v1/users?after=u_9"),
            (Some(&since), Some(&after), "GET /v1/users?since=r-7&after=u_9"),
        ] {
            assert_eq!(format!("{:?}", question(since, after)), expected);
        }
    }
}
