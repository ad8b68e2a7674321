//! Brings events to one sink. Each sink has a courier of its own, so that one that is away delays no other.

use std::io;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::backlog;
use super::config::SinkSettings;
use super::marks::LATE;
use super::object::Object;
use super::open_sink::{BATCH, OpenSink};
use super::submit::Inbox;
use super::waiting::Waiting;
use crate::backoff;
use crate::cache::Change;
use crate::context::Context;

/// A sink that failed counts as behind for so long although nobody hands anything in.
const LAPSE: Duration = Duration::from_mins(10);

/// Most objects that are gone and whose events wait in memory for a sink that is not required, or while another process leads.
const MOST_DEPARTED: usize = 1024;

/// Longest time between two tries.
const LONGEST_RETRY: Duration = Duration::from_secs(10);

/// Delivers events to the sink of this place in the settings until it is dropped, while this process leads: what another leader records, it
/// delivers. A sink that fails is tried again; nothing is passed over.
pub(super) async fn run(context: Context, place: usize) {
    let settings = &context.settings.events.sinks[place];
    let mut lost = context.leadership.clone();
    // For good, so that no change falls between, and none of an object that is gone is forgotten while another process may lead.
    let mut news = News { changes: context.world.subscribe(), waiting: Waiting::new(context.clock.now()), failures: 0 };
    let mut inbox = context.submissions.inbox(place).await;
    while news.until_leading(&context).await {
        tokio::select! {
            ended = deliver_term(&context, settings, &mut inbox, &mut news) => if ended { return },
            () = lost.lost() => context.metrics.events_wait(&settings.name, None),
        }
    }
}

/// What a courier has heard of, and how it fares.
struct News {
    changes: UnboundedReceiver<Change>,
    waiting: Waiting,
    /// How often in a row it brought nothing.
    failures: u32,
}

impl News {
    /// Waits until this process leads. Whether there is still something to hear of.
    async fn until_leading(&mut self, context: &Context) -> bool {
        let mut leadership = context.leadership.clone();
        loop {
            tokio::select! {
                biased;
                () = leadership.leading() => return true,
                change = self.changes.recv() => match change {
                    Some(change) => {
                        self.waiting.note(change);
                        // Whoever leads delivers: this is for what falls between.
                        self.waiting.done_departed(self.waiting.departed().len().saturating_sub(MOST_DEPARTED));
                    }
                    None => return false,
                },
            }
        }
    }

    /// What changed meanwhile.
    fn hear(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            self.waiting.note(change);
        }
    }

    /// Waits before the next try; what changes meanwhile is remembered once, however often it changes.
    async fn pause(&mut self, context: &Context, settings: &SinkSettings, error: &io::Error) {
        keep_departed(context, settings, &mut self.waiting).await;
        self.failures += 1;
        self.waiting.failed();
        context.metrics.event_failed(&settings.name);
        context.metrics.events_wait(&settings.name, self.waiting.since());
        let delay = backoff::delay(self.failures).min(LONGEST_RETRY);
        tracing::warn!(sink = settings.name, %error, "events were not delivered; tried again in {delay:?}");
        let end = Instant::now() + delay;
        while let Ok(Some(change)) = tokio::time::timeout_at(end, self.changes.recv()).await {
            self.waiting.note(change);
        }
    }
}

/// Delivers while this process leads. Ends with true when there is nothing to hear of any more.
async fn deliver_term(context: &Context, settings: &SinkSettings, inbox: &mut Inbox<'_>, news: &mut News) -> bool {
    let mut sink = loop {
        match OpenSink::begin(context, settings, inbox).await {
            Ok(begun) => break begun,
            Err(error) => news.pause(context, settings, &error).await,
        }
    };
    news.waiting.begin_with(context.clock.now(), Object::all(&context.world).iter().map(Object::key));
    let (required, mut kept): (Vec<&str>, _) = (context.settings.events.required().collect(), context.backlog.heard());
    loop {
        // The clock may have been set back.
        let now = context.clock.now();
        context.marks.limit(now - LATE);
        sink.cursor.limit(now - LATE);
        // Between any two batches: what devices tell without end keeps no change from being heard of.
        news.hear();
        // What an object no longer keeps since it was looked at comes first.
        let is_behind = context.backlog.has_work_for(&settings.name, &required);
        if let Some(began) = news.waiting.next_round(now, sink.is_failing)
            && !is_behind
            && std::mem::take(&mut sink.has_moved)
        {
            // What was recorded then and not seen yet is later than this.
            let mark = began - LATE;
            context.marks.set(&settings.name, context.backlog.broken_until().map_or(mark, |broken| mark.min(broken)));
        }
        context.metrics.events_wait(&settings.name, news.waiting.since());
        if news.waiting.is_empty() && inbox.is_empty() && !is_behind {
            tokio::select! {
                change = news.changes.recv() => match change {
                    Some(change) => news.waiting.note(change),
                    None => return true,
                },
                () = inbox.arrival() => {}
                _ = kept.changed() => {}
                // Whoever waited with something has given up.
                () = tokio::time::sleep(LAPSE), if sink.is_failing => sink.is_failing = false,
            }
            continue;
        }
        // Somebody waits for these, so they go before what is caught up with.
        let submitted = inbox.take(BATCH);
        let mut outcome = sink.deliver_submitted(context, submitted.events()).await;
        if outcome.is_ok() {
            inbox.delivered(submitted);
            outcome = sink.deliver_recorded(context, &mut news.waiting).await;
        } else {
            inbox.failed(submitted);
        }
        if outcome.is_ok() || std::mem::take(&mut sink.has_brought) {
            news.failures = 0;
        }
        if let Err(error) = outcome {
            news.pause(context, settings, &error).await;
        }
    }
}

/// A sink is away: what it lacks of objects that are gone is kept where it outlives this process.
async fn keep_departed(context: &Context, settings: &SinkSettings, waiting: &mut Waiting) {
    if !settings.required {
        let surplus = waiting.departed().len().saturating_sub(MOST_DEPARTED);
        waiting.done_departed(surplus);
        (0..surplus).for_each(|_| context.metrics.event_missed(&settings.name));
        return;
    }
    let mut kept = 0;
    for object in waiting.departed() {
        if let Err(error) = backlog::keep_untold(context, object).await {
            tracing::warn!(%error, "what a sink lacks of an object that is gone is in memory only");
            break;
        }
        kept += 1;
    }
    waiting.done_departed(kept);
}
