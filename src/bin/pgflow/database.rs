//! Which database: `--database-url`, else `PGFLOW_DATABASE_URL`, else `DATABASE_URL`.

use pgflow::Admin;
use tokio_postgres::Client;

use crate::{args::Global, fault::Fault};

/// The environment's names for it, the first one first.
const URL_VARIABLES: [&str; 2] = ["PGFLOW_DATABASE_URL", "DATABASE_URL"];

/// The URL that was given, if one was. An empty one counts as none.
pub(crate) fn given_url(global: &Global) -> Option<String> {
    let from_environment = URL_VARIABLES.iter().map(|name| std::env::var(name).ok());
    std::iter::once(global.database_url.clone()).chain(from_environment).flatten().find(|url| !url.is_empty())
}

/// The URL, for a command that cannot bring its own database.
pub(crate) fn url(global: &Global) -> Result<String, Fault> {
    given_url(global).ok_or_else(|| {
        Fault::usage(
            "no database: set PGFLOW_DATABASE_URL or pass --database-url (`pgflow dev` starts a throw-away one)",
        )
    })
}

/// One connection.
pub(crate) async fn connect(global: &Global) -> Result<Client, Fault> {
    Ok(pgflow::connect(&url(global)?, "pgflow cli").await?)
}

/// The operator's view of it.
pub(crate) async fn admin(global: &Global) -> Result<Admin, Fault> {
    Ok(Admin::connect(&config(global)?).await?)
}

/// The library's settings for this database.
pub(crate) fn config(global: &Global) -> Result<pgflow::Config, Fault> {
    Ok(pgflow::Config::new(url(global)?).schema(&global.schema))
}
