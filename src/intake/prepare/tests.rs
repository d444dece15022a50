//! Are the numbers those of Pillow and pydicom, and is everything else refused? Expected numbers stand here as Pillow
//! 12.3 and pydicom 3.0.2 gave them for the same patterns.

use super::*;
use crate::contract::image::{Filter, Fit, ImageFormat, Layout, Window, WindowFunction, WindowSpec};
use crate::intake::image::{Limits, Rescale, Samples, Store, Table, Tone, Voi};
use proptest::prelude::*;
use std::time::Duration;

fn spec() -> ImageSpec {
    ImageSpec {
        formats: vec![ImageFormat::Dicom],
        tensors: true,
        layout: Layout::Nchw,
        colour: Colour::AsSent,
        enlarges: true,
        fit: Fit::Stretch,
        filter: Filter::Bilinear,
        shorter_side: None,
        window: WindowSpec::File,
        frame: crate::contract::image::Frame::Only,
        mean: vec![],
        std: vec![],
        modalities: vec![],
        sop_classes: vec![],
        body_parts: vec![],
    }
}

/// (37 i^2 + 11 i) modulo `modulus`.
fn pattern(count: u32, modulus: u32) -> impl Iterator<Item = u32> {
    let at = |i: u32| u64::from(i) * u64::from(i) * 37 + u64::from(i) * 11;
    (0..count).map(move |i| u32::try_from(at(i) % u64::from(modulus)).unwrap())
}

fn bytes(width: usize, height: usize, channels: Channels) -> Raster {
    let count = u32::try_from(width * height * channels.count()).unwrap();
    let samples = Samples::U8(pattern(count, 256).map(|s| u8::try_from(s).unwrap()).collect());
    Raster { width, height, channels, samples, tone: Tone::plain(255.0) }
}

/// One row of a 12-bit CT image.
fn signed(samples: &[i16]) -> Raster {
    let mut tone = Tone::plain(1.0);
    tone.stored = (-2048.0, 2047.0);
    let samples = Samples::I16(samples.to_vec());
    Raster { width: samples.len(), height: 1, channels: Channels::Grey, samples, tone }
}

fn size(width: usize, height: usize, channels: usize) -> Target {
    Target { width, height, channels }
}

fn prepared(raster: &Raster, spec: &ImageSpec, target: Target) -> Result<Vec<f32>, ImageError> {
    let mut out = vec![f32::NAN; target.width * target.height * target.channels];
    prepare(raster, spec, target, &mut Budget::trial(1 << 20), &mut out)?;
    Ok(out)
}

fn refused(raster: &Raster, spec: &ImageSpec, target: Target) -> ImageError {
    prepared(raster, spec, target).expect_err("it must be refused")
}

fn close(got: &[f32], wanted: &[f32], most: f32) {
    assert_eq!(got.len(), wanted.len());
    let near = got.iter().zip(wanted).all(|(g, w)| (g - w).abs() <= most);
    assert!(near, "{got:?} instead of {wanted:?}");
}

fn levels(bytes: &[u8]) -> Vec<f32> {
    bytes.iter().map(|byte| f32::from(*byte) / 255.0).collect()
}

#[test]
fn another_size_is_refused_by_exact_and_both_are_named() {
    let spec = ImageSpec { fit: Fit::Exact, ..spec() };
    let error = refused(&bytes(7, 5, Channels::Grey), &spec, size(5, 7, 1));
    assert_eq!(error.reason, Reason::BadShape);
    assert_eq!(error.to_string(), "7 x 5 pixels; the model wants 5 x 7");
}

#[test]
fn colour_for_a_grey_model_and_grey_for_a_colour_model_are_refused_as_sent() {
    let error = refused(&bytes(2, 2, Channels::Rgb), &spec(), size(2, 2, 1));
    assert_eq!(error, ImageError::new(Reason::FormatForbidden, "a colour image; the model wants grey"));
    let error = refused(&bytes(2, 2, Channels::Grey), &spec(), size(2, 2, 3));
    assert_eq!(error, ImageError::new(Reason::FormatForbidden, "a grey image; the model wants colour"));
}

type Lie<'a> = &'a dyn Fn(&mut Raster);

#[test]
fn a_raster_that_contradicts_itself_is_refused() {
    let window = |center, width, function| Some(Voi::Window(Window { center, width, function }));
    let table = |entries: &[u16], bits| Table { first: 0, entries: entries.to_vec(), bits };
    let linear = |slope, intercept| Rescale::Linear { slope, intercept };
    let lies: &[(&str, Lie)] = &[
        ("too few rows", &|r| r.height = 2),
        ("no pixels", &|r| (r.width, r.height, r.samples) = (0, 0, Samples::I16(vec![]))),
        ("as many as wrap around", &|r| (r.width, r.height) = (1 << 31, 1 << 33)),
        ("three channels", &|r| r.channels = Channels::Rgb),
        ("range from above to below", &|r| r.tone.stored = (2047.0, -2048.0)),
        ("range of NaN", &|r| r.tone.stored = (f64::NAN, 1.0)),
        ("unsigned range of signed samples", &|r| r.tone.stored = (0.0, 65_535.0)),
        ("samples of more bits", &|r| r.tone.stored = (-16.0, 15.0)),
        ("slope 0", &|r| r.tone.rescale = linear(0.0, 1.0)),
        ("slope NaN", &|r| r.tone.rescale = linear(f64::NAN, 1.0)),
        ("slope beyond f64", &|r| r.tone.rescale = linear(1e308, 0.0)),
        ("range beyond f64", &|r| r.tone.rescale = linear(8e304, 0.0)),
        ("intercept infinite", &|r| r.tone.rescale = linear(1.0, f64::INFINITY)),
        ("slope lost in the intercept", &|r| r.tone.rescale = linear(1e-9, 1e12)),
        ("empty modality table", &|r| r.tone.rescale = Rescale::Table(table(&[], 8))),
        ("modality table of 17 bits", &|r| r.tone.rescale = Rescale::Table(table(&[1], 17))),
        ("empty VOI table", &|r| r.tone.voi = Some(Voi::Table(table(&[], 8)))),
        ("VOI table too long", &|r| r.tone.voi = Some(Voi::Table(table(&vec![0; 65_537], 8)))),
        ("VOI table of 7 bits", &|r| r.tone.voi = Some(Voi::Table(table(&[1], 7)))),
        ("narrow window", &|r| r.tone.voi = window(0.0, 0.5, WindowFunction::Linear)),
        ("exact window of 0", &|r| r.tone.voi = window(0.0, 0.0, WindowFunction::LinearExact)),
        ("negative sigmoid", &|r| r.tone.voi = window(0.0, -1.0, WindowFunction::Sigmoid)),
        ("window nowhere", &|r| r.tone.voi = window(f64::NAN, 5.0, WindowFunction::Sigmoid)),
        ("infinite window", &|r| r.tone.voi = window(0.0, f64::INFINITY, WindowFunction::Linear)),
    ];
    let convert = ImageSpec { colour: Colour::Convert, ..spec() };
    for (lie, tell) in lies {
        let mut raster = signed(&[-2048, 0, 2047]);
        assert!(prepared(&raster, &convert, size(3, 1, 1)).is_ok());
        tell(&mut raster);
        assert_eq!(refused(&raster, &convert, size(3, 1, 1)).reason, Reason::BadImage, "{lie}");
    }
}

#[test]
fn a_specification_that_contradicts_itself_is_our_fault() {
    let window = |width| WindowSpec::Fixed(Window { center: 0.0, width, function: WindowFunction::Linear });
    let lies = [
        ImageSpec { std: vec![1e-300], ..spec() },
        ImageSpec { mean: vec![1e300], ..spec() },
        ImageSpec { mean: vec![0.5, 0.5], ..spec() },
        ImageSpec { window: window(0.0), ..spec() },
        ImageSpec { fit: Fit::Crop, shorter_side: Some(1), ..spec() },
    ];
    for spec in lies {
        let error = refused(&bytes(4, 4, Channels::Grey), &spec, size(2, 2, 1));
        assert_eq!(error.reason, Reason::Internal, "{spec:?}");
    }
    for target in [size(0, 1, 1), size(2, 2, 2), size(2, 2, 1)] {
        let mut out = [0.0; 3];
        let raster = bytes(4, 4, Channels::Grey);
        let error = prepare(&raster, &spec(), target, &mut Budget::trial(1 << 20), &mut out);
        assert!(error.is_err_and(|e| e.reason == Reason::Internal), "{target:?}");
    }
}

fn budget(store: usize, time_max: Duration) -> Budget {
    Budget::of(Limits { bytes_max: 1, samples_max: 1 << 24, time_max }, Store::new(store))
}

#[test]
fn a_few_rows_are_all_that_is_held_beside_the_samples() {
    let samples = Samples::U16(vec![9; 3000 * 1000]);
    let tone = Tone::plain(65_535.0);
    let raster = Raster { width: 3000, height: 1000, channels: Channels::Grey, samples, tone };
    let spec = ImageSpec { filter: Filter::Lanczos, ..spec() };
    let run = |store, time| {
        prepare(&raster, &spec, size(224, 224, 1), &mut budget(store, time), &mut vec![0.0; 50_176])
    };
    assert!(run(1000, Duration::from_hours(1)).is_err_and(|e| e.reason == Reason::Overloaded));
    assert!(run(1 << 24, Duration::ZERO).is_err_and(|e| e.reason == Reason::ImageTooLarge));
    assert_eq!(run(200_000, Duration::from_hours(1)), Ok(()), "6 MB of samples");
}

#[test]
fn bytes_of_the_models_size_are_a_255th_each() {
    let raster = bytes(16, 16, Channels::Grey);
    let Samples::U8(stored) = &raster.samples else { panic!() };
    assert_eq!(prepared(&raster, &spec(), size(16, 16, 1)).unwrap(), levels(stored));
    let mut inverted = bytes(16, 16, Channels::Grey);
    inverted.tone.inverted = true;
    let white: Vec<u8> = stored.iter().map(|byte| 255 - byte).collect();
    assert_eq!(prepared(&inverted, &spec(), size(16, 16, 1)).unwrap(), levels(&white));
}

#[test]
fn bytes_are_resampled_as_in_pillows_mode_l() {
    let cases: &[(Filter, (usize, usize), &[u8])] = &[
        (Filter::Area, (3, 2), &[96, 151, 182, 183, 90, 173]),
        (
            Filter::Area,
            (4, 7),
            &[
                24, 140, 124, 165, 125, 125, 246, 168, 125, 125, 246, 168, 140, 152, 154, 213, 197, 93, 104,
                172, 197, 93, 104, 172, 168, 76, 96, 173,
            ],
        ),
        (Filter::Bilinear, (3, 2), &[101, 149, 178, 161, 115, 170]),
        (
            Filter::Bilinear,
            (4, 7),
            &[
                29, 129, 138, 159, 80, 116, 178, 171, 127, 115, 196, 187, 151, 136, 167, 206, 179, 128, 131,
                177, 178, 117, 113, 165, 161, 106, 108, 166,
            ],
        ),
        (Filter::Lanczos, (3, 2), &[92, 153, 184, 168, 108, 174]),
        (
            Filter::Lanczos,
            (4, 7),
            &[
                17, 133, 135, 163, 67, 120, 180, 162, 130, 111, 215, 187, 151, 120, 174, 213, 195, 122, 124,
                187, 191, 109, 99, 170, 167, 98, 102, 177,
            ],
        ),
    ];
    for (filter, (width, height), wanted) in cases {
        let spec = ImageSpec { filter: *filter, ..spec() };
        let got = prepared(&bytes(7, 5, Channels::Grey), &spec, size(*width, *height, 1)).unwrap();
        close(&got, &levels(wanted), 1.0 / 255.0 + 1e-6);
    }
}

#[test]
fn deeper_samples_are_resampled_as_in_pillows_mode_f() {
    let cases = [
        (
            Filter::Area,
            [
                0.183_474_5,
                0.189_069_4,
                0.201_251_2,
                0.260_326_6,
                0.295_562_1,
                0.337_384_6,
                0.447_837_1,
                0.512_713_3,
                0.584_176_4,
                0.646_616_3,
                0.731_253,
                0.211_978_3,
            ],
        ),
        (
            Filter::Bilinear,
            [
                0.192_881_7,
                0.202_362_4,
                0.216_587_6,
                0.257_485_8,
                0.286_727,
                0.320_712_7,
                0.395_862_3,
                0.444_863_9,
                0.498_61,
                0.608_011,
                0.649_839_3,
                0.390_521_7,
            ],
        ),
        (
            Filter::Lanczos,
            [
                0.185_996_3,
                0.193_670_5,
                0.207_591_9,
                0.242_006_9,
                0.272_419_2,
                0.302_111_7,
                0.392_802_7,
                0.447_296_6,
                0.536_710_9,
                0.624_231_7,
                0.700_313_9,
                0.371_736_8,
            ],
        ),
    ];
    let samples = Samples::U16(pattern(35, 40_009).map(|s| u16::try_from(s + 12_000).unwrap()).collect());
    let tone = Tone::plain(65_535.0);
    let raster = Raster { width: 7, height: 5, channels: Channels::Grey, samples, tone };
    for (filter, wanted) in cases {
        let got = prepared(&raster, &ImageSpec { filter, ..spec() }, size(3, 4, 1)).unwrap();
        close(&got, &wanted, 1e-6);
    }
}

mod colours;
mod tones;

#[test]
fn what_is_smaller_than_the_tensor_is_enlarged_only_where_the_contract_says_so() {
    let raster = bytes(3, 2, Channels::Grey);
    let target = size(4, 2, 1);
    for fit in [Fit::Stretch, Fit::Crop, Fit::Pad] {
        let spec = ImageSpec { fit, enlarges: false, ..spec() };
        let refused = refused(&raster, &spec, target);
        assert_eq!(refused.reason, Reason::BadShape);
        assert!(refused.problem.contains("3 x 2 pixels; the model wants at least 4 x 2"), "{refused}");
        assert!(prepared(&raster, &ImageSpec { enlarges: true, ..spec }, target).is_ok());
    }
}
