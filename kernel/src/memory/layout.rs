//! Arithmetic on address ranges: where the heap goes, and what remains.

use alloc::vec::Vec;
use core::ops::Range;

/// Smallest and largest size of the heap; in between, it is a sixteenth of the RAM.
const HEAP_BYTES: Range<u64> = 16 << 20..128 << 20;

/// Alignment of the heap and of everything that remains. The page at address 0 is never used, so that a read through the null
/// pointer faults even if there is RAM at 0.
pub const PAGE_BYTES: u64 = 4096;

/// The size of the heap on a machine with `ram_bytes` of RAM.
pub fn heap_bytes(ram_bytes: u64) -> u64 {
    (ram_bytes / 16).clamp(HEAP_BYTES.start, HEAP_BYTES.end) / PAGE_BYTES * PAGE_BYTES
}

/// The lowest page-aligned place for `size_bytes` within one of `banks` that overlaps none of `taken`. `taken` is called as often
/// as needed. This needs no heap, because it is used to place the heap.
pub fn place<T: Iterator<Item = Range<u64>>>(
    banks: impl Iterator<Item = Range<u64>>,
    taken: impl Fn() -> T,
    size_bytes: u64,
) -> Option<Range<u64>> {
    banks.filter_map(|bank| place_in_bank(bank, &taken, size_bytes)).min_by_key(|place| place.start)
}

fn place_in_bank<T: Iterator<Item = Range<u64>>>(
    bank: Range<u64>,
    taken: impl Fn() -> T,
    size_bytes: u64,
) -> Option<Range<u64>> {
    let mut start = bank.start.checked_next_multiple_of(PAGE_BYTES)?.max(PAGE_BYTES);
    loop {
        let candidate = start..start.checked_add(size_bytes)?;
        if candidate.end > bank.end {
            return None;
        }
        match taken().find(|range| overlap(range, &candidate)) {
            None => return Some(candidate),
            Some(obstacle) => start = obstacle.end.checked_next_multiple_of(PAGE_BYTES)?,
        }
    }
}

/// Whether two ranges overlap.
pub fn overlap(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end && !a.is_empty() && !b.is_empty()
}

/// The parts of `banks` outside of `taken` and of page 0, in whole pages, ascending.
pub fn remaining(banks: &[Range<u64>], taken: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut free = without(banks, taken);
    if let Some(first) = free.first_mut() {
        first.start = first.start.max(PAGE_BYTES);
    }
    free.retain(|range| !range.is_empty());
    free
}

/// The parts of `ranges` outside of `taken`, in whole pages, ascending.
pub fn without(ranges: &[Range<u64>], taken: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut free = ranges.to_vec();
    for hole in taken.iter().filter(|range| !range.is_empty()) {
        free = free
            .into_iter()
            .flat_map(|range| {
                let below = range.start..range.end.min(hole.start);
                let above = range.start.max(hole.end)..range.end;
                if overlap(&range, hole) { [below, above] } else { [range, 0..0] }
            })
            .filter(|range| !range.is_empty())
            .collect();
    }
    for range in &mut free {
        range.start = range.start.saturating_add(PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
        range.end = range.end / PAGE_BYTES * PAGE_BYTES;
    }
    free.retain(|range| range.start < range.end);
    sort::by_key(&mut free, |range| range.start);
    free
}

/// The addresses that `ranges` cover: ascending, joined where they overlap or touch.
pub fn join(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let count = join_in_place(&mut ranges);
    ranges.truncate(count);
    ranges
}

/// The same without a heap. If more than `N` ranges remain, the smallest are left out.
pub fn join_few<const N: usize>(ranges: impl Iterator<Item = Range<u64>>) -> heapless::Vec<Range<u64>, N> {
    let mut few = heapless::Vec::<Range<u64>, N>::new();
    for range in ranges {
        if few.is_full() {
            let count = join_in_place(&mut few);
            few.truncate(count);
        }
        if let Err(range) = few.push(range)
            && let Some(smallest) = few.iter_mut().min_by_key(|range| range.end - range.start)
            && smallest.end - smallest.start < range.end.saturating_sub(range.start)
        {
            *smallest = range;
        }
    }
    let count = join_in_place(&mut few);
    few.truncate(count);
    few
}

/// Joins ranges within their slice; returns how many remain, at its beginning.
fn join_in_place(ranges: &mut [Range<u64>]) -> usize {
    sort::by_key(ranges, |range| range.start);
    let mut count = 0_usize;
    for index in 0..ranges.len() {
        let range = ranges[index].clone();
        if range.is_empty() {
            continue;
        }
        match count.checked_sub(1).and_then(|last| ranges.get_mut(last)) {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => {
                ranges[count] = range;
                count += 1;
            }
        }
    }
    count
}

/// The pages that `ranges` touch: ascending, joined where they touch, so that each page occurs once.
pub fn whole_pages(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let pages = ranges.into_iter().filter(|range| !range.is_empty()).map(|range| {
        let start = range.start / PAGE_BYTES * PAGE_BYTES;
        start..range.end.checked_next_multiple_of(PAGE_BYTES).unwrap_or(u64::MAX)
    });
    join(pages.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const RAM: u64 = 0x4000_0000;

    #[test]
    fn heap_size_follows_the_ram_within_limits() {
        assert_eq!(heap_bytes(128 * MIB), 16 * MIB);
        assert_eq!(heap_bytes(1024 * MIB), 64 * MIB);
        assert_eq!(heap_bytes(8192 * MIB), 128 * MIB);
        assert_eq!(heap_bytes(512 * MIB + 4097) % 4096, 0);
    }

    #[test]
    fn heap_goes_right_behind_the_image() {
        let bank = RAM..RAM + 128 * MIB;
        let image = RAM + 2 * MIB..RAM + 5 * MIB;
        // Boot from the ELF file: the tree lies before the image.
        let tree = RAM..RAM + MIB;
        assert_eq!(
            place([bank.clone()].into_iter(), || [image.clone(), tree.clone()].into_iter(), 16 * MIB),
            Some(RAM + 5 * MIB..RAM + 21 * MIB)
        );
        // Boot from an Image: the tree is in the way.
        let tree = RAM + 8 * MIB..RAM + 9 * MIB + 17;
        let heap = place([bank].into_iter(), || [image.clone(), tree.clone()].into_iter(), 16 * MIB).unwrap();
        assert_eq!(heap.start, RAM + 9 * MIB + 4096);
    }

    #[test]
    fn no_place_is_none() {
        let nothing = || [].into_iter();
        assert_eq!(place([0..10 * MIB].into_iter(), nothing, 11 * MIB), None);
        assert_eq!(place([u64::MAX - 4096..u64::MAX].into_iter(), nothing, MIB), None);
        assert_eq!(place([].into_iter(), nothing, 0), None);
    }

    #[test]
    fn remaining_is_banks_minus_taken() {
        let banks = [RAM..RAM + 64 * MIB, RAM + 128 * MIB..RAM + 192 * MIB];
        let taken = [
            RAM + 2 * MIB..RAM + 5 * MIB,
            RAM + 5 * MIB..RAM + 21 * MIB,
            RAM + 60 * MIB..RAM + 130 * MIB,
            0..0,
        ];
        assert_eq!(
            remaining(&banks, &taken),
            [RAM..RAM + 2 * MIB, RAM + 21 * MIB..RAM + 60 * MIB, RAM + 130 * MIB..RAM + 192 * MIB,]
        );
    }

    #[test]
    fn page_0_is_never_used() {
        assert_eq!(place([0..10 * MIB].into_iter(), || [].into_iter(), MIB), Some(4096..MIB + 4096));
        assert_eq!(remaining(&[0..4096, 8192..16384], &[]), [8192..16384]);
        assert_eq!(remaining(&[0..8192], &[]), [4096..8192]);
        assert_eq!(without(&[0..8192], &[]), [0..8192]);
    }

    #[test]
    fn remaining_keeps_whole_pages_only() {
        assert_eq!(remaining(&[100..3 * 4096 + 1], &[]), [4096..3 * 4096]);
        assert_eq!(remaining(&[1..4095], &[]), []);
        assert_eq!(remaining(&[0..8192], &[0..8192]), []);
    }

    #[test]
    fn ranges_are_joined_with_and_without_a_heap() {
        let check = |ranges: &[Range<u64>], expected: &[Range<u64>]| {
            assert_eq!(join_few::<2000>(ranges.iter().cloned()), expected);
            assert_eq!(join(ranges.to_vec()), expected);
        };
        check(&[], &[]);
        check(&[5..5, 9..9], &[]);
        check(&[40..50, 40..50], &[40..50]);
        // Unsorted ranges: touching, nested, overlapping, apart by one.
        check(&[30..40, 0..10, 20..30, 22..25, 5..12, 13..14], &[0..12, 13..14, 20..40]);
        check(&[10..u64::MAX, 0..1], &[0..1, 10..u64::MAX]);
        let descending: Vec<_> = (0..2000_u64).rev().map(|index| index * 8..index * 8 + 8).collect();
        check(&descending, &[0..16000]);
        assert_eq!(join_few::<4>(descending.iter().cloned()), [0..16000]);
        let apart: Vec<_> = (0..2000_u64).map(|index| index * 8..index * 8 + 7).collect();
        check(&apart, &apart);
        let growing = (0..100_u64).map(|index| index * 1000..index * 1001);
        assert_eq!(join_few::<3>(growing), [97_000..97_097, 98_000..98_098, 99_000..99_099]);
    }

    #[test]
    fn whole_pages_are_joined() {
        let ranges = [0x2200..0x2400, 0x2000..0x2200, 0x9000..0x9001, 7..7].into();
        assert_eq!(whole_pages(ranges), [0x2000..0x3000, 0x9000..0xa000]);
        assert_eq!(whole_pages([0..0x1000, 0x1000..0x1800].into()), [0..0x2000]);
    }
}
