//! Unusual disks: other block sizes, other queues, slow ones, silent ones, and devices that are not usable disks.

use crate::common::{blockdev, checksum};
use qemu_tests::{Directory, Monitor, NbdServer, Run, kernel_files, repository};
use std::{fs, process::Command, time::Duration};

/// A model of the repository, padded to whole sectors as NBD requires.
fn model(name: &str) -> Vec<u8> {
    let mut bytes = fs::read(repository().join("test_models").join(name)).expect("a model of the repository");
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// The same, padded to whole blocks of 4096 bytes.
fn whole_blocks(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(bytes.len().next_multiple_of(4096), 0);
    bytes
}

/// The kernel compares reads at unaligned offsets with the whole, and prints a checksum of them.
#[test]
fn blocks_and_queues_of_every_size() {
    let directory = Directory::new("blocks");
    let bytes: Vec<u8> = (0..50 * 65536_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let file = directory.file("noise", &bytes);
    let checksum = checksum(&bytes);
    let block = |bytes: u32| format!("logical_block_size={bytes},physical_block_size={bytes}");
    let devices = [
        ("b1024", format!("virtio-blk-device,{}", block(1024))),
        ("b2048", format!("virtio-blk-device,{}", block(2048))),
        ("b4096", format!("virtio-blk-device,{}", block(4096))),
        ("b65536", format!("virtio-blk-pci,{}", block(65536))),
        ("physical", "virtio-blk-device,physical_block_size=4096".into()),
        ("q4", format!("virtio-blk-pci,queue-size=4,{}", block(4096))),
        ("q8", "virtio-blk-pci,queue-size=8".into()),
        ("q4-direct", "virtio-blk-pci,queue-size=4,indirect_desc=off".into()),
        ("nvme", "nvme".into()),
        ("nvme4096", format!("nvme,mdts=0,{}", block(4096))),
        ("scsi", "virtio-scsi-pci,id=s -device scsi-hd,bus=s.0,scsi-id=4,lun=0".into()),
        ("scsi4096", format!("scsi-hd,bus=s.0,scsi-id=4,lun=300,{}", block(4096))),
        ("scsi-mmio", "virtio-scsi-device,id=m,virtqueue_size=16 -device scsi-hd,bus=m.0".into()),
        ("packed", "virtio-blk-pci,packed=on,num-queues=2,disable-legacy=on,iommu_platform=on".into()),
    ];
    let words: Vec<_> = devices
        .iter()
        .map(|(name, device)| {
            format!("{} -device {device},drive=d-{name},serial={name}", blockdev(&format!("d-{name}"), &file))
        })
        .collect();
    let outcome = Run::new()
        .args(["--mem", "256M"])
        .qemu(&words.join(" "))
        .boot_args("log=info ferrite.selftest=disks")
        .command("help")
        .finish()
        .expect_status(0);
    for (name, _) in devices {
        let line = outcome.stderr.lines().find(|line| line.contains(&format!("\"{name}\" on ")));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{}", outcome.stderr));
        assert!(line.ends_with(&format!(": {} bytes, checksum {checksum:08x}", bytes.len())), "{line}");
    }
}

/// Disks of every kind, with blocks of 512 and of 4096 bytes, and a partition.
#[test]
fn a_model_says_the_same_from_every_disk() {
    let directory = Directory::new("kinds");
    let file = repository().join("test_models/tiny.gguf");
    let padded = directory.file("padded", &whole_blocks(model("tiny.gguf")));
    let divided = directory.path().join("divided");
    let made = Command::new(repository().join("scripts/disk"))
        .args(["--image".as_ref(), kernel_files().1.as_os_str(), "-o".as_ref(), divided.as_os_str()])
        .arg("--model")
        .arg(format!("{}:part", file.display()))
        .output()
        .expect("scripts/disk starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let devices = [
        ("blk4096", "virtio-blk-pci,logical_block_size=4096,physical_block_size=4096", &padded),
        ("nvme512", "nvme", &file),
        ("nvme4096", "nvme,logical_block_size=4096,physical_block_size=4096", &padded),
        ("scsi-pci", "virtio-scsi-pci,id=p -device scsi-hd,bus=p.0", &file),
        ("scsi-mmio", "virtio-scsi-device,id=m -device scsi-hd,bus=m.0", &file),
        ("gpt", "virtio-blk-device", &divided),
    ];
    let words: Vec<_> = devices
        .iter()
        .map(|(name, device, file)| {
            format!("{} -device {device},drive={name},serial={name}", blockdev(name, file))
        })
        .collect();
    let mut session = Run::new().args(["--mem", "256M"]).qemu(&words.join(" ")).start();
    session.wait_for("ferrite> ");
    session.send("disks\r");
    let disks = String::from_utf8_lossy(&session.wait_for("ferrite> ")).into_owned();
    for expected in [
        ": blk4096, virtio-pci 00:",
        ": nvme512, nvme 00:",
        ": nvme4096, nvme 00:",
        " namespace 1, ",
        ": scsi-pci, virtio-pci 00:",
        ": scsi-mmio, virtio-mmio 0x",
        " scsi 0:0, ",
        ": part, virtio-mmio 0x",
        " partition 2, ",
        ": gpt, ",
        "  partition 1: EFI System, 33.0 MiB, for the firmware",
    ] {
        assert!(disks.contains(expected), "no {expected:?} in\n{disks}");
    }
    let mut texts = Vec::new();
    let whole = (1..devices.len()).map(|number| match number {
        1 => "ferrite-tiny".into(),
        _ => format!("ferrite-tiny-{number}"),
    });
    for name in whole.chain(["part".into()]) {
        session.send(format!("llm infer \"What is Ferrite?\" 8 --model {name}\r"));
        session.wait_for("MB/s\x1b[K\r\n");
        let text = session.wait_for("[5 prompt tokens");
        texts.push(String::from_utf8_lossy(&text).into_owned());
        session.wait_for("ferrite> ");
    }
    assert!(texts[0].contains("Ferrite is a kernel"), "{texts:?}");
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");
    session.send("disks rescan\r");
    session.wait_for("nothing has changed");
    session.send("poweroff\r");
    session.finish().expect_status(0);
}

#[test]
fn what_is_not_driven_is_named_with_what_to_do() {
    let directory = Directory::new("undriven");
    let file = directory.file("file", &[0; 1 << 20]);
    let nodes: Vec<_> = (0..5).map(|index| blockdev(&format!("d{index}"), &file)).collect();
    let qemu = format!(
        "{} -device nvme,id=n,serial=x -device nvme-ns,bus=n,drive=d0,ms=8 \
         -device virtio-scsi-pci,id=s -device scsi-cd,bus=s.0,drive=d1 -device scsi-cd,bus=s.0 \
         -device qemu-xhci -device usb-storage,drive=d2 \
         -device virtio-blk-pci,drive=d3,disable-modern=on,disable-legacy=off -device ahci -device sdhci-pci \
         -device virtio-scsi-device,virtqueue_size=4,seg_max_adjust=off \
         -device virtio-blk-pci,drive=d4,logical_block_size=131072,physical_block_size=131072",
        nodes.join(" ")
    );
    let mut session = Run::new().qemu(&qemu).start();
    let boot = session.wait_for("ferrite> ");
    let expected = [
        "an NVMe namespace at nvme 00:",
        "its blocks have 8 bytes of metadata",
        "a SCSI CD-ROM drive at virtio-pci 00:",
        " scsi 0:0 is not driven: models are read from disks only",
        "a USB controller (xHCI) at PCI 00:",
        "an AHCI (SATA) controller at PCI 00:",
        "an SD host controller (SDHCI) at PCI 00:",
        "a legacy virtio-blk device at PCI 00:",
        "its blocks have 131072 bytes; expected a power of two",
    ];
    session.send("disks\r");
    let disks = session.wait_for("ferrite> ");
    session.send("llm infer Hello 5\r");
    let error = session.wait_for("ferrite> ");
    for text in [boot, disks, error] {
        let text = String::from_utf8_lossy(&text);
        for part in expected {
            assert!(text.contains(part), "no {part:?} in\n{text}");
        }
        assert!(text.contains("attach the file with -device virtio-blk-"), "{text}");
    }
    session.send("poweroff\r");
    session.finish().expect_status(0);
}

/// The silent disk is found first, the working one after it.
#[test]
fn a_disk_that_stops_answering_leaves_the_shell_and_the_other_disks() {
    let directory = Directory::new("silent");
    let server = NbdServer::start(directory.path(), model("tiny.gguf"));
    let micro = directory.file("micro.gguf", &model("micro.gguf"));
    let qemu = format!(
        "{} -device virtio-blk-device,drive=micro,serial=micro {} -device virtio-blk-device,drive=tiny,serial=tiny",
        blockdev("micro", &micro),
        server.blockdev("tiny"),
    );
    let mut session = Run::new().args(["--mem", "256M"]).qemu(&qemu).start();
    session.wait_for("ferrite> ");
    server.stop_answering();
    session.send("llm list\r");
    session.wait_for("/models/tiny.gguf");
    session.wait_for("unusable: disk 0 has not answered for ");
    session.wait_for("/models/ferrite-micro.gguf");
    session.wait_for("ferrite> ");
    session.send("llm load tiny\r");
    session.wait_for("/models/tiny.gguf: disk 0 has not answered for ");
    session.wait_for("ferrite> ");
    session.send("llm infer Hello 3\r");
    session.wait_for("3 generated");
    session.wait_for("ferrite> ");
    session.send("llm verify tiny\r\x03");
    session.wait_for("stopped");
    session.wait_for("ferrite> ");
    session.send("disks\r");
    session.wait_for("disk 0: tiny");
    session.wait_for("does not answer");
    session.send("mem\r");
    session.wait_for("by disks that do not answer");
    session.wait_for("ferrite> ");

    server.answer_again();
    session.send("llm load ferrite-tiny\r");
    session.wait_for("/models/ferrite-tiny.gguf: llama Q4_0");
    session.wait_for("ferrite> ");
    // It stops in the middle of a load, whose memory comes back.
    session.send("llm unload --all\r");
    session.wait_for("ferrite> ");
    server.stop_answering();
    session.send("llm load ferrite-tiny\r");
    session.wait_for("has not answered for ");
    session.wait_for("ferrite> ");
    server.answer_again();
    session.ask_until("llm list\r", |list| list.contains("/models/ferrite-tiny.gguf        llama"));
    session.send("mem\r");
    let memory = session.wait_for("ferrite> ");
    let memory = String::from_utf8_lossy(&memory);
    assert!(memory.contains("pool      0 B of") && !memory.contains("held"), "{memory}");
    server.stop_answering();
    session.send("llm verify ferrite-tiny\r\x03");
    session.wait_for("ferrite> ");
    session.send("poweroff\r");
    // The kernel does not wait for it, but QEMU itself may.
    server.answer_again();
    session.finish().expect_status(0);
}

/// Instead of the next answer, a unit reports that its size has changed (sense 6/2a/09).
#[test]
fn a_unit_that_grows_is_read_on_and_one_that_shrinks_says_so() {
    let directory = Directory::new("resized-unit");
    let monitor = Monitor::new(directory.path());
    let tiny = directory.file("tiny.gguf", &whole_blocks(model("tiny.gguf")));
    let qemu = format!(
        "{} -blockdev driver=raw,node-name=tiny,file.driver=file,file.filename={} -device virtio-scsi-pci,id=s \
         -device scsi-hd,bus=s.0,drive=tiny,serial=tiny",
        monitor.words(),
        tiny.display(),
    );
    let mut session = Run::new().args(["--mem", "256M"]).qemu(&qemu).start();
    session.wait_for("ferrite> ");
    let mut monitor = monitor.connect();
    session.send("llm list\r");
    session.wait_for("/models/ferrite-tiny.gguf");
    monitor.command("block_resize", r#"{"node-name": "tiny", "size": 4194304}"#);
    session.send("llm load ferrite-tiny\r");
    session.wait_for("/models/ferrite-tiny.gguf: llama");
    monitor.command("block_resize", r#"{"node-name": "tiny", "size": 1048576}"#);
    session.send("llm verify ferrite-tiny\r");
    session.wait_for("the disk is another one now or has another size; disks rescan looks for it anew");
    session.send("disks rescan\r");
    session.wait_for("disk 0 has 1048576 bytes, no longer 3031040");
    session.send("poweroff\r");
    session.finish().expect_status(0);
}

/// The other disks behind the same controller continue to work.
#[test]
fn a_namespace_or_a_unit_that_stops_answering_leaves_the_others() {
    let directory = Directory::new("silent-unit");
    let server = NbdServer::start(directory.path(), model("tiny.gguf"));
    let micro = directory.file("micro.gguf", &model("micro.gguf"));
    for controller in [
        "nvme,id=c,serial=c -device nvme-ns,bus=c,drive=tiny -device nvme-ns,bus=c,drive=micro",
        "virtio-scsi-pci,id=c -device scsi-hd,bus=c.0,drive=tiny -device scsi-hd,bus=c.0,drive=micro",
    ] {
        let qemu = format!("{} {} -device {controller}", server.blockdev("tiny"), blockdev("micro", &micro));
        let mut session = Run::new().args(["--mem", "256M"]).qemu(&qemu).start();
        session.wait_for("ferrite> ");
        session.ask_until("llm list\r", |list| list.contains("ferrite-micro.gguf       llama"));
        server.stop_answering();
        session.send("llm load ferrite-tiny\r");
        session.wait_for("disk 0 has not answered for ");
        session.wait_for("ferrite> ");
        session.send("llm infer Hello 3 --model ferrite-micro\r");
        session.wait_for("3 generated");
        session.wait_for("ferrite> ");
        session.send("disks\r");
        session.wait_for("does not answer");
        session.wait_for("ferrite> ");
        server.answer_again();
        session.send("llm load ferrite-tiny\r");
        session.wait_for("/models/ferrite-tiny.gguf: llama Q4_0");
        session
            .ask_until("disks\r", |disks| disks.contains("disk 1: ") && !disks.contains("does not answer"));
        session.send("poweroff\r");
        session.finish().expect_status(0);
    }
}

#[test]
fn ctrl_c_does_not_wait_for_a_slow_disk() {
    // Half a minute for the larger model: also where the machine hardly gets a turn, its load has not ended before
    // Ctrl-C comes. And yet no answer takes as long as a silence.
    let delay = Duration::from_millis(700);
    let directories = ["tiny", "micro"].map(|name| (name, Directory::new(&format!("slow-{name}"))));
    let servers = directories.each_ref().map(|(name, directory)| {
        NbdServer::start_slow(directory.path(), model(&format!("{name}.gguf")), delay)
    });
    let disk = |(number, server): (usize, &NbdServer)| {
        let node = format!("s{number}");
        format!("{} -device virtio-blk-device,drive={node}", server.blockdev(&node))
    };
    let qemu = servers.iter().enumerate().map(disk).collect::<Vec<_>>().join(" ");
    let mut session = Run::new().args(["--mem", "256M"]).qemu(&qemu).start();
    session.wait_for("ferrite> ");
    session.send("llm load ferrite-tiny\r");
    session.wait_for("loading: ");
    // It is heard behind all that was typed before it.
    let ahead = "typed ahead ".repeat(1000);
    session.send(format!("{ahead}\x03"));
    session.wait_for("error: stopped");
    session.send("llm list\r");
    let list = session.wait_for("/models/ferrite-micro.gguf");
    assert!(!String::from_utf8_lossy(&list).contains("typed ahead"));
    session.wait_for("ferrite> ");
    // Slow is not silent.
    session.send("llm load ferrite-micro\r");
    session.wait_for("context 256 of 256");
    session.send("poweroff\r");
    session.finish().expect_status(0);
}

#[test]
fn disks_are_plugged_in_and_out_and_resized_beside_a_loaded_model() {
    let directory = Directory::new("rescan");
    let monitor = Monitor::new(directory.path());
    let micro = directory.file("micro.gguf", &model("micro.gguf"));
    let tiny = directory.file("tiny.gguf", &model("tiny.gguf"));
    let grown = directory.file("grown", &[0; 1 << 20]);
    let qemu = format!(
        "{} -device pcie-root-port,id=rp0,chassis=1 -device pcie-root-port,id=rp1,chassis=2 -device virtio-scsi-pci,id=s \
         {} -device virtio-blk-device,drive=micro,serial=micro {} \
         -blockdev driver=raw,node-name=grown,file.driver=file,file.filename={} \
         -device virtio-blk-device,drive=grown,serial=grown",
        monitor.words(),
        blockdev("micro", &micro),
        blockdev("tiny", &tiny),
        grown.display(),
    );
    let mut session = Run::new().args(["--mem", "256M"]).qemu(&qemu).start();
    session.wait_for("ferrite> ");
    let mut monitor = monitor.connect();
    session.send("llm load ferrite-micro\r");
    session.wait_for("context 256 of 256");
    session.send("disks rescan\r");
    session.wait_for("nothing has changed");

    monitor.command("block_resize", r#"{"node-name": "grown", "size": 2097152}"#);
    let plug_in =
        r#"{"driver": "virtio-blk-pci", "drive": "tiny", "serial": "hot", "bus": "rp0", "id": "hot"}"#;
    monitor.command("device_add", plug_in);
    session.send("disks rescan\r");
    session.wait_for("disk 0 has 2097152 bytes, no longer 1048576");
    session.wait_for("disk 2 (\"hot\") is new: ");
    session.send("llm list\r");
    session.wait_for("* /models/ferrite-micro.gguf");
    session.wait_for("/models/ferrite-tiny.gguf        llama");

    monitor.command("device_del", r#"{"id": "hot"}"#);
    session.send("disks rescan\r");
    session.wait_for("disk 2 (\"hot\") is gone");
    monitor.wait_until_deleted("hot");
    session.send("llm infer Hello 3\r");
    session.wait_for("3 generated");

    // The same slot again, and a model from it.
    monitor.command("device_add", plug_in);
    session.send("disks rescan\r");
    session.wait_for("disk 2 (\"hot\") is new: ");
    session.send("llm load ferrite-tiny\r");
    session.wait_for("/models/ferrite-tiny.gguf: llama");
    session.send("disks reset 2\r");
    session.send("llm verify ferrite-tiny\r");
    session.wait_for("no checksum came with the file");

    // Behind a controller that is there already, and behind one that comes and goes with it.
    monitor.command("device_del", r#"{"id": "hot"}"#);
    session.send("disks rescan\r");
    session.wait_for("disk 2 (\"hot\") is gone");
    monitor.wait_until_deleted("hot");
    for device in [
        r#"{"driver": "scsi-hd", "drive": "tiny", "serial": "unit", "bus": "s.0", "scsi-id": 3, "lun": 7, "id": "unit"}"#,
        r#"{"driver": "nvme", "drive": "tiny", "serial": "unit", "bus": "rp1", "id": "unit"}"#,
    ] {
        monitor.command("device_add", device);
        session.send("disks rescan\r");
        session.wait_for("disk 2 (\"unit\") is new: ");
        session.send("llm load ferrite-tiny\r");
        session.wait_for("/models/ferrite-tiny.gguf: llama");
        session.send("disks reset 2\r");
        session.send("llm verify ferrite-tiny\r");
        session.wait_for("no checksum came with the file");
        session.send("disks rescan\r");
        session.wait_for("nothing has changed");
        monitor.command("device_del", r#"{"id": "unit"}"#);
        session.send("disks rescan\r");
        session.wait_for("disk 2 (\"unit\") is gone");
        monitor.wait_until_deleted("unit");
    }
    session.send("llm infer Hello 3\r");
    session.wait_for("3 generated");
    session.send("poweroff\r");
    session.finish().expect_status(0);
}
