//! A model in memory, ready to run.
//!
//! The vocabulary and the weights borrow from the region that the disk filled; the runner borrows from a second region, which it
//! writes to. [`LoadedModel`] keeps them together (crate `self_cell`) and frees both regions when it is dropped.

use alloc::vec::Vec;
use core::ops::Range;

use llm::{
    SMALL_BLOCK_BYTES,
    front::{FrontError, MAX_WAITING, Prompter, Responder, options::MAX_SPECULATED},
    gguf::Gguf,
    kv_cache::KvType,
    model::{Config, Model},
    parallel::Limited,
    quant::{ModelBytes, Precision},
    scheduler::Scheduler,
    session::{Runner, RunnerOptions},
    simd::Kernels,
    state::StateOptions,
};
use self_cell::{MutBorrow, self_cell};

use crate::llm::{BackendError, ModelMemory, Occupancy};
use crate::memory::pool::{Footprint, GRANULE_BYTES, OutOfMemory, Pool, Region, Shortage};

self_cell!(
    struct Cell {
        owner: Regions,

        #[covariant]
        dependent: Responder,
    }
);

struct Regions {
    weights: ModelBytes<Region>,
    memory: MutBorrow<Region>,
    /// The range of the pool that `memory` occupies.
    memory_footprint: Footprint,
    /// Where the file, or each part of a split model, lies within the weights.
    places: Vec<Range<u64>>,
    engine: Engine,
}

/// What computes, and how.
#[derive(Clone, Copy)]
pub(super) struct Engine {
    pub kernels: &'static Kernels,
    pub workers: Limited<'static>,
    pub kv_type: KvType,
    pub precision: Precision,
    /// Texts that are computed together.
    pub n_slots: usize,
    /// Whether fewer texts are acceptable if there is no room for that many.
    pub may_have_fewer_slots: bool,
}

/// Tokens of a prompt that are computed at once: the first of these numbers whose scratch fits into [`SCRATCH_BYTES`], or else
/// the last. With fewer tokens, the engine could not share all the work that it can share between tokens.
const PROMPT_BATCHES: [usize; 3] = [512, 256, 128];

/// The limit on scratch when choosing the number of tokens: 32 MB, minus 6 MB for the image, the heap, page tables and the stacks
/// of eight cores, minus a small reserve.
const SCRATCH_BYTES: usize = 25_000_000;

/// The options of a runner with this state. A prompt is computed in large batches as long as scratch stays small. An encoder
/// takes its whole text at once and has an output for each token.
pub(super) fn runner_options(config: &Config, state: StateOptions, engine: &Engine) -> RunnerOptions {
    let (StateOptions { n_ctx, n_slots, .. }, precision) = (state, engine.precision);
    if config.is_encoder() {
        return RunnerOptions { state, n_batch: n_ctx, n_logits: n_ctx, precision };
    }
    let with_batch = |n_batch: usize| {
        let n_batch = n_batch.min(n_ctx.saturating_mul(n_slots)).max(n_slots);
        RunnerOptions { state, n_batch, n_logits: n_batch.min(n_slots + MAX_SPECULATED), precision }
    };
    // Creating a runner reports options that do not suit the model.
    let is_small = |options: &RunnerOptions| {
        Runner::scratch_bytes(config, options).is_ok_and(|bytes| bytes <= SCRATCH_BYTES)
    };
    let [.., least] = PROMPT_BATCHES;
    PROMPT_BATCHES.into_iter().map(with_batch).find(is_small).unwrap_or_else(|| with_batch(least))
}

impl Cell {
    fn make(regions: Regions, options: RunnerOptions) -> Result<Self, BackendError> {
        // Allocating the cell cannot fail gracefully, so check that there is room.
        let needed_bytes = size_of::<(Regions, Responder<'_>)>() + SMALL_BLOCK_BYTES;
        let mut probe: Vec<u8> = Vec::new();
        probe.try_reserve_exact(needed_bytes).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
        drop(probe);
        Self::try_new(regions, |regions| {
            let Engine { kernels, ref workers, .. } = regions.engine;
            let file = regions.weights.borrow();
            let gguf = Gguf::parse_at(file.bytes(), &regions.places)?;
            let model = Model::load(&gguf, file)?;
            let prompter = Prompter::new(gguf)?;
            let runner = Runner::new(model, options, kernels, workers, regions.memory.borrow_mut())?;
            Ok(Responder::new(prompter, runner, MAX_WAITING)?)
        })
    }
}

/// Weights, vocabulary and runner, stored in two regions of the pool.
pub(super) struct LoadedModel(Cell);

impl LoadedModel {
    /// Makes a model ready to run. Its files lie at `places` in `weights`; cache and scratch go into `memory`.
    ///
    /// # Panics
    /// If the weights have been packed for a set of inner loops other than the engine's.
    pub fn load(
        weights: ModelBytes<Region>,
        memory: Region,
        places: Vec<Range<u64>>,
        options: RunnerOptions,
        engine: Engine,
    ) -> Result<Self, BackendError> {
        let memory_footprint = memory.footprint();
        let regions = Regions { weights, memory: MutBorrow::new(memory), memory_footprint, places, engine };
        Cell::make(regions, options).map(Self)
    }

    /// Gives the model another runner. If that fails, the returned model has its old runner again, and the inner error says why.
    ///
    /// # Errors
    /// If not even the old runner could be recreated; the model is then gone.
    pub fn with_runner(
        mut self,
        options: RunnerOptions,
        engine: Engine,
        pool: &'static Pool,
    ) -> Result<(Self, Result<(), BackendError>), BackendError> {
        let n_ctx = options.state.n_ctx;
        let required_bytes = match Runner::required_bytes(self.config(), &options) {
            Ok(bytes) => bytes,
            Err(error) => return Ok((self, Err(error.into()))),
        };
        let (adapters, usual) = self.with_responder(|responder| responder.take_adapters())?;
        let old_options = *self.runner_options();
        let old_bytes = self.session_footprint().size_bytes();
        let mut regions = self.0.into_owner();
        // The old memory is freed first, since there may not be room for both.
        regions.give_back_memory(pool)?;
        let (options, resized) = match regions.take_memory(required_bytes, pool) {
            Ok(()) => {
                regions.engine = engine;
                (options, Ok(()))
            }
            Err(error) => {
                regions
                    .take_memory(old_bytes, pool)
                    .map_err(|error| regions.refused(old_options.state.n_ctx, error))?;
                (old_options, Err(regions.refused(n_ctx, error)))
            }
        };
        let mut model = Self(Cell::make(regions, options)?);
        if !adapters.is_empty() {
            model.with_responder(|responder| responder.set_adapters(adapters, usual))?;
        }
        Ok((model, resized))
    }

    /// Calls a function with the model's responder.
    pub fn with_responder<R>(
        &mut self,
        work: impl FnOnce(&mut Responder<'_>) -> Result<R, FrontError>,
    ) -> Result<R, BackendError> {
        Ok(self.0.with_dependent_mut(|_, responder| work(responder))?)
    }

    /// See [`Responder::set_usual_scales`].
    pub fn set_usual_scales(&mut self, usual: &[f32]) {
        self.0.with_dependent_mut(|_, responder| responder.set_usual_scales(usual));
    }

    /// The responder, which answers requests.
    pub fn responder(&self) -> &Responder<'_> {
        self.0.borrow_dependent()
    }

    /// The hyper-parameters.
    pub fn config(&self) -> &Config {
        self.responder().runner().model().config()
    }

    /// The options that the runner was created with.
    pub fn runner_options(&self) -> &RunnerOptions {
        self.responder().runner().options()
    }

    /// The engine settings.
    pub fn engine(&self) -> &Engine {
        &self.0.borrow_owner().engine
    }

    /// Whether the weights are packed for these kernels.
    pub fn is_packed_for(&self, kernels: &Kernels) -> bool {
        self.0.borrow_owner().weights.packing() == kernels.packing()
    }

    /// Whether the runner was created with `options` and uses `engine`.
    pub fn runs_like(&self, options: &RunnerOptions, engine: &Engine) -> bool {
        let own = self.engine();
        let computes_alike =
            own.kernels.name() == engine.kernels.name() && own.workers.most() == engine.workers.most();
        computes_alike && self.runner_options() == options
    }

    /// Requests that have not ended yet.
    pub fn n_requests(&self) -> usize {
        self.responder().n_requests()
    }

    /// Bytes of the file that were read.
    pub fn file_bytes(&self) -> usize {
        self.0.borrow_owner().weights.holder().len()
    }

    /// The range of the pool that the file occupies.
    pub fn weights_footprint(&self) -> Footprint {
        self.0.borrow_owner().weights.holder().footprint()
    }

    /// The range of the pool that cache and scratch occupy.
    pub fn session_footprint(&self) -> Footprint {
        self.0.borrow_owner().memory_footprint
    }

    /// How much of its room for texts is in use.
    pub fn occupancy(&self) -> Occupancy {
        let occupancy = |scheduler: &Scheduler<'_>| Occupancy {
            n_running: scheduler.n_running(),
            n_waiting: scheduler.n_waiting(),
            n_used_pages: scheduler.n_used_pages(),
            n_pages: scheduler.n_pages(),
        };
        occupancy(self.responder().scheduler())
    }

    /// The memory of the pool that it uses.
    pub fn memory(&self) -> ModelMemory {
        let session_bytes = self.session_footprint().size_bytes();
        // The runner was created with these options, so they are valid.
        let scratch_bytes = Runner::scratch_bytes(self.config(), self.runner_options()).unwrap_or(0);
        ModelMemory {
            weights_bytes: self.weights_footprint().size_bytes(),
            state_bytes: session_bytes.saturating_sub(scratch_bytes),
            scratch_bytes,
        }
    }
}

impl Regions {
    fn give_back_memory(&mut self, pool: &'static Pool) -> Result<(), BackendError> {
        let nothing = pool.reserve(0, GRANULE_BYTES).map_err(BackendError::NoBuffer)?;
        self.memory = MutBorrow::new(nothing);
        Ok(())
    }

    fn take_memory(&mut self, size_bytes: usize, pool: &'static Pool) -> Result<(), OutOfMemory> {
        let memory = pool.reserve(size_bytes, GRANULE_BYTES)?;
        self.memory_footprint = memory.footprint();
        self.memory = MutBorrow::new(memory);
        Ok(())
    }

    fn refused(&self, n_ctx: usize, error: OutOfMemory) -> BackendError {
        let weights_bytes = self.weights.holder().footprint().size_bytes();
        let shortage = Shortage {
            needed_bytes: weights_bytes + error.needed_bytes,
            free_bytes: weights_bytes + error.available_bytes,
            longest_free_bytes: error.available_bytes,
        };
        BackendError::out_of_memory(shortage, n_ctx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use llm::{gguf::GgufWriter, parallel::Serial, quant::GgmlType};
    use std::format;

    /// Memory on one core that is not reserved here: the kernel image with its stacks, page tables, and the used part of the
    /// heap. Measured with TinyLlama: 2.9 MB that `mem` counts neither as heap nor as pool, plus 0.6.
    const REST_BYTES: usize = 3_600_000;

    /// The stacks of each further core, with their guard pages.
    const CORE_BYTES: usize = (256 + 64 + 2 * 4) << 10;

    /// The hyper-parameters of TinyLlama 1.1B.
    fn tiny_llama() -> Config {
        let mut writer = GgufWriter::new();
        writer.put_str("general.architecture", "llama").unwrap();
        for (key, value) in [
            ("llama.embedding_length", 2048),
            ("llama.block_count", 22),
            ("llama.context_length", 2048),
            ("llama.feed_forward_length", 5632),
            ("llama.attention.head_count", 32),
            ("llama.attention.head_count_kv", 4),
            ("llama.rope.dimension_count", 64),
        ] {
            writer.put_u32(key, value).unwrap();
        }
        writer.put_f32("llama.attention.layer_norm_rms_epsilon", 1e-5).unwrap();
        writer.declare_tensor("token_embd.weight", GgmlType::Q4_0, &[2048, 32000]).unwrap();
        for layer in 0..22 {
            // A layer must have at least one tensor.
            writer.declare_tensor(&format!("blk.{layer}.attn_norm.weight"), GgmlType::F32, &[2048]).unwrap();
        }
        let mut header = Vec::new();
        let write = |bytes: &[u8]| {
            header.extend_from_slice(bytes);
            Ok::<(), core::fmt::Error>(())
        };
        writer.write_header(write).unwrap();
        Config::from_gguf(&Gguf::parse(&header, 1 << 30).unwrap()).unwrap()
    }

    #[test]
    fn a_model_takes_little_beyond_its_file_and_its_cache() {
        const N_CTX: usize = 2048;
        // Keys and values of 22 layers with 4 heads of 64 elements, in F16.
        let cache_bytes = N_CTX * 22 * 2 * 4 * 64 * size_of::<u16>();
        let config = tiny_llama();
        let engine = Engine {
            kernels: Kernels::scalar(),
            workers: Limited::new(&Serial, 1),
            kv_type: KvType::F16,
            precision: Precision::Quantized,
            n_slots: 1,
            may_have_fewer_slots: false,
        };
        let state = StateOptions {
            n_slots: 1,
            n_ctx: N_CTX,
            n_pages: StateOptions::pages_of(N_CTX),
            kv_type: engine.kv_type,
            finds_prefixes: true,
            n_checkpoints: 0,
            own_checkpoints: false,
        };
        let options = runner_options(&config, state, &engine);
        assert_eq!(options.n_batch, 512);
        let session_bytes = Runner::required_bytes(&config, &options).unwrap();
        let scratch_bytes = Runner::scratch_bytes(&config, &options).unwrap();
        assert_eq!(session_bytes, cache_bytes + scratch_bytes);
        for (n_cores, most_bytes) in [(2, 28_500_000), (8, 30_500_000)] {
            let beyond_bytes = scratch_bytes + REST_BYTES + (n_cores - 1) * CORE_BYTES;
            assert!(
                beyond_bytes <= most_bytes,
                "{beyond_bytes} bytes beyond file and cache, {n_cores} cores"
            );
        }
    }
}
