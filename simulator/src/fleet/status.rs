//! Pure: how the fleet is doing, in numbers.

use super::decide::Action;

/// Where a simulated device stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Its instance is not ready for activation.
    Waiting,
    /// It is being activated, or about to be.
    Activating,
    /// It is active and its last check-in was answered.
    Active,
    /// It is active and its last check-in was not answered well.
    Unanswered,
    /// Other hardware is active in its place.
    Elsewhere,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Activating, Self::Active, Self::Unanswered, Self::Elsewhere];

    /// A short name: for counters and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Activating => "activating",
            Self::Active => "active",
            Self::Unanswered => "unanswered",
            Self::Elsewhere => "elsewhere",
        }
    }

    pub(super) fn after(action: Action, failures: u32) -> Self {
        match action {
            Action::PowerOff | Action::Wait => Self::Waiting,
            Action::LeaveToOthers => Self::Elsewhere,
            Action::Activate => Self::Activating,
            Action::KeepCheckingIn | Action::CheckInNow if failures > 0 => Self::Unanswered,
            Action::KeepCheckingIn | Action::CheckInNow => Self::Active,
        }
    }
}

/// How many devices stand where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FleetStatus {
    /// Whether the portal's list was read, so that the numbers mean something.
    pub listed: bool,
    counts: [usize; Stage::ALL.len()],
}

impl FleetStatus {
    /// How many devices stand there.
    pub fn devices(&self, stage: Stage) -> usize {
        self.counts[stage as usize]
    }

    /// How many devices there are.
    pub fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    pub(super) fn count(&mut self, stage: Stage) -> &mut usize {
        &mut self.counts[stage as usize]
    }
}
