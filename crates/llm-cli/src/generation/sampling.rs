//! [`SamplingArguments`]: how tokens are chosen, using the engine's table of options.

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};
use llm::front::options::{OptionSpec, SAMPLING};
use llm::sampling::{SamplingConfig, SamplingRequest};

use crate::complain;

/// The given options, by name, with their values.
pub struct SamplingArguments(Vec<(&'static str, String)>);

impl SamplingArguments {
    /// The request that they describe.
    pub fn request(&self) -> SamplingRequest<'_> {
        let mut request = SamplingRequest::default();
        for (option, value) in &self.0 {
            // The values were checked when they were parsed.
            let _ = request.set(option, value);
        }
        request
    }
}

/// The sampling configuration for a request. A random seed is printed.
pub fn config(request: &SamplingRequest<'_>) -> Result<SamplingConfig> {
    let random_seed =
        if request.is_random() { getrandom::u32().context("cannot make a random seed")? } else { 0 };
    let config = request.config(|| random_seed.into())?;
    if request.is_random() {
        complain(&format!("seed {}", config.seed));
    }
    Ok(config)
}

fn argument(option: &'static OptionSpec) -> Arg {
    let argument = Arg::new(option.name).long(option.name);
    if option.value.is_none() {
        return argument.action(ArgAction::SetTrue);
    }
    let parse = |text: &str| {
        let taken = SamplingRequest::default().set(option.name, text);
        taken.map(|()| text.to_owned()).map_err(|expected| format!("expected {expected}"))
    };
    argument.action(ArgAction::Append).allow_hyphen_values(true).value_parser(parse)
}

impl Args for SamplingArguments {
    fn augment_args(command: Command) -> Command {
        SAMPLING.iter().fold(command, |command, option| command.arg(argument(option)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SamplingArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for option in SAMPLING {
            match option.value {
                None if matches.get_flag(option.name) => given.push((option.name, String::new())),
                None => {}
                Some(_) => {
                    let values = matches.get_many::<String>(option.name).into_iter().flatten();
                    given.extend(values.map(|value| (option.name, value.clone())));
                }
            }
        }
        Ok(Self(given))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
