//! Files that stand in for image tensors (datatype BYTES, shape `[N]`, one file a row): taken apart when they are
//! received, decoded and prepared later, where it may take time.

use super::image::turns::{Turn, Turns};
use super::image::{self, Budget, Decoded, Format, ImageError, Limits, Room, Store, Wanted};
use super::{Input, IntakeError, Received, prepare, refuse, tensor, values};
use crate::clock::{Deadline, Now};
use crate::contract::image::{Frame, ImageSpec, Target};
use crate::contract::{Contract, InputSpec};
use crate::reason::Reason;
use crate::tensor::{Data, Tensor};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Compressed bytes are thought to take so long each to decode and prepare: for the queue, not for a promise.
const NANOSECONDS_PER_BYTE: u64 = 20;

/// A request that keeps the contract as far as can be told without decoding its files.
pub struct Pending {
    parts: Vec<Part>,
    rows: usize,
}

/// One input of the contract.
pub(super) enum Part {
    /// A tensor, decoded and checked.
    Tensor(Tensor),
    /// The files of each row.
    Files(Files),
}

/// The files of one input.
pub(super) struct Files {
    at: usize,
    /// The field that holds them, without the index of the file.
    field: String,
    content: Vec<Bytes>,
    frame: Option<u32>,
}

/// How long somebody waits for the files of a request.
#[derive(Clone, Debug)]
pub struct Patience {
    /// When decoding them began.
    pub since: Now,
    /// When the request ends.
    pub deadline: Deadline,
    /// Whether its caller has hung up.
    pub given_up: Arc<AtomicBool>,
}

/// Every decoder, and what they may spend.
pub struct Decoders {
    formats: Vec<Box<dyn Format>>,
    limits: Limits,
    store: Arc<Store>,
    turns: Arc<Turns>,
}

impl Decoders {
    /// Of every format; `memory_bytes` is for all files being decoded together, `each_max` the requests with files
    /// that one principal may have waiting or being decoded.
    #[must_use]
    pub fn new(limits: Limits, memory_bytes: usize, each_max: usize) -> Self {
        let (store, turns) = (Arc::new(Store::new(memory_bytes)), Arc::new(Turns::new(each_max)));
        Self { formats: image::formats(), limits, store, turns }
    }

    /// A turn for a request of this principal, to be held while its files wait or are decoded.
    ///
    /// # Errors
    /// `Overloaded`: it has as many as it may have.
    pub fn turn(&self, principal: &str) -> Result<Turn, IntakeError> {
        let problem = "too many of your files wait to be decoded; try again later";
        Turns::take(&self.turns, principal).ok_or_else(|| refuse(Reason::Overloaded, "inputs", problem))
    }

    /// A budget for one file.
    #[must_use]
    pub fn budget(&self, now: Now, deadline: Deadline) -> Budget {
        Budget::new(self.limits, &self.store, now, deadline)
    }

    /// Decodes one file by the format that claims it.
    ///
    /// # Errors
    /// No format that the contract takes does, or its decoder refuses the file.
    pub fn decode(
        &self,
        file: &[u8],
        wanted: &Wanted<'_>,
        budget: &mut Budget,
    ) -> Result<Decoded, ImageError> {
        contained(|| self.claim(file, wanted.spec)?.decode(file, wanted, budget))
    }

    /// The format of a file, if the contract takes it and the file is small enough.
    fn claim(&self, file: &[u8], spec: &ImageSpec) -> Result<&dyn Format, ImageError> {
        self.limits.file(file.len())?;
        let Some(format) = self.formats.iter().find(|format| format.claims(file)) else {
            let problem = "neither a DICOM, a PNG nor a JPEG file";
            return Err(ImageError::new(Reason::FormatForbidden, problem));
        };
        let kind = format.format();
        if !spec.formats.contains(&kind) {
            let taken: Vec<&str> = spec.formats.iter().map(|format| format.as_str()).collect();
            let problem = format!("a {} file; the contract takes {}", kind.as_str(), taken.join(", "));
            return Err(ImageError::new(Reason::FormatForbidden, problem));
        }
        Ok(format.as_ref())
    }

    /// Sets memory aside for the tensors that files are to become, copies included: a small file may become a large
    /// row. To be held until the request ends.
    ///
    /// # Errors
    /// There is no room for so much, now or ever.
    pub fn room(&self, contract: &Contract, received: &Received) -> Result<Option<Room>, IntakeError> {
        let Received::Files(pending) = received else { return Ok(None) };
        let rows = pending.rows.saturating_mul(contract.rows_in_first_run());
        let bytes = contract.inputs.iter().zip(&pending.parts).map(|(spec, part)| match part {
            Part::Tensor(_) => 0,
            Part::Files(_) => spec.row_len().saturating_mul(rows).saturating_mul(size_of::<f32>()),
        });
        let bytes = bytes.fold(0_usize, usize::saturating_add);
        let room = Store::room(&self.store, bytes);
        room.map(Some).map_err(|error| refuse(error.reason, "inputs", error.problem))
    }

    /// Decodes one file into one row of a tensor, and says to which study it belongs.
    ///
    /// # Errors
    /// As [`Decoders::decode`], or the contract's preparation does not fit the image.
    pub fn row(
        &self,
        file: &[u8],
        (wanted, target): (&Wanted<'_>, Target),
        mut budget: Budget,
        out: &mut [f32],
    ) -> Result<Option<String>, ImageError> {
        contained(|| {
            let Decoded { raster, study } =
                self.claim(file, wanted.spec)?.decode(file, wanted, &mut budget)?;
            prepare::prepare(&raster, wanted.spec, target, &mut budget, out)?;
            Ok(study)
        })
    }
}

/// A panic would be a bug of ours or of the foreign decoder; it ends with its file, and as what it is for the caller:
/// one that cannot be decoded. The log tells that it happened, and where by the process's panic hook; nothing of the
/// file.
fn contained<T>(work: impl FnOnce() -> Result<T, ImageError>) -> Result<T, ImageError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        tracing::error!("a decoder panicked; the file was refused");
        Err(ImageError::bad("it cannot be decoded"))
    })
}

impl Pending {
    pub(super) fn new(parts: Vec<Part>, rows: usize) -> Self {
        Self { parts, rows }
    }

    /// The client's rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of the tensors and files as they were received.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Part::bytes).sum()
    }

    /// How long decoding is thought to take.
    #[must_use]
    pub fn estimate(&self) -> std::time::Duration {
        let bytes = u64::try_from(self.bytes()).unwrap_or(u64::MAX);
        std::time::Duration::from_nanos(bytes.saturating_mul(NANOSECONDS_PER_BYTE))
    }

    /// Decodes and prepares every file, and holds what comes of it against the contract.
    ///
    /// # Errors
    /// The first file that is refused, or whose prepared values break the contract.
    pub fn decode(
        self,
        contract: &Contract,
        decoders: &Decoders,
        patience: &Patience,
    ) -> Result<Input, IntakeError> {
        let mut tensors = Vec::with_capacity(self.parts.len());
        let mut studies = Vec::new();
        for (spec, part) in contract.inputs.iter().zip(self.parts) {
            tensors.push(match part {
                Part::Tensor(tensor) => tensor,
                Part::Files(files) => {
                    files.decode(spec, contract.rows_in_first_run(), decoders, patience, &mut studies)?
                }
            });
        }
        studies.sort();
        studies.dedup();
        Ok(Input { tensors, rows: self.rows, studies })
    }
}

impl Part {
    fn bytes(&self) -> usize {
        match self {
            Self::Tensor(tensor) => tensor.size_bytes(),
            Self::Files(files) => files.content.iter().map(Bytes::len).sum(),
        }
    }
}

impl Files {
    /// Takes the files of an input from the contents that hold them.
    pub(super) fn receive(
        at: usize,
        source: values::Source<'_>,
        rows: usize,
        frame: Option<u32>,
    ) -> Result<Self, IntakeError> {
        let (field, content) = match source {
            values::Source::Raw(raw) => {
                let places = values::framing::split(raw, rows, at)?;
                let files = places.into_iter().map(|place| raw.slice(place)).collect();
                (format!("raw_input_contents[{at}]"), files)
            }
            values::Source::Typed(contents) => {
                let files = values::decode::typed_bytes(at, contents, rows)?.to_vec();
                (format!("inputs[{at}].contents.bytes_contents"), files)
            }
        };
        Ok(Self { at, field, content, frame })
    }

    fn decode(
        self,
        spec: &InputSpec,
        rows_per_input: usize,
        decoders: &Decoders,
        patience: &Patience,
        studies: &mut Vec<String>,
    ) -> Result<Tensor, IntakeError> {
        let Self { at, field, content, frame } = self;
        let image = spec.image.as_ref().and_then(|image| Some((image, image.target(&spec.shape)?)));
        let (image, target) =
            image.ok_or_else(|| refuse(Reason::Internal, format!("inputs[{at}]"), "not an image"))?;
        let row_len = spec.row_len();
        let too_large = || refuse(Reason::BatchTooLarge, format!("inputs[{at}].shape"), "too many elements");
        let count = content.len().checked_mul(row_len).ok_or_else(too_large)?;
        let capacity = count.checked_mul(rows_per_input).ok_or_else(too_large)?;
        let refused =
            |nth: usize, error: ImageError| refuse(error.reason, format!("{field}[{nth}]"), error.problem);
        for (nth, file) in content.iter().enumerate() {
            decoders.claim(file, image).map_err(|error| refused(nth, error))?;
        }
        // Zeros that are not touched before a file is decoded.
        let mut values = vec![0.0; capacity];
        values.truncate(count);
        let wanted = Wanted { spec: image, frame };
        for (nth, (file, out)) in content.iter().zip(values.chunks_exact_mut(row_len.max(1))).enumerate() {
            let Patience { since, deadline, given_up } = patience;
            let budget = decoders.budget(*since, *deadline).until(given_up);
            let study = decoders.row(file, (&wanted, target), budget, out);
            let study = study.map_err(|error| refused(nth, error))?;
            studies.extend(study);
        }
        let data = Data::Fp32(values);
        values::check(spec, at, &data)?;
        tensor(spec, at, content.len(), data)
    }
}

/// Which frame the caller names.
pub(super) fn frame_of(spec: &ImageSpec, at: usize, frame: Option<u64>) -> Result<Option<u32>, IntakeError> {
    let Some(frame) = frame else { return Ok(None) };
    let field = || format!("inputs[{at}].parameters[\"frame\"]");
    if spec.frame != Frame::Caller {
        return Err(refuse(
            Reason::BadParameter,
            field(),
            "the contract does not let callers choose a frame",
        ));
    }
    let number = u32::try_from(frame).ok().filter(|frame| *frame > 0);
    number.map(Some).ok_or_else(|| refuse(Reason::BadParameter, field(), "frames are counted from 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_a_file_is_decoded_is_a_broken_file() {
        let refused = contained::<()>(|| panic!("hostile")).unwrap_err();
        assert_eq!(refused, ImageError::bad("it cannot be decoded"));
        assert_eq!(contained(|| Ok(1)), Ok(1));
    }
}
