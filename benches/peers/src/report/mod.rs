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

/// Prints the table, or all values, and writes the files where a folder is given.
pub(crate) fn write(results: &Results, machine: &Machine, options: &Options) -> Result<()> {
    let values = json!({ "machine": machine, "results": results });
    let values = serde_json::to_string_pretty(&values).context("write the values as JSON")?;
    let table = table::markdown(results, machine, options, CHART, VALUES);
    println!("{}", if options.json { &values } else { &table });
    let Some(folder) = &options.out else { return Ok(()) };
    for (name, text) in [(TABLE, table), (CHART, chart::svg(results)), (VALUES, values + "\n")] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}
