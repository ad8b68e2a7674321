//! Pure: the figures.

use serde::Serialize;

use super::pace::Pace;

/// What was measured. Written as JSON with these names.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct Figures {
    pub(super) devices: usize,
    /// That waited.
    pub(super) events: usize,
    pub(in crate::bench) optimised: bool,
    /// Within how many hours devices that change as often as they may make so many.
    pub(super) hours: f64,
    pub(in crate::bench) sinks: Vec<Reached>,
    pub(super) memory: Memory,
}

/// What came of one sink.
#[derive(Debug, Serialize)]
pub(in crate::bench) struct Reached {
    pub(in crate::bench) sink: &'static str,
    events_per_second: f64,
    raw_events_per_second: f64,
    /// Of the operator's speed to that of the bare client.
    ratio: f64,
    /// The operator's, for each event.
    cpu_microseconds: f64,
    /// How many events came more than once, where that can be told.
    twice: Option<usize>,
}

impl Reached {
    pub(super) fn new(sink: &'static str, pace: Pace, raw_events_per_second: f64, twice: Option<usize>) -> Self {
        Self {
            sink,
            events_per_second: pace.per_second,
            raw_events_per_second,
            ratio: pace.per_second / raw_events_per_second,
            cpu_microseconds: pace.cpu_microseconds,
            twice,
        }
    }
}

/// Resident memory of the operator, in each case at rest after a start of its own, and the most until then.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in crate::bench) struct Resident {
    pub(super) now_kib: u64,
    pub(super) peak_kib: u64,
}

/// What waits costs memory, or it does not.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in crate::bench) struct Memory {
    /// Everything was with the sink at the start.
    pub(super) nothing_waits: Resident,
    /// Nothing was, and the sink is away.
    pub(super) all_wait: Resident,
    /// The same run, when the sink is back and has everything.
    pub(super) all_delivered: Resident,
}

impl Figures {
    /// As a JSON document.
    pub(in crate::bench) fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("figures are plain data");
        text.push('\n');
        text
    }

    /// What people look at.
    pub(in crate::bench) fn rows(&self) -> Vec<[String; 3]> {
        let row = |what: &str, measured: String, target: &str| [what.to_owned(), measured, target.to_owned()];
        let mut rows = vec![
            row("events that waited", format!("{} of {} devices", self.events, self.devices), ""),
            row("made in, at the soonest", format!("{:.1} h", self.hours), ""),
        ];
        for reached in &self.sinks {
            rows.push(row(reached.sink, format!("{:.0}/s", reached.events_per_second), ""));
            rows.push(row("  bare client", format!("{:.0}/s", reached.raw_events_per_second), ""));
            rows.push(row("  ratio", format!("{:.2}", reached.ratio), ""));
            rows.push(row("  operator's processor time per event", format!("{:.1} µs", reached.cpu_microseconds), ""));
            if let Some(twice) = reached.twice {
                // A run in which one is lost fails.
                rows.push(row("  events lost / that came twice", format!("0 / {twice}"), "0 / 0"));
            }
        }
        let Memory { nothing_waits, all_wait, all_delivered } = self.memory;
        let kib =
            |of: fn(Resident) -> u64| format!("{} / {} / {} KiB", of(nothing_waits), of(all_wait), of(all_delivered));
        let what = "operator's memory: nothing waits / all wait, the sink is away / all delivered";
        rows.push(row(what, kib(|resident| resident.now_kib), ""));
        rows.push(row("  the most until then", kib(|resident| resident.peak_kib), ""));
        rows
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Figures, Memory, Pace, Reached, Resident};

    fn sample() -> Figures {
        let pace = Pace { per_second: 30_000.0, cpu_microseconds: 21.3 };
        let resident = |now_kib| Resident { now_kib, peak_kib: now_kib + 5 };
        Figures {
            devices: 3000,
            events: 96_000,
            optimised: true,
            hours: 8.0 / 3.0,
            sinks: vec![
                Reached::new("EventBridge, a stub", pace, 60_000.0, Some(2)),
                Reached::new("EventBridge, ministack", pace, 40_000.0, None),
            ],
            memory: Memory { nothing_waits: resident(100), all_wait: resident(200), all_delivered: resident(150) },
        }
    }

    #[test]
    fn each_sink_is_told_with_its_limit() {
        let rows = sample().rows();
        let told: Vec<(&str, &str)> =
            rows.iter().map(|[what, measured, _]| (what.as_str(), measured.as_str())).collect();
        assert_eq!(
            told,
            [
                ("events that waited", "96000 of 3000 devices"),
                ("made in, at the soonest", "2.7 h"),
                ("EventBridge, a stub", "30000/s"),
                ("  bare client", "60000/s"),
                ("  ratio", "0.50"),
                ("  operator's processor time per event", "21.3 µs"),
                ("  events lost / that came twice", "0 / 2"),
                ("EventBridge, ministack", "30000/s"),
                ("  bare client", "40000/s"),
                ("  ratio", "0.75"),
                ("  operator's processor time per event", "21.3 µs"),
                (
                    "operator's memory: nothing waits / all wait, the sink is away / all delivered",
                    "100 / 200 / 150 KiB"
                ),
                ("  the most until then", "105 / 205 / 155 KiB"),
            ]
        );
    }

    #[test]
    fn the_json_file_has_the_figures_by_name() {
        let told: Value = serde_json::from_str(&sample().to_json()).unwrap();
        assert_eq!(
            told["sinks"][0],
            json!({
                "sink": "EventBridge, a stub", "events_per_second": 30_000.0, "raw_events_per_second": 60_000.0,
                "ratio": 0.5, "cpu_microseconds": 21.3, "twice": 2,
            })
        );
        assert_eq!(told["memory"]["all_wait"], json!({ "now_kib": 200, "peak_kib": 205 }));
    }
}
