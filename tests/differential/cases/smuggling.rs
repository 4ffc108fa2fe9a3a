use crate::case::{Case, Class, Step, get, passed, post, refused, request};

const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a.test\r\n\r\n";

pub(super) fn classes() -> Vec<Class> {
    vec![
        Class { title: "Pipelined requests", cases: pipelined() },
        Class { title: "Requests within requests", cases: smuggled() },
    ]
}

fn pipelined() -> Vec<Case> {
    let (one, bad) = (get(""), "GET /case HTTP/1.1\r\n\r\n");
    let chunked = post("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n");
    let long = post("Content-Length: 5", "hello");
    let many =
        |name, sent: String, n: usize| passed(name, "M9.3.2", sent).statuses(&vec![200; n]).requests(n);
    vec![
        many("two", one.repeat(2), 2),
        many("twenty", one.repeat(20), 20),
        many("with bodies of each kind", format!("{long}{chunked}{one}{chunked}{long}"), 5),
        many("an empty line between", format!("{long}\r\n{one}"), 2),
        many("HEAD, then GET", format!("{}{one}", request("HEAD /case HTTP/1.1", "", "")), 2),
        many("the second in pieces", one.clone(), 2).steps([
            Step::Send(format!("{one}GET /ca").into()),
            Step::Await("seen GET /case"),
            Step::Send(b"se HTTP/1.1\r\nHost: a.test\r\n\r\n".to_vec()),
        ]),
        passed("the second is malformed", "M9.3.2", format!("{one}{bad}{one}"))
            .statuses(&[200, 400])
            .closed(),
        passed("garbage behind a body", "M9.3.2", format!("{long}\0\r\n\r\n")).statuses(&[200, 400]).closed(),
        passed(
            "the second asks to close, a third behind",
            "M9.6",
            format!("{one}{}{one}", get("Connection: close")),
        )
        .statuses(&[200, 200])
        .requests(2)
        .closed(),
        refused("the first is malformed", "M2.2", format!("{bad}{SMUGGLED}"), 400),
    ]
}

fn smuggled() -> Vec<Case> {
    let bad = |name, fields: &str, body: &str| {
        refused(name, "M11.2", post(fields, body), 400).backend_lacks("smuggled")
    };
    let ends = format!("0\r\n\r\n{SMUGGLED}");
    let length = format!("Content-Length: {}", SMUGGLED.len());
    let chunk = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let inside = |name, sent: String| passed(name, "M11.2", sent).backend_has("smuggled");
    vec![
        bad("CL.TE", &format!("Content-Length: {}\r\nTransfer-Encoding: chunked", ends.len()), &ends),
        bad("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 4", &chunk),
        bad("TE.TE, second field unknown", "Transfer-Encoding: chunked\r\nTransfer-Encoding: x", &ends),
        bad("TE.TE, first field unknown", "Transfer-Encoding: x\r\nTransfer-Encoding: chunked", &ends),
        bad("TE.TE, space before a colon", "Transfer-Encoding: chunked\r\nTransfer-Encoding : x", &ends),
        bad(
            "TE.TE with a length",
            "Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4",
            &chunk,
        ),
        bad("two lengths", &format!("Content-Length: 0\r\n{length}"), SMUGGLED),
        bad("lengths in a list", &format!("{length}, 0"), SMUGGLED),
        bad("length hidden by a fold", &format!("X: 1\r\n {length}"), SMUGGLED),
        bad("length hidden by a bare CR", &format!("X: 1\r{length}"), SMUGGLED),
        bad(
            "length removed by Connection",
            &format!("Connection: close, content-length\r\n{length}"),
            SMUGGLED,
        ),
        bad("bare LF in a chunk size", "Transfer-Encoding: chunked", &format!("0\n\n{SMUGGLED}")),
        bad(
            "chunk size that overflows",
            "Transfer-Encoding: chunked",
            &format!("10000000000000000\r\n\r\n{SMUGGLED}"),
        ),
        bad("a request behind LF in an extension", "Transfer-Encoding: chunked", &format!("5;\n{SMUGGLED}")),
        bad("a request for a trailer", "Transfer-Encoding: chunked", &format!("0\r\n{SMUGGLED}")),
        inside("a request as a body: one request", post(&length, SMUGGLED)),
        inside("a request as a GET's body: one request", request("GET /case HTTP/1.1", &length, SMUGGLED)),
        inside("a request as a HEAD's body: one request", request("HEAD /case HTTP/1.1", &length, SMUGGLED)),
        inside("a request as a chunk: one request", post("Transfer-Encoding: chunked", &chunk)),
        inside("a request as a field value", get("X: GET /smuggled HTTP/1.1")),
        passed("the last chunk as data: one request", "M11.2", post("Content-Length: 5", "0\r\n\r\n")),
        passed("an early answer, the body a request", "M9.3", "")
            .early()
            .answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            .steps([
                Step::Send(post("Content-Length: 100", "").into()),
                Step::Await("ok"),
                Step::Send(SMUGGLED.into()),
            ])
            .in_part()
            .closed()
            .not_reused(),
        refused(
            "an end of the head in the target",
            "M3.2",
            request("GET /a\r\n\r\nGET /smuggled HTTP/1.1", "", ""),
            400,
        )
        .backend_lacks("smuggled"),
        refused(
            "a second request behind bare LFs",
            "M2.2",
            format!("GET /case HTTP/1.1\nHost: a\n\n{SMUGGLED}"),
            400,
        )
        .backend_lacks("smuggled"),
    ]
}
