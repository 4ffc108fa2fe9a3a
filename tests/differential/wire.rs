//! A reader of messages that makes sense of whatever a proxy sends, however wrong: it shares no code with evenkeel.

/// A head, and where it ends.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) start: String,
    fields: Vec<(String, String)>,
    pub(crate) len: usize,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

impl Head {
    /// The head at the front of `bytes`, `None` while it is not whole.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let ends = |end: &[u8]| bytes.windows(end.len()).position(|w| w == end).map(|at| at + end.len());
        let len = [ends(b"\r\n\r\n"), ends(b"\n\n"), ends(b"\n\r\n")].into_iter().flatten().min()?;
        let text: String = bytes[..len].iter().map(|&b| char::from(b)).collect();
        let mut lines = text.trim_start_matches(['\r', '\n']).lines();
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines.filter_map(|line| line.split_once(':'));
        let fields = fields.map(|(n, v)| (n.trim().to_ascii_lowercase(), v.trim().to_ascii_lowercase()));
        Some(Self { start, fields: fields.collect(), len })
    }

    /// A field's value in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// A field lists this member.
    pub(crate) fn lists(&self, name: &str, member: &str) -> bool {
        let values = self.fields.iter().filter(|(n, _)| n == name);
        values.flat_map(|(_, value)| value.split(',')).any(|m| m.trim() == member)
    }

    /// Chunks before a length; `None` when the fields tell neither.
    pub(crate) fn framing(&self) -> Option<Framing> {
        if self.field("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
            return Some(Framing::Chunked);
        }
        self.field("content-length").and_then(|length| length.parse().ok()).map(Framing::Length)
    }

    /// The sender will take or send nothing more on this connection.
    pub(crate) fn closes(&self) -> bool {
        let old = self.start.contains("HTTP/1.0");
        self.lists("connection", "close") || (old && !self.lists("connection", "keep-alive"))
    }

    /// The second word of the start line: a target or a status.
    pub(crate) fn second_word(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }
}

/// The data at the front of `bytes` and how many bytes they took with their framing; `None` for the second while the
/// body has not ended.
pub(crate) fn body(framing: Framing, bytes: &[u8], closed: bool) -> (Vec<u8>, Option<usize>) {
    match framing {
        Framing::Length(length) if bytes.len() >= length => (bytes[..length].to_vec(), Some(length)),
        Framing::Length(_) => (bytes.to_vec(), None),
        Framing::UntilClose => (bytes.to_vec(), closed.then_some(bytes.len())),
        Framing::Chunked => chunks(bytes),
    }
}

fn chunks(bytes: &[u8]) -> (Vec<u8>, Option<usize>) {
    let (mut data, mut at) = (Vec::new(), 0);
    let line = |at: usize| {
        let end = bytes[at..].iter().position(|&b| b == b'\n')? + at;
        Some((String::from_utf8_lossy(&bytes[at..end]).trim().to_owned(), end + 1))
    };
    while let Some((size, next)) = line(at) {
        let digits: String = size.chars().take_while(char::is_ascii_hexdigit).collect();
        let Ok(size) = usize::from_str_radix(&digits, 16) else { return (data, None) };
        at = next;
        if size == 0 {
            while let Some((trailer, next)) = line(at) {
                at = next;
                if trailer.is_empty() {
                    return (data, Some(at));
                }
            }
            return (data, None);
        }
        let end = at.saturating_add(size);
        data.extend_from_slice(&bytes[at..end.min(bytes.len())]);
        if end + 2 > bytes.len() {
            return (data, None);
        }
        at = end + 2;
    }
    (data, None)
}
