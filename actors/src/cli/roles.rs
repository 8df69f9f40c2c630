//! A role runs until it is asked to stop; its dashboard and metrics are served meanwhile, if asked for.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use pgflow::web::Site;
use pgflow::{Config, Runtime};
use pgflow_actors::central::Central;
use pgflow_actors::instance::{Instance, InstanceOptions};
use pgflow_actors::settings::Settings;
use pgflow_actors::single::Single;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::output::out;

/// How long a role may take to stop.
const STOP_GRACE: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) async fn central(config: Config, settings: Settings, listen: Option<SocketAddr>) -> Result<()> {
    let mut stop = Stop::new()?;
    let page = serve(&config, listen).await?;
    let central = Central::start(config, settings).await?;
    tracing::info!(target: "evolution", "central is running");
    stop.asked().await;
    let found = found(central.runtime());
    central.stop(STOP_GRACE).await?;
    end(page);
    out(format_args!("summary {found}"))?;
    Ok(())
}

pub(super) async fn instance(
    config: Config,
    settings: Settings,
    options: InstanceOptions,
    listen: Option<SocketAddr>,
) -> Result<()> {
    let mut stop = Stop::new()?;
    let page = serve(&config, listen).await?;
    let id = options.id.clone();
    let instance = Instance::start(config, settings, options).await?;
    tracing::info!(target: "evolution", "instance {id} is running");
    stop.asked().await;
    let found = found(instance.runtime());
    instance.stop(STOP_GRACE).await?;
    end(page);
    out(format_args!("summary {found}"))?;
    Ok(())
}

pub(super) async fn single(config: Config, settings: (Settings, Settings), options: InstanceOptions) -> Result<()> {
    let mut stop = Stop::new()?;
    let single = Single::start(config, settings, options).await?;
    tracing::info!(target: "evolution", "central and one instance are running");
    stop.asked().await;
    let found = single.runtimes().map(|(_, instance)| found(instance)).unwrap_or_default();
    single.stop(STOP_GRACE).await?;
    out(format_args!("summary {found}"))?;
    Ok(())
}

/// Bound before the role starts, so that its first counts are recorded.
async fn serve(config: &Config, listen: Option<SocketAddr>) -> Result<Option<JoinHandle<()>>> {
    let Some(listen) = listen else { return Ok(None) };
    let site = Site::bind(config, listen).await.context("serve the dashboard and metrics")?;
    tracing::info!(target: "evolution", "http://{}/", site.address()?);
    Ok(Some(tokio::spawn(async move {
        if let Err(error) = site.serve(std::future::pending()).await {
            tracing::warn!(target: "evolution", %error, "the dashboard is gone");
        }
    })))
}

fn end(page: Option<JoinHandle<()>>) {
    if let Some(page) = page {
        page.abort();
    }
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
