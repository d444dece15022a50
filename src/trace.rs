//! Which trace and which request is this? W3C Trace Context (<https://www.w3.org/TR/trace-context/>), our own request
//! id, and both of whatever this thread is at work on.

mod state;

use std::fmt;
use std::sync::Arc;

/// A random 128-bit id of one request, printed as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId(u128);

impl RequestId {
    /// From 128 random bits; chance is an argument.
    #[must_use]
    pub fn new(bits: u128) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub fn bits(self) -> u128 {
        self.0
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The caller's place in a distributed trace, from its `traceparent` and `tracestate` headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// 16-byte trace id, never zero.
    pub trace_id: u128,
    /// 8-byte id of the caller's span, never zero.
    pub span_id: u64,
    /// Whether the caller records this trace.
    pub sampled: bool,
    /// What tracing systems on the way have noted, as `key=value,key=value`; `None` if nothing valid came.
    pub state: Option<Arc<str>>,
}

impl TraceParent {
    /// Parses a `traceparent` header; `None` for anything the specification does not allow, which is then
    /// ignored as the specification asks (section 3.2.4: restart the trace).
    #[must_use]
    pub fn parse(header: &str) -> Option<Self> {
        let mut fields = header.split('-');
        let version = hex(fields.next()?, 2)?;
        let trace_id = hex(fields.next()?, 32)?;
        let span_id = u64::try_from(hex(fields.next()?, 16)?).ok()?;
        let flags = hex(fields.next()?, 2)?;
        let surplus = fields.next().is_some();
        let allowed = version != 0xff && trace_id != 0 && span_id != 0 && !(version == 0 && surplus);
        allowed.then_some(Self { trace_id, span_id, sampled: flags & 1 == 1, state: None })
    }

    /// With what the `tracestate` headers say, in their order; nothing of it where any part is malformed (section
    /// 3.3.1.1).
    #[must_use]
    pub fn with_state<'h>(self, headers: impl Iterator<Item = &'h str>) -> Self {
        Self { state: state::parse(headers), ..self }
    }
}

/// The trace and the request that work is done for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The caller's trace; without one, the request's id.
    pub trace_id: u128,
    /// Our id of the request.
    pub request_id: RequestId,
}

tokio::task_local! {
    static CURRENT: Ids;
}

impl Ids {
    /// Of a request and the caller's place in a trace.
    #[must_use]
    pub fn of(request_id: RequestId, parent: Option<&TraceParent>) -> Self {
        Self { trace_id: parent.map_or(request_id.bits(), |parent| parent.trace_id), request_id }
    }

    /// Of what this thread is at work on, if it is a request.
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|ids| *ids).ok()
    }

    /// Work that waits now and then, done for this request.
    pub fn during<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, work)
    }
}

/// Work on another thread, done for the same request as here.
pub fn handed_on<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let ids = Ids::current();
    move || match ids {
        Some(ids) => CURRENT.sync_scope(ids, work),
        None => work(),
    }
}

/// Exactly `digits` lower-case hexadecimal digits.
fn hex(field: &str, digits: usize) -> Option<u128> {
    let lower = field.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    if field.len() != digits || !lower {
        return None;
    }
    u128::from_str_radix(field, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_traceparents_are_ignored() {
        for header in [
            "",
            "00",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-surplus",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333-01",
        ] {
            assert_eq!(TraceParent::parse(header), None, "{header}");
        }
    }

    #[test]
    fn the_specifications_example_is_read() {
        let parsed = TraceParent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        assert_eq!(parsed.trace_id, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!(parsed.span_id, 0xb7ad_6b71_6920_3331);
        assert!(parsed.sampled);
        assert_eq!(parsed.state, None);
        let vendors = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
        assert_eq!(parsed.with_state([vendors].into_iter()).state.as_deref(), Some(vendors));
    }

    #[tokio::test]
    async fn work_is_known_by_its_request_wherever_it_is_done() {
        let ids = |n| Ids::of(RequestId::new(n), None);
        assert_eq!(Ids::current(), None);
        let work = async {
            tokio::task::yield_now().await;
            let inner = ids(2).during(async { Ids::current() }).await;
            let there = std::thread::spawn(handed_on(Ids::current)).join().unwrap();
            [Ids::current(), inner, there]
        };
        assert_eq!(ids(1).during(work).await, [Some(ids(1)), Some(ids(2)), Some(ids(1))]);
        assert_eq!(std::thread::spawn(handed_on(Ids::current)).join().unwrap(), None);
        let parent = TraceParent { trace_id: 7, span_id: 9, sampled: false, state: None };
        assert_eq!(Ids::of(RequestId::new(1), Some(&parent)).trace_id, 7);
        assert_eq!(ids(1).trace_id, 1);
    }
}
