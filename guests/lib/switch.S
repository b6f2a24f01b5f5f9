/* enter_user(regs): to user mode, as a function that returns when leave_user() is called by the trap that ends it. */
    .text
    .globl  enter_user
    .type   enter_user, @function
enter_user:
    pushq   %rbx
    pushq   %rbp
    pushq   %r12
    pushq   %r13
    pushq   %r14
    pushq   %r15
    movq    %rsp, kernel_rsp
    jmp     return_to
    .size   enter_user, . - enter_user

    .globl  leave_user
    .type   leave_user, @function
leave_user:
    movq    kernel_rsp, %rsp
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %rbp
    popq    %rbx
    ret
    .size   leave_user, . - leave_user

    .bss
    .balign 8
kernel_rsp:
    .skip   8
    .section .note.GNU-stack, "", @progbits
