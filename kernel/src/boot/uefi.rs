//! The kernel as a UEFI application: collects everything that it needs from the firmware, then exits boot services.
//!
//! This runs on the firmware's stack and memory map, before the kernel's variables are cleared, so it keeps nothing in them.
//! Section numbers refer to the UEFI Specification 2.10.

use crate::{
    arch::time,
    firmware::{self, MemoryMap, Told},
};
use core::{ffi::c_void, ptr, slice};
use uefi_raw::{
    Guid, Handle, Status, guid,
    protocol::{
        file_system::{FileAttribute, FileMode, FileProtocolV1, SimpleFileSystemProtocol},
        loaded_image::LoadedImageProtocol,
        rng::RngProtocol,
    },
    table::{
        boot::{BootServices, MemoryDescriptor, MemoryType},
        system::SystemTable,
    },
    time::Time,
};

/// `EFI_DTB_TABLE` (4.6.1.3), and ACPI's root pointer.
const DEVICE_TREE: Guid = guid!("b1b621d5-f19c-41a5-830b-d9152c69aae0");
const ACPI_20: Guid = guid!("8868e871-e4f1-11d3-bc22-0080c73c8881");

/// The file with boot arguments, on the partition from which the kernel was loaded.
const CONFIGURATION: [u16; 13] = {
    let name = b"\\ferrite.cfg\0";
    let mut units = [0; 13];
    let mut at = 0;
    while at < units.len() {
        units[at] = name[at] as u16;
        at += 1;
    }
    units
};

/// The most bytes of boot arguments that are read.
const MAX_ARGS_BYTES: usize = 64 << 10;

/// How often to fetch the memory map again if it is out of date by the time it is used.
const TRIES: usize = 8;

/// What entry.s receives: either a status to return to the firmware, or the collected data and the address of the tree to boot with.
#[repr(C)]
struct Outcome {
    status_or_tree: u64,
    told: *const Told,
}

/// Called by entry.s on the firmware's stack. Returns either an error, while the firmware can still be returned to, or the
/// collected data, after boot services have been exited.
///
/// # Safety
/// `image` and `table` must be the arguments with which UEFI firmware started the image.
#[unsafe(no_mangle)]
unsafe extern "C" fn efi_main(image: Handle, table: *const SystemTable) -> Outcome {
    // SAFETY: the caller promises that `table` is the firmware's table; its boot services are valid until they are exited.
    let result = unsafe { Firmware { image, table: &*table, boot: &*(*table).boot_services }.leave() };
    match result {
        // SAFETY: `leave` has just initialised what `told` points to.
        Ok(told) => Outcome { status_or_tree: unsafe { (*told).tree_address }, told },
        Err(status) => Outcome { status_or_tree: status.0 as u64, told: ptr::null() },
    }
}

struct Firmware<'f> {
    image: Handle,
    table: &'f SystemTable,
    boot: &'f BootServices,
}

impl Firmware<'_> {
    /// Collects everything and exits boot services.
    ///
    /// # Safety
    /// Boot services must be available.
    unsafe fn leave(&self) -> Result<*const Told, Status> {
        // SAFETY: the caller promises that boot services are available, which covers all calls of the firmware below. Pointers
        // from the firmware are checked for null; they stay valid until boot services are exited or, if they were allocated, for
        // ever.
        unsafe {
            let told: *mut Told = self.allocate(size_of::<Told>())?.cast();
            let tree_address = self.configuration_table(DEVICE_TREE);
            let rsdp_address = self.configuration_table(ACPI_20);
            if tree_address == 0 && rsdp_address == 0 {
                // Nothing would describe the machine.
                return Err(Status::UNSUPPORTED);
            }
            let boot_args = self.boot_args();
            let (time, random_seed) = (self.time(), self.random_seed());

            let (mut key, mut descriptor_bytes, mut version) = (0, 0, 0);
            let mut map = ptr::null_mut::<u8>();
            let mut room = 0;
            for _ in 0..TRIES {
                let mut map_bytes = room;
                let status = (self.boot.get_memory_map)(
                    &mut map_bytes,
                    map.cast::<MemoryDescriptor>(),
                    &mut key,
                    &mut descriptor_bytes,
                    &mut version,
                );
                if status == Status::BUFFER_TOO_SMALL {
                    // The allocation itself can add descriptors to the map.
                    room = map_bytes + 8 * descriptor_bytes.max(size_of::<MemoryDescriptor>());
                    map = self.allocate(room)?;
                    continue;
                }
                ok(status)?;
                let descriptors = slice::from_raw_parts(map, map_bytes);
                let memory_map = MemoryMap { descriptors, descriptor_bytes };
                told.write(Told { memory_map, tree_address, rsdp_address, boot_args, time, random_seed });
                // The map may have changed in the meantime: then it is fetched again (7.4.6).
                if (self.boot.exit_boot_services)(self.image, key) == Status::SUCCESS {
                    return Ok(told);
                }
            }
            Err(Status::ABORTED)
        }
    }

    unsafe fn allocate(&self, n_bytes: usize) -> Result<*mut u8, Status> {
        let mut place = ptr::null_mut();
        // SAFETY: boot services are available, as callers promise.
        ok(unsafe { (self.boot.allocate_pool)(MemoryType::LOADER_DATA, n_bytes, &mut place) })?;
        Ok(place)
    }

    fn configuration_table(&self, guid: Guid) -> u64 {
        let SystemTable { configuration_table, number_of_configuration_table_entries, .. } = *self.table;
        if configuration_table.is_null() {
            return 0;
        }
        // SAFETY: the pointer is not null, and the system table says that this many entries are valid.
        let tables =
            unsafe { slice::from_raw_parts(configuration_table, number_of_configuration_table_entries) };
        tables
            .iter()
            .find(|table| table.vendor_guid == guid)
            .map_or(0, |table| table.vendor_table.addr() as u64)
    }

    /// The protocol of a handle.
    unsafe fn protocol<T>(&self, handle: Handle, guid: &Guid) -> Result<*mut T, Status> {
        let mut interface = ptr::null_mut::<c_void>();
        // SAFETY: boot services are available, as callers promise.
        ok(unsafe { (self.boot.handle_protocol)(handle, guid, &mut interface) })?;
        if interface.is_null() { Err(Status::UNSUPPORTED) } else { Ok(interface.cast()) }
    }

    /// The boot arguments: from the load options, or else from the configuration file.
    unsafe fn boot_args(&self) -> Option<&'static [u8]> {
        // SAFETY: boot services are available, as callers promise; the firmware gives the length of the options, and allocations
        // are never freed.
        unsafe {
            let place = self.allocate(MAX_ARGS_BYTES).ok()?;
            let place = slice::from_raw_parts_mut(place, MAX_ARGS_BYTES);
            let image =
                &*self.protocol::<LoadedImageProtocol>(self.image, &LoadedImageProtocol::GUID).ok()?;
            if !image.load_options.is_null() {
                let options =
                    slice::from_raw_parts(image.load_options.cast(), image.load_options_size as usize);
                if let Some(arguments) = firmware::load_options(options, place) {
                    return Some(slice::from_raw_parts(arguments.as_ptr(), arguments.len()));
                }
            }
            let mut n_bytes = self.read_configuration(image.device_handle, place).ok()?;
            if n_bytes == place.len() {
                // The file may be longer; the rest is not read.
                n_bytes = firmware::whole_words(place);
            }
            firmware::configuration(&mut place[..n_bytes])
        }
    }

    /// Reads the configuration file, as much of it as fits into `place`, and returns the number of bytes.
    unsafe fn read_configuration(&self, device: Handle, place: &mut [u8]) -> Result<usize, Status> {
        // SAFETY: boot services are available, as callers promise; the firmware has opened the file and the volume.
        unsafe {
            let system =
                self.protocol::<SimpleFileSystemProtocol>(device, &SimpleFileSystemProtocol::GUID)?;
            let mut root = ptr::null_mut::<FileProtocolV1>();
            ok(((*system).open_volume)(system, &mut root))?;
            let mut file = ptr::null_mut();
            let opened = ok(((*root).open)(
                root,
                &mut file,
                CONFIGURATION.as_ptr(),
                FileMode::READ,
                FileAttribute::empty(),
            ));
            let mut n_bytes = place.len();
            let read = opened.and_then(|()| {
                let read = ok(((*file).read)(file, &mut n_bytes, place.as_mut_ptr().cast()));
                let _ = ((*file).close)(file);
                read
            });
            let _ = ((*root).close)(root);
            read.map(|()| n_bytes.min(place.len()))
        }
    }

    /// The time: by the firmware's clock, and the value of the generic timer's counter.
    fn time(&self) -> Option<(u64, u64)> {
        let runtime = self.table.runtime_services;
        if runtime.is_null() {
            return None;
        }
        let mut time = Time::invalid();
        // SAFETY: `runtime` is the firmware's table of runtime services.
        ok(unsafe { ((*runtime).get_time)(&mut time, ptr::null_mut()) }).ok()?;
        let minutes_west =
            if time.time_zone == Time::UNSPECIFIED_TIMEZONE { 0 } else { i32::from(time.time_zone) };
        let date = (time.year, time.month, time.day);
        let seconds =
            firmware::seconds_since_1970(date, (time.hour, time.minute, time.second), -minutes_west)?;
        Some((seconds, time::ticks()))
    }

    unsafe fn random_seed(&self) -> Option<[u8; 32]> {
        let mut interface = ptr::null_mut::<c_void>();
        let mut bytes = [0; 32];
        // SAFETY: boot services are available, as callers promise.
        unsafe {
            ok((self.boot.locate_protocol)(&RngProtocol::GUID, ptr::null_mut(), &mut interface)).ok()?;
            let random: *mut RngProtocol = interface.cast();
            if random.is_null() {
                return None;
            }
            ok(((*random).get_rng)(random, ptr::null(), bytes.len(), bytes.as_mut_ptr())).ok()?;
        }
        Some(bytes)
    }
}

fn ok(status: Status) -> Result<(), Status> {
    if status == Status::SUCCESS { Ok(()) } else { Err(status) }
}
