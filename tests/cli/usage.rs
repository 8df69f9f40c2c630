//! What holds for every command: URLs, exit codes, secrets, pipes.

use std::io::Read as _;
use std::process::Stdio;

use crate::program::{pgflow, run, run_with};
use crate::support::TestDb;

/// Fear: a command without a database connects to somebody else's, or says nothing useful.
#[test]
fn no_database_is_exit_code_2_with_a_hint() {
    for arguments in
        [&["queues"][..], &["stats", "q"], &["publish", "q", "{}"], &["work", "q", "--exec", "true"], &["init"]]
    {
        let line = run("", arguments).fault(2);
        assert!(line.contains("PGFLOW_DATABASE_URL") && line.contains("--database-url"), "{line}");
    }
}

/// Fear: the option, the variable of ours and the common one are taken in another order than documented.
#[tokio::test(flavor = "multi_thread")]
async fn the_option_comes_before_the_variables() {
    let db = TestDb::new().await;
    let wrong = "postgresql://nobody@127.0.0.1:1/none";
    run(wrong, &["queues", "--database-url", &db.url()]).ok();
    let both = pgflow(&db.url()).arg("queues").env("DATABASE_URL", wrong).output().expect("it runs");
    assert!(both.status.success());
    let second = pgflow("").arg("queues").env("DATABASE_URL", db.url()).output().expect("it runs");
    assert!(second.status.success());
}

/// Fear: a password reaches a log, a terminal or a bug report.
#[test]
fn no_error_shows_a_password() {
    let url = "postgresql://u:secret@127.0.0.1:1/db?connect_timeout=1";
    for ran in [
        run(url, &["queues"]),
        run(url, &["publish", "q", "{}"]),
        run(url, &["init"]),
        run("", &["queues", url]),
        run("", &["queues", "--database-url", "mysql://u:secret@h/db"]),
        run("", &["queues", "--database-url", "postgresql://u:secret@h:port/db"]),
        run(url, &["--help"]),
        run(url, &["work", "q", "--exec", "true"]),
    ] {
        assert!(!ran.stderr.contains("secret") && !ran.stdout.contains("secret"), "{ran:?}");
    }
}

/// Fear: a wrong address hangs, ends in a Debug dump, or is not named, so that nobody sees which of several was taken.
#[test]
fn a_database_that_is_not_there_is_one_line() {
    for command in [&["queues"][..], &["publish", "q", "{}"], &["work", "q", "--exec", "true"], &["init"]] {
        let line = run("postgresql://u@127.0.0.1:1/db", command).fault(1);
        assert!(line.contains("127.0.0.1:1/db"), "{line}");
    }
    run("mysql://u@h/db", &["queues"]).fault(2);
    run("nonsense", &["queues"]).fault(2);
}

/// Fear: a database without pgflow's tables gives SQL errors instead of the way out.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_without_tables_names_init() {
    let db = TestDb::empty().await;
    for arguments in [&["queues"][..], &["publish", "q", "{}"], &["work", "q", "--exec", "true"], &["tree"]] {
        let line = run(&db.url(), arguments).fault(1);
        assert!(line.ends_with("run `pgflow init`"), "{arguments:?}: {line}");
        // Without the name it would make tables that this command does not look at.
        let line = run(&db.url(), &[arguments, &["--schema", "nope"]].concat()).fault(1);
        assert!(line.ends_with("run `pgflow init --schema nope`"), "{arguments:?}: {line}");
    }
}

/// Fear: a schema's name that Postgres reads in another way is an SQL error, or leads to another one.
#[test]
fn a_bad_schema_name_is_one_line_and_exit_code_2() {
    for command in [&["queues"][..], &["publish", "q", "{}"], &["work", "q", "--exec", "true"], &["doctor"]] {
        for name in ["Bad", "a b", ""] {
            let line = run("postgresql://u@127.0.0.1:1/db", &[command, &["--schema", name]].concat()).fault(2);
            assert!(line.contains(&format!("schema name: {name:?}")), "{command:?}: {line}");
        }
    }
}

/// Fear: a mistyped command line gives exit code 1, or a page of text.
#[test]
fn a_wrong_command_line_is_one_line_and_exit_code_2() {
    for arguments in [
        &["nonsense"][..],
        &["stats"],
        &["dlq", "retry"],
        &["dlq", "retry", "1", "--all"],
        &["publish", "q", "{}", "--ndjson"],
        &["work", "q"],
        &["pending", "q", "--limit", "10001"],
        &["work", "q", "--exec", ""],
        &["work", "q", "--exec", " \n"],
        &["trace", "x"],
        &["mode", "sometimes"],
        &["serve", "--listen", "here"],
    ] {
        run("", arguments).fault(2);
    }
    let help = run("", &["--help"]).ok();
    for command in [
        "dev", "init", "mode", "queues", "stats", "pending", "dlq", "queue", "publish", "work", "trace", "tree",
        "serve", "explain", "doctor", "top", "bench",
    ] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
    assert!(run("", &["--version"]).ok().starts_with("pgflow 0."));
    assert_eq!(run("", &[]).code, Some(2));
}

/// Fear: `pgflow pending q | head` ends in a panic.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_is_no_failure() {
    let db = TestDb::new().await;
    run(&db.url(), &["queue", "create", "mail"]).ok();
    let lines = "{\"text\": \"long enough to fill a pipe, many times over, as a real list would\"}\n".repeat(3_000);
    run_with(&db.url(), &["publish", "mail", "--ndjson"], &lines).ok();
    for arguments in [&["pending", "mail", "--limit", "3000"][..], &["pending", "mail", "--json", "--limit", "3000"]] {
        let mut child =
            pgflow(&db.url()).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut first = [0];
        let mut stdout = child.stdout.take().expect("a pipe");
        stdout.read_exact(&mut first).expect("a byte");
        drop(stdout);
        let ended = child.wait_with_output().expect("it ends");
        assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), &b""[..]));
    }
}

/// Fear: a number below zero is taken for an option, and the tip leads nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_below_zero_is_a_value() {
    let db = TestDb::new().await;
    let url = db.url();
    run(&url, &["queue", "create", "mail"]).ok();
    run(&url, &["publish", "mail", "-5"]).ok();
    run(&url, &["publish", "mail", "{}", "--priority", "-10"]).ok();
    for (arguments, why) in [
        (&["queue", "create", "q", "--max-retries", "-1"][..], "-1 is not in 0..=1000"),
        (
            &["queue", "create", "q", "--retry-delay", "-5s", "--retry-delay-max", "1m"],
            "a time is a number with a unit",
        ),
        (&["publish", "mail", "{}", "--delay", "-5s"], "a time is a number with a unit"),
        (&["publish", "mail", "{}", "--priority", "-3"], "none of high, normal, low"),
        (&["work", "mail", "--exec", "true", "--deadline", "-5s"], "a time is a number with a unit"),
        (&["work", "mail", "--exec", "true", "--workers", "-1"], "invalid digit"),
        (&["pending", "mail", "--limit", "-1"], "-1 is not in 1..=10000"),
    ] {
        let line = run(&url, arguments).fault(2);
        assert!(line.contains(why), "{arguments:?}: {line}");
    }
}
