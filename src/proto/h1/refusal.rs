//! Why a message was not accepted.

/// A rule that a message broke. In a request it is answered with [`Refusal::status`]; in a response it is a 502.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// A line that ends in LF alone (RFC 9112 section 2.2 leaves it to us: refused).
    BareLf,
    /// More than [`crate::limits::EMPTY_LINES`] before the request line.
    EmptyLines,
    /// A start line that is not one (RFC 9112 section 3).
    StartLine,
    /// A field line with a bad name or value, a fold, or space before its colon (RFC 9112 section 5).
    FieldLine,
    /// More than [`crate::limits::FIELDS`].
    FieldCount,
    /// A head longer than [`crate::limits::HEAD`].
    HeadSize,
    /// A target longer than [`crate::limits::TARGET`].
    TargetSize,
    /// A body longer than the limit set.
    BodySize,
    /// A method longer than [`crate::limits::METHOD`].
    MethodSize,
    /// CONNECT: this is no forward proxy (RFC 9110 section 9.3.6).
    Connect,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
    /// A target of a form or with bytes that the grammar does not allow (RFC 9112 section 3.2).
    Target,
    /// HTTP/1.1 without Host.
    HostMissing,
    /// Two Host fields.
    HostRepeated,
    /// A Host that is no host with optional port (RFC 9110 section 7.2).
    HostInvalid,
    /// A Content-Length that is not digits alone, or too large (RFC 9110 section 8.6).
    LengthInvalid,
    /// Content-Length fields that differ.
    LengthsDiffer,
    /// Transfer-Encoding beside Content-Length (RFC 9112 section 6.1).
    LengthAndCoding,
    /// Transfer-Encoding that does not end in one `chunked` (RFC 9112 section 6.1).
    CodingInvalid,
    /// A transfer coding we do not know (RFC 9112 section 6.1).
    CodingUnknown,
    /// Transfer-Encoding in an HTTP/1.0 message (RFC 9112 section 6.1).
    CodingInHttp10,
    /// A Connection field that names Host or a framing field.
    ConnectionOption,
    /// A Max-Forwards that is no number, or a TRACE with a body.
    MaxForwards,
    /// A chunk line that is not one (RFC 9112 section 7.1).
    Chunk,
    /// More than [`crate::limits::CHUNK_EXTENSIONS`].
    ChunkExtensions,
    /// A trailer section that is malformed or longer than [`crate::limits::TRAILERS`].
    Trailers,
}

impl Refusal {
    /// The status that a request which broke the rule is answered with.
    pub fn status(self) -> u16 {
        match self {
            Self::Connect => 405,
            Self::BodySize => 413,
            Self::TargetSize => 414,
            Self::FieldCount | Self::HeadSize => 431,
            Self::CodingUnknown | Self::MethodSize => 501,
            Self::Version => 505,
            _ => 400,
        }
    }

    /// What was wrong, in words for the one who sent it.
    pub fn text(self) -> &'static str {
        match self {
            Self::BareLf => "a line ends in LF without CR",
            Self::EmptyLines => "too many empty lines before the request",
            Self::StartLine => "malformed start line",
            Self::FieldLine => "malformed header field",
            Self::FieldCount => "too many header fields",
            Self::HeadSize => "header too large",
            Self::TargetSize => "request target too long",
            Self::BodySize => "request body too large",
            Self::MethodSize => "method name too long",
            Self::Connect => "CONNECT is not served here",
            Self::Version => "HTTP version not supported",
            Self::Target => "malformed request target",
            Self::HostMissing => "no Host header field",
            Self::HostRepeated => "more than one Host header field",
            Self::HostInvalid => "malformed Host header field",
            Self::LengthInvalid => "malformed Content-Length",
            Self::LengthsDiffer => "Content-Length fields differ",
            Self::LengthAndCoding => "both Content-Length and Transfer-Encoding",
            Self::CodingInvalid => "Transfer-Encoding must be a single chunked",
            Self::CodingUnknown => "transfer coding not supported",
            Self::CodingInHttp10 => "Transfer-Encoding in HTTP/1.0",
            Self::ConnectionOption => "Connection names a field that it must not",
            Self::MaxForwards => "malformed Max-Forwards, or TRACE with a body",
            Self::Chunk => "malformed chunk",
            Self::ChunkExtensions => "too many chunk extensions",
            Self::Trailers => "malformed or too many trailer fields",
        }
    }
}
