//! Checks of config.json: that its numbers are plausible, and that it has the values that GGUF takes for granted.

use anyhow::{Result, bail};

use super::{ATTENTION, ModelConfig};

impl ModelConfig {
    pub(super) fn check(&self) -> Result<()> {
        let family = self.family();
        family.check(self)?;
        let activation = self.hidden_activation.as_ref().or(self.hidden_act.as_ref());
        let is_known = |function: &String| family.activation.split('|').any(|known| known == function);
        if let Some(function) = activation.filter(|&function| !is_known(function)) {
            bail!("hidden_act is {function:?}, expected {}", family.activation.replace('|', " or "));
        }
        self.epsilon()?;
        let heads = self.num_attention_heads;
        if heads == 0 || self.num_key_value_heads() == 0 || !heads.is_multiple_of(self.num_key_value_heads())
        {
            bail!("num_key_value_heads must be a divisor of num_attention_heads");
        }
        if self.head_dim.is_none() && !self.hidden_size.is_multiple_of(heads) {
            bail!("num_attention_heads must be a divisor of hidden_size");
        }
        if self.head_dim() == 0 || !self.head_dim().is_multiple_of(2) {
            bail!("heads have {} elements, expected an even number", self.head_dim());
        }
        if self.num_hidden_layers == 0 {
            bail!("num_hidden_layers is 0");
        }
        let rotated = self.rotated_part();
        if rotated != 1.0 && !family.rotates_parts {
            bail!("partial_rotary_factor is {rotated}, expected 1");
        }
        let n_rotated = self.rotated_len();
        if n_rotated == 0 || n_rotated > self.head_dim() || !n_rotated.is_multiple_of(2) {
            bail!(
                "partial_rotary_factor is {rotated}, expected an even part of {} elements",
                self.head_dim()
            );
        }
        self.check_layer_types()?;
        Ok(())
    }

    /// Checks that a classifier judges whole texts and not, for example, each token.
    pub fn check_classifier(&self) -> Result<()> {
        match self.architectures.get(0).and_then(|class| class.as_str()) {
            Some(class) if !class.ends_with("ForSequenceClassification") => {
                bail!("the checkpoint has a classifier of {class}, expected one of ForSequenceClassification")
            }
            _ => Ok(()),
        }
    }

    /// Checks that there are experts, and that no more of them are used than exist.
    pub fn check_some_experts(&self) -> Result<()> {
        for (key, value) in [("num_experts", self.num_experts), ("moe_top_k", self.num_experts_per_tok)] {
            if value.is_none_or(|value| value == 0) {
                bail!("{key} is {value:?}, expected a positive number");
            }
        }
        if self.num_experts_per_tok > self.num_experts {
            bail!("moe_top_k is greater than num_experts");
        }
        Ok(())
    }

    /// Checks that all layers have experts, as GGUF's architectures with experts assume.
    pub fn check_experts(&self) -> Result<()> {
        for (key, value) in [
            ("num_experts", self.num_experts),
            ("num_experts_per_tok", self.num_experts_per_tok),
            ("moe_intermediate_size", self.moe_intermediate_size),
        ] {
            if value.is_none_or(|value| value == 0) {
                bail!("{key} is {value:?}, expected a positive number");
            }
        }
        if self.num_experts_per_tok > self.num_experts {
            bail!("num_experts_per_tok is greater than num_experts");
        }
        // If the key is missing, transformers does not normalise.
        if self.norm_topk_prob != Some(true) {
            bail!("norm_topk_prob is {:?}, expected true", self.norm_topk_prob);
        }
        if let Some(step) = self.decoder_sparse_step.filter(|&step| step != 1) {
            bail!("decoder_sparse_step is {step}, expected 1");
        }
        if self.mlp_only_layers.as_ref().is_some_and(|layers| !layers.is_empty()) {
            bail!("mlp_only_layers is {:?}, expected none", self.mlp_only_layers);
        }
        Ok(())
    }

    /// Checks that every fourth layer has no rotary embedding, as GGUF's architecture assumes.
    pub fn check_layers_without_rope(&self) -> Result<()> {
        let Some(layers) = &self.no_rope_layers else { return Ok(()) };
        let differs = |&(layer, &has_rope): &(usize, &u32)| (has_rope != 0) != (layer % 4 != 3);
        match layers.iter().enumerate().find(differs) {
            Some((layer, has_rope)) => bail!(
                "no_rope_layers is {has_rope} for layer {layer}, expected 0 for each fourth layer and 1 for the others"
            ),
            None => Ok(()),
        }
    }

    /// Checks that every layer except each `period`-th has a window, and that queries are scaled as GGUF's architecture assumes,
    /// which differs for models of `n_layer` layers.
    pub fn check_window_and_scale(&self, period: u32, n_layer: u32) -> Result<()> {
        if let Some(other) = self.sliding_window_pattern.filter(|&pattern| pattern != period && pattern != 1)
        {
            bail!("sliding_window_pattern is {other}, expected {period}");
        }
        for (layer, kind) in (0..).zip(self.layer_types.iter().flatten()) {
            let expected = match (layer + 1_u32).is_multiple_of(period) || !self.has_window() {
                true => "full_attention",
                false => "sliding_attention",
            };
            if kind != expected {
                bail!("layer_types has {kind:?} for layer {layer}, expected {expected}");
            }
        }
        let expected = match self.num_hidden_layers == n_layer {
            true => self.hidden_size as f32 / self.num_attention_heads as f32,
            false => self.head_dim.unwrap_or(0) as f32,
        };
        if let Some(scalar) = self.query_pre_attn_scalar.filter(|&scalar| scalar != expected) {
            bail!("query_pre_attn_scalar is {scalar}, expected {expected}");
        }
        if self.use_bidirectional_attention == Some(true) {
            bail!("use_bidirectional_attention is true, expected false");
        }
        Ok(())
    }

    /// Checks that the heads of a gated delta net fit together and are not too many.
    pub fn check_delta_net(&self) -> Result<()> {
        for (key, value) in [
            ("linear_conv_kernel_dim", self.linear_conv_kernel_dim),
            ("linear_key_head_dim", self.linear_key_head_dim),
            ("linear_value_head_dim", self.linear_value_head_dim),
            ("linear_num_key_heads", self.linear_num_key_heads),
            ("linear_num_value_heads", self.linear_num_value_heads),
        ] {
            if value.is_none_or(|value| value == 0 || value > u32::from(u16::MAX)) {
                bail!("{key} is {value:?}, expected 1 to {}", u16::MAX);
            }
        }
        if let (Some(values), Some(keys)) = (self.linear_num_value_heads, self.linear_num_key_heads)
            && !values.is_multiple_of(keys)
        {
            bail!("linear_num_key_heads must be a divisor of linear_num_value_heads");
        }
        Ok(())
    }

    /// Checks that short convolutions have a length and no bias.
    pub fn check_short_convolutions(&self) -> Result<()> {
        if self.conv_l_cache.is_none_or(|len| len == 0) {
            bail!("conv_L_cache is {:?}, expected a positive number", self.conv_l_cache);
        }
        if self.block_multiple_of == Some(0) {
            bail!("block_multiple_of is 0");
        }
        Ok(())
    }

    /// Checks that each layer's mixer is known.
    fn check_layer_types(&self) -> Result<()> {
        if self.family().recurrent_layer.is_empty() {
            return Ok(());
        }
        if let Some(types) = &self.layer_types {
            if types.len() != self.num_hidden_layers as usize {
                bail!(
                    "layer_types has {} entries, expected num_hidden_layers, {}",
                    types.len(),
                    self.num_hidden_layers
                );
            }
            let recurrent = self.family().recurrent;
            if let Some(other) = types.iter().find(|kind| *kind != ATTENTION && *kind != recurrent) {
                bail!("layer_types has {other:?}, expected {ATTENTION} or {recurrent}");
            }
        } else if self.full_attention_interval == Some(0) {
            bail!("full_attention_interval is 0");
        }
        Ok(())
    }

    /// Checks that the first layer of each period sees all positions and the others have a window in both directions.
    pub fn check_every_nth(&self) -> Result<()> {
        let n = self.global_attn_every_n_layers.unwrap_or(1);
        if n == 0 {
            bail!("global_attn_every_n_layers is 0");
        }
        for (layer, kind) in (0..).zip(self.layer_types.iter().flatten()) {
            let expected = if u32::is_multiple_of(layer, n) { ATTENTION } else { "sliding_attention" };
            if kind != expected {
                bail!("layer_types has {kind:?} for layer {layer}, expected {expected}");
            }
        }
        Ok(())
    }
}
