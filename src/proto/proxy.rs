//! The PROXY protocol, versions 1 and 2: whoever passes a connection on says first where it came from and went to.
//! (HAProxy, "The PROXY protocol", revision of 2020/03/05.)

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use crate::config::{ProxyVersion, digits};

/// A header in bytes at most. Version 1 has 107; what a header of version 2 carries beside the addresses, such as a
/// certificate's names, stays far below.
pub const MOST: usize = 4096;
const LINE: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const BEGINNING: &[u8; 6] = b"PROXY ";
/// Type of the checksum among what stands behind the addresses.
const CRC32C: u8 = 3;

/// Both ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A header may still come of them.
    Part,
    /// No header.
    Nothing,
    /// A header.
    Header {
        /// Its bytes.
        len: usize,
        /// What it says; `None`: the connection's own ends count, as for a check of the sender's.
        ends: Option<Ends>,
    },
}

/// It began as a header and broke the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Looks for a header at the beginning of a connection.
pub fn parse(input: &[u8]) -> Result<Found, Malformed> {
    let begins = |with: &[u8]| input.starts_with(&with[..with.len().min(input.len())]);
    if begins(SIGNATURE) {
        parse_v2(input)
    } else if begins(BEGINNING) {
        parse_v1(input)
    } else {
        Ok(Found::Nothing)
    }
}

fn parse_v1(input: &[u8]) -> Result<Found, Malformed> {
    let within = &input[..input.len().min(LINE)];
    let Some(at) = memchr::memchr(b'\n', within) else {
        return if input.len() < LINE { Ok(Found::Part) } else { Err(Malformed) };
    };
    let line = within[..at].strip_suffix(b"\r").ok_or(Malformed)?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed)?;
    let mut words = line.split(' ').skip(1);
    let ends = match words.next() {
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(ends(words, |text| text.parse().map(IpAddr::V4).ok())?),
        Some("TCP6") => Some(ends(words, |text| text.parse().map(IpAddr::V6).ok())?),
        _ => return Err(Malformed),
    };
    Ok(Found::Header { len: at + 1, ends })
}

fn ends<'t>(
    words: impl Iterator<Item = &'t str>,
    read: impl Fn(&str) -> Option<IpAddr>,
) -> Result<Ends, Malformed> {
    let words: Vec<&str> = words.collect();
    let [source, destination, source_port, destination_port] = words[..] else { return Err(Malformed) };
    let end = |address: &str, port: &str| Some(SocketAddr::new(read(address)?, digits(port)?));
    let source = end(source, source_port).ok_or(Malformed)?;
    Ok(Ends { source, destination: end(destination, destination_port).ok_or(Malformed)? })
}

fn parse_v2(input: &[u8]) -> Result<Found, Malformed> {
    let version = input.get(12);
    if version.is_some_and(|byte| byte >> 4 != 2 || byte & 0xf > 1) {
        return Err(Malformed);
    }
    let Some((&head, rest)) = input.split_first_chunk::<16>() else { return Ok(Found::Part) };
    let len = 16 + usize::from(u16::from_be_bytes([head[14], head[15]]));
    if len > MOST {
        return Err(Malformed);
    }
    let Some(body) = rest.get(..len - 16) else { return Ok(Found::Part) };
    // What is sent for the sender's own sake says nothing of a client.
    if head[12] & 0xf == 0 {
        return Ok(Found::Header { len, ends: None });
    }
    let ends = addresses(head[13], body)?;
    let behind = match head[13] >> 4 {
        1 => 12,
        2 => 36,
        _ => return Ok(Found::Header { len, ends }),
    };
    check(&input[..len], 16 + behind)?;
    Ok(Found::Header { len, ends })
}

/// Walks over what a header has behind its addresses; a checksum there must be the header's.
fn check(header: &[u8], addresses: usize) -> Result<(), Malformed> {
    let mut at = addresses;
    while let Some(rest) = header.get(at..).filter(|rest| !rest.is_empty()) {
        let (&[kind, high, low], value) = rest.split_first_chunk::<3>().ok_or(Malformed)?;
        let len = usize::from(u16::from_be_bytes([high, low]));
        let value = value.get(..len).ok_or(Malformed)?;
        if kind == CRC32C {
            let told = <[u8; 4]>::try_from(value).map_err(|_| Malformed)?;
            let (before, behind) = (&header[..at + 3], &header[at + 3 + len..]);
            let bytes = before.iter().chain(&[0; 4]).chain(behind);
            if crc32c(bytes.copied()) != u32::from_be_bytes(told) {
                return Err(Malformed);
            }
        }
        at += 3 + len;
    }
    Ok(())
}

fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(byte), step))
}

/// The addresses of TCP over IPv4 and IPv6; those of all other families are passed over.
fn addresses(family: u8, body: &[u8]) -> Result<Option<Ends>, Malformed> {
    // Nothing else is assigned, and what is not is to be refused.
    if family >> 4 > 3 || family & 0xf > 2 {
        return Err(Malformed);
    }
    match family {
        0x11 => {
            let (block, _) = body.split_first_chunk::<12>().ok_or(Malformed)?;
            let address =
                |at: usize| Ipv4Addr::from([block[at], block[at + 1], block[at + 2], block[at + 3]]);
            let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
            let end = |at, from| SocketAddrV4::new(address(at), port(from)).into();
            Ok(Some(Ends { source: end(0, 8), destination: end(4, 10) }))
        }
        0x21 => {
            let (block, _) = body.split_first_chunk::<36>().ok_or(Malformed)?;
            let address = |at: usize| {
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&block[at..at + 16]);
                Ipv6Addr::from(bytes)
            };
            let port = |at: usize| u16::from_be_bytes([block[at], block[at + 1]]);
            let end = |at, from| SocketAddrV6::new(address(at), port(from), 0, 0).into();
            Ok(Some(Ends { source: end(0, 32), destination: end(16, 34) }))
        }
        _ => Ok(None),
    }
}

/// A header that says nothing of a client: the connection is the sender's own, such as a check.
pub fn own(version: ProxyVersion) -> &'static [u8] {
    match version {
        ProxyVersion::V1 => b"PROXY UNKNOWN\r\n",
        ProxyVersion::V2 => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
    }
}

/// Appends a header of that version. Ends of two families are both written as IPv6.
pub fn write(version: ProxyVersion, ends: &Ends, out: &mut Vec<u8>) {
    let (source, destination) = (ends.source, ends.destination);
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let pair = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Ok((from, to)),
        _ => Err((wide(from), wide(to))),
    };
    let ports = (source.port(), destination.port());
    match version {
        ProxyVersion::V1 => {
            let (from_port, to_port) = ports;
            let line = match pair {
                Ok((from, to)) => format!("PROXY TCP4 {from} {to} {from_port} {to_port}\r\n"),
                Err((from, to)) => format!("PROXY TCP6 {from} {to} {from_port} {to_port}\r\n"),
            };
            out.extend_from_slice(line.as_bytes());
        }
        ProxyVersion::V2 => {
            out.extend_from_slice(SIGNATURE);
            match pair {
                Ok((from, to)) => {
                    out.extend_from_slice(&[0x21, 0x11, 0, 12]);
                    out.extend_from_slice(&from.octets());
                    out.extend_from_slice(&to.octets());
                }
                Err((from, to)) => {
                    out.extend_from_slice(&[0x21, 0x21, 0, 36]);
                    out.extend_from_slice(&from.octets());
                    out.extend_from_slice(&to.octets());
                }
            }
            out.extend_from_slice(&ports.0.to_be_bytes());
            out.extend_from_slice(&ports.1.to_be_bytes());
        }
    }
}

fn wide(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(source: &str, destination: &str) -> Ends {
        Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
    }

    /// However it is split, the same is found, and nothing before all of it is there.
    fn whole(header: &[u8], right: Option<Ends>) {
        for end in 1..header.len() {
            assert_eq!(parse(&header[..end]), Ok(Found::Part), "{end} of {header:?}");
        }
        for behind in [&b""[..], b"GET", b"\r\n", header] {
            let found = parse(&[header, behind].concat());
            assert_eq!(found, Ok(Found::Header { len: header.len(), ends: right }), "{header:?}");
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for (source, destination, family) in [
            ("192.0.2.1:1", "198.51.100.255:65535", 0x11),
            ("[2001:db8::1]:80", "[::1]:443", 0x21),
            ("[::ffff:10.0.0.1]:80", "10.0.0.2:443", 0x11),
            ("10.0.0.1:80", "[2001:db8::1]:443", 0x21),
        ] {
            let said = ends(source, destination);
            for version in [ProxyVersion::V1, ProxyVersion::V2] {
                let mut out = Vec::new();
                write(version, &said, &mut out);
                let Ok(Found::Header { ends: Some(read), .. }) = parse(&out) else { panic!("{out:?}") };
                let canonical = |end: SocketAddr| (end.ip().to_canonical(), end.port());
                assert_eq!(canonical(read.source), canonical(said.source));
                assert_eq!(canonical(read.destination), canonical(said.destination));
                assert!(version == ProxyVersion::V1 || out[13] == family, "{out:?}");
                whole(&out, Some(read));
            }
        }
    }

    #[test]
    fn headers_that_say_nothing_are_passed_over() {
        whole(own(ProxyVersion::V1), None);
        whole(own(ProxyVersion::V2), None);
        whole(b"PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", None);
        let v2 = |bytes: &[u8]| [SIGNATURE, bytes].concat();
        // LOCAL, with and without addresses; no family; a Unix socket; more than addresses.
        whole(&v2(&[0x20, 0x00, 0, 0]), None);
        whole(&v2(&[0x20, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2]), None);
        whole(&v2(&[0x21, 0x00, 0, 3, 1, 2, 3]), None);
        whole(&v2(&[&[0x21, 0x31, 0, 216], &[b'x'; 216][..]].concat()), None);
        let more = [0x21, 0x11, 0, 17, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 4, 0, 2, 9, 9];
        whole(&v2(&more), Some(ends("1.2.3.4:1", "5.6.7.8:2")));
        whole(&v2(&[0x21, 0x12, 0, 1, 7]), None);
    }

    #[test]
    fn a_checksum_must_be_right() {
        assert_eq!(crc32c(b"123456789".iter().copied()), 0xe306_9283);
        let said = Some(ends("1.2.3.4:1", "5.6.7.8:2"));
        let with = |crc: [u8; 4]| {
            let head = [0x21, 0x11, 0, 23, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 4, 0, 1, 9, 3, 0, 4];
            [&SIGNATURE[..], &head, &crc].concat()
        };
        let right = crc32c(with([0; 4]).into_iter()).to_be_bytes();
        whole(&with(right), said);
        for at in 0..4 {
            let mut wrong = right;
            wrong[at] ^= 1;
            assert_eq!(parse(&with(wrong)), Err(Malformed));
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for line in [
            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY UNKNOWN\n",
            "PROXY \r\n",
            "PROXY TCP4 1.2.3.\u{e9} 5.6.7.8 1 2\r\n",
            &long,
        ] {
            assert_eq!(parse(line.as_bytes()), Err(Malformed), "{line:?}");
        }
        for bytes in [
            &[0x11, 0x11, 0, 12][..],
            &[0x22, 0x11, 0, 12],
            &[0x21, 0x11, 0, 11, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0],
            &[0x21, 0x21, 0, 0],
            &[0x21, 0x11, 0xff, 0xff],
            // A family and a protocol that are not assigned.
            &[0x21, 0x41, 0, 0],
            &[0x21, 0x13, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2],
            // What stands behind the addresses ends too late, or is no checksum.
            &[0x21, 0x11, 0, 14, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 4, 0],
            &[0x21, 0x11, 0, 16, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 4, 0, 2, 9],
            &[0x21, 0x11, 0, 15, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 2, 3, 0, 0],
        ] {
            assert_eq!(parse(&[SIGNATURE, bytes].concat()), Err(Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn other_protocols_have_none() {
        for other in ["GET / HTTP/1.1\r\n", "PRI * HTTP/2.0", "\x16\x03\x01", "PROXYX", "\r\n\r\nGET", "POST"]
        {
            assert_eq!(parse(other.as_bytes()), Ok(Found::Nothing), "{other:?}");
        }
        assert_eq!(parse(b""), Ok(Found::Part));
        assert_eq!(parse(b"P"), Ok(Found::Part));
        assert_eq!(parse(b"\r\n"), Ok(Found::Part));
    }

    #[test]
    fn any_bytes_are_read_alike_whole_and_in_pieces() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut seeds = vec![b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nrest".to_vec()];
        let said = ends("[2001:db8::1]:80", "[::1]:443");
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let mut out = Vec::new();
            write(version, &said, &mut out);
            seeds.push(out);
        }
        for _ in 0..100_000 {
            let mut bytes = seeds[rng.usize(..seeds.len())].clone();
            for _ in 0..rng.usize(..4) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            bytes.truncate(rng.usize(..=bytes.len()));
            let found = parse(&bytes);
            // What is said of a beginning is never taken back.
            for end in 0..bytes.len() {
                match parse(&bytes[..end]) {
                    Ok(Found::Part) => {}
                    early => {
                        assert_eq!(early, found, "{end} of {bytes:?}");
                        break;
                    }
                }
            }
        }
    }
}
