//! What is counted of listeners and routes, and whose it is after a reload.

use super::gauges::{routed, sum};
use super::metrics::scrape;
use super::{Admin, gated};
use crate::support::{Backend, Client, Port, SOON, eventually, get};

/// A listener's part of a file.
fn listener(name: &str, port: &Port) -> String {
    format!(
        "[[listener]]\nname = \"{name}\"\naddress = \"{}\"\npool = \"p\"\n\
         [[listener.route]]\nname = \"own\"\npath_prefix = \"/own\"\npool = \"p\"\n",
        port.address
    )
}

impl Admin {
    /// Puts such a file in force, but for its admin listener.
    #[track_caller]
    fn reload(&self, rest: &str) {
        let text = format!("[admin]\naddress = \"127.0.0.1:0\"\n{rest}");
        std::fs::write(self.file(), text).expect("write");
        let (status, told) = self.post("/api/reload", "");
        assert_eq!(status, 200, "{told}");
    }
}

#[test]
fn methods_classes_and_times_are_told_of_the_listener_and_the_route() {
    let fast = Backend::named("fast");
    let redirect =
        "[[listener.route]]\nname = \"away\"\npath = \"/away\"\nredirect = { location = \"/\" }\n[[pool]]";
    let file = routed("web", &fast, &fast.url()).replacen("[[pool]]", redirect, 1);
    let admin = Admin::start_with_file(&file);
    let mut client = Client::connect(admin.balancer.address);
    for target in ["/", "/", "/slow"] {
        assert_eq!(client.get(target).expect("a response").status, 200);
    }
    assert_eq!(client.post("/slow", "hello").expect("a response").status, 200);
    let away = client.exchange("HEAD", "HEAD /away HTTP/1.1\r\nHost: a\r\n\r\n").expect("a response");
    assert_eq!(away.status, 308);
    let refused = Client::connect(admin.balancer.address).exchange("GET", "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(refused.expect("a response").status, 400);
    let found = scrape(&admin);
    let of = |labels: &str, method: &str, class: &str| {
        let kind = if labels.contains("route") { "route" } else { "listener" };
        let labels = format!("{{{labels},method=\"{method}\",class=\"{class}\"}}");
        found.get(&format!("evenkeel_{kind}_requests_total{labels}")).copied()
    };
    let web = "listener=\"web\"";
    for (method, class, count) in [
        ("GET", "2xx", 3.0),
        ("POST", "2xx", 1.0),
        ("HEAD", "3xx", 1.0),
        ("other", "4xx", 1.0),
        ("PUT", "2xx", 0.0),
    ] {
        assert_eq!(of(web, method, class), Some(count), "{method} {class}");
    }
    let (slow, away) = ("listener=\"web\",route=\"slow\"", "listener=\"web\",route=\"away\"");
    assert_eq!((of(slow, "GET", "2xx"), of(slow, "POST", "2xx")), (Some(1.0), Some(1.0)));
    assert_eq!((of(away, "HEAD", "3xx"), of(away, "GET", "2xx")), (Some(1.0), Some(0.0)));
    assert_eq!(of(slow, "PUT", "2xx"), None, "it never came");
    let times = |labels: &str, kind: &str| found[&format!("evenkeel_{kind}_total_seconds_count{{{labels}}}")];
    assert_eq!((times(web, "listener"), times(slow, "route"), times(away, "route")), (4.0, 2.0, 0.0));
    let connect = |part: &str| sum(&found, &format!("evenkeel_backend_connect_seconds_{part}"));
    let made = sum(&found, "evenkeel_backend_connects_total");
    assert_eq!(connect("count"), made);
    assert!(made > 0.0 && (0.0..10.0).contains(&connect("sum")));
}

#[test]
fn counts_follow_the_name_and_what_is_open_stays_with_the_address() {
    let (slow, gate) = gated();
    let (one, other) = (Port::reserve(), Port::reserve());
    let pool = format!("[[pool]]\nname = \"p\"\n[[pool.backend]]\nurl = \"{}\"\n", slow.url());
    let file = |names: [&str; 2]| listener(names[0], &one) + &listener(names[1], &other) + &pool;
    let admin = Admin::start_with_file(&file(["a", "b"]));
    let answered = |address, target: &str| {
        gate.send(()).expect("the backend waits");
        let mut client = Client::connect(address);
        assert_eq!(client.get(target).expect("a response").status, 200);
        client
    };
    let _kept: Vec<Client> = (0..3).map(|_| answered(one.address, "/own")).collect();
    drop(answered(other.address, "/"));
    let mut under_way = Client::connect(one.address);
    under_way.send("GET /own HTTP/1.1\r\nHost: a\r\n\r\n").expect("send");
    let (_, _, framing) = under_way.head().expect("the head of the answer");
    let told = |name: &str, labels: &str| {
        scrape(&admin)[&format!("evenkeel_listener_{name}{{listener=\"{labels}}}")]
    };
    let gauges =
        |of: &str| (told("open_connections", &format!("{of}\"")), told("in_flight", &format!("{of}\"")));
    eventually(SOON, "they are told", || (gauges("a"), gauges("b")) == ((4.0, 1.0), (0.0, 0.0)));
    let counts = |of: &str| {
        let route = format!(
            "evenkeel_route_requests_total{{listener=\"{of}\",route=\"own\",method=\"GET\",class=\"2xx\"}}"
        );
        (told("connections_total", &format!("{of}\"")), scrape(&admin)[&route])
    };
    // What has an answer under way has been counted.
    assert_eq!((counts("a"), counts("b")), ((4.0, 4.0), (1.0, 0.0)));

    admin.reload(&file(["b", "a"]));
    assert_eq!((counts("a"), counts("b")), ((4.0, 4.0), (1.0, 0.0)), "swapped");
    assert_eq!((gauges("a"), gauges("b")), ((0.0, 0.0), (4.0, 1.0)), "open where it was");
    gate.send(()).expect("the backend waits");
    under_way.body(framing, &mut Default::default()).expect("the rest of the answer");
    drop(under_way);
    eventually(SOON, "its end is told", || (gauges("a"), gauges("b")) == ((0.0, 0.0), (3.0, 0.0)));
    drop(answered(other.address, "/own"));
    assert_eq!((counts("a"), counts("b")), ((5.0, 5.0), (1.0, 0.0)));

    // One is gone, and the other has its address; what comes back elsewhere has begun anew.
    let (alone, third) = (listener("a", &one) + &pool, Port::reserve());
    admin.reload(&alone);
    assert_eq!((counts("a"), gauges("a")), ((5.0, 5.0), (3.0, 0.0)));
    admin.reload(&(listener("a", &one) + &listener("b", &third) + &pool));
    assert_eq!((counts("a"), counts("b"), gauges("b")), ((5.0, 5.0), (0.0, 0.0), (0.0, 0.0)));
    // A new name goes on where its address was, but for what another one took along.
    admin.reload(&(listener("c", &one) + &listener("a", &third) + &pool));
    assert_eq!((counts("a"), counts("c"), gauges("c")), ((5.0, 5.0), (0.0, 0.0), (3.0, 0.0)));
    admin.reload(&(listener("c", &one) + &listener("d", &third) + &pool));
    assert_eq!((counts("c"), counts("d")), ((0.0, 0.0), (5.0, 5.0)));
    assert_eq!(admin.json("/api/status")["listeners"][1]["address"], third.address.to_string());
    // Its name is back where nobody counted by it: what it had counted is another's now.
    let fourth = Port::reserve();
    admin.reload(&(listener("c", &one) + &listener("d", &third) + &listener("a", &fourth) + &pool));
    assert_eq!((counts("a"), counts("d")), ((0.0, 0.0), (5.0, 5.0)));
}

#[test]
fn a_route_without_a_name_counts_on_when_its_listener_is_renamed() {
    let backend = Backend::named("a");
    let pool = format!("[[pool]]\nname = \"p\"\n[[pool.backend]]\nurl = \"{}\"\n", backend.url());
    let port = Port::reserve();
    let file = |name: &str| listener(name, &port).replace("name = \"own\"\n", "") + &pool;
    let admin = Admin::start_with_file(&file("web"));
    let count = |name: &str| {
        let labels = format!("listener=\"{name}\",route=\"{name}/1\",method=\"GET\",class=\"2xx\"");
        scrape(&admin).get(&format!("evenkeel_route_requests_total{{{labels}}}")).copied()
    };
    assert_eq!(get(port.address, "/own").expect("a response").status, 200);
    assert_eq!(count("web"), Some(1.0));
    admin.reload(&file("www"));
    assert_eq!((count("www"), count("web")), (Some(1.0), None));
}

#[test]
fn answers_of_our_own_count_with_their_bytes_at_the_route_and_where_one_was_chosen_at_the_pool() {
    let (backend, dead) = (Backend::named("a"), Port::reserve());
    let route = |name: &str, does: &str| {
        format!("[[listener.route]]\nname = \"{name}\"\npath_prefix = \"/{name}\"\n{does}\n")
    };
    let file = format!(
        "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\npool = \"alive\"\n{}{}{}{}{}\
         [[pool]]\nname = \"dead\"\n[[pool.backend]]\nurl = \"{}\"\n\
         [[pool]]\nname = \"alive\"\n[[pool.backend]]\nurl = \"{}\"\n",
        route("away", "redirect = { location = \"https://a.example/\" }"),
        route("said", "respond = { status = 410, body = \"gone\" }"),
        route("dead", "pool = \"dead\""),
        route("once", "pool = \"alive\"\nrate_limit = { requests = 1, per = \"1h\", burst = 1 }"),
        route("live", "pool = \"alive\""),
        dead.address,
        backend.url(),
    );
    let admin = Admin::start_with_file(&file);
    let mut client = Client::connect(admin.balancer.address);
    for (path, status) in [("away", 308), ("said", 410), ("once", 200), ("once", 429), ("live", 200)] {
        assert_eq!(client.get(&format!("/{path}")).expect("a response").status, status, "{path}");
    }
    assert_eq!(client.post("/dead", "hello").expect("a response").status, 503);
    assert_eq!(client.post("/live", "hello").expect("a response").status, 200);
    let found = scrape(&admin);
    let of = |name: &str, labels: &str| found[&format!("evenkeel_{name}_bytes_total{{{labels}}}")];
    let route =
        |name: &str, way: &str| of(&format!("route_{way}"), &format!("listener=\"web\",route=\"{name}\""));
    for way in ["sent", "received"] {
        let routes = ["away", "said", "dead", "once", "live"].map(|name| route(name, way));
        assert!(routes.iter().all(|&bytes| bytes > 20.0), "{way} {routes:?}");
        let listener = of(&format!("listener_{way}"), "listener=\"web\"");
        assert_eq!(routes.iter().sum::<f64>(), listener, "{way} {routes:?}");
        assert_eq!(sum(&found, &format!("evenkeel_worker_{way}_bytes_total")), listener);
        assert_eq!(of(&format!("pool_{way}"), "pool=\"dead\""), route("dead", way));
        let alive = of(&format!("pool_{way}"), "pool=\"alive\"");
        assert!(alive > route("live", way) && alive < route("live", way) + route("once", way));
    }
    // What took no route is the listener's alone.
    assert_eq!(client.get("/nowhere").expect("a response").status, 200);
    let after = scrape(&admin);
    assert!(
        after["evenkeel_listener_sent_bytes_total{listener=\"web\"}"]
            > of("listener_sent", "listener=\"web\"")
    );
    let name = "evenkeel_route_sent_bytes_total";
    assert_eq!(sum(&after, name), sum(&found, name));
}

/// As with pipelined requests: the last bytes of an answer wait until the client reads.
#[test]
fn what_a_slow_client_takes_after_the_end_of_the_exchange_counts_at_its_route_and_pool() {
    const REQUESTS: usize = 2_000;
    let backend = Backend::start(|_, reply| reply.ok(&"x".repeat(10_000)));
    let admin = Admin::start_with_file(&routed("web", &backend, &backend.url()));
    let mut client = Client::connect(admin.balancer.address);
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n".repeat(REQUESTS)).expect("send");
    let answered = || sum(&scrape(&admin), "evenkeel_route_requests_total");
    let stands_still = || {
        let now = answered();
        now > 0.0 && (0..5).all(|_| answered() == now)
    };
    eventually(SOON, "it waits for the client", stands_still);
    assert!(answered() < REQUESTS as f64);
    for _ in 0..REQUESTS {
        assert_eq!(client.response("GET").expect("a response").body.bytes.len(), 10_000);
    }
    let found = scrape(&admin);
    let listener = found["evenkeel_listener_sent_bytes_total{listener=\"web\"}"];
    assert_eq!(found["evenkeel_route_sent_bytes_total{listener=\"web\",route=\"slow\"}"], listener);
    assert_eq!(found["evenkeel_pool_sent_bytes_total{pool=\"slow\"}"], listener);
}
