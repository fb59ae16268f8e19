//! A kernel under which a server runs as several processes: a supervisor, and the workers that it starts.
//!
//! A trait of its own, because a kernel that runs one process need not have it.

use super::{Fatal, Kernel, ListenSpec};
use std::fmt;

/// A kernel that can start workers and share listening sockets among them.
pub trait Supervising: Kernel {
    /// A worker's process.
    type Process: Process;

    /// Opens one listening socket for each of `count` workers, all on one address, among which the kernel divides the
    /// connections (`SO_REUSEPORT`). Nobody watches them yet.
    ///
    /// # Errors
    /// What was asked for and what the kernel answered, in a sentence for the operator.
    fn open_shared(&mut self, spec: &ListenSpec, count: usize) -> Result<Vec<Self::Listener>, Fatal>;

    /// Gives new connections to the sockets of `listener`'s group at these places alone; to all `of` of them if it names
    /// none.
    ///
    /// # Errors
    /// The errno, where the kernel cannot: everything stays as it was.
    fn steer(&mut self, listener: &Self::Listener, places: &[usize], of: usize) -> Result<(), i32>;

    /// Starts worker `number` of `of` with those listening sockets. Gives the process and our end of the channel to it.
    ///
    /// # Errors
    /// When there is no descriptor, process or memory for it.
    fn start_worker(
        &mut self,
        number: u32,
        of: u32,
        listeners: &[Self::Listener],
    ) -> Result<(Self::Process, Self::Stream), Fatal>;

    /// Waits for the children that have ended and are not `ours`, so that none stays a zombie.
    fn reap_others(&mut self, ours: impl Fn(u32) -> bool);
}

/// A child process. Dropping one kills it and waits for it.
pub trait Process {
    /// Its number.
    fn id(&self) -> u32;

    /// Kills it (SIGKILL). If it has ended, this does nothing.
    fn kill(&mut self);

    /// How it has ended, if it has. It is no zombie then.
    fn try_wait(&mut self) -> Option<Exit>;
}

/// How a process ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exit {
    /// It says that all went well.
    pub success: bool,
    /// The same in words.
    pub text: String,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
