//! The flags of each component. Pure, but for the audit policy's file.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::ControlPlane;

const AUDIT_POLICY_FILE: &str = "audit-policy.yaml";

/// Everything, without bodies: they are where secrets are. What is only announced (`RequestReceived`) is left out, or every
/// request would be there twice.
const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - level: Metadata
";

/// The controllers that run, by their names in `--controllers`.
const CONTROLLERS: [&str; 7] = [
    "serviceaccount-token-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "namespace-controller",
    "garbage-collector-controller",
    "clusterrole-aggregation-controller",
    "validatingadmissionpolicy-status-controller",
];

pub(super) fn write_audit_policy(dir: &Path, policy: Option<&str>) -> Result<()> {
    let path = dir.join(AUDIT_POLICY_FILE);
    fs::write(&path, policy.unwrap_or(AUDIT_POLICY)).with_context(|| format!("write {}", path.display()))
}

pub(super) fn etcd(plane: &ControlPlane) -> Vec<String> {
    let clients = plane.ports.etcd();
    let peers = format!("http://127.0.0.1:{}", plane.ports.etcd_peer);
    vec![
        "--name=fleetform".to_owned(),
        file("--data-dir", &plane.folder.path("etcd")),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=fleetform={peers}"),
        // What was written survives the end of the process, which is all that is tested; not that of the machine.
        "--unsafe-no-fsync".to_owned(),
        // 8 GiB, the most that etcd recommends; its default is 2.
        "--quota-backend-bytes=8589934592".to_owned(),
    ]
}

pub(super) fn api_server(plane: &ControlPlane) -> Vec<String> {
    let pki = |name: &str| plane.folder.path("pki").join(name);
    let mut flags = vec![
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=127.0.0.1".to_owned(),
        // It would publish the address above as an endpoint of the `kubernetes` Service, where loopback is refused.
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={}", plane.ports.api_server),
        format!("--etcd-servers={}", plane.ports.etcd()),
        file("--tls-cert-file", &pki("kube-apiserver.crt")),
        file("--tls-private-key-file", &pki("kube-apiserver.key")),
        file("--client-ca-file", &pki("ca.crt")),
        "--authorization-mode=RBAC".to_owned(),
        // On by default too; named, because the product's guarantees rest on it.
        "--enable-admission-plugins=ValidatingAdmissionPolicy".to_owned(),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        file("--service-account-key-file", &pki("service-account.pub")),
        file("--service-account-signing-key-file", &pki("service-account.key")),
        // So that aggregated API servers can be registered; their authority is its own, as it may impersonate anybody.
        file("--requestheader-client-ca-file", &pki("front-proxy-ca.crt")),
        "--requestheader-allowed-names=front-proxy-client".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        file("--proxy-client-cert-file", &pki("front-proxy-client.crt")),
        file("--proxy-client-key-file", &pki("front-proxy-client.key")),
        // Two and a half times the defaults: priority and fairness divides them, and one ServiceAccount's share must hold a
        // benchmark's concurrency.
        "--max-requests-inflight=1000".to_owned(),
        "--max-mutating-requests-inflight=500".to_owned(),
        file("--audit-policy-file", &plane.folder.path(AUDIT_POLICY_FILE)),
        file("--audit-log-path", &plane.audit_log()),
        // In batches, off the request's path; a buffer that a benchmark does not fill, or it would count too little.
        "--audit-log-mode=batch".to_owned(),
        "--audit-log-batch-buffer-size=200000".to_owned(),
        "--audit-log-batch-max-size=500".to_owned(),
        "--audit-log-batch-max-wait=200ms".to_owned(),
        "--audit-log-batch-throttle-enable=false".to_owned(),
        // Never rotated in practice (100 GB): readers follow one file.
        "--audit-log-maxsize=100000".to_owned(),
    ];
    flags.extend(plane.api_server_flags.iter().cloned());
    flags
}

pub(super) fn controller_manager(plane: &ControlPlane) -> Vec<String> {
    let pki = |name: &str| plane.folder.path("pki").join(name);
    vec![
        file("--kubeconfig", &plane.folder.path("controller-manager.kubeconfig")),
        format!("--controllers={}", CONTROLLERS.join(",")),
        // Or policies that name a controller's account would not see it.
        "--use-service-account-credentials=true".to_owned(),
        file("--service-account-private-key-file", &pki("service-account.key")),
        file("--root-ca-file", &pki("ca.crt")),
        "--leader-elect=false".to_owned(),
        "--secure-port=0".to_owned(),
        // The default of 20 requests a second would have a fleet of thousands wait minutes for its garbage collection.
        "--kube-api-qps=200".to_owned(),
        "--kube-api-burst=400".to_owned(),
    ]
}

fn file(flag: &str, path: &Path) -> String {
    format!("{flag}={}", path.display())
}
