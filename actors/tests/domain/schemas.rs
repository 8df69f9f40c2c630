//! The schema files say what the structs say, and the golden payloads are what both say.

use std::path::PathBuf;

use pgflow_actors::messages::{
    ConsensusResult, ExecutionMetrics, PatternDiscovered, Payload, ProposalForConsensus, RollbackTrigger,
    SafetyProfileUpdate,
};
use pgflow_actors::schema;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("schemas")
}

/// Fear: a struct changes and the schema that others build on does not. `UPDATE_SCHEMAS=1` writes the files anew.
#[test]
fn the_files_are_made_from_the_structs() {
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    let mut names = Vec::new();
    for (name, schema) in schema::all() {
        let file = folder().join(format!("{name}.json"));
        let text = format!("{}\n", serde_json::to_string_pretty(&schema).unwrap());
        if update {
            std::fs::create_dir_all(folder()).unwrap();
            std::fs::write(&file, &text).unwrap();
        }
        let written = std::fs::read_to_string(&file).unwrap_or_default();
        assert_eq!(written, text, "{}: run the test with UPDATE_SCHEMAS=1", file.display());
        names.push(format!("{name}.json"));
    }
    let mut found: Vec<String> =
        std::fs::read_dir(folder()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    found.sort();
    names.sort();
    assert_eq!(found, names, "no file without a message");
}

/// Every field of `value` is described, and every required one is there.
fn fits<P: Payload>(golden: &str) {
    let schema = schema::of::<P>();
    let value: Value = serde_json::from_str(golden).unwrap();
    let properties = schema["properties"].as_object().unwrap();
    for field in value.as_object().unwrap().keys() {
        assert!(properties.contains_key(field), "{}: {field} is not described", P::TYPE);
    }
    let required: Vec<&str> = schema["required"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    assert!(required.contains(&"type"));
    for field in P::REQUIRED {
        assert!(required.contains(field), "{}: {field} is required", P::TYPE);
    }
    assert_eq!(required.len(), P::REQUIRED.len() + 1, "{}: {required:?}", P::TYPE);
    assert_eq!(properties["type"]["const"], P::TYPE);
}

/// Fear: a schema asks for less than the receiver, or knows fewer fields than the documented payload has.
#[test]
fn the_documented_payloads_fit() {
    fits::<ProposalForConsensus>(include_str!("../golden/proposal_for_consensus.json"));
    fits::<ConsensusResult>(include_str!("../golden/consensus_result.json"));
    fits::<ExecutionMetrics>(include_str!("../golden/execution_metrics.json"));
    fits::<PatternDiscovered>(include_str!("../golden/pattern_discovered.json"));
    fits::<RollbackTrigger>(include_str!("../golden/rollback_trigger.json"));
    fits::<SafetyProfileUpdate>(include_str!("../golden/safety_profile_update.json"));
}
