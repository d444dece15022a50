//! What the demo sends, and how each must end: stated here, not learned from the answers.

use super::samples::Samples;
use super::{files, request};
use crate::proto::ModelInferRequest;
use crate::reason::{Action, Reason};
use std::fmt;
use std::path::Path;

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// May use every model and is told what was done with its answers.
    Client,
    /// May read radiographs.
    Radiologist,
    /// May respond to incidents, and use no model.
    Responder,
    /// Has no certificate.
    Stranger,
}

impl Caller {
    /// The name of its certificate in the development PKI.
    #[must_use]
    pub fn certificate(self) -> Option<&'static str> {
        match self {
            Self::Client => Some("client"),
            Self::Radiologist => Some("client-Radiologists_AI_Read"),
            Self::Responder => Some("client-Security_Incident_Response"),
            Self::Stranger => None,
        }
    }
}

/// Headings of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Sound input from a caller who may.
    Answered,
    /// Input changed by an adversary.
    Attacked,
    /// Not what the contract says.
    Malformed,
    /// Not this caller, or not this model.
    Forbidden,
}

impl Group {
    /// The heading.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Answered => "Answered: patients and images, from a caller who may ask",
            Self::Attacked => "Attacked: such inputs, changed a little until the model errs",
            Self::Malformed => "Malformed: not what the model's contract says",
            Self::Forbidden => "Forbidden: not this caller, or not this model",
        }
    }
}

/// How a case must end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// An answer with this class on top, which is neither flagged nor withheld; for a batch, no class.
    Answer(Option<String>),
    /// A status in its stead: the reason implies it.
    Refusal(Action, Reason),
    /// An answer that is marked as doubtful, or none: the copies are random, and the evidence is near the
    /// threshold between the two.
    Doubted,
    /// This alert in the TLS handshake.
    Alert(&'static str),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answer(None) => f.write_str("OK allowed clean"),
            Self::Answer(Some(class)) => write!(f, "OK allowed clean {class}"),
            Self::Refusal(action, reason) => write!(f, "{} {action} {reason}", reason.status()),
            Self::Doubted => f.write_str("flagged or withheld anomalous"),
            Self::Alert(alert) => write!(f, "TLS alert refused {}", alert.replace(' ', "_")),
        }
    }
}

/// One thing that is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Where it stands in the table.
    pub group: Group,
    /// What it is.
    pub name: &'static str,
    /// What is sent, in a few words.
    pub sent: String,
    /// In whose name.
    pub caller: Caller,
    /// The request.
    pub request: ModelInferRequest,
    /// How it must end.
    pub expected: Expected,
}

const WDBC: [&str; 2] = ["malignant", "benign"];
const PNEUMONIA: [&str; 2] = ["normal", "pneumonia"];
const CLEAN_BATCH: usize = 4;
/// Larger messages are too long to send for a demonstration.
const OVERSIZE_MAX: usize = 8 << 20;

/// Samples of the three models.
pub struct Data {
    /// Rows of 30 features.
    pub wdbc: Samples,
    /// Radiographs.
    pub pneumonia: Samples,
    /// Handwritten digits.
    pub digits: Samples,
}

impl Data {
    /// Reads the samples of every model.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn read(directory: &Path) -> Result<Self, String> {
        let read = |model| Samples::read(directory, model);
        Ok(Self { wdbc: read("wdbc")?, pneumonia: read("pneumonia")?, digits: read("digits")? })
    }

    /// A sound request, for measuring.
    #[must_use]
    pub fn benign(&self) -> Option<ModelInferRequest> {
        Some(tumour(&self.wdbc, &[self.wdbc.of_class(1)?]))
    }
}

/// Every case, in the order of the table. A message over `message_bytes_max` is among them if that is small.
///
/// # Errors
/// The samples lack what a case needs.
pub fn all(data: &Data, message_bytes_max: usize) -> Result<Vec<Case>, String> {
    let mut cases = answered(data).ok_or("the samples lack a clean row of some class")?;
    cases.extend(attacked(data).ok_or("the samples lack an attacked row")?);
    let row = data.wdbc.of_class(1).ok_or("the samples lack a clean row")?;
    cases.extend(malformed(&data.wdbc, row, message_bytes_max));
    cases.extend(unclean(&data.pneumonia).ok_or("the samples lack a radiograph")?);
    cases.extend(forbidden(&data.wdbc, row));
    Ok(cases)
}

fn answered(data: &Data) -> Option<Vec<Case>> {
    let Data { wdbc, pneumonia, digits } = data;
    let answer = |name, sent: &str, request, class: Option<String>| Case {
        group: Group::Answered,
        name,
        sent: sent.to_owned(),
        caller: Caller::Client,
        request,
        expected: Expected::Answer(class),
    };
    let mut cases = Vec::new();
    for (name, class) in [("benign tumour", 1), ("malignant tumour", 0)] {
        let request = tumour(wdbc, &[wdbc.of_class(class)?]);
        cases.push(answer(name, "wdbc, 30 features", request, WDBC.get(class).map(ToString::to_string)));
    }
    for (name, class) in [("normal radiograph", 0), ("pneumonia radiograph", 1)] {
        let request = image("pneumonia", pneumonia, &[pneumonia.of_class(class)?]);
        let label = PNEUMONIA.get(class).map(ToString::to_string);
        cases.push(answer(name, "pneumonia, 28x28", request, label));
    }
    let lung = files::radiograph(pneumonia.of_class(1)?, side(pneumonia)?, "DX");
    let (file, label) =
        (request::file("pneumonia", "image", &lung), PNEUMONIA.get(1).map(ToString::to_string));
    cases.push(answer("radiograph as DICOM", "DX 504x504, 12 bits", file, label));
    let (_, digit) = digits.attack()?;
    let drawing = files::drawing(digits.of_class(digit)?, side(digits)?).ok()?;
    let file = request::file("digits", "image", &drawing);
    cases.push(answer("digit as PNG", &format!("digits, a {digit}"), file, Some(digit.to_string())));
    for (name, class) in [("handwritten digit", digit), ("another digit", digits.other_class(digit)?)] {
        let request = image("digits", digits, &[digits.of_class(class)?]);
        cases.push(answer(name, &format!("digits, a {class}"), request, Some(class.to_string())));
    }
    let batch = tumour(wdbc, &wdbc.first(CLEAN_BATCH));
    cases.push(answer("batch of patients", &format!("wdbc, {CLEAN_BATCH} rows"), batch, None));
    Some(cases)
}

fn attacked(data: &Data) -> Option<Vec<Case>> {
    let Data { wdbc, pneumonia, digits } = data;
    let (row, _) = wdbc.attack()?;
    let (lung, _) = pneumonia.attack()?;
    let (digit, class) = digits.attack()?;
    let case = |name, sent: String, request, expected| Case {
        group: Group::Attacked,
        name,
        sent,
        caller: Caller::Client,
        request,
        expected,
    };
    let withheld = || Expected::Refusal(Action::Withheld, Reason::Anomalous);
    let mut batch = digits.first(CLEAN_BATCH - 1);
    batch.push(digit);
    let (lung, batch) = (image("pneumonia", pneumonia, &[lung]), image("digits", digits, &batch));
    let digit = image("digits", digits, &[digit]);
    Some(vec![
        case("attacked tumour", "wdbc, 30 features".into(), tumour(wdbc, &[row]), Expected::Doubted),
        case("attacked radiograph", "pneumonia, 28x28".into(), lung, withheld()),
        case("attacked digit", format!("digits, a {class}"), digit, withheld()),
        case("batch, one attacked", format!("digits, {CLEAN_BATCH} rows"), batch, withheld()),
    ])
}

/// Pixels of a side of the square images.
fn side(samples: &Samples) -> Option<usize> {
    samples.row_shape.last().and_then(|side| usize::try_from(*side).ok())
}

/// Files that are refused before a model sees them.
fn unclean(pneumonia: &Samples) -> Option<Vec<Case>> {
    let (lung, side) = (pneumonia.of_class(1)?, side(pneumonia)?);
    let refused = |name, sent: &str, file: &[u8], reason| Case {
        group: Group::Malformed,
        name,
        sent: sent.to_owned(),
        caller: Caller::Client,
        request: request::file("pneumonia", "image", file),
        expected: Expected::Refusal(Action::Refused, reason),
    };
    let mut cut = files::radiograph(lung, side, "DX");
    cut.truncate(cut.len() / 2);
    let (other, drawing) = (files::radiograph(lung, side, "MR"), files::drawing(lung, side).ok()?);
    let (executable, bomb) = (files::executable(lung, side), files::bomb().ok()?);
    Some(vec![
        refused("wrong modality", "DICOM of an MR", &other, Reason::WrongSubject),
        refused("executable DICOM", "preamble begins MZ", &executable, Reason::Polyglot),
        refused("decompression bomb", "deflated, 1 GiB", &bomb, Reason::ImageTooLarge),
        refused("half a radiograph", "DICOM, cut short", &cut, Reason::BadImage),
        refused("another format", "pneumonia, a PNG", &drawing, Reason::FormatForbidden),
    ])
}

fn malformed(wdbc: &Samples, row: &[f32], message_bytes_max: usize) -> Vec<Case> {
    let good = || tumour(wdbc, &[row]);
    let with_radius = |radius: f32| {
        let mut changed = row.to_vec();
        if let Some(first) = changed.first_mut() {
            *first = radius;
        }
        tumour(wdbc, &[&changed])
    };
    let mut below = row.to_vec();
    if let (Some(mean), Some(worst)) = (row.first(), below.get_mut(WORST_RADIUS)) {
        *worst = mean - 1.0;
    }
    let worst = tumour(wdbc, &[&below]);
    let refused = |name, sent: &str, request, reason| Case {
        group: Group::Malformed,
        name,
        sent: sent.to_owned(),
        caller: Caller::Client,
        request,
        expected: Expected::Refusal(Action::Refused, reason),
    };
    let short = row.get(..row.len().saturating_sub(1)).unwrap_or_default();
    let mut cases = vec![
        refused("not a number", "wdbc, radius NaN", with_radius(f32::NAN), Reason::NonFinite),
        refused("wrong datatype", "wdbc, FP64", request::in_double(good(), row), Reason::BadDatatype),
        refused(
            "wrong shape",
            "wdbc [1,29]",
            request::fp32("wdbc", "features", &[29], &[short]),
            Reason::BadShape,
        ),
        refused("wrong tensor name", "wdbc, `feature`", request::renamed(good(), "feature"), Reason::BadName),
        refused("negative radius", "wdbc, radius -14 um", with_radius(-14.0), Reason::OutOfRange),
        refused("radius of a metre", "wdbc, radius 1e6 um", with_radius(1e6), Reason::OutOfRange),
        refused("worst below mean", "wdbc, worst radius", worst, Reason::RuleBroken),
        refused(
            "shape wraps at 2^32",
            &format!("wdbc [{WRAPPING_ROWS},30]"),
            request::reshaped(good(), &[WRAPPING_ROWS, 30]),
            Reason::BatchTooLarge,
        ),
        refused("missing bytes", "wdbc, 119 of 120 B", request::cut_short(good()), Reason::BadContent),
    ];
    if message_bytes_max <= OVERSIZE_MAX {
        let request = request::oversize(good(), message_bytes_max);
        let sent = format!("wdbc, {message_bytes_max} B");
        cases.push(refused("oversize message", &sent, request, Reason::TooLarge));
    }
    cases
}

/// The worst of the radii, of which the first feature is the mean.
const WORST_RADIUS: usize = 20;

/// 536870913 x 30 floats of 4 bytes are 15 x 2^32 + 120 bytes: multiplied in 32 bits, exactly the one row sent.
const WRAPPING_ROWS: i64 = (1 << 29) + 1;

fn forbidden(wdbc: &Samples, row: &[f32]) -> Vec<Case> {
    let good = || tumour(wdbc, &[row]);
    let forbidden = |name, sent: &str, caller, request, expected| Case {
        group: Group::Forbidden,
        name,
        sent: sent.to_owned(),
        caller,
        request,
        expected,
    };
    let no_model = || Expected::Refusal(Action::Refused, Reason::ModelForbidden);
    let no_method = Expected::Refusal(Action::Refused, Reason::MethodForbidden);
    let unknown = request::fp32("retina", "features", &wdbc.row_shape, &[row]);
    let elsewhere = ModelInferRequest { model_version: "1/../../x".into(), ..good() };
    let no_certificate = Expected::Alert("certificate required");
    vec![
        forbidden("unknown model", "retina, 30 features", Caller::Client, unknown, no_model()),
        forbidden("path as a version", "wdbc, 1/../../x", Caller::Client, elsewhere, no_model()),
        forbidden("another role's model", "wdbc, radiologist", Caller::Radiologist, good(), no_model()),
        forbidden("role without models", "wdbc, responder", Caller::Responder, good(), no_method),
        forbidden("no certificate", "TLS handshake", Caller::Stranger, good(), no_certificate),
    ]
}

fn tumour(samples: &Samples, rows: &[&[f32]]) -> ModelInferRequest {
    request::fp32("wdbc", "features", &samples.row_shape, rows)
}

fn image(model: &str, samples: &Samples, rows: &[&[f32]]) -> ModelInferRequest {
    request::fp32(model, "image", &samples.row_shape, rows)
}

#[cfg(test)]
mod tests {
    use super::super::samples::tests::samples;
    use super::*;

    fn cases(message_bytes_max: usize) -> Vec<Case> {
        let image = || samples(&[1, 28, 28]);
        let data = Data { wdbc: samples(&[30]), pneumonia: image(), digits: image() };
        all(&data, message_bytes_max).unwrap()
    }

    fn case(name: &str) -> Case {
        cases(4 << 20).into_iter().find(|case| case.name == name).unwrap()
    }

    #[test]
    fn the_wrapping_shape_is_one_row_in_32_bits() {
        let case = case("shape wraps at 2^32");
        let bytes = case.request.inputs[0].shape.iter().product::<i64>() * 4;
        assert!(bytes > 1 << 32);
        assert_eq!(bytes % (1 << 32), i64::try_from(case.request.raw_input_contents[0].len()).unwrap());
    }

    #[test]
    fn names_are_distinct_and_fit_their_column() {
        let cases = cases(4 << 20);
        let names: std::collections::BTreeSet<_> = cases.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases.len());
        assert!(cases.iter().all(|case| case.name.len() <= 20 && case.sent.len() <= 19));
    }

    #[test]
    fn a_message_too_long_to_demonstrate_is_left_out() {
        use prost::Message as _;
        assert!(case("oversize message").request.encoded_len() > 4 << 20);
        assert!(!cases(64 << 20).iter().any(|case| case.name == "oversize message"));
    }

    #[test]
    fn one_malformed_field_differs_from_a_good_request() {
        let good = case("benign tumour").request;
        assert_eq!(case("wrong datatype").request.raw_input_contents[0].len(), 240);
        assert_eq!(case("missing bytes").request.raw_input_contents[0].len(), 119);
        assert_eq!(case("no certificate").request.inputs, good.inputs);
        assert!(case("not a number").request.raw_input_contents[0].starts_with(&f32::NAN.to_le_bytes()));
    }
}
