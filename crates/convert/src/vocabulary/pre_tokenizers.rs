//! The ways to split words that the engine knows by name, as written in published tokenizer.json files.
//!
//! The names are llama.cpp's (`tokenizer.ggml.pre`). The regular expressions of a file tell which one it means; if several names
//! mean the same way, any of them will do.

use anyhow::{Result, bail};

/// A way to split words.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// llama.cpp's name.
    pub name: &'static str,
    /// Whether words that are tokens become these tokens directly, without applying merges.
    pub ignores_merges: bool,
    /// The expressions; each is applied to the pieces that the one before has made.
    expressions: &'static [&'static str],
}

/// `ByteLevel`'s own expression, GPT-2's.
pub const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The contiguous characters that the step `Punctuation` splits off.
pub const PUNCTUATION: &str = r"[\p{P}\$\+<=>\^~\|`]+";
/// The digits that the step `Digits` splits off, together or one by one.
pub const NUMBERS: &str = r"\p{N}+";
pub const NUMBER: &str = r"\p{N}";

const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const MINICPM5: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const UFAKZEKA: &str = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const JAIS2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}";
const GPT_4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK_V3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+";
const IDEOGRAPHS: &str = "[一-龥ࠀ-一가-퟿]+";
const THREE_DIGITS: &str = "[0-9][0-9][0-9]";
const LINES: &str = r"[^\n]+|[\n]+";
const BLOOM: &str = r" ?[^(\s|[.,!?…。，、।۔،])]+";

const RULES: &[Rule] = &[
    Rule {
        name: "default",
        ignores_merges: false,
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, NUMBERS, THREE_DIGITS],
    },
    Rule { name: "falcon", ignores_merges: false, expressions: &[PUNCTUATION, GPT2, NUMBERS, THREE_DIGITS] },
    Rule { name: "falcon", ignores_merges: false, expressions: &[PUNCTUATION, GPT2, THREE_DIGITS] },
    Rule { name: "gpt-2", ignores_merges: false, expressions: &[GPT2] },
    Rule { name: "smollm", ignores_merges: false, expressions: &[NUMBER, GPT2] },
    Rule { name: "llama-bpe", ignores_merges: true, expressions: &[LLAMA3] },
    Rule { name: "dbrx", ignores_merges: false, expressions: &[LLAMA3] },
    Rule { name: "qwen2", ignores_merges: false, expressions: &[QWEN2] },
    Rule { name: "qwen35", ignores_merges: false, expressions: &[QWEN35] },
    Rule { name: "laguna", ignores_merges: false, expressions: &[LINES, QWEN2] },
    Rule { name: "minicpm5", ignores_merges: true, expressions: &[r"\p{N}{1,3}", MINICPM5] },
    Rule { name: "seed-coder", ignores_merges: false, expressions: &[SEED_CODER] },
    Rule { name: "ufakzeka", ignores_merges: false, expressions: &[UFAKZEKA] },
    Rule { name: "jais-2", ignores_merges: false, expressions: &[JAIS2] },
    Rule { name: "tekken", ignores_merges: true, expressions: &[TEKKEN] },
    Rule { name: "gpt-4o", ignores_merges: false, expressions: &[GPT_4O] },
    Rule { name: "granite-embed-multi-97m", ignores_merges: true, expressions: &[GPT_4O] },
    Rule {
        name: "deepseek-llm",
        ignores_merges: false,
        expressions: &[
            r"[\r\n]",
            DEEPSEEK_LETTERS,
            r"\s?[!-/:-~！-／：-～‘-‟　-。]+",
            r"\s+$",
            IDEOGRAPHS,
            r"\p{N}+",
        ],
    },
    Rule {
        name: "deepseek-coder",
        ignores_merges: false,
        expressions: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", IDEOGRAPHS, r"\p{N}"],
    },
    Rule {
        name: "deepseek-v3",
        ignores_merges: false,
        expressions: &[r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK_V3],
    },
    Rule { name: "bloom", ignores_merges: false, expressions: &[BLOOM] },
    Rule { name: "viking", ignores_merges: false, expressions: &[BLOOM, r"\p{N}"] },
];

/// Expressions whose matches cover every text without gaps.
const COVERING: &[&str] =
    &[GPT2, LLAMA3, QWEN2, QWEN35, MINICPM5, SEED_CODER, UFAKZEKA, JAIS2, GPT_4O, TEKKEN, LINES];

/// Whether every character of every text is part of a match of this expression. Unknown expressions count as having gaps.
pub fn covers_all(expression: &str) -> bool {
    COVERING.contains(&expression)
}

impl Rule {
    /// Whether the engine, like llama.cpp, keeps numbers together with adjacent characters although the expressions split them.
    /// This makes no difference unless a token has both.
    pub fn joins_numbers(&self) -> bool {
        self.name == "falcon" && self.expressions.contains(&NUMBERS)
    }

    /// How many of its expressions must see the text itself, and not its bytes as GPT-2 spells them.
    pub fn n_before_bytes(&self) -> usize {
        if self.name == "falcon" { 2 } else { self.expressions.len() }
    }
}

/// The rules with these expressions; if there are two, they differ in whether they ignore merges.
pub fn find(expressions: &[String]) -> Result<&'static [Rule]> {
    let is_meant = |rule: &Rule| rule.expressions == expressions;
    match RULES.iter().position(is_meant) {
        Some(first) => {
            let n = RULES[first..].iter().take_while(|rule| is_meant(rule)).count();
            Ok(&RULES[first..first + n])
        }
        None => bail!("the pre-tokenizer's patterns {expressions:?} are not ones that are known"),
    }
}

/// A single spelling for expressions that match the same texts.
pub fn canonical(expression: &str) -> String {
    const CONTRACTIONS: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    let mut canonical = expression.to_owned();
    for (spelling, replacement) in [
        ("\r", r"\r"),
        ("\n", r"\n"),
        // A possessive quantifier where backtracking would change nothing.
        ("?+", "?"),
        ("++", "+"),
        (r"'(?i:[sdmt]|ll|ve|re)", CONTRACTIONS),
        (r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", CONTRACTIONS),
        // The white space before it already includes other line ends.
        (r"|\s*[\r\n]|", r"|\s*[\r\n]+|"),
        (r"\p{N}{1}|", r"\p{N}|"),
    ] {
        canonical = canonical.replace(spelling, replacement);
    }
    canonical
}
