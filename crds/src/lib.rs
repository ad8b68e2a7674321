//! The custom resources of Fleetform, group `fleetform.dev`, version `v1alpha1`.
//!
//! One file per kind: spec, status, CEL rules, printer columns. A project is a namespace; no reference leaves it.

// kube's derive writes `pub` structs into functions.
#![allow(unreachable_pub)]
// Each printer column is an attribute with the same keys.
#![allow(clippy::duplicated_attributes)]

pub mod admin_user;
pub mod alert;
pub mod asset;
pub mod condition;
pub mod config_template;
pub mod definition;
pub mod device_instance;
pub mod enrolled_user;
pub mod project;
pub mod reference;
pub mod site;

pub use admin_user::{AdminUser, AdminUserSpec, AdminUserStatus};
pub use alert::{Alert, AlertSpec, AlertStatus};
pub use asset::{Asset, AssetSpec, AssetStatus};
pub use config_template::{ConfigTemplate, ConfigTemplateSpec, ConfigTemplateStatus};
pub use device_instance::{DeviceInstance, DeviceInstanceSpec, DeviceInstanceStatus};
pub use enrolled_user::{EnrolledUser, EnrolledUserSpec, EnrolledUserStatus};
pub use project::{Project, ProjectSpec, ProjectStatus};
pub use site::{Site, SiteSpec, SiteStatus};

/// API group of every kind.
pub const GROUP: &str = "fleetform.dev";
