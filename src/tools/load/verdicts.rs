//! What the server says of each client, compared with what the client did.
//!
//! Pure. Each client with an identity has a record here, by its number: what it did, and what was published on
//! its presence channel. At the end they make a truth table, fault by reason, and every verdict that does not
//! fit is listed by the identity that it was about.

use super::faults::{Contract, Fault, Truth};
use super::mix::Mix;
use crate::core::end::Reason;
use crate::core::time::{Duration, Instant};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// Where presence is published: [`presence`](crate::protocol::presence).
pub const PRESENCE: &str = "$presence:";

/// Wrong verdicts that are listed one by one; the rest are only counted.
const LISTED_MAX: usize = 200;

/// The records of one process.
#[derive(Debug)]
pub struct Ledger {
    /// What identities begin with; the number follows.
    prefix: String,
    /// How each fault is committed.
    mix: Mix,
    contract: Contract,
    records: Vec<Record>,
    faults: u64,
    judged: u64,
    suspects: u64,
}

/// One client.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    fault: Option<(Fault, Instant)>,
    online: u32,
    suspicion: Suspicion,
    /// The last ending of its identity.
    ended: Option<Reason>,
    standing: Standing,
}

/// Whether the server has ever suspected it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
enum Suspicion {
    #[default]
    None,
    Suspected,
    Revived,
}

/// Where its case stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Standing {
    /// The verdict is still to come, if one is wanted.
    #[default]
    Open,
    Judged,
    /// Its fault was not what it was to be: nothing that is said of it is right or wrong.
    Excused,
}

/// A message on a presence channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Event {
    Online,
    Suspect,
    Revived,
    Offline(Reason),
}

impl Ledger {
    /// No clients yet; their identities will begin with `prefix`.
    pub const fn new(prefix: String, mix: Mix, contract: Contract) -> Self {
        Self { prefix, mix, contract, records: Vec::new(), faults: 0, judged: 0, suspects: 0 }
    }

    /// What the server ought to say of a fault.
    fn truth(&self, fault: Fault) -> Truth {
        self.mix.truth(fault, &self.contract)
    }

    /// One more client: its number.
    pub fn add(&mut self) -> u32 {
        self.records.push(Record::default());
        u32::try_from(self.records.len() - 1).expect("clients are fewer than 2^32")
    }

    /// What client `number` calls itself.
    pub fn identity(&self, number: u32) -> String {
        format!("{}{number}", self.prefix)
    }

    /// The pattern of all presence channels of these clients.
    pub fn pattern(&self) -> String {
        format!("{PRESENCE}{}*", self.prefix)
    }

    /// Client `number` commits `fault`.
    pub fn commit(&mut self, number: u32, fault: Fault, now: Instant) {
        self.records[number as usize].fault = Some((fault, now));
        self.faults += 1;
    }

    /// Whether client `number` has committed something.
    pub fn has_fault(&self, number: u32) -> bool {
        self.records[number as usize].fault.is_some()
    }

    /// What client `number` did was not what it was to do.
    pub fn excuse(&mut self, number: u32) {
        let record = &mut self.records[number as usize];
        self.faults -= 1;
        self.judged -= u64::from(record.standing == Standing::Judged);
        record.standing = Standing::Excused;
    }

    /// Takes a message of a presence channel: if it is the verdict on a fault, on which, and how long it took.
    pub fn hear(&mut self, channel: &[u8], payload: &[u8], now: Instant) -> Option<(Fault, Duration)> {
        let identity = str::from_utf8(channel).ok()?.strip_prefix(PRESENCE)?;
        let number: usize = identity.strip_prefix(self.prefix.as_str())?.parse().ok()?;
        let record = self.records.get_mut(number)?;
        let event = read(payload)?;
        match event {
            Event::Online => record.online += 1,
            Event::Suspect => {
                record.suspicion = record.suspicion.max(Suspicion::Suspected);
                self.suspects += 1;
            }
            Event::Revived => record.suspicion = Suspicion::Revived,
            Event::Offline(reason) => record.ended = Some(reason),
        }
        let (fault, at) = record.fault.filter(|_| record.standing == Standing::Open)?;
        let verdict = match (event, self.mix.truth(fault, &self.contract)) {
            (Event::Offline(_), _) | (Event::Revived, Truth::Revives) => true,
            (Event::Online, Truth::Ends(_)) => fault == Fault::Reboot && record.online > 1,
            (Event::Online | Event::Suspect | Event::Revived, _) => false,
        };
        if !verdict {
            return None;
        }
        record.standing = Standing::Judged;
        self.judged += 1;
        Some((fault, now.since(at)))
    }

    /// Until when verdicts may still come that are wanted, with `patience` on top; none if all are there.
    pub fn wanted_until(&self, patience: Duration) -> Option<Instant> {
        let contract = Contract { patience, ..self.contract };
        let open = self.records.iter().filter(|record| record.standing == Standing::Open);
        open.filter_map(|record| record.fault).map(|(fault, at)| at + self.mix.due(fault, &contract)).max()
    }

    /// Faults committed, and how many of them were judged.
    pub const fn progress(&self) -> (u64, u64) {
        (self.faults, self.judged)
    }

    /// The truth table, as far as verdicts are due at `now`.
    pub fn verdicts(&self, now: Instant) -> Verdicts {
        let mut verdicts = Verdicts { suspects: self.suspects, ..Verdicts::default() };
        let cases = (0..).zip(&self.records).filter(|(_, record)| record.standing != Standing::Excused);
        for (number, record) in cases {
            let said = record.said();
            let truth = record.fault.map_or(Truth::Stays, |(fault, _)| self.truth(fault));
            let right = record.is_right(truth);
            let due = record.fault.map(|(fault, at)| at + self.mix.due(fault, &self.contract));
            if record.standing == Standing::Open && !right && due.is_some_and(|due| due > now) {
                // It may still come.
                continue;
            }
            match record.fault {
                Some((fault, _)) => verdicts.rows.entry(fault).or_default().add(&said, right),
                None => verdicts.healthy.add(&said, right),
            }
            if !right {
                let fault = record.fault.map(|(fault, _)| fault);
                let expected = truth.to_string();
                verdicts.list(Wrong { identity: self.identity(number), fault, expected, said });
            }
        }
        verdicts.rows.sort_keys();
        verdicts
    }
}

impl Record {
    /// What the server said.
    fn said(&self) -> String {
        let replaced = self.online > 1 && matches!(self.fault, Some((Fault::Reboot, _)));
        match self.ended {
            Some(reason) => reason.name().to_owned(),
            None if replaced => Reason::PeerReplaced.name().to_owned(),
            None if self.suspicion == Suspicion::Revived => "revived".to_owned(),
            None if self.suspicion == Suspicion::Suspected => "suspect".to_owned(),
            None => "no ending".to_owned(),
        }
    }

    /// Whether that is what it ought to have said.
    fn is_right(&self, truth: Truth) -> bool {
        match truth {
            Truth::Ends(reasons) => reasons.iter().any(|reason| reason.name() == self.said()),
            Truth::Stays => self.ended.is_none(),
            Truth::Unnoticed => self.ended.is_none() && self.suspicion == Suspicion::None,
            Truth::Revives => self.ended.is_none() && self.suspicion == Suspicion::Revived,
        }
    }
}

/// A message on a presence channel, if it is one.
fn read(payload: &[u8]) -> Option<Event> {
    let text = str::from_utf8(payload).ok()?;
    let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
    match word {
        "online" => Some(Event::Online),
        "suspect" => Some(Event::Suspect),
        "revived" => Some(Event::Revived),
        "offline" => {
            #[derive(Deserialize)]
            struct End<'a> {
                reason: &'a str,
            }
            let end: End<'_> = serde_json::from_str(rest).ok()?;
            Reason::ALL.iter().copied().find(|reason| reason.name() == end.reason).map(Event::Offline)
        }
        _ => None,
    }
}

/// What the server said of all clients, and where it was wrong.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Verdicts {
    /// Those who committed each fault.
    pub rows: IndexMap<Fault, Row>,
    /// Those who committed none.
    pub healthy: Row,
    /// Times that anyone was suspect.
    pub suspects: u64,
    /// Wrong verdicts, one by one; not all, if there are very many.
    pub wrong: Vec<Wrong>,
}

/// A row of the truth table.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Row {
    /// Clients.
    pub clients: u64,
    /// Of whom the server said what it ought to.
    pub right: u64,
    /// What it said, and of how many.
    pub said: IndexMap<String, u64>,
}

/// A wrong verdict.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Wrong {
    /// Of whom.
    pub identity: String,
    /// What it did; none: nothing.
    pub fault: Option<Fault>,
    /// What the server ought to have said.
    pub expected: String,
    /// What it said.
    pub said: String,
}

impl Row {
    fn add(&mut self, said: &str, right: bool) {
        self.add_many(said, 1);
        self.clients += 1;
        self.right += u64::from(right);
    }

    fn add_many(&mut self, said: &str, count: u64) {
        match self.said.get_mut(said) {
            Some(have) => *have += count,
            None => drop(self.said.insert(said.to_owned(), count)),
        }
    }

    /// Of how many it said something else than it ought to.
    pub const fn wrong(&self) -> u64 {
        self.clients - self.right
    }

    fn merge(&mut self, other: &Self) {
        self.clients += other.clients;
        self.right += other.right;
        for (said, &count) in &other.said {
            self.add_many(said, count);
        }
    }
}

impl Verdicts {
    /// How many verdicts are wrong.
    pub fn wrong_count(&self) -> u64 {
        self.healthy.wrong() + self.rows.values().map(Row::wrong).sum::<u64>()
    }

    fn list(&mut self, wrong: Wrong) {
        if self.wrong.len() < LISTED_MAX {
            self.wrong.push(wrong);
        }
    }

    /// Those of another process.
    pub fn merge(&mut self, other: Self) {
        for (fault, row) in &other.rows {
            self.rows.entry(*fault).or_default().merge(row);
        }
        self.rows.sort_keys();
        self.healthy.merge(&other.healthy);
        self.suspects += other.suspects;
        other.wrong.into_iter().for_each(|wrong| self.list(wrong));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTRACT: Contract = Contract {
        heartbeat: Duration::from_secs(2),
        grace: Duration::from_secs(4),
        slow_time: Duration::from_secs(30),
        patience: Duration::from_secs(1),
    };

    fn ms(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// A ledger of clients that committed `faults` at 1 s, all of them online before.
    fn ledger(faults: &[Option<Fault>]) -> Ledger {
        let mut ledger = Ledger::new("run-".to_owned(), Mix::default(), CONTRACT);
        for fault in faults {
            let number = ledger.add();
            ledger.hear(channel(number).as_bytes(), b"online", ms(0));
            if let Some(fault) = *fault {
                ledger.commit(number, fault, ms(1000));
            }
        }
        ledger
    }

    fn channel(number: u32) -> String {
        format!("$presence:run-{number}")
    }

    fn hear(ledger: &mut Ledger, number: u32, payload: &str, at: u64) -> Option<(Fault, Duration)> {
        ledger.hear(channel(number).as_bytes(), payload.as_bytes(), ms(at))
    }

    #[test]
    fn the_right_reason_is_right_and_timed() {
        let mut ledger = ledger(&[Some(Fault::Fin), None]);
        assert_eq!(ledger.wanted_until(CONTRACT.patience), Some(ms(2000)));
        let verdict = hear(&mut ledger, 0, "offline {\"reason\":\"peer.fin\",\"class\":\"peer\"}", 1250);
        assert_eq!(verdict, Some((Fault::Fin, Duration::from_millis(250))));
        assert_eq!(ledger.wanted_until(CONTRACT.patience), None);
        let verdicts = ledger.verdicts(Instant::NEVER);
        assert_eq!(
            (verdicts.wrong_count(), verdicts.rows[&Fault::Fin].right, verdicts.healthy.right),
            (0, 1, 1)
        );
    }

    #[test]
    fn another_reason_none_and_an_ending_of_the_innocent_are_wrong() {
        let mut ledger = ledger(&[Some(Fault::Rst), Some(Fault::Freeze), None]);
        hear(&mut ledger, 0, "offline {\"reason\":\"peer.fin\"}", 1100);
        hear(&mut ledger, 2, "offline {\"reason\":\"local.idle\"}", 1200);
        assert_eq!(ledger.wanted_until(CONTRACT.patience), Some(ms(8000)), "the frozen one: 2 s + 4 s + 1 s");
        assert_eq!(ledger.verdicts(ms(7999)).wrong_count(), 2, "it may still come");
        let verdicts = ledger.verdicts(Instant::NEVER);
        let said: Vec<_> = verdicts
            .wrong
            .iter()
            .map(|wrong| (wrong.identity.as_str(), wrong.expected.as_str(), wrong.said.as_str()))
            .collect();
        assert_eq!(
            said,
            [
                ("run-0", "peer.reset", "peer.fin"),
                ("run-1", "stuck.frozen", "no ending"),
                ("run-2", "no ending", "local.idle")
            ]
        );
        assert_eq!(verdicts.wrong_count(), 3);
    }

    #[test]
    fn a_take_over_is_a_second_online_without_an_ending() {
        let mut ledger = ledger(&[Some(Fault::Reboot), Some(Fault::Reboot)]);
        assert!(hear(&mut ledger, 0, "online", 1500).is_some());
        hear(&mut ledger, 1, "offline {\"reason\":\"lost.heartbeat\"}", 1500);
        let row = &ledger.verdicts(Instant::NEVER).rows[&Fault::Reboot];
        assert_eq!(
            (row.clients, row.right, row.said["peer.replaced"], row.said["lost.heartbeat"]),
            (2, 1, 1, 1)
        );
    }

    #[test]
    fn a_late_beat_must_be_noticed_and_forgiven() {
        let mut ledger = ledger(&[Some(Fault::LateBeat), Some(Fault::LateBeat), Some(Fault::Trickle)]);
        assert_eq!(hear(&mut ledger, 0, "suspect", 3000), None);
        assert!(hear(&mut ledger, 0, "revived", 4000).is_some());
        let verdicts = ledger.verdicts(Instant::NEVER);
        assert_eq!(verdicts.rows[&Fault::LateBeat].right, 1);
        assert_eq!(verdicts.rows[&Fault::Trickle].right, 1);
        assert_eq!((verdicts.wrong_count(), verdicts.suspects), (1, 1));
    }

    #[test]
    fn who_is_back_in_time_may_not_even_be_suspect() {
        let mut ledger = ledger(&[]);
        ledger.mix = Mix::parse("freeze=10%:for=1s").unwrap();
        for _ in 0..3 {
            let number = ledger.add();
            ledger.commit(number, Fault::Freeze, ms(1000));
        }
        assert_eq!(ledger.wanted_until(CONTRACT.patience), Some(ms(2100)), "until they are back");
        hear(&mut ledger, 0, "suspect", 1900);
        hear(&mut ledger, 1, "suspect", 1900);
        ledger.excuse(1);
        let verdicts = ledger.verdicts(Instant::NEVER);
        let row = &verdicts.rows[&Fault::Freeze];
        assert_eq!((row.clients, row.right, verdicts.wrong[0].said.as_str()), (2, 1, "suspect"));
    }

    #[test]
    fn messages_of_others_and_nonsense_change_nothing() {
        let mut ledger = ledger(&[Some(Fault::Fin)]);
        for (channel, payload) in [
            ("$presence:run-7", "offline {\"reason\":\"peer.fin\"}"),
            ("$presence:other-0", "offline {\"reason\":\"peer.fin\"}"),
            ("$presence:run-0", "offline null"),
            ("$presence:run-0", "offline {\"reason\":\"no.such\"}"),
            ("$presence:run-0", "hello"),
            ("$presence:run-", "online"),
        ] {
            assert_eq!(
                ledger.hear(channel.as_bytes(), payload.as_bytes(), ms(1)),
                None,
                "{channel} {payload}"
            );
        }
        assert_eq!(ledger.progress(), (1, 0));
    }

    #[test]
    fn tables_of_several_processes_add_up() {
        let mut one = ledger(&[Some(Fault::Fin), None]).verdicts(Instant::NEVER);
        one.merge(ledger(&[Some(Fault::Fin), None, None]).verdicts(Instant::NEVER));
        assert_eq!((one.rows[&Fault::Fin].clients, one.healthy.clients, one.wrong.len()), (2, 3, 2));
    }
}
