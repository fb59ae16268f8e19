//! Clients that the operator ends: one by its key, or many at a pace.

use super::Reactor;
use super::parts::effect::{ENDINGS_WAITING_MAX, Effect};
use super::parts::endings::{ORDERS_MAX, Order};
use super::parts::server_timers::ServerTimer;
use crate::core::end::{By, Detector, Reason};
use crate::core::table::Key;
use crate::net::Kernel;
use crate::observe::answers::{Ending, EndingMany};
use crate::observe::report;
use crate::protocol::admin::EndMany;
use std::sync::Arc;

impl<K: Kernel> Reactor<K> {
    /// Posts the ending of one connection. A key whose generation is gone ends nobody.
    pub(super) fn end_connection(&mut self, key: Key, by: Option<Arc<By>>) -> Ending {
        let name = self.cx.worker.name_of(key);
        if self.table.get(key).is_none() {
            return Ending::Gone(name);
        }
        let (reason, detector) = (Reason::LocalKicked, Detector::Operator);
        self.cx.effects.push_back(Effect::Close { key, reason, detector, by });
        Ending::Begun(name)
    }

    /// Begins to end many, or to end no more.
    pub(super) fn end_many(&mut self, asked: EndMany, by: Arc<By>) -> EndingMany {
        let EndMany::Begin { query, over } = asked else {
            let stopped = std::mem::take(&mut self.cx.admin.endings).len();
            report::ending_many_stopped(stopped, &by.peer);
            return EndingMany::Stopped(stopped as u64);
        };
        if self.cx.admin.endings.len() >= ORDERS_MAX {
            return EndingMany::TooMany;
        }
        report::ending_many(&query.to_string(), over, &by.peer);
        let order = Order::new(query, by, self.cx.now, over, self.table.slots_used());
        self.cx.admin.endings.push(order);
        self.cx.timers.arm_no_later(ServerTimer::Endings, self.cx.now);
        EndingMany::Begun(over)
    }

    /// Ends those whose turn has come.
    pub(super) fn end_more(&mut self) {
        let mut orders = std::mem::take(&mut self.cx.admin.endings);
        for order in &mut orders {
            for slot in order.take(self.cx.now) {
                if self.cx.effects.len() >= ENDINGS_WAITING_MAX {
                    order.give_back(slot);
                    break;
                }
                self.end_if_meant(order, slot);
            }
        }
        orders.retain(|order| match order.due(self.cx.now) {
            Some(at) => {
                self.cx.timers.arm_no_later(ServerTimer::Endings, at);
                true
            }
            None => false,
        });
        self.cx.admin.endings = orders;
    }

    fn end_if_meant(&mut self, order: &Order, slot: usize) {
        let entry = u32::try_from(slot).ok().and_then(|slot| self.table.at(slot));
        let Some((key, conn)) = entry else { return };
        // Those who have come since are not meant.
        if conn.life.accepted() <= order.begun && self.cx.is_listed(&order.query, key, conn) {
            let (reason, detector, by) =
                (Reason::LocalKicked, Detector::Operator, Some(Arc::clone(&order.by)));
            self.cx.effects.push_back(Effect::Close { key, reason, detector, by });
        }
    }
}
