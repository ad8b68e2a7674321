//! What was refused, and in which words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::core::Status;

use super::Kind;

/// Every refusal, by what was tried. Shared, as everything is tried at once.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    said: BTreeMap<String, BTreeSet<String>>,
    by_rules: Vec<(Kind, String)>,
}

impl Refusals {
    /// A rule of a definition refused `what`, on an object of `kind`. What several kinds refuse alike is said once.
    pub(crate) fn by_rule(&self, what: &str, kind: Kind, status: &Status) {
        for cause in status.details.iter().flat_map(|details| &details.causes) {
            self.inner().by_rules.push((kind, cause.message.clone()));
            self.say(what, format!("{}: {}", cause.field, cause.message));
        }
    }

    /// A policy refused `what`.
    pub(crate) fn by_policy(&self, what: &str, status: &Status) {
        self.say(&format!("policies: {what}"), status.message.clone());
    }

    fn say(&self, what: &str, sentence: String) {
        self.inner().said.entry(what.to_owned()).or_default().insert(sentence);
    }

    /// Whether an object of `kind` was refused with `message`.
    pub(crate) fn has(&self, kind: Kind, message: &str) -> bool {
        self.inner().by_rules.iter().any(|(of, said)| *of == kind && said.ends_with(message))
    }

    /// The different sentences that contain `part`.
    pub(crate) fn sentences(&self, part: &str) -> BTreeSet<String> {
        self.inner().said.values().flatten().filter(|said| said.contains(part)).cloned().collect()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, said) in &self.inner().said {
            writeln!(f, "{what}")?;
            said.iter().try_for_each(|sentence| writeln!(f, "    {sentence}"))?;
        }
        Ok(())
    }
}
