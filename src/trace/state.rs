//! What have tracing systems on the way noted? `tracestate`, section 3.3 of <https://www.w3.org/TR/trace-context-2/>.

use std::collections::BTreeSet;
use std::sync::Arc;

/// What every participant has to pass on at least (section 3.3.1.5), and what we do at most.
const BYTES_MAX: usize = 512;
/// Members that are left out first where that is too little.
const LONG_BYTES: usize = 128;
const MEMBERS_MAX: usize = 32;

/// The members of all headers, cut to what may be passed on; `None` where there are none, or any is malformed.
pub(super) fn parse<'h>(headers: impl Iterator<Item = &'h str>) -> Option<Arc<str>> {
    let mut members = Vec::new();
    let mut keys = BTreeSet::new();
    for member in headers.flat_map(|header| header.split(',')) {
        let member = member.trim_matches([' ', '\t']);
        if member.is_empty() {
            continue;
        }
        let (key, value) = member.split_once('=')?;
        if members.len() == MEMBERS_MAX || !is_key(key) || !is_value(value) || !keys.insert(key) {
            return None;
        }
        members.push(member);
    }
    let length = |members: &[&str]| members.iter().map(|member| member.len() + 1).sum::<usize>();
    // A comma less than members.
    while length(&members) > BYTES_MAX + 1 {
        let long = members.iter().rposition(|member| member.len() > LONG_BYTES);
        members.remove(long.unwrap_or(members.len().saturating_sub(1)));
    }
    (!members.is_empty()).then(|| members.join(",").into())
}

/// A simple key, or `tenant@system`.
fn is_key(key: &str) -> bool {
    let lower = |b: &u8| b.is_ascii_lowercase();
    let rest = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/".contains(&b);
    let named = |name: &str, begins: &dyn Fn(&u8) -> bool, most: usize| {
        name.len() <= most && name.as_bytes().first().is_some_and(begins) && name.bytes().all(rest)
    };
    match key.split_once('@') {
        None => named(key, &lower, 256),
        Some((tenant, system)) => {
            let tenant = named(tenant, &|b| lower(b) || b.is_ascii_digit(), 241);
            tenant && named(system, &lower, 14)
        }
    }
}

/// Printable, without a comma or a second `=`. A space at its end was trimmed off.
fn is_value(value: &str) -> bool {
    let printable = |b: u8| matches!(b, 0x20..=0x7e) && b != b',' && b != b'=';
    (1..=256).contains(&value.len()) && value.bytes().all(printable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(headers: &[&str]) -> Option<String> {
        parse(headers.iter().copied()).map(|state| state.to_string())
    }

    #[test]
    fn one_malformed_member_spoils_them_all() {
        let many: Vec<String> = (0..33).map(|n| format!("k{n}=v")).collect();
        let (many, long_key, long_value) = (many.join(","), "k".repeat(257), "v".repeat(257));
        for header in [
            "good=1,bad",
            "good=1,=1",
            "good=1,bad=",
            "good=1,Bad=1",
            "good=1,1bad=1",
            "good=1,b ad=1",
            "good=1,bad =1",
            "good=1,bad=a=b",
            "good=1,bad=a\tb",
            "good=1,bad=\u{e9}",
            "good=1,bad=a\nb",
            "good=1,good=2",
            "good=1,a@b@c=1",
            "good=1,a@1b=1",
            "good=1,a@=1",
            "good=1,@b=1",
            "good=1,a@fifteenletters0=1",
            &many,
            &format!("{long_key}=1"),
            &format!("good={long_value}"),
        ] {
            assert_eq!(parsed(&[header]), None, "{header}");
        }
        assert_eq!(parsed(&["good=1", "good=2"]), None, "two headers are one list");
    }

    #[test]
    fn members_keep_their_order_over_headers_and_lose_their_spaces() {
        for (headers, expected) in [
            (&["rojo=00f067aa0ba902b7"][..], "rojo=00f067aa0ba902b7"),
            (&["a=1 , b=2", "\tc/_-*=x y!~"][..], "a=1,b=2,c/_-*=x y!~"),
            (&["fw529a3039@dt=FfffffffX, ,0x@system=1"][..], "fw529a3039@dt=FfffffffX,0x@system=1"),
        ] {
            assert_eq!(parsed(headers).as_deref(), Some(expected));
        }
        assert_eq!(parsed(&["", " , "]), None);
        assert_eq!(parsed(&[]), None);
    }

    #[test]
    fn of_too_many_the_long_ones_go_first_and_then_those_at_the_end() {
        let member = |key: &str, length: usize| format!("{key}={}", "v".repeat(length - key.len() - 1));
        let (long, medium) = (member("long", 200), |key: &str| member(key, 127));
        let all = [medium("a"), long, medium("b"), medium("c"), medium("d")].join(",");
        let kept = [medium("a"), medium("b"), medium("c"), medium("d")].join(",");
        assert_eq!(kept.len(), 511);
        assert_eq!(parsed(&[&all]), Some(kept.clone()));
        assert_eq!(parsed(&[&kept, "e=1"]), Some(kept));
    }

    proptest! {
        #[test]
        fn whatever_is_passed_on_is_bounded_and_parses_as_itself(header in "[a-c@=, v]{0,80}|([a-z]{1,3}=[ -~]{1,200},){0,6}") {
            if let Some(kept) = parsed(&[&header]) {
                prop_assert!(kept.len() <= BYTES_MAX);
                prop_assert_eq!(parsed(&[&kept]), Some(kept));
            }
        }
    }
}
