//! Standard output and standard error: the one place where commands write.

use std::fmt;
use std::io::{self, Write};

/// Writes to standard output. Whether it arrived; a reader that has left (`linger config | head`) is no
/// failure.
pub(super) fn out(text: &[u8]) -> io::Result<()> {
    arrived(io::stdout().lock().write_all(text))
}

/// Whether what was written to standard output has arrived, with what is still buffered.
pub(super) fn arrived(written: io::Result<()>) -> io::Result<()> {
    match written.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

/// Writes a line to standard error.
pub(super) fn err(line: impl fmt::Display) {
    // There is nowhere left to say that standard error is gone.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
