use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use super::*;

/// Who started, in order.
type Starts = Arc<Mutex<Vec<(usize, ActorRef<bool>)>>>;

/// An actor that dies when told to, and notes its starts.
struct Mortal {
    starts: Starts,
    number: usize,
    failing_starts: Arc<AtomicUsize>,
}

impl Actor for Mortal {
    type Msg = bool;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, myself: ActorRef<bool>, (): ()) -> Result<(), ActorProcessingErr> {
        let left = |n: usize| n.checked_sub(1);
        if self.failing_starts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok() {
            return Err("asked not to start".into());
        }
        self.starts.lock().unwrap().push((self.number, myself));
        Ok(())
    }

    async fn handle(&self, _: ActorRef<bool>, panics: bool, (): &mut ()) -> Result<(), ActorProcessingErr> {
        if panics { panic!("asked to panic") } else { Err("asked to fail".into()) }
    }
}

struct Family {
    root: ActorRef<Msg>,
    starts: Starts,
    failing_starts: Arc<AtomicUsize>,
}

impl Family {
    async fn new(strategy: Strategy, restarts_max: usize) -> Self {
        let (starts, failing_starts) = (Arc::default(), Arc::new(AtomicUsize::new(0)));
        let children = (0..3)
            .map(|number| {
                let (starts, failing_starts) = (Arc::clone(&starts), failing_starts.clone());
                ChildSpec::actor(format!("child {number}"), move || {
                    let (starts, failing_starts) = (Arc::clone(&starts), failing_starts.clone());
                    (Mortal { starts, number, failing_starts }, ())
                })
            })
            .collect();
        let plan = Plan {
            id: "root".into(),
            strategy,
            restarts_max,
            window: Duration::from_secs(60),
            backoff: Duration::from_millis(1),
            backoff_max: Duration::from_millis(10),
            children,
        };
        let (root, _) = Actor::spawn(None, Supervisor, plan).await.unwrap();
        Self { root, starts, failing_starts }
    }

    fn order(&self) -> Vec<usize> {
        self.starts.lock().unwrap().iter().map(|(n, _)| *n).collect()
    }

    fn last(&self, number: usize) -> ActorRef<bool> {
        self.starts.lock().unwrap().iter().rev().find(|(n, _)| *n == number).unwrap().1.clone()
    }

    async fn until(&self, order: &[usize]) {
        for _ in 0..2_000 {
            if self.order() == order {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("{:?} instead of {order:?}", self.order());
    }
}

/// Fear: a child's death takes its siblings along.
#[tokio::test]
async fn one_for_one_restarts_only_the_one() {
    let family = Family::new(Strategy::OneForOne, 10).await;
    family.last(1).cast(false).unwrap();
    family.until(&[0, 1, 2, 1]).await;
    family.last(1).kill();
    family.until(&[0, 1, 2, 1, 1]).await;
    let nodes = snapshot(&family.root).await;
    assert_eq!(nodes.iter().map(|n| (n.running, n.restarts)).collect::<Vec<_>>(), [(true, 0), (true, 2), (true, 0)]);
    family.root.stop(None);
}

/// Fear: those that depend on a dead child keep its old incarnation.
#[tokio::test]
async fn rest_for_one_restarts_the_later_ones_too() {
    let family = Family::new(Strategy::RestForOne, 10).await;
    family.last(1).cast(true).unwrap();
    family.until(&[0, 1, 2, 1, 2]).await;
    family.root.stop(None);
}

/// Fear: a child that cannot start is forgotten, or tried without end.
#[tokio::test]
async fn a_failing_restart_is_tried_again_within_the_budget() {
    let family = Family::new(Strategy::OneForOne, 10).await;
    family.failing_starts.store(3, Ordering::SeqCst);
    family.last(0).cast(false).unwrap();
    family.until(&[0, 1, 2, 0]).await;
    family.failing_starts.store(usize::MAX, Ordering::SeqCst);
    family.last(2).cast(false).unwrap();
    family.root.wait(Some(Duration::from_secs(10))).await.expect("the budget ends it");
}

/// Fear: a crash loop goes on for ever. At the edge: so many restarts are allowed, one more is not.
#[tokio::test]
async fn the_budget_ends_a_crash_loop() {
    let family = Family::new(Strategy::OneForOne, 2).await;
    family.last(0).cast(false).unwrap();
    family.until(&[0, 1, 2, 0]).await;
    family.last(0).cast(false).unwrap();
    family.until(&[0, 1, 2, 0, 0]).await;
    family.last(0).cast(false).unwrap();
    family.root.wait(Some(Duration::from_secs(10))).await.expect("the budget ends it");
}
