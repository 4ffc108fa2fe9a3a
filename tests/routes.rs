//! Routes, live: which one takes a request, and what it makes of it.

use std::time::Duration;

use crate::reload::{Live, listener, pool};
use crate::support::wire::Response;
use crate::support::{Backend, Client, Evenkeel, SOON, eventually};

/// Routes of the listener `web`, whose pool is `one`, over these pools.
fn file(routes: &str, pools: &[(&str, &Backend)]) -> String {
    let pools: String = pools.iter().map(|(name, backend)| pool(name, [*backend])).collect();
    listener("web", "one") + routes + &pools
}

fn ask(balancer: &Evenkeel, host: &str, target: &str, fields: &str) -> Response {
    let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    Client::connect(balancer.address).exchange("GET", request).expect("a response")
}

/// The first example of a file in a text.
fn example(text: &str) -> String {
    let from = text.split("```toml\n").nth(1).expect("an example");
    from.split("```").next().expect("its end").to_owned()
}

#[test]
fn the_example_works_as_it_stands() {
    let example = example(include_str!("../docs/config.md"));
    let live = Live::start_with(&example, &[], &["--listen", "127.0.0.1:0"]);
    let urls: Vec<String> = live.balancer.status()["backends"]
        .as_array()
        .expect("backends")
        .iter()
        .map(|backend| backend["url"].as_str().expect("a url").to_owned())
        .collect();
    assert_eq!(urls, [8081, 8082, 8083].map(|port| format!("http://127.0.0.1:{port}")));

    // The same with ports that are free.
    let backends = ["one", "two", "three"].map(Backend::named);
    let ports = [8081, 8082, 8083].iter().zip(&backends);
    let text = ports.fold(example, |text, (port, backend)| {
        text.replace(&format!("127.0.0.1:{port}"), &backend.address().to_string())
    });
    let live = Live::start_with(&text, &[], &["--listen", "127.0.0.1:0"]);
    for _ in 0..8 {
        // One at a time the fewest in flight for its weight is always the first.
        assert_eq!(ask(&live.balancer, "other.example.com", "/v1/x", "").text(), "one");
    }
    for target in ["/v1/x", "/v1/", "/v1/x?y"] {
        assert_eq!(ask(&live.balancer, "api.example.com", target, "").text(), "three", "{target}");
    }
    assert_ne!(ask(&live.balancer, "api.example.com", "/v1", "").text(), "three");
}

#[test]
fn the_example_of_the_readme_works_too() {
    let example = example(include_str!("../README.md"));
    let live = Live::start_with(&example, &[], &["--listen", "127.0.0.1:0"]);
    let moved = ask(&live.balancer, "old.example.com", "/a?b", "");
    let location = moved.head.joined("location");
    assert_eq!((moved.status, location.as_str()), (308, "https://www.example.com/a?b"));
    assert_eq!(live.balancer.lines_with("warning", "warning"), 0);
}

#[test]
fn the_most_specific_route_takes_a_request() {
    let names = ["one", "host", "wild", "deep", "path", "prefix", "header", "both"];
    let backends = names.map(Backend::named);
    let routes = r#"
        [[listener.route]]
        path_prefix = "/p"
        pool = "prefix"
        [[listener.route]]
        host = "*.example.com"
        pool = "wild"
        [[listener.route]]
        headers = { X-Beta = "yes", X-Old = false }
        pool = "header"
        [[listener.route]]
        host = "*.deep.example.com"
        pool = "deep"
        [[listener.route]]
        path = "/p/exact"
        pool = "path"
        [[listener.route]]
        host = "a.example.com"
        pool = "host"
        [[listener.route]]
        path_prefix = "/p"
        headers = { X-Beta = true }
        pool = "both"
    "#;
    let pools: Vec<(&str, &Backend)> = names.into_iter().zip(&backends).collect();
    let live = Live::start(&file(routes, &pools));
    let beta = "X-Beta: yes\r\n";
    let cases = [
        ("other.com", "/", "", "one"),
        ("a.example.com", "/p/exact", "", "host"),
        ("A.EXAMPLE.com:99", "/", "", "host"),
        ("b.example.com", "/", "", "wild"),
        ("c.b.example.com", "/", "", "wild"),
        ("x.deep.example.com", "/", "", "deep"),
        ("deep.example.com", "/", "", "wild"),
        ("example.com", "/", "", "one"),
        ("other.com", "/p/exact", "", "path"),
        ("other.com", "/p/exact?q", "", "path"),
        ("other.com", "/p/exact/", "", "prefix"),
        ("other.com", "/p", "", "prefix"),
        ("other.com", "/pq", "", "one"),
        ("other.com", "/", beta, "header"),
        ("other.com", "/", "X-Beta: no\r\n", "one"),
        ("other.com", "/", "X-Beta: yes\r\nX-Old: 1\r\n", "one"),
        ("other.com", "/p/x", "X-Beta: any\r\n", "both"),
        ("other.com", "/p/exact", beta, "path"),
    ];
    for (host, target, fields, right) in cases {
        let response = ask(&live.balancer, host, target, fields);
        assert_eq!((response.status, response.text().as_str()), (200, right), "{host} {target} {fields}");
    }
}

#[test]
fn a_split_gives_each_pool_its_share() {
    let (one, two, three) = (Backend::named("one"), Backend::named("two"), Backend::named("three"));
    let route = "[[listener.route]]\npath = \"/s\"\nsplit = { one = 3, two = 1, three = 0 }\n";
    let live = Live::start(&file(route, &[("one", &one), ("two", &two), ("three", &three)]));
    let mut client = Client::connect(live.balancer.address);
    for _ in 0..800 {
        assert_eq!(client.get("/s").expect("a response").status, 200);
    }
    // Eight standard deviations of a binomial distribution: once in ten to the fifteen runs.
    let (ones, twos) = (one.requests(), two.requests());
    assert!(ones + twos == 800 && twos.abs_diff(200) < 100, "{ones} and {twos}");
    assert_eq!(three.requests(), 0);
}

#[test]
fn a_redirect_says_where_and_a_fixed_response_what() {
    let one = Backend::named("one");
    let routes = r#"
        [[listener.route]]
        host = "old.example.com"
        redirect = { location = "https://{host}{uri}", status = 301 }
        [[listener.route]]
        path_prefix = "/moved"
        redirect = { location = "/new{path}?from={host}&{query}" }
        [[listener.route]]
        path = "/robots.txt"
        respond = { status = 200, body = "User-agent: *\n", content_type = "text/robots" }
        [[listener.route]]
        path = "/gone"
        respond = { status = 410 }
    "#;
    let live = Live::start(&file(routes, &[("one", &one)]));
    let location = |host: &str, target: &str| {
        let response = ask(&live.balancer, host, target, "");
        assert!(response.text().is_empty() && !response.closes());
        (response.status, response.head.joined("location"))
    };
    let to = |status, location: &str| (status, location.to_owned());
    assert_eq!(location("old.example.com:8080", "/a/b?c=d"), to(301, "https://old.example.com/a/b?c=d"));
    assert_eq!(location("old.example.com", "/"), to(301, "https://old.example.com/"));
    assert_eq!(location("h", "/moved/x?y=z"), to(308, "/new/moved/x?from=h&y=z"));
    let response = ask(&live.balancer, "h", "/robots.txt", "");
    assert_eq!((response.status, response.text().as_str()), (200, "User-agent: *\n"));
    assert_eq!(response.head.joined("content-type"), "text/robots");
    assert_eq!(ask(&live.balancer, "h", "/gone", "").status, 410);
    // A body that comes along is read past, and the connection goes on.
    let mut client = Client::connect(live.balancer.address);
    assert_eq!(client.post("/gone", "some words").expect("a response").status, 410);
    let head = client.exchange("HEAD", "HEAD /robots.txt HTTP/1.1\r\nHost: h\r\n\r\n").expect("a response");
    assert_eq!((head.status, head.head.joined("content-length").as_str()), (200, "14"));
    assert_eq!(client.get("/").expect("the pool").text(), "one");
    assert_eq!(one.requests(), 1);
}

#[test]
fn a_prefix_is_taken_off_or_replaced() {
    let one = Backend::start(|request, reply| reply.ok(&request.target));
    let routes = r#"
        [[listener.route]]
        path_prefix = "/strip"
        strip_prefix = true
        pool = "one"
        [[listener.route]]
        path_prefix = "/old/"
        rewrite_prefix = "/new/"
        pool = "one"
    "#;
    let live = Live::start(&file(routes, &[("one", &one)]));
    let cases = [
        ("/strip/a/b?c=/strip", "/a/b?c=/strip"),
        ("/strip", "/"),
        ("/strip?q", "/?q"),
        ("/strip/", "/"),
        ("/stripped", "/stripped"),
        ("/old/x?y", "/new/x?y"),
        ("/old/", "/new/"),
        ("/old", "/old"),
        ("http://h/strip/x", "/x"),
    ];
    for (target, seen) in cases {
        assert_eq!(ask(&live.balancer, "h", target, "").text(), seen, "{target}");
    }
}

#[test]
fn fields_are_set_added_and_removed_both_ways() {
    let one = Backend::start(|request, reply| {
        assert!(!request.target.is_empty());
        reply.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nServer: secret\r\nX-Set: theirs\r\nX-Set: again\r\n\
             X-Add: theirs\r\n\r\nok",
        )
    });
    let routes = r#"
        [[listener.route]]
        path = "/edited"
        pool = "one"
        request_headers.set = { Host = "inner.example.com", X-Set = "ours" }
        request_headers.add = { X-Add = "ours" }
        request_headers.remove = ["Authorization", "x-gone"]
        response_headers.set = { X-Set = "ours", X-Frame-Options = "DENY" }
        response_headers.add = { X-Add = "ours" }
        response_headers.remove = ["server"]
    "#;
    let live = Live::start(&file(routes, &[("one", &one)]));
    let fields = "Authorization: Basic eDp5\r\nX-Gone: 1\r\nX-GONE: 2\r\nX-Set: client\r\nX-Add: client\r\nX-Kept: 1\r\n";
    let response = ask(&live.balancer, "outer.example.com", "/edited", fields);
    let seen = one.last().head;
    let both = ["client", "ours"];
    assert_eq!((seen.all("host"), seen.all("x-set")), (vec!["inner.example.com"], vec!["ours"]));
    assert_eq!((seen.all("x-add"), seen.all("x-kept")), (both.to_vec(), vec!["1"]));
    assert!(!seen.has("authorization") && !seen.has("x-gone"));
    assert_eq!(seen.all("x-forwarded-host"), ["outer.example.com"]);
    let got = response.head;
    assert_eq!((got.all("x-set"), got.all("x-frame-options")), (vec!["ours"], vec!["DENY"]));
    assert_eq!((got.all("x-add"), got.has("server")), (vec!["theirs", "ours"], false));
    // Elsewhere nothing is changed.
    let response = ask(&live.balancer, "outer.example.com", "/", fields);
    let seen = one.last().head;
    assert_eq!((seen.all("host"), seen.all("x-set")), (vec!["outer.example.com"], vec!["client"]));
    assert!(seen.has("authorization") && response.head.has("server"));
    assert_eq!(response.text(), "ok");
}

#[test]
fn a_route_has_times_and_rates_of_its_own() {
    let one = Backend::start(|request, reply| {
        if request.head.has("x-slow") {
            std::thread::sleep(Duration::from_millis(700));
        }
        reply.ok("one")
    });
    let routes = r#"
        [[listener.route]]
        path = "/quick"
        pool = "one"
        timeouts = { response = "100ms" }
        [[listener.route]]
        path = "/few"
        pool = "one"
        rate_limit = { requests = 2, per = "1h", burst = 2 }
        [[listener.route]]
        path = "/key"
        pool = "one"
        rate_limit = { requests = 1, per = "1h", burst = 1, key = "header:X-Key" }
    "#;
    let live = Live::start(&file(routes, &[("one", &one)]));
    assert_eq!(ask(&live.balancer, "h", "/quick", "X-Slow: 1\r\n").status, 504);
    assert_eq!(ask(&live.balancer, "h", "/", "X-Slow: 1\r\n").status, 200);
    assert_eq!(live.balancer.failures("response-timeout"), 1);
    let status = |target: &str, fields: &str| ask(&live.balancer, "h", target, fields).status;
    assert_eq!([status("/few", ""), status("/few", ""), status("/few", "")], [200, 200, 429]);
    assert_eq!(status("/", ""), 200, "the limit is the route's");
    let (a, b) = ("X-Key: a\r\n", "X-Key: b\r\n");
    assert_eq!([status("/key", a), status("/key", a), status("/key", b)], [200, 429, 200]);
    let limited = ask(&live.balancer, "h", "/few", "");
    assert!(limited.head.joined("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 60));
    // A reload gives nobody more, unless it changes that limit.
    live.reload(&("drain_timeout = \"9s\"\n".to_owned() + &file(routes, &[("one", &one)])));
    assert_eq!(status("/few", ""), 429);
    live.reload(&file(&routes.replace("requests = 2", "requests = 3"), &[("one", &one)]));
    assert_eq!(status("/few", ""), 200);
}

#[test]
fn a_listener_without_a_pool_answers_what_no_other_route_takes() {
    let one = Backend::named("one");
    let web = "[[listener]]\nname = \"web\"\naddress = \"127.0.0.1:0\"\n";
    let routes = "[[listener.route]]\npath_prefix = \"/one\"\npool = \"one\"\n\
                  [[listener.route]]\nrespond = { status = 404, body = \"nothing here\" }\n";
    let live = Live::start(&format!("{web}{routes}{}", pool("one", [&one])));
    assert_eq!(ask(&live.balancer, "h", "/one/x", "").text(), "one");
    let response = ask(&live.balancer, "h", "/other", "");
    assert_eq!((response.status, response.text().as_str()), (404, "nothing here"));
}

#[test]
fn error_pages_go_by_status() {
    let pages = "[[error_page]]\nstatuses = \"503\"\nfile = \"sorry.html\"\n\
                 [[error_page]]\nstatuses = \"4xx,5xx\"\nfile = \"other.json\"\ncontent_type = \"application/problem+json\"\n";
    let dead = crate::support::Port::reserve();
    let down = format!(
        "[[pool]]\nname = \"one\"\nretry = {{ retries = 0 }}\n[[pool.backend]]\nurl = \"{}\"\n",
        dead.url()
    );
    let text = format!("{pages}{}{down}", listener("web", "one"));
    let beside = [("sorry.html", "<p>Sorry</p>"), ("other.json", "{}")];
    let live = Live::start_with(&text, &beside, &[]);
    let page = |response: Response| (response.status, response.head.joined("content-type"), response.text());
    eventually(SOON, "it is known to be down", || live.balancer.lines_with("is down", "down") > 0);
    let sorry = page(ask(&live.balancer, "h", "/", ""));
    assert_eq!(sorry, (503, "text/html; charset=utf-8".to_owned(), "<p>Sorry</p>".to_owned()));
    let bad = Client::connect(live.balancer.address).exchange("GET", "GET / HTTP/1.1\r\n\r\n");
    let other = (400, "application/problem+json".to_owned(), "{}".to_owned());
    assert_eq!(page(bad.expect("a response")), other);
    live.reload(&text.replace("statuses = \"503\"", "statuses = \"502\""));
    assert_eq!(page(ask(&live.balancer, "h", "/", "")).2, "{}");
}
