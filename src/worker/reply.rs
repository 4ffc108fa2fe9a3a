//! Answers that come from us.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Phase;
use super::count::Whose;
use super::generation::Place;
use super::pump::{Flow, Pump};
use super::scratch::Scratch;
use crate::balance::tally::METHODS;
use crate::config::Mode;
use crate::exchange::{Act, Cause, Exchange, Local};
use crate::proto::h1::Refusal;
use crate::proto::h1::reply::{Reply, reason};
use crate::proto::h1::response::Connection;
use crate::slab::Key;
use crate::transport::Net;

/// What a 405 names.
const ALLOW: &str = "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";

/// Place in [`METHODS`] of a method that nobody knows.
const OTHER: u8 = METHODS.len() as u8 - 1;

impl<N: Net> Pump<N> {
    /// A head that broke a rule is answered, and the connection closed: nobody knows where it would go on.
    pub(super) fn refuse(&mut self, scratch: &mut Scratch, key: Key, refusal: Refusal) -> Flow {
        let to_head = scratch.input().trim_ascii_start().starts_with(b"HEAD ");
        self.note_refused(key, scratch.input());
        self.reply_error(scratch, key, Cause::BadRequest(refusal), refusal.status(), to_head)
    }

    /// Ends an exchange, or what did not become one, with an error reply.
    pub(super) fn reply_error(
        &mut self,
        s: &mut Scratch,
        key: Key,
        cause: Cause,
        status: u16,
        to_head: bool,
    ) -> Flow {
        self.note_unread(key);
        self.count_failure(key, cause);
        self.log_failure(key, cause, format_args!("answered with {status}"));
        let (body, content_type) = self.error_body(status, cause);
        let fields = match status {
            405 => ALLOW,
            429 | 503 => "Retry-After: 1\r\n",
            _ => "",
        };
        let fields = self.error_fields(fields, cause);
        let reply = Reply { status, content_type: &content_type, fields: &fields, body: &body };
        let down = &mut self.downstreams[key];
        let Some(flight_key) = down.flight.take() else {
            self.count_reply(key, None, OTHER, status);
            return self.send_reply(s, key, &reply, (to_head, Connection::Close, true), None);
        };
        self.count_reply(key, Some(flight_key), OTHER, status);
        self.count_total(flight_key);
        let exchange = &self.flights[flight_key].exchange;
        let (to_head, unread) = (exchange.to_head(), exchange.request_unread());
        // Its descriptor may be the one that is lacking.
        let last = unread || self.draining || self.was_last_request(key) || cause == Cause::Shortage;
        let connection =
            if last { Connection::Close } else { self.flights[flight_key].exchange.connection() };
        let flight = &self.flights[flight_key];
        let whose = Whose { place: flight.place, pool: Some(flight.pool) };
        self.stay_in_generation(whose.place);
        self.end_flight(flight_key, false);
        let flow = self.send_reply(s, key, &reply, (to_head, connection, unread), Some(whose));
        self.leave_generation(whose.place);
        flow
    }

    /// A client has brought more requests than it may.
    pub(super) fn reply_limited(
        &mut self,
        s: &mut Scratch,
        key: Key,
        (exchange, method): (&Exchange, u8),
        line: usize,
        wait: Duration,
    ) -> Flow {
        let cause = Cause::RateLimited;
        self.count_failure(key, cause);
        let place = self.place(key, line);
        self.count_limited(place, Some(method), cause);
        self.log_failure(key, cause, format_args!("answered with 429"));
        // Whole seconds (RFC 9110 section 10.2.3): whoever waits that long is not refused again.
        let seconds = wait.as_millis().div_ceil(1_000).max(1);
        let fields = self.error_fields(&format!("Retry-After: {seconds}\r\n"), cause).into_owned();
        let (body, content_type) = self.error_body(429, cause);
        let reply = Reply { status: 429, content_type: &content_type, fields: &fields, body: &body };
        self.reply(s, key, &reply, (exchange, method), place)
    }

    /// Answers a request that has no exchange in flight.
    pub(super) fn reply(
        &mut self,
        s: &mut Scratch,
        key: Key,
        reply: &Reply<'_>,
        (exchange, method): (&Exchange, u8),
        place: Place,
    ) -> Flow {
        let unread = exchange.request_unread();
        let last = unread || self.draining || self.was_last_request(key);
        let connection = if last { Connection::Close } else { exchange.connection() };
        self.count_reply(key, None, method, reply.status);
        let whose = Whose { place, pool: None };
        self.send_reply(s, key, reply, (exchange.to_head(), connection, unread), Some(whose))
    }

    /// The connection has had as many requests as it may have.
    pub(super) fn was_last_request(&self, key: Key) -> bool {
        let most = self.settings.limits.requests;
        most.is_some_and(|most| self.downstreams[key].requests >= most) || self.is_left_behind(key)
    }

    fn send_reply(
        &mut self,
        scratch: &mut Scratch,
        key: Key,
        reply: &Reply<'_>,
        (to_head, connection, linger): (bool, Connection, bool),
        whose: Option<Whose>,
    ) -> Flow {
        scratch.outbox.clear();
        reply.write(to_head, connection, &mut scratch.outbox);
        let down = &mut self.downstreams[key];
        let waited = down.output.as_ref().map_or(0, |output| output.filled().len());
        // What waited before it (an interim response) leaves first.
        if let Some(output) = down.output.take() {
            let mut both = output.filled().to_vec();
            self.pool.give(output);
            both.extend_from_slice(&scratch.outbox);
            down.output = Some(self.pool.copy(&both));
        } else if self.send_down(key, &scratch.outbox) == Flow::Over {
            return Flow::Over;
        }
        whose.iter().for_each(|whose| self.count_sent(whose, (waited + scratch.outbox.len()) as u64));
        self.end_line(key);
        let down = &mut self.downstreams[key];
        if connection == Connection::Close {
            down.phase = Phase::Flush { linger: linger || down.input.is_some() };
            self.arm(key, self.settings.timeouts.stall.as_millis() as u64);
        } else {
            down.phase = Phase::Head;
            self.arm_idle(key);
        }
        Flow::Moved
    }

    /// A client's address has too many connections, and this one is closed.
    pub(super) fn refuse_connection(&mut self, key: Key) {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.refuse_client(&mut scratch, key);
        self.scratch = scratch;
        self.enqueue(key);
    }

    /// As [`Self::refuse_connection`]; where HTTP is spoken the client is told.
    pub(super) fn refuse_client(&mut self, scratch: &mut Scratch, key: Key) -> Flow {
        match self.mode(key) {
            Mode::Tcp => self.refuse_tunnel(key, Cause::TooManyConnections),
            Mode::Http => self.reply_error(scratch, key, Cause::TooManyConnections, 429, false),
        }
    }

    /// Answers a request that is not sent on.
    pub(super) fn reply_locally(
        &mut self,
        scratch: &mut Scratch,
        key: Key,
        (exchange, method): (&Exchange, u8),
        line: usize,
        local: Local,
    ) -> Flow {
        let settings = Arc::clone(&self.settings);
        let site = &settings.sites[usize::from(self.downstreams[key].listener)];
        let (status, fields);
        let reply = match (local, &site.lines[line].action) {
            (Local::Status, _) => {
                status = (settings.status)();
                let fields = "Cache-Control: no-store\r\n";
                Reply { status: 200, content_type: "application/json", fields, body: status.as_bytes() }
            }
            (Local::MaxForwards { trace }, _) => Reply {
                status: if trace { 405 } else { 200 },
                content_type: "text/plain",
                fields: if trace { ALLOW } else { "" },
                body: b"",
            },
            (Local::Redirect(status, location), _) => {
                fields = format!("Location: {}\r\n", String::from_utf8_lossy(&location));
                Reply { status, content_type: "text/plain", fields: &fields, body: b"" }
            }
            (Local::Line, Act::Fixed(fixed)) => Reply {
                status: fixed.status,
                content_type: &fixed.content_type,
                fields: "",
                body: fixed.body.as_bytes(),
            },
            (Local::Line, _) => {
                return self.reply_nobody(scratch, key, (exchange, method), line);
            }
        };
        let place = self.place(key, line);
        self.count_route(place, method, reply.status);
        self.reply(scratch, key, &reply, (exchange, method), place)
    }

    /// No route means this request.
    fn reply_nobody(&mut self, s: &mut Scratch, key: Key, asked: (&Exchange, u8), line: usize) -> Flow {
        let cause = Cause::NoRoute;
        self.count_failure(key, cause);
        self.log_failure(key, cause, format_args!("answered with 404"));
        let (body, content_type) = self.error_body(404, cause);
        let fields = self.error_fields("", cause);
        let reply = Reply { status: 404, content_type: &content_type, fields: &fields, body: &body };
        self.reply(s, key, &reply, asked, self.place(key, line))
    }

    /// The fields of an error reply, with its cause among them where that is asked for.
    fn error_fields<'f>(&self, fields: &'f str, cause: Cause) -> Cow<'f, str> {
        match &self.settings.cause_header {
            Some(name) => format!("{fields}{name}: {}\r\n", cause.code()).into(),
            None => fields.into(),
        }
    }

    /// The body of an error reply, and its type.
    fn error_body(&self, status: u16, cause: Cause) -> (Vec<u8>, String) {
        match self.settings.error_pages.iter().find(|page| page.statuses.contains(status)) {
            Some(page) => (page.body.clone(), page.content_type.clone()),
            None => {
                let text = format!("{status} {}: {}\n", reason(status), cause.text());
                (text.into_bytes(), "text/plain; charset=utf-8".to_owned())
            }
        }
    }
}
