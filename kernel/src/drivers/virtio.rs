//! virtio block devices, over MMIO and PCI.
//!
//! The queues and the protocol are `virtio_drivers`'; here are its access to memory, which is
//! identity-mapped and coherent, and the adapter to [`storage`](crate::storage), which keeps several
//! requests in flight.

use crate::{
    arch::time,
    machine::Registers,
    pci,
    storage::{
        BlockDevice, ReadError,
        sectors::{self, FailedRequest, SECTOR_BYTES, Sectors},
    },
};
use alloc::{
    alloc::{alloc_zeroed, dealloc},
    boxed::Box,
    format,
    string::String,
    vec::Vec,
};
use core::{
    alloc::Layout,
    array,
    ops::{ControlFlow, Range},
    ptr::NonNull,
    slice::ChunksMut,
};
use log::warn;
use virtio_drivers::{
    BufferDirection, Hal, PAGE_SIZE, PhysAddr,
    device::blk::{BlkReq, BlkResp, VirtIOBlk},
    transport::{
        DeviceType, SomeTransport, Transport,
        mmio::{MmioTransport, VirtIOHeader},
        pci::{PciTransport, bus::PciRoot},
    },
};

/// Memory as devices see it: the same addresses, no caches to flush.
struct IdentityHal;

fn dma_layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("a queue is a few pages")
}

// SAFETY: blocks come zeroed and page-aligned from the heap and are exclusive until they are given
// back; physical and virtual addresses are the same, and the device is coherent with the caches.
unsafe impl Hal for IdentityHal {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: no queue has zero pages.
        let block = unsafe { alloc_zeroed(dma_layout(pages)) };
        match NonNull::new(block) {
            Some(block) => (block.as_ptr().expose_provenance() as PhysAddr, block),
            // The caller takes address 0 for a failure.
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, block: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: the caller passes what `dma_alloc` returned.
        unsafe { dealloc(block.as_ptr(), dma_layout(pages)) };
        0
    }

    unsafe fn mmio_phys_to_virt(address: PhysAddr, _size: usize) -> NonNull<u8> {
        let address = core::ptr::with_exposed_provenance_mut(address as usize);
        NonNull::new(address).expect("address 0 is given to no BAR")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr().expose_provenance() as PhysAddr
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// The most that one request transfers.
const REQUEST_BYTES: usize = 4 << 20;

/// Requests that a disk works on at the same time. Measured under QEMU: four of 4 MiB are as fast as any,
/// and more so than one after the other, since the host copies on several cores.
const REQUESTS_IN_FLIGHT: usize = 4;

/// How long a finished request is looked out for before the core sleeps: some small requests.
const AWAKE_US: u64 = 100;

/// A request that a device is working on: what it reads and writes until it is done.
#[derive(Default)]
struct Request<'a> {
    /// What the queue calls it; `None` while the slot is free.
    token: Option<u16>,
    first: u64,
    header: BlkReq,
    status: BlkResp,
    buffer: &'a mut [u8],
}

impl Request<'_> {
    fn failed(&self) -> FailedRequest {
        FailedRequest { first: self.first, count: self.buffer.len() / SECTOR_BYTES }
    }
}

/// A block device on a virtio transport.
struct VirtioDisk {
    device: VirtIOBlk<IdentityHal, SomeTransport<'static>>,
    serial: String,
    transport: String,
}

impl VirtioDisk {
    fn new(transport: SomeTransport<'static>, transport_name: String) -> Result<Self, virtio_drivers::Error> {
        let mut device = VirtIOBlk::new(transport)?;
        let mut serial = [0; 20];
        // A device without a serial number refuses the question.
        let length = device.device_id(&mut serial).unwrap_or(0);
        Ok(Self {
            device,
            serial: String::from_utf8_lossy(&serial[..length]).into_owned(),
            transport: transport_name,
        })
    }
}

impl VirtioDisk {
    /// Gives a request to the device.
    fn start(&mut self, request: &mut Request<'_>) -> Result<(), FailedRequest> {
        let Request { first, header, status, buffer, .. } = request;
        // SAFETY: the request stays in its place, and nobody touches it, until `finish_one` has taken its
        // token back: `transfer` does not return before.
        let token = unsafe { self.device.read_blocks_nb(*first as usize, header, buffer, status) };
        request.token = token.ok();
        // A queue has room for more requests than are ever in flight, so there is always a token.
        request.token.map(|_| ()).ok_or(request.failed())
    }

    /// Takes a finished request back and says what came of it; `None` if none has finished.
    fn finish_one(&mut self, requests: &mut [Request<'_>]) -> Option<Result<(), FailedRequest>> {
        let token = self.device.peek_used()?;
        let request = requests.iter_mut().find(|request| request.token == Some(token))?;
        request.token = None;
        let Request { header, status, buffer, .. } = request;
        // SAFETY: these are the parts that `start` gave to the device under this token.
        let completed = unsafe { self.device.complete_read_blocks(token, header, buffer, status) };
        Some(completed.map_err(|_| request.failed()))
    }

    /// Keeps requests in flight until there are no more.
    fn transfer<'b>(&mut self, work: &mut dyn Transfer<'b>) -> Result<(), FailedRequest> {
        // A ring, in the order of the disk. They stay where they are for as long as the device may use them:
        // until none is in flight.
        let mut requests: [Request<'b>; REQUESTS_IN_FLIGHT] = array::from_fn(|_| Request::default());
        let (mut n_started, mut n_taken) = (0, 0);
        let mut result = Ok(());
        let mut is_over = false;
        let mut idle_since_us = time::now_us();
        loop {
            while !is_over
                && n_started - n_taken < REQUESTS_IN_FLIGHT
                && let Some((first, buffer)) = work.next()
            {
                let request = &mut requests[n_started % REQUESTS_IN_FLIGHT];
                (request.first, request.buffer) = (first, buffer);
                n_started += 1;
                result = self.start(request);
                is_over = result.is_err();
            }
            if n_started == n_taken {
                return result;
            }
            let oldest = &mut requests[n_taken % REQUESTS_IN_FLIGHT];
            if oldest.token.is_none() {
                n_taken += 1;
                let read = core::mem::take(&mut oldest.buffer);
                if !is_over {
                    is_over = work.take(read).is_break();
                }
                idle_since_us = time::now_us();
                continue;
            }
            match self.finish_one(&mut requests) {
                Some(completed) => {
                    result = result.and(completed);
                    is_over |= result.is_err();
                    idle_since_us = time::now_us();
                }
                None if time::now_us() - idle_since_us < AWAKE_US => core::hint::spin_loop(),
                // The host may need this core for the copying.
                None => time::nap(),
            }
        }
    }
}

impl Sectors for VirtioDisk {
    fn sector_count(&self) -> u64 {
        self.device.capacity()
    }

    fn read_sectors(&mut self, first: u64, buffer: &mut [u8]) -> Result<(), FailedRequest> {
        self.transfer(&mut InPlace { sector: first, chunks: buffer.chunks_mut(REQUEST_BYTES) })
    }

    fn read_lots(
        &mut self,
        sectors: Range<u64>,
        buffer: &mut [u8],
        use_lot: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), FailedRequest> {
        let lot_bytes = buffer.len() / REQUESTS_IN_FLIGHT / SECTOR_BYTES * SECTOR_BYTES;
        let mut lots = buffer.chunks_exact_mut(lot_bytes);
        self.transfer(&mut InLots { sectors, free: array::from_fn(|_| lots.next()), use_lot })
    }
}

/// What is to be read, request by request.
trait Transfer<'b> {
    /// The first sector of the next request, and where its sectors go.
    fn next(&mut self) -> Option<(u64, &'b mut [u8])>;

    /// Takes what a request has read, in the order of the requests. To break off means no more requests.
    fn take(&mut self, read: &'b mut [u8]) -> ControlFlow<()>;
}

/// Sectors that are read to where they belong.
struct InPlace<'b> {
    sector: u64,
    chunks: ChunksMut<'b, u8>,
}

impl<'b> Transfer<'b> for InPlace<'b> {
    fn next(&mut self) -> Option<(u64, &'b mut [u8])> {
        let chunk = self.chunks.next()?;
        let first = self.sector;
        self.sector += (chunk.len() / SECTOR_BYTES) as u64;
        Some((first, chunk))
    }

    fn take(&mut self, _: &'b mut [u8]) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Sectors that are shown to somebody.
struct InLots<'b, 'u> {
    sectors: Range<u64>,
    free: [Option<&'b mut [u8]>; REQUESTS_IN_FLIGHT],
    use_lot: &'u mut dyn FnMut(&[u8]) -> ControlFlow<()>,
}

impl<'b> Transfer<'b> for InLots<'b, '_> {
    fn next(&mut self) -> Option<(u64, &'b mut [u8])> {
        let first = self.sectors.start;
        if self.sectors.is_empty() {
            return None;
        }
        let place = self.free.iter_mut().find_map(Option::take)?;
        let count = (self.sectors.end - first).min((place.len() / SECTOR_BYTES) as u64);
        self.sectors.start += count;
        Some((first, &mut place[..count as usize * SECTOR_BYTES]))
    }

    fn take(&mut self, read: &'b mut [u8]) -> ControlFlow<()> {
        let end = (self.use_lot)(read);
        if let Some(free) = self.free.iter_mut().find(|free| free.is_none()) {
            *free = Some(read);
        }
        end
    }
}

impl BlockDevice for VirtioDisk {
    fn capacity_bytes(&self) -> u64 {
        self.sector_count().saturating_mul(SECTOR_BYTES as u64)
    }

    fn serial(&self) -> &str {
        &self.serial
    }

    fn transport(&self) -> &str {
        &self.transport
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        sectors::read_bytes(self, offset_bytes, buffer)
    }

    fn read_pieces(
        &mut self,
        range: Range<u64>,
        buffer: &mut [u8],
        use_piece: &mut dyn FnMut(&[u8]) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        sectors::read_pieces(self, range, buffer, use_piece)
    }
}

/// The block devices behind virtio-mmio transports.
///
/// # Safety
/// `transports` must be mapped for ever and used by nothing else.
pub unsafe fn mmio_disks(transports: &[Registers]) -> Vec<Box<dyn BlockDevice>> {
    let disks = transports.iter().filter_map(|registers| {
        let header = core::ptr::with_exposed_provenance_mut(registers.address as usize);
        let header = NonNull::<VirtIOHeader>::new(header)?;
        let size_bytes = registers.size_bytes as usize;
        // SAFETY: the caller promises mapped registers that nothing else uses.
        let transport = unsafe { MmioTransport::new(header, size_bytes) };
        // An error is a transport with nothing plugged in.
        let transport = SomeTransport::from(transport.ok()?);
        disk(transport, String::from("virtio-mmio"))
    });
    disks.collect()
}

/// The block devices among the functions of a PCI bus that has been enumerated.
pub fn pci_disks<C: pci::ConfigurationAccess>(
    root: &mut PciRoot<C>,
    functions: &[pci::Function],
) -> Vec<Box<dyn BlockDevice>> {
    // VIRTIO 1.2, 4.1.2 and 5.2: transitional and modern block devices.
    const BLOCK_DEVICES: [(u16, u16); 2] = [(0x1af4, 0x1001), (0x1af4, 0x1042)];
    let is_disk =
        |function: &&pci::Function| BLOCK_DEVICES.contains(&(function.vendor_id, function.device_id));
    let disks = functions.iter().filter(is_disk).filter_map(|function| {
        let name = format!("virtio-pci {}", function.address);
        match PciTransport::new::<IdentityHal, C>(root, function.address) {
            Ok(transport) => disk(SomeTransport::from(transport), name),
            Err(error) => {
                warn!("{name}: {error}");
                None
            }
        }
    });
    disks.collect()
}

fn disk(transport: SomeTransport<'static>, name: String) -> Option<Box<dyn BlockDevice>> {
    if transport.device_type() != DeviceType::Block {
        return None;
    }
    match VirtioDisk::new(transport, name.clone()) {
        Ok(disk) => Some(Box::new(disk)),
        Err(error) => {
            warn!("{name}: {error}");
            None
        }
    }
}
