//! What is a stored sample, whatever its size? The bits that count, its sign with them (PS3.5 section 8.1.1).

use crate::intake::image::{Budget, ImageError, Samples};
use std::ops::{BitOrAssign, Shl, Shr};

/// A number that samples are kept in.
pub(super) trait Sample:
    Copy + Default + PartialEq + BitOrAssign + Shl<u32, Output = Self> + Shr<u32, Output = Self> + From<u8>
{
    /// How many bits it has.
    const BITS: u32;

    /// Many of them.
    fn all(samples: Vec<Self>) -> Samples;

    /// Without the bits above the stored ones; negative where the highest stored bit says so and the type has a sign.
    fn only(self, stored: u32) -> Self {
        let unused = Self::BITS.saturating_sub(stored).min(Self::BITS - 1);
        (self << unused) >> unused
    }
}

/// Samples after which time is asked again.
const STEP: usize = 64 << 10;

/// Samples of so many stored bits, negative ones extended. Above these bits there are zeros, or the sign: anything else
/// is an overlay of old, or a sample that has more bits than the header says, and would be another one without them.
///
/// # Errors
/// Something else stands there.
pub(super) fn of_stored_bits<T: Sample>(
    mut samples: Vec<T>,
    stored: u32,
    budget: &Budget,
) -> Result<Samples, ImageError> {
    if stored >= T::BITS {
        return Ok(T::all(samples));
    }
    let mut sound = true;
    for samples in samples.chunks_mut(STEP) {
        budget.on_time()?;
        for sample in samples {
            let kept = sample.only(stored);
            sound &= (kept == *sample) | (*sample >> stored == T::default());
            *sample = kept;
        }
    }
    if sound {
        return Ok(T::all(samples));
    }
    Err(ImageError::bad("samples have bits above Bits Stored that are neither zero nor their sign"))
}

macro_rules! samples {
    ($($number:ident $kind:ident;)+) => {
        $(impl Sample for $number {
            const BITS: u32 = $number::BITS;

            fn all(samples: Vec<Self>) -> Samples {
                Samples::$kind(samples)
            }
        })+
    };
}

samples! {
    u8 U8;
    u16 U16;
    i16 I16;
    u32 U32;
    i32 I32;
}
