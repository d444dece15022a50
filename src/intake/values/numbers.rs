//! Does every number keep the contract? Ranges first, which cost least, then categories, grids and rules.

use super::element::{Class, Element};
use super::{Finding, Place};
use crate::contract::{Column, InputSpec};
use crate::reason::Reason;
use crate::tensor::Datatype;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::ControlFlow;

/// Whether they all keep it: in one pass over the elements where the contract has ranges alone.
pub(super) fn are_sound<T: Element>(spec: &InputSpec, values: &[T]) -> bool {
    if spec.columns.is_empty() {
        let bounds = T::bounds(spec.minimum, spec.maximum);
        return all(spec, values.iter().map(|value| (*value, bounds)));
    }
    let bounds: Vec<_> = spec.columns.iter().map(|c| T::bounds(Some(c.min), Some(c.max))).collect();
    let rows = values.chunks_exact(bounds.len());
    rows.clone().all(|row| all(spec, row.iter().copied().zip(bounds.iter().copied())))
        && rows.remainder().is_empty()
        && discrete(spec).all(|(i, column)| {
            rows.clone().all(|row| row.get(i).is_some_and(|value| unlisted(*value, column).is_none()))
        })
        && rows.clone().all(|row| broken(spec, row).next().is_none())
}

/// Counts instead of asking: without a branch the loop becomes vector instructions.
fn all<T: Element>(spec: &InputSpec, values: impl Iterator<Item = (T, (T::Bound, T::Bound))>) -> bool {
    let InputSpec { accepts_nan, accepts_infinity, accepts_subnormal, .. } = *spec;
    if accepts_nan || accepts_infinity || accepts_subnormal {
        return values.fold(true, |sound, (value, bounds)| {
            let accepted = match value.class() {
                Class::NaN => accepts_nan,
                Class::Infinite => accepts_infinity,
                Class::Subnormal => accepts_subnormal && value.is_within(bounds),
                Class::Normal => value.is_within(bounds),
            };
            sound & accepted
        });
    }
    values.fold(true, |sound, (value, bounds)| sound & value.is_within(bounds) & !value.is_subnormal())
}

fn discrete(spec: &InputSpec) -> impl Iterator<Item = (usize, &Column)> {
    spec.columns.iter().enumerate().filter(|(_, column)| column.is_discrete())
}

/// What speaks against a value that is in its range; of a NaN or an infinity that is accepted nothing is asked.
fn unlisted<T: Element>(value: T, column: &Column) -> Option<Cow<'static, str>> {
    if matches!(value.class(), Class::NaN | Class::Infinite) {
        return None;
    }
    if let Some(grid) = column.grid.filter(|grid| !value.is_multiple(*grid)) {
        return Some(format!("no whole multiple of {grid} {}", column.unit).trim_end().to_owned().into());
    }
    let known = |number: &_| value.compare(*number).unwrap_or(Ordering::Less).reverse();
    let listed = column.values.is_empty() || column.values.binary_search_by(known).is_ok();
    (!listed).then_some("none of the values that the contract lists".into())
}

/// The rules that a row breaks, by their place.
fn broken<'a, T: Element>(spec: &'a InputSpec, row: &'a [T]) -> impl Iterator<Item = usize> + 'a {
    let holds = |rule: &crate::contract::rules::Rule| match (row.get(rule.left), row.get(rule.right)) {
        (Some(left), Some(right)) => rule.relation.holds(left.partial_cmp(right)),
        _ => false,
    };
    let all = spec.relations.iter().enumerate();
    all.filter_map(move |(i, rule)| (!holds(rule)).then_some(i))
}

/// Tells everything that speaks against them: elements in order, then the rules, until `tell` has enough.
pub(super) fn find<T: Element>(
    spec: &InputSpec,
    values: &[T],
    tell: &mut dyn FnMut(Finding) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let row_len = spec.row_len().max(1);
    for (row, elements) in values.chunks(row_len).enumerate() {
        for (column, value) in elements.iter().enumerate() {
            if let Some((reason, problem)) = objection(spec, *value, spec.columns.get(column)) {
                tell(Finding { place: Place::Element { row, column }, reason, problem })?;
            }
        }
    }
    for (row, elements) in values.chunks(row_len).enumerate() {
        for rule in broken(spec, elements) {
            let Some(rule) = spec.relations.get(rule) else { continue };
            let place = Place::Columns { row, left: rule.left, right: rule.right };
            let problem = format!("the contract asks for `{}`", rule.text).into();
            tell(Finding { place, reason: Reason::RuleBroken, problem })?;
        }
    }
    ControlFlow::Continue(())
}

fn objection<T: Element>(
    spec: &InputSpec,
    value: T,
    column: Option<&Column>,
) -> Option<(Reason, Cow<'static, str>)> {
    let refused = match value.class() {
        Class::NaN if spec.accepts_nan => return None,
        Class::Infinite if spec.accepts_infinity => return None,
        Class::NaN => Some((Reason::NonFinite, "NaN is not accepted")),
        Class::Infinite => Some((Reason::NonFinite, "infinity is not accepted")),
        Class::Subnormal if !spec.accepts_subnormal => {
            Some((Reason::OutOfRange, "a subnormal number is not accepted"))
        }
        Class::Subnormal | Class::Normal => None,
    };
    if let Some((reason, problem)) = refused {
        return Some((reason, problem.into()));
    }
    let (min, max) = match column {
        Some(column) => (Some(column.min), Some(column.max)),
        None => (spec.minimum, spec.maximum),
    };
    if !value.is_within(T::bounds(min, max)) {
        // `1` is how UCUM writes that there is none.
        let unit = column.map_or("", |column| &column.unit);
        let unit = if unit == "1" { "" } else { unit };
        let shown = |bound| shown(spec.datatype, bound);
        let problem = match (min, max) {
            (Some(min), Some(max)) => format!("outside the range {} to {} {unit}", shown(min), shown(max)),
            (Some(min), None) => format!("less than {} {unit}", shown(min)),
            (None, Some(max)) => format!("more than {} {unit}", shown(max)),
            (None, None) => "outside the range of its datatype".to_owned(),
        };
        return Some((Reason::OutOfRange, problem.trim_end().to_owned().into()));
    }
    Some((Reason::OutOfRange, unlisted(value, column?)?))
}

/// A bound as its owner wrote it: that of an FP32 number was rounded to one.
fn shown(datatype: Datatype, bound: f64) -> String {
    #[expect(clippy::cast_possible_truncation, reason = "it is one already")]
    if datatype.is_real() && datatype != Datatype::Fp64 {
        return (bound as f32).to_string();
    }
    bound.to_string()
}
