//! What the page shows and `/metrics` counts: one look at the database.

use std::collections::BTreeMap;

use serde::Serialize;

use super::metrics::{Family, append};
use crate::{
    Admin, Result,
    admin::{Alert, DeadLetter, InstanceInfo, QueueInfo},
};

/// How many dead letters the page shows.
const DEAD_SHOWN: u32 = 20;

/// The state of everything, as `/api/state` gives it.
#[derive(Serialize)]
pub(super) struct Look {
    queues: Vec<QueueInfo>,
    dlq: Vec<Dead>,
    instances: Vec<InstanceInfo>,
    alerts: Vec<Alert>,
}

/// A dead letter without its payload, which is nobody's business on a page.
#[derive(Serialize)]
struct Dead {
    id: i64,
    queue_name: String,
    kind: String,
    error: String,
    error_kind: String,
    created_at: String,
}

impl From<DeadLetter> for Dead {
    fn from(d: DeadLetter) -> Self {
        let DeadLetter { id, queue_name, kind, error, error_kind, created_at, .. } = d;
        Self { id, queue_name, kind, error, error_kind, created_at }
    }
}

/// Looks.
pub(super) async fn look(admin: &Admin) -> Result<Look> {
    let (queues, dlq, instances, alerts) = futures_util::try_join!(
        admin.list_queues(),
        admin.list_dlq_messages(None, DEAD_SHOWN),
        admin.tree(),
        admin.list_alerts()
    )?;
    Ok(Look { queues, dlq: dlq.into_iter().map(Dead::from).collect(), instances, alerts })
}

impl Look {
    /// Adds its gauges to a page of metrics.
    pub(super) fn gauges(&self, page: &mut String) {
        append(page, &up(1.0));
        let of = |value: fn(&QueueInfo) -> f64| {
            self.queues.iter().map(|q| (q.queue_name.as_str(), value(q))).collect::<Vec<_>>()
        };
        let oldest = of(|q| q.oldest_pending_age_s.unwrap_or_default());
        for (name, help, values) in [
            ("pgflow_queue_pending", "Messages that could be started now.", of(|q| q.pending as f64)),
            ("pgflow_queue_scheduled", "Messages that wait for a time.", of(|q| q.scheduled as f64)),
            ("pgflow_queue_parked", "Messages that wait for their key or for a decoder.", of(|q| q.parked as f64)),
            ("pgflow_queue_processing", "Messages that are being handled.", of(|q| q.processing as f64)),
            ("pgflow_queue_dead", "Dead letters.", of(|q| q.dead as f64)),
            ("pgflow_queue_paused", "1 while the queue is paused.", of(|q| q.paused.into())),
            ("pgflow_queue_oldest_pending_seconds", "Age of the oldest pending message; 0 without one.", oldest),
        ] {
            append(page, &Family { name, help, label: "queue", values });
        }
        let live = vec![("", self.instances.len() as f64)];
        append(page, &Family { name: "pgflow_instances", help: "Live instances.", label: "", values: live });
        let age = |i: &InstanceInfo| i.heartbeat_age_s;
        let ages = self.instances.iter().map(|i| (i.name.as_str(), age(i))).collect();
        let help = "Seconds since an instance last wrote that it lives.";
        append(page, &Family { name: "pgflow_instance_heartbeat_age_seconds", help, label: "instance", values: ages });
        let mut standing = BTreeMap::new();
        for alert in &self.alerts {
            *standing.entry(alert.alert.as_str()).or_insert(0.0) += 1.0;
        }
        let (help, values) = ("Alerts that stand, whoever raised them.", standing.into_iter().collect());
        append(page, &Family { name: "pgflow_alerts_standing", help, label: "alert", values });
    }
}

/// What there is to say when the database does not answer.
pub(super) fn down(page: &mut String) {
    append(page, &up(0.0));
}

fn up(value: f64) -> Family<'static> {
    let help = "1 if the database answered this scrape.";
    Family { name: "pgflow_database_up", help, label: "", values: vec![("", value)] }
}
