//! Loading a model: from its place on a disk to the list of loaded models.
//!
//! The order is: `plan`, which computes the memory before anything changes; `load_file`, which reserves that memory, reads the
//! weights and the adapters, and puts the model on the list.

use alloc::vec::Vec;

use llm::{
    kv_cache::KvType,
    model::Config,
    parallel::Limited,
    quant::{Packer, Precision},
};

use super::loaded::{Engine, LoadedModel};
use super::models::Loaded;
use super::plan::{Plan, plan_runner, wanted_bytes};
use super::reading::Reader;
use super::stepping::Stepper;
use super::{TransformerBackend, adapters};
use crate::{
    llm::{
        BackendError, EngineOptions, Header, InferenceBackend, LoadProgress, ModelFile, ModelMetadata,
        Progress,
    },
    memory::pool::{Footprint, GRANULE_BYTES},
};

impl TransformerBackend {
    /// The engine settings that `options` ask for.
    pub(super) fn engine(&self, options: &EngineOptions) -> Engine {
        let machine = &self.machine;
        Engine {
            kernels: options.kernels.unwrap_or(machine.kernels),
            workers: Limited::new(machine.workers, options.n_cores.unwrap_or(usize::MAX)),
            kv_type: KvType {
                keys: options.type_k.unwrap_or_default(),
                values: options.type_v.unwrap_or_default(),
            },
            precision: if options.exact { Precision::Exact } else { Precision::Quantized },
            n_slots: options.n_parallel.or(options.n_parallel_if_room).unwrap_or(1),
            may_have_fewer_slots: options.n_parallel.is_none(),
        }
    }

    /// Reads the header and computes how much memory the model needs, assuming that a loaded model of the same path makes room.
    /// Nothing is reserved or unloaded yet.
    fn plan(&mut self, file: usize, path: &str, options: &EngineOptions) -> Result<Plan, BackendError> {
        let engine = self.engine(options);
        let (header, config, packer, places) = self.catalog.with_header(file, |gguf, places| {
            let header = Header::new(gguf)?;
            if header.is_adapter {
                return Err(BackendError::IsAdapter);
            }
            let config = Config::from_gguf(gguf)?;
            Ok((header, config, Packer::new(engine.kernels.packing(), gguf)?, places))
        })?;
        // A file that exceeds the address space needs more memory than any machine has.
        let end_bytes = places.last().map_or(0, |last| last.end);
        let weights_bytes = usize::try_from(end_bytes).unwrap_or(usize::MAX);
        let room = |session_bytes, given_back: &[Footprint]| {
            self.machine.pool.room_for(&[weights_bytes, session_bytes], given_back)
        };
        let mut given_back = Vec::new();
        if let Some(footprints) = self.models.idle_footprints(path)
            && room(wanted_bytes(&config, options.n_ctx, &engine)?, &[]).is_err()
        {
            given_back.extend(footprints);
        }
        let replaces_first = !given_back.is_empty();
        let room = |session_bytes| room(session_bytes, &given_back);
        let (options, session_bytes) = plan_runner(&config, options.n_ctx, &engine, room)?;
        Ok(Plan {
            header,
            config,
            packer,
            places,
            engine,
            weights_bytes,
            options,
            session_bytes,
            replaces_first,
        })
    }

    /// Reads the file with this number in the catalogue into memory, as the current model. If a model has the same path, the new one
    /// replaces it.
    ///
    /// # Errors
    /// Those of [`load`](super::InferenceBackend::load); the loaded models are then as they were, except that one of the same path
    /// may have been unloaded to make room.
    pub(super) fn load_file(
        &mut self,
        file: usize,
        path: &str,
        options: EngineOptions,
        progress: &mut LoadProgress<'_>,
    ) -> Result<(), BackendError> {
        // Checked before anything is read, and before the running model makes room.
        for lora in &options.lora {
            adapters::find(&mut self.catalog, &lora.name)?;
        }
        let plan = self.plan(file, path, &options);
        let plan = plan.map_err(|error| error.beside(self.models.taken_by_others(path)))?;
        let Plan {
            header,
            config,
            mut packer,
            places,
            engine,
            weights_bytes,
            session_bytes,
            replaces_first,
            ..
        } = plan;
        let runner_options = plan.options;
        if replaces_first {
            self.models.retire(Some(path))?;
        }
        let reserve = |bytes| self.machine.pool.reserve(bytes, GRANULE_BYTES).map_err(BackendError::NoBuffer);
        // The larger one first, in the order in which the pool was asked.
        let (mut weights, mut memory);
        if weights_bytes >= session_bytes {
            weights = reserve(weights_bytes)?;
            memory = reserve(session_bytes)?;
        } else {
            memory = reserve(session_bytes)?;
            weights = reserve(weights_bytes)?;
        }
        let clock_us = self.machine.clock_us;
        let start_us = clock_us();
        let mut others = Stepper { models: &mut self.models, statistics: &mut self.statistics, clock_us };
        let progress = &mut |come: Progress| progress(come, &mut others);
        let &ModelFile { length_bytes: file_bytes, disk_identity, ref parts, .. } =
            &self.catalog.files()[file];
        let parts = parts.clone();
        let (packer_of_all, buffer, workers) = (&mut packer, &mut memory[..], &engine.workers);
        let mut reader = Reader { packer: packer_of_all, buffer, workers, clock_us, progress, start_us };
        for (&part, place) in parts.iter().zip(&places) {
            reader.read(self.catalog.disks_mut(), part, place.clone(), &mut weights)?;
        }
        let root = self.catalog.root(file);
        let weights = packer.finish(weights);
        let mut model = LoadedModel::load(weights, memory, places, runner_options, engine)?;
        let adapters = adapters::take_in(&mut self.catalog, self.machine.pool, &mut model)?;
        let scales = adapters::scales(&mut self.catalog, &adapters, &options.lora)?;
        // A disk that was plugged in just now is ignored until the next load.
        let scales = scales.ok_or(BackendError::NotLoaded)?;
        model.set_usual_scales(&scales);
        let load_us = clock_us().saturating_sub(start_us);
        self.statistics.loads += 1;
        self.statistics.load_bytes += model.file_bytes() as u64;
        self.statistics.load_us += load_us;
        // At this point both are in memory.
        self.mark_high_water(model.memory().session_bytes());
        // There may be no model with the same path.
        let _ = self.models.retire(Some(path));
        // In a few architectures layers differ; the first one is reported.
        let layer = &config.layers[0];
        let (n_head, n_head_kv) = config.head_counts();
        self.models.add(Loaded {
            metadata: ModelMetadata {
                path: path.into(),
                disk_identity,
                root,
                quantisation: header.quantisation().into(),
                architecture: header.architecture,
                n_params: header.n_params,
                file_bytes,
                n_layer: config.layers.len(),
                n_embd: config.n_embd,
                n_head,
                n_head_kv,
                n_ff: layer.n_ff,
                n_vocab: config.n_vocab,
                n_ctx: runner_options.state.n_ctx,
                n_parallel: runner_options.state.n_slots,
                n_pages: runner_options.state.n_pages,
                n_ctx_train: config.n_ctx_train,
            },
            model,
            adapters,
            record: None,
            asked_n_ctx: options.n_ctx,
            standing_options: options,
            load_us,
        });
        self.mention_offload();
        Ok(())
    }

    /// Updates the high-water mark of the memory of sessions; `more_bytes` belong to a model that is not on the list yet.
    pub(super) fn mark_high_water(&mut self, more_bytes: usize) {
        let session_bytes = self.memory_usage().session_bytes() + more_bytes;
        self.session_high_water_bytes = self.session_high_water_bytes.max(session_bytes);
    }

    /// Logs once whether the device that was offered for offloading is used.
    fn mention_offload(&mut self) {
        if let Some(device) = &self.offload
            && !self.offload_mentioned
        {
            self.offload_mentioned = true;
            let name = device.name();
            if device.capabilities().matmul {
                log::info!("{name} could compute, but no model is offloaded: the CPU computes");
            } else {
                log::info!("{name} computes no matrix products: the CPU does");
            }
        }
    }
}
