//! Rearranges a file's weights while they are copied from the disk to their place in memory.
//!
//! [`Packer`] is given the bytes of a GGUF file piece by piece and writes them to their place. Tensors that [`Packing`] covers
//! are packed; everything else is unchanged. Packing does not change sizes, so each tensor keeps its place. In the end
//! [`Packer::finish`] returns the file as [`ModelBytes`].
//!
//! Neighbours: [`super::packing`] defines how a group of rows is packed; the caller reads the file.

use super::{GgmlType, ModelBytes, Packing};
use crate::gguf::{Gguf, TensorInfo};
use crate::parallel::{Workers, for_each_chunk};
use alloc::vec::Vec;
use core::ops::{Deref, Range};

/// How much a core packs before it claims more: small compared to the whole, large compared to the cost of a claim.
const CLAIMED_BYTES: usize = 32 * 1024;

/// Packs a file while it is read.
///
/// [`next_span`](Self::next_span) says what comes next: [`Span::Plain`] can be read directly to its place; [`Span::Packed`] must
/// be read elsewhere and passed to [`write`](Self::write), in pieces of any size.
#[derive(Debug)]
pub struct Packer {
    packing: Option<&'static Packing>,
    /// Tensors still to be packed, in reverse file order; each is removed when it is done.
    places: Vec<Place>,
    /// How many bytes of the file are in their place.
    done_bytes: usize,
    /// The beginning of a group of rows that ends in the next piece.
    cut_group: Vec<u8>,
}

/// A part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Span {
    /// Unchanged.
    Plain(Range<usize>),
    /// Packed, except for some of it.
    Packed(Range<usize>),
}

/// The place of a packed tensor in a file.
#[derive(Debug, Clone, Copy)]
struct Place {
    packing: &'static Packing,
    ty: GgmlType,
    begin: usize,
    end: usize,
    group_bytes: usize,
}

impl Place {
    /// The place of a tensor, if `packing` covers it.
    fn of(gguf: &Gguf<'_>, tensor: &TensorInfo<'_>, packing: &'static Packing) -> Option<Self> {
        let cols = usize::try_from(tensor.dims[0]).ok()?;
        let n_rows = usize::try_from(tensor.n_elements()).ok()?.checked_div(cols)?;
        let begin = usize::try_from(gguf.data_offset().checked_add(tensor.offset)?).ok()?;
        let end = begin.checked_add(usize::try_from(tensor.size_bytes).ok()?)?;
        let group_bytes = tensor.ty.row_bytes(cols)?.checked_mul(packing.rows)?;
        packing.covers(tensor.ty, n_rows).then_some(Self { packing, ty: tensor.ty, begin, end, group_bytes })
    }
}

/// There is no memory for the list of tensors to be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no {needed_bytes} bytes on the heap to rearrange weights")]
pub struct PackError {
    /// The number of bytes requested.
    pub needed_bytes: usize,
}

fn reserve<T>(list: &mut Vec<T>, len: usize) -> Result<(), PackError> {
    let needed_bytes = len.saturating_mul(size_of::<T>());
    list.try_reserve_exact(len).map_err(|_| PackError { needed_bytes })
}

impl Packer {
    /// A packer for the file with this header; the tensors need not be available yet. Without a `packing`, everything stays
    /// unchanged.
    ///
    /// # Errors
    ///
    /// If the heap has no room for the list of tensors and for one group of rows.
    pub fn new(packing: Option<&'static Packing>, gguf: &Gguf<'_>) -> Result<Self, PackError> {
        let mut places = Vec::new();
        if let Some(packing) = packing {
            reserve(&mut places, gguf.tensors().len())?;
            places.extend(gguf.tensors().iter().filter_map(|tensor| Place::of(gguf, tensor, packing)));
        }
        sort::by_key(&mut places, |place| core::cmp::Reverse(place.begin));
        let mut cut_group = Vec::new();
        reserve(&mut cut_group, places.iter().map(|place| place.group_bytes).max().unwrap_or(0))?;
        Ok(Self { packing, places, done_bytes: 0, cut_group })
    }

    /// Whether the rest of the file stays unchanged.
    pub fn packs_nothing(&self) -> bool {
        self.places.is_empty()
    }

    /// How many bytes of the file have been processed.
    pub fn done_bytes(&self) -> usize {
        self.done_bytes
    }

    /// The next part of a file of `file_bytes`: at least `worthwhile_bytes` that stay unchanged, or everything up to the next
    /// such run of bytes. `None` at the end.
    pub fn next_span(&self, worthwhile_bytes: usize, file_bytes: usize) -> Option<Span> {
        let begin = self.done_bytes;
        if begin >= file_bytes {
            return None;
        }
        let mut end = begin;
        for place in self.places.iter().rev() {
            if place.begin.saturating_sub(end) >= worthwhile_bytes {
                let plain = Span::Plain(begin..place.begin.min(file_bytes));
                return Some(if end == begin { plain } else { Span::Packed(begin..end) });
            }
            end = place.end.min(file_bytes);
        }
        Some(match file_bytes - end {
            plain_bytes if plain_bytes < worthwhile_bytes => Span::Packed(begin..file_bytes),
            _ if end == begin => Span::Plain(begin..file_bytes),
            _ => Span::Packed(begin..end),
        })
    }

    /// Notes that the next `n_bytes`, part of a [`Span::Plain`], have been read to their place.
    ///
    /// # Panics
    ///
    /// If fewer than `n_bytes` come before the next packed tensor.
    pub fn skip_plain(&mut self, n_bytes: usize) {
        assert!(n_bytes <= self.plain_bytes(n_bytes), "packed weights among {n_bytes} plain bytes");
        self.done_bytes += n_bytes;
    }

    /// How many of the next `n_bytes` stay unchanged before a packed tensor begins.
    fn plain_bytes(&self, n_bytes: usize) -> usize {
        self.places.last().map_or(n_bytes, |place| n_bytes.min(place.begin.saturating_sub(self.done_bytes)))
    }

    /// Takes the next bytes and writes them to their place in `file`, which holds the whole file.
    ///
    /// # Panics
    ///
    /// If `file` is too short.
    pub fn write(&mut self, workers: &dyn Workers, piece: &[u8], file: &mut [u8]) {
        let mut piece = piece;
        while !piece.is_empty() {
            let plain_bytes = self.plain_bytes(piece.len());
            let n_bytes = match self.places.last() {
                Some(&place) if plain_bytes == 0 => self.write_packed(workers, place, piece, file),
                _ => {
                    let file = &mut file[self.done_bytes..][..plain_bytes];
                    for_each_chunk(workers, file, CLAIMED_BYTES, |index, copied| {
                        copied.copy_from_slice(&piece[index * CLAIMED_BYTES..][..copied.len()]);
                    });
                    plain_bytes
                }
            };
            piece = &piece[n_bytes..];
            self.done_bytes += n_bytes;
            self.places.pop_if(|place| place.end == self.done_bytes);
        }
    }

    /// The file, which is now complete in `bytes`; the result records that it is packed.
    ///
    /// # Panics
    ///
    /// If a part of the file is not in its place yet.
    pub fn finish<B: Deref<Target = [u8]>>(self, bytes: B) -> ModelBytes<B> {
        assert_eq!(self.done_bytes, bytes.len(), "bytes of the file that are in their place, and all");
        ModelBytes::packed(bytes, self.packing)
    }

    /// Takes bytes of a packed tensor and returns how many.
    fn write_packed(&mut self, workers: &dyn Workers, place: Place, piece: &[u8], file: &mut [u8]) -> usize {
        let Place { packing, ty, end, group_bytes, .. } = place;
        let begin = self.done_bytes;
        let whole_groups = piece.len().min(end - begin) / group_bytes * group_bytes;
        if self.cut_group.is_empty() && whole_groups > 0 {
            let claimed_bytes = group_bytes * (CLAIMED_BYTES / group_bytes).max(1);
            let file = &mut file[begin..begin + whole_groups];
            for_each_chunk(workers, file, claimed_bytes, |index, packed| {
                let plain = &piece[index * claimed_bytes..];
                for (plain, packed) in
                    plain.chunks_exact(group_bytes).zip(packed.chunks_exact_mut(group_bytes))
                {
                    packing.pack_group(ty, plain, packed);
                }
            });
            return whole_groups;
        }
        let (head, _) = piece.split_at(piece.len().min(group_bytes - self.cut_group.len()));
        self.cut_group.extend_from_slice(head);
        if self.cut_group.len() == group_bytes {
            let group_end = begin + head.len();
            packing.pack_group(ty, &self.cut_group, &mut file[group_end - group_bytes..group_end]);
            self.cut_group.clear();
        }
        head.len()
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::gguf::GgufWriter;
    use crate::parallel::Serial;
    use crate::quant::Matrix;
    use std::{string::ToString, vec, vec::Vec};

    static PACKING: Packing = Packing {
        name: "test",
        rows: 8,
        signed_nibbles: true,
        unsigned_bytes: false,
        fast_pack: None,
        types: &[GgmlType::Q4_0, GgmlType::Q8_0],
    };

    /// Some tensors that are packed, and some that are not because of their type or their number of rows.
    const TENSORS: [(&str, GgmlType, [u64; 2]); 7] = [
        ("a", GgmlType::F32, [10, 3]),
        ("b", GgmlType::Q4_0, [96, 40]),
        ("c", GgmlType::Q8_0, [32, 8]),
        ("d", GgmlType::Q4_0, [64, 12]),
        ("e", GgmlType::F16, [50, 30]),
        ("f", GgmlType::Q8_0, [64, 16]),
        ("g", GgmlType::F32, [33, 1]),
    ];

    fn file() -> Vec<u8> {
        let mut random = oorandom::Rand32::new(3);
        let mut writer = GgufWriter::new();
        for (name, ty, dims) in TENSORS {
            writer.declare_tensor(name, ty, &dims).unwrap();
        }
        let mut file = Vec::new();
        let write = |bytes: &[u8]| {
            file.extend_from_slice(bytes);
            Ok::<(), core::fmt::Error>(())
        };
        let mut tensors = writer.write_header(write).unwrap();
        for (_, ty, [cols, rows]) in TENSORS {
            let bytes = ty.row_bytes(cols as usize).unwrap() * rows as usize;
            let weights: Vec<u8> = (0..bytes).map(|_| random.rand_u32() as u8).collect();
            tensors.write(&weights).unwrap();
        }
        tensors.finish().unwrap();
        file
    }

    /// `file` with every group of rows packed.
    fn packed(file: &[u8]) -> Vec<u8> {
        let gguf = Gguf::parse(file, file.len() as u64).unwrap();
        let mut packed = file.to_vec();
        for tensor in gguf.tensors() {
            let data = gguf.tensor_data(tensor).unwrap();
            let begin = data.as_ptr().addr() - file.as_ptr().addr();
            let cols = tensor.dims[0] as usize;
            let rows = data.len() / tensor.ty.row_bytes(cols).unwrap();
            if PACKING.covers(tensor.ty, rows) {
                let group_bytes = tensor.ty.row_bytes(cols).unwrap() * PACKING.rows;
                let to = packed[begin..begin + data.len()].chunks_exact_mut(group_bytes);
                for (plain, packed) in data.chunks_exact(group_bytes).zip(to) {
                    PACKING.pack_group(tensor.ty, plain, packed);
                }
            }
        }
        packed
    }

    #[test]
    fn pieces_of_any_length_make_the_packed_file() {
        let file = file();
        let want = packed(&file);
        assert_ne!(file, want);
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        for piece_bytes in [1, 7, 100, 144, 1000, 4096, file.len()] {
            let mut packer = Packer::new(Some(&PACKING), &gguf).unwrap();
            let mut got = vec![0; file.len()];
            for piece in file.chunks(piece_bytes) {
                packer.write(&Serial, piece, &mut got);
            }
            assert!(packer.done_bytes() == file.len() && packer.packs_nothing());
            assert!(got == want, "pieces of {piece_bytes} bytes");
        }
    }

    #[test]
    fn plain_bytes_can_be_read_to_their_place() {
        let file = file();
        let want = packed(&file);
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        for (worthwhile_bytes, n_spans) in [(1, 7), (130, 5), (1000, 3), (usize::MAX, 1)] {
            let mut packer = Packer::new(Some(&PACKING), &gguf).unwrap();
            let mut got = vec![0; file.len()];
            let mut spans = Vec::new();
            while let Some(span) = packer.next_span(worthwhile_bytes, file.len()) {
                match span.clone() {
                    Span::Plain(range) => {
                        got[range.clone()].copy_from_slice(&file[range.clone()]);
                        packer.skip_plain(range.len());
                    }
                    Span::Packed(range) => {
                        for piece in file[range].chunks(333) {
                            packer.write(&Serial, piece, &mut got);
                        }
                    }
                }
                spans.push(span);
            }
            assert!(got == want, "{worthwhile_bytes}");
            assert_eq!(spans.len(), n_spans, "{worthwhile_bytes}: {spans:?}");
        }
    }

    #[test]
    fn packed_weights_are_those_of_the_file() {
        let file =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../../test_models/tiny.gguf")).unwrap();
        let plain = Gguf::parse(&file, file.len() as u64).unwrap();
        for packing in crate::simd::Kernels::available().filter_map(crate::simd::Kernels::packing) {
            let mut packer = Packer::new(Some(packing), &plain).unwrap();
            let mut rearranged = vec![0; file.len()];
            packer.write(&Serial, &file, &mut rearranged);
            let packed = packer.finish(rearranged);
            assert_eq!(packed.packing(), Some(packing));
            let mut n_packed = 0;
            for tensor in plain.tensors() {
                let (cols, rows) = (tensor.dims[0] as usize, (tensor.n_elements() / tensor.dims[0]) as usize);
                let data = plain.tensor_data_in(tensor, packed.borrow().bytes()).unwrap();
                let of_packed = Matrix::new(tensor.ty, rows, cols, data).unwrap().packed(packed.packing());
                let data = plain.tensor_data(tensor).unwrap();
                let of_plain = Matrix::new(tensor.ty, rows, cols, data).unwrap();
                n_packed += usize::from(of_packed.packing().is_some());
                let (mut want, mut got) = (vec![0.0; cols], vec![0.0; cols]);
                for row in 0..rows {
                    of_plain.dequantize_row(row, &mut want);
                    of_packed.dequantize_row(row, &mut got);
                    assert_eq!(want, got, "{} row {row}", tensor.name);
                }
            }
            assert!(n_packed > 40, "{n_packed} tensors packed");
        }
    }

    #[test]
    #[should_panic(expected = "packed weights among")]
    fn packed_weights_are_not_skipped() {
        let file = file();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let mut packer = Packer::new(Some(&PACKING), &gguf).unwrap();
        packer.skip_plain(file.len());
    }

    #[test]
    #[should_panic(expected = "in their place, and all")]
    fn a_file_of_which_a_piece_is_missing_is_not_packed() {
        let file = file();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let mut packer = Packer::new(Some(&PACKING), &gguf).unwrap();
        let mut got = vec![0; file.len()];
        packer.write(&Serial, &file[..file.len() - 1], &mut got);
        packer.finish(got);
    }

    #[test]
    fn no_memory_is_an_error_with_its_size() {
        assert!(PackError { needed_bytes: 12345 }.to_string().contains("12345"));
    }
}
