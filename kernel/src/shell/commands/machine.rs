//! `mem`, `cpus`, `disks`, `pci`, `uptime`, `date`: facts about the machine, and its state.

use ::llm::{chat::DEFAULT_NOW_SECONDS, front::units::Size};

use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{Command, CommandError},
};
use crate::storage::sectors::SECTOR_BYTES;
use crate::system::Protections;

pub(super) static COMMANDS: &[Command] = &[
    Command {
        name: "mem",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "show the heap, the pool, and what the loaded models take of it",
        details: "The pool is all memory beyond the kernel and its heap. A loaded model takes its weights and\n\
                  its arena (scratch and key-value cache) from it and gives both back when it is unloaded. Both are\n\
                  sums over all that are loaded; llm list shows each. A memory balloon takes what the host wants of the pool, and\n\
                  tells the host what is free.",
        run: mem,
    },
    Command {
        name: "mem map",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "show what the live translation tables allow, and whether that is as it should be",
        details: "Reads the tables as the CPU does. Nothing is both writable and executable, or open to EL0; a page below\n\
                  every stack is not mapped. What were not so, would be marked WRONG, and the kernel would not have booted.",
        run: map,
    },
    Command {
        name: "cpus",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "show the cores and their instruction sets",
        details: "",
        run: cpus,
    },
    Command {
        name: "disks",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "show the disks",
        details: "Of a disk with a GPT each partition is shown as a disk, under its label, but for that of the firmware.\n\
                  Controllers that may have disks, and that this kernel does not drive, are named too.",
        run: disks,
    },
    Command {
        name: "disks rescan",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "look for disks that have been plugged in or out, or have another size",
        details: "Disks that stay keep their numbers and names; loaded models stay as they are.",
        run: rescan,
    },
    Command {
        name: "disks reset",
        usage: "DISK",
        n_positional: 1..=1,
        options: &[],
        summary: "start the disk with this number anew; what it was asked for is forgotten",
        details: "For a disk that does not answer and will not. QEMU stands still meanwhile, until its own storage\n\
                  answers: the disk comes back by itself then, without a reset.",
        run: reset,
    },
    Command {
        name: "pci",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "show the PCI functions: address, ids, class, how they notify, BARs",
        details: "A function that is driven notifies by messages (an MSI of the GICv2m, or an LPI of the ITS), by an\n\
                  interrupt of its pins, or not at all: it is polled then.",
        run: pci,
    },
    Command {
        name: "uptime",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "show the time since the machine started",
        details: "",
        run: uptime,
    },
    Command {
        name: "date",
        usage: "",
        n_positional: 0..=0,
        options: &[],
        summary: "show the date and time, universal",
        details: "It is what chat templates are told. Where the machine has no clock that knows it, a fixed date stands in.",
        run: date,
    },
];

fn mem(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let heap = (shell.machine.heap_usage)();
    let model = shell.backend.memory_usage();
    let pool = shell.machine.pool;
    let size = |bytes: usize| Size(bytes as u64);
    shell.terminal.print(format_args!(
        "heap      {} of {} used\n\
         pool      {} of {} used, high-water mark {}, largest free block {}\n\
         weights   {}\n\
         arena     {}, high-water mark {}\n",
        size(heap.used_bytes),
        size(heap.size_bytes),
        size(pool.total_bytes() - pool.free_bytes()),
        size(pool.total_bytes()),
        size(pool.high_water_bytes()),
        size(pool.largest_free_bytes()),
        size(model.weights_bytes),
        size(model.session_bytes()),
        size(shell.backend.session_high_water_bytes()),
    ));
    if let Some(balloon) = (shell.machine.balloon)() {
        shell.terminal.print(format_args!(
            "balloon   {} of {} given to the host; told it of {} that is free\n",
            size(balloon.given_bytes),
            size(balloon.wanted_bytes),
            size(balloon.reported_bytes),
        ));
    }
    let held_bytes = pool.held_bytes();
    if held_bytes > 0 {
        shell.terminal.print(format_args!("held      {} by disks that do not answer\n", size(held_bytes)));
    }
    Ok(())
}

fn map(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let Shell { machine, terminal, .. } = shell;
    let mut n_wrong = 0;
    let result = (machine.memory_map)(&mut |finding| {
        n_wrong += usize::from(!finding.is_right());
        let size = Size(finding.range.end - finding.range.start);
        terminal.print(format_args!("{finding}, {size}\n"));
    });
    match result {
        Ok(n_tables) => terminal.print(format_args!("{n_tables} tables, {n_wrong} ranges wrong")),
        Err(error) => terminal.print(format_args!("{error}")),
    }
    let on = |on| if on { "on" } else { "off" };
    let Protections { wxn, stack_alignment, pan } = (machine.protections)();
    let pan = pan.map_or("not in this CPU", on);
    terminal.print(format_args!(
        "; WXN {}, PAN {pan}, stack alignment check {}\n",
        on(wxn),
        on(stack_alignment)
    ));
    Ok(())
}

fn cpus(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let machine = &shell.machine;
    let features = machine.instruction_sets;
    shell.terminal.print(format_args!("{}, neon", machine.cpu_model));
    for (name, there) in [
        ("dotprod", features.dotprod),
        ("i8mm", features.i8mm),
        ("fp16", features.fp16),
        ("sha2", features.sha2),
    ] {
        if there {
            shell.terminal.print(format_args!(", {name}"));
        }
    }
    shell.terminal.print(format_args!("\n"));
    for (index, core) in (machine.cores)().iter().enumerate() {
        shell.terminal.print(format_args!("core {index}: mpidr {:#x}, {}\n", core.mpidr, core.state));
    }
    Ok(())
}

fn disks(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let Shell { backend, terminal, .. } = shell;
    let disks = backend.catalog().disks();
    for disk in disks.divided() {
        let (n_partitions, size) = (disk.entries().len(), Size(disk.capacity_bytes()));
        terminal.print(format_args!(
            "{}: {}, {size}, divided by a GPT: {n_partitions} partitions\n",
            disk.transport(),
            or_dash(disk.serial())
        ));
        for entry in disk.entries().iter().filter(|entry| entry.is_efi_system) {
            let size = Size(entry.bytes.end - entry.bytes.start);
            terminal.print(format_args!(
                "  partition {}: {}, {size}, for the firmware\n",
                entry.number,
                or_dash(&entry.label)
            ));
        }
    }
    if disks.is_empty() {
        terminal.print(format_args!("there are no disks\n"));
    }
    for disk in disks.iter() {
        terminal.print(format_args!(
            "disk {}: {}, {}, {} ({} bytes, file of {} bytes)",
            disk.index(),
            or_dash(disk.serial()),
            disk.transport(),
            Size(disk.capacity_bytes()),
            disk.capacity_bytes(),
            disk.length_bytes(),
        ));
        if disk.block_bytes() != SECTOR_BYTES {
            terminal.print(format_args!(", blocks of {} bytes", disk.block_bytes()));
        }
        if disk.is_silent() {
            terminal.print(format_args!(", does not answer"));
        }
        terminal.print(format_args!("\n"));
    }
    for undriven in disks.undriven() {
        terminal.print(format_args!("{undriven}\n"));
    }
    Ok(())
}

/// The name, or a dash if it is empty.
fn or_dash(name: &str) -> &str {
    if name.is_empty() { "-" } else { name }
}

fn rescan(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let Shell { backend, terminal, pci, .. } = shell;
    let catalog = backend.catalog();
    let changes = catalog.rescan();
    // Ctrl-C here only ends the wait for disks that do not respond; the command goes on.
    let _ = terminal.check_interrupt();
    if changes.is_empty() {
        terminal.print(format_args!("nothing has changed\n"));
    }
    for change in changes {
        terminal.print(format_args!("{change}\n"));
    }
    *pci = catalog.disks().pci_functions().to_vec();
    Ok(())
}

fn reset(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<(), CommandError> {
    let number = arguments.value(0, "DISK", "the number of a disk")?.unwrap_or(0);
    shell.backend.catalog().reset_disk(number)?;
    Ok(())
}

fn pci(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    if shell.pci.is_empty() {
        shell.terminal.print(format_args!("there are no PCI functions\n"));
    }
    for function in &shell.pci {
        shell.terminal.print(format_args!(
            "{} {:04x}:{:04x} class {:02x}{:02x}{:02x}",
            function.address,
            function.vendor_id,
            function.device_id,
            function.class,
            function.subclass,
            function.interface
        ));
        if let Some(notice) = function.notice {
            shell.terminal.print(format_args!(", {notice}"));
            if let Some(interrupt) = notice.interrupt() {
                let count = (shell.machine.interrupt_count)(interrupt);
                shell.terminal.print(format_args!(", taken {count} times"));
            }
        }
        shell.terminal.print(format_args!("\n"));
        for bar in &function.bars {
            shell.terminal.print(format_args!(
                "  BAR {}: {:#x}, {}, {:?}\n",
                bar.index,
                bar.address,
                Size(bar.size_bytes),
                bar.kind
            ));
        }
    }
    Ok(())
}

fn uptime(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let us = (shell.machine.clock_us)();
    shell.terminal.print(format_args!("{}.{:03} s\n", us / 1_000_000, us / 1000 % 1000));
    Ok(())
}

fn date(shell: &mut Shell<'_>, _: &Arguments<'_>) -> Result<(), CommandError> {
    let now_seconds = (shell.machine.now_seconds)();
    let shown = now_seconds.unwrap_or(DEFAULT_NOW_SECONDS);
    let shown = jinja::format_time(shown, "%Y-%m-%d %H:%M:%S").expect("these codes are known");
    let remark = match now_seconds {
        Some(_) => "",
        None => ", a fixed date: the machine has no clock that knows the right one",
    };
    shell.terminal.print(format_args!("{shown} UTC{remark}\n"));
    Ok(())
}
