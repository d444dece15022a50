//! What is proposed of which data, and what is not.

use super::*;
use crate::contract::{Contract, InputSpec};
use crate::intake::Input;

const RANGES: Ranges = Ranges { quantiles: (0.0, 1.0), margin: 0.25 };

/// The input of the contract that is proposed for these rows.
fn contract(datatype: Datatype, rows: Data, shape: &[usize], names: &[&str]) -> (String, Contract) {
    let port_shape: Vec<i64> =
        [-1].into_iter().chain(shape[1..].iter().map(|dim| i64::try_from(*dim).unwrap())).collect();
    let port = Port { name: "x".into(), datatype: Some(datatype), shape: port_shape };
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let data = Tensor::new(shape.to_vec(), rows).unwrap();
    let proposal = propose(&port, &data, &names, RANGES).unwrap();
    let output = Port { name: "y".into(), datatype: Some(Datatype::Fp32), shape: vec![-1, 2] };
    let text = super::super::draft::draft("m", "1", (&[port], &[proposal]), &[output]).unwrap();
    let text = text.replace("batch_max = 64 ", "batch_max = 4096 ");
    let contract = Contract::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(Input::from_tensors(&contract, vec![data]).is_ok(), "it refuses its own data:\n{text}");
    (text, contract)
}

fn input(contract: &Contract) -> &InputSpec {
    &contract.inputs[0]
}

#[test]
fn names_for_another_number_of_columns_are_refused() {
    let port = Port { name: "x".into(), datatype: Some(Datatype::Fp32), shape: vec![-1, 2] };
    let data = Tensor::new(vec![1, 2], Data::Fp32(vec![0.0; 2])).unwrap();
    assert!(propose(&port, &data, &["a".into()], RANGES).unwrap_err().contains("1 names for 2 columns"));
}

#[test]
fn a_count_gets_a_grid_a_category_its_values_and_a_measure_a_range() {
    let rows: Vec<f32> =
        (0..60_u8).flat_map(|n| [f32::from(n), f32::from(n % 3), 20.0 + f32::from(n) / 7.0, 5.0]).collect();
    let (text, contract) =
        contract(Datatype::Fp32, Data::Fp32(rows), &[60, 4], &["count", "stage", "radius", "always"]);
    let [count, stage, radius, always] = input(&contract).columns.as_slice() else { panic!("{text}") };
    assert_eq!((count.grid, count.min, count.max), (Some(1.0), 0.0, 74.0), "{text}");
    assert_eq!((stage.grid, stage.values.len(), stage.min, stage.max), (None, 3, 0.0, 2.0), "{text}");
    assert_eq!(
        (radius.grid, radius.values.is_empty(), radius.min),
        (None, true, f64::from(17.8_f32)),
        "{text}"
    );
    assert!(radius.max > 28.4 && radius.max < 32.0, "{text}");
    assert!(always.min < 5.0 && always.max > 5.0 && always.values.is_empty(), "{text}");
    assert!(
        text.contains("# From 60 rows: from the quantile 0 to 1 of the data, and 0.25 of that range more")
    );
}

#[test]
fn rules_are_proposed_by_name_where_the_data_agree_and_never_switched_on() {
    let rows: Vec<f32> = (0..40_u8).map(f32::from).flat_map(|n| [n, n + 0.5, n, n + 0.3, n - 0.1]).collect();
    let names = ["mean radius", "worst radius", "mean area", "worst texture", "worst area"];
    let (text, contract) = contract(Datatype::Fp32, Data::Fp32(rows), &[40, 5], &names);
    assert!(text.contains("#   \"worst radius >= mean radius\", # holds in 40 of 40 rows"), "{text}");
    // One whose name fits and whose data do not; others whose data fit and whose names do not.
    assert_eq!(text.matches(">= ").count(), 1, "{text}");
    assert!(input(&contract).rules.is_empty());
    let switched_on = text.replace("# rules = [", "rules = [").replace("#   \"", "  \"").replace("# ]", "]");
    assert_eq!(Contract::parse(&switched_on).unwrap().inputs[0].rules.len(), 1);
}

#[test]
fn too_few_rows_propose_no_rule() {
    let rows: Vec<f32> = (0..19_u8).map(f32::from).flat_map(|n| [n, n + 0.5]).collect();
    let (text, _) = contract(Datatype::Fp32, Data::Fp32(rows), &[19, 2], &["min x", "max x"]);
    assert!(!text.contains("rules"), "{text}");
}

#[test]
fn levels_of_images_keep_their_natural_range() {
    let unit = |n: usize| Data::Fp32((0..n).map(|i| [0.1, 0.9, 0.5][i % 3]).collect());
    let (text, levels) = contract(Datatype::Fp32, unit(2 * 64), &[2, 1, 8, 8], &[]);
    assert_eq!((input(&levels).minimum, input(&levels).maximum), (Some(0.0), Some(1.0)), "{text}");
    let bytes = Data::Uint8((0..=255).collect());
    let (_, bytes) = contract(Datatype::Uint8, bytes, &[4, 1, 8, 8], &[]);
    assert_eq!((input(&bytes).minimum, input(&bytes).maximum), (Some(0.0), Some(255.0)));
    let hounsfield = Data::Fp32((0..128_u8).map(|n| f32::from(n) * 20.0 - 1000.0).collect());
    let (text, hounsfield) = contract(Datatype::Fp32, hounsfield, &[2, 1, 8, 8], &[]);
    assert!(input(&hounsfield).minimum.unwrap() < -1600.0 && text.contains("It refuses 0 of them"), "{text}");
}

#[test]
fn what_a_range_refuses_of_its_own_data_is_said() {
    let port = Port { name: "x".into(), datatype: Some(Datatype::Fp32), shape: vec![-1, 1] };
    let mut values: Vec<f32> = (0..99_u8).map(|n| 10.0 + f32::from(n) / 9.9).collect();
    values.push(1e6);
    let data = Tensor::new(vec![100, 1], Data::Fp32(values)).unwrap();
    let text = propose(&port, &data, &[], Ranges { quantiles: (0.01, 0.98), margin: 0.5 }).unwrap();
    assert!(text.contains("# refuses 1 of 100"), "{text}");
    let odd = Tensor::new(vec![3, 1], Data::Fp32(vec![f32::NAN, 1.0, f32::INFINITY])).unwrap();
    let text = propose(&port, &odd, &[], RANGES).unwrap();
    assert!(text.contains("1 values are nan") && text.contains("# accepts_infinity = true"), "{text}");
}

#[test]
fn integers_and_text_get_what_they_can_keep() {
    let rows = Data::Uint8((0..=255).collect());
    let (text, ints) = contract(Datatype::Uint8, rows, &[256, 1], &["level"]);
    assert_eq!((input(&ints).columns[0].min, input(&ints).columns[0].max), (0.0, 255.0), "{text}");
    let sexes = Data::Bytes((0..40).map(|n| ["F", "M"][n % 2].to_owned()).collect());
    let (text, sexes) = contract(Datatype::Bytes, sexes, &[40, 1], &[]);
    assert_eq!((input(&sexes).length_max, input(&sexes).values.len()), (Some(1), 2), "{text}");
    let notes = Data::Bytes((0..40).map(|n| format!("note {n}")).collect());
    let (_, notes) = contract(Datatype::Bytes, notes, &[40, 1], &[]);
    assert_eq!((input(&notes).length_max, input(&notes).values.len()), (Some(7), 0));
}
