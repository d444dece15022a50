//! Channels, layout, place and normalisation; and whether anything changed since detectors were calibrated.

use super::*;
use crate::digest::sha256;

#[test]
fn luma_is_that_of_pillows_mode_l() {
    let convert = ImageSpec { colour: Colour::Convert, ..spec() };
    let got = prepared(&bytes(4, 3, Channels::Rgb), &convert, size(4, 3, 1)).unwrap();
    let wanted = levels(&[48, 130, 110, 168, 200, 130, 215, 197, 107, 141, 73, 159]);
    assert_eq!(got, wanted);

    let samples = Samples::U16(pattern(36, 256).map(|s| u16::try_from(s * 257).unwrap()).collect());
    let tone = Tone::plain(65_535.0);
    let deep = Raster { width: 4, height: 3, channels: Channels::Rgb, samples, tone };
    close(&prepared(&deep, &convert, size(4, 3, 1)).unwrap(), &wanted, 0.5 / 255.0 + 1e-6);
}

#[test]
fn grey_fills_all_three_channels() {
    for (layout, channel) in [(Layout::Nchw, 35), (Layout::Nhwc, 1)] {
        let spec = ImageSpec { colour: Colour::Convert, layout, ..spec() };
        let raster = bytes(7, 5, Channels::Grey);
        let one = prepared(&raster, &spec, size(7, 5, 1)).unwrap();
        let three = prepared(&raster, &spec, size(7, 5, 3)).unwrap();
        let pixel = if layout == Layout::Nhwc { 3 } else { 1 };
        for (at, level) in one.iter().enumerate() {
            for nth in 0..3 {
                assert_eq!(three[at * pixel + nth * channel], *level);
            }
        }
    }
}

#[test]
fn layouts_hold_the_same_levels_and_channels_are_normalised_on_their_own() {
    // By Pillow, mode RGB, pixel by pixel.
    let wanted = levels(&[69, 138, 184, 101, 186, 179, 92, 151, 187, 146, 152, 135]);
    let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
    let raster = bytes(4, 3, Channels::Rgb);
    let spec = ImageSpec { layout: Layout::Nhwc, ..spec() };
    let nhwc = prepared(&raster, &spec, size(2, 2, 3)).unwrap();
    close(&nhwc, &wanted, 1.0 / 255.0 + 1e-6);
    let transposed = |nhwc: &[f32]| -> Vec<f32> {
        (0..3).flat_map(|channel| nhwc.iter().copied().skip(channel).step_by(3)).collect()
    };
    let nchw = ImageSpec { layout: Layout::Nchw, ..spec.clone() };
    assert_eq!(prepared(&raster, &nchw, size(2, 2, 3)).unwrap(), transposed(&nhwc));

    let normal = |(at, level): (usize, &f32)| {
        (f64::from(*level) - [0.485, 0.456, 0.406][at % 3]) / [0.229, 0.224, 0.225][at % 3]
    };
    #[expect(clippy::cast_possible_truncation, reason = "as the model reads it")]
    let wanted: Vec<f32> = nhwc.iter().enumerate().map(|pair| normal(pair) as f32).collect();
    let spec = ImageSpec { mean: mean.to_vec(), std: std.to_vec(), ..spec };
    close(&prepared(&raster, &spec, size(2, 2, 3)).unwrap(), &wanted, 1e-6);
    let spec = ImageSpec { layout: Layout::Nchw, ..spec };
    close(&prepared(&raster, &spec, size(2, 2, 3)).unwrap(), &transposed(&wanted), 1e-6);
}

#[test]
fn what_does_not_fill_the_tensor_is_centred_on_black_as_by_pillows_pad() {
    let spec = ImageSpec { fit: Fit::Pad, ..spec() };
    let raster = bytes(7, 5, Channels::Grey);
    let high = [
        34, 93, 136, 148, 173, 157, 147, 100, 130, 198, 172, 207, 186, 148, 121, 112, 196, 164, 154, 176, 83,
        82, 174, 150,
    ];
    let high: Vec<u8> = [[0; 12].as_slice(), &high, &[0; 12]].concat();
    close(&prepared(&raster, &spec, size(6, 8, 1)).unwrap(), &levels(&high), 1.0 / 255.0 + 1e-6);
    let wide = [
        0, 0, 48, 170, 110, 124, 212, 118, 0, 0, 98, 152, 24, 226, 246, 84, 252, 0, 0, 238, 42, 176, 128,
        154, 254, 172, 0, 0, 164, 230, 114, 72, 104, 210, 134, 0, 0, 132, 204, 94, 58, 96, 208, 138, 0,
    ];
    assert_eq!(prepared(&raster, &spec, size(9, 5, 1)).unwrap(), levels(&wide));
    let long = bytes(500, 1, Channels::Grey);
    let got = prepared(&long, &spec, size(5, 5, 1)).unwrap();
    assert!(got.iter().enumerate().all(|(at, level)| (*level > 0.0) == (10..15).contains(&at)), "{got:?}");
}

#[test]
fn what_is_too_long_is_cut_evenly_as_by_torchvisions_resize_and_center_crop() {
    let crop = ImageSpec { fit: Fit::Crop, ..spec() };
    let raster = bytes(7, 5, Channels::Grey);
    let wanted = levels(&[67, 119, 168, 152, 127, 165, 173, 114, 111]);
    close(&prepared(&raster, &crop, size(3, 3, 1)).unwrap(), &wanted, 1.0 / 255.0 + 1e-6);
    let shorter = ImageSpec { shorter_side: Some(6), ..crop.clone() };
    let wanted = levels(&[105, 144, 179, 141, 124, 117, 145, 86, 83]);
    close(&prepared(&raster, &shorter, size(3, 3, 1)).unwrap(), &wanted, 1.0 / 255.0 + 1e-6);
    // (8 - 5) / 2 = 1.5 is cut off as 2, (6 - 5) / 2 = 0.5 as 0.
    let first = |width| prepared(&bytes(width, 5, Channels::Grey), &crop, size(5, 5, 1)).unwrap()[0];
    let stored: Vec<u32> = pattern(3, 256).collect();
    assert_eq!([first(8), first(6)].map(|level| (level * 255.0).round()), [170.0, 0.0]);
    assert_eq!((stored[2], stored[0]), (170, 0));
}

#[test]
fn an_image_too_long_to_be_cropped_is_refused() {
    let samples = Samples::U8(vec![0; 1 << 20]);
    let tone = Tone::plain(255.0);
    let raster = Raster { width: 1 << 20, height: 1, channels: Channels::Grey, samples, tone };
    let spec = ImageSpec { fit: Fit::Crop, shorter_side: Some(1 << 15), ..spec() };
    assert_eq!(refused(&raster, &spec, size(2, 2, 1)).reason, Reason::ImageTooLarge);
}

/// SHA-256 of what revision 1 makes.
const DIGEST: &str = "1391001b504029d642f7690747fdcf241dbeed22e1ea95dd49240d5f7e8903fc";

/// If this fails, prepared numbers have changed: raise `REVISION`, then set the digest anew.
#[test]
fn numbers_are_bit_by_bit_those_of_this_revision() {
    let mut bits = Vec::new();
    let mut add = |raster: &Raster, spec: &ImageSpec, target| {
        let levels = prepared(raster, spec, target).unwrap();
        bits.extend(levels.iter().flat_map(|level| level.to_le_bytes()));
    };
    let stored: Vec<i16> = pattern(4 * 61 * 47, 4001).map(|s| i16::try_from(s).unwrap() - 2000).collect();
    for filter in [Filter::Area, Filter::Bilinear, Filter::Lanczos] {
        for fit in [Fit::Stretch, Fit::Crop, Fit::Pad] {
            let spec = ImageSpec { fit, filter, mean: vec![0.4], std: vec![0.3], ..spec() };
            for function in [WindowFunction::Linear, WindowFunction::LinearExact, WindowFunction::Sigmoid] {
                let mut raster = signed(&stored);
                (raster.width, raster.height) = (4 * 61, 47);
                raster.tone.voi = Some(Voi::Window(Window { center: 40.0, width: 900.0, function }));
                add(&raster, &spec, size(32, 24, 1));
                add(&raster, &spec, size(51, 63, 1));
            }
            let spec = ImageSpec { mean: vec![], std: vec![], ..spec };
            add(&bytes(33, 41, Channels::Rgb), &spec, size(20, 20, 3));
        }
    }
    assert_eq!((REVISION, sha256(&bits)), (1, DIGEST.to_owned()));
}
