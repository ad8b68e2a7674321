//! What stands around a reader: at a desk a [`scanner`] of badges; at a door an access-control panel that reads badges in its own
//! format, decides by its own list, and answers.
//!
//! The line between them is the real one as far as a program goes: [`osdp`] speaks the protocol, secure channel included, over a bus
//! in memory; [`wiegand`] sends the pulses of a frame. Both ends have their own settings, so that what does not fit together fails as
//! it does on a wall.

mod bus;
mod osdp;
pub mod scanner;
pub mod wiegand;

use std::collections::BTreeSet;
use std::fmt;

use fleetform_domain::configuration::{BadgeBits, BadgeFormat, BadgeNotWritten, BaudRate, ControlPanel, Osdp, Wiegand};
use fleetform_domain::people::BadgeNumber;
use fleetform_domain::wire::{DeviceConfiguration, DeviceText};
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;

/// Most conversations with panels at once in the whole program. Each takes a thread of its own while it lasts.
const CONVERSATIONS: usize = 16;

/// A number that no badge has. Who wires a device tries it with a badge of this number: it is read, and opens nothing.
pub const NOBODY: u64 = 0;

static LINES: Semaphore = Semaphore::const_new(CONVERSATIONS);

/// The base key of OSDP's secure channel (SCBK), 128 bits. Its `Debug` hides it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BaseKey(pub [u8; 16]);

impl BaseKey {
    /// The key that was set in the reader with this asset tag and in its panel when they were wired.
    pub fn of(asset_tag: &DeviceText) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"OSDP base key of ");
        hash.update(asset_tag.as_str());
        Self(hash.finalize()[..16].try_into().expect("a SHA-256 has 32 bytes"))
    }
}

impl fmt::Debug for BaseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BaseKey(…)")
    }
}

/// One end of a line, as it is set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// OSDP over RS-485.
    Osdp {
        /// Version, address and speed.
        settings: Osdp,
        /// Of the secure channel, which version 2 insists on and version 1 does not know.
        key: BaseKey,
    },
    /// Wiegand.
    Wiegand(Wiegand),
}

/// The end of the line in the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// How the line is set.
    pub line: Line,
    /// How badges are written.
    pub badge_format: BadgeFormat,
}

/// The panel at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panel {
    /// How the line is set.
    pub line: Line,
    /// How it reads badges.
    pub badge_format: BadgeFormat,
    /// Whom it lets in.
    pub admits: Admission,
}

/// Whom a panel lets in.
#[derive(Clone, PartialEq, Eq)]
pub enum Admission {
    /// Everybody with a badge of its format.
    Everybody,
    /// These badges.
    Listed(BTreeSet<BadgeNumber>),
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everybody => f.write_str("Everybody"),
            Self::Listed(badges) => write!(f, "Listed({} badges)", badges.len()),
        }
    }
}

/// What a panel answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The door opens.
    Granted,
    /// It does not.
    Denied,
    /// The panel cannot read the badge: it goes by another format.
    Unreadable,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Nobody answers: the panel is lost, or goes by another address, speed, key or protocol.
    #[error("the control panel does not answer")]
    NoAnswer,
    /// The badge cannot be written in the reader's own format.
    #[error(transparent)]
    NotWritten(#[from] BadgeNotWritten),
}

/// What is wrong with the panel, or with the way it is set. Nothing is, unless it is said here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PanelQuirks {
    /// It has no power, or the line to it is cut.
    pub lost: bool,
    /// It calls the reader by this OSDP address.
    pub address: Option<u8>,
    /// It speaks OSDP at this speed.
    pub baud_rate: Option<BaudRate>,
    /// It has another base key than the reader.
    pub other_key: bool,
    /// It reads badges in this format.
    pub badge_format: Option<BadgeFormat>,
    /// It lets in these badges alone.
    pub admits: Option<BTreeSet<BadgeNumber>>,
}

impl Reader {
    /// As this configuration sets a reader; none when it has no line or no format of badges.
    pub fn of(configuration: &DeviceConfiguration, asset_tag: &DeviceText) -> Option<Self> {
        let line = match configuration.control_panel.as_ref()? {
            ControlPanel { osdp: Some(settings), .. } => {
                Line::Osdp { settings: settings.clone(), key: BaseKey::of(asset_tag) }
            }
            ControlPanel { wiegand: Some(timing), .. } => Line::Wiegand(timing.clone()),
            ControlPanel { osdp: None, wiegand: None } => return None,
        };
        Some(Self { line, badge_format: configuration.badge_format.clone()? })
    }

    /// The panel that was wired to fit this reader, but for what is wrong with it; none when it is lost.
    pub fn counterpart(&self, quirks: &PanelQuirks) -> Option<Panel> {
        if quirks.lost {
            return None;
        }
        let mut line = self.line.clone();
        if let Line::Osdp { settings, key } = &mut line {
            settings.address = quirks.address.unwrap_or(settings.address);
            settings.baud_rate = quirks.baud_rate.unwrap_or(settings.baud_rate);
            if quirks.other_key {
                key.0.iter_mut().for_each(|byte| *byte = !*byte);
            }
        }
        Some(Panel {
            line,
            badge_format: quirks.badge_format.clone().unwrap_or_else(|| self.badge_format.clone()),
            admits: quirks.admits.clone().map_or(Admission::Everybody, Admission::Listed),
        })
    }

    /// Sends a badge over the line, and waits for what the panel says.
    pub async fn present(self, panel: Option<Panel>, badge: &BadgeNumber) -> Result<Verdict, LineError> {
        let bits = self.badge_format.encode(badge)?;
        // Where nobody is at the other end, there is nothing to wait for.
        let Some(panel) = panel else { return Err(LineError::NoAnswer) };
        let _line = LINES.acquire().await.expect("the semaphore is never closed");
        // OSDP has times of its own, so somebody has to be there all the while.
        let talk = move || match &self.line {
            Line::Osdp { settings, key } => osdp::converse(settings, key, &bits, &panel),
            Line::Wiegand(timing) => wiegand::converse(timing, &bits, &panel),
        };
        tokio::task::spawn_blocking(talk).await.unwrap_or(Err(LineError::NoAnswer))
    }
}

impl Panel {
    /// What it makes of these bits.
    pub fn decide(&self, bits: &BadgeBits) -> Verdict {
        match (self.badge_format.decode(bits), &self.admits) {
            (Err(_), _) => Verdict::Unreadable,
            (Ok(badge), _) if badge.value() == NOBODY => Verdict::Denied,
            (Ok(_), Admission::Everybody) => Verdict::Granted,
            // A badge is told by its value: zeros in front are of no account on the line.
            (Ok(badge), Admission::Listed(badges)) if badges.iter().any(|known| known.value() == badge.value()) => {
                Verdict::Granted
            }
            (Ok(_), Admission::Listed(_)) => Verdict::Denied,
        }
    }
}

#[cfg(test)]
mod tests;
