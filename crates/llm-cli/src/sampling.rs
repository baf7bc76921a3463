//! [`SamplingArguments`]: how tokens are chosen, from the command line.

use clap::Args;
use llm::sampling::SamplingConfig;

/// Options of every command that chooses tokens.
#[derive(Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArguments {
    /// Temperature: 0 takes the likeliest token, 1 the model's own distribution.
    #[arg(long, value_name = "T", allow_negative_numbers = true, default_value_t = SamplingConfig::greedy().temperature)]
    temp: f32,

    /// Keep the K likeliest tokens; 0 keeps all.
    #[arg(long, value_name = "K", default_value_t = SamplingConfig::greedy().top_k)]
    top_k: u32,

    /// Keep the likeliest tokens that together reach probability P.
    #[arg(long, value_name = "P", allow_negative_numbers = true, default_value_t = SamplingConfig::greedy().top_p)]
    top_p: f32,

    /// Keep the tokens at least P times as likely as the likeliest.
    #[arg(long, value_name = "P", allow_negative_numbers = true, default_value_t = SamplingConfig::greedy().min_p)]
    min_p: f32,

    /// Make recent tokens less likely by this factor; 1 is off.
    #[arg(long, value_name = "R", allow_negative_numbers = true, default_value_t = SamplingConfig::greedy().repeat_penalty)]
    repeat_penalty: f32,

    /// Tokens back from the newest that --repeat-penalty looks at.
    #[arg(long, value_name = "N", default_value_t = SamplingConfig::greedy().repeat_last_n)]
    repeat_last_n: u32,

    /// Seed of the random choices.
    #[arg(long, value_name = "N", default_value_t = SamplingConfig::greedy().seed)]
    seed: u64,
}

impl SamplingArguments {
    /// The configuration that they ask for.
    pub fn config(&self) -> SamplingConfig {
        SamplingConfig {
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            repeat_last_n: self.repeat_last_n,
            seed: self.seed,
        }
    }
}
