//! Pure: the OpenAPI 3.1 document of device protocol v1 and of the portal, made from the wire types.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::address::PostalAddress;
use crate::problem::{MEDIA_TYPE, Problem, ProblemCode};
use crate::wire;

/// The document.
///
/// # Panics
/// Never: it is made of plain data.
pub fn document() -> Value {
    let mut generator =
        SchemaSettings::draft2020_12().with(|s| s.definitions_path = "/components/schemas".into()).into_generator();
    let paths = paths(&mut generator);
    generator.subschema_for::<Problem>();
    let schemas: Map<String, Value> = generator.take_definitions(true);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Fleetform device protocol and portal",
            "version": "1",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Devices speak to the gateway, people and their tools to the portal. See docs/devices.md.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "deviceCertificate": { "type": "mutualTLS", "description": "The certificate that the activation delivered." },
                "kubernetesToken": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A Kubernetes token made for the portal's audience.",
                },
            },
        },
    })
}

fn paths(generator: &mut SchemaGenerator) -> Value {
    let mut paths = Map::new();
    for operations in [activation, device, portal] {
        for (path, method, operation) in operations(generator) {
            paths.insert(path, json!({ method: operation.0 }));
        }
    }
    Value::Object(paths)
}

fn with(common: &[ProblemCode], more: &[ProblemCode]) -> Vec<ProblemCode> {
    [common, more].concat()
}

type Operations = Vec<(String, &'static str, Operation)>;

/// What a device asks before it is associated.
fn activation(generator: &mut SchemaGenerator) -> Operations {
    use ProblemCode as P;
    let activation = [
        P::QrNotRecognized,
        P::DeviceInstanceDoesNotExist,
        P::SiteNotFound,
        P::SystemError,
        P::Unavailable,
        P::RateLimited,
    ];
    let look_up = Operation::new("lookUpActivation", "Which site is this code for?")
        .takes::<wire::LookupRequest>(generator)
        .answers::<wire::LookupResponse>(generator)
        .fails(&with(&activation, &[P::ZipCodeDoesNotMatch, P::MalformedRequest]));
    let activate = Operation::new("activate", "Bind this device; the installer confirmed the site.")
        .takes::<wire::ActivationRequest>(generator)
        .answers::<wire::ActivationResponse>(generator)
        .fails(&with(&activation, &[P::ConfirmationNotValid, P::MalformedRequest]));
    vec![(wire::LOOKUP_PATH.into(), "post", look_up), (wire::ACTIVATION_PATH.into(), "post", activate)]
}

/// What an associated device asks.
fn device(generator: &mut SchemaGenerator) -> Operations {
    use ProblemCode as P;
    let device = [P::NotAuthenticated, P::AssociationEnded, P::RateLimited, P::Unavailable];
    let check_in = Operation::new("checkIn", "Report the device's whole state; hear what is wanted.")
        .by("deviceCertificate")
        .takes::<wire::CheckInRequest>(generator)
        .answers::<wire::CheckInResponse>(generator)
        .fails(&with(&device, &[P::MalformedRequest]));
    let certificate = Operation::new(
        "renewCertificate",
        "A new certificate in place of the one that is shown, expired or not, and the authorities that count.",
    )
    .by("deviceCertificate")
    .answers::<wire::CertificateResponse>(generator)
    .fails(&device);
    let configuration = Operation::new("getConfiguration", "One version of the configuration, whole.")
        .by("deviceCertificate")
        .with_path(&["version"])
        .answers::<wire::DeviceConfiguration>(generator)
        .fails(&with(&device, &[P::NotFound]));
    let enrollment = Operation::new("enroll", "How an enrollment at an Enrollment device ended.")
        .by("deviceCertificate")
        .takes::<wire::EnrollmentRequest>(generator)
        .answers::<wire::EnrollmentResponse>(generator)
        .fails(&with(&device, &[P::MalformedRequest, P::SystemError]));
    let recognition = Operation::new("recognize", "Whose palm is at an Entry device, or what it decided by itself.")
        .by("deviceCertificate")
        .takes::<wire::RecognitionRequest>(generator)
        .answers::<wire::RecognitionResponse>(generator)
        .fails(&with(&device, &[P::MalformedRequest, P::NotFound]));
    let users =
        Operation::new("listUsers", "Who is enrolled, for devices that recognise people while they are offline.")
            .by("deviceCertificate")
            .with_query(&["since", "after"])
            .answers::<wire::UserList>(generator)
            .fails(&with(&device, &[P::MalformedRequest, P::NotFound]));
    let measurements = Operation::new("putMeasurements", "What the sensors of a gateway measured.")
        .by("deviceCertificate")
        .takes::<wire::MeasurementsRequest>(generator)
        .answers::<wire::MeasurementsResponse>(generator)
        .fails(&with(&device, &[P::MalformedRequest]));
    vec![
        (wire::CHECK_IN_PATH.into(), "post", check_in),
        (wire::CERTIFICATE_PATH.into(), "post", certificate),
        (format!("{}/{{version}}", wire::CONFIGURATION_PATH), "get", configuration),
        (wire::ENROLLMENT_PATH.into(), "post", enrollment),
        (wire::RECOGNITION_PATH.into(), "post", recognition),
        (wire::USER_LIST_PATH.into(), "get", users),
        (wire::MEASUREMENTS_PATH.into(), "post", measurements),
    ]
}

/// What people ask.
fn portal(generator: &mut SchemaGenerator) -> Operations {
    use ProblemCode as P;
    let portal = [P::NotAuthenticated, P::NotFound, P::Unavailable];
    let list = |id: &str, path: &[&str], generator: &mut SchemaGenerator| {
        Operation::new(id, "Device instances, as those may see them who may not read their configuration.")
            .by("kubernetesToken")
            .with_path(path)
            .with_query(&["site", "simulated", "since", "waitSeconds"])
            .answers::<wire::DeviceList>(generator)
            .fails(&with(&portal, &[P::MalformedRequest]))
    };
    let all = list("listDeviceInstances", &[], generator);
    let of_project = list("listProjectDeviceInstances", &["project"], generator);
    let code = Operation::new("createDeviceActivationQrCode", "The activation code of one device instance.")
        .by("kubernetesToken")
        .with_path(&["project", "name"])
        .answers_with(&json!({
            "image/png": { "schema": { "type": "string", "contentMediaType": "image/png" } },
            "text/plain": { "schema": { "type": "string" } },
        }))
        .fails(&with(&portal, &[P::NoCode]));
    let codes = Operation::new("listDeviceActivationQrCodes", "What there is to activate at a site; no code.")
        .by("kubernetesToken")
        .with_path(&["project", "site"])
        .answers::<wire::ActivationCodeList>(generator)
        .fails(&portal);
    let version = Operation::new("getDeviceInstanceConfiguration", "One version of a configuration; it never changes.")
        .by("kubernetesToken")
        .with_path(&["project", "name", "version"])
        .answers::<wire::StoredConfiguration>(generator)
        .fails(&with(&portal, &[P::SystemError]));
    let address = Operation::new("getSiteAddress", "Where a site is.")
        .by("kubernetesToken")
        .with_path(&["project", "site"])
        .answers::<PostalAddress>(generator)
        .fails(&portal);
    let measurements = Operation::new("listAssetMeasurements", "Recent measurements of one position, for a chart.")
        .by("kubernetesToken")
        .with_path(&["project", "asset"])
        .parameter("query", "position", true)
        .with_query(&["since", "limit"])
        .answers::<wire::MeasurementSeries>(generator)
        .fails(&with(&portal, &[P::MalformedRequest]));
    let objects = Operation::new("listSiteObjects", "What is declared at a site, for those who have a role there.")
        .by("kubernetesToken")
        .with_path(&["project", "site"])
        .with_query(&["kind", "name"])
        .answers::<wire::SiteObjects>(generator)
        .fails(&with(&portal, &[P::MalformedRequest]));
    let profile = Operation::new("getEnrolledUserProfile", "Who an enrolled user is, badge number included.")
        .by("kubernetesToken")
        .with_path(&["project", "name"])
        .answers::<wire::EnrolledUserProfile>(generator)
        .fails(&with(&portal, &[P::SystemError]));
    let invitation = Operation::new("getUserInvitation", "The letter to somebody who got a role.")
        .by("kubernetesToken")
        .with_path(&["project", "name"])
        .answers_with(&json!({ "message/rfc822": { "schema": { "type": "string" } } }))
        .fails(&portal);

    vec![
        (wire::DEVICE_LIST_PATH.into(), "get", all),
        (wire::project_device_list_path("{project}"), "get", of_project),
        (wire::activation_code_path("{project}", "{name}"), "post", code),
        (wire::activation_code_list_path("{project}", "{site}"), "get", codes),
        (wire::configuration_version_path("{project}", "{name}", "{version}"), "get", version),
        (wire::site_address_path("{project}", "{site}"), "get", address),
        (wire::asset_measurements_path("{project}", "{asset}"), "get", measurements),
        (wire::site_objects_path("{project}", "{site}"), "get", objects),
        (wire::enrolled_user_profile_path("{project}", "{name}"), "get", profile),
        (wire::admin_user_invitation_path("{project}", "{name}"), "get", invitation),
    ]
}

struct Operation(Value);

impl Operation {
    fn new(id: &str, summary: &str) -> Self {
        Self(json!({ "operationId": id, "summary": summary, "parameters": [], "responses": {} }))
    }

    fn by(mut self, scheme: &str) -> Self {
        self.0["security"] = json!([{ scheme: [] }]);
        self
    }

    fn with_path(self, names: &[&str]) -> Self {
        names.iter().fold(self, |operation, name| operation.parameter("path", name, true))
    }

    fn with_query(self, names: &[&str]) -> Self {
        names.iter().fold(self, |operation, name| operation.parameter("query", name, false))
    }

    fn parameter(mut self, place: &str, name: &str, required: bool) -> Self {
        let kind = match name {
            "version" | "waitSeconds" | "limit" => "integer",
            "simulated" => "boolean",
            _ => "string",
        };
        let parameter = json!({ "name": name, "in": place, "required": required, "schema": { "type": kind } });
        self.0["parameters"].as_array_mut().expect("parameters are a list").push(parameter);
        self
    }

    fn takes<T: JsonSchema>(mut self, generator: &mut SchemaGenerator) -> Self {
        let schema = generator.subschema_for::<T>();
        self.0["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        self
    }

    fn answers<T: JsonSchema>(self, generator: &mut SchemaGenerator) -> Self {
        let schema = generator.subschema_for::<T>();
        self.answers_with(&json!({ "application/json": { "schema": schema } }))
    }

    fn answers_with(mut self, content: &Value) -> Self {
        self.0["responses"]["200"] = json!({ "description": "Done.", "content": content });
        self
    }

    fn fails(mut self, problems: &[ProblemCode]) -> Self {
        let content = json!({ MEDIA_TYPE: { "schema": { "$ref": "#/components/schemas/Problem" } } });
        for problem in problems {
            let response = &mut self.0["responses"][problem.status().to_string()];
            let said = response["description"].as_str().map(|said| format!("{said}, `{}`", problem.as_str()));
            let description = said.unwrap_or_else(|| format!("`{}`", problem.as_str()));
            *response = json!({ "description": description, "content": content });
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_checked_in_document_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let stored = std::fs::read_to_string(path).unwrap_or_default();
        let current = serde_json::to_string_pretty(&document()).unwrap() + "\n";
        assert!(stored == current, "docs/openapi.json is not current: run `cargo xtask generate`");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }
}
