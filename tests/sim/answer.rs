//! The bytes of an answer, good or bad, and what a reader may make of them.

use crate::http::chunked;
use crate::ledger::{Answer, Fault, Frame, Plan, Said, answer_body};
use crate::peer::{Act, Wait};
use crate::rng::Rng;

/// What is planned for an attempt.
pub(crate) fn answer_of(plan: &Plan, attempt: u32) -> Answer {
    let last = plan.answers.len() - 1;
    plan.answers[last.min(attempt as usize - 1)]
}

/// The acts that give an answer, and what a reader may make of it.
pub(crate) fn render(
    plan: &Plan,
    number: usize,
    attempt: u32,
    answer: Answer,
    calm: bool,
    rng: &mut Rng,
) -> (Vec<Act>, Said) {
    let mark = format!("X-Answer: {number}.{attempt}\r\n");
    let mut acts = vec![Act::Pause(answer.delay)];
    let mut interim = String::new();
    for i in 0..answer.interim {
        let status = ["100 Continue", "103 Early Hints"][usize::from(i % 2)];
        interim += &format!("HTTP/1.1 {status}\r\n{mark}\r\n");
    }
    acts.push(Act::Send(interim.into_bytes()));
    let mut said = Said { status: answer.status, len: answer.len, whole: true };
    let bodiless = plan.method == "HEAD" || matches!(answer.status, 101 | 204 | 304);
    let body = if bodiless { Vec::new() } else { answer_body(number, attempt, answer.len) };
    let version = if answer.http10 { "1.0" } else { "1.1" };
    let mut head = format!("HTTP/{version} {} Any thing\r\n{mark}Connection: X-Hop", answer.status);
    head += if answer.closes { ", close" } else { "" };
    head += "\r\nX-Hop: 1\r\n";
    match answer.frame {
        _ if answer.status == 204 => {}
        _ if answer.status == 101 => head += "Connection: upgrade\r\nUpgrade: echo\r\n",
        Frame::Length => head += &format!("Content-Length: {}\r\n", answer.len),
        Frame::Chunked(_) => head += "Transfer-Encoding: chunked\r\n",
        Frame::UntilClose => {}
    }
    let head = head.into_bytes();
    let body = match answer.frame {
        Frame::Chunked(size) if !bodiless => chunked(&body, size, "X-Sum: 1\r\n"),
        _ => body,
    };
    let message = [&head[..], b"\r\n", &body].concat();
    let framed = bodiless || answer.frame != Frame::UntilClose;
    match answer.fault {
        Fault::None if answer.status == 101 => acts.push(Act::Send(message)),
        Fault::Poison if framed => acts.push(Act::Send(poisoned(&head, &message))),
        Fault::None | Fault::Extra | Fault::Poison | Fault::CloseAfter => {
            acts.push(Act::Send(message));
            if answer.fault == Fault::Extra && framed {
                acts.push(Act::Send(b"EXTRA bytes\r\n\r\n".to_vec()));
            }
            // An early one that closes lets the rest of the request come first, or the reset would eat it.
            let closes = answer.closes || answer.fault == Fault::CloseAfter;
            if closes && answer.early && (calm || rng.chance(80)) {
                acts.extend([Act::Fin, Act::Await(Wait::Request)]);
            }
            if closes {
                acts.push(Act::Close);
            }
        }
        _ => {
            let to_head = plan.method == "HEAD";
            spoil(answer, to_head, &head, &message, !framed, &mut acts, &mut said);
        }
    }
    (acts, said)
}

/// An answer that fills a reader's buffer to the last byte, if it is long enough, with another one behind it.
fn poisoned(head: &[u8], message: &[u8]) -> Vec<u8> {
    const READ: usize = evenkeel::limits::INBOX;
    let short = (READ - message.len() % READ) % READ;
    let pad = match short.checked_sub("X-Pad: \r\n".len()) {
        Some(length) if length < 8000 => format!("X-Pad: {}\r\n", "p".repeat(length)),
        _ => String::new(),
    };
    let poison = b"HTTP/1.1 200 OK\r\nX-Answer: poison\r\nContent-Length: 0\r\n\r\n";
    [head, pad.as_bytes(), &message[head.len()..], poison].concat()
}

fn spoil(
    a: Answer,
    to_head: bool,
    head: &[u8],
    message: &[u8],
    until_close: bool,
    acts: &mut Vec<Act>,
    said: &mut Said,
) {
    said.whole = false;
    let before = acts.pop().filter(|_| !matches!(a.fault, Fault::CloseInstead | Fault::ResetInstead));
    acts.extend(before);
    let end = if matches!(a.fault, Fault::ResetInstead | Fault::Cut { reset: true, .. }) {
        Act::Reset
    } else {
        Act::Close
    };
    match a.fault {
        Fault::CloseInstead | Fault::ResetInstead => {}
        Fault::Stall => return acts.push(Act::Await(Wait::Forever)),
        Fault::Cut { at, reset } => {
            let kept = message.len() * at / 1000;
            if until_close && !reset && kept >= head.len() + 2 {
                (said.whole, said.len) = (true, kept - head.len() - 2);
            }
            acts.push(Act::Send(message[..kept].to_vec()));
        }
        Fault::Garbage(kind) => acts.push(Act::Send(garbage(kind).to_vec())),
        Fault::Misframed(kind) => {
            // Without a body, only a head can be wrong.
            let kind = if to_head { kind % 7 } else { kind };
            said.status = if matches!(a.status, 101 | 204 | 304) { 200 } else { a.status };
            acts.push(Act::Send(misframed(kind, head)));
        }
        Fault::Switch => {
            let switch = b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: nothing\r\n\r\n";
            acts.push(Act::Send(switch.to_vec()));
        }
        Fault::None | Fault::Extra | Fault::Poison | Fault::CloseAfter => {
            unreachable!("no fault of the answer itself")
        }
    }
    acts.push(end);
}

fn garbage(kind: u64) -> &'static [u8] {
    match kind {
        0 => b"\0\x01\x02\x03\r\n\r\n",
        1 => b"HTTP/2.0 200 OK\r\n\r\n",
        2 => b"HTTP/1.1 2000 OK\r\n\r\n",
        3 => b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        4 => b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
        // As far as it goes it could be the beginning of a head.
        _ => b"SSH-2.0-OpenSSH_9.2\r\n",
    }
}

/// A head like the given one with a framing that no reader may accept.
fn misframed(kind: u64, head: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(head);
    let unframed = text.lines().filter(|l| {
        let l = l.to_ascii_lowercase();
        !l.starts_with("content-length") && !l.starts_with("transfer-encoding")
    });
    let head: String = unframed.map(|line| format!("{line}\r\n")).collect();
    // A body that these statuses cannot have would be no error.
    let head = head.replacen(" 204 ", " 200 ", 1).replacen(" 304 ", " 200 ", 1).replacen("/1.0", "/1.1", 1);
    let head = head.replacen(" 101 ", " 200 ", 1);
    let rest = match kind {
        0 => "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        1 => "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        2 => "Content-Length: -3\r\n\r\nabc",
        3 => "Transfer-Encoding: gzip\r\n\r\nabc",
        4 => "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        5 => "A : b\r\nContent-Length: 0\r\n\r\n",
        6 => "A: b\nContent-Length: 0\r\n\r\n",
        7 => "Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        _ => "Transfer-Encoding: chunked\r\n\r\nx\r\n\r\n",
    };
    (head + rest).into_bytes()
}
