//! What a reader is wired to: the badge scanner of a desk, the control panel of a door. Both are tried before each check-in with a badge
//! that nobody has, so that the health says what stands there now, and not what the last person met.

use fleetform_domain::configuration::OperationMode;
use fleetform_domain::people::BadgeNumber;
use fleetform_domain::wire::DeviceConfiguration;

use crate::device::{Device, DeviceError, EntryScreen};
use crate::panel::scanner::{self, Scanner, ScannerQuirks};
use crate::panel::{LineError, NOBODY, PanelQuirks, Reader, Verdict};

/// The health check that fails while the control panel does not answer.
pub const CONTROL_PANEL_CHECK: &str = "control-panel";

/// The health check that fails while the control panel or the badge scanner goes by another format, or the device cannot write badges.
pub const BADGE_FORMAT_CHECK: &str = "badge-format";

/// The health check that fails while an Enrollment device has no badge scanner.
pub const BADGE_SCANNER_CHECK: &str = "badge-scanner";

/// What is wrong around a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The control panel does not answer.
    NoPanel,
    /// The control panel cannot read badges.
    NotUnderstood,
    /// The badge of the last person does not fit into the configured format.
    NotWritten,
    /// There is no badge scanner.
    NoScanner,
    /// The badge scanner cannot read badges.
    NotScanned,
}

impl Trouble {
    /// The health check that it fails.
    pub(super) const fn check(self) -> &'static str {
        match self {
            Self::NoPanel => CONTROL_PANEL_CHECK,
            Self::NotUnderstood | Self::NotWritten | Self::NotScanned => BADGE_FORMAT_CHECK,
            Self::NoScanner => BADGE_SCANNER_CHECK,
        }
    }
}

fn of_answer(answer: Result<Verdict, LineError>) -> Option<Trouble> {
    match answer {
        Ok(Verdict::Granted | Verdict::Denied) => None,
        Ok(Verdict::Unreadable) => Some(Trouble::NotUnderstood),
        Err(LineError::NotWritten(_)) => Some(Trouble::NotWritten),
        Err(LineError::NoAnswer) => Some(Trouble::NoPanel),
    }
}

impl Device {
    /// The badge scanner; none when there is none that works.
    pub(super) fn badge_scanner(&self) -> Option<Scanner> {
        Scanner::of(self.quirks.badge_scanner.as_deref().unwrap_or(&ScannerQuirks::default()))
    }

    /// Tries what it is wired to. Where nothing is wrong with that, and nothing was, there is nothing to find out.
    pub(in crate::device) async fn mind_surroundings(&mut self) -> Result<(), DeviceError> {
        let quirks = &self.quirks;
        if self.people.trouble.is_none() && quirks.panel.is_none() && quirks.badge_scanner.is_none() {
            return Ok(());
        }
        let Some(configuration) = self.configuration().await? else { return Ok(()) };
        self.people.trouble = match configuration.operation_mode {
            Some(OperationMode::Entry) => self.try_panel(&configuration).await,
            Some(OperationMode::Enrollment) => self.try_scanner(),
            None => None,
        };
        Ok(())
    }

    /// What becomes of a number that cannot be written is seen with the next badge, or with another configuration.
    pub(in crate::device) fn note_other_configuration(&mut self) {
        self.people.trouble.take_if(|trouble| *trouble == Trouble::NotWritten);
    }

    async fn try_panel(&self, configuration: &DeviceConfiguration) -> Option<Trouble> {
        let answer = self.send_badge(configuration, &BadgeNumber::from(NOBODY)).await?;
        of_answer(answer).or(self.people.trouble.filter(|trouble| *trouble == Trouble::NotWritten))
    }

    fn try_scanner(&self) -> Option<Trouble> {
        let Some(scanner) = self.badge_scanner() else { return Some(Trouble::NoScanner) };
        scanner.read(&scanner::badge(&BadgeNumber::from(NOBODY))).is_err().then_some(Trouble::NotScanned)
    }

    /// What the control panel says to a badge; none when the device is wired to none.
    async fn send_badge(
        &self,
        configuration: &DeviceConfiguration,
        badge: &BadgeNumber,
    ) -> Option<Result<Verdict, LineError>> {
        let reader = Reader::of(configuration, &self.asset_tag)?;
        let panel = reader.counterpart(self.quirks.panel.as_deref().unwrap_or(&PanelQuirks::default()));
        Some(reader.present(panel, badge).await)
    }

    /// What the device shows once the control panel has heard the badge of somebody who was recognised.
    pub(super) async fn ask_panel(&mut self, configuration: &DeviceConfiguration, badge: &BadgeNumber) -> EntryScreen {
        let Some(answer) = self.send_badge(configuration, badge).await else { return EntryScreen::NoDecision };
        self.people.trouble = of_answer(answer);
        match answer {
            Ok(Verdict::Granted) => EntryScreen::Granted,
            Ok(Verdict::Denied) => EntryScreen::Denied,
            Ok(Verdict::Unreadable) | Err(_) => EntryScreen::NoDecision,
        }
    }
}
