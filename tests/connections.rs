//! Ten thousand open connections change nothing.

use crate::support::{Backend, Client, Evenkeel, list, many_open_files};

const MANY: usize = 10_000;
/// What the process may need for each idle connection, the allocator's slack and its growth steps included.
const MEMORY_EACH: u64 = 2048;

/// How many connections fit.
fn affordable(files: usize) -> usize {
    let many = MANY.min(files.saturating_sub(2_000));
    if many < MANY {
        eprintln!("only {many} connections: the hard limit of open files is {files}");
    }
    many
}

#[test]
fn ten_thousand_open_connections_change_nothing() {
    let (_turn, files) = many_open_files();
    let many = affordable(files);
    let backends = [Backend::named("a"), Backend::named("b")];
    let balancer = Evenkeel::start(&["--workers", "2", "--backends", &list(&backends)]);
    Client::connect(balancer.address).get("/").expect("a response");
    let before = balancer.peak_memory();
    let mut open: Vec<Client> = Vec::with_capacity(many);
    for i in 0..many {
        let mut client = Client::connect(balancer.address);
        client.reset_on_close();
        let response = client.get("/").unwrap_or_else(|e| panic!("connection {i}: {e}"));
        assert!(!response.closes());
        open.push(client);
    }
    let grown = balancer.peak_memory() - before;
    assert!(grown < many as u64 * MEMORY_EACH, "grown by {grown} bytes for {many} connections");

    for _ in 0..1_000 {
        let mut client = Client::connect(balancer.address);
        client.reset_on_close();
        assert_eq!(client.get("/").expect("a new connection is served").status, 200);
    }
    for client in open.iter_mut().step_by(7) {
        assert_eq!(client.get("/").expect("an old connection lives").status, 200);
    }
    let counts = backends.iter().map(Backend::requests).collect::<Vec<_>>();
    assert!(counts[0].abs_diff(counts[1]) <= 1, "still exact shares: {counts:?}");
}
