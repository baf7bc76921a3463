use super::*;
use crate::llm::host;
use crate::storage::{BlockDevice, FaultyDisk, FileFacts, MemoryDisk, ReadError};
use llm::gguf::GgufError;
use std::{
    string::ToString,
    sync::{Arc, Mutex},
    vec,
};

fn never(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn catalog(disks: Vec<(Box<dyn BlockDevice>, Option<FileFacts>)>) -> Catalog {
    let disks = disks.into_iter().enumerate().map(|(index, (device, file))| Disk::new(index, device, file));
    Catalog::new(disks.collect::<Vec<_>>().into(), host::pool(8 << 20), trust::sha256::PORTABLE)
}

/// A file with no tensors, whose header has these strings and padding of `filler_bytes`.
fn gguf(name: Option<&str>, filler_bytes: usize) -> Vec<u8> {
    let mut keys = vec![("general.architecture", "llama".to_string())];
    keys.extend(name.map(|name| ("general.name", name.to_string())));
    keys.push(("general.description", "x".repeat(filler_bytes)));
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0u64.to_le_bytes());
    bytes.extend((keys.len() as u64).to_le_bytes());
    for (key, value) in keys {
        bytes.extend((key.len() as u64).to_le_bytes());
        bytes.extend(key.as_bytes());
        bytes.extend(8u32.to_le_bytes());
        bytes.extend((value.len() as u64).to_le_bytes());
        bytes.extend(value.as_bytes());
    }
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn memory(serial: &str, bytes: Vec<u8>) -> (Box<dyn BlockDevice>, Option<FileFacts>) {
    (Box::new(MemoryDisk::new(serial, bytes)), None)
}

#[test]
fn names_become_paths() {
    for (name, stem) in [
        ("TinyStories 260K", "tinystories-260k"),
        ("../../etc/passwd", "etc-passwd"),
        ("Qwen2.5_0.5B", "qwen2.5_0.5b"),
        ("  Müller & Söhne  ", "m-ller-s-hne"),
        ("..", ""),
        ("模型", ""),
    ] {
        assert_eq!(path_safe(name), stem);
    }
}

#[test]
fn disks_are_named_by_model_then_serial_then_number() {
    let mut catalog = catalog(vec![
        memory("s0", gguf(Some("Tiny Model"), 0)),
        memory("tiny-model", gguf(None, 0)),
        memory("s2", gguf(Some("tiny model!"), 0)),
        memory("", gguf(None, 0)),
        memory("s4", vec![0xa5; 4096]),
        memory("s5", vec![]),
    ]);
    let paths: Vec<_> = catalog.files().iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/models/tiny-model.gguf",
            "/models/tiny-model-2.gguf",
            "/models/tiny-model-3.gguf",
            "/models/disk3.gguf",
            "/models/s4.gguf",
            "/models/s5.gguf",
        ]
    );
    assert!(matches!(
        catalog.files()[4].header,
        Err(BackendError::Gguf(GgufError::NotGguf { magic: [0xa5, 0xa5, 0xa5, 0xa5] }))
    ));
    assert!(matches!(catalog.files()[5].header, Err(BackendError::EmptyDisk)));
    for path in ["/models/tiny-model-2.gguf", "tiny-model-2.gguf", "tiny-model-2.GGUF", "tiny-model-2"] {
        assert_eq!(catalog.find(path).unwrap(), 1);
    }
    for path in ["", "/models/", "tiny", "/other/tiny-model.gguf", ".gguf"] {
        assert!(matches!(catalog.find(path), Err(BackendError::UnknownPath { .. })), "{path}");
    }
}

#[test]
fn a_header_longer_than_the_first_read_is_read_whole_and_no_memory_stays_taken() {
    let mut catalog = catalog(vec![memory("s", gguf(Some("long"), 1_000_000))]);
    let free_bytes = catalog.pool.free_bytes();
    assert_eq!(catalog.files()[0].path, "/models/long.gguf");
    assert_eq!(catalog.pool.free_bytes(), free_bytes);
}

#[test]
fn a_header_longer_than_the_memory_is_refused() {
    let mut catalog = catalog(vec![memory("s", gguf(Some("long"), 10_000_000))]);
    assert!(matches!(catalog.files()[0].header, Err(BackendError::NoBuffer(_))));
}

#[test]
fn the_first_sound_model_is_the_default() {
    let broken = || memory("broken", vec![1; 512]);
    assert_eq!(catalog(vec![broken(), memory("s", gguf(None, 0))]).first().unwrap(), 1);
    let error = catalog(vec![]).first().unwrap_err();
    assert!(matches!(error, BackendError::NoDisks { .. }));
    let error = catalog(vec![broken(), broken()]).first().unwrap_err();
    assert!(matches!(error, BackendError::NoModel { n_disks: 2, .. }));
    assert!(error.to_string().contains("/models/broken.gguf"));
}

#[test]
fn a_failing_disk_is_an_error_of_that_disk_alone() {
    let device = FaultyDisk::new(MemoryDisk::new("bad", gguf(None, 0)), 0..1);
    let mut catalog = catalog(vec![(Box::new(device), None), memory("good", gguf(None, 0))]);
    assert!(matches!(catalog.files()[0].header, Err(BackendError::Read { disk: 0, .. })));
    assert!(catalog.files()[1].header.is_ok());
}

/// A disk whose contents somebody has named.
struct LabelledDisk(MemoryDisk);

impl BlockDevice for LabelledDisk {
    fn capacity_bytes(&self) -> u64 {
        self.0.capacity_bytes()
    }

    fn serial(&self) -> &str {
        self.0.serial()
    }

    fn label(&self) -> &str {
        "My Model"
    }

    fn transport(&self) -> &str {
        self.0.transport()
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        self.0.read_at(offset_bytes, buffer)
    }
}

#[test]
fn a_label_comes_before_the_models_own_name() {
    let device = LabelledDisk(MemoryDisk::new("s", gguf(Some("Tiny Model"), 0)));
    let mut catalog = catalog(vec![(Box::new(device), None)]);
    assert_eq!(catalog.files()[0].path, "/models/my-model.gguf");
}

/// A disk that answers, does not, or is waited for by somebody who does not want to.
struct MoodyDisk(MemoryDisk, Arc<Mutex<Option<ReadError>>>);

impl BlockDevice for MoodyDisk {
    fn capacity_bytes(&self) -> u64 {
        self.0.capacity_bytes()
    }

    fn serial(&self) -> &str {
        self.0.serial()
    }

    fn transport(&self) -> &str {
        self.0.transport()
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        let mood = *self.1.lock().unwrap();
        mood.map_or_else(|| self.0.read_at(offset_bytes, buffer), Err)
    }
}

#[test]
fn a_silent_disk_keeps_its_name_and_leaves_the_others_theirs() {
    let mood = Arc::new(Mutex::new(Some(ReadError::NoAnswer { waited_us: 1000 })));
    let device = MoodyDisk(MemoryDisk::new("moody", gguf(Some("moody model"), 0)), mood.clone());
    let mut catalog = catalog(vec![(Box::new(device), None), memory("s", gguf(Some("good"), 0))]);
    let paths = |catalog: &mut Catalog| -> Vec<String> {
        catalog.files().iter().map(|file| file.path.clone()).collect()
    };
    assert_eq!(paths(&mut catalog), ["/models/moody.gguf", "/models/good.gguf"]);
    assert_eq!(catalog.first().unwrap(), 1);
    for silence in [ReadError::Interrupted, ReadError::NoAnswer { waited_us: 5 }, ReadError::Interrupted] {
        *mood.lock().unwrap() = Some(silence);
        catalog.scan();
        assert!(catalog.files()[0].is_unread() && catalog.files()[1].header.is_ok(), "{silence:?}");
    }
    *mood.lock().unwrap() = None;
    // Whoever looks for what was read from it asks it again.
    let identity = catalog.disks()[0].identity();
    assert_eq!(catalog.of_identity(identity), Some(0));
    assert_eq!(catalog.find("moody-model").unwrap(), 0);
    *mood.lock().unwrap() = Some(ReadError::Interrupted);
    catalog.scan();
    assert_eq!(paths(&mut catalog), ["/models/moody-model.gguf", "/models/good.gguf"]);
    assert_eq!(catalog.pool.free_bytes(), catalog.pool.total_bytes());
}

/// A silent disk that waits as long as it may, unless the user presses Ctrl-C, and counts that.
struct SilentDisk(u64, Arc<Mutex<u64>>);

impl BlockDevice for SilentDisk {
    fn capacity_bytes(&self) -> u64 {
        4096
    }

    fn serial(&self) -> &str {
        ""
    }

    fn transport(&self) -> &str {
        ""
    }

    fn set_patience(&mut self, patience_us: u64) {
        self.0 = patience_us;
    }

    fn read_at(&mut self, _: u64, _: &mut [u8]) -> Result<(), ReadError> {
        // For that long nobody asks the user.
        let (waited_us, error) = match self.0 {
            waited_us @ ..150_000 => (waited_us, ReadError::NoAnswer { waited_us }),
            _ => (150_000, ReadError::Interrupted),
        };
        *self.1.lock().unwrap() += waited_us;
        Err(error)
    }
}

#[test]
fn who_presses_ctrl_c_does_not_wait_for_each_silent_disk() {
    let waited_us = Arc::new(Mutex::new(0));
    let silent = || -> (Box<dyn BlockDevice>, _) { (Box::new(SilentDisk(0, waited_us.clone())), None) };
    let mut disks: Vec<_> = (0..8).map(|_| silent()).collect();
    disks.push(memory("good", gguf(None, 0)));
    let mut catalog = catalog(disks);
    catalog.scan();
    assert!(*waited_us.lock().unwrap() < 500_000);
    assert!(catalog.files()[..8].iter().all(ModelFile::is_unread));
    assert!(catalog.files()[8].header.is_ok());
}

/// A disk that needs a while for every answer.
struct SlowDisk(MemoryDisk, u64);

impl BlockDevice for SlowDisk {
    fn capacity_bytes(&self) -> u64 {
        self.0.capacity_bytes()
    }

    fn serial(&self) -> &str {
        self.0.serial()
    }

    fn transport(&self) -> &str {
        ""
    }

    fn set_patience(&mut self, patience_us: u64) {
        self.1 = patience_us;
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), ReadError> {
        match self.1 {
            waited_us @ ..50_000 => Err(ReadError::NoAnswer { waited_us }),
            _ => self.0.read_at(offset_bytes, buffer),
        }
    }
}

/// Once Ctrl-C was pressed, the others have little time together: a disk that is lost at once takes none of it.
#[test]
fn lost_disks_take_no_time_from_slow_ones() {
    let mut disks: Vec<(Box<dyn BlockDevice>, _)> = vec![(Box::new(SilentDisk(0, Arc::default())), None)];
    for _ in 0..3 {
        let mood = Arc::new(Mutex::new(Some(ReadError::Lost { lent_bytes: 0 })));
        disks.push((Box::new(MoodyDisk(MemoryDisk::new("lost", gguf(None, 0)), mood)), None));
    }
    disks.push((Box::new(SlowDisk(MemoryDisk::new("slow", gguf(None, 0)), 0)), None));
    let mut catalog = catalog(disks);
    catalog.scan();
    assert!(catalog.files()[4].header.is_ok(), "{:?}", catalog.files()[4].header);
}

#[test]
fn a_silent_disk_is_the_only_one_even_if_numbers_have_gaps() {
    for silence in [ReadError::NoAnswer { waited_us: 1000 }, ReadError::Interrupted] {
        let mood = Arc::new(Mutex::new(Some(silence)));
        let moody = || Box::new(MoodyDisk(MemoryDisk::new("moody", gguf(None, 0)), mood.clone()));
        let good = Box::new(MemoryDisk::new("good", gguf(None, 0)));
        let disks = vec![Disk::new(1, moody(), None), Disk::new(2, good, None), Disk::new(7, moody(), None)];
        let mut catalog = Catalog::new(disks.into(), host::pool(8 << 20), trust::sha256::PORTABLE);
        let files = catalog.files();
        assert!(files[1].header.is_ok());
        for (position, number) in [(0, 1), (2, 7)] {
            let header = &files[position].header;
            let is_its_own = matches!(header, Err(BackendError::Read { disk, .. }) if *disk == number);
            assert!(is_its_own && files[position].is_unread(), "{header:?}");
        }
    }
}

#[test]
fn checksums_cover_the_file_and_not_the_padding() {
    // SHA-256 of "abc": FIPS 180-4, example.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let digest = |flip| {
        let mut digest = [0; 32];
        for (byte, hex) in digest.iter_mut().zip(abc.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap();
        }
        digest[0] ^= flip;
        digest
    };
    let mut sector = b"abc".to_vec();
    sector.resize(512, 0);
    let disk = |sha256| -> (Box<dyn BlockDevice>, _) {
        let facts = FileFacts { length_bytes: 3, sha256 };
        (Box::new(MemoryDisk::new("abc", sector.clone())), Some(facts))
    };
    let mut catalog = catalog(vec![disk(Some(digest(0))), disk(Some(digest(1))), disk(None)]);
    let good = catalog.verify(0, host::clock_us, &mut never).unwrap();
    assert_eq!(good.to_string(), abc);
    let differs = catalog.verify(1, host::clock_us, &mut never).unwrap_err();
    assert!(matches!(differs, BackendError::ChecksumMismatch { .. }));
    let unknown = catalog.verify(2, host::clock_us, &mut never).unwrap_err();
    assert!(unknown.to_string().contains(abc));
    let stopped = catalog.sha256(0, host::clock_us, &mut |_| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(BackendError::Cancelled)));
}

#[test]
fn what_is_known_stays_known_without_memory_to_read_it_again() {
    let mut catalog = catalog(vec![memory("s0", gguf(Some("Tiny Model"), 0)), memory("s1", gguf(None, 0))]);
    let pool = catalog.pool();
    let all = pool.reserve(pool.largest_free_bytes(), GRANULE_BYTES).unwrap();
    let paths = |catalog: &mut Catalog| -> Vec<_> {
        catalog.files().iter().map(|file| (file.path.clone(), file.header.is_ok())).collect()
    };
    let named = |stem: &str, is_read| (format!("/models/{stem}.gguf"), is_read);
    assert_eq!(paths(&mut catalog), [named("s0", false), named("s1", false)]);
    drop(all);
    // It is read as soon as it can be.
    assert_eq!(catalog.find("tiny-model").unwrap(), 0);
    let _all = pool.reserve(pool.largest_free_bytes(), GRANULE_BYTES).unwrap();
    catalog.scan();
    assert_eq!(paths(&mut catalog), [named("tiny-model", true), named("s1", true)]);
}

/// A catalog in which some of these disks, each a model of this name, are vouched for: in this version, with a key or as told at boot.
fn sealed_catalog(names: &[(&str, &str, Option<u64>)]) -> Catalog {
    use crate::storage::{Mode, Trust, TrustSettings, trust_tests};
    use std::boxed::Box;
    let (mut disks, mut lines, mut roots) = (Vec::new(), String::from("ferrite-models 1\n"), Vec::new());
    for (number, &(serial, name, version)) in names.iter().enumerate() {
        let file = gguf(Some(name), 9000 + 600 * number);
        let (tree, root) = trust_tests::tree(&file);
        let (bytes, superblock) = (file.len() as u64, trust::verity::Superblock::new(file.len() as u64));
        let entry = trust::manifest::Entry { name: name.into(), version: 1, bytes, root, superblock };
        match version {
            Some(0) => roots.push((name.into(), root)),
            Some(version) => lines += &format!("{}\n", trust::manifest::Entry { version, ..entry }),
            None => {}
        }
        disks.extend([memory(serial, file), memory("tree", tree)]);
    }
    disks.push(memory("manifest", (lines.clone() + &trust_tests::key(1).sign(lines.as_bytes(), "")).into()));
    let mut catalog = catalog(disks);
    let settings = TrustSettings { roots, ..trust_tests::settings(Mode::Report) };
    let settings = Box::leak(Box::new(settings));
    let workers = &llm::parallel::Serial;
    catalog.disks_mut().set_trust(Trust { settings, compress: trust::sha256::PORTABLE, workers });
    catalog
}

#[test]
fn a_name_is_that_of_what_was_signed_under_it() {
    // Wherever the disks are; of what is signed the newest, or what the owner says.
    let names = [("s0", "tiny", None), ("s1", "tiny", Some(2)), ("s2", "tiny", Some(3)), ("s3", "tin", None)];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]] {
        let mut catalog = sealed_catalog(&order.map(|place| names[place]));
        for (path, serial) in [("tiny", "s2"), ("tiny-2", "s1"), ("tiny-3", "s0"), ("tin", "s3")] {
            let place = catalog.find(path).unwrap();
            assert_eq!(catalog.disks()[place].serial(), serial, "{path} in {order:?}");
        }
        assert!(matches!(catalog.find("ti"), Err(BackendError::UnknownPath { .. })));
        // They stay.
        let before: Vec<_> = catalog.files().iter().map(|file| file.path.clone()).collect();
        catalog.scan();
        assert!(catalog.files().iter().map(|file| &file.path).eq(&before));
    }
    let mut told = sealed_catalog(&[("s0", "tiny", Some(7)), ("s1", "tiny", Some(0))]);
    let place = told.find("tiny").unwrap();
    assert_eq!(told.disks()[place].serial(), "s1");
    // The highest version that there is does not come before it.
    let mut told = sealed_catalog(&[("s0", "tiny", Some(u64::MAX)), ("s1", "tiny", Some(0))]);
    let place = told.find("tiny").unwrap();
    assert_eq!(told.disks()[place].serial(), "s1");
}

#[test]
fn no_older_version_is_called_what_another_file_was_signed_as() {
    let names = [("s0", "phi", Some(3)), ("s1", "phi", Some(2)), ("s2", "phi-2", Some(1))];
    for order in [[0, 1, 2], [2, 1, 0], [1, 0, 2], [1, 2, 0]] {
        let mut catalog = sealed_catalog(&order.map(|place| names[place]));
        for (path, serial) in [("phi", "s0"), ("phi-2", "s2"), ("phi-3", "s1")] {
            let place = catalog.find(path).unwrap();
            assert_eq!(catalog.disks()[place].serial(), serial, "{path} in {order:?}");
        }
    }
}

#[test]
fn what_was_signed_under_a_name_has_it_even_if_it_comes_later() {
    // By a manifest, and by a root that was told.
    for version in [1, 0] {
        check_later(version);
    }
}

fn check_later(version: u64) {
    let names = [
        ("s0", "phi", Some(2)),
        ("s1", "phi", Some(1)),
        ("s2", "phi-2", Some(version)),
        ("s3", "phi", Some(3)),
    ];
    let mut catalog = sealed_catalog(&names);
    // The disks of the last two, and their trees, are not there yet.
    let later: Vec<_> = catalog.disks_mut().drain(4..8).collect();
    let serial_of = |catalog: &mut Catalog, path: &str| {
        let place = catalog.find(path).unwrap();
        String::from(catalog.disks()[place].serial())
    };
    // No other file is called what it was signed as meanwhile.
    assert!(matches!(catalog.find("phi-2"), Err(BackendError::UnknownPath { .. })));
    assert_eq!(["phi", "phi-3"].map(|path| serial_of(&mut catalog, path)), ["s0", "s1"]);
    catalog.disks_mut().extend(later);
    catalog.scan();
    assert_eq!(["phi", "phi-2"].map(|path| serial_of(&mut catalog, path)), ["s3", "s2"]);
    assert_eq!(["phi-3", "phi-4"].map(|path| serial_of(&mut catalog, path)), ["s1", "s0"]);
}

#[test]
fn what_nobody_vouches_for_does_not_get_a_name_that_was_signed_for_a_file_on_no_disk() {
    let mut catalog = sealed_catalog(&[("s0", "phi-2", None), ("s1", "phi-2", Some(1))]);
    // The manifest stays, the signed file goes.
    let place = catalog.disks().iter().position(|disk| disk.serial() == "s1").unwrap();
    catalog.disks_mut().remove(place);
    catalog.scan();
    assert!(matches!(catalog.find("phi-2"), Err(BackendError::UnknownPath { .. })));
    let place = catalog.find("phi-2-2").unwrap();
    assert_eq!(catalog.disks()[place].serial(), "s0");
}

#[test]
fn what_nobody_vouches_for_gives_its_name_to_what_was_signed_under_it() {
    let mut catalog = sealed_catalog(&[("s0", "tiny", None), ("s1", "tiny", Some(1))]);
    // The manifest comes later.
    let manifest = catalog.disks_mut().pop().unwrap();
    assert_eq!(catalog.files()[0].path, "/models/tiny.gguf");
    let identity = catalog.files()[0].disk_identity;
    catalog.disks_mut().push(manifest);
    catalog.scan();
    let paths = [0, 2].map(|place| catalog.files()[place].path.clone());
    assert_eq!(paths, ["/models/tiny-2.gguf", "/models/tiny.gguf"]);
    assert_eq!(catalog.of_identity(identity), Some(0));
    assert_eq!(catalog.of_identity(u64::MAX), None);
}
