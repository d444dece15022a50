//! Contracts drafted, proposed from data, checked, and samples held against them.

use super::*;

fn run(command: &Command) -> Result<String, Failure> {
    let mut out = Vec::new();
    super::run(command, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn init(model: &str, out: Option<PathBuf>) -> Result<String, Failure> {
    let library = PathBuf::from(".onnxruntime/libonnxruntime.so.1.31.1");
    let (data, quantiles, margin) = (None, (0.001, 0.999), 0.25);
    run(&Command::Init(InitArgs { model: model.into(), out, data, quantiles, margin, library }))
}

#[test]
fn a_file_that_is_no_model_and_a_contract_that_exists_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("contract.toml");
    assert!(matches!(init("Cargo.toml", None), Err(Failure::Other(_))));
    assert!(matches!(init("absent.onnx", None), Err(Failure::Other(_))));
    std::fs::write(&path, "mine").unwrap();
    assert!(matches!(init("models/wdbc/1/model.onnx", Some(path.clone())), Err(Failure::Other(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn a_contract_that_cannot_be_served_is_refused_by_line_or_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("contract.toml");
    let good = std::fs::read_to_string("models/pneumonia/1/contract.toml").unwrap();
    let check =
        || run(&Command::Check(CheckArgs { contract: path.clone(), sample: None, show_values: false }));
    for (from, to, expected) in [
        ("name = \"pneumonia\"", "nome = \"pneumonia\"", "contract.toml:2: unknown field `nome`"),
        ("batch_max = 256", "batch_max = 0", "contract.toml: `batch_max`: at least 1"),
    ] {
        std::fs::write(&path, good.replace(from, to)).unwrap();
        let Err(Failure::Configuration(problem)) = check() else { panic!("should have been refused") };
        assert!(problem.contains(expected), "{problem}");
    }
    std::fs::write(&path, good).unwrap();
    assert!(check().unwrap().starts_with("good: pneumonia/1: 1 inputs, 3 outputs (1 published), 1 copies"));
}

#[test]
fn the_demo_models_get_a_contract_with_their_own_ports() {
    for name in ["wdbc", "pneumonia", "digits"] {
        let text = init(&format!("models/{name}/1/model.onnx"), None).unwrap();
        let drafted = Contract::parse(&text).unwrap();
        let shipped = std::fs::read_to_string(format!("models/{name}/1/contract.toml")).unwrap();
        let shipped = Contract::parse(&shipped).unwrap();
        assert_eq!((&drafted.name, &drafted.version), (&shipped.name, &shipped.version));
        assert_eq!(drafted.outputs, shipped.outputs);
        for (ours, theirs) in drafted.inputs.iter().zip(&shipped.inputs) {
            assert_eq!(
                (&ours.name, ours.datatype, &ours.shape),
                (&theirs.name, theirs.datatype, &theirs.shape)
            );
        }
    }
}

#[test]
fn a_model_outside_a_repository_is_named_after_its_file() {
    assert_eq!(identity(Path::new("/x/my model.v2.onnx")), ("my_model.v2".into(), "1".into()));
    assert_eq!(identity(Path::new("/x/chest/3/model.onnx")), ("chest".into(), "3".into()));
    assert_eq!(identity(Path::new("/x/chest/03/model.onnx")), ("model".into(), "1".into()));
}

const WDBC: &str = "models/wdbc/1";

fn propose_from(arrays: impl FnOnce(&mut ndarray_npy::NpzWriter<std::fs::File>)) -> Result<String, Failure> {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("clean.npz");
    let mut npz = ndarray_npy::NpzWriter::new(std::fs::File::create(&data).unwrap());
    arrays(&mut npz);
    npz.finish().unwrap();
    propose_of(&data)
}

fn propose_of(data: &Path) -> Result<String, Failure> {
    run(&Command::Init(InitArgs {
        model: format!("{WDBC}/model.onnx").into(),
        out: None,
        data: Some(data.to_owned()),
        quantiles: (0.001, 0.999),
        margin: 0.25,
        library: ".onnxruntime/libonnxruntime.so.1.31.1".into(),
    }))
}

#[test]
fn data_that_are_no_input_of_the_model_propose_nothing() {
    let other = |failure: Result<String, Failure>| match failure {
        Err(Failure::Other(problem)) => problem,
        other => panic!("should have been refused: {other:?}"),
    };
    let problem = other(propose_from(|npz| {
        npz.add_array("elsewhere", &ndarray::Array2::<f32>::zeros((9, 30))).unwrap();
    }));
    assert!(problem.contains("no array of an input's name"), "{problem}");
    let problem = other(propose_from(|npz| {
        npz.add_array("clean", &ndarray::Array2::<f32>::zeros((9, 29))).unwrap();
    }));
    assert!(problem.contains("no FP32[-1, 30] for input `features`"), "{problem}");
    let problem = other(propose_from(|npz| {
        npz.add_array("clean", &ndarray::Array2::from_elem((9, 30), true)).unwrap();
    }));
    assert!(problem.contains("an array of BOOL"), "{problem}");
    assert!(other(propose_of(Path::new("Cargo.toml"))).contains("Cargo.toml"));
    for (text, good) in [
        ("0.1,0.9", true),
        ("0,1", true),
        ("0.9,0.1", false),
        ("0.5", false),
        ("-0.1,0.9", false),
        ("NaN,1", false),
    ] {
        assert_eq!(quantiles(text).is_ok(), good, "{text}");
    }
    assert!(margin("-1").is_err() && margin("inf").is_err() && margin("0").is_ok());
}

#[test]
fn ranges_proposed_from_the_calibration_data_take_those_data_and_say_how_they_were_made() {
    let text = propose_of(Path::new("models/wdbc/calibration.npz")).unwrap();
    assert!(
        text.contains(
            "# From 200 rows: from the quantile 0.001 to 0.999 of the data, and 0.25 of that range more"
        ),
        "{text}"
    );
    assert!(!text.contains("# minimum = 0.0"), "{text}");
    let contract = Contract::parse(&text).unwrap();
    assert_eq!(contract.inputs[0].columns.len(), 30);
    assert!(contract.inputs[0].columns.iter().all(|column| column.min >= 0.0));
    let rows = crate::intake::samples::read(Path::new("models/wdbc/calibration.npz"), &["input"], &contract)
        .unwrap();
    assert!(rows.iter().all(Result::is_ok));
}

#[test]
fn a_sample_is_explained_whole_and_its_values_are_shown_only_when_asked() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("request.json");
    let mut row = [1.0_f64; 30];
    row[0] = 77.125;
    row[3] = -66.5;
    let contract = std::fs::read_to_string(format!("{WDBC}/contract.toml")).unwrap();
    let middle: Vec<f64> = Contract::parse(&contract).unwrap().inputs[0]
        .columns
        .iter()
        .map(|c| f64::midpoint(c.min, c.max))
        .collect();
    let body = |rows: &[&[f64]], shape: &[usize]| {
        let input =
            serde_json::json!({ "name": "features", "shape": shape, "datatype": "FP32", "data": rows });
        std::fs::write(&path, serde_json::json!({ "id": "1", "inputs": [input] }).to_string()).unwrap();
    };
    let check = |sample: &Path, show_values| {
        let mut out = Vec::new();
        let args = CheckArgs {
            contract: format!("{WDBC}/contract.toml").into(),
            sample: Some(sample.to_owned()),
            show_values,
        };
        let result = super::run(&Command::Check(args), &mut out);
        (result, String::from_utf8(out).unwrap())
    };
    body(&[&middle, &row], &[2, 30]);
    let (result, out) = check(&path, false);
    let Err(Failure::Other(problem)) = result else { panic!("should have been refused") };
    assert!(problem.contains("violations in 2 rows"), "{problem}");
    assert!(
        out.contains("inputs[0][1][0] (mean radius): outside the range")
            && out.contains("inputs[0][1][3] (mean area)"),
        "{out}"
    );
    assert!(!out.contains("77.125") && !out.contains("66.5") && !out.contains("inputs[0][0]"), "{out}");
    let (_, out) = check(&path, true);
    assert!(out.contains("um [77.125]") && out.contains("[-66.5]"), "{out}");
    body(&[&middle], &[1, 30]);
    let (result, out) = check(&path, false);
    assert!(result.is_ok() && out.ends_with("1 rows keep the contract\n"), "{out}");
    let (result, out) = check(Path::new("models/wdbc/calibration.npz"), false);
    assert!(result.is_ok() && out.ends_with("200 rows keep the contract\n"), "{out}");
}
