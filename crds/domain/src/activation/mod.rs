//! Pure: activation. A code is a signed token in a picture; redeeming it binds one piece of hardware to one device
//! instance. Looking a code up and committing are two requests, because the installer confirms the site in between.

mod association;
mod code;
mod failure;
mod token;
mod verdict;

pub use association::{Association, Phase};
pub use code::{ActivationCode, InvalidCode};
pub use failure::ActivationFailure;
pub use token::{ActivationKey, Confirmation, Token, TokenHash, TokenText};
pub use verdict::{Committed, Evidence, InstanceEvidence, LiveCode, SiteEvidence, commit, look_up};
