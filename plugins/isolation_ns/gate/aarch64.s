// The start gate for aarch64. Its bytes are in gate.py; a test assembles this file and compares.
// argv: name, path, "exec PATH: ", then the command's own argv. Descriptor 3 is the gate.
_start:
    sub sp, sp, #16                 // the byte to read; argc is now at [sp, #16], argv[0] at [sp, #24]
wait:
    mov x0, #3
    mov x1, sp
    mov x2, #1
    mov x8, #63                     // read(3, &byte, 1)
    svc #0
    cmn x0, #4                      // EINTR
    b.eq wait
    cmp x0, #1
    b.ne die                        // nobody is left who could start it
    mov x0, #3
    mov x8, #57                     // close(3)
    svc #0
    ldr x0, [sp, #32]               // argv[1]
    add x1, sp, #48                 // &argv[3]
    ldr x2, [sp, #16]
    add x2, sp, x2, lsl #3
    add x2, x2, #32                 // &argv[argc + 1]: the environment
    mov x8, #221                    // execve(path, argv, environment)
    svc #0
    neg x19, x0                     // errno
    ldr x1, [sp, #40]               // argv[2]
    mov x2, #0
length:
    ldrb w3, [x1, x2]
    cbz w3, say
    add x2, x2, #1
    b length
say:
    mov x0, #2
    mov x8, #64                     // write(2, argv[2], length)
    svc #0
    cmp x19, #41
    b.lo known
    mov x19, #0                     // errors past the table share its first text
known:
    adr x1, texts
    add x1, x1, x19, lsl #6         // a text takes 64 bytes, the first is its length
    ldrb w2, [x1], #1
    mov x0, #2
    mov x8, #64                     // write(2, text, length)
    svc #0
die:
    mov x0, #255
    mov x8, #94                     // exit_group(255)
    svc #0
texts:
