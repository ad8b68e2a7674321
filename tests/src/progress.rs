//! What a person sees while something takes minutes: a bar on a terminal, a plain line now and then elsewhere.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(15);

/// One long step, reported on standard error.
pub(crate) struct Progress {
    title: String,
    unit: &'static str,
    bar: Option<ProgressBar>,
    started: Instant,
    said: Instant,
    done: u64,
    total: u64,
}

impl Progress {
    /// Starts a step of `total` units; 0 when nobody knows.
    pub(crate) fn start(title: &str, total: u64, unit: &'static str) -> Self {
        let bar = stderr().is_terminal().then(|| bar(title, total, unit));
        if bar.is_none() {
            match total {
                0 => eprintln!("{title}..."),
                _ => eprintln!("{title}: {total} {unit} to do"),
            }
        }
        Self { title: title.to_owned(), unit, bar, started: Instant::now(), said: Instant::now(), done: 0, total }
    }

    /// One more unit is done.
    pub(crate) fn step(&mut self, item: &str) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
            bar.set_message(item.to_owned());
        } else if self.said.elapsed() >= PLAIN_INTERVAL {
            self.said = Instant::now();
            let of = if self.total == 0 { String::new() } else { format!(" of {}", self.total.max(self.done)) };
            eprintln!("{}: {}{of} {}, {}", self.title, self.done, self.unit, elapsed(self.started.elapsed()));
        }
    }

    /// The step succeeded.
    pub(crate) fn finish(self) {
        self.clear();
        eprintln!("{}: done in {}", self.title, elapsed(self.started.elapsed()));
    }

    /// The step failed; the error speaks for itself.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(title: &str, total: u64, unit: &str) -> ProgressBar {
    let template = if total == 0 {
        format!("{{spinner}} {title} · {{elapsed}} {{wide_msg}}")
    } else {
        format!("{{spinner}} {title} [{{bar:24}}] {{pos}}/{{len}} {unit} · {{elapsed}} {{wide_msg}}")
    };
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr()).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn elapsed(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::elapsed;

    #[test]
    fn time_reads_as_people_say_it() {
        assert_eq!(elapsed(Duration::from_secs(9)), "9 s");
        assert_eq!(elapsed(Duration::from_secs(425)), "7 min 05 s");
    }
}
