//! RESULTS.md.

use std::fmt::Write as _;

use crate::{
    machine::Machine,
    options::Options,
    peer::{About, Role},
    results::{Measure, Results, percentile},
};

/// The whole page.
pub(super) fn markdown(results: &Results, machine: &Machine, options: &Options, chart: &str, values: &str) -> String {
    let mut page = format!(
        "# pgflow beside its rivals\n\n\
         Written by `make compare` on {}; not by hand. Only ratios carry over to another machine.\n\n\
         ![a panel for each measure, a bar for each system]({chart})\n\n",
        machine.date
    );
    figures(&mut page, results);
    where_measured(&mut page, results, machine, options, values);
    systems(&mut page, results);
    incidents(&mut page, results);
    page
}

fn figures(page: &mut String, results: &Results) {
    let measures = results.measures();
    let heads: Vec<String> = measures.iter().map(|measure| measure.title()).collect();
    row(page, "system", &heads);
    row(page, "---", &vec!["--:".to_owned(); heads.len()]);
    for about in &results.systems {
        let cells: Vec<String> = measures.iter().map(|measure| cell(results, about, *measure)).collect();
        row(page, &format!("{} {}", about.name, about.version), &cells);
    }
    if results.systems.iter().any(|about| about.role == Role::Pgflow) {
        let ratio = |among: fn(&About) -> bool| -> Vec<String> {
            measures.iter().map(|measure| ratio(results, *measure, among)).collect()
        };
        row(page, "**pgflow ÷ the best rival**", &ratio(|about| matches!(about.role, Role::Rival | Role::Library)));
        row(page, "**pgflow ÷ the best that runs handlers**", &ratio(|about| about.role == Role::Rival));
        row(page, "pgflow ÷ plain SQL", &ratio(|about| about.role == Role::Floor));
    }
    page.push_str(
        "\nMedian of the rounds (least–most). Bold: the best, plain SQL aside, which keeps no promise. In columns of messages/s a ratio \
         above 1 says that pgflow is faster; in columns of ms, bytes and commits one below 1 says that it takes less. \
         \"Runs handlers\" leaves out pgmq, whose user writes the worker, its retries and its errors.\n\n",
    );
}

fn cell(results: &Results, about: &About, measure: Measure) -> String {
    let Some(figure) = results.figure(about.name, measure) else { return "–".to_owned() };
    let words = |value| measure.words(value);
    let best = results.best(measure, |about| about.role != Role::Floor).is_some_and(|(name, _)| name == about.name);
    let mark = if best { "**" } else { "" };
    if measure.more_is_better().is_none() {
        return words(figure.median);
    }
    format!("{mark}{}{mark} ({}–{})", words(figure.median), words(figure.least), words(figure.most))
}

fn ratio(results: &Results, measure: Measure, among: fn(&About) -> bool) -> String {
    let own = results.best(measure, |about| about.role == Role::Pgflow);
    match (own, results.best(measure, among)) {
        (Some((_, own)), Some((name, best))) if best > 0.0 => format!("{:.2} ({name})", own / best),
        _ => "–".to_owned(),
    }
}

fn where_measured(page: &mut String, results: &Results, machine: &Machine, options: &Options, values: &str) {
    let settings: Vec<String> = machine.settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let gaps: Vec<String> = options.gaps.iter().map(u64::to_string).collect();
    let mut commit_us = results.commit_us.clone();
    commit_us.sort_unstable();
    let commit_ms = |percent| percentile(&commit_us, percent) as f64 / 1_000.0;
    // Writing to a String cannot fail.
    let _ = write!(
        page,
        "## Where and how\n\n\
         - {}, {} cores that clients and server share, {} GiB, {}; PostgreSQL {}: {}.\n\
         - {} rounds, every system in turn in each (A B C … A B C …), every turn in a database made anew, after a checkpoint; {:.0} s \
         in all. {} of {} turns began while less than nine tenths of the machine were idle for {} s. A small commit took {:.2} ms before the middle turn, {:.2} before the \
         slowest. Every value: [{values}]({values}).\n\
         - All by TCP to this machine. Payload: JSON of about 100 bytes, for the log 300.\n\
         - Latency: from the call that enqueues to the handler's first line, {} messages one at a time, the next one {} ms after the \
         last one's start; producer and worker in one process, on connections of their own. pgflow's publisher is that of another \
         program: the database's NOTIFY is measured, no nudge within the process.\n\
         - Drain: {} messages enqueued, vacuumed, analysed; from just before the worker starts until its handlers, which do nothing, \
         saw each message and SQL counts none unfinished. Cut after {} s: then the rate is that of the part done.\n\
         - Bulk: the same messages, {} in a call, one connection, nobody listening.\n\
         - Enqueue: one message a transaction, for {} s, the idle worker running: it handles what it can meanwhile, and takes its share \
         of the machine for it.\n\
         - Log and commits: what {} messages cost from the bulk enqueue to the last outcome, the worker's own upkeep included.\n\
         - Settings are the fastest that the systems document and a short search by hand found; no connection is tried out before use.\n\n",
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.system,
        machine.server,
        settings.join(", "),
        results.rounds,
        results.seconds,
        results.busy_turns,
        results.turns,
        options.quiet_s,
        commit_ms(50),
        commit_ms(100),
        options.samples,
        gaps.join(", "),
        options.messages,
        options.cap_s,
        options.batch,
        options.enqueue_s,
        options.wal_messages,
    );
}

fn systems(page: &mut String, results: &Results) {
    page.push_str("## The systems\n\n");
    let heads = ["in", "handled messages", "of a worker killed", "idle", "while many enqueue", "backlog", "bulk"];
    row(page, "system", &heads.map(str::to_owned));
    row(page, "---", &vec!["---".to_owned(); heads.len()]);
    for about in &results.systems {
        let cells = [about.language, about.history, about.killed, about.idle, about.enqueue, about.drain, about.bulk];
        row(page, about.name, &cells.map(str::to_owned));
    }
    page.push('\n');
}

fn incidents(page: &mut String, results: &Results) {
    if results.incidents.is_empty() {
        return;
    }
    page.push_str("## What went otherwise\n\n");
    let mut told: Vec<(&str, &str)> = Vec::new();
    for incident in &results.incidents {
        let this = (incident.system, incident.what.as_str());
        if told.contains(&this) {
            continue;
        }
        told.push(this);
        let same = results.incidents.iter().filter(|other| (other.system, other.what.as_str()) == this);
        let rounds: Vec<String> = same.map(|other| other.round.to_string()).collect();
        let what = incident.what.replace('\n', " ");
        let failed = if incident.failed { "**failed:** " } else { "" };
        // Writing to a String cannot fail.
        let _ = writeln!(page, "- {}, round {}: {failed}{what}", incident.system, rounds.join(", "));
    }
}

fn row(page: &mut String, first: &str, cells: &[String]) {
    let _ = writeln!(page, "| {first} | {} |", cells.join(" | "));
}
