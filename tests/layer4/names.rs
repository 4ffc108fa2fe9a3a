//! TLS is led by the name that it asks for, and passes as it came: openssl on both sides.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Server, connect, logged, rest};
use crate::support::{Evenkeel, Port, SOON, eventually};

pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("evenkeel-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory");
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A TLS server with a certificate of that name.
struct Tls {
    child: Child,
    port: Port,
}

impl Tls {
    fn start(name: &str, directory: &Path) -> Self {
        let (key, certificate) =
            (directory.join(format!("{name}.key")), directory.join(format!("{name}.pem")));
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", &format!("/CN={name}"), "-keyout"])
            .arg(&key)
            .arg("-out")
            .arg(&certificate)
            .output()
            .expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = Port::reserve();
        let child = Command::new("openssl")
            .args(["s_server", "-quiet", "-accept", &port.address.to_string(), "-cert"])
            .arg(&certificate)
            .arg("-key")
            .arg(&key)
            .arg("-rev")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl");
        eventually(SOON, "openssl listens", || TcpStream::connect(port.address).is_ok());
        Self { child, port }
    }
}

impl Drop for Tls {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a client sees that asks for this name: the certificate's, and its word turned around.
fn asks(balancer: &Evenkeel, name: Option<&str>) -> String {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &balancer.address.to_string(), "-ign_eof"]);
    match name {
        Some(name) => command.args(["-servername", name]),
        None => command.arg("-noservername"),
    };
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("openssl");
    child.stdin.take().expect("a pipe").write_all(b"word\nCLOSE\n").expect("written");
    let output = child.wait_with_output().expect("its output");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn balancer(directory: &Path, text: &str) -> Evenkeel {
    let path = directory.join("lb.toml");
    std::fs::write(&path, text).expect("a file");
    Evenkeel::start(&["--config", path.to_str().expect("UTF-8")])
}

fn pool(name: &str, url: &str) -> String {
    format!("[[pool]]\nname = \"{name}\"\nhealth.kind = \"none\"\nbackend = [{{ url = \"{url}\" }}]\n")
}

#[test]
fn openssl_finds_the_server_that_it_asks_for() {
    let directory = Directory::new("names");
    let servers = ["exact", "below", "other"].map(|name| Tls::start(name, &directory.0));
    let pools =
        ["exact", "below", "other"].iter().zip(&servers).map(|(name, tls)| pool(name, &tls.port.url()));
    let text = "log_level = \"debug\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nmode = \"tcp\"\npool = \"other\"\n\
        [[listener.route]]\nsni = [\"example.com\", \"www.example.com\"]\npool = \"exact\"\n\
        [[listener.route]]\nsni = [\"*.example.com\"]\npool = \"below\"\n";
    let balancer = balancer(&directory.0, &format!("{text}{}", pools.collect::<String>()));
    for (name, right) in [
        (Some("example.com"), "exact"),
        (Some("WWW.Example.com"), "exact"),
        (Some("api.example.com"), "below"),
        (Some("a.b.example.com"), "below"),
        (Some("example.org"), "other"),
        (None, "other"),
    ] {
        let said = asks(&balancer, name);
        assert!(
            said.contains(&format!("CN = {right}")) || said.contains(&format!("CN={right}")),
            "{name:?}: {said}"
        );
        assert!(said.contains("drow"), "{name:?}: {said}");
    }
}

/// A ClientHello that asks for those bytes.
pub(crate) fn hello(name: &[u8]) -> Vec<u8> {
    let counted = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat();
    let list = counted(&[&[0][..], &counted(name)].concat());
    let extensions = counted(&[&[0, 0][..], &counted(&list)].concat());
    let body = [&[3, 3][..], &[7; 32], &[0], &counted(&[0x13, 1]), &[1, 0], &extensions].concat();
    let message = [&[1, 0][..], &counted(&body)].concat();
    [&[22, 3, 1][..], &counted(&message)].concat()
}

const UNFIT: [&[u8]; 8] = [
    b"",
    b"a b.example.com",
    b"::1",
    b"[::1]",
    b"example.com:443",
    b"*.example.com",
    b"\xff\xfe.example.com",
    b"b\xc3\xbccher.example.com",
];

#[test]
fn what_is_no_host_name_goes_where_names_go_that_nobody_has() {
    let directory = Directory::new("unfit");
    let (routed, other) = (Server::echo(), Server::echo());
    let file = |pool: &str| {
        let text = "log_level = \"debug\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nmode = \"tcp\"\n";
        let route = "[[listener.route]]\nsni = [\"example.com\", \"*.example.com\"]\npool = \"a\"\n";
        let pools = self::pool("a", &routed.url()) + &self::pool("b", &other.url());
        format!("{text}{pool}{route}{pools}")
    };
    let balancer = self::balancer(&directory.0, &file("pool = \"b\"\n"));
    for (served, name) in UNFIT.into_iter().enumerate() {
        let mut client = connect(balancer.address);
        client.write_all(&hello(name)).expect("written");
        client.shutdown(Shutdown::Write).expect("shutdown");
        assert_eq!(rest(&mut client).expect("all of it"), hello(name), "{name:?}");
        assert_eq!((routed.connections(), other.connections()), (0, served + 1), "{name:?}");
        let said = format!("asks for \"{}\", which is no host's name", name.escape_ascii());
        logged(&balancer, &["client 127.0.0.1", &said]);
    }
    let mut client = connect(balancer.address);
    client.write_all(&hello(b"under_score.example.com")).expect("written");
    client.shutdown(Shutdown::Write).expect("shutdown");
    rest(&mut client).expect("all of it");
    assert_eq!(routed.connections(), 1, "one that DNS has all the same");

    let text = file("").replace(&pool("b", &other.url()), "");
    let balancer = self::balancer(&directory.0, &text);
    for (refused, name) in UNFIT.into_iter().enumerate() {
        let mut client = connect(balancer.address);
        assert!(client.write_all(&hello(name)).is_err() || rest(&mut client).is_err(), "{name:?}");
        eventually(SOON, "it is counted", || balancer.lines_with("no-route", "closed") == refused + 1);
    }
    assert_eq!((routed.connections(), balancer.lines_with("bad-client-hello", "")), (1, 0));
}

#[test]
fn a_name_that_nobody_serves_is_refused_and_what_is_no_hello_too() {
    let directory = Directory::new("nobody");
    let server = Server::echo();
    let text = "log_level = \"debug\"\ntimeouts.head = \"400ms\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nmode = \"tcp\"\n\
        [[listener.route]]\nsni = [\"example.com\"]\npool = \"a\"\n";
    let balancer = balancer(&directory.0, &format!("{text}{}", pool("a", &server.url())));
    let mut refused = 0;
    for (bytes, cause) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "no-route"),
        (b"\x16\x03\x01\0\0", "bad-client-hello"),
        (b"\x16\x03\x01\x02\0\x01", "head-timeout"),
        (b"", "head-timeout"),
    ] {
        let mut client = connect(balancer.address);
        let reset = client.write_all(bytes).is_err() || rest(&mut client).is_err();
        assert!(reset, "{bytes:?}");
        refused += 1;
        eventually(SOON, cause, || balancer.lines_with(cause, "closed") > 0);
    }
    let mut client = connect(balancer.address);
    client.write_all(b"\x16\x03\x01\x02\0\x01").expect("written");
    client.shutdown(Shutdown::Write).expect("shutdown");
    assert!(rest(&mut client).is_err());
    eventually(SOON, "an end within", || balancer.lines_with("bad-client-hello", "closed") == 2);
    assert_eq!((refused, server.connections()), (4, 0));
    assert!(asks(&balancer, Some("example.org")).contains("no peer certificate"));
}
