//! Pure: the directory that needs no other service. A person is a ServiceAccount of the project's namespace with a label; the label of
//! a group on it says that they are in that group.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleetform_crds::admin_user::{Group, Person};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::Subject;
use kube::core::PartialObjectMeta;

use super::person::{Account, Wanted, identify};
use super::{Contact, Lookup, NewPerson, Principal};

/// Stands on every ServiceAccount that is a person. Others are programs, and get no role.
pub const PERSON_LABEL: &str = "fleetform.dev/person";

/// On a person: email address.
pub const EMAIL_ANNOTATION: &str = "fleetform.dev/email";

/// On a person: first name.
pub const FIRST_NAME_ANNOTATION: &str = "fleetform.dev/first-name";

/// On a person: last name.
pub const LAST_NAME_ANNOTATION: &str = "fleetform.dev/last-name";

/// On a person who was created by an `AdminUser` at a site: name of the site. Whoever has a role there chose the name and the address.
pub const SITE_ANNOTATION: &str = "fleetform.dev/created-at-site";

/// Beginning of the labels that say in which groups a person is.
pub const GROUP_LABEL_PREFIX: &str = "group.fleetform.dev/";

/// Longest user name: of a ServiceAccount that is to be used in a label.
const LONGEST_NAME: usize = 63;

/// Metadata of a ServiceAccount that is a person.
pub type AccountMeta = PartialObjectMeta<ServiceAccount>;

fn annotation<'a>(account: &'a AccountMeta, key: &str) -> Option<&'a str> {
    account.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

fn email(account: &AccountMeta) -> Option<&str> {
    annotation(account, EMAIL_ANNOTATION)
}

/// Whether somebody may be other than who an `AdminUser` means: an Admin of another site chose one of the two that it does not name.
fn is_ambiguous(account: &AccountMeta, wanted: Wanted<'_>, site: Option<&str>) -> bool {
    let is_named_whole = wanted.user_name.is_some() && wanted.email.is_some();
    annotation(account, SITE_ANNOTATION).is_some_and(|created| site != Some(created)) && !is_named_whole
}

impl Account for &Arc<AccountMeta> {
    fn user_name(&self) -> &str {
        name(self)
    }

    fn has_address(&self, wanted: &str) -> bool {
        email(self).is_some_and(|email| email.eq_ignore_ascii_case(wanted))
    }
}

fn name(account: &AccountMeta) -> &str {
    account.metadata.name.as_deref().unwrap_or_default()
}

fn subject(account: &AccountMeta) -> Subject {
    Subject {
        kind: "ServiceAccount".to_owned(),
        name: name(account).to_owned(),
        namespace: account.metadata.namespace.clone(),
        api_group: None,
    }
}

/// Who this person is, among the people of a namespace, who is to have a role at this site or in the project.
pub fn find_person(people: &[Arc<AccountMeta>], person: &Person, site: Option<&str>) -> Lookup {
    let wanted = Wanted { user_name: person.user_name.as_deref(), email: person.email.as_deref() };
    let named = wanted.user_name.and_then(|wanted| people.iter().find(|account| name(account) == wanted));
    let addressed = wanted.email.map(|wanted| people.iter().filter(|account| account.has_address(wanted)).collect());
    match identify(wanted, named, addressed.unwrap_or_default()) {
        Ok(None) => Lookup::Absent,
        Ok(Some(account)) if is_ambiguous(account, wanted, site) => Lookup::Impossible(format!(
            "spec.person: {} was created at Site {}, by whoever gives roles there: write both spec.person.userName and spec.person.email, so that \
             it is sure who is meant",
            name(account),
            annotation(account, SITE_ANNOTATION).unwrap_or_default()
        )),
        Ok(Some(account)) => Lookup::Here(Principal {
            directory_id: account.metadata.uid.clone(),
            kubernetes_user: Some(format!(
                "system:serviceaccount:{}:{}",
                account.metadata.namespace.as_deref().unwrap_or_default(),
                name(account)
            )),
            subjects: vec![subject(account)],
            contact: Some(Contact {
                user_name: name(account).to_owned(),
                email: email(account).map(ToOwned::to_owned),
            }),
        }),
        Err(why) => Lookup::Impossible(why),
    }
}

/// Who is in this group, among the people of a namespace. A group is there when somebody is in it.
pub fn find_group(people: &[Arc<AccountMeta>], group: &Group) -> Lookup {
    let is_label = |text: &str| {
        let is_end = |c: char| c.is_ascii_alphanumeric();
        text.len() <= LONGEST_NAME
            && text.starts_with(is_end)
            && text.ends_with(is_end)
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    if !is_label(&group.name) {
        return Lookup::Impossible(
            "spec.group.name: a group of the built-in directory is a label: 1 to 63 letters, digits, hyphens, underscores and dots"
                .to_owned(),
        );
    }
    let label = format!("{GROUP_LABEL_PREFIX}{}", group.name);
    let is_member = |account: &&Arc<AccountMeta>| {
        account.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(&label))
    };
    let subjects: Vec<Subject> = people.iter().filter(is_member).map(|account| subject(account)).collect();
    if subjects.is_empty() {
        return Lookup::Absent;
    }
    Lookup::Here(Principal { directory_id: None, kubernetes_user: None, subjects, contact: None })
}

/// The user name of a person to be created with this address, who is to have this name if any; why there can be none otherwise.
pub fn user_name(wanted: Option<&str>, email: &str) -> Result<String, String> {
    let Some(wanted) = wanted else { return Ok(as_name(email.split('@').next().unwrap_or_default())) };
    if as_name(wanted) == wanted {
        return Ok(wanted.to_owned());
    }
    Err("spec.person.userName: in the built-in directory it is 1 to 63 lower case letters, digits, hyphens and dots"
        .to_owned())
}

/// A text as the name of a ServiceAccount.
fn as_name(text: &str) -> String {
    let letters = text.chars().map(|c| c.to_ascii_lowercase());
    let name: String =
        letters.map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).take(LONGEST_NAME).collect();
    let name = name.trim_matches(|c: char| !c.is_ascii_alphanumeric());
    if name.is_empty() { "person".to_owned() } else { name.to_owned() }
}

/// Labels and annotations of the ServiceAccount of a person.
pub fn marks(person: &NewPerson) -> [BTreeMap<String, String>; 2] {
    let owned = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let labels = [(PERSON_LABEL, "true"), ("app.kubernetes.io/managed-by", "fleetform")];
    let annotations = [
        (EMAIL_ANNOTATION, person.email.as_str()),
        (FIRST_NAME_ANNOTATION, &person.first_name),
        (LAST_NAME_ANNOTATION, &person.last_name),
    ];
    let site = person.site.as_deref().map(|site| (SITE_ANNOTATION, site));
    [labels.map(owned).into(), annotations.into_iter().chain(site).map(owned).collect()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn account(name: &str, email: &str, groups: &[&str]) -> Arc<AccountMeta> {
        let mut labels = json!({ PERSON_LABEL: "true" });
        for group in groups {
            labels[format!("{GROUP_LABEL_PREFIX}{group}")] = "".into();
        }
        let metadata = json!({
            "name": name, "namespace": "library", "uid": format!("uid-{name}"), "labels": labels,
            "annotations": { EMAIL_ANNOTATION: email },
        });
        Arc::new(serde_json::from_value(json!({ "metadata": metadata })).unwrap())
    }

    fn people() -> Vec<Arc<AccountMeta>> {
        vec![
            account("mary-major", "Mary.Major@example.com", &["night-shift"]),
            account("john", "john@example.com", &["night-shift", "installers"]),
            account("twin-1", "twin@example.com", &[]),
            account("twin-2", "twin@example.com", &[]),
        ]
    }

    fn person(fields: serde_json::Value) -> Person {
        serde_json::from_value(fields).unwrap()
    }

    fn found(lookup: &Lookup) -> Vec<&str> {
        match lookup {
            Lookup::Here(principal) => principal.subjects.iter().map(|subject| subject.name.as_str()).collect(),
            Lookup::Absent => vec!["nobody"],
            Lookup::Impossible(why) => vec![why],
            Lookup::Asked | Lookup::Unanswered(_) => vec!["no answer"],
        }
    }

    #[test]
    fn people_are_found_by_name_or_address() {
        let find = |fields| find_person(&people(), &person(fields), None);
        for fields in [
            json!({ "userName": "mary-major" }),
            json!({ "email": "mary.major@EXAMPLE.com" }),
            json!({ "userName": "mary-major", "email": "mary.major@example.com" }),
        ] {
            let Lookup::Here(principal) = find(fields) else { panic!("she is there") };
            assert_eq!(principal.kubernetes_user.as_deref(), Some("system:serviceaccount:library:mary-major"));
            assert_eq!(principal.directory_id.as_deref(), Some("uid-mary-major"));
        }
        assert_eq!(find(json!({ "userName": "mary" })), Lookup::Absent);
        assert_eq!(find(json!({ "email": "nobody@example.com" })), Lookup::Absent);
        let other = find(json!({ "userName": "john", "email": "mary.major@example.com" }));
        assert!(found(&other)[0].contains("another email address"), "{other:?}");
        let taken = find(
            json!({ "userName": "mallory", "email": "mary.major@example.com", "firstName": "M", "lastName": "M", "create": true }),
        );
        assert!(found(&taken)[0].contains("is that of mary-major"), "{taken:?}");
        let twins = find(json!({ "email": "twin@example.com" }));
        assert!(found(&twins)[0].contains("2 people"), "{twins:?}");
    }

    #[test]
    fn who_was_created_at_a_site_is_nobody_elsewhere_by_one_name_alone() {
        let new = NewPerson {
            user_name: "mallory".into(),
            email: "boss@example.com".into(),
            first_name: "M".into(),
            last_name: "M".into(),
            site: Some("annex".into()),
        };
        let [labels, annotations] = marks(&new);
        let metadata =
            json!({ "name": "mallory", "namespace": "library", "labels": labels, "annotations": annotations });
        let people = [Arc::new(serde_json::from_value(json!({ "metadata": metadata })).unwrap())];
        let both = json!({ "userName": "mallory", "email": "boss@example.com" });
        for (fields, site, is_found) in [
            (json!({ "email": "boss@example.com" }), None, false),
            (json!({ "email": "boss@example.com" }), Some("central"), false),
            (json!({ "userName": "mallory" }), None, false),
            (json!({ "email": "boss@example.com" }), Some("annex"), true),
            (both.clone(), None, true),
            (both, Some("central"), true),
        ] {
            let lookup = find_person(&people, &person(fields), site);
            assert_eq!(found(&lookup) == ["mallory"], is_found, "{lookup:?}");
            assert!(is_found || found(&lookup)[0].contains("created at Site annex"), "{lookup:?}");
        }
    }

    #[test]
    fn a_group_is_who_carries_its_label() {
        let find = |name: &str| find_group(&people(), &Group { name: name.into() });
        assert_eq!(found(&find("night-shift")), ["mary-major", "john"]);
        assert_eq!(found(&find("installers")), ["john"]);
        assert_eq!(find("day-shift"), Lookup::Absent);
        for name in ["two words", "-x", "a/b", &"x".repeat(64)] {
            assert!(matches!(find(name), Lookup::Impossible(_)), "{name}");
        }
    }
}
