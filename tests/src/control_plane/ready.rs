//! When a component serves.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use http::Request;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Component, ControlPlane};
use crate::wait::{self, Look};

/// How long a component may take; it is seconds, on a machine that has little else to do.
const LIMIT: Duration = Duration::from_mins(2);
/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(5);

pub(super) async fn wait(plane: &ControlPlane, component: Component) -> Result<()> {
    let look = async || {
        if plane.pid(component).is_none() {
            bail!("{component} ended instead of serving");
        }
        Ok(match timeout(ANSWER, probe(plane, component)).await {
            Ok(Ok(())) => Look::Done(()),
            Ok(Err(error)) => Look::NotYet(format!("{error:#}")),
            Err(_) => Look::NotYet(format!("no answer in {} s", ANSWER.as_secs())),
        })
    };
    let result = wait::until(&format!("{component} to serve"), LIMIT, look).await;
    result.map_err(|error| anyhow!("{error:#}; {}", plane.log_end(component)))
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
