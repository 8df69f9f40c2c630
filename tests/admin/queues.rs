//! Queues: made, paused, counted, deleted.

use std::time::Duration;

use pgflow::{AnyHandler, Context, Failure, Queue, Runtime, admin::Mode};

use crate::{
    SOON, Scene,
    support::{
        eventually,
        probe::{Act, Probe, Seen, probing, probing_queue},
        query_text,
    },
};

/// Fear: a setting is lost, or a queue made twice falls back to the defaults.
#[tokio::test]
async fn a_queue_keeps_its_settings() {
    let s = Scene::new().await;
    s.admin.create_queue(Queue::new("mail").max_retries(7).payload_bytes_max(99)).await.unwrap();
    s.admin.create_queue(Queue::new("mail").retry_delay(Duration::from_secs(2), Duration::from_secs(9))).await.unwrap();
    s.admin.pause_queue("mail").await.unwrap();
    let queues = s.admin.list_queues().await.unwrap();
    let names: Vec<&str> = queues.iter().map(|q| q.queue_name.as_str()).collect();
    assert_eq!(names, ["mail", "probe"]);
    let mail = &queues[0];
    assert_eq!((mail.max_retries, mail.payload_bytes_max, mail.paused), (7, 99, true));
    assert_eq!((mail.retry_delay_ms, mail.retry_delay_ms_max), (2_000, 9_000));
    assert!(s.admin.create_queue(Queue::new("No Name")).await.unwrap_err().is_input());
}

/// Fear: a limit of ours and the table's differ: a setting that we let through comes back as a violated constraint.
#[tokio::test]
async fn the_edges_of_every_setting() {
    use pgflow::limits::{PAYLOAD_BYTES_MAX, RETRIES_MAX, RETRY_DELAY_FIRST_MAX, RETRY_DELAY_MAX};
    let s = Scene::new().await;
    let queue = || Queue::new("edge");
    let ms = Duration::from_millis(1);
    for good in [
        queue().max_retries(0).retry_delay(Duration::ZERO, Duration::ZERO).payload_bytes_max(1),
        queue().max_retries(RETRIES_MAX).payload_bytes_max(PAYLOAD_BYTES_MAX),
        queue().retry_delay(RETRY_DELAY_FIRST_MAX, RETRY_DELAY_MAX),
        queue().retry_delay(ms, ms),
    ] {
        s.admin.create_queue(good).await.unwrap();
    }
    for (bad, why) in [
        (queue().max_retries(RETRIES_MAX + 1), "max_retries 1001 is not in 0..=1000"),
        (queue().retry_delay(RETRY_DELAY_FIRST_MAX + ms, RETRY_DELAY_MAX), "86400001 is not in 0..=86400000"),
        (queue().retry_delay(ms, RETRY_DELAY_MAX + ms), "604800001 is not in 0..=604800000"),
        (queue().retry_delay(ms, Duration::MAX), "is not in 0..=604800000"),
        (queue().retry_delay(2 * ms, ms), "the first, 2 ms, is longer than the longest, 1 ms"),
        (queue().payload_bytes_max(0), "payload_bytes_max 0 is not in 1..=268435456"),
        (queue().payload_bytes_max(PAYLOAD_BYTES_MAX + 1), "payload_bytes_max 268435457"),
        (queue().payload_bytes_max(u32::MAX), "payload_bytes_max"),
    ] {
        let e = s.admin.create_queue(bad).await.unwrap_err();
        assert!(e.is_config() && e.to_string().starts_with("queue \"edge\": ") && e.to_string().contains(why), "{e}");
    }
}

/// Fear: an operator is told that he made a queue that somebody else uses, or the other way round.
#[tokio::test]
async fn a_queue_is_new_once() {
    let s = Scene::new().await;
    assert!(s.admin.create_queue(Queue::new("mail")).await.unwrap());
    assert!(!s.admin.create_queue(Queue::new("mail").max_retries(1)).await.unwrap());
    s.admin.delete_queue("mail").await.unwrap();
    assert!(s.admin.create_queue(Queue::new("mail")).await.unwrap(), "a deleted one that comes back is new");
}

/// Fear: a name that is no queue is answered as if it were an empty one.
#[tokio::test]
async fn an_unknown_queue_is_an_error_everywhere() {
    let s = Scene::new().await;
    let errors = [
        s.admin.get_queue_stats("nobody").await.unwrap_err(),
        s.admin.list_pending_messages("nobody", 10).await.unwrap_err(),
        s.admin.list_dlq_messages(Some("nobody"), 10).await.unwrap_err(),
        s.admin.purge_dlq(Some("nobody")).await.unwrap_err(),
        s.admin.pause_queue("nobody").await.unwrap_err(),
        s.admin.resume_queue("nobody").await.unwrap_err(),
        s.admin.delete_queue("nobody").await.unwrap_err(),
        s.admin.delete_queue_cancelling("nobody").await.unwrap_err(),
    ];
    for e in errors {
        assert!(e.is_input() && e.is_unknown_queue(), "{e:?}");
        assert!(e.to_string().contains("unknown queue \"nobody\": `pgflow queues` lists them"), "{e}");
    }
}

/// Fear: a paused queue starts messages, or a resumed one waits for a heartbeat (30 s here) before it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_queue_starts_nothing_and_a_resumed_one_starts_at_once() {
    let s = Scene::new().await;
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 1, &seen).await;
    s.admin.pause_queue("probe").await.unwrap();
    for n in 0..3 {
        s.publisher.publish(&Probe::new(n)).await.unwrap();
    }
    // A message of another queue shows that the dispatcher has looked since.
    assert_eq!(s.admin.get_queue_stats("probe").await.unwrap().pending, 3);
    assert_eq!(seen.count(), 0);
    s.admin.resume_queue("probe").await.unwrap();
    s.until(&["0:done", "1:done", "2:done"]).await;
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: the figures are wrong, or count another queue's messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_figures_are_those_of_the_queue() {
    let s = Scene::new().await;
    s.admin.create_queue(Queue::new("other")).await.unwrap();
    s.publisher.send(Probe::new(99).out().queue("other")).await.unwrap();
    let empty = s.admin.get_queue_stats("probe").await.unwrap();
    assert_eq!((empty.pending, empty.oldest_pending_age_s, empty.latency_p50_ms), (0, None, None));

    let seen = Seen::new();
    let queue = Queue::new("probe").workers(3).retry_delay(Duration::from_millis(10), Duration::from_millis(10));
    let runtime = probing_queue(s.config("a"), queue, &seen).await;
    for n in 0..10 {
        s.publisher.publish(&Probe::new(n)).await.unwrap();
    }
    s.publisher.publish(&Probe::act(10, Act::FailUntil(2))).await.unwrap();
    s.publisher.publish(&Probe::act(11, Act::Dead)).await.unwrap();
    s.publisher.publish(&Probe { n: 12, act: Act::Wait, key: Some("k".into()) }).await.unwrap();
    s.publisher.publish(&Probe { n: 13, act: Act::Done, key: Some("k".into()) }).await.unwrap();
    s.publisher.send(Probe::new(14).out().delay(Duration::from_secs(3600))).await.unwrap();
    s.publisher.send(Probe::new(15).out().target("nobody")).await.unwrap();
    let stats = eventually(SOON, || async {
        let stats = s.admin.get_queue_stats("probe").await.unwrap();
        (stats.done_1h == 11 && stats.dead == 1 && stats.processing == 1).then_some(stats)
    })
    .await;
    assert_eq!((stats.pending, stats.scheduled, stats.parked, stats.retried), (1, 1, 1, 1));
    assert!(stats.oldest_pending_age_s.is_some_and(|age| (0.0..60.0).contains(&age)), "{stats:?}");
    let (p50, p99) = (stats.latency_p50_ms.unwrap(), stats.latency_p99_ms.unwrap());
    assert!(0.0 < p50 && p50 <= p99 && p99 < 20_000.0, "{stats:?}");
    assert!((stats.throughput_per_min - 11.0 / 5.0).abs() < 1e-9, "{stats:?}");
    assert_eq!(stats.instances, 1);
    // Three workers and the one for high priority, as soon as the instance has reported its tree.
    eventually(SOON, || async { s.admin.get_queue_stats("probe").await.unwrap().workers == 4 }).await;
    let listed = &s.admin.list_queues().await.unwrap()[1];
    assert_eq!((listed.pending, listed.scheduled, listed.parked, listed.processing, listed.dead), (1, 1, 1, 1, 1));
    assert!(listed.oldest_pending_age_s.is_some_and(|age| age >= stats.oldest_pending_age_s.unwrap()), "{listed:?}");
    let live = s.admin.tree().await.unwrap();
    assert_eq!((live.len(), live[0].name.as_str()), (1, "a"));
    assert!(live[0].tree.is_some() && live[0].decodes["probe"].is_object());
    seen.open();
    runtime.stop(Duration::from_secs(5)).await.unwrap();
    assert_eq!(s.admin.tree().await.unwrap(), []);
}

/// Fear: a queue disappears under messages that still have to run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_unfinished_messages_is_not_deleted() {
    let s = Scene::new().await;
    s.publisher.publish(&Probe::act(1, Act::Wait)).await.unwrap();
    s.publisher.send(Probe::new(2).out().delay(Duration::from_secs(3600))).await.unwrap();
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 1, &seen).await;
    s.until(&["1:processing", "2:scheduled"]).await;
    let e = s.admin.delete_queue("probe").await.unwrap_err();
    assert!(!e.is_input() && e.to_string().contains("queue \"probe\" has 1 waiting and 1 running messages"), "{e}");
    let e = s.admin.delete_queue_cancelling("probe").await.unwrap_err();
    assert!(e.to_string().contains("1 waiting and 1 running messages: pause it and wait"), "{e}");
    assert_eq!(s.statuses().await, ["1:processing", "2:scheduled"], "a refusal changes nothing");
    seen.open();
    runtime.stop(Duration::from_secs(5)).await.unwrap();
    s.until(&["1:done", "2:scheduled"]).await;
    assert_eq!(s.admin.delete_queue_cancelling("probe").await.unwrap(), 1);
    assert_eq!(s.statuses().await, ["1:done", "2:cancelled"]);
}

/// Fear: a deleted queue takes its history along, leaves keys locked, or cannot be made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_queue_leaves_its_history_and_can_be_made_again() {
    let s = Scene::new().await;
    for n in 0..3 {
        let out = Probe { n, act: Act::Done, key: Some("k".into()) }.out();
        s.publisher.send(out.dedup_key(n.to_string())).await.unwrap();
    }
    s.publisher.send(Probe::new(3).out().target("b")).await.unwrap();
    s.admin.create_queue(Queue::new("probe").max_retries(9)).await.unwrap();
    assert_eq!(s.admin.delete_queue_cancelling("probe").await.unwrap(), 4);
    assert!(s.admin.delete_queue("probe").await.unwrap_err().is_input(), "it is gone");
    assert_eq!(s.statuses().await, ["0:cancelled", "1:cancelled", "2:cancelled", "3:cancelled"]);
    assert_eq!(s.text("SELECT DISTINCT queue_name FROM pgflow_messages").await, ["probe"]);
    assert_eq!(s.admin.list_queues().await.unwrap(), []);
    assert!(s.publisher.publish(&Probe::new(4)).await.unwrap_err().is_input());

    s.admin.create_queue(Queue::new("probe")).await.unwrap();
    assert_eq!(s.admin.list_queues().await.unwrap()[0].max_retries, 3, "a new queue has the defaults");
    let again = Probe { n: 4, act: Act::Done, key: Some("k".into()) }.out().dedup_key("0");
    s.publisher.send(again).await.unwrap();
    let seen = Seen::new();
    let runtime = probing(s.config("a"), 1, &seen).await;
    s.until(&["0:cancelled", "1:cancelled", "2:cancelled", "3:cancelled", "4:done"]).await;
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Takes everything.
struct Nothing;

impl AnyHandler for Nothing {
    async fn handle(&mut self, _: &mut Context<'_>) -> Result<(), Failure> {
        Ok(())
    }
}

/// Fear: what a transaction that was open during the delete commits later is in no queue, and nobody ever hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stray_of_a_deleted_queue_becomes_a_dead_letter() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    s.publisher.publish_in(&tx, &Probe::new(1)).await.unwrap();
    s.publisher.publish_in(&tx, &Probe { n: 2, act: Act::Done, key: Some("k".into()) }).await.unwrap();
    s.publisher.publish_in(&tx, &Probe { n: 3, act: Act::Done, key: Some("k".into()) }).await.unwrap();
    s.publisher.send_in(&tx, Probe::new(4).out().target("somebody new")).await.unwrap();
    s.publisher.send_in(&tx, Probe::new(5).out().delay(Duration::from_secs(60))).await.unwrap();
    s.admin.delete_queue("probe").await.unwrap();
    tx.commit().await.unwrap();
    let explained = s.admin.list_dlq_messages(None, 10).await.unwrap();
    assert_eq!(explained, []);
    let id: i64 = s.text("SELECT id FROM pgflow_messages WHERE payload->>'n' = '1'").await[0].parse().unwrap();
    assert!(s.admin.explain(id).await.unwrap().reasons[0].contains("queue \"probe\" is deleted"));

    let mut config = s.config("a");
    config.heartbeat_ms = 50;
    let seen = Seen::new();
    let runtime =
        Runtime::builder(config).queue(Queue::new("other")).any_handler("other", || Nothing).start().await.unwrap();
    s.until(&["1:dead", "2:dead", "3:dead", "4:dead", "5:dead"]).await;
    assert_eq!(s.text("SELECT count(*) FROM pgflow_keys").await, ["0"]);
    let letters = s.admin.list_dlq_messages(None, 10).await.unwrap();
    assert!(letters.iter().all(|d| d.error_kind == "queue_deleted" && d.error == "queue \"probe\" was deleted"));
    let e = s.admin.retry_dlq_message(id).await.unwrap_err();
    assert!(e.to_string().contains("its queue \"probe\" is deleted: make it again first"), "{e}");
    runtime.stop(Duration::from_secs(5)).await.unwrap();

    s.admin.create_queue(Queue::new("probe")).await.unwrap();
    s.admin.retry_dlq_message(id).await.unwrap();
    let runtime = probing(s.config("b"), 1, &seen).await;
    eventually(SOON, || async { s.statuses().await[0] == "1:done" }).await;
    runtime.stop(Duration::from_secs(5)).await.unwrap();
}

/// Fear: a mode is not remembered, or publishing breaks in it.
#[tokio::test]
async fn every_mode_can_be_set() {
    let s = Scene::new().await;
    assert_eq!(s.admin.mode().await.unwrap(), Mode::Eventcount);
    for mode in [Mode::Notify, Mode::Poll, Mode::Eventcount] {
        s.admin.set_mode(mode).await.unwrap();
        assert_eq!(s.admin.mode().await.unwrap(), mode);
        assert_eq!(mode.to_string().parse::<Mode>().unwrap(), mode);
        s.publisher.publish(&Probe::new(1)).await.unwrap();
    }
    assert!("never".parse::<Mode>().unwrap_err().is_input());
}

/// Fear: looks that were given up, as a web page's are, go on at the server, and all that follow wait behind them.
#[tokio::test]
async fn a_dropped_look_holds_no_connection() {
    let s = Scene::new().await;
    let mut theirs = s.db.client().await;
    let tx = theirs.transaction().await.unwrap();
    tx.batch_execute("LOCK TABLE pgflow_ready").await.unwrap();
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgflow admin' AND datname = current_database() \
                   AND wait_event_type = 'Lock'";
    for n in 1..=2 {
        let admin = s.admin.clone();
        let look = tokio::spawn(async move { admin.list_queues().await });
        eventually(SOON, || async { query_text(&s.sql, waiting).await == [n.to_string()] }).await;
        look.abort();
        assert!(look.await.unwrap_err().is_cancelled());
    }
    tokio::time::timeout(SOON, s.admin.mode()).await.expect("not behind them").unwrap();
    tx.rollback().await.unwrap();
}
