//! Which requests are worth keeping the trace of? A share of them, and every one that was not simply answered.
//!
//! Spans are made of closed entries, so the end of a request decides together with its beginning: what was refused,
//! flagged, kept back, abandoned or slow is kept whatever the share is, and whatever its caller decided.

use super::otlp::Settings;
use crate::audit::ClosedEntry;
use crate::reason::Action;
use crate::trace::Ids;
use std::time::Duration;

/// The bits of a trace id that are random by the specification (W3C Trace Context Level 2, section 3.2.2.3), of
/// which OpenTelemetry's consistent sampling compares the same number with a threshold
/// (<https://opentelemetry.io/docs/specs/otel/trace/tracestate-probability-sampling/>).
const RANDOM_BITS: u32 = 56;

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sampling {
    /// A trace whose random bits are below it is not in the share.
    threshold: u64,
    slow: Duration,
}

impl Sampling {
    pub(super) fn of(settings: &Settings) -> Self {
        let slow = Duration::from_millis(settings.slow_ms);
        Self { threshold: threshold(settings.sample_share), slow }
    }

    /// Whether the trace of a request is kept: as its caller decided, by its share where it has no caller, and
    /// always where it is noteworthy.
    pub(super) fn keeps(self, closed: &ClosedEntry) -> bool {
        let parent = closed.observation.parent.as_ref();
        let ids = Ids::of(closed.record.request_id, parent);
        parent.map_or_else(|| self.is_in_share(ids.trace_id), |parent| parent.sampled)
            || self.is_noteworthy(closed)
    }

    /// Whether a request was anything but simply answered, in time, and with policy's consent.
    pub(super) fn is_noteworthy(self, closed: &ClosedEntry) -> bool {
        let observation = &closed.observation;
        closed.record.action != Action::Allowed
            || observation.shadowed.is_some()
            || observation.took() >= self.slow
    }

    /// The same for every sampler that decides by the trace id alone.
    fn is_in_share(self, trace_id: u128) -> bool {
        let random = trace_id & ((1 << RANDOM_BITS) - 1);
        random >= u128::from(self.threshold)
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^56")]
fn threshold(share: f64) -> u64 {
    let all = 2_f64.powi(RANDOM_BITS.cast_signed());
    ((1.0 - share.clamp(0.0, 1.0)) * all).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;
    use crate::telemetry::tests::closed;
    use crate::trace::{RequestId, TraceParent};
    use proptest::prelude::*;

    fn sampling(share: f64, slow_ms: u64) -> Sampling {
        Sampling::of(&Settings { sample_share: share, slow_ms, ..Settings::default() })
    }

    /// An answer after 10 ms in a trace that its caller records, or does not, or that begins here.
    fn allowed(sampled: Option<bool>) -> ClosedEntry {
        let mut entry = closed(Action::Allowed, Reason::Clean);
        let parent = |sampled| TraceParent { trace_id: 7, span_id: 9, sampled, state: None };
        entry.observation.parent = sampled.map(parent);
        entry
    }

    #[test]
    fn an_answer_is_kept_as_its_caller_decided_and_else_by_the_share() {
        for (share, sampled, kept) in [
            (0.0, None, false),
            (1.0, None, true),
            (0.0, Some(true), true),
            (1.0, Some(false), false),
            (f64::NAN, None, true),
        ] {
            assert_eq!(sampling(share, 1_000).keeps(&allowed(sampled)), kept, "{share} {sampled:?}");
        }
    }

    #[test]
    fn what_was_not_simply_answered_is_always_kept() {
        let never = sampling(0.0, 1_000);
        for action in Action::ALL.iter().filter(|action| **action != Action::Allowed) {
            for sampled in [None, Some(false)] {
                let mut entry = allowed(sampled);
                entry.record.action = *action;
                assert!(never.keeps(&entry) && never.is_noteworthy(&entry), "{action}");
            }
        }
        let mut shadowed = allowed(Some(false));
        shadowed.observation.shadowed = Some(Action::Withheld);
        assert!(never.keeps(&shadowed));
        // It took 10 ms.
        assert!(sampling(0.0, 10).keeps(&allowed(Some(false))));
        assert!(!sampling(0.0, 11).keeps(&allowed(Some(false))));
    }

    #[test]
    fn a_share_is_taken_of_the_random_bits_as_other_samplers_take_it() {
        let quarter = sampling(0.25, 1_000);
        for (trace_id, kept) in [
            (0x00ff_ffff_ffff_ffff, true),
            (0x00c0_0000_0000_0000, true),
            (0x00bf_ffff_ffff_ffff, false),
            (0xffff_ffff_ffff_ffff_ff00_0000_0000_0000, false),
        ] {
            assert_eq!(quarter.is_in_share(trace_id), kept, "{trace_id:x}");
        }
    }

    proptest! {
        #[test]
        fn a_larger_share_keeps_whatever_a_smaller_one_keeps(id: u128, a in 0.0..=1.0_f64, b in 0.0..=1.0_f64) {
            let mut entry = allowed(None);
            entry.record.request_id = RequestId::new(id);
            let (less, more) = (a.min(b), a.max(b));
            prop_assert!(!sampling(less, 1_000).keeps(&entry) || sampling(more, 1_000).keeps(&entry));
        }
    }
}
