//! Makes bootable disks with the kernel and its models: the program behind `scripts/disk`.
//!
//! A disk has a GUID partition table (UEFI specification 2.10, chapter 5), an EFI system partition with the kernel's Image
//! and its boot arguments, and a partition for each model file. The same inputs give the same bytes, whatever the day and
//! the folder: times are fixed, and GUIDs follow from the contents.
//!
//! # Layers
//!
//! | layer | what it has |
//! |---|---|
//! | [`create`], [`add`] | a new disk, and one more model on a disk |
//! | [`output`] | a file that appears when it is whole, raw or qcow2 |
//! | [`qcow2`] | QEMU's format |
//! | [`layout`] | which file has its place where |
//! | [`source`], [`table`], [`boot_partition`] | the files of models, what they are checked by, and the names of their partitions; the partition table; the EFI system partition |
//! | [`guid`] | GUIDs that follow from contents |

mod add;
mod boot_partition;
mod create;
mod guid;
mod layout;
mod output;
mod qcow2;
mod source;
mod table;

use anyhow::{Context, Result, bail, ensure};
use getargs::{Arg, Options};
use std::{path::PathBuf, process::ExitCode};

const USAGE: &str = "\
Usage: scripts/disk [OPTION]... -o FILE
       scripts/disk --add FILE[:NAME]... DISK

Makes a disk that UEFI firmware boots: the kernel, its boot arguments and models, each of which is a
partition. The same inputs give the same bytes. The second form adds models to a raw disk that has room.

  --model FILE[:NAME]  this GGUF file is a model; may be given again. NAME is what the kernel calls it,
                       /models/NAME.gguf: up to 35 lower-case letters, digits, '.', '_' and '-' (unless given:
                       the file's own name). FILE.sha256 beside it, if there is one, must be its checksum. Of a
                       model in several files, NAME-00001-of-00003.gguf and so on, all are taken from beside FILE
                       FILE.verity beside it, if there is one, its tree of digests, becomes the next partition
  --lora FILE[:NAME]   this GGUF file is an adapter (LoRA); may be given again
  --manifest FILE      this is the manifest of models, FILE.minisig beside it its signature
  --args TEXT          boot arguments, such as 'log=warn ferrite.serve=80'
  --spare SIZE         room for models that are added later, such as 4G (unless given: none)
  --block-size BYTES   logical blocks of 512 or 4096 bytes, as the disk's that it is written to (unless given: 512)
  --qcow2              write QEMU's qcow2 instead of a raw disk
  --image FILE         the kernel's Image (unless given: that of scripts/image)
  -o, --output FILE    the disk to write; appears when it is whole
  --add FILE[:NAME]    add this GGUF file, a model or an adapter, to DISK; may be given again
  -h, --help           print this

Exit status: 0 the disk is written; 1 it is not; 2 wrong arguments.
";

/// The command line.
#[derive(Default)]
struct Request {
    models: Vec<String>,
    adapters: Vec<String>,
    manifest: Option<PathBuf>,
    added: Vec<String>,
    boot_args: String,
    spare_bytes: u64,
    block_bytes: Option<u64>,
    is_qcow2: bool,
    image: Option<PathBuf>,
    output: Option<PathBuf>,
    disk: Option<PathBuf>,
    is_help: bool,
}

impl Request {
    fn parse(words: &[String]) -> Result<Self> {
        let mut request = Self::default();
        let mut options = Options::new(words.iter().map(String::as_str));
        while let Some(arg) = options.next_arg().map_err(|error| anyhow::anyhow!("{error}"))? {
            let name = match arg {
                Arg::Short('h') | Arg::Long("help") => {
                    request.is_help = true;
                    continue;
                }
                Arg::Long("qcow2") => {
                    request.is_qcow2 = true;
                    continue;
                }
                Arg::Positional(disk) => {
                    ensure!(request.disk.is_none(), "one disk is expected, not {disk} as well");
                    request.disk = Some(disk.into());
                    continue;
                }
                Arg::Short('o') | Arg::Long("output") => "output",
                Arg::Long(
                    name
                    @ ("model" | "lora" | "manifest" | "args" | "spare" | "block-size" | "image" | "add"),
                ) => name,
                other => bail!("unknown argument {other}; scripts/disk --help lists those that there are"),
            };
            let value = options.value().ok().filter(|value| !value.is_empty());
            let value = value.with_context(|| format!("--{name} expects a value"))?;
            match name {
                "model" => request.models.push(value.into()),
                "lora" => request.adapters.push(value.into()),
                "manifest" => request.manifest = Some(value.into()),
                "add" => request.added.push(value.into()),
                "args" => request.boot_args = value.into(),
                "spare" => {
                    let expected = || format!("--spare {value}: expected a size, such as 512M or 4G");
                    request.spare_bytes = parse_size(value).with_context(expected)?;
                }
                "block-size" => {
                    request.block_bytes = match value {
                        "512" => Some(512),
                        "4096" => Some(4096),
                        _ => bail!("--block-size {value}: expected 512 or 4096"),
                    }
                }
                "image" => request.image = Some(value.into()),
                _ => request.output = Some(value.into()),
            }
        }
        request.check()?;
        Ok(request)
    }

    fn check(&self) -> Result<()> {
        let is_new = !(self.models.is_empty()
            && self.adapters.is_empty()
            && self.manifest.is_none()
            && self.boot_args.is_empty())
            || self.spare_bytes > 0
            || self.block_bytes.is_some()
            || self.is_qcow2
            || self.output.is_some();
        if self.is_help {
        } else if !self.added.is_empty() {
            ensure!(!is_new, "--add changes a disk that there is: no other option goes with it");
            ensure!(
                self.disk.is_some(),
                "--add expects a disk behind it, as in --add model.gguf ferrite.img"
            );
        } else {
            if let Some(disk) = &self.disk {
                bail!(
                    "{}: what to do with it? -o FILE writes a disk, --add FILE adds to one",
                    disk.display()
                );
            }
            ensure!(self.output.is_some(), "-o FILE is missing, the disk to write");
            ensure!(self.image.is_some(), "--image FILE is missing, the kernel's Image");
        }
        Ok(())
    }

    fn run(self) -> Result<String> {
        match (self.disk, self.output, self.image) {
            (Some(disk), ..) => add::add(&disk, &source::find(&self.added, &[])?),
            (None, Some(output), Some(image)) => create::create(&create::Plan {
                image: &image,
                boot_args: &self.boot_args,
                files: &{
                    let mut files = source::find(&self.models, &self.adapters)?;
                    files.extend(self.manifest.as_deref().map(source::manifest).transpose()?);
                    files
                },
                spare_bytes: self.spare_bytes,
                block_bytes: self.block_bytes.unwrap_or(512),
                output: &output,
                is_qcow2: self.is_qcow2,
            }),
            _ => Ok(USAGE.into()),
        }
    }
}

/// Parses a number of bytes; a final `K`, `M`, `G` or `T` multiplies it by a power of 1024.
fn parse_size(text: &str) -> Option<u64> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit_bytes = match text[number.len()..].to_ascii_uppercase().as_str() {
        "" | "B" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        "T" => 1_u64 << 40,
        _ => return None,
    };
    // More than any file system can hold must be a mistake. The limit also keeps sums from overflowing.
    number.parse::<u64>().ok()?.checked_mul(unit_bytes).filter(|&bytes| bytes <= 1 << 50)
}

fn main() -> ExitCode {
    let words: Result<Vec<String>, _> = std::env::args_os().skip(1).map(|word| word.into_string()).collect();
    let request = match words {
        Ok(words) => Request::parse(&words),
        Err(word) => Err(anyhow::anyhow!("{}: expected text in UTF-8", word.display())),
    };
    let (result, status) = match request {
        Ok(request) if request.is_help => (Ok(USAGE.into()), 0),
        Ok(request) => (request.run(), 1),
        Err(error) => (Err(error), 2),
    };
    match result {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("disk: {error:#}");
            ExitCode::from(status)
        }
    }
}
