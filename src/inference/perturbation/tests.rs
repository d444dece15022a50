//! What holds of every perturbation, whatever it does.

use super::*;
use proptest::prelude::*;

/// Every kind, as a contract names it, with the input it is for.
const KINDS: [(&str, bool); 15] = [
    ("kind = 'bit_depth', bits = 1", true),
    ("kind = 'bit_depth', bits = 4", true),
    ("kind = 'median', window = 2", true),
    ("kind = 'median', window = 3", true),
    ("kind = 'jpeg', quality = 75", true),
    ("kind = 'jpeg', quality = 5, shift = 0", true),
    ("kind = 'blur', sigma = 1.0", true),
    ("kind = 'blur', sigma = 10.0", true),
    ("kind = 'noise', sigma = 0.3", true),
    ("kind = 'rotate', degrees = 3.0", true),
    ("kind = 'rotate', degrees = -90.0", true),
    ("kind = 'jitter', scale = 2.0", false),
    ("kind = 'log_noise', sigma = 0.5", false),
    ("kind = 'round'", false),
    ("kind = 'shift'", true),
];

fn contract(kind: &str, input: &str) -> Contract {
    let text = format!(
        "name = 'm'\nversion = '1'\nbatch_max = 8\nperturbations = [{{ {kind} }}]\n\
         [[inputs]]\nname = 'x'\ndatatype = 'FP32'\n{input}\n\
         [[outputs]]\nname = 'y'\ndatatype = 'FP32'\nshape = [-1, 2]\npublish = true\n"
    );
    Contract::parse(&text).unwrap()
}

fn image((planes, height, width): (usize, usize, usize)) -> String {
    format!("shape = [-1, {planes}, {height}, {width}]\nminimum = 0.0\nmaximum = 1.0")
}

/// What the perturbation makes of a row; a value that is not written stays NaN.
fn copy(kind: &str, input: &str, row: &[f32], seed: u64) -> Vec<f32> {
    let built = of(&contract(kind, input));
    let mut out = vec![f32::NAN; row.len()];
    built[0].perturb(row, seed, &mut out);
    out
}

/// As wide and high as a shift needs.
fn of_size(kind: &str, (_, height, width): (usize, usize, usize)) -> String {
    if kind != "kind = 'shift'" {
        return kind.to_owned();
    }
    if width > 1 {
        format!("{kind}, x = 1, y = -{}", height - 1)
    } else {
        format!("{kind}, y = {}", height - 1)
    }
}

const TABLE: &str = "shape = [-1, 4]\ncolumns = [
    { name = 'a', min = 0.0, max = 1.0, jitter = 0.2, step = 0.3 }, { name = 'b', min = 0.0, max = 1.0 },
    { name = 'c', min = 0, max = 1, values = [0, 1] }, { name = 'd', min = 0.0, max = 1.0, jitter = 9.0 }]";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_copy_is_whole_within_the_inputs_range_and_the_same_for_the_same_seed(
        planes in 1_usize..5, height in 1_usize..12, width in 5_usize..40, seed: u64,
        values in proptest::collection::vec(prop_oneof![0.0_f32..=1.0, Just(0.0), Just(1.0)], 4 * 11 * 39),
    ) {
        for (kind, of_image) in KINDS {
            let (input, kind, length) = if of_image {
                let size = (planes, height, width);
                (image(size), of_size(kind, size), planes * height * width)
            } else {
                (TABLE.to_owned(), kind.to_owned(), 4)
            };
            let row = &values[..length];
            let out = copy(&kind, &input, row, seed);
            prop_assert!(out.iter().all(|value| (0.0..=1.0).contains(value)), "{kind}: {out:?}");
            prop_assert_eq!(&out, &copy(&kind, &input, row, seed));
        }
    }

    #[test]
    fn an_image_of_one_level_stays_so(level in 0_u8..=255, height in 5_usize..30, width in 1_usize..50) {
        let level = f32::from(level) / 255.0;
        let size = (1, height, width);
        let row = vec![level; height * width];
        for (kind, tolerance) in [
            ("kind = 'median', window = 2", 0.0),
            ("kind = 'median', window = 3", 0.0),
            ("kind = 'shift'", 0.0),
            ("kind = 'rotate', degrees = 12.0", 0.0),
            ("kind = 'blur', sigma = 1.0", 1e-6),
            ("kind = 'blur', sigma = 10.0", 1e-6),
            // The first coefficient, 8 times the level, is a multiple of 1 at quality 100; of 16 / 8 at 50.
            ("kind = 'jpeg', quality = 100", 1e-6),
            ("kind = 'jpeg', quality = 50", 1.001 / 255.0),
        ] {
            let out = copy(&of_size(kind, size), &image(size), &row, 0);
            let first = out[0];
            prop_assert!(out.iter().all(|value| (value - level).abs() <= tolerance), "{kind} {level} {first}");
            let equal = kind.contains("blur") || out.iter().all(|value| *value == first);
            prop_assert!(equal, "{kind}");
        }
    }

    #[test]
    fn planes_do_not_touch_each_other(values in proptest::collection::vec(0.0_f32..=1.0, 2 * 9 * 11)) {
        for (kind, _) in KINDS.into_iter().filter(|(kind, of_image)| *of_image && !kind.contains("noise")) {
            let kind = of_size(kind, (1, 9, 11));
            let both = copy(&kind, &image((2, 9, 11)), &values, 0);
            let alone = |plane: &[f32]| copy(&kind, &image((1, 9, 11)), plane, 0);
            let apart: Vec<f32> = values.chunks(99).flat_map(alone).collect();
            prop_assert_eq!(both, apart, "{}", kind);
        }
    }
}

#[test]
fn values_that_are_no_numbers_end_nothing() {
    for (kind, of_image) in KINDS {
        let size = (3, 9, 11);
        let (kind, input, length) =
            if of_image { (of_size(kind, size), image(size), 297) } else { (kind.into(), TABLE.into(), 4) };
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN] {
            copy(&kind, &input, &vec![value; length], 7);
        }
    }
}

#[test]
fn noise_is_another_for_another_seed_and_nothing_else_asks_for_the_seed() {
    for (kind, of_image) in KINDS {
        let size = (1, 9, 11);
        let (kind, input, length) =
            if of_image { (of_size(kind, size), image(size), 99) } else { (kind.into(), TABLE.into(), 4) };
        let random = of(&contract(&kind, &input))[0].is_random();
        assert_eq!(random, kind.contains("noise") || kind.contains("jitter"), "{kind}");
        let row: Vec<f32> = [0.4, 0.5, 0.6].into_iter().cycle().take(length).collect();
        assert_eq!(copy(&kind, &input, &row, 1) != copy(&kind, &input, &row, 2), random, "{kind}");
    }
}

#[test]
fn a_row_has_one_seed_under_one_secret_and_another_under_another() {
    let (secret, other) = (Secret::new(&[1; 32]), Secret::new(&[2; 32]));
    assert_eq!(secret.seed(&[1.0, 2.0]), secret.seed(&[1.0, 2.0]));
    assert_ne!(secret.seed(&[1.0, 2.0]), secret.seed(&[1.0, 2.000_001]));
    assert_ne!(secret.seed(&[1.0, 2.0]), other.seed(&[1.0, 2.0]));
    assert_ne!(seed_of_copy(7, 0), seed_of_copy(7, 1));
}
