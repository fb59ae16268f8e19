//! The frame of a list of endings: what stands around its rows, and how far back it reaches.

use crate::protocol::admin::Cursor;
use serde_json::json;
use std::fmt::Write as _;

/// What stands before the rows of a list of endings.
pub const ENDS_BEGIN: &str = "{\"ends\":[";

/// What is kept of the endings of a process, or of several.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// How many there are.
    pub kept: u64,
    /// How many had to make way, since the process was started.
    pub dropped: u64,
    /// How many of those that were asked for had to make way: those behind the cursor `after`.
    pub missed: u64,
    /// No ending within so many milliseconds is missing.
    pub reach_ms: u64,
    /// None is missing since the process was started.
    pub from_start: bool,
    /// The memory for them; 0: none are kept.
    pub bytes: u64,
    /// The number of the last one; 0: there was none.
    pub last_number: u64,
}

impl Kept {
    /// What is kept of both together. Of the number of the last one, each process has its own.
    #[must_use]
    pub fn and(self, other: &Self) -> Self {
        Self {
            kept: self.kept + other.kept,
            dropped: self.dropped + other.dropped,
            missed: self.missed + other.missed,
            reach_ms: self.reach_ms.min(other.reach_ms),
            from_start: self.from_start && other.from_start,
            bytes: self.bytes + other.bytes,
            last_number: 0,
        }
    }
}

/// What stands behind the rows of a list of endings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndsTail<'a> {
    /// How many rows there are.
    pub listed: u64,
    /// With which cursor the list goes on, if there may be more.
    pub before: Option<Cursor>,
    /// With which cursor to ask for those that come later.
    pub after: Cursor,
    /// How far back it reaches.
    pub kept: Kept,
    /// The workers whose endings are missing; `None`: there are no workers.
    pub unanswered: Option<&'a [u32]>,
}

impl EndsTail<'_> {
    /// Appends it.
    pub fn write(&self, out: &mut String) {
        let Kept { kept, dropped, missed, reach_ms, from_start, bytes, .. } = self.kept;
        let before = json!(self.before.as_ref().map(Cursor::to_string));
        let after = json!(self.after.to_string());
        #[expect(clippy::cast_precision_loss, reason = "milliseconds of some years are exact")]
        let reach_s = reach_ms as f64 / 1000.0;
        let _ = write!(
            out,
            "],\"listed\":{},\"before\":{before},\"after\":{after},\"kept\":{kept},\"dropped\":{dropped},\
             \"missed\":{missed},\"reach_s\":{reach_s},\"from_start\":{from_start},\"history_bytes\":{bytes}",
            self.listed
        );
        super::end_with(self.unanswered, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_list_of_endings_says_how_far_back_it_reaches() {
        let one = Kept {
            kept: 5,
            dropped: 2,
            missed: 1,
            reach_ms: 1500,
            from_start: false,
            bytes: 64,
            last_number: 7,
        };
        let other =
            Kept { kept: 1, reach_ms: 9000, from_start: true, bytes: 64, last_number: 1, ..Kept::default() };
        let unanswered = [3];
        let tail = EndsTail {
            listed: 0,
            before: Some(Cursor(vec![(Some(1), 4)])),
            after: Cursor(vec![(Some(1), 7), (Some(2), 1)]),
            kept: one.and(&other),
            unanswered: Some(&unanswered),
        };
        let mut text = ENDS_BEGIN.to_owned();
        tail.write(&mut text);
        let value: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "ends": [], "listed": 0, "before": "1.4", "after": "1.7,2.1", "kept": 6, "dropped": 2, "missed": 1,
            "reach_s": 1.5, "from_start": false, "history_bytes": 128, "unanswered_workers": [3],
        });
        assert_eq!(value, expected);
        let mut text = ENDS_BEGIN.to_owned();
        EndsTail { before: None, unanswered: None, ..tail }.write(&mut text);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((&value["before"], value.get("unanswered_workers")), (&Value::Null, None));
    }
}
