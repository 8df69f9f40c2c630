//! Which statement a text is: the files of `sql/queries` by their name, all else by its first word and its connection's name.

use std::collections::{BTreeSet, HashMap};

/// The statements of pgflow's store, by their first line: a comment, which is sent with them and is like no other.
pub(crate) struct Statements(HashMap<String, String>);

impl Statements {
    /// As they are sent to the schema `public`, whose number is `space`.
    pub(crate) fn of_public(space: i32) -> Self {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/sql/queries");
        let named = std::fs::read_dir(folder).expect("the folder").map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let text = std::fs::read_to_string(&path).expect("a text");
            let first = text.lines().next().expect("a line");
            assert!(first.starts_with("--"), "{name} does not begin with what it does");
            (first.replace("{schema}", "\"public\"").replace("{space}", &space.to_string()), name)
        });
        let (named, files): (HashMap<_, _>, usize) =
            named.fold(Default::default(), |(mut named, files), (first, name)| {
                named.insert(first, name);
                (named, files + 1)
            });
        assert_eq!(named.len(), files, "two statements begin alike");
        Self(named)
    }

    pub(crate) fn names(&self) -> BTreeSet<&str> {
        self.0.values().map(String::as_str).collect()
    }

    /// The name of one of the store's statements.
    pub(crate) fn name(&self, text: &str) -> Option<&str> {
        self.0.get(text.lines().next()?).map(String::as_str)
    }
}

/// What a statement that is none of the store's is called: `LISTEN on pgflow listener`.
pub(crate) fn other(text: &str, application: &str) -> String {
    let word: String = text.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    // A listener's connection bears its session's number.
    let application = application.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ');
    format!("{} on {application}", word.to_uppercase())
}
