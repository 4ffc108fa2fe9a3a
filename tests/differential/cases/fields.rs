use crate::case::{Case, Class, bare, get, passed, refused};

pub(super) fn classes() -> Vec<Class> {
    vec![
        Class { title: "Field lines in requests", cases: malformed() },
        Class { title: "Field lines that pass", cases: accepted() },
        Class { title: "Size of request heads", cases: sizes() },
    ]
}

fn malformed() -> Vec<Case> {
    let bad = |name, rule, fields: &str| refused(name, rule, get(fields), 400);
    vec![
        bad("space before the colon", "M5.1", "X : 1"),
        bad("tab before the colon", "M5.1", "X\t: 1"),
        bad("fold with a space", "M5.2", "X: 1\r\n 2"),
        bad("fold with a tab", "M5.2", "X: 1\r\n\t2"),
        bad("fold of nothing", "M5.2", "X: 1\r\n  "),
        refused("white space before the first field", "M2.2", bare(" X: 1\r\nHost: a.test"), 400),
        refused("tab before the first field", "M2.2", bare("\tHost: a.test"), 400),
        bad("bare CR in a value", "M2.2", "X: 1\r2"),
        bad("CR CR LF at a line's end", "M2.2", "X: 1\r"),
        bad("bare LF at a line's end", "M2.2", "X: 1\nY: 2"),
        refused("bare LF at every line's end", "M2.2", "GET /case HTTP/1.1\nHost: a.test\n\n", 400),
        refused("bare LF for the empty line", "M2.2", "GET /case HTTP/1.1\r\nHost: a.test\r\n\n", 400),
        bad("NUL in a value", "R5.5", "X: 1\x002"),
        bad("NUL in a name", "R5.1", "X\0Y: 1"),
        bad("control character in a value", "R5.5", "X: 1\x012"),
        bad("escape in a value", "R5.5", "X: \x1b[1m"),
        bad("delete character in a value", "R5.5", "X: 1\x7f"),
        bad("empty name", "R5.1", ": 1"),
        bad("colon alone", "R5.1", ":"),
        bad("no colon", "M5", "XY"),
        bad("space in a name", "R5.1", "X Y: 1"),
        bad("parenthesis in a name", "R5.1", "X(Y): 1"),
        bad("slash in a name", "R5.1", "X/Y: 1"),
        bad("quote in a name", "R5.1", "\"X\": 1"),
        bad("at sign in a name", "R5.1", "X@Y: 1"),
        bad("brackets in a name", "R5.1", "X[]: 1"),
        bad("high letter in a name", "R5.1", "X\u{e4}: 1"),
    ]
}

fn accepted() -> Vec<Case> {
    let good = |name, rule, fields: &str| passed(name, rule, get(fields));
    vec![
        good("empty value", "R5.5", "X-Empty:").backend_has("\r\nX-Empty:"),
        good("value of white space alone", "R5.5", "X-Empty: \t ").backend_has("\r\nX-Empty:"),
        good("tab in a value", "R5.5", "X: 1\t2").backend_has("X: 1\t2"),
        good("colons in a value", "R5.5", "X: a:b: c").backend_has("X: a:b: c"),
        good("UTF-8 in a value", "R5.5", "X: caf\u{e9}").backend_has("X: caf\u{e9}"),
        passed(
            "high bytes in a value",
            "R5.5",
            &b"GET /case HTTP/1.1\r\nHost: a\r\nX: \xff\x80!\r\n\r\n"[..],
        )
        .backend_has("!\r\n"),
        good("every character of a token in a name", "R5.6.2", "X!#$%&'*+-.^_`|~9: 1")
            .backend_has("X!#$%&'*+-.^_`|~9: 1"),
        good("underscore in a name", "R5.1", "X_Y: 1").backend_has("X_Y: 1"),
        good("order of equal names", "R5.3", "X: 1\r\nY: 2\r\nX: 3").backend_has("X: 1\r\nY: 2\r\nX: 3"),
        good("two Cookie fields", "R5.3", "Cookie: a=1\r\nCookie: b=2").backend_has("Cookie: b=2"),
        passed("one empty line before", "M2.2", format!("\r\n{}", get(""))),
        passed("two empty lines before", "M2.2", format!("\r\n\r\n{}", get(""))),
        refused("three empty lines before", "M2.2, limit", format!("\r\n\r\n\r\n{}", get("")), 400),
        refused("bare LF before", "M2.2", format!("\n{}", get("")), 400),
        refused("bare CR before", "M2.2", format!("\r{}", get("")), 400),
        refused("space before", "M3", format!(" {}", get("")), 400),
    ]
}

fn sizes() -> Vec<Case> {
    let many = |n: usize| vec!["X: 1"; n].join("\r\n");
    let long = |n: usize| format!("X: {}", "a".repeat(n));
    vec![
        passed("100 fields", "R5.4, limit", get(&many(99))),
        refused("101 fields", "R5.4, limit", get(&many(100)), 431),
        refused("10,000 short fields", "R5.4, limit", get(&many(10_000)), 431),
        passed("a field of 16 KiB", "R5.4", get(&long(16 * 1024))),
        refused("a field of 40 KiB", "R5.4, limit", get(&long(40 * 1024)), 431),
        refused("a name of 40 KiB", "R5.4, limit", get(&format!("{}: 1", "X".repeat(40 * 1024))), 431),
        refused("an endless head of 1 MiB", "R5.4, limit", get(&vec![long(1000); 1000].join("\r\n")), 431),
    ]
}
