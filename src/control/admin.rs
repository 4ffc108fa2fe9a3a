//! How the admin listener reaches what is in force, and this thread.

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use crossbeam_channel::{Sender, bounded};

use super::Event;
use super::force::Told;
use crate::access;
use crate::admin;
use crate::balance::Table;
use crate::error::StartError;
use crate::limits;
use crate::stats::Block;
use crate::stats::reloads::Reloads;
use crate::worker::Crew;

/// What the admin listener tells of.
pub(super) struct AdminParts {
    pub(super) token: Arc<RwLock<Option<String>>>,
    pub(super) table: Arc<RwLock<Arc<Table>>>,
    pub(super) crew: Arc<Crew>,
    pub(super) stats: Vec<Arc<Block>>,
    pub(super) reloads: Arc<Reloads>,
    pub(super) losses: Arc<access::Losses>,
    pub(super) listeners: Told,
    pub(super) routes: Told,
}

/// How the admin listener's commands reach this thread.
pub(super) struct Orders {
    pub(super) events: Sender<Event>,
    pub(super) asks: Sender<Sender<Result<String, String>>>,
    pub(super) draining: Arc<AtomicBool>,
}

pub(super) fn serve_admin(
    address: SocketAddr,
    parts: AdminParts,
    orders: Orders,
    began: Instant,
) -> Result<admin::Thread, StartError> {
    let Orders { events, asks, draining } = orders;
    let AdminParts { token, table, crew, stats, reloads, losses, listeners, routes } = parts;
    let (is_draining, stop) = (Arc::clone(&draining), events.clone());
    let sources = admin::Sources {
        token: Box::new(move || token.read().unwrap_or_else(PoisonError::into_inner).clone()),
        began,
        table: Box::new(move || Arc::clone(&table.read().unwrap_or_else(PoisonError::into_inner))),
        listeners: Box::new(move || listeners.read().unwrap_or_else(PoisonError::into_inner).clone()),
        routes: Box::new(move || routes.read().unwrap_or_else(PoisonError::into_inner).clone()),
        workers: stats,
        reloads,
        losses,
        connections: Box::new(move || crew.open().collect()),
        draining: Box::new(move || is_draining.load(Relaxed)),
        reload: Box::new(move || {
            let (answer, answered) = bounded(1);
            let late = |_| "the process is ending".to_owned();
            asks.try_send(answer).map_err(|_| "several reloads wait already".to_owned())?;
            events.send(Event::Reload).map_err(late)?;
            answered.recv_timeout(limits::RELOAD_PATIENCE).map_err(|_| "no answer in time".to_owned())?
        }),
        drain: Box::new(move || {
            if draining.swap(true, Relaxed) {
                return Err("a drain has begun already".to_owned());
            }
            stop.send(Event::Drain).map_err(|_| "the process is ending".to_owned())?;
            Ok("a drain has begun".to_owned())
        }),
    };
    let listener = TcpListener::bind(address).map_err(|error| StartError::Admin(address, error))?;
    admin::serve(listener, Arc::new(sources))
        .map_err(|error| StartError::System("cannot start the admin listener", error))
}
