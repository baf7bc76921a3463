//! The options that say how tokens are chosen.

use super::{OptionSpec, Values};

/// `--temp`.
pub const TEMP: OptionSpec = OptionSpec::new(
    "temp",
    "T",
    "temperature; 0 always takes the likeliest token (default: 0; 0.8 with --top-k, --top-p, --min-p or --seed)",
)
.or(&["temperature"]);
/// `--top-k`.
pub const TOP_K: OptionSpec =
    OptionSpec::new("top-k", "K", "draw from the K likeliest tokens; with 0 or -1 from all");
/// `--top-p`.
pub const TOP_P: OptionSpec =
    OptionSpec::new("top-p", "P", "draw from the likeliest tokens that together reach probability P");
/// `--min-p`.
pub const MIN_P: OptionSpec =
    OptionSpec::new("min-p", "P", "leave out tokens less than P times as likely as the likeliest");
/// `--repeat-penalty`.
pub const REPEAT_PENALTY: OptionSpec = OptionSpec::new(
    "repeat-penalty",
    "R",
    "make recent tokens less likely by this factor; 1 changes nothing",
);
/// `--frequency-penalty`.
pub const FREQUENCY_PENALTY: OptionSpec = OptionSpec::new(
    "frequency-penalty",
    "F",
    "subtract F from the logit of a recent token for each time it occurred; 0 changes nothing",
);
/// `--presence-penalty`.
pub const PRESENCE_PENALTY: OptionSpec = OptionSpec::new(
    "presence-penalty",
    "P",
    "subtract P from the logits of recent tokens; 0 changes nothing",
);
/// `--repeat-last-n`.
pub const REPEAT_LAST_N: OptionSpec = OptionSpec::new(
    "repeat-last-n",
    "N",
    "how many tokens the three penalties look back at; -1 for all (default: 64)",
);
/// `--seed`.
pub const SEED: OptionSpec = OptionSpec::new(
    "seed",
    "S",
    "seed of the random numbers; -1 for a random one, which is shown (default: 0)",
)
.or(&["s"]);
/// `--typical`.
pub const TYPICAL: OptionSpec = OptionSpec::new(
    "typical",
    "P",
    "draw from the tokens nearest to the expected surprise that together reach probability P",
)
.or(&["typical-p"]);
/// `--top-nsigma`.
pub const TOP_NSIGMA: OptionSpec = OptionSpec::new(
    "top-nsigma",
    "N",
    "leave out tokens with logits more than N standard deviations below the highest; 0 or -1 for none",
)
.or(&["top-n-sigma"]);
/// `--xtc-probability`.
pub const XTC_PROBABILITY: OptionSpec = OptionSpec::new(
    "xtc-probability",
    "P",
    "chance that of several likely tokens all but the least likely are left out (default: 0)",
);
/// `--xtc-threshold`.
pub const XTC_THRESHOLD: OptionSpec =
    OptionSpec::new("xtc-threshold", "P", "how likely a token must be to be one of these (default: 0.1)");
/// `--dynatemp-range`.
pub const DYNATEMP_RANGE: OptionSpec = OptionSpec::new(
    "dynatemp-range",
    "R",
    "vary the temperature with the entropy, from R below --temp to R above; 0 changes nothing",
);
/// `--dynatemp-exp`.
pub const DYNATEMP_EXP: OptionSpec =
    OptionSpec::new("dynatemp-exp", "E", "power of the entropy by which it varies (default: 1)");
/// `--dry-multiplier`.
pub const DRY_MULTIPLIER: OptionSpec = OptionSpec::new(
    "dry-multiplier",
    "M",
    "make tokens less likely that would continue a repetition, by M times a power of its length; 0 changes nothing",
);
/// `--dry-base`.
pub const DRY_BASE: OptionSpec =
    OptionSpec::new("dry-base", "B", "base of that power, 1 or more (default: 1.75)");
/// `--dry-allowed-length`.
pub const DRY_ALLOWED_LENGTH: OptionSpec = OptionSpec::new(
    "dry-allowed-length",
    "N",
    "length beyond which continuing a repetition is penalised (default: 2)",
);
/// `--dry-penalty-last-n`.
pub const DRY_PENALTY_LAST_N: OptionSpec = OptionSpec::new(
    "dry-penalty-last-n",
    "N",
    "how many tokens are searched for repetitions; -1 for all (default: 64)",
);
/// `--dry-sequence-breaker`.
pub const DRY_SEQUENCE_BREAKER: OptionSpec = OptionSpec::new(
    "dry-sequence-breaker",
    "TEXT",
    "a text that ends repetitions, instead of line ends, colons, quotes and asterisks; may be given again; `none` for no such text",
);
/// `--mirostat`.
pub const MIROSTAT: OptionSpec = OptionSpec::new(
    "mirostat",
    "VERSION",
    "choose tokens by Mirostat 1 or 2 instead of the filters; 0 for neither (default: 0)",
)
.of(Values::Names(|list| ["0", "1", "2"].into_iter().for_each(list)));
/// `--mirostat-ent`.
pub const MIROSTAT_ENT: OptionSpec =
    OptionSpec::new("mirostat-ent", "TAU", "surprise in bits that Mirostat aims at (default: 5)");
/// `--mirostat-lr`.
pub const MIROSTAT_LR: OptionSpec =
    OptionSpec::new("mirostat-lr", "ETA", "learning rate of Mirostat (default: 0.1)");
/// `--samplers`.
pub const SAMPLERS: OptionSpec = OptionSpec::new(
    "samplers",
    "NAMES",
    "the stages in their order, by the names that llm info --sampling shows, such as 'top_k;temperature'",
);
/// `--ignore-eos`.
pub const IGNORE_EOS: OptionSpec = OptionSpec::flag("ignore-eos", "never choose a token that ends the text");
/// The options that say how tokens are chosen; [`SamplingRequest::set`](crate::sampling::SamplingRequest::set) takes
/// them.
pub const SAMPLING: &[OptionSpec] = &[
    TEMP,
    TOP_K,
    TOP_P,
    MIN_P,
    TYPICAL,
    TOP_NSIGMA,
    XTC_PROBABILITY,
    XTC_THRESHOLD,
    DYNATEMP_RANGE,
    DYNATEMP_EXP,
    REPEAT_PENALTY,
    FREQUENCY_PENALTY,
    PRESENCE_PENALTY,
    REPEAT_LAST_N,
    DRY_MULTIPLIER,
    DRY_BASE,
    DRY_ALLOWED_LENGTH,
    DRY_PENALTY_LAST_N,
    DRY_SEQUENCE_BREAKER,
    MIROSTAT,
    MIROSTAT_ENT,
    MIROSTAT_LR,
    SAMPLERS,
    IGNORE_EOS,
    SEED,
];
