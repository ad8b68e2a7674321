//! References and texts that several kinds share.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// An object in the same namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, KubeSchema)]
pub struct LocalReference {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// What a name that people read may consist of (Monitron guide: letters, digits, punctuation, spaces).
pub(crate) const DISPLAY_NAME_RULE: &str = r"self.matches('^[\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}]([\\p{L}\\p{M}\\p{N}\\p{P}\\p{S} ]*[\\p{L}\\p{M}\\p{N}\\p{P}\\p{S}])?$')";

/// What a name that people read must not be, in words.
pub(crate) const DISPLAY_NAME_MESSAGE: &str =
    "displayName may hold letters, digits, punctuation and spaces, and must not begin or end with a space";

/// Whether a count can be left out.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(crate) fn is_zero(count: &i64) -> bool {
    *count == 0
}
