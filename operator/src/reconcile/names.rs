//! Pure: names, labels and annotations of the objects that the operator makes. They are deterministic, so a crash between
//! making a child and recording it finds its own work again.

use fleetform_domain::admin::Role;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// Who writes: the field manager of every apply.
pub const MANAGER: &str = "fleetform-operator";

/// The `ConfigMap` that says how far event sinks have come.
pub const EVENT_MARKS: &str = "fleetform-event-marks";

/// Stands on every `ConfigMap` with events that a required sink has yet to get; its value says what kind of object it is.
pub const EVENTS_LABEL: &str = "fleetform.dev/events";

/// Value of [`EVENTS_LABEL`] on events that their objects no longer keep.
pub const UNDELIVERED: &str = "undelivered";

/// On such a `ConfigMap`: when the last of the facts was recorded (RFC 3339).
pub const RECORDED_ANNOTATION: &str = "fleetform.dev/recorded-until";

/// In such a `ConfigMap`: the events, one a line.
pub const EVENTS: &str = "events.jsonl";

/// Stands on every Secret that the operator makes; its value says what kind it is.
pub const SECRET_LABEL: &str = "fleetform.dev/secret";

/// Value of [`SECRET_LABEL`] on activation codes.
pub const CODE: &str = "activation-qr";

/// Value of [`SECRET_LABEL`] on revisions of templates.
pub const REVISION: &str = "configuration-revision";

/// Value of [`SECRET_LABEL`] on letters to people who got a role.
pub const INVITATION: &str = "invitation";

/// Type of Secrets that hold such a letter.
pub const INVITATION_TYPE: &str = "fleetform.dev/invitation";

/// On a letter: who sends it, `hand` or `server`.
pub const SENT_BY_ANNOTATION: &str = "fleetform.dev/sent-by";

/// On a letter: a digest of what it is about.
pub const EDITION_ANNOTATION: &str = "fleetform.dev/letter-edition";

/// In the Secret of a letter: all of it.
pub const LETTER: &str = "invitation.eml";

/// In the Secret of a letter: the address that it goes to.
pub const RECIPIENT: &str = "recipient";

/// Type of Secrets that hold an activation code.
pub const CODE_TYPE: &str = "fleetform.dev/activation-qr";

/// Type of Secrets that hold a revision of a template.
pub const REVISION_TYPE: &str = "fleetform.dev/configuration-revision";

/// Type of Secrets that hold Wi-Fi credentials. Made by people.
pub const WIFI_TYPE: &str = "fleetform.dev/wifi";

/// Type of Secrets that hold an address. Made by people.
pub const ADDRESS_TYPE: &str = "fleetform.dev/address";

/// On a code: the activation sequence it is for.
pub const SEQUENCE_ANNOTATION: &str = "fleetform.dev/activation-sequence";

/// On a code: when it stops to work (RFC 3339).
pub const EXPIRES_ANNOTATION: &str = "fleetform.dev/expires-at";

/// On a code: SHA-256 of the current token and of the one before it, separated by a comma.
pub const TOKENS_ANNOTATION: &str = "fleetform.dev/token-sha256";

/// On a code: what tells its token from others of the same sequence and expiry, a UUID. No secret: what makes a token
/// good is its MAC.
pub const NONCE_ANNOTATION: &str = "fleetform.dev/token-nonce";

/// On a generation of the authority after the first: since when devices are told to trust it (RFC 3339).
pub const ANNOUNCED_ANNOTATION: &str = "fleetform.dev/announced-at";

/// On a generation of the authority after the first: since when it signs and serves (RFC 3339).
pub const SERVING_ANNOTATION: &str = "fleetform.dev/serving-since";

/// On a generation of the authority after the first: since when those before it are retired (RFC 3339).
pub const RETIRED_ANNOTATION: &str = "fleetform.dev/retired-at";

/// On the published certificates: the newest generation of the authority that was ever announced.
pub const GENERATION_ANNOTATION: &str = "fleetform.dev/authority-generation";

/// On a revision: UID of the template.
pub const TEMPLATE_LABEL: &str = "fleetform.dev/template-uid";

/// On a revision: its number.
pub const REVISION_LABEL: &str = "fleetform.dev/revision";

/// On an alert: name of its asset, if it is short enough for a label.
pub const ASSET_LABEL: &str = "fleetform.dev/asset";

/// On an alert: name of the position.
pub const POSITION_LABEL: &str = "fleetform.dev/position";

/// On a Secret with something sealed: the id of the data key.
pub const SEALING_KEY_LABEL: &str = "fleetform.dev/data-key";

/// In the Secret of a revision: the configuration, sealed.
pub const SEALED_CONFIGURATION: &str = "configuration.sealed";

/// On a Role or RoleBinding: that it was made for an `AdminUser`.
pub const ADMIN_LABEL: &str = "fleetform.dev/admin-user";

/// Longest value of a label.
pub const LONGEST_LABEL: usize = 63;

/// Longest name of an object.
const LONGEST: usize = 253;

/// The `ConfigMap` with undelivered events of the object of this UID: from this sequence on, the last recorded then.
pub fn event_backlog(uid: &str, first: i64, last: Timestamp) -> String {
    format!("fleetform-events-{uid}-{first}-{}", last.as_millisecond())
}

/// Name of the Secret with the activation code of an instance.
pub fn code_secret(instance: &str) -> String {
    child(instance, "-activation-qr")
}

/// Name of the Secret with a revision of a template. The UID is part of it, so that a template that was deleted and made
/// again does not meet the revisions of the first.
pub fn revision_secret(template: &str, uid: &str, revision: u32) -> String {
    let short: String = uid.chars().filter(char::is_ascii_alphanumeric).take(8).collect();
    child(template, &format!("-{short}-r{revision}"))
}

/// Name of the alert of this number about a position. A position's name has no dots, so no two positions share a name.
pub fn alert(asset: &str, position: &str, number: i64) -> String {
    child(asset, &format!(".{position}.{number}"))
}

/// Name of the RoleBinding that gives an `AdminUser` a role. A RoleBinding's role is fixed, so it is part of the name.
pub fn role_binding(admin: &str, role: Role) -> String {
    child(admin, &format!("-{}", role.cluster_role()))
}

/// Name of the Role that somebody has of their own who has this role at a site, and of the RoleBinding to it. No name of
/// [`role_binding`] ends like this.
pub fn site_role(admin: &str, role: Role) -> String {
    child(admin, &format!("-{}-at-site", role.as_str().to_ascii_lowercase()))
}

/// Name of the RoleBinding that lets somebody write who has this role at a site.
pub fn site_writes(admin: &str, role: Role) -> String {
    child(admin, &format!("-{}-writes-at-site", role.as_str().to_ascii_lowercase()))
}

/// Name of the Secret with the letter to an `AdminUser`.
pub fn invitation(admin: &str) -> String {
    child(admin, "-invitation")
}

/// Whether a Role or RoleBinding is called as one of this `AdminUser` is.
pub fn is_grant_of(admin: &str, grant: &str) -> bool {
    Role::ALL.iter().any(|role| {
        [role_binding(admin, *role), site_role(admin, *role), site_writes(admin, *role)]
            .iter()
            .any(|name| name == grant)
    })
}

/// The number in the name of an alert.
pub fn alert_number(name: &str) -> Option<i64> {
    name.rsplit_once('.')?.1.parse().ok().filter(|number| *number > 0)
}

fn child(parent: &str, suffix: &str) -> String {
    let whole = format!("{parent}{suffix}");
    if whole.len() <= LONGEST {
        return whole;
    }
    let digest = Sha256::digest(parent.as_bytes());
    let mark = format!("{:08x}", u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]));
    let room = LONGEST - suffix.len() - mark.len() - 1;
    let kept = parent[..room].trim_end_matches(['-', '.']);
    format!("{kept}-{mark}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_named_after_their_parent_and_fit() {
        assert_eq!(code_secret("front-door"), "front-door-activation-qr");
        assert_eq!(revision_secret("entry", "0f5e6c1e-aaaa", 3), "entry-0f5e6c1e-r3");
        assert_eq!(alert("pump-1", "drive-end", 3), "pump-1.drive-end.3");
        assert_ne!(alert("pump", "1-drive-end", 3), alert("pump-1", "drive-end", 3));
        assert_eq!(
            (alert_number("pump-1.drive-end.12"), alert_number("pump-1"), alert_number("a.-1")),
            (Some(12), None, None)
        );
        assert_eq!(alert(&"a".repeat(200), &"b".repeat(63), 7).len(), 253);
        let (long, other) = ("a".repeat(253), format!("{}b", "a".repeat(252)));
        assert_eq!(code_secret(&long).len(), 253);
        assert_ne!(code_secret(&long), code_secret(&other));
    }
}
