//! Pure: what a request to an API server writes, in a few words.

use http::Method;
use serde_json::Value;

/// What a request writes: verb and resource, such as `create secrets`. Writes of statuses that mean different things
/// read differently: one by a JSON Patch ends in `by JSON Patch`, one that records a change in what changed last, such
/// as `to CRITICAL`.
///
/// `None` for what stores nothing: reads, and questions that are posted (reviews). And for leases, which are renewed
/// whatever happens.
pub fn kind_of(method: &Method, path: &str, media_type: &str, body: &[u8]) -> Option<String> {
    let verb = match *method {
        Method::POST => "create",
        Method::PUT => "replace",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => return None,
    };
    let (resource, subresource) = resource(path)?;
    if resource == "leases" || resource.ends_with("reviews") {
        return None;
    }
    let subresource = subresource.map(|name| format!("/{name}")).unwrap_or_default();
    let meaning = if media_type == "application/json-patch+json" {
        " by JSON Patch".to_owned()
    } else {
        changed_to(body).map(|current| format!(" to {current}")).unwrap_or_default()
    };
    Some(format!("{verb} {resource}{subresource}{meaning}"))
}

/// Resource and subresource of a path.
fn resource(path: &str) -> Option<(&str, Option<&str>)> {
    let mut segments = path.trim_matches('/').split('/');
    match segments.next()? {
        // The version.
        "api" => segments.next()?,
        // The group and its version.
        "apis" => segments.nth(1)?,
        _ => return None,
    };
    let rest: Vec<&str> = segments.collect();
    let rest = match rest.as_slice() {
        ["namespaces", _, within @ ..] if !within.is_empty() => within,
        all => all,
    };
    Some((rest.first()?, rest.get(2).copied()))
}

/// What the last transition of a status that is written leads to.
fn changed_to(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    let last = body["status"]["transitions"].as_array()?.last()?.clone();
    Some(last["current"].as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(method: &Method, path: &str, media_type: &str, body: &str) -> String {
        kind_of(method, path, media_type, body.as_bytes()).unwrap_or_default()
    }

    #[test]
    fn a_write_is_known_by_its_verb_its_resource_and_what_it_records() {
        const DOOR: &str = "/apis/fleetform.dev/v1alpha1/namespaces/n/deviceinstances/door";
        let merge = "application/merge-patch+json";
        let secrets = "/api/v1/namespaces/n/secrets";
        assert_eq!(check(&Method::POST, secrets, "application/json", "{}"), "create secrets");
        assert_eq!(check(&Method::DELETE, &format!("{secrets}/code"), "", ""), "delete secrets");
        assert_eq!(check(&Method::PUT, "/api/v1/namespaces/n", "", ""), "replace namespaces");
        assert_eq!(check(&Method::PATCH, DOOR, merge, r#"{"metadata":{}}"#), "patch deviceinstances");
        let status = format!("{DOOR}/status");
        assert_eq!(check(&Method::PATCH, &status, merge, r#"{"status":{}}"#), "patch deviceinstances/status");
        let patch = check(&Method::PATCH, &status, "application/json-patch+json", "[]");
        assert_eq!(patch, "patch deviceinstances/status by JSON Patch");
        let body = r#"{"status":{"transitions":[{"current":"CONNECTED"},{"current":"CRITICAL"}]}}"#;
        assert_eq!(check(&Method::PATCH, &status, merge, body), "patch deviceinstances/status to CRITICAL");
    }

    #[test]
    fn what_stores_nothing_and_what_is_written_all_the_time_are_no_writes() {
        for (method, path) in [
            (Method::GET, "/api/v1/namespaces/n/secrets"),
            (Method::POST, "/apis/authorization.k8s.io/v1/subjectaccessreviews"),
            (Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews"),
            (Method::PUT, "/apis/coordination.k8s.io/v1/namespaces/n/leases/l"),
            (Method::POST, "/readyz"),
            (Method::POST, "/api/v1"),
        ] {
            assert_eq!(check(&method, path, "", ""), "", "{method} {path}");
        }
    }
}
