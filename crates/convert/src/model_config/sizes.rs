//! The lengths of tensors that follow from config.json.

use super::ModelConfig;
use crate::family::Size;

impl ModelConfig {
    /// A length of a tensor.
    pub fn size(&self, size: Size) -> usize {
        let [n_embd, n_ff, head_len] =
            [self.hidden_size, self.feed_forward(), self.head_dim()].map(|n| n as usize);
        let n_q = self.num_attention_heads as usize * head_len;
        let n_kv = self.num_key_value_heads() as usize * head_len;
        let number = |number: Option<u32>| number.unwrap_or(0) as usize;
        let delta_keys = number(self.linear_num_key_heads) * number(self.linear_key_head_dim);
        let delta_values = number(self.linear_num_value_heads) * number(self.linear_value_head_dim);
        match size {
            Size::Embedding => n_embd,
            Size::ThreeEmbeddings => 3 * n_embd,
            Size::FeedForward => n_ff,
            Size::GateUp => 2 * n_ff,
            Size::ExpertFeedForward => self.expert_feed_forward() as usize,
            Size::SharedFeedForward => number(self.shared_expert_intermediate_size),
            Size::Queries => n_q,
            // Products of two 32-bit numbers always fit. Saturation only affects products of three, which no checkpoint has in
            // that size.
            Size::GatedQueries => n_q.saturating_mul(2),
            Size::Keys => n_kv,
            Size::QueriesKeysValues => n_q.saturating_add(n_kv).saturating_add(n_kv),
            Size::Head => head_len,
            Size::ExpertCount => self.n_expert() as usize,
            Size::Vocabulary => self.vocab_size as usize,
            Size::Positions => self.n_positions() as usize,
            Size::Unplaced => self.n_unplaced() as usize,
            Size::Types => self.type_vocab_size() as usize,
            Size::DeltaValues => delta_values,
            Size::DeltaValue => number(self.linear_value_head_dim),
            Size::DeltaValueCount => number(self.linear_num_value_heads),
            Size::DeltaQueriesKeys => 2 * delta_keys,
            Size::DeltaChannels => 2 * delta_keys + delta_values,
            Size::Filter => number(self.filter_len()),
            Size::Labels => self.labels().len(),
            Size::Heads => self.num_attention_heads as usize,
            Size::Buckets => number(self.relative_attention_num_buckets),
            Size::One => 1,
            Size::Zero => 0,
        }
    }
}
