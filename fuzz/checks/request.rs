use evenkeel::limits;
use evenkeel::proto::h1::edits::Changes;
use evenkeel::proto::h1::request::{self, Forwarded, Request};
use evenkeel::proto::h1::target::Target;
use evenkeel::proto::h1::{Framing, Refusal, Version, scan};

use super::lines::Lines;
use super::{FORWARDED, head_of};

/// A request head that is accepted is written as one head that means the same.
pub(crate) fn request_head(bytes: &[u8]) {
    let Some(head) = head_of(bytes) else { return };
    let mut space = request::fields();
    let Ok(request) = Request::parse(head, &mut space) else { return };
    assert!(!matches!(request.framing, Framing::UntilClose));
    // Answered here, never written.
    if request.max_forwards == Some(0) {
        return;
    }
    for trusted in [false, true] {
        check(head, &request, trusted);
    }
}

fn check(head: &[u8], request: &Request<'_, '_>, trusted: bool) {
    let mut out = Vec::new();
    request.write(&Forwarded { trusted, ..FORWARDED }, &Changes::NONE, &mut out);
    assert_eq!(scan::end_of_head(&out, 0), Ok(Some(out.len())), "one head, no more");
    check_fields(head, &out, request, trusted);

    let mut space = request::fields();
    let again = match Request::parse(&out, &mut space) {
        Ok(again) => again,
        // Our own fields may be the ones too many.
        Err(Refusal::FieldCount) if Lines::read(head).0.len() + 8 > limits::FIELDS => return,
        Err(refusal) => panic!("{refusal:?} in what was written: {}", String::from_utf8_lossy(&out)),
    };
    check_same(request, &again);
}

fn check_fields(head: &[u8], out: &[u8], request: &Request<'_, '_>, trusted: bool) {
    let (before, after) = (Lines::read(head), Lines::read(out));
    after.check_sent();
    assert_eq!(after.all("host").count(), 1);
    assert_eq!(before.end_to_end(), after.end_to_end(), "fields to be passed on");
    assert!(after.all("connection").all(|value| value == b"upgrade"));
    assert_eq!(after.all("connection").count(), after.all("upgrade").count());
    assert!(after.all("via").last().is_some_and(|via| via.ends_with(b" evenkeel")));
    assert_eq!(after.all("x-forwarded-for").count(), 1);
    assert!(after.all("x-forwarded-for").all(|value| value.ends_with(b"192.0.2.10")));
    let told = before.all("forwarded").filter(|_| trusted && !before.is_named("forwarded"));
    assert!(after.all("forwarded").eq(told), "who was before us is told by those who are trusted");
    if trusted {
        assert!(["x-forwarded-proto", "x-request-id"].iter().all(|name| after.all(name).count() > 0));
    } else {
        let only =
            |name, value: &[u8]| assert!(after.all(name).eq([value]), "{name} is not the one we write");
        only("x-forwarded-for", b"192.0.2.10");
        only("x-forwarded-proto", b"http");
        only("x-request-id", b"0123");
        assert!(after.all("x-forwarded-host").eq(request.authority));
    }
    if request.max_forwards.is_some() {
        assert_eq!(after.all("max-forwards").count(), 1, "a second Max-Forwards was passed on");
    }
}

fn check_same(request: &Request<'_, '_>, again: &Request<'_, '_>) {
    assert_eq!(again.method, request.method);
    assert_eq!(again.version, Version::Http11);
    assert_eq!(again.framing, request.framing);
    assert_eq!(again.path().strip_prefix("/?"), request.path().strip_prefix("/?").or(query(request.path())));
    if !request.path().starts_with('?') {
        assert_eq!(again.path(), request.path());
    }
    assert!(!matches!(again.target, Target::Absolute { .. }));
    let authority = request.authority.unwrap_or(FORWARDED.local.as_bytes());
    assert_eq!(again.authority, Some(authority));
    assert_eq!(again.expects_continue, request.expects_continue);
    assert_eq!(again.upgrade, request.upgrade);
    assert_eq!(again.max_forwards, request.max_forwards.map(|hops| hops - 1));
    assert!(again.persistent());
}

/// The query of an absolute-form target without a path, which leaves with the path `/`.
fn query(path: &str) -> Option<&str> {
    path.strip_prefix('?')
}
