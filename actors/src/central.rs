//! CentralCloud: consensus, Guardian, the pattern aggregator and the learning loop, on one pgflow runtime.
//!
//! Everything it knows is in the database, its timers included: killed at any point, the next start goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use pgflow::{Config, Runtime};
use time::OffsetDateTime;

use crate::alerts::Alarms;
use crate::consumers::OnQueues;
use crate::consumers::central::{KnownSafe, Own, register};
use crate::producers::central::{check_health_later, order_daily_learning};
use crate::settings::Settings;
use crate::store;
use crate::transport::Transport;

/// The name central has among the instances.
pub const CENTRAL: &str = "central";

/// A running central.
pub struct Central {
    runtime: Runtime,
}

impl Central {
    /// Puts the tables in place, if they are not, and starts.
    ///
    /// # Errors
    /// When the database cannot be reached, or another central is live.
    pub async fn start(config: Config, settings: Settings) -> Result<Self> {
        store::init(&config.url, &config.schema).await.context("put the tables in place")?;
        let transport = Transport::connect(&config).await?;
        let own = prepare(&config, settings).await?;
        let runtime = serve(config.clone(), &own, &transport).await?;
        begin(&config.url, &own, &transport).await?;
        Ok(Self { runtime })
    }

    /// Its runtime.
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Stops; what is not done by then is handed back.
    ///
    /// # Errors
    /// When outcomes could not be written in time.
    pub async fn stop(self, grace: Duration) -> Result<()> {
        Ok(self.runtime.stop(grace).await?)
    }
}

/// What its consumers share.
pub(crate) async fn prepare(config: &Config, settings: Settings) -> Result<Arc<Own>> {
    let alarms = Alarms::new(config).await?;
    Ok(Arc::new(Own { alarms, settings, started: Instant::now(), known_safe: KnownSafe::default() }))
}

/// Serves its queues.
pub(crate) async fn serve(config: Config, own: &Arc<Own>, transport: &Transport) -> pgflow::Result<Runtime> {
    OnQueues::serve(config, &own.settings, transport, |queues| register(queues, own)).await
}

/// Orders what runs by the clock.
pub(crate) async fn begin(url: &str, own: &Own, transport: &Transport) -> Result<()> {
    let mut client = pgflow::connect(url, "evolution").await?;
    let tx = client.transaction().await?;
    check_health_later(transport, &tx, None, (Duration::ZERO, own.settings.windows.health)).await?;
    order_daily_learning(transport, &tx, OffsetDateTime::now_utc()).await?;
    Ok(tx.commit().await?)
}
