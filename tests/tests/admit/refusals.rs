//! What was refused, and in which words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kube::core::Status;

use super::Kind;

/// Every refusal, by what was tried.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    said: BTreeMap<String, BTreeSet<String>>,
    by_rules: Vec<(Kind, String)>,
}

impl Refusals {
    /// A rule of a definition refused `what`, on an object of `kind`. What several kinds refuse alike is said once.
    pub(crate) fn by_rule(&mut self, what: &str, kind: Kind, status: &Status) {
        for cause in status.details.iter().flat_map(|details| &details.causes) {
            self.by_rules.push((kind, cause.message.clone()));
            self.say(what, format!("{}: {}", cause.field, cause.message));
        }
    }

    /// A policy refused `what`.
    pub(crate) fn by_policy(&mut self, what: &str, status: &Status) {
        self.say(&format!("policies: {what}"), status.message.clone());
    }

    fn say(&mut self, what: &str, sentence: String) {
        self.said.entry(what.to_owned()).or_default().insert(sentence);
    }

    /// Whether an object of `kind` was refused with `message`.
    pub(crate) fn has(&self, kind: Kind, message: &str) -> bool {
        self.by_rules.iter().any(|(of, said)| *of == kind && said.ends_with(message))
    }

    /// The different sentences that contain `part`.
    pub(crate) fn sentences(&self, part: &str) -> usize {
        let said: BTreeSet<_> = self.said.values().flatten().filter(|said| said.contains(part)).collect();
        said.len()
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, said) in &self.said {
            writeln!(f, "{what}")?;
            said.iter().try_for_each(|sentence| writeln!(f, "    {sentence}"))?;
        }
        Ok(())
    }
}
