//! Connections against a real server.

use std::os::unix::fs::MetadataExt;
use std::sync::mpsc;

use super::*;
use crate::devpg::{DevPg, StopMode};

fn server() -> DevPg {
    DevPg::builder().durable(false).start().expect("a server")
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

#[test]
fn pooled_connections_outlive_the_runtime_that_asked_for_them() {
    let server = server();
    let home = runtime();
    let target = Target::parse(&server.url()).unwrap();
    let pool = target.pool(home.handle(), 1, "pool of the test", "SET work_mem = '5MB'; SET lock_timeout = 7").unwrap();
    let mut backends = Vec::new();
    for _ in 0..2 {
        let visitor = runtime();
        let row = visitor.block_on(async {
            let client = pool.get().await.unwrap();
            let sql = "SELECT pg_backend_pid(), current_setting('work_mem'), current_setting('application_name')";
            client.query_one(sql, &[]).await.unwrap()
        });
        backends.push(row.get::<_, i32>(0));
        assert_eq!(row.get::<_, &str>(1), "5MB");
        assert_eq!(row.get::<_, &str>(2), "pool of the test");
    }
    assert_eq!(backends[0], backends[1], "the first connection was used again");
}

#[test]
fn a_pool_whose_runtime_is_gone_says_so_at_once() {
    let server = server();
    let home = runtime();
    let pool = Target::parse(&server.url()).unwrap().pool(home.handle(), 1, "t", "").unwrap();
    drop(home);
    let error = runtime().block_on(pool.get()).err().map(|e| Error::pool("get", e)).expect("no connection");
    assert!(error.is_closed(), "{error:?}");
}

#[test]
fn a_bad_first_batch_keeps_the_servers_code() {
    let server = server();
    let home = runtime();
    let pool = Target::parse(&server.url()).unwrap().pool(home.handle(), 1, "t", "SELECT nonsense").unwrap();
    let error = home.block_on(pool.get()).err().map(|e| Error::pool("get", e)).expect("no connection");
    assert_eq!(error.sqlstate(), Some(&tokio_postgres::error::SqlState::UNDEFINED_COLUMN));
}

#[test]
fn the_listener_hears_and_learns_of_its_end() {
    let server = server();
    let home = runtime();
    let target = Target::parse(&server.url()).unwrap();
    let (heard, messages) = mpsc::channel();
    let (closed, ends) = mpsc::channel();
    let on_message = move |message| {
        if let AsyncMessage::Notification(n) = message {
            let _ = heard.send(format!("{} {}", n.channel(), n.payload()));
        }
    };
    let on_close = move |error: Option<tokio_postgres::Error>| {
        let _ = closed.send(error.is_some());
    };
    // Asked for by another runtime than the one that drives it.
    let listener =
        runtime().block_on(target.connect(home.handle(), "listener", on_message, on_close)).expect("a connection");
    let second = home.block_on(target.connect(home.handle(), "t", |_| (), |_| ())).expect("a connection");
    home.block_on(listener.batch_execute("LISTEN here")).unwrap();
    home.block_on(second.batch_execute("SELECT pg_notify('here', 'it is')")).unwrap();
    assert_eq!(messages.recv_timeout(Duration::from_secs(60)).as_deref(), Ok("here it is"));
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'listener'";
    home.block_on(second.batch_execute(kill)).unwrap();
    assert_eq!(ends.recv_timeout(Duration::from_secs(60)), Ok(true));
    assert!(listener.is_closed());
}

#[test]
fn dropping_the_client_closes_without_an_error() {
    let server = server();
    let home = runtime();
    let (closed, ends) = mpsc::channel();
    let on_close = move |error: Option<tokio_postgres::Error>| {
        let _ = closed.send(error.is_some());
    };
    let target = Target::parse(&server.url()).unwrap();
    drop(home.block_on(target.connect(home.handle(), "t", |_| (), on_close)).unwrap());
    assert_eq!(ends.recv_timeout(Duration::from_secs(60)), Ok(false));
}

#[test]
fn a_server_that_accepts_but_never_answers_is_given_up() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let home = runtime();
    let target = Target::parse(&format!("postgresql://u:s3cret@127.0.0.1:{port}/x?connect_timeout=1")).unwrap();
    let error = home.block_on(target.connect(home.handle(), "t", |_| (), |_| ())).expect_err("silence");
    assert!(error.is_closed(), "{error}");
    assert!(!error.to_string().contains("s3cret") && error.to_string().contains("u:***@127.0.0.1"), "{error}");
    let pool = target.pool(home.handle(), 1, "t", "").unwrap();
    let pooled = home.block_on(pool.get()).err().map(|e| Error::pool("get", e)).expect("silence");
    for error in [error, pooled] {
        assert!(error.is_closed() && error.to_string().ends_with("no answer within 4000 ms"), "{error}");
    }
}

/// Fear: the old primary of a failover is frozen, stands first in the URL, and keeps everybody from the new one.
#[test]
fn a_host_that_never_answers_leaves_the_next_one_its_time() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).unwrap().port();
    let _server = DevPg::builder().durable(false).port(Some(port)).start().expect("a server");
    let frozen = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let first = frozen.local_addr().unwrap().port();
    let url = format!(
        "postgresql://postgres@127.0.0.1:{first},127.0.0.1:{port}/postgres?sslmode=disable&connect_timeout=1&target_session_attrs=read-write"
    );
    let home = runtime();
    let shown = home.block_on(async {
        let pool = Target::parse(&url).unwrap().pool(home.handle(), 1, "t", "").unwrap();
        pool.get()
            .await
            .expect("by way of the second host")
            .query_one("SHOW port", &[])
            .await
            .unwrap()
            .get::<_, String>(0)
    });
    assert_eq!(shown, port.to_string());
}

/// Fear: after a failover a pool goes on with connections to the server that was primary before.
#[test]
fn a_renewed_pool_hands_out_nothing_older() {
    let server = server();
    let home = runtime();
    let target = Target::parse(&server.url()).unwrap();
    let pool = target.pool(home.handle(), 1, "t", "").unwrap();
    let backend = || {
        let pid = async { pool.get().await?.query_one("SELECT pg_backend_pid()", &[]).await.map_err(Into::into) };
        home.block_on(pid)
            .map(|row: tokio_postgres::Row| row.get::<_, i32>(0))
            .unwrap_or_else(|e: deadpool_postgres::PoolError| panic!("{e}"))
    };
    let old = backend();
    assert_eq!(backend(), old);
    target.clone().renew();
    let new = backend();
    assert_ne!(new, old);
    assert_eq!(backend(), new, "what was made after it stays");
}

#[test]
fn a_running_statement_is_cancelled() {
    let server = server();
    let home = runtime();
    let target = Target::parse(&server.url()).unwrap();
    let client = home.block_on(target.connect(home.handle(), "t", |_| (), |_| ())).unwrap();
    let token = client.cancel_token();
    let cancelled = home.block_on(async {
        let statement = client.batch_execute("SELECT pg_sleep(60)");
        let cancel = async {
            // Until the statement has begun there is nothing to cancel: so again and again.
            loop {
                target.cancel(token.clone()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! { done = statement => done, () = cancel => unreachable!() }
    });
    assert_eq!(cancelled.unwrap_err().code(), Some(&tokio_postgres::error::SqlState::QUERY_CANCELED));
}

/// A server that speaks TLS on the loopback with this certificate, and its port.
fn tls_server(certificate: &str) -> (DevPg, u16, std::path::PathBuf) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).unwrap().port();
    let mut server = DevPg::builder().durable(false).port(Some(port)).start().expect("a server");
    let owner = std::fs::metadata(server.root()).unwrap();
    let dir = server.root().join("data");
    for (name, text) in [
        ("server.crt", certificate),
        ("server.key", include_str!("certificates/server.key")),
        ("postgresql.auto.conf", "ssl = on\n"),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let _ = std::os::unix::fs::chown(&path, Some(owner.uid()), Some(owner.gid()));
    }
    server.restart(StopMode::Fast).expect("with TLS");
    let roots = server.root().to_owned();
    std::fs::write(roots.join("authority.pem"), include_str!("certificates/authority.pem")).unwrap();
    std::fs::write(roots.join("selfsigned.pem"), include_str!("certificates/selfsigned.pem")).unwrap();
    std::fs::write(roots.join("stranger.pem"), include_str!("certificates/stranger.pem")).unwrap();
    (server, port, roots)
}

/// Whether the connection runs over TLS, or why there is none.
fn over_tls(host: &str, port: u16, query: &str) -> Result<bool, String> {
    let home = runtime();
    home.block_on(async {
        let url = format!("postgresql://postgres@{host}:{port}/postgres?{query}");
        let client = super::connect(&url, "t").await.map_err(|e| e.to_string())?;
        let sql = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        client.query_one(sql, &[]).await.map(|row| row.get(0)).map_err(|e| e.to_string())
    })
}

/// Fear: the backends of a machine that crashed hold their locks for two hours.
#[test]
fn the_server_looks_for_us_too() {
    let (_server, port, _) = tls_server(include_str!("certificates/server.pem"));
    let shown = runtime().block_on(async {
        let url = format!("postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable");
        let client = super::connect(&url, "t").await.unwrap();
        let sql = "SELECT current_setting('tcp_keepalives_idle') || ' ' || current_setting('tcp_keepalives_interval') || ' ' ||
                   current_setting('tcp_keepalives_count') || ' ' || current_setting('tcp_user_timeout')";
        client.query_one(sql, &[]).await.unwrap().get::<_, String>(0)
    });
    assert_eq!(shown, "5 2 3 10000");
}

#[test]
fn tls_is_verified_as_the_url_asks() {
    let (_server, port, roots) = tls_server(include_str!("certificates/server.pem"));
    let with = |mode: &str, root: &str| format!("sslmode={mode}&sslrootcert={}/{root}", roots.display());
    let failure = |host: &str, query: &str| over_tls(host, port, query).expect_err("refused");
    assert_eq!(over_tls("localhost", port, ""), Ok(true));
    assert_eq!(over_tls("127.0.0.1", port, "sslmode=require"), Ok(true));
    assert_eq!(over_tls("127.0.0.1", port, "sslmode=disable"), Ok(false));
    assert_eq!(over_tls("localhost", port, &with("verify-full", "authority.pem")), Ok(true));
    assert_eq!(over_tls("127.0.0.1", port, &with("verify-ca", "authority.pem")), Ok(true));
    assert!(failure("127.0.0.1", &with("verify-full", "authority.pem")).contains("not valid for name"));
    assert!(failure("localhost", &with("verify-ca", "stranger.pem")).contains("invalid peer certificate"));
    assert!(failure("localhost", &with("require", "stranger.pem")).contains("invalid peer certificate"));
    assert!(failure("localhost", "sslmode=verify-full").contains("invalid peer certificate"));
    assert!(failure("localhost", &with("verify-full", "missing.pem")).contains("sslrootcert="));
}

#[test]
fn a_self_signed_certificate_can_be_its_own_root() {
    let (_server, port, roots) = tls_server(include_str!("certificates/selfsigned.pem"));
    let with = |mode: &str| format!("sslmode={mode}&sslrootcert={}/selfsigned.pem", roots.display());
    assert_eq!(over_tls("localhost", port, &with("verify-full")), Ok(true));
    assert_eq!(over_tls("127.0.0.1", port, &with("verify-ca")), Ok(true));
    assert!(over_tls("127.0.0.1", port, &with("verify-full")).is_err());
}
