//! Standard output and standard error: the one place where commands write.

use std::fmt;
use std::io::{self, Write};

/// Writes to standard output. Whether it arrived; a reader that has left (`linger config | head`) is no
/// failure.
pub(super) fn out(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Writes a line to standard error.
pub(super) fn err(line: impl fmt::Display) {
    // There is nowhere left to say that standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
