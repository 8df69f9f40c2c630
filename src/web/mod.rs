//! The web page of an operator: a dashboard, its state as JSON, `/metrics` and `/healthz`. It only reads.
//!
//! Whoever reaches the address may look: payloads are not shown, but names and errors are. Bind it to a private one.

mod metrics;
mod state;

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;

use crate::{Admin, Config, Error, Result};

/// How long the database may take to answer a request.
const ANSWER_LIMIT: Duration = Duration::from_secs(4);
/// How often what was recorded is folded, so that it does not grow without a scrape.
const UPKEEP: Duration = Duration::from_secs(5);
/// Only our own script and style run on the page, and nobody frames it.
const POLICY: &str = "default-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A site that is bound to its address and not served yet.
pub struct Site {
    listener: TcpListener,
    desk: Arc<Desk>,
}

/// What every request is answered from.
struct Desk {
    admin: Admin,
    recorded: PrometheusHandle,
}

impl Site {
    /// Makes this process record its metrics, and takes the address. Call it before a [`crate::Runtime`] starts: what is counted
    /// earlier is lost.
    ///
    /// # Errors
    /// When the address is taken, or the program has a metrics recorder of its own.
    pub async fn bind(config: &Config, listen: SocketAddr) -> Result<Self> {
        let recorded = metrics::recorder()?;
        let admin = Admin::connect(config).await?;
        let listener = TcpListener::bind(listen).await.map_err(|e| Error::io(format!("listen on {listen}"), e))?;
        Ok(Self { listener, desk: Arc::new(Desk { admin, recorded }) })
    }

    /// Where it listens: the port is a real one though 0 was asked for.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> Result<SocketAddr> {
        self.listener.local_addr().map_err(|e| Error::io("listen", e))
    }

    /// Answers until `stop` resolves.
    ///
    /// # Errors
    /// When the listening socket breaks.
    pub async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let Self { listener, desk } = self;
        let upkeep = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(keep_up(desk.recorded.clone())));
        let served = axum::serve(listener, router(desk)).with_graceful_shutdown(stop).await;
        drop(upkeep);
        served.map_err(|e| Error::io("serve", e))
    }
}

async fn keep_up(recorded: PrometheusHandle) {
    let mut tick = tokio::time::interval(UPKEEP);
    loop {
        tick.tick().await;
        recorded.run_upkeep();
    }
}

fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/", get(async || asset("text/html; charset=utf-8", include_str!("page.html"))))
        .route("/page.js", get(async || asset("text/javascript; charset=utf-8", include_str!("page.js"))))
        .route("/page.css", get(async || asset("text/css; charset=utf-8", include_str!("page.css"))))
        .route("/api/state", get(api_state))
        .route("/metrics", get(scrape))
        .route("/healthz", get(health))
        .with_state(desk)
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}

async fn api_state(State(desk): State<Arc<Desk>>) -> Response {
    match limited(state::look(&desk.admin)).await {
        Ok(state) => ([(header::CACHE_CONTROL, "no-store")], Json(state)).into_response(),
        Err(e) => unavailable(Json(serde_json::json!({ "error": e.to_string() }))),
    }
}

/// Always 200 while the process lives: that the database is away is itself a figure.
async fn scrape(State(desk): State<Arc<Desk>>) -> Response {
    let mut page = desk.recorded.render();
    match limited(state::look(&desk.admin)).await {
        Ok(state) => state.gauges(&mut page),
        Err(error) => {
            tracing::warn!(target: "pgflow::web", %error, "a scrape without the database");
            state::down(&mut page);
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response()
}

async fn health(State(desk): State<Arc<Desk>>) -> Response {
    match limited(desk.admin.check()).await {
        Ok(()) => "ok\n".into_response(),
        Err(e) => unavailable(format!("{}\n", e.to_string().replace('\n', " "))),
    }
}

fn unavailable(body: impl IntoResponse) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

async fn limited<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    let limit_ms = u64::try_from(ANSWER_LIMIT.as_millis()).unwrap_or(u64::MAX);
    tokio::time::timeout(ANSWER_LIMIT, answer)
        .await
        .unwrap_or_else(|_| Err(Error::timeout("ask the database", limit_ms)))
}
