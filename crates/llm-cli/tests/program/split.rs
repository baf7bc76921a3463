//! Models in several files: run as they are, merged into one file, and split from one file.

use std::path::{Path, PathBuf};

use llm::gguf::{Gguf, GgufWriter, Value};
use llm::model::Config;

use crate::{LLAMA, fail_saying, scratch_file, succeed, text_path};

/// Writes the model into this number of files, as gguf-split does, and returns their paths.
fn split(folder: &str, count: u16) -> Vec<PathBuf> {
    let folder = PathBuf::from(scratch_file(folder));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let bytes = std::fs::read(&*LLAMA).unwrap();
    let gguf = Gguf::parse(&bytes, bytes.len() as u64).unwrap();
    let n_tensors = gguf.tensors().len();
    let tensors_of = |number: u16| {
        let part = |number: u16| n_tensors * usize::from(number) / usize::from(count);
        &gguf.tensors()[part(number)..part(number + 1)]
    };
    let write = |number: u16| {
        let mut writer = GgufWriter::new();
        if number == 0 {
            gguf.metadata().for_each(|(key, value)| writer.put(key, value).unwrap());
        }
        // In gguf-split's order.
        writer.put("split.no", Value::U16(number)).unwrap();
        writer.put("split.tensors.count", Value::I32(n_tensors as i32)).unwrap();
        writer.put("split.count", Value::U16(count)).unwrap();
        for tensor in tensors_of(number) {
            writer.declare_tensor(tensor.name, tensor.ty, tensor.shape()).unwrap();
        }
        let mut file = Vec::new();
        let sink = |bytes: &[u8]| {
            file.extend_from_slice(bytes);
            Ok::<_, std::io::Error>(())
        };
        let mut data = writer.write_header(sink).unwrap();
        for tensor in tensors_of(number) {
            data.write(gguf.tensor_data(tensor).unwrap()).unwrap();
        }
        data.finish().unwrap();
        let path = folder.join(format!("m-{:05}-of-{count:05}.gguf", number + 1));
        std::fs::write(&path, file).unwrap();
        path
    };
    (0..count).map(write).collect()
}

/// The logits of a model. They are written to a file named after the test, because another test may run at the same time.
fn logits(test: &str, model: &str) -> Vec<u8> {
    let output = scratch_file(&format!("{test}.logits"));
    succeed(&["logits", "--model", model, "--tokens", "1,2,3", "-o", &output]);
    std::fs::read(output).unwrap()
}

/// Compares a merged file with the file that was split. As after gguf-split, the keys of the first part follow the model's
/// keys, and a count says that the file is whole.
fn assert_is_whole(path: &str) {
    let (merged, original) = (std::fs::read(path).unwrap(), std::fs::read(&*LLAMA).unwrap());
    let [merged, original] =
        [&merged, &original].map(|bytes| Gguf::parse(bytes, bytes.len() as u64).unwrap());
    let n_tensors = original.tensors().len() as i32;
    let own = [
        ("split.no", Value::U16(0)),
        ("split.tensors.count", Value::I32(n_tensors)),
        ("split.count", Value::U16(0)),
    ];
    assert!(merged.metadata().eq(original.metadata().chain(own)));
    assert_eq!(merged.tensors(), original.tensors());
    for tensor in original.tensors() {
        assert!(merged.tensor_data(tensor) == original.tensor_data(tensor), "{}", tensor.name);
    }
}

/// Runs `llm split` and returns the contents of the files.
fn split_by(input: &str, name: &str, options: &[&str]) -> Vec<Vec<u8>> {
    let prefix = scratch_file(name);
    let folder = Path::new(&prefix).parent().unwrap();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with(&format!("{name}-0")) {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    let paths = succeed(&[&["split", input, &prefix][..], options].concat());
    paths.lines().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn a_model_is_split_as_gguf_split_does() {
    let whole = std::fs::read(&*LLAMA).unwrap();
    let gguf = Gguf::parse(&whole, whole.len() as u64).unwrap();
    let n_tensors = gguf.tensors().len();
    // Three equal parts, but that the last one is shorter.
    let most = n_tensors.div_ceil(3).to_string();
    let parts = split_by(&LLAMA, "split-by-tensors", &["--split-max-tensors", &most]);
    assert_eq!(parts.len(), 3);
    let names = |file: &[u8]| -> Vec<String> {
        let gguf = Gguf::parse(file, file.len() as u64).unwrap();
        gguf.tensors().iter().map(|tensor| tensor.name.to_owned()).collect()
    };
    let all: Vec<_> = gguf.tensors().iter().map(|tensor| tensor.name.to_owned()).collect();
    assert_eq!(parts.iter().flat_map(|part| names(part)).collect::<Vec<_>>(), all);
    assert!(parts[..2].iter().all(|part| names(part).len() == n_tensors.div_ceil(3)));

    // Again from a file that was merged.
    let merged = scratch_file("split-again.gguf");
    succeed(&["merge", &format!("{}-00003-of-00003.gguf", scratch_file("split-by-tensors")), &merged]);
    assert!(split_by(&merged, "split-again", &["--split-max-tensors", &most]) == parts);

    // The first without tensors; the rest as before.
    let apart = split_by(&LLAMA, "split-apart", &["--split-max-tensors", &most, "--no-tensor-first-split"]);
    assert_eq!(apart.len(), 4);
    assert!(names(&apart[0]).is_empty() && names(&apart[1]) == names(&parts[0]));
    let model = format!("{}-00002-of-00004.gguf", scratch_file("split-apart"));
    let logits = |model: &str| logits("split-apart", model);
    assert!(logits(&model) == logits(&LLAMA));

    // All of it is less than a million bytes; by default no part has more than 128 tensors.
    assert!(split_by(&LLAMA, "split-by-size", &["--split-max-size", "1M"]).len() == 1);
    assert!(split_by(&LLAMA, "split-usual", &[]).len() == n_tensors.div_ceil(128));
    fail_saying(&["split", &LLAMA, &scratch_file("split-by-size")], &["is there already"]);
    for (options, expected) in [
        (["--split-max-size", "0M"], "expected a size such as 500M or 2G"),
        (["--split-max-size", "17"], "expected a size such as 500M or 2G"),
        (["--split-max-tensors", "0"], "at least 1"),
    ] {
        let arguments = [&["split", &LLAMA, "never-split"][..], &options].concat();
        fail_saying(&arguments, &[expected]);
    }
}

#[test]
fn a_model_in_parts_is_that_model() {
    let parts = split("split", 3);
    let logits = |model: &str| logits("split-parts", model);
    let whole = logits(&LLAMA);
    for part in &parts {
        assert!(logits(&text_path(part)) == whole, "{}", part.display());
    }
    let merged = scratch_file("merged.gguf");
    assert_eq!(succeed(&["merge", &text_path(&parts[1]), &merged]), "");
    assert!(logits(&merged) == whole);
    assert_is_whole(&merged);
    assert!(succeed(&["info", "--model", &text_path(&parts[0])]).contains("parameters"));
    let quantized = scratch_file("split-quantized.gguf");
    succeed(&["quantize", &text_path(&parts[0]), &quantized, "Q8_0"]);
    logits(&quantized);
}

#[test]
fn a_part_alone_says_that_it_is_one() {
    for (index, part) in split("split-alone", 2).iter().enumerate() {
        let bytes = std::fs::read(part).unwrap();
        let gguf = Gguf::parse(&bytes, bytes.len() as u64).unwrap();
        let error = Config::from_gguf(&gguf).unwrap_err().to_string();
        assert!(
            error.contains(&format!("part {} of 2 of a model, which needs them all", index + 1)),
            "{error}"
        );
    }
}

#[test]
fn parts_that_do_not_fit_are_refused() {
    let info = |path: &Path, parts: &[&str]| fail_saying(&["info", "--model", &text_path(path)], parts);
    let parts = split("split-broken", 3);
    let moved = parts[0].with_file_name("first.gguf");
    std::fs::copy(&parts[0], &moved).unwrap();
    info(&moved, &["first.gguf", "one of 3 parts", "-00001-of-00003.gguf"]);
    let last = std::fs::read(&parts[2]).unwrap();
    let other = split("split-other", 4);
    std::fs::copy(&other[2], &parts[2]).unwrap();
    info(&parts[0], &["m-00003-of-00003.gguf", "part 3 of 4, expected part 3 of 3"]);
    // The first byte of the number behind the key and its type.
    let mut miscounted = last.clone();
    let key = miscounted.windows(19).position(|bytes| bytes == b"split.tensors.count").unwrap();
    miscounted[key + 23] += 1;
    std::fs::write(&parts[2], &miscounted).unwrap();
    info(&parts[0], &["m-00003-of-00003.gguf", "part 3 of 3, but of another model", "split.tensors.count"]);
    std::fs::copy(&parts[1], &parts[2]).unwrap();
    info(&parts[0], &["m-00003-of-00003.gguf", "part 2 of 3, expected part 3"]);
    std::fs::write(&parts[2], b"GGUF").unwrap();
    info(&parts[0], &["m-00003-of-00003.gguf"]);
    std::fs::remove_file(&parts[2]).unwrap();
    info(&parts[0], &["m-00003-of-00003.gguf", "a part of the model", "No such file"]);
    let out = scratch_file("never-merged.gguf");
    fail_saying(&["merge", &text_path(&parts[0]), &out], &["m-00003-of-00003.gguf"]);
    fail_saying(&["merge", &LLAMA, &out], &["not a part of a model"]);
    assert!(!Path::new(&out).exists());
    let parts = split("split-onto", 2);
    fail_saying(&["merge", &text_path(&parts[0]), &text_path(&parts[1])], &["read and written at once"]);
}

#[test]
fn a_merge_leaves_files_that_only_look_like_its_own() {
    let parts = split("split-beside", 2);
    let out = parts[0].with_file_name("out.gguf");
    let others = ["out.part", "out.gguf.part", "out.gguf.1.part"].map(|name| out.with_file_name(name));
    others.iter().for_each(|other| std::fs::write(other, "another's").unwrap());
    let n_files = || std::fs::read_dir(out.parent().unwrap()).unwrap().count();
    let before = n_files();
    succeed(&["merge", &text_path(&parts[0]), &text_path(&out)]);
    assert_is_whole(&text_path(&out));
    assert_eq!(n_files(), before + 1);
    let folder = parts[0].with_file_name("folder.gguf");
    std::fs::create_dir_all(folder.join("full")).unwrap();
    fail_saying(&["merge", &text_path(&parts[0]), &text_path(&folder)], &["folder.gguf"]);
    assert_eq!(n_files(), before + 2);
    for other in others {
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "another's", "{}", other.display());
    }
}
