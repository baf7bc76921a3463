//! Machines laid out as other virtual machine monitors lay them out, with device trees like theirs: the start of the RAM, the places of
//! Image and tree, the nodes and their properties. The devices, and so their addresses and interrupts, are QEMU's.

use crate::common::{COMMAND, expected};
use dtoolkit::{
    Node, ToPropertyValue,
    model::{DeviceTree, DeviceTreeNode},
};
use qemu_tests::{
    Directory, Session,
    device_tree::set,
    kernel_files,
    loader::{enable_ports, loader, raw},
    repository,
};
use std::{ffi::OsStr, fs};

/// The address of the code that passes the tree's address to the Image.
const LOADER: u64 = 0x4700_0000;

const GIC: u32 = 1;
const ITS: u32 = 2;
const CLOCK: u32 = 3;

const SPI: u32 = 0;
const PPI: u32 = 1;
const RISING_EDGE: u32 = 1;
const HIGH_LEVEL: u32 = 4;
const LOW_LEVEL: u32 = 8;

/// QEMU's values on the machine `virt`.
const ECAM: u64 = 0x40_1000_0000;
const PORTS: u32 = 0x3eff_0000;

/// The port of a 16550 behind PCI, which the host bridge maps into memory, and that device's number.
const PORT: u32 = 0x1000;
const SERIAL_DEVICE: u32 = 0x1e;

fn node(name: &str, compatible: &str) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new(name).unwrap();
    if !compatible.is_empty() {
        set(&mut node, "compatible", compatible);
    }
    node
}

fn with(mut node: DeviceTreeNode, name: &str, value: impl ToPropertyValue) -> DeviceTreeNode {
    set(&mut node, name, value);
    node
}

/// A property without a value.
fn flagged(node: DeviceTreeNode, name: &str) -> DeviceTreeNode {
    with(node, name, Vec::<u32>::new())
}

/// Addresses and sizes of 64 bits.
fn wide(numbers: &[u64]) -> Vec<u32> {
    numbers.iter().flat_map(|number| [(number >> 32) as u32, *number as u32]).collect()
}

/// What all of them have: cores whose addresses have this many cells, RAM, a timer whose interrupts are triggered this way, PSCI.
fn machine(memory: (&str, [u64; 2]), core_cells: u32, timer: u32, psci: &str) -> DeviceTree {
    let mut tree = DeviceTree::new();
    let root = &mut tree.root;
    set(root, "compatible", "linux,dummy-virt");
    set(root, "#address-cells", 2_u32);
    set(root, "#size-cells", 2_u32);
    set(root, "interrupt-parent", GIC);
    let mut cpus = with(with(node("cpus", ""), "#address-cells", core_cells), "#size-cells", 0_u32);
    for index in 0..2_u32 {
        let cpu = with(node(&format!("cpu@{index}"), "arm,arm-v8"), "device_type", "cpu");
        let reg = if core_cells == 1 { vec![index] } else { vec![0, index] };
        cpus.add_child(with(with(cpu, "enable-method", "psci"), "reg", reg));
    }
    root.add_child(cpus);
    let (name, ram) = memory;
    root.add_child(with(with(node(name, ""), "device_type", "memory"), "reg", wide(&ram)));
    let interrupts: Vec<u32> = [13, 14, 11, 10].into_iter().flat_map(|number| [PPI, number, timer]).collect();
    root.add_child(flagged(with(node("timer", "arm,armv8-timer"), "interrupts", interrupts), "always-on"));
    root.add_child(with(node("psci", psci), "method", "hvc"));
    tree
}

fn gic() -> DeviceTreeNode {
    let registers = wide(&[0x0800_0000, 0x1_0000, 0x080a_0000, 0x00f6_0000]);
    let gic = with(with(node("intc", "arm,gic-v3"), "reg", registers), "#interrupt-cells", 3_u32);
    let gic = with(with(flagged(gic, "interrupt-controller"), "phandle", GIC), "#address-cells", 2_u32);
    with(gic, "#size-cells", 2_u32)
}

fn clock() -> DeviceTreeNode {
    let clock = with(node("apb-pclk", "fixed-clock"), "#clock-cells", 0_u32);
    with(with(clock, "clock-frequency", 24_000_000_u32), "phandle", CLOCK)
}

fn serial_16550(name: &str) -> DeviceTreeNode {
    let serial = with(node(name, "ns16550a"), "reg", wide(&[u64::from(PORTS + PORT), 8]));
    with(serial, "interrupts", [SPI, 5, RISING_EDGE])
}

/// A PCI host bridge with its windows and configuration space; its functions have no interrupts yet.
fn pci(name: &str) -> DeviceTreeNode {
    let pci = with(with(node(name, "pci-host-ecam-generic"), "device_type", "pci"), "bus-range", [0_u32, 0]);
    let ranges = [0x0200_0000_u32, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x2eff_0000];
    let pci = with(with(pci, "ranges", ranges), "reg", wide(&[ECAM, 0x1000_0000]));
    let pci = with(with(pci, "#address-cells", 3_u32), "#size-cells", 2_u32);
    flagged(with(pci, "#interrupt-cells", 1_u32), "dma-coherent")
}

/// Starts the Image at `entry` with this tree, whose console is a 16550 or the PL011, and returns the output of the console.
fn printed(
    name: &str,
    mut tree: DeviceTree,
    chosen: DeviceTreeNode,
    places: [u64; 2],
    disk: &str,
) -> Vec<u8> {
    let directory = Directory::new(name);
    let is_16550 = |node: &DeviceTreeNode| node.name().ends_with(&format!("@{:x}", PORTS + PORT));
    let has_16550 = tree.root.children().any(is_16550);
    let command: String = COMMAND.bytes().map(|byte| format!("{byte:02x}")).collect();
    let arguments = format!("ferrite.host=semihosting ferrite.command={command}");
    tree.root.add_child(with(chosen, "bootargs", arguments.as_str()));
    let [entry, tree_address] = places;
    let tree = directory.file("tree.dtb", &tree.to_dtb());
    let before = match has_16550 {
        // The monitor has that ready.
        true => enable_ports(ECAM + u64::from(SERIAL_DEVICE << 15), PORT),
        false => Vec::new(),
    };
    let loader = loader(&directory, LOADER, &before, tree_address, entry);
    let model = repository().join("test_models/tiny.gguf");
    let console = directory.path().join("console");
    let words = format!(
        "-machine virt,gic-version=3 -cpu max -smp 2 -m 2G -nic none -display none -monitor none \
         -semihosting-config enable=on,target=native -global virtio-mmio.force-legacy=false \
         -chardev file,id=console,path={} {} -kernel {} {} {} \
         -drive if=none,id=model,format=raw,readonly=on,file={} -device {disk},drive=model",
        console.display(),
        match has_16550 {
            true => format!("-serial none -device pci-serial,chardev=console,addr={SERIAL_DEVICE:#x}"),
            false => "-serial chardev:console".into(),
        },
        loader.display(),
        raw(&kernel_files().1, entry),
        raw(&tree, tree_address),
        model.display(),
    );
    let words = words.split_whitespace().map(OsStr::new);
    Session::of_qemu(words).finish().expect_status(0);
    fs::read(console).expect("QEMU writes the file")
}

#[test]
fn machines_of_other_monitors_give_the_same_text() {
    for (name, printed) in
        [("Firecracker", firecracker()), ("Cloud Hypervisor", cloud_hypervisor()), ("crosvm", crosvm())]
    {
        let printed = String::from_utf8_lossy(&printed);
        assert!(printed.contains(expected().trim()), "{name}: {printed}");
    }
}

/// RAM from 2 GiB on, of which the first 2 MiB belong to the monitor; a 16550 that no property names as the console; virtio-mmio
/// (src/vmm/src/arch/aarch64/fdt.rs of Firecracker).
fn firecracker() -> Vec<u8> {
    let ram = [0x8020_0000, 0x3fe0_0000];
    let mut tree = machine(("memory@ram", ram), 2, HIGH_LEVEL, "arm,psci-0.2");
    tree.root.add_child(with(flagged(gic(), "ranges"), "interrupts", [PPI, 9, HIGH_LEVEL]));
    tree.root.add_child(clock());
    for index in 0..32_u32 {
        let address = 0x0a00_0000 + 0x200 * index;
        let device = flagged(node(&format!("virtio_mmio@{address:x}"), "virtio,mmio"), "dma-coherent");
        let device = with(device, "reg", wide(&[address.into(), 0x200]));
        let device = with(device, "interrupts", [SPI, 16 + index, RISING_EDGE]);
        tree.root.add_child(with(device, "interrupt-parent", GIC));
    }
    let serial = with(serial_16550(&format!("uart@{:x}", PORTS + PORT)), "clocks", CLOCK);
    tree.root.add_child(with(serial, "clock-names", "apb_pclk"));
    printed("firecracker", tree, node("chosen", ""), [0x8020_0000, 0xbfe0_0000], "virtio-blk-device")
}

/// RAM from 1 GiB on, with the tree in its first 2 MiB (after QEMU's own) and the Image at 4 MiB; a PL011; PCI functions without pins,
/// which interrupt only by messages through an ITS (arch/src/aarch64/fdt.rs of Cloud Hypervisor).
fn cloud_hypervisor() -> Vec<u8> {
    let ram = [0x4000_0000, 0x8000_0000];
    let mut tree = machine(("memory@40000000", ram), 1, HIGH_LEVEL, "arm,psci-0.2");
    let mut gic = with(flagged(gic(), "ranges"), "interrupts", [PPI, 9, HIGH_LEVEL]);
    let its = flagged(node("msic", "arm,gic-v3-its"), "msi-controller");
    let its = with(with(its, "phandle", ITS), "#msi-cells", 1_u32);
    gic.add_child(with(its, "reg", wide(&[0x0808_0000, 0x2_0000])));
    tree.root.add_child(gic);
    tree.root.add_child(clock());
    let serial = node("pl011@9000000", "arm,primecell");
    let serial =
        with(with(serial, "compatible", "arm,pl011\0arm,primecell"), "reg", wide(&[0x0900_0000, 0x1000]));
    tree.root.add_child(with(with(serial, "interrupts", [SPI, 1, RISING_EDGE]), "clocks", CLOCK));
    let pci = with(pci("pci@4010000000"), "linux,pci-domain", 0_u32);
    let pci = with(flagged(pci, "interrupt-map"), "interrupt-map-mask", [0_u32; 4]);
    let pci = with(pci, "msi-map", [0_u32, ITS, 0, 0x100]);
    tree.root.add_child(with(pci, "msi-parent", ITS));
    let chosen = with(node("chosen", ""), "stdout-path", "/pl011@9000000");
    printed("cloud-hypervisor", tree, chosen, [0x4040_0000, 0x4010_0000], "virtio-blk-pci,disable-legacy=on")
}

/// RAM from 2 GiB on, the Image 8 MiB after its start; a 16550 with a clock of its own, named as the console; PCI with a pin for each
/// device and functions that already have addresses (aarch64/src/fdt.rs of crosvm, whose bridge has a CAM).
fn crosvm() -> Vec<u8> {
    const BOTH_CORES: u32 = 3 << 8;
    let ram = [0x8000_0000, 0x4000_0000];
    let mut tree = machine(("memory", ram), 1, BOTH_CORES | LOW_LEVEL, "arm,psci-1.0\0arm,psci-0.2");
    tree.root.add_child(gic());
    let name = format!("U6_16550A@{:x}", PORTS + PORT);
    tree.root.add_child(with(serial_16550(&name), "clock-frequency", 1_843_200_u32));
    let device = 1;
    let map = [device << 11, 0, 0, 1, GIC, 0, 0, SPI, 3 + device, HIGH_LEVEL];
    let pci = with(with(pci("pci"), "interrupt-map", map), "interrupt-map-mask", [0xf800_u32, 0, 0, 7]);
    tree.root.add_child(pci);
    let chosen = with(node("chosen", ""), "linux,pci-probe-only", 1_u32);
    let chosen = with(with(chosen, "stdout-path", format!("/{name}").as_str()), "kaslr-seed", [1_u32, 2]);
    printed("crosvm", tree, chosen, [0x8080_0000, 0xbfe0_0000], "virtio-blk-pci,disable-legacy=on,addr=1")
}
