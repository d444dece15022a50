//! Models merged and quantised from files, and what is refused.

use super::*;
use crate::contract::Contract;
use crate::proto::onnx::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use crate::provenance::graph;
use clap::Parser;
use measure::{Agreement, Runner};
use ndarray::{Array2, ArrayD};
use prost::Message;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// What the command prints, or why it fails.
fn run(words: &str) -> Result<String, String> {
    let line =
        Line::try_parse_from(format!("model {words}").split_whitespace()).map_err(|e| e.to_string())?;
    let mut out = Vec::new();
    match super::run(&line.command, &mut out) {
        Ok(()) => Ok(String::from_utf8(out).unwrap()),
        Err(Failure::Usage(told) | Failure::Configuration(told) | Failure::Other(told)) => Err(told),
    }
}

fn in_directory(directory: &TempDir, name: &str) -> String {
    directory.path().join(name).to_str().unwrap().to_owned()
}

fn model_of(path: &str) -> ModelProto {
    graph::read(&std::fs::read(path).unwrap()).unwrap()
}

/// A file of wdbc's model, changed.
fn wdbc(directory: &TempDir, change: impl FnOnce(&mut ModelProto, &mut GraphProto)) -> String {
    let mut model = model_of("models/wdbc/1/model.onnx");
    let mut graph = model.graph.take().unwrap();
    change(&mut model, &mut graph);
    model.graph = Some(graph);
    let path = in_directory(directory, "changed.onnx");
    std::fs::write(&path, model.encode_to_vec()).unwrap();
    path
}

fn quantize(model: &str, directory: &TempDir, more: &str) -> Result<String, String> {
    let out = in_directory(directory, "int8.onnx");
    let data = if more.contains("--clean") { "" } else { "--clean models/wdbc/calibration.npz" };
    let contract = if more.contains("--contract") { "" } else { "--contract models/wdbc/1/contract.toml" };
    run(&format!("quantize --model {model} {contract} {data} --out {out} {more}"))
}

#[test]
fn models_that_cannot_be_merged_leave_the_file_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let out = in_directory(&directory, "merged.onnx");
    std::fs::write(&out, "mine").unwrap();
    let wdbc = "models/wdbc/1/model.onnx";
    for (model, twin, more, told) in [
        (wdbc, "models/digits/1/model.onnx", "", "the primary has no input `image`"),
        (wdbc, wdbc, "--output-name scores", "the twin has no output `scores`"),
        (wdbc, "absent.onnx", "", "absent.onnx: No such file"),
        ("Cargo.toml", wdbc, "", "Cargo.toml: "),
        (wdbc, "Cargo.toml", "", "the twin: "),
    ] {
        let refused = run(&format!("merge --model {model} --twin {twin} --out {out} {more}")).unwrap_err();
        assert!(refused.starts_with(told), "{refused}");
    }
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "mine");
    let nowhere = in_directory(&directory, "absent/merged.onnx");
    assert!(run(&format!("merge --model {wdbc} --twin {wdbc} --out {nowhere}")).is_err());
}

#[test]
fn a_merged_file_is_what_is_served_and_its_parts_are_told() {
    let directory = tempfile::tempdir().unwrap();
    let out = in_directory(&directory, "merged.onnx");
    let [digits, pneumonia] = ["digits", "pneumonia"].map(|name| format!("models/{name}/1/model.onnx"));
    let told = run(&format!("merge --model {digits} --twin {pneumonia} --out {out}")).unwrap();
    let merged = std::fs::read(&out).unwrap();
    let [one, two] = [&digits, &pneumonia].map(|path| std::fs::read(path).unwrap());
    assert_eq!(merged, graph::merge(&one, &two, &["image".to_owned()], "logits").unwrap());
    let size = merged.len();
    let expected = format!(
        "{out}: 14 operations of the model and 13 of the twin, {size} bytes\ninputs: image\n\
         outputs: probabilities, logits, embedding, twin/logits\n"
    );
    assert_eq!(told, expected);
    // Merged again it would be a third model under the twin's names.
    let again = run(&format!("merge --model {out} --twin {pneumonia} --out {out}")).unwrap_err();
    assert!(again.contains("is it merged already?"), "{again}");
}

#[test]
fn what_cannot_be_quantised_is_refused_with_what_to_mend() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &str, more: &str| quantize(path, &directory, more).unwrap_err();
    let good = "models/wdbc/1/model.onnx";
    let file = |name: &str, text: &str| {
        std::fs::write(directory.path().join(name), text).unwrap();
        in_directory(&directory, name)
    };
    let contract = std::fs::read_to_string("models/wdbc/1/contract.toml").unwrap();
    let mute = contract
        .lines()
        .filter(|line| !line.starts_with("meaning") && !line.starts_with("twin"))
        .collect::<Vec<_>>()
        .join("\n");
    let mute = file("mute.toml", &mute);
    let told = refused(good, &format!("--contract {mute}"));
    assert!(told.contains("no output has the meaning `logits` or `probabilities`"), "{told}");
    let told = refused(good, "--clean models/digits/calibration.npz");
    assert!(told.contains("a clean row breaks the contract"), "{told}");
    for (rows, value, expected) in
        [(19, 1.0, "19 clean rows; at least 20"), (20, -1e9, "breaks the contract")]
    {
        let path = directory.path().join("clean.npz");
        let mut npz = ndarray_npy::NpzWriter::new(std::fs::File::create(&path).unwrap());
        npz.add_array("clean", &Array2::<f32>::from_elem((rows, 30), value)).unwrap();
        npz.finish().unwrap();
        let told = refused(good, &format!("--clean {}", path.display()));
        assert!(told.contains(expected), "{told}");
    }
    for percentile in ["89.9", "100.1", "NaN", "most"] {
        assert!(refused(good, &format!("--percentile {percentile}")).contains("90 to 100"));
    }
    let old = wdbc(&directory, |model, _| model.opset_import[0].version = Some(12));
    assert!(refused(&old, "").contains("operators of version 12; export the model with 13 or later"));
    let other = wdbc(&directory, |_, graph| graph.output.retain(|output| output.name() != "logits"));
    let told = refused(&other, "");
    assert!(told.contains("no FP32 output `logits`"), "{told}");
    // Weights that are computed are no constants.
    let computed = wdbc(&directory, |_, graph| {
        for (at, weight) in ["dense0.w", "logits.w"].into_iter().enumerate() {
            let input = vec![weight.to_owned()];
            let output = vec![format!("computed{at}")];
            let copy = NodeProto { input, output, op_type: Some("Abs".into()), ..NodeProto::default() };
            let node = graph.node.iter_mut().find(|node| node.input.iter().any(|name| name == weight));
            node.unwrap().input[1] = format!("computed{at}");
            graph.node.insert(0, copy);
        }
    });
    assert!(refused(&computed, "").contains("has constant FP32 weights"));
    // The first layer divides by nothing.
    let infinite = wdbc(&directory, |_, graph| {
        let deviation = graph.initializer.iter_mut().find(|tensor| tensor.name() == "deviation").unwrap();
        deviation.raw_data = Some(vec![0; 120].into());
        deviation.float_data.clear();
    });
    let told = refused(&infinite, "");
    assert!(told.contains("is not finite on the clean data"), "{told}");
    assert!(!directory.path().join("int8.onnx").exists());
    quantize(good, &directory, "").unwrap();
    let told = refused(&in_directory(&directory, "int8.onnx"), "");
    assert!(told.contains("is it quantised already?"), "{told}");
}

#[test]
fn a_model_is_quantised_without_losing_what_it_knows_and_the_same_file_comes_out_again() {
    let directory = tempfile::tempdir().unwrap();
    let out = in_directory(&directory, "int8.onnx");
    let words = "quantize --directory models/digits/1 --clean models/digits/calibration.npz";
    let told = run(&format!("{words} --out {out}")).unwrap();
    let lines: Vec<&str> = told.lines().collect();
    let first = format!("{out}: 5 of 5 operations with weights in int8, ranges from 750 clean rows");
    assert_eq!(lines[0], first);
    let quantised = std::fs::read(&out).unwrap();
    assert!(lines[1].starts_with(&format!("size: 106272 -> {} bytes (0.3", quantised.len())), "{told}");
    let same: usize = lines[2]
        .strip_prefix("on 750 other clean rows: the same class in ")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let distance: f64 = lines[2].rsplit(' ').next().unwrap().parse().unwrap();
    assert!(same >= 740 && distance < 0.05, "{told}");
    assert!(lines[3].starts_with("one row on one thread, in turn: p50 "), "{told}");
    run(&format!("{words} --out {out} --percentile 99.99")).unwrap();
    assert!(quantised == std::fs::read(&out).unwrap(), "not the same file");

    let before = model_of("models/digits/1/model.onnx").graph.unwrap();
    let after = model_of(&out).graph.unwrap();
    assert_eq!((&before.input, &before.output), (&after.input, &after.output));
    let reals = after.initializer.iter().filter(|tensor| tensor.data_type() == 1);
    assert!(reals.into_iter().all(|tensor| tensor.name().ends_with("/scale")), "FP32 weights are left");
}

/// Bits of the logits of those rows of digits, in one run.
fn logits(runner: &Runner, contract: &Contract, rows: &[f32]) -> Vec<u32> {
    use crate::tensor::{Data, Tensor};
    let tensor = Tensor::new(vec![rows.len() / 784, 1, 28, 28], Data::Fp32(rows.to_vec())).unwrap();
    let input = crate::intake::Input::from_tensors(contract, vec![tensor]).unwrap();
    let secret = crate::inference::perturbation::Secret::new(&[0; 32]);
    let outputs = runner.run(&crate::inference::Batch::with_copies(input, &[], &secret).unwrap()).unwrap();
    (0..outputs.rows()).flat_map(|row| outputs.clean(0, row).unwrap()).map(|value| value.to_bits()).collect()
}

#[test]
fn in_int8_too_a_row_is_answered_the_same_whatever_its_neighbours_are() {
    let directory = tempfile::tempdir().unwrap();
    let out = in_directory(&directory, "int8.onnx");
    run(&format!("quantize --directory models/digits/1 --clean models/digits/calibration.npz --out {out}"))
        .unwrap();
    let library = PathBuf::from(".onnxruntime/libonnxruntime.so.1.31.1");
    let runtime = crate::inference::ort::Runtime::load(&library).unwrap();
    let contract = super::super::contract::read(Path::new("models/digits/1/contract.toml")).unwrap();
    let model = std::fs::read(&out).unwrap();
    let runner = Runner::open(&runtime, &model, &contract, |name| name == "logits").unwrap();
    let mut npz =
        ndarray_npy::NpzReader::new(std::fs::File::open("models/digits/1/golden.npz").unwrap()).unwrap();
    let rows: ArrayD<f32> = npz.by_name("image").or_else(|_| npz.by_name("input")).unwrap();
    let row: Vec<f32> = rows.iter().copied().take(784).collect();
    let alone = logits(&runner, &contract, &row);
    for neighbour in [vec![0.0; 784], vec![1.0; 784], row.iter().map(|level| 1.0 - level).collect()] {
        let together = logits(&runner, &contract, &[neighbour.clone(), row.clone(), neighbour].concat());
        assert_eq!(together[10..20], alone);
    }
}

#[test]
fn weights_that_something_else_reads_stay_and_so_does_what_a_branch_sees() {
    let directory = tempfile::tempdir().unwrap();
    let branch = |reads: &str| {
        let node = NodeProto {
            input: vec![reads.to_owned()],
            output: vec![format!("branch of {reads}")],
            op_type: Some("Identity".into()),
            ..NodeProto::default()
        };
        let output = ValueInfoProto { name: node.output.first().cloned(), ..ValueInfoProto::default() };
        let graph = GraphProto {
            node: vec![node],
            output: vec![output],
            name: Some("b".into()),
            ..GraphProto::default()
        };
        AttributeProto { g: Some(graph), r#type: Some(5), ..AttributeProto::default() }
    };
    let path = wdbc(&directory, |_, graph| {
        let condition = TensorProto {
            name: Some("yes".into()),
            data_type: Some(9),
            raw_data: Some(vec![1].into()),
            ..TensorProto::default()
        };
        graph.initializer.push(condition);
        let mut choice = NodeProto {
            input: vec!["yes".into()],
            output: vec!["chosen".into()],
            op_type: Some("If".into()),
            attribute: vec![branch("relu0"), branch("dense0.w")],
            ..NodeProto::default()
        };
        choice.attribute[0].name = Some("then_branch".into());
        choice.attribute[1].name = Some("else_branch".into());
        graph.node.push(choice);
    });
    quantize(&path, &directory, "").unwrap();
    let graph = model_of(&in_directory(&directory, "int8.onnx")).graph.unwrap();
    let names: Vec<_> = graph.initializer.iter().map(TensorProto::name).collect();
    assert!(names.contains(&"dense0.w") && !names.contains(&"logits.w"), "{names:?}");
    assert!(graph.node.iter().any(|node| node.output == ["relu0"]));
}

#[test]
fn a_slower_model_is_called_slower() {
    let agreement = Agreement { same: 9, rows: 10, distance: 0.5 };
    let told = |fp32, int8| {
        let mut out = Vec::new();
        let times = (Duration::from_micros(fp32), Duration::from_micros(int8));
        quantize::report(&mut out, (1000, 250), &agreement, times).unwrap();
        String::from_utf8(out).unwrap()
    };
    let faster = told(200, 50);
    assert_eq!(
        faster,
        "size: 1000 -> 250 bytes (0.25x)\n\
         on 10 other clean rows: the same class in 9 (90.0%), mean L1 of the probabilities 0.50000\n\
         one row on one thread, in turn: p50 200.0 us in FP32, 50.0 us in int8 (0.25x)\n"
    );
    assert!(
        told(50, 60)
            .ends_with("(1.20x)\nint8 is SLOWER for this model on this machine: serve the FP32 model\n")
    );
}
