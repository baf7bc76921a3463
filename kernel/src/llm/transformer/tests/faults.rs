//! Tests of models on disks that fail at random: what is loaded has the right bits; otherwise there is an error of one line, and
//! nothing is left in memory.

use super::{parts::signed_files, *};
use crate::{
    pci,
    storage::{
        DiskBus, Disks, Found, Mode, Trust, Vanished, gpt_image, trust_tests,
        unreliable_disk::{DiskFault, DiskPlan, TOLD, UnreliableDisk, line_of},
    },
};
use spin::Mutex;
use std::{boxed::Box, sync::Arc, vec::Vec};

/// Disks with these serial numbers and contents, each in a slot of its own.
struct Bus {
    files: Vec<(&'static str, Vec<u8>)>,
    plan: Arc<Mutex<DiskPlan>>,
}

/// A disk in a slot.
struct InSlot(MemoryDisk, String);

impl BlockDevice for InSlot {
    fn capacity_bytes(&self) -> u64 {
        self.0.capacity_bytes()
    }

    fn serial(&self) -> &str {
        self.0.serial()
    }

    fn transport(&self) -> &str {
        &self.1
    }

    fn block_bytes(&self) -> usize {
        if self.serial() == "d" { 4096 } else { 512 }
    }

    fn read_at(&mut self, offset_bytes: u64, buffer: &mut [u8]) -> Result<(), crate::storage::ReadError> {
        self.0.read_at(offset_bytes, buffer)
    }
}

impl DiskBus for Bus {
    fn functions(&self) -> &[pci::Function] {
        &[]
    }

    fn vanished(&mut self, _: &[&str]) -> Vec<Vanished> {
        Vec::new()
    }

    fn find(&mut self, known: &[&str]) -> Found {
        let mut devices: Vec<Box<dyn BlockDevice>> = Vec::new();
        for (index, (serial, bytes)) in self.files.iter().enumerate() {
            let slot = format!("slot {index}");
            if !known.contains(&&*slot) {
                let disk = InSlot(MemoryDisk::new(serial, bytes.clone()), slot);
                devices.push(Box::new(UnreliableDisk::new(disk, &self.plan)));
            }
        }
        Found { devices, undriven: Vec::new() }
    }
}

/// The files, the one to load, its adapters, and whether only vouched-for files may be loaded.
struct Scene {
    files: Vec<(&'static str, Vec<u8>)>,
    model: &'static str,
    adapters: &'static [&'static str],
    mode: Mode,
}

fn scenes() -> Vec<Scene> {
    let whole = |mut bytes: Vec<u8>| {
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    };
    let plain = |files, model| Scene { files, model, adapters: &[], mode: Mode::Off };
    let parts = fixtures::parts(&fixtures::micro(), 3).into_iter().zip(["b", "c", "a"]);
    let parts = parts.map(|(part, serial)| (serial, whole(part))).collect();
    let golden = adapters::golden;
    let with_adapters = Scene {
        files: vec![
            ("a", whole(golden("lora/llama-0.gguf"))),
            ("m", whole(golden("architectures/llama.gguf"))),
            ("b", whole(golden("lora/llama-1.gguf"))),
        ],
        model: "m",
        adapters: &["llama-0", "llama-1"],
        mode: Mode::Off,
    };
    let names = [("m-00001-of-00003", 1), ("m-00002-of-00003", 1), ("m-00003-of-00003", 1)];
    let signed = |mode| Scene { files: signed_files(names), model: names[0].0, adapters: &[], mode };
    vec![
        plain(vec![("other", vec![7; 4096]), ("m", whole(fixtures::micro()))], "ferrite-micro"),
        plain(parts, "ferrite-micro"),
        with_adapters,
        plain(vec![("d", gpt_image("part", &fixtures::micro()))], "part"),
        signed(Mode::Require),
        signed(Mode::Report),
    ]
}

fn backend_of(scene: &Scene, plan: &Arc<Mutex<DiskPlan>>) -> TransformerBackend {
    let bus = Bus { files: scene.files.clone(), plan: plan.clone() };
    let mut disks = Disks::find(Box::new(bus), &[]);
    let settings = Box::leak(Box::new(trust_tests::settings(scene.mode)));
    disks.set_trust(Trust { settings, compress: trust::sha256::PORTABLE, workers: &llm::parallel::Serial });
    let machine = host::machine(host::pool(16 << 20));
    TransformerBackend::new(Resources { machine, disks, offload: None })
}

/// Loads the model with its adapters, and returns the bits of its logits.
fn bits_of(scene: &Scene, backend: &mut TransformerBackend) -> Result<Vec<u32>, BackendError> {
    let lora = scene.adapters.iter().map(|&name| crate::llm::Lora { name: name.into(), scale: 0.5 });
    let options = EngineOptions { lora: lora.collect(), ..EngineOptions::default() };
    backend.load(scene.model, options, &mut |_, _| ControlFlow::Continue(()))?;
    let mut bits = Vec::new();
    backend.logits(None, &[1, 5, 9, 2], &mut |row| {
        bits.extend(row.iter().map(|logit| logit.to_bits()));
        ControlFlow::Continue(())
    })?;
    Ok(bits)
}

fn unload_all(backend: &mut TransformerBackend, what: &str) {
    while backend.is_loaded() {
        backend.unload(None).unwrap();
    }
    let pool = backend.machine.pool;
    assert_eq!(pool.free_bytes(), pool.total_bytes(), "{what}");
}

#[test]
fn what_is_read_from_unreliable_disks_is_right_or_an_error() {
    const SEEDS: u64 = 36;
    let (mut n_right, mut n_wrong) = (0, 0);
    for (number, scene) in scenes().iter().enumerate() {
        let expected = bits_of(scene, &mut backend_of(scene, &DiskPlan::new(0, 0, &[]))).unwrap();
        for seed in 0..SEEDS {
            let what = format!("scene {number}, seed {seed}");
            // Unreported faults are found only if files are checked.
            let kinds = match scene.mode {
                Mode::Require if seed % 2 == 0 => &[DiskFault::WrongBit][..],
                _ => TOLD,
            };
            let one_in = [2, 6, 25, 80][seed as usize / 2 % 4];
            let plan = DiskPlan::new(seed * 8 + number as u64, one_in, kinds);
            // In some runs, disks work until they have been found.
            if seed % 3 == 0 {
                plan.lock().one_in = 0;
            }
            let mut backend = backend_of(scene, &plan);
            if seed % 3 == 0 {
                backend.catalog.files();
                plan.lock().one_in = one_in;
            }
            for attempt in 0..3 {
                match bits_of(scene, &mut backend) {
                    Ok(bits) => {
                        n_right += 1;
                        assert!(bits == expected, "{what}, attempt {attempt}: {:?}", plan.lock().happened);
                    }
                    Err(error) => {
                        n_wrong += 1;
                        line_of(&error);
                    }
                }
                unload_all(&mut backend, &what);
                if attempt == 1 {
                    backend.catalog.rescan().iter().for_each(|change| drop(line_of(change)));
                }
            }
            let happened = plan.lock().happened.clone();
            plan.lock().one_in = 0;
            // Like a user who types `disks rescan` after plugging the cable in again.
            backend.catalog.rescan();
            let bits = bits_of(scene, &mut backend);
            assert!(
                bits.as_ref().is_ok_and(|bits| *bits == expected),
                "{what}: {:?} after {happened:?}",
                bits.err()
            );
            unload_all(&mut backend, &what);
        }
    }
    assert!(n_right > 100 && n_wrong > 100, "{n_right} right, {n_wrong} wrong");
}

/// A model in memory does not need its disk any more.
#[test]
fn a_loaded_model_answers_whatever_its_disk_does() {
    let scene = &scenes()[0];
    let plan = DiskPlan::new(0, 0, TOLD);
    let mut backend = backend_of(scene, &plan);
    let expected = bits_of(scene, &mut backend).unwrap();
    for seed in 0..20 {
        *plan.lock() = Arc::into_inner(DiskPlan::new(seed, 1, TOLD)).unwrap().into_inner();
        backend.catalog.rescan();
        let mut bits = Vec::new();
        let told = backend.logits(None, &[1, 5, 9, 2], &mut |row| {
            bits.extend(row.iter().map(|logit| logit.to_bits()));
            ControlFlow::Continue(())
        });
        assert!(told.is_ok() && bits == expected, "seed {seed}: {told:?}");
    }
}
