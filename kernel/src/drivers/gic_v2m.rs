//! GICv2m: a frame of registers; a write to it raises a shared interrupt (Server Base System Architecture 2.3, appendix E).

use core::ops::Range;

/// MSI_TYPER, which says which interrupts the frame has.
pub const TYPER: u64 = 0x008;

/// MSI_SETSPI_NS, which raises the interrupt whose number is written to it.
pub const SET_SPI: u64 = 0x040;

/// The numbers that shared interrupts can have (GICv2 architecture, 2.2.1).
const SHARED: Range<u32> = 32..1020;

/// The interrupts of a frame whose MSI_TYPER is `typer`; `first` and `count` override the register. Empty if these are not shared
/// interrupts.
pub fn interrupts(typer: u32, first: Option<u32>, count: Option<u32>) -> Range<u32> {
    let first = first.unwrap_or(typer >> 16 & 0x3ff);
    let count = count.unwrap_or(typer & 0x3ff);
    if !SHARED.contains(&first) {
        return 0..0;
    }
    first..first.saturating_add(count).min(SHARED.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interrupts_are_those_that_a_frame_says_or_that_are_known() {
        assert_eq!(interrupts(80 << 16 | 64, None, None), 80..144);
        assert_eq!(interrupts(80 << 16 | 64, Some(96), Some(2)), 96..98);
        assert_eq!(interrupts(0, Some(96), None), 96..96);
        // Numbers that are not shared interrupts.
        assert!(interrupts(16 << 16 | 64, None, None).is_empty());
        assert!(interrupts(1020 << 16 | 64, None, None).is_empty());
        assert_eq!(interrupts(u32::MAX, Some(1000), Some(u32::MAX)), 1000..1020);
    }
}
