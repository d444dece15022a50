//! How are the data set and the pixels of a file written? Transfer syntaxes by UID (PS3.5 section 10, PS3.6 annex A).

use super::element::Encoding;
use crate::intake::image::ImageError;
use crate::intake::image::codestream::Codec;

/// A transfer syntax that is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Pixels as they are.
    Native(Encoding),
    /// The same, everything behind the file meta information deflated.
    Deflated,
    /// RLE Lossless (PS3.5 annex G).
    Rle,
    /// JPEG and JPEG 2000 codestreams.
    Jpeg,
    /// JPEG lossless, processes 14.
    JpegLossless,
    /// JPEG 2000 part 1.
    Jpeg2000,
}

const STEM: &str = "1.2.840.10008.1.2";

impl Syntax {
    /// # Errors
    /// It is not decoded, or not known.
    pub(super) fn of_uid(uid: &str) -> Result<Self, ImageError> {
        let unsupported = |name: &str| {
            let problem =
                format!("the transfer syntax {name} is not decoded; send an uncompressed one, RLE, JPEG");
            Err(ImageError::unsupported(format!("{problem} or JPEG 2000")))
        };
        match uid.strip_prefix(STEM).unwrap_or("unknown") {
            "" => Ok(Self::Native(Encoding::IMPLICIT)),
            ".1" => Ok(Self::Native(Encoding::EXPLICIT)),
            ".2" => Ok(Self::Native(Encoding { implicit: false, big_endian: true })),
            ".1.99" => Ok(Self::Deflated),
            ".5" => Ok(Self::Rle),
            ".4.50" | ".4.51" => Ok(Self::Jpeg),
            ".4.57" | ".4.70" => Ok(Self::JpegLossless),
            ".4.90" | ".4.91" => Ok(Self::Jpeg2000),
            ".1.98" => unsupported("Encapsulated Uncompressed"),
            ".8.1" => unsupported("Deflated Image Frame"),
            ".4.80" | ".4.81" => unsupported("JPEG-LS"),
            ".4.92" | ".4.93" => unsupported("JPEG 2000 part 2"),
            ".4.94" | ".4.95" | ".4.204" | ".4.205" => unsupported("JPIP"),
            ".4.201" | ".4.202" | ".4.203" => unsupported("High-Throughput JPEG 2000"),
            ".4.110" | ".4.111" | ".4.112" => unsupported("JPEG XL"),
            video
                if [
                    ".4.100", ".4.101", ".4.102", ".4.103", ".4.104", ".4.105", ".4.106", ".4.107", ".4.108",
                ]
                .iter()
                .any(|name| video.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest == ".1")) =>
            {
                unsupported("MPEG or HEVC video")
            }
            retired if retired.starts_with(".4.5") || retired.starts_with(".4.6") => {
                unsupported("JPEG, a retired process,")
            }
            _ => unsupported("that is not known"),
        }
    }

    /// How the elements of its data set are written.
    pub(super) fn encoding(self) -> Encoding {
        match self {
            Self::Native(encoding) => encoding,
            Self::Deflated | Self::Rle | Self::Jpeg | Self::JpegLossless | Self::Jpeg2000 => {
                Encoding::EXPLICIT
            }
        }
    }

    /// Whether pixels stand in fragments (PS3.5 section A.4).
    pub(super) fn is_encapsulated(self) -> bool {
        match self {
            Self::Native(_) | Self::Deflated => false,
            Self::Rle | Self::Jpeg | Self::JpegLossless | Self::Jpeg2000 => true,
        }
    }

    /// What decodes a frame, where it is a codestream.
    pub(super) fn codec(self) -> Option<Codec> {
        match self {
            Self::Native(_) | Self::Deflated | Self::Rle => None,
            Self::Jpeg => Some(Codec::Jpeg),
            Self::JpegLossless => Some(Codec::JpegLossless),
            Self::Jpeg2000 => Some(Codec::Jpeg2000),
        }
    }
}
