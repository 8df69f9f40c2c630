//! The embedded Postgres: it starts, keeps its data, and above all it ends.
#![cfg(all(unix, feature = "devpg"))]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pgflow::devpg::{DevPg, SharedPg, StopMode};
use tokio_postgres::NoTls;

/// Far above what a loaded machine needs: only a failing test waits so long.
const LIMIT: Duration = Duration::from_secs(60);

fn throw_away() -> DevPg {
    DevPg::builder().durable(false).start().expect("a server")
}

#[tokio::main(flavor = "current_thread")]
async fn query(url: &str, sql: &str) -> Vec<String> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    let driver = tokio::spawn(connection);
    let messages = client.simple_query(sql).await.expect("a result");
    drop(client);
    let _ = driver.await;
    let text = |m| match m {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    };
    messages.into_iter().filter_map(text).collect()
}

fn is_alive(pid: u32) -> bool {
    let status = Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status();
    status.expect("kill runs").success()
}

fn kill(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill runs").success());
}

fn wait_until(what: &str, mut fact: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !fact() {
        assert!(Instant::now() < deadline, "not within {LIMIT:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn it_starts_answers_and_leaves_nothing() {
    let server = throw_away();
    let (pid, root) = (server.pid(), server.root().to_owned());
    assert_eq!(query(&server.url(), "SHOW fsync"), ["off"]);
    assert!(query(&server.url(), "SHOW server_version")[0].starts_with(&server.major().to_string()));
    assert!(server.bin_dir().join("initdb").is_file());
    assert!(server.log().is_file());
    server.stop(StopMode::Fast).expect("stopped");
    assert!(!is_alive(pid));
    assert!(!root.exists());
}

#[test]
fn dropping_it_stops_it() {
    let server = throw_away();
    let (pid, root) = (server.pid(), server.root().to_owned());
    drop(server);
    assert!(!is_alive(pid));
    assert!(!root.exists());
}

#[test]
fn settings_and_durability_reach_the_server() {
    let server = DevPg::builder().setting("max_connections", "37").start().expect("a server");
    assert_eq!(query(&server.url(), "SHOW max_connections"), ["37"]);
    assert_eq!(query(&server.url(), "SHOW synchronous_commit"), ["on"]);
    assert_eq!(query(&server.url(), "SHOW fsync"), ["on"]);
    assert_eq!(query(&server.url(), "SHOW listen_addresses"), [""]);
}

#[test]
fn another_database_has_its_url() {
    let server = throw_away();
    query(&server.url(), r#"CREATE DATABASE "a b&c""#);
    assert_eq!(query(&server.url_for("a b&c"), "SELECT current_database()"), ["a b&c"]);
}

#[test]
fn psql_takes_the_same_url() {
    let server = throw_away();
    let psql = server.bin_dir().join("psql");
    if psql.is_file() {
        let output = Command::new(psql).args([&server.url(), "-Atc", "SELECT 1 + 1"]).output().expect("psql runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "2\n", "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn two_run_side_by_side() {
    let (one, two) = (throw_away(), throw_away());
    query(&one.url(), "CREATE TABLE only_here ()");
    assert_eq!(query(&two.url(), "SELECT to_regclass('only_here') IS NULL"), ["t"]);
}

#[test]
fn a_port_is_opened_on_the_loopback_only() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
    let server = DevPg::builder().durable(false).port(Some(port)).start().expect("a server");
    assert_eq!(query(&server.url(), "SHOW listen_addresses"), ["127.0.0.1"]);
    let tcp = format!("postgresql://postgres@127.0.0.1:{port}/postgres");
    assert_eq!(query(&tcp, "SELECT 1"), ["1"]);
    let error = DevPg::builder().port(Some(0)).start().expect_err("Postgres knows no port 0");
    assert!(error.is_config(), "{error}");
}

#[test]
fn a_crash_and_a_restart_keep_the_data() {
    let mut server = DevPg::builder().start().expect("a server");
    let (url, first) = (server.url(), server.pid());
    query(&url, "CREATE TABLE kept AS SELECT 7 AS n");
    server.stop_keep(StopMode::Immediate).expect("stopped");
    assert!(!server.is_running() && !is_alive(first));
    server.restart(StopMode::Fast).expect("started again");
    assert_eq!(query(&url, "SELECT n FROM kept"), ["7"]);
    let second = server.pid();
    kill("-KILL", second);
    wait_until("the killed server is gone", || !server.is_running());
    server.restart(StopMode::Fast).expect("started after SIGKILL");
    assert_eq!(query(&url, "SELECT n FROM kept"), ["7"]);
    assert!(server.pid() != first && server.pid() != second);
}

/// A folder that the server's user may enter, removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("pgflow-test-{name}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_kept_folder_is_used_again() {
    let folder = Folder::new("kept");
    let start = || DevPg::builder().durable(false).data_dir(folder.0.join("nested")).start();
    let server = start().expect("a server");
    let url = server.url();
    query(&url, "CREATE TABLE kept AS SELECT 7 AS n");
    let error = start().expect_err("two servers on one folder");
    assert!(error.to_string().contains("lock file"), "{error}");
    assert_eq!(query(&url, "SELECT n FROM kept"), ["7"]);
    server.stop(StopMode::Fast).expect("stopped");
    let server = start().expect("the same again");
    assert_eq!(server.url(), url);
    assert_eq!(query(&url, "SELECT n FROM kept"), ["7"]);
}

#[test]
fn a_folder_of_something_else_is_refused() {
    let folder = Folder::new("foreign");
    std::fs::create_dir(&folder.0).expect("a folder");
    std::fs::write(folder.0.join("thesis.txt"), "precious").expect("a file");
    let error = DevPg::builder().data_dir(&folder.0).start().expect_err("not ours");
    assert!(error.to_string().contains("not empty"), "{error}");
    assert!(folder.0.join("thesis.txt").is_file());
}

#[test]
fn a_socket_path_that_is_too_long_is_refused() {
    let folder = Folder::new("long");
    let error = DevPg::builder().data_dir(folder.0.join("x".repeat(100))).start().expect_err("too long");
    assert!(error.to_string().contains("at most 106 bytes"), "{error}");
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let error = DevPg::builder().setting("shared_buffers", "nonsense").start().expect_err("a bad setting");
    assert!(error.to_string().contains("shared_buffers"), "{error}");
}

#[test]
fn a_folder_without_programs_is_named() {
    let error = DevPg::builder().bin_dir("/nonexistent").start().expect_err("no programs");
    assert!(error.to_string().contains("/nonexistent has no working `initdb`"), "{error}");
}

/// The process that the tests below kill: says what it holds, then waits for its end. Without its environment it is
/// nothing, and ends at once.
#[test]
fn holder() {
    if std::env::var_os("PGFLOW_TEST_HOLDER").is_none() {
        return;
    }
    if let Ok(name) = std::env::var("PGFLOW_TEST_SHARE") {
        let server = share(&name);
        println!("\nholds {} {}", pid_of(server.root()), server.root().display());
        return std::thread::sleep(LIMIT);
    }
    let server = match std::env::var_os("PGFLOW_TEST_KEEP") {
        Some(dir) => DevPg::builder().durable(false).data_dir(dir).start().expect("a server"),
        None => throw_away(),
    };
    println!("\nholds {} {}", server.pid(), server.root().display());
    std::thread::sleep(LIMIT);
}

/// Runs `holder` in a process of its own, until it holds a server.
fn spawn_holder(environment: &[(&str, &Path)]) -> (std::process::Child, u32, PathBuf) {
    let mut command = Command::new(std::env::current_exe().expect("our own path"));
    command.args(["--exact", "holder", "--nocapture"]).env("PGFLOW_TEST_HOLDER", "1").stdout(Stdio::piped());
    command.envs(environment.iter().copied());
    let mut child = command.spawn().expect("a process");
    let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
    let line = lines.map_while(Result::ok).find(|line| line.starts_with("holds ")).expect("a server");
    let mut words = line.split(' ').skip(1);
    let pid = words.next().and_then(|word| word.parse().ok()).expect("a pid");
    (child, pid, PathBuf::from(words.next().expect("a folder")))
}

#[test]
fn killing_the_holder_leaves_no_orphan_and_no_folder() {
    let (mut holder, pid, root) = spawn_holder(&[]);
    assert!(is_alive(pid) && root.exists());
    holder.kill().expect("killed");
    holder.wait().expect("its end");
    wait_until("the server is gone", || !is_alive(pid));
    wait_until("its folder is gone", || !root.exists());
}

#[test]
fn killing_the_holder_keeps_a_kept_folder() {
    let folder = Folder::new("holder");
    let (mut holder, pid, root) = spawn_holder(&[("PGFLOW_TEST_KEEP", &folder.0)]);
    holder.kill().expect("killed");
    holder.wait().expect("its end");
    wait_until("the server is gone", || !is_alive(pid));
    assert!(root.join("data/PG_VERSION").exists());
    let server = DevPg::builder().durable(false).data_dir(&folder.0).start().expect("the same again");
    assert_eq!(query(&server.url(), "SELECT 1"), ["1"]);
}

#[test]
fn a_stopped_server_ends_too() {
    let server = throw_away();
    let pid = server.pid();
    kill("-STOP", pid);
    drop(server);
    assert!(!is_alive(pid));
}

const LINGER: Duration = Duration::from_secs(1);

fn share(name: &str) -> SharedPg {
    DevPg::builder().durable(false).linger_s(1).share(name).expect("a shared server")
}

fn pid_of(root: &Path) -> u32 {
    let text = std::fs::read_to_string(root.join("data/postmaster.pid")).expect("a running server");
    text.lines().next().and_then(|line| line.parse().ok()).expect("a pid")
}

/// A name of this test process only, so that every run begins with nothing; and ends so.
struct Name(String);

impl Name {
    fn new(name: &str) -> Self {
        Self(format!("{name}{}", std::process::id()))
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let middle = format!("-{}-", self.0);
        for entry in std::fs::read_dir(std::env::temp_dir()).expect("the temporary folder").flatten() {
            if entry.file_name().to_string_lossy().contains(&middle) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

#[test]
fn a_shared_server_ends_soon_after_its_last_user() {
    let name = Name::new("last");
    let (mut first, pid, root) = spawn_holder(&[("PGFLOW_TEST_SHARE", Path::new(&name.0))]);
    let (mut second, same_pid, same_root) = spawn_holder(&[("PGFLOW_TEST_SHARE", Path::new(&name.0))]);
    assert_eq!((pid, &root), (same_pid, &same_root));
    let ours = share(&name.0);
    first.kill().and_then(|()| first.wait()).expect("the end of the one that started it");
    std::thread::sleep(3 * LINGER);
    assert_eq!(query(&ours.url(), "SELECT 1"), ["1"]);
    drop(ours);
    second.kill().and_then(|()| second.wait()).expect("the end of the last user");
    let left = Instant::now();
    assert!(is_alive(pid), "it waits for the next user");
    wait_until("the server is gone", || !is_alive(pid));
    wait_until("its folder is gone", || !root.exists());
    assert!(left.elapsed() < Duration::from_secs(10), "{:?}", left.elapsed());
}

#[test]
fn a_shared_server_is_taken_over_while_it_lingers() {
    let name = Name::new("linger");
    let first = share(&name.0);
    let (pid, root) = (pid_of(first.root()), first.root().to_owned());
    drop(first);
    let second = share(&name.0);
    assert_eq!(second.root(), root);
    std::thread::sleep(3 * LINGER);
    assert_eq!(query(&second.url(), "SELECT 1"), ["1"]);
    assert_eq!(pid_of(second.root()), pid);
}

#[test]
fn users_who_come_and_go_always_find_a_server() {
    // Around the moment at which the keeper decides: whoever got a server keeps it.
    let name = Name::new("comeandgo");
    for extra_ms in [0, 10, 30] {
        drop(share(&name.0));
        std::thread::sleep(LINGER + Duration::from_millis(extra_ms));
        let server = share(&name.0);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(query(&server.url(), "SELECT 1"), ["1"], "after {extra_ms} ms");
    }
}

#[test]
fn a_shared_server_that_died_is_replaced() {
    let name = Name::new("died");
    let first = share(&name.0);
    let dead = pid_of(first.root());
    kill("-KILL", dead);
    wait_until("the killed server is gone", || !is_alive(dead));
    let second = share(&name.0);
    assert_eq!(query(&second.url(), "SELECT 1"), ["1"]);
    let _ = std::fs::remove_dir_all(first.root());
}

#[test]
fn other_settings_are_another_server() {
    let name = Name::new("other");
    let plain = share(&name.0);
    let other = DevPg::builder().durable(false).setting("work_mem", "5MB").share(&name.0).expect("a shared server");
    assert_ne!(plain.root(), other.root());
    assert_eq!(query(&other.url(), "SHOW work_mem"), ["5MB"]);
    assert!(DevPg::builder().share("../x").expect_err("a bad name").is_config());
    assert!(DevPg::builder().port(Some(9)).share(&name.0).expect_err("a port").is_config());
}
