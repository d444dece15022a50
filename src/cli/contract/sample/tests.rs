//! Samples of every kind: what cannot be read, what breaks a contract, and numpy's texts.

use super::super::arrays::Text;
use super::*;
use ndarray::{Array1, Array2};
use ndarray_npy::{NpzWriter, WritableElement, WriteDataError};
use py_literal::Value;

const CONTRACT: &str = r#"
    name = "m"
    version = "1"
    batch_max = 2
    [[inputs]]
    name = "table"
    datatype = "INT64"
    shape = [-1, 2]
    columns = [{ name = "a", min = 0, max = 9 }, { name = "b", min = 0, max = 9 }]
    rules = ["a <= b"]
    [[inputs]]
    name = "sex"
    datatype = "BYTES"
    shape = [-1, 1]
    values = ["F", "M"]
    [[outputs]]
    name = "y"
    datatype = "FP32"
    shape = [-1, 2]
    publish = true
"#;

fn checked(name: &str, content: impl FnOnce(&Path), show_values: bool) -> (Result<(), Failure>, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    content(&path);
    let mut out = Vec::new();
    let result = check(&Contract::parse(CONTRACT).unwrap(), &path, show_values, &mut out);
    (result, String::from_utf8(out).unwrap())
}

fn json(text: &str) -> impl FnOnce(&Path) {
    move |path| std::fs::write(path, text).unwrap()
}

/// As numpy writes text: UTF-32, padded with NUL.
impl WritableElement for Text {
    fn type_descriptor() -> Value {
        Value::String("<U8".into())
    }

    fn write<W: Write>(&self, mut writer: W) -> Result<(), WriteDataError> {
        let mut units: Vec<u32> = self.0.chars().map(u32::from).collect();
        units.resize(8, 0);
        let bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        Ok(writer.write_all(&bytes)?)
    }

    fn write_slice<W: Write>(slice: &[Self], mut writer: W) -> Result<(), WriteDataError> {
        slice.iter().try_for_each(|text| text.write(&mut writer))
    }
}

#[test]
fn a_sample_that_is_none_is_refused_with_its_path() {
    for (name, text, problem) in [
        ("a.json", "{", "EOF"),
        (
            "a.json",
            r#"{"inputs":[{"name":"table","shape":[1,2],"datatype":"INT65","data":[1,2]}]}"#,
            "inputs[0].datatype",
        ),
        (
            "a.json",
            r#"{"inputs":[{"name":"table","shape":[1,2],"datatype":"INT64","data":[1]}]}"#,
            "1 elements do not fill",
        ),
        (
            "a.json",
            r#"{"inputs":[{"name":"table","shape":[1,2],"datatype":"INT64","data":[1,1.5]}]}"#,
            "inputs[0].data[1]: no INT64",
        ),
        (
            "a.json",
            r#"{"inputs":[{"name":"table","shape":[4294967296,4294967296],"datatype":"INT64","data":[]}]}"#,
            "do not fill",
        ),
        ("a.npz", "PK", "a.npz"),
    ] {
        let (result, _) = checked(name, json(text), false);
        let Err(Failure::Other(told)) = result else { panic!("should have been refused: {text}") };
        assert!(told.contains(problem) && told.contains(name), "{told}");
    }
}

#[test]
fn every_violation_of_a_request_is_told() {
    let text = r#"{"inputs":[
        {"name":"table","shape":[2,2],"datatype":"INT64","data":[[10,3],[5,-1]]},
        {"name":"sex","shape":[2,1],"datatype":"BYTES","data":["F","Doe^Jane"]},
        {"name":"sex","shape":[2,1],"datatype":"BYTES","data":["F","M"]},
        {"name":"other","shape":[0],"datatype":"FP32","data":[]}]}"#;
    let (result, out) = checked("request.json", json(text), false);
    assert!(
        matches!(result, Err(Failure::Other(problem)) if problem.contains("7 violations in 2 rows")),
        "{out}"
    );
    let wanted = [
        "inputs[2].name: input `sex` is given twice",
        "inputs[3].name: the model has no input `other`",
        "inputs[0][0][0] (a): outside the range 0 to 9",
        "inputs[0][1][1] (b): outside the range 0 to 9",
        "inputs[0][0]: the contract asks for `a <= b`",
        "inputs[0][1]: the contract asks for `a <= b`",
        "inputs[1][1][0]: none of the values that the contract lists",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), wanted);
    let (_, out) = checked("request.json", json(text), true);
    assert!(out.contains("`a <= b` [5, -1]") && out.contains("lists [\"Doe^Jane\"]"), "{out}");
}

#[test]
fn shape_rows_and_datatype_are_told_for_each_input() {
    let text = r#"{"inputs":[
        {"name":"table","shape":[3,2],"datatype":"INT64","data":[1,2,1,2,1,2]},
        {"name":"sex","shape":[1,1],"datatype":"INT8","data":[1]}]}"#;
    let (_, out) = checked("request.json", json(text), false);
    assert!(
        out.contains("inputs[0].shape[0]: 3 rows; at most 2") && out.contains("inputs[1].datatype"),
        "{out}"
    );
    let (_, out) = checked(
        "request.json",
        json(r#"{"inputs":[{"name":"table","shape":[1,2],"datatype":"INT64","data":[1,2]}]}"#),
        false,
    );
    assert_eq!(out, "inputs: input `sex` is missing\n");
}

#[test]
fn a_data_set_may_have_more_rows_than_a_request_and_texts_of_numpy() {
    let write = |sexes: [&'static str; 3]| {
        move |path: &Path| {
            let sexes = sexes.map(|text| Text(text.to_owned())).to_vec();
            let mut npz = NpzWriter::new(std::fs::File::create(path).unwrap());
            npz.add_array("table", &Array2::from_shape_vec((3, 2), vec![1_i32, 2, 0, 9, 3, 3]).unwrap())
                .unwrap();
            npz.add_array("sex", &Array1::from_vec(sexes)).unwrap();
            npz.finish().unwrap();
        }
    };
    let (result, out) = checked("set.npz", write(["F", "M", "F"]), false);
    assert!(result.is_ok() && out.ends_with("3 rows keep the contract\n"), "{out}");
    let (_, out) = checked("set.npz", write(["F", "M\u{fc}ller", "F"]), true);
    assert_eq!(out, "inputs[1][1][0]: none of the values that the contract lists [\"M\u{fc}ller\"]\n");
}
