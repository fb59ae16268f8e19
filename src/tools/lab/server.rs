//! A server of ours as a child process, and its log as it is written.

use super::remote_client::{OURSELVES, PATIENCE};
use super::settings::Settings;
use crate::core::time::Instant;
use crate::net::Fatal;
use crate::sys::process::{Namespace, memory_file, monotonic, spawn_in};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A server. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: Arc<Log>,
}

#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<(Instant, Value)>>,
    more: Condvar,
}

impl Log {
    fn lines(&self) -> MutexGuard<'_, Vec<(Instant, Value)>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Server {
    /// Starts `linger serve` in a namespace with these listeners, and waits until it listens. Its standard input is a
    /// certificate with its key: a file that has no name.
    ///
    /// # Errors
    /// When it does not; with what it said.
    pub fn start(namespace: &Namespace, listeners: &[String], settings: &Settings) -> Result<Self, Fatal> {
        let mut command = Command::new(OURSELVES);
        command.args(["serve", "--log", "debug", "--log-format", "json", "--admin", "off"]);
        command.args(["--set", "log.endings_per_second=1000000"]);
        // Audits look on all the time; what they may end is for each listener to say.
        command.args(["--set", &format!("audit.interval={}ms", settings.audit.as_millis())]);
        command.args(listeners.iter().flat_map(|listener| ["--listen", listener]));
        let certificate = memory_file(include_str!("../tls.pem"))?;
        command.stdin(certificate).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = spawn_in(namespace, &mut command)?;
        let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let log = Arc::new(Log::default());
        let sink = Arc::clone(&log);
        // It ends with the server, which holds the other end.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let now = monotonic();
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                sink.lines().push((now, event));
                sink.more.notify_all();
            }
        });
        let server = Self { child, log };
        server.until_it_listens(listeners.len())?;
        Ok(server)
    }

    fn until_it_listens(&self, count: usize) -> Result<(), Fatal> {
        let deadline = monotonic() + PATIENCE;
        let mut lines = self.log.lines();
        while lines.iter().filter(|(_, line)| line["event"] == "listening").count() < count {
            let left = deadline.since(monotonic());
            if left.is_zero() {
                let said: Vec<String> = lines.iter().map(|(_, line)| line.to_string()).collect();
                return Err(Fatal { what: "start the server".into(), why: said.join("; ") });
            }
            lines = self.log.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// The address of a listener.
    pub fn address(&self, listener: &str) -> Option<SocketAddr> {
        let lines = self.log.lines();
        let mut listening = lines.iter().filter(|(_, line)| line["event"] == "listening");
        let (_, line) = listening.find(|(_, line)| line["listener"] == listener)?;
        line["address"].as_str()?.parse().ok()
    }

    /// The End record of a connection of `listener`, by where it came from, and when it was written.
    pub fn end_of(&self, listener: &str, peer: SocketAddr) -> Option<(Instant, Value)> {
        let peer = peer.to_string();
        let lines = self.log.lines();
        let is =
            |line: &Value| line["event"] == "end" && line["listener"] == listener && line["peer"] == peer;
        lines.iter().find(|(_, line)| is(line)).cloned()
    }

    /// What it said when it panicked.
    pub fn panic(&self) -> Option<String> {
        let lines = self.log.lines();
        let mut words = lines.iter().filter_map(|(_, line)| line.as_str());
        words.find(|words| words.contains("panicked at")).map(ToOwned::to_owned)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
