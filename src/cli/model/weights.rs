//! What do the FP32 constants of a graph become in int8?

use crate::proto::onnx::tensor_proto::DataType;
use crate::proto::onnx::{AttributeProto, NodeProto, TensorProto};
use bytes::Bytes;

/// FP32 values of a constant in row-major order; `None` where they are of another type, or not as many as its shape
/// says.
pub(super) fn values(tensor: &TensorProto) -> Option<Vec<f32>> {
    if tensor.data_type() != DataType::Float as i32 || tensor.segment.is_some() {
        return None;
    }
    let sizes = tensor.dims.iter().map(|dim| usize::try_from(*dim).ok());
    let count = sizes.into_iter().try_fold(1_usize, |product, dim| product.checked_mul(dim?))?;
    let values = match &tensor.raw_data {
        Some(raw) => {
            let (values, rest) = raw.as_chunks::<4>();
            if !rest.is_empty() {
                return None;
            }
            values.iter().map(|value| f32::from_le_bytes(*value)).collect()
        }
        None => tensor.float_data.clone(),
    };
    (values.len() == count && values.iter().all(|value| value.is_finite())).then_some(values)
}

/// A weight by its channels: element `i` is of channel `(i / inner) % channels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Channels {
    /// The dimension of the tensor that counts them.
    pub axis: usize,
    pub count: usize,
    pub inner: usize,
}

impl Channels {
    /// Along `axis` of a tensor; `None` without such a dimension, or where one is empty.
    pub(super) fn along(tensor: &TensorProto, axis: usize) -> Option<Self> {
        let sizes: Option<Vec<usize>> =
            tensor.dims.iter().map(|dim| usize::try_from(*dim).ok().filter(|dim| *dim > 0)).collect();
        let sizes = sizes?;
        let inner = sizes.get(axis.checked_add(1)?..)?.iter().try_fold(1_usize, |a, b| a.checked_mul(*b))?;
        Some(Self { axis, count: *sizes.get(axis)?, inner })
    }

    fn of(self, element: usize) -> usize {
        element.checked_div(self.inner).and_then(|i| i.checked_rem(self.count)).unwrap_or(0)
    }
}

/// A weight in int8, and a bias in int32 of the scale that the products have.
#[derive(Debug, PartialEq)]
pub(super) struct Quantised {
    pub weights: Vec<i8>,
    /// FP32 value of one step, by channel.
    pub scales: Vec<f32>,
    pub bias: Vec<i32>,
    /// Scale of the bias, by channel.
    pub bias_scales: Vec<f32>,
}

/// A bias is kept this far from what 32 bits hold, so that the sum of products fits beside it.
const BIAS_MAX: f64 = 1e9;

/// Symmetric per channel: the largest weight of a channel becomes `levels`. A channel whose bias is far larger than
/// its weights gets coarser weights, and one of nothing but zeros the smallest scale there is.
pub(super) fn quantise(
    values: &[f32],
    channels: Channels,
    bias: Option<&[f32]>,
    (activation_scale, levels): (f32, i8),
) -> Quantised {
    let mut most = vec![0.0_f64; channels.count];
    for (i, value) in values.iter().enumerate() {
        if let Some(most) = most.get_mut(channels.of(i)) {
            *most = most.max(f64::from(value.abs()));
        }
    }
    let step = f64::from(activation_scale);
    let smallest = f64::from(f32::MIN_POSITIVE);
    let bias_of = |channel: usize| bias.and_then(|bias| bias.get(channel)).map_or(0.0, |b| f64::from(*b));
    let scale = |(channel, most): (usize, &f64)| {
        let for_bias = (bias_of(channel).abs() / BIAS_MAX).max(smallest) / step;
        single((most / f64::from(levels)).max(for_bias).max(smallest))
    };
    let scales: Vec<f32> = most.iter().enumerate().map(scale).collect();
    let scale_of = |channel: usize| scales.get(channel).map_or(1.0, |scale| f64::from(*scale));
    let weight = |(i, value): (usize, &f32)| {
        let level = (f64::from(*value) / scale_of(channels.of(i))).round_ties_even();
        byte(level.clamp(-f64::from(levels), f64::from(levels)))
    };
    let bias_scales: Vec<f32> = scales.iter().map(|scale| single(f64::from(*scale) * step)).collect();
    let bias = bias.map_or_else(Vec::new, |bias| {
        let whole =
            |(value, scale): (&f32, &f32)| word((f64::from(*value) / f64::from(*scale)).round_ties_even());
        bias.iter().zip(&bias_scales).map(whole).collect()
    });
    Quantised { weights: values.iter().enumerate().map(weight).collect(), scales, bias, bias_scales }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a scale between two FP32 numbers is as good as the nearer"
)]
fn single(value: f64) -> f32 {
    value as f32
}

#[expect(clippy::cast_possible_truncation, reason = "whole, and clamped to -127..=127")]
fn byte(value: f64) -> i8 {
    value as i8
}

#[expect(clippy::cast_possible_truncation, reason = "whole, and within BIAS_MAX")]
fn word(value: f64) -> i32 {
    value as i32
}

pub(super) fn of_f32(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    constant(name, dims, DataType::Float, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

pub(super) fn of_i8(name: &str, dims: &[i64], values: &[i8]) -> TensorProto {
    constant(name, dims, DataType::Int8, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

pub(super) fn of_u8(name: &str, value: u8) -> TensorProto {
    constant(name, &[], DataType::Uint8, vec![value])
}

pub(super) fn of_i32(name: &str, values: &[i32]) -> TensorProto {
    let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    constant(name, &[i64::try_from(values.len()).unwrap_or(i64::MAX)], DataType::Int32, raw)
}

fn constant(name: &str, dims: &[i64], data_type: DataType, raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.to_owned()),
        dims: dims.to_vec(),
        data_type: Some(data_type as i32),
        raw_data: Some(Bytes::from(raw)),
        ..TensorProto::default()
    }
}

/// The attribute of that name.
pub(super) fn attribute<'a>(node: &'a NodeProto, name: &str) -> Option<&'a AttributeProto> {
    node.attribute.iter().find(|attribute| attribute.name() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn constants_that_are_not_what_they_say_have_no_values() {
        let good = of_f32("w", &[2, 1], &[1.5, -2.0]);
        assert_eq!(values(&good), Some(vec![1.5, -2.0]));
        let stored = TensorProto { raw_data: None, float_data: vec![1.5, -2.0], ..good.clone() };
        assert_eq!(values(&stored), Some(vec![1.5, -2.0]));
        let bad = [
            TensorProto { dims: vec![3], ..good.clone() },
            TensorProto { dims: vec![-2, -1], ..good.clone() },
            TensorProto { dims: vec![i64::MAX, i64::MAX, 2], ..good.clone() },
            TensorProto { data_type: Some(10), ..good.clone() },
            TensorProto { raw_data: Some(vec![0; 7].into()), ..good.clone() },
            of_f32("w", &[2], &[f32::NAN, 0.0]),
            of_f32("w", &[2], &[f32::INFINITY, 0.0]),
        ];
        for tensor in bad {
            assert_eq!(values(&tensor), None, "{:?}", tensor.dims);
        }
        assert_eq!(Channels::along(&good, 2), None);
        assert_eq!(Channels::along(&TensorProto { dims: vec![0, 2], ..good.clone() }, 1), None);
        assert_eq!(Channels::along(&good, usize::MAX), None);
    }

    #[test]
    fn a_channel_of_zeros_and_a_bias_far_above_its_weights_stay_finite() {
        let channels = Channels { axis: 0, count: 2, inner: 2 };
        let made = quantise(&[0.0, 0.0, 1e-30, -1e-30], channels, Some(&[0.0, 1e6]), (0.01, 63));
        assert_eq!((made.weights, made.bias[0]), (vec![0; 4], 0));
        let back = f64::from(made.bias[1]) * f64::from(made.bias_scales[1]);
        assert!((back / 1e6 - 1.0).abs() < 1e-6, "{back}");
        let made =
            quantise(&[0.0], Channels { axis: 0, count: 1, inner: 1 }, Some(&[1.0]), (f32::MIN_POSITIVE, 63));
        assert!(made.scales[0].is_finite() && made.bias_scales[0].is_normal());
    }

    proptest! {
        #[test]
        fn a_weight_and_a_bias_come_back_within_half_a_step(
            weights in proptest::collection::vec(-10.0_f32..10.0, 24), bias in proptest::collection::vec(-10.0_f32..10.0, 3),
            step in 1e-4_f32..1.0, levels in prop_oneof![Just(63_i8), Just(127)],
        ) {
            // Channels in the middle: 2 x 3 x 4.
            let channels = Channels { axis: 1, count: 3, inner: 4 };
            let made = quantise(&weights, channels, Some(&bias), (step, levels));
            for (i, (weight, level)) in weights.iter().zip(&made.weights).enumerate() {
                let scale = made.scales[i / 4 % 3];
                prop_assert!(level.unsigned_abs() <= levels.unsigned_abs());
                prop_assert!((weight - f32::from(*level) * scale).abs() <= scale * 0.5001);
            }
            for ((bias, whole), scale) in bias.iter().zip(&made.bias).zip(&made.bias_scales) {
                let scale = f64::from(*scale);
                prop_assert!((f64::from(*whole) * scale - f64::from(*bias)).abs() <= scale * 0.5001);
            }
        }
    }
}
