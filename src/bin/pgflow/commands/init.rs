//! `pgflow init`: brings the schema to what this program expects.

use pgflow::migrate;
use serde::Serialize;

use crate::{
    args::Global,
    database,
    fault::Fault,
    output::{self, Output},
};

#[derive(Serialize)]
struct Initialised<'a> {
    schema: &'a str,
    applied: Vec<Step>,
}

#[derive(Serialize)]
struct Script {
    sql: String,
}

#[derive(Serialize)]
struct Step {
    version: i32,
    name: String,
}

/// Applies what is missing, or prints all of it.
pub(crate) async fn run(global: &Global, dry_run: bool, out: Output) -> Result<(), Fault> {
    if dry_run {
        let sql = migrate::dry_run(&global.schema)?;
        return if out.json { output::json_line(&Script { sql }) } else { output::text(&sql) };
    }
    let mut client = database::connect(global).await?;
    let applied = migrate::migrate(&mut client, &global.schema).await?;
    let applied: Vec<Step> = applied.into_iter().map(|a| Step { version: a.version, name: a.name }).collect();
    let schema = &global.schema;
    let sentence = match applied.len() {
        0 => format!("schema \"{schema}\" is up to date"),
        n => format!("schema \"{schema}\": {n} migration(s) applied"),
    };
    out.done(&Initialised { schema, applied }, &sentence)
}
