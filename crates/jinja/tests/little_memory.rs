//! Templates with little memory: each is parsed or refused, and no allocation that cannot be refused exceeds the memory.

use std::alloc::System;

use cap::Cap;
use jinja::{ErrorKind, Template};

/// Ends the process if an allocation that cannot be refused fails.
#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Pieces that take much memory for their length; each is repeated in the middle of a template.
const DENSE: [(&str, &str, &str); 26] = [
    ("", "a{##}", ""),
    ("", "{{a}}", ""),
    ("", "{%if a%}b{%endif%}", ""),
    ("", "{%for a in b%}c{%endfor%}", ""),
    ("", "{%set a=b%}", ""),
    ("", "{%set a%}b{%endset%}", ""),
    ("", "{%macro a(b=c)%}d{%endmacro%}", ""),
    ("", "{%with a=b%}c{%endwith%}", ""),
    ("", "{%filter a%}b{%endfilter%}", ""),
    ("", "{%call a()%}b{%endcall%}", ""),
    ("{%if a%}", "{%elif a%}b", "{%endif%}"),
    ("{{a", "()", "}}"),
    ("{{a", "(a)", "}}"),
    ("{{a", "(a=a)", "}}"),
    ("{{a", "|a", "}}"),
    ("{{a", "|a(a)", "}}"),
    ("{{a", ".a", "}}"),
    ("{{a", "[:]", "}}"),
    ("{{a", " is a 1", "}}"),
    ("{{a", "+a", "}}"),
    ("{{a", " or a and a", "}}"),
    ("{{[", "1,", "1]}}"),
    ("{{[", "[a],", "1]}}"),
    ("{{ {", "1:1,", "1:1} }}"),
    ("{{ ", "'' ", "}}"),
    ("{{ ", "'a'", " }}"),
];

#[test]
fn no_template_takes_what_is_not_there() {
    for (begin, piece, end) in DENSE {
        let source = format!("{begin}{}{end}", piece.repeat(20_000 / piece.len()));
        let (mut n_refused, mut heap_bytes) = (0, 8 << 10);
        let parsed = loop {
            // What ends the process says what it was.
            eprint!("\r{piece} with {heap_bytes} bytes");
            ALLOCATOR.set_limit(ALLOCATOR.allocated() + heap_bytes).unwrap();
            let parsed = Template::parse(&source);
            ALLOCATOR.set_limit(usize::MAX).unwrap();
            match parsed {
                Err(error) if error.kind == ErrorKind::NoMemory => n_refused += 1,
                parsed => break parsed,
            }
            heap_bytes += heap_bytes / 16;
        };
        println!("{piece}: {} bytes for each", heap_bytes / source.len());
        assert!(n_refused > 10 && heap_bytes < 700 * source.len(), "{piece}: {heap_bytes} bytes");
        assert!(parsed.is_ok(), "{piece}: {:?}", parsed.err());
    }
}
