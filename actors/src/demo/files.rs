//! Are the files of a workspace what the fates of its proposals demand, byte for byte?

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use pgflow_actors::change::read_change;
use pgflow_actors::json::Object;
use pgflow_actors::locate::locate;

use super::bundle::{self, CHECK_FOLDER};

/// Content of every file, by its path.
type Tree = BTreeMap<String, Vec<u8>>;

/// Writes what a workspace must hold: the program, and then the changes that were kept, in order.
pub(crate) fn write_expected<'a>(root: &Path, kept: impl Iterator<Item = &'a Object>) -> Result<()> {
    bundle::write_workspace(root)?;
    let root = root.canonicalize()?;
    for change in kept {
        let change = read_change(None, change).map_err(|e| anyhow::anyhow!("{e}"))?;
        let file = root.join(locate(&root, &change.target)?);
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&file, change.content).with_context(|| format!("write {}", file.display()))?;
    }
    Ok(())
}

/// What differs, one line each.
pub(crate) fn differences(expected: &Path, found: &Path) -> io::Result<Vec<String>> {
    let (expected, mut found) = (tree(expected)?, tree(found)?);
    let mut list = Vec::new();
    for (path, content) in &expected {
        match found.remove(path) {
            None => list.push(format!("{path} is missing")),
            Some(other) if other != *content => list.push(format!("{path} differs")),
            Some(_) => {}
        }
    }
    list.extend(found.into_keys().map(|path| format!("{path} should not be there")));
    Ok(list)
}

fn tree(root: &Path) -> io::Result<Tree> {
    let mut files = Tree::new();
    walk(root, "", &mut files)?;
    Ok(files)
}

fn walk(folder: &Path, prefix: &str, files: &mut Tree) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Before-images, and the check's counts.
        if prefix.is_empty() && (name == ".evolution" || name == CHECK_FOLDER) {
            continue;
        }
        let path = format!("{prefix}{name}");
        if entry.file_type()?.is_dir() {
            walk(&entry.path(), &format!("{path}/"), files)?;
        } else {
            files.insert(path, fs::read(entry.path())?);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::script;

    #[test]
    fn the_bundle_runs_and_a_kept_change_is_the_only_difference() {
        let folder = tempfile::tempdir().unwrap();
        let (plain, changed) = (folder.path().join("plain"), folder.path().join("changed"));
        let entries = script::read(bundle::PROPOSALS, 3).unwrap();
        write_expected(&plain, std::iter::empty()).unwrap();
        let first = entries[0].proposal["code_change"].as_object().unwrap();
        write_expected(&changed, std::iter::once(first)).unwrap();
        assert_eq!(differences(&plain, &plain).unwrap(), Vec::<String>::new());
        assert_eq!(differences(&plain, &changed).unwrap(), ["billing/tax.sh differs"]);

        let run = std::process::Command::new("sh").args(["-c", bundle::CHECK]).current_dir(&changed).output().unwrap();
        let metrics = pgflow_actors::check::parse(&String::from_utf8_lossy(&run.stdout)).unwrap();
        assert_eq!((metrics.error_count, metrics.execution_count), (Some(0), Some(40)));
        assert_eq!(
            differences(&plain, &changed).unwrap(),
            ["billing/tax.sh differs"],
            "the check's counts do not count"
        );
    }

    #[test]
    fn the_caught_change_is_wrong_in_fifteen_of_a_hundred() {
        let folder = tempfile::tempdir().unwrap();
        let entries = script::read(bundle::PROPOSALS, 3).unwrap();
        let caught = entries.iter().find(|e| e.scene == Some(script::Scene::Guardian)).unwrap();
        let change = caught.proposal["code_change"].as_object().unwrap();
        write_expected(folder.path(), std::iter::once(change)).unwrap();
        let mut run = std::process::Command::new("sh");
        let output = run.args(["-c", bundle::CHECK]).current_dir(folder.path()).output().unwrap();
        let metrics = pgflow_actors::check::parse(&String::from_utf8_lossy(&output.stdout)).unwrap();
        assert_eq!((metrics.error_count, metrics.execution_count), (Some(6), Some(40)));
    }

    #[test]
    fn missing_and_additional_files_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        fs::create_dir_all(a.join("x")).unwrap();
        fs::create_dir_all(b.join(".evolution")).unwrap();
        fs::write(a.join("x/one"), "1").unwrap();
        fs::write(b.join("two"), "2").unwrap();
        fs::write(b.join(".evolution/lock"), "").unwrap();
        assert_eq!(differences(&a, &b).unwrap(), ["x/one is missing", "two should not be there"]);
    }
}
