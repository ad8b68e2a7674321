//! What the gateway asks beside the configuration: commands, locks, and to serve nobody. A device that is locked obeys only what
//! takes its lock off.

use std::time::Duration;

use fleetform_domain::operation::{CommandKind, LockReason};
use fleetform_domain::wire::{CheckInResponse, Command, DeviceLock, DeviceText};
use sha2::{Digest as _, Sha256};

use super::{Association, Device, DeviceError, State};
use crate::storage::{Committed, Record, Stage};

impl Device {
    /// The lock that it is under.
    pub fn lock(&self) -> Option<&DeviceLock> {
        self.association().and_then(|association| association.lock.as_deref())
    }

    /// Whether it is associated, locked or not.
    pub fn is_associated(&self) -> bool {
        self.association().is_some()
    }

    /// Somebody opens its case, or takes it off the wall.
    pub async fn tamper(&mut self) -> Result<(), DeviceError> {
        self.lock_for(LockReason::Tamper).await
    }

    /// Lets time pass for its clock, without anybody having to wait.
    pub fn pass(&mut self, time: Duration) {
        self.passed = self.passed.saturating_add(time);
        self.pass_update(time);
        self.people.pass(time);
        self.pass_for_sensors(time);
    }

    /// Locks the device when it was without its gateway for longer than its configuration lets it.
    pub(super) async fn mind_absence(&mut self) -> Result<(), DeviceError> {
        let Some(limit) = self.association().and_then(|association| association.maximum_offline) else { return Ok(()) };
        let away = self.last_contact.map_or(Duration::ZERO, |last| last.elapsed()).saturating_add(self.passed);
        if away >= limit { self.lock_for(LockReason::MaximumOfflineTime).await } else { Ok(()) }
    }

    /// The gateway has answered.
    pub(super) fn note_contact(&mut self) {
        self.last_contact = Some(std::time::Instant::now());
        self.passed = Duration::ZERO;
    }

    async fn lock_for(&mut self, reason: LockReason) -> Result<(), DeviceError> {
        if self.association().is_none() {
            return Err(self.out_of_turn("be locked"));
        }
        if self.lock().is_some_and(|lock| lock.reason.takes_inspection() || !reason.takes_inspection()) {
            return Ok(());
        }
        let lock = DeviceLock { id: self.lock_id(), reason };
        self.set_lock(Some(lock)).await
    }

    /// Another one each time: made of the start and the check-ins of it.
    fn lock_id(&self) -> DeviceText {
        let mut hash = Sha256::new();
        hash.update(self.boot_id().as_str());
        hash.update(self.counter.to_be_bytes());
        let id = u64::from_be_bytes(hash.finalize()[..8].try_into().expect("a SHA-256 has 32 bytes"));
        format!("{id:016x}").try_into().expect("hexadecimal digits are texts of devices")
    }

    /// Does what the gateway asks. Each step is on the disk before it is done, so that a power cut does not make it be done twice.
    pub(super) async fn obey(&mut self, answer: &CheckInResponse) -> Result<(), DeviceError> {
        if let Some(association) = self.association_mut() {
            association.out_of_service = answer.out_of_service;
        }
        if let Some(lock) = &answer.lock
            && self.lock().is_none_or(|own| !own.reason.takes_inspection())
        {
            self.set_lock(Some(lock.clone())).await?;
        }
        for command in &answer.commands {
            self.carry_out(command).await?;
        }
        Ok(())
    }

    async fn carry_out(&mut self, command: &Command) -> Result<(), DeviceError> {
        match command.kind {
            CommandKind::Remediate | CommandKind::Unlock => {
                if self.lock().is_some_and(|lock| lock.id == command.id) {
                    self.set_lock(None).await?;
                }
            }
            CommandKind::Reboot => {
                let done =
                    self.association().is_none_or(|association| association.completed.as_ref() == Some(&command.id));
                if self.lock().is_none() && !done {
                    let id = command.id.clone();
                    self.rewrite(move |committed| committed.completed = Some(id)).await?;
                    self.restart().await?;
                }
            }
        }
        Ok(())
    }

    async fn set_lock(&mut self, lock: Option<DeviceLock>) -> Result<(), DeviceError> {
        let stored = lock.clone();
        self.rewrite(move |committed| committed.lock = stored).await?;
        if lock.is_some() {
            self.people.stop();
        }
        if let Some(association) = self.association_mut() {
            association.lock = lock.map(Box::new);
        }
        Ok(())
    }

    /// Changes what stands on the disk of an active device.
    pub(super) async fn rewrite(&mut self, change: impl FnOnce(&mut Committed)) -> Result<(), DeviceError> {
        let record = self.disk(|disk, tag| disk.load(tag)).await?;
        let Some(Record { private_key, stage: Stage::Active(mut committed) }) = record else {
            return Err(self.out_of_turn("change what it keeps"));
        };
        change(&mut committed);
        self.save(Record { private_key, stage: Stage::Active(committed) }).await?;
        Ok(())
    }

    pub(super) fn association(&self) -> Option<&Association> {
        if let State::Active(association) = &self.state { Some(association) } else { None }
    }

    pub(super) fn association_mut(&mut self) -> Option<&mut Association> {
        if let State::Active(association) = &mut self.state { Some(association) } else { None }
    }
}
