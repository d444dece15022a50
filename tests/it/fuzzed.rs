//! The corpora of the fuzz targets, replayed: what once was found stays found.

mod run;

use crate::house::root;
use std::path::PathBuf;

/// Whether it was taken.
type Run = fn(&[u8]) -> bool;

/// Every committed input of a target.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = root().join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn no_input_of_the_corpora_breaks_what_holds_for_any_bytes() {
    let targets: [(&str, Run); 5] = [
        ("request", run::request),
        ("dicom", run::dicom),
        ("png", run::png),
        ("jpeg", run::jpeg),
        ("onnx_graph", run::onnx_graph),
    ];
    for (target, run) in targets {
        let (mut taken, mut refused) = (0, 0);
        for (path, bytes) in corpus(target) {
            let held = std::panic::catch_unwind(|| run(&bytes));
            let was_taken = held.unwrap_or_else(|_| panic!("{}", path.display()));
            *(if was_taken { &mut taken } else { &mut refused }) += 1;
            // Half of a good file is as near to it as a hostile one.
            run(&bytes[..bytes.len() / 2]);
        }
        assert!(taken >= 8 && refused >= 8, "{target}: {taken} taken, {refused} refused");
    }
}
