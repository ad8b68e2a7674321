//! What a vendor of devices does: makes a key, and signs releases with it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Parser, Subcommand};
use fleetform_domain::configuration::{MAX_RELEASE_BYTES, Software};

use crate::release::ReleaseKey;

/// Signs releases of device software.
#[derive(Debug, Parser)]
#[command(name = "fleetform-release", version)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    pub task: Task,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Task {
    /// Makes a key that signs releases, and prints its public half: what devices have to trust from the factory
    Key {
        /// Where the private half is written to, base64. A file that is there is not replaced
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Signs a release, and prints it as it stands in a configuration
    Sign {
        /// The release
        file: PathBuf,

        /// Semantic version of the release
        #[arg(long = "release-version", value_name = "VERSION", value_parser = semantic)]
        version: String,

        /// Where devices fetch it from
        #[arg(long, value_name = "URL")]
        url: String,

        /// The key, as `key` wrote it. Left out, the key that simulated devices trust, which is no secret
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,

        /// Lets devices that run a later version go back to this one
        #[arg(long)]
        allow_downgrade: bool,
    },
}

fn semantic(text: &str) -> Result<String, String> {
    let version = semver::Version::parse(text).map_err(|error| error.to_string())?;
    if version.build.is_empty() { Ok(text.to_owned()) } else { Err("leave the build metadata (+…) out".into()) }
}

/// Does it; answers what to print.
pub fn main(cli: &Cli) -> anyhow::Result<String> {
    match &cli.task {
        Task::Key { out } => {
            let seed: [u8; 32] = rand::random();
            write_secret(out, &format!("{}\n", STANDARD.encode(seed)))?;
            Ok(format!("{}\n", ReleaseKey::from_seed(&seed).factory_key()))
        }
        Task::Sign { file, version, url, key, allow_downgrade } => {
            let content = fs::read(file).with_context(|| file.display().to_string())?;
            if content.len() > MAX_RELEASE_BYTES {
                bail!("{}: a release has at most {MAX_RELEASE_BYTES} bytes", file.display());
            }
            let key = key.as_deref().map_or_else(|| Ok(ReleaseKey::of_simulation()), read_key)?;
            let software = Software { allow_downgrade: *allow_downgrade, ..key.sign(version, url, &content) };
            Ok(serde_saphyr::to_string(&Shown { software })?)
        }
    }
}

#[derive(serde::Serialize)]
#[cfg_attr(test, derive(serde::Deserialize))]
struct Shown {
    software: Software,
}

fn read_key(file: &Path) -> anyhow::Result<ReleaseKey> {
    let text = fs::read_to_string(file).with_context(|| format!("--key {}", file.display()))?;
    ReleaseKey::parse(&text).with_context(|| format!("--key {}", file.display()))
}

fn write_secret(file: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.open(file).with_context(|| format!("--out {}", file.display()))?;
    opened.write_all(text.as_bytes()).with_context(|| format!("--out {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn run(arguments: &[&str]) -> anyhow::Result<String> {
        main(&Cli::try_parse_from(["fleetform-release"].iter().chain(arguments))?)
    }

    #[test]
    fn help_names_every_option() {
        let mut command = Cli::command();
        let sign = command.find_subcommand_mut("sign").unwrap().render_help();
        insta::assert_snapshot!(sign);
    }

    #[test]
    fn what_is_signed_with_a_key_is_trusted_by_its_public_half() {
        let folder = tempfile::tempdir().unwrap();
        let (key, file) = (folder.path().join("key"), folder.path().join("reader.bin"));
        let (key, file) = (key.to_str().unwrap(), file.to_str().unwrap());
        fs::write(file, "the software").unwrap();
        let public = run(&["key", "--out", key]).unwrap();
        assert!(run(&["key", "--out", key]).is_err(), "a key is not replaced");
        let said = run(&[
            "sign",
            file,
            "--release-version",
            "1.4.0",
            "--url",
            "https://releases.example/reader.bin",
            "--key",
            key,
        ]);
        let Shown { software } = serde_saphyr::from_str(&said.unwrap()).unwrap();
        let trusted: crate::release::FactoryKey = public.trim().parse().unwrap();
        assert_eq!(trusted.permits(&software, "1.3.0"), Ok(()));
        assert!(crate::release::FactoryKey::of_simulation().permits(&software, "1.3.0").is_err());
    }

    #[test]
    fn versions_are_semantic() {
        assert!(semantic("1.4.0-rc.1").is_ok());
        assert!(semantic("1.4").is_err() && semantic("1.4.0+build").is_err());
    }
}
