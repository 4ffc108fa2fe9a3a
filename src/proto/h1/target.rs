//! Request targets and authorities (RFC 9112 section 3.2, RFC 3986 section 3.2).

/// A request target that may be forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'b> {
    /// `/path?query`.
    Origin(&'b str),
    /// `http://authority/path?query`, with the path as it is to be sent on (`/` or `*` for none).
    Absolute {
        /// Host and optional port.
        authority: &'b str,
        /// What follows it.
        path: &'b str,
    },
    /// `*`, of the server as a whole; OPTIONS only.
    Asterisk,
}

/// Reads a target; `None` when it is none of the forms or holds a byte that no form allows.
pub fn parse<'b>(target: &'b str, method: &str) -> Option<Target<'b>> {
    if !target.bytes().all(|byte| TARGET[usize::from(byte)]) {
        return None;
    }
    if target.starts_with('/') {
        return Some(Target::Origin(target));
    }
    if target == "*" {
        return (method == "OPTIONS").then_some(Target::Asterisk);
    }
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    match path {
        _ if !is_authority(authority.as_bytes()) => None,
        "" if method == "OPTIONS" => Some(Target::Absolute { authority, path: "*" }),
        "" => Some(Target::Absolute { authority, path: "/" }),
        _ => Some(Target::Absolute { authority, path }),
    }
}

/// Visible ASCII without what ends a target or starts a fragment. Braces, bars and the like stay: browsers
/// send them in queries.
const TARGET: [bool; 256] = table(b"", *b"#\"<>");
/// `unreserved` and `sub-delims`, without the comma: a list of hosts is none.
const REG_NAME: [bool; 256] = table(b"-._~!$&'()*+;=", [0; 4]);

/// Letters and digits with `more`; with no more, all visible ASCII but `less`.
const fn table(more: &[u8], less: [u8; 4]) -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = b'!';
    while byte <= b'~' {
        table[byte as usize] = byte.is_ascii_alphanumeric() || more.is_empty();
        byte += 1;
    }
    let mut i = 0;
    while i < more.len() {
        table[more[i] as usize] = true;
        i += 1;
    }
    let mut i = 0;
    while i < less.len() {
        table[less[i] as usize] = false;
        i += 1;
    }
    table
}

/// `uri-host [ ":" port ]` with a host that is not empty.
pub fn is_authority(authority: &[u8]) -> bool {
    let (host, port) = match authority {
        [b'[', rest @ ..] => match rest.iter().position(|&b| b == b']') {
            Some(end) => {
                let literal = &rest[..end];
                let valid =
                    std::str::from_utf8(literal).is_ok_and(|l| l.parse::<std::net::Ipv6Addr>().is_ok());
                if !valid {
                    return false;
                }
                (literal, &rest[end + 1..])
            }
            None => return false,
        },
        _ => authority.split_at(authority.iter().position(|&b| b == b':').unwrap_or(authority.len())),
    };
    let named = authority.first() == Some(&b'[') || is_reg_name(host);
    !host.is_empty() && named && is_port(port)
}

/// `*( unreserved / pct-encoded / sub-delims )`.
fn is_reg_name(host: &[u8]) -> bool {
    let plain = host.iter().take_while(|&&byte| REG_NAME[usize::from(byte)]).count();
    let mut rest = host[plain..].iter();
    while let Some(&byte) = rest.next() {
        let valid = REG_NAME[usize::from(byte)]
            || byte == b'%'
                && [rest.next(), rest.next()].iter().all(|d| d.is_some_and(u8::is_ascii_hexdigit));
        if !valid {
            return false;
        }
    }
    true
}

/// Nothing, or a colon with digits (none are allowed) that make a port.
fn is_port(port: &[u8]) -> bool {
    match port.split_first() {
        None => true,
        Some((b':', digits)) => digits.is_empty() || super::field::digits(digits).is_some_and(|p| p <= 65535),
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(parse("/a?b=c|d", "GET"), Some(Target::Origin("/a?b=c|d")));
        assert_eq!(parse("*", "OPTIONS"), Some(Target::Asterisk));
        let absolute = |authority, path| Some(Target::Absolute { authority, path });
        assert_eq!(parse("http://a:80/x", "GET"), absolute("a:80", "/x"));
        assert_eq!(parse("HTTP://a?x", "GET"), absolute("a", "?x"));
        assert_eq!(parse("http://a", "OPTIONS"), absolute("a", "*"));
        assert_eq!(parse("https://a", "GET"), absolute("a", "/"));
        for bad in [
            "*",
            "a",
            "a:80",
            "ftp://a/",
            "http:///x",
            "http://u@a/",
            "/a#b",
            "/a\"",
            "/\u{e4}",
            "",
            "http://a:x/",
        ] {
            assert_eq!(parse(bad, "GET"), None, "{bad}");
        }
    }

    #[test]
    fn authorities() {
        for good in ["a", "a.b-c_d", "127.0.0.1:80", "[::1]", "[::1]:8080", "a:", "a%20b"] {
            assert!(is_authority(good.as_bytes()), "{good}");
        }
        for bad in [
            "", ":80", "a b", "a:b", "a:99999", "a@b", "a/b", "[::1", "[::1]x", "[g]", "a%2", "a\\b", "a,b",
            "::1", "ä",
        ] {
            assert!(!is_authority(bad.as_bytes()), "{bad}");
        }
    }
}
