use evenkeel::config::is_host_name;
use evenkeel::proto::tls::{Asked, MOST, Malformed, asked};

use super::split::{Cut, Pieces, seed};

/// Any split of a connection's beginning asks for the same name, which is there to be read.
pub(crate) fn client_hello(bytes: &[u8]) {
    let whole = asked(bytes);
    // Each piece has all before it read again; long beginnings come in larger ones.
    let pieces = if bytes.len() < 2_000 { 64 } else { 16 };
    let step = 1 + bytes.len() / pieces;
    for cut in [Cut::Every(step), Cut::Every(3 * step)] {
        assert_eq!(arriving(bytes, cut), whole, "cut: {cut:?}");
    }
    if bytes.len() < 2_000 {
        assert_eq!(arriving(bytes, Cut::Random(seed(bytes))), whole);
    }
    if bytes.len() > MOST {
        assert_eq!(asked(&bytes[..MOST]), whole, "what lies beyond counts");
    }
    match &whole {
        Ok(Asked::Name(name)) => {
            assert!((1..256).contains(&name.len()));
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
            );
            let message = message(bytes).to_ascii_lowercase();
            assert!(holds(&message, name.as_bytes()), "{name} is not in it");
        }
        Ok(Asked::Unfit(name)) => {
            assert!(!is_host_name(name));
            let message = message(bytes);
            assert!(name.is_empty() || holds(&message, name), "{name:?} is not in it");
        }
        Ok(Asked::Nobody | Asked::Part) | Err(Malformed) => {}
    }
    assert!(whole != Ok(Asked::Part) || bytes.len() < MOST, "it waits for ever");
}

/// What is settled first, as pieces come.
fn arriving(bytes: &[u8], cut: Cut) -> Result<Asked, Malformed> {
    let mut pieces = Pieces::new(bytes, cut);
    loop {
        let found = asked(pieces.at_hand());
        if found != Ok(Asked::Part) || !pieces.arrive() {
            return found;
        }
    }
}

fn holds(message: &[u8], name: &[u8]) -> bool {
    message.windows(name.len()).any(|part| part == name)
}

/// What the records hold, one behind the other.
fn message(mut bytes: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    while let [22, 3, _, high, low, rest @ ..] = bytes {
        let len = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        message.extend_from_slice(&rest[..len]);
        bytes = &rest[len..];
    }
    message
}
