//! Which route a request takes: the most specific whose conditions all hold.

use std::collections::HashMap;
use std::fmt;

use super::route::{below, host_of};
use super::{HostPattern, PathPattern, Route};

/// Longest host that is looked up: no name in DNS is longer, an IPv6 address in brackets is shorter.
const HOST_MAX: usize = 255;

/// Whether that can be the name of a host. Bytes that no name has match no pattern, whatever they end in.
#[must_use]
pub fn is_host_name(name: &[u8]) -> bool {
    (1..=HOST_MAX).contains(&name.len())
        && name.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Routes of one listener, laid out for looking up.
///
/// An exact host goes before the longer wildcard and that before any host; then an exact path before the longer
/// prefix and that before any path; then more header conditions before fewer; then the order of the file.
#[derive(Clone, Default)]
pub struct Routes {
    all: Vec<Route>,
    exact: HashMap<Box<[u8]>, Paths>,
    /// By what the name ends in, its first dot included.
    wildcard: HashMap<Box<[u8]>, Paths>,
    any: Paths,
}

/// Routes of one host.
#[derive(Clone, Default)]
struct Paths {
    exact: HashMap<Box<[u8]>, Indices>,
    /// The longest first.
    prefixes: Vec<Prefixes>,
    any: Indices,
}

/// Prefixes of one length.
#[derive(Clone)]
struct Prefixes {
    length: usize,
    /// Sorted by prefix.
    entries: Vec<(Box<[u8]>, Indices)>,
}

/// Routes of one host and path, those with the most header conditions first, then in the file's order.
type Indices = Vec<u32>;

impl Routes {
    /// Lays routes out; their order is kept where nothing else decides.
    #[must_use]
    pub fn new(all: Vec<Route>) -> Self {
        let mut order: Vec<u32> = (0..).take(all.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(all[index as usize].headers.len()));
        let mut routes = Self::default();
        for index in order {
            let route = &all[index as usize];
            let paths = match &route.host {
                Some(HostPattern::Exact(host)) => routes.exact.entry(host.as_bytes().into()).or_default(),
                Some(HostPattern::Wildcard(end)) => routes.wildcard.entry(end.as_bytes().into()).or_default(),
                None => &mut routes.any,
            };
            paths.insert(&route.path, index);
        }
        routes.all = all;
        routes
    }

    /// All routes, in the file's order.
    #[must_use]
    pub fn all(&self) -> &[Route] {
        &self.all
    }

    /// Index in [`Routes::all`] of the route that a request takes.
    ///
    /// `authority` is its host, with or without a port, empty if it names none; `target` is its path, with or without
    /// the query; `field` gives the value of its first header field of a name in lower case.
    pub fn find<'f>(
        &self,
        authority: &[u8],
        target: &[u8],
        field: impl Fn(&str) -> Option<&'f [u8]>,
    ) -> Option<usize> {
        if self.all.is_empty() {
            return None;
        }
        let path = memchr::memchr(b'?', target).map_or(target, |at| &target[..at]);
        let holds = |index: u32| {
            self.all[index as usize].headers.iter().all(|header| header.value.holds(field(&header.name)))
        };
        let by_host = || {
            let mut room = [0; HOST_MAX];
            let host = folded(host_of(authority), &mut room)?;
            let exact = || self.exact.get(host).and_then(|paths| paths.find(path, &holds));
            exact().or_else(|| self.find_wildcard(host, path, &holds))
        };
        let hosts = !self.exact.is_empty() || !self.wildcard.is_empty();
        let found = if hosts { by_host() } else { None };
        found.or_else(|| self.any.find(path, &holds)).map(|index| index as usize)
    }

    fn find_wildcard(&self, host: &[u8], path: &[u8], holds: &impl Fn(u32) -> bool) -> Option<u32> {
        if self.wildcard.is_empty() {
            return None;
        }
        // A dot in the first place has no name before it.
        memchr::memchr_iter(b'.', host)
            .filter(|&dot| dot > 0)
            .find_map(|dot| self.wildcard.get(&host[dot..]).and_then(|paths| paths.find(path, holds)))
    }
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.all.fmt(f)
    }
}

impl Paths {
    fn insert(&mut self, path: &PathPattern, index: u32) {
        let indices = match path {
            PathPattern::Any => &mut self.any,
            PathPattern::Exact(exact) => self.exact.entry(exact.as_bytes().into()).or_default(),
            PathPattern::Prefix(prefix) => self.prefix(prefix.as_bytes()),
        };
        indices.push(index);
    }

    fn prefix(&mut self, prefix: &[u8]) -> &mut Indices {
        let length = prefix.len();
        let at = self.prefixes.partition_point(|group| group.length > length);
        if self.prefixes.get(at).is_none_or(|group| group.length != length) {
            self.prefixes.insert(at, Prefixes { length, entries: Vec::new() });
        }
        let entries = &mut self.prefixes[at].entries;
        let at = entries.partition_point(|(other, _)| **other < *prefix);
        if entries.get(at).is_none_or(|(other, _)| **other != *prefix) {
            entries.insert(at, (prefix.into(), Vec::new()));
        }
        &mut entries[at].1
    }

    fn find(&self, path: &[u8], holds: &impl Fn(u32) -> bool) -> Option<u32> {
        let first = |indices: &Indices| indices.iter().copied().find(|&index| holds(index));
        if !self.exact.is_empty()
            && let Some(found) = self.exact.get(path).and_then(first)
        {
            return Some(found);
        }
        let by_prefix = self.prefixes.iter().find_map(|group| group.get(path).and_then(first));
        by_prefix.or_else(|| first(&self.any))
    }
}

impl Prefixes {
    /// The routes of the one prefix of this length that the path may lie below.
    fn get(&self, path: &[u8]) -> Option<&Indices> {
        let start = path.get(..self.length)?;
        let (prefix, indices) = match &*self.entries {
            [only] => only,
            entries => &entries[entries.binary_search_by(|(prefix, _)| (**prefix).cmp(start)).ok()?],
        };
        below(path, prefix).then_some(indices)
    }
}

/// A host in lower case and without a dot at its end; `None` if no pattern can mean it.
fn folded<'a>(host: &[u8], room: &'a mut [u8; HOST_MAX]) -> Option<&'a [u8]> {
    let host = host.strip_suffix(b".").unwrap_or(host);
    let room = room.get_mut(..host.len())?;
    room.copy_from_slice(host);
    room.make_ascii_lowercase();
    Some(room)
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use super::super::{Action, HeaderMatch, ValueMatch};
    use super::*;

    /// `host path x-a=1 x-b`; a path with a `=` before it is exact, `-` stands for any.
    fn route(text: &str) -> Route {
        let mut words = text.split(' ');
        let mut route = Route::new(text.to_owned(), Action::Pool(0));
        route.host = words.next().filter(|host| *host != "-").map(|host| host.parse().expect(host));
        route.path = match words.next().unwrap_or("-") {
            "-" => PathPattern::Any,
            path => match path.strip_prefix('=') {
                Some(exact) => PathPattern::Exact(exact.to_owned()),
                None => PathPattern::Prefix(path.to_owned()),
            },
        };
        route.headers = words
            .map(|word| match word.split_once('=') {
                Some((name, value)) => {
                    HeaderMatch { name: name.to_owned(), value: ValueMatch::Equals(value.to_owned()) }
                }
                None => HeaderMatch { name: word.to_owned(), value: ValueMatch::Present },
            })
            .collect();
        route
    }

    fn routes(texts: &[&str]) -> Routes {
        Routes::new(texts.iter().map(|text| route(text)).collect())
    }

    #[track_caller]
    fn takes(routes: &Routes, host: &str, target: &str, fields: &[(&str, &str)], right: Option<&str>) {
        let field = |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_bytes());
        let found = routes.find(host.as_bytes(), target.as_bytes(), field);
        assert_eq!(found.map(|index| routes.all()[index].name.as_str()), right, "{host} {target} {fields:?}");
    }

    #[test]
    fn the_most_specific_comes_first() {
        let routes = routes(&[
            "- -",
            "- /v1",
            "- =/v1",
            "*.example.com -",
            "*.api.example.com -",
            "x.api.example.com /v1",
            "x.api.example.com /v1 x-a",
            "x.api.example.com /v1 x-a x-b=2",
            "x.api.example.com /v1/deep",
        ]);
        takes(&routes, "other", "/", &[], Some("- -"));
        takes(&routes, "", "*", &[], Some("- -"));
        takes(&routes, "other", "/v1/", &[], Some("- /v1"));
        takes(&routes, "other", "/v1", &[], Some("- =/v1"));
        takes(&routes, "other", "/v1?/x", &[], Some("- =/v1"));
        takes(&routes, "example.com", "/", &[], Some("- -"));
        takes(&routes, ".example.com", "/", &[], Some("- -"));
        takes(&routes, "a.b.example.com", "/v1", &[], Some("*.example.com -"));
        takes(&routes, "a.api.example.com", "/v1", &[], Some("*.api.example.com -"));
        // A host that has routes, none of which means this path.
        takes(&routes, "x.api.example.com", "/v2", &[], Some("*.api.example.com -"));
        takes(&routes, "X.API.Example.com.:8080", "/v1/deep/x", &[], Some("x.api.example.com /v1/deep"));
        takes(&routes, "x.api.example.com", "/v1/deeper", &[("x-b", "2")], Some("x.api.example.com /v1"));
        takes(&routes, "x.api.example.com", "/v1", &[("x-a", "")], Some("x.api.example.com /v1 x-a"));
        let both = [("x-a", "1"), ("x-b", "2")];
        takes(&routes, "x.api.example.com", "/v1", &both, Some("x.api.example.com /v1 x-a x-b=2"));
        takes(&routes, &"x".repeat(HOST_MAX + 1), "/", &[], Some("- -"));
    }

    #[test]
    fn without_a_route_for_all_some_take_none() {
        takes(&Routes::default(), "a", "/", &[], None);
        let routes = routes(&["[::1] -", "a.com /x"]);
        takes(&routes, "[::1]:80", "/", &[], Some("[::1] -"));
        takes(&routes, "[::1]", "/", &[], Some("[::1] -"));
        takes(&routes, "a.com", "/", &[], None);
        takes(&routes, "b.com", "/x", &[], None);
    }

    #[test]
    fn of_equals_the_first_is_taken() {
        let routes = routes(&["a /x x-a", "a /x x-b", "a /x x-a x-c", "a /x"]);
        takes(&routes, "a", "/x", &[("x-a", "1"), ("x-b", "1")], Some("a /x x-a"));
        takes(&routes, "a", "/x", &[("x-b", "1")], Some("a /x x-b"));
        takes(&routes, "a", "/x", &[("x-c", "1")], Some("a /x"));
    }

    /// As the rule is worded: all that hold, sorted.
    fn naive(routes: &[Route], host: &str, path: &str, fields: &[(&str, &str)]) -> Option<usize> {
        let holds = |route: &Route| {
            let by_host = match &route.host {
                None => true,
                Some(HostPattern::Exact(exact)) => host == exact,
                Some(HostPattern::Wildcard(end)) => host.len() > end.len() && host.ends_with(end.as_str()),
            };
            let field =
                |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_bytes());
            by_host
                && route.path.holds(path.as_bytes())
                && route.headers.iter().all(|header| header.value.holds(field(&header.name)))
        };
        let rank = |&index: &usize| {
            let route = &routes[index];
            let host = match &route.host {
                Some(HostPattern::Exact(_)) => (0, 0),
                Some(HostPattern::Wildcard(end)) => (1, usize::MAX - end.len()),
                None => (2, 0),
            };
            let path = match &route.path {
                PathPattern::Exact(_) => (0, 0),
                PathPattern::Prefix(prefix) => (1, usize::MAX - prefix.len()),
                PathPattern::Any => (2, 0),
            };
            (host, path, Reverse(route.headers.len()), index)
        };
        (0..routes.len()).filter(|&index| holds(&routes[index])).min_by_key(rank)
    }

    #[test]
    fn the_layout_finds_what_the_rule_finds() {
        const HOSTS: [&str; 7] = ["-", "a.b", "c.a.b", "*.b", "*.a.b", "*.c.a.b", "b"];
        const PATHS: [&str; 9] = ["-", "/", "=/", "/x", "/x/", "=/x", "/x/y", "=/x/y", "/z"];
        const FIELDS: [&str; 4] = ["", " x-a", " x-b=1", " x-a x-b=1"];
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut pick = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % below as u64) as usize
        };
        let mut found = 0;
        for round in 0..500 {
            let all: Vec<Route> = (0..pick(30))
                .map(|_| {
                    let (host, path, fields) = (HOSTS[pick(7)], PATHS[pick(9)], FIELDS[pick(4)]);
                    route(&format!("{host} {path}{fields}"))
                })
                .collect();
            let routes = Routes::new(all.clone());
            for host in ["a.b", "c.a.b", "d.c.a.b", "x.b", "b", "q", ""] {
                for path in ["/", "/x", "/x/", "/xx", "/x/y", "/x/y/z", "/z/", "*"] {
                    for fields in [&[][..], &[("x-a", "0")], &[("x-b", "1")], &[("x-a", "1"), ("x-b", "1")]] {
                        let field =
                            |name: &str| fields.iter().find(|(n, _)| *n == name).map(|(_, v)| v.as_bytes());
                        let right = naive(&all, host, path, fields);
                        let got = routes.find(host.as_bytes(), path.as_bytes(), field);
                        assert_eq!(got, right, "round {round}: {host:?} {path} {fields:?} in {all:#?}");
                        found += usize::from(right.is_some());
                    }
                }
            }
        }
        assert!(found > 10_000, "{found} were found at all");
    }
}
