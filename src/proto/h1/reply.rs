//! Answers of our own: the status, an error.

use super::copy;
use super::response::Connection;

/// A response that this process makes itself.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Its status; see [`reason`].
    pub status: u16,
    /// Of the body.
    pub content_type: &'a str,
    /// Whole field lines, each ending in CRLF.
    pub fields: &'a str,
    /// Sent unless the request was a HEAD.
    pub body: &'a [u8],
}

impl Reply<'_> {
    /// Appends the whole response.
    pub fn write(&self, to_head: bool, connection: Connection, out: &mut Vec<u8>) {
        out.extend_from_slice(b"HTTP/1.1 ");
        copy::decimal(u64::from(self.status), out);
        out.push(b' ');
        out.extend_from_slice(reason(self.status).as_bytes());
        out.extend_from_slice(b"\r\nContent-Type: ");
        out.extend_from_slice(self.content_type.as_bytes());
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(self.fields.as_bytes());
        // RFC 9110 section 8.6: a 204 has no Content-Length, and neither it nor a 304 a body.
        let bodiless = matches!(self.status, 204 | 304);
        if !bodiless {
            copy::framing(super::Framing::Length(self.body.len() as u64), out);
        }
        out.extend_from_slice(match connection {
            Connection::Kept => b"\r\n",
            Connection::KeptHttp10 => b"Connection: keep-alive\r\n\r\n",
            Connection::Close => b"Connection: close\r\n\r\n",
        });
        if !to_head && !bodiless {
            out.extend_from_slice(self.body);
        }
    }
}

/// The reason phrase of a status (RFC 9110 section 15, RFC 6585); for others only its class.
pub fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        418 => "I'm a teapot",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        other if other < 300 => "Success",
        other if other < 400 => "Redirection",
        _ => "Error",
    }
}
