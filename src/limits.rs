//! Every bound and default, with why it is that number.

use std::time::Duration;

/// Port when neither flag nor environment names one.
pub const PORT: u16 = 8080;
/// Backends when none are named: where `test-server` and its siblings are started by hand.
pub const BACKENDS: &str = "http://localhost:8081,http://localhost:8082,http://localhost:8083";
/// Name of the pool that the flags describe.
pub const POOL: &str = "default";
/// Weight of a backend at most, as in HAProxy: a schedule of turns by weight stays small.
pub const WEIGHT_MAX: u16 = 256;
/// Backends at most: an index fits 16 bits and a status page can still be read.
pub const BACKENDS_MAX: usize = 4096;
/// Worker threads at most: beyond it a typo is likelier than a machine.
pub const WORKERS_MAX: usize = 1024;

/// Time between probes: a dead backend is noticed by traffic sooner, a revived one may wait this long.
pub const HEALTH_INTERVAL: Duration = Duration::from_secs(10);
/// A TCP handshake across a data centre takes milliseconds; two seconds survive one lost SYN.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);
/// Successes that bring a backend up: one may be a process that is about to fall over again.
pub const HEALTH_RISE: u32 = 2;
/// Failures that take a backend down: one blip must not.
pub const HEALTH_FALL: u32 = 3;
/// Paths of an HTTP check: what most services have, then what all have.
pub const HEALTH_PATHS: [&str; 2] = ["/health", "/"];
/// Bytes of a probe's answer that are read: more is no answer to a check.
pub const HEALTH_BODY: usize = 64 * 1024;

/// Retries of one request: with three backends all are tried once.
pub const RETRIES: u8 = 3;
/// More would multiply an outage; also sizes the list of backends already tried.
pub const RETRIES_MAX: u8 = 15;
/// Wait before the same backend again: a restarting process needs some, a person does not notice it.
pub const RETRY_DELAY: Duration = Duration::from_millis(10);
/// Retries in percent of the requests: an outage is then answered by a fifth more load, not by twice as much.
pub const RETRY_BUDGET: u32 = 20;
/// The most it can be set to: every request may then have all its retries.
pub const RETRY_BUDGET_MAX: u32 = 100 * RETRIES_MAX as u32;
/// Retries a second whatever the budget: at low rates a percentage of nothing is nothing.
pub const RETRY_BUDGET_FLOOR: u32 = 3;
/// Time over which the budget is reckoned: a burst may use what was saved in it.
pub const RETRY_BUDGET_SPAN: Duration = Duration::from_secs(10);

/// One failure may be chance, three in a row are not.
pub const MAX_FAILS: u32 = 3;
/// Half of all requests failing is no chance either, even if those between them succeed.
pub const FAIL_RATE: u32 = 50;
/// Window of the failure rate.
pub const FAIL_WINDOW: Duration = Duration::from_secs(10);
/// Requests before a rate says something.
pub const FAIL_RATE_REQUESTS: u32 = 20;
/// First time out: about as long as a process takes to restart.
pub const EJECT_TIME: Duration = Duration::from_secs(1);
/// Longest time out: a backend that is mended is found within a minute.
pub const EJECT_TIME_MAX: Duration = Duration::from_secs(60);
/// At most half of a pool in percent: the others could not carry more, and a failure of all is not a backend's.
pub const EJECT_MOST: u32 = 50;

/// Requests that wait for a backend: memory stays bounded, and more could not be served in time.
pub const QUEUE_LENGTH: u32 = 1024;
/// Longest wait: a person has gone by then.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// Bound of consistent hashing in percent of the mean, but for that by a client's address: the paper's trade of 1.25.
pub const HASH_BOUND: u32 = 125;
/// More than a hundred times the mean hardly bounds anything.
pub const HASH_BOUND_MAX: u32 = 10_000;
/// Name of the cookie of sticky sessions.
pub const STICKY_COOKIE: &str = "evenkeel";
/// Characters of a secret at least: 64 bits even where each is only a hexadecimal digit.
pub const STICKY_SECRET_MIN: usize = 16;
/// A client's address is remembered this long after its last request.
pub const STICKY_TIME: Duration = Duration::from_secs(30 * 60);
/// Clients whose backend is remembered by their address: 512 KiB; the one not seen for longest makes room.
pub const STICKY_CLIENTS: usize = 1 << 16;
/// Requests of one client a second at most; the bucket's clock ticks every 10 us.
pub const RATE_MAX: u32 = 100_000;
/// Time of a rate at least: the clock of a tick is no finer.
pub const RATE_TIME_MIN: Duration = Duration::from_millis(1);
/// Longest time in which a whole burst is earned again: beyond a year a unit was forgotten.
pub const RATE_REFILL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
/// Clients that a rate limit tells apart: 512 KiB; the one nearest to a full bucket makes room.
pub const RATE_CLIENTS: usize = 1 << 16;

/// A drain waits this long for exchanges in flight: what Kubernetes grants before it kills.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Workers that are told to cut what a drain left have this long for it: a tick, and [`LOG_PATIENCE`] for their last lines.
pub const CUT_PATIENCE: Duration = Duration::from_secs(2);
/// An idle keep-alive client is closed this long after a drain began: one that is about to send still may.
pub const DRAIN_GRACE: Duration = Duration::from_millis(250);
/// Where the short status answers.
pub const STATUS_PATH: &str = "/lb-status";

/// A whole request head: total, not for each byte, so that a slow drip ends too.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Keep-alive without a request: nginx and browsers are near it.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Connect to a backend: as for a probe.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// From request to response head: nginx's proxy_read_timeout.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// A body that does not move: long enough for a phone in a tunnel.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A tunnel may be quiet for long: WebSockets wait for people.
pub const TUNNEL_TIMEOUT: Duration = Duration::from_secs(3600);
/// Below the 60 s and 75 s at which common servers close, so that we close first.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(50);
/// After our last word on a connection we read this long, so that the peer reads it before a reset.
pub const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// Read at once: a socket's usual receive buffer, so that one read drains it.
pub const INBOX: usize = 64 * 1024;
/// Room before what is read, so that a head that grew can be put before its body without moving the body.
pub const HEADROOM: usize = 4 * 1024;
/// A request or response head, in bytes: what browsers, cookies included, stay far below.
pub const HEAD: usize = 32 * 1024;
/// The least that a head may be limited to: a plain request of a browser still fits.
pub const HEAD_MIN: usize = 1024;
/// The most: a head must fit one read of [`INBOX`] bytes, the empty lines before it included.
pub const HEAD_MAX: usize = 60 * 1024;
/// Header fields in a head at most: dropped ones are marked in 128 bits; also sizes an array on the stack.
pub const FIELDS: usize = 128;
/// Header fields in a head unless set otherwise: as HAProxy and Envoy.
pub const FIELDS_DEFAULT: usize = 100;
/// A request target, in bytes: RFC 9112 section 3 recommends at least 8,000 for the whole line.
pub const TARGET: usize = 8 * 1024;
/// The least that a target may be limited to: less would refuse common paths, so it is likelier a slip.
pub const TARGET_MIN: usize = 64;
/// Bytes of a request body a second: the slowest phone link (9,600 bit/s) brings ten times as much.
pub const BODY_RATE: u64 = 100;
/// A method name, in bytes: the longest registered one has 17.
pub const METHOD: usize = 32;
/// Empty lines before a request that are passed over (RFC 9112 section 2.2 asks for at least one).
pub const EMPTY_LINES: usize = 2;
/// Bytes of chunk extensions in one body: nobody uses them but attackers.
pub const CHUNK_EXTENSIONS: u32 = 16 * 1024;
/// Bytes of trailer fields in one body.
pub const TRAILERS: usize = 8 * 1024;
/// Interim (1xx) responses before a final one.
pub const INTERIM_RESPONSES: u8 = 64;

/// Holds most requests whole; 64 bytes over a page, so that buffers do not all share the same cache sets.
pub const SMALL_BUFFER: usize = 4 * 1024 + 64;
/// Holds what one read and the rewriting of its head can produce.
pub const LARGE_BUFFER: usize = INBOX + 2 * HEAD_MAX + HEADROOM;
/// Spare buffers a worker keeps of each size; more are given back to the system.
pub const SPARE_SMALL_BUFFERS: usize = 1024;
/// See [`SPARE_SMALL_BUFFERS`].
pub const SPARE_LARGE_BUFFERS: usize = 16;

/// Client connections in all, in percent of the descriptors: one being served needs two, but of many most are
/// idle; some must be left for listeners, probes, pipes and the log.
pub const CONNECTIONS_PERCENT: u64 = 60;
/// The same where connections are balanced as a whole: each needs two all the time.
pub const TUNNELS_PERCENT: u64 = 45;
/// Networks in a list of trusted ones: all may be looked through; what CDNs publish is at most hundreds.
pub const NETWORKS_MAX: usize = 1024;
/// Unused connections kept to one backend by one worker: the heaviest load that is measured, 512
/// requests at once, then opens no new ones.
pub const IDLE_UPSTREAMS: usize = 512;
/// Events taken from the kernel at once: larger batches raise the tail latency.
pub const EVENTS: usize = 256;
/// Connections accepted in one tick, after the work already at hand.
pub const ACCEPTS: usize = 64;
/// Reads and writes for one connection before the others have their turn.
pub const STEPS: usize = 16;
/// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
pub const BACKLOG: i32 = 8192;

const _: () =
    assert!(FIELDS_DEFAULT <= FIELDS && FIELDS <= 128, "a head's dropped fields are a mask of 128 bits");
const _: () = assert!(HEAD_MIN <= HEAD && HEAD <= HEAD_MAX && HEAD_MAX < INBOX, "a head must fit one read");
const _: () = assert!(TARGET_MIN <= HEAD_MIN && TARGET <= HEAD, "a target stands in the head");
/// Bytes thrown away while lingering: all that a fast client sends in the time for it, short of an attack.
pub const LINGER_BYTES: u32 = 64 * 1024 * 1024;
/// A reminder of a deadline lies no farther ahead, so that of a connection that is gone it is soon given up. The wheel
/// looks at what lies beyond its 8 s once in each of its rounds anyway.
pub const REMINDER_MOST: Duration = Duration::from_secs(8);
/// A client that will be closed after its answer is not watched for this long: most answers come before.
pub const WATCH_DELAY: Duration = Duration::from_secs(1);
/// Pause in accepting when the process is out of descriptors or memory.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often unused upstreams are looked through.
pub const PRUNE_INTERVAL: Duration = Duration::from_secs(1);
/// How often names are looked up again: as short as most are allowed to be remembered.
pub const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);
/// A start or a reload waits for names at most this long; those that come later are taken then.
pub const RESOLVE_PATIENCE: Duration = Duration::from_secs(2);
/// All workers have taken a new configuration within a tick; this long says that one hangs.
pub const RELOAD_PATIENCE: Duration = Duration::from_secs(10);
/// Reloads that may be asked for while one is at work.
pub const RELOADS: usize = 16;
/// A listener that was closed by a reload leads where it led for this long and the time for a head: an exchange
/// that was under way may be followed by one more request.
pub const CLOSED_PATIENCE: Duration = Duration::from_secs(30);
/// Names looked up side by side.
pub const LOOKUPS: usize = 64;
/// Addresses kept of one backend's name.
pub const ADDRESSES: usize = 16;
/// Backends that `--demo` starts.
pub const DEMO_BACKENDS: u16 = 3;
/// A log line up to this many bytes leaves in one write.
pub const LOG_LINE: usize = 8 * 1024;
/// A panic has this long to say why, then the process ends without: more than the log is waited for, see [`LOG_PATIENCE`].
pub const PANIC_PATIENCE: Duration = Duration::from_secs(4);
/// Lines of the log that wait for standard error to be read, at most; what comes then is lost.
pub const LOG_LINES: usize = 1024;
/// A body with at least this much still to come goes through a pipe; below it a copy is as cheap.
pub const SPLICE: u64 = 64 * 1024;
/// Size of such a pipe: 16 of the largest segments on loopback.
pub const PIPE: usize = 1024 * 1024;
/// Pipes in use by one worker: with all of them full to a reader that takes nothing, half a gigabyte of the kernel's.
/// What goes beyond is copied.
pub const PIPES: usize = 512;
/// Pipes of all workers together at most, in percent of the descriptors, of which each takes two: those that connections
/// need are not for pipes.
pub const PIPES_PERCENT: u64 = 2;
/// A pipe of less than this moves less in a turn than a copy does.
pub const PIPE_MIN: usize = 64 * 1024;
/// A tunnel that has carried less than this in so many turns of a pipe is copied again.
pub const SPLICE_CALM: (u64, u8) = (16 * 1024, 8);
/// Spare pipes a worker keeps.
pub const SPARE_PIPES: usize = 64;
/// Of those that it did not need for this long …
pub const SPARE_PIPES_TIME: Duration = Duration::from_secs(60);
/// … it keeps so many: each has two descriptors.
pub const SPARE_PIPES_LEAST: usize = 4;
/// Connections to the admin listener: a few people, a scraper and probes; each has a thread.
pub const ADMIN_CONNECTIONS: usize = 32;
/// A request head there: a browser's, with cookies of other services on the same host.
pub const ADMIN_HEAD: usize = 16 * 1024;
/// A request body there: a weight in JSON has 15 bytes.
pub const ADMIN_BODY: usize = 4 * 1024;
/// A whole request, and a whole answer, there.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection there without a request: scrapers come every minute at the latest, mostly.
pub const ADMIN_IDLE: Duration = Duration::from_secs(90);
/// Time between two samples of what the status page draws.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(1);
/// Samples kept: five minutes.
pub const SAMPLES: usize = 300;
/// Samples that the rates, shares and quantiles of the status are taken over: enough not to jump, few enough to be news.
pub const RECENT_SAMPLES: usize = 10;
/// Commands and connections on their way to a worker; what does not fit stays where it is.
pub const COMMANDS: usize = 1024;
/// That accepting pauses is said once, and that it goes on after this long without a pause.
pub const ACCEPT_CALM: Duration = Duration::from_secs(10);
/// Bytes of an X-Request-Id that are kept for the log: a UUID has 36.
pub const REQUEST_ID: usize = 64;
/// Bytes of lines that a worker gathers before it passes them on: a write of less costs about as much.
pub const LOG_BATCH: usize = 16 * 1024;
/// A buffer for a batch that has grown beyond this is let go of.
pub const LOG_BUFFER: usize = 2 * LOG_BATCH;
/// Lines that do not fill a batch are passed on after this long.
pub const LOG_DELAY: Duration = Duration::from_millis(100);
/// Bytes of lines on their way to the thread that writes them, which a disk may take a moment for.
pub const LOG_BYTES: usize = 4 * 1024 * 1024;
/// Batches that these are; fewer where lines are long.
pub const LOG_BATCHES: usize = LOG_BYTES / LOG_BATCH;
/// Bytes of each value in a line that a client chose; what is longer is cut.
pub const LOG_VALUE: usize = 8 * 1024;
/// Bytes that the log says of a name which is none: as many as a host's name can have.
pub const NAME_SAID: usize = 255;
/// Bytes that the log says of the beginning of a connection that is not what it should be.
pub const BEGINNING_SAID: usize = 32;
/// Lines that cannot be written because of a full disk are tried again after this long.
pub const LOG_RETRY: Duration = Duration::from_secs(1);
/// Lost lines are told at most this often.
pub const LOG_WARNING: Duration = Duration::from_secs(60);
/// The end of the process waits this long for the last lines, and so long a log that another has followed waits for room on a
/// full disk.
pub const LOG_PATIENCE: Duration = Duration::from_secs(1);
