//! What is sent back.

use serde::Serialize;

use crate::proto::h1::reply::Reply;
use crate::proto::h1::response::Connection;

const JSON: &str = "application/json";

/// An answer, less what depends on the connection.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    /// Whole field lines, each ending in CRLF.
    pub(super) fields: String,
    pub(super) body: Vec<u8>,
}

#[derive(Serialize)]
struct Failure<'a> {
    error: &'a str,
}

#[derive(Serialize)]
struct Done<'a> {
    done: &'a str,
}

impl Answer {
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type, fields: String::new(), body: body.into() }
    }

    /// Any value as JSON, with a line end for those who read it in a terminal.
    pub(super) fn json(status: u16, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(mut body) => {
                body.push(b'\n');
                Self::new(status, JSON, body)
            }
            Err(error) => Self::error(500, &error.to_string()),
        }
    }

    /// `{"error":"…"}`.
    pub(super) fn error(status: u16, why: &str) -> Self {
        Self::json(status, &Failure { error: why })
    }

    /// `{"done":"…"}`, or the error as a conflict with how things are.
    pub(super) fn of_command(outcome: Result<String, String>) -> Self {
        match outcome {
            Ok(what) => Self::json(200, &Done { done: &what }),
            Err(why) => Self::error(409, &why),
        }
    }

    /// A line of plain text.
    pub(super) fn text(status: u16, text: &str) -> Self {
        Self::new(status, "text/plain; charset=utf-8", text)
    }

    pub(super) fn with_field(mut self, name: &str, value: &str) -> Self {
        self.fields = format!("{}{name}: {value}\r\n", self.fields);
        self
    }

    /// As it is sent.
    pub(super) fn write(&self, date: &str, to_head: bool, connection: Connection, out: &mut Vec<u8>) {
        let fields = format!(
            "Date: {date}\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\
             Referrer-Policy: no-referrer\r\n{}",
            self.fields
        );
        let reply =
            Reply { status: self.status, content_type: self.content_type, fields: &fields, body: &self.body };
        reply.write(to_head, connection, out);
    }
}
