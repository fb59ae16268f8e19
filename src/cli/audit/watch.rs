//! `linger audit --watch`: looks again and again, and prints what has changed.

use super::{Arguments, Report, json, judge, open, read, refused, sleep, text};
use crate::cli::console;
use crate::core::units::utc_text;
use crate::sys::host;
use crate::tools::audit::changes::Known;
use crate::tools::audit::survey::Look;
use std::process::ExitCode;
use std::time::Duration;

/// Looks until it is interrupted, or nobody reads any more. The first one has to succeed.
pub(super) fn run(arguments: &Arguments, every: Duration) -> ExitCode {
    let clock = crate::cli::serve::clock();
    let mut table = match open(arguments.netns) {
        Ok(table) => table,
        Err(fatal) => return refused(&fatal.to_string()),
    };
    let mut known = Known::nothing();
    let mut earlier = Earlier::default();
    let mut failed = None;
    loop {
        let at = clock();
        match read(&mut table, arguments) {
            Ok(look) => {
                let is_first = earlier.newer.is_none();
                let mut report = judge(arguments, &look, earlier.at(at));
                report.took = clock().saturating_sub(at);
                match console::out_on(news(&report, &mut known, is_first).as_bytes()) {
                    Ok(true) => {}
                    Ok(false) => return ExitCode::SUCCESS,
                    Err(error) => return refused(&format!("writing to standard output: {error}")),
                }
                earlier.keep(look, clock(), arguments.older_than);
                failed = None;
            }
            Err(why) if earlier.newer.is_none() => return refused(&why),
            // Such as while a server is started again. It is said once.
            Err(why) if failed.as_ref() == Some(&why) => {}
            Err(why) => {
                console::err(format_args!("linger: audit: {why}; looking on"));
                failed = Some(why);
            }
        }
        sleep(every);
    }
}

/// What is printed of a look.
fn news(report: &Report<'_>, known: &mut Known<String>, is_first: bool) -> String {
    let changes = known.update(report.placed());
    let now = utc_text(host::unix_time());
    if report.arguments.json {
        return changes.iter().map(|change| json::change(report, change, &now)).collect();
    }
    if is_first {
        return text::of(report);
    }
    // The day is of no use to one who watches.
    let time = now.split_once('T').map_or("", |(_, time)| time.trim_end_matches('Z'));
    changes.iter().map(|change| text::change(report, change, time)).collect()
}

/// Two earlier looks, the older of which later ones are compared with. So it was long enough ago to prove that something
/// is old, and what has come since then is not young for ever.
#[derive(Default)]
struct Earlier {
    older: Option<(Look, Duration)>,
    newer: Option<(Look, Duration)>,
}

impl Earlier {
    /// What to compare with `now`, and how long ago it was.
    fn at(&self, now: Duration) -> Option<(&Look, Duration)> {
        let (look, at) = self.older.as_ref().or(self.newer.as_ref())?;
        Some((look, now.saturating_sub(*at)))
    }

    /// Keeps a look of `now`, if the newest one is older than that.
    fn keep(&mut self, look: Look, now: Duration, older_than: Duration) {
        if self.newer.as_ref().is_none_or(|(_, at)| now.saturating_sub(*at) >= older_than) {
            self.older = self.newer.take();
            self.newer = Some((look, now));
        }
    }
}
