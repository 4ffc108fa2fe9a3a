//! One request and its response, or a tunnel: a pure machine that is given bytes and gives bytes.
//!
//! It knows what a message means and where it ends. It has no socket, no clock and no backend; the pump does
//! the moving. Bytes for the other side come out in two parts: what was written to `out`, then the part of
//! the input that passes as it is (see [`Took::pass`]).

use std::ops::Range;

use crate::balance::tally;
use crate::config::{Limits, Redirect, Statuses};
use crate::id::PoolId;
use crate::limits;
use crate::proto::h1::edits::{Changes, Edits};
use crate::proto::h1::request::{self, Forwarded, Request};
use crate::proto::h1::response::{Connection, Response};
use crate::proto::h1::{Body, Framing, Refusal, Version, scan};

pub mod cause;
mod site;
mod wanted;

pub use cause::{Cause, Standing, Verdict};
pub use site::{Act, Line, Share, Site};
pub use wanted::{Found, Wanted};

/// An exchange, from its request head on.
#[derive(Debug)]
pub struct Exchange {
    request: Body,
    request_chunked: bool,
    request_abandoned: bool,
    phase: Phase,
    response: Body,
    response_chunked: bool,
    version: Version,
    to_head: bool,
    idempotent: bool,
    /// The protocols that may be switched to.
    upgrade: Option<Box<[u8]>>,
    tunnel: bool,
    ends_by_close: bool,
    /// The downstream may be kept when this is over.
    keep_downstream: bool,
    /// The upstream may be kept when this is over.
    keep_upstream: bool,
    /// The client waits for an interim response before it sends the body.
    expects_continue: bool,
    interim: u8,
    id: [u8; limits::REQUEST_ID],
    id_len: u8,
    /// Bytes that the request body may still have.
    body_left: u64,
    /// Bytes that the response head may have.
    head_most: u32,
    /// Seconds for which the backend said it keeps the connection.
    idle_most: Option<u64>,
    /// Of the last final response; 0 before it.
    status: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Head,
    Body,
    Done,
}

/// What requests are held to, and what is said of them to backends.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// What the backend is told of the request's way.
    pub forwarded: Forwarded<'a>,
    /// Path that is answered here.
    pub status_path: Option<&'a str>,
    /// Bounds of head and body.
    pub limits: &'a Limits,
    /// What becomes of requests at the listener that this one came to.
    pub site: &'a Site,
    /// Any number, even over all requests: it decides where a route leads to several pools.
    pub dice: u64,
}

/// How a response is to be taken.
#[derive(Clone, Copy, Debug)]
pub struct Taking<'a> {
    /// The downstream may outlive this response.
    pub keep: bool,
    /// Changes to the fields of its head.
    pub edits: &'a Edits,
    /// Fields that are added to its head, each with its line end.
    pub added: &'a [u8],
    /// Responses of these statuses are not taken: [`Cause::BadStatus`].
    pub again: &'a Statuses,
}

/// What became of a request head.
#[derive(Debug)]
pub struct Opened {
    /// The exchange that it begins.
    pub exchange: Exchange,
    /// Place of its line in [`Site::lines`].
    pub line: usize,
    /// The pool it goes to, if to any.
    pub pool: Option<PoolId>,
    /// What the pool wanted to know of it.
    pub found: Found,
    /// What the line's rate limits know its client by, in their order.
    pub clients: Box<[u64]>,
    /// It is answered here.
    pub local: Option<Local>,
}

/// What was done with some input.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// Bytes of the input that are dealt with.
    pub consumed: usize,
    /// The part of the input that goes to the other side as it is, behind what was written to `out`.
    pub pass: Range<usize>,
}

/// A request that is answered here and not sent on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Local {
    /// By its line: [`Act::Fixed`] or [`Act::Nobody`].
    Line,
    /// The client is sent there, with that status.
    Redirect(u16, Box<[u8]>),
    /// The status path.
    Status,
    /// OPTIONS or TRACE that may not go further.
    MaxForwards {
        /// TRACE, which is not reflected: its fields may hold credentials.
        trace: bool,
    },
}

impl Exchange {
    /// Begins with a complete request head, which is written to `out` as the backend is to see it, unless the
    /// request is one to answer here.
    pub fn open(head: &[u8], rules: &Rules<'_>, out: &mut Vec<u8>) -> Result<Opened, Refusal> {
        let mut space = request::fields();
        let request = Request::parse(head, &mut space)?;
        let body_left = rules.limits.body.unwrap_or(u64::MAX);
        if request.target_len > rules.limits.target {
            return Err(Refusal::TargetSize);
        }
        if request.field_count() > rules.limits.fields {
            return Err(Refusal::FieldCount);
        }
        if matches!(request.framing, Framing::Length(length) if length > body_left) {
            return Err(Refusal::BodySize);
        }
        let mut exchange = Self {
            request: Body::new(request.framing),
            request_chunked: request.framing == Framing::Chunked,
            request_abandoned: false,
            phase: Phase::Head,
            response: Body::Done,
            response_chunked: false,
            version: request.version,
            to_head: request.method == "HEAD",
            idempotent: request.is_idempotent(),
            upgrade: request.upgrade.map(Box::from),
            tunnel: false,
            ends_by_close: false,
            keep_downstream: request.persistent(),
            keep_upstream: false,
            expects_continue: request.expects_continue && request.framing != Framing::None,
            interim: 0,
            id: [0; limits::REQUEST_ID],
            id_len: 0,
            body_left,
            head_most: rules.limits.head as u32,
            idle_most: None,
            status: 0,
        };
        exchange.name(request.id(&rules.forwarded));
        if rules.status_path.is_some_and(|path| is_path(request.path(), path)) {
            // It takes no route: the last line is what none of them means.
            let rest = rules.site.lines.len() - 1;
            return Ok(exchange.answered_here(&request, rest, Box::default(), Local::Status));
        }
        let (at, client) = (rules.site.find(&request), rules.forwarded.client);
        let line = &rules.site.lines[at];
        let clients = if line.rates.is_empty() { Box::default() } else { line.clients(&request, client) };
        if request.max_forwards == Some(0) {
            let local = Local::MaxForwards { trace: request.method == "TRACE" };
            return Ok(exchange.answered_here(&request, at, clients, local));
        }
        let Some(share) = line.share(rules.dice) else {
            let local = match &line.action {
                Act::Redirect(redirect) => Local::redirect(redirect, &request),
                _ => Local::Line,
            };
            return Ok(exchange.answered_here(&request, at, clients, local));
        };
        let changes = Changes { edits: &line.request, rewrite: line.rewrite.as_ref() };
        request.write(&rules.forwarded, &changes, out);
        let found = share.wanted.find(&request, client);
        Ok(Opened { exchange, line: at, pool: Some(share.pool), found, clients, local: None })
    }

    /// A tunnel from its first byte, to be [joined](Self::join).
    pub fn tunnel() -> Self {
        Self {
            request: Body::UntilClose,
            request_chunked: false,
            request_abandoned: false,
            phase: Phase::Head,
            response: Body::UntilClose,
            response_chunked: false,
            version: Version::Http11,
            to_head: false,
            idempotent: false,
            upgrade: None,
            tunnel: true,
            ends_by_close: true,
            keep_downstream: false,
            keep_upstream: false,
            expects_continue: false,
            interim: 0,
            id: [0; limits::REQUEST_ID],
            id_len: 0,
            body_left: u64::MAX,
            head_most: 0,
            idle_most: None,
            status: 0,
        }
    }

    /// The tunnel has its backend: from here on what fails is not tried elsewhere.
    pub fn join(&mut self) {
        self.phase = Phase::Body;
    }

    /// Whether the rest of what a tunnel's client sends need not be looked at: it counts in [`Self::request_rest`].
    pub fn request_in_bulk(&mut self, bulk: bool) {
        if self.tunnel && !self.request.is_done() {
            self.request = if bulk { Body::Length(u64::MAX) } else { Body::UntilClose };
        }
    }

    /// As [`Self::request_in_bulk`], of what the backend sends.
    pub fn response_in_bulk(&mut self, bulk: bool) {
        if self.tunnel && self.phase == Phase::Body {
            self.response = if bulk { Body::Length(u64::MAX) } else { Body::UntilClose };
        }
    }

    fn answered_here(
        self,
        request: &Request<'_, '_>,
        line: usize,
        clients: Box<[u64]>,
        local: Local,
    ) -> Opened {
        let found = Found { method: tally::method(request.method) as u8, ..Found::default() };
        Opened { exchange: self, line, pool: None, found, clients, local: Some(local) }
    }

    fn name(&mut self, id: &[u8]) {
        let len = id.len().min(self.id.len());
        self.id[..len].copy_from_slice(&id[..len]);
        self.id_len = len as u8;
    }

    /// The request's X-Request-Id, or the beginning of a long one, as it came.
    pub fn id(&self) -> &[u8] {
        &self.id[..usize::from(self.id_len)]
    }

    /// The same for people to read: visible ASCII and white space, or a sign that it was not.
    pub fn printable_id(&self) -> &str {
        let id = std::str::from_utf8(self.id()).ok();
        id.filter(|id| !id.contains(char::is_control)).unwrap_or("(unprintable)")
    }

    /// Takes what belongs to the request from what the client sent behind the head.
    pub fn request(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Took, Refusal> {
        let relayed = self.request.relay(input, self.request_chunked, out)?;
        self.expects_continue &= relayed.consumed == 0;
        if !self.tunnel {
            let Some(left) = self.body_left.checked_sub(relayed.data as u64) else {
                // Its end may be among these bytes, and with it what follows: the connection cannot go on.
                self.abandon_request();
                return Err(Refusal::BodySize);
            };
            self.body_left = left;
        }
        Ok(Took { consumed: relayed.consumed, pass: relayed.pass })
    }

    /// The client has closed its side: fine in a tunnel, the end of an unfinished request.
    pub fn request_closed(&mut self) -> Result<(), Cause> {
        if self.tunnel {
            self.request = Body::Done;
        }
        let ended = self.tunnel || self.request.end(false, &mut Vec::new());
        if ended { Ok(()) } else { Err(Cause::ClientClosed) }
    }

    /// The backend takes no more of the request; its answer may still come.
    pub fn abandon_request(&mut self) {
        self.request = Body::Done;
        self.request_abandoned = true;
        self.keep_downstream = false;
        self.keep_upstream = false;
    }

    /// Takes what the backend sent. `scanned` says how many bytes of `input` were there at the last call. After an
    /// error, nothing of `out` may leave.
    pub fn response(
        &mut self,
        input: &[u8],
        scanned: usize,
        taking: &Taking<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Took, Cause> {
        let begun = self.response_begun();
        let took = self.take_response(input, scanned, taking, out);
        if took.is_err() && !begun {
            // The client has seen nothing of it, so it can still be told.
            self.phase = Phase::Head;
        }
        took
    }

    fn take_response(
        &mut self,
        input: &[u8],
        scanned: usize,
        taking: &Taking<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Took, Cause> {
        let (mut at, mut from) = (0, scanned);
        while self.phase == Phase::Head {
            let rest = &input[at..];
            let Some(end) = scan::end_of_head(rest, from).map_err(Cause::BadResponse)? else {
                if rest.len() > self.head_most as usize {
                    return Err(Cause::BadResponse(Refusal::HeadSize));
                }
                return Ok(Took { consumed: at, pass: at..at });
            };
            self.response_head(&rest[..end], taking, out)?;
            (at, from) = (at + end, 0);
        }
        let body =
            self.response.relay(&input[at..], self.response_chunked, out).map_err(Cause::BadResponse)?;
        if self.response.is_done() {
            self.phase = Phase::Done;
        }
        Ok(Took { consumed: at + body.consumed, pass: at + body.pass.start..at + body.pass.end })
    }

    fn response_head(&mut self, head: &[u8], taking: &Taking<'_>, out: &mut Vec<u8>) -> Result<(), Cause> {
        if head.len() > self.head_most as usize {
            return Err(Cause::BadResponse(Refusal::HeadSize));
        }
        let mut space = request::fields();
        let response = Response::parse(head, self.to_head, &mut space).map_err(Cause::BadResponse)?;
        if response.is_interim() {
            self.interim += 1;
            self.expects_continue = false;
            if self.interim > limits::INTERIM_RESPONSES {
                return Err(Cause::UnexpectedResponse);
            }
            // RFC 9110 section 15.2: HTTP/1.0 knows no interim responses.
            if self.version == Version::Http11 {
                response.write(Framing::None, Connection::Kept, &Edits::default(), b"", out);
            }
            return Ok(());
        }
        self.status = response.status;
        if response.status == 101 {
            return self.switch(&response, taking, out);
        }
        if taking.again.contains(response.status) {
            return Err(Cause::BadStatus);
        }
        self.phase = Phase::Body;
        self.idle_most = response.keep_alive_timeout;
        let framing = match (response.framing, self.version) {
            (Framing::Chunked | Framing::UntilClose, Version::Http11) => Framing::Chunked,
            (Framing::Chunked | Framing::UntilClose, Version::Http10) => Framing::UntilClose,
            (framing, _) => framing,
        };
        self.response = Body::new(response.framing);
        self.response_chunked = framing == Framing::Chunked;
        self.ends_by_close = framing == Framing::UntilClose;
        self.keep_upstream = response.persistent() && self.request.is_done();
        self.keep_downstream &= taking.keep && self.request.is_done() && framing != Framing::UntilClose;
        response.write(framing, self.connection(), taking.edits, taking.added, out);
        Ok(())
    }

    /// RFC 9110 section 7.8: from here on both sides speak another protocol.
    fn switch(
        &mut self,
        response: &Response<'_, '_>,
        taking: &Taking<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), Cause> {
        let asked = self.upgrade.as_deref().is_some_and(|asked| response.switches_to_one_of(asked));
        if !asked || !self.request.is_done() {
            return Err(Cause::UnexpectedResponse);
        }
        response.write(Framing::None, Connection::Kept, taking.edits, taking.added, out);
        self.phase = Phase::Body;
        (self.tunnel, self.ends_by_close, self.keep_downstream) = (true, true, false);
        (self.request, self.response) = (Body::UntilClose, Body::UntilClose);
        (self.request_chunked, self.response_chunked) = (false, false);
        Ok(())
    }

    /// The backend has closed its side: the end of some bodies, else the cause of a failure.
    pub fn response_closed(&mut self, out: &mut Vec<u8>) -> Result<(), Cause> {
        self.keep_upstream = false;
        match self.phase {
            Phase::Head => Err(Cause::NoResponse),
            Phase::Body if self.tunnel => {
                (self.phase, self.response) = (Phase::Done, Body::Done);
                Ok(())
            }
            Phase::Body if self.response.end(self.response_chunked, out) => {
                self.phase = Phase::Done;
                Ok(())
            }
            Phase::Body => Err(Cause::ResponseCut),
            Phase::Done => Ok(()),
        }
    }

    /// Bytes of the request body still to come that need not be looked at.
    pub fn request_rest(&self) -> u64 {
        self.request.rest()
    }

    /// So many of [`Self::request_rest`] were moved past us.
    pub fn request_moved(&mut self, bytes: u64) {
        self.request.skip(bytes);
    }

    /// Bytes of the response body still to come that need not be looked at.
    pub fn response_rest(&self) -> u64 {
        self.response.rest()
    }

    /// So many of [`Self::response_rest`] were moved past us.
    pub fn response_moved(&mut self, bytes: u64) {
        self.response.skip(bytes);
        if self.phase == Phase::Body && self.response.is_done() {
            self.phase = Phase::Done;
        }
    }

    /// To the client, the close of its connection is the end of the response.
    pub fn ends_by_close(&self) -> bool {
        self.ends_by_close
    }

    /// The backend's connection broke, which ends no body, not even one that ends with the connection.
    pub fn response_broken(&self) -> Cause {
        match self.phase {
            _ if self.tunnel => Cause::BackendReset,
            Phase::Head => Cause::NoResponse,
            Phase::Body | Phase::Done => Cause::ResponseCut,
        }
    }

    /// What the client is told about its connection.
    pub fn connection(&self) -> Connection {
        match (self.keep_downstream, self.version) {
            (false, _) => Connection::Close,
            (true, Version::Http11) => Connection::Kept,
            (true, Version::Http10) => Connection::KeptHttp10,
        }
    }

    /// True behind the last byte of the request.
    pub fn request_done(&self) -> bool {
        self.request.is_done()
    }

    /// It is the backend's turn: the client has sent all, or waits to be told to go on.
    pub fn awaits_backend(&self) -> bool {
        self.request.is_done() || self.expects_continue
    }

    /// The client may still be sending this request.
    pub fn request_unread(&self) -> bool {
        !self.request.is_done() || self.request_abandoned
    }

    /// True behind the last byte of the response.
    pub fn response_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// True when nothing more is to be moved.
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done && (!self.tunnel || self.request.is_done())
    }

    /// A byte of the final response was given out.
    pub fn response_begun(&self) -> bool {
        self.phase != Phase::Head
    }

    /// Status of the last final response, thrown away or not; 0 before it.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// See [`Request::is_idempotent`].
    pub fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// The request is a HEAD.
    pub fn to_head(&self) -> bool {
        self.to_head
    }

    /// Two byte streams joined; no longer HTTP.
    pub fn is_tunnel(&self) -> bool {
        self.tunnel
    }

    /// Seconds for which the backend said it keeps the connection unused.
    pub fn idle_most(&self) -> Option<u64> {
        self.idle_most
    }

    /// The downstream may carry another exchange after this one.
    pub fn keeps_downstream(&self) -> bool {
        self.keep_downstream
    }

    /// The upstream may carry another exchange after this one.
    pub fn keeps_upstream(&self) -> bool {
        self.keep_upstream && self.phase == Phase::Done
    }
}

impl Local {
    fn redirect(redirect: &Redirect, request: &Request<'_, '_>) -> Self {
        let mut location = Vec::new();
        let authority = request.authority.unwrap_or_default();
        redirect.location.write(authority, request.path().as_bytes(), &mut location);
        Self::Redirect(redirect.status, location.into())
    }
}

/// The path of a target, without its query, is this one.
fn is_path(target: &str, path: &str) -> bool {
    target.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('?'))
}
