//! The audit trail: what the API server logs, and what the operator writes of its own.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use fleetform_crds::{DeviceInstance, Site};
use fleetform_domain::audit::{AUDIT_EVENTS_PATH, Record};
use fleetform_e2e::control_plane::Component;
use fleetform_e2e::installation::{ACCOUNT, AUDIENCE, NAMESPACE, OPERATOR, locate};
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::audit;
use super::devices::activated;
use super::project::{INSTALLER, LIMIT, Project, SITE, SITE_NAME, site};
use super::raw::{Answer, exchange, request};
use super::stage::Stage;

/// A text that stands in a record as a parameter of the request.
pub(crate) fn parameter<'a>(record: &'a Record, key: &str) -> Option<&'a str> {
    record.request_parameters.as_ref()?.get(key)?.as_str()
}

/// The operator's records about this project, in the order in which they were written.
pub(crate) fn of_project(project: &Project) -> Result<Vec<Record>> {
    let mut records = project.stage.installation.audit_records()?;
    records.retain(|record| parameter(record, "project") == Some(&project.namespace));
    Ok(records)
}

/// What the program makes of these lines, and what it says of them.
async fn translate(lines: String) -> Result<(Vec<Record>, bool, String)> {
    let mut program = Command::new(locate(OPERATOR)?)
        .args(["audit", &format!("--account={ACCOUNT}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut input = program.stdin.take().context("the program reads")?;
    let written = tokio::spawn(async move { input.write_all(lines.as_bytes()).await });
    let output = program.wait_with_output().await?;
    written.await??;
    let text = String::from_utf8(output.stdout)?;
    let records = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    Ok((records, output.status.success(), String::from_utf8(output.stderr)?))
}

/// Does what people do: makes a site, moves it, is refused, and deletes it.
async fn things_happen(project: &Project) -> Result<()> {
    project.create::<Site>(json!({ "metadata": { "name": "branch" }, "spec": site() })).await?;
    project.patch::<Site>("branch", json!({ "spec": { "address": { "city": "Tacoma" } } })).await?;
    project.patch::<Site>("branch", json!({ "spec": { "displayName": "Private words" } })).await?;
    let depot = json!({
        "apiVersion": "fleetform.dev/v1alpha1", "kind": "Site",
        "metadata": { "name": "depot", "namespace": project.namespace }, "spec": site(),
    });
    let apply = ["apply", "--server-side", "--filename=-"];
    project.stage.cluster().kubectl(&apply, Some(&depot.to_string())).await?;
    let secret = json!({ "metadata": { "name": "doors" }, "type": "fleetform.dev/wifi",
        "stringData": { "passphrase": "correct horse" } });
    project.create::<Secret>(secret).await?;
    let nosy = project.stage.plane.client_for_service_account(&project.namespace, INSTALLER).await?;
    let sites: Api<Site> = Api::namespaced(nosy, &project.namespace);
    ensure!(sites.get("branch").await.is_err(), "an installer reads sites");
    project.device("door").await?;
    let counted = |site: &Site| site.status.as_ref().is_some_and(|status| status.device_instance_count == 1);
    project.until_any(SITE, "counted", counted).await?;
    project.patch::<DeviceInstance>("door", json!({ "spec": { "activation": { "epoch": 1 } } })).await?;
    ensure!(project.api::<Site>().delete(SITE, &DeleteParams::default()).await.is_err(), "a site in use is deleted");
    project.api::<Site>().delete("branch", &DeleteParams::default()).await?;
    Ok(())
}

/// Whether all of it is told, in its order, and nothing that is confidential.
fn all_is_told(records: &[Record]) -> Result<()> {
    let told: Vec<_> = records
        .iter()
        .filter(|record| !record.read_only || record.error_code.is_some())
        .map(|record| {
            let what = ["site", "deviceInstance"].into_iter().rev().find_map(|key| parameter(record, key));
            (record.event_name.as_str(), what.unwrap_or_default(), record.error_code.as_deref().unwrap_or_default())
        })
        .collect();
    let mut rest = told.iter();
    for expected in [
        ("CreateSite", "branch", ""),
        ("UpdateSiteAddress", "branch", ""),
        ("UpdateSite", "branch", ""),
        ("CreateSite", "depot", ""),
        ("GetSite", "branch", "AccessDenied"),
        ("CreateDeviceInstance", "door", ""),
        ("CreateDeviceInstanceConfiguration", "door", ""),
        ("DeleteAssociatedDevice", "door", ""),
        ("DeleteSite", SITE, "ConflictException"),
        ("DeleteSite", "branch", ""),
    ] {
        ensure!(rest.any(|told| *told == expected), "{expected:?} is not told in its place: {told:#?}");
    }
    let denied = records.iter().find(|record| record.error_code.as_deref() == Some("AccessDenied"));
    let message = denied.and_then(|record| record.error_message.as_deref()).unwrap_or_default();
    ensure!(message.starts_with("User: arn:aws:sts::123456789012:assumed-role/kubernetes/system:serviceaccount:"));
    ensure!(message.contains(":installer is not authorized to perform: one:GetSite on resource: site "), "{message}");
    let moved = records.iter().find(|record| record.event_name == "UpdateSiteAddress").context("it is there")?;
    let parameters = json!(moved.request_parameters);
    ensure!(parameters["address"] == json!({ "city": "Tacoma" }), "{parameters}");
    let arn = parameters["siteArn"].as_str().unwrap_or_default();
    ensure!(arn.starts_with("arn:aws:one:us-east-1:123456789012:site/"), "{parameters}");
    let text = serde_json::to_string(records)?;
    for private in [SITE_NAME, "Private words", "1000 Fourth Avenue", "correct horse"] {
        ensure!(!text.contains(private), "the trail holds `{private}`");
    }
    Ok(())
}

pub(crate) async fn the_log_of_the_api_server_becomes_records(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "trail").await?;
    things_happen(&project).await?;
    // It may be some hundred milliseconds behind.
    audit::writes(&project).await?;
    let log = std::fs::read_to_string(stage.plane.audit_log())?;
    let lines: Vec<_> = log.lines().filter(|line| line.contains(&project.namespace)).collect();
    ensure!(!lines.iter().any(|line| line.contains("correct horse")), "the policy lets the log hold a passphrase");
    let (records, well, said) = translate(lines.join("\n")).await?;
    ensure!(well && said.is_empty(), "{said}");
    all_is_told(&records)?;
    let operators = records.iter().filter(|record| record.user_identity.principal_id.contains("fleetform-operator"));
    ensure!(operators.count() == 0, "what the operator does is no record");

    let (records, well, said) = translate("{}\n\n".to_owned()).await?;
    ensure!(!well && records.is_empty() && said.contains("line 1 is no audit event"), "{said}");
    Ok(())
}

pub(crate) async fn what_portal_and_gateway_do_is_recorded(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "recorded").await?;
    let elsewhere = Project::new(&stage, "recorded-elsewhere").await?;
    let installer = project.installer().await?;
    let door = project.ready_device("door").await?;
    elsewhere.ready_device("door").await?;
    activated(&project, &installer, "door").await?;
    ensure!(installer.activation_text(&project.name("door")).await.is_err(), "there is no code while it is active");
    ensure!(installer.activation_text(&elsewhere.name("door")).await.is_err(), "an installer gets codes elsewhere");
    let of = |records: &[Record], action: &str| -> Vec<Record> {
        records.iter().filter(|record| record.event_name == action).cloned().collect()
    };
    let records = of_project(&project)?;
    let arn = door.status.and_then(|status| status.arn).context("it has an ARN")?;
    let codes = of(&records, "CreateDeviceActivationQrCode");
    let outcomes: Vec<_> = codes.iter().map(|record| record.error_code.as_deref()).collect();
    ensure!(outcomes == [None, Some("ConflictException")], "{codes:#?}");
    ensure!(codes.iter().all(|record| parameter(record, "deviceInstanceArn") == Some(arn.as_str())), "{codes:#?}");
    ensure!(codes[0].user_identity.arn.ends_with(&format!("{}:{INSTALLER}", project.namespace)), "{codes:#?}");
    ensure!(codes[0].source_ip_address == Some([127, 0, 0, 1].into()) && !codes[0].read_only, "{codes:#?}");
    ensure!(!of(&records, "GetSiteAddress").is_empty(), "{records:#?}");
    let activations = of(&records, "ActivateDevice");
    ensure!(activations.len() == 1 && activations[0].error_code.is_none(), "{activations:#?}");
    let association = parameter(&activations[0], "associationId").context("it names the association")?;
    ensure!(activations[0].user_identity.arn.ends_with(&format!("fleetform-device/{association}")), "{activations:#?}");

    let denied = of(&of_project(&elsewhere)?, "CreateDeviceActivationQrCode");
    let message = denied.first().and_then(|record| record.error_message.as_deref()).unwrap_or_default();
    let says = "is not authorized to perform: one:CreateDeviceActivationQrCode on resource: arn:aws:one:";
    ensure!(denied.len() == 1 && message.contains(says), "{denied:#?}");
    Ok(())
}

/// Hands events in as somebody.
async fn hand_in(stage: &Stage, namespace: &str, account: &str, items: &Value) -> Result<Answer> {
    let token = stage.cluster().audience_token(namespace, account, AUDIENCE).await?;
    let list = json!({ "kind": "EventList", "apiVersion": "audit.k8s.io/v1", "metadata": {}, "items": items });
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    let bytes = request("POST", AUDIT_EVENTS_PATH, &headers, &list.to_string());
    exchange(&stage.installation.portal_url(), &stage.installation.authority().await?, &bytes).await
}

/// Makes an account that may hand audit events in.
async fn appoint_webhook(stage: &Stage, namespace: &str) -> Result<()> {
    let account: ServiceAccount = serde_json::from_value(json!({ "metadata": { "name": "api-server" } }))?;
    Api::namespaced(stage.client(), namespace).create(&PostParams::default(), &account).await?;
    let binding: ClusterRoleBinding = serde_json::from_value(json!({
        "metadata": { "name": format!("{namespace}-api-server") },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "fleetform-audit-webhook" },
        "subjects": [{ "kind": "ServiceAccount", "name": "api-server", "namespace": namespace }],
    }))?;
    Api::all(stage.client()).create(&PostParams::default(), &binding).await.map(drop).context("bind the role")
}

pub(crate) async fn only_who_may_hands_events_in(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "handed-in").await?;
    let event = |id: &str| {
        json!({
            "level": "Metadata", "auditID": id, "stage": "ResponseComplete", "verb": "delete",
            "user": { "username": "mary" }, "sourceIPs": ["192.0.2.7"], "responseStatus": { "code": 200 },
            "requestReceivedTimestamp": "2026-11-21T13:02:40.452701Z", "stageTimestamp": "2026-11-21T13:02:40.46Z",
            "objectRef": { "resource": "sites", "namespace": project.namespace, "name": id, "apiGroup": "fleetform.dev" },
        })
    };
    let refused = hand_in(&stage, &project.namespace, INSTALLER, &json!([event("forged")])).await?;
    ensure!(refused.status == 404, "{refused:?}");
    appoint_webhook(&stage, &project.namespace).await?;
    let batch = json!([event("one"), { "auditID": "no event" }, event("two")]);
    let hand_in_batch = async || hand_in(&stage, &project.namespace, "api-server", &batch).await;
    wait::until("the right to be in force", LIMIT, async || {
        let answer = hand_in_batch().await?;
        Ok(if answer.status == 200 { Look::Done(()) } else { Look::NotYet(format!("{answer:?}")) })
    })
    .await?;
    // The API server sends a batch again when it did not hear the answer.
    ensure!(hand_in_batch().await?.status == 200);
    let records = of_project(&project)?;
    let sites: Vec<_> = records
        .iter()
        .filter(|record| record.event_name == "DeleteSite")
        .map(|record| (parameter(record, "site").unwrap_or_default(), record.event_id))
        .collect();
    let ids = [sites[0].1, sites[1].1];
    ensure!(sites == [("one", ids[0]), ("two", ids[1]), ("one", ids[0]), ("two", ids[1])], "{records:#?}");
    let all = stage.installation.audit_records()?;
    let denial = all.iter().find(|record| record.event_name == "PutAuditEvents").context("the denial is recorded")?;
    ensure!(denial.error_code.as_deref() == Some("AccessDenied"), "{denial:#?}");
    Ok(())
}

/// How an API server finds the portal.
fn webhook(server: &str, authority: &Path, token: &Path) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "fleetform",
        "clusters": [{ "name": "fleetform", "cluster": { "server": server, "certificate-authority": authority } }],
        "users": [{ "name": "api-server", "user": { "tokenFile": token } }],
        "contexts": [{ "name": "fleetform", "context": { "cluster": "fleetform", "user": "api-server" } }],
    })
    .to_string()
}

/// On a control plane of its own, as its API server has to be told where the portal is.
pub(crate) async fn an_api_server_hands_its_events_in(shared: Arc<Stage>) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [config, authority, token] = ["webhook.kubeconfig", "ca.crt", "token"].map(|name| folder.path().join(name));
    // Where the portal is shows when it is there: until then nobody listens.
    std::fs::write(&authority, shared.plane.ca_pem())?;
    std::fs::write(&token, "nobody")?;
    std::fs::write(&config, webhook("https://127.0.0.1:1", &authority, &token))?;
    let flags = vec![
        format!("--audit-webhook-config-file={}", config.display()),
        "--audit-webhook-batch-max-wait=500ms".to_owned(),
        "--audit-webhook-initial-backoff=500ms".to_owned(),
        "--audit-webhook-truncate-enabled".to_owned(),
    ];
    let stage = Arc::new(Stage::with_api_server_flags(flags).await?);
    appoint_webhook(&stage, NAMESPACE).await?;
    std::fs::write(&authority, stage.installation.authority().await?)?;
    std::fs::write(&token, stage.cluster().audience_token(NAMESPACE, "api-server", AUDIENCE).await?)?;
    let portal = format!("{}{AUDIT_EVENTS_PATH}", stage.installation.portal_url());
    std::fs::write(&config, webhook(&portal, &authority, &token))?;
    stage.plane.restart(Component::ApiServer).await?;

    let project = Project::new(&stage, "webhook").await?;
    things_happen(&project).await?;
    let last = |record: &Record| record.event_name == "DeleteSite" && parameter(record, "site") == Some("branch");
    wait::until("the API server to hand in what happened", LIMIT, async || {
        let records = of_project(&project)?;
        Ok(if records.iter().any(last) { Look::Done(()) } else { Look::NotYet(format!("{records:#?}")) })
    })
    .await?;
    let mut records = of_project(&project)?;
    // Batches may overtake each other.
    records.sort_by_key(|record| record.event_time.clone());
    let names = |records: &[Record]| records.iter().map(|record| record.event_name.clone()).collect::<Vec<_>>();
    for action in ["CreateSite", "UpdateSiteAddress", "DeleteAssociatedDevice", "CreateProject"] {
        ensure!(names(&records).contains(&action.to_owned()), "{action} is not there: {:?}", names(&records));
    }
    let text = serde_json::to_string(&records)?;
    ensure!(!text.contains("1000 Fourth Avenue") && !text.contains("Private words"), "the trail holds an address");
    Ok(())
}
