//! The file of proposals: what is proposed, by which instance, when, and how it must end.

use anyhow::{Context, Result, bail};
use pgflow_actors::json::Object;
use pgflow_actors::proposal::State;
use serde_json::Value;
use uuid::Uuid;

/// What the demo does besides submitting the proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scene {
    /// Guardian must catch it, while the backlog is pending.
    Guardian,
    /// Its instance is killed while it is executed.
    Killed,
}

/// One line of the file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Its id; one is made when the line has none.
    pub(crate) id: Uuid,
    /// For people.
    pub(crate) title: String,
    /// Who proposes, from 0.
    pub(crate) instance: usize,
    /// Submitted when everything of the lower stages has come to its end.
    pub(crate) stage: u32,
    /// The state it must end in; `None`: any in which nothing more happens.
    pub(crate) expect: Option<State>,
    /// What else is done.
    pub(crate) scene: Option<Scene>,
    /// The proposal alone, as it is submitted.
    pub(crate) proposal: Object,
}

/// Keys of a line that are for the demo.
const OWN_KEYS: [&str; 5] = ["title", "instance", "stage", "expect", "scene"];

impl Entry {
    fn read(line: &str, number: usize, instances: usize) -> Result<Self> {
        let mut object: Object = serde_json::from_str(line)?;
        let own: Object = OWN_KEYS.iter().filter_map(|key| object.remove_entry(*key)).collect();
        let text = |key: &str| own.get(key).and_then(Value::as_str);
        let id = match object.get("proposal_id").and_then(Value::as_str) {
            Some(id) => Uuid::parse_str(id).context("proposal_id")?,
            None => Uuid::now_v7(),
        };
        object.insert("proposal_id".into(), id.to_string().into());
        let expect = match text("expect") {
            Some(tag) => Some(State::from_tag(tag).with_context(|| format!("expect: there is no state {tag:?}"))?),
            None => None,
        };
        // Other words are for the reader.
        let scene = match text("scene") {
            Some("guardian") => Some(Scene::Guardian),
            Some("killed") => Some(Scene::Killed),
            _ => None,
        };
        let named = own.get("instance").and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        let agent = object.get("agent_type").and_then(Value::as_str).unwrap_or("no agent");
        Ok(Self {
            id,
            title: text("title").unwrap_or(agent).to_owned(),
            // A file for more instances than there are is shared out among those that are.
            instance: named.map_or(number, |n| n.saturating_sub(1)) % instances,
            stage: own.get("stage").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
            expect,
            scene,
            proposal: object,
        })
    }

    /// The line that `evolution submit` reads.
    pub(crate) fn line(&self) -> String {
        Value::Object(self.proposal.clone()).to_string()
    }

    /// The number behind a bundled id, else its first digits.
    pub(crate) fn short_id(&self) -> String {
        short(self.id)
    }
}

/// A proposal's id as the summary shows it.
pub(crate) fn short(id: Uuid) -> String {
    let text = id.simple().to_string();
    match text.strip_prefix("d33000000000400080000000000000") {
        Some(number) => format!("#{number}"),
        None => text.chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect(),
    }
}

/// Reads the file; an error names the line.
pub(crate) fn read(text: &str, instances: usize) -> Result<Vec<Entry>> {
    let mut entries: Vec<Entry> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let entry = Entry::read(line, number, instances).with_context(|| format!("proposals, line {}", number + 1))?;
        if entries.iter().any(|e| e.id == entry.id) {
            bail!("proposals, line {}: proposal {} is there twice", number + 1, entry.id);
        }
        entries.push(entry);
    }
    if entries.is_empty() {
        bail!("the file of proposals is empty");
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::bundle;

    #[test]
    fn the_bundle_holds_every_promised_fate() {
        let entries = read(bundle::PROPOSALS, 3).unwrap();
        let of = |state| entries.iter().filter(|e| e.expect == Some(state)).count();
        assert_eq!(entries.len(), 20);
        assert_eq!(of(State::Applied), 16);
        assert_eq!((of(State::ConsensusFailed), of(State::Failed), of(State::RolledBack)), (2, 1, 1));
        assert_eq!(entries.iter().filter(|e| e.scene.is_some()).count(), 2);
        assert_eq!(entries[19].short_id(), "#20");
    }

    #[test]
    fn own_keys_are_not_submitted_and_instances_wrap() {
        let text = r#"{"agent_type":"A","instance":3,"stage":2,"expect":"failed","title":"t","scene":"killed"}"#;
        let entry = &read(text, 2).unwrap()[0];
        assert_eq!((entry.instance, entry.stage, entry.scene), (0, 2, Some(Scene::Killed)));
        assert_eq!(entry.proposal.len(), 2, "agent_type and the id that was made");
        assert!(entry.line().contains(&entry.id.to_string()));
    }

    #[test]
    fn a_bad_line_is_named() {
        let error = read("{}\n{\"expect\":\"glory\"}", 1).unwrap_err();
        assert!(format!("{error:#}").contains("line 2: expect"), "{error:#}");
        let twice = format!("{0}\n{0}", r#"{"proposal_id":"d3300000-0000-4000-8000-000000000001"}"#);
        assert!(read(&twice, 1).unwrap_err().to_string().contains("twice"));
    }
}
