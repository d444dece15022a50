//! JPEG: the committed files of libjpeg, and what can be made of them.

use crate::Seed;
use crate::lossless::Lossless;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/fixtures/images/", $name)).as_slice()
    };
}

pub(crate) const GREY: &[u8] = fixture!("grey.jpg");
pub(crate) const COLOUR: &[u8] = fixture!("colour_444.jpg");
pub(crate) const RESTARTS: &[u8] = fixture!("colour_422_restarts.jpg");
pub(crate) const PROGRESSIVE: &[u8] = fixture!("colour_420_progressive.jpg");
pub(crate) const PROGRESSIVE_GREY: &[u8] = fixture!("grey_progressive.jpg");
pub(crate) const J2K_GREY: &[u8] = fixture!("j2k_grey_8.j2k");
pub(crate) const J2K_COLOUR: &[u8] = fixture!("j2k_colour.j2k");
pub(crate) const J2K_SIGNED: &[u8] = fixture!("j2k_signed_16.j2k");
pub(crate) const J2K_LOSSY: &[u8] = fixture!("j2k_lossy_12.j2k");

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = vec![
        ("grey", GREY.to_vec()),
        ("grey-progressive", PROGRESSIVE_GREY.to_vec()),
        ("colour-444", COLOUR.to_vec()),
        ("colour-422-restarts", RESTARTS.to_vec()),
        ("colour-420", fixture!("colour_420.jpg").to_vec()),
        ("colour-420-progressive", PROGRESSIVE.to_vec()),
        ("rgb", fixture!("rgb.jpg").to_vec()),
        ("padded", [GREY, &[0, 0]].concat()),
        ("exif-upright", with_segment(GREY, 0xe1, &exif(1))),
        (
            "comment-and-profile",
            with_segment(&with_segment(GREY, 0xfe, b"a"), 0xe2, b"ICC_PROFILE\0\x01\x01"),
        ),
    ];
    seeds.extend(hostile());
    seeds
}

fn hostile() -> Vec<Seed> {
    let size = |height: u16, width: u16| {
        with_bytes(GREY, 0xc0, 4, &[height.to_be_bytes(), width.to_be_bytes()].concat())
    };
    let first = find(PROGRESSIVE, 0xda) - 1;
    let second = first + 2 + find(&PROGRESSIVE[first + 2..], 0xda) - 1;
    let scan = &PROGRESSIVE[first..second];
    vec![
        ("lossless", lossless(1, 7)),
        ("arithmetic", with_bytes(GREY, 0xc0, 0, &[0xc9])),
        ("hierarchical", with_bytes(GREY, 0xc0, 0, &[0xc5])),
        ("of-12-bits", with_bytes(GREY, 0xc0, 3, &[12])),
        ("size-of-65535-squared", size(65_535, 65_535)),
        ("no-height", size(0, 21)),
        ("one-row-more", size(21, 21)),
        ("sampling-of-4-by-4", with_bytes(COLOUR, 0xc0, 10, &[0x44])),
        ("sampling-of-0", with_bytes(COLOUR, 0xc0, 10, &[0x10])),
        ("number-of-lines-later", with_segment(GREY, 0xdc, &[0, 13])),
        ("several-pictures", with_segment(GREY, 0xe2, b"MPF\0")),
        ("exif-turned", with_segment(GREY, 0xe1, &exif(6))),
        ("huffman-table-too-full", with_bytes(GREY, 0xc4, 4, &[255; 16])),
        ("quantization-of-0", with_bytes(GREY, 0xdb, 4, &[0; 64])),
        ("table-of-16-bits", with_bytes(GREY, 0xdb, 3, &[0x10])),
        ("restarts-out-of-order", with_bytes(RESTARTS, 0xd1, 0, &[0xd2])),
        ("restarts-elsewhere", with_bytes(RESTARTS, 0xdd, 3, &[0, 2])),
        ("same-scan-again", [&PROGRESSIVE[..first], scan, scan, &PROGRESSIVE[second..]].concat()),
        ("scans-missing", [&PROGRESSIVE[..second], &[0xff, 0xd9]].concat()),
        ("segment-of-no-length", [&GREY[..2], &[0xff, 0xfe, 0, 0], &GREY[2..]].concat()),
        ("segment-behind-the-end", [&GREY[..2], &[0xff, 0xfe, 0xff, 0xff], &GREY[2..]].concat()),
        ("cut", GREY[..GREY.len() - 9].to_vec()),
        ("script-behind", [GREY, b"<?php"].concat()),
        ("two-pictures", [GREY, GREY].concat()),
    ]
}

/// 5 x 4 pixels without loss.
pub(crate) fn lossless(channels: usize, predictor: u8) -> Vec<u8> {
    let samples: Vec<u16> = (0..60).map(|n| n * 1000).collect();
    Lossless { precision: 16, channels, predictor, transform: 0, rows: 2 }.encode(&samples)
}

/// An orientation, in Exif.
fn exif(orientation: u8) -> Vec<u8> {
    let tag = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0";
    [tag, [orientation, 0, 0, 0, 0, 0, 0, 0].as_slice()].concat()
}

/// Where a marker's second byte stands.
fn find(file: &[u8], marker: u8) -> usize {
    file.windows(2).position(|pair| pair == [0xff, marker]).unwrap() + 1
}

/// The file with bytes at `offset` behind a marker set.
pub(crate) fn with_bytes(file: &[u8], marker: u8, offset: usize, bytes: &[u8]) -> Vec<u8> {
    let mut file = file.to_vec();
    let at = find(&file, marker) + offset;
    file[at..at + bytes.len()].copy_from_slice(bytes);
    file
}

/// The file with a segment put in behind its first marker.
fn with_segment(file: &[u8], marker: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len() + 2).unwrap().to_be_bytes();
    [&file[..2], &[0xff, marker], &length, body, &file[2..]].concat()
}
