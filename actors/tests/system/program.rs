//! The small program that every instance owns, and folders compared byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The command that measures it: every module on its five samples, forty in all.
pub const CHECK: &str = "sh check.sh";

/// The modules, each with samples of its own.
pub const MODULES: [&str; 8] = [
    "billing/tax",
    "billing/discount",
    "billing/invoice",
    "orders/total",
    "orders/status",
    "shipping/rates",
    "shipping/label",
    "stock/reorder",
];

/// What three modules need: without it fifteen samples fail.
pub const LIBRARY: &str = "lib/money";

/// Kept by the instance and by the check, and no part of the program.
const NOT_THE_PROGRAM: [&str; 2] = [".evolution", ".metrics"];

/// Files by path.
pub type Files = BTreeMap<String, Vec<u8>>;

/// The program as it is before any change.
pub fn original() -> Files {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/workspace"))
}

/// Writes files into a folder, which is made.
pub fn write(files: &Files, root: &Path) {
    for (path, content) in files {
        let file = root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
}

/// The program in a folder.
pub fn read(root: &Path) -> Files {
    let mut files = Files::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            let name = path.to_str().unwrap().to_owned();
            if NOT_THE_PROGRAM.contains(&name.as_str()) {
                continue;
            }
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                files.insert(name, fs::read(entry.path()).unwrap());
            }
        }
    }
    files
}

/// What differs, by path.
pub fn differences(expected: &Files, found: &Files) -> Vec<String> {
    let paths: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    let tell = |path: &&String| match (expected.get(*path), found.get(*path)) {
        (Some(e), Some(f)) if e == f => None,
        (Some(_), Some(f)) => Some(format!("{path} differs: {}", String::from_utf8_lossy(f))),
        (Some(_), None) => Some(format!("{path} is missing")),
        _ => Some(format!("{path} should not be there")),
    };
    paths.iter().filter_map(tell).collect()
}
