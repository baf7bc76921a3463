extern crate std;

use std::{vec, vec::Vec};

use super::*;
use crate::kv_cache::HeadElements;

const SHAPE: KvShape =
    KvShape { n_head_kv: 1, head_len_k: 1, head_len_v: 1, values_in_keys: false, index_len: 0 };

/// A layer without a state, and one with two numbers.
const RECURRENT: [RecurrentShape; 2] =
    [RecurrentShape { n_history: 0, n_state: 0 }, RecurrentShape { n_history: 1, n_state: 1 }];

/// A store with recurrent layers or without.
fn carve<'m>(options: StateOptions, is_recurrent: bool, arena: &mut Arena<'m>) -> StateStore<'m> {
    let recurrent = if is_recurrent { &RECURRENT[..] } else { &[] };
    StateStore::carve([SHAPE].into_iter(), recurrent.iter().copied(), 1 << 20, options, arena).unwrap()
}

fn memory(options: StateOptions, is_recurrent: bool) -> Vec<u8> {
    let mut arena = Arena::measuring();
    carve(options, is_recurrent, &mut arena);
    vec![0xff; arena.used_bytes() + crate::arena::ALIGN]
}

/// A number that represents a text, like a key or value at its end, which depends on the whole text.
fn digest(text: &[u32]) -> f32 {
    digests(text).last().unwrap_or_default()
}

/// The digests of all beginnings of a text.
fn digests(text: &[u32]) -> impl Iterator<Item = f32> {
    let mut hash = 17_u32;
    text.iter().map(move |token| {
        hash = (hash ^ token).wrapping_mul(0x0100_0193).rotate_left(7);
        (hash >> 8) as f32
    })
}

/// Stores the digests of the texts that end with each of `tokens`. Room must have been made.
fn compute_in_room(store: &mut StateStore<'_>, slot: usize, text: &mut Vec<u32>, tokens: &[u32]) {
    // Before the first position there are zeros.
    if store.is_recurrent() {
        let LayerMemory { history, state, mut checkpoints } = store.recurrent(slot, 1);
        // Before the first position there are zeros.
        let before = digest(text);
        assert_eq!((&*history, &*state), (&[before][..], &[-before][..]), "{} of slot {slot}", text.len());
        let whole = [&text[..], tokens].concat();
        // In a batch that is broken off, only some checkpoints are made.
        while let Some(checkpoint) =
            checkpoints.next_due().filter(|checkpoint| checkpoint.after <= tokens.len())
        {
            let value = digest(&whole[..text.len() + checkpoint.after]);
            checkpoint.history.fill(value);
            checkpoint.state.fill(-value);
        }
        history.fill(digest(&whole));
        state.fill(-digest(&whole));
    }
    for &token in tokens {
        text.push(token);
        let value = digest(text);
        store.store(Kernels::scalar(), 0, (slot, text.len() - 1), &[value], &[-value]);
    }
}

/// Makes room for tokens after the first `first` positions of a slot, and stores their digests.
fn compute(
    store: &mut StateStore<'_>,
    slot: usize,
    text: &mut Vec<u32>,
    first: usize,
    tokens: &[u32],
) -> Result<(), OutOfPages> {
    text.truncate(first);
    store.prepare([Room { slot, first, n: tokens.len() }].into_iter())?;
    compute_in_room(store, slot, text, tokens);
    store.commit(slot, tokens.iter().copied().map(Some));
    Ok(())
}

fn found(head: HeadPages<'_>, pages: &[u32], position: usize) -> f32 {
    let HeadElements::F32(elements) = head.elements else { panic!("{head:?}") };
    elements[pages[position / PAGE_LEN] as usize * head.page_len + head.first + position % PAGE_LEN]
}

/// Checks that each slot has the digests of its text, and that each page is either held or free.
fn check(store: &StateStore<'_>, texts: &[Vec<u32>]) {
    let mut held = Vec::new();
    for (slot, text) in texts.iter().enumerate() {
        assert_eq!(store.len(slot), text.len());
        assert_eq!(store.pages(slot).len(), text.len().div_ceil(PAGE_LEN));
        held.extend_from_slice(store.pages(slot));
        for (position, want) in digests(text).enumerate() {
            assert_eq!(found(store.keys(0, 0), store.pages(slot), position), want, "slot {slot}, {position}");
            assert_eq!(found(store.values(0, 0), store.pages(slot), position), -want);
        }
    }
    held.sort_unstable();
    held.dedup();
    assert_eq!(held.len() + store.n_free_pages(), store.options().n_pages);
    assert_eq!(store.n_free_checkpoints(), store.checkpoints.len());
    store.checkpoints.check_shares(texts.len());
}

/// The points to which a slot can return.
#[derive(Debug, Clone, Copy, Default)]
struct Checkpoints {
    made_at: Option<usize>,
    is_planned: bool,
}

impl Checkpoints {
    /// The position at which a slot of `len` positions continues after forgetting those from `to` on.
    fn back(&self, is_recurrent: bool, len: usize, to: usize) -> usize {
        match is_recurrent && to < len {
            true => self.made_at.filter(|&made_at| made_at <= to).unwrap_or(0),
            false => to.min(len),
        }
    }
}

#[test]
fn no_order_of_operations_loses_a_page_or_mixes_texts() {
    for (finds_prefixes, is_recurrent) in [(true, false), (false, false), (true, true), (false, true)] {
        try_operations(finds_prefixes, is_recurrent, 0);
    }
    for n_checkpoints in [1, 12, 20] {
        try_operations(true, true, n_checkpoints);
    }
}

fn try_operations(finds_prefixes: bool, is_recurrent: bool, n_checkpoints: usize) {
    let mut state = 1_u64;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    const N_SLOTS: usize = 5;
    let options = StateOptions {
        n_slots: N_SLOTS,
        n_ctx: 400,
        n_pages: 17,
        kv_type: KvType::F32,
        finds_prefixes,
        n_checkpoints,
        own_checkpoints: true,
    };
    let mut memory = memory(options, is_recurrent);
    let mut store = carve(options, is_recurrent, &mut Arena::new(&mut memory));
    let mut texts = vec![Vec::new(); N_SLOTS];
    let mut checkpoints = [Checkpoints::default(); N_SLOTS];
    let (mut n_reused, mut n_refused, mut n_stopped, mut n_back, mut n_found_back) = (0, 0, 0, 0, 0);
    let (mut n_in_part, mut n_returned) = (0, 0);
    for _ in 0..10_000 {
        let slot = below(N_SLOTS);
        match below(8) {
            // A batch: some more tokens of a small vocabulary, so that texts have common beginnings; or a few tokens
            // that replace the last ones.
            0..=3 => {
                let mut rooms = Vec::new();
                let (mut batch, mut returns) = (Vec::new(), Vec::new());
                for other in slot..N_SLOTS {
                    if other > slot && below(3) > 0 {
                        continue;
                    }
                    let slot = other;
                    let len = texts[slot].len();
                    let (first, most) = match below(4) {
                        0 if is_recurrent => (0, 5),
                        0 => (below(len + 1), 5),
                        _ => (len, options.n_ctx),
                    };
                    let n = below(most.min(options.n_ctx - first) + 1);
                    rooms.push(Room { slot, first, n });
                    // A return point before guesses; the last one may lie beyond the tokens that there are.
                    let after = [below(n + 2), n.saturating_sub(below(5))][below(2)];
                    let is_return_planned = below(4) == 0 && store.plan_return(slot, after);
                    returns.push(is_return_planned.then_some(first + after));
                    let mut token = |i: usize| (i * i % 3) as u32 + below(20) as u32 / 19;
                    batch.push((0..n).map(&mut token).collect::<Vec<_>>());
                    texts[slot].truncate(first);
                }
                if let Err(OutOfPages { n_needed, n_free }) = store.prepare(rooms.iter().copied()) {
                    assert!(n_needed > n_free && n_free == store.n_free_pages());
                    n_refused += 1;
                } else {
                    let is_stopped = below(4) == 0;
                    n_stopped += usize::from(is_stopped);
                    for (Room { slot, first, n }, mut tokens) in rooms.iter().copied().zip(batch) {
                        let of_slot = &mut checkpoints[slot];
                        let is_planned = core::mem::take(&mut of_slot.is_planned);
                        if is_planned || first == 0 {
                            of_slot.made_at = None;
                        }
                        if is_stopped {
                            // Somewhere in the middle.
                            tokens.truncate(below(n + 1));
                            compute_in_room(&mut store, slot, &mut texts[slot], &tokens);
                            store.abandon(slot);
                            // The recurrent state may have been replaced.
                            let own = of_slot.back(is_recurrent, usize::MAX, first);
                            let len = store.len(slot);
                            assert!((own..=first).contains(&len) && (n_checkpoints > 0 || len == own));
                            n_found_back += len - own;
                            of_slot.made_at = of_slot.made_at.filter(|&made_at| made_at <= len);
                            texts[slot].truncate(len);
                        } else {
                            compute_in_room(&mut store, slot, &mut texts[slot], &tokens);
                            store.commit(slot, tokens.iter().copied().map(Some));
                            if is_planned && n > 0 {
                                of_slot.made_at = Some(first + n - 1);
                            }
                        }
                    }
                    for (Room { slot, first, n }, to) in rooms.into_iter().zip(returns) {
                        let Some(place) = to.filter(|&place| !is_stopped && place > 0 && place < first + n)
                        else {
                            continue;
                        };
                        let to = place + below(first + n - place);
                        let back = store.truncate(slot, to);
                        assert!((place..=to).contains(&back), "{place} {back} {to}");
                        let made_at = &mut checkpoints[slot].made_at;
                        *made_at = made_at.filter(|&made_at| made_at <= back);
                        texts[slot].truncate(back);
                        n_returned += 1;
                    }
                }
            }
            4 => {
                store.plan_checkpoint(slot, 1);
                checkpoints[slot].is_planned = true;
            }
            5 => {
                let len = texts[slot].len();
                let made_at = checkpoints[slot].made_at.unwrap_or(0);
                let to = [below(500), (len + 2).saturating_sub(below(5)), made_at][below(3)];
                let own = checkpoints[slot].back(is_recurrent, len, to);
                let back = store.truncate(slot, to);
                assert!((own..=to.min(len)).contains(&back) && (n_checkpoints > 0 || back == own));
                n_found_back += back - own;
                checkpoints[slot].made_at = checkpoints[slot].made_at.filter(|&made_at| made_at <= back);
                n_back += usize::from(back > 0 && back < len);
                texts[slot].truncate(back);
                checkpoints[slot].is_planned &= back > 0;
            }
            6 => {
                let from = below(N_SLOTS);
                store.fork(from, slot);
                texts[slot] = texts[from].clone();
                if from != slot {
                    checkpoints[slot] = Checkpoints { is_planned: false, ..checkpoints[from] };
                }
            }
            // A text that begins like another one.
            _ => {
                let mut text = texts[below(N_SLOTS)].clone();
                text.truncate(below(text.len() + 1));
                text.push(77);
                store.truncate(slot, 0);
                let (n_lacking, n_free) = (store.pages_lacking(slot, &text), store.n_free_pages());
                let len = store.reuse(slot, &text);
                assert!(len < text.len() && n_free - store.n_free_pages() <= n_lacking);
                n_in_part += len % PAGE_LEN;
                text.truncate(len);
                texts[slot] = text;
                n_reused += len;
                checkpoints[slot] = Checkpoints::default();
            }
        }
        check(&store, &texts);
    }
    assert!(n_refused > 100 && n_stopped > 100 && n_back > 10, "{n_refused} {n_stopped} {n_back}");
    assert_eq!(n_reused > 0, finds_prefixes && (!is_recurrent || n_checkpoints > 0));
    assert_eq!(n_in_part > 0, n_reused > 0);
    assert_eq!(n_found_back > 0, n_checkpoints > 0);
    // A single checkpoint is soon taken by a text that ended.
    assert!((n_returned > 100) == (n_checkpoints > 1), "{n_returned}");
    for slot in 0..N_SLOTS {
        store.truncate(slot, 0);
    }
    assert_eq!(store.n_free_pages(), options.n_pages);
}

#[test]
fn a_text_is_found_again_until_its_pages_are_needed() {
    let options = StateOptions {
        n_slots: 2,
        n_ctx: 256,
        n_pages: 5,
        kv_type: KvType::F32,
        finds_prefixes: true,
        n_checkpoints: 0,
        own_checkpoints: true,
    };
    let mut memory = memory(options, false);
    let mut store = carve(options, false, &mut Arena::new(&mut memory));
    let mut texts = [Vec::new(), Vec::new()];
    let tokens: Vec<u32> = (0..200).collect();
    compute(&mut store, 0, &mut texts[0], 0, &tokens).unwrap();
    // The text is found while it exists, as whole pages and a copy of the last one, and after it is gone.
    assert_eq!(store.reuse(1, &[&tokens[..], &[7]].concat()), 200);
    assert_eq!(store.pages(1)[..3], store.pages(0)[..3]);
    assert_ne!(store.pages(1)[3], store.pages(0)[3]);
    texts[1] = tokens.clone();
    check(&store, &texts);
    assert_eq!(store.reuse(1, &[&tokens[..195], &[7; 20]].concat()), 195);
    texts[1].truncate(195);
    check(&store, &texts);
    store.truncate(0, 0);
    assert_eq!(store.reuse(1, &[&tokens[..], &[7]].concat()), 200);
    assert_eq!(store.reuse(1, &tokens), 199, "the last token is left to be computed");
    assert_eq!(store.reuse(1, &tokens[..192]), 191);
    assert_eq!(store.reuse(1, &tokens[..193]), 192);
    // The part that is not shared stays available for others.
    assert_eq!(store.reuse(1, &[&tokens[..100], &[7; 100]].concat()), 100);
    assert_eq!(store.reuse(0, &tokens), 199);
    store.truncate(0, 0);
    store.truncate(1, 0);
    assert_eq!(store.n_free_pages(), 5);
    // Three pages are taken: the two without a known text, and the last of the known ones.
    compute(&mut store, 0, &mut texts[0], 0, &[1; 150]).unwrap();
    assert_eq!(store.reuse(1, &tokens), 128);
    // An input that is not a token is never found, and a page with one exists only while it is held.
    store.truncate(1, 0);
    store.prepare([Room { slot: 1, first: 0, n: 64 }].into_iter()).unwrap();
    store.commit(1, (0..64).map(|i| (i != 5).then_some(2)));
    assert_eq!(store.reuse(0, &[2; 65]), 5);
    store.truncate(0, 0);
    store.truncate(1, 0);
    assert_eq!(store.reuse(0, &[2; 65]), 5);
}

#[test]
fn room_that_cannot_be_made_is_counted_with_the_page_to_be_copied() {
    let options = StateOptions {
        n_slots: 2,
        n_ctx: 256,
        n_pages: 3,
        kv_type: KvType::F32,
        finds_prefixes: false,
        n_checkpoints: 0,
        own_checkpoints: true,
    };
    let mut memory = memory(options, false);
    let mut store = carve(options, false, &mut Arena::new(&mut memory));
    let mut texts = [Vec::new(), Vec::new()];
    compute(&mut store, 0, &mut texts[0], 0, &[1; 100]).unwrap();
    store.fork(0, 1);
    texts[1] = texts[0].clone();
    let rooms = [Room { slot: 1, first: 100, n: 29 }];
    assert_eq!(store.prepare(rooms.into_iter()), Err(OutOfPages { n_needed: 2, n_free: 1 }));
    // If two slots write to the same page, one of them needs a copy.
    let rooms = [Room { slot: 1, first: 100, n: 29 }, Room { slot: 0, first: 100, n: 1 }];
    assert_eq!(store.prepare(rooms.into_iter()), Err(OutOfPages { n_needed: 2, n_free: 1 }));
    compute(&mut store, 1, &mut texts[1], 100, &[2; 28]).unwrap();
    // The other slot is now the only holder of its page.
    compute(&mut store, 0, &mut texts[0], 70, &[3; 58]).unwrap();
    check(&store, &texts);
    assert_eq!(store.n_free_pages(), 0);
}

#[test]
fn a_refused_batch_leaves_each_slot_where_its_positions_were_to_begin() {
    let options = StateOptions {
        n_slots: 3,
        n_ctx: 320,
        n_pages: 5,
        kv_type: KvType::F32,
        finds_prefixes: false,
        n_checkpoints: 0,
        own_checkpoints: true,
    };
    let mut memory = memory(options, false);
    let mut store = carve(options, false, &mut Arena::new(&mut memory));
    let mut texts = [Vec::new(), Vec::new(), Vec::new()];
    compute(&mut store, 0, &mut texts[0], 0, &[1; 100]).unwrap();
    compute(&mut store, 1, &mut texts[1], 0, &[2; 150]).unwrap();
    let rooms = |n| [Room { slot: 0, first: 100, n }, Room { slot: 1, first: 70, n: 1 }];
    assert_eq!(store.prepare(rooms(93).into_iter()), Err(OutOfPages { n_needed: 2, n_free: 1 }));
    texts[1].truncate(70);
    check(&store, &texts);
    // Pages that a later slot forgets are available for an earlier one.
    compute(&mut store, 1, &mut texts[1], 70, &[2; 80]).unwrap();
    assert_eq!(store.n_free_pages(), 0);
    let rooms = [Room { slot: 0, first: 100, n: 92 }, Room { slot: 1, first: 0, n: 1 }];
    store.prepare(rooms.into_iter()).unwrap();
    assert_eq!(store.n_free_pages(), 1);
}

#[test]
fn a_refused_batch_leaves_the_checkpoints_and_the_plans_for_them() {
    let options = StateOptions {
        n_slots: 2,
        n_ctx: 256,
        n_pages: 3,
        kv_type: KvType::F32,
        finds_prefixes: false,
        n_checkpoints: 0,
        own_checkpoints: true,
    };
    let mut memory = memory(options, true);
    let mut store = carve(options, true, &mut Arena::new(&mut memory));
    let mut text = Vec::new();
    store.plan_checkpoint(0, 1);
    compute(&mut store, 0, &mut text, 0, &[1; 50]).unwrap();
    store.plan_checkpoint(0, 1);
    let rooms = |n| [Room { slot: 0, first: 50, n: 7 }, Room { slot: 1, first: 0, n }];
    assert_eq!(store.prepare(rooms(150).into_iter()), Err(OutOfPages { n_needed: 3, n_free: 2 }));
    store.prepare(rooms(128).into_iter()).unwrap();
    compute_in_room(&mut store, 0, &mut text, &[3; 7]);
    store.commit(0, [Some(3); 7].into_iter());
    assert_eq!(store.truncate(0, 56), 56, "the checkpoint that was planned");
    // Without a plan, the existing checkpoint stays.
    store.abandon(1);
    compute(&mut store, 0, &mut text, 56, &[4]).unwrap();
    assert!(store.prepare([Room { slot: 0, first: 57, n: 199 }].into_iter()).is_err());
    assert_eq!((store.len(0), store.truncate(0, 56)), (57, 56));
}

#[test]
fn a_slot_that_becomes_another_text_forgets_that_a_checkpoint_was_planned() {
    let options = StateOptions {
        n_slots: 2,
        n_ctx: 64,
        n_pages: 2,
        kv_type: KvType::F32,
        finds_prefixes: false,
        n_checkpoints: 0,
        own_checkpoints: true,
    };
    let mut memory = memory(options, true);
    let becomes: [fn(&mut StateStore<'_>); 3] =
        [|store| store.fork(1, 0), |store| _ = store.reuse(0, &[1, 2]), |store| _ = store.truncate(0, 0)];
    for (index, become_another) in becomes.into_iter().enumerate() {
        let mut store = carve(options, true, &mut Arena::new(&mut memory));
        store.plan_checkpoint(0, 1);
        become_another(&mut store);
        store.prepare([Room { slot: 0, first: 0, n: 2 }].into_iter()).unwrap();
        assert!(store.recurrent(0, 1).checkpoints.next_due().is_none(), "case {index}");
    }
}

#[test]
#[should_panic(expected = "slot 0 has recurrent layers")]
fn recurrent_layers_cannot_begin_in_the_middle() {
    let options = StateOptions {
        n_slots: 1,
        n_ctx: 64,
        n_pages: 1,
        kv_type: KvType::F32,
        finds_prefixes: false,
        n_checkpoints: 0,
        own_checkpoints: true,
    };
    let mut memory = memory(options, true);
    let mut store = carve(options, true, &mut Arena::new(&mut memory));
    compute(&mut store, 0, &mut Vec::new(), 0, &[1; 50]).unwrap();
    let _ = store.prepare([Room { slot: 0, first: 20, n: 1 }].into_iter());
}

#[test]
fn texts_that_begin_alike_share_pages_though_they_were_computed_at_once() {
    let options = StateOptions {
        n_slots: 3,
        n_ctx: 256,
        n_pages: 8,
        kv_type: KvType::F32,
        finds_prefixes: true,
        n_checkpoints: 0,
        own_checkpoints: true,
    };
    let mut memory = memory(options, false);
    let mut store = carve(options, false, &mut Arena::new(&mut memory));
    let mut texts = [Vec::new(), Vec::new(), Vec::new()];
    let alike: Vec<u32> = (0..128).collect();
    let prompts = [7, 8].map(|last| [&alike[..], &[last; 20]].concat());
    store.prepare([0, 1].map(|slot| Room { slot, first: 0, n: 148 }).into_iter()).unwrap();
    for (slot, prompt) in prompts.iter().enumerate() {
        compute_in_room(&mut store, slot, &mut texts[slot], prompt);
        store.commit(slot, prompt.iter().copied().map(Some));
    }
    check(&store, &texts);
    assert_eq!((store.n_free_pages(), &store.pages(0)[..2]), (4, &store.pages(1)[..2]));
    // After the first text is gone and all free pages are overwritten, the second is still found.
    assert_eq!(store.truncate(0, 0), 0);
    texts[0].clear();
    compute(&mut store, 2, &mut texts[2], 0, &[9; 256]).unwrap();
    compute(&mut store, 0, &mut texts[0], 0, &[10; 64]).unwrap();
    assert_eq!((store.n_free_pages(), store.reuse(0, &prompts[0])), (0, 128));
    texts[0] = alike;
    check(&store, &texts);
}

#[test]
fn recurrent_layers_go_on_from_the_last_checkpoint_of_what_is_known() {
    let options = StateOptions {
        n_slots: 2,
        n_ctx: 256,
        n_pages: 8,
        kv_type: KvType::F32,
        finds_prefixes: true,
        n_checkpoints: 8,
        own_checkpoints: true,
    };
    let mut memory = memory(options, true);
    let mut store = carve(options, true, &mut Arena::new(&mut memory));
    let mut texts = [Vec::new(), Vec::new()];
    let tokens: Vec<u32> = (0..200).collect();
    // Three checkpoints of a batch: after 160, 128 and 96.
    compute(&mut store, 0, &mut texts[0], 0, &tokens[..170]).unwrap();
    assert_eq!(store.reuse(1, &tokens[..150]), 128);
    assert_eq!(store.reuse(1, &tokens[..127]), 96);
    assert_eq!(store.reuse(1, &tokens[..96]), 0, "the last token is left to be computed");
    // The page of the 160th position is not full, and the other slot holds it.
    assert_eq!(store.reuse(1, &tokens), 160);
    texts[1] = tokens[..160].to_vec();
    check(&store, &texts);
    // After a text is gone, its end is found.
    compute(&mut store, 0, &mut texts[0], 170, &tokens[170..180]).unwrap();
    store.truncate(0, 0);
    texts[0].clear();
    assert_eq!(store.reuse(1, &tokens), 180);
    texts[1] = tokens[..180].to_vec();
    // A batch that is broken off returns to it, and a single token makes no checkpoint.
    compute(&mut store, 1, &mut texts[1], 180, &tokens[180..181]).unwrap();
    store.prepare([Room { slot: 1, first: 181, n: 19 }].into_iter()).unwrap();
    assert_eq!(store.n_free_checkpoints(), 7);
    compute_in_room(&mut store, 1, &mut texts[1], &tokens[181..199]);
    store.abandon(1);
    texts[1].truncate(180);
    check(&store, &texts);
    compute(&mut store, 1, &mut texts[1], 180, &tokens[180..]).unwrap();
    assert_eq!(store.truncate(1, 190), 180);
    // A checkpoint is useless without its pages.
    store.truncate(1, 0);
    for slot in 0..2 {
        compute(&mut store, slot, &mut Vec::new(), 0, &[slot as u32 + 300; 256]).unwrap();
    }
    store.truncate(0, 0);
    assert_eq!(store.reuse(0, &tokens), 0);
}
