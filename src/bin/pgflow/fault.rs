//! How the program fails: one line on stderr that says what and what to do, and an exit code.

use std::{io::Write as _, process::ExitCode};

/// Why a command ended without its result.
#[derive(Debug)]
pub(crate) struct Fault {
    code: u8,
    /// None: say nothing. The reader of stdout has gone, which is how `pgflow pending q | head` ends.
    line: Option<String>,
    /// The tables are not there, or older than this program.
    lacks_tables: bool,
}

impl Fault {
    /// The command was right and could not be done: exit code 1.
    pub(crate) fn failed(line: impl Into<String>) -> Self {
        Self { code: 1, line: Some(line.into()), lacks_tables: false }
    }

    /// The command line or a setting cannot work: exit code 2.
    pub(crate) fn usage(line: impl Into<String>) -> Self {
        Self { code: 2, line: Some(line.into()), lacks_tables: false }
    }

    /// Stdout or its reader is gone.
    pub(crate) fn stdout(error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => Self { code: 0, line: None, lacks_tables: false },
            _ => Self::failed(format!("write to stdout: {error}")),
        }
    }

    /// The same where more was to be done: that the reader has gone is a failure then.
    pub(crate) fn unfinished(self, left: &str) -> Self {
        let why = self.line.unwrap_or_else(|| "stdout is closed".to_owned());
        Self::failed(format!("{why}: {left}"))
    }

    /// The same, with the way out where the tables are not there: those of this schema.
    pub(crate) fn in_schema(self, schema: &str) -> Self {
        if !self.lacks_tables {
            return self;
        }
        let init = pgflow::migrate::init_command(schema);
        Self { line: self.line.map(|line| format!("{line}: run `{init}`")), ..self }
    }

    /// The same, with where it happened.
    pub(crate) fn at(self, place: String) -> Self {
        Self { line: self.line.map(|line| format!("{place}: {line}")), ..self }
    }

    /// Says it, and turns it into the exit code.
    pub(crate) fn report(self) -> ExitCode {
        if let Some(line) = &self.line {
            line_to_stderr(line);
        }
        ExitCode::from(self.code)
    }
}

impl From<pgflow::Error> for Fault {
    fn from(error: pgflow::Error) -> Self {
        let line = error.to_string();
        // Undefined schema, table, column or function.
        let undefined = ["3F000", "42P01", "42703", "42883"];
        let lacks_tables = error.sqlstate().is_some_and(|code| undefined.contains(&code.code()));
        let fault = if error.is_config() { Self::usage(line) } else { Self::failed(line) };
        Self { lacks_tables, ..fault }
    }
}

/// One line, whatever the text holds: server messages have several, and values of others may hold anything.
pub(crate) fn line_to_stderr(text: &str) {
    let words: Vec<&str> = text.split(['\n', '\r']).map(str::trim).filter(|part| !part.is_empty()).collect();
    let line: String = words.join(" ").chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    // Nobody is left to tell if stderr is gone.
    let _ = writeln!(std::io::stderr(), "pgflow: {line}");
}

/// What clap found: help and version on stdout, a mistake as one line.
pub(crate) fn command_line(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    let text = error.render().to_string();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let mut stdout = std::io::stdout().lock();
            match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(e) => Fault::stdout(&e).report(),
            }
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = std::io::stderr().write_all(text.as_bytes());
            ExitCode::from(2)
        }
        _ => {
            let parts = text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("For more information"));
            let line = parts.map(without_password).collect::<Vec<_>>().join("; ");
            Fault::usage(line.trim_start_matches("error: ").replace(":; ", ": ")).report()
        }
    }
}

/// clap repeats what it does not understand: a URL given in the wrong place may have a password.
fn without_password(line: &str) -> String {
    let word = |word: &str| {
        let Some(scheme) = word.find("://") else { return word.to_owned() };
        let begin = word[..scheme].rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
        let quote = if word.ends_with('\'') { "'" } else { "" };
        let url = word[begin..].strip_suffix('\'').unwrap_or(&word[begin..]);
        format!("{}{}{quote}", &word[..begin], pgflow::redacted(url))
    };
    line.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::without_password;

    /// A password on the command line must not reach the log of whoever started us.
    #[test]
    fn a_url_in_a_wrong_place_is_redacted() {
        let line = without_password("unexpected argument 'postgresql://u:secret@h/db' found");
        assert_eq!(line, "unexpected argument 'postgresql://u:***@h/db' found");
        assert_eq!(without_password("nothing here"), "nothing here");
    }
}
