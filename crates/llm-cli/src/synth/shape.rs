//! [`Shape`]: the hyper-parameters of a synthetic model, given by a published name or field by field.

use anyhow::{Context, Result, anyhow, bail};

/// How the fields of a shape are written on the command line; shown by `llm synth --help`.
pub const SYNTAX: &str = "\
A shape is a published one's name, a list of key=value pairs, or a name followed by pairs that change
it, separated by commas:

  tinyllama-1.1b   llama, 22 layers of width 2048, grouped-query attention, 32000 tokens
  gpt2-124m        gpt2, 12 layers of width 768, tied output, 50257 tokens
  qwen2.5-0.5b     qwen2, 24 layers of width 896, tied output, 151936 tokens
  smollm2-135m     llama, 30 layers of width 576, tied output, 49152 tokens
  tiny-10m         llama, 6 layers of width 384, tied output, 2048 tokens
  mamba2-370m      mamba2, 48 layers of width 1024, tied output, 50288 tokens
  qwen3.5-0.8b     qwen35, 24 layers of width 1024, attention in each fourth, tied output, 248320 tokens
  lfm2-350m        lfm2, 16 layers of width 1024, attention in 6, tied output, 65536 tokens
  granite-4-h-350m granitehybrid, 32 layers of width 768, attention in 4, tied output, 100352 tokens

  arch=llama|gpt2|qwen2   architecture [llama]
  n_layer=N               layers [2]
  n_embd=N                width [256]
  n_ff=N                  width of the feed-forward block [512]
  n_head=N                attention heads, which divide n_embd into even parts [4]
  n_head_kv=N             heads of keys and values, which divide n_head; gpt2: n_head [n_head]
  n_vocab=N               tokens, at least 512 [512]
  n_ctx=N                 context length [256]
  tied=true|false         the embedding serves as output matrix too; gpt2: true [false]
  rope_freq_base=X        base of the rotary position angles [10000]
  norm_eps=X              epsilon of the norms [0.00001]

Examples: tinyllama-1.1b   arch=llama,n_layer=4,n_embd=512,n_head=8   tinyllama-1.1b,n_layer=2";

/// The architectures that can be synthesised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// RMSNorm, rotary positions, SwiGLU.
    Llama,
    /// LayerNorm, learned positions, GELU, biases everywhere.
    Gpt2,
    /// Like llama, with biases on queries, keys and values.
    Qwen2,
    /// Only state spaces with heads.
    Mamba2,
    /// Gated delta nets and gated attention.
    Qwen35,
    /// Short convolutions and attention.
    Lfm2,
    /// State spaces with heads, and attention.
    GraniteHybrid,
}

impl Architecture {
    /// The value of `general.architecture`, and the prefix of the keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Gpt2 => "gpt2",
            Self::Qwen2 => "qwen2",
            Self::Mamba2 => "mamba2",
            Self::Qwen35 => "qwen35",
            Self::Lfm2 => "lfm2",
            Self::GraniteHybrid => "granitehybrid",
        }
    }
}

/// The hyper-parameters of a model; see [`SYNTAX`] for each.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    pub name: String,
    pub architecture: Architecture,
    pub n_layer: u32,
    pub n_embd: u32,
    pub n_ff: u32,
    pub n_head: u32,
    pub n_head_kv: u32,
    pub n_vocab: u32,
    pub n_ctx: u32,
    pub tied: bool,
    pub rope_freq_base: f32,
    pub norm_eps: f32,
    /// Length of a head if it is not `n_embd / n_head`.
    pub head_len: Option<u32>,
    /// Recurrent layers, in architectures that have them.
    pub recurrent: Option<Recurrent>,
}

/// The recurrent layers of a model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recurrent {
    /// Channels.
    pub n_inner: u32,
    /// Elements of a row of the state.
    pub n_state: u32,
    /// Number of positions that the convolution covers.
    pub n_conv: u32,
    /// Heads.
    pub n_head: u32,
    /// Groups of heads, or heads of keys.
    pub n_group: u32,
    /// The layers that have attention instead.
    pub attention_layers: &'static [u32],
}

/// A smaller vocabulary could not hold the byte tokens, the letters and some words.
const MIN_VOCAB: u32 = 512;

impl Shape {
    /// Reads a shape in [`SYNTAX`].
    ///
    /// # Errors
    /// If a name, key or value is unknown, or the numbers do not fit together.
    pub fn parse(text: &str) -> Result<Self> {
        let (first, rest) = text.split_once(',').unwrap_or((text, ""));
        let (mut shape, pairs) = if first.contains('=') {
            (Self::custom(), text)
        } else {
            let shape = Self::published(first)
                .ok_or_else(|| anyhow!("no shape is called `{first}`; see `llm synth --help`"))?;
            (shape, rest)
        };
        let mut n_head_kv_given = !first.contains('=');
        for pair in pairs.split(',').filter(|pair| !pair.is_empty()) {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| anyhow!("expected key=value, not `{pair}`"))?;
            n_head_kv_given |= key == "n_head_kv";
            shape.set(key, value).with_context(|| format!("in `{pair}`"))?;
        }
        if !n_head_kv_given {
            shape.n_head_kv = shape.n_head;
        }
        if !pairs.is_empty() {
            shape.name = format!("synthetic {text}");
        }
        shape.check()?;
        Ok(shape)
    }

    /// Rows of the key and value matrices.
    pub fn n_embd_kv(&self) -> u32 {
        self.head_len() * self.n_head_kv
    }

    /// Elements of a head.
    pub fn head_len(&self) -> u32 {
        self.head_len.unwrap_or(self.n_embd / self.n_head)
    }

    /// The recurrent layers, if this is one of them.
    pub fn recurrent_at(&self, layer: u32) -> Option<Recurrent> {
        self.recurrent.filter(|recurrent| !recurrent.attention_layers.contains(&layer))
    }

    fn published(name: &str) -> Option<Self> {
        let llama = Self { name: name.to_owned(), ..Self::custom() };
        Some(match name {
            "tinyllama-1.1b" => Self {
                n_layer: 22,
                n_embd: 2048,
                n_ff: 5632,
                n_head: 32,
                n_head_kv: 4,
                n_vocab: 32000,
                n_ctx: 2048,
                ..llama
            },
            "gpt2-124m" => Self {
                architecture: Architecture::Gpt2,
                n_layer: 12,
                n_embd: 768,
                n_ff: 3072,
                n_head: 12,
                n_head_kv: 12,
                n_vocab: 50257,
                n_ctx: 1024,
                tied: true,
                ..llama
            },
            "qwen2.5-0.5b" => Self {
                architecture: Architecture::Qwen2,
                n_layer: 24,
                n_embd: 896,
                n_ff: 4864,
                n_head: 14,
                n_head_kv: 2,
                n_vocab: 151_936,
                n_ctx: 32768,
                tied: true,
                rope_freq_base: 1e6,
                norm_eps: 1e-6,
                ..llama
            },
            "smollm2-135m" => Self {
                n_layer: 30,
                n_embd: 576,
                n_ff: 1536,
                n_head: 9,
                n_head_kv: 3,
                n_vocab: 49152,
                n_ctx: 8192,
                tied: true,
                rope_freq_base: 1e5,
                ..llama
            },
            "mamba2-370m" => Self {
                architecture: Architecture::Mamba2,
                n_layer: 48,
                n_embd: 1024,
                n_vocab: 50288,
                n_ctx: 8192,
                tied: true,
                recurrent: Some(Recurrent {
                    n_inner: 2048,
                    n_state: 128,
                    n_conv: 4,
                    n_head: 32,
                    n_group: 1,
                    attention_layers: &[],
                }),
                ..llama
            },
            "qwen3.5-0.8b" => Self {
                architecture: Architecture::Qwen35,
                n_layer: 24,
                n_embd: 1024,
                n_ff: 3584,
                n_head: 8,
                n_head_kv: 2,
                head_len: Some(256),
                n_vocab: 248_320,
                n_ctx: 262_144,
                tied: true,
                rope_freq_base: 1e7,
                norm_eps: 1e-6,
                recurrent: Some(Recurrent {
                    n_inner: 2048,
                    n_state: 128,
                    n_conv: 4,
                    n_head: 16,
                    n_group: 16,
                    attention_layers: &[3, 7, 11, 15, 19, 23],
                }),
                ..llama
            },
            "lfm2-350m" => Self {
                architecture: Architecture::Lfm2,
                n_layer: 16,
                n_embd: 1024,
                n_ff: 4608,
                n_head: 16,
                n_head_kv: 8,
                n_vocab: 65536,
                n_ctx: 128_000,
                tied: true,
                rope_freq_base: 1e6,
                recurrent: Some(Recurrent {
                    n_inner: 1024,
                    n_state: 0,
                    n_conv: 3,
                    n_head: 0,
                    n_group: 0,
                    attention_layers: &[2, 5, 8, 10, 12, 14],
                }),
                ..llama
            },
            "granite-4-h-350m" => Self {
                architecture: Architecture::GraniteHybrid,
                n_layer: 32,
                n_embd: 768,
                n_ff: 2048,
                n_head: 12,
                n_head_kv: 4,
                n_vocab: 100_352,
                n_ctx: 32768,
                tied: true,
                recurrent: Some(Recurrent {
                    n_inner: 1536,
                    n_state: 128,
                    n_conv: 4,
                    n_head: 48,
                    n_group: 1,
                    attention_layers: &[10, 13, 17, 27],
                }),
                ..llama
            },
            "tiny-10m" => Self {
                n_layer: 6,
                n_embd: 384,
                n_ff: 1024,
                n_head: 6,
                n_head_kv: 2,
                n_vocab: 2048,
                tied: true,
                ..llama
            },
            _ => return None,
        })
    }

    fn custom() -> Self {
        Self {
            name: String::new(),
            architecture: Architecture::Llama,
            n_layer: 2,
            n_embd: 256,
            n_ff: 512,
            n_head: 4,
            n_head_kv: 4,
            n_vocab: MIN_VOCAB,
            n_ctx: 256,
            tied: false,
            rope_freq_base: 1e4,
            norm_eps: 1e-5,
            head_len: None,
            recurrent: None,
        }
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let count = |field: &mut u32| {
            *field = value.parse().context("expected a whole number")?;
            Ok(())
        };
        let number = |field: &mut f32| {
            *field = value.parse().context("expected a number")?;
            Ok(())
        };
        match key {
            "arch" => {
                use Architecture::{Gpt2, Llama, Qwen2};
                self.architecture = *[Llama, Gpt2, Qwen2]
                    .iter()
                    .find(|architecture| architecture.name() == value)
                    .ok_or_else(|| anyhow!("expected llama, gpt2 or qwen2"))?;
                self.tied |= self.architecture == Gpt2;
                self.recurrent = None;
                self.head_len = None;
                Ok(())
            }
            "tied" => {
                self.tied = value.parse().context("expected true or false")?;
                Ok(())
            }
            "n_layer" => count(&mut self.n_layer),
            "n_embd" => count(&mut self.n_embd),
            "n_ff" => count(&mut self.n_ff),
            "n_head" => count(&mut self.n_head),
            "n_head_kv" => count(&mut self.n_head_kv),
            "n_vocab" => count(&mut self.n_vocab),
            "n_ctx" => count(&mut self.n_ctx),
            "rope_freq_base" => number(&mut self.rope_freq_base),
            "norm_eps" => number(&mut self.norm_eps),
            _ => bail!("no shape has the key `{key}`; see `llm synth --help`"),
        }
    }

    fn check(&self) -> Result<()> {
        let at_least_one = [
            ("n_layer", self.n_layer),
            ("n_embd", self.n_embd),
            ("n_ff", self.n_ff),
            ("n_head", self.n_head),
            ("n_head_kv", self.n_head_kv),
            ("n_ctx", self.n_ctx),
        ];
        for (key, value) in at_least_one {
            if value == 0 {
                bail!("{key} must be at least 1");
            }
        }
        if !self.n_embd.is_multiple_of(2 * self.n_head) {
            bail!("n_embd {} is not {} heads of an even length", self.n_embd, self.n_head);
        }
        if !self.n_head.is_multiple_of(self.n_head_kv) {
            bail!("n_head {} is no multiple of n_head_kv {}", self.n_head, self.n_head_kv);
        }
        if self.n_vocab < MIN_VOCAB {
            bail!("n_vocab {} is less than {MIN_VOCAB}", self.n_vocab);
        }
        if self.architecture == Architecture::Gpt2 && (self.n_head_kv != self.n_head || !self.tied) {
            bail!("gpt2 has as many heads of keys and values as heads, and a tied output");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_shapes_can_be_changed() {
        let whole = Shape::parse("tinyllama-1.1b").unwrap();
        assert_eq!((whole.n_layer, whole.n_embd_kv()), (22, 256));
        let two_layers = Shape::parse("tinyllama-1.1b,n_layer=2").unwrap();
        assert_eq!(two_layers.n_layer, 2);
        assert_eq!(two_layers.n_head_kv, 4);
        let hybrids = ["mamba2-370m", "qwen3.5-0.8b", "lfm2-350m", "granite-4-h-350m"];
        let plain = ["gpt2-124m", "qwen2.5-0.5b", "smollm2-135m", "tiny-10m"];
        for name in plain.into_iter().chain(hybrids) {
            assert_eq!(Shape::parse(name).unwrap().name, name);
        }
    }

    #[test]
    fn custom_shapes_have_defaults() {
        let shape = Shape::parse("arch=gpt2,n_head=8,n_embd=512").unwrap();
        assert_eq!(shape.n_head_kv, 8);
        assert!(shape.tied);
        assert_eq!(shape.n_layer, 2);
    }

    #[test]
    fn mistakes_are_named() {
        for (text, part) in [
            ("llama-9000b", "`llama-9000b`"),
            ("arch=rnn", "in `arch=rnn`: expected llama, gpt2 or qwen2"),
            ("n_layer=two", "in `n_layer=two`"),
            ("n_layer=0", "n_layer must be at least 1"),
            ("n_leier=2", "`n_leier`"),
            ("n_head=3", "3 heads"),
            ("n_head=4,n_head_kv=3", "n_head_kv 3"),
            ("n_vocab=100", "512"),
            ("arch=gpt2,tied=false", "gpt2"),
            ("tiny-10m,nonsense", "`nonsense`"),
        ] {
            let error = format!("{:#}", Shape::parse(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
