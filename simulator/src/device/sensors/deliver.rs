//! What sensors measured, sent to the gateway of Fleetform.

use std::time::Duration;

use fleetform_domain::wire::{MEASUREMENTS_PATH, MeasurementsRequest, MeasurementsResponse};

use super::{Device, DeviceError};
use crate::transport::Question;

/// A line is kept for measurements that come within this time; less than what gateways wait for a request.
const KEEP_LINE: Duration = Duration::from_secs(5);

/// What became of measurements that were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// How many were sent.
    pub sent: usize,
    /// How many of them the gateway had not taken before.
    pub taken: usize,
    /// How many of them it refused for good.
    pub refused: usize,
}

impl Device {
    /// Sends what waits, in as many requests as it takes. What is not answered waits on, and is sent again as it is.
    pub async fn deliver_measurements(&mut self) -> Result<Delivered, DeviceError> {
        let mut delivered = Delivered::default();
        while let Some(request) = self.next_measurements() {
            let answer: MeasurementsResponse = self.ask(&Question::post_json(MEASUREMENTS_PATH, &request)).await?;
            self.note_contact();
            let count = request.measurements.len();
            if let Some(sensors) = self.sensors_mut() {
                sensors.buffer.settle(count);
            }
            delivered.sent += count;
            delivered.taken += answer.taken as usize;
            delivered.refused += answer.refused.len();
        }
        if self.until_measurement().is_none_or(|next| next > KEEP_LINE) {
            self.line = None;
        }
        Ok(delivered)
    }

    fn next_measurements(&self) -> Option<MeasurementsRequest> {
        let sensors = self.sensors().filter(|_| self.serves_sensors())?;
        let measurements = sensors.buffer.batch();
        (!measurements.is_empty()).then_some(MeasurementsRequest { measurements })
    }
}
