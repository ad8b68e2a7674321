//! Pure: measurements that wait to be sent.

use std::collections::VecDeque;

use fleetform_domain::wire::{MAX_MEASUREMENTS, Measurement};

/// Most measurements that a gateway keeps while they cannot be sent: ten requests. The oldest are dropped then.
pub const MAX_BUFFERED: usize = 10 * MAX_MEASUREMENTS;

/// Measurements that wait to be sent, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    waiting: VecDeque<Measurement>,
    has_lost: bool,
}

impl Buffer {
    pub(super) fn add(&mut self, measurements: impl IntoIterator<Item = Measurement>) {
        for measurement in measurements {
            if self.waiting.len() >= MAX_BUFFERED {
                self.waiting.pop_front();
                self.has_lost = true;
            }
            self.waiting.push_back(measurement);
        }
    }

    /// What is to be sent next, as many as one request brings.
    pub(super) fn batch(&self) -> Vec<Measurement> {
        self.waiting.iter().take(MAX_MEASUREMENTS).cloned().collect()
    }

    /// The first so many were taken or refused.
    pub(super) fn settle(&mut self, count: usize) {
        self.waiting.drain(..count.min(self.waiting.len()));
        self.has_lost &= !self.waiting.is_empty();
    }

    /// Drops those that are not to be kept.
    pub(super) fn keep(&mut self, is_kept: impl Fn(&Measurement) -> bool) {
        self.waiting.retain(is_kept);
        self.has_lost &= !self.waiting.is_empty();
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether some were dropped since the last time that none waited.
    pub(super) const fn has_lost(&self) -> bool {
        self.has_lost
    }
}

#[cfg(test)]
mod tests {
    use fleetform_domain::id::ResourceId;
    use fleetform_domain::wire::{MAX_BODY, MeasurementsRequest};
    use jiff::Timestamp;

    use super::*;

    fn measurement(sequence: u64) -> Measurement {
        Measurement {
            device_instance_id: ResourceId::of("pump"),
            sequence,
            place: "0b7ffcf6ae72a4b0".try_into().unwrap(),
            time: "2026-11-26T03:08:35.123Z".parse::<Timestamp>().unwrap(),
            velocity_rms_mm_per_s: 123.456,
            temperature_celsius: -12.34,
        }
    }

    #[test]
    fn the_oldest_are_dropped_when_too_many_wait_and_that_is_so_until_none_waits() {
        let mut buffer = Buffer::default();
        let all = MAX_BUFFERED as u64;
        buffer.add((1..=all).map(measurement));
        assert!(!buffer.has_lost());
        buffer.add([measurement(all + 1)]);
        assert_eq!((buffer.len(), buffer.has_lost(), buffer.batch()[0].sequence), (MAX_BUFFERED, true, 2));
        buffer.settle(MAX_BUFFERED - 1);
        assert_eq!((buffer.batch(), buffer.has_lost()), (vec![measurement(all + 1)], true));
        buffer.settle(1);
        assert_eq!((buffer.len(), buffer.has_lost()), (0, false));
    }

    #[test]
    fn the_largest_request_fits_into_a_body() {
        let mut buffer = Buffer::default();
        buffer.add((1..=400).map(|number| measurement(u64::MAX - number)));
        let request = MeasurementsRequest { measurements: buffer.batch() };
        assert_eq!(request.measurements.len(), MAX_MEASUREMENTS);
        assert!(serde_json::to_vec(&request).unwrap().len() < MAX_BODY);
    }
}
