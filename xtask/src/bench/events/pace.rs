//! How fast events come to a sink.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fleetform_e2e::Installation;
use tokio::time::{Instant, sleep};

use super::super::report::float;
use super::super::usage::Cpu;

/// So many events the operator hands to a sink at a time (`BATCH` of its couriers).
pub(super) const DELIVERY: usize = 256;

/// How long all of them may take.
const LIMIT: Duration = Duration::from_mins(15);

/// How far delivery was at one look.
#[derive(Clone, Copy, Debug)]
struct Standing {
    at: Instant,
    cpu_seconds: f64,
    events: usize,
}

/// How fast events came, and what each cost the operator.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pace {
    pub(super) per_second: f64,
    pub(super) cpu_microseconds: f64,
}

impl Pace {
    /// What lies between two looks; nothing where there is none between them.
    fn between(begin: Standing, end: Standing) -> Self {
        let (events, seconds) = (float(end.events - begin.events), end.at.duration_since(begin.at).as_secs_f64());
        if end.events == begin.events || seconds == 0.0 {
            return Self::default();
        }
        Self { per_second: events / seconds, cpu_microseconds: (end.cpu_seconds - begin.cpu_seconds) * 1e6 / events }
    }
}

/// Where the time begins, of so many events: when the first delivery is there. From then to the last event each of the
/// others is computed and handed over. What is one delivery is timed from the first look.
const fn begins_at(events: usize) -> usize {
    if events > DELIVERY { DELIVERY } else { 0 }
}

/// Looks at how many events a sink has, until it has all of them.
pub(super) async fn watch(
    installation: &Installation,
    all: usize,
    interval: Duration,
    mut count: impl AsyncFnMut() -> Result<usize>,
) -> Result<Pace> {
    let operator = installation.operator_pid()?;
    let standing =
        |events| Standing { at: Instant::now(), cpu_seconds: Cpu::of(&[("operator", operator)]).total(), events };
    let (mut begin, end) = (None, Instant::now() + LIMIT);
    loop {
        let events = count().await?;
        if events >= begins_at(all) {
            let begin = *begin.get_or_insert_with(|| standing(events));
            if events >= all {
                return Ok(Pace::between(begin, standing(events)));
            }
        }
        installation.ensure_running()?;
        ensure!(Instant::now() < end, "{events} of {all} events came in {} s", LIMIT.as_secs());
        sleep(interval).await;
    }
}

/// How many lines there are in a file that grows. One that is not there has none.
pub(super) struct Lines {
    path: PathBuf,
    file: Option<File>,
    count: usize,
}

impl Lines {
    pub(super) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), file: None, count: 0 }
    }

    pub(super) fn count(&mut self) -> Result<usize> {
        if self.file.is_none() {
            self.file = match File::open(&self.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                opened => Some(opened.with_context(|| format!("open {}", self.path.display()))?),
            };
        }
        if let Some(file) = &mut self.file {
            let mut more = Vec::new();
            file.read_to_end(&mut more).with_context(|| format!("read {}", self.path.display()))?;
            self.count += more.split(|byte| *byte == b'\n').count() - 1;
        }
        Ok(self.count)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write as _;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{DELIVERY, Lines, Pace, Standing, begins_at};

    #[test]
    fn what_came_before_the_time_began_does_not_count() {
        let at = Instant::now();
        let begin = Standing { at, cpu_seconds: 1.0, events: 8_192 };
        let end = Standing { at: at + Duration::from_secs(4), cpu_seconds: 3.0, events: 108_192 };
        assert_eq!(Pace::between(begin, end), Pace { per_second: 25_000.0, cpu_microseconds: 20.0 });
        assert_eq!(Pace::between(begin, begin), Pace::default());
    }

    #[test]
    fn the_time_begins_with_the_first_of_several_deliveries() {
        assert_eq!((begins_at(DELIVERY + 1), begins_at(DELIVERY), begins_at(32)), (DELIVERY, 0, 0));
    }

    #[test]
    fn lines_are_counted_as_they_come() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lines");
        let mut lines = Lines::of(&path);
        assert_eq!(lines.count().unwrap(), 0);
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        for (text, count) in [("a\nb", 1), ("", 1), ("c\n", 2), ("d\ne\n", 4)] {
            file.write_all(text.as_bytes()).unwrap();
            assert_eq!(lines.count().unwrap(), count);
        }
    }
}
