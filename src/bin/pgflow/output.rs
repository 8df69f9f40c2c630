//! Results on stdout: JSON for programs, columns for people.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Value;

use crate::fault::Fault;

/// Longest cell of a column, in characters; JSON shows everything.
const CELL_CHARS_MAX: usize = 60;

/// Where and how results are written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// JSON instead of columns.
    pub(crate) json: bool,
}

impl Output {
    /// A list: one JSON array, or a table of these fields.
    pub(crate) fn list<T: Serialize>(self, rows: &[T], columns: &[&str]) -> Result<(), Fault> {
        if self.json {
            return json_line(&rows);
        }
        let rows: Vec<Value> = rows.iter().map(to_value).collect::<Result<_, _>>()?;
        text(&table(&rows, columns))
    }

    /// One thing: one JSON object, or a field per line.
    pub(crate) fn object<T: Serialize>(self, one: &T) -> Result<(), Fault> {
        if self.json {
            return json_line(one);
        }
        let value = to_value(one)?;
        let Value::Object(fields) = &value else { return text(&format!("{}\n", cell(&value))) };
        let width = fields.keys().map(|k| k.chars().count()).max().unwrap_or(0);
        let line = |(key, value): (&String, &Value)| format!("{key:width$}  {}\n", cell(value));
        text(&fields.iter().map(line).collect::<String>())
    }

    /// What was done: one JSON object, or a sentence.
    pub(crate) fn done<T: Serialize>(self, one: &T, sentence: &str) -> Result<(), Fault> {
        if self.json { json_line(one) } else { text(&format!("{sentence}\n")) }
    }
}

/// One value on a line of its own.
pub(crate) fn json_line<T: Serialize + ?Sized>(value: &T) -> Result<(), Fault> {
    let mut line = serde_json::to_string(value).map_err(|e| Fault::failed(format!("write JSON: {e}")))?;
    line.push('\n');
    text(&line)
}

/// Text as it is, flushed: a reader at the other end of a pipe sees it now.
pub(crate) fn text(text: &str) -> Result<(), Fault> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|e| Fault::stdout(&e))
}

pub(crate) fn to_value<T: Serialize>(one: &T) -> Result<Value, Fault> {
    serde_json::to_value(one).map_err(|e| Fault::failed(format!("write JSON: {e}")))
}

fn table(rows: &[Value], columns: &[&str]) -> String {
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| columns.iter().map(|c| shortened(&cell(row.get(c).unwrap_or(&Value::Null)))).collect())
        .collect();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(i, name)| cells.iter().map(|row| row[i].chars().count()).max().unwrap_or(0).max(name.len()))
        .collect();
    let numeric: Vec<bool> = columns
        .iter()
        .map(|c| !rows.is_empty() && rows.iter().all(|r| r.get(c).is_some_and(Value::is_number)))
        .collect();
    let line = |row: &[String]| {
        let padded =
            row.iter().zip(&widths).zip(&numeric).map(|((text, &width), &right)| {
                if right { format!("{text:>width$}") } else { format!("{text:width$}") }
            });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let head: Vec<String> = columns.iter().map(|c| (*c).to_owned()).collect();
    std::iter::once(line(&head)).chain(cells.iter().map(|row| line(row))).collect()
}

/// A value as a person reads it. Control characters of a payload must not steer the terminal.
pub(crate) fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= CELL_CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns must line up, and a hostile payload must not move the cursor.
    #[test]
    fn a_table_is_aligned_and_harmless() {
        let rows = [
            serde_json::json!({"id": 7, "kind": "a\u{1b}[2J"}),
            serde_json::json!({"id": 1234, "kind": "x".repeat(80)}),
        ];
        let text = table(&rows, &["id", "kind"]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "  id  kind");
        assert_eq!(lines[1], "   7  a [2J");
        assert!(lines[2].starts_with("1234  xxx") && lines[2].ends_with('…'), "{}", lines[2]);
    }
}
