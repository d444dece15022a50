//! Tensors as typed values in one aligned buffer each.
//!
//! Architecture Invariant: no `Debug` or `Display` here prints an element. Tensors hold patient data; a log
//! line may name a tensor, never show one.

use half::{bf16, f16};
use std::fmt;

macro_rules! datatypes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $element:ty;)+) => {
        /// Element type, by its Open Inference Protocol name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum Datatype { $($(#[$doc])* #[serde(rename = $name)] $variant,)+ }

        impl Datatype {
            /// Every datatype that is accepted.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The protocol's name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Bytes of one element on the wire; `None` where each has a length of its own.
            #[must_use]
            pub fn size_bytes(self) -> Option<usize> {
                match self { $(Self::$variant => <$element as Element>::SIZE_BYTES,)+ }
            }

            /// The datatype of that protocol name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)+ _ => None }
            }
        }

        /// The elements of a tensor, in row-major order.
        #[derive(Clone, PartialEq)]
        pub enum Data { $($(#[$doc])* $variant(Vec<$element>),)+ }

        impl Data {
            /// Their datatype.
            #[must_use]
            pub fn datatype(&self) -> Datatype {
                match self { $(Self::$variant(_) => Datatype::$variant,)+ }
            }

            /// Whether there are none.
            #[must_use]
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// Number of elements.
            #[must_use]
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(v) => v.len(),)+ }
            }

            /// Bytes of all elements on the wire.
            #[must_use]
            pub fn size_bytes(&self) -> usize {
                match self { $(Self::$variant(v) => size_bytes(v),)+ }
            }

            /// Appends `times` repetitions of all present elements.
            pub fn repeat(&mut self, times: usize) {
                match self { $(Self::$variant(v) => {
                    let present = v.len();
                    v.reserve_exact(present.saturating_mul(times));
                    for _ in 0..times { v.extend_from_within(..present); }
                })+ }
            }

            /// Those of `rows`, in this order, `times` over; a row outside is left out.
            #[must_use]
            pub fn rows_repeated(&self, rows: &[usize], row_len: usize, times: usize) -> Self {
                match self { $(Self::$variant(v) => {
                    let row = |row: &usize| v.get(row.checked_mul(row_len)?..)?.get(..row_len);
                    Self::$variant((0..times).flat_map(|_| rows.iter().filter_map(row)).flatten().cloned().collect())
                })+ }
            }

            /// The elements `from..to` as little-endian bytes; nothing for a range outside.
            #[must_use]
            pub fn to_le_bytes(&self, from: usize, to: usize) -> Vec<u8> {
                match self { $(Self::$variant(v) => {
                    let range = v.get(from..to).unwrap_or_default();
                    let mut bytes = Vec::with_capacity(size_bytes(range));
                    for element in range { element.write_le(&mut bytes); }
                    bytes
                })+ }
            }
        }
    };
}

datatypes! {
    /// One byte an element, 0 or 1.
    Bool = "BOOL", bool;
    /// 8-bit unsigned.
    Uint8 = "UINT8", u8;
    /// 16-bit unsigned.
    Uint16 = "UINT16", u16;
    /// 32-bit unsigned.
    Uint32 = "UINT32", u32;
    /// 64-bit unsigned.
    Uint64 = "UINT64", u64;
    /// 8-bit signed.
    Int8 = "INT8", i8;
    /// 16-bit signed.
    Int16 = "INT16", i16;
    /// 32-bit signed.
    Int32 = "INT32", i32;
    /// 64-bit signed.
    Int64 = "INT64", i64;
    /// IEEE 754 half precision.
    Fp16 = "FP16", f16;
    /// The upper half of IEEE 754 single precision ("brain float").
    Bf16 = "BF16", bf16;
    /// IEEE 754 single precision.
    Fp32 = "FP32", f32;
    /// IEEE 754 double precision.
    Fp64 = "FP64", f64;
    /// Text in UTF-8, as in ONNX; on the wire behind its length in bytes.
    Bytes = "BYTES", String;
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Datatype {
    /// Least and largest finite value; `None` where elements are no numbers. Those of 64-bit integers are the
    /// nearest f64.
    #[must_use]
    pub fn limits(self) -> Option<(f64, f64)> {
        match self {
            Self::Bool | Self::Bytes => None,
            Self::Uint8 => Some((0.0, f64::from(u8::MAX))),
            Self::Uint16 => Some((0.0, f64::from(u16::MAX))),
            Self::Uint32 => Some((0.0, f64::from(u32::MAX))),
            Self::Uint64 => Some((0.0, 2_f64.powi(64))),
            Self::Int8 => Some((f64::from(i8::MIN), f64::from(i8::MAX))),
            Self::Int16 => Some((f64::from(i16::MIN), f64::from(i16::MAX))),
            Self::Int32 => Some((f64::from(i32::MIN), f64::from(i32::MAX))),
            Self::Int64 => Some((-(2_f64.powi(63)), 2_f64.powi(63))),
            Self::Fp16 => Some((f16::MIN.to_f64(), f16::MAX.to_f64())),
            Self::Bf16 => Some((bf16::MIN.to_f64(), bf16::MAX.to_f64())),
            Self::Fp32 => Some((f64::from(f32::MIN), f64::from(f32::MAX))),
            Self::Fp64 => Some((f64::MIN, f64::MAX)),
        }
    }

    /// Whether its elements are floating-point numbers.
    #[must_use]
    pub fn is_real(self) -> bool {
        matches!(self, Self::Fp16 | Self::Bf16 | Self::Fp32 | Self::Fp64)
    }

    /// The number of this datatype that is nearest to `value`, where it is a floating-point one.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "that is the point")]
    pub fn nearest(self, value: f64) -> f64 {
        match self {
            Self::Fp16 => f16::from_f64(value).to_f64(),
            Self::Bf16 => bf16::from_f64(value).to_f64(),
            Self::Fp32 => f64::from(value as f32),
            Self::Bool
            | Self::Uint8
            | Self::Uint16
            | Self::Uint32
            | Self::Uint64
            | Self::Int8
            | Self::Int16
            | Self::Int32
            | Self::Int64
            | Self::Fp64
            | Self::Bytes => value,
        }
    }
}

/// An element as it travels: little-endian, and text behind its length.
trait Element: Clone {
    const SIZE_BYTES: Option<usize>;
    fn len_bytes(&self) -> usize;
    fn write_le(&self, out: &mut Vec<u8>);
}

macro_rules! numbers {
    ($($element:ty),+) => {$(
        impl Element for $element {
            const SIZE_BYTES: Option<usize> = Some(size_of::<$element>());
            fn len_bytes(&self) -> usize { size_of::<$element>() }
            fn write_le(&self, out: &mut Vec<u8>) { out.extend_from_slice(&self.to_le_bytes()); }
        }
    )+};
}

numbers!(u8, u16, u32, u64, i8, i16, i32, i64, f16, bf16, f32, f64);

impl Element for bool {
    const SIZE_BYTES: Option<usize> = Some(1);
    fn len_bytes(&self) -> usize {
        1
    }
    fn write_le(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
}

impl Element for String {
    const SIZE_BYTES: Option<usize> = None;
    fn len_bytes(&self) -> usize {
        self.len().saturating_add(4)
    }
    fn write_le(&self, out: &mut Vec<u8>) {
        // A length that 32 bits cannot hold comes from no tensor: intake and model outputs are far below it.
        let length = u32::try_from(self.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(self.as_bytes());
    }
}

fn size_bytes<T: Element>(elements: &[T]) -> usize {
    match T::SIZE_BYTES {
        Some(size) => elements.len().saturating_mul(size),
        None => elements.iter().fold(0, |sum: usize, element| sum.saturating_add(element.len_bytes())),
    }
}

/// A shape and its elements. The first dimension is the batch.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    data: Data,
}

impl Tensor {
    /// `None` unless `data` fills `shape` exactly.
    #[must_use]
    pub fn new(shape: Vec<usize>, data: Data) -> Option<Self> {
        let count = element_count(&shape)?;
        (count == data.len()).then_some(Self { shape, data })
    }

    /// Dimensions, batch first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Elements in row-major order.
    #[must_use]
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Size of the batch dimension; 0 for a scalar.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(0)
    }

    /// Bytes of its elements.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.data.size_bytes()
    }

    /// Elements of one row.
    #[must_use]
    pub fn row_len(&self) -> usize {
        self.data.len().checked_div(self.rows()).unwrap_or(0)
    }

    /// The elements of `row` when they are FP32.
    #[must_use]
    pub fn row_f32(&self, row: usize) -> Option<&[f32]> {
        let Data::Fp32(values) = &self.data else { return None };
        let from = row.checked_mul(self.row_len())?;
        values.get(from..from.checked_add(self.row_len())?)
    }

    /// Takes it apart, so that the batch can grow in the same buffer.
    #[must_use]
    pub fn into_parts(self) -> (Vec<usize>, Data) {
        (self.shape, self.data)
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?}", self.data.datatype(), self.shape)
    }
}

/// The product of the dimensions; `None` when it does not fit.
#[must_use]
pub fn element_count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_that_overflows_is_refused() {
        assert!(Tensor::new(vec![usize::MAX, 2], Data::Uint8(vec![])).is_none());
        assert!(Tensor::new(vec![1 << 32, 1 << 32], Data::Uint8(vec![])).is_none());
    }

    #[test]
    fn debug_shows_no_values() {
        let tensor = Tensor::new(vec![1, 2], Data::Fp32(vec![41.5, 42.5])).unwrap();
        assert_eq!(format!("{tensor:?}"), "FP32[1, 2]");
        let tensor = Tensor::new(vec![1, 1], Data::Bytes(vec!["Jane Doe".into()])).unwrap();
        assert_eq!(format!("{tensor:?}"), "BYTES[1, 1]");
    }

    #[test]
    fn bytes_are_little_endian_and_ranges_are_checked() {
        let data = Data::Uint16(vec![0x0102, 0x0304]);
        assert_eq!(data.to_le_bytes(1, 2), [4, 3]);
        assert!(data.to_le_bytes(1, 3).is_empty());
    }

    #[test]
    fn text_travels_behind_its_length() {
        let mut data = Data::Bytes(vec!["F".into(), String::new()]);
        assert_eq!(data.to_le_bytes(0, 2), [1, 0, 0, 0, b'F', 0, 0, 0, 0]);
        assert_eq!((data.size_bytes(), data.datatype().size_bytes()), (9, None));
        data.repeat(2);
        assert_eq!((data.len(), data.size_bytes()), (6, 27));
    }

    #[test]
    fn every_datatype_is_found_by_its_name_and_knows_its_nearest_number() {
        for datatype in Datatype::ALL {
            assert_eq!(Datatype::parse(datatype.as_str()), Some(*datatype));
            let (min, max) = datatype.limits().unwrap_or((0.0, 1.0));
            assert_eq!((datatype.nearest(min), datatype.nearest(max)), (min, max), "{datatype}");
        }
        assert_eq!(Datatype::Fp16.nearest(0.31), 0.310_058_593_75);
        assert_eq!(Datatype::Bf16.nearest(0.31), 0.310_546_875);
        assert!(Datatype::Fp16.nearest(1e6).is_infinite());
    }
}
