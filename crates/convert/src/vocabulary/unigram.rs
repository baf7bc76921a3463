//! Unigram vocabularies: those of XLM-R and T5, from tokenizer.json or from a SentencePiece model.
//!
//! A text is divided into the tokens with the largest sum of scores, after a map that both kinds of files contain has replaced
//! characters.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::super::family::Unigram;
use super::sentencepiece_model::{self, ADDED_SCORE, ModelProto, UNIGRAM};
use super::text_rules::SPACE;
use super::tokenizer_json::{End, added_id, added_tokens};
use super::{
    AddedTokens, BYTE, CONTROL, Kind, NORMAL, Roles, Tokens, UNKNOWN, UNUSED, USER_DEFINED, is_byte_token,
};

/// The SentencePiece models that a vocabulary may be in; the first one that exists is used.
pub fn files(kind: Unigram) -> &'static [&'static str] {
    match kind {
        Unigram::No | Unigram::JsonOnly => &[],
        Unigram::XlmR => &["sentencepiece.bpe.model"],
        Unigram::Plain => &[sentencepiece_model::FILE, "spiece.model"],
    }
}

/// The score of rows without a token, as in llama.cpp.
const UNUSED_SCORE: f32 = -10_000.0;

/// The tokens that XLM-R has instead of the first three of the SentencePiece model.
const FIRST: [(&str, i32); 4] = [("<s>", CONTROL), ("<pad>", CONTROL), ("</s>", CONTROL), ("<unk>", UNKNOWN)];

/// Reads tokenizer.json, for an embedding with `n_vocab` rows.
pub fn read_json(file: &Value, n_vocab: usize, added: &mut AddedTokens<'_>) -> Result<Tokens> {
    let model = &file["model"];
    let vocabulary = model["vocab"].as_array().context("the model has no vocab")?;
    if vocabulary.len() > n_vocab {
        bail!("the model has {} tokens, but vocab_size is {n_vocab}", vocabulary.len());
    }
    let charsmap = charsmap(&file["normalizer"])?;
    let (add_space_prefix, remove_extra_whitespaces) = spaces(&file["pre_tokenizer"])?;
    let has_bytes = model["byte_fallback"].as_bool() == Some(true);
    let (mut texts, mut scores, mut types) = rows(n_vocab);
    for (id, entry) in vocabulary.iter().enumerate() {
        let token = || Some((entry.get(0)?.as_str()?, entry.get(1)?.as_f64()?));
        let (text, score) =
            token().with_context(|| format!("token {id} is {entry}, expected a text and a score"))?;
        types[id] = if has_bytes && is_byte_token(text) { BYTE } else { NORMAL };
        (texts[id], scores[id]) = (text.to_owned(), score as f32);
    }
    for token in added_tokens(file) {
        added.check(token)?;
        let content = token["content"].as_str().context("an added token has no content")?;
        let id = token["id"].as_u64().and_then(|id| usize::try_from(id).ok()).filter(|&id| id < n_vocab);
        let id = id.with_context(|| {
            format!("token {content:?} has id {}, but vocab_size is {n_vocab}", token["id"])
        })?;
        types[id] = added.ty(content, token["special"].as_bool() == Some(true));
        if id >= vocabulary.len() {
            (texts[id], scores[id]) = (content.to_owned(), 0.0);
        }
    }
    let unknown = model["unk_id"].as_u64().and_then(|id| u32::try_from(id).ok());
    let unknown = unknown.filter(|&id| (id as usize) < vocabulary.len());
    if let Some(id) = unknown {
        types[id as usize] = UNKNOWN;
    }
    let around = |end| added_id(&file["post_processor"], end).and_then(|id| u32::try_from(id).ok());
    Ok(Tokens {
        kind: Kind::Unigram { scores, add_space_prefix, remove_extra_whitespaces, charsmap },
        texts,
        types,
        roles: Roles { unknown, ..Roles::default() },
        first: around(End::First),
        last: around(End::Last),
    })
}

/// Reads a SentencePiece model, for an embedding with `n_vocab` rows. XLM-R (`has_own`) has four tokens of its own first,
/// followed by the model's tokens from the fourth on. Tokens in `added`, which come from a separate file, have the ids given
/// there.
pub fn read_model(bytes: &[u8], n_vocab: usize, has_own: bool, added: &Value) -> Result<Tokens> {
    let model = ModelProto::parse(bytes)?;
    let (trainer, normalizer) = (model.trainer.unwrap_or_default(), model.normalizer.unwrap_or_default());
    if trainer.model_type.unwrap_or(UNIGRAM) != UNIGRAM {
        bail!("model_type is {:?}, expected UNIGRAM", trainer.model_type);
    }
    if normalizer.escape_whitespaces == Some(false) || trainer.treat_whitespace_as_suffix == Some(true) {
        bail!("spaces do not become {SPACE:?} in front of words");
    }
    let (shift, n_left_out) = if has_own { (1, FIRST.len() - 1) } else { (0, 0) };
    if model.pieces.len() + shift > n_vocab || has_own && n_vocab < FIRST.len() {
        bail!("it has {} pieces, and vocab_size is {n_vocab}; expected more", model.pieces.len());
    }
    let (mut texts, mut scores, mut types) = rows(n_vocab);
    if has_own {
        for (id, (text, ty)) in FIRST.into_iter().enumerate() {
            (texts[id], scores[id], types[id]) = (text.to_owned(), 0.0, ty);
        }
        for (place, text) in texts.iter_mut().enumerate().skip(FIRST.len()) {
            *text = format!("[PAD{}]", place - 1);
        }
    }
    for (id, piece) in model.pieces.into_iter().enumerate().skip(n_left_out) {
        let place = id + shift;
        types[place] = match piece.ty.unwrap_or(NORMAL) {
            ty @ (UNKNOWN | CONTROL | UNUSED | BYTE) => ty,
            _ => NORMAL,
        };
        texts[place] = piece.piece.with_context(|| format!("piece {id} has no text"))?;
        scores[place] = piece.score.unwrap_or(0.0);
    }
    for (text, id) in added.as_object().into_iter().flatten() {
        // Tokens beyond the embedding are left out, as in llama.cpp.
        if let Some(id) = id.as_u64().and_then(|id| usize::try_from(id).ok()).filter(|&id| id < n_vocab) {
            (texts[id], scores[id], types[id]) = (text.clone(), ADDED_SCORE, USER_DEFINED);
        }
    }
    let roles = match has_own {
        true => Roles { bos: Some(0), eos: Some(2), unknown: Some(3), pad: Some(1) },
        false => trainer.roles(n_vocab),
    };
    Ok(Tokens {
        kind: Kind::Unigram {
            scores,
            add_space_prefix: normalizer.add_dummy_prefix.unwrap_or(true),
            remove_extra_whitespaces: normalizer.remove_extra_whitespaces.unwrap_or(true),
            charsmap: normalizer.precompiled_charsmap.unwrap_or_default(),
        },
        texts,
        types,
        roles,
        first: roles.bos,
        last: roles.eos,
    })
}

/// Whether two tokens separate the texts of a pair, if the file's post-processor says so.
pub fn doubles_separator(post_processor: &Value) -> Option<bool> {
    if post_processor["type"] == "RobertaProcessing" {
        return Some(true);
    }
    let pair = post_processor["pair"].as_array()?;
    let place = |name| pair.iter().position(|part| part.pointer("/Sequence/id").is_some_and(|id| id == name));
    Some(place("B")?.checked_sub(place("A")?)? > 2)
}

/// Rows without a token.
fn rows(n_vocab: usize) -> (Vec<String>, Vec<f32>, Vec<i32>) {
    let texts = (0..n_vocab).map(|id| format!("[PAD{id}]")).collect();
    (texts, vec![UNUSED_SCORE; n_vocab], vec![UNUSED; n_vocab])
}

/// The map of characters. Besides it, a normalizer may only merge spaces.
fn charsmap(normalizer: &Value) -> Result<Vec<u8>> {
    let steps = match normalizer["normalizers"].as_array() {
        Some(steps) => steps.as_slice(),
        None => std::slice::from_ref(normalizer),
    };
    let mut map = Vec::new();
    for step in steps.iter().filter(|step| !step.is_null()) {
        match step["type"].as_str() {
            Some("Precompiled") => {
                let text = step["precompiled_charsmap"]
                    .as_str()
                    .context("Precompiled has no precompiled_charsmap")?;
                map = base64(text).context("precompiled_charsmap is no base64")?;
            }
            Some("Replace") if step.pointer("/pattern/Regex").is_some_and(|pattern| pattern == " {2,}") => {}
            other => bail!("normalizer {other:?} has no place in GGUF beside Unigram, expected Precompiled"),
        }
    }
    Ok(map)
}

/// Whether a space is added in front of texts, and whether repeated spaces are reduced to one.
fn spaces(pre_tokenizer: &Value) -> Result<(bool, bool)> {
    let steps = match pre_tokenizer["pretokenizers"].as_array() {
        Some(steps) => steps.as_slice(),
        None => std::slice::from_ref(pre_tokenizer),
    };
    let (mut prefix, mut removes) = (None, false);
    for step in steps {
        match step["type"].as_str() {
            Some("WhitespaceSplit") => removes = true,
            Some("Metaspace") if step["replacement"] == SPACE => {
                let always = step["add_prefix_space"].as_bool().unwrap_or(true);
                prefix = Some(step["prepend_scheme"].as_str().map_or(always, |scheme| scheme != "never"));
            }
            other => bail!("pre-tokenizer {other:?} has no place in GGUF beside Unigram, expected Metaspace"),
        }
    }
    Ok((prefix.context("the pre-tokenizer has no Metaspace")?, removes))
}

/// Decodes base64 (RFC 4648, section 4).
fn base64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=').bytes();
    let (mut bits, mut n_bits, mut bytes) = (0_u32, 0, Vec::new());
    for digit in digits {
        let value = ALPHABET.iter().position(|&known| known == digit)? as u32;
        (bits, n_bits) = (bits << 6 | value, n_bits + 6);
        if n_bits >= 8 {
            n_bits -= 8;
            bytes.push((bits >> n_bits) as u8);
            bits &= (1 << n_bits) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_a_pair_have_one_token_between_them_or_two() {
        let part = |name: &str| match name {
            "A" | "B" => serde_json::json!({ "Sequence": { "id": name, "type_id": 0 } }),
            _ => serde_json::json!({ "SpecialToken": { "id": name, "type_id": 0 } }),
        };
        let between = |parts: &[&str]| {
            let parts: Vec<Value> = parts.iter().map(|name| part(name)).collect();
            doubles_separator(&serde_json::json!({ "type": "TemplateProcessing", "pair": parts }))
        };
        assert_eq!(between(&["<s>", "A", "</s>", "</s>", "B", "</s>"]), Some(true));
        assert_eq!(between(&["<s>", "A", "</s>", "B", "</s>"]), Some(false));
        assert_eq!(between(&["B", "A"]), None);
        assert_eq!(between(&[]), None);
        assert_eq!(doubles_separator(&Value::Null), None);
    }

    #[test]
    fn base64_is_that_of_the_standard() {
        for (text, bytes) in
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYmFy", "foobar")]
        {
            assert_eq!(base64(text).as_deref(), Some(bytes.as_bytes()));
        }
        assert_eq!(base64("Zm9v!"), None);
    }
}
