//! DICOM: every transfer syntax, photometric interpretation and table that is decoded, and lies.

use crate::Seed;
use crate::jpeg;
use crate::writer::*;

const PIXELS: Tag = (0x7FE0, 0x0010);
const FRAMES: Tag = (0x0028, 0x0008);

const JPEG_EXTENDED: &str = "1.2.840.10008.1.2.4.51";
const JPEG_LOSSLESS: &str = "1.2.840.10008.1.2.4.57";
const JPEG_LOSSLESS_SV1: &str = "1.2.840.10008.1.2.4.70";
const JPEG_2000_LOSSLESS: &str = "1.2.840.10008.1.2.4.90";
const JPEG_2000: &str = "1.2.840.10008.1.2.4.91";

pub(crate) fn seeds() -> Vec<Seed> {
    let mut seeds = uncompressed();
    seeds.extend(compressed());
    seeds.extend(tables());
    seeds.extend(hostile());
    seeds
}

/// A file that a request can carry.
pub(crate) fn slice() -> Vec<u8> {
    ct().file()
}

/// A file of two frames.
pub(crate) fn frames() -> Vec<u8> {
    let pixels: Vec<u16> = (0..12).collect();
    ct().with(words(PIXELS, "OW", &pixels)).with(text(FRAMES, "IS", "2")).file()
}

fn ct() -> File {
    File::ct(3, 2, &[0, 1, 2, 0xFFFF, 4, 5])
}

fn uncompressed() -> Vec<Seed> {
    let nested = vec![text((0x0008, 0x0100), "SH", "CODE")];
    let nested = vec![sequence((0x0040, 0xA168), vec![nested.clone(), nested], false)];
    let wide = bytes(PIXELS, "OW", &[0xFE, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0]);
    let mut tiff = ct();
    tiff.preamble[..4].copy_from_slice(b"II*\0");
    vec![
        ("implicit-little-endian", ct().written(IMPLICIT).file()),
        ("explicit-little-endian", slice()),
        ("explicit-big-endian", ct().written(BIG_ENDIAN).file()),
        ("deflated", ct().written(DEFLATED).file()),
        ("two-frames", frames()),
        ("of-12-bits", File::ct(2, 1, &[0xF801, 0x07FF]).bits(16, 12, true).file()),
        ("of-32-bits", File::ct(2, 1, &[]).bits(32, 32, true).with(wide).file()),
        (
            "single-bits",
            File::grey(3, 1, &[0b0010_1101, 0]).bits(1, 1, false).with(text(FRAMES, "IS", "2")).file(),
        ),
        ("monochrome1", ct().with(text((0x0028, 0x0004), "CS", "MONOCHROME1")).file()),
        (
            "rgb-in-planes",
            File::colour(2, 1, "RGB", &[1, 4, 2, 5, 3, 6]).with(number((0x0028, 0x0006), 1)).file(),
        ),
        ("ybr-full", File::colour(2, 1, "YBR_FULL", &[76, 85, 255, 76, 85, 255]).file()),
        ("ybr-full-422", File::colour(2, 1, "YBR_FULL_422", &[76, 128, 85, 255]).file()),
        ("sequences", ct().with(sequence((0x0008, 0x2218), vec![nested.clone(), nested], true)).file()),
        ("also-a-tiff", tiff.with(bytes((0xFFFC, 0xFFFC), "OB", b"a directory")).file()),
    ]
}

/// A frame in fragments.
fn encapsulated(file: File, syntax: &str, parts: &[&[u8]]) -> File {
    let mut items = vec![Vec::new()];
    items.extend(parts.iter().map(|part| {
        let mut part = part.to_vec();
        part.resize(part.len().next_multiple_of(2), 0);
        part
    }));
    file.with(fragments(items)).written(syntax)
}

/// As the fixtures are: of 21 x 13 pixels (JPEG), 33 x 32 (JPEG 2000) and 5 x 4 (without loss).
fn compressed() -> Vec<Seed> {
    let [grey, colour] = [File::grey(21, 13, &[]), File::colour(21, 13, "YBR_FULL_422", &[])];
    let of_j2k = |bits| File::ct(33, 32, &[]).bits(16, bits, bits == 16);
    let rct = File::colour(33, 32, "YBR_RCT", &[]);
    let lossless = File::ct(5, 4, &[]).bits(16, 16, false);
    let in_colour = File::colour(5, 4, "RGB", &[]).bits(16, 16, false);
    let (head, tail) = jpeg::GREY.split_at(200);
    vec![
        (
            "rle",
            encapsulated(ct(), RLE, &[&rle(&[vec![0, 0, 0, 255, 0, 0], vec![0, 1, 2, 255, 4, 5]])]).file(),
        ),
        (
            "rle-colour",
            encapsulated(
                File::colour(2, 1, "YBR_FULL", &[]),
                RLE,
                &[&rle(&[vec![76; 2], vec![85; 2], vec![255; 2]])],
            )
            .file(),
        ),
        ("rle-with-offset-table", slide(&[0, 74 + 8]).file()),
        ("rle-with-extended-offset-table", extended().file()),
        ("jpeg-baseline", encapsulated(grey.clone(), JPEG_BASELINE, &[jpeg::GREY]).file()),
        ("jpeg-in-two-fragments", encapsulated(grey.clone(), JPEG_BASELINE, &[head, tail]).file()),
        ("jpeg-progressive", encapsulated(grey, JPEG_EXTENDED, &[jpeg::PROGRESSIVE_GREY]).file()),
        ("jpeg-colour", encapsulated(colour, JPEG_BASELINE, &[jpeg::RESTARTS]).file()),
        ("jpeg-lossless", encapsulated(lossless.clone(), JPEG_LOSSLESS, &[&jpeg::lossless(1, 7)]).file()),
        ("jpeg-lossless-colour", encapsulated(in_colour, JPEG_LOSSLESS_SV1, &[&jpeg::lossless(3, 1)]).file()),
        ("jpeg-2000", encapsulated(File::grey(33, 32, &[]), JPEG_2000_LOSSLESS, &[jpeg::J2K_GREY]).file()),
        ("jpeg-2000-colour", encapsulated(rct, JPEG_2000_LOSSLESS, &[jpeg::J2K_COLOUR]).file()),
        ("jpeg-2000-signed", encapsulated(of_j2k(16), JPEG_2000_LOSSLESS, &[jpeg::J2K_SIGNED]).file()),
        ("jpeg-2000-lossy", encapsulated(of_j2k(12), JPEG_2000, &[jpeg::J2K_LOSSY]).file()),
    ]
}

/// Two frames and a table of where they begin.
fn slide(offsets: &[u32]) -> File {
    let table = offsets.iter().flat_map(|at| at.to_le_bytes()).collect();
    let [one, two] = [1, 2].map(|level| rle(&[vec![level, level + 1, 7, 7, 9]]));
    let file = File::grey(5, 1, &[]).with(text(FRAMES, "IS", "2"));
    file.with(fragments(vec![table, one, two])).written(RLE)
}

fn extended() -> File {
    let frame = rle(&[vec![1, 2, 7, 7, 9]]);
    let length = u64::try_from(frame.len()).unwrap();
    let longs = |values: [u64; 2]| values.into_iter().flat_map(u64::to_le_bytes).collect::<Vec<_>>();
    let file = slide(&[]).with(fragments(vec![Vec::new(), frame.clone(), frame]));
    let file = file.with(bytes((0x7FE0, 0x0001), "OV", &longs([0, length + 8])));
    file.with(bytes((0x7FE0, 0x0002), "OV", &longs([length, length])))
}

fn lut(tag: Tag, descriptor: &[u16], entries: &[u16]) -> Element {
    let item = vec![words((0x0028, 0x3002), "US", descriptor), words((0x0028, 0x3006), "US", entries)];
    sequence(tag, vec![item], true)
}

fn tables() -> Vec<Seed> {
    let plain = ct().without((0x0028, 0x1052)).without((0x0028, 0x1053));
    let windowed = ct().with(text((0x0028, 0x1050), "DS", "40\\300"));
    let windowed = windowed.with(text((0x0028, 0x1051), "DS", "400\\1500"));
    let mut palette = File::grey(4, 1, &[0, 10, 11, 200]).with(text((0x0028, 0x0004), "CS", "PALETTE COLOR"));
    for i in 0..3 {
        palette = palette.with(words((0x0028, 0x1101 + i), "US", &[2, 10, 16]));
        palette = palette.with(words((0x0028, 0x1201 + i), "OW", &[i, 1000 * i]));
    }
    let slope = vec![text((0x0028, 0x1052), "DS", "5"), text((0x0028, 0x1053), "DS", "2")];
    let slope = vec![sequence((0x0028, 0x9145), vec![slope], false)];
    let window = vec![text((0x0028, 0x1050), "DS", "3"), text((0x0028, 0x1051), "DS", "80")];
    let window = vec![sequence((0x0028, 0x9132), vec![window], true)];
    let pixels: Vec<u16> = (0..12).collect();
    let enhanced = plain.clone().with(words(PIXELS, "OW", &pixels)).with(text(FRAMES, "IS", "2"));
    let enhanced = enhanced.with(sequence((0x5200, 0x9229), vec![window], true));
    let enhanced = enhanced.with(sequence((0x5200, 0x9230), vec![slope.clone(), slope], false));
    vec![
        ("window", windowed.clone().file()),
        ("window-sigmoid", windowed.with(text((0x0028, 0x1056), "CS", "SIGMOID")).file()),
        ("modality-table", plain.with(lut((0x0028, 0x3000), &[3, 10, 12], &[1, 2, 3])).file()),
        ("voi-table", ct().with(lut((0x0028, 0x3010), &[4, 0xFFFE, 12], &[0, 1, 2, 4095])).file()),
        ("palette", palette.file()),
        ("functional-groups", enhanced.file()),
    ]
}

fn hostile() -> Vec<Seed> {
    let preamble = |start: &[u8]| {
        let mut file = ct();
        file.preamble[..start.len()].copy_from_slice(start);
        file.file()
    };
    let large =
        |file: File| file.with(number((0x0028, 0x0010), 65_535)).with(number((0x0028, 0x0011), 65_535));
    let lie = |tag, vr, length| ct().with(Element { tag, vr, body: Body::Lie(length, vec![0; 16]) });
    let mut swapped = ct();
    swapped.elements.swap(7, 8);
    let j2k = jpeg::with_bytes(jpeg::J2K_GREY, 0x51, 5, &[0xff; 8]);
    let zeros =
        File::grey(1, 1, &[]).with(bytes((0x0009, 0x1010), "OB", &vec![0; 2 << 20])).written(DEFLATED);
    vec![
        ("executable", preamble(b"MZ\x90\0")),
        ("size-of-65535-squared", large(ct()).file()),
        ("rle-of-65535-squared", large(slide(&[])).file()),
        ("jpeg-2000-of-4-gigapixels", encapsulated(large(File::grey(1, 1, &[])), JPEG_2000, &[&j2k]).file()),
        ("pixels-of-4-gigabytes", lie(PIXELS, "OW", u32::MAX - 1).file()),
        ("sequence-without-end", lie((0x0040, 0x0260), "SQ", u32::MAX).written(IMPLICIT).file()),
        ("sequences-150-deep", around(&[0; 128], EXPLICIT, &deep(150))),
        ("rows-behind-columns", swapped.file()),
        ("offsets-that-lie", slide(&[8, 4]).file()),
        ("bomb", zeros.file()),
        ("cut", slice().split_last_chunk::<5>().unwrap().0.to_vec()),
        ("archive-behind", [slice(), b"PK\x03\x04\x14\0\0\0".to_vec()].concat()),
    ]
}

/// Sequences within sequences, none of which ends.
fn deep(levels: usize) -> Vec<u8> {
    let level =
        [&[0x40, 0, 0x60, 0x02][..], b"SQ\0\0", &[0xFF; 4], &[0xFE, 0xFF, 0x00, 0xE0], &[0xFF; 4]].concat();
    level.repeat(levels)
}
