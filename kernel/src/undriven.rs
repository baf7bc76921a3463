//! Devices that may have a disk but that this kernel has no driver for.

use alloc::{borrow::Cow, string::String};
use core::fmt;

/// How to attach a file so that the kernel sees it.
const ADVICE: &str = "attach the file with -device virtio-blk-device, virtio-blk-pci or nvme";

/// The supported devices, for machines whose disks cannot be chosen.
const DRIVEN: &str = "models are read from virtio-blk and virtio-scsi disks and from NVMe on PCI only, which a virtual machine can be given";

/// A device that this kernel cannot use as a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undriven {
    /// What it is, with an article.
    pub what: Cow<'static, str>,
    /// Where it is: `PCI 00:01.0`.
    pub place: String,
    /// Why it is not supported, and what to do.
    pub reason: Cow<'static, str>,
}

impl fmt::Display for Undriven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, place, reason } = self;
        write!(f, "{what} at {place} is not driven: {reason}")
    }
}

impl Undriven {
    /// The disk controller that a PCI function with this class code is, if it is one (PCI Code and ID Assignment Specification
    /// 1.11, 1.2, 1.9 and 1.13).
    pub fn of_pci_class(class: u8, subclass: u8, interface: u8, place: String) -> Option<Self> {
        let what = match (class, subclass, interface) {
            (0x01, 0x00, _) => "a SCSI controller",
            (0x01, 0x01, _) => "an IDE controller",
            (0x01, 0x02, _) => "a floppy disk controller",
            (0x01, 0x04, _) => "a RAID controller",
            (0x01, 0x05, _) => "an ATA controller",
            (0x01, 0x06, 0x01) => "an AHCI (SATA) controller",
            (0x01, 0x06, _) => "a SATA controller",
            (0x01, 0x07, _) => "a SAS controller",
            (0x01, 0x08, _) => "a controller of non-volatile memory",
            (0x01, 0x09, _) => "a UFS controller",
            (0x01, _, _) => "a mass storage controller",
            (0x08, 0x05, _) => "an SD host controller (SDHCI)",
            (0x0c, 0x03, 0x00) => "a USB controller (UHCI)",
            (0x0c, 0x03, 0x10) => "a USB controller (OHCI)",
            (0x0c, 0x03, 0x20) => "a USB controller (EHCI)",
            (0x0c, 0x03, 0x30) => "a USB controller (xHCI)",
            (0x0c, 0x03, 0x40) => "a USB4 host interface",
            // A USB device that is not a host controller.
            (0x0c, 0x03, 0xfe) => return None,
            (0x0c, 0x03, _) => "a USB controller",
            _ => return None,
        };
        Some(Self { what: what.into(), place, reason: ADVICE.into() })
    }

    /// The controller of disks or files that a virtio device of this type is, if it is one (VIRTIO 1.2, 5).
    pub fn of_virtio(device_type: u32, place: String) -> Option<Self> {
        let what = match device_type {
            9 => "a virtio-9p file system",
            26 => "a virtio-fs file system",
            27 => "a virtio-pmem device",
            _ => return None,
        };
        Some(Self { what: what.into(), place, reason: ADVICE.into() })
    }

    /// The controller of disks or memory cards that a device tree node is, if it is one. The node is given by its name, without
    /// the address, and its `compatible` names (Devicetree Specification 0.4, 2.2.2, and Linux' bindings).
    pub fn of_device_tree<'n>(
        name: &str,
        mut compatible: impl Iterator<Item = &'n str>,
        place: String,
    ) -> Option<Self> {
        const KINDS: [(&str, &[&str], &[&str]); 6] = [
            (
                "an SD or MMC host controller",
                &["mmc", "sdhci", "sdmmc", "sdio", "sd", "emmc", "emmc2", "mmci", "dwmmc"],
                &["sdhci", "mshc", "-mmc", "pl180", "pl181", "pl18x"],
            ),
            ("a SATA controller", &["sata", "ahci", "ide"], &["ahci", "-sata"]),
            ("an NVMe controller", &["nvme"], &["nvme"]),
            (
                "a USB controller",
                &["usb", "usb3", "xhci", "ehci", "ohci"],
                &["xhci", "ehci", "ohci", "dwc3", "dwc2", "musb"],
            ),
            ("a UFS controller", &["ufs", "ufshc", "ufshci"], &["ufshc", "jedec,ufs"]),
            ("a NAND flash controller", &["nand", "nand-controller"], &["-nand"]),
        ];
        // Nodes that belong to a controller. A `usb-phy` is recognised by its name, but may be compatible with `acme,dwc3-usb-phy`.
        const BESIDE: [&str; 7] = ["phy", "hub", "pwrseq", "syscon", "glue", "clk", "clock"];
        let by_name = KINDS.iter().find(|(_, names, _)| names.contains(&name));
        let is_beside = |text: &str| BESIDE.iter().any(|part| text.contains(part));
        let by_compatible = || {
            let mut of_text = |text: &str| {
                let is_like = |parts: &[&str]| parts.iter().any(|part| text.contains(part));
                KINDS.iter().find(|(_, _, parts)| is_like(parts) && !is_beside(text))
            };
            compatible.find_map(&mut of_text).filter(|_| !is_beside(name))
        };
        let (what, ..) = by_name.or_else(by_compatible)?;
        Some(Self { what: (*what).into(), place, reason: DRIVEN.into() })
    }

    /// A PCI host bridge without the standard configuration space, together with everything behind it.
    pub fn pci_host(place: String) -> Self {
        let reason = "only those are whose configuration space lies in memory (pci-host-ecam-generic, pci-host-cam-generic)";
        Self { what: "a PCI host bridge".into(), place, reason: reason.into() }
    }

    /// A bus whose devices use addresses that differ from the CPU's.
    pub fn bus_beside_ram(place: String) -> Self {
        let reason = "by its dma-ranges they would not reach all RAM, or at other addresses than the CPU's";
        Self { what: "a bus with virtio disks".into(), place, reason: reason.into() }
    }

    /// A single device that is not supported although its kind is.
    pub fn device(what: &'static str, place: String, reason: String) -> Self {
        Self { what: what.into(), place, reason: reason.into() }
    }

    /// A virtio device that can be reached only through I/O ports.
    pub fn legacy(what: &'static str, place: String) -> Self {
        let reason = "attach it without disable-modern=on, or with disable-legacy=on";
        Self { what: what.into(), place, reason: reason.into() }
    }
}

/// The type of the virtio device that a PCI function is (VIRTIO 1.2, 4.1.2).
pub fn virtio_type_of_pci(vendor_id: u16, device_id: u16) -> Option<u32> {
    const VENDOR: u16 = 0x1af4;
    // Transitional devices have IDs of their own.
    const TRANSITIONAL: [(u16, u32); 7] =
        [(0x1000, 1), (0x1001, 2), (0x1002, 5), (0x1003, 3), (0x1004, 8), (0x1005, 4), (0x1009, 9)];
    const MODERN: core::ops::RangeInclusive<u16> = 0x1040..=0x107f;
    match device_id {
        _ if vendor_id != VENDOR => None,
        id if MODERN.contains(&id) => Some(u32::from(id - MODERN.start())),
        id => TRANSITIONAL.iter().find(|(transitional, _)| *transitional == id).map(|&(_, ty)| ty),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    // Class codes as Linux' lspci shows them for QEMU's devices.
    #[test]
    fn controllers_are_named_by_their_class() {
        let name = |code: u32| {
            let [_, class, subclass, interface] = code.to_be_bytes();
            let found = Undriven::of_pci_class(class, subclass, interface, "PCI 00:01.0".into());
            found.map(|found| found.what.into_owned())
        };
        for (code, part) in [
            (0x01_08_01, "non-volatile memory"),
            (0x01_06_01, "AHCI"),
            (0x01_04_00, "RAID"),
            (0x01_80_00, "mass storage"),
            (0x08_05_01, "SD host"),
            (0x0c_03_30, "xHCI"),
        ] {
            assert!(name(code).unwrap().contains(part), "{code:#x}");
        }
        // A network controller, a display, a bridge, a serial bus other than USB.
        for code in [0x02_00_00, 0x03_80_00, 0x06_04_00, 0x0c_05_00] {
            assert_eq!(name(code), None, "{code:#x}");
        }
        assert_eq!(
            Undriven::of_pci_class(1, 6, 1, "PCI 00:01.0".into()).unwrap().to_string(),
            "an AHCI (SATA) controller at PCI 00:01.0 is not driven: attach the file with -device virtio-blk-device, \
             virtio-blk-pci or nvme"
        );
    }

    // Names and `compatible` of boards' trees in Linux.
    #[test]
    fn controllers_are_named_by_their_nodes() {
        let what = |name: &str, compatible: &[&str]| {
            let found =
                Undriven::of_device_tree(name, compatible.iter().copied(), "mmc@fe340000".to_string());
            found.map(|found| found.what.into_owned())
        };
        for (name, compatible, part) in [
            ("mmc", "arasan,sdhci-8.9a", "SD or MMC"),
            ("mmc", "snps,dw-mshc", "SD or MMC"),
            ("emmc2", "brcm,bcm2711-emmc2", "SD or MMC"),
            ("mmcnr", "brcm,bcm2835-sdhci", "SD or MMC"),
            ("mmc", "allwinner,sun50i-a64-mmc", "SD or MMC"),
            ("mmci", "arm,pl180", "SD or MMC"),
            ("sata", "generic-ahci", "SATA"),
            ("nvme", "apple,nvme-ans2", "NVMe"),
            ("usb", "snps,dwc3", "USB"),
            ("usb", "generic-xhci", "USB"),
            ("ufshc", "jedec,ufs-2.0", "UFS"),
            ("usb-phy", "acme,dwc3-usb-phy", ""),
            ("mmc-pwrseq", "mmc-pwrseq-simple", ""),
            ("clock-controller", "amlogic,axg-mmc-clkc", ""),
            ("clk", "allwinner,sun9i-a80-mmc-config-clk", ""),
            ("flash", "cfi-flash", ""),
            ("serial", "arm,pl011", ""),
            ("virtio_mmio", "virtio,mmio", ""),
        ] {
            match part {
                "" => assert_eq!(what(name, &[compatible]), None, "{name}"),
                _ => assert!(what(name, &[compatible]).unwrap().contains(part), "{name}"),
            }
        }
    }

    #[test]
    fn virtio_devices_are_told_by_either_number() {
        assert_eq!(virtio_type_of_pci(0x1af4, 0x1001), Some(2));
        assert_eq!(virtio_type_of_pci(0x1af4, 0x1042), Some(2));
        assert_eq!(virtio_type_of_pci(0x1af4, 0x1004), virtio_type_of_pci(0x1af4, 0x1048));
        assert_eq!(virtio_type_of_pci(0x1af4, 0x105a), Some(26));
        // QEMU's ivshmem, and a device of another manufacturer.
        assert_eq!(virtio_type_of_pci(0x1af4, 0x1110), None);
        assert_eq!(virtio_type_of_pci(0x1b36, 0x1042), None);
        for (ty, part) in [(9, "9p"), (26, "virtio-fs"), (27, "pmem")] {
            assert!(Undriven::of_virtio(ty, String::new()).unwrap().what.contains(part));
        }
        // Network devices, and supported devices.
        for ty in [1, 2, 8] {
            assert_eq!(Undriven::of_virtio(ty, String::new()), None);
        }
    }
}
