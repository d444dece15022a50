//! How much may one file cost, and all of them together? Bytes, pixels, memory and time, asked before they are
//! spent.

use super::ImageError;
use crate::clock::{Deadline, Now};
use crate::reason::Reason;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Memory for one file, in bytes for each sample that it may have: the samples, and what a decoder holds beside
/// them.
const BYTES_PER_SAMPLE: usize = 4;

/// And so many more, whatever its size: tables, rows on their way, inflated headers.
const BYTES_BESIDE: usize = 16 << 20;

/// Hard limits of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the file.
    pub bytes_max: usize,
    /// Samples of the image: width x height x channels.
    pub samples_max: usize,
    /// From the beginning to the prepared tensor.
    pub time_max: Duration,
}

/// Memory that all files being decoded may hold together.
#[derive(Debug)]
pub struct Store {
    free: AtomicUsize,
    total: usize,
}

/// What one file may still spend. What it holds is given back when it is dropped.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    store: Arc<Store>,
    held: usize,
    deadline: Deadline,
    given_up: Arc<AtomicBool>,
}

/// Bytes of the store. Dropped, they are given back.
#[derive(Debug)]
#[must_use]
pub struct Room {
    store: Arc<Store>,
    bytes: usize,
}

impl Limits {
    /// Whether a file of so many bytes is small enough.
    ///
    /// # Errors
    /// It is not.
    pub fn file(&self, bytes: usize) -> Result<(), ImageError> {
        if bytes <= self.bytes_max {
            return Ok(());
        }
        Err(ImageError::too_large(format!("{bytes} bytes; at most {}", self.bytes_max)))
    }

    /// The most that decoding one file holds, in bytes.
    #[must_use]
    pub fn held_max(&self) -> usize {
        self.samples_max.saturating_mul(BYTES_PER_SAMPLE).saturating_add(BYTES_BESIDE)
    }
}

impl Store {
    /// Of so many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self { free: AtomicUsize::new(bytes), total: bytes }
    }

    /// Sets so many bytes of `store` aside.
    ///
    /// # Errors
    /// `ImageTooLarge`: it never has so many. `Overloaded`: it has not now.
    pub fn room(store: &Arc<Self>, bytes: usize) -> Result<Room, ImageError> {
        if bytes > store.total {
            return Err(ImageError::too_large("the tensors of so many files take more memory than allowed"));
        }
        store.take(bytes)?;
        Ok(Room { store: Arc::clone(store), bytes })
    }

    fn take(&self, bytes: usize) -> Result<(), ImageError> {
        let less = |free: usize| free.checked_sub(bytes);
        if self.free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_err() {
            let problem = "too many images are being decoded; try again later";
            return Err(ImageError::new(Reason::Overloaded, problem));
        }
        Ok(())
    }

    fn give_back(&self, bytes: usize) {
        self.free.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Budget {
    /// For one file; it ends with the request's deadline, or earlier.
    #[must_use]
    pub fn new(limits: Limits, store: &Arc<Store>, now: Now, deadline: Deadline) -> Self {
        let deadline = deadline.earlier(Deadline::after(now, limits.time_max));
        Self { limits, store: Arc::clone(store), held: 0, deadline, given_up: Arc::default() }
    }

    /// Ends as well when nobody waits for it any more: when this is true.
    #[must_use]
    pub fn until(mut self, given_up: &Arc<AtomicBool>) -> Self {
        self.given_up = Arc::clone(given_up);
        self
    }

    /// Whether the file itself is small enough.
    ///
    /// # Errors
    /// It is not.
    pub fn file(&self, bytes: usize) -> Result<(), ImageError> {
        self.limits.file(bytes)
    }

    /// The samples of an image of this size, before anything is allocated for them.
    ///
    /// # Errors
    /// There are none, or more than allowed.
    pub fn samples(&self, width: usize, height: usize, channels: usize) -> Result<usize, ImageError> {
        let samples = width.checked_mul(height).and_then(|pixels| pixels.checked_mul(channels));
        match samples {
            Some(0) => Err(ImageError::bad("an image without pixels")),
            Some(samples) if samples <= self.limits.samples_max => Ok(samples),
            Some(_) | None => Err(ImageError::too_large(format!(
                "{width} x {height} pixels of {channels} samples; at most {} samples",
                self.limits.samples_max
            ))),
        }
    }

    /// Takes so many bytes from what this file and all files may hold.
    ///
    /// # Errors
    /// `ImageTooLarge`: this file alone would hold too much. `Overloaded`: all of them together would.
    pub fn hold(&mut self, bytes: usize) -> Result<(), ImageError> {
        let most = self.limits.held_max();
        let held = self.held.checked_add(bytes).filter(|held| *held <= most);
        let held = held.ok_or_else(|| ImageError::too_large("decoding it takes more memory than allowed"))?;
        self.store.take(bytes)?;
        self.held = held;
        Ok(())
    }

    /// Gives back bytes that were held, when what they were for has been dropped.
    pub fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.held);
        self.held -= bytes;
        self.store.give_back(bytes);
    }

    /// Room for so many elements, which the budget holds from now on.
    ///
    /// # Errors
    /// As [`Budget::hold`], and where the system has no memory.
    pub fn room<T>(&mut self, elements: usize) -> Result<Vec<T>, ImageError> {
        self.hold(elements.saturating_mul(size_of::<T>()))?;
        let mut room = Vec::new();
        let overloaded = |_| ImageError::new(Reason::Overloaded, "no memory is left; try again later");
        room.try_reserve_exact(elements).map_err(overloaded)?;
        Ok(room)
    }

    /// To be asked in every long loop, once for each row or block.
    ///
    /// # Errors
    /// Decoding has taken longer than allowed.
    pub fn on_time(&self) -> Result<(), ImageError> {
        if self.deadline.has_passed() {
            return Err(ImageError::too_large("decoding it takes longer than allowed"));
        }
        if self.given_up.load(Ordering::Relaxed) {
            return Err(ImageError::new(Reason::HungUp, "nobody waits for it any more"));
        }
        Ok(())
    }

    /// When decoding must have ended.
    #[must_use]
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.store.give_back(self.held);
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.store.give_back(self.bytes);
    }
}

#[cfg(test)]
impl Budget {
    /// For tests: `samples_max` samples, plenty of everything else.
    pub(crate) fn trial(samples_max: usize) -> Self {
        let limits = Limits { bytes_max: 64 << 20, samples_max, time_max: Duration::from_mins(1) };
        Self::of(limits, Store::new(1 << 30))
    }

    /// For tests: of these limits alone, from now on.
    pub(crate) fn of(limits: Limits, store: impl Into<Arc<Store>>) -> Self {
        let now = Now::read();
        Self::new(limits, &store.into(), now, Deadline::after(now, limits.time_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_overflow_or_are_empty_are_refused() {
        let budget = Budget::trial(100);
        assert!(budget.samples(usize::MAX, 2, 1).is_err_and(|e| e.reason == Reason::ImageTooLarge));
        assert!(budget.samples(11, 10, 1).is_err_and(|e| e.reason == Reason::ImageTooLarge));
        assert!(budget.samples(0, 10, 1).is_err_and(|e| e.reason == Reason::BadImage));
        assert_eq!(budget.samples(10, 10, 1), Ok(100));
    }

    #[test]
    fn memory_is_taken_before_it_is_allocated_and_given_back() {
        let store = Arc::new(Store::new(100));
        let limits = Limits { bytes_max: 1, samples_max: 20, time_max: Duration::from_mins(1) };
        let budget = || Budget::of(limits, Arc::clone(&store));
        let mut one = budget();
        assert!(one.room::<u16>(40).is_ok());
        assert!(
            one.hold(BYTES_BESIDE + 1).is_err_and(|e| e.reason == Reason::ImageTooLarge),
            "4 bytes a sample, and what is beside them, are the most"
        );
        let mut other = budget();
        assert!(other.hold(21).is_err_and(|e| e.reason == Reason::Overloaded), "80 of 100 are taken");
        assert!(other.hold(20).is_ok());
        drop(one);
        assert!(other.hold(60).is_ok());
        other.give_back(usize::MAX);
        assert!(budget().hold(80).is_ok(), "no more and no less than was held is given back");
    }

    #[test]
    fn room_for_tensors_comes_from_the_same_store() {
        let store = Arc::new(Store::new(100));
        assert!(Store::room(&store, 101).is_err_and(|e| e.reason == Reason::ImageTooLarge));
        let room = Store::room(&store, 60).unwrap();
        assert!(Store::room(&store, 60).is_err_and(|e| e.reason == Reason::Overloaded));
        drop(room);
        assert!(Store::room(&store, 60).is_ok());
    }

    #[test]
    fn a_decoder_stops_when_nobody_waits_any_more() {
        let given_up = Arc::new(AtomicBool::new(false));
        let budget = Budget::trial(1).until(&given_up);
        assert!(budget.on_time().is_ok());
        given_up.store(true, Ordering::Relaxed);
        assert!(budget.on_time().is_err_and(|e| e.reason == Reason::HungUp));
    }

    #[test]
    fn time_that_has_passed_stops_a_decoder() {
        let limits = Limits { bytes_max: 1, samples_max: 1, time_max: Duration::ZERO };
        let budget = Budget::of(limits, Store::new(1));
        assert!(budget.on_time().is_err_and(|e| e.reason == Reason::ImageTooLarge));
    }
}
