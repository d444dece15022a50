//! Which attributes are read, and in which data set or item of a sequence must they stand?

use super::element::Tag;

macro_rules! tags {
    ($($(#[$doc:meta])* $name:ident = $group:literal, $element:literal;)+) => {
        $($(#[$doc])* pub(super) const $name: Tag = Tag($group, $element);)+
    };
}

tags! {
    SOP_CLASS = 0x0008, 0x0016;
    MODALITY = 0x0008, 0x0060;
    BODY_PART = 0x0018, 0x0015;
    STUDY = 0x0020, 0x000D;
    SAMPLES_PER_PIXEL = 0x0028, 0x0002;
    PHOTOMETRIC = 0x0028, 0x0004;
    PLANAR = 0x0028, 0x0006;
    FRAMES = 0x0028, 0x0008;
    ROWS = 0x0028, 0x0010;
    COLUMNS = 0x0028, 0x0011;
    ASPECT_RATIO = 0x0028, 0x0034;
    BITS_ALLOCATED = 0x0028, 0x0100;
    BITS_STORED = 0x0028, 0x0101;
    HIGH_BIT = 0x0028, 0x0102;
    REPRESENTATION = 0x0028, 0x0103;
    WINDOW_CENTER = 0x0028, 0x1050;
    WINDOW_WIDTH = 0x0028, 0x1051;
    INTERCEPT = 0x0028, 0x1052;
    SLOPE = 0x0028, 0x1053;
    RESCALE_TYPE = 0x0028, 0x1054;
    WINDOW_FUNCTION = 0x0028, 0x1056;
    RED_DESCRIPTOR = 0x0028, 0x1101;
    GREEN_DESCRIPTOR = 0x0028, 0x1102;
    BLUE_DESCRIPTOR = 0x0028, 0x1103;
    RED = 0x0028, 0x1201;
    GREEN = 0x0028, 0x1202;
    BLUE = 0x0028, 0x1203;
    SEGMENTED_RED = 0x0028, 0x1221;
    SEGMENTED_GREEN = 0x0028, 0x1222;
    SEGMENTED_BLUE = 0x0028, 0x1223;
    MODALITY_LUT = 0x0028, 0x3000;
    LUT_DESCRIPTOR = 0x0028, 0x3002;
    MODALITY_LUT_TYPE = 0x0028, 0x3004;
    LUT_DATA = 0x0028, 0x3006;
    VOI_LUT = 0x0028, 0x3010;
    TRANSFORMATION = 0x0028, 0x9145;
    FRAME_VOI = 0x0028, 0x9132;
    LUT_SHAPE = 0x2050, 0x0020;
    SHARED_GROUPS = 0x5200, 0x9229;
    FRAME_GROUPS = 0x5200, 0x9230;
    OFFSETS = 0x7FE0, 0x0001;
    OFFSET_LENGTHS = 0x7FE0, 0x0002;
    FLOATS = 0x7FE0, 0x0008;
    DOUBLES = 0x7FE0, 0x0009;
    PIXELS = 0x7FE0, 0x0010;
    PADDING = 0xFFFC, 0xFFFC;
}

/// A data set or an item of which something is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The data set itself.
    Top,
    /// The item of the Modality LUT Sequence.
    ModalityLut,
    /// The first item of the VOI LUT Sequence.
    VoiLut,
    /// The item of the Shared Functional Groups Sequence (PS3.3 C.7.6.16).
    Shared,
    /// Its Pixel Value Transformation.
    SharedTransformation,
    /// Its Frame VOI LUT.
    SharedVoi,
    /// The first VOI LUT in that.
    SharedVoiLut,
    /// The wanted frame's item of the Per-Frame Functional Groups Sequence.
    Frame,
    /// Its Pixel Value Transformation.
    FrameTransformation,
    /// Its Frame VOI LUT.
    FrameVoi,
    /// The first VOI LUT in that.
    FrameVoiLut,
    /// Any other: it is walked over.
    Other,
}

impl Place {
    /// How many there are.
    pub(super) const COUNT: usize = 12;

    /// Its number.
    pub(super) fn index(self) -> usize {
        self as usize
    }

    /// Where items of this sequence stand, if anything of them is read.
    pub(super) fn below(self, sequence: Tag) -> Self {
        match (self, sequence) {
            (Self::Top, MODALITY_LUT) => Self::ModalityLut,
            (Self::Top, VOI_LUT) => Self::VoiLut,
            (Self::Top, SHARED_GROUPS) => Self::Shared,
            (Self::Top, FRAME_GROUPS) => Self::Frame,
            (Self::Shared, TRANSFORMATION) => Self::SharedTransformation,
            (Self::Shared, FRAME_VOI) => Self::SharedVoi,
            (Self::SharedVoi, VOI_LUT) => Self::SharedVoiLut,
            (Self::Frame, TRANSFORMATION) => Self::FrameTransformation,
            (Self::Frame, FRAME_VOI) => Self::FrameVoi,
            (Self::FrameVoi, VOI_LUT) => Self::FrameVoiLut,
            _ => Self::Other,
        }
    }

    /// Whether an attribute is read in this place.
    pub(super) fn reads(self, tag: Tag) -> bool {
        match self {
            Self::Top => is_of_the_image(tag),
            Self::ModalityLut => matches!(tag, LUT_DESCRIPTOR | MODALITY_LUT_TYPE | LUT_DATA),
            Self::VoiLut | Self::SharedVoiLut | Self::FrameVoiLut => {
                matches!(tag, LUT_DESCRIPTOR | LUT_DATA)
            }
            Self::SharedTransformation | Self::FrameTransformation => {
                matches!(tag, INTERCEPT | SLOPE | RESCALE_TYPE)
            }
            Self::SharedVoi | Self::FrameVoi => {
                matches!(tag, WINDOW_CENTER | WINDOW_WIDTH | WINDOW_FUNCTION)
            }
            Self::Shared | Self::Frame | Self::Other => false,
        }
    }
}

fn is_of_the_image(tag: Tag) -> bool {
    matches!(
        tag,
        SOP_CLASS
            | MODALITY
            | BODY_PART
            | STUDY
            | SAMPLES_PER_PIXEL
            | PHOTOMETRIC
            | PLANAR
            | FRAMES
            | ROWS
            | COLUMNS
            | ASPECT_RATIO
            | BITS_ALLOCATED
            | BITS_STORED
            | HIGH_BIT
            | REPRESENTATION
            | WINDOW_CENTER
            | WINDOW_WIDTH
            | INTERCEPT
            | SLOPE
            | RESCALE_TYPE
            | WINDOW_FUNCTION
            | RED_DESCRIPTOR
            | GREEN_DESCRIPTOR
            | BLUE_DESCRIPTOR
            | RED
            | GREEN
            | BLUE
            | SEGMENTED_RED
            | SEGMENTED_GREEN
            | SEGMENTED_BLUE
            | LUT_SHAPE
            | OFFSETS
            | OFFSET_LENGTHS
    )
}
