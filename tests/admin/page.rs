//! The page, in a real browser.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::json;

use super::Admin;
use super::browser::Browser;
use crate::support::process::evenkeel;
use crate::support::{Backend, Client, Evenkeel, Port, SOON, eventually, get, list};

const ENTER: (&str, u32) = ("Enter", 13);
const TAB: (&str, u32) = ("Tab", 9);

fn open(admin: &Admin, name: &str) -> Option<Browser> {
    Browser::open(&format!("http://{}/", admin.address), name)
}

#[test]
fn the_page_may_run_its_own_script_and_nothing_else() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let (first, second) = (admin.get("/"), admin.get("/"));
    let policy = first.head.joined("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert_ne!(policy, second.head.joined("content-security-policy"), "the nonce is used once");
    let nonce = policy.split("'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).expect("a nonce");
    let text = first.text();
    assert_eq!(text.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert!(!text.contains("{{"), "a part is missing");
    let links: Vec<&str> = text
        .split("http")
        .skip(1)
        .filter(|rest| rest.starts_with("://") || rest.starts_with("s://"))
        .collect();
    assert!(links.iter().all(|link| link.starts_with("://www.w3.org/2000/svg")), "{links:?}");
}

#[test]
fn a_backend_drained_by_keyboard_under_load_is_emptied_and_no_request_fails() {
    let backends = [Backend::named("a"), Backend::named("b"), Backend::named("c")];
    let admin = Admin::start(&["--workers", "2", "--backends", &list(&backends)]);
    let Some(mut browser) = open(&admin, "drain") else { return };
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = super::commands::StopAtEnd(&stop);
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| ask_until(&stop, &admin))).collect();
        browser.look(1100, 900, "light");
        browser
            .wait("a row for each backend", "document.querySelectorAll('.backends tbody tr').length === 3");
        browser
            .wait("requests in the figures", "parseFloat(document.querySelector('#rate').textContent) > 0");
        browser
            .wait("a line", "document.querySelector('#latencies path.p99').getAttribute('d').includes('L')");
        let first = "document.querySelector('.backends tbody tr')";
        browser.eval("document.querySelector('[data-action=drain]').focus()");
        browser.press(ENTER.0, ENTER.1);
        browser.wait("its state", &format!("{first}.querySelector('.state b').textContent === 'draining'"));
        browser.wait("the focus", "document.activeElement.dataset.action === 'enable'");
        browser.wait("it is said", "document.querySelector('#said').textContent.includes('is now draining')");
        browser.wait("it is empty", &format!("{first}.cells[4].textContent === '0'"));
        let before = (backends[0].requests(), backends[1].requests());
        eventually(SOON, "the others serve on", || backends[1].requests() > before.1 + 100);
        assert_eq!(backends[0].requests(), before.0, "it was given more");
        browser.wait("its share falls", &format!("parseFloat({first}.cells[2].textContent) < 30"));
        browser.press(ENTER.0, ENTER.1);
        browser.wait("it is up", &format!("{first}.querySelector('.state b').textContent === 'up'"));
        eventually(SOON, "it serves again", || backends[0].requests() > before.0 + 50);
        stop.store(true, Ordering::Relaxed);
        assert!(clients.into_iter().all(|client| client.join().expect("no request fails") > 0));
    });
    assert_eq!(browser.complaints, [""; 0]);
}

fn ask_until(stop: &AtomicBool, admin: &Admin) -> usize {
    let (mut client, mut answers) = (Client::connect(admin.balancer.address), 0);
    while !stop.load(Ordering::Relaxed) {
        assert_eq!(client.get("/").expect("a response").status, 200);
        answers += 1;
    }
    answers
}

#[test]
fn it_can_be_read_on_a_phone_in_the_dark_and_reached_by_tab_alone() {
    let backends = [Backend::named("a"), Backend::named("b")];
    let admin = Admin::start(&["--backends", &list(&backends)]);
    let refused = Client::connect(admin.balancer.address).exchange("GET", "GET / HTTP/1.1\r\n\r\n");
    assert_eq!(refused.expect("a response").status, 400);
    get(admin.balancer.address, "/").expect("a response");
    let Some(mut browser) = open(&admin, "phone") else { return };
    browser.look(375, 800, "dark");
    browser.wait("a row for each backend", "document.querySelectorAll('.backends tbody tr').length === 2");
    browser.wait("the cause", "document.querySelector('#errors tbody').textContent.includes('bad-request')");
    browser.wait("points", "document.querySelector('#rates path.requests').getAttribute('d').includes('L')");
    for width in [375, 320] {
        browser.look(width, 800, "dark");
        let beyond = "[...document.querySelectorAll('main *')].filter((node) => node.getBoundingClientRect().right > \
                      document.documentElement.clientWidth + 1).map((node) => `${node.tagName} ${node.className} ${node.id} ${node.textContent}`).join('; ')";
        let fits =
            browser.eval("document.documentElement.scrollWidth <= document.documentElement.clientWidth");
        assert_eq!(fits, true, "it is too wide for {width}: {}", browser.eval(beyond));
    }
    let dark = "getComputedStyle(document.body).backgroundColor";
    assert_eq!(browser.eval(dark), json!("rgb(17, 22, 28)"));
    let mut reached = Vec::new();
    for _ in 0..20 {
        browser.press(TAB.0, TAB.1);
        let outlined = "getComputedStyle(document.activeElement).outlineStyle !== 'none'";
        let name = "document.activeElement.ariaLabel ?? document.activeElement.textContent";
        reached.push((browser.eval(name), browser.eval(outlined)));
    }
    let address = backends[1].address();
    for wanted in [&format!("Drain {address}"), &format!("Weight of {address}"), "Drain and end this process"]
    {
        assert!(reached.contains(&(json!(wanted), json!(true))), "{wanted} in {reached:?}");
    }
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn of_many_backends_those_that_are_not_up_come_first_and_the_filter_finds_the_others() {
    let urls: Vec<String> = (0..600).map(|i| format!("127.1.{}.{}:9", i / 250, i % 250 + 1)).collect();
    let admin = Admin::start(&["--health-check", "none", "--backends", &urls.join(",")]);
    let Some(mut browser) = open(&admin, "many") else { return };
    browser.look(1100, 900, "light");
    let rows = "document.querySelectorAll('.backends tbody tr')";
    browser.wait("a row for as many as there is room for", &format!("{rows}.length === 250"));
    browser.wait("the others", "document.querySelector('.more').textContent.startsWith('350 more')");
    let last = urls.last().expect("one");
    assert_eq!(admin.post(&format!("/api/backends/default/{last}/disable"), "").0, 200);
    browser.wait("the one that needs a look", &format!("{rows}[0].dataset.key === '{last}'"));
    browser.eval("document.querySelector('#filter').focus()");
    browser.type_in("1.1.7:");
    browser.wait(
        "what was looked for",
        &format!("{rows}.length === 1 && {rows}[0].dataset.key === '127.1.1.7:9'"),
    );
    assert_eq!(browser.eval("document.documentElement.scrollWidth <= innerWidth"), true, "it is too wide");
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn a_weight_is_set_by_keyboard_and_a_wrong_one_is_explained_and_taken_back() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let Some(mut browser) = open(&admin, "weight") else { return };
    browser.wait("a row", "document.querySelector('input.weight') !== null");
    let put = |browser: &mut Browser, text: &str| {
        browser.eval("document.querySelector('input.weight').select()");
        browser.type_in(text);
        browser.press(ENTER.0, ENTER.1);
    };
    browser.eval("document.querySelector('input.weight').focus()");
    put(&mut browser, "7");
    eventually(SOON, "the weight", || admin.backends()[0]["weight"] == 7);
    let open = "document.querySelector('#sure').open";
    for wrong in ["999", "1.5", "0"] {
        put(&mut browser, wrong);
        browser.wait("why not", open);
        let said = "document.querySelector('#sure-what').textContent.includes('whole number from 1 to 256')";
        assert_eq!(browser.eval(said), true, "{wrong}");
        browser.press("Escape", 27);
        browser.wait("it is closed", &format!("!{open}"));
        browser.press(TAB.0, TAB.1);
        browser.wait("what it was", "document.querySelector('input.weight').value === '7'");
        browser.eval("document.querySelector('input.weight').focus()");
    }
    assert_eq!(admin.backends()[0]["weight"], 7);
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn a_chart_without_values_has_no_scale_and_one_of_zeros_has_one_that_can_be_read() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let Some(mut browser) = open(&admin, "idle") else { return };
    let words = |chart: &str| {
        format!("[...document.querySelectorAll('#{chart} text')].map((text) => text.textContent)")
    };
    browser.wait("points", "document.querySelector('#rates path.requests')?.getAttribute('d').includes('L')");
    let scale = |words: serde_json::Value| {
        let words: Vec<_> = words
            .as_array()
            .expect("words")
            .iter()
            .map(|word| word.as_str().unwrap_or("").to_owned())
            .collect();
        words.into_iter().filter(|word| !word.ends_with("ago") && word != "now").collect::<Vec<_>>()
    };
    assert_eq!(scale(browser.eval(&words("rates"))), ["0.5", "1"]);
    assert_eq!(scale(browser.eval(&words("latencies"))), [""; 0]);
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn where_a_pointer_rests_on_a_chart_the_legend_says_what_was_then() {
    let backend = Backend::named("a");
    let admin = Admin::start(&["--backends", &backend.url()]);
    let Some(mut browser) = open(&admin, "pointer") else { return };
    browser.look(1100, 900, "light");
    let value = "document.querySelector('.key.requests b').textContent";
    let mut client = Client::connect(admin.balancer.address);
    let drawn = format!("{value} !== '0' && {value} !== ''");
    eventually(SOON, "requests in the legend", || {
        (0..50).for_each(|_| assert_eq!(client.get("/").expect("a response").status, 200));
        browser.try_eval(&drawn) == Ok(json!(true))
    });
    browser.wait("a second without any", &format!("{value} === '0'"));
    let place = "(() => { const box = document.querySelector('#rates').getBoundingClientRect(), \
                 d = document.querySelector('#rates path.requests').getAttribute('d'), \
                 spots = [...d.matchAll(/[ML]([\\d.]+) ([\\d.]+)/g)].map((m) => [+m[1], +m[2]]), \
                 top = spots.reduce((best, spot) => (spot[1] < best[1] ? spot : best)); \
                 return [box.x + top[0], box.y + top[1]]; })()";
    let place = browser.eval(place);
    let moved = json!({ "type": "mouseMoved", "x": place[0], "y": place[1] });
    browser.call("Input.dispatchMouseEvent", moved);
    browser.wait("what was then", &drawn);
    browser.wait("a line there", "document.querySelector('#rates .at') !== null");
    browser.call("Input.dispatchMouseEvent", json!({ "type": "mouseMoved", "x": 1, "y": 1 }));
    browser.wait("now again", &format!("{value} === '0' && !document.querySelector('#rates .at')"));
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn it_asks_for_the_token_and_says_when_it_has_lost_contact() {
    let backend = Backend::named("a");
    let admin = Admin::start_with_token(&["--backends", &backend.url()], "sesame");
    let Some(mut browser) = open(&admin, "token") else { return };
    browser.wait(
        "the form",
        "!document.querySelector('#login').hidden && document.querySelector('#main').hidden",
    );
    browser.wait("the focus", "document.activeElement.id === 'token'");
    browser.type_in("simsalabim");
    browser.press(ENTER.0, ENTER.1);
    browser
        .wait("it is refused", "document.querySelector('#login-why').textContent.includes('not the token')");
    browser.eval("document.querySelector('#token').focus()");
    browser.type_in("sesame");
    browser.press(ENTER.0, ENTER.1);
    browser.wait(
        "the page",
        "!document.querySelector('#main').hidden && document.querySelector('#login').hidden",
    );
    browser.call("Page.reload", json!({}));
    browser.wait("it is kept", "document.querySelector('.backends tbody tr') !== null");
    assert_eq!(browser.eval("document.querySelector('#lost').hidden"), true);
    let lost = "!document.querySelector('#lost').hidden \
                && document.querySelector('#lost').textContent.startsWith('No contact with Evenkeel since ')";
    admin.balancer.signal(Signal::STOP);
    browser.wait("it is said of one that does not answer", lost);
    browser.wait("the state", "document.querySelector('#state').textContent === 'no contact'");
    admin.balancer.signal(Signal::CONT);
    browser.wait("contact", "document.querySelector('#lost').hidden");
    browser.wait("it is said", "document.querySelector('#said').textContent === 'Contact is back.'");
    browser.wait("the state", "document.querySelector('#state').textContent === 'ready'");
    let address = admin.address.to_string();
    drop(admin);
    browser.wait("it is said of one that is gone", lost);
    let mut command = evenkeel();
    command.args(["--listen", "127.0.0.1:0", "--admin", &address, "--backends", &backend.url()]);
    let _again = Evenkeel::run({
        command.env("EVENKEEL_ADMIN_TOKEN", "mellon");
        command
    });
    browser.wait("it asks for the token of the new one", "!document.querySelector('#login').hidden");
    browser.wait(
        "nothing else is said",
        "document.querySelector('#lost').hidden && document.querySelector('#state').textContent === 'token needed'",
    );
    assert_eq!(browser.complaints, [""; 0]);
}

#[test]
fn states_are_counted_over_all_pools_and_a_press_shows_those_alone() {
    let (up, dead) = (Backend::named("up"), Port::reserve());
    let pool =
        |name: &str, url: String| format!("[[pool]]\nname = \"{name}\"\n[[pool.backend]]\nurl = \"{url}\"\n");
    let file = "[[listener]]\naddress = \"127.0.0.1:0\"\npool = \"one\"\n".to_owned()
        + &pool("one", up.url())
        + &pool("other", dead.url());
    let admin = Admin::start_with_file(&file);
    let Some(mut browser) = open(&admin, "standing") else { return };
    let standing =
        "[...document.querySelectorAll('#standing button:not([hidden])')].map((b) => b.textContent).join()";
    browser.wait("both are counted", &format!("{standing} === '1 up,1 down'"));
    let press = "document.querySelector('#standing .down').click()";
    let shown =
        "[...document.querySelectorAll('#pools section:not([hidden])')].map((s) => s.dataset.pool).join()";
    browser.eval(press);
    browser.wait("the other alone", &format!("{shown} === 'other'"));
    assert_eq!(browser.eval("document.querySelector('#standing .down').ariaPressed"), json!("true"));
    browser.eval(press);
    browser.wait("all again", &format!("{shown} === 'one,other'"));
    browser.eval("document.querySelector('#filter').focus()");
    browser.type_in("nobody");
    browser.wait("nothing", "!document.querySelector('#unmatched').hidden");
    assert_eq!(browser.eval(shown), json!(""));
    assert!(browser.complaints.is_empty(), "{:?}", browser.complaints);
}

/// Not a test: `cargo test --test main pictures -- --ignored` takes the pictures that stand in docs/ anew.
#[test]
#[ignore = "takes a minute and writes into docs/"]
fn pictures_for_the_documents() {
    let bad = Backend::start(|request, reply| match request.nth % 40 {
        39 => {
            reply.close();
            Ok(())
        }
        _ => reply.ok("a"),
    });
    let backends = [Backend::named("a"), Backend::named("b"), bad];
    let admin = Admin::start(&["--workers", "2", "--backends", &list(&backends)]);
    let Some(mut browser) = open(&admin, "pictures") else { return };
    let docs = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _stop = super::commands::StopAtEnd(&stop);
        (0..6).for_each(|i| {
            let (admin, stop) = (&admin, &stop);
            scope.spawn(move || {
                let (mut client, mut n) = (Client::connect(admin.balancer.address), 0_u64);
                while !stop.load(Ordering::Relaxed) {
                    let method = if n.is_multiple_of(9) { "POST" } else { "GET" };
                    let length = if method == "POST" { "Content-Length: 0\r\n" } else { "" };
                    let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n{length}\r\n");
                    client.exchange(method, request).expect("a response");
                    n += 1;
                    thread::sleep(std::time::Duration::from_micros(500 + 700 * (i + n / 900 % 4)));
                }
            });
        });
        browser.look(1100, 800, "light");
        let points =
            "document.querySelector('#rates path.requests').getAttribute('d').split('L').length > 60";
        let deadline = std::time::Duration::from_secs(120);
        eventually(deadline, "a minute of points", || browser.try_eval(points) == Ok(json!(true)));
        let (status, _) = admin.post(&format!("/api/backends/default/{}/drain", backends[1].address()), "");
        assert_eq!(status, 200);
        browser.wait("it is drained", "document.querySelector('.draining') !== null");
        browser.picture(&docs.join("dashboard-light.webp"));
        browser.look(1100, 800, "dark");
        browser.wait("a new look", "matchMedia('(prefers-color-scheme: dark)').matches");
        browser.picture(&docs.join("dashboard-dark.webp"));
        browser.look(375, 800, "light");
        browser.wait(
            "a redrawn line",
            "document.querySelector('#rates').getAttribute('viewBox').split(' ')[2] < 400",
        );
        browser.picture(&docs.join("dashboard-phone.webp"));
    });
}
