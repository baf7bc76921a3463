// From QEMU's jump to Rust: floating point, caches, a stack. QEMU enters at EL1 and has cleared .bss.
// Registers and their fields: Arm Architecture Reference Manual (DDI 0487), D19.2 and D8.3.

.section .text.start, "ax"
.global start
start:
    mov x0, #(3 << 20)              // CPACR_EL1.FPEN: NEON does not trap
    msr cpacr_el1, x0
    mov x0, #0xff00                 // MAIR_EL1: attribute 0 is device memory, 1 is normal memory, cached
    msr mair_el1, x0
    ldr x0, =0x803519               // TCR_EL1: 39 bits of addresses from TTBR0_EL1, pages of 4 KiB, walks cached
    msr tcr_el1, x0
    adrp x0, table
    msr ttbr0_el1, x0
    isb
    mrs x0, sctlr_el1
    mov x1, #0x1005                 // SCTLR_EL1: I, C, M. Without the MMU all memory is device memory, where
    orr x0, x0, x1                  // unaligned accesses fault and nothing is cached
    msr sctlr_el1, x0
    isb
    adrp x0, stack_end
    mov sp, x0
    b main

// Level 1 of the identity map: blocks of 1 GiB. The first one has the UART, the second one the RAM.
.section .data
.balign 4096
table:
    .quad 0x0060000000000401        // device memory, not executable
    .quad 0x0000000040000705        // normal memory, inner shareable
    .fill 510, 8, 0

.section .bss
.balign 4096
    .skip 1 << 20
stack_end:
