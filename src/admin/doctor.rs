//! What is wrong, or may soon be, in words: the check, the verdict, and what to do.

use super::finding::{Finding, Health, finding};
use crate::store::{Alert, AlertLevel, Symptoms};

/// More dead letters than this want somebody's eye.
const DEAD_MAX: i64 = 10;
/// A message that has waited longer than this, in s, is late.
const LATE_S: f64 = 5.0;
/// A transaction that is open longer than this, in s, keeps deleted rows in every scan.
const OPEN_S: f64 = 60.0;
/// A replication slot that keeps rows of more transactions than this does so.
const BEHIND_MAX: i64 = 1_000_000;
/// So many alerts are told in words.
const ALERTS_SHOWN: usize = 10;
/// The oldest server that the statements run on.
const SERVER_MIN: i32 = 150_000;

/// All checks, in the order in which a doctor would ask.
pub(super) fn judge(s: &Symptoms) -> Vec<Finding> {
    vec![
        server(s),
        durability(s),
        wake_up(s),
        partitions(s),
        transactions(s),
        connections(s),
        instances(s),
        queues(s),
        latency(s),
        dead(s),
        undecodable(s),
    ]
}

/// What others have found, and keep saying: each alert for itself, the gravest first, as it is listed.
pub(super) fn alerts(standing: &[Alert]) -> Vec<Finding> {
    if standing.is_empty() {
        return vec![finding("alerts", Health::Ok, "none")];
    }
    let said = standing.iter().take(ALERTS_SHOWN).map(|a| {
        let health = if a.level == AlertLevel::Page { Health::Fail } else { Health::Warn };
        let Alert { source, alert, subject, detail, raised_at, .. } = a;
        let about = if subject.is_empty() { String::new() } else { format!(" {subject}") };
        finding("alerts", health, format!("{alert}{about} ({source}, since {raised_at}): {detail}"))
    });
    let more = standing.len().saturating_sub(ALERTS_SHOWN);
    let more = (more > 0).then(|| finding("alerts", Health::Warn, format!("{more} more stand")));
    said.chain(more).collect()
}

fn server(s: &Symptoms) -> Finding {
    let version = &s.server_version;
    match () {
        () if s.read_only => {
            finding("server", Health::Fail, format!("PostgreSQL {version} is a standby: connect to the primary"))
        }
        () if s.server_version_num < SERVER_MIN => {
            finding("server", Health::Fail, format!("PostgreSQL {version}: 15 or newer is needed"))
        }
        () => finding("server", Health::Ok, format!("PostgreSQL {version}")),
    }
}

fn durability(s: &Symptoms) -> Finding {
    match (s.fsync, s.synchronous_commit) {
        (true, true) => finding("durability", Health::Ok, "a commit is on disk"),
        (false, _) => finding("durability", Health::Fail, "fsync is off: a crash can lose or corrupt everything"),
        (true, false) => {
            finding("durability", Health::Fail, "synchronous_commit is off: a crash loses messages that were accepted")
        }
    }
}

fn wake_up(s: &Symptoms) -> Finding {
    let mode = &s.mode;
    match (mode.as_str(), s.wake_triggers) {
        ("poll", _) => finding("wake-up", Health::Warn, "mode poll: nobody is woken, instances look 4 times a second"),
        (_, 2) if !s.polling.is_empty() => finding(
            "wake-up",
            Health::Warn,
            format!(
                "{} cannot be woken and look 4 times a second: their connection is no session (a pooler in transaction mode?), set listen_url to a direct one",
                s.polling.join(", ")
            ),
        ),
        (_, 2) => finding("wake-up", Health::Ok, format!("mode {mode}")),
        _ => finding(
            "wake-up",
            Health::Fail,
            format!("a wake-up trigger is missing or disabled: `pgflow mode {mode}` makes them anew"),
        ),
    }
}

fn partitions(s: &Symptoms) -> Finding {
    match s.partitions_missing {
        0 => finding("partitions", Health::Ok, "made ahead"),
        n => finding(
            "partitions",
            Health::Fail,
            format!("{n} of the next 3 days have none: start an instance, the leader makes them"),
        ),
    }
}

/// What keeps vacuum from rows that are gone: whoever it is, by name.
fn transactions(s: &Symptoms) -> Finding {
    let warn = |detail| finding("transactions", Health::Warn, detail);
    let gone = "rows that are gone stay, a restart gets slower";
    if let Some(gid) = s.prepared.first() {
        let more = s.prepared.len() - 1;
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return warn(format!(
            "prepared transaction '{gid}'{more}: a forgotten one holds wake-up locks, and {gone}; ROLLBACK PREPARED '{gid}' ends it"
        ));
    }
    if let Some(seconds) = s.open_seconds.filter(|seconds| *seconds > OPEN_S) {
        let said = |text: &Option<String>| text.clone().unwrap_or_default();
        let (pid, name, state, query) =
            (s.open_pid.unwrap_or(0), said(&s.open_name), said(&s.open_state), said(&s.open_query));
        return warn(format!(
            "pid {pid} ({name}, {state}) has one open for {seconds:.0} s, last query: {query}: {gone}; pg_terminate_backend({pid}) ends it"
        ));
    }
    if let (Some(slot), Some(n)) = (&s.slot, s.slot_transactions.filter(|n| *n > BEHIND_MAX)) {
        return warn(format!("the reader of replication slot \"{slot}\" is {n} transactions behind: {gone}"));
    }
    finding("transactions", Health::Ok, "none is open for long")
}

fn connections(s: &Symptoms) -> Finding {
    let (used, max) = (s.connections, s.connections_max);
    let health = if used * 10 > max * 9 { Health::Warn } else { Health::Ok };
    finding("connections", health, format!("{used} of {max} are in use"))
}

fn instances(s: &Symptoms) -> Finding {
    match (s.silent.as_slice(), s.instances) {
        ([], 0) => finding("instances", Health::Warn, "none is live"),
        ([], n) => finding("instances", Health::Ok, format!("{n} live")),
        (silent, _) => finding(
            "instances",
            Health::Warn,
            format!("no heartbeat for a minute from {}: stopped, or cut off", silent.join(", ")),
        ),
    }
}

fn queues(s: &Symptoms) -> Finding {
    match (s.unserved.as_slice(), s.paused.as_slice()) {
        ([], []) => finding("queues", Health::Ok, "all with messages are served"),
        ([], paused) => {
            finding("queues", Health::Warn, format!("paused: {}; `pgflow queue resume NAME`", paused.join(", ")))
        }
        (unserved, _) => finding(
            "queues",
            Health::Fail,
            format!("messages wait and no live instance serves {}", unserved.join(", ")),
        ),
    }
}

fn latency(s: &Symptoms) -> Finding {
    match (s.slowest_seconds, &s.slowest_queue) {
        (Some(seconds), Some(queue)) if seconds > LATE_S => finding(
            "latency",
            Health::Warn,
            format!(
                "the oldest message of queue \"{queue}\" waits for {seconds:.0} s: more workers, or a look at `pgflow stats {queue}`"
            ),
        ),
        _ => finding("latency", Health::Ok, "nothing waits for over 5 s"),
    }
}

fn dead(s: &Symptoms) -> Finding {
    let health = if s.dead > DEAD_MAX { Health::Warn } else { Health::Ok };
    let count = if s.dead > 10_000 { "over 10000".to_owned() } else { s.dead.to_string() };
    let what = if s.dead > 0 { ": `pgflow dlq list`" } else { "" };
    finding("dead letters", health, format!("{count}{what}"))
}

fn undecodable(s: &Symptoms) -> Finding {
    match s.undecodable {
        0 => finding("undecodable", Health::Ok, "none"),
        n => finding(
            "undecodable",
            Health::Warn,
            format!("{n} message(s) wait for an instance that knows their kind and version"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound() -> Symptoms {
        Symptoms {
            server_version: "15.1".into(),
            server_version_num: 150_001,
            fsync: true,
            synchronous_commit: true,
            mode: "eventcount".into(),
            wake_triggers: 2,
            connections_max: 100,
            connections: 9,
            instances: 1,
            ..Symptoms::default()
        }
    }

    /// A doctor that cries wolf on a sound database is switched off.
    #[test]
    fn a_sound_database_has_no_complaint() {
        assert!(judge(&sound()).iter().all(|f| f.health == Health::Ok), "{:?}", judge(&sound()));
    }

    /// An alert hides behind others, in a line that is cut, or writes to the terminal what its text says.
    #[test]
    fn each_alert_is_a_line_of_its_own() {
        let alert = |n: usize| Alert {
            source: "shop".into(),
            alert: "no_stock".into(),
            subject: if n == 0 { String::new() } else { format!("tea {n}") },
            level: if n == 0 { AlertLevel::Page } else { AlertLevel::Warn },
            detail: format!("none left\u{1b}[2J{}", "!".repeat(200)),
            raised_at: "2025-10-31T12:00:00Z".into(),
        };
        assert_eq!(alerts(&[]), [finding("alerts", Health::Ok, "none")]);
        let found = alerts(&(0..ALERTS_SHOWN + 2).map(alert).collect::<Vec<_>>());
        assert_eq!(found.len(), ALERTS_SHOWN + 1);
        assert_eq!((found[0].health, found[1].health), (Health::Fail, Health::Warn));
        let line = found[1].to_string();
        assert!(
            line.starts_with("warn  alerts       no_stock tea 1 (shop, since 2025-10-31T12:00:00Z): none left [2J!"),
            "{line}"
        );
        assert!(line.ends_with(&"!".repeat(200)), "{line}");
        assert!(found[0].to_string().starts_with("fail  alerts       no_stock (shop,"));
        assert_eq!(found[ALERTS_SHOWN].detail, "2 more stand");
    }

    /// Fear: whoever holds vacuum back is told to end it, and not what "it" is.
    #[test]
    fn who_keeps_rows_is_named() {
        let s = Symptoms {
            open_pid: Some(4711),
            open_name: Some("report".into()),
            open_state: Some("idle in transaction".into()),
            open_query: Some("SELECT sum(x) FROM t".into()),
            open_seconds: Some(90.0),
            ..sound()
        };
        let said = transactions(&s).detail;
        for part in
            ["pid 4711 (report, idle in transaction)", "90 s", "SELECT sum(x) FROM t", "pg_terminate_backend(4711)"]
        {
            assert!(said.contains(part), "{said}");
        }
    }

    /// Each symptom must be seen, at its own check and with its own weight.
    #[test]
    fn each_symptom_is_found_alone() {
        let with = |change: fn(&mut Symptoms)| {
            let mut s = sound();
            change(&mut s);
            let bad: Vec<(String, Health)> =
                judge(&s).into_iter().filter(|f| f.health != Health::Ok).map(|f| (f.check, f.health)).collect();
            bad
        };
        let (fail, warn) = (
            |check: &str| vec![(check.to_owned(), Health::Fail)],
            |check: &str| vec![(check.to_owned(), Health::Warn)],
        );
        assert_eq!(with(|s| s.read_only = true), fail("server"));
        assert_eq!(with(|s| s.server_version_num = 140_009), fail("server"));
        assert_eq!(with(|s| s.fsync = false), fail("durability"));
        assert_eq!(with(|s| s.synchronous_commit = false), fail("durability"));
        assert_eq!(with(|s| s.wake_triggers = 1), fail("wake-up"));
        assert_eq!(with(|s| s.mode = "poll".into()), warn("wake-up"));
        assert_eq!(with(|s| s.polling = vec!["a".into()]), warn("wake-up"));
        assert_eq!(with(|s| s.partitions_missing = 1), fail("partitions"));
        assert_eq!(with(|s| s.prepared = vec!["gone".into()]), warn("transactions"));
        assert_eq!(with(|s| s.open_seconds = Some(61.0)), warn("transactions"));
        fn slot(s: &mut Symptoms, n: i64) {
            (s.slot, s.slot_transactions) = (Some("standby".into()), Some(n));
        }
        assert_eq!(with(|s| slot(s, BEHIND_MAX + 1)), warn("transactions"));
        assert_eq!(with(|s| slot(s, BEHIND_MAX)), vec![]);
        assert_eq!(with(|s| s.connections = 95), warn("connections"));
        assert_eq!(with(|s| s.silent = vec!["east".into()]), warn("instances"));
        assert_eq!(with(|s| s.unserved = vec!["mail".into()]), fail("queues"));
        assert_eq!(with(|s| s.paused = vec!["mail".into()]), warn("queues"));
        assert_eq!(with(|s| s.dead = 11), warn("dead letters"));
        assert_eq!(with(|s| s.undecodable = 1), warn("undecodable"));
        assert_eq!(with(|s| (s.slowest_queue, s.slowest_seconds) = (Some("mail".into()), Some(5.1))), warn("latency"));
    }
}
