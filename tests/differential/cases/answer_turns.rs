use crate::case::{Case, Class, End, Step, answer, discarded, get, ok, post, relayed, request};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const ASK: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

pub(super) fn classes() -> Vec<Class> {
    vec![
        Class { title: "Backend: interim responses and switches", cases: interim() },
        Class { title: "Backend: bytes behind the response", cases: behind() },
        Class { title: "Backend: no answer, and answers too early", cases: early() },
    ]
}

fn interim() -> Vec<Case> {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
    let before = |name, interim: &str| relayed(name, "R15.2", format!("{interim}{OK}"), 200);
    vec![
        before("100 nobody waits for", "HTTP/1.1 100 Continue\r\n\r\n")
            .client_has("HTTP/1.1 100 Continue\r\n"),
        before("102", "HTTP/1.1 102 Processing\r\n\r\n").client_has("HTTP/1.1 102 "),
        before("103", hints).client_has("Link: </a>; rel=preload"),
        before("three of them", &hints.repeat(3)).client_has("\r\n\r\nHTTP/1.1 103 "),
        before("unknown, 199", "HTTP/1.1 199 Odd\r\n\r\n").client_has("HTTP/1.1 199 "),
        before("with a length, which means nothing", "HTTP/1.1 103 E\r\nContent-Length: 9\r\n\r\n")
            .client_lacks("Content-Length: 9"),
        before("to HTTP/1.0, which knows none", hints)
            .sent(request("GET /case HTTP/1.0", "", ""))
            .closed()
            .client_lacks("103"),
        before("64 of them", &hints.repeat(64)),
        discarded("65 of them", "R15.2, limit", format!("{}{OK}", hints.repeat(65))),
        discarded("then an end", "M8", hints).ends(End::Close).client_lacks("200"),
        discarded("101 nobody asked for", "R7.8", SWITCH),
        discarded("101 to an upgrade that Connection did not name", "R7.8", SWITCH)
            .sent(get("Upgrade: websocket")),
        discarded("101 to HTTP/1.0", "R7.8", SWITCH).sent(request("GET /case HTTP/1.0", ASK, "")),
        discarded("101 before the request has ended", "R7.8", SWITCH)
            .sent(post(&format!("{ASK}\r\nContent-Length: 100"), ""))
            .early()
            .in_part(),
        discarded("101 to another protocol than was asked for", "R7.8", SWITCH.replace("websocket", "tea"))
            .sent(get(ASK)),
        discarded("101 without Upgrade", "R7.8", "HTTP/1.1 101 Switching Protocols\r\n\r\n").sent(get(ASK)),
    ]
}

fn behind() -> Vec<Case> {
    let with = |name, extra: &str| relayed(name, "M9.2", format!("{OK}{extra}"), 200).not_reused();
    let late = |name, extra| relayed(name, "M9.2", OK, 200).then(Step::Late(extra)).not_reused();
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong";
    vec![
        with("garbage in the same piece", "garbage").client_lacks("garbage"),
        with("a line end in the same piece", "\r\n"),
        with("a second response in the same piece", evil).client_lacks("wrong"),
        late("garbage a little later", "garbage").client_lacks("garbage"),
        late("a line end a little later", "\r\n"),
        late("a second response a little later", evil).client_lacks("wrong"),
        relayed(
            "behind the last chunk",
            "M9.2",
            ok("Transfer-Encoding: chunked", &format!("0\r\n\r\n{evil}")),
            200,
        )
        .not_reused()
        .client_lacks("wrong"),
    ]
}

fn early() -> Vec<Case> {
    let upload = || post("Content-Length: 100", "a part");
    let too_large = answer("HTTP/1.1 413 Content Too Large", "Content-Length: 2", "no");
    let none = |name, sent: &str| discarded(name, "M8", sent);
    vec![
        none("an end without a byte", "").ends(End::Close),
        none("a reset without a byte", "").ends(End::Reset),
        none("an end within the status line", "HTTP/1.1 2").ends(End::Close),
        none("an end within the fields", "HTTP/1.1 200 OK\r\nContent-").ends(End::Close),
        none("a reset within the fields", "HTTP/1.1 200 OK\r\nContent-").ends(End::Reset),
        relayed("answer before the body has come", "M9.3", too_large.clone(), 413)
            .sent(upload())
            .early()
            .in_part()
            .closed()
            .not_reused(),
        relayed("answer before the body has come, then an end", "M9.3", too_large.clone(), 413)
            .sent(upload())
            .early()
            .ends(End::Close)
            .in_part()
            .closed()
            .not_reused(),
        relayed("answer before a chunked body has come", "M9.3", too_large, 413)
            .sent(post("Transfer-Encoding: chunked", "5\r\nhello\r\n"))
            .early()
            .in_part()
            .closed()
            .not_reused(),
    ]
}
