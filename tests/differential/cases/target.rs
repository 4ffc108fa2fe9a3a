use crate::case::{Case, Class, passed, refused, request};

pub(super) fn classes() -> Vec<Class> {
    vec![
        Class { title: "Absolute form and others", cases: forms() },
        Class { title: "Bytes of the target", cases: bytes() },
    ]
}

fn to(target: &str) -> String {
    request(&format!("GET {target} HTTP/1.1"), "", "")
}

fn forms() -> Vec<Case> {
    let absolute = |name, target: &str| passed(name, "M3.2.2", to(target));
    let bad = |name, rule, target: &str| refused(name, rule, to(target), 400);
    vec![
        absolute("absolute form", "http://a.test/case").backend_has("GET /case HTTP/1."),
        absolute("absolute form, Host disagrees: the target wins", "http://b.test/case")
            .backend_has("\r\nHost: b.test\r\n")
            .backend_lacks("a.test"),
        absolute("absolute form with a port", "http://b.test:81/case").backend_has("\r\nHost: b.test:81\r\n"),
        absolute("absolute form without a path", "http://a.test").backend_has("GET / HTTP/1."),
        absolute("absolute form, a query and no path", "http://a.test?b").backend_has("GET /?b HTTP/1."),
        absolute("absolute form, capital scheme", "HTTP://a.test/case").backend_has("GET /case HTTP/1."),
        absolute("absolute form, https", "https://a.test/case").backend_has("GET /case HTTP/1."),
        refused("absolute form without Host", "M3.2", "GET http://a.test/ HTTP/1.1\r\n\r\n", 400),
        refused(
            "absolute form with two Hosts",
            "M3.2",
            request("GET http://a.test/ HTTP/1.1", "Host: b", ""),
            400,
        ),
        passed("absolute form in HTTP/1.0 without Host", "M3.2.2", "GET http://a.test/ HTTP/1.0\r\n\r\n")
            .closed()
            .backend_has("\r\nHost: a.test\r\n"),
        bad("absolute form, another scheme", "M3.2.2", "ftp://a.test/"),
        bad("absolute form, user name", "R4.2.4", "http://user@a.test/"),
        bad("absolute form, no host", "R4.2.1", "http:///case"),
        bad("absolute form, a port alone", "R4.2.1", "http://:80/case"),
        bad("absolute form, bad port", "M3.2.2", "http://a.test:x/"),
        bad("absolute form, fragment", "M3.2", "http://a.test/#b"),
        bad("absolute form, backslash in the host", "M3.2.2", "http://a.test\\b.test/"),
        bad("scheme without slashes", "M3.2.2", "http:a.test"),
        passed("OPTIONS of the whole server", "M3.2.4", request("OPTIONS * HTTP/1.1", "", ""))
            .backend_has("OPTIONS * HTTP/1."),
        passed(
            "OPTIONS, absolute form without a path",
            "M3.2.4",
            request("OPTIONS http://a.test HTTP/1.1", "", ""),
        )
        .backend_has("OPTIONS * HTTP/1."),
        bad("asterisk with GET", "M3.2.4", "*"),
        bad("asterisk and more", "M3.2.4", "*/case"),
        bad("authority with GET", "M3.2.3", "a.test:80"),
        bad("no slash before", "M3.2", "case"),
        bad("query alone", "M3.2", "?b"),
        bad("dots alone", "M3.2", ".."),
    ]
}

fn bytes() -> Vec<Case> {
    let good = |name, rule, target: &str, at_backend| passed(name, rule, to(target)).backend_has(at_backend);
    let bad = |name, rule, target: &str| refused(name, rule, to(target), 400);
    vec![
        good("dot segments, unchanged", "R7.7", "/a/../b/./c", "GET /a/../b/./c "),
        good("encoded dots and slashes, unchanged", "R7.7", "/%2e%2e%2Fa", "GET /%2e%2e%2Fa "),
        good("double slash, unchanged", "R7.7", "//a.test//b", "GET //a.test//b "),
        good("query with what browsers leave", "R7.7", "/a?b={|}^`\\", "GET /a?b={|}^`\\ "),
        good("encoded NUL, unchanged", "R7.7", "/a%00b", "GET /a%00b "),
        good("encoded line end, unchanged", "R7.7", "/a%0d%0ab", "GET /a%0d%0ab "),
        good("bad percent, unchanged", "R7.7", "/a%zz", "GET /a%zz "),
        good("two question marks", "R7.7", "/a?b?c", "GET /a?b?c "),
        good("semicolons", "R7.7", "/a;b=c/d", "GET /a;b=c/d "),
        bad("fragment", "M3.2", "/a#b"),
        bad("space", "M3.2", "/a b"),
        bad("tab", "M3.2", "/a\tb"),
        bad("NUL", "M3.2", "/a\0b"),
        bad("control character", "M3.2", "/a\x01b"),
        bad("delete character", "M3.2", "/a\x7fb"),
        bad("bare CR", "M3.2", "/a\rb"),
        bad("quote", "M3.2", "/a\"b"),
        bad("angle brackets", "M3.2", "/a<b>"),
        bad("high letter", "M3.2", "/\u{e4}"),
        good("7 KiB", "M3", &format!("/{}", "a".repeat(7 * 1024)), "aaa "),
        refused("9 KiB", "M3", to(&format!("/{}", "a".repeat(9 * 1024))), 414),
        refused("40 KiB", "M3", to(&format!("/{}", "a".repeat(40 * 1024))), 414),
        refused("40 KiB and no end of the line", "M3", format!("GET /{}", "a".repeat(40 * 1024)), 414),
    ]
}
