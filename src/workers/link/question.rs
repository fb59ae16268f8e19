//! Questions to the admin interface of a worker, and their answers: their meaning and their bytes.

use super::message::{Fields, Malformed, put_bytes, put_number};

/// A question to the admin interface of a worker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// Comes back with the answer.
    pub number: u64,
    /// Something is to be done, rather than told: POST.
    pub act: bool,
    /// The path, decoded.
    pub path: String,
    /// The query, decoded.
    pub query: Vec<(String, String)>,
    /// Where it comes from: the peer at the supervisor's admin interface.
    pub peer: String,
    /// Of a list: the slot of the worker's table from which to go on.
    pub from: u32,
    /// Of a list: how many rows are wanted at most.
    pub rows: u32,
}

/// Which part of an answer it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// All of it, or the last part.
    Last,
    /// More follows unasked.
    More,
    /// A page of a list; what is behind it is asked for.
    Rows {
        /// Connections that passed the filters, on this page.
        matched: u64,
        /// Rows on it.
        listed: u64,
        /// From where the next page goes on, if there is one.
        next: Option<u32>,
    },
}

/// Its answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Of the question.
    pub number: u64,
    /// Status of HTTP.
    pub status: u16,
    /// The body.
    pub body: String,
    /// How much of it this is.
    pub part: Part,
}

impl Question {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_number(out, self.number);
        out.push(u8::from(self.act));
        put_bytes(out, self.path.as_bytes());
        put_number(out, self.query.len() as u64);
        for (name, value) in &self.query {
            put_bytes(out, name.as_bytes());
            put_bytes(out, value.as_bytes());
        }
        put_bytes(out, self.peer.as_bytes());
        put_number(out, u64::from(self.from));
        put_number(out, u64::from(self.rows));
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            number: fields.number()?,
            act: fields.tag()? != 0,
            path: fields.text()?,
            query: (0..fields.number()?)
                .map(|_| Ok((fields.text()?, fields.text()?)))
                .collect::<Result<_, Malformed>>()?,
            peer: fields.text()?,
            from: fields.small()?,
            rows: fields.small()?,
        })
    }
}

impl Answer {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_number(out, self.number);
        put_number(out, u64::from(self.status));
        put_bytes(out, self.body.as_bytes());
        self.part.write(out);
    }

    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            number: fields.number()?,
            status: u16::try_from(fields.number()?).map_err(|_| Malformed)?,
            body: fields.text()?,
            part: Part::read(fields)?,
        })
    }
}

impl Part {
    fn write(self, out: &mut Vec<u8>) {
        match self {
            Self::Last => out.push(0),
            Self::More => out.push(1),
            Self::Rows { matched, listed, next } => {
                out.push(if next.is_some() { 3 } else { 2 });
                put_number(out, matched);
                put_number(out, listed);
                if let Some(next) = next {
                    put_number(out, u64::from(next));
                }
            }
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let tag = fields.tag()?;
        match tag {
            0 => Ok(Self::Last),
            1 => Ok(Self::More),
            2 | 3 => Ok(Self::Rows {
                matched: fields.number()?,
                listed: fields.number()?,
                next: if tag == 3 { Some(fields.small()?) } else { None },
            }),
            _ => Err(Malformed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::tests::returns;
    use super::super::{ToSupervisor, ToWorker};
    use super::*;

    #[test]
    fn questions_and_answers_read_back() {
        returns(&ToWorker::Ask(Question {
            number: u64::MAX,
            act: true,
            path: "/connections".to_owned(),
            query: vec![("limit".to_owned(), "2".to_owned()), (String::new(), "ü".to_owned())],
            peer: "127.0.0.1:9".to_owned(),
            from: 7,
            rows: u32::MAX,
        }));
        for next in [None, Some(0), Some(u32::MAX)] {
            for part in [Part::Last, Part::More, Part::Rows { matched: 7, listed: 2, next }] {
                let body = "ok\n".to_owned();
                returns(&ToSupervisor::Answer(Answer { number: 4, status: 200, body, part }));
            }
        }
    }
}
