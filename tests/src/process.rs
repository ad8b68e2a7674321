//! One child process under supervision: its output in a file, its end when we want it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

/// Between two looks at whether a process has ended.
const INTERVAL: Duration = Duration::from_millis(10);

/// How much of the end of a log is looked at for its last lines, in bytes.
const TAIL_BYTES: u64 = 64 * 1024;

/// What to run and how.
#[derive(Clone, Debug)]
pub struct ProcessSpec {
    name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    log: PathBuf,
    tied: bool,
    guarded: bool,
}

impl ProcessSpec {
    /// The program at `program`, called `name` in messages, with standard output and error appended to the file `log`.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        let (name, program, log) = (name.into(), program.into(), log.into());
        Self { name, program, args: Vec::new(), env: Vec::new(), log, tied: false, guarded: false }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(mut self, args: I) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets a variable in the environment, which is otherwise ours.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Gives the program a standard input that we hold open as long as we live, for programs that end when it closes.
    #[must_use]
    pub fn tied_by_stdin(mut self) -> Self {
        self.tied = true;
        self
    }

    /// Has it killed also when this process dies without dropping its handle, for programs that know nothing of us.
    #[must_use]
    pub fn guarded(mut self) -> Self {
        self.guarded = true;
        self
    }

    /// Starts it. It gets a process group of its own: Ctrl-C on the terminal reaches us, and we end it in our order.
    pub fn spawn(&self) -> Result<Process> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.with_context(|| format!("open {} for what {} says", self.log.display(), self.name))?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(if self.tied { Stdio::piped() } else { Stdio::null() })
            .stdout(log.try_clone().context("share the log file")?)
            .stderr(log)
            .process_group(0);
        let child = command.spawn().with_context(|| format!("start {} ({})", self.name, self.program.display()))?;
        let mut process = Process { name: self.name.clone(), log: self.log.clone(), child, guard: None, ended: None };
        if self.guarded {
            process.guard = Some(guard(process.id()).with_context(|| format!("guard {}", self.name))?);
        }
        Ok(process)
    }
}

/// A shell that kills the process once its own standard input closes, which it does with the end of this process.
fn guard(id: u32) -> Result<Child> {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "read -r _; kill -KILL \"$1\"", "guard", &id.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().context("start /bin/sh")
}

/// A running, or ended, child process.
///
/// # Guarantees
///
/// It is killed and reaped when this is dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    guard: Option<Child>,
    ended: Option<ExitStatus>,
}

impl Process {
    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id, also after it has ended.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file with what it said.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// How it ended, if it has.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().with_context(|| format!("look at {}", self.name))?;
        }
        if self.ended.is_some() {
            self.dismiss_guard();
        }
        Ok(self.ended)
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.exit_status(), Ok(None))
    }

    /// Waits for its end.
    ///
    /// # Errors
    ///
    /// When it is still running after `limit`.
    pub async fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.exit_status()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("{} still runs after {} s; its log is {}", self.name, limit.as_secs(), self.log.display());
            }
            sleep(INTERVAL).await;
        }
    }

    /// SIGKILL: it ends as in a power cut, before this returns. Nothing happens if it has ended already.
    pub fn kill(&mut self) -> Result<()> {
        if self.exit_status()?.is_none() {
            self.child.kill().with_context(|| format!("kill {}", self.name))?;
            self.ended = Some(self.child.wait().with_context(|| format!("wait for {}", self.name))?);
            self.dismiss_guard();
        }
        Ok(())
    }

    /// What ended must not be killed by its number, which may soon be somebody else's.
    fn dismiss_guard(&mut self) {
        if let Some(mut guard) = self.guard.take() {
            let _ = guard.kill();
            let _ = guard.wait();
        }
    }

    /// SIGTERM, then up to `grace` for it to end by itself.
    ///
    /// # Errors
    ///
    /// When it did not; then it has been killed.
    pub async fn terminate(&mut self, grace: Duration) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        match self.wait(grace).await {
            Ok(status) => Ok(status),
            Err(error) => {
                self.kill()?;
                Err(error.context(format!("{} did not obey SIGTERM and was killed", self.name)))
            }
        }
    }

    /// SIGSTOP: it stands still, its connections stay open, as on a frozen machine.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT: it goes on after [`Self::pause`].
    pub fn resume(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Sends a signal, unless it has ended. An ended child keeps its id until it is reaped, so it cannot hit another process.
    fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        let pid = i32::try_from(self.id()).ok().and_then(Pid::from_raw).context("a process id fits its type")?;
        kill_process(pid, signal).with_context(|| format!("send {signal:?} to {}", self.name))
    }

    /// Resident memory now, in KiB (`VmRSS` of `/proc/<pid>/status`, Linux).
    pub fn rss_kib(&self) -> Result<u64> {
        self.proc_status("VmRSS")
    }

    /// The most resident memory it ever had, in KiB (`VmHWM` of `/proc/<pid>/status`, Linux).
    pub fn peak_rss_kib(&self) -> Result<u64> {
        self.proc_status("VmHWM")
    }

    fn proc_status(&self, field: &str) -> Result<u64> {
        let path = format!("/proc/{}/status", self.id());
        let text = fs::read_to_string(&path).with_context(|| format!("read {path} for the memory of {}", self.name))?;
        status_kib(&text, field).ok_or_else(|| anyhow!("{} has ended: {path} has no {field}", self.name))
    }

    /// The last lines of its log; an empty text if there is none.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.log, lines).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell; a process that cannot be killed is one that has ended.
        let _ = self.kill();
    }
}

/// A field of `/proc/<pid>/status` that is given in kB (which are KiB).
fn status_kib(text: &str, field: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// The last lines of a file.
fn tail(path: &Path, lines: usize) -> Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL_BYTES)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let all: Vec<_> = text.lines().collect();
    Ok(all[all.len().saturating_sub(lines)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ProcessSpec, status_kib};

    fn shell(script: &str) -> (tempfile::TempDir, ProcessSpec) {
        let temp = tempfile::tempdir().unwrap();
        let spec = ProcessSpec::new("script", "/bin/sh", temp.path().join("log")).args(["-c", script]);
        (temp, spec)
    }

    #[tokio::test]
    async fn what_it_says_is_in_its_log() {
        let (_temp, spec) = shell("echo one; echo two >&2; echo $THREE");
        let mut process = spec.env("THREE", "three").spawn().unwrap();
        assert!(process.wait(Duration::from_secs(10)).await.unwrap().success());
        assert_eq!(process.log_tail(2), "two\nthree");
        assert!(!process.is_running());
    }

    #[tokio::test]
    async fn terminate_lets_it_finish_and_kill_does_not() {
        let (_temp, spec) = shell("trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.01; done");
        let mut process = spec.spawn().unwrap();
        while process.log_tail(1) != "up" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(process.rss_kib().unwrap() > 0);
        assert!(process.peak_rss_kib().unwrap() >= process.rss_kib().unwrap());
        let status = process.terminate(Duration::from_secs(10)).await.unwrap();
        assert_eq!((status.code(), process.log_tail(1)), (Some(3), "bye".to_owned()));
        let mut process = spec.spawn().unwrap();
        process.kill().unwrap();
        assert!(!process.is_running());
        process.kill().unwrap();
    }

    #[tokio::test]
    async fn one_that_ignores_sigterm_is_killed_and_named() {
        let (_temp, spec) = shell("trap '' TERM; echo up; while :; do sleep 0.01; done");
        let mut process = spec.spawn().unwrap();
        while process.log_tail(1) != "up" {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let error = process.terminate(Duration::from_millis(50)).await.unwrap_err();
        assert!(error.to_string().contains("did not obey SIGTERM"));
        assert!(!process.is_running());
    }

    #[tokio::test]
    async fn a_tied_program_sees_its_input_end_when_it_is_dropped_last() {
        let (_temp, spec) = shell("cat; echo end");
        let mut process = spec.tied_by_stdin().spawn().unwrap();
        assert!(process.is_running(), "its input is open");
        drop(process.child.stdin.take());
        process.wait(Duration::from_secs(10)).await.unwrap();
        assert_eq!(process.log_tail(1), "end");
    }

    #[tokio::test]
    async fn a_guarded_program_goes_with_whoever_guards_it() {
        let (_temp, spec) = shell("while :; do sleep 0.01; done");
        let mut process = spec.guarded().spawn().unwrap();
        let mut guard = process.guard.take().unwrap();
        drop(guard.stdin.take());
        process.wait(Duration::from_secs(10)).await.unwrap();
        guard.wait().unwrap();
    }

    #[test]
    fn memory_is_read_from_proc() {
        let text = "Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t    512 kB\n";
        assert_eq!(status_kib(text, "VmRSS"), Some(512));
        assert_eq!(status_kib(text, "VmHWM"), Some(2048));
        assert_eq!(status_kib(text, "VmSwap"), None);
    }
}
