//! Promises of the codecs and the exchange, as functions that take any bytes and panic when one is broken. Shared by the
//! fuzz targets and the test that replays the seeds.

mod chunked;
mod conversation;
mod hello;
mod lines;
mod proxy;
mod request;
mod response;
mod split;

use std::net::{IpAddr, Ipv4Addr};

use evenkeel::limits;
use evenkeel::proto::h1::request::Forwarded;
use evenkeel::proto::h1::scan;

const FORWARDED: Forwarded<'_> = Forwarded {
    client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 10)),
    scheme: "http",
    local: "127.0.0.1:8080",
    trusted: true,
    id: b"0123",
};

/// Checks the promises that this target is about.
pub(crate) fn run(target: &str, bytes: &[u8]) {
    match target {
        "request_head" => request::request_head(bytes),
        "response_head" => response::response_head(bytes),
        "chunked_body" => chunked::chunked_body(bytes),
        "proxy_header" => proxy::proxy_header(bytes),
        "client_hello" => hello::client_hello(bytes),
        "conversation" => conversation::conversation(bytes),
        _ => panic!("no target is called {target}"),
    }
}

/// The head that the bytes begin with, behind empty lines. Checks that its end is found from any earlier stop.
fn head_of(bytes: &[u8]) -> Option<&[u8]> {
    let (start, unfinished) = scan::empty_lines(bytes, limits::EMPTY_LINES).ok()?;
    let rest = if unfinished { return None } else { &bytes[start..] };
    let end = scan::end_of_head(rest, 0).ok()??;
    for stop in [1, end / 3, end / 2, end - 1] {
        assert_eq!(scan::end_of_head(&rest[..stop], 0), Ok(None));
        assert_eq!(scan::end_of_head(rest, stop), Ok(Some(end)), "from {stop}");
    }
    (end <= limits::HEAD).then_some(&rest[..end])
}
