use super::fit::gaussians::{Gaussians, Ridge};
use super::fit::neighbours::Neighbours;
use super::fit::{Fit, Normal};
use super::*;
use crate::contract::OutputSpec;
use crate::inference::cascade::{Cascade, Plan};
use crate::inference::interrupt::Interrupt;
use crate::inference::perturbation::{self, Secret};
use crate::inference::{Backend, Batch, InferenceError, Outputs};
use crate::intake::Input;
use crate::tensor::{Data, Tensor};
use proptest::prelude::{Just, Strategy, prop_oneof};
use std::collections::BTreeMap;

/// A table of two features, two copies, and every output of a classifier; its twin has logits.
const CLASSES: &str = r#"
name = "m"
version = "1"
batch_max = 100
perturbations = [{ kind = "round" }, { kind = "jitter", scale = 1.0 }]
[[inputs]]
name = "x"
datatype = "FP32"
shape = [-1, 2]
columns = [{ name = "a", min = 1.0, max = 9.0, jitter = 0.1 }, { name = "b", min = 0.0, max = 1.0, step = 0.1 }]
[[outputs]]
name = "l"
datatype = "FP32"
shape = [-1, 3]
meaning = "logits"
[[outputs]]
name = "p"
datatype = "FP32"
shape = [-1, 3]
meaning = "probabilities"
publish = true
[[outputs]]
name = "e"
datatype = "FP32"
shape = [-1, 2]
meaning = "embedding"
"#;

/// A classifier's contract with a twin, as loading makes it.
pub(super) fn classes() -> Contract {
    with_twin(Contract::parse(CLASSES).unwrap(), Meaning::Logits, Meaning::TwinLogits)
}

/// A contract of one output, `len` of `meaning`, and its twin.
fn head(meaning: &str, len: usize, own: Meaning, twin: Meaning) -> Contract {
    let start = CLASSES.split("[[outputs]]").next().unwrap();
    let output = format!(
        "[[outputs]]\nname = 'y'\ndatatype = 'FP32'\nshape = [-1, {len}]\nmeaning = '{meaning}'\npublish = true"
    );
    with_twin(Contract::parse(&format!("{start}{output}")).unwrap(), own, twin)
}

fn with_twin(mut contract: Contract, own: Meaning, twin: Meaning) -> Contract {
    let output = contract.outputs[contract.output_of(own).unwrap()].clone();
    contract.outputs.push(OutputSpec { name: "twin".into(), meaning: Some(twin), publish: false, ..output });
    contract
}

/// What a model says, whatever it is asked.
struct Says(Vec<Tensor>);

impl Backend for Says {
    fn infer(&self, batch: &Batch, _: &Interrupt) -> Result<Outputs, InferenceError> {
        Outputs::new(batch, self.0.clone())
    }
}

/// One row with all its copies in the first run; each output has a row of its own first, then one for each copy.
pub(super) fn answers(contract: &Contract, input: &[f32], outputs: &[&[&[f32]]]) -> Answers {
    let rows = contract.perturbations.len() + 1;
    let says = outputs.iter().map(|output| {
        // Who does not care for the copies gives the row alone.
        let values: Vec<f32> = output.iter().cycle().take(rows).flat_map(|row| row.iter().copied()).collect();
        Tensor::new(vec![rows, values.len() / rows], Data::Fp32(values)).unwrap()
    });
    let shape = contract.inputs[0].shape.iter().map(|dim| usize::try_from(*dim).unwrap_or(1));
    let tensor = Tensor::new(shape.collect(), Data::Fp32(input.to_vec())).unwrap();
    let cascade = Cascade {
        backend: Box::new(Says(says.collect())),
        alone: None,
        perturbed: Some(0),
        perturbations: perturbation::of(contract),
        plan: Plan { first: (0..rows - 1).collect(), second: Vec::new() },
    };
    let input = Input::from_tensors(contract, vec![tensor]).unwrap();
    cascade.begin(input, &Secret::new(&[1; 32]), &Interrupt::default()).unwrap()
}

/// A fit with everything that a classifier of a table can have.
fn fit() -> Fit {
    let rows = |scale: f64| {
        let row = move |i: u8| (usize::from(i % 2), vec![scale * f64::from(i), f64::from(i % 7)]);
        (0..40_u8).map(row)
    };
    let embeddings: Vec<[f32; 2]> = (0..40_u8).map(|i| [f32::from(i), f32::from(i % 7)]).collect();
    let embeddings: Vec<&[f32]> = embeddings.iter().map(<[f32; 2]>::as_slice).collect();
    Fit {
        temperature: 2.0,
        residual: Some([Normal { mean: 0.0, deviation: 1.0 }; 17]),
        values: Some(vec![2.0, 4.0]),
        embedding: Gaussians::learn(rows(1.0).collect(), &Ridge::Shrink),
        neighbours: Neighbours::learn(&embeddings),
        table: Gaussians::learn(rows(0.1).collect(), &Ridge::Errors(vec![0.0; 2])),
    }
}

/// Every score by name; `None` where nothing was measured.
fn scores(contract: &Contract, answers: &Answers) -> BTreeMap<String, Option<f64>> {
    let row = Row::new(answers, Places::of(contract), 0);
    let detectors = of(contract, Settings::all(), Some(&fit()));
    let scored = detectors
        .iter()
        .map(|detector| (String::from(detector.name()), detector.examine(&row).ok().map(Score::value)));
    scored.collect()
}

#[test]
fn a_name_has_one_spelling() {
    for name in ["", "loss", "loss.", "loss.01", "loss.+1", "loss.1.1", "flips.0", "Confidence", "twin.0"] {
        assert!(Detector::try_from(name.to_owned()).is_err(), "{name}");
    }
    let of_a_copy = Detector::OF_A_COPY.map(|of| of(12));
    for detector in Detector::PLAIN.into_iter().chain(of_a_copy) {
        assert_eq!(Detector::try_from(String::from(detector)), Ok(detector));
    }
    assert_eq!(String::from(Detector::Loss(12)), "loss.12");
}

#[test]
fn an_answer_that_is_no_number_is_measured_by_none() {
    let contract = classes();
    let nan: &[&[f32]] = &[&[f32::NAN; 3]];
    let answers = answers(&contract, &[2.0, 0.5], &[nan, nan, &[&[f32::NAN; 2]], nan]);
    let mut scores = scores(&contract, &answers);
    assert!(scores.remove("table").flatten().is_some(), "the input is sound");
    assert_eq!(scores.len(), 15);
    assert!(scores.values().all(Option::is_none), "{scores:?}");
}

#[test]
fn a_copy_or_twin_that_is_no_number_is_measured_by_none() {
    let contract = classes();
    let (own, nan): (&[f32], &[f32]) = (&[1.0, 0.0, 0.0], &[f32::NAN; 3]);
    let copies: &[&[f32]] = &[own, nan, nan];
    let answers = answers(&contract, &[2.0, 0.5], &[copies, copies, &[&[1.0, 1.0]], &[nan]]);
    for (name, score) in scores(&contract, &answers) {
        let compares = name.contains('.') || name.starts_with("twin") || name == "flips";
        assert_eq!(score.is_none(), compares, "{name}");
    }
}

#[test]
fn without_a_fit_what_must_be_learnt_is_not_offered() {
    let names = |contract: &Contract, fit: Option<&Fit>| -> Vec<String> {
        let detectors = of(contract, Settings::all(), fit);
        detectors.iter().map(|detector| String::from(detector.name())).collect()
    };
    let classes = classes();
    assert_eq!(names(&classes, None).len(), 13);
    assert_eq!(
        names(&classes, Some(&fit())).join(" "),
        "confidence entropy max_softmax energy mahalanobis table twin twin_margin consistency.0 consistency.1 \
         divergence.0 divergence.1 loss.0 loss.1 flips nearest"
    );
    let values = head("values", 2, Meaning::Values, Meaning::TwinValues);
    assert_eq!(names(&values, None), Vec::<String>::new());
    assert_eq!(names(&values, Some(&fit())).join(" "), "table twin consistency.0 consistency.1");
    let labels = head("labels", 2, Meaning::Labels, Meaning::TwinLabels);
    assert_eq!(
        names(&labels, None).join(" "),
        "confidence twin consistency.0 consistency.1 divergence.0 divergence.1 flips"
    );
    // One class leaves nothing to compare.
    let one = head("probabilities", 1, Meaning::Probabilities, Meaning::TwinProbabilities);
    assert_eq!(names(&one, None), Vec::<String>::new());
}

#[test]
fn an_image_is_looked_at_and_a_table_is_not() {
    let image =
        CLASSES.replace("shape = [-1, 2]\ncolumns", "shape = [-1, 1, 4, 5]\nminimum = 0.0\nmaximum = 1.0\n#");
    let image = image
        .replace("kind = \"round\" }, { kind = \"jitter\", scale = 1.0", "kind = \"median\", window = 2");
    let names = |text: &str| -> Vec<Detector> {
        let detectors = of(&Contract::parse(text).unwrap(), Settings::all(), Some(&fit()));
        detectors.iter().map(|detector| detector.name()).collect()
    };
    let of_images = [Detector::Residual, Detector::Grid, Detector::Flat];
    assert!(of_images.iter().all(|name| names(&image).contains(name)));
    assert!(of_images.iter().all(|name| !names(CLASSES).contains(name)));
    assert!(names(CLASSES).contains(&Detector::Table) && !names(&image).contains(&Detector::Table));
    assert!(!names(&image.replace("maximum = 1.0", "maximum = 255.0")).contains(&Detector::Grid));
    // A plane that a median does not fit in is no image.
    assert!(!names(&image.replace("4, 5]", "2, 5]")).contains(&Detector::Residual));
}

#[test]
fn what_is_switched_off_does_not_run() {
    let contract = classes();
    let mut settings = Settings::all();
    settings.loss.enabled = false;
    settings.flips.enabled = false;
    let names: Vec<_> =
        of(&contract, settings, None).iter().map(|detector| detector.name().as_str()).collect();
    assert!(!names.contains(&"loss") && !names.contains(&"flips") && names.contains(&"divergence"));
    let usual = Settings::default();
    assert!(usual.enable(Detector::Consistency(3)) && usual.enable(Detector::Loss(3)));
    assert!(!usual.enable(Detector::Energy) && !usual.enable(Detector::Divergence(3)));
}

#[test]
fn a_classifier_is_measured_as_its_papers_say() {
    let contract = classes();
    let logits: &[&[f32]] = &[&[2.0, 0.0, 1.0], &[1.0, 0.0, 3.0], &[2.0, 0.0, 1.0]];
    let shares: &[&[f32]] = &[&[0.7, 0.1, 0.2], &[0.2, 0.1, 0.7], &[0.7, 0.1, 0.2]];
    let answers = answers(&contract, &[2.0, 0.5], &[logits, shares, &[&[0.0, 1.0]], &[&[0.0, 2.0, 1.0]]]);
    let scores = scores(&contract, &answers);
    let e = |x: f64| x.exp();
    // At temperature 2 the weights are e^1, e^0 and e^0.5.
    let total = e(1.0) + e(0.0) + e(0.5);
    let wanted = [
        ("confidence", -1.0),
        ("max_softmax", (e(0.0) + e(0.5)) / total),
        ("energy", -2.0 * total.ln()),
        ("twin", 2.0 * (e(1.0) - e(0.0)) / total),
        ("twin_margin", 2.0),
        ("consistency.0", 1.0),
        ("consistency.1", 0.0),
        ("divergence.0", 0.7 * (0.7_f64 / 0.45).ln() + 0.2 * (0.2_f64 / 0.45).ln()),
        ("divergence.1", 0.0),
        ("loss.0", 2.0),
        ("loss.1", -1.0),
        ("flips", 0.5),
    ];
    for (name, wanted) in wanted {
        let found = scores[name].unwrap();
        assert!((found - wanted).abs() < 1e-6, "{name}: {found}, not {wanted}");
    }
}

#[test]
fn labels_and_values_are_compared_in_their_own_units() {
    let contract = head("labels", 2, Meaning::Labels, Meaning::TwinLabels);
    let labels: &[&[f32]] = &[&[0.9, 0.4], &[0.8, 0.6], &[0.9, 0.4]];
    let of_labels = scores(&contract, &answers(&contract, &[2.0, 0.5], &[labels, &[&[0.5, 0.4]]]));
    for (name, wanted) in
        [("confidence", -0.1), ("consistency.0", 0.15), ("consistency.1", 0.0), ("flips", 0.5), ("twin", 0.2)]
    {
        assert!((of_labels[name].unwrap() - wanted).abs() < 1e-6, "{name}");
    }
    let contract = head("values", 2, Meaning::Values, Meaning::TwinValues);
    let values: &[&[f32]] = &[&[10.0, 10.0], &[12.0, 6.0], &[10.0, 10.0]];
    let of_values = scores(&contract, &answers(&contract, &[2.0, 0.5], &[values, &[&[16.0, 10.0]]]));
    // Deviations are 2 and 4.
    for (name, wanted) in [("consistency.0", 1.0), ("consistency.1", 0.0), ("twin", 3.0 / 2.0_f64.sqrt())] {
        assert!((of_values[name].unwrap() - wanted).abs() < 1e-6, "{name}");
    }
    // A fit of another model measures nothing.
    let long = head("values", 3, Meaning::Values, Meaning::TwinValues);
    let scores = scores(&long, &answers(&long, &[2.0, 0.5], &[&[&[1.0; 3]], &[&[1.0; 3]]]));
    assert!(scores["consistency.0"].is_none() && scores["twin"].is_none());
}

#[test]
fn a_model_of_logits_alone_has_the_consistency_of_its_softmax() {
    let contract = head("logits", 2, Meaning::Logits, Meaning::TwinLogits);
    let odds = |p: f32| (p / (1.0 - p)).ln();
    let logits: &[&[f32]] = &[&[odds(0.9), 0.0], &[odds(0.6), 0.0], &[odds(0.9), 0.0]];
    let scores = scores(&contract, &answers(&contract, &[2.0, 0.5], &[logits, &[&[0.0, 0.0]]]));
    assert!((scores["consistency.0"].unwrap() - 0.6).abs() < 1e-6);
}

#[test]
fn a_model_of_probabilities_alone_has_margins_of_their_logarithms() {
    let contract = head("probabilities", 2, Meaning::Probabilities, Meaning::TwinProbabilities);
    let shares: &[&[f32]] = &[&[0.8, 0.2], &[0.0, 1.0], &[0.5, 0.5]];
    let scores = scores(&contract, &answers(&contract, &[2.0, 0.5], &[shares, &[&[0.2, 0.8]]]));
    for (name, wanted) in
        [("twin_margin", 4.0_f64.ln()), ("loss.0", 1e12_f64.ln()), ("loss.1", 0.0), ("twin", 1.2)]
    {
        assert!((scores[name].unwrap() - wanted).abs() < 1e-5, "{name}");
    }
}

fn numbers(len: usize) -> impl Strategy<Value = Vec<f32>> {
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE, -0.0, 1.0];
    let number =
        prop_oneof![4 => -30.0_f32..30.0, 1 => proptest::sample::select(odd.to_vec()), 1 => Just(0.5)];
    proptest::collection::vec(number, len)
}

proptest::proptest! {
    #[test]
    fn whatever_a_model_says_is_measured_or_not_and_never_panics(
        (l, p, e, t) in (numbers(9), numbers(9), numbers(6), numbers(9)),
    ) {
        let contract = classes();
        let rows = [l.chunks(3), p.chunks(3), e.chunks(2), t.chunks(3)].map(Iterator::collect::<Vec<_>>);
        let outputs: Vec<&[&[f32]]> = rows.iter().map(Vec::as_slice).collect();
        let answers = answers(&contract, &[2.0, 0.5], &outputs);
        let again = scores(&contract, &answers);
        proptest::prop_assert_eq!(&scores(&contract, &answers), &again);
        proptest::prop_assert!(again.values().flatten().all(|score| !score.is_nan()));
        for name in ["entropy", "max_softmax", "energy", "mahalanobis", "twin", "loss.0", "nearest", "flips"] {
            proptest::prop_assert!(again[name].is_none_or(f64::is_finite), "{}", name);
        }
    }
}
