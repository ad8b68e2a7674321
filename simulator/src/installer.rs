//! The installer: a person, or who plays one, at the portal.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fleetform_domain::address::PostalAddress;
use fleetform_domain::problem::ProblemCode;
use fleetform_domain::wire::{
    ActivationCodeList, DEVICE_LIST_PATH, DeviceList, DeviceListQuery, DeviceName, activation_code_list_path,
    activation_code_path, project_device_list_path, site_address_path,
};
use hyper::body::Bytes;
use hyper::header::HeaderValue;
use parking_lot::Mutex;

use crate::transport::{Address, Answer, Connection, Network, PemRoots, Question, Refusal, TransportError};

/// Largest list that is read, in bytes: some 200,000 devices.
const MAX_LIST: usize = 64 * 1024 * 1024;

/// Most connections kept open for the next question.
const KEPT_CONNECTIONS: usize = 32;

/// How long a connection is kept open for the next question. Less than any server waits.
const KEPT_FOR: Duration = Duration::from_secs(8);

/// How installers prove who they are: a token of Kubernetes. Its `Debug` hides it.
#[derive(Clone)]
pub enum BearerToken {
    /// Read again at each use: tokens of service accounts are renewed in place.
    File(PathBuf),
    /// This one.
    Text(String),
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "BearerToken::File({})", path.display()),
            Self::Text(_) => f.write_str("BearerToken::Text(…)"),
        }
    }
}

/// The authorities of the portal, as a bundle in PEM.
#[derive(Clone, Debug)]
pub enum PortalAuthorities {
    /// Read again whenever a connection is made.
    File(PathBuf),
    /// These.
    Pem(Vec<u8>),
}

/// Why the portal did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum InstallerError {
    /// The portal said no.
    #[error("the portal refused: {0}")]
    Refused(#[from] Refusal),
    /// No answer, or none that can be used.
    #[error("the portal: {0}")]
    Transport(#[from] TransportError),
    /// A file that is needed cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The token holds what no header can.
    #[error("the token is empty or holds characters that no token has")]
    BadToken,
}

impl InstallerError {
    /// The portal's code, when it refused.
    pub fn code(&self) -> Option<ProblemCode> {
        if let Self::Refused(refusal) = self { refusal.code } else { None }
    }

    /// A short name, one of few: for counters and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Refused(refusal) => refusal.kind(),
            Self::Transport(error) => error.kind(),
            Self::File { .. } => "file",
            Self::BadToken => "bad-token",
        }
    }
}

/// Someone who may fetch activation codes and nothing more.
pub struct Installer {
    network: Arc<Network>,
    portal: Address,
    authorities: PortalAuthorities,
    token: BearerToken,
    /// What was made of the authorities the last time, and of which bytes.
    roots: Mutex<Option<(Vec<u8>, PemRoots)>>,
    idle: Mutex<Vec<(Instant, Connection)>>,
}

impl fmt::Debug for Installer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Installer").field("portal", &self.portal).field("token", &self.token).finish_non_exhaustive()
    }
}

impl Installer {
    /// An installer who uses this portal. Nothing is read and nobody is called yet.
    pub fn new(network: Arc<Network>, portal: Address, authorities: PortalAuthorities, token: BearerToken) -> Self {
        Self { network, portal, authorities, token, roots: Mutex::default(), idle: Mutex::default() }
    }

    /// The devices of all projects that the installer may see.
    pub async fn devices(&self, query: &DeviceListQuery) -> Result<DeviceList, InstallerError> {
        self.list(DEVICE_LIST_PATH, query).await
    }

    /// The devices of one project.
    pub async fn project_devices(&self, project: &str, query: &DeviceListQuery) -> Result<DeviceList, InstallerError> {
        self.list(&project_device_list_path(project), query).await
    }

    /// The address of a site, to check it and to type its ZIP code.
    pub async fn site_address(&self, project: &str, site: &str) -> Result<PostalAddress, InstallerError> {
        let answer = self.ask(Question::get(site_address_path(project, site))).await?;
        Ok(answer.json()??)
    }

    /// What there is to activate at a site.
    pub async fn activation_codes(&self, project: &str, site: &str) -> Result<ActivationCodeList, InstallerError> {
        let question = Question::get(activation_code_list_path(project, site)).limited_to(MAX_LIST);
        Ok(self.ask(question).await?.json()??)
    }

    /// The activation code of a device instance as a PNG picture.
    pub async fn activation_picture(&self, device: &DeviceName) -> Result<Bytes, InstallerError> {
        self.code(device, "image/png").await
    }

    /// The text of the activation code of a device instance. It is a secret.
    pub async fn activation_text(&self, device: &DeviceName) -> Result<String, InstallerError> {
        let body = self.code(device, "text/plain").await?;
        let text = String::from_utf8(body.into()).map_err(|_| TransportError::Malformed("it is not UTF-8".into()))?;
        Ok(text)
    }

    async fn code(&self, device: &DeviceName, media_type: &'static str) -> Result<Bytes, InstallerError> {
        let question = Question::post(activation_code_path(&device.project, &device.name)).accepting(media_type);
        Ok(self.ask(question).await?.body(media_type)??)
    }

    async fn list(&self, path: &str, query: &DeviceListQuery) -> Result<DeviceList, InstallerError> {
        let wait = Duration::from_secs(query.wait_seconds.into());
        let question = Question::get(format!("{path}?{}", query_string(query))).limited_to(MAX_LIST).waiting(wait);
        Ok(self.ask(question).await?.json()??)
    }

    async fn ask(&self, question: Question) -> Result<Answer, InstallerError> {
        let question = question.authorized_by(self.authorization().await?);
        while let Some(mut connection) = self.idle_connection() {
            match connection.ask(&question).await {
                Ok(answer) => return Ok(self.keep(connection, answer)),
                // An idle connection may close at any time, and all that installers ask may be asked again.
                Err(TransportError::Lost(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let roots = self.roots().await?;
        let mut connection = self.network.connect_trusting(&self.portal, &roots).await?;
        let answer = connection.ask(&question).await?;
        Ok(self.keep(connection, answer))
    }

    fn idle_connection(&self) -> Option<Connection> {
        let mut idle = self.idle.lock();
        idle.retain(|(since, connection)| since.elapsed() < KEPT_FOR && connection.is_open());
        idle.pop().map(|(_, connection)| connection)
    }

    fn keep(&self, connection: Connection, answer: Answer) -> Answer {
        let mut idle = self.idle.lock();
        if idle.len() < KEPT_CONNECTIONS && connection.is_open() {
            idle.push((Instant::now(), connection));
        }
        answer
    }

    async fn authorization(&self) -> Result<HeaderValue, InstallerError> {
        let token = match &self.token {
            BearerToken::File(path) => String::from_utf8(read(path).await?).map_err(|_| InstallerError::BadToken)?,
            BearerToken::Text(text) => text.clone(),
        };
        let token = token.trim();
        if token.is_empty() {
            return Err(InstallerError::BadToken);
        }
        HeaderValue::try_from(format!("Bearer {token}")).map_err(|_| InstallerError::BadToken)
    }

    async fn roots(&self) -> Result<PemRoots, InstallerError> {
        let pem = match &self.authorities {
            PortalAuthorities::File(path) => read(path).await?,
            PortalAuthorities::Pem(pem) => pem.clone(),
        };
        let mut known = self.roots.lock();
        if let Some((bytes, roots)) = &*known
            && *bytes == pem
        {
            return Ok(roots.clone());
        }
        let roots = self.network.roots(&pem)?;
        *known = Some((pem, roots.clone()));
        Ok(roots)
    }
}

async fn read(path: &PathBuf) -> Result<Vec<u8>, InstallerError> {
    tokio::fs::read(path).await.map_err(|source| InstallerError::File { path: path.clone(), source })
}

/// The query as it stands in an address: the names are those of the message, so there is one place that says them.
fn query_string(query: &DeviceListQuery) -> String {
    let serde_json::Value::Object(members) = serde_json::to_value(query).expect("a query is plain data") else {
        unreachable!("a query is an object");
    };
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), percent_encoded);
    members.iter().map(|(name, value)| format!("{name}={}", text(value))).collect::<Vec<_>>().join("&")
}

fn percent_encoded(text: &str) -> String {
    use fmt::Write as _;
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a String cannot fail");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_names_only_what_is_asked() {
        let query = DeviceListQuery { wait_seconds: 30, ..DeviceListQuery::default() };
        assert_eq!(query_string(&query), "waitSeconds=30");
        let query = DeviceListQuery {
            site: Some("central".into()),
            simulated: Some(true),
            since: Some("3c9f.17&a=b c".into()),
            wait_seconds: 0,
        };
        let text = query_string(&query);
        let mut members: Vec<_> = text.split('&').collect();
        members.sort_unstable();
        assert_eq!(members, ["simulated=true", "since=3c9f.17%26a%3Db%20c", "site=central", "waitSeconds=0"]);
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert_eq!(format!("{:?}", BearerToken::Text("eyJ".into())), "BearerToken::Text(…)");
    }
}
