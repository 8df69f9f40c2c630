//! Subcommands: what each takes, and whose business it is.

mod doctor;
pub(crate) mod output;
mod patterns;
mod queue;
mod roles;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use pgflow::Config;
use pgflow_actors::central::CENTRAL;
use pgflow_actors::instance::InstanceOptions;
use pgflow_actors::producers::central::order_learning;
use pgflow_actors::settings::{Flags, Role, Settings};
use pgflow_actors::transport::{Mode, Transport};
use pgflow_actors::{manual, store};
use tokio_postgres::error::{DbError, SqlState};
use tracing_subscriber::EnvFilter;
use uuid::Uuid;

use crate::{bench, demo, trace};
use output::out;

/// Agents that propose changes to their own code, and a central that decides, watches and learns.
#[derive(Debug, Parser)]
#[command(name = "evolution", version)]
pub(crate) struct Cli {
    /// Read settings that neither flag nor environment gives from this TOML file: the flags' names with `_`
    #[arg(long, value_name = "FILE", env = "EVOLUTION_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Write JSON: a line for each thing of a list
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
    Central {
        /// Serve the dashboard and /metrics here, e.g. 127.0.0.1:9090
        #[arg(long, value_name = "ADDR", env = "EVOLUTION_LISTEN")]
        listen: Option<SocketAddr>,
    },
    /// Run an instance in the workspace it owns
    Instance {
        /// Its name
        #[arg(long, env = "INSTANCE_ID", default_value = "singularity_default")]
        id: String,
        /// The folder that its changes are written to
        #[arg(long, value_name = "DIR", env = "EVOLUTION_WORKSPACE")]
        workspace: PathBuf,
        /// Prints metrics as a line of JSON; run in the workspace by `sh -c`
        #[arg(long, value_name = "CMD", env = "EVOLUTION_CHECK")]
        check: String,
        /// Does a rollback's steps that are not about files; told them by EVOLUTION_STEP and EVOLUTION_TARGET
        #[arg(long, value_name = "CMD", env = "EVOLUTION_STEPS")]
        steps: Option<String>,
        /// Serve the dashboard and /metrics here, e.g. 127.0.0.1:9091
        #[arg(long, value_name = "ADDR", env = "EVOLUTION_LISTEN")]
        listen: Option<SocketAddr>,
    },
    /// Run central and an instance in one process, where one vote decides: the smallest deployment
    Single {
        /// The instance's name
        #[arg(long, env = "INSTANCE_ID", default_value = "singularity_default")]
        id: String,
        /// The folder that its changes are written to
        #[arg(long, value_name = "DIR", env = "EVOLUTION_WORKSPACE")]
        workspace: PathBuf,
        /// Prints metrics as a line of JSON; run in the workspace by `sh -c`
        #[arg(long, value_name = "CMD", env = "EVOLUTION_CHECK")]
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
    /// The proposal that an instance sends next
    Next {
        /// Whose
        #[arg(long, env = "INSTANCE_ID", default_value = "singularity_default")]
        instance: String,
    },
    /// Where a proposal stands
    Status {
        /// The proposal
        proposal: Uuid,
    },
    /// Proposals, the best score first
    List {
        /// Only this instance's
        #[arg(long)]
        instance: Option<String>,
        /// Only in these states, e.g. pending, sent_for_consensus, executing
        #[arg(long, value_name = "STATE", value_delimiter = ',')]
        status: Vec<String>,
    },
    /// Patterns that three instances confirmed; or those that help with a piece of code
    Patterns {
        /// A file of code: show what is most like it
        #[arg(long, value_name = "FILE")]
        like: Option<PathBuf>,
    },
    /// What is wrong, or may soon be: pgflow's checks, and the alerts that stand
    Doctor,
    /// The settings that a role would run with, as JSON
    Settings {
        /// Those of central; else an instance's
        #[arg(long)]
        central: bool,
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
    /// Measure the documented targets under proposals that are submitted all at once
    ///
    /// On an embedded Postgres (durable, fsync on), or on an empty database that is named. That one keeps the tables of pgflow and of the
    /// system, with all proposals and messages of the bench: name one that can be dropped afterwards
    Bench(bench::Options),
    /// Everything that happened to a proposal, in order of time
    Trace {
        /// The proposal
        proposal: Uuid,
    },
}

impl Cli {
    /// The demo and the bench show what happens themselves; their standard output is the summary alone.
    pub(crate) const fn shows_progress(&self) -> bool {
        matches!(self.command, Command::Demo(_) | Command::Bench(_))
    }

    /// A role's log is its output; a command's output is its answer, and the log goes to standard error.
    pub(crate) fn start_log(&self) {
        let is_role =
            matches!(self.command, Command::Central { .. } | Command::Instance { .. } | Command::Single { .. });
        let filter = EnvFilter::try_from_default_env()
            .unwrap_or_else(|_| EnvFilter::new("info,ractor=warn,pgflow::handle=warn"));
        let writer = move || -> Box<dyn std::io::Write> {
            if is_role { Box::new(std::io::stdout()) } else { Box::new(std::io::stderr()) }
        };
        // Where nobody reads the log any more, a complaint about it would be a panic.
        let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).log_internal_errors(false);
        if self.json {
            lines.json().init();
        } else {
            lines.with_ansi(false).init();
        }
    }
}

/// How long `learn` waits.
const LEARN_LIMIT: Duration = Duration::from_secs(25);

/// Runs the command to its end. Where tables are not there, the error says what makes them.
pub(crate) async fn run(cli: Cli) -> Result<()> {
    command(cli).await.map_err(|error| {
        let refused = error.chain().find_map(|cause| cause.downcast_ref::<DbError>());
        if refused.is_some_and(|refused| *refused.code() == SqlState::UNDEFINED_TABLE) {
            return anyhow::anyhow!("{error:#}: run `evolution init`");
        }
        error
    })
}

async fn command(cli: Cli) -> Result<()> {
    let flags = cli.flags.completed(cli.config.as_ref())?;
    let settings =
        |role| Settings::read(role, &flags, |name| std::env::var(name).ok()).map_err(|why| anyhow::anyhow!("{why}"));
    if let Command::Settings { central } = cli.command {
        let role = if central { Role::Central } else { Role::Instance };
        out(settings(role)?.shown())?;
        return Ok(());
    }
    let named = flags.database_url.clone().or_else(|| std::env::var("DATABASE_URL").ok());
    // These bring their own.
    match cli.command {
        Command::Demo(options) => return demo::run(options, cli.json).await,
        Command::Bench(options) => {
            let workers = (settings(Role::Central)?.workers, settings(Role::Instance)?.workers);
            return bench::run(options, named, workers, cli.json).await;
        }
        _ => {}
    }
    let Some(url) = named else { bail!("no database: say --database-url, or set PGFLOW_DATABASE_URL") };
    match cli.command {
        Command::Init => {
            for applied in store::init(&url, SCHEMA).await? {
                out(applied)?;
            }
            Ok(())
        }
        Command::Central { listen } => {
            roles::central(config(&url).instance(CENTRAL), alone(settings(Role::Central)?)?, listen).await
        }
        Command::Instance { id, workspace, check, steps, listen } => {
            let options = InstanceOptions { steps, ..InstanceOptions::new(id, workspace, check) };
            roles::instance(config(&url), alone(settings(Role::Instance)?)?, options, listen).await
        }
        Command::Single { id, workspace, check } => {
            let mut of_central = settings(Role::Central)?;
            if flags.min_votes.is_none() {
                tracing::info!(target: "evolution", "one instance, so one vote decides; say --min-votes for more");
                of_central.consensus.min_votes = 1;
            }
            let options = InstanceOptions::new(id, workspace, check);
            roles::single(config(&url), (of_central, settings(Role::Instance)?), options).await
        }
        Command::Submit { file, instance } => queue::submit_file(&url, &file, &instance).await,
        Command::Next { instance } => queue::next(&url, &instance, cli.json).await,
        Command::Status { proposal } => queue::status(&url, proposal, cli.json).await,
        Command::List { instance, status } => queue::list(&url, instance.as_deref(), &status, cli.json).await,
        Command::Patterns { like } => patterns::print(&url, like.as_deref(), cli.json).await,
        Command::Doctor => doctor::run(&url, cli.json).await,
        // Answered above.
        Command::Settings { .. } | Command::Demo(_) | Command::Bench(_) => Ok(()),
        Command::Learn => learn(&url, cli.json).await,
        Command::Rollback { proposal } => {
            let mut client = pgflow::connect(&url, "evolution rollback").await?;
            let transport = Transport::connect(&config(&url).instance("evolution rollback")).await?;
            manual::roll_back(&transport, &mut client, proposal).await
        }
        Command::Trace { proposal } => trace::print(&config(&url), proposal, cli.json).await,
    }
}

pub(crate) const SCHEMA: &str = "public";

/// A role's connections: few, since every instance has its own.
pub(crate) fn config(url: &str) -> Config {
    let mut config = Config::new(url).schema(SCHEMA);
    config.handler_connections = 4;
    config.control_connections = 3;
    config
}

/// The settings of a role that is alone in its process: only the queue leads out of it.
fn alone(settings: Settings) -> Result<Settings> {
    if settings.transport != Mode::Queue {
        bail!("--transport is for `single`, where both roles are in one process: between processes only queue carries");
    }
    Ok(settings)
}

async fn learn(url: &str, json: bool) -> Result<()> {
    let client = pgflow::connect(url, "evolution learn").await?;
    let transport = Transport::connect(&config(url).instance("evolution learn")).await?;
    let run = Uuid::now_v7();
    order_learning(&transport, &client, run).await?;
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
        out(shown)?;
    } else {
        out(format_args!("{patterns} patterns processed, {rules} rules generated, {thresholds} thresholds updated"))?;
    }
    Ok(())
}
