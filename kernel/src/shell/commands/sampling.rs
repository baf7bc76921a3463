//! The options by which commands let the user say how tokens are chosen, and how many.

use core::str::FromStr;

use llm::sampling::{SamplingConfig, SamplingRequest, Seed};

use crate::llm::BackendError;
use crate::shell::{
    Shell,
    arguments::Arguments,
    command::{CommandError, OptionSpec},
};

pub(super) const TEMPERATURE_OPTION: OptionSpec =
    OptionSpec::new("temp", "T", "temperature; 0 takes the most likely token").or(&["temperature"]);
pub(super) const TOP_K_OPTION: OptionSpec =
    OptionSpec::new("top-k", "K", "draw from the K most likely tokens; 0 or -1 from all");
pub(super) const TOP_P_OPTION: OptionSpec =
    OptionSpec::new("top-p", "P", "draw from the likeliest tokens that make up P");
pub(super) const MIN_P_OPTION: OptionSpec =
    OptionSpec::new("min-p", "P", "leave out tokens below P times the likeliest");
pub(super) const REPEAT_PENALTY_OPTION: OptionSpec =
    OptionSpec::new("repeat-penalty", "R", "make recent tokens less likely; 1 does not");
pub(super) const SEED_OPTION: OptionSpec =
    OptionSpec::new("seed", "S", "start of the random numbers; -1 for a random one, which is shown")
        .or(&["s"]);

pub(super) const REPEAT_LAST_N_OPTION: OptionSpec = OptionSpec::new(
    "repeat-last-n",
    "N",
    "how many tokens --repeat-penalty looks back at, 64 unless told; -1 at all",
);
pub(super) const MAX_TOKENS_OPTION: OptionSpec =
    OptionSpec::new("max-tokens", "N", "as the argument N; -1 until the text ends or the context is full")
        .or(&["n", "predict", "n-predict"]);

const TOKENS: &str = "a number of tokens, or -1";

/// How tokens are chosen. A random seed is shown.
pub(super) fn sampling(
    shell: &mut Shell<'_>,
    arguments: &Arguments<'_>,
) -> Result<SamplingConfig, CommandError> {
    const NUMBER: &str = "a number";
    let request = SamplingRequest {
        temperature: arguments.option("temp", NUMBER)?,
        top_k: arguments.option("top-k", "a number of tokens")?,
        top_p: arguments.option("top-p", NUMBER)?,
        min_p: arguments.option("min-p", NUMBER)?,
        repeat_penalty: arguments.option("repeat-penalty", NUMBER)?,
        repeat_last_n: arguments.option("repeat-last-n", TOKENS)?,
        seed: arguments.option("seed", "a whole number, or -1 for a random one")?,
    };
    let config = request.config(shell.machine.random_seed).map_err(BackendError::from)?;
    if request.seed == Some(Seed::Random) {
        shell.terminal.warn(format_args!("seed {}", config.seed));
    }
    Ok(config)
}

/// How many tokens may be generated: positional argument `index`, or the option.
pub(super) fn max_tokens(
    arguments: &Arguments<'_>,
    index: usize,
    default: usize,
) -> Result<usize, CommandError> {
    let argument: Option<MaxTokens> = arguments.value(index, "N", TOKENS)?;
    let option = arguments.option(MAX_TOKENS_OPTION.name, TOKENS)?;
    match (argument, option) {
        (Some(_), Some(_)) => Err(CommandError::GivenTwice { argument: "N", option: MAX_TOKENS_OPTION.name }),
        (argument, option) => Ok(argument.or(option).map_or(default, |MaxTokens(n)| n)),
    }
}

/// A number of tokens; -1, or -2, is as many as there is room for, as in llama.cpp.
struct MaxTokens(usize);

impl FromStr for MaxTokens {
    type Err = core::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "-1" | "-2" => Ok(Self(usize::MAX)),
            _ => text.parse().map(Self),
        }
    }
}
