//! `asepsis image`: what is in an image file, and what a model sees of it?
//!
//! For the owner of a model, on files of their own: the same decoders, limits and preparation as for a request.

use super::{Failure, contract};
use crate::app;
use crate::clock::{self, Deadline, Now};
use crate::contract::image::{ImageSpec, Target};
use crate::contract::{Contract, InputSpec};
use crate::file;
use crate::intake::files::Decoders;
use crate::intake::image::{Channels, Decoded, ImageError, Raster, Samples, Wanted};
use crate::transport::Limits;
use ndarray_npy::WritableElement;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Commands.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Decode files, and say what they hold or why they are refused.
    Decode(DecodeArgs),
    /// Make of files what a model sees of them, and say why one is refused.
    Prepare(PrepareArgs),
}

/// Files, and what to make of them.
#[derive(clap::Args)]
pub struct Files {
    /// DICOM, PNG or JPEG files.
    #[arg(required = true, value_name = "FILE")]
    paths: Vec<PathBuf>,
    /// Which frame of a DICOM file of several, counted from 1.
    #[arg(long)]
    frame: Option<u32>,
    /// A directory for the result: FILE.npy for each file.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Arguments of `decode`.
#[derive(clap::Args)]
pub struct DecodeArgs {
    #[command(flatten)]
    files: Files,
}

/// Arguments of `prepare`.
#[derive(clap::Args)]
pub struct PrepareArgs {
    #[command(flatten)]
    files: Files,
    /// The contract: models/NAME/VERSION/contract.toml.
    #[arg(long)]
    contract: PathBuf,
    /// Which input, if several take files.
    #[arg(long)]
    input: Option<String>,
    /// Also write FILE.png for each file: what the model sees, as a person can look at it.
    #[arg(long, requires = "out")]
    png: bool,
}

/// Runs one of the commands.
///
/// # Errors
/// A file is refused or cannot be read, or the contract takes no files.
pub fn run(command: &Command, out: &mut dyn Write) -> Result<(), Failure> {
    let limits = Limits::default();
    let desk = Desk { decoders: app::decoders(&limits), bytes_max: limits.image_bytes_max };
    match command {
        Command::Decode(args) => {
            let spec = ImageSpec::any();
            args.files.each(out, |path, frame| desk.decode(path, &spec, frame, args.files.out.as_deref()))
        }
        Command::Prepare(args) => {
            let contract = contract::read(&args.contract)?;
            let (input, spec, target) = image_input(&contract, args.input.as_deref())?;
            args.files.each(out, |path, frame| desk.prepare(path, (input, spec, target), frame, args))
        }
    }
}

impl Files {
    /// A line a file; the command fails if one of them was refused.
    fn each(
        &self,
        out: &mut dyn Write,
        mut act: impl FnMut(&Path, Option<u32>) -> Result<String, Problem>,
    ) -> Result<(), Failure> {
        if let Some(directory) = &self.out {
            let mut names = BTreeSet::new();
            if let Some(twice) = self.paths.iter().find(|path| !names.insert(path.file_name())) {
                let name = Path::new(twice.file_name().unwrap_or_default());
                let problem = "one result would overwrite another; give them one directory at a time";
                return Err(Failure::Usage(format!("two files are named {}: {problem}", name.display())));
            }
            std::fs::create_dir_all(directory)
                .map_err(|error| Failure::Other(format!("{}: {error}", directory.display())))?;
        }
        let mut refused = 0_usize;
        for path in &self.paths {
            let began = clock::instant();
            let said = act(path, self.frame);
            let ms = (clock::instant() - began).as_secs_f64() * 1e3;
            match said {
                Ok(what) => writeln!(out, "{}: {what}, {ms:.1} ms", path.display())?,
                Err(problem) => {
                    refused = refused.saturating_add(1);
                    writeln!(out, "{}: {problem}, {ms:.1} ms", path.display())?;
                }
            }
        }
        if refused == 0 {
            return Ok(());
        }
        Err(Failure::Other(format!("{refused} of {} files are not taken", self.paths.len())))
    }
}

/// Why nothing came of a file.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("refused {}: {}", .error.reason, .error.problem)]
    Refused { error: ImageError },
    #[error("{0}")]
    Io(String),
}

impl From<ImageError> for Problem {
    fn from(error: ImageError) -> Self {
        Self::Refused { error }
    }
}

/// Decoders, as a request meets them.
struct Desk {
    decoders: Decoders,
    bytes_max: usize,
}

impl Desk {
    fn read(&self, path: &Path) -> Result<Vec<u8>, Problem> {
        let most = u64::try_from(self.bytes_max).unwrap_or(u64::MAX);
        file::read(path, most).map_err(|error| Problem::Io(error.to_string()))
    }

    fn budget(&self) -> crate::intake::image::Budget {
        let now = Now::read();
        self.decoders.budget(now, Deadline::after(now, Duration::from_mins(1)))
    }

    fn decode(
        &self,
        path: &Path,
        spec: &ImageSpec,
        frame: Option<u32>,
        out: Option<&Path>,
    ) -> Result<String, Problem> {
        let file = self.read(path)?;
        let Decoded { raster, .. } =
            self.decoders.decode(&file, &Wanted { spec, frame }, &mut self.budget())?;
        if let Some(directory) = out {
            let shape = [raster.height, raster.width, raster.channels.count()];
            let to = directory.join(name(path, "npy"));
            match &raster.samples {
                Samples::U8(samples) => write_npy(&to, shape, samples),
                Samples::U16(samples) => write_npy(&to, shape, samples),
                Samples::I16(samples) => write_npy(&to, shape, samples),
                Samples::U32(samples) => write_npy(&to, shape, samples),
                Samples::I32(samples) => write_npy(&to, shape, samples),
            }?;
        }
        Ok(described(&raster))
    }

    fn prepare(
        &self,
        path: &Path,
        (input, spec, target): (&InputSpec, &ImageSpec, Target),
        frame: Option<u32>,
        args: &PrepareArgs,
    ) -> Result<String, Problem> {
        let file = self.read(path)?;
        let mut row = vec![0.0_f32; input.row_len()];
        self.decoders.row(&file, (&Wanted { spec, frame }, target), self.budget(), &mut row)?;
        if let Some(directory) = &args.files.out {
            let dims = input.shape.iter().skip(1).filter_map(|dim| usize::try_from(*dim).ok());
            let shape: Vec<usize> = dims.collect();
            write_npy(&directory.join(name(path, "npy")), shape.as_slice(), &row)?;
            if args.png {
                let to = directory.join(name(path, "png"));
                write_png(&to, &seen(&row, spec, target), target)?;
            }
        }
        let (least, most) = row.iter().fold((f32::MAX, f32::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
        Ok(format!("`{}` {:?}, {least:.4} to {most:.4}", input.name, input.shape))
    }
}

/// In a few words, of structure alone.
fn described(raster: &Raster) -> String {
    let Raster { width, height, channels, samples, tone } = raster;
    let kind = match samples {
        Samples::U8(_) => "8 bits",
        Samples::U16(_) => "16 bits",
        Samples::I16(_) => "16 bits signed",
        Samples::U32(_) => "32 bits",
        Samples::I32(_) => "32 bits signed",
    };
    let colour = match (channels, tone.inverted) {
        (Channels::Grey, false) => "grey",
        (Channels::Grey, true) => "grey, white is least",
        (Channels::Rgb, _) => "colour",
    };
    let window = if tone.voi.is_some() { ", windowed" } else { "" };
    format!("{width} x {height}, {colour}, {kind}{window}")
}

/// The name of a result, beside those of other files.
fn name(path: &Path, extension: &str) -> String {
    format!("{}.{extension}", path.file_name().unwrap_or_default().to_string_lossy())
}

fn write_npy<T: WritableElement + Clone>(
    path: &Path,
    shape: impl ndarray::IntoDimension,
    values: &[T],
) -> Result<(), Problem> {
    let array = ndarray::Array::from_shape_vec(shape.into_dimension(), values.to_vec());
    let array = array.map_err(|error| Problem::Io(error.to_string()))?;
    let written = ndarray_npy::write_npy(path, &array);
    written.map_err(|error| Problem::Io(format!("{}: {error}", path.display())))
}

/// Levels of a row as bytes, channels beside each other: the preparation's last steps taken back.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "levels are clamped to a byte")]
fn seen(row: &[f32], spec: &ImageSpec, target: Target) -> Vec<u8> {
    let pixels = target.width * target.height;
    let mut bytes = vec![0; row.len()];
    for (at, byte) in bytes.iter_mut().enumerate() {
        let (pixel, channel) = (at / target.channels, at % target.channels);
        let from = match spec.layout {
            crate::contract::image::Layout::Nchw => channel * pixels + pixel,
            crate::contract::image::Layout::Nhwc => at,
        };
        let level = f64::from(row.get(from).copied().unwrap_or(0.0));
        let std = spec.std.get(channel).copied().unwrap_or(1.0);
        let mean = spec.mean.get(channel).copied().unwrap_or(0.0);
        *byte = ((level * std + mean) * 255.0).round().clamp(0.0, 255.0) as u8;
    }
    bytes
}

fn write_png(path: &Path, bytes: &[u8], target: Target) -> Result<(), Problem> {
    let problem = |error: &dyn std::fmt::Display| Problem::Io(format!("{}: {error}", path.display()));
    let file = std::fs::File::create(path).map_err(|error| problem(&error))?;
    let side = |pixels: usize| u32::try_from(pixels).unwrap_or(u32::MAX);
    let mut encoder = png::Encoder::new(file, side(target.width), side(target.height));
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_color(if target.channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
    let mut writer = encoder.write_header().map_err(|error| problem(&error))?;
    writer.write_image_data(bytes).map_err(|error| problem(&error))
}

/// The input that takes files.
pub(super) fn image_input<'a>(
    contract: &'a Contract,
    name: Option<&str>,
) -> Result<(&'a InputSpec, &'a ImageSpec, Target), Failure> {
    let wanted = |input: &&InputSpec| name.is_none_or(|name| input.name == name);
    let image = |input: &'a InputSpec| {
        let spec = input.image.as_ref()?;
        Some((input, spec, spec.target(&input.shape)?))
    };
    let mut found = contract.inputs.iter().filter(wanted).filter_map(image);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(_), Some(_)) => Err(Failure::Usage("several inputs take files; give --input NAME".into())),
        (None, _) => {
            let problem = "takes no files; its owner declares them under [inputs.image] in the contract";
            let which = name.map_or("the model".to_owned(), |name| format!("input `{name}`"));
            Err(Failure::Usage(format!("{which} {problem}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(paths: &[&Path], out: &Path) -> Result<String, Failure> {
        let paths = paths.iter().map(|path| path.to_path_buf()).collect();
        let files = Files { paths, frame: None, out: Some(out.to_owned()) };
        let contract = PathBuf::from("models/digits/1/contract.toml");
        let command = Command::Prepare(PrepareArgs { files, contract, input: None, png: true });
        let mut said = Vec::new();
        super::run(&command, &mut said)?;
        Ok(String::from_utf8(said).unwrap())
    }

    #[test]
    fn no_result_overwrites_another_and_what_is_refused_fails_the_command() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (directory.path().join("a/x.png"), directory.path().join("b/x.png"));
        let out = directory.path().join("seen");
        for path in [&one, &two] {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"no image").unwrap();
        }
        assert!(matches!(run(&[&one, &two], &out), Err(Failure::Usage(_))));
        assert!(!out.exists());
        assert!(matches!(run(&[&one], &out), Err(Failure::Other(_))));
    }

    #[test]
    fn a_prepared_file_is_what_the_model_sees_as_numbers_and_as_a_picture() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("digit.png");
        let levels: Vec<f32> = (0..784_u16).map(|i| f32::from(i % 256) / 255.0).collect();
        std::fs::write(&path, super::super::demo::files::drawing(&levels, 28).unwrap()).unwrap();
        let out = directory.path().join("seen");
        let said = run(&[&path], &out).unwrap();
        assert!(said.contains("`image` [-1, 1, 28, 28], 0.0000 to 1.0000"), "{said}");
        let seen: ndarray::Array3<f32> = ndarray_npy::read_npy(out.join("digit.png.npy")).unwrap();
        assert!(seen.iter().eq(levels.iter()));
        assert_eq!(std::fs::read(out.join("digit.png.png")).unwrap(), std::fs::read(&path).unwrap());
    }
}
