//! Requests that nobody should send, and who suffers from them: nobody else.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fleetform_domain::problem::ProblemCode as Code;
use fleetform_e2e::{Installation, http};
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::devices::activated;
use super::project::Project;
use super::raw::{connect, exchange, request};
use super::stage::Stage;

const JSON: &str = "Content-Type: application/json\r\n";

pub(crate) async fn bad_requests_get_problem_bodies(stage: Arc<Stage>) -> Result<()> {
    let installation = &stage.installation;
    let authority = installation.authority().await?;
    let gateway = installation.gateway_url();
    let lookup = "/v1/activations/lookup";
    let large = format!("{{\"token\":\"{}\",\"postalCode\":\"1\"}}", "a".repeat(65 * 1024));
    let deep = "[".repeat(20_000);
    let garbage = r#"{"token":"Z2FyYmFnZQ","postalCode":"98104"}"#;
    let unknown = r#"{"token":"Z2FyYmFnZQ","postalCode":"98104","admin":true}"#;
    let check_in = r#"{"bootId":"b","counter":1,"softwareVersion":"1.0.0"}"#;
    for (what, bytes, code) in [
        ("no JSON", request("POST", lookup, JSON, "{"), Code::MalformedRequest),
        ("nothing", request("POST", lookup, JSON, ""), Code::MalformedRequest),
        ("an unknown field", request("POST", lookup, JSON, unknown), Code::MalformedRequest),
        ("another type", request("POST", lookup, JSON, r#"{"token":1}"#), Code::MalformedRequest),
        ("deep nesting", request("POST", lookup, JSON, &deep), Code::MalformedRequest),
        ("not called JSON", request("POST", lookup, "Content-Type: text/plain\r\n", garbage), Code::MalformedRequest),
        ("a garbage token", request("POST", lookup, JSON, garbage), Code::QrNotRecognized),
        ("65 KiB", request("POST", lookup, JSON, &large), Code::BodyTooLarge),
        ("another path", request("POST", "/v2/activations", JSON, "{}"), Code::NotFound),
        ("the root", request("GET", "/", "", ""), Code::NotFound),
        ("another method", request("GET", lookup, "", ""), Code::MethodNotAllowed),
        ("no certificate", request("POST", "/v1/check-in", JSON, check_in), Code::NotAuthenticated),
        ("no certificate either", request("GET", "/v1/configuration/1", "", ""), Code::NotAuthenticated),
    ] {
        refuses(&gateway, &authority, what, &bytes, code).await?;
    }
    let portal = installation.portal_url();
    let basic = "Authorization: Basic YTpi\r\n";
    let forged = "Authorization: Bearer eyJhbGciOiJub25lIn0.e30.\r\n";
    for (what, bytes, code) in [
        ("no token", request("GET", "/v1/device-instances", "", ""), Code::NotAuthenticated),
        ("another scheme", request("GET", "/v1/device-instances", basic, ""), Code::NotAuthenticated),
        ("a forged token", request("GET", "/v1/device-instances", forged, ""), Code::NotAuthenticated),
        ("another path", request("GET", "/v1/secrets", "", ""), Code::NotFound),
        ("another method", request("DELETE", "/v1/device-instances", "", ""), Code::MethodNotAllowed),
    ] {
        refuses(&portal, &authority, what, &bytes, code).await?;
    }
    is_healthy(installation).await
}

async fn refuses(url: &str, authority: &str, what: &str, bytes: &[u8], code: Code) -> Result<()> {
    let answer = exchange(url, authority, bytes).await.with_context(|| what.to_owned())?;
    let problem = answer.problem().with_context(|| what.to_owned())?;
    ensure!(problem.code() == Some(code), "{what}: {problem:?} instead of {code:?}");
    ensure!(answer.status == code.status() && problem.status == code.status(), "{what}: {answer:?}");
    ensure!(problem.title == code.title() && !problem.detail.is_empty(), "{what}: {problem:?}");
    Ok(())
}

async fn is_healthy(installation: &Installation) -> Result<()> {
    installation.ensure_running()?;
    for probe in ["/livez", "/readyz"] {
        let (status, body) = http::get(installation.metrics_address(), probe).await?;
        ensure!(status == 200, "{probe}: {status} {body}");
    }
    Ok(())
}

/// How many who do not mean well.
const CROWD: usize = 300;

pub(crate) async fn slow_and_many_clients_do_not_hurt_others(stage: Arc<Stage>) -> Result<()> {
    let project = Project::new(&stage, "hostile").await?;
    let installer = project.installer().await?;
    project.ready_device("door").await?;
    let mut device = activated(&project, &installer, "door").await?;
    let installation = &stage.installation;
    let authority = installation.authority().await?;
    let gateway = installation.gateway_url();
    let address = gateway.strip_prefix("https://").context("an address")?.to_owned();
    let log = installation.dir().join("operator.log");
    let log_before = fs::metadata(&log)?.len();

    // They connect and say nothing, or what is no TLS.
    let silent = join_all((0..CROWD).map(|_| TcpStream::connect(address.as_str()))).await;
    let noisy = join_all((0..CROWD).map(|_| async {
        let mut stream = TcpStream::connect(address.as_str()).await?;
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        anyhow::Ok(stream)
    }))
    .await;
    // They begin a request and never end it: of the head, and of the body.
    let mut slow_head = connect(&gateway, &authority).await?;
    slow_head.write_all(b"POST /v1/activations/lookup HTTP/1.1\r\nHost: g\r\nX-Slow: ").await?;
    let mut slow_body = connect(&gateway, &authority).await?;
    let head = format!("POST /v1/activations/lookup HTTP/1.1\r\nHost: g\r\n{JSON}Content-Length: 100\r\n\r\n{{");
    slow_body.write_all(head.as_bytes()).await?;

    // Meanwhile a device is served.
    let began = Instant::now();
    device.check_in().await?;
    ensure!(began.elapsed() < Duration::from_secs(5), "a device waited {:?}", began.elapsed());

    // Who is slow is told so, or let go.
    let told = super::raw::read(&mut slow_body).await;
    let told = told.and_then(|answer| answer.problem()).context("who does not send the body")?;
    ensure!(told.code() == Some(Code::RequestTimedOut), "{told:?}");
    for (what, mut stream) in
        [("silent", silent), ("noisy", noisy.into_iter().map(to_io).collect())].into_iter().filter_map(
            |(what, streams): (_, Vec<std::io::Result<TcpStream>>)| Some((what, streams.into_iter().next()?.ok()?)),
        )
    {
        is_let_go(&mut stream).await.with_context(|| what.to_owned())?;
    }
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(30), slow_head.read_to_end(&mut rest)).await;
    ensure!(ended.is_ok(), "who does not send the head is kept");

    is_healthy(installation).await?;
    // A line for each would be a flood: at the usual level they leave none.
    let log_grew = fs::metadata(&log)?.len() - log_before;
    ensure!(log_grew < 100 * u64::try_from(CROWD)?, "the log grew by {log_grew} bytes");
    Ok(())
}

fn to_io(stream: Result<TcpStream>) -> std::io::Result<TcpStream> {
    stream.map_err(std::io::Error::other)
}

async fn is_let_go(stream: &mut TcpStream) -> Result<()> {
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
    // With a word of TLS, with nothing, or with a reset: all are an end.
    ensure!(ended.is_ok(), "the connection is kept");
    Ok(())
}
