//! Pure: what a request said an object should be, and how much that says of what it changes.

use serde_json::{Map, Value};

/// What a request said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Statement {
    /// All that was said, in the form of an object. What a patch removes is `null`.
    pub(super) object: Value,
    /// Whether all of the object was said, changed or not: a replacement, or a server-side apply.
    pub(super) is_whole: bool,
}

/// Fields that say nothing of what somebody wants.
const BESIDE_THE_POINT: [&str; 8] = [
    "apiVersion",
    "kind",
    "metadata.managedFields",
    "metadata.name",
    "metadata.namespace",
    "metadata.resourceVersion",
    "metadata.uid",
    "metadata.annotations.kubectl.kubernetes.io/last-applied-configuration",
];

impl Statement {
    /// Reads the body of an update or a patch: an object, a merge patch or a JSON Patch. An apply is told from a merge patch by saying
    /// what it is about.
    pub(super) fn read(body: Value, replaces: bool) -> Self {
        if let Value::Array(operations) = &body {
            return Self { object: said_by(operations), is_whole: false };
        }
        let is_apply = ["apiVersion", "kind"].iter().all(|member| body.get(member).is_some());
        Self { is_whole: replaces || is_apply, object: body }
    }

    /// The fields that were said, each as its path and whether it was removed. Lists count as one field.
    pub(super) fn fields(&self) -> Vec<(Vec<&str>, bool)> {
        let mut found = Vec::new();
        walk(&self.object, &mut Vec::new(), &mut found);
        found.retain(|(path, _)| !BESIDE_THE_POINT.contains(&path.join(".").as_str()));
        found
    }
}

fn walk<'a>(value: &'a Value, path: &mut Vec<&'a str>, found: &mut Vec<(Vec<&'a str>, bool)>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                path.push(key);
                walk(value, path, found);
                path.pop();
            }
        }
        value => {
            let is_removed = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
            found.push((path.clone(), is_removed));
        }
    }
}

/// What the operations of a JSON Patch say, in the form of an object.
fn said_by(operations: &[Value]) -> Value {
    let mut object = Value::Object(Map::new());
    for operation in operations {
        let text = |member: &str| operation.get(member).and_then(Value::as_str);
        let (Some(name), Some(path)) = (text("op"), text("path")) else { continue };
        match name {
            "add" | "replace" => put(&mut object, path, operation.get("value").cloned().unwrap_or_default()),
            "remove" => put(&mut object, path, Value::Null),
            // Which value it is stands elsewhere.
            "copy" => put(&mut object, path, Value::Bool(true)),
            "move" => {
                put(&mut object, path, Value::Bool(true));
                put(&mut object, text("from").unwrap_or_default(), Value::Null);
            }
            _ => {}
        }
    }
    object
}

/// What lies deeper in an object is said of what it lies in: no record looks as deep, and nobody is to make us dig.
const DEEPEST: usize = 8;

/// Lays a value over what was said before. What stands within a list is said of the list.
fn put(object: &mut Value, pointer: &str, value: Value) {
    let mut place = object;
    for segment in pointer.split('/').skip(1).take(DEEPEST) {
        if segment == "-" || segment.bytes().all(|b| b.is_ascii_digit()) {
            // One element more or less, and not none: `null` is what tells a removal.
            *place = if value.is_null() { Value::Null } else { Value::Bool(true) };
            return;
        }
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        let Value::Object(members) = place else { return };
        let key = segment.replace("~1", "/").replace("~0", "~");
        place = members.entry(key).or_insert(Value::Null);
    }
    *place = value;
}

/// The member at a path.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, member| value.get(member))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(body: Value) -> Vec<String> {
        let statement = Statement::read(body, false);
        let show = |(path, removed): (Vec<&str>, bool)| format!("{}{}", if removed { "-" } else { "" }, path.join("."));
        statement.fields().into_iter().map(show).collect()
    }

    #[test]
    fn patches_say_what_they_touch() {
        assert_eq!(
            said(json!({
                "metadata": { "annotations": {
                    "fleetform.dev/reboot": "x", "kubectl.kubernetes.io/last-applied-configuration": "{}" } },
                "spec": { "description": null, "tags": [], "address": { "city": "Seattle" } },
            })),
            ["metadata.annotations.fleetform.dev/reboot", "spec.address.city", "-spec.description", "-spec.tags"]
        );
        assert_eq!(
            said(json!([
                { "op": "test", "path": "/spec/displayName", "value": "x" },
                { "op": "replace", "path": "/metadata/annotations/fleetform.dev~1reboot", "value": "x" },
                { "op": "remove", "path": "/spec/tags/0" },
                { "op": "add", "path": "/spec/positions/-", "value": {} },
                { "op": "move", "from": "/spec/a", "path": "/spec/b" },
                { "op": "add" },
            ])),
            ["metadata.annotations.fleetform.dev/reboot", "-spec.a", "spec.b", "spec.positions", "-spec.tags"]
        );
    }

    #[test]
    fn a_path_without_end_is_followed_for_a_while() {
        let endless = "/spec".repeat(1_000_000);
        assert_eq!(
            said(json!([{ "op": "add", "path": endless, "value": 1 }])),
            ["spec.spec.spec.spec.spec.spec.spec.spec"]
        );
    }

    #[test]
    fn an_apply_says_all_of_an_object() {
        let apply = json!({ "apiVersion": "fleetform.dev/v1alpha1", "kind": "Site", "spec": {} });
        assert!(Statement::read(apply, false).is_whole);
        assert!(!Statement::read(json!({ "spec": {} }), false).is_whole);
        assert!(Statement::read(json!({ "spec": {} }), true).is_whole);
    }
}
