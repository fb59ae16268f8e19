//! Events as they are told, in the format that browsers know as well ("Server-sent events" of the HTML Living Standard): each
//! has an id, by which a reader that comes back says what it had last, a name, and a line of JSON.

use crate::core::time::Duration;
use crate::observe::events::Kind;
use serde_json::{Map, Value, json};
use std::fmt::{Display, Write as _};

/// How long a browser that was cut off waits before it comes back, in milliseconds.
const RETRY_MS: u32 = 2_000;

/// How long a reader may be told nothing: shorter than a proxy or a firewall forgets a connection, and so that one that is gone
/// is noticed.
pub const ALIVE: Duration = Duration::from_secs(15);

/// Appends an event. `id`: its number, or those of all workers up to it.
pub fn write(id: &dyn Display, kind: Kind, data: &str, out: &mut String) {
    message(id, kind.name(), data, out);
}

/// Appends what a reader is told first. `missed`: of those that it asked for; `None`: nobody knows, because it had the last
/// one from another process.
pub fn begin(id: &dyn Display, missed: Option<u64>, time: Option<&str>, out: &mut String) {
    let _ = writeln!(out, "retry: {RETRY_MS}");
    let version = env!("CARGO_PKG_VERSION");
    let data =
        json!({"event": "start", "id": id.to_string(), "missed": missed, "time": time, "version": version});
    message(id, "start", &data.to_string(), out);
}

/// Appends the last word to a reader that was too slow: so many had to make way before it took them.
pub fn dropped(id: &dyn Display, missed: u64, out: &mut String) {
    let data = json!({"event": "dropped", "id": id.to_string(), "missed": missed});
    message(id, "dropped", &data.to_string(), out);
}

/// Appends what a reader is told that has been told nothing for a while. It dispatches no event, but the reader comes back
/// with that id.
pub fn alive(id: &dyn Display, out: &mut String) {
    let _ = write!(out, ": nothing else has happened\nid: {id}\n\n");
}

fn message(id: &dyn Display, name: &str, data: &str, out: &mut String) {
    let _ = write!(out, "id: {id}\nevent: {name}\ndata: {data}\n\n");
}

/// Adds the fields that all events have.
pub fn fields(
    fields: &mut Map<String, Value>,
    number: u64,
    kind: Kind,
    time: Option<&str>,
    worker: Option<u32>,
) {
    fields.insert("number".to_owned(), number.into());
    fields.insert("event".to_owned(), kind.name().into());
    fields.insert("time".to_owned(), time.into());
    if let Some(worker) = worker {
        fields.insert("worker".to_owned(), worker.into());
    }
}
