use crate::case::{Case, Class, chunked, passed, post, refused, request};

const BODY: &str = "5\r\nhello\r\n0\r\n\r\n";
const LAST: &str = "0\r\n\r\n";

pub(super) fn classes() -> Vec<Class> {
    vec![
        Class { title: "Transfer-Encoding with Content-Length, and in HTTP/1.0", cases: both() },
        Class { title: "Transfer codings", cases: codings() },
        Class { title: "Transfer-Encoding in disguise", cases: disguises() },
    ]
}

fn both() -> Vec<Case> {
    let both = |name, fields: &str| refused(name, "M6.1, M6.3", post(fields, BODY), 400);
    let old = |fields: &str| request("POST /case HTTP/1.0", fields, BODY);
    vec![
        both("coding, then length", "Transfer-Encoding: chunked\r\nContent-Length: 5"),
        both("length, then coding", "Content-Length: 5\r\nTransfer-Encoding: chunked"),
        both("coding and the length of its body", "Transfer-Encoding: chunked\r\nContent-Length: 15"),
        both("coding and length 0", "Transfer-Encoding: chunked\r\nContent-Length: 0"),
        both("coding and a bad length", "Transfer-Encoding: chunked\r\nContent-Length: x"),
        both("coding and an empty length", "Transfer-Encoding: chunked\r\nContent-Length:"),
        both("unknown coding and length", "Transfer-Encoding: x\r\nContent-Length: 15"),
        both("identity and length", "Transfer-Encoding: identity\r\nContent-Length: 15"),
        both(
            "length hidden by Connection",
            "Connection: Content-Length\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        ),
        refused("chunked in HTTP/1.0", "M6.1", old("Transfer-Encoding: chunked"), 400),
        refused("identity in HTTP/1.0", "M6.1", old("Transfer-Encoding: identity"), 400),
        refused(
            "chunked in HTTP/1.0 with keep-alive",
            "M6.1",
            old("Transfer-Encoding: chunked\r\nConnection: keep-alive"),
            400,
        ),
        refused("both in HTTP/1.0", "M6.1", old("Transfer-Encoding: chunked\r\nContent-Length: 15"), 400),
    ]
}

fn codings() -> Vec<Case> {
    let with = |coding: &str| post(&format!("Transfer-Encoding:{coding}"), BODY);
    let bad = |name, coding: &str| refused(name, "M6.1, M6.3", with(coding), 400);
    let unknown = |name, coding: &str| refused(name, "M6.1", with(coding), 501);
    vec![
        passed("chunked", "M6.1", chunked(BODY))
            .backend_has("Transfer-Encoding: chunked\r\n")
            .backend_lacks("Content-Length"),
        passed("mixed case", "M7", with(" ChUnKeD")).backend_has("hello"),
        passed("tab before, spaces behind", "R5.5", with("\tchunked  \t")).backend_has("hello"),
        passed(
            "GET with a chunked body",
            "R9.3.1",
            request("GET /case HTTP/1.1", "Transfer-Encoding: chunked", BODY),
        )
        .backend_has("hello"),
        bad("empty", ""),
        bad("comma alone", " ,"),
        bad("identity", " identity"),
        bad("identity, chunked", " identity, chunked"),
        bad("chunked, identity", " chunked, identity"),
        bad("chunked twice in a list", " chunked, chunked"),
        bad("chunked, gzip", " chunked, gzip"),
        bad("gzip alone", " gzip"),
        bad("empty member behind", " chunked,"),
        bad("empty member before", " ,chunked"),
        refused(
            "chunked in two fields",
            "M6.1",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", BODY),
            400,
        ),
        refused(
            "gzip and chunked in two fields",
            "M6.1",
            post("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", BODY),
            400,
        ),
        refused(
            "chunked and identity in two fields",
            "M6.1",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", BODY),
            400,
        ),
        unknown("gzip, chunked", " gzip, chunked"),
        unknown("xchunked", " xchunked"),
        unknown("chunkedx", " chunkedx"),
        unknown("two words", " chunked chunked"),
        unknown("parameter", " chunked;q=1"),
        unknown("quoted", " \"chunked\""),
        unknown("single quotes", " 'chunked'"),
    ]
}

fn disguises() -> Vec<Case> {
    let bad = |name, rule, field: &str| refused(name, rule, post(field, LAST), 400);
    vec![
        bad("space before the colon", "M5.1", "Transfer-Encoding : chunked"),
        bad("tab before the colon", "M5.1", "Transfer-Encoding\t: chunked"),
        bad("on a folded line", "M5.2", "X: 1\r\n Transfer-Encoding: chunked"),
        bad("value on a folded line", "M5.2", "Transfer-Encoding:\r\n chunked"),
        bad("behind a bare LF", "M2.2", "X: 1\nTransfer-Encoding: chunked"),
        bad("behind a bare CR", "M2.2", "X: 1\rTransfer-Encoding: chunked"),
        bad("NUL behind the value", "R5.5", "Transfer-Encoding: chunked\0"),
        bad("NUL in the name", "R5.1", "Transfer\0-Encoding: chunked"),
        bad("vertical tab before the value", "R5.5", "Transfer-Encoding: \x0bchunked"),
        bad("form feed behind the value", "R5.5", "Transfer-Encoding: chunked\x0c"),
        bad("backspace before the name", "R5.1", "\x08Transfer-Encoding: chunked"),
        bad("semicolon in the name", "R5.1", "Transfer-Encoding;: chunked"),
        bad("equals sign for the colon", "R5.1", "Transfer-Encoding= chunked"),
        bad("no colon", "R5.1", "Transfer-Encoding chunked"),
        bad("dash of Unicode in the name", "R5.1", "Transfer\u{2010}Encoding: chunked"),
        refused(
            "no-break space before the value",
            "M6.1",
            [b"POST /case HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \xa0chunked\r\n\r\n", LAST.as_bytes()]
                .concat(),
            501,
        ),
        refused(
            "high byte behind the value",
            "M6.1",
            [b"POST /case HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\xff\r\n\r\n", LAST.as_bytes()]
                .concat(),
            501,
        ),
        passed("underscore for the dash: another field", "R5.1", post("Transfer_Encoding: chunked", ""))
            .backend_lacks("Transfer-Encoding"),
    ]
}
