//! Configurations: fetched, applied, and undone when the device cannot reach its gateway with one.
//!
//! A configuration that changes the network is on trial until the gateway has answered with it. Until then the one before stays on
//! the disk, also over restarts: whatever the network turns out to be, the device can be told something else.

use fleetform_domain::configuration::RefusalReason;
use fleetform_domain::wire::{CONFIGURATION_PATH, DeviceConfiguration, RefusedConfiguration, WifiCredentials};

use super::operate::{is_of_gateway, maximum_offline};
use super::update::Arrival;
use super::{Device, DeviceError, State};
use crate::storage::Trial;
use crate::transport::{Question, Refusal, TransportError};

impl Device {
    /// Fetches a configuration. To apply it is another step.
    pub async fn fetch_configuration(&mut self, version: u32) -> Result<DeviceConfiguration, DeviceError> {
        let fetched = self.fetch(version).await;
        self.line = None;
        fetched
    }

    /// Puts a configuration in force, once it is on the disk.
    pub async fn apply(&mut self, configuration: DeviceConfiguration) -> Result<(), DeviceError> {
        let State::Active(association) = &self.state else {
            return Err(self.out_of_turn("apply a configuration"));
        };
        if association.lock.is_some() {
            return Err(self.out_of_turn("apply a configuration"));
        }
        let (version, limit) = (configuration.version, maximum_offline(&configuration));
        let is_gateway = is_of_gateway(&configuration);
        let wifi = configuration.wifi.clone().map(Box::new);
        let moves = association.wifi != wifi;
        self.rewrite(move |committed| {
            let before = committed.configuration.replace(configuration);
            committed.refused = None;
            if moves {
                // What was on trial itself is nothing to go back to.
                let configuration = committed.trial.take().map_or(before, |trial| trial.before);
                committed.trial = Some(Trial { before: configuration, tries: 0 });
            }
        })
        .await?;
        if let State::Active(association) = &mut self.state {
            association.applied = Some(version);
            association.maximum_offline = Some(limit);
            association.sensors = is_gateway.then(|| association.sensors.take().unwrap_or_default());
            association.wifi = wifi;
            association.refused = None;
            association.on_trial |= moves;
        }
        self.note_other_configuration();
        if moves {
            // It leaves the network that it was in.
            self.line = None;
        }
        Ok(())
    }

    /// What it refused.
    pub fn refused_configuration(&self) -> Option<RefusedConfiguration> {
        if let State::Active(association) = &self.state { association.refused } else { None }
    }

    /// Whether the network of the configuration in force has yet to prove itself.
    pub fn is_on_trial(&self) -> bool {
        matches!(&self.state, State::Active(association) if association.on_trial)
    }

    /// Fetches and applies a configuration, with the software that it names. One that is not there was replaced meanwhile: the next
    /// check-in says by which.
    pub(super) async fn adopt(&mut self, version: u32) -> Result<(), DeviceError> {
        let configuration = match self.fetch(version).await {
            Ok(configuration) => configuration,
            Err(DeviceError::Refused(Refusal { status: 404, .. })) => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(reason) = self.quirks.refuses {
            self.update = None;
            return self.refuse(version, reason).await;
        }
        let applied = match self.take_wanted_software(&configuration).await {
            Ok(Arrival::Installed) => self.apply(configuration).await,
            Ok(Arrival::Under) => return Ok(()),
            Ok(Arrival::Refused(reason)) => return self.refuse(version, reason).await,
            Err(error) => Err(error),
        };
        match applied {
            Err(DeviceError::Storage(_)) if self.applied_configuration_version().is_some() => {
                // What cannot be saved cannot be noted on the disk either.
                self.note_refusal(version, RefusalReason::StorageFailed);
                Ok(())
            }
            applied => applied,
        }
    }

    async fn take_wanted_software(&mut self, configuration: &DeviceConfiguration) -> Result<Arrival, DeviceError> {
        if let Some(software) = &configuration.software {
            return self.take_software(software).await;
        }
        self.update = None;
        Ok(Arrival::Installed)
    }

    async fn refuse(&mut self, version: u32, reason: RefusalReason) -> Result<(), DeviceError> {
        let refused = Some(RefusedConfiguration { version, reason });
        if self.refused_configuration() != refused {
            self.rewrite(move |committed| committed.refused = refused).await?;
            self.note_refusal(version, reason);
        }
        Ok(())
    }

    fn note_refusal(&mut self, version: u32, reason: RefusalReason) {
        if let State::Active(association) = &mut self.state {
            association.refused = Some(RefusedConfiguration { version, reason });
        }
    }

    /// The gateway has answered: the configuration in force stays.
    pub(super) async fn pass_trial(&mut self) -> Result<(), DeviceError> {
        if let State::Active(association) = &mut self.state {
            association.went_back = false;
        }
        if !self.is_on_trial() {
            return Ok(());
        }
        self.rewrite(|committed| committed.trial = None).await?;
        if let State::Active(association) = &mut self.state {
            association.on_trial = false;
        }
        Ok(())
    }

    /// The gateway could not be reached, for whatever reason: a portal that answers in its place is as good as none. Answers whether
    /// the device went back to the configuration before, so that it is worth another try.
    pub(super) async fn fail_trial(&mut self) -> Result<bool, DeviceError> {
        let State::Active(association) = &mut self.state else { return Ok(false) };
        if std::mem::take(&mut association.went_back) {
            // It is not the network's fault: the gateway is away.
            association.refused = None;
            self.rewrite(|committed| committed.refused = None).await?;
            return Ok(false);
        }
        if !association.on_trial {
            return Ok(false);
        }
        let mut is_over = false;
        self.rewrite(|committed| is_over = committed.fail_trial()).await?;
        if is_over {
            self.restart().await?;
            if let State::Active(association) = &mut self.state {
                association.went_back = true;
            }
        }
        Ok(is_over)
    }

    /// Whether this configuration was tried and is not in force for now: its software is on its way, or it was refused.
    pub(crate) fn has_tried(&self, version: u32) -> bool {
        self.awaits_software() || self.refused_configuration().is_some_and(|refused| refused.version == version)
    }

    /// Whether what is wanted is no longer to be tried: the device runs it, cannot now, or has refused it for good.
    pub(super) fn is_settled(&self, wanted: u32) -> bool {
        let refused = self.refused_configuration().filter(|refused| refused.version == wanted);
        self.lock().is_some()
            || self.applied_configuration_version() == Some(wanted)
            || refused.is_some_and(|refused| !refused.reason.is_retried())
    }

    async fn fetch(&mut self, version: u32) -> Result<DeviceConfiguration, DeviceError> {
        self.ask(&Question::get(format!("{CONFIGURATION_PATH}/{version}"))).await
    }

    /// Whether there is a network to speak to anybody by: the one of the configuration in force, or the cable.
    pub(super) fn join_network(&self) -> Result<(), TransportError> {
        let wifi = match &self.state {
            State::Active(association) => association.wifi.as_deref(),
            _ => None,
        };
        let is_there = |wifi: &WifiCredentials| {
            self.quirks.wifi.as_ref().is_none_or(|there| there.get(&wifi.ssid) == Some(&wifi.passphrase))
        };
        if self.quirks.no_network || !wifi.is_none_or(is_there) { Err(TransportError::NoNetwork) } else { Ok(()) }
    }
}
