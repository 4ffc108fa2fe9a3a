use crate::case::{Case, Class, bare, passed, refused};

pub(super) fn classes() -> Vec<Class> {
    vec![Class { title: "Host", cases: [accepted(), malformed()].concat() }]
}

fn accepted() -> Vec<Case> {
    let good = |name, host: &str| passed(name, "M3.2, R7.2", bare(&format!("Host: {host}")));
    vec![
        good("with a port", "a.test:8080"),
        good("with a colon and no port", "a.test:"),
        good("capital letters", "A.Test"),
        good("IPv4 address", "127.0.0.1:80"),
        good("IPv6 address", "[::1]"),
        good("IPv6 address with a port", "[2001:db8::1]:8080"),
        good("underscore", "a_b.test"),
        good("percent-encoded", "a%41.test"),
        passed("white space around", "R5.5", bare("Host: \t a.test \t")),
        passed("not the first field", "M3.2", bare("X: 1\r\nHost: a.test")),
        passed("HTTP/1.0 without Host", "M3.2", "GET /case HTTP/1.0\r\n\r\n")
            .closed()
            .backend_has("\r\nHost: "),
        passed("HTTP/1.0 with Host", "M3.2", "GET /case HTTP/1.0\r\nHost: a.test\r\n\r\n")
            .closed()
            .backend_has("\r\nHost: a.test\r\n"),
    ]
}

fn malformed() -> Vec<Case> {
    let bad = |name, host: &str| refused(name, "M3.2", bare(&format!("Host:{host}")), 400);
    vec![
        refused("missing", "M3.2", "GET /case HTTP/1.1\r\n\r\n", 400),
        refused("missing, though other fields are there", "M3.2", bare("X-Host: a.test"), 400),
        refused("twice the same", "M3.2", bare("Host: a.test\r\nHost: a.test"), 400),
        refused("twice, different", "M3.2", bare("Host: a.test\r\nHost: b.test"), 400),
        refused("twice, not side by side", "M3.2", bare("Host: a.test\r\nX: 1\r\nhost: b.test"), 400),
        refused("twice in HTTP/1.0", "M3.2", "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        bad("empty", ""),
        bad("a port alone", " :80"),
        bad("a port that is no number", " a.test:http"),
        bad("a port too large", " a.test:65536"),
        bad("a port with a sign", " a.test:+80"),
        bad("two ports", " a.test:80:80"),
        bad("user name", " user@a.test"),
        bad("user name and password", " user:word@a.test"),
        bad("path", " a.test/case"),
        bad("query", " a.test?b"),
        bad("fragment", " a.test#b"),
        bad("scheme", " http://a.test"),
        bad("list", " a.test, b.test"),
        bad("space inside", " a.test b.test"),
        bad("tab inside", " a.test\tb.test"),
        bad("backslash", " a.test\\b"),
        bad("quote", " \"a.test\""),
        bad("angle brackets", " <a.test>"),
        bad("braces", " {a}.test"),
        bad("bad percent", " a%zz.test"),
        bad("IPv6 address without brackets", " ::1"),
        bad("IPv6 address, bracket left open", " [::1"),
        bad("IPv6 address, bad digits", " [::g]"),
        bad("bytes behind an IPv6 address", " [::1]x"),
        bad("high letter", " \u{e4}.test"),
        bad("NUL", " a\0.test"),
        refused("folded", "M5.2", bare("Host: a.test\r\n b.test"), 400),
        refused("space before its colon", "M5.1", bare("Host : a.test"), 400),
    ]
}
