//! Sorting for lists that are seldom sorted. All types and orders share the same code, whereas [`slice::sort_unstable`] is
//! compiled for each type and order and takes some three kilobytes each time.
//!
//! The method is heap sort (Williams, "Algorithm 232", 1964). It needs no memory and always takes `n log n` steps, whatever is
//! compared. It takes some three times as long as the standard library.
#![cfg_attr(not(test), no_std)]
#![forbid(unsafe_code)]

/// Sorts a list; equal elements may be reordered.
pub fn sort<T: Ord>(list: &mut [T]) {
    heap_sort(list.len(), &mut Sorted { list, is_less: T::lt });
}

/// Sorts a list by a key; elements with equal keys may be reordered.
pub fn by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    heap_sort(list.len(), &mut Sorted { list, is_less: |one: &T, other: &T| key(one) < key(other) });
}

/// Sorts a short list by a key; elements with equal keys keep their order. The number of steps grows with the square of the
/// length.
pub fn short_by_key<T, K: Ord>(list: &mut [T], key: impl Fn(&T) -> K) {
    insertion_sort(list.len(), &mut Sorted { list, is_less: |one: &T, other: &T| key(one) < key(other) });
}

/// A list to be sorted, accessed by index.
trait Places {
    fn is_less(&self, one: usize, other: usize) -> bool;
    fn swap(&mut self, one: usize, other: usize);
}

struct Sorted<'l, T, F> {
    list: &'l mut [T],
    is_less: F,
}

impl<T, F: Fn(&T, &T) -> bool> Places for Sorted<'_, T, F> {
    fn is_less(&self, one: usize, other: usize) -> bool {
        (self.is_less)(&self.list[one], &self.list[other])
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.list.swap(one, other);
    }
}

fn heap_sort(n: usize, list: &mut dyn Places) {
    (0..n / 2).rev().for_each(|root| sift(root, n, list));
    for end in (1..n).rev() {
        list.swap(0, end);
        sift(0, end, list);
    }
}

/// Moves the element at `root` down to its place among those before `end`: counted from 1, no element may be less than those at
/// twice its index and one more.
fn sift(mut root: usize, end: usize, list: &mut dyn Places) {
    loop {
        let mut child = 2 * root + 1;
        if child >= end {
            return;
        }
        if child + 1 < end && list.is_less(child, child + 1) {
            child += 1;
        }
        if !list.is_less(root, child) {
            return;
        }
        list.swap(root, child);
        root = child;
    }
}

fn insertion_sort(n: usize, list: &mut dyn Places) {
    for end in 1..n {
        let mut place = end;
        while place > 0 && list.is_less(place, place - 1) {
            list.swap(place, place - 1);
            place -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers, many of which are equal.
    fn numbers(n: usize) -> Vec<u32> {
        (0..n as u32).map(|i| i.wrapping_mul(0x9e37_79b1) >> 7 & 0xff).collect()
    }

    #[test]
    fn all_of_them_sort() {
        for n in (0..70).chain([500, 1000]) {
            let list = numbers(n);
            let mut expected = list.clone();
            expected.sort();
            let mut sorted = list.clone();
            sort(&mut sorted);
            assert_eq!(sorted, expected, "{n}");

            let mut falling: Vec<(u32, usize)> = list.iter().copied().zip(0..).collect();
            by_key(&mut falling, |&(number, place)| (core::cmp::Reverse(number), place));
            let mut expected: Vec<(u32, usize)> = list.iter().copied().zip(0..).collect();
            expected.sort_by_key(|&(number, _)| core::cmp::Reverse(number));
            assert_eq!(falling, expected, "{n}");

            let mut stable: Vec<(u32, usize)> = list.iter().copied().zip(0..).collect();
            short_by_key(&mut stable, |&(number, _)| core::cmp::Reverse(number));
            assert_eq!(stable, expected, "{n}");
        }
    }
}
