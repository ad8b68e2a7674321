//! The line by the Open Supervised Device Protocol (SIA OSDP, IEC 60839-11-5): a panel that calls and a reader that answers, both with
//! libosdp. Version 2 insists on the secure channel; version 1 speaks in the clear.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use fleetform_domain::configuration::{BadgeBits, Osdp, OsdpVersion};
use libosdp::{
    ControlPanel, ControlPanelBuilder, OsdpCardFormats, OsdpCommand, OsdpCommandLed, OsdpCommandText, OsdpError,
    OsdpEvent, OsdpEventCardRead, OsdpFlag, OsdpLedColor, OsdpLedParams, PdCapEntity, PdCapability, PdId,
    PdInfoBuilder, PeripheralDevice,
};

use super::{BaseKey, Line, LineError, Panel, Verdict, bus};

/// Between two looks at the wires. A panel is to look at least every 50 ms.
const BEAT: Duration = Duration::from_millis(1);

/// So many looks in a row at wires on which nothing happens, and nobody is there. More than the pause of a panel before it calls
/// again (800 ms), which counts in looks and not in time: a program that is short of time is no broken line.
const QUIET_BEATS: u32 = 1_200;

/// Calls of the panel that stay without an answer before it gives up.
const VAIN_CALLS: u32 = 2;

/// Most looks at the wires in one conversation.
const MOST_BEATS: u32 = 15_000;

/// What the panel has the reader show; one row of its display.
const TEXTS: [(Verdict, &[u8]); 3] = [
    (Verdict::Granted, b"ACCESS GRANTED"),
    (Verdict::Denied, b"ACCESS DENIED"),
    (Verdict::Unreadable, b"CARD NOT READ"),
];

thread_local! {
    /// What the panel of this thread has heard and not yet answered.
    static CARD: RefCell<Option<(usize, Vec<u8>)>> = const { RefCell::new(None) };
    /// What the reader of this thread was told.
    static ANSWER: Cell<Option<Verdict>> = const { Cell::new(None) };
}

/// Has a reader with these settings send a badge, and the panel decide.
pub(super) fn converse(settings: &Osdp, key: &BaseKey, badge: &BadgeBits, panel: &Panel) -> Result<Verdict, LineError> {
    // A panel that speaks something else says nothing that the reader understands.
    let Line::Osdp { settings: far, key: far_key } = &panel.line else { return Err(LineError::NoAnswer) };
    bus::begin(far.baud_rate == settings.baud_rate);
    CARD.set(None);
    ANSWER.set(None);
    talk(reader(settings, key), control(far, far_key), settings, badge, panel).map_err(|_| LineError::NoAnswer)
}

/// The conversation. It fails when libosdp refuses what it is given, and when nobody answers.
fn talk(
    reader: Result<PeripheralDevice, OsdpError>,
    control: Result<ControlPanel, OsdpError>,
    settings: &Osdp,
    badge: &BadgeBits,
    panel: &Panel,
) -> Result<Verdict, OsdpError> {
    let (mut reader, mut control) = (reader?, control?);
    let card = OsdpEventCardRead::new_wiegand(badge.bits().len(), badge.to_bytes())?;
    let mut card = Some(OsdpEvent::CardRead(card));
    let (mut before, mut quiet) = (bus::traffic(), 0);
    for _ in 0..MOST_BEATS {
        control.refresh();
        if let Some(bits) = CARD.take().and_then(|(length, bytes)| BadgeBits::from_bytes(&bytes, length)) {
            tell(&mut control, panel.decide(&bits))?;
        }
        // The person is there when the line is.
        let is_up = control.is_online(0) && control.is_sc_active(0) == is_secure(settings);
        if let Some(card) = card.take_if(|_| is_up) {
            reader.notify_event(card)?;
        }
        reader.refresh();
        if let Some(verdict) = ANSWER.get() {
            return Ok(verdict);
        }
        let now = bus::traffic();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
        if quiet >= QUIET_BEATS || (now.answers == 0 && now.calls >= VAIN_CALLS) {
            break;
        }
        std::thread::sleep(BEAT);
    }
    Err(OsdpError::Query("an answer"))
}

/// Whether the secure channel is insisted on.
fn is_secure(settings: &Osdp) -> bool {
    settings.version == OsdpVersion::V2
}

/// The reader: a peripheral device with an LED and a display.
fn reader(settings: &Osdp, key: &BaseKey) -> Result<PeripheralDevice, OsdpError> {
    let one = || PdCapEntity::new(1, 1);
    let mut info = end(settings, key)?
        .id(&PdId::from_number(settings.address))
        .capability(PdCapability::CardDataFormat(one()))
        .capability(PdCapability::LedControl(one()))
        .capability(PdCapability::TextOutput(one()));
    if is_secure(settings) {
        info = info.capability(PdCapability::CommunicationSecurity(one()));
    }
    let mut reader = PeripheralDevice::new(info, Box::new(bus::ReaderEnd))?;
    // Both callbacks hold nothing, as libosdp never frees them.
    reader.set_command_callback(|command| {
        if let OsdpCommand::Text(text) = command {
            let said = TEXTS.into_iter().find(|(_, words)| *words == text.data);
            ANSWER.set(said.map(|(verdict, _)| verdict));
        }
        0
    });
    Ok(reader)
}

/// The panel: it calls one reader.
fn control(settings: &Osdp, key: &BaseKey) -> Result<ControlPanel, OsdpError> {
    let mut control =
        ControlPanelBuilder::new().add_channel(Box::new(bus::PanelEnd), vec![end(settings, key)?]).build()?;
    control.set_event_callback(|_, event| {
        if let OsdpEvent::CardRead(OsdpEventCardRead { format: OsdpCardFormats::Wiegand, nr_bits, data, .. }) = event {
            CARD.set(Some((nr_bits, data)));
        }
        0
    });
    Ok(control)
}

/// What both ends are told of the reader.
fn end(settings: &Osdp, key: &BaseKey) -> Result<PdInfoBuilder, OsdpError> {
    let baud_rate = i32::try_from(u32::from(settings.baud_rate)).map_err(|_| OsdpError::PdInfo("baud rate"))?;
    let info = PdInfoBuilder::new().address(settings.address.into())?.baud_rate(baud_rate)?;
    Ok(if is_secure(settings) { info.secure_channel_key(key.0).flag(OsdpFlag::EnforceSecure) } else { info })
}

/// Answers by light and by text.
fn tell(control: &mut ControlPanel, verdict: Verdict) -> Result<(), OsdpError> {
    let color = match verdict {
        Verdict::Granted => OsdpLedColor::Green,
        Verdict::Denied => OsdpLedColor::Red,
        Verdict::Unreadable => OsdpLedColor::Amber,
    };
    // For three seconds: counts are in tenths.
    let temporary =
        OsdpLedParams { control_code: 2, on_count: 30, on_color: color, timer_count: 30, ..OsdpLedParams::default() };
    control.send_command(0, OsdpCommand::Led(OsdpCommandLed { temporary, ..OsdpCommandLed::default() }))?;
    let words = TEXTS.into_iter().find(|(known, _)| *known == verdict).map(|(_, words)| words.to_vec());
    control.send_command(
        0,
        OsdpCommand::Text(OsdpCommandText {
            reader: 0,
            control_code: 3,
            temp_time: 3,
            offset_row: 1,
            offset_col: 1,
            data: words.unwrap_or_default(),
        }),
    )
}
