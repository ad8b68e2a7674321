//! Pure: helpers for the JSON schemas of types that stand in custom resources.

use serde_json::{Value, json};

/// One rule of `x-kubernetes-validations`: a CEL expression over `self`, and the sentence a person reads when it fails.
pub(crate) fn rule(expression: &str, message: &str) -> Value {
    json!({ "rule": expression, "message": message })
}
