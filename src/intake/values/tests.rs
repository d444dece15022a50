//! What is refused of contents and values, and what arbitrary bytes come to.

use super::*;
use crate::contract::Contract;
use crate::tensor::Datatype;
use half::{bf16, f16};
use proptest::prelude::*;

/// The input of a contract that says `keys` of it.
fn spec(datatype: &str, keys: &str) -> InputSpec {
    let text = format!(
        "name = 'm'\nversion = '1'\nbatch_max = 8\n[[inputs]]\nname = 'x'\ndatatype = '{datatype}'\n{keys}\n\
         [[outputs]]\nname = 'y'\ndatatype = 'FP32'\nshape = [-1, 2]\npublish = true\n"
    );
    let contract = Contract::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    contract.inputs.into_iter().next().unwrap()
}

const COLUMNS: &str = r#"
    shape = [-1, 3]
    columns = [
      { name = "children", unit = "", min = 0.0, max = 20.0, grid = 1.0 },
      { name = "grade", unit = "", min = 0.0, max = 4.0, values = [0, 1, 4] },
      { name = "worst > mean", unit = "mm", min = 0.0, max = 9.5 },
    ]
    rules = ["worst > mean >= grade", "children < worst > mean"]"#;

fn refused(spec: &InputSpec, data: &Data) -> (Reason, String, String) {
    let error = check(spec, 0, data).unwrap_err();
    (error.reason, error.field, error.problem)
}

#[test]
fn a_row_of_a_table_is_refused_by_the_cheapest_check_it_breaks() {
    use Reason::{NonFinite, OutOfRange, RuleBroken};
    let spec = spec("FP32", COLUMNS);
    for (row, reason, field, problem) in [
        ([f32::NAN, 0.0, 9.0], NonFinite, "inputs[0][1][0] (children)", "NaN is not accepted"),
        ([0.0, f32::INFINITY, 9.0], NonFinite, "inputs[0][1][1] (grade)", "infinity is not accepted"),
        (
            [0.0, 0.0, 1e-40],
            OutOfRange,
            "inputs[0][1][2] (worst > mean)",
            "a subnormal number is not accepted",
        ),
        ([0.0, 0.0, 9.6], OutOfRange, "inputs[0][1][2] (worst > mean)", "outside the range 0 to 9.5 mm"),
        ([1.5, 0.0, 9.0], OutOfRange, "inputs[0][1][0] (children)", "no whole multiple of 1"),
        (
            [1.0, 2.0, 9.0],
            OutOfRange,
            "inputs[0][1][1] (grade)",
            "none of the values that the contract lists",
        ),
        ([0.0, 4.0, 3.9], RuleBroken, "inputs[0][1]", "the contract asks for `worst > mean >= grade`"),
        ([2.0, 1.0, 2.0], RuleBroken, "inputs[0][1]", "the contract asks for `children < worst > mean`"),
    ] {
        let data = Data::Fp32([[2.0, 4.0, 4.0], row].concat());
        let found = refused(&spec, &data);
        assert_eq!((found.0, found.1.as_str(), found.2.as_str()), (reason, field, problem), "{row:?}");
    }
    assert!(check(&spec, 0, &Data::Fp32(vec![0.0, 0.0, 0.5, 2.0, 4.0, 9.5])).is_ok());
}

#[test]
fn one_refusal_never_hides_another_from_the_owner() {
    let spec = spec("FP32", COLUMNS);
    let mut found = Vec::new();
    let told = find(&spec, &Data::Fp32(vec![0.5, 3.0, f32::NAN, 9.0, 4.0, 2.0]), &mut |finding| {
        found.push(finding.field(&spec, 0));
        ControlFlow::Continue(())
    });
    assert!(told.is_continue());
    let wanted = ["inputs[0][0][0] (children)", "inputs[0][0][1] (grade)", "inputs[0][0][2] (worst > mean)"];
    assert_eq!(found, [&wanted[..], &["inputs[0][1]"; 2]].concat());
}

#[test]
fn special_values_pass_only_where_the_contract_says_so() {
    let subnormal = f32::from_bits(1);
    for (key, value) in
        [("accepts_nan", f32::NAN), ("accepts_infinity", f32::INFINITY), ("accepts_subnormal", subnormal)]
    {
        let strict = spec("FP32", "shape = [-1, 1]\nminimum = -1.0\nmaximum = 1.0");
        let lenient = spec("FP32", &format!("shape = [-1, 1]\nminimum = -1.0\nmaximum = 1.0\n{key} = true"));
        assert!(check(&strict, 0, &Data::Fp32(vec![value])).is_err(), "{key}");
        assert!(check(&lenient, 0, &Data::Fp32(vec![value])).is_ok(), "{key}");
        // Not the range with it.
        assert!(check(&lenient, 0, &Data::Fp32(vec![1.5])).is_err(), "{key}");
    }
    let above = spec("FP32", "shape = [-1, 1]\nminimum = 0.5\nmaximum = 1.0\naccepts_subnormal = true");
    assert!(check(&above, 0, &Data::Fp32(vec![subnormal])).is_err());
}

#[test]
fn subnormal_numbers_of_every_width_are_refused_and_their_neighbours_are_not() {
    let refuses = |datatype: &str, data: Data| refused(&spec(datatype, "shape = [-1, 1]"), &data).2;
    let passes = |datatype: &str, data: Data| check(&spec(datatype, "shape = [-1, 1]"), 0, &data).is_ok();
    let problem = "a subnormal number is not accepted";
    assert_eq!(refuses("FP16", Data::Fp16(vec![f16::from_bits(0x83FF)])), problem);
    assert_eq!(refuses("BF16", Data::Bf16(vec![bf16::from_bits(0x007F)])), problem);
    assert_eq!(refuses("FP32", Data::Fp32(vec![f32::from_bits(0x807F_FFFF)])), problem);
    assert_eq!(refuses("FP64", Data::Fp64(vec![f64::MIN_POSITIVE / 2.0])), problem);
    assert!(passes("FP16", Data::Fp16(vec![f16::MIN_POSITIVE, f16::NEG_ZERO, f16::MAX])));
    assert!(passes("BF16", Data::Bf16(vec![bf16::MIN_POSITIVE, bf16::NEG_ZERO, bf16::MIN])));
    assert!(passes("FP32", Data::Fp32(vec![-f32::MIN_POSITIVE, -0.0, f32::MAX])));
    assert!(passes("FP64", Data::Fp64(vec![f64::MIN_POSITIVE, 0.0, f64::MIN])));
}

#[test]
fn a_bound_holds_in_the_datatype_of_the_tensor() {
    let half = spec("FP16", "shape = [-1, 1]\nminimum = 0.1\nmaximum = 0.31");
    assert!(check(&half, 0, &Data::Fp16(vec![f16::from_f64(0.31), f16::from_f64(0.1)])).is_ok());
    assert_eq!(refused(&half, &Data::Fp16(vec![f16::from_f64(0.3105)])).0, Reason::OutOfRange);
    assert_eq!(refused(&half, &Data::Fp16(vec![f16::NAN])).0, Reason::NonFinite);
    let code = "shape = [-1, 1]\ncolumns = [{ name = 'code', min = 0.0, max = 1e18, values = [900000000000207009] }]";
    let codes = spec("INT64", code);
    assert!(check(&codes, 0, &Data::Int64(vec![900_000_000_000_207_009])).is_ok());
    assert!(check(&codes, 0, &Data::Int64(vec![900_000_000_000_207_010])).is_err());
    let most = spec("UINT64", "shape = [-1, 1]\nmaximum = 9007199254740992");
    assert_eq!(refused(&most, &Data::Uint64(vec![(1 << 53) + 1])).2, "more than 9007199254740992");
    assert!(check(&most, 0, &Data::Uint64(vec![1 << 53])).is_ok());
}

#[test]
fn text_is_refused_by_length_category_and_encoding() {
    let sex = spec("BYTES", "shape = [-1, 2]\nvalues = ['M', 'F', '']\nlength_max = 3");
    let raw =
        |bytes: &[u8]| read(&sex, 0, Source::Raw(&bytes.to_vec().into()), 1, 1).map(|_| ()).unwrap_err();
    let element = |text: &[u8]| [&u32::try_from(text.len()).unwrap().to_le_bytes()[..], text].concat();
    let cases: [(Vec<u8>, Reason, &str, &str); 8] = [
        (
            vec![1, 0, 0],
            Reason::BadContent,
            "raw_input_contents[0]",
            "3 bytes; 2 elements have at least four each",
        ),
        (
            [&6_u32.to_le_bytes()[..], b"F", &0_u32.to_le_bytes()].concat(),
            Reason::BadContent,
            "raw_input_contents[0]",
            "element 0 claims 6 bytes; 5 are left",
        ),
        (
            [&u32::MAX.to_le_bytes()[..], b"F", &0_u32.to_le_bytes()].concat(),
            Reason::BadContent,
            "raw_input_contents[0]",
            "element 0 claims 4294967295 bytes; 5 are left",
        ),
        (
            [element(b"F12"), vec![0]].concat(),
            Reason::BadContent,
            "raw_input_contents[0]",
            "it ends before the length of element 1",
        ),
        (
            [element(b"F"), element(b"M"), vec![7]].concat(),
            Reason::BadContent,
            "raw_input_contents[0]",
            "1 bytes behind the last of 2 elements",
        ),
        (
            [element(b"F"), element(b"male")].concat(),
            Reason::OutOfRange,
            "inputs[0][0][1]",
            "4 bytes; the contract has at most 3",
        ),
        ([element(b"F"), element(&[0xFF])].concat(), Reason::BadContent, "inputs[0][0][1]", "no UTF-8"),
        (
            [element(b"F\0"), element(b"M")].concat(),
            Reason::BadContent,
            "inputs[0][0][0]",
            "text with a NUL, where a model would stop reading",
        ),
    ];
    for (bytes, reason, field, problem) in cases {
        let error = raw(&bytes);
        assert_eq!((error.reason, error.field.as_str(), error.problem.as_str()), (reason, field, problem));
    }
    let unlisted = refused(&sex, &Data::Bytes(vec!["F".into(), "X".into()]));
    assert_eq!((unlisted.0, unlisted.1.as_str()), (Reason::OutOfRange, "inputs[0][0][1]"));
    assert!(!unlisted.2.contains('X'));
    let good = read(&sex, 0, Source::Raw(&[element(b"F"), element(b"")].concat().into()), 1, 4).unwrap();
    assert!(check(&sex, 0, &good).is_ok());
    let Data::Bytes(elements) = good else { panic!("no text") };
    assert!(elements.capacity() >= 8, "no room for the copies");
}

#[test]
fn more_text_than_its_copies_have_room_for_is_refused_before_it_is_read() {
    let notes = spec("BYTES", "shape = [-1, 600]");
    let element = [&65_536_u32.to_le_bytes()[..], &vec![b'a'; 65_536]].concat();
    let bytes = element.repeat(600);
    let error = read(&notes, 0, Source::Raw(&bytes.clone().into()), 1, 2).map(|_| ()).unwrap_err();
    assert_eq!((error.reason, error.field.as_str()), (Reason::TooLarge, "inputs[0]"));
    assert!(read(&notes, 0, Source::Raw(&bytes.clone().into()), 1, 1).is_ok());
    let contents =
        InferTensorContents { bytes_contents: vec![vec![b'a'; 65_536].into(); 600], ..Default::default() };
    let error = read(&notes, 0, Source::Typed(Some(&contents)), 1, 2).map(|_| ()).unwrap_err();
    assert_eq!(error.reason, Reason::TooLarge);
}

#[test]
fn half_precision_has_no_typed_contents() {
    for datatype in ["FP16", "BF16"] {
        let contents = InferTensorContents { fp32_contents: vec![1.0], ..Default::default() };
        let spec = spec(datatype, "shape = [-1, 1]");
        let error = read(&spec, 2, Source::Typed(Some(&contents)), 1, 1).map(|_| ()).unwrap_err();
        assert_eq!(error.field, "inputs[2].contents");
        assert_eq!(error.problem, format!("{datatype} has no typed contents; send it in raw_input_contents"));
    }
}

#[test]
fn contents_that_overflow_their_own_size_are_refused() {
    let spec = spec("FP64", "shape = [-1, 536870912]");
    let error = read(&spec, 0, Source::Raw(&Bytes::new()), usize::MAX, 1).map(|_| ()).unwrap_err();
    assert_eq!((error.reason, error.field.as_str()), (Reason::BatchTooLarge, "inputs[0].shape"));
    let error = read(&spec, 0, Source::Raw(&Bytes::new()), 4, usize::MAX).map(|_| ()).unwrap_err();
    assert_eq!(error.reason, Reason::BatchTooLarge);
    let error = read(&spec, 0, Source::Raw(&vec![0; 8].into()), 1, 1).map(|_| ()).unwrap_err();
    assert_eq!(error.problem, "8 bytes; the shape and datatype need 4294967296");
}

fn of(datatype: Datatype) -> InputSpec {
    spec(datatype.as_str(), "shape = [-1, 3]")
}

proptest! {
    #[test]
    fn arbitrary_raw_contents_are_refused_or_are_the_same_bytes_again(
        datatype in prop::sample::select(Datatype::ALL),
        bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 0..100),
        fill in any::<bool>(),
    ) {
        let spec = of(datatype);
        let mut bytes = bytes;
        if let (true, Some(size)) = (fill, datatype.size_bytes()) {
            bytes.resize(3 * size, 1);
        }
        if let Ok(data) = read(&spec, 0, Source::Raw(&bytes.clone().into()), 1, 2) {
            prop_assert_eq!(data.datatype(), datatype);
            prop_assert_eq!(data.len(), 3);
            prop_assert_eq!(data.size_bytes(), bytes.len());
            prop_assert_eq!(data.to_le_bytes(0, 3), bytes);
            drop(check(&spec, 0, &data));
        }
    }

    #[test]
    fn text_comes_out_of_raw_and_typed_contents_as_it_went_in(
        sent in prop::collection::vec("[^\0]{0,20}", 3),
    ) {
        let spec = of(Datatype::Bytes);
        let raw = Data::Bytes(sent.clone()).to_le_bytes(0, 3);
        let contents = InferTensorContents {
            bytes_contents: sent.iter().map(|text| text.clone().into_bytes().into()).collect(),
            ..Default::default()
        };
        prop_assert!(read(&spec, 0, Source::Raw(&raw.clone().into()), 1, 1).unwrap() == Data::Bytes(sent.clone()));
        prop_assert!(read(&spec, 0, Source::Typed(Some(&contents)), 1, 1).unwrap() == Data::Bytes(sent));
    }

    #[test]
    fn typed_contents_are_what_raw_ones_are(values in prop::array::uniform3(any::<i16>())) {
        let spec = of(Datatype::Int16);
        let contents = InferTensorContents { int_contents: values.map(i32::from).to_vec(), ..Default::default() };
        let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let typed = read(&spec, 0, Source::Typed(Some(&contents)), 1, 1).unwrap();
        prop_assert!(typed == read(&spec, 0, Source::Raw(&raw.clone().into()), 1, 1).unwrap());
    }

    #[test]
    fn the_fast_answer_is_the_slow_one(
        bits in prop::collection::vec(any::<u32>(), 6),
        small in prop::collection::vec((0_u8..12).prop_map(|n| f32::from(n) / 2.0), 6),
        which in prop::collection::vec(prop::bool::weighted(0.05), 6),
        accepts in prop::array::uniform3(any::<bool>()),
    ) {
        let [nan, infinity, subnormal] = accepts;
        let mut table = spec("FP32", COLUMNS);
        (table.accepts_nan, table.accepts_infinity, table.accepts_subnormal) = (nan, infinity, subnormal);
        let plain = InputSpec { columns: Vec::new(), relations: Vec::new(), ..table.clone() };
        let mixed = bits.iter().zip(&small).zip(&which);
        let values: Vec<f32> = mixed.map(|((bits, small), odd)| if *odd { f32::from_bits(*bits) } else { *small }).collect();
        for spec in [&table, &plain] {
            let data = Data::Fp32(values.clone());
            prop_assert_eq!(is_sound(spec, &data), find(spec, &data, &mut |_| ControlFlow::Break(())).is_continue());
            let data = Data::Fp64(values.iter().map(|v| f64::from(*v)).collect());
            // The contract is of another datatype: no number of it is listed.
            let found = find(spec, &data, &mut |_| ControlFlow::Break(())).is_continue();
            prop_assert_eq!(is_sound(spec, &data), found);
        }
    }
}
