//! The policy that asks who gives a role whether they may: without it, who may write an `AdminUser` could become anything.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{Api, Client};
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// How long an answer counts, by whether the policy was there.
const KEPT: [(bool, SignedDuration); 2] = [(true, SignedDuration::from_mins(5)), (false, SignedDuration::from_secs(5))];

/// Whether the policy is in place, asked of the API server now and then.
#[derive(Debug, Default)]
pub struct Guard {
    known: Mutex<Option<(Timestamp, bool)>>,
}

/// Name of the policy and of its binding.
pub fn policy_name(installation: &str) -> String {
    format!("{installation}-admin-users")
}

impl Guard {
    /// Whether the policy is there, and its binding denies.
    pub async fn is_in_place(&self, client: &Client, installation: &str, now: Timestamp) -> Result<bool> {
        let known = *self.known.lock();
        if let Some((asked, answer)) = known
            && KEPT.iter().any(|(kept, span)| *kept == answer && now < asked + *span)
        {
            return Ok(answer);
        }
        let name = policy_name(installation);
        let what = || format!("look for the ValidatingAdmissionPolicy {name}");
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
        let policy = policies.get_opt(&name).await.map_err(|error| Error::kube(what(), error))?;
        let binding = bindings.get_opt(&name).await.map_err(|error| Error::kube(what(), error))?;
        let denies = |binding: &ValidatingAdmissionPolicyBinding| {
            let spec = &binding.spec;
            spec.policy_name == name
                && spec.match_resources.is_none()
                && spec.validation_actions.iter().any(|action| action == "Deny")
        };
        let answer = policy.is_some() && binding.as_ref().is_some_and(denies);
        *self.known.lock() = Some((now, answer));
        Ok(answer)
    }
}
