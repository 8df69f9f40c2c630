//! What is known about agent types from the start: built-in safety profiles (domain §3.2) and costs (§5.2).

use crate::profile::{Level, Profile};

/// One row of the documented table: error threshold, consensus, radius, auto rollback, max errors, window seconds.
type Row = (&'static str, f64, bool, Level, bool, u64, u64);

/// Without the table's `default`: it is meant for the instance's own gate, which knows errors (10 more, as the default says) and cpu only;
/// its error threshold of 0.05 would stop what the documented sample has applied, and judged by Guardian at 0.10.
const BUILT_IN: [Row; 12] = [
    ("QualityEnforcer", 0.01, true, Level::Medium, true, 5, 180),
    ("RefactoringAgent", 0.01, true, Level::High, true, 3, 300),
    ("DocumentationPipeline", 0.05, false, Level::Low, false, 20, 600),
    ("CostOptimizedAgent", 0.03, true, Level::Medium, true, 10, 300),
    ("TechnologyAgent", 0.05, false, Level::Low, true, 15, 300),
    ("SelfImprovingAgent", 0.02, true, Level::High, true, 5, 600),
    ("DeadCodeMonitor", 0.10, false, Level::Low, false, 30, 600),
    ("ChangeTracker", 0.10, false, Level::Low, false, 50, 900),
    ("MetricsFeeder", 0.15, false, Level::Low, false, 100, 1200),
    ("AgentSpawner", 0.01, true, Level::High, true, 3, 300),
    ("AgentSupervisor", 0.005, true, Level::High, true, 2, 300),
    ("RuntimeBootstrapper", 0.005, true, Level::High, true, 2, 180),
];

/// Agent types come with and without the suffix `Agent`; both name the same one.
fn stem(agent_type: &str) -> &str {
    let bare = agent_type.strip_suffix("Agent").unwrap_or(agent_type);
    if bare.is_empty() { agent_type } else { bare }
}

fn profile_of(row: &Row) -> Profile {
    let (_, error_threshold, consensus, radius, auto_rollback, max_errors, window) = *row;
    Profile {
        error_threshold: Some(error_threshold),
        needs_consensus: Some(consensus),
        max_blast_radius: Some(radius),
        auto_rollback: Some(auto_rollback),
        max_error_count: Some(max_errors),
        observation_window_seconds: Some(window),
        ..Profile::default()
    }
}

/// The profile built in for a listed agent type.
pub fn built_in(agent_type: &str) -> Option<Profile> {
    BUILT_IN.iter().find(|row| stem(row.0) == stem(agent_type)).map(profile_of)
}

/// Default cost factor (1..10) of an agent type's changes.
pub fn default_cost(agent_type: &str) -> f64 {
    match stem(agent_type) {
        "BugFixer" => 3.0,
        "Refactoring" => 2.0,
        "Optimization" => 8.0,
        "DocumentationGenerator" => 1.0,
        "QualityCodeGenerator" => 5.0,
        "FeatureSynthesizer" => 7.0,
        _ => 5.0,
    }
}
