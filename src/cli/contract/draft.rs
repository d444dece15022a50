//! What can be known of a contract from the model alone? The rest is left to its owner, marked TODO.

use super::Port;
use crate::contract::Meaning;
use crate::tensor::Datatype;

/// The most columns that are listed one a line.
pub(super) const COLUMNS_LISTED_MAX: i64 = 512;

/// The draft, or why no contract could serve the model. Inputs stand beside what clean data say of them, empty
/// where they say nothing.
pub(super) fn draft(
    name: &str,
    version: &str,
    (inputs, proposals): (&[Port], &[String]),
    outputs: &[Port],
) -> Result<String, String> {
    let mut text = format!(
        "# What version {version} of this model accepts, publishes and is checked with. Drafted from the model\n\
         # file, which knows nothing of what its values mean: complete it where it says TODO.\n\
         name = {}\n\
         version = {}\n\
         # description = \"TODO: one sentence for whoever reads the model's metadata\"\n\
         batch_max = 64              # rows a run may hold: client rows x (1 + copies)\n\
         # labels = \"labels.txt\"     # TODO: the classes in index order, one a line, in a file beside this one\n",
        quoted(name),
        quoted(version),
    );
    for (at, port) in inputs.iter().enumerate() {
        let datatype = served("input", port)?;
        input(&mut text, port, datatype, proposals.get(at).map_or("", String::as_str));
    }
    let meanings = meanings(outputs);
    let published = |at: usize| {
        let all = !meanings.contains(&Some(Meaning::Probabilities));
        all || meanings.get(at) == Some(&Some(Meaning::Probabilities))
    };
    for (at, port) in outputs.iter().enumerate() {
        let datatype = served("output", port)?;
        output(&mut text, port, datatype, meanings.get(at).copied().flatten(), published(at));
    }
    perturbations(&mut text, inputs);
    Ok(text)
}

/// The element type of a port that a contract can describe: one batch dimension, the rest fixed.
fn served(kind: &str, port: &Port) -> Result<Datatype, String> {
    let Port { name, datatype, shape } = port;
    let datatype = datatype.ok_or_else(|| {
        format!(
            "{kind} `{name}` is of a type that is not served; export it with FP16, BF16, FP32, FP64, \
             integers, BOOL or text"
        )
    })?;
    match shape.split_first() {
        Some((-1, rest)) if rest.iter().all(|dim| *dim > 0) => Ok(datatype),
        Some((-1, _)) => Err(format!(
            "{kind} `{name}` has shape {shape:?}: only the batch, its first dimension, may be symbolic; export \
             the model with the other dimensions fixed"
        )),
        _ => Err(format!(
            "{kind} `{name}` has shape {shape:?}: its first dimension must be a symbolic batch, so that the copies \
             that check an input run beside it; export the model with it (torch: dynamic_axes or dynamic_shapes)"
        )),
    }
}

/// What each output says, by its name; each meaning once.
fn meanings(outputs: &[Port]) -> Vec<Option<Meaning>> {
    let mut found: Vec<Option<Meaning>> = Vec::new();
    for port in outputs {
        let name = port.name.to_ascii_lowercase();
        let named = [
            ("probabilit", Meaning::Probabilities),
            ("logit", Meaning::Logits),
            ("embedding", Meaning::Embedding),
        ];
        let meaning = named.iter().find(|(word, _)| name.contains(word)).map(|(_, meaning)| *meaning);
        let new =
            |meaning: &Meaning| port.datatype == Some(Datatype::Fp32) && !found.contains(&Some(*meaning));
        found.push(meaning.filter(new));
    }
    found
}

fn input(text: &mut String, port: &Port, datatype: Datatype, proposal: &str) {
    push(text, format_args!("\n[[inputs]]\n{}{proposal}", port_keys(port, datatype)));
    if datatype != Datatype::Bool && proposal.is_empty() {
        values(text, port, datatype);
    }
    if datatype == Datatype::Fp32
        && let Some(layout) = layout(&port.shape)
    {
        files(text, layout);
    }
}

/// The order of the dimensions, where a row may be an image of one or three channels.
fn layout(shape: &[i64]) -> Option<&'static str> {
    match *shape {
        [_, 1 | 3, height, width] if height > 3 && width > 3 => Some("NCHW"),
        [_, height, width, 1 | 3] if height > 3 && width > 3 => Some("NHWC"),
        _ => None,
    }
}

fn files(text: &mut String, layout: &str) {
    push(
        text,
        format_args!(
            "# TODO: if files may be sent in place of the tensor (docs/IMAGES.md): which, and how one becomes it. As the\n\
             # training data were made: fit = \"stretch\", \"crop\" or \"pad\"; filter = \"area\", \"bilinear\" or \"lanczos\"; colour =\n\
             # \"convert\"; mean and std of each channel, for levels from 0 to 1; of DICOM files window, modalities, body_parts.\n\
             # [inputs.image]\n\
             # formats = [\"dicom\", \"png\", \"jpeg\"]\n\
             # layout = \"{layout}\"\n\
             # fit = \"exact\"\n\
             # filter = \"area\"\n"
        ),
    );
}

fn values(text: &mut String, port: &Port, datatype: Datatype) {
    if datatype == Datatype::Bytes {
        push(
            text,
            "# TODO: what an element may be. Without these, any text of up to 65,536 bytes is taken.\n\
             # length_max = 16           # bytes in UTF-8\n\
             # values = [\"F\", \"M\"]\n",
        );
        return;
    }
    push(
        text,
        "# TODO: the range of every element; a value outside is refused. Without one, any finite value is taken.\n\
         # minimum = 0.0\n\
         # maximum = 1.0\n",
    );
    if datatype.is_real() {
        push(
            text,
            "# accepts_nan = false       # true only if the model knows what to do with NaN\n\
             # accepts_infinity = false\n\
             # accepts_subnormal = false\n",
        );
    }
    if let [_, features] = *port.shape.as_slice()
        && features <= COLUMNS_LISTED_MAX
    {
        push(
            text,
            "# TODO: or, for a table, the clinically possible range of each feature instead of one for all. jitter: one\n\
             # standard deviation of its measurement error; step: the precision it is read to; both in its unit. Also: grid = 1.0 for\n\
             # whole numbers, or values = [0, 1, 2] for a category.\n\
             # columns = [\n",
        );
        for feature in 1..=features {
            let column = format_args!(
                "#   {{ name = \"feature {feature}\", unit = \"\", min = 0.0, max = 1.0, jitter = 0.0, step = 0.0 }},\n"
            );
            push(text, column);
        }
        push(
            text,
            "# ]\n# rules = [\"feature 2 >= feature 1\"]   # what must hold between the columns of a row\n",
        );
    }
}

fn output(text: &mut String, port: &Port, datatype: Datatype, meaning: Option<Meaning>, publish: bool) {
    push(text, format_args!("\n[[outputs]]\n{}", port_keys(port, datatype)));
    match meaning {
        Some(Meaning::Probabilities) => {
            push(text, "meaning = \"probabilities\"   # each row must sum to 1\n");
        }
        Some(Meaning::Logits) => push(text, "meaning = \"logits\"\n"),
        Some(Meaning::Embedding) => push(text, "meaning = \"embedding\"\n"),
        Some(Meaning::Labels) => push(text, "meaning = \"labels\"   # each in 0..1 by itself\n"),
        Some(Meaning::Values) => push(text, "meaning = \"values\"\n"),
        None if datatype == Datatype::Fp32 => push(
            text,
            "# TODO: what detectors may take it for, if it is one of these:\n\
             # meaning = \"probabilities\"   # or \"logits\", \"embedding\", \"labels\", \"values\"\n",
        ),
        // A draft is of the primary alone.
        None
        | Some(
            Meaning::TwinProbabilities | Meaning::TwinLogits | Meaning::TwinLabels | Meaning::TwinValues,
        ) => {}
    }
    let why = if publish { "callers see it" } else { "evidence inside; callers never see it" };
    push(text, format_args!("publish = {publish}    # {why}\n"));
}

fn perturbations(text: &mut String, inputs: &[Port]) {
    let reals: Vec<_> = inputs.iter().filter(|input| input.datatype == Some(Datatype::Fp32)).collect();
    if reals.is_empty() {
        return;
    }
    push(
        text,
        "\n# TODO: the perturbed copies that run beside every input, in order; a clean input's answer hardly changes\n\
         # under them. They come before calibration, which is bound to this file.\n",
    );
    if reals.iter().all(|input| input.shape.len() >= 3) {
        push(
            text,
            "# for images; jpeg and bit_depth for grey levels in 0..1; without a twin the first runs beside every row\n\
             # [[perturbations]]\n# kind = \"jpeg\"\n# quality = 75\n#\n\
             # [[perturbations]]\n# kind = \"blur\"\n# sigma = 1.0\n#\n\
             # [[perturbations]]\n# kind = \"median\"\n# window = 2\n#\n\
             # [[perturbations]]\n# kind = \"bit_depth\"\n# bits = 4\n",
        );
        return;
    }
    push(
        text,
        "# for tables, once `columns` says jitter and step\n\
         # [[perturbations]]\n# kind = \"jitter\"\n# scale = 1.0\n#\n\
         # [[perturbations]]\n# kind = \"round\"\n",
    );
}

fn port_keys(port: &Port, datatype: Datatype) -> String {
    format!("name = {}\ndatatype = \"{datatype}\"\nshape = {:?}\n", quoted(&port.name), port.shape)
}

/// As a TOML string.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

pub(super) fn push(text: &mut String, more: impl std::fmt::Display) {
    text.push_str(&more.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Contract;

    fn port(name: &str, datatype: Datatype, shape: &[i64]) -> Port {
        Port { name: name.into(), datatype: Some(datatype), shape: shape.to_vec() }
    }

    fn contract(inputs: &[Port], outputs: &[Port]) -> Contract {
        let text = draft("m", "1", (inputs, &[]), outputs).unwrap();
        Contract::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    #[test]
    fn a_model_that_no_contract_could_serve_is_refused_with_the_reason() {
        let good = port("x", Datatype::Fp32, &[-1, 3]);
        for (shape, reason) in [
            (&[1_i64, 3][..], "symbolic batch"),
            (&[], "symbolic batch"),
            (&[-1, -1], "only the batch"),
            (&[-1, 0], "only the batch"),
        ] {
            let bad = port("y", Datatype::Fp32, shape);
            let problem = draft("m", "1", (&[good.clone(), bad.clone()], &[]), std::slice::from_ref(&good))
                .unwrap_err();
            assert!(problem.contains("input `y`") && problem.contains(reason), "{problem}");
            let problem = draft("m", "1", (std::slice::from_ref(&good), &[]), &[bad]).unwrap_err();
            assert!(problem.contains("output `y`") && problem.contains(reason), "{problem}");
        }
        let text = Port { name: "text".into(), datatype: None, shape: vec![-1, 1] };
        assert!(draft("m", "1", (&[text], &[]), &[good]).unwrap_err().contains("`text` is of a type"));
    }

    #[test]
    fn only_probabilities_are_published_when_there_are_any() {
        let inputs = [port("image", Datatype::Fp32, &[-1, 1, 8, 8])];
        let outputs = [
            port("class_probabilities", Datatype::Fp32, &[-1, 2]),
            port("Logits", Datatype::Fp32, &[-1, 2]),
            port("embedding", Datatype::Fp32, &[-1, 64]),
            port("logits_again", Datatype::Fp32, &[-1, 2]),
            port("label", Datatype::Int64, &[-1]),
        ];
        let contract = contract(&inputs, &outputs);
        let meanings: Vec<_> = contract.outputs.iter().map(|output| output.meaning).collect();
        let (first, second, third) = (Meaning::Probabilities, Meaning::Logits, Meaning::Embedding);
        assert_eq!(meanings, [Some(first), Some(second), Some(third), None, None]);
        let published: Vec<_> = contract.outputs.iter().map(|output| output.publish).collect();
        assert_eq!(published, [true, false, false, false, false]);
    }

    #[test]
    fn without_probabilities_everything_is_published() {
        let inputs = [port("odd \"name\"\n", Datatype::Int8, &[-1, 2]), port("flag", Datatype::Bool, &[-1])];
        let contract =
            contract(&inputs, &[port("a", Datatype::Fp32, &[-1]), port("b", Datatype::Uint8, &[-1])]);
        assert!(contract.outputs.iter().all(|output| output.publish));
        assert_eq!(contract.inputs[0].name, "odd \"name\"\n");
    }

    #[test]
    fn images_may_come_as_files_once_their_owner_says_so() {
        let output = port("probabilities", Datatype::Fp32, &[-1, 2]);
        for (shape, layout) in [([-1, 3, 224, 224], "NCHW"), ([-1, 224, 224, 1], "NHWC")] {
            let text = draft(
                "m",
                "1",
                (&[port("image", Datatype::Fp32, &shape)], &[]),
                std::slice::from_ref(&output),
            )
            .unwrap();
            let keys = ["# [inputs.image]", "# formats", "# layout", "# fit =", "# filter"];
            let uncommented = |line: &str| {
                if keys.iter().any(|key| line.starts_with(key)) {
                    line[2..].to_owned()
                } else {
                    line.to_owned()
                }
            };
            let text = text.lines().map(uncommented).collect::<Vec<_>>().join("\n");
            let contract = Contract::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
            let image = contract.inputs[0].image.as_ref().unwrap();
            assert!(image.target(&contract.inputs[0].shape).is_some(), "{layout}");
        }
        assert_eq!(layout(&[-1, 8, 224, 224]), None);
        assert_eq!(layout(&[-1, 30]), None);
    }

    #[test]
    fn the_copies_of_an_image_parse_once_its_grey_levels_are_said() {
        let inputs = [port("image", Datatype::Fp32, &[-1, 1, 8, 8])];
        let output = port("probabilities", Datatype::Fp32, &[-1, 2]);
        let text = draft("m", "1", (&inputs, &[]), &[output]).unwrap();
        let keys = ["minimum", "maximum", "[[", "kind", "quality", "sigma", "window", "bits"];
        let wanted = |line: &&str| keys.iter().any(|key| line.starts_with(key));
        let uncommented = |line| match str::strip_prefix(line, "# ").filter(wanted) {
            Some(line) => line,
            None => line,
        };
        let text = text.lines().map(uncommented).collect::<Vec<_>>().join("\n");
        let contract = Contract::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        assert_eq!(contract.perturbations.len(), 4);
    }

    #[test]
    fn what_is_left_to_the_owner_parses_once_it_is_filled_in() {
        let inputs = [port("features", Datatype::Fp32, &[-1, 4])];
        let text =
            draft("m", "1", (&inputs, &[]), &[port("probabilities", Datatype::Fp32, &[-1, 2])]).unwrap();
        let uncommented: Vec<_> = text
            .lines()
            .filter(|line| !line.contains("minimum") && !line.contains("maximum") && !line.contains("labels"))
            .filter(|line| !line.starts_with("# description"))
            .map(|line| {
                let keys = ["# columns", "#   {", "# ]", "# [[", "# kind", "# scale", "# accepts", "# rules"];
                if keys.iter().any(|key| line.starts_with(key)) { &line[2..] } else { line }
            })
            .collect();
        let contract = Contract::parse(&uncommented.join("\n")).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!((contract.inputs[0].columns.len(), contract.perturbations.len()), (4, 2));
    }
}
