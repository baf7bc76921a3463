//! From the entry point to the shell, in order.

mod source;
mod tree;
mod uefi;

use self::source::Source;
use crate::{
    arch,
    boot_args::BootArgs,
    console::Console,
    cores::{start as cores, turns},
    cpu::InstructionSets,
    device_tree::{self, EarlyPlatform},
    drivers::{
        calendar_clock, fw_cfg, guest,
        host::{self, ExitStatus},
        interrupts, messages, power, power_keys, probe,
        requests::Surroundings,
        uart,
    },
    firmware::Told,
    logging::{self, Logger},
    machine::{self, InterruptController, Platform, Registers, Uart},
    memory::{boot_map::Kind, heap::Heap, layout, pool::Pool},
    net::Network,
    offload::{Offload, PassthroughDevice},
    panic::{self, cannot_boot},
    pci,
    piped_console::PipedConsole,
    shell,
    storage::{Disks, Trust},
    system::{Machine, RunMode, ServeSettings, Shutdown, System},
};
use ::llm::simd::Kernels;
use ::serve::KeyFileError;
use alloc::{boxed::Box, vec::Vec};
use core::{cell::RefCell, mem::MaybeUninit, ops::Range, slice};
use log::{LevelFilter, debug, error, info, warn};
use trust::sha256::{self, Compress};

#[global_allocator]
static HEAP: Heap = Heap::new();

static POOL: Pool = Pool::new();

/// Called by entry.s with the boot loader's x0, which is the address of the device tree or 0; the exception level
/// that it was entered at; and what UEFI firmware has told, if it was that.
#[unsafe(no_mangle)]
extern "C" fn kernel_main(tree_address: u64, level: u64, told: *const Told) -> ! {
    arch::exceptions::set_handlers(&arch::exceptions::Handlers {
        interrupt: interrupts::dispatch,
        fault: panic::fault,
    });
    arch::entry::set_level(level as u8);
    arch::boot_map::activate();
    // SAFETY: entry.s hands over what uefi.rs gave it.
    let source = unsafe { Source::find(tree_address, told) }.unwrap_or_else(|error| cannot_boot(error));
    prepare_early_output(&source.early_platform());
    let heap = place_heap(&source);
    let mut platform = source.platform();
    if let Some(found) = source.tree() {
        device_tree::random_seeds(&found.tree, &mut |seed| arch::random::stir(seed));
    }
    if let Some(seed) = source.told().and_then(|told| told.random_seed) {
        arch::random::stir(&seed);
    }
    let time = source.told().and_then(|told| told.time);
    let tree = source.tree().and_then(|found| Some((found.instead_of.clone()?, found.range.start)));
    let stacks = place_secondary_stacks(&platform, &heap);
    // From here on the memory of the tree, or of what firmware has told, is free for other use.
    let mut args = BootArgs::parse(&platform.boot_args);

    // SAFETY: the platform is this machine's; nothing else has been started.
    unsafe { map_memory(&mut platform, heap.clone()) };
    start_console(&platform, &args);
    arch::paging::check();
    if let Some((seconds, ticks)) = time {
        calendar_clock::set(seconds, arch::time::us(ticks));
    }
    if let Some(((address, error), instead)) = tree {
        warn!("x0 is {address:#x}, where no device tree is: {error}; that at {instead:#x} is used");
    }
    for refused in &args.refused {
        warn!("{refused}");
    }
    if let Some(error) = &args.error {
        error!("{error}");
        host::exit(ExitStatus::CommandFailed);
    }
    take_keys(&platform, &mut args.serve);
    take_receipt_key(&platform, &mut args.serve);
    start_interrupts(&platform);
    fill_pool(&platform, [heap, stacks]);
    cores::start_all(&platform.cores);
    let mut bus = find_devices(&platform);
    if !uart::is_there()
        && let Some((console, wakes)) = bus.console()
    {
        uart::attach(console, wakes);
    }
    if let Some(device) = bus.balloon() {
        guest::inflate(device, &POOL);
    }
    if let Some((device, seed)) = bus.entropy() {
        seed.iter().for_each(|seed| arch::random::stir(seed));
        guest::keep_entropy(device);
    }
    power::entropy().iter().for_each(|seed| arch::random::stir(seed));
    let network = start_network(&mut bus, &args).map(RefCell::new);
    let vsock = args.serve.vsock_port.and_then(|_| bus.vsock());
    if args.serve.vsock_port.is_some() && vsock.is_none() {
        warn!("boot argument ferrite.vsock: there is no vsock device that this kernel drives");
    }
    let trust = Trust {
        settings: Box::leak(Box::new(core::mem::take(&mut args.trust))),
        compress: sha256(arch::cpu::features()),
        workers: &cores::TEAM,
    };
    let mut disks = find_disks(bus, &args);
    disks.set_trust(trust);
    let pci = disks.pci_functions().to_vec();
    host::find_pvpanic(&pci);

    let mut serial = uart::SerialConsole { is_terminal: args.run_mode == RunMode::Interactive };
    let mut piped;
    let console: &mut dyn Console = match &args.input_end {
        Some(end) => {
            piped = PipedConsole::new(&mut serial, end);
            &mut piped
        }
        None => &mut serial,
    };
    #[cfg(feature = "selftest")]
    if let Some(test) = args.self_test {
        crate::self_test::run(test, console, &POOL, &mut disks);
    }
    let is_owed = platform.watchdog.is_some() || platform.generation.is_some() || guest::balloon().is_some();
    let features = arch::cpu::features();
    let all_kernels = all_kernels(features);
    let system = System {
        console,
        columns: args.columns,
        no_colour: args.no_colour,
        machine: Machine {
            clock_us: arch::time::now_us,
            now_seconds: calendar_clock::now_seconds,
            random_seed: guest::random_seed,
            secret: guest::secret,
            image_sha256: arch::image::digest(),
            instructions_retired: arch::counters::instructions_retired,
            cpu_model: arch::cpu::model(),
            instruction_sets: features,
            kernels: chosen_kernels(features, all_kernels, args.kernels.as_deref()),
            all_kernels,
            sha256: sha256(features),
            cores: cores::states,
            workers: &cores::TEAM,
            meanwhile: turns::meanwhile,
            n_interrupts: interrupts::count,
            turn: is_owed.then_some(guest::turn),
            interrupt_count: interrupts::count_of,
            balloon: guest::balloon,
            memory_map: arch::paging::compare,
            protections: arch::protection::active,
            heap_usage: || HEAP.usage(),
            is_heap_low: || HEAP.is_low(),
            pool: &POOL,
        },
        offload: offload(&pci),
        disks,
        pci,
        network: network.as_ref(),
        vsock,
        serve: args.serve,
    };
    if let Some(watchdog) = platform.watchdog {
        // SAFETY: mapped by now, and nothing else uses it.
        unsafe { guest::start_watchdog(watchdog) };
    }
    let shutdown = shell::run(system, args.run_mode);
    guest::stop_watchdog();
    match shutdown {
        Shutdown::PowerOff { success: true } => host::exit(ExitStatus::Success),
        Shutdown::PowerOff { success: false } => host::exit(ExitStatus::CommandFailed),
        Shutdown::Reboot => power::reboot(),
    }
}

/// Lets a panic be read, and end the machine, from here on: what comes next can find too little memory.
fn prepare_early_output(early: &EarlyPlatform<'_>) {
    power::init(early.psci);
    let is_mapped = |uart: &Uart| arch::boot_map::map(uart.registers.range(), Kind::Device).is_ok();
    uart::set_emergency_uart(early.console.filter(is_mapped).as_ref());
    let (host, is_command) = BootArgs::host_and_mode(early.boot_args);
    host::init(host);
    if is_command {
        // The console is the command's alone.
        host::open_standard_error();
    }
}

/// Gives the heap its memory and returns where that is.
fn place_heap(source: &Source) -> Range<u64> {
    let ram_bytes = source.banks().map(|bank| bank.end - bank.start).sum();
    let heap = layout::place(source.banks(), || source.taken(), layout::heap_bytes(ram_bytes))
        .unwrap_or_else(|| cannot_boot(format_args!("no place for the heap in {ram_bytes} bytes of RAM")));
    if let Err(error) = arch::boot_map::map(heap.clone(), Kind::Ram) {
        cannot_boot(format_args!("the heap's place, {heap:#x?}: {error}"));
    }
    let start = core::ptr::with_exposed_provenance_mut::<MaybeUninit<u8>>(heap.start as usize);
    // SAFETY: RAM that neither image, tree nor firmware occupies, and that the pool will leave out.
    HEAP.init(unsafe { slice::from_raw_parts_mut(start, (heap.end - heap.start) as usize) });
    heap
}

/// Sets the stacks of the other cores aside and returns where they are.
fn place_secondary_stacks(platform: &Platform, heap: &Range<u64>) -> Range<u64> {
    let size_bytes = cores::secondary_count(&platform.cores) as u64 * arch::stacks::SLOT_BYTES;
    let taken = || {
        let ours = [arch::image::whole(), heap.clone()];
        ours.into_iter().chain(platform.reserved_memory.iter().cloned())
    };
    // Without a place the boot core computes alone.
    let slots = layout::place(platform.memory.iter().cloned(), taken, size_bytes).unwrap_or(0..0);
    arch::stacks::set_aside(slots.clone());
    slots
}

/// # Safety
/// To be called once, before anything but RAM is used.
unsafe fn map_memory(platform: &mut Platform, heap: Range<u64>) {
    let mut devices: Vec<Range<u64>> =
        platform.virtio_mmio.iter().map(|transport| transport.registers.range()).collect();
    devices.extend(platform.uart.iter().map(|uart| uart.registers.range()));
    match &platform.interrupt_controller {
        Some(InterruptController::GicV2 { distributor, cpu_interface }) => {
            devices.extend([distributor.range(), cpu_interface.range()])
        }
        Some(InterruptController::GicV3 { distributor, redistributors, .. }) => {
            devices.push(distributor.range());
            devices.extend(redistributors.iter().map(Registers::range));
        }
        None => {}
    }
    devices.extend(platform.clock.iter().chain(&platform.fw_cfg).map(Registers::range));
    devices.extend(platform.watchdog.iter().flat_map(machine::Watchdog::frames).map(|frame| frame.range()));
    devices.extend(platform.power_keys.iter().map(|key| key.gpio.range()));
    if let Some(pcie) = &platform.pcie {
        devices.push(pcie.ecam.range());
        devices.extend(pcie.msi.iter().map(|msi| msi.controller.registers().range()));
        let windows = pcie.windows.iter();
        devices.extend(windows.map(|w| w.cpu_address..w.cpu_address + w.size_bytes));
    }
    let devices = layout::whole_pages(devices);
    // What is reserved is not even mapped: the CPU may read ahead wherever it could read.
    let ram = layout::remaining(&platform.memory, &platform.reserved_memory);
    let mut shared = Vec::new();
    if let Some(generation) = &platform.generation {
        // It is memory, whose pages are the hypervisor's. The tree has them reserved, so that neither heap nor pool has them.
        let pages = layout::whole_pages([generation.range()].into());
        let image = arch::image::whole();
        let is_used = |range| pages.iter().any(|page| layout::overlap(range, page));
        if ram.iter().chain(&devices).any(is_used) || is_used(&image) {
            platform.generation = None;
        } else {
            shared = pages;
        }
    }
    // SAFETY: RAM and devices are what the device tree says they are.
    unsafe { arch::paging::activate(heap, &ram, &shared, &devices) };
}

/// From here on there is a console, a log and a way to end.
fn start_console(platform: &Platform, args: &BootArgs) {
    if let Some(device) = &platform.uart {
        // SAFETY: mapped by now, and nothing else uses it.
        unsafe { uart::init(device) };
    }
    let is_command = matches!(args.run_mode, RunMode::Command(_));
    let (sink, level): (fn(&[u8]), _) = if !is_command {
        (uart::write_text, args.log_level)
    } else if host::has_standard_error() {
        (host::write_standard_error, args.log_level)
    } else {
        // The console is the command's alone.
        (uart::write_text, LevelFilter::Off)
    };
    let clock_us = arch::time::now_us;
    logging::init(Logger { sink, clock_us }, level);
    if let Some(clock) = &platform.clock {
        // SAFETY: mapped by now.
        unsafe { calendar_clock::init(clock) };
    }
    info!("Ferrite {}", env!("CARGO_PKG_VERSION"));
    for remark in &platform.remarks {
        warn!("device tree: {remark}");
    }
    if let Some(device) = platform.uart.filter(|_| uart::is_unready()) {
        let kind = device.kind;
        warn!(
            "console: what is called {kind} at {:#x} does not answer like one: what is typed may not be heard",
            device.registers.address
        );
    }
}

/// Takes the keys of which requests must bring one from `fw_cfg`, if that has some. Any that cannot be taken ends the boot: nobody is to be
/// served without them.
fn take_keys(platform: &Platform, settings: &mut ServeSettings) {
    const FILE: &str = "opt/ferrite/api_key";
    // As many keys as there can be, each with a line of 256 bytes.
    const MAX_BYTES: u32 = 64 << 10;
    let taken = match read_fw_cfg(platform, FILE, MAX_BYTES) {
        Ok(None) => Ok(()),
        Ok(Some(file)) => settings.take_keys(&file),
        Err(_) => Err(KeyFileError { line: 0, expected: "at most 65536 bytes" }),
    };
    if let Err(wrong) = taken {
        error!("fw_cfg file {FILE}: {wrong}");
        host::exit(ExitStatus::CommandFailed);
    }
}

/// Takes the key that signs receipts from `fw_cfg`, if it is there. One that cannot be taken ends the boot: who gave it relies on it.
fn take_receipt_key(platform: &Platform, settings: &mut ServeSettings) {
    const FILE: &str = "opt/ferrite/receipt_key";
    const MAX_BYTES: u32 = 4096;
    settings.receipt_key = match read_fw_cfg(platform, FILE, MAX_BYTES) {
        Ok(None) => return,
        Ok(Some(file)) => str::from_utf8(&file).ok().and_then(trust::notary::seed_in),
        Err(_) => None,
    };
    if settings.receipt_key.is_none() {
        error!("fw_cfg file {FILE}: expected a key of 64 hexadecimal digits in its first line");
        host::exit(ExitStatus::CommandFailed);
    }
}

/// A file of `fw_cfg`, if there is one of this name; fails with its size if it has more bytes than `max_bytes`.
fn read_fw_cfg(platform: &Platform, name: &str, max_bytes: u32) -> Result<Option<Vec<u8>>, u32> {
    // SAFETY: mapped by now, and nothing else uses it.
    let device = platform.fw_cfg.as_ref().and_then(|registers| unsafe { fw_cfg::Mmio::new(registers) });
    device.map_or(Ok(None), |mut device| fw_cfg::read_file(&mut device, name, max_bytes))
}

fn start_interrupts(platform: &Platform) {
    match &platform.interrupt_controller {
        // SAFETY: mapped by now, and nothing else uses it.
        Some(controller) => unsafe { interrupts::init(controller) },
        None => warn!("no interrupt controller is named that this kernel knows"),
    }
    if let Some(msi) = platform.pcie.as_ref().and_then(|host| host.msi.as_ref()) {
        // SAFETY: as above.
        unsafe { messages::init(msi) };
    }
    arch::interrupts::unmask();
    if let Some(interrupt) = platform.uart.and_then(|uart| uart.interrupt) {
        uart::enable_interrupt(interrupt);
    }
    // SAFETY: mapped by now, and nothing else uses them.
    unsafe { power_keys::init(&platform.power_keys) };
    if let Some(generation) = &platform.generation {
        // SAFETY: mapped by now.
        unsafe { guest::watch_generation(generation) };
    }
    // A loader may have left it running.
    arch::time::stop_timer();
    let timer = platform.timer_interrupt.unwrap_or(arch::time::VIRTUAL_TIMER_INTERRUPT);
    if interrupts::enable(timer, |_| arch::time::stop_timer(), 0).is_ok() {
        arch::time::allow_naps(timer.number);
    }
    if arch::counters::start()
        && let Some(interrupt) = platform.pmu_interrupt
        && interrupts::enable(interrupt, |_| arch::counters::on_overflow(), 0).is_ok()
    {
        arch::counters::enable_overflow_interrupt();
    }
    debug!("instructions: {:?}", arch::counters::instructions_retired());
}

fn fill_pool(platform: &Platform, used: [Range<u64>; 2]) {
    let mut taken = platform.reserved_memory.clone();
    taken.push(arch::image::whole());
    taken.extend(used);
    for range in layout::remaining(&platform.memory, &taken) {
        let start = core::ptr::with_exposed_provenance_mut::<u8>(range.start as usize);
        let length = (range.end - range.start) as usize;
        // SAFETY: mapped RAM that neither image nor heap nor stacks nor firmware use; the device tree, if it
        // lies there, has been read.
        POOL.add(unsafe { slice::from_raw_parts_mut(start, length) });
    }
    info!("memory: {} MiB for models, heap {} MiB", POOL.total_bytes() >> 20, HEAP.usage().size_bytes >> 20);
}

// The compiler would make one function of the whole boot, too long for its own short branches.
#[inline(never)]
fn find_devices(platform: &Platform) -> probe::Bus {
    let surroundings = Surroundings {
        clock_us: arch::time::now_us,
        nap: arch::time::nap,
        feed_watchdog: guest::feed_watchdog,
        is_interrupted: || uart::is_interrupted() || power_keys::request().is_some(),
        pool: &POOL,
    };
    // SAFETY: mapped by now, and nothing else uses them.
    unsafe { probe::Bus::new(platform, surroundings) }
}

#[inline(never)]
fn start_network(bus: &mut probe::Bus, args: &BootArgs) -> Option<Network> {
    let link = bus.network()?;
    if !arch::random::has_source() {
        warn!(
            "network: the machine has no random numbers, so others may guess those that connections are told apart by: \
             give it a virtio-rng-device"
        );
    }
    info!(
        "network: {}, {}, {} KiB of the heap for frames",
        link.name(),
        args.addressing,
        link.buffer_bytes() >> 10
    );
    let seed = arch::random::seed() << 32 | arch::random::seed();
    Some(Network::new(link, args.addressing, seed, interrupts::count, arch::time::now_us()))
}

#[inline(never)]
fn find_disks(bus: probe::Bus, args: &BootArgs) -> Disks {
    let disks = Disks::find(Box::new(bus), &args.files);
    info!("{} disks, {} PCI functions", disks.len(), disks.pci_functions().len());
    for disk in disks.iter() {
        debug!("{disk:?} on {}", disk.transport());
    }
    for undriven in disks.undriven() {
        info!("{undriven}");
    }
    for function in disks.pci_functions() {
        debug!("{function:x?}");
    }
    disks
}

/// All sets of inner loops for the CPU. The scalar one, for which it has no use, would be a tenth of a megabyte.
fn all_kernels(features: InstructionSets) -> &'static [&'static Kernels] {
    let features = features.for_inference();
    // SAFETY: this core has the features, and others join only if they have them too.
    let sets = unsafe { Kernels::for_cpu(features).chain(Kernels::in_half_precision_for_cpu(features)) };
    sets.collect::<Vec<_>>().leak()
}

/// The set of inner loops with this name, or else the fastest of those that give the same bits.
fn chosen_kernels(
    features: InstructionSets,
    all: &[&'static Kernels],
    name: Option<&str>,
) -> &'static Kernels {
    let Some(name) = name else {
        // SAFETY: as in `all_kernels`.
        let sets = unsafe { Kernels::for_cpu(features.for_inference()) };
        let fastest = ::llm::autotune::fastest(sets, arch::time::ticks).expect("every CPU has the first set");
        info!("kernels: {}", fastest.name());
        return fastest;
    };
    ::llm::front::kernels_called(name, all.iter().copied()).unwrap_or_else(|unknown| {
        error!("boot argument \"ferrite.kernels={name}\": {unknown}");
        host::exit(ExitStatus::CommandFailed)
    })
}

fn sha256(features: InstructionSets) -> Compress {
    // SAFETY: as in `all_kernels`.
    unsafe { arch::sha256::compression(&features) }.unwrap_or(sha256::PORTABLE)
}

fn offload(functions: &[pci::Function]) -> Option<Box<dyn Offload>> {
    let device = PassthroughDevice::probe(functions)?;
    info!("offload: {}", device.name());
    Some(Box::new(device))
}
