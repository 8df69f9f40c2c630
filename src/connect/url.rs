//! What a connection URL says, as libpq reads it.
//!
//! tokio-postgres knows neither `sslmode=verify-full` nor `sslrootcert`, which every cloud's URL has, and takes
//! `tcp_user_timeout` for seconds where libpq says milliseconds. So those parameters are taken out first.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use super::tls::Verify;
use crate::error::{Error, Result};

const PHASE: &str = "database URL";

/// A dead peer is found within 5 + 3 × 2 = 11 s where nothing is sent, and within 10 s where something is: both are
/// shorter than a lease, so that a cut connection is replaced before its rows are rescued.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// Per address: a name may stand for several.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where Debian's and others' servers put their socket: libpq's default there.
const SOCKET_DIR_DEFAULT: &str = "/var/run/postgresql";

/// A URL, taken apart.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) config: Config,
    /// None: no TLS at all.
    pub(super) verify: Option<Verify>,
}

pub(super) fn parse(url: &str) -> Result<Parsed> {
    if !url.starts_with("postgresql://") && !url.starts_with("postgres://") {
        return Err(Error::config(
            PHASE,
            "it must start with postgresql://, as in postgresql://user@host:5432/database",
        ));
    }
    let (base, query) = split_query(url);
    let mut said = Said::default();
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        if !said.take(&decoded(key)?, &decoded(value)?)? {
            kept.push(pair);
        }
    }
    let plain = if kept.is_empty() { base.to_owned() } else { format!("{base}?{}", kept.join("&")) };
    let mut config = Config::from_str(&plain).map_err(|e| {
        let why = std::error::Error::source(&e).map(ToString::to_string).unwrap_or_default();
        Error::config(PHASE, format!("{e}: {why} (in {})", redacted(url)))
    })?;
    said.fill(&mut config);
    let verify = said.verify()?;
    // No TLS runs over a Unix socket: as in libpq, sslmode says nothing about it.
    let only_sockets = config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
    if only_sockets && config.get_hostaddrs().is_empty() {
        config.ssl_mode(SslMode::Disable);
        return Ok(Parsed { config, verify: None });
    }
    config.ssl_mode(said.ssl_mode());
    Ok(Parsed { config, verify })
}

/// The parameters that are ours to read, and which others were given.
#[derive(Default)]
struct Said {
    sslmode: Option<String>,
    sslrootcert: Option<String>,
    tcp_user_timeout_ms: Option<u64>,
    keepalives_count: Option<u32>,
    others: Vec<String>,
}

impl Said {
    /// True if the parameter is not for tokio-postgres.
    fn take(&mut self, key: &str, value: &str) -> Result<bool> {
        let number = || Error::config(PHASE, format!("{key}={value}: not a number"));
        match key {
            "sslmode" => self.sslmode = Some(value.to_owned()),
            "sslrootcert" => self.sslrootcert = Some(value.to_owned()),
            "tcp_user_timeout" => self.tcp_user_timeout_ms = Some(value.parse().map_err(|_| number())?),
            "keepalives_count" => self.keepalives_count = Some(value.parse().map_err(|_| number())?),
            "sslcert" | "sslkey" | "sslcrl" | "sslpassword" => {
                return Err(Error::config(PHASE, format!("{key}: client certificates are not supported")));
            }
            _ => {
                self.others.push(key.to_owned());
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Fills in what the URL leaves open.
    fn fill(&self, config: &mut Config) {
        let open = |key: &str| !self.others.iter().any(|other| other == key);
        if open("keepalives_idle") {
            config.keepalives_idle(KEEPALIVE_IDLE);
        }
        if open("keepalives_interval") {
            config.keepalives_interval(KEEPALIVE_INTERVAL);
        }
        if open("keepalives_retries") {
            config.keepalives_retries(self.keepalives_count.unwrap_or(KEEPALIVE_RETRIES));
        }
        if open("connect_timeout") {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        config.tcp_user_timeout(self.tcp_user_timeout_ms.map_or(TCP_USER_TIMEOUT, Duration::from_millis));
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            if Path::new(SOCKET_DIR_DEFAULT).is_dir() {
                config.host(SOCKET_DIR_DEFAULT);
            } else {
                config.host("localhost");
            }
        }
    }

    fn ssl_mode(&self) -> SslMode {
        match (self.sslmode.as_deref(), self.sslrootcert.as_deref()) {
            (Some("disable"), _) => SslMode::Disable,
            // `allow` tries without TLS first; with it first is no worse.
            (None, Some("system")) => SslMode::Require,
            (None | Some("prefer" | "allow"), _) => SslMode::Prefer,
            (Some(_), _) => SslMode::Require,
        }
    }

    fn verify(&self) -> Result<Option<Verify>> {
        let roots = self.sslrootcert.as_deref().filter(|path| *path != "system").map(PathBuf::from);
        let verify = match self.sslmode.as_deref() {
            Some("disable") => return Ok(None),
            Some("verify-full") => Verify::ChainAndName(roots),
            // libpq takes the system's roots for a promise to check everything.
            None if self.sslrootcert.as_deref() == Some("system") => Verify::ChainAndName(None),
            Some("verify-ca") => Verify::Chain(roots),
            // As in libpq: a given root certificate is meant to be used.
            Some("require") if roots.is_some() => Verify::Chain(roots),
            None | Some("require" | "prefer" | "allow") => Verify::Nothing,
            Some(other) => {
                let known = "disable, prefer, require, verify-ca or verify-full";
                return Err(Error::config(PHASE, format!("sslmode={other}: it is {known}")));
            }
        };
        Ok(Some(verify))
    }
}

/// The parameters start at the first `?` behind the credentials, in which one may stand unencoded.
fn split_query(url: &str) -> (&str, &str) {
    let credentials = url.find('@').unwrap_or(0);
    match url[credentials..].find('?') {
        Some(at) => (&url[..credentials + at], &url[credentials + at + 1..]),
        None => (url, ""),
    }
}

/// The URL with `***` for every password in it: for logs and error texts. Hides too much rather than too little.
pub fn redacted(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "***".to_owned() };
    // The last `@`: an unencoded one may stand in the password.
    let rest = match rest.rsplit_once('@') {
        Some((credentials, rest)) => match credentials.split_once(':') {
            Some((user, _)) => format!("{user}:***@{rest}"),
            None if credentials.contains(['?', '/']) => format!("***@{rest}"),
            None => format!("{credentials}@{rest}"),
        },
        None => rest.to_owned(),
    };
    let (base, query) = split_query(&rest);
    let hide = |pair: &str| match pair.split_once('=') {
        Some((key, _)) if decoded(key).map_or(true, |key| key.contains("password")) => format!("{key}=***"),
        _ => pair.to_owned(),
    };
    let query: Vec<String> = query.split('&').filter(|pair| !pair.is_empty()).map(hide).collect();
    let mark = if query.is_empty() { "" } else { "?" };
    format!("{scheme}://{base}{mark}{}", query.join("&"))
}

fn decoded(text: &str) -> Result<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let hex = rest.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let byte = hex.and_then(|two| u8::from_str_radix(two, 16).ok());
        bytes.push(byte.ok_or_else(|| Error::config(PHASE, "a % that no two hexadecimal digits follow"))?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| Error::config(PHASE, "a parameter is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloud_urls_are_understood() {
        let parsed =
            parse("postgres://u:p@db.example:6432/x?sslmode=verify-full&sslrootcert=/ca%20dir/ca.pem").unwrap();
        assert_eq!(parsed.config.get_ssl_mode(), SslMode::Require);
        assert_eq!(parsed.verify, Some(Verify::ChainAndName(Some(PathBuf::from("/ca dir/ca.pem")))));
        assert_eq!(parsed.config.get_ports(), [6432]);
        assert_eq!(parsed.config.get_dbname(), Some("x"));
        let parsed = parse("postgresql://h/x?channel_binding=require&sslmode=require").unwrap();
        assert_eq!(parsed.verify, Some(Verify::Nothing));
    }

    #[test]
    fn each_sslmode_means_what_libpq_says() {
        let of = |query: &str| {
            let parsed = parse(&format!("postgresql://h/?{query}")).unwrap();
            (parsed.config.get_ssl_mode(), parsed.verify)
        };
        let ca = Some(PathBuf::from("ca"));
        assert_eq!(of("sslmode=disable"), (SslMode::Disable, None));
        assert_eq!(of(""), (SslMode::Prefer, Some(Verify::Nothing)));
        assert_eq!(of("sslmode=prefer"), (SslMode::Prefer, Some(Verify::Nothing)));
        assert_eq!(of("sslmode=require&sslrootcert=ca"), (SslMode::Require, Some(Verify::Chain(ca.clone()))));
        assert_eq!(of("sslmode=verify-ca&sslrootcert=ca"), (SslMode::Require, Some(Verify::Chain(ca))));
        assert_eq!(of("sslmode=verify-full"), (SslMode::Require, Some(Verify::ChainAndName(None))));
        assert_eq!(of("sslrootcert=system"), (SslMode::Require, Some(Verify::ChainAndName(None))));
        assert!(parse("postgresql://h/?sslmode=off").unwrap_err().to_string().contains("verify-full"));
    }

    #[test]
    fn a_socket_needs_no_tls() {
        let parsed = parse("postgresql://postgres@/x?host=%2Ftmp%2Fdir&sslmode=require").unwrap();
        assert_eq!((parsed.config.get_ssl_mode(), parsed.verify), (SslMode::Disable, None));
    }

    #[test]
    fn what_the_url_says_wins() {
        let config = parse("postgresql://h/").unwrap().config;
        assert_eq!(config.get_keepalives_idle(), KEEPALIVE_IDLE);
        assert_eq!(config.get_keepalives_interval(), Some(KEEPALIVE_INTERVAL));
        assert_eq!(config.get_keepalives_retries(), Some(KEEPALIVE_RETRIES));
        assert_eq!(config.get_tcp_user_timeout(), Some(&TCP_USER_TIMEOUT));
        assert_eq!(config.get_connect_timeout(), Some(&CONNECT_TIMEOUT));
        let query = "keepalives_idle=60&keepalives_count=9&tcp_user_timeout=1500&connect_timeout=7";
        let config = parse(&format!("postgresql://h/?{query}")).unwrap().config;
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(60));
        assert_eq!(config.get_keepalives_retries(), Some(9));
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
        assert_eq!(config.get_connect_timeout(), Some(&Duration::from_secs(7)));
    }

    #[test]
    fn a_url_without_a_host_means_this_machine() {
        assert_eq!(parse("postgresql:///x").unwrap().config.get_hosts().len(), 1);
    }

    #[test]
    fn no_error_text_holds_the_password() {
        for url in [
            "postgresql://u:s3cret@h/x?nonsense=1",
            "postgresql://u:s3cret@h:port/x",
            "postgresql://h/x?user=u&password=s3cret&nonsense=1",
            "postgresql://u:s3cret@h/x?sslmode=maybe",
            "host=h password=s3cret",
            "s3cret",
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.is_config() && !format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn redacting_hides_every_password() {
        assert_eq!(redacted("postgresql://u:p@h/x"), "postgresql://u:***@h/x");
        assert_eq!(redacted("postgresql://u@h/x?a=b"), "postgresql://u@h/x?a=b");
        assert_eq!(redacted("postgresql://u:p@q?r@h/x"), "postgresql://u:***@h/x");
        assert_eq!(redacted("postgresql://h/x?user=u&password=p&a=b"), "postgresql://h/x?user=u&password=***&a=b");
        assert_eq!(redacted("postgresql://h/x?%70assword=p"), "postgresql://h/x?%70assword=***");
        assert_eq!(redacted("host=h password=p"), "***");
    }
}
