//! Pure: the list of enrolled users, page by page, as devices fetch it.

use std::ops::Bound;

use fleetform_domain::wire::{DeviceText, ListedUser, UserList, UserListQuery};

use super::roll::{Person, Roll};

/// A page that is not told any more, because the pages before are out of date or forgotten: the device drops them and begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLost;

/// What the pages of one list have in common.
struct Listing<'a> {
    /// Of the list that the first page was of: all pages are of that one, and say so.
    revision: &'a str,
    step: u64,
    /// The step at which the device's own list was, when it is known; otherwise it gets the whole list.
    since: Option<u64>,
    /// Names up to this one were on the pages before.
    after: &'a str,
}

/// The page that is asked for, of at most `limit` people.
///
/// The pages of a list together make the device's list that of the revision they name. Who comes between two pages is not on them. When
/// somebody goes who was on an earlier page, the rest is not given out: a device that still says what it held before must not come to
/// know them afterwards.
pub(super) fn page(roll: &Roll, query: &UserListQuery, limit: usize) -> Result<UserList, PageLost> {
    let current = roll.revision();
    let since = query.since.as_ref().and_then(|since| roll.step_of(since.as_str()));
    let listing = match &query.after {
        None => Listing { revision: current.as_str(), step: roll.step, since, after: "" },
        Some(after) => following(roll, after.as_str(), since).ok_or(PageLost)?,
    };
    let is_news = |person: &Person| listing.since.is_none_or(|since| person.since > since);
    let rest = roll.people.range::<str, _>((Bound::Excluded(listing.after), Bound::Unbounded));
    let mut rest = rest.filter(|(_, person)| person.since <= listing.step && is_news(person)).peekable();
    let mut users = Vec::new();
    while users.len() < limit
        && let Some((name, person)) = rest.next()
    {
        users.push(listed(name, person));
    }
    let kind = if listing.since.is_none() { 'c' } else { 'i' };
    let last = users.last().filter(|_| rest.peek().is_some());
    let gone = roll.gone.iter().filter(|(_, gone)| listing.since.is_some_and(|since| gone.step > since));
    Ok(UserList {
        revision: device_text(listing.revision.to_owned()),
        complete: listing.since.is_none(),
        removed: gone.map(|(name, _)| device_text(name.clone())).collect(),
        next: last.map(|user| device_text(format!("{kind}{}.{}", listing.revision, user.user))),
        users,
    })
}

/// What `next` of the page before says.
fn following<'a>(roll: &Roll, after: &'a str, since: Option<u64>) -> Option<Listing<'a>> {
    let (head, after) = after.split_once('.')?;
    let (since, revision) = match head.strip_prefix('c') {
        Some(revision) => (None, revision),
        None => (Some(since?), head.strip_prefix('i')?),
    };
    let step = roll.step_of(revision)?;
    let given = (Bound::Unbounded, Bound::Included(after));
    let went = roll.gone.range::<str, _>(given).any(|(_, gone)| gone.step > step)
        || roll.people.range::<str, _>(given).any(|(_, person)| person.before > step);
    (!went).then_some(Listing { revision, step, since, after })
}

fn listed(name: &str, person: &Person) -> ListedUser {
    ListedUser {
        user: device_text(name.to_owned()),
        badge_number: person.profile.badge_number.clone(),
        palms: person.profile.palms.clone(),
    }
}

fn device_text(text: String) -> DeviceText {
    text.try_into().expect("names on a roll and revisions are short texts of letters, digits, dots and hyphens")
}
