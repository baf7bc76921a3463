// uint32_t, bool probe_load(address x0): reads a word where there may be none; w1 tells whether there was.
// An exception at `probe_load` continues at `probe_failed`: see probe.rs.
.section .text.probe, "ax"
.global probe_load
.global probe_failed
probe_load:
    ldr     w0, [x0]
    mov     x1, #1
    ret
probe_failed:
    mov     x0, #0
    mov     x1, #0
    ret
