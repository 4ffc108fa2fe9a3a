//! A strict reader of what the balancer sends, written apart from the one under test.

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    UntilClose,
}

/// A head, with names in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Head {
    pub(crate) start: String,
    fields: Vec<(String, String)>,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "a head that is not ASCII".to_owned())?;
        let mut lines = text.strip_suffix("\r\n\r\n").expect("cut at its end").split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut fields = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(format!("a field without a colon: {line:?}"))?;
            let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
            if name.is_empty() || !name.bytes().all(token) {
                return Err(format!("a bad field name: {line:?}"));
            }
            if value.bytes().any(|b| b < b' ' && b != b'\t') {
                return Err(format!("a bad field value: {line:?}"));
            }
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        if start.bytes().any(|b| b < b' ') {
            return Err(format!("a bad start line: {start:?}"));
        }
        Ok(Self { start, fields })
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    /// The field's only value.
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, String> {
        match self.all(name)[..] {
            [] => Ok(None),
            [value] => Ok(Some(value)),
            _ => Err(format!("{name} more than once")),
        }
    }

    /// Connection has this option.
    pub(crate) fn connection(&self, option: &str) -> bool {
        self.all("connection").iter().any(|v| v.split(',').any(|o| o.trim().eq_ignore_ascii_case(option)))
    }

    /// What the fields say of the body; `None` when they say nothing.
    pub(crate) fn framing(&self) -> Result<Option<Framing>, String> {
        match (self.one("content-length")?, self.one("transfer-encoding")?) {
            (None, None) => Ok(None),
            (Some(length), None) if length.bytes().all(|b| b.is_ascii_digit()) => length
                .parse()
                .map(|n| Some(Framing::Length(n)))
                .map_err(|_| format!("a bad length {length:?}")),
            (None, Some("chunked")) => Ok(Some(Framing::Chunked)),
            told => Err(format!("a framing that must not leave: {told:?}")),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Length(usize),
    ChunkSize,
    ChunkData(usize),
    Trailers,
    UntilClose,
}

/// Takes messages out of a stream, one after the other.
#[derive(Debug)]
pub(crate) struct Reader {
    input: Vec<u8>,
    at: usize,
    state: State,
    /// Of the message at hand, what came so far.
    pub(crate) body: Vec<u8>,
}

impl Default for Reader {
    fn default() -> Self {
        Self { input: Vec::new(), at: 0, state: State::Head, body: Vec::new() }
    }
}

impl Reader {
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.input.drain(..self.at);
        self.at = 0;
        self.input.extend_from_slice(bytes);
    }

    /// Bytes that belong to no message yet.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.input[self.at..]
    }

    pub(crate) fn take_rest(&mut self) -> Vec<u8> {
        let rest = self.rest().to_vec();
        self.at = self.input.len();
        rest
    }

    /// The next head, once it is whole.
    pub(crate) fn head(&mut self) -> Result<Option<Head>, String> {
        assert_eq!(self.state, State::Head);
        let Some(end) = find(self.rest(), b"\r\n\r\n") else { return Ok(None) };
        let head = &self.input[self.at..self.at + end + 4];
        let bare = head.iter().enumerate().any(|(i, &b)| b == b'\n' && (i == 0 || head[i - 1] != b'\r'));
        let head = if bare { return Err("a bare LF".into()) } else { Head::parse(head)? };
        self.at += end + 4;
        Ok(Some(head))
    }

    /// A body follows the head just read.
    pub(crate) fn begin_body(&mut self, framing: Framing) {
        self.body.clear();
        self.state = match framing {
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
    }

    /// Reads on in the body; true when it has ended.
    pub(crate) fn body(&mut self) -> Result<bool, String> {
        loop {
            let rest = &self.input[self.at..];
            match self.state {
                State::Head => return Ok(true),
                State::UntilClose => {
                    self.body.extend_from_slice(rest);
                    self.at = self.input.len();
                    return Ok(false);
                }
                State::Length(left) | State::ChunkData(left) => {
                    let n = left.min(rest.len());
                    self.body.extend_from_slice(&rest[..n]);
                    self.at += n;
                    let chunk = matches!(self.state, State::ChunkData(_));
                    if n < left {
                        self.state = if chunk { State::ChunkData(left - n) } else { State::Length(left - n) };
                        return Ok(false);
                    }
                    if !chunk {
                        self.state = State::Head;
                        return Ok(true);
                    }
                    match self.input.get(self.at..self.at + 2) {
                        None => {
                            self.state = State::ChunkData(0);
                            return Ok(false);
                        }
                        Some(b"\r\n") => (self.at, self.state) = (self.at + 2, State::ChunkSize),
                        Some(other) => return Err(format!("behind a chunk: {:?}", other.escape_ascii())),
                    }
                }
                State::ChunkSize | State::Trailers => {
                    let Some(end) = find(rest, b"\r\n") else { return Ok(false) };
                    let line = String::from_utf8_lossy(&rest[..end]).into_owned();
                    self.at += end + 2;
                    if self.state == State::Trailers {
                        if line.is_empty() {
                            self.state = State::Head;
                            return Ok(true);
                        }
                        if !line.to_ascii_lowercase().starts_with("x-") {
                            return Err(format!("a trailer that must not leave: {line:?}"));
                        }
                        continue;
                    }
                    let size = usize::from_str_radix(&line, 16);
                    let size = size.map_err(|_| format!("a bad chunk line {line:?}"))?;
                    self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
                }
            }
        }
    }

    /// The stream has ended cleanly: true when the message at hand is whole by that.
    pub(crate) fn ends_with_stream(&mut self) -> bool {
        let whole = self.state == State::UntilClose;
        self.state = State::Head;
        whole
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, what)
}

/// `data` in chunks of `size`.
pub(crate) fn chunked(data: &[u8], size: usize, trailer: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in data.chunks(size.max(1)) {
        out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        out.extend_from_slice(piece);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("0\r\n{trailer}\r\n").as_bytes());
    out
}
