use pgflow_actors::consensus::{self, Clock, ConsensusSettings, Decision, Rule, Status, decide};
use pgflow_actors::gate::AdaptiveGate;
use pgflow_actors::intake::{Intake, route};
use pgflow_actors::messages::{Verdict, Vote};
use pgflow_actors::profile::Profile;
use pgflow_actors::voter::{Question, Record, RecordVoter, Voter};
use pgflow_actors::voting::{CastVote, Refusal, admit, confidence_of};
use proptest::prelude::*;
use time::Duration;

use crate::support::{ballot, ballots, close, noon};

fn open() -> Clock {
    Clock { now: noon(), deadline: noon() + Duration::seconds(30) }
}

fn over() -> Clock {
    Clock { now: noon() + Duration::seconds(30), deadline: noon() + Duration::seconds(30) }
}

fn two_thirds(votes: &[CastVote], clock: Clock) -> Decision {
    decide(votes, Rule::TwoThirds, clock, &ConsensusSettings::default())
}

fn status(signed: &[f64]) -> Status {
    two_thirds(&ballots(signed), open()).status
}

#[test]
fn published_cases() {
    assert_eq!(status(&[0.92, 0.88, 0.90, -0.60]), Status::Voting, "75 % in favour, mean only 0.825");
    assert_eq!(status(&[0.95, 0.90, 0.85]), Status::Approved);
    assert_eq!(status(&[0.95, 0.90, -0.92]), Status::Rejected, "veto");
    assert_eq!(status(&[0.95, 0.88, -0.92]), Status::Rejected, "veto");
    let approved = two_thirds(&ballots(&[0.95, 0.90, 0.85]), open());
    assert!(close(approved.confidence, 0.90));
}

#[test]
fn rules_in_order() {
    assert_eq!(status(&[0.95, 0.95]), Status::Voting, "fewer than three");
    assert_eq!(status(&[-0.99, 0.95]), Status::Voting, "no veto before three votes either");
    assert_eq!(status(&[0.90, 0.90, -0.90]), Status::Approved, "0.90 is not above 0.90; two of three suffice");
    assert_eq!(status(&[-0.90, -0.90, 0.90]), Status::Rejected, "majority against");
    assert_eq!(status(&[-0.80, -0.80, 0.80]), Status::Voting, "majority against, but unsure");
    assert_eq!(status(&[0.90, 0.90, -0.90, -0.90]), Status::Voting, "half");
    assert_eq!(status(&[0.85, 0.85, 0.85]), Status::Approved, "exactly the gate");
    assert_eq!(status(&[]), Status::Voting);
}

#[test]
fn rationales() {
    let say = |signed: &[f64], clock| two_thirds(&ballots(signed), clock).rationale;
    assert_eq!(say(&[0.95, 0.90, 0.85], open()), "approved 3/3, mean 0.90");
    assert_eq!(say(&[0.95, 0.90, -0.92], open()), "veto by s3 (0.92)");
    assert_eq!(say(&[0.95, 0.90], over()), "timeout: 2 of 3 votes");
    assert_eq!(say(&[-0.90, -0.90, 0.90], open()), "rejected 2/3, mean 0.90");
}

#[test]
fn at_the_deadline() {
    let at_end = |signed: &[f64]| two_thirds(&ballots(signed), over());
    assert_eq!(at_end(&[0.95, 0.90, 0.85]).status, Status::Approved);
    assert_eq!(at_end(&[0.95, 0.90]).status, Status::Expired);
    assert_eq!(at_end(&[]).status, Status::Expired);
    assert_eq!(at_end(&[0.92, 0.88, 0.90, -0.60]).status, Status::Expired);
    assert_eq!(Status::Expired.on_wire(), Some(Verdict::Rejected));
    assert_eq!(Status::Voting.on_wire(), None);
    assert_eq!(Status::AutoApproved.on_wire(), Some(Verdict::Approved));
}

#[test]
fn a_small_deployment_lowers_the_minimum_by_setting() {
    let alone = ConsensusSettings::single_instance();
    let decision = decide(&ballots(&[0.93]), Rule::TwoThirds, open(), &alone);
    assert_eq!((decision.status, decision.rationale.as_str()), (Status::Approved, "approved 1/1, mean 0.93"));
    let none = ConsensusSettings { min_votes: 0, ..alone };
    assert_eq!(decide(&[], Rule::TwoThirds, over(), &none).status, Status::Expired, "nobody never approves");
}

#[test]
fn only_the_first_vote_of_an_instance_counts() {
    let votes = [ballot("a", Vote::Approve, 0.95), ballot("a", Vote::Approve, 0.95), ballot("a", Vote::Approve, 0.95)];
    assert_eq!(two_thirds(&votes, open()).status, Status::Voting);
    assert_eq!(admit(&votes[..1], &votes[1], false), Err(Refusal::DuplicateVote));
    assert_eq!(admit(&votes[..1], &ballot("b", Vote::Reject, 0.5), false), Ok(()));
    assert_eq!(admit(&[], &votes[0], true), Err(Refusal::AlreadyDecided));
    assert_eq!(consensus::ballots(&votes).len(), 1);
}

#[test]
fn a_missing_confidence_is_guessed_but_never_a_veto() {
    assert_eq!(confidence_of(Some(0.99), "x"), 0.99);
    assert_eq!(confidence_of(None, &"x".repeat(50)), 0.75);
    assert_eq!(confidence_of(None, &"x".repeat(51)), 0.85);
    assert_eq!(confidence_of(None, &"x".repeat(101)), 0.90, "capped, so that a long reject does not veto");
}

#[test]
fn intake_by_similarity() {
    let off = ConsensusSettings::default();
    let way = |similarity| route(similarity, 3.0, &[], &off);
    assert_eq!(way(0.90), Intake::AutoApprove);
    assert_eq!(way(0.89), Intake::Vote { rule: Rule::TwoThirds, unfamiliar: false });
    assert_eq!(way(0.75), Intake::Vote { rule: Rule::TwoThirds, unfamiliar: false });
    assert_eq!(way(0.74), Intake::Vote { rule: Rule::TwoThirds, unfamiliar: true });
    assert_eq!(way(f64::NAN), Intake::Vote { rule: Rule::TwoThirds, unfamiliar: true });
}

/// Fear: what is very risky, or an agent type whose changes need consensus, is approved by likeness.
#[test]
fn risk_and_every_profile_can_insist_on_a_vote() {
    let off = ConsensusSettings::default();
    let asked = |risk, profiles: &[Profile]| matches!(route(1.0, risk, profiles, &off), Intake::Vote { .. });
    assert!(asked(8.1, &[]), "no instance would execute it without a vote");
    assert!(!asked(8.0, &[]));
    let says = |needs| Profile { needs_consensus: Some(needs), ..Profile::default() };
    assert!(asked(1.0, &[Profile::default(), says(true)]), "of its agent type");
    assert!(asked(1.0, &[says(true), says(false)]), "none loosens another");
    assert!(!asked(1.0, &[says(false)]));
}

#[test]
fn intake_by_risk_when_switched_on() {
    let on = ConsensusSettings { risk_tiers: true, ..ConsensusSettings::default() };
    let way = |similarity, risk| route(similarity, risk, &[], &on);
    assert_eq!(way(0.80, 8.1), Intake::Vote { rule: Rule::TwoThirds, unfamiliar: false });
    assert_eq!(way(0.80, 8.0), Intake::Vote { rule: Rule::SimpleMajority, unfamiliar: false });
    assert_eq!(way(0.80, 5.0), Intake::Vote { rule: Rule::SimpleMajority, unfamiliar: false });
    assert_eq!(way(0.80, 4.9), Intake::AutoApprove);
    assert_eq!(way(0.10, 4.9), Intake::Vote { rule: Rule::SimpleMajority, unfamiliar: true });
    let half = ballots(&[0.9, 0.9, -0.9, -0.9, 0.9]);
    assert_eq!(decide(&half, Rule::SimpleMajority, open(), &on).status, Status::Approved);
    assert_eq!(decide(&half, Rule::TwoThirds, open(), &on).status, Status::Voting);
}

#[test]
fn the_gate_adapts() {
    let mut gate = AdaptiveGate::default();
    let mut window = |successes: u32| {
        (0..10).for_each(|i| gate.record(i < successes));
        (format!("{:.2}", gate.confidence()), gate.converged())
    };
    assert_eq!(window(7), ("0.91".into(), false), "0.20 below the target: 0.06 up");
    assert_eq!(window(8), ("0.94".into(), false), "0.10 below: 0.03 up");
    assert_eq!(window(5), ("0.95".into(), false), "never above 0.95");
    assert_eq!(window(9), ("0.95".into(), true));
    assert_eq!(window(10), ("0.92".into(), false), "0.10 above: 0.03 down");
    let mut gate = AdaptiveGate::default();
    (0..9).for_each(|_| gate.record(false));
    assert!(close(gate.confidence(), 0.85), "needs ten outcomes");
    (0..200).for_each(|_| gate.record(true));
    assert!(gate.confidence() >= 0.75);
}

fn question() -> Question {
    Question {
        agent_type: "BugFixerAgent".into(),
        risk_score: 1.0,
        success_rate: Some(0.95),
        record: Record::default(),
        trusted_pattern: false,
    }
}

#[test]
fn the_default_voter_approves_the_seeds_example_with_093() {
    let opinion = RecordVoter.opinion(&question());
    assert_eq!(opinion.vote, Vote::Approve);
    assert!(close(opinion.confidence, 0.93));
    assert!(opinion.reason.contains("0.95") && opinion.reason.contains("risk 1.0"), "{}", opinion.reason);
    let three: Vec<CastVote> = ["s1", "s2", "s3"].map(|s| ballot(s, opinion.vote, opinion.confidence)).into();
    let decision = two_thirds(&three, open());
    assert_eq!((decision.status, decision.rationale.as_str()), (Status::Approved, "approved 3/3, mean 0.93"));
}

#[test]
fn the_default_voter_weighs_its_record_and_trust() {
    let trusted = RecordVoter.opinion(&Question { trusted_pattern: true, ..question() });
    assert!(close(trusted.confidence, 0.98));
    let best = Question { trusted_pattern: true, success_rate: Some(1.0), risk_score: 0.0, ..question() };
    assert!(close(RecordVoter.opinion(&best).confidence, 1.0));
    let burnt = Question { record: Record { applied: 0, failed: 5, rolled_back: 25 }, risk_score: 9.0, ..question() };
    let opinion = RecordVoter.opinion(&burnt);
    assert_eq!(opinion.vote, Vote::Reject);
    assert!(close(opinion.confidence, 1.0 - 0.183), "{opinion:?}");
    assert!(opinion.reason.len() >= 10);
}

fn any_votes() -> impl Strategy<Value = Vec<CastVote>> {
    prop::collection::vec((any::<bool>(), 0.0..=1.0_f64), 0..9).prop_map(|votes| {
        let cast = |(i, (yes, confidence)): (usize, (bool, f64))| {
            ballot(&format!("s{i}"), if yes { Vote::Approve } else { Vote::Reject }, confidence)
        };
        votes.into_iter().enumerate().map(cast).collect()
    })
}

/// Mostly confident votes, so that approvals and rejections are common.
fn sure_votes() -> impl Strategy<Value = Vec<CastVote>> {
    prop::collection::vec((prop::bool::weighted(0.8), 0.8..=1.0_f64), 3..9).prop_map(|votes| {
        let cast = |(i, (yes, confidence)): (usize, (bool, f64))| {
            ballot(&format!("s{i}"), if yes { Vote::Approve } else { Vote::Reject }, confidence)
        };
        votes.into_iter().enumerate().map(cast).collect()
    })
}

proptest! {
    #[test]
    fn never_approved_below_two_thirds(votes in prop_oneof![any_votes(), sure_votes()], expired: bool) {
        let decision = two_thirds(&votes, if expired { over() } else { open() });
        let approve = votes.iter().filter(|v| v.vote == Vote::Approve).count();
        if decision.status == Status::Approved {
            prop_assert!(votes.len() >= 3 && 3 * approve >= 2 * votes.len());
            prop_assert!(decision.confidence >= 0.85);
        }
        prop_assert!((0.0..=1.0).contains(&decision.confidence));
        prop_assert!(!expired || decision.status != Status::Voting, "the deadline decides");
    }

    #[test]
    fn a_veto_always_rejects(mut votes in sure_votes(), at in any::<prop::sample::Index>(), c in 0.901..=1.0_f64) {
        let at = at.index(votes.len());
        votes[at].vote = Vote::Reject;
        votes[at].confidence = c;
        prop_assert_eq!(two_thirds(&votes, open()).status, Status::Rejected);
        prop_assert_eq!(two_thirds(&votes, over()).status, Status::Rejected);
    }

    #[test]
    fn more_and_surer_approval_never_loses_an_approval(
        mut votes in sure_votes(), at in any::<prop::sample::Index>(), raise in 0.0..=0.2_f64,
    ) {
        prop_assume!(two_thirds(&votes, open()).status == Status::Approved);
        let mut more = votes.clone();
        more.push(ballot("new", Vote::Approve, 0.85));
        prop_assert_eq!(two_thirds(&more, open()).status, Status::Approved);
        let at = at.index(votes.len());
        if votes[at].vote == Vote::Approve {
            votes[at].confidence = (votes[at].confidence + raise).min(1.0);
            prop_assert_eq!(two_thirds(&votes, open()).status, Status::Approved);
        }
    }

    #[test]
    fn the_order_of_arrival_does_not_matter(votes in sure_votes(), turn in any::<prop::sample::Index>()) {
        let mut turned = votes.clone();
        turned.rotate_left(turn.index(votes.len()));
        prop_assert_eq!(two_thirds(&votes, open()), two_thirds(&turned, open()));
    }

    #[test]
    fn a_decision_stands_when_time_passes(votes in sure_votes()) {
        let early = two_thirds(&votes, open());
        prop_assume!(early.status != Status::Voting);
        prop_assert_eq!(early, two_thirds(&votes, over()));
    }

    #[test]
    fn an_opinion_is_a_valid_vote(
        risk in prop::num::f64::NORMAL, claim in prop::option::of(prop::num::f64::NORMAL),
        applied in 0..u32::MAX, failed in 0..u32::MAX, rolled_back in 0..u32::MAX, trusted_pattern: bool,
    ) {
        let record = Record { applied, failed, rolled_back };
        let q = Question { agent_type: "A".into(), risk_score: risk, success_rate: claim, record, trusted_pattern };
        let opinion = RecordVoter.opinion(&q);
        prop_assert!((0.5..=1.0).contains(&opinion.confidence), "{opinion:?}");
        prop_assert!(opinion.reason.chars().count() >= 10);
        prop_assert_eq!(&opinion, &RecordVoter.opinion(&q));
    }
}
