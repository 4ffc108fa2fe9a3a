//! Addresses as a person writes them: backends by URL, listeners by address and port.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use super::value::{digits, parse_count, quoted};
use super::{Backend, BackendUrl};
use crate::limits;

/// Longest name and longest part of it that DNS can carry.
const HOST_MAX: usize = 253;
const LABEL_MAX: usize = 63;

/// Reads comma-separated backends, each with its `=WEIGHT` if that is not 1, in their order; white space around
/// each is let pass.
///
/// # Errors
/// One line: the backend at fault in quotes, what is wrong with it and what would be right.
pub fn parse_backends(list: &str) -> Result<Vec<Backend>, String> {
    if list.trim().is_empty() {
        return Err(format!("{}: no backend; write one or more, like http://localhost:8081", quoted(list)));
    }
    let mut backends = Vec::new();
    let mut seen = HashSet::new();
    for element in list.split(',').map(str::trim) {
        if element.is_empty() {
            let wrong = "an empty element; put one comma between two backends and none at the ends";
            return Err(format!("{}: {wrong}", quoted(list)));
        }
        let backend = backend(element).map_err(|reason| format!("{}: {reason}", quoted(element)))?;
        if !seen.insert(backend.url.clone()) {
            return Err(format!("{}: given twice; name each backend once", quoted(element)));
        }
        backends.push(backend);
        if backends.len() > limits::BACKENDS_MAX {
            return Err(format!("{}: at most {} backends are taken", quoted(element), limits::BACKENDS_MAX));
        }
    }
    Ok(backends)
}

fn backend(element: &str) -> Result<Backend, String> {
    let (url, weight) = element.rsplit_once('=').map_or((element, None), |(url, text)| (url, Some(text)));
    let mut backend = Backend::new(url.trim_end().parse()?);
    if let Some(text) = weight {
        let weight = parse_count(text.trim_start(), 1..=limits::WEIGHT_MAX.into());
        let weight = weight.map_err(|reason| format!("its weight {}: {reason}", quoted(text)))?;
        backend.weight = weight as u16;
    }
    Ok(backend)
}

impl FromStr for BackendUrl {
    type Err = String;

    /// Reads `http://host:port`, `tcp://host:port` or `host:port`, which say the same; the error is one line that does not repeat the value.
    fn from_str(text: &str) -> Result<Self, String> {
        let is_path = |text: &str| text.starts_with('/') || text.to_ascii_lowercase().starts_with("unix:/");
        if is_path(text) {
            return Err("sockets in the file system are not supported; write host:port".to_owned());
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(authority_end);
        if scheme.eq_ignore_ascii_case("https") {
            return Err(format!("TLS to backends is not supported yet; write {}", suggestion(authority)));
        }
        if !["http", "tcp"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
            return Err(format!(
                "scheme {} is not supported; write http://host:port or tcp://host:port",
                quoted(scheme)
            ));
        }
        if !matches!(path, "" | "/") {
            let right = suggestion(authority);
            return Err(format!("a backend has no path, the client's is used; write {right}"));
        }
        if authority.contains('@') {
            return Err("user and password are not supported; write http://host:port".to_owned());
        }
        let (host, port) = split_port(authority)?;
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner
                .parse::<Ipv6Addr>()
                .map_err(|_| format!("{} is not an IPv6 address; write it like [::1]:8081", quoted(inner)))?
                .to_string(),
            None => checked_host(host)?,
        };
        match digits(port) {
            Some(port) if port != 0 => Ok(Self { host, port }),
            _ => Err(format!("port {} must be a whole number from 1 to 65535", quoted(port))),
        }
    }
}

/// Cuts at the colon before the port; an IPv6 host keeps its brackets.
fn split_port(authority: &str) -> Result<(&str, &str), String> {
    let no_port = || format!("no port; write {}:8081", suggestion(authority.trim_end_matches(':')));
    if let Some(port) = digits::<u16>(authority) {
        return Err(format!("no host before the port; write http://localhost:{port}"));
    }
    if authority.is_empty() {
        return Err("no host and no port; write http://host:port".to_owned());
    }
    if authority.starts_with('[') {
        let host_end =
            authority.find(']').ok_or("no ] after the IPv6 address; write it like [::1]:8081")? + 1;
        let (host, port) = authority.split_at(host_end);
        return match port.strip_prefix(':') {
            Some("") => Err(no_port()),
            Some(port) => Ok((host, port)),
            None if port.is_empty() => Err(no_port()),
            None => Err("only a colon and the port may follow the ]; write it like [::1]:8081".to_owned()),
        };
    }
    match authority.rsplit_once(':') {
        Some((host, _)) if host.contains(':') || authority == "::" => {
            Err("more than one colon; an IPv6 address needs brackets, like [::1]:8081".to_owned())
        }
        Some(("", _)) => Err("no host before the port; write http://host:port".to_owned()),
        Some((_, "")) | None => Err(no_port()),
        Some(cut) => Ok(cut),
    }
}

/// A host name or an IPv4 address, in lower case.
fn checked_host(host: &str) -> Result<String, String> {
    // Docker and Kubernetes give names with an underscore, so it is let pass.
    if let Some(bad) = host.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))) {
        let hint =
            if bad.is_ascii() { "letters, digits, - and . may" } else { "write the name in its xn-- form" };
        return Err(format!("{bad:?} may not stand in a host name; {hint}"));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let label_is_bad = |label: &str| {
        label.is_empty() || label.len() > LABEL_MAX || label.starts_with('-') || label.ends_with('-')
    };
    if name.len() > HOST_MAX || name.split('.').any(label_is_bad) {
        return Err(format!(
            "{} is not a host name: its parts are 1 to {LABEL_MAX} characters that neither begin nor end with -",
            quoted(host)
        ));
    }
    // The resolver reads a name that ends in a number as an address of its own guess (1.2 as 1.0.0.2).
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|b| b.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!("{} is not an IPv4 address; write it like 127.0.0.1", quoted(host)));
    }
    Ok(host.to_ascii_lowercase())
}

/// What the user may have meant, unless it cannot be shown plainly.
fn suggestion(authority: &str) -> String {
    let plain = !authority.is_empty()
        && authority.len() <= HOST_MAX
        && authority.bytes().all(|b| b.is_ascii_graphic());
    format!("http://{}", if plain { authority } else { "host" })
}

/// Reads an address and port to listen on, `127.0.0.1:8080` or `[::]:8080`; port 0 is let pass.
///
/// # Errors
/// One line that says what is wrong and what would be right; it does not repeat the value.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.parse::<IpAddr>().is_ok_and(|ip| ip.is_ipv6()) {
        return Err(format!(
            "no port; an IPv6 address needs brackets before it: write [{text}]:{}",
            limits::PORT
        ));
    }
    if text.parse::<Ipv4Addr>().is_ok() {
        return Err(format!("no port; write {text}:{}", limits::PORT));
    }
    let port = text.trim_start_matches(['*', ':']);
    if digits::<u16>(port).is_some() {
        return Err(format!("no address; write [::]:{port} for all addresses, or 127.0.0.1:{port}"));
    }
    Err("not ADDR:PORT with a numeric address and a port up to 65535; write it like 127.0.0.1:8080 or [::]:8080"
        .to_owned())
}

/// The first address that stands twice, also when once as IPv4 and once mapped into IPv6. So with port 0 too: the address is
/// what a reload knows a listener by.
pub fn doubled_listen(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    let mut seen = HashSet::new();
    addresses.iter().copied().find(|address| !seen.insert((address.ip().to_canonical(), address.port())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_are_read() {
        let cases = [
            ("http://localhost:8081", "http://localhost:8081"),
            ("localhost:8081", "http://localhost:8081"),
            ("tcp://localhost:8081", "http://localhost:8081"),
            ("unix:8081", "http://unix:8081"),
            ("HTTP://LocalHost:8081/", "http://localhost:8081"),
            ("127.0.0.1:1", "http://127.0.0.1:1"),
            ("[::1]:65535", "http://[::1]:65535"),
            ("http://[0:0:0:0:0:0:0:1]:80/", "http://[::1]:80"),
            ("[2001:DB8::A]:80", "http://[2001:db8::a]:80"),
            ("my_app-1.svc.cluster.local.:80", "http://my_app-1.svc.cluster.local.:80"),
            ("1a.2b:80", "http://1a.2b:80"),
            ("a:00080", "http://a:80"),
            (" a:1 , http://b:2", "http://a:1 http://b:2"),
            ("c:1,b:1,a:1,a:2", "http://c:1 http://b:1 http://a:1 http://a:2"),
        ];
        for (list, right) in cases {
            let backends = parse_backends(list).expect(list);
            let shown: Vec<String> = backends.iter().map(|backend| backend.url.to_string()).collect();
            assert_eq!(shown.join(" "), right, "{list}");
        }
    }

    #[test]
    fn a_backend_has_the_weight_behind_its_equals_sign() {
        let backends = parse_backends("a:1, http://b:2/=256,[::1]:3 = 7").unwrap();
        assert_eq!(backends.iter().map(|backend| backend.weight).collect::<Vec<_>>(), [1, 256, 7]);
    }

    #[test]
    fn bad_weights_are_refused() {
        let cases = [
            ("a:1=0", "\"a:1=0\": its weight \"0\": must be a whole number from 1 to 256"),
            ("a:1=257", "must be a whole number from 1 to 256"),
            ("a:1=", "its weight \"\": must be"),
            ("a:1=2=3", "port \"1=2\" must be"),
            ("a:1=1,a:1=2", "given twice"),
        ];
        for (list, wrong) in cases {
            let message = parse_backends(list).expect_err(list);
            assert!(message.contains(wrong), "{list:?} gave {message:?}");
        }
    }

    #[test]
    fn backends_are_reached_by_address_and_port_alone() {
        for text in ["unix:/run/a.sock", "UNIX:///run/a.sock", "/run/a.sock"] {
            let line = text.parse::<BackendUrl>().expect_err(text);
            assert_eq!(line, "sockets in the file system are not supported; write host:port", "{text}");
        }
    }

    #[test]
    fn bad_backends_are_refused() {
        let cases = [
            ("", "\"\": no backend; write"),
            ("  ", "\"  \": no backend"),
            (",", "\",\": an empty element"),
            ("a:1,", "\"a:1,\": an empty element"),
            (",a:1", "an empty element"),
            ("a:1,,b:1", "an empty element"),
            ("a:1,b", "\"b\": no port; write http://b:8081"),
            ("a:", "no port; write http://a:8081"),
            ("http://a", "no port; write http://a:8081"),
            ("http://a/", "no port; write http://a:8081"),
            ("[::1]", "no port; write http://[::1]:8081"),
            ("[::1]:", "no port; write http://[::1]:8081"),
            ("8081", "no host before the port; write http://localhost:8081"),
            (":8081", "no host before the port"),
            ("http://:8081", "no host before the port"),
            ("http://", "no host and no port"),
            ("http:///", "no host and no port"),
            ("https://a:1", "TLS to backends is not supported yet; write http://a:1"),
            ("HTTPS://a:1/x", "TLS to backends is not supported yet"),
            ("ftp://a:1", "scheme \"ftp\" is not supported"),
            ("://a:1", "scheme \"\" is not supported"),
            ("http://http://a:1", "a backend has no path"),
            ("http:a:1", "more than one colon"),
            ("http://a:1/x", "a backend has no path, the client's is used; write http://a:1"),
            ("a:1//", "a backend has no path"),
            ("a:1?x", "a backend has no path"),
            ("a:1#x", "a backend has no path"),
            ("http://me:secret@a:1", "user and password are not supported"),
            ("a:0", "port \"0\" must be a whole number from 1 to 65535"),
            ("a:65536", "port \"65536\" must be"),
            ("a:+80", "port \"+80\" must be"),
            ("a:-1", "port \"-1\" must be"),
            ("a:http", "port \"http\" must be"),
            ("a: 80", "port \" 80\" must be"),
            ("::1:8081", "an IPv6 address needs brackets"),
            ("::", "an IPv6 address needs brackets"),
            ("::1", "an IPv6 address needs brackets"),
            ("[::1:8081", "no ] after the IPv6 address"),
            ("[::1]8081", "only a colon and the port may follow the ]"),
            ("[]:80", "\"\" is not an IPv6 address"),
            ("[127.0.0.1]:80", "\"127.0.0.1\" is not an IPv6 address"),
            ("[fe80::1%eth0]:80", "is not an IPv6 address"),
            ("a b:80", "' ' may not stand in a host name"),
            ("a\nb:80", "'\\n' may not stand in a host name"),
            ("a]:80", "']' may not stand in a host name"),
            ("bücher.de:80", "'ü' may not stand in a host name; write the name in its xn-- form"),
            ("a..b:80", "\"a..b\" is not a host name"),
            (".:80", "is not a host name"),
            (".a:80", "is not a host name"),
            ("-a:80", "is not a host name"),
            ("a-:80", "is not a host name"),
            ("1.2.3:80", "\"1.2.3\" is not an IPv4 address"),
            ("256.1.1.1:80", "is not an IPv4 address"),
            ("8081:8081", "\"8081\" is not an IPv4 address"),
            ("a:1,A:1", "\"A:1\": given twice"),
            ("a:1,http://a:01/", "given twice"),
            ("[::1]:1,[0::1]:1", "\"[0::1]:1\": given twice"),
        ];
        for (list, wrong) in cases {
            let message = parse_backends(list).expect_err(list);
            assert!(message.contains(wrong), "{list:?} gave {message:?}");
            assert!(!message.contains(char::is_control), "{list:?} gave {message:?}");
        }
        let long = format!("{}:80", "a".repeat(LABEL_MAX + 1));
        assert!(parse_backends(&long).expect_err("long label").contains("is not a host name"));
        let long = format!("{}a:80", "a.".repeat(HOST_MAX / 2 + 1));
        assert!(parse_backends(&long).expect_err("long name").contains("is not a host name"));
    }

    #[test]
    fn backends_are_bounded() {
        let list = |count: usize| (1..=count).map(|port| format!("a:{port}")).collect::<Vec<_>>().join(",");
        assert_eq!(parse_backends(&list(limits::BACKENDS_MAX)).map(|b| b.len()), Ok(limits::BACKENDS_MAX));
        let message = parse_backends(&list(limits::BACKENDS_MAX + 1)).expect_err("one too many");
        assert_eq!(message, "\"a:4097\": at most 4096 backends are taken");
    }

    #[test]
    fn listen_addresses_are_read() {
        for text in ["127.0.0.1:8080", "0.0.0.0:0", "[::]:8080", "[::1]:80", "[fe80::1%1]:80"] {
            assert_eq!(parse_listen(text).map(|address| address.to_string()), Ok(text.to_owned()));
        }
        let cases = [
            ("", "not ADDR:PORT"),
            ("localhost:8080", "numeric address"),
            ("127.0.0.1:65536", "up to 65535"),
            ("127.0.0.1:", "not ADDR:PORT"),
            ("127.0.0.1:x", "not ADDR:PORT"),
            ("http://127.0.0.1:80", "not ADDR:PORT"),
            ("127.0.0.1", "no port; write 127.0.0.1:8080"),
            ("::1", "write [::1]:8080"),
            ("8080", "write [::]:8080 for all addresses"),
            (":8080", "write [::]:8080 for all addresses"),
            ("*:8080", "write [::]:8080 for all addresses"),
        ];
        for (text, wrong) in cases {
            let message = parse_listen(text).expect_err(text);
            assert!(message.contains(wrong), "{text:?} gave {message:?}");
        }
    }

    #[test]
    fn doubled_listen_addresses_are_found() {
        let addresses =
            |list: &[&str]| list.iter().map(|text| parse_listen(text).expect(text)).collect::<Vec<_>>();
        assert_eq!(doubled_listen(&addresses(&["[::]:1", "[::]:2", "127.0.0.1:1", "127.0.0.2:1"])), None);
        assert!(doubled_listen(&addresses(&["[::]:0", "[::]:0"])).is_some());
        let doubled =
            doubled_listen(&addresses(&["[::]:1", "127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"]));
        assert_eq!(doubled.map(|a| a.to_string()).as_deref(), Some("[::ffff:127.0.0.1]:1"));
    }
}
