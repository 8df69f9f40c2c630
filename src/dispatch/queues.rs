//! A dispatcher's queues: taken as they are, read again when the channel `ctl` says that they changed.

use std::time::Duration;

use ractor::ActorRef;

use super::{
    Credits, Group, Msg, Origin, QueueState, State, WAKE_KEYS,
    gate::{self, Gate},
    hold::Hold,
    plan::Lanes,
};
use crate::{
    Error, Result,
    connect::{ANSWER_MS_MAX, bounded, give_back},
    store::{Mode, QueueFacts},
};

impl State {
    /// Takes queues as they are now; those known keep their gates, to be looked at anew.
    pub(super) fn adopt(&mut self, facts: Vec<QueueFacts>) {
        for fact in facts {
            let lanes = Lanes::new(&fact);
            match self.queues.iter_mut().find(|q| *q.name == *fact.name) {
                Some(q) => {
                    // A new lane's key is not armed: to sleep on it, the gate must arm anew.
                    if q.facts.lanes != fact.lanes {
                        q.high.released();
                        q.rest.released();
                    }
                    q.lanes = lanes;
                    q.facts = fact;
                    q.high.look();
                    q.rest.look();
                }
                None => {
                    let shelf = self.wiring.served[self.queues.len()].shelf.clone();
                    self.queues.push(QueueState {
                        name: fact.name.as_str().into(),
                        lanes,
                        facts: fact,
                        credits: Credits::default(),
                        shelf,
                        high: Gate::high(),
                        rest: Gate::default(),
                        hold: Hold::default(),
                        high_looked_for: false,
                        origin: (Origin::Normal, Origin::Normal),
                        timer: None,
                    });
                }
            }
        }
        for (q, served) in self.queues.iter().zip(&self.wiring.served) {
            q.shelf.lock().allow(served.workers, q.facts.max_retries);
        }
        self.by_key.clear();
        for (i, q) in self.queues.iter().enumerate() {
            for group in [Group::High, Group::Rest] {
                for lane in q.lanes.of(group) {
                    let at = self.by_key.entry(lane % WAKE_KEYS).or_default();
                    if !at.contains(&(i, group)) {
                        at.push((i, group));
                    }
                }
            }
        }
    }

    pub(super) fn read_queues(&mut self, myself: &ActorRef<Msg>) {
        self.questions += 1;
        let asked = self.questions;
        let (store, pool, instance) =
            (self.wiring.store.clone(), self.wiring.pool.clone(), self.wiring.instance.clone());
        let names: Vec<String> = self.queues.iter().map(|q| q.facts.name.clone()).collect();
        let myself = myself.clone();
        tokio::spawn(async move {
            let facts = async {
                let c = pool.get().await.map_err(|e| Error::pool("read the queues", e))?;
                let read = async { Ok((store.mode(&c).await?, store.queue_facts(&c, &names, &instance).await?)) };
                let facts = bounded("read the queues", ANSWER_MS_MAX, read).await;
                give_back(c, facts.as_ref().err());
                facts
            }
            .await;
            let _ = myself.cast(Msg::Queues(asked, facts));
        });
    }

    pub(super) fn queues_read(&mut self, myself: &ActorRef<Msg>, facts: Result<(Mode, Vec<QueueFacts>)>) {
        match facts {
            Ok((mode, facts)) => {
                if std::mem::replace(&mut self.mode, mode) != mode {
                    // Those that sleep were promised wakes that may not come any more (W10).
                    for queue in 0..self.queues.len() {
                        for group in [Group::High, Group::Rest] {
                            self.release(queue, group);
                            self.gate(queue, group).released();
                        }
                    }
                }
                self.adopt(facts);
                for queue in 0..self.queues.len() {
                    self.turn(myself, queue);
                }
            }
            Err(e) => {
                tracing::warn!(target: "pgflow::dispatch", error = %e, "could not read the queues, will try again");
                myself.send_after(Duration::from_millis(gate::CLAIM_RETRY_MS_MAX), || Msg::QueuesChanged);
            }
        }
    }
}
