//! Manifests with too little memory: each block that is requested is refused in turn.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use trust::manifest::FIRST_LINE;
use trust::minisign::{KeyId, SecretKey};
use trust::verity::Superblock;
use trust::{Manifests, Root};

std::thread_local! {
    /// How many more blocks this thread gets before one is refused; `None` if none is refused.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

struct Refusing;

// SAFETY: blocks are the system's.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let left = LEFT.get();
        LEFT.set(left.and_then(|left| left.checked_sub(1)));
        if left == Some(0) {
            return std::ptr::null_mut();
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

#[test]
fn beside_a_manifest_without_memory_for_it_none_makes_a_file_trusted() {
    let key = SecretKey::new(KeyId([1; 8]), &[1; 32]);
    let keys = [key.public_key()];
    let sign = |lines: &str| {
        let text = format!("{FIRST_LINE}\n{lines}\n");
        text.clone() + &key.sign(text.as_bytes(), "a comment")
    };
    let (root, other) = ("11".repeat(32), "22".repeat(32));
    let model = sign(&format!("model a 1 9 {root}"));
    // A line of each kind.
    let restrictions = sign(&format!(
        "model b 1 9 {other} 00ff\nminimum-version b 1\nrevoked-key 1234\nrevoked-root {root}"
    ));
    let root = Root::parse(&root).unwrap();
    let superblock = Superblock::new(9);
    for n in 0.. {
        let mut manifests = Manifests::default();
        manifests.add(model.as_bytes(), &keys).unwrap();
        assert!(manifests.find(root, &superblock).is_ok());
        LEFT.set(Some(n));
        let added = manifests.add(restrictions.as_bytes(), &keys);
        let was_refused = LEFT.replace(None).is_none();
        assert_eq!(added.is_err(), was_refused, "block {n}: {added:?}");
        assert!(manifests.find(root, &superblock).is_err(), "block {n}");
        if !was_refused {
            // The comment, two names, a salt, and a list of each kind of line.
            assert_eq!(n, 8);
            return;
        }
    }
}
