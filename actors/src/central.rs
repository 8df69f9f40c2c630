//! CentralCloud: consensus, Guardian, the pattern aggregator and the learning loop, on one pgflow runtime.
//!
//! Everything it knows is in the database, its timers included: killed at any point, the next start goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use pgflow::{Config, Runtime};
use time::OffsetDateTime;

use crate::alerts::Alarms;
use crate::consumers::central::{KnownSafe, Own, register};
use crate::producers::central::{check_health_later, order_daily_learning};
use crate::settings::Settings;
use crate::store::{self, Database};

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
    pub async fn start(mut config: Config, settings: Settings) -> Result<Self> {
        store::init(&config.url, &config.schema).await.context("put the tables in place")?;
        let database = Database::new(&config.url);
        config.alert_bytes = config.alert_bytes.or(settings.bytes_max);
        let alarms = Alarms::new(&config).await?;
        let own = Arc::new(Own { alarms, settings, started: Instant::now(), known_safe: KnownSafe::default() });
        let runtime = register(Runtime::builder(config), &own).start().await?;
        let client = database.client().await?;
        check_health_later(runtime.publisher(), &*client, Duration::ZERO, own.settings.windows.health).await?;
        order_daily_learning(runtime.publisher(), &*client, OffsetDateTime::now_utc()).await?;
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
