//! The server's name that a TLS client asks for, read from its first message without decrypting anything.

use crate::config::is_host_name;

/// Bytes of a ClientHello at most, with the heads of its records: with keys for post-quantum key exchange it has two
/// thousand.
pub const MOST: usize = 16 * 1024;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// What the first bytes of a connection ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is not whole yet.
    Part,
    /// This server, in lower case.
    Name(String),
    /// Something that is no host's name, as it stands there.
    Unfit(Box<[u8]>),
    /// No server by name, or not TLS.
    Nobody,
}

/// It began as TLS and broke the rules, or is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// Looks for the name in the beginning of a connection (RFC 8446 section 4.1.2, RFC 6066 section 3).
pub fn asked(input: &[u8]) -> Result<Asked, Malformed> {
    match *input {
        [] => return Ok(Asked::Part),
        [HANDSHAKE] => return Ok(Asked::Part),
        [HANDSHAKE, 3, ..] => {}
        _ => return Ok(Asked::Nobody),
    }
    // What lies beyond does not count: it may come in another piece, or not.
    let input = &input[..input.len().min(MOST)];
    let mut message = Vec::new();
    let whole = gather(input, &mut message)?;
    if message.first().is_some_and(|&kind| kind != CLIENT_HELLO) {
        return Err(Malformed);
    }
    if !whole {
        return if input.len() < MOST { Ok(Asked::Part) } else { Err(Malformed) };
    }
    name(&message[4..]).ok_or(Malformed)
}

/// What it asks for, a host's name or not, where that is there to read.
pub fn wanted(input: &[u8]) -> Option<Vec<u8>> {
    match asked(input) {
        Ok(Asked::Name(name)) => Some(name.into_bytes()),
        Ok(Asked::Unfit(name)) => Some(name.into_vec()),
        Ok(Asked::Part | Asked::Nobody) | Err(Malformed) => None,
    }
}

/// Puts the first handshake message together from the records it is spread over; true when it is whole.
fn gather(input: &[u8], message: &mut Vec<u8>) -> Result<bool, Malformed> {
    let mut rest = input;
    while let Some((head, behind)) = rest.split_first_chunk::<5>() {
        let len = usize::from(u16::from_be_bytes([head[3], head[4]]));
        // RFC 8446 section 5.1: a handshake record is never empty, and nothing comes between its parts.
        if head[0] != HANDSHAKE || head[1] != 3 || len == 0 || len > 1 << 14 {
            return Err(Malformed);
        }
        message.extend_from_slice(&behind[..len.min(behind.len())]);
        if let [_, high, middle, low, ..] = message[..] {
            let whole = 4 + usize::from(u16::from_be_bytes([middle, low]));
            if high != 0 || whole > MOST {
                return Err(Malformed);
            }
            if message.len() >= whole {
                message.truncate(whole);
                return Ok(true);
            }
        }
        if len > behind.len() {
            return Ok(false);
        }
        rest = &behind[len..];
    }
    Ok(false)
}

/// Takes pieces off the front of a message.
struct Pieces<'b>(&'b [u8]);

impl<'b> Pieces<'b> {
    fn take(&mut self, len: usize) -> Option<&'b [u8]> {
        let (piece, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(piece)
    }

    fn byte(&mut self) -> Option<usize> {
        self.take(1).map(|piece| usize::from(piece[0]))
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2).map(|piece| u16::from_be_bytes([piece[0], piece[1]]))
    }

    /// A piece with its length in two bytes before it.
    fn counted(&mut self) -> Option<Self> {
        let len = self.short()?;
        self.take(usize::from(len)).map(Pieces)
    }
}

/// The name in a ClientHello without its head; `None` where that breaks the rules.
fn name(hello: &[u8]) -> Option<Asked> {
    let mut hello = Pieces(hello);
    hello.take(2 + 32)?;
    let session = hello.byte()?;
    hello.take(session)?;
    hello.counted()?;
    let compressions = hello.byte()?;
    hello.take(compressions)?;
    if hello.0.is_empty() {
        return Some(Asked::Nobody);
    }
    let mut extensions = hello.counted()?;
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.short()?;
        let mut body = extensions.counted()?;
        if kind == SERVER_NAME {
            // RFC 8446 section 4.2: each extension comes once.
            if found.is_some() {
                return None;
            }
            found = Some(first_name(body.counted()?)?);
        }
    }
    Some(found.unwrap_or(Asked::Nobody))
}

fn first_name(mut list: Pieces<'_>) -> Option<Asked> {
    if list.byte()? != usize::from(HOST_NAME) {
        return Some(Asked::Nobody);
    }
    let name = list.counted()?.0;
    Some(match is_host_name(name) {
        true => Asked::Name(String::from_utf8_lossy(name).to_ascii_lowercase()),
        false => Asked::Unfit(name.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(bytes: &[u8]) -> Vec<u8> {
        [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
    }

    fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &counted(body)].concat()
    }

    fn server_name(name: &str) -> Vec<u8> {
        extension(SERVER_NAME, &counted(&[&[HOST_NAME][..], &counted(name.as_bytes())].concat()))
    }

    /// A handshake message, in records of at most that size.
    fn hello(extensions: &[Vec<u8>], record: usize) -> Vec<u8> {
        let body = [&[3, 3][..], &[7; 32], &[4, 1, 2, 3, 4], &counted(&[0x13, 1]), &[1, 0]].concat();
        let all = extensions.concat();
        let body = if extensions.is_empty() { body } else { [body, counted(&all)].concat() };
        let message = [&[CLIENT_HELLO, 0][..], &counted(&body)].concat();
        message.chunks(record).flat_map(|part| [&[HANDSHAKE, 3, 1][..], &counted(part)].concat()).collect()
    }

    fn named(name: &str) -> Asked {
        Asked::Name(name.to_owned())
    }

    #[test]
    fn the_name_is_found_however_the_message_is_split() {
        let others = [extension(43, &[2, 3, 4]), server_name("API.Example.com"), extension(51, &[9; 1200])];
        for record in [1, 3, 100, 16_000] {
            let bytes = hello(&others, record);
            for end in 0..bytes.len() {
                assert_eq!(asked(&bytes[..end]), Ok(Asked::Part), "{end} of {record}");
            }
            assert_eq!(asked(&bytes), Ok(named("api.example.com")));
            assert_eq!(asked(&[&bytes[..], b"more"].concat()), Ok(named("api.example.com")));
        }
    }

    #[test]
    fn without_a_name_nobody_is_asked_for() {
        for extensions in [vec![], vec![extension(43, &[2, 3, 4])]] {
            assert_eq!(asked(&hello(&extensions, 16_000)), Ok(Asked::Nobody));
        }
        for other in [&b"GET / HTTP/1.1"[..], b"\x16\x01", b"\0", b"PROXY "] {
            assert_eq!(asked(other), Ok(Asked::Nobody), "{other:?}");
        }
        assert_eq!(asked(b"\x16"), Ok(Asked::Part));
    }

    #[test]
    fn what_is_no_host_name_is_told_as_it_stands_there() {
        let long = "a".repeat(256);
        for name in
            ["", "a b", "::1", "[::1]", "a:443", "*.Example.com", "b\u{fc}cher.example", "a\0b", &long]
        {
            let bytes = hello(&[server_name(name)], 16_000);
            assert_eq!(asked(&bytes), Ok(Asked::Unfit(name.as_bytes().into())), "{name:?}");
        }
        for name in ["a_b", "127.0.0.1", "xn--bcher-kva.example.", &long[1..]] {
            assert_eq!(asked(&hello(&[server_name(name)], 16_000)), Ok(named(name)));
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        let cases: [&[Vec<u8>]; 4] = [
            &[server_name("a"), server_name("b")],
            &[server_name("a b"), server_name("b")],
            &[extension(SERVER_NAME, &[0, 9, 0, 0, 1, b'a'])],
            &[extension(SERVER_NAME, &[])],
        ];
        for extensions in cases {
            assert_eq!(asked(&hello(extensions, 16_000)), Err(Malformed), "{extensions:?}");
        }
        let whole = hello(&[server_name("a")], 16_000);
        for (at, byte) in [(5, 2), (6, 1), (3, 0xff)] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            assert!(matches!(asked(&bytes), Err(Malformed) | Ok(Asked::Part)), "{at}");
        }
        let endless = hello(&[extension(21, &[0; 17_000])], 1_000);
        assert_eq!(asked(&endless), Err(Malformed));
        // It fits by itself, and not with the heads of its many records; that must not hang on the pieces it comes in.
        let scattered = hello(&[server_name("a"), extension(21, &[0; 15_000])], 40);
        assert!(scattered.len() > MOST);
        assert_eq!(asked(&scattered), Err(Malformed));
        assert_eq!(asked(&scattered[..MOST]), Err(Malformed));
        assert_eq!(asked(&scattered[..MOST - 1]), Ok(Asked::Part));
        let empty = [HANDSHAKE, 3, 1, 0, 0];
        assert_eq!(asked(&empty), Err(Malformed));
    }

    #[test]
    fn any_bytes_are_read_alike_whole_and_in_pieces() {
        let mut rng = fastrand::Rng::with_seed(11);
        let seed = hello(&[server_name("example.com"), extension(43, &[2, 3, 4])], 40);
        for _ in 0..30_000 {
            let mut bytes = seed.clone();
            for _ in 0..rng.usize(..4) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            bytes.truncate(rng.usize(..=bytes.len()));
            let right = asked(&bytes);
            for end in 0..bytes.len() {
                let early = asked(&bytes[..end]);
                if early != Ok(Asked::Part) {
                    assert_eq!(early, right, "{end} of {bytes:?}");
                    break;
                }
            }
        }
    }
}
