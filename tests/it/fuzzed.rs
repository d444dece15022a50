//! The corpora of the fuzz targets, replayed: what once was found stays found.

mod run;

use crate::house::root;
use std::path::PathBuf;

type Run = fn(&[u8]);

/// Every committed input of a target.
fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = root().join("fuzz/corpus").join(target);
    let files = std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path());
    let read: Vec<_> = files.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect();
    assert!(read.len() >= 8, "{}: {} files", directory.display(), read.len());
    read
}

#[test]
fn no_input_of_the_corpora_breaks_what_holds_for_any_bytes() {
    let targets: [(&str, Run); 4] =
        [("request", run::request), ("dicom", run::dicom), ("png", run::png), ("jpeg", run::jpeg)];
    for (target, run) in targets {
        for (path, bytes) in corpus(target) {
            let held = std::panic::catch_unwind(|| run(&bytes));
            assert!(held.is_ok(), "{}", path.display());
            // Half of a good file is as near to it as a hostile one.
            run(bytes.get(..bytes.len() / 2).unwrap());
        }
    }
}
