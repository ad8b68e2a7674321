//! The chart: what it renders, what its values may be, and what its roles may do. Pure but for running helm; the rendered
//! objects meet a real API server in `admit_rules`.

mod render;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;
use fleetform_domain::admin::Role;
use fleetform_domain::audit::CONFLICTS;
use fleetform_operator::events::config::{self, Target};
use fleetform_operator::settings::LineSink;
use fleetform_operator::telemetry::Metrics;
use render::{chart, helm, objects, template, text};
use serde_json::{Value, json};

/// Kinds that grant rights or refuse things: reviewed as a whole whenever they change.
const REVIEWED: [&str; 7] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "ServiceAccount",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
];

const SIMULATOR: &str = "simulator.enabled=true";
const WATCH: &str = "watchNamespaces={library,museum}";

#[test]
fn lint_finds_nothing() -> Result<()> {
    let output = helm(["lint".into(), "--strict".into(), chart().into_os_string()])?;
    let said = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && said.contains("0 chart(s) failed"), "{said}");
    Ok(())
}

#[test]
fn the_rights_and_policies_are_as_reviewed() -> Result<()> {
    insta::assert_snapshot!("reviewed", documents(&template(&[])?, |kind| REVIEWED.contains(&kind)));
    Ok(())
}

#[test]
fn what_the_audit_trail_tells_apart_is_what_rules_and_policies_say() -> Result<()> {
    let said = template(&[])?.split_whitespace().collect::<Vec<_>>().join(" ");
    for conflict in CONFLICTS {
        ensure!(said.contains(conflict.refusal), "nothing refuses with `{}`", conflict.refusal);
    }
    Ok(())
}

#[test]
fn the_workloads_are_as_reviewed() -> Result<()> {
    let workload = |kind: &str| ["Deployment", "Service", "PodDisruptionBudget"].contains(&kind);
    insta::assert_snapshot!("workloads", documents(&template(&[])?, workload));
    Ok(())
}

#[test]
fn the_programs_understand_what_they_are_started_with() -> Result<()> {
    let mounted = "portal.tls.secretName=portal-tls,operator.events.existingClaim=events,operator.audit.existingClaim=audit,policies.otherOperators={system:serviceaccount:b:b-operator},portal.names={fleet.example.org}";
    for values in [&[SIMULATOR][..], &[SIMULATOR, WATCH, mounted, "gateway.url=https://fleet.example.org:8443"]] {
        for deployment in objects(&template(values)?)?.iter().filter(|object| text(object, "/kind") == "Deployment") {
            let container = "/spec/template/spec/containers/0";
            let words =
                |member: &str| deployment.pointer(&format!("{container}/{member}")).cloned().unwrap_or_default();
            let mut line: Vec<String> = serde_json::from_value(words("command"))?;
            line.extend(serde_json::from_value::<Vec<String>>(words("args"))?);
            match line[0].as_str() {
                "fleetform" => drop(fleetform_operator::cli::Cli::try_parse_from(&line)?),
                "fleetform-simulator" => drop(fleetform_simulator::cli::Cli::try_parse_from(&line)?),
                other => anyhow::bail!("{other} is no program of ours"),
            }
        }
    }
    Ok(())
}

#[test]
fn the_simulator_adds_its_own_objects_and_changes_no_others() -> Result<()> {
    let difference = difference(&template(&[])?, &template(&[SIMULATOR])?);
    ensure!(!difference.contains("=== gone ==="), "{difference}");
    insta::assert_snapshot!("simulator", difference);
    Ok(())
}

#[test]
fn watched_namespaces_get_roles_of_their_own_instead_of_a_cluster_wide_one() -> Result<()> {
    let (everywhere, there) = (template(&[SIMULATOR])?, template(&[SIMULATOR, WATCH])?);
    let rights = |rendered: &str| documents(rendered, |kind| REVIEWED.contains(&kind));
    insta::assert_snapshot!("watch_namespaces", difference(&rights(&everywhere), &rights(&there)));
    ensure!(there.contains("- --watch-namespace=library\n"), "the operator is not told to look there alone");
    Ok(())
}

#[test]
fn event_sinks_are_listed_as_the_operator_reads_them() -> Result<()> {
    let listed = |values: &[&str]| -> Result<Option<config::Sinks>> {
        let rendered = template(values)?;
        let objects = objects(&rendered)?;
        let map = objects.iter().find(|object| text(object, "/metadata/name") == "fleetform-event-sinks");
        let is_named = rendered.contains("--event-sinks=/etc/fleetform/events/sinks.yaml");
        ensure!(map.is_some() == is_named, "the list is there, or the operator is told of it, and not both");
        map.map(|map| Ok(config::read(text(map, "/data/sinks.yaml"))?)).transpose()
    };
    ensure!(listed(&[])?.is_none(), "standard output takes no list");
    let on_claim = listed(&["operator.events.existingClaim=events"])?.context("a list")?;
    let path = LineSink::File("/var/lib/fleetform/events/events.jsonl".into());
    ensure!(matches!(&on_claim.sinks[0].target, Target::JsonLines { to, .. } if *to == path), "{on_claim:?}");
    let several = [
        "operator.events.sinks[0].name=bus",
        "operator.events.sinks[0].eventBridge.bus=fleet",
        "operator.events.sinks[1].name=hook",
        "operator.events.sinks[1].required=false",
        "operator.events.sinks[1].cloudEvents.url=https://events.example.com/",
        "operator.events.deadLetters=/var/lib/fleetform/events/dead-letters.jsonl",
    ];
    let several = listed(&several)?.context("a list")?;
    let mounted = template(&["operator.events.existingSecret=hook"])?;
    ensure!(
        mounted.contains("secretName: \"hook\"") && mounted.contains("mountPath: /etc/fleetform/event-secrets"),
        "{mounted}"
    );
    let told: Vec<_> = several.sinks.iter().map(|sink| (sink.name.as_str(), sink.required)).collect();
    ensure!(told == [("bus", true), ("hook", false)] && several.dead_letters.is_some(), "{several:?}");
    Ok(())
}

#[test]
fn alerts_are_about_metrics_that_there_are() -> Result<()> {
    let is_rule = |object: &&Value| text(object, "/kind") == "PrometheusRule";
    ensure!(!objects(&template(&[])?)?.iter().any(|object| is_rule(&object)), "not every cluster knows the kind");
    let objects =
        objects(&template(&["operator.prometheusRule.enabled=true", "operator.prometheusRule.labels.release=a"])?)?;
    let rule = objects.iter().find(is_rule).context("a rule")?;
    ensure!(
        text(rule, "/metadata/labels/release") == "a"
            && rule["metadata"]["labels"].as_object().is_some_and(|l| l.len() > 1)
    );
    let metrics = Metrics::new();
    metrics.has_sink("file");
    let known = metrics.encode();
    let rules = rule.pointer("/spec/groups/0/rules").and_then(Value::as_array).context("rules")?;
    ensure!(rules.len() == 4, "{rules:?}");
    for rule in rules {
        let words = text(rule, "/expr").split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let names: Vec<&str> = words.filter(|word| word.starts_with("fleetform_")).collect();
        ensure!(!names.is_empty(), "{rule} is about nothing");
        for name in names {
            let name = name.strip_suffix("_total").unwrap_or(name);
            ensure!(known.contains(&format!("# HELP {name} ")), "there is no metric {name}");
        }
        ensure!(!text(rule, "/annotations/summary").is_empty() && !text(rule, "/labels/severity").is_empty(), "{rule}");
    }
    Ok(())
}

#[test]
fn a_raised_generation_of_the_authority_brings_the_right_to_its_secret() -> Result<()> {
    let rendered = template(&["authority.generation=3", "authority.overlapHours=2"])?;
    let names = "[fleetform-authority, fleetform-authority-2, fleetform-authority-3, fleetform-activation-key]";
    for text in [names, "--authority-generation=3\n", "--authority-overlap-seconds=7200\n"] {
        ensure!(rendered.contains(text), "{text} is missing");
    }
    Ok(())
}

#[test]
fn what_a_cluster_has_once_can_be_left_to_another_installation() -> Result<()> {
    let values = ["crds.install=false", "policies.install=false", "roles.install=false"];
    let kinds: Vec<String> = names(&objects(&template(&values)?)?);
    let shared: Vec<_> = kinds
        .iter()
        .filter(|name| {
            name.starts_with("CustomResourceDefinition/")
                || name.starts_with("ValidatingAdmission")
                || name.starts_with("ClusterRole/") && !name.ends_with("-operator")
        })
        .collect();
    ensure!(shared.is_empty(), "rendered although another installation has them: {shared:?}");
    // Roles go by the names of the installation that has them.
    let rendered = template(&[&values[..], &["fullnameOverride=south", "roles.prefix=north"]].concat())?;
    for text in [
        "--role-prefix=north\n",
        "[north-full-access, north-technician, north-read-only, north-installer, north-site-admin, north-site-technician]",
        "[north-admin-users, north-site-scope]",
    ] {
        ensure!(rendered.contains(text), "{text} is missing");
    }
    let said = template(&["roles.prefix=north"]).expect_err("roles of another installation beside its own").to_string();
    ensure!(said.contains("set roles.install to false"), "{said}");
    Ok(())
}

#[test]
fn another_release_name_gives_other_names_and_another_operator() -> Result<()> {
    let rendered =
        template(&["fullnameOverride=north", "policies.otherOperators={system:serviceaccount:south:south-operator}"])?;
    let strange: Vec<String> = names(&objects(&rendered)?)
        .into_iter()
        .filter(|name| !name.contains("/north-") && !name.ends_with(".fleetform.dev"))
        .collect();
    ensure!(strange.is_empty(), "named after the chart, not after the release: {strange:?}");
    let operators =
        "['system:serviceaccount:fleetform-system:north-operator','system:serviceaccount:south:south-operator']";
    ensure!(rendered.contains(operators), "the policy on Secrets does not name both operators");
    Ok(())
}

#[test]
fn definitions_stay_when_the_release_goes_and_are_those_that_are_checked_in() -> Result<()> {
    let rendered = objects(&template(&[])?)?;
    let definitions: Vec<&Value> =
        rendered.iter().filter(|object| text(object, "/kind") == "CustomResourceDefinition").collect();
    ensure!(definitions.len() == fleetform_crds::definition::all().len(), "{} definitions", definitions.len());
    for definition in definitions {
        let kept = text(definition, "/metadata/annotations/helm.sh~1resource-policy") == "keep";
        ensure!(kept, "{} would go with the release", text(definition, "/metadata/name"));
        let file = format!("crds/generated/{}.yaml", text(definition, "/spec/names/plural"));
        let stored = objects(&std::fs::read_to_string(render::repository().join(&file))?)?;
        ensure!(stored.len() == 1 && stored[0]["spec"] == definition["spec"], "the chart's copy differs from {file}");
    }
    Ok(())
}

#[test]
fn no_role_has_a_wildcard_or_leads_to_more_rights() -> Result<()> {
    for values in [&[SIMULATOR][..], &[SIMULATOR, WATCH]] {
        for role in objects(&template(values)?)?.iter().filter(|object| text(object, "/kind").ends_with("Role")) {
            let name = text(role, "/metadata/name");
            ensure!(role.get("aggregationRule").is_none(), "{name} gathers other roles");
            let labels = role["metadata"]["labels"].to_string();
            ensure!(!labels.contains("rbac.authorization.k8s.io/aggregate-to"), "{name} is gathered by another role");
            for rule in role["rules"].as_array().into_iter().flatten() {
                let all = rule.to_string();
                ensure!(!all.contains('*'), "{name} has a wildcard: {all}");
                if gives_roles(name, rule) {
                    continue;
                }
                let leads = ["escalate", "bind", "impersonate", "serviceaccounts/token", "rbac.authorization.k8s.io"]
                    .iter()
                    .any(|word| all.contains(&format!("{word:?}")));
                ensure!(!leads, "{name} leads to more rights: {all}");
                let of_people = text(role, "/metadata/labels/app.kubernetes.io~1component") == "people";
                ensure!(
                    !of_people || !all.contains("/status\""),
                    "{name} lets people write what the operator sees: {all}"
                );
            }
        }
    }
    Ok(())
}

/// What it takes to give people roles: who has everything may bind the four roles, and all sites; and so may the operator, which writes the
/// Roles and bindings. It binds no others: that takes `bind` or `escalate`, and a policy asks again.
fn gives_roles(name: &str, rule: &Value) -> bool {
    let group = "rbac.authorization.k8s.io";
    let named = |suffix: &str| format!("fleetform-{suffix}");
    let whole: Vec<String> = Role::ALL.iter().map(|role| named(role.cluster_role())).collect();
    let at_sites = Role::ALL.iter().filter_map(|role| role.site_cluster_role()).map(named);
    let all: Vec<String> = whole.iter().cloned().chain(at_sites).collect();
    let bind = |names: &[String]| json!({ "apiGroups": [group], "resources": ["clusterroles"], "resourceNames": names, "verbs": ["bind"] });
    let write =
        |resource: &str, verbs: &[&str]| json!({ "apiGroups": [group], "resources": [resource], "verbs": verbs });
    let sites = |verbs: &[&str]| json!({ "apiGroups": ["fleetform.dev"], "resources": ["sites"], "verbs": verbs });
    let may = match name {
        "fleetform-operator" => vec![
            bind(&all),
            write("rolebindings", &["get", "list", "watch", "create", "patch", "delete"]),
            write("roles", &["get", "list", "watch", "create", "delete"]),
            sites(&["bind"]),
        ],
        "fleetform-full-access" => vec![bind(&whole), sites(&["use", "bind"])],
        _ => Vec::new(),
    };
    may.contains(rule)
}

/// The operator has what it gives, as the API server asks, and the policy lets it give that and no more.
#[test]
fn the_operator_gives_exactly_the_rights_that_roles_at_sites_are() -> Result<()> {
    let mut wanted: Vec<String> =
        Role::Admin.site_rights().iter().map(|right| format!("{}:{}", right.resource, right.verb)).collect();
    wanted.sort_unstable();
    let rendered = template(&[])?;
    let (_, list) = rendered.split_once("(resource + ':' + verb) in [").context("the policy lists rights")?;
    let (list, _) = list.split_once(']').context("the list ends")?;
    let mut listed: Vec<String> = list.split(',').map(|right| right.trim_matches('\'').to_owned()).collect();
    listed.sort_unstable();
    ensure!(listed == wanted, "the policy: {listed:?}");
    let of_sites = |rule: &Value| rule["resources"].as_array().is_some_and(|all| all.len() == 1);
    let objects = objects(&rendered)?;
    let operator = objects.iter().find(|object| {
        text(object, "/kind") == "ClusterRole" && text(object, "/metadata/name") == "fleetform-operator"
    });
    let rules = operator.and_then(|role| role["rules"].as_array()).context("the operator has a role")?;
    let mut has: Vec<String> = rules
        .iter()
        .filter(|rule| of_sites(rule) && rule["verbs"].as_array().is_some_and(|verbs| verbs.len() == 1))
        .map(|rule| format!("{}:{}", text(rule, "/resources/0"), text(rule, "/verbs/0")))
        .filter(|right| right.starts_with("sites"))
        .collect();
    has.sort_unstable();
    ensure!(has == wanted, "the operator: {has:?}");
    Ok(())
}

#[test]
fn values_are_refused_with_their_path_and_what_they_may_be() -> Result<()> {
    // Helm's words differ between its versions; the path and the limit do not.
    for (value, path, limit) in [
        ("account=012345", "account", "^[0-9]{12}$"),
        ("account=123456789012", "account", "string"),
        ("partition=azure", "partition", "aws-us-gov"),
        ("gateway.url=http://gateway.example.org:8443", "url", "https://"),
        ("gateway.url=https://gateway.example.org:8443/devices", "url", "https://"),
        ("authority.generation=0", "generation", "1"),
        ("authority.overlapHours=-1", "overlapHours", "0"),
        ("operator.checkInSeconds=0", "checkInSeconds", "1"),
        ("operator.codeValidityHours=1000", "codeValidityHours", "720"),
        ("watchNamespaces={Library}", "watchNamespaces", "[a-z0-9]"),
        ("simulator.enabeld=true", "simulator", "enabeld"),
    ] {
        let said = template(&[value]).expect_err(value).to_string();
        let line = said.lines().find(|line| line.starts_with("- ") && line.contains(path) && line.contains(limit));
        ensure!(line.is_some(), "--set {value} is refused without {path} and {limit}:\n{said}");
    }
    let text = ["--set-string", "account=123456789012"].map(Into::into);
    let accepted = helm([["template".into(), chart().into_os_string()], text].concat())?;
    ensure!(accepted.status.success(), "12 digits as text: {}", String::from_utf8_lossy(&accepted.stderr));
    Ok(())
}

#[test]
fn the_documentation_has_every_value() -> Result<()> {
    let page = std::fs::read_to_string(render::repository().join("docs/install.md"))?;
    let values = objects(&std::fs::read_to_string(chart().join("values.yaml"))?)?;
    let mut names = Vec::new();
    collect_names(&values[0], "", &mut names);
    let missing: Vec<_> = names.iter().filter(|name| !page.contains(&format!("`{name}`"))).collect();
    ensure!(!names.is_empty() && missing.is_empty(), "docs/install.md lacks: {missing:#?}");
    Ok(())
}

/// The values that a person sets, by their paths. What a pod takes as it is has no paths of ours inside.
fn collect_names(value: &Value, path: &str, names: &mut Vec<String>) {
    match value.as_object().filter(|members| !members.is_empty() && !path.ends_with("resources")) {
        None => names.push(path.to_owned()),
        Some(members) => {
            for (name, value) in members {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect_names(value, &path, names);
            }
        }
    }
}

/// The rendered documents of the kinds that `keep` keeps, in helm's order.
fn documents(rendered: &str, keep: impl Fn(&str) -> bool) -> String {
    let kind = |document: &str| {
        document.lines().find_map(|line| line.strip_prefix("kind: ").map(str::to_owned)).unwrap_or_default()
    };
    let kept: Vec<String> = split(rendered).into_iter().filter(|document| keep(&kind(document))).collect();
    kept.join("\n---\n")
}

/// What stands in `after` and not in `before`, and the other way round.
fn difference(before: &str, after: &str) -> String {
    let (before, after) = (split(before), split(after));
    let mut said = String::new();
    for (title, of, without) in [("gone", &before, &after), ("new", &after, &before)] {
        for document in of.iter().filter(|document| !without.contains(document)) {
            said.extend(["=== ", title, " ===\n", document, "\n\n"]);
        }
    }
    said
}

/// The documents, without the two labels that every release of the chart changes.
fn split(rendered: &str) -> Vec<String> {
    let released = |line: &str| {
        ["helm.sh/chart:", "app.kubernetes.io/version:"].iter().any(|label| line.trim().starts_with(label))
    };
    let document =
        |text: &str| text.lines().filter(|line| !released(line)).collect::<Vec<_>>().join("\n").trim().to_owned();
    rendered.split("---\n").map(document).filter(|document| !document.is_empty()).collect()
}

fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().map(|object| format!("{}/{}", text(object, "/kind"), text(object, "/metadata/name"))).collect()
}
