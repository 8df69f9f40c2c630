//! `pgflow serve`: the dashboard, /metrics and /healthz.

use std::{future::Future, net::SocketAddr, time::Duration};

use pgflow::web::Site;
use serde::Serialize;

use crate::{args::Global, database, fault::Fault, output::Output, signals::Signals};

/// How long open requests may take after a signal.
const END_LIMIT: Duration = Duration::from_secs(5);

#[derive(Serialize)]
struct Served<'a> {
    url: &'a str,
}

/// Serves until a signal.
pub(crate) async fn run(global: &Global, listen: SocketAddr, out: Output) -> Result<(), Fault> {
    let mut signals = Signals::catch()?;
    let site = Site::bind(&database::config(global)?, listen).await?;
    serve(site, out, async move { signals.next().await }).await
}

/// Serves until `stop` resolves, and says where.
pub(crate) async fn serve(site: Site, out: Output, stop: impl Future<Output = ()>) -> Result<(), Fault> {
    let url = format!("http://{}/", site.address()?);
    // What is served goes on, whether or not anybody reads our stdout.
    if out.done(&Served { url: &url }, &url).is_err() {
        tracing::warn!(target: "pgflow::web", url, "stdout is closed or full: the address is said here");
    }
    let (ask, asked) = tokio::sync::oneshot::channel::<()>();
    let mut served = std::pin::pin!(site.serve(async {
        let _ = asked.await;
    }));
    tokio::select! {
        served = &mut served => return Ok(served?),
        () = stop => drop(ask),
    }
    // A reader that never ends must not hold us up.
    tokio::time::timeout(END_LIMIT, served).await.unwrap_or(Ok(())).map_err(Fault::from)
}
