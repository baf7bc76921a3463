//! Files with a few things changed at random, in whatever part of the file.

use alloc::vec::Vec;

use crate::file::{File, Tensor};

/// A good file, taken apart, of which changed copies are made.
#[derive(Debug, Clone)]
pub struct Mutator {
    file: File,
}

/// Numbers that are at an end of something.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    3,
    7,
    31,
    33,
    256,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    1 << 40,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];
/// Floats that are at an end of something.
const FLOATS: [f32; 8] = [0.0, -0.0, -1.0, 1e-45, 1e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
/// Beyond the last type of tensors that there is.
const N_TENSOR_TYPES: u64 = 42;
/// Beyond the last type of values.
const N_VALUE_TYPES: u64 = 14;
const F32: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// Where random numbers come from.
struct Dice<'r>(&'r mut dyn FnMut() -> u64);

impl Dice<'_> {
    /// From 0 to below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        ((self.0)() % (end as u64).max(1)) as usize
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// A number that is suspicious, close to `known`, or any.
    fn number(&mut self, known: u64) -> u64 {
        match self.below(8) {
            0..4 => self.pick(&NUMBERS),
            4 => known.wrapping_add(1),
            5 => known.wrapping_sub(1),
            6 => known.wrapping_mul(2),
            _ => (self.0)() >> self.below(64),
        }
    }
}

impl Mutator {
    /// Takes a good file apart.
    ///
    /// # Panics
    /// If it is none, or its alignment is not the usual one.
    pub fn new(good: &[u8]) -> Self {
        Self { file: File::parse(good) }
    }

    /// A copy with one to three things changed, chosen by the numbers that `random` gives: the same copy for the same numbers.
    pub fn mutated(&self, random: &mut dyn FnMut() -> u64) -> Vec<u8> {
        let (mut file, mut dice) = (self.file.clone(), Dice(random));
        for _ in 0..=dice.below(3) {
            match dice.below(16) {
                0..6 => change_metadata(&mut file, &mut dice),
                6..11 => change_tensor(&mut file, &mut dice),
                11..13 => change_data(&mut file.data, &mut dice),
                13 => change_counts(&mut file, &mut dice),
                _ => {
                    let mut bytes = file.bytes();
                    change_bytes(&mut bytes, &mut dice);
                    return bytes;
                }
            }
        }
        file.bytes()
    }
}

fn change_metadata(file: &mut File, dice: &mut Dice<'_>) {
    let (at, other) = (dice.below(file.metadata.len()), dice.below(file.metadata.len()));
    let copy = file.metadata.get(other).cloned();
    let (Some(entry), Some(copy)) = (file.metadata.get_mut(at), copy) else { return };
    match dice.below(12) {
        0 => drop(file.metadata.remove(at)),
        1 => file.metadata.push(copy),
        2 => entry.key = copy.key,
        3 => (entry.ty, entry.value) = (copy.ty, copy.value),
        4 => entry.ty = dice.below(N_VALUE_TYPES as usize) as u32,
        5 => entry.key_len_error = dice.number(0),
        6 => change_bytes(&mut entry.value, dice),
        _ => match entry.ty {
            F32 => entry.value = dice.pick(&FLOATS).to_le_bytes().into(),
            STRING => change_number(&mut entry.value, 0, 8, dice),
            // The type of the elements, then how many.
            ARRAY if dice.below(3) == 0 => change_number(&mut entry.value, 0, 4, dice),
            ARRAY if dice.below(2) == 0 => change_number(&mut entry.value, 4, 8, dice),
            ARRAY => {
                let place = 12 + dice.below(entry.value.len().saturating_sub(16));
                change_number(&mut entry.value, place, 4, dice);
            }
            _ => change_number(&mut entry.value, 0, 8, dice),
        },
    }
}

/// Puts another number in the place of up to `n_bytes` bytes at `at`.
fn change_number(bytes: &mut [u8], at: usize, n_bytes: usize, dice: &mut Dice<'_>) {
    let Some(field) = bytes.get_mut(at..) else { return };
    let n_bytes = n_bytes.min(field.len()).min(8);
    let known = field[..n_bytes].iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte));
    field[..n_bytes].copy_from_slice(&dice.number(known).to_le_bytes()[..n_bytes]);
}

fn change_tensor(file: &mut File, dice: &mut Dice<'_>) {
    let (at, other) = (dice.below(file.tensors.len()), dice.below(file.tensors.len()));
    let Some(copy) = file.tensors.get(other).cloned() else { return };
    let Tensor { name, name_len_error, n_dims_error, dims, ty, offset } = &mut file.tensors[at];
    let dim = dice.below(dims.len());
    match dice.below(14) {
        0 => drop(file.tensors.remove(at)),
        1 => file.tensors.push(copy),
        2 => *name = copy.name,
        3 => change_bytes(name, dice),
        4 => *name_len_error = dice.number(0),
        5 => *n_dims_error = dice.number(0) as u32,
        6 => dims.reverse(),
        7 => dims.push(dice.number(1)),
        8 => *dims = copy.dims,
        9 | 10 => *ty = dice.below(N_TENSOR_TYPES as usize) as u32,
        11 => *offset = if dice.below(2) == 0 { copy.offset } else { dice.number(*offset) },
        _ => {
            if let Some(dim) = dims.get_mut(dim) {
                *dim = dice.number(*dim);
            }
        }
    }
}

/// Weights, whatever they are of.
fn change_data(data: &mut [u8], dice: &mut Dice<'_>) {
    let start = dice.below(data.len()) / 4 * 4;
    let end = (start + 1 + dice.below(4096)).min(data.len());
    match dice.below(4) {
        0 => data[start..end].fill(0xff),
        1 => data[start..end].fill(0),
        // Not a number, where it is of floats.
        2 => data[start..end]
            .iter_mut()
            .zip(f32::NAN.to_le_bytes().iter().cycle())
            .for_each(|(byte, &nan)| *byte = nan),
        _ => data[start..end].iter_mut().for_each(|byte| *byte = dice.below(256) as u8),
    }
}

fn change_counts(file: &mut File, dice: &mut Dice<'_>) {
    match dice.below(6) {
        0 => file.version = dice.number(3) as u32,
        1 => file.magic[dice.below(4)] ^= 1 << dice.below(8),
        2 | 3 => file.tensor_count_error = dice.number(0),
        _ => file.metadata_count_error = dice.number(0),
    }
}

/// Bytes, whatever they are: changed, left out, there twice, or cut off.
fn change_bytes(bytes: &mut Vec<u8>, dice: &mut Dice<'_>) {
    if bytes.is_empty() {
        return;
    }
    // Most of a file is weights, of which none says anything of the others.
    let reach = if dice.below(4) == 0 { bytes.len() } else { bytes.len().min(8192) };
    let at = dice.below(reach);
    let end = (at + 1 + dice.below(64)).min(bytes.len());
    match dice.below(6) {
        0 => bytes[at] = dice.below(256) as u8,
        1 => bytes[at] ^= 1 << dice.below(8),
        2 => change_number(bytes, at, 8, dice),
        3 => drop(bytes.drain(at..end)),
        4 => bytes.extend_from_within(at..end),
        _ => bytes.truncate(at),
    }
}
