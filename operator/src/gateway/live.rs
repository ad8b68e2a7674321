//! Reads past the cache, bounded in time.

use std::future::Future;
use std::time::Duration;

use fleetform_crds::{DeviceInstance, EnrolledUser, Site};
use fleetform_domain::address::PostalAddress;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ListParams;
use kube::{Api, Client};

use crate::cache::{Name, SecretMeta};
use crate::error::{Error, Result};
use crate::reconcile::names;

/// A read is given up after this long, retries of the client included.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The device instance of this name as it is stored now.
pub async fn device(client: &Client, name: &Name) -> Result<Option<DeviceInstance>> {
    let api: Api<DeviceInstance> = Api::namespaced(client.clone(), &name.namespace);
    bounded(format!("read the DeviceInstance {name}"), api.get_opt(&name.name)).await
}

/// What the API server holds under the name of a device instance.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The instance, if there is one.
    pub device: Option<DeviceInstance>,
    /// The revision of the store that says so; 0 when it does not say.
    pub revision: u64,
}

/// What is stored under this name now, and when that was true. A list tells both, and where the kind itself is not there it is an
/// error, not an absence.
pub async fn stored(client: &Client, name: &Name) -> Result<Stored> {
    let api: Api<DeviceInstance> = Api::namespaced(client.clone(), &name.namespace);
    let only = ListParams::default().fields(&format!("metadata.name={}", name.name));
    let list = bounded(format!("look for the DeviceInstance {name}"), api.list(&only)).await?;
    let revision = list.metadata.resource_version.as_deref().and_then(|revision| revision.parse().ok());
    Ok(Stored { device: list.items.into_iter().next(), revision: revision.unwrap_or(0) })
}

/// The enrolled user of this name as it is stored now.
pub async fn user(client: &Client, name: &Name) -> Result<Option<EnrolledUser>> {
    let api: Api<EnrolledUser> = Api::namespaced(client.clone(), &name.namespace);
    bounded(format!("read the EnrolledUser {name}"), api.get_opt(&name.name)).await
}

/// The site of this name as it is stored now.
pub async fn site(client: &Client, name: &Name) -> Result<Option<Site>> {
    let api: Api<Site> = Api::namespaced(client.clone(), &name.namespace);
    bounded(format!("read the Site {name}"), api.get_opt(&name.name)).await
}

/// The Secret of this name.
pub async fn secret(client: &Client, name: &Name) -> Result<Option<Secret>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &name.namespace);
    bounded(format!("read the Secret {name}"), api.get_opt(&name.name)).await
}

/// The metadata of the Secret of this name.
pub async fn secret_metadata(client: &Client, name: &Name) -> Result<Option<SecretMeta>> {
    let api: Api<Secret> = Api::namespaced(client.clone(), &name.namespace);
    let what = format!("read the metadata of the Secret {name}");
    bounded(what, api.get_metadata_opt(&name.name)).await
}

/// Where a site is: inline, or in the Secret that it names. Only Secrets of type `fleetform.dev/address` are read: who may
/// write a Site must not thereby read any Secret.
pub async fn address(client: &Client, site: &Site) -> Result<PostalAddress> {
    if let Some(address) = &site.spec.address {
        return Ok(address.clone());
    }
    let Some(reference) = &site.spec.address_from else {
        return Err(unusable(&format!("Site {}", Name::of(site)), "it has neither address nor addressFrom"));
    };
    let name = Name::new(Name::of(site).namespace, &reference.name);
    let stored = secret(client, &name).await?;
    let what = format!("Secret {name} (addressFrom of Site {})", Name::of(site).name);
    let stored = stored.ok_or_else(|| unusable(&what, "it does not exist"))?;
    read_address(&stored).map_err(|why| unusable(&what, &why))
}

/// The address in a Secret: its keys are the members of an address.
fn read_address(secret: &Secret) -> Result<PostalAddress, String> {
    if secret.type_.as_deref() != Some(names::ADDRESS_TYPE) {
        return Err(format!("its type is not {}", names::ADDRESS_TYPE));
    }
    let data = secret.data.as_ref().into_iter().flatten();
    let members = data.map(|(key, value)| {
        let text = std::str::from_utf8(&value.0).map_err(|_| format!("its {key} is no text"))?;
        Ok((key.clone(), serde_json::Value::from(text.trim())))
    });
    let members = members.collect::<Result<serde_json::Map<_, _>, String>>()?;
    serde_json::from_value(serde_json::Value::Object(members)).map_err(|error| error.to_string())
}

fn unusable(what: &str, why: &str) -> Error {
    Error::Unreadable { what: what.to_owned(), why: why.to_owned() }
}

pub(crate) async fn bounded<T>(what: String, request: impl Future<Output = kube::Result<T>>) -> Result<T> {
    match tokio::time::timeout(READ_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|source| Error::kube(what, source)),
        Err(_) => Err(Error::TimedOut { what, limit: READ_TIMEOUT }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn secret(type_: &str, data: &[(&str, &str)]) -> Secret {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec())));
        Secret { type_: Some(type_.to_owned()), data: Some(data.collect()), ..Secret::default() }
    }

    const ADDRESS: [(&str, &str); 5] = [
        ("addressLine1", "1000 Fourth Avenue"),
        ("city", "Seattle"),
        ("stateOrRegion", "WA"),
        ("postalCode", "98104\n"),
        ("countryCode", "US"),
    ];

    #[test]
    fn only_secrets_of_the_right_type_are_read() {
        let address = read_address(&secret(names::ADDRESS_TYPE, &ADDRESS)).unwrap();
        assert_eq!(address.postal_code, "98104");
        assert_eq!(read_address(&secret("Opaque", &ADDRESS)).unwrap_err(), "its type is not fleetform.dev/address");
        let missing = read_address(&secret(names::ADDRESS_TYPE, &ADDRESS[..1])).unwrap_err();
        assert!(missing.contains("city"), "{missing}");
    }
}
