//! Whether hostile files are refused for the right reason, before they have cost anything.

use super::super::writer::*;
use super::*;
use proptest::prelude::*;

const PIXELS: Tag = (0x7FE0, 0x0010);

fn small() -> File {
    File::ct(3, 2, &[0, 1, 2, 0xFFFF, 4, 5])
}

fn refused(file: &[u8], reason: Reason, why: &str) {
    let error = refused_before_memory(file);
    assert_eq!(error.reason, reason, "{why}: {error}");
}

#[test]
fn a_preamble_of_another_kind_of_file_is_a_polyglot() {
    let others: [&[u8]; 13] = [
        b"MZ\x90\0",
        b"\x7fELF\x02",
        b"\xcf\xfa\xed\xfe",
        b"\xca\xfe\xba\xbe",
        b"#!/bin/sh\n",
        b"PK\x03\x04",
        b"%PDF-1.7",
        b"\0\0 %PDF-1.7",
        b"\xff\xd8\xff\xe0",
        b"<html>",
        b"@echo off",
        b"L\0\0\0\x01\x14\x02\0",
        b"\0\0\0\0 <script>",
    ];
    for other in others {
        let mut file = small();
        file.preamble[..other.len()].copy_from_slice(other);
        refused(&file.file(), Reason::Polyglot, &String::from_utf8_lossy(other));
    }
    let mut file = small();
    file.preamble[16] = 1;
    assert!(decode(&file.file()).is_ok(), "some writers leave a byte there");
}

#[test]
fn lies_of_the_header_are_refused_before_memory_is_taken() {
    let us = |element: u16, value: u16| number((0x0028, element), value);
    let lies = [
        (us(0x0002, 3), Reason::BadImage, "three samples of grey"),
        (us(0x0010, 3), Reason::BadImage, "more rows than pixels"),
        (us(0x0010, 1), Reason::BadImage, "fewer rows than pixels"),
        (us(0x0010, 0), Reason::BadImage, "no rows"),
        (us(0x0011, 65_535), Reason::BadImage, "more columns than pixels"),
        (us(0x0100, 8), Reason::BadImage, "fewer bits allocated than stored"),
        (us(0x0100, 12), Reason::FormatUnsupported, "packed bits"),
        (us(0x0101, 0), Reason::BadImage, "no bits stored"),
        (us(0x0101, 17), Reason::BadImage, "more bits stored than allocated"),
        (us(0x0102, 14), Reason::FormatUnsupported, "another high bit"),
        (us(0x0103, 2), Reason::BadImage, "neither with nor without a sign"),
        (text((0x0028, 0x0008), "IS", "0"), Reason::BadImage, "no frames"),
        (text((0x0028, 0x0008), "IS", "1A"), Reason::BadImage, "frames that are no number"),
        (text((0x0028, 0x0008), "IS", "-1"), Reason::BadImage, "frames below zero"),
        (text((0x0028, 0x0008), "IS", "99999999999"), Reason::BadImage, "too many frames"),
        (text((0x0028, 0x0008), "IS", "2"), Reason::FormatForbidden, "two frames"),
        (text((0x0028, 0x0034), "IS", "1\\2"), Reason::FormatUnsupported, "pixels twice as wide as high"),
        (text((0x0028, 0x0034), "IS", "1"), Reason::BadImage, "half a ratio"),
        (text((0x0028, 0x0034), "IS", "1\\1\\1"), Reason::BadImage, "a ratio of three"),
        (text((0x0028, 0x0034), "IS", "1\\0"), Reason::BadImage, "pixels without a width"),
        (text((0x0028, 0x0004), "CS", "RGB"), Reason::BadImage, "colour of one sample"),
        (text((0x0028, 0x0004), "CS", "HSV"), Reason::FormatUnsupported, "HSV"),
        (text((0x0028, 0x0004), "CS", "SECRET"), Reason::FormatUnsupported, "unknown"),
        (text((0x0028, 0x1053), "DS", "0"), Reason::BadImage, "slope 0"),
        (text((0x0028, 0x1053), "DS", "1e999"), Reason::BadImage, "slope without end"),
        (text((0x0028, 0x1053), "DS", "nan"), Reason::BadImage, "slope that is no number"),
        (text((0x0028, 0x1050), "DS", "40"), Reason::BadImage, "a window without a width"),
        (text((0x0028, 0x0010), "LO", "512"), Reason::BadImage, "rows as text"),
        (words((0x0028, 0x0010), "US", &[2, 2]), Reason::BadImage, "rows twice"),
        (bytes((0x7FE0, 0x0008), "OF", &[0; 24]), Reason::FormatUnsupported, "floats"),
        (bytes((0x7FE0, 0x0009), "OD", &[0; 48]), Reason::FormatUnsupported, "doubles"),
        (fragments(vec![vec![], vec![0; 12]]), Reason::BadImage, "fragments without compression"),
        (words(PIXELS, "OW", &[0; 5]), Reason::BadImage, "a sample too few"),
        (words(PIXELS, "OW", &[0; 7]), Reason::BadImage, "a sample too many"),
        (bytes((0x0009, 0x0010), "ZZ", &[0; 2]), Reason::BadImage, "no value representation"),
    ];
    for syntax in [EXPLICIT, BIG_ENDIAN] {
        for (lie, reason, why) in &lies {
            refused(&small().with(lie.clone()).written(syntax).file(), *reason, why);
        }
    }
}

#[test]
fn what_must_be_there_is_missed() {
    let needed = [0x0002, 0x0004, 0x0010, 0x0011, 0x0100, 0x0101, 0x0102, 0x0103];
    for tag in needed.map(|element| (0x0028, element)).into_iter().chain([PIXELS]) {
        refused(&small().without(tag).file(), Reason::BadImage, &format!("{tag:04X?}"));
    }
    refused(
        &File::colour(1, 1, "RGB", &[1, 2, 3, 0]).without((0x0028, 0x0006)).file(),
        Reason::BadImage,
        "planar",
    );
}

#[test]
fn attributes_that_are_read_stand_once_and_in_order() {
    for tag in [(0x0028, 0x0010), (0x0008, 0x0060), (0x0028, 0x1052), (0x7FE0, 0x0010)] {
        let mut twice = small();
        let at = twice.elements.iter().position(|element| element.tag == tag).unwrap();
        twice.elements.insert(at, twice.elements[at].clone());
        let reason = if tag == (0x7FE0, 0x0010) { Reason::Polyglot } else { Reason::BadImage };
        refused(&twice.file(), reason, &format!("{tag:04X?} twice"));
    }
    let mut swapped = small();
    swapped.elements.swap(7, 8);
    refused(&swapped.file(), Reason::BadImage, "columns before rows");
}

#[test]
fn too_many_pixels_are_refused_by_the_header_alone() {
    let huge = small().with(number((0x0028, 0x0010), 65_535)).with(number((0x0028, 0x0011), 65_535));
    refused(&huge.file(), Reason::ImageTooLarge, "4 gigapixels");
    let mut frames = small().with(text((0x0028, 0x0008), "IS", "2147483647"));
    refused(&frames.file(), Reason::FormatForbidden, "frames");
    frames = frames.with(number((0x0028, 0x0010), 1000)).with(number((0x0028, 0x0011), 1000));
    let error = decode_as(&frames.file(), "frame = 'middle'", None).err().unwrap();
    assert_eq!(error.reason, Reason::BadImage);
}

#[test]
fn lengths_of_four_gigabytes_are_refused() {
    for length in [u32::MAX - 1, u32::MAX, 1 << 31, 1000] {
        for (tag, vr) in
            [(PIXELS, "OW"), ((0x0009, 0x1010), "OB"), ((0x0009, 0x1010), "UN"), ((0x0040, 0x0260), "SQ")]
        {
            let lie = Element { tag, vr, body: Body::Lie(length, vec![0; 16]) };
            for syntax in [IMPLICIT, EXPLICIT, BIG_ENDIAN] {
                refused(&small().with(lie.clone()).written(syntax).file(), Reason::BadImage, vr);
            }
        }
        let mut item = vec![0xFE, 0xFF, 0x00, 0xE0];
        item.extend((length.min(u32::MAX - 1)).to_le_bytes());
        let short = Element { tag: (0x0040, 0x0260), vr: "SQ", body: Body::Lie(8, item.clone()) };
        refused(&small().with(short).file(), Reason::BadImage, "an item");
        let fragment = Element { tag: PIXELS, vr: "OB", body: Body::Lie(u32::MAX, item) };
        refused(&small().with(fragment).written(RLE).file(), Reason::BadImage, "a fragment");
    }
}

#[test]
fn sequences_200_000_deep_are_refused() {
    const DEEP: usize = 200_000;
    let head = |vr: &[u8], length: u32| {
        let mut head = vec![0x40, 0, 0x60, 0x02];
        head.extend(vr);
        head.extend(length.to_le_bytes());
        head.extend([0xFE, 0xFF, 0x00, 0xE0]);
        head
    };
    let kinds: [(&str, &[u8]); 3] = [(EXPLICIT, b"SQ\0\0"), (EXPLICIT, b"UN\0\0"), (IMPLICIT, b"")];
    for (syntax, vr) in kinds {
        let mut open = Vec::new();
        for i in 0..DEEP {
            // What an element of representation UN holds is implicit.
            let vr = if vr.starts_with(b"UN") && i > 0 { &[] } else { vr };
            open.extend(head(vr, u32::MAX));
            open.extend(u32::MAX.to_le_bytes());
        }
        refused(&around(&[0; 128], syntax, &open), Reason::ImageTooLarge, "undefined lengths");
    }
    let mut defined = Vec::new();
    for level in (0..DEEP).rev() {
        let inner = u32::try_from(level * 20).unwrap();
        defined.extend(head(b"SQ\0\0", inner + 8));
        defined.extend(inner.to_le_bytes());
    }
    refused(&around(&[0; 128], EXPLICIT, &defined), Reason::ImageTooLarge, "defined lengths");
}

#[test]
fn floods_of_elements_items_and_fragments_are_refused() {
    let element = |group: u8| [group, 0, 0x10, 0, b'L', b'O', 0, 0].repeat(200_001);
    refused(&around(&[0; 128], EXPLICIT, &element(0x40)), Reason::ImageTooLarge, "elements");
    refused(&around(&[0; 128], EXPLICIT, &element(0x41)[..50_001 * 8]), Reason::ImageTooLarge, "private");
    let items = sequence((0x0040, 0x0260), vec![Vec::new(); 200_001], true);
    refused(&small().with(items).file(), Reason::ImageTooLarge, "items");
    let flood = small().with(fragments(vec![Vec::new(); 100_003])).written(RLE);
    refused(&flood.file(), Reason::ImageTooLarge, "fragments");
}

#[test]
fn a_deflate_bomb_stops_at_the_budget() {
    let bomb = small().with(bytes((0x0009, 0x0010), "OB", &vec![0; 128 << 20])).written(DEFLATED).file();
    assert!(bomb.len() < 256 << 10);
    assert!(decode(&bomb).is_err_and(|error| error.reason == Reason::ImageTooLarge));
}

#[test]
fn what_is_no_part_of_the_file_is_a_polyglot() {
    let tails: [&[u8]; 4] = [b"PK\x03\x04\x14\0\0\0\x08\0\x21\x21", b"\0", &[0; 8], b"%PDF-1.7\n%%EOF"];
    for syntax in [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED] {
        for tail in tails {
            let mut file = small().written(syntax).file();
            file.extend(tail);
            // One zero makes a deflated data set even.
            let honest = syntax == DEFLATED && tail == b"\0";
            let found = decode(&file).err().map(|error| error.reason);
            assert_eq!(found, (!honest).then_some(Reason::Polyglot), "{syntax} {tail:?}");
        }
    }
    let padded = |byte: u8| small().with(bytes((0xFFFC, 0xFFFC), "OB", &[byte; 16])).file();
    assert!(decode(&padded(0)).is_ok());
    refused(&padded(b'P'), Reason::Polyglot, "padding that is not empty");
    for tiff in [b"II*\0", b"MM\0*", b"II+\0"] {
        let mut file = small().with(bytes((0xFFFC, 0xFFFC), "OB", b"its directory lies here"));
        file.preamble[..4].copy_from_slice(tiff);
        assert!(decode(&file.file()).is_ok(), "the standard lets a file be a TIFF as well");
    }
}

#[test]
fn no_value_of_a_file_stands_in_a_refusal() {
    for element in small().elements {
        let secret = Element { body: Body::Bytes(b"SECRET^NAME=1234".to_vec()), ..element };
        let error = decode(&small().with(secret).file()).err();
        assert!(
            error.is_none_or(|error| !error.problem.contains("SECRET") && !error.problem.contains("1234"))
        );
    }
}

fn honest() -> Vec<Vec<u8>> {
    let grey = |syntax| small().written(syntax).file();
    let planes = [vec![0, 0, 0, 255, 0, 0], vec![0, 1, 2, 255, 4, 5]];
    let rle = small().with(fragments(vec![vec![], rle(&planes)])).written(RLE);
    let padding = bytes((0xFFFC, 0xFFFC), "OB", &[0; 6]);
    let item = vec![text((0x0008, 0x0100), "SH", "CODE")];
    let nested = small()
        .with(sequence((0x0008, 0x2218), vec![item.clone(), item.clone()], false))
        .with(sequence((0x0040, 0x0260), vec![item], true))
        .with(padding);
    let mut files = [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED].map(grey).to_vec();
    files.extend([rle.file(), nested.file(), nested.written(IMPLICIT).file()]);
    files
}

#[test]
fn a_file_cut_at_any_byte_is_refused_unless_the_image_is_whole() {
    let whole = samples(&small().file());
    for file in honest() {
        assert_eq!(samples(&file), whole);
        let mut taken = 0;
        for cut in 0..file.len() {
            let Ok(decoded) = decode(&file[..cut]) else { continue };
            assert!(decoded.raster.samples == whole, "another image from {cut} of {} bytes", file.len());
            taken += 1;
        }
        assert!(taken <= 1, "only whole padding may be cut off, not {taken} times");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_decoded_or_refused(data in proptest::collection::vec(any::<u8>(), 0..512), which in 0_usize..6) {
        let syntax = [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED, RLE, JPEG_BASELINE][which];
        let _ = decode(&around(&[0; 128], syntax, &data));
        let _ = decode(&data);
    }

    #[test]
    fn a_good_file_with_wrong_bytes_is_decoded_or_refused(
        which in 0_usize..7,
        wrong in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut file = honest().swap_remove(which);
        for (at, byte) in wrong {
            let at = 128 + at.index(file.len() - 128);
            file[at] = byte;
        }
        if let Ok(decoded) = decode_as(&file, "frame = 'middle'", None) {
            let raster = decoded.raster;
            prop_assert_eq!(raster.samples.len(), raster.width * raster.height * raster.channels.count());
        }
    }
}
