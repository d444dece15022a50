//! Tensors as typed values in one aligned buffer each.
//!
//! Architecture Invariant: no `Debug` or `Display` here prints an element. Tensors hold patient data; a log
//! line may name a tensor, never show one.

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

            /// Bytes of one element on the wire and in memory.
            #[must_use]
            pub fn size_bytes(self) -> usize {
                match self { $(Self::$variant => size_of::<$element>(),)+ }
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

            /// Appends `times` repetitions of all present elements.
            pub fn repeat(&mut self, times: usize) {
                match self { $(Self::$variant(v) => {
                    let present = v.len();
                    v.reserve_exact(present.saturating_mul(times));
                    for _ in 0..times { v.extend_from_within(..present); }
                })+ }
            }

            /// The elements `from..to` as little-endian bytes; nothing for a range outside.
            #[must_use]
            pub fn to_le_bytes(&self, from: usize, to: usize) -> Vec<u8> {
                match self { $(Self::$variant(v) => {
                    let range = v.get(from..to).unwrap_or_default();
                    let mut bytes = Vec::with_capacity(std::mem::size_of_val(range));
                    for element in range { bytes.extend_from_slice(Wire::to_le(*element).as_ref()); }
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
    /// IEEE 754 single precision.
    Fp32 = "FP32", f32;
    /// IEEE 754 double precision.
    Fp64 = "FP64", f64;
}

impl fmt::Display for Datatype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An element as it travels: little-endian.
trait Wire: Copy {
    type Bytes: AsRef<[u8]>;
    fn to_le(self) -> Self::Bytes;
}

macro_rules! wire {
    ($($element:ty),+) => {$(
        impl Wire for $element {
            type Bytes = [u8; size_of::<$element>()];
            fn to_le(self) -> Self::Bytes { self.to_le_bytes() }
        }
    )+};
}

wire!(u8, u16, u32, u64, i8, i16, i32, i64, f32, f64);

impl Wire for bool {
    type Bytes = [u8; 1];
    fn to_le(self) -> Self::Bytes {
        [u8::from(self)]
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
        self.data.len().saturating_mul(self.data.datatype().size_bytes())
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
    }

    #[test]
    fn bytes_are_little_endian_and_ranges_are_checked() {
        let data = Data::Uint16(vec![0x0102, 0x0304]);
        assert_eq!(data.to_le_bytes(1, 2), [4, 3]);
        assert!(data.to_le_bytes(1, 3).is_empty());
    }
}
