//! Decodes a message only after counting what it would become: two bytes on the wire can be 300 in memory.
//!
//! An empty element of a repeated message takes two bytes of a frame and a whole structure of the heap, so a
//! limit on bytes alone lets a small message grow a hundredfold. The walk below reads tags and lengths, no
//! values, and stops at the first element too many.

use bytes::Buf;
use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::ProstCodec;

/// Messages, strings and byte fields that one request may hold, nested ones counted.
const ELEMENTS_MAX: usize = 4096;

/// Fields of a request that are messages which hold repeated messages themselves: `inputs` and `outputs`, and
/// `parameters` and `contents` in them (`proto/inference.proto`).
const NESTED: &[u32] = &[2, 4, 5, 6];
const DEPTH_MAX: usize = 3;

/// The codec of the generated services: prost's, behind the count.
#[derive(Clone, Debug)]
pub struct BoundedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for BoundedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for BoundedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = BoundedDecoder<<ProstCodec<T, U> as Codec>::Decoder>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        BoundedDecoder(ProstCodec::<T, U>::raw_decoder(buffers()))
    }
}

/// As large as the allocator hands out without a search: a tabular request and every answer but a large one fit, and
/// what does not makes its buffer grow once, by the length that it announces.
fn buffers() -> BufferSettings {
    const INITIAL_BYTES: usize = 1024;
    const YIELD_BYTES: usize = 32 << 10;
    BufferSettings::new(INITIAL_BYTES, YIELD_BYTES)
}

/// A decoder that counts first.
#[derive(Clone, Debug)]
pub struct BoundedDecoder<D>(D);

impl<D: Decoder<Error = Status>> Decoder for BoundedDecoder<D> {
    type Item = D::Item;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        // A frame is contiguous: its first chunk is all of it.
        let mut left = ELEMENTS_MAX;
        if !count(source.chunk(), DEPTH_MAX, &mut left) {
            return Err(Status::invalid_argument("too many elements in one message"));
        }
        self.0.decode(source)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}

/// Subtracts the elements of a message from `left`; `false` if there are too many. What cannot be walked is
/// left for prost to refuse.
fn count(mut message: &[u8], depth: usize, left: &mut usize) -> bool {
    while let Some((field, rest)) = element(message) {
        message = rest;
        let Field::Bytes(number, bytes) = field else { continue };
        let Some(fewer) = left.checked_sub(1) else { return false };
        *left = fewer;
        if depth > 0 && NESTED.contains(&number) && !count(bytes, depth - 1, left) {
            return false;
        }
    }
    true
}

enum Field<'a> {
    Bytes(u32, &'a [u8]),
    Scalar,
}

/// The next field of a message and what follows it. Groups, which no message of ours has and prost steps over,
/// are walked as if their fields stood outside of them: who stopped there would count nothing behind them.
fn element(message: &[u8]) -> Option<(Field<'_>, &[u8])> {
    let (key, rest) = varint(message)?;
    let number = u32::try_from(key >> 3).ok()?;
    match key & 7 {
        0 => varint(rest).map(|(_, rest)| (Field::Scalar, rest)),
        1 => rest.get(8..).map(|rest| (Field::Scalar, rest)),
        2 => {
            let (length, rest) = varint(rest)?;
            let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((Field::Bytes(number, bytes), rest))
        }
        3 | 4 => Some((Field::Scalar, rest)),
        5 => rest.get(4..).map(|rest| (Field::Scalar, rest)),
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (i, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(u32::try_from(i).ok()?.checked_mul(7)?)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(i.checked_add(1)?..)?));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::model_infer_request::InferInputTensor;
    use crate::proto::{InferTensorContents, ModelInferRequest};

    fn allowed(message: &[u8]) -> bool {
        count(message, DEPTH_MAX, &mut ELEMENTS_MAX.clone())
    }

    #[test]
    fn small_messages_that_would_grow_a_hundredfold_are_refused() {
        assert!(!allowed(&[0x2a, 0].repeat(ELEMENTS_MAX + 1)), "inputs");
        assert!(!allowed(&[0x32, 0].repeat(ELEMENTS_MAX + 1)), "outputs");
        assert!(!allowed(&[0x22, 0].repeat(ELEMENTS_MAX + 1)), "parameters");
        assert!(!allowed(&[0x3a, 0].repeat(ELEMENTS_MAX + 1)), "raw contents");
        let contents = InferTensorContents {
            bytes_contents: vec![bytes::Bytes::new(); ELEMENTS_MAX],
            ..InferTensorContents::default()
        };
        let input = InferInputTensor { contents: Some(contents), ..InferInputTensor::default() };
        let nested = ModelInferRequest { inputs: vec![input], ..ModelInferRequest::default() };
        assert!(!allowed(&nested.encode_to_vec()), "contents of an input");
    }

    #[test]
    fn a_group_in_front_hides_nothing() {
        let many = [0x2a, 0].repeat(ELEMENTS_MAX + 1);
        for group in [&b"\x7b\x7c"[..], b"\x7b\x78\x01\x7c", b"\x7b\x83\x01\x84\x01\x7c"] {
            let message = [group, &many].concat();
            assert!(ModelInferRequest::decode(&message[..]).is_ok(), "prost steps over {group:?}");
            assert!(!allowed(&message), "{group:?}");
        }
    }

    #[test]
    fn a_large_tensor_is_one_element() {
        let contents =
            InferTensorContents { fp32_contents: vec![1.0; 200_000], ..InferTensorContents::default() };
        let input = InferInputTensor { contents: Some(contents), ..InferInputTensor::default() };
        let request = ModelInferRequest {
            inputs: vec![input],
            raw_input_contents: vec![vec![7; 1 << 20].into()],
            ..ModelInferRequest::default()
        };
        assert!(allowed(&request.encode_to_vec()));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_walked_without_a_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            allowed(&bytes);
        }
    }
}
