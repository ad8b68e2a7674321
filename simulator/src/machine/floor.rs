//! Pure: what is wrong on a floor, and what a sensor there measures.

use std::time::Duration;

use fleetform_domain::id::ResourceId;
use fleetform_domain::wire::DeviceText;
use sha2::{Digest as _, Sha256};

use super::fault::{cooled, share};
use super::{MachineFault, Reading, SensorCast, SensorFault};

/// Vibration velocity of a machine without faults, from and up to, RMS, in mm/s: in zone A of every machine class, noise included.
const NORMAL_VELOCITY: [f64; 2] = [0.35, 0.65];

/// Temperature of the housing of a machine without faults, from and up to, in °C.
const NORMAL_TEMPERATURE: [f64; 2] = [36.0, 46.0];

/// Most that a measurement is off its trend: a share of the velocity, and °C.
const VELOCITY_NOISE: f64 = 0.04;
const TEMPERATURE_NOISE: f64 = 0.4;

/// How many measurements of a machine with impulses show one, and how much higher it is at most: shares of all, and of the velocity.
const IMPULSES: f64 = 0.25;
const IMPULSE: f64 = 0.5;

/// What is wrong around a gateway. Nothing is, by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Floor {
    /// Another one makes other machines.
    pub seed: u64,
    /// What is wrong now, or was before a repair that is among them.
    pub troubles: Vec<Trouble>,
}

/// Something that is wrong, or was repaired.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    /// What.
    pub what: What,
    /// With which sensors, or at the machines that they are mounted on.
    pub sensors: SensorCast,
    /// Tells troubles apart that are for a share of the sensors: the next one chooses others.
    pub number: usize,
    /// For how long it has been so.
    pub since: Duration,
    /// How much faster the machine's time runs than ours.
    pub faster: u32,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum What {
    /// Something with the machine.
    Machine(MachineFault),
    /// Nothing any more that was wrong with the machine when this began. What is wrong with sensors stays.
    Repair,
    /// Something with the sensor.
    Sensor(SensorFault),
}

impl Floor {
    /// Where a sensor is.
    pub fn spot<'a>(&'a self, sensor: &'a ResourceId, asset_tag: &DeviceText) -> Spot<'a> {
        let is_here = |trouble: &&Trouble| trouble.sensors.includes(self.seed, trouble.number, asset_tag);
        Spot { seed: self.seed, sensor, troubles: self.troubles.iter().filter(is_here).collect() }
    }
}

/// A sensor and the place where it is mounted.
#[derive(Clone, Debug)]
pub struct Spot<'a> {
    seed: u64,
    sensor: &'a ResourceId,
    troubles: Vec<&'a Trouble>,
}

impl Spot<'_> {
    /// Whether the sensor has this fault.
    pub fn has(&self, fault: SensorFault) -> bool {
        self.troubles.iter().any(|trouble| trouble.what == What::Sensor(fault))
    }

    /// What the sensor measures `ago` before now, as its measurement of this number.
    pub fn reading(&self, number: u64, ago: Duration) -> Reading {
        let stuck =
            self.sensor_faults(ago).filter(|(fault, _)| *fault == SensorFault::Sticks).map(|(_, age)| age).max();
        // One that sticks says again what it said when that began.
        let (number, ago) = stuck.map_or((number, ago), |since| (0, ago.saturating_add(since)));
        let trend = self.trend(ago);
        let mut velocity = trend.velocity * (1.0 + VELOCITY_NOISE * self.noise("velocity", number));
        if self.is_impulsive(ago) && self.draw("impulse", number) < IMPULSES {
            velocity *= 1.0 + IMPULSE * self.draw("impact", number);
        }
        let temperature = trend.temperature + TEMPERATURE_NOISE * self.noise("temperature", number);
        Reading { velocity, temperature }.sensed()
    }

    /// The same without noise and impulses, and without limits.
    pub fn trend(&self, ago: Duration) -> Reading {
        let normal = between(NORMAL_VELOCITY, self.draw("normal velocity", 0));
        let (mut velocity, mut heat) = (normal, 0.0_f64);
        for (fault, age, repaired) in self.machine_faults(ago) {
            let effect = fault.effect(normal, age);
            match repaired {
                None => {
                    velocity = velocity.max(effect.velocity);
                    heat = heat.max(effect.heat);
                }
                Some(ago) => heat = heat.max(cooled(effect.heat, ago)),
            }
        }
        for (fault, age) in self.sensor_faults(ago) {
            if let SensorFault::Drift { over, by } = fault {
                velocity += by * share(age, over);
            }
        }
        let temperature = between(NORMAL_TEMPERATURE, self.draw("normal temperature", 0)) + heat;
        Reading { velocity, temperature }
    }

    fn is_impulsive(&self, ago: Duration) -> bool {
        self.machine_faults(ago).any(|(fault, _, repaired)| repaired.is_none() && fault.is_impulsive())
    }

    /// What was wrong with the machine by then: how old it was then or when it was repaired, and how long ago that was then. In the
    /// machine's time.
    fn machine_faults(&self, ago: Duration) -> impl Iterator<Item = (MachineFault, Duration, Option<Duration>)> {
        let begun = move |trouble: &&Trouble| trouble.since.checked_sub(ago);
        self.troubles.iter().filter_map(move |trouble| {
            let What::Machine(fault) = trouble.what else { return None };
            let age = begun(trouble)?;
            // The first repair after it began.
            let repairs = self.troubles.iter().filter(|other| other.what == What::Repair);
            let repaired = repairs.filter_map(begun).filter(|repaired| *repaired <= age).max();
            let age = age.saturating_sub(repaired.unwrap_or_default());
            Some((fault, age.saturating_mul(trouble.faster), repaired.map(|ago| ago.saturating_mul(trouble.faster))))
        })
    }

    /// What was wrong with the sensor by then, and for how long.
    fn sensor_faults(&self, ago: Duration) -> impl Iterator<Item = (SensorFault, Duration)> {
        self.troubles.iter().filter_map(move |trouble| {
            let What::Sensor(fault) = trouble.what else { return None };
            Some((fault, trouble.since.checked_sub(ago)?))
        })
    }

    /// From -1 up to 1, more often near 0.
    fn noise(&self, what: &str, number: u64) -> f64 {
        let [one, other] = self.draws(what, number);
        one + other - 1.0
    }

    /// From 0 up to 1.
    fn draw(&self, what: &str, number: u64) -> f64 {
        self.draws(what, number)[0]
    }

    fn draws(&self, what: &str, number: u64) -> [f64; 2] {
        let mut hash = Sha256::new();
        hash.update(self.seed.to_be_bytes());
        hash.update(self.sensor.as_str());
        hash.update(number.to_be_bytes());
        hash.update(what);
        let digest = hash.finalize();
        [0, 4].map(|at| {
            let drawn: [u8; 4] = digest[at..at + 4].try_into().expect("a SHA-256 has 32 bytes");
            f64::from(u32::from_be_bytes(drawn)) / (f64::from(u32::MAX) + 1.0)
        })
    }
}

fn between([least, most]: [f64; 2], drawn: f64) -> f64 {
    least + (most - least) * drawn
}
