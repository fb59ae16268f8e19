//! What a server says of itself to the service manager that started it (`sd_notify(3)`).

use super::Kernel;
use crate::core::time::Instant;

/// A piece of that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ServiceNews<'a> {
    /// It serves: after the start, and after a configuration was read again.
    Ready,
    /// It reads its configuration again. [`Ready`](Self::Ready) follows.
    Reloading,
    /// It drains.
    Stopping,
    /// Its loop turns.
    Alive,
    /// How it is, in one line for a person.
    Status(&'a str),
}

/// Tells a service manager how the server fares, if there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ServiceNotifier {
    /// The server starts.
    #[default]
    Starting,
    /// It was told that the server serves.
    Serving,
    /// It was told that the server drains.
    Stopping,
}

impl ServiceNotifier {
    /// The server serves.
    pub fn on_serving(&mut self, kernel: &mut impl Kernel) {
        *self = Self::Serving;
        kernel.notify_service(ServiceNews::Ready);
    }

    /// It reads its configuration again.
    pub fn on_reloading(self, kernel: &mut impl Kernel) {
        if self == Self::Serving {
            kernel.notify_service(ServiceNews::Reloading);
        }
    }

    /// It has read its configuration, whether it was sound or not.
    pub fn on_reloaded(self, kernel: &mut impl Kernel) {
        if self == Self::Serving {
            kernel.notify_service(ServiceNews::Ready);
        }
    }

    /// It drains, or will in a while.
    pub fn on_stopping(&mut self, kernel: &mut impl Kernel) {
        *self = Self::Stopping;
        kernel.notify_service(ServiceNews::Stopping);
    }

    /// Its loop turns: one that does not is restarted, if the service manager watches for that. Gives when to say so again.
    pub fn on_alive(kernel: &mut impl Kernel, now: Instant, status: impl FnOnce() -> String) -> Instant {
        let Some(interval) = kernel.service_interval() else { return Instant::NEVER };
        kernel.notify_service(ServiceNews::Status(&status()));
        kernel.notify_service(ServiceNews::Alive);
        now + interval
    }
}
