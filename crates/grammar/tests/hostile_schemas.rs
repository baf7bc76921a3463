//! The cost of schemas that are designed to take unlimited time or memory.

mod schemas;

use grammar::Grammar;
use grammar::json_schema::{Options, SchemaError, Why};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// The stack of the kernel's boot core has 328 KiB, of which other functions use a part.
const STACK_BYTES: usize = 160 << 10;
/// The most bytes that may be in use at once for a schema, in addition to its text.
const MOST_BYTES: usize = 48 << 20;

/// A single test, because it measures the memory of the whole process; its stack is as small as the kernel's.
#[test]
fn hostile_schemas_are_refused_or_bounded() {
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(check).unwrap().join().unwrap();
}

fn check() {
    let mut n_grammars = 0;
    for (name, schema) in schemas::hostile() {
        for options in [Options::VALID, Options::GENERATED] {
            ALLOCATOR.reset_peak_usage();
            let before = ALLOCATOR.current_usage();
            let start = std::time::Instant::now();
            let result = Grammar::of_json_schema(&schema, options);
            let (ms, bytes) = (start.elapsed().as_millis(), ALLOCATOR.peak_usage() - before);
            let what = match result {
                Ok(grammar) => {
                    n_grammars += 1;
                    format!("{} instructions", grammar.len())
                }
                Err(error) => error.to_string().chars().take(150).collect(),
            };
            println!("{ms:5} ms, {:6} KiB: {name}: {what}", bytes >> 10);
            assert!(bytes <= MOST_BYTES + 24 * schema.len(), "{name}: {bytes}");
        }
    }
    assert!(n_grammars > 10, "{n_grammars}");
    cycles_are_named();
}

fn cycles_are_named() {
    for (schema, pointer) in [
        (r##"{"$ref":"#"}"##, ""),
        (r##"{"items":{"$ref":"#/$defs/a"},"$defs":{"a":{"allOf":[{"$ref":"#/$defs/a"}]}}}"##, "/$defs/a"),
    ] {
        let error = Grammar::of_json_schema(schema, Options::VALID).err();
        assert_eq!(error, Some(SchemaError::At { pointer: pointer.into(), why: Why::Cyclic }), "{schema}");
    }
}
