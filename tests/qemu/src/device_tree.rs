//! Machines whose device tree differs from QEMU's own. The devices are QEMU's; the test decides what the tree says about them.

use crate::{
    Directory, Run,
    loader::{KERNEL_ADDRESS, loader, raw, with_kernel},
};
use dtoolkit::{
    Node, Property, ToPropertyValue,
    fdt::Fdt,
    model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty},
};
use std::process::Command;

/// The address of the tree.
pub const TREE_ADDRESS: u64 = 0x4800_0000;

/// The address of the code that passes the tree's address to the kernel.
const LOADER_ADDRESS: u64 = 0x47f0_0000;

/// The tree that QEMU makes for `-machine virt` with these options, such as `gic-version=3`.
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

/// Sets a property, which may exist already.
pub fn set(node: &mut DeviceTreeNode, name: &str, value: impl ToPropertyValue) {
    node.remove_property(name);
    node.add_property(DeviceTreeProperty::new(name, value).expect("a property's name"));
}

/// Moves all children of the root into a bus whose address 0 is `bus_address` for the CPU. Nodes that must be children of the root stay
/// there, and so do devices below that address.
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
    /// Boots with `tree` instead of QEMU's own. That tree would have the command line of `scripts/run`; `tree` must contain the parts of
    /// it that the test needs. The machine has 512 MiB and two cores.
    ///
    /// `qemu` are further arguments for QEMU.
    pub fn device_tree(self, directory: &Directory, tree: &DeviceTree, qemu: &str) -> Self {
        let tree = directory.file("tree.dtb", &tree.to_dtb());
        let loader = loader(directory, LOADER_ADDRESS, &[], TREE_ADDRESS, KERNEL_ADDRESS);
        let words = format!("{} {} {qemu}", with_kernel(&loader), raw(&tree, TREE_ADDRESS));
        self.args(["--mem", "512M", "--smp", "2"]).qemu(&words)
    }
}
