//! Where in raw contents is each element of a BYTES tensor? Each stands behind its length, four bytes, little-endian.

use super::super::{IntakeError, refuse};
use crate::reason::Reason;
use std::ops::Range;

/// The places of `count` elements, which fill the contents of input `at` to their end.
pub(in crate::intake) fn split(
    bytes: &[u8],
    count: usize,
    at: usize,
) -> Result<Vec<Range<usize>>, IntakeError> {
    let bad = |problem: String| refuse(Reason::BadContent, format!("raw_input_contents[{at}]"), problem);
    // Before room for the places is allocated.
    if bytes.len() / 4 < count {
        return Err(bad(format!("{} bytes; {count} elements have at least four each", bytes.len())));
    }
    let mut places = Vec::with_capacity(count);
    let mut rest = bytes;
    for i in 0..count {
        let (length, behind) = rest
            .split_first_chunk()
            .ok_or_else(|| bad(format!("it ends before the length of element {i}")))?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let left = behind.get(length..);
        let left =
            left.ok_or_else(|| bad(format!("element {i} claims {length} bytes; {} are left", behind.len())))?;
        let end = bytes.len().saturating_sub(left.len());
        places.push(end.saturating_sub(length)..end);
        rest = left;
    }
    if rest.is_empty() {
        return Ok(places);
    }
    Err(bad(format!("{} bytes behind the last of {count} elements", rest.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(elements: &[&[u8]]) -> Vec<u8> {
        let length = |element: &[u8]| u32::try_from(element.len()).unwrap().to_le_bytes();
        elements.iter().flat_map(|element| [&length(element)[..], element].concat()).collect()
    }

    #[test]
    fn lengths_that_lie_are_refused_without_what_they_are_about() {
        for (raw, problem) in [
            (vec![5, 0, 0, 0, 1, 2], "element 0 claims 5 bytes; 2 are left"),
            (vec![5, 0, 0], "3 bytes; 1 elements have at least four each"),
            (vec![255; 8], "element 0 claims 4294967295 bytes"),
            (framed(&[b"a", b"b"]), "5 bytes behind the last of 1 elements"),
        ] {
            let error = split(&raw, 1, 0).unwrap_err();
            assert!(error.problem.contains(problem), "{error}");
            assert_eq!((error.reason, error.field.as_str()), (Reason::BadContent, "raw_input_contents[0]"));
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_framed_is_taken_apart_again(
            sent in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..20), 0..6),
        ) {
            let sent: Vec<&[u8]> = sent.iter().map(Vec::as_slice).collect();
            let raw = framed(&sent);
            let taken = split(&raw, sent.len(), 0).unwrap();
            proptest::prop_assert!(taken.into_iter().map(|place| &raw[place]).eq(sent));
        }

        #[test]
        fn any_bytes_are_taken_apart_or_refused(raw in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            let _ = split(&raw, 3, 0);
        }
    }
}
