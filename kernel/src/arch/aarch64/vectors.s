// Exception vectors (Arm ARM, D1.4.1) and the frame that they save.
//
// The frame, in the order of `Frame` in exceptions.rs: x0-x30, the interrupted SP, ELR, SPSR, ESR,
// FAR, FPSR, FPCR, q0-q31.

.equ FRAME_BYTES, 38 * 8 + 32 * 16

.macro save_frame
    sub     sp, sp, #FRAME_BYTES
    stp     x0, x1, [sp, #16 * 0]
    stp     x2, x3, [sp, #16 * 1]
    stp     x4, x5, [sp, #16 * 2]
    stp     x6, x7, [sp, #16 * 3]
    stp     x8, x9, [sp, #16 * 4]
    stp     x10, x11, [sp, #16 * 5]
    stp     x12, x13, [sp, #16 * 6]
    stp     x14, x15, [sp, #16 * 7]
    stp     x16, x17, [sp, #16 * 8]
    stp     x18, x19, [sp, #16 * 9]
    stp     x20, x21, [sp, #16 * 10]
    stp     x22, x23, [sp, #16 * 11]
    stp     x24, x25, [sp, #16 * 12]
    stp     x26, x27, [sp, #16 * 13]
    stp     x28, x29, [sp, #16 * 14]
    mrs     x1, sp_el0
    stp     x30, x1, [sp, #16 * 15]
    mrs     x0, elr_el1
    mrs     x1, spsr_el1
    stp     x0, x1, [sp, #16 * 16]
    mrs     x0, esr_el1
    mrs     x1, far_el1
    stp     x0, x1, [sp, #16 * 17]
    mrs     x0, fpsr
    mrs     x1, fpcr
    stp     x0, x1, [sp, #16 * 18]
    add     x0, sp, #16 * 19
    stp     q0, q1, [x0, #32 * 0]
    stp     q2, q3, [x0, #32 * 1]
    stp     q4, q5, [x0, #32 * 2]
    stp     q6, q7, [x0, #32 * 3]
    stp     q8, q9, [x0, #32 * 4]
    stp     q10, q11, [x0, #32 * 5]
    stp     q12, q13, [x0, #32 * 6]
    stp     q14, q15, [x0, #32 * 7]
    stp     q16, q17, [x0, #32 * 8]
    stp     q18, q19, [x0, #32 * 9]
    stp     q20, q21, [x0, #32 * 10]
    stp     q22, q23, [x0, #32 * 11]
    stp     q24, q25, [x0, #32 * 12]
    stp     q26, q27, [x0, #32 * 13]
    stp     q28, q29, [x0, #32 * 14]
    stp     q30, q31, [x0, #32 * 15]
    mov     x0, sp
.endm

// One of the sixteen entries: 32 instructions at most, hence the branch.
.macro vector label
    .balign 0x80
    b       \label
.endm

.section .text.vectors, "ax"
.balign 0x800
.global exception_vectors
exception_vectors:
    // Current EL with SP_EL0: the kernel itself.
    vector  synchronous_entry
    vector  interrupt_entry
    vector  fast_interrupt_entry
    vector  system_error_entry
    // Current EL with SP_EL1: a handler has faulted.
    vector  nested_entry
    vector  nested_entry
    vector  nested_entry
    vector  nested_entry
    // Lower EL, AArch64 and AArch32: nothing runs there.
    vector  synchronous_entry
    vector  synchronous_entry
    vector  synchronous_entry
    vector  synchronous_entry
    vector  synchronous_entry
    vector  synchronous_entry
    vector  synchronous_entry
    vector  synchronous_entry

.section .text.exceptions, "ax"
synchronous_entry:
    save_frame
    bl      exception_synchronous
    b       restore_frame
fast_interrupt_entry:
    save_frame
    mov     x1, #1
    b       exception_fatal
system_error_entry:
    save_frame
    mov     x1, #2
    b       exception_fatal
nested_entry:
    // The handler's stack may be what overflowed: begin it anew, it is not returned to.
    msr     tpidr_el0, x0
    mrs     x0, tpidr_el1
    mov     sp, x0
    mrs     x0, tpidr_el0
    save_frame
    mov     x1, #3
    b       exception_fatal

interrupt_entry:
    save_frame
    bl      exception_interrupt
restore_frame:
    add     x0, sp, #16 * 19
    ldp     q0, q1, [x0, #32 * 0]
    ldp     q2, q3, [x0, #32 * 1]
    ldp     q4, q5, [x0, #32 * 2]
    ldp     q6, q7, [x0, #32 * 3]
    ldp     q8, q9, [x0, #32 * 4]
    ldp     q10, q11, [x0, #32 * 5]
    ldp     q12, q13, [x0, #32 * 6]
    ldp     q14, q15, [x0, #32 * 7]
    ldp     q16, q17, [x0, #32 * 8]
    ldp     q18, q19, [x0, #32 * 9]
    ldp     q20, q21, [x0, #32 * 10]
    ldp     q22, q23, [x0, #32 * 11]
    ldp     q24, q25, [x0, #32 * 12]
    ldp     q26, q27, [x0, #32 * 13]
    ldp     q28, q29, [x0, #32 * 14]
    ldp     q30, q31, [x0, #32 * 15]
    ldp     x0, x1, [sp, #16 * 18]
    msr     fpsr, x0
    msr     fpcr, x1
    ldp     x0, x1, [sp, #16 * 16]
    msr     elr_el1, x0
    msr     spsr_el1, x1
    ldr     x30, [sp, #16 * 15]
    ldp     x28, x29, [sp, #16 * 14]
    ldp     x26, x27, [sp, #16 * 13]
    ldp     x24, x25, [sp, #16 * 12]
    ldp     x22, x23, [sp, #16 * 11]
    ldp     x20, x21, [sp, #16 * 10]
    ldp     x18, x19, [sp, #16 * 9]
    ldp     x16, x17, [sp, #16 * 8]
    ldp     x14, x15, [sp, #16 * 7]
    ldp     x12, x13, [sp, #16 * 6]
    ldp     x10, x11, [sp, #16 * 5]
    ldp     x8, x9, [sp, #16 * 4]
    ldp     x6, x7, [sp, #16 * 3]
    ldp     x4, x5, [sp, #16 * 2]
    ldp     x2, x3, [sp, #16 * 1]
    ldp     x0, x1, [sp, #16 * 0]
    add     sp, sp, #FRAME_BYTES
    eret
