//! Device trees that differ from QEMU's, as boards, boot loaders and hypervisors write them.

use crate::common::text;
use qemu_tests::{
    Directory, Run,
    device_tree::{move_devices_below, qemu_tree, set},
    repository,
};

/// A device tree with all devices except the flash memory on a bus at another address, the stride of the redistributors given, a
/// controller of memory cards, an SBSA UART as the console, 400 MiB of RAM described twice by nodes with other names, and a device in the
/// middle of that RAM.
#[test]
fn a_tree_like_a_boards() {
    let directory = Directory::new("tree-like-a-boards");
    let mut tree = qemu_tree(&directory, "gic-version=3");
    let mut ram = tree.root.remove_child("memory@40000000").unwrap();
    set(&mut ram, "reg", [0_u32, 0x4000_0000, 0, 0x1000_0000, 0, 0x4800_0000, 0, 0x1100_0000]);
    tree.root.add_child(ram);
    let mut again = dtoolkit::model::DeviceTreeNode::new("ram").unwrap();
    set(&mut again, "device_type", "memory");
    set(&mut again, "reg", [0_u32, 0x4000_0000, 0, 0x1900_0000]);
    tree.root.add_child(again);
    let mut device = dtoolkit::model::DeviceTreeNode::new("mailbox@58000000").unwrap();
    set(&mut device, "compatible", "acme,mailbox");
    set(&mut device, "reg", [0_u32, 0x5800_0000, 0, 0x1000]);
    tree.root.add_child(device);
    set(tree.root.child_mut("pl011@9000000").unwrap(), "compatible", "arm,sbsa-uart");
    set(tree.root.child_mut("intc@8000000").unwrap(), "redistributor-stride", [0_u32, 0x2_0000]);
    move_devices_below(&mut tree, "soc", 0x0800_0000);
    let mut mmc = dtoolkit::model::DeviceTreeNode::new("mmc@3000000").unwrap();
    set(&mut mmc, "compatible", "snps,dw-mshc");
    set(&mut mmc, "reg", [0x0300_0000_u32, 0x1000]);
    tree.root.child_mut("soc").unwrap().add_child(mmc);
    let chosen = tree.root.child_mut("chosen").unwrap();
    set(chosen, "stdout-path", "/soc/pl011@9000000:115200n8");
    set(chosen, "bootargs", "log=warn");

    let mut session = Run::new()
        .model(&repository().join("test_models/micro.gguf"))
        .device_tree(&directory, &tree, "")
        .start();
    let boot = text(&session.wait_for("ferrite> "));
    // 256 MiB + 272 MiB + 400 MiB, of which 400 MiB are there.
    assert!(boot.contains("device tree: 540672 KiB of RAM are named more than once"), "{boot}");
    assert_eq!(boot.matches("WARN").count(), 1, "{boot}");
    session.send("mem\r");
    session.wait_for("pool ");
    let pool = text(&session.wait_for("high-water"));
    let total = pool.split_once(" of ").unwrap().1.split_once(" MiB").unwrap().0;
    let total: f64 = total.parse().unwrap();
    assert!((350.0..376.0).contains(&total), "{pool}");
    session.send("llm list\r");
    session.wait_for("/models/");
    session.wait_for("ferrite> ");
    session.send("disks\r");
    session.wait_for("an SD or MMC host controller at mmc@3000000 is not driven");
    session.wait_for("ferrite> ");
    session.ask_until("cpus\r", |cores| cores.contains("core 1: mpidr 0x1, online"));
    session.send("poweroff\r");
    session.finish().expect_status(0);
}

/// The console that has a driver shows a message about a console that has none, and about a power key that cannot be used. On a machine
/// without a clock, the command `date` says so.
#[test]
fn another_console_than_the_tree_wants() {
    let directory = Directory::new("another-console");
    let mut tree = qemu_tree(&directory, "gic-version=2");
    let mut other = dtoolkit::model::DeviceTreeNode::new("serial@9050000").unwrap();
    set(&mut other, "compatible", "acme,serial");
    tree.root.add_child(other);
    let mut aliases = dtoolkit::model::DeviceTreeNode::new("aliases").unwrap();
    set(&mut aliases, "serial0", "/serial@9050000");
    tree.root.add_child(aliases);
    tree.root.remove_child("pl031@9010000").unwrap();
    set(tree.root.child_mut("pl061@9030000").unwrap(), "compatible", "acme,gpio");
    let chosen = tree.root.child_mut("chosen").unwrap();
    set(chosen, "stdout-path", "serial0");
    set(chosen, "bootargs", "log=warn");
    let mut session = Run::new().device_tree(&directory, &tree, "-machine gic-version=2").start();
    session.wait_for("stdout-path is \"serial0\", a \"acme,serial\", which is not driven");
    session.wait_for("the power key is not heard: it is on a \"acme,gpio\", which is not driven");
    session.wait_for("ferrite> ");
    session.send("date\r");
    session.wait_for("2024-07-26 00:00:00 UTC, a fixed date");
    session.send("poweroff\r");
    session.finish().expect_status(0);
}
