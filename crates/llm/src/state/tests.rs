extern crate std;

use std::{vec, vec::Vec};

use super::*;
use crate::kv_cache::HeadElements;

const SHAPE: KvShape = KvShape { n_head_kv: 1, head_len_k: 1, head_len_v: 1 };

fn carve<'m>(options: StateOptions, arena: &mut Arena<'m>) -> StateStore<'m> {
    StateStore::carve([SHAPE].into_iter(), core::iter::empty(), options, arena).unwrap()
}

fn memory(options: StateOptions) -> Vec<u8> {
    let mut arena = Arena::measuring();
    carve(options, &mut arena);
    vec![0xff; arena.used_bytes() + crate::arena::ALIGN]
}

/// A number that stands for a text: what a key or value at its end would depend on.
fn digest(text: &[u32]) -> f32 {
    let hash =
        text.iter().fold(17_u32, |hash, token| (hash ^ token).wrapping_mul(0x0100_0193).rotate_left(7));
    (hash >> 8) as f32
}

/// Makes room for tokens after the first `first` of a slot's, and stores what stands for their texts.
fn compute(
    store: &mut StateStore<'_>,
    slot: usize,
    text: &mut Vec<u32>,
    first: usize,
    tokens: &[u32],
) -> Result<(), OutOfPages> {
    text.truncate(first);
    store.prepare(slot, first, tokens.len())?;
    for &token in tokens {
        text.push(token);
        let value = digest(text);
        store.store(Kernels::scalar(), 0, (slot, text.len() - 1), &[value], &[-value]);
    }
    store.commit(slot, tokens.iter().copied().map(Some));
    Ok(())
}

fn found(head: HeadPages<'_>, pages: &[u32], position: usize) -> f32 {
    let HeadElements::F32(elements) = head.elements else { panic!("{head:?}") };
    elements[pages[position / PAGE_LEN] as usize * head.page_len + head.first + position % PAGE_LEN]
}

/// Each slot has what belongs to its text, and each page is held or free.
fn check(store: &StateStore<'_>, texts: &[Vec<u32>]) {
    let mut held = Vec::new();
    for (slot, text) in texts.iter().enumerate() {
        assert_eq!(store.len(slot), text.len());
        assert_eq!(store.pages(slot).len(), text.len().div_ceil(PAGE_LEN));
        held.extend_from_slice(store.pages(slot));
        for position in 0..text.len() {
            let want = digest(&text[..=position]);
            assert_eq!(found(store.keys(0, 0), store.pages(slot), position), want, "slot {slot}, {position}");
            assert_eq!(found(store.values(0, 0), store.pages(slot), position), -want);
        }
    }
    held.sort_unstable();
    held.dedup();
    assert_eq!(held.len() + store.n_free_pages(), store.options().n_pages);
}

#[test]
fn no_order_of_operations_loses_a_page_or_mixes_texts() {
    let mut state = 1_u64;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    const N_SLOTS: usize = 5;
    for finds_prefixes in [true, false] {
        let options =
            StateOptions { n_slots: N_SLOTS, n_ctx: 400, n_pages: 17, kv_type: KvType::F32, finds_prefixes };
        let mut memory = memory(options);
        let mut store = carve(options, &mut Arena::new(&mut memory));
        let mut texts = vec![Vec::new(); N_SLOTS];
        let (mut n_reused, mut n_refused) = (0, 0);
        for _ in 0..10_000 {
            let slot = below(N_SLOTS);
            match below(8) {
                // Some tokens more, of few, so that texts begin alike.
                0..=2 => {
                    let first = texts[slot].len();
                    let n = below(options.n_ctx + 1 - first);
                    let tokens: Vec<u32> =
                        (0..n).map(|i| (i * i % 3) as u32 + below(20) as u32 / 19).collect();
                    n_refused +=
                        usize::from(compute(&mut store, slot, &mut texts[slot], first, &tokens).is_err());
                }
                // A few in place of the last.
                3 => {
                    let first = below(texts[slot].len() + 1);
                    let n = below(5).min(options.n_ctx - first);
                    n_refused += usize::from(
                        compute(&mut store, slot, &mut texts[slot], first, &[9; 4][..n]).is_err(),
                    );
                }
                // Broken off.
                4 => {
                    let first = texts[slot].len();
                    let _ = store.prepare(slot, first, below(options.n_ctx + 1 - first));
                    assert_eq!(store.truncate(slot, first), first);
                }
                5 => {
                    let len = below(500);
                    texts[slot].truncate(len);
                    assert_eq!(store.truncate(slot, len), texts[slot].len());
                }
                6 => {
                    let from = below(N_SLOTS);
                    store.fork(from, slot);
                    texts[slot] = texts[from].clone();
                }
                // A text that begins like another one.
                _ => {
                    let mut text = texts[below(N_SLOTS)].clone();
                    text.truncate(below(text.len() + 1));
                    text.push(77);
                    let len = store.reuse(slot, &text);
                    assert!(len < text.len() && len.is_multiple_of(PAGE_LEN));
                    text.truncate(len);
                    texts[slot] = text;
                    n_reused += len;
                }
            }
            check(&store, &texts);
        }
        assert!(n_refused > 100 && (n_reused > 0) == finds_prefixes, "{n_refused} {n_reused}");
        for slot in 0..N_SLOTS {
            store.truncate(slot, 0);
        }
        assert_eq!(store.n_free_pages(), options.n_pages);
    }
}

#[test]
fn a_text_is_found_again_by_whole_pages_until_its_pages_are_needed() {
    let options =
        StateOptions { n_slots: 2, n_ctx: 256, n_pages: 5, kv_type: KvType::F32, finds_prefixes: true };
    let mut memory = memory(options);
    let mut store = carve(options, &mut Arena::new(&mut memory));
    let mut texts = [Vec::new(), Vec::new()];
    let tokens: Vec<u32> = (0..200).collect();
    compute(&mut store, 0, &mut texts[0], 0, &tokens).unwrap();
    // While it is there, and when it is gone.
    assert_eq!(store.reuse(1, &tokens), 192);
    assert_eq!(store.pages(1), &store.pages(0)[..3]);
    store.truncate(0, 0);
    assert_eq!(store.reuse(1, &tokens[..192]), 128, "the last token is left to be computed");
    assert_eq!(store.reuse(1, &tokens[..193]), 192);
    assert_eq!(store.reuse(1, &[&tokens[..100], &[7; 100]].concat()), 64);
    store.truncate(1, 0);
    assert_eq!(store.n_free_pages(), 5);
    // Three pages are taken: the two without a known text, and of the known ones the last.
    compute(&mut store, 0, &mut texts[0], 0, &[1; 150]).unwrap();
    assert_eq!(store.reuse(1, &tokens), 128);
    // Something that is no token is never found again.
    store.truncate(1, 0);
    store.prepare(1, 0, 64).unwrap();
    store.commit(1, (0..64).map(|i| (i != 5).then_some(2)));
    store.truncate(0, 0);
    assert_eq!(store.reuse(0, &[2; 65]), 0);
}

#[test]
fn room_that_cannot_be_made_is_counted_with_the_page_to_be_copied() {
    let options =
        StateOptions { n_slots: 2, n_ctx: 256, n_pages: 3, kv_type: KvType::F32, finds_prefixes: false };
    let mut memory = memory(options);
    let mut store = carve(options, &mut Arena::new(&mut memory));
    let mut texts = [Vec::new(), Vec::new()];
    compute(&mut store, 0, &mut texts[0], 0, &[1; 100]).unwrap();
    store.fork(0, 1);
    texts[1] = texts[0].clone();
    assert_eq!(store.prepare(1, 100, 29), Err(OutOfPages { n_needed: 2, n_free: 1 }));
    compute(&mut store, 1, &mut texts[1], 100, &[2; 28]).unwrap();
    // The other one is alone with its page now.
    compute(&mut store, 0, &mut texts[0], 70, &[3; 58]).unwrap();
    check(&store, &texts);
    assert_eq!(store.n_free_pages(), 0);
}
