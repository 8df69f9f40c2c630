//! Code and descriptions as comparable text: white space, key order and (for patterns) identifiers evened out.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::change::content;
use crate::json::Object;

/// Keys whose strings are code, where names are an accident of the place it was found in.
const CODE_KEYS: [&str; 12] = [
    "before",
    "after",
    "code",
    "content",
    "new_code",
    "fixed_code",
    "improved_code",
    "refactored_code",
    "snippet",
    "template",
    "example",
    "old_code",
];

/// Words that carry meaning in code and are therefore no identifiers.
const KEYWORDS: &str = " and as async await begin bool break case catch class const continue def default defmodule \
 defp do elif else elsif end enum except export extends extern false final finally float fn for from func function \
 go goto if impl import in int interface is lambda let loop match mod module move mut new nil none not null or \
 package pass private protected pub public raise receive ref rescue return self static str string struct super \
 switch then this throw trait true try type typeof unless unsafe until use using var void when where while with \
 yield ";

/// Splits text into words (letters, digits, `_`) and single other characters; white space only separates.
pub fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        if !word.is_empty() {
            found.push(std::mem::take(&mut word));
        }
        if !c.is_whitespace() {
            found.push(c.to_string());
        }
    }
    if !word.is_empty() {
        found.push(word);
    }
    found
}

/// Tokens of a code pattern: keys sorted, prose in lower case, identifiers of code numbered by first appearance.
pub fn pattern_tokens(pattern: &Object) -> Vec<String> {
    let mut walk = Walk { out: Vec::new(), names: BTreeMap::new() };
    walk.object(pattern);
    walk.out
}

/// Tokens of a change for comparison with other changes: what it writes, names included, or all of it.
pub fn change_tokens(change: &Object) -> Vec<String> {
    let written = content(change).or_else(|| change.get("after").and_then(Value::as_str).map(str::to_owned));
    written.map_or_else(|| pattern_tokens(change), |code| tokens(&code))
}

/// A stable 128-bit name of a token list, in hex: equal lists, equal names, on every machine and version.
pub fn fingerprint(tokens: &[String]) -> String {
    // 0xff occurs in no UTF-8 text, so it cannot be confused with a token's end.
    fnv1a(tokens.iter().flat_map(|t| t.bytes().chain(std::iter::once(0xff))))
}

/// The same kind of name, of raw content.
pub fn fingerprint_bytes(content: &[u8]) -> String {
    fnv1a(content.iter().copied())
}

/// FNV-1a, 128 bits. It tells contents apart, it does not resist someone who wants two to look the same; nothing
/// here depends on that.
fn fnv1a(bytes: impl Iterator<Item = u8>) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = bytes.fold(OFFSET, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}

struct Walk {
    out: Vec<String>,
    names: BTreeMap<String, usize>,
}

impl Walk {
    fn object(&mut self, object: &Object) {
        let mut keys: Vec<&String> = object.keys().collect();
        keys.sort();
        for key in keys {
            self.out.push(key.to_lowercase());
            if let Some(value) = object.get(key) {
                self.value(value, CODE_KEYS.contains(&key.as_str()));
            }
        }
    }

    fn value(&mut self, value: &Value, code: bool) {
        match value {
            Value::Null => {}
            Value::Object(inner) => self.object(inner),
            Value::Array(items) => items.iter().for_each(|item| self.value(item, code)),
            Value::String(text) if code => tokens(text).into_iter().for_each(|t| self.code(t)),
            Value::String(text) => self.out.extend(tokens(&text.to_lowercase())),
            other => self.out.push(other.to_string()),
        }
    }

    fn code(&mut self, token: String) {
        let is_name = token.starts_with(|c: char| c.is_alphabetic() || c == '_');
        if !is_name || KEYWORDS.contains(&format!(" {} ", token.to_lowercase())) {
            self.out.push(token);
            return;
        }
        let next = self.names.len() + 1;
        let number = *self.names.entry(token).or_insert(next);
        self.out.push(format!("v{number}"));
    }
}
