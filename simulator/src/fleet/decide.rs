//! Pure: what is to be done about one device instance, given what the portal says of it and what hardware there is.

use fleetform_domain::activation::Phase;
use fleetform_domain::configuration::DeviceType;
use fleetform_domain::wire::DeviceSummary;

/// What the portal says of a device instance, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Whether there is something to play: its site is simulated, and it is of a type that has codes of its own.
    pub playable: bool,
    /// Where it stands.
    pub phase: Phase,
    /// Its activation sequence.
    pub sequence: i64,
}

impl Entry {
    /// What the list says of `device`; `every_site` says whether devices are played whose sites are not simulated.
    pub fn of(device: &DeviceSummary, every_site: bool) -> Self {
        Self {
            // Sensors speak through a gateway.
            playable: (device.simulated || every_site) && device.device_type != DeviceType::Sensor,
            phase: device.phase,
            sequence: device.activation_sequence,
        }
    }
}

/// What hardware there is for a device instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hardware {
    /// None yet, or as it left the factory.
    Blank,
    /// It has sent its commit and heard no answer.
    Pending,
    /// It is associated, as of this activation sequence as far as that is known. After a restart it is not.
    Associated(Option<i64>),
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Switch it off, if it is there: it is not to be played.
    PowerOff,
    /// Nothing until the portal's list changes.
    Wait,
    /// Nothing: other hardware than ours is active in its place.
    LeaveToOthers,
    /// Fetch a code and activate the device; or repeat the commit that it has sent.
    Activate,
    /// Check in when it is due.
    KeepCheckingIn,
    /// Check in now: the list says that the association is over, and the gateway will tell the device so. Only then
    /// does the device wipe itself, as a real one would; the list may be older or newer than what the gateway knows.
    CheckInNow,
}

/// What is to be done about one device instance.
pub fn decide(hardware: Hardware, entry: &Entry) -> Action {
    if !entry.playable {
        return Action::PowerOff;
    }
    match (hardware, entry.phase) {
        (Hardware::Blank, Phase::NeedsConfiguration) => Action::Wait,
        (Hardware::Blank, Phase::Active) => Action::LeaveToOthers,
        (Hardware::Blank, Phase::ReadyForActivation) | (Hardware::Pending, _) => Action::Activate,
        // Right after an activation the list still says what was before it.
        (Hardware::Associated(Some(sequence)), Phase::ReadyForActivation) if sequence >= entry.sequence => {
            Action::KeepCheckingIn
        }
        (Hardware::Associated(Some(sequence)), Phase::Active) if sequence < entry.sequence => Action::CheckInNow,
        (Hardware::Associated(_), Phase::Active) => Action::KeepCheckingIn,
        (Hardware::Associated(_), Phase::ReadyForActivation | Phase::NeedsConfiguration) => Action::CheckInNow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEQUENCE: i64 = 5;

    fn check(hardware: Hardware, phase: Phase, expected: Action) {
        let entry = Entry { playable: true, phase, sequence: SEQUENCE };
        assert_eq!(decide(hardware, &entry), expected, "{hardware:?} while the list says {phase}");
        let entry = Entry { playable: false, ..entry };
        assert_eq!(decide(hardware, &entry), Action::PowerOff, "{hardware:?} while its site is not simulated");
    }

    #[test]
    fn hardware_that_is_blank_is_activated_once_its_instance_is_ready() {
        check(Hardware::Blank, Phase::NeedsConfiguration, Action::Wait);
        check(Hardware::Blank, Phase::ReadyForActivation, Action::Activate);
    }

    #[test]
    fn what_others_activated_is_left_to_them() {
        check(Hardware::Blank, Phase::Active, Action::LeaveToOthers);
    }

    #[test]
    fn a_commit_without_an_answer_is_repeated_whatever_the_list_says() {
        check(Hardware::Pending, Phase::NeedsConfiguration, Action::Activate);
        check(Hardware::Pending, Phase::ReadyForActivation, Action::Activate);
        check(Hardware::Pending, Phase::Active, Action::Activate);
    }

    #[test]
    fn an_active_device_keeps_checking_in_also_while_the_list_lags() {
        check(Hardware::Associated(Some(SEQUENCE)), Phase::Active, Action::KeepCheckingIn);
        check(Hardware::Associated(Some(SEQUENCE)), Phase::ReadyForActivation, Action::KeepCheckingIn);
        check(Hardware::Associated(Some(SEQUENCE + 1)), Phase::ReadyForActivation, Action::KeepCheckingIn);
        check(Hardware::Associated(None), Phase::Active, Action::KeepCheckingIn);
    }

    #[test]
    fn a_device_whose_association_seems_over_asks_the_gateway() {
        check(Hardware::Associated(Some(SEQUENCE - 1)), Phase::ReadyForActivation, Action::CheckInNow);
        check(Hardware::Associated(Some(SEQUENCE - 1)), Phase::Active, Action::CheckInNow);
        check(Hardware::Associated(None), Phase::ReadyForActivation, Action::CheckInNow);
        check(Hardware::Associated(Some(SEQUENCE)), Phase::NeedsConfiguration, Action::CheckInNow);
    }

    #[test]
    fn sensors_have_no_codes_of_their_own() {
        let mut device = DeviceSummary {
            id: fleetform_domain::wire::DeviceName { project: "library".into(), name: "pump".into() },
            uid: "u".into(),
            display_name: "Pump".into(),
            site: "central".into(),
            device_type: DeviceType::Gateway,
            phase: Phase::ReadyForActivation,
            activation_sequence: 1,
            simulated: true,
        };
        assert!(Entry::of(&device, false).playable);
        device.device_type = DeviceType::Sensor;
        assert!(!Entry::of(&device, false).playable);
    }
}
