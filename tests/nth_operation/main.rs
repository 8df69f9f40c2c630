//! Failing the Nth operation: each statement that the store knows, and what stands around them (BEGIN, COMMIT, SET, LISTEN, prepare),
//! fails in a life of its own, in each of three ways; every life comes to the same legal end.
#![cfg(all(feature = "devpg", unix))]

#[path = "../support/mod.rs"]
mod support;

mod actor;
mod chapters;
mod fault;
mod frame;
mod legal;
mod life;
mod refused_copy;
mod statements;
mod user;
mod wire;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Mutex,
    time::Instant,
};

use fault::{Fault, How, Plan};
use life::Life;
use statements::Statements;

/// Lives at the same time: most of a life is waiting.
const AT_ONCE: usize = 16;

/// A life; the operations that went by, and whether its fault came.
fn live(fault: Option<Fault>) -> (BTreeMap<String, usize>, bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let life = Life::begin(Plan::new(fault)).await;
        life.live().await;
        (life.net.plan.counts(), life.net.plan.met())
    })
}

/// What is to fail: each operation that is no `prepare` once, in ways that take turns. PGFLOW_NTH=all: all of them, their first two
/// times in every way; PGFLOW_NTH=claim: every time, in every way, those that are called so.
fn faults(counts: &BTreeMap<String, usize>) -> Vec<Fault> {
    let asked = std::env::var("PGFLOW_NTH").ok().filter(|asked| !asked.is_empty());
    let mut faults = Vec::new();
    let mut add = |operation: &str, number, how| faults.push(Fault { operation: operation.into(), number, how });
    match asked.as_deref() {
        None => {
            for operation in counts.keys().filter(|operation| !operation.starts_with("prepare ")) {
                // By the name, so that every run has the same.
                let turn: usize = operation.bytes().map(usize::from).sum();
                add(operation, 1, How::ALL[turn % How::ALL.len()]);
            }
        }
        Some(asked) => {
            let all = asked == "all";
            for (operation, count) in counts.iter().filter(|(operation, _)| all || operation.contains(asked)) {
                let last = if all { 2.min(*count) } else { *count };
                (1..=last).for_each(|number| How::ALL.into_iter().for_each(|how| add(operation, number, how)));
            }
        }
    }
    faults
}

/// Fear: a statement that fails, or whose answer is lost, loses a message, doubles an effect, or leaves something hanging for ever.
#[test]
fn every_operation_in_turn_fails() {
    let (counts, _) = live(None);
    let statements = Statements::of_public(0);
    let left_out: Vec<&str> = statements.names().into_iter().filter(|name| !counts.contains_key(*name)).collect();
    assert!(left_out.is_empty(), "a life must send every statement of the store: {left_out:?}");

    let faults = faults(&counts);
    println!(
        "{} operations, of which {} are the store's statements; {} lives",
        counts.len(),
        statements.names().len(),
        faults.len()
    );
    let (waiting, bad) = (Mutex::new(VecDeque::from(faults)), Mutex::new(Vec::new()));
    let next = || waiting.lock().expect("no panic").pop_front();
    std::thread::scope(|threads| {
        for _ in 0..AT_ONCE {
            threads.spawn(|| {
                while let Some(fault) = next() {
                    if let Err(why) = lives_through(&fault) {
                        bad.lock().expect("no panic").push(format!("{fault}: {why}"));
                    }
                }
            });
        }
    });
    let bad = bad.into_inner().expect("no panic");
    assert!(bad.is_empty(), "{} lives went wrong:\n{}", bad.len(), bad.join("\n"));
}

fn lives_through(fault: &Fault) -> Result<(), String> {
    let begun = Instant::now();
    let lived = std::panic::catch_unwind(|| live(Some(fault.clone())));
    println!("{fault}: {:?} after {:?}", lived.as_ref().map(|(_, met)| *met).ok(), begun.elapsed());
    match lived {
        Ok((_, true)) => Ok(()),
        // How often something is sent depends on time, and so does whether LISTEN, BEGIN and the like are.
        Ok(_) if fault.number > 1 || fault.operation.contains(' ') => Ok(()),
        Ok(_) => Err("did not come".into()),
        Err(panic) => Err(panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
            .unwrap_or_default()),
    }
}
