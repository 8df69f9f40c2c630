//! The map of the source is kept true: a file may import only what stands above it in this list.
//!
//! So the way of a message can be read from top to bottom, every layer can be tested without those below, and there is
//! no cycle. What has to flow back up is a type that the upper file owns (see ARCHITECTURE.md).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Every module of the crate, by layer. A module may use those in the layers above, and those before it in its own.
const LAYERS: &[(&str, &[&str])] = &[
    ("vocabulary", &["error", "codec", "message", "config", "address"]),
    ("storage", &["connect", "migrate", "store", "devpg"]),
    ("edges", &["spool", "publish", "handler"]),
    ("stages", &["settle", "ahead", "worker", "pool", "dispatch", "listen", "sweep", "forward"]),
    ("assembly", &["supervise", "monitor", "runtime", "admin"]),
    ("surfaces", &["testing", "web", "bench", "bin", "main", "lib"]),
];

#[test]
fn imports_point_upward_only() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let order: HashMap<&str, usize> =
        LAYERS.iter().flat_map(|(_, modules)| *modules).enumerate().map(|(at, module)| (*module, at)).collect();
    let exported = re_exports(&read(&root.join("lib.rs")));
    let mut wrong = Vec::new();
    let mut files = Vec::new();
    collect(&root, &mut files);
    for file in &files {
        let shown = file.strip_prefix(&root).expect("below src").display().to_string();
        let own = shown.split(['/', '.']).next().unwrap_or_default();
        let Some(place) = order.get(own) else {
            wrong.push(format!("{shown}: `{own}` is in no layer: add it to tests/layers.rs"));
            continue;
        };
        // Everything may be re-exported by the crate's root; a binary's `crate` is the binary.
        if matches!(own, "lib" | "bin" | "main") || file.ends_with("tests.rs") {
            continue;
        }
        for name in crate_paths(&without_tests(&read(file))) {
            // An item of the root is a re-export: the edge goes to where it comes from.
            let module = exported.get(&name).cloned().unwrap_or(name);
            match order.get(module.as_str()) {
                _ if module == own => {}
                Some(other) if other < place => {}
                Some(_) => wrong.push(format!("{shown}: `{own}` may not use `{module}`, which stands below it")),
                None => wrong.push(format!("{shown}: crate::{module} is in no layer")),
            }
        }
    }
    assert!(!files.is_empty() && wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn the_reader_sees_every_way_to_write_an_import() {
    let text = "
        use crate::{Error, message::{self, Priority}, store::{Store, inner::Deep}};
        use crate::codec;
        // use crate::comment;
        fn f() { crate::config::limit(); } // crate::behind
        pub(crate) struct S;
    ";
    assert_eq!(crate_paths(&without_tests(text)), ["Error", "message", "store", "codec", "config"]);
    let text = "use crate::a;\n#[cfg(all(test, unix))]\nmod tests;\nuse crate::b;\n#[cfg(test)]\nmod tests {\nuse crate::c;\n}";
    assert_eq!(crate_paths(&without_tests(text)), ["a", "b"]);
    let exported = re_exports("pub use a::{B, c::D as E};\npub use f::G;\nmod h;");
    let found = |name: &str| exported.get(name).map(String::as_str);
    assert_eq!((found("B"), found("E"), found("G"), found("h")), (Some("a"), Some("a"), Some("f"), None));
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir).expect("a folder").flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The source without comments, and without its tests: those may use anything.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default()).peekable();
    while let Some(line) = lines.next() {
        if line.contains("#[cfg(test)]") || line.contains("#[cfg(all(test") {
            // A module in a file of its own is one line; one with a body is the end of its file.
            match lines.next() {
                Some(item) if item.trim_end().ends_with(';') => continue,
                _ => break,
            }
        }
        kept.push_str(line);
        kept.push('\n');
    }
    kept
}

/// The first segment of every path that starts at the crate's root.
fn crate_paths(text: &str) -> Vec<String> {
    let starts = text.match_indices("crate::").map(|(at, found)| &text[at + found.len()..]);
    starts.flat_map(|rest| first_segments(rest).into_iter().map(|(first, _)| first)).collect()
}

/// Of `a::b` or `{a, b::{c, d}}`: each tree's first segment, and the text of the tree.
fn first_segments(rest: &str) -> Vec<(String, &str)> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(list) = rest.strip_prefix('{') else {
        return vec![(word(rest), rest)];
    };
    let (mut depth, mut begin, mut trees) = (0_usize, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let tree = list[begin..at].trim();
                if !tree.is_empty() {
                    trees.push((word(tree), tree));
                }
                begin = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    trees
}

/// Which module each name at the crate's root comes from.
fn re_exports(text: &str) -> HashMap<String, String> {
    let mut found = HashMap::new();
    for statement in text.split(';') {
        let Some((_, path)) = statement.split_once("use ") else { continue };
        let path = path.trim().trim_start_matches("crate::").trim_start_matches("self::");
        let Some((module, items)) = path.split_once("::") else { continue };
        for (_, tree) in first_segments(items) {
            // `c::D as E` is known as E.
            let name = tree.rsplit([':', ' ']).next().unwrap_or_default();
            found.insert(name.trim_end_matches('}').to_owned(), module.to_owned());
        }
    }
    found
}
