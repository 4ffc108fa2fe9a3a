//! Bytes are counted alike at the listener, the route, the pool and the backend, and once.

use std::io::Write;
use std::net::Shutdown;

use super::names::hello;
use super::{Server, connect, rest};
use crate::admin::Admin;
use crate::admin::metrics::scrape;
use crate::support::{Backend, Client, SOON, eventually};

const HEADER: &[u8] = b"PROXY TCP4 192.0.2.77 198.51.100.1 7777 443\r\n";

fn received(of: &str, labels: &str) -> String {
    format!("evenkeel_{of}_received_bytes_total{{{labels}}}")
}

/// Waits until each count is what it should be.
#[track_caller]
fn counts(admin: &Admin, right: &[(String, usize)]) {
    let wrong = || {
        let found = scrape(admin);
        let wrong = |(name, right): &&(String, usize)| found.get(name).copied() != Some(*right as f64);
        right
            .iter()
            .filter(wrong)
            .map(|(name, right)| format!("{name} {:?}, not {right}", found.get(name)))
            .collect()
    };
    let mut last: Vec<String> = Vec::new();
    eventually(SOON, "the counts are right", || {
        last = wrong();
        if !last.is_empty() {
            eprintln!("{last:?}");
        }
        last.is_empty()
    });
}

#[test]
fn a_client_hello_is_its_backends_and_a_header_that_was_taken_off_is_not() {
    let (named, other) = (Server::echo(), Server::echo());
    let pool = |name: &str, server: &Server| {
        format!(
            "[[pool]]\nname = \"{name}\"\nhealth.kind = \"none\"\nbackend = [{{ url = \"{}\" }}]\n",
            server.url()
        )
    };
    let listener = "[[listener]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\nmode = \"tcp\"\npool = \"other\"\n\
        proxy_protocol = \"require\"\nproxy_from = [\"127.0.0.0/8\"]\n[[listener.route]]\nname = \"example\"\n\
        sni = [\"example.com\"]\npool = \"named\"\n";
    let admin =
        Admin::start_with_file(&format!("{listener}{}{}", pool("named", &named), pool("other", &other)));
    // The first comes in pieces, the second is large enough to go without a copy.
    let rest_of = [vec![b'a'; 500], vec![b'b'; 3_000_000], vec![b'c'; 70]];
    let names = ["example.com", "example.com", "example.org"];
    for (name, more) in names.into_iter().zip(&rest_of) {
        let said = [hello(name.as_bytes()), more.clone()].concat();
        let mut client = connect(admin.balancer.address);
        let mut to = client.try_clone().expect("the same");
        let whole = [HEADER, &said[..]].concat();
        let (first, last) = whole.split_at(90);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                first.chunks(7).for_each(|piece| to.write_all(piece).expect("written"));
                to.write_all(last).expect("written");
                to.shutdown(Shutdown::Write).expect("shutdown");
            });
            assert!(rest(&mut client).expect("all of it") == said);
        });
    }
    let sizes: Vec<usize> = (0..3).map(|i| hello(names[i].as_bytes()).len() + rest_of[i].len()).collect();
    let (by_name, by_default) = (sizes[0] + sizes[1], sizes[2]);
    let backend = |pool: &str, server: &Server| format!("pool=\"{pool}\",backend=\"{}\"", &server.url()[7..]);
    let both = |of: &str, labels: &str, bytes: usize| {
        [(received(of, labels), bytes), (received(of, labels).replace("received", "sent"), bytes)]
    };
    let mut right = vec![
        (received("listener", "listener=\"tls\""), by_name + by_default + 3 * HEADER.len()),
        (received("listener", "listener=\"tls\"").replace("received", "sent"), by_name + by_default),
    ];
    right.extend(both("route", "listener=\"tls\",route=\"example\"", by_name));
    right.extend(both("pool", "pool=\"named\"", by_name));
    right.extend(both("pool", "pool=\"other\"", by_default));
    right.extend(both("backend", &backend("named", &named), by_name));
    right.extend(both("backend", &backend("other", &other), by_default));
    counts(&admin, &right);
}

#[test]
fn heads_bodies_and_what_comes_behind_them_are_counted_once() {
    let backend = Backend::named("a");
    let listener = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n[[listener.route]]\nname = \"all\"\n\
        path_prefix = \"/\"\npool = \"p\"\n[[pool]]\nname = \"p\"\n";
    let admin = Admin::start_with_file(&format!("{listener}[[pool.backend]]\nurl = \"{}\"\n", backend.url()));
    let mut client = Client::connect(admin.balancer.address);
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let head = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "5\r\nhello\r\n6;a=b\r\n world\r\n0\r\n\r\n";
    let mut sent = 0;
    // A head alone, one in two pieces, several requests in one piece, and a body that comes with the next request.
    for (pieces, answers) in [
        (vec![get.to_owned()], vec!["GET"]),
        (vec![get[..9].to_owned(), get[9..].to_owned()], vec!["GET"]),
        (vec![format!("{get}{head}{body}{get}")], vec!["GET", "POST", "GET"]),
        (
            vec![head.to_owned(), format!("{body}{get}{head}{}", &body[..7]), body[7..].to_owned()],
            vec!["POST", "GET", "POST"],
        ),
    ] {
        let requests = backend.requests();
        for piece in pieces {
            client.send(&piece).expect("sent");
            sent += piece.len();
            let total = "evenkeel_worker_received_bytes_total";
            eventually(SOON, "it has come", || {
                let found = scrape(&admin);
                found
                    .iter()
                    .filter(|(name, _)| name.starts_with(total))
                    .map(|(_, n)| *n as usize)
                    .sum::<usize>()
                    == sent
            });
        }
        for method in &answers {
            assert_eq!(client.response(method).expect("an answer").text(), "a");
        }
        assert_eq!(backend.requests(), requests + answers.len());
    }
    counts(
        &admin,
        &[
            (received("listener", "listener=\"web\""), sent),
            (received("route", "listener=\"web\",route=\"all\""), sent),
            (received("pool", "pool=\"p\""), sent),
        ],
    );
}
