//! What the arguments of `infer`, `chat` and `batch` say beyond the prompt, [`Wanted`]: how many tokens to generate, how to
//! choose them, and where to stop.

use llm::{
    front::{
        GrammarText, LogprobWish, Wanted,
        options::{
            GRAMMAR, JSON_SCHEMA, LOGPROBS, MAX_SPECULATED, MAX_TOKENS, MaxTokens, NLogprobs,
            POST_SAMPLING_PROBS, REASONING_BUDGET, SAMPLING, SPECULATE, STOP, VERBOSE,
        },
    },
    sampling::{SamplingConfig, SamplingRequest},
};

use crate::llm::BackendError;
use crate::shell::{
    Shell,
    arguments::{Arguments, lossy},
    command::{CommandError, Name},
};

/// What the arguments say; positional argument `n_index` may be the number of tokens. Prints the seed if it is random.
pub(super) fn wanted<'a>(
    shell: &mut Shell<'_>,
    arguments: &Arguments<'a>,
    n_index: usize,
    default_max_tokens: usize,
) -> Result<Wanted<'a>, CommandError> {
    let max_tokens = max_tokens(arguments, n_index, default_max_tokens)?;
    with_max_tokens(shell, arguments, max_tokens)
}

/// What the arguments say, if none of the positional ones is the number of tokens.
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
    let request = sampling_request(arguments)?;
    let n_logprobs = arguments.option(LOGPROBS.name, NLogprobs::EXPECTED)?.map(|NLogprobs(n)| n);
    Ok(Wanted {
        max_tokens,
        sampling: sampling(shell, &request)?,
        breakers: request.breakers().to_vec(),
        grammar: GrammarText::asked(
            arguments.option_text(GRAMMAR.name)?,
            arguments.option_text(JSON_SCHEMA.name)?,
            CommandError::Contradiction,
            |disk| Ok(shell.backend.catalog().read_text(disk)?),
        )?,
        thinking_budget: thinking_budget(arguments)?,
        ignore_eos: request.ignores_eos(),
        logprobs: LogprobWish::asked(n_logprobs, arguments.has(POST_SAMPLING_PROBS.name))
            .map_err(CommandError::Contradiction)?,
        stop: arguments.option_texts(STOP.name).collect::<Result<_, _>>()?,
        speculate: speculate.min(MAX_SPECULATED),
        trace: arguments.has(VERBOSE.name),
    })
}

/// The limit on the tokens that a model may spend on thinking, if there is one.
pub(super) fn thinking_budget(arguments: &Arguments<'_>) -> Result<Option<usize>, CommandError> {
    let option: Option<MaxTokens> = arguments.option(REASONING_BUDGET.name, MaxTokens::EXPECTED)?;
    Ok(option.and_then(MaxTokens::limit))
}

/// What the sampling options say.
pub(super) fn sampling_request<'a>(arguments: &Arguments<'a>) -> Result<SamplingRequest<'a>, CommandError> {
    let mut request = SamplingRequest::default();
    for option in SAMPLING {
        for value in arguments.option_texts(option.name) {
            let value = value?;
            request.set(option.name, value).map_err(|expected| CommandError::InvalidValue {
                name: Name::Option(option.name),
                value: lossy(value.as_bytes()),
                expected,
            })?;
        }
    }
    Ok(request)
}

/// How a request chooses tokens. Prints the seed if it is random.
pub(super) fn sampling(
    shell: &mut Shell<'_>,
    request: &SamplingRequest<'_>,
) -> Result<SamplingConfig, CommandError> {
    let config = request.config(shell.machine.random_seed).map_err(BackendError::from)?;
    if request.is_random() {
        shell.terminal.warn(format_args!("seed {}", config.seed));
    }
    Ok(config)
}

/// How many tokens may be generated: from positional argument `index`, or from the option.
fn max_tokens(arguments: &Arguments<'_>, index: usize, default: usize) -> Result<usize, CommandError> {
    let argument: Option<MaxTokens> = arguments.value(index, "N", MaxTokens::EXPECTED)?;
    let option = arguments.option(MAX_TOKENS.name, MaxTokens::EXPECTED)?;
    match (argument, option) {
        (Some(_), Some(_)) => Err(CommandError::GivenTwice { argument: "N", option: MAX_TOKENS.name }),
        (argument, option) => Ok(argument.or(option).map_or(default, |MaxTokens(n)| n)),
    }
}
