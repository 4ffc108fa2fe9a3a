//! A far end that follows a list of acts: what clients and backends have in common.

use std::collections::VecDeque;

use crate::net::Wires;

/// One thing a far end does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Send(Vec<u8>),
    /// What was sent so far brought request so far.
    Mark(usize, Mark),
    /// Does nothing for so many milliseconds.
    Pause(u64),
    Await(Wait),
    Fin,
    Reset,
    Close,
}

/// How far the sending of a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Begun,
    Head,
}

/// What a far end waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// So many final answers.
    Answers(usize),
    /// So many answers, final or interim.
    AnyAnswers(usize),
    /// The request at hand is whole.
    Request,
    /// The other side has ended.
    End,
    /// Nothing: it goes on for ever.
    Forever,
}

/// The acting half of a far end.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) line: usize,
    pub(crate) acts: VecDeque<Act>,
    /// Bytes of the first act that have left.
    sent: usize,
    wake: u64,
    /// Our side of the line is closed.
    pub(crate) gone: bool,
}

impl Peer {
    pub(crate) fn new(line: usize, acts: Vec<Act>) -> Self {
        Self { line, acts: acts.into(), sent: 0, wake: 0, gone: false }
    }

    /// When it goes on by itself.
    pub(crate) fn wakes(&self, now: u64) -> Option<u64> {
        (!self.gone && self.wake > now).then_some(self.wake)
    }

    /// Acts as far as it can; the marks that were passed. `met` says whether something waited for has come.
    pub(crate) fn act(&mut self, wires: &mut Wires, met: impl Fn(Wait) -> bool) -> Vec<(usize, Mark)> {
        let mut marks = Vec::new();
        while !self.gone && self.wake <= wires.now {
            match self.acts.front() {
                None => break,
                Some(Act::Send(bytes)) => {
                    self.sent += wires.far_write(self.line, &bytes[self.sent..]);
                    if self.sent < bytes.len() {
                        break;
                    }
                    self.sent = 0;
                }
                Some(&Act::Mark(number, mark)) => marks.push((number, mark)),
                Some(&Act::Pause(time)) => self.wake = wires.now + time,
                Some(&Act::Await(wait)) if met(wait) => {}
                Some(Act::Await(_)) => break,
                Some(Act::Fin) => wires.far_fin(self.line),
                Some(Act::Reset) => {
                    wires.far_reset(self.line);
                    self.gone = true;
                }
                Some(Act::Close) => self.close(wires),
            }
            self.acts.pop_front();
        }
        marks
    }

    pub(crate) fn close(&mut self, wires: &mut Wires) {
        if !self.gone {
            wires.far_close(self.line);
            self.gone = true;
        }
    }

    /// Nothing left to do.
    pub(crate) fn is_done(&self) -> bool {
        self.acts.is_empty()
    }
}
