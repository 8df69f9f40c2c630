//! Subcommands: what each takes, and how a role runs until it is asked to stop.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use pgflow::{Config, Publisher, Runtime};
use pgflow_actors::central::{CENTRAL, Central};
use pgflow_actors::instance::{Instance, InstanceOptions};
use pgflow_actors::producers::central::order_learning;
use pgflow_actors::settings::{Flags, Role, Settings};
use pgflow_actors::{manual, store, submit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

use crate::{demo, trace};

/// Agents that propose changes to their own code, and a central that decides, watches and learns.
#[derive(Debug, Parser)]
#[command(name = "evolution", version)]
pub(crate) struct Cli {
    /// Where Postgres is (else PGFLOW_DATABASE_URL, else DATABASE_URL)
    #[arg(long, value_name = "URL", env = "PGFLOW_DATABASE_URL", hide_env_values = true, global = true)]
    database_url: Option<String>,
    /// Write JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Put tables and queues in place (the roles do it too)
    Init,
    /// Run CentralCloud: consensus, Guardian, patterns, learning
    Central,
    /// Run an instance in the workspace it owns
    Instance {
        /// Its name
        #[arg(long, env = "INSTANCE_ID", default_value = "singularity_default")]
        id: String,
        /// The folder that its changes are written to
        #[arg(long, value_name = "DIR")]
        workspace: PathBuf,
        /// Prints metrics as a line of JSON; run in the workspace by `sh -c`
        #[arg(long, value_name = "CMD")]
        check: String,
    },
    /// Submit proposals, one JSON object a line
    Submit {
        /// The file; `-` for standard input
        #[arg(long, value_name = "F.jsonl")]
        file: PathBuf,
        /// Who proposes
        #[arg(long, env = "INSTANCE_ID", default_value = "singularity_default")]
        instance: String,
    },
    /// Have central learn now, and wait for the figures
    Learn,
    /// Order an applied change to be taken back
    Rollback {
        /// The proposal
        proposal: Uuid,
    },
    /// Run the whole system on an embedded Postgres, and check what became of everything
    Demo(demo::Options),
    /// Everything that happened to a proposal, in order of time
    Trace {
        /// The proposal
        proposal: Uuid,
    },
}

impl Cli {
    /// The demo shows what happens itself; its standard output is the summary alone.
    pub(crate) const fn is_demo(&self) -> bool {
        matches!(self.command, Command::Demo(_))
    }
}

/// How long a role may take to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// How long `learn` waits.
const LEARN_LIMIT: Duration = Duration::from_secs(25);

pub(crate) fn log_to_stdout(json: bool) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,ractor=warn,pgflow::handle=warn"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stdout);
    if json {
        lines.json().init();
    } else {
        lines.with_ansi(false).init();
    }
}

pub(crate) async fn run(cli: Cli) -> Result<()> {
    let url = cli.database_url.clone().or_else(|| std::env::var("DATABASE_URL").ok());
    // The demo brings its own.
    let Some(url) = url.or_else(|| cli.is_demo().then(String::new)) else {
        bail!("no database: say --database-url, or set PGFLOW_DATABASE_URL")
    };
    let settings = |role| {
        Settings::read(role, &cli.flags, |name| std::env::var(name).ok()).map_err(|why| anyhow::anyhow!("{why}"))
    };
    match cli.command {
        Command::Init => {
            for applied in store::init(&url, SCHEMA).await? {
                println!("{applied}");
            }
            Ok(())
        }
        Command::Central => run_central(config(&url).instance(CENTRAL), settings(Role::Central)?).await,
        Command::Instance { id, workspace, check } => {
            let options = InstanceOptions::new(id, workspace, check);
            run_instance(config(&url), settings(Role::Instance)?, options).await
        }
        Command::Submit { file, instance } => submit_file(&url, &file, &instance).await,
        Command::Learn => learn(&url, cli.json).await,
        Command::Rollback { proposal } => {
            let mut client = pgflow::connect(&url, "evolution rollback").await?;
            let publisher = Publisher::connect(&config(&url).instance("evolution rollback")).await?;
            manual::roll_back(&publisher, &mut client, proposal).await
        }
        Command::Demo(options) => demo::run(options, cli.json).await,
        Command::Trace { proposal } => trace::print(&url, proposal, cli.json).await,
    }
}

const SCHEMA: &str = "public";

/// A role's connections: few, since every instance has its own.
fn config(url: &str) -> Config {
    let mut config = Config::new(url).schema(SCHEMA);
    config.handler_connections = 4;
    config.control_connections = 3;
    config
}

async fn run_central(config: Config, settings: Settings) -> Result<()> {
    let mut stop = Stop::new()?;
    let central = Central::start(config, settings).await?;
    tracing::info!(target: "evolution", "central is running");
    stop.asked().await;
    let found = found(central.runtime());
    central.stop(STOP_GRACE).await?;
    println!("summary {found}");
    Ok(())
}

async fn run_instance(config: Config, settings: Settings, options: InstanceOptions) -> Result<()> {
    let mut stop = Stop::new()?;
    let id = options.id.clone();
    let instance = Instance::start(config, settings, options).await?;
    tracing::info!(target: "evolution", "instance {id} is running");
    stop.asked().await;
    let found = found(instance.runtime());
    instance.stop(STOP_GRACE).await?;
    println!("summary {found}");
    Ok(())
}

/// What wake-ups missed; the first must be 0.
fn found(runtime: &Runtime) -> serde_json::Value {
    serde_json::json!({
        "found_by_heartbeat": runtime.found_by_heartbeat(),
        "found_by_takeover": runtime.found_by_takeover(),
    })
}

/// SIGINT and SIGTERM.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        tracing::info!(target: "evolution", "stopping");
    }
}

async fn submit_file(url: &str, file: &std::path::Path, instance: &str) -> Result<()> {
    let text = if file.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin()).context("read standard input")?
    } else {
        std::fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?
    };
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let line = submit::read_line(line, instance).with_context(|| format!("line {}", number + 1))?;
        lines.push(line);
    }
    store::init(url, SCHEMA).await?;
    let mut client = pgflow::connect(url, "evolution submit").await?;
    let publisher = Publisher::connect(&config(url).instance("evolution submit")).await?;
    for id in submit::submit(&publisher, &mut client, instance, lines).await? {
        println!("{id}");
    }
    Ok(())
}

async fn learn(url: &str, json: bool) -> Result<()> {
    let client = pgflow::connect(url, "evolution learn").await?;
    let publisher = Publisher::connect(&config(url).instance("evolution learn")).await?;
    let run = Uuid::now_v7();
    order_learning(&publisher, run, None).await?;
    let done = async {
        loop {
            if let Some(figures) = store::learning_run(&client, run).await? {
                return anyhow::Ok(figures);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let figures =
        tokio::time::timeout(LEARN_LIMIT, done).await.context("central did not learn in time: is it running?")??;
    let (patterns, rules, thresholds) =
        (figures.patterns_processed, figures.rules_generated, figures.thresholds_updated);
    if json {
        let shown = serde_json::json!({
            "patterns_processed": patterns, "rules_generated": rules, "thresholds_updated": thresholds });
        println!("{shown}");
    } else {
        println!("{patterns} patterns processed, {rules} rules generated, {thresholds} thresholds updated");
    }
    Ok(())
}
