//! What the choice of a backend wants to know of a request.

use std::net::IpAddr;

use crate::balance::{hash, tally};
use crate::config::Key;
use crate::proto::h1::request::Request;

/// What is looked for. Nothing by default, which costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Chooses the backend.
    pub hash: Option<Key>,
    /// Name of the cookie that clients stick by.
    pub cookie: Option<String>,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Hash of the key that chooses; `None` where the request has none.
    pub hash: Option<u64>,
    /// What the sticky cookie says.
    pub cookie: Option<u64>,
    /// Place of the method in [`tally::METHODS`].
    pub method: u8,
}

impl Wanted {
    /// Looks for it in a request of that client.
    pub fn find(&self, request: &Request<'_, '_>, client: IpAddr) -> Found {
        Found {
            hash: self.hash.as_ref().and_then(|key| match key {
                Key::Address => Some(hash::hash_address(client)),
                _ => value(key, request).map(hash::hash),
            }),
            cookie: self.cookie.as_ref().and_then(|name| hash::parse_cookie_value(request.cookie(name)?)),
            method: tally::method(request.method) as u8,
        }
    }
}

/// The part of a request that a key names; an address is no part of it.
pub(super) fn value<'b>(key: &Key, request: &Request<'_, 'b>) -> Option<&'b [u8]> {
    match key {
        Key::Address => None,
        Key::Uri => Some(request.path().as_bytes()),
        Key::Header(name) => request.field(name),
        Key::Cookie(name) => request.cookie(name),
    }
}
