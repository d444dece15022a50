//! Which numbers do detectors take from the vectors of an answer? Everything is in f64, in one fixed order, so
//! that the same answer gives the same score bit by bit; `None` is what cannot be measured.

/// The values as f64; `None` if there is none, or one is not finite.
#[must_use]
pub fn finite(values: &[f32]) -> Option<Vec<f64>> {
    let all = !values.is_empty() && values.iter().all(|value| value.is_finite());
    all.then(|| values.iter().copied().map(f64::from).collect())
}

/// Probabilities of two classes or more: finite and not negative.
#[must_use]
pub fn probabilities(values: &[f32]) -> Option<Vec<f64>> {
    let found = finite(values)?;
    (found.len() >= 2 && found.iter().all(|p| *p >= 0.0)).then_some(found)
}

/// exp(l / T) over its sum, for two classes or more. A logit of -infinity is a class that cannot be.
#[must_use]
pub fn softmax(logits: &[f32], temperature: f64) -> Option<Vec<f64>> {
    let (largest, mut weights) = weights(logits, temperature)?;
    let total: f64 = weights.iter().sum();
    for weight in &mut weights {
        *weight /= total;
    }
    (largest.is_finite() && total.is_finite()).then_some(weights)
}

/// T log sum exp(l / T), for two classes or more.
#[must_use]
pub fn log_sum_exp(logits: &[f32], temperature: f64) -> Option<f64> {
    let (largest, weights) = weights(logits, temperature)?;
    Some(largest + temperature * weights.iter().sum::<f64>().ln())
}

/// The largest logit, and exp((l - largest) / T) of each, the largest of which is 1.
fn weights(logits: &[f32], temperature: f64) -> Option<(f64, Vec<f64>)> {
    if logits.len() < 2 || logits.iter().any(|logit| logit.is_nan()) {
        return None;
    }
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let weight = |logit: &f32| ((f64::from(*logit) - largest) / temperature).exp();
    largest.is_finite().then(|| (largest, logits.iter().map(weight).collect()))
}

/// Index of the largest of two values or more, the first of equals.
#[must_use]
pub fn class(values: &[f32]) -> Option<usize> {
    if values.len() < 2 || values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let mut best: Option<(usize, f32)> = None;
    for (index, value) in values.iter().enumerate() {
        if best.is_none_or(|(_, most)| *value > most) {
            best = Some((index, *value));
        }
    }
    best.map(|(index, _)| index)
}

/// How far the value of `class` is above the largest other one; below 0 if another is preferred.
#[must_use]
pub fn margin(values: &[f64], class: usize) -> Option<f64> {
    let own = values.get(class)?;
    let others = values.iter().enumerate().filter(|(index, _)| *index != class);
    let (_, rival) = others.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    if values.iter().any(|value| value.is_nan()) {
        return None;
    }
    let margin = own - rival;
    margin.is_finite().then_some(margin)
}

/// The margin of `class` on logits, or else on the logarithms of probabilities, where 1e-12 stands for less.
#[must_use]
pub fn log_margin(logits: Option<&[f32]>, shares: Option<&[f32]>, class: usize) -> Option<f64> {
    const LEAST: f64 = 1e-12;
    let values: Vec<f64> = match (logits, shares) {
        (Some(logits), _) => logits.iter().copied().map(f64::from).collect(),
        (None, Some(shares)) => probabilities(shares)?.into_iter().map(|p| p.max(LEAST).ln()).collect(),
        (None, None) => return None,
    };
    margin(&values, class)
}

/// Sum of the absolute differences of two vectors of one length.
#[must_use]
pub fn l1(a: &[f64], b: &[f64]) -> Option<f64> {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum();
    (a.len() == b.len() && !a.is_empty() && !sum.is_nan()).then_some(sum)
}

/// Sum of products, in eight lanes that processors add at once and always in the same order.
#[must_use]
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    // Of different lengths: beyond the shorter there is nothing to add, and the lanes of both must end at one place.
    let shorter = a.len().min(b.len());
    let (a, b) = (a.get(..shorter).unwrap_or_default(), b.get(..shorter).unwrap_or_default());
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a_lanes.iter().zip(b_lanes) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

/// Sum of a term of each value, in the same eight lanes.
#[must_use]
pub fn sum_of(values: &[f32], term: impl Fn(f32) -> f64) -> f64 {
    let (lanes, rest) = values.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for values in lanes {
        for (sum, value) in sums.iter_mut().zip(values) {
            *sum += term(*value);
        }
    }
    let rest: f64 = rest.iter().map(|value| term(*value)).sum();
    sums.iter().sum::<f64>() + rest
}

/// A count as a number: counts here are of rows and elements, far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub(crate) fn as_f64(count: usize) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;

    #[test]
    fn nothing_one_class_or_a_nan_is_not_measured() {
        for values in [&[][..], &[1.0], &[1.0, f32::NAN], &[f32::NAN, 1.0]] {
            assert_eq!(softmax(values, 1.0), None);
            assert_eq!(log_sum_exp(values, 1.0), None);
            assert_eq!(class(values), None);
            assert_eq!(probabilities(values), None);
        }
        for values in [[1.0, f32::INFINITY], [f32::NEG_INFINITY; 2]] {
            assert_eq!(softmax(&values, 1.0), None);
            assert_eq!(finite(&values), None);
        }
        assert_eq!(probabilities(&[1.5, -0.5]), None);
        assert_eq!(margin(&[1.0], 0), None);
        assert_eq!(margin(&[1.0, 2.0], 2), None);
        assert_eq!(margin(&[f64::INFINITY; 2], 0), None);
        assert_eq!(log_margin(None, None, 0), None);
        assert_eq!(l1(&[], &[]), None);
        assert_eq!(l1(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(l1(&[f64::NAN], &[1.0]), None);
    }

    #[test]
    fn a_class_that_cannot_be_has_no_share() {
        assert_eq!(softmax(&[0.0, f32::NEG_INFINITY, 0.0], 1.0), Some(vec![0.5, 0.0, 0.5]));
    }

    #[test]
    fn the_first_of_equals_is_the_class() {
        assert_eq!(class(&[1.0, 3.0, 3.0]), Some(1));
        assert_eq!(margin(&[1.0, 3.0, 3.0], 1), Some(0.0));
        assert_eq!(margin(&[1.0, 3.0, 5.0], 0), Some(-4.0));
    }

    #[test]
    fn logits_too_large_for_exp_are_measured() {
        let sum = log_sum_exp(&[1e4, 1e4], 1.0).unwrap();
        assert!((sum - 1e4 - 2.0_f64.ln()).abs() < 1e-9);
        assert_eq!(softmax(&[-1e30, 1e30], 1.0), Some(vec![0.0, 1.0]));
    }

    proptest::proptest! {
        #[test]
        fn a_softmax_sums_to_one_and_a_higher_temperature_evens_it_out(
            logits in vec(-50.0_f32..50.0, 2..30), temperature in 0.05_f64..20.0,
        ) {
            let cold = softmax(&logits, temperature).unwrap();
            let warm = softmax(&logits, temperature * 1.5).unwrap();
            let most = |shares: &[f64]| shares.iter().copied().fold(0.0, f64::max);
            proptest::prop_assert!((cold.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            proptest::prop_assert!(most(&warm) <= most(&cold) + 1e-12);
        }

        #[test]
        fn the_margin_of_the_class_alone_is_not_negative(values in vec(-9.0_f32..9.0, 2..20)) {
            let best = class(&values).unwrap();
            let wide = finite(&values).unwrap();
            for other in 0..values.len() {
                let margin = margin(&wide, other).unwrap();
                let holds = if other == best { margin >= 0.0 } else { margin <= 0.0 };
                proptest::prop_assert!(holds);
            }
        }

        #[test]
        fn lanes_add_up_to_what_a_plain_sum_does(a in vec(-9.0_f64..9.0, 0..40), b in vec(-9.0_f64..9.0, 40)) {
            let plain: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            proptest::prop_assert!((dot(&a, &b[..a.len()]) - plain).abs() < 1e-9);
        }

        #[test]
        fn l1_is_symmetric(pairs in vec((-9.0_f64..9.0, -9.0_f64..9.0), 1..20)) {
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            proptest::prop_assert_eq!(l1(&a, &b), l1(&b, &a));
        }
    }
}
