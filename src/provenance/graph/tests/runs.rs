//! Does a run of the merged graph give what runs of its two models give?

use super::*;

/// Runs the two alone and as one.
fn compare(primary: &[u8], twin: &[u8], (name, dims): (&str, &[i64]), wanted: &str) {
    let merged = merge(primary, twin, &[name.to_owned()], wanted).unwrap();
    for rows in [1, 2, 7] {
        let shape: Vec<i64> = [&[rows], dims].concat();
        let count = usize::try_from(shape.iter().product::<i64>()).unwrap();
        // Levels of a picture in no order.
        let levels = (0..=255_u8).cycle().step_by(157).take(count);
        let values: Vec<f32> = levels.map(|level| f32::from(level) / 255.0).collect();
        let mut expected = run(primary, name, &shape, &values);
        let alone = run(twin, name, &shape, &values);
        expected.insert(format!("{PREFIX}{wanted}"), alone[wanted].clone());
        assert!(run(&merged, name, &shape, &values) == expected, "{rows} rows");
    }
}

fn file(model: &str) -> Vec<u8> {
    std::fs::read(format!("models/{model}/1/model.onnx")).unwrap()
}

#[test]
fn the_merged_graph_answers_bit_by_bit_what_its_models_answer_alone() {
    let image: (&str, &[i64]) = ("image", &[1, 28, 28]);
    let features: (&str, &[i64]) = ("features", &[30]);
    for wanted in ["logits", "probabilities"] {
        compare(&file("wdbc"), &file("wdbc"), features, wanted);
        for primary in ["digits", "pneumonia"] {
            for twin in ["digits", "pneumonia"] {
                compare(&file(primary), &file(twin), image, wanted);
            }
        }
    }
}

#[test]
fn models_of_other_inputs_are_refused() {
    let image = ["image".to_owned()];
    let told = merge(&file("digits"), &file("wdbc"), &image, "logits").unwrap_err();
    assert_eq!(told, GraphError::InputAbsent { side: Side::Primary, name: "features".into() });
}

fn constant(name: &str, value: f32) -> NodeProto {
    let attribute = AttributeProto {
        name: Some("value_float".to_owned()),
        r#type: Some(1),
        f: Some(value),
        ..AttributeProto::default()
    };
    NodeProto { attribute: vec![attribute], ..node("Constant", &[], name) }
}

fn branch(name: &str, graph: GraphProto) -> AttributeProto {
    AttributeProto {
        name: Some(name.to_owned()),
        r#type: Some(5),
        g: Some(graph),
        ..AttributeProto::default()
    }
}

/// Where the mean of all elements is above a threshold, adds it to the input and to a value of its own; else takes
/// another branch, which sees a weight and the input.
pub(super) fn branching() -> ModelProto {
    let then = GraphProto {
        name: Some("then".to_owned()),
        node: vec![constant("own", 0.25), node("Add", &["x", "own"], "a"), node("Add", &["a", "mean"], "b")],
        output: vec![port("b", &["batch", "2"])],
        ..GraphProto::default()
    };
    let otherwise = GraphProto {
        name: Some("else".to_owned()),
        node: vec![node("Mul", &["x", "w"], "c")],
        output: vec![port("c", &["batch", "2"])],
        ..GraphProto::default()
    };
    let mut reduce = node("ReduceMean", &["x"], "mean");
    reduce.attribute.push(AttributeProto {
        name: Some("keepdims".to_owned()),
        r#type: Some(2),
        i: Some(0),
        ..AttributeProto::default()
    });
    let mut choice = node("If", &["high"], "logits");
    choice.attribute = vec![branch("then_branch", then), branch("else_branch", otherwise)];
    changed(|_, graph| {
        graph.initializer = vec![weights("w", &[3.0, 4.0]), weights("limit", &[0.5])];
        graph.initializer[1].dims.clear();
        graph.node = vec![reduce, node("Greater", &["mean", "limit"], "high"), choice];
    })
}

#[test]
fn branches_see_what_they_saw_before() {
    let (one, two) = (branching().encode_to_vec(), scaling(2.0).encode_to_vec());
    for (primary, twin) in [(&one, &two), (&two, &one), (&one, &one)] {
        compare(primary, twin, ("x", &[2]), "logits");
        for values in [[0.9, 0.8], [0.1, 0.2]] {
            let merged = merge(primary, twin, &["x".to_owned()], "logits").unwrap();
            let answer = run(&merged, "x", &[1, 2], &values);
            assert_eq!(answer["twin/logits"], run(twin, "x", &[1, 2], &values)["logits"]);
        }
    }
}

#[test]
fn a_name_that_a_branch_has_itself_is_its_own_also_where_it_is_that_of_an_input() {
    let inner = GraphProto { node: vec![node("Neg", &["x"], "y")], ..GraphProto::default() };
    let mut shadowing = inner.clone();
    shadowing.input = vec![port("x", &["N"])];
    let mut computing = inner.clone();
    computing.node.push(node("Neg", &["w"], "x"));
    let mut storing = inner.clone();
    storing.initializer.push(weights("x", &[1.0]));
    let graphs = [inner, shadowing, computing, storing];
    let attribute = AttributeProto { graphs: graphs.to_vec(), ..AttributeProto::default() };
    let twin = changed(|_, graph| graph.node[0].attribute.push(attribute));
    let merged = merged_of(&scaling(1.0), &twin).unwrap().graph.unwrap();
    let seen: Vec<_> =
        merged.node[2].attribute[0].graphs.iter().map(|graph| graph.node[0].input[0].as_str()).collect();
    assert_eq!(seen, ["x", "twin/x", "twin/x", "twin/x"]);
    let defined = &merged.node[2].attribute[0].graphs;
    assert_eq!(defined[1].input[0].name(), "twin/x");
    assert_eq!(defined[2].node[1].output, ["twin/x"]);
    assert_eq!(defined[3].initializer[0].name(), "twin/x");
}

#[test]
fn weights_that_an_old_file_lists_as_inputs_are_weights() {
    let old = changed(|model, graph| {
        model.ir_version = Some(3);
        graph.input.push(port("w", &["2"]));
    });
    let (old, new) = (old.encode_to_vec(), scaling(1.0).encode_to_vec());
    for (primary, twin) in [(&old, &new), (&new, &old), (&old, &old)] {
        compare(primary, twin, ("x", &[2]), "logits");
    }
}

#[test]
fn functions_come_along() {
    let with = |name: &str, operator: &str| {
        changed(|model, graph| {
            let mut function = identity_as("own", name);
            function.node = vec![node(operator, &["a"], "b")];
            function.opset_import = model.opset_import.clone();
            model.functions.push(function);
            model.opset_import.push(OperatorSetIdProto { domain: Some("own".into()), version: Some(1) });
            graph.node[1] = NodeProto { domain: Some("own".into()), ..node(name, &["inner"], "logits") };
        })
        .encode_to_vec()
    };
    let models = [with("F", "Neg"), with("G", "Tanh"), scaling(1.5).encode_to_vec()];
    for (primary, twin) in [(0, 1), (1, 0), (0, 0), (0, 2), (2, 0)] {
        compare(&models[primary], &models[twin], ("x", &[2]), "logits");
    }
}
