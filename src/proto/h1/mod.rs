//! HTTP/1.1 and HTTP/1.0 (RFC 9110 and RFC 9112), as an intermediary must speak it.

pub mod body;
pub mod chunk;
pub mod edits;
pub mod field;
pub mod reply;
pub mod request;
pub mod request_id;
pub mod response;
pub mod scan;
pub mod target;

mod copy;
mod head;
mod refusal;

pub use body::Body;
pub use refusal::Refusal;

/// The version a message was sent with; what leaves is always HTTP/1.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunks, no keep-alive unless agreed, no interim responses.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    fn of(minor: Option<u8>) -> Self {
        if minor == Some(0) { Self::Http10 } else { Self::Http11 }
    }
}

/// How the end of a message body is found (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// No body.
    None,
    /// So many bytes.
    Length(u64),
    /// Until the last chunk.
    Chunked,
    /// Until the sender closes; responses only.
    UntilClose,
}
