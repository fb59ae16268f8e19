//! The log: the shape of its lines, `key=value` text or one JSON object a line, through `log` and `env_logger`; and the
//! way out of them, by a writer of its own that nobody waits for (`queue`).

mod queue;

use crate::config::settings::{LogFormat, LogSettings};
use crate::core::time::Duration;
use crate::observe::report::{self, JsonFields};
use env_logger::fmt::Formatter;
use log::Record;
use log::kv::{Error, Key, Value, VisitSource};
use queue::{Losses, Queue};
use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};

/// How long the end of the process waits for a reader that takes nothing: one that lives and is late has its lines,
/// and a dead one does not keep the process.
pub const PATIENCE: Duration = Duration::from_millis(250);

static WRITER: OnceLock<Arc<Queue>> = OnceLock::new();

/// Starts logging to standard error. `worker`: the number of this one among several, which its lines then have.
/// Panics go the same way: the one who panics does not wait for a reader either.
///
/// # Errors
/// When the filter cannot be read, or there is no thread to be had; says what is wrong.
pub fn start(settings: &LogSettings, worker: Option<u32>) -> Result<(), String> {
    let writer = writer().map_err(|error| format!("no thread to write them: {error}"))?;
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(&settings.filter);
    builder.target(env_logger::Target::Pipe(Box::new(Tap(writer))));
    match settings.format {
        LogFormat::Text => builder.format(move |out, record| text(out, record, worker)),
        LogFormat::Json => builder.format(move |out, record| json(out, record, worker)),
    };
    std::panic::set_hook(Box::new(move |panic| {
        let trace = Backtrace::capture();
        let trace =
            if trace.status() == BacktraceStatus::Captured { format!("{trace}") } else { String::new() };
        say(format_args!("{panic}\n{trace}"));
    }));
    builder.try_init().map_err(|error| error.to_string())
}

/// Says something on standard error in plain words, behind all lines of the log.
pub fn say(text: fmt::Arguments<'_>) {
    let line = format!("{text}\n");
    match writer() {
        Ok(writer) => writer.push(line.as_bytes()),
        // There is nowhere left to say that it could not be said.
        Err(_) => _ = io::stderr().write_all(line.as_bytes()),
    }
}

/// Waits until all lines are written: at the end of the process. A reader that takes them slowly has [`PATIENCE`] and
/// `spare`; one that takes none has [`PATIENCE`].
pub fn finish(spare: Duration) {
    if let Some(writer) = WRITER.get() {
        writer.finish(PATIENCE, PATIENCE + spare);
    }
}

/// The writer of this process. To be asked for first by the thread that starts everything else.
fn writer() -> io::Result<&'static Queue> {
    if let Some(writer) = WRITER.get() {
        return Ok(writer);
    }
    let losses = Losses { count: report::count_lines_dropped, tell: report::lines_dropped };
    let writer = Queue::start(losses)?;
    Ok(WRITER.get_or_init(|| writer))
}

/// Where the lines go that `env_logger` has formatted, each in one call.
struct Tap(&'static Queue);

impl Write for Tap {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn text(out: &mut Formatter, record: &Record<'_>, worker: Option<u32>) -> io::Result<()> {
    let timestamp = out.timestamp_millis();
    write!(out, "{timestamp} {:<5} {}", record.level(), record.args())?;
    if let Some(worker) = worker {
        write!(out, " worker={worker}")?;
    }
    let mut line = Line { out, failed: Ok(()) };
    // The visitor only stops early when writing has failed, and that is kept in the line.
    let _ = record.key_values().visit(&mut line);
    line.failed?;
    writeln!(out)
}

struct Line<'a> {
    out: &'a mut Formatter,
    failed: io::Result<()>,
}

impl<'kvs> VisitSource<'kvs> for Line<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let text = value.to_string();
        self.failed = if is_plain(&text) {
            write!(self.out, " {key}={text}")
        } else {
            write!(self.out, " {key}={text:?}")
        };
        self.failed.as_ref().map_or_else(|_| Err(Error::msg("the line could not be written")), |()| Ok(()))
    }
}

/// Whether a value needs no quotes: nobody can take a part of it for another pair.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'='))
}

fn json(out: &mut Formatter, record: &Record<'_>, worker: Option<u32>) -> io::Result<()> {
    let mut object = JsonFields::default();
    object.0.insert("time".into(), out.timestamp_millis().to_string().into());
    object.0.insert("level".into(), record.level().as_str().into());
    object.0.insert("event".into(), record.args().to_string().into());
    if let Some(worker) = worker {
        object.0.insert("worker".into(), worker.into());
    }
    record.key_values().visit(&mut object).map_err(io::Error::other)?;
    writeln!(out, "{}", serde_json::Value::Object(object.0))
}

#[cfg(test)]
mod tests {
    use super::is_plain;

    #[test]
    fn what_could_be_taken_for_something_else_is_quoted() {
        for ambiguous in ["", "a b", "reason=peer.fin", "=", "\"", "a\tb", "\u{e4}", "a\u{202e}b"] {
            assert!(!is_plain(ambiguous), "{ambiguous:?}");
        }
        for plain in ["peer.fin", "127.0.0.1:7000", "[::1]:7", "unix:/run/linger.sock", "17-4711", "a\\b"] {
            assert!(is_plain(plain), "{plain:?}");
        }
    }
}
