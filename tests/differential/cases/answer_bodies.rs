use crate::case::{Case, Class, End, Step, answer, discarded, get, ok, relayed, request};

const CHUNKED: &str = "Transfer-Encoding: chunked";

pub(super) fn classes() -> Vec<Class> {
    vec![
        Class { title: "Backend: bodies", cases: good() },
        Class { title: "Backend: malformed chunks, all in one piece", cases: chunks() },
        Class { title: "Backend: what breaks off once the head is on its way", cases: cut() },
        Class { title: "Backend: no body", cases: bodiless() },
    ]
}

fn good() -> Vec<Case> {
    let chunked = |body: &str| ok(CHUNKED, body);
    let old = request("GET /case HTTP/1.0", "", "");
    vec![
        relayed("of a length", "M6.3", ok("Content-Length: 2", "ok"), 200).client_has("\r\n\r\nok"),
        relayed("chunked", "M6.3", chunked("2\r\nok\r\n0\r\n\r\n"), 200)
            .client_has("\r\n2\r\nok\r\n0\r\n\r\n"),
        relayed("until the end of the connection", "M6.3", ok("X: 1", "all of it"), 200)
            .ends(End::Close)
            .not_reused()
            .client_has("all of it")
            .client_has("chunked"),
        relayed("until the end, to HTTP/1.0", "M6.3", ok("X: 1", "all of it"), 200)
            .ends(End::Close)
            .sent(old.clone())
            .not_reused()
            .closed()
            .client_lacks("chunked"),
        relayed("chunked, to HTTP/1.0", "M6.1", chunked("2\r\nok\r\n0\r\n\r\n"), 200)
            .sent(old)
            .closed()
            .client_lacks("chunked"),
        relayed("extensions, dropped", "M7.1.1", chunked("2;a=\"b\"\r\nok\r\n0;c\r\n\r\n"), 200)
            .client_lacks("a=\"b\""),
        relayed("a trailer", "M7.1.2", chunked("2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"), 200)
            .client_has("0\r\nX-Sum: 1\r\n\r\n"),
        relayed(
            "trailers that are not allowed",
            "R6.5.1",
            chunked("0\r\nSet-Cookie: a\r\nContent-Length: 7\r\n\r\n"),
            200,
        )
        .client_lacks("Set-Cookie")
        .client_lacks("Content-Length"),
        relayed("in pieces", "M7.1", chunked("2"), 200).piece("\r\nok\r").piece("\n0\r\n\r\n").steps([
            Step::Send(get("").into()),
            Step::Await("200 OK"),
            Step::Release,
            Step::Await("ok"),
            Step::Release,
        ]),
    ]
}

/// Nothing has left when the fault is noticed, so the client can still be told.
fn chunks() -> Vec<Case> {
    let bad = |name, body: &str| discarded(name, "M7.1", ok(CHUNKED, body));
    vec![
        bad("no size", "\r\nok\r\n0\r\n\r\n"),
        bad("no size, an extension", ";a\r\nok\r\n0\r\n\r\n"),
        bad("sign before a size", "+2\r\nok\r\n0\r\n\r\n"),
        bad("0x before a size", "0x2\r\nok\r\n0\r\n\r\n"),
        bad("size that overflows", "10000000000000002\r\nok\r\n0\r\n\r\n"),
        bad("bare LF behind a size", "2\nok\r\n0\r\n\r\n"),
        bad("bare LF behind an extension", "2;a\nok\r\n0\r\n\r\n"),
        bad("NUL in an extension", "2;\0\r\nok\r\n0\r\n\r\n"),
        bad("data longer than its size", "2\r\noko\r\n0\r\n\r\n"),
        bad("nothing behind data", "2\r\nok0\r\n\r\n"),
        bad("bare LF behind data", "2\r\nok\n0\r\n\r\n"),
        bad("malformed trailer", "2\r\nok\r\n0\r\nX : 1\r\n\r\n"),
    ]
}

fn cut() -> Vec<Case> {
    let begins = |name, rule, head: String, first: &'static str, next: &str| {
        relayed(name, rule, head, 200)
            .piece(next)
            .steps([Step::Send(get("").into()), Step::Await(first), Step::Release])
            .cut()
    };
    let chunked = |name, next: &str| begins(name, "M7.1, M8", ok(CHUNKED, "2\r\nok\r\n"), "ok", next);
    let length = |name| begins(name, "M8", ok("Content-Length: 9", "ok"), "ok", "");
    vec![
        length("shorter than its length, then an end").ends(End::Close),
        length("shorter than its length, then a reset").ends(End::Reset),
        chunked("no last chunk, then an end", "").ends(End::Close),
        chunked("no last chunk, then a reset", "").ends(End::Reset),
        chunked("an end within a chunk", "5\r\nhe").ends(End::Close),
        chunked("an end before the empty line", "0\r\n").ends(End::Close),
        chunked("a bad size", "x\r\n"),
        chunked("an overlong size", "fffffffffffffffff\r\n"),
        chunked("a bad trailer", "0\r\nbad\r\n\r\n"),
        begins("a body until the end, then a reset", "M8", ok("X: 1", "ok"), "ok", "").ends(End::Reset),
    ]
}

fn bodiless() -> Vec<Case> {
    let head = request("HEAD /case HTTP/1.1", "", "");
    let to_head =
        |name, fields: &str, body: &str| relayed(name, "M6.3", ok(fields, body), 200).sent(head.clone());
    let none = |name, line: &str, fields: &str, body: &str, status| {
        relayed(name, "M6.3", answer(line, fields, body), status)
    };
    let (no_content, not_modified) = ("HTTP/1.1 204 No Content", "HTTP/1.1 304 Not Modified");
    vec![
        to_head("HEAD, a length", "Content-Length: 2", "").client_has("Content-Length: 2"),
        to_head("HEAD, no length", "X: 1", ""),
        to_head("HEAD, chunked", CHUNKED, ""),
        to_head("HEAD, answered with a body", "Content-Length: 2", "ok")
            .not_reused()
            .client_lacks("\r\n\r\nok"),
        none("204", no_content, "X: 1", "", 204),
        none("204 with a length", no_content, "Content-Length: 2", "", 204).client_lacks("Content-Length: 2"),
        none("204 that says chunked", no_content, CHUNKED, "", 204).client_lacks("chunked"),
        none("204 with a body", no_content, "Content-Length: 2", "ok", 204)
            .not_reused()
            .client_lacks("\r\n\r\nok"),
        none("304 with a length", not_modified, "Content-Length: 2", "", 304).client_has("Content-Length: 2"),
        none("304 with a body", not_modified, "Content-Length: 2", "ok", 304)
            .not_reused()
            .client_lacks("\r\n\r\nok"),
        none("205 with a length of 0", "HTTP/1.1 205 Reset", "Content-Length: 0", "", 205),
    ]
}
