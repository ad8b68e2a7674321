//! The commands that the documentation shows, as a reader types them.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};

use super::stage::Stage;

/// The commands of the page's console blocks, in order, each as its words.
fn commands(page: &str) -> Vec<Vec<String>> {
    let blocks = page.split("```console\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).filter_map(|line| line.strip_prefix("$ ")).map(words).collect()
}

/// The words of a command as a shell splits them; single quotes keep a word together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in line.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            other => word.push(other),
        }
    }
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

pub(crate) async fn the_first_page_works_as_it_stands(stage: Arc<Stage>) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let page = fs::read_to_string(root.join("docs/getting-started.md"))?;
    let commands = commands(&page);
    ensure!(commands.len() > 5, "the page has commands: {commands:?}");
    for mut command in commands {
        ensure!(command.remove(0) == "kubectl", "the page shows kubectl alone");
        // A reader stands at the root of the repository; the test does not.
        for word in command.iter_mut().filter(|word| word.starts_with("examples/")) {
            *word = root.join(&word).display().to_string();
        }
        let said = stage.cluster().kubectl(&command, None).await?;
        if command.starts_with(&["get".to_owned(), "fleetform".to_owned()]) {
            for line in
                ["deviceinstance.fleetform.dev/front-desk", "project.fleetform.dev/project", "ReadyForActivation"]
            {
                ensure!(said.contains(line), "{command:?} does not show {line}:\n{said}");
            }
        }
    }
    Ok(())
}
