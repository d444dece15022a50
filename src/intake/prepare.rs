//! Which numbers does the model get for this image? From stored samples to one row of its tensor, as the contract
//! declares.
//!
//! Samples become levels of light (`tone`), colours become the model's (`colour`), the image its size (`fit`,
//! `resample`), and levels are normalised last. Rows go through all of it one after the other: beside the samples
//! and the tensor there are a few rows and the weights of the filter, never a second image.
//!
//! Architecture Invariant: the numbers are the same on every CPU and at every run. All is plain arithmetic in a
//! fixed order: no fused multiply-add, no intrinsics, no functions of the system's libm (`number`).

mod canvas;
mod colour;
mod fit;
mod number;
mod resample;
mod tone;

use super::image::{Budget, Channels, ImageError, Raster};
use crate::contract::Contract;
use crate::contract::image::{Colour, Fit, ImageSpec, Target};
use crate::digest::sha256;
use crate::reason::Reason;
use canvas::{Canvas, Norm};
use colour::Planes;
use resample::Kernel;
use serde_json::json;
use tone::Levels;

/// Counts changes of any code from a file to its tensor that change a number (here, in the decoders, in the crate that
/// decodes JPEG 2000): detectors are calibrated on what it makes.
pub const REVISION: u32 = 1;

/// How the files of a model become tensors: SHA-256 of what the contract declares and of [`REVISION`]; empty where
/// no input is an image. Part of the model's identity.
#[must_use]
pub fn digest(contract: &Contract) -> String {
    let mut declared = Vec::new();
    for (input, image) in contract.inputs.iter().filter_map(|input| Some((input, input.image.as_ref()?))) {
        declared.push(json!({ "input": input.name, "shape": input.shape, "image": image }));
    }
    if declared.is_empty() {
        return String::new();
    }
    sha256(json!({ "revision": REVISION, "inputs": declared }).to_string().as_bytes())
}

/// Writes the prepared image to `out`, which is one row of the tensor: target.width x height x channels elements in
/// the contract's layout. Each is (level - mean) / std of a level from 0 to 1, and finite.
///
/// # Errors
/// `FormatForbidden`: colour where the contract takes grey, or the reverse. `BadShape`: another size than the
/// model's, where the contract asks for it. `BadImage`: the raster contradicts itself, or its tone has no meaning.
/// `ImageTooLarge`, `Overloaded`: the budget. `Internal`: the specification contradicts itself.
pub fn prepare(
    raster: &Raster,
    spec: &ImageSpec,
    target: Target,
    budget: &mut Budget,
    out: &mut [f32],
) -> Result<(), ImageError> {
    check_colour(raster.channels, spec.colour, target.channels)?;
    check_enlarging(raster, spec, target)?;
    let (x, y) = fit::axes(spec, (raster.width, raster.height), target)?;
    check_sizes(raster, target, out.len())?;
    let norm = Norm::new(spec, target.channels)?;
    let levels = Levels::new(&raster.samples, &raster.tone, raster.channels, spec.window, budget)?;
    let across = Kernel::new(&x, spec.filter, budget)?;
    let down = Kernel::new(&y, spec.filter, budget)?;
    let mut planes = Planes::new(raster, &levels, target.channels, across.reach(), across.pad(), budget)?;
    let mut canvas = Canvas::new(spec.layout, target, (&x, &y), planes.count(), budget, out)?;
    let mut reached = 0;
    for row in down.reach() {
        budget.on_time()?;
        planes.read(row);
        canvas.set_line(planes.iter(), |plane, line| across.resample(plane, levels.scale(), line));
        reached = down.reached(row, reached);
        for (at, weight) in down.over(row, reached) {
            canvas.add_line(at, weight);
        }
    }
    levels.scale().finish(out);
    norm.apply(spec.layout, out);
    Ok(())
}

fn internal(problem: &'static str) -> ImageError {
    ImageError::new(Reason::Internal, problem)
}

fn check_colour(sent: Channels, colour: Colour, wanted: usize) -> Result<(), ImageError> {
    let problem = match (sent, wanted, colour) {
        (Channels::Grey, 1, _) | (Channels::Rgb, 3, _) | (_, 1 | 3, Colour::Convert) => return Ok(()),
        (Channels::Rgb, 1, Colour::AsSent) => "a colour image; the model wants grey",
        (Channels::Grey, 3, Colour::AsSent) => "a grey image; the model wants colour",
        (Channels::Grey | Channels::Rgb, _, _) => return Err(internal("a tensor of 1 or 3 channels")),
    };
    Err(ImageError::new(Reason::FormatForbidden, problem))
}

/// `fit = "exact"` says itself which size it takes.
fn check_enlarging(raster: &Raster, spec: &ImageSpec, target: Target) -> Result<(), ImageError> {
    let smaller = raster.width < target.width || raster.height < target.height;
    if !smaller || spec.enlarges || spec.fit == Fit::Exact {
        return Ok(());
    }
    let (width, height) = (raster.width, raster.height);
    let problem =
        format!("{width} x {height} pixels; the model wants at least {} x {}", target.width, target.height);
    Err(ImageError::new(Reason::BadShape, problem))
}

fn check_sizes(raster: &Raster, target: Target, room: usize) -> Result<(), ImageError> {
    let product = |width: usize, height: usize, channels: usize| {
        width.checked_mul(height).and_then(|pixels| pixels.checked_mul(channels))
    };
    let samples = product(raster.width, raster.height, raster.channels.count());
    if samples != Some(raster.samples.len()) {
        return Err(ImageError::bad("not as many samples as its size says"));
    }
    if product(target.width, target.height, target.channels) != Some(room) {
        return Err(internal("no room for exactly one row of the tensor"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
