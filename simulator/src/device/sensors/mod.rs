//! What a gateway does for its sensors: it pairs with those that it is to, hears what they measure, and passes it on.

mod buffer;
mod deliver;
mod measure;
mod sensor;

use std::time::{Duration, Instant};

use fleetform_domain::wire::{CheckInResponse, DeviceText, SensorReport, SensorsReport, WantedSensors};

use super::{Device, DeviceError, SOFTWARE_VERSION, State};
use crate::machine::Floor;
use crate::storage::{ListedSensor, SensorList};

pub use buffer::MAX_BUFFERED;
pub use deliver::Delivered;

use buffer::Buffer;
use sensor::Sensor;

/// The health check of a gateway that fails while measurements were lost because too many waited, until none waits.
pub const BUFFER_CHECK: &str = "measurement-buffer";

/// A floor where nothing is wrong.
static CALM: Floor = Floor { seed: 0, troubles: Vec::new() };

/// What a gateway has in memory of its sensors.
#[derive(Debug, Default)]
pub(super) struct Sensors {
    revision: Option<DeviceText>,
    list: Vec<Sensor>,
    buffer: Buffer,
    /// It did not listen when it was to measure last.
    was_deaf: bool,
}

impl Sensors {
    /// As they stand on the disk. All that are paired measure at once.
    pub(super) fn restored(kept: SensorList, now: Instant) -> Self {
        let list = kept.sensors.into_iter().map(|listed| Sensor::new(listed, now)).collect();
        Self { revision: kept.revision, list, ..Self::default() }
    }

    /// What goes onto the disk.
    fn to_list(&self) -> SensorList {
        let sensors = self.list.iter().map(|sensor| sensor.listed.clone()).collect();
        SensorList { revision: self.revision.clone(), sensors }
    }

    /// Goes by this list from now on. What waits of those that are no longer paired is dropped.
    fn take_over(&mut self, next: SensorList, now: Instant) {
        let mut before = std::mem::take(&mut self.list);
        self.revision = next.revision;
        let take = |listed: ListedSensor| match before.iter().position(|own| own.listed.is_as(&listed)) {
            Some(at) => before.swap_remove(at).going_on(listed, now),
            None => Sensor::new(listed, now),
        };
        self.list = next.sensors.into_iter().map(take).collect();
        // One that was paired anew counts anew.
        let list = &self.list;
        self.buffer.keep(|waiting| {
            let of_it = |own: &&Sensor| own.listed.device_instance_id == waiting.device_instance_id;
            list.iter().find(of_it).is_some_and(|own| own.listed.counted >= waiting.sequence)
        });
    }
}

/// The list that a gateway goes by once it was told which sensors are wanted: it is paired with those that it was paired with and
/// that are still wanted, and with those of the others that it hears.
fn following(own: &Sensors, wanted: &WantedSensors, floor: &Floor) -> SensorList {
    let sensors = wanted.sensors.iter().map(|sensor| {
        let paired = own.list.iter().map(|own| &own.listed).find(|own| own.is(sensor)).cloned();
        let mut listed = paired.unwrap_or_else(|| ListedSensor::new(sensor));
        listed.place = sensor.place.clone();
        listed.interval_seconds = sensor.measurement_interval_seconds.max(1);
        listed.paired |= sensor::is_heard(&listed, floor);
        listed
    });
    SensorList { revision: wanted.revision.clone(), sensors: sensors.collect() }
}

impl Device {
    /// What it says of its sensors; none when it is no gateway.
    pub fn sensors_report(&self) -> Option<SensorsReport> {
        let sensors = self.sensors()?;
        let paired = sensors.list.iter().filter(|sensor| sensor.listed.paired);
        let report = |sensor: &Sensor| SensorReport {
            device_instance_id: sensor.listed.device_instance_id.clone(),
            asset_tag_id: sensor.listed.asset_tag.clone(),
            epoch: sensor.listed.epoch,
            connected: sensor.is_heard,
            software_version: SOFTWARE_VERSION.try_into().ok(),
            failed_health_checks: Vec::new(),
        };
        Some(SensorsReport {
            time: measure::clock(self.quirks.clock),
            revision: sensors.revision.clone(),
            sensors: paired.map(report).collect(),
        })
    }

    /// The list of sensors that it goes by.
    pub(super) fn sensors_revision(&self) -> Option<DeviceText> {
        self.sensors()?.revision.clone()
    }

    /// What waits to be sent.
    pub fn unsent_measurements(&self) -> usize {
        self.sensors().map_or(0, |sensors| sensors.buffer.len())
    }

    /// The health check that fails when measurements were lost.
    pub(super) fn failed_buffer_check(&self) -> Option<DeviceText> {
        let has_lost = self.sensors().is_some_and(|sensors| sensors.buffer.has_lost());
        has_lost.then(|| BUFFER_CHECK.try_into().expect("the name is a text of devices"))
    }

    /// Pairs with the sensors that are wanted and forgets the others. What cannot be saved is not done: the gateway says again what
    /// it wants.
    pub(super) async fn follow_sensors(&mut self, answer: &CheckInResponse) -> Result<(), DeviceError> {
        let Some(wanted) = &answer.sensors else { return Ok(()) };
        let Some(sensors) = self.sensors().filter(|_| self.lock().is_none()) else { return Ok(()) };
        let next = following(sensors, wanted, self.floor());
        self.keep_sensors(next).await
    }

    /// Pairs with sensors that were not heard when they were wanted and are heard now.
    pub(super) async fn pair_missing_sensors(&mut self) -> Result<(), DeviceError> {
        let Some(sensors) = self.sensors().filter(|_| self.lock().is_none()) else { return Ok(()) };
        let floor = self.floor();
        let is_found = |sensor: &Sensor| !sensor.listed.paired && sensor::is_heard(&sensor.listed, floor);
        if !sensors.list.iter().any(is_found) {
            return Ok(());
        }
        let mut next = sensors.to_list();
        for listed in &mut next.sensors {
            listed.paired |= sensor::is_heard(listed, floor);
        }
        self.keep_sensors(next).await
    }

    async fn keep_sensors(&mut self, next: SensorList) -> Result<(), DeviceError> {
        if self.sensors().map(Sensors::to_list).as_ref() == Some(&next) {
            return Ok(());
        }
        let stored = next.clone();
        match self.rewrite(move |committed| committed.sensors = Some(stored)).await {
            Ok(()) => {}
            Err(DeviceError::Storage(_)) => return Ok(()),
            Err(error) => return Err(error),
        }
        if let Some(sensors) = self.sensors_mut() {
            sensors.take_over(next, Instant::now());
        }
        Ok(())
    }

    /// Lets time pass for its sensors.
    pub(super) fn pass_for_sensors(&mut self, time: Duration) {
        if let Some(sensors) = self.sensors_mut() {
            sensors.list.iter_mut().for_each(|sensor| sensor.pass(time));
        }
    }

    fn floor(&self) -> &Floor {
        self.quirks.floor.as_deref().unwrap_or(&CALM)
    }

    fn sensors(&self) -> Option<&Sensors> {
        self.association()?.sensors.as_deref()
    }

    fn sensors_mut(&mut self) -> Option<&mut Sensors> {
        if let State::Active(association) = &mut self.state { association.sensors.as_deref_mut() } else { None }
    }
}
