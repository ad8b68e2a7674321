//! The command line: the only place that reads arguments and the environment.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use fleetform_domain::audit::{OPERATOR_USER, Translator};
use fleetform_domain::id::Installation;
use fleetform_domain::quota::Quota;
use fleetform_domain::wire::project_device_list_path;
use jiff::{SignedDuration, Timestamp};
use lettre::message::Mailbox;
use tracing_subscriber::EnvFilter;

use crate::audit::translate;
use crate::clock::{Clock as _, SystemClock};
use crate::directory::subject::SubjectPrefix;
use crate::events::config::{self, SinkSettings, Sinks, Target};
use crate::events::show;
use crate::invitation::letter::{PROJECT, Stationery};
use crate::invitation::server::MailServer;
use crate::invitation::{InvitationSettings, Mail};
use crate::run::run;
use crate::settings::{
    AuthoritySettings, CodeSettings, DirectorySettings, GatewaySettings, LineSink, PortalSettings, Settings,
};

/// Fleetform keeps fleets of door readers, gateways and sensors the way Kubernetes objects declare them.
#[derive(Debug, Parser)]
#[command(name = "fleetform", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the operator: controllers, device gateway and portal.
    Run(Box<RunArguments>),
    /// Makes audit records of Kubernetes audit events: one event a line on standard input, one record a line on standard output.
    Audit(AuditArguments),
    /// Shows events for a person to read: of files or of standard input, where they are one a line.
    Events(EventsArguments),
    /// Prints the `CustomResourceDefinitions` as YAML.
    Crds,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people.
    Text,
    /// One JSON document a line.
    Json,
}

#[derive(Debug, Args)]
struct InstallationArguments {
    /// Account id that ARNs and events carry: 12 digits.
    #[arg(long, env = "FLEETFORM_ACCOUNT")]
    account: String,
    /// Region that ARNs and events carry.
    #[arg(long, env = "FLEETFORM_REGION", default_value = "us-east-1")]
    region: String,
    /// Partition that ARNs carry: aws, aws-cn or aws-us-gov.
    #[arg(long, env = "FLEETFORM_PARTITION", default_value = "aws")]
    partition: String,
}

impl InstallationArguments {
    fn validated(&self) -> anyhow::Result<Installation> {
        Ok(Installation::new(&self.partition, &self.region, &self.account)?)
    }
}

#[derive(Debug, Args)]
struct AuditArguments {
    #[command(flatten)]
    installation: InstallationArguments,
    /// The user that an operator is: what it does follows from what people asked for, and is left out. May be repeated.
    #[arg(long = "operator", env = "FLEETFORM_OPERATORS", value_delimiter = ',', default_value = OPERATOR_USER)]
    operators: Vec<String>,
}

impl AuditArguments {
    fn run(self) -> anyhow::Result<()> {
        let translator = Translator::new(self.installation.validated()?, self.operators);
        let records = BufWriter::new(io::stdout().lock());
        match translate(&translator, io::stdin().lock(), records, io::stderr().lock())? {
            0 => Ok(()),
            1 => anyhow::bail!("1 line was no audit event"),
            unread => anyhow::bail!("{unread} lines were no audit events"),
        }
    }
}

#[derive(Debug, Args)]
struct EventsArguments {
    /// Files with events, the oldest first. Left out: standard input.
    files: Vec<PathBuf>,
    /// Only events of a site whose display name holds this.
    #[arg(long)]
    site: Option<String>,
    /// Only events of a device or machine whose display name holds this, or of the device instance with this id.
    #[arg(long)]
    device: Option<String>,
    /// Only events whose type holds this, such as offline.
    #[arg(long = "type")]
    detail_type: Option<String>,
    /// Only events from this time on: 2026-01-01T12:00:00Z, or so long ago as 90m, 2h or 1d.
    #[arg(long, value_parser = moment)]
    since: Option<Timestamp>,
    /// Only events before this time.
    #[arg(long, value_parser = moment)]
    until: Option<Timestamp>,
    /// Goes on with what is appended to the last file.
    #[arg(long, short, requires = "files")]
    follow: bool,
    /// How they are shown.
    #[arg(long, short, default_value = "table")]
    output: show::Form,
}

/// A time, or how long ago.
fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let told = || format!("`{text}` is neither a time such as 2026-01-01T12:00:00Z nor a span such as 90m, 2h or 1d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(told)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        _ => return Err(told()),
    };
    let number: i64 = number.parse().map_err(|_| told())?;
    let ago = number.checked_mul(seconds).filter(|ago| *ago >= 0).ok_or_else(told)?;
    SystemClock.now().checked_sub(SignedDuration::from_secs(ago)).map_err(|_| told())
}

impl EventsArguments {
    fn run(self) -> anyhow::Result<()> {
        let Self { files, site, device, detail_type, since, until, follow, output } = self;
        let filter = show::Filter { site, device, detail_type, since, until };
        match show_events(&files, &filter, output, follow, io::stdout().lock()) {
            Ok(0) => Ok(()),
            Ok(odd) => anyhow::bail!("{odd} of the lines were no events"),
            // Whoever read it has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Shows the events of these files, or of standard input; how many lines were no events.
fn show_events(
    files: &[PathBuf],
    filter: &show::Filter,
    form: show::Form,
    follow: bool,
    mut to: impl Write,
) -> io::Result<u64> {
    if form == show::Form::Table {
        to.write_all(show::TITLE.as_bytes())?;
    }
    if files.is_empty() {
        return show::show(io::stdin().lock(), filter, form, &mut to);
    }
    let followed = files.last().filter(|_| follow);
    let mut odd = 0;
    for path in &files[..files.len() - usize::from(follow)] {
        let file = File::open(path).map_err(|error| named(path, &error))?;
        odd += show::show(BufReader::new(file), filter, form, &mut to)?;
    }
    if let Some(path) = followed {
        show::follow(path, filter, form, &mut to).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => error,
            _ => named(path, &error),
        })?;
    }
    Ok(odd)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[derive(Debug, Args)]
struct RunArguments {
    #[command(flatten)]
    installation: InstallationArguments,
    /// The operator's own namespace, where its lease and its keys are.
    #[arg(long, env = "POD_NAMESPACE", default_value = "fleetform-system")]
    namespace: String,
    /// A namespace that holds a project; no other is looked at. May be repeated. Left out: all namespaces.
    #[arg(long = "watch-namespace", env = "FLEETFORM_WATCH_NAMESPACES", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// Name of this process in the lease; must differ between processes. Left out: random.
    #[arg(long, env = "POD_NAME")]
    identity: Option<String>,
    /// Where devices connect.
    #[arg(long, env = "FLEETFORM_GATEWAY_LISTEN", default_value = "0.0.0.0:8443")]
    gateway_listen: SocketAddr,
    /// The address that devices dial, https://host:port. It stands in every activation code.
    #[arg(long, env = "FLEETFORM_GATEWAY_URL")]
    gateway_url: String,
    /// More names and addresses for the gateway's certificate. May be repeated.
    #[arg(long = "gateway-name", env = "FLEETFORM_GATEWAY_NAMES", value_delimiter = ',')]
    gateway_names: Vec<String>,
    /// Time between two check-ins of a device, in seconds, 1 to 3600. A device that misses three is disconnected.
    #[arg(long, env = "FLEETFORM_CHECK_IN_SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u32).range(1..=3600))]
    check_in_seconds: u32,
    /// How long the certificate of a device is valid, in seconds, from 10 to a year. Devices renew it by themselves, also after
    /// it has expired.
    #[arg(long, env = "FLEETFORM_CERTIFICATE_SECONDS", default_value_t = 30 * 24 * 3600,
          value_parser = clap::value_parser!(u32).range(10..=31_536_000))]
    certificate_seconds: u32,
    /// The generation of the certificate authority that is wanted, 1 to 99. A higher one than before begins a rotation, which goes
    /// on by itself; it never falls.
    #[arg(long, env = "FLEETFORM_AUTHORITY_GENERATION", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=99))]
    authority_generation: u32,
    /// How long the old authority is trusted after the new one began to sign, in seconds, up to a year: as long as a device may be
    /// off and come back without anybody noticing.
    #[arg(long, env = "FLEETFORM_AUTHORITY_OVERLAP_SECONDS", default_value_t = 30 * 24 * 3600,
          value_parser = clap::value_parser!(u32).range(0..=31_536_000))]
    authority_overlap_seconds: u32,
    /// Where people and their tools connect.
    #[arg(long, env = "FLEETFORM_PORTAL_LISTEN", default_value = "0.0.0.0:9443")]
    portal_listen: SocketAddr,
    /// Names and addresses for the portal's own certificate. May be repeated.
    #[arg(long = "portal-name", env = "FLEETFORM_PORTAL_NAMES", value_delimiter = ',')]
    portal_names: Vec<String>,
    /// Certificate chain of the portal in PEM, of an authority that phones trust.
    #[arg(long, env = "FLEETFORM_PORTAL_TLS_CERT", requires = "portal_tls_key")]
    portal_tls_cert: Option<PathBuf>,
    /// Key to that certificate in PEM.
    #[arg(long, env = "FLEETFORM_PORTAL_TLS_KEY", requires = "portal_tls_cert")]
    portal_tls_key: Option<PathBuf>,
    /// Audience that tokens for the portal must be made for.
    #[arg(long, env = "FLEETFORM_TOKEN_AUDIENCE", default_value = "fleetform")]
    token_audience: String,
    /// Where /livez, /readyz and /metrics are served, over plain HTTP.
    #[arg(long, env = "FLEETFORM_METRICS_LISTEN", default_value = "0.0.0.0:8080")]
    metrics_listen: SocketAddr,
    /// How long an activation code is good, in hours, 1 to 720. At rest it is rotated when a quarter is left.
    #[arg(long, env = "FLEETFORM_CODE_VALIDITY_HOURS", default_value_t = 24,
          value_parser = clap::value_parser!(u16).range(1..=720))]
    code_validity_hours: u16,
    /// How long a data key of a project is in memory after its provider let it be opened, in seconds, 10 to 300. A key of AWS KMS is asked
    /// for about so often, whatever the number of devices, and a key that was withdrawn is good for that long at most.
    #[arg(long, env = "FLEETFORM_DATA_KEY_SECONDS", default_value_t = 300,
          value_parser = clap::value_parser!(u16).range(10..=300))]
    data_key_seconds: u16,
    /// What user names and group names of an outside directory have before them in Kubernetes, with a colon at the end. The API server's
    /// --oidc-username-prefix and --oidc-groups-prefix, or the user name in an access entry of EKS, must begin with the same.
    #[arg(long, env = "FLEETFORM_SUBJECT_PREFIX", default_value = "idc:")]
    subject_prefix: String,
    /// Region of AWS IAM Identity Center. Left out: that of the installation.
    #[arg(long, env = "FLEETFORM_DIRECTORY_REGION")]
    directory_region: Option<String>,
    /// How often an outside directory is asked for everybody who has a role, in seconds, 5 to 3600. Who was deleted or disabled there loses
    /// the role after that time at most.
    #[arg(long, env = "FLEETFORM_DIRECTORY_SECONDS", default_value_t = 180,
          value_parser = clap::value_parser!(u16).range(5..=3600))]
    directory_seconds: u16,
    /// Where people reach the portal, https://host:port. It stands in letters. Left out: the first --portal-name.
    #[arg(long, env = "FLEETFORM_PORTAL_URL")]
    portal_url: Option<String>,
    /// Where people find the app: it stands in letters to those who get a role. Left out: the portal.
    #[arg(long, env = "FLEETFORM_APP_URL")]
    app_url: Option<String>,
    /// The page of a project, with {project} for its namespace: it stands in letters to those who get a role. Left out: its list of devices
    /// at the portal.
    #[arg(long, env = "FLEETFORM_PROJECT_URL")]
    project_url: Option<String>,
    /// Who letters to those who get a role come from, such as `Fleetform <fleet@example.com>`. Left out: they are drafts, which
    /// whoever sends them puts their own address on.
    #[arg(long, env = "FLEETFORM_MAIL_FROM")]
    mail_from: Option<String>,
    /// The mail server that sends letters: `smtps://user:password@host:465`, or `smtp://user:password@host:587?tls=required`. Left out:
    /// letters are drafted only. Give it by the environment, as others can see arguments.
    #[arg(long, env = "FLEETFORM_SMTP_URL", hide_env_values = true, requires = "mail_from")]
    smtp_url: Option<String>,
    /// How many projects there may be, 1 to 10000. When there are more, the older ones keep their places; the others wait, and say so.
    #[arg(long, env = "FLEETFORM_MAX_PROJECTS", default_value_t = Quota::Projects.default_limit(),
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_projects: u32,
    /// What the names of the `ClusterRoles` of people begin with, of the policies that guard them, and of the operator's account: the
    /// full name of the chart.
    #[arg(long, env = "FLEETFORM_ROLE_PREFIX", default_value = "fleetform")]
    role_prefix: String,
    /// A file in YAML that lists where events go. Left out: JSON lines on standard output.
    #[arg(long, env = "FLEETFORM_EVENT_SINKS")]
    event_sinks: Option<PathBuf>,
    /// Where audit records go: a file of their own to append JSON lines to, or - for standard output.
    #[arg(long, env = "FLEETFORM_AUDIT", default_value = "-")]
    audit: String,
    /// User that is the operator of another installation in the cluster: what it does is not in the audit trail. May be repeated.
    #[arg(long = "other-operator", env = "FLEETFORM_OTHER_OPERATORS", value_delimiter = ',')]
    other_operators: Vec<String>,
    /// Form of the log on standard error.
    #[arg(long, env = "FLEETFORM_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

impl RunArguments {
    fn validated(self) -> anyhow::Result<Settings> {
        let installation = self.installation.validated()?;
        let host = self
            .gateway_url
            .strip_prefix("https://")
            .filter(|rest| !rest.is_empty() && !rest.contains(['/', '#', '?', '@']))
            .ok_or_else(|| {
                anyhow::anyhow!("--gateway-url {}: must be https://host:port, without a path", self.gateway_url)
            })?;
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host).trim_matches(['[', ']']).to_owned();
        let events = self.event_sinks.as_deref().map_or_else(|| Ok(config::standard_output()), listed_sinks)?;
        let audit = line_sink(self.audit);
        let is_shared = |sink: &SinkSettings| matches!(&sink.target, Target::JsonLines { to, .. } if *to == audit);
        if let (LineSink::File(path), true) = (&audit, events.sinks.iter().any(is_shared)) {
            anyhow::bail!("--audit {}: is for audit records alone", path.display());
        }
        let mut names = vec![host.clone()];
        names.extend(self.gateway_names);
        let portal_names = if self.portal_names.is_empty() { vec![host] } else { self.portal_names };
        let validity = SignedDuration::from_hours(i64::from(self.code_validity_hours));
        let identity = self.identity.unwrap_or_else(|| format!("fleetform-{}", SystemClock.uuid()));
        let directory = DirectorySettings {
            prefix: SubjectPrefix::parse(&self.subject_prefix).context("--subject-prefix")?,
            region: self.directory_region.unwrap_or_else(|| installation.region().to_owned()),
            interval: SignedDuration::from_secs(self.directory_seconds.into()),
        };
        let portal_url =
            self.portal_url.unwrap_or_else(|| format!("https://{}:{}", portal_names[0], self.portal_listen.port()));
        let portal_url = web_address("--portal-url", &portal_url)?.trim_end_matches('/');
        let app = self.app_url.unwrap_or_else(|| portal_url.to_owned());
        let project = self.project_url.unwrap_or_else(|| format!("{portal_url}{}", project_device_list_path(PROJECT)));
        web_address("--app-url", &app)?;
        web_address("--project-url", &project)?;
        let from = self.mail_from.map(|from| from.parse::<Mailbox>().context("--mail-from")).transpose()?;
        let server = self.smtp_url.map(|url| MailServer::parse(&url).context("--smtp-url")).transpose()?;
        let mail = server.zip(from.as_ref()).map(|(server, from)| Mail { server, from: from.email.clone() });
        let invitations = InvitationSettings { stationery: Stationery { app, project, from }, mail };
        Ok(Settings {
            installation,
            namespace: self.namespace,
            watch_namespaces: self.watch_namespaces,
            identity,
            gateway: GatewaySettings {
                listen: self.gateway_listen,
                url: self.gateway_url,
                names,
                check_in_seconds: self.check_in_seconds,
                certificate_life: SignedDuration::from_secs(self.certificate_seconds.into()),
            },
            portal: PortalSettings {
                listen: self.portal_listen,
                names: portal_names,
                certificate: self.portal_tls_cert.zip(self.portal_tls_key),
                audience: self.token_audience,
            },
            metrics_listen: self.metrics_listen,
            authority: AuthoritySettings {
                generation: self.authority_generation,
                overlap: SignedDuration::from_secs(self.authority_overlap_seconds.into()),
            },
            codes: CodeSettings { validity, fresh_for: validity / 8 },
            data_keys_open_for: SignedDuration::from_secs(self.data_key_seconds.into()),
            directory,
            invitations,
            max_projects: self.max_projects,
            role_prefix: self.role_prefix,
            events,
            audit,
            other_operators: self.other_operators,
        })
    }
}

/// A link that people are sent.
fn web_address<'a>(flag: &str, url: &'a str) -> anyhow::Result<&'a str> {
    let is_link = url.strip_prefix("https://").is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '@' | '<' | '>' | '"'))
    });
    anyhow::ensure!(is_link, "{flag} {url}: must begin with https:// and have no blanks");
    Ok(url)
}

/// The sinks that a file lists.
fn listed_sinks(path: &Path) -> anyhow::Result<Sinks> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--event-sinks {}", path.display()))?;
    config::read(&text).with_context(|| format!("--event-sinks {}", path.display()))
}

fn line_sink(text: String) -> LineSink {
    if text == "-" { LineSink::Stdout } else { LineSink::File(text.into()) }
}

/// Runs the command. What goes wrong is told on standard error.
pub async fn execute(cli: Cli) -> ExitCode {
    match cli.command {
        Command::Crds => {
            for (_, yaml) in fleetform_crds::definition::documents() {
                println!("---\n{yaml}");
            }
            ExitCode::SUCCESS
        }
        Command::Audit(arguments) => told(arguments.run()),
        Command::Events(arguments) => told(arguments.run()),
        Command::Run(arguments) => {
            log_to_stderr(arguments.log_format);
            told(match arguments.validated() {
                Ok(settings) => Box::pin(run(settings)).await,
                Err(error) => Err(error),
            })
        }
    }
}

fn told(outcome: anyhow::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fleetform: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn log_to_stderr(format: LogFormat) {
    // What kube says of interrupted watches is said by the cache, once and in a sentence.
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_runtime=error,kube_client=error"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            log.with_target(true).with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).init();
        }
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn check(arguments: &[&str]) -> anyhow::Result<Settings> {
        let cli = Cli::try_parse_from(["fleetform", "run"].iter().chain(arguments))?;
        let Command::Run(arguments) = cli.command else { unreachable!("it says run") };
        arguments.validated()
    }

    #[test]
    fn the_help_is_as_it_was_reviewed() {
        let mut command = Cli::command();
        let run = command.find_subcommand_mut("run").expect("there is such a command");
        insta::assert_snapshot!(run.render_long_help());
        let audit = command.find_subcommand_mut("audit").expect("there is such a command");
        insta::assert_snapshot!("help_of_audit", audit.render_long_help());
        let events = command.find_subcommand_mut("events").expect("there is such a command");
        insta::assert_snapshot!("help_of_events", events.render_long_help());
    }

    #[test]
    fn a_moment_is_a_time_or_so_long_ago() {
        assert_eq!(moment("2026-01-01T12:00:00Z").unwrap().as_second(), 1_767_268_800);
        let ago = SystemClock.now().duration_since(moment("2h").unwrap()).as_secs();
        assert!((7199..10_800).contains(&ago), "{ago}");
        for odd in ["", "h", "2 h", "-2h", "yesterday", "9223372036854775807d", "2é"] {
            assert!(moment(odd).unwrap_err().contains("90m"), "{odd}");
        }
    }

    #[test]
    fn the_gateways_host_is_in_its_certificate() {
        let base = ["--account", "123456789012", "--gateway-url", "https://[::1]:8443", "--gateway-name", "gw"];
        assert_eq!(check(&base).unwrap().gateway.names, ["::1", "gw"]);
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        let prefix = ["--account=123456789012", "--gateway-url=https://gw:1", "--subject-prefix=system:"];
        let clear =
            ["--account=123456789012", "--gateway-url=https://gw:1", "--mail-from=a@b.c", "--smtp-url=smtp://a:b@c"];
        let plain_link = ["--account=123456789012", "--gateway-url=https://gw:1", "--app-url=http://fleet"];
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "sinks: [{ name: file, jsonLines: { path: lines } }]").unwrap();
        let list = format!("--event-sinks={}", file.path().display());
        let one_file = ["--account=123456789012", "--gateway-url=https://gw:1", &list, "--audit=lines"];
        let nowhere = ["--account=123456789012", "--gateway-url=https://gw:1", "--event-sinks=/nowhere"];
        for (arguments, named) in [
            (&["--account", "1", "--gateway-url", "https://gw:1"][..], "account id"),
            (&["--account", "123456789012", "--gateway-url", "http://gw:1"], "--gateway-url"),
            (&["--account", "123456789012", "--gateway-url", "https://gw/path"], "--gateway-url"),
            (&one_file, "--audit lines"),
            (&nowhere, "--event-sinks /nowhere"),
            (&prefix, "--subject-prefix"),
            (&clear, "password in the clear"),
            (&plain_link, "--app-url http://"),
        ] {
            let error = format!("{:#}", check(arguments).unwrap_err());
            assert!(error.contains(named), "{error}");
        }
    }
}
