use crate::case::{Case, Class, Step, get, passed, post, refused, request};

pub(super) fn classes() -> Vec<Class> {
    vec![
        Class { title: "Connection and hop-by-hop fields", cases: [persistence(), hop_by_hop()].concat() },
        Class { title: "Fields that we add", cases: added() },
    ]
}

fn persistence() -> Vec<Case> {
    let with = |connection: &str| get(&format!("Connection: {connection}"));
    let old = |fields: &str| request("GET /case HTTP/1.0", fields, "");
    vec![
        passed("close", "M9.6", with("close")).closed().client_has("Connection: close"),
        passed("CLOSE in capitals", "M9.6", with("CLOSE")).closed(),
        passed("close in a list", "M9.6", with("keep-alive, close")).closed(),
        passed("close in a second field", "M9.6", get("Connection: X-A\r\nConnection: close")).closed(),
        passed("keep-alive in HTTP/1.1", "M9.3", with("keep-alive")),
        passed("nothing in HTTP/1.0", "M9.3", old("")).closed(),
        passed("keep-alive in HTTP/1.0", "M9.3", old("Connection: keep-alive"))
            .client_has("Connection: keep-alive"),
        passed("keep-alive and close in HTTP/1.0", "M9.3", old("Connection: keep-alive, close")).closed(),
        passed("half-closed behind the request", "M9.6", get("")).then(Step::Shut).closed(),
        passed("a second request behind close", "M9.6", format!("{}{}", with("close"), get("X: smuggled")))
            .closed()
            .backend_lacks("smuggled"),
        passed("empty", "R7.6.1", with("")),
        passed("commas alone", "R7.6.1", with(", ,")),
    ]
}

fn hop_by_hop() -> Vec<Case> {
    let stripped = |name, fields: &str, word| passed(name, "R7.6.1", get(fields)).backend_lacks(word);
    let bad = |name, fields: &str, body: &str| refused(name, "R7.6.1", post(fields, body), 400);
    vec![
        stripped("a field named by Connection", "Connection: X-Secret\r\nX-Secret: 1", "secret"),
        stripped(
            "named before and behind, any case",
            "x-secret: 1\r\nConnection: X-SECRET\r\nX-Secret: 2",
            "secret",
        ),
        stripped("named in a list", "Connection: a, X-Secret ,b\r\nX-Secret: 1", "secret"),
        stripped("Keep-Alive", "Keep-Alive: timeout=5", "keep-alive"),
        stripped("Proxy-Connection", "Proxy-Connection: keep-alive", "proxy-connection"),
        stripped("TE", "TE: trailers", "TE:"),
        stripped("TE named by Connection", "Connection: TE\r\nTE: trailers, deflate;q=0.5", "deflate"),
        stripped("Proxy-Authorization", "Proxy-Authorization: Basic eA==", "proxy-authorization"),
        bad("Connection names Host", "Connection: Host", ""),
        bad("Connection names Content-Length", "Connection: Content-Length\r\nContent-Length: 5", "hello"),
        bad(
            "Connection names Transfer-Encoding",
            "Connection: transfer-encoding\r\nTransfer-Encoding: chunked",
            "0\r\n\r\n",
        ),
        passed("Connection names X-Forwarded-For", "R7.6.1", get("Connection: close, X-Forwarded-For"))
            .closed()
            .backend_has("X-Forwarded-For: 127.0.0.1"),
        passed("Connection names X-Forwarded-Host", "R7.6.1", get("Connection: x-forwarded-host"))
            .backend_has("X-Forwarded-For: 127.0.0.1"),
        passed("Connection names Via", "R7.6.3", get("Connection: Via")).backend_has("Via: 1.1 "),
        passed("Connection names Cookie", "R7.6.1", get("Connection: Cookie\r\nCookie: a=secret"))
            .backend_lacks("secret"),
    ]
}

fn added() -> Vec<Case> {
    vec![
        passed("Via", "R7.6.3", get("")).backend_has("\r\nVia: 1.1 "),
        passed("Via of an HTTP/1.0 request", "R7.6.3", "GET /case HTTP/1.0\r\n\r\n")
            .closed()
            .backend_has("\r\nVia: 1.0 "),
        passed("Via behind the client's own", "R7.6.3", get("Via: 1.1 other"))
            .backend_has("Via: 1.1 other\r\n")
            .backend_has("Via: 1.1 evenkeel"),
        passed("X-Forwarded-For", "ours", get("")).backend_has("\r\nX-Forwarded-For: 127.0.0.1\r\n"),
        passed("X-Forwarded-For, the client's own is replaced", "ours", get("X-Forwarded-For: 198.51.100.7"))
            .backend_lacks("198.51.100.7"),
        passed("X-Request-Id", "ours", get("")).backend_has("\r\nX-Request-Id: "),
        passed("X-Request-Id, the client's own is replaced", "ours", get("X-Request-Id: mine"))
            .backend_lacks("mine"),
        passed("Connection names X-Request-Id", "R7.6.1", get("Connection: X-Request-Id"))
            .backend_has("\r\nX-Request-Id: "),
        passed("X-Forwarded-Proto, the client's own is replaced", "ours", get("X-Forwarded-Proto: https"))
            .backend_lacks("https"),
        passed("X-Forwarded-Host, the client's own is replaced", "ours", get("X-Forwarded-Host: evil.test"))
            .backend_lacks("evil"),
        passed("our own version to the backend", "M2.3", "GET /case HTTP/1.0\r\nHost: a.test\r\n\r\n")
            .closed()
            .backend_has(" HTTP/1.1\r\n"),
    ]
}
