//! Free ports on the loopback interface.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rand::Rng;

/// Below the ports that Linux gives to outgoing connections (32768 and up): while a component is down, no connection of
/// somebody else can take its port.
const RANGE: Range<u16> = 12_000..32_000;

/// How many are tried.
const ATTEMPTS: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) etcd: u16,
    pub(super) etcd_peer: u16,
    pub(super) api_server: u16,
}

impl Ports {
    /// Those in `file`, so that kubeconfigs that were handed out go on working, if they are free; else others, written to it.
    pub(super) fn choose(file: &Path) -> Result<Self> {
        if let Some(ports) = fs::read_to_string(file).ok().and_then(|text| Self::parse(&text))
            && [ports.etcd, ports.etcd_peer, ports.api_server].into_iter().all(|port| listen(port).is_some())
        {
            return Ok(ports);
        }
        let [etcd, etcd_peer, api_server] = free()?;
        let ports = Self { etcd, etcd_peer, api_server };
        let text = format!("{} {} {}\n", ports.etcd, ports.etcd_peer, ports.api_server);
        fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
        Ok(ports)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { etcd: next()?, etcd_peer: next()?, api_server: next()? })
    }

    /// Where the API server is.
    pub(super) fn server(self) -> String {
        format!("https://127.0.0.1:{}", self.api_server)
    }

    /// Where etcd serves the API server.
    pub(super) fn etcd(self) -> String {
        format!("http://127.0.0.1:{}", self.etcd)
    }
}

/// Ports on which nobody listens, all different.
pub fn free<const N: usize>() -> Result<[u16; N]> {
    // Held until all are chosen, so that they differ.
    let mut held = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let found = (0..ATTEMPTS).find_map(|_| {
            let port = rand::rng().random_range(RANGE);
            listen(port).map(|listener| (port, listener))
        });
        let Some((number, listener)) = found else {
            bail!(
                "no free port on 127.0.0.1 between {} and {}: stop something that listens there",
                RANGE.start,
                RANGE.end
            );
        };
        held.push(listener);
        *port = number;
    }
    Ok(ports)
}

fn listen(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
}

#[cfg(test)]
mod tests {
    use super::{Ports, listen};

    #[test]
    fn ports_stay_while_they_are_free() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("ports");
        let first = Ports::choose(&file).unwrap();
        assert_eq!(Ports::choose(&file).unwrap(), first);
        let _taken = listen(first.api_server).unwrap();
        assert_ne!(Ports::choose(&file).unwrap().api_server, first.api_server);
    }
}
