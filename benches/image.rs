//! What a file costs: from its bytes to the tensor, beside pydicom with numpy in the same run; and what a hostile
//! one costs until it is refused.
//!
//! `cargo bench --bench image`. Figures that are promised stand in docs/SPECIFICATION.md. pydicom is that of
//! `make interop`; without it the ratio is left out, and said so.
#![expect(clippy::unwrap_used, clippy::print_stdout, clippy::indexing_slicing, reason = "a benchmark")]

use asepsis::cli::demo::files;
use asepsis::clock::{Deadline, Now};
use asepsis::contract::Contract;
use asepsis::contract::image::ImageSpec;
use asepsis::intake::files::Decoders;
use asepsis::intake::image::Wanted;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const RUNS: usize = 300;

/// A slice of CT: 512 x 512, 16 bits, signed, with slope, intercept and window.
const CT: &str = "
import sys, io, timeit, numpy as np, pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
path, runs = sys.argv[1], int(sys.argv[2])
def read():
    ds = pydicom.dcmread(path)
    values = apply_voi_lut(apply_modality_lut(ds.pixel_array, ds), ds)
    return (values - values.min()) / (values.max() - values.min())
read()
times = sorted(timeit.repeat(read, number=1, repeat=runs))
print(times[len(times) // 2] * 1e6)
";

fn main() {
    let decoders = asepsis::app::decoders(&asepsis::transport::Limits::default());
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("ct.dcm");
    std::fs::write(&path, slice()).unwrap();
    println!("| file | tensor | ours p50, us | pydicom + numpy p50, us | ratio |\n|---|---|---|---|---|");
    let theirs = pydicom(&path);
    for (fit, side) in [("exact", 512), ("stretch", 224)] {
        let contract = contract(fit, side);
        let ours = median(RUNS, || {
            // As a caller's file: from bytes that are there.
            prepare(&decoders, &contract, &std::fs::read(&path).unwrap()).unwrap();
        });
        let ours = ours.as_secs_f64() * 1e6;
        let (theirs, ratio) = match theirs {
            Some(theirs) if fit == "exact" => (format!("{theirs:.0}"), format!("{:.1}", theirs / ours)),
            _ => ("-".into(), "-".into()),
        };
        println!("| CT 512 x 512, 16 bits, window | {side} x {side} | {ours:.0} | {theirs} | {ratio} |");
    }
    if theirs.is_none() {
        println!("\npydicom was left out: .venv-interop is not there (`make interop` makes it)");
    }
    hostile(&decoders);
}

/// What is refused, and after how long at the worst.
fn hostile(decoders: &Decoders) {
    let levels = vec![0.5; 28 * 28];
    let good = files::radiograph(&levels, 28, "DX");
    let cases = [
        ("a bomb of 1 GiB", files::bomb().unwrap()),
        ("an executable", files::executable(&levels, 28)),
        ("half a radiograph", good[..good.len() / 2].to_vec()),
        ("50 MiB of nothing", vec![0; 50 << 20]),
    ];
    let contract = contract("stretch", 224);
    println!("\n| refused | p50, us | p99, us |\n|---|---|---|");
    for (name, file) in cases {
        let mut times = times(100, || assert!(prepare(decoders, &contract, &file).is_err()));
        times.sort();
        println!("| {name} | {:.0} | {:.0} |", micros(times[50]), micros(times[98]));
    }
}

fn prepare(decoders: &Decoders, contract: &Contract, file: &[u8]) -> Result<Vec<f32>, String> {
    let input = &contract.inputs[0];
    let spec: &ImageSpec = input.image.as_ref().unwrap();
    let mut row = vec![0.0; input.row_len()];
    let now = Now::read();
    let budget = decoders.budget(now, Deadline::after(now, Duration::from_mins(1)));
    let wanted = Wanted { spec, frame: None };
    let done = decoders.row(file, (&wanted, spec.target(&input.shape).unwrap()), budget, &mut row);
    done.map(|_| row).map_err(|error| error.to_string())
}

fn contract(fit: &str, side: usize) -> Contract {
    let text = format!(
        "name = \"ct\"\nversion = \"1\"\nbatch_max = 1\n[[inputs]]\nname = \"image\"\ndatatype = \"FP32\"\n\
         shape = [-1, 1, {side}, {side}]\n[inputs.image]\nformats = [\"dicom\"]\nfit = \"{fit}\"\n\
         [[outputs]]\nname = \"o\"\ndatatype = \"FP32\"\nshape = [-1, 1]\npublish = true\n"
    );
    Contract::parse(&text).unwrap()
}

/// The median of pydicom's times for the same file, in microseconds.
fn pydicom(path: &Path) -> Option<f64> {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv-interop/bin/python");
    let told = Command::new(python).args(["-c", CT]).arg(path).arg(RUNS.to_string()).output().ok()?;
    String::from_utf8(told.stdout).ok()?.trim().parse().ok()
}

fn times(runs: usize, mut work: impl FnMut()) -> Vec<Duration> {
    let time = |_| {
        let started = Instant::now();
        work();
        started.elapsed()
    };
    (0..runs).map(time).collect()
}

fn median(runs: usize, work: impl FnMut()) -> Duration {
    let mut times = times(runs, work);
    times.sort();
    times[runs / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn slice() -> Vec<u8> {
    let mut pixels = Vec::with_capacity(512 * 512 * 2);
    for at in 0..512 * 512_i32 {
        let (x, y) = (at % 512, at / 512);
        let value = (x * y / 97 + at % 13) % 4096 - 1000;
        pixels.extend_from_slice(&i16::try_from(value).unwrap().to_le_bytes());
    }
    let (side, number) = (512_u16.to_le_bytes(), |value: u16| value.to_le_bytes());
    files::dicom(&[
        ((0x0008, 0x0016), b"UI", b"1.2.840.10008.5.1.4.1.1.2"),
        ((0x0008, 0x0060), b"CS", b"CT"),
        ((0x0028, 0x0002), b"US", &number(1)),
        ((0x0028, 0x0004), b"CS", b"MONOCHROME2"),
        ((0x0028, 0x0010), b"US", &side),
        ((0x0028, 0x0011), b"US", &side),
        ((0x0028, 0x0100), b"US", &number(16)),
        ((0x0028, 0x0101), b"US", &number(16)),
        ((0x0028, 0x0102), b"US", &number(15)),
        ((0x0028, 0x0103), b"US", &number(1)),
        ((0x0028, 0x1050), b"DS", b"40"),
        ((0x0028, 0x1051), b"DS", b"400"),
        ((0x0028, 0x1052), b"DS", b"-24"),
        ((0x0028, 0x1053), b"DS", b"1"),
        ((0x7fe0, 0x0010), b"OW", &pixels),
    ])
}
