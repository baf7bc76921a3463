//! Explores every order in which the steps of a [`Team`](crate::Team)'s cores can happen.
//!
//! The machine below executes the steps of `team.rs` one at a time. Each step is one access to one variable that several cores
//! share, in the order of the code and with the code's own arithmetic on the word. All these accesses are sequentially consistent
//! or concern a single variable, so the order of steps is the only thing that can vary. The search follows every choice. It looks
//! for a closure that runs after it is gone or before it exists, and for a core that sleeps although there is work for it.

use crate::team::{CALLER, INSIDE, OPEN, RUN, is_open_to};
use std::{collections::HashSet, vec, vec::Vec};

/// What a core does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Step {
    // Steps of the caller.
    WriteJob,
    OpenRun,
    OwnShare,
    CloseRun,
    LookInside,
    Return,
    Done,
    // Steps of a helper.
    LookForRun,
    Enter(u64),
    BeginJob,
    Leave,
    LookForCaller,
    WakeCaller,
    // Steps of both: looking for a core to wake, and what follows.
    LookForSleeper(Next),
    WakeSleeper(usize, Next),
    // Steps of both: the four parts of a sleep.
    SayAsleep,
    LookAgain,
    Sleep,
    ForgetWakeUp,
    SayAwake,
}

/// What follows after looking for a sleeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Next {
    OwnShare,
    BeginJob,
}

impl Next {
    fn step(self) -> Step {
        match self {
            Self::OwnShare => Step::OwnShare,
            Self::BeginJob => Step::BeginJob,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Machine {
    word: u64,
    asleep: u64,
    /// The run whose closure may be run; `None` if there is none.
    job: Option<u64>,
    runs_left: u32,
    /// How often a core may still wake up without a reason.
    early_wake_ups: u32,
    cores: Vec<Core>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Core {
    step: Step,
    last_run: u64,
    /// Whether it has been woken since its last sleep.
    is_woken: bool,
}

impl Machine {
    fn new(helpers: usize, runs: u32, early_wake_ups: u32) -> Self {
        let core = |step| Core { step, last_run: 0, is_woken: false };
        let mut cores = vec![core(Step::WriteJob)];
        cores.extend((0..helpers).map(|_| core(Step::LookForRun)));
        Self { word: 0, asleep: 0, job: None, runs_left: runs, early_wake_ups, cores }
    }

    fn somebody_is_inside(&self) -> bool {
        self.cores.iter().any(|core| {
            matches!(
                core.step,
                Step::BeginJob
                    | Step::Leave
                    | Step::LookForSleeper(Next::BeginJob)
                    | Step::WakeSleeper(_, Next::BeginJob)
            )
        })
    }

    /// Whether the core has a reason not to sleep.
    fn has_reason(&self, core: usize) -> bool {
        match core {
            CALLER => self.word & INSIDE == 0,
            _ => is_open_to(self.word, self.cores[core].last_run),
        }
    }

    fn loop_start(core: usize) -> Step {
        if core == CALLER { Step::LookInside } else { Step::LookForRun }
    }

    /// All possible results of the next step of `core`.
    fn after_step(&self, core: usize) -> Vec<Self> {
        let mut next = self.clone();
        let bit = 1 << core;
        let step = match self.cores[core].step {
            Step::WriteJob => {
                assert!(!self.somebody_is_inside(), "the closure is changed under a helper: {self:?}");
                next.job = Some(self.word / RUN + 1);
                Step::OpenRun
            }
            Step::OpenRun => {
                next.word = (self.word / RUN + 1) * RUN + OPEN;
                Step::LookForSleeper(Next::OwnShare)
            }
            Step::OwnShare => Step::CloseRun,
            Step::CloseRun => {
                next.word &= !OPEN;
                Step::LookInside
            }
            Step::LookInside if self.has_reason(core) => Step::Return,
            Step::LookInside => Step::SayAsleep,
            Step::Return => {
                assert!(!self.somebody_is_inside(), "the caller leaves a helper behind: {self:?}");
                next.job = None;
                next.runs_left -= 1;
                if next.runs_left == 0 { Step::Done } else { Step::WriteJob }
            }
            Step::Done => return vec![],

            Step::LookForRun if self.has_reason(core) => Step::Enter(self.word),
            Step::LookForRun => Step::SayAsleep,
            Step::Enter(seen) if seen == self.word => {
                next.word += 1;
                next.cores[core].last_run = seen / RUN;
                Step::LookForSleeper(Next::BeginJob)
            }
            Step::Enter(_) => Step::LookForRun,
            Step::BeginJob => {
                let run = self.cores[core].last_run;
                assert_eq!(self.job, Some(run), "a helper runs a closure that is not its run's: {self:?}");
                Step::Leave
            }
            Step::Leave => {
                next.word -= 1;
                if next.word & (INSIDE | OPEN) == 0 { Step::LookForCaller } else { Step::LookForRun }
            }
            Step::LookForCaller if self.asleep & 1 << CALLER != 0 => Step::WakeCaller,
            Step::LookForCaller => Step::LookForRun,
            Step::WakeCaller => {
                next.wake(CALLER);
                Step::LookForRun
            }

            Step::LookForSleeper(then) => match self.asleep & !(1 << CALLER) {
                0 => then.step(),
                helpers => Step::WakeSleeper(helpers.trailing_zeros() as usize, then),
            },
            Step::WakeSleeper(sleeper, then) => {
                next.wake(sleeper);
                then.step()
            }

            Step::SayAsleep => {
                next.asleep |= bit;
                Step::LookAgain
            }
            Step::LookAgain if self.has_reason(core) => Step::SayAwake,
            Step::LookAgain => Step::Sleep,
            Step::Sleep if self.cores[core].is_woken => Step::ForgetWakeUp,
            Step::Sleep if self.early_wake_ups > 0 => {
                next.early_wake_ups -= 1;
                Step::ForgetWakeUp
            }
            Step::Sleep => return vec![],
            Step::ForgetWakeUp => {
                next.cores[core].is_woken = false;
                Step::SayAwake
            }
            Step::SayAwake => {
                next.asleep &= !bit;
                Self::loop_start(core)
            }
        };
        next.cores[core].step = step;
        let mut all = vec![next];
        // Instead of falling asleep, a core may spin a little longer.
        if self.cores[core].step == Self::loop_start(core) && step == Step::SayAsleep {
            let mut stays = self.clone();
            stays.cores[core].step = Self::loop_start(core);
            all.push(stays);
        }
        all
    }

    fn wake(&mut self, core: usize) {
        let bit = 1 << core;
        if self.asleep & bit != 0 {
            self.asleep &= !bit;
            self.cores[core].is_woken = true;
        }
    }
}

/// Follows every order and returns the number of states. `change` may change what a core does after a step, so that tests can
/// check that a mistake is found.
fn explore(start: Machine, change: impl Fn(Step, Step) -> Step) -> usize {
    let mut seen = HashSet::from([start.clone()]);
    let mut open = vec![start];
    while let Some(machine) = open.pop() {
        let mut is_stuck = true;
        for (core, Core { step, .. }) in machine.cores.iter().enumerate() {
            for mut next in machine.after_step(core) {
                next.cores[core].step = change(*step, next.cores[core].step);
                is_stuck &= next == machine;
                if seen.insert(next.clone()) {
                    open.push(next);
                }
            }
        }
        // Helpers may sleep forever when no work is left; the caller may not.
        assert!(!is_stuck || machine.cores[CALLER].step == Step::Done, "nobody goes on: {machine:?}");
    }
    seen.len()
}

fn as_it_is(_: Step, next: Step) -> Step {
    next
}

#[test]
fn one_helper_in_four_runs() {
    assert!(explore(Machine::new(1, 4, 2), as_it_is) > 1_000);
}

#[test]
fn two_helpers_in_two_runs() {
    assert!(explore(Machine::new(2, 2, 1), as_it_is) > 10_000);
}

#[test]
fn three_helpers_in_one_run() {
    assert!(explore(Machine::new(3, 1, 0), as_it_is) > 10_000);
}

#[test]
#[should_panic = "nobody goes on"]
fn a_sleep_without_a_second_look_is_found_out() {
    explore(Machine::new(1, 2, 0), |step, next| match step {
        Step::LookAgain => Step::Sleep,
        _ => next,
    });
}

#[test]
#[should_panic = "leaves a helper behind"]
fn a_caller_that_does_not_wait_is_found_out() {
    explore(Machine::new(1, 2, 0), |step, next| match step {
        Step::CloseRun => Step::Return,
        _ => next,
    });
}
