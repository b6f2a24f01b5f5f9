/*
 * A bare-metal program that goes through the processor's modes and notes what instructions, exceptions and interrupts do
 * there, then prints the notes to port 0xe9, a case a line. It starts as a PVH kernel does: 32-bit protected mode, no paging.
 * QEMU's output is recorded in expected.txt; what QEMU does not check (segment limits, most of all) is not asked here.
 */
#include "macros.h"

    .section .note, "a", @note
    .balign 4
    .long 4, 8, 18              /* XEN_ELFNOTE_PHYS32_ENTRY */
    .asciz "Xen"
    .quad loaded

    .text
    .code32
    .globl start
start:
    loaded = start - BASE + 0x100000
    cld
    movl $0x100000, %esi
    movl $BASE, %edi
    movl $0x2000, %ecx
    rep movsl
    movl $1f, %eax
    jmp *%eax
1:  movl $KERNEL_STACK, %esp
    movl $LOG, log_end
    movb $0xff, %al             /* no interrupts from the PICs */
    outb %al, $0x21
    outb %al, $0xa1
    lgdt gdt_pointer
    ljmp $CODE32, $1f
1:  movl $DATA32, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    call make_idt32
    call protected
    call protected16
    call paging32
    call paging_pae
    call long_mode
    call to_real_and_back
    jmp print

#include "protected.S"
#include "paging.S"
#include "long.S"
#include "real.S"

/* Notes, 32-bit */
    .code32
note32:
    pushfl
    pushal
    movl 40(%esp), %eax
    movl log_end, %edi
    movl %eax, (%edi)
    addl $4, log_end
    popal
    popfl
    ret $4
begin32:
    pushl $MARK
    call note32
    pushl 4(%esp)
    call note32
    ret $4

/* The notes as text */
print:
    movl log_end, %eax
    movl $0, (%eax)
    movl $LOG, %esi
1:  cmpl log_end, %esi
    jae 4f
    lodsl
    cmpl $MARK, %eax
    jne 3f
    movb $'\n', %al
    outb %al, $0xe9
    lodsl
    movl %eax, %ebx
2:  movb (%ebx), %al
    incl %ebx
    testb %al, %al
    jz 1b
    outb %al, $0xe9
    jmp 2b
3:  call print_hex
    jmp 1b
4:  movb $'\n', %al
    outb %al, $0xe9
    movb $0, %al
    outb %al, $0xf4             /* isa-debug-exit */
    hlt
print_hex:
    movl %eax, %edx
    movb $' ', %al
    outb %al, $0xe9
    movl $8, %ecx
1:  roll $4, %edx
    testb $15, %dl
    jnz 2f
    loop 1b
    incl %ecx
2:  movb %dl, %al
    andb $15, %al
    addb $'0', %al
    cmpb $'9', %al
    jbe 3f
    addb $('a' - '9' - 1), %al
3:  outb %al, $0xe9
    roll $4, %edx
    loop 2b
    ret

    .data
log_end:  .long 0
fault_at: .long 0
resume:   .long 0
user_done: .long 0
scratch:  .fill 16, 4, 0

    .balign 8
#define DESCRIPTOR(base, limit, access, flags) \
    .word (limit) & 0xffff, (base) & 0xffff; \
    .byte ((base) >> 16) & 255, access, ((limit) >> 16) | ((flags) << 4), (base) >> 24
gdt:
    .quad 0
    DESCRIPTOR(0, 0xfffff, 0x9a, 12)            /* 08 */
    DESCRIPTOR(0, 0xfffff, 0x92, 12)            /* 10 */
    DESCRIPTOR(0, 0xfffff, 0xfa, 12)            /* 18 */
    DESCRIPTOR(0, 0xfffff, 0xf2, 12)            /* 20 */
    DESCRIPTOR(BASE, 0xffff, 0x9a, 0)           /* 28 */
    DESCRIPTOR(BASE, 0xffff, 0x92, 0)           /* 30 */
gdt_tss32: DESCRIPTOR(0, 0x67, 0x89, 0)         /* 38 */
gdt_tss16: DESCRIPTOR(0, 0x2b, 0x81, 0)         /* 40 */
gdt_ldt: DESCRIPTOR(0, 15, 0x82, 0)             /* 48 */
gdt_gate32: .quad 0                             /* 50 */
gdt_gate16: .quad 0                             /* 58 */
    DESCRIPTOR(0, 0xfffff, 0x9e, 12)            /* 60 */
    DESCRIPTOR(0, 0xfffff, 0xf0, 12)            /* 68 */
    DESCRIPTOR(0, 0xfffff, 0x72, 12)            /* 70 */
    DESCRIPTOR(0, 0xfffff, 0xf8, 12)            /* 78 */
    DESCRIPTOR(0, 0xfffff, 0x9a, 10)            /* 80 */
    DESCRIPTOR(0, 0xfffff, 0xfa, 10)            /* 88 */
gdt_tss64: .quad 0, 0                           /* 90 */
gdt_gate64: .quad 0, 0                          /* a0 */
    DESCRIPTOR(0, 0xfffff, 0x7a, 12)            /* b0 */
    DESCRIPTOR((REAL_STACK << 4), 0xffff, 0x92, 0) /* b8 */
    DESCRIPTOR(BASE, 0xffff, 0xfa, 4)           /* c0 */
    DESCRIPTOR(BASE, 0xffff, 0x9a, 4)           /* c8 */
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt, 0
idt_pointer:
    .word 0x41 * 8 - 1
    .long idt
idt64_pointer:
    .word 0x41 * 16 - 1
    .quad idt64
real_idt_pointer:
    .word 0x3ff
    .long 0

    .balign 8
ldt:
    DESCRIPTOR(0x100, 0x1ff, 0x92, 4)
    DESCRIPTOR(0, 0xfffff, 0x9a, 12)
tss32:
    .long 0, RING0_STACK, DATA32
    .fill 22, 4, 0
    .word 0, 0x68               /* no I/O map */
tss16:
    .word 0, 0x7000, DATA32
    .fill 20, 2, 0
tss64:
    .long 0
    .quad RING0_STACK, 0, 0, 0, IST_STACK
    .fill 14, 4, 0
    .word 0, 0x68

    .balign 16
    .bss
idt:   .fill 0x41, 8, 0
idt64: .fill 2 * 0x41, 8, 0
