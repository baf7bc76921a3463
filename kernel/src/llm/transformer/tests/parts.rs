//! Tests of models that are split over several disks.

use super::*;

/// The small model in three parts.
fn micro_parts() -> [Vec<u8>; 3] {
    fixtures::parts(&fixtures::micro(), 3).try_into().unwrap()
}

fn logits(backend: &mut TransformerBackend) -> Vec<u32> {
    let mut bits = Vec::new();
    backend
        .logits(None, &[1, 5, 9, 2], &mut |row| {
            bits.extend(row.iter().map(|logit| logit.to_bits()));
            ControlFlow::Continue(())
        })
        .unwrap();
    bits
}

/// Whether the loaded model is that of the file with this index.
fn is_of(backend: &mut TransformerBackend, file: usize) -> bool {
    let loaded = backend.model_metadata().unwrap().clone();
    loaded.is_of(&backend.catalog.files()[file])
}

#[test]
fn a_model_on_several_disks_is_that_model_whatever_their_order() {
    let mut whole = backend(16 << 20, vec![("m", fixtures::micro())]);
    whole.load_model("ferrite-micro").unwrap();
    let expected = logits(&mut whole);
    let parts = micro_parts();
    let ends: Vec<u64> = parts
        .iter()
        .map(|part| llm::gguf::Gguf::parse(part, part.len() as u64).unwrap().end_offset())
        .collect();
    let weights_bytes =
        (ends[0].next_multiple_of(32) + ends[1]).next_multiple_of(32) as usize + ends[2] as usize;
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let mut files = vec![("tiny", fixtures::tiny())];
        files.extend(order.map(|part| (["a", "b", "c"][part], parts[part].clone())));
        let mut backend = backend(16 << 20, files);
        let listed = |backend: &mut TransformerBackend| -> Vec<(String, bool)> {
            let files = backend.catalog.files().iter();
            files.map(|file| (file.path.clone(), file.header.is_ok())).collect()
        };
        let first = 1 + order.iter().position(|&part| part == 0).unwrap();
        let before = listed(&mut backend);
        assert_eq!(before[first], (String::from("/models/ferrite-micro.gguf"), true));
        assert_eq!(before.iter().filter(|(_, is_sound)| *is_sound).count(), 2);
        let file = &backend.catalog.files()[first];
        assert_eq!(file.length_bytes, parts.iter().map(|part| part.len() as u64).sum::<u64>());
        let (header, whole) = (file.header.as_ref().unwrap(), &whole.catalog.files()[0].header);
        let whole = whole.as_ref().unwrap();
        assert_eq!((header.n_params, header.quantisation()), (whole.n_params, whole.quantisation()));

        backend.load_model("ferrite-micro").unwrap();
        assert_eq!(logits(&mut backend), expected);
        assert_eq!(backend.memory_usage().weights_bytes, weights_bytes.next_multiple_of(GRANULE_BYTES));
        assert!(is_of(&mut backend, first));
        // After another scan they are the same.
        backend.catalog.scan();
        assert_eq!(listed(&mut backend), before);
        assert!(is_of(&mut backend, first));
        let later = backend.load_model("b").unwrap_err().to_string();
        assert_eq!(later, format!("/models/b.gguf: part 2 of 3 of the model on disk {first}"));
        backend.tokenize(Some("ferrite-micro"), &["Hello"], PROMPT_ENCODING, &mut |_| ()).unwrap();
    }
}

#[test]
fn the_memory_of_a_model_on_several_disks_is_known_to_the_byte() {
    let files =
        || micro_parts().into_iter().zip(["a", "b", "c"]).map(|(part, serial)| (serial, part)).collect();
    let mut roomy = backend(16 << 20, files());
    load(&mut roomy, "ferrite-micro", Some(64)).unwrap();
    let needed_bytes = roomy.memory_usage().weights_bytes + roomy.memory_usage().session_bytes();
    load(&mut backend(needed_bytes, files()), "ferrite-micro", Some(64)).unwrap();
    let refused = load(&mut backend(needed_bytes - GRANULE_BYTES, files()), "ferrite-micro", Some(64));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("bytes needed for the weights and a context of 64 tokens"), "{refused}");
}

#[test]
fn parts_that_are_missing_or_do_not_fit_are_named() {
    let [first, second, third] = micro_parts();
    let other = fixtures::parts(&fixtures::tiny(), 3);
    let four = fixtures::parts(&fixtures::micro(), 4);
    // `split.no` has 2 bytes, which follow its key and its type.
    let mut numbered_wrong = third.clone();
    let key = numbered_wrong.windows(8).position(|bytes| bytes == b"split.no").unwrap();
    numbered_wrong[key + 12] = 3;
    let missing =
        |number| format!("part {number} of 3 of the model is on no disk; expected every part as a disk");
    for (files, expected) in [
        (vec![&first, &third], missing(2)),
        (vec![&first, &second], missing(3)),
        (vec![&first], missing(2)),
        (vec![&first, &second, &other[2]], missing(3)),
        (vec![&first, &second, &four[2]], missing(3)),
        (vec![&first, &second, &numbered_wrong], missing(3)),
        (
            vec![&first, &second, &third, &second],
            String::from("part 2 of 3 of the model is on disk 1 and on disk 3; expected it once"),
        ),
        (
            vec![&first, &second, &third, &first],
            String::from("part 1 of 3 of the model is on disk 0 and on disk 3; expected it once"),
        ),
    ] {
        let files = files.into_iter().map(|file| ("disk", file.clone())).collect();
        let mut backend = backend(16 << 20, files);
        let refused = backend.load_model("ferrite-micro").unwrap_err().to_string();
        assert_eq!(refused, format!("/models/ferrite-micro.gguf: {expected}"));
        let memory = backend.catalog.pool();
        assert_eq!(memory.free_bytes(), memory.total_bytes());
    }
    let mut without_first = backend(16 << 20, vec![("b", second), ("c", numbered_wrong)]);
    let refused = |backend: &mut TransformerBackend, path| backend.load_model(path).unwrap_err().to_string();
    assert_eq!(refused(&mut without_first, "b"), format!("/models/b.gguf: {}", missing(1)));
    assert_eq!(
        refused(&mut without_first, "c"),
        "/models/c.gguf: `split.no` is 3, but of 3 parts (`split.count`) the last is number 2"
    );
    // Errors that are noticed only when the headers are combined.
    let mut twice = micro_parts();
    twice[2] = twice[1].clone();
    let key = twice[2].windows(8).position(|bytes| bytes == b"split.no").unwrap();
    twice[2][key + 12] = 2;
    let files = twice.into_iter().map(|part| ("disk", part)).collect();
    let refused = refused(&mut backend(16 << 20, files), "ferrite-micro");
    assert!(refused.contains("is there twice") || refused.contains("the parts have"), "{refused}");
}

#[test]
fn a_disk_that_fails_in_a_later_part_is_named_and_gives_all_memory_back() {
    let parts = micro_parts();
    let mut resources = host::resources(host::pool(16 << 20), vec![]);
    for (index, part) in parts.into_iter().enumerate() {
        let bad = if index == 2 { part.len() as u64 - 4096..part.len() as u64 } else { 0..0 };
        let device: Box<dyn BlockDevice> = Box::new(FaultyDisk::new(MemoryDisk::new("", part), bad));
        resources.disks.push(Disk::new(index, device, None));
    }
    let mut backend = TransformerBackend::new(resources);
    match backend.load_model("ferrite-micro") {
        Err(BackendError::InFile { cause, .. }) => {
            assert!(matches!(*cause, BackendError::Read { disk: 2, .. }), "{cause}");
        }
        other => panic!("{other:?}"),
    }
    let pool = backend.catalog.pool();
    assert_eq!(pool.free_bytes(), pool.total_bytes());
}

/// The small model's parts, each signed under a name and with a version; also their hash trees and the manifest.
pub fn signed_files(names: [(&str, u64); 3]) -> Vec<(&'static str, Vec<u8>)> {
    use crate::storage::trust_tests;
    let mut text = String::from("ferrite-models 1\n");
    let mut files = Vec::new();
    for (mut part, (name, version)) in micro_parts().into_iter().zip(names) {
        part.resize(part.len().next_multiple_of(512), 0);
        let (tree, root) = trust_tests::tree(&part);
        let (bytes, superblock) = (part.len() as u64, trust::verity::Superblock::new(part.len() as u64));
        let entry = trust::manifest::Entry { name: name.into(), version, bytes, root, superblock };
        text += &format!("{entry}\n");
        files.extend([("part", part), ("tree", tree)]);
    }
    let mut manifest = (text.clone() + &trust_tests::key(1).sign(text.as_bytes(), "")).into_bytes();
    manifest.resize(manifest.len().next_multiple_of(512), 0);
    files.push(("manifest", manifest));
    files
}

/// A backend with these files.
fn signed(mode: crate::storage::Mode, names: [(&str, u64); 3]) -> TransformerBackend {
    use crate::storage::{Trust, trust_tests};
    let mut resources = host::resources(host::pool(16 << 20), signed_files(names));
    let settings = std::boxed::Box::leak(std::boxed::Box::new(trust_tests::settings(mode)));
    let workers = &llm::parallel::Serial;
    resources.disks.set_trust(Trust { settings, compress: trust::sha256::PORTABLE, workers });
    TransformerBackend::new(resources)
}

#[test]
fn parts_are_a_trusted_model_only_if_they_were_signed_as_one() {
    use crate::storage::Mode;
    let right = [("m-00001-of-00003", 1), ("m-00002-of-00003", 1), ("m-00003-of-00003", 1)];
    let mut backend = signed(Mode::Require, right);
    backend.load_model(right[0].0).unwrap();
    let root = backend.model_metadata().unwrap().root;
    assert!(root.is_some() && is_of(&mut backend, 0));
    // A loaded model does not count as a file with another root, and no receipt says that it does.
    backend.models.get_mut(None).unwrap().metadata.root = Some(trust::Root([1; 32]));
    assert!(!is_of(&mut backend, 0));
    assert!(backend.record_of(None, &mut |_| ControlFlow::Continue(())).is_err());
    backend.models.get_mut(None).unwrap().metadata.root = root;
    assert!(backend.record_of(None, &mut |_| ControlFlow::Continue(())).is_ok());

    for (place, wrong) in [
        (1, ("other-00002-of-00003", 1)),
        (1, ("m-00002-of-00003", 2)),
        (2, ("m-00002-of-00003", 1)),
        (2, ("m-00003-of-00004", 1)),
        (0, ("m", 1)),
    ] {
        let mut names = right;
        names[place] = wrong;
        let mut backend = signed(Mode::Require, names);
        let refused = backend.load_model(names[0].0).unwrap_err().to_string();
        let expected = format!("part {} of 3 is not signed as one of this model", place + 1);
        assert!(refused.contains(&expected), "{refused}");
        let mut backend = signed(Mode::Report, names);
        backend.load_model(names[0].0).unwrap();
        assert_eq!(backend.model_metadata().unwrap().root, None);
        assert!(is_of(&mut backend, 0));
    }
}
