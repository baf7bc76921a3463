//! The table of interrupt handlers. Several devices may share one interrupt number.

use heapless::Vec;

/// If an interrupt is taken this often in a row, its handler does not make it stop.
pub const STORM: u32 = 10_000;

/// The same holds if an interrupt is taken this often within [`WINDOW_US`]. On some controllers, a level that stays asserted
/// takes a moment to become pending again; in that moment the core advances a step and seems to have no interrupt left. A working
/// device raises fewer: a console at 115,200 baud 11,520, a network card at most one per frame.
pub const STORM_IN_WINDOW: u32 = 200_000;

/// The length of the window, in microseconds.
pub const WINDOW_US: u64 = 1_000_000;

/// A handler; it is called with the context that it was registered with.
pub type Handler = fn(usize);

#[derive(Debug)]
struct Entry {
    number: u32,
    handler: Handler,
    context: usize,
    n_calls: u64,
    /// Calls since the core last had no pending interrupt.
    n_in_a_row: u32,
    /// When the current window began, and how often the interrupt has been taken in it.
    window: (u64, u32),
}

/// The handlers and their contexts, by interrupt number.
#[derive(Debug)]
pub struct Handlers<const N: usize>(Vec<Entry, N>);

impl<const N: usize> Default for Handlers<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Handlers<N> {
    /// An empty table.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a handler after those that `number` already has; `None` if there is no room.
    pub fn add(&mut self, number: u32, handler: Handler, context: usize) -> Option<()> {
        self.0.push(Entry { number, handler, context, n_calls: 0, n_in_a_row: 0, window: (0, 0) }).ok()
    }

    /// Removes all handlers of `number` and resets its count, so that code that relied on it polls instead.
    pub fn remove(&mut self, number: u32) {
        self.0.retain(|entry| entry.number != number);
    }

    /// Removes the handler that was added last.
    pub fn remove_last(&mut self) {
        self.0.pop();
    }

    /// The `index`-th handler of `number` and its context, for calling.
    pub fn call_nth_of(&mut self, number: u32, index: usize) -> Option<(Handler, usize)> {
        let entry = self.0.iter_mut().filter(|entry| entry.number == number).nth(index)?;
        entry.n_calls += 1;
        entry.n_in_a_row += 1;
        Some((entry.handler, entry.context))
    }

    /// Must be called each time that `number` has been handled. True if the interrupt comes again and again, so that nothing else
    /// gets its turn.
    pub fn is_storm(&mut self, number: u32, now_us: u64) -> bool {
        let Some(entry) = self.0.iter_mut().find(|entry| entry.number == number) else { return false };
        let (since_us, n_taken) = &mut entry.window;
        if now_us.saturating_sub(*since_us) > WINDOW_US {
            entry.window = (now_us, 1);
        } else {
            *n_taken += 1;
        }
        entry.n_in_a_row >= STORM || entry.window.1 >= STORM_IN_WINDOW
    }

    /// Whether `number` has a handler.
    pub fn is_handled(&self, number: u32) -> bool {
        self.0.iter().any(|entry| entry.number == number)
    }

    /// Records that the core has no pending interrupt.
    pub fn calm(&mut self) {
        self.0.iter_mut().for_each(|entry| entry.n_in_a_row = 0);
    }

    /// How often `number` has been handled.
    pub fn count_of(&self, number: u32) -> u64 {
        self.0.iter().find(|entry| entry.number == number).map_or(0, |entry| entry.n_calls)
    }

    /// Whether a device with this interrupt can be relied on to interrupt. If the interrupt has never come, the device's
    /// interrupts may not arrive at all.
    pub fn has_come(&self, interrupt: Option<u32>) -> bool {
        interrupt.is_some_and(|number| self.count_of(number) > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn devices_share_a_number() {
        let mut handlers = Handlers::<3>::new();
        let contexts = |handlers: &mut Handlers<3>, number| -> Vec<usize> {
            (0..).map_while(|index| handlers.call_nth_of(number, index)).map(|(_, context)| context).collect()
        };
        for (number, context) in [(33, 1), (40, 2), (33, 3)] {
            handlers.add(number, |_| {}, context).unwrap();
        }
        assert!(!handlers.has_come(Some(33)), "nobody has been called");
        assert_eq!(contexts(&mut handlers, 33), [1, 3]);
        assert_eq!(contexts(&mut handlers, 40), [2]);
        assert_eq!(contexts(&mut handlers, 34), [0; 0]);
        assert_eq!(handlers.add(41, |_| {}, 4), None);
        handlers.remove_last();
        assert_eq!(contexts(&mut handlers, 33), [1]);
        assert_eq!(
            [None, Some(33), Some(40), Some(41)].map(|interrupt| handlers.has_come(interrupt)),
            [false, true, true, false]
        );
        assert_eq!([33, 40, 41].map(|number| handlers.count_of(number)), [2, 1, 0]);
    }

    #[test]
    fn an_interrupt_that_does_not_end_is_a_storm() {
        let mut handlers = Handlers::<3>::new();
        for number in [33, 40, 33] {
            handlers.add(number, |_| {}, 0).unwrap();
        }
        let take = |handlers: &mut Handlers<3>, number| {
            (0..).map_while(|index| handlers.call_nth_of(number, index)).count();
            handlers.is_storm(number, 0)
        };
        assert!((1..STORM).all(|_| !take(&mut handlers, 33)));
        assert!(take(&mut handlers, 33) && !take(&mut handlers, 40));
        assert!(!take(&mut handlers, 34), "nobody handles it");
        assert!(handlers.has_come(Some(33)));
        assert!(handlers.is_handled(33));
        handlers.remove(33);
        assert!(!handlers.has_come(Some(33)) && handlers.has_come(Some(40)));
        assert!(!handlers.is_handled(33) && handlers.is_handled(40));
    }

    #[test]
    fn a_storm_that_lets_the_core_take_steps_is_one_all_the_same() {
        let mut handlers = Handlers::<3>::new();
        handlers.add(33, |_| {}, 0).unwrap();
        let mut now_us = 1_000_000;
        let mut take = |every_us: u64| {
            now_us += every_us;
            handlers.call_nth_of(33, 0).unwrap();
            handlers.calm();
            handlers.is_storm(33, now_us)
        };
        // An interrupt that comes often, but not without pauses.
        assert!((0..2 * STORM_IN_WINDOW).all(|_| !take(10)));
        assert!((0..2 * STORM_IN_WINDOW).any(|_| take(1)));
    }
}
