//! The options that say how tokens are chosen.

use super::{OptionSpec, Values};

/// `--temp`.
pub const TEMP: OptionSpec = OptionSpec::new(
    "temp",
    "T",
    "temperature; 0, as unless told, takes the likeliest token; 0.8 with --top-k, --top-p, --min-p or --seed",
)
.or(&["temperature"]);
/// `--top-k`.
pub const TOP_K: OptionSpec =
    OptionSpec::new("top-k", "K", "draw from the K likeliest tokens; 0 or -1 from all");
/// `--top-p`.
pub const TOP_P: OptionSpec =
    OptionSpec::new("top-p", "P", "draw from the likeliest tokens that together reach probability P");
/// `--min-p`.
pub const MIN_P: OptionSpec =
    OptionSpec::new("min-p", "P", "leave out tokens less than P times as likely as the likeliest");
/// `--repeat-penalty`.
pub const REPEAT_PENALTY: OptionSpec =
    OptionSpec::new("repeat-penalty", "R", "make recent tokens less likely by this factor; 1 does not");
/// `--frequency-penalty`.
pub const FREQUENCY_PENALTY: OptionSpec = OptionSpec::new(
    "frequency-penalty",
    "F",
    "take F from the logits of recent tokens for each time that they came; 0 does not",
);
/// `--presence-penalty`.
pub const PRESENCE_PENALTY: OptionSpec =
    OptionSpec::new("presence-penalty", "P", "take P from the logits of recent tokens; 0 does not");
/// `--repeat-last-n`.
pub const REPEAT_LAST_N: OptionSpec = OptionSpec::new(
    "repeat-last-n",
    "N",
    "how many tokens the three penalties look back at, 64 unless told; -1 at all",
);
/// `--seed`.
pub const SEED: OptionSpec = OptionSpec::new(
    "seed",
    "S",
    "start of the random numbers, 0 unless told; -1 for a random one, which is shown",
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
    "leave out tokens with logits more than N standard deviations below the highest; 0 or -1 none",
)
.or(&["top-n-sigma"]);
/// `--xtc-probability`.
pub const XTC_PROBABILITY: OptionSpec = OptionSpec::new(
    "xtc-probability",
    "P",
    "chance that of several likely tokens all but the least likely are left out, 0 unless told",
);
/// `--xtc-threshold`.
pub const XTC_THRESHOLD: OptionSpec =
    OptionSpec::new("xtc-threshold", "P", "how likely these tokens are at least, 0.1 unless told");
/// `--dynatemp-range`.
pub const DYNATEMP_RANGE: OptionSpec = OptionSpec::new(
    "dynatemp-range",
    "R",
    "let the temperature go with the entropy, from R below --temp to R above; 0 does not",
);
/// `--dynatemp-exp`.
pub const DYNATEMP_EXP: OptionSpec =
    OptionSpec::new("dynatemp-exp", "E", "power of the entropy that it goes with, 1 unless told");
/// `--dry-multiplier`.
pub const DRY_MULTIPLIER: OptionSpec = OptionSpec::new(
    "dry-multiplier",
    "M",
    "make tokens less likely that would continue a repetition: M times a power of its length; 0 does not",
);
/// `--dry-base`.
pub const DRY_BASE: OptionSpec =
    OptionSpec::new("dry-base", "B", "base of that power, 1 or more, 1.75 unless told");
/// `--dry-allowed-length`.
pub const DRY_ALLOWED_LENGTH: OptionSpec = OptionSpec::new(
    "dry-allowed-length",
    "N",
    "tokens that may be repeated without that, 2 unless told; the power is of what is beyond",
);
/// `--dry-penalty-last-n`.
pub const DRY_PENALTY_LAST_N: OptionSpec = OptionSpec::new(
    "dry-penalty-last-n",
    "N",
    "how many tokens repetitions are looked for in, 64 unless told; -1 all",
);
/// `--dry-sequence-breaker`.
pub const DRY_SEQUENCE_BREAKER: OptionSpec = OptionSpec::new(
    "dry-sequence-breaker",
    "TEXT",
    "a text that ends repetitions, instead of line ends, colons, quotes and asterisks; may be given again; none is none",
);
/// `--mirostat`.
pub const MIROSTAT: OptionSpec = OptionSpec::new(
    "mirostat",
    "VERSION",
    "choose tokens by Mirostat 1 or 2 instead of the filters; 0, as unless told, does not",
)
.of(Values::Names(|list| ["0", "1", "2"].into_iter().for_each(list)));
/// `--mirostat-ent`.
pub const MIROSTAT_ENT: OptionSpec =
    OptionSpec::new("mirostat-ent", "TAU", "surprise in bits that Mirostat aims at, 5 unless told");
/// `--mirostat-lr`.
pub const MIROSTAT_LR: OptionSpec =
    OptionSpec::new("mirostat-lr", "ETA", "how fast Mirostat learns, 0.1 unless told");
/// `--samplers`.
pub const SAMPLERS: OptionSpec = OptionSpec::new(
    "samplers",
    "NAMES",
    "the stages in their order, as llm info --sampling shows them: 'top_k;temperature'",
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
