//! One line of the log, in either format. Pure: all that it says is handed in.

use std::io::Write;
use std::net::IpAddr;

use super::escape;
use super::stamp::Stamps;
use crate::config::LogFormat;

/// What a line says. Bytes that came from a client are as they came; empty is none.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// When the exchange ended, in milliseconds of Unix time.
    pub unix: u64,
    /// The address of the connection's other end.
    pub client: IpAddr,
    /// The request's first line.
    pub request: &'a [u8],
    /// Its Host field, or the name that TLS asks for.
    pub host: &'a [u8],
    /// Its Referer field.
    pub referer: &'a [u8],
    /// Its User-Agent field.
    pub agent: &'a [u8],
    /// Of the answer that was sent; 0 when none was begun.
    pub status: u16,
    /// Bytes of the answer, its head included; in a tunnel all that went to the client.
    pub bytes: u64,
    /// Where the time went.
    pub times: Times,
    /// The backend that was tried last.
    pub backend: &'a str,
    /// Its pool.
    pub pool: &'a str,
    /// The route that meant the request.
    pub route: &'a str,
    /// How often the request was sent again.
    pub retries: u8,
    /// The code of why it ended other than well.
    pub cause: &'a str,
    /// The request's number.
    pub id: &'a [u8],
    /// The listener that it came to.
    pub listener: &'a str,
    /// The port of the connection's other end.
    pub port: u16,
    /// Bytes of the request, its head included; in a tunnel all that came from the client.
    pub received: u64,
}

/// Where the time of an exchange went, in microseconds; `None` where it did not come so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Waiting for a backend that has room.
    pub queue: u64,
    /// Until the last try's connection was made; `None` on one that was there already.
    pub connect: Option<u64>,
    /// From the beginning of the last try to the head of its answer.
    pub first_byte: Option<u64>,
    /// From the end of the request's head to the end of all.
    pub total: u64,
}

impl Line<'_> {
    /// Adds the line, its end included, to `out`.
    pub fn write(&self, format: LogFormat, stamps: &mut Stamps, out: &mut Vec<u8>) {
        match format {
            LogFormat::Text => self.text(stamps, out),
            LogFormat::Json => self.json(stamps, out),
        }
    }

    /// The combined format; behind it the times, and what became of the request.
    fn text(&self, stamps: &mut Stamps, out: &mut Vec<u8>) {
        address(out, self.client);
        out.extend_from_slice(b" - - [");
        out.extend_from_slice(stamps.clf(self.unix).as_bytes());
        out.extend_from_slice(b"] ");
        quoted(out, self.request);
        out.push(b' ');
        // Readers of the combined format expect three digits.
        let status = self.status % 1_000;
        out.extend([status / 100, status / 10 % 10, status % 10].map(|digit| b'0' + digit as u8));
        out.push(b' ');
        number(out, self.bytes);
        out.push(b' ');
        quoted(out, self.referer);
        out.push(b' ');
        quoted(out, self.agent);
        for time in
            [Some(self.times.queue), self.times.connect, self.times.first_byte, Some(self.times.total)]
        {
            out.push(b' ');
            match time {
                Some(time) => millis(out, time),
                None => out.push(b'-'),
            }
        }
        for word in [self.backend, self.pool, self.route] {
            bare(out, word.as_bytes());
        }
        out.push(b' ');
        number(out, u64::from(self.retries));
        bare(out, self.cause.as_bytes());
        bare(out, self.id);
        bare(out, self.listener.as_bytes());
        out.push(b' ');
        number(out, u64::from(self.port));
        out.push(b' ');
        number(out, self.received);
        bare(out, self.host);
        out.push(b'\n');
    }

    fn json(&self, stamps: &mut Stamps, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(stamps.iso(self.unix).as_bytes());
        out.push(b'.');
        padded(out, self.unix % 1_000);
        out.extend_from_slice(b"Z\",\"client\":\"");
        address(out, self.client);
        out.push(b'"');
        let (method, target, version) = self.parts();
        member(out, key!("method"), method);
        member(out, key!("target"), target);
        member(out, key!("version"), version);
        member(out, key!("host"), self.host);
        out.extend_from_slice(key!("status"));
        match self.status {
            0 => out.extend_from_slice(b"null"),
            status => number(out, u64::from(status)),
        }
        out.extend_from_slice(key!("bytes"));
        number(out, self.bytes);
        member(out, key!("referer"), self.referer);
        member(out, key!("user_agent"), self.agent);
        for (key, time) in [
            (key!("queue_ms"), Some(self.times.queue)),
            (key!("connect_ms"), self.times.connect),
            (key!("first_byte_ms"), self.times.first_byte),
            (key!("total_ms"), Some(self.times.total)),
        ] {
            out.extend_from_slice(key);
            match time {
                Some(time) => millis(out, time),
                None => out.extend_from_slice(b"null"),
            }
        }
        member(out, key!("backend"), self.backend.as_bytes());
        member(out, key!("pool"), self.pool.as_bytes());
        member(out, key!("route"), self.route.as_bytes());
        out.extend_from_slice(key!("retries"));
        number(out, u64::from(self.retries));
        member(out, key!("cause"), self.cause.as_bytes());
        member(out, key!("request_id"), self.id);
        member(out, key!("listener"), self.listener.as_bytes());
        out.extend_from_slice(key!("client_port"));
        number(out, u64::from(self.port));
        out.extend_from_slice(key!("received_bytes"));
        number(out, self.received);
        out.extend_from_slice(b"}\n");
    }

    /// Method, target and version of the first line; one that is not made of these is all target.
    fn parts(&self) -> (&[u8], &[u8], &[u8]) {
        let space = |byte: &u8| *byte == b' ';
        let (first, last) = (self.request.iter().position(space), self.request.iter().rposition(space));
        match (first, last) {
            (Some(first), Some(last)) if first < last && self.request[last + 1..].starts_with(b"HTTP/") => {
                (&self.request[..first], &self.request[first + 1..last], &self.request[last + 1..])
            }
            _ => (b"", self.request, b""),
        }
    }
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (i, octet) in address.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                number(out, u64::from(octet));
            }
        }
        // A vector takes all that it is given.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// `"value"`, or `"-"` for none.
fn quoted(out: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        out.extend_from_slice(b"\"-\"");
        return;
    }
    out.push(b'"');
    escape::text(out, value, false);
    out.push(b'"');
}

/// ` value`, or ` -` for none.
fn bare(out: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        out.extend_from_slice(b" -");
        return;
    }
    out.push(b' ');
    escape::text(out, value, true);
}

/// The name of a member and what stands around it, in one piece: there are two dozen a line.
macro_rules! key {
    ($name:literal) => {
        concat!(",\"", $name, "\":").as_bytes()
    };
}
use key;

/// A member whose value is a string; `null` for none.
fn member(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    out.extend_from_slice(key);
    match value {
        b"" => out.extend_from_slice(b"null"),
        value => escape::json(out, value),
    }
}

fn number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Three digits.
fn padded(out: &mut Vec<u8>, number: u64) {
    out.extend([number / 100 % 10, number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8));
}

/// Microseconds as milliseconds with three decimals.
fn millis(out: &mut Vec<u8>, us: u64) {
    number(out, us / 1_000);
    out.push(b'.');
    padded(out, us % 1_000);
}

#[cfg(test)]
mod tests;
