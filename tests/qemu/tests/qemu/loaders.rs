//! The kernel boots whichever way it is loaded, or says in one line why it cannot.

use crate::common::{COMMAND, expected};
use dtoolkit::Node;
use std::ffi::OsStr;

use qemu_tests::{
    Directory, Run, Session,
    device_tree::{qemu_tree, set},
    kernel_files,
    loader::{KERNEL_ADDRESS, load_register, loader, raw, with_elf, with_kernel},
    repository, self_test_files,
};

/// Where QEMU puts its own device tree if the program leaves room there.
const QEMU_TREE: u64 = 0x4000_0000;

/// The default address of the loaders, far from everything else.
const LOADER: u64 = 0x4700_0000;

const CANNOT_BOOT: &str = "Ferrite cannot boot: ";

/// The maximum size of the Image: 3 MiB.
const MAX_IMAGE_BYTES: u64 = 3 << 20;

#[test]
fn the_image_stays_small() {
    let bytes = kernel_files().1.metadata().expect("the Image").len();
    assert!(bytes <= MAX_IMAGE_BYTES, "the Image has {bytes} bytes, {MAX_IMAGE_BYTES} at most");
}

/// Images built in different folders are identical only if nothing in them depends on the folder.
#[test]
fn the_image_names_no_folder_of_its_builder() {
    let image = std::fs::read(kernel_files().1).expect("the Image");
    let folders = [
        Some(repository()),
        std::env::var_os("HOME").map(Into::into),
        std::env::var_os("CARGO_HOME").map(Into::into),
    ];
    for folder in folders.iter().flatten() {
        let name = folder.to_str().expect("a folder's name").as_bytes();
        let named = image.windows(name.len()).filter(|bytes| *bytes == name).count();
        // Nothing can be told of folders as short as `/`.
        assert!(name.len() < 5 || named == 0, "{} is in it {named} times", folder.display());
    }
}

/// Deliberate faults exist for tests only: the released kernel has no way to make them.
#[test]
fn the_image_makes_no_faults_on_purpose() {
    let has = |image: &std::path::Path, text: &str| {
        let image = std::fs::read(image).expect("an Image");
        image.windows(text.len()).any(|bytes| bytes == text.as_bytes())
    };
    for text in ["selftest", "self-test", "self_test", "secondary-panic", "waited in vain for "] {
        assert!(!has(&kernel_files().1, text), "{text:?} is in the Image");
        assert!(has(&self_test_files().1, text), "{text:?} is not in that for tests");
    }
    let run = Run::new().released().boot_args("ferrite.selftest=fault").command("help");
    run.finish().expect_status(1).expect_error("\"ferrite.selftest=fault\": expected");
}

/// In RAM, but above the first 2 GiB of addresses and across a multiple of 1 GiB, where nothing is mapped at first.
#[test]
fn the_device_tree_may_lie_anywhere() {
    let directory = Directory::new("tree-anywhere");
    let file = directory.path().join("tree.dtb");
    let machine = |qemu: String| {
        Run::new().args(["--mem", "3G"]).boot_args("log=info").qemu(&qemu).command("help").finish()
    };
    machine(format!("-machine dumpdtb={}", file.display())).expect_status(0);
    let place = 0xbff8_0000;
    let loader = loader(&directory, LOADER, &[], place, KERNEL_ADDRESS);
    let outcome = machine(format!("{} {}", with_kernel(&loader), raw(&file, place)));
    outcome.expect_status(0).expect_error("INFO  memory: 29");
}

/// For an ELF file that it has dumped itself, QEMU finds no room below the file.
#[test]
fn a_tree_that_qemu_dumped_can_be_given_back() {
    let directory = Directory::new("dumped-tree");
    let file = directory.path().join("tree.dtb");
    let machine = |qemu: String| Run::new().qemu(&qemu).command("help").finish().expect_status(0);
    machine(format!("-machine dumpdtb={}", file.display()));
    assert!(!machine(format!("-dtb {}", file.display())).stdout.is_empty());
}

/// The addresses where Firecracker, crosvm and libkrun have their RAM and put a kernel; where Cloud Hypervisor puts one; and a higher one,
/// across a multiple of 1 GiB and not page-aligned.
#[test]
fn an_image_runs_at_any_address() {
    let directory = Directory::new("elsewhere");
    let (_, image) = kernel_files();
    let model = repository().join("test_models/tiny.gguf");
    let places = [
        (0x8020_0000, "2G"),
        (0x4040_0000, "256M"),
        (0x4800_0000, "256M"),
        (0x7fe0_0000, "2G"),
        (0x4a00_0744, "256M"),
    ];
    for (address, memory) in places {
        let loader = loader(&directory, LOADER, &[], QEMU_TREE, address);
        let qemu = format!("-kernel {} {}", loader.display(), raw(&image, address));
        let run = Run::new().args(["--mem", memory]).model(&model).qemu(&qemu).command(COMMAND);
        assert_eq!(run.finish().expect_status(0).text(), expected(), "{address:#x}");
    }
}

/// The RAM of a Raspberry Pi 3 begins at 0, its console is elsewhere, and its interrupt controller has no driver.
#[test]
fn an_image_runs_on_another_machine() {
    let directory = Directory::new("raspberry-pi");
    let mut tree = qemu_tree(&directory, "gic-version=2");
    set(tree.root.child_mut("memory@40000000").unwrap(), "reg", [0_u32, 0, 0, 0x3c00_0000]);
    set(tree.root.child_mut("pl011@9000000").unwrap(), "reg", [0_u32, 0x3f20_1000, 0, 0x200]);
    // Nothing else of the tree is there.
    for name in [
        "flash@0",
        "intc@8000000",
        "pcie@10000000",
        "fw-cfg@9020000",
        "pl031@9010000",
        "pl061@9030000",
        "psci",
    ] {
        tree.root.remove_child(name);
    }
    let is_virtio = |name: &str| name.starts_with("virtio_mmio@");
    let names: Vec<String> = tree.root.children().map(|node| node.name().to_string()).collect();
    names.iter().filter(|name| is_virtio(name)).for_each(|name| drop(tree.root.remove_child(name)));
    set(
        tree.root.child_mut("chosen").unwrap(),
        "bootargs",
        "ferrite.host=semihosting ferrite.command=6d656d206d6170",
    );
    let tree = directory.file("tree.dtb", &tree.to_dtb());
    let image = kernel_files().1;
    let machine = "-machine raspi3b -display none -monitor none -serial stdio -semihosting-config enable=on,target=native";
    let words = machine.split(' ').map(OsStr::new);
    let files = ["-kernel".as_ref(), image.as_os_str(), "-dtb".as_ref(), tree.as_os_str()];
    let outcome = Session::of_qemu(words.chain(files)).finish().expect_status(0);
    // The first page is left out: a read of the null pointer faults here, too.
    let text = outcome.text();
    assert!(
        text.starts_with("0x0000001000..") && text.contains(" 0 ranges wrong; WXN on, PAN not in"),
        "{text}"
    );
}

#[test]
fn a_wrong_x0_is_told_and_the_tree_at_the_start_of_ram_taken() {
    let directory = Directory::new("wrong-x0");
    let loader = loader(&directory, LOADER, &[], 0x123, KERNEL_ADDRESS);
    let run = Run::new().qemu(&with_kernel(&loader)).boot_args("log=info").command("help");
    run.finish().expect_status(0).expect_error("WARN  x0 is 0x123, where no device tree is");
}

/// The loader lies where QEMU would put its tree, so that the only tree is the one that x0 points to.
#[test]
fn without_a_device_tree_a_line_tells_where_it_was_looked_for() {
    let directory = Directory::new("no-tree");
    let wait = |tree: u64, qemu: &str| {
        let loader = loader(&directory, QEMU_TREE + 0x1000, &[], tree, KERNEL_ADDRESS);
        let run = Run::new().emulated().qemu(&format!("{} {qemu}", with_kernel(&loader)));
        // The console and the way to power off are guesses by then, which are right on this machine.
        run.finish().expect_status(0).text()
    };
    let text = wait(0, "");
    assert!(
        text.contains(&format!("{CANNOT_BOOT}no device tree: x0 is 0x0; at 0x40000000, there is 0x")),
        "{text}"
    );
    let text = wait(0xdead_0000, "-machine virtualization=on");
    assert!(text.contains("x0 is 0xdead0000, but there is no memory at 0xdead0000; at 0x40000000"), "{text}");
    let text = wait(1 << 50, "");
    assert!(text.contains("but the CPU's physical addresses end at 0x1000000000000;"), "{text}");

    let place = 0x4600_0000;
    let header = |size: u32| {
        let words = [0xd00d_feed, size, 0x38, 0x100, 0x28, 17, 16, 0, 0x10, 0x80_u32];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        raw(&directory.file("broken.dtb", &bytes), place)
    };
    let text = wait(place, &header(u32::MAX));
    assert!(text.contains("but its header tells 4294967295 bytes, expected 40 to 67108864;"), "{text}");
    let text = wait(place, &header(0x4_0000));
    assert!(text.contains(CANNOT_BOOT), "{text}");
}

/// The MMU is on after boot; otherwise the kernel could write to its code.
#[test]
fn a_loader_may_leave_the_core_big_endian() {
    const SET_BIG_ENDIAN: [u32; 4] = [
        0xd538_1000, // mrs x0, sctlr_el1
        0xb267_0000, // orr x0, x0, #1 << 25
        0xd518_1000, // msr sctlr_el1, x0
        0xd503_3fdf, // isb
    ];
    let directory = Directory::new("big-endian");
    let loader = loader(&directory, LOADER, &SET_BIG_ENDIAN, QEMU_TREE, KERNEL_ADDRESS);
    let run = Run::new()
        .qemu(&with_elf(&loader, &self_test_files().0))
        .boot_args("ferrite.selftest=write-text")
        .command("help");
    run.finish().expect_status(102).expect_error("write to 0x40200000");
}

/// As U-Boot's `go` does: with the MMU and the caches on, and also at other addresses.
#[test]
fn a_loader_may_leave_the_mmu_on() {
    const TABLE: u64 = 0x4600_0000;
    // 1 GiB blocks of level 1: devices, then RAM.
    let blocks = [0x401_u64, 1 << 30 | 0x705];
    let table: Vec<u8> = blocks.iter().flat_map(|block| block.to_le_bytes()).collect();
    let mut turn_on: Vec<u32> = load_register(0, TABLE).collect();
    turn_on.push(0xd518_2000); // msr ttbr0_el1, x0
    // TCR_EL1: 39-bit addresses, 4 KiB pages, cacheable walks, TTBR0 only.
    turn_on.extend(load_register(0, 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23));
    turn_on.push(0xd518_2040); // msr tcr_el1, x0
    turn_on.extend(load_register(0, 0xff04));
    turn_on.push(0xd518_a200); // msr mair_el1, x0
    turn_on.push(0xd508_871f); // tlbi vmalle1
    turn_on.push(0xd503_3f9f); // dsb sy
    turn_on.push(0xd503_3fdf); // isb
    // MMU, data cache, instruction cache.
    turn_on.extend(load_register(1, 0x1005));
    turn_on.push(0xd538_1000); // mrs x0, sctlr_el1
    turn_on.push(0xaa01_0000); // orr x0, x0, x1
    turn_on.push(0xd518_1000); // msr sctlr_el1, x0
    turn_on.push(0xd503_3fdf); // isb

    let directory = Directory::new("mmu-on");
    let table = raw(&directory.file("table", &table), TABLE);
    let in_place = loader(&directory, LOADER, &turn_on, QEMU_TREE, KERNEL_ADDRESS);
    let machine = |words: String| Run::new().args(["--mem", "256M"]).qemu(&words).command("help").finish();
    machine(format!("{} {table}", with_kernel(&in_place))).expect_status(0);
    let elsewhere = loader(&directory, LOADER, &turn_on, QEMU_TREE, 0x4800_0000);
    let image = raw(&kernel_files().1, 0x4800_0000);
    machine(format!("-kernel {} {image} {table}", elsewhere.display())).expect_status(0);
}

/// With `secure=on`, QEMU enters a program that is not Linux at EL3, on all cores at once, and has no PSCI.
#[test]
fn one_core_of_all_that_enter_at_el3_boots() {
    let directory = Directory::new("el3");
    let loader = loader(&directory, LOADER, &[], QEMU_TREE, KERNEL_ADDRESS);
    for machine in ["gic-version=3", "gic-version=2", "gic-version=3,virtualization=on"] {
        let run = Run::new().emulated().args(["--smp", "4"]).boot_args("log=info ferrite.selftest=simd");
        let run = run.command("help");
        let qemu = format!("-machine secure=on,{machine} {}", with_elf(&loader, &self_test_files().0));
        let outcome = run.qemu(&qemu).finish().expect_status(0).expect_error("100 interrupts");
        assert_eq!(outcome.stderr.matches("INFO  Ferrite ").count(), 1, "{}", outcome.stderr);
    }
}

/// A tree made for EL1, whose PSCI is called by HVC. At EL2 and EL3 such a call would reach only what the kernel itself has left at
/// that level. With `secure=on` both cores enter at once, and either of them may boot.
#[test]
fn psci_is_not_called_where_nobody_answers() {
    let directory = Directory::new("no-psci");
    let tree = qemu_tree(&directory, "gic-version=3");
    for level in ["secure=on", "virtualization=on"] {
        let run = Run::new().emulated();
        let mut session = run.device_tree(&directory, &tree, &format!("-machine {level}")).start();
        session.wait_for(" does not start: the device tree names no PSCI that can be called from EL");
        session.wait_for("ferrite> ");
        session.send("poweroff\r");
        session.wait_for("the machine has stopped, but cannot be powered off: ");
    }
}

#[test]
fn an_elf_file_without_a_tree_at_el3_says_what_to_start_instead() {
    let mut session = Run::new().emulated().args(["--smp", "4"]).qemu("-machine secure=on").start();
    session.wait_for(CANNOT_BOOT);
    let line = String::from_utf8_lossy(&session.wait_for("\n")).into_owned();
    assert!(line.contains("start the arm64 Image of scripts/image instead"), "{line}");
}
