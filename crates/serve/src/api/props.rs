//! The properties of a model and its slots for texts, in the format of llama.cpp's server.

use alloc::borrow::Cow;
use alloc::vec::Vec;

use llm::front::Responder;
use llm::sampling::{DRY_BREAKERS, SamplingConfig, Stages};
use llm::tokenizer::Tokenizer;
use serde::Serialize;
use serde::ser::{SerializeSeq, Serializer};

use super::answer::FINGERPRINT;
use super::wish::SAMPLING;
use crate::engine::ModelInfo;
use crate::error::ApiError;

/// Most bytes written besides texts.
const MAX_FIXED_BYTES: usize = 2048;
/// Most bytes written for a slot.
const MAX_SLOT_BYTES: usize = 512;

/// An adapter of a model.
#[derive(Serialize)]
pub struct AdapterInfo<'a> {
    id: usize,
    path: &'a str,
    scale: f32,
}

impl<'a> AdapterInfo<'a> {
    /// The adapters of a responder's model.
    ///
    /// # Errors
    /// If there is no memory for the list.
    pub fn all(responder: &'a Responder<'_>) -> Result<Vec<Self>, ApiError> {
        let runner = responder.runner();
        let adapters = runner.adapters().iter().zip(runner.usual_scales()).enumerate();
        let mut list = Vec::new();
        list.try_reserve_exact(adapters.len()).map_err(|_| ApiError::out_of_memory())?;
        list.extend(adapters.map(|(id, (adapter, &scale))| Self { id, path: &adapter.name, scale }));
        Ok(list)
    }

    /// A rough upper bound of its bytes as JSON.
    pub fn text_bytes(&self) -> usize {
        MAX_SLOT_BYTES + 6 * self.path.len()
    }
}

/// The properties of a model.
#[derive(Serialize)]
pub struct Props<'p> {
    default_generation_settings: Defaults,
    total_slots: usize,
    model_alias: &'p str,
    model_path: &'p str,
    modalities: Modalities,
    chat_template: &'p str,
    bos_token: Cow<'p, str>,
    eos_token: Cow<'p, str>,
    build_info: &'static str,
    is_sleeping: bool,
}

#[derive(Serialize)]
struct Defaults {
    params: Params,
    n_ctx: usize,
}

#[derive(Serialize)]
struct Params {
    n_predict: i32,
    seed: i32,
    temperature: f32,
    dynatemp_range: f32,
    dynatemp_exponent: f32,
    top_k: u32,
    top_p: f32,
    min_p: f32,
    top_n_sigma: f32,
    xtc_probability: f32,
    xtc_threshold: f32,
    typical_p: f32,
    repeat_last_n: u32,
    repeat_penalty: f32,
    presence_penalty: f32,
    frequency_penalty: f32,
    dry_multiplier: f32,
    dry_base: f32,
    dry_allowed_length: u32,
    dry_penalty_last_n: u32,
    dry_sequence_breakers: &'static [&'static str],
    mirostat: u32,
    mirostat_tau: f32,
    mirostat_eta: f32,
    ignore_eos: bool,
    min_keep: u32,
    samplers: Names,
    post_sampling_probs: bool,
}

/// The stages, written by name.
struct Names(Stages);

impl Serialize for Names {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stages = self.0.as_slice();
        let mut list = serializer.serialize_seq(Some(stages.len()))?;
        stages.iter().try_for_each(|stage| list.serialize_element(stage.name()))?;
        list.end()
    }
}

#[derive(Serialize)]
struct Modalities {
    vision: bool,
    audio: bool,
}

impl<'p> Props<'p> {
    /// The properties of a responder's model.
    pub fn new(model: &'p ModelInfo, responder: &'p Responder<'_>) -> Self {
        const S: SamplingConfig = SAMPLING;
        let prompter = responder.prompter();
        // If the vocabulary cannot be used, no token has a name.
        let tokenizer = prompter.tokenizer().ok();
        let template = prompter.gguf().str_value("tokenizer.chat_template");
        Self {
            default_generation_settings: Defaults {
                params: Params {
                    // As many tokens as there is room for, and any seed.
                    n_predict: -1,
                    seed: -1,
                    temperature: S.temperature,
                    dynatemp_range: S.dynatemp_range,
                    dynatemp_exponent: S.dynatemp_exponent,
                    top_k: S.top_k,
                    top_p: S.top_p,
                    min_p: S.min_p,
                    top_n_sigma: S.top_n_sigma,
                    xtc_probability: S.xtc_probability,
                    xtc_threshold: S.xtc_threshold,
                    typical_p: S.typical_p,
                    repeat_last_n: S.repeat_last_n,
                    repeat_penalty: S.repeat_penalty,
                    presence_penalty: S.presence_penalty,
                    frequency_penalty: S.frequency_penalty,
                    dry_multiplier: S.dry_multiplier,
                    dry_base: S.dry_base,
                    dry_allowed_length: S.dry_allowed_length,
                    dry_penalty_last_n: S.dry_penalty_last_n,
                    dry_sequence_breakers: DRY_BREAKERS,
                    mirostat: S.mirostat,
                    mirostat_tau: S.mirostat_tau,
                    mirostat_eta: S.mirostat_eta,
                    ignore_eos: false,
                    min_keep: S.min_keep,
                    samplers: Names(S.stages),
                    post_sampling_probs: false,
                },
                n_ctx: model.n_ctx,
            },
            total_slots: model.n_slots,
            model_alias: &model.name,
            model_path: &model.path,
            modalities: Modalities { vision: false, audio: false },
            chat_template: template.ok().flatten().unwrap_or_default(),
            bos_token: token(tokenizer, Tokenizer::bos_id),
            eos_token: token(tokenizer, Tokenizer::eos_id),
            build_info: FINGERPRINT,
            is_sleeping: false,
        }
    }

    /// An upper bound of the bytes of its texts.
    pub fn text_bytes(&self) -> usize {
        let texts = [self.model_alias, self.model_path, self.chat_template, &self.bos_token, &self.eos_token];
        MAX_FIXED_BYTES + texts.iter().map(|text| text.len()).sum::<usize>()
    }
}

/// The text of a token; empty if there is no such token.
fn token<'t>(tokenizer: Option<&Tokenizer<'t>>, id: fn(&Tokenizer<'t>) -> Option<u32>) -> Cow<'t, str> {
    let piece = tokenizer.and_then(|tokenizer| tokenizer.piece(id(tokenizer)?).ok()).unwrap_or_default();
    alloc::string::String::from_utf8_lossy(piece)
}

/// A slot for a text, and how far that text has come. The text itself is private and not shown.
#[derive(Debug, Serialize)]
pub struct Slot {
    id: usize,
    n_ctx: usize,
    speculative: bool,
    is_processing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_prompt_tokens: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n_prompt_tokens_processed: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<[NextToken; 1]>,
}

#[derive(Debug, Serialize)]
struct NextToken {
    has_next_token: bool,
    n_remain: i64,
    n_decoded: usize,
}

impl Slot {
    /// The slots of a responder's model; `speculate` tokens are guessed at a time.
    ///
    /// # Errors
    /// If there is no memory for them.
    pub fn all(responder: &Responder<'_>, speculate: usize) -> Result<Vec<Self>, ApiError> {
        let state = responder.runner().options().state;
        let mut slots = Vec::new();
        slots.try_reserve_exact(state.n_slots).map_err(|_| ApiError::out_of_memory())?;
        slots.extend((0..state.n_slots).map(|id| Self {
            id,
            n_ctx: state.n_ctx,
            speculative: speculate > 0,
            is_processing: false,
            n_prompt_tokens: None,
            n_prompt_tokens_processed: None,
            next_token: None,
        }));
        for text in responder.scheduler().running() {
            let slot = &mut slots[text.slot];
            slot.is_processing = true;
            slot.n_prompt_tokens = Some(text.n_prompt);
            slot.n_prompt_tokens_processed = Some(text.n_computed.min(text.n_prompt));
            slot.next_token = Some([NextToken {
                has_next_token: true,
                // If only the context limits the answer, llama.cpp says -1.
                n_remain: i64::try_from(text.n_left).ok().filter(|&n| n < i64::MAX).unwrap_or(-1),
                n_decoded: text.n_generated,
            }]);
        }
        Ok(slots)
    }

    /// Whether the slot holds no text.
    pub fn is_free(&self) -> bool {
        !self.is_processing
    }

    /// An upper bound of the bytes written for this many slots.
    pub fn text_bytes(n_slots: usize) -> usize {
        n_slots * MAX_SLOT_BYTES
    }
}
