//! Hashes that choose backends, and the values of sticky cookies.

use std::net::IpAddr;

use siphasher::sip::{SipHasher13, SipHasher24};
use siphasher::sip128;

/// Written down, so that every instance of every version sends a key to the same backend: changing it moves
/// all keys. It is no secret: who wants to burden one backend need only repeat one key.
const KEY: (u64, u64) = (0x4576_656e_6b65_656c, 0x6368_6f6f_7365_7273);
/// Turns a secret of any length into a key; changing it makes all cookies unknown.
const SECRET_KEY: (u64, u64) = (0x4576_656e_6b65_656c, 0x636f_6f6b_6965_7321);
/// Digits of a cookie's value.
const DIGITS: usize = 16;

/// Hash of a key, the same on all machines, instances and versions: SipHash-1-3 (Aumasson and Bernstein,
/// "SipHash: a fast short-input PRF", 2012) with a fixed key. Good in all its bits, also for short keys that
/// differ in one digit.
pub fn hash(bytes: &[u8]) -> u64 {
    SipHasher13::new_with_keys(KEY.0, KEY.1).hash(bytes)
}

/// [`hash`] of what names a client in its address. Of IPv6 that is the first 64 bits: below them a host takes
/// new addresses as it likes (RFC 8981). An IPv4 address inside IPv6 is the IPv4 address.
pub fn hash_address(ip: IpAddr) -> u64 {
    match ip.to_canonical() {
        IpAddr::V4(ip) => hash(&ip.octets()),
        IpAddr::V6(ip) => hash(&ip.octets()[..8]),
    }
}

/// The hash for a key's next places: at attempt 0 the hash itself, then one that has nothing to do with those
/// before it. A step of SplitMix64 (Steele, Lea and Flood, 2014), so it is cheap, and one-to-one by attempt.
pub fn mix(hash: u64, attempt: u32) -> u64 {
    if attempt == 0 {
        return hash;
    }
    let z = hash.wrapping_add(u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The value by which a sticky cookie names a backend, to be written as 16 lower-case hexadecimal digits:
/// SipHash-2-4 of the backend's identity, keyed by the secret. Instances with the same secret agree on it.
///
/// Addresses are few, so the secret alone hides them: whoever can guess it can try all of them. It should be
/// at least 16 random bytes.
pub fn cookie_value(secret: &[u8], identity: &str) -> u64 {
    let key = sip128::SipHasher24::new_with_keys(SECRET_KEY.0, SECRET_KEY.1).hash(secret);
    SipHasher24::new_with_keys(key.h1, key.h2).hash(identity.as_bytes())
}

/// Reads what [`cookie_value`] gave; `None` for anything but exactly 16 lower-case hexadecimal digits.
pub fn parse_cookie_value(text: &[u8]) -> Option<u64> {
    if text.len() != DIGITS {
        return None;
    }
    text.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_same_for_ever() {
        // Other numbers here mean that all keys and cookies move when instances are upgraded.
        assert_eq!(hash(b""), 0x14cf_6473_511d_585c);
        assert_eq!(hash(b"/index.html"), 0xeec4_383c_ccc0_d585);
        assert_eq!(mix(1, 1), 0x910a_2dec_8902_5cc1);
        assert_eq!(cookie_value(b"a secret", "http://10.0.0.1:80"), 0xd58f_2926_c4d1_2d88);
    }

    #[test]
    fn the_hashers_are_those_of_the_paper() {
        let bytes: Vec<u8> = (0..15).collect();
        let (one, two) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908);
        assert_eq!(SipHasher24::new_with_keys(one, two).hash(&bytes), 0xa129_ca61_49be_45e5);
    }

    #[test]
    fn an_address_is_hashed_by_what_names_the_client() {
        let of = |text: &str| hash_address(text.parse().unwrap());
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    }

    #[test]
    fn each_attempt_gives_another_hash() {
        assert_eq!(mix(17, 0), 17);
        for bit in 0..64 {
            let key = hash(b"key");
            let changed: u32 = (1..=64).map(|i| (mix(key, i) ^ mix(key ^ 1 << bit, i)).count_ones()).sum();
            assert!((24 * 64..40 * 64).contains(&changed), "bit {bit} changes {changed} of 4096");
        }
        let mut all: Vec<u64> = (0..1000).flat_map(|key| (0..16).map(move |i| mix(key, i))).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 16_000);
    }

    #[test]
    fn a_cookie_depends_on_every_byte_of_the_secret_and_the_identity() {
        let value = cookie_value(b"0123456789abcdef-and-more", "http://10.0.0.1:80");
        assert_ne!(value, cookie_value(b"0123456789abcdef-and-morf", "http://10.0.0.1:80"));
        assert_ne!(value, cookie_value(b"1123456789abcdef-and-more", "http://10.0.0.1:80"));
        assert_ne!(value, cookie_value(b"0123456789abcdef-and-more", "http://10.0.0.2:80"));
    }

    #[test]
    fn a_cookie_is_read_strictly() {
        for value in [0, 1, 0x0123_4567_89ab_cdef, u64::MAX] {
            assert_eq!(parse_cookie_value(format!("{value:016x}").as_bytes()), Some(value));
        }
        let wrong = ["", "0", "123456789abcdef", "0123456789abcdef0", "0123456789ABCDEF", "+123456789abcdef"];
        for text in wrong.into_iter().chain(["0x23456789abcdef", " 123456789abcdef", "0123456789abcdeg"]) {
            assert_eq!(parse_cookie_value(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_cookie_value(&[0xff; 16]), None);
    }
}
