//! What sensors measure, heard by their gateway.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::sensor::Sensor;
use super::{CALM, Device, DeviceError, State};
use crate::transport::Clock;

/// The device's clock, to the millisecond.
pub(super) fn clock(clock: Clock) -> Timestamp {
    let now = Timestamp::now();
    let ahead = now.checked_add(SignedDuration::from_secs(clock.ahead_seconds)).unwrap_or(now);
    Timestamp::from_millisecond(ahead.as_millisecond()).unwrap_or(ahead)
}

impl Device {
    /// Whether it works for its sensors: one that is locked or out of service serves nobody.
    pub(super) fn serves_sensors(&self) -> bool {
        self.association().is_some_and(|association| association.lock.is_none() && !association.out_of_service)
    }

    /// In how much time one of its sensors measures next; none when none will.
    pub fn until_measurement(&self) -> Option<Duration> {
        let sensors = self.sensors().filter(|_| self.serves_sensors())?;
        let due = sensors.list.iter().filter_map(Sensor::due).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    /// Hears what its sensors have measured since it heard them last: answers how many measurements that are. They wait to be sent.
    ///
    /// How far each sensor has counted is on the disk before anything is sent, so no number stands for two measurements. What cannot
    /// be saved is not measured.
    pub async fn measure(&mut self) -> Result<usize, DeviceError> {
        let serves = self.serves_sensors();
        let (now, clock) = (Instant::now(), clock(self.quirks.clock));
        let State::Active(association) = &mut self.state else { return Ok(0) };
        let Some(sensors) = association.sensors.as_deref_mut() else { return Ok(0) };
        if !serves {
            sensors.was_deaf = true;
            return Ok(0);
        }
        if std::mem::take(&mut sensors.was_deaf) {
            // What they measured meanwhile nobody heard.
            sensors.list.iter_mut().for_each(|sensor| sensor.skip(now));
        }
        let floor = self.quirks.floor.as_deref().unwrap_or(&CALM);
        let counted: Vec<u64> = sensors.list.iter().map(|sensor| sensor.listed.counted).collect();
        let heard: Vec<_> = sensors.list.iter_mut().flat_map(|sensor| sensor.measure(floor, now, clock)).collect();
        let is_new = sensors.list.iter().zip(&counted).any(|(sensor, before)| sensor.listed.counted > *before);
        if is_new {
            let stored = sensors.to_list();
            if let Err(error) = self.rewrite(move |committed| committed.sensors = Some(stored)).await {
                if let Some(sensors) = self.sensors_mut() {
                    sensors.list.iter_mut().zip(counted).for_each(|(sensor, before)| sensor.listed.counted = before);
                }
                return Err(error);
            }
        }
        let count = heard.len();
        if let Some(sensors) = self.sensors_mut() {
            sensors.buffer.add(heard);
        }
        Ok(count)
    }
}
