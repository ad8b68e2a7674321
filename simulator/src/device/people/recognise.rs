//! A palm at the door: whose it is, by the gateway or by the device's own list, and what the control panel says to the badge.

use std::time::Duration;

use fleetform_domain::configuration::OperationMode;
use fleetform_domain::people::{Palm, RecognitionFailure};
use fleetform_domain::wire::{
    DeviceConfiguration, PalmPresented, RECOGNITION_PATH, RecognitionRequest, RecognitionResponse, RecognizedUser,
};
use tokio::time::timeout;

use crate::device::{Device, DeviceError, EntryScreen, Screen};
use crate::storage::Untold;
use crate::transport::Question;

const WHAT: &str = "recognise anybody";

/// How long somebody at a door waits for the gateway.
const PATIENCE: Duration = Duration::from_secs(5);

impl Device {
    /// Somebody presents a palm; none when it cannot be read. What the device shows then.
    pub async fn present_palm(&mut self, palm: Option<Palm>) -> Result<EntryScreen, DeviceError> {
        let configuration = self.ready_for(OperationMode::Entry, WHAT).await?;
        let recognised = self.recognise(palm, &configuration).await;
        self.line = None;
        let screen = match recognised? {
            Ok(user) => self.ask_panel(&configuration, &user.badge_number).await,
            Err(reason) => EntryScreen::NotRecognized(reason),
        };
        self.people.shown = Some(Screen::Entry(screen));
        Ok(screen)
    }

    /// Whose palm it is. How it ended is on the disk, and with the gateway if that can be.
    async fn recognise(
        &mut self,
        palm: Option<Palm>,
        configuration: &DeviceConfiguration,
    ) -> Result<Result<RecognizedUser, RecognitionFailure>, DeviceError> {
        let time = self.time();
        let told = |sequence, palm| Untold::Recognition(RecognitionRequest { sequence, time, palm });
        // Should the power go before it is decided, nobody was recognised.
        let reason = if palm.is_none() { RecognitionFailure::PalmNotReadable } else { RecognitionFailure::SystemError };
        let kept = self.keep(|sequence| Some(told(sequence, PalmPresented::NotRecognized { reason }))).await;
        let sequence = match kept {
            Ok(sequence) => sequence,
            Err(DeviceError::Storage(_)) => return Ok(Err(RecognitionFailure::SystemError)),
            Err(error) => return Err(error),
        };
        let Some(palm) = palm else {
            self.tell_untold().await?;
            return Ok(Err(reason));
        };
        let message = RecognitionRequest { sequence, time, palm: PalmPresented::Ask { palm: palm.clone() } };
        let question = Question::post_json(RECOGNITION_PATH, &message);
        let asked = timeout(PATIENCE, self.ask::<RecognitionResponse>(&question)).await;
        let (acknowledged, recognised) = match asked {
            Ok(Ok(answer)) => {
                let nobody = answer.reason.unwrap_or(RecognitionFailure::SystemError);
                (answer.acknowledged, answer.recognized.ok_or(nobody))
            }
            Ok(Err(error @ DeviceError::AssociationEnded)) => return Err(error),
            Err(_) | Ok(Err(DeviceError::Transport(_))) => {
                (false, self.recognise_by_own_list(&palm, configuration).await)
            }
            // It is starting or standing by, so it is out of reach like one that is not there.
            Ok(Err(DeviceError::Refused(refusal))) if refusal.status >= 500 => {
                (false, self.recognise_by_own_list(&palm, configuration).await)
            }
            // The gateway is there, and has its reasons.
            Ok(Err(_)) => (false, Err(RecognitionFailure::GatewayUnreachable)),
        };
        if acknowledged {
            self.settle_untold(&[sequence]).await?;
        } else {
            let palm = match &recognised {
                Ok(user) => PalmPresented::Recognized { user: user.user.clone() },
                Err(reason) => PalmPresented::NotRecognized { reason: *reason },
            };
            self.amend_untold(told(sequence, palm)).await?;
        }
        Ok(recognised)
    }

    async fn recognise_by_own_list(
        &mut self,
        palm: &Palm,
        configuration: &DeviceConfiguration,
    ) -> Result<RecognizedUser, RecognitionFailure> {
        if !configuration.offline_recognition {
            return Err(RecognitionFailure::GatewayUnreachable);
        }
        match self.own_list().await {
            Ok(Some(list)) => list.recognise(palm),
            Ok(None) => Err(RecognitionFailure::GatewayUnreachable),
            Err(error) => {
                tracing::debug!(device = %self.asset_tag, %error, "the list of enrolled users cannot be read");
                Err(RecognitionFailure::SystemError)
            }
        }
    }
}
