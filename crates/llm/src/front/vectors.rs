//! Turns many texts into vectors together and reports them in order: [`run`], [`run_with`].

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::ControlFlow;

use super::batch::{Alone, Answers};
use super::embedding::{Embedding, EmbeddingWish};
use super::{Event, FrontError, Prompt, Responder};
use crate::session::SessionError;
use crate::sort;

/// The number of texts, and a function that gives each text by its index.
pub type Texts<'a, 't> = (usize, &'a dyn Fn(usize) -> Prompt<'t>);

/// Turns texts into vectors, as many at once as there are slots. `on_vector` receives the vectors in the order of the texts. `go_on` is
/// called twice in each layer. Both may break off.
///
/// # Errors
/// Those of [`run_with`], and [`FrontError::Busy`] if there are other requests.
pub fn run(
    responder: &mut Responder<'_>,
    texts: Texts<'_, '_>,
    wish: EmbeddingWish,
    clock_us: fn() -> u64,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
    on_vector: &mut dyn FnMut(usize, &Embedding) -> ControlFlow<()>,
) -> Result<(), FrontError> {
    if !responder.is_idle() {
        return Err(FrontError::Busy);
    }
    run_with(&mut Alone { responder, clock_us }, texts, wish, go_on, on_vector)
}

/// Like [`run`], with a responder that may serve other callers as well.
///
/// # Errors
/// The error of the first text that fails, after the vectors of the texts before it; the error that keeps batches from
/// being computed; [`SessionError::Stopped`] if a callback broke off.
pub fn run_with<A: Answers>(
    answers: &mut A,
    texts: Texts<'_, '_>,
    wish: EmbeddingWish,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
    on_vector: &mut dyn FnMut(usize, &Embedding) -> ControlFlow<()>,
) -> Result<(), FrontError> {
    // The texts that have been submitted but not reported: the id of each, and its result.
    let mut asked: VecDeque<Asked<A::Id>> = VecDeque::new();
    let n_kept = texts.0.min(2 * answers.n_slots());
    let needed_bytes = n_kept * size_of::<Asked<A::Id>>();
    asked.try_reserve_exact(n_kept).map_err(|_| FrontError::OutOfHeap { needed_bytes })?;
    let ended = compute(answers, (texts, wish, n_kept), &mut asked, go_on, on_vector);
    // Requests that are not over now are no longer wanted.
    for (id, _) in asked.into_iter().filter(|(_, result)| result.is_none()) {
        answers.cancel(id);
    }
    ended
}

/// The id of a request, and its result, if it is over.
type Asked<I> = (I, Option<Result<Embedding, FrontError>>);

fn compute<A: Answers>(
    answers: &mut A,
    ((n_texts, text), wish, n_kept): (Texts<'_, '_>, EmbeddingWish, usize),
    asked: &mut VecDeque<Asked<A::Id>>,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
    on_vector: &mut dyn FnMut(usize, &Embedding) -> ControlFlow<()>,
) -> Result<(), FrontError> {
    let mut n_told = 0;
    let mut refused = None;
    while n_told < n_texts {
        while refused.is_none() && asked.len() < n_kept && answers.has_room() {
            let place = n_told + asked.len();
            if place == n_texts {
                break;
            }
            match answers.submit_embedding(&text(place), wish) {
                Ok(id) => asked.push_back((id, None)),
                Err(FrontError::QueueFull { .. }) => break,
                Err(error) => refused = Some(error),
            }
        }
        if let (true, Some(error)) = (asked.is_empty(), refused.take()) {
            return Err(error);
        }
        answers.step(go_on, &mut |id, event| {
            let Some((_, result)) = asked.iter_mut().find(|(other, _)| *other == id) else { return false };
            match event {
                Event::Embedding(embedding) => *result = Some(embedding.copy()),
                Event::Failed { error, .. } => *result = Some(Err((*error).clone())),
                _ => {}
            }
            true
        })?;
        while let Some((_, Some(_))) = asked.front() {
            let Some((_, Some(result))) = asked.pop_front() else { break };
            if on_vector(n_told, &result?).is_break() {
                return Err(SessionError::Stopped.into());
            }
            n_told += 1;
        }
    }
    Ok(())
}

/// The indices of the scores, best first. Equal scores keep their order, and NaN comes last.
///
/// # Errors
/// [`FrontError::OutOfHeap`].
pub fn ranking(scores: &[f32]) -> Result<Vec<u32>, FrontError> {
    let key = |place: usize| if scores[place].is_nan() { f32::NEG_INFINITY } else { scores[place] };
    let compare = |a, b: usize| key(b).partial_cmp(&key(a)).unwrap_or(Ordering::Equal).then(a.cmp(&b));
    let needed_bytes = size_of_val(scores);
    sort::places(scores.len(), &compare).map_err(|_| FrontError::OutOfHeap { needed_bytes })
}

#[cfg(test)]
mod tests {
    use super::ranking;

    #[test]
    fn the_best_comes_first_and_what_is_no_number_last() {
        assert_eq!(ranking(&[0.1, f32::NAN, 0.7, 0.1, -3.0]).unwrap(), [2, 0, 3, 4, 1]);
        assert!(ranking(&[]).unwrap().is_empty());
    }
}
