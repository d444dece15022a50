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

    /// Whether a stop was requested.
    pub fn requested(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).requested
    }

    /// The backend starts a run; `false` if it is not wanted any more.
    pub fn arm(&self, run: Arc<dyn Stop>) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.requested {
            return false;
        }
        state.running = Some(run);
        true
    }

    /// The run ended; after this its handle may serve another request. Tells whether it was asked to stop.
    pub fn disarm(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.running = None;
        state.requested
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
        assert!(interrupt.arm(run.clone()));
        assert!(!interrupt.disarm());
        interrupt.request();
        assert_eq!(run.0.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_request_that_gave_up_before_its_run_never_starts_it() {
        let (interrupt, run) = (Interrupt::default(), Arc::new(Counter::default()));
        interrupt.request();
        assert!(!interrupt.arm(run));
    }

    #[test]
    fn a_live_run_is_stopped_once() {
        let (interrupt, run) = (Interrupt::default(), Arc::new(Counter::default()));
        assert!(interrupt.arm(run.clone()));
        interrupt.request();
        assert!(interrupt.disarm());
        assert_eq!(run.0.load(Ordering::Relaxed), 1);
    }
}
