//! Replays the seeds of the fuzz targets through the targets' own checks: as they are, cut short at each byte, and with
//! each byte replaced by those that parsers stumble over.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[path = "../fuzz/checks/mod.rs"]
mod checks;

/// What takes the place of each byte of a seed.
const STUMBLING_BLOCKS: [u8; 5] = [b'\r', b'\n', b'\0', b' ', b'0'];

#[test]
fn request_heads() {
    replay("request_head");
}

#[test]
fn response_heads() {
    replay("response_head");
}

#[test]
fn chunked_bodies() {
    replay("chunked_body");
}

#[test]
fn conversations() {
    replay("conversation");
}

#[test]
fn proxy_headers() {
    replay("proxy_header");
}

#[test]
fn client_hellos() {
    replay("client_hello");
}

fn replay(target: &str) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut seeds: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    seeds.sort();
    assert!(seeds.len() >= 25, "only {} seeds for {target}", seeds.len());
    let failed: Vec<_> = seeds.iter().filter_map(|seed| replay_one(seed, target)).collect();
    assert!(failed.is_empty(), "promises broken by\n{}", failed.join("\n"));
}

/// The first input made from this seed that broke a promise.
fn replay_one(seed: &Path, target: &str) -> Option<String> {
    let bytes = fs::read(seed).unwrap();
    let holds = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| checks::run(target, input))).is_ok();
    // Long seeds are long for the sake of a limit; a sample of their bytes will do.
    let step = 1 + bytes.len() / 512;
    let cut_short = (0..=bytes.len()).rev().step_by(step).map(|end| bytes[..end].to_vec());
    let changed = (0..bytes.len()).step_by(step).flat_map(|at| {
        STUMBLING_BLOCKS.iter().map({
            let bytes = &bytes;
            move |&block| {
                let mut changed = bytes.clone();
                changed[at] = block;
                changed
            }
        })
    });
    let breaks = cut_short.chain(changed).find(|input| !holds(input))?;
    Some(format!(
        "{}: {:?}",
        seed.file_name().unwrap_or_default().display(),
        String::from_utf8_lossy(&breaks)
    ))
}
