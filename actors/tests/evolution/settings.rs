//! Documented environment names, their precedence, and refusals that name what is wrong.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use pgflow_actors::settings::{Flags, Role, Settings, Tier};
use serde_json::Value;

fn read(role: Role, flags: &Flags, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let variables: HashMap<&str, &str> = variables.iter().copied().collect();
    Settings::read(role, flags, |name| variables.get(name).map(|value| (*value).to_owned()))
}

/// Fear: the documented worker counts are not the ones that run.
#[test]
fn defaults_are_the_documented_ones() {
    let (instance, central) = (Settings::new(Role::Instance), Settings::new(Role::Central));
    assert_eq!((instance.workers.proposals, central.workers.proposals), (2, 3));
    let w = central.workers;
    assert_eq!((w.metrics, w.patterns, w.consensus, w.consensus_results), (2, 1, 2, 2));
    assert_eq!((w.rollback, w.safety, w.profile), (1, 1, 1));
    assert_eq!((central.max_retries, central.retry_delay), (3, Duration::from_secs(1)));
    assert_eq!(central.windows.report, Duration::from_secs(30));
    assert_eq!((central.consensus.min_votes, central.consensus.window), (3, time::Duration::seconds(30)));
    assert_eq!(central.windows.observation, None);
}

/// Fear: a queue's own number loses against a general one.
#[test]
fn the_nearer_number_wins() {
    let alias =
        [("PGFLOW_QUEUE_WORKERS", "9"), ("PGFLOW_MESSAGE_MAX_RETRIES", "5"), ("PGFLOW_MESSAGE_RETRY_DELAY", "20")];
    let own = Flags { metrics_workers: Some(7), workers: Some(4), max_retries: Some(1), ..Flags::default() };
    let all = read(Role::Instance, &own, &alias).unwrap();
    assert_eq!((all.workers.metrics, all.workers.rollback), (7, 4));
    assert_eq!((all.max_retries, all.retry_delay), (1, Duration::from_millis(20)));
    let named = read(Role::Instance, &Flags::default(), &alias).unwrap();
    assert_eq!((named.workers.metrics, named.max_retries), (9, 5));
}

/// Fear: the documented sizes are not the counts that run, or take away a count that was given.
#[test]
fn a_tier_sets_what_nothing_else_says() {
    for (tier, expected) in
        [(Tier::Small, [1, 1, 1, 1, 1]), (Tier::Medium, [3, 2, 2, 2, 1]), (Tier::Large, [5, 4, 3, 4, 2])]
    {
        let w = read(Role::Central, &Flags { tier: Some(tier), ..Flags::default() }, &[]).unwrap().workers;
        assert_eq!([w.proposals, w.metrics, w.patterns, w.consensus, w.rollback], expected);
        let own = Flags { tier: Some(tier), rollback_workers: Some(9), ..Flags::default() };
        assert_eq!(read(Role::Central, &own, &[]).unwrap().workers.rollback, 9);
    }
}

/// Fear: a typing error in a setting is taken for the default.
#[test]
fn nonsense_is_refused_by_name() {
    let wrong = read(Role::Central, &Flags::default(), &[("PGFLOW_QUEUE_WORKERS", "many")]).unwrap_err();
    assert_eq!(wrong, "PGFLOW_QUEUE_WORKERS is `many`, not a number from 1 to 1000");
    assert!(read(Role::Central, &Flags { workers: Some(0), ..Flags::default() }, &[]).is_err());
    let flags = |observation_s| Flags { observation_s: Some(observation_s), ..Flags::default() };
    for value in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
        assert!(read(Role::Central, &flags(value), &[]).unwrap_err().starts_with("--observation-s"));
    }
    assert!(read(Role::Central, &Flags { min_votes: Some(0), ..Flags::default() }, &[]).is_err());
}

/// What `evolution settings` answers with these variables and arguments, and nothing else around it.
fn program(variables: &[(&str, &str)], arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_evolution"))
        .env_clear()
        .envs(variables.iter().copied())
        .args(["settings", "--central"])
        .args(arguments)
        .output()
        .unwrap();
    if output.status.success() {
        return Ok(serde_json::from_slice(&output.stdout).unwrap());
    }
    Err(String::from_utf8(output.stderr).unwrap())
}

/// Fear: a file overrides what an operator sets at the moment, or a flag loses against the environment.
#[test]
fn flag_before_environment_before_file_before_default() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evolution.toml");
    std::fs::write(&file, "vote_s = 11.0\nreport_s = 12.0\nmin_votes = 5\nmetrics_workers = 6\nrisk_tiers = true\ntransport = \"direct\"\n")
        .unwrap();
    let file = file.to_str().unwrap();
    let variables = [
        ("EVOLUTION_CONFIG", file),
        ("EVOLUTION_REPORT_S", "22"),
        ("EVOLUTION_MIN_VOTES", "4"),
        ("PGFLOW_WORKERS", "3"),
    ];
    let seen = program(&variables, &["--min-votes", "2"]).unwrap();
    assert_eq!(seen["vote_s"], 11.0, "the file");
    assert_eq!(seen["report_s"], 22.0, "the environment over the file");
    assert_eq!(seen["min_votes"], 2, "the flag over all");
    assert_eq!(seen["risk_tiers"], true);
    assert_eq!(seen["transport"], "direct", "the file");
    assert_eq!(program(&[("EVOLUTION_TRANSPORT", "auto")], &[]).unwrap()["transport"], "auto");
    assert_eq!(program(&[], &[]).unwrap()["transport"], "queue", "the default");
    assert_eq!(seen["check_timeout_s"], 60.0, "the default");
    let workers = |seen: &Value| (seen["workers"]["metrics"].clone(), seen["workers"]["rollback"].clone());
    assert_eq!(workers(&seen), (3.into(), 3.into()), "the variable for all over the file's number for one");
}

/// Fear: what a file says of one queue, or of all, hides a documented variable.
#[test]
fn workers_and_retries_by_variable_then_alias_then_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evolution.toml");
    std::fs::write(&file, "workers = 5\nmetrics_workers = 6\nmax_retries = 7\nretry_delay_ms = 8\n").unwrap();
    let seen = |variables: &[(&str, &str)]| {
        let seen = program(variables, &["--config", file.to_str().unwrap()]).unwrap();
        let of = |queue: &str| seen["workers"][queue].as_u64().unwrap();
        let retries = (seen["max_retries"].as_u64().unwrap(), seen["retry_delay_ms"].as_u64().unwrap());
        ((of("metrics"), of("rollback")), retries)
    };
    assert_eq!(seen(&[]), ((6, 5), (7, 8)));
    assert_eq!(seen(&[("PGFLOW_QUEUE_WORKERS", "4")]), ((4, 4), (7, 8)));
    assert_eq!(seen(&[("PGFLOW_QUEUE_WORKERS", "4"), ("PGFLOW_WORKERS", "3")]), ((3, 3), (7, 8)));
    assert_eq!(seen(&[("PGFLOW_WORKERS", "3"), ("PGFLOW_METRICS_WORKERS", "2")]), ((2, 3), (7, 8)));
    let aliases = [("PGFLOW_MESSAGE_MAX_RETRIES", "1"), ("PGFLOW_MESSAGE_RETRY_DELAY", "2")];
    assert_eq!(seen(&aliases), ((6, 5), (1, 2)));
}

/// Fear: a misspelt name in the file is passed over, or a variable's nonsense taken for nothing.
#[test]
fn a_wrong_file_and_a_wrong_variable_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evolution.toml");
    std::fs::write(&file, "votes_s = 11\n").unwrap();
    let wrong = program(&[], &["--config", file.to_str().unwrap()]).unwrap_err();
    assert!(wrong.contains("votes_s") && wrong.contains("evolution.toml"), "{wrong}");
    assert!(program(&[], &["--config", "/nowhere.toml"]).unwrap_err().contains("/nowhere.toml"));
    let wrong = program(&[("PGFLOW_ROLLBACK_WORKERS", "many")], &[]).unwrap_err();
    assert!(wrong.contains("many") && wrong.contains("--rollback-workers"), "{wrong}");
}

/// Fear: a documented variable is not listed, and nobody finds it.
#[test]
fn help_lists_every_documented_variable() {
    let help = Command::new(env!("CARGO_BIN_EXE_evolution")).args(["instance", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for name in [
        "PGFLOW_DATABASE_URL",
        "PGFLOW_WORKERS",
        "PGFLOW_PROPOSALS_WORKERS",
        "PGFLOW_METRICS_WORKERS",
        "PGFLOW_PATTERNS_WORKERS",
        "PGFLOW_CONSENSUS_WORKERS",
        "PGFLOW_CONSENSUS_RESULTS_WORKERS",
        "PGFLOW_ROLLBACK_WORKERS",
        "PGFLOW_SAFETY_WORKERS",
        "PGFLOW_PROFILE_WORKERS",
        "PGFLOW_MAX_RETRIES",
        "PGFLOW_RETRY_DELAY_MS",
        "PGFLOW_QUEUE_WORKERS",
        "PGFLOW_MESSAGE_RETRY_DELAY",
        "PGFLOW_MESSAGE_MAX_RETRIES",
        "INSTANCE_ID",
        "EVOLUTION_WORKSPACE",
        "EVOLUTION_CHECK",
        "EVOLUTION_CONFIG",
        "PGFLOW_TIER",
        "EVOLUTION_TRANSPORT",
    ] {
        assert!(help.contains(name), "{name} is not in --help");
    }
}

/// Fear: switching approval by likeness off leaves a way open.
#[test]
fn flags_change_what_they_name() {
    let flags = Flags {
        observation_s: Some(10.0),
        report_s: Some(2.0),
        vote_s: Some(15.0),
        min_votes: Some(1),
        auto_approve: Some(false),
        ..Flags::default()
    };
    let settings = read(Role::Central, &flags, &[]).unwrap();
    assert_eq!(settings.windows.observation, Some(Duration::from_secs(10)));
    assert_eq!(settings.consensus.window, time::Duration::seconds(15));
    assert_eq!(settings.consensus.min_votes, 1);
    assert!(settings.consensus.auto_approve_from > 1.0);
}

/// Fear: `evolution list | head` ends in a panic, or an answer that did not fit on the disk passes for one.
#[test]
fn an_answer_that_nobody_reads_is_no_failure_and_one_cut_off_is() {
    let run = |stdout: std::process::Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evolution"));
        let output = command.env_clear().arg("settings").stdout(stdout).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    assert_eq!(run(writer.into()), (Some(0), String::new()));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let (code, why) = run(full.into());
    assert!(code == Some(1) && why.starts_with("evolution: write to standard output: "), "{code:?} {why}");
}
