//! Holding what was observed against what is expected.

use crate::case::{After, Case, Text};
use crate::client::Ended;
use crate::lane::Observed;

/// What is wrong, in words; empty when all is right.
pub(crate) fn judge(case: &Case, observed: &Observed) -> Vec<String> {
    let (expect, client) = (&case.expect, &observed.client);
    let mut wrong = Vec::new();
    let mut check = |right: bool, what: String| {
        if !right {
            wrong.push(what);
        }
    };
    let statuses: Vec<_> = client.answers.iter().map(|answer| answer.status).collect();
    check(statuses == expect.statuses, format!("answers {statuses:?}, not {:?}", expect.statuses));
    let whole = client.answers.last().is_none_or(|answer| answer.whole);
    check(whole == expect.whole, format!("the answer is {}", if whole { "whole" } else { "cut" }));
    check(!client.stray, "bytes that are part of no answer".into());
    let ended = match expect.after {
        After::Kept => client.ended == Ended::Kept,
        After::Closed if expect.whole => client.ended == Ended::Closed,
        After::Closed => matches!(client.ended, Ended::Closed | Ended::Reset),
        After::Either => matches!(client.ended, Ended::Kept | Ended::Closed),
    };
    check(ended, format!("the connection is {:?}, not {:?}", client.ended, expect.after));
    let (requests, in_part) = seen(observed);
    check(
        requests == expect.requests,
        format!("the backend saw {requests} requests, not {}", expect.requests),
    );
    check(in_part == expect.in_part, format!("the backend saw a part of a request: {in_part}"));
    check(observed.healthy, "the next request was not answered as it should be".into());
    if let Some(reused) = expect.reused {
        check(observed.reused == reused, format!("the backend's connection was reused: {}", observed.reused));
    }
    if let Some(differs) = text_differs(case, observed) {
        check(false, differs);
    }
    wrong
}

/// Whole requests that the backend saw, and whether it saw a part of one.
pub(crate) fn seen(observed: &Observed) -> (usize, bool) {
    let requests = observed.backend.iter().filter(|seen| seen.whole).count();
    (requests, observed.backend.iter().any(|seen| !seen.whole))
}

/// The first text that is missing or too many, on either side.
pub(crate) fn text_differs(case: &Case, observed: &Observed) -> Option<String> {
    let backend: Vec<u8> = observed.backend.iter().flat_map(|seen| seen.bytes.clone()).collect();
    let at_backend = differs(&case.expect.backend, &backend, "the backend sees");
    at_backend.or_else(|| differs(&case.expect.client, &observed.client.bytes, "the client sees"))
}

fn differs(text: &Text, bytes: &[u8], who: &str) -> Option<String> {
    let bytes = bytes.to_ascii_lowercase();
    let among = |needle: &&str| {
        let needle = needle.to_ascii_lowercase();
        bytes.windows(needle.len()).any(|w| w == needle.as_bytes())
    };
    let missing = text.has.iter().find(|needle| !among(needle));
    let missing = missing.map(|needle| format!("{who} no `{}`", shown(needle)));
    let extra = || text.lacks.iter().find(|needle| among(needle));
    missing.or_else(|| extra().map(|needle| format!("{who} `{}`", shown(needle))))
}

fn shown(text: &str) -> String {
    text.replace('\r', "\\r").replace('\n', "\\n")
}
