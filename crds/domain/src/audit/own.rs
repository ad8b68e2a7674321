//! Pure: what portal and gateway did for somebody.

use core::net::IpAddr;

use jiff::Timestamp;
use uuid::Uuid;

use super::action::Action;
use super::failure::Failure;
use super::identity::Identity;
use super::record::{Members, Record, Request};
use super::resource::Resource;
use crate::id::Installation;
use crate::problem::ProblemCode;

/// Who asked, and from where.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Who.
    pub identity: Identity,
    /// Where the connection came from.
    pub source: IpAddr,
    /// What the client calls itself.
    pub user_agent: Option<String>,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// They lack the right. They are told no more than that it is not there.
    Denied,
    /// It was refused for this.
    Refused(ProblemCode),
}

/// What somebody asked of portal or gateway.
#[derive(Clone, Debug)]
pub struct Deed {
    /// What.
    pub action: Action,
    /// What it was about.
    pub resource: Resource,
    /// More of what was asked for. Nothing confidential.
    pub parameters: Members,
    /// What became of it.
    pub outcome: Outcome,
}

impl Deed {
    /// The record of it. `request` tells this request from all others.
    pub fn record(self, here: &Installation, actor: &Actor, time: Timestamp, request: Uuid) -> Record {
        let (failure, problem) = match self.outcome {
            Outcome::Done => (None, None),
            Outcome::Denied => (Some(Failure::Denied), Some(ProblemCode::NotFound)),
            Outcome::Refused(code) => (Some(Failure::of_problem(code)), Some(code)),
        };
        Request {
            identity: &actor.identity,
            action: self.action,
            at_portal: matches!(actor.identity, Identity::User { .. }),
            resource: &self.resource,
            time,
            source: Some(actor.source),
            user_agent: actor.user_agent.as_deref(),
            request_id: &request.to_string(),
            parameters: self.parameters,
            elements: None,
            failure,
            problem,
        }
        .record(here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::ResourceKind;

    fn record(identity: Identity, action: Action, outcome: Outcome) -> Record {
        let actor = Actor { identity, source: "192.0.2.7".parse().unwrap(), user_agent: Some("curl/8.5.0".to_owned()) };
        let resource = Resource::new(ResourceKind::DeviceInstance, Some("library"), Some("front-desk"));
        let deed = Deed { action, resource: resource.with_uid(Some("uid-1")), parameters: Members::new(), outcome };
        let here = Installation::new("aws", "us-east-1", "123456789012").unwrap();
        deed.record(&here, &actor, Timestamp::UNIX_EPOCH, Uuid::nil())
    }

    fn installer() -> Identity {
        Identity::User {
            name: "system:serviceaccount:library:installer".to_owned(),
            uid: Some("9f1c".to_owned()),
            credential: Some("JTI=7d3c".to_owned()),
            impersonator: None,
        }
    }

    #[test]
    fn a_code_that_was_handed_out() {
        let said = record(installer(), Action::CreateDeviceActivationQrCode, Outcome::Done);
        insta::assert_json_snapshot!("hand_out", said);
    }

    #[test]
    fn somebody_who_may_not_is_told_less_than_the_record() {
        insta::assert_json_snapshot!(
            "denial",
            record(installer(), Action::CreateDeviceActivationQrCode, Outcome::Denied)
        );
    }

    #[test]
    fn a_device_that_was_refused() {
        let identity = Identity::Device { instance: "QfUuUnFqs5accJ".to_owned(), association: None };
        let refused = Outcome::Refused(ProblemCode::QrNotRecognized);
        insta::assert_json_snapshot!("device", record(identity, Action::ActivateDevice, refused));
    }

    #[test]
    fn what_the_portal_does_for_the_other_product_has_the_prefix_of_its_app() {
        assert_eq!(
            record(installer(), Action::GetAssetMeasurements, Outcome::Denied).event_name,
            "AmazonMonitronApp:GetAssetMeasurements"
        );
    }
}
