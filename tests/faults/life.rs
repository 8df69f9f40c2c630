//! The life of one family of messages, step by step: the law's rows, and what the processes have of their claims.

use std::collections::{HashMap, HashSet};

use super::{
    law::{Family, Place, Row, Step, Token, waits_for_the_disk},
    replay::{Crash, Moment, Seen},
    traffic::RETRIES,
};

/// A claim as its process has it.
struct Claim {
    n: usize,
    token: Token,
    session: i32,
    attempt: i32,
    run: Option<i64>,
    /// How its own process ended it. (One whose session was rescued does not know.)
    over: Option<Step>,
}

/// A row can be claimed as it is from one moment to another.
struct Claimable {
    n: usize,
    row: Row,
    since: i64,
    until: i64,
}

pub struct Life<'a> {
    keyed: bool,
    crashes: &'a [Crash],
    moments: &'a [Moment<'a>],
    /// Names of sessions.
    instances: &'a HashMap<i32, String>,
    family: Family,
    claims: Vec<Claim>,
    claimable: Vec<Claimable>,
    begun: HashSet<i64>,
    finished: HashSet<i64>,
}

impl<'a> Life<'a> {
    pub fn new(
        keyed: bool,
        crashes: &'a [Crash],
        moments: &'a [Moment<'a>],
        instances: &'a HashMap<i32, String>,
    ) -> Self {
        let family = Family::new(u8::try_from(RETRIES + 1).expect("few"));
        let (claims, claimable, begun, finished) = Default::default();
        Self { keyed, crashes, moments, instances, family, claims, claimable, begun, finished }
    }

    pub fn step(&mut self, (at, n, seen): Moment<'_>) -> Result<(), String> {
        let there = self.family.rows.len();
        match seen {
            Seen::Invoked if n < there => return Err("it was there before".into()),
            Seen::Invoked => return Ok(()),
            Seen::Published { delayed } if n == there => self.family.publish(delayed),
            Seen::Published { .. } => return Err("it is there, or one before it in its key is not".into()),
            _ if n >= there => return Err("it is not there".into()),
            Seen::Acknowledged => {}
            Seen::Claimed { token, session, attempt } => self.claimed(n, token, session, attempt)?,
            Seen::Start { attempt, run, by } => self.start(at, n, attempt, run, by)?,
            Seen::Finish { run } => self.finish(run)?,
            Seen::Ended(step) => self.ended(n, step)?,
        }
        self.note_claimable(at);
        Ok(())
    }

    /// What the law's steps have led to is what the tables say; and each effect is of the run that settled.
    pub fn end(&self, n: usize, status: &str, effects: &[i64]) -> Result<(), String> {
        let place = self.family.rows[n].place;
        let as_told = match status {
            "done" => place == Place::Done,
            "dead" => place == Place::Dead,
            _ => !self.family.rows[n].has_ended(),
        };
        if !as_told {
            return Err(format!("it is {status}, by the law {place:?}"));
        }
        let last = self.claims.iter().rev().find(|claim| claim.n == n).and_then(|claim| claim.run);
        match effects.iter().find(|run| Some(**run) != last) {
            Some(run) => Err(format!("there is an effect of run {run}, whose claim was not the last")),
            None => Ok(()),
        }
    }

    fn law(&mut self, n: usize, step: Step) -> Result<(), String> {
        let row = self.family.rows[n];
        self.family.step(n, step).map_err(|refused| format!("{refused:?}: it is {row:?}"))
    }

    fn claimed(&mut self, n: usize, token: Token, session: i32, attempt: i32) -> Result<(), String> {
        if self.family.rows[n].place == Place::Waiting {
            self.law(n, Step::Due)?;
        }
        if self.claims.iter().any(|claim| claim.token == token && claim.n == n) {
            return Err("its token is that of an earlier claim".into());
        }
        self.law(n, Step::Claim { token, session })?;
        let by_law = self.family.rows[n].attempt;
        if i32::from(by_law) != attempt {
            return Err(format!("by the law it is try {by_law}"));
        }
        self.claims.push(Claim { n, token, session, attempt, run: None, over: None });
        Ok(())
    }

    /// A claim begins one run at most, and none once its process has given it up.
    fn start(&mut self, at: i64, n: usize, attempt: i32, run: i64, by: &str) -> Result<(), String> {
        if !self.begun.insert(run) {
            return Err("its run had begun".into());
        }
        let forgotten = self.may_be_forgotten(n, attempt) || self.may_have_gone_on(at, n, attempt);
        let instances = self.instances;
        let is = |claim: &&mut Claim| {
            let named = instances.get(&claim.session).is_some_and(|name| name == by);
            named && claim.n == n && claim.attempt == attempt && claim.run.is_none() && claim.over.is_none()
        };
        match self.claims.iter_mut().find(is) {
            Some(claim) => claim.run = Some(run),
            None if forgotten => {}
            None => return Err("nobody had claimed it so".into()),
        }
        Ok(())
    }

    /// Whether there may have been a claim for this try that a crash forgot: hidden steps of the law, there and back.
    fn may_be_forgotten(&self, n: usize, attempt: i32) -> bool {
        let forgets = |crash: &&Crash| crash.behind_since.is_some() || !waits_for_the_disk(self.keyed);
        let crashed = |c: &Claimable| {
            self.crashes.iter().filter(forgets).any(|crash| crash.from <= c.until && c.since <= crash.to)
        };
        let forgotten = |c: &Claimable| {
            let claimed = c.row.step(Step::Claim { token: 0, session: 0 }, self.family.tries_max).ok();
            let tried = claimed.filter(|row| i32::from(row.attempt) == attempt);
            tried.is_some_and(|row| row.step(Step::Forget, self.family.tries_max) == Ok(c.row))
        };
        let mut claimable = self.claimable.iter().filter(|c| c.n == n);
        claimable.any(|c| crashed(c) && forgotten(c))
    }

    /// Whether a primary whose standby was behind may have gone on to this try: with this message, and with those before it in its key.
    fn may_have_gone_on(&self, at: i64, n: usize, attempt: i32) -> bool {
        let lost = |crash: &Crash| crash.behind_since.is_some_and(|since| (since..=crash.to).contains(&at));
        let row = self.family.rows[n];
        let next = i32::from(row.attempt) + i32::from(!matches!(row.place, Place::Active { .. }));
        let tries = next..=i32::from(self.family.tries_max);
        !row.has_ended() && tries.contains(&attempt) && self.crashes.iter().any(lost)
    }

    fn finish(&mut self, run: i64) -> Result<(), String> {
        let done = |claim: &Claim| claim.run == Some(run) && matches!(claim.over, Some(Step::Done(_)));
        if !self.begun.contains(&run) || !self.finished.insert(run) {
            return Err("its run was not under way".into());
        }
        if self.claims.iter().any(done) {
            return Err("it was settled as done before".into());
        }
        Ok(())
    }

    fn ended(&mut self, n: usize, step: Step) -> Result<(), String> {
        let before = self.family.rows[n].place;
        self.law(n, step)?;
        let Place::Active { token, .. } = before else { return Ok(()) };
        let claim = self.claims.iter_mut().find(|claim| claim.n == n && claim.token == token);
        let Some(claim) = claim else { return Err("it was never claimed".into()) };
        claim.over = Some(step).filter(|step| !matches!(step, Step::Rescue(_)));
        if matches!(step, Step::Done(_)) && claim.run.is_none() {
            return Err("it is done, and no run of it had begun".into());
        }
        Ok(())
    }

    /// Rows that can be claimed from now on: until their next claim that is recorded.
    fn note_claimable(&mut self, now: i64) {
        for (n, row) in self.family.rows.iter().enumerate() {
            let row = row.step(Step::Due, self.family.tries_max).unwrap_or(*row);
            let known = self.claimable.iter().any(|c| c.n == n && c.since <= now && now < c.until);
            if row.place == Place::Ready && !known {
                let mut later = self.moments.iter().filter(|(at, m, _)| *m == n && *at >= now);
                let next = later.find(|(_, _, seen)| matches!(seen, Seen::Claimed { .. }));
                let until = next.map_or(i64::MAX, |(at, ..)| *at);
                self.claimable.push(Claimable { n, row, since: now, until });
            }
        }
    }
}
