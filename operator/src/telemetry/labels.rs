//! Pure: labels of metrics. Every label has few values; what comes from outside is mapped onto a known one.

use prometheus_client::encoding::EncodeLabelSet;

/// Label of everything that is not known by name.
const OTHER: &str = "other";

/// Resources that the operator writes, as in paths.
const RESOURCES: [&str; 15] = [
    "alerts",
    "alerts/status",
    "assets/status",
    "configmaps",
    "configtemplates/status",
    "deviceinstances/status",
    "enrolledusers",
    "enrolledusers/status",
    "events",
    "projects/status",
    "secrets",
    "sites/status",
    "subjectaccessreviews",
    "tokenreviews",
    "endpointslices",
];

/// Types of events that are delivered.
const DETAIL_TYPES: [&str; 15] = [
    "Device Health Status Changed To Healthy",
    "Device Health Status Changed To Critical",
    "Device Connectivity Changed To Online",
    "Device Connectivity Changed To Offline",
    "Asset State Changed To Healthy",
    "Asset State Changed To Warning",
    "Asset State Changed To Alarm",
    "Alert Acknowledged",
    "Alert Resolved",
    "New Successful Enrollment",
    "New Successful Un-enrollment",
    "Unsuccessful Enrollment",
    "Unsuccessful Un-enrollment",
    "Successful Recognition",
    "Unsuccessful Recognition",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Kind {
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Write {
    pub(super) verb: &'static str,
    pub(super) resource: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Reconciliation {
    pub(super) kind: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Stage {
    pub(super) stage: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Outcome {
    pub(super) outcome: &'static str,
}

/// Sinks are few, and named by whoever installs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Sink {
    pub(super) sink: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Delivery {
    pub(super) sink: String,
    pub(super) detail_type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Request {
    pub(super) listener: &'static str,
    pub(super) route: &'static str,
    pub(super) status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Listener {
    pub(super) listener: &'static str,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Open {
    pub(super) listener: &'static str,
}

/// The resource under the name that the metrics know.
pub(super) fn resource(name: &str) -> &'static str {
    known(&RESOURCES, name)
}

/// The type of event under the name that the metrics know.
pub(super) fn detail_type(name: &str) -> &'static str {
    known(&DETAIL_TYPES, name)
}

/// `2xx` and so on.
pub(super) fn status_class(status: u16) -> &'static str {
    match status {
        100..=199 => "1xx",
        200..=299 => "2xx",
        300..=399 => "3xx",
        400..=499 => "4xx",
        _ => "5xx",
    }
}

fn known(names: &[&'static str], name: &str) -> &'static str {
    names.iter().find(|known| **known == name).copied().unwrap_or(OTHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded_whatever_comes() {
        assert_eq!(resource("secrets"), "secrets");
        assert_eq!(resource("secrets/../../x"), "other");
        assert_eq!(detail_type("Device Connectivity Changed To Online"), "Device Connectivity Changed To Online");
        assert_eq!(detail_type(""), "other");
        assert_eq!((status_class(204), status_class(410), status_class(999)), ("2xx", "4xx", "5xx"));
    }
}
