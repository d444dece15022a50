//! PNG: every colour type and depth, and lies.

use crate::Seed;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use std::io::Write as _;

const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
const SIDE: u32 = 9;

/// Colour types (ISO/IEC 15948 section 11.2.2).
const GREY: u8 = 0;
const RGB: u8 = 2;
const PALETTE: u8 = 3;
const GREY_ALPHA: u8 = 4;
const RGBA: u8 = 6;

/// First column, first row, and the steps between columns and rows of each pass of Adam7 (section 8.2).
const ADAM7: [(u32, u32, u32, u32); 7] =
    [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds = honest();
    seeds.extend(hostile());
    seeds
}

/// A picture that a request can carry.
pub(crate) fn grey() -> Vec<u8> {
    picture(GREY, 8, false, &[])
}

fn honest() -> Vec<Seed> {
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x01\0\0\0\0\0\0\0";
    let pieces: Vec<Vec<u8>> =
        zlib(&rows(GREY, 8, false)).iter().map(|byte| chunk(b"IDAT", &[*byte])).collect();
    vec![
        ("grey-1", picture(GREY, 1, false, &[])),
        ("grey-2", picture(GREY, 2, false, &[])),
        ("grey-4", picture(GREY, 4, false, &[])),
        ("grey-8", grey()),
        ("grey-16", picture(GREY, 16, false, &[])),
        ("rgb-8", picture(RGB, 8, false, &[])),
        ("rgb-16", picture(RGB, 16, false, &[])),
        ("palette-1", picture(PALETTE, 1, false, &[palette(2)])),
        ("palette-2", picture(PALETTE, 2, false, &[palette(4)])),
        ("palette-4", picture(PALETTE, 4, false, &[palette(16)])),
        ("palette-8", picture(PALETTE, 8, false, &[palette(256)])),
        ("grey-alpha-8-opaque", picture(GREY_ALPHA, 8, false, &[])),
        ("grey-alpha-16-opaque", picture(GREY_ALPHA, 16, false, &[])),
        ("rgba-8-opaque", picture(RGBA, 8, false, &[])),
        ("rgba-16-opaque", picture(RGBA, 16, false, &[])),
        ("interlaced-grey-1", picture(GREY, 1, true, &[])),
        ("interlaced-palette-4", picture(PALETTE, 4, true, &[palette(16)])),
        ("interlaced-rgb-16", picture(RGB, 16, true, &[])),
        ("exif-upright", picture(GREY, 8, false, &[chunk(b"eXIf", exif)])),
        ("text-and-time", picture(GREY, 8, false, &[chunk(b"tEXt", b"a\0b"), chunk(b"tIME", &[0; 7])])),
        ("image-data-in-pieces", file(&[header(SIDE, SIDE, 8, GREY, 0), pieces.concat()])),
    ]
}

fn hostile() -> Vec<Seed> {
    let good = grey();
    let with = |kind: &[u8], body: &[u8]| picture(GREY, 8, false, &[chunk(kind, body)]);
    let data = |rows: &[u8]| file(&[header(SIDE, SIDE, 8, GREY, 0), chunk(b"IDAT", rows)]);
    let bomb = zlib(&vec![0; 1 << 21]);
    let turned = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let deep = zlib(&rows(GREY, 8, false));
    vec![
        ("animated", with(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0])),
        ("transparent-colour", with(b"tRNS", &[0, 0])),
        ("critical-chunk-unknown", with(b"CgBI", &[0; 4])),
        ("exif-turned", with(b"eXIf", turned)),
        ("two-headers", with(b"IHDR", &[0, 0, 0, 9, 0, 0, 0, 9, 8, 0, 0, 0, 0])),
        ("size-of-50000-squared", file(&[header(50_000, 50_000, 8, RGB, 0), chunk(b"IDAT", &deep)])),
        ("size-of-2-to-the-31", file(&[header(u32::MAX, 1 << 31, 8, GREY, 1), chunk(b"IDAT", &deep)])),
        ("bomb-of-image-data", data(&bomb)),
        ("bomb-of-a-profile", with(b"iCCP", &[b"a\0\0", bomb.as_slice()].concat())),
        ("image-data-too-few", data(&zlib(&[0; 50]))),
        ("image-data-cut", data(&deep[..deep.len() - 3])),
        ("filter-unknown", data(&zlib(&[5; 90]))),
        ("palette-missing", picture(PALETTE, 2, false, &[])),
        ("palette-too-short", picture(PALETTE, 4, false, &[palette(3)])),
        ("chunk-of-4-gigabytes", [&good[..33], b"\xff\xff\xff\xffIDAT", &good[41..]].concat()),
        ("cut", good[..good.len() - 14].to_vec()),
        ("archive-behind", [&good, b"PK\x03\x04\x14\0".as_slice()].concat()),
        ("only-a-signature", SIGNATURE.to_vec()),
    ]
}

fn picture(colour: u8, depth: u8, interlaced: bool, extra: &[Vec<u8>]) -> Vec<u8> {
    let header = header(SIDE, SIDE, depth, colour, interlaced.into());
    file(&[header, extra.concat(), chunk(b"IDAT", &zlib(&rows(colour, depth, interlaced)))])
}

/// Filtered rows of a slope, each with the next filter; what is alpha is opaque.
fn rows(colour: u8, depth: u8, interlaced: bool) -> Vec<u8> {
    let (channels, alpha) = match colour {
        RGB => (3, false),
        GREY_ALPHA => (2, true),
        RGBA => (4, true),
        _ => (1, false),
    };
    let passes = if interlaced { ADAM7.as_slice() } else { &[(0, 0, 1, 1)] };
    let mut rows = Vec::new();
    let mut filter = 0;
    for (left, top, right, down) in passes {
        for y in (*top..SIDE).step_by(*down as usize) {
            let mut bits = Vec::new();
            for x in (*left..SIDE).step_by(*right as usize) {
                for channel in 0..channels {
                    let opaque = alpha && channel + 1 == channels;
                    let sample = if opaque { u32::MAX } else { x * 7 + y * 13 + channel };
                    bits.extend((0..depth).rev().map(|bit| sample >> bit & 1 == 1));
                }
            }
            if bits.is_empty() {
                continue;
            }
            // Filters change what the samples are, and alpha and palette must stay what they are.
            let plain = alpha || colour == PALETTE;
            rows.push(if plain { 0 } else { filter });
            filter = (filter + 1) % 5;
            rows.extend(bits.chunks(8).map(|byte| {
                (0..8).fold(0, |all, bit| all << 1 | u8::from(byte.get(bit).copied().unwrap_or(false)))
            }));
        }
    }
    rows
}

fn palette(colours: u16) -> Vec<u8> {
    chunk(b"PLTE", &(0..colours).flat_map(|n| [n.to_le_bytes()[0]; 3]).collect::<Vec<u8>>())
}

fn header(width: u32, height: u32, depth: u8, colour: u8, interlace: u8) -> Vec<u8> {
    let sides = [width.to_be_bytes(), height.to_be_bytes()].concat();
    chunk(b"IHDR", &[&sides, [depth, colour, 0, 0, interlace].as_slice()].concat())
}

fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    [SIGNATURE, &chunks.concat(), &chunk(b"IEND", b"")].concat()
}

fn chunk(kind: &[u8], body: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(body);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length, kind, body, &crc.sum().to_be_bytes()].concat()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
