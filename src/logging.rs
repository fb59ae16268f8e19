//! The shape of log lines: `key=value` text or one JSON object a line, through `log` and `env_logger`.

use crate::config::settings::{LogFormat, LogSettings};
use env_logger::fmt::Formatter;
use log::Record;
use log::kv::{Error, Key, Value, VisitSource};
use std::io::{self, Write};

/// Starts logging to standard error. `worker`: the number of this one among several, which its lines then have.
///
/// # Errors
/// When the filter cannot be read; says what is wrong with it.
pub fn start(settings: &LogSettings, worker: Option<u32>) -> Result<(), String> {
    let mut builder = env_logger::Builder::new();
    builder.parse_filters(&settings.filter);
    match settings.format {
        LogFormat::Text => builder.format(move |out, record| text(out, record, worker)),
        LogFormat::Json => builder.format(move |out, record| json(out, record, worker)),
    };
    builder.try_init().map_err(|error| error.to_string())
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
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
        self.failed =
            if plain { write!(self.out, " {key}={text}") } else { write!(self.out, " {key}={text:?}") };
        self.failed.as_ref().map_or_else(|_| Err(Error::msg("the line could not be written")), |()| Ok(()))
    }
}

fn json(out: &mut Formatter, record: &Record<'_>, worker: Option<u32>) -> io::Result<()> {
    let mut object = Object(serde_json::Map::new());
    object.0.insert("time".into(), out.timestamp_millis().to_string().into());
    object.0.insert("level".into(), record.level().as_str().into());
    object.0.insert("event".into(), record.args().to_string().into());
    if let Some(worker) = worker {
        object.0.insert("worker".into(), worker.into());
    }
    record.key_values().visit(&mut object).map_err(io::Error::other)?;
    writeln!(out, "{}", serde_json::Value::Object(object.0))
}

struct Object(serde_json::Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for Object {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), Error> {
        let json = value
            .to_u64()
            .map(serde_json::Value::from)
            .or_else(|| value.to_i64().map(serde_json::Value::from))
            .or_else(|| value.to_f64().map(serde_json::Value::from))
            .or_else(|| value.to_bool().map(serde_json::Value::from))
            .unwrap_or_else(|| value.to_string().into());
        self.0.insert(key.to_string(), json);
        Ok(())
    }
}
