//! A backend that does to each request what its plan says, and dies now and then.

use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::ledger::Ledger;
use crate::plan::{Ends, Fault, Plan, chunks};
use crate::rng::Rng;
use crate::support::raw::read_to_end;
use crate::support::wire::{Body, Wire};
use crate::support::{Port, SOON};

pub(crate) struct Backend {
    port: Port,
    ledger: Arc<Ledger>,
    open: Arc<Mutex<Vec<(u64, TcpStream)>>>,
    running: Option<(TcpListener, JoinHandle<()>)>,
}

impl Backend {
    pub(crate) fn start(ledger: &Arc<Ledger>) -> Self {
        let port = Port::reserve();
        let mut backend = Self { port, ledger: Arc::clone(ledger), open: Arc::default(), running: None };
        backend.restart();
        backend
    }

    pub(crate) fn url(&self) -> String {
        self.port.url()
    }

    /// Refuses, and cuts every connection, as the death of its process would.
    pub(crate) fn kill(&mut self) {
        if let Some((listener, accepting)) = self.running.take() {
            let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
            let _ = accepting.join();
        }
        for (_, stream) in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn restart(&mut self) {
        let listener = listen(self.port.address).expect("listen again");
        let accepting = listener.try_clone().expect("a second handle");
        let (ledger, open) = (Arc::clone(&self.ledger), Arc::clone(&self.open));
        let thread = std::thread::spawn(move || accept(&accepting, &ledger, &open));
        self.running = Some((listener, thread));
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener, ledger: &Arc<Ledger>, open: &Arc<Mutex<Vec<(u64, TcpStream)>>>) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    while let Ok((stream, _)) = listener.accept() {
        let id = NEXT.fetch_add(1, SeqCst);
        let (ledger, open) = (Arc::clone(ledger), Arc::clone(open));
        let Ok(second) = stream.try_clone() else { continue };
        open.lock().unwrap().push((id, second));
        std::thread::spawn(move || {
            let _ = stream.set_nodelay(true);
            let _ = stream.set_read_timeout(Some(4 * SOON));
            if let Err(e) = serve(&stream, &ledger, &mut Rng::new(id))
                && e.kind() == io::ErrorKind::InvalidData
            {
                ledger.wrong(format!("a backend was sent what is not right: {e}"));
            }
            // The second handle goes first, so that dropping this one is the close, or the reset.
            open.lock().unwrap().retain(|(other, _)| *other != id);
        });
    }
}

/// Makes the close of a stream a reset.
fn reset(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

fn serve(stream: &TcpStream, ledger: &Ledger, rng: &mut Rng) -> io::Result<()> {
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.head()? {
        let plan = Plan::read(&head)?;
        match plan.fault {
            Fault::ResetEarly => {
                reset(stream);
                return Ok(());
            }
            Fault::Early => return send(stream, &answer(&plan, rng)),
            _ => {}
        }
        let mut body = Body::default();
        wire.body(head.request_framing()?, &mut body)?;
        ledger.delivered(&plan, body.bytes == plan.body());
        let answer = answer(&plan, rng);
        let part = rng.length(answer.len() - 1);
        match plan.fault {
            Fault::None | Fault::Early | Fault::ResetEarly => send(stream, &answer)?,
            Fault::Slow => {
                let piece = answer.len() / 5 + 1;
                for piece in answer.chunks(piece) {
                    send(stream, piece)?;
                    std::thread::sleep(Duration::from_millis(rng.below(15)));
                }
            }
            Fault::CloseAfter => {
                send(stream, &answer)?;
                std::thread::sleep(Duration::from_millis(rng.below(3)));
                return close_after(stream, wire, ledger);
            }
            Fault::CloseBefore => return Ok(()),
            Fault::ResetBefore => {
                reset(stream);
                return Ok(());
            }
            Fault::Garbage => return send(stream, b"\x16\x03\x01 what is this?\r\n\r\n"),
            Fault::Silent => return read_to_end(stream).map(drop),
            Fault::Truncated => return send(stream, &answer[..part]),
            Fault::TruncatedByReset => {
                send(stream, &answer[..part])?;
                reset(stream);
                return Ok(());
            }
            Fault::Stalled => {
                send(stream, &answer[..part])?;
                return read_to_end(stream).map(drop);
            }
        }
        if plan.ends == Ends::Close || head.lists("connection", "close") {
            return Ok(());
        }
    }
    Ok(())
}

/// Ends our side without having said so, and hears whether a request had been under way.
fn close_after(stream: &TcpStream, mut wire: Wire<&TcpStream>, ledger: &Ledger) -> io::Result<()> {
    stream.shutdown(Shutdown::Write)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    if let Some(head) = wire.head()? {
        ledger.came_late(Plan::read(&head)?.number);
    }
    Ok(())
}

fn send(mut stream: &TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)
}

fn answer(plan: &Plan, rng: &mut Rng) -> Vec<u8> {
    let body = plan.answer();
    let (field, coded) = match plan.ends {
        Ends::Length => (format!("Content-Length: {}\r\n", body.len()), body),
        Ends::Chunks => ("Transfer-Encoding: chunked\r\n".into(), chunks(&body, rng)),
        Ends::Close if plan.fault == Fault::Early => (String::new(), body),
        Ends::Close => ("Connection: close\r\n".into(), body),
    };
    // Whoever does not read the request to its end must say that it closes.
    let early = if plan.fault == Fault::Early { "Connection: close\r\n" } else { "" };
    let head = format!("HTTP/1.1 200 OK\r\nX-Number: {}\r\n{early}{field}\r\n", plan.number);
    [head.into_bytes(), coded].concat()
}
