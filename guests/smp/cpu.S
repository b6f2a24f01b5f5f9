/*
 * Where a vCPU that another one initialised begins: %rdi is its struct cpu. All registers are noted there as they came,
 * before anything uses a stack.
 */
    .text
    .code64
    .globl  cpu_entry
    .type   cpu_entry, @function
cpu_entry:
    movq    %rax, 0(%rdi)
    movq    %rbx, 8(%rdi)
    movq    %rcx, 16(%rdi)
    movq    %rdx, 24(%rdi)
    movq    %rsi, 32(%rdi)
    movq    %rbp, 40(%rdi)
    movq    %rsp, 48(%rdi)
    movq    %r8, 56(%rdi)
    movq    %r9, 64(%rdi)
    movq    %r10, 72(%rdi)
    movq    %r11, 80(%rdi)
    movq    %r12, 88(%rdi)
    movq    %r13, 96(%rdi)
    movq    %r14, 104(%rdi)
    movq    %r15, 112(%rdi)
    pushfq
    popq    120(%rdi)
    movw    %cs, 128(%rdi)
    movw    %ss, 130(%rdi)
    movw    %ds, 132(%rdi)
    movw    %es, 134(%rdi)
    movw    %fs, 136(%rdi)
    movw    %gs, 138(%rdi)
    stmxcsr 140(%rdi)
    fnstcw  144(%rdi)
    fnstsw  146(%rdi)
    cld
    movq    %rsp, %rbp
    andq    $-16, %rsp
    call    cpu_main
1:  jmp     1b
    .size   cpu_entry, . - cpu_entry
    .section .note.GNU-stack, "", @progbits
