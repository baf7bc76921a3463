// The first instructions of every core. The boot core: image header, drop to EL1, MMU on, stack, bss, then
// Rust. The others, which PSCI starts here later: the same, with a map and stacks made by then.
//
// Nothing is written to memory, and nothing read that the boot core wrote, before the MMU and the
// caches are on, so no stale cache line can shadow anything.

// Memory types: 0 is device nGnRE, 1 is normal write-back cacheable.
.equ MAIR_VALUE, 0xff04
// TTBR0 only, 48-bit addresses, 4 KiB pages, table walks cacheable and inner shareable.
.equ TCR_VALUE, 16 | (1 << 8) | (1 << 10) | (3 << 12) | (1 << 23)
// The bits that are RES1, then MMU, data cache, SP alignment check, instruction cache.
.equ SCTLR_MMU_OFF, 0x30d00800
.equ SCTLR_MMU_ON, SCTLR_MMU_OFF | (1 << 0) | (1 << 2) | (1 << 3) | (1 << 12)
// 1 GiB blocks: valid, accessed, not global (the final map has another ASID).
.equ BOOT_DEVICE_BLOCK, 0x1 | (1 << 10) | (1 << 11) | (3 << 53)
.equ BOOT_RAM_BLOCK, 0x1 | (1 << 2) | (3 << 8) | (1 << 10) | (1 << 11)

// Exceptions run on their own stack (SP_EL1), everything else on SP_EL0: a handler still has a stack
// when the main one has overflowed. Two registers that nothing else uses keep what belongs to this
// core: TPIDR_EL1 the top of the exception stack, TPIDRRO_EL0 the core's number.
.macro use_stacks main, exception, core
    msr     spsel, #1
    mov     sp, \exception
    msr     spsel, #0
    mov     sp, \main
    msr     tpidr_el1, \exception
    msr     tpidrro_el0, \core
.endm

// Header of the Linux arm64 boot protocol (Documentation/arch/arm64/booting.rst). Boot loaders
// that know it pass the physical address of the device tree in x0; QEMU passes 0 for an ELF file.
.section .text.head, "ax"
.global _start
_start:
    b       entry
    .long   0
    .quad   IMAGE_TEXT_OFFSET
    .quad   IMAGE_BYTES                     // covers bss and stacks
    .quad   0x2                             // little endian, 4 KiB pages, near the start of RAM
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

.section .text.entry, "ax"
entry:
    msr     daifset, #0xf
    mov     x19, x0

    bl      enter_el1
    bl      enable_mmu

    adrp    x0, __main_stack_top
    add     x0, x0, :lo12:__main_stack_top
    adrp    x1, __exception_stack_top
    add     x1, x1, :lo12:__exception_stack_top
    mov     x2, #0
    use_stacks x0, x1, x2

    adrp    x0, __bss_start
    add     x0, x0, :lo12:__bss_start
    adrp    x1, __bss_end
    add     x1, x1, :lo12:__bss_end
2:
    cmp     x0, x1
    b.hs    3f
    stp     xzr, xzr, [x0], #16
    b       2b
3:
    mov     x0, x19
    mov     x29, xzr
    mov     x30, xzr
    bl      kernel_main
4:
    wfe
    b       4b

// Where PSCI starts another core: x0 is the address of its `Start` (secondary.rs).
.global secondary_entry
secondary_entry:
    msr     daifset, #0xf
    mov     x19, x0
    bl      enter_el1
    bl      enable_mmu

    ldp     x0, x3, [x19]                   // translation table base, main stack
    ldp     x4, x2, [x19, #16]              // exception stack, core number
    msr     ttbr0_el1, x0
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    use_stacks x3, x4, x2
    mov     x0, x2
    mov     x29, xzr
    mov     x30, xzr
    bl      secondary_main
5:
    wfe
    b       5b

// MMU and caches on with a map for the first moments, floating point and exception vectors.
enable_mmu:
    // Devices below 1 GiB, the first 1 GiB of RAM.
    ldr     x0, =MAIR_VALUE
    msr     mair_el1, x0
    ldr     x0, =TCR_VALUE
    mrs     x1, id_aa64mmfr0_el1
    and     x1, x1, #0xf                    // PARange
    cmp     x1, #5                          // 48 bits: all that 4 KiB pages can name here
    mov     x2, #5
    csel    x1, x1, x2, lo
    bfi     x0, x1, #32, #3                 // IPS
    msr     tcr_el1, x0
    adrp    x0, boot_level_0_table
    add     x0, x0, :lo12:boot_level_0_table
    msr     ttbr0_el1, x0
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x0, =SCTLR_MMU_ON
    msr     sctlr_el1, x0
    isb

    // Floating point and SIMD on: compiled code uses them everywhere.
    mov     x0, #(3 << 20)
    msr     cpacr_el1, x0
    adr     x0, exception_vectors
    msr     vbar_el1, x0
    isb
    ret

// If at EL2, to EL1 with the hypervisor's traps off; returns to its caller at EL1.
enter_el1:
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.eq    1f
    ret
1:
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
    ldr     x0, =SCTLR_MMU_OFF
    msr     sctlr_el1, x0
    mov     x0, #0x3c5                      // EL1, SP_EL1, everything masked
    msr     spsr_el2, x0
    msr     elr_el2, x30
    eret

// 48-bit addresses: one entry of level 0 names a table of 1 GiB blocks.
.section .rodata.boot_tables, "a"
.balign 4096
boot_level_0_table:
    .quad   boot_level_1_table + 0x3        // table
    .fill   511, 8, 0
.balign 4096
boot_level_1_table:
    .quad   BOOT_DEVICE_BLOCK
    .quad   RAM_START + BOOT_RAM_BLOCK
    .fill   510, 8, 0
