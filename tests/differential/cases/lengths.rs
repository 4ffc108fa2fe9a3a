use crate::case::{Case, Class, Step, passed, post, refused, request};

pub(super) fn classes() -> Vec<Class> {
    vec![Class { title: "Content-Length in requests", cases: [accepted(), malformed()].concat() }]
}

fn accepted() -> Vec<Case> {
    let hello = |fields| post(fields, "hello");
    vec![
        passed("digits", "R8.6", hello("Content-Length: 5")).backend_has("Content-Length: 5\r\n"),
        passed("zero", "R8.6", post("Content-Length: 0", "")).backend_has("Content-Length: 0\r\n"),
        passed("zeros before", "R8.6", hello("Content-Length: 0005")).backend_has("Content-Length: 5\r\n"),
        passed("tabs around", "R5.5", hello("Content-Length:\t5\t")).backend_has("Content-Length: 5\r\n"),
        passed("no space behind the colon", "R5.5", hello("Content-Length:5")).backend_has("hello"),
        passed("two fields that agree, merged", "M6.3", hello("Content-Length: 5\r\nContent-Length: 5"))
            .backend_lacks("Content-Length: 5\r\nContent-Length: 5"),
        passed("GET with a body", "R9.3.1", request("GET /case HTTP/1.1", "Content-Length: 5", "hello"))
            .backend_has("hello"),
        passed("body in two pieces", "M6.3", "").steps([
            Step::Send(post("Content-Length: 5", "he").into()),
            Step::AwaitBackend("\r\n\r\nhe"),
            Step::Send(b"llo".to_vec()),
        ]),
        passed("body cut short by the client", "M8", post("Content-Length: 5", "he"))
            .then(Step::AwaitBackend("\r\n\r\nhe"))
            .then(Step::Shut)
            .statuses(&[])
            .in_part()
            .closed(),
    ]
}

fn malformed() -> Vec<Case> {
    let bad = |name, value: &str| {
        refused(name, "M6.3, R8.6", post(&format!("Content-Length:{value}"), "hello"), 400)
    };
    vec![
        bad("plus sign", " +5"),
        bad("minus sign", " -5"),
        bad("minus zero", " -0"),
        bad("hexadecimal", " 0x5"),
        bad("letter behind", " 5a"),
        bad("space inside", " 5 5"),
        bad("fraction", " 5.0"),
        bad("exponent", " 5e0"),
        bad("underscore", " 1_0"),
        bad("quoted", " \"5\""),
        bad("semicolon behind", " 5;"),
        bad("empty", ""),
        bad("white space alone", "  \t"),
        bad("list of equal members", " 5, 5"),
        bad("list of different members", " 5, 6"),
        bad("comma behind", " 5,"),
        bad("2^63", " 9223372036854775808"),
        bad("2^64 + 5", " 18446744073709551621"),
        bad("twenty-five nines", " 9999999999999999999999999"),
        bad("vertical tab before", " \x0b5"),
        bad("other digits of Unicode", " \u{665}"),
        refused(
            "two fields that differ",
            "M6.3",
            post("Content-Length: 5\r\nContent-Length: 6", "hello"),
            400,
        ),
        refused(
            "two fields, one of them bad",
            "M6.3",
            post("Content-Length: 5\r\nContent-Length: x", "hello"),
            400,
        ),
        refused(
            "two fields, 5 and 05",
            "M6.3",
            post("Content-Length: 5\r\nContent-Length: 05", "hello"),
            400,
        )
        .statuses(&[200])
        .requests(1)
        .kept(),
    ]
}
