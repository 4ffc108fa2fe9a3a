//! The page: one document without outside resources.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use super::answer::Answer;

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

/// The page, whose style and script alone its browser may run, and which no other page may frame.
pub(super) fn answer() -> Answer {
    let nonce = nonce();
    let page = PAGE.replace("{{nonce}}", &nonce).replace("{{style}}", STYLE).replace("{{script}}", SCRIPT);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    Answer::new(200, "text/html; charset=utf-8", page).with_field("Content-Security-Policy", &policy)
}

/// Cannot be guessed: the keys of the standard library's hashes come from the system.
fn nonce() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}
