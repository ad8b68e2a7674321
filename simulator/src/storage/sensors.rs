//! Pure: what a gateway keeps of its sensors.

use fleetform_domain::id::ResourceId;
use fleetform_domain::wire::{DeviceText, WantedSensor};
use serde::{Deserialize, Serialize};

/// The sensors that a gateway is to be paired with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SensorList {
    /// Tells one list from another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<DeviceText>,
    /// The sensors.
    pub sensors: Vec<ListedSensor>,
}

/// A sensor that a gateway is to be paired with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedSensor {
    /// Id of its device instance.
    pub device_instance_id: ResourceId,
    /// What is printed on it.
    pub asset_tag: DeviceText,
    /// The epoch to pair it for.
    pub epoch: i64,
    /// Tells the place where it is mounted from others: its measurements name it.
    pub place: DeviceText,
    /// From one measurement to the next, in seconds.
    pub interval_seconds: u32,
    /// Whether they are paired. One that is not heard is paired later.
    pub paired: bool,
    /// Its measurements since they were paired. No number is used twice, whenever the power goes.
    pub counted: u64,
}

impl ListedSensor {
    /// A sensor that is yet to be paired.
    pub fn new(wanted: &WantedSensor) -> Self {
        Self {
            device_instance_id: wanted.device_instance_id.clone(),
            asset_tag: wanted.asset_tag_id.clone(),
            epoch: wanted.epoch,
            place: wanted.place.clone(),
            interval_seconds: wanted.measurement_interval_seconds.max(1),
            paired: false,
            counted: 0,
        }
    }

    /// Whether this is the pairing that is wanted. Neither the place nor the interval makes another one.
    pub fn is(&self, wanted: &WantedSensor) -> bool {
        self.is_as(&Self::new(wanted))
    }

    /// Whether both are the same pairing, or the same that is yet to be.
    pub fn is_as(&self, other: &Self) -> bool {
        self.device_instance_id == other.device_instance_id
            && self.asset_tag == other.asset_tag
            && self.epoch == other.epoch
    }
}
