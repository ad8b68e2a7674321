//! Pure: what a project says of the directory of its people.

use fleetform_crds::condition::{ConditionType, Reason, Statement, Status};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::directory::DirectoryTrouble;
use crate::directory::trouble::lacks;

/// What is known of the directory of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryFacts {
    /// It is built in, and lacks nothing.
    Native,
    /// It is an outside one that is being asked.
    Unknown,
    /// It is an outside one that lacks this.
    Outside(Vec<DirectoryTrouble>),
}

/// `DirectoryReady`; nothing while that is not known.
pub fn statement(facts: &DirectoryFacts) -> Option<Statement> {
    let (status, reason, message) = match facts {
        DirectoryFacts::Unknown => return None,
        DirectoryFacts::Native => {
            (Status::True, Reason::PrerequisitesMet, "people are looked up in the built-in directory".to_owned())
        }
        DirectoryFacts::Outside(lacking) => match lacks(lacking) {
            None => (Status::True, Reason::PrerequisitesMet, "the identity store can be read".to_owned()),
            Some((reason, missing)) => {
                let message = format!("nobody is added, and who has a role keeps it, until this is met: {missing}");
                (Status::False, reason, message)
            }
        },
    };
    Some(Statement::new(ConditionType::DirectoryReady, status, reason, message))
}

/// What was said before, while it is not known: a start of the operator is no reason to write.
pub fn unchanged(facts: &DirectoryFacts, conditions: &[Condition]) -> Option<Condition> {
    let is_said = |condition: &&Condition| condition.type_ == ConditionType::DirectoryReady.as_str();
    conditions.iter().find(is_said).filter(|_| *facts == DirectoryFacts::Unknown).cloned()
}
