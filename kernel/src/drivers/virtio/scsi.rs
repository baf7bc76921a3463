//! The SCSI host adapter: its features, its configuration, and its queue of requests (VIRTIO 1.2, 5.6).

use super::{
    negotiation::{self, feature},
    queue::{Queue, RINGS_BYTES, SHORTEST},
    transport::AnyTransport,
    vectors::Vectors,
};
use crate::drivers::{
    requests::{
        Broken, LARGEST_REQUEST_BYTES, Surroundings,
        controller::{Controller, MAX_IN_FLIGHT, Unit, Units},
    },
    scsi::{
        self, Address, Carrier, Cdb, MAX_ANSWER_BYTES, Refusal,
        request::{NO_RESPONSE, Request, Response, outcome, request},
    },
};
use alloc::{boxed::Box, vec, vec::Vec};
use core::{
    mem::{ManuallyDrop, forget, take},
    ptr::{self, NonNull},
};
use virtio_drivers::transport::{DeviceStatus, Transport};

use super::block::InitError;

const SUPPORTED: u64 = feature::INDIRECT_DESC | feature::VERSION_1 | feature::ACCESS_PLATFORM;

/// Number of the first request queue; the queues before it are for task management and for events.
const QUEUE: u16 = 2;

/// Offsets in the configuration (VIRTIO 1.2, 5.6.4).
mod configuration {
    pub const MAX_SECTORS: usize = 8;
    pub const MAX_TARGET: usize = 30;
}

/// How often a request is repeated if a unit asks for that.
const TRIES: u8 = 8;

/// How long a command other than a read may take.
const COMMAND_US: u64 = 5_000_000;

/// A request and its result.
struct Slot {
    /// The token in the queue; `None` if the device does not have the request.
    token: Option<u16>,
    request: Request,
    response: Response,
    place: *mut [u8],
    tries: u8,
    /// When to repeat the request to a busy unit.
    again_us: Option<u64>,
    outcome: Option<Result<usize, Refusal>>,
    /// For a read: the disk, and the number of the block after the last one.
    read: Option<(Unit, u64)>,
}

impl Default for Slot {
    fn default() -> Self {
        Self {
            token: None,
            request: [0; _],
            response: NO_RESPONSE,
            place: ptr::slice_from_raw_parts_mut(ptr::null_mut(), 0),
            tries: 0,
            again_us: None,
            outcome: None,
            read: None,
        }
    }
}

/// A host adapter.
pub struct VirtioScsi {
    /// Wrapped because dropping a transport resets the device, and may wait for ever; [`halt`](Controller::halt) does it with a
    /// time limit.
    transport: ManuallyDrop<AnyTransport>,
    /// Set if it interrupts by messages.
    vectors: Option<Vectors>,
    surroundings: Surroundings,
    /// `None` while the device is stopped.
    queue: Option<Queue>,
    /// The last one is for commands other than reads.
    slots: Vec<Slot>,
    /// The data that such commands return.
    answer: Box<[u8]>,
    limit_bytes: usize,
    max_target: u8,
}

// SAFETY: the pointers in the slots lead to memory that belongs to the device while there is a token, and are not followed otherwise.
unsafe impl Send for VirtioScsi {}

impl VirtioScsi {
    /// Starts the device behind `transport`; with `vectors` it interrupts by messages.
    ///
    /// # Errors
    /// [`InitError`].
    pub fn new(
        transport: AnyTransport,
        vectors: Option<Vectors>,
        surroundings: Surroundings,
    ) -> Result<Self, InitError> {
        let mut adapter = Self {
            transport: ManuallyDrop::new(transport),
            vectors,
            surroundings,
            queue: None,
            slots: Vec::new(),
            answer: Box::default(),
            limit_bytes: 0,
            max_target: 0,
        };
        let started = adapter.initialise();
        if started.is_err() {
            adapter.give_up();
        }
        started.map(|()| adapter)
    }

    /// Device initialisation (VIRTIO 1.2, 3.1.1).
    fn initialise(&mut self) -> Result<(), InitError> {
        if !negotiation::reset(&mut *self.transport, self.surroundings) {
            return Err(InitError::NoReset);
        }
        let (features, status) = negotiation::negotiate(&mut *self.transport, SUPPORTED)
            .map_err(|offered| InitError::Features { offered })?;
        let indirect = features & feature::INDIRECT_DESC != 0;
        let length = self.transport.max_queue_size(QUEUE);
        // Request, response and data take three descriptors; the queue must have room for a read and one other command.
        let per_request = if indirect { 1 } else { 3 };
        if length < SHORTEST.max(2 * per_request) {
            return Err(InitError::ShortQueue { length });
        }
        let interrupts = self.vectors.is_some_and(|vectors| vectors.assign(QUEUE));
        let queue = Queue::new(&mut *self.transport, QUEUE, indirect, interrupts)?;
        let n_slots = (queue.len() / per_request as usize).min(MAX_IN_FLIGHT);
        self.queue = Some(queue);
        self.slots = Vec::new();
        self.slots.resize_with(n_slots, Slot::default);
        self.answer = vec![0; MAX_ANSWER_BYTES].into();
        let max_sectors: u32 = self.transport.read_config_space(configuration::MAX_SECTORS)?;
        self.limit_bytes = (max_sectors as usize).saturating_mul(512).min(LARGEST_REQUEST_BYTES);
        let max_target: u16 = self.transport.read_config_space(configuration::MAX_TARGET)?;
        self.max_target = max_target.min(255) as u8;
        self.transport.set_status(status | DeviceStatus::DRIVER_OK);
        Ok(())
    }

    /// Tells the device that it will not be used, and takes back its memory.
    fn give_up(&mut self) {
        self.transport.set_status(DeviceStatus::FAILED);
        let _ = self.halt();
    }

    /// Gives the device the request in a slot.
    ///
    /// # Safety
    /// The slot's place must be valid, and must not be accessed before the slot has a result or the device has been reset.
    unsafe fn submit(&mut self, slot: usize) -> Result<(), Broken> {
        let queue = self.queue.as_mut().ok_or(Broken)?;
        let slot = self.slots.get_mut(slot).filter(|slot| slot.token.is_none()).ok_or(Broken)?;
        slot.response = NO_RESPONSE;
        (slot.outcome, slot.again_us) = (None, None);
        // SAFETY: the caller promises that the place is valid.
        let place = unsafe { &mut *slot.place };
        let mut parts = [&mut slot.response[..], place];
        let n_parts = if parts[1].is_empty() { 1 } else { 2 };
        // SAFETY: the caller promises that only the device uses the place from now on; the slot is reserved by its token.
        let token = unsafe { queue.start(&mut *self.transport, &[&slot.request], &mut parts[..n_parts]) };
        slot.token = Some(token.map_err(|_| Broken)?);
        Ok(())
    }

    /// Takes back one answer; false if there is none.
    fn poll(&mut self) -> Result<bool, Broken> {
        let queue = self.queue.as_mut().ok_or(Broken)?;
        let Some(token) = queue.peek() else { return Ok(false) };
        let index = self.slots.iter().position(|slot| slot.token == Some(token)).ok_or(Broken)?;
        let slot = &mut self.slots[index];
        // SAFETY: these are the buffers that `submit` gave to the device under this token.
        let finished = unsafe {
            let place = &mut *slot.place;
            let mut parts = [&mut slot.response[..], place];
            let n_parts = if parts[1].is_empty() { 1 } else { 2 };
            queue.finish(token, &[&slot.request], &mut parts[..n_parts])
        };
        let n_written = finished.map_err(|_| Broken)? as usize;
        slot.token = None;
        // SAFETY: the response lies in the slot. The read is volatile because the device has written to it without the compiler knowing.
        let response = unsafe { (&raw const slot.response).read_volatile() };
        let mut outcome = outcome(&response, slot.place.len());
        // Some devices count nothing, or only the response, such as Linux' vhost-scsi; their data has to be trusted.
        let is_counted = n_written != 0 && n_written != response.len();
        if is_counted && outcome.is_ok_and(|n_bytes| n_written < response.len() + n_bytes) {
            outcome = Err(Refusal::Failed);
        }
        slot.tries = slot.tries.saturating_add(1);
        let is_passing = |refusal: Refusal| refusal.is_passing() && !refusal.is_change();
        if slot.read.is_some() && slot.tries < TRIES && outcome.is_err_and(is_passing) {
            if outcome == Err(Refusal::Busy) {
                let pause_us = scsi::pause_us(u32::from(slot.tries - 1));
                slot.again_us = Some((self.surroundings.clock_us)() + pause_us);
                return Ok(true);
            }
            // SAFETY: the request is not reported as finished yet, so its place is still reserved for the device.
            unsafe { self.submit(index) }?;
            return Ok(true);
        }
        slot.outcome = Some(outcome);
        Ok(true)
    }

    /// Repeats requests to units that were busy, when it is time.
    fn ask_again(&mut self) -> Result<(), Broken> {
        for index in 0..self.slots.len() {
            if self.slots[index].again_us.is_some_and(|time_us| time_us <= (self.surroundings.clock_us)()) {
                // SAFETY: the request is not reported as finished yet, so its place is still reserved for the device.
                unsafe { self.submit(index) }?;
            }
        }
        Ok(())
    }
}

impl Carrier for VirtioScsi {
    fn execute(&mut self, unit: Address, command: &Cdb, data: &mut [u8]) -> Result<usize, Refusal> {
        let last = self.slots.len().checked_sub(1).ok_or(Refusal::Silent)?;
        if self.slots[last].token.is_some() {
            while self.poll() == Ok(true) {}
            if self.slots[last].token.is_some() {
                // It is still pending, and its data would go to the same memory.
                return Err(Refusal::Silent);
            }
        }
        let length = data.len().min(self.answer.len());
        let slot = &mut self.slots[last];
        (slot.request, slot.read) = (request(unit, command), None);
        slot.place = &raw mut self.answer[..length];
        // SAFETY: the answer is not read before the slot has a result.
        if unsafe { self.submit(last) }.is_err() {
            return Err(Refusal::Silent);
        }
        let surroundings = self.surroundings;
        surroundings.wait_until(COMMAND_US, &mut || {
            // If the device breaks the rules, the next read reports that.
            self.poll().is_err() || self.slots[last].outcome.is_some()
        });
        let n_bytes = self.slots[last].outcome.take().unwrap_or(Err(Refusal::Silent))?;
        let (told, rest) = data.split_at_mut(n_bytes.min(length));
        told.copy_from_slice(&self.answer[..told.len()]);
        rest.fill(0);
        Ok(n_bytes)
    }

    fn pause(&mut self, duration_us: u64) {
        self.surroundings.wait_until(duration_us, &mut || false);
    }

    fn now_us(&self) -> u64 {
        (self.surroundings.clock_us)()
    }
}

impl Controller for VirtioScsi {
    fn max_in_flight(&self) -> usize {
        self.slots.len().saturating_sub(1)
    }

    fn units(&mut self) -> Units {
        let (max_target, limit_bytes) = (self.max_target, self.limit_bytes);
        scsi::find_units(self, max_target, limit_bytes)
    }

    fn sector_count(&mut self, unit: &Unit) -> Option<u64> {
        scsi::sector_count(self, unit)
    }

    unsafe fn start(
        &mut self,
        tag: usize,
        unit: &Unit,
        first: u64,
        place: NonNull<[u8]>,
    ) -> Result<(), Broken> {
        let slot = self.slots.get_mut(tag).ok_or(Broken)?;
        let n_blocks = place.len() / unit.geometry.block_bytes;
        slot.request = request(Address::from_number(unit.number), &scsi::read(first, n_blocks as u32));
        slot.place = place.as_ptr();
        (slot.tries, slot.read) = (0, Some((*unit, first.saturating_add(n_blocks as u64))));
        // SAFETY: the caller promises that only the device uses the place from now on.
        unsafe { self.submit(tag) }
    }

    fn finish(&mut self) -> Result<Option<(usize, bool)>, Broken> {
        loop {
            let reads = self.slots.len().saturating_sub(1);
            for tag in 0..reads {
                let slot = &mut self.slots[tag];
                let Some(outcome) = slot.outcome.take() else { continue };
                let succeeded = outcome == Ok(slot.place.len());
                if let (Some((unit, end)), true) =
                    (slot.read, outcome.is_err_and(|refusal| refusal.is_change()) && slot.tries < TRIES)
                    && scsi::still_has(self, &unit, end)
                {
                    // SAFETY: the request is not reported as finished yet, so its place is still reserved for the device.
                    unsafe { self.submit(tag) }?;
                    continue;
                }
                return Ok(Some((tag, succeeded)));
            }
            self.ask_again()?;
            if !self.poll()? {
                return Ok(None);
            }
        }
    }

    fn is_broken(&self) -> bool {
        negotiation::is_broken(&*self.transport)
    }

    fn halt(&mut self) -> Result<(), usize> {
        if negotiation::reset(&mut *self.transport, self.surroundings) {
            self.unplugged();
            return Ok(());
        }
        // The device may keep using them.
        let queue_bytes = self.queue.take().map_or(0, |queue| {
            forget(queue);
            RINGS_BYTES
        });
        let (slots, answer) = (take(&mut self.slots), take(&mut self.answer));
        let n_bytes = queue_bytes + size_of_val(&*slots) + answer.len();
        forget((slots, answer));
        Err(n_bytes)
    }

    fn restart(&mut self) -> Result<(), Broken> {
        let (n_slots, limit_bytes) = (self.slots.len(), self.limit_bytes);
        let started = self.initialise();
        if started.is_ok() && self.slots.len() >= n_slots && self.limit_bytes >= limit_bytes {
            self.limit_bytes = limit_bytes;
            return Ok(());
        }
        self.give_up();
        Err(Broken)
    }

    fn unplugged(&mut self) {
        self.queue = None;
        for slot in &mut self.slots {
            (slot.token, slot.again_us, slot.outcome) = (None, None, None);
        }
    }
}
