//! A process that must not outlive its parent, however that ends: it holds one end of a pipe, the parent the other.

use std::io::Read;
use std::process::Stdio;

/// Set for a child on the leash; its standard input is the pipe.
pub(crate) const LEASH_VARIABLE: &str = "EVOLUTION_ENDS_WITH_STDIN";

/// How a child on the leash ends when its parent is gone.
const LET_GO: i32 = 3;

/// The child's end; the parent's is the child's `stdin`, open as long as the parent lives and keeps it.
pub(crate) fn held() -> Stdio {
    Stdio::piped()
}

/// Ends this process when the pipe is closed, if it is on the leash.
pub(crate) fn heed() {
    if std::env::var_os(LEASH_VARIABLE).is_none() {
        return;
    }
    std::thread::spawn(|| {
        let mut pipe = std::io::stdin().lock();
        let mut byte = [0_u8];
        // The parent never writes: what comes is the end.
        while matches!(pipe.read(&mut byte), Ok(1)) {}
        std::process::exit(LET_GO);
    });
}
