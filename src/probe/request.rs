//! The request of an HTTP check.

use super::fault::path_of;
use crate::config::{BackendUrl, HttpCheck};
use crate::proto::proxy;

/// Says whose request it is, in the backend's log.
const USER_AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"), " (health check)");
/// With these methods a length is expected even of nothing (RFC 9110 section 8.6).
const WITH_BODY: [&str; 3] = ["POST", "PUT", "PATCH"];

/// The bytes of the request for the path at that position. A field that the user gives replaces our own.
pub(super) fn request(check: &HttpCheck, path: usize, backend: &BackendUrl) -> Vec<u8> {
    let url = backend.to_string();
    let authority = url.strip_prefix("http://").unwrap_or(&url);
    let ours = [
        ("Host", Some(check.host.as_deref().unwrap_or(authority))),
        ("User-Agent", Some(USER_AGENT)),
        ("Connection", Some("close")),
        ("Content-Length", WITH_BODY.contains(&check.method.as_str()).then_some("0")),
    ];
    let ours = ours.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let ours =
        ours.filter(|(name, _)| !check.fields.iter().any(|(given, _)| given.eq_ignore_ascii_case(name)));
    let given = check.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut text = format!("{} {} HTTP/1.1\r\n", check.method, path_of(check, path));
    for (name, value) in ours.chain(given) {
        text.extend([name, ": ", value, "\r\n"]);
    }
    text.push_str("\r\n");
    let header = check.announce.map_or(&b""[..], proxy::own);
    [header, text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(check: &HttpCheck, path: usize, host: &str) -> String {
        let backend = BackendUrl { host: host.into(), port: 8081 };
        String::from_utf8(request(check, path, &backend)).unwrap()
    }

    #[test]
    fn it_names_the_backend_and_us() {
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "GET /health HTTP/1.1\r\nHost: [::1]:8081\r\nUser-Agent: evenkeel/{version} (health check)\r\n\
             Connection: close\r\n\r\n"
        );
        assert_eq!(text(&HttpCheck::default(), 0, "::1"), expected);
        assert!(text(&HttpCheck::default(), 1, "b").starts_with("GET / HTTP/1.1\r\nHost: b:8081\r\n"));
    }

    #[test]
    fn what_the_user_gives_is_sent_and_wins() {
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let check = HttpCheck {
            method: "POST".into(),
            host: Some("api.example".into()),
            fields: vec![field("Authorization", "Basic YTpi"), field("user-agent", "me")],
            ..HttpCheck::default()
        };
        assert_eq!(
            text(&check, 0, "b"),
            "POST /health HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nContent-Length: 0\r\n\
             Authorization: Basic YTpi\r\nuser-agent: me\r\n\r\n"
        );
    }
}
