use super::*;
use crate::detection::Places;
use crate::detection::tests::{answers, classes};

/// Clean rows of two classes: the second feature is a tenth of the first.
fn samples(n: u8) -> Vec<Sample> {
    let contract = classes();
    let sample = |i: u8| {
        let x = f32::from(i % 40) / 40.0;
        let logit = if i.is_multiple_of(2) { 4.0 } else { -4.0 };
        let (logits, shares) = ([logit, 0.0, -9.0], [0.7, 0.2, 0.1]);
        let embedding = [logit + x, f32::from(i % 7)];
        let input = [1.0 + 8.0 * x, 0.1 + 0.8 * x];
        let answers = answers(&contract, &input, &[&[&logits], &[&shares], &[&embedding], &[&logits]]);
        let label = usize::from(i % 2 == 1) + usize::from(i.is_multiple_of(10));
        Sample::of(&Row::new(&answers, Places::of(&contract), 0), &contract, Some(label))
    };
    (0..n).map(sample).collect()
}

#[test]
fn no_rows_and_few_rows_teach_nothing() {
    assert_eq!(Fit::learn(&[], &classes()), Fit::default());
    let few = Fit::learn(&samples(5), &classes());
    assert!(few.embedding.is_none() && few.neighbours.is_none() && few.table.is_none());
    few.check(&classes()).unwrap();
}

#[test]
fn detectors_that_few_rows_teach_nothing_are_named_with_the_rows_they_need() {
    let untaught = |rows: u8| Fit::learn(&samples(rows), &classes()).untaught(&classes());
    let (mahalanobis, table, nearest) = (Detector::Mahalanobis, Detector::Table, Detector::Nearest);
    assert_eq!(untaught(9), [(mahalanobis, 20), (table, 20), (nearest, 10)]);
    assert_eq!(untaught(10), [(mahalanobis, 20), (table, 20)]);
    assert_eq!(untaught(19), [(mahalanobis, 20), (table, 20)]);
    assert_eq!(untaught(20), []);
}

#[test]
fn what_a_model_has_is_learnt() {
    let fit = Fit::learn(&samples(120), &classes());
    fit.check(&classes()).unwrap();
    assert!(fit.residual.is_none() && fit.values.is_none(), "no image, no regression");
    assert!(fit.neighbours.is_some());
    // Some answers are wrong, of a model that is nearly sure.
    assert!(fit.temperature > 1.0, "{}", fit.temperature);
    let embedding = fit.embedding.unwrap();
    assert!(embedding.distance(&[4.5, 3.0]).unwrap() < embedding.distance(&[0.0, 3.0]).unwrap());
    let table = fit.table.unwrap();
    // The features still follow each other, or no longer do.
    let at =
        |row: [f32; 2]| table.distance(&Scale::of(&classes()).unwrap().logarithms(&row).unwrap()).unwrap();
    assert!(at([5.0, 0.5]) < 3.0 && at([5.0, 0.9]) > 9.0, "{} {}", at([5.0, 0.5]), at([5.0, 0.9]));
}

#[test]
fn a_row_that_is_no_number_is_left_out() {
    let contract = classes();
    let nan: &[&[f32]] = &[&[f32::NAN; 3]];
    let answers = answers(&contract, &[2.0, 0.5], &[nan, nan, &[&[f32::NAN; 2]], nan]);
    let bad = Sample::of(&Row::new(&answers, Places::of(&contract), 0), &contract, Some(0));
    let mut rows = samples(120);
    let good = Fit::learn(&rows, &contract);
    rows.push(bad);
    let found = Fit::learn(&rows, &contract);
    assert_eq!((found.temperature, &found.embedding), (good.temperature, &good.embedding));
    assert_eq!(found.neighbours, good.neighbours);
}

#[test]
fn a_fit_of_another_model_or_not_finite_is_refused_by_part() {
    let good = Fit::learn(&samples(120), &classes());
    let mut narrow = classes();
    narrow.outputs[2].shape = vec![-1, 3];
    assert_eq!(good.check(&narrow), Err(FitError("embedding")));
    let no_embedding = Fit { embedding: None, ..good.clone() };
    assert_eq!(no_embedding.check(&narrow), Err(FitError("neighbours")));
    let mut wide = classes();
    wide.inputs[0].columns.pop();
    assert_eq!(good.check(&wide), Err(FitError("table")));
    // One region of seventeen is enough.
    let normal = |mean, deviation| {
        let mut regions = [Normal { mean: 0.0, deviation: 1.0 }; 17];
        regions[16] = Normal { mean, deviation };
        Some(regions)
    };
    for (part, fit) in [
        ("temperature", Fit { temperature: 0.0, ..good.clone() }),
        ("temperature", Fit { temperature: f64::NAN, ..good.clone() }),
        ("temperature", Fit { temperature: 100.0, ..good.clone() }),
        ("residual", Fit { residual: normal(0.0, -1.0), ..good.clone() }),
        ("residual", Fit { residual: normal(f64::INFINITY, 1.0), ..good.clone() }),
        ("values", Fit { values: Some(vec![1.0]), ..good.clone() }),
    ] {
        assert_eq!(fit.check(&classes()), Err(FitError(part)));
    }
}

#[test]
fn a_fit_survives_its_file_bit_by_bit() {
    let fit = Fit::learn(&samples(120), &classes());
    let json = serde_json::to_vec(&fit).unwrap();
    assert_eq!(serde_json::from_slice::<Fit>(&json).unwrap(), fit);
    assert!(serde_json::from_slice::<Fit>(b"{\"temperature\":1.0,\"other\":1}").is_err());
}

#[test]
fn debug_shows_no_row() {
    let fit = Fit::learn(&samples(120), &classes());
    let text = format!("{fit:?}");
    assert!(text.contains("Gaussians(2 x 2)") && text.contains("Neighbours(120 x 2)"), "{text}");
}

#[test]
fn deviations_are_of_columns_and_never_0() {
    assert_eq!(deviations(&[]), None);
    assert_eq!(deviations(&[&[1.0]]), None);
    assert_eq!(deviations(&[&[1.0, 2.0], &[1.0]]), None);
    assert_eq!(deviations(&[&[1.0, 5.0], &[3.0, 5.0]]), Some(vec![2.0_f64.sqrt(), 1.0]));
}

#[test]
fn each_region_has_its_own_mean() {
    let [first, second] = normals(&[[1.0, 5.0], [3.0, 9.0]]).unwrap();
    assert_eq!((first.mean, second.mean), (2.0, 7.0));
    assert!((first.deviation - 2.0_f64.sqrt()).abs() < 1e-12 && second.deviation > 2.0);
    assert_eq!(normals(&[[1.0, 5.0]]), None);
}
