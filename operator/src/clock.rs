//! The only place that knows the time and makes random bytes. Tests bring their own.

use std::fmt::Debug;

use jiff::Timestamp;
use rand::RngCore as _;
use uuid::Uuid;

/// The time, and randomness.
pub trait Clock: Debug + Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// 16 bytes that nobody can guess.
    fn random(&self) -> [u8; 16];

    /// A random UUID.
    fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.random()).into_uuid()
    }

    /// A 256-bit key.
    fn key(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key[..16].copy_from_slice(&self.random());
        key[16..].copy_from_slice(&self.random());
        key
    }
}

/// The machine's clock and random source.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        rand::rng().fill_bytes(&mut bytes);
        bytes
    }
}
