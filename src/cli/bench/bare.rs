//! How long does the model itself take, in this process and with nothing around it? The anchor of a stored result.

use super::result;
use super::tally::Tally;
use crate::cli::Failure;
use crate::clock;
use crate::digest::sha256;
use crate::file;
use crate::inference::ort::bare::Bare;
use crate::inference::ort::{Runtime, VERSION};
use crate::tensor::Tensor;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The largest model that is read.
const MODEL_BYTES_MAX: u64 = 4 << 30;

/// An opened model and what it is asked, in turn.
pub(super) struct Anchor {
    model: Bare,
    requests: Vec<Vec<(String, Tensor)>>,
    next: usize,
    sha256: String,
    threads: usize,
}

impl Anchor {
    /// Opens `directory/model.onnx`, or `directory` itself where that is a file.
    ///
    /// # Errors
    /// The library or the model cannot be used, or it takes other inputs than the server's model.
    pub(super) fn open(
        directory: &Path,
        library: &Path,
        threads: usize,
        requests: Vec<Vec<(String, Tensor)>>,
    ) -> Result<Self, Failure> {
        let path = if directory.is_dir() { directory.join("model.onnx") } else { PathBuf::from(directory) };
        let wrong = |problem: String| Failure::Other(format!("{}: {problem}", path.display()));
        let runtime = Runtime::load(library).map_err(|error| Failure::Other(error.to_string()))?;
        let bytes = file::read(&path, MODEL_BYTES_MAX).map_err(|error| wrong(error.to_string()))?;
        let model = Bare::open(&runtime, &bytes, threads).map_err(|error| wrong(error.to_string()))?;
        let mut asked = Vec::with_capacity(requests.len());
        for request in requests {
            asked.push(named(&model, request).map_err(wrong)?);
        }
        let mut anchor = Self { model, requests: asked, next: 0, sha256: sha256(&bytes), threads };
        anchor.run().map_err(|error| wrong(format!("it does not take what the server takes: {error}")))?;
        Ok(anchor)
    }

    fn run(&mut self) -> Result<(), String> {
        let at = self.next.checked_rem(self.requests.len()).unwrap_or(0);
        self.next = self.next.wrapping_add(1);
        let inputs = self.requests.get(at).ok_or("there is nothing to ask")?;
        self.model.run(inputs).map_err(|error| error.to_string())
    }

    /// Runs the model until `length` has passed; the runs, and how long that took.
    ///
    /// # Errors
    /// A run failed.
    pub(super) fn block(&mut self, length: Duration) -> Result<(Tally, Duration), Failure> {
        let mut tally = Tally::new().ok_or_else(|| Failure::Other("no histogram".into()))?;
        let begun = clock::instant();
        let mut started = begun;
        while started.saturating_duration_since(begun) < length {
            self.run().map_err(Failure::Other)?;
            let now = clock::instant();
            tally.answered(now.saturating_duration_since(started));
            started = now;
        }
        Ok((tally, started.saturating_duration_since(begun)))
    }

    /// What the result says of it.
    pub(super) fn described(&self, all: &Tally, blocks: Vec<result::Block>) -> result::Bare {
        result::Bare {
            model_sha256: self.sha256.clone(),
            onnxruntime: VERSION.to_owned(),
            threads: self.threads,
            latency_us: all.latencies(),
            blocks,
        }
    }
}

/// The tensors of a request under the names that the model itself has: a server may give its only input another.
fn named(model: &Bare, request: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>, String> {
    let ports = model.inputs();
    if let ([port], [_]) = (ports.as_slice(), request.as_slice()) {
        return Ok(request.into_iter().map(|(_, tensor)| (port.name.clone(), tensor)).collect());
    }
    let missing = ports.iter().find(|port| !request.iter().any(|(name, _)| *name == port.name));
    match missing {
        Some(port) => Err(format!("it has an input `{}` that the server does not name", port.name)),
        None => Ok(request),
    }
}
