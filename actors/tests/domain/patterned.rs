use std::collections::BTreeMap;

use pgflow_actors::patterns::{ConsensusQuery, Pattern, consensus_patterns, matching, record, suggestions};
use pgflow_actors::similarity::{SHINGLE_TOKENS, ShingleCosine, Similarity};
use pgflow_actors::text::{change_tokens, fingerprint, pattern_tokens, tokens};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{close, hours, object, report};

fn extract() -> Value {
    json!({"name": "extract function", "description": "split a long body",
           "before": "fn f() { a(x); b(x); }", "after": "fn f() { g(x); }"})
}

#[test]
fn white_space_key_order_and_identifiers_do_not_matter() {
    let same = json!({"after": "fn  other()  {\n  helper(y); }", "before": "fn other(){first(y);second(y);}",
                      "description": "Split  a long BODY", "name": "Extract function"});
    assert_eq!(pattern_tokens(&object(extract())), pattern_tokens(&object(same)));
    let keyword = json!({"after": "fn g() { while x {} }"});
    let other = json!({"after": "fn g() { if x {} }"});
    assert_ne!(pattern_tokens(&object(keyword)), pattern_tokens(&object(other)), "keywords do matter");
    let calls = |code: &str| pattern_tokens(&object(json!({ "after": code })));
    assert_ne!(calls("f(x, x)"), calls("f(x, y)"), "so does which names are the same");
}

#[test]
fn changes_are_compared_with_their_names() {
    let change = |code: &str| change_tokens(&object(json!({"type": "bug_fix", "fixed_code": code})));
    assert_ne!(change("rate(net)"), change("rate(gross)"));
    assert_eq!(change("rate(net)"), change_tokens(&object(json!({"description": "x", "after": "rate( net )"}))));
}

#[test]
fn fingerprints_are_stable() {
    let of = |text: &str| fingerprint(&tokens(text));
    assert_eq!(of(""), "6c62272e07bb014262b821756295c58d", "FNV-1a, 128 bits");
    assert_ne!(fingerprint(&["ab".into(), "c".into()]), fingerprint(&["a".into(), "bc".into()]));
}

#[test]
fn shingle_cosine() {
    let cos = |a: &str, b: &str| ShingleCosine.between(&tokens(a), &tokens(b));
    assert!(close(cos("a b c d e", "a b c d e"), 1.0));
    assert!(close(cos("a b c d e", "v w x y z"), 0.0));
    assert!(close(cos("a b c d e", "a b c d f"), 0.5), "one of two shingles");
    assert!(close(cos("a b", "a b"), 1.0), "shorter than a shingle");
    assert!(close(cos("", ""), 0.0), "nothing is like nothing");
    assert!(cos("if a < b { return a ; }", "if a <= b { return a ; }") < 0.75);
}

#[test]
fn worked_scores() {
    let mut known = Vec::new();
    for instance in ["s1", "s2"] {
        record(&mut known, &report(instance, 0.97, extract()), &ShingleCosine);
    }
    assert_eq!(known.len(), 1);
    assert_eq!(format!("{:.3}", known[0].consensus_score()), "0.647");
    record(&mut known, &report("s3", 0.97, extract()), &ShingleCosine);
    assert!(close(known[0].consensus_score(), 0.97));
    assert_eq!(known[0].instances(), 3);
    record(&mut known, &report("s4", 0.97, extract()), &ShingleCosine);
    assert!(close(known[0].consensus_score(), 0.97), "more than three add nothing");
}

#[test]
fn near_patterns_of_the_same_type_merge_and_others_do_not() {
    let long = |word: &str| {
        let words = (0..60).map(|i| format!("step{i}")).collect::<Vec<_>>().join(" ");
        json!({"description": format!("{words} {word}")})
    };
    let mut known = vec![Pattern::first(&report("s1", 0.9, long("alpha")))];
    let (index, likeness) = matching(&known, &report("s2", 0.9, long("beta")), &ShingleCosine).unwrap();
    assert!(index == 0 && (0.90..1.0).contains(&likeness), "{likeness}");
    let mut other_type = report("s2", 0.9, long("alpha"));
    other_type.pattern_type = "bug_fix".into();
    assert_eq!(matching(&known, &other_type, &ShingleCosine), None);
    assert_eq!(record(&mut known, &report("s3", 0.9, json!({"description": "quite different"})), &ShingleCosine), 1);
}

#[test]
fn usage_is_counted_per_report_and_instance() {
    let mut pattern = Pattern::first(&report("s1", 1.0, extract()));
    pattern.merge(&report("s1", 0.5, extract()), 1.0);
    pattern.merge(&report("s2", 0.6, extract()), 0.94);
    assert_eq!((pattern.usage_count(), pattern.instances()), (3, 2));
    assert_eq!(pattern.usage["s1"].usage_count, 2);
    assert!(close(pattern.usage["s1"].success_rate, 0.75));
    assert!(close(pattern.success_rate, 0.7));
    assert!(close(pattern.mean_similarity, 0.98));
}

fn used(instances: usize, each: usize, success: f64) -> Pattern {
    let mut pattern = Pattern::first(&report("s0", success, extract()));
    for n in 1..instances * each {
        pattern.merge(&report(&format!("s{}", n % instances), success, extract()), 1.0);
    }
    pattern
}

#[test]
fn promotion() {
    assert!(used(4, 25, 0.95).is_promotable(), "a hundred uses by four instances");
    assert!(!used(3, 33, 0.99).is_promotable(), "99 uses");
    assert!(!used(2, 50, 1.0).is_promotable(), "two instances");
    assert!(!used(4, 25, 0.94).is_promotable());
    let promoted = Pattern { promoted: true, ..used(4, 25, 0.99) };
    assert!(!promoted.is_promotable(), "once only");
}

#[test]
fn consensus_queries() {
    let known = [used(3, 1, 0.96), used(3, 1, 0.99), used(2, 1, 1.0), used(3, 1, 0.94)];
    let best: Vec<f64> = consensus_patterns(&known, ConsensusQuery::default()).iter().map(|p| p.success_rate).collect();
    assert_eq!(best.len(), 2);
    assert!(close(best[0], 0.99) && close(best[1], 0.96));
    let one = ConsensusQuery { limit: 1, threshold: 0.5, min_instances: 2 };
    assert_eq!(consensus_patterns(&known, one).len(), 1);
}

#[test]
fn suggested_patterns_are_alike_and_successful() {
    let poor = Pattern { success_rate: 0.79, ..used(3, 1, 0.9) };
    let good = used(3, 1, 0.80);
    let known: Vec<Pattern> = std::iter::once(poor).chain(std::iter::repeat_n(good, 7)).collect();
    let found = suggestions(&known, &object(extract()), &ShingleCosine);
    assert_eq!(found.len(), 5, "five at most");
    assert!(found.iter().all(|(p, likeness)| p.success_rate >= 0.80 && *likeness > 0.75));
    assert!(suggestions(&known, &object(json!({"description": "no such thing"})), &ShingleCosine).is_empty());
}

#[test]
fn a_pattern_survives_storage() {
    let pattern = used(3, 2, 0.9);
    let text = serde_json::to_string(&pattern).unwrap();
    assert_eq!(serde_json::from_str::<Pattern>(&text).unwrap(), pattern);
}

proptest! {
    #[test]
    fn merging_keeps_means_in_range_and_unites_sources(
        reports in prop::collection::vec((0..5_u8, 0.0..=1.0_f64, 0.9..=1.0_f64, 0..50_i64), 1..40),
    ) {
        let made = |&(who, rate, _, hour): &(u8, f64, f64, i64)| {
            let mut r = report(&format!("s{who}"), rate, extract());
            r.timestamp += hours(hour);
            r
        };
        let mut pattern = Pattern::first(&made(&reports[0]));
        for each in &reports[1..] {
            pattern.merge(&made(each), each.2);
        }
        let rates: Vec<f64> = reports.iter().map(|r| r.1).collect();
        let (low, high) = (rates.iter().copied().fold(1.0, f64::min), rates.iter().copied().fold(0.0, f64::max));
        prop_assert!(pattern.success_rate >= low - 1e-9 && pattern.success_rate <= high + 1e-9);
        prop_assert!((pattern.success_rate - rates.iter().sum::<f64>() / rates.len() as f64).abs() < 1e-9);
        let mut sources: Vec<u8> = reports.iter().map(|r| r.0).collect();
        sources.sort_unstable();
        sources.dedup();
        prop_assert_eq!(pattern.instances(), sources.len());
        prop_assert_eq!(pattern.usage_count(), reports.len() as u64);
        prop_assert!((0.0..=1.0 + 1e-9).contains(&pattern.consensus_score()));
        prop_assert_eq!(pattern.updated_at, reports.iter().map(|r| made(r).timestamp).max().unwrap());
    }

    /// Fear: what is made ready for many comparisons is compared otherwise than documented.
    #[test]
    fn likeness_is_the_cosine_of_the_counts(a in "([a-c] ){0,20}", b in "([a-c] ){0,20}") {
        let (a, b) = (tokens(&a), tokens(&b));
        let there = ShingleCosine.between(&a, &b);
        prop_assert!((0.0..=1.0).contains(&there));
        prop_assert!((there - ShingleCosine.between(&b, &a)).abs() < 1e-12);
        let counts = |of: &[String]| {
            let mut counts: BTreeMap<Vec<String>, f64> = BTreeMap::new();
            for shingle in of.windows(SHINGLE_TOKENS.min(of.len()).max(1)) {
                *counts.entry(shingle.to_vec()).or_default() += 1.0;
            }
            counts
        };
        let (of_a, of_b) = (counts(&a), counts(&b));
        let dot = |x: &BTreeMap<Vec<String>, f64>, y: &BTreeMap<Vec<String>, f64>| -> f64 {
            x.iter().filter_map(|(shingle, n)| Some(n * y.get(shingle)?)).sum()
        };
        let length = (dot(&of_a, &of_a) * dot(&of_b, &of_b)).sqrt();
        let plain = if length > 0.0 { dot(&of_a, &of_b) / length } else { 0.0 };
        prop_assert!((there - plain).abs() < 1e-12, "{} {}", there, plain);
    }
}
