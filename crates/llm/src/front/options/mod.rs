//! The options of commands: one table for the kernel's shell and the host program.
//!
//! Both have the same commands, and take the options of [`INFER`], [`CHAT`] and so on under the same names, with the
//! same meaning and defaults. An option that exists in the host program only says why ([`OptionSpec::host_only`]).

use crate::chat::FAMILIES;
use crate::kv_cache::CacheType;
use crate::scheduler::Pooling;

mod numbers;
mod sampling;

pub use numbers::*;
pub use sampling::*;

/// What the value of an option can be, as far as this is known beforehand: a shell completes it.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// Nothing is known.
    Any,
    /// The name of a model.
    Model,
    /// The name of an adapter.
    Adapter,
    /// The name of a text.
    Text,
    /// A set of inner loops that this CPU can run.
    Kernels,
    /// One of the names that this function lists.
    Names(fn(&mut dyn FnMut(&'static str))),
}

/// The names of cache types.
const CACHE_TYPES: Values = Values::Names(|list| CacheType::names().for_each(list));

/// An option of a command.
#[derive(Debug)]
pub struct OptionSpec {
    /// Its name without the hyphens.
    pub name: &'static str,
    /// Other names. Those of one letter are written with one hyphen.
    pub aliases: &'static [&'static str],
    /// The placeholder for its value in the help, `None` if it takes no value.
    pub value: Option<&'static str>,
    /// What its value can be.
    pub values: Values,
    /// Its help, one line.
    pub help: &'static str,
    /// The help in the host program, where it differs.
    pub host_help: Option<&'static str>,
    /// The placeholder in the host program, where it differs.
    pub host_value: Option<&'static str>,
    /// If the kernel does not have the option, the reason.
    pub host_only: Option<&'static str>,
}

impl OptionSpec {
    /// An option with a value, for which `value` is the placeholder.
    pub const fn new(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Self {
            name,
            aliases: &[],
            value: Some(value),
            values: Values::Any,
            help,
            host_help: None,
            host_value: None,
            host_only: None,
        }
    }

    /// An option without a value.
    pub const fn flag(name: &'static str, help: &'static str) -> Self {
        Self { value: None, ..Self::new(name, "", help) }
    }

    /// The same with a value that is known to be one of these.
    pub const fn of(self, values: Values) -> Self {
        Self { values, ..self }
    }

    /// The same with other names.
    pub const fn or(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    /// The same with a different help on the host.
    pub const fn on_host(self, help: &'static str) -> Self {
        Self { host_help: Some(help), ..self }
    }

    /// The same with a different placeholder on the host.
    pub const fn with_host_value(self, value: &'static str) -> Self {
        Self { host_value: Some(value), ..self }
    }

    /// The same, for the host alone.
    pub const fn host_only(self, reason: &'static str) -> Self {
        Self { host_only: Some(reason), ..self }
    }

    /// Whether `name`, given without hyphens, is one of its names.
    pub fn is_called(&self, name: &[u8]) -> bool {
        self.name.as_bytes() == name || self.aliases.iter().any(|alias| alias.as_bytes() == name)
    }
}

impl core::fmt::Display for OptionSpec {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.value {
            Some(value) => write!(f, "--{} {value}", self.name),
            None => write!(f, "--{}", self.name),
        }
    }
}

/// Most tokens that `infer` generates by default.
pub const INFER_MAX_TOKENS: usize = 128;

/// Most tokens of an answer of `chat` by default: as many as there is room for.
pub const CHAT_MAX_TOKENS: usize = usize::MAX;

/// Number of answers that `batch` computes together by default, if there are as many prompts.
pub const BATCH_N_PARALLEL: usize = 8;

/// Most tokens that are guessed at a time.
pub const MAX_SPECULATED: usize = 8;

/// `--model`.
pub const MODEL: OptionSpec =
    OptionSpec::new("model", "NAME", "the model, by its name, instead of the current or the first one")
        .or(&["m"])
        .on_host("the model: a GGUF file, or a short name that `llm pull` has fetched")
        .with_host_value("FILE")
        .of(Values::Model);
/// `--prompt`.
pub const PROMPT: OptionSpec =
    OptionSpec::new("prompt", "TEXT", "the same as the argument PROMPT").or(&["p"]);
/// `--max-tokens` of `infer`.
pub const MAX_TOKENS: OptionSpec = OptionSpec::new(
    "max-tokens",
    "N",
    "the same as the argument N; -1 until the text ends or the context is full (default: 128)",
)
.or(&["n", "predict", "n-predict"]);
/// `--max-tokens` of `chat`.
pub const ANSWER_MAX_TOKENS: OptionSpec = OptionSpec::new(
    "max-tokens",
    "N",
    "the same as the argument N; -1 until the answer ends or the context is full (default: -1)",
)
.or(&["n", "predict", "n-predict"]);
/// `--max-tokens` of `batch`.
pub const EACH_MAX_TOKENS: OptionSpec = OptionSpec::new(
    "max-tokens",
    "N",
    "most tokens of each answer; -1 until it ends or the context is full (default: 128)",
)
.or(&["n", "predict", "n-predict"]);
/// `--prompts` of `batch`.
pub const PROMPTS: OptionSpec = OptionSpec::new(
    "prompts",
    "DISK",
    "a disk, by its serial number, that is a text with a prompt in each line, instead of arguments",
)
.or(&["f", "file"])
.on_host("a text file with a prompt in each line, instead of arguments; blank lines are skipped")
.with_host_value("FILE")
.of(Values::Text);
/// `--parallel` of `load`.
pub const PARALLEL: OptionSpec =
    OptionSpec::new("parallel", "N", "texts that can be computed together, 64 at most (default: 1)")
        .or(&["np"]);
/// `--parallel` of `batch`.
pub const BATCH_PARALLEL: OptionSpec = OptionSpec::new(
    "parallel",
    "N",
    "answers computed together, 64 at most (default: that of llm load, or else 8, or as many as there are prompts)",
)
.or(&["np"])
.on_host("answers computed together, 64 at most (default: 8, or as many as there are prompts)");
/// `--logprobs`.
pub const LOGPROBS: OptionSpec = OptionSpec::new(
    "logprobs",
    "N",
    "print each token in a line, with the logarithm of its probability and those of the N likeliest, 20 at most",
);
/// `--post-sampling-probs`.
pub const POST_SAMPLING_PROBS: OptionSpec = OptionSpec::flag(
    "post-sampling-probs",
    "with --logprobs, show probabilities after the filters instead of the model's own",
);
/// `--speculate`.
pub const SPECULATE: OptionSpec = OptionSpec::new(
    "speculate",
    "N",
    "guess up to N tokens, 8 at most, from what followed the same words: same text, sooner",
);
/// `--stop`.
pub const STOP: OptionSpec = OptionSpec::new(
    "stop",
    "TEXT",
    "end at this text, or at the token of this name; may be given several times",
);
/// `--grammar`.
pub const GRAMMAR: OptionSpec = OptionSpec::new(
    "grammar",
    "DISK",
    "a grammar in GBNF that answers follow: the text of a disk, by its serial number, or the grammar itself, which has ::=",
)
.on_host("a grammar in GBNF that answers follow: a file, or the grammar itself, which has ::=")
.with_host_value("FILE").of(Values::Text);
/// `--json-schema`.
pub const JSON_SCHEMA: OptionSpec = OptionSpec::new(
    "json-schema",
    "DISK",
    "answer in JSON that is valid against a schema: the text of a disk, by its serial number, or the schema itself, which begins with {",
)
.on_host("answer in JSON that is valid against a schema: a file, or the schema itself, which begins with {")
.with_host_value("FILE").of(Values::Text);
/// `--ids`.
pub const IDS: OptionSpec = OptionSpec::flag("ids", "print the ids of the tokens, not text");
/// `--special` of `infer`.
pub const SPECIAL: OptionSpec =
    OptionSpec::flag("special", "read the names of special tokens in the text as those tokens");
/// `--chat`.
pub const CHAT_FLAG: OptionSpec = OptionSpec::flag(
    "chat",
    "answer the prompt as a message in the model's chat format, instead of continuing it",
);
/// `--system`.
pub const SYSTEM: OptionSpec =
    OptionSpec::new("system", "TEXT", "the system message, which comes before the conversation");
/// `--template`.
pub const TEMPLATE: OptionSpec = OptionSpec::new(
    "template",
    "NAME",
    "chat format, such as chatml, instead of the one in the model's file",
)
.of(Values::Names(|list| FAMILIES.iter().for_each(|family| list(family.name))));
/// `--thinking`.
pub const THINKING: OptionSpec = OptionSpec::flag(
    "thinking",
    "ask a model that can think first to do so, even where its format would not",
);
/// `--no-thinking`.
pub const NO_THINKING: OptionSpec =
    OptionSpec::flag("no-thinking", "ask a model that can think first not to do so");
/// `--reasoning-effort`.
pub const REASONING_EFFORT: OptionSpec = OptionSpec::new(
    "reasoning-effort",
    "LEVEL",
    "how much a model thinks first, if its format has levels; most have low, medium and high",
)
.of(Values::Names(|list| ["low", "medium", "high"].into_iter().for_each(list)));
/// `--reasoning-budget`.
pub const REASONING_BUDGET: OptionSpec = OptionSpec::new(
    "reasoning-budget",
    "N",
    "most tokens of a model's thought, which is closed there; -1 for no limit (default: -1)",
);
/// `--receipt`.
pub const RECEIPT: OptionSpec = OptionSpec::flag(
    "receipt",
    "print a receipt after the answer: a line of JSON from which `llm verify-receipt` computes whether the answer is right",
);
/// `--nonce`.
pub const NONCE: OptionSpec = OptionSpec::new(
    "nonce",
    "TEXT",
    "a text that the receipt repeats, which shows that it is not an older one",
);
/// `--receipt-key`.
pub const RECEIPT_KEY: OptionSpec = OptionSpec::new(
    "receipt-key",
    "FILE",
    "the key that signs receipts, 64 hexadecimal digits (default: a new key, which is not kept)",
)
.host_only("the kernel's key is made, or given, at boot");
/// `--verbose`.
pub const VERBOSE: OptionSpec = OptionSpec::flag(
    "verbose",
    "log the magnitudes of a model's weights when it is loaded, and the range of the logits at each step",
)
.on_host("show the magnitudes of the weights, the logits' range at each step and, at the end, how it went");
/// `--verbose` of `batch`.
pub const BATCH_VERBOSE: OptionSpec = OptionSpec::flag(
    "verbose",
    "log the magnitudes of a model's weights when it is loaded; show how each answer went and how all were computed",
)
.on_host("show the magnitudes of the weights, how each answer went and how all were computed");
/// `--ctx`.
pub const CTX: OptionSpec = OptionSpec::new(
    "ctx",
    "N",
    "context length in tokens (default: that of llm load, or else the model's, up to 2048)",
)
.or(&["c", "ctx-size"])
.on_host("context length in tokens (default: what the request needs; for chat the model's, up to 4096)");
/// `--kv-type`.
pub const KV_TYPE: OptionSpec = OptionSpec::new(
    "kv-type",
    "TYPE",
    "number format of cached keys and values: f16, f32, q8_0, q5_0 or q4_0 (default: f16)",
)
.of(CACHE_TYPES);
/// `--type-k`.
pub const TYPE_K: OptionSpec = OptionSpec::new("type-k", "TYPE", "number format of cached keys alone")
    .or(&["cache-type-k", "ctk"])
    .of(CACHE_TYPES);
/// `--type-v`.
pub const TYPE_V: OptionSpec = OptionSpec::new("type-v", "TYPE", "number format of cached values alone")
    .or(&["cache-type-v", "ctv"])
    .of(CACHE_TYPES);
/// `--lora`.
pub const LORA: OptionSpec = OptionSpec::new(
    "lora",
    "NAME[:SCALE]",
    "an adapter (LoRA) on a disk, by its name, applied to the model times SCALE; may be given again (default scale: 1)",
)
.on_host("an adapter (LoRA) applied to the model times SCALE; may be given again (default scale: 1)")
.with_host_value("FILE[:SCALE]").of(Values::Adapter);
/// `--threads`.
pub const THREADS: OptionSpec =
    OptionSpec::new("threads", "N", "most cores that compute (default: all)").or(&["t"]);
/// `--kernels`.
pub const KERNELS: OptionSpec = OptionSpec::new(
    "kernels",
    "NAME",
    "inner loops for an instruction set; llm info --kernels lists them (default: the fastest)",
)
.of(Values::Kernels);
/// `--exact`.
pub const EXACT: OptionSpec = OptionSpec::flag(
    "exact",
    "multiply f32 activations by dequantised weights: slow, but shows what is the model's error and what the arithmetic's",
);

/// The file that `--lora` names, and its scale: the finite number after a colon, or 1 without one.
pub fn scaled(text: &str) -> (&str, f32) {
    let scaled = text.rsplit_once(':').and_then(|(name, scale)| Some((name, scale.parse().ok()?)));
    scaled.filter(|(_, scale): &(_, f32)| scale.is_finite()).unwrap_or((text, 1.0))
}

/// The options of a command, in groups that several may share.
pub type Options = &'static [&'static [OptionSpec]];

/// Options that say how requests are computed.
const ENGINE: &[OptionSpec] = &[CTX, LORA, KV_TYPE, TYPE_K, TYPE_V, THREADS, KERNELS, EXACT];

/// `infer`.
pub const INFER: Options = &[
    &[MODEL, PROMPT, MAX_TOKENS],
    SAMPLING,
    &[
        LOGPROBS,
        POST_SAMPLING_PROBS,
        SPECULATE,
        STOP,
        GRAMMAR,
        JSON_SCHEMA,
        IDS,
        RECEIPT,
        NONCE,
        RECEIPT_KEY,
        SPECIAL,
        CHAT_FLAG,
        SYSTEM,
        TEMPLATE,
        THINKING,
        NO_THINKING,
        REASONING_EFFORT,
        REASONING_BUDGET,
        VERBOSE,
    ],
    ENGINE,
];

/// `chat`.
pub const CHAT: Options = &[
    &[MODEL, ANSWER_MAX_TOKENS, SYSTEM, TEMPLATE, THINKING, NO_THINKING, REASONING_EFFORT, REASONING_BUDGET],
    SAMPLING,
    &[LOGPROBS, POST_SAMPLING_PROBS, SPECULATE, STOP, GRAMMAR, JSON_SCHEMA, VERBOSE],
    ENGINE,
];

/// `--texts` of `embed`.
pub const TEXTS: OptionSpec = OptionSpec::new(
    "texts",
    "DISK",
    "a disk, by its serial number, that is a text with one of the texts in each line, instead of arguments",
)
.or(&["f", "file"])
.on_host("a file with one of the texts in each line, instead of arguments; blank lines are skipped")
.with_host_value("FILE")
.of(Values::Text);
/// `--parallel` of `embed` and `rerank`.
pub const TEXTS_PARALLEL: OptionSpec = OptionSpec::new(
    "parallel",
    "N",
    "texts computed together, 64 at most (default: that of llm load, or else 8, or as many as there are)",
)
.or(&["np"])
.on_host("texts computed together, 64 at most (default: 8, or as many as there are)");
/// `--pooling`.
pub const POOLING: OptionSpec = OptionSpec::new(
    "pooling",
    "TYPE",
    "how the vectors of tokens become one: none, mean, cls (the first), last, or rank (scores) (default: as the file says)",
).of(Values::Names(|list| Pooling::NAMES.iter().for_each(|&(name, _)| list(name))));
/// `--no-normalise`.
pub const NO_NORMALISE: OptionSpec =
    OptionSpec::flag("no-normalise", "leave vectors as they are, instead of making their length 1")
        .or(&["no-normalize"]);

/// `embed`.
pub const EMBED: Options = &[&[MODEL, TEXTS, POOLING, NO_NORMALISE, TEXTS_PARALLEL], ENGINE];

/// `rerank`.
pub const RERANK: Options = &[&[MODEL, TEXTS, TEXTS_PARALLEL], ENGINE];

/// `batch`.
pub const BATCH: Options = &[
    &[MODEL, PROMPTS, BATCH_PARALLEL, EACH_MAX_TOKENS],
    SAMPLING,
    &[
        SPECULATE,
        STOP,
        GRAMMAR,
        JSON_SCHEMA,
        IDS,
        SPECIAL,
        CHAT_FLAG,
        SYSTEM,
        TEMPLATE,
        THINKING,
        NO_THINKING,
        REASONING_EFFORT,
        REASONING_BUDGET,
        BATCH_VERBOSE,
    ],
    ENGINE,
];

/// `bench`.
pub const BENCH: Options = &[
    &[
        MODEL,
        OptionSpec::new("prompt", "N", "tokens of the prompt (default: 128)").or(&[
            "p",
            "prompt-tokens",
            "n-prompt",
        ]),
        OptionSpec::new("generate", "N", "tokens generated (default: 32)").or(&[
            "n",
            "generate-tokens",
            "n-gen",
        ]),
        OptionSpec::new("depth", "N", "tokens that are in the context before those (default: 0)").or(&["d", "n-depth"]),
        OptionSpec::new(
            "runs",
            "N",
            "how often it is measured; of several runs the medians are shown, and one before them does not count (default: 3)",
        )
        .or(&["r", "repetitions"]),
        OptionSpec::new("parallel", "N", "also measure N texts generated together, 64 at most")
            .or(&["np"]),
        OptionSpec::flag("json", "one JSON object instead of a table"),
    ],
    ENGINE,
];

/// `tokenize`.
pub const TOKENIZE: Options = &[&[
    MODEL,
    OptionSpec::flag("no-bos", "add no start or end token"),
    SPECIAL,
    OptionSpec::new("file", "FILE", "a file with the text; a newline at its end is part of it")
        .or(&["f"])
        .host_only("the kernel has no files but models: give the text as an argument"),
]];

/// `logits`.
pub const LOGITS: Options = &[
    &[
        MODEL,
        OptionSpec::new("tokens", "ID,ID...", "the same as the argument"),
        OptionSpec::new(
            "output",
            "FILE",
            "write little-endian f32, one row of the vocabulary per token, to a file instead of showing them",
        )
        .or(&["o"])
        .host_only("the kernel writes no files: it shows the logits, to the last bit"),
    ],
    ENGINE,
];

/// `info`.
pub const INFO: Options = &[
    &[
        MODEL,
        OptionSpec::flag("metadata", "also list all metadata keys with their values; long ones are cut"),
        OptionSpec::flag("tensors", "also list all tensors with type, shape, place and size"),
        OptionSpec::flag("kernels", "list the names for --kernels of the other commands"),
        OptionSpec::flag(
            "sampling",
            "show how tokens are chosen with the sampling options given beside it, a line for each stage",
        ),
    ],
    SAMPLING,
];

/// `verify`.
pub const VERIFY: Options = &[&[MODEL, PUBLIC_KEY, MANIFEST, ROOT]];

/// Why the kernel's `verify` takes no key, manifest or root hash.
const AT_BOOT: &str = "the kernel is told at boot: ferrite.verity";
/// `--public-key` of `verify`.
const PUBLIC_KEY: OptionSpec = OptionSpec::new(
    "public-key",
    "FILE",
    "a minisign key whose owner may sign the manifest; may be given again",
)
.host_only(AT_BOOT);
/// `--manifest` of `verify`.
const MANIFEST: OptionSpec = OptionSpec::new(
    "manifest",
    "FILE",
    "the manifest of models, with its signature beside it (default: models.manifest)",
)
.host_only(AT_BOOT);
/// `--root` of `verify`.
const ROOT: OptionSpec =
    OptionSpec::new("root", "ROOT", "the root hash of the file's tree, which vouches for the file")
        .host_only(AT_BOOT);

/// All commands that both programs have, by their names in the host program. In the kernel the names begin with `llm `.
pub const COMMANDS: &[(&str, Options)] = &[
    ("infer", INFER),
    ("batch", BATCH),
    ("embed", EMBED),
    ("rerank", RERANK),
    ("chat", CHAT),
    ("bench", BENCH),
    ("tokenize", TOKENIZE),
    ("logits", LOGITS),
    ("info", INFO),
    ("verify", VERIFY),
];

/// The error if options of a chat are given without a chat.
pub const CHAT_IS_MISSING: &str = "--system, --template, --thinking, --no-thinking, --reasoning-effort and --reasoning-budget are about a chat: give --chat too";

/// The error if both a grammar and a schema are given.
pub const TWO_GRAMMARS: &str = "--grammar and --json-schema contradict each other: give one of them";

/// The error if a file has no texts.
pub const NO_TEXTS: &str = "there are no texts in the file, expected one in each line";

/// The error if a file has no prompts.
pub const NO_PROMPTS: &str = "there are no prompts in the file, expected one in each line";

/// The error if `--special` is given in a chat.
pub const SPECIAL_IN_CHAT: &str = "--special cannot be given with --chat: in a chat, names of special tokens always stand \
                                   for those tokens";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ChatTemplate;
    use crate::front::bench::BenchPlan;
    use crate::gguf::Gguf;
    use crate::scheduler::MAX_RUNNING;
    use crate::tokenizer::Tokenizer;
    use alloc::collections::BTreeSet;

    #[test]
    fn values_that_are_listed_can_be_read_and_are_in_the_help() {
        let file = broken_gguf::good();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let in_words = |text: &str, name: &str| {
            text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|word| word == name)
        };
        let read = |option: &OptionSpec, name: &str| match option.name {
            "kv-type" => CacheType::from_name(name).is_some() && in_words(option.help, name),
            "type-k" | "type-v" => CacheType::from_name(name).is_some(),
            "pooling" => {
                name.parse::<Pooling>().is_ok()
                    && in_words(Pooling::EXPECTED, name)
                    && in_words(option.help, name)
            }
            "template" => ChatTemplate::by_name(name, &tokenizer).is_ok(),
            "mirostat" => crate::sampling::SamplingRequest::default().set(option.name, name).is_ok(),
            "reasoning-effort" => in_words(option.help, name),
            other => panic!("{other} has values of which this test knows nothing"),
        };
        let mut n_listed = 0;
        for option in COMMANDS.iter().flat_map(|(_, options)| options.iter().copied().flatten()) {
            if let Values::Names(list) = option.values {
                list(&mut |name| {
                    n_listed += 1;
                    assert!(read(option, name), "{option}: {name}");
                });
            }
        }
        assert!(n_listed > 50);
    }

    #[test]
    fn no_name_means_two_things_in_a_command() {
        for (command, options) in COMMANDS {
            let mut names = BTreeSet::from(["help", "h"]);
            for option in options.iter().copied().flatten() {
                for name in option.aliases.iter().chain([&option.name]) {
                    assert!(names.insert(name), "{command}: {name}");
                }
            }
        }
    }

    #[test]
    fn the_defaults_are_those_that_the_help_tells() {
        let told = |options: Options, name: &str, default: usize| {
            let option = options.iter().copied().flatten().find(|option| option.name == name).unwrap();
            assert!(option.help.contains(&alloc::format!("(default: {default})")), "{}", option.help);
        };
        told(INFER, "max-tokens", INFER_MAX_TOKENS);
        told(BATCH, "max-tokens", INFER_MAX_TOKENS);
        assert!(BATCH_PARALLEL.help.contains(&alloc::format!(" {BATCH_N_PARALLEL}, or as many")));
        assert!(BATCH_PARALLEL.help.contains(&alloc::format!(" {MAX_RUNNING} at most")));
        let BenchPlan { n_prompt, n_generate, depth, n_runs, .. } = BenchPlan::DEFAULT;
        assert!(
            BENCH
                .iter()
                .copied()
                .flatten()
                .any(|option| option.help.contains(&alloc::format!(" {MAX_RUNNING} at most")))
        );
        told(BENCH, "prompt", n_prompt);
        told(BENCH, "generate", n_generate);
        told(BENCH, "depth", depth);
        told(BENCH, "runs", n_runs);
        assert!(SPECULATE.help.contains(&alloc::format!(" {} at most", MAX_SPECULATED)));
        assert_eq!("-1".parse(), Ok(MaxTokens(CHAT_MAX_TOKENS)));
    }
}
