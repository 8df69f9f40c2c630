//! A URL of several hosts: each gets its time, then the next one has its turn.
//!
//! tokio-postgres tries them in turn, too, but limits only the socket's connect. A server that is frozen still accepts and never answers, so
//! the old primary of a failover, first in the URL, would keep everybody from the new one for ever.

use std::time::Duration;

use rand::seq::SliceRandom as _;
use tokio_postgres::{
    Client, Config, Connection, Error, Socket,
    config::{Host, LoadBalanceHosts},
    tls::MakeTlsConnect,
};

/// Connects to the first host that answers as it should within `each`. The last one has no limit: the caller's stands over all.
pub(super) async fn connect<T>(
    config: &Config,
    tls: T,
    each: Duration,
) -> Result<(Client, Connection<Socket, T::Stream>), Error>
where
    T: MakeTlsConnect<Socket> + Clone,
{
    let mut hosts = one_by_one(config);
    let Some(last) = hosts.pop() else { return config.connect(tls).await };
    for host in hosts {
        match tokio::time::timeout(each, host.connect(tls.clone())).await {
            Ok(Ok(connected)) => return Ok(connected),
            Ok(Err(error)) => tracing::debug!(%error, hosts = ?host.get_hosts(), "the next host's turn"),
            Err(_) => tracing::debug!(hosts = ?host.get_hosts(), "no answer: the next host's turn"),
        }
    }
    last.connect(tls).await
}

/// How many hosts there are to try.
pub(super) fn count(config: &Config) -> usize {
    config.get_hosts().len().max(config.get_hostaddrs().len())
}

/// The same settings for each host alone, in the order of trying; none if their numbers do not fit, which tokio-postgres then says.
fn one_by_one(config: &Config) -> Vec<Config> {
    let (names, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let fits = |n: usize, few: usize| n <= few || n == count(config);
    if !fits(names.len(), 0) || !fits(addresses.len(), 0) || !fits(ports.len(), 1) {
        return Vec::new();
    }
    let one = |i: usize| {
        let mut alone = without_hosts(config);
        match names.get(i) {
            Some(Host::Tcp(name)) => drop(alone.host(name)),
            #[cfg(unix)]
            Some(Host::Unix(path)) => drop(alone.host_path(path)),
            None => {}
        }
        addresses.get(i).map(|address| alone.hostaddr(*address));
        ports.get(i).or_else(|| ports.first()).map(|port| alone.port(*port));
        alone
    };
    let mut all: Vec<Config> = (0..count(config)).map(one).collect();
    if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
        all.shuffle(&mut rand::rng());
    }
    all
}

/// A `Config` cannot forget its hosts: all else is copied.
fn without_hosts(config: &Config) -> Config {
    let mut new = Config::new();
    config.get_user().map(|user| new.user(user));
    config.get_password().map(|password| new.password(password));
    config.get_dbname().map(|name| new.dbname(name));
    config.get_options().map(|options| new.options(options));
    config.get_application_name().map(|name| new.application_name(name));
    config.get_connect_timeout().map(|timeout| new.connect_timeout(*timeout));
    config.get_tcp_user_timeout().map(|timeout| new.tcp_user_timeout(*timeout));
    config.get_keepalives_interval().map(|interval| new.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| new.keepalives_retries(retries));
    new.ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(config.get_target_session_attrs())
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fear: a setting of the URL is lost on the way to a host.
    #[test]
    fn a_host_alone_keeps_every_setting() {
        let all = "user=u password=p dbname=d options=-cgeqo=off application_name=a sslmode=require sslnegotiation=direct \
                   connect_timeout=7 tcp_user_timeout=8 keepalives=0 keepalives_idle=9 keepalives_interval=10 keepalives_retries=11 \
                   target_session_attrs=read-write channel_binding=require load_balance_hosts=random";
        let whole: Config = format!("{all} host=one hostaddr=10.0.0.1 port=6000").parse().unwrap();
        assert_eq!(one_by_one(&whole), [whole]);
    }

    #[test]
    fn each_host_has_its_own_address_and_port() {
        let split = |text: &str| one_by_one(&text.parse().unwrap());
        let of = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect::<Vec<Config>>();
        assert_eq!(split("host=one,/two port=1,2"), of(&["host=one port=1", "host=/two port=2"]));
        assert_eq!(split("host=one,two port=7"), of(&["host=one port=7", "host=two port=7"]));
        assert_eq!(split("hostaddr=10.0.0.1,10.0.0.2"), of(&["hostaddr=10.0.0.1", "hostaddr=10.0.0.2"]));
        assert_eq!(split("host=one,two,three port=1,2"), []);
        assert_eq!(split("host=one,two hostaddr=10.0.0.1"), []);
    }
}
