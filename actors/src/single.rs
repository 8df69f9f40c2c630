//! Both roles in one process: the smallest deployment, and the only one that may choose how its messages travel.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use pgflow::testing::Caller;
use pgflow::{Config, Publisher, Runtime};

use crate::central::CENTRAL;
use crate::consumers;
use crate::direct::{Delivery, Hub, Lines};
use crate::instance::InstanceOptions;
use crate::resume::Resume;
use crate::settings::Settings;
use crate::store::{self, Database};
use crate::transport::{Mode, Transport};
use crate::{central, instance};

/// Central and one instance.
///
/// Whatever the transport, both serve their queues: what other processes send (`submit`, `rollback`, `learn`) comes that way. In
/// `direct` and `auto` the process does without, if the queues cannot be served; those commands do not reach it then.
pub struct Single {
    runtimes: Option<(Runtime, Runtime)>,
    delivery: Option<Delivery>,
    transport: Transport,
}

impl Single {
    /// Starts both roles, with central's settings and the instance's; the first say how messages travel.
    ///
    /// # Errors
    /// When the workspace or the database cannot be had, or another central or instance of this name is live; and, with the
    /// transport `queue`, when the queues cannot be served.
    pub async fn start(
        config: Config,
        (of_central, of_instance): (Settings, Settings),
        options: InstanceOptions,
    ) -> Result<Self> {
        let (mode, url, id) = (of_central.transport, config.url.clone(), options.id.clone());
        let report = of_instance.windows.report;
        let (as_central, as_instance) = (config.clone().instance(CENTRAL), config.instance(&id));
        let instance_own = instance::prepare(&as_instance, of_instance, options).await?;
        let central_own = central::prepare(&as_central, of_central).await?;
        put_tables(&as_instance, mode).await.context("put the tables in place")?;

        let publisher = Publisher::connect(&as_instance).await?;
        let (transport, inbox) = match mode {
            Mode::Queue => (Transport::from(publisher), None),
            Mode::Direct | Mode::Auto => {
                let (hub, inbox) = Hub::new([CENTRAL.to_owned(), id.clone()]);
                (Transport::with_memory(publisher, hub, mode == Mode::Auto), Some(inbox))
            }
        };
        let by_central = transport.signed(Publisher::connect(&as_central).await?);
        let delivery = match inbox {
            None => None,
            Some(inbox) => {
                let role = Lines::default().of(Caller::connect(&as_central).await?, by_central.clone());
                let lines = consumers::central::register(role, &central_own).lines;
                let role = lines.of(Caller::connect(&as_instance).await?, transport.clone());
                let lines = consumers::instance::register(role, &instance_own).lines;
                Some(inbox.deliver(lines, Database::new(&url)))
            }
        };
        let mut single = Self { runtimes: None, delivery, transport };
        let begun = async {
            single.serve((as_central, &central_own), (as_instance, &instance_own), &by_central).await?;
            central::begin(&url, &central_own, &by_central).await?;
            instance::begin(&url, &instance_own, &single.transport).await?;
            single.resume(&url, &id, report, &by_central).await
        };
        if let Err(reason) = begun.await {
            // Before the answer, so that the next start finds the workspace free.
            let _ = single.stop(Duration::ZERO).await;
            return Err(reason);
        }
        Ok(single)
    }

    /// Serves the queues of both roles; without them, goes on in memory, if there is one.
    async fn serve(
        &mut self,
        (as_central, central_own): (Config, &Arc<consumers::central::Own>),
        (as_instance, instance_own): (Config, &Arc<consumers::instance::Own>),
        by_central: &Transport,
    ) -> Result<()> {
        let served = async {
            let of_central = central::serve(as_central, central_own, by_central).await?;
            match instance::serve(as_instance, instance_own, &self.transport).await {
                Ok(of_instance) => Ok((of_central, of_instance)),
                Err(reason) => {
                    let _ = of_central.stop(Duration::ZERO).await;
                    Err(reason)
                }
            }
        };
        match served.await {
            Ok(runtimes) => self.runtimes = Some(runtimes),
            Err(reason) if self.delivery.is_some() && !reason.is_name_taken() => {
                tracing::warn!(target: "evolution", %reason, "the queues are not served: what other processes send does not arrive");
                self.transport.leave_queue();
            }
            Err(reason) => return Err(reason.into()),
        }
        Ok(())
    }

    /// What was in memory ended with the process before this one, whatever this one's transport is.
    async fn resume(&self, url: &str, instance: &str, report: Duration, by_central: &Transport) -> Result<()> {
        let reads_queues = self.runtimes.is_some();
        let resume = Resume { instance, by_central, by_instance: &self.transport, report, reads_queues };
        let again = resume.run(&mut pgflow::connect(url, "evolution").await?).await?;
        tracing::info!(target: "evolution", proposals = again, "picked up what was left half-way");
        Ok(())
    }

    /// Sends in the instance's name: a library's proposals, for one, by `submit::submit`. With the transport `auto` every send wants a
    /// transaction of the caller's.
    pub const fn transport(&self) -> &Transport {
        &self.transport
    }

    /// Central's runtime and the instance's; none while the queues are not served.
    pub const fn runtimes(&self) -> Option<&(Runtime, Runtime)> {
        self.runtimes.as_ref()
    }

    /// Stops. What the queues hold is handed back; what is in memory and does not end within `grace` ends here, and the next start
    /// picks up what it was about.
    ///
    /// # Errors
    /// When outcomes could not be written in time.
    pub async fn stop(self, grace: Duration) -> Result<()> {
        let Self { runtimes, delivery, .. } = self;
        let in_memory = async {
            if let Some(delivery) = delivery {
                delivery.stop(grace).await;
            }
        };
        let by_queue = async {
            let Some((of_central, of_instance)) = runtimes else { return pgflow::Result::Ok(()) };
            // Both, though one fails.
            let (one, other) = (of_instance.stop(grace).await, of_central.stop(grace).await);
            one.and(other)
        };
        let ((), stopped) = tokio::join!(in_memory, by_queue);
        Ok(stopped?)
    }
}

/// Both kinds of tables; without pgflow's, where messages need no queue.
async fn put_tables(config: &Config, mode: Mode) -> Result<()> {
    match store::init(&config.url, &config.schema).await {
        Err(reason) if mode != Mode::Queue => {
            tracing::warn!(target: "evolution", reason = format!("{reason:#}"), "the queues are not in place");
            store::init_without_queues(&config.url).await
        }
        ready => ready.map(drop),
    }
}
