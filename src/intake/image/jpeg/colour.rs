//! How do red, green and blue become luma and two differences of colour, and back?
//!
//! BT.601 over all 256 levels, as JFIF has it, in 16 bits as libjpeg computes it (`jccolor.c`, `jdcolor.c`): the
//! same numbers, bit by bit.

/// Factors are x 2^16.
const HALF: i32 = 1 << 15;

/// The level within black and white.
#[inline]
pub(crate) fn clamped(level: i32) -> u8 {
    level.clamp(0, 255).to_le_bytes()[0]
}

/// Luma, blue and red differences to red, green and blue.
#[inline]
pub(crate) fn to_rgb([y, cb, cr]: [u8; 3]) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = y + ((91881 * cr + HALF) >> 16);
    let green = y + ((-22554 * cb - 46802 * cr + HALF) >> 16);
    let blue = y + ((116_130 * cb + HALF) >> 16);
    [clamped(red), clamped(green), clamped(blue)]
}

/// Red, green and blue to luma, blue and red differences.
#[inline]
pub(crate) fn to_ycc([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let (red, green, blue) = (i32::from(red), i32::from(green), i32::from(blue));
    let y = (19595 * red + 38470 * green + 7471 * blue + HALF) >> 16;
    // Half of white, and a half that is rounded down: pure blue and pure red stay within 8 bits.
    let middle = (128 << 16) + HALF - 1;
    let cb = (-11059 * red - 21709 * green + 32768 * blue + middle) >> 16;
    let cr = (32768 * red - 27439 * green - 5329 * blue + middle) >> 16;
    [clamped(y), clamped(cb), clamped(cr)]
}
