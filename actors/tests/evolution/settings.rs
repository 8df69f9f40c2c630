//! Documented environment names, their precedence, and refusals that name what is wrong.

use std::collections::HashMap;
use std::time::Duration;

use pgflow_actors::settings::{Flags, Role, Settings};

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

/// Fear: a queue's own variable loses against a general one.
#[test]
fn the_nearer_variable_wins() {
    let all = [("PGFLOW_METRICS_WORKERS", "7"), ("PGFLOW_WORKERS", "4"), ("PGFLOW_QUEUE_WORKERS", "9")];
    let read_all = read(Role::Instance, &Flags::default(), &all).unwrap();
    assert_eq!((read_all.workers.metrics, read_all.workers.rollback), (7, 4));
    let alias = read(Role::Instance, &Flags::default(), &all[2..]).unwrap();
    assert_eq!(alias.workers.metrics, 9);
    let retries =
        [("PGFLOW_MESSAGE_MAX_RETRIES", "5"), ("PGFLOW_MAX_RETRIES", "1"), ("PGFLOW_MESSAGE_RETRY_DELAY", "20")];
    let retries = read(Role::Central, &Flags::default(), &retries).unwrap();
    assert_eq!((retries.max_retries, retries.retry_delay), (1, Duration::from_millis(20)));
}

/// Fear: a typing error in a setting is taken for the default.
#[test]
fn nonsense_is_refused_by_name() {
    let wrong = read(Role::Central, &Flags::default(), &[("PGFLOW_ROLLBACK_WORKERS", "many")]).unwrap_err();
    assert_eq!(wrong, "PGFLOW_ROLLBACK_WORKERS is `many`, not a number from 1 to 1000");
    assert!(read(Role::Central, &Flags::default(), &[("PGFLOW_WORKERS", "0")]).is_err());
    let flags = |observation_s| Flags { observation_s: Some(observation_s), ..Flags::default() };
    for value in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9] {
        assert!(read(Role::Central, &flags(value), &[]).unwrap_err().starts_with("--observation-s"));
    }
    assert!(read(Role::Central, &Flags { min_votes: Some(0), ..Flags::default() }, &[]).is_err());
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
