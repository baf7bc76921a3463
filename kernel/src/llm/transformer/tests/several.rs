//! Tests of several models at once: in memory together, replacing each other, answering at the same time.

use super::*;
use crate::storage::{DiskBus, Disks, Found as FoundDisks, Vanished};

/// The first `n` tokens after a prompt.
fn ids(backend: &mut TransformerBackend, model: &str, prompt: &str, n: usize) -> Vec<u32> {
    let request = Request::new(Prompt::Text(prompt, PROMPT_ENCODING), n);
    backend.generate(Some(model), request, &mut |_| ControlFlow::Continue(())).unwrap().ids
}

#[test]
fn models_beside_each_other_answer_as_alone() {
    let files = [("good", broken_gguf::good()), ("ferrite-micro", fixtures::micro())];
    let alone = files.clone().map(|(name, file)| {
        let mut backend = backend(64 << 20, vec![("s", file)]);
        backend.load_model(name).unwrap();
        ids(&mut backend, name, "hello", 8)
    });
    assert_ne!(alone[0], alone[1]);
    let pool = host::pool(64 << 20);
    let mut backend = TransformerBackend::new(host::resources(pool, files.clone().into()));
    for (name, _) in &files {
        backend.load_model(name).unwrap();
    }
    let paths: Vec<_> = backend.models().iter().map(|status| status.metadata.path.clone()).collect();
    assert_eq!(paths, ["/models/good.gguf", "/models/ferrite-micro.gguf"]);
    for _ in 0..2 {
        for ((name, _), alone) in files.iter().zip(&alone) {
            assert_eq!(ids(&mut backend, name, "hello", 8), *alone, "{name}");
        }
    }
    assert_eq!(backend.memory_usage().total_bytes(), pool.total_bytes() - pool.free_bytes());
    let vocabulary = |backend: &mut TransformerBackend, model| {
        let mut n = 0;
        backend.tokenize(model, &["hello"], PROMPT_ENCODING, &mut |ids| n = ids.len()).unwrap();
        n
    };
    assert_eq!(vocabulary(&mut backend, None), vocabulary(&mut backend, Some("ferrite-micro")));
    assert_ne!(vocabulary(&mut backend, None), vocabulary(&mut backend, Some("good")));
    let good = backend.models()[0].memory.total_bytes();
    assert_eq!(backend.unload(Some("good")).unwrap().size_bytes, good);
    assert_eq!(ids(&mut backend, "ferrite-micro", "hello", 8), alone[1]);
    backend.unload(None).unwrap();
    assert_eq!(pool.free_bytes(), pool.total_bytes());
}

#[test]
fn the_current_model_is_the_one_that_was_loaded_or_selected_last() {
    let file = broken_gguf::good();
    let files = vec![("a", file.clone()), ("b", file.clone()), ("c", file)];
    let mut backend = backend(64 << 20, files);
    assert!(matches!(backend.select("good"), Err(BackendError::NotLoaded)));
    let paths = ["good", "good-2", "good-3"];
    for path in paths {
        backend.load_model(path).unwrap();
        assert_eq!(backend.model_metadata().unwrap().path, format!("/models/{path}.gguf"));
    }
    backend.select("/models/good.gguf").unwrap();
    let current = |backend: &TransformerBackend| {
        let statuses = backend.models();
        assert_eq!(statuses.iter().filter(|status| status.is_current).count(), 1);
        statuses.iter().position(|status| status.is_current).unwrap()
    };
    assert_eq!(current(&backend), 0);
    // Using a model by its name does not make it the current one.
    ids(&mut backend, "good-2", "hello", 1);
    backend.unload(None).unwrap();
    assert_eq!(backend.model_metadata().unwrap().path, "/models/good-3.gguf");
    let refused = backend.select("good").unwrap_err().to_string();
    assert_eq!(refused, "no loaded model is called \"good\"; expected good-2, good-3");
    assert_eq!(backend.unload(Some("x")).unwrap_err().to_string(), refused.replace("good\"", "x\""));
    // A model that is loaded again moves to the end.
    backend.load_model("good-2").unwrap();
    assert_eq!((current(&backend), backend.models().len()), (1, 2));
}

#[test]
fn memory_beside_another_model_is_refused_to_the_byte() {
    let files = || vec![("good", broken_gguf::good()), ("micro", fixtures::micro())];
    let load_both = |pool_bytes: usize| {
        let mut backend = backend(pool_bytes, files());
        load(&mut backend, "good", Some(64)).unwrap();
        let loaded = load(&mut backend, "ferrite-micro", Some(64));
        (backend, loaded)
    };
    let (both, loaded) = load_both(64 << 20);
    loaded.unwrap();
    let [good, micro] = [0, 1].map(|index| both.models()[index].memory.total_bytes());
    let (mut exact, loaded) = load_both(good + micro);
    loaded.unwrap();
    assert_eq!(exact.machine.pool.free_bytes(), 0);
    // Not even a header can be read, but the loaded model keeps running.
    let refused = load(&mut exact, "good", Some(64)).unwrap_err().to_string();
    assert!(
        refused.ends_with(&format!(", 0 available; `llm unload ferrite-micro` frees {micro}")),
        "{refused}"
    );
    assert_eq!(ids(&mut exact, "good", "hello", 2).len(), 2);

    let (mut backend, refused) = load_both(good + micro - GRANULE_BYTES);
    let available = micro - GRANULE_BYTES;
    assert_eq!(
        refused.unwrap_err().to_string(),
        format!(
            "/models/ferrite-micro.gguf: not enough memory: {micro} bytes needed for the weights and a context of 64 \
             tokens, {available} available; `llm unload good` frees {good}"
        )
    );
    assert_eq!(ids(&mut backend, "good", "hello", 2).len(), 2, "the loaded one was lost");
    backend.unload(Some("good")).unwrap();
    assert_eq!(backend.machine.pool.free_bytes(), available + good);
    load(&mut backend, "ferrite-micro", Some(64)).unwrap();
}

#[test]
fn a_model_that_is_loaded_again_takes_the_place_of_the_old_one() {
    let pool = host::pool(64 << 20);
    let files = vec![("good", broken_gguf::good()), ("micro", fixtures::micro())];
    let mut backend = TransformerBackend::new(host::resources(pool, files));
    load(&mut backend, "good", Some(64)).unwrap();
    load(&mut backend, "ferrite-micro", Some(128)).unwrap();
    // There is room only for a header, plus what the old model frees.
    const HEADER_BYTES: usize = 256 << 10;
    assert!(backend.models()[1].memory.weights_bytes > HEADER_BYTES);
    let rest = pool.reserve(pool.largest_free_bytes() - HEADER_BYTES, GRANULE_BYTES).unwrap();
    let text = ids(&mut backend, "ferrite-micro", "hello", 8);
    load(&mut backend, "ferrite-micro", Some(128)).unwrap();
    assert_eq!((ids(&mut backend, "ferrite-micro", "hello", 8), backend.models().len()), (text.clone(), 2));
    let before = backend.models()[1].memory.total_bytes();
    let _more = pool.reserve(HEADER_BYTES / 2, GRANULE_BYTES).unwrap();
    let refused = load(&mut backend, "ferrite-micro", Some(256)).unwrap_err().to_string();
    let available = before + pool.free_bytes();
    assert!(refused.contains(&format!(" {available} available")), "{refused} does not say {available}");
    assert!(refused.contains("`llm unload good` frees ") && !refused.contains("unload ferrite"), "{refused}");
    assert_eq!(ids(&mut backend, "ferrite-micro", "hello", 8), text, "a refused load displaced the old one");
    drop(rest);
}

#[test]
fn a_longer_context_beside_another_model_is_refused_to_the_byte() {
    let pool = host::pool(64 << 20);
    let files = vec![("good", broken_gguf::good()), ("micro", fixtures::micro())];
    let mut backend = TransformerBackend::new(host::resources(pool, files));
    load(&mut backend, "good", Some(64)).unwrap();
    load(&mut backend, "ferrite-micro", Some(128)).unwrap();
    let before = backend.models()[1].memory.total_bytes();
    assert!(set_context_length(&mut backend, 256).unwrap());
    let longer = backend.models()[1].memory.total_bytes() - before;
    let _rest = pool.reserve(pool.largest_free_bytes(), GRANULE_BYTES).unwrap();
    assert!(set_context_length(&mut backend, 128).unwrap());
    assert_eq!(pool.free_bytes(), longer);
    let granule = pool.reserve(GRANULE_BYTES, GRANULE_BYTES).unwrap();
    let refused = set_context_length(&mut backend, 256).unwrap_err().to_string();
    assert!(refused.contains(&format!("{} bytes needed", before + longer)), "{refused}");
    assert!(refused.contains(&format!(" {} available; ", before + longer - GRANULE_BYTES)), "{refused}");
    assert_eq!(backend.model_metadata().unwrap().n_ctx, 128);
    drop(granule);
    assert!(set_context_length(&mut backend, 256).unwrap());
}

fn request(prompt: &str, n: usize) -> Request<'_> {
    Request::new(Prompt::Text(prompt, PROMPT_ENCODING), n)
}

/// Computes one batch of one of the models; appends the requests that ended with it.
fn step(models: &mut dyn Steps, ended: &mut Vec<(Ticket, Vec<u32>)>) -> usize {
    let on_event = &mut |ticket: Ticket, event: Event<'_>| {
        if let Event::Finished { report, .. } = event {
            ended.push((ticket, report.ids.clone()));
        }
        ControlFlow::Continue(())
    };
    models.step(&mut || ControlFlow::Continue(()), on_event).unwrap()
}

/// Computes all batches of all models; returns the requests in the order in which they ended.
fn step_to_the_end(backend: &mut TransformerBackend) -> Vec<(Ticket, Vec<u32>)> {
    let mut ended = Vec::new();
    while step(backend, &mut ended) > 0 {}
    ended
}

#[test]
fn requests_to_two_models_step_by_step_are_answered_as_alone() {
    let files = vec![("good", broken_gguf::good()), ("micro", fixtures::micro())];
    let mut backend = backend(64 << 20, files);
    let names = ["good", "ferrite-micro"];
    for name in names {
        backend.load_model(name).unwrap();
    }
    let alone = names.map(|name| ids(&mut backend, name, "hello", 9));
    let tickets = names.map(|name| backend.submit(Some(name), request("hello", 9)).unwrap());
    // This request waits behind the first one to the same model.
    let behind = backend.submit(Some("good"), request("hello", 4)).unwrap();
    let (n_batches, mut n_steps) = (backend.statistics().batches, 0);
    let mut order = Vec::new();
    let mut texts = [const { Vec::new() }; 2];
    loop {
        let on_event = &mut |ticket: Ticket, event: Event<'_>| {
            if let Event::Token { id, .. } = event
                && let Some(index) = tickets.iter().position(|known| *known == ticket)
            {
                order.push(index);
                texts[index].push(id);
            }
            ControlFlow::Continue(())
        };
        if backend.step(&mut || ControlFlow::Continue(()), on_event).unwrap() == 0 {
            break;
        }
        n_steps += 1;
    }
    assert_eq!(texts, alone);
    assert!(
        order.windows(2).take(8).all(|pair| pair[0] != pair[1]),
        "no model waits for the other: {order:?}"
    );
    assert_eq!(backend.cancel(behind), None, "it is over, too");
    assert_eq!(backend.statistics().inferences, 5);
    assert_eq!(backend.statistics().batches, n_batches + n_steps);

    // When a model's options change, request ids start again; an old ticket identifies none of the new requests.
    assert!(set_context_length(&mut backend, 64).unwrap());
    let anew = backend.submit(None, request("hello", 3)).unwrap();
    for ticket in [tickets[0], tickets[1], behind] {
        assert_eq!(backend.cancel(ticket), None);
    }
    assert!(backend.cancel(anew).is_some());
}

/// A disk that is replaced by another one at every search.
struct Swapping(Vec<Vec<u8>>);

impl DiskBus for Swapping {
    fn functions(&self) -> &[crate::pci::Function] {
        &[]
    }

    fn vanished(&mut self, known: &[&str]) -> Vec<Vanished> {
        known.iter().map(|name| Vanished { transport: name.to_string(), is_reachable: false }).collect()
    }

    fn find(&mut self, _: &[&str]) -> FoundDisks {
        let disk: Box<dyn BlockDevice> = Box::new(MemoryDisk::new("s", self.0.remove(0)));
        FoundDisks { devices: vec![disk], undriven: vec![] }
    }
}

#[test]
fn a_model_that_is_replaced_answers_what_it_was_asked() {
    let old = fixtures::micro();
    let mut new = old.clone();
    // The weights, all of one type, differ: another model with the same name and size.
    let n = new.len();
    new[n - 60_000..].iter_mut().step_by(19).for_each(|byte| *byte ^= 0x15);
    let alone = [&old, &new].map(|file| {
        let mut backend = backend(64 << 20, vec![("s", file.clone())]);
        backend.load_model("ferrite-micro").unwrap();
        ids(&mut backend, "ferrite-micro", "hello", 12)
    });
    assert_ne!(alone[0], alone[1]);

    let pool = host::pool(64 << 20);
    let mut resources = host::resources(pool, vec![]);
    resources.disks = Disks::find(Box::new(Swapping(vec![old, new])), &[]);
    let mut backend = TransformerBackend::new(resources);
    backend.load_model("ferrite-micro").unwrap();
    let ticket = backend.submit(None, request("hello", 12)).unwrap();
    let mut ended = Vec::new();
    (0..3).for_each(|_| assert!(step(&mut backend, &mut ended) > 0));
    assert!(matches!(
        backend.adapt(None, EngineOptions { n_ctx: Some(32), ..EngineOptions::default() }),
        Err(BackendError::Front(FrontError::Busy))
    ));

    backend.catalog().rescan();
    backend.load_model("ferrite-micro").unwrap();
    let statuses = backend.models();
    let [loaded, retiring] = &statuses[..] else { panic!("{statuses:?}") };
    assert!(loaded.is_current && !loaded.is_retiring && loaded.n_requests == 0);
    assert!(retiring.is_retiring && !retiring.is_current && retiring.n_requests == 1);
    assert_ne!(loaded.metadata.disk_identity, retiring.metadata.disk_identity);
    let of_new = loaded.memory.total_bytes();
    assert_eq!(backend.memory_usage().total_bytes(), pool.total_bytes() - pool.free_bytes());

    assert_eq!(ids(&mut backend, "ferrite-micro", "hello", 12), alone[1]);
    assert_eq!(ended, []);
    let ended = step_to_the_end(&mut backend);
    assert_eq!(ended, [(ticket, alone[0].clone())]);
    assert_eq!(backend.models().len(), 1);
    assert_eq!(pool.total_bytes() - pool.free_bytes(), of_new);
    assert_eq!(ids(&mut backend, "ferrite-micro", "hello", 12), alone[1]);
}

#[test]
fn a_model_that_is_unloaded_goes_with_its_last_request() {
    let pool = host::pool(64 << 20);
    let mut backend = TransformerBackend::new(host::resources(pool, vec![("s", broken_gguf::good())]));
    backend.load_model("good").unwrap();
    let alone = ids(&mut backend, "good", "hello", 6);
    for is_cancelled in [false, true] {
        backend.load_model("good").unwrap();
        let size_bytes = backend.models()[0].memory.total_bytes();
        let tickets = [6, 3].map(|n| backend.submit(None, request("hello", n)).unwrap());
        assert_eq!(backend.unload(None).unwrap(), Unloaded { size_bytes, n_requests: 2 });
        assert!(matches!(backend.submit(None, request("hello", 1)), Err(BackendError::NotLoaded)));
        assert!(matches!(backend.unload(None), Err(BackendError::NotLoaded)));
        assert!(!backend.is_loaded() && matches!(backend.find("good"), Ok(Found::OnDisk(_))));
        assert_eq!(pool.free_bytes(), pool.total_bytes() - size_bytes);
        if is_cancelled {
            assert!(tickets.map(|ticket| backend.cancel(ticket).is_some()) == [true; 2]);
        } else {
            let expected = [(tickets[0], alone.clone()), (tickets[1], alone[..3].to_vec())];
            assert_eq!(step_to_the_end(&mut backend), expected);
        }
        assert_eq!(pool.free_bytes(), pool.total_bytes());
        assert!(backend.models().is_empty() && backend.cancel(tickets[0]).is_none());
    }
}

#[test]
fn a_model_with_requests_is_not_displaced_where_there_is_no_room_for_two() {
    let pool = host::pool(64 << 20);
    let mut backend = TransformerBackend::new(host::resources(pool, vec![("s", fixtures::micro())]));
    load(&mut backend, "ferrite-micro", Some(64)).unwrap();
    let size_bytes = backend.models()[0].memory.total_bytes();
    const LEFT_BYTES: usize = 256 << 10;
    assert!(size_bytes > LEFT_BYTES);
    let _rest = pool.reserve(pool.largest_free_bytes() - LEFT_BYTES, GRANULE_BYTES).unwrap();
    backend.submit(None, request("hello", 5)).unwrap();
    let refused = load(&mut backend, "ferrite-micro", Some(64)).unwrap_err().to_string();
    let why = format!(
        "{size_bytes} bytes needed for the weights and a context of 64 tokens, {LEFT_BYTES} available; \
         `llm unload ferrite-micro` frees {size_bytes} when its request is answered"
    );
    assert!(refused.ends_with(&why), "{refused}");
    assert!(backend.submit(None, request("hello", 5)).is_ok(), "it is not taken off the list");
    assert_eq!(step_to_the_end(&mut backend).len(), 2);
    load(&mut backend, "ferrite-micro", Some(64)).unwrap();
    assert_eq!(backend.models().len(), 1);
}

#[test]
fn those_that_are_loaded_answer_while_another_one_is_read() {
    let files = vec![("good", broken_gguf::good()), ("micro", fixtures::micro())];
    let mut backend = backend(64 << 20, files);
    backend.load_model("good").unwrap();
    let alone = ids(&mut backend, "good", "hello", 4);
    let (first, second) = ("hello", "hello hello");
    let tickets = [first, second].map(|prompt| backend.submit(None, request(prompt, 4)).unwrap());
    let n_batches = backend.statistics().batches;
    let options = EngineOptions { n_parallel: Some(2), ..EngineOptions::default() };
    let mut ended = Vec::new();
    let read = &mut |_: Progress, models: &mut dyn Steps| {
        while step(models, &mut ended) > 0 {}
        ControlFlow::Continue(())
    };
    backend.load("ferrite-micro", options, read).unwrap();
    assert_eq!(ended.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), tickets);
    assert_eq!(ended[0].1, alone);
    assert!(backend.statistics().batches > n_batches);
    // A model runs as it was loaded until other options are set.
    assert_eq!(backend.standing_options().n_parallel, Some(2));
    backend.set_standing_options(EngineOptions::default());
    assert_eq!(backend.standing_options().n_parallel, None);
    backend.select("good").unwrap();
    assert!(backend.adapt(None, backend.standing_options()).unwrap());
}

#[test]
fn a_load_that_fails_leaves_the_old_model_where_both_have_room() {
    let mut backend = good();
    let stopped = backend.load("good", EngineOptions::default(), &mut |_, _| ControlFlow::Break(()));
    assert!(matches!(stopped, Err(BackendError::Cancelled)));
    assert_eq!(ids(&mut backend, "good", "hello", 3).len(), 3);
}
