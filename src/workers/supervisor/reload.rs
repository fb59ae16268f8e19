//! The configuration read again, once for all workers: beside the loop, so that a disk that hangs holds up nobody. What
//! is wrong with it is told once, and changes nothing.

use super::{Supervisor, admin_of, tickets};
use crate::config::settings::Settings;
use crate::core::secret::Secret;
use crate::net::Supervising;
use crate::observe::report::{self, CertificateOf};

/// Settings and the text of the file that they come from; or all that is wrong with it.
pub type Reread = Result<(Settings, Secret<String>), String>;

/// Reads the configuration again, beside the loop. [`Token::ASIDE`](crate::net::Token::ASIDE) is ready when that is done.
pub trait Reload {
    /// Begins. False if an earlier request is not done yet: this follows it then.
    fn request(&mut self) -> bool;

    /// What has come of it, once it is there.
    fn take(&mut self) -> Option<Reread>;
}

impl<K: Supervising> Supervisor<K> {
    /// Has the configuration read again.
    pub(super) fn request_settings(&mut self) {
        self.service.on_reloading(&mut self.kernel);
        if !self.reload.request() {
            report::reload_waits();
        }
    }

    /// Takes the configuration that was read again, if it was.
    pub(super) fn take_settings(&mut self) {
        match self.reload.take() {
            Some(Ok((new, file))) => self.apply_settings(&new, file),
            Some(Err(mistakes)) => self.refuse(&mistakes),
            None => return,
        }
        self.service.on_reloaded(&mut self.kernel);
    }

    fn refuse(&mut self, mistakes: &str) {
        self.reloaded = (false, self.now);
        report::reload_refused(mistakes);
    }

    /// Applies what concerns the supervisor, and hands the rest on.
    fn apply_settings(&mut self, new: &Settings, file: Secret<String>) {
        let mut notes = Vec::new();
        let (old_admin, new_admin) = (admin_of(&self.plan.settings), admin_of(new));
        if old_admin.map(|own| &own.address) != new_admin.map(|own| &own.address) {
            notes.push("the address of the admin interface needs a restart".to_owned());
        }
        if new.server.workers != self.plan.settings.server.workers {
            notes.push("the number of workers needs a restart".to_owned());
        }
        self.admin.adopt(new_admin, self.now);
        self.plan.settings.drain = new.drain;
        self.plan.settings.server.stall_timeout = new.server.stall_timeout;
        self.plan.settings.server.presence = new.server.presence;
        // Before the listeners that are to use them.
        if tickets::begin(&mut self.tickets, new, self.now) {
            self.hand_out_tickets();
        } else {
            self.admin.use_ticket_keys(self.tickets.keys());
        }
        self.warn_of_expiries();
        for worker in &mut self.workers {
            worker.reload();
        }
        self.file = file;
        self.reloaded = (true, self.now);
        report::reloaded(&notes);
    }

    /// Says which certificates of the admin interface are about to expire: workers know those of their listeners.
    pub(super) fn warn_of_expiries(&mut self) {
        let (name, expiries) = self.admin.expiries();
        let Some(usage) = (!expiries.is_empty()).then(|| self.kernel.usage()).flatten() else { return };
        for expiry in expiries {
            if let Some(days) = expiry.few_days_left(usage.unix_time.as_secs()) {
                report::certificate_expires(CertificateOf::Listener(name), &expiry.file, days);
            }
        }
    }
}
