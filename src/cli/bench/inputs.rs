//! What is asked? Requests made once, of a file's rows or of chance, in the shapes that the model's metadata name.

use super::result::{Input, Source};
use super::synthetic::Distribution;
use crate::cli::contract::arrays::{Arrays, cast};
use crate::digest::sha256;
use crate::proto::model_infer_request::InferInputTensor;
use crate::proto::model_metadata_response::TensorMetadata;
use crate::proto::{ModelInferRequest, ModelMetadataResponse};
use crate::tensor::{Data, Datatype, Tensor, element_count};
use crate::transport::raw::Framed;
use std::path::Path;
use std::str::FromStr;

/// Different requests at most, and their bytes.
const REQUESTS_MAX: usize = 4096;
const BYTES_MAX: usize = 256 << 20;
/// Different requests of synthetic values.
const SYNTHETIC: usize = 64;
/// No tensor has more dimensions.
const DIMENSIONS_MAX: usize = 16;

/// An input as the model names it; a shape may hold -1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub name: String,
    pub datatype: Datatype,
    pub shape: Vec<i64>,
}

impl FromStr for Wanted {
    type Err = String;

    /// `NAME:DATATYPE:D1,D2,…`, where -1 in the first place stands for the rows.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}`: use NAME:DATATYPE:D1,D2,… as in image:FP32:-1,1,28,28");
        let mut parts = text.rsplitn(3, ':');
        let (Some(shape), Some(datatype), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let shape: Option<Vec<i64>> = shape.split(',').map(|dim| dim.trim().parse().ok()).collect();
        let shape = shape.ok_or_else(wrong)?;
        let metadata = TensorMetadata { name: name.to_owned(), datatype: datatype.to_owned(), shape };
        Self::of(&metadata).map_err(|_| wrong())
    }
}

impl Wanted {
    fn of(metadata: &TensorMetadata) -> Result<Self, String> {
        let TensorMetadata { name, datatype, shape } = metadata;
        let datatype = Datatype::parse(datatype.strip_prefix("TYPE_").unwrap_or(datatype))
            .ok_or_else(|| format!("input `{name}` has the datatype `{datatype}`, which is unknown here"))?;
        if name.is_empty() || shape.is_empty() || shape.len() > DIMENSIONS_MAX {
            return Err(format!("input `{name}` has a shape of {} dimensions", shape.len()));
        }
        if shape.iter().any(|dim| *dim == 0 || *dim < -1) {
            return Err(format!("input `{name}` has the shape {shape:?}"));
        }
        Ok(Self { name: name.clone(), datatype, shape: shape.clone() })
    }

    /// All inputs of a model.
    ///
    /// # Errors
    /// What cannot be filled, in words.
    pub(super) fn all(metadata: &ModelMetadataResponse) -> Result<Vec<Self>, String> {
        if metadata.inputs.is_empty() {
            return Err("the server does not say what the model takes: name it with --input".to_owned());
        }
        metadata.inputs.iter().map(Self::of).collect()
    }

    /// The shape of a request of `rows`, with open dimensions from `array`, the shape of a file's array.
    fn shape_of(&self, rows: Option<usize>, array: Option<&[usize]>) -> Result<Vec<usize>, String> {
        let name = &self.name;
        let mut shape = Vec::with_capacity(self.shape.len());
        for (at, dim) in self.shape.iter().enumerate() {
            let fixed = usize::try_from(*dim).ok();
            let size = match (at, fixed, rows) {
                (0, Some(fixed), Some(rows)) if fixed != rows => {
                    return Err(format!("input `{name}` always has {fixed} rows, not {rows}"));
                }
                (_, Some(fixed), _) => fixed,
                (0, None, rows) => rows.unwrap_or(1),
                (_, None, _) => *array.and_then(|array| array.get(at)).ok_or_else(|| {
                    format!(
                        "input `{name}` has the open shape {:?}: give --data, or --input {name}:{}:-1,…",
                        self.shape, self.datatype
                    )
                })?,
            };
            shape.push(size);
        }
        Ok(shape)
    }
}

/// Which model, and how many rows of it in a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask<'a> {
    pub model: &'a str,
    pub version: &'a str,
    /// `None`: as many as the model always has, or one.
    pub rows: Option<usize>,
}

/// Everything that is sent.
pub(super) struct Requests {
    pub framed: Vec<Framed>,
    /// The same, for the model in this process.
    pub tensors: Vec<Vec<(String, Tensor)>>,
    pub inputs: Vec<Input>,
    pub source: Source,
}

impl Requests {
    /// Of the rows of an npz file, in turn.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn of_file(
        wanted: &[Wanted],
        ask: Ask<'_>,
        path: &Path,
        set: Option<&str>,
    ) -> Result<Self, String> {
        let failed = |problem: String| format!("{}: {problem}", path.display());
        let mut arrays = Arrays::open(path).map_err(failed)?;
        let mut columns = Vec::with_capacity(wanted.len());
        for input in wanted {
            let found = match set {
                Some(set) => arrays.find(set),
                None => arrays.of_input(&input.name, wanted.len() == 1),
            };
            let found = found.map_err(failed)?.ok_or_else(|| {
                let names = arrays.names().collect::<Vec<_>>().join(", ");
                let sought = set.unwrap_or(&input.name);
                failed(format!("no array `{sought}`; it has: {names}; name one with --set"))
            })?;
            columns.push(Column::new(input, ask.rows, found).map_err(failed)?);
        }
        let counts: Vec<usize> = columns.iter().map(|column| column.tensor.rows()).collect();
        let rows = counts.first().copied().unwrap_or(0);
        if counts.iter().any(|count| *count != rows) || rows == 0 {
            return Err(failed(format!("its arrays have {counts:?} rows")));
        }
        let each = columns.first().map_or(1, |column| column.rows).max(1);
        let count = rows.div_ceil(each);
        Self::make(wanted, ask, "file".to_owned(), count, |input, at| {
            let column = columns.get(input)?;
            let rows: Vec<usize> = (0..each).filter_map(|row| (at * each + row).checked_rem(rows)).collect();
            let data = column.tensor.data().rows_repeated(&rows, column.tensor.row_len(), 1);
            Tensor::new(column.shape.clone(), data)
        })
    }

    /// Of chance.
    ///
    /// # Errors
    /// An input that chance cannot fill, in words.
    pub(super) fn synthetic(
        wanted: &[Wanted],
        ask: Ask<'_>,
        distribution: Distribution,
        seed: u64,
    ) -> Result<Self, String> {
        let mut shapes = Vec::with_capacity(wanted.len());
        for input in wanted {
            shapes.push(input.shape_of(ask.rows, None)?);
            if input.datatype == Datatype::Bytes {
                return Err(format!(
                    "input `{}` takes BYTES, which are not invented: give --data",
                    input.name
                ));
            }
            if distribution.values(input.datatype, 1, 0).is_none() {
                let name = &input.name;
                return Err(format!(
                    "input `{name}` of {} cannot hold --synthetic {distribution}",
                    input.datatype
                ));
            }
        }
        Self::make(wanted, ask, distribution.to_string(), SYNTHETIC, |input, at| {
            let shape = shapes.get(input)?.clone();
            // A stream of its own for every tensor.
            let stream = u64::try_from(at.checked_mul(wanted.len())?.checked_add(input)?).ok()?;
            let data = distribution.values(
                wanted.get(input)?.datatype,
                element_count(&shape)?,
                seed.wrapping_add(stream),
            )?;
            Tensor::new(shape, data)
        })
    }

    fn make(
        wanted: &[Wanted],
        ask: Ask<'_>,
        kind: String,
        count: usize,
        tensor: impl Fn(usize, usize) -> Option<Tensor>,
    ) -> Result<Self, String> {
        let (mut framed, mut tensors, mut inputs) = (Vec::new(), Vec::new(), Vec::new());
        let (mut digests, mut bytes) = (String::new(), 0_usize);
        for at in 0..count.min(REQUESTS_MAX) {
            let mut named = Vec::with_capacity(wanted.len());
            for (input, spec) in wanted.iter().enumerate() {
                let made = tensor(input, at);
                let made = made.ok_or_else(|| format!("input `{}` is larger than can be sent", spec.name))?;
                named.push((spec.name.clone(), made));
            }
            let (request, contents) = request(ask, &named).ok_or("a request is larger than gRPC can say")?;
            bytes = bytes.saturating_add(request.size_bytes());
            if bytes > BYTES_MAX && at > 0 {
                break;
            }
            if at == 0 {
                inputs = named.iter().map(|(name, tensor)| described(name, tensor)).collect();
            }
            digests.push_str(&contents);
            framed.push(request);
            tensors.push(named);
        }
        let source = Source { kind, requests: framed.len(), sha256: sha256(digests.as_bytes()) };
        Ok(Self { framed, tensors, inputs, source })
    }
}

/// An array of a file, as one input takes it.
struct Column {
    /// Rows of one request.
    rows: usize,
    /// Shape of one request.
    shape: Vec<usize>,
    /// All rows of the file.
    tensor: Tensor,
}

impl Column {
    fn new(input: &Wanted, rows: Option<usize>, found: Tensor) -> Result<Self, String> {
        let shape = input.shape_of(rows, Some(found.shape()))?;
        let (all, data) = found.into_parts();
        let of_row = |shape: &[usize]| element_count(shape.get(1..).unwrap_or_default());
        let fits = of_row(&all).is_some() && of_row(&all) == of_row(&shape);
        let row_len = of_row(&shape).filter(|len| fits && *len > 0).ok_or_else(|| {
            format!("an array of {all:?} does not give rows for input `{}` of {:?}", input.name, input.shape)
        })?;
        let count = all.first().copied().unwrap_or(0);
        let data = cast(data, input.datatype).ok_or_else(|| {
            format!("its elements are none that input `{}` of {} has", input.name, input.datatype)
        })?;
        let tensor = Tensor::new(vec![count, row_len], data).ok_or("an array does not fill its shape")?;
        Ok(Self { rows: shape.first().copied().unwrap_or(1), shape, tensor })
    }
}

fn described(name: &str, tensor: &Tensor) -> Input {
    let datatype = tensor.data().datatype().as_str().to_owned();
    Input { name: name.to_owned(), datatype, shape: tensor.shape().to_vec() }
}

/// The message, and the digest of its contents.
fn request(ask: Ask<'_>, named: &[(String, Tensor)]) -> Option<(Framed, String)> {
    let (mut inputs, mut contents) = (Vec::new(), Vec::new());
    for (name, tensor) in named {
        let shape: Option<Vec<i64>> = tensor.shape().iter().map(|dim| i64::try_from(*dim).ok()).collect();
        inputs.push(InferInputTensor {
            name: name.clone(),
            datatype: tensor.data().datatype().as_str().to_owned(),
            shape: shape?,
            ..InferInputTensor::default()
        });
        contents.push(bytes::Bytes::from(raw(tensor.data())));
    }
    let digest = contents.iter().map(|raw| sha256(raw)).collect();
    let message = ModelInferRequest {
        model_name: ask.model.to_owned(),
        model_version: ask.version.to_owned(),
        inputs,
        raw_input_contents: contents,
        ..ModelInferRequest::default()
    };
    Some((Framed::new(&message)?, digest))
}

fn raw(data: &Data) -> Vec<u8> {
    data.to_le_bytes(0, data.len())
}

#[cfg(test)]
mod tests;
