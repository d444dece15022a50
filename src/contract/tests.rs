//! Contracts that cannot be served, and what is read from good ones.

use super::*;

const GOOD: &str = r#"
    name = "wdbc"
    version = "1"
    batch_max = 8
    perturbations = [{ kind = "jitter", scale = 1.0 }]
    [[inputs]]
    name = "features"
    datatype = "FP32"
    shape = [-1, 1]
    columns = [{ name = "radius", unit = "mm", min = 0.0, max = 40.0, jitter = 0.1 }]
    [[outputs]]
    name = "probabilities"
    datatype = "FP32"
    shape = [-1, 2]
    meaning = "probabilities"
    publish = true
"#;

fn refusal(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    Contract::parse(&GOOD.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn contradictions_are_refused_by_key() {
    assert!(refusal("\"wdbc\"", "\"../wdbc\"").contains("`name`"));
    assert!(refusal("version = \"1\"", "version = \"01\"").contains("`version`"));
    assert!(refusal("batch_max = 8", "batch_max = 1").contains("`batch_max`"));
    assert!(refusal("shape = [-1, 1]", "shape = [1, 1]").contains("`inputs[0].shape`"));
    assert!(refusal("shape = [-1, 1]", "shape = [-1, 0]").contains("`inputs[0].shape`"));
    assert!(refusal("shape = [-1, 1]", "shape = [-1, 2]").contains("`inputs[0].columns`"));
    assert!(refusal("max = 40.0", "max = 0.0").contains("`inputs[0].columns[0]`"));
    assert!(refusal("publish = true", "publish = false").contains("`outputs`"));
    assert!(refusal("scale = 1.0", "scale = 0.0").contains("`perturbations[0].scale`"));
    assert!(refusal("\"jitter\", scale = 1.0", "\"median\", window = 2").contains("no image"));
    assert!(refusal("batch_max", "batchmax").contains("batchmax"));
}

#[test]
fn the_bound_itself_is_in_range() {
    let contract = Contract::parse(&GOOD.replace("max = 40.0", "max = 0.31")).unwrap();
    assert!(f64::from(0.31_f32) <= contract.inputs[0].columns[0].max);
}

#[test]
fn copies_share_the_batch_with_the_clients_rows() {
    let contract = Contract::parse(GOOD).unwrap();
    assert_eq!(contract.rows_per_input(), 2);
    assert_eq!(contract.client_rows_max(), 4);
}

const IMAGE: &str = r#"
    name = "chest"
    version = "1"
    batch_max = 8
    [[inputs]]
    name = "image"
    datatype = "FP32"
    shape = [-1, 3, 28, 56]
    minimum = -2.2
    maximum = 2.8
    [inputs.image]
    formats = ["dicom"]
    modalities = ["DX"]
    fit = "crop"
    shorter_side = 64
    window = { fixed = { center = 40.0, width = 400.0 } }
    mean = [0.485, 0.456, 0.406]
    std = [0.229, 0.224, 0.225]
    [[outputs]]
    name = "probabilities"
    datatype = "FP32"
    shape = [-1, 2]
    publish = true
"#;

#[test]
fn a_preparation_that_contradicts_itself_is_refused_by_key() {
    for (from, to, key) in [
        ("formats = [\"dicom\"]", "formats = []", "inputs[0].image.formats"),
        ("formats = [\"dicom\"]", "formats = [\"gif\"]", "unknown variant `gif`"),
        ("[\"dicom\"]", "[\"dicom\", \"png\"]", "inputs[0].image.modalities"),
        ("[\"DX\"]", "[\"DX \"]", "inputs[0].image.modalities"),
        (
            "datatype = \"FP32\"\n    shape = [-1, 3",
            "datatype = \"UINT8\"\n    shape = [-1, 3",
            "inputs[0].image.formats",
        ),
        ("[-1, 3, 28, 56]", "[-1, 2, 28, 56]", "inputs[0].image.layout"),
        ("[-1, 3, 28, 56]", "[-1, 28, 56]", "inputs[0].image.layout"),
        ("fit = \"crop\"", "fit = \"crop\"\n    layout = \"NHWC\"", "inputs[0].image.layout"),
        ("fit = \"crop\"", "fit = \"pad\"", "inputs[0].image.shorter_side"),
        ("shorter_side = 64", "shorter_side = 55", "inputs[0].image.shorter_side"),
        ("width = 400.0", "width = 0.5", "inputs[0].image.window"),
        ("width = 400.0", "width = nan", "inputs[0].image.window"),
        ("mean = [0.485, 0.456, 0.406]", "mean = [0.485]", "inputs[0].image.mean"),
        ("std = [0.229, ", "std = [0.0, ", "inputs[0].image.std"),
        ("maximum = 2.8", "maximum = 2.6", "inputs[0].image.mean"),
        ("minimum = -2.2", "minimum = -2.0", "inputs[0].image.mean"),
        ("fit = \"crop\"", "fits = \"crop\"", "unknown field `fits`"),
    ] {
        assert!(IMAGE.contains(from), "{from}");
        let problem = Contract::parse(&IMAGE.replace(from, to)).unwrap_err().to_string();
        assert!(problem.contains(key), "{to}: {problem}");
    }
}

#[test]
fn the_row_of_a_tensor_says_what_an_image_becomes() {
    let contract = Contract::parse(IMAGE).unwrap();
    let image = contract.inputs[0].image.as_ref().unwrap();
    let target = image::Target { width: 56, height: 28, channels: 3 };
    assert_eq!(image.target(&contract.inputs[0].shape), Some(target));
    assert!(image.tensors);
    let other =
        IMAGE.replace("[-1, 3, 28, 56]", "[-1, 28, 56, 3]").replace("fit =", "layout = \"NHWC\"\n    fit =");
    let contract = Contract::parse(&other).unwrap();
    assert_eq!(contract.inputs[0].image.as_ref().unwrap().target(&contract.inputs[0].shape), Some(target));
}
