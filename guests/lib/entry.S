/*
 * The doors by which Xen enters a PV64 kernel (xen:arch/x86/x86_64/entry.S create_bounce_frame): it pushes
 *     rcx  r11  [error code]  rip  cs  rflags  rsp  ss
 * on the kernel stack and jumps. Each door here brings that to one shape, struct regs of trap.h, and calls
 * trap_dispatch; the way back is the iret hypercall, which never returns.
 */
#include <xen/xen.h>
#include "trap.h"

    .text
    .code64

/* A door for each vector, 16 bytes apart. */
    .globl  trap_entries
    .balign 16
trap_entries:
    vector = 0
    .rept 256
    .balign 16
    popq    %rcx
    popq    %r11
    .if (1 << (vector & 31)) & ERROR_CODE_VECTORS && vector < 32
    .else
    pushq   $0
    .endif
    pushq   $vector
    jmp     common
    vector = vector + 1
    .endr

    .macro  callback name, number
    .globl  \name
    .type   \name, @function
\name:
    popq    %rcx
    popq    %r11
    pushq   $0
    pushq   $\number
    jmp     common
    .size   \name, . - \name
    .endm

    callback event_entry, EVENT_CALLBACK
    callback syscall_entry, SYSCALL_CALLBACK

/* The failsafe callback alone is also given the four data segment selectors, which Xen could not load. */
    .globl  failsafe_entry
    .type   failsafe_entry, @function
failsafe_entry:
    popq    %rcx
    popq    %r11
    popq    failsafe_selectors
    popq    failsafe_selectors+8
    popq    failsafe_selectors+16
    popq    failsafe_selectors+24
    pushq   $0
    pushq   $FAILSAFE_CALLBACK
    jmp     common
    .size   failsafe_entry, . - failsafe_entry

    .type   common, @function
common:
    pushq   %rax
    pushq   %rcx
    pushq   %rdx
    pushq   %rbx
    pushq   %rbp
    pushq   %rsi
    pushq   %rdi
    pushq   %r8
    pushq   %r9
    pushq   %r10
    pushq   %r11
    pushq   %r12
    pushq   %r13
    pushq   %r14
    pushq   %r15
    cld
    movq    %rsp, %rdi
    movq    %rsp, %rbp
    andq    $-16, %rsp
    call    trap_dispatch
    movq    %rbp, %rdi
    jmp     return_to
    .size   common, . - common

/* return_to(struct regs *): go there with the iret hypercall. */
    .globl  return_to
    .type   return_to, @function
return_to:
    movq    %rdi, %rsp
    popq    %r15
    popq    %r14
    popq    %r13
    popq    %r12
    popq    %r11
    popq    %r10
    popq    %r9
    popq    %r8
    popq    %rdi
    popq    %rsi
    popq    %rbp
    popq    %rbx
    popq    %rdx
    popq    %rcx
    popq    %rax
    addq    $8, %rsp                /* the vector; what is left begins with the iret flags */
    jmp     hypercall_page + __HYPERVISOR_iret * 32
    .size   return_to, . - return_to

    .bss
    .balign 8
    .globl  failsafe_selectors
failsafe_selectors:
    .skip   32
    .section .note.GNU-stack, "", @progbits
