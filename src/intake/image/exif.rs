//! Is this picture to be turned before it is looked at? Reads one number of Exif data: the orientation.
//!
//! A model that sees a chest upside down answers all the same. Turning it in silence would hide that the caller's
//! software did not, so that any orientation but 1 is refused, and so are Exif data that cannot be read: the
//! orientation is then unknown.

use super::ImageError;

/// The tag of the orientation in IFD0 (Exif 2.32, 4.6.4 A).
const ORIENTATION: u16 = 0x0112;
/// The type SHORT, 16 bits (TIFF 6.0, section 2).
const SHORT: u16 = 3;
/// More entries than any camera writes to IFD0.
const ENTRIES_MAX: u16 = 512;

/// Refuses a picture that is to be turned.
///
/// `tiff` is the TIFF header and what follows it, as in the PNG chunk `eXIf` or behind `Exif\0\0` in a JPEG.
///
/// # Errors
/// It is to be turned, or it cannot be told.
pub(super) fn check_upright(tiff: &[u8]) -> Result<(), ImageError> {
    let broken =
        || ImageError::bad("its Exif data are broken, so that its orientation is unknown; remove them");
    match orientation(tiff).ok_or_else(broken)? {
        1 => Ok(()),
        other => Err(ImageError::unsupported(format!(
            "its Exif orientation is {other}; turn the pixels themselves and set it to 1"
        ))),
    }
}

/// The orientation, 1 where none is named; `None` where the data are broken.
fn orientation(tiff: &[u8]) -> Option<u16> {
    let little = match tiff.first_chunk::<4>()? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| -> Option<u16> {
        let bytes = *tiff.get(at..)?.first_chunk::<2>()?;
        Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    };
    let long = *tiff.get(4..)?.first_chunk::<4>()?;
    let ifd = if little { u32::from_le_bytes(long) } else { u32::from_be_bytes(long) };
    let ifd = usize::try_from(ifd).ok()?;
    let entries = short(ifd)?;
    if entries > ENTRIES_MAX {
        return None;
    }
    for entry in 0..usize::from(entries) {
        let at = ifd.checked_add(2 + 12 * entry)?;
        let tag = short(at)?;
        if tag == ORIENTATION {
            return (short(at.checked_add(2)?)? == SHORT).then(|| short(at.checked_add(8)?)).flatten();
        }
    }
    Some(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    fn tiff(value: u16, little: bool) -> Vec<u8> {
        let short = |v: u16| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let long = |v: u32| if little { v.to_le_bytes() } else { v.to_be_bytes() };
        let mut tiff = if little { b"II*\0".to_vec() } else { b"MM\0*".to_vec() };
        tiff.extend(long(8));
        tiff.extend(short(1));
        tiff.extend(short(ORIENTATION));
        tiff.extend(short(SHORT));
        tiff.extend(long(1));
        tiff.extend(short(value));
        tiff.extend([0; 6]);
        tiff
    }

    #[test]
    fn a_picture_that_is_to_be_turned_is_refused_in_both_byte_orders() {
        for little in [false, true] {
            for turned in [0, 2, 3, 6, 8, 9, 0x0100] {
                let refused = check_upright(&tiff(turned, little)).unwrap_err();
                assert_eq!(refused.reason, Reason::FormatUnsupported, "{turned}");
            }
            assert_eq!(check_upright(&tiff(1, little)), Ok(()));
        }
    }

    #[test]
    fn exif_data_that_cannot_be_read_are_refused() {
        let whole = tiff(1, true);
        for length in 0..18 {
            let cut = whole.get(..length).unwrap();
            assert!(check_upright(cut).is_err_and(|e| e.reason == Reason::BadImage), "{length}");
        }
        let mut far = whole.clone();
        far.splice(4..8, u32::MAX.to_le_bytes());
        assert!(check_upright(&far).is_err());
        let mut many = whole;
        many.splice(8..10, u16::MAX.to_le_bytes());
        assert!(check_upright(&many).is_err());
    }

    #[test]
    fn without_an_orientation_a_picture_is_upright() {
        assert_eq!(check_upright(b"II*\0\x08\0\0\0\0\0"), Ok(()));
    }
}
