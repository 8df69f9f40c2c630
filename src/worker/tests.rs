//! Workers and their series without a database: what was claimed ahead lies on the shelf, what has ended waits to be written.

use std::{
    ops::RangeInclusive,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant, SystemTime},
};

use ractor::{Actor, ActorRef};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    Finished, Msg, Shared, Worker,
    series::{Desk, Handlers, Series},
};
use crate::{
    Config, Failure, Publisher,
    address::Outlet,
    ahead::Shelf,
    codec::Codec,
    connect::Target,
    handler::{AnyHandler, Context, Incoming, Lent, Registry},
    message::Priority,
    settle::{Claimed, Delivery, Outcome, Settler},
    store::Store,
};

const SOON: Duration = Duration::from_secs(20);
const DEADLINE: Duration = Duration::from_millis(50);

/// How a handler hangs.
#[derive(Clone, Copy, PartialEq)]
enum Hang {
    /// It blocks its thread, until the gate is opened.
    Block,
    /// At an await point, for ever.
    Wait,
}

/// What handlers and workers did.
#[derive(Default)]
struct Seen {
    /// The messages started, in order.
    ran: Vec<i64>,
    /// Handlers that are gone with their series, or were to be built anew.
    dropped: usize,
    /// The slots that reported idle, in order.
    idle: Vec<usize>,
    open: bool,
}

#[derive(Default)]
struct Stage {
    seen: Mutex<Seen>,
    opened: Condvar,
}

impl Stage {
    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().expect("no panic"));
    }
}

/// Quick, but for one message.
struct Quick {
    stage: Arc<Stage>,
    hangs: (i64, Hang),
}

impl AnyHandler for Quick {
    async fn handle(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        self.stage.note(|seen| seen.ran.push(cx.id()));
        if self.hangs == (cx.id(), Hang::Wait) {
            std::future::pending::<()>().await;
        }
        if self.hangs == (cx.id(), Hang::Block) {
            let seen = self.stage.seen.lock().expect("no panic");
            drop(self.stage.opened.wait_while(seen, |seen| !seen.open).expect("no panic"));
        }
        Ok(())
    }
}

impl Drop for Quick {
    fn drop(&mut self) {
        self.stage.note(|seen| seen.dropped += 1);
    }
}

/// A queue's workers, whose outcomes nobody takes.
struct Scene {
    stage: Arc<Stage>,
    settler: Settler,
    shared: Arc<Shared>,
}

impl Scene {
    fn new(hangs: (i64, Hang), deadline: Option<Duration>) -> Self {
        Self::on(Handle::current(), hangs, deadline)
    }

    fn on(user: Handle, hangs: (i64, Hang), deadline: Option<Duration>) -> Self {
        let target = Target::parse("postgresql://127.0.0.1:1/nowhere").expect("a URL");
        let pool = target.pool(&Handle::current(), 1, "nowhere", "").expect("a pool");
        let store = Arc::new(Store::new("public"));
        let stage = Arc::new(Stage::default());
        let mut registry = Registry::default();
        registry.add_any({
            let stage = stage.clone();
            move || Quick { stage: stage.clone(), hangs }
        });
        let finished = {
            let stage = stage.clone();
            Outlet::new(move |finished| {
                if let Finished::Idle(slot) = finished {
                    stage.note(|seen| seen.idle.push(slot));
                }
            })
        };
        let publisher =
            Publisher::new(store.clone(), pool.clone(), &Config::new("postgresql://127.0.0.1:1/nowhere").instance("a"));
        let shared = Shared {
            queue: "q".into(),
            registry,
            lent: Lent { pool: pool.clone(), publisher: publisher.clone(), instance: "a".into() },
            lent_to_high: Lent { pool: pool.clone(), publisher, instance: "a".into() },
            deadline,
            user,
            cut: CancellationToken::new(),
            shelf: Shelf::new(Outlet::new(|_| {})),
            finished,
        };
        shared.shelf.lock().serve_themselves(true);
        Self { stage, settler: Settler::new(store, pool, Outlet::new(|_| {})), shared: Arc::new(shared) }
    }

    async fn worker(&self, slot: usize) -> ActorRef<Msg> {
        let (worker, _) = Actor::spawn(None, Worker { shared: self.shared.clone(), slot }, ()).await.expect("an actor");
        worker
    }

    fn delivery(&self, id: i64) -> Delivery {
        let incoming = Incoming {
            id,
            message_id: Uuid::nil(),
            queue: "q".into(),
            kind: "k".into(),
            version: 1,
            codec: Codec::Json,
            body: b"{}".to_vec(),
            headers: None,
            ordering_key: None,
            attempt: 1,
            priority: Priority::Normal,
            source: None,
            created_at: SystemTime::now(),
        };
        let claimed = Claimed { id, token: id, queue_id: 1, ordering_key: None };
        self.settler.deliver(incoming, claimed).expect("it was not handed back")
    }

    fn shelve(&self, ids: RangeInclusive<i64>) {
        let deliveries: Vec<_> = ids.map(|id| self.delivery(id)).collect();
        self.shared.shelf.lock().keep(Instant::now(), deliveries);
    }

    fn open(&self) {
        self.stage.note(|seen| seen.open = true);
        self.stage.opened.notify_all();
    }

    fn ran(&self) -> Vec<i64> {
        self.stage.seen.lock().expect("no panic").ran.clone()
    }

    /// Waits for a fact of what was seen.
    async fn until(&self, what: &str, fact: impl Fn(&Seen) -> bool) {
        let began = Instant::now();
        while !fact(&self.stage.seen.lock().expect("no panic")) {
            assert!(began.elapsed() < SOON, "never: {what}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// What has ended, and how: one outcome each, or the settler would be told twice of one claim.
    fn outcomes(&self) -> Vec<(i64, String)> {
        let told = |(id, outcome)| match outcome {
            Outcome::Done => (id, "done".into()),
            Outcome::HandBack => (id, "handed back".into()),
            Outcome::Failed { event, error, .. } => (id, format!("{event}: {error}")),
            Outcome::Dead { .. } | Outcome::Undecodable { .. } => (id, "refused".into()),
        };
        let mut all: Vec<_> = self.settler.waiting().into_iter().map(told).collect();
        all.sort();
        all
    }

    /// Waits until one has ended; then these have, all well but for that one.
    async fn ended(&self, ids: RangeInclusive<i64>, (one, how): (i64, &str)) {
        self.until("one ends", |_| self.settler.waiting().iter().any(|(id, _)| *id == one)).await;
        let expected: Vec<_> = ids.map(|id| (id, if id == one { how } else { "done" }.to_owned())).collect();
        assert_eq!(self.outcomes(), expected);
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A test that fails would otherwise wait for its blocked threads.
        self.open();
    }
}

/// Fear: a worker that is killed in the midst of a series takes what was claimed ahead along; or its handler, back late, settles
/// what has failed already, or goes on with what is others'.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_killed_worker_costs_the_message_under_way_one_try_and_no_other() {
    let scene = Scene::new((3, Hang::Block), None);
    let (first, second) = (scene.worker(0).await, scene.worker(1).await);
    scene.shelve(2..=8);
    first.cast(Msg::Run(scene.delivery(1))).expect("alive");
    scene.until("it is in the midst", |seen| seen.ran == [1, 2, 3]).await;
    first.kill();
    scene.ended(1..=3, (3, "failed: its worker died")).await;
    second.cast(Msg::Run(scene.delivery(9))).expect("alive");
    scene.until("another runs the rest", |seen| seen.idle == [1]).await;
    assert_eq!(scene.ran(), [1, 2, 3, 9, 4, 5, 6, 7, 8]);
    scene.shelve(10..=11);
    scene.open();
    scene.until("the late series is over", |seen| seen.dropped == 1).await;
    assert_eq!(scene.shared.shelf.lock().waiting(), 2, "not the late series' to run");
    scene.ended(1..=9, (3, "failed: its worker died")).await;
}

/// Fear: a series that is given up between two messages begins the next, which its worker no longer watches.
#[tokio::test]
async fn what_is_taken_after_a_give_up_is_handed_back_unstarted() {
    let scene = Scene::new((0, Hang::Wait), None);
    let desk = Desk::new(scene.delivery(1));
    scene.shelve(2..=3);
    let series = Series { shared: scene.shared.clone(), desk: desk.clone(), handlers: Handlers::new(), single: false };
    let (first, _) = desk.take().expect("it lies there");
    assert!(desk.give_up().is_none());
    drop(desk.lay(scene.shared.next(Duration::ZERO).expect("one waits")));
    series.run().await;
    first.settle(Outcome::Done);
    assert_eq!(scene.ran(), [0; 0]);
    scene.ended(1..=2, (2, "handed back")).await;
}

/// Fear: a handler that hangs at an await point in the midst of a series ends the series, and what was claimed ahead waits on.
#[tokio::test(flavor = "multi_thread")]
async fn a_handler_past_its_deadline_is_cut_and_its_series_goes_on() {
    let scene = Scene::new((3, Hang::Wait), Some(DEADLINE));
    let worker = scene.worker(0).await;
    scene.shelve(2..=8);
    worker.cast(Msg::Run(scene.delivery(1))).expect("alive");
    scene.until("all has run", |seen| seen.idle == [0]).await;
    assert_eq!(scene.ran(), [1, 2, 3, 4, 5, 6, 7, 8]);
    scene.until("a cut handler is built anew", |seen| seen.dropped == 1).await;
    scene.ended(1..=8, (3, "timed_out: ran past its deadline of 50 ms")).await;
}

/// Fear: a handler that blocks its thread past its deadline keeps its worker, or what was claimed ahead; or, back late, it settles
/// what has failed already, or begins what is others'.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handler_that_blocks_past_its_deadline_is_left_behind() {
    let scene = Scene::new((3, Hang::Block), Some(DEADLINE));
    let worker = scene.worker(0).await;
    scene.shelve(2..=8);
    worker.cast(Msg::Run(scene.delivery(1))).expect("alive");
    scene.until("its worker is idle again", |seen| seen.idle == [0]).await;
    assert_eq!(scene.ran(), [1, 2, 3]);
    scene.ended(1..=3, (3, "timed_out: ran past its deadline of 50 ms")).await;
    worker.cast(Msg::Run(scene.delivery(9))).expect("alive");
    scene.until("it runs the rest", |seen| seen.idle == [0, 0]).await;
    assert_eq!(scene.ran(), [1, 2, 3, 9, 4, 5, 6, 7, 8]);
    scene.shelve(10..=11);
    scene.open();
    scene.until("the late series is over", |seen| seen.dropped == 1).await;
    assert_eq!(scene.shared.shelf.lock().waiting(), 2, "not the late series' to run");
    scene.ended(1..=9, (3, "timed_out: ran past its deadline of 50 ms")).await;
}

/// Fear: when the runtime that handlers run on has been shut down, all that waits is claimed, and charged a try, without a run.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_runtime_to_run_on_messages_go_back_and_the_worker_ends() {
    let gone = tokio::runtime::Runtime::new().expect("a runtime");
    let scene = Scene::on(gone.handle().clone(), (0, Hang::Wait), None);
    gone.shutdown_background();
    let worker = scene.worker(0).await;
    worker.cast(Msg::Run(scene.delivery(1))).expect("alive");
    scene.ended(1..=1, (1, "handed back")).await;
    scene.until("the worker has ended", |_| worker.get_status() == ractor::ActorStatus::Stopped).await;
    assert!(scene.stage.seen.lock().expect("no panic").idle.is_empty(), "it asks for no more");
}
