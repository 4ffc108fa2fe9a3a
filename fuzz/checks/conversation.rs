use evenkeel::config::{Limits, Statuses};
use evenkeel::exchange::{Cause, Exchange, Local, Rules, Site, Taking};
use evenkeel::id::PoolId;
use evenkeel::limits;
use evenkeel::proto::h1::edits::Edits;
use evenkeel::proto::h1::request::{self, Request};
use evenkeel::proto::h1::response::Response;
use evenkeel::proto::h1::{Body, Framing, Refusal, scan};

use super::FORWARDED;
use super::split::{Cut, Pieces, seed};

/// Stands between what the client sends and what the backend sends.
const BACKEND: &[u8] = b"\n=== backend ===\n";
/// Enough to see one exchange run into the next.
const EXCHANGES_MAX: usize = 8;

/// How an exchange ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Both messages came to their ends, or both sides of a tunnel.
    Done {
        keep_downstream: bool,
        keep_upstream: bool,
    },
    Refused(Refusal),
    Local(Local),
    /// The client closed within its request.
    RequestCut,
    Failed(Cause),
}

/// One exchange, without anything that may depend on how the bytes were cut.
#[derive(Debug)]
struct Told {
    to_backend: Message,
    /// Interim responses come before the final one.
    to_client: Vec<Message>,
    tunnel: bool,
    end: End,
}

/// A message that left, read again.
#[derive(Debug, Default, PartialEq, Eq)]
struct Message {
    head: Vec<u8>,
    body: Vec<u8>,
    done: bool,
}

/// Any split of what client and backend send gives the same exchanges.
pub(crate) fn conversation(bytes: &[u8]) {
    let at = bytes.windows(BACKEND.len()).position(|w| w == BACKEND);
    let (client, backend) = at.map_or((bytes, &[][..]), |at| (&bytes[..at], &bytes[at + BACKEND.len()..]));
    let whole = run(client, backend, Cut::Whole);
    for cut in [Cut::Every(1), Cut::Every(7), Cut::Random(seed(bytes))] {
        let cut_up = run(client, backend, cut);
        assert_eq!(whole.len(), cut_up.len(), "exchanges with {cut:?}: {whole:?} {cut_up:?}");
        for (one, other) in whole.iter().zip(&cut_up) {
            compare(one, other, cut);
        }
    }
    answer_early(client, backend);
}

fn compare(one: &Told, other: &Told, cut: Cut) {
    assert_eq!(one.end, other.end, "with {cut:?}: {one:?} {other:?}");
    assert_eq!(one.tunnel, other.tunnel);
    if matches!(one.end, End::Done { .. }) {
        assert_eq!(one.to_backend, other.to_backend, "with {cut:?}");
        assert_eq!(one.to_client, other.to_client, "with {cut:?}");
        return;
    }
    // What left before a failure was noticed depends on the cut: one is the beginning of the other.
    let begins = |a: &Message, b: &Message| {
        a.head.starts_with(&b.head) && a.body.starts_with(&b.body)
            || b.head.starts_with(&a.head) && b.body.starts_with(&a.body)
    };
    assert!(begins(&one.to_backend, &other.to_backend), "with {cut:?}: {one:?} {other:?}");
    for (a, b) in one.to_client.iter().zip(&other.to_client) {
        assert!(begins(a, b), "with {cut:?}: {one:?} {other:?}");
    }
}

/// All exchanges of a client's connection; the backend's bytes are its answers in turn.
fn run(client: &[u8], backend: &[u8], cut: Cut) -> Vec<Told> {
    let (mut client, mut backend) = (Pieces::new(client, cut), Pieces::new(backend, cut));
    let mut told = Vec::new();
    while told.len() < EXCHANGES_MAX {
        let Some(one) = exchange(&mut client, &mut backend) else { break };
        let goes_on = matches!(one.end, End::Done { keep_downstream: true, keep_upstream: true });
        told.push(one);
        if !goes_on {
            break;
        }
    }
    told
}

/// Bytes that leave on either side.
#[derive(Default)]
struct Sent {
    to_backend: Vec<u8>,
    to_client: Vec<u8>,
}

fn exchange(client: &mut Pieces<'_>, backend: &mut Pieces<'_>) -> Option<Told> {
    let mut sent = Sent::default();
    let head = match receive_head(client) {
        Ok(head) => head?,
        Err(refusal) => return Some(told(&sent, None, End::Refused(refusal))),
    };
    let (mut exchange, local) = match open(&head, &mut sent.to_backend) {
        Ok(opened) => opened,
        Err(refusal) => return Some(told(&sent, None, End::Refused(refusal))),
    };
    if let Some(local) = local {
        assert!(sent.to_backend.is_empty(), "what is answered here is not sent on");
        return Some(told(&sent, None, End::Local(local)));
    }
    let end = move_all(&mut exchange, client, backend, &mut sent);
    Some(told(&sent, Some(&exchange), end))
}

fn open(head: &[u8], out: &mut Vec<u8>) -> Result<(Exchange, Option<Local>), Refusal> {
    let (limits, site) = (Limits::default(), Site::to_pool(PoolId(0)));
    let rules = Rules { forwarded: FORWARDED, status_path: None, limits: &limits, site: &site, dice: 0 };
    Exchange::open(head, &rules, out).map(|opened| (opened.exchange, opened.local))
}

/// A request head with the empty lines before it taken off.
fn receive_head(client: &mut Pieces<'_>) -> Result<Option<Vec<u8>>, Refusal> {
    let mut scanned = 0_usize;
    loop {
        let input = client.at_hand();
        let (start, unfinished) = scan::empty_lines(input, limits::EMPTY_LINES)?;
        let head = &input[start..];
        let end = if unfinished { None } else { scan::end_of_head(head, scanned.saturating_sub(start))? };
        scanned = input.len();
        if end.unwrap_or(head.len()) > limits::HEAD {
            return Err(Refusal::HeadSize);
        }
        if let Some(end) = end {
            client.take(start + end);
            return Ok(Some(head[..end].to_vec()));
        }
        if !client.arrive() {
            return Ok(None);
        }
    }
}

/// The request, then the response, then what a tunnel carries.
fn move_all(
    exchange: &mut Exchange,
    client: &mut Pieces<'_>,
    backend: &mut Pieces<'_>,
    sent: &mut Sent,
) -> End {
    match move_request(exchange, client, sent) {
        Ok(()) if exchange.request_done() => {}
        Ok(()) => return exchange.request_closed().map_or(End::RequestCut, |()| unreachable!()),
        Err(refusal) => return End::Refused(refusal),
    }
    let closed = match move_response(exchange, backend, sent) {
        Ok(closed) => closed,
        Err(cause) => return End::Failed(cause),
    };
    if exchange.is_tunnel() {
        assert!(closed);
        move_request(exchange, client, sent).expect("a tunnel carries any byte");
        exchange.request_closed().expect("a tunnel may be closed");
    }
    assert!(exchange.is_done());
    End::Done { keep_downstream: exchange.keeps_downstream(), keep_upstream: exchange.keeps_upstream() }
}

fn move_request(exchange: &mut Exchange, client: &mut Pieces<'_>, sent: &mut Sent) -> Result<(), Refusal> {
    loop {
        let input = client.at_hand();
        let took = exchange.request(input, &mut sent.to_backend)?;
        sent.to_backend.extend_from_slice(&input[took.pass]);
        client.take(took.consumed);
        if exchange.request_done() || !client.arrive() {
            return Ok(());
        }
    }
}

/// Gives whether the backend had to close for the response to end.
fn move_response(exchange: &mut Exchange, backend: &mut Pieces<'_>, sent: &mut Sent) -> Result<bool, Cause> {
    let mut scanned = 0;
    loop {
        let input = backend.at_hand();
        let taking = Taking { keep: true, edits: &Edits::default(), added: b"", again: &Statuses::NONE };
        let took = exchange.response(input, scanned, &taking, &mut sent.to_client)?;
        sent.to_client.extend_from_slice(&input[took.pass]);
        backend.take(took.consumed);
        if exchange.response_done() {
            return Ok(false);
        }
        scanned = backend.at_hand().len();
        if !backend.arrive() {
            exchange.response_closed(&mut sent.to_client)?;
            return Ok(true);
        }
    }
}

/// Reads again what left, and checks that it says what the exchange says.
fn told(sent: &Sent, exchange: Option<&Exchange>, end: End) -> Told {
    let tunnel = exchange.is_some_and(Exchange::is_tunnel);
    let to_head = exchange.is_some_and(Exchange::to_head);
    let to_backend = read_request(&sent.to_backend, tunnel);
    let to_client = read_responses(&sent.to_client, to_head, matches!(end, End::Done { .. }));
    if let (Some(exchange), End::Done { keep_upstream, .. }) = (exchange, &end) {
        assert!(to_backend.done || tunnel, "a whole request for the backend");
        assert!(
            to_client.last().is_some_and(|message| message.done || tunnel),
            "a whole answer: {to_client:?}"
        );
        assert!(!(*keep_upstream && (tunnel || !exchange.request_done())));
    }
    Told { to_backend, to_client, tunnel, end }
}

fn read_request(bytes: &[u8], tunnel: bool) -> Message {
    let Some(end) = scan::end_of_head(bytes, 0).expect("we end lines with CRLF") else {
        assert!(bytes.is_empty(), "a part of a head");
        return Message::default();
    };
    let mut space = request::fields();
    let framing = match Request::parse(&bytes[..end], &mut space) {
        Ok(request) => request.framing,
        // Our own fields may be the ones too many; the check of heads is another's.
        Err(Refusal::FieldCount) => return Message { done: true, ..Message::default() },
        Err(refusal) => panic!("{refusal:?} in {}", String::from_utf8_lossy(&bytes[..end])),
    };
    let framing = if tunnel { Framing::UntilClose } else { framing };
    message(&bytes[..end], &bytes[end..], framing)
}

fn read_responses(bytes: &[u8], to_head: bool, ended: bool) -> Vec<Message> {
    let (mut messages, mut rest) = (Vec::new(), bytes);
    while let Some(end) = scan::end_of_head(rest, 0).expect("we end lines with CRLF") {
        let mut space = request::fields();
        let response = match Response::parse(&rest[..end], to_head, &mut space) {
            Ok(response) => response,
            Err(Refusal::FieldCount) => return messages,
            Err(refusal) => panic!("{refusal:?} in {}", String::from_utf8_lossy(rest)),
        };
        if response.is_interim() {
            messages.push(message(&rest[..end], &[], Framing::None));
            rest = &rest[end..];
            continue;
        }
        let framing = if response.status == 101 { Framing::UntilClose } else { response.framing };
        let mut last = message(&rest[..end], &rest[end..], framing);
        last.done |= ended && framing == Framing::UntilClose;
        messages.push(last);
        return messages;
    }
    assert!(rest.is_empty(), "a part of a head");
    messages
}

/// A message with its body decoded; nothing may follow it.
fn message(head: &[u8], rest: &[u8], framing: Framing) -> Message {
    let (mut body, mut out) = (Body::new(framing), Vec::new());
    let relayed = body.relay(rest, false, &mut out).expect("we write what we accept");
    assert_eq!(relayed.consumed, rest.len(), "bytes behind the end of a message");
    out.extend_from_slice(&rest[relayed.pass]);
    Message { head: head.to_vec(), body: out, done: body.is_done() }
}

/// The backend answers while the request still comes: what it says is passed on, and neither connection is used again.
fn answer_early(client: &[u8], backend: &[u8]) {
    let mut client = Pieces::new(client, Cut::Whole);
    let Ok(Some(head)) = receive_head(&mut client) else { return };
    let mut sent = Sent::default();
    let Ok((mut exchange, None)) = open(&head, &mut sent.to_backend) else {
        return;
    };
    if exchange.request_done() {
        return;
    }
    let mut backend = Pieces::new(backend, Cut::Every(5));
    let answered = move_response(&mut exchange, &mut backend, &mut sent);
    assert!(!exchange.is_tunnel(), "a switch before the request has ended");
    if answered.is_ok() {
        assert!(!exchange.keeps_downstream() && !exchange.keeps_upstream());
        read_responses(&sent.to_client, exchange.to_head(), true);
    }
}
