//! Memory as virtio devices see it: at the same addresses, and coherent with the caches.

use alloc::alloc::{alloc_zeroed, dealloc};
use core::{alloc::Layout, ptr::NonNull};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

/// Identity-mapped, coherent memory from the heap.
#[derive(Debug)]
pub struct IdentityHal;

fn dma_layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("a queue is a few pages")
}

// SAFETY: blocks come from the heap, zeroed and page-aligned, and are exclusive until they are freed; physical and virtual
// addresses are the same, and the device is coherent with the caches.
unsafe impl Hal for IdentityHal {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: the layout is not empty, because no queue has zero pages.
        let block = unsafe { alloc_zeroed(dma_layout(pages)) };
        match NonNull::new(block) {
            Some(block) => (block.as_ptr().expose_provenance() as PhysAddr, block),
            // For the caller, address 0 means failure.
            None => (0, NonNull::dangling()),
        }
    }

    unsafe fn dma_dealloc(_: PhysAddr, block: NonNull<u8>, pages: usize) -> i32 {
        // SAFETY: the caller passes a block that `dma_alloc` returned.
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
