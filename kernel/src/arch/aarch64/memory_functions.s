// void *memcpy(void *destination x0, const void *source x1, size_t length x2)
.section .text.memcpy, "ax"
.global memcpy
memcpy:
    mov     x3, x0
    subs    x2, x2, #64
    b.lo    2f
1:
    ldp     q0, q1, [x1], #32
    ldp     q2, q3, [x1], #32
    subs    x2, x2, #64
    stp     q0, q1, [x3], #32
    stp     q2, q3, [x3], #32
    b.hs    1b
2:
    add     x2, x2, #64
    tbz     x2, #5, 3f
    ldp     q0, q1, [x1], #32
    stp     q0, q1, [x3], #32
3:
    tbz     x2, #4, 4f
    ldr     q0, [x1], #16
    str     q0, [x3], #16
4:
    tbz     x2, #3, 5f
    ldr     x4, [x1], #8
    str     x4, [x3], #8
5:
    tbz     x2, #2, 6f
    ldr     w4, [x1], #4
    str     w4, [x3], #4
6:
    tbz     x2, #1, 7f
    ldrh    w4, [x1], #2
    strh    w4, [x3], #2
7:
    tbz     x2, #0, 8f
    ldrb    w4, [x1]
    strb    w4, [x3]
8:
    ret

// void *memset(void *destination x0, int value w1, size_t length x2)
.section .text.memset, "ax"
.global memset
memset:
    mov     x3, x0
    dup     v0.16b, w1
    subs    x2, x2, #64
    b.lo    2f
1:
    subs    x2, x2, #64
    stp     q0, q0, [x3], #32
    stp     q0, q0, [x3], #32
    b.hs    1b
2:
    add     x2, x2, #64
    tbz     x2, #5, 3f
    stp     q0, q0, [x3], #32
3:
    tbz     x2, #4, 4f
    str     q0, [x3], #16
4:
    tbz     x2, #3, 5f
    str     d0, [x3], #8
5:
    tbz     x2, #2, 6f
    str     s0, [x3], #4
6:
    tbz     x2, #1, 7f
    str     h0, [x3], #2
7:
    tbz     x2, #0, 8f
    str     b0, [x3]
8:
    ret
