//! What the doctor says of one check.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Health {
    /// Sound.
    Ok,
    /// Works, but somebody should look.
    Warn,
    /// Messages stand still, or a promise does not hold.
    Fail,
}

/// One check and its verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// What was looked at.
    pub check: String,
    /// How it is.
    pub health: Health,
    /// What was found, and what to do.
    pub detail: String,
}

/// A line for people. Control characters of what others wrote must not steer the terminal.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let health = match self.health {
            Health::Ok => "ok",
            Health::Warn => "warn",
            Health::Fail => "fail",
        };
        let detail: String = self.detail.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        write!(f, "{health:<5} {:<12} {detail}", self.check)
    }
}

/// One.
pub(super) fn finding(check: &str, health: Health, detail: impl Into<String>) -> Finding {
    Finding { check: check.into(), health, detail: detail.into() }
}
