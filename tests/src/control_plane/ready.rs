//! When a component serves.

use std::time::Duration;

use anyhow::{Result, bail};
use http::Request;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Component, ControlPlane};
use crate::wait::{self, Look};

/// How long a component may take; it is seconds, on a machine that has little else to do.
const LIMIT: Duration = Duration::from_secs(120);
/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(5);
/// Lines of a log that an error carries.
const TAIL: usize = 25;

pub(super) async fn wait(plane: &ControlPlane, component: Component) -> Result<()> {
    let look = async || {
        if let Some(tail) = ended(plane, component) {
            bail!("{component} ended instead of serving; its log, {}, ends with:\n{tail}", plane.log(component).display());
        }
        Ok(match timeout(ANSWER, probe(plane, component)).await {
            Ok(Ok(())) => Look::Done(()),
            Ok(Err(error)) => Look::NotYet(format!("{error:#}")),
            Err(_) => Look::NotYet(format!("no answer in {} s", ANSWER.as_secs())),
        })
    };
    wait::until(&format!("{component} to serve"), LIMIT, look).await.map_err(|error| {
        let tail = plane.processes().get(&component).map(|process| process.log_tail(TAIL)).unwrap_or_default();
        if error.to_string().contains("ended instead") { error } else { error.context(format!("its log ends with:\n{tail}")) }
    })
}

/// The end of the log of a component that has ended.
fn ended(plane: &ControlPlane, component: Component) -> Option<String> {
    let mut processes = plane.processes();
    let process = processes.get_mut(&component)?;
    (!process.is_running()).then(|| process.log_tail(TAIL))
}

async fn probe(plane: &ControlPlane, component: Component) -> Result<()> {
    match component {
        Component::Etcd => {
            TcpStream::connect(("127.0.0.1", plane.ports.etcd)).await?;
        }
        Component::ApiServer => {
            // Includes the hook that makes the system's roles.
            plane.client.request_text(Request::get("/readyz").body(Vec::new())?).await?;
            Api::<Namespace>::all(plane.client.clone()).get("default").await?;
        }
        Component::ControllerManager => {
            // The work of its controllers is what can be seen of them.
            Api::<ServiceAccount>::namespaced(plane.client.clone(), "default").get("default").await?;
        }
    }
    Ok(())
}
