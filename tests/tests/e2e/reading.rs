//! What each role reads, in the project and at one site, tried with its own token: what it may is there, and what it must not is refused, by
//! the portal and by the API server.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use fleetform_crds::{AdminUser, Asset, DeviceInstance, Site};
use fleetform_domain::admin::Role;
use fleetform_e2e::wait::{self, Look};
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Client, ResourceExt as _};
use serde_json::{Value, json};

use super::admins::{as_person, person, until_has};
use super::people::{BADGE, House};
use super::project::{LIMIT, Project, SITE, TEMPLATE, reader};
use super::scope::{ask_portal, person_at};
use super::stage::Stage;

/// The other site, whose address is kept apart.
const ANNEX: &str = "annex";

/// What stands in objects of the other site and of Secrets, and in no refusal.
const KEPT: [&str; 5] = ["Vault door", "Pine Street", "98121", "correct horse battery", BADGE];

/// Who tries, and the letters that stand for them: capital for a role in the project, small for one at the site.
const PEOPLE: [(char, &str, Role, Option<&str>); 8] = [
    ('A', "project-admin", Role::Admin, None),
    ('T', "project-technician", Role::Technician, None),
    ('V', "project-viewer", Role::Viewer, None),
    ('I', "project-installer", Role::Installer, None),
    ('a', "site-admin", Role::Admin, Some(SITE)),
    ('t', "site-technician", Role::Technician, Some(SITE)),
    ('v', "site-viewer", Role::Viewer, Some(SITE)),
    ('i', "site-installer", Role::Installer, Some(SITE)),
];

/// Where something is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Portal,
    ApiServer,
}

/// Something to read: who may, and how.
struct Question {
    what: &'static str,
    may: &'static str,
    at: At,
    method: &'static str,
    path: String,
    body: Option<(&'static str, Value)>,
}

fn portal(what: &'static str, may: &'static str, method: &'static str, path: String) -> Question {
    Question { what, may, at: At::Portal, method, path, body: None }
}

fn stored(what: &'static str, may: &'static str, path: String) -> Question {
    Question { what, may, at: At::ApiServer, method: "GET", path, body: None }
}

/// A write that changes nothing and is not done: what it would make is its answer.
fn write(
    what: &'static str,
    may: &'static str,
    method: &'static str,
    path: &str,
    body: Option<(&'static str, Value)>,
) -> Question {
    Question { what, may, at: At::ApiServer, method, path: format!("{path}?dryRun=All"), body }
}

/// The table: what there is to read, and who may.
async fn table(project: &Project, enrolled: &str) -> Result<Vec<Question>> {
    let ns = &project.namespace;
    let (v1, api) = (format!("/v1/projects/{ns}"), format!("/apis/fleetform.dev/v1alpha1/namespaces/{ns}"));
    let core = format!("/api/v1/namespaces/{ns}");
    let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}");
    let whole = async |name: &str| anyhow::Ok(serde_json::to_value(project.api::<DeviceInstance>().get(name).await?)?);
    let (front, vault) = (format!("{api}/deviceinstances/front"), format!("{api}/deviceinstances/vault"));
    let put = async |name| anyhow::Ok(Some(("application/json", whole(name).await?)));
    let nothing = || Some(("application/merge-patch+json", json!({})));
    let copy = json!([{ "op": "copy", "from": "/spec/displayName", "path": "/spec/deviceType" }]);
    let token = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
    Ok(vec![
        portal("the code of a device", "ATIati", "POST", format!("{v1}/device-instances/front/activation-qr-code")),
        portal("the code of one elsewhere", "ATI", "POST", format!("{v1}/device-instances/vault/activation-qr-code")),
        portal("what there is to activate", "ATIati", "GET", format!("{v1}/sites/{SITE}/activation-qr-codes")),
        portal("what there is to activate elsewhere", "ATI", "GET", format!("{v1}/sites/{ANNEX}/activation-qr-codes")),
        portal("the devices of the site", "ATVIatvi", "GET", format!("{v1}/device-instances?site={SITE}")),
        portal("the devices of another site", "ATVI", "GET", format!("{v1}/device-instances?site={ANNEX}")),
        portal("the devices of the project", "ATVI", "GET", format!("{v1}/device-instances")),
        portal("the address", "ATVIatvi", "GET", format!("{v1}/sites/{SITE}/address")),
        portal("an address that is kept apart", "ATVI", "GET", format!("{v1}/sites/{ANNEX}/address")),
        portal("a configuration", "ATVatv", "GET", format!("{v1}/device-instances/front/configuration/1")),
        portal("a configuration of elsewhere", "ATV", "GET", format!("{v1}/device-instances/vault/configuration/1")),
        portal("measurements", "ATVatv", "GET", format!("{v1}/assets/pump/measurements?position=p0")),
        portal("measurements of elsewhere", "ATV", "GET", format!("{v1}/assets/fan/measurements?position=p0")),
        portal("the objects of the site", "ATVatv", "GET", format!("{v1}/sites/{SITE}/objects")),
        portal("the objects of another site", "ATV", "GET", format!("{v1}/sites/{ANNEX}/objects")),
        portal("a badge number", "A", "GET", format!("{v1}/enrolled-users/{enrolled}/profile")),
        portal("the devices of all projects", "", "GET", "/v1/device-instances".to_owned()),
        stored("the device instances", "ATV", format!("{api}/deviceinstances")),
        stored("a device instance", "ATV", front.clone()),
        stored("one of elsewhere", "ATV", vault.clone()),
        stored("the site", "ATV", format!("{api}/sites/{SITE}")),
        stored("another site", "ATV", format!("{api}/sites/{ANNEX}")),
        stored("a template", "ATV", format!("{api}/configtemplates/{TEMPLATE}")),
        stored("the enrolled users", "ATV", format!("{api}/enrolledusers")),
        stored("who has which role", "ATV", format!("{api}/adminusers")),
        stored("a Secret with Wi-Fi credentials", "", format!("{core}/secrets/wifi")),
        stored("a Secret with an address", "", format!("{core}/secrets/address")),
        stored("a Secret with a code", "", format!("{core}/secrets/front-activation-qr")),
        stored("a Secret with a revision", "", format!("{core}/secrets/{}", revision(project).await?)),
        stored("all Secrets", "", format!("{core}/secrets")),
        stored("who there is", "", format!("{core}/serviceaccounts")),
        stored("the Roles", "", format!("{rbac}/roles")),
        stored("the RoleBindings", "", format!("{rbac}/rolebindings")),
        write("a device, by writing it", "Aa", "PUT", &front, put("front").await?),
        write("one of elsewhere, by writing it", "A", "PUT", &vault, put("vault").await?),
        write("a device, by a patch", "A", "PATCH", &front, nothing()),
        write("one of elsewhere, by a patch", "A", "PATCH", &vault, nothing()),
        write("a device, by deleting it", "Aa", "DELETE", &front, None),
        write("one of elsewhere, by deleting it", "A", "DELETE", &vault, None),
        write(
            "one of elsewhere, by what is wrong with a patch",
            "",
            "PATCH",
            &vault,
            Some(("application/json-patch+json", copy)),
        ),
        write(
            "a token of the Admin",
            "",
            "POST",
            &format!("{core}/serviceaccounts/project-admin/token"),
            Some(("application/json", token)),
        ),
    ])
}

async fn revision(project: &Project) -> Result<String> {
    let selected = ListParams::default().fields("type=fleetform.dev/configuration-revision");
    let stored = project.api::<Secret>().list_metadata(&selected).await?;
    Ok(stored.items.first().context("a revision is stored")?.name_any())
}

/// Somebody who tries: the portal and the API server, each as they see it.
struct Reader {
    name: &'static str,
    client: Client,
}

impl Reader {
    /// Status and body of the answer.
    async fn ask(&self, project: &Project, question: &Question) -> Result<(u16, String)> {
        if question.at == At::Portal {
            let answer = ask_portal(project, self.name, question.method, &question.path).await?;
            return Ok((answer.status, answer.body));
        }
        let mut request = http::Request::builder().method(question.method).uri(&question.path);
        if let Some((media_type, _)) = &question.body {
            request = request.header("Content-Type", *media_type);
        }
        let body = question.body.as_ref().map(|(_, body)| body.to_string()).unwrap_or_default();
        match self.client.request_text(request.body(body.into_bytes())?).await {
            Ok(text) => Ok((200, text)),
            Err(kube::Error::Api(status)) => Ok((status.code, status.message)),
            Err(error) => bail!("{}: {error}", question.what),
        }
    }
}

/// Two sites with a device and a machine each, one with an address in a Secret, and somebody who is enrolled.
async fn set(house: &Project) -> Result<()> {
    let address = json!({
        "addressLine1": "1 Pine Street", "city": "Seattle", "stateOrRegion": "WA", "postalCode": "98121", "countryCode": "US",
    });
    let secret = json!({ "metadata": { "name": "address" }, "type": "fleetform.dev/address", "stringData": address });
    house.create::<Secret>(secret).await?;
    let wifi = json!({ "ssid": "library", "passphrase": "correct horse battery" });
    let wifi = json!({ "metadata": { "name": "wifi" }, "type": "fleetform.dev/wifi", "stringData": wifi });
    house.create::<Secret>(wifi).await?;
    let annex = json!({ "displayName": "Annex", "addressFrom": { "name": "address" } });
    house.create::<Site>(json!({ "metadata": { "name": ANNEX }, "spec": annex })).await?;
    for (name, display_name, site, machine) in
        [("front", "Front door", SITE, "pump"), ("vault", "Vault door", ANNEX, "fan")]
    {
        let mut door = reader(display_name);
        door["siteRef"]["name"] = site.into();
        door["configuration"]["wifi"] = json!({ "credentialsSecretRef": { "name": "wifi" } });
        house.create::<DeviceInstance>(json!({ "metadata": { "name": name }, "spec": door })).await?;
        let asset = json!({
            "siteRef": { "name": site }, "displayName": machine, "machineClass": "ClassII", "positions": [{ "name": "p0" }],
        });
        house.create::<Asset>(json!({ "metadata": { "name": machine }, "spec": asset })).await?;
    }
    for name in ["front", "vault"] {
        house.until_ready_for_activation(name).await?;
    }
    for (_, name, role, site) in PEOPLE {
        let user = site.map_or_else(|| person(name, role), |site| person_at(name, role, site));
        house.create::<AdminUser>(user).await?;
    }
    for (_, name, role, _) in PEOPLE {
        until_has(house, name, role).await?;
    }
    Ok(())
}

pub(crate) async fn each_role_reads_what_it_may_and_nothing_else(stage: Arc<Stage>) -> Result<()> {
    let mut house = House::open(&stage, "reading", &[]).await?;
    let enrolled = house.enroll(BADGE, 1).await?;
    let project = &house.project;
    set(project).await?;
    let mut readers = BTreeMap::new();
    for (letter, name, ..) in PEOPLE {
        readers.insert(letter, Reader { name, client: as_person(project, name).await? });
    }
    // First what they may: then all rights are in force, and a refusal is none by accident.
    for question in table(project, &enrolled).await? {
        for letter in question.may.chars() {
            let reader = &readers[&letter];
            wait::until(&format!("{} to be read by {}", question.what, reader.name), LIMIT, async || {
                // What it writes is as it is now, as the operator writes too.
                let table = table(project, &enrolled).await?;
                let question = table.iter().find(|one| one.what == question.what).context("the table stays")?;
                let (status, body) = reader.ask(project, question).await?;
                Ok(if (200..300).contains(&status) {
                    Look::Done(())
                } else {
                    Look::NotYet(format!("{status}: {body}"))
                })
            })
            .await?;
        }
    }
    let mut wrong = Vec::new();
    for question in table(project, &enrolled).await? {
        let expected = if question.at == At::Portal { 404 } else { 403 };
        for (letter, reader) in readers.iter().filter(|(letter, _)| !question.may.contains(**letter)) {
            // An Admin of the project may patch, and hears what is wrong.
            let is_admins_patch = *letter == 'A' && question.method == "PATCH";
            let (status, body) = reader.ask(project, &question).await?;
            let tells = KEPT.iter().find(|kept| body.contains(**kept)).filter(|_| !is_admins_patch);
            if (status != expected && !is_admins_patch) || tells.is_some() {
                wrong.push(format!("{} by {}: {status} {body}", question.what, reader.name));
            }
        }
    }
    ensure!(wrong.is_empty(), "{wrong:#?}");
    // The objects of a site are of that site alone.
    let path = format!("/v1/projects/{}/sites/{SITE}/objects", project.namespace);
    let shown = ask_portal(project, "site-viewer", "GET", &path).await?.body;
    ensure!(shown.contains("Front door") && !KEPT.iter().any(|kept| shown.contains(kept)), "{shown}");
    Ok(())
}
