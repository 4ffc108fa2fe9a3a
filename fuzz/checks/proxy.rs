use std::net::{IpAddr, SocketAddr};

use evenkeel::config::ProxyVersion;
use evenkeel::proto::proxy::{Ends, Found, MOST, Malformed, own, parse, write};

use super::split::{Cut, Pieces, seed};

/// Any split of a connection's beginning gives the same header, and what we say of it in turn is read back the same.
pub(crate) fn proxy_header(bytes: &[u8]) {
    let whole = parse(bytes);
    // Each piece has all before it read again; long beginnings come in larger ones.
    let step = 1 + bytes.len() / 64;
    for cut in [Cut::Every(step), Cut::Every(5 * step), Cut::Random(seed(bytes))] {
        assert_eq!(arriving(bytes, cut), whole, "cut: {cut:?}");
    }
    match whole {
        Ok(Found::Header { len, ends }) => {
            assert!(len <= MOST && len <= bytes.len());
            // What follows is no part of it.
            assert_eq!(parse(&bytes[..len]), whole);
            assert_eq!(parse(&[&bytes[..len], b"\0PROXY"].concat()), whole);
            assert_eq!(reference(&bytes[..len]), Some(ends));
            ends.iter().for_each(said_again);
        }
        Ok(Found::Nothing) => {
            assert!(!bytes.starts_with(b"PROXY ") && !bytes.starts_with(b"\r\n\r\n\0\r\nQUIT\n"))
        }
        Ok(Found::Part) => assert!(bytes.len() < MOST),
        Err(Malformed) => {}
    }
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        assert_eq!(parse(own(version)), Ok(Found::Header { len: own(version).len(), ends: None }));
    }
}

/// What is settled first, as pieces come.
fn arriving(bytes: &[u8], cut: Cut) -> Result<Found, Malformed> {
    let mut pieces = Pieces::new(bytes, cut);
    loop {
        let found = parse(pieces.at_hand());
        if found != Ok(Found::Part) || !pieces.arrive() {
            return found;
        }
    }
}

fn said_again(ends: &Ends) {
    let canonical = |end: SocketAddr| (end.ip().to_canonical(), end.port());
    for version in [ProxyVersion::V1, ProxyVersion::V2] {
        let mut out = Vec::new();
        write(version, ends, &mut out);
        let Ok(Found::Header { len, ends: Some(read) }) = parse(&out) else { panic!("{out:?}") };
        assert_eq!(len, out.len());
        assert_eq!(canonical(read.source), canonical(ends.source));
        assert_eq!(canonical(read.destination), canonical(ends.destination));
    }
}

/// A second reader, of headers that were accepted.
fn reference(header: &[u8]) -> Option<Option<Ends>> {
    if let Ok(line) = std::str::from_utf8(header)
        && let Some(line) = line.strip_prefix("PROXY ")
    {
        let words: Vec<&str> = line.strip_suffix("\r\n")?.split(' ').collect();
        if words[0] == "UNKNOWN" {
            return Some(None);
        }
        let ["TCP4" | "TCP6", source, destination, from, to] = words[..] else { return None };
        let end = |address: &str, port: &str| {
            Some(SocketAddr::new(address.parse::<IpAddr>().ok()?, port.parse().ok()?))
        };
        return Some(Some(Ends { source: end(source, from)?, destination: end(destination, to)? }));
    }
    let body = header.get(16..)?;
    let address = |at: usize, len: usize| match len {
        4 => IpAddr::from(<[u8; 4]>::try_from(&body[at..at + 4]).expect("four bytes")),
        _ => IpAddr::from(<[u8; 16]>::try_from(&body[at..at + 16]).expect("sixteen bytes")),
    };
    let port = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let len = match (header[12], header[13]) {
        (0x21, 0x11) => 4,
        (0x21, 0x21) => 16,
        _ => return Some(None),
    };
    let source = SocketAddr::new(address(0, len), port(2 * len));
    Some(Some(Ends { source, destination: SocketAddr::new(address(len, len), port(2 * len + 2)) }))
}
