//! The keys and tensors of recurrent layers.

use llm::gguf::{GgufError, GgufWriter};

use super::TensorList;
use super::shape::{Architecture, Recurrent, Shape};

/// Writes the keys that only such models have.
pub fn describe(writer: &mut GgufWriter, shape: &Shape, recurrent: Recurrent) -> Result<(), GgufError> {
    let architecture = shape.architecture;
    let key = |suffix: &str| format!("{}.{suffix}", architecture.name());
    match architecture {
        Architecture::Lfm2 => writer.put_u32(&key("shortconv.l_cache"), recurrent.n_conv)?,
        _ => {
            writer.put_u32(&key("ssm.conv_kernel"), recurrent.n_conv)?;
            writer.put_u32(&key("ssm.inner_size"), recurrent.n_inner)?;
            writer.put_u32(&key("ssm.state_size"), recurrent.n_state)?;
            writer.put_u32(&key("ssm.time_step_rank"), recurrent.n_head)?;
            writer.put_u32(&key("ssm.group_count"), recurrent.n_group)?;
        }
    }
    match architecture {
        Architecture::Lfm2 | Architecture::GraniteHybrid => {
            let n_head_kv = |layer| shape.recurrent_at(layer).map_or(shape.n_head_kv as i32, |_| 0);
            let counts: Vec<i32> = (0..shape.n_layer).map(n_head_kv).collect();
            writer.put_i32s(&key("attention.head_count_kv"), &counts)?;
        }
        _ => writer.put_u32(&key("attention.head_count_kv"), shape.n_head_kv)?,
    }
    match architecture {
        Architecture::Qwen35 => {
            writer.put_u32(&key("attention.key_length"), shape.head_len())?;
            writer.put_u32(&key("attention.value_length"), shape.head_len())?;
            writer.put_u32(&key("rope.dimension_count"), shape.head_len() / 4)?;
            writer.put_i32s(&key("rope.dimension_sections"), &[11, 11, 10, 0])
        }
        Architecture::GraniteHybrid => {
            writer.put_f32(&key("logit_scale"), 3.0)?;
            writer.put_f32(&key("residual_scale"), 0.246)?;
            writer.put_f32(&key("embedding_scale"), 12.0)?;
            writer.put_f32(&key("attention.scale"), 1.0 / 64.0)?;
            writer.put_bool(&key("rope.scaling.finetuned"), false)
        }
        _ => Ok(()),
    }
}

/// The tensors of a recurrent mixer.
pub fn tensors(tensors: &mut TensorList, shape: &Shape, recurrent: Recurrent, layer: u32) {
    let name = |part: &str| format!("blk.{layer}.{part}");
    let Recurrent { n_inner, n_state, n_conv, n_head, n_group, .. } = recurrent;
    let [n_embd, n_inner, n_state, n_conv, n_head, n_group] =
        [shape.n_embd, n_inner, n_state, n_conv, n_head, n_group].map(u64::from);
    let n_channels = n_inner + 2 * n_group * n_state;
    if shape.architecture == Architecture::Lfm2 {
        tensors.matrix(&name("shortconv.in_proj"), n_embd, 3 * n_embd);
        tensors.vectors(&name("shortconv.conv.weight"), &[n_conv, n_embd], 0.3);
        tensors.matrix(&name("shortconv.out_proj"), n_embd, n_embd);
        return;
    }
    tensors.vectors(&name("ssm_conv1d.weight"), &[n_conv, n_channels], 0.3);
    tensors.vectors(&name("ssm_dt.bias"), &[n_head], 0.0);
    if shape.architecture == Architecture::Qwen35 {
        tensors.matrix(&name("attn_qkv"), n_embd, n_channels);
        tensors.matrix(&name("attn_gate"), n_embd, n_inner);
        tensors.matrix(&name("ssm_alpha"), n_embd, n_head);
        tensors.matrix(&name("ssm_beta"), n_embd, n_head);
        tensors.vectors(&name("ssm_a"), &[n_head], -1.0);
        tensors.vectors(&name("ssm_norm.weight"), &[n_inner / n_head], 1.0);
    } else {
        tensors.matrix(&name("ssm_in"), n_embd, n_inner + n_channels + n_head);
        tensors.vectors(&name("ssm_conv1d.bias"), &[n_channels], 0.0);
        tensors.vectors(&name("ssm_a"), &[1, n_head], -1.0);
        tensors.vectors(&name("ssm_d"), &[1, n_head], 1.0);
        tensors.vectors(&name("ssm_norm.weight"), &[n_inner / n_group, n_group], 1.0);
    }
    tensors.matrix(&name("ssm_out"), n_inner, n_embd);
}
