//! Pure: who people and groups of an outside directory are to Kubernetes.

use k8s_openapi::api::rbac::v1::Subject;

use super::{Contact, Principal};

/// Group of the subjects of bindings that are users and groups.
const RBAC: &str = "rbac.authorization.k8s.io";

/// What names of an outside directory have before them in Kubernetes. It ends with a separator and is not `system:`, so whatever name
/// stands behind it, nobody becomes a part of Kubernetes itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectPrefix(String);

/// A text that is no prefix.
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is no prefix for names of people: 1 to 64 letters, digits, dots, underscores, slashes and hyphens, with a colon at the end, \
     and not system:"
)]
pub struct NoPrefix(String);

impl SubjectPrefix {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, NoPrefix> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '/' | '-');
        let is_name = |name: &str| {
            (1..=64).contains(&name.len())
                && name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(is_plain)
                && name != "system"
        };
        match text.strip_suffix(':') {
            Some(name) if is_name(name) => Ok(Self(text.to_owned())),
            _ => Err(NoPrefix(text.to_owned())),
        }
    }

    /// A person with this id.
    pub fn person(&self, id: String, contact: Contact) -> Principal {
        let user = format!("{}{}", self.0, contact.user_name);
        Principal {
            directory_id: Some(id),
            kubernetes_user: Some(user.clone()),
            subjects: vec![outside_user(user)],
            contact: Some(contact),
        }
    }

    /// A group with this id and display name. Who is in it is not looked at: their tokens say so.
    pub fn group(&self, id: String, name: &str) -> Principal {
        let group = subject("Group", format!("{}{name}", self.0));
        Principal { directory_id: Some(id), kubernetes_user: None, subjects: vec![group], contact: None }
    }
}

/// A person of an outside directory who is this user to Kubernetes.
pub fn outside_user(name: String) -> Subject {
    subject("User", name)
}

fn subject(kind: &str, name: String) -> Subject {
    Subject { kind: kind.to_owned(), name, namespace: None, api_group: Some(RBAC.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_prefix_ends_with_a_colon_and_is_not_that_of_kubernetes() {
        for good in ["idc:", "corp.example/people:", "a:"] {
            assert!(SubjectPrefix::parse(good).is_ok(), "{good}");
        }
        for bad in ["", ":", "idc", "system:", "sys", "system:serviceaccount:", "a b:", "-a:", "'||true:"] {
            let error = SubjectPrefix::parse(bad).unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
    }

    proptest! {
        /// Whatever is taken for a prefix, and whatever somebody is called in a directory, they are nobody of Kubernetes itself.
        #[test]
        fn nobody_becomes_a_part_of_kubernetes(prefix in "(s|sys|system|[a-z:]{0,8}):?", name in "(tem:|:)?[a-z:]{0,12}") {
            if let Ok(prefix) = SubjectPrefix::parse(&prefix) {
                let contact = Contact { user_name: name.clone(), email: None };
                for principal in [prefix.person("1".into(), contact), prefix.group("1".into(), &name)] {
                    prop_assert!(!principal.subjects[0].name.starts_with("system:"), "{principal:?}");
                }
            }
        }
    }
}
