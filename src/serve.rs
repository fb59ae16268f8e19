//! A stand-in: shows the settings it is given.

use crate::config::{Sources, settings::Settings};
use std::process::ExitCode;

/// Serves with `settings`; `sources` are where to read them again on SIGHUP.
#[expect(clippy::needless_pass_by_value, reason = "the server keeps both")]
pub fn run(settings: Settings, sources: Sources) -> ExitCode {
    use std::io::Write as _;
    let shown = writeln!(std::io::stdout(), "{settings:#?}\n{sources:#?}");
    if shown.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
