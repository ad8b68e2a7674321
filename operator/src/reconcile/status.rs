//! Pure: the merge patch from one status to another (RFC 7386).

use serde::Serialize;
use serde_json::{Map, Value};

/// The merge patch that makes `current` into `desired`; `None` when they are the same. Lists are replaced as a whole.
pub fn patch<S: Serialize + PartialEq>(current: Option<&S>, desired: &S) -> Option<Value> {
    if current == Some(desired) {
        return None;
    }
    let plain = |status: Option<&S>| {
        status.map_or_else(|| Value::Object(Map::new()), |s| serde_json::to_value(s).expect("a status is plain data"))
    };
    difference(&plain(current), &plain(Some(desired)))
}

fn difference(current: &Value, desired: &Value) -> Option<Value> {
    if current == desired {
        return None;
    }
    let (Value::Object(current), Value::Object(desired)) = (current, desired) else {
        return Some(desired.clone());
    };
    let mut changes = Map::new();
    for key in current.keys().filter(|key| !desired.contains_key(*key)) {
        changes.insert(key.clone(), Value::Null);
    }
    for (key, value) in desired {
        match current.get(key) {
            Some(before) => changes.extend(difference(before, value).map(|change| (key.clone(), change))),
            None => {
                changes.insert(key.clone(), value.clone());
            }
        }
    }
    Some(Value::Object(changes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn only_what_differs_is_sent_and_what_goes_is_null() {
        let current = json!({"a": 1, "b": {"c": 2, "d": 3}, "gone": true, "list": [1, 2]});
        let desired = json!({"a": 1, "b": {"c": 2, "d": 4}, "new": [], "list": [1]});
        let expected = json!({"b": {"d": 4}, "gone": null, "new": [], "list": [1]});
        assert_eq!(patch(Some(&current), &desired), Some(expected));
        assert_eq!(patch(Some(&current), &current), None);
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![any::<bool>().prop_map(Value::from), any::<i32>().prop_map(Value::from)];
        let inner = leaf.prop_recursive(3, 24, 4, |inner| {
            prop::collection::btree_map("[a-d]", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect()))
        });
        prop::collection::btree_map("[a-d]", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn the_patch_makes_one_into_the_other(current in tree(), desired in tree()) {
            let mut patched = current.clone();
            if let Some(patch) = patch(Some(&current), &desired) {
                json_patch::merge(&mut patched, &patch);
            }
            prop_assert_eq!(patched, desired);
        }
    }
}
