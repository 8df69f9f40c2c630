//! A hundred proposals, what each is, and what must therefore become of it: known before anything runs.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::chance::Chance;
use crate::program::{Files, LIBRARY, MODULES, original};

pub const INSTANCES: usize = 5;
const PER_INSTANCE: usize = 20;

/// What a proposal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nature {
    /// Stays.
    Good,
    /// Wrong in five of forty samples: passes the instance's gate (10 errors more), and breaches Guardian's limit (0.10).
    Bad,
    /// Wrong in fifteen: the instance's own gate takes it back.
    Broken,
    /// Every voter is sure that it must not be.
    Hopeless,
}

impl Nature {
    /// The states that it must go through, in order.
    pub const fn way(self) -> &'static [&'static str] {
        match self {
            Self::Good => &["pending", "sent_for_consensus", "consensus_reached", "executing", "applied"],
            Self::Bad => &["pending", "sent_for_consensus", "consensus_reached", "executing", "applied", "rolled_back"],
            Self::Broken => &["pending", "sent_for_consensus", "consensus_reached", "executing", "failed"],
            Self::Hopeless => &["pending", "sent_for_consensus", "consensus_failed"],
        }
    }
}

/// One proposal.
#[derive(Debug, Clone)]
pub struct Planned {
    pub id: Uuid,
    pub instance: usize,
    pub nature: Nature,
    /// Path without extension: what it conflicts on.
    pub target: String,
    file: String,
    content: String,
    /// Expected benefit: the higher is sent first among those of one target, submitted at once.
    impact: usize,
}

/// Those that are submitted in one transaction: rivals for one target, or one alone.
pub type Group = Vec<Planned>;

/// The name of an instance.
pub fn name(instance: usize) -> String {
    format!("singularity_{}", instance + 1)
}

/// A hundred proposals, in groups.
pub fn write(chance: &mut Chance) -> Vec<Group> {
    let mut groups = Vec::new();
    for instance in 0..INSTANCES {
        let mut modules = MODULES;
        chance.shuffle(&mut modules);
        // Rivals for a module, among them one that is rolled back while the others wait.
        groups.push(group(chance, instance, modules[0], &[Nature::Good, Nature::Bad, Nature::Good]));
        groups.push(group(chance, instance, LIBRARY, &[Nature::Broken, Nature::Good]));
        groups.push(group(chance, instance, modules[1], &[Nature::Hopeless, Nature::Good]));
        for (target, nature) in [
            (modules[2], Nature::Bad),
            (modules[3], Nature::Bad),
            (modules[4], Nature::Hopeless),
            (modules[5], Nature::Good),
            (modules[6], Nature::Good),
            (modules[7], Nature::Good),
        ] {
            groups.push(group(chance, instance, target, &[nature]));
        }
        let rest = PER_INSTANCE - 13;
        for n in 0..rest {
            groups.push(group(chance, instance, &format!("docs/{instance}/{n}"), &[Nature::Good]));
        }
    }
    chance.shuffle(&mut groups);
    groups
}

fn group(chance: &mut Chance, instance: usize, target: &str, natures: &[Nature]) -> Group {
    let mut impacts: Vec<usize> = (1..=10).collect();
    chance.shuffle(&mut impacts);
    let file = format!("{target}.{}", if target.starts_with("docs/") { "md" } else { "sh" });
    let base = original().remove(&file).map(|bytes| String::from_utf8(bytes).unwrap()).unwrap_or_default();
    let planned = |(nature, impact): (&Nature, &usize)| {
        let word: String = (0..12).map(|_| char::from(b'a' + u8::try_from(chance.within(0..26)).unwrap())).collect();
        let content = match nature {
            Nature::Good | Nature::Hopeless => format!("{base}# {word}, said {}\n", name(instance)),
            Nature::Bad => format!("while read -r line; do echo {word}; done\n"),
            Nature::Broken => format!("# {word}: nothing is left of it\n"),
        };
        Planned {
            id: Uuid::now_v7(),
            instance,
            nature: *nature,
            target: target.to_owned(),
            file: file.clone(),
            content,
            impact: *impact,
        }
    };
    natures.iter().zip(&impacts).map(planned).collect()
}

impl Planned {
    /// The line that `evolution submit` reads.
    pub fn line(&self) -> Value {
        let (risk, success) = if self.nature == Nature::Hopeless { (10.0, 0.0) } else { (1.0, 0.95) };
        // What fails counts against its agent in later votes: each of these has one of its own.
        let agent = match self.nature {
            Nature::Good => "BugFixerAgent".to_owned(),
            nature => format!("{nature:?}{}Agent", self.id.simple()),
        };
        json!({
            "proposal_id": self.id,
            "agent_type": agent,
            "code_change": { "type": "bug_fix", "file": self.file, "content": self.content },
            "impact_score": self.impact, "risk_score": risk,
            // However like a proven one it may be, what is hopeless is voted on.
            "safety_profile": {
                "success_rate": success, "cost_factor": 2.0, "force_consensus": self.nature == Nature::Hopeless },
        })
    }
}

/// The program of an instance in the end: what is applied to a target, the best score first, the last one stands.
pub fn expected_files(groups: &[Group], instance: usize) -> Files {
    let mut files = original();
    for group in groups.iter().filter(|g| g[0].instance == instance) {
        let last = group.iter().filter(|p| p.nature == Nature::Good).min_by_key(|p| p.impact);
        if let Some(last) = last {
            files.insert(last.file.clone(), last.content.clone().into_bytes());
        }
    }
    files
}
