//! What holds for any bytes: shared by the fuzz targets and the replay of their corpora.
#![allow(dead_code, unreachable_pub, reason = "each target runs its own")]

use asepsis::admission::Content;
use asepsis::app;
use asepsis::clock::{Deadline, Now};
use asepsis::contract::Contract;
use asepsis::contract::image::{ImageFormat, ImageSpec, Target};
use asepsis::intake::files::{Decoders, Patience};
use asepsis::intake::image::{Decoded, Wanted};
use asepsis::intake::prepare::prepare;
use asepsis::intake::{self, Received, parameters};
use asepsis::proto::ModelInferRequest;
use asepsis::proto::onnx::TensorProto;
use asepsis::provenance::graph;
use asepsis::reason::Reason;
use asepsis::transport::Limits;
use prost::Message;
use std::sync::OnceLock;
use std::time::Duration;

/// Inputs that take everything there is to take: files of every format, a table with rules, a category, text.
const CONTRACT: &str = r#"
name = "fuzzed"
version = "1"
batch_max = 8

[[inputs]]
name = "image"
datatype = "FP32"
shape = [-1, 3, 6, 5]
[inputs.image]
formats = ["dicom", "png", "jpeg"]
colour = "convert"
fit = "crop"
filter = "lanczos"
frame = "caller"

[[inputs]]
name = "table"
datatype = "FP64"
shape = [-1, 2]
columns = [{ name = "a", min = 0.0, max = 9.0, grid = 0.5 }, { name = "b", min = -1.0, max = 9.0 }]
rules = ["a <= b"]

[[inputs]]
name = "code"
datatype = "INT16"
shape = [-1, 1]
columns = [{ name = "code", min = 0.0, max = 9.0, values = [1, 3, 9] }]

[[inputs]]
name = "text"
datatype = "BYTES"
shape = [-1, 1]
values = ["F", "M"]
length_max = 8

[[outputs]]
name = "out"
datatype = "FP32"
shape = [-1, 2]
meaning = "probabilities"
publish = true
"#;

fn contract() -> &'static Contract {
    static CONTRACT_READ: OnceLock<Contract> = OnceLock::new();
    CONTRACT_READ.get_or_init(|| Contract::parse(CONTRACT).expect("the contract is good"))
}

/// Small limits, so that a fuzzer meets them.
fn decoders() -> &'static Decoders {
    static DECODERS: OnceLock<Decoders> = OnceLock::new();
    DECODERS.get_or_init(|| {
        let limits = Limits {
            image_bytes_max: 1 << 20,
            image_samples_max: 1 << 18,
            image_timeout_ms: 60_000,
            images_bytes_max: 32 << 20,
            ..Limits::default()
        };
        app::decoders(&limits)
    })
}

/// Why a file alone may be refused.
pub const IMAGE_REASONS: [Reason; 6] = [
    Reason::FormatForbidden,
    Reason::FormatUnsupported,
    Reason::BadImage,
    Reason::BadParameter,
    Reason::Polyglot,
    Reason::ImageTooLarge,
];

fn soon() -> (Now, Deadline) {
    let now = Now::read();
    (now, Deadline::after(now, Duration::from_mins(1)))
}

/// libFuzzer takes any panic for a finding. One of the JPEG 2000 decoder is contained and refused as a broken file
/// (`codestream/jpeg2000.rs`); every other one is ours.
pub fn abort_on_our_panics() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|at| at.file().contains("hayro-jpeg2000")) {
            abort(panic);
        }
    }));
}

/// A message on the wire: it is refused with a field, or becomes an input that keeps the contract. Whether it was
/// taken.
pub fn request(bytes: &[u8]) -> bool {
    let Ok(request) = ModelInferRequest::decode(bytes) else { return false };
    let (now, deadline) = soon();
    if let Err(error) = parameters::read(contract(), &request, Content::Full) {
        assert!(error.field.starts_with("parameters[") || error.field.starts_with("outputs["));
    }
    let input = match intake::read(contract(), &request) {
        Ok(Received::Input(input)) => Ok(input),
        Ok(Received::Files(pending)) => {
            let patience = Patience { since: now, deadline, given_up: std::sync::Arc::default() };
            pending.decode(contract(), decoders(), &patience)
        }
        Err(error) => Err(error),
    };
    match input {
        Ok(input) => {
            assert!(input.rows() > 0 && input.tensors().len() == contract().inputs.len());
            true
        }
        Err(error) => {
            let told = !error.field.is_empty() && !error.problem.is_empty();
            assert!(told && error.reason != Reason::Internal, "{error}");
            false
        }
    }
}

/// A file of any format, as if it were of this one alone. Whether it was taken.
fn image(bytes: &[u8], format: ImageFormat) -> bool {
    let spec = ImageSpec { formats: vec![format], ..ImageSpec::any() };
    let (now, deadline) = soon();
    let mut taken = false;
    for frame in [None, Some(1)] {
        let mut budget = decoders().budget(now, deadline);
        let wanted = Wanted { spec: &spec, frame };
        let Decoded { raster, .. } = match decoders().decode(bytes, &wanted, &mut budget) {
            Ok(decoded) => decoded,
            Err(error) => {
                assert!(IMAGE_REASONS.contains(&error.reason) && !error.problem.is_empty(), "{error}");
                continue;
            }
        };
        taken = true;
        assert_eq!(raster.samples.len(), raster.width * raster.height * raster.channels.count());
        let target = Target { width: 5, height: 6, channels: 1 };
        let mut row = vec![f32::NAN; 30];
        if prepare(&raster, &spec, target, &mut budget, &mut row).is_ok() {
            assert!(row.iter().all(|level| (0.0..=1.0).contains(level)), "a level is out of range");
        }
    }
    taken
}

/// DICOM.
pub fn dicom(bytes: &[u8]) -> bool {
    image(bytes, ImageFormat::Dicom)
}

/// PNG.
pub fn png(bytes: &[u8]) -> bool {
    image(bytes, ImageFormat::Png)
}

/// JPEG.
pub fn jpeg(bytes: &[u8]) -> bool {
    image(bytes, ImageFormat::Jpeg)
}

/// Two model files behind the length of the first in four bytes, merged. Whether they were.
pub fn onnx_graph(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return false };
    let length = (u32::from_le_bytes(*length) as usize).min(rest.len());
    let (primary, twin) = rest.split_at(length);
    let Ok(before) = graph::read(primary) else { return false };
    let before = before.graph.expect("what is read has a graph");
    let names: Vec<String> =
        graph::real_inputs(&before).iter().map(|input| input.name().to_owned()).collect();
    let merged = match graph::merge(primary, twin, &names, "logits") {
        Ok(merged) => merged,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return false;
        }
    };
    // The primary is what it was, and behind it everything is the twin's.
    let after = graph::read(&merged).expect("what was written is read").graph.expect("with a graph");
    assert!(after.node.starts_with(&before.node) && after.input == before.input);
    assert!(after.initializer.starts_with(&before.initializer));
    let (outputs, added) = after.output.split_at(before.output.len());
    assert!(outputs == before.output && added.len() == 1 && added[0].name() == "twin/logits");
    let made = after.node[before.node.len()..].iter().flat_map(|node| &node.output);
    let mut stored = after.initializer[before.initializer.len()..].iter().map(TensorProto::name);
    assert!(made.into_iter().all(|name| name.is_empty() || name.starts_with(graph::PREFIX)));
    assert!(stored.all(|name| name.is_empty() || name.starts_with(graph::PREFIX)));
    true
}
