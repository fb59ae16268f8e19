//! The lab's hands: a [client](super::client) process that does what it is told, and what it said.

use crate::core::time::{Duration, Instant};
use crate::net::Fatal;
use crate::sys::process::{Namespace, freeze, monotonic, spawn_in};
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// This program, also if its file was replaced since it started.
pub const OURSELVES: &str = "/proc/self/exe";
/// The hidden command that is the client.
pub const CLIENT_COMMAND: &str = "lab-client";

/// Longer than anything takes that does not wait for a timer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A client process. Dropping it kills it.
#[derive(Debug)]
pub struct RemoteClient {
    child: Child,
    control: UnixStream,
    said: Arc<Said>,
}

#[derive(Debug, Default)]
struct Said {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Said {
    fn lines(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RemoteClient {
    /// Starts one in a namespace.
    ///
    /// # Errors
    /// When that is not permitted.
    pub fn start(namespace: &Namespace) -> Result<Self, Fatal> {
        let failed =
            |error: std::io::Error| Fatal { what: "talk to a client".into(), why: error.to_string() };
        let (control, theirs) = UnixStream::pair().map_err(failed)?;
        let listening = control.try_clone().map_err(failed)?;
        let child = spawn_in(
            namespace,
            Command::new(OURSELVES)
                .arg(CLIENT_COMMAND)
                .stdin(Stdio::from(OwnedFd::from(theirs)))
                .stdout(Stdio::null()),
        )?;
        let said = Arc::new(Said::default());
        let sink = Arc::clone(&said);
        // It ends with the process, which holds the other end.
        std::thread::spawn(move || {
            for line in BufReader::new(listening).lines().map_while(Result::ok) {
                sink.lines().push(line);
                sink.more.notify_all();
            }
        });
        Ok(Self { child, control, said })
    }

    /// Gives an order.
    pub fn order(&mut self, order: &str) {
        // A client that is dead or frozen hears nothing, which may be the point.
        let _ = self.control.write_all(format!("{order}\n").as_bytes());
    }

    /// Waits until it has said something that `look` finds in one line.
    ///
    /// # Errors
    /// When it has not after [`PATIENCE`].
    pub fn wait<T>(&self, what: &str, look: impl Fn(&str) -> Option<T>) -> Result<T, Fatal> {
        let deadline = monotonic() + PATIENCE;
        let mut lines = self.said.lines();
        loop {
            if let Some(found) = lines.iter().find_map(|line| look(line)) {
                return Ok(found);
            }
            let left = deadline.since(monotonic());
            if left.is_zero() {
                let last = lines.iter().rev().take(5).cloned().collect::<Vec<_>>().join("; ");
                return Err(Fatal {
                    what: what.into(),
                    why: format!("nothing within {PATIENCE:?}; it said last: {last}"),
                });
            }
            lines = self.said.more.wait_timeout(lines, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until a connection is there. Its own address.
    ///
    /// # Errors
    /// When it is refused, or takes too long.
    pub fn opened(&self, slot: u32) -> Result<SocketAddr, Fatal> {
        let (opened, failed) = (format!("opened {slot} "), format!("failed {slot} "));
        self.wait("connect", |line| {
            let address =
                line.strip_prefix(&opened).map(|address| address.parse().ok().ok_or_else(|| line.to_owned()));
            address.or_else(|| line.strip_prefix(&failed).map(|why| Err(why.to_owned())))
        })?
        .map_err(|why| Fatal { what: "connect".into(), why })
    }

    /// Waits for the answer to what was asked. It is escaped.
    ///
    /// # Errors
    /// When none comes.
    pub fn answered(&self, slot: u32) -> Result<String, Fatal> {
        let answer = format!("answer {slot} ");
        self.wait("an answer", |line| line.strip_prefix(&answer).map(ToOwned::to_owned))
    }

    /// Lets connections read no more, and waits until they do not.
    ///
    /// # Errors
    /// When that takes too long.
    pub fn deafen(&mut self, slots: &str) -> Result<(), Fatal> {
        self.order(&format!("deaf {slots}"));
        self.wait("deafness", |line| (line == "deaf").then_some(()))
    }

    /// Waits until a deed is done. When it was.
    ///
    /// # Errors
    /// When it is not.
    pub fn done(&self) -> Result<Instant, Fatal> {
        let refused = self.wait("a deed", |line| {
            let done =
                line.strip_prefix("done ").and_then(|nanos| nanos.parse().ok()).map(Instant::from_nanos);
            done.map(Ok).or_else(|| line.strip_prefix("refused ").map(|why| Err(why.to_owned())))
        })?;
        refused.map_err(|why| Fatal { what: "a deed".into(), why })
    }

    /// What came on a slot that tells, so far, escaped.
    pub fn heard(&self, slot: u32) -> String {
        let heard = format!("heard {slot} ");
        self.said.lines().iter().filter_map(|line| line.strip_prefix(&heard)).collect()
    }

    /// `kill -9`. When that was.
    pub fn kill(&mut self) -> Instant {
        let now = monotonic();
        let _ = self.child.kill();
        now
    }

    /// SIGSTOP. When that was.
    pub fn freeze(&mut self) -> Instant {
        let now = monotonic();
        freeze(&self.child);
        now
    }
}

impl Drop for RemoteClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
