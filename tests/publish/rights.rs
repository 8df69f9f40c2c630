//! What a role needs that only publishes, as docs/OPERATIONS.md has it.

use pgflow::{Admin, Config, Outgoing, Publisher, Queue};

use crate::{
    note,
    support::{
        TestDb,
        probe::{Seen, probing},
        query_text,
    },
};

/// The statements of the page, for this role.
fn granted(role: &str) -> String {
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/OPERATIONS.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, section) = page.split_once("\n## Rights\n").expect("its section");
    let (_, block) = section.split_once("```sql\n").expect("its statements");
    block.split_once("```").expect("their end").0.replace(" TO app;", &format!(" TO {role};"))
}

/// Fear: the page grants too little, and a program that was set up by it fails in production; or a refusal does not say where to look.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_grants_are_enough_to_publish() {
    let db = TestDb::new().await;
    let owner = db.client().await;
    let role = format!("publishes_{}", std::process::id());
    owner.batch_execute(&format!("CREATE ROLE {role} LOGIN; SELECT pgflow_create_queue('notes')")).await.unwrap();
    let url = db.url().replace("postgres@", &format!("{role}@"));
    let publisher = Publisher::connect(&Config::new(&url)).await.unwrap();
    let refused = publisher.send(note(0)).await.unwrap_err().to_string();
    assert!(refused.contains("(SQLSTATE 42501)") && refused.ends_with("docs/OPERATIONS.md, Rights"), "{refused}");

    owner.batch_execute(&granted(&role)).await.unwrap();
    for out in [
        note(1),
        note(2).ordering_key("k"),
        note(3).dedup_key("d"),
        note(4).delay(std::time::Duration::from_secs(3_600)),
        note(5).target("somebody new"),
        note(6).priority(pgflow::Priority::High),
    ] {
        publisher.send(out).await.unwrap();
    }
    publisher.send_many(vec![note(7), note(8)]).await.unwrap();
    publisher.send_many(vec![note(9), note(10).ordering_key("k")]).await.unwrap();
    let client = pgflow::connect(&url, "app").await.unwrap();
    publisher.send_in(&client, note(11)).await.unwrap();
    let plain = "SELECT pgflow_publish('notes', '{}');
        INSERT INTO pgflow_messages (queue_name, kind, payload) VALUES ('notes', 'note', '{}')";
    client.batch_execute(plain).await.unwrap();
    assert_eq!(query_text(&owner, "SELECT count(*) FROM pgflow_messages").await, ["13"]);

    Admin::connect(&Config::new(db.url())).await.unwrap().create_queue(Queue::new("probe")).await.unwrap();
    let runtime = probing(Config::new(db.url()).instance("east"), 1, &Seen::new()).await;
    let out = Outgoing::json("probe", "probe", "{}").unwrap();
    assert_eq!(publisher.broadcast_out(out).await.unwrap().len(), 1);
    runtime.stop(std::time::Duration::from_secs(10)).await.unwrap();

    let spool = std::env::temp_dir().join(&role);
    let away = Publisher::connect(&Config::new("postgresql://u@127.0.0.1:1/x").spool_dir(&spool)).await.unwrap();
    assert_eq!(away.send(note(12)).await.unwrap().durable, pgflow::Durable::Spooled);
    drop(away);
    Publisher::connect(&Config::new(&url).spool_dir(&spool)).await.unwrap().drain().await.unwrap();
    std::fs::remove_dir_all(spool).unwrap();
    // Roles are the whole server's.
    owner.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await.unwrap();
}
