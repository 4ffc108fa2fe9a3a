//! A second reader of heads, as plain as can be, to hold against the first.

/// Names of fields that are never copied: hop by hop, or written anew by us.
const OURS: [&str; 19] = [
    "close",
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "max-forwards",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
];
/// Hop by hop without exception.
const NEVER: [&str; 6] =
    ["close", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"];

/// The fields of a head: names in lower case, values without the white space around them.
pub(crate) struct Lines(pub(crate) Vec<(String, Vec<u8>)>);

impl Lines {
    /// Reads a head that was accepted; so whatever this does not understand is a broken promise.
    pub(crate) fn read(head: &[u8]) -> Self {
        let inner = head.strip_suffix(b"\r\n\r\n").expect("a head ends with an empty line");
        let text: Vec<u8> = inner.to_vec();
        let mut lines = Vec::new();
        let mut rest = text.as_slice();
        while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
            lines.push(&rest[..end]);
            rest = &rest[end + 2..];
        }
        lines.push(rest);
        assert!(
            lines.iter().all(|line| line.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f))),
            "a control character: {:?}",
            String::from_utf8_lossy(head)
        );
        Self(lines[1..].iter().map(|line| field(line)).collect())
    }

    /// The values of one field.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.0.iter().filter(move |(n, _)| n == name).map(|(_, value)| value.as_slice())
    }

    /// `Connection` names it as belonging to one hop.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        self.all("connection")
            .flat_map(|value| value.split(|&b| b == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
    }

    /// What must reach the other side unchanged and in order.
    pub(crate) fn end_to_end(&self) -> Vec<&(String, Vec<u8>)> {
        let ours = |name: &str| OURS.contains(&name) || name.starts_with("x-forwarded-");
        self.0.iter().filter(|(name, _)| !ours(name) && !self.is_named(name)).collect()
    }

    /// What holds for every head that leaves.
    pub(crate) fn check_sent(&self) {
        let count = |name| self.all(name).count();
        assert!(count("content-length") + count("transfer-encoding") <= 1, "more than one framing field");
        assert!(count("connection") <= 1 && count("upgrade") <= 1);
        assert!(NEVER.iter().all(|name| count(name) == 0), "a hop-by-hop field was passed on");
    }
}

fn field(line: &[u8]) -> (String, Vec<u8>) {
    let colon = line.iter().position(|&b| b == b':').expect("a field line has a colon");
    let name = std::str::from_utf8(&line[..colon]).expect("a name is ASCII");
    assert!(
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&b)),
        "not a token: {name:?}"
    );
    (name.to_ascii_lowercase(), line[colon + 1..].trim_ascii().to_vec())
}
