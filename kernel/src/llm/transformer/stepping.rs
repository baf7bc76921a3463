//! Computing the next batch of the loaded models, which take turns.

use core::ops::ControlFlow;

use llm::front::Event;

use super::{TransformerBackend, models::Models};
use crate::{
    llm::{BackendError, Statistics, Steps, Ticket},
    system::Machine,
};

/// The loaded models, while another one may be being loaded.
pub(super) struct Stepper<'b> {
    pub models: &'b mut Models,
    pub statistics: &'b mut Statistics,
    pub clock_us: fn() -> u64,
}

impl Steps for Stepper<'_> {
    fn step(
        &mut self,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
        on_event: &mut dyn FnMut(Ticket, Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, BackendError> {
        let clock_us = self.clock_us;
        let mut stepped = Ok(0);
        // Requests for no tokens end without a batch: then it is the next model's turn.
        while let Ok(0) = stepped
            && let Some((loaded, id)) = self.models.take_turn()
        {
            let statistics = &mut *self.statistics;
            let before = loaded.model.responder().counts();
            stepped = loaded.model.with_responder(|responder| {
                responder.step(clock_us, go_on, &mut |request, event| {
                    statistics.note(&event);
                    if let Event::Finished { report, .. } = &event {
                        statistics.add(report);
                    }
                    on_event(Ticket { model: id, request }, event)
                })
            });
            // Counted before a retiring model is dropped.
            self.statistics.add_counts(loaded.model.responder().counts().since(before));
            self.models.sweep();
        }
        stepped
    }
}

impl Steps for TransformerBackend {
    fn step(
        &mut self,
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
        on_event: &mut dyn FnMut(Ticket, Event<'_>) -> ControlFlow<()>,
    ) -> Result<usize, BackendError> {
        let Self { models, statistics, machine: Machine { clock_us, .. }, .. } = self;
        Stepper { models, statistics, clock_us: *clock_us }.step(go_on, on_event)
    }
}
