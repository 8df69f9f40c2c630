//! CentralCloud: consensus, Guardian, the pattern aggregator and the learning loop, on one pgflow runtime.
//!
//! Everything it knows is in the database, its timers included: killed at any point, the next start goes on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use pgflow::{Config, Publisher, Runtime};
use time::{OffsetDateTime, Time};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::consumers::central::{Own, register};
use crate::producers::central::{check_health_later, order_learning};
use crate::settings::Settings;
use crate::store::{self, Database};

/// The name central has among the instances.
pub const CENTRAL: &str = "central";

/// A running central.
pub struct Central {
    runtime: Runtime,
    daily: JoinHandle<()>,
}

impl Central {
    /// Puts the tables in place, if they are not, and starts.
    ///
    /// # Errors
    /// When the database cannot be reached, or another central is live.
    pub async fn start(config: Config, settings: Settings) -> Result<Self> {
        store::init(&config.url, &config.schema).await.context("put the tables in place")?;
        let database = Database::new(&config.url);
        let own = Arc::new(Own { settings, started: Instant::now() });
        let runtime = register(Runtime::builder(config), &own).start().await?;
        let client = database.client().await?;
        check_health_later(runtime.publisher(), &*client, Duration::ZERO, own.settings.windows.health).await?;
        let daily = tokio::spawn(learn_daily(runtime.publisher().clone(), database));
        Ok(Self { runtime, daily })
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
        self.daily.abort();
        Ok(self.runtime.stop(grace).await?)
    }
}

/// Waits after an order that could not be sent.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Learns at 00:00 UTC; at once, if it did not since the last midnight though it learned before. The day is the order's
/// dedup key, so that restarts do not multiply it.
async fn learn_daily(publisher: Publisher, database: Database) {
    loop {
        match order_if_due(&publisher, &database).await {
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(error) => {
                tracing::warn!(target: "evolution", %error, "the daily learning could not be ordered");
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

async fn order_if_due(publisher: &Publisher, database: &Database) -> Result<Duration> {
    let now = OffsetDateTime::now_utc();
    let midnight = now.replace_time(Time::MIDNIGHT);
    let client = database.client().await?;
    if store::last_learning_run(&*client).await?.is_some_and(|last| last < midnight) {
        order_learning(publisher, Uuid::now_v7(), Some(format!("daily-{}", now.date()))).await?;
    }
    Ok((midnight + time::Duration::DAY - now).try_into().unwrap_or(RETRY_AFTER))
}
