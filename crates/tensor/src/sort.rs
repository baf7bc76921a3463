//! Sorting for lists that are sorted once. All types and orders share the same code, whereas [`slice::sort_unstable_by`] is
//! compiled for each type and order.

use alloc::vec::Vec;
use core::cmp::Ordering;

/// The indices 0 to `n` - 1 (`n` ≤ `u32::MAX`) in sorted order. `compare` compares two indices.
///
/// # Errors
/// If the heap has no room: the number of bytes requested.
pub fn places(n: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Result<Vec<u32>, usize> {
    let mut places = Vec::new();
    places.try_reserve_exact(n).map_err(|_| n.saturating_mul(size_of::<u32>()))?;
    places.extend(0..n as u32);
    places.sort_unstable_by(|&a, &b| compare(a as usize, b as usize));
    Ok(places)
}

/// Inserts an element into a list sorted by `Ord`, unless the list has an equal element.
///
/// # Errors
/// The same as for [`places`].
pub fn insert<T: Ord>(sorted: &mut Vec<T>, element: T) -> Result<(), usize> {
    if let Err(place) = sorted.binary_search(&element) {
        sorted.try_reserve(1).map_err(|_| (sorted.len() + 1).saturating_mul(size_of::<T>()))?;
        sorted.insert(place, element);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn both_sort() {
        let elements = [5, -1, 5, 3, 0, i32::MAX, 3];
        let order = places(elements.len(), &|a, b| elements[a].cmp(&elements[b]).then(a.cmp(&b))).unwrap();
        assert_eq!(order, [1, 4, 3, 6, 0, 2, 5]);
        let mut without_equals = Vec::new();
        elements.into_iter().for_each(|element| insert(&mut without_equals, element).unwrap());
        assert_eq!(without_equals, [-1, 0, 3, 5, i32::MAX]);
        assert!(places(0, &|_, _| Ordering::Equal).unwrap().is_empty());
    }
}
