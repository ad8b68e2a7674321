//! Which room may touch what: read from the sources and manifests, so that ARCHITECTURE.md cannot say what is not so.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn sources(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.expect("an entry of a folder").path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source file is text");
            found.push((path, text));
        }
    }
    found
}

/// Code without comments and without its test modules.
fn code(text: &str) -> String {
    let before_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    before_tests.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Files of `room` outside `allowed` in whose code one of `words` stands. Asking the executor to write is no trespass.
fn trespassers(room: &str, words: &[&str], allowed: &[&str]) -> Vec<String> {
    let files = sources(&root().join(room));
    assert!(!files.is_empty(), "{room} has sources");
    files
        .iter()
        .filter(|(path, _)| !allowed.iter().any(|place| path.to_string_lossy().contains(place)))
        .flat_map(|(path, text)| {
            let code = code(text).replace("executor.patch_status(", "");
            let found = words.iter().filter(move |word| code.contains(**word));
            found.map(|word| format!("{}: {word}", path.display())).collect::<Vec<_>>()
        })
        .collect()
}

fn dependencies(manifest: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(manifest)).expect("the manifest");
    let table = text.split("[dependencies]").nth(1).unwrap_or_default();
    let table = table.split("\n[").next().unwrap_or_default();
    table
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|n| !n.is_empty())
        .map(Into::into)
        .collect()
}

#[test]
fn the_domain_is_pure() {
    for package in ["kube", "k8s-openapi", "tokio", "rand", "hyper", "axum", "reqwest"] {
        assert!(
            !dependencies("crds/domain/Cargo.toml").contains(&package.to_owned()),
            "the domain depends on {package}"
        );
    }
    let impure = ["Timestamp::now", "SystemTime::now", "Instant::now", "std::env", "std::fs", "std::net", "new_v4"];
    assert_eq!(trespassers("crds/domain/src", &impure, &[]), Vec::<String>::new());
}

#[test]
fn the_simulator_proves_the_protocol_from_outside() {
    let packages = dependencies("simulator/Cargo.toml");
    assert!(packages.contains(&"fleetform-domain".to_owned()));
    for package in ["kube", "k8s-openapi", "fleetform-crds", "fleetform-operator"] {
        assert!(!packages.contains(&package.to_owned()), "the simulator depends on {package}");
    }
}

#[test]
fn plans_are_pure() {
    let effects = ["kube::Api", "kube::Client", "tokio::", "Timestamp::now", "rand::", "std::fs", "async fn"];
    for room in ["project", "site", "template", "device", "sensor", "asset", "alert", "user", "admin"] {
        let room = format!("operator/src/controllers/{room}");
        let shell = ["/mod.rs", "project/reseal.rs"];
        assert_eq!(trespassers(&room, &effects, &shell), Vec::<String>::new());
    }
}

#[test]
fn only_the_executor_writes_to_the_api_server() {
    let writes =
        ["api.patch", "api.create", "api.replace", "api.delete", "Api::patch", ".patch_status(", "&PostParams"];
    // Token and access reviews are creates that store nothing.
    let allowed = [
        "reconcile/execute/mod.rs",
        "execute/events.rs",
        "execute/people.rs",
        "execute/sealed.rs",
        "leader.rs",
        "crypto/keys.rs",
        "portal/access.rs",
    ];
    assert_eq!(trespassers("operator/src", &writes, &allowed), Vec::<String>::new());
    let controllers = trespassers("operator/src/controllers", &["Api::", ".create(&", ".replace(", ".delete(&"], &[]);
    assert_eq!(controllers, Vec::<String>::new(), "controllers write through the executor");
}

#[test]
fn only_the_command_line_reads_the_environment_and_only_the_clock_knows_the_time() {
    assert_eq!(trespassers("operator/src", &["std::env::", "env::var"], &["cli.rs"]), Vec::<String>::new());
    // Leases carry the writer's time; everything else asks the clock.
    let found = trespassers("operator/src", &["Timestamp::now", "SystemTime::now"], &["clock.rs", "leader.rs"]);
    assert_eq!(found, Vec::<String>::new());
}
