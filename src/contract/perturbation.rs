//! How is an input perturbed? The `[[perturbations]]` of a contract, and what each needs of the input.

use super::image::Layout;
use super::{ContractError, InputSpec, require};
use crate::tensor::Datatype;
use serde::{Deserialize, Serialize};

/// One perturbed copy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PerturbationSpec {
    /// Fewer grey levels (feature squeezing, Xu et al., NDSS 2018), for values in 0..1.
    BitDepth {
        /// Bits that remain, 1 to 8.
        bits: u32,
    },
    /// Median of a square window over the last two dimensions (same paper).
    Median {
        /// Side of the window in pixels, 2 or 3.
        window: usize,
    },
    /// Coded as JPEG and decoded (SHIELD, Das et al., KDD 2018), for values in 0..1; three planes as red, green
    /// and blue.
    Jpeg {
        /// As libjpeg counts it, 1 to 100.
        quality: u32,
        /// Pixels by which the grid of blocks is moved, 0 to 7; 4 if it is not said. At 0, images that were JPEG
        /// already may hardly change.
        #[serde(default = "half_a_block")]
        shift: usize,
    },
    /// Gaussian blur over the last two dimensions, edges held.
    Blur {
        /// Standard deviation in pixels, 0.125 to 10.
        sigma: f64,
    },
    /// Gaussian noise on every element, within `minimum` and `maximum`.
    Noise {
        /// Standard deviation in the tensor's unit.
        sigma: f64,
    },
    /// The image moved by whole pixels, edges held.
    Shift {
        /// To the right; negative to the left.
        #[serde(default)]
        x: i64,
        /// Down; negative up.
        #[serde(default)]
        y: i64,
    },
    /// The image turned about its centre, bilinear, edges held.
    Rotate {
        /// Counter-clockwise, -180 to 180.
        degrees: f64,
    },
    /// Gaussian noise in units of each column's `jitter`.
    Jitter {
        /// Multiple of the column's standard deviation.
        scale: f64,
    },
    /// Each column times exp(`sigma` x Gaussian noise), within its range; columns with `grid` or `values` stay.
    LogNoise {
        /// Standard deviation of the logarithm, at most 1.
        sigma: f64,
    },
    /// Each column rounded to its `step`.
    Round {},
}

fn half_a_block() -> usize {
    4
}

impl PerturbationSpec {
    pub(super) fn check(&self, at: &str, inputs: &[InputSpec]) -> Result<(), ContractError> {
        let mut reals = inputs.iter().filter(|input| input.datatype == Datatype::Fp32);
        let (Some(input), None) = (reals.next(), reals.next()) else {
            return require(false, at, "there must be exactly one FP32 input: the one that is perturbed");
        };
        match self {
            Self::BitDepth { bits } => {
                require((1..=8).contains(bits), &format!("{at}.bits"), "1 to 8")?;
                unit(at, input)
            }
            Self::Median { window } => {
                require((2..=3).contains(window), &format!("{at}.window"), "2 or 3")?;
                image(at, input).map(|_| ())
            }
            Self::Jpeg { quality, shift } => {
                require((1..=100).contains(quality), &format!("{at}.quality"), "1 to 100")?;
                require(*shift < 8, &format!("{at}.shift"), "0 to 7: the grid repeats after 8 pixels")?;
                image(at, input)?;
                unit(at, input)
            }
            Self::Blur { sigma } => {
                require((0.125..=10.0).contains(sigma), &format!("{at}.sigma"), "0.125 to 10 pixels")?;
                image(at, input).map(|_| ())
            }
            Self::Noise { sigma } => {
                let (Some(min), Some(max)) = (input.minimum, input.maximum) else {
                    return require(false, at, "the input needs `minimum` and `maximum`");
                };
                let sound = *sigma > 0.0 && *sigma <= max - min;
                require(sound, &format!("{at}.sigma"), "more than 0, at most `maximum` - `minimum`")
            }
            Self::Shift { x, y } => {
                let (height, width) = image(at, input)?;
                let inside =
                    |by: i64, size: usize| usize::try_from(by.unsigned_abs()).is_ok_and(|by| by < size);
                require(inside(*x, width), &format!("{at}.x"), "less than the image is wide")?;
                require(inside(*y, height), &format!("{at}.y"), "less than the image is high")?;
                require((*x, *y) != (0, 0), at, "`x` and `y` are both 0: the copy would be the image")
            }
            Self::Rotate { degrees } => {
                let turned = (-180.0..=180.0).contains(degrees) && *degrees != 0.0;
                require(turned, &format!("{at}.degrees"), "-180 to 180, and not 0")?;
                image(at, input).map(|_| ())
            }
            Self::Jitter { scale } => {
                require(scale.is_finite() && *scale > 0.0, &format!("{at}.scale"), "more than 0")?;
                table(at, input)
            }
            Self::LogNoise { sigma } => {
                require(*sigma > 0.0 && *sigma <= 1.0, &format!("{at}.sigma"), "more than 0, at most 1")?;
                table(at, input)?;
                let changed = input.columns.iter().any(|column| !column.is_discrete());
                require(changed, at, "every column has `grid` or `values`: the copy would be the row")
            }
            Self::Round {} => table(at, input),
        }
    }
}

fn unit(at: &str, input: &InputSpec) -> Result<(), ContractError> {
    let unit = input.minimum == Some(0.0) && input.maximum == Some(1.0);
    require(unit, at, "the input needs `minimum = 0` and `maximum = 1`")
}

/// Height and width of the planes. What stands channels last would be perturbed across its colours.
fn image(at: &str, input: &InputSpec) -> Result<(usize, usize), ContractError> {
    let Some(plane) = input.plane() else {
        return require(false, at, "the FP32 input is no image").map(|()| (0, 0));
    };
    let last = match &input.image {
        Some(image) => image.layout == Layout::Nhwc,
        // Nobody has images of four columns; many have four colours at most.
        None => {
            matches!(input.shape.as_slice(), [_, height, _, colours] if *colours <= 4 && height > colours)
        }
    };
    require(!last, at, "the planes must stand one after the other: channels before height and width (NCHW)")?;
    Ok(plane)
}

fn table(at: &str, input: &InputSpec) -> Result<(), ContractError> {
    require(!input.columns.is_empty(), at, "the FP32 input has no `columns`")
}

#[cfg(test)]
mod tests {
    use crate::contract::Contract;

    /// What is said of a contract with that input and perturbation.
    fn refusal(input: &str, perturbation: &str) -> Option<String> {
        let text = format!(
            "name = 'm'\nversion = '1'\nbatch_max = 8\nperturbations = [{{ {perturbation} }}]\n\
             [[inputs]]\nname = 'x'\ndatatype = 'FP32'\n{input}\n\
             [[outputs]]\nname = 'y'\ndatatype = 'FP32'\nshape = [-1, 2]\npublish = true\n"
        );
        Contract::parse(&text).err().map(|error| error.to_string())
    }

    const GREY: &str = "shape = [-1, 1, 28, 20]\nminimum = 0.0\nmaximum = 1.0";
    const NORMALISED: &str = "shape = [-1, 3, 28, 20]\nminimum = -2.5\nmaximum = 2.5";
    const UNBOUNDED: &str = "shape = [-1, 1, 28, 20]";
    const LAST: &str = "shape = [-1, 28, 20, 3]\nminimum = 0.0\nmaximum = 1.0";
    const SIGNAL: &str = "shape = [-1, 187]\nminimum = 0.0\nmaximum = 1.0";
    const TABLE: &str = "shape = [-1, 1]\ncolumns = [{ name = 'a', min = 0.0, max = 9.0 }]";
    const CODES: &str = "shape = [-1, 1]\ncolumns = [{ name = 'a', min = 0, max = 9, values = [1, 2] }]";

    #[test]
    fn what_an_input_cannot_be_perturbed_by_is_refused_by_key() {
        for (input, perturbation, key, problem) in [
            (GREY, "kind = 'jpeg', quality = 0", ".quality", "1 to 100"),
            (GREY, "kind = 'jpeg', quality = 101", ".quality", "1 to 100"),
            (GREY, "kind = 'jpeg', quality = 75, shift = 8", ".shift", "0 to 7"),
            (NORMALISED, "kind = 'jpeg', quality = 75", "", "`minimum = 0` and `maximum = 1`"),
            (SIGNAL, "kind = 'jpeg', quality = 75", "", "no image"),
            (LAST, "kind = 'jpeg', quality = 75", "", "NCHW"),
            (NORMALISED, "kind = 'bit_depth', bits = 1", "", "`minimum = 0` and `maximum = 1`"),
            (GREY, "kind = 'bit_depth', bits = 9", ".bits", "1 to 8"),
            (GREY, "kind = 'median', window = 4", ".window", "2 or 3"),
            (LAST, "kind = 'median', window = 2", "", "NCHW"),
            (GREY, "kind = 'blur', sigma = 0.1", ".sigma", "0.125 to 10"),
            (GREY, "kind = 'blur', sigma = 10.1", ".sigma", "0.125 to 10"),
            (GREY, "kind = 'blur', sigma = nan", ".sigma", "0.125 to 10"),
            (SIGNAL, "kind = 'blur', sigma = 1.0", "", "no image"),
            (LAST, "kind = 'blur', sigma = 1.0", "", "NCHW"),
            (GREY, "kind = 'noise', sigma = 0.0", ".sigma", "more than 0"),
            (GREY, "kind = 'noise', sigma = 1.5", ".sigma", "at most `maximum` - `minimum`"),
            (GREY, "kind = 'noise', sigma = nan", ".sigma", "more than 0"),
            (UNBOUNDED, "kind = 'noise', sigma = 0.1", "", "`minimum` and `maximum`"),
            (TABLE, "kind = 'noise', sigma = 0.1", "", "`minimum` and `maximum`"),
            (GREY, "kind = 'shift'", "", "both 0"),
            (GREY, "kind = 'shift', x = 20", ".x", "less than the image is wide"),
            (GREY, "kind = 'shift', y = -28", ".y", "less than the image is high"),
            (GREY, "kind = 'shift', x = -9223372036854775808", ".x", "less than the image is wide"),
            (SIGNAL, "kind = 'shift', x = 1", "", "no image"),
            (GREY, "kind = 'rotate', degrees = 0.0", ".degrees", "-180 to 180"),
            (GREY, "kind = 'rotate', degrees = 181.0", ".degrees", "-180 to 180"),
            (GREY, "kind = 'rotate', degrees = inf", ".degrees", "-180 to 180"),
            (TABLE, "kind = 'rotate', degrees = 3.0", "", "no image"),
            (TABLE, "kind = 'log_noise', sigma = 0.0", ".sigma", "more than 0"),
            (TABLE, "kind = 'log_noise', sigma = 1.1", ".sigma", "at most 1"),
            (GREY, "kind = 'log_noise', sigma = 0.1", "", "no `columns`"),
            (CODES, "kind = 'log_noise', sigma = 0.1", "", "every column has `grid` or `values`"),
            (GREY, "kind = 'jitter', scale = 1.0", "", "no `columns`"),
            (GREY, "kind = 'round'", "", "no `columns`"),
        ] {
            let said = refusal(input, perturbation).unwrap_or_default();
            let key = format!("`perturbations[0]{key}`");
            assert!(said.contains(&key) && said.contains(problem), "{perturbation}: {said}");
        }
        assert!(refusal(GREY, "kind = 'jpeg', qualities = 75").is_some_and(|said| said.contains("qualit")));
    }

    #[test]
    fn channels_last_in_the_preparation_are_refused_too() {
        let input = "shape = [-1, 28, 20, 3]\nminimum = 0.0\nmaximum = 1.0\n\
                     image = { formats = ['png'], layout = 'NHWC' }";
        assert!(refusal(input, "kind = 'blur', sigma = 1.0").is_some_and(|said| said.contains("NCHW")));
        assert_eq!(refusal(input, "kind = 'noise', sigma = 0.1"), None);
    }

    #[test]
    fn what_it_can_be_perturbed_by_is_taken() {
        for (input, perturbation) in [
            (GREY, "kind = 'jpeg', quality = 75"),
            (GREY, "kind = 'jpeg', quality = 1, shift = 0"),
            ("shape = [-1, 28, 20]\nminimum = 0.0\nmaximum = 1.0", "kind = 'jpeg', quality = 100, shift = 7"),
            (NORMALISED, "kind = 'blur', sigma = 1"),
            (UNBOUNDED, "kind = 'blur', sigma = 0.125"),
            (SIGNAL, "kind = 'noise', sigma = 1.0"),
            (GREY, "kind = 'shift', x = 19, y = -27"),
            (GREY, "kind = 'rotate', degrees = -3"),
            ("shape = [-1, 1, 2, 2]", "kind = 'rotate', degrees = 180.0"),
            (TABLE, "kind = 'log_noise', sigma = 0.02"),
            (TABLE, "kind = 'jitter', scale = 1.0"),
        ] {
            assert_eq!(refusal(input, perturbation), None, "{perturbation}");
        }
    }
}
