//! What the dispatcher believes of the locks, without a database: this file answers as the listener and the server would.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{
    Credits, Demand, Doubt, Group, Msg, Origin, QueueFacts, Served, State, Store, ToListener, Wiring, protocol::Claimed,
};
use crate::{
    address::Address,
    ahead::{Shelf, WAIT_MAX},
    connect::Target,
    pool::Kind,
    settle::Settler,
    store::{Armed, Mode, Row},
};

/// Stands in for the dispatcher's own actor: what is sent to it comes from claims that reach no database.
struct Nobody;

impl Actor for Nobody {
    type Msg = Msg;
    type State = ();
    type Arguments = ();
    async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// A dispatcher's state, and what it asked its listener for.
struct Scene {
    state: State,
    myself: ActorRef<Msg>,
    asked: Arc<Mutex<Vec<ToListener>>>,
}

const LANES: [i32; 3] = [1, 2, 3];

impl Scene {
    /// One queue with a high, a normal and a low lane, and one idle worker.
    async fn new() -> Self {
        Self::with_lanes(LANES, 0).await
    }

    /// And so many that take only high.
    async fn with_lanes(lanes: [i32; 3], reserved: usize) -> Self {
        let (myself, _) = Actor::spawn(None, Nobody, ()).await.expect("an actor");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let target = Target::parse("postgresql://127.0.0.1:1/nowhere").expect("a URL");
        let pool = target.pool(&tokio::runtime::Handle::current(), 1, "nowhere", "").expect("a pool");
        let store = Arc::new(Store::new("public"));
        let facts = QueueFacts {
            queue_id: 1,
            name: "q".into(),
            paused: false,
            max_retries: 3,
            lanes: lanes.iter().zip([10, 0, -10]).map(|(lane, class)| (*lane, class, false)).collect(),
        };
        let nowhere: Address<Doubt> = Address::default();
        let ear = asked.clone();
        let mut state = State::new(Wiring {
            settler: Settler::new(store.clone(), pool.clone(), nowhere.outlet(|_| Doubt)),
            store,
            high_pool: pool.clone(),
            pool,
            session: 1,
            instance: "a".into(),
            served: vec![Served { pool: Address::default(), workers: 1, shelf: Shelf::new(nowhere.outlet(|_| Doubt)) }],
            queues: vec![facts.clone()],
            to_listener: nowhere.outlet(move |m| {
                ear.lock().expect("no panic").push(m);
                Doubt
            }),
            doubt: nowhere.outlet(|doubt| doubt),
            woken: Arc::default(),
            address: Address::default(),
            counters: Arc::default(),
            stopping: Arc::default(),
        });
        state.adopt(vec![facts]);
        state.demand(&myself, Demand::Reset { queue: 0, round: 1, general: 1, reserved });
        Self { state, myself, asked }
    }

    /// Answers the claim of a group that is under way with so many rows, if any with all it asked for.
    fn answer(&mut self, group: Group, rows: i64) {
        let lane = if group == Group::High { LANES[0] } else { LANES[1] };
        let asked = usize::try_from(rows).expect("a few").max(1);
        let rows = (0..rows).map(|n| row(lane, n)).collect();
        let spent = self.state.queues[0].credits.under_way();
        let claimed = Claimed {
            queue: 0,
            group,
            spent,
            asked,
            complete: true,
            resets: 0,
            origin: Origin::Normal,
            rows: Ok(rows),
        };
        self.state.claimed(&self.myself, claimed);
    }

    fn worker_is_idle(&mut self) {
        self.state.demand(&self.myself, Demand::Offer { queue: 0, round: 1, kind: Kind::General });
    }

    /// With the one worker busy and two messages claimed ahead of it.
    async fn with_two_waiting() -> Self {
        let mut scene = Self::new().await;
        scene.state.listener_ready(&scene.myself, true);
        scene.answer(Group::High, 0);
        assert!(scene.state.queues[0].rest.claiming());
        scene.answer(Group::Rest, 3);
        assert_eq!(scene.waiting(), (2, 0));
        scene
    }

    /// How many messages wait, and how many workers are idle.
    fn waiting(&self) -> (usize, usize) {
        let q = &self.state.queues[0];
        (q.shelf.lock().waiting(), q.credits.free(Group::High))
    }

    /// Answers every claim with nothing and every arm request with the lock, until the dispatcher sleeps. Which keys it asked for.
    fn sleeps(&mut self) -> BTreeSet<i32> {
        let mut keys = BTreeSet::new();
        loop {
            for asked in std::mem::take(&mut *self.asked.lock().expect("no panic")) {
                if let ToListener::Arm { number, keys: asked, .. } = asked {
                    let held: Vec<_> = asked.iter().map(|key| (*key, Armed::Held)).collect();
                    keys.extend(asked);
                    self.state.armed(&self.myself, number, &held);
                }
            }
            let q = &self.state.queues[0];
            let group = match (q.high.claiming(), q.rest.claiming()) {
                (true, _) => Group::High,
                (_, true) => Group::Rest,
                _ if self.asked.lock().expect("no panic").is_empty() => break,
                _ => continue,
            };
            let (spent, rows) = (self.state.queues[0].credits.under_way(), Ok(vec![]));
            let nothing =
                Claimed { queue: 0, group, spent, asked: 1, complete: true, resets: 0, origin: Origin::Normal, rows };
            self.state.claimed(&self.myself, nothing);
        }
        let q = &self.state.queues[0];
        assert!(q.high.asleep() && q.rest.asleep());
        let mut all = Credits::default();
        all.reset(1, 1, usize::from(q.credits.reserved()));
        assert_eq!(q.credits, all, "every credit is back");
        keys
    }
}

fn row(lane: i32, n: i64) -> Row {
    Row {
        id: n,
        token: i64::from(lane) * 100 + n,
        seq: n,
        attempt: 1,
        lane,
        version: 1,
        codec: 1,
        message_id: uuid::Uuid::nil(),
        created_at: std::time::SystemTime::UNIX_EPOCH,
        kind: "k".into(),
        body: Vec::new(),
        headers: None,
        ordering_key: None,
        source: None,
        unreadable: None,
    }
}

/// Fear: a worker that becomes idle starts what was claimed ahead, and a high message waits on.
#[tokio::test]
async fn high_has_the_first_look_at_an_idle_worker() {
    let mut scene = Scene::with_two_waiting().await;
    scene.worker_is_idle();
    assert!(scene.state.queues[0].high.claiming());
    assert_eq!(scene.waiting(), (2, 0), "the worker is kept for what the look finds");
    scene.answer(Group::High, 1);
    assert_eq!(scene.waiting(), (2, 0), "it went to the high one");
    scene.worker_is_idle();
    assert_eq!(scene.waiting(), (2, 0));
    scene.answer(Group::High, 0);
    assert_eq!(scene.waiting(), (1, 0), "nothing high is there: the next in turn");
}

/// Fear: with every worker busy nobody looks for a high message, because none ever comes back while something is claimed ahead.
#[tokio::test]
async fn a_worker_comes_back_for_high_once_for_what_is_claimed_ahead() {
    let mut scene = Scene::with_two_waiting().await;
    let shelf = scene.state.queues[0].shelf.clone();
    assert!(shelf.after_run(Duration::ZERO).is_none(), "the one worker must come back");
    scene.worker_is_idle();
    assert!(scene.state.queues[0].high.claiming());
    scene.answer(Group::High, 0);
    assert_eq!(scene.waiting(), (1, 0));
    assert!(shelf.after_run(Duration::ZERO).is_some(), "nothing high is there: it may go on by itself");
    assert_eq!(scene.waiting(), (0, 0));
}

/// Fear: messages stay claimed behind a slow one, in a queue that is paused, or in a runtime that stops.
#[tokio::test]
async fn what_waits_is_handed_back_in_time() {
    let mut scene = Scene::with_two_waiting().await;
    tokio::time::sleep(WAIT_MAX).await;
    scene.state.look(&scene.myself, 0);
    assert_eq!(scene.waiting(), (0, 0), "late");

    let mut scene = Scene::with_two_waiting().await;
    let mut facts = scene.state.queues[0].facts.clone();
    facts.paused = true;
    scene.state.queues_read(&scene.myself, Ok((Mode::Eventcount, vec![facts])));
    assert_eq!(scene.waiting(), (0, 0), "paused");

    let mut scene = Scene::with_two_waiting().await;
    let (reply, stopped) = tokio::sync::oneshot::channel();
    scene.state.stop(reply);
    assert_eq!(scene.waiting(), (0, 0), "stopped");
    stopped.await.expect("no claim is under way");
    scene.worker_is_idle();
    assert_eq!(scene.waiting(), (0, 1), "and nothing is claimed again");
}

/// Fear: a claim that the stop found under way starts its messages after it.
#[tokio::test]
async fn what_a_stop_finds_under_way_is_handed_back() {
    let mut scene = Scene::new().await;
    scene.state.listener_ready(&scene.myself, true);
    let (reply, mut stopped) = tokio::sync::oneshot::channel();
    scene.state.stop(reply);
    assert!(stopped.try_recv().is_err(), "its answer is awaited");
    scene.answer(Group::High, 1);
    assert!(stopped.await.is_ok());
    assert!(!scene.state.queues[0].rest.claiming());
}

/// Fear: a listener that was killed has told nobody, what it held is believed to be held still, and all sleep without a lock.
#[tokio::test]
async fn a_listener_that_starts_anew_holds_nothing() {
    let mut scene = Scene::new().await;
    scene.state.listener_ready(&scene.myself, true);
    assert_eq!(scene.sleeps(), LANES.into());
    // Killed and restarted by its supervisor: there is no word of its end.
    scene.state.listener_ready(&scene.myself, true);
    assert_eq!(scene.sleeps(), LANES.into(), "armed anew");
}

impl Scene {
    /// A publisher announces these lanes, another runtime tells of those.
    fn wakes(&mut self, announced: &[i32], told: &[i32]) {
        for lane in announced {
            self.state.wiring.woken.announced(*lane);
        }
        self.state.wiring.woken.told(told.iter().copied());
        self.state.woken(&self.myself);
    }

    /// What was asked since.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no panic").drain(..).map(|asked| format!("{asked:?}")).collect()
    }

    /// Its one general worker is taken by what another told it of. It has handed over, and keeps no key.
    async fn saturated() -> Self {
        let mut scene = Self::new().await;
        scene.state.listener_ready(&scene.myself, true);
        scene.sleeps();
        scene.wakes(&[], &[LANES[1]]);
        scene.answer(Group::Rest, 1);
        scene.asked();
        scene
    }
}

/// Fear (W12): normal has no worker left while its key stays held for high, and who sleeps on normal is not told.
#[tokio::test]
async fn who_has_no_worker_left_hands_over_also_where_its_key_stays_held() {
    let mut scene = Scene::with_lanes([1, 1025, 3], 1).await;
    scene.state.listener_ready(&scene.myself, true);
    scene.sleeps();
    scene.wakes(&[1025], &[]);
    scene.answer(Group::Rest, 1);
    assert_eq!(scene.asked(), ["HandOver { keys: [3], lanes: [1025, 3], on_duty: true }"]);
}

/// Fear (W12): what one is told of when its workers are taken is told to nobody else; or what has been told is told for ever.
#[tokio::test]
async fn who_is_told_and_has_no_worker_tells_the_next_once() {
    let mut scene = Scene::saturated().await;
    scene.wakes(&[], &[LANES[1]]);
    assert_eq!(scene.asked(), ["HandOver { keys: [], lanes: [2, 3], on_duty: true }"]);
    scene.state.look(&scene.myself, 0);
    assert_eq!(scene.asked(), [""; 0]);
}

/// Fear (W12): what is announced to one that has no worker for it, or does not serve it, is dropped.
#[tokio::test]
async fn what_is_of_no_use_is_relayed() {
    let mut scene = Scene::saturated().await;
    scene.wakes(&[LANES[1]], &[]);
    assert_eq!(scene.asked(), ["Relay([2])"]);
    scene.wakes(&[LANES[0] + 1024], &[]);
    assert_eq!(scene.asked(), ["Relay([1025])"]);
}

/// Fear (W5, W12): who looks by itself for a while, its key let go, wakes all the others with it; or hands over to none of them
/// when its workers are taken.
#[tokio::test]
async fn who_lingers_tells_others_only_when_its_worker_is_taken() {
    let mut scene = Scene::new().await;
    scene.state.listener_ready(&scene.myself, true);
    scene.sleeps();
    for _ in 0..2 {
        scene.wakes(&[LANES[1]], &[]);
        scene.answer(Group::Rest, 0);
    }
    assert_eq!(scene.asked(), ["Linger { keys: [2, 3], lanes: [2, 3] }"]);
    scene.wakes(&[LANES[1]], &[]);
    scene.answer(Group::Rest, 1);
    let over = "HandOver { keys: [], lanes: [2, 3], on_duty: true }";
    assert!(scene.asked().iter().any(|asked| asked == over), "its worker is taken");
}
