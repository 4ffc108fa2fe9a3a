//! TCP's urgent data: what stands around it arrives at once.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use rustix::process::Signal;
use socket2::SockRef;

use super::ends::handing;
use super::{balancer, connect, rest};
use crate::support::{Backend, Client, Evenkeel, SOON};

/// Has the balancer find all of it at once: bytes, an urgent one, and bytes again.
fn say(balancer: &Evenkeel, mut from: &TcpStream, end: bool) {
    balancer.signal(Signal::STOP);
    from.write_all(b"ab").expect("taken by the kernel");
    SockRef::from(from).send_out_of_band(b"!").expect("taken by the kernel");
    from.write_all(b"cd").expect("taken by the kernel");
    if end {
        from.shutdown(Shutdown::Write).expect("shutdown");
    }
    balancer.signal(Signal::CONT);
}

#[test]
fn what_follows_urgent_data_does_not_wait_for_more_and_the_urgent_byte_is_left_out() {
    let (server, streams) = handing();
    let balancer = balancer(&server.url(), &["--workers", "1"]);
    let mut client = connect(balancer.address);
    let mut backend = streams.recv_timeout(SOON).expect("a connection");
    let mut heard = [0; 4];
    for _ in 0..3 {
        say(&balancer, &client, false);
        backend.read_exact(&mut heard).expect("all but the urgent byte");
        assert_eq!(&heard, b"abcd");
        say(&balancer, &backend, false);
        client.read_exact(&mut heard).expect("all but the urgent byte");
        assert_eq!(&heard, b"abcd");
    }
    say(&balancer, &client, true);
    assert_eq!(rest(&mut backend).expect("an end"), b"abcd");
}

#[test]
fn urgent_data_that_a_pipe_cannot_pass_do_not_stop_or_end_a_way_in_bulk() {
    let (server, streams) = handing();
    let balancer = balancer(&server.url(), &["--workers", "1"]);
    for end in [false, true] {
        for up in [true, false] {
            let mut client = connect(balancer.address);
            let mut backend = streams.recv_timeout(SOON).expect("a connection");
            let (from, to) = if up { (&mut client, &mut backend) } else { (&mut backend, &mut client) };
            let mut much = vec![7; 4 << 20];
            let mut sender = from.try_clone().expect("a second handle");
            let sending = std::thread::spawn(move || sender.write_all(&vec![7; 4 << 20]));
            to.read_exact(&mut much).expect("much");
            sending.join().expect("no panic").expect("written");
            say(&balancer, from, end);
            let mut heard = [0; 4];
            to.read_exact(&mut heard).expect("what stands around it");
            assert_eq!(&heard, b"abcd");
            if end {
                assert_eq!(rest(to).expect("an end"), b"");
            }
        }
    }
}

#[test]
fn an_upload_with_urgent_data_near_its_end_is_whole() {
    let backend = Backend::start(|request, reply| reply.ok(&request.body.length.to_string()));
    let balancer = Evenkeel::start(&["--workers", "1", "--backends", &backend.url()]);
    for _ in 0..20 {
        let mut client = Client::connect(balancer.address);
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", 300_000 + 4);
        client.send(head).expect("written");
        client.send(vec![b'x'; 300_000]).expect("written");
        say(&balancer, client.stream(), true);
        assert_eq!(client.response("POST").expect("a response").text(), "300004");
    }
}
