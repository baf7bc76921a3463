//! virtio block devices, over MMIO and PCI.
//!
//! The queues and the protocol are `virtio_drivers`'; here are its access to memory, which is
//! identity-mapped and coherent, and the adapter to [`storage`](crate::storage).

use crate::{
    device_tree::Registers,
    pci,
    storage::{
        BlockDevice, ReadError,
        sectors::{self, SECTOR_BYTES, Sectors},
    },
};
use alloc::{
    alloc::{alloc_zeroed, dealloc},
    boxed::Box,
    format,
    string::String,
    vec::Vec,
};
use core::{alloc::Layout, ptr::NonNull};
use log::warn;
use virtio_drivers::{
    BufferDirection, Hal, PAGE_SIZE, PhysAddr,
    device::blk::VirtIOBlk,
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

impl Sectors for VirtioDisk {
    fn sector_count(&self) -> u64 {
        self.device.capacity()
    }

    fn read_sectors(&mut self, first: u64, buffer: &mut [u8]) -> bool {
        self.device.read_blocks(first as usize, buffer).is_ok()
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
