//! Files that are written can be read again, with the same contents.

use llm::gguf::{DEFAULT_ALIGNMENT, Gguf, GgufError, GgufWriter, Value, WriteError};
use llm::quant::GgmlType;
use proptest::prelude::*;

/// Writes a file whose tensors contain `data`, in pieces of `piece_bytes`.
fn write(writer: GgufWriter, data: &[Vec<u8>], piece_bytes: usize) -> Result<Vec<u8>, WriteError<String>> {
    let mut file = Vec::new();
    let mut tensors = writer.write_header(|bytes: &[u8]| {
        file.extend_from_slice(bytes);
        Ok(())
    })?;
    for tensor in data {
        for piece in tensor.chunks(piece_bytes) {
            tensors.write(piece)?;
        }
    }
    tensors.finish()?;
    Ok(file)
}

#[test]
fn every_type_comes_back() {
    let mut writer = GgufWriter::new();
    let scalars = [
        ("u8", Value::U8(200)),
        ("i8", Value::I8(-100)),
        ("u16", Value::U16(60_000)),
        ("i16", Value::I16(-30_000)),
        ("u32", Value::U32(4_000_000_000)),
        ("i32", Value::I32(-2_000_000_000)),
        ("u64", Value::U64(u64::MAX)),
        ("i64", Value::I64(i64::MIN)),
        ("f32", Value::F32(-1.5)),
        ("f64", Value::F64(1e300)),
        ("bool", Value::Bool(true)),
        ("string", Value::String("grüße".into())),
    ];
    for (key, value) in scalars {
        writer.put(key, value).unwrap();
    }
    writer.put_strings("strings", [&b"a"[..], b"", b"\xff\xfe"].into_iter()).unwrap();
    writer.put_i32s("i32s", &[-1, 0, i32::MAX]).unwrap();
    writer.put_f32s("f32s", &[0.5, f32::INFINITY]).unwrap();
    let file = write(writer, &[], 1).unwrap();

    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    assert_eq!(gguf.version(), 3);
    assert_eq!(gguf.alignment(), DEFAULT_ALIGNMENT);
    for (key, value) in scalars {
        assert_eq!(gguf.get(key), Some(value));
    }
    let strings: Vec<&[u8]> = gguf.require_array("strings").unwrap().strings().unwrap().collect();
    assert_eq!(strings, [&b"a"[..], b"", b"\xff\xfe"]);
    let i32s = gguf.require_array("i32s").unwrap();
    assert_eq!(i32s.i32s().unwrap().collect::<Vec<_>>(), [-1, 0, i32::MAX]);
    assert!(i32s.u32s().is_none(), "-1 is no u32");
    assert!(i32s.f32s().is_none());
    let f32s = gguf.require_array("f32s").unwrap();
    assert_eq!(f32s.f32s().unwrap().collect::<Vec<_>>(), [0.5, f32::INFINITY]);
    let values: Vec<Value<'_>> = f32s.values().collect();
    assert_eq!(values, [Value::F32(0.5), Value::F32(f32::INFINITY)]);

    // An array copied from one file to another stays what it is.
    let mut copy = GgufWriter::new();
    for (key, value) in gguf.metadata() {
        copy.put(key, value).unwrap();
    }
    assert_eq!(write(copy, &[], 1).unwrap(), file);
}

#[test]
fn typed_getters_convert_what_fits_and_name_what_does_not() {
    let mut writer = GgufWriter::new();
    writer.put("llama.wide", Value::U64(7)).unwrap();
    writer.put("llama.negative", Value::I32(-1)).unwrap();
    writer.put("llama.huge", Value::U64(1 << 32)).unwrap();
    writer.put("llama.double", Value::F64(0.5)).unwrap();
    writer.put_str("llama.text", "x").unwrap();
    let file = write(writer, &[], 1).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();

    assert_eq!(gguf.u32_value("llama.wide"), Ok(Some(7)));
    assert_eq!(gguf.u32_value(("llama", "wide")), Ok(Some(7)));
    assert_eq!(gguf.u32_value(("llam", "a.wide")), Ok(None));
    assert_eq!(gguf.require_f32(("llama", "double")), Ok(0.5));
    assert_eq!(gguf.require_str("llama.text"), Ok("x"));
    let message = |error: GgufError| error.to_string();
    assert_eq!(
        gguf.u32_value("llama.negative").map_err(message),
        Err("the value of `llama.negative` does not fit 32 bits without sign".into())
    );
    assert!(matches!(gguf.u32_value("llama.huge"), Err(GgufError::OutOfRange { .. })));
    assert_eq!(
        gguf.u32_value(("llama", "text")).map_err(message),
        Err("the value of `llama.text` is of type string, but an integer is needed".into())
    );
    assert!(matches!(gguf.f32_value("llama.wide"), Err(GgufError::WrongType { .. })));
    assert!(matches!(gguf.bool_value("llama.wide"), Err(GgufError::WrongType { .. })));
    assert!(matches!(gguf.str_value("llama.wide"), Err(GgufError::WrongType { .. })));
    assert!(matches!(gguf.array_value("llama.wide"), Err(GgufError::WrongType { .. })));
    assert_eq!(
        gguf.require_u32(("llama", "block_count")).map_err(message),
        Err("the key `llama.block_count` is missing".into())
    );
}

#[test]
fn the_header_is_enough_for_everything_but_data() {
    let mut writer = GgufWriter::new();
    writer.declare_tensor("a", GgmlType::Q4_0, &[64, 3]).unwrap();
    writer.declare_tensor("b", GgmlType::F32, &[5]).unwrap();
    let data = [vec![1; 2 * 3 * 18], vec![2; 20]];
    let file = write(writer, &data, 7).unwrap();
    let whole = Gguf::parse(&file, file.len() as u64).unwrap();
    let header = &file[..whole.data_offset() as usize];
    let gguf = Gguf::parse(header, file.len() as u64).unwrap();
    let b = *gguf.tensor("b").unwrap();
    assert_eq!((b.shape(), b.offset, b.size_bytes, b.n_elements()), (&[5][..], 128, 20, 5));
    assert_eq!(
        gguf.tensor_data(&b),
        Err(GgufError::Truncated {
            needed_bytes: gguf.data_offset() + 148,
            available_bytes: header.len() as u64
        })
    );
    assert_eq!(whole.tensor_data(&b), Ok(&data[1][..]));
    assert_eq!(whole.end_offset(), gguf.data_offset() + 148);

    // Reading more and more of the beginning, as from a disk, ends at the header's end.
    let mut len = 4;
    loop {
        match Gguf::parse(&file[..len], file.len() as u64) {
            Ok(_) => break,
            Err(GgufError::Truncated { needed_bytes, available_bytes }) => {
                assert_eq!(available_bytes, len as u64);
                assert!(needed_bytes > len as u64 && needed_bytes <= header.len() as u64);
                len = needed_bytes as usize;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_file_with_its_own_alignment_can_be_copied() {
    let mut writer = GgufWriter::new();
    writer.declare_tensor("a", GgmlType::F32, &[3]).unwrap();
    writer.declare_tensor("b", GgmlType::F32, &[20]).unwrap();
    writer.put_u32("general.alignment", 256).unwrap();
    let file = write(writer, &[vec![1; 12], vec![2; 80]], 5).unwrap();
    let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
    assert_eq!((gguf.alignment(), gguf.data_offset() % 256), (256, 0));
    assert_eq!(gguf.tensor("b").unwrap().offset, 256);
    assert_eq!(gguf.tensor_data(gguf.tensor("b").unwrap()), Ok(&[2; 80][..]));
    assert_eq!(file.len() as u64, gguf.data_offset() + 512);

    for alignment in [0, 4, 48] {
        let mut writer = GgufWriter::new();
        writer.put_u32("general.alignment", alignment).unwrap();
        assert_eq!(write(writer, &[], 1), Err(WriteError::Header(GgufError::BadAlignment { alignment })));
    }
}

/// The seeds of the fuzz corpus, written by hand byte by byte.
#[test]
fn files_of_other_writers_are_read() {
    let parse = |bytes: &'static [u8]| Gguf::parse(bytes, bytes.len() as u64).unwrap();
    let types = parse(include_bytes!("../../../../fuzz/corpus/gguf/types"));
    assert_eq!((types.version(), types.alignment(), types.metadata().len()), (3, 64, 14));
    assert_eq!(types.get("b"), Some(Value::I8(-1)));
    let inner: Vec<Vec<&[u8]>> = types
        .require_array("j")
        .unwrap()
        .arrays()
        .unwrap()
        .map(|array| array.strings().unwrap().collect())
        .collect();
    assert_eq!(inner, [[b"p", b"q"]]);
    assert_eq!(types.end_offset(), 320);

    let tensors = parse(include_bytes!("../../../../fuzz/corpus/gguf/tensors"));
    assert_eq!(tensors.version(), 2);
    let shapes: Vec<(&str, &[u64], u64, u64)> = tensors
        .tensors()
        .iter()
        .map(|tensor| (tensor.name, tensor.shape(), tensor.n_elements(), tensor.size_bytes))
        .collect();
    assert_eq!(shapes, [("x", &[4][..], 4, 16), ("y", &[32, 2], 64, 36), ("z", &[], 1, 8)]);
}

#[test]
fn unreadable_files_are_not_written() {
    let mut twice = GgufWriter::new();
    twice.put_u32("a.b", 1).unwrap();
    twice.put_u32("a.b", 1).unwrap();
    assert!(matches!(write(twice, &[], 1), Err(WriteError::Header(GgufError::DuplicateKey { .. }))));

    let mut short = GgufWriter::new();
    short.declare_tensor("a", GgmlType::F32, &[8]).unwrap();
    assert_eq!(
        write(short, &[vec![0; 31]], 40),
        Err(WriteError::TensorSize { index: 0, declared_bytes: 32, written_bytes: 31 })
    );

    let mut long = GgufWriter::new();
    long.declare_tensor("a", GgmlType::F32, &[8]).unwrap();
    assert!(matches!(write(long, &[vec![0; 33]], 40), Err(WriteError::TensorSize { written_bytes: 33, .. })));

    let mut writer = GgufWriter::new();
    assert!(matches!(
        writer.declare_tensor("a", GgmlType::Q4_0, &[33]),
        Err(GgufError::PartialBlock { row_len: 33, .. })
    ));
    assert!(matches!(
        writer.declare_tensor("a", GgmlType::F32, &[1, 1, 1, 1, 1]),
        Err(GgufError::TooManyDimensions { n_dims: 5, .. })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn tensors_come_back(
        shapes in prop::collection::vec((0usize..4, 1u64..5, 1u64..4, 1u64..3), 0..8),
        piece_bytes in 1usize..100,
    ) {
        let types = [GgmlType::F32, GgmlType::F16, GgmlType::Q4_0, GgmlType::Q8_0];
        let mut writer = GgufWriter::new();
        let mut data = Vec::new();
        for (index, &(ty, blocks, rows, matrices)) in shapes.iter().enumerate() {
            let ty = types[ty];
            let dims = [blocks * ty.block_len() as u64, rows, matrices];
            writer.declare_tensor(&format!("t{index}"), ty, &dims).unwrap();
            let len = blocks as usize * ty.block_bytes() * (rows * matrices) as usize;
            data.push(vec![index as u8; len]);
        }
        let file = write(writer, &data, piece_bytes).unwrap();
        let gguf = Gguf::parse(&file, file.len() as u64).unwrap();
        prop_assert_eq!(gguf.tensors().len(), data.len());
        for (index, expected) in data.iter().enumerate() {
            let tensor = gguf.tensor(&format!("t{index}")).unwrap();
            prop_assert_eq!(gguf.tensor_data(tensor).unwrap(), &expected[..]);
            prop_assert_eq!((gguf.data_offset() + tensor.offset) % 32, 0);
        }
    }
}
