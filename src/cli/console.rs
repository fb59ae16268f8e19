//! Standard output and standard error: the one place where commands write.

use crate::core::escape::printable;
use std::fmt::{self, Write as _};
use std::io::{self, Write};

/// Writes to standard output. Whether it arrived; a reader that has left (`linger config | head`) is no
/// failure.
pub(super) fn out(text: &[u8]) -> io::Result<()> {
    arrived(io::stdout().lock().write_all(text))
}

/// The same for what goes on and on: whether somebody still reads.
pub(super) fn out_on(text: &[u8]) -> io::Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        outcome => outcome.map(|()| true),
    }
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

/// Rows with aligned columns, two spaces apart; a column in which nothing stands is left out. What peers have said may stand in a
/// cell: it moves no cursor.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let rows: Vec<Vec<_>> = rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, &width) in row.iter().zip(&widths).filter(|&(_, &width)| width > 0) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_empty_ones_are_left_out() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        assert_eq!(table(&[row(["a", "", "long"]), row(["long", "", "b"])]), "a     long\nlong  b\n");
        assert_eq!(table(&[]), "");
    }
}
