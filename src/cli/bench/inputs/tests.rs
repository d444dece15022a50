use super::*;
use ndarray::{ArrayD, IxDyn};
use ndarray_npy::NpzWriter;
use prost::Message;
use std::fs::File;

const ASK: Ask<'_> = Ask { model: "m", version: "", rows: None };
const UNIFORM: Distribution = Distribution::Uniform(0.0, 1.0);

fn wanted(specs: &[&str]) -> Vec<Wanted> {
    specs.iter().map(|spec| spec.parse().unwrap()).collect()
}

/// A file with one array of FP32, counting up.
fn file(name: &str, shape: &[usize]) -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.npz");
    let mut npz = NpzWriter::new(File::create(&path).unwrap());
    let count = shape.iter().product::<usize>();
    let values: Vec<f32> = (0..count).map(|n| f32::from(u16::try_from(n).unwrap())).collect();
    npz.add_array(name, &ArrayD::from_shape_vec(IxDyn(shape), values).unwrap()).unwrap();
    npz.finish().unwrap();
    (directory, path)
}

fn values(requests: &Requests, at: usize) -> Vec<f32> {
    let Data::Fp32(values) = requests.tensors[at][0].1.data() else { panic!("not FP32") };
    values.clone()
}

#[test]
fn specs_that_are_none_are_refused() {
    for text in ["", "x", "x:FP32", "x:FP99:1", "x:FP32:", "x:FP32:1,y", "x:FP32:0", "x:FP32:-2", ":FP32:1"] {
        assert!(text.parse::<Wanted>().is_err(), "{text}");
    }
    let colon: Wanted = "serving_default_x:0:FP32:-1,30".parse().unwrap();
    assert_eq!((colon.name.as_str(), colon.shape.as_slice()), ("serving_default_x:0", &[-1, 30][..]));
}

#[test]
fn a_model_that_cannot_be_filled_is_told_so() {
    let metadata = |datatype: &str, shape: &[i64]| ModelMetadataResponse {
        inputs: vec![TensorMetadata { name: "x".into(), datatype: datatype.into(), shape: shape.to_vec() }],
        ..ModelMetadataResponse::default()
    };
    assert!(Wanted::all(&ModelMetadataResponse::default()).unwrap_err().contains("--input"));
    assert!(Wanted::all(&metadata("STRING", &[1])).unwrap_err().contains("STRING"));
    assert!(Wanted::all(&metadata("FP32", &[])).is_err());
    assert_eq!(Wanted::all(&metadata("TYPE_FP32", &[-1, 3])).unwrap()[0].datatype, Datatype::Fp32);
    let refused =
        |specs: &[&str], ask: Ask<'_>| Requests::synthetic(&wanted(specs), ask, UNIFORM, 1).err().unwrap();
    assert!(refused(&["x:FP32:-1,-1"], ASK).contains("open shape"));
    assert!(refused(&["x:BYTES:-1,1"], ASK).contains("--data"));
    assert!(refused(&["x:FP32:1,4"], Ask { rows: Some(8), ..ASK }).contains("always has 1 rows"));
}

#[test]
fn a_file_that_does_not_fit_is_told_so() {
    let (_directory, path) = file("rows", &[5, 3]);
    let of_file =
        |specs: &[&str], set: Option<&str>| Requests::of_file(&wanted(specs), ASK, &path, set).err().unwrap();
    assert!(of_file(&["x:FP32:-1,3"], None).contains("it has: rows; name one with --set"));
    assert!(of_file(&["x:FP32:-1,4"], Some("rows")).contains("does not give rows"));
    assert!(of_file(&["x:INT32:-1,3"], Some("rows")).contains("INT32"));
    let absent = Requests::of_file(&wanted(&["x:FP32:-1,3"]), ASK, Path::new("/nowhere.npz"), None);
    assert!(absent.err().unwrap().starts_with("/nowhere.npz"));
}

#[test]
fn rows_are_sent_in_turn_and_the_last_request_begins_anew() {
    let (_directory, path) = file("clean", &[5, 3]);
    let ask = Ask { rows: Some(2), ..ASK };
    let requests = Requests::of_file(&wanted(&["x:FP32:-1,3"]), ask, &path, None).unwrap();
    assert_eq!((requests.framed.len(), requests.source.requests), (3, 3));
    assert_eq!(values(&requests, 0), [0., 1., 2., 3., 4., 5.]);
    assert_eq!(values(&requests, 2), [12., 13., 14., 0., 1., 2.]);
    assert_eq!(requests.inputs, [Input { name: "x".into(), datatype: "FP32".into(), shape: vec![2, 3] }]);
}

#[test]
fn open_dimensions_are_those_of_the_file_and_flat_rows_fit_a_shape() {
    let (_directory, path) = file("x", &[2, 4, 3]);
    let requests = Requests::of_file(&wanted(&["x:FP32:-1,-1,3"]), ASK, &path, None).unwrap();
    assert_eq!(requests.inputs[0].shape, [1, 4, 3]);
    let (_directory, path) = file("x", &[2, 12]);
    let requests = Requests::of_file(&wanted(&["x:FP64:-1,4,3"]), ASK, &path, None).unwrap();
    assert_eq!(
        (requests.inputs[0].shape.as_slice(), requests.inputs[0].datatype.as_str()),
        (&[1, 4, 3][..], "FP64")
    );
}

#[test]
fn synthetic_requests_repeat_with_their_seed_and_carry_raw_contents() {
    let specs = wanted(&["a:FP32:-1,3", "b:INT64:-1"]);
    let made = |seed| Requests::synthetic(&specs, ASK, UNIFORM, seed).unwrap();
    let (one, again, other) = (made(1), made(1), made(2));
    assert_eq!(one.source, again.source);
    assert_ne!(one.source.sha256, other.source.sha256);
    assert_eq!((one.framed.len(), one.source.kind.as_str()), (SYNTHETIC, "uniform:0:1"));
    let (framed, _) = request(ASK, &one.tensors[0]).unwrap();
    let message = ModelInferRequest::decode(&framed.bytes()[5..]).unwrap();
    assert_eq!(message.raw_input_contents.len(), 2);
    assert_eq!((message.raw_input_contents[0].len(), message.raw_input_contents[1].len()), (12, 8));
    assert_eq!(message.inputs[1].shape, [1]);
    assert_ne!(values(&one, 0), values(&one, 1));
}
