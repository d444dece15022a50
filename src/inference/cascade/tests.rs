use super::*;
use crate::contract::Contract;
use crate::tensor::{Data, Tensor};
use std::sync::Mutex;

/// Answers each row by itself, and remembers how many it was asked.
#[derive(Default)]
struct Mirror(Mutex<Vec<usize>>);

impl Backend for Mirror {
    fn infer(&self, batch: &Batch, _: &Interrupt) -> Result<Outputs, InferenceError> {
        self.0.lock().unwrap().push(batch.rows_run());
        let [tensor] = batch.tensors() else { return Err(InferenceError::Failed("one input".into())) };
        Outputs::new(batch, vec![tensor.clone()])
    }
}

/// Adds its number and a chance drawn from the seed.
struct Add(f32);

impl Perturbation for Add {
    fn input(&self) -> usize {
        0
    }

    fn is_random(&self) -> bool {
        true
    }

    fn perturb(&self, row: &[f32], seed: u64, out: &mut [f32]) {
        for (out, value) in out.iter_mut().zip(row) {
            *out = value + self.0 + f32::from(u8::try_from(seed % 97).unwrap()) / 128.0;
        }
    }
}

const CONTRACT: &str = r#"
name = "m"
version = "1"
batch_max = 100
inputs = [{ name = "x", datatype = "FP32", shape = [-1, 2] }]
outputs = [{ name = "y", datatype = "FP32", shape = [-1, 2], publish = true }]
"#;

fn input(rows: u16) -> Input {
    let values = (0..rows).flat_map(|row| [f32::from(row), -f32::from(row)]).collect();
    let tensor = Tensor::new(vec![usize::from(rows), 2], Data::Fp32(values)).unwrap();
    Input::from_tensors(&Contract::parse(CONTRACT).unwrap(), vec![tensor]).unwrap()
}

fn cascade(first: &[usize], second: &[usize]) -> Cascade<Mirror> {
    Cascade {
        backend: Box::default(),
        alone: Some(Box::default()),
        perturbed: Some(0),
        perturbations: vec![Box::new(Add(10.0)), Box::new(Add(20.0)), Box::new(Add(30.0))],
        plan: Plan { first: first.to_vec(), second: second.to_vec() },
    }
}

fn secret() -> Secret {
    Secret::new(&[7; 32])
}

#[test]
fn a_copy_that_was_not_run_is_not_there() {
    let cascade = cascade(&[1], &[2]);
    let mut answers = cascade.begin(input(3), &secret(), &Interrupt::default()).unwrap();
    assert!(answers.copy(0, 0, 1).is_some());
    assert!(answers.copy(0, 0, 0).is_none() && answers.copy(0, 0, 2).is_none());
    cascade.go_on(&mut answers, vec![0, 2], &secret(), &Interrupt::default()).unwrap();
    assert!(answers.copy(0, 0, 2).is_some() && answers.copy(0, 2, 2).is_some());
    assert!(answers.copy(0, 1, 2).is_none(), "nobody asked for that row");
    assert!(answers.copy(0, 3, 2).is_none() && answers.clean(0, 3).is_none() && answers.input(3).is_none());
    assert!(answers.copy(1, 0, 1).is_none() && answers.clean(1, 0).is_none());
}

#[test]
fn a_copy_is_the_same_in_whichever_run_and_beside_whichever_rows_it_stands() {
    let rows = |first: &[usize], second: &[usize], asked: Vec<usize>| {
        let cascade = cascade(first, second);
        let mut answers = cascade.begin(input(4), &secret(), &Interrupt::default()).unwrap();
        cascade.go_on(&mut answers, asked, &secret(), &Interrupt::default()).unwrap();
        [0, 1, 2].map(|copy| answers.copy(0, 2, copy).unwrap().to_vec())
    };
    let at_once = rows(&[0, 1, 2], &[], vec![]);
    assert_eq!(rows(&[], &[0, 1, 2], vec![2]), at_once);
    assert_eq!(rows(&[1], &[2, 0], vec![0, 1, 2, 3]), at_once);
    assert_ne!(at_once[0][0] - 10.0, at_once[1][0] - 20.0, "each copy has a chance of its own");
}

#[test]
fn only_rows_in_doubt_are_run_again_and_by_the_model_alone() {
    let cascade = cascade(&[0], &[1, 2]);
    let mut answers = cascade.begin(input(5), &secret(), &Interrupt::default()).unwrap();
    assert_eq!(answers.rows_run(), 10);
    cascade.go_on(&mut answers, vec![1, 4], &secret(), &Interrupt::default()).unwrap();
    assert_eq!((answers.rows(), answers.rows_run()), (5, 14));
    assert_eq!(*cascade.backend.0.lock().unwrap(), [10]);
    assert_eq!(*cascade.alone.as_ref().unwrap().0.lock().unwrap(), [4]);
    assert_eq!(answers.times().len(), 4, "copies and run, twice");
    assert_eq!(answers.clean(0, 4).unwrap(), answers.input(4).unwrap());
    let none = cascade.go_on(&mut answers, vec![], &secret(), &Interrupt::default());
    assert_eq!((none, answers.rows_run()), (Ok(()), 14));
}
