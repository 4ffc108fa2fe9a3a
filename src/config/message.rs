//! Parts of requests as a person writes them: methods, paths, fields, and what tells clients apart.

use super::Key;
use super::value::quoted;
use crate::limits;

/// What stands beside letters and digits in a token (RFC 9110 section 5.6.2).
const TOKEN: &str = "!#$%&'*+-.^_`|~";
/// Fields of a probe that are written for it.
const OWN_FIELDS: [&str; 6] =
    ["connection", "content-length", "transfer-encoding", "upgrade", "expect", "trailer"];

/// Fields of answers that frame them, are about one connection, or are written for them.
const ANSWER_FIELDS: [&str; 18] = [
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "keep-alive",
    "location",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "retry-after",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];

/// Reads `address`, `uri`, `header:NAME` or `cookie:NAME`.
///
/// # Errors
/// One line that says what is wrong and what would be right; it does not repeat the value.
pub fn parse_key(text: &str) -> Result<Key, String> {
    match text.split_once(':') {
        None if text.eq_ignore_ascii_case("address") => Ok(Key::Address),
        None if text.eq_ignore_ascii_case("uri") => Ok(Key::Uri),
        Some((kind, name)) if kind.eq_ignore_ascii_case("header") => parse_token(name).map(Key::Header),
        Some((kind, name)) if kind.eq_ignore_ascii_case("cookie") => parse_token(name).map(Key::Cookie),
        _ => Err("must be address, uri, header:NAME or cookie:NAME".to_owned()),
    }
}

/// Reads the name of a header field or of a cookie.
///
/// # Errors
/// One line that says what is wrong; it does not repeat the value.
pub fn parse_token(text: &str) -> Result<String, String> {
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || TOKEN.contains(*c))) {
        Some(bad) => Err(format!("{bad:?} may not stand in a name; letters, digits and {TOKEN} may")),
        None if text.is_empty() => Err("no name; write one of letters, digits and -".to_owned()),
        None => Ok(text.to_owned()),
    }
}

/// Reads the name of the field that tells the cause of an error reply: empty turns it off.
///
/// # Errors
/// One line that says what is wrong and what would be right; it does not repeat the value.
pub fn parse_cause_header(text: &str) -> Result<Option<String>, String> {
    const RIGHT: &str = "write one of your own, like X-Evenkeel-Cause";
    if text.is_empty() {
        return Ok(None);
    }
    let name = parse_token(text).map_err(|reason| format!("not a header's name: {reason}"))?;
    match ANSWER_FIELDS.iter().find(|field| name.eq_ignore_ascii_case(field)) {
        Some(field) => Err(format!("{field} has a meaning of its own in an answer; {RIGHT}")),
        None => Ok(Some(name)),
    }
}

/// Reads the method of a health check.
///
/// # Errors
/// One line that says what is wrong and what would be right; it does not repeat the value.
pub fn parse_method(text: &str) -> Result<String, String> {
    const RIGHT: &str = "write one like GET, HEAD or OPTIONS";
    let upper =
        text.bytes().all(|b| b.is_ascii_uppercase() || (b.is_ascii_graphic() && !b.is_ascii_alphabetic()));
    match parse_token(text) {
        Ok(_) if !upper => Err(format!("methods are in upper case; {RIGHT}")),
        Ok(method) if method == "CONNECT" => Err(format!("asks for a tunnel, not for a path; {RIGHT}")),
        Ok(method) if method.len() > limits::METHOD => {
            Err(format!("longer than {} letters; {RIGHT}", limits::METHOD))
        }
        Ok(method) => Ok(method),
        Err(_) => Err(format!("not a method; {RIGHT}")),
    }
}

/// Reads the value of a Host field.
///
/// # Errors
/// One line that says what is wrong and what would be right; it does not repeat the value.
pub fn parse_host(text: &str) -> Result<String, String> {
    const RIGHT: &str = "write a host, or host:port, like www.example.com";
    match text.chars().find(|c| !c.is_ascii_graphic() || "/?#@\\,\"<>^`{|}".contains(*c)) {
        Some(bad) => Err(format!("{bad:?} may not stand in a host; {RIGHT}")),
        None if text.is_empty() => Err(format!("empty; {RIGHT}")),
        None => Ok(text.to_owned()),
    }
}

/// Reads a header field, `Name: value`.
///
/// # Errors
/// One line that says what is wrong and what would be right; it does not repeat the value, which may be a password.
pub fn parse_field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("no colon; write it like \"X-Probe: yes\"")?;
    let (name, value) = (parse_token(name)?, value.trim_matches([' ', '\t']));
    if name.eq_ignore_ascii_case("host") {
        return Err("Host is set by --health-host".to_owned());
    }
    if OWN_FIELDS.iter().any(|own| name.eq_ignore_ascii_case(own)) {
        return Err("is set by the health check itself".to_owned());
    }
    match value.chars().find(|c| !matches!(c, ' '..='~' | '\t')) {
        Some(bad) => Err(format!("{bad:?} may not stand in its value; visible ASCII, spaces and tabs may")),
        None => Ok((name, value.to_owned())),
    }
}

/// Reads comma-separated paths, in their order, each with a query or without; white space around each is let pass.
///
/// # Errors
/// One line: the path at fault in quotes, what is wrong with it and what would be right.
pub fn parse_paths(list: &str) -> Result<Vec<String>, String> {
    let path = |text: &str| match text.chars().find(|c| !c.is_ascii_graphic() || *c == '#') {
        Some(bad) => Err(format!("{}: {bad:?} may not stand in a path; write it as %XX", quoted(text))),
        None if text.starts_with('/') => Ok(text.to_owned()),
        None => Err(format!("{}: a path begins with /; write one or more, like /health,/", quoted(text))),
    };
    let paths = list.split(',').map(|text| path(text.trim())).collect::<Result<Vec<_>, _>>()?;
    match paths.iter().enumerate().find(|(i, path)| paths[..*i].contains(path)) {
        Some((_, path)) => Err(format!("{}: given twice; name each path once", quoted(path))),
        None => Ok(paths),
    }
}

/// Reads the path of a cookie (RFC 6265 section 4.1.2.4).
///
/// # Errors
/// One line that says what is wrong and what would be right; it does not repeat the value.
pub fn parse_cookie_path(text: &str) -> Result<String, String> {
    match text.chars().find(|c| !c.is_ascii_graphic() || *c == ';') {
        Some(bad) => Err(format!("{bad:?} may not stand in a cookie's path")),
        None if text.starts_with('/') => Ok(text.to_owned()),
        None => Err("must begin with /".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read() {
        assert_eq!(parse_key("address"), Ok(Key::Address));
        assert_eq!(parse_key("URI"), Ok(Key::Uri));
        assert_eq!(parse_key("header:X-User"), Ok(Key::Header("X-User".to_owned())));
        assert_eq!(parse_key("Cookie:session_id"), Ok(Key::Cookie("session_id".to_owned())));
        for bad in ["", "header", "cookie", "url", "ip", "address:x", "head:x"] {
            assert_eq!(
                parse_key(bad),
                Err("must be address, uri, header:NAME or cookie:NAME".to_owned()),
                "{bad}"
            );
        }
        assert!(parse_key("header:").unwrap_err().contains("no name"));
        assert!(parse_key("cookie:a b").unwrap_err().contains("' ' may not"));
        assert!(parse_key("header:a:b").unwrap_err().contains("':' may not"));
    }

    #[test]
    fn the_header_of_the_cause_is_one_of_its_own() {
        assert_eq!(parse_cause_header(""), Ok(None));
        for name in ["X-Evenkeel-Cause", "proxy-status", "x_1"] {
            assert_eq!(parse_cause_header(name), Ok(Some(name.to_owned())));
        }
        let cases = [
            ("X Cause", "not a header's name: ' ' may not stand in a name"),
            ("X-Cause:", "not a header's name: ':' may not"),
            ("X\r\nY", "not a header's name: '\\r' may not"),
            ("Content-Length", "content-length has a meaning of its own in an answer; write one of your own"),
            ("connection", "connection has a meaning"),
            ("Retry-After", "like X-Evenkeel-Cause"),
            ("Transfer-encoding", "transfer-encoding has"),
        ];
        for (text, wrong) in cases {
            let message = parse_cause_header(text).expect_err(text);
            assert!(message.contains(wrong), "{text:?} gave {message:?}");
        }
    }

    #[test]
    fn methods_are_read() {
        for method in ["GET", "HEAD", "M-SEARCH", "PROPFIND"] {
            assert_eq!(parse_method(method), Ok(method.to_owned()));
        }
        let cases =
            [("", "not a method"), ("get", "upper case"), ("Get", "upper case"), ("G T", "not a method")];
        for (bad, wrong) in cases {
            assert!(parse_method(bad).unwrap_err().contains(wrong), "{bad}");
        }
        assert!(parse_method("CONNECT").unwrap_err().contains("a tunnel"));
        assert!(parse_method(&"A".repeat(limits::METHOD)).is_ok());
        assert!(parse_method(&"A".repeat(limits::METHOD + 1)).unwrap_err().contains("longer than 32"));
    }

    #[test]
    fn hosts_are_read() {
        for host in ["www.example.com", "a_b:81", "[::1]:80", "10.0.0.1"] {
            assert_eq!(parse_host(host), Ok(host.to_owned()));
        }
        for bad in ["", " ", "a b", "http://a", "a/b", "me@a", "a\r\nb", "a,b", "bücher.de"] {
            assert!(parse_host(bad).unwrap_err().contains("write a host"), "{bad}");
        }
    }

    #[test]
    fn fields_are_read() {
        let field = |name: &str, value: &str| Ok((name.to_owned(), value.to_owned()));
        assert_eq!(parse_field("Authorization: Bearer a=b:c"), field("Authorization", "Bearer a=b:c"));
        assert_eq!(parse_field("X-Probe:\t  a\tb  "), field("X-Probe", "a\tb"));
        assert_eq!(parse_field("X-Empty:"), field("X-Empty", ""));
        let cases = [
            ("", "no colon"),
            ("X-Probe yes", "no colon; write it like \"X-Probe: yes\""),
            (": x", "no name"),
            ("X Probe: x", "' ' may not stand in a name"),
            ("X-Probe : x", "' ' may not stand in a name"),
            ("X: a\r\nY: b", "'\\r' may not stand in its value"),
            ("X: a\nb", "'\\n' may not"),
            ("X: a\0", "'\\0' may not"),
            ("X: a\u{7f}", "'\\u{7f}' may not"),
            ("X: \u{fffd}", "may not stand in its value"),
            ("host: a", "Host is set by --health-host"),
            ("Content-length: 3", "is set by the health check itself"),
            ("transfer-encoding: chunked", "is set by the health check itself"),
        ];
        for (text, wrong) in cases {
            let message = parse_field(text).expect_err(text);
            assert!(
                message.contains(wrong) && !message.contains(char::is_control),
                "{text:?} gave {message:?}"
            );
        }
    }

    #[test]
    fn paths_are_read() {
        assert_eq!(parse_paths("/health"), Ok(vec!["/health".to_owned()]));
        assert_eq!(parse_paths("/a?b=c, /%20 ,/"), Ok(["/a?b=c", "/%20", "/"].map(str::to_owned).to_vec()));
        let cases = [
            ("", "\"\": a path begins with /"),
            ("/a,", "\"\": a path begins with /"),
            ("health", "\"health\": a path begins with /; write one or more, like /health,/"),
            ("/a b", "' ' may not stand in a path; write it as %XX"),
            ("/a#b", "'#' may not"),
            ("/a\r\nX: y", "'\\r' may not"),
            ("/ä", "'ä' may not"),
            ("/a,/b,/a", "\"/a\": given twice"),
        ];
        for (list, wrong) in cases {
            let message = parse_paths(list).expect_err(list);
            assert!(message.contains(wrong), "{list:?} gave {message:?}");
        }
    }

    #[test]
    fn cookie_paths_are_read() {
        assert_eq!(parse_cookie_path("/shop"), Ok("/shop".to_owned()));
        for (bad, wrong) in
            [("", "begin with /"), ("shop", "begin with /"), ("/a;b", "';' may"), ("/\n", "'\\n'")]
        {
            assert!(parse_cookie_path(bad).unwrap_err().contains(wrong), "{bad}");
        }
    }
}
