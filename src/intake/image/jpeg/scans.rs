//! Do the scans bring everything, and each part once? Their headers say it, before anything is decoded.
//!
//! An image of which the last scans are missing looks whole and is blurred. That each part comes once also bounds the
//! scans that do any work.

use super::frame::{Frame, Process, Scan};
use super::lossless;
use crate::intake::image::ImageError;

/// For each coefficient of a component the bit down to which it is known; `None` before its first scan. A component
/// that is not progressive comes in one scan.
type Known = [Option<u8>; 64];

/// Whether the scans of a frame, in order, are sound, bring every component, and in a progressive image every
/// coefficient from its highest bit to its lowest, each bit once.
///
/// # Errors
/// They are not, or do not.
pub(super) fn check<'a>(frame: &Frame, scans: impl Iterator<Item = &'a Scan>) -> Result<(), ImageError> {
    let mut components: Vec<Known> = vec![[None; 64]; frame.components.len()];
    for scan in scans {
        check_header(frame, scan)?;
        for (place, ..) in &scan.parts {
            let known =
                components.get_mut(*place).ok_or_else(|| ImageError::bad("a scan header is broken"))?;
            match frame.process {
                Process::Progressive => refine(known, scan)?,
                Process::Sequential | Process::Lossless if known[0].is_some() => {
                    return Err(ImageError::bad("a component comes twice"));
                }
                Process::Sequential | Process::Lossless => *known = [Some(0); 64],
            }
        }
    }
    if components.iter().flatten().all(|bit| *bit == Some(0)) {
        return Ok(());
    }
    Err(ImageError::bad(match frame.process {
        Process::Progressive => "some of its scans are missing",
        Process::Sequential | Process::Lossless => "a component is missing",
    }))
}

/// Whether a scan is one of its process (T.81, table B.3).
fn check_header(frame: &Frame, scan: &Scan) -> Result<(), ImageError> {
    let ((first, last), (high, low)) = (scan.band, scan.bits);
    let sound = match frame.process {
        Process::Sequential => (first, last, high, low) == (0, 63, 0, 0),
        Process::Progressive if first == 0 => last == 0 && low <= 13,
        Process::Progressive => (first..64).contains(&last) && low <= 13 && scan.parts.len() == 1,
        Process::Lossless => {
            lossless::predictor(first).is_some() && (last, high) == (0, 0) && u32::from(low) < frame.precision
        }
    };
    if sound { Ok(()) } else { Err(ImageError::bad("a scan header is broken")) }
}

/// Notes what a progressive scan codes, and that it is its turn.
fn refine(known: &mut Known, scan: &Scan) -> Result<(), ImageError> {
    let (high, low) = scan.bits;
    let due = if high == 0 { None } else { Some(high) };
    let wrong = || ImageError::bad("its scans are not in order");
    if (high != 0 && low + 1 != high) || (scan.band.0 > 0 && known[0].is_none()) {
        return Err(wrong());
    }
    for number in scan.band.0..=scan.band.1 {
        let known = known.get_mut(usize::from(number)).ok_or_else(wrong)?;
        if *known != due {
            return Err(wrong());
        }
        *known = Some(low);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of scans, each (components, first, last, bits), of a frame of so many components.
    fn said(process: Process, count: u8, scans: &[(&str, u8, u8, u8)]) -> String {
        let components: Vec<_> = (0..count).flat_map(|id| [id, 0x11, 0]).collect();
        let frame = Frame::parse(process, &[&[8, 0, 9, 0, 9, count], &components[..]].concat()).unwrap();
        let parsed = scans.iter().map(|(ids, first, last, bits)| {
            let length = u8::try_from(ids.len()).unwrap();
            let parts: Vec<_> = ids.bytes().flat_map(|id| [id - b'0', 0]).collect();
            Scan::parse(&frame, &[&[length], &parts[..], &[*first, *last, *bits]].concat()).unwrap()
        });
        let parsed: Vec<_> = parsed.collect();
        check(&frame, parsed.iter()).err().map(|error| error.problem.to_string()).unwrap_or_default()
    }

    #[test]
    fn each_component_comes_in_one_scan() {
        for (process, first, last) in [(Process::Sequential, 0, 63), (Process::Lossless, 1, 0)] {
            let of = |ids: &'static str| {
                let scans: Vec<_> = ids.split_whitespace().map(|ids| (ids, first, last, 0)).collect();
                said(process, 3, &scans)
            };
            for missing in ["", "01", "0 2"] {
                assert_eq!(of(missing), "a component is missing", "{missing}");
            }
            for twice in ["012 2", "0 0", "0 1 12"] {
                assert_eq!(of(twice), "a component comes twice", "{twice}");
            }
            for good in ["012", "1 02", "2 1 0"] {
                assert_eq!(of(good), "", "{good}");
            }
        }
    }

    #[test]
    fn a_scan_is_one_of_its_process() {
        let broken: &[(Process, &str, u8, u8, u8)] = &[
            (Process::Sequential, "0", 0, 62, 0),
            (Process::Sequential, "0", 1, 63, 0),
            (Process::Sequential, "0", 0, 63, 1),
            (Process::Sequential, "0", 0, 63, 0x10),
            (Process::Lossless, "0", 0, 0, 0),
            (Process::Lossless, "0", 8, 0, 0),
            (Process::Lossless, "0", 1, 1, 0),
            (Process::Lossless, "0", 1, 0, 0x10),
            (Process::Lossless, "0", 1, 0, 8),
            (Process::Progressive, "0", 0, 1, 0),
            (Process::Progressive, "0", 0, 0, 14),
            (Process::Progressive, "0", 1, 64, 0),
            (Process::Progressive, "0", 2, 1, 0),
            (Process::Progressive, "01", 1, 63, 0),
        ];
        for (process, ids, first, last, bits) in broken.iter().copied() {
            let problem = said(process, 3, &[(ids, first, last, bits)]);
            assert_eq!(problem, "a scan header is broken", "{process:?} {first} {last} {bits:#x}");
        }
    }

    #[test]
    fn each_bit_of_each_coefficient_comes_once_and_in_order() {
        let grey = |scans: &[(u8, u8, u8)]| {
            let scans: Vec<_> = scans.iter().map(|(first, last, bits)| ("0", *first, *last, *bits)).collect();
            said(Process::Progressive, 1, &scans)
        };
        for missing in [
            &[][..],
            &[(0, 0, 0)],
            &[(0, 0, 0), (1, 62, 0)],
            &[(0, 0, 1), (1, 63, 0)],
            &[(0, 0, 0), (1, 5, 0), (7, 63, 0)],
            &[(0, 0, 0), (1, 63, 2), (1, 63, 0x21), (1, 62, 0x10)],
        ] {
            assert_eq!(grey(missing), "some of its scans are missing", "{missing:?}");
        }
        for wrong in [
            &[(1, 63, 0), (0, 0, 0)][..],
            &[(0, 0, 0), (0, 0, 0), (1, 63, 0)],
            &[(0, 0, 2), (0, 0, 0x20), (1, 63, 0)],
            &[(0, 0, 2), (0, 0, 0x10), (1, 63, 0)],
            &[(0, 0, 0x10), (1, 63, 0)],
            &[(0, 0, 0), (1, 6, 0), (6, 63, 0)],
        ] {
            assert_eq!(grey(wrong), "its scans are not in order", "{wrong:?}");
        }
        assert_eq!(grey(&[(0, 0, 1), (1, 5, 2), (6, 63, 0), (0, 0, 0x10), (1, 5, 0x21), (1, 5, 0x10)]), "");
    }
}
