//! Whether samples are those that were stored, however they are written.

use super::super::writer::*;
use super::*;

const PIXELS: Tag = (0x7FE0, 0x0010);

fn refused(file: &File) -> Reason {
    decode(&file.file()).err().expect("it was taken").reason
}

#[test]
fn only_stored_bits_count_and_the_highest_is_the_sign() {
    let file = |stored, signed| File::ct(2, 1, &[0xF801, 0x07FF]).bits(16, stored, signed).file();
    let more_bits = decode(&file(12, false)).err().unwrap();
    assert!(more_bits.problem.contains("bits above Bits Stored"), "{more_bits}");
    assert!(decode(&file(11, true)).is_err(), "the sign, and one bit more");
    assert_eq!(samples(&file(12, true)), Samples::I16(vec![-2047, 2047]));
    let zeros_above = File::ct(2, 1, &[0x0801, 0x07FF]).bits(16, 12, true).file();
    assert_eq!(samples(&zeros_above), Samples::I16(vec![-2047, 2047]));
    assert_eq!(samples(&file(16, true)), Samples::I16(vec![-2047, 2047]));
    assert_eq!(decode(&file(12, true)).unwrap().raster.tone.stored, (-2048.0, 2047.0));
    let unsigned = File::ct(2, 1, &[0x0801, 0x07FF]).bits(16, 12, false).file();
    assert_eq!(decode(&unsigned).unwrap().raster.tone.stored, (0.0, 4095.0));
    let bytes = |signed| File::grey(2, 1, &[0x7F, 0xFE]).bits(8, 8, signed).file();
    assert_eq!(samples(&bytes(false)), Samples::U8(vec![127, 254]));
    assert_eq!(samples(&bytes(true)), Samples::I16(vec![127, -2]));
    let wide = |signed| {
        let value = [0xFE, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0];
        File::ct(2, 1, &[]).bits(32, 32, signed).with(bytes_of(&value, "OW")).file()
    };
    assert_eq!(samples(&wide(false)), Samples::U32(vec![u32::MAX - 1, 1]));
    assert_eq!(samples(&wide(true)), Samples::I32(vec![-2, 1]));
}

fn bytes_of(value: &[u8], vr: &'static str) -> Element {
    bytes(PIXELS, vr, value)
}

#[test]
fn single_bits_begin_with_the_lowest_and_frames_within_a_byte() {
    let file = File::grey(3, 1, &[0b0010_1101, 0]).bits(1, 1, false).with(text((0x0028, 0x0008), "IS", "2"));
    let frame = |n| decode_as(&file.file(), "frame = 'caller'", Some(n)).unwrap().raster.samples;
    assert_eq!(frame(1), Samples::U8(vec![1, 0, 1]));
    assert_eq!(frame(2), Samples::U8(vec![1, 0, 1]));
    let long: Vec<u8> = (0..20_000_u32).map(|i| (i % 251).to_le_bytes()[0]).collect();
    let all = samples(&File::grey(400, 400, &long).bits(1, 1, false).file());
    let expected = long.iter().flat_map(|byte| (0..8).map(move |bit| (byte >> bit) & 1)).collect();
    assert!(all == Samples::U8(expected));
}

#[test]
fn bytes_written_as_words_stand_swapped_in_big_endian() {
    let file = |vr| File::grey(3, 1, &[]).with(bytes_of(&[2, 1, 0, 3], vr)).written(BIG_ENDIAN).file();
    assert_eq!(samples(&file("OW")), Samples::U8(vec![1, 2, 3]));
    assert_eq!(decode(&file("UN")).err().map(|error| error.reason), Some(Reason::BadImage), "who knows");
    let octets = File::grey(3, 1, &[1, 2, 3, 0]).written(BIG_ENDIAN).file();
    assert_eq!(samples(&octets), Samples::U8(vec![1, 2, 3]));
}

#[test]
fn pixels_that_are_said_to_be_square_are() {
    for ratio in ["1\\1", "300\\300", " 1 \\1 ", "  "] {
        let file = File::grey(3, 1, &[1, 2, 3, 0]).with(text((0x0028, 0x0034), "IS", ratio));
        assert_eq!(samples(&file.file()), Samples::U8(vec![1, 2, 3]), "{ratio}");
    }
}

#[test]
fn planes_become_pixels() {
    let planes = File::colour(2, 1, "RGB", &[1, 4, 2, 5, 3, 6]).with(number((0x0028, 0x0006), 1));
    assert_eq!(samples(&planes.file()), Samples::U8(vec![1, 2, 3, 4, 5, 6]));
    let big: Vec<u8> = (0..3 * 40_000_u32).map(|i| (i % 253).to_le_bytes()[0]).collect();
    let planes = samples(&File::colour(200, 200, "RGB", &big).with(number((0x0028, 0x0006), 1)).file());
    let expected = (0..40_000).flat_map(|i| [big[i], big[40_000 + i], big[80_000 + i]]).collect();
    assert!(planes == Samples::U8(expected));
}

#[test]
fn luma_and_chroma_become_rgb() {
    let red = [76, 85, 255];
    let full = File::colour(2, 1, "YBR_FULL", &[red, red].concat());
    assert_eq!(samples(&full.file()), Samples::U8(vec![254, 0, 0, 254, 0, 0]));
    let half = File::colour(2, 1, "YBR_FULL_422", &[76, 128, 85, 255]);
    assert_eq!(samples(&half.file()), Samples::U8(vec![254, 0, 0, 255, 52, 52]));
    assert_eq!(refused(&File::colour(1, 1, "YBR_FULL_422", &[76, 85, 255, 0])), Reason::BadImage);
    assert_eq!(refused(&File::colour(1, 1, "YBR_RCT", &[1, 2, 3, 0])), Reason::BadImage);
}

#[test]
fn a_palette_gives_its_nearest_entry() {
    let with = |bits: u16, red: &[u16], green: &[u16], blue: &[u16]| {
        let mut file =
            File::grey(4, 1, &[0, 10, 11, 200]).with(text((0x0028, 0x0004), "CS", "PALETTE COLOR"));
        for (i, table) in [red, green, blue].into_iter().enumerate() {
            let i = u16::try_from(i).unwrap();
            let entries = u16::try_from(table.len()).unwrap();
            file = file.with(words((0x0028, 0x1101 + i), "US", &[entries, 10, bits]));
            file = file.with(words((0x0028, 0x1201 + i), "OW", table));
        }
        file
    };
    let file = with(16, &[1, 1000], &[2, 2000], &[3, 65_535]);
    let expected = Samples::U16(vec![1, 2, 3, 1, 2, 3, 1000, 2000, 65_535, 1000, 2000, 65_535]);
    assert_eq!(samples(&file.file()), expected);
    assert_eq!(samples(&file.clone().written(BIG_ENDIAN).file()), expected);
    assert_eq!(decode(&file.file()).unwrap().raster.tone, Tone::plain(65_535.0));
    let bytes = with(8, &[1, 255], &[2, 7], &[3, 8]);
    assert_eq!(samples(&bytes.file()), Samples::U8(vec![1, 2, 3, 1, 2, 3, 255, 7, 8, 255, 7, 8]));
    assert_eq!(refused(&with(8, &[1, 256], &[2, 7], &[3, 8])), Reason::BadImage);
    assert_eq!(refused(&with(16, &[1, 2], &[2, 7], &[3])), Reason::BadImage);
    assert_eq!(refused(&file.clone().without((0x0028, 0x1203))), Reason::BadImage);
    let segmented = file.with(words((0x0028, 0x1221), "OW", &[0, 1, 2]));
    assert_eq!(refused(&segmented), Reason::FormatUnsupported);
}

fn in_rle(file: File, frames: &[Vec<Vec<u8>>]) -> File {
    let mut items = vec![Vec::new()];
    items.extend(frames.iter().map(|planes| rle(planes)));
    file.with(fragments(items)).written(RLE)
}

#[test]
fn run_lengths_give_what_was_stored() {
    let long: Vec<u8> = (0..300_u32).map(|i| if i < 200 { 7 } else { i.to_le_bytes()[0] }).collect();
    let file = in_rle(File::grey(30, 10, &[]), &[vec![long.clone()]]);
    assert_eq!(samples(&file.file()), Samples::U8(long));
    let file = in_rle(File::ct(2, 1, &[]).bits(16, 12, true), &[vec![vec![0x08, 0x07], vec![0x01, 0xFF]]]);
    assert_eq!(samples(&file.file()), Samples::I16(vec![-2047, 2047]));
    let planes = vec![vec![76, 76], vec![85, 85], vec![255, 255]];
    let file = in_rle(File::colour(2, 1, "YBR_FULL", &[]), &[planes]);
    assert_eq!(samples(&file.file()), Samples::U8(vec![254, 0, 0, 254, 0, 0]));
}

#[test]
fn run_lengths_that_lie_are_refused() {
    let good = rle(&[vec![1, 2, 3, 4]]);
    let of = |frame: Vec<u8>| File::grey(2, 2, &[]).with(fragments(vec![vec![], frame])).written(RLE);
    assert!(decode(&of(good.clone()).file()).is_ok());
    let changed = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[at] = byte;
        decode(&of(frame).file()).err().map(|error| error.reason)
    };
    assert_eq!(changed(0, 2), Some(Reason::BadImage), "another number of segments");
    assert_eq!(changed(4, 65), Some(Reason::BadImage), "a segment elsewhere");
    assert_eq!(changed(64, 127), Some(Reason::BadImage), "more literals than there are");
    assert_eq!(changed(64, 200), Some(Reason::BadImage), "more copies than pixels");
    assert_eq!(changed(70, 128), Some(Reason::BadImage), "fewer bytes than pixels");
    assert_eq!(changed(65, 0x80), None, "another level is no lie");
    assert_eq!(refused(&of(rle(&[vec![1, 2, 3]]))), Reason::BadImage, "a pixel too few");
    assert_eq!(refused(&of(rle(&[vec![1, 2, 3, 4, 5]]))), Reason::BadImage, "a pixel too many");
    assert_eq!(refused(&of(rle(&[vec![1; 4], vec![1; 4]]))), Reason::BadImage, "a plane too many");
    assert_eq!(refused(&of(good[..40].to_vec())), Reason::BadImage, "half a header");
    assert_eq!(refused(&of(Vec::new())), Reason::BadImage, "nothing");
    let vast = of(good).with(number((0x0028, 0x0010), 1000)).with(number((0x0028, 0x0011), 1000));
    assert_eq!(refused_before_memory(&vast.file()).reason, Reason::BadImage, "a megapixel in 8 bytes");
}

#[test]
fn a_frame_is_found_among_fragments() {
    let frames: Vec<Vec<u8>> = [1, 2, 3].map(|level| rle(&[vec![level; 4]])).to_vec();
    let file = |items: Vec<Vec<u8>>| {
        File::grey(2, 2, &[]).with(text((0x0028, 0x0008), "IS", "3")).with(fragments(items)).written(RLE)
    };
    let second =
        |file: &File| decode_as(&file.file(), "frame = 'middle'", None).map(|decoded| decoded.raster.samples);
    let table =
        |offsets: &[usize]| offsets.iter().flat_map(|at| u32::try_from(*at).unwrap().to_le_bytes()).collect();
    let items = |table: Vec<u8>, parts: &[&[u8]]| {
        let mut items = vec![table];
        items.extend(parts.iter().map(|part| part.to_vec()));
        file(items)
    };
    let [a, b, c] = [&frames[0][..], &frames[1][..], &frames[2][..]];
    let (head, tail) = b.split_at(20);
    let length = |parts: &[&[u8]]| parts.iter().map(|part| part.len() + 8).sum::<usize>();
    let expected = Ok(Samples::U8(vec![2; 4]));
    assert_eq!(second(&items(vec![], &[a, b, c])), expected);
    let at = [0, length(&[a]), length(&[a, head, tail])];
    assert_eq!(second(&items(table(&at), &[a, head, tail, c])), expected);
    for wrong in
        [[0, at[1] + 2, at[2]], [8, at[1], at[2]], [0, at[2], at[1]], [0, at[1], at[1]], [0, 0, at[2]]]
    {
        assert!(
            second(&items(table(&wrong), &[a, head, tail, c])).is_err_and(|e| e.reason == Reason::BadImage)
        );
    }
    assert!(second(&items(table(&at[..2]), &[a, b, c])).is_err(), "not an entry for each frame");
    assert!(second(&items(vec![0; 3], &[a, b, c])).is_err(), "not a table");
    assert!(second(&items(vec![], &[a, head, tail, c])).is_err(), "nothing says which is which");
    assert!(second(&items(vec![], &[a, b])).is_err(), "a frame is missing");
    let longs = |values: &[usize]| values.iter().flat_map(|v| (*v as u64).to_le_bytes()).collect::<Vec<_>>();
    let extended = |offsets: &[usize], lengths: &[usize]| {
        let file = items(vec![], &[a, b, c]).with(bytes((0x7FE0, 0x0001), "OV", &longs(offsets)));
        file.with(bytes((0x7FE0, 0x0002), "OV", &longs(lengths)))
    };
    let starts = [0, length(&[a]), length(&[a, b])];
    let lengths = [a.len(), b.len(), c.len()];
    assert_eq!(second(&extended(&starts, &lengths)), expected);
    assert!(second(&extended(&starts, &[a.len(), b.len() - 2, c.len()])).is_err());
    assert!(second(&extended(&[0, 1, 2], &lengths)).is_err());
    assert!(second(&extended(&starts[..2], &lengths[..2])).is_err());
    assert!(second(&extended(&[usize::MAX; 3], &[usize::MAX; 3])).is_err());
}

#[test]
fn a_deeper_codestream_is_taken_only_where_nothing_stands_above_the_stored_bits() {
    let frame = include_bytes!("../../../../../tests/fixtures/images/j2k_grey_8.j2k").to_vec();
    let all = include_bytes!("../../../../../tests/fixtures/images/j2k_grey_8.raw");
    let file = |stored| {
        let file = File::grey(33, 32, &[]).bits(8, stored, false).written("1.2.840.10008.1.2.4.90");
        file.with(fragments(vec![vec![], frame.clone()])).file()
    };
    assert_eq!(samples(&file(8)), Samples::U8(all.to_vec()));
    assert!(all.iter().any(|sample| *sample > 127));
    assert!(decode(&file(7)).is_err_and(|error| error.problem.contains("bits above Bits Stored")));
}

#[test]
fn pixels_and_sequences_within_sequences_are_walked_over() {
    let icon = vec![number((0x0028, 0x0010), 9), fragments(vec![vec![], vec![1; 6]])];
    let file = in_rle(File::grey(2, 2, &[]), &[vec![vec![1, 2, 3, 4]]]);
    let file = file.with(sequence((0x0088, 0x0200), vec![icon], false));
    // An element of unknown representation and undefined length holds items written implicitly.
    let inner: [&[u8]; 4] = [
        b"\xfe\xff\x00\xe0\xff\xff\xff\xff",
        b"\x28\x00\x10\x00\x02\x00\x00\x00\x63\x00",
        b"\xfe\xff\x0d\xe0\x00\x00\x00\x00",
        b"\xfe\xff\xdd\xe0\x00\x00\x00\x00",
    ];
    let unknown = Element { tag: (0x0040, 0x0555), vr: "UN", body: Body::Lie(u32::MAX, inner.concat()) };
    assert_eq!(samples(&file.with(unknown).file()), Samples::U8(vec![1, 2, 3, 4]));
}

#[test]
fn a_frame_in_the_file_is_decoded_without_the_others() {
    let mut frames: Vec<Vec<u8>> = [1, 2].map(|level| rle(&[vec![level; 4]])).to_vec();
    frames[1].truncate(30);
    frames.insert(0, Vec::new());
    let file =
        File::grey(2, 2, &[]).with(text((0x0028, 0x0008), "IS", "2")).with(fragments(frames)).written(RLE);
    assert!(decode_as(&file.file(), "frame = 'caller'", Some(1)).is_ok(), "the other one is broken");
    assert!(decode_as(&file.file(), "frame = 'caller'", Some(2)).is_err());
}
