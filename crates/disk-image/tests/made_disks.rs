//! Checks the disks that the program makes: the partition table, as another library reads it; the files of the boot partition;
//! the bytes of the models.

use gpt::{GptConfig, disk::LogicalBlockSize, mbr::ProtectiveMBR};
use std::{
    fs::{self, File, FileTimes},
    io::{Cursor, Read},
    ops::Range,
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{Duration, SystemTime},
};

const MIB: u64 = 1 << 20;

/// The type of model partitions, as in docs/platforms.md.
const MODEL_TYPE: &str = "9d863930-f46c-4049-8d8d-4d7d18c9bd38";

/// A folder with files to be put on a disk.
struct Folder(PathBuf);

impl Folder {
    /// An empty folder for the files of this test alone.
    fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The same, with an Image, an adapter and two models of odd lengths, one of which consists mostly of zeros.
    fn with_files(name: &str) -> Self {
        let folder = Self::new(name);
        folder.file("Image", &application(300_001));
        folder.file("tiny.gguf", &gguf(&noise(2, 1_234_567)));
        folder.file("Sparse Model.GGUF", &gguf(&[vec![0; 5 << 20], noise(3, 1)].concat()));
        folder.file("terse.gguf", &gguf(&noise(4, 4093)));
        folder
    }

    fn file(&self, name: &str, bytes: &[u8]) {
        fs::write(self.0.join(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    fn read_range(&self, name: &str, range: &Range<u64>) -> Vec<u8> {
        let mut bytes = vec![0; (range.end - range.start) as usize];
        File::open(self.0.join(name)).unwrap().read_exact_at(&mut bytes, range.start).unwrap();
        bytes
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs the program in this folder.
    fn call(&self, arguments: &[&str]) -> Output {
        let program = env!("CARGO_BIN_EXE_disk-image");
        Command::new(program).args(arguments).current_dir(&self.0).output().unwrap()
    }

    #[track_caller]
    fn make(&self, arguments: &[&str]) {
        let output = self.call(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Expects a one-line refusal, and that no file was added, removed or changed.
    #[track_caller]
    fn refuses(&self, arguments: &[&str], status: i32, message: &str) {
        let state = || -> Vec<_> { self.names().into_iter().map(|name| (self.read(&name), name)).collect() };
        let before = state();
        let output = self.call(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {error}");
        assert!(error.starts_with("disk: ") && error.contains(message), "no {message:?} in {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(state() == before, "{arguments:?} left something");
    }

    /// The partitions of a disk: name, type, range in bytes, GUID. Both copies of the table must be valid.
    #[track_caller]
    fn partitions(&self, disk: &str, block_bytes: u64) -> Vec<(String, String, Range<u64>, String)> {
        let size = if block_bytes == 512 { LogicalBlockSize::Lb512 } else { LogicalBlockSize::Lb4096 };
        let mut file = File::open(self.0.join(disk)).unwrap();
        let blocks = file.metadata().unwrap().len() / block_bytes;
        let mbr = ProtectiveMBR::from_disk(&mut file, size).unwrap();
        let record = mbr.partition(0).unwrap();
        assert_eq!((record.os_type, record.lb_start, u64::from(record.lb_size)), (0xee, 1, blocks - 1));

        let config = GptConfig::new().logical_block_size(size).only_valid_headers(true);
        let table = config.open_from_device(Box::new(file)).unwrap();
        let (first, second) = (table.primary_header().unwrap(), table.backup_header().unwrap());
        assert_eq!((first.current_lba, first.backup_lba), (1, blocks - 1));
        assert_eq!((second.current_lba, second.backup_lba), (blocks - 1, 1));
        assert_eq!(first.crc32_parts, second.crc32_parts);
        assert_eq!(first.disk_guid, second.disk_guid);
        let partition = |partition: &gpt::partition::Partition| {
            assert!(partition.first_lba >= first.first_usable && partition.last_lba <= first.last_usable);
            let range = partition.first_lba * block_bytes..(partition.last_lba + 1) * block_bytes;
            assert!(range.start.is_multiple_of(MIB), "{} at {range:?}", partition.name);
            let ty = partition.part_type_guid.guid.to_string();
            (partition.name.clone(), ty, range, partition.part_guid.to_string())
        };
        table.partitions().values().map(partition).collect()
    }

    /// The files of a disk's boot partition, with their times.
    fn boot_files(&self, disk: &str, block_bytes: u64) -> Vec<(String, Vec<u8>)> {
        let partitions = self.partitions(disk, block_bytes);
        let (name, ty, range, _) = &partitions[0];
        assert_eq!((name.as_str(), ty.as_str()), ("EFI System", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"));
        let volume = self.read_range(disk, range);
        let volume = fatfs::FileSystem::new(Cursor::new(volume), fatfs::FsOptions::new()).unwrap();
        assert_eq!(volume.fat_type(), fatfs::FatType::Fat32);
        assert_eq!(u64::from(volume.cluster_size()), block_bytes);
        let mut files = Vec::new();
        for (path, folder) in [
            ("", volume.root_dir()),
            ("EFI/", volume.root_dir().open_dir("EFI").unwrap()),
            ("EFI/BOOT/", volume.root_dir().open_dir("EFI/BOOT").unwrap()),
        ] {
            for entry in folder.iter().map(Result::unwrap) {
                assert_eq!(entry.modified().date, fatfs::Date { year: 1980, month: 1, day: 1 });
                if entry.is_file() {
                    let mut bytes = Vec::new();
                    entry.to_file().read_to_end(&mut bytes).unwrap();
                    let name = String::from_utf8_lossy(entry.short_file_name_as_bytes());
                    files.push((format!("{path}{name}"), bytes));
                }
            }
        }
        files
    }

    #[track_caller]
    fn boot_args(&self, disk: &str, block_bytes: u64) -> String {
        let files = self.boot_files(disk, block_bytes);
        let (_, bytes) = files.iter().find(|(path, _)| path == "FERRITE.CFG").unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    }

    /// Expects that the partition with this number is a model partition that holds a file, followed by zeros.
    #[track_caller]
    fn expect_model(&self, disk: &str, block_bytes: u64, number: usize, name: &str, file: &str) {
        let partitions = self.partitions(disk, block_bytes);
        let (found, ty, range, _) = &partitions[number - 1];
        assert_eq!((found.as_str(), ty.as_str()), (name, MODEL_TYPE));
        let expected = self.read(file);
        assert_eq!(range.end - range.start, (expected.len() as u64).next_multiple_of(block_bytes));
        let bytes = self.read_range(disk, range);
        assert!(bytes.starts_with(&expected), "{name} is not {file}");
        assert!(bytes[expected.len()..].iter().all(|&byte| byte == 0));
        let line = format!("ferrite.model={name}:{}:", expected.len());
        let args = self.boot_args(disk, block_bytes);
        assert_eq!(args.lines().filter(|found| found.starts_with(&line)).count(), 1, "{line} in {args}");
    }
}

/// Bytes without a pattern; the same seed gives the same bytes.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let byte = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(byte).collect()
}

/// A file that begins as an Image does: with the headers of a UEFI application for aarch64.
fn application(length: usize) -> Vec<u8> {
    let mut image = noise(1, length);
    image[..2].copy_from_slice(b"MZ");
    image[0x3c..0x40].copy_from_slice(&64_u32.to_le_bytes());
    image[64..70].copy_from_slice(b"PE\0\0\x64\xaa");
    image
}

/// A file that begins as a GGUF file does.
fn gguf(rest: &[u8]) -> Vec<u8> {
    [b"GGUF", rest].concat()
}

const ALL_FILES: [&str; 8] = [
    "--image",
    "Image",
    "--lora",
    "terse.gguf:my-adapter",
    "--model",
    "tiny.gguf",
    "--model=Sparse Model.GGUF",
    "--args",
];

#[test]
fn a_disk_has_all_that_was_asked_for() {
    for (block_bytes, blocks) in [(512, "512"), (4096, "4096")] {
        let folder = Folder::with_files(&format!("all-{blocks}"));
        let spare = ["--spare", "3M", "--block-size", blocks, "-o", "disk.img"];
        folder.make(&[&ALL_FILES[..], &["log=warn ferrite.serve=80"], &spare].concat());
        let files = folder.boot_files("disk.img", block_bytes);
        let image = files.iter().find(|(path, _)| path == "EFI/BOOT/BOOTAA64.EFI").unwrap();
        assert!(image.1 == folder.read("Image"));
        let args = folder.boot_args("disk.img", block_bytes);
        assert!(args.contains("\nlog=warn ferrite.serve=80\nferrite.model=tiny:1234571:"), "{args}");
        // As the kernel shows them, and adapters behind models.
        folder.expect_model("disk.img", block_bytes, 2, "tiny", "tiny.gguf");
        folder.expect_model("disk.img", block_bytes, 3, "sparse-model", "Sparse Model.GGUF");
        folder.expect_model("disk.img", block_bytes, 4, "my-adapter", "terse.gguf");
        let end = folder.partitions("disk.img", block_bytes)[3].2.end.next_multiple_of(MIB);
        assert_eq!(fs::metadata(folder.0.join("disk.img")).unwrap().len(), end + 4 * MIB);
        assert!(!folder.names().iter().any(|name| name.starts_with('.')), "{:?}", folder.names());
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes_everywhere_and_at_any_time() {
    let day = Duration::from_secs(24 * 60 * 60);
    let make = |name: &str, age: Duration| {
        let folder = Folder::with_files(name);
        for file in folder.names() {
            let file = File::options().write(true).open(folder.0.join(file)).unwrap();
            file.set_times(FileTimes::new().set_modified(SystemTime::now() - age)).unwrap();
        }
        for (output, format) in [("disk.img", &[][..]), ("disk.qcow2", &["--qcow2"])] {
            folder.make(&[&ALL_FILES[..], &["log=info", "-o", output], format].concat());
        }
        (folder.read("disk.img"), folder.read("disk.qcow2"))
    };
    let (raw, qcow2) = make("same-1", Duration::ZERO);
    let (raw_again, qcow2_again) = make("same-2/elsewhere", 400 * day);
    assert!(raw == raw_again && qcow2 == qcow2_again);
    assert!(flat(&qcow2) == raw);
}

/// Disks with different contents can be in the same machine.
#[test]
fn other_inputs_give_other_guids() {
    let folder = Folder::with_files("guids");
    let guids = |arguments: &[&str]| -> Vec<String> {
        folder.make(&[&["--image", "Image", "-o", "disk.img"], arguments].concat());
        folder.partitions("disk.img", 512).into_iter().map(|(_, _, _, guid)| guid).collect()
    };
    let mut all = guids(&["--model", "tiny.gguf"]);
    all.extend(guids(&["--model", "tiny.gguf:big"]));
    all.extend(guids(&["--model", "tiny.gguf", "--args", "log=warn"]));
    all.extend(guids(&["--model", "terse.gguf", "--model", "tiny.gguf"]));
    let length = all.len();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), length);
}

/// The bytes of a disk in the format qcow2 (QEMU, docs/interop/qcow2.rst), whose reference counts must be right.
fn flat(file: &[u8]) -> Vec<u8> {
    let number = |offset: usize, bytes: usize| {
        file[offset..offset + bytes].iter().fold(0_usize, |sum, &byte| sum << 8 | usize::from(byte))
    };
    assert_eq!(
        (number(0, 4), number(4, 4), number(96, 4)),
        (0x5146_49fb, 3, 4),
        "magic, version, width of counts"
    );
    let cluster = 1 << number(20, 4);
    let mut uses = vec![0; file.len() / cluster];
    let mut place = |entry: usize| {
        assert!(entry == 0 || entry >> 63 == 1, "a cluster that is used once says so");
        let offset = entry & ((1 << 63) - 1);
        assert!(offset.is_multiple_of(cluster));
        uses[offset / cluster] += 1;
        offset
    };
    let mut disk = vec![0; number(24, 8)];
    for index in 0..number(36, 4) {
        let table = number(number(40, 8) + 8 * index, 8);
        if table == 0 {
            continue;
        }
        let table = place(table);
        for entry in 0..cluster / 8 {
            let data = number(table + 8 * entry, 8);
            if data != 0 {
                let (from, to) = (place(data), (index * (cluster / 8) + entry) * cluster);
                disk[to..to + cluster].copy_from_slice(&file[from..from + cluster]);
            }
        }
    }
    // The header, the first table, the counts themselves.
    let (counts, counts_clusters) = (number(48, 8), number(56, 4));
    let blocks: Vec<_> =
        (0..counts_clusters * cluster / 8).map(|block| number(counts + 8 * block, 8)).collect();
    let l1_clusters = (number(36, 4) * 8).div_ceil(cluster);
    uses[0] += 1;
    for first in [(number(40, 8), l1_clusters), (counts, counts_clusters)] {
        (0..first.1).for_each(|index| uses[first.0 / cluster + index] += 1);
    }
    blocks.iter().filter(|&&block| block != 0).for_each(|block| uses[block / cluster] += 1);
    for (index, &uses) in uses.iter().enumerate() {
        let block = blocks[index / (cluster / 2)];
        assert_eq!(number(block + index % (cluster / 2) * 2, 2), uses, "uses of cluster {index}");
    }
    disk
}

#[test]
fn models_are_added_into_the_room_that_is_left() {
    for (block_bytes, blocks) in [(512, "512"), (4096, "4096")] {
        let folder = Folder::with_files(&format!("add-{blocks}"));
        let disk = ["--spare", "6M", "--block-size", blocks, "-o", "disk.img"];
        folder.make(&[&["--image", "Image", "--model", "tiny.gguf"], &disk[..]].concat());
        let before = folder.partitions("disk.img", block_bytes);
        folder.make(&["--add", "Sparse Model.GGUF", "disk.img"]);
        assert_eq!(folder.partitions("disk.img", block_bytes)[..2], before);
        folder.expect_model("disk.img", block_bytes, 2, "tiny", "tiny.gguf");
        folder.expect_model("disk.img", block_bytes, 3, "sparse-model", "Sparse Model.GGUF");
        folder.refuses(
            &["--add", "tiny.gguf", "disk.img"],
            1,
            "a partition is called tiny already; tiny.gguf:NAME gives",
        );
        let free_bytes = MIB - 128 * 128 - block_bytes;
        let room = format!("no room for 1234571 bytes, {free_bytes} are free");
        // The last MiB has the table's second copy in it.
        folder.refuses(&["--add", "tiny.gguf:again", "disk.img"], 1, &room);
        folder.make(&["--add", "terse.gguf", "disk.img"]);
        folder.expect_model("disk.img", block_bytes, 4, "terse", "terse.gguf");

        // A disk that was written to a longer one.
        let file = File::options().write(true).open(folder.0.join("disk.img")).unwrap();
        file.set_len(file.metadata().unwrap().len() + 3 * MIB).unwrap();
        folder.make(&["--add", "tiny.gguf:again", "--add", "terse.gguf:adapter", "disk.img"]);
        folder.expect_model("disk.img", block_bytes, 5, "again", "tiny.gguf");
        folder.expect_model("disk.img", block_bytes, 6, "adapter", "terse.gguf");
        let image = folder.boot_files("disk.img", block_bytes).pop().unwrap();
        assert!(image.1 == folder.read("Image"));
    }
}

/// Old data in the reserved room must not become a part of a model that is added there.
#[test]
fn old_bytes_in_the_room_are_written_over() {
    let folder = Folder::with_files("old-bytes");
    folder.make(&["--image", "Image", "--spare", "2M", "-o", "disk.img"]);
    let mut disk = folder.read("disk.img");
    disk[34 << 20..36 << 20].fill(0xff);
    folder.file("disk.img", &disk);
    folder.make(&["--add", "terse.gguf", "disk.img"]);
    folder.expect_model("disk.img", 512, 2, "terse", "terse.gguf");
}

#[test]
fn all_parts_of_a_model_come_with_one() {
    let folder = Folder::with_files("parts");
    for number in 1..=3 {
        folder.file(&format!("Big-Q4_K-0000{number}-of-00003.gguf"), &gguf(&noise(number, 100)));
    }
    let disk = ["--image", "Image", "-o", "disk.img"];
    folder.make(&[&["--model", "Big-Q4_K-00002-of-00003.gguf"], &disk[..]].concat());
    for (number, name) in [(2, "big-q4_k"), (3, "big-q4_k-00002-of-00003"), (4, "big-q4_k-00003-of-00003")] {
        let file = format!("Big-Q4_K-0000{}-of-00003.gguf", number - 1);
        folder.expect_model("disk.img", 512, number, name, &file);
    }
    folder.make(&[&["--model", "Big-Q4_K-00001-of-00003.gguf:large"], &disk[..]].concat());
    folder.expect_model("disk.img", 512, 4, "large-00003-of-00003", "Big-Q4_K-00003-of-00003.gguf");
    fs::remove_file(folder.0.join("Big-Q4_K-00002-of-00003.gguf")).unwrap();
    folder.refuses(
        &[&["--model", "Big-Q4_K-00001-of-00003.gguf"], &disk[..]].concat(),
        1,
        "Big-Q4_K-00002-of-00003.gguf: No such file",
    );
}

#[test]
fn names_are_short_and_different() {
    let folder = Folder::with_files("names");
    let long = "A model with a name of more than 35 characters, 1.gguf";
    folder.file(long, &folder.read("terse.gguf"));
    folder.file("a:b.gguf", &folder.read("terse.gguf"));
    folder.file("A_model with a name of more than 35 characters, 2.gguf", &folder.read("terse.gguf"));
    fs::create_dir(folder.0.join("other")).unwrap();
    folder.file("other/tiny.gguf", &folder.read("terse.gguf"));
    let models = [
        long,
        "A_model with a name of more than 35 characters, 2.gguf:a-model-with-a-name-of-more-than-2",
        "tiny.gguf",
        "other/tiny.gguf",
        "a:b.gguf",
    ];
    let mut arguments = vec!["--image", "Image", "-o", "disk.img"];
    models.iter().for_each(|model| arguments.extend(["--model", model]));
    folder.make(&arguments);
    let partitions = folder.partitions("disk.img", 512);
    let names: Vec<_> = partitions.iter().skip(1).map(|(name, ..)| name.as_str()).collect();
    let long = "a-model-with-a-name-of-more-than-35";
    assert_eq!(names, [long, "a-model-with-a-name-of-more-than-2", "tiny", "tiny-2", "a-b"]);
}

#[test]
fn checksums_beside_models_are_compared_with() {
    let folder = Folder::with_files("checksums");
    let arguments = ["--image", "Image", "--model", "terse.gguf", "-o", "disk.img"];
    folder.make(&arguments);
    let args = folder.boot_args("disk.img", 512);
    let digest = args.trim_end().rsplit_once(':').unwrap().1.to_owned();
    folder.file("terse.gguf.sha256", format!("{}  terse.gguf\n", digest.to_uppercase()).as_bytes());
    folder.make(&arguments);
    folder.file("terse.gguf.sha256", format!("{}  terse.gguf\n", "0".repeat(64)).as_bytes());
    folder.refuses(&arguments, 1, &format!("terse.gguf: SHA-256 {digest}, expected 0000"));
    let partitions = folder.partitions("disk.img", 512);
    assert_eq!(folder.call(&["--add", "terse.gguf:two", "disk.img"]).status.code(), Some(1));
    assert_eq!(folder.partitions("disk.img", 512), partitions);
    folder.file("terse.gguf.sha256", b"none");
    folder.refuses(&arguments, 1, "terse.gguf.sha256: expected 64 hexadecimal digits");
}

#[test]
fn what_makes_no_disk_is_refused_by_a_line() {
    let folder = Folder::with_files("refused");
    folder.file("text.gguf", b"no model");
    folder.file("short.gguf", b"GG");
    fs::create_dir(folder.0.join("folder.gguf")).unwrap();
    fs::remove_dir(folder.0.join("folder.gguf")).unwrap();
    let cases: [(&[&str], i32, &str); 20] = [
        (&["--model", "none.gguf", "-o", "d"], 1, "none.gguf: No such file or directory"),
        (&["--model", ".", "-o", "d"], 1, ".: expected a file"),
        (
            &["--model", "text.gguf", "-o", "d"],
            1,
            "text.gguf: not a GGUF file: it begins with [6e, 6f, 20, 6d], expected [47, 47, 55, 46]",
        ),
        (&["--model", "short.gguf", "-o", "d"], 1, "short.gguf: not a GGUF file"),
        (&["--model", "tiny.gguf", "--model", "tiny.gguf", "-o", "d"], 1, "tiny.gguf: given twice"),
        (&["--model", "tiny.gguf:Big Model", "-o", "d"], 1, "behind the colon, such as big-model"),
        (&["--model", "tiny.gguf:", "-o", "d"], 1, "expected a name of up to 35"),
        (
            &["--model", "tiny.gguf:a", "--lora", "terse.gguf:a", "-o", "d"],
            1,
            "terse.gguf: tiny.gguf is called a already",
        ),
        (&["--model", "hf:a/b/c.gguf", "-o", "d"], 1, "`llm pull` fetches"),
        (&["--model", "tiny.gguf", "-o", "tiny.gguf"], 1, "the disk would replace one of the files"),
        (&["--model", "tiny.gguf", "-o", "no/folder/d"], 1, "no/folder/d: No such file or directory"),
        (&["--model", "tiny.gguf", "-o", "."], 1, ".: not a regular file"),
        (&["--model", "tiny.gguf"], 2, "-o FILE is missing"),
        (&["--model"], 2, "--model expects a value"),
        (&["--spare", "4X", "-o", "d"], 2, "--spare 4X: expected a size, such as 512M or 4G"),
        (&["--spare", "99999999T", "-o", "d"], 2, "expected a size"),
        (&["--block-size", "1024", "-o", "d"], 2, "--block-size 1024: expected 512 or 4096"),
        (&["--frob", "-o", "d"], 2, "unknown argument --frob"),
        (&["tiny.gguf", "-o", "d"], 2, "tiny.gguf: what to do with it?"),
        (&["--add", "tiny.gguf"], 2, "--add expects a disk behind it"),
    ];
    for (arguments, status, message) in cases {
        folder.refuses(&[&["--image", "Image"], arguments].concat(), status, message);
    }
    folder.refuses(&["-o", "d"], 2, "--image FILE is missing");
    folder.refuses(&["--image", "none", "-o", "d"], 1, "none: No such file");
    folder.refuses(&["--image", "tiny.gguf", "-o", "d"], 1, "tiny.gguf: no UEFI application for aarch64");
    for offset in [0, 0x3c, 0x3f, 67, 69] {
        let mut image = application(100);
        image[offset] ^= 1;
        folder.file("Broken", &image);
        folder.refuses(&["--image", "Broken", "-o", "d"], 1, "Broken: no UEFI application");
    }
    let args = format!("a={}", "x".repeat(64 << 10));
    folder.refuses(
        &["--image", "Image", "--args", &args, "-o", "d"],
        1,
        "bytes of boot arguments; the kernel reads 65536",
    );
    folder.file("Large", &application(40 << 20));
    folder.refuses(
        &["--image", "Large", "-o", "d"],
        1,
        "the Image of 41943040 bytes does not fit into the boot partition",
    );
}

#[test]
fn what_is_no_disk_of_ours_is_not_added_to() {
    let folder = Folder::with_files("not-ours");
    folder.make(&["--image", "Image", "--spare", "2M", "-o", "disk.img"]);
    folder.make(&["--image", "Image", "--spare", "2M", "--qcow2", "-o", "disk.qcow2"]);
    let disk = folder.read("disk.img");
    let refuses = |bytes: &[u8], message: &str| {
        folder.file("broken.img", bytes);
        folder.refuses(&["--add", "terse.gguf", "broken.img"], 1, message);
    };
    let changed = |offset: usize| {
        let mut bytes = disk.clone();
        bytes[offset] ^= 1;
        bytes
    };
    refuses(&[], "broken.img: no partition table");
    refuses(&disk[..1000], "broken.img: no partition table");
    refuses(&vec![0; 1 << 20], "broken.img: no partition table");
    refuses(&changed(512 + 56), "the header of its partition table is damaged");
    refuses(&changed(1024 + 1), "its partition table is damaged");
    refuses(&disk[..20 << 20], "it is shorter than its partitions");
    refuses(&disk[..(35 << 20) + 1], "no multiple of its blocks of 512");
    // The volume's first bytes, whatever they should be.
    let mut no_volume = disk.clone();
    no_volume[1 << 20..(1 << 20) + 4096].fill(0);
    refuses(&no_volume, "broken.img: ");
    let args = format!("a={}", "x".repeat((64 << 10) - 100));
    folder.make(&["--image", "Image", "--spare", "2M", "--args", &args, "-o", "full.img"]);
    folder.refuses(&["--add", "terse.gguf:full", "full.img"], 1, "bytes of boot arguments");
    folder.refuses(&["--add", "terse.gguf", "disk.qcow2"], 1, "a qcow2 disk; expected a raw one");
    folder.refuses(&["--add", "terse.gguf", "none.img"], 1, "none.img: No such file");
    folder.refuses(&["--add", "terse.gguf", "--spare", "1M", "disk.img"], 2, "no other option goes with it");
}

#[test]
fn what_is_interrupted_leaves_nothing() {
    let folder = Folder::with_files("interrupted");
    // Nobody makes a disk of it before the signal comes.
    let large = File::create(folder.0.join("large.gguf")).unwrap();
    large.write_all_at(&gguf(&[1; 4096]), 0).unwrap();
    large.set_len(4 << 30).unwrap();
    let before = folder.names();
    for (name, number) in [("-INT", 2), ("-TERM", 15)] {
        let mut program = Command::new(env!("CARGO_BIN_EXE_disk-image"));
        let arguments = ["--image", "Image", "--model", "large.gguf", "-o", "disk.img"];
        let mut program = program.args(arguments).current_dir(&folder.0).spawn().unwrap();
        while folder.names() == before {
            assert_eq!(program.try_wait().unwrap(), None);
            std::thread::sleep(Duration::from_millis(5));
        }
        let id = program.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
        // By the signal, which a shell's loop heeds, and not with a status.
        assert_eq!(program.wait().unwrap().signal(), Some(number));
        assert_eq!(folder.names(), before);
    }
}
