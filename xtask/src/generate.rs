//! `cargo xtask generate`: what is checked in and made from code.

use std::fs;

use anyhow::{Context, Result};
use fleetform_crds::definition;

use crate::workspace;

/// Where the definitions are kept: on their own, and in the chart.
const DEFINITIONS: [&str; 2] = ["crds/generated", "charts/fleetform/files/crds"];

/// Writes the definitions of the custom resources.
pub(crate) fn run() -> Result<()> {
    for folder in DEFINITIONS {
        for (name, yaml) in definition::documents() {
            let path = workspace::root().join(folder).join(name);
            let before = fs::read_to_string(&path).unwrap_or_default();
            if before != yaml {
                fs::write(&path, yaml).with_context(|| format!("write {}", path.display()))?;
                println!("{}", path.display());
            }
        }
    }
    Ok(())
}
