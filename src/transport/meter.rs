//! How many bytes of requests are being received at once? One budget for all connections and a share of it for
//! each caller, charged by what a message announces before its bytes come.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, ready};

/// Length of the prefix of a gRPC message: a flag and four bytes of length.
const PREFIX_BYTES: usize = 5;

/// Bytes that may be in reception at once.
#[derive(Debug)]
pub struct Budget {
    left: AtomicUsize,
    message_bytes_max: usize,
    /// The budget of which this is a share.
    whole: Option<Arc<Budget>>,
}

/// The budget of all callers and what each may take of it: half, so that nobody can shut the others out.
#[derive(Debug)]
pub struct Shares {
    whole: Arc<Budget>,
    share_bytes: usize,
    /// By principal, for as long as it has a connection: callers are known by their certificates, and the
    /// connections bound the map.
    of: Mutex<HashMap<String, Weak<Budget>>>,
}

impl Shares {
    /// `bytes` in all; a compressed message counts as `message_bytes_max`, for that is what it may become.
    #[must_use]
    pub fn new(bytes: usize, message_bytes_max: usize) -> Self {
        let share_bytes = (bytes / 2).max(message_bytes_max);
        Self { whole: Budget::new(bytes, message_bytes_max, None), share_bytes, of: Mutex::default() }
    }

    /// What `principal` may take, over all its connections.
    #[must_use]
    pub fn of(&self, principal: &str) -> Arc<Budget> {
        let mut shares = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(principal).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share =
            Budget::new(self.share_bytes, self.whole.message_bytes_max, Some(Arc::clone(&self.whole)));
        shares.insert(principal.to_owned(), Arc::downgrade(&share));
        share
    }
}

impl Budget {
    fn new(bytes: usize, message_bytes_max: usize, whole: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self { left: AtomicUsize::new(bytes), message_bytes_max, whole })
    }

    fn take(&self, bytes: usize) -> bool {
        let own =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        if own.is_err() {
            return false;
        }
        let taken = self.whole.as_ref().is_none_or(|whole| whole.take(bytes));
        if !taken {
            self.left.fetch_add(bytes, Ordering::Relaxed);
        }
        taken
    }

    fn give(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.give(bytes);
        }
    }
}

/// What one call has taken from the budget; given back when the call ends.
#[derive(Debug)]
pub struct Meter {
    budget: Arc<Budget>,
    taken: AtomicUsize,
    /// Messages that were announced, and how many of them are done with.
    announced: AtomicUsize,
    answered: AtomicUsize,
    exhausted: AtomicBool,
    broken: AtomicBool,
}

impl Meter {
    /// Nothing taken yet.
    #[must_use]
    pub fn new(budget: &Arc<Budget>) -> Arc<Self> {
        Arc::new(Self {
            budget: Arc::clone(budget),
            taken: AtomicUsize::new(0),
            announced: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            exhausted: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        })
    }

    /// Whether the budget had too little left for the call.
    #[must_use]
    pub fn exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }

    /// Whether the caller broke off in the middle of its message.
    #[must_use]
    pub fn broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// A message of a stream was answered: until the next one is announced the stream takes nothing, however
    /// long it waits.
    pub fn answered(&self) {
        let answered = self.answered.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        if answered == self.announced.load(Ordering::Relaxed) {
            self.give_back();
        }
    }

    fn give_back(&self) {
        let taken = self.taken.swap(0, Ordering::Relaxed);
        self.budget.give(taken);
    }

    /// Takes `bytes` instead of what the message before had taken.
    fn message(&self, bytes: usize) -> bool {
        self.give_back();
        self.announced.fetch_add(1, Ordering::Relaxed);
        if !self.budget.take(bytes) {
            self.exhausted.store(true, Ordering::Relaxed);
            return false;
        }
        self.taken.store(bytes, Ordering::Relaxed);
        true
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.give_back();
    }
}

/// A request body that is charged message by message.
#[derive(Debug)]
pub struct Metered<B> {
    body: B,
    meter: Arc<Meter>,
    /// The prefix of the next message, as far as it has come.
    prefix: Vec<u8>,
    /// Bytes of the present message that are still to come.
    to_come: usize,
}

impl<B> Metered<B> {
    /// Charges `body` to `meter`.
    #[must_use]
    pub fn new(body: B, meter: Arc<Meter>) -> Self {
        Self { body, meter, prefix: Vec::with_capacity(PREFIX_BYTES), to_come: 0 }
    }

    /// Follows the framing; `false` when the budget is exhausted.
    fn follow(&mut self, mut data: &[u8]) -> bool {
        while !data.is_empty() {
            let within = self.to_come.min(data.len());
            self.to_come -= within;
            data = data.get(within..).unwrap_or_default();
            let wanted = PREFIX_BYTES.saturating_sub(self.prefix.len()).min(data.len());
            let (prefix, rest) = data.split_at_checked(wanted).unwrap_or_default();
            self.prefix.extend_from_slice(prefix);
            data = rest;
            if let [flag, length @ ..] = self.prefix.as_slice()
                && let Ok(length) = <[u8; 4]>::try_from(length)
            {
                let announced = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
                let limit = self.meter.budget.message_bytes_max;
                // Beyond the limit it is refused by its length alone, and takes no memory.
                let charged = if *flag == 0 { announced.min(limit) } else { limit };
                self.to_come = announced;
                self.prefix.clear();
                if !self.meter.message(charged) {
                    return false;
                }
            }
        }
        true
    }
}

impl<B> Body for Metered<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => {
                self.meter.broken.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(error.into())));
            }
            Some(Ok(frame)) => frame,
        };
        let charged = frame.data_ref().is_none_or(|data| self.follow(data));
        if charged { Poll::Ready(Some(Ok(frame))) } else { Poll::Ready(Some(Err("no room".into()))) }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(budget: &Budget) -> usize {
        budget.left.load(Ordering::Relaxed)
    }

    fn message(flag: u8, announced: u32) -> Vec<u8> {
        [&[flag][..], &announced.to_be_bytes()].concat()
    }

    #[test]
    fn what_is_announced_is_charged_before_it_comes_and_given_back() {
        let budget = Budget::new(100, 80, None);
        let meter = Meter::new(&budget);
        let mut body = Metered::new((), Arc::clone(&meter));
        assert!(body.follow(&message(0, 60)));
        assert_eq!(left(&budget), 40);
        let other = Meter::new(&budget);
        assert!(!Metered::new((), Arc::clone(&other)).follow(&message(0, 60)));
        assert!(other.exhausted());
        drop((body, meter, other));
        assert_eq!(left(&budget), 100);
    }

    #[test]
    fn one_caller_takes_no_more_than_its_share_and_all_no_more_than_there_is() {
        let shares = Shares::new(100, 10);
        let (greedy, again, other) = (shares.of("a"), shares.of("a"), shares.of("b"));
        assert!(greedy.take(40) && !again.take(20), "the share of a caller is one, over all connections");
        assert!(other.take(50));
        assert!(!shares.of("c").take(20), "the whole has 10 left");
        other.give(50);
        assert!(shares.of("c").take(20));
    }

    #[test]
    fn a_compressed_message_counts_as_what_it_may_become() {
        let budget = Budget::new(100, 80, None);
        let meter = Meter::new(&budget);
        assert!(Metered::new((), Arc::clone(&meter)).follow(&message(1, 2)));
        assert_eq!(left(&budget), 20);
    }

    #[test]
    fn messages_of_a_stream_are_charged_one_by_one_however_they_are_cut() {
        let budget = Budget::new(100, 80, None);
        let meter = Meter::new(&budget);
        let mut body = Metered::new((), Arc::clone(&meter));
        let stream = [message(0, 3), vec![1, 2, 3], message(0, 50), vec![0; 50], message(0, 7)].concat();
        for byte in &stream {
            assert!(body.follow(std::slice::from_ref(byte)));
        }
        assert_eq!(left(&budget), 93);
    }

    #[test]
    fn a_message_that_is_answered_is_given_back_unless_the_next_is_already_coming() {
        let budget = Budget::new(100, 80, None);
        let meter = Meter::new(&budget);
        let mut body = Metered::new((), Arc::clone(&meter));
        assert!(body.follow(&[message(1, 1), vec![9]].concat()));
        assert_eq!(left(&budget), 20);
        meter.answered();
        assert_eq!(left(&budget), 100);
        assert!(body.follow(&[message(0, 1), vec![9], message(0, 60)].concat()));
        meter.answered();
        assert_eq!(left(&budget), 40);
        meter.answered();
        assert_eq!(left(&budget), 100);
    }
}
