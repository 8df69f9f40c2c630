//! A cluster of Patroni and etcd, as Debian has them: two members on the loopback, synchronous mode, in a temporary folder.
//!
//! Nothing of it outlives the test, however that ends: a keeper waits for the end of its stdin, then kills all that names the folder.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tokio_postgres::Client;

use super::{
    account::give,
    cell::{folder, run},
    failover::free_port,
};
use crate::support::{cluster, connect, eventually, query_text};

/// A first start makes two clusters, on a machine with other things to do.
const START: Duration = Duration::from_secs(120);
/// The lock of a leader that is gone lasts `ttl`; a member that comes back rewinds, restarts and catches up.
const CHANGE: Duration = Duration::from_secs(90);
/// A switchover answers when it is done.
const ANSWER: Duration = Duration::from_secs(30);
/// Patroni looks at things once a second: to ask it more often only takes its time.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// $1: the folder. Processes of a server do not name it, their postmaster does: its children go with it, also those that are stopped.
const KEEPER: &str = r#"
read -r _
found=yes
while [ -n "$found" ]; do
  found=
  for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    [ "$pid" != $$ ] && grep -qsF "$1/" "$process/cmdline" || continue
    found=yes
    kill -9 "$pid" $(grep -ls "^PPid:[[:space:]]*$pid$" /proc/[0-9]*/status | cut -d/ -f3) 2>/dev/null
  done
done
rm -rf "$1"
"#;

/// Whether the programs are here.
pub fn is_installed() -> bool {
    let on_path = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|dir| dir.join(program).exists())
    };
    on_path("patroni") && on_path("etcd")
}

pub struct Patroni {
    keeper: Child,
    etcd: Child,
    pub members: [Member; 2],
}

pub struct Member {
    pub name: &'static str,
    port: u16,
    api: u16,
    dir: PathBuf,
    child: Option<Child>,
}

impl Patroni {
    /// Returns when there is a leader and a synchronous standby.
    pub async fn start() -> Self {
        let root = folder("patroni");
        let keeper =
            Command::new("sh").args(["-c", KEEPER, "keeper"]).arg(&root).stdin(Stdio::piped()).process_group(0).spawn();
        let keeper = keeper.expect("a shell");
        give(&root);
        let (clients, peers) = (free_port(), free_port());
        let [clients_url, peers_url] = [clients, peers].map(|port| format!("http://127.0.0.1:{port}"));
        let mut etcd = as_server("etcd", &root, "etcd");
        etcd.arg("--enable-v2").arg("--data-dir").arg(root.join("etcd"));
        etcd.args(["--listen-client-urls", &clients_url, "--advertise-client-urls", &clients_url]);
        etcd.args(["--listen-peer-urls", &peers_url, "--initial-advertise-peer-urls", &peers_url]);
        etcd.args(["--initial-cluster", &format!("default={peers_url}")]);
        let etcd = etcd.spawn().expect("etcd");
        let members = ["one", "two"].map(|name| Member::new(name, &root));
        let mut this = Self { keeper, etcd, members };
        for member in &mut this.members {
            member.configure(clients);
            member.start();
        }
        soon(START, || this.is_settled()).await;
        this
    }

    /// How everybody finds the member that writes. The leader of now comes first: everybody then has to get past it.
    pub fn url(&self) -> String {
        let leader = self.leader();
        let [first, second] = [leader, 1 - leader].map(|member| self.members[member].port);
        format!(
            "postgresql://postgres@127.0.0.1:{first},127.0.0.1:{second}/postgres?target_session_attrs=read-write&sslmode=disable"
        )
    }

    fn is_settled(&self) -> bool {
        self.role("leader").is_some() && self.role("sync_standby").is_some()
    }

    /// Waits for a leader and a synchronous standby: only such a one may be promoted.
    pub async fn settled(&self) {
        soon(CHANGE, || self.is_settled()).await;
    }

    /// The member of this role that runs, as any member tells it.
    fn role(&self, role: &str) -> Option<usize> {
        let told = self.members.iter().find_map(|m| m.ask("GET", "/cluster", "").ok())?;
        let told: Value = serde_json::from_str(&told).ok()?;
        let is = |m: &&Value| m["role"] == role && ["running", "streaming"].iter().any(|state| m["state"] == *state);
        let name = told["members"].as_array()?.iter().find(is)?["name"].as_str()?;
        self.members.iter().position(|m| m.name == name)
    }

    pub fn leader(&self) -> usize {
        self.role("leader").expect("a leader")
    }

    /// Asks for an orderly change of roles; answers when it is done.
    pub async fn switch_over(&self) {
        let (leader, candidate) = (self.leader(), 1 - self.leader());
        let order = json!({ "leader": self.members[leader].name, "candidate": self.members[candidate].name });
        let answer = self.members[leader].ask("POST", "/switchover", &order.to_string());
        assert!(answer.as_ref().is_ok_and(|text| text.contains("uccessfully switched over")), "{answer:?}");
    }

    /// A session at this member, once it is the primary.
    pub async fn promoted(&self, member: usize) -> Client {
        let session = connect(&self.members[member].url()).await;
        eventually(CHANGE, || async { query_text(&session, "SELECT pg_is_in_recovery()").await == ["f"] }).await;
        session
    }

    /// Waits until the member follows the other one, in step with it.
    pub async fn follows(&self, member: usize) {
        soon(CHANGE, || self.role("sync_standby") == Some(member)).await;
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.members.iter().for_each(Member::show_log);
        }
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        let patronis = self.members.iter_mut().filter_map(|m| m.child.as_mut());
        for child in patronis.chain([&mut self.etcd]) {
            let _ = child.wait();
        }
    }
}

impl Member {
    fn new(name: &'static str, root: &Path) -> Self {
        Self { name, port: free_port(), api: free_port(), dir: root.join(name), child: None }
    }

    /// The way to it alone.
    pub fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres?sslmode=disable", self.port)
    }

    fn configure(&self, etcd: u16) {
        std::fs::create_dir(&self.dir).expect("a folder");
        give(&self.dir);
        let (api, server) = (format!("127.0.0.1:{}", self.api), format!("127.0.0.1:{}", self.port));
        let file = json!({
            "scope": "pgflow",
            "name": self.name,
            "restapi": { "listen": api, "connect_address": api },
            // The older interface. By the newer one (etcd3) Patroni before 3.0.3, once its own lease is over, writes its name into the lock
            // without asking whose it is (patroni#2689): a leader frozen at the wrong moment takes it back from its successor.
            "etcd": { "host": format!("127.0.0.1:{etcd}") },
            "bootstrap": {
                "dcs": {
                    // The shortest that Patroni's manual allows; a leader that is gone costs `ttl`. At least loop_wait + 2 * retry_timeout.
                    "ttl": 20, "loop_wait": 1, "retry_timeout": 3,
                    // A server that crashed while its Patroni lives is replaced at once, not started again.
                    "primary_start_timeout": 0,
                    "synchronous_mode": true,
                    "postgresql": {
                        "use_pg_rewind": true,
                        "parameters": { "max_connections": 120, "wal_keep_size": "256MB" },
                    },
                },
                "initdb": [{ "encoding": "UTF8" }, { "locale": "C" }, "data-checksums"],
            },
            "postgresql": {
                "listen": server,
                "connect_address": server,
                "data_dir": self.data(),
                "bin_dir": cluster().bin_dir(),
                "pgpass": self.dir.join("pgpass"),
                // Else a first copy takes as long as a checkpoint may.
                "basebackup": [{ "checkpoint": "fast" }],
                "parameters": { "unix_socket_directories": self.dir },
                "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
                "authentication": { "superuser": { "username": "postgres" }, "replication": { "username": "replicator" } },
            },
        });
        // Every JSON text is a YAML one.
        std::fs::write(self.config(), file.to_string()).expect("a configuration");
    }

    fn config(&self) -> PathBuf {
        self.dir.join("patroni.yml")
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Patroni, which starts its server.
    pub fn start(&mut self) {
        let child = as_server("patroni", &self.dir, self.name).arg(self.config()).spawn();
        self.child = Some(child.expect("patroni"));
    }

    pub fn patroni_pid(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    pub fn postmaster_pid(&self) -> u32 {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).expect("a server");
        file.lines().next().and_then(|line| line.parse().ok()).expect("its pid")
    }

    /// Patroni first: it would see its server go.
    pub fn kill(&mut self) {
        let server = self.postmaster_pid().to_string();
        let mut patroni = self.child.take().expect("it was started");
        run(Command::new("kill").args(["-9", &patroni.id().to_string(), &server]));
        let _ = patroni.wait();
    }

    /// What Patroni said last: its folder goes.
    fn show_log(&self) {
        let log = std::fs::read_to_string(self.dir.join(format!("{}.log", self.name))).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        eprintln!("member {}:\n{}", self.name, lines[lines.len().saturating_sub(60)..].join("\n"));
    }

    /// One request to Patroni's interface, and the answer's text.
    fn ask(&self, method: &str, path: &str, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.api))?;
        stream.set_read_timeout(Some(ANSWER))?;
        write!(stream, "{method} {path} HTTP/1.0\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let text = answer.split_once("\r\n\r\n").map_or("", |(_, text)| text);
        Ok(text.to_owned())
    }
}

/// Waits for what Patroni tells.
async fn soon(limit: Duration, fact: impl Fn() -> bool) {
    let ask = || async {
        tokio::time::sleep(ASK_EVERY).await;
        fact()
    };
    eventually(limit, ask).await;
}

/// A program run as the user that servers run as, its output in a log of the folder.
fn as_server(program: &str, dir: &Path, log: &str) -> Command {
    let log = dir.join(format!("{log}.log"));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(log.try_clone().expect("a handle")).stderr(log);
    command.current_dir(dir).process_group(0).env("HOME", dir).env("LC_ALL", "C");
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
        command.env_remove(name);
    }
    super::account::as_server(&mut command);
    command
}
