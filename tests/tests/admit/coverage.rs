//! That nothing is left untried.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::Kind;
use super::refusals::Refusals;
use crate::render::{objects, repository, text};

/// What a policy's sentence begins with, before its own words.
const DENIED: &str = " denied request: ";

/// Every rule in `crds/generated` has refused an object of its kind.
pub(crate) fn every_rule_has_been_broken(refusals: &Refusals) -> Result<()> {
    let mut untried = Vec::new();
    for kind in Kind::ALL {
        let messages = messages(kind)?;
        untried
            .extend(messages.into_iter().filter(|message| !refusals.has(kind, message)).map(|message| (kind, message)));
    }
    ensure!(untried.is_empty(), "rules that no case in tests/tests/cases breaks: {untried:#?}");
    Ok(())
}

/// Every policy of the chart has refused something, once for each of its validations.
pub(crate) fn every_policy_has_refused(refusals: &Refusals, chart: &[Value]) -> Result<()> {
    let policies: Vec<&Value> =
        chart.iter().filter(|object| text(object, "/kind") == "ValidatingAdmissionPolicy").collect();
    ensure!(!policies.is_empty(), "the chart has no policies");
    for policy in policies {
        let name = text(policy, "/metadata/name");
        let validations = policy.pointer("/spec/validations").and_then(Value::as_array).map_or(0, Vec::len);
        let tried = refusals.sentences(&format!("ValidatingAdmissionPolicy '{name}'")).len();
        ensure!(tried >= validations, "{name} has {validations} validations, of which {tried} refused something here");
    }
    Ok(())
}

/// `docs/admission.md` has every sentence, of rules and of policies, word for word.
pub(crate) fn the_documentation_has_every_sentence(refusals: &Refusals) -> Result<()> {
    let page = fs::read_to_string(repository().join("docs/admission.md")).context("read docs/admission.md")?;
    let mut sentences = BTreeSet::new();
    for kind in Kind::ALL {
        sentences.extend(messages(kind)?);
    }
    for said in refusals.sentences(DENIED) {
        let own = said.split_once(DENIED).map_or("", |(_, own)| own);
        sentences.insert(numbers_left_open(own));
    }
    let missing: Vec<_> = sentences.iter().filter(|sentence| !page.contains(&format!("`{sentence}`"))).collect();
    ensure!(missing.is_empty(), "docs/admission.md lacks: {missing:#?}");
    Ok(())
}

/// `3 device instances` and `1 device instance`, `1 enrolled user`, `1 asset` and `1 sensor` as the page has them.
fn numbers_left_open(sentence: &str) -> String {
    let words: Vec<&str> = sentence.split(' ').collect();
    let open = words.iter().enumerate().map(|(at, word)| match *word {
        number if number.bytes().all(|b| b.is_ascii_digit()) => "N",
        "user" if at > 1 && words[at - 2] == "1" => "users",
        "instance" if at > 1 && words[at - 2] == "1" => "instances",
        "asset" if at > 0 && words[at - 1] == "1" => "assets",
        "sensor" if at > 0 && words[at - 1] == "1" => "sensors",
        word => word,
    });
    open.collect::<Vec<_>>().join(" ")
}

/// The messages of all rules of a kind.
fn messages(kind: Kind) -> Result<BTreeSet<String>> {
    let file = repository().join(format!("crds/generated/{}.yaml", kind.resource().plural));
    let yaml = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
    let mut messages = BTreeSet::new();
    objects(&yaml)?.iter().for_each(|definition| collect_messages(definition, &mut messages));
    ensure!(!messages.is_empty(), "{} has no rules", kind.name());
    ensure!(!messages.contains(""), "{} has a rule without a message: nobody should have to read CEL", kind.name());
    Ok(messages)
}

fn collect_messages(schema: &Value, messages: &mut BTreeSet<String>) {
    match schema {
        Value::Object(members) => {
            for rule in members.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                messages.insert(text(rule, "/message").to_owned());
            }
            members.values().for_each(|member| collect_messages(member, messages));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_messages(item, messages)),
        _ => {}
    }
}
