//! The control plane's certificates and keys: made once per folder, read from it after that.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};

/// Written last: with it, the folder is complete.
const COMPLETE: &str = "complete";

/// A certificate and its key, in PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// What goes into kubeconfigs; the rest is read from files by the components themselves.
pub(super) struct Pki {
    pub(super) ca: String,
    pub(super) admin: Pair,
    pub(super) controller_manager: Pair,
}

impl Pki {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        if !dir.join(COMPLETE).exists() {
            fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
            create(dir).context("make the control plane's certificates")?;
        }
        let read = |name: &str| {
            fs::read_to_string(dir.join(name)).with_context(|| format!("read {name} in {}", dir.display()))
        };
        let pair = |name: &str| -> Result<Pair> {
            Ok(Pair { certificate: read(&format!("{name}.crt"))?, key: read(&format!("{name}.key"))? })
        };
        Ok(Self { ca: read("ca.crt")?, admin: pair("admin")?, controller_manager: pair("kube-controller-manager")? })
    }
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn create(dir: &Path) -> Result<()> {
    let ca = authority("fleetform-test-ca")?;
    write(dir, "ca.crt", &ca.pem())?;

    let mut server = CertificateParams::new(
        [
            "localhost",
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ]
        .map(str::to_owned),
    )?;
    // The second is the first address of the Services' range, which the API server gives to the `kubernetes` Service.
    for address in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 0, 1)] {
        server.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(address)));
    }
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    issue(dir, "kube-apiserver", server, ExtendedKeyUsagePurpose::ServerAuth, &ca)?;

    let client = ExtendedKeyUsagePurpose::ClientAuth;
    issue(dir, "admin", person("admin", Some("system:masters")), client.clone(), &ca)?;
    issue(dir, "kube-controller-manager", person("system:kube-controller-manager", None), client.clone(), &ca)?;

    let front_proxy = authority("fleetform-test-front-proxy-ca")?;
    write(dir, "front-proxy-ca.crt", &front_proxy.pem())?;
    issue(dir, "front-proxy-client", person("front-proxy-client", None), client, &front_proxy)?;

    let tokens = KeyPair::generate()?;
    write(dir, "service-account.key", &tokens.serialize_pem())?;
    write(dir, "service-account.pub", &tokens.public_key_pem())?;
    write(dir, COMPLETE, "")
}

/// A certificate authority whose key nobody keeps: what it has to sign is signed here.
fn authority(name: &str) -> Result<Authority> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// A client as Kubernetes reads it: the common name is the user, the organisation the group.
fn person(user: &str, group: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, user);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params
}

fn issue(
    dir: &Path,
    name: &str,
    mut params: CertificateParams,
    purpose: ExtendedKeyUsagePurpose,
    ca: &Authority,
) -> Result<()> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    write(dir, &format!("{name}.crt"), &certificate.pem())?;
    write(dir, &format!("{name}.key"), &key.serialize_pem())
}

/// Writes a file that only its owner reads.
pub(crate) fn write_private(path: &Path, content: &str) -> Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(content.as_bytes())).with_context(|| format!("write {}", path.display()))
}

fn write(dir: &Path, name: &str, content: &str) -> Result<()> {
    write_private(&dir.join(name), content)
}

#[cfg(test)]
mod tests {
    use super::Pki;

    #[test]
    fn keys_are_made_once_per_folder() {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("pki");
        let first = Pki::open(&dir).unwrap();
        let second = Pki::open(&dir).unwrap();
        assert_eq!(first.ca, second.ca);
        assert_eq!(first.admin.key, second.admin.key);
        assert!(first.admin.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
    }
}
