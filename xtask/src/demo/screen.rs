//! What the demo shows: on a terminal a table that is redrawn in place, below lines that scroll; elsewhere lines only.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use console::{Term, truncate_str};
use fleetform_crds::DeviceInstance;
use fleetform_domain::activation::Phase;
use kube::ResourceExt;

use super::fleet::Fleet;

/// Where it is shown.
pub(super) struct Screen {
    term: Term,
    in_place: bool,
    /// Lines of the table that stand at the bottom.
    drawn: usize,
    last: String,
}

impl Screen {
    pub(super) fn new() -> Self {
        let term = Term::stdout();
        let in_place = term.is_term();
        Self { term, in_place, drawn: 0, last: String::new() }
    }

    /// Adds lines that stay. The table is drawn again with the next look.
    pub(super) fn say(&mut self, text: &str) {
        self.clear();
        // Nobody is left to tell when standard output is gone.
        let _ = self.term.write_line(text);
    }

    /// Shows the fleet: redrawn in place, or as a line when something changed.
    pub(super) fn show(&mut self, fleet: &Fleet, elapsed: Duration) {
        let line = fleet.in_a_line();
        if !self.in_place {
            if line != self.last {
                let _ = self.term.write_line(&format!("{:6.1} s  {line}", elapsed.as_secs_f64()));
                self.last = line;
            }
            return;
        }
        let (height, width) = self.term.size();
        let block = format!("{}\n{line}, {:.0} s", table(fleet, height, width), elapsed.as_secs_f64());
        if self.drawn > 0 && block == self.last {
            return;
        }
        self.clear();
        // A line that wraps would spoil the count.
        let lines: Vec<_> = block.lines().map(|line| truncate_str(line, width.into(), "…")).collect();
        let _ = self.term.write_line(&lines.join("\n"));
        self.drawn = lines.len();
        self.last = block;
    }

    fn clear(&mut self) {
        let _ = self.term.clear_last_lines(std::mem::take(&mut self.drawn));
    }
}

/// Device by device where there is room for that, else site by site.
fn table(fleet: &Fleet, height: u16, width: u16) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    // Head, lines, summary, and a few lines of what happened before.
    if fleet.devices().len() + 10 <= usize::from(height) {
        by_device(&mut table, fleet);
    } else {
        by_site(&mut table, fleet);
    }
    table
}

fn by_device(table: &mut Table, fleet: &Fleet) {
    table.set_header(["Site", "Device", "Phase", "Connectivity", "Health", "Asset tag"]);
    for device in fleet.devices() {
        let status = device.status.clone().unwrap_or_default();
        table.add_row([
            fleet.site_name(device).to_owned(),
            device.name_any(),
            status.phase.map(|phase| phase.to_string()).unwrap_or_default(),
            status.connectivity.map(|value| format!("{value:?}")).unwrap_or_default(),
            status.health.map(|value| format!("{value:?}")).unwrap_or_default(),
            status.device.map(|device| device.asset_tag_id).unwrap_or_default(),
        ]);
    }
}

/// A row for each site, with a mark for each device.
fn by_site(table: &mut Table, fleet: &Fleet) {
    table.set_header(["Site", "Active", "Devices  (● Active  ◐ ready for activation  ○ needs configuration)"]);
    for site in fleet.devices().chunk_by(|a, b| a.spec.site_ref == b.spec.site_ref) {
        let mark = |device: &DeviceInstance| match device.phase() {
            Phase::Active => '●',
            Phase::ReadyForActivation => '◐',
            Phase::NeedsConfiguration => '○',
        };
        let active = site.iter().filter(|device| device.phase() == Phase::Active).count();
        let marks: String = site.iter().map(mark).collect();
        table.add_row([fleet.site_name(&site[0]).to_owned(), format!("{active} of {}", site.len()), marks]);
    }
}
