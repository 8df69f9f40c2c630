//! The evolution system: many instances propose changes to their own code, central decides, watches and learns.
//!
//! ```text
//! words      invalid · json · metrics · profile · agents · strategy
//! messages   messages/ · schema  (the six of the seed, votes, and those a role sends itself)
//! decisions  score · consensus · voting · gate · intake · voter · change · text · similarity · thresholds · breach · blame · batch
//!            · patterns · learning · proposal          (pure: time, votes and rows are passed in)
//! effects    workspace · git · before_image · executor · check        (files and processes of one instance)
//! storage    store/ · alerts                                    (one statement, one file in sql/queries, one function)
//! traffic    wire · transport · direct/ · producers/ · runs · consumers/
//!                                                       (one file a message; state and messages in one transaction)
//! roles      hooks · settings/ · submit · queue · manual · central · instance · resume · single
//! ```
//!
//! One proposal's way, with the message that carries each step:
//!
//! ```text
//! submit → pending —send_proposals→ sent_for_consensus —proposal_for_consensus→ central: intake
//!   —voting_request→ every instance —consensus_vote→ central: decide (or —consensus_deadline→ expire)
//!   —consensus_result→ consensus_reached —execute_proposal→ executing → applied —execution_metrics→ central: Guardian
//!   —observe_change→ measured again and again → kept —pattern_discovered→ central: learning
//!   or, at a breach, —rollback_trigger→ rolled_back
//! ```
//!
//! Invariants:
//! 1. A decision is a function of its arguments: no clock, no chance, no state.
//! 2. No vote approves with less than two thirds in favour, unless risk tiers were switched on.
//! 3. A profile from outside can only tighten a limit.
//! 4. A change is written only after what it replaces is safe on disk; taking it back restores every byte.
//! 5. A message that fails validation is never retried, and is refused before publishing too.
//! 6. A state changes by compare-and-set, in the transaction that publishes what follows from it and settles what caused it.
//! 7. Nothing waits in memory: timers are delayed messages, so that any process may be killed at any point. Where messages are
//!    carried in memory (`transport`), a start finds from the database what was to follow (`resume`).
//! 8. At most one rollback a change, and one open change a target.

mod tag;

pub mod agents;
pub mod alerts;
pub mod batch;
pub mod before_image;
pub mod blame;
pub mod breach;
pub mod central;
pub mod change;
pub mod check;
pub mod consensus;
mod consumers;
mod direct;
pub mod events;
pub mod executor;
pub mod gate;
mod git;
pub mod hooks;
pub mod instance;
pub mod intake;
pub mod invalid;
pub mod json;
pub mod learning;
pub mod locate;
pub mod manual;
pub mod messages;
pub mod metrics;
pub mod patterns;
pub mod producers;
pub mod profile;
pub mod proposal;
pub mod queue;
mod resume;
pub mod runs;
pub mod schema;
pub mod score;
pub mod settings;
pub mod similarity;
pub mod single;
pub mod store;
pub mod strategy;
pub mod submit;
pub mod text;
pub mod thresholds;
pub mod transport;
pub mod voter;
pub mod voting;
pub mod wire;
pub mod workspace;
