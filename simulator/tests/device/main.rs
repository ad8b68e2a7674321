//! What a device does when its gateway, its network or its server of releases behave as real ones cannot easily be made to.

mod activation;
mod floor;
mod people;
mod sensors;
mod software;
mod support;
