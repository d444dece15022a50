//! What does a deflated data set hold? Inflated under a hard bound (PS3.5 section A.5; RFC 1951).

use crate::intake::image::{Budget, ImageError};
use crate::reason::Reason;
use flate2::{Crc, Decompress, FlushDecompress, Status};

/// Bytes that are inflated before memory and time are asked again.
const STEP: usize = 64 << 10;
/// Bytes that may come of a few deflated ones: a header, and an image that is all air.
const FREE: usize = 8 << 20;
/// Beyond them, bytes that may come of each one read so far. Images deflate to a half or a tenth; a bomb, to a
/// thousandth. Each MiB of it may cost 2 ms.
const RATIO_MAX: usize = 16;

/// Inflates everything behind the file meta information.
///
/// # Errors
/// It is broken, cut short, or over the budget: what comes of it may be no larger than a file, nor than the
/// memory of one. `Polyglot`: something stands behind its end.
pub(super) fn inflate(deflated: &[u8], budget: &mut Budget) -> Result<Vec<u8>, ImageError> {
    let mut inflater = Decompress::new(false);
    let mut inflated = Vec::new();
    let mut rest = deflated;
    loop {
        budget.on_time()?;
        let step = STEP.max(inflated.len() / 4);
        let read = deflated.len() - rest.len();
        if inflated.len() > FREE.saturating_add(read.saturating_mul(RATIO_MAX)) {
            return Err(ImageError::too_large("the data set inflates to much more than an image does"));
        }
        budget.file(inflated.len())?;
        budget.hold(step)?;
        let overloaded = |_| ImageError::new(Reason::Overloaded, "no memory is left; try again later");
        inflated.try_reserve_exact(step).map_err(overloaded)?;
        let (before, made) = (inflater.total_in(), inflated.len());
        let status = inflater.decompress_vec(rest, &mut inflated, FlushDecompress::None);
        let status = status.map_err(|_| ImageError::bad("the deflated data set is broken"))?;
        let used = usize::try_from(inflater.total_in() - before).unwrap_or(usize::MAX);
        rest = rest.get(used..).unwrap_or_default();
        if status == Status::StreamEnd {
            break;
        }
        if used == 0 && inflated.len() == made {
            return Err(ImageError::bad("the deflated data set is cut short"));
        }
    }
    budget.file(inflated.len())?;
    // It is made even with a zero. Some writers leave the trailer of gzip (RFC 1952): CRC-32 and length.
    let mut crc = Crc::new();
    crc.update(&inflated);
    let trailer = [crc.sum(), crc.amount()].map(u32::to_le_bytes);
    let rest = rest.strip_prefix(trailer.as_flattened()).unwrap_or(rest);
    match rest {
        [] | [0] => Ok(inflated),
        _ => Err(ImageError::new(Reason::Polyglot, "bytes behind the deflated data set")),
    }
}
