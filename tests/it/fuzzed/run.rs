//! What holds for any bytes: shared by the fuzz targets and the replay of their corpora.
#![allow(dead_code, unreachable_pub, reason = "each target runs its own")]

use asepsis::app;
use asepsis::clock::{Deadline, Now};
use asepsis::contract::Contract;
use asepsis::contract::image::{ImageFormat, ImageSpec, Target};
use asepsis::intake::files::{Decoders, Patience};
use asepsis::intake::image::{Decoded, Wanted};
use asepsis::intake::prepare::prepare;
use asepsis::intake::{self, Received};
use asepsis::proto::ModelInferRequest;
use asepsis::transport::Limits;
use prost::Message;
use std::sync::OnceLock;
use std::time::Duration;

/// An input that takes everything there is to take: a table with rules, and files of every format.
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
columns = [{ name = "a", min = 0.0, max = 9.0 }, { name = "b", min = -1.0, max = 1.0 }]

[[outputs]]
name = "out"
datatype = "FP32"
shape = [-1, 2]
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
            images_bytes_max: 4 << 20,
            ..Limits::default()
        };
        app::decoders(&limits)
    })
}

fn soon() -> (Now, Deadline) {
    let now = Now::read();
    (now, Deadline::after(now, Duration::from_mins(1)))
}

/// A message on the wire: it is refused with a field, or becomes an input that keeps the contract.
pub fn request(bytes: &[u8]) {
    let Ok(request) = ModelInferRequest::decode(bytes) else { return };
    let (now, deadline) = soon();
    let input = match intake::read(contract(), &request) {
        Ok(Received::Input(input)) => Ok(input),
        Ok(Received::Files(pending)) => {
            let patience = Patience { since: now, deadline, given_up: std::sync::Arc::default() };
            pending.decode(contract(), decoders(), &patience)
        }
        Err(error) => Err(error),
    };
    match input {
        Ok(input) => assert!(input.rows() > 0 && input.tensors().len() == 2),
        Err(error) => assert!(!error.field.is_empty() && !error.problem.is_empty()),
    }
}

/// A file of any format, as if it were of this one alone.
fn image(bytes: &[u8], format: ImageFormat) {
    let spec = ImageSpec { formats: vec![format], ..ImageSpec::any() };
    let (now, deadline) = soon();
    for frame in [None, Some(1)] {
        let mut budget = decoders().budget(now, deadline);
        let wanted = Wanted { spec: &spec, frame };
        let Ok(Decoded { raster, .. }) = decoders().decode(bytes, &wanted, &mut budget) else { continue };
        assert_eq!(raster.samples.len(), raster.width * raster.height * raster.channels.count());
        let target = Target { width: 5, height: 6, channels: 1 };
        let mut row = vec![f32::NAN; 30];
        if prepare(&raster, &spec, target, &mut budget, &mut row).is_ok() {
            assert!(row.iter().all(|level| (0.0..=1.0).contains(level)), "a level is out of range");
        }
    }
}

/// DICOM.
pub fn dicom(bytes: &[u8]) {
    image(bytes, ImageFormat::Dicom);
}

/// PNG.
pub fn png(bytes: &[u8]) {
    image(bytes, ImageFormat::Png);
}

/// JPEG.
pub fn jpeg(bytes: &[u8]) {
    image(bytes, ImageFormat::Jpeg);
}
