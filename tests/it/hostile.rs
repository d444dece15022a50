//! Hostile files by the thousand against the real process: cut, changed, lied about, repeated and blown up. Each ends
//! as an answer or as a refusal that names the file, and what they cost is bounded.

use crate::house::{root, samples};
use crate::process::Process;
use crate::sidecar::{PATIENCE, block_on_for, entries};
use asepsis::cli::demo::files;
use asepsis::cli::demo::request::file;
use asepsis::transport::client::{Client, Outcome, Refused};
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;
use std::sync::Arc;

/// Requests at once, on one connection.
const AT_ONCE: usize = 16;
const SAMPLES_MAX: usize = 1 << 20;
const IMAGES_BYTES_MAX: usize = 64 << 20;

/// Why a file alone is refused.
const OF_A_FILE: [&str; 6] =
    ["format_forbidden", "format_unsupported", "bad_image", "polyglot", "wrong_subject", "image_too_large"];

/// How a file must end.
#[derive(Clone, Copy)]
enum Due {
    /// It may still be an image, which is judged as any other.
    Either,
    Refused,
    For(&'static str),
}

struct Hostile {
    model: &'static str,
    name: String,
    file: Vec<u8>,
    due: Due,
}

/// A kind of file, and one of them that is good.
struct Kind {
    model: &'static str,
    name: &'static str,
    good: Vec<u8>,
    /// Bytes behind its structure: pixels as they are, any of which are good.
    plain: usize,
    /// What stands in for a length: how many bytes, and in which order.
    length: fn(u32) -> Vec<u8>,
    /// Mends the checksums of a file that is laid out as the good one.
    mend: fn(&mut [u8], &[u8]),
}

fn kinds() -> [Kind; 3] {
    let unsummed = |_: &mut [u8], _: &[u8]| {};
    // Pixels of its middle, as if they were a square: small, so that every byte is tried.
    let drawing = files::drawing(&samples("digits").clean[0][224..368], 12).unwrap();
    let jpeg = std::fs::read(root().join("tests/fixtures/images/grey.jpg")).unwrap();
    [
        Kind {
            model: "pneumonia",
            name: "dicom",
            good: radiograph(28),
            plain: 28 * 28,
            length: |n| n.to_le_bytes().into(),
            mend: unsummed,
        },
        Kind {
            model: "digits",
            name: "png",
            good: drawing,
            plain: 0,
            length: |n| n.to_be_bytes().into(),
            mend: |file, good| mend(file, &chunks(good)),
        },
        Kind {
            model: "digits",
            name: "jpeg",
            good: jpeg,
            plain: 0,
            // 0x7fffffff is 0xffff in its 16 bits; the other half of it is 0x7fff.
            length: |n| if n == 0x7fff_ffff { vec![0x7f, 0xff] } else { n.to_be_bytes()[2..].into() },
            mend: unsummed,
        },
    ]
}

/// The least that is a radiograph of the chest: `side` x `side` pixels of 8 bits.
fn radiograph(side: u16) -> Vec<u8> {
    let pixels: Vec<u8> = (0..side * side).map(|i| i.to_le_bytes()[0]).collect();
    let [one, eight, seven, zero, side] = [1, 8, 7, 0, side].map(u16::to_le_bytes);
    files::dicom(&[
        ((0x0008, 0x0060), b"CS", b"DX"),
        ((0x0018, 0x0015), b"CS", b"CHEST"),
        ((0x0028, 0x0002), b"US", &one),
        ((0x0028, 0x0004), b"CS", b"MONOCHROME2"),
        ((0x0028, 0x0010), b"US", &side),
        ((0x0028, 0x0011), b"US", &side),
        ((0x0028, 0x0100), b"US", &eight),
        ((0x0028, 0x0101), b"US", &eight),
        ((0x0028, 0x0102), b"US", &seven),
        ((0x0028, 0x0103), b"US", &zero),
        ((0x7fe0, 0x0010), b"OW", &pixels),
    ])
}

impl Kind {
    fn with(&self, name: impl Into<String>, file: Vec<u8>, due: Due) -> Hostile {
        Hostile { model: self.model, name: format!("{}: {}", self.name, name.into()), file, due }
    }

    fn structure(&self) -> usize {
        self.good.len() - self.plain
    }

    /// The good file with these bytes at a place.
    fn but(&self, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut file = self.good.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        (self.mend)(&mut file, &self.good);
        file
    }

    /// Cut at any byte; any byte of the structure changed, or one bit of it.
    fn broken(&self) -> Vec<Hostile> {
        let mut all = Vec::new();
        for (at, byte) in self.good.iter().enumerate() {
            all.push(self.with(format!("cut at {at}"), self.good[..at].to_vec(), Due::Refused));
            let wrongs = [!byte, byte ^ (1 << (at % 8))];
            for wrong in wrongs.into_iter().filter(|_| at < self.structure()) {
                let name = format!("{wrong:#x} at {at}");
                all.push(self.with(name, self.but(at, &[wrong]), Due::Either));
            }
        }
        all
    }

    /// Another length at any byte where one could stand.
    fn lied_about(&self) -> Vec<Hostile> {
        let mut all = Vec::new();
        for length in [0, 1, 0x7fff_ffff, u32::MAX].map(self.length) {
            for at in (0..=self.structure() - length.len()).step_by(2) {
                all.push(self.with(format!("{length:x?} at {at}"), self.but(at, &length), Due::Either));
            }
        }
        all
    }
}

/// What is made of a DICOM file.
fn of_dicom(kind: &Kind) -> Vec<Hostile> {
    let good = &kind.good;
    // Behind the preamble, the prefix, the group length and the group.
    let meta = 132 + 12 + usize::from(good[140]);
    let rows = place(good, &[0x28, 0, 0x10, 0]) + 8;
    let mut huge = kind.but(rows, &[0xff, 0xff]);
    huge[rows + 10..rows + 12].copy_from_slice(&[0xff, 0xff]);
    let open = b"\x40\0\x60\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff";
    let private = b"\x09\0\x10\x10LO\0\0";
    let nested = |times: usize, element: &[u8]| [&good[..meta], &element.repeat(times)].concat();
    vec![
        kind.with("65,535 x 65,535 pixels", huge, Due::For("image_too_large")),
        kind.with("its attributes twice", [good, &good[meta..]].concat(), Due::Refused),
        kind.with("sequences 100,000 deep", nested(100_000, open), Due::For("image_too_large")),
        kind.with("200,000 private elements", nested(200_000, private), Due::For("image_too_large")),
        kind.with("a gigabyte, deflated", files::bomb().unwrap(), Due::For("image_too_large")),
        kind.with("itself behind itself", good.repeat(2), Due::Refused),
    ]
}

/// What is made of a PNG.
fn of_png(kind: &Kind) -> Vec<Hostile> {
    let good = &kind.good;
    let chunks = chunks(good);
    let bomb = zlib(&vec![0; 32 << 20]);
    let header = &good[..chunks[0].end + 4];
    let behind = &good[header.len()..];
    let image = |extra: &[u8]| [header, extra, behind].concat();
    let mut all: Vec<Hostile> = chunks
        .iter()
        .map(|body| {
            let whole = body.start - 8..body.end + 4;
            let twice = [&good[..whole.end], &good[whole.start..]].concat();
            kind.with(format!("a chunk twice at {}", whole.start), twice, Due::Either)
        })
        .collect();
    let [texts, pieces] =
        [(*b"tEXt", 2_000), (*b"IDAT", 70_000)].map(|(kind, count)| chunk(kind, b"").repeat(count));
    all.extend([
        kind.with(
            "65,535 x 65,535 pixels",
            kind.but(16, &[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]),
            Due::For("image_too_large"),
        ),
        kind.with("2,000 texts", image(&texts), Due::For("image_too_large")),
        kind.with("70,000 pieces", image(&pieces), Due::For("image_too_large")),
        kind.with(
            "32 MiB of rows",
            [header, &chunk(*b"IDAT", &bomb), &chunk(*b"IEND", b"")].concat(),
            Due::Refused,
        ),
        kind.with(
            "32 MiB of a profile",
            image(&chunk(*b"iCCP", &[b"a\0\0", &bomb[..]].concat())),
            Due::Either,
        ),
        kind.with("itself behind itself", good.repeat(2), Due::For("polyglot")),
    ]);
    all
}

/// What is made of a JPEG.
fn of_jpeg(kind: &Kind) -> Vec<Hostile> {
    let good = &kind.good;
    let mut all = Vec::new();
    let mut at = 2;
    while good[at + 1] != 0xda {
        let end = at + 2 + usize::from(u16::from_be_bytes([good[at + 2], good[at + 3]]));
        let twice = [&good[..end], &good[at..]].concat();
        all.push(kind.with(format!("a segment twice at {at}"), twice, Due::Either));
        at = end;
    }
    let scan = &good[at..good.len() - 2];
    let size = place(good, &[0xff, 0xc0]) + 5;
    let comments = [&good[..2], &[0xff, 0xfe, 0, 2].repeat(200_000), &good[2..]].concat();
    all.extend([
        kind.with("65,535 x 65,535 pixels", kind.but(size, &[0xff; 4]), Due::For("image_too_large")),
        kind.with("1,000 scans", [&good[..at], &scan.repeat(1_000), &[0xff, 0xd9]].concat(), Due::Refused),
        kind.with("200,000 comments", comments, Due::Either),
        kind.with("itself behind itself", good.repeat(2), Due::For("polyglot")),
    ]);
    all
}

fn place(file: &[u8], wanted: &[u8]) -> usize {
    file.windows(wanted.len()).position(|window| window == wanted).unwrap()
}

/// The bodies of the chunks of a good PNG.
fn chunks(file: &[u8]) -> Vec<Range<usize>> {
    let mut at = 8;
    let mut bodies = Vec::new();
    while at < file.len() {
        let length = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        bodies.push(at + 8..at + 8 + length);
        at += 12 + length;
    }
    bodies
}

/// Nothing is read behind a wrong checksum.
fn mend(file: &mut [u8], chunks: &[Range<usize>]) {
    for body in chunks {
        let sum = crc(&file[body.start - 4..body.end]);
        file[body.end..body.end + 4].copy_from_slice(&sum);
    }
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum().to_be_bytes()
}

fn chunk(kind: [u8; 4], body: &[u8]) -> Vec<u8> {
    let summed = [&kind[..], body].concat();
    [&u32::try_from(body.len()).unwrap().to_be_bytes(), &summed[..], &crc(&summed)].concat()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The reason of a refusal, or that it was judged; what does not end as it must is a fault.
fn ended(hostile: &Hostile, outcome: Outcome) -> Result<String, String> {
    let fault = |what: &str| Err(format!("{}: {what}", hostile.name));
    let Refused { status, reason, message, violations, .. } = match (outcome, hostile.due) {
        (Outcome::Answer(_), Due::Either) => return Ok("judged".into()),
        (Outcome::Answer(_), Due::Refused | Due::For(_)) => return fault("was answered"),
        (Outcome::Transport(error), _) => return fault(&error.to_string()),
        (Outcome::Refused(refused), _) => refused,
    };
    let reason = reason.unwrap_or_default();
    if reason == "anomalous" && matches!(hostile.due, Due::Either) {
        return Ok("judged".into());
    }
    let named = violations.first().is_some_and(|(field, _)| field == "raw_input_contents[0][0]");
    let code = if reason == "image_too_large" { "RESOURCE_EXHAUSTED" } else { "INVALID_ARGUMENT" };
    let due = match hostile.due {
        Due::Either | Due::Refused => true,
        Due::For(wanted) => reason == wanted,
    };
    if named && status == code && due && OF_A_FILE.contains(&reason.as_str()) {
        return Ok(reason);
    }
    fault(&format!("{status} {reason}: {message}"))
}

/// Sends them all; how often each end was met, and every fault.
async fn send(client: &Client, all: Vec<Hostile>) -> (BTreeMap<String, usize>, Vec<String>) {
    let all = Arc::new(all);
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..AT_ONCE {
        let (mut client, all) = (client.clone(), Arc::clone(&all));
        senders.spawn(async move {
            let mut ends = Vec::new();
            for hostile in all.iter().skip(sender).step_by(AT_ONCE) {
                let outcome = client.infer(file(hostile.model, "image", &hostile.file), PATIENCE).await;
                ends.push(ended(hostile, outcome));
            }
            ends
        });
    }
    let (mut ends, mut faults) = (BTreeMap::new(), Vec::new());
    while let Some(sent) = senders.join_next().await {
        for end in sent.unwrap() {
            match end {
                Ok(end) => *ends.entry(end).or_insert(0) += 1,
                Err(fault) => faults.push(fault),
            }
        }
    }
    (ends, faults)
}

#[test]
fn thousands_of_hostile_files_end_as_refusals_or_answers_and_cost_no_more_than_the_limits() {
    let process = Process::start(|config| {
        config.limits.image_samples_max = SAMPLES_MAX;
        config.limits.images_bytes_max = IMAGES_BYTES_MAX;
        config.limits.image_timeout_ms = 20_000;
        config.models.compute_threads = 2;
    });
    let kinds = kinds();
    let mut all: Vec<Hostile> = kinds.iter().flat_map(Kind::broken).collect();
    all.extend(kinds.iter().flat_map(Kind::lied_about));
    let [dicom, png, jpeg] = &kinds;
    all.extend(of_dicom(dicom).into_iter().chain(of_png(png)).chain(of_jpeg(jpeg)));
    let count = all.len();
    assert!(count > 5_000, "{count}");
    let (ends, faults) = block_on_for(4 * PATIENCE, async {
        let mut client = process.client().await;
        for _ in 0..2 {
            judged(&mut client, &kinds).await;
        }
        let before = process.peak_kib();
        let (ends, faults) = send(&client, all).await;
        judged(&mut client, &kinds).await;
        let grown = usize::try_from(process.peak_kib() - before).unwrap() << 10;
        println!("{count} files, {} MiB: {ends:?}", grown >> 20);
        // What all decoders may hold, and as much again for messages on their way and the allocator.
        assert!(grown <= 2 * IMAGES_BYTES_MAX, "{} MiB", grown >> 20);
        (ends, faults)
    });
    assert!(faults.is_empty(), "{} of {count}: {:#?}", faults.len(), &faults[..faults.len().min(20)]);
    let of_all = ends.keys().map(String::as_str);
    assert!(
        of_all.eq([
            "bad_image",
            "format_forbidden",
            "format_unsupported",
            "image_too_large",
            "judged",
            "polyglot",
            "wrong_subject"
        ]),
        "{ends:?}"
    );
    let log = process.log();
    assert!(!log.contains("panicked"), "{log}");
    let recorded = entries(process.kill().path());
    // Flagged files may raise the alarm about their rate, which is no request.
    let recorded = recorded.iter().filter(|entry| entry["reason"] != "flag_rate").count();
    assert_eq!(recorded, count + 9, "one entry each");
}

/// Every good file is answered, or kept back by what the model's detectors say of it.
async fn judged(client: &mut Client, kinds: &[Kind]) {
    for kind in kinds {
        let good = kind.with("good", kind.good.clone(), Due::Either);
        let outcome = client.infer(file(kind.model, "image", &good.file), PATIENCE).await;
        assert_eq!(ended(&good, outcome), Ok("judged".into()));
    }
}
