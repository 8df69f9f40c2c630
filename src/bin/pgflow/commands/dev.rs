//! `pgflow dev`: a throw-away Postgres in the foreground.

use std::time::Duration;

use pgflow::devpg::{DevPg, StopMode};
use serde::Serialize;

use crate::{
    args::{Dev, Global},
    fault::{self, Fault},
    output::{self, Output},
    signals::Signals,
};

/// How often the server is looked after.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Serialize)]
struct Started {
    url: String,
    pid: u32,
    major: u16,
    data: Option<String>,
}

/// Starts it, prints its URL, and stops it at a signal. Its data is gone afterwards unless a folder was named.
pub(crate) async fn run(global: &Global, dev: Dev, out: Output) -> Result<(), Fault> {
    let mut signals = Signals::catch()?;
    let builder = DevPg::builder().port(dev.port);
    let builder = match &dev.data {
        Some(dir) => builder.data_dir(dir),
        None => builder,
    };
    let starting = tokio::task::spawn_blocking(move || builder.start());
    let mut server = starting.await.map_err(|e| Fault::failed(format!("start Postgres: {e}")))??;
    let served = serve(global, &dev, out, &mut server, &mut signals).await;
    let mode = if dev.data.is_some() { StopMode::Fast } else { StopMode::Immediate };
    let stopped =
        tokio::task::spawn_blocking(move || if server_ended(&mut server) { Ok(()) } else { server.stop(mode) });
    let stopped = stopped.await.map_err(|e| Fault::failed(format!("stop Postgres: {e}")))?;
    served.and(stopped.map_err(Fault::from))
}

async fn serve(
    global: &Global,
    dev: &Dev,
    out: Output,
    server: &mut DevPg,
    signals: &mut Signals,
) -> Result<(), Fault> {
    let url = server.url();
    if dev.init {
        let mut client = pgflow::connect(&url, "pgflow cli").await?;
        pgflow::migrate::migrate(&mut client, &global.schema).await?;
    }
    if out.json {
        let data = dev.data.as_ref().map(|dir| dir.display().to_string());
        output::json_line(&Started { url, pid: server.pid(), major: server.major(), data })?;
    } else {
        output::text(&format!("{url}\n"))?;
        let fate = if dev.data.is_some() { "its data is kept" } else { "its data goes with it" };
        fault::line_to_stderr(&format!("PostgreSQL {} runs until Ctrl-C; {fate}", server.major()));
    }
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            () = signals.next() => return Ok(()),
            _ = look.tick() => if server_ended(server) {
                return Err(Fault::failed(format!("Postgres ended by itself: {}", last_words(server))));
            },
        }
    }
}

fn server_ended(server: &mut DevPg) -> bool {
    !server.is_running()
}

/// The end of its log, which may go with its folder.
fn last_words(server: &DevPg) -> String {
    let log = std::fs::read(server.log()).unwrap_or_default();
    let log = String::from_utf8_lossy(&log);
    log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("nothing in its log").to_owned()
}
