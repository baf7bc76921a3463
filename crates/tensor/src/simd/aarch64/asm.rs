//! Macros for the loops in assembly: single instructions, and the code that surrounds several loops.

/// An instruction on vectors of four 32-bit lanes.
macro_rules! fours {
    ($name:literal $first:literal $($more:literal)+) => {
        concat!($name, " ", $first, ".4s", $(", ", $more, ".4s",)+ "\n")
    };
}

/// An instruction on vectors of 16 bytes, followed by a shift in bits if it takes one.
macro_rules! bytes {
    ($name:literal $first:literal $($more:literal)+ $(, $bits:literal)?) => {
        concat!($name, " ", $first, ".16b", $(", ", $more, ".16b",)+ $(", #", $bits,)? "\n")
    };
}

/// `FMUL` or `FMLA` by element.
macro_rules! by_lane {
    ($name:literal $v:literal $w:literal $x:literal $lane:literal) => {
        concat!($name, " ", $v, ".4s, ", $w, ".4s, ", $x, ".s[", $lane, "]\n")
    };
}

/// Clears these registers.
macro_rules! zeros {
    ($($v:literal)+) => { concat!($("movi ", $v, ".2d, #0\n",)+) };
}

/// Loads the next 64 bytes at `$p` into four consecutive registers and advances `$p`.
macro_rules! next_four {
    ($a:literal $b:literal $c:literal $d:literal from $p:literal) => {
        concat!("ld1 {{", $a, ".16b, ", $b, ".16b, ", $c, ".16b, ", $d, ".16b}}, [{", $p, "}], #64\n")
    };
}

/// `SDOT` by element.
macro_rules! sdot {
    ($sums:literal $w:literal $x:literal $lane:literal) => {
        concat!("sdot ", $sums, ".4s, ", $w, ".16b, ", $x, ".4b[", $lane, "]\n")
    };
}

/// `SMMLA`.
macro_rules! smmla {
    ($sums:literal $a:literal $b:literal) => {
        concat!("smmla ", $sums, ".4s, ", $a, ".16b, ", $b, ".16b\n")
    };
}

/// `LDP` or `STP` of two registers.
macro_rules! two_at {
    ($name:literal $a:literal $b:literal $at:literal) => {
        concat!($name, " ", $a, ", ", $b, ", [{", $at, "}]\n")
    };
}

/// Loads or stores v24 to v31: eight sums of each of four tokens, at `s0` to `s3`.
macro_rules! sums {
    ($name:literal) => {
        concat!(
            two_at!($name "q24" "q25" "s0"),
            two_at!($name "q26" "q27" "s1"),
            two_at!($name "q28" "q29" "s2"),
            two_at!($name "q30" "q31" "s3"),
        )
    };
}

/// `asm!` that overwrites the ranges of vector registers named before the semicolon. Its options follow in parentheses.
macro_rules! asm_writing {
    (v0_v7 $($rest:tt)*) => {
        asm_writing!($($rest)* out("v0") _, out("v1") _, out("v2") _, out("v3") _,
            out("v4") _, out("v5") _, out("v6") _, out("v7") _,)
    };
    (v8_v11 $($rest:tt)*) => {
        asm_writing!($($rest)* out("v8") _, out("v9") _, out("v10") _, out("v11") _,)
    };
    (v12_v15 $($rest:tt)*) => {
        asm_writing!($($rest)* out("v12") _, out("v13") _, out("v14") _, out("v15") _,)
    };
    (v16_v23 $($rest:tt)*) => {
        asm_writing!($($rest)* out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _,)
    };
    (v24_v31 $($rest:tt)*) => {
        asm_writing!($($rest)* out("v24") _, out("v25") _, out("v26") _, out("v27") _,
            out("v28") _, out("v29") _, out("v30") _, out("v31") _,)
    };
    (; $options:tt $($rest:tt)*) => { core::arch::asm!($($rest)* options $options) };
}

/// Adds the products of `$len` groups of columns to the `$sums` of four tokens, which are in v24 to v31 during the loop. `$one`
/// is the code for one group, `$four` for four groups.
macro_rules! add_groups {
    ($extension:literal, $one:expr, $four:expr, $len:ident, $sums:ident, $($operands:tt)+) => {
        asm_writing!(
            v0_v7 v8_v11 v12_v15 v16_v23 v24_v31; (nostack)
            concat!(".arch_extension ", $extension),
            sums!("ldp"),
            "ands {single}, {len}, #3",
            "b.eq 3f",
            "2:",
            $one,
            "subs {single}, {single}, #1",
            "b.ne 2b",
            "3:",
            "lsr {len}, {len}, #2",
            "cbz {len}, 5f",
            "4:",
            $four,
            "subs {len}, {len}, #1",
            "b.ne 4b",
            "5:",
            sums!("stp"),
            $($operands)+
            len = inout(reg) $len => _,
            single = out(reg) _,
            s0 = in(reg) $sums[0],
            s1 = in(reg) $sums[1],
            s2 = in(reg) $sums[2],
            s3 = in(reg) $sums[3],
        )
    };
}

/// The integer products of a block of 256 columns, summed in v24 to v31. `$part` is the code for 32 columns.
macro_rules! products_of_block {
    ($extension:literal, $part:expr, $($operands:tt)+) => {{
        let (a, b, c, d, e, f, g, h);
        asm_writing!(
            v0_v7 v8_v11 v12_v15 v16_v23; (nostack, readonly)
            concat!(".arch_extension ", $extension),
            zeros!("v24" "v25" "v26" "v27" "v28" "v29" "v30" "v31"),
            "2:",
            $part,
            "subs {len}, {len}, #1",
            "b.ne 2b",
            $($operands)+
            len = inout(reg) 8_usize => _,
            out("v24") a, out("v25") b, out("v26") c, out("v27") d,
            out("v28") e, out("v29") f, out("v30") g, out("v31") h,
        );
        [a, b, c, d, e, f, g, h]
    }};
}

pub(super) use {
    add_groups, asm_writing, by_lane, bytes, fours, next_four, products_of_block, sdot, smmla, sums, two_at,
    zeros,
};
