//! What a run says: a table, a picture, and every value as JSON.

mod chart;
mod table;

use std::fs;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::{machine::Machine, options::Options, results::Results};

/// The table in Markdown, the picture it shows, and every value.
const TABLE: &str = "RESULTS.md";
const CHART: &str = "results.svg";
const VALUES: &str = "results.json";

/// Prints the table, or all values.
pub(crate) fn print(results: &Results, machine: &Machine, options: &Options) -> Result<()> {
    let text = if options.json { values(results, machine)? } else { page(results, machine, options) };
    println!("{text}");
    Ok(())
}

/// Writes the files, where a folder is given.
pub(crate) fn write(results: &Results, machine: &Machine, options: &Options) -> Result<()> {
    let Some(folder) = &options.out else { return Ok(()) };
    let files =
        [(TABLE, page(results, machine, options)), (CHART, chart::svg(results)), (VALUES, values(results, machine)?)];
    for (name, text) in files {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

fn page(results: &Results, machine: &Machine, options: &Options) -> String {
    table::markdown(results, machine, options, CHART, VALUES)
}

fn values(results: &Results, machine: &Machine) -> Result<String> {
    let values = json!({ "machine": machine, "results": results });
    Ok(serde_json::to_string_pretty(&values).context("write the values as JSON")? + "\n")
}
