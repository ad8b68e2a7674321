//! The recipes of the page on events, as a reader follows them: the command line of AWS, and Python.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fleetform_crds::DeviceInstance;
use fleetform_crds::condition::ConditionType;
use fleetform_e2e::control_plane::free_ports;
use fleetform_e2e::installation::{ACCOUNT, REGION};
use fleetform_e2e::process::ProcessSpec;
use fleetform_e2e::stand_ins::{self, StandIn};
use fleetform_e2e::tools;
use fleetform_e2e::wait::{self, Look};
use serde_json::Value;
use tokio::net::TcpStream;

use super::devices::{activated, checking_in};
use super::docs::{blocks, commands};
use super::presence::checks;
use super::project::{LIMIT, Project, SITE_NAME, condition};
use super::sinks::CRITICAL;
use super::stage::Stage;

/// What stands between a reader's shell and the test's. Without the flag, calls of SQS would go to Amazon's.
const PREAMBLE: &str = r#"aws() { command aws --endpoint-url "$AWS_ENDPOINT_URL" "$@"; }"#;

/// A shell with the command line of AWS, whose services are at this URL.
struct Shell {
    aws: String,
}

impl Shell {
    /// Runs commands as one session; what they say.
    async fn run(&self, commands: Vec<String>) -> Result<String> {
        let (kubectl, environment) =
            tokio::task::spawn_blocking(|| anyhow::Ok((tools::kubectl()?, stand_ins::environment()?))).await??;
        let beside = kubectl.parent().context("kubectl is in a folder")?;
        let path =
            [environment.join("bin").display().to_string(), beside.display().to_string(), std::env::var("PATH")?]
                .join(":");
        let mut shell = tokio::process::Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", &format!("{PREAMBLE}\n{}", commands.join("\n"))]).env("PATH", path);
        shell.env("AWS_ENDPOINT_URL", &self.aws).env("AWS_DEFAULT_REGION", REGION).envs(stand_ins::CREDENTIALS);
        let done = shell.kill_on_drop(true).stdin(Stdio::null()).output().await.context("run bash")?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        ensure!(done.status.success(), "{commands:#?}\n{said}\n{}", String::from_utf8_lossy(&done.stderr));
        Ok(said)
    }
}

fn page() -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    Ok(fs::read_to_string(root.join("docs/event-recipes.md"))?)
}

/// All sinks that the page's lists have.
fn listed(page: &str) -> Result<Vec<Value>> {
    let mut sinks = Vec::new();
    for list in blocks(page, "yaml") {
        let list: Value = serde_saphyr::from_str(list).with_context(|| list.to_owned())?;
        sinks.extend(list["sinks"].as_array().with_context(|| format!("{list} lists sinks"))?.clone());
    }
    Ok(sinks)
}

pub(crate) async fn a_queue_a_page_and_a_receiver_get_what_they_are_for(_: Arc<Stage>) -> Result<()> {
    let (dir, page) = (tempfile::tempdir()?, page()?);
    let [aws_port, receiver_port] = free_ports()?;
    let aws = StandIn::ministack(aws_port, dir.path()).await?;
    let shell = Shell { aws: aws.url().to_owned() };
    let (look, set): (Vec<String>, Vec<String>) = commands(&page)
        .into_iter()
        .partition(|command| command.contains("receive-message") || command.starts_with("kubectl"));
    let [receive, kubectl] = look.as_slice() else {
        anyhow::bail!("the page looks at a queue and at Events: {look:?}")
    };
    let queue = set.iter().find(|command| command.starts_with("queue=")).cloned().context("a queue")?;
    // Who is on call reads letters; here a queue does.
    let own_queue = "own=$(aws sqs create-queue --queue-name on-call --query QueueUrl --output text)".to_owned();
    let arn = format!("arn:aws:sqs:{REGION}:{ACCOUNT}:on-call");
    let subscribe = format!("aws sns subscribe --topic-arn \"$topic\" --protocol sqs --notification-endpoint {arn}");
    let beside = [own_queue.clone(), subscribe];
    shell.run(set.iter().cloned().chain(beside).collect()).await?;

    // The receiver, as the page has it.
    let program = blocks(&page, "python").next().context("a receiver")?;
    ensure!(program.contains("(\"\", 8090)"), "{program}");
    let file = dir.path().join("receiver.py");
    fs::write(&file, program.replace("(\"\", 8090)", &format!("(\"127.0.0.1\", {receiver_port})")))?;
    let python = tokio::task::spawn_blocking(stand_ins::environment).await??.join("bin/python");
    let log = dir.path().join("receiver.log");
    let receiver = ProcessSpec::new("receiver", python, log.clone()).guarded().arg(file).spawn()?;
    wait::until("the receiver to listen", LIMIT, async || {
        Ok(match TcpStream::connect(("127.0.0.1", receiver_port)).await {
            Ok(_) => Look::Done(()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await?;

    let mut sinks = listed(&page)?;
    // Events on standard output are another test's.
    sinks.retain(|sink| sink["name"] != "stdout");
    let receiver_sink = sinks.iter_mut().find(|sink| sink["name"] == "receiver").context("a sink for the receiver")?;
    receiver_sink["cloudEvents"]["url"] = format!("http://127.0.0.1:{receiver_port}/").into();
    ensure!(sinks.len() == 3, "{sinks:?}");
    let stage = Arc::new(Stage::with_event_sinks(sinks, aws_port).await?);
    let project = Project::new(&stage, "recipes").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    device.set_failed_health_checks(checks(&["camera"]));
    let healthy = |instance: &DeviceInstance| condition(instance, ConditionType::Healthy);
    checking_in(&project, &mut device, "door", "critical", |instance| {
        condition(instance, ConditionType::Connected) && !healthy(instance)
    })
    .await?;

    let in_queue = shell.run(vec![queue, receive.clone()]).await?;
    let message: Value = serde_json::from_str(&in_queue).with_context(|| in_queue.clone())?;
    ensure!(
        message["source"] == "fleetform.one" && message["detail"]["metadata"]["siteName"] == SITE_NAME,
        "{message}"
    );
    let told = shell.run(vec![own_queue, receive.replace("$queue", "$own")]).await?;
    ensure!(told.contains(&format!("door at {SITE_NAME} is critical since ")), "{told}");
    wait::until("the receiver to print it", LIMIT, async || {
        let printed = fs::read_to_string(&log)?;
        let is_there = printed.lines().any(|line| line.ends_with(&format!("{CRITICAL} door")));
        Ok(if is_there { Look::Done(()) } else { Look::NotYet(printed) })
    })
    .await?;
    drop(receiver);
    let words: Vec<&str> = kubectl.split_whitespace().skip(1).collect();
    wait::until("kubectl to show it", LIMIT, async || {
        let shown = stage.cluster().kubectl(&words, None).await?;
        let is_there = shown.contains(&format!("door at {SITE_NAME}")) && shown.contains("Warning");
        Ok(if is_there { Look::Done(()) } else { Look::NotYet(shown) })
    })
    .await
}
