//! What `infer`, `chat` and `batch` are asked for beside the prompt, [`Wanted`]: how many tokens, how they are chosen, where they
//! end.

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

/// How many tokens a model may think, if that is limited.
pub(super) fn thinking_budget(arguments: &Arguments<'_>) -> Result<Option<usize>, CommandError> {
    let option: Option<MaxTokens> = arguments.option(REASONING_BUDGET.name, MaxTokens::EXPECTED)?;
    Ok(option.and_then(MaxTokens::limit))
}

/// What the options of sampling ask for.
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

/// How tokens are chosen by a request. A random seed is shown.
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

/// How many tokens may be generated: positional argument `index`, or the option.
fn max_tokens(arguments: &Arguments<'_>, index: usize, default: usize) -> Result<usize, CommandError> {
    let argument: Option<MaxTokens> = arguments.value(index, "N", MaxTokens::EXPECTED)?;
    let option = arguments.option(MAX_TOKENS.name, MaxTokens::EXPECTED)?;
    match (argument, option) {
        (Some(_), Some(_)) => Err(CommandError::GivenTwice { argument: "N", option: MAX_TOKENS.name }),
        (argument, option) => Ok(argument.or(option).map_or(default, |MaxTokens(n)| n)),
    }
}
