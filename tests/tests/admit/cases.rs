//! The cases in `cases/`, one file each: see the README there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use serde_json::{Value, json};

use super::refusals::Refusals;
use super::{Cluster, Kind};
use crate::render::{objects, text};

/// A folder of cases.
struct Folder {
    name: &'static str,
    /// The kinds whose objects the cases are about.
    kinds: &'static [Kind],
    /// Where in the object a case's first document goes.
    member: Option<[&'static str; 2]>,
}

const FOLDERS: [Folder; 10] = [
    Folder { name: "project", kinds: &[Kind::Project], member: None },
    Folder { name: "site", kinds: &[Kind::Site], member: None },
    Folder { name: "configtemplate", kinds: &[Kind::ConfigTemplate], member: None },
    Folder { name: "deviceinstance", kinds: &[Kind::DeviceInstance], member: None },
    Folder { name: "asset", kinds: &[Kind::Asset], member: None },
    Folder { name: "alert", kinds: &[Kind::Alert], member: None },
    Folder { name: "enrolleduser", kinds: &[Kind::EnrolledUser], member: None },
    Folder { name: "adminuser", kinds: &[Kind::AdminUser], member: None },
    Folder { name: "any", kinds: &Kind::DECLARED, member: None },
    Folder {
        name: "configuration",
        kinds: &[Kind::ConfigTemplate, Kind::DeviceInstance],
        member: Some(["spec", "configuration"]),
    },
];

/// What a file holds.
struct Case {
    /// `<folder>/<file>`, without the ending.
    name: String,
    accepted: bool,
    /// How the object stands, and the edit that is tried on it, if one is.
    documents: Vec<Value>,
}

pub(crate) async fn each_is_accepted_or_rejected_as_it_is_named(cluster: &Cluster, refusals: &Refusals) -> Result<()> {
    let mut wrong = Vec::new();
    for folder in &FOLDERS {
        let read = read(folder)?;
        wrong.extend(rejected_without_remedy(&read));
        for case in &read {
            for kind in folder.kinds {
                let tried = attempt(cluster, folder, *kind, case).await;
                let outcome = tried.with_context(|| format!("{} ({kind:?})", case.name))?;
                wrong.extend(judge(case, *kind, outcome.as_ref()));
                if let Some(status) = outcome {
                    refusals.by_rule(&case.name, *kind, &status);
                }
            }
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// What is wrong about an outcome, if anything is.
fn judge(case: &Case, kind: Kind, refusal: Option<&Status>) -> Option<String> {
    let causes = |status: &Status| status.details.as_ref().map_or(0, |details| details.causes.len());
    let wrong = match refusal {
        None if case.accepted => return None,
        None => "is let through".to_owned(),
        Some(status) if case.accepted => format!("is refused: {}", status.message),
        Some(status) if causes(status) == 1 => return None,
        Some(status) => format!("breaks {} rules instead of one: {}", causes(status), status.message),
    };
    Some(format!("{} ({kind:?}) {wrong}", case.name))
}

/// Tries a case on a kind, in a namespace of its own; what the API server said against it.
async fn attempt(cluster: &Cluster, folder: &Folder, kind: Kind, case: &Case) -> Result<Option<Status>> {
    let mut object = example(kind)?;
    let stands = &case.documents[0];
    match folder.member {
        None => json_patch::merge(&mut object, stands),
        Some([outer, inner]) => json_patch::merge(&mut object, &json!({ outer: { inner: stands } })),
    }
    let namespace = cluster.namespace(case.name.rsplit('/').next().unwrap_or_default(), json!({})).await?;
    let stored = cluster.store(kind, &namespace, &object).await;
    let Some(edit) = case.documents.get(1) else { return outcome(stored) };
    stored.context("the object as it stands must be let through")?;
    let name = text(&object, "/metadata/name");
    let edited = cluster.api(kind, &namespace).patch(name, &PatchParams::default(), &Patch::Merge(edit)).await;
    outcome(edited)
}

fn outcome<T>(outcome: kube::Result<T>) -> Result<Option<Status>> {
    match outcome {
        Ok(_) => Ok(None),
        Err(kube::Error::Api(status)) => Ok(Some(*status)),
        Err(error) => Err(error.into()),
    }
}

/// A valid object of the kind.
pub(crate) fn example(kind: Kind) -> Result<Value> {
    let folder = kind.name().to_lowercase();
    let mut documents = documents(&folder_path(&folder).join("object.yaml"))?;
    documents.pop().with_context(|| format!("{folder}/object.yaml is empty"))
}

/// Refused cases that nobody shows how to put right.
fn rejected_without_remedy(cases: &[Case]) -> Vec<String> {
    let names = |accepted| cases.iter().filter(move |case| case.accepted == accepted).map(|case| case.name.as_str());
    names(false)
        .filter(|name| !names(true).any(|other| other == name.replacen("/reject-", "/accept-", 1)))
        .map(|name| format!("{name} has no accept case of the same name"))
        .collect()
}

fn read(folder: &Folder) -> Result<Vec<Case>> {
    let path = folder_path(folder.name);
    let mut files: Vec<PathBuf> = fs::read_dir(&path)
        .with_context(|| format!("read {}", path.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let accepted = match stem.split_once('-').map_or(stem.as_str(), |(first, _)| first) {
            "accept" => true,
            "reject" => false,
            "object" => continue,
            _ => bail!("{}: a case is called accept-… or reject-…", file.display()),
        };
        let documents = documents(&file)?;
        ensure!((1..=2).contains(&documents.len()), "{}: a case has one document or two", file.display());
        cases.push(Case { name: format!("{}/{stem}", folder.name), accepted, documents });
    }
    Ok(cases)
}

fn documents(file: &Path) -> Result<Vec<Value>> {
    let yaml = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    objects(&yaml).with_context(|| format!("read {}", file.display()))
}

fn folder_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").join(name)
}
