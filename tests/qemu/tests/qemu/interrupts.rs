//! How PCI functions interrupt: by messages if the machine supports them; otherwise by their pins, or not at all.

use crate::common::blockdev;
use qemu_tests::{Directory, Run, Session, device_tree::qemu_tree, repository};

/// A network device, and a disk of another kind behind each of three root ports.
fn devices() -> String {
    let file = repository().join("test_models/tiny.gguf");
    let ports: String = (1..=3)
        .map(|slot| format!(" -device pcie-root-port,id=port-{slot},chassis={slot},slot={slot}"))
        .collect();
    format!(
        "{} {} {}{ports} -device virtio-blk-pci,drive=a,serial=a,bus=port-1 -device nvme,drive=b,serial=b,bus=port-2 \
         -device virtio-scsi-pci,id=scsi,bus=port-3 -device scsi-hd,bus=scsi.0,drive=c,serial=c \
         -netdev user,id=network -device virtio-net-pci,netdev=network,romfile=",
        blockdev("a", &file),
        blockdev("b", &file),
        blockdev("c", &file)
    )
}

/// The ids of those devices.
const DEVICES: [&str; 4] = ["1af4:1042", "1b36:0010", "1af4:1048", "1af4:1000"];

/// What `pci` prints about how the devices notify, after frames have arrived and the models on all disks have been read.
fn notices(mut session: Session) -> [String; 4] {
    session.wait_for("ferrite> ");
    session.ask_until("net\r", |shown| shown.contains("10.0.2.15/24"));
    for name in ["ferrite-tiny", "ferrite-tiny-2", "ferrite-tiny-3"] {
        session.send(format!("llm infer \"Hello\" 3 --model {name}\r"));
        session.wait_for("prompt tokens, 3 generated");
        session.wait_for("ferrite> ");
    }
    session.send("pci\r");
    session.wait_for("pci\r\n");
    let shown = String::from_utf8_lossy(&session.wait_for("ferrite> ")).into_owned();
    session.send("poweroff\r");
    session.finish().expect_status(0);
    DEVICES.map(|ids| {
        let line = shown.lines().find(|line| line.contains(ids));
        let line = line.unwrap_or_else(|| panic!("no {ids} in\n{shown}"));
        line.split_once(", ").unwrap_or_else(|| panic!("{line}")).1.to_owned()
    })
}

/// All of them interrupt by messages, and the messages arrive.
#[track_caller]
fn expect_messages(notices: &[String; 4], name: &str, numbers: std::ops::Range<u32>) {
    let mut seen = Vec::new();
    for notice in notices {
        let told = notice.strip_prefix(name).and_then(|rest| rest.split_once(", taken "));
        let (number, times) = told.unwrap_or_else(|| panic!("{notices:?}, expected {name}"));
        let number: u32 = number.trim().parse().unwrap();
        assert!(numbers.contains(&number) && !seen.contains(&number), "{notices:?}");
        seen.push(number);
        let times: u32 = times.split(' ').next().unwrap().parse().unwrap();
        assert!(times > 0, "{notices:?}");
    }
}

#[test]
fn messages_through_a_gicv2m_frame() {
    let session = Run::new().qemu(&format!("-machine gic-version=2 {}", devices())).start();
    expect_messages(&notices(session), "MSI", 80..144);

    // Without a map of pins.
    let directory = Directory::new("messages-v2m");
    let mut tree = qemu_tree(&directory, "gic-version=2");
    let host = tree.root.child_mut("pcie@10000000").unwrap();
    host.remove_property("interrupt-map").unwrap();
    let qemu = format!("-machine gic-version=2 {}", devices());
    let session = Run::new().device_tree(&directory, &tree, &qemu).start();
    expect_messages(&notices(session), "MSI", 80..144);
}

#[test]
fn messages_through_the_its_of_a_gicv3() {
    let session = Run::new().qemu(&devices()).start();
    expect_messages(&notices(session), "LPI", 8192..8256);

    let directory = Directory::new("messages-its");
    let mut tree = qemu_tree(&directory, "gic-version=3");
    tree.root.child_mut("pcie@10000000").unwrap().remove_property("interrupt-map").unwrap();
    let session = Run::new().device_tree(&directory, &tree, &devices()).start();
    expect_messages(&notices(session), "LPI", 8192..8256);
}

/// ACPI's tables describe neither pins nor PCI's memory, so the disks behind root ports keep the addresses that the firmware assigned.
#[test]
fn messages_and_root_ports_under_acpi() {
    for (machine, name, numbers) in [("gic-version=2", "MSI", 80..144), ("gic-version=3", "LPI", 8192..8256)]
    {
        let run = Run::new().model(&repository().join("test_models/micro.gguf")).args(["--uefi", "--acpi"]);
        let session = run.qemu(&format!("-machine {machine} {}", devices())).start();
        expect_messages(&notices(session), name, numbers);
    }
}

#[test]
fn pins_or_nothing_where_nobody_takes_messages() {
    let directory = Directory::new("no-messages");
    let mut tree = qemu_tree(&directory, "gic-version=3");
    tree.root.child_mut("pcie@10000000").unwrap().remove_property("msi-map").unwrap();
    let session = Run::new().device_tree(&directory, &tree, &devices()).start();
    let [disk, nvme, scsi, network] = notices(session);
    assert_eq!([disk, nvme, scsi], ["polled"; 3]);
    let pin = network.strip_prefix("interrupt 3").unwrap_or_else(|| panic!("{network}"));
    assert!(pin.contains(", taken ") && !pin.contains(" taken 0 times"), "{network}");

    tree.root.child_mut("pcie@10000000").unwrap().remove_property("interrupt-map").unwrap();
    let session = Run::new().device_tree(&directory, &tree, &devices()).start();
    assert_eq!(notices(session), ["polled"; 4]);
}
