use crate::case::{Case, Class, End, Step, answer, get, passed, post, refused, request};

const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const ASK: &str = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

pub(super) fn classes() -> Vec<Class> {
    vec![
        Class { title: "Expect", cases: expect() },
        Class { title: "Max-Forwards", cases: max_forwards() },
        Class { title: "Upgrade", cases: upgrade() },
    ]
}

fn expect() -> Vec<Case> {
    let head = post("Expect: 100-continue\r\nContent-Length: 5", "");
    vec![
        passed("100-continue, the body waits for it", "R10.1.1", "")
            .steps([
                Step::Send(head.clone().into()),
                Step::Await("HTTP/1.1 100 Continue\r\n"),
                Step::Send(b"hello".to_vec()),
            ])
            .backend_has("Expect: 100-continue")
            .backend_has("hello"),
        passed("100-continue, the body does not wait", "R10.1.1", format!("{head}hello"))
            .backend_has("hello"),
        passed(
            "100-continue in capitals",
            "R10.1.1",
            post("Expect: 100-Continue\r\nContent-Length: 5", "hello"),
        )
        .backend_has("hello"),
        passed("100-continue without a body", "R10.1.1", get("Expect: 100-continue")),
        passed("refused before the body", "R10.1.1", head.clone())
            .early()
            .answer(answer("HTTP/1.1 417 Expectation Failed", "Content-Length: 0", ""))
            .statuses(&[417])
            .in_part()
            .closed()
            .not_reused(),
        passed(
            "in HTTP/1.0, where it means nothing",
            "R10.1.1",
            request("POST /case HTTP/1.0", "Expect: 100-continue\r\nContent-Length: 5", "hello"),
        )
        .closed()
        .backend_lacks("expect")
        .client_lacks("100 Continue"),
        passed("unknown expectation, passed on", "R10.1.1", get("Expect: tea")).backend_has("Expect: tea"),
    ]
}

fn max_forwards() -> Vec<Case> {
    let with = |line: &str, hops: &str| request(line, &format!("Max-Forwards: {hops}"), "");
    let (trace, options, server) = ("TRACE /case HTTP/1.1", "OPTIONS /case HTTP/1.1", "OPTIONS * HTTP/1.1");
    let bad = |name, sent: String| refused(name, "R7.6.2", sent, 400);
    let ends = |name, rule, sent: String, status| refused(name, rule, sent, status).kept();
    vec![
        ends("OPTIONS, 0: answered here", "R9.3.7", with(options, "0"), 200).client_has("Content-Length: 0"),
        ends("OPTIONS *, 0: answered here", "R9.3.7", with(server, "0"), 200),
        ends("TRACE, 0: answered here, not reflected", "R9.3.8", with(trace, "0"), 405)
            .client_has("\r\nAllow: "),
        passed("OPTIONS, 1", "R7.6.2", with(options, "1")).backend_has("Max-Forwards: 0\r\n"),
        passed("OPTIONS *, 10", "R7.6.2", with(server, "10")).backend_has("Max-Forwards: 9\r\n"),
        passed("TRACE, 3", "R7.6.2", with(trace, "3")).backend_has("Max-Forwards: 2\r\n"),
        passed("OPTIONS without it", "R7.6.2", request(options, "", "")).backend_lacks("Max-Forwards"),
        passed("GET, 0: means nothing", "R7.6.2", with("GET /case HTTP/1.1", "0"))
            .backend_has("Max-Forwards: 0"),
        passed("OPTIONS, 2^70: any number is one", "R7.6.2", with(options, "1180591620717411303424"))
            .backend_has("Max-Forwards: "),
        bad("OPTIONS, no number", with(options, "x")),
        bad("OPTIONS, minus one", with(options, "-1")),
        bad("OPTIONS, empty", with(options, "")),
        bad("OPTIONS, twice", request(options, "Max-Forwards: 0\r\nMax-Forwards: 5", "")),
        refused("TRACE with a body", "R9.3.8", request(trace, "Content-Length: 5", "hello"), 400),
    ]
}

fn upgrade() -> Vec<Case> {
    let tunnel = |name, first: String| {
        passed(name, "R7.8", first)
            .answer(SWITCH)
            .ends(End::Shout)
            .then(Step::Await("HTTP/1.1 101 "))
            .statuses(&[101])
            .closed()
            .client_has("Upgrade: websocket")
    };
    let ignored = |name, sent: String| passed(name, "R7.8", sent).backend_lacks("\r\nUpgrade:");
    vec![
        tunnel("to a WebSocket: both ways, and half-closed", get(ASK))
            .then(Step::Send(b"ping".to_vec()))
            .then(Step::Await("PING"))
            .then(Step::Send(b"GET / HTTP/1.1\r\n\r\n".to_vec()))
            .then(Step::Await("GET / HTTP/1.1\r\n\r\n"))
            .then(Step::Shut)
            .backend_has("\r\nUpgrade: websocket\r\n")
            .client_has("THE END"),
        tunnel("bytes sent before the 101", format!("{}early", get(ASK)))
            .then(Step::Await("EARLY"))
            .then(Step::Shut)
            .client_has("THE END"),
        tunnel("with a body before", post(&format!("{ASK}\r\nContent-Length: 5"), "hello"))
            .then(Step::Shut)
            .client_has("THE END"),
        passed("the backend declines", "R7.8", get(ASK)).backend_has("\r\nUpgrade: websocket\r\n"),
        passed("the backend declines, more requests behind", "R7.8", format!("{}{}", get(ASK), get("X: 2")))
            .statuses(&[200, 200])
            .requests(2),
        passed("a 200 is no switch", "R7.8", get(ASK))
            .answer(
                "HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nok",
            )
            .client_lacks("Upgrade:"),
        ignored("not named by Connection", get("Upgrade: websocket")),
        ignored(
            "to HTTP/2 without TLS",
            get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: A"),
        ),
        ignored("to HTTP/2 or a WebSocket", get("Connection: Upgrade\r\nUpgrade: websocket, h2c")),
        ignored("in HTTP/1.0", request("GET /case HTTP/1.0", ASK, "")),
    ]
}
