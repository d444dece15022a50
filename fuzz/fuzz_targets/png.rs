//! See `tests/it/fuzzed.rs`. What mutation breaks are mostly checksums, and nothing is read behind a wrong one: they are
//! mended, and image data are mutated as they are when inflated.
#![no_main]

#[path = "../../tests/it/fuzzed/run.rs"]
mod run;

use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use libfuzzer_sys::fuzzer_mutate;
use std::io::{Read as _, Write as _};
use std::ops::Range;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    run::png(bytes);
});

libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let inflated = if seed.is_multiple_of(4) { in_image_data(&data[..size]) } else { None };
    let size = match inflated.filter(|file| file.len() <= max_size.min(data.len())) {
        Some(file) => {
            data[..file.len()].copy_from_slice(&file);
            file.len()
        }
        None => fuzzer_mutate(data, size, max_size),
    };
    if seed % 16 != 1 {
        mend(&mut data[..size]);
    }
    size
});

/// The bodies of the chunks, as far as they are whole.
fn bodies(file: &[u8]) -> Vec<Range<usize>> {
    let mut bodies = Vec::new();
    let mut at = 8;
    while let Some(length) = file.get(at..at + 4) {
        let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if length > file.len() || at + 12 + length > file.len() {
            break;
        }
        bodies.push(at + 8..at + 8 + length);
        at += 12 + length;
    }
    bodies
}

/// Sets the checksum of every chunk.
fn mend(file: &mut [u8]) {
    for body in bodies(file) {
        let mut crc = Crc::new();
        crc.update(&file[body.start - 4..body.end]);
        file[body.end..body.end + 4].copy_from_slice(&crc.sum().to_be_bytes());
    }
}

/// The file with other image data in its first piece, which are still good zlib.
fn in_image_data(file: &[u8]) -> Option<Vec<u8>> {
    let body = bodies(file).into_iter().find(|body| &file[body.start - 4..body.start] == b"IDAT")?;
    let mut rows = Vec::new();
    ZlibDecoder::new(&file[body.clone()]).take(1 << 16).read_to_end(&mut rows).ok()?;
    let length = rows.len();
    rows.resize(length + 64, 0);
    let length = fuzzer_mutate(&mut rows, length, length + 64);
    let mut deflated = ZlibEncoder::new(Vec::new(), Compression::fast());
    deflated.write_all(&rows[..length]).ok()?;
    let deflated = deflated.finish().ok()?;
    let length = u32::try_from(deflated.len()).ok()?.to_be_bytes();
    Some([&file[..body.start - 8], &length, b"IDAT", &deflated, &file[body.end..]].concat())
}
