//! The messages of version 1, as they stand on the wire.

use super::*;
use crate::activation::Phase;
use crate::configuration::{Configuration, DeviceType, SecretReference, Wifi};
use crate::id::{Installation, ResourceId};
use crate::people::{BadgeNumber, Consent, EnrollmentFailure, Hand, Palm, PalmCode, RecognitionFailure};

#[test]
fn texts_of_devices_are_bounded() {
    assert!(DeviceText::try_from("0000195169").is_ok());
    for bad in ["", "a b", "ä", "a\n", &"x".repeat(65)] {
        assert_eq!(DeviceText::try_from(bad), Err(InvalidDeviceText), "{bad:?}");
    }
}

#[test]
fn the_messages_of_version_1() {
    let token = TokenText::from("dG9rZW4".to_owned());
    let confirmation = Confirmation::from("Y29uZmlybQ".to_owned());
    insta::assert_json_snapshot!("lookup_request", LookupRequest { token: token.clone(), postal_code: "98104".into() });
    insta::assert_json_snapshot!(
        "lookup_response",
        LookupResponse {
            site_name: "Central Library".into(),
            city: "Seattle".into(),
            state_or_region: Some("WA".into()),
            device_instance_name: "Main entrance".into(),
            confirmation: confirmation.clone(),
        }
    );
    insta::assert_json_snapshot!(
        "activation_request",
        ActivationRequest {
            token,
            confirmation,
            asset_tag_id: "0000195169".try_into().unwrap(),
            certificate_request: "-----BEGIN CERTIFICATE REQUEST-----\n…".into(),
        }
    );
    insta::assert_json_snapshot!(
        "activation_response",
        ActivationResponse {
            association_id: "5e2e8ad4-6a1c-4f0e-9f43-0f8d2f0f4d11".into(),
            certificate: "-----BEGIN CERTIFICATE-----\n…".into(),
            ca_certificates: vec!["-----BEGIN CERTIFICATE-----\n…".into()],
            desired_configuration_version: 1,
            next_check_in_seconds: 60,
        }
    );
    insta::assert_json_snapshot!(
        "check_in_request",
        CheckInRequest {
            boot_id: "b1".try_into().unwrap(),
            counter: 1,
            software_version: "1.0.0".try_into().unwrap(),
            applied_configuration_version: Some(1),
            failed_health_checks: vec!["storage".try_into().unwrap()],
            lock: Some(DeviceLock { id: "a1b2c3".try_into().unwrap(), reason: LockReason::Tamper }),
            completed_command: Some("after-the-storm".try_into().unwrap()),
            refused_configuration: Some(RefusedConfiguration { version: 2, reason: RefusalReason::DigestMismatch }),
            software_update: Some(SoftwareUpdate {
                version: "1.4.0".try_into().unwrap(),
                state: UpdateState::Downloading,
                percent: 42,
            }),
            trusted_authorities: Some(AuthoritiesDigest::of(["old"])),
            enrolled_users_revision: Some("4711".try_into().unwrap()),
            keeps_enrollments: true,
            sensors: Some(SensorsReport {
                time: "2023-11-22T02:55:17Z".parse().unwrap(),
                revision: Some("9f86d081".try_into().unwrap()),
                sensors: vec![SensorReport {
                    device_instance_id: "QfUuUnFqs5accJ".parse().unwrap(),
                    asset_tag_id: "S-0001".try_into().unwrap(),
                    epoch: 0,
                    connected: true,
                    software_version: Some("2.1".try_into().unwrap()),
                    failed_health_checks: vec!["battery".try_into().unwrap()],
                }],
            }),
            wait_seconds: 0,
        }
    );
    insta::assert_json_snapshot!(
        "check_in_response",
        CheckInResponse {
            desired_configuration_version: 2,
            next_check_in_seconds: 60,
            commands: vec![Command { kind: CommandKind::Unlock, id: "a1b2c3".try_into().unwrap() }],
            lock: Some(DeviceLock { id: "d4e5f6".try_into().unwrap(), reason: LockReason::Cloned }),
            out_of_service: true,
            authorities: Some(AuthoritiesDigest::of(["old", "new"])),
            renew_certificate: true,
            enrolled_users_revision: Some("4712".try_into().unwrap()),
            sensors: Some(WantedSensors {
                revision: Some("60303ae2".try_into().unwrap()),
                sensors: vec![WantedSensor {
                    device_instance_id: "QfUuUnFqs5accJ".parse().unwrap(),
                    asset_tag_id: "S-0001".try_into().unwrap(),
                    epoch: 1,
                    place: "0b7ffcf6ae72a4b0".try_into().unwrap(),
                    measurement_interval_seconds: 3_600,
                }],
            }),
        }
    );
}

#[test]
fn the_lists_and_configurations_of_version_1() {
    insta::assert_json_snapshot!(
        "device_list",
        DeviceList {
            version: "3c9f.17".into(),
            complete: false,
            items: vec![DeviceSummary {
                id: DeviceName { project: "library".into(), name: "central-main-entrance".into() },
                uid: "0f5e6c1e-0000-4000-8000-000000000001".into(),
                display_name: "Main entrance".into(),
                site: "central".into(),
                device_type: DeviceType::Reader,
                phase: Phase::ReadyForActivation,
                activation_sequence: 1,
                simulated: true,
            }],
            removed: vec![DeviceName { project: "library".into(), name: "ballard-desk".into() }],
        }
    );
    insta::assert_json_snapshot!(
        "device_configuration",
        DeviceConfiguration {
            version: 1,
            arn: "arn:aws:one:us-east-1:123456789012:device-instance/12345678901234/configuration/1".into(),
            device_instance_name: "Main entrance".into(),
            operation_mode: Some(OperationMode::Entry),
            wifi: Some(WifiCredentials { ssid: "library-doors".into(), passphrase: "correct horse".into() }),
            control_panel: Some(ControlPanel { osdp: Some(crate::configuration::Osdp::default()), wiegand: None }),
            badge_format: Some(BadgeFormat::standard_26_bit()),
            io: None,
            maximum_offline_minutes: 10_080,
            software: Some(Software {
                version: "1.4.0".into(),
                url: "https://releases.example/reader-1.4.0.bin".into(),
                sha256: "5".repeat(64),
                signature: format!("{}==", "A".repeat(86)),
                allow_downgrade: false,
            }),
            offline_recognition: true,
            consent_version: Some("2026-01".into()),
        }
    );
}

#[test]
fn the_messages_about_people() {
    let time = "2023-11-22T02:55:17Z".parse().unwrap();
    let palm = || Palm { hand: Hand::Right, code: PalmCode::new([0x5a; crate::people::PALM_CODE_BYTES]) };
    let badge = || BadgeNumber::try_from("1111358294500").unwrap();
    let consent = Consent { version: "2026-01".into(), given_at: time };
    let completed = EnrollmentOutcome::Completed { badge_number: badge(), consent, palms: vec![palm()] };
    let enrolled = EnrollmentOutcome::Enrolled { user: "eu-a1".try_into().unwrap(), badge_number: badge() };
    let failed = EnrollmentOutcome::Failed { reason: EnrollmentFailure::ConsentDeclined, badge_number: Some(badge()) };
    insta::assert_json_snapshot!(
        "enrollment_requests",
        [completed, enrolled, failed].map(|outcome| EnrollmentRequest { sequence: 7, time, outcome })
    );
    let refused = Some(EnrollmentFailure::PalmAlreadyEnrolled);
    insta::assert_json_snapshot!(
        "enrollment_responses",
        [
            EnrollmentResponse { acknowledged: true, user: Some("eu-a1".try_into().unwrap()), refused: None },
            EnrollmentResponse { acknowledged: true, user: None, refused },
        ]
    );
    let told = [
        PalmPresented::Ask { palm: palm() },
        PalmPresented::Recognized { user: "eu-a1".try_into().unwrap() },
        PalmPresented::NotRecognized { reason: RecognitionFailure::PalmNotReadable },
    ];
    insta::assert_json_snapshot!(
        "recognition_requests",
        told.map(|palm| RecognitionRequest { sequence: 8, time, palm })
    );
    let recognized = Some(RecognizedUser { user: "eu-a1".try_into().unwrap(), badge_number: badge() });
    let reason = Some(RecognitionFailure::PalmNotRecognized);
    insta::assert_json_snapshot!(
        "recognition_responses",
        [
            RecognitionResponse { acknowledged: true, recognized, reason: None },
            RecognitionResponse { acknowledged: true, recognized: None, reason },
        ]
    );
    insta::assert_json_snapshot!(
        "user_list",
        UserList {
            revision: "4712".try_into().unwrap(),
            complete: false,
            users: vec![ListedUser { user: "eu-a1".try_into().unwrap(), badge_number: badge(), palms: vec![palm()] }],
            removed: vec!["eu-b2".try_into().unwrap()],
            next: Some("eu-a1".try_into().unwrap()),
        }
    );
}

#[test]
fn the_messages_about_machines() {
    insta::assert_json_snapshot!(
        "measurements_request",
        MeasurementsRequest {
            measurements: vec![Measurement {
                device_instance_id: "QfUuUnFqs5accJ".parse().unwrap(),
                sequence: 42,
                place: "0b7ffcf6ae72a4b0".try_into().unwrap(),
                time: "2023-11-22T02:55:17Z".parse().unwrap(),
                velocity_rms_mm_per_s: 2.75,
                temperature_celsius: 41.5,
            }],
        }
    );
    insta::assert_json_snapshot!(
        "measurements_response",
        MeasurementsResponse {
            taken: 1,
            refused: vec![RefusedMeasurement { index: 3, reason: MeasurementRefusal::NotPaired }],
        }
    );
}

#[test]
fn what_an_installer_sees_of_a_site() {
    insta::assert_json_snapshot!(
        "activation_code_list",
        ActivationCodeList {
            project: "library".into(),
            site: "central".into(),
            site_name: "Central Library".into(),
            items: vec![ActivationCodeSummary {
                name: "central-main-entrance".into(),
                display_name: "Main entrance".into(),
                device_type: DeviceType::Reader,
                operation_mode: Some(OperationMode::Entry),
                expires_at: Some("2026-01-02T12:00:00Z".parse().unwrap()),
                path: activation_code_path("library", "central-main-entrance"),
            }],
        }
    );
}

#[test]
fn a_stored_configuration_refers_to_secrets() {
    let wifi =
        Wifi { ssid: Some("library-doors".into()), credentials_secret_ref: SecretReference { name: "doors".into() } };
    let configuration =
        Configuration { operation_mode: Some(OperationMode::Enrollment), wifi: Some(wifi), ..Configuration::default() };
    let installation = Installation::new("aws", "us-east-1", "123456789012").unwrap();
    insta::assert_json_snapshot!(
        "stored_configuration",
        StoredConfiguration {
            arn: installation.configuration_arn(&ResourceId::of("0f5e6c1e-0000-4000-8000-000000000001"), 2),
            version: 2,
            digest: configuration.digest(),
            created_at: "2026-01-01T12:00:00Z".parse().unwrap(),
            template: Some(ConfigurationOrigin {
                name: "desk".into(),
                uid: "0f5e6c1e-0000-4000-8000-000000000002".into(),
                revision: 3,
            }),
            desired: true,
            applied: false,
            configuration,
        }
    );
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let wifi = WifiCredentials { ssid: "doors".into(), passphrase: "correct horse".into() };
    assert!(!format!("{wifi:?}").contains("horse"));
}

#[test]
fn what_a_gateway_says_of_all_its_sensors_fits_into_a_body() {
    let text = |length| DeviceText::try_from("x".repeat(length)).unwrap();
    let sensor = SensorReport {
        device_instance_id: "QfUuUnFqs5accJ".parse().unwrap(),
        asset_tag_id: text(64),
        epoch: i64::from(i32::MAX),
        connected: false,
        software_version: Some(text(64)),
        failed_health_checks: vec![text(64); MAX_SENSOR_HEALTH_CHECKS],
    };
    let sensors = vec![sensor; crate::machines::MAX_SENSORS_PER_GATEWAY];
    let check_in = CheckInRequest {
        failed_health_checks: vec![text(64); MAX_FAILED_HEALTH_CHECKS],
        sensors: Some(SensorsReport { time: jiff::Timestamp::MAX, revision: Some(text(64)), sensors }),
        ..CheckInRequest::new(text(64), u64::MAX, text(64))
    };
    let size = serde_json::to_vec(&check_in).unwrap().len();
    assert!(size < MAX_BODY, "{size}");
}
