// The first instructions of every core. The boot core: image header, drop to EL1, MMU on, stack, bss,
// relocation, then Rust. UEFI firmware starts it at `efi_entry`, from where it comes here when it has left the firmware. The
// others, which PSCI starts here later: the same, with a map and stacks made by then.
//
// Before the MMU and the caches are on, nothing is written to memory but the boot map and an image that has to be
// moved (`align_image`): stale cache lines are kept away from both. Nothing is read that the boot core wrote.

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
// that know it pass the physical address of the device tree in x0; QEMU passes 0 for an ELF file. It is the header of a PE/COFF
// application as well (PE Format, Microsoft), as UEFI firmware starts them: the first instruction reads "MZ".
.section .text.head, "ax"
.global _start
_start:
    add     x13, x18, #0x16                 // "MZ"; has no effect
    b       entry
    .quad   0                               // text_offset
    .quad   IMAGE_BYTES + 4096              // covers bss and stacks, and a page for `align_image`
    .quad   0xa                             // little endian, 4 KiB pages, anywhere in RAM
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   pe_header - _start
pe_header:
    .ascii  "PE\0\0"
    .short  0xaa64                          // Machine: arm64
    .short  2                               // NumberOfSections
    .long   0, 0, 0                         // no time, no symbols
    .short  section_table - optional_header
    .short  0x206                           // executable; no line numbers, no debugging information; may be relocated
optional_header:
    .short  0x20b                           // PE32+
    .byte   0, 0                            // linker version
    .long   CODE_BYTES, DATA_FILE_BYTES, 0  // code, initialised data, uninitialised data
    .long   EFI_ENTRY_OFFSET
    .long   HEADER_BYTES                    // BaseOfCode
    .quad   0                               // ImageBase
    .long   0x1000, 0x200                   // SectionAlignment, FileAlignment
    .short  0, 0, 0, 0, 0, 0                // versions of the system, the image and the subsystem
    .long   0
    .long   IMAGE_BYTES                     // SizeOfImage
    .long   HEADER_BYTES                    // SizeOfHeaders
    .long   0                               // CheckSum
    .short  10                              // Subsystem: EFI application
    .short  0x100                           // DllCharacteristics: no section is both writable and executable
    .quad   0, 0, 0, 0                      // stack and heap
    .long   0
    .long   6                               // NumberOfRvaAndSizes, none of which is there
    .quad   0, 0, 0, 0, 0, 0
section_table:
    .ascii  ".text\0\0\0"
    .long   CODE_BYTES, HEADER_BYTES, CODE_BYTES, HEADER_BYTES
    .long   0, 0, 0
    .long   0x60000020                      // code, executable, readable
    // What is constant once its addresses are right, too.
    .ascii  ".data\0\0\0"
    .long   DATA_BYTES, DATA_OFFSET, DATA_FILE_BYTES, DATA_OFFSET
    .long   0, 0, 0
    .long   0xc0000040                      // initialised data, readable, writable
    // Where whoever builds the Image notes its digest: SHA-256 of it with zeros here.
    .org    _start + 512
.global image_digest
image_digest:
    .zero   32

.section .text.entry, "ax"
entry:
    mov     x22, xzr
entry_from_firmware:
    msr     daifset, #0xf
    mov     x19, x0
    mrs     x20, CurrentEL
    ubfx    x20, x20, #2, #2

    bl      clean_image
    bl      enter_el1
    adr     x21, _start
    tst     x21, #0xfff
    b.ne    align_image
aligned:
    bl      make_boot_map
    bl      enable_mmu

    // Some loaders let all cores in at once: the first one boots. The caches are on by now, without which
    // exclusive accesses promise nothing.
    adrp    x0, boot_claim
    add     x0, x0, :lo12:boot_claim
    mov     w1, #1
1:
    ldaxr   w2, [x0]
    cbnz    w2, park
    stxr    w2, w1, [x0]
    cbnz    w2, 1b

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
    bl      relocate
    mov     x0, x19
    mov     x1, x20
    mov     x2, x22
    mov     x29, xzr
    mov     x30, xzr
    bl      kernel_main
park:
    wfi
    b       park

// A loader that leaves its caches on may not have written the image back to memory, from which it is fetched once
// they are off. What is written back does not stay in the caches, where an image that is moved would be found as it was.
// x20 is the exception level.
clean_image:
    cmp     x20, #2
    b.hi    1f
    b.eq    2f
    mrs     x0, sctlr_el1
    b       3f
1:
    mrs     x0, sctlr_el3
    b       3f
2:
    mrs     x0, sctlr_el2
3:
    tbz     x0, #2, 5f                      // C: the data cache is on
    mrs     x1, ctr_el0
    ubfx    x1, x1, #16, #4                 // DminLine: the line's size in words, as a power of two
    mov     x2, #4
    lsl     x1, x2, x1
    adr     x0, _start
    adrp    x2, __bss_start
    add     x2, x2, #8192                   // the rest of its page, and of one more if the image is not on a page
4:
    dc      civac, x0
    add     x0, x0, x1
    cmp     x0, x2
    b.lo    4b
    dsb     sy
5:
    ret

// Where PSCI starts another core: x0 is the address of its `Start` (secondary.rs), within the image.
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
    b       park

// Where UEFI firmware starts the image (UEFI 2.10, 4.1): x0 is the image's handle, x1 the system table. Firmware has the MMU
// on, with memory where it is, and its own stack. An error is returned to it; otherwise the kernel goes on as if a boot
// loader had started it, but for x22, which is the address of what the firmware has told (uefi.rs).
.global efi_entry
efi_entry:
    stp     x29, x30, [sp, #-48]!
    stp     x18, x21, [sp, #16]
    stp     x0, x1, [sp, #32]
    adrp    x21, _start
    bl      relocate
    ldp     x0, x1, [sp, #32]
    bl      efi_main
    ldp     x18, x21, [sp, #16]
    ldp     x29, x30, [sp], #48
    cbz     x1, 1f
    mov     x22, x1
    b       entry_from_firmware
1:
    ret

// An image that is elsewhere than its addresses say: adds the difference to every address in its
// constants and variables. They are listed as SHT_RELR has it (System V ABI, chapter 4): an address as linked, then
// bitmaps of the 63 words behind the last one. x21 is where the image is.
relocate:
    adrp    x1, relocated_for
    add     x1, x1, :lo12:relocated_for
    ldr     x0, [x1]
    str     x21, [x1]
    subs    x0, x21, x0
    b.eq    5f
    ldr     x7, =IMAGE_ADDRESS
    sub     x7, x21, x7                     // from an address as linked to where that is
    adrp    x1, __relocations_start
    add     x1, x1, :lo12:__relocations_start
    adrp    x2, __relocations_end
    add     x2, x2, :lo12:__relocations_end
1:
    cmp     x1, x2
    b.hs    5f
    ldr     x3, [x1], #8
    tbnz    x3, #0, 2f
    add     x4, x3, x7
    ldr     x5, [x4]
    add     x5, x5, x0
    str     x5, [x4], #8
    b       1b
2:
    mov     x6, x4
    add     x4, x4, #(63 * 8)
3:
    lsr     x3, x3, #1
    cbz     x3, 1b
    tbz     x3, #0, 4f
    ldr     x5, [x6]
    add     x5, x5, x0
    str     x5, [x6]
4:
    add     x6, x6, #8
    b       3b
5:
    ret

// An image that does not begin on a page, so that ADRP misses: moves its file's part up to the next page,
// over memory that the header claims, and goes on there. That is one core's work: of several that enter such an image at
// once, it can be that none gets through. The loop runs from the image's end, since it
// overwrites the place where it is now. x21 is where the image is.
align_image:
    neg     x0, x21
    and     x0, x0, #0xfff                  // how far up
    ldr     x1, =IMAGE_FILE_BYTES
    add     x1, x21, x1                     // behind the last byte
    add     x2, x1, x0
    ldr     x3, =IMAGE_BYTES
    add     x3, x21, x3
    sub     x3, x3, #64
    mov     x4, x3
    adr     x5, 2f
    adr     x6, 3f
1:
    ldr     w7, [x5], #4
    str     w7, [x4], #4
    cmp     x5, x6
    b.lo    1b
    dsb     sy
    ic      iallu
    dsb     sy
    isb
    adr     x4, moved
    add     x4, x4, x0
    mov     x5, x21
    add     x21, x21, x0
    br      x3
2:
    ldrb    w6, [x1, #-1]!
    strb    w6, [x2, #-1]!
    cmp     x1, x5
    b.hi    2b
    dsb     sy
    ic      iallu
    dsb     sy
    isb
    br      x4
3:

// Goes on at the new place, x21, once nothing older is left of it in the caches.
moved:
    mrs     x1, ctr_el0
    ubfx    x1, x1, #16, #4                 // DminLine
    mov     x2, #4
    lsl     x1, x2, x1
    mov     x0, x21
    ldr     x2, =IMAGE_FILE_BYTES
    add     x2, x21, x2
1:
    dc      ivac, x0
    add     x0, x0, x1
    cmp     x0, x2
    b.lo    1b
    dsb     sy
    b       aligned

.section .data.boot_claim, "aw"
.balign 8
// Where the image would have to be for its addresses to be right.
relocated_for:
    .quad   IMAGE_ADDRESS
boot_claim:
    .word   0
