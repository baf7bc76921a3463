//! Data that UEFI firmware provides before boot services are exited: free memory, addresses of tables, boot arguments, and the time.
//!
//! Section numbers refer to the UEFI Specification 2.10.

use core::ops::Range;

/// The firmware's data, kept in memory of the type `EfiLoaderData`.
#[derive(Debug)]
#[repr(C)]
pub struct Told {
    /// The memory map at the end of boot services.
    pub memory_map: MemoryMap,
    /// Address of the device tree, 0 if there is none.
    pub tree_address: u64,
    /// Address of ACPI's root pointer, 0 if there is none.
    pub rsdp_address: u64,
    /// Boot arguments, if there are any; they replace the device tree's.
    pub boot_args: Option<&'static [u8]>,
    /// Seconds since the beginning of 1970 in universal time, and the value of the generic timer's counter then.
    pub time: Option<(u64, u64)>,
    /// Random bytes.
    pub random_seed: Option<[u8; 32]>,
}

/// The size of a page.
const PAGE_BYTES: u64 = 4096;

/// A memory map as `GetMemoryMap` writes it (7.2.3).
#[derive(Debug, Clone, Copy)]
pub struct MemoryMap {
    /// The descriptors.
    pub descriptors: &'static [u8],
    /// The distance between two descriptors.
    pub descriptor_bytes: usize,
}

impl MemoryMap {
    /// The memory that is free after boot services have been exited, in the order of the map. Adjacent ranges of different types
    /// are not joined. The kernel's own memory is included.
    pub fn usable(&self) -> impl Iterator<Item = Range<u64>> + use<> {
        /// `EfiLoaderCode`, `EfiLoaderData`, `EfiBootServicesCode`, `EfiBootServicesData`, `EfiConventionalMemory`.
        const USABLE: [u32; 5] = [1, 2, 3, 4, 7];
        /// `EFI_MEMORY_WB`: the memory may be cached.
        const WRITE_BACK: u64 = 1 << 3;
        const LENGTH: usize = 40;
        let descriptors = self.descriptors.chunks_exact(self.descriptor_bytes.max(LENGTH));
        descriptors.filter_map(|descriptor| {
            let number = |at: usize| {
                let bytes = descriptor.get(at..at + 8)?.first_chunk()?;
                Some(u64::from_le_bytes(*bytes))
            };
            let (kind, start, n_pages, attributes) =
                (number(0)? as u32, number(8)?, number(24)?, number(32)?);
            let end = start.checked_add(n_pages.checked_mul(PAGE_BYTES)?)?;
            (USABLE.contains(&kind) && attributes & WRITE_BACK != 0 && start < end).then_some(start..end)
        })
    }
}

/// The load options of an image (9.1) as boot arguments: the filled part of `place`, with as many whole words as fit.
///
/// `None` if there are none. Firmware puts binary data into boot options that it has created itself; options that do not begin
/// with a printable ASCII character are taken for such data. A shell puts the name of the program first, which is removed.
pub fn load_options<'p>(options: &[u8], place: &'p mut [u8]) -> Option<&'p [u8]> {
    let (units, []) = options.as_chunks::<2>() else { return None };
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|&unit| unit != 0);
    let mut length = 0;
    for character in char::decode_utf16(units) {
        let character = character.ok()?;
        if character.is_control() && !character.is_ascii_whitespace() {
            return None;
        }
        let rest = &mut place[length..];
        if rest.len() < character.len_utf8() {
            length = whole_words(&place[..length]);
            break;
        }
        length += character.encode_utf8(rest).len();
    }
    let text = place[..length].trim_ascii();
    let n_first = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
    let (first, rest) = text.split_at(n_first);
    let is_program = first.last_chunk::<4>().is_some_and(|end| end.eq_ignore_ascii_case(b".efi"));
    let arguments = if is_program { rest.trim_ascii() } else { text };
    arguments.first()?.is_ascii_graphic().then_some(arguments)
}

/// The length of `text` up to the end of its last whole word; text that was cut off may end within a word.
pub fn whole_words(text: &[u8]) -> usize {
    text.iter().rposition(u8::is_ascii_whitespace).unwrap_or(0)
}

/// Turns a configuration file into boot arguments, in place. The file has words on any number of lines. A `#` at the start of a
/// word begins a comment, which extends to the end of the line.
pub fn configuration(file: &mut [u8]) -> Option<&[u8]> {
    const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
    if file.starts_with(BYTE_ORDER_MARK) {
        file[..BYTE_ORDER_MARK.len()].fill(b' ');
    }
    let (mut is_comment, mut is_start) = (false, true);
    for byte in file.iter_mut() {
        is_comment = (is_comment || is_start && *byte == b'#') && *byte != b'\n';
        is_start = byte.is_ascii_whitespace();
        if is_comment || is_start || *byte == 0 {
            *byte = b' ';
        }
    }
    let arguments = file.trim_ascii();
    (!arguments.is_empty()).then_some(arguments)
}

/// Seconds from the beginning of 1970 to a date and time of the Gregorian calendar; `None` if there is no such date, or if it is earlier.
///
/// Day numbers as in "chrono-Compatible Low-Level Date Algorithms", Howard Hinnant.
pub fn seconds_since_1970(date: (u16, u8, u8), time: (u8, u8, u8), minutes_east: i32) -> Option<u64> {
    let ((year, month, day), (hour, minute, second)) = (date, time);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let n_days = match month {
        2 => 28 + u8::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    if !(1..=n_days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years begin in March here, so that the leap day is the last day.
    let year = i64::from(year) - i64::from(month <= 2);
    let day_of_year =
        (153 * (i64::from(month) + if month > 2 { -3 } else { 9 }) + 2) / 5 + i64::from(day) - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let minutes = (days * 24 + i64::from(hour)) * 60 + i64::from(minute) - i64::from(minutes_east);
    u64::try_from(minutes * 60 + i64::from(second)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{vec, vec::Vec};

    #[test]
    fn memory_of_boot_services_is_free_afterwards() {
        const WRITE_BACK: u64 = 8;
        let descriptor = |kind: u32, start: u64, n_pages: u64, attributes: u64| {
            let mut bytes = vec![0; 48];
            bytes[..4].copy_from_slice(&kind.to_le_bytes());
            for (at, number) in [(8, start), (24, n_pages), (32, attributes)] {
                bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
            }
            bytes
        };
        let descriptors = [
            descriptor(7, 0x4000_0000, 16, WRITE_BACK | 7),
            // Types that cannot be used: runtime services, ACPI tables, registers.
            descriptor(5, 0x4001_0000, 1, WRITE_BACK),
            descriptor(9, 0x4001_1000, 1, WRITE_BACK),
            descriptor(11, 0x900_0000, 1, 1),
            descriptor(4, 0x4002_0000, 2, WRITE_BACK),
            // Not cacheable; of length 0; beyond all addresses.
            descriptor(7, 0x5000_0000, 2, 1),
            descriptor(7, 0x5000_0000, 0, WRITE_BACK),
            descriptor(7, u64::MAX - 4095, 2, WRITE_BACK),
            descriptor(7, 0x6000_0000, u64::MAX, WRITE_BACK),
            descriptor(2, 0x7000_0000, 1, WRITE_BACK),
        ];
        let map = MemoryMap { descriptors: descriptors.concat().leak(), descriptor_bytes: 48 };
        let usable: Vec<_> = map.usable().collect();
        assert_eq!(usable, [0x4000_0000..0x4001_0000, 0x4002_0000..0x4002_2000, 0x7000_0000..0x7000_1000]);
        let short = MemoryMap { descriptors: &map.descriptors[..47], descriptor_bytes: 0 };
        assert_eq!(short.usable().count(), 1);
    }

    fn options(text: &str) -> Vec<u8> {
        text.encode_utf16().chain([0, 0]).flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn load_options_are_text_or_nothing() {
        let read = |options: &[u8]| load_options(options, &mut [0; 32]).map(<[u8]>::to_vec);
        assert_eq!(read(&options("log=debug ferrite.ip=dhcp")).unwrap(), b"log=debug ferrite.ip=dhcp");
        assert_eq!(read(&options("FS0:\\ferrite.EFI  log=debug ")).unwrap(), b"log=debug");
        assert_eq!(read(&options("größe")).unwrap(), "größe".as_bytes());
        assert_eq!(
            read(&options("a=0123456789 b=0123456789 c=0123456789")).unwrap(),
            b"a=0123456789 b=0123456789"
        );
        assert_eq!(read(&options("ferrite.efi")), None);
        assert_eq!(read(&options(" ")), None);
        assert_eq!(read(&[]), None);
        assert_eq!(read(b"a=1"), None);
        // What EDK2 puts into boot options that it has created itself (8108ac4e-9f11-4d59-850e-e21a522c59b2).
        let made =
            [0x4e, 0xac, 0x08, 0x81, 0x11, 0x9f, 0x59, 0x4d, 0x85, 0x0e, 0xe2, 0x1a, 0x52, 0x2c, 0x59, 0xb2];
        assert_eq!(read(&made), None);
    }

    #[test]
    fn a_configuration_file_has_words_on_lines() {
        let read = |text: &str| configuration(&mut text.as_bytes().to_vec()).map(<[u8]>::to_vec);
        let file = "\u{feff}# made by hand\r\nlog=warn # quiet\r\n\tferrite.api_key=a#b\n#ferrite.serve=off";
        let words: Vec<_> = read(file).unwrap().split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect();
        let words: Vec<_> = words.iter().filter(|word| !word.is_empty()).collect();
        assert_eq!(words, [b"log=warn".as_slice(), b"ferrite.api_key=a#b"]);
        assert_eq!(read("# nothing"), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn dates_are_seconds() {
        assert_eq!(seconds_since_1970((1970, 1, 1), (0, 0, 0), 0), Some(0));
        assert_eq!(seconds_since_1970((2000, 2, 29), (23, 59, 59), 0), Some(951_868_799));
        assert_eq!(seconds_since_1970((2026, 11, 30), (3, 0, 0), 0), Some(1_796_007_600));
        assert_eq!(seconds_since_1970((2026, 11, 30), (3, 0, 0), 120), Some(1_796_000_400));
        assert_eq!(seconds_since_1970((1970, 1, 1), (0, 0, 0), 1), None);
        for no_day in [(2026, 13, 1), (2026, 0, 1), (2026, 2, 29), (2100, 2, 29), (2026, 4, 31), (2026, 1, 0)]
        {
            assert_eq!(seconds_since_1970(no_day, (0, 0, 0), 0), None);
        }
        assert_eq!(seconds_since_1970((0, 0, 0), (0, 0, 0), 0), None);
    }
}
