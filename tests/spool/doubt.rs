//! A publish or a forward that was not answered: it is in Postgres once, whatever had happened.

use crate::{proxy::Mode, *};

/// One message went straight through, so that the statement is prepared.
async fn warm(scene: &Scene) -> Publisher {
    let publisher = scene.publisher().await;
    assert!(!is_spooled(&publisher.publish(&Note { n: 0 }).await.unwrap()));
    publisher
}

async fn spool_one_unanswered(scene: &Scene, publisher: &Publisher, mode: Mode, out: Outgoing) {
    scene.proxy.set(mode);
    let sent = publisher.send(out).await.unwrap();
    assert!(is_spooled(&sent));
    scene.proxy.cut(1).await;
}

/// Fear: an INSERT that was done, and whose answer was lost, is done again from the spool.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_whose_answer_was_lost_is_there_once() {
    for out in [note(1), note(1).ordering_key("k"), note(1).delay(std::time::Duration::from_secs(600))] {
        let scene = Scene::new().await;
        let publisher = warm(&scene).await;
        if out_is_put(&out) {
            publisher.send(note(-1).ordering_key("other")).await.unwrap();
        }
        let before = scene.ns().await;
        spool_one_unanswered(&scene, &publisher, Mode::Deaf, out).await;
        let all: Vec<i64> = before.into_iter().chain([1, 2]).collect();
        eventually(SOON, || async { scene.ns().await.contains(&1) }).await;
        scene.proxy.set(Mode::Up);
        publisher.publish(&Note { n: 2 }).await.unwrap();
        drained(&publisher).await;
        assert_eq!(scene.ns().await, all);
    }
}

fn out_is_put(out: &Outgoing) -> bool {
    format!("{out:?}").contains("ordering_key: Some") || format!("{out:?}").contains("delay: Some")
}

/// Fear: it was handled and is history by the time that it is looked for.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_handled_meanwhile_is_found_in_history() {
    let scene = Scene::new().await;
    let publisher = warm(&scene).await;
    spool_one_unanswered(&scene, &publisher, Mode::Deaf, note(1)).await;
    eventually(SOON, || async { scene.ns().await == [0, 1] }).await;
    scene.sql.batch_execute("SELECT pgflow_cancel(id) FROM pgflow_messages WHERE payload ->> 'n' = '1'").await.unwrap();
    scene.proxy.set(Mode::Up);
    drained(&publisher).await;
    let rows = query_text(&scene.sql, "SELECT status FROM pgflow_messages ORDER BY id").await;
    assert_eq!(rows, ["pending", "cancelled"]);
}

/// Fear: an INSERT still lies in the server's socket while the spool is forwarded, and is done after that.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_arrives_after_all_writes_nothing() {
    for keyed in [false, true] {
        let scene = Scene::new().await;
        let publisher = warm(&scene).await;
        let message = |n| if keyed { note(n).ordering_key("k") } else { note(n) };
        publisher.send(message(-1)).await.unwrap();
        spool_one_unanswered(&scene, &publisher, Mode::Held, message(1)).await;
        scene.proxy.set(Mode::Up);
        drained(&publisher).await;
        assert_eq!(scene.ns().await, [0, -1, 1]);
        // The bytes of the first try reach the server only now.
        scene.proxy.set(Mode::Late);
        scene.proxy.cut(2).await;
        publisher.send(message(2)).await.unwrap();
        assert_eq!(scene.ns().await, [0, -1, 1, 2], "keyed: {keyed}");
    }
}

/// Fear: an INSERT is under way in the server when its message is looked for, is not seen yet, and is committed after that.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_under_way_is_waited_for() {
    for keyed in [false, true] {
        let scene = Scene::new().await;
        scene
            .sql
            .batch_execute(
                "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                   IF convert_from(NEW.body, 'UTF8') LIKE '%:1}' THEN PERFORM pg_advisory_xact_lock(4711); END IF; RETURN NEW; END $$;
                 CREATE TRIGGER slow BEFORE INSERT ON pgflow_ready FOR EACH ROW EXECUTE FUNCTION slow();",
            )
            .await
            .unwrap();
        let publisher = warm(&scene).await;
        let message = |n, key: &str| if keyed { note(n).ordering_key(key) } else { note(n) };
        publisher.send(message(-1, "a")).await.unwrap();
        let gate = scene.db.client().await;
        gate.batch_execute("SELECT pg_advisory_lock(4711)").await.unwrap();
        let sending = {
            let (publisher, out) = (publisher.clone(), message(1, "b"));
            tokio::spawn(async move { publisher.send(out).await.unwrap() })
        };
        let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711 AND NOT granted";
        eventually(SOON, || async { query_text(&scene.sql, waits).await == ["1"] }).await;
        scene.proxy.set(Mode::Down);
        assert!(is_spooled(&sending.await.unwrap()));
        scene.proxy.set(Mode::Up);
        let fenced = "SELECT count(*) FROM pgflow_lanes WHERE fence > 0";
        eventually(SOON, || async { query_text(&scene.sql, fenced).await == ["1"] }).await;
        // The forwarder looks at the transactions again and again now; it has not written beside the one under way.
        let looks = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_locks%virtualtransaction%' AND pid <> pg_backend_pid()";
        eventually(SOON, || async { query_text(&scene.sql, looks).await == ["1"] }).await;
        assert_eq!(query_text(&scene.sql, waits).await, ["1"], "another INSERT runs beside the one under way");
        gate.batch_execute("SELECT pg_advisory_unlock(4711)").await.unwrap();
        drained(&publisher).await;
        assert_eq!(scene.ns().await, [0, -1, 1], "keyed: {keyed}");
    }
}

/// Fear: a process dies between the COMMIT of a batch and the note of it in the folder: its next start forwards all again.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_forgot_the_last_batch_forwards_nothing_twice() {
    let scene = Scene::new().await;
    scene.spools(0..50).await;
    let before = scene.folder.copy();
    scene.forwards().await;

    scene.folder.take_from(&before);
    let publisher = scene.publisher().await;
    publisher.send_many(vec![note(50), note(51)]).await.unwrap();
    drained(&publisher).await;
    assert_eq!(scene.ns().await, (0..52).collect::<Vec<_>>());
}

/// Fear: the folder forgot more than one batch, as it does while its disk is full; what is there already sets the number in Postgres back,
/// and what comes behind it is forwarded again. (So does a COMMIT that was not answered in time: the next try takes fewer.)
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_forgot_many_batches_forwards_nothing_twice() {
    let scene = Scene::new().await;
    let more_than_a_batch = 0..1_500;
    scene.spools(more_than_a_batch.clone()).await;
    let before = scene.folder.copy();
    scene.forwards().await;
    scene.folder.take_from(&before);
    scene.forwards().await;
    assert_eq!(scene.ns().await, more_than_a_batch.collect::<Vec<_>>());
}

/// Fear: numbers are given again after an old copy of the folder was restored, and what is new passes for forwarded.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_folder_loses_nothing_new() {
    let scene = Scene::new().await;
    scene.spools(0..5).await;
    let old = scene.folder.copy();
    scene.spools(5..20).await;
    scene.forwards().await;
    assert_eq!(scene.ns().await, (0..20).collect::<Vec<_>>());

    // Five records that were forwarded, and then new ones under numbers that were, too.
    scene.folder.take_from(&old);
    scene.spools(20..25).await;
    scene.forwards().await;
    assert_eq!(scene.ns().await, (0..25).collect::<Vec<_>>());
}

/// Fear: a process between the restore and the first meeting with Postgres gives out more numbers than were forwarded, ends, and what it
/// wrote passes for forwarded: its next start cannot tell which numbers were given again.
#[tokio::test(flavor = "multi_thread")]
async fn a_restored_folder_that_is_used_before_it_meets_postgres_loses_nothing_new() {
    let scene = Scene::new().await;
    scene.spools(0..5).await;
    let old = scene.folder.copy();
    scene.spools(5..20).await;
    scene.forwards().await;

    scene.folder.take_from(&old);
    scene.spools(20..40).await;
    scene.forwards().await;
    assert_eq!(scene.ns().await, (0..40).collect::<Vec<_>>());
}

/// Fear: the COMMIT of a batch, of the spool or of a caller, is not answered, and the batch comes twice.
#[tokio::test(flavor = "multi_thread")]
async fn an_unanswered_commit_is_there_once() {
    // Which answer is lost counts up until one of them is the last: so the COMMIT's, too.
    for answers in 0..14 {
        let scene = Scene::new().await;
        let publisher = warm(&scene).await;
        scene.proxy.deaf_after(answers);
        publisher.send_many((1..=20).map(note).collect()).await.unwrap();
        scene.proxy.deaf_after(answers);
        publisher.send_many((21..=30).map(note).collect()).await.unwrap();
        scene.proxy.set(Mode::Up);
        drained(&publisher).await;
        assert_eq!(scene.ns().await, (0..=30).collect::<Vec<_>>(), "after {answers} answers");
    }
}
