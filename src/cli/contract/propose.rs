//! What do clean data say of a model's inputs? Ranges, grids, categories and rules, for the owner to judge.
//!
//! Data show what has been measured, a contract says what can be: every proposal states how it was made, and
//! how much of the data it would refuse.

use super::Port;
use super::arrays::reals;
use super::draft::{COLUMNS_LISTED_MAX, push, quoted};
use crate::tensor::{Data, Datatype, Tensor};
use std::collections::BTreeMap;

/// How ranges are made of data.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ranges {
    /// Shares of the values that may lie below and above what is taken for the range of the data.
    pub quantiles: (f64, f64),
    /// What is added at both ends, in units of that range.
    pub margin: f64,
}

/// The most values that are taken for a category.
const CATEGORY_MAX: usize = 12;
/// Values of a category occur this often on average, or they are no category but few data.
const TIMES_MIN: usize = 10;
/// With fewer rows a rule that holds may be chance.
const RULE_ROWS_MIN: usize = 20;

/// Words of column names of which one is never more than the other, for the same measure of the same patient.
const ORDERED: &[(&str, &str)] = &[
    ("mean", "worst"),
    ("mean", "max"),
    ("mean", "maximum"),
    ("min", "mean"),
    ("minimum", "mean"),
    ("min", "max"),
    ("minimum", "maximum"),
    ("median", "max"),
    ("min", "median"),
    ("low", "high"),
    ("lower", "upper"),
    ("lowest", "highest"),
    ("diastolic", "systolic"),
    ("first", "last"),
    ("start", "end"),
    ("earliest", "latest"),
    ("admission", "discharge"),
];

/// The keys of one input, as lines of a contract.
pub(super) fn propose(
    port: &Port,
    data: &Tensor,
    names: &[String],
    ranges: Ranges,
) -> Result<String, String> {
    if let Data::Bytes(texts) = data.data() {
        return Ok(of_text(texts));
    }
    let datatype = data.data().datatype();
    let (rows, row_len) = (data.rows(), data.row_len());
    let Some(values) = reals(data.data()).filter(|_| rows > 0 && row_len > 0) else {
        return Ok(String::new());
    };
    let mut text = special(datatype, &values);
    let table = matches!(port.shape.as_slice(), [_, features] if *features <= COLUMNS_LISTED_MAX);
    if !table {
        text.push_str(&of_image(&values, rows, datatype, ranges));
        return Ok(text);
    }
    if !names.is_empty() && names.len() != row_len {
        return Err(format!("{} names for {row_len} columns", names.len()));
    }
    let columns: Vec<Measured> = (0..row_len)
        .map(|column| {
            let name = names.get(column).cloned().unwrap_or_else(|| format!("feature {}", column + 1));
            Measured::new(name, values.iter().skip(column).step_by(row_len).copied().collect())
        })
        .collect();
    push(
        &mut text,
        format_args!(
            "# From {rows} rows: {}\n# TODO: units, and what is clinically possible; jitter: one standard deviation of \
         the measurement\n# error; step: the precision it is read to; both in the unit.\ncolumns = [\n",
            ranges.stated()
        ),
    );
    for column in &columns {
        text.push_str(&column.line(datatype, ranges));
    }
    text.push_str("]\n");
    text.push_str(&rules(&columns, rows));
    Ok(text)
}

impl Ranges {
    fn stated(self) -> String {
        let (low, high) = self.quantiles;
        format!(
            "from the quantile {low} to {high} of the data, and {} of that range more at both ends,\n\
             # rounded outwards; not below 0 where no value is.",
            self.margin
        )
    }

    /// Least and largest value to accept.
    fn of(self, sorted: &[f64]) -> Option<(f64, f64)> {
        let (first, last) = (*sorted.first()?, *sorted.last()?);
        let (low, high) = (quantile(sorted, self.quantiles.0)?, quantile(sorted, self.quantiles.1)?);
        // What never varies says nothing of how far it could: as much again as it is.
        let span = if high > low { high - low } else { last.abs().max(first.abs()).max(1.0) };
        let (from, to) = (low - self.margin * span, high + self.margin * span);
        let from = if first >= 0.0 { from.max(0.0) } else { from };
        let (from, to) = (outwards(from, span, f64::floor), outwards(to, span, f64::ceil));
        Some((from, if to > from { to } else { from + span }))
    }
}

/// One column of the data.
struct Measured {
    name: String,
    values: Vec<f64>,
    /// The finite ones.
    sorted: Vec<f64>,
}

impl Measured {
    fn new(name: String, values: Vec<f64>) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|value| value.is_finite()).collect();
        sorted.sort_by(f64::total_cmp);
        Self { name, values, sorted }
    }

    /// Its distinct values, if they are so few that it is a category.
    fn category(&self) -> Option<Vec<f64>> {
        let mut distinct = self.sorted.clone();
        distinct.dedup();
        let few = (2..=CATEGORY_MAX).contains(&distinct.len());
        (few && self.sorted.len() >= distinct.len().saturating_mul(TIMES_MIN)).then_some(distinct)
    }

    fn line(&self, datatype: Datatype, ranges: Ranges) -> String {
        let name = quoted(&self.name);
        let category = self.category().filter(|values| values.iter().all(|v| datatype.nearest(*v) == *v));
        let whole = self.sorted.iter().all(|value| value.fract() == 0.0) && !self.sorted.is_empty();
        let (mut min, mut max) = ranges.of(&self.sorted).unwrap_or((0.0, 1.0));
        let mut more = String::new();
        if let Some((values, first, last)) = category.and_then(|c| Some((c.clone(), *c.first()?, *c.last()?)))
        {
            (min, max) = (first, last);
            let listed: Vec<_> = values.iter().map(|value| number(*value, datatype)).collect();
            more = format!(", values = [{}]", listed.join(", "));
        } else if whole {
            (min, max) = (min.floor(), max.ceil());
            more.push_str(", grid = 1.0");
        }
        // The data may be of a wider type than the tensor, whose bounds end before infinity.
        if let Some((least, most)) = datatype.limits() {
            (min, max) = (min.max(least), max.min(most));
        }
        let outside = self.sorted.iter().filter(|value| !(min..=max).contains(value)).count();
        let note = match (outside, self.sorted.is_empty()) {
            (_, true) => " # TODO: no finite value in the data".to_owned(),
            (0, _) => String::new(),
            (outside, _) => format!(" # refuses {outside} of {}", self.sorted.len()),
        };
        format!(
            "  {{ name = {name}, unit = \"\", min = {min:?}, max = {max:?}, jitter = 0.0, step = 0.0{more} }},{note}\n"
        )
    }
}

fn of_image(values: &[f64], rows: usize, datatype: Datatype, ranges: Ranges) -> String {
    let all = Measured::new(String::new(), values.to_vec());
    let within =
        |max: f64| all.sorted.iter().all(|value| (0.0..=max).contains(value)) && !all.sorted.is_empty();
    let whole = all.sorted.iter().all(|value| value.fract() == 0.0);
    let (min, max, how) = if within(1.0) {
        (0.0, 1.0, "all values lie in 0 to 1, which is taken for what levels can be".to_owned())
    } else if within(255.0) && whole {
        (
            0.0,
            255.0,
            "all values are whole and lie in 0 to 255, which is taken for what levels can be".to_owned(),
        )
    } else {
        let (min, max) = ranges.of(&all.sorted).unwrap_or((0.0, 1.0));
        (min, max, ranges.stated())
    };
    let (least, most) = datatype.limits().unwrap_or((min, max));
    let (min, max) = (min.max(least), max.min(most));
    let outside = all.sorted.iter().filter(|value| !(min..=max).contains(value)).count();
    format!(
        "# From {} values of {rows} rows: {how}\n# It refuses {outside} of them.\nminimum = {min:?}\nmaximum = {max:?}\n",
        all.sorted.len()
    )
}

/// What the data hold besides numbers with all their digits.
fn special(datatype: Datatype, values: &[f64]) -> String {
    if !datatype.is_real() {
        return String::new();
    }
    let mut text = String::new();
    let count = |wanted: fn(&f64) -> bool| values.iter().filter(|value| wanted(value)).count();
    for (key, count) in
        [("nan", count(|value| value.is_nan())), ("infinity", count(|value| value.is_infinite()))]
    {
        if count > 0 {
            push(
                &mut text,
                format_args!(
                    "# TODO: {count} values are {key}; they are refused unless the model knows what to do with them:\n\
                 # accepts_{key} = true\n"
                ),
            );
        }
    }
    text
}

fn of_text(texts: &[String]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let longest = texts.iter().map(String::len).max().unwrap_or(1).max(1);
    let few = counts.len() <= CATEGORY_MAX && texts.len() >= counts.len().saturating_mul(TIMES_MIN);
    let mut text = format!(
        "# From {} elements: the longest has {longest} bytes.\nlength_max = {longest}\n",
        texts.len()
    );
    if few && !counts.is_empty() {
        let listed: Vec<_> = counts.keys().map(|value| quoted(value)).collect();
        push(&mut text, format_args!("values = [{}]\n", listed.join(", ")));
    }
    text
}

/// Pairs whose names say that one is at most the other, where the data agree; commented out, because only
/// their owner knows whether they hold for every patient.
fn rules(columns: &[Measured], rows: usize) -> String {
    let mut lines = Vec::new();
    for (i, low) in columns.iter().enumerate() {
        for (j, high) in columns.iter().enumerate() {
            if i == j || rows < RULE_ROWS_MIN || !is_ordered(&low.name, &high.name) {
                continue;
            }
            let pairs =
                || low.values.iter().zip(&high.values).filter(|(low, high)| low < high || low >= high);
            let known = pairs().count();
            if known >= RULE_ROWS_MIN
                && pairs().all(|(low, high)| low <= high)
                && pairs().any(|(low, high)| low < high)
            {
                let rule = quoted(&format!("{} >= {}", high.name, low.name));
                lines.push(format!("#   {rule}, # holds in {known} of {known} rows\n"));
            }
        }
    }
    if lines.is_empty() {
        return String::new();
    }
    format!(
        "# TODO: rules that hold in these data; keep those that hold for every patient.\n# rules = [\n{}# ]\n",
        lines.concat()
    )
}

/// Whether two names differ in one word, which in the second is the larger of an ordered pair.
fn is_ordered(low: &str, high: &str) -> bool {
    let words = |name: &str| -> Vec<String> {
        name.split(|c: char| !c.is_alphanumeric()).map(str::to_ascii_lowercase).collect()
    };
    let (low, high) = (words(low), words(high));
    let mut differing = low.iter().zip(&high).filter(|(low, high)| low != high);
    let (Some((low_word, high_word)), None) = (differing.next(), differing.next()) else { return false };
    low.len() == high.len() && ORDERED.iter().any(|(a, b)| a == low_word && b == high_word)
}

/// The value at that share of the sorted ones: the nearest, none between.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of the length of a list"
)]
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((share * last as f64).round() as usize).copied()
}

/// Rounded in one direction to a tenth of the leading digit of `span`, in decimals that can be read.
#[expect(clippy::cast_possible_truncation, reason = "the exponent of a finite f64")]
fn outwards(value: f64, span: f64, towards: fn(f64) -> f64) -> f64 {
    let exponent = span.log10().floor() as i32 - 1;
    let unit = 10_f64.powi(exponent);
    let rounded = towards(value / unit) * unit;
    let decimals = usize::try_from(exponent.saturating_neg().max(0)).unwrap_or(0);
    format!("{rounded:.decimals$}").parse().unwrap_or(rounded)
}

fn number(value: f64, datatype: Datatype) -> String {
    if datatype.is_real() { format!("{value:?}") } else { format!("{value}") }
}

#[cfg(test)]
mod tests;
