//! Pools and connections of the two generations of sqlx that rivals speak.

/// The functions of one generation, which has types of its own.
macro_rules! generation {
    ($module:ident, $sqlx:ident) => {
        pub(crate) mod $module {
            use anyhow::{Context as _, Result};
            use futures_util::future::try_join_all;
            use $sqlx::{
                Connection as _, PgConnection, PgPool,
                postgres::{PgConnectOptions, PgPoolOptions},
            };

            fn options(url: &str) -> Result<PgConnectOptions> {
                url.parse().context("read the database's address")
            }

            /// A pool whose connections stand already. They are not tried out before each use, which would cost a round trip.
            pub(crate) async fn pool(url: &str, connections: u32) -> Result<PgPool> {
                let pool = PgPoolOptions::new()
                    .max_connections(connections)
                    .min_connections(connections)
                    .test_before_acquire(false)
                    .connect_with(options(url)?)
                    .await
                    .context("connect a pool")?;
                let all = try_join_all((0..connections).map(|_| pool.acquire())).await;
                drop(all.context("open a pool's connections")?);
                Ok(pool)
            }

            /// As many single connections.
            pub(crate) async fn connections(url: &str, number: usize) -> Result<Vec<PgConnection>> {
                let options = options(url)?;
                let all = try_join_all((0..number).map(|_| PgConnection::connect_with(&options))).await;
                all.context("connect")
            }

            /// Says goodbye on each, so that the server knows at once.
            pub(crate) async fn close(connections: Vec<PgConnection>) -> Result<()> {
                let all = try_join_all(connections.into_iter().map(PgConnection::close)).await;
                all.map(drop).context("close connections")
            }
        }
    };
}

generation!(new, sqlx);
generation!(old, sqlx08);
