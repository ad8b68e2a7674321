//! Pure: the audit trail. Who did what, as records in the shape of `CloudTrail`: made of the audit events of Kubernetes, and of
//! what portal and gateway did.
//!
//! # Guarantees
//! A record is built from fields that are listed here, and nothing else is copied into it: no annotation, no patch, no message of
//! somebody else. Names that people read, descriptions, lines of addresses and tags stand as `***`. What comes from outside is
//! bounded in length. The same request makes the same record, with the same id.

mod action;
mod failure;
mod identity;
mod kubernetes;
mod own;
mod record;
mod resource;
mod text;

/// Where an API server sends its audit events, at the portal.
pub const AUDIT_EVENTS_PATH: &str = "/v1/audit-events";

pub use action::{Action, Service};
pub use failure::{CONFLICTS, Conflict, Failure};
pub use identity::{Identity, SessionAttributes, SessionContext, SessionIssuer, UserIdentity, WebIdFederationData};
pub use kubernetes::{Event, OPERATOR_USER, Translator};
pub use own::{Actor, Deed, Outcome};
pub use record::{Members, Record, Request};
pub use resource::{Resource, ResourceKind};
pub use text::REDACTED;
