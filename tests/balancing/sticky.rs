//! A client returns to the backend that it had, known by our cookie or by its address.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::{balance, balance_over, named};
use crate::support::{Backend, Client, Evenkeel, Response, SOON, eventually};

const SECRET: &str = "--sticky cookie --sticky-secret 0123456789abcdef0123456789abcdef";
/// A backend that does not answer is out at once, and tried again soon.
const SHORT: &str = "--max-fails 1 --eject-time 150ms";

/// The value of our cookie where the answer sets it.
#[track_caller]
fn set(response: &Response) -> Option<String> {
    assert_eq!(response.status, 200, "{}", response.text());
    let ours = |field: &&str| field.starts_with("evenkeel=");
    let fields: Vec<&str> = response.head.all("set-cookie").into_iter().filter(ours).collect();
    assert!(fields.len() < 2, "{fields:?}");
    let value = fields.first()?.strip_prefix("evenkeel=")?.split(';').next()?;
    Some(value.to_owned())
}

/// Who answers a request without a cookie, and the cookie that it is given.
#[track_caller]
fn first(balancer: &Evenkeel) -> (String, String) {
    let response = Client::connect(balancer.address).get("/").expect("a response");
    let cookie = set(&response).expect("a cookie");
    (response.text(), cookie)
}

/// Who answers a request with a cookie, on a connection of its own, and the new cookie if there is one.
#[track_caller]
fn with(balancer: &Evenkeel, cookie: &str) -> (String, Option<String>) {
    let fields = format!("Cookie: a=b; evenkeel={cookie}; c=d\r\n");
    let response = Client::connect(balancer.address).get_with("/", &fields).expect("a response");
    (response.text(), set(&response))
}

#[test]
fn a_client_with_a_cookie_returns_and_is_given_no_other() {
    let backends = named(["a", "b", "c"]);
    let balancer = balance(&format!("--workers 4 {SECRET}"), &backends);
    let clients: Vec<_> = (0..6).map(|_| first(&balancer)).collect();
    assert_eq!(clients.iter().map(|(name, _)| name).collect::<HashSet<_>>().len(), 3, "in turn");
    for (name, cookie) in clients.iter().chain(&clients).chain(&clients) {
        assert_eq!(with(&balancer, cookie), (name.clone(), None));
    }
    let mut client = Client::connect(balancer.address);
    for (name, cookie) in &clients {
        let fields = format!("Cookie: evenkeel={cookie}\r\n");
        assert_eq!(client.get_with("/", &fields).expect("a response").text(), *name, "on one connection");
    }
}

#[test]
fn the_cookie_has_the_attributes_it_was_given_and_the_backends_own_are_kept() {
    let backend = Backend::start(|_, reply| {
        reply.send("HTTP/1.1 200 OK\r\nSet-Cookie: own=1\r\nContent-Length: 2\r\nSet-Cookie: two=2\r\n\r\nok")
    });
    let cookies = |flags: &str| -> Vec<String> {
        let balancer = balance(flags, [&backend]);
        let response = Client::connect(balancer.address).get("/").expect("a response");
        response.head.all("set-cookie").into_iter().map(str::to_owned).collect()
    };
    let ours = |flags: &str| {
        let all = cookies(flags);
        assert_eq!(all.len(), 3, "{all:?}");
        assert!(all.contains(&"own=1".to_owned()) && all.contains(&"two=2".to_owned()), "{all:?}");
        let ours = all.into_iter().find(|cookie| !cookie.starts_with("own=") && !cookie.starts_with("two="));
        let (pair, attributes) = ours.as_deref().and_then(|c| c.split_once("; ")).expect("attributes");
        let (name, value) = pair.split_once('=').expect("a value");
        assert!(value.len() == 16 && value.bytes().all(|b| b.is_ascii_hexdigit()), "{value}");
        (name.to_owned(), attributes.to_owned())
    };
    let right = |name: &str, attributes: &str| (name.to_owned(), attributes.to_owned());
    assert_eq!(ours(SECRET), right("evenkeel", "Path=/; HttpOnly; SameSite=Lax"));
    let flags =
        format!("{SECRET} --sticky-cookie sid --sticky-path /shop --sticky-same-site none --sticky-secure");
    assert_eq!(ours(&flags), right("sid", "Path=/shop; HttpOnly; SameSite=None; Secure"));
    let flags = format!("{SECRET} --sticky-same-site strict");
    assert_eq!(ours(&flags), right("evenkeel", "Path=/; HttpOnly; SameSite=Strict"));
}

#[test]
fn the_value_tells_nothing_and_holds_wherever_the_secret_is_the_same() {
    let backends = named(["a", "b"]);
    let one = balance(&format!("--workers 2 {SECRET}"), &backends);
    let clients = [first(&one), first(&one)];
    assert_ne!(clients[0].1, clients[1].1);
    let ports = backends.each_ref().map(|backend| backend.address().port().to_string());
    for (_, cookie) in &clients {
        let shown = ports.iter().map(String::as_str).chain(["7f000001", "0100007f"]);
        assert!(!shown.into_iter().any(|address| cookie.contains(address)), "{cookie}: {ports:?}");
    }
    let same_on = |balancer: &Evenkeel| {
        for (name, cookie) in &clients {
            assert_eq!(with(balancer, cookie), (name.clone(), None));
        }
    };
    let [a, b] = &backends;
    same_on(&balance(&format!("--workers 3 {SECRET}"), [b, a]));
    drop(one);
    same_on(&balance(&format!("--workers 1 {SECRET}"), &backends));
    let other = balance("--sticky cookie --sticky-secret another-secret-of-32-characters.", &backends);
    let known: HashSet<&String> = clients.iter().map(|(_, cookie)| cookie).collect();
    for (_, cookie) in &clients {
        let given = with(&other, cookie).1.expect("a cookie of the other secret");
        assert!(!known.contains(&given), "{given}");
    }
}

#[test]
fn what_is_not_our_cookie_is_replaced() {
    let backends = named(["a", "b"]);
    let balancer = balance(SECRET, &backends);
    let (name, cookie) = first(&balancer);
    let long = "f".repeat(4000);
    for wrong in ["", "0", "0000000000000000", &cookie[1..], &cookie.to_uppercase().replace('0', "G"), &long]
    {
        let (answered, given) = with(&balancer, wrong);
        let given = given.expect("a cookie");
        assert_eq!(with(&balancer, &given), (answered, None), "{wrong:.20}");
    }
    let fields = format!("Cookie: evenkeel2={cookie}; xevenkeel={cookie}\r\n");
    let response = Client::connect(balancer.address).get_with("/", &fields).expect("a response");
    assert!(set(&response).is_some(), "other names are not ours");
    assert_eq!(with(&balancer, &cookie), (name, None));
}

/// A client of `a` while `a` is away and after it has returned: who answered, and the cookies given.
fn while_away(flags: &str) -> [(String, Option<String>); 2] {
    let mut backends = named(["a", "b", "c"]);
    let balancer = balance(&format!("--workers 4 {SECRET} {SHORT} {flags}"), &backends);
    let mut clients: Vec<_> = (0..3).map(|_| first(&balancer)).collect();
    clients.sort();
    let cookie = clients[0].1.clone();
    backends[0].kill();
    let away = with(&balancer, &cookie);
    let now = away.1.clone().unwrap_or_else(|| cookie.clone());
    assert_ne!(away.0, "a");
    for (name, cookie) in &clients[1..] {
        assert_eq!(with(&balancer, cookie), (name.clone(), None), "the others stay where they are");
    }
    backends[0].restart();
    eventually(SOON, "it is back", || {
        first(&balancer);
        balancer.lines_with(&backends[0].url(), "back") > 0
    });
    [away, with(&balancer, &now)]
}

#[test]
fn a_client_whose_backend_dies_is_given_another_and_stays_there() {
    let [(away, given), (later, again)] = while_away("");
    assert!(given.is_some());
    assert_eq!((later, again), (away, None));
}

#[test]
fn with_sticky_return_it_goes_back() {
    let [(_, given), (later, again)] = while_away("--sticky-return");
    assert_eq!((given, later.as_str(), again), (None, "a", None));
}

#[test]
fn a_client_that_has_its_backend_is_not_sent_to_try_another() {
    let mut backends = named(["a", "b"]);
    let balancer = balance(&format!("--workers 1 {SECRET} {SHORT}"), &backends);
    let mut clients = [first(&balancer), first(&balancer)];
    clients.sort();
    let cookie = clients[1].1.clone();
    backends[0].kill();
    eventually(SOON, "it is out", || {
        first(&balancer);
        balancer.lines_with(&backends[0].url(), "out") > 0
    });
    backends[0].restart();
    let from = Instant::now();
    while from.elapsed() < Duration::from_millis(400) {
        assert_eq!(with(&balancer, &cookie), ("b".to_owned(), None));
    }
    assert_eq!(first(&balancer).0, "a", "who sticks to nobody tries it");
}

#[test]
fn a_client_address_returns_to_its_backend() {
    let mut backends = named(["a", "b", "c"]);
    let balancer = balance(&format!("--workers 4 --sticky address {SHORT}"), &backends);
    let ask = |i: u8| {
        let from = IpAddr::from([127, 0, 2, i]);
        let response = Client::try_connect_from(from, balancer.address).expect("connect").get("/");
        let response = response.expect("a response");
        assert!(!response.head.has("set-cookie"), "{:?}", response.head);
        response.text()
    };
    let all = || -> Vec<String> { (1..=12).map(ask).collect() };
    let before = all();
    for name in ["a", "b", "c"] {
        assert_eq!(before.iter().filter(|n| *n == name).count(), 4, "in turn: {before:?}");
    }
    assert_eq!((all(), all()), (before.clone(), before.clone()));
    backends[1].kill();
    let without = all();
    for (was, is) in before.iter().zip(&without) {
        assert!(is != "b" && (was == "b" || is == was), "{before:?} became {without:?}");
    }
    backends[1].restart();
    let mut new = 100;
    eventually(SOON, "it is back", || {
        new += 1;
        ask(new);
        balancer.lines_with(&backends[1].url(), "back") > 0
    });
    assert_eq!(all(), without, "they stay with their new ones");
}

#[test]
fn with_sticky_return_an_address_goes_back() {
    let mut backends = named(["a", "b"]);
    let balancer = balance(&format!("--workers 2 --sticky address --sticky-return {SHORT}"), &backends);
    let ask = |i: u8| {
        let from = IpAddr::from([127, 0, 3, i]);
        Client::try_connect_from(from, balancer.address)
            .expect("connect")
            .get("/")
            .expect("a response")
            .text()
    };
    let before = [ask(1), ask(2)];
    assert_eq!(before, ["a", "b"]);
    backends[0].kill();
    assert_eq!([ask(1), ask(2)], ["b", "b"]);
    backends[0].restart();
    let mut new = 100;
    eventually(SOON, "it is back", || {
        new += 1;
        ask(new);
        balancer.lines_with(&backends[0].url(), "back") > 0
    });
    assert_eq!([ask(1), ask(2)], before);
}

#[test]
fn an_address_is_forgotten_after_the_sticky_time() {
    let backends = named(["a", "b"]);
    let urls = backends.each_ref().map(Backend::url).join(",");
    let balancer = balance_over("--workers 1 --sticky address --sticky-time 1s", &urls);
    let ask = || crate::support::get(balancer.address, "/").expect("a response").text();
    assert_eq!([ask(), ask(), ask()], ["a", "a", "a"]);
    // Whole seconds: up to one more than asked.
    std::thread::sleep(Duration::from_millis(2200));
    assert_eq!(ask(), "b", "the next in turn");
}
