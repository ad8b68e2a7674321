//! The portal: activation codes and lists of them, configurations by version, the list of devices, addresses of sites, profiles of
//! enrolled users, letters to those who got a role, recent measurements and what is declared at a site, for people and who plays them. They come with a Kubernetes token, and Kubernetes decides
//! what they may.
//!
//! # Guarantees
//! What is absent and what is forbidden look alike. Codes, addresses and configurations are not kept by caches. Each hand-out of
//! one of them, and each refused one, is in the audit trail before anybody hears of it.

mod access;
mod address;
mod audit_events;
mod code;
mod codes;
mod configuration;
mod feed;
mod follow;
mod invitation;
mod list;
mod measurements;
mod media;
mod objects;
mod profile;
mod record;
mod reviews;
mod visit;

use std::sync::Arc;

use anyhow::Context as _;
use axum::Router;
use axum::routing::{get, post};
use fleetform_domain::audit::AUDIT_EVENTS_PATH;
use fleetform_domain::wire::{
    DEVICE_LIST_PATH, activation_code_list_path, activation_code_path, admin_user_invitation_path,
    asset_measurements_path, configuration_version_path, enrolled_user_profile_path, project_device_list_path,
    site_address_path, site_objects_path,
};
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::context::Context;
use crate::crypto::{CryptoError, ServingCertificate, provider};
use crate::server::{self, Application, Limits, Shards, Transport, method_not_allowed, path_not_found};
use access::Access;
use audit_events::AuditEvents;
use follow::Follower;

/// What the routes share.
#[derive(Debug)]
struct Portal {
    context: Context,
    shutdown: CancellationToken,
    access: Access,
    devices: Arc<Follower>,
    rotations: Shards,
    audit_events: AuditEvents,
}

/// Serves people until `shutdown`; then waiting requests are answered and running ones finished. An error when there is no
/// certificate to show.
pub async fn serve(context: Context, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    let (tls, certificate) =
        tls(&context).context("the portal cannot serve: check --portal-name and the certificate's files")?;
    let clock = Arc::clone(&context.clock);
    let devices = Arc::new(Follower::new(&context));
    let (following, world) = (Arc::clone(&devices), Arc::clone(&context.world));
    let mut background = JoinSet::new();
    background.spawn(async move { certificate.keep_current(&*clock).await });
    let begun = following.begin(&world);
    background.spawn(async move { following.follow(&world, begun).await });
    let access = Access::new(context.client.clone(), context.settings.portal.audience.clone(), &context.clock);
    let metrics = Arc::clone(&context.metrics);
    let audit_events = AuditEvents::new(&context.settings);
    let portal =
        Portal { context, shutdown: shutdown.clone(), access, devices, rotations: Shards::default(), audit_events };
    let application = Application { name: "portal", router: router(Arc::new(portal)), route, metrics };
    server::serve(listener, Transport::Tls(Arc::new(tls)), application, Limits::default(), shutdown).await;
    Ok(())
}

fn router(portal: Arc<Portal>) -> Router {
    Router::new()
        .route(DEVICE_LIST_PATH, get(list::all))
        .route(&project_device_list_path("{project}"), get(list::of_project))
        .route(&activation_code_path("{project}", "{name}"), post(code::hand_out))
        .route(&activation_code_list_path("{project}", "{name}"), get(codes::list))
        .route(&configuration_version_path("{project}", "{name}", "{version}"), get(configuration::configuration))
        .route(&site_address_path("{project}", "{name}"), get(address::address))
        .route(&asset_measurements_path("{project}", "{name}"), get(measurements::measurements))
        .route(&site_objects_path("{project}", "{name}"), get(objects::objects))
        .route(&enrolled_user_profile_path("{project}", "{name}"), get(profile::profile))
        .route(&admin_user_invitation_path("{project}", "{name}"), get(invitation::invitation))
        .route(AUDIT_EVENTS_PATH, post(audit_events::take))
        .fallback(path_not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(portal)
}

fn route(path: &str) -> &'static str {
    if path.ends_with("/activation-qr-code") {
        "activation-code"
    } else if path.ends_with("/activation-qr-codes") {
        "activation-code-list"
    } else if path.ends_with("/device-instances") {
        "device-list"
    } else if path.contains("/configuration/") {
        "configuration-version"
    } else if path.ends_with("/address") {
        "site-address"
    } else if path.ends_with("/measurements") {
        "asset-measurements"
    } else if path.ends_with("/objects") {
        "site-objects"
    } else if path.ends_with("/profile") {
        "enrolled-user-profile"
    } else if path.ends_with("/invitation") {
        "user-invitation"
    } else if path == AUDIT_EVENTS_PATH {
        "audit-events"
    } else {
        "other"
    }
}

fn tls(context: &Context) -> Result<(ServerConfig, Arc<ServingCertificate>), CryptoError> {
    let settings = &context.settings.portal;
    let certificate = Arc::new(if let Some((certificate, key)) = &settings.certificate {
        ServingCertificate::of_files(certificate.clone(), key.clone())?
    } else {
        let authorities = Arc::clone(&context.authorities);
        ServingCertificate::of_authorities(authorities, settings.names.clone(), context.clock.now())?
    });
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_cert_resolver(Arc::<ServingCertificate>::clone(&certificate));
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((config, certificate))
}
