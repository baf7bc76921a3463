//! Machines whose device tree says something else than QEMU's own: the devices are QEMU's, what the kernel is told
//! about them is the test's.

use crate::{Directory, Run, repository};
use dtoolkit::{
    Node, Property, ToPropertyValue,
    fdt::Fdt,
    model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty},
};
use std::process::Command;

/// Where the tree lies.
const TREE_ADDRESS: u32 = 0x4800_0000;

/// Where the code lies that passes its address to the kernel.
const LOADER_ADDRESS: u32 = 0x47f0_0000;

/// Where the kernel's ELF file begins.
const KERNEL_ADDRESS: u32 = 0x4020_0000;

/// The tree that QEMU makes for `-machine virt` with these options, `gic-version=3` for instance.
///
/// # Panics
/// If QEMU does not make one.
pub fn qemu_tree(directory: &Directory, machine: &str) -> DeviceTree {
    let file = directory.path().join("qemu.dtb");
    let output = Command::new("qemu-system-aarch64")
        .arg("-machine")
        .arg(format!("virt,{machine},dumpdtb={}", file.display()))
        .args(["-cpu", "max", "-smp", "2", "-m", "512M", "-nic", "none", "-display", "none"])
        .output()
        .expect("QEMU starts");
    let bytes = std::fs::read(&file).unwrap_or_else(|_| panic!("QEMU writes a tree: {output:?}"));
    DeviceTree::from_fdt(&Fdt::new(&bytes).expect("QEMU writes a tree"))
}

/// Sets a property, whether it is there or not.
pub fn set(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) {
    node.remove_property(name);
    node.add_property(DeviceTreeProperty::new(name, value).expect("a property's name"));
}

/// Moves all children of the root, but those that must stay there, into a bus whose address 0 is the CPU's
/// `bus_address`; what lies below that stays as well.
pub fn move_devices_below(tree: &mut DeviceTree, bus_name: &str, bus_address: u32) {
    let mut bus = DeviceTreeNode::new(bus_name).expect("a node's name");
    set(&mut bus, "compatible", "simple-bus");
    set(&mut bus, "#address-cells", 1_u32);
    set(&mut bus, "#size-cells", 1_u32);
    set(&mut bus, "ranges", [0, 0, bus_address, 0x4000_0000 - bus_address]);
    let names: Vec<String> = tree.root.children().map(|child| child.name().to_owned()).collect();
    for name in names {
        let child = tree.root.child_mut(&name).expect("it was listed");
        let reg: Option<Vec<u32>> = child.property("reg").and_then(|reg| reg.value_as().ok());
        let blocks: Vec<_> = reg.iter().flat_map(|reg| reg.chunks_exact(4)).collect();
        let can_move = |block: &&[u32]| block[0] == 0 && block[2] == 0 && block[1] >= bus_address;
        let is_ram = child.property("device_type").is_some();
        if blocks.is_empty() || is_ram || !blocks.iter().all(can_move) {
            continue;
        }
        let moved: Vec<u32> = blocks.iter().flat_map(|block| [block[1] - bus_address, block[3]]).collect();
        set(child, "reg", moved);
        let child = tree.root.remove_child(&name).expect("it was listed");
        bus.add_child(child);
    }
    tree.root.add_child(bus);
}

impl Run {
    /// Boots with `tree` instead of QEMU's, which has the command line of `scripts/run`: of that, the tree must say
    /// what it wants. The machine has 512 MiB and two cores.
    ///
    /// `qemu` are more words for QEMU's command line.
    pub fn device_tree(self, directory: &Directory, tree: &DeviceTree, qemu: &str) -> Self {
        let tree = directory.file("tree.dtb", &tree.to_dtb());
        let loader = directory.file("loader.elf", &loader());
        let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
        let kernel = repository().join(target).join("aarch64-unknown-none/release/ferrite-kernel");
        let words = format!(
            "-kernel {} -device loader,file={} -device loader,file={},addr={TREE_ADDRESS:#x},force-raw=on {qemu}",
            loader.display(),
            kernel.display(),
            tree.display(),
        );
        self.args(["--mem", "512M", "--smp", "2"]).qemu(&words)
    }
}

/// An ELF file of six instructions: the address of the tree into x0, zero into x1, and on to the kernel.
fn loader() -> Vec<u8> {
    const HEADER_BYTES: u16 = 64;
    const SEGMENT_HEADER_BYTES: u16 = 56;
    let move_wide = |register: u32, value: u32| {
        let (low, high) = (value & 0xffff, value >> 16);
        // movz, movk lsl #16
        [0xd280_0000 | low << 5 | register, 0xf2a0_0000 | high << 5 | register]
    };
    let [x0_low, x0_high] = move_wide(0, TREE_ADDRESS);
    let [x4_low, x4_high] = move_wide(4, KERNEL_ADDRESS);
    // mov x1, xzr; br x4
    let code = [x0_low, x0_high, 0xaa1f_03e1, x4_low, x4_high, 0xd61f_0080];

    let address = u64::from(LOADER_ADDRESS);
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    let executable = 2_u16;
    let aarch64 = 183_u16;
    file.extend([executable, aarch64].iter().flat_map(|half| half.to_le_bytes()));
    file.extend(1_u32.to_le_bytes());
    file.extend([address, HEADER_BYTES.into(), 0].iter().flat_map(|double| double.to_le_bytes()));
    file.extend(0_u32.to_le_bytes());
    file.extend([HEADER_BYTES, SEGMENT_HEADER_BYTES, 1, 0, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
    let loaded = 1_u32;
    let readable_executable = 5_u32;
    file.extend([loaded, readable_executable].iter().flat_map(|word| word.to_le_bytes()));
    let offset = u64::from(HEADER_BYTES + SEGMENT_HEADER_BYTES);
    let size = size_of_val(&code) as u64;
    file.extend([offset, address, address, size, size, 4].iter().flat_map(|double| double.to_le_bytes()));
    file.extend(code.iter().flat_map(|instruction: &u32| instruction.to_le_bytes()));
    file
}
