use tokio::sync::{Notify, Semaphore};

use super::super::Letter;
use super::super::lines::Line;
use super::*;

const SERVING: Serving =
    Serving { name: "q", workers: 1, deadline: None, max_retries: 3, retry_delay: Duration::from_secs(1) };
const SOON: Duration = Duration::from_secs(10);

/// Fear: in memory a message has fewer tries than by the queue, or never ends; or a snooze uses them up.
#[test]
fn tries_are_the_queues() {
    let after = |failure, attempt| next(Err(failure), attempt, &SERVING);
    assert_eq!(next(Ok(()), 4, &SERVING), Next::Done);
    let asked = after(Failure::retry_in(Duration::from_secs(7), "x"), 3);
    assert_eq!(asked, Next::Again { attempt: 4, delay: Duration::from_secs(7), event: "retry" });
    assert_eq!(after(Failure::retry("x"), 4), Next::Dead, "three retries after the first try");
    assert_eq!(after(Failure::dead("x"), 1), Next::Dead);
    let snoozed = after(Failure::snooze(Duration::from_millis(5)), 4);
    assert_eq!(snoozed, Next::Again { attempt: 4, delay: Duration::from_millis(5), event: "snoozed" });
}

/// Fear: the backoff is not the documented one, or overflows.
#[test]
fn the_backoff_doubles_to_a_minute() {
    let seconds = [1, 2, 6, 7, 1_000].map(|attempt| backoff(Duration::from_secs(1), attempt).as_secs());
    assert_eq!(seconds, [1, 2, 32, 60, 60]);
    let Next::Again { delay, .. } = next(Err(Failure::retry("x")), 2, &SERVING) else { panic!("again") };
    assert!((1_800..=2_200).contains(&delay.as_millis()), "{delay:?}");
}

/// One queue with one worker, whose consumer notes each call by the message's kind and try, and ends when it is told to.
struct Stage {
    rounds: Rounds,
    calls: Arc<Mutex<Vec<(String, u32)>>>,
    go: Arc<Semaphore>,
    called: Arc<Notify>,
}

impl Stage {
    fn new(serving: Serving, verdict: fn() -> Result<(), Failure>) -> Self {
        let (calls, go, called) = (Arc::default(), Arc::new(Semaphore::new(0)), Arc::new(Notify::new()));
        let line = Arc::new(Line { workers: Semaphore::new(serving.workers), serving });
        let mut lines = Lines::default();
        for kind in ["a", "b", "c"] {
            let (calls, go, called): (Arc<Mutex<Vec<_>>>, _, _) =
                (Arc::clone(&calls), Arc::clone(&go), Arc::clone(&called));
            let call: super::super::lines::Call = Box::new(move |_, attempt| {
                calls.lock().unwrap_or_else(PoisonError::into_inner).push((kind.to_owned(), attempt));
                called.notify_one();
                let go = Arc::clone(&go);
                Box::pin(async move {
                    go.acquire().await.map_err(Failure::retry)?.forget();
                    verdict()
                })
            });
            lines.takers.insert(kind, Arc::new(Taker { line: Arc::clone(&line), call }));
        }
        let rounds = Rounds::new(lines, TaskTracker::new(), CancellationToken::new(), CancellationToken::new());
        Self { rounds, calls, go, called }
    }

    fn take(&self, kind: &'static str, change: impl FnOnce(&mut Letter)) {
        let out = Arc::new(Outgoing::json("q", kind, "{}").expect("JSON"));
        let (priority, delay) = (Priority::Normal, Duration::ZERO);
        let mut letter =
            Letter { kind, queue: "q", priority, target: None, delay, ordering_key: None, dedup_key: None, out };
        change(&mut letter);
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place");
        self.rounds.take(Held { letter, _place: place });
    }

    /// The calls so far, once there are as many.
    async fn calls(&self, count: usize) -> Vec<(String, u32)> {
        let seen = async {
            loop {
                let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if calls.len() >= count {
                    return calls;
                }
                self.called.notified().await;
            }
        };
        tokio::time::timeout(SOON, seen).await.expect("as many calls")
    }

    /// Waits for the end of every round.
    async fn idle(&self) {
        self.rounds.shared.tasks.close();
        tokio::time::timeout(SOON, self.rounds.shared.tasks.wait()).await.expect("an end");
    }
}

fn called(kinds: &[&str]) -> Vec<(String, u32)> {
    kinds.iter().map(|kind| ((*kind).to_owned(), 1)).collect()
}

/// Fear: two letters of one key run at once, or in another order than they were committed.
#[tokio::test]
async fn one_key_is_one_at_a_time_in_order() {
    let stage = Stage::new(Serving { workers: 9, ..SERVING }, || Ok(()));
    let keyed = |letter: &mut Letter| letter.ordering_key = Some("k".to_owned());
    stage.take("a", keyed);
    stage.take("b", keyed);
    stage.take("c", |_| {});
    // Both that may run do.
    let mut first = stage.calls(2).await;
    first.sort();
    assert_eq!(first, called(&["a", "c"]));
    stage.go.add_permits(2);
    assert_eq!(stage.calls(3).await[2], ("b".to_owned(), 1));
    stage.go.add_permits(1);
    stage.idle().await;
    assert!(stage.rounds.keys().behind.is_empty());
}

/// Fear: two chains of timers never become one; or a key is never free again.
#[tokio::test]
async fn a_second_letter_of_a_dedup_key_does_nothing_while_the_first_is_there() {
    let stage = Stage::new(SERVING, || Ok(()));
    let named = |letter: &mut Letter| letter.dedup_key = Some("daily".to_owned());
    stage.take("a", named);
    stage.take("b", named);
    stage.go.add_permits(2);
    stage.idle().await;
    assert_eq!(stage.calls(1).await, called(&["a"]));
    stage.take("b", named);
    stage.idle().await;
    assert_eq!(stage.calls(2).await, called(&["a", "b"]));
}

/// Fear: a rollback waits for a worker; or everything else waits for none.
#[tokio::test]
async fn high_waits_for_no_worker() {
    let stage = Stage::new(SERVING, || Ok(()));
    stage.take("a", |_| {});
    assert_eq!(stage.calls(1).await, called(&["a"]));
    stage.take("b", |_| {});
    stage.take("c", |letter| letter.priority = Priority::High);
    assert_eq!(stage.calls(2).await, called(&["a", "c"]));
    stage.go.add_permits(3);
    stage.idle().await;
    assert_eq!(stage.calls(3).await, called(&["a", "c", "b"]));
}

/// Fear: a message that fails is called for ever, or once; or its worker waits out the backoff with it.
#[tokio::test]
async fn tries_end_and_hold_no_worker_between() {
    let brisk = Serving { retry_delay: Duration::from_millis(200), max_retries: 1, ..SERVING };
    let stage = Stage::new(brisk, || Err(Failure::retry("asked to fail")));
    stage.go.add_permits(9);
    stage.take("a", |_| {});
    stage.calls(1).await;
    stage.take("b", |_| {});
    stage.idle().await;
    let mut calls = stage.calls(4).await;
    assert_eq!(calls[..2], called(&["a", "b"]));
    calls[2..].sort();
    assert_eq!(calls[2..], [("a".to_owned(), 2), ("b".to_owned(), 2)]);
}

/// Fear: a stop waits for what sleeps, begins what waits, or cuts what runs.
#[tokio::test]
async fn a_stop_waits_for_what_runs_alone() {
    let stage = Stage::new(SERVING, || Ok(()));
    stage.take("a", |_| {});
    stage.calls(1).await;
    stage.take("b", |_| {});
    stage.take("c", |letter| letter.delay = Duration::from_secs(3_600));
    stage.rounds.shared.stopping.cancel();
    stage.go.add_permits(1);
    stage.idle().await;
    assert_eq!(stage.go.available_permits(), 0, "it ran to its end");
    assert_eq!(stage.calls(1).await, called(&["a"]));
}

/// Fear: a consumer that hangs keeps its worker for ever.
#[tokio::test]
async fn a_consumer_past_its_deadline_is_a_failed_try() {
    let limited = Serving { deadline: Some(Duration::from_millis(20)), max_retries: 0, ..SERVING };
    let stage = Stage::new(limited, || Ok(()));
    stage.take("a", |_| {});
    stage.idle().await;
    assert_eq!(stage.calls(1).await, called(&["a"]));
}
