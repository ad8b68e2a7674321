//! Pure: the line by Wiegand (SIA AC-01): one way, a wire for zeros and one for ones, a pulse for each bit. The panel answers on two
//! wires of its own, one for each light of the reader.

use fleetform_domain::configuration::{BadgeBits, Wiegand};

use super::{Line, LineError, Panel, Verdict};

/// A pulse narrower than this is noise, in microseconds (SIA AC-01: 20 to 100).
const NARROWEST: u64 = 20;

/// A pulse wider than this is a wire that is stuck, in microseconds.
const WIDEST: u64 = 100;

/// Silence that ends a frame, in microseconds: longer than the longest interval.
const SILENCE: u64 = 25_000;

/// Which wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Data 0.
    Zero,
    /// Data 1.
    One,
}

/// A wire that was pulled low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pulse {
    /// Which one.
    pub wire: Wire,
    /// Since the frame began, in microseconds.
    pub at: u64,
    /// For how long, in microseconds.
    pub width: u64,
}

/// The wires to the reader's lights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lights {
    /// The green one.
    pub green: bool,
    /// The red one.
    pub red: bool,
}

/// A badge as pulses.
pub fn send(badge: &BadgeBits, timing: &Wiegand) -> Vec<Pulse> {
    let (width, interval) = (timing.pulse_width_microseconds.into(), u64::from(timing.pulse_interval_microseconds));
    let wires = badge.bits().iter().map(|one| if *one { Wire::One } else { Wire::Zero });
    (0..).zip(wires).map(|(place, wire)| Pulse { wire, at: place * interval, width }).collect()
}

/// The frames in these pulses, which come in the order of their times.
pub fn receive(pulses: &[Pulse]) -> Vec<BadgeBits> {
    let good: Vec<&Pulse> = pulses.iter().filter(|pulse| (NARROWEST..=WIDEST).contains(&pulse.width)).collect();
    let frames = good.chunk_by(|one, next| next.at.saturating_sub(one.at) < SILENCE);
    frames.filter_map(|frame| BadgeBits::new(frame.iter().map(|pulse| pulse.wire == Wire::One).collect())).collect()
}

/// The lights that say this. One that cannot read a badge pulls both wires.
pub fn show(verdict: Verdict) -> Lights {
    Lights { green: verdict != Verdict::Denied, red: verdict != Verdict::Granted }
}

/// What the lights say; none when both are dark.
pub fn read(lights: Lights) -> Option<Verdict> {
    match (lights.green, lights.red) {
        (true, false) => Some(Verdict::Granted),
        (false, true) => Some(Verdict::Denied),
        (true, true) => Some(Verdict::Unreadable),
        (false, false) => None,
    }
}

/// Has a reader send a badge, and the panel decide.
pub(super) fn converse(timing: &Wiegand, badge: &BadgeBits, panel: &Panel) -> Result<Verdict, LineError> {
    let frames = receive(&send(badge, timing));
    let heard = frames.first().filter(|_| matches!(panel.line, Line::Wiegand(_)));
    let lights = heard.map_or(Lights::default(), |bits| show(panel.decide(bits)));
    read(lights).ok_or(LineError::NoAnswer)
}

#[cfg(test)]
mod tests {
    use fleetform_domain::configuration::{BadgeFormat, BadgeNotRead};
    use fleetform_domain::people::BadgeNumber;

    use super::*;

    fn badge() -> BadgeBits {
        BadgeFormat::standard_26_bit().encode(&BadgeNumber::from(4711)).unwrap()
    }

    #[test]
    fn a_frame_is_a_pulse_for_each_bit_and_reads_back() {
        let slow = Wiegand { pulse_width_microseconds: 100, pulse_interval_microseconds: 20_000 };
        let fast = Wiegand { pulse_width_microseconds: 20, pulse_interval_microseconds: 200 };
        for timing in [slow, fast, Wiegand::default()] {
            let pulses = send(&badge(), &timing);
            assert_eq!(pulses.len(), 26);
            assert_eq!(pulses[25].at, 25 * u64::from(timing.pulse_interval_microseconds));
            assert_eq!(receive(&pulses), [badge()], "{timing:?}");
        }
    }

    #[test]
    fn noise_is_no_bit_and_silence_ends_a_frame() {
        let mut pulses = send(&badge(), &Wiegand::default());
        pulses.insert(3, Pulse { wire: Wire::One, at: 4_100, width: 5 });
        let later = pulses.iter().map(|pulse| Pulse { at: pulse.at + 90_000, ..*pulse }).collect::<Vec<_>>();
        assert_eq!(receive(&[pulses, later].concat()), [badge(), badge()]);
    }

    #[test]
    fn a_pulse_that_is_lost_or_on_the_other_wire_is_noticed() {
        let format = BadgeFormat::standard_26_bit();
        let mut pulses = send(&badge(), &Wiegand::default());
        pulses[7].wire = if pulses[7].wire == Wire::One { Wire::Zero } else { Wire::One };
        assert_eq!(format.decode(&receive(&pulses)[0]), Err(BadgeNotRead::Parity(0)));
        pulses.remove(7);
        let short = BadgeNotRead::Length { expected: 26, found: 25 };
        assert_eq!(format.decode(&receive(&pulses)[0]), Err(short));
    }

    #[test]
    fn lights_say_what_the_panel_says() {
        for verdict in [Verdict::Granted, Verdict::Denied, Verdict::Unreadable] {
            assert_eq!(read(show(verdict)), Some(verdict));
        }
        assert_eq!(read(Lights::default()), None);
    }
}
