use super::*;

const LINE: Line<'_> = Line {
    unix: 1_795_269_218_123,
    client: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
    request: b"GET /a?b=c HTTP/1.1",
    host: b"www.example",
    referer: b"http://www.example/",
    agent: b"curl/8.0",
    status: 200,
    bytes: 1_234,
    times: Times { queue: 0, connect: Some(213), first_byte: Some(1_204), total: 61_300 },
    backend: "http://10.0.0.1:8080",
    pool: "api",
    route: "v1",
    retries: 1,
    cause: "",
    id: b"0192-7",
    listener: "web",
    port: 50_123,
    received: 78,
};

/// Neither an exchange nor a request: a head that never came whole.
const BARE: Line<'_> = Line {
    request: b"",
    host: b"",
    referer: b"",
    agent: b"",
    status: 0,
    bytes: 0,
    times: Times { queue: 0, connect: None, first_byte: None, total: 5 },
    backend: "",
    pool: "",
    route: "",
    retries: 0,
    cause: "client-closed",
    id: b"",
    received: 0,
    ..LINE
};

fn written(line: &Line<'_>, format: LogFormat) -> String {
    let mut out = Vec::new();
    line.write(format, &mut Stamps::default(), &mut out);
    let text = String::from_utf8(out).expect("ASCII or JSON");
    assert!(text.ends_with('\n') && text.matches('\n').count() == 1, "{text:?}");
    text.trim_end().to_owned()
}

#[test]
fn text_is_the_combined_format_and_more() {
    assert_eq!(
        written(&LINE, LogFormat::Text),
        "192.0.2.7 - - [21/Nov/2026:13:53:38 +0000] \"GET /a?b=c HTTP/1.1\" 200 1234 \"http://www.example/\" \
         \"curl/8.0\" 0.000 0.213 1.204 61.300 http://10.0.0.1:8080 api v1 1 - 0192-7 web 50123 78 www.example"
    );
    assert_eq!(
        written(&BARE, LogFormat::Text),
        "192.0.2.7 - - [21/Nov/2026:13:53:38 +0000] \"-\" 000 0 \"-\" \"-\" 0.000 - - 0.005 - - - 0 \
         client-closed - web 50123 0 -"
    );
}

#[test]
fn json_is_one_object() {
    assert_eq!(
        written(&LINE, LogFormat::Json),
        "{\"time\":\"2026-11-21T13:53:38.123Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\",\
         \"target\":\"/a?b=c\",\"version\":\"HTTP/1.1\",\"host\":\"www.example\",\"status\":200,\"bytes\":1234,\
         \"referer\":\"http://www.example/\",\"user_agent\":\"curl/8.0\",\"queue_ms\":0.000,\"connect_ms\":0.213,\
         \"first_byte_ms\":1.204,\"total_ms\":61.300,\"backend\":\"http://10.0.0.1:8080\",\"pool\":\"api\",\
         \"route\":\"v1\",\"retries\":1,\"cause\":null,\"request_id\":\"0192-7\",\"listener\":\"web\",\"client_port\":50123,\"received_bytes\":78}"
    );
    let bare: serde_json::Value = serde_json::from_str(&written(&BARE, LogFormat::Json)).expect("JSON");
    for name in ["method", "target", "host", "status", "connect_ms", "first_byte_ms", "backend", "request_id"]
    {
        assert!(bare[name].is_null(), "{name}: {bare}");
    }
    assert_eq!(bare["cause"], "client-closed");
}

#[test]
fn a_first_line_that_is_none_is_all_target() {
    for (request, method, target) in [
        (&b"GET  / HTTP/1.1"[..], Some("GET"), " /"),
        (b"rubbish", None, "rubbish"),
        (b"GET /", None, "GET /"),
        (b"GET / nonsense", None, "GET / nonsense"),
    ] {
        let line = written(&Line { request, ..LINE }, LogFormat::Json);
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((read["method"].as_str(), read["target"].as_str()), (method, Some(target)), "{line}");
    }
}

/// Every byte value in every place that a client fills: still one line, its words where they belong, one object.
#[test]
fn no_client_forges_a_line() {
    for byte in 0..=255_u8 {
        let forged = [b"x".as_slice(), &[byte], b"\" 200 1 \\\n{\"status\":1}"].concat();
        let mine = &forged[..];
        let line = Line { request: mine, host: mine, referer: mine, agent: mine, id: mine, ..LINE };
        let text = written(&line, LogFormat::Text);
        let quotes: Vec<&str> = text.split('"').collect();
        assert_eq!(quotes.len(), 7, "{byte}: {text}");
        assert_eq!(quotes[2], " 200 1234 ", "{byte}: {text}");
        assert_eq!(quotes[6].split(' ').count(), 15, "{byte}: {text}");
        assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{byte}: {text}");
        let read: serde_json::Value = serde_json::from_str(&written(&line, LogFormat::Json)).expect("JSON");
        assert_eq!(read["status"], 200, "{byte}");
        assert_eq!(read["user_agent"], *String::from_utf8_lossy(&forged), "{byte}");
    }
}

#[test]
fn addresses_are_as_everywhere_else() {
    for text in ["0.0.0.0", "127.0.0.1", "255.255.255.255", "10.20.30.4", "::1", "2001:db8::7"] {
        let mut out = Vec::new();
        address(&mut out, text.parse().expect("an address"));
        assert_eq!(out, text.as_bytes());
    }
}

#[test]
fn numbers_are_whole() {
    for (us, right) in [(0, "0.000"), (7, "0.007"), (999, "0.999"), (u64::MAX, "18446744073709551.615")] {
        let mut out = Vec::new();
        millis(&mut out, us);
        assert_eq!(out, right.as_bytes());
    }
}
