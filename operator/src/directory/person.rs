//! Pure: who is meant, whatever the directory; and who is to be created.

use fleetform_crds::admin_user::Person;
use fleetform_crds::project::DirectoryProvider;

use super::{NewPerson, native};

/// Somebody in a directory.
pub trait Account {
    /// Their user name there.
    fn user_name(&self) -> &str;

    /// Whether this is an address of theirs. Addresses are compared without case, as people write them.
    fn has_address(&self, email: &str) -> bool;
}

/// By what somebody is looked for: by either, or both.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// User name.
    pub user_name: Option<&'a str>,
    /// Email address.
    pub email: Option<&'a str>,
}

/// Who is meant, given who has the user name and who have the address; nobody has the one that is not wanted. The latter need not be known
/// when somebody has the name. An error says why it is nobody in particular, and what to do.
pub fn identify<A: Account>(wanted: Wanted<'_>, named: Option<A>, mut addressed: Vec<A>) -> Result<Option<A>, String> {
    match (wanted.user_name, wanted.email, named) {
        (Some(user_name), Some(email), Some(found)) => {
            if found.has_address(email) {
                return Ok(Some(found));
            }
            Err(format!(
                "spec.person: {user_name} has another email address in the directory: correct spec.person.email, or leave it out"
            ))
        }
        (Some(user_name), Some(_), None) => match addressed.first() {
            None => Ok(None),
            // Or who may create people could make somebody's address stand for two, and with that for nobody.
            Some(other) => Err(format!(
                "spec.person: the address is that of {} in the directory, and not of {user_name}: correct spec.person.userName, or leave it out",
                other.user_name()
            )),
        },
        (Some(_), None, named) => Ok(named),
        (None, _, _) => match addressed.len() {
            0 | 1 => Ok(addressed.pop()),
            many => Err(format!(
                "spec.person.email: {many} people of the directory have this address: name one of them by spec.person.userName"
            )),
        },
    }
}

/// The person to be created in a directory, for a role at this site or in the project; why there can be none otherwise.
pub fn new_person(provider: DirectoryProvider, person: &Person, site: Option<&str>) -> Result<NewPerson, String> {
    let (Some(email), Some(first), Some(last)) = (&person.email, &person.first_name, &person.last_name) else {
        return Err("spec.person: to create a person takes email, firstName and lastName".to_owned());
    };
    let user_name = match provider {
        DirectoryProvider::Native => native::user_name(person.user_name.as_deref(), email)?,
        // Whoever gives roles at one site would choose who somebody is everywhere else.
        DirectoryProvider::IamIdentityCenter if site.is_some() => {
            return Err(
                "spec.person.create: for a role at a site nobody is created in an outside directory: have an Admin of the project give them a role, or \
                 somebody create them there"
                    .to_owned(),
            );
        }
        // There a user name is what people sign in with, and by custom their address.
        DirectoryProvider::IamIdentityCenter => person.user_name.clone().unwrap_or_else(|| email.clone()),
    };
    let (email, first_name, last_name) = (email.clone(), first.clone(), last.clone());
    Ok(NewPerson { user_name, email, first_name, last_name, site: site.map(ToOwned::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_new_person_is_named_after_their_address_unless_they_have_a_name() {
        let new = |provider, fields: &serde_json::Value| {
            let mut whole = json!({ "email": "Mary.O'Major@example.com", "firstName": "Mary", "lastName": "Major", "create": true });
            json_patch::merge(&mut whole, fields);
            let person: Person = serde_json::from_value(whole).unwrap();
            new_person(provider, &person, None).map(|new| new.user_name)
        };
        let native = |fields: &serde_json::Value| new(DirectoryProvider::Native, fields);
        assert_eq!(native(&json!({})), Ok("mary.o-major".into()));
        assert_eq!(native(&json!({ "userName": "mm" })), Ok("mm".into()));
        assert_eq!(native(&json!({ "email": "_@example.com" })), Ok("person".into()));
        assert!(native(&json!({ "userName": "Mary" })).is_err_and(|why| why.contains("userName")));
        let foreign = |fields: &serde_json::Value| new(DirectoryProvider::IamIdentityCenter, fields);
        assert_eq!(foreign(&json!({})), Ok("Mary.O'Major@example.com".into()));
        assert_eq!(foreign(&json!({ "userName": "Mary" })), Ok("Mary".into()));
        let person: Person = serde_json::from_value(
            json!({ "email": "m@example.com", "firstName": "M", "lastName": "M", "create": true }),
        )
        .unwrap();
        let at_site = |provider| new_person(provider, &person, Some("central"));
        assert!(at_site(DirectoryProvider::IamIdentityCenter).is_err_and(|why| why.contains("spec.person.create")));
        assert_eq!(at_site(DirectoryProvider::Native).unwrap().site.as_deref(), Some("central"));
    }
}
