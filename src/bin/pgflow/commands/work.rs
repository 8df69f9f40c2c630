//! `pgflow work Q --exec CMD`: the runtime for programs of any language.

use std::sync::Arc;

use pgflow::{Queue, Runtime, web::Site};

use crate::{
    args::{Global, Work},
    commands::serve,
    database,
    exec::{Exec, Running},
    fault::Fault,
    output::Output,
    signals::Signals,
};

/// Serves the queue until a signal; a second one ends it without grace.
pub(crate) async fn run(global: &Global, work: Work, out: Output) -> Result<(), Fault> {
    let mut config = database::config(global)?;
    if let Some(name) = work.instance {
        config = config.instance(name);
    }
    config.listen_url = work.listen_url.filter(|url| !url.is_empty());
    if let Some(ms) = work.heartbeat_ms {
        config.heartbeat_ms = ms;
        config.lease_ms = config.lease_ms.max(ms.saturating_mul(2));
    }
    let mut queue = Queue::new(&work.queue).workers(work.workers);
    if let Some(deadline) = work.deadline {
        queue = queue.deadline(deadline);
    }
    let mut signals = Signals::catch()?;
    // Before the runtime: what is counted without a recorder is lost.
    let site = match work.listen {
        Some(listen) => Some(Site::bind(&config, listen).await?),
        None => None,
    };
    let (command, running): (Arc<str>, Running) = (work.exec.into(), Running::default());
    let exec = {
        let running = running.clone();
        move || Exec::new(command.clone(), running.clone())
    };
    let runtime = Runtime::builder(config).queue(queue).any_handler(&work.queue, exec).start().await?;
    tracing::info!(target: "pgflow::work", queue = work.queue, instance = runtime.instance(), "working");
    let gave_up = async {
        runtime.ended().await;
        Err(Fault::failed("the supervision tree gave up (see the log): start it anew"))
    };
    let served = tokio::select! {
        served = async {
            match site {
                Some(site) => serve::serve(site, out, signals.next()).await,
                None => {
                    signals.next().await;
                    Ok(())
                }
            }
        } => served,
        gave_up = gave_up => gave_up,
    };
    tracing::info!(target: "pgflow::work", grace = ?work.grace, "stopping; a second signal stops at once");
    let stopped = tokio::select! {
        stopped = runtime.stop(work.grace) => stopped.map_err(Fault::from),
        further = signals.next_wish() => further.and(Err(Fault::failed("stopped without grace: what still ran is handled again"))),
    };
    // Handlers on other threads than this runtime's may not have noticed the end.
    running.kill_all();
    served.and(stopped)
}
