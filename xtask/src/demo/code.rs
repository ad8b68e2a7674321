//! The activation code of a device that waits for a person, as that person gets it: from the portal, with an installer's
//! token.

use std::time::Duration;

use anyhow::{Context, Result};
use fleetform_domain::activation::Phase;
use fleetform_domain::wire::{DeviceListQuery, DeviceSummary};
use fleetform_e2e::Installation;
use fleetform_e2e::wait::{self, Look};
use fleetform_simulator::installer::{Installer, InstallerError};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;

/// Who fetches it.
const INSTALLER: &str = "demo-installer";

/// How long the device may take to be ready for activation, with all that comes before.
const LIMIT: Duration = Duration::from_mins(2);

/// Makes an installer who may fetch codes in this namespace and nothing more, has them fetch the code of a device that nobody
/// simulates, once there is one, and draws it.
pub(super) async fn invitation(installation: &Installation, namespace: &str) -> Result<String> {
    hire(installation, namespace).await.context("make an installer")?;
    let installer = installation.installer(namespace, INSTALLER).await?;
    let query = DeviceListQuery { simulated: Some(false), ..DeviceListQuery::default() };
    let (device, text) = wait::until("a code for a person", LIMIT, async || {
        Ok(match code(&installer, namespace, &query).await {
            Ok(Some(found)) => Look::Done(found),
            Ok(None) => Look::NotYet("there is no device for a person".to_owned()),
            Err(error) => Look::NotYet(error.to_string()),
        })
    })
    .await?;
    let address = installer.site_address(namespace, &device.site).await;
    let zip = address.context("ask the portal for the address of the site")?.postal_code;
    let (name, picture) = (&device.display_name, draw(&text)?);
    let play = format!(
        "cargo run --quiet --package fleetform-simulator --bin fleetform-device -- --zip {zip} --code '{text}'"
    );
    Ok(format!(
        "\nOne more device waits for a person: {name}. It scans this code; the ZIP code is {zip}.\n\n{picture}\n\
         No device at hand? Play it from another terminal:\n    {play}\n"
    ))
}

async fn code(
    installer: &Installer,
    namespace: &str,
    query: &DeviceListQuery,
) -> Result<Option<(DeviceSummary, String)>, InstallerError> {
    let list = installer.project_devices(namespace, query).await?;
    let Some(device) = list.items.into_iter().find(|device| device.phase == Phase::ReadyForActivation) else {
        return Ok(None);
    };
    let text = installer.activation_text(&device.id).await?;
    Ok(Some((device, text)))
}

async fn hire(installation: &Installation, namespace: &str) -> Result<()> {
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": INSTALLER, "namespace": namespace },
    });
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": { "name": INSTALLER, "namespace": namespace },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "fleetform-installer" },
        "subjects": [{ "kind": "ServiceAccount", "name": INSTALLER, "namespace": namespace }],
    });
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": [account, binding] }).to_string();
    installation.cluster().kubectl(&["apply", "--filename=-"], Some(&list)).await.map(drop)
}

/// Black on white whatever the terminal's colours are, or no phone reads it.
fn draw(text: &str) -> Result<String> {
    let code = QrCode::new(text).context("draw the code")?;
    let picture = code.render::<Dense1x2>().dark_color(Dense1x2::Dark).light_color(Dense1x2::Light).build();
    let lines: Vec<_> = picture.lines().map(|line| format!("\u{1b}[30;107m{line}\u{1b}[0m")).collect();
    Ok(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::draw;

    #[test]
    fn a_code_is_drawn_two_modules_to_a_character() {
        let lines: Vec<_> = draw("https://127.0.0.1:8443#v1.a.b").unwrap().lines().map(str::to_owned).collect();
        assert!(lines.iter().all(|line| line.starts_with("\u{1b}[30;107m") && line.ends_with("\u{1b}[0m")));
        assert!(lines.len() > 10);
    }
}
