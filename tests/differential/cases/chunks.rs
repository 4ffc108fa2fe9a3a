use crate::case::{Case, Class, Step, chunked, passed, refused};

pub(super) fn classes() -> Vec<Class> {
    vec![
        Class { title: "Chunked requests", cases: [accepted(), cut()].concat() },
        Class { title: "Malformed chunks in requests", cases: [sizes(), extensions(), data()].concat() },
        Class { title: "Trailers in requests", cases: trailers() },
    ]
}

fn accepted() -> Vec<Case> {
    let good = |name, rule, body: &str| passed(name, rule, chunked(body)).backend_has("hello");
    vec![
        passed("no data", "M7.1", chunked("0\r\n\r\n")).backend_has("\r\n\r\n0\r\n\r\n"),
        good("capital digits", "M7.1", "A\r\nhellohello\r\n0\r\n\r\n"),
        good("zeros before the size", "M7.1", "0005\r\nhello\r\n000\r\n\r\n"),
        good("extension, dropped", "M7.1.1", "5;a=b\r\nhello\r\n0\r\n\r\n").backend_lacks("a=b"),
        good("extension of the last chunk, dropped", "M7.1.1", "5\r\nhello\r\n0;a\r\n\r\n")
            .backend_lacks(";a"),
        good("quoted extension, dropped", "M7.1.1", "5;a=\"b;\\\"c\"\r\nhello\r\n0\r\n\r\n")
            .backend_lacks("b;"),
        good("spaces around an extension", "M7.1.1", "5 ; a = b\r\nhello\r\n0\r\n\r\n").backend_lacks("a ="),
        passed("a piece for each few bytes", "M7.1", "").steps([
            Step::Send(chunked("5").into()),
            Step::AwaitBackend("\r\n\r\n"),
            Step::Send(b"\r\nhe".to_vec()),
            Step::Send(b"llo\r".to_vec()),
            Step::Send(b"\n0\r\n\r".to_vec()),
            Step::Send(b"\n".to_vec()),
        ]),
    ]
}

fn cut() -> Vec<Case> {
    let begun = |name, rule, rest: &str| {
        let steps = [
            Step::Send(chunked("5\r\nhello\r\n").into()),
            Step::AwaitBackend("hello"),
            Step::Send(rest.as_bytes().to_vec()),
        ];
        refused(name, rule, "", 400).steps(steps).in_part()
    };
    let cut = |name, body: &str| {
        let sent = passed(name, "M8", chunked(body)).then(Step::AwaitBackend("\r\n\r\n"));
        sent.then(Step::Shut).statuses(&[]).in_part().closed()
    };
    vec![
        begun("bad size once the body is under way", "M7.1", "x\r\n"),
        begun("bad trailer once the body is under way", "M7.1.2", "0\r\nbad\r\n\r\n"),
        cut("cut short within a chunk", "5\r\nhe"),
        cut("cut short between chunks", "5\r\nhello\r\n"),
        cut("cut short before the empty line", "5\r\nhello\r\n0\r\n"),
    ]
}

fn sizes() -> Vec<Case> {
    let bad = |name, line: &str| refused(name, "M7.1", chunked(&format!("{line}hello\r\n0\r\n\r\n")), 400);
    vec![
        bad("no size", "\r\n"),
        bad("no size, an extension", ";a\r\n"),
        bad("plus sign in a size", "+5\r\n"),
        bad("minus sign in a size", "-5\r\n"),
        bad("0x before a size", "0x5\r\n"),
        bad("letter behind a size", "5g\r\n"),
        bad("space before a size", " 5\r\n"),
        bad("space behind a size", "5 \r\n"),
        bad("tab behind a size", "5\t\r\n"),
        bad("underscore in a size", "0_5\r\n"),
        bad("size 2^64 + 5", "10000000000000005\r\n"),
        bad("size 2^64 - 1", "ffffffffffffffff\r\n"),
        bad("size 2^63", "8000000000000000\r\n"),
        bad("seventeen zeros in a size", "00000000000000005\r\n"),
        bad("bare LF behind a size", "5\n"),
        bad("bare CR behind a size", "5\r"),
        bad("CR CR LF behind a size", "5\r\r\n"),
        bad("NUL behind a size", "5\0\r\n"),
    ]
}

fn extensions() -> Vec<Case> {
    let bad = |name, line: &str| refused(name, "M7.1.1", chunked(&format!("{line}hello\r\n0\r\n\r\n")), 400);
    vec![
        bad("bare LF behind an extension", "5;a\n"),
        bad("bare CR in an extension", "5;a\rb\r\n"),
        bad("NUL in an extension", "5;a\0\r\n"),
        bad("LF in a quoted extension", "5;a=\"\n\"\r\n"),
        bad("quote left open in an extension", "5;a=\"b\r\n"),
        bad("extension without a name", "5;\r\n"),
        bad("extension without a value", "5;a=\r\n"),
        bad("colon for the semicolon", "5:a\r\n"),
        bad("17 KiB of extensions", &format!("5;{}\r\n", "a".repeat(17 * 1024))),
    ]
}

fn data() -> Vec<Case> {
    let bad = |name, body: &str| refused(name, "M7.1", chunked(body), 400);
    vec![
        bad("data longer than its size", "5\r\nhello!\r\n0\r\n\r\n"),
        bad("data shorter than its size", "6\r\nhello\r\n0\r\n\r\n"),
        bad("bare LF behind data", "5\r\nhello\n0\r\n\r\n"),
        bad("bare CR behind data", "5\r\nhello\r0\r\n\r\n"),
        bad("nothing behind data", "5\r\nhello0\r\n\r\n"),
        bad("two CRLF behind data", "5\r\nhello\r\n\r\n0\r\n\r\n"),
    ]
}

fn trailers() -> Vec<Case> {
    let with = |trailers: &str| chunked(&format!("5\r\nhello\r\n0\r\n{trailers}\r\n"));
    let dropped = |name, trailer: &str| {
        passed(name, "R6.5.1", with(&format!("{trailer}\r\nX-Sum: 1\r\n")))
            .backend_lacks("smuggled")
            .backend_has("hello")
    };
    let bad = |name, rule, trailers: &str| refused(name, rule, with(trailers), 400);
    vec![
        passed("a trailer", "M7.1.2", with("X-Sum: 1\r\n")).backend_has("0\r\nX-Sum: 1\r\n\r\n"),
        dropped("Content-Length in the trailers", "Content-Length: smuggled"),
        dropped("Transfer-Encoding in the trailers", "Transfer-Encoding: smuggled"),
        dropped("Host in the trailers", "Host: smuggled"),
        dropped("Authorization in the trailers", "Authorization: smuggled"),
        dropped("Cookie in the trailers", "Cookie: smuggled"),
        dropped("X-Forwarded-For in the trailers", "X-Forwarded-For: smuggled"),
        dropped("Connection in the trailers", "Connection: smuggled"),
        bad("space before a trailer's colon", "M5.1", "X : 1\r\n"),
        bad("trailer without a colon", "M5", "X\r\n"),
        bad("trailer with a bad name", "R5.1", "X Y: 1\r\n"),
        bad("folded trailer", "M5.2", "X: 1\r\n 2\r\n"),
        bad("NUL in a trailer", "R5.5", "X: \0\r\n"),
        bad("bare LF behind a trailer", "M2.2", "X: 1\n"),
        bad("bare CR in a trailer", "M2.2", "X: 1\r2\r\n"),
        refused("bare LF for the last line", "M2.2", chunked("0\r\n\n"), 400),
        bad("9 KiB of trailers", "limit", &format!("X: {}\r\n", "a".repeat(9 * 1024))),
        bad("200 trailers", "limit", &"X: 1\r\n".repeat(200)),
    ]
}
