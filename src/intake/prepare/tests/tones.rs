//! Samples to levels, against pydicom's `apply_modality_lut` and `apply_voi_lut` brought to 0 to 1; and whatever a
//! file may say, levels are levels.

use super::*;

const STORED: [i16; 9] = [-2048, -1000, -100, 0, 40, 41, 240, 1000, 2047];

fn toned(raster: &Raster) -> Vec<f32> {
    prepared(raster, &spec(), size(raster.width, 1, 1)).unwrap()
}

#[test]
fn windows_are_those_of_pydicom() {
    use WindowFunction::{Linear, LinearExact, Sigmoid};
    let step = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let cases = [
        (
            Linear,
            1.0,
            -24.0,
            40.0,
            400.0,
            [0.0, 0.0, 0.090_225_6, 0.340_852_1, 0.441_102_8, 0.443_609, 0.942_355_9, 1.0, 1.0],
        ),
        (Linear, 0.5, 3.25, 22.0, 1.0, step),
        (Linear, -1.0, 0.0, -40.0, 80.0, [1.0, 1.0, 1.0, 1.0, 0.506_329_1, 0.493_670_9, 0.0, 0.0, 0.0]),
        (LinearExact, 1.0, -24.0, 40.0, 400.0, [0.0, 0.0, 0.09, 0.34, 0.44, 0.4425, 0.94, 1.0, 1.0]),
        (LinearExact, 0.5, 3.25, 22.0, 1.5, step),
        (LinearExact, -1.0, 0.0, -40.0, 80.0, [1.0, 1.0, 1.0, 1.0, 0.5, 0.4875, 0.0, 0.0, 0.0]),
        (
            Sigmoid,
            1.0,
            -24.0,
            40.0,
            400.0,
            [
                0.0,
                2.39e-05,
                0.162_465_1,
                0.345_246_5,
                0.440_286_4,
                0.442_752_1,
                0.853_209_7,
                0.999_913_9,
                1.0,
            ],
        ),
        (Sigmoid, 0.5, 3.25, 22.0, 1.5, [0.0, 0.0, 0.0, 0.0, 0.965_554_8, 0.990_684, 1.0, 1.0, 1.0]),
        (
            Sigmoid,
            -1.0,
            0.0,
            -40.0,
            80.0,
            [1.0, 1.0, 0.999_088_9, 0.880_797_1, 0.5, 0.487_502_6, 4.54e-05, 0.0, 0.0],
        ),
    ];
    for (function, slope, intercept, center, width, wanted) in cases {
        let window = Window { center, width, function };
        let mut raster = signed(&STORED);
        raster.tone.rescale = Rescale::Linear { slope, intercept };
        raster.tone.voi = Some(Voi::Window(window));
        close(&toned(&raster), &wanted, 1e-6);
        raster.tone.inverted = true;
        close(&toned(&raster), &wanted.map(|level| 1.0 - level), 1e-6);
        raster.tone.inverted = false;
        raster.tone.voi = None;
        let fixed = ImageSpec { window: WindowSpec::Fixed(window), ..spec() };
        close(&prepared(&raster, &fixed, size(9, 1, 1)).unwrap(), &wanted, 1e-6);
    }
}

#[test]
fn tables_are_those_of_pydicom_and_hold_their_ends() {
    let mut raster = signed(&[-2048, -103, -100, -99, -98, -97, -96, 0, 2047]);
    let entries = vec![0, 10, 300, 1000, 4095];
    raster.tone.voi = Some(Voi::Table(Table { first: -100, entries, bits: 12 }));
    let wanted = [0.0, 0.0, 0.0, 0.002_442, 0.073_260_1, 0.244_200_2, 1.0, 1.0, 1.0];
    close(&toned(&raster), &wanted, 1e-6);

    let mut raster = signed(&[-5, -2, -1, 0, 0, 0, 0, 2, 4]);
    let entries = vec![0, 100, 700, 900, 1300, 2000];
    raster.tone.rescale = Rescale::Table(Table { first: -3, entries, bits: 16 });
    let function = WindowFunction::Linear;
    raster.tone.voi = Some(Voi::Window(Window { center: 900.0, width: 1001.0, function }));
    close(&toned(&raster), &[0.0, 0.0, 0.3005, 0.5005, 0.5005, 0.5005, 0.5005, 1.0, 1.0], 1e-6);
    let full = ImageSpec { window: WindowSpec::Full, ..spec() };
    let got = prepared(&raster, &full, size(9, 1, 1)).unwrap();
    close(&got[..4], &[0.0, 0.001_525_9, 0.010_681_3, 0.013_733_1], 1e-6);
}

#[test]
fn without_a_window_black_and_white_are_what_the_bits_can_hold() {
    let mut raster = signed(&[-2048, 2047, -1, 0]);
    close(&toned(&raster), &[0.0, 1.0, 0.499_877_9, 0.500_122_1], 1e-6);
    raster.tone.rescale = Rescale::Linear { slope: -3.0, intercept: 7.0 };
    close(&toned(&raster), &[1.0, 0.0, 0.500_122_1, 0.499_877_9], 1e-6);
}

#[test]
fn samples_of_32_bits_lose_nothing_before_the_window() {
    let samples = Samples::I32(vec![2_000_000_000, 2_000_000_001, 2_000_000_003, i32::MIN]);
    let mut tone = Tone::plain(1.0);
    tone.stored = (-2_147_483_648.0, 2_147_483_647.0);
    let function = WindowFunction::LinearExact;
    tone.voi = Some(Voi::Window(Window { center: 2_000_000_002.0, width: 4.0, function }));
    let raster = Raster { width: 4, height: 1, channels: Channels::Grey, samples, tone };
    assert_eq!(toned(&raster), [0.0, 0.25, 0.75, 0.0]);
}

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![4 => -3000.0..3000.0, 1 => any::<f64>(), 1 => Just(0.0), 1 => Just(1.0), 1 => Just(1e-308)]
}

fn table() -> impl Strategy<Value = Table> {
    (any::<i32>(), prop::collection::vec(any::<u16>(), 0..40), 7_u32..18)
        .prop_map(|(first, entries, bits)| Table { first, entries, bits })
}

fn window() -> impl Strategy<Value = Window> {
    use WindowFunction::{Linear, LinearExact, Sigmoid};
    let function = prop::sample::select(vec![Linear, LinearExact, Sigmoid]);
    (number(), number(), function).prop_map(|(center, width, function)| Window { center, width, function })
}

fn tone() -> impl Strategy<Value = Tone> {
    let rescale = prop_oneof![
        3 => (number(), number()).prop_map(|(slope, intercept)| Rescale::Linear { slope, intercept }),
        1 => table().prop_map(Rescale::Table),
    ];
    let voi = prop_oneof![
        1 => Just(None),
        2 => window().prop_map(|window| Some(Voi::Window(window))),
        1 => table().prop_map(|table| Some(Voi::Table(table))),
    ];
    let stored = (0.0, 1.0);
    (rescale, voi, any::<bool>()).prop_map(move |(rescale, voi, inverted)| Tone {
        stored,
        rescale,
        voi,
        inverted,
    })
}

/// What samples of each of the five types can hold.
const RANGES: [(f64, f64); 5] = [
    (0.0, 255.0),
    (0.0, 65_535.0),
    (-32_768.0, 32_767.0),
    (0.0, 4_294_967_295.0),
    (-2_147_483_648.0, 2_147_483_647.0),
];

/// Samples of one of the five types, from any bits.
fn samples(kind: usize, bits: &[u32]) -> Samples {
    let low = |bits: u32| u16::try_from(bits & 0xffff).unwrap();
    match kind {
        0 => Samples::U8(bits.iter().map(|bits| bits.to_le_bytes()[0]).collect()),
        1 => Samples::U16(bits.iter().map(|bits| low(*bits)).collect()),
        2 => Samples::I16(bits.iter().map(|bits| low(*bits).cast_signed()).collect()),
        3 => Samples::U32(bits.to_vec()),
        _ => Samples::I32(bits.iter().map(|bits| bits.cast_signed()).collect()),
    }
}

fn any_spec() -> impl Strategy<Value = ImageSpec> {
    let layout = prop::sample::select(vec![Layout::Nchw, Layout::Nhwc]);
    let fit = prop::sample::select(vec![Fit::Exact, Fit::Stretch, Fit::Crop, Fit::Pad]);
    let filter = prop::sample::select(vec![Filter::Area, Filter::Bilinear, Filter::Lanczos]);
    let windows =
        prop_oneof![Just(WindowSpec::File), Just(WindowSpec::Full), window().prop_map(WindowSpec::Fixed)];
    let side = prop::option::of(1_usize..60);
    (layout, fit, filter, windows, side).prop_map(|(layout, fit, filter, window, shorter_side)| {
        let colour = Colour::Convert;
        ImageSpec { layout, colour, fit, filter, shorter_side, window, ..spec() }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn whatever_a_file_says_levels_are_finite_and_from_0_to_1(
        (width, height, channels, lie) in
            (1_usize..30, 1_usize..30, prop::sample::select(vec![Channels::Grey, Channels::Rgb]), 0_usize..12),
        (kind, bits, mut tone) in (0_usize..5, prop::collection::vec(any::<u32>(), 30 * 30 * 3 + 1), tone()),
        spec in any_spec(),
        target in (1_usize..40, 1_usize..40, prop::sample::select(vec![1_usize, 3])),
    ) {
        let count = width * height * channels.count() + usize::from(lie == 0);
        tone.stored = RANGES[if lie == 1 { 0 } else { kind }];
        let raster = Raster { width, height, channels, samples: samples(kind, &bits[..count]), tone };
        if let Ok(levels) = prepared(&raster, &spec, size(target.0, target.1, target.2)) {
            prop_assert!(levels.iter().all(|level| (0.0..=1.0).contains(level)));
        }
    }
}
