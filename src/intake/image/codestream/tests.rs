//! Promises of the codestream decoders. JPEG 2000 files and their pixels are OpenJPEG's (`tests/fixtures/images`);
//! lossless JPEG is encoded here.

use super::writer::Lossless;
use super::*;
use crate::intake::image::{Limits, Store};
use crate::reason::Reason;
use proptest::prelude::*;
use std::time::Duration;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/images/", $name)).as_slice()
    };
}

const GREY: &[u8] = fixture!("j2k_grey_8.j2k");
const SIGNED: &[u8] = fixture!("j2k_signed_16.j2k");
const COLOUR: &[u8] = fixture!("j2k_colour.j2k");
const LOSSY: &[u8] = fixture!("j2k_lossy_12.j2k");
const GREY_8: Expected = Expected { width: 33, height: 32, channels: 1, bits: 8, stored: 8, signed: false };
const SIGNED_16: Expected = Expected { bits: 16, stored: 16, signed: true, ..GREY_8 };
const COLOUR_8: Expected = Expected { channels: 3, ..GREY_8 };
/// The JPEG files are smaller.
const JPEG_8: Expected = Expected { width: 21, height: 13, ..GREY_8 };
const JPEG_COLOUR_8: Expected = Expected { channels: 3, ..JPEG_8 };
const GREY_12: Expected = Expected { bits: 16, stored: 12, ..GREY_8 };

fn read(codec: Codec, frame: &[u8], expected: &Expected) -> Result<Samples, ImageError> {
    let colour = if expected.channels == 1 { CodestreamColour::Grey } else { CodestreamColour::Rgb };
    decode(codec, frame, expected, colour, &mut Budget::trial(1 << 16))
}

fn jpeg2000(frame: &[u8], expected: &Expected) -> Result<Samples, ImageError> {
    read(Codec::Jpeg2000, frame, expected)
}

/// The file with bytes at `offset` behind a marker set.
fn with_bytes(file: &[u8], marker: u8, offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let at = file.windows(2).position(|pair| pair == [0xff, marker]).unwrap() + 1 + offset;
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

#[test]
fn a_codestream_that_is_not_what_the_header_says_is_refused() {
    let wrong = [
        Expected { width: 34, ..GREY_8 },
        Expected { height: 31, ..GREY_8 },
        Expected { signed: true, ..GREY_8 },
        Expected { bits: 32, ..GREY_8 },
        COLOUR_8,
    ];
    for expected in wrong {
        let error = jpeg2000(GREY, &expected).err().unwrap();
        assert_eq!(error.reason, Reason::BadImage, "{expected:?}");
        assert!(error.problem.contains("codestream"), "{error}");
    }
    assert!(
        jpeg2000(LOSSY, &GREY_8).err().unwrap().problem.contains("BitsAllocated"),
        "more bits than cells have"
    );
    for (codec, file) in [
        (Codec::JpegLossless, fixture!("grey.jpg")),
        (Codec::Jpeg, GREY),
        (Codec::Jpeg2000, fixture!("grey.jpg")),
    ] {
        assert_eq!(read(codec, file, &GREY_8).err().unwrap().reason, Reason::BadImage);
    }
    assert!(read(Codec::Jpeg, fixture!("grey.jpg"), &Expected { height: 14, ..JPEG_8 }).is_err());
}

#[test]
fn a_codestream_of_other_bits_than_are_stored_is_refused_unless_it_gives_them_back() {
    let eight = fixture!("grey.jpg");
    let samples: Vec<u16> = (0..20).map(|n| n * 200).collect();
    let twelve =
        Lossless { precision: 12, channels: 1, predictor: 1, transform: 0, rows: 0 }.encode(&samples);
    let stored = |expected: Expected, stored| Expected { stored, ..expected };
    let wide = |expected: Expected, stored| Expected { bits: 16, stored, ..expected };
    for (codec, file, expected, why) in [
        (Codec::Jpeg, eight, stored(JPEG_8, 7), "a DCT overshoots"),
        (Codec::Jpeg, eight, wide(JPEG_8, 12), "fewer bits than stored"),
        (Codec::Jpeg2000, LOSSY, stored(GREY_12, 10), "an irreversible wavelet overshoots"),
        (Codec::Jpeg2000, LOSSY, stored(GREY_12, 16), "fewer bits than stored"),
        (Codec::Jpeg2000, GREY, wide(GREY_8, 9), "fewer bits than stored"),
        (Codec::JpegLossless, &twelve, stored(SIZE_5_4, 13), "fewer bits than stored"),
    ] {
        let error = read(codec, file, &expected).expect_err(why);
        assert_eq!(error.reason, Reason::BadImage, "{why}");
        assert!(error.problem.contains("BitsStored"), "{why}: {error}");
    }
    assert!(read(Codec::Jpeg, eight, &wide(JPEG_8, 8)).is_ok(), "the bits of the codestream, in wider cells");
    let (more, same) = (stored(SIZE_5_4, 10), stored(SIZE_5_4, 12));
    assert!(read(Codec::JpegLossless, &twelve, &more) == Ok(Samples::U16(samples.clone())));
    assert!(read(Codec::JpegLossless, &twelve, &same) == Ok(Samples::U16(samples)));
    assert!(jpeg2000(GREY, &stored(GREY_8, 7)) == jpeg2000(GREY, &GREY_8), "a reversible wavelet");
}

#[test]
fn jpeg_2000_that_is_not_decoded_is_refused_by_name() {
    let marker = |code: u8| with_bytes(GREY, 0x5c, 0, &[code]);
    let cases = [
        (marker(0x50), "high-throughput"),
        (marker(0x5e), "region"),
        (marker(0x5f), "progression"),
        (marker(0x60), "packet headers"),
        (with_bytes(GREY, 0x51, 41, &[2]), "subsampling"),
        (with_bytes(GREY, 0x51, 16, &[1]), "offsets"),
        (with_bytes(GREY, 0x51, 39, &[37]), "bits"),
        (with_bytes(GREY, 0x52, 5, &[0, 33]), "layers"),
    ];
    for (file, name) in cases {
        let error = jpeg2000(&file, &GREY_8).err().unwrap();
        assert_eq!(error.reason, Reason::FormatUnsupported, "{name}: {error}");
        assert!(error.problem.contains(name), "{name}: {error}");
    }
    let boxed = [b"\0\0\0\x0cjP  \r\n\x87\n".as_slice(), GREY].concat();
    assert!(jpeg2000(&boxed, &GREY_8).err().unwrap().problem.contains("JP2"));
    let ycc = decode(Codec::Jpeg2000, SIGNED, &SIGNED_16, CodestreamColour::Ycc, &mut Budget::trial(1 << 16));
    assert!(ycc.is_err());
}

#[test]
fn jpeg_2000_that_is_cut_at_any_byte_or_has_more_behind_it_is_refused() {
    for (file, expected) in [(GREY, GREY_8), (SIGNED, SIGNED_16), (COLOUR, COLOUR_8), (LOSSY, GREY_12)] {
        for length in 0..file.len() {
            assert_eq!(
                jpeg2000(&file[..length], &expected).err().unwrap().reason,
                Reason::BadImage,
                "{length}"
            );
        }
        assert!(jpeg2000(&[file, b"\0"].concat(), &expected).is_ok(), "padding");
        assert_eq!(jpeg2000(&[file, b"PK"].concat(), &expected).err().unwrap().reason, Reason::Polyglot);
    }
}

#[test]
fn work_and_memory_of_jpeg_2000_are_bounded_before_it_is_decoded() {
    // Tiles of one pixel.
    let tiles = with_bytes(GREY, 0x51, 5, &[&250_u32.to_be_bytes()[..], &250_u32.to_be_bytes()].concat());
    let tiles = with_bytes(&tiles, 0x51, 21, &[0, 0, 0, 1, 0, 0, 0, 1]);
    let square = Expected { width: 250, height: 250, ..GREY_8 };
    assert!(jpeg2000(&tiles, &square).err().unwrap().problem.contains("tiles"));
    // A size that is lied about: more memory than the budget has, or more time.
    let huge =
        with_bytes(GREY, 0x51, 5, &[&30_000_u32.to_be_bytes()[..], &30_000_u32.to_be_bytes()].concat());
    let huge =
        with_bytes(&huge, 0x51, 21, &[&30_000_u32.to_be_bytes()[..], &30_000_u32.to_be_bytes()].concat());
    let expected = Expected { width: 30_000, height: 30_000, ..GREY_8 };
    assert_eq!(jpeg2000(&huge, &expected).err().unwrap().reason, Reason::ImageTooLarge);
    let ahead = huge.get(..60).unwrap_or_default();
    assert_eq!(
        jpeg2000(ahead, &expected).err().unwrap().reason,
        Reason::ImageTooLarge,
        "its size comes first"
    );
    let limits = Limits { bytes_max: 1 << 20, samples_max: 1 << 40, time_max: Duration::from_secs(1) };
    let mut budget = Budget::of(limits, Store::new(0));
    let error = decode(Codec::Jpeg2000, &huge, &expected, CodestreamColour::Grey, &mut budget).err().unwrap();
    assert!(error.problem.contains("longer"), "{error}");
    // A store that is used up: nothing is allocated.
    let mut budget = Budget::of(limits, Store::new(0));
    let error = decode(Codec::Jpeg2000, GREY, &GREY_8, CodestreamColour::Grey, &mut budget).err().unwrap();
    assert_eq!(error.reason, Reason::Overloaded);
}

#[test]
fn jpeg_2000_is_what_openjpeg_decodes() {
    assert!(jpeg2000(GREY, &GREY_8) == Ok(Samples::U8(fixture!("j2k_grey_8.raw").to_vec())));
    assert!(jpeg2000(COLOUR, &COLOUR_8) == Ok(Samples::U8(fixture!("j2k_colour.raw").to_vec())));
    let pairs =
        |raw: &[u8]| raw.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect::<Vec<_>>();
    let signed = pairs(fixture!("j2k_signed_16.raw")).into_iter().map(u16::cast_signed).collect();
    assert!(jpeg2000(SIGNED, &SIGNED_16) == Ok(Samples::I16(signed)));
    let Ok(Samples::U16(lossy)) = jpeg2000(LOSSY, &GREY_12) else { panic!("12 bits are unsigned of 16") };
    let near =
        lossy.iter().zip(pairs(fixture!("j2k_lossy_12.raw"))).all(|(one, other)| one.abs_diff(other) <= 1);
    assert!(near, "with loss, within one level");
}

#[test]
fn the_photometric_interpretation_decides_on_colour_where_no_marker_contradicts_it() {
    let of =
        |file: &[u8], colour| decode(Codec::Jpeg, file, &JPEG_COLOUR_8, colour, &mut Budget::trial(1 << 16));
    let adobe = |transform| [b"\xff\xd8\xff\xee\0\x0eAdobe\0\x64\0\0\0\0".as_slice(), &[transform]].concat();
    // Without the JFIF marker, which is the first segment; components are numbered 1 to 3.
    let bare = fixture!("colour_444.jpg");
    let bare = &bare[4 + usize::from(bare[5])..];
    let none = [&[0xff, 0xd8], bare].concat();
    let marked = |transform| [adobe(transform).as_slice(), bare].concat();
    let rgb = of(&none, CodestreamColour::Rgb);
    assert!(rgb.is_ok() && of(&none, CodestreamColour::Ycc).is_ok_and(|ycc| Ok(ycc) != rgb));
    assert!(of(&marked(0), CodestreamColour::Rgb) == rgb);
    assert!(of(&marked(1), CodestreamColour::Ycc) == of(&none, CodestreamColour::Ycc));
    let as_is = of(fixture!("rgb.jpg"), CodestreamColour::Rgb);
    assert!(as_is == Ok(Samples::U8(fixture!("rgb.raw").to_vec())));
    let numbered = with_bytes(&with_bytes(&none, 0xc0, 9, b"R"), 0xc0, 12, b"G");
    let numbered = with_bytes(&with_bytes(&numbered, 0xc0, 15, b"B"), 0xda, 4, b"R");
    let numbered = with_bytes(&with_bytes(&numbered, 0xda, 6, b"G"), 0xda, 8, b"B");
    assert!(of(&numbered, CodestreamColour::Rgb) == rgb);
    for (file, colour, why) in [
        (marked(0), CodestreamColour::Ycc, "Adobe says RGB"),
        (marked(1), CodestreamColour::Rgb, "Adobe says YCbCr"),
        (numbered, CodestreamColour::Ycc, "components are R, G and B"),
    ] {
        assert!(of(&file, colour).is_err_and(|error| error.problem.contains("disagree")), "{why}");
    }
    assert!(of(fixture!("rgb.jpg"), CodestreamColour::Grey).is_err());
}

const SIZE_5_4: Expected = Expected { width: 5, height: 4, channels: 1, bits: 16, stored: 16, signed: false };

#[test]
fn lossless_jpeg_that_is_cut_is_refused_at_any_byte() {
    let samples: Vec<u16> = (0..20).map(|n| n * 3000).collect();
    let file = Lossless { precision: 16, channels: 1, predictor: 7, transform: 0, rows: 0 }.encode(&samples);
    for length in 0..file.len() {
        assert_eq!(
            read(Codec::JpegLossless, &file[..length], &SIZE_5_4).err().unwrap().reason,
            Reason::BadImage
        );
    }
    let zero = Lossless { precision: 16, channels: 1, predictor: 0, transform: 0, rows: 0 }.encode(&samples);
    assert!(read(Codec::JpegLossless, &zero, &SIZE_5_4).is_err(), "no predictor");
    let signed = Expected { signed: true, ..SIZE_5_4 };
    let cells = samples.iter().copied().map(u16::cast_signed).collect();
    assert!(read(Codec::JpegLossless, &file, &signed) == Ok(Samples::I16(cells)), "the same bits");
}

proptest! {
    #[test]
    fn lossless_jpeg_gives_back_each_sample(
        precision in 2_u32..=16,
        colour in any::<bool>(),
        predictor in 1_u8..=7,
        transform in 0_u32..2,
        rows in 0_usize..4,
        seed in proptest::collection::vec(any::<u16>(), 60),
    ) {
        let channels = if colour { 3 } else { 1 };
        let mask = (u16::MAX >> (16 - precision)) >> transform << transform;
        let samples: Vec<u16> = seed.iter().take(20 * channels).map(|sample| sample & mask).collect();
        let file = Lossless { precision, channels, predictor, transform, rows }.encode(&samples);
        let expected = Expected { channels, stored: precision, ..SIZE_5_4 };
        prop_assert!(read(Codec::JpegLossless, &file, &expected) == Ok(Samples::U16(samples)));
    }

    #[test]
    fn mutated_codestreams_never_panic(
        which in 0_usize..4,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let (file, expected) = [(GREY, GREY_8), (SIGNED, SIGNED_16), (COLOUR, COLOUR_8), (LOSSY, GREY_12)][which];
        let mut file = file.to_vec();
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        let _ = jpeg2000(&file, &expected);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let frame = [&GREY[..60], bytes.as_slice()].concat();
        let _ = jpeg2000(&frame, &GREY_8);
        let frame = [&[0xff, 0xd8, 0xff, 0xc3], bytes.as_slice()].concat();
        let _ = read(Codec::JpegLossless, &frame, &SIZE_5_4);
    }
}
