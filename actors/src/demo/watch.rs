//! Watches the database while the demo runs: where the proposals stand, how much is waiting, which waits were asked for.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use pgflow_actors::proposal::State;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use uuid::Uuid;

use super::database;
use super::live::Live;
use super::script::Entry;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Waits that were asked for: message to due time, as seen before the first try.
pub(crate) type Due = HashMap<i64, SystemTime>;

/// What the last look saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct View {
    /// Where each proposal stands.
    pub(crate) states: BTreeMap<Uuid, State>,
    /// Changes whose observation is over.
    pub(crate) proven: Vec<Uuid>,
}

impl View {
    /// Has everything that had to happen to this proposal happened?
    pub(crate) fn is_over(&self, id: Uuid) -> bool {
        match self.states.get(&id) {
            Some(State::Applied) => self.proven.contains(&id),
            Some(state) => state.is_settled(),
            None => false,
        }
    }
}

/// The watching.
pub(crate) struct Watch {
    view: watch::Receiver<View>,
    due: Arc<Mutex<Due>>,
    looking: JoinHandle<()>,
}

impl Watch {
    /// Watches over this connection, and tells of every change of state.
    pub(crate) fn start(client: Client, entries: &[Entry], live: Arc<Live>) -> Self {
        let titles = entries.iter().map(|e| (e.id, format!("{:<4} {}", e.short_id(), e.title))).collect();
        let (sender, view) = watch::channel(View::default());
        let due = Arc::new(Mutex::new(Due::new()));
        let looking = tokio::spawn(look_on(client, titles, live, sender, Arc::clone(&due)));
        Self { view, due, looking }
    }

    /// What was seen last.
    pub(crate) fn view(&self) -> View {
        self.view.borrow().clone()
    }

    /// The waits that were seen so far.
    pub(crate) fn waits(&self) -> Due {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

async fn look_on(
    client: Client,
    titles: BTreeMap<Uuid, String>,
    live: Arc<Live>,
    sender: watch::Sender<View>,
    due: Arc<Mutex<Due>>,
) {
    let mut before = View::default();
    loop {
        // A failed look is no reason to stop: the next one tells, and the end judges.
        if let Ok(view) = look(&client, &live, &due).await {
            for (id, state) in &view.states {
                if before.states.get(id) != Some(state)
                    && let Some(title) = titles.get(id)
                {
                    live.event(format!("{:<18} {title}", state.tag()));
                }
            }
            before = view.clone();
            if sender.send(view).is_err() {
                return;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn look(client: &Client, live: &Live, due: &Mutex<Due>) -> Result<View> {
    let states = database::states(client).await?;
    let proven = database::proven(client).await?;
    let waits = database::waits(client).await?;
    due.lock().unwrap_or_else(PoisonError::into_inner).extend(waits);
    let depth = database::depth(client).await.context("count what is waiting")?;
    let of = |tags: &[State]| states.values().filter(|s| tags.contains(s)).count();
    live.status(format!(
        "voting {}  executing {}  applied {}  other {}  | low {}  waiting {}  active {}",
        of(&[State::Pending, State::SentForConsensus]),
        of(&[State::ConsensusReached, State::Executing]),
        of(&[State::Applied]),
        of(&[State::ConsensusFailed, State::Failed, State::RolledBack]),
        depth.low,
        depth.waiting,
        depth.active
    ));
    Ok(View { states, proven })
}
