//! A key keeps its backend: over workers, restarts and instances, and while others come and go.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::held::Held;
use super::{balance, balance_over, named, weighted};
use crate::support::{Backend, Client, Evenkeel, SOON, eventually, list};

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const KEYS: usize = 60;

/// Requests that are hardly over count as in flight, and a bound may then move the next one.
fn unbounded(algorithm: &str) -> String {
    format!("--algorithm {algorithm} --hash-bound 0")
}

/// Who answers each key, asked on connections that are spread over all workers.
fn map(balancer: &Evenkeel, ask: impl Fn(&mut Client, usize) -> String) -> HashMap<usize, String> {
    let mut clients: Vec<Client> = (0..8).map(|_| Client::connect(balancer.address)).collect();
    (0..KEYS).map(|key| (key, ask(&mut clients[(key * 3) % 8], key))).collect()
}

fn by_uri(client: &mut Client, key: usize) -> String {
    client.get(&format!("/things/{key}")).expect("a response").text()
}

fn by_field(client: &mut Client, key: usize) -> String {
    client.get_with("/", &format!("X-User: user-{key}\r\n")).expect("a response").text()
}

fn by_cookie(client: &mut Client, key: usize) -> String {
    client.get_with("/", &format!("Cookie: a=b; id=user-{key}; c=d\r\n")).expect("a response").text()
}

#[test]
fn a_key_has_one_backend_over_workers_restarts_and_instances() {
    let backends = named(NAMES);
    let mut reversed: Vec<String> = backends.iter().map(Backend::url).collect();
    reversed.reverse();
    type Ask = fn(&mut Client, usize) -> String;
    let cases: [(&str, Ask); 3] = [
        ("hash", by_uri),
        ("hash --hash-key header:x-user", by_field),
        ("hash --hash-key cookie:id", by_cookie),
    ];
    for (algorithm, ask) in cases {
        let flags = unbounded(algorithm);
        let balancer = balance(&format!("--workers 4 {flags}"), &backends);
        let first = map(&balancer, ask);
        assert_eq!(map(&balancer, ask), first, "{flags}");
        let used: HashSet<&String> = first.values().collect();
        assert_eq!(used.len(), NAMES.len(), "{flags}: all have some of 60 keys");
        drop(balancer);
        let again = balance(&format!("--workers 2 {flags}"), &backends);
        assert_eq!(map(&again, ask), first, "{flags}: after a restart");
        let other = balance_over(&format!("--workers 1 {flags}"), &reversed.join(","));
        assert_eq!(map(&other, ask), first, "{flags}: whatever the order of the backends");
    }
}

#[test]
fn a_client_address_has_one_backend() {
    let backends = named(NAMES);
    let ask = |balancer: &Evenkeel| -> Vec<String> {
        let from = |i: u8| IpAddr::from([127, 0, 1, i]);
        let client = |i| Client::try_connect_from(from(i), balancer.address).expect("connect");
        (1..=40).map(|i| client(i).get(&format!("/{i}")).expect("a response").text()).collect()
    };
    let balancer = balance(&format!("--workers 4 {}", unbounded("ip-hash")), &backends);
    let first = ask(&balancer);
    assert_eq!(ask(&balancer), first);
    assert!(first.iter().collect::<HashSet<_>>().len() >= 4, "{first:?}");
    drop(balancer);
    assert_eq!(ask(&balance(&format!("--workers 3 {}", unbounded("ip-hash")), &backends)), first);
}

#[test]
fn only_the_keys_of_a_lost_backend_move_and_they_come_back() {
    let mut backends = named(NAMES);
    let balancer =
        balance(&format!("--workers 4 --max-fails 1 --eject-time 200ms {}", unbounded("hash")), &backends);
    let before = map(&balancer, by_uri);
    backends[2].kill();
    let without = map(&balancer, by_uri);
    for (key, name) in &before {
        match name.as_str() {
            "c" => assert_ne!(without[key], "c", "key {key}"),
            name => assert_eq!(without[key], name, "key {key} moved for nothing"),
        }
    }
    let heirs: HashSet<&String> =
        before.iter().filter(|(_, name)| *name == "c").map(|(key, _)| &without[key]).collect();
    assert!(heirs.len() > 1, "its keys are spread over the others: {heirs:?}");
    backends[2].restart();
    eventually(SOON, "it is back", || {
        map(&balancer, by_uri);
        balancer.lines_with(&backends[2].url(), "back") > 0
    });
    assert_eq!(map(&balancer, by_uri), before);
}

#[test]
fn one_backend_more_takes_its_share_of_the_keys_and_no_others_move() {
    let backends = named(NAMES);
    let four = balance(&unbounded("hash"), &backends[..4]);
    let five = balance(&unbounded("hash"), &backends);
    let (before, after) = (map(&four, by_uri), map(&five, by_uri));
    let moved: Vec<usize> = (0..KEYS).filter(|key| before[key] != after[key]).collect();
    let to_the_new = moved.iter().filter(|key| after[key] == "e").count();
    assert!((2..=26).contains(&to_the_new), "{to_the_new} of 60 keys moved to the fifth");
    assert!(moved.len() <= to_the_new + 8, "{} moved, {to_the_new} of them to the new one", moved.len());
}

#[test]
fn weights_are_shares_of_the_keys() {
    let backends = named(["a", "b"]);
    let balancer = balance_over(&unbounded("hash"), &weighted(&backends, &[4, 1]));
    let mut client = Client::connect(balancer.address);
    let of_a =
        (0..300).filter(|key| client.get(&format!("/{key}")).expect("a response").text() == "a").count();
    assert!((210..=270).contains(&of_a), "{of_a} of 300 where 240 are right");
}

/// How many requests for one key are with each of four backends when sixteen come at once.
fn crowd_of_one_key(bound: &str) -> Vec<usize> {
    let held = ["a", "b", "c", "d"].map(Held::named);
    let urls = list(held.iter().map(|held| &held.backend));
    let balancer = balance_over(&format!("--workers 1 --algorithm hash --hash-bound {bound}"), &urls);
    let clients: Vec<Client> = (0..16).map(|_| Client::connect(balancer.address)).collect();
    for client in &clients {
        client.send("GET /hot HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    }
    eventually(SOON, "all are there", || held.iter().map(Held::now).sum::<usize>() == 16);
    let mut counts: Vec<usize> = held.iter().map(Held::now).collect();
    counts.sort_unstable();
    counts
}

#[test]
fn a_hot_key_spills_over_at_the_bound() {
    let counts = crowd_of_one_key("125");
    assert_eq!(counts[3], 5, "a quarter more than a fourth of 16: {counts:?}");
    assert_eq!(crowd_of_one_key("0"), [0, 0, 0, 16], "without a bound");
}
