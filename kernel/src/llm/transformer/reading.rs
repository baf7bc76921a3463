//! Reads a model's weights from a disk into memory, and packs them on the way.
//!
//! Weights that are packed are read into a buffer, from which all cores pack them to their place while the disk already reads
//! what follows. Weights that stay as they are go directly to their place.

use core::ops::{ControlFlow, Range};

use llm::{
    parallel::Workers,
    quant::{Packer, Span},
};

use crate::{
    llm::{BackendError, Progress},
    storage::Disks,
};

/// The most of the buffer that is used. With less, the disk would get more requests; with more, the data would not stay in the
/// caches between reading and packing.
const BUFFER_BYTES: usize = 8 << 20;

/// Unpacked weights shorter than this also go through the buffer: a read of their own would take longer than copying them.
const WORTHWHILE_BYTES: usize = 1 << 20;

/// Length of one read; the keyboard is checked between reads.
const PLAIN_BYTES: usize = 64 << 20;

/// Reads the files of a model into memory, one after another.
pub(super) struct Reader<'r> {
    /// Created from the model's header; can [finish](Packer::finish) after the last file has been read.
    pub packer: &'r mut Packer,
    /// Buffer for what is packed: at least [`MIN_PIECES_BYTES`](crate::storage::MIN_PIECES_BYTES) long.
    pub buffer: &'r mut [u8],
    pub workers: &'r dyn Workers,
    pub clock_us: fn() -> u64,
    pub progress: &'r mut dyn FnMut(Progress) -> ControlFlow<()>,
    /// When reading the first file began.
    pub start_us: u64,
}

impl Reader<'_> {
    /// Fills `place`, a range of the `weights` of all files, with the beginning of the file on the disk `disks[disk]`. Files must
    /// be read in the order of their places.
    ///
    /// # Errors
    /// If the disk fails or `progress` breaks off; the weights are then useless.
    ///
    /// # Panics
    /// If the buffer is too short, or the place lies before that of a file that was already read.
    pub fn read(
        &mut self,
        disks: &mut Disks,
        disk: usize,
        place: Range<u64>,
        weights: &mut [u8],
    ) -> Result<(), BackendError> {
        let Self { packer, buffer, workers, clock_us, progress, start_us } = self;
        let buffer_bytes = buffer.len().min(BUFFER_BYTES);
        let buffer = &mut buffer[..buffer_bytes];
        let total_bytes = weights.len() as u64;
        let mut report = |done_bytes: usize| {
            let elapsed_us = clock_us().saturating_sub(*start_us);
            progress(Progress { done_bytes: done_bytes as u64, total_bytes, elapsed_us })
        };
        // The weights have this length, so the numbers fit into addresses. The gap between two files is unused.
        let (begin, file_end) = (place.start as usize, place.end as usize);
        packer.skip_plain(begin - packer.done_bytes());
        // Files that are checked always go through the buffer, so that the disk reads on during the check.
        let worthwhile_bytes = if disks[disk].seal().is_some() { usize::MAX } else { WORTHWHILE_BYTES };
        let mut end = ControlFlow::Continue(());
        while end.is_continue()
            && let Some(span) = packer.next_span(worthwhile_bytes, file_end)
        {
            match span {
                Span::Plain(range) => {
                    let range = range.start..range.end.min(range.start + PLAIN_BYTES);
                    let n_bytes = range.len();
                    let read = disks.read_at(disk, (range.start - begin) as u64, &mut weights[range]);
                    read.map_err(|error| BackendError::of_disk(&disks[disk], error))?;
                    packer.skip_plain(n_bytes);
                    end = report(packer.done_bytes());
                }
                Span::Packed(range) => {
                    let range = (range.start - begin) as u64..(range.end - begin) as u64;
                    let read = disks.read_pieces(disk, range, buffer, &mut |piece| {
                        packer.write(*workers, piece, weights);
                        end = report(packer.done_bytes());
                        end
                    });
                    read.map_err(|error| BackendError::of_disk(&disks[disk], error))?;
                }
            }
        }
        match end {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(BackendError::Cancelled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        llm::{fixtures, host},
        storage::{BlockDevice, Disk, FaultyDisk, MIN_PIECES_BYTES, MemoryDisk, ReadError},
    };
    use llm::{gguf::Gguf, parallel::Serial, simd::Kernels};
    use std::{boxed::Box, vec, vec::Vec};

    fn packer(file: &[u8]) -> Packer {
        let gguf = Gguf::parse(file, file.len() as u64).unwrap();
        Packer::new(Kernels::detect().packing(), &gguf).unwrap()
    }

    fn disk(device: impl BlockDevice + 'static) -> Disks {
        let device: Box<dyn BlockDevice> = Box::new(device);
        vec![Disk::new(0, device, None)].into()
    }

    fn read(
        disk: &mut Disks,
        file: &[u8],
        buffer_bytes: usize,
        progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<Vec<u8>, BackendError> {
        let (mut weights, mut buffer) = (vec![0; file.len()], vec![0; buffer_bytes]);
        let mut packer = packer(file);
        let clock_us = host::clock_us;
        let (packer_of_all, buffer) = (&mut packer, &mut buffer[..]);
        let start_us = clock_us();
        let mut reader =
            Reader { packer: packer_of_all, buffer, workers: &Serial, clock_us, progress, start_us };
        reader.read(disk, 0, 0..file.len() as u64, &mut weights)?;
        Ok(packer.finish(weights).holder().clone())
    }

    #[test]
    fn weights_are_packed_through_a_buffer_of_any_length() {
        let file = fixtures::tiny();
        let mut want = vec![0; file.len()];
        packer(&file).write(&Serial, &file, &mut want);
        for buffer_bytes in [MIN_PIECES_BYTES, 100_000, 2 * file.len()] {
            let mut disk = disk(MemoryDisk::new("s", file.clone()));
            let mut done_bytes = vec![0];
            let weights = read(&mut disk, &file, buffer_bytes, &mut |progress| {
                assert_eq!(progress.total_bytes, file.len() as u64);
                done_bytes.push(progress.done_bytes);
                ControlFlow::Continue(())
            });
            assert!(weights.unwrap() == want, "through {buffer_bytes} bytes");
            assert!(done_bytes.is_sorted() && done_bytes.last() == Some(&(file.len() as u64)));
        }
    }

    #[test]
    fn a_disk_that_fails_in_the_middle_is_an_error_of_that_place() {
        let file = fixtures::tiny();
        let bad_byte = file.len() as u64 / 2;
        let mut disk = disk(FaultyDisk::new(MemoryDisk::new("s", file.clone()), bad_byte..bad_byte + 1));
        let failed = read(&mut disk, &file, 100_000, &mut |progress| {
            assert!(progress.done_bytes <= bad_byte);
            ControlFlow::Continue(())
        });
        match failed {
            Err(BackendError::Read { disk: 0, error: ReadError::Device { offset_bytes, length_bytes } }) => {
                assert!((offset_bytes..offset_bytes + length_bytes as u64).contains(&bad_byte));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_load_can_be_stopped_between_two_pieces() {
        let file = fixtures::tiny();
        let mut disk = disk(MemoryDisk::new("s", file.clone()));
        let mut n_pieces = 0;
        let stopped = read(&mut disk, &file, 100_000, &mut |_| {
            n_pieces += 1;
            if n_pieces == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(stopped, Err(BackendError::Cancelled)));
        assert_eq!(n_pieces, 3);
    }
}
