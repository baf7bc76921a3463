//! Requests over the network, answered by the models that are loaded.
//!
//! [`Serving`] owns everything that the API needs: the protocol, which is the crate `serve`, and the sockets. It is called in two
//! ways. Code that waits for a key calls [`work`](Serving::work), which also computes. Code that computes, or does anything else
//! that takes long, calls [`exchange`](Serving::exchange) in between: that accepts connections, answers requests that need no
//! model, and notices when a client hangs up. The boot core calls [`look`](Serving::look) between the items that the cores
//! compute.

mod engine;
#[cfg(all(test, feature = "llm-transformer"))]
mod faults;
#[cfg(all(test, feature = "llm-transformer"))]
mod little_memory;
mod notary;

use alloc::{boxed::Box, rc::Rc};
use core::{
    cell::{Cell, RefCell},
    ops::ControlFlow,
};

use ::llm::front::Event;
use ::serve::{
    ApiError, Change, ChangeId, Limits, Server, Settings, audit::Audit, error::Status, server::Overdue,
};

use trust::notary::Notary;

use self::engine::BackendEngine;
use crate::{
    llm::{BackendError, EngineOptions, InferenceBackend, Steps, Ticket},
    net::{Network, Sockets, Vsock, VsockDevice},
    system::{Machine, ServeSettings, Turn},
};

/// How many texts a model computes together if there is room.
const N_PARALLEL_IF_ROOM: usize = 8;

/// Nothing is taken from clients while less than one part in this many of the heap is free.
const FREE_PART: usize = 8;

/// How long the machine is not asked again for a secret that it did not have.
const NOTARY_RETRY_US: u64 = 10_000_000;

/// The API on a network and on a vsock device, as far as these exist.
pub struct Serving<'a> {
    machine: Machine,
    network: Option<&'a RefCell<Network>>,
    desk: RefCell<Option<Desk>>,
    /// The signer of receipts, if there is a key.
    notary: RefCell<Option<Rc<Notary>>>,
    /// The seed of its key, if one was given.
    notary_seed: Option<[u8; 32]>,
    /// When the machine was last asked for a secret to make a key of.
    notary_asked_us: Cell<u64>,
    /// Whether the server does not know the notary yet.
    is_notary_new: Cell<bool>,
    /// How often the machine had been restored from a snapshot at the last turn.
    n_restored: Cell<u64>,
}

/// The sockets and the protocol.
struct Desk {
    server: Server<Ticket>,
    sockets: Option<Sockets>,
    vsock: Option<Vsock>,
}

/// The state of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServingStatus {
    /// Whether connections are accepted.
    pub is_on: bool,
    /// The port on the network, if there is one.
    pub port: Option<u16>,
    /// The port on the vsock device, if there is one.
    pub vsock_port: Option<u32>,
    /// Number of open connections.
    pub n_connections: usize,
    /// Whether text is being generated for a client.
    pub is_generating: bool,
}

impl<'a> Serving<'a> {
    /// The API on those ports that exist and that the settings do not disable. It must be [turned on](Self::turn).
    pub fn new(
        machine: Machine,
        network: Option<&'a RefCell<Network>>,
        vsock: Option<Box<dyn VsockDevice>>,
        settings: &ServeSettings,
    ) -> Rc<Self> {
        let notary_seed = settings.receipt_key;
        let notary = notary::notary(&machine, notary_seed).map(Rc::new);
        let desk = RefCell::new(Desk::new(&machine, network, vsock, settings, notary.clone()));
        let notary = RefCell::new(notary);
        let notary_asked_us = Cell::new((machine.clock_us)());
        let (is_notary_new, n_restored) = (Cell::new(false), Cell::new(0));
        Rc::new(Self {
            machine,
            network,
            desk,
            notary,
            notary_seed,
            notary_asked_us,
            is_notary_new,
            n_restored,
        })
    }

    /// The signer of receipts; `None` if no key was given and the machine has no source of random numbers.
    pub fn notary(&self) -> Option<Rc<Notary>> {
        self.make_up_notary((self.machine.clock_us)());
        self.notary.borrow().clone()
    }

    /// Makes a notary with another key.
    fn renew_notary(&self, now_us: u64) {
        let notary = notary::notary(&self.machine, None).map(Rc::new);
        self.is_notary_new.set(notary.is_some());
        *self.notary.borrow_mut() = notary;
        self.notary_asked_us.set(now_us);
    }

    /// Tries again to make a notary, if there is none for want of random numbers: a source may have answered too late.
    fn make_up_notary(&self, now_us: u64) {
        let is_due = now_us.saturating_sub(self.notary_asked_us.get()) >= NOTARY_RETRY_US;
        if is_due && self.notary.borrow().is_none() {
            self.renew_notary(now_us);
        }
    }

    /// The network, if there is one.
    pub fn network(&self) -> Option<&'a RefCell<Network>> {
        self.network
    }

    /// The state of the API; `None` if there is none.
    pub fn status(&self) -> Option<ServingStatus> {
        self.desk.borrow().as_ref().map(|desk| ServingStatus {
            is_on: desk.sockets.as_ref().is_some_and(Sockets::is_listening)
                || desk.vsock.as_ref().is_some_and(Vsock::is_listening),
            port: desk.sockets.as_ref().map(Sockets::port),
            vsock_port: desk.vsock.as_ref().map(Vsock::port),
            n_connections: desk.sockets.as_ref().map_or(0, Sockets::n_open)
                + desk.vsock.as_ref().map_or(0, Vsock::n_open),
            is_generating: desk.server.is_generating(),
        })
    }

    /// Passes the answers that exceeded their requests' time limits to `show`, if there is an API.
    pub fn with_overdue(&self, show: &mut dyn FnMut(&Overdue)) {
        if let Some(desk) = &*self.desk.borrow() {
            show(desk.server.overdue());
        }
    }

    /// Passes the audit log, which says who has requested what, to `show`, if there is an API.
    pub fn with_audit(&self, show: &mut dyn FnMut(&Audit)) {
        if let Some(desk) = &*self.desk.borrow() {
            show(desk.server.audit());
        }
    }

    /// Starts or stops accepting connections; existing ones continue.
    pub fn turn(&self, on: bool) {
        if let Some(Desk { sockets, vsock, .. }) = &mut *self.desk.borrow_mut() {
            if let (Some(network), Some(sockets)) = (self.network, sockets) {
                sockets.listen(&mut network.borrow_mut(), on);
                if on {
                    log::info!("serve: port {}", sockets.port());
                }
            }
            if let Some(vsock) = vsock {
                vsock.listen(on);
            }
        }
        self.exchange();
    }

    /// Sends and receives. Returns when to call it again unless there is an interrupt earlier.
    pub fn exchange(&self) -> u64 {
        self.exchange_while(false)
    }

    fn exchange_while(&self, is_idle: bool) -> u64 {
        let turn = self.machine.turn.map_or(Turn::NOTHING, |turn| turn(is_idle));
        let now_us = (self.machine.clock_us)();
        let mut network = self.network.map(RefCell::borrow_mut);
        let is_restored = self.n_restored.replace(turn.n_restored) != turn.n_restored;
        let seed = || (self.machine.random_seed)() << 32 | (self.machine.random_seed)();
        if is_restored && self.notary_seed.is_none() {
            // Other machines may have been restored from the same snapshot, and have the same key.
            self.renew_notary(now_us);
        }
        self.make_up_notary(now_us);
        if let Some(network) = network.as_mut().filter(|_| is_restored) {
            network.reseed(seed(), now_us);
        }
        let has_come = network.as_mut().is_some_and(|network| network.receive(now_us));
        let mut wake_us = turn.wake_us;
        if let Some(Desk { server, sockets, vsock }) = &mut *self.desk.borrow_mut() {
            if is_restored {
                server.rename(seed());
                server.set_start(start_unix_s(&self.machine, now_us));
            }
            if self.is_notary_new.take() || is_restored {
                server.set_notary(self.notary.borrow().clone());
            }
            let heap = (self.machine.heap_usage)();
            let is_free = heap.size_bytes - heap.used_bytes >= heap.size_bytes / FREE_PART;
            // If no room is about to become free, requests are taken all the same, so that clients get an error at once.
            let has_room = is_free || !(server.is_generating() || (self.machine.is_heap_low)());
            server.check_time(now_us);
            if let Some(vsock) = vsock {
                wake_us = wake_us.min(vsock.exchange(server, has_room, now_us));
            }
            if let (Some(network), Some(sockets)) = (network.as_mut(), sockets) {
                sockets.exchange(network, server, has_room, now_us);
                return wake_us.min(network.transmit(now_us));
            }
        }
        match network {
            Some(mut network) if has_come => wake_us.min(network.transmit(now_us)),
            Some(mut network) => wake_us.min(network.poll(now_us)),
            None => wake_us,
        }
    }

    /// Calls [`exchange`](Self::exchange) if something may have arrived, unless a call is already in progress: for code that
    /// computes, between its items.
    pub fn look(&self) {
        if let Some(turn) = self.machine.turn {
            turn(false);
        }
        let Ok(desk) = self.desk.try_borrow_mut() else { return };
        let now_us = (self.machine.clock_us)();
        let vsock = desk.as_ref().and_then(|desk| desk.vsock.as_ref());
        let is_vsock_due = vsock.is_some_and(|vsock| vsock.is_due(now_us));
        drop(desk);
        let is_due = match self.network.map(RefCell::try_borrow_mut) {
            None => is_vsock_due,
            Some(Ok(network)) => is_vsock_due || network.is_due(now_us),
            Some(Err(_)) => false,
        };
        if is_due {
            self.exchange();
        }
    }

    /// Passes clients' requests to the models.
    pub fn bring_requests(&self, backend: &mut dyn InferenceBackend) {
        if let Some(desk) = &mut *self.desk.borrow_mut() {
            let now_us = (self.machine.clock_us)();
            let pool = self.machine.pool;
            desk.server.serve(&mut BackendEngine { backend, pool }, now_us);
        }
    }

    /// Tells a client about an event of its request.
    pub fn event(&self, ticket: Ticket, event: &Event<'_>) -> ControlFlow<()> {
        match &mut *self.desk.borrow_mut() {
            Some(desk) => desk.server.event(ticket, event, (self.machine.clock_us)()),
            None => ControlFlow::Break(()),
        }
    }

    fn is_generating(&self) -> bool {
        self.desk.borrow().as_ref().is_some_and(|desk| desk.server.is_generating())
    }

    /// Sends, receives, loads and unloads models as clients ask, and computes a batch if there is a request. Returns when to call
    /// it again unless there is an interrupt earlier.
    pub fn work(&self, backend: &mut dyn InferenceBackend) -> u64 {
        self.exchange_while(true);
        self.bring_requests(backend);
        while let Some((id, change)) = self.next_change() {
            let made = self.make(backend, id, &change);
            if let Some(desk) = &mut *self.desk.borrow_mut() {
                let made = made.map_err(|error| refusal(error, self.machine.pool.total_bytes()));
                desk.server.changed(id, made, (self.machine.clock_us)());
            }
        }
        let has_computed = self.compute(backend);
        // Answers are sent at once.
        let wake_us = self.exchange_while(!has_computed);
        if has_computed { 0 } else { wake_us }
    }

    /// Computes a batch if there is a request. Returns whether there may be more to compute.
    pub fn compute(&self, models: &mut dyn Steps) -> bool {
        if !self.is_generating() {
            return false;
        }
        let stepped = models.step(
            &mut || {
                self.exchange();
                match self.is_generating() {
                    true => ControlFlow::Continue(()),
                    false => ControlFlow::Break(()),
                }
            },
            &mut |ticket, event| self.event(ticket, &event),
        );
        match stepped {
            Ok(n_tokens) => n_tokens > 0,
            // None of the computed answers is needed any more.
            Err(BackendError::Cancelled) => true,
            Err(error) => {
                log::error!("{error}");
                true
            }
        }
    }

    fn next_change(&self) -> Option<(ChangeId, Change)> {
        self.desk.borrow_mut().as_mut()?.server.next_change()
    }

    /// Loads or unloads a model. Loaded models keep answering, and the current one stays the same.
    fn make(
        &self,
        backend: &mut dyn InferenceBackend,
        id: ChangeId,
        change: &Change,
    ) -> Result<(), BackendError> {
        match change {
            Change::Load(name) => {
                let current = backend.model(None).ok().map(|model| model.path.clone());
                backend.load(name, options(), &mut |_, models| {
                    self.compute(models);
                    self.exchange();
                    match &*self.desk.borrow() {
                        Some(desk) if desk.server.is_wanted(id) => ControlFlow::Continue(()),
                        _ => ControlFlow::Break(()),
                    }
                })?;
                current.map_or(Ok(()), |path| backend.select(&path))
            }
            Change::Unload(name) => backend.unload(Some(name)).map(drop),
        }
    }
}

/// The API's error for a change of the models that failed, in a machine with so much memory for models. If there is too little at the moment,
/// a later request may succeed; if the machine has too little, none will.
fn refusal(error: BackendError, total_bytes: usize) -> ApiError {
    let refusal = ApiError::field("model", &error);
    match error.is_out_of_memory() && !error.needs_more_than(total_bytes) {
        true => ApiError { status: Status::ServiceUnavailable, ..refusal },
        false => refusal,
    }
}

/// When the machine's clock started, in seconds since the beginning of 1970, if the machine knows the date.
fn start_unix_s(machine: &Machine, now_us: u64) -> Option<u64> {
    (machine.now_seconds)().map(|now_s| now_s.saturating_sub(now_us / 1_000_000))
}

/// The options of models that are loaded over the network.
pub fn options() -> EngineOptions {
    EngineOptions { n_parallel_if_room: Some(N_PARALLEL_IF_ROOM), ..EngineOptions::default() }
}

impl Desk {
    fn new(
        machine: &Machine,
        network: Option<&RefCell<Network>>,
        vsock: Option<Box<dyn VsockDevice>>,
        serve: &ServeSettings,
        notary: Option<Rc<Notary>>,
    ) -> Option<Self> {
        let network = network.zip(serve.port);
        let vsock = vsock.zip(serve.vsock_port);
        if network.is_none() && vsock.is_none() {
            return None;
        }
        let heap_bytes = (machine.heap_usage)().size_bytes;
        let buffer_bytes = Sockets::buffer_bytes(heap_bytes);
        let defaults = Limits::default();
        let limits = Limits { body_bytes: defaults.body_bytes.min(heap_bytes / 8), ..defaults };
        let now_us = (machine.clock_us)();
        let settings = Settings {
            limits,
            // The remaining connections wait until there is room, instead of being turned away.
            max_connections: Sockets::COUNT * 3 / 4,
            keys: serve.keys.clone(),
            admin: serve.admin,
            start_unix_s: start_unix_s(machine, now_us),
            nonce: (machine.random_seed)() << 32 | (machine.random_seed)(),
            notary,
            secret: machine.secret,
            sealed_only: serve.sealed_only,
            speculate: 0,
            random: machine.random_seed,
            is_memory_low: machine.is_heap_low,
        };
        let server =
            Server::new(settings, now_us).inspect_err(|error| log::warn!("serve: {}", error.message)).ok()?;
        let sockets = network.map(|(network, port)| {
            let socket_bytes = Sockets::COUNT * 2 * buffer_bytes;
            log::info!("serve: {} sockets, {} KiB of the heap for them", Sockets::COUNT, socket_bytes >> 10);
            Sockets::new(&mut network.borrow_mut(), buffer_bytes, port)
        });
        let vsock = vsock.map(|(device, port)| Vsock::new(device, port, machine.n_interrupts));
        Some(Self { server, sockets, vsock })
    }
}
