//! `cargo xtask generate`: what is checked in and made from code.

use std::fs;

use anyhow::{Context, Result};
use fleetform_crds::definition;
use fleetform_domain::openapi;

use crate::workspace;

/// Where the definitions are kept: on their own, and in the chart.
const DEFINITIONS: [&str; 2] = ["crds/generated", "charts/fleetform/files/crds"];

/// Writes the definitions of the custom resources and the document of the protocol.
pub(crate) fn run() -> Result<()> {
    for folder in DEFINITIONS {
        for (name, yaml) in definition::documents() {
            write(&format!("{folder}/{name}"), &yaml)?;
        }
    }
    let document = serde_json::to_string_pretty(&openapi::document())?;
    write("docs/openapi.json", &format!("{document}\n"))
}

fn write(file: &str, text: &str) -> Result<()> {
    let path = workspace::root().join(file);
    if fs::read_to_string(&path).unwrap_or_default() != text {
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        println!("{file}");
    }
    Ok(())
}
