//! Contracts that cannot be served, and what is read from good ones.

use super::*;

const GOOD: &str = r#"
    name = "wdbc"
    version = "1"
    batch_max = 8
    perturbations = [{ kind = "jitter", scale = 1.0 }]
    [[inputs]]
    name = "features"
    datatype = "FP32"
    shape = [-1, 1]
    columns = [{ name = "radius", unit = "mm", min = 0.0, max = 40.0, jitter = 0.1 }]
    [[outputs]]
    name = "probabilities"
    datatype = "FP32"
    shape = [-1, 2]
    meaning = "probabilities"
    publish = true
"#;

fn refusal(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    Contract::parse(&GOOD.replace(from, to)).unwrap_err().to_string()
}

#[test]
fn contradictions_are_refused_by_key() {
    assert!(refusal("\"wdbc\"", "\"../wdbc\"").contains("`name`"));
    assert!(refusal("version = \"1\"", "version = \"01\"").contains("`version`"));
    assert!(refusal("batch_max = 8", "batch_max = 1").contains("`batch_max`"));
    assert!(refusal("shape = [-1, 1]", "shape = [1, 1]").contains("`inputs[0].shape`"));
    assert!(refusal("shape = [-1, 1]", "shape = [-1, 0]").contains("`inputs[0].shape`"));
    assert!(refusal("shape = [-1, 1]", "shape = [-1, 2]").contains("`inputs[0].columns`"));
    assert!(refusal("max = 40.0", "max = 0.0").contains("`inputs[0].columns[0]`"));
    assert!(refusal("publish = true", "publish = false").contains("`outputs`"));
    assert!(refusal("scale = 1.0", "scale = 0.0").contains("`perturbations[0].scale`"));
    assert!(refusal("\"jitter\", scale = 1.0", "\"median\", window = 2").contains("no image"));
    assert!(refusal("batch_max", "batchmax").contains("batchmax"));
}

#[test]
fn the_bound_itself_is_in_range() {
    let contract = Contract::parse(&GOOD.replace("max = 40.0", "max = 0.31")).unwrap();
    assert!(f64::from(0.31_f32) <= contract.inputs[0].columns[0].max);
}

#[test]
fn copies_share_the_batch_with_the_clients_rows() {
    let contract = Contract::parse(GOOD).unwrap();
    assert_eq!(contract.rows_per_input(), 2);
    assert_eq!(contract.client_rows_max(), 4);
}
