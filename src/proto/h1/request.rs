//! Request heads: read strictly, written anew for the backend.

use std::mem::MaybeUninit;
use std::net::IpAddr;

use httparse::Header;

use super::edits::{Changes, Edits};
use super::field::{self, Name};
use super::head::{self, Facts};
use super::target::{self, Target};
use super::{Framing, Refusal, Version, copy};
use crate::limits;

/// Space for the fields of one head, on the stack of whoever parses.
pub type Fields<'b> = [MaybeUninit<Header<'b>>; limits::FIELDS];

/// Space for [`Request::parse`] and [`super::response::Response::parse`].
pub fn fields<'b>() -> Fields<'b> {
    [const { MaybeUninit::uninit() }; limits::FIELDS]
}

/// A request head that may be forwarded.
#[derive(Debug)]
pub struct Request<'h, 'b> {
    head: &'b [u8],
    fields: &'h [Header<'b>],
    facts: Facts,
    /// X-Forwarded-Host, -Proto and others, and X-Request-Id as the client sent them, by their bits.
    theirs: Theirs,
    /// As sent; case matters.
    pub method: &'b str,
    /// Bytes of the target as it was sent.
    pub target_len: usize,
    /// As sent.
    pub target: Target<'b>,
    /// As sent.
    pub version: Version,
    /// How the body ends: never [`Framing::UntilClose`].
    pub framing: Framing,
    /// Host, or the authority of an absolute-form target; `None` only in HTTP/1.0.
    pub authority: Option<&'b [u8]>,
    /// The client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
    /// The protocols asked for by an upgrade that is passed on.
    pub upgrade: Option<&'b [u8]>,
    /// Of TRACE and OPTIONS: how many more hops it may take.
    pub max_forwards: Option<u64>,
}

/// Fields of the client's that are passed on only if the client is trusted.
#[derive(Clone, Copy, Debug, Default)]
struct Theirs {
    host: u128,
    scheme: u128,
    id: u128,
    other: u128,
}

/// What the request's next receiver is to be told about its way here.
#[derive(Clone, Copy, Debug)]
pub struct Forwarded<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Sent as Host for an HTTP/1.0 request that has none: the address it came to.
    pub local: &'a str,
    /// The client's own X-Forwarded-* and X-Request-Id are kept, its X-Forwarded-For with its address appended.
    pub trusted: bool,
    /// X-Request-Id for a request that has none to be kept.
    pub id: &'a [u8],
}

impl<'h, 'b> Request<'h, 'b> {
    /// Reads a head that ends with its empty line (see [`super::scan::end_of_head`]).
    pub fn parse(head: &'b [u8], space: &'h mut Fields<'b>) -> Result<Self, Refusal> {
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(head, space) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(Refusal::FieldLine),
            Err(httparse::Error::Version) => return Err(version_refusal(head)),
            Err(error) => return Err(head::refusal(error)),
        }
        let (Some(method), Some(raw_target)) = (parsed.method, parsed.path) else {
            return Err(Refusal::StartLine);
        };
        if method.len() > limits::METHOD {
            return Err(Refusal::MethodSize);
        }
        if method == "CONNECT" {
            return Err(Refusal::Connect);
        }
        let target = target::parse(raw_target, method).ok_or(Refusal::Target)?;
        let mut request = Self {
            head,
            fields: parsed.headers,
            facts: Facts::default(),
            theirs: Theirs::default(),
            method,
            target_len: raw_target.len(),
            target,
            version: Version::of(parsed.version),
            framing: Framing::None,
            authority: None,
            expects_continue: false,
            upgrade: None,
            max_forwards: None,
        };
        request.read_fields()?;
        Ok(request)
    }

    fn read_fields(&mut self) -> Result<(), Refusal> {
        let (mut upgrade, mut max_forwards, mut expect) = (None, None, 0);
        for (i, field) in self.fields.iter().enumerate() {
            let name = field::name(field.name.as_bytes());
            if name == Name::Other || self.facts.note(i, name, field.value)? {
                continue;
            }
            match name {
                Name::Host if self.authority.is_some() => return Err(Refusal::HostRepeated),
                Name::Host if !target::is_authority(field.value) => return Err(Refusal::HostInvalid),
                Name::Host => self.authority = Some(field.value),
                Name::Expect if field.value.eq_ignore_ascii_case(b"100-continue") => expect |= 1 << i,
                Name::Upgrade => upgrade = Some(field.value),
                // Which of the two holds would be a guess, and one of them would be passed on.
                Name::MaxForwards if max_forwards.is_some() && self.counts_hops() => {
                    return Err(Refusal::MaxForwards);
                }
                Name::MaxForwards => max_forwards = Some((i, field.value)),
                Name::XForwardedHost => self.theirs.host |= 1 << i,
                Name::XForwardedProto => self.theirs.scheme |= 1 << i,
                Name::XRequestId => self.theirs.id |= 1 << i,
                Name::XForwardedOther => self.theirs.other |= 1 << i,
                _ => {}
            }
            let void = name == Name::Expect && self.version == Version::Http10;
            if void || matches!(name, Name::XForwardedFor | Name::Upgrade) {
                self.facts.dropped |= 1 << i;
            }
        }
        if self.authority.is_none() && self.version == Version::Http11 {
            return Err(Refusal::HostMissing);
        }
        self.facts.drop_named(self.fields);
        self.framing = self.facts.framing(self.version)?.unwrap_or(Framing::None);
        // Connection may have named it: what is not passed on is not waited for.
        self.expects_continue = expect & !self.facts.dropped != 0;
        if self.version == Version::Http11 && self.facts.upgrade {
            // An upgrade to h2c would take the exchange out of our sight (and of our framing).
            self.upgrade = upgrade.filter(|protocols| !contains_h2c(protocols));
        }
        if let Target::Absolute { authority, .. } = self.target {
            self.replace_host(authority);
        }
        self.limit_forwards(max_forwards)
    }

    /// RFC 9112 section 3.2.2: the target's authority wins over Host.
    fn replace_host(&mut self, authority: &'b str) {
        let hosts =
            self.fields.iter().enumerate().filter(|(_, f)| field::name(f.name.as_bytes()) == Name::Host);
        for (i, _) in hosts {
            self.facts.dropped |= 1 << i;
        }
        self.authority = Some(authority.as_bytes());
    }

    /// Max-Forwards has a meaning for these methods alone.
    fn counts_hops(&self) -> bool {
        matches!(self.method, "TRACE" | "OPTIONS")
    }

    /// RFC 9110 section 7.6.2; other methods ignore the field.
    fn limit_forwards(&mut self, field: Option<(usize, &[u8])>) -> Result<(), Refusal> {
        let trace = self.method == "TRACE";
        if trace && !matches!(self.framing, Framing::None) {
            return Err(Refusal::MaxForwards);
        }
        if let (true, Some((i, value))) = (self.counts_hops(), field) {
            self.max_forwards = Some(hops(value).ok_or(Refusal::MaxForwards)?);
            self.facts.dropped |= 1 << i;
        }
        Ok(())
    }

    /// Fields in the head.
    pub fn field_count(&self) -> usize {
        self.fields.len()
    }

    /// The first field of that name, in any case of letters.
    pub fn field(&self, name: &str) -> Option<&'b [u8]> {
        self.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The first cookie of that name (RFC 6265 section 4.2.1).
    pub fn cookie(&self, name: &str) -> Option<&'b [u8]> {
        let fields = self.fields.iter().filter(|field| field.name.eq_ignore_ascii_case("cookie"));
        let mut pairs = fields.flat_map(|field| field.value.split(|&byte| byte == b';'));
        pairs.find_map(|pair| {
            pair.trim_ascii().strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
        })
    }

    /// Whether the client means to keep the connection.
    pub fn persistent(&self) -> bool {
        self.facts.persistent(self.version)
    }

    /// May be sent again after it may have been received (RFC 9110 section 9.2.2).
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE")
    }

    /// The target as it is sent on.
    pub fn path(&self) -> &'b str {
        match self.target {
            Target::Origin(path) | Target::Absolute { path, .. } => path,
            Target::Asterisk => "*",
        }
    }

    /// Appends the head as the backend is to see it.
    pub fn write(&self, forwarded: &Forwarded<'_>, changes: &Changes<'_>, out: &mut Vec<u8>) {
        let edits = changes.edits;
        let from = self.write_start_line(forwarded, changes, out);
        let kept = if forwarded.trusted { self.kept() } else { Theirs::default() };
        let theirs = self.theirs.host | self.theirs.scheme | self.theirs.id | self.theirs.other;
        let dropped = self.facts.dropped | (theirs & !(kept.host | kept.scheme | kept.id | kept.other));
        copy::fields(self.head, from, self.fields, dropped | edits.dropped(self.fields), out);
        out.extend_from_slice(edits.added());
        self.write_forwarded(forwarded, kept, edits, out);
        copy::framing(self.framing, out);
        if let Some(hops) = self.max_forwards {
            out.extend_from_slice(b"Max-Forwards: ");
            copy::decimal(hops.saturating_sub(1), out);
            out.extend_from_slice(b"\r\n");
        }
        if let Some(protocols) = self.upgrade {
            out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: ");
            out.extend_from_slice(protocols);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Writes what cannot be copied of request line and Host; gives where in the head copying goes on.
    fn write_start_line(&self, forwarded: &Forwarded<'_>, changes: &Changes<'_>, out: &mut Vec<u8>) -> usize {
        let line_end = self.method.len() + " ".len() + self.target_len + " HTTP/1.1\r\n".len();
        let absolute = matches!(self.target, Target::Absolute { .. });
        if self.version == Version::Http11 && !absolute && changes.rewrite.is_none() {
            return 0;
        }
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        let path = self.path().as_bytes();
        let (first, rest) = changes.rewrite.map_or((&b""[..], path), |rewrite| rewrite.apply(path));
        if first.is_empty() && rest.starts_with(b"?") {
            out.push(b'/');
        }
        out.extend_from_slice(first);
        out.extend_from_slice(rest);
        out.extend_from_slice(b" HTTP/1.1\r\n");
        if (absolute || self.authority.is_none()) && !changes.edits.takes("host") {
            out.extend_from_slice(b"Host: ");
            out.extend_from_slice(self.authority.unwrap_or(forwarded.local.as_bytes()));
            out.extend_from_slice(b"\r\n");
        }
        line_end
    }

    /// The number that the request goes by from here on.
    pub fn id<'a>(&'a self, forwarded: &Forwarded<'a>) -> &'a [u8] {
        let kept = if forwarded.trusted { self.kept().id } else { 0 };
        self.fields.get(kept.trailing_zeros() as usize).map_or(forwarded.id, |field| field.value)
    }

    /// What a trusted client sent, less what its Connection field named.
    fn kept(&self) -> Theirs {
        let named = self.facts.dropped;
        let Theirs { host, scheme, id, other } = self.theirs;
        let id = id & !named;
        let value = self.fields.get(id.trailing_zeros() as usize).map_or(&b""[..], |field| field.value);
        let one = id.count_ones() == 1 && !value.is_empty();
        let id = if one { id } else { 0 };
        Theirs { host: host & !named, scheme: scheme & !named, id, other: other & !named }
    }

    fn write_forwarded(&self, forwarded: &Forwarded<'_>, kept: Theirs, edits: &Edits, out: &mut Vec<u8>) {
        if !edits.takes("x-forwarded-for") {
            self.write_forwarded_for(forwarded, out);
        }
        if let (Some(host), 0, false) = (self.authority, kept.host, edits.takes("x-forwarded-host")) {
            out.extend_from_slice(b"X-Forwarded-Host: ");
            out.extend_from_slice(host);
            out.extend_from_slice(b"\r\n");
        }
        if kept.scheme == 0 && !edits.takes("x-forwarded-proto") {
            out.extend_from_slice(b"X-Forwarded-Proto: ");
            out.extend_from_slice(forwarded.scheme.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        if kept.id == 0 && !edits.takes("x-request-id") {
            out.extend_from_slice(b"X-Request-Id: ");
            out.extend_from_slice(forwarded.id);
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(match self.version {
            Version::Http11 => b"Via: 1.1 evenkeel\r\n",
            Version::Http10 => b"Via: 1.0 evenkeel\r\n",
        });
    }

    fn write_forwarded_for(&self, forwarded: &Forwarded<'_>, out: &mut Vec<u8>) {
        out.extend_from_slice(b"X-Forwarded-For: ");
        if forwarded.trusted {
            let earlier =
                self.fields.iter().filter(|f| field::name(f.name.as_bytes()) == Name::XForwardedFor);
            for value in earlier.map(|f| f.value).filter(|value| !value.is_empty()) {
                out.extend_from_slice(value);
                out.extend_from_slice(b", ");
            }
        }
        write_address(forwarded.client, out);
        out.extend_from_slice(b"\r\n");
    }
}

/// An IPv4 address digit by digit (the formatting machinery costs ten times as much), IPv6 by the library.
fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            for (i, octet) in [a, b, c, d].into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                if octet >= 100 {
                    out.push(b'0' + octet / 100);
                }
                if octet >= 10 {
                    out.push(b'0' + octet / 10 % 10);
                }
                out.push(b'0' + octet % 10);
            }
        }
        IpAddr::V6(v6) => {
            use std::io::Write;
            write!(out, "{v6}").expect("a Vec takes every write");
        }
    }
}

/// A number of hops of any size; the largest we can count stands for all larger ones (RFC 9110 section 7.6.2).
fn hops(value: &[u8]) -> Option<u64> {
    let valid = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    valid.then(|| match value.iter().position(|&b| b != b'0') {
        Some(at) => field::digits(&value[at..]).unwrap_or(u64::MAX >> 1),
        None => 0,
    })
}

fn contains_h2c(protocols: &[u8]) -> bool {
    field::list(protocols).any(|p| p.eq_ignore_ascii_case(b"h2c"))
}

/// A version we do not serve is 505, what is no version at all 400 (RFC 9112 section 2.3).
fn version_refusal(head: &[u8]) -> Refusal {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&b| b == b' ').skip(2);
    let (version, more) = (words.next().unwrap_or_default(), words.next());
    match version {
        _ if more.is_some() => Refusal::StartLine,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Refusal::Version
        }
        _ => Refusal::StartLine,
    }
}

#[cfg(test)]
mod tests;
