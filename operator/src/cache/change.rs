//! Pure: what happened to objects, as far as it matters to others.

use std::sync::Arc;

use fleetform_crds::condition::{ConditionType, Reason, has_reason};
use fleetform_crds::{AdminUser, Alert, Asset, ConfigTemplate, DeviceInstance, EnrolledUser, Project, Site};
use fleetform_domain::operation::REMEDIATE_ANNOTATION;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, OwnerReference};
use kube::Resource;

use super::{Name, Observed, SecretMeta};
use crate::directory::native::AccountMeta;
use crate::reconcile::names;

/// Something that happened to an object. What it was before is said only where nobody could look it up any more.
#[derive(Clone, Debug)]
pub enum Change {
    /// A Project appeared, changed or went.
    Project {
        /// Which one.
        name: Name,
        /// Whether what depends on it has to look: it appeared or went, or other quotas hold.
        matters: bool,
        /// Whether it has other data keys than before.
        rekeyed: bool,
    },
    /// A Site appeared, changed or went.
    Site {
        /// Which one.
        name: Name,
        /// Whether what depends on it has to look: it appeared or went, is over quota or no longer, or answers locks.
        matters: bool,
    },
    /// A `ConfigTemplate` appeared, changed or went.
    ConfigTemplate {
        /// Which one.
        name: Name,
        /// Whether what depends on it has to look: it appeared or went, or its configuration changed.
        matters: bool,
    },
    /// A `DeviceInstance` appeared, changed or went; what it referred to before and after.
    DeviceInstance {
        /// Which one.
        name: Name,
        /// Names of its sites.
        sites: Vec<String>,
        /// Names of its templates.
        templates: Vec<String>,
        /// Names of its assets.
        assets: Vec<String>,
        /// As it was last, if it is gone.
        gone: Option<Arc<DeviceInstance>>,
    },
    /// An `Asset` appeared, changed or went.
    Asset {
        /// Which one.
        name: Name,
        /// Name of its site, unless it went unseen.
        site: Option<String>,
        /// Whether its sensors have to look: it appeared or went, or its spec changed, or it is over quota or no longer.
        matters: bool,
    },
    /// An `Alert` appeared, changed or went.
    Alert {
        /// Which one.
        name: Name,
        /// Name of its asset, unless it went unseen.
        asset: Option<String>,
        /// As it was last, if it is gone.
        gone: Option<Arc<Alert>>,
    },
    /// An `EnrolledUser` appeared, changed or went.
    EnrolledUser {
        /// Which one.
        name: Name,
    },
    /// An `AdminUser` appeared, changed or went.
    AdminUser {
        /// Which one.
        name: Name,
        /// Name of the site where they have the role, if it is for one alone and they did not go unseen.
        site: Option<String>,
        /// Whether others have to look: it appeared or went, or it is about an Admin, so that others may go or have to stay.
        matters: bool,
    },
    /// A Role or RoleBinding of ours appeared, changed or went.
    Grant {
        /// The namespace.
        namespace: String,
        /// Whose: the name of an `AdminUser`. None when nobody owns it any more.
        of: Option<String>,
    },
    /// A person of a built-in directory appeared, changed or went.
    Person {
        /// The namespace.
        namespace: String,
    },
    /// A Secret of ours appeared, changed or went.
    Secret {
        /// Which one.
        name: Name,
        /// What it was made for, if that can be told.
        of: Option<SecretOf>,
    },
    /// A Secret that others refer to appeared, changed or went.
    Referenced {
        /// Which one.
        name: Name,
        /// What it holds.
        what: Reference,
    },
}

/// A Secret of people that others refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference {
    /// Wi-Fi credentials.
    Wifi,
    /// An address.
    Address,
}

/// What a Secret of ours was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretOf {
    /// It is a code of the device instance of this name.
    Device(String),
    /// It is a revision of the template with this UID.
    Template(String),
    /// It is a letter to the admin user of this name.
    Admin(String),
}

/// The name of what changed, and whether `same` says that the change is of no matter to what depends on it.
pub(super) fn change_of<K: Resource>(observed: &Observed<K>, same: impl Fn(&K, &K) -> bool) -> Option<(Name, bool)> {
    match observed {
        Observed::Changed { old, new } => {
            Some((Name::of(&**new), old.as_ref().is_none_or(|old| old.meta().uid != new.meta().uid || !same(old, new))))
        }
        Observed::Gone { name, .. } => Some((name.clone(), true)),
        Observed::Known => None,
    }
}

/// Whether a project or site says that it is over quota.
fn is_over(conditions: &[Condition]) -> bool {
    has_reason(conditions, ConditionType::Ready, Reason::QuotaExceeded)
}

pub(super) fn project_change(observed: &Observed<Project>) -> Option<Change> {
    let rekeyed = match observed {
        Observed::Changed { old: Some(old), new } => old.data_keys() != new.data_keys(),
        _ => false,
    };
    let facts = |project: &Project| {
        let status = project.status.as_ref();
        (
            project.metadata.uid.clone(),
            project.spec.quotas.clone(),
            project.spec.directory.clone(),
            status.is_some_and(|status| is_over(&status.conditions)),
        )
    };
    change_of(observed, |old, new| facts(old) == facts(new)).map(|(name, matters)| Change::Project {
        name,
        matters,
        rekeyed,
    })
}

pub(super) fn site_change(observed: &Observed<Site>) -> Option<Change> {
    let facts = |site: &Site| {
        let annotations = site.metadata.annotations.as_ref();
        let answer = annotations.and_then(|annotations| annotations.get(REMEDIATE_ANNOTATION)).cloned();
        (answer, site.status.as_ref().is_some_and(|status| is_over(&status.conditions)))
    };
    change_of(observed, |old, new| facts(old) == facts(new)).map(|(name, matters)| Change::Site { name, matters })
}

pub(super) fn template_change(observed: &Observed<ConfigTemplate>) -> Option<Change> {
    let facts = |template: &ConfigTemplate| {
        let status = template.status.as_ref();
        (template.metadata.generation, status.and_then(|s| s.observed_generation), status.and_then(|s| s.revision))
    };
    change_of(observed, |old, new| facts(old) == facts(new))
        .map(|(name, matters)| Change::ConfigTemplate { name, matters })
}

pub(super) fn asset_change(observed: &Observed<Asset>) -> Option<Change> {
    let over = |asset: &Asset| asset.status.as_ref().is_some_and(|status| is_over(&status.conditions));
    let site = match observed {
        Observed::Changed { new: asset, .. } | Observed::Gone { old: Some(asset), .. } => {
            Some(asset.spec.site_ref.name.clone())
        }
        Observed::Gone { old: None, .. } | Observed::Known => None,
    };
    change_of(observed, |old, new| old.spec == new.spec && over(old) == over(new))
        .map(|(name, matters)| Change::Asset { name, site, matters })
}

pub(super) fn alert_change(observed: &Observed<Alert>) -> Option<Change> {
    let (Observed::Changed { new: alert, .. } | Observed::Gone { old: Some(alert), .. }) = observed else {
        return change_of(observed, |_, _| false).map(|(name, _)| Change::Alert { name, asset: None, gone: None });
    };
    let asset = Some(alert.spec.asset_ref.name.clone());
    Some(Change::Alert { name: Name::of(&**alert), asset, gone: gone(observed) })
}

/// The object as it was last, if it is gone, or another one has its name.
pub(super) fn gone<K: Resource>(observed: &Observed<K>) -> Option<Arc<K>> {
    match observed {
        Observed::Gone { old, .. } => old.clone(),
        Observed::Changed { old: Some(old), new } if old.meta().uid != new.meta().uid => Some(Arc::clone(old)),
        Observed::Changed { .. } | Observed::Known => None,
    }
}

pub(super) fn user_change(observed: &Observed<EnrolledUser>) -> Option<Change> {
    change_of(observed, |_, _| false).map(|(name, _)| Change::EnrolledUser { name })
}

pub(super) fn admin_change(observed: &Observed<AdminUser>) -> Option<Change> {
    let site = match observed {
        Observed::Changed { new: user, .. } | Observed::Gone { old: Some(user), .. } => {
            user.site().map(ToOwned::to_owned)
        }
        Observed::Gone { old: None, .. } | Observed::Known => None,
    };
    change_of(observed, |old, new| old.is_lasting_admin() == new.is_lasting_admin())
        .map(|(name, matters)| Change::AdminUser { name, site, matters })
}

/// The `AdminUser` that a Role or RoleBinding of ours was made for, while it owns it.
pub fn grant_owner<K: Resource>(grant: &K) -> Option<&OwnerReference> {
    grant.meta().owner_references.iter().flatten().find(|owner| owner.kind == "AdminUser")
}

/// What happened to a Role or RoleBinding.
pub(super) fn grant_change<K: Resource>(observed: &Observed<K>) -> Option<Change> {
    let (Observed::Changed { new: grant, .. } | Observed::Gone { old: Some(grant), .. }) = observed else {
        return None;
    };
    let of = grant_owner(&**grant).map(|owner| owner.name.clone());
    Some(Change::Grant { namespace: Name::of(&**grant).namespace, of })
}

pub(super) fn person_change(observed: &Observed<AccountMeta>) -> Option<Change> {
    change_of(observed, |old, new| {
        (&old.metadata.labels, &old.metadata.annotations) == (&new.metadata.labels, &new.metadata.annotations)
    })
    .filter(|(_, matters)| *matters)
    .map(|(name, _)| Change::Person { namespace: name.namespace })
}

pub(super) fn secret_change(observed: &Observed<SecretMeta>) -> Option<Change> {
    let (Observed::Changed { new: secret, .. } | Observed::Gone { old: Some(secret), .. }) = observed else {
        return None;
    };
    let owners = secret.metadata.owner_references.iter().flatten();
    let owner = owners.into_iter().find_map(|owner| match owner.kind.as_str() {
        "DeviceInstance" => Some(SecretOf::Device(owner.name.clone())),
        "AdminUser" => Some(SecretOf::Admin(owner.name.clone())),
        _ => None,
    });
    let template = secret.metadata.labels.as_ref().and_then(|labels| labels.get(names::TEMPLATE_LABEL));
    let of = owner.or_else(|| template.map(|uid| SecretOf::Template(uid.clone())));
    Some(Change::Secret { name: Name::of(&**secret), of })
}
