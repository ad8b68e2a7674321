//! Every role × what there is × verb × scope, as the API server's authorizer answers (SubjectAccessReview), in one table. The roles are those
//! that the operator makes.

use std::fmt::Write as _;

use anyhow::Result;
use fleetform_domain::admin::Role;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use k8s_openapi::api::authorization::v1::ResourceAttributes;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use serde_json::json;

use super::sites::{appoint, may, right};
use super::{Cluster, Kind};

/// Verbs on objects, and the letters that stand for them.
const VERBS: [(&str, char); 8] = [
    ("get", 'g'),
    ("list", 'l'),
    ("watch", 'w'),
    ("create", 'c'),
    ("update", 'u'),
    ("patch", 'p'),
    ("delete", 'd'),
    ("deletecollection", 'D'),
];

/// Rights that do not exist in the API server.
const VIRTUAL: [(&str, &str); 21] = [
    ("use", "sites"),
    ("bind", "sites"),
    ("use", "sites/alerts"),
    ("create", "sites/activationqrcode"),
    ("get", "sites/devices"),
    ("get", "sites/address"),
    ("get", "sites/objects"),
    ("get", "sites/configuration"),
    ("get", "sites/measurements"),
    ("get", "sites/invitation"),
    ("create", "sites/remediate"),
    ("create", "deviceinstances/activationqrcode"),
    ("get", "deviceinstances/configuration"),
    ("create", "deviceinstances/reboot"),
    ("create", "deviceinstances/remediate"),
    ("create", "deviceinstances/unlock"),
    ("create", "deviceinstances/deactivate"),
    ("get", "assets/measurements"),
    ("get", "enrolledusers/profile"),
    ("create", "enrolledusers/abandon"),
    ("get", "adminusers/invitation"),
];

/// What leads to more, by its group.
const BEYOND: [(&str, &str, &[&str]); 8] = [
    ("", "secrets", &["get", "list", "watch", "create", "update", "patch", "delete"]),
    ("", "serviceaccounts", &["get", "list", "create", "update", "patch", "delete", "impersonate"]),
    ("", "serviceaccounts/token", &["create"]),
    ("", "pods", &["get", "create"]),
    ("", "namespaces", &["update", "patch", "delete"]),
    ("rbac.authorization.k8s.io", "roles", &["get", "create", "update", "patch", "delete", "bind", "escalate"]),
    ("rbac.authorization.k8s.io", "rolebindings", &["get", "create", "update", "patch", "delete"]),
    ("rbac.authorization.k8s.io", "clusterroles", &["get", "create", "bind", "escalate"]),
];

/// The `ClusterRoles` of the chart that somebody could try to bind.
const BINDABLE: [&str; 6] = [
    "fleetform-full-access",
    "fleetform-technician",
    "fleetform-read-only",
    "fleetform-installer",
    "fleetform-site-admin",
    "fleetform-site-technician",
];

/// The columns: whether it is in the project of the role, and at which site, or of the whole project.
const SCOPES: [(&str, bool, &str); 4] = [
    ("own site", true, "central"),
    ("other site", true, "annex"),
    ("project", true, ""),
    ("other project", false, "central"),
];

/// What is done to devices by an edit of their instance or site.
const COMMANDS: [&str; 4] = ["reboot", "remediate", "unlock", "deactivate"];

/// Whether the policy `site-scope` asks for the right to the site, and which, for a write of this kind, or the edit that is a command.
fn narrowed(resource: &str, subresource: Option<&str>, verb: &str) -> Option<&'static str> {
    if let Some(subresource) = subresource {
        return COMMANDS.contains(&subresource).then_some("sites");
    }
    let is_write = matches!(verb, "create" | "update" | "patch" | "delete" | "deletecollection");
    match resource {
        "alerts" if matches!(verb, "update" | "patch") => Some("sites/alerts"),
        "sites" | "deviceinstances" | "assets" | "adminusers" | "alerts" if is_write => Some("sites"),
        _ => None,
    }
}

/// Somebody with a role, and where they have it.
struct Person {
    user: String,
    title: String,
}

/// The whole table.
pub(crate) async fn table(cluster: &Cluster) -> Result<String> {
    let project = cluster.namespace("matrix", json!({})).await?;
    let elsewhere = cluster.namespace("matrix-elsewhere", json!({})).await?;
    let mut said = String::from(
        "What each role may do: g get, l list, w watch, c create, u update, p patch, d delete, D deletecollection.\n\
         In (brackets) what RBAC allows and the policy site-scope refuses, as `use` of the site is missing.\n",
    );
    for site in [None, Some("central")] {
        for role in Role::ALL {
            let name = format!("{}-{}", role.as_str().to_lowercase(), site.unwrap_or("all"));
            let account = serde_json::from_value(json!({ "metadata": { "name": name } }))?;
            Api::<ServiceAccount>::namespaced(cluster.client.clone(), &project)
                .create(&PostParams::default(), &account)
                .await?;
            let user = appoint(cluster, &project, &name, role, site).await?;
            let place = site.map_or("in the project".to_owned(), |_| "at its own site".to_owned());
            let person = Person { user, title: format!("{} {place}", role.as_str()) };
            write!(said, "{}", rows(cluster, &person, [&project, &elsewhere]).await?)?;
        }
    }
    Ok(said)
}

async fn rows(cluster: &Cluster, person: &Person, namespaces: [&str; 2]) -> Result<String> {
    let mut rows: Vec<(String, Vec<(ResourceAttributes, String)>)> = Vec::new();
    let mut status = Vec::new();
    for kind in Kind::ALL {
        let plural = kind.resource().plural;
        let verbs = VERBS.iter().map(|(verb, letter)| (right(verb, &plural, "", ""), letter.to_string()));
        rows.push((plural.clone(), verbs.collect()));
        status.push((right("patch", &format!("{plural}/status"), "", ""), format!("{plural} ")));
    }
    rows.push(("patch the status of".to_owned(), status));
    for (verb, resource) in VIRTUAL {
        rows.push((format!("{verb} {resource}"), vec![(right(verb, resource, "", ""), "yes".to_owned())]));
    }
    for (group, resource, verbs) in BEYOND {
        let asked = |verb: &&str| ResourceAttributes { group: Some(group.to_owned()), ..right(verb, resource, "", "") };
        rows.push((resource.to_owned(), verbs.iter().map(|verb| (asked(verb), format!("{verb} "))).collect()));
    }
    let mut said = format!("\n{:<44}", person.title);
    SCOPES.iter().try_for_each(|(scope, ..)| write!(said, "{scope:<14}"))?;
    said.truncate(said.trim_end().len());
    said.push('\n');
    for (row, asked) in rows {
        let cells: Vec<String> = stream::iter(SCOPES.iter())
            .map(|(_, ours, site)| cell(cluster, person, &asked, namespaces[usize::from(!ours)], site))
            .buffered(SCOPES.len())
            .try_collect()
            .await?;
        // What nobody may anywhere is a line too: a right that appears is seen.
        let mut line = format!("  {row:<42}");
        cells.iter().try_for_each(|cell| write!(line, "{cell:<14}"))?;
        writeln!(said, "{}", line.trim_end())?;
    }
    let bound = stream::iter(BINDABLE)
        .map(async |name: &'static str| {
            let asked = ResourceAttributes {
                group: Some("rbac.authorization.k8s.io".to_owned()),
                ..right("bind", "clusterroles", namespaces[0], name)
            };
            anyhow::Ok(may(cluster, &person.user, asked).await?.then_some(name))
        })
        .buffered(BINDABLE.len())
        .try_filter_map(async |name| Ok(name))
        .try_collect::<Vec<_>>()
        .await?;
    writeln!(said, "  {:<42}{}", "bind ClusterRoles", if bound.is_empty() { "-".to_owned() } else { bound.join(" ") })?;
    Ok(said)
}

/// What somebody may of these, in one namespace, for one site.
async fn cell(
    cluster: &Cluster,
    person: &Person,
    asked: &[(ResourceAttributes, String)],
    namespace: &str,
    site: &str,
) -> Result<String> {
    let (mut may_do, mut refused) = (String::new(), String::new());
    for (attributes, letter) in asked {
        let mut attributes = attributes.clone();
        let (resource, verb) =
            (attributes.resource.clone().unwrap_or_default(), attributes.verb.clone().unwrap_or_default());
        attributes.namespace = Some(namespace.to_owned());
        // An object of another kind is named after its site here, and there are no rights by its name.
        attributes.name = Some(site.to_owned());
        let narrowed = narrowed(&resource, attributes.subresource.as_deref(), &verb);
        let is_new_site = attributes.subresource.is_none() && (resource.as_str(), verb.as_str()) == ("sites", "create");
        if !may(cluster, &person.user, attributes).await? {
            continue;
        }
        // A new site takes the right to all of them.
        let of = if is_new_site { "" } else { site };
        let allowed = match narrowed {
            None => true,
            Some(needed) => may(cluster, &person.user, right("use", needed, namespace, of)).await?,
        };
        if allowed { may_do.push_str(letter) } else { refused.push_str(letter) }
    }
    if !refused.is_empty() {
        write!(may_do, "({})", refused.trim_end())?;
    }
    Ok(if may_do.is_empty() { "-".to_owned() } else { may_do.trim_end().to_owned() })
}
