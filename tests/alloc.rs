//! The hot-path budget in memory: once warm, a worker serves keep-alive requests without allocating.
//!
//! The counting allocator counts on this thread alone, so the tests may run side by side.

#[path = "../benches/samples/mod.rs"]
mod samples;
mod scripted;

use samples::{BROWSER, RESPONSE, SMALL};
use scripted::{Balancer, Client};

const REQUESTS: usize = 10_000;
/// Every backend has a connection by then, and every buffer that is needed at once exists.
const WARM_UP: usize = 1_000;
const BACKENDS: u16 = 3;
const WHOLE: usize = usize::MAX;
/// The clock stands still, so that deadlines are moved but no reminder comes.
const STILL: u64 = 0;

/// Ten thousand turns of `exchange`, after warm-up, allocate nothing, and each gives the client as much.
#[track_caller]
fn assert_free(balancer: &mut Balancer, client: Client, mut exchange: impl FnMut(&mut Balancer, Client)) {
    let (mut given, mut calls) = (0, 0);
    for _ in 0..WARM_UP {
        exchange(balancer, client);
        (given, calls) = (balancer.received(client).len(), balancer.calls().len());
    }
    assert!(balancer.received(client).starts_with(b"HTTP/1.1 200 OK\r\n"), "the exchange does not work");
    let mut differed = 0;
    let mut first = None;
    let counted = allocation_counter::measure(|| {
        for i in 0..REQUESTS {
            let one = allocation_counter::measure(|| exchange(balancer, client));
            if one.count_total > 0 && first.is_none() {
                first = Some((i, one));
            }
            let same = balancer.received(client).len() == given && balancer.calls().len() == calls;
            differed += usize::from(!same);
        }
    });
    assert_eq!(differed, 0, "every exchange is to give the client {given} bytes by {calls} calls");
    assert_eq!(
        counted.count_total, 0,
        "{} allocations of {} bytes in {REQUESTS} warm turns of {calls} calls; the first: {first:?}",
        counted.count_total, counted.bytes_total
    );
}

/// One request in these pieces, answered in those.
#[track_caller]
fn assert_exchange_free(room: usize, request: &[&[u8]], response: &[&[u8]]) {
    let mut balancer = Balancer::new(BACKENDS, room, STILL);
    let client = balancer.connect(b"");
    assert_free(&mut balancer, client, |balancer, client| {
        balancer.send(client, request[0]);
        request[1..].iter().for_each(|piece| balancer.send_more(client, piece));
        response.iter().for_each(|piece| balancer.answer(piece));
    });
}

fn with_body(head: &str, body: &[u8]) -> Vec<u8> {
    let mut message = format!("{head}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
    message.extend_from_slice(body);
    message
}

fn post() -> Vec<u8> {
    with_body("POST /form HTTP/1.1\r\nHost: www.example.com\r\n", &[b'p'; 4096])
}

fn large() -> Vec<u8> {
    with_body("HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n", &[b'r'; 16 * 1024])
}

fn chunked(head: &str) -> Vec<u8> {
    let mut message = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for _ in 0..4 {
        message.extend_from_slice(b"1000\r\n");
        message.extend_from_slice(&[b'c'; 4096]);
        message.extend_from_slice(b"\r\n");
    }
    message.extend_from_slice(b"0\r\n\r\n");
    message
}

#[test]
fn a_small_get() {
    assert_exchange_free(WHOLE, &[SMALL], &[RESPONSE]);
}

#[test]
fn a_browsers_get() {
    assert_exchange_free(WHOLE, &[BROWSER], &[RESPONSE]);
}

#[test]
fn heads_that_come_in_pieces() {
    let (request, response) = (BROWSER.split_at(300), RESPONSE.split_at(40));
    assert_exchange_free(WHOLE, &[request.0, request.1], &[response.0, response.1]);
}

#[test]
fn a_post_of_4_kib() {
    let post = post();
    assert_exchange_free(WHOLE, &[&post], &[RESPONSE]);
    let (head, body) = post.split_at(post.len() - 4096);
    assert_exchange_free(WHOLE, &[head, &body[..1500], &body[1500..]], &[RESPONSE]);
}

#[test]
fn a_response_of_16_kib() {
    let large = large();
    assert_exchange_free(WHOLE, &[SMALL], &[&large]);
    assert_exchange_free(WHOLE, &[SMALL], &large.chunks(1448).collect::<Vec<_>>());
}

#[test]
fn a_chunked_response() {
    let response = chunked("HTTP/1.1 200 OK\r\n");
    assert_exchange_free(WHOLE, &[SMALL], &[&response]);
    assert_exchange_free(WHOLE, &[SMALL], &response.chunks(1448).collect::<Vec<_>>());
}

#[test]
fn a_chunked_request() {
    let request = chunked("POST /form HTTP/1.1\r\nHost: www.example.com\r\n");
    assert_exchange_free(WHOLE, &[&request], &[RESPONSE]);
    assert_exchange_free(WHOLE, &request.chunks(1448).collect::<Vec<_>>(), &[RESPONSE]);
}

#[test]
fn peers_that_take_little_at_once() {
    assert_exchange_free(1000, &[&post()], &[&large()]);
}

#[test]
fn a_request_that_is_counted_for_metrics() {
    let mut balancer = Balancer::with(BACKENDS, WHOLE, STILL, true, None);
    let client = balancer.connect(b"");
    assert_free(&mut balancer, client, |balancer, client| {
        balancer.send(client, SMALL);
        balancer.answer(RESPONSE);
    });
}

#[test]
fn pipelined_requests() {
    let requests = SMALL.repeat(8);
    let mut balancer = Balancer::new(BACKENDS, WHOLE, STILL);
    let client = balancer.connect(b"");
    assert_free(&mut balancer, client, |balancer, client| {
        balancer.send(client, &requests);
        (0..8).for_each(|_| balancer.answer(RESPONSE));
    });
}

#[track_caller]
fn assert_many_free(step: u64) {
    let mut balancer = Balancer::new(BACKENDS, WHOLE, step);
    let clients: Vec<Client> = (0..64).map(|_| balancer.connect(b"")).collect();
    let mut turn = 0;
    assert_free(&mut balancer, clients[0], |balancer, client| {
        turn += 1;
        balancer.send(clients[1 + turn % 63], SMALL);
        balancer.answer(RESPONSE);
        balancer.send(client, SMALL);
        balancer.answer(RESPONSE);
    });
}

#[test]
fn one_client_among_many() {
    assert_many_free(STILL);
}

/// More than a minute passes in each thousand turns: the reminders of all 64 clients come many times.
#[test]
fn reminders_while_time_passes() {
    assert_many_free(20);
}

#[test]
fn a_connection_at_rest_is_reminded_of_without_allocating() {
    let mut balancer = Balancer::new(BACKENDS, WHOLE, 5);
    let client = balancer.connect(b"");
    for _ in 0..WARM_UP {
        balancer.send(client, SMALL);
        balancer.answer(RESPONSE);
    }
    let counted = allocation_counter::measure(|| {
        (0..6_000).for_each(|_| balancer.tick(None));
    });
    assert!(balancer.pump.next_expiry().is_some(), "its time is not over");
    assert_eq!(counted.count_total, 0);
}
