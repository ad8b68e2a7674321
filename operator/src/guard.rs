//! The policies that ask who gives a role whether they may, and who has one at a site whether they write there: without the first, who may
//! write an `AdminUser` could become anything, without the second an Admin of one site would be Admin of all.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding};
use kube::{Api, Client};
use parking_lot::Mutex;

use crate::error::{Error, Result};

/// How long an answer counts, by whether the policy was there.
const KEPT: [(bool, SignedDuration); 2] = [(true, SignedDuration::from_mins(5)), (false, SignedDuration::from_secs(5))];

/// A policy without which roles are not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Who gives a role may bind it.
    AdminUsers,
    /// Who writes at a site has a right to it.
    SiteScope,
}

impl Policy {
    /// Those without which no role is given: in a project, or at one site.
    pub const fn of(at_site: bool) -> &'static [Self] {
        if at_site { &[Self::AdminUsers, Self::SiteScope] } else { &[Self::AdminUsers] }
    }

    /// Name of the policy and of its binding. `prefix` is what names of the installation begin with.
    pub fn name(self, prefix: &str) -> String {
        let suffix = match self {
            Self::AdminUsers => "admin-users",
            Self::SiteScope => "site-scope",
        };
        format!("{prefix}-{suffix}")
    }
}

/// Whether the policies are in place, asked of the API server now and then.
#[derive(Debug, Default)]
pub struct Guard {
    known: Mutex<HashMap<Policy, (Timestamp, bool)>>,
}

impl Guard {
    /// The first of these that is not there, or whose binding does not deny.
    pub async fn missing(
        &self,
        client: &Client,
        prefix: &str,
        policies: &[Policy],
        now: Timestamp,
    ) -> Result<Option<Policy>> {
        for policy in policies {
            if !self.is_in_place(client, prefix, *policy, now).await? {
                return Ok(Some(*policy));
            }
        }
        Ok(None)
    }

    async fn is_in_place(&self, client: &Client, prefix: &str, policy: Policy, now: Timestamp) -> Result<bool> {
        let known = self.known.lock().get(&policy).copied();
        if let Some((asked, answer)) = known
            && KEPT.iter().any(|(kept, span)| *kept == answer && now < asked + *span)
        {
            return Ok(answer);
        }
        let name = policy.name(prefix);
        let what = || format!("look for the ValidatingAdmissionPolicy {name}");
        let policies: Api<ValidatingAdmissionPolicy> = Api::all(client.clone());
        let bindings: Api<ValidatingAdmissionPolicyBinding> = Api::all(client.clone());
        let found = policies.get_opt(&name).await.map_err(|error| Error::kube(what(), error))?;
        let binding = bindings.get_opt(&name).await.map_err(|error| Error::kube(what(), error))?;
        let denies = |binding: &ValidatingAdmissionPolicyBinding| {
            let spec = &binding.spec;
            spec.policy_name == name
                && spec.match_resources.is_none()
                && spec.validation_actions.iter().any(|action| action == "Deny")
        };
        let answer = found.is_some() && binding.as_ref().is_some_and(denies);
        self.known.lock().insert(policy, (now, answer));
        Ok(answer)
    }
}
