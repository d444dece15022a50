//! Which files may stand in for an image tensor, and how one becomes it: `[inputs.image]`.
//!
//! The preparation is fixed here and part of the model's identity: detectors are calibrated on what it makes.

use super::{ContractError, InputSpec, require};
use crate::tensor::Datatype;
use serde::{Deserialize, Serialize};

/// Files that are taken in place of the tensor (datatype BYTES, shape `[N]`), and their preparation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageSpec {
    /// What a file may be, told by its content. What is not listed is refused even if it could be decoded.
    pub formats: Vec<ImageFormat>,
    /// Whether the prepared tensor itself may be sent as well.
    #[serde(default = "yes")]
    pub tensors: bool,
    /// The order of the tensor's dimensions.
    #[serde(default)]
    pub layout: Layout,
    /// What happens to a colour image where the model wants grey, and the reverse.
    #[serde(default)]
    pub colour: Colour,
    /// What happens to an image of another size than the model's.
    #[serde(default)]
    pub fit: Fit,
    /// Whether an image may be smaller than the tensor, and is enlarged; else it is refused: enlarging adds nothing
    /// that was seen.
    #[serde(default)]
    pub enlarges: bool,
    /// How pixels are resampled.
    #[serde(default)]
    pub filter: Filter,
    /// With `fit = "crop"`: the shorter side before the crop, in pixels; else the crop takes all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shorter_side: Option<usize>,
    /// Which values of a DICOM image are black and white.
    #[serde(default)]
    pub window: WindowSpec,
    /// Which frame of a DICOM file of several.
    #[serde(default)]
    pub frame: Frame,
    /// Subtracted from each channel's levels, which are 0 to 1; empty means 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mean: Vec<f64>,
    /// Each channel is divided by this; empty means 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub std: Vec<f64>,
    /// Modalities (0008,0060) of which a DICOM file must have one, as `DX`; empty takes any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modalities: Vec<String>,
    /// SOP classes (0008,0016) of which a DICOM file must have one, as UIDs; empty takes any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sop_classes: Vec<String>,
    /// Body parts (0018,0015) of which a DICOM file must have one, as `CHEST`; empty takes any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub body_parts: Vec<String>,
}

/// A file format, by its name in contracts and refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageFormat {
    /// DICOM PS3.10 files.
    Dicom,
    /// PNG (ISO/IEC 15948), not animated.
    Png,
    /// JPEG (ITU-T T.81) of 8 bits, baseline or progressive, grey or YCbCr.
    Jpeg,
}

/// The order of an image tensor's dimensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Row, channel, height, width.
    #[default]
    #[serde(rename = "NCHW")]
    Nchw,
    /// Row, height, width, channel.
    #[serde(rename = "NHWC")]
    Nhwc,
}

/// What happens to an image whose channels are not the model's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Colour {
    /// It is refused.
    #[default]
    AsSent,
    /// Colour becomes its luma (ITU-R BT.601, as Pillow's mode `L`); grey fills all three channels.
    Convert,
}

/// What happens to an image of another size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// It is refused.
    #[default]
    Exact,
    /// Both sides are scaled on their own: the proportions change.
    Stretch,
    /// Scaled until it covers the tensor, then cut evenly at both ends of the longer side.
    Crop,
    /// Scaled until it fits into the tensor, then centred on black.
    Pad,
}

/// How pixels are resampled; each as in Pillow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// The mean of the area a pixel covers (`BOX`).
    #[default]
    Area,
    /// A triangle, as wide as the scale when shrinking (`BILINEAR`).
    Bilinear,
    /// A windowed sinc of three lobes (`LANCZOS`).
    Lanczos,
}

/// Which values are black and white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowSpec {
    /// As the file says (its first window, or its VOI LUT); without one as `full`.
    #[default]
    File,
    /// The least and the largest value that its stored bits can hold.
    Full,
    /// The same for every file, in the units of the rescaled values (Hounsfield units in CT).
    Fixed(Window),
}

/// A window on real-world values (PS3.3 C.11.2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// The value in its middle.
    pub center: f64,
    /// The range it spans.
    pub width: f64,
    /// Its shape.
    #[serde(default)]
    pub function: WindowFunction,
}

/// The shape of a window (PS3.3 C.11.2.1.2 and C.11.2.1.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowFunction {
    /// `LINEAR`: from center - 0.5 - (width - 1) / 2 to center - 0.5 + (width - 1) / 2; width is at least 1.
    #[default]
    Linear,
    /// `LINEAR_EXACT`: from center - width / 2 to center + width / 2.
    LinearExact,
    /// `SIGMOID`: 1 / (1 + exp(-4 (x - center) / width)).
    Sigmoid,
}

/// Which frame of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Frame {
    /// A file of several frames is refused.
    #[default]
    Only,
    /// The first.
    First,
    /// The one in the middle, the earlier of two.
    Middle,
    /// The one that the caller names in the tensor's parameter `frame`, counted from 1; without it the only one.
    Caller,
}

fn yes() -> bool {
    true
}

impl ImageFormat {
    /// Its name in contracts and refusals.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dicom => "DICOM",
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
        }
    }
}

impl Window {
    /// Whether the standard gives it a meaning.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let least = match self.function {
            WindowFunction::Linear => self.width >= 1.0,
            WindowFunction::LinearExact | WindowFunction::Sigmoid => self.width > 0.0,
        };
        least && self.center.is_finite() && self.width.is_finite()
    }
}

/// What a prepared image is to be: the size of one row of the tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// In pixels.
    pub width: usize,
    /// In pixels.
    pub height: usize,
    /// 1 for grey, 3 for red, green and blue.
    pub channels: usize,
}

impl ImageSpec {
    /// Takes every file that can be decoded: for looking at files without a model.
    #[must_use]
    pub fn any() -> Self {
        Self {
            formats: vec![ImageFormat::Dicom, ImageFormat::Png, ImageFormat::Jpeg],
            tensors: true,
            layout: Layout::default(),
            colour: Colour::Convert,
            fit: Fit::Stretch,
            enlarges: true,
            filter: Filter::default(),
            shorter_side: None,
            window: WindowSpec::default(),
            frame: Frame::Caller,
            mean: Vec::new(),
            std: Vec::new(),
            modalities: Vec::new(),
            sop_classes: Vec::new(),
            body_parts: Vec::new(),
        }
    }

    /// What a row of a tensor of this shape is.
    #[must_use]
    pub fn target(&self, shape: &[i64]) -> Option<Target> {
        let (channels, height, width) = match (self.layout, shape) {
            (Layout::Nchw, [_, channels, height, width]) | (Layout::Nhwc, [_, height, width, channels]) => {
                (*channels, *height, *width)
            }
            (Layout::Nchw | Layout::Nhwc, _) => return None,
        };
        let size = |dim: i64| usize::try_from(dim).ok();
        let target = Target { width: size(width)?, height: size(height)?, channels: size(channels)? };
        matches!(target.channels, 1 | 3).then_some(target)
    }

    /// The least and the largest number that black and white become in any channel, computed as for an image.
    #[expect(clippy::cast_possible_truncation, reason = "the preparation is in FP32")]
    fn levels(&self, channels: usize) -> (f32, f32) {
        let of = |channel: usize, level: f32| {
            let mean = self.mean.get(channel).map_or(0.0, |mean| *mean as f32);
            (level - mean) / self.std.get(channel).map_or(1.0, |std| *std as f32)
        };
        let least = (0..channels).map(|channel| of(channel, 0.0)).fold(f32::INFINITY, f32::min);
        (least, (0..channels).map(|channel| of(channel, 1.0)).fold(f32::NEG_INFINITY, f32::max))
    }

    pub(super) fn check(&self, at: &str, input: &InputSpec) -> Result<(), ContractError> {
        let key = |name: &str| format!("{at}.image.{name}");
        require(!self.formats.is_empty(), &key("formats"), "name at least one of dicom, png and jpeg")?;
        require(
            input.datatype == Datatype::Fp32,
            &key("formats"),
            "only an FP32 input is prepared from files",
        )?;
        let Some(target) = self.target(&input.shape) else {
            let problem = "the shape is no image of one or three channels in this layout";
            return require(false, &key("layout"), problem);
        };
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            let fits = values.is_empty() || values.len() == target.channels;
            require(fits, &key(name), "one number for each channel")?;
            require(values.iter().all(|v| v.is_finite()), &key(name), "finite numbers")?;
        }
        require(self.std.iter().all(|v| *v > 0.0), &key("std"), "more than 0")?;
        let (least, most) = self.levels(target.channels);
        require(
            least.is_finite() && most.is_finite(),
            &key("std"),
            "black or white would be no FP32 number",
        )?;
        // Bounds become the nearest FP32 numbers, as they are for values.
        let bound = |bound: f64| input.datatype.nearest(bound);
        let inside = input.minimum.is_none_or(|min| bound(min) <= f64::from(least))
            && input.maximum.is_none_or(|max| f64::from(most) <= bound(max));
        let problem = format!("black and white become {least} and {most}: outside `minimum` and `maximum`");
        require(inside, &key("mean"), &problem)?;
        if let Some(side) = self.shorter_side {
            require(self.fit == Fit::Crop, &key("shorter_side"), "only with `fit = \"crop\"`")?;
            let covers = side >= target.width.max(target.height) && side <= 1 << 15;
            require(covers, &key("shorter_side"), "at least the longer side of the tensor, at most 32768")?;
        }
        let of_dicom = [
            ("modalities", &self.modalities),
            ("sop_classes", &self.sop_classes),
            ("body_parts", &self.body_parts),
        ];
        for (name, values) in of_dicom {
            let plain = |v: &String| !v.is_empty() && v.len() <= 64 && v.trim() == v;
            require(values.iter().all(plain), &key(name), "values as they stand in a file, without padding")?;
            // A PNG has no modality: it would slip past what the owner requires.
            let only = values.is_empty() || self.formats == [ImageFormat::Dicom];
            require(only, &key(name), "only DICOM files can be asked for it: set `formats = [\"dicom\"]`")?;
        }
        if let WindowSpec::Fixed(window) = &self.window {
            // A PNG has no real-world values that a window could be of.
            let dicom = self.formats == [ImageFormat::Dicom];
            require(dicom, &key("window"), "a fixed window needs `formats = [\"dicom\"]`")?;
            require(
                window.is_sound(),
                &key("window"),
                "finite, and a `width` above 0 (`linear`: at least 1)",
            )?;
        }
        Ok(())
    }
}
