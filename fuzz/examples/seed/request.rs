//! Requests to the contract of `tests/it/fuzzed/run.rs`: raw and typed, tensors and files, and lies.

use crate::{Seed, dicom, jpeg, png};
use asepsis::proto::infer_parameter::ParameterChoice;
use asepsis::proto::model_infer_request::{InferInputTensor, InferRequestedOutputTensor};
use asepsis::proto::{InferParameter, InferTensorContents, ModelInferRequest};
use bytes::Bytes;
use prost::Message;

/// Numbers of a row of the image.
const IMAGE: usize = 3 * 6 * 5;

/// A good request and a change to it.
fn but(change: impl FnOnce(&mut ModelInferRequest)) -> Vec<u8> {
    let mut request = raw(2);
    change(&mut request);
    request.encode_to_vec()
}

/// As [`but`], where a file stands for the image.
fn file_but(file: &[u8], change: impl FnOnce(&mut ModelInferRequest)) -> Vec<u8> {
    let mut request = raw(1);
    with_files(&mut request, &[file]);
    change(&mut request);
    request.encode_to_vec()
}

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds = honest();
    seeds.extend(lies());
    seeds.extend(values());
    seeds
}

fn honest() -> Vec<Seed> {
    let none = |_: &mut ModelInferRequest| {};
    let batch = but(|r| with_files(r, &[&png::grey(), jpeg::GREY]));
    let typed_file = |r: &mut ModelInferRequest| {
        *r = typed();
        let files = vec![Bytes::from(png::grey())];
        r.inputs[0].contents = Some(InferTensorContents { bytes_contents: files, ..contents() });
        "BYTES".clone_into(&mut r.inputs[0].datatype);
        r.inputs[0].shape.truncate(1);
    };
    vec![
        ("raw", but(none)),
        ("typed", but(|r| *r = typed())),
        ("png", file_but(&png::grey(), none)),
        ("jpeg", file_but(jpeg::COLOUR, none)),
        ("dicom", file_but(&dicom::slice(), none)),
        ("batch-of-files", batch),
        ("typed-file", but(typed_file)),
        ("second-frame", file_but(&dicom::frames(), |r| parameter(&mut r.inputs[0], "frame", 2))),
        ("with-parameters", but(with_parameters)),
        ("another-order", but(reverse)),
    ]
}

fn lies() -> Vec<Seed> {
    let good = png::grey();
    let framed = |length: u32| {
        let good = &good;
        move |r: &mut ModelInferRequest| {
            r.raw_input_contents[0] = [&length.to_le_bytes(), &good[..]].concat().into()
        }
    };
    vec![
        ("no-inputs", but(|r| r.inputs.clear())),
        ("name-unknown", but(|r| r.inputs[1].name.push('s'))),
        ("name-twice", but(|r| r.inputs[1].name = r.inputs[0].name.clone())),
        ("datatype-wrong", but(|r| "INT64".clone_into(&mut r.inputs[0].datatype))),
        ("datatype-unknown", but(|r| "FP8".clone_into(&mut r.inputs[0].datatype))),
        ("no-rows", but(|r| r.inputs[0].shape[0] = 0)),
        ("rows-below-zero", but(|r| r.inputs[0].shape[0] = -1)),
        ("rows-of-2-to-the-62", but(|r| r.inputs.iter_mut().for_each(|input| input.shape[0] = 1 << 62))),
        ("dimension-more", but(|r| r.inputs[0].shape.push(1))),
        ("no-shape", but(|r| r.inputs[0].shape.clear())),
        ("contents-of-both-kinds", but(|r| r.inputs[0].contents = Some(contents()))),
        ("buffer-missing", but(|r| drop(r.raw_input_contents.pop()))),
        ("buffer-short", but(|r| r.raw_input_contents[0].truncate(5))),
        ("file-length-0", file_but(&good, framed(0))),
        ("file-length-1", file_but(&good, framed(1))),
        ("file-length-of-2-gigabytes", file_but(&good, framed(0x7fff_ffff))),
        ("file-length-of-4-gigabytes", file_but(&good, framed(u32::MAX))),
        ("file-without-its-length", file_but(&good, |r| r.raw_input_contents[0] = good.clone().into())),
        (
            "two-files-for-one-row",
            file_but(&good, |r| {
                let twice = [&r.raw_input_contents[0][..], &r.raw_input_contents[0]].concat();
                r.raw_input_contents[0] = twice.into();
            }),
        ),
        ("request-as-a-file", file_but(&but(|_| {}), |_| {})),
        ("executable-as-a-file", file_but(b"MZ\x90\0", |_| {})),
        ("frame-0", file_but(&dicom::frames(), |r| parameter(&mut r.inputs[0], "frame", 0))),
        ("frame-of-a-tensor", but(|r| parameter(&mut r.inputs[0], "frame", 1))),
        ("shared-memory", but(|r| parameter(&mut r.inputs[0], "shared_memory_region", 1))),
        ("bytes-behind-the-message", [but(|_| {}), b"<?php".to_vec()].concat()),
        ("groups-200-deep", [but(|_| {}), vec![0x7b; 200], vec![0x7c; 200]].concat()),
    ]
}

fn values() -> Vec<Seed> {
    let number = |value: f32| {
        move |r: &mut ModelInferRequest| {
            let mut raw = r.raw_input_contents[0].to_vec();
            raw[..4].copy_from_slice(&value.to_le_bytes());
            r.raw_input_contents[0] = raw.into();
        }
    };
    vec![
        ("not-a-number", but(number(f32::NAN))),
        ("infinite", but(number(f32::INFINITY))),
        ("subnormal", but(number(1e-40))),
        (
            "text-that-is-not-utf-8",
            but(|r| r.raw_input_contents[3] = framed_texts(&[b"\xff\xfe", b"M"]).into()),
        ),
    ]
}

/// `rows` rows, all of them raw.
fn raw(rows: u8) -> ModelInferRequest {
    let n = usize::from(rows);
    let image: Vec<u8> = [0.5_f32].repeat(n * IMAGE).iter().flat_map(|v| v.to_le_bytes()).collect();
    let table: Vec<u8> = [1.0_f64, 2.0].repeat(n).iter().flat_map(|v| v.to_le_bytes()).collect();
    ModelInferRequest {
        model_name: "fuzzed".to_owned(),
        inputs: inputs(rows),
        raw_input_contents: vec![
            image.into(),
            table.into(),
            [3, 0].repeat(n).into(),
            framed_texts(&[b"F".as_slice(), b"M"][..].repeat(n / 2 + 1)[..n]).into(),
        ],
        ..ModelInferRequest::default()
    }
}

/// One row, with its values in the message.
fn typed() -> ModelInferRequest {
    let mut request = ModelInferRequest { inputs: inputs(1), ..raw(1) };
    request.raw_input_contents.clear();
    let image = InferTensorContents { fp32_contents: vec![0.5; IMAGE], ..contents() };
    let table = InferTensorContents { fp64_contents: vec![1.0, 2.0], ..contents() };
    let code = InferTensorContents { int_contents: vec![3], ..contents() };
    let text = InferTensorContents { bytes_contents: vec![Bytes::from_static(b"F")], ..contents() };
    for (input, contents) in request.inputs.iter_mut().zip([image, table, code, text]) {
        input.contents = Some(contents);
    }
    request
}

fn inputs(rows: u8) -> Vec<InferInputTensor> {
    let input = |name: &str, datatype: &str, row: &[i64]| InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: [&[i64::from(rows)], row].concat(),
        ..InferInputTensor::default()
    };
    vec![
        input("image", "FP32", &[3, 6, 5]),
        input("table", "FP64", &[2]),
        input("code", "INT16", &[1]),
        input("text", "BYTES", &[1]),
    ]
}

/// Files in place of the image.
fn with_files(request: &mut ModelInferRequest, files: &[&[u8]]) {
    "BYTES".clone_into(&mut request.inputs[0].datatype);
    request.inputs[0].shape.truncate(1);
    request.raw_input_contents[0] = framed_texts(files).into();
}

/// Elements of a BYTES tensor, each behind its length.
fn framed_texts(elements: &[&[u8]]) -> Vec<u8> {
    let length = |element: &[u8]| u32::try_from(element.len()).unwrap().to_le_bytes();
    elements.iter().flat_map(|element| [&length(element), *element].concat()).collect()
}

fn reverse(request: &mut ModelInferRequest) {
    request.inputs.reverse();
    request.raw_input_contents.reverse();
}

fn with_parameters(request: &mut ModelInferRequest) {
    let whole = |number| InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(number)) };
    request.parameters.insert("timeout".to_owned(), whole(1_000_000));
    let size = i64::try_from(request.raw_input_contents[0].len()).unwrap();
    parameter(&mut request.inputs[0], "binary_data_size", size);
    let best = [("classification".to_owned(), whole(1))].into();
    request.outputs = vec![InferRequestedOutputTensor { name: "out".to_owned(), parameters: best }];
}

fn parameter(input: &mut InferInputTensor, name: &str, number: i64) {
    let number = InferParameter { parameter_choice: Some(ParameterChoice::Int64Param(number)) };
    input.parameters.insert(name.to_owned(), number);
}

fn contents() -> InferTensorContents {
    InferTensorContents::default()
}
