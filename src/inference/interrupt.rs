//! A way to stop a run that nobody waits for any more, without ever stopping somebody else's.

use std::sync::{Arc, Mutex, PoisonError};

/// Something that can be told to stop; the backend's handle on its current run.
pub trait Stop: Send + Sync {
    /// Asks the run to end soon.
    fn stop(&self);
}

/// One request's right to stop its own run.
#[derive(Default)]
pub struct Interrupt {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    requested: bool,
    running: Option<Arc<dyn Stop>>,
}

impl Interrupt {
    /// Stops the run, now or as soon as it starts.
    pub fn request(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.requested = true;
        if let Some(run) = &state.running {
            run.stop();
        }
    }

    /// The backend starts a run; `None` if it is not wanted any more.
    pub fn arm(&self, run: Arc<dyn Stop>) -> Option<Armed<'_>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.requested {
            return None;
        }
        state.running = Some(run);
        Some(Armed(self))
    }
}

/// A run that can be stopped. Dropped, its handle may serve another request.
pub struct Armed<'a>(&'a Interrupt);

impl Armed<'_> {
    /// The run ended: its handle may serve another request. Tells whether this run was asked to stop.
    #[must_use]
    pub fn finish(self) -> bool {
        let mut state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running = None;
        state.requested
    }
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner).running = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[derive(Default)]
    struct Counter(AtomicUsize);

    impl Stop for Counter {
        fn stop(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_run_that_ended_is_not_stopped_any_more() {
        let (interrupt, run) = (Interrupt::default(), Arc::new(Counter::default()));
        let armed = interrupt.arm(run.clone()).unwrap();
        assert!(!armed.finish());
        interrupt.request();
        assert_eq!(run.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_request_that_gave_up_before_its_run_never_starts_it() {
        let (interrupt, run) = (Interrupt::default(), Arc::new(Counter::default()));
        interrupt.request();
        assert!(interrupt.arm(run).is_none());
    }

    #[test]
    fn a_live_run_is_stopped_once() {
        let (interrupt, run) = (Interrupt::default(), Arc::new(Counter::default()));
        let armed = interrupt.arm(run.clone()).unwrap();
        interrupt.request();
        assert!(armed.finish());
        assert_eq!(run.0.load(Ordering::Relaxed), 1);
    }
}
