//! Why an exchange ended other than well, and what is done about it.

use crate::proto::h1::Refusal;

/// One way for an exchange to go wrong. Its [`Cause::code`] is the same word in log, metric and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// The request broke a rule.
    BadRequest(Refusal),
    /// The request head did not come in time.
    HeadTimeout,
    /// The client stopped sending its body, or reading its answer.
    ClientStall,
    /// The client went away.
    ClientClosed,
    /// The client's address has too many connections.
    TooManyConnections,
    /// Every backend that could serve it has all the connections it may have.
    BackendFull,
    /// It had waited for a backend for as long as it may.
    QueueTimeout,
    /// As many requests as may wait for a backend were waiting.
    QueueFull,
    /// The client has brought more requests than it may.
    RateLimited,
    /// This process is out of descriptors, ports or memory for another connection.
    Shortage,
    /// No route means the request.
    NoRoute,
    /// No backend is eligible.
    NoBackend,
    /// A connection to a backend was refused or failed.
    ConnectFailed,
    /// A connection to a backend was not made in time.
    ConnectTimeout,
    /// A kept connection turned out dead before it took a byte of the request.
    ConnectionStale,
    /// The backend closed or reset before its answer.
    NoResponse,
    /// The backend's answer broke a rule.
    BadResponse(Refusal),
    /// More interim responses than [`crate::limits::INTERIM_RESPONSES`], or a 101 nobody asked for.
    UnexpectedResponse,
    /// The backend's answer did not come in time.
    ResponseTimeout,
    /// The backend's answer did not come in the time for one try.
    TryTimeout,
    /// The backend's answer had a status that calls for another try.
    BadStatus,
    /// The backend closed or reset within its answer.
    ResponseCut,
    /// The backend stopped within its answer, or stopped taking the request.
    BackendStall,
    /// A tunnel in which nothing moved.
    TunnelIdle,
    /// A tunnel that has lasted as long as it may.
    TunnelLifetime,
    /// The backend reset a tunnel.
    BackendReset,
    /// The first message of TLS, which names the server, was malformed or not whole.
    BadClientHello,
    /// The process ends, and does not wait any longer.
    DrainCut,
    /// The PROXY header is missing, late or malformed, or its sender is not trusted.
    BadProxyHeader,
}

/// What is done about a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The request is sent again.
    Retry,
    /// The client is answered with this status.
    Reply(u16),
    /// The connections are closed without another byte.
    Abort,
}

/// How far an exchange had come when it failed.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// A byte of the final response is on its way to the client.
    pub response_begun: bool,
    /// The whole request is still at hand.
    pub replayable: bool,
    /// The request may be processed twice.
    pub idempotent: bool,
    /// Retries left.
    pub retries: u8,
}

/// All codes, by [`Cause::index`].
pub const CODES: [&str; 32] = [
    "bad-request",
    "head-timeout",
    "client-stall",
    "client-closed",
    "too-many-connections",
    "backend-full",
    "no-backend",
    "connect-failed",
    "connect-timeout",
    "connection-stale",
    "no-response",
    "bad-response",
    "unexpected-response",
    "response-timeout",
    "response-cut",
    "backend-stall",
    "tunnel-idle",
    "shortage",
    "head-too-large",
    "target-too-long",
    "body-too-large",
    "queue-timeout",
    "queue-full",
    "rate-limited",
    "try-timeout",
    "bad-status",
    "no-route",
    "tunnel-lifetime",
    "backend-reset",
    "bad-proxy-header",
    "bad-client-hello",
    "drain-cut",
];

impl Cause {
    /// Place of its code in [`CODES`].
    pub fn index(self) -> usize {
        match self {
            Self::BadRequest(Refusal::HeadSize | Refusal::FieldCount) => 18,
            Self::BadRequest(Refusal::TargetSize) => 19,
            Self::BadRequest(Refusal::BodySize) => 20,
            Self::BadRequest(_) => 0,
            Self::HeadTimeout => 1,
            Self::ClientStall => 2,
            Self::ClientClosed => 3,
            Self::TooManyConnections => 4,
            Self::BackendFull => 5,
            Self::NoBackend => 6,
            Self::ConnectFailed => 7,
            Self::ConnectTimeout => 8,
            Self::ConnectionStale => 9,
            Self::NoResponse => 10,
            Self::BadResponse(_) => 11,
            Self::UnexpectedResponse => 12,
            Self::ResponseTimeout => 13,
            Self::ResponseCut => 14,
            Self::BackendStall => 15,
            Self::TunnelIdle => 16,
            Self::Shortage => 17,
            Self::QueueTimeout => 21,
            Self::QueueFull => 22,
            Self::RateLimited => 23,
            Self::TryTimeout => 24,
            Self::BadStatus => 25,
            Self::NoRoute => 26,
            Self::TunnelLifetime => 27,
            Self::BackendReset => 28,
            Self::BadProxyHeader => 29,
            Self::BadClientHello => 30,
            Self::DrainCut => 31,
        }
    }

    /// The short word for it.
    pub fn code(self) -> &'static str {
        CODES[self.index()]
    }

    /// One sentence for the body of an error reply.
    pub fn text(self) -> &'static str {
        match self {
            Self::BadRequest(refusal) => refusal.text(),
            Self::HeadTimeout => "the request did not arrive in time",
            Self::ClientStall => "the request body did not arrive in time",
            Self::ClientClosed => "the client went away",
            Self::TooManyConnections => "too many connections from this address",
            Self::BackendFull => "every backend has all the connections it may have",
            Self::QueueTimeout => "no backend had room in time",
            Self::QueueFull => "too many requests wait for a backend",
            Self::RateLimited => "too many requests from this client",
            Self::Shortage => "the balancer is out of descriptors or ports",
            Self::NoRoute => "nothing is served here",
            Self::NoBackend => "no backend is available",
            Self::ConnectFailed => "no backend could be reached",
            Self::ConnectTimeout => "connecting to the backend took too long",
            Self::ConnectionStale => "the connection to the backend was dead",
            Self::NoResponse => "the backend closed the connection without an answer",
            Self::BadResponse(_) => "the backend sent a malformed answer",
            Self::UnexpectedResponse => "the backend sent an answer that was not asked for",
            Self::TryTimeout | Self::ResponseTimeout => "the backend did not answer in time",
            Self::BadStatus => "the backend could not answer",
            Self::ResponseCut => "the backend broke off its answer",
            Self::BackendStall => "the backend stopped taking the request",
            Self::TunnelIdle => "nothing moved in the tunnel",
            Self::TunnelLifetime => "the tunnel has lasted as long as it may",
            Self::BackendReset => "the backend reset the tunnel",
            Self::BadClientHello => "the connection did not begin with a ClientHello that can be read",
            Self::DrainCut => "the balancer is ending",
            Self::BadProxyHeader => "the connection did not begin with a PROXY header that can be trusted",
        }
    }

    /// Counts against the backend.
    pub fn blames_backend(self) -> bool {
        match self {
            Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::NoResponse
            | Self::BadResponse(_)
            | Self::UnexpectedResponse
            | Self::ResponseTimeout
            | Self::TryTimeout
            | Self::ResponseCut
            | Self::BackendStall => true,
            // Which statuses count is the pool's to say.
            Self::BadStatus => false,
            // A kept connection that died says that the backend closed it, not that it is ill.
            Self::ConnectionStale => false,
            Self::BadRequest(_)
            | Self::TooManyConnections
            | Self::BackendFull
            | Self::QueueTimeout
            | Self::QueueFull
            | Self::RateLimited
            | Self::Shortage
            | Self::HeadTimeout
            | Self::ClientStall
            | Self::ClientClosed
            | Self::NoRoute
            | Self::NoBackend
            | Self::TunnelIdle
            | Self::TunnelLifetime
            | Self::BadProxyHeader
            | Self::BadClientHello
            | Self::DrainCut
            // In a tunnel a reset is a word of the protocol's own, not a sign of illness.
            | Self::BackendReset => false,
        }
    }

    /// The one place that decides between retry, reply and abort.
    pub fn verdict(self, standing: Standing) -> Verdict {
        if standing.response_begun {
            return Verdict::Abort;
        }
        let never_sent = standing.replayable && standing.retries > 0;
        let again = never_sent && standing.idempotent;
        match self {
            Self::ConnectFailed | Self::ConnectTimeout | Self::ConnectionStale | Self::Shortage
                if never_sent =>
            {
                Verdict::Retry
            }
            Self::NoResponse | Self::TryTimeout | Self::BadStatus if again => Verdict::Retry,
            Self::BadRequest(refusal) => Verdict::Reply(refusal.status()),
            Self::NoRoute => Verdict::Reply(404),
            Self::HeadTimeout | Self::ClientStall => Verdict::Reply(408),
            Self::TooManyConnections | Self::RateLimited => Verdict::Reply(429),
            Self::NoBackend
            | Self::BackendFull
            | Self::QueueTimeout
            | Self::QueueFull
            | Self::Shortage
            | Self::ConnectFailed => Verdict::Reply(503),
            Self::ConnectTimeout | Self::ResponseTimeout | Self::TryTimeout | Self::BackendStall => {
                Verdict::Reply(504)
            }
            Self::ConnectionStale
            | Self::NoResponse
            | Self::BadResponse(_)
            | Self::UnexpectedResponse
            | Self::BadStatus
            | Self::ResponseCut => Verdict::Reply(502),
            Self::ClientClosed
            | Self::TunnelIdle
            | Self::TunnelLifetime
            | Self::BackendReset
            | Self::BadProxyHeader
            | Self::BadClientHello
            | Self::DrainCut => Verdict::Abort,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_again_only_where_that_is_safe() {
        let fresh = Standing { response_begun: false, replayable: true, idempotent: false, retries: 1 };
        assert_eq!(Cause::ConnectFailed.verdict(fresh), Verdict::Retry);
        assert_eq!(Cause::ConnectionStale.verdict(fresh), Verdict::Retry);
        assert_eq!(Cause::NoResponse.verdict(fresh), Verdict::Reply(502));
        let idempotent = Standing { idempotent: true, ..fresh };
        assert_eq!(Cause::NoResponse.verdict(idempotent), Verdict::Retry);
        assert_eq!(Cause::ResponseTimeout.verdict(idempotent), Verdict::Reply(504));
        let spent = Standing { retries: 0, ..idempotent };
        assert_eq!(Cause::NoResponse.verdict(spent), Verdict::Reply(502));
        assert_eq!(Cause::ConnectFailed.verdict(spent), Verdict::Reply(503));
        let partly_gone = Standing { replayable: false, ..idempotent };
        assert_eq!(Cause::NoResponse.verdict(partly_gone), Verdict::Reply(502));
        let begun = Standing { response_begun: true, ..idempotent };
        assert_eq!(Cause::ResponseCut.verdict(begun), Verdict::Abort);
    }
}
