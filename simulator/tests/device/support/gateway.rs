//! A gateway as it is where nothing is odd: it activates devices, has one configuration, and is content with every check-in.

use std::sync::Arc;

use fleetform_domain::activation::Confirmation;
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{
    ActivationRequest, ActivationResponse, CheckInResponse, DeviceConfiguration, LookupRequest, LookupResponse,
};

use super::{Authority, Reply, Seen, Server, good, refuse, serve};

/// The ZIP code of its site.
pub(crate) const ZIP: &str = "98104";

/// What a device sees of its site before it confirms.
pub(crate) fn site(seen: &Seen) -> Reply {
    let request: LookupRequest = serde_json::from_slice(&seen.body).unwrap();
    if request.postal_code != ZIP {
        return refuse(ProblemCode::ZipCodeDoesNotMatch);
    }
    good(&LookupResponse {
        site_name: "Central Library".into(),
        city: "Seattle".into(),
        state_or_region: None,
        device_instance_name: "Main entrance".into(),
        confirmation: Confirmation::from("Y29uZmlybQ".to_owned()),
    })
}

/// The answer to a device that has won its code.
pub(crate) fn association(authority: &Authority, request: &ActivationRequest, wanted: u32) -> Reply {
    good(&ActivationResponse {
        association_id: "a".into(),
        certificate: authority.certify(&request.certificate_request),
        ca_certificates: vec![authority.pem.clone()],
        desired_configuration_version: wanted,
        next_check_in_seconds: 60,
    })
}

/// A configuration that says nothing but what every one says.
pub(crate) fn configuration(version: u32) -> DeviceConfiguration {
    DeviceConfiguration {
        version,
        arn: String::new(),
        device_instance_name: "Main entrance".into(),
        operation_mode: None,
        wifi: None,
        control_panel: None,
        badge_format: None,
        io: None,
        software: None,
        offline_recognition: false,
        consent_version: None,
        maximum_offline_minutes: 60,
    }
}

/// The answer to a check-in when nothing is wanted but this configuration.
pub(crate) fn content(wanted: u32) -> CheckInResponse {
    CheckInResponse {
        desired_configuration_version: wanted,
        next_check_in_seconds: 60,
        commands: Vec::new(),
        lock: None,
        out_of_service: false,
        authorities: None,
        renew_certificate: false,
        enrolled_users_revision: None,
        sensors: None,
    }
}

/// Opens a gateway. What `own` answers goes before all that it would say itself.
pub(crate) async fn open(
    authority: &Arc<Authority>,
    own: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    let (leaf, key) = authority.server("127.0.0.1");
    let chain = vec![leaf, authority.certificate.clone()];
    let signs = authority.clone();
    let behave = move |seen: &Seen| {
        if let Some(reply) = own(seen) {
            return reply;
        }
        match seen.path.as_str() {
            "/v1/activations/lookup" => site(seen),
            "/v1/activations" => association(&signs, &serde_json::from_slice(&seen.body).unwrap(), 1),
            _ if !seen.has_certificate => refuse(ProblemCode::NotAuthenticated),
            "/v1/configuration/1" => good(&configuration(1)),
            "/v1/check-in" => good(&content(1)),
            _ => refuse(ProblemCode::NotFound),
        }
    };
    serve(authority, chain, &key, behave).await
}
