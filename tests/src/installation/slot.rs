//! A place for one process, which comes and goes while others look at it.

use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow, bail};

use crate::process::{Process, ProcessSpec};

/// How long a process may take to obey SIGTERM: Kubernetes gives it as much by default.
const GRACE: Duration = Duration::from_secs(30);

/// Lines of a log that an error carries.
const LOG_LINES: usize = 60;

pub(super) struct Slot {
    name: &'static str,
    process: Mutex<Option<Process>>,
}

impl Slot {
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, process: Mutex::new(None) }
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        // Each step on it is one call, so one that panicked left nothing half done.
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn start(&self, spec: &ProcessSpec) -> Result<()> {
        let mut process = self.process();
        if process.as_mut().is_some_and(Process::is_running) {
            bail!("the {} runs already; end it first", self.name);
        }
        *process = Some(spec.spawn()?);
        Ok(())
    }

    pub(super) fn kill(&self) -> Result<()> {
        self.process().as_mut().map_or(Ok(()), Process::kill)
    }

    pub(super) async fn terminate(&self) -> Result<ExitStatus> {
        // Taken out, as a lock is not held while waiting.
        let taken = self.process().take();
        let mut process = taken.ok_or_else(|| anyhow!("the {} was never started", self.name))?;
        let ended = process.terminate(GRACE).await;
        self.process().get_or_insert(process);
        ended
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&mut Process) -> Result<T>) -> Result<T> {
        let mut process = self.process();
        look(process.as_mut().ok_or_else(|| anyhow!("the {} was never started", self.name))?)
    }

    /// An error, with the end of its log, when it has ended.
    pub(super) fn ensure_running(&self) -> Result<()> {
        let ended = self.with(Process::exit_status)?;
        match ended {
            None => Ok(()),
            Some(status) => bail!("the {} ended ({status}); {}", self.name, self.log_end()),
        }
    }

    /// The end of its log, to put into an error.
    pub(super) fn log_end(&self) -> String {
        let tail = self.with(|process| Ok(process.log_tail(LOG_LINES))).unwrap_or_default();
        format!("the {}'s log ends with:\n{tail}", self.name)
    }
}
