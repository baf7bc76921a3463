//! tokenizer.json: the tokens and merges of a checkpoint.

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tokenizers::{Model, Tokenizer};

use super::super::family::Unigram;
use super::pre_tokenizers::Rule;
use super::text_rules::{SPACE, TextRules};
use super::unigram;
use super::word_piece;
use super::{AddedTokens, BYTE, Kind, NORMAL, Roles, Tokens, UNKNOWN, UNUSED, is_byte_token};

pub const FILE: &str = "tokenizer.json";

/// Reads the file, for an embedding with `n_vocab` rows.
pub fn read(bytes: &[u8], n_vocab: usize, added: &mut AddedTokens<'_>) -> Result<Tokens> {
    let file: Value = serde_json::from_slice(bytes)?;
    if file["model"]["type"] == "WordPiece" {
        return word_piece::read(&file, n_vocab, added);
    }
    if file["model"]["type"] == "Unigram" && added.rules.unigram != Unigram::No {
        return unigram::read_json(&file, n_vocab, added);
    }
    check_model(&file["model"])?;
    let merges = merges(&file["model"])?;
    let rules = TextRules::read(&file, added.notes)?;
    let tokenizer = load(&file, &merges)?;
    for token in added_tokens(&file) {
        added.check(token)?;
    }
    let (mut texts, mut types) = tokens(&tokenizer, n_vocab, added)?;
    let ignores_merges = file["model"]["ignore_merges"].as_bool() == Some(true);
    if let Some(dropout) = file["model"]["dropout"].as_f64().filter(|&dropout| dropout != 0.0) {
        added
            .notes
            .push(format!("the model's dropout {dropout} is left out, as by llama.cpp: every merge is done"));
    }
    let kind = match rules {
        TextRules::ByteLevel(rules) => Kind::ByteLevelBpe {
            pre: rule(rules, ignores_merges, &tokenizer)?.name,
            merges: merges.iter().map(|[left, right]| format!("{left} {right}")).collect(),
        },
        TextRules::SentencePiece { add_space_prefix, splits_words } => {
            if splits_words && let Some([left, right]) = merges.iter().find(|merge| joins_words(merge)) {
                bail!(
                    "pre-tokenizer Metaspace (add_prefix_space, split) cuts words at spaces, and merges such as {left:?} \
                     with {right:?} join them; expected split false"
                );
            }
            if ignores_merges && let Some(token) = out_of_reach(&tokenizer)? {
                bail!("ignore_merges is true, and no merges give {token:?}; expected false");
            }
            for (id, token) in tokenizer.get_added_tokens_decoder() {
                if token.normalized && !token.special {
                    // tokenizer.json searches for it after spaces have been escaped, GGUF before.
                    texts[id as usize] = token.content.replace(SPACE, " ");
                }
            }
            for (token, ty) in texts.iter().zip(&mut types) {
                match token.as_str() {
                    "<unk>" => *ty = UNKNOWN,
                    _ if is_byte_token(token) => *ty = BYTE,
                    _ => {}
                }
            }
            match joined_by_scores_alone(&texts, &types, &merges) {
                Some(_) if !add_space_prefix && keep_lines_apart(&texts, &types) => Kind::CharacterBpe {
                    merges: merges.iter().map(|[left, right]| format!("{left} {right}")).collect(),
                },
                joined => {
                    if let Some([left, right]) = joined {
                        added.notes.push(format!(
                            "no merge joins {left:?} with {right:?}, which together are a token; by scores, which GGUF \
                             has in their place, they may be joined"
                        ));
                    }
                    Kind::SentencePiece { scores: scores(&texts, &merges), add_space_prefix }
                }
            }
        }
    };
    let around = |end| added_id(&file["post_processor"], end).and_then(|id| u32::try_from(id).ok());
    Ok(Tokens {
        kind,
        texts,
        types,
        roles: Roles::default(),
        first: around(End::First),
        last: around(End::Last),
    })
}

/// The rule among `rules` that ignores merges if and only if the file does, or another one if it makes no difference.
fn rule(rules: &'static [Rule], ignores_merges: bool, tokenizer: &Tokenizer) -> Result<&'static Rule> {
    let has_both =
        |token: &String| token.contains(char::is_numeric) && token.contains(|c: char| !c.is_numeric());
    if rules.iter().any(Rule::joins_numbers)
        && let Some(token) = tokenizer.get_vocab(false).into_keys().find(has_both)
    {
        bail!(
            "pre-tokenizer Digits cuts numbers off, and {token:?} has one beside something else; expected no Digits"
        );
    }
    if let Some(rule) = rules.iter().find(|rule| rule.ignores_merges == ignores_merges) {
        return Ok(rule);
    }
    let rule = rules.first().context("there is a rule")?;
    match out_of_reach(tokenizer)? {
        None => Ok(rule),
        Some(token) => bail!(
            "ignore_merges is {ignores_merges}, and no merges give {token:?}; expected {} beside the pre-tokenizer of {}",
            rule.ignores_merges,
            rule.name
        ),
    }
}

/// Finds two tokens that no merge joins although a token has their joint text. SentencePiece's algorithm, which knows only
/// scores, would join them.
fn joined_by_scores_alone(texts: &[String], types: &[i32], merges: &[[String; 2]]) -> Option<[String; 2]> {
    let merges: HashSet<[&str; 2]> =
        merges.iter().map(|merge| merge.each_ref().map(String::as_str)).collect();
    let normal: HashSet<&str> =
        texts.iter().zip(types).filter(|(_, ty)| **ty == NORMAL).map(|(text, _)| text.as_str()).collect();
    // The first check is by length, so that not every prefix of a long token has to be hashed.
    let lengths: HashSet<usize> = normal.iter().map(|text| text.len()).collect();
    let is_character = |text: &str| text.chars().nth(1).is_none();
    let may_be_symbol = |text: &str| lengths.contains(&text.len()) || is_character(text);
    let is_symbol = |text: &str| is_character(text) || normal.contains(text);
    texts.iter().filter(|text| normal.contains(text.as_str())).find_map(|token| {
        let borders = token.char_indices().skip(1).map(|(border, _)| token.split_at(border));
        borders
            .filter(|(left, right)| may_be_symbol(left) && may_be_symbol(right))
            .filter(|(left, right)| is_symbol(left) && is_symbol(right))
            .find(|&(left, right)| !merges.contains(&[left, right]))
            .map(|(left, right)| [left.to_owned(), right.to_owned()])
    })
}

/// Whether no token spans a line end, where words end in BPE over characters.
fn keep_lines_apart(texts: &[String], types: &[i32]) -> bool {
    let has_both = |text: &String| text.contains('\n') && text.contains(|c| c != '\n');
    !texts.iter().zip(types).any(|(text, &ty)| ty == NORMAL && has_both(text))
}

/// Whether a merge joins two words (words begin with a space) into one token.
fn joins_words([left, right]: &[String; 2]) -> bool {
    !left.is_empty() && right.contains(SPACE) || left.strip_prefix(SPACE).unwrap_or(left).contains(SPACE)
}

/// A token that its own text does not produce, if there is one: its merges are missing, or others come first.
fn out_of_reach(tokenizer: &Tokenizer) -> Result<Option<String>> {
    let model = tokenizer.get_model();
    for (token, id) in model.get_vocab() {
        let pieces = model.tokenize(&token).map_err(|error| anyhow::anyhow!("{error}"))?;
        if is_byte_token(&token) || matches!(&pieces[..], [piece] if piece.id == id) {
            continue;
        }
        return Ok(Some(token));
    }
    Ok(None)
}

pub fn added_tokens(file: &Value) -> &[Value] {
    file["added_tokens"].as_array().map_or(&[][..], Vec::as_slice)
}

/// Checks that the model consists only of merges.
fn check_model(model: &Value) -> Result<()> {
    if model["type"].as_str().unwrap_or("BPE") != "BPE" {
        bail!("the model is {}, expected BPE", model["type"]);
    }
    for affix in ["continuing_subword_prefix", "end_of_word_suffix"] {
        if model[affix].as_str().is_some_and(|affix| !affix.is_empty()) {
            bail!("the model has {affix} {}, expected none", model[affix]);
        }
    }
    Ok(())
}

/// The tokens and merges of a file.
///
/// Only these parts of the file are passed to the crate `tokenizers`: it assumes that the other parts are well formed, and they
/// do not affect the tokens.
fn load(file: &Value, merges: &[[String; 2]]) -> Result<Tokenizer> {
    let model = &file["model"];
    let added_tokens = added_tokens(file);
    let parts = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added_tokens,
        "normalizer": null,
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": null,
        "model": { "type": "BPE", "vocab": model["vocab"], "merges": merges },
    });
    let tokenizer = Tokenizer::from_bytes(parts.to_string()).map_err(|error| anyhow::anyhow!("{error}"))?;
    // Tokens whose ids would leave a gap get other ids.
    for token in added_tokens {
        let id = token["id"].as_u64();
        let found = token["content"].as_str().and_then(|content| tokenizer.token_to_id(content));
        if id.is_none() || id != found.map(u64::from) {
            match found {
                Some(next) => {
                    bail!("added token {} has id {}, expected {next}", token["content"], token["id"])
                }
                None => bail!("added token {} has no content", token["id"]),
            }
        }
    }
    Ok(tokenizer)
}

/// The ends of a text.
#[derive(Clone, Copy)]
pub enum End {
    First,
    Last,
}

/// The token that a post-processor adds before or after every text.
pub fn added_id(post_processor: &Value, end: End) -> Option<u64> {
    match post_processor.get("type")?.as_str()? {
        "TemplateProcessing" => {
            let parts = post_processor.get("single")?.as_array()?;
            let part = match end {
                End::First => parts.first()?,
                End::Last => parts.last()?,
            };
            let name = part.pointer("/SpecialToken/id")?.as_str()?;
            post_processor.get("special_tokens")?.get(name)?.pointer("/ids/0")?.as_u64()
        }
        "BertProcessing" | "RobertaProcessing" => match end {
            End::First => post_processor.pointer("/cls/1")?.as_u64(),
            End::Last => post_processor.pointer("/sep/1")?.as_u64(),
        },
        "Sequence" => {
            post_processor.get("processors")?.as_array()?.iter().find_map(|part| added_id(part, end))
        }
        _ => None,
    }
}

/// Texts and types of all tokens by id, up to the number of rows of the embedding.
fn tokens(tokenizer: &Tokenizer, n_vocab: usize, added: &AddedTokens<'_>) -> Result<(Vec<String>, Vec<i32>)> {
    // Rows without a token, which are added to round the number up.
    let mut tokens: Vec<String> = (0..n_vocab).map(|id| format!("[PAD{id}]")).collect();
    let mut types = vec![UNUSED; n_vocab];
    for (token, id) in tokenizer.get_vocab(true) {
        let id = id as usize;
        if id >= n_vocab {
            bail!("token {token:?} has id {id}, but vocab_size is {n_vocab}");
        }
        (tokens[id], types[id]) = (token, NORMAL);
    }
    for (id, token) in tokenizer.get_added_tokens_decoder() {
        let ty = types.get_mut(id as usize);
        let ty = ty.with_context(|| format!("an added token has id {id}, but vocab_size is {n_vocab}"))?;
        *ty = added.ty(&token.content, token.special);
    }
    Ok((tokens, types))
}

/// The pairs to merge, in order of priority.
fn merges(model: &Value) -> Result<Vec<[String; 2]>> {
    let merges = model.get("merges").and_then(Value::as_array).context("the model has no merges")?;
    let pair = |merge: &Value| match merge {
        Value::String(text) => text.split_once(' ').map(|(left, right)| [left.to_owned(), right.to_owned()]),
        Value::Array(parts) => match parts.as_slice() {
            [Value::String(left), Value::String(right)] => Some([left.clone(), right.clone()]),
            _ => None,
        },
        _ => None,
    };
    merges.iter().map(|merge| pair(merge).with_context(|| format!("merge {merge} is no pair"))).collect()
}

/// Scores in the order of the merges: if two merges are possible, the earlier one has the higher score.
fn scores(tokens: &[String], merges: &[[String; 2]]) -> Vec<f32> {
    let mut ranks = HashMap::new();
    for (rank, [left, right]) in merges.iter().enumerate() {
        ranks.entry(format!("{left}{right}")).or_insert(rank);
    }
    tokens.iter().map(|token| ranks.get(token).map_or(0.0, |&rank| -(rank as f32))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::CONTROL;
    use super::*;

    #[test]
    fn the_pair_that_no_merge_joins_is_of_the_first_token_that_has_one() {
        let mut texts: Vec<String> = (0..100).map(|number| format!("ab{number:02}")).collect();
        texts.extend(["ab".to_owned(), "cab".to_owned(), "x".repeat(1 << 17)]);
        texts.extend((0..100).map(|number| format!("{number:02}")));
        let mut types = vec![NORMAL; texts.len()];
        types[0] = CONTROL;
        let merge = |left: &str, right: &str| [left.to_owned(), right.to_owned()];
        let mut merges = vec![merge("a", "b")];
        assert_eq!(joined_by_scores_alone(&texts, &types, &merges), Some(merge("ab", "01")));
        merges.extend((0..100).map(|number| merge("ab", &format!("{number:02}"))));
        assert_eq!(joined_by_scores_alone(&texts, &types, &merges), Some(merge("c", "ab")));
        merges.push(merge("c", "ab"));
        merges.extend((0..100).map(|number| merge(&(number / 10).to_string(), &(number % 10).to_string())));
        assert_eq!(joined_by_scores_alone(&texts, &types, &merges), None);
    }
}
