//! Whether the header is read as the standard says: subject, frames, tone.

use super::super::writer::*;
use super::*;
use crate::contract::image::{Window, WindowFunction};
use crate::intake::image::{Rescale, Table, Voi};

fn small() -> File {
    File::ct(3, 2, &[0, 1, 2, 3, 4, 5])
}

fn tone(file: &File) -> Result<Tone, ImageError> {
    decode(&file.file()).map(|decoded| decoded.raster.tone)
}

fn window(center: f64, width: f64) -> Voi {
    Voi::Window(Window { center, width, function: WindowFunction::Linear })
}

#[test]
fn another_subject_than_the_contract_s_is_refused_before_its_pixels() {
    let lines = [
        ("modalities = ['DX', 'CR']", "DX, CR"),
        ("body_parts = ['FOOT']", "FOOT"),
        ("sop_classes = ['1.2.840.10008.5.1.4.1.1.1.1']", "1.2.840.10008.5.1.4.1.1.1.1"),
    ];
    // Its pixels are broken too: what the file is about comes first.
    let file = small().with(number((0x0028, 0x0010), 7)).file();
    for (line, says) in lines {
        let error = decode_as(&file, line, None).err().unwrap();
        assert_eq!(error.reason, Reason::WrongSubject);
        assert!(error.problem.contains(says) && !error.problem.contains("CHEST"), "{error}");
    }
    let taken = "modalities = ['CT']\nbody_parts = ['CHEST']\nsop_classes = ['1.2.840.10008.5.1.4.1.1.2']";
    assert!(decode_as(&small().file(), taken, None).is_ok());
    let silent = small().without((0x0008, 0x0060)).file();
    assert!(decode_as(&silent, "modalities = ['CT']", None).is_err_and(|e| e.reason == Reason::WrongSubject));
    assert!(decode_as(&silent, "", None).is_ok());
}

#[test]
fn the_frame_is_chosen_by_the_contract_or_by_the_caller_where_it_says_so() {
    let pixels: Vec<u16> = (0..24).collect();
    let file =
        small().with(words((0x7FE0, 0x0010), "OW", &pixels)).with(text((0x0028, 0x0008), "IS", "4")).file();
    let first = |lines: &str, frame| match decode_as(&file, lines, frame) {
        Ok(decoded) => match decoded.raster.samples {
            Samples::I16(samples) => Ok(samples[0] / 6 + 1),
            Samples::U8(_) | Samples::U16(_) | Samples::U32(_) | Samples::I32(_) => panic!("another type"),
        },
        Err(error) => Err(error.reason),
    };
    assert_eq!(first("", None), Err(Reason::FormatForbidden));
    assert_eq!(first("frame = 'caller'", None), Err(Reason::FormatForbidden));
    assert_eq!(first("frame = 'first'", Some(1)), Err(Reason::BadParameter));
    assert_eq!(first("frame = 'caller'", Some(0)), Err(Reason::BadParameter));
    assert_eq!(first("frame = 'caller'", Some(5)), Err(Reason::BadParameter));
    assert_eq!(first("frame = 'first'", None), Ok(1));
    assert_eq!(first("frame = 'middle'", None), Ok(2));
    assert_eq!(first("frame = 'caller'", Some(4)), Ok(4));
}

#[test]
fn the_study_is_handed_on_and_nothing_else_of_the_patient() {
    assert_eq!(decode(&small().file()).unwrap().study.as_deref(), Some("1.2.3.4.5"));
    assert_eq!(decode(&small().without((0x0020, 0x000D)).file()).unwrap().study, None);
}

#[test]
fn every_syntax_gives_the_same_tone() {
    let item = vec![
        words((0x0028, 0x3002), "SS", &[4, 0xFFFE, 12]),
        words((0x0028, 0x3006), "US", &[0, 1, 2, 4095]),
    ];
    let file = small().with(sequence((0x0028, 0x3010), vec![item.clone(), item], false));
    let file =
        file.with(text((0x0028, 0x1050), "DS", "40\\300")).with(text((0x0028, 0x1051), "DS", "400\\1500"));
    for syntax in [IMPLICIT, EXPLICIT, BIG_ENDIAN, DEFLATED] {
        let file = file.clone().written(syntax);
        let found = tone(&file).unwrap();
        assert_eq!(found.stored, (-32768.0, 32767.0));
        assert_eq!(found.rescale, Rescale::Linear { slope: 1.0, intercept: -1024.0 });
        let table = Table { first: -2, entries: vec![0, 1, 2, 4095], bits: 12 };
        assert_eq!(found.voi, Some(Voi::Table(table)), "a table comes before a window");
        let found = tone(&file.without((0x0028, 0x3010))).unwrap();
        assert_eq!(found.voi, Some(window(40.0, 400.0)), "the first of the windows");
    }
    assert_eq!(decode_as(&file.file(), "window = 'full'", None).unwrap().raster.tone.voi, None);
}

#[test]
fn a_table_begins_below_0_where_the_rescaled_values_may() {
    let item = |first| {
        vec![words((0x0028, 0x3002), "US", &[2, first, 12]), words((0x0028, 0x3006), "US", &[0, 4095])]
    };
    let lut = sequence((0x0028, 0x3000), vec![item(0)], true);
    let plain = |signed| {
        let file = small().bits(16, 12, signed).written(IMPLICIT);
        let file = file.without((0x0028, 0x1052)).without((0x0028, 0x1053));
        file.with(sequence((0x0028, 0x3010), vec![item(0xFC00)], true))
    };
    let rescaled = |signed, slope: &str, intercept: &str| {
        let file = plain(signed).with(text((0x0028, 0x1053), "DS", slope));
        file.with(text((0x0028, 0x1052), "DS", intercept))
    };
    for (file, first, why) in [
        (rescaled(false, "1", "-1024"), -1024, "unsigned samples of CT"),
        (rescaled(false, "-1", "0"), -1024, "a slope below 0"),
        (rescaled(true, "1", "2048"), 64_512, "signed samples that are lifted to 0"),
        (rescaled(true, "-1", "2047"), 64_512, "and turned"),
        (plain(true), -1024, "signed samples as they are"),
        (plain(false), 64_512, "unsigned samples as they are"),
        (plain(true).with(lut), 64_512, "a Modality LUT has no entries below 0"),
    ] {
        let Some(Voi::Table(table)) = tone(&file).unwrap().voi else { panic!("{why}: no table") };
        assert_eq!(table.first, first, "{why}");
    }
    let told = rescaled(false, "1", "-1024").written(EXPLICIT);
    let Some(Voi::Table(table)) = tone(&told).unwrap().voi else { panic!("no table") };
    assert_eq!(table.first, 64_512, "the file says US");
}

#[test]
fn a_fixed_window_is_laid_on_real_world_values_alone() {
    const FIXED: &str = "window = { fixed = { center = 40, width = 400 } }";
    let tone = |file: &File| decode_as(&file.file(), FIXED, None).map(|decoded| decoded.raster.tone);
    let of = |file: &File| tone(file).map(|_| ()).map_err(|error| error.reason);
    let plain = small().without((0x0028, 0x1052)).without((0x0028, 0x1053));
    let typed = |tag, unit: &str| small().with(text(tag, "LO", unit));
    let colour = File::colour(1, 1, "RGB", &[1, 2, 3, 0]);
    for (file, why) in [
        (plain.clone(), "samples without a unit"),
        (colour, "colours"),
        (typed((0x0028, 0x1054), "US"), "a unit that is not specified"),
        (typed((0x0028, 0x1054), "HU_MOD"), "another unit"),
    ] {
        assert_eq!(of(&file), Err(Reason::FormatForbidden), "{why}");
        assert!(decode(&file.file()).is_ok(), "{why}, with the file's own window");
    }
    assert_eq!(of(&small()), Ok(()));
    assert_eq!(of(&typed((0x0028, 0x1054), "HU")), Ok(()));
    let density = typed((0x0028, 0x1054), "OD").with(text((0x0008, 0x0060), "CS", "CR"));
    assert_eq!(of(&density), Ok(()), "the owner of a CR model knows its unit");
    let table = |unit: &str| {
        let item = vec![
            words((0x0028, 0x3002), "US", &[2, 0, 12]),
            text((0x0028, 0x3004), "LO", unit),
            words((0x0028, 0x3006), "US", &[1, 2]),
        ];
        plain.clone().with(sequence((0x0028, 0x3000), vec![item], true))
    };
    assert_eq!(of(&table("HU")), Ok(()));
    assert_eq!(of(&table("OD")), Err(Reason::FormatForbidden));
    let groups = |unit: &str| {
        let item = vec![
            text((0x0028, 0x1052), "DS", "5"),
            text((0x0028, 0x1053), "DS", "1"),
            text((0x0028, 0x1054), "LO", unit),
        ];
        let shared = vec![sequence((0x0028, 0x9145), vec![item], true)];
        plain.clone().with(sequence((0x5200, 0x9229), vec![shared], true))
    };
    assert_eq!(of(&groups("HU")), Ok(()));
    assert_eq!(of(&groups("US")), Err(Reason::FormatForbidden));
}

#[test]
fn half_a_rescaling_is_refused() {
    for half in [(0x0028, 0x1052), (0x0028, 0x1053)] {
        let blank = small().with(text(half, "DS", " "));
        for file in [small().without(half), blank] {
            let error = tone(&file).unwrap_err();
            assert_eq!(error.reason, Reason::BadImage);
            assert!(error.problem.contains("without"), "{error}");
        }
    }
}

#[test]
fn tables_that_contradict_themselves_are_refused() {
    let plain = small().without((0x0028, 0x1052)).without((0x0028, 0x1053));
    let with = |descriptor: &[u16], data: &[u16]| {
        let item = vec![words((0x0028, 0x3002), "US", descriptor), words((0x0028, 0x3006), "US", data)];
        tone(&plain.clone().with(sequence((0x0028, 0x3000), vec![item], true)))
    };
    for (descriptor, data) in [
        (&[4, 0, 12][..], &[1, 2, 3][..]),
        (&[3, 0, 12], &[1, 2, 4096]),
        (&[3, 0, 7], &[1, 2, 3]),
        (&[3, 0, 17], &[1, 2, 3]),
        (&[3, 0], &[1, 2, 3]),
        (&[0, 0, 16], &[1, 2, 3]),
        (&[3, 0, 16], &[]),
    ] {
        assert!(with(descriptor, data).is_err_and(|e| e.reason == Reason::BadImage), "{descriptor:?}");
    }
    for sequence in [(0x0028, 0x3000), (0x0028, 0x3010)] {
        let hidden = tone(&plain.clone().with(bytes(sequence, "OB", &[0; 8])));
        assert!(
            hidden.is_err_and(|e| e.problem.contains("is no sequence")),
            "a table that would not be seen"
        );
    }
    let table = Table { first: 10, entries: vec![1, 2, 3], bits: 12 };
    assert_eq!(with(&[3, 10, 12], &[1, 2, 3]).unwrap().rescale, Rescale::Table(table));
    let packed = with(&[4, 0, 8], &[0x0201, 0x0403]).unwrap().rescale;
    assert_eq!(packed, Rescale::Table(Table { first: 0, entries: vec![1, 2, 3, 4], bits: 8 }));
    let both =
        small().with(sequence((0x0028, 0x3000), vec![vec![words((0x0028, 0x3006), "US", &[1])]], true));
    assert!(tone(&both).is_err_and(|e| e.reason == Reason::BadImage), "a table and a slope");
}

#[test]
fn polarity_is_inverted_once() {
    let of = |photometric: &str, shape: Option<&str>| {
        let file = small().with(text((0x0028, 0x0004), "CS", photometric));
        let shape = shape.map(|shape| text((0x2050, 0x0020), "CS", shape));
        tone(&shape.map_or(file.clone(), |shape| file.clone().with(shape))).map(|tone| tone.inverted).ok()
    };
    assert_eq!(of("MONOCHROME1", Some("IDENTITY")), None, "a contradiction");
    assert_eq!(of("MONOCHROME2", Some("INVERSE")), None, "a contradiction");
    assert_eq!(of("MONOCHROME2", Some("LIN OD")), None);
    assert_eq!(of("MONOCHROME2", None), Some(false));
    assert_eq!(of("MONOCHROME2", Some("IDENTITY")), Some(false));
    assert_eq!(of("MONOCHROME1", None), Some(true));
    assert_eq!(of("MONOCHROME1", Some("INVERSE")), Some(true));
}

#[test]
fn an_enhanced_object_has_the_tone_of_its_frame() {
    let transformation = |slope: &str| {
        let item = vec![text((0x0028, 0x1052), "DS", "5"), text((0x0028, 0x1053), "DS", slope)];
        sequence((0x0028, 0x9145), vec![item], false)
    };
    let voi = |center: &str| {
        let item = vec![text((0x0028, 0x1050), "DS", center), text((0x0028, 0x1051), "DS", "80")];
        sequence((0x0028, 0x9132), vec![item], true)
    };
    let pixels: Vec<u16> = (0..12).collect();
    let two = small().with(words((0x7FE0, 0x0010), "OW", &pixels)).with(text((0x0028, 0x0008), "IS", "2"));
    let shared = sequence((0x5200, 0x9229), vec![vec![voi("7"), transformation("9")]], true);
    let frames = |items| sequence((0x5200, 0x9230), items, false);
    let of = |file: &File, frame| {
        decode_as(&file.file(), "frame = 'caller'", Some(frame)).map(|decoded| decoded.raster.tone)
    };
    for syntax in [IMPLICIT, EXPLICIT, BIG_ENDIAN] {
        let file = two.clone().with(shared.clone()).written(syntax);
        let all =
            file.clone().with(frames(vec![vec![transformation("2")], vec![voi("3"), transformation("4")]]));
        let first = of(&all, 1).unwrap();
        assert_eq!(first.rescale, Rescale::Linear { slope: 2.0, intercept: 5.0 });
        assert_eq!(first.voi, Some(window(7.0, 80.0)), "what the frame does not say, the shared groups do");
        let second = of(&all, 2).unwrap();
        assert_eq!(second.rescale, Rescale::Linear { slope: 4.0, intercept: 5.0 });
        assert_eq!(second.voi, Some(window(3.0, 80.0)));
        let short = file.with(frames(vec![vec![transformation("2")]]));
        assert!(of(&short, 1).is_err_and(|e| e.reason == Reason::BadImage), "an item for each frame");
    }
}

#[test]
fn transfer_syntaxes_that_are_not_decoded_are_refused_by_name() {
    for (uid, name) in [
        ("1.2.840.10008.1.2.4.80", "JPEG-LS"),
        ("1.2.840.10008.1.2.4.81", "JPEG-LS"),
        ("1.2.840.10008.1.2.4.201", "High-Throughput"),
        ("1.2.840.10008.1.2.4.94", "JPIP"),
        ("1.2.840.10008.1.2.4.100", "MPEG"),
        ("1.2.840.10008.1.2.4.107", "HEVC"),
        ("1.2.840.10008.1.2.4.110", "JPEG XL"),
        ("1.2.840.10008.1.2.4.55", "retired"),
        ("1.2.840.113619.5.2", "not known"),
        ("1.2.840.10008.1.2.11", "not known"),
    ] {
        let error = decode(&small().written(uid).file()).err().unwrap();
        assert_eq!(error.reason, Reason::FormatUnsupported);
        assert!(error.problem.contains(name), "{uid}: {error}");
    }
}
