//! The hot-path budget in calls: two reads and two writes for a warm keep-alive request, and nothing else.

#[path = "../benches/samples/mod.rs"]
mod samples;
mod scripted;

use evenkeel::config::LogFormat;
use samples::{BROWSER, RESPONSE, SMALL};
use scripted::Peer::{Backend, Client as Downstream};
use scripted::{Balancer, Call};

const READ_REQUEST: Call = Call::Read(Downstream);
const SEND_REQUEST: Call = Call::Write(Backend);
const READ_RESPONSE: Call = Call::Read(Backend);
const SEND_RESPONSE: Call = Call::Write(Downstream);
/// What a warm keep-alive request may cost.
const WARM: [Call; 4] = [READ_REQUEST, SEND_REQUEST, READ_RESPONSE, SEND_RESPONSE];
const WHOLE: usize = usize::MAX;
/// A thousand turns last seconds: deadlines are moved and reminders come, which is to make no call either.
const STEP: u64 = 5;

/// The calls are the expected ones, in that order; else says which one is the first too many, or missing.
#[track_caller]
fn assert_calls(balancer: &Balancer, expected: &[Call], what: &str) {
    let made = balancer.calls();
    let Some(at) = (0..made.len().max(expected.len())).find(|&i| made.get(i) != expected.get(i)) else {
        return;
    };
    let fault = match (made.get(at), expected.get(at)) {
        (Some(call), None) => format!("call {} is one too many: {call:?}", at + 1),
        (Some(call), Some(due)) if made.len() > expected.len() => {
            format!("call {} is one too many: {call:?} before {due:?}", at + 1)
        }
        (Some(call), Some(due)) => format!("call {} is {call:?} in place of {due:?}", at + 1),
        (None, due) => format!("call {} is missing: {due:?}", at + 1),
    };
    panic!("{what}: {fault}\n  made:     {:?}\n  expected: {expected:?}", &*made);
}

/// A balancer with a client whose every backend has answered once.
fn warm(room: usize) -> (Balancer, scripted::Client) {
    warmed(Balancer::new(3, room, STEP))
}

fn warmed(mut balancer: Balancer) -> (Balancer, scripted::Client) {
    let client = balancer.connect(b"");
    for _ in 0..3 {
        balancer.send(client, SMALL);
        balancer.answer(RESPONSE);
    }
    (balancer, client)
}

/// One exchange on warm connections makes exactly these calls, however often it is repeated.
#[track_caller]
fn assert_exchange(what: &str, request: &[&[u8]], response: &[&[u8]], expected: &[Call]) {
    let (mut balancer, client) = warm(WHOLE);
    for turn in 1..=1_000 {
        balancer.send(client, request[0]);
        request[1..].iter().for_each(|piece| balancer.send_more(client, piece));
        response.iter().for_each(|piece| balancer.answer(piece));
        assert_calls(&balancer, expected, &format!("{what}, turn {turn}"));
        assert!(balancer.received(client).starts_with(b"HTTP/1.1 200 OK\r\n"), "{what}, turn {turn}");
    }
}

fn response(length: usize) -> Vec<u8> {
    let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    response.resize(response.len() + length, b'r');
    response
}

#[test]
fn a_warm_request_makes_four_calls() {
    assert_exchange("a small GET", &[SMALL], &[RESPONSE], &WARM);
    assert_exchange("a browser's GET", &[BROWSER], &[RESPONSE], &WARM);
}

#[test]
fn metrics_and_an_access_log_make_no_call_of_the_workers() {
    let (mut balancer, client) = warmed(Balancer::with(3, WHOLE, STEP, true, Some(LogFormat::Text)));
    for turn in 1..=1_000 {
        balancer.send(client, SMALL);
        balancer.answer(RESPONSE);
        assert_calls(&balancer, &WARM, &format!("a small GET that is counted and logged, turn {turn}"));
    }
}

#[test]
fn a_body_that_comes_with_its_head_makes_no_call_of_its_own() {
    let post = [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4096\r\n\r\n", &[b'p'; 4096][..]].concat();
    assert_exchange("a POST of 4 KiB", &[&post], &[RESPONSE], &WARM);
    assert_exchange("a response of 16 KiB", &[SMALL], &[&response(16 * 1024)], &WARM);
    assert_exchange("a response of 60 KiB", &[SMALL], &[&response(60 * 1024)], &WARM);
    let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n5\r\nparts\r\n0\r\n\r\n";
    assert_exchange("a chunked response", &[SMALL], &[chunks], &WARM);
}

#[test]
fn each_further_piece_makes_a_read_and_a_write() {
    let whole = response(16 * 1024);
    let (first, second) = whole.split_at(8_000);
    let expected = [&WARM[..], &[READ_RESPONSE, SEND_RESPONSE]].concat();
    assert_exchange("a response in two pieces", &[SMALL], &[first, second], &expected);

    let (head, body) = (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n", b"body");
    let expected = [&WARM[..2], &WARM].concat();
    assert_exchange("a body behind its head", &[head, body], &[RESPONSE], &expected);
}

#[test]
fn a_head_in_pieces_makes_a_read_for_each() {
    let (request, response) = (SMALL.split_at(20), RESPONSE.split_at(20));
    let expected = [READ_REQUEST, READ_REQUEST, SEND_REQUEST, READ_RESPONSE, READ_RESPONSE, SEND_RESPONSE];
    assert_exchange("heads in two pieces", &[request.0, request.1], &[response.0, response.1], &expected);
}

#[test]
fn pipelined_requests_share_one_read() {
    let (mut balancer, client) = warm(WHOLE);
    let mut expected = vec![READ_REQUEST];
    for _ in 0..16 {
        expected.extend([SEND_REQUEST, READ_RESPONSE, SEND_RESPONSE]);
    }
    for turn in 1..=100 {
        balancer.send(client, &SMALL.repeat(16));
        (0..16).for_each(|_| balancer.answer(RESPONSE));
        assert_calls(&balancer, &expected, &format!("16 pipelined requests, turn {turn}"));
    }
}

#[test]
fn a_client_that_takes_little_at_once_makes_only_writes() {
    let (mut balancer, client) = warm(4096);
    let whole = response(16 * 1024);
    balancer.send(client, SMALL);
    balancer.answer(&whole);
    let writes = balancer.received(client).len().div_ceil(4096);
    let expected = [&WARM[..3], &vec![SEND_RESPONSE; writes]].concat();
    assert_calls(&balancer, &expected, "a response of 16 KiB, 4 KiB a write");
    assert!(balancer.received(client).ends_with(&whole[whole.len() - 16 * 1024..]));
}

#[test]
fn a_connection_is_registered_once_and_a_request_that_came_with_it_is_read_at_once() {
    let mut balancer = Balancer::new(1, WHOLE, STEP);
    let client = balancer.connect(SMALL);
    let opening = [READ_REQUEST, Call::Dial, Call::Connected, SEND_REQUEST];
    assert_calls(&balancer, &opening, "the first request of the first connection");
    balancer.answer(RESPONSE);
    let first = [&opening[..], &WARM[2..], &[Call::Register]].concat();
    assert_calls(&balancer, &first, "the first request and its response");
    for _ in 0..1_000 {
        balancer.send(client, SMALL);
        balancer.answer(RESPONSE);
        assert_calls(&balancer, &WARM, "a later request");
    }
}

#[test]
fn a_new_client_takes_over_a_kept_upstream_without_a_call() {
    let mut balancer = Balancer::new(1, WHOLE, STEP);
    balancer.connect(SMALL);
    balancer.answer(RESPONSE);
    balancer.connect(SMALL);
    balancer.answer(RESPONSE);
    let expected = [READ_REQUEST, SEND_REQUEST, READ_RESPONSE, SEND_RESPONSE, Call::Register];
    assert_calls(&balancer, &expected, "a second client");
}

#[test]
fn a_client_that_closes_after_its_answer_is_never_registered() {
    let mut balancer = Balancer::new(1, WHOLE, STEP);
    balancer.connect(SMALL);
    balancer.answer(RESPONSE);
    balancer.connect(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    balancer.answer(RESPONSE);
    assert_calls(&balancer, &WARM, "a client of one request");
}

/// Nothing happens for so many milliseconds; when the pump then asks to be woken next.
fn rest(balancer: &mut Balancer, milliseconds: u64) -> Option<u64> {
    (0..milliseconds / STEP).for_each(|_| balancer.tick(None));
    balancer.pump.next_expiry()
}

#[test]
fn a_connection_that_is_gone_leaves_no_reminder_for_long() {
    let (mut balancer, client) = warm(WHOLE);
    rest(&mut balancer, 2_000);
    balancer.send(client, b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    balancer.answer(RESPONSE);
    assert_eq!(
        rest(&mut balancer, 10_000),
        None,
        "as much as it says would be kept of each that was here in a minute"
    );
}
