//! Disks that share a controller: namespaces of NVMe, logical units of SCSI.
//!
//! A [`Controller`] carries the requests of all its disks in one queue. [`Shared`] finds out which disk each answer belongs to,
//! and [`UnitChannel`] is the [`Channel`] of one disk. Resetting one disk resets the controller, so the requests of the other
//! disks fail. [`Shared`] owns the memory that devices write to only through its controller.

use super::{Ask, Broken, Channel, Geometry, REQUESTS_IN_FLIGHT};
use crate::storage::sectors::SECTOR_BYTES;
use alloc::{boxed::Box, string::String, sync::Arc, vec, vec::Vec};
use core::{cell::Cell, ptr::NonNull};
use spin::Mutex;

/// The most requests that drivers give a controller at a time: enough for four busy disks.
pub const MAX_IN_FLIGHT: usize = 16;

/// How long a search for disks behind a controller may take.
pub const SEARCH_US: u64 = 10_000_000;

/// Why a search was not completed: the controller has not answered.
pub const SILENT: &str = "it does not answer";

/// Why a search was not completed: [`SEARCH_US`] have passed.
pub const SLOW: &str = "it is not searched further: it has taken 10 s";

/// A disk behind a controller, as the controller knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit {
    /// The controller's number for it: a namespace, or a logical unit of a target.
    pub number: u64,
    /// Its size and shape.
    pub geometry: Geometry,
}

/// A disk that was found behind a controller.
#[derive(Debug, PartialEq, Eq)]
pub struct FoundUnit {
    /// What is needed to make requests.
    pub unit: Unit,
    /// Its name, without the controller's: `namespace 1`.
    pub name: String,
    /// Its serial number, empty if it has none.
    pub serial: String,
}

/// A device behind a controller that cannot be used as a disk: its name without the controller's, what it is, and why it cannot be used.
pub type Refused = (String, &'static str, String);

/// What is behind a controller.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// The disks.
    pub disks: Vec<FoundUnit>,
    /// The devices that cannot be used.
    pub refused: Vec<Refused>,
    /// Devices that could not be identified, so each may still be what it was before. Given by their names without the
    /// controller's, or by the beginnings of these up to a colon.
    pub unsure: Vec<String>,
    /// Why there may be more devices; `None` if the search was complete.
    pub unfinished: Option<&'static str>,
}

impl Units {
    /// Whether, as far as the controller knows, a disk of this name may still be there.
    pub fn may_have(&self, name: &str) -> bool {
        self.unfinished.is_some()
            || self.disks.iter().any(|disk| disk.name == name)
            || self
                .unsure
                .iter()
                .any(|unsure| name == unsure || unsure.ends_with(':') && name.starts_with(&**unsure))
    }
}

/// Carries requests for several disks.
pub trait Controller: Send {
    /// How many requests there can be at a time, at least one.
    fn max_in_flight(&self) -> usize;

    /// Searches for the disks behind the controller.
    fn units(&mut self) -> Units;

    /// Tells the device that it will not be used any more, if it needs to know that before it is stopped.
    fn shut_down(&mut self) {}

    /// Asks for the size of a disk; `None` if there is no answer, 0 if the disk is gone or has another geometry now.
    fn sector_count(&mut self, unit: &Unit) -> Option<u64>;

    /// Gives the controller a request for blocks from block `first` on. `tag`, which must be below
    /// [`max_in_flight`](Self::max_in_flight) and not in use, identifies the request until it is finished.
    ///
    /// # Errors
    /// If the controller accepts no request.
    ///
    /// # Safety
    /// The requirements of [`Channel::start`].
    unsafe fn start(
        &mut self,
        tag: usize,
        unit: &Unit,
        first: u64,
        place: NonNull<[u8]>,
    ) -> Result<(), Broken>;

    /// A request that the controller has finished, and whether it succeeded; `None` if there is none.
    ///
    /// # Errors
    /// If the controller reports a request as finished that it was not given.
    fn finish(&mut self) -> Result<Option<(usize, bool)>, Broken>;

    /// See [`Channel::is_broken`].
    fn is_broken(&self) -> bool;

    /// See [`Channel::halt`].
    ///
    /// # Errors
    /// Those of [`Channel::halt`].
    fn halt(&mut self) -> Result<(), usize>;

    /// See [`Channel::restart`].
    ///
    /// # Errors
    /// Those of [`Channel::restart`].
    fn restart(&mut self) -> Result<(), Broken>;

    /// See [`Channel::unplugged`].
    fn unplugged(&mut self);
}

/// The disk that a request belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    unit: u64,
    slot: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tag {
    Free,
    Asked(Owner),
    /// Answered, or lost by a reset; the flag says whether it succeeded. The disk has not been told yet.
    Done(Owner, bool),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// The device is stopped and uses no memory.
    Stopped,
    /// The device has not confirmed that it stopped.
    Runaway,
}

/// A controller, and the owners of its requests.
pub struct Shared {
    controller: Box<dyn Controller>,
    tags: Vec<Tag>,
    /// The disks in use.
    used: Vec<Unit>,
    state: State,
    /// Set when this driver must not use the device any more.
    is_over: bool,
}

impl Shared {
    /// Shares a controller that has been started.
    pub fn new(controller: Box<dyn Controller>) -> Arc<Mutex<Self>> {
        let tags = vec![Tag::Free; controller.max_in_flight().max(1)];
        Arc::new(Mutex::new(Self {
            controller,
            tags,
            used: Vec::new(),
            state: State::Running,
            is_over: false,
        }))
    }

    /// How many disks there can be at a time.
    pub fn max_units(&self) -> usize {
        self.tags.len()
    }

    /// True if it accepts requests.
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// Searches for the disks behind the controller.
    pub fn units(&mut self) -> Units {
        self.controller.units()
    }

    /// Whether a disk is in use whose block size has changed, or whose commands now transfer less. If the limit appears to have
    /// grown, it may just not have been reported, so the disk counts as the same.
    pub fn is_stale(&self, unit: &Unit) -> bool {
        let Unit { number, geometry } = *unit;
        let is_stale = |used: &Unit| {
            let before = &used.geometry;
            used.number == number
                && (before.block_bytes != geometry.block_bytes
                    || before.request_bytes > geometry.request_bytes)
        };
        self.used.iter().any(is_stale)
    }

    /// Gives up the device: its disks will not restart it any more.
    pub fn leave(&mut self) {
        if self.is_running() {
            self.controller.shut_down();
            let _ = self.halt();
        }
        self.is_over = true;
    }

    /// Says that the device is no longer there.
    pub fn unplugged(&mut self) {
        self.controller.unplugged();
        self.state = State::Stopped;
        self.is_over = true;
    }

    fn halt(&mut self) -> Result<(), usize> {
        match self.state {
            State::Running => {}
            State::Stopped => return Ok(()),
            // Memory of the controller's own has been counted before.
            State::Runaway => return Err(0),
        }
        let halted = self.controller.halt();
        self.state = if halted.is_ok() { State::Stopped } else { State::Runaway };
        if halted.is_ok() {
            for tag in &mut self.tags {
                if let Tag::Asked(owner) = *tag {
                    *tag = Tag::Done(owner, false);
                }
            }
        }
        halted
    }

    fn restart(&mut self) -> Result<(), Broken> {
        if self.is_over || self.state == State::Runaway {
            return Err(Broken);
        }
        if self.state == State::Stopped {
            self.controller.restart()?;
            self.state = State::Running;
        }
        Ok(())
    }

    fn tag_of(&self, is_it: impl Fn(&Tag) -> bool) -> Option<usize> {
        self.tags.iter().position(is_it)
    }

    fn forget(&mut self, unit: u64) {
        for tag in &mut self.tags {
            if let Tag::Asked(owner) | Tag::Done(owner, _) = *tag
                && owner.unit == unit
            {
                *tag = Tag::Free;
            }
        }
    }
}

/// A controller that nobody uses any more is stopped.
impl Drop for Shared {
    fn drop(&mut self) {
        self.leave();
    }
}

/// The requests of one disk.
pub struct UnitChannel {
    shared: Arc<Mutex<Shared>>,
    unit: Unit,
    /// The size that it reported last, in sectors.
    told_sectors: Cell<u64>,
}

impl UnitChannel {
    /// The requests of a disk that the controller has found.
    pub fn new(shared: &Arc<Mutex<Shared>>, unit: Unit) -> Self {
        shared.lock().used.push(unit);
        Self { shared: shared.clone(), unit, told_sectors: Cell::new(unit.geometry.sector_count) }
    }
}

impl Drop for UnitChannel {
    fn drop(&mut self) {
        let used = &mut self.shared.lock().used;
        if let Some(index) = used.iter().position(|used| *used == self.unit) {
            used.swap_remove(index);
        }
    }
}

impl Channel for UnitChannel {
    fn max_in_flight(&self) -> usize {
        let shared = self.shared.lock();
        (shared.tags.len() / shared.used.len().max(1)).clamp(1, REQUESTS_IN_FLIGHT)
    }

    fn geometry(&self) -> Geometry {
        let mut shared = self.shared.lock();
        if shared.is_running()
            && let Some(sector_count) = shared.controller.sector_count(&self.unit)
        {
            self.told_sectors.set(sector_count);
        }
        Geometry { sector_count: self.told_sectors.get(), ..self.unit.geometry }
    }

    unsafe fn start(&mut self, slot: usize, ask: Ask, place: NonNull<[u8]>) -> Result<(), Broken> {
        let Geometry { block_bytes, align_bytes, .. } = self.unit.geometry;
        let sectors_per_block = (block_bytes / SECTOR_BYTES) as u64;
        let mut shared = self.shared.lock();
        let Ask::Sectors(first) = ask else { return Err(Broken) };
        let is_aligned = place.addr().get().is_multiple_of(align_bytes)
            && place.len().is_multiple_of(block_bytes)
            && first.is_multiple_of(sectors_per_block);
        if !shared.is_running() || !is_aligned {
            return Err(Broken);
        }
        let tag = shared.tag_of(|tag| *tag == Tag::Free).ok_or(Broken)?;
        // SAFETY: the caller promises that only the device uses the place from now on.
        unsafe { shared.controller.start(tag, &self.unit, first / sectors_per_block, place) }?;
        shared.tags[tag] = Tag::Asked(Owner { unit: self.unit.number, slot });
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<(usize, bool)>, Broken> {
        let mut shared = self.shared.lock();
        let unit = self.unit.number;
        loop {
            let is_mine = |tag: &Tag| matches!(tag, Tag::Done(owner, _) if owner.unit == unit);
            if let Some(tag) = shared.tag_of(is_mine)
                && let Tag::Done(owner, succeeded) = shared.tags[tag]
            {
                shared.tags[tag] = Tag::Free;
                return Ok(Some((owner.slot, succeeded)));
            }
            if !shared.is_running() {
                return Err(Broken);
            }
            let Some((tag, succeeded)) = shared.controller.finish()? else { return Ok(None) };
            match shared.tags.get_mut(tag) {
                Some(tag @ Tag::Asked(_)) => {
                    if let Tag::Asked(owner) = *tag {
                        *tag = Tag::Done(owner, succeeded);
                    }
                }
                _ => return Err(Broken),
            }
        }
    }

    fn is_broken(&self) -> bool {
        let shared = self.shared.lock();
        !shared.is_running() || shared.controller.is_broken()
    }

    fn halt(&mut self) -> Result<(), usize> {
        let mut shared = self.shared.lock();
        let halted = shared.halt();
        if halted.is_ok() {
            shared.forget(self.unit.number);
        }
        halted
    }

    fn close(&mut self) -> Result<(), usize> {
        let unit = self.unit.number;
        let is_asked = |tag: &Tag| matches!(tag, Tag::Asked(owner) if owner.unit == unit);
        if self.shared.lock().tag_of(is_asked).is_none() {
            self.shared.lock().forget(unit);
            return Ok(());
        }
        let halted = self.halt();
        // This lets the other disks continue.
        let _ = self.shared.lock().restart();
        halted
    }

    fn restart(&mut self) -> Result<(), Broken> {
        let mut shared = self.shared.lock();
        shared.restart()?;
        // If another disk has taken its place, its serial number is not known.
        shared.controller.sector_count(&self.unit).filter(|&count| count > 0).map(drop).ok_or(Broken)
    }

    fn unplugged(&mut self) {
        let mut shared = self.shared.lock();
        shared.unplugged();
        shared.forget(self.unit.number);
    }
}

#[cfg(test)]
mod tests;
