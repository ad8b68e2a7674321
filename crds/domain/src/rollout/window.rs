//! Pure: maintenance windows.

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schema::rule;

/// When something may be changed, by the clock of the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    rule("self.start.matches('^([01][0-9]|2[0-3]):[0-5][0-9]$')",
         "maintenanceWindow.start must be a time of day from 00:00 to 23:59, such as 22:30"),
]))]
pub struct MaintenanceWindow {
    /// The days on which it opens; every day when there is none here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 7))]
    pub days: Vec<Day>,
    /// The time of day at which it opens, such as `22:30`.
    #[schemars(length(max = 5))]
    pub start: String,
    /// How long it stays open, in minutes, 1 to 1,440. It may end on the next day.
    #[schemars(range(min = 1, max = 1_440))]
    pub duration_minutes: u32,
}

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Day {
    /// Monday.
    Monday,
    /// Tuesday.
    Tuesday,
    /// Wednesday.
    Wednesday,
    /// Thursday.
    Thursday,
    /// Friday.
    Friday,
    /// Saturday.
    Saturday,
    /// Sunday.
    Sunday,
}

impl Day {
    fn weekday(self) -> Weekday {
        match self {
            Self::Monday => Weekday::Monday,
            Self::Tuesday => Weekday::Tuesday,
            Self::Wednesday => Weekday::Wednesday,
            Self::Thursday => Weekday::Thursday,
            Self::Friday => Weekday::Friday,
            Self::Saturday => Weekday::Saturday,
            Self::Sunday => Weekday::Sunday,
        }
    }
}

impl MaintenanceWindow {
    /// When the window opens next in this time zone; `now` when it is open. Where clocks are put forward over the start, it
    /// opens right after the gap.
    pub fn opens(&self, zone: &TimeZone, now: Timestamp) -> Timestamp {
        let Some(start) = self.time() else { return now };
        let duration = SignedDuration::from_mins(self.duration_minutes.into());
        let today = now.to_zoned(zone.clone()).date();
        // It may have opened yesterday and be open still; and it opens within a week.
        let openings = (-1..=7).filter_map(|days| {
            let date = today.checked_add(i64::from(days).days()).ok()?;
            let opens = self.days.is_empty() || self.days.iter().any(|day| day.weekday() == date.weekday());
            let at = date.to_datetime(start).to_zoned(zone.clone()).ok()?.timestamp();
            opens.then_some(at)
        });
        let next = openings.into_iter().find(|at| *at + duration > now);
        next.map_or(now, |at| at.max(now))
    }

    fn time(&self) -> Option<Time> {
        let (hour, minute) = self.start.split_once(':')?;
        Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn window(days: &[Day], start: &str, minutes: u32) -> MaintenanceWindow {
        MaintenanceWindow { days: days.to_vec(), start: start.into(), duration_minutes: minutes }
    }

    fn seattle() -> TimeZone {
        TimeZone::get("America/Los_Angeles").unwrap()
    }

    #[test]
    fn a_window_is_open_from_its_start_for_its_duration_by_the_clock_of_the_site() {
        let nightly = window(&[], "22:00", 240);
        // 22:00 in Seattle is 06:00 of the next day in UTC, in winter.
        assert_eq!(nightly.opens(&seattle(), at("2026-01-10T05:59:59Z")), at("2026-01-10T06:00:00Z"));
        assert_eq!(nightly.opens(&seattle(), at("2026-01-10T06:00:00Z")), at("2026-01-10T06:00:00Z"));
        assert_eq!(nightly.opens(&seattle(), at("2026-01-10T09:59:59Z")), at("2026-01-10T09:59:59Z"), "past midnight");
        assert_eq!(nightly.opens(&seattle(), at("2026-01-10T10:00:00Z")), at("2026-01-11T06:00:00Z"));
        assert_eq!(nightly.opens(&TimeZone::UTC, at("2026-01-10T10:00:00Z")), at("2026-01-10T22:00:00Z"));
    }

    #[test]
    fn a_window_of_one_day_opens_on_that_day() {
        let sundays = window(&[Day::Sunday], "02:00", 60);
        // 2026-01-10 is a Saturday.
        assert_eq!(sundays.opens(&TimeZone::UTC, at("2026-01-10T02:30:00Z")), at("2026-01-11T02:00:00Z"));
        assert_eq!(sundays.opens(&TimeZone::UTC, at("2026-01-11T03:00:00Z")), at("2026-01-18T02:00:00Z"));
    }

    #[test]
    fn a_start_that_the_clocks_skip_comes_after_the_gap() {
        // On 2026-03-08 clocks in Seattle go from 02:00 to 03:00 (10:00 UTC).
        let nightly = window(&[], "02:30", 30);
        assert_eq!(nightly.opens(&seattle(), at("2026-03-08T09:00:00Z")), at("2026-03-08T10:30:00Z"));
    }
}
