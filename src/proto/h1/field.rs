//! Field names that a balancer must know, and the grammar of the values it reads.

/// A field that decides framing, routing or forwarding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// Anything that is passed on as it is.
    Other,
    /// RFC 9110 section 7.6.1.
    Connection,
    /// RFC 9110 section 8.6.
    ContentLength,
    /// RFC 9110 section 10.1.1.
    Expect,
    /// RFC 9110 section 7.2.
    Host,
    /// Only meaningful between two neighbours; never passed on.
    HopByHop,
    /// `Keep-Alive: timeout=…`, hop by hop.
    KeepAlive,
    /// RFC 9110 section 7.6.2.
    MaxForwards,
    /// RFC 9112 section 6.1.
    TransferEncoding,
    /// RFC 9110 section 7.8.
    Upgrade,
    /// The addresses a request came through.
    XForwardedFor,
    /// The Host that the client asked for.
    XForwardedHost,
    /// The scheme that the client used.
    XForwardedProto,
    /// `Forwarded` (RFC 7239), `X-Forwarded-Port` and the like, which we have nothing to say of.
    XForwardedOther,
    /// A number of the request for log lines along its way.
    XRequestId,
}

/// Which of the fields a name is; case does not matter.
pub fn name(name: &[u8]) -> Name {
    // Length and first letter tell most others apart.
    let first = name.first().map_or(0, u8::to_ascii_lowercase);
    match (name.len(), first) {
        (2, b't') if is(name, b"te") => Name::HopByHop,
        (4, b'h') if is(name, b"host") => Name::Host,
        // Reserved (RFC 9110 section 18.4): where Connection says close it would have to go.
        (5, b'c') if is(name, b"close") => Name::HopByHop,
        (6, b'e') if is(name, b"expect") => Name::Expect,
        (7, b'u') if is(name, b"upgrade") => Name::Upgrade,
        (9, b'f') if is(name, b"forwarded") => Name::XForwardedOther,
        (10, b'c') if is(name, b"connection") => Name::Connection,
        (10, b'k') if is(name, b"keep-alive") => Name::KeepAlive,
        (12, b'm') if is(name, b"max-forwards") => Name::MaxForwards,
        (12, b'x') if is(name, b"x-request-id") => Name::XRequestId,
        (14, b'c') if is(name, b"content-length") => Name::ContentLength,
        (15, b'x') if is(name, b"x-forwarded-for") => Name::XForwardedFor,
        (16, b'x') if is(name, b"x-forwarded-host") => Name::XForwardedHost,
        (16, b'p') if is(name, b"proxy-connection") => Name::HopByHop,
        (17, b't') if is(name, b"transfer-encoding") => Name::TransferEncoding,
        (17, b'x') if is(name, b"x-forwarded-proto") => Name::XForwardedProto,
        (18, b'p') if is(name, b"proxy-authenticate") => Name::HopByHop,
        (19, b'p') if is(name, b"proxy-authorization") => Name::HopByHop,
        (12.., b'x') if is(&name[..12], b"x-forwarded-") => Name::XForwardedOther,
        _ => Name::Other,
    }
}

/// The same letters in any case, compared all at once: `known`, in lower case, has a length that the compiler knows.
pub(super) fn is<const N: usize>(name: &[u8], known: &[u8; N]) -> bool {
    let Ok(name) = <&[u8; N]>::try_from(name) else { return false };
    let mut differ = 0;
    for i in 0..N {
        differ |= name[i].to_ascii_lowercase() ^ known[i];
    }
    differ == 0
}

/// Fields that change meaning when they come after the body: framing, routing, authentication, request
/// modifiers and content description (RFC 9110 section 6.5.1).
pub fn allowed_in_trailers(field: &[u8]) -> bool {
    const REFUSED: [&str; 22] = [
        "authorization",
        "cache-control",
        "content-encoding",
        "content-location",
        "content-range",
        "content-type",
        "cookie",
        "date",
        "expires",
        "forwarded",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "location",
        "pragma",
        "range",
        "set-cookie",
        "trailer",
        "via",
        "www-authenticate",
    ];
    name(field) == Name::Other && !REFUSED.iter().any(|r| field.eq_ignore_ascii_case(r.as_bytes()))
}

/// The members of a comma-separated list, without the white space around them; empty members are skipped.
pub fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// A number written with digits alone, below 2^63.
pub fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    let mut number = 0_u64;
    for &byte in value {
        if !byte.is_ascii_digit() {
            return None;
        }
        number = number * 10 + u64::from(byte - b'0');
    }
    (number < 1 << 63).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_alone() {
        assert_eq!(digits(b"0"), Some(0));
        assert_eq!(digits(b"0012"), Some(12));
        assert_eq!(digits(b"9223372036854775807"), Some((1 << 63) - 1));
        for bad in
            ["", "+5", "-1", " 5", "5 ", "5,5", "0x10", "1e3", "9223372036854775808", "99999999999999999999"]
        {
            assert_eq!(digits(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn names_in_any_case() {
        assert_eq!(name(b"HOST"), Name::Host);
        assert_eq!(name(b"transfer-Encoding"), Name::TransferEncoding);
        assert_eq!(name(b"hosts"), Name::Other);
        assert!(allowed_in_trailers(b"X-Checksum"));
        assert!(!allowed_in_trailers(b"content-LENGTH") && !allowed_in_trailers(b"Set-Cookie"));
    }
}
