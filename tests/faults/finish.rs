//! The end of every cell: calm, a burst, the drain, probes, and the verdict.

use std::time::{Duration, Instant};

use pgflow::Priority;
use tokio_postgres::Client;

use super::{
    cell::Cell,
    check::{Case, Facts, check},
    dump::Dump,
    history::{self, Event},
    order::PROBE_TASK,
    process::Process,
    replay, report,
    traffic::{Act, Load},
};
use crate::support::{eventually, query_text};

/// The longest that a drain may take, once all is quiet.
const DRAIN: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(60);

impl Cell {
    /// The end of every cell: no fault any more, all that was sent is handled, the verdict.
    pub async fn finish(mut self) -> Facts {
        eventually(STOP + Duration::from_secs_f64(self.asked.seconds), || {
            let loading = self.loading();
            async move { !loading }
        })
        .await;
        self.journal.durable(Event::Calm).await;
        if let Some(dir) = &self.spool {
            let left = pgflow::spool::inspect(dir).unwrap_or_else(|e| panic!("{e}"));
            let found = (left.spooled.messages, left.aside.len());
            assert_eq!(found, (0, self.told), "{}: left in the spool, and set aside: {left:?}", self.name);
        }
        let calm = Instant::now();
        let client = self.client().await;
        self.burst().await;
        self.drained(&client).await;
        let drained_s = calm.elapsed().as_secs_f64();
        self.snapshot().await;
        self.probe(&client).await;
        for instance in &mut self.instances {
            instance.ask_to_stop();
        }
        eventually(STOP, || {
            let ended = self.instances.iter_mut().all(Process::has_ended);
            async move { ended }
        })
        .await;
        self.journal.flush().await;
        let dump = Dump::take(&client).await;
        let facts = Facts { seed: self.asked.seed, lines: history::read(&self.dir), dump, limits: self.limits };
        let broken = check(&facts);
        // Without traffic, or without a fault under it, a verdict says nothing.
        assert!(facts.dump.rows.len() > 150, "{}: hardly any traffic", self.name);
        assert!(facts.lines.iter().any(|l| matches!(l.event, Event::Fault { .. })), "{}: no fault", self.name);
        if let Some(path) = &self.asked.report {
            report::add(path, self.name, self.fault, self.major(), &facts, &broken, drained_s);
        }
        let (events, messages) = replay::extent(&Case::sort(&facts));
        println!(
            "{}: {}; {events} events of {messages} messages replayed",
            self.name,
            report::summary(&facts, drained_s)
        );
        let shown: Vec<String> = broken.iter().take(20).map(ToString::to_string).collect();
        let (name, dir) = (self.name, self.dir.display());
        assert!(broken.is_empty(), "{name}: {} broken, histories in {dir}:\n{}", broken.len(), shown.join("\n"));
        std::fs::remove_dir_all(&self.dir).expect("the histories go");
        facts
    }

    /// A backlog, and high messages behind it: those overtake.
    async fn burst(&self) {
        for n in 0..100_i64 {
            let priority = if n % 25 == 24 { Priority::High } else { Priority::Low };
            self.send_load(Load::new(PROBE_TASK * 1_000_000 + 1_000 + n, Act::Effect, 5), priority).await;
        }
    }

    /// One by one, each when all is idle: a lost wake would show.
    async fn probe(&self, client: &Client) {
        for n in 0..3 {
            self.send_load(Load::new(PROBE_TASK * 1_000_000 + n, Act::Effect, 5), Priority::Normal).await;
            self.drained(client).await;
        }
    }

    async fn drained(&self, client: &Client) {
        let waiting = "SELECT status || ' ' || count(*) FROM pgflow_messages WHERE status NOT IN ('done', 'dead', 'cancelled') GROUP BY status";
        let end = Instant::now() + DRAIN;
        loop {
            let left = query_text(client, waiting).await;
            if left.is_empty() {
                return;
            }
            // Broken liveness: the verdict then names what is left.
            if Instant::now() > end {
                return eprintln!("{} seed {}: not drained: {left:?}", self.name, self.asked.seed);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
