use super::super::edits::Changes;
use super::*;

const FORWARDED: Forwarded<'_> = Forwarded {
    client: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 10)),
    scheme: "http",
    local: "127.0.0.1:8080",
    trusted: true,
    id: b"0-1",
};

fn rewrite(head: &str) -> Result<String, Refusal> {
    let mut space = fields();
    let request = Request::parse(head.as_bytes(), &mut space)?;
    let mut out = Vec::new();
    request.write(&FORWARDED, &Changes::NONE, &mut out);
    Ok(String::from_utf8(out).unwrap())
}

const OURS: &str = "X-Forwarded-For: 192.0.2.10\r\nX-Forwarded-Host: a\r\nX-Forwarded-Proto: http\r\nX-Request-Id: 0-1\r\nVia: 1.1 evenkeel\r\n";

#[test]
fn hop_by_hop_fields_go_and_ours_come() {
    let head = "GET /x?y HTTP/1.1\r\nHost: a\r\nConnection: close, X-Drop\r\nX-Drop: 1\r\nX-Keep: 2\r\nTE: trailers\r\n\
                Keep-Alive: timeout=5\r\nx-drop: 3\r\nX-Last: 4\r\n\r\n";
    assert_eq!(
        rewrite(head).unwrap(),
        format!("GET /x?y HTTP/1.1\r\nHost: a\r\nX-Keep: 2\r\nX-Last: 4\r\n{OURS}\r\n")
    );
}

#[test]
fn what_a_trusted_client_forwards_is_kept_and_cannot_be_stripped() {
    let head = "GET / HTTP/1.1\r\nX-Forwarded-For: 10.0.0.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\
                X-Request-ID: 7\r\nConnection: X-Forwarded-For, via, x-forwarded-host\r\n\
                X-Forwarded-Host: b\r\nX-Forwarded-For: 10.0.0.2\r\n\r\n";
    let out = rewrite(head).unwrap();
    assert!(out.contains("X-Forwarded-For: 10.0.0.1, 10.0.0.2, 192.0.2.10\r\n"), "{out}");
    assert!(out.contains("X-Forwarded-Proto: https\r\n") && out.contains("X-Request-ID: 7\r\n"), "{out}");
    assert!(out.contains("X-Forwarded-Host: a\r\n") && out.contains("Via: 1.1 evenkeel"), "{out}");
    assert_eq!(out.matches("X-Forwarded").count(), 3);
    assert_eq!(out.to_lowercase().matches("x-request-id").count(), 1);
}

#[test]
fn what_anyone_else_forwards_is_replaced() {
    let head = "GET / HTTP/1.1\r\nX-Forwarded-For: 10.0.0.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\
                X-Request-ID: 7\r\nX-Forwarded-Host: b\r\n\r\n";
    let mut space = fields();
    let mut out = Vec::new();
    let untrusted = Forwarded { trusted: false, ..FORWARDED };
    Request::parse(head.as_bytes(), &mut space).unwrap().write(&untrusted, &Changes::NONE, &mut out);
    assert_eq!(String::from_utf8(out).unwrap(), format!("GET / HTTP/1.1\r\nHost: a\r\n{OURS}\r\n"));
}

#[test]
fn framing_that_leaves_is_ours() {
    let out =
        rewrite("POST / HTTP/1.1\r\nHost: a\r\nContent-length: 005\r\ncontent-length: 5\r\n\r\n").unwrap();
    assert_eq!(out, format!("POST / HTTP/1.1\r\nHost: a\r\n{OURS}Content-Length: 5\r\n\r\n"));
    let out = rewrite("POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:  CHUNKED\r\n\r\n").unwrap();
    assert_eq!(out, format!("POST / HTTP/1.1\r\nHost: a\r\n{OURS}Transfer-Encoding: chunked\r\n\r\n"));
}

#[test]
fn absolute_form_replaces_host() {
    let out = rewrite("GET http://a?q HTTP/1.1\r\nX: 1\r\nHost: evil\r\n\r\n").unwrap();
    assert_eq!(out, format!("GET /?q HTTP/1.1\r\nHost: a\r\nX: 1\r\n{OURS}\r\n"));
    let out = rewrite("OPTIONS http://a HTTP/1.1\r\nHost: evil\r\nMax-Forwards: 7\r\n\r\n").unwrap();
    assert_eq!(out, format!("OPTIONS * HTTP/1.1\r\nHost: a\r\n{OURS}Max-Forwards: 6\r\n\r\n"));
}

#[test]
fn http_1_0_gets_a_host() {
    let out = rewrite("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n").unwrap();
    assert!(
        out.starts_with("GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-Forwarded-For: 192.0.2.10\r\n"),
        "{out}"
    );
    assert!(
        out.contains("Via: 1.0 evenkeel") && !out.contains("X-Forwarded-Host") && !out.contains("Expect")
    );
}

#[test]
fn upgrades_pass_only_when_connection_names_them() {
    let ask = |connection: &str, protocol: &str| {
        rewrite(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\nUpgrade: {protocol}\r\n\r\n"
        ))
        .unwrap()
    };
    assert!(
        ask("keep-alive, Upgrade", "websocket")
            .ends_with("Connection: upgrade\r\nUpgrade: websocket\r\n\r\n")
    );
    assert!(!ask("keep-alive", "websocket").contains("pgrade"));
    assert!(!ask("upgrade, HTTP2-Settings", "h2c").contains("pgrade"));
}

#[test]
fn what_breaks_a_rule_is_refused() {
    use Refusal::*;
    let many = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: 1\r\n".repeat(limits::FIELDS));
    let method = format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(limits::METHOD + 1));
    let cases = [
        ("GET / HTTP/1.1\r\n\r\n", HostMissing),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HostRepeated),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", HostInvalid),
        ("GET / HTTP/1.1\r\nHost:\r\n\r\n", HostInvalid),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Version),
        ("GET / HTTP/x\r\nHost: a\r\n\r\n", StartLine),
        ("GET /\r\nHost: a\r\n\r\n", StartLine),
        ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", StartLine),
        ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", StartLine),
        ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("GET /# HTTP/1.1\r\nHost: a\r\n\r\n", Target),
        ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", Connect),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", LengthsDiffer),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", LengthInvalid),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", LengthInvalid),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            LengthAndCoding,
        ),
        ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", CodingInHttp10),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            CodingInvalid,
        ),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: br\r\n\r\n", CodingUnknown),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", FieldLine),
        ("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", FieldLine),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", FieldLine),
        ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", FieldLine),
        ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", FieldLine),
        ("GET / HTTP/1.1\r\nHost: a\r\nConnection: host\r\n\r\n", ConnectionOption),
        ("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", MaxForwards),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: x\r\n\r\n", MaxForwards),
        (&many, FieldCount),
        (&method, MethodSize),
    ];
    for (head, refusal) in cases {
        assert_eq!(rewrite(head), Err(refusal), "{head:?}");
    }
}
