//! `/metrics` in Prometheus' text format: what this process counted, and what the database says at each scrape.

use std::{fmt::Write as _, sync::OnceLock};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::{Error, Result};

/// Upper bounds in seconds: a wake-up takes about a millisecond, a backlog may make a message wait for an hour.
const BUCKETS_S: [f64; 14] =
    [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3_600.0];

/// Makes this process record its metrics. There is one recorder in a process, so the first call installs it.
///
/// # Errors
/// When the program has installed another recorder.
pub(super) fn recorder() -> Result<PrometheusHandle> {
    static HANDLE: OnceLock<std::result::Result<PrometheusHandle, String>> = OnceLock::new();
    let install = || {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &BUCKETS_S)
            .map_err(|e| e.to_string())?;
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|e| e.to_string())?;
        Ok(handle)
    };
    HANDLE.get_or_init(install).clone().map_err(|why| Error::state("install the metrics recorder", why))
}

/// One metric with its values, each under a label.
pub(super) struct Family<'a> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    /// The label's name; the values come with its value.
    pub(super) label: &'static str,
    pub(super) values: Vec<(&'a str, f64)>,
}

/// Adds a gauge to a page.
pub(super) fn append(page: &mut String, family: &Family<'_>) {
    let Family { name, help, label, values } = family;
    let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} gauge");
    for (key, value) in values {
        let labels = if label.is_empty() { String::new() } else { format!("{{{label}=\"{}\"}}", escaped(key)) };
        let _ = writeln!(page, "{name}{labels} {value}");
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A label that closes its quote would make the whole scrape unreadable.
    #[test]
    fn labels_are_escaped() {
        let mut page = String::new();
        let values = vec![("a\"b\\c\nd", 2.0), ("mail", 0.5)];
        append(&mut page, &Family { name: "x", help: "y", label: "queue", values });
        assert_eq!(page, "# HELP x y\n# TYPE x gauge\nx{queue=\"a\\\"b\\\\c\\nd\"} 2\nx{queue=\"mail\"} 0.5\n");
    }
}
