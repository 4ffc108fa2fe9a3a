//! Out of descriptors: what is open goes on, nothing new comes in for a while, and it is said once.

use std::time::Duration;

use crate::support::process::evenkeel;
use crate::support::{Backend, Client, Evenkeel, SOON, eventually, get};

/// What the kernel says when there are none left.
const SHORTAGE: &str = "Too many open files";

/// Runs with so few descriptors in all.
fn with_descriptors(count: usize, arguments: &[&str]) -> Evenkeel {
    let plain = evenkeel();
    let mut command = std::process::Command::new("sh");
    command.env_remove("PROXY_PORT").stdin(std::process::Stdio::null());
    command.args(["-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\"")]).arg(plain.get_program());
    command.args(["--listen", "127.0.0.1:0", "--backend-idle-timeout", "100ms"]).args(arguments);
    Evenkeel::run(command)
}

/// Opens connections and asks on each; those that were answered, and those that wait.
fn crowd(balancer: &Evenkeel, count: usize) -> (Vec<Client>, Vec<Client>) {
    let (mut inside, mut waiting) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let mut client = Client::connect(balancer.address);
        let _ = client.stream().set_read_timeout(Some(Duration::from_millis(300)));
        let answered = waiting.len() < 3 && client.get("/").is_ok_and(|response| response.status == 200);
        if !answered && waiting.len() >= 3 {
            client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
        }
        let _ = client.stream().set_read_timeout(Some(SOON));
        if answered { inside.push(client) } else { waiting.push(client) }
    }
    (inside, waiting)
}

/// Who is inside is served; where there is `short`age, perhaps only when another has let go of a descriptor.
#[track_caller]
fn assert_goes_on(client: &mut Client, short: bool) {
    eventually(SOON, "those inside go on", || {
        let status = client.get("/").expect("those inside stay").status;
        assert!(status == 200 || (short && status == 503), "{status}");
        status == 200
    });
}

#[track_caller]
fn assert_lives_through_it(balancer: &Evenkeel, backend: &Backend, why: &str) {
    let short = why == SHORTAGE;
    let before = balancer.descriptors();
    let (mut inside, mut waiting) = crowd(balancer, 100);
    assert!(inside.len() > 10 && waiting.len() > 10, "{} inside, {} wait", inside.len(), waiting.len());
    for _ in 0..3 {
        inside.iter_mut().for_each(|client| assert_goes_on(client, short));
    }
    let warnings = || balancer.lines().iter().filter(|l| l.contains("not accepting connections")).count();
    eventually(SOON, "it says so", || warnings() > 0);
    // Several further tries to accept.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!((warnings(), balancer.lines_with(why, "accepting")), (1, 1), "{:?}", balancer.lines());
    inside.truncate(inside.len() / 2);
    for client in &waiting {
        let _ = client.stream().set_read_timeout(Some(Duration::from_millis(10)));
    }
    // In which order is the kernel's business.
    eventually(SOON, "those that waited are served", || {
        waiting.retain_mut(|client| match client.response("GET") {
            Ok(response) if response.status == 200 => false,
            // Taken in with the last descriptor, there was none for a backend.
            Ok(response) => {
                assert_eq!(response.status, 503, "{}", response.text());
                client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
                true
            }
            Err(e) => e.kind() == std::io::ErrorKind::WouldBlock || panic!("{e}"),
        });
        waiting.is_empty()
    });
    inside.iter_mut().for_each(|client| assert_goes_on(client, short));
    drop(inside);
    eventually(SOON, "it serves as before", || get(balancer.address, "/").is_ok_and(|r| r.status == 200));
    // Kept connections to the backend end a moment later.
    eventually(SOON, "every descriptor is back", || balancer.descriptors() == before);
    assert_eq!(warnings(), 1, "{:?}", balancer.lines());
    assert_eq!(balancer.lines_with(&backend.url(), "down"), 0, "it is not the backend that failed");
}

#[test]
fn few_descriptors_bound_the_connections_and_leave_room_for_backends() {
    let backend = Backend::named("a");
    for workers in ["1", "4"] {
        let flags = ["--workers", workers, "--health-check-interval", "100ms", "--backends", &backend.url()];
        let balancer = with_descriptors(100, &flags);
        assert_lives_through_it(&balancer, &backend, "the limit of client connections");
    }
}

#[test]
fn accepting_pauses_when_the_last_descriptor_is_gone() {
    let backend = Backend::named("a");
    let flags = ["--workers", "2", "--health-check-interval", "100ms", "--max-connections", "1000"];
    let balancer = with_descriptors(64, &[&flags[..], &["--backends", &backend.url()]].concat());
    assert_lives_through_it(&balancer, &backend, SHORTAGE);
}
