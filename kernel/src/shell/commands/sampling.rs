//! The options by which commands let the user say how tokens are chosen.

use llm::sampling::SamplingConfig;

use crate::shell::{
    arguments::Arguments,
    command::{CommandError, OptionSpec},
};

pub(super) const TEMPERATURE_OPTION: OptionSpec =
    OptionSpec { name: "temp", value: Some("T"), help: "temperature; 0 takes the most likely token" };
pub(super) const TOP_K_OPTION: OptionSpec =
    OptionSpec { name: "top-k", value: Some("K"), help: "draw from the K most likely tokens; 0 from all" };
pub(super) const TOP_P_OPTION: OptionSpec =
    OptionSpec { name: "top-p", value: Some("P"), help: "draw from the likeliest tokens that make up P" };
pub(super) const MIN_P_OPTION: OptionSpec =
    OptionSpec { name: "min-p", value: Some("P"), help: "leave out tokens below P times the likeliest" };
pub(super) const REPEAT_PENALTY_OPTION: OptionSpec = OptionSpec {
    name: "repeat-penalty",
    value: Some("R"),
    help: "make recent tokens less likely; 1 does not",
};
pub(super) const SEED_OPTION: OptionSpec =
    OptionSpec { name: "seed", value: Some("S"), help: "start of the random numbers" };

/// What these options ask for: the most likely token, unless one of them lets the tokens vary.
pub(super) fn sampling(arguments: &Arguments<'_>) -> Result<SamplingConfig, CommandError> {
    const NUMBER: &str = "a number";
    let varied = ["temp", "top-k", "top-p", "min-p", "seed"];
    let mut config = SamplingConfig::greedy();
    if varied.iter().any(|option| arguments.has(option)) {
        config.temperature = SamplingConfig::creative().temperature;
    }
    config.temperature = arguments.option("temp", NUMBER)?.unwrap_or(config.temperature);
    config.top_k = arguments.option("top-k", "a number of tokens")?.unwrap_or(config.top_k);
    config.top_p = arguments.option("top-p", NUMBER)?.unwrap_or(config.top_p);
    config.min_p = arguments.option("min-p", NUMBER)?.unwrap_or(config.min_p);
    config.repeat_penalty = arguments.option("repeat-penalty", NUMBER)?.unwrap_or(config.repeat_penalty);
    config.seed = arguments.option("seed", "a whole number")?.unwrap_or(config.seed);
    Ok(config)
}
