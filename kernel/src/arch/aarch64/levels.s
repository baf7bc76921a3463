// The way down to EL1 from whatever exception level a core starts at, and what remains at the levels above:
// nothing at EL2; at EL3 a monitor that reads and writes secure registers for the kernel.

.section .text.levels, "ax"

// EL1 and the others: the bits that are RES1; little-endian, MMU and caches off.
.macro set_sctlr level, low, high
    movz    x0, #\low
    movk    x0, #\high, lsl #16
    msr     sctlr_el\level, x0
.endm

// Returns to its caller at EL1, with the MMU off. Changes x0 to x2. Uses no literals before the level's
// endianness is known.
.global enter_el1
enter_el1:
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.eq    from_el2
    b.hi    from_el3
    set_sctlr 1, 0x0800, 0x30d0
    adr     x0, parking_vectors
    msr     vbar_el1, x0
    isb
    ret

// To EL2, or EL1 where there is none, in the non-secure state.
from_el3:
    set_sctlr 3, 0x0830, 0x30c5
    adr     x0, monitor_vectors
    msr     vbar_el3, x0
    isb
    mrs     x1, id_aa64pfr0_el1
    ubfx    x2, x1, #8, #4                  // EL2
    movz    x0, #0x0431                     // SCR_EL3: NS, the bits that are RES1, RW: AArch64 below
    movk    x0, #0x0003, lsl #16            // APK, API: pointer authentication not trapped
    cbz     x2, 1f
    orr     x0, x0, #(1 << 8)               // HCE: HVC is allowed
1:
    msr     scr_el3, x0
    msr     cptr_el3, xzr                   // floating point not trapped
    msr     mdcr_el3, xzr                   // performance counters neither
    ubfx    x1, x1, #24, #4                 // GIC system registers
    cbz     x1, 2f
    isb
    mrs     x0, S3_6_C12_C12_5              // ICC_SRE_EL3
    orr     x0, x0, #0xf                    // system registers, for the levels below too
    msr     S3_6_C12_C12_5, x0
2:
    mov     x0, #0x3c9                      // EL2, SP_EL2, everything masked
    cbnz    x2, 3f
    mov     x0, #0x3c5                      // EL1, SP_EL1
3:
    msr     spsr_el3, x0
    adr     x0, enter_el1
    msr     elr_el3, x0
    eret

// With the hypervisor's traps off.
from_el2:
    set_sctlr 2, 0x0830, 0x30c5
    adr     x0, parking_vectors
    msr     vbar_el2, x0
    msr     vbar_el1, x0
    mov     x0, #(1 << 31)                  // HCR_EL2.RW: EL1 is AArch64
    msr     hcr_el2, x0
    isb
    mov     x0, #3                          // CNTHCTL_EL2: counter and timer open to EL1
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    mov     x0, #0x33ff                     // CPTR_EL2: floating point not trapped
    msr     cptr_el2, x0
    msr     hstr_el2, xzr
    msr     vttbr_el2, xzr
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0

    mrs     x0, id_aa64dfr0_el1
    ubfx    x0, x0, #8, #4                  // PMUVer
    cbz     x0, 2f
    cmp     x0, #0xf
    b.eq    2f
    mrs     x0, pmcr_el0
    ubfx    x0, x0, #11, #5                 // all event counters belong to EL1
    msr     mdcr_el2, x0
2:
    mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #24, #4                 // GIC system registers
    cbz     x0, 3f
    mrs     x0, S3_4_C12_C9_5               // ICC_SRE_EL2
    mov     x1, #0x9                        // SRE, Enable: EL1 may use them
    orr     x0, x0, x1
    msr     S3_4_C12_C9_5, x0
    isb
    msr     S3_4_C12_C11_0, xzr             // ICH_HCR_EL2: no virtual interrupts
3:
    set_sctlr 1, 0x0800, 0x30d0
    mov     x0, #0x3c5                      // EL1, SP_EL1, everything masked
    msr     spsr_el2, x0
    msr     elr_el2, x30
    eret

// An exception that nothing handles, at a level or a time without a stack: the core stops.
.balign 0x800
parking_vectors:
.rept 16
    .balign 0x80
1:
    wfi
    b       1b
.endr

.balign 0x800
monitor_vectors:
.rept 8
    .balign 0x80
1:
    wfi
    b       1b
.endr
    // From a lower level in AArch64: `smc` of monitor.rs. Anything else stops the core.
    .balign 0x80
    mrs     x3, esr_el3
    lsr     x3, x3, #26                     // EC
    cmp     x3, #0x17                       // SMC from AArch64
    b.ne    2f
    cmp     x0, #2
    b.hi    1f
    b.eq    3f
    cbz     x0, 1f
    str     w2, [x1]
    dsb     sy
    eret
3:
    ldr     w0, [x1]
    eret
1:
    mov     x0, #-1                         // NOT_SUPPORTED (SMC calling convention, 5.1)
    eret
2:
    wfi
    b       2b
.rept 7
    .balign 0x80
1:
    wfi
    b       1b
.endr
