//! Every name that an operator can meet is in docs/OPERATIONS.md: metrics, targets and spans of the log.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

const PAGE: &str = "docs/OPERATIONS.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir).expect("a folder").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// The string literal that follows each place where `before` stands; white space may be between.
fn literals_after<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = String> + 'a {
    text.match_indices(before).filter_map(move |(at, _)| {
        let rest = text[at + before.len()..].trim_start().strip_prefix('"')?;
        Some(rest.split_once('"')?.0.to_owned())
    })
}

/// Names of metrics: what the macros of `metrics` are given, and gauges that a page of figures is written with.
fn metrics(text: &str) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        ["counter!(", "gauge!(", "histogram!(", "name: "].iter().flat_map(|m| literals_after(text, m)).collect();
    // `(name, help, values)` in the web page's table of gauges.
    names.extend(text.split("(\"pgflow_queue_").skip(1).filter_map(|rest| {
        let (end, after) = rest.split_once('"')?;
        after.starts_with(", \"").then(|| format!("pgflow_queue_{end}"))
    }));
    names.retain(|name| name.starts_with("pgflow_") || name.starts_with("evolution_"));
    names
}

/// Targets of log lines and spans, and the names of spans.
fn log_names(text: &str) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = literals_after(text, "target: ").collect();
    for part in text.split("_span!(").skip(1) {
        let call = part.split(';').next().unwrap_or_default();
        // The span's name is its first literal after the target.
        let call = call.trim_start().strip_prefix("target:").and_then(|c| c.split_once(',')).map_or(call, |(_, c)| c);
        if let Some(name) = call.trim_start().strip_prefix('"').and_then(|c| c.split('"').next()) {
            names.insert(name.to_owned());
        }
    }
    names
}

/// The first cell of every row of the tables below this heading, without its ticks.
fn table(page: &str, heading: &str) -> BTreeSet<String> {
    let (_, section) = page.split_once(heading).unwrap_or_else(|| panic!("{PAGE} has no \"{heading}\""));
    let section = section.split("\n## ").next().unwrap_or_default();
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`')).map(|(name, _)| name);
    cells.map(str::to_owned).collect()
}

fn found(of: impl Fn(&str) -> BTreeSet<String>) -> BTreeSet<String> {
    let mut files = Vec::new();
    for dir in ["src", "actors/src"] {
        sources(&root().join(dir), &mut files);
    }
    files.iter().flat_map(|file| of(&std::fs::read_to_string(file).expect("text"))).collect()
}

fn compare(what: &str, in_source: &BTreeSet<String>, page: &str, headings: [&str; 2]) {
    assert!(!in_source.is_empty(), "no {what} found: this test reads wrongly");
    let in_page: BTreeSet<String> = headings.iter().flat_map(|heading| table(page, heading)).collect();
    let missing: Vec<_> = in_source.difference(&in_page).collect();
    assert!(missing.is_empty(), "{PAGE} lacks these {what}: {missing:?}");
    let stale: Vec<_> = in_page.difference(in_source).collect();
    assert!(stale.is_empty(), "{PAGE} has {what} that the source has not: {stale:?}");
}

/// Fear: a dashboard or an alert is built on a name that nobody wrote down, or that is gone.
#[test]
fn every_metric_is_in_the_table() {
    let page = std::fs::read_to_string(root().join(PAGE)).expect("the page");
    compare("metrics", &found(metrics), &page, ["\n## Metrics\n", "\n## Metrics of `pgflow serve`\n"]);
}

/// Fear: a log filter that nobody can know.
#[test]
fn every_target_and_span_is_in_the_table() {
    let page = std::fs::read_to_string(root().join(PAGE)).expect("the page");
    compare("log names", &found(log_names), &page, ["\n## Log\n", "\n## Log of the command\n"]);
}

#[test]
fn the_reader_sees_every_way_to_write_a_name() {
    let text = r#"
        counter!("pgflow_a_total", "queue" => q).increment(1);
        metrics::histogram!(
            "pgflow_b_seconds").record(1.0);
        append(page, &Family { name: "pgflow_c", help });
        for (name, help, values) in [("pgflow_queue_d", "Words.", of(1))] {}
        let table = "pgflow_queues"; format!("pgflow_{x}");
        info_span!(target: "pgflow::handle", "handle", id = 1);
        tracing::debug_span!("other");
        tracing::warn!(target: "pgflow::claim", "words");
    "#;
    assert_eq!(
        metrics(text),
        ["pgflow_a_total", "pgflow_b_seconds", "pgflow_c", "pgflow_queue_d"].map(String::from).into()
    );
    assert_eq!(log_names(text), ["handle", "other", "pgflow::claim", "pgflow::handle"].map(String::from).into());
}
