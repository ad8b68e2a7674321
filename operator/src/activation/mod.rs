//! Activation codes: made, drawn and read.

pub mod code;
pub mod picture;
