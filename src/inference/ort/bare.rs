//! A model with nothing around it: what a guarded or served one is compared with.

use super::{Port, Runtime, failed, ports, view};
use crate::inference::InferenceError;
use crate::tensor::Tensor;
use ort::session::{Session, SessionInputValue};
use std::borrow::Cow;

/// One session, and no contract, twin, copies or queue.
pub struct Bare(Session);

impl Bare {
    /// Opens a model of `intra_threads` threads.
    ///
    /// # Errors
    /// The model cannot be loaded.
    pub fn open(runtime: &Runtime, model: &[u8], intra_threads: usize) -> Result<Self, InferenceError> {
        runtime.open(model, intra_threads).map(Self)
    }

    /// What the model takes.
    #[must_use]
    pub fn inputs(&self) -> Vec<Port> {
        ports(&self.0).0
    }

    /// One `session.run`, whose outputs are dropped unread.
    ///
    /// # Errors
    /// The model does not take these inputs, or fails.
    pub fn run(&mut self, inputs: &[(String, Tensor)]) -> Result<(), InferenceError> {
        let mut named: Vec<(Cow<'_, str>, SessionInputValue<'_>)> = Vec::with_capacity(inputs.len());
        for (name, tensor) in inputs {
            named.push((Cow::Borrowed(name), view(tensor).map_err(|error| failed(&error))?));
        }
        self.0.run(named).map(drop).map_err(|error| failed(&error))
    }
}
