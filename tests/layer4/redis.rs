//! A real protocol with its own load generator: Redis, with a backend that is killed meanwhile.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use super::balancer;
use crate::support::{Port, SOON, eventually};

struct Redis {
    child: Child,
    port: Port,
}

impl Redis {
    /// `None` where it is not installed.
    fn start() -> Option<Self> {
        let port = Port::reserve();
        let number = port.number().to_string();
        let spawned = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &number, "--save", "", "--appendonly", "no"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(child) = spawned else {
            eprintln!("redis-server is not installed: skipped");
            return None;
        };
        let redis = Self { child, port };
        eventually(SOON, "redis listens", || TcpStream::connect(redis.port.address).is_ok());
        Some(redis)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs redis-benchmark to its end; what it printed.
fn benchmark(port: u16, more: &[&str]) -> String {
    let output = Command::new("redis-benchmark")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "set,get,lrange_600", "-d", "300", "--csv"])
        .args(more)
        .stdin(Stdio::null())
        .output()
        .expect("redis-benchmark comes with redis-server");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn redis_is_served_with_one_backend_killed_and_none_is_missed() {
    let (Some(stays), Some(goes)) = (Redis::start(), Redis::start()) else { return };
    let balancer = balancer(&format!("{},{}", stays.port.url(), goes.port.url()), &["--workers", "2"]);
    let tests = ["\"SET\"", "\"GET\"", "LRANGE_600"];
    let all = |printed: &str| tests.iter().all(|test| printed.contains(test));
    let printed = benchmark(balancer.address.port(), &["-n", "5000", "-c", "20"]);
    assert!(all(&printed), "{printed}");
    let ended = || balancer.lines().iter().filter(|line| line.contains("ended")).count();
    eventually(SOON, "both backends have served", || {
        let lines = balancer.lines();
        ended() >= 40
            && [&stays, &goes].iter().all(|redis| lines.iter().any(|l| l.contains(&redis.port.url())))
    });
    drop(goes);
    // A connection for each request: every one that the dead backend would have had goes to the other.
    let printed = benchmark(balancer.address.port(), &["-n", "300", "-c", "10", "-k", "0"]);
    assert!(all(&printed), "{printed}");
    assert!(balancer.lines().iter().any(|line| line.contains("is out") && line.contains("connect-failed")));
}
