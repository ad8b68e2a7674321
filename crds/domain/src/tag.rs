//! Pure: tags of projects, sites, device instances and configuration templates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rule;

/// One tag. Keys and values are case sensitive; put nothing confidential in them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tag {
    /// 1 to 128 characters: letters, digits, spaces and `_ . : / = + - @`. Unique on the resource, fixed once made:
    /// to rename a tag, remove it and add another. The prefix `aws:` is reserved.
    #[schemars(length(max = 128), extend("x-kubernetes-validations" = [
        rule("self.size() > 0", "You must specify a tag key: set tags[].key to 1 to 128 characters"),
        rule(r"self.size() == 0 || self.matches('^[\\p{L}\\p{N} _.:/=+@-]+$')", "tags[].key may hold letters, digits, spaces and _ . : / = + - @ only: take out the others"),
        rule("!self.lowerAscii().startsWith('aws:')", "tags[].key must not start with aws:, which is reserved; choose another prefix"),
    ]))]
    pub key: String,
    /// 0 to 256 characters of the same set.
    #[serde(default)]
    #[schemars(length(max = 256), extend("x-kubernetes-validations" = [
        rule(r"self.matches('^[\\p{L}\\p{N} _.:/=+@-]*$')", "tags[].value may hold letters, digits, spaces and _ . : / = + - @ only: take out the others"),
    ]))]
    pub value: String,
}
