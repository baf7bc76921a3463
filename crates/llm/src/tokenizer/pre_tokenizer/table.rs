//! The families, by name.
//!
//! Names and expressions: llama.cpp, `src/llama-vocab.cpp`, which took each from the `tokenizer.json` that its family
//! publishes.

use super::pattern::{Chars, Lead, Pattern, Run};
use super::words::{Contractions, Letters, Newlines, Space, Words};
use super::{Alphabet, PreTokenizer};
use crate::tokenizer::unicode::Class;

/// What most rows have in common.
const PLAIN: PreTokenizer = PreTokenizer {
    names: &[],
    patterns: &[],
    ignore_merges: false,
    add_bos: false,
    optional_merges: false,
    alphabet: Alphabet::Bytes,
};

/// Every family that this crate knows.
pub(super) const PRE_TOKENIZERS: &[PreTokenizer] = &[
    PreTokenizer {
        names: &["default"],
        patterns: &[
            run(Chars::OfOrAscii(Class::PUNCTUATION, b"$+<=>^~|")),
            Pattern::Gpt2,
            run(Chars::Of(Class::NUMBER)),
            THREE_DIGITS,
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "gpt-2",
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "modern-bert",
            "jina-v1-en",
            "jina-v2-code",
            "roberta-bpe",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
        ],
        patterns: &[Pattern::Gpt2],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "starcoder",
            "refact",
            "command-r",
            "smollm",
            "codeshell",
            "exaone",
            "minerva-7b",
            "mellum2",
        ],
        patterns: &[numbers(1), Pattern::Gpt2],
        ..PLAIN
    },
    PreTokenizer {
        names: &["falcon"],
        patterns: &[run(Chars::OfOrAscii(Class::PUNCTUATION, b"$+<=>^~|`")), Pattern::Gpt2, THREE_DIGITS],
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        patterns: &[Pattern::Words(Words::LLAMA3)],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["glm4", "glm5"],
        patterns: &[Pattern::Words(Words::LLAMA3)],
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["chatglm-bpe", "dbrx", "smaug-bpe"],
        patterns: &[Pattern::Words(Words::LLAMA3)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["minicpm5"],
        patterns: &[numbers(3), Pattern::Words(Words { max_digits: usize::MAX, ..Words::LLAMA3 })],
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "megrez",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "grok-2",
            "bailingmoe",
            "bailingmoe2",
            "llada-moe",
        ],
        patterns: &[Pattern::Words(QWEN2)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["qwen35"],
        patterns: &[Pattern::Words(Words {
            letters: Letters::Of(LETTERS_AND_MARKS),
            not_punctuation: LETTERS_AND_MARKS,
            ..QWEN2
        })],
        ..PLAIN
    },
    PreTokenizer { names: &["laguna"], patterns: &[Pattern::Lines, Pattern::Words(QWEN2)], ..PLAIN },
    PreTokenizer {
        names: &["seed-coder"],
        patterns: &[Pattern::Words(Words { after_punctuation: Class::NONE, ..QWEN2 })],
        ..PLAIN
    },
    PreTokenizer {
        names: &["ufakzeka"],
        patterns: &[Pattern::Words(Words { contractions: Contractions::Ignored, ..QWEN2 })],
        ..PLAIN
    },
    PreTokenizer {
        names: &["jais-2"],
        patterns: &[Pattern::Words(Words { space: Space::PowersOfTwo, ..Words::LLAMA3 })],
        ..PLAIN
    },
    PreTokenizer {
        names: &["tekken"],
        patterns: &[Pattern::Words(Words { contractions: Contractions::Ignored, max_digits: 1, ..GPT_4O })],
        ignore_merges: true,
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        patterns: &[Pattern::Words(GPT_4O)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["granite-embed-multi-97m"],
        patterns: &[Pattern::Words(Words { letters: Letters::Cased(LETTERS_AND_MARKS), ..GPT_4O })],
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["tiny_aya", "cohere2moe"],
        patterns: &[Pattern::NumbersFromTheRight, Pattern::Words(CASELESS_GPT_4O)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["youtu"],
        patterns: &[
            Pattern::FirstOf(&YOUTU_SCRIPTS),
            Pattern::Words(Words { max_digits: 1, ..CASELESS_GPT_4O }),
        ],
        ignore_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["exaone-moe"],
        patterns: &[Pattern::Words(Words {
            letters: Letters::Phrase,
            after_punctuation: Class::NEWLINE.or(Class::SLASH),
            max_after: 1,
            ..QWEN2
        })],
        ..PLAIN
    },
    PreTokenizer {
        names: &["kimi-k2"],
        patterns: &[Pattern::Words(Words {
            contractions: Contractions::Suffixes,
            letters: Letters::ApartFromHan,
            ..Words::LLAMA3
        })],
        optional_merges: true,
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-llm"],
        patterns: &[
            NEWLINE,
            behind_space(Chars::In(DEEPSEEK_LETTERS)),
            behind_space(Chars::In(DEEPSEEK_PUNCTUATION)),
            Pattern::TrailingSpace,
            run(Chars::In(DEEPSEEK_IDEOGRAPHS)),
            run(Chars::Of(Class::NUMBER)),
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        patterns: &[
            NEWLINE,
            behind_space(Chars::Of(Class::LETTER)),
            behind_space(Chars::Of(Class::PUNCTUATION)),
            run(Chars::In(DEEPSEEK_IDEOGRAPHS)),
            numbers(1),
        ],
        ..PLAIN
    },
    PreTokenizer {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        patterns: &[numbers(3), IDEOGRAPHS_AND_KANA, Pattern::DeepSeekV3(Newlines::Runs)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["spark2_5"],
        patterns: &[numbers(3), IDEOGRAPHS_AND_KANA, Pattern::DeepSeekV3(Newlines::Single), numbers(1)],
        ..PLAIN
    },
    PreTokenizer {
        names: &["afmoe"],
        patterns: &[
            Pattern::NumbersFromTheRight,
            run(Chars::In(AFMOE_SCRIPTS)),
            Pattern::DeepSeekV3(Newlines::Runs),
        ],
        ..PLAIN
    },
    PreTokenizer { names: &["superbpe"], patterns: &[numbers(usize::MAX), Pattern::DigitGroups], ..PLAIN },
    PreTokenizer {
        names: &["chameleon"],
        patterns: &[
            Pattern::Between("<sentinel:", several(Chars::In(&[('0', '9')]), 1, usize::MAX), ">"),
            Pattern::Between("IMGIMG", several(Chars::In(&[('A', 'I')]), 1, 4), "Z"),
            Pattern::FirstOf(&CHAMELEON_SPACES),
            numbers(1),
            Pattern::Run(several(
                Chars::OfOrAscii(Class::PUNCTUATION, b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"),
                1,
                1,
            )),
            Pattern::Gpt2,
        ],
        add_bos: true,
        ..PLAIN
    },
    PreTokenizer { names: &["bloom", "poro-chat", "gpt3-finnish"], patterns: &[BLOOM], ..PLAIN },
    PreTokenizer { names: &["viking"], patterns: &[BLOOM, numbers(1)], ..PLAIN },
    PreTokenizer {
        names: &["gemma4", "granite-embed-multi-311m"],
        patterns: &[Pattern::Lines],
        add_bos: true,
        alphabet: Alphabet::CharsWholeNewlines,
        ..PLAIN
    },
    PreTokenizer { names: &["sarvam-moe"], patterns: &[Pattern::Lines], alphabet: Alphabet::Chars, ..PLAIN },
    PreTokenizer {
        names: &["whitespace"],
        patterns: &[run(Chars::NotSpaceNor(&[]))],
        alphabet: Alphabet::PlainChars,
        ..PLAIN
    },
];

const LETTERS_AND_MARKS: Class = Class::LETTER.or(Class::MARK);

const QWEN2: Words = Words { max_digits: 1, ..Words::LLAMA3 };

const GPT_4O: Words = Words {
    contractions: Contractions::Suffixes,
    letters: Letters::Cased(Class::LETTER),
    after_punctuation: Class::NEWLINE.or(Class::SLASH),
    ..Words::LLAMA3
};

/// GPT-4o's expression as the reference reads the variant that names the kinds of letters: all kinds count alike,
/// including marks.
const CASELESS_GPT_4O: Words = Words { letters: Letters::Of(LETTERS_AND_MARKS), ..GPT_4O };

/// `[class]{min,max}`
const fn several(chars: Chars, min: usize, max: usize) -> Run {
    Run { lead: Lead::None, chars, min, max }
}

/// `[class]+`
const fn run(chars: Chars) -> Pattern {
    Pattern::Run(several(chars, 1, usize::MAX))
}

/// `\s?[class]+`
const fn behind_space(chars: Chars) -> Pattern {
    Pattern::Run(Run { lead: Lead::Space, chars, min: 1, max: usize::MAX })
}

/// `\p{N}{1,max}`
const fn numbers(max: usize) -> Pattern {
    Pattern::Run(several(Chars::Of(Class::NUMBER), 1, max))
}

/// `[0-9][0-9][0-9]`
const THREE_DIGITS: Pattern = Pattern::Run(several(Chars::In(&[('0', '9')]), 3, 3));

/// `[\r\n]`
const NEWLINE: Pattern = Pattern::Run(several(Chars::Of(Class::NEWLINE), 1, 1));

/// `[一-龥぀-ゟ゠-ヿ]+`
const IDEOGRAPHS_AND_KANA: Pattern = run(Chars::In(&[('一', '龥'), ('\u{3040}', 'ヿ')]));

/// `[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+`
const YOUTU_SCRIPTS: [Run; 4] = [
    several(Chars::In(&[('가', '힣'), ('ㄱ', 'ㆎ')]), 1, usize::MAX),
    several(
        Chars::In(&[
            ('！', '！'),
            ('…', '…'),
            ('“', '”'),
            ('‘', '’'),
            ('—', '—'),
            ('：', '；'),
            ('，', '，'),
            ('、', '\u{303f}'),
            ('︰', '﹏'),
        ]),
        1,
        usize::MAX,
    ),
    several(Chars::In(&[('ㄅ', 'ㄯ')]), 1, usize::MAX),
    several(Chars::In(&[('一', '龥'), ('\u{3040}', 'ヿ')]), 1, usize::MAX),
];

/// The scripts of East and South-East Asia, by block: ideographs, kana, Thai, Lao, Khmer, Burmese, Hangul. The
/// reference writes U+8C48 instead of the compatibility ideograph U+F900 as the start of a range, so the range covers
/// everything up to U+FAFF.
const AFMOE_SCRIPTS: &[(char, char)] = &[
    ('\u{4e00}', '\u{9fff}'),
    ('\u{3400}', '\u{4dbf}'),
    ('\u{8c48}', '\u{faff}'),
    ('\u{3040}', '\u{30ff}'),
    ('\u{ff65}', '\u{ff9f}'),
    ('\u{2f00}', '\u{2fdf}'),
    ('\u{e40}', '\u{e7f}'),
    ('\u{e80}', '\u{eff}'),
    ('\u{1780}', '\u{17ff}'),
    ('\u{1000}', '\u{109f}'),
    ('\u{aa60}', '\u{aa7f}'),
    ('\u{a9e0}', '\u{a9ff}'),
    ('\u{ac00}', '\u{d7af}'),
    ('\u{1100}', '\u{11ff}'),
];

/// `[\t\n]|    |  `
const CHAMELEON_SPACES: [Run; 3] = [
    several(Chars::In(&[('\t', '\n')]), 1, 1),
    several(Chars::In(&[(' ', ' ')]), 4, 4),
    several(Chars::In(&[(' ', ' ')]), 2, 2),
];

/// ` ?[^(\s|.,!?…。，、।۔،)]+`
const BLOOM: Pattern = Pattern::Run(Run {
    lead: Lead::Blank,
    chars: Chars::NotSpaceNor(&['(', '|', '.', ',', '!', '?', '…', '。', '，', '、', '।', '۔', '،', ')']),
    min: 1,
    max: usize::MAX,
});

/// `[!-/:-~！-／：-～‘-‟　-。]`: the range from `:` to `~` includes the letters, as published.
const DEEPSEEK_PUNCTUATION: &[(char, char)] =
    &[('!', '/'), (':', '~'), ('！', '／'), ('：', '～'), ('‘', '‟'), ('\u{3000}', '。')];

/// `[一-龥ࠀ-一가-퟿]`
const DEEPSEEK_IDEOGRAPHS: &[(char, char)] = &[('一', '龥'), ('\u{800}', '一'), ('가', '\u{d7ff}')];

/// The letters of DeepSeek's first tokenizer: of the scripts that have upper and lower case.
const DEEPSEEK_LETTERS: &[(char, char)] = &[
    ('\u{41}', '\u{5a}'),
    ('\u{61}', '\u{7a}'),
    ('\u{b5}', '\u{b5}'),
    ('\u{c0}', '\u{d6}'),
    ('\u{d8}', '\u{f6}'),
    ('\u{f8}', '\u{1ba}'),
    ('\u{1bc}', '\u{1bf}'),
    ('\u{1c4}', '\u{293}'),
    ('\u{295}', '\u{2af}'),
    ('\u{370}', '\u{373}'),
    ('\u{376}', '\u{376}'),
    ('\u{377}', '\u{377}'),
    ('\u{37b}', '\u{37d}'),
    ('\u{37f}', '\u{37f}'),
    ('\u{386}', '\u{386}'),
    ('\u{388}', '\u{38a}'),
    ('\u{38c}', '\u{38c}'),
    ('\u{38e}', '\u{3a1}'),
    ('\u{3a3}', '\u{3f5}'),
    ('\u{3f7}', '\u{481}'),
    ('\u{48a}', '\u{52f}'),
    ('\u{531}', '\u{556}'),
    ('\u{10a0}', '\u{10c5}'),
    ('\u{13a0}', '\u{13f5}'),
    ('\u{13f8}', '\u{13fd}'),
    ('\u{1c90}', '\u{1cba}'),
    ('\u{1cbd}', '\u{1cbf}'),
    ('\u{1d00}', '\u{1d2b}'),
    ('\u{1d6b}', '\u{1d77}'),
    ('\u{1d79}', '\u{1d9a}'),
    ('\u{1e00}', '\u{1f15}'),
    ('\u{1f18}', '\u{1f1d}'),
    ('\u{1f20}', '\u{1f45}'),
    ('\u{1f48}', '\u{1f4d}'),
    ('\u{1f50}', '\u{1f57}'),
    ('\u{1f59}', '\u{1f59}'),
    ('\u{1f5b}', '\u{1f5b}'),
    ('\u{1f5d}', '\u{1f5d}'),
    ('\u{1f5f}', '\u{1f7d}'),
    ('\u{1f80}', '\u{1fb4}'),
    ('\u{1fb6}', '\u{1fbc}'),
    ('\u{1fbe}', '\u{1fbe}'),
    ('\u{1fc2}', '\u{1fc4}'),
    ('\u{1fc6}', '\u{1fcc}'),
    ('\u{1fd0}', '\u{1fd3}'),
    ('\u{1fd6}', '\u{1fdb}'),
    ('\u{1fe0}', '\u{1fec}'),
    ('\u{1ff2}', '\u{1ff4}'),
    ('\u{1ff6}', '\u{1ffc}'),
    ('\u{2102}', '\u{2102}'),
    ('\u{2107}', '\u{2107}'),
    ('\u{210a}', '\u{2113}'),
    ('\u{2115}', '\u{2115}'),
    ('\u{2119}', '\u{211d}'),
    ('\u{2124}', '\u{2124}'),
    ('\u{2126}', '\u{2126}'),
    ('\u{2128}', '\u{2128}'),
    ('\u{212a}', '\u{212d}'),
    ('\u{212f}', '\u{2134}'),
    ('\u{2139}', '\u{2139}'),
    ('\u{213c}', '\u{213f}'),
    ('\u{2145}', '\u{2149}'),
    ('\u{214e}', '\u{214e}'),
    ('\u{2183}', '\u{2183}'),
    ('\u{2184}', '\u{2184}'),
    ('\u{2c00}', '\u{2c7b}'),
    ('\u{2c7e}', '\u{2ce4}'),
    ('\u{2ceb}', '\u{2cee}'),
    ('\u{2cf2}', '\u{2cf2}'),
    ('\u{2cf3}', '\u{2cf3}'),
    ('\u{a640}', '\u{a66d}'),
    ('\u{a680}', '\u{a69b}'),
    ('\u{a722}', '\u{a76f}'),
    ('\u{a771}', '\u{a787}'),
    ('\u{a78b}', '\u{a78e}'),
    ('\u{ab70}', '\u{abbf}'),
    ('\u{fb00}', '\u{fb06}'),
    ('\u{fb13}', '\u{fb17}'),
    ('\u{ff21}', '\u{ff3a}'),
    ('\u{ff41}', '\u{ff5a}'),
    ('\u{10400}', '\u{1044f}'),
    ('\u{104b0}', '\u{104d3}'),
    ('\u{104d8}', '\u{104fb}'),
    ('\u{10c80}', '\u{10cb2}'),
    ('\u{10cc0}', '\u{10cf2}'),
    ('\u{118a0}', '\u{118df}'),
    ('\u{1e900}', '\u{1e943}'),
];
