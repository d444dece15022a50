//! Promises of the JPEG decoder; what equals libjpeg's pixels was made by it (`tests/fixtures/images`).

use super::*;
use crate::contract::image::ImageSpec;
use crate::intake::image::{Limits, Store};
use crate::reason::Reason;
use proptest::prelude::*;
use std::time::Duration;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/fixtures/images/", $name)).as_slice()
    };
}

const GREY: &[u8] = fixture!("grey.jpg");
const PROGRESSIVE: &[u8] = fixture!("colour_420_progressive.jpg");
const RESTARTS: &[u8] = fixture!("colour_422_restarts.jpg");
const GOOD: [(&[u8], &[u8]); 7] = [
    (GREY, fixture!("grey.raw")),
    (fixture!("grey_progressive.jpg"), fixture!("grey_progressive.raw")),
    (fixture!("colour_444.jpg"), fixture!("colour_444.raw")),
    (RESTARTS, fixture!("colour_422_restarts.raw")),
    (fixture!("colour_420.jpg"), fixture!("colour_420.raw")),
    (PROGRESSIVE, fixture!("colour_420_progressive.raw")),
    (fixture!("rgb.jpg"), fixture!("rgb.raw")),
];

fn decode_in(file: &[u8], budget: &mut Budget) -> Result<Raster, ImageError> {
    let spec: ImageSpec = toml::from_str("formats = ['jpeg']").unwrap();
    assert!(Jpeg.claims(file) || file.len() < 3);
    Jpeg.decode(file, &Wanted { spec: &spec, frame: None }, budget).map(|decoded| decoded.raster)
}

fn refused(file: &[u8]) -> ImageError {
    decode_in(file, &mut Budget::trial(1 << 16)).err().expect("it was to be refused")
}

/// Where a marker's second byte stands.
fn find(file: &[u8], marker: u8) -> usize {
    file.windows(2).position(|pair| pair == [0xff, marker]).unwrap() + 1
}

/// The file with a segment put in behind its first marker.
fn with_segment(file: &[u8], marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&file[..2], &[0xff, marker], &length, body, &file[2..]].concat()
}

/// The file with one byte at `offset` behind a marker set.
fn with_byte(file: &[u8], marker: u8, offset: usize, value: u8) -> Vec<u8> {
    let mut file = file.to_vec();
    let at = find(&file, marker) + offset;
    file[at] = value;
    file
}

#[test]
fn kinds_that_are_not_decoded_are_refused_by_name() {
    let exif = |value| {
        [b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", [value, 0, 0, 0].as_slice(), &[0; 4]]
            .concat()
    };
    let mut four = with_byte(fixture!("colour_444.jpg"), 0xc0, 8, 4);
    let at = find(&four, 0xc0);
    four[at + 2] += 3;
    four.splice(at + 9..at + 9, [9, 0x11, 0]);
    let cases = [
        (with_byte(GREY, 0xc0, 0, 0xc3), "lossless"),
        (with_byte(GREY, 0xc0, 0, 0xc9), "arithmetic"),
        (with_byte(GREY, 0xc0, 0, 0xc5), "hierarchical"),
        (with_byte(GREY, 0xc0, 0, 0xf7), "JPEG-LS"),
        (with_byte(GREY, 0xc0, 3, 12), "8 bits"),
        (four, "CMYK"),
        (with_segment(GREY, 0xdc, &[0, 13]), "DNL"),
        (with_segment(GREY, 0xe2, b"MPF\0"), "MPF"),
        (with_segment(GREY, 0xe1, &exif(6)), "orientation is 6"),
        (with_byte(GREY, 0xe0, 14, 2), "not square"),
        (with_byte(&with_byte(fixture!("colour_444.jpg"), 0xc0, 10, 0x31), 0xc0, 13, 0x21), "ratio"),
    ];
    for (file, name) in cases {
        let error = refused(&file);
        assert_eq!(error.reason, Reason::FormatUnsupported, "{name}: {error}");
        assert!(error.problem.contains(name), "{name}: {error}");
    }
    assert!(decode_in(&with_segment(GREY, 0xe1, &exif(1)), &mut Budget::trial(1 << 16)).is_ok());
}

#[test]
fn a_file_that_is_cut_at_any_byte_is_refused() {
    for (file, _) in GOOD {
        for length in 0..file.len() {
            assert_eq!(refused(&file[..length]).reason, Reason::BadImage, "{length}");
        }
    }
}

#[test]
fn a_file_of_which_image_data_are_missing_or_left_over_is_refused_although_it_ends_well() {
    for (file, _) in GOOD {
        let start = find(file, 0xda) + 1;
        let start = start + usize::from(file[start + 1]);
        let end = file.len() - 2;
        for cut in start..end - 1 {
            let cut = [&file[..cut], &file[end..]].concat();
            assert_eq!(refused(&cut).reason, Reason::BadImage);
        }
        let more = [&file[..end], &[0x55, 0x55], &file[end..]].concat();
        assert_eq!(refused(&more).reason, Reason::BadImage);
    }
}

#[test]
fn a_progressive_image_without_its_last_scans_is_refused() {
    let scans: Vec<usize> = PROGRESSIVE
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| *pair == [0xff, 0xda])
        .map(|(at, _)| at)
        .collect();
    for scan in &scans[1..] {
        // The tables before a scan may stay: without it they mean nothing.
        let error = refused(&[&PROGRESSIVE[..*scan], &[0xff, 0xd9]].concat());
        assert!(error.problem.contains("scans are missing"), "{error}");
    }
}

#[test]
fn scans_that_do_not_bring_everything_once_are_refused_before_memory_is_taken() {
    let colour = fixture!("colour_444.jpg");
    let scan = |file: &[u8]| file.windows(2).rposition(|pair| pair == [0xff, 0xda]).unwrap();
    let (first, last) = (scan(colour), scan(PROGRESSIVE));
    let end = |file: &[u8]| file.len() - 2;
    // Its first component alone.
    let one =
        [&colour[..first], &[0xff, 0xda, 0, 8, 1], &colour[first + 5..first + 7], &colour[first + 11..]];
    let cases = [
        ([&PROGRESSIVE[..last], &[0xff, 0xd9]].concat(), "some of its scans are missing"),
        ([&PROGRESSIVE[..end(PROGRESSIVE)], &PROGRESSIVE[last..]].concat(), "its scans are not in order"),
        (one.concat(), "a component is missing"),
        ([&colour[..end(colour)], &colour[first..]].concat(), "a component comes twice"),
        (with_byte(colour, 0xda, 10, 1), "a scan header is broken"),
    ];
    let budget = || {
        let limits = Limits { bytes_max: 1 << 20, samples_max: 1 << 16, time_max: Duration::from_mins(1) };
        Budget::of(limits, Store::new(0))
    };
    for (file, problem) in cases {
        assert_eq!(decode_in(&file, &mut budget()).err(), Some(ImageError::bad(problem)));
    }
    for whole in [colour, PROGRESSIVE] {
        assert_eq!(decode_in(whole, &mut budget()).err().unwrap().reason, Reason::Overloaded, "now it is");
    }
}

#[test]
fn bytes_behind_the_image_are_refused_but_for_padding() {
    for behind in [b"<?php system($_GET[0]);".as_slice(), b"PK\x03\x04\x14\0", GREY, b"\0\0\0\x01"] {
        assert_eq!(refused(&[GREY, behind].concat()).reason, Reason::Polyglot);
    }
    for padding in [b"\0".as_slice(), b"\xff", b"\0\0\0\0"] {
        assert!(decode_in(&[GREY, padding].concat(), &mut Budget::trial(1 << 16)).is_ok());
    }
}

#[test]
fn a_declared_size_is_refused_before_anything_is_allocated() {
    let mut huge = GREY.to_vec();
    let at = find(&huge, 0xc0);
    huge[at + 4..at + 8].copy_from_slice(&[0xc3, 0x50, 0xc3, 0x50]);
    assert_eq!(refused(&huge).reason, Reason::ImageTooLarge);
    let ahead = &huge[..at + 12];
    assert_eq!(
        refused(ahead).reason,
        Reason::ImageTooLarge,
        "before anything behind the frame's header is looked at"
    );
    // Where so much is allowed, the data must at least be enough for it.
    let limits = Limits { bytes_max: 1 << 20, samples_max: usize::MAX / 8, time_max: Duration::from_mins(1) };
    let mut budget = Budget::of(limits, Store::new(0));
    assert_eq!(decode_in(&huge, &mut budget).err().unwrap().reason, Reason::BadImage);
    huge[at + 4..at + 6].fill(0);
    assert_eq!(refused(&huge).reason, Reason::BadImage, "no height");
}

#[test]
fn scans_without_end_are_refused() {
    let first = find(PROGRESSIVE, 0xda) - 1;
    let head = usize::from(PROGRESSIVE[first + 3]) + 2;
    let data =
        PROGRESSIVE[first + head..].windows(2).position(|pair| pair[0] == 0xff && pair[1] != 0).unwrap();
    let scan = &PROGRESSIVE[first..first + head + data];
    let many = |count| [&PROGRESSIVE[..first], &scan.repeat(count), &PROGRESSIVE[first..]].concat();
    assert_eq!(refused(&many(1000)).reason, Reason::ImageTooLarge);
    assert!(refused(&many(1)).problem.contains("not in order"));
}

#[test]
fn restarts_must_be_where_they_are_due() {
    let wrong = with_byte(RESTARTS, 0xd1, 0, 0xd2);
    assert!(refused(&wrong).problem.contains("restart"), "out of order");
    let undue = with_byte(RESTARTS, 0xdd, 4, 0);
    assert!(refused(&undue).problem.contains("restart"), "none were announced");
    let fewer = with_byte(RESTARTS, 0xdd, 4, 2);
    assert_eq!(refused(&fewer).reason, Reason::BadImage);
}

#[test]
fn time_that_has_passed_stops_it() {
    for (file, _) in GOOD {
        let limits = Limits { bytes_max: 1 << 20, samples_max: 1 << 16, time_max: Duration::ZERO };
        let error = decode_in(file, &mut Budget::of(limits, Store::new(1 << 20))).err().unwrap();
        assert_eq!((error.reason, error.problem.contains("longer")), (Reason::ImageTooLarge, true));
    }
}

#[test]
fn pixels_are_those_of_libjpeg() {
    for (number, (file, expected)) in GOOD.into_iter().enumerate() {
        let raster = decode_in(file, &mut Budget::trial(1 << 16)).unwrap_or_else(|e| panic!("{number}: {e}"));
        assert_eq!((raster.width, raster.height), (21, 13));
        assert_eq!(raster.channels == Channels::Grey, number < 2);
        assert!(raster.samples == Samples::U8(expected.to_vec()), "{number}");
    }
}

#[test]
fn memory_stays_within_four_bytes_a_sample() {
    // Of 24 x 16 samples, which blocks and MCUs fill: progressive needs the most.
    for (file, _) in GOOD {
        let store = Store::new(4 * 32 * 16 * 3);
        let limits =
            Limits { bytes_max: 1 << 20, samples_max: 32 * 16 * 3, time_max: Duration::from_mins(1) };
        assert!(decode_in(file, &mut Budget::of(limits, store)).is_ok());
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let file = [&[0xff, 0xd8, 0xff], bytes.as_slice()].concat();
        prop_assert!(decode_in(&file, &mut Budget::trial(1 << 16)).is_err());
    }

    #[test]
    fn mutated_files_never_panic(
        which in 0..GOOD.len(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut file = GOOD[which].0.to_vec();
        for (at, value) in changes {
            let at = at.index(file.len() - 3) + 3;
            file[at] = value;
        }
        let _ = decode_in(&file, &mut Budget::trial(1 << 16));
    }
}
