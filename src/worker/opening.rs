//! What is read of a connection before it has a backend: the PROXY header of whoever passes it on, and the name that
//! TLS asks for.

use super::connection::{Phase, Read, read, write};
use super::pump::{Flow, Pump};
use super::scratch::Scratch;
use crate::config::{Mode, ProxyProtocol};
use crate::exchange::Cause;
use crate::limits;
use crate::proto::proxy::{self, Ends, Found};
use crate::proto::tls::{self, Asked};
use crate::slab::Key;
use crate::transport::{Net, Transport};

impl<N: Net> Pump<N> {
    /// Takes a connection as far as it is told where it came from.
    pub(super) fn open(&mut self, scratch: &mut Scratch, key: Key) -> Flow {
        let down = &self.downstreams[key];
        if !down.announced && !down.registered && self.pass_on(key) {
            return Flow::Over;
        }
        if !self.downstreams[key].announced {
            match self.read_header(scratch, key) {
                Flow::Moved if self.downstreams[key].announced => {}
                flow => return flow,
            }
            if !self.enter_client(key) {
                return self.refuse_client(scratch, key);
            }
        }
        match self.mode(key) {
            Mode::Tcp => match self.read_hello(scratch, key) {
                Ok(line) => self.open_tunnel(scratch, key, line),
                Err(flow) => flow,
            },
            _ => {
                self.downstreams[key].phase = Phase::Head;
                Flow::Moved
            }
        }
    }

    pub(super) fn mode(&self, key: Key) -> Mode {
        self.settings.sites[usize::from(self.downstreams[key].listener)].mode
    }

    fn proxy(&self, key: Key) -> Option<&ProxyProtocol> {
        self.settings.sites[usize::from(self.downstreams[key].listener)].proxy.as_ref()
    }

    /// A header is to come, or may, that says who the client is.
    pub(super) fn awaits_header(&self, key: Key) -> bool {
        let down = &self.downstreams[key];
        !down.announced && self.proxy(key).is_some_and(|proxy| proxy.trusts(down.peer))
    }

    /// Counts a connection among its client's, once that is known; false when it has too many.
    pub(super) fn enter_client(&mut self, key: Key) -> bool {
        let Some(clients) = &self.settings.clients else { return true };
        let down = &mut self.downstreams[key];
        down.counted = down.counted || clients.enter(down.peer);
        down.counted
    }

    /// Reads until a header is there or cannot come any more.
    fn read_header(&mut self, scratch: &mut Scratch, key: Key) -> Flow {
        let Some(proxy) = self.proxy(key) else {
            self.downstreams[key].announced = true;
            return Flow::Moved;
        };
        let required = proxy.required;
        if !self.awaits_header(key) {
            if required {
                return self.refuse_tunnel(key, Cause::BadProxyHeader);
            }
            // Whoever is not trusted is served as what he is, and a header of his is no header.
            self.downstreams[key].announced = true;
            return Flow::Moved;
        }
        match self.read_more(scratch, key) {
            Read::Bytes(_) => {}
            Read::Blocked => return Flow::Blocked,
            // A check of the sender's, not of ours to judge.
            Read::Ended | Read::Failed if scratch.input().is_empty() => return self.close_downstream(key),
            Read::Ended | Read::Failed => return self.refuse_opening(scratch, key, Cause::BadProxyHeader),
        }
        let (taken, ends) = match proxy::parse(scratch.input()) {
            Ok(Found::Part) => {
                self.downstreams[key].input = scratch.rest(0, &mut self.pool);
                return Flow::Moved;
            }
            Ok(Found::Header { len, ends }) => (len, ends),
            Ok(Found::Nothing) if !required => (0, None),
            Ok(Found::Nothing) | Err(proxy::Malformed) => {
                return self.refuse_opening(scratch, key, Cause::BadProxyHeader);
            }
        };
        let down = &mut self.downstreams[key];
        down.input = scratch.rest(taken, &mut self.pool);
        down.announced = true;
        if let Some(ends) = ends {
            (down.peer, down.port) = (ends.source.ip().to_canonical(), ends.source.port());
            down.ends = Some(Box::new(ends));
            down.trusted = self.settings.trust.iter().any(|network| network.contains(down.peer));
        }
        Flow::Moved
    }

    /// Reads until it is known which line a connection takes, which is its place among the site's.
    fn read_hello(&mut self, scratch: &mut Scratch, key: Key) -> Result<usize, Flow> {
        let down = &mut self.downstreams[key];
        let site = &self.settings.sites[usize::from(down.listener)];
        let last = site.lines.len() - 1;
        if site.routes.all().is_empty() {
            return Ok(last);
        }
        let waiting = down.input.as_ref().map_or(0, |input| input.filled().len());
        if waiting > down.scanned as usize {
            scratch.load(&mut down.input, &mut self.pool);
        } else {
            match self.read_more(scratch, key) {
                Read::Bytes(_) => {}
                Read::Blocked => return Err(Flow::Blocked),
                Read::Ended | Read::Failed if waiting == 0 => return Err(self.close_downstream(key)),
                Read::Ended | Read::Failed => {
                    return Err(self.refuse_opening(scratch, key, Cause::BadClientHello));
                }
            }
        }
        let asked = tls::asked(scratch.input());
        let down = &mut self.downstreams[key];
        down.input = scratch.rest(0, &mut self.pool);
        down.scanned = 0;
        match asked {
            Ok(Asked::Part) => {
                down.scanned = scratch.input().len() as u32;
                Err(Flow::Moved)
            }
            Ok(Asked::Name(name)) => {
                let site = &self.settings.sites[usize::from(down.listener)];
                Ok(site.routes.find(name.as_bytes(), b"", |_| None).unwrap_or(last))
            }
            Ok(Asked::Unfit(name)) => {
                let name = name[..name.len().min(limits::NAME_SAID)].escape_ascii();
                log::debug!(
                    "client {} asks for \"{name}\", which is no host's name: no route is its",
                    down.peer
                );
                Ok(last)
            }
            Ok(Asked::Nobody) => Ok(last),
            Err(tls::Malformed) => Err(self.refuse_tunnel(key, Cause::BadClientHello)),
        }
    }

    /// As [`Self::refuse_tunnel`], where what came is in the scratch area.
    fn refuse_opening(&mut self, scratch: &mut Scratch, key: Key, cause: Cause) -> Flow {
        self.downstreams[key].input = scratch.rest(0, &mut self.pool);
        self.refuse_tunnel(key, cause)
    }

    /// Puts what came before and what comes now into the scratch area.
    pub(super) fn read_more(&mut self, scratch: &mut Scratch, key: Key) -> Read {
        let down = &mut self.downstreams[key];
        if !down.ready.readable {
            return Read::Blocked;
        }
        let first = down.input.is_none();
        scratch.load(&mut down.input, &mut self.pool);
        let came = read(&mut down.stream, &mut down.ready, scratch.room());
        match came {
            Read::Bytes(n) => {
                scratch.add(n);
                self.count_in(key, n as u64);
                if first && (self.draining || self.is_left_behind(key)) {
                    // It has begun before it was closed for its silence.
                    self.arm(key, self.settings.timeouts.head.as_millis() as u64);
                }
            }
            Read::Blocked => down.input = scratch.rest(0, &mut self.pool),
            Read::Ended | Read::Failed => {}
        }
        came
    }

    /// What was to come first has not come in time.
    pub(super) fn opening_expired(&mut self, key: Key) {
        let down = &mut self.downstreams[key];
        let silent = down.input.is_none();
        let required = self.proxy(key).is_some_and(|proxy| proxy.required);
        if silent && (self.draining || self.is_left_behind(key)) {
            self.close_downstream(key);
        } else if !self.awaits_header(key) {
            self.refuse_tunnel(key, Cause::HeadTimeout);
        } else if required || !silent {
            self.refuse_tunnel(key, Cause::BadProxyHeader);
        } else if self.mode(key) == Mode::Tcp {
            // Its protocol may let the server speak first.
            self.downstreams[key].announced = true;
            if self.enter_client(key) {
                self.arm(key, self.settings.timeouts.head.as_millis() as u64);
            } else {
                self.refuse_tunnel(key, Cause::TooManyConnections);
            }
        } else {
            self.close_downstream(key);
        }
    }

    /// Tells the backend, before anything else on a connection that was just made, where the client came from.
    pub(super) fn announce(&mut self, key: Key, flight_key: Key) -> Result<(), Cause> {
        let flight = &self.flights[flight_key];
        let Some(version) = self.table.pool(flight.pool).config().send_proxy else { return Ok(()) };
        let down = &self.downstreams[key];
        let ends = match &down.ends {
            Some(ends) => **ends,
            None => {
                let (source, destination) = down.stream.ends().map_err(|_| Cause::ClientClosed)?;
                Ends { source, destination }
            }
        };
        let mut header = Vec::new();
        proxy::write(version, &ends, &mut header);
        let Some(up) = flight.upstream.and_then(|up| self.upstreams.get_mut(up)) else { return Ok(()) };
        // The send buffer of a new connection takes it whole.
        let taken = write(&mut up.stream, &mut up.ready, &header).unwrap_or(0);
        if taken < header.len() {
            return Err(Cause::ConnectFailed);
        }
        self.count_upstream(flight_key, taken as u64, 0);
        Ok(())
    }
}
