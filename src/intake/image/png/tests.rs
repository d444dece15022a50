//! Promises of the PNG decoder. Files are built here, so that each can lie in one place.

use super::*;
use crate::contract::image::ImageSpec;
use crate::intake::image::{Limits, Store};
use crate::reason::Reason;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use proptest::prelude::*;
use std::io::Write;
use std::time::Duration;

fn chunk(kind: &[u8], body: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(kind);
    crc.update(body);
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&length, kind, body, &crc.sum().to_be_bytes()].concat()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(vec![], Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn header(width: u32, height: u32, depth: u8, colour: u8, interlace: u8) -> Vec<u8> {
    let body =
        [&width.to_be_bytes(), height.to_be_bytes().as_slice(), &[depth, colour, 0, 0, interlace]].concat();
    chunk(b"IHDR", &body)
}

fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    [SIGNATURE.as_slice(), &chunks.concat(), &chunk(b"IEND", b"")].concat()
}

/// 2 x 2 grey pixels of 8 bits, with chunks put in before the image data.
fn small(extra: &[Vec<u8>]) -> Vec<u8> {
    let data = chunk(b"IDAT", &zlib(&[0, 1, 2, 0, 3, 4]));
    file(&[vec![header(2, 2, 8, 0, 0)], extra.to_vec(), vec![data]].concat())
}

fn budget(samples_max: usize, time_max: Duration) -> Budget {
    Budget::of(Limits { bytes_max: 64 << 20, samples_max, time_max }, Store::new(1 << 30))
}

fn decode_in(file: &[u8], budget: &mut Budget) -> Result<Raster, ImageError> {
    let spec: ImageSpec = toml::from_str("formats = ['png']").unwrap();
    Png.decode(file, &Wanted { spec: &spec, frame: None }, budget).map(|decoded| decoded.raster)
}

fn decode(file: &[u8]) -> Result<Samples, ImageError> {
    decode_in(file, &mut budget(1 << 16, Duration::from_mins(1))).map(|raster| raster.samples)
}

fn refused(file: &[u8]) -> ImageError {
    decode(file).map(drop).expect_err("it was to be refused")
}

#[test]
fn what_is_not_one_still_opaque_picture_is_refused() {
    let pixel = |colour, row: &[u8]| file(&[header(1, 1, 8, colour, 0), chunk(b"IDAT", &zlib(row))]);
    let exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let unsupported = [
        (small(&[chunk(b"acTL", &[0, 0, 0, 2, 0, 0, 0, 0])]), "animated"),
        (small(&[chunk(b"fcTL", &[0; 26])]), "animated"),
        (small(&[chunk(b"fdAT", &[0; 9])]), "animated"),
        (small(&[chunk(b"tRNS", &[0, 0])]), "transparent"),
        (pixel(4, &[0, 7, 254]), "transparent"),
        (pixel(6, &[0, 7, 7, 7, 0]), "transparent"),
        (small(&[chunk(b"CgBI", &[0; 4])]), "critical"),
        (small(&[chunk(b"eXIf", exif)]), "orientation is 6"),
        (small(&[chunk(b"pHYs", &[0, 0, 0, 1, 0, 0, 0, 2, 0])]), "not square"),
    ];
    for (file, name) in unsupported {
        let error = refused(&file);
        assert_eq!(error.reason, Reason::FormatUnsupported, "{name}: {error}");
        assert!(error.problem.contains(name), "{name}: {error}");
    }
}

#[test]
fn broken_files_are_refused() {
    let image = |rows: &[u8]| file(&[header(2, 2, 8, 0, 0), chunk(b"IDAT", rows)]);
    let good = zlib(&[0, 1, 2, 0, 3, 4]);
    let palette = |index: u8| {
        let data = chunk(b"IDAT", &zlib(&[0, index]));
        file(&[header(1, 1, 8, 3, 0), chunk(b"PLTE", &[1, 2, 3]), data])
    };
    assert!(decode(&palette(0)) == Ok(Samples::U8(vec![1, 2, 3])));
    let cases = [
        (palette(1), "palette index"),
        (file(&[header(1, 1, 8, 3, 0), chunk(b"IDAT", &zlib(&[0, 0]))]), "palette is missing"),
        (file(&[header(1, 1, 2, 3, 0), chunk(b"PLTE", &[0; 15])]), "palette"),
        (small(&[chunk(b"PLTE", &[1, 2, 3])]), "palette"),
        (small(&[chunk(b"pHYs", &[0, 0, 0, 1, 0, 0, 0, 1])]), "size of its pixels"),
        (small(&[header(2, 2, 8, 0, 0)]), "two headers"),
        (small(&[chunk(b"a\0bc", &[])]), "name"),
        (file(&[chunk(b"IDAT", &good), header(2, 2, 8, 0, 0)]), "header"),
        (file(&[header(2, 2, 3, 0, 0)]), "header"),
        (file(&[header(0, 2, 8, 0, 0)]), "header"),
        (file(&[header(1 << 31, 2, 8, 0, 0)]), "header"),
        (file(&[header(2, 2, 8, 0, 2)]), "header"),
        (image(&zlib(&[0, 1, 2, 0, 3])), "too early"),
        (image(&zlib(&[0, 1, 2, 0, 3, 4, 5])), "more image data"),
        (image(&[good.as_slice(), &[0]].concat()), "more image data"),
        (image(&good[..good.len() - 1]), "cut short"),
        (image(&zlib(&[5, 1, 2, 0, 3, 4])), "filter"),
        (image(&[&good[..good.len() - 1], &[!good[good.len() - 1]]].concat()), "broken"),
        (small(&[chunk(b"IDAT", &good), chunk(b"tEXt", b"")]), "one piece"),
    ];
    for (file, name) in cases {
        let error = refused(&file);
        assert_eq!(error.reason, Reason::BadImage, "{name}: {error}");
        assert!(error.problem.contains(name), "{name}: {error}");
    }
}

#[test]
fn a_file_that_is_cut_or_changed_at_any_byte_is_refused() {
    let whole = small(&[chunk(b"tEXt", b"a\0b"), chunk(b"pHYs", &[0, 0, 0, 9, 0, 0, 0, 9, 1])]);
    assert!(decode(&whole) == Ok(Samples::U8(vec![1, 2, 3, 4])));
    for at in 0..whole.len() {
        assert_eq!(refused(&whole[..at]).reason, Reason::BadImage, "cut at {at}");
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            assert!(decode(&changed).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn bytes_behind_the_image_are_refused() {
    for behind in [b"PK\x03\x04".as_slice(), b"<?php", b"\0", &small(&[])] {
        assert_eq!(refused(&[&small(&[]), behind].concat()).reason, Reason::Polyglot);
    }
}

#[test]
fn bombs_are_refused_or_not_even_lit() {
    let huge = file(&[header(50_000, 50_000, 8, 2, 0), chunk(b"IDAT", &zlib(&vec![0; 1 << 16]))]);
    assert_eq!(refused(&huge).reason, Reason::ImageTooLarge, "a declared size");
    let ahead = [SIGNATURE.as_slice(), &header(50_000, 50_000, 8, 2, 0), b"no chunk"].concat();
    assert_eq!(
        refused(&ahead).reason,
        Reason::ImageTooLarge,
        "before anything behind the header is looked at"
    );
    let mut plenty = budget(usize::MAX / 8, Duration::from_mins(1));
    assert_eq!(
        decode_in(&huge, &mut plenty).err().unwrap().reason,
        Reason::BadImage,
        "less data than it needs"
    );
    let bomb = zlib(&vec![0; 64 << 20]);
    let deep = file(&[header(2, 2, 8, 0, 0), chunk(b"IDAT", &bomb)]);
    assert!(refused(&deep).problem.contains("more image data"), "inflated no further than the image");
    for kind in [b"zTXt", b"iTXt", b"iCCP"] {
        let text = chunk(kind, &[b"a\0\0".as_slice(), &bomb].concat());
        assert!(decode(&small(&[text])).is_ok(), "skipped, and never inflated");
    }
    let many = vec![chunk(b"tEXt", b""); 1_025];
    assert_eq!(refused(&small(&many)).reason, Reason::ImageTooLarge);
    let large = vec![chunk(b"tEXt", &vec![0; 5 << 20]); 2];
    assert_eq!(refused(&small(&large)).reason, Reason::ImageTooLarge);
    let pieces = vec![chunk(b"IDAT", b""); 65_537];
    assert_eq!(refused(&small(&pieces)).reason, Reason::ImageTooLarge);
}

#[test]
fn time_that_has_passed_stops_it() {
    let error = decode_in(&small(&[]), &mut budget(1 << 16, Duration::ZERO)).err().unwrap();
    assert_eq!((error.reason, error.problem.contains("longer")), (Reason::ImageTooLarge, true));
}

#[test]
fn image_data_may_come_in_pieces_of_any_size() {
    let data = zlib(&[0, 1, 2, 4, 3, 4]);
    let pieces: Vec<_> =
        data.iter().flat_map(|byte| [chunk(b"IDAT", &[*byte]), chunk(b"IDAT", b"")]).collect();
    let whole = file(&[vec![header(2, 2, 8, 0, 0)], pieces].concat());
    assert!(decode(&whole) == Ok(Samples::U8(vec![1, 2, 4, 8])), "the second row is filtered by Paeth");
}

#[test]
fn grey_of_few_bits_becomes_eight_as_pillow_does_it() {
    for (depth, byte, expected) in
        [(1, 0b1011_1111, [255, 0, 255]), (2, 0b1101_1011, [255, 85, 170]), (4, 0x1f, [17, 255, 0])]
    {
        let row: &[u8] = if depth == 4 { &[0, byte, 0x0f] } else { &[0, byte] };
        let whole = file(&[header(3, 1, depth, 0, 0), chunk(b"IDAT", &zlib(row))]);
        assert!(decode(&whole) == Ok(Samples::U8(expected.to_vec())), "{depth} bits");
    }
}

/// Encodes with the `png` crate: colours, depths and filters that it chooses itself.
fn encoded(width: u32, height: u32, colour: png::ColorType, depth: png::BitDepth, data: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    let mut encoder = png::Encoder::new(&mut out, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    encoder.set_filter(png::Filter::Adaptive);
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    out
}

proptest! {
    #[test]
    fn what_another_encoder_wrote_is_read(
        (width, height) in (1_u32..40, 1_u32..40),
        seed in proptest::collection::vec(any::<u8>(), 40 * 40 * 8),
    ) {
        use png::{BitDepth, ColorType};
        let pixels = (width * height) as usize;
        let grey = &seed[..pixels];
        prop_assert!(decode(&encoded(width, height, ColorType::Grayscale, BitDepth::Eight, grey)) == Ok(Samples::U8(grey.to_vec())));
        let rgb = &seed[..3 * pixels];
        prop_assert!(decode(&encoded(width, height, ColorType::Rgb, BitDepth::Eight, rgb)) == Ok(Samples::U8(rgb.to_vec())));
        let wide = &seed[..6 * pixels];
        let samples = wide.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        prop_assert!(decode(&encoded(width, height, ColorType::Rgb, BitDepth::Sixteen, wide)) == Ok(Samples::U16(samples)));
        let opaque: Vec<u8> = rgb.chunks(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
        prop_assert!(decode(&encoded(width, height, ColorType::Rgba, BitDepth::Eight, &opaque)) == Ok(Samples::U8(rgb.to_vec())));
    }

    #[test]
    fn interlaced_images_are_the_same_images((width, height) in (1_u32..20, 1_u32..20), shade in any::<u8>()) {
        let level = |x: u32, y: u32| (x * 13 + y * 29).to_le_bytes()[0].wrapping_add(shade);
        let mut rows = vec![];
        for pass in rows::passes(true) {
            let [left, right, top, down] = [pass.left, pass.right, pass.top, pass.down].map(|n| u32::try_from(n).unwrap());
            let columns: Vec<u32> = (left..width).step_by(right as usize).collect();
            for y in (top..height).step_by(down as usize).filter(|_| !columns.is_empty()) {
                rows.push(0);
                rows.extend(columns.iter().map(|x| level(*x, y)));
            }
        }
        let interlaced = file(&[header(width, height, 8, 0, 1), chunk(b"IDAT", &zlib(&rows))]);
        let plain = (0..height).flat_map(|y| (0..width).map(move |x| level(x, y))).collect();
        prop_assert!(decode(&interlaced) == Ok(Samples::U8(plain)));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        prop_assert!(decode(&[SIGNATURE, bytes.as_slice()].concat()).is_err());
    }

    /// The sums of the chunks are right, so that what is behind them is reached.
    #[test]
    fn arbitrary_chunks_never_panic(
        head in proptest::array::uniform5(0_u8..20),
        palette in proptest::collection::vec(any::<u8>(), 0..60),
        data in proptest::collection::vec(any::<u8>(), 0..500),
    ) {
        let [width, height, depth, colour, interlace] = head;
        let head = header(width.into(), height.into(), depth, colour, interlace);
        let _ = decode(&file(&[head.clone(), chunk(b"PLTE", &palette), chunk(b"IDAT", &data)]));
        let _ = decode(&file(&[head, chunk(b"IDAT", &zlib(&data))]));
    }
}
