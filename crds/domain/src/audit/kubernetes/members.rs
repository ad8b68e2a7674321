//! Pure: what of an object may stand in a record. What is not listed here does not.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::statement::at;
use crate::admin::Role;
use crate::audit::record::Members;
use crate::audit::text::{REDACTED, object_name};
use crate::audit::{Action, ResourceKind};
use crate::configuration::{DeviceType, OperationMode};
use crate::machines::{FailureCause, FailureMode, MachineClass, MaintenanceAction};

/// How much of a value is shown.
#[derive(Clone, Copy, Debug)]
enum Show {
    /// That there is one.
    Nothing,
    /// A place that is not confidential: a city, a region, a postal code, a country.
    Place,
    /// The name of another object.
    Name,
    /// Yes or no.
    Flag,
    /// A whole number.
    Number,
    /// One of few words that the domain knows.
    Word(fn(&Value) -> bool),
}

/// Longest place, in characters; as the definition of sites has it.
const LONGEST_PLACE: usize = 100;

impl Show {
    fn of(self, value: &Value) -> Value {
        let shown = match (self, value) {
            (_, Value::Null) => Some(Value::Null),
            (Self::Place, Value::String(text)) => {
                Some(text.chars().filter(|c| !c.is_control()).take(LONGEST_PLACE).collect::<String>().into())
            }
            (Self::Name, Value::String(name)) => Some(object_name(name).into()),
            (Self::Flag, Value::Bool(_)) => Some(value.clone()),
            (Self::Number, Value::Number(number)) => number.as_i64().map(Value::from),
            (Self::Word(is_known), Value::String(_)) => is_known(value).then(|| value.clone()),
            _ => None,
        };
        shown.unwrap_or_else(|| REDACTED.into())
    }
}

/// A member of the spec, and where it stands in a record.
type Field = (&'static [&'static str], &'static [&'static str], Show);

fn is<T: DeserializeOwned>(value: &Value) -> bool {
    serde_json::from_value::<T>(value.clone()).is_ok()
}

const NAME: Field = (&["displayName"], &["name"], Show::Nothing);
const TAGS: Field = (&["tags"], &["tags"], Show::Nothing);
const SITE: Field = (&["siteRef", "name"], &["site"], Show::Name);

const ADDRESS: &[Field] = &[
    (&["address", "addressLine1"], &["address", "addressLine1"], Show::Nothing),
    (&["address", "addressLine2"], &["address", "addressLine2"], Show::Nothing),
    (&["address", "addressLine3"], &["address", "addressLine3"], Show::Nothing),
    (&["address", "city"], &["address", "city"], Show::Place),
    (&["address", "stateOrRegion"], &["address", "stateOrRegion"], Show::Place),
    (&["address", "postalCode"], &["address", "postalCode"], Show::Place),
    (&["address", "countryCode"], &["address", "countryCode"], Show::Place),
    (&["addressFrom", "name"], &["addressSecret"], Show::Name),
];

const CONFIGURATION: &[Field] = &[
    (&["configuration", "templateRef", "name"], &["deviceConfigurationTemplate"], Show::Name),
    (&["configuration", "operationMode"], &["operationMode"], Show::Word(is::<OperationMode>)),
];

const SENSOR: &[Field] = &[
    (&["configuration", "sensor", "assetRef", "name"], &["asset"], Show::Name),
    (&["configuration", "sensor", "gatewayRef", "name"], &["gateway"], Show::Name),
];

const SITE_FIELDS: &[Field] = &[NAME, (&["description"], &["description"], Show::Nothing), TAGS];

const DEVICE: &[Field] = &[
    NAME,
    SITE,
    (&["deviceType"], &["deviceType"], Show::Word(is::<DeviceType>)),
    (&["outOfService"], &["outOfService"], Show::Flag),
    TAGS,
];

const EPOCH: &[Field] = &[(&["activation", "epoch"], &["epoch"], Show::Number)];

const ALERT: &[Field] = &[
    (&["acknowledged"], &["acknowledged"], Show::Flag),
    (&["resolution", "failureMode"], &["failureMode"], Show::Word(is::<FailureMode>)),
    (&["resolution", "failureCause"], &["failureCause"], Show::Word(is::<FailureCause>)),
    (&["resolution", "action"], &["action"], Show::Word(is::<MaintenanceAction>)),
    (&["resolution", "alertWasRight"], &["alertWasRight"], Show::Flag),
    (&["resolution", "notes"], &["notes"], Show::Nothing),
];

const ADMIN: &[Field] = &[
    (&["role"], &["role"], Show::Word(is::<Role>)),
    SITE,
    (&["person"], &["person"], Show::Nothing),
    (&["group"], &["group"], Show::Nothing),
];

/// What is shown of a request for this action.
fn asked(kind: ResourceKind, action: Action) -> &'static [&'static [Field]] {
    match action {
        Action::TagResource | Action::UntagResource | Action::TagMonitronResource | Action::UntagMonitronResource => {
            &[&[TAGS]]
        }
        Action::UpdateSiteAddress => &[ADDRESS],
        Action::DeleteAssociatedDevice => &[EPOCH],
        Action::CreateDeviceInstanceConfiguration => &[CONFIGURATION],
        Action::RebootDevice | Action::RemediateDevice | Action::UnlockDevice => &[],
        _ => match kind {
            ResourceKind::Project => &[&[NAME, TAGS]],
            ResourceKind::Site => &[SITE_FIELDS, ADDRESS],
            ResourceKind::ConfigTemplate => &[&[NAME, TAGS], CONFIGURATION],
            ResourceKind::DeviceInstance => &[DEVICE, CONFIGURATION, SENSOR],
            ResourceKind::Asset => {
                &[&[NAME, SITE, TAGS, (&["machineClass"], &["machineClass"], Show::Word(is::<MachineClass>))]]
            }
            ResourceKind::Alert => &[ALERT],
            ResourceKind::AdminUser => &[ADMIN],
            ResourceKind::EnrolledUser => &[],
        },
    }
}

/// What is shown of the object that is stored after it.
fn answered(kind: ResourceKind) -> &'static [&'static [Field]] {
    const SITE_PLACE: &[Field] = &[
        (&["address", "city"], &["city"], Show::Place),
        (&["address", "stateOrRegion"], &["stateOrRegion"], Show::Place),
        (&["address", "postalCode"], &["postalCode"], Show::Place),
        (&["address", "countryCode"], &["countryCode"], Show::Place),
    ];
    match kind {
        ResourceKind::Site => &[SITE_FIELDS, SITE_PLACE],
        ResourceKind::Project | ResourceKind::ConfigTemplate | ResourceKind::DeviceInstance | ResourceKind::Asset => {
            &[&[NAME, TAGS]]
        }
        ResourceKind::Alert | ResourceKind::AdminUser | ResourceKind::EnrolledUser => &[],
    }
}

fn shown(fields: &[&[Field]], object: &Value) -> Members {
    let mut members = Members::new();
    let Some(spec) = object.get("spec") else { return members };
    for (from, to, show) in fields.iter().copied().flatten() {
        if let Some(value) = at(spec, from) {
            put(&mut members, to, show.of(value));
        }
    }
    members
}

fn put(members: &mut Members, path: &[&str], value: Value) {
    match path {
        [] => {}
        [last] => {
            members.insert((*last).to_owned(), value);
        }
        [first, rest @ ..] => {
            if let Value::Object(inner) = members.entry(*first).or_insert_with(|| Value::Object(Map::new())) {
                put(inner, rest, value);
            }
        }
    }
}

/// The parameters of a request, of what was sent.
pub(super) fn parameters(kind: ResourceKind, action: Action, sent: &Value) -> Members {
    shown(asked(kind, action), sent)
}

/// The elements of an answer, of what is stored.
pub(super) fn elements(kind: ResourceKind, stored: &Value) -> Members {
    let mut members = shown(answered(kind), stored);
    let created = at(stored, &["metadata", "creationTimestamp"]).and_then(Value::as_str);
    if let Some(created) = created.and_then(|created| created.parse::<jiff::Timestamp>().ok()) {
        members.insert("createdAtInMillis".to_owned(), created.as_millisecond().into());
    }
    if kind == ResourceKind::Site {
        let count = at(stored, &["status", "deviceInstanceCount"]).and_then(Value::as_i64);
        members.insert("deviceInstanceCount".to_owned(), count.unwrap_or(0).into());
    }
    members
}
