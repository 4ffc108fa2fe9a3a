//! What a connection begins with: a PROXY header or something like it, and a ClientHello or something like it.

use std::net::SocketAddr;

use evenkeel::config::ProxyVersion;
use evenkeel::proto::proxy::{self, Ends};

use super::plan::{Fate, Gate};
use crate::rng::Rng;

/// The beginning of a connection.
#[derive(Debug)]
pub(crate) struct Opening {
    /// Taken off by the balancer.
    pub(crate) header: Vec<u8>,
    /// What that says, where it is believed.
    pub(crate) named: Option<Ends>,
    /// Passes on.
    pub(crate) rest: Vec<u8>,
    pub(crate) fate: Fate,
    /// It stops within, and never goes on.
    pub(crate) stalls: bool,
}

/// A header and what it says; `None` where it is none.
fn header(rng: &mut Rng) -> (Vec<u8>, Option<Option<Ends>>) {
    let port = |rng: &mut Rng| rng.below(65_536) as u16;
    let end = |rng: &mut Rng, v6: bool| -> SocketAddr {
        let last = rng.between(1, 3) as u8;
        if v6 {
            ([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(last)], port(rng)).into()
        } else {
            ([192, 88, 99, last], port(rng)).into()
        }
    };
    let version = rng.pick(&[ProxyVersion::V1, ProxyVersion::V2]);
    let mut bytes = Vec::new();
    match rng.below(8) {
        0 => (proxy::own(version).to_vec(), Some(None)),
        1 => (b"PROXY UNKNOWN and anything else\r\n".to_vec(), Some(None)),
        2 => {
            let bad: [&[u8]; 4] = [
                b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
                b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
                b"\r\n\r\n\0\r\nQUIT\n\x31\0\0\0",
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x01a",
            ];
            (rng.pick(&bad).to_vec(), None)
        }
        kind => {
            let v6 = rng.chance(40);
            let ends = Ends { source: end(rng, v6), destination: end(rng, v6) };
            proxy::write(version, &ends, &mut bytes);
            if kind == 3 && version == ProxyVersion::V2 {
                // More than addresses.
                let more = 3 + rng.below(300) as usize;
                let len = bytes.len() - 16 + more;
                bytes[14..16].copy_from_slice(&(len as u16).to_be_bytes());
                bytes.extend([4, ((more - 3) >> 8) as u8, (more - 3) as u8]);
                bytes.resize(16 + len, 7);
            }
            (bytes, Some(Some(ends)))
        }
    }
}

/// A ClientHello that asks for this name, in records of some size.
fn hello(rng: &mut Rng, name: Option<&str>) -> Vec<u8> {
    let counted = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &counted(body)].concat();
    let mut extensions = vec![extension(0x0a0a, b""), extension(51, &vec![9; rng.below(1_500) as usize])];
    if let Some(name) = name {
        let list = [&[0][..], &counted(name.as_bytes())].concat();
        extensions.insert(rng.below(3) as usize, extension(0, &counted(&list)));
    }
    let body = [&[3, 3][..], &[7; 32], &[0], &counted(&[0x13, 1]), &[1, 0], &counted(&extensions.concat())];
    let message = [&[1, 0][..], &counted(&body.concat())].concat();
    let record = rng.pick(&[1, 17, 300, 16_000]);
    message.chunks(record).flat_map(|part| [&[22, 3, 1][..], &counted(part)].concat()).collect()
}

/// What leads where.
fn asks(rng: &mut Rng, gate: &Gate) -> (Vec<u8>, Fate) {
    let default = if gate.default { Fate::Pool(0) } else { Fate::Refused };
    match rng.below(8) {
        0 | 1 => (hello(rng, Some("A.sim")), Fate::Pool(1)),
        2 | 3 => (hello(rng, Some("b.c.sim")), Fate::Pool(2)),
        4 => (hello(rng, Some("sim")), default),
        5 => (hello(rng, None), default),
        6 => (Vec::new(), default),
        _ => (vec![22, 3, 1, 0, 0], Fate::Refused),
    }
}

/// Draws one for a client that is trusted to send a header or is not; `rough` ones may stop within.
pub(crate) fn draw(rng: &mut Rng, gate: &Gate, trusted: bool, rough: bool) -> Opening {
    let sends = match &gate.proxy {
        None => false,
        Some(proxy) if proxy.required => rng.chance(90),
        Some(_) => rng.chance(50),
    };
    let (bytes, says) = if sends { header(rng) } else { (Vec::new(), Some(None)) };
    let (hello, mut fate) = if gate.routed { asks(rng, gate) } else { (Vec::new(), Fate::Pool(0)) };
    let required = gate.proxy.as_ref().is_some_and(|proxy| proxy.required);
    let mut opening = match (sends, trusted) {
        // A header from elsewhere is none.
        (true, false) if !required => {
            if gate.routed {
                fate = if gate.default { Fate::Pool(0) } else { Fate::Refused };
            }
            let rest = [bytes, hello].concat();
            Opening { header: Vec::new(), named: None, rest, fate, stalls: false }
        }
        _ => {
            if required && (!sends || !trusted) || says.is_none() {
                fate = Fate::Refused;
            }
            let named = says.flatten();
            Opening { header: bytes, named, rest: hello, fate, stalls: false }
        }
    };
    let read = if trusted { opening.header.len() } else { 0 };
    if rough && read > 1 && rng.chance(10) {
        opening.header.truncate(rng.between(1, read as u64 - 1) as usize);
        (opening.rest, opening.fate, opening.stalls) = (Vec::new(), Fate::Refused, true);
    }
    opening
}
