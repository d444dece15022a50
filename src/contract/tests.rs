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

/// The refusal of one column's keys, and of more keys of its input.
fn table(datatype: &str, column: &str, more: &str) -> Result<Contract, ContractError> {
    let columns = format!(
        "columns = [{{ name = \"radius\", {column} }}, {{ name = \"b\", min = 0, max = 4 }}]\n{more}"
    );
    let text = GOOD.replace("perturbations = [{ kind = \"jitter\", scale = 1.0 }]", "");
    let from = text.find("columns").unwrap();
    let to = text.find("[[outputs]]").unwrap();
    let text = format!("{}{columns}\n{}", &text[..from], &text[to..]);
    Contract::parse(&text.replacen("FP32", datatype, 1).replacen("[-1, 1]", "[-1, 2]", 1))
}

#[test]
fn columns_that_no_value_could_keep_are_refused_by_key() {
    let codes = (0..257).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    for (datatype, column, key, problem) in [
        ("FP32", "min = 0, max = 9, grid = 0.0", "columns[0].grid", "more than 0"),
        ("FP32", "min = 0.1, max = 0.9, grid = 1.0", "columns[0].grid", "no multiple"),
        ("FP32", "min = 0, max = 9, grid = 1.0, values = [1]", "columns[0].grid", "exclude each other"),
        ("FP32", "min = 0, max = 9, values = [1, 10]", "columns[0].values", "10 is no FP32 between"),
        ("FP32", "min = 0, max = 9, values = [1, 1.0]", "columns[0].values", "1 is given twice"),
        ("FP32", "min = 0, max = 1e9, values = [16777217]", "columns[0].values", "16777217 is no FP32"),
        ("INT8", "min = 0, max = 9, values = [0.5]", "columns[0].values", "0.5 is no INT8"),
        ("INT16", &format!("min = 0, max = 999, values = [{codes}]"), "columns[0].values", "at most 256"),
        ("UINT8", "min = 256, max = 300", "columns[0]", "no range of UINT8 numbers"),
        ("INT32", "min = 0.2, max = 0.8", "columns[0]", "no range of INT32 numbers"),
        ("FP32", "min = -1e300, max = 0.0", "columns[0]", "no range of FP32 numbers"),
        ("FP16", "min = 0.0, max = 1e5", "columns[0]", "no range of FP16 numbers"),
        ("BOOL", "min = 0, max = 1", "columns[0]", "a BOOL has no range"),
        ("BYTES", "min = 0, max = 1", "columns[0]", "a BYTES has no range"),
    ] {
        let error = table(datatype, column, "").unwrap_err().to_string();
        assert!(
            error.contains(&format!("`inputs[0].{key}`")) && error.contains(problem),
            "{column}: {error}"
        );
    }
    let error = table("INT64", "min = 0, max = 9007199254740993", "").unwrap_err().to_string();
    assert!(error.contains("9007199254740993"), "{error}");
    let good = table("UINT8", "min = 0, max = 255, values = [255, 3.0, 0]", "").unwrap();
    let sorted = [0, 3, 255].map(number::Number::Whole);
    assert_eq!(good.inputs[0].columns[0].values, sorted);
}

#[test]
fn rules_that_cannot_be_read_or_kept_are_refused_by_key() {
    for (rule, problem) in [
        ("radius", "write `column >= column`"),
        ("radius == b", "write `column >= column`"),
        ("radius >= c", "there is no column `c`"),
        ("radius >=", "there is no column ``"),
        ("a >= b + 0.5", "there is no column `a`"),
        ("b > b", "compares a column with itself"),
        ("radius < b", "it never holds"),
        ("b >= radius", "it never holds"),
    ] {
        let rules = format!("rules = [\"radius > b\", \"{rule}\"]");
        let error = table("FP32", "min = 5, max = 9", &rules).unwrap_err().to_string();
        assert!(error.contains("`inputs[0].rules[1]`") && error.contains(problem), "{rule}: {error}");
    }
    let twice = "min = 0, max = 9 }, { name = \"radius\", min = 0, max = 9";
    let text = table("FP32", twice, "rules = [\"radius > b\"]").unwrap_err().to_string();
    assert!(text.contains("one entry for each feature"), "{text}");
    let good = table("FP32", "min = 0, max = 9", "rules = [\" radius>=b \"]").unwrap();
    let rule = &good.inputs[0].relations[0];
    assert_eq!((rule.left, rule.relation, rule.right), (0, rules::Relation::AtLeast, 1));
    assert_eq!(rule.text, "radius>=b");
}

#[test]
fn keys_of_text_and_of_numbers_are_not_mixed() {
    let with = |datatype: &str, keys: &str| {
        let text = GOOD.replace("perturbations = [{ kind = \"jitter\", scale = 1.0 }]", "");
        let (from, to) = (text.find("columns").unwrap(), text.find("[[outputs]]").unwrap());
        let text = format!("{}{keys}\n{}", &text[..from], &text[to..]);
        Contract::parse(&text.replacen("FP32", datatype, 1)).map_err(|error| error.to_string())
    };
    let many = (0..257).map(|n| format!("'{n}'")).collect::<Vec<_>>().join(", ");
    for (datatype, keys, problem) in [
        ("FP32", "values = ['F']", "`inputs[0].values`: only for BYTES"),
        ("FP32", "length_max = 3", "`inputs[0].length_max`: only for BYTES"),
        ("FP32", "rules = ['a > b']", "`inputs[0].rules`: rules compare `columns`"),
        ("BYTES", "minimum = 0", "`inputs[0].minimum`: a BYTES has no range"),
        ("BYTES", "length_max = 0", "`inputs[0].length_max`: 1 to 65536"),
        ("BYTES", "length_max = 65537", "`inputs[0].length_max`: 1 to 65536"),
        ("BYTES", "length_max = 2\nvalues = ['abc']", "within `length_max`"),
        ("BYTES", "values = ['a', 'a']", "given twice"),
        ("BYTES", &format!("values = [{many}]"), "at most 256"),
    ] {
        let error = with(datatype, keys).unwrap_err();
        assert!(error.contains(problem), "{keys}: {error}");
    }
    let good = with("BYTES", "values = ['M', 'F']").unwrap();
    assert_eq!(
        (&good.inputs[0].values[..], good.inputs[0].text_bytes_max()),
        (&["F".into(), "M".into()][..], 65_536)
    );
}
