//! What is in an npz file of numpy: arrays of any kind that a tensor can have, and texts.

use crate::tensor::{Data, Datatype, Tensor};
use half::{bf16, f16};
use ndarray::{ArrayD, IxDyn, OwnedRepr};
use ndarray_npy::{NpzReader, ReadDataError, ReadableElement};
use py_literal::Value;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// An open npz file.
pub(in crate::cli) struct Arrays {
    reader: NpzReader<File>,
    names: Vec<String>,
}

impl Arrays {
    pub(in crate::cli) fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| error.to_string())?;
        let mut reader = NpzReader::new(file).map_err(|error| error.to_string())?;
        let names = reader.names().map_err(|error| error.to_string())?;
        Ok(Self { reader, names })
    }

    /// Their names.
    pub(in crate::cli) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|name| name.trim_end_matches(".npy"))
    }

    /// The array of an input: that of its name, else `clean` or `input`, where the model has no other input.
    pub(in crate::cli) fn of_input(&mut self, name: &str, alone: bool) -> Result<Option<Tensor>, String> {
        let others: &[&str] = if alone { &["clean", "input"] } else { &[] };
        let wanted = [name].into_iter().chain(others.iter().copied());
        let found = wanted.into_iter().find(|wanted| self.names().any(|name| name == *wanted));
        found.map(|found| self.read(found)).transpose()
    }

    /// The array `names`, which says what the columns are.
    pub(in crate::cli) fn columns(&mut self) -> Result<Vec<String>, String> {
        if !self.names().any(|name| name == "names") {
            return Ok(Vec::new());
        }
        let (_, data) = self.read("names")?.into_parts();
        let Data::Bytes(names) = data else { return Err("the array `names` holds no text".into()) };
        Ok(names)
    }

    /// The array of that name, if there is one.
    pub(in crate::cli) fn find(&mut self, name: &str) -> Result<Option<Tensor>, String> {
        if !self.names().any(|known| known == name) {
            return Ok(None);
        }
        self.read(name).map(Some)
    }

    fn read(&mut self, name: &str) -> Result<Tensor, String> {
        let stored = self.names.iter().find(|stored| stored.trim_end_matches(".npy") == name);
        let stored = stored.cloned().unwrap_or_default();
        macro_rules! attempt {
            ($($variant:ident, $element:ty;)+) => {$(
                if let Ok(array) = self.reader.by_name::<OwnedRepr<$element>, IxDyn>(&stored) {
                    return tensor(&array, |elements| Data::$variant(elements));
                }
            )+};
        }
        attempt! {
            Fp32, f32; Fp64, f64; Uint8, u8; Uint16, u16; Uint32, u32; Uint64, u64;
            Int8, i8; Int16, i16; Int32, i32; Int64, i64; Bool, bool;
        }
        match self.reader.by_name::<OwnedRepr<Text>, IxDyn>(&stored) {
            Ok(array) => tensor(&array, |texts| Data::Bytes(texts.into_iter().map(|text| text.0).collect())),
            Err(error) => Err(format!("array `{name}`: {error}")),
        }
    }
}

fn tensor<T: Clone>(array: &ArrayD<T>, data: impl FnOnce(Vec<T>) -> Data) -> Result<Tensor, String> {
    let elements = data(array.iter().cloned().collect());
    Tensor::new(array.shape().to_vec(), elements)
        .ok_or_else(|| "an array that does not fill its shape".into())
}

/// The elements as another datatype; `None` where that has no such numbers, or would change a whole one. Bytes
/// that stand for reals are grey levels, and divided by 255, as everywhere in this house.
pub(in crate::cli) fn cast(data: Data, datatype: Datatype) -> Option<Data> {
    if data.datatype() == datatype {
        return Some(data);
    }
    let scale = if matches!(data, Data::Uint8(_)) { 255.0 } else { 1.0 };
    macro_rules! real {
        ($variant:ident, $nearest:expr) => {
            Some(Data::$variant(reals(&data)?.into_iter().map(|value| $nearest(value / scale)).collect()))
        };
    }
    macro_rules! whole {
        ($variant:ident) => {
            Some(Data::$variant(
                wholes(&data)?.into_iter().map(|whole| whole.try_into().ok()).collect::<Option<_>>()?,
            ))
        };
    }
    match datatype {
        Datatype::Uint8 => whole!(Uint8),
        Datatype::Uint16 => whole!(Uint16),
        Datatype::Uint32 => whole!(Uint32),
        Datatype::Uint64 => whole!(Uint64),
        Datatype::Int8 => whole!(Int8),
        Datatype::Int16 => whole!(Int16),
        Datatype::Int32 => whole!(Int32),
        Datatype::Int64 => whole!(Int64),
        Datatype::Fp16 => real!(Fp16, f16::from_f64),
        Datatype::Bf16 => real!(Bf16, bf16::from_f64),
        Datatype::Fp32 => real!(Fp32, single),
        Datatype::Fp64 => real!(Fp64, std::convert::identity),
        Datatype::Bool | Datatype::Bytes => None,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the nearest FP32 number is what a client would send")]
fn single(value: f64) -> f32 {
    value as f32
}

/// Numbers as f64, for statistics and for floating-point tensors.
#[expect(clippy::cast_precision_loss, reason = "the nearest, as numpy's astype has it")]
pub(in crate::cli) fn reals(data: &Data) -> Option<Vec<f64>> {
    match data {
        Data::Fp16(values) => Some(values.iter().map(|v| v.to_f64()).collect()),
        Data::Bf16(values) => Some(values.iter().map(|v| v.to_f64()).collect()),
        Data::Fp32(values) => Some(values.iter().map(|v| f64::from(*v)).collect()),
        Data::Fp64(values) => Some(values.clone()),
        Data::Bool(_) | Data::Bytes(_) => None,
        Data::Uint8(_)
        | Data::Uint16(_)
        | Data::Uint32(_)
        | Data::Uint64(_)
        | Data::Int8(_)
        | Data::Int16(_)
        | Data::Int32(_)
        | Data::Int64(_) => Some(wholes(data)?.into_iter().map(|whole| whole as f64).collect()),
    }
}

fn wholes(data: &Data) -> Option<Vec<i128>> {
    match data {
        Data::Uint8(values) => Some(values.iter().map(|v| i128::from(*v)).collect()),
        Data::Uint16(values) => Some(values.iter().map(|v| i128::from(*v)).collect()),
        Data::Uint32(values) => Some(values.iter().map(|v| i128::from(*v)).collect()),
        Data::Uint64(values) => Some(values.iter().map(|v| i128::from(*v)).collect()),
        Data::Int8(values) => Some(values.iter().map(|v| i128::from(*v)).collect()),
        Data::Int16(values) => Some(values.iter().map(|v| i128::from(*v)).collect()),
        Data::Int32(values) => Some(values.iter().map(|v| i128::from(*v)).collect()),
        Data::Int64(values) => Some(values.iter().map(|v| i128::from(*v)).collect()),
        Data::Bool(_) | Data::Fp16(_) | Data::Bf16(_) | Data::Fp32(_) | Data::Fp64(_) | Data::Bytes(_) => {
            None
        }
    }
}

/// An element of a numpy array of text: `<U12` (UTF-32) or `|S12` (bytes), padded with NUL.
#[derive(Clone)]
pub(in crate::cli) struct Text(pub(in crate::cli) String);

impl ReadableElement for Text {
    fn read_to_end_exact_vec<R: Read>(
        mut reader: R,
        type_desc: &Value,
        len: usize,
    ) -> Result<Vec<Self>, ReadDataError> {
        let wrong = || ReadDataError::WrongDescriptor(type_desc.clone());
        let Value::String(descriptor) = type_desc else { return Err(wrong()) };
        let (kind, width) = descriptor.split_at_checked(2).ok_or_else(wrong)?;
        let width: usize =
            width.parse().ok().filter(|width| (1..=1 << 16).contains(width)).ok_or_else(wrong)?;
        let size = match kind {
            "<U" => width.saturating_mul(4),
            "|S" => width,
            _ => return Err(wrong()),
        };
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes)?;
        let wanted = size.checked_mul(len).ok_or_else(wrong)?;
        if bytes.len() < wanted {
            return Err(ReadDataError::MissingData);
        }
        if bytes.len() > wanted {
            return Err(ReadDataError::ExtraBytes(bytes.len().saturating_sub(wanted)));
        }
        let text = |element: &[u8]| -> Option<String> {
            let text = if kind == "|S" {
                String::from_utf8(element.to_vec()).ok()?
            } else {
                let (units, _) = element.as_chunks::<4>();
                units.iter().map(|unit| char::from_u32(u32::from_le_bytes(*unit))).collect::<Option<_>>()?
            };
            Some(text.trim_end_matches('\0').to_owned())
        };
        let texts: Option<Vec<_>> = bytes.chunks_exact(size).map(|element| text(element).map(Self)).collect();
        texts.ok_or_else(|| ReadDataError::ParseData("text in no known encoding".into()))
    }
}
