//! Heads: reading them strictly, writing them anew, and both as an exchange does it.

mod rules;
mod samples;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use evenkeel::config::Statuses;
use evenkeel::exchange::{Exchange, Taking};
use evenkeel::limits;
use evenkeel::proto::h1::edits::{Changes, Edits};
use evenkeel::proto::h1::request::{Request, fields};
use evenkeel::proto::h1::response::{Connection, Response};
use evenkeel::proto::h1::scan::end_of_head;
use rules::{FORWARDED, rules};

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    for (name, head) in [("small-get", samples::SMALL), ("browser-get", samples::BROWSER)] {
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                let head = black_box(head);
                let end = end_of_head(head, 0).expect("well formed").expect("complete");
                let mut space = fields();
                let request = Request::parse(&head[..end], &mut space).expect("well formed");
                black_box((request.framing, request.persistent()))
            });
        });
    }
    group.throughput(Throughput::Bytes(samples::RESPONSE.len() as u64));
    group.bench_function("response", |b| {
        b.iter(|| {
            let head = black_box(samples::RESPONSE);
            let end = end_of_head(head, 0).expect("well formed").expect("complete");
            let mut space = fields();
            let response = Response::parse(&head[..end], false, &mut space).expect("well formed");
            black_box((response.framing, response.persistent()))
        });
    });
    group.finish();
}

fn write(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    let mut out = Vec::with_capacity(limits::LARGE_BUFFER);
    for (name, head) in [("small-get", samples::SMALL), ("browser-get", samples::BROWSER)] {
        let mut space = fields();
        let request = Request::parse(head, &mut space).expect("well formed");
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                black_box(&request).write(black_box(&FORWARDED), &Changes::NONE, &mut out);
                black_box(out.len())
            });
        });
    }
    let end = end_of_head(samples::RESPONSE, 0).expect("well formed").expect("complete");
    let mut space = fields();
    let response = Response::parse(&samples::RESPONSE[..end], false, &mut space).expect("well formed");
    group.bench_function("response", |b| {
        b.iter(|| {
            out.clear();
            black_box(&response).write(response.framing, Connection::Kept, &Edits::default(), b"", &mut out);
            black_box(out.len())
        });
    });
    group.finish();
}

fn exchange(c: &mut Criterion) {
    let mut group = c.benchmark_group("exchange");
    let mut out = Vec::with_capacity(limits::LARGE_BUFFER);
    for (name, head) in [("open-small-get", samples::SMALL), ("open-browser-get", samples::BROWSER)] {
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                let opened = Exchange::open(black_box(head), &rules(), &mut out);
                black_box(opened.expect("well formed"))
            });
        });
    }
    group.bench_function("request-and-response", |b| {
        b.iter(|| {
            out.clear();
            let opened = Exchange::open(black_box(samples::SMALL), &rules(), &mut out);
            let mut exchange = opened.expect("well formed").exchange;
            exchange.request(b"", &mut out).expect("no body");
            out.clear();
            let taking = Taking { keep: true, edits: &Edits::default(), added: b"", again: &Statuses::NONE };
            let took = exchange.response(black_box(samples::RESPONSE), 0, &taking, &mut out);
            black_box((took.expect("well formed"), exchange.keeps_upstream()))
        });
    });
    group.finish();
}

criterion_group!(benches, parse, write, exchange);
criterion_main!(benches);
