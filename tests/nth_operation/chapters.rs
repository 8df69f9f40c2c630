//! The chapters of a life under the runtime `a`.

use std::{sync::atomic::Ordering, time::Duration};

use pgflow::{Admin, Outgoing, Publisher, admin::AlertLevel};
use tokio_postgres::Transaction;

use super::{
    actor::{Act, QUEUE, task},
    fault::How,
    life::Life,
    user::{PUBLISHING, Producer, SOON, until_done, until_so},
    wire::Weather,
};
use crate::support::{eventually, query_text};

impl Life {
    /// Every way to publish.
    pub(super) async fn every_way_in(&self, publisher: &Publisher, producer: &Producer<'_>) {
        producer.publish(publisher, task(1, Act::Plain)).await;
        producer.publish(publisher, task(2, Act::FailOnce).delay(Duration::from_millis(150))).await;
        producer.publish(publisher, task(3, Act::Effect).target("a")).await;
        producer.publish_many(publisher, (10..14).map(|n| task(n, Act::Plain)).collect()).await;
        let keyed = |n| task(n, Act::Effect).ordering_key("k");
        producer.publish_many(publisher, (20..23).map(keyed).collect()).await;
        self.within(publisher, producer, task(4, Act::Effect)).await;
        self.within(publisher, producer, keyed(23)).await;
        producer.publish(publisher, Outgoing::json(QUEUE, "foreign", "{\"n\": 5}").expect("it encodes")).await;
        // A dedup key, since nobody could look for its copies.
        let news = task(6, Act::Plain).dedup_key("news");
        until_done(&PUBLISHING, async || publisher.broadcast_out(news.clone()).await).await;
        producer.publish(publisher, task(30, Act::FailUntilMended)).await;
        producer.publish(publisher, task(31, Act::Reject).ordering_key("r")).await;
        producer.publish(publisher, task(32, Act::Effect).ordering_key("r")).await;
    }

    /// In a transaction of the user's own.
    async fn within(&self, publisher: &Publisher, producer: &Producer<'_>, out: Outgoing) {
        let url = self.config("user").url;
        let failed = |e: tokio_postgres::Error| format!("publish to \"{QUEUE}\" in a transaction: {e}");
        let unknown = |e: tokio_postgres::Error| format!("publish to \"{QUEUE}\" (outcome unknown): {e}");
        producer
            .once(std::slice::from_ref(&out), async || {
                let own = pgflow::connect(&url, "user").await;
                let mut own = own.map_err(|e| format!("publish to \"{QUEUE}\": {e}"))?;
                let tx = own.transaction().await.map_err(failed)?;
                publisher.send_in(&tx, out.clone()).await.map_err(|e| e.to_string())?;
                tx.commit().await.map_err(unknown)
            })
            .await;
    }

    /// Done, dead, retried by hand, purged, cancelled, paused.
    pub(super) async fn every_way_out(&self, admin: &Admin) {
        let so = |n: i64, status: &str| {
            format!("SELECT bool_and(status = '{status}') FROM pgflow_messages WHERE (payload->>'n')::int = {n}")
        };
        for (n, status) in [(30, "dead"), (31, "dead"), (5, "dead"), (32, "done"), (23, "done"), (2, "done")] {
            self.becomes(n, status).await;
        }
        self.seen.mended.store(true, Ordering::Relaxed);
        until_done(&["list"], async || admin.list_dlq_messages(Some(QUEUE), 9).await).await;
        let gone = self.id(31).await;
        let purged = format!("SELECT NOT EXISTS (SELECT FROM pgflow_dlq WHERE id = {gone})");
        until_so(&["dead letter"], &self.sql, &purged, async || admin.purge_dlq_message(gone).await).await;
        let again = self.id(30).await;
        let retried = format!("SELECT NOT EXISTS (SELECT FROM pgflow_dlq WHERE id = {again})");
        until_so(&["dead letter"], &self.sql, &retried, async || admin.retry_dlq_message(again).await).await;
        self.becomes(30, "done").await;
        // Of a queue without dead letters the name is asked for.
        until_done(&["dead letter", "queue \"side\""], async || admin.retry_dlq(Some("side")).await).await;
        until_done(&["dead letter"], async || admin.count_dlq_of_deleted_queues().await).await;

        let publisher = Publisher::connect(&self.config("producer")).await.expect("good settings");
        let producer = Producer { admin, sql: &self.sql };
        producer.publish(&publisher, task(33, Act::Plain).delay(Duration::from_secs(3_600))).await;
        let id = self.id(33).await;
        // The first try fails, and everybody is told to look again.
        self.net.plan.next("cancel", How::Refused);
        until_so(&["cancel message"], &self.sql, &so(33, "cancelled"), async || admin.cancel_message(id).await).await;
        let gone = "SELECT deleted_at IS NOT NULL FROM pgflow_queues WHERE name = 'side'";
        until_so(&["delete queue \"side\""], &self.sql, gone, async || admin.delete_queue("side").await).await;
    }

    /// A claim that was done and not answered; a settle that was, too; a claim that failed.
    pub(super) async fn lost_answers(&self, admin: &Admin, publisher: &Publisher, producer: &Producer<'_>) {
        until_done(&["pause"], async || admin.pause_queue(QUEUE).await).await;
        producer.publish(publisher, task(34, Act::Effect)).await;
        // The next one that takes something.
        self.net.plan.next("claim", How::CutAfter);
        until_done(&["pause", "resume"], async || admin.resume_queue(QUEUE).await).await;
        eventually(SOON, || async { self.net.plan.came("claim") }).await;
        self.net.plan.next("settle_done", How::CutAfter);
        producer.publish(publisher, task(40, Act::Plain)).await;
        self.sent(&["find_settled"]).await;
        self.net.plan.next("claim", How::Refused);
        producer.publish(publisher, task(41, Act::Effect)).await;
        self.becomes(41, "done").await;
        self.sent(&["announce"]).await;
    }

    /// Into the spool: one message that was sent and not answered, two while Postgres is away.
    pub(super) async fn spooled(&self, publisher: &Publisher, producer: &Producer<'_>) {
        let keyed = |n| task(n, Act::Effect).ordering_key("s");
        self.net.plan.next("put", How::CutAfter);
        producer.publish(publisher, keyed(50)).await;
        self.forwarded(publisher).await;
        self.net.set(Weather::Unplugged("pgflow publish"));
        let cut = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'pgflow publish')";
        self.fact(cut).await;
        producer.publish(publisher, keyed(51)).await;
        producer.publish(publisher, keyed(52)).await;
        assert!(publisher.spooled().is_some_and(|spooled| spooled.messages == 2), "Postgres was away");
        self.net.set(Weather::Fair);
        self.forwarded(publisher).await;
        self.becomes(52, "done").await;
    }

    async fn forwarded(&self, publisher: &Publisher) {
        eventually(SOON, || async { publisher.spooled().is_some_and(|spooled| spooled.messages == 0) }).await;
    }

    /// The listener's connection is gone, and the server has not noticed: its old backend still holds the locks.
    pub(super) async fn deaf_listener(&self, publisher: &Publisher, producer: &Producer<'_>) {
        self.net.set(Weather::HalfOpen("pgflow listener"));
        self.sent(&["end_old_listener"]).await;
        self.net.set(Weather::Fair);
        producer.publish(publisher, task(42, Act::Plain)).await;
        self.becomes(42, "done").await;
    }

    /// A publisher that was there before the runtime stays open, and keeps its key from it: the runtime queues for it.
    pub(super) async fn held_open(&self, tx: Transaction<'_>, publisher: &Publisher, producer: &Producer<'_>) {
        self.sent(&["open_publishers", "queue_for_key"]).await;
        producer.publish(publisher, task(44, Act::Plain)).await;
        self.becomes(44, "done").await;
        tx.commit().await.expect("committed");
        self.becomes(43, "done").await;
    }

    /// An operator's looks.
    pub(super) async fn looks(&self, admin: &Admin) {
        let id = self.id(1).await;
        let message_id =
            query_text(&self.sql, &format!("SELECT message_id FROM pgflow_messages WHERE id = {id}")).await;
        let message_id = message_id[0].parse().expect("an id");
        until_done(&["queues"], async || admin.list_queues().await).await;
        until_done(&["\"life\""], async || admin.get_queue_stats(QUEUE).await).await;
        until_done(&["\"life\""], async || admin.list_pending_messages(QUEUE, 9).await).await;
        until_done(&["trace"], async || admin.trace(id).await).await;
        until_done(&["trace", "message"], async || admin.trace_message_id(message_id).await).await;
        until_done(&["explain"], async || admin.explain(id).await).await;
        until_done(&["tree"], async || admin.tree().await).await;
        until_done(&["symptoms", "schema \"public\"", "alerts"], async || admin.doctor().await).await;
        until_done(&["mode"], async || admin.mode().await).await;
        until_done(&["alert"], async || admin.raise_alert("life", "late", "", AlertLevel::Warn, "a test").await).await;
        until_done(&["alert"], async || admin.list_alerts().await).await;
        until_done(&["alert"], async || admin.clear_alert("life", "late", "").await).await;
    }
}
