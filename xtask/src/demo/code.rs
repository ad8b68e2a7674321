//! The activation code of a device that waits for a person, as that person gets it: from the portal, with an installer's
//! token.

use anyhow::{Context, Result};
use fleetform_crds::DeviceInstance;
use fleetform_domain::wire::DeviceName;
use fleetform_e2e::Installation;
use kube::ResourceExt;
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde_json::json;

/// Who fetches it.
const INSTALLER: &str = "demo-installer";

/// Makes an installer who may fetch codes in this namespace and nothing more, has them fetch the code of `device`, and
/// draws it.
pub(super) async fn invitation(installation: &Installation, device: &DeviceInstance) -> Result<String> {
    let namespace = device.namespace().context("a device instance has a namespace")?;
    let name = DeviceName { project: namespace.clone(), name: device.name_any() };
    hire(installation, &namespace).await.context("make an installer")?;
    let installer = installation.installer(&namespace, INSTALLER).await?;
    let address = installer.site_address(&namespace, &device.spec.site_ref.name).await;
    let address = address.context("ask the portal for the address of the site")?;
    let text = installer.activation_text(&name).await.context("ask the portal for an activation code")?;
    let picture = draw(&text)?;
    let (display_name, tag) = (&device.spec.display_name, &address.postal_code);
    Ok(format!(
        "\nOne more device waits for a person: {display_name}. Its device scans this code; the ZIP code is {tag}.\n\n{picture}\n"
    ))
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
