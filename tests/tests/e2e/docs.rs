//! The commands that the documentation shows, as a reader types them.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_e2e::{installation, tools};
use fleetform_operator::events::config;
use fleetform_simulator::device::Device;
use fleetform_simulator::scenario::Scenario;

use super::audit;
use super::devices::activated;
use super::project::{Project, SITE, reader};
use super::releases::Releases;
use super::stage::Stage;

/// The page's blocks of this language, in order.
pub(crate) fn blocks<'a>(page: &'a str, language: &'static str) -> impl Iterator<Item = &'a str> {
    let fenced = page.split("```").skip(1).step_by(2);
    fenced.filter_map(move |block| block.strip_prefix(language)?.strip_prefix('\n'))
}

/// The commands of the page's console blocks, in order. One that reads a document (`<<'YAML'`) has it with it.
pub(crate) fn commands(page: &str) -> Vec<String> {
    let mut lines = blocks(page, "console").flat_map(str::lines);
    let mut commands = Vec::new();
    while let Some(line) = lines.next() {
        let Some(command) = line.strip_prefix("$ ") else { continue };
        let mut command = command.to_owned();
        if command.ends_with("<<'YAML'") {
            for line in lines.by_ref() {
                command.push('\n');
                command.push_str(line);
                if line == "YAML" {
                    break;
                }
            }
        }
        commands.push(command);
    }
    commands
}

/// What stands between a reader's shell and the test's: programs that are built already, and an end at the first failure.
const PREAMBLE: &str = r#"
set -euo pipefail
cargo() {
    local program
    # In the background it becomes the program, as cargo does.
    local become
    [ "$BASHPID" = "$$" ] || become=exec
    while [ "$1" != -- ]; do [ "$1" != --bin ] || program=$2; shift; done
    shift
    ${become:-} "$PROGRAMS/$program" "$@"
}
# What a page leaves running ends with it.
trap 'kill $(jobs -p) 2> /dev/null || true' EXIT
"#;

/// Runs the commands as one session of a shell that stands in a folder with the examples; what they say.
fn run(stage: &Stage, commands: &[&str]) -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let folder = tempfile::tempdir()?;
    std::os::unix::fs::symlink(root.join("examples"), folder.path().join("examples"))?;
    let kubectl = tools::kubectl()?;
    let beside = kubectl.parent().context("kubectl is in a folder")?;
    let path = format!("{}:{}", beside.display(), std::env::var("PATH").unwrap_or_default());
    let echoed = commands.iter().map(|command| format!("cat <<'COMMAND'\n$ {command}\nCOMMAND\n{command}\n"));
    let script = format!("{PREAMBLE}{}", echoed.collect::<String>());
    let done = Command::new("bash")
        .args(["-c", &script])
        .current_dir(folder.path())
        .env("PATH", path)
        .env("KUBECONFIG", stage.plane.kubeconfig())
        .env("PROGRAMS", installation::locate(installation::DEVICE)?.parent().context("programs are in a folder")?)
        .env("PORTAL", stage.installation.portal_url())
        .env("PORTAL_CA", stage.installation.portal_ca())
        .output()
        .context("run bash")?;
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(done.status.success(), "{}\n{said}\n{}", done.status, String::from_utf8_lossy(&done.stderr));
    Ok(said)
}

/// A page of `docs/`, as if it were about this project.
fn page(name: &str, project: &Project) -> Result<Vec<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let page = fs::read_to_string(root.join("docs").join(name))?;
    let page = page.replace("quickstart", &project.namespace).replace("central-library", SITE);
    Ok(commands(&page))
}

/// Runs commands while devices play along; what the commands say.
async fn session(stage: &Arc<Stage>, commands: Vec<String>, devices: &mut [&mut Device]) -> Result<String> {
    let shown = Arc::clone(stage);
    let mut session =
        tokio::task::spawn_blocking(move || run(&shown, &commands.iter().map(String::as_str).collect::<Vec<_>>()));
    loop {
        tokio::select! {
            done = &mut session => return done?,
            () = tokio::time::sleep(Duration::from_millis(700)) => {
                for device in devices.iter_mut() {
                    // The next one comes soon.
                    let _ = device.synchronise().await;
                }
            }
        }
    }
}

/// The page's commands, on a device that somebody tampers with in the middle.
pub(crate) async fn the_page_on_operations_works_as_it_stands(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "operations").await?;
    let mut commands = page("operations.md", &project)?;
    ensure!(commands.len() > 8, "the page has commands: {commands:?}");
    let installer = project.installer().await?;
    project.ready_device("front-desk").await?;
    let mut device = activated(&project, &installer, "front-desk").await?;
    // The reboot comes before the lock.
    let locks = commands.iter().position(|step| step.contains("condition=Locked")).context("the page has locks")?;
    let rest = commands.split_off(locks);
    let mut said = session(&stage, commands, &mut [&mut device]).await?;
    device.tamper().await?;
    said += &session(&stage, rest, &mut [&mut device]).await?;
    for line in [
        "\"id\":\"after-the-storm\"",
        "as it was opened or taken off: inspect it, then run: kubectl annotate",
        "this site is over the quota of 1 site in a project, which older ones fill: raise spec.quotas.sites of the Project",
        "there are 2 sites of 1: depot is over quota; raise spec.quotas.sites of the Project, or delete sites",
        "site.fleetform.dev/depot condition met",
    ] {
        ensure!(said.contains(line), "the page's commands do not show {line}:\n{said}");
    }
    Ok(())
}

/// The page's commands, from a cluster with nothing but Fleetform in it.
pub(crate) async fn the_page_on_machines_works_as_it_stands(stage: Arc<Stage>) -> Result<()> {
    let project = Project { stage: Arc::clone(&stage), namespace: "machines".to_owned() };
    let commands = page("machines.md", &project)?;
    ensure!(commands.len() > 20, "the page has commands: {commands:?}");
    let said = session(&stage, commands, &mut []).await?;
    for line in [
        "asset.fleetform.dev/pump-1 condition met",
        "vibration velocity (RMS) was above 2.8 mm/s three times in a row, last 4.",
        "zone C of ISO 20816 for ClassII",
        "alert.fleetform.dev/pump-1.drive-end.1 condition met",
        "\"zoneBoundariesMmPerS\":[1.12,2.8,7.1],\"temperatureLimitsCelsius\":[70,85]",
        "\"velocityRmsMmPerS\":[4.",
        "asset.fleetform.dev \"pump-1\" deleted",
    ] {
        ensure!(said.contains(line), "the page's commands do not show {line}:\n{said}");
    }
    Ok(())
}

/// The page's commands, on a desk and a door that a person plays.
pub(crate) async fn the_page_on_devices_works_as_it_stands(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "devices").await?;
    let commands = page("devices.md", &project)?;
    ensure!(commands.len() > 6, "the page has commands: {commands:?}");
    // Who has fetched codes before.
    project.installer().await?;
    let mut desk = reader("Front desk");
    desk["configuration"]["operationMode"] = "Enrollment".into();
    project.create::<DeviceInstance>(serde_json::json!({ "metadata": { "name": "front-desk" }, "spec": desk })).await?;
    project.device("main-entrance").await?;
    for name in ["front-desk", "main-entrance"] {
        project.until_ready_for_activation(name).await?;
    }
    let said = session(&stage, commands, &mut []).await?;
    for line in ["Do you accept the terms?", "You are enrolled", "Access granted"] {
        ensure!(said.contains(line), "the page's commands do not show {line}:\n{said}");
    }
    Ok(())
}

/// The page's commands, on the log of the API server that the tests share.
pub(crate) async fn the_page_on_audit_works_as_it_stands(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "audit").await?;
    // It may be some hundred milliseconds behind.
    audit::writes(&project).await?;
    let log = stage.plane.audit_log();
    let log = log.to_str().context("the log has a path")?;
    let commands = page("audit.md", &project)?;
    ensure!(commands.len() > 6, "the page has commands: {commands:?}");
    let commands = commands.into_iter().map(|line| line.replace("/var/log/kubernetes/audit.log", log)).collect();
    session(&stage, commands, &mut []).await.map(drop)
}

/// What the pages show to be applied, the API server takes.
pub(crate) async fn what_the_pages_declare_is_accepted(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "declared").await?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let mut pages: Vec<_> = fs::read_dir(root.join("docs"))?.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    pages.push(root.join("README.md"));
    let mut applied = 0;
    for page in pages.iter().filter(|page| page.extension().is_some_and(|ending| ending == "md")) {
        let text = fs::read_to_string(page)?;
        for block in blocks(&text, "yaml").filter(|block| block.starts_with("apiVersion:")) {
            // Those that the pages speak of are made by their commands, if these run at all.
            let ours = format!("namespace: {}", project.namespace);
            let named = ["library", "quickstart", "machines"].map(|name| format!("namespace: {name}"));
            let block = named.iter().fold(block.to_owned(), |block, name| block.replace(name, &ours));
            let args = ["apply", "--dry-run=server", "--filename=-"];
            let taken = stage.installation.cluster().kubectl(&args, Some(&block)).await;
            taken.with_context(|| format!("{}:\n{block}", page.display()))?;
            applied += 1;
        }
        for list in blocks(&text, "yaml").filter(|block| block.starts_with("sinks:")) {
            config::read(list).with_context(|| format!("{}:\n{list}", page.display()))?;
            applied += 1;
        }
        for scenario in blocks(&text, "yaml").filter(|block| block.starts_with("description:")) {
            Scenario::parse(scenario).with_context(|| format!("{}:\n{scenario}", page.display()))?;
            applied += 1;
        }
    }
    ensure!(applied >= 5, "the pages declare more than {applied} objects");
    Ok(())
}

/// The page's commands, on a device that joins networks and runs software.
pub(crate) async fn the_page_on_configuration_works_as_it_stands(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "configuration").await?;
    let releases = Releases::open().await?;
    releases.put("/reader-1.4.0.bin", b"the software of the device");
    let commands = page("configuration.md", &project)?;
    let commands: Vec<_> =
        commands.into_iter().map(|line| line.replace("https://releases.example", releases.base())).collect();
    ensure!(commands.len() > 10, "the page has commands: {commands:?}");
    let installer = project.installer().await?;
    project.ready_device("front-desk").await?;
    let mut device = activated(&project, &installer, "front-desk").await?;
    let said = session(&stage, commands, &mut [&mut device]).await?;
    for line in ["1 20", "2 20", "deviceinstance.fleetform.dev/front-desk condition met"] {
        ensure!(said.contains(line), "the page's commands do not show {line}:\n{said}");
    }
    ensure!(device.software_version().as_str() == "1.4.0", "it runs {}", device.software_version());
    Ok(())
}

/// The page's commands, as they stand: it makes all that it needs.
pub(crate) async fn the_page_on_people_works_as_it_stands(stage: Arc<Stage>) -> Result<()> {
    let project = Project { stage: Arc::clone(&stage), namespace: "reception".to_owned() };
    let commands = page("people.md", &project)?;
    ensure!(commands.len() > 20, "the page has commands: {commands:?}");
    let said = session(&stage, commands, &mut []).await?;
    for line in [
        "You are enrolled",
        "\"badgeNumber\":\"4711\",\"userStatus\":\"ACTIVE\",\"enrollmentSource\":\"front-desk\"",
        "1 device may still do so while offline, and will forget the person when back: main-entrance.",
        "condition met",
    ] {
        ensure!(said.contains(line), "the page's commands do not show {line}:\n{said}");
    }
    Ok(())
}

/// The page's commands, on a project without people.
pub(crate) async fn the_page_on_admins_works_as_it_stands(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "admin-page").await?;
    let commands = page("admins.md", &project)?;
    ensure!(commands.len() > 16, "the page has commands: {commands:?}");
    let said = session(&stage, commands, &mut []).await?;
    for line in [
        "adminuser.fleetform.dev/mary-major condition met",
        "\nyes\n",
        "adminuser.fleetform.dev/night-shift condition met",
        "adminuser.fleetform.dev/doors-and-more condition met",
        "\"siteName\":\"Central Library\",\"items\":[]",
        "deviceinstance.fleetform.dev/back-gate created",
        "deviceinstance.fleetform.dev/back-gate replaced",
    ] {
        ensure!(said.contains(line), "the page's commands do not show {line}:\n{said}");
    }
    Ok(())
}

/// The page's commands: the project gets another data key.
pub(crate) async fn the_page_on_keys_works_as_it_stands(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "key-page").await?;
    let commands = page("keys.md", &project)?;
    ensure!(commands.len() > 4, "the page has commands: {commands:?}");
    let said = session(&stage, commands, &mut []).await?;
    for line in
        ["sealed with a data key under the key of the installation", "project.fleetform.dev/project condition met"]
    {
        ensure!(said.contains(line), "the page's commands do not show {line}:\n{said}");
    }
    Ok(())
}

/// The page's commands: a group is bound to a tag.
pub(crate) async fn the_page_on_tags_works_as_it_stands(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "tag-page").await?;
    let said = session(&stage, page("tags.md", &project)?, &mut []).await?;
    // What it refuses is tried where policies are (`admit/tags.rs`).
    for line in ["configmap/doors-north created", "doors-north created\nrolebinding"] {
        ensure!(said.contains(line), "the page's commands do not show {line}:\n{said}");
    }
    Ok(())
}

/// The page's commands, on a template that two devices use.
pub(crate) async fn the_page_on_rollouts_works_as_it_stands(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "rollouts").await?;
    let commands = page("rollouts.md", &project)?;
    ensure!(commands.len() > 4, "the page has commands: {commands:?}");
    let installer = project.installer().await?;
    for name in ["east", "west"] {
        project.ready_device(name).await?;
    }
    let mut east = activated(&project, &installer, "east").await?;
    let mut west = activated(&project, &installer, "west").await?;
    let said = session(&stage, commands, &mut [&mut east, &mut west]).await?;
    for line in
        ["\"phase\":\"Complete\"", "\"batch\":2", "\"updated\":2", "batch 1 of revision 2: east", "RolloutComplete"]
    {
        ensure!(said.contains(line), "the page's commands do not show {line}:\n{said}");
    }
    Ok(())
}

pub(crate) async fn the_first_page_works_as_it_stands(stage: Arc<Stage>) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let page = fs::read_to_string(root.join("docs/getting-started.md"))?;
    let commands = commands(&page);
    ensure!(commands.len() > 10, "the page has commands: {commands:?}");
    let shown = Arc::clone(&stage);
    let said =
        tokio::task::spawn_blocking(move || run(&shown, &commands.iter().map(String::as_str).collect::<Vec<_>>()))
            .await??;
    for line in [
        "deviceinstance.fleetform.dev/front-desk",
        "project.fleetform.dev/project",
        "ReadyForActivation",
        "\"siteName\":\"Central Library\",\"items\":[{\"name\":\"front-desk\",\"displayName\":\"Front desk\",\"deviceType\":\"Reader\"",
        "/v1/projects/quickstart/device-instances/front-desk/activation-qr-code\"}]}",
        "\"postalCode\":\"98104\"",
        "Front desk at Central Library, Seattle, WA",
        "active as 0000195169, configuration version 1",
        "\"desired\":true,\"applied\":true,\"configuration\":{\"operationMode\":\"Enrollment\"}}",
    ] {
        ensure!(said.contains(line), "the page's commands do not show {line}:\n{said}");
    }
    Ok(())
}
