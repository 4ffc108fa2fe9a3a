//! One raw case: what the client sends, what the backend answers, and what evenkeel must make of it.

/// What the client does, in order.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Waits until the client has received this.
    Await(&'static str),
    /// Waits until the backend has received this.
    AwaitBackend(&'static str),
    /// Lets the backend send the next piece of its answer.
    Release,
    /// Has the backend send this behind its answer, once the client has it.
    Late(&'static str),
    /// Ends the client's side.
    Shut,
}

/// When the backend answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum When {
    #[default]
    Whole,
    /// As soon as it has the head.
    Head,
}

/// What the backend does behind its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    #[default]
    Keep,
    Close,
    Reset,
    /// Speaks as the far end of a tunnel.
    Shout,
}

/// The backend's answer. Without pieces it says what request it saw.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) when: When,
    pub(crate) pieces: Vec<Vec<u8>>,
    pub(crate) end: End,
}

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Kept,
    Closed,
    Either,
}

/// What evenkeel must do.
#[derive(Clone, Debug)]
pub(crate) struct Expect {
    /// Of the final answers.
    pub(crate) statuses: Vec<u16>,
    /// The last answer is whole; else it is visibly cut.
    pub(crate) whole: bool,
    pub(crate) after: After,
    /// Whole requests that the backend sees.
    pub(crate) requests: usize,
    /// The backend sees a part of a request as well.
    pub(crate) in_part: bool,
    /// Whether the next request goes over the same connection to the backend.
    pub(crate) reused: Option<bool>,
    pub(crate) backend: Text,
    pub(crate) client: Text,
}

/// What must and what must not be among the bytes that a side received; case does not matter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text {
    pub(crate) has: Vec<&'static str>,
    pub(crate) lacks: Vec<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Sections of RFC 9110 or RFC 9112, or a limit of ours.
    pub(crate) rule: &'static str,
    pub(crate) steps: Vec<Step>,
    pub(crate) script: Script,
    pub(crate) expect: Expect,
}

/// Cases of one kind.
pub(crate) struct Class {
    pub(crate) title: &'static str,
    pub(crate) cases: Vec<Case>,
}

fn case(name: &'static str, rule: &'static str, sent: impl Into<Vec<u8>>, expect: Expect) -> Case {
    Case { name, rule, steps: vec![Step::Send(sent.into())], script: Script::default(), expect }
}

const PASSED: Expect = Expect {
    statuses: Vec::new(),
    whole: true,
    after: After::Kept,
    requests: 1,
    in_part: false,
    reused: None,
    backend: Text { has: Vec::new(), lacks: Vec::new() },
    client: Text { has: Vec::new(), lacks: Vec::new() },
};

/// Answered by us with this status; the connection is closed and the backend sees nothing.
pub(crate) fn refused(name: &'static str, rule: &'static str, sent: impl Into<Vec<u8>>, status: u16) -> Case {
    let expect = Expect { statuses: vec![status], after: After::Closed, requests: 0, ..PASSED };
    case(name, rule, sent, expect)
}

/// Passed on, answered by the backend with 200, and the connection is kept.
pub(crate) fn passed(name: &'static str, rule: &'static str, sent: impl Into<Vec<u8>>) -> Case {
    case(name, rule, sent, Expect { statuses: vec![200], ..PASSED })
}

/// A plain GET that the backend answers with `answer`, which is passed on with this status.
pub(crate) fn relayed(
    name: &'static str,
    rule: &'static str,
    answer: impl Into<Vec<u8>>,
    status: u16,
) -> Case {
    let expect = Expect { statuses: vec![status], reused: Some(true), ..PASSED };
    case(name, rule, get(""), expect).answer(answer)
}

/// A plain GET that the backend answers with `answer`, which is not passed on.
pub(crate) fn discarded(name: &'static str, rule: &'static str, answer: impl Into<Vec<u8>>) -> Case {
    let expect = Expect { statuses: vec![502], reused: Some(false), after: After::Either, ..PASSED };
    case(name, rule, get(""), expect).answer(answer)
}

impl Case {
    pub(crate) fn answer(mut self, answer: impl Into<Vec<u8>>) -> Self {
        self.script.pieces = vec![answer.into()];
        self
    }

    /// Another request than before, or another piece of it.
    pub(crate) fn steps(mut self, steps: impl IntoIterator<Item = Step>) -> Self {
        self.steps = steps.into_iter().collect();
        self
    }

    pub(crate) fn sent(self, sent: impl Into<Vec<u8>>) -> Self {
        self.steps([Step::Send(sent.into())])
    }

    /// More to do for the client.
    pub(crate) fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// A piece of the answer that waits for [`Step::Release`].
    pub(crate) fn piece(mut self, piece: &str) -> Self {
        self.script.pieces.push(piece.into());
        self
    }

    pub(crate) fn ends(mut self, end: End) -> Self {
        self.script.end = end;
        self
    }

    /// The backend answers before it has the body.
    pub(crate) fn early(mut self) -> Self {
        self.script.when = When::Head;
        self
    }

    pub(crate) fn statuses(mut self, statuses: &[u16]) -> Self {
        self.expect.statuses = statuses.to_vec();
        self
    }

    /// So many whole requests at the backend.
    pub(crate) fn requests(mut self, requests: usize) -> Self {
        self.expect.requests = requests;
        self
    }

    pub(crate) fn in_part(mut self) -> Self {
        (self.expect.requests, self.expect.in_part) = (0, true);
        self
    }

    pub(crate) fn cut(mut self) -> Self {
        (self.expect.whole, self.expect.after) = (false, After::Closed);
        self.expect.reused = Some(false);
        self
    }

    pub(crate) fn closed(mut self) -> Self {
        self.expect.after = After::Closed;
        self
    }

    pub(crate) fn kept(mut self) -> Self {
        self.expect.after = After::Kept;
        self
    }

    pub(crate) fn not_reused(mut self) -> Self {
        self.expect.reused = Some(false);
        self
    }

    pub(crate) fn backend_has(mut self, text: &'static str) -> Self {
        self.expect.backend.has.push(text);
        self
    }

    pub(crate) fn backend_lacks(mut self, text: &'static str) -> Self {
        self.expect.backend.lacks.push(text);
        self
    }

    pub(crate) fn client_has(mut self, text: &'static str) -> Self {
        self.expect.client.has.push(text);
        self
    }

    pub(crate) fn client_lacks(mut self, text: &'static str) -> Self {
        self.expect.client.lacks.push(text);
        self
    }
}

/// A GET with these field lines, which are divided by CRLF.
pub(crate) fn get(fields: &str) -> String {
    request("GET /case HTTP/1.1", fields, "")
}

/// A POST with these field lines and what follows the head.
pub(crate) fn post(fields: &str, body: &str) -> String {
    request("POST /case HTTP/1.1", fields, body)
}

/// A request of HTTP/1.1 with a good Host behind its request line.
pub(crate) fn request(line: &str, fields: &str, body: &str) -> String {
    let end = if fields.is_empty() { "" } else { "\r\n" };
    format!("{line}\r\nHost: a.test\r\n{fields}{end}\r\n{body}")
}

/// A good request line, then the given field lines alone.
pub(crate) fn bare(fields: &str) -> String {
    format!("GET /case HTTP/1.1\r\n{fields}\r\n\r\n")
}

/// A chunked POST with this body.
pub(crate) fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked", body)
}

/// A 200 with these field lines and what follows the head.
pub(crate) fn ok(fields: &str, body: &str) -> String {
    answer("HTTP/1.1 200 OK", fields, body)
}

/// An answer with this status line.
pub(crate) fn answer(line: &str, fields: &str, body: &str) -> String {
    let end = if fields.is_empty() { "" } else { "\r\n" };
    format!("{line}\r\n{fields}{end}\r\n{body}")
}
