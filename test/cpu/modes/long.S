/* Long mode: compatibility mode, 64-bit code at CPL 0 and 3, and the way back */

.macro CHECK64 text, insn:req
    FAULT64 "\text"
    \insn
    END64
.endm
.macro SEE64 text, insn:req
    CASE64 "\text"
    \insn
    pushfq
    NOTE64 %rax
    popq %rax
    andl $0x8d5, %eax
    NOTE64 %rax
.endm
.macro USER64
    pushq $USER_DATA
    pushq $USER_STACK
    pushfq
    pushq $USER_CODE64
    pushq $76f
    iretq
76:
.endm
.macro KERNEL64
    movl $75f, user_done
    int $0x40
75:
.endm

/* EBX: first byte; EAX: target; EDX: selector << 16 | attributes */
make_gate64:
    call make_gate
    movl $0, 8(%ebx)
    movl $0, 12(%ebx)
    ret
.macro GATE_LONG at, target, selector, attributes
    movl $\at, %ebx
    movl $\target, %eax
    movl $((\selector) << 16 | (\attributes)), %edx
    call make_gate64
.endm

long_mode:
    movl %esp, kernel_esp
    movl $4, %eax
    call make_tables
    movl $PML4, %edi
    call clear
    movl $PDPT, %edi
    call clear
    movl $(PDPT | 7), PML4
    movl $(PD | 7), PDPT
    xorl %ecx, %ecx
1:  movl %ecx, %ebx
    shll $4, %ebx
    leal stubs64(%ebx), %eax
    addl $idt64, %ebx
    movl $(CODE64 << 16 | 0x8e00), %edx
    call make_gate64
    incl %ecx
    cmpl $32, %ecx
    jb 1b
    GATE_LONG idt64+0x30*16, int30_64, CODE64, 0xee00
    GATE_LONG idt64+0x31*16, int30_64, CODE64, 0x8e00
    GATE_LONG idt64+0x32*16, int30_64, CODE64, 0xee01
    GATE_LONG idt64+0x33*16, int30_64, CODE64, 0xef00
    GATE_LONG idt64+0x34*16, int30_64, CODE64, 0x6e00
    GATE_LONG idt64+0x35*16, int30_64, CODE32, 0xee00
    GATE_LONG idt64+0x36*16, int30_64, CODE64, 0xe500
    GATE_LONG idt64+0x40*16, leave_user64, CODE64, 0xee00
    GATE_LONG gdt_gate64, gate_target64, CODE64, 0xec00
    movl $0x00000067, gdt_tss64
    movl $0x00008900, gdt_tss64+4
    movl $tss64, %eax
    movl $gdt_tss64, %ebx
    call set_base
    movl $PML4, %eax
    movl %eax, %cr3
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x900, %eax
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    jmp 1f
1:  CASE32 "compatibility mode: EFER & 0xd00, CS"
    movl $0xc0000080, %ecx
    rdmsr
    andl $0xd00, %eax
    NOTE32 %eax
    movl %cs, %eax
    NOTE32 %eax
    lidt idt64_pointer
    movl $TSS64, %eax
    ltr %ax
    CHECK32 "compatibility mode: #UD", "ud2"
    CASE32 "compatibility mode: INT 0x30"
    movl $1f, fault_at
1:  int $0x30
    SEE32 "compatibility mode: AAM", "movl $57, %eax; aam"
    ljmp $CODE64, $in_long

    .code64
in_long:
    movq %rsp, kernel_esp
    CASE64 "64-bit code: CS, RSP, EFER & 0xd00"
    movl %cs, %eax
    NOTE64 %rax
    NOTE64 %rsp
    movl $0xc0000080, %ecx
    rdmsr
    andl $0xd00, %eax
    NOTE64 %rax
    CHECK64 "64-bit: #DE", "xorl %ecx, %ecx; divq %rcx"
    CHECK64 "64-bit: #UD", "ud2"
    CHECK64 "64-bit: INT3", "int3"
    CHECK64 "64-bit: no AAM", ".byte 0xd4, 0x0a"
    CHECK64 "64-bit: no PUSH CS", ".byte 0x0e"
    CHECK64 "64-bit: gate absent", "int $0x34"
    CHECK64 "64-bit: gate to 32-bit code", "int $0x35"
    CHECK64 "64-bit: a task gate", "int $0x36"
    CHECK64 "64-bit: beyond the IDT", "int $0x41"
    CHECK64 "64-bit: not canonical", "movabsq $0x800000000000, %rbx; movl (%rbx), %eax"
    CHECK64 "64-bit: not canonical, by RBP", "movabsq $0x800000000000, %rbp; movl (%rbp), %eax"
    CHECK64 "64-bit: not present", "movl NOT_PRESENT, %eax"
    CHECK64 "64-bit: high half not present", "movq $-8, %rbx; movq %rax, (%rbx)"
    CHECK64 "64-bit: reserved bit", "movl RESERVED_PAGE, %eax"
    CHECK64 "64-bit: NX", "movl $NX_PAGE, %eax; jmp *%rax"
    CHECK64 "64-bit: a null SS is no stack for ring 3", "pushq $0; pushq $0; pushq $2; pushq $USER_CODE64; pushq $0; iretq"
    movq kernel_esp, %rsp
    CHECK64 "64-bit: far jump to L and D", "pushq $LDT; pushq $0; lretq"
    movq kernel_esp, %rsp
    CASE64 "64-bit: INT 0x30"
    movl $1f, fault_at
1:  int $0x30
    CASE64 "64-bit: INT 0x30, stack not aligned"
    movl $1f, fault_at
    movq $(KERNEL_STACK - 29), %rsp
1:  int $0x30
    movq kernel_esp, %rsp
    CASE64 "64-bit: INT 0x32, IST 1"
    movl $1f, fault_at
1:  int $0x32
    CASE64 "64-bit: INT 0x33, a trap gate, with IF"
    movl $1f, fault_at
    sti
1:  int $0x33
    cli
    SEE64 "64-bit: LAR of 64-bit code", "movl $CODE64, %ecx; larl %ecx, %eax; andl $0xf0fe00, %eax"
    SEE64 "64-bit: LAR of the call gate", "movl $CALL_GATE64, %ecx; larl %ecx, %eax; andl $0xf0ff00, %eax"
    SEE64 "64-bit: LAR of a 16-bit TSS", "movl $TSS16, %ecx; movl $7, %eax; larl %ecx, %eax"
    SEE64 "64-bit: SS from null", "movl %ss, %ecx; xorl %eax, %eax; movl %eax, %ss; movl %ss, %eax; movl %ecx, %ss"
    SEE64 "64-bit: 32-bit addresses wrap", "movl $0xfffffff0, %ebx; movl $0x55667788, scratch; movl scratch+0x10(%ebx), %eax"

    movl $0x00230008, %edx      /* STAR: SYSCALL 08, SYSRET 20 */
    movl $0xc0000081, %ecx
    xorl %eax, %eax
    wrmsr
    movl $0xc0000082, %ecx
    movl $syscall_target, %eax
    xorl %edx, %edx
    wrmsr
    movl $0xc0000084, %ecx
    movl $0x600, %eax
    wrmsr
    movl $0xc0000080, %ecx
    rdmsr
    orl $1, %eax
    wrmsr

    USER64
    CASE64 "64-bit, ring 3: CS, SS, RSP"
    movl %cs, %eax
    NOTE64 %rax
    movl %ss, %eax
    NOTE64 %rax
    NOTE64 %rsp
    CHECK64 "64-bit, ring 3: CLI", "cli"
    CHECK64 "64-bit, ring 3: INT 0x31", "int $0x31"
    CHECK64 "64-bit, ring 3: the kernel's page", "movl KERNEL_PAGE, %eax"
    CHECK64 "64-bit, ring 3: read-only", "movl %eax, RO_PAGE"
    CHECK64 "64-bit, ring 3: WRMSR", "wrmsr"
    CHECK64 "64-bit, ring 3: SWAPGS", "swapgs"
    CHECK64 "64-bit, ring 3: IN, no map", "inb $0x60, %al"
    CASE64 "64-bit, ring 3: INT 0x30"
    movl $1f, fault_at
1:  int $0x30
    CASE64 "64-bit, ring 3: INT 0x32, IST 1"
    movl $1f, fault_at
1:  int $0x32
    movl $gate_pointer64, %ebx
    movl $1f, fault_at
    lcall *(%rbx)
1:  CASE64 "64-bit, ring 3: back from the call gate: RSP, CS, SS"
    NOTE64 %rsp
    movl %cs, %eax
    NOTE64 %rax
    movl %ss, %eax
    NOTE64 %rax
    CASE64 "64-bit, ring 3: SYSCALL"
    movl $1f, fault_at
    pushq $0x246
    popfq
    syscall
1:  CASE64 "64-bit, ring 3: after SYSRET: CS, SS, RFLAGS"
    movl %cs, %eax
    NOTE64 %rax
    movl %ss, %eax
    NOTE64 %rax
    pushfq
    popq %rax
    NOTE64 %rax
    KERNEL64

    /* Compatibility mode at CPL 3, and its way in */
    pushq $USER_DATA
    pushq $USER_STACK
    pushq $2
    pushq $USER_CODE32
    pushq $1f
    iretq
    .code32
1:  movl $USER_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    CASE32 "compatibility mode, ring 3: CS"
    movl %cs, %eax
    NOTE32 %eax
    CHECK32 "compatibility mode, ring 3: the kernel's page", "movl KERNEL_PAGE, %eax"
    CHECK32 "compatibility mode, ring 3: DS of the kernel", "movl $DATA32, %eax; movl %eax, %fs"
    CASE32 "compatibility mode, ring 3: INT 0x30"
    movl $1f, fault_at
1:  int $0x30
    movl $1f, fault_at
    lcall $CALL_GATE64, $0
1:  CASE32 "compatibility mode, ring 3: back from the call gate: ESP"
    NOTE32 %esp
    movl $75f, user_done
    int $0x40
    .code64
75:
    /* SMEP, SMAP, FSGSBASE: the kernel's memory is its own now. */
    movq $(PD), %rbx
    movl $8, %ecx
1:  cmpq $(PD + (WINDOW >> 21) * 8), %rbx
    je 2f
    andl $~4, (%rbx)
2:  addq $8, %rbx
    loop 1b
    movq %cr3, %rax
    movq %rax, %cr3
    SEE64 "SMAP off: a user's page", "movl PLAIN, %eax"
    movq %cr4, %rax
    orl $0x300000, %eax
    movq %rax, %cr4
    CHECK64 "SMAP: read", "movl PLAIN, %eax"
    CHECK64 "SMAP: write", "movl %eax, PLAIN"
    stac
    SEE64 "SMAP: STAC", "movl PLAIN, %eax"
    clac
    CHECK64 "SMAP: after CLAC", "movl PLAIN, %eax"
    pushfq
    orl $0x40000, (%rsp)
    popfq
    SEE64 "SMAP: POPF with AC", "movl PLAIN, %eax"
    clac
    CHECK64 "SMEP: fetch", "movl $PLAIN, %eax; jmp *%rax"
    movq %cr4, %rax
    andl $~0x300000, %eax
    movq %rax, %cr4
    CHECK64 "RDFSBASE without FSGSBASE", "rdfsbase %rax"
    movq %cr4, %rax
    orl $0x10000, %eax
    movq %rax, %cr4
    SEE64 "WRGSBASE, RDGSBASE", "movabsq $0xffff800012345678, %rax; wrgsbase %rax; xorl %eax, %eax; rdgsbase %rax"
    SEE64 "SWAPGS", "xorl %eax, %eax; wrgsbase %rax; movl $0xc0000102, %ecx; movl $0x1234, %eax; xorl %edx, %edx; wrmsr; swapgs; rdgsbase %rax; swapgs"
    movq %cr4, %rax
    btrl $16, %eax
    movq %rax, %cr4

    /* Back: compatibility mode, no paging, no long mode, 32-bit protected mode */
    movl $leave_pointer, %ebx
    ljmp *(%rbx)
    .code32
leave_long:
    movl $DATA32, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    PAGING_OFF
    movl $0xc0000080, %ecx
    rdmsr
    movl %eax, %ebx
    andl $~0x901, %eax
    wrmsr
    CASE32 "long mode left: EFER & 0xd00"
    andl $0xd00, %ebx
    NOTE32 %ebx
    lidt idt_pointer
    andb $~2, gdt_tss32+5
    movl $TSS32, %eax
    ltr %ax
    movl %cr4, %eax
    andl $~0x20, %eax
    movl %eax, %cr4
    CHECK32 "long mode left: #UD", "ud2"
    CASE32 "long mode left: INT 0x30"
    movl $1f, fault_at
1:  int $0x30
    movl kernel_esp, %esp
    ret

    .code64
    .balign 16
stubs64:
    vector = 0
    .rept 32
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
    pushq $0
    .endif
    pushq $vector
    jmp common64
    vector = vector + 1
    .endr

/* Frame: vector, error code, RIP, CS, RFLAGS, RSP, SS */
common64:
    pushq %rax
    pushq %rbp
    leaq 16(%rsp), %rbp
    NOTE64 (%rbp)
    NOTE64 8(%rbp)
    movl 16(%rbp), %eax
    subl fault_at, %eax
    NOTE64 %rax
    NOTE64 24(%rbp)
    movl 32(%rbp), %eax
    andl $~0x108d5, %eax
    NOTE64 %rax
    NOTE64 40(%rbp)
    NOTE64 48(%rbp)
    NOTE64 %rbp
    movl %ss, %eax
    NOTE64 %rax
    cmpl $14, (%rbp)
    jne 1f
    movq %cr2, %rax
    NOTE64 %rax
    shrq $32, %rax
    NOTE64 %rax
1:  movl resume, %eax
    movq %rax, 16(%rbp)
    popq %rbp
    popq %rax
    addq $16, %rsp
    iretq

int30_64:
    pushq %rax
    pushfq
    NOTE64 (%rsp)
    leaq 16(%rsp), %rax
    NOTE64 %rax
    movl 16(%rsp), %eax
    subl fault_at, %eax
    NOTE64 %rax
    NOTE64 24(%rsp)
    NOTE64 32(%rsp)
    NOTE64 40(%rsp)
    NOTE64 48(%rsp)
    movl %ss, %eax
    NOTE64 %rax
    popfq
    popq %rax
    iretq

leave_user64:
    movl kernel_esp, %esp
    movl user_done, %eax
    jmp *%rax

gate_target64:
    CASE64 "  in the call gate's target: RSP, SS, RIP, CS, RSP, SS"
    NOTE64 %rsp
    movl %ss, %eax
    NOTE64 %rax
    movl (%rsp), %eax
    subl fault_at, %eax
    NOTE64 %rax
    NOTE64 8(%rsp)
    NOTE64 16(%rsp)
    NOTE64 24(%rsp)
    lretq

syscall_target:
    NOTE64 %r11
    subl fault_at, %ecx
    NOTE64 %rcx
    addl fault_at, %ecx
    movl %cs, %eax
    NOTE64 %rax
    movl %ss, %eax
    NOTE64 %rax
    pushfq
    NOTE64 (%rsp)
    popfq
    sysretq

note64:
    pushfq
    pushq %rax
    pushq %rdi
    movl 32(%rsp), %eax
    movl log_end, %edi
    movl %eax, (%rdi)
    addl $4, log_end
    popq %rdi
    popq %rax
    popfq
    ret $8
begin64:
    pushq $MARK
    call note64
    pushq 8(%rsp)
    call note64
    ret $8
    .code32

    .data
gate_pointer64: .long 0
    .word CALL_GATE64
leave_pointer: .long leave_long
    .word CODE32
    .text
