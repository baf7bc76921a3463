// The map with which the MMU is turned on: the image at its place, in blocks of 2 MiB. boot_map.rs takes over
// from it as soon as Rust runs.

// Memory types: 0 is device nGnRE, 1 is normal write-back cacheable.
.equ MAIR_VALUE, 0xff04
// TTBR0 only, 48-bit addresses, 4 KiB pages, table walks cacheable and inner shareable.
.equ TCR_VALUE, 16 | (1 << 8) | (1 << 10) | (3 << 12) | (1 << 23)
// The bits that are RES1, then MMU, data cache, SP alignment check, instruction cache.
.equ SCTLR_MMU_ON, 0x30d00800 | (1 << 0) | (1 << 2) | (1 << 3) | (1 << 12)
// Valid, normal memory, inner shareable, accessed, not global (the final map has another ASID).
.equ RAM_BLOCK, 0x1 | (1 << 2) | (3 << 8) | (1 << 10) | (1 << 11)
.equ TABLE, 0x3

.section .text.boot_map, "ax"

// Makes the map of the image, which begins at x21. Several cores may do this at once: they write the same.
.global make_boot_map
make_boot_map:
    mov     x9, x30
    adrp    x0, boot_tables
    bl      clean_tables
    add     x1, x0, #4096                   // level 1
    orr     x2, x1, #TABLE
    ubfx    x3, x21, #39, #9
    str     x2, [x0, x3, lsl #3]
    ldr     x4, =IMAGE_BYTES
    add     x4, x21, x4                     // end
    and     x5, x21, #~((1 << 21) - 1)      // block
    lsr     x6, x21, #30                    // the GiB of the first level-2 table; a second one is for the next
    ldr     x10, =RAM_BLOCK
1:
    lsr     x7, x5, #30
    add     x8, x0, #(2 * 4096)
    cmp     x7, x6
    b.eq    2f
    add     x8, x8, #4096
2:
    orr     x2, x8, #TABLE
    and     x7, x7, #511
    str     x2, [x1, x7, lsl #3]
    orr     x2, x5, x10
    ubfx    x7, x5, #21, #9
    str     x2, [x8, x7, lsl #3]
    add     x5, x5, #(1 << 21)
    cmp     x5, x4
    b.lo    1b
    dsb     sy
    mov     x30, x9
    b       invalidate_tables

// What the loader may have left in caches must not be written over the tables later on, nor be found in
// their stead. Both take the tables in x0 and keep it.
.macro for_each_line operation
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4                 // DminLine: the line's size in words, as a power of two
    mov     x3, #4
    lsl     x2, x3, x2
    add     x3, x0, #(4 * 4096)
    mov     x4, x0
1:
    dc      \operation, x4
    add     x4, x4, x2
    cmp     x4, x3
    b.lo    1b
    dsb     sy
    ret
.endm
clean_tables:
    for_each_line civac
invalidate_tables:
    for_each_line ivac

// MMU and caches on with this map, floating point and exception vectors.
.global enable_mmu
enable_mmu:
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
    adrp    x0, boot_tables
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
    adrp    x0, exception_vectors
    add     x0, x0, :lo12:exception_vectors
    msr     vbar_el1, x0
    isb
    ret

// One table of level 0, one of level 1, two of level 2: all zeros in the file.
.section .data.boot_tables, "aw"
.balign 4096
boot_tables:
    .fill   4 * 512, 8, 0
