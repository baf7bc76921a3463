//! [`SamplingArguments`]: how tokens are chosen, from the command line; [`max_tokens`]: how many.

use anyhow::{Context, Result};
use clap::Args;
use llm::sampling::{SamplingConfig, SamplingRequest, Seed};

use crate::complain;

/// Options of every command that chooses tokens.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArguments {
    /// Temperature: 0 takes the likeliest token, 1 the model's own distribution [default: 0; 0.8 with --top-k,
    /// --top-p, --min-p or --seed].
    #[arg(long, alias = "temperature", value_name = "T", allow_negative_numbers = true)]
    temp: Option<f32>,

    /// Keep the K likeliest tokens; 0 or -1 keeps all [default: 0].
    #[arg(long, value_name = "K", allow_negative_numbers = true)]
    top_k: Option<i64>,

    /// Keep the likeliest tokens that together reach probability P [default: 1].
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,

    /// Keep the tokens at least P times as likely as the likeliest [default: 0].
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    min_p: Option<f32>,

    /// Make recent tokens less likely by this factor; 1 is off [default: 1].
    #[arg(long, value_name = "R", allow_negative_numbers = true)]
    repeat_penalty: Option<f32>,

    /// Tokens back from the newest that --repeat-penalty looks at; -1 is the whole context [default: 64].
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    repeat_last_n: Option<i64>,

    /// Seed of the random choices; -1 is a random one, which is printed on standard error, so that the text can be
    /// had again [default: 0].
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    seed: Option<Seed>,
}

impl SamplingArguments {
    /// The configuration that they ask for, for a context of `n_ctx` tokens. A random seed is shown.
    pub fn config(&self, n_ctx: usize) -> Result<SamplingConfig> {
        let request = SamplingRequest {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            repeat_last_n: self.repeat_last_n,
            seed: self.seed,
        };
        let is_random = self.seed == Some(Seed::Random);
        let random_seed = if is_random { getrandom::u32().context("cannot make a random seed")? } else { 0 };
        let config = request.config(|| random_seed.into())?;
        if is_random {
            complain(&format!("seed {}", config.seed));
        }
        Ok(config.within_context(n_ctx))
    }
}

/// Parses how many tokens may be generated: -1, or -2, is as many as there is room for, as in llama.cpp.
pub fn max_tokens(text: &str) -> Result<usize, String> {
    match text {
        "-1" | "-2" => Ok(usize::MAX),
        _ => text.parse().map_err(|_| String::from("expected a number of tokens, or -1")),
    }
}
