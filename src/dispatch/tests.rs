//! What the dispatcher believes of the locks, without a database: this file answers as the listener and the server would.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use ractor::{Actor, ActorProcessingErr, ActorRef};

use super::{
    Claimed, Credits, Demand, Doubt, Group, Msg, Origin, QueueFacts, State, Store, ToListener, Wiring, WokenKeys,
};
use crate::{address::Address, connect::Target, settle::Settler, store::Armed};

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
        let (myself, _) = Actor::spawn(None, Nobody, ()).await.expect("an actor");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let target = Target::parse("postgresql://127.0.0.1:1/nowhere").expect("a URL");
        let pool = target.pool(&tokio::runtime::Handle::current(), 1, "nowhere", "").expect("a pool");
        let store = Arc::new(Store::new("public"));
        let facts = QueueFacts {
            queue_id: 1,
            name: "q".into(),
            paused: false,
            lanes: LANES.iter().zip([10, 0, -10]).map(|(lane, class)| (*lane, class, false)).collect(),
        };
        let nowhere: Address<Doubt> = Address::default();
        let ear = asked.clone();
        let mut state = State::new(Wiring {
            settler: Settler::new(store.clone(), pool.clone()),
            store,
            high_pool: pool.clone(),
            pool,
            session: 1,
            instance: "a".into(),
            pools: vec![Address::default()],
            queues: vec![facts.clone()],
            to_listener: nowhere.outlet(move |m| {
                ear.lock().expect("no panic").push(m);
                Doubt
            }),
            doubt: nowhere.outlet(|doubt| doubt),
            woken: Arc::new(WokenKeys::new()),
            address: Address::default(),
            counters: Arc::default(),
            stopping: Arc::default(),
        });
        state.adopt(vec![facts]);
        state.demand(&myself, Demand::Offer { queue: 0, general: 1, reserved: 0 });
        Self { state, myself, asked }
    }

    /// Answers every claim with nothing and every arm request with the lock, until the dispatcher sleeps. Which keys it asked for.
    fn sleeps(&mut self) -> BTreeSet<i32> {
        let mut keys = BTreeSet::new();
        loop {
            for asked in std::mem::take(&mut *self.asked.lock().expect("no panic")) {
                if let ToListener::Arm { number, keys: asked } = asked {
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
            let (spent, epoch) = (q.in_flight, q.epoch);
            let nothing =
                Claimed { queue: 0, group, spent, epoch, complete: true, origin: Origin::Normal, rows: Ok(vec![]) };
            self.state.claimed(&self.myself, nothing);
        }
        let q = &self.state.queues[0];
        assert!(q.high.asleep() && q.rest.asleep());
        assert_eq!((q.credits, q.in_flight), (Credits { general: 1, reserved: 0 }, Credits::default()));
        keys
    }
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
