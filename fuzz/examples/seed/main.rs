//! Where do the corpora of the fuzz targets come from? `cargo run -p asepsis-fuzz --example seed` writes them anew:
//! honest files of every kind, and what an adversary makes of them. Inputs that fuzzing found are called `found-*`,
//! stand beside them and stay.

mod dicom;
mod jpeg;
mod onnx;
mod png;
mod request;
#[path = "../../../src/intake/image/codestream/writer.rs"]
mod lossless;
#[path = "../../../src/intake/image/dicom/writer.rs"]
mod writer;

use std::path::Path;
use std::{fs, io};

/// A name that tells what is in it, and a file.
type Seed = (&'static str, Vec<u8>);

fn main() -> io::Result<()> {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, seeds) in [
        ("dicom", dicom::seeds()),
        ("jpeg", jpeg::seeds()),
        ("onnx_graph", onnx::seeds()),
        ("png", png::seeds()),
        ("request", request::seeds()),
    ] {
        let directory = corpora.join(target);
        fs::create_dir_all(&directory)?;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if !entry.file_name().to_string_lossy().starts_with("found-") {
                fs::remove_file(entry.path())?;
            }
        }
        for (name, bytes) in seeds {
            let path = directory.join(name);
            assert!(!path.exists(), "two seeds are called {}", path.display());
            fs::write(path, bytes)?;
        }
    }
    Ok(())
}
