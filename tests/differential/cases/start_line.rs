use crate::case::{Case, Class, Step, passed, refused, request};

pub(super) fn classes() -> Vec<Class> {
    vec![
        Class { title: "Methods", cases: methods() },
        Class { title: "Versions and request lines", cases: versions() },
    ]
}

fn methods() -> Vec<Case> {
    let line = |line: &str| request(line, "", "");
    let bad = |name, rule, text: &str, status| refused(name, rule, line(text), status);
    vec![
        passed("unknown, passed as it is", "R9.1", line("PURGE /case HTTP/1.1")).backend_has("PURGE /case "),
        passed("small letters: another method", "R9.1", line("get /case HTTP/1.1")).backend_has("get /case "),
        passed("marks of a token", "R9.1", line("X-!#$ /case HTTP/1.1")).backend_has("X-!#$ /case "),
        bad("none", "M3", " /case HTTP/1.1", 400),
        bad("not a token", "M3.1", "G(T /case HTTP/1.1", 400),
        bad("colon", "M3.1", "GET: /case HTTP/1.1", 400),
        bad("NUL", "M3.1", "G\0T /case HTTP/1.1", 400),
        bad("high letter", "M3.1", "G\u{c4}T /case HTTP/1.1", 400),
        bad("33 letters", "M3", &format!("{} /case HTTP/1.1", "M".repeat(33)), 501),
        refused("CONNECT", "R9.3.6", "CONNECT a.test:80 HTTP/1.1\r\nHost: a.test:80\r\n\r\n", 405),
        refused("CONNECT without a port", "R9.3.6", "CONNECT a.test HTTP/1.1\r\nHost: a.test\r\n\r\n", 405),
        refused("CONNECT with a path", "R9.3.6", "CONNECT /case HTTP/1.1\r\nHost: a.test\r\n\r\n", 405),
        refused("CONNECT with an absolute form", "R9.3.6", line("CONNECT http://a.test/ HTTP/1.1"), 405),
        refused(
            "CONNECT with another request behind",
            "R9.3.6",
            format!("{}{}", line("CONNECT a.test:80 HTTP/1.1"), line("GET /smuggled HTTP/1.1")),
            405,
        ),
    ]
}

fn versions() -> Vec<Case> {
    let bad = |name, rule, text: &str, status| refused(name, rule, request(text, "", ""), status);
    let raw = |name, rule, bytes: &[u8], status| refused(name, rule, bytes, status);
    vec![
        passed("HTTP/1.0", "R2.5", request("GET /case HTTP/1.0", "", ""))
            .closed()
            .backend_has("/case HTTP/1.1\r\n"),
        bad("HTTP/1.2", "R2.5", "GET /case HTTP/1.2", 505),
        bad("HTTP/1.9", "R2.5", "GET /case HTTP/1.9", 505),
        bad("HTTP/0.9 in words", "R2.5", "GET /case HTTP/0.9", 505),
        bad("HTTP/2.0", "R2.5", "GET /case HTTP/2.0", 505),
        bad("HTTP/3.0", "R2.5", "GET /case HTTP/3.0", 505),
        raw("preface of HTTP/2", "R2.5", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        raw("HTTP/0.9, a request line alone", "M3", b"GET /case\r\n\r\n", 400),
        bad("no version", "M3", "GET /case", 400),
        bad("a space for a version", "M3", "GET /case ", 400),
        bad("two digits behind the dot", "M2.3", "GET /case HTTP/1.10", 400),
        bad("two digits before the dot", "M2.3", "GET /case HTTP/01.1", 400),
        bad("no dot", "M2.3", "GET /case HTTP/1", 400),
        bad("comma for the dot", "M2.3", "GET /case HTTP/1,1", 400),
        bad("small letters in a version", "M2.3", "GET /case http/1.1", 400),
        bad("another protocol", "M2.3", "GET /case ICY/1.1", 400),
        bad("letter behind", "M2.3", "GET /case HTTP/1.1x", 400),
        bad("space behind", "M3", "GET /case HTTP/1.1 ", 400),
        bad("word behind", "M3", "GET /case HTTP/1.1 HTTP/1.1", 400),
        bad("two spaces behind the method", "M3", "GET  /case HTTP/1.1", 400),
        bad("two spaces behind the target", "M3", "GET /case  HTTP/1.1", 400),
        bad("tabs for spaces", "M3", "GET\t/case\tHTTP/1.1", 400),
        bad("vertical tab for a space", "M3", "GET\x0b/case HTTP/1.1", 400),
        bad("bare CR behind", "M2.2", "GET /case HTTP/1.1\r", 400),
        raw("a TLS hello", "M3", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\r\n\r\n", 400),
        raw("a line of garbage", "M3", b"\xde\xad\xbe\xef\r\n\r\n", 400),
        raw("a response", "M3", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 400),
        raw("a head cut short by the client", "M8", b"GET /case HT", 400).then(Step::Shut).statuses(&[]),
        raw("nothing but an end", "M9.5", b"", 400).then(Step::Shut).statuses(&[]),
    ]
}
