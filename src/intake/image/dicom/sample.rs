//! What is a stored sample, whatever its size? The bits that count, its sign with them (PS3.5 section 8.1.1).

use crate::intake::image::Samples;
use std::ops::{BitOrAssign, Shl, Shr};

/// A number that samples are kept in.
pub(super) trait Sample:
    Copy + Default + BitOrAssign + Shl<u32, Output = Self> + Shr<u32, Output = Self> + From<u8>
{
    /// How many bits it has.
    const BITS: u32;

    /// Many of them.
    fn all(samples: Vec<Self>) -> Samples;

    /// Without the bits above the stored ones, which may be anything; negative where the highest stored bit says
    /// so and the type has a sign.
    fn only(self, stored: u32) -> Self {
        let unused = Self::BITS.saturating_sub(stored).min(Self::BITS - 1);
        (self << unused) >> unused
    }
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
