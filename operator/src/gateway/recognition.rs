//! Recognitions: whose palm it is, answered in one round trip and from memory; or what a device decided by itself. They write nothing.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json as Answer};
use fleetform_domain::configuration::OperationMode;
use fleetform_domain::event::Occasion;
use fleetform_domain::people::{BadgeNumber, Palm, RecognitionFailure};
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{DeviceText, PalmPresented, RecognitionRequest, RecognitionResponse, RecognizedUser};

use super::Gateway;
use super::people::{Teller, is_reader, serves};
use crate::cache::Name;
use crate::server::{Json, Peer, Refusal};

/// `POST /v1/recognitions`.
pub(super) async fn recognize(
    State(gateway): State<Arc<Gateway>>,
    Extension(peer): Extension<Peer>,
    Json(request): Json<RecognitionRequest>,
) -> Result<Answer<RecognitionResponse>, Refusal> {
    gateway.recognize(&peer, request).await.map(Answer)
}

impl Gateway {
    async fn recognize(&self, peer: &Peer, request: RecognitionRequest) -> Result<RecognitionResponse, Refusal> {
        let identity = self.identify(peer)?;
        let device = self.trusted(&identity).await?;
        let now = self.context.clock.now();
        let teller = Teller::new(&device, &identity, request.sequence, request.time, now)?;
        let namespace = Name::of(&*device).namespace;
        let asked = matches!(request.palm, PalmPresented::Ask { .. });
        let found = match request.palm {
            PalmPresented::Ask { palm } => {
                if !serves(&device, OperationMode::Entry) {
                    let detail = "palms are recognised for Entry devices that are in service and not locked";
                    return Err(Refusal::new(ProblemCode::NotFound, detail));
                }
                self.opened(&namespace)?;
                self.identify_palm(&namespace, &palm)
            }
            _ if !is_reader(&device, OperationMode::Entry) => {
                return Err(Refusal::new(ProblemCode::NotFound, "palms are presented at Entry devices"));
            }
            PalmPresented::Recognized { user } => {
                // Until it is known whose badge it is, the device keeps it.
                self.opened(&namespace)?;
                Ok((self.badge_of(&namespace, &user), user))
            }
            PalmPresented::NotRecognized { reason } => Err(reason),
        };
        let (badge, occasion) = match &found {
            Ok((badge, _)) => (badge.as_ref(), Occasion::Recognized),
            Err(reason) => (None, Occasion::NotRecognized(*reason)),
        };
        let acknowledged = self.event(&teller, badge, occasion).await;
        self.context.metrics.recognition(found.as_ref().map_or_else(|reason| reason.as_str(), |_| "recognized"));
        let answer = RecognitionResponse { acknowledged, recognized: None, reason: None };
        Ok(match found {
            _ if !asked => answer,
            Ok((badge, user)) => RecognitionResponse {
                recognized: badge.map(|badge_number| RecognizedUser { user, badge_number }),
                ..answer
            },
            Err(reason) => RecognitionResponse { reason: Some(reason), ..answer },
        })
    }

    fn identify_palm(
        &self,
        namespace: &str,
        palm: &Palm,
    ) -> Result<(Option<BadgeNumber>, DeviceText), RecognitionFailure> {
        let (name, badge) = self.context.people.identify(namespace, palm)?;
        // Who was deleted this moment is not let in because somebody has yet to hear of it.
        let user = self.context.world.users.get(&Name::new(namespace, &name));
        user.filter(|user| user.metadata.deletion_timestamp.is_none()).ok_or(RecognitionFailure::PalmNotRecognized)?;
        let user = DeviceText::try_from(name).map_err(|_| RecognitionFailure::SystemError)?;
        Ok((Some(badge), user))
    }

    /// The badge of a user whom a device recognised by its own list, also of one who was deleted since; unknown when nothing is left.
    fn badge_of(&self, namespace: &str, user: &DeviceText) -> Option<BadgeNumber> {
        let world = &self.context.world;
        let user = world.users.get(&Name::new(namespace, user.as_str()))?;
        self.context.people.profile(world, &user).ok().map(|profile| profile.badge_number.clone())
    }
}
