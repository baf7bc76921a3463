//! GICv2: the distributor and the calling core's CPU interface (Arm IHI 0048).
//!
//! The same code works for a controller without the security extension, from the secure side, and from the non-secure side (when
//! there is firmware). On the non-secure side, bit 0 of both control registers enables group 1, the group registers read as zero
//! and ignore writes, and the plain acknowledge register returns group 1. On the secure side, all interrupts are put into group
//! 0, for which the same bits and registers are used. (The crate `arm-gic` uses the registers for group 1, which the non-secure
//! side does not have.)
//!
//! Also compiled for the host, where a test replaces the device.

use crate::machine::Trigger;

/// The two register blocks, by byte offset.
pub trait RegisterBlocks {
    /// Reads a word of the distributor.
    fn read(&self, offset: usize) -> u32;

    /// Writes a word of the distributor.
    fn write(&mut self, offset: usize, value: u32);

    /// Reads a byte of the distributor's targets or priorities.
    fn read_byte(&self, offset: usize) -> u8;

    /// Writes a byte of the distributor's targets or priorities.
    fn write_byte(&mut self, offset: usize, value: u8);

    /// Reads a word of the calling core's interface.
    fn read_interface(&self, offset: usize) -> u32;

    /// Writes a word of the calling core's interface.
    fn write_interface(&mut self, offset: usize, value: u32);
}

const GICD_CTLR: usize = 0x000;
const GICD_TYPER: usize = 0x004;
const GICD_IGROUPR: usize = 0x080;
const GICD_ISENABLER: usize = 0x100;
const GICD_ICENABLER: usize = 0x180;
const GICD_ICACTIVER: usize = 0x380;
const GICD_IPRIORITYR: usize = 0x400;
const GICD_ITARGETSR: usize = 0x800;
const GICD_ICFGR: usize = 0xc00;
const GICD_SGIR: usize = 0xf00;

const GICC_CTLR: usize = 0x00;
const GICC_PMR: usize = 0x04;
const GICC_IAR: usize = 0x0c;
const GICC_EOIR: usize = 0x10;

const ENABLE: u32 = 1;
/// Whether interrupts reach the core while the interface is off; these bits are left as the firmware has set them.
const BYPASS_BITS: u32 = 0x1e0;
/// The core is signalled interrupts with a numerically lower priority than this: all of them.
const LOWEST_PRIORITY: u32 = 0xff;
/// A priority that is signalled on either side, and with any number of implemented bits.
const PRIORITY: u8 = 0xa0;
const FIRST_SHARED: u32 = 32;
/// Numbers from here on mean that there is no interrupt.
const FIRST_SPECIAL: u32 = 1020;
/// The field with the interrupt's number. The bits above it say which core sent a software-generated interrupt.
const NUMBER_BITS: u32 = 0x3ff;

/// An interrupt that has been acknowledged but not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged(u32);

impl Acknowledged {
    /// Its number.
    pub fn number(self) -> u32 {
        self.0 & NUMBER_BITS
    }
}

/// The controller.
pub struct GicV2<R>(R);

impl<R: RegisterBlocks> GicV2<R> {
    /// The controller with these registers, unchanged.
    pub fn new(registers: R) -> Self {
        Self(registers)
    }

    /// Sets up the distributor with every interrupt disabled, then the calling core's interface.
    pub fn init(&mut self) {
        let count = (self.0.read(GICD_TYPER) & 0x1f) + 1;
        for word in (0..count as usize).map(|word| word * size_of::<u32>()) {
            self.0.write(GICD_ICENABLER + word, u32::MAX);
            // An interrupt that a boot loader has left active would never be signalled again.
            self.0.write(GICD_ICACTIVER + word, u32::MAX);
            self.0.write(GICD_IGROUPR + word, 0);
        }
        self.0.write(GICD_CTLR, ENABLE);
        self.init_core();
    }

    /// Lets the calling core take interrupts.
    pub fn init_core(&mut self) {
        // Each core has its own group register for its private interrupts.
        self.0.write(GICD_IGROUPR, 0);
        self.0.write_interface(GICC_PMR, LOWEST_PRIORITY);
        let bypass = self.0.read_interface(GICC_CTLR) & BYPASS_BITS;
        self.0.write_interface(GICC_CTLR, bypass | ENABLE);
    }

    /// Enables an interrupt; if it is a shared one, for the calling core. `None` if the controller does not have it, or reserves
    /// it for the secure side.
    pub fn enable(&mut self, number: u32, trigger: Trigger) -> Option<()> {
        let word = number as usize / 32 * size_of::<u32>();
        let bit = 1 << (number % 32);
        self.0.write_byte(GICD_IPRIORITYR + number as usize, PRIORITY);
        if number >= FIRST_SHARED {
            let offset = GICD_ICFGR + number as usize / 16 * size_of::<u32>();
            let is_edge = 2 << (number % 16 * 2);
            let others = self.0.read(offset) & !is_edge;
            self.0.write(offset, if trigger == Trigger::Edge { others | is_edge } else { others });
            let target = self.own_target();
            self.0.write_byte(GICD_ITARGETSR + number as usize, target);
        }
        self.0.write(GICD_ISENABLER + word, bit);
        (self.0.read(GICD_ISENABLER + word) & bit != 0).then_some(())
    }

    /// Disables an interrupt.
    pub fn disable(&mut self, number: u32) {
        self.0.write(GICD_ICENABLER + number as usize / 32 * size_of::<u32>(), 1 << (number % 32));
    }

    /// The bit that stands for the calling core in target registers; 0 on a machine with one core.
    pub fn own_target(&self) -> u8 {
        // Each core reads its own bit from the target registers of private interrupts, some of which may not exist.
        let targets = (0..FIRST_SHARED as usize).map(|number| self.0.read_byte(GICD_ITARGETSR + number));
        targets.fold(0, |mask, target| mask | target)
    }

    /// Sends a software-generated interrupt to the cores whose bits are set.
    pub fn send(&mut self, number: u32, targets: u8) {
        self.0.write(GICD_SGIR, u32::from(targets) << 16 | number & 0xf);
    }

    /// Acknowledges the pending interrupt with the highest priority, if there is one.
    pub fn acknowledge(&mut self) -> Option<Acknowledged> {
        let interrupt = Acknowledged(self.0.read_interface(GICC_IAR));
        (interrupt.number() < FIRST_SPECIAL).then_some(interrupt)
    }

    /// Ends an interrupt.
    pub fn end(&mut self, interrupt: Acknowledged) {
        self.0.write_interface(GICC_EOIR, interrupt.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{cell::RefCell, vec::Vec};

    /// A model of a controller with 64 interrupts and one core, as seen from one of the sides.
    struct Model {
        has_security: bool,
        is_secure: bool,
        state: RefCell<State>,
    }

    struct State {
        /// Enable bits: group 0, group 1.
        distributor: u32,
        interface: u32,
        group_1: u64,
        enabled: u64,
        pending: u64,
        active: u64,
        edge: [u32; 4],
        targets: [u8; 64],
        ended: Vec<u32>,
    }

    impl Model {
        fn new(has_security: bool, is_secure: bool) -> Self {
            // With firmware, all interrupts except number 40 belong to the non-secure side.
            let group_1 = if is_secure || !has_security { 0 } else { !(1 << 40) };
            Self {
                has_security,
                is_secure: is_secure || !has_security,
                state: RefCell::new(State {
                    distributor: 0,
                    interface: 0x60,
                    group_1,
                    enabled: u64::MAX,
                    pending: 0,
                    active: 1 << 33,
                    edge: [0; 4],
                    targets: [1; 64],
                    ended: Vec::new(),
                }),
            }
        }

        /// The interrupts that this side can access.
        fn mine(&self, state: &State) -> u64 {
            if self.is_secure { u64::MAX } else { state.group_1 }
        }

        fn enable_bits(&self, value: u32) -> u32 {
            if self.is_secure { value & 3 } else { (value & 1) << 1 }
        }

        /// The interrupt that is signalled to the core.
        fn signalled(&self) -> Option<u32> {
            let state = self.state.borrow();
            let group = |bit: u32| state.distributor & state.interface & bit != 0;
            let groups = if group(1) { !state.group_1 } else { 0 } | if group(2) { state.group_1 } else { 0 };
            let ready = state.pending & state.enabled & !state.active & groups;
            (ready != 0).then(|| ready.trailing_zeros())
        }

        fn raise(&self, number: u32) {
            self.state.borrow_mut().pending |= 1 << number;
        }
    }

    fn word(value: u64, offset: usize) -> u32 {
        (value >> (offset % 0x80 * 8)) as u32
    }

    fn at(value: u32, offset: usize) -> u64 {
        u64::from(value) << (offset % 0x80 * 8)
    }

    impl RegisterBlocks for &Model {
        fn read(&self, offset: usize) -> u32 {
            let state = self.state.borrow();
            match offset {
                GICD_TYPER => 1 | u32::from(self.has_security) << 10,
                0x100..0x108 => word(state.enabled & self.mine(&state), offset),
                0xc00..0xc10 => state.edge[(offset - 0xc00) / 4],
                _ => panic!("offset {offset:#x} is read"),
            }
        }

        fn write(&mut self, offset: usize, value: u32) {
            let mut state = self.state.borrow_mut();
            let mine = self.mine(&state);
            match offset {
                GICD_CTLR => state.distributor = self.enable_bits(value),
                0x080..0x088 if self.is_secure => {
                    state.group_1 = state.group_1 & !at(u32::MAX, offset) | at(value, offset);
                }
                // Ignored on the non-secure side.
                0x080..0x088 => {}
                0x100..0x108 => state.enabled |= at(value, offset) & mine,
                0x180..0x188 => state.enabled &= !(at(value, offset) & mine),
                0x380..0x388 => state.active &= !(at(value, offset) & mine),
                0xc00..0xc10 => state.edge[(offset - 0xc00) / 4] = value,
                GICD_SGIR => {
                    assert_eq!(value, 0x0001_0003);
                    state.pending |= 1 << 3;
                }
                _ => panic!("offset {offset:#x} is written"),
            }
        }

        fn read_byte(&self, offset: usize) -> u8 {
            self.state.borrow().targets[offset - 0x800]
        }

        fn write_byte(&mut self, offset: usize, value: u8) {
            match offset {
                0x400..0x440 => assert_eq!(value, PRIORITY),
                _ => self.state.borrow_mut().targets[offset - 0x800] = value,
            }
        }

        fn read_interface(&self, offset: usize) -> u32 {
            match offset {
                GICC_CTLR => self.state.borrow().interface & BYPASS_BITS,
                GICC_IAR => {
                    let Some(number) = self.signalled() else {
                        return 1023;
                    };
                    let mut state = self.state.borrow_mut();
                    if self.is_secure && state.group_1 >> number & 1 != 0 {
                        return 1022;
                    }
                    state.pending &= !(1 << number);
                    state.active |= 1 << number;
                    // The sender of a software-generated interrupt: core 2.
                    number | if number < 16 { 2 << 10 } else { 0 }
                }
                _ => panic!("offset {offset:#x} of the interface is read"),
            }
        }

        fn write_interface(&mut self, offset: usize, value: u32) {
            let mut state = self.state.borrow_mut();
            match offset {
                GICC_CTLR => state.interface = self.enable_bits(value) | value & BYPASS_BITS,
                GICC_PMR => assert_eq!(value, 0xff),
                GICC_EOIR => {
                    state.active &= !(1 << (value & 0x3ff));
                    state.ended.push(value);
                }
                _ => panic!("offset {offset:#x} of the interface is written"),
            }
        }
    }

    #[test]
    fn interrupts_come_from_every_side() {
        for (has_security, is_secure) in [(false, true), (true, true), (true, false)] {
            let model = Model::new(has_security, is_secure);
            let mut gic = GicV2::new(&model);
            gic.init();
            model.raise(33);
            assert_eq!(gic.acknowledge(), None);
            gic.enable(33, Trigger::Level).unwrap();
            let taken = gic.acknowledge().unwrap();
            assert_eq!(taken.number(), 33, "security {has_security}, secure {is_secure}");
            gic.end(taken);
            assert_eq!(gic.acknowledge(), None);
            gic.disable(33);
            model.raise(33);
            assert_eq!(gic.acknowledge(), None);

            gic.enable(3, Trigger::Edge).unwrap();
            gic.send(3, gic.own_target());
            let taken = gic.acknowledge().unwrap();
            assert_eq!(taken.number(), 3);
            gic.end(taken);
            assert_eq!(model.state.borrow().ended, [33, 2 << 10 | 3]);
            // The bits that the firmware has set stay unchanged.
            assert_eq!(model.state.borrow().interface & BYPASS_BITS, 0x60);
        }
    }

    #[test]
    fn the_secure_sides_interrupts_cannot_be_enabled() {
        let model = Model::new(true, false);
        let mut gic = GicV2::new(&model);
        gic.init();
        assert_eq!(gic.enable(40, Trigger::Level), None);
        assert_eq!(gic.enable(41, Trigger::Level), Some(()));
    }

    #[test]
    fn triggers_are_set_one_by_one() {
        let model = Model::new(false, true);
        let mut gic = GicV2::new(&model);
        gic.init();
        gic.enable(34, Trigger::Edge).unwrap();
        gic.enable(35, Trigger::Edge).unwrap();
        gic.enable(34, Trigger::Level).unwrap();
        assert_eq!(model.state.borrow().edge, [0, 0, 0x80, 0]);
    }
}
