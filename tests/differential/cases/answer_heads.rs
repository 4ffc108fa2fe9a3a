use crate::case::{Case, Class, End, answer, discarded, ok, relayed};

pub(super) fn classes() -> Vec<Class> {
    vec![
        Class { title: "Backend: status lines", cases: status_lines() },
        Class { title: "Backend: field lines", cases: fields() },
        Class { title: "Backend: lengths and codings", cases: framing() },
    ]
}

fn status_lines() -> Vec<Case> {
    let with = |line: &str| answer(line, "Content-Length: 2", "ok");
    let bad = |name, line: &str| discarded(name, "M4", with(line));
    vec![
        relayed("no reason", "M4", with("HTTP/1.1 200 "), 200),
        relayed("no space behind the status", "M4", with("HTTP/1.1 200"), 200),
        relayed("high letters in the reason", "M4", with("HTTP/1.1 200 \u{c4}h"), 200),
        relayed("status 299", "R15", with("HTTP/1.1 299 Odd"), 299),
        relayed("status 599", "R15", with("HTTP/1.1 599 Odd"), 599),
        relayed("HTTP/1.0 backend", "M2.3", with("HTTP/1.0 200 OK"), 200)
            .not_reused()
            .client_has("HTTP/1.1 200 OK"),
        relayed(
            "HTTP/1.0 backend that keeps the connection",
            "M9.3",
            answer("HTTP/1.0 200 OK", "Connection: keep-alive\r\nContent-Length: 2", "ok"),
            200,
        ),
        bad("status 000", "HTTP/1.1 000 OK"),
        bad("status 099", "HTTP/1.1 099 OK"),
        bad("two digits", "HTTP/1.1 20 OK"),
        bad("four digits", "HTTP/1.1 2000 OK"),
        bad("letter in the status", "HTTP/1.1 2x0 OK"),
        bad("sign before the status", "HTTP/1.1 +20 OK"),
        bad("no status", "HTTP/1.1 OK"),
        bad("two spaces", "HTTP/1.1  200 OK"),
        bad("HTTP/2.0", "HTTP/2.0 200 OK"),
        bad("small letters in the version", "http/1.1 200 OK"),
        bad("another protocol", "ICY 200 OK"),
        bad("NUL in the reason", "HTTP/1.1 200 O\0K"),
        bad("bare CR in the reason", "HTTP/1.1 200 O\rK"),
        discarded("an empty line before", "M4", format!("\r\n{}", ok("Content-Length: 2", "ok"))),
        discarded("a space before", "M4", format!(" {}", ok("Content-Length: 2", "ok"))),
        discarded("HTTP/0.9, a body alone", "M4", "<html>hello</html>\r\n\r\n").ends(End::Close),
        discarded("garbage", "M4", &b"\xde\xad\xbe\xef\0\r\n\r\n"[..]),
        discarded("a request", "M4", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ]
}

fn fields() -> Vec<Case> {
    let bad =
        |name, rule, field: &str| discarded(name, rule, ok(&format!("{field}\r\nContent-Length: 2"), "ok"));
    let good = |name, rule, fields: &str| {
        relayed(name, rule, ok(&format!("{fields}\r\nContent-Length: 2"), "ok"), 200)
    };
    vec![
        good("high letters in a value", "R5.5", "X: \u{c4}").client_has("X: \u{c4}"),
        good("two Set-Cookie fields", "R5.3", "Set-Cookie: a=1\r\nSet-Cookie: b=2")
            .client_has("Set-Cookie: b=2"),
        good("a field named by Connection", "R7.6.1", "Connection: X-Secret\r\nX-Secret: 1")
            .client_lacks("secret"),
        good("Keep-Alive", "R7.6.1", "Keep-Alive: timeout=77").client_lacks("timeout=77"),
        good("Upgrade that offers", "R7.8", "Connection: upgrade\r\nUpgrade: h2c").client_lacks("h2c"),
        good("Connection: close, for us alone", "M9.6", "Connection: close").not_reused(),
        bad("fold", "M5.2", "X: 1\r\n 2"),
        bad("NUL in a value", "R5.5", "X: 1\0"),
        bad("control character in a value", "R5.5", "X: 1\x01"),
        bad("bare CR in a value", "M2.2", "X: 1\r2"),
        bad("bare LF at a line's end", "M2.2", "X: 1\nY: 2"),
        bad("space before a colon", "M5.1", "X : 1"),
        bad("empty name", "R5.1", ": 1"),
        bad("no colon", "M5", "XY"),
        bad("space in a name", "R5.1", "X Y: 1"),
        discarded("bare LF at every line's end", "M2.2", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
        bad("201 fields", "R5.4, limit", &["X: 1"; 200].join("\r\n")),
        bad("a field of 40 KiB", "R5.4, limit", &format!("X: {}", "a".repeat(40 * 1024))),
        bad(
            "an endless head of 1 MiB",
            "R5.4, limit",
            &vec![format!("X: {}", "a".repeat(1000)); 1000].join("\r\n"),
        ),
    ]
}

fn framing() -> Vec<Case> {
    let bad = |name, fields: &str| discarded(name, "M6.3", ok(fields, "ok"));
    let coded = |name, fields: &str| discarded(name, "M6.1, M6.3", ok(fields, "2\r\nok\r\n0\r\n\r\n"));
    vec![
        relayed(
            "two lengths that agree, merged",
            "M6.3",
            ok("Content-Length: 2\r\nContent-Length: 2", "ok"),
            200,
        )
        .client_lacks("Content-Length: 2\r\nContent-Length: 2"),
        bad("two lengths that differ", "Content-Length: 2\r\nContent-Length: 3"),
        bad("two lengths in a list", "Content-Length: 2, 3"),
        bad("length with a sign", "Content-Length: +2"),
        bad("negative length", "Content-Length: -2"),
        bad("hexadecimal length", "Content-Length: 0x2"),
        bad("empty length", "Content-Length:"),
        bad("letter behind a length", "Content-Length: 2b"),
        bad("length 2^64 + 2", "Content-Length: 18446744073709551618"),
        coded("length and coding", "Content-Length: 2\r\nTransfer-Encoding: chunked"),
        coded("coding and length 0", "Transfer-Encoding: chunked\r\nContent-Length: 0"),
        coded("chunked twice", "Transfer-Encoding: chunked, chunked"),
        coded("chunked in two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        coded("identity", "Transfer-Encoding: identity"),
        coded("gzip, which was not asked for", "Transfer-Encoding: gzip"),
        coded("gzip, chunked", "Transfer-Encoding: gzip, chunked"),
        coded("unknown coding", "Transfer-Encoding: xchunked"),
        coded("empty coding", "Transfer-Encoding:"),
        discarded(
            "chunked in HTTP/1.0",
            "M6.1",
            answer("HTTP/1.0 200 OK", "Transfer-Encoding: chunked", "2\r\nok\r\n0\r\n\r\n"),
        )
        .ends(End::Close),
    ]
}
