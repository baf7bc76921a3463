//! `llm sign`: trees of digests for models, and a signed manifest of them.

use std::fs;
use std::io::{ErrorKind, Write, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use trust::Root;
use trust::manifest::{Entry, FIRST_LINE, MAX_BYTES, Manifest, is_name};
use trust::minisign::{KeyId, SecretKey};

use crate::receipts::now_unix_s;
use crate::trees::{self, beside};

/// Write the tree of digests of each model, MODEL.verity, and a signed manifest with their roots.
///
/// A manifest that is there keeps its other lines; one of the same name and version is replaced. Its signature must be of the same
/// key: so that a key signs no line that it has not signed before. `minisign -S -m MANIFEST -s KEY` takes one over to another key.
/// Its signature is MANIFEST.minisig, as `minisign -S` writes it: `minisign -V -m MANIFEST -p KEY.pub` checks it.
#[derive(Args)]
pub struct Arguments {
    /// File with a secret key, as `minisign -G` writes it; its password is asked for.
    #[arg(long, value_name = "FILE")]
    secret_key: PathBuf,

    /// File with the password of the secret key in its first line.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// The manifest.
    #[arg(long, value_name = "FILE", default_value = "models.manifest")]
    manifest: PathBuf,

    /// Version of the models, from 1: the higher, the newer.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    version: u64,

    /// Trust no lower version of a model; may be given again.
    #[arg(long, value_name = "NAME:N", value_parser = minimum)]
    minimum_version: Vec<(String, u64)>,

    /// Trust no file with this root, or nothing that was signed with the key of this id; may be given again.
    #[arg(long, value_name = "ROOT|KEY_ID", value_parser = revocation)]
    revoke: Vec<String>,

    /// GGUF files; a NAME behind it is what the kernel calls one, its own name unless given.
    #[arg(value_name = "MODEL[:NAME]")]
    models: Vec<String>,
}

fn minimum(text: &str) -> Result<(String, u64), String> {
    let parsed =
        text.rsplit_once(':').and_then(|(name, version)| Some((name.to_owned(), version.parse().ok()?)));
    parsed.filter(|(name, _)| is_name(name)).ok_or_else(|| "expected NAME:N".into())
}

/// The line of a manifest.
fn revocation(text: &str) -> Result<String, String> {
    const KEY_ID_DIGITS: usize = 16;
    // A shortened id would be that of another key.
    let key = Some(text).filter(|text| text.len() == KEY_ID_DIGITS && !text.starts_with('+'));
    match (Root::parse(text), key.and_then(KeyId::parse)) {
        (Some(root), _) => Ok(format!("revoked-root {root}")),
        (_, Some(key)) => Ok(format!("revoked-key {key}")),
        _ => Err(
            "expected a root of 64 hexadecimal digits, or a key id of 16: minisign leaves out zeros in front"
                .into(),
        ),
    }
}

/// The file that is meant, and its name.
fn file_and_name(model: &str) -> Result<(&Path, String)> {
    if let Some((path, name)) = model.rsplit_once(':')
        && !Path::new(model).exists()
    {
        ensure!(
            is_name(name),
            "{model}: expected a name of at most 255 lower-case letters, digits, '.', '_' and '-' behind the colon"
        );
        return Ok((Path::new(path), name.into()));
    }
    let path = Path::new(model);
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let stem = name.strip_suffix(".gguf").unwrap_or(name).to_ascii_lowercase();
    ensure!(is_name(&stem), "{model}: expected a name behind it, as in {model}:NAME");
    Ok((path, stem))
}

fn secret_key(arguments: &Arguments) -> Result<SecretKey> {
    let Arguments { secret_key: path, password_file, .. } = arguments;
    let read =
        |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let shown = || path.display().to_string();
    let text = read(path)?;
    if let Some(key) = SecretKey::parse(&text) {
        return Ok(key);
    }
    let password = password_file.as_deref().map(read).transpose()?;
    let password = password.map(|text| text.lines().next().unwrap_or_default().to_owned());
    let key_box = minisign::SecretKeyBox::from_string(&text).with_context(shown)?;
    let key = key_box.into_secret_key(password).with_context(shown)?;
    SecretKey::from_bytes(&key.to_bytes())
        .with_context(|| format!("{}: no secret key of minisign's", path.display()))
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<()> {
    let Arguments { manifest: path, version, minimum_version, revoke, models, .. } = arguments;
    if models.is_empty() && minimum_version.is_empty() && revoke.is_empty() {
        bail!("nothing to sign: give MODEL, --minimum-version or --revoke");
    }
    let files = models.iter().map(|model| file_and_name(model)).collect::<Result<Vec<_>>>()?;
    let key = secret_key(arguments)?;
    let shown = || path.display().to_string();
    let signature_path = beside(path, ".minisig");
    let mut text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => format!("{FIRST_LINE}\n"),
        text => {
            let text = text.with_context(shown)?;
            let signature = fs::read_to_string(&signature_path);
            let signature = signature.with_context(|| format!("cannot read {}", signature_path.display()))?;
            let checked = trust::minisign::verify(&[key.public_key()], text.as_bytes(), &signature);
            checked.with_context(|| format!("{}: it is not what this key has signed", path.display()))?;
            text
        }
    };
    Manifest::parse(&text).with_context(shown)?;
    let mut add = |line: &str, replaced: &str| {
        // Whole words are compared.
        let kept = text.lines().filter(|line| !format!("{line} ").starts_with(replaced));
        text = kept.chain([line]).flat_map(|line| [line, "\n"]).collect();
    };
    for (file, name) in files {
        let (root, superblock, bytes) = trees::write(file, &[])?;
        let replaced = format!("model {name} {version} ");
        let entry = Entry { name, version: *version, bytes, root, superblock };
        add(&entry.to_string(), &replaced);
        writeln!(stdout(), "{}: root {root}", file.display())?;
    }
    for (name, version) in minimum_version {
        add(&format!("minimum-version {name} {version}"), &format!("minimum-version {name} "));
    }
    for line in revoke {
        add(line, &format!("{line} "));
    }
    let comment = format!("timestamp:{}\tfile:models", now_unix_s().unwrap_or_default());
    let signature = key.sign(text.as_bytes(), &comment);
    // What the kernel would not read, and trust nothing beside.
    Manifest::parse(&text).with_context(shown)?;
    let n_bytes = text.len() + signature.len();
    ensure!(
        n_bytes <= MAX_BYTES,
        "{}: it would have {n_bytes} bytes with its signature; expected at most {MAX_BYTES}",
        path.display()
    );
    // What is there stays as it is unless both can be written.
    let files = [(path, text), (&signature_path, signature)];
    for (path, text) in &files {
        let part = beside(path, ".part");
        fs::write(&part, text).with_context(|| format!("cannot write {}", part.display()))?;
    }
    for (path, _) in &files {
        fs::rename(beside(path, ".part"), path)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(writeln!(stdout(), "{}: signed", path.display())?)
}
