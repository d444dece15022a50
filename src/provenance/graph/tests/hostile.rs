//! What does merging do with bytes that nobody meant as a model?

use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

static MODELS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut models = vec![scaling(1.0).encode_to_vec(), runs::branching().encode_to_vec()];
    models.push(std::fs::read("models/wdbc/1/model.onnx").unwrap());
    models
});

/// What holds for any bytes: a merged model is one that is read, and its primary is what it was.
fn holds(primary: &[u8], twin: &[u8], name: &str) {
    let Ok(merged) = merge(primary, twin, &[name.to_owned()], "logits") else { return };
    let (merged, primary) = (read(&merged).unwrap().graph.unwrap(), read(primary).unwrap().graph.unwrap());
    assert!(merged.node.starts_with(&primary.node) && merged.input == primary.input);
    assert_eq!(merged.output.len(), primary.output.len() + 1);
    assert_eq!(merged.output.last().unwrap().name(), "twin/logits");
}

proptest! {
    #[test]
    fn random_bytes_are_refused_or_merged_but_never_break_anything(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), other in 0..2_usize,
    ) {
        holds(&MODELS[other], &bytes, "x");
        holds(&bytes, &MODELS[other], "x");
        holds(&bytes, &bytes, "x");
    }

    #[test]
    fn a_model_with_other_bytes_in_it_is_refused_or_merged_but_never_breaks_anything(
        which in 0..3_usize, changes in proptest::collection::vec((any::<u32>(), any::<u8>()), 1..6), cut in any::<u32>(),
    ) {
        let original = &MODELS[which];
        let mut mutated = original.clone();
        for (at, byte) in changes {
            let at = at as usize % mutated.len();
            mutated[at] = byte;
        }
        if cut % 4 == 0 {
            mutated.truncate(cut as usize % original.len());
        }
        for name in ["x", "features"] {
            holds(original, &mutated, name);
            holds(&mutated, original, name);
        }
    }
}
