//! AWS IAM Identity Center as a customer has it: what stands for it, behind a door that can be shut to the operator for one identity store.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use aws_credential_types::Credentials;
use aws_sdk_identitystore::Client;
use aws_sdk_identitystore::config::{BehaviorVersion, Region};
use aws_sdk_identitystore::types::{AlternateIdentifier, Email, MemberId, Name, UniqueAttribute};
use fleetform_e2e::control_plane::free_ports;
use fleetform_e2e::installation::REGION;
use fleetform_e2e::stand_ins::{self, StandIn};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use uuid::Uuid;

/// How an identity store is to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// It answers.
    Open,
    /// It does not answer.
    Away,
    /// It denies everything, as the API reference says.
    Denied,
}

/// It runs as long as this is kept.
pub(crate) struct IdentityCenter {
    _moto: StandIn,
    client: Client,
    doors: Doors,
}

type Doors = Arc<Mutex<HashMap<String, Door>>>;

impl IdentityCenter {
    /// With a door at this port, which is where the operator calls.
    pub(crate) async fn open(port: u16, dir: &Path) -> Result<Self> {
        let [behind] = free_ports()?;
        let moto = StandIn::moto(behind, dir).await?;
        let [(_, account), (_, secret)] = stand_ins::CREDENTIALS;
        let config = aws_sdk_identitystore::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(REGION))
            .credentials_provider(Credentials::new(account, secret, None, None, "customer"))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .endpoint_url(moto.url());
        let doors = Doors::default();
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
        tokio::spawn(serve(listener, moto.url().to_owned(), Arc::clone(&doors)));
        Ok(Self { _moto: moto, client: Client::from_conf(config.build()), doors })
    }

    /// An identity store of a test's own.
    pub(crate) fn store(&self) -> Store<'_> {
        let id = Uuid::new_v4().simple().to_string();
        Store { center: self, id: format!("d-{}", &id[..10]) }
    }
}

/// One identity store.
pub(crate) struct Store<'a> {
    center: &'a IdentityCenter,
    pub(crate) id: String,
}

impl Store<'_> {
    /// The `spec.directory` that names it.
    pub(crate) fn directory(&self) -> Value {
        json!({ "provider": "IamIdentityCenter", "identityStoreId": self.id })
    }

    /// Opens or shuts it to the operator.
    pub(crate) fn set(&self, door: Door) {
        self.center.doors.lock().insert(self.id.clone(), door);
    }

    /// Adds a person; gives their id.
    pub(crate) async fn add(&self, name: &str, email: &str) -> Result<String> {
        let call = self.center.client.create_user().identity_store_id(&self.id).user_name(name).display_name(name);
        let call = call.name(Name::builder().given_name(name).family_name("Major").build());
        Ok(call.emails(Email::builder().value(email).primary(true).build()).send().await?.user_id)
    }

    /// Adds a group with this member.
    pub(crate) async fn add_group(&self, name: &str, member: String) -> Result<()> {
        let client = &self.center.client;
        let made = client.create_group().identity_store_id(&self.id).display_name(name).send().await?;
        let call = client.create_group_membership().identity_store_id(&self.id).group_id(made.group_id);
        call.member_id(MemberId::UserId(member)).send().await.map(drop).map_err(Into::into)
    }

    /// Id of who has this user name.
    pub(crate) async fn id_of(&self, name: &str) -> Result<String> {
        let by =
            UniqueAttribute::builder().attribute_path("userName").attribute_value(name.to_owned().into()).build()?;
        let call = self.center.client.get_user_id().identity_store_id(&self.id);
        let found = call.alternate_identifier(AlternateIdentifier::UniqueAttribute(by)).send().await;
        Ok(found.with_context(|| format!("find {name}"))?.user_id)
    }

    /// Removes a person.
    pub(crate) async fn remove(&self, name: &str) -> Result<()> {
        let call = self.center.client.delete_user().identity_store_id(&self.id).user_id(self.id_of(name).await?);
        call.send().await.map(drop).map_err(Into::into)
    }
}

async fn serve(listener: TcpListener, behind: String, doors: Doors) {
    let client = legacy::Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    while let Ok((stream, _)) = listener.accept().await {
        let (client, behind, doors) = (client.clone(), behind.clone(), Arc::clone(&doors));
        let answer = service_fn(move |request: Request<Incoming>| {
            let (client, behind, doors) = (client.clone(), behind.clone(), Arc::clone(&doors));
            async move {
                let (mut head, body) = request.into_parts();
                let body = body.collect().await?.to_bytes();
                let asked: Value = serde_json::from_slice(&body)?;
                let store = asked["IdentityStoreId"].as_str().unwrap_or_default();
                let door = doors.lock().get(store).copied().unwrap_or(Door::Open);
                match door {
                    // The connection ends without an answer.
                    Door::Away => Err(anyhow!("away")),
                    Door::Denied => {
                        let body = json!({ "__type": "AccessDeniedException", "Message": "is not authorized" });
                        let answer =
                            Response::builder().status(400).header("content-type", "application/x-amz-json-1.1");
                        Ok(answer.body(Full::new(Bytes::from(body.to_string())))?)
                    }
                    Door::Open => {
                        head.uri = format!("{behind}/").parse()?;
                        let answer = client.request(Request::from_parts(head, Full::new(body))).await?;
                        let (head, body) = answer.into_parts();
                        Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
                    }
                }
            }
        });
        tokio::spawn(async move { http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await });
    }
}
