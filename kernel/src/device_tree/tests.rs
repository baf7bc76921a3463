use super::*;
use crate::machine::{
    ConfigurationSpace, KeyAction, Msi, MsiController, MsiRange, PowerKey, Trigger, UartKind,
};
use dtoolkit::{
    ToPropertyValue,
    memreserve::MemoryReservation,
    model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty},
};

// Written by `qemu-system-aarch64 -M virt,gic-version=3,dumpdtb=FILE -smp 2 -m 1G`, then cut to the length that the blocks in its
// header need.
const VIRT_GIC_V3: &[u8] = include_bytes!("../../testdata/virt-gic3-smp2-1g.dtb");
const VIRT_GIC_V2_EL2: &[u8] = include_bytes!("../../testdata/virt-gic2-el2-128m.dtb");

fn level(number: u32) -> Interrupt {
    Interrupt { number, trigger: Trigger::Level }
}

fn edge(number: u32) -> Interrupt {
    Interrupt { number, trigger: Trigger::Edge }
}

/// QEMU's tree with a GICv3, after a change.
fn changed(change: impl FnOnce(&mut DeviceTree)) -> Vec<u8> {
    let mut tree = DeviceTree::from_fdt(&open(VIRT_GIC_V3).unwrap());
    change(&mut tree);
    tree.to_dtb()
}

fn node<const N: usize>(name: &str, properties: [(&str, Vec<u8>); N]) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new(name).unwrap();
    for (name, value) in properties {
        set(&mut node, name, value.as_slice());
    }
    node
}

fn set(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) {
    node.remove_property(name);
    node.add_property(DeviceTreeProperty::new(name, value).unwrap());
}

fn cells(cells: &[u32]) -> Vec<u8> {
    cells.iter().flat_map(|cell| cell.to_be_bytes()).collect()
}

fn text(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

/// Moves children of the root into a bus below it.
fn move_into(tree: &mut DeviceTree, mut bus: DeviceTreeNode, names: &[&str]) {
    for name in names {
        let child = tree.root.remove_child(name).unwrap();
        bus.add_child(child);
    }
    tree.root.add_child(bus);
}

fn identity_bus(name: &str) -> DeviceTreeNode {
    node(
        name,
        [
            ("compatible", text("simple-bus")),
            ("#address-cells", cells(&[2])),
            ("#size-cells", cells(&[2])),
            ("ranges", Vec::new()),
        ],
    )
}

fn platform(bytes: &[u8]) -> Platform {
    Platform::from_tree(&open(bytes).unwrap(), None).unwrap()
}

#[test]
fn reads_virt_with_gic_v3() {
    let platform = platform(VIRT_GIC_V3);
    assert_eq!(platform.memory, [0x4000_0000..0x8000_0000]);
    let core = |mpidr| Cpu { mpidr, starts_by_psci: true, is_unusable: false };
    assert_eq!(platform.cores, [core(0), core(1)]);
    let uart = platform.uart.unwrap();
    assert_eq!(uart.registers.address, 0x0900_0000);
    assert_eq!(uart.kind, UartKind::Pl011);
    assert_eq!(uart.interrupt, Some(level(33)));
    assert_eq!((uart.clock_hz, uart.baud_rate), (Some(24_000_000), None));
    assert_eq!(
        platform.interrupt_controller,
        Some(InterruptController::GicV3 {
            distributor: Registers { address: 0x0800_0000, size_bytes: 0x1_0000 },
            redistributors: [Registers { address: 0x080a_0000, size_bytes: 0xf6_0000 }].into(),
            stride_bytes: None,
        })
    );
    assert_eq!(platform.virtio_mmio.len(), 32);
    assert_eq!(platform.virtio_mmio[0].registers.address, 0x0a00_0000);
    assert_eq!(platform.virtio_mmio[31].registers.address, 0x0a00_3e00);
    let edge = |number| Interrupt { number, trigger: Trigger::Edge };
    assert_eq!(platform.virtio_mmio[31].interrupt, Some(edge(79)));
    // QEMU wires the pins of each device to four interrupts, beginning one further for each device.
    let pcie = platform.pcie.as_ref().unwrap();
    let pins = [(0, 1), (1, 1), (1, 4), (2, 3), (31, 1)].map(|(device, pin)| pcie.interrupt(device, pin));
    assert_eq!(pins, [35, 36, 35, 35, 38].map(|number| Some(level(number))));
    assert_eq!(pcie.interrupt(0, 0), None);
    assert_eq!(platform.pmu_interrupt, Some(level(23)));
    assert_eq!(platform.timer_interrupt, Some(level(27)));
    assert_eq!(platform.remarks, [""; 0]);
    assert_eq!(platform.undriven, []);
    assert_eq!(platform.reserved_memory, []);
    assert_eq!(platform.boot_args, b"log=info hello");
}

#[test]
fn cores_that_have_failed_are_told_from_those_that_wait() {
    let status_of_core_1 = |status: &str| {
        let tree = changed(|tree| {
            let cpus = tree.root.child_mut("cpus").unwrap();
            set(cpus.child_mut("cpu@1").unwrap(), "status", status);
        });
        platform(&tree).cores.iter().map(|core| core.is_unusable).collect::<Vec<_>>()
    };
    for status in ["okay", "ok", "disabled"] {
        assert_eq!(status_of_core_1(status), [false, false], "{status}");
    }
    for status in ["fail", "fail-thermal", "reserved", ""] {
        assert_eq!(status_of_core_1(status), [false, true], "{status}");
    }
}

#[test]
fn the_early_platform_is_what_the_platform_has() {
    for (bytes, method) in [(VIRT_GIC_V3, PsciMethod::Hvc), (VIRT_GIC_V2_EL2, PsciMethod::Smc)] {
        let tree = open(bytes).unwrap();
        let platform = Platform::from_tree(&tree, None).unwrap();
        let words = EarlyPlatform::from_tree(&tree);
        assert_eq!(words.console, platform.uart);
        assert!(words.console.is_some());
        assert_eq!(words.psci, Some(method));
        assert_eq!(words.boot_args, platform.boot_args);
    }
}

#[test]
fn reads_the_pcie_host() {
    let pcie = platform(VIRT_GIC_V3).pcie.unwrap();
    assert_eq!(pcie.ecam.address, 0x40_1000_0000);
    assert_eq!((pcie.buses, pcie.space), ((0, 255), ConfigurationSpace::Ecam));
    let low = pcie.windows.iter().find(|window| !window.is_64_bit);
    let high = pcie.windows.iter().find(|window| window.is_64_bit);
    assert_eq!(low.unwrap().bus_address, 0x1000_0000);
    assert_eq!(low.unwrap().size_bytes, 0x2eff_0000);
    assert_eq!(high.unwrap().cpu_address, 0x80_0000_0000);
    assert_eq!(high.unwrap().size_bytes, 0x80_0000_0000);
}

#[test]
fn reads_virt_with_gic_v2_at_el2() {
    let platform = platform(VIRT_GIC_V2_EL2);
    assert_eq!(platform.memory, [0x4000_0000..0x4800_0000]);
    assert!(matches!(
        platform.interrupt_controller,
        Some(InterruptController::GicV2 { cpu_interface: Registers { address: 0x0801_0000, .. }, .. })
    ));
}

#[test]
fn broken_trees_are_refused_without_a_panic() {
    const STEP: usize = 53;
    assert_eq!(total_size_bytes(&[]), None);
    assert_eq!(total_size_bytes(&[0; 40]), None);
    assert_eq!(total_size_bytes(VIRT_GIC_V3), Some(VIRT_GIC_V3.len()));
    for length in (0..VIRT_GIC_V3.len()).step_by(97) {
        assert!(open(&VIRT_GIC_V3[..length]).is_err(), "{length}");
    }
    for (index, flipped) in (0..VIRT_GIC_V3.len()).step_by(STEP).enumerate() {
        let mut bytes = VIRT_GIC_V3.to_vec();
        bytes[flipped] ^= [0xff, 0x01, 0x80, 0x04][index % 4];
        if let Ok(tree) = open(&bytes) {
            let _ = EarlyPlatform::from_tree(&tree);
            let _ = memory_banks(&tree);
            let Ok(platform) = Platform::from_tree(&tree, None) else {
                continue;
            };
            // Everything that is to be mapped can be mapped.
            let devices = platform.virtio_mmio.iter().map(|transport| transport.registers);
            let devices = devices
                .chain(platform.clock)
                .chain(platform.fw_cfg)
                .chain(platform.uart.map(|uart| uart.registers));
            assert!(devices.map(|device| device.range().end).all(|end| end <= 1 << 48), "{flipped}");
            assert!(platform.memory.iter().all(|bank| bank.start < bank.end && bank.end <= 1 << 48));
        }
    }
}

#[test]
fn names_may_be_longer_than_the_specification_allows() {
    let long = "a,name-of-forty-characters_which-boards-have";
    assert!(long.len() > 31);
    let bytes = changed(|tree| {
        let mut board = DeviceTreeNode::new_unchecked(long);
        board.add_property(DeviceTreeProperty::new_unchecked(long, 1_u32));
        board.add_child(DeviceTreeNode::new_unchecked("odd name@1@2"));
        tree.root.add_child(board);
        let symbols = DeviceTreeNode::new_unchecked("__symbols__");
        tree.root.add_child(symbols);
        tree.root
            .child_mut(UART)
            .unwrap()
            .add_property(DeviceTreeProperty::new_unchecked("snps,dis-u2-freeclk-exists-quirk", ""));
    });
    assert!(Fdt::new(&bytes).is_err(), "the library takes them by now");
    assert_eq!(platform(&bytes), platform(VIRT_GIC_V3));
    let tree = open(&bytes).unwrap();
    assert_eq!(tree.root().child(long).unwrap().property(long).unwrap().value(), [0, 0, 0, 1]);
}

/// A tree of these tokens, with the strings `a` and `b`, the second of which is not terminated.
fn of_tokens(tokens: &[u32]) -> Vec<u8> {
    const HEADER_BYTES: u32 = 40;
    let structure = HEADER_BYTES + 16;
    let strings = structure + 4 * tokens.len() as u32;
    let header =
        [MAGIC, strings + 3, structure, strings, HEADER_BYTES, 17, 16, 0, 3, 4 * tokens.len() as u32];
    [cells(&header), vec![0; 16], cells(tokens), b"a\0b".to_vec()].concat()
}

#[test]
fn a_broken_structure_is_refused_where_it_breaks() {
    const NAME: u32 = u32::from_be_bytes(*b"n\0\0\0");
    assert!(open(&of_tokens(&[1, 0, 3, 0, 0, 4, 1, NAME, 2, 4, 2, 4, 9])).is_ok());
    assert!(open(&of_tokens(&[1, 0, 3, 3, 0, 7, 2, 9])).is_ok());
    let why = |tokens: &[u32]| {
        let StructureError { kind, offset } = open(&of_tokens(tokens)).unwrap_err();
        (kind, offset - 56)
    };
    let token = StructureErrorKind::Token;
    assert_eq!(why(&[9]), (token(9), 0));
    assert_eq!(why(&[4, 1, 0, 2, 9]), (token(4), 0));
    assert_eq!(why(&[2, 9]), (token(2), 0));
    assert_eq!(why(&[1, 0, 9]), (token(9), 8));
    assert_eq!(why(&[1, 0, 2, 2, 9]), (token(2), 12));
    assert_eq!(why(&[1, 0, 2, 1, 0, 2, 9]), (token(1), 12));
    assert_eq!(why(&[1, 0, 5, 2, 9]), (token(5), 8));
    // A property after a child.
    assert_eq!(why(&[1, 0, 1, NAME, 2, 3, 0, 0, 2, 9]), (token(3), 20));
    let truncated = StructureErrorKind::Truncated;
    assert_eq!(why(&[1, 0, 3, u32::MAX, 0, 2, 9]), (truncated("a property"), 20));
    assert_eq!(why(&[1, 0, 3, 0, 2, 2, 9]), (truncated("a name"), 30));
    assert_eq!(why(&[1, 0, 3, 0, u32::MAX, 2, 9]).0, truncated("a name"));
    assert_eq!(why(&[1, 0xff00_0000, 2, 9]), (StructureErrorKind::Name, 4));
    assert_eq!(why(&[1, 0, 2]), (truncated("the structure block"), 12));
    let header = |index: usize, value: u32| {
        let mut bytes = of_tokens(&[1, 0, 2, 9]);
        bytes[4 * index..][..4].copy_from_slice(&value.to_be_bytes());
        open(&bytes).unwrap_err().kind
    };
    assert_eq!(header(0, 0xfeed), StructureErrorKind::Magic(0xfeed));
    assert_eq!(header(1, 74), StructureErrorKind::Size(74));
    assert_eq!(header(2, 58), StructureErrorKind::Block("structure"));
    assert_eq!(header(2, u32::MAX - 3), truncated("the structure block"));
    assert_eq!(header(3, u32::MAX), StructureErrorKind::Block("strings"));
    assert_eq!(header(4, 73), truncated("the memory reservation block"));
    assert_eq!(header(5, 16), StructureErrorKind::Version(16));
    assert_eq!(header(6, 18), StructureErrorKind::Version(17));
    assert_eq!(header(8, 4), StructureErrorKind::Block("strings"));
}

const MEMORY: &str = "memory@40000000";

fn with_memory(reg: &[u32]) -> Vec<u8> {
    changed(|tree| set(tree.root.child_mut(MEMORY).unwrap(), "reg", cells(reg).as_slice()))
}

fn banks(bytes: &[u8]) -> Vec<Range<u64>> {
    let tree = open(bytes).unwrap();
    let banks = platform(bytes).memory;
    if banks.len() < 256 {
        assert_eq!(memory_banks(&tree)[..], banks[..], "without a heap");
    }
    banks
}

#[test]
fn ram_that_is_named_twice_is_there_once() {
    let twice = with_memory(&[0, 0x4000_0000, 0, 0x1900_0000, 0, 0x4000_0000, 0, 0x1900_0000]);
    assert_eq!(banks(&twice), [0x4000_0000..0x5900_0000]);
    assert_eq!(platform(&twice).remarks, ["409600 KiB of RAM are named more than once"]);
    // Unsorted, overlapping by a page and a half, touching, and with a gap.
    let pieces = [
        [0, 0x6000_0000, 0, 0x1000_0000],
        [0, 0x4000_0000, 0, 0x1000_1800],
        [0, 0x5000_0000, 0, 0x1000_0000],
        [0x1, 0, 0, 0x800],
        [0, 0x8000_0000, 0, 0],
    ];
    let bytes = with_memory(&pieces.concat());
    assert_eq!(banks(&bytes), [0x4000_0000..0x7000_0000, 0x1_0000_0000..0x1_0000_0800]);
    assert_eq!(platform(&bytes).remarks, ["6 KiB of RAM are named more than once"]);
}

#[test]
fn banks_of_several_nodes_are_found_by_their_type() {
    let bytes = changed(|tree| {
        let mut high = tree.root.remove_child(MEMORY).unwrap();
        set(&mut high, "reg", cells(&[0, 0x7000_0000, 0, 0x2000_0000]).as_slice());
        let mut ram = node("ram-0", [("device_type", text("memory"))]);
        set(&mut ram, "reg", cells(&[0, 0x4000_0000, 0, 0x4000_0000]).as_slice());
        let mut secure = ram.clone();
        secure = {
            let mut node = DeviceTreeNode::new("secram@e000000").unwrap();
            secure.properties_mut().for_each(|property| node.add_property(property.clone()));
            node
        };
        set(&mut secure, "reg", cells(&[0, 0xe00_0000, 0, 0x100_0000]).as_slice());
        set(&mut secure, "status", "disabled");
        // A node that only has the name is not RAM if other nodes have the type.
        let named = node("memory@0", [("reg", cells(&[0, 0, 0, 0x1000]))]);
        for node in [high, ram, secure, named] {
            tree.root.add_child(node);
        }
    });
    assert_eq!(banks(&bytes), [0x4000_0000..0x9000_0000]);
    let untyped = changed(|tree| {
        tree.root.child_mut(MEMORY).unwrap().remove_property("device_type");
    });
    assert_eq!(banks(&untyped), [0x4000_0000..0x8000_0000]);
    // With `compatible`, they would be taken for devices within the RAM.
    let compatible = changed(|tree| {
        let memory = tree.root.child_mut(MEMORY).unwrap();
        memory.remove_property("device_type");
        set(memory, "compatible", "acme,ram");
    });
    assert_eq!(platform(&compatible).memory, [0x4000_0000..0x8000_0000]);
    assert_eq!(platform(&compatible).reserved_memory, []);
    let none = changed(|tree| {
        tree.root.remove_child(MEMORY);
    });
    assert_eq!(Platform::from_tree(&open(&none).unwrap(), None), Err(DeviceTreeError::NoMemory));
}

#[test]
fn banks_end_where_the_address_space_does() {
    let huge = [0, 0x4000_0000, u32::MAX, u32::MAX, u32::MAX, 0xffff_f000, 0, 0x2000];
    assert_eq!(banks(&with_memory(&huge)), [0x4000_0000..1 << 48]);
    // A truncated entry makes the property unreadable.
    let bytes = with_memory(&[0, 0x4000_0000, 0]);
    assert_eq!(Platform::from_tree(&open(&bytes).unwrap(), None), Err(DeviceTreeError::NoMemory));
}

/// Handling all of them would take minutes.
#[test]
fn of_very_many_registers_of_a_device_the_first_ones_are_kept_free() {
    let entries: Vec<u8> = (0..60_000).flat_map(|n| cells(&[0, 0x1000_0000 + 0x10 * n, 0, 0x10])).collect();
    let tree = changed(|tree| {
        let device = node("many@10000000", [("compatible", text("x")), ("reg", entries.clone())]);
        tree.root.add_child(device);
    });
    let before = reserved_memory(&open(VIRT_GIC_V3).unwrap()).count();
    let reserved: Vec<_> = reserved_memory(&open(&tree).unwrap()).collect();
    assert_eq!(reserved.len(), before + 1024);
    assert!(
        reserved.contains(&(0x1000_3ff0..0x1000_4000)) && !reserved.contains(&(0x1000_4000..0x1000_4010))
    );
}

#[test]
fn a_thousand_banks_are_not_too_many() {
    // Every second entry repeats the one before it.
    let entry = |index: u32| [0, 0x4000_0000 + (index / 2) * 0x2000, 0, 0x1000];
    let reg: Vec<u32> = (0..3000).rev().flat_map(entry).collect();
    let banks = banks(&with_memory(&reg));
    assert_eq!(banks.len(), 1500);
    assert_eq!(banks[1499], 0x40bb_6000..0x40bb_7000);
}

#[test]
fn a_kernel_after_a_crash_uses_what_it_is_left() {
    let limited = |property: &str, node: &str, value: &[u32]| {
        let (property, value) = (property.to_string(), cells(value));
        banks(&changed(|tree| set(tree.root.child_mut(node).unwrap(), &property, value.as_slice())))
    };
    let two = [0, 0x7000_0000, 0, 0x2000_0000, 0, 0x4800_0000, 0, 0x10_0000];
    assert_eq!(
        limited("linux,usable-memory-range", "chosen", &two),
        [0x4800_0000..0x4810_0000, 0x7000_0000..0x8000_0000]
    );
    assert_eq!(limited("linux,usable-memory", MEMORY, &two[4..]), [0x4800_0000..0x4810_0000]);
}

#[test]
fn reserved_parts_and_devices_are_left_out() {
    let bytes = changed(|tree| {
        tree.memory_reservations.push(MemoryReservation::new(0x4000_0000, 0x1_0000));
        tree.memory_reservations.push(MemoryReservation::new(0x4000_8000, 0x1_0000));
        tree.memory_reservations.push(MemoryReservation::new(0x100, 0x1000));
        let mut reserved = node(
            "reserved-memory",
            [("#address-cells", cells(&[2])), ("#size-cells", cells(&[2])), ("ranges", Vec::new())],
        );
        reserved.add_child(node(
            "secure@50000000",
            [("reg", cells(&[0, 0x5000_0000, 0, 0x10_0000])), ("no-map", Vec::new())],
        ));
        reserved.add_child(node("anywhere", [("size", cells(&[0, 0x10_0000]))]));
        let unused = node(
            "unused@60000000",
            [("reg", cells(&[0, 0x6000_0000, 0, 0x1000])), ("status", text("disabled"))],
        );
        reserved.add_child(unused);
        tree.root.add_child(reserved);
        let mut bus = identity_bus("soc");
        set(&mut bus, "ranges", cells(&[0, 0, 0, 0x7000_0000, 0, 0x100_0000]).as_slice());
        bus.add_child(node(
            "device@2000",
            [("compatible", text("unknown")), ("reg", cells(&[0, 0x2000, 0, 0x10, 0, 0x4000, 0, 0x1000]))],
        ));
        tree.root.add_child(bus);
    });
    assert_eq!(
        platform(&bytes).reserved_memory,
        [
            0x4000_0000..0x4001_0000,
            0x4000_8000..0x4001_8000,
            0x5000_0000..0x5010_0000,
            0x7000_2000..0x7000_2010,
            0x7000_4000..0x7000_5000,
        ]
    );
    let free = layout::remaining(&platform(&bytes).memory, &platform(&bytes).reserved_memory);
    assert_eq!(
        free,
        [
            0x4001_8000..0x5000_0000,
            0x5010_0000..0x7000_2000,
            0x7000_3000..0x7000_4000,
            0x7000_5000..0x8000_0000,
        ]
    );
}

const PCIE: &str = "pcie@10000000";

#[test]
fn messages_go_where_the_host_bridge_says() {
    let msi = |change: &dyn Fn(&mut DeviceTreeNode)| {
        let tree = changed(|tree| {
            let its = [("compatible", text("arm,gic-v3-its")), ("phandle", cells(&[0x9000]))];
            let mut its = node("its@8080000", its);
            set(&mut its, "reg", cells(&[0, 0x808_0000, 0, 0x2_0000]).as_slice());
            let frame = [("compatible", text("arm,gic-v2m-frame")), ("phandle", cells(&[0x9001]))];
            let mut frame = node("v2m@8020000", frame);
            set(&mut frame, "reg", cells(&[0, 0x802_0000, 0, 0x1000]).as_slice());
            set(&mut frame, "arm,msi-base-spi", 96_u32);
            [its, frame].into_iter().for_each(|node| tree.root.add_child(node));
            let host = tree.root.child_mut(PCIE).unwrap();
            host.remove_property("msi-map");
            change(host);
        });
        platform(&tree).pcie.unwrap().msi
    };
    let registers = Registers { address: 0x808_0000, size_bytes: 0x2_0000 };
    let its = Msi { controller: MsiController::Its { registers }, requester_mask: u16::MAX, map: Vec::new() };
    assert_eq!(msi(&|_| ()), None);
    assert_eq!(msi(&|host| set(host, "msi-parent", cells(&[0x9000]).as_slice())), Some(its.clone()));
    let map = [0, 0x9000, 0x1_0000, 0x100, 0x100, 0x9001, 0, 0x100, 0x200, 0x9000, 0, 0x100];
    let ranges = [(0, 0x1_0000), (0x200, 0)];
    let ranges = ranges.map(|(requester, device)| MsiRange { requester, device, count: 0x100 });
    let mapped = msi(&|host| {
        set(host, "msi-map", cells(&map).as_slice());
        set(host, "msi-map-mask", 0xff00_u32);
    });
    assert_eq!(mapped, Some(Msi { requester_mask: 0xff00, map: ranges.into(), ..its }));
    let frame = Registers { address: 0x802_0000, size_bytes: 0x1000 };
    let v2m = MsiController::V2m { frame, first: Some(96), count: None };
    let found = msi(&|host| set(host, "msi-parent", 0x9001_u32));
    assert_eq!(found.map(|msi| msi.controller), Some(v2m));
    // A controller of another kind, and a number that no node has.
    for phandle in [gic_phandle(&DeviceTree::from_fdt(&open(VIRT_GIC_V3).unwrap())), 0x9002] {
        assert_eq!(msi(&|host| set(host, "msi-parent", phandle)), None);
    }
    assert_eq!(msi(&|host| set(host, "msi-map", cells(&[0, 0x9000]).as_slice())), None);
}

#[test]
fn windows_to_pci_within_the_ram_are_left_out() {
    let host = |change: &dyn Fn(&mut DeviceTreeNode)| {
        platform(&changed(|tree| change(tree.root.child_mut(PCIE).unwrap())))
    };
    // Space, address on the bus, address for the CPU, size: first I/O, then memory within the RAM and below it.
    let io = [0x100_0000, 0, 0, 0, 0x5000_0000, 0, 0x1_0000];
    let within = [0x200_0000, 0, 0x6000_0000, 0, 0x6000_0000, 0, 0x100_0000];
    let below = [0x300_0000, 0, 0x1000_0000, 0, 0x1000_0000, 0, 0x100_0000];
    let ranges = cells(&[io, within, below].concat());
    let changed = host(&|node| set(node, "ranges", ranges.as_slice()));
    assert_eq!(changed.reserved_memory, [0x5000_0000..0x5001_0000, 0x6000_0000..0x6100_0000]);
    assert_eq!(changed.pcie.unwrap().windows.len(), 2);
    let cam = host(&|node| set(node, "compatible", "pci-host-cam-generic")).pcie.unwrap();
    assert_eq!((cam.space, cam.buses), (ConfigurationSpace::Cam, (0, 255)));
    // The same for a host bridge without a driver.
    let other = host(&|node| {
        set(node, "compatible", "acme,pcie");
        set(node, "ranges", ranges.as_slice());
    });
    assert_eq!((other.pcie, other.reserved_memory.len()), (None, 2));
}

#[test]
fn registers_that_no_driver_could_use_are_left_out() {
    let with = |name: &str, reg: &[u32]| {
        platform(&changed(|tree| set(tree.root.child_mut(name).unwrap(), "reg", cells(reg).as_slice())))
    };
    // Addresses and sizes: at an odd address, beyond the page tables, too short.
    let bad = [[0, 0x0900_0002, 0, 0x1000], [0x1_0000, 0, 0, 0x1000], [0, 0x0900_0000, 0, 2]];
    for reg in bad {
        assert_eq!(with("pl011@9000000", &reg).uart, None, "{reg:x?}");
        assert_eq!(with("pl031@9010000", &reg).clock, None, "{reg:x?}");
        assert_eq!(with("pl061@9030000", &reg).power_keys, [], "{reg:x?}");
        assert_eq!(with("virtio_mmio@a000000", &reg).virtio_mmio.len(), 31, "{reg:x?}");
        assert_eq!(with(PCIE, &reg).pcie, None, "{reg:x?}");
    }
    let redistributors = [0, 0x080a_0000, 0, 0xf6_0000];
    for distributor in &bad[..2] {
        let gic = with("intc@8000000", &[&distributor[..], &redistributors].concat());
        assert_eq!(gic.interrupt_controller, None, "{distributor:x?}");
    }
    for region in &bad[..2] {
        let gic = with("intc@8000000", &[&[0, 0x0800_0000, 0, 0x1_0000], &region[..]].concat());
        assert_eq!(gic.interrupt_controller, None, "{region:x?}");
    }
    let window = |cpu_high: u32, cpu_low: u32| {
        let ranges = cells(&[0x200_0000, 0, 0x1000_0000, cpu_high, cpu_low, 0, 0x100_0000]);
        let bytes = changed(|tree| set(tree.root.child_mut(PCIE).unwrap(), "ranges", ranges.as_slice()));
        platform(&bytes).pcie.unwrap().windows.len()
    };
    assert_eq!((window(0, 0x1000_0000), window(0, 0x1000_0010), window(0x1_0000, 0)), (1, 0, 0));
}

const UART: &str = "pl011@9000000";

#[test]
fn devices_are_found_on_buses() {
    let flat = platform(VIRT_GIC_V3);
    let names: Vec<String> = {
        let tree = DeviceTree::from_fdt(&open(VIRT_GIC_V3).unwrap());
        let is_device =
            |name: &&str| !name.contains("memory") && !["chosen", "cpus", "aliases"].contains(name);
        tree.root.children().map(|child| child.name()).filter(is_device).map(String::from).collect()
    };
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut stdout = String::from("/bus/soc/");
    stdout.push_str(UART);
    let bytes = changed(|tree| {
        move_into(tree, identity_bus("soc"), &names);
        move_into(tree, identity_bus("bus"), &["soc"]);
        set(tree.root.child_mut("chosen").unwrap(), "stdout-path", stdout.as_str());
    });
    assert_eq!(platform(&bytes), flat);
    let bytes = changed(|tree| {
        let mut bus = identity_bus("soc");
        set(&mut bus, "status", "disabled");
        move_into(tree, bus, &names);
    });
    let disabled = platform(&bytes);
    assert_eq!((disabled.uart, disabled.interrupt_controller, disabled.virtio_mmio.len()), (None, None, 0));
}

#[test]
fn addresses_are_translated_by_every_bus() {
    let on_buses = |ranges: &[(&str, Option<Vec<u8>>)]| {
        let bytes = changed(|tree| {
            let mut device = tree.root.remove_child(UART).unwrap();
            set(&mut device, "reg", cells(&[0x100, 0x1000]).as_slice());
            for (name, ranges) in ranges {
                let mut bus = node(name, [("#address-cells", cells(&[1])), ("#size-cells", cells(&[1]))]);
                if let Some(ranges) = ranges {
                    set(&mut bus, "ranges", ranges.as_slice());
                }
                bus.add_child(device);
                device = bus;
            }
            tree.root.add_child(device);
        });
        platform(&bytes).uart.map(|uart| (uart.registers.address, uart.registers.size_bytes))
    };
    // Cells: address on the bus, address on the bus above it, size.
    let outer = ("outer", Some(cells(&[0x5_0000, 0, 0x0900_0000, 0x1_0000])));
    let inner = |ranges: &[u32]| ("inner", Some(cells(ranges)));
    assert_eq!(on_buses(&[inner(&[0, 0x5_0000, 0x8000]), outer.clone()]), Some((0x0900_0100, 0x1000)));
    // The second entry applies; it ends before the registers do.
    let second = inner(&[0x4000, 0x100, 0x10, 0x80, 0x5_2000, 0x480]);
    assert_eq!(on_buses(&[second, outer.clone()]), Some((0x0900_2080, 0x400)));
    assert_eq!(on_buses(&[("inner", None), outer.clone()]), None);
    assert_eq!(on_buses(&[inner(&[0x1100, 0x5_0000, 0x8000]), outer.clone()]), None);
    assert_eq!(on_buses(&[inner(&[0, 0x7_0000, 0x8000]), outer.clone()]), None);
    assert_eq!(on_buses(&[inner(&[0, 0x5_0000]), outer]), None);
    let deep: Vec<_> = (0..14).map(|_| ("identity", Some(Vec::new()))).collect();
    let outermost = [("soc", Some(cells(&[0, 0x1, 0x0900_0000, 0x1_0000])))];
    assert_eq!(on_buses(&[&deep[..], &outermost].concat()), Some((0x1_0900_0100, 0x1000)));
    let too_deep: Vec<_> = (0..40).map(|_| ("identity", Some(Vec::new()))).collect();
    assert_eq!(on_buses(&[&too_deep[..], &outermost].concat()), None);
}

fn gic_phandle(tree: &DeviceTree) -> u32 {
    tree.root.property("interrupt-parent").unwrap().value_as().unwrap()
}

#[test]
fn interrupts_come_from_the_nearest_parent() {
    let interrupt = |change: &dyn Fn(&mut DeviceTreeNode, u32)| {
        let bytes = changed(|tree| {
            let gic = gic_phandle(tree);
            tree.root.add_child(node(
                "combiner",
                [("phandle", cells(&[0x99])), ("#interrupt-cells", cells(&[1]))],
            ));
            let mut nexus = node(
                "nexus",
                [
                    ("phandle", cells(&[0x98])),
                    ("#interrupt-cells", cells(&[1])),
                    ("#address-cells", cells(&[2])),
                    ("#size-cells", cells(&[1])),
                    ("interrupt-map-mask", cells(&[0, 0, 63])),
                ],
            );
            // The GIC's own addresses have two cells.
            let map = [[0, 0, 4, gic, 0, 0, 0, 4, 4], [0, 0, 5, gic, 0, 0, 0, 42, 1]].concat();
            set(&mut nexus, "interrupt-map", cells(&map).as_slice());
            tree.root.add_child(nexus);
            change(tree.root.child_mut(UART).unwrap(), gic);
        });
        platform(&bytes).uart.unwrap().interrupt
    };
    assert_eq!(interrupt(&|_, _| {}), Some(level(33)));
    assert_eq!(interrupt(&|uart, _| set(uart, "interrupts", cells(&[0, 7, 1]).as_slice())), Some(edge(39)));
    let extended = |uart: &mut DeviceTreeNode, gic| {
        set(uart, "interrupts-extended", cells(&[gic, 1, 3, 4, 0x99, 5]).as_slice());
    };
    assert_eq!(interrupt(&extended), Some(level(19)));
    // The interrupt does not belong to the GIC.
    assert_eq!(interrupt(&|uart, _| set(uart, "interrupt-parent", 0x99_u32)), None);
    assert_eq!(interrupt(&|uart, _| set(uart, "interrupt-parent", 0x77_u32)), None);
    for bad in [&[4, 1, 4][..], &[0, 988, 4], &[1, 16, 4], &[0, u32::MAX, 4], &[0, 1], &[]] {
        assert_eq!(interrupt(&|uart, _| set(uart, "interrupts", cells(bad).as_slice())), None, "{bad:?}");
    }
    let mapped = |number: u32| {
        interrupt(&|uart, _| {
            set(uart, "interrupt-parent", 0x98_u32);
            set(uart, "interrupts", number);
        })
    };
    assert_eq!(mapped(5), Some(edge(74)));
    assert_eq!(mapped(4 + 64), Some(level(36)));
    assert_eq!(mapped(6), None);
}

/// A bus that is a map itself, as on Arm's models, has no number by which other nodes could refer to it.
#[test]
fn interrupts_go_up_to_a_bus_that_maps_them() {
    let interrupt = |change: &dyn Fn(&mut DeviceTreeNode, &mut DeviceTreeNode, u32)| {
        let bytes = changed(|tree| {
            let gic = gic_phandle(tree);
            let mut uart = tree.root.remove_child(UART).unwrap();
            set(&mut uart, "interrupts", 5_u32);
            let mut outer = identity_bus("bus@8000000");
            set(&mut outer, "#interrupt-cells", 1_u32);
            set(&mut outer, "interrupt-map-mask", cells(&[0, 0, 63]).as_slice());
            let map = [[0, 0, 4, gic, 0, 0, 0, 4, 4], [0, 0, 5, gic, 0, 0, 0, 42, 1]].concat();
            set(&mut outer, "interrupt-map", cells(&map).as_slice());
            let mut inner = identity_bus("motherboard-bus");
            change(&mut inner, &mut uart, gic);
            inner.add_child(uart);
            outer.add_child(inner);
            tree.root.add_child(outer);
        });
        platform(&bytes).uart.unwrap().interrupt
    };
    assert_eq!(interrupt(&|_, _, _| {}), Some(edge(74)));
    // `interrupt-parent` takes precedence over the parent. A node without `#interrupt-cells` is only a step on the way.
    let direct = |uart: &mut DeviceTreeNode| set(uart, "interrupts", cells(&[0, 7, 4]).as_slice());
    assert_eq!(
        interrupt(&|inner, uart, gic| {
            set(inner, "interrupt-parent", gic);
            direct(uart);
        }),
        Some(level(39))
    );
    assert_eq!(
        interrupt(&|inner, uart, _| {
            set(inner, "phandle", 0x97_u32);
            set(uart, "interrupt-parent", 0x97_u32);
        }),
        Some(edge(74))
    );
    // The nodes refer to each other in a loop.
    assert_eq!(
        interrupt(&|inner, uart, _| {
            set(inner, "phandle", 0x97_u32);
            set(inner, "interrupt-parent", 0x97_u32);
            direct(uart);
        }),
        None
    );
}

#[test]
fn the_console_is_the_one_that_stdout_path_names() {
    let chosen = |stdout: Option<&str>, change: &dyn Fn(&mut DeviceTree)| {
        let bytes = changed(|tree| {
            let mut second = tree.root.child(UART).unwrap().clone();
            set(&mut second, "reg", cells(&[0, 0x0904_0000, 0, 0x1000]).as_slice());
            let mut soc = identity_bus("soc");
            let mut renamed = DeviceTreeNode::new("serial@9040000").unwrap();
            second.properties_mut().for_each(|property| renamed.add_property(property.clone()));
            soc.add_child(renamed);
            tree.root.add_child(soc);
            let aliases = node(
                "aliases",
                [
                    ("serial0", text("/pl011@9000000")),
                    ("serial1", text("/soc/serial@9040000")),
                    ("soc", text("/soc")),
                ],
            );
            tree.root.add_child(aliases);
            let node = tree.root.child_mut("chosen").unwrap();
            node.remove_property("stdout-path");
            if let Some(stdout) = stdout {
                set(node, "stdout-path", stdout);
            }
            change(tree);
        });
        let platform = platform(&bytes);
        let uart = platform.uart.unwrap();
        (uart.registers.address, uart.baud_rate, platform.remarks.join("; "))
    };
    let same = |_: &mut DeviceTree| {};
    assert_eq!(chosen(None, &same), (0x0900_0000, None, String::new()));
    assert_eq!(chosen(Some("serial1:9600n8"), &same), (0x0904_0000, Some(9600), String::new()));
    assert_eq!(chosen(Some("serial1"), &same), (0x0904_0000, None, String::new()));
    assert_eq!(chosen(Some("soc/serial:r"), &same), (0x0904_0000, None, String::new()));
    assert_eq!(chosen(Some("/soc/serial@9040000:115200"), &same).0, 0x0904_0000);
    assert_eq!(
        chosen(Some("/soc/serial@9040001"), &same),
        (
            0x0900_0000,
            None,
            String::from("stdout-path is \"/soc/serial@9040001\", which is no enabled device")
        )
    );
    for broken in ["", "/", "serial9", "soc", ":", "//soc//", "serial0/x"] {
        let (address, _, remarks) = chosen(Some(broken), &same);
        assert_eq!(address, 0x0900_0000, "{broken:?}");
        assert!(remarks.contains("stdout-path"), "{broken:?}: {remarks}");
    }
    let old = chosen(None, &|tree| {
        set(tree.root.child_mut("chosen").unwrap(), "linux,stdout-path", "serial1");
    });
    assert_eq!(old.0, 0x0904_0000);
    let disabled = chosen(Some("serial1"), &|tree| {
        let soc = tree.root.child_mut("soc").unwrap();
        set(soc.child_mut("serial@9040000").unwrap(), "status", "disabled");
    });
    assert_eq!(disabled.0, 0x0900_0000);
    let other = chosen(Some("serial1"), &|tree| {
        let soc = tree.root.child_mut("soc").unwrap();
        set(soc.child_mut("serial@9040000").unwrap(), "compatible", "acme,serial");
    });
    assert_eq!(
        other.2,
        "stdout-path is \"serial1\", a \"acme,serial\", which is not driven or cannot be reached"
    );
}

#[test]
fn uarts_of_every_kind() {
    let uart = |change: &dyn Fn(&mut DeviceTreeNode)| {
        platform(&changed(|tree| change(tree.root.child_mut(UART).unwrap()))).uart
    };
    let kind = |change: &dyn Fn(&mut DeviceTreeNode)| uart(change).map(|uart| uart.kind);
    assert_eq!(kind(&|node| set(node, "compatible", "arm,sbsa-uart")), Some(UartKind::Sbsa));
    let ns16550 = |register_shift, access_bytes| Some(UartKind::Ns16550 { register_shift, access_bytes });
    assert_eq!(kind(&|node| set(node, "compatible", "ns16550a")), ns16550(0, 1));
    assert_eq!(kind(&|node| set(node, "compatible", "snps,dw-apb-uart")), ns16550(2, 4));
    let spaced = |shift: u32, width: u32| {
        move |node: &mut DeviceTreeNode| {
            set(node, "compatible", "ns16550");
            set(node, "reg-shift", shift);
            set(node, "reg-io-width", width);
        }
    };
    assert_eq!(kind(&spaced(2, 1)), ns16550(2, 1));
    assert_eq!(kind(&spaced(2, 4)), ns16550(2, 4));
    for (shift, width) in [(0, 4), (2, 3), (5, 1), (64, 1), (u32::MAX, 1), (1, 0)] {
        assert_eq!(kind(&spaced(shift, width)), None, "{shift}, {width}");
    }
    let moved = uart(&|node| {
        set(node, "compatible", "ns16550a");
        set(node, "reg-offset", 0x100_u32);
        set(node, "clock-frequency", 1_843_200_u32);
        set(node, "current-speed", 38_400_u32);
    });
    let moved = moved.unwrap();
    assert_eq!(moved.registers, Registers { address: 0x0900_0100, size_bytes: 0xf00 });
    assert_eq!((moved.clock_hz, moved.baud_rate), (Some(1_843_200), Some(38_400)));
    assert_eq!(uart(&|node| set(node, "compatible", "acme,serial")), None);
    assert_eq!(
        uart(&|node| {
            node.remove_property("clocks");
        })
        .unwrap()
        .clock_hz,
        None
    );
}

#[test]
fn interrupt_controllers_of_boards() {
    let controller = |names: &str, extra: &[u32], regions: Option<u32>| {
        let names = text(names);
        let bytes = changed(|tree| {
            let gic = tree.root.child_mut("intc@8000000").unwrap();
            set(gic, "compatible", names.as_slice());
            let reg = [&[0, 0x0800_0000, 0, 0x1_0000][..], extra].concat();
            set(gic, "reg", cells(&reg).as_slice());
            if let Some(regions) = regions {
                set(gic, "#redistributor-regions", regions);
            }
        });
        platform(&bytes).interrupt_controller
    };
    let block = |address, size_bytes| Registers { address, size_bytes };
    let distributor = block(0x0800_0000, 0x1_0000);
    let cpu_interface = block(0x0802_0000, 0x2000);
    for name in ["arm,gic-400", "arm,cortex-a9-gic", "arm,cortex-a7-gic\0arm,cortex-a15-gic"] {
        let reg = [0, 0x0802_0000, 0, 0x2000, 0, 0x0804_0000, 0, 0x2000];
        let gic = controller(name, &reg, None);
        assert_eq!(gic, Some(InterruptController::GicV2 { distributor, cpu_interface }), "{name}");
    }
    // Two regions of redistributors, followed by the interfaces of a GICv2.
    let reg = [0, 0x080a_0000, 0, 0x4_0000, 1, 0, 0, 0x8_0000, 0, 0x0802_0000, 0, 0x2000];
    let redistributors = [block(0x080a_0000, 0x4_0000), block(0x1_0000_0000, 0x8_0000)].into();
    assert_eq!(
        controller("arm,gic-v3", &reg, Some(2)),
        Some(InterruptController::GicV3 { distributor, redistributors, stride_bytes: None })
    );
    assert_eq!(controller("arm,gic-v3", &[], None), None);
    assert_eq!(controller("arm,gic-400", &[], None), None);
}

#[test]
fn a_tree_of_a_boot_loader_alone_says_nothing() {
    let only = |names: &[&str]| {
        let bytes = changed(|tree| {
            let names_of = |tree: &DeviceTree| -> Vec<String> {
                tree.root.children().map(|node| node.name().to_string()).collect()
            };
            for name in names_of(tree).iter().filter(|name| !names.contains(&name.as_str())) {
                tree.root.remove_child(name);
            }
        });
        is_empty(&open(&bytes).unwrap())
    };
    assert!(only(&["chosen"]) && only(&[]));
    assert!(!only(&["chosen", "memory@40000000"]) && !only(&["psci"]));
}

#[test]
fn power_keys_on_a_gpio_controller() {
    let registers = Registers { address: 0x0903_0000, size_bytes: 0x1000 };
    let qemu = PowerKey {
        action: KeyAction::PowerOff,
        gpio: registers,
        line: 3,
        is_active_low: false,
        interrupt: level(39),
    };
    assert_eq!(platform(VIRT_GIC_V3).power_keys, [qemu]);
    assert_eq!(platform(VIRT_GIC_V3).clock, Some(Registers { address: 0x0901_0000, size_bytes: 0x1000 }));
    assert_eq!(platform(VIRT_GIC_V3).fw_cfg, Some(Registers { address: 0x0902_0000, size_bytes: 0x18 }));
    let keys = |change: &dyn Fn(&mut DeviceTreeNode)| {
        platform(&changed(|tree| change(tree.root.child_mut("gpio-keys").unwrap()))).power_keys
    };
    let key =
        |change: &dyn Fn(&mut DeviceTreeNode)| keys(&|node| change(node.child_mut("poweroff").unwrap()));
    let restart = key(&|node| set(node, "linux,code", 408_u32));
    assert_eq!(restart, [PowerKey { action: KeyAction::Restart, ..qemu }]);
    let pin = |tree: &mut DeviceTreeNode, pin: u32, flags: u32| {
        let gpios: Vec<u32> = tree.property("gpios").unwrap().value_as().unwrap();
        set(tree, "gpios", [gpios[0], pin, flags]);
    };
    assert_eq!(key(&|node| pin(node, 7, 1)), [PowerKey { line: 7, is_active_low: true, ..qemu }]);
    let both = keys(&|node| {
        let mut other = DeviceTreeNode::new("restart").unwrap();
        let first = node.child_mut("poweroff").unwrap();
        first.properties_mut().for_each(|property| other.add_property(property.clone()));
        set(&mut other, "linux,code", 408_u32);
        node.add_child(other);
    });
    assert_eq!(both.len(), 2);
    for broken in [
        key(&|node| pin(node, 8, 0)),
        key(&|node| set(node, "linux,code", 30_u32)),
        key(&|node| set(node, "linux,input-type", 5_u32)),
        key(&|node| set(node, "status", "disabled")),
        key(&|node| set(node, "gpios", [0x7777_u32, 3, 0])),
        key(&|node| set(node, "gpios", Vec::<u32>::new())),
        keys(&|node| set(node, "compatible", "acme,keys")),
        keys(&|node| set(node, "status", "disabled")),
    ] {
        assert_eq!(broken, []);
    }
}

#[test]
fn the_identifier_of_the_generation_is_found() {
    let with = |address: u32, size_bytes: u32| {
        platform(&changed(|tree| {
            let reg = cells(&[0, address, 0, size_bytes]);
            let interrupts = cells(&[0, 35, 1]);
            let properties =
                [("compatible", text("microsoft,vmgenid")), ("reg", reg), ("interrupts", interrupts)];
            tree.root.add_child(node("vmgenid", properties));
        }))
    };
    let interrupt = Some(edge(67));
    assert_eq!(with(0x3f00_0008, 16).generation, Some(Generation { address: 0x3f00_0008, interrupt }));
    assert_eq!((with(0x3f00_0004, 16).generation, with(0x3f00_0008, 8).generation), (None, None));
    // If it lies within the RAM, its pages are used for neither the heap nor the pool.
    for (address, pages) in [(0x5f00_0000, 0x5f00_0000..0x5f00_1000), (0x5eff_fff8, 0x5eff_f000..0x5f00_1000)]
    {
        let platform = with(address, 16);
        let Platform { memory, reserved_memory, .. } = &platform;
        assert_eq!(
            layout::whole_pages([platform.generation.unwrap().range()].into()),
            core::slice::from_ref(&pages)
        );
        let free = layout::remaining(memory, reserved_memory);
        assert!(!free.iter().any(|range| layout::overlap(range, &pages)), "{free:x?}");
        assert!(free.iter().any(|range| range.end == pages.start), "{free:x?}");
        let below_bytes = pages.start - memory[0].start;
        for size_bytes in [below_bytes, below_bytes + layout::PAGE_BYTES] {
            let heap = layout::place(memory.iter().cloned(), || reserved_memory.iter().cloned(), size_bytes);
            assert!(heap.is_none_or(|heap| !layout::overlap(&heap, &pages)));
        }
    }
}

#[test]
fn watchdogs_are_found_with_their_defaults() {
    let with = |compatible: &str, reg: &[u32], rest: &[(&str, u32)]| {
        let tree = changed(|tree| {
            let mut node = node("watchdog@a100000", [("compatible", text(compatible)), ("reg", cells(reg))]);
            rest.iter().for_each(|&(name, value)| set(&mut node, name, value));
            tree.root.add_child(node);
        });
        platform(&tree).watchdog
    };
    let registers = |address, size_bytes| Registers { address, size_bytes };
    let frames = [0, 0xa10_0000, 0, 0x1000, 0, 0xa20_0000, 0, 0x1000];
    let (control, refresh) = (registers(0xa10_0000, 0x1000), registers(0xa20_0000, 0x1000));
    assert_eq!(with("arm,sbsa-gwdt", &frames, &[]), Some(Watchdog::Generic { refresh, control }));
    assert_eq!(with("arm,sbsa-gwdt", &frames[..4], &[]), None);
    assert_eq!(with("arm,sbsa-gwdt", &[0, 0xa10_0004, 0, 0x1000, 0, 0xa20_0000, 0, 0x1000], &[]), None);
    let stall = |rest: &[(&str, u32)]| with("qemu,vcpu-stall-detector", &[0, 0xa10_0000, 0, 0x20], rest);
    let expected = |clock_hz, timeout_s| {
        Some(Watchdog::Stall { registers: registers(0xa10_0000, 0x20), clock_hz, timeout_s })
    };
    assert_eq!(stall(&[]), expected(10, 8));
    assert_eq!(stall(&[("clock-frequency", 100), ("timeout-sec", 600)]), expected(100, 600));
    assert_eq!(stall(&[("clock-frequency", 101), ("timeout-sec", 0)]), expected(10, 8));
    assert_eq!(with("qemu,vcpu-stall-detector", &[0, 0xa10_0000, 0, 0xf], &[]), None);
}

#[test]
fn a_power_key_on_another_controller_is_told() {
    let tree = changed(|tree| {
        set(tree.root.child_mut("pl061@9030000").unwrap(), "compatible", "acme,gpio");
    });
    let platform = platform(&tree);
    assert_eq!(platform.power_keys, []);
    assert_eq!(
        platform.remarks,
        ["the power key is not heard: it is on a \"acme,gpio\", which is not driven"]
    );
}

#[test]
fn the_distance_of_redistributors() {
    let stride = |value: &[u32]| {
        let tree = changed(|tree| {
            let gic = tree.root.child_mut("intc@8000000").unwrap();
            set(gic, "redistributor-stride", cells(value).as_slice());
        });
        match platform(&tree).interrupt_controller {
            Some(InterruptController::GicV3 { stride_bytes, .. }) => stride_bytes,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(stride(&[0, 0x4_0000]), Some(0x4_0000));
    assert_eq!(stride(&[0x2_0000]), Some(0x2_0000));
    for none in [&[0, 0][..], &[], &[1, 2, 3], &[0x1_0000], &[0x2_1000]] {
        assert_eq!(stride(none), None);
    }
}

#[test]
fn extended_interrupts() {
    let interrupt = |specifier: [u32; 3], compatible: &str| {
        let tree = changed(|tree| {
            set(tree.root.child_mut("intc@8000000").unwrap(), "compatible", compatible);
            set(tree.root.child_mut(UART).unwrap(), "interrupts", specifier);
        });
        platform(&tree).uart.unwrap().interrupt
    };
    assert_eq!(interrupt([2, 0, 4], "arm,gic-v3"), Some(level(4096)));
    assert_eq!(interrupt([2, 1023, 1], "arm,gic-v3"), Some(edge(5119)));
    assert_eq!(interrupt([3, 63, 4], "arm,gic-v3"), Some(level(1119)));
    for (kind, number, compatible) in
        [(2, 1024, "arm,gic-v3"), (3, 64, "arm,gic-v3"), (4, 0, "arm,gic-v3"), (2, 0, "arm,gic-400")]
    {
        assert_eq!(interrupt([kind, number, 4], compatible), None);
    }
}

#[test]
fn controllers_of_disks_that_are_not_driven_are_named() {
    let tree = changed(|tree| {
        let mut soc = identity_bus("soc");
        let with_registers = |name: &str, compatible: &str, address: u32| {
            node(name, [("compatible", text(compatible)), ("reg", cells(&[0, address, 0, 0x1000]))])
        };
        let mut usb = with_registers("usb@fe800000", "rockchip,rk3399-dwc3", 0xfe80_0000);
        for (name, value) in
            [("#address-cells", cells(&[2])), ("#size-cells", cells(&[2])), ("ranges", Vec::new())]
        {
            set(&mut usb, name, value.as_slice());
        }
        usb.add_child(with_registers("usb@fe800000", "snps,dwc3", 0xfe80_0000));
        soc.add_child(usb);
        let mut mmc =
            with_registers("mmc@fe330000", "rockchip,rk3399-sdhci-5.1\0arasan,sdhci-5.1", 0xfe33_0000);
        set(&mut mmc, "#address-cells", 1_u32);
        set(&mut mmc, "#size-cells", 0_u32);
        mmc.add_child(node("mmc@0", [("compatible", text("mmc-card")), ("reg", cells(&[0]))]));
        soc.add_child(mmc);
        let mut off = with_registers("mmc@fe340000", "snps,dw-mshc", 0xfe34_0000);
        set(&mut off, "status", "disabled");
        soc.add_child(off);
        let mut pci = with_registers("pcie@fd500000", "brcm,bcm2711-pcie", 0xfd50_0000);
        set(&mut pci, "device_type", "pci");
        soc.add_child(pci);
        tree.root.add_child(soc);
    });
    let undriven: Vec<_> = platform(&tree).undriven.iter().map(|undriven| undriven.to_string()).collect();
    let only = "models are read from virtio-blk and virtio-scsi disks and from NVMe on PCI only, which a virtual machine can be given";
    assert_eq!(
        undriven,
        [
            format!("a USB controller at usb@fe800000 is not driven: {only}"),
            format!("an SD or MMC host controller at mmc@fe330000 is not driven: {only}"),
            "a PCI host bridge at pcie@fd500000 is not driven: only those are whose \
             configuration space lies in memory (pci-host-ecam-generic, pci-host-cam-generic)"
                .to_string(),
        ]
    );
}

/// A bus whose devices see the RAM at other addresses, or only a part of it.
#[test]
fn disks_that_would_write_elsewhere_are_refused() {
    const DISK: &str = "virtio_mmio@a000000";
    let driven = |dma_ranges: Option<&[u32]>| {
        let tree = changed(|tree| {
            let mut bus = identity_bus("soc");
            if let Some(ranges) = dma_ranges {
                set(&mut bus, "dma-ranges", cells(ranges).as_slice());
            }
            move_into(tree, bus, &[DISK]);
            if let Some(ranges) = dma_ranges.filter(|ranges| !ranges.is_empty()) {
                // The three cells are PCI's; the first one gives the address space.
                let ranges: Vec<u32> =
                    ranges.chunks(6).flat_map(|range| [&[0x4300_0000], range].concat()).collect();
                let pcie = tree.root.child_mut("pcie@10000000").unwrap();
                set(pcie, "dma-ranges", cells(&ranges).as_slice());
            }
        });
        let platform = platform(&tree);
        let is_there =
            platform.virtio_mmio.iter().any(|transport| transport.registers.address == 0x0a00_0000);
        assert_eq!(platform.remarks, [""; 0]);
        let undriven: Vec<_> = platform.undriven.iter().map(|undriven| undriven.to_string()).collect();
        (is_there, platform.pcie.is_some(), undriven)
    };
    // The RAM is 0x4000_0000..0x8000_0000.
    for direct in [
        None,
        Some(&[][..]),
        Some(&[0, 0, 0, 0, 1, 0]),
        Some(&[0, 0x6000_0000, 0, 0x6000_0000, 0, 0x2000_0000, 0, 0, 0, 0, 0, 0x6000_0000]),
    ] {
        assert_eq!(driven(direct), (true, true, Vec::new()), "{direct:?}");
    }
    for other in [
        &[0, 0, 0, 0x4000_0000, 0, 0x4000_0000][..],
        &[0, 0xc000_0000, 0, 0, 0, 0x4000_0000],
        &[0, 0, 0, 0, 0, 0x7000_0000],
    ] {
        let (mmio, pcie, undriven) = driven(Some(other));
        assert!(!mmio && !pcie, "{other:x?}");
        let begins = ["soc", "pcie@10000000"]
            .map(|bus| format!("a bus with virtio disks at {bus} is not driven: by its dma-ranges"));
        assert_eq!(undriven.len(), begins.len(), "{undriven:?}");
        for begin in begins {
            assert!(undriven.iter().any(|undriven| undriven.starts_with(&begin)), "{undriven:?}");
        }
    }
}
