# The start gate for x86_64. Its bytes are in gate.py; a test assembles this file and compares.
# argv: name, path, "exec PATH: ", then the command's own argv. Descriptor 3 is the gate.
_start:
    pushq $0                        # the byte to read; argc is now at 8(%rsp), argv[0] at 16(%rsp)
wait:
    mov $3, %edi
    mov %rsp, %rsi
    mov $1, %edx
    xor %eax, %eax                  # read(3, &byte, 1)
    syscall
    cmp $-4, %eax                   # EINTR
    je wait
    cmp $1, %eax
    jne die                         # nobody is left who could start it
    mov $3, %edi
    mov $3, %eax                    # close(3)
    syscall
    mov 24(%rsp), %rdi              # argv[1]
    lea 40(%rsp), %rsi              # &argv[3]
    mov 8(%rsp), %rax
    lea 24(%rsp,%rax,8), %rdx       # &argv[argc + 1]: the environment
    mov $59, %eax                   # execve(path, argv, environment)
    syscall
    neg %eax
    mov %eax, %ebx                  # errno
    mov 32(%rsp), %rsi              # argv[2]
    xor %edx, %edx
length:
    cmpb $0, (%rsi,%rdx)
    je say
    inc %edx
    jmp length
say:
    mov $2, %edi
    mov $1, %eax                    # write(2, argv[2], length)
    syscall
    cmp $41, %ebx
    jb known
    xor %ebx, %ebx                  # errors past the table share its first text
known:
    shl $6, %ebx                    # a text takes 64 bytes, the first is its length
    lea texts(%rip), %rsi
    add %rbx, %rsi
    movzbl (%rsi), %edx
    inc %rsi
    mov $2, %edi
    mov $1, %eax                    # write(2, text, length)
    syscall
die:
    mov $255, %edi
    mov $231, %eax                  # exit_group(255)
    syscall
texts:
