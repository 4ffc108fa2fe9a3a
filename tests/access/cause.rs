//! The cause of an error reply in a header: the word of the log, and nobody else's.

use super::Place;
use crate::reload::{Live, listener, pool};
use crate::support::raw::{read_head, serve_raw};
use crate::support::{Backend, Client, Port, Response, SOON, get};

const NAME: &str = "X-Why";

fn cause(response: &Response) -> Vec<&str> {
    response.head.all(NAME)
}

/// Answers with what says of itself that it is a cause.
fn pretending() -> Backend {
    Backend::start(|_, reply| {
        reply
            .send("HTTP/1.1 503 Sorry\r\nx-why: no-backend\r\nX-WHY: no-route\r\nContent-Length: 2\r\n\r\nhi")
    })
}

/// Routes that each fail in a way of their own.
fn routes(place: &Place) -> (String, Port) {
    let closing = serve_raw(|stream| drop(read_head(&stream)));
    let silent = serve_raw(|stream| {
        let _ = read_head(&stream);
        std::thread::park_timeout(SOON);
    });
    let garbled = serve_raw(|mut stream| {
        let _ = read_head(&stream);
        let _ = std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n");
    });
    let refused = Port::reserve();
    let mut text = format!(
        "workers = 1\ncause_header = \"{NAME}\"\nlimits = {{ max_connections_per_client = 8, max_body = \"1k\" }}\n\
         timeouts = {{ head = \"300ms\" }}\n\
         [access_log]\npath = \"{}\"\nformat = \"json\"\n[[listener]]\nname = \"a\"\naddress = \"127.0.0.1:0\"\npool = \"refused\"\n",
        place.path("a.log")
    );
    for (path, more) in
        [("refused", ""), ("closing", ""), ("silent", "timeouts = { response = \"200ms\" }"), ("garbled", "")]
    {
        text += &format!("[[listener.route]]\npath = \"/{path}\"\npool = \"{path}\"\n{more}\n");
    }
    text += "[[listener.route]]\npath = \"/few\"\npool = \"refused\"\nrate_limit = { requests = 1, per = \"1h\", burst = 1 }\n\
             [[listener.route]]\npath = \"/own\"\nrespond = { status = 404 }\n";
    let backends = [
        ("refused", refused.address.to_string()),
        ("closing", closing.to_string()),
        ("silent", silent.to_string()),
        ("garbled", garbled.to_string()),
    ];
    for (name, url) in backends {
        text += &format!(
            "[[pool]]\nname = \"{name}\"\nhealth = {{ kind = \"none\" }}\nretry = {{ retries = 0 }}\nejection = {{ max_fails = 0, fail_rate = 0 }}\n\
             [[pool.backend]]\nurl = \"{url}\"\n"
        );
    }
    (text, refused)
}

#[test]
fn the_header_says_what_the_access_log_says() {
    let place = Place::new();
    let (text, _refused) = routes(&place);
    let live = Live::start(&text);
    let address = live.balancer.address;
    let mut seen = Vec::new();
    let mut ask = |client: &mut Client, target: &str, head: &str, status: u16| {
        client.send(head).expect("send");
        let method = if head.starts_with("HEAD") { "HEAD" } else { "GET" };
        let response = client.response(method).unwrap_or_else(|e| panic!("{target}: {e}"));
        assert_eq!(response.status, status, "{target}");
        let [cause] = cause(&response)[..] else { panic!("{target}: {:?}", response.head) };
        seen.push((target.to_owned(), u64::from(status), cause.to_owned()));
    };
    let refusals = ["/refused", "/closing", "/silent", "/garbled"].into_iter();
    for (target, status) in refusals.zip([503, 502, 504, 502]) {
        let client = &mut Client::connect(address);
        ask(client, target, &format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"), status);
        ask(client, target, &format!("HEAD {target} HTTP/1.1\r\nHost: h\r\n\r\n"), status);
    }
    let client = &mut Client::connect(address);
    for status in [503, 429] {
        ask(client, "/few", "GET /few HTTP/1.1\r\nHost: h\r\n\r\n", status);
    }
    ask(client, "/twice", "GET /twice HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400);
    let long = "POST /long HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n";
    ask(&mut Client::connect(address), "/long", long, 413);
    ask(&mut Client::connect(address), "/part", "GET /part HTTP/1.1\r\nHost:", 408);
    let lines = place.await_json("a.log", seen.len());
    let logged = |line: &serde_json::Value| {
        let target = line["target"].as_str().expect("a target").to_owned();
        (target, line["status"].as_u64().expect("a status"), line["cause"].as_str().unwrap_or("-").to_owned())
    };
    assert_eq!(lines.iter().map(logged).collect::<Vec<_>>(), seen);
    let mut kinds: Vec<&str> = seen.iter().map(|(_, _, cause)| cause.as_str()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    assert_eq!(kinds.len(), 8, "{kinds:?}");
    let fixed = get(address, "/own").expect("a response");
    assert_eq!((fixed.status, cause(&fixed)), (404, vec![]), "no error of ours");
}

#[test]
fn a_client_with_too_many_connections_is_told_so() {
    let place = Place::new();
    let (text, _refused) = routes(&place);
    let live = Live::start(&text);
    let from = "127.0.0.9".parse().expect("an address");
    let connect = || Client::try_connect_from(from, live.balancer.address).expect("a connection");
    let mut clients: Vec<Client> = (0..8).map(|_| connect()).collect();
    clients.iter_mut().for_each(|client| drop(client.get("/own").expect("a response")));
    let refused = connect().response("GET").expect("a response");
    assert_eq!((refused.status, cause(&refused)), (429, vec!["too-many-connections"]));
}

#[test]
fn a_backend_cannot_speak_for_us_and_a_reload_turns_it_on_and_off() {
    let a = pretending();
    let text = listener("web", "one") + &pool("one", [&a]);
    let live = Live::start(&text);
    let ask = || get(live.balancer.address, "/").expect("a response");
    let refused = || {
        let mut client = Client::connect(live.balancer.address);
        client.send("GET / HTTP/9.9\r\n\r\n").expect("send");
        client.response("GET").expect("a response")
    };
    assert_eq!(cause(&ask()), ["no-backend", "no-route"], "off, it is a header like any other");
    assert_eq!(cause(&refused()), [""; 0]);
    let said = live.reload(&format!("cause_header = \"{NAME}\"\n{text}"));
    assert!(said.iter().any(|line| line.contains("reload: cause_header changed")), "{said:?}");
    let response = ask();
    assert_eq!((response.status, response.text().as_str(), cause(&response)), (503, "hi", vec![]));
    assert_eq!(cause(&refused()), ["bad-request"]);
    live.reload(&text);
    assert_eq!(cause(&ask()), ["no-backend", "no-route"]);
    assert_eq!(cause(&refused()), [""; 0]);
}
