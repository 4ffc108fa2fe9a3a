//! PostgreSQL with its own load generator, and a server that is killed meanwhile.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use crate::admin::Admin;
use crate::support::{Port, SOON, eventually};

/// The programs of the newest version that is here; they are on nobody's PATH.
fn programs() -> Option<PathBuf> {
    let versions =
        fs::read_dir("/usr/lib/postgresql").ok()?.flatten().map(|version| version.path().join("bin"));
    versions.filter(|bin| bin.join("initdb").exists() && bin.join("pgbench").exists()).max()
}

/// The user that the package brings: the server refuses to run as root.
fn user() -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users.lines().find(|line| line.starts_with("postgres:"))?.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

struct Postgres {
    child: Child,
    directory: PathBuf,
    port: Port,
    programs: PathBuf,
}

impl Postgres {
    /// With a database of its own; `None` where it is not installed.
    fn start() -> Option<Self> {
        let (Some(programs), Some(user)) = (programs(), user()) else {
            eprintln!("postgresql is not installed: skipped");
            return None;
        };
        let port = Port::reserve();
        let directory = std::env::temp_dir().join(format!("evenkeel-postgres-{}", port.number()));
        fs::create_dir(&directory).expect("a directory");
        let data = directory.to_str().expect("UTF-8");
        let root = rustix::process::geteuid().is_root();
        if root {
            chown(&directory, Some(user.0), Some(user.1)).expect("given to the server's user");
        }
        let as_user = |program: &str| {
            let mut command = Command::new(if root { "setpriv".into() } else { programs.join(program) });
            if root {
                let ids = [format!("--reuid={}", user.0), format!("--regid={}", user.1)];
                command.args(ids).arg("--clear-groups").arg(programs.join(program));
            }
            command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        };
        let made = as_user("initdb")
            .args(["--auth=trust", "--username=test", "--no-sync", "--no-locale", "-D", data])
            .status();
        assert!(made.expect("initdb runs").success());
        let number = port.number().to_string();
        let child = as_user("postgres")
            .args(["-D", data, "-p", &number, "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
            .args(["-c", &format!("unix_socket_directories={data}")])
            .spawn()
            .expect("postgres runs");
        let postgres = Self { child, directory, port, programs };
        eventually(SOON, "postgres serves", || postgres.query(postgres.port.number(), "select 1").is_some());
        Some(postgres)
    }

    /// One of the clients' programs, to its end.
    fn client(&self, program: &str, port: u16, arguments: &[&str]) -> Output {
        let mut command = Command::new(self.programs.join(program));
        command.args(["-h", "127.0.0.1", "-U", "test", "-p", &port.to_string()]).args(arguments);
        command.arg("postgres").stdin(Stdio::null()).output().expect("it comes with the server")
    }

    /// What a query answers; `None` where it fails.
    fn query(&self, port: u16, query: &str) -> Option<String> {
        let output = self.client("psql", port, &["-At", "-c", query]);
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    /// Runs its benchmark with statements that only read, as many transactions in all as it says.
    fn benchmark(&self, port: u16, more: &[&str]) -> Output {
        self.client("pgbench", port, &[&["--no-vacuum", "--select-only", "--jobs", "2"], more].concat())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // Its own processes end when they miss it.
        eventually(SOON, "nobody listens", || TcpStream::connect(self.port.address).is_err());
        let _ = fs::remove_dir_all(&self.directory);
    }
}

#[track_caller]
fn processed(output: &Output, transactions: &str) {
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}{}", String::from_utf8_lossy(&output.stderr));
    assert!(printed.contains(&format!("actually processed: {transactions}")), "{printed}");
}

#[test]
fn postgres_is_served_with_one_server_killed_and_the_other_takes_over() {
    let (Some(stays), Some(goes)) = (Postgres::start(), Postgres::start()) else { return };
    for server in [&stays, &goes] {
        let filled = server.client("pgbench", server.port.number(), &["-i", "-q", "-s", "1"]);
        assert!(filled.status.success(), "{}", String::from_utf8_lossy(&filled.stderr));
    }
    let backends = format!("{},{}", stays.port.url(), goes.port.url());
    let flags = ["--mode", "tcp", "--health-check", "none", "--workers", "2", "--backends", &backends];
    let admin = Admin::start(&flags);
    let port = admin.balancer.address.port();
    processed(&stays.benchmark(port, &["-c", "8", "-t", "200"]), "1600/1600");
    let serving = || stays.query(port, "select inet_server_port()");
    let both = [&stays, &goes].map(|server| Some(server.port.number().to_string()));
    let seen: Vec<_> = (0..4).map(|_| serving()).collect();
    assert!(both.iter().all(|one| seen.contains(one)), "{seen:?}");

    // In the middle of a run that would go on for much longer.
    std::thread::scope(|scope| {
        let run = scope.spawn(|| stays.benchmark(port, &["-c", "8", "-T", "8"]));
        eventually(SOON, "all are connected", || {
            let open: Vec<_> = admin.backends().iter().map(|told| told["in_flight"].as_u64()).collect();
            open == [Some(4), Some(4)]
        });
        // A client that is still being let in would end the whole run.
        let query = "select count(*) from pg_stat_activity where query like 'SELECT abalance%'";
        eventually(SOON, "all are at work", || {
            [&stays, &goes].iter().all(|server| {
                server.query(server.port.number(), query).is_some_and(|count| count.trim() == "4")
            })
        });
        drop(goes);
        let output = run.join().expect("it ends");
        // Who was with the killed server lost its connection, the others did not.
        let (said, failed) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(failed.contains("aborted"), "{failed}");
        assert!(said.contains("tps = "), "{said}");
    });
    // A connection for each transaction.
    processed(&stays.benchmark(port, &["-c", "4", "-t", "25", "--connect"]), "100/100");
    assert_eq!(serving(), Some(stays.port.number().to_string()));
}
