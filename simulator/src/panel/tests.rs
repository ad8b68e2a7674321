//! The line as it is on a wall: both ends with settings of their own.

use fleetform_domain::configuration::{BadgeField, BadgeFieldKind, OsdpVersion};

use super::*;

fn osdp(version: OsdpVersion) -> Reader {
    let tag = "SIM-1".try_into().unwrap();
    let settings = Osdp { version, address: 3, baud_rate: BaudRate::B38400 };
    Reader { line: Line::Osdp { settings, key: BaseKey::of(&tag) }, badge_format: BadgeFormat::standard_26_bit() }
}

fn wiegand() -> Reader {
    Reader { line: Line::Wiegand(Wiegand::default()), ..osdp(OsdpVersion::V2) }
}

fn badge(value: u64) -> BadgeNumber {
    BadgeNumber::from(value)
}

/// H10304: 37 bits, 16 of facility code and 19 of card number.
fn long_format() -> BadgeFormat {
    let field = |kind, start_bit, length_bits| BadgeField { kind, start_bit, length_bits, value: None };
    BadgeFormat {
        name: "H10304".into(),
        length_bits: 37,
        fields: vec![field(BadgeFieldKind::FacilityCode, 1, 16), field(BadgeFieldKind::CardNumber, 17, 19)],
        parity: Vec::new(),
    }
}

async fn say(reader: Reader, quirks: PanelQuirks, number: u64) -> Result<Verdict, LineError> {
    let panel = reader.counterpart(&quirks);
    reader.present(panel, &badge(number)).await
}

#[tokio::test]
async fn a_panel_decides_by_its_list() {
    let listed = PanelQuirks { admits: Some([badge(7), badge(4711)].into()), ..PanelQuirks::default() };
    for reader in [osdp(OsdpVersion::V1), osdp(OsdpVersion::V2), wiegand()] {
        for (quirks, number, verdict) in [
            (PanelQuirks::default(), 1, Verdict::Granted),
            (listed.clone(), 4711, Verdict::Granted),
            (listed.clone(), 4712, Verdict::Denied),
            (PanelQuirks::default(), NOBODY, Verdict::Denied),
        ] {
            assert_eq!(say(reader.clone(), quirks, number).await, Ok(verdict), "{reader:?} {number}");
        }
    }
}

#[tokio::test]
async fn a_panel_with_another_format_says_that_it_cannot_read_the_badge() {
    let other = PanelQuirks { badge_format: Some(long_format()), ..PanelQuirks::default() };
    for reader in [osdp(OsdpVersion::V1), osdp(OsdpVersion::V2), wiegand()] {
        assert_eq!(say(reader, other.clone(), 1).await, Ok(Verdict::Unreadable));
    }
}

#[tokio::test]
async fn nobody_answers_when_the_ends_do_not_fit() {
    let lost = PanelQuirks { lost: true, ..PanelQuirks::default() };
    let address = PanelQuirks { address: Some(4), ..PanelQuirks::default() };
    let speed = PanelQuirks { baud_rate: Some(BaudRate::B9600), ..PanelQuirks::default() };
    let key = PanelQuirks { other_key: true, ..PanelQuirks::default() };
    let secure = osdp(OsdpVersion::V2);
    for (reader, quirks) in [
        (osdp(OsdpVersion::V1), lost.clone()),
        (secure.clone(), lost.clone()),
        (wiegand(), lost),
        (osdp(OsdpVersion::V1), address.clone()),
        (secure.clone(), address),
        (osdp(OsdpVersion::V1), speed.clone()),
        (secure.clone(), speed),
        (secure.clone(), key.clone()),
    ] {
        assert_eq!(say(reader.clone(), quirks.clone(), 1).await, Err(LineError::NoAnswer), "{reader:?} {quirks:?}");
    }
    // Without a secure channel there is no key to differ.
    assert_eq!(say(osdp(OsdpVersion::V1), key, 1).await, Ok(Verdict::Granted));
    // One end insists on the secure channel, and the other does not know it.
    for (near, far) in [(OsdpVersion::V1, OsdpVersion::V2), (OsdpVersion::V2, OsdpVersion::V1)] {
        let panel = osdp(far).counterpart(&PanelQuirks::default());
        assert_eq!(osdp(near).present(panel, &badge(1)).await, Err(LineError::NoAnswer), "{near:?} {far:?}");
    }
    for (near, far) in [(secure.clone(), wiegand()), (wiegand(), secure)] {
        let panel = far.counterpart(&PanelQuirks::default());
        assert_eq!(near.present(panel, &badge(1)).await, Err(LineError::NoAnswer));
    }
}

#[tokio::test]
async fn many_doors_speak_at_once() {
    let doors = (1..=40).map(|number| {
        let admits = Some([badge(number - number % 2)].into());
        tokio::spawn(say(osdp(OsdpVersion::V2), PanelQuirks { admits, ..PanelQuirks::default() }, number))
    });
    let doors: Vec<_> = doors.collect();
    for (number, door) in (1_u64..).zip(doors) {
        let expected = if number.is_multiple_of(2) { Verdict::Granted } else { Verdict::Denied };
        assert_eq!(door.await.unwrap(), Ok(expected), "door {number}");
    }
}

#[tokio::test]
async fn what_the_reader_cannot_write_is_not_sent() {
    let too_large = LineError::NotWritten(BadgeNotWritten::NumberTooLarge(16));
    assert_eq!(say(wiegand(), PanelQuirks::default(), 70_000).await, Err(too_large));
}

#[test]
fn neither_keys_nor_badges_show_in_debug_output() {
    let quirks = PanelQuirks { admits: Some([badge(4711)].into()), ..PanelQuirks::default() };
    let panel = osdp(OsdpVersion::V2).counterpart(&quirks).unwrap();
    assert!(format!("{panel:?}").contains("Listed(1 badges)"));
    assert!(!format!("{panel:?} {quirks:?}").contains("4711"));
}
