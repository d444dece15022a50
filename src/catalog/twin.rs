//! How do a model and its twin become one graph?

use crate::contract::{Contract, Meaning, OutputSpec};
use crate::provenance::graph;
use crate::provenance::scan::scan;

/// What the twin is compared by: the first of these that the model answers.
const COMPARED: [(Meaning, Meaning); 4] = [
    (Meaning::Logits, Meaning::TwinLogits),
    (Meaning::Probabilities, Meaning::TwinProbabilities),
    (Meaning::Labels, Meaning::TwinLabels),
    (Meaning::Values, Meaning::TwinValues),
];

/// The output that the twin has too, and what its own is for detectors.
fn compared(contract: &Contract) -> Option<(&OutputSpec, Meaning)> {
    let output = |(own, twins)| Some((contract.outputs.get(contract.output_of(own)?)?, twins));
    COMPARED.into_iter().find_map(output)
}

/// Adds the twin's output to a contract that names a twin, behind the model's own: evidence, and never published.
pub(super) fn declare(contract: &mut Contract) {
    if contract.twin.is_none() {
        return;
    }
    let twins = compared(contract).map(|(output, meaning)| OutputSpec {
        name: format!("{}{}", graph::PREFIX, output.name),
        meaning: Some(meaning),
        publish: false,
        ..output.clone()
    });
    contract.outputs.extend(twins);
}

/// The contract of the model alone.
pub(super) fn without(contract: &Contract) -> Contract {
    let mut alone = contract.clone();
    let is_twins = |output: &OutputSpec| COMPARED.iter().any(|(_, twins)| output.meaning == Some(*twins));
    alone.outputs.retain(|output| !is_twins(output));
    alone
}

/// One graph that answers as both.
///
/// # Errors
/// The twin is not sound, or not of the same inputs and classes.
pub(super) fn merge(model: &[u8], twin: &[u8], contract: &Contract) -> Result<Vec<u8>, String> {
    let failed = |error: &dyn std::fmt::Display| format!("the twin: {error}");
    scan(twin).map_err(|error| failed(&error))?;
    let (output, _) = compared(contract).ok_or_else(|| failed(&"there is no output to compare it by"))?;
    let inputs: Vec<String> = contract.inputs.iter().map(|input| input.name.clone()).collect();
    graph::merge(model, twin, &inputs, &output.name).map_err(|error| failed(&error))
}
