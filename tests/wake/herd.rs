//! Many runtimes on one queue (W12): what a message costs does not grow with their number, and none of them is forgotten.

use std::{
    collections::HashMap,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::*;

const MANY: usize = 50;

type Count = Arc<AtomicU64>;

/// Counts what this process records, by metric and queue.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<HashMap<(String, String), Count>>>);

/// How often a time was taken.
struct Times(Count);
impl HistogramFn for Times {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counts {
    fn install() -> &'static Self {
        static COUNTS: OnceLock<Counts> = OnceLock::new();
        COUNTS.get_or_init(|| {
            let counts = Self::default();
            metrics::set_global_recorder(counts.clone()).unwrap();
            counts
        })
    }

    fn of(&self, metric: &str, queue: &str) -> u64 {
        self.cell(metric, queue).load(Ordering::Relaxed)
    }

    fn cell(&self, metric: &str, queue: &str) -> Count {
        self.0.lock().unwrap().entry((metric.to_owned(), queue.to_owned())).or_default().clone()
    }

    fn cell_of(&self, key: &Key) -> Count {
        let queue = key.labels().find(|l| l.key() == "queue").map_or("", |l| l.value());
        self.cell(key.name(), queue)
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell_of(key))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Times(self.cell_of(key))))
    }
}

struct Counting(Count);
impl pgflow::AnyHandler for Counting {
    async fn handle(&mut self, _: &mut pgflow::Context<'_>) -> Result<(), pgflow::Failure> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// What messages cost that are handled one by one, each published when all runtimes sleep: wakes and scans of all of them.
async fn cost(url: &str, runtimes: usize, workers: usize) -> (u64, u64) {
    const MESSAGES: u64 = 20;
    let (queue, counts) = (format!("herd-{runtimes}-{workers}"), Counts::install());
    let handled = Arc::new(AtomicU64::new(0));
    let mut all = Vec::new();
    for i in 0..runtimes {
        let handled = handled.clone();
        let runtime = Runtime::builder(config(url, &format!("{queue}-{i}")))
            .queue(Queue::new(&queue).workers(workers).high_reserve(false))
            .any_handler(&queue, move || Counting(handled.clone()));
        all.push(runtime.start().await.unwrap());
    }
    let publisher = pgflow::Publisher::connect(&config(url, "p")).await.unwrap();
    let so_far = || (counts.of("pgflow_wakes_total", &queue), counts.of("pgflow_claim_seconds", &queue));
    // Nobody lingers (20 ms) or waits for a silent publisher (50 ms) any more.
    let all_sleep = || async {
        let (mut last, mut since) = (so_far(), Instant::now());
        while since.elapsed() < Duration::from_millis(80) {
            tokio::time::sleep(Duration::from_millis(10)).await;
            if so_far() != last {
                (last, since) = (so_far(), Instant::now());
            }
        }
    };
    all_sleep().await;
    let before = so_far();
    for n in 1..=MESSAGES {
        publisher.send(pgflow::Outgoing::json(&queue, "k", "{}").unwrap()).await.unwrap();
        eventually(SOON, || async { handled.load(Ordering::SeqCst) == n }).await;
        all_sleep().await;
    }
    let after = so_far();
    no_wake_lost(&all.iter().collect::<Vec<_>>(), false);
    for r in all {
        r.stop(SOON).await.unwrap();
    }
    println!("{queue}: {} wakes, {} scans for {MESSAGES} messages", after.0 - before.0, after.1 - before.1);
    (after.0 - before.0, after.1 - before.1)
}

/// Fear (W12): every message wakes all that sleep on its queue, and each of them looks.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_costs_no_more_among_many_idle_runtimes_than_with_one() {
    let server = support::own_cluster(false).await;
    // With workers to spare, and with none left after each message: the one hands over.
    for workers in [4, 1] {
        let (wakes, scans) = cost(&server.url(), 1, workers).await;
        let (wakes_of_many, scans_of_many) = cost(&server.url(), MANY, workers).await;
        assert!(wakes_of_many <= 3 * wakes, "{wakes_of_many} wakes among {MANY}, {wakes} alone, {workers} workers");
        assert!(scans_of_many <= 3 * scans, "{scans_of_many} scans among {MANY}, {scans} alone, {workers} workers");
    }
}
