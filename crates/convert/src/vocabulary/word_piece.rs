//! The WordPiece vocabularies of tokenizer.json: BERT's.
//!
//! In GGUF, a piece that begins a word is preceded by `▁`, and a piece that continues one has no `##`.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::text_rules::SPACE;
use super::tokenizer_json::{End, added_id, added_tokens};
use super::{AddedTokens, CONTROL, Kind, NORMAL, Roles, Tokens, UNUSED};

/// The prefix of a piece that continues a word.
const CONTINUES: &str = "##";

/// Reads the tokens, for an embedding with `n_vocab` rows.
pub fn read(file: &Value, n_vocab: usize, added: &mut AddedTokens<'_>) -> Result<Tokens> {
    let model = &file["model"];
    let prefix = model["continuing_subword_prefix"].as_str().unwrap_or(CONTINUES);
    if prefix != CONTINUES {
        bail!("the model has continuing_subword_prefix {prefix:?}, expected {CONTINUES:?}");
    }
    let normalizer = &file["normalizer"];
    for (step, expected) in [("normalizer", "BertNormalizer"), ("pre_tokenizer", "BertPreTokenizer")] {
        if file[step]["type"] != expected {
            bail!("the {step} is {}, expected {expected}", file[step]["type"]);
        }
    }
    for flag in ["clean_text", "handle_chinese_chars"] {
        if normalizer[flag].as_bool() == Some(false) {
            bail!("the normalizer has {flag} false, expected true");
        }
    }
    let lowercase = normalizer["lowercase"].as_bool().unwrap_or(true);
    if let Some(strips) = normalizer["strip_accents"].as_bool().filter(|&strips| strips != lowercase) {
        bail!("the normalizer has strip_accents {strips} and lowercase {lowercase}, expected the same");
    }

    let mut texts: Vec<String> = (0..n_vocab).map(|id| format!("{SPACE}[PAD{id}]")).collect();
    let mut types = vec![UNUSED; n_vocab];
    let vocabulary = model["vocab"].as_object().context("the model has no vocab")?;
    for (token, id) in vocabulary {
        let place = place(token, id, n_vocab)?;
        texts[place] = match token.strip_prefix(CONTINUES) {
            Some(rest) => rest.to_owned(),
            None => format!("{SPACE}{token}"),
        };
        types[place] = NORMAL;
    }
    for token in added_tokens(file) {
        added.check(token)?;
        let content = token["content"].as_str().context("an added token has no content")?;
        let place = place(content, &token["id"], n_vocab)?;
        types[place] = added.ty(content, token["special"].as_bool() == Some(true));
        if types[place] == CONTROL {
            texts[place] = content.to_owned();
        }
    }
    let id = |value: Option<u64>| value.and_then(|id| u32::try_from(id).ok());
    let (first, last) =
        (id(added_id(&file["post_processor"], End::First)), id(added_id(&file["post_processor"], End::Last)));
    let unknown = model["unk_token"].as_str().and_then(|token| id(vocabulary.get(token)?.as_u64()));
    Ok(Tokens {
        kind: Kind::WordPiece { lowercase },
        texts,
        types,
        roles: Roles { bos: first, eos: last, unknown, pad: None },
        first,
        last,
    })
}

/// The row of a token.
fn place(token: &str, id: &Value, n_vocab: usize) -> Result<usize> {
    let place = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|&id| id < n_vocab);
    place.with_context(|| format!("token {token:?} has id {id}, but vocab_size is {n_vocab}"))
}
