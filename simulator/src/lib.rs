//! Installers and devices, played from outside.
//!
//! This crate knows of Fleetform what a device and an installer know: the protocol in [`fleetform_domain::wire`] and
//! nothing else, so that what works with it works with real hardware. [`device::Device`] is one device, moved by hand;
//! [`installer::Installer`] is the person who fetches codes from the portal; [`fleet::Fleet`] plays as many of both as
//! the portal's list names; [`by_hand`] is one device for a person to play.

pub mod backoff;
pub mod by_hand;
pub mod cli;
pub mod device;
pub mod faults;
pub mod fleet;
pub mod installer;
pub mod machine;
pub mod panel;
pub mod people;
pub mod picture;
pub mod release;
pub mod scenario;
pub mod sign;
pub mod storage;
pub mod telemetry;
pub mod transport;
