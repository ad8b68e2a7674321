//! `bench ingest`: how many measurements in a second the gateway takes from a site full of sensors, held against a bare HTTP server.
//!
//! The same requests go over the same mutual TLS from the same client, alternately in one run: to the gateway, which reads and checks
//! each measurement, finds its sensor, keeps it and judges it; and to a bare server, which reads the body and answers. A gateway may
//! send so many requests at once and then only so many in a second, so each round is such a burst of many gateways, and between two
//! rounds they rest. A third server reads the JSON and does nothing with it: what lies between that and the gateway is our own.

mod bare;
mod room;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fleetform_domain::wire::{MAX_MEASUREMENTS, MEASUREMENTS_PATH, MeasurementsResponse};
use fleetform_simulator::transport::{Connection, Question};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::bed::Bed;
use super::profile::Profile;
use super::report::{float, per};
use super::usage::Cpu;
use super::work::each;
use bare::BareServer;
pub(super) use bare::{Files, serve};
use room::Room;

/// So many requests of each gateway make a round: fewer than it may send at once.
const REQUESTS: usize = 15;

/// How long gateways rest after a round, until they may send so many at once again.
const REST: Duration = Duration::from_secs(9);

/// What is measured, and how.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Settings {
    /// How many gateways there are.
    #[arg(long, value_name = "N", default_value = "200")]
    pub(super) gateways: NonZeroUsize,
    /// How many sensors each of them carries.
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) sensors_per_gateway: u32,
    /// How many gateways send at the same time.
    #[arg(long, value_name = "N", default_value = "16")]
    pub(super) concurrency: NonZeroUsize,
    /// How many rounds are made of each; the middle one counts.
    #[arg(long, value_name = "N", default_value = "5")]
    pub(super) rounds: NonZeroU32,
}

impl Settings {
    pub(super) fn sensors(&self) -> usize {
        self.gateways.get() * usize::try_from(self.sensors_per_gateway).unwrap_or(usize::MAX)
    }
}

/// What was measured. Written as JSON with these names.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    gateways: usize,
    sensors: usize,
    optimised: bool,
    /// From the first declaration until every sensor is active.
    commissioning_seconds: f64,
    measurements_per_round: usize,
    ingest_per_second: f64,
    bare_per_second: f64,
    reading_per_second: f64,
    /// Of the gateway's speed to the bare server's.
    ratio: f64,
    /// Of the gateway's speed to that of the server that reads JSON.
    ratio_to_reading: f64,
    ingest_cpu_microseconds: f64,
    bare_cpu_microseconds: f64,
    reading_cpu_microseconds: f64,
    /// Writes of the operator while it took measurements.
    writes: u64,
    memory_kib_per_sensor: f64,
}

impl Figures {
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("figures are plain data")
    }

    pub(super) fn rows(&self) -> Vec<[String; 3]> {
        let row = |what: &str, measured: String, target: &str| [what.to_owned(), measured, target.to_owned()];
        vec![
            row("sensors", format!("{} at {} gateways", self.sensors, self.gateways), ""),
            row("declared to commissioned", format!("{:.1} s", self.commissioning_seconds), ""),
            row("measurements in a round", self.measurements_per_round.to_string(), ""),
            row("a: bare HTTP server", format!("{:.0}/s", self.bare_per_second), ""),
            row("b: the same, and the JSON read", format!("{:.0}/s", self.reading_per_second), ""),
            row("c: gateway, kept and judged", format!("{:.0}/s", self.ingest_per_second), ""),
            row("ratio c/a", format!("{:.2}", self.ratio), ""),
            row("ratio c/b", format!("{:.2}", self.ratio_to_reading), ""),
            row("processor time per measurement, a", format!("{:.2} µs", self.bare_cpu_microseconds), ""),
            row("processor time per measurement, b", format!("{:.2} µs", self.reading_cpu_microseconds), ""),
            row("processor time per measurement, c", format!("{:.2} µs", self.ingest_cpu_microseconds), ""),
            row("operator's writes meanwhile", self.writes.to_string(), "0"),
            row("operator's memory for them per sensor", format!("{:.1} KiB", self.memory_kib_per_sensor), ""),
        ]
    }

    /// Whether the programs were optimised.
    pub(super) fn is_optimised(&self) -> bool {
        self.optimised
    }
}

/// What one target made of its rounds.
#[derive(Default)]
struct Rounds {
    per_second: Vec<f64>,
    cpu_seconds: f64,
}

impl Rounds {
    fn middle(&self) -> f64 {
        let mut sorted = self.per_second.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

pub(super) async fn measure(settings: &Settings) -> Result<Figures> {
    eprintln!("starting a control plane …");
    let bed = Bed::start_alone().await?;
    eprintln!("commissioning {} sensors at {} gateways …", settings.sensors(), settings.gateways);
    let begun = Instant::now();
    let room = Arc::new(Room::commission(&bed, settings).await?);
    let commissioning_seconds = begun.elapsed().as_secs_f64();
    bed.calm_down().await?;
    let clients = bed.installation.authority().await?;
    let server = |reads_json: bool| BareServer::start(&clients, bed.plane.dir(), reads_json);
    let servers = [server(false)?, server(true)?];
    let memory = bed.installation.operator_rss_kib()?;
    first_states(&bed, &room, settings).await?;
    let writes = bed.operator_writes().await?;
    let (mut bare, mut ingest) = (<[Rounds; 2]>::default(), Rounds::default());
    let measurements = settings.gateways.get() * REQUESTS * MAX_MEASUREMENTS;
    for round in 1..=settings.rounds.get() {
        eprintln!("round {round} of {} …", settings.rounds);
        let questions = Arc::new(room.questions(REQUESTS).await);
        for (server, rounds) in servers.iter().zip(&mut bare) {
            let open = connections(&room, settings, Some(server)).await?;
            let used = || Cpu::of(&[("server", server.pid())]).total();
            send(settings, &questions, open, measurements, rounds, &used, false).await?;
        }
        let open = connections(&room, settings, None).await?;
        let operator = bed.installation.operator_pid()?;
        let used = || Cpu::of(&[("server", operator)]).total();
        send(settings, &questions, open, measurements, &mut ingest, &used, true).await?;
        sleep(REST).await;
    }
    let rounds = float(usize::try_from(settings.rounds.get()).unwrap_or(usize::MAX));
    let microseconds = |rounds_of: &Rounds| rounds_of.cpu_seconds * 1e6 / (float(measurements) * rounds);
    let [bare, reading] = bare;
    let grown = bed.installation.operator_rss_kib()?.saturating_sub(memory);
    Ok(Figures {
        gateways: settings.gateways.get(),
        sensors: settings.sensors(),
        optimised: Profile::own() == Profile::Release,
        commissioning_seconds,
        measurements_per_round: measurements,
        ingest_per_second: ingest.middle(),
        bare_per_second: bare.middle(),
        reading_per_second: reading.middle(),
        ratio: ingest.middle() / bare.middle(),
        ratio_to_reading: ingest.middle() / reading.middle(),
        ingest_cpu_microseconds: microseconds(&ingest),
        bare_cpu_microseconds: microseconds(&bare),
        reading_cpu_microseconds: microseconds(&reading),
        writes: bed.operator_writes().await? - writes,
        memory_kib_per_sensor: per(grown, settings.sensors()),
    })
}

/// Measures once, so that the state of every machine is known, and waits until that is written down.
async fn first_states(bed: &Bed, room: &Arc<Room>, settings: &Settings) -> Result<()> {
    let (questions, open) = (Arc::new(room.questions(1).await), connections(room, settings, None).await?);
    send(settings, &questions, open, MAX_MEASUREMENTS, &mut Rounds::default(), &|| 0.0, true).await?;
    bed.operator_rests().await
}

type Open = Arc<Vec<Mutex<Connection>>>;

/// A connection of each gateway, before the time begins.
async fn connections(room: &Arc<Room>, settings: &Settings, bare: Option<&BareServer>) -> Result<Open> {
    let mut open = Vec::with_capacity(settings.gateways.get());
    for gateway in &room.gateways {
        open.push(Mutex::new(match bare {
            Some(server) => gateway.connect_to(server.address(), server.authority()).await?,
            None => gateway.connect().await?,
        }));
    }
    Ok(Arc::new(open))
}

/// Sends a round: of each gateway its requests, one after the other.
async fn send(
    settings: &Settings,
    questions: &Arc<Vec<Vec<Question>>>,
    open: Open,
    measurements: usize,
    rounds: &mut Rounds,
    used: &impl Fn() -> f64,
    is_gateway: bool,
) -> Result<()> {
    let (before, begun) = (used(), Instant::now());
    let questions = Arc::clone(questions);
    each(settings.concurrency.get(), settings.gateways.get(), move |number| {
        let (questions, open) = (Arc::clone(&questions), Arc::clone(&open));
        async move {
            let mut line = open[number].lock().await;
            for question in &questions[number] {
                let answer = line.ask(question).await?;
                if is_gateway {
                    let answer: MeasurementsResponse = answer.json()??;
                    let all = usize::try_from(answer.taken) == Ok(MAX_MEASUREMENTS);
                    ensure!(all, "{MEASUREMENTS_PATH}: of {MAX_MEASUREMENTS} measurements {} were new", answer.taken);
                } else {
                    answer.body("text/plain")??;
                }
            }
            Ok(())
        }
    })
    .await?;
    rounds.per_second.push(float(measurements) / begun.elapsed().as_secs_f64());
    rounds.cpu_seconds += used() - before;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Rounds;

    #[test]
    fn the_middle_round_counts() {
        let rounds = Rounds { per_second: vec![3.0, 9.0, 1.0, 4.0, 5.0], cpu_seconds: 0.0 };
        assert!((rounds.middle() - 4.0).abs() < f64::EPSILON);
    }
}
