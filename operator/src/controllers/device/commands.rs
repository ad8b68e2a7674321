//! Pure: what people asked of a device once: asked, delivered, done.

use std::collections::BTreeMap;

use fleetform_crds::DeviceInstanceStatus;
use fleetform_crds::condition::whole_second;
use fleetform_crds::device_instance::CommandStatus;
use fleetform_domain::operation::{CommandKind, REBOOT_ANNOTATION};
use fleetform_domain::wire::{Command, DeviceLock, DeviceText};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::gateway::report::Report;

/// The name of the reboot that is asked for, if there is one. One that no device could be told is none; the admission policy
/// refuses it.
pub fn reboot_asked(annotations: Option<&BTreeMap<String, String>>) -> Option<DeviceText> {
    annotations?.get(REBOOT_ANNOTATION)?.as_str().try_into().ok()
}

/// Notes that `id` is asked for, if that is new.
pub fn request(status: &mut DeviceInstanceStatus, kind: CommandKind, id: &str, now: &Time) {
    let asked = CommandStatus {
        kind,
        id: id.to_owned(),
        requested_at: now.clone(),
        delivered_at: None,
        done_at: None,
        abandoned: false,
    };
    match status.commands.iter_mut().find(|command| command.kind == kind) {
        Some(known) if known.id == id => {}
        Some(known) => *known = asked,
        None => {
            status.commands.push(asked);
            status.commands.sort_by_key(|command| command.kind);
        }
    }
}

/// Notes that `id` is done.
pub fn done(status: &mut DeviceInstanceStatus, kind: CommandKind, id: &str, now: &Time) {
    let open = |command: &&mut CommandStatus| command.kind == kind && command.id == id && command.done_at.is_none();
    if let Some(command) = status.commands.iter_mut().find(open) {
        command.done_at = Some(now.clone());
        // Who carries something out was told of it.
        command.delivered_at.get_or_insert_with(|| now.clone());
    }
}

/// What answers this lock, if it was answered and the device has not confirmed it.
pub fn pending_answer(status: &DeviceInstanceStatus, lock: &str) -> Option<CommandKind> {
    let answers = status.commands.iter().filter(|command| command.kind != CommandKind::Reboot);
    answers.into_iter().find(|command| command.id == lock && command.done_at.is_none()).map(|command| command.kind)
}

/// Lays what the device reports over `status`: what it was told and what it has done.
pub fn observe(status: &mut DeviceInstanceStatus, report: &Report, now: &Time) {
    for command in &mut status.commands {
        let told = report.told.iter().find(|(id, _)| id.as_str() == command.id).map(|(_, at)| *at);
        if let Some(at) = told.filter(|_| command.delivered_at.is_none()) {
            command.delivered_at = Some(whole_second(at));
        }
    }
    if let Some(completed) = &report.completed {
        done(status, CommandKind::Reboot, completed.as_str(), now);
    }
}

/// The device is no longer associated: what it has not done, nobody will do in its place.
pub fn abandon(status: &mut DeviceInstanceStatus, now: &Time) {
    for command in status.commands.iter_mut().filter(|command| command.done_at.is_none()) {
        command.done_at = Some(now.clone());
        command.abandoned = true;
    }
}

/// What a device is to be told that reports this: commands, and the lock to be under. A device that is locked is told only
/// what answers its lock.
pub fn orders(status: &DeviceInstanceStatus, report: &Report) -> (Vec<Command>, Option<DeviceLock>) {
    let as_command = |command: &CommandStatus| {
        Some(Command { kind: command.kind, id: DeviceText::try_from(command.id.as_str()).ok()? })
    };
    let open = status.commands.iter().filter(|command| command.done_at.is_none());
    if let Some(lock) = &status.lock {
        let answers = open.filter(|command| command.kind != CommandKind::Reboot && command.id == lock.id);
        let answers: Vec<Command> = answers.filter_map(as_command).collect();
        let is_under = report.lock.as_ref().is_some_and(|reported| reported.id.as_str() == lock.id);
        let told = answers.is_empty() && !is_under;
        let id = DeviceText::try_from(lock.id.as_str()).ok().filter(|_| told);
        return (answers, id.map(|id| DeviceLock { id, reason: lock.reason }));
    }
    let carried_out = |command: &&CommandStatus| {
        command.kind == CommandKind::Reboot && report.completed.as_ref().is_none_or(|id| id.as_str() != command.id)
    };
    (open.filter(carried_out).filter_map(as_command).collect(), None)
}
