//! That nothing is left untried.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Kind;
use super::refusals::Refusals;
use crate::render::{objects, repository, text};

/// Every rule in `crds/generated` has refused an object of its kind.
pub(crate) fn every_rule_has_been_broken(refusals: &Refusals) -> Result<()> {
    let mut untried = Vec::new();
    for kind in Kind::ALL {
        let file = repository().join(format!("crds/generated/{}.yaml", kind.resource().plural));
        let yaml = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        let mut messages = BTreeSet::new();
        objects(&yaml)?.iter().for_each(|definition| collect_messages(definition, &mut messages));
        ensure!(!messages.is_empty(), "{} has no rules", kind.name());
        untried
            .extend(messages.into_iter().filter(|message| !refusals.has(kind, message)).map(|message| (kind, message)));
    }
    ensure!(untried.is_empty(), "rules that no case in tests/tests/cases breaks: {untried:#?}");
    Ok(())
}

fn collect_messages(schema: &Value, messages: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            for rule in members.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                // One without a message is refused by its expression, which nobody should have to read.
                messages.insert(text(rule, "/message").to_owned());
            }
            members.values().for_each(|member| collect_messages(member, messages));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_messages(item, messages)),
        _ => {}
    }
}

/// Every policy of the chart has refused something, once for each of its validations.
pub(crate) fn every_policy_has_refused(refusals: &Refusals, chart: &[Value]) -> Result<()> {
    let policies: Vec<&Value> =
        chart.iter().filter(|object| text(object, "/kind") == "ValidatingAdmissionPolicy").collect();
    ensure!(!policies.is_empty(), "the chart has no policies");
    for policy in policies {
        let name = text(policy, "/metadata/name");
        let validations = policy.pointer("/spec/validations").and_then(Value::as_array).map_or(0, Vec::len);
        let tried = refusals.sentences(&format!("ValidatingAdmissionPolicy '{name}'"));
        ensure!(tried >= validations, "{name} has {validations} validations, of which {tried} refused something here");
    }
    Ok(())
}
