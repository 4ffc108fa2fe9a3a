//! Out of descriptors: what is open goes on, nothing new comes in for a while, and it is said once.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use crate::layer4::{Server, connect};
use crate::support::process::evenkeel;
use crate::support::{Backend, Client, Evenkeel, SOON, eventually, get};

const LIMIT: [&str; 1] = ["the limit of client connections"];
/// Whichever lacks one first: a client to be accepted, or a backend to be reached.
const SHORTAGE: [&str; 2] = ["Too many open files", "no descriptor is left for connections to backends"];

/// Runs with so few descriptors in all.
fn with_descriptors(count: usize, arguments: &[&str]) -> Evenkeel {
    let plain = evenkeel();
    let mut command = std::process::Command::new("sh");
    command.env_remove("PROXY_PORT").stdin(std::process::Stdio::null());
    command.args(["-c", &format!("ulimit -n {count}; exec \"$0\" \"$@\"")]).arg(plain.get_program());
    command.args(["--listen", "127.0.0.1:0"]).args(arguments);
    if !arguments.contains(&"tcp") {
        command.args(["--backend-idle-timeout", "100ms"]);
    }
    Evenkeel::run(command)
}

/// Opens connections and asks on each; those that were answered, and those that wait.
fn crowd(balancer: &Evenkeel, count: usize) -> (Vec<Client>, Vec<Client>) {
    let (mut inside, mut waiting) = (Vec::new(), Vec::new());
    for _ in 0..count {
        if waiting.len() >= 3 {
            waiting.push(waiting_client(balancer));
            continue;
        }
        let mut client = Client::connect(balancer.address);
        let _ = client.stream().set_read_timeout(Some(Duration::from_millis(300)));
        let answer = client.get("/");
        let _ = client.stream().set_read_timeout(Some(SOON));
        match answer {
            Ok(response) if response.status == 200 => inside.push(client),
            // There was none for a backend, and it is closed.
            Ok(_) => waiting.push(waiting_client(balancer)),
            Err(_) => waiting.push(client),
        }
    }
    (inside, waiting)
}

fn waiting_client(balancer: &Evenkeel) -> Client {
    let client = Client::connect(balancer.address);
    let _ = client.stream().set_read_timeout(Some(Duration::from_millis(10)));
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("send");
    client
}

/// Who is inside is answered; in a `short`age perhaps by us, and is then no longer inside.
#[track_caller]
fn stays(client: &mut Client, short: bool) -> bool {
    let response = client.get("/").expect("those inside go on");
    if short && response.status == 503 {
        assert!(response.closes(), "its descriptor is needed");
        return false;
    }
    assert_eq!(response.status, 200);
    true
}

/// The fewest descriptors of a running balancer: without a check of the backend that is just under way.
fn at_rest(balancer: &Evenkeel) -> (usize, usize) {
    assert_eq!(get(balancer.address, "/").expect("it serves").status, 200);
    let (mut least, mut looks) = ((usize::MAX, usize::MAX), 0);
    eventually(SOON, "some looks", || {
        let (others, pipes) = balancer.descriptors();
        least = (least.0.min(others), least.1.min(pipes));
        looks += 1;
        looks > 50
    });
    least
}

#[track_caller]
fn assert_lives_through_it(balancer: &Evenkeel, backend: &Backend, whys: &[&str]) {
    let short = whys == SHORTAGE;
    let before = at_rest(balancer);
    let (mut inside, mut waiting) = crowd(balancer, 100);
    assert!(inside.len() > 10 && waiting.len() > 10, "{} inside, {} wait", inside.len(), waiting.len());
    for _ in 0..3 {
        inside.retain_mut(|client| stays(client, short));
    }
    let warnings = || balancer.lines().iter().filter(|l| l.contains("not accepting connections")).count();
    eventually(SOON, "it says so", || warnings() > 0);
    // Several further tries to accept.
    std::thread::sleep(Duration::from_millis(500));
    let said: usize = whys.iter().map(|why| balancer.lines_with(why, "accepting")).sum();
    assert_eq!((warnings(), said), (1, 1), "{:?}", balancer.lines());
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
                assert!(response.closes(), "its descriptor is needed");
                *client = waiting_client(balancer);
                true
            }
            Err(e) => e.kind() == std::io::ErrorKind::WouldBlock || panic!("{e}"),
        });
        waiting.is_empty()
    });
    inside.retain_mut(|client| stays(client, short));
    drop(inside);
    eventually(SOON, "it serves as before", || get(balancer.address, "/").is_ok_and(|r| r.status == 200));
    // Kept connections to the backend end a moment later.
    eventually(SOON, "every descriptor is back", || {
        let (others, pipes) = balancer.descriptors();
        others <= before.0 && pipes <= before.1
    });
    assert_eq!(warnings(), 1, "{:?}", balancer.lines());
    assert_eq!(balancer.lines_with(&backend.url(), "down"), 0, "it is not the backend that failed");
    let counts = &balancer.status()["counts"];
    assert_eq!(counts["retries"], counts["idle_races_won"], "what lacked a descriptor was never sent again");
}

#[test]
fn few_descriptors_bound_the_connections_and_leave_room_for_backends() {
    let backend = Backend::named("a");
    for workers in ["1", "4"] {
        let flags = ["--workers", workers, "--health-check-interval", "100ms", "--backends", &backend.url()];
        let balancer = with_descriptors(100, &flags);
        assert_lives_through_it(&balancer, &backend, &LIMIT);
    }
}

#[test]
fn accepting_pauses_when_the_last_descriptor_is_gone() {
    let backend = Backend::named("a");
    let flags = ["--workers", "2", "--health-check-interval", "100ms", "--max-connections", "1000"];
    let balancer = with_descriptors(64, &[&flags[..], &["--backends", &backend.url()]].concat());
    eventually(SOON, "it warns of it", || balancer.lines_with("max_connections 1000", "descriptors") == 1);
    assert_lives_through_it(&balancer, &backend, &SHORTAGE);
}

#[test]
fn in_tcp_mode_whoever_is_let_in_has_a_descriptor_for_the_backend_too() {
    let server = Server::echo();
    let flags = ["--mode", "tcp", "--health-check", "none", "--backends"];
    let balancer = with_descriptors(400, &[&flags[..], &[&server.url()]].concat());
    let mut clients: Vec<_> = (0..250).map(|_| connect(balancer.address)).collect();
    eventually(SOON, "no more are let in", || balancer.lines_with(LIMIT[0], "warn") == 1);
    for client in &mut clients {
        client.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
        client.write_all(b"x").expect("taken");
    }
    let reset = clients.iter_mut().filter_map(|client| client.read(&mut [0]).err());
    let reset = reset.filter(|error| error.kind() == std::io::ErrorKind::ConnectionReset).count();
    assert_eq!(reset, 0);
    assert!(server.connections() > 150, "{}", server.connections());
}

#[test]
fn readers_of_much_that_take_nothing_leave_descriptors_for_others() {
    let server = Server::start(|mut stream| {
        loop {
            stream.write_all(&[7; 1 << 16])?;
        }
    });
    let flags = ["--mode", "tcp", "--health-check", "none", "--backends"];
    let balancer = with_descriptors(400, &[&flags[..], &[&server.url()]].concat());
    let begun = || {
        let mut client = connect(balancer.address);
        client.read_exact(&mut [0; 1000]).map(|()| client)
    };
    let slow: Vec<_> = (0..100).map(|_| begun().expect("it begins")).collect();
    let descriptors = || std::fs::read_dir(format!("/proc/{}/fd", balancer.id())).expect("them").count();
    let mut seen = (descriptors(), Instant::now());
    eventually(SOON, "all are full", || {
        let now = descriptors();
        if now != seen.0 {
            seen = (now, Instant::now());
        }
        seen.1.elapsed() > Duration::from_millis(500)
    });
    (0..60).for_each(|_| drop(begun().expect("one more")));
    drop(slow);
}
