//! Tests of requests over a network that loses, reorders, repeats and changes frames, and with a clock that jumps. Each request
//! must end either with its complete, correct answer or with a closed connection, and nothing of it may remain.

use super::*;
use crate::{
    llm::{TransformerBackend, fixtures, host},
    net::tests::{Cable, TestLink, unreliable::Client},
    storage::unreliable_disk::Chance,
};
use smoltcp::iface::SocketHandle;
use std::{boxed::Box, format, string::String, vec, vec::Vec};

std::thread_local! {
    static NOW_US: Cell<u64> = const { Cell::new(0) };
    /// The date in seconds, and how often the machine has been restored.
    static DATE: Cell<(u64, u64)> = const { Cell::new((1_700_000_000, 0)) };
    /// What keys are made of.
    static SECRET: Cell<Option<[u8; 32]>> = const { Cell::new(Some([42; 32])) };
}

const PORT: u16 = 80;
const TICK_US: u64 = 10_000;

/// A machine with a model and a network, whose time advances in ticks.
pub(super) struct Scene {
    cable: Rc<RefCell<Cable>>,
    pub backend: TransformerBackend,
    pub serving: Rc<Serving<'static>>,
    client: Client,
}

/// A request in progress.
struct Asked {
    handle: SocketHandle,
    request: Vec<u8>,
    n_sent: usize,
    answer: Vec<u8>,
    until_us: u64,
}

impl Scene {
    pub fn new(seed: u64, faults: (u64, u8, u8)) -> Self {
        NOW_US.set(1_000_000);
        let cable = Rc::new(RefCell::new(Cable::default()));
        let n_interrupts = || NOW_US.get();
        let link = Box::new(TestLink(cable.clone()));
        let addressing = "10.0.2.15/24,gateway=10.0.2.2".parse().unwrap();
        let network = Network::new(link, addressing, seed, n_interrupts, NOW_US.get());
        let network = Box::leak(Box::new(RefCell::new(network)));
        let pool = host::pool(16 << 20);
        let mut resources = host::resources(pool, vec![("m", fixtures::micro())]);
        let machine = Machine {
            clock_us: || NOW_US.get(),
            now_seconds: || Some(DATE.get().0),
            turn: Some(|_| Turn { wake_us: u64::MAX, n_restored: DATE.get().1 }),
            n_interrupts,
            secret: || SECRET.get(),
            ..resources.machine
        };
        resources.machine = machine;
        let mut backend = TransformerBackend::new(resources);
        backend.load("ferrite-micro", options(), &mut |_, _| ControlFlow::Continue(())).unwrap();
        let settings = ServeSettings { port: Some(PORT), admin: true, ..ServeSettings::default() };
        let serving = Serving::new(machine, Some(network), None, &settings);
        serving.turn(true);
        let client = Client::new(&cable, seed, faults);
        Self { cable, backend, serving, client }
    }

    fn tick(&mut self) {
        NOW_US.set(NOW_US.get() + TICK_US);
        self.client.poll(NOW_US.get());
        self.serving.work(&mut self.backend);
        self.client.poll(NOW_US.get());
    }

    fn ask(&mut self, request: &[u8]) -> Asked {
        let handle = self.client.connect(PORT);
        let until_us = NOW_US.get() + 300_000_000;
        Asked { handle, request: request.to_vec(), n_sent: 0, answer: Vec::new(), until_us }
    }

    /// Continues the requests; those that have ended are removed.
    fn step(&mut self, asked: &mut Vec<Asked>, over: &mut dyn FnMut(Asked)) {
        self.tick();
        let mut index = 0;
        while index < asked.len() {
            let one = &mut asked[index];
            let socket = self.client.socket(one.handle);
            if socket.can_send() && one.n_sent < one.request.len() {
                one.n_sent += socket.send_slice(&one.request[one.n_sent..]).unwrap();
            }
            while socket.can_recv() {
                let _ = socket.recv(|new| {
                    one.answer.extend_from_slice(new);
                    (new.len(), ())
                });
            }
            let is_sent = one.n_sent == one.request.len();
            if is_sent && !socket.may_recv() || !socket.is_active() || NOW_US.get() > one.until_us {
                socket.abort();
                let one = asked.swap_remove(index);
                over(one);
                continue;
            }
            index += 1;
        }
    }

    /// Makes all of these requests at once, and returns the answer to each.
    fn answers(&mut self, requests: &[Vec<u8>]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut asked: Vec<Asked> = requests.iter().map(|request| self.ask(request)).collect();
        let mut answers = Vec::new();
        let mut handles = Vec::new();
        while !asked.is_empty() {
            self.step(&mut asked, &mut |one| {
                assert!(NOW_US.get() <= one.until_us, "no end: {:?}", String::from_utf8_lossy(&one.answer));
                handles.push(one.handle);
                answers.push((one.request, one.answer));
            });
        }
        // Lets the other side learn what was broken off.
        (0..5).for_each(|_| self.tick());
        handles.into_iter().for_each(|handle| self.client.forget(handle));
        answers
    }

    /// Checks that nothing of the earlier requests remains, and that new requests are answered.
    fn check(&mut self, requests: &[Vec<u8>], expected: &[Vec<u8>], what: &str) {
        let client = core::mem::replace(&mut self.client, Client::new(&self.cable, 0, (0, 0, 0)));
        self.client = client.heal(&self.cable);
        // Connections whose end the other side was not told of end after a time-out.
        for _ in 0..20_000 {
            self.tick();
            if self.serving.status().unwrap().n_connections == 0 {
                break;
            }
        }
        let status = self.serving.status().unwrap();
        assert_eq!((status.n_connections, status.is_generating), (0, false), "{what}");
        for (request, answer) in self.answers(requests) {
            let place = requests.iter().position(|known| *known == request).unwrap();
            let answer = text(&answer);
            assert_eq!(
                answer.as_deref(),
                Some(&*String::from_utf8_lossy(&expected[place])),
                "{what}: {request:?}"
            );
        }
        let pool = self.backend.catalog().pool();
        self.backend.unload(None).unwrap();
        assert_eq!(pool.free_bytes(), pool.total_bytes(), "{what}");
    }
}

/// The text of a complete answer, in either transfer encoding; `None` if it is incomplete.
fn text(answer: &[u8]) -> Option<String> {
    let answer = core::str::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200 OK") {
        return Some(format!("{}: {body}", head.lines().next()?));
    }
    if head.contains("text/event-stream") {
        if !body.contains("data: [DONE]") {
            return None;
        }
        let pieces =
            body.split("\"text\":\"").skip(1).map(|rest| rest.split("\",").next().unwrap_or_default());
        return Some(pieces.collect());
    }
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(String::from));
    if length?.parse() != Ok(body.len()) {
        return None;
    }
    match body.split_once("\"text\":\"") {
        Some((_, rest)) => Some(rest.split("\",").next().unwrap_or_default().into()),
        None => Some(body.into()),
    }
}

fn requests() -> Vec<Vec<u8>> {
    let post = |body: &str| {
        let head =
            "POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json";
        format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let long = "Once upon a time ".repeat(8);
    vec![
        b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
        post(r#"{"prompt":"Hello","max_tokens":6,"temperature":0}"#),
        post(r#"{"prompt":"Hello","max_tokens":9,"temperature":0,"stream":true}"#),
        post(&format!(r#"{{"prompt":"{long}","max_tokens":5,"temperature":0}}"#)),
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".to_vec(),
    ]
}

/// The answers on a fault-free network.
fn expected(requests: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut scene = Scene::new(1, (0, 0, 0));
    let answers = scene.answers(requests);
    let of = |request| answers.iter().find(|(asked, _)| asked == request).map(|(_, answer)| answer).unwrap();
    requests.iter().map(|request| text(of(request)).unwrap().into_bytes()).collect()
}

#[test]
fn requests_over_an_unreliable_network_end_in_their_answers_or_not_at_all() {
    const SEEDS: u64 = 24;
    let requests = requests();
    let expected = expected(&requests);
    let (mut n_whole, mut n_broken) = (0, 0);
    for seed in 0..SEEDS {
        // One frame in this many is shuffled; these percentages are lost, and changed.
        let faults =
            [(2, 0, 0), (0, 15, 0), (0, 0, 15), (3, 10, 5), (2, 40, 20), (5, 3, 3)][seed as usize % 6];
        let mut scene = Scene::new(seed + 1, faults);
        let what = format!("seed {seed}, {faults:?}");
        for _ in 0..2 {
            for (request, answer) in scene.answers(&requests) {
                let place = requests.iter().position(|known| *known == request).unwrap();
                match text(&answer) {
                    Some(text) => {
                        n_whole += 1;
                        assert_eq!(text.as_bytes(), expected[place], "{what}: {request:?}");
                    }
                    None => n_broken += 1,
                }
            }
        }
        scene.check(&requests, &expected, &what);
    }
    // A network that loses a third of its frames is too slow for some requests; one that loses less is not.
    assert!(n_whole > 3 * n_broken, "{n_whole} whole, {n_broken} broken");
}

/// The machine was stopped for hours: earlier requests may have ended, and later ones are answered.
#[test]
fn a_clock_that_jumps_by_hours_ends_connections_and_nothing_else() {
    const HOUR_US: u64 = 3_600_000_000;
    let requests = requests();
    let expected = expected(&requests);
    for seed in 0..12 {
        let mut chance = Chance::new(seed + 1);
        let mut scene = Scene::new(seed + 1, (0, 0, 0));
        let mut asked: Vec<Asked> = requests.iter().map(|request| scene.ask(request)).collect();
        let mut handles = Vec::new();
        let n_ticks = chance.below(12);
        for tick in 0.. {
            if tick == n_ticks {
                NOW_US.set(NOW_US.get() + [HOUR_US, 30 * HOUR_US, 9000 * HOUR_US][seed as usize % 3]);
                asked.iter_mut().for_each(|one| one.until_us = u64::MAX);
            }
            scene.step(&mut asked, &mut |one| {
                handles.push(one.handle);
                let place = requests.iter().position(|known| *known == one.request).unwrap();
                if let Some(text) = text(&one.answer) {
                    let is_right = text.as_bytes() == expected[place] || text.starts_with("HTTP/1.1 ");
                    assert!(is_right, "seed {seed}: {text}");
                }
            });
            if asked.is_empty() {
                break;
            }
            assert!(tick < 30_000, "seed {seed}: {} connections have no end", asked.len());
        }
        scene.check(&requests, &expected, &format!("seed {seed}"));
    }
}

/// While the machine was a snapshot, the tick counter stood still, but the clock that knows the date did not.
#[test]
fn a_restored_machine_knows_the_date() {
    let mut scene = Scene::new(1, (0, 0, 0));
    let request = &requests()[1..2];
    let created = |scene: &mut Scene| -> u64 {
        let (_, answer) = scene.answers(request).remove(0);
        let answer = String::from_utf8(answer).unwrap();
        let rest = answer.split("\"created\":").nth(1).unwrap();
        rest.split(|character: char| !character.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let before = created(&mut scene);
    assert!((1_700_000_000..1_700_000_100).contains(&before), "{before}");
    DATE.set((1_800_000_000, 1));
    let after = created(&mut scene);
    assert!((1_800_000_000..1_800_000_100).contains(&after), "{after}");
}

/// A device that gives random numbers may be silent when the machine is restored, and answer later.
#[test]
fn a_machine_that_gets_random_numbers_late_makes_a_key_then() {
    let mut scene = Scene::new(1, (0, 0, 0));
    let attested = |scene: &mut Scene| {
        let (_, answer) = scene.answers(&[b"GET /v1/attestation HTTP/1.0\r\n\r\n".to_vec()]).remove(0);
        let answer = String::from_utf8(answer).unwrap();
        let key = answer.split("\"key\":\"").nth(1).map(|rest| rest.split('"').next().unwrap().to_owned());
        (key, answer)
    };
    let (first, answer) = attested(&mut scene);
    assert!(first.is_some(), "{answer}");
    SECRET.set(None);
    DATE.set((DATE.get().0, DATE.get().1 + 1));
    let (none, answer) = attested(&mut scene);
    assert!(none.is_none() && scene.serving.notary().is_none(), "{answer}");
    // It is not asked all the time.
    SECRET.set(Some([43; 32]));
    assert!(scene.serving.notary().is_none());
    NOW_US.set(NOW_US.get() + NOTARY_RETRY_US);
    let (second, answer) = attested(&mut scene);
    assert!(second.is_some() && second != first, "{answer}");
    assert!(scene.serving.notary().is_some());
}
