//! What `infer`, `chat` and `batch` are asked for beside the prompt, [`Wanted`]: how many tokens, how they are chosen, where they
//! end.

use llm::{
    front::{
        Wanted,
        options::{
            FREQUENCY_PENALTY, MAX_SPECULATED, MAX_TOKENS, MIN_P, MaxTokens, PRESENCE_PENALTY, REPEAT_LAST_N,
            REPEAT_PENALTY, SEED, SPECULATE, STOP, TEMP, TOP_K, TOP_P, VERBOSE,
        },
    },
    sampling::{SamplingConfig, SamplingRequest, Seed},
};

use crate::llm::BackendError;
use crate::shell::{Shell, arguments::Arguments, command::CommandError};

/// What the arguments ask for; positional argument `n_index` may be the number of tokens. A random seed is shown.
pub(super) fn wanted<'a>(
    shell: &mut Shell<'_>,
    arguments: &Arguments<'a>,
    n_index: usize,
    default_max_tokens: usize,
) -> Result<Wanted<'a>, CommandError> {
    let max_tokens = max_tokens(arguments, n_index, default_max_tokens)?;
    with_max_tokens(shell, arguments, max_tokens)
}

/// What the arguments ask for, of which none is the number of tokens.
pub(super) fn wanted_of_each<'a>(
    shell: &mut Shell<'_>,
    arguments: &Arguments<'a>,
    default_max_tokens: usize,
) -> Result<Wanted<'a>, CommandError> {
    let option = arguments.option(MAX_TOKENS.name, MaxTokens::EXPECTED)?;
    with_max_tokens(shell, arguments, option.map_or(default_max_tokens, |MaxTokens(n)| n))
}

fn with_max_tokens<'a>(
    shell: &mut Shell<'_>,
    arguments: &Arguments<'a>,
    max_tokens: usize,
) -> Result<Wanted<'a>, CommandError> {
    let speculate = arguments.option(SPECULATE.name, "a number of tokens")?.unwrap_or(0);
    Ok(Wanted {
        max_tokens,
        sampling: sampling(shell, arguments)?,
        stop: arguments.option_texts(STOP.name).collect::<Result<_, _>>()?,
        speculate: speculate.min(MAX_SPECULATED),
        trace: arguments.has(VERBOSE.name),
    })
}

fn sampling(shell: &mut Shell<'_>, arguments: &Arguments<'_>) -> Result<SamplingConfig, CommandError> {
    const NUMBER: &str = "a number";
    let request = SamplingRequest {
        temperature: arguments.option(TEMP.name, NUMBER)?,
        top_k: arguments.option(TOP_K.name, "a number of tokens")?,
        top_p: arguments.option(TOP_P.name, NUMBER)?,
        min_p: arguments.option(MIN_P.name, NUMBER)?,
        repeat_penalty: arguments.option(REPEAT_PENALTY.name, NUMBER)?,
        frequency_penalty: arguments.option(FREQUENCY_PENALTY.name, NUMBER)?,
        presence_penalty: arguments.option(PRESENCE_PENALTY.name, NUMBER)?,
        repeat_last_n: arguments.option(REPEAT_LAST_N.name, MaxTokens::EXPECTED)?,
        seed: arguments.option(SEED.name, "a whole number, or -1 for a random one")?,
    };
    let config = request.config(shell.machine.random_seed).map_err(BackendError::from)?;
    if request.seed == Some(Seed::Random) {
        shell.terminal.warn(format_args!("seed {}", config.seed));
    }
    Ok(config)
}

/// How many tokens may be generated: positional argument `index`, or the option.
fn max_tokens(arguments: &Arguments<'_>, index: usize, default: usize) -> Result<usize, CommandError> {
    let argument: Option<MaxTokens> = arguments.value(index, "N", MaxTokens::EXPECTED)?;
    let option = arguments.option(MAX_TOKENS.name, MaxTokens::EXPECTED)?;
    match (argument, option) {
        (Some(_), Some(_)) => Err(CommandError::GivenTwice { argument: "N", option: MAX_TOKENS.name }),
        (argument, option) => Ok(argument.or(option).map_or(default, |MaxTokens(n)| n)),
    }
}
