//! Work that may take long, or for ever, done beside the loop: each piece by a thread of its own, one after the other.

use super::errno;
use crate::net::Fatal;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};

/// What is done, with what.
type Work<In, Out> = Arc<dyn Fn(In) -> Out + Send + Sync>;

/// A kind of work. It is made by [`Os::aside`](super::Os::aside).
pub struct Aside<In, Out> {
    name: &'static str,
    work: Work<In, Out>,
    waker: Arc<mio::Waker>,
    /// What the thread that is at it will bring; or why there is none.
    running: Option<Result<Receiver<Out>, Fatal>>,
    /// What is done next.
    next: Option<In>,
}

impl<In: Send + 'static, Out: Send + 'static> Aside<In, Out> {
    pub(super) fn new(
        name: &'static str,
        waker: Arc<mio::Waker>,
        work: impl Fn(In) -> Out + Send + Sync + 'static,
    ) -> Self {
        Self { name, work: Arc::new(work), waker, running: None, next: None }
    }

    /// Begins with `input`; [`Token::ASIDE`](crate::net::Token::ASIDE) is ready when it is done. False if an earlier one
    /// is not done yet: this follows it then, in the place of what waited before.
    pub fn request(&mut self, input: In) -> bool {
        let idle = self.running.is_none();
        if idle {
            self.start(input);
        } else {
            self.next = Some(input);
        }
        idle
    }

    /// What has come of it, once it is there. An error: the thread could not be started, or has broken off.
    pub fn take(&mut self) -> Option<Result<Out, Fatal>> {
        let done = match self.running.take()? {
            Err(fatal) => Err(fatal),
            Ok(running) => match running.try_recv() {
                Ok(done) => Ok(done),
                Err(TryRecvError::Empty) => {
                    self.running = Some(Ok(running));
                    return None;
                }
                Err(TryRecvError::Disconnected) => {
                    Err(Fatal { what: self.what(), why: "the thread has broken off".to_owned() })
                }
            },
        };
        if let Some(next) = self.next.take() {
            self.start(next);
        }
        Some(done)
    }

    fn what(&self) -> String {
        format!("run a thread {}", self.name)
    }

    fn start(&mut self, input: In) {
        let (sender, running) = sync_channel(1);
        let work = Arc::clone(&self.work);
        let wake = Wake(Arc::clone(&self.waker));
        let run = move || {
            // Dropped last, behind the sender, and also when the work panics: the loop that is woken finds what was
            // brought, or that nothing will be.
            let _wake = wake;
            let sender = sender;
            // Nobody may want it any more.
            let _ = sender.send(work(input));
        };
        let started = std::thread::Builder::new().name(self.name.to_owned()).spawn(run);
        // The closure that could not be run is dropped, and has woken the loop.
        self.running = Some(match started {
            Ok(_) => Ok(running),
            Err(error) => Err(errno::fatal(self.what(), errno::number(&error))),
        });
    }
}

/// Wakes the loop when it is dropped.
struct Wake(Arc<mio::Waker>);

impl Drop for Wake {
    fn drop(&mut self) {
        // It fails where there is no loop any more.
        let _ = self.0.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Os;
    use super::*;
    use crate::net::{Kernel as _, Token};
    use std::sync::Mutex;
    use std::sync::mpsc::channel;

    /// Waits until the loop is woken, and takes what was brought.
    fn woken<In: Send + 'static, Out: Send + 'static>(
        os: &mut Os,
        aside: &mut Aside<In, Out>,
    ) -> Result<Out, Fatal> {
        loop {
            let mut ready = Vec::new();
            os.poll(None, &mut ready).expect("a poll");
            assert!(ready.iter().all(|event| event.token == Token::ASIDE));
            if let Some(done) = aside.take() {
                return done;
            }
        }
    }

    #[test]
    fn what_hangs_holds_up_nobody_and_the_last_request_meanwhile_follows_it() {
        let mut os = Os::without_signals().expect("an epoll set");
        // A disk that hangs until it is told to go on.
        let (disk, hangs) = channel::<()>();
        let hangs = Mutex::new(hangs);
        let read = move |name: &'static str| {
            hangs.lock().expect("one at a time").recv().expect("the test lives");
            name.to_uppercase()
        };
        let mut aside = os.aside("test", read).expect("a waker");
        assert!(aside.take().is_none(), "nothing was asked for");
        assert!(aside.request("one"));
        assert!(!aside.request("two"), "one at a time");
        assert!(!aside.request("three"), "it replaces what waited");
        assert!(aside.take().is_none(), "it does not wait");
        disk.send(()).expect("the thread lives");
        assert_eq!(woken(&mut os, &mut aside), Ok("ONE".to_owned()));
        disk.send(()).expect("the thread lives");
        assert_eq!(woken(&mut os, &mut aside), Ok("THREE".to_owned()));
        assert!(aside.take().is_none(), "that was all");
    }

    #[test]
    fn a_thread_that_breaks_off_is_told_of() {
        let mut os = Os::without_signals().expect("an epoll set");
        let mut aside = os.aside("test", |number: u32| assert_eq!(number, 2, "on purpose")).expect("a waker");
        assert!(aside.request(1));
        assert!(!aside.request(2));
        assert!(woken(&mut os, &mut aside).is_err());
        assert_eq!(woken(&mut os, &mut aside), Ok(()), "and the next one has its turn");
    }
}
