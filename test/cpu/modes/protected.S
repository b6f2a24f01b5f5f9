/* 32- and 16-bit protected mode, without paging */

.macro USER32
    pushl $USER_DATA
    pushl $USER_STACK
    pushfl
    pushl $USER_CODE32
    pushl $76f
    iret
76: movl $USER_DATA, %eax
    movl %eax, %ds
    movl %eax, %es
.endm
.macro KERNEL32
    movl $75f, user_done
    int $0x40
75:
.endm
/* INT 0x33 where 16 bits of EIP suffice */
.macro INT_NEAR near, far
    movl $1f - BASE, fault_at
    ljmp $\near, $1f - BASE
1:  int $0x33
    ljmp $\far, $1f
1:
.endm
.macro CHECK32 text, insn:req
    FAULT32 "\text"
    \insn
    END32
.endm
/* A result in EAX and the arithmetic flags. */
.macro SEE32 text, insn:req
    CASE32 "\text"
    \insn
    pushfl
    NOTE32 %eax
    popl %eax
    andl $0x8d5, %eax
    NOTE32 %eax
.endm

/* EBX: first byte of the gate; EAX: target; EDX: selector << 16 | attributes */
make_gate:
    movw %ax, (%ebx)
    movw %dx, 4(%ebx)
    shrl $16, %edx
    movw %dx, 2(%ebx)
    shrl $16, %eax
    movw %ax, 6(%ebx)
    ret
.macro GATE at, target, selector, attributes
    movl $\at, %ebx
    movl $\target, %eax
    movl $((\selector) << 16 | (\attributes)), %edx
    call make_gate
.endm

make_idt32:
    xorl %ecx, %ecx
1:  leal idt(,%ecx,8), %ebx
    movl %ecx, %eax
    shll $4, %eax
    addl $stubs32, %eax
    movl $(CODE32 << 16 | 0x8e00), %edx
    call make_gate
    incl %ecx
    cmpl $32, %ecx
    jb 1b
    GATE idt+3*8, stubs32+3*16, CODE32, 0xee00
    GATE idt+4*8, stubs32+4*16, CODE32, 0xee00
    GATE idt+0x30*8, int30, CODE32, 0xee00
    GATE idt+0x31*8, int30, CODE32, 0x8e00
    GATE idt+0x32*8, int30, CODE32, 0xef00
    GATE idt+0x33*8, int33-BASE, CODE16, 0xe600
    GATE idt+0x34*8, int30, CODE32, 0x6e00
    GATE idt+0x35*8, int30, CONFORMING, 0xee00
    GATE idt+0x36*8, int30, DATA32, 0xee00
    GATE idt+0x37*8, int30, 0, 0xee00
    GATE idt+0x38*8, int30, ABSENT_CODE, 0xee00
    GATE idt+0x39*8, int30, USER_CODE32, 0xee00
    GATE idt+0x3a*8, int30, CODE32, 0xec00
    GATE idt+0x3b*8, int33-BASE, CODE16, 0xe700
    GATE idt+0x40*8, leave_user, CODE32, 0xee00
    GATE gdt_gate32, gate_target32, CODE32, 0xec02
    GATE gdt_gate16, gate_target16-BASE, CODE16, 0xe402
    lidt idt_pointer
    movl $tss32, %eax
    movl $gdt_tss32, %ebx
    call set_base
    movl $tss16, %eax
    movl $gdt_tss16, %ebx
    call set_base
    movl $ldt, %eax
    movl $gdt_ldt, %ebx
    call set_base
    movl $TSS32, %eax
    ltr %ax
    movl $LDT, %eax
    lldt %ax
    ret
set_base:
    movw %ax, 2(%ebx)
    shrl $16, %eax
    movb %al, 4(%ebx)
    movb %ah, 7(%ebx)
    ret

    .balign 16
stubs32:
    vector = 0
    .rept 32
    .balign 16
    .if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
    pushl $0
    .endif
    pushl $vector
    jmp common32
    vector = vector + 1
    .endr

/* Frame: vector, error code, EIP, CS, EFLAGS, ESP, SS */
common32:
    pushal
    pushl %ds
    pushl %es
    movl $DATA32, %eax
    movl %eax, %ds
    movl %eax, %es
    leal 40(%esp), %ebp
    NOTE32 (%ebp)
    NOTE32 4(%ebp)
    movl 8(%ebp), %eax
    subl fault_at, %eax
    NOTE32 %eax
    NOTE32 12(%ebp)
    movl 16(%ebp), %eax
    andl $~0x108d5, %eax        /* without RF, which QEMU forgets, and arithmetic */
    NOTE32 %eax
    leal 8(%ebp), %eax
    NOTE32 %eax
    movl %ss, %eax
    NOTE32 %eax
    testl $3, 12(%ebp)
    jz 1f
    NOTE32 20(%ebp)
    NOTE32 24(%ebp)
1:  cmpl $14, (%ebp)
    jne 1f
    movl %cr2, %eax
    NOTE32 %eax
1:  cmpl $1, (%ebp)
    jne 1f
    movl %dr6, %eax
    NOTE32 %eax
1:  movl resume, %eax
    movl %eax, 8(%ebp)
    andl $~0x10100, 16(%ebp)
    popl %es
    popl %ds
    popal
    addl $8, %esp
    iret

/* Notes EFLAGS now, ESP, then EIP, CS, EFLAGS (and ESP, SS) as pushed, and returns. */
int30:
    pushfl
    pushal
    leal 36(%esp), %ebp
    NOTE32 32(%esp)
    NOTE32 %ebp
    movl (%ebp), %eax
    subl fault_at, %eax
    NOTE32 %eax
    NOTE32 4(%ebp)
    NOTE32 8(%ebp)
    testl $3, 4(%ebp)
    jz 1f
    NOTE32 12(%ebp)
    NOTE32 16(%ebp)
1:  popal
    popfl
    iret

leave_user:
    movl kernel_esp, %esp
    movl $DATA32, %eax
    movl %eax, %ds
    movl %eax, %es
    jmp *user_done

gate_target32:
    CASE32 "  in the call gate's target: ESP SS, EIP CS, parameters, ESP SS"
    movl %esp, %ebp
    NOTE32 %ebp
    movl %ss, %eax
    NOTE32 %eax
    movl (%ebp), %eax
    subl fault_at, %eax
    NOTE32 %eax
    NOTE32 4(%ebp)
    NOTE32 8(%ebp)
    NOTE32 12(%ebp)
    NOTE32 16(%ebp)
    NOTE32 20(%ebp)
    lret $8

protected:
    movl %esp, kernel_esp
    CASE32 "ring 0: CR0 & 0xe0050036, EFLAGS, CS, SS, TR, LDTR"
    movl %cr0, %eax
    andl $0xe0050036, %eax
    NOTE32 %eax
    pushfl
    popl %eax
    andl $~0x8d5, %eax
    NOTE32 %eax
    movl %cs, %eax
    NOTE32 %eax
    movl %ss, %eax
    NOTE32 %eax
    xorl %eax, %eax
    str %ax
    NOTE32 %eax
    sldt %ax
    NOTE32 %eax
    CASE32 "descriptors after LTR and LLDT"
    NOTE32 gdt_tss32+4
    NOTE32 gdt_ldt+4

    CHECK32 "#DE", "xorl %ecx, %ecx; div %ecx"
    CHECK32 "#BP", "int3"
    CHECK32 "#UD", "ud2"
    CHECK32 "INT 0x31 by ring 0", "int $0x31"
    CHECK32 "gate absent", "int $0x34"
    CHECK32 "gate to data", "int $0x36"
    CHECK32 "gate to null", "int $0x37"
    CHECK32 "gate to absent code", "int $0x38"
    CHECK32 "gate to an outer ring", "int $0x39"
    CHECK32 "a call gate in the IDT", "int $0x3a"
    CHECK32 "an empty IDT entry", "int $0x3f"
    CHECK32 "beyond the IDT", "int $0x41"
    CHECK32 "DS: beyond the GDT", "movl $0x1000, %eax; movl %eax, %fs"
    CHECK32 "DS: absent", "movl $ABSENT, %eax; movl %eax, %fs"
    CHECK32 "DS: execute-only", "movl $EXECUTE_ONLY, %eax; movl %eax, %fs"
    CHECK32 "DS: a TSS", "movl $TSS16, %eax; movl %eax, %fs"
    CHECK32 "SS: null", "xorl %eax, %eax; movl %eax, %ss"
    CHECK32 "SS: DPL 3", "movl $USER_DATA, %eax; movl %eax, %ss"
    CHECK32 "SS: code", "movl $CODE32, %eax; movl %eax, %ss"
    CHECK32 "SS: absent", "movl $(ABSENT & ~3), %eax; movl %eax, %ss"
    CHECK32 "CS: far jump to null", "ljmp $0, $0"
    CHECK32 "CS: far jump to data", "ljmp $DATA32, $0"
    CHECK32 "CS: far jump to ring 3", "ljmp $USER_CODE32, $0"
    CHECK32 "CS: far jump to absent code", "ljmp $(ABSENT_CODE & ~3), $0"
    CHECK32 "LTR of a busy TSS", "movl $TSS32, %eax; ltr %ax"
    CHECK32 "LTR of an LDT", "movl $LDT, %eax; ltr %ax"
    CHECK32 "LLDT of a TSS", "movl $TSS16, %eax; lldt %ax"
    CHECK32 "IRET to an outer ring with a bad SS", "pushl $DATA32; pushl $0; pushl $2; pushl $USER_CODE32; pushl $0; iret"
    movl kernel_esp, %esp
    CHECK32 "IRET to null", "pushl $2; pushl $0; pushl $0; iret"
    movl kernel_esp, %esp
    CHECK32 "single step", "pushfl; orl $0x100, (%esp); popfl; nop"
    CHECK32 "BOUND", "movl $5, scratch; movl $9, scratch+4; movl $10, %eax; bound %eax, scratch"
    CHECK32 "INTO", "movb $0x7f, %al; incb %al; into"

    CASE32 "INT 0x30"
    movl $1f, fault_at
1:  int $0x30
    CASE32 "INT 0x32, a trap gate, with IF"
    movl $1f, fault_at
    sti
1:  int $0x32
    cli
    CASE32 "INT 0x35, conforming"
    movl $1f, fault_at
1:  int $0x35
    CASE32 "INT 0x33, a 16-bit gate"
    INT_NEAR NEAR_CODE32, CODE32

    SEE32 "LAR of code", "movl $CODE32, %ecx; larl %ecx, %eax; andl $0xf0fe00, %eax"
    SEE32 "LSL of code", "movl $CODE32, %ecx; lsll %ecx, %eax"
    SEE32 "LAR of a TSS", "movl $TSS16, %ecx; larl %ecx, %eax"
    SEE32 "LAR of a call gate", "movl $CALL_GATE16, %ecx; larl %ecx, %eax"
    SEE32 "LSL of a call gate", "movl $CALL_GATE32, %ecx; lsll %ecx, %eax"
    SEE32 "LSL of a TSS", "movl $TSS16, %ecx; lsll %ecx, %eax"
    SEE32 "LAR of the LDT's first", "movl $4, %ecx; larl %ecx, %eax; andl $0xf0fe00, %eax"
    SEE32 "LSL of the LDT's first", "movl $4, %ecx; lsll %ecx, %eax"
    SEE32 "LAR beyond the LDT", "movl $0x14, %ecx; larl %ecx, %eax"
    SEE32 "VERW of read-only data", "movl $READ_ONLY, %ecx; verw %cx"
    SEE32 "VERR of read-only data", "movl $READ_ONLY, %ecx; verr %cx"
    SEE32 "VERR of execute-only code", "movl $EXECUTE_ONLY, %ecx; verr %cx"
    SEE32 "VERR with RPL 3", "movl $(DATA32 | 3), %ecx; verr %cx"
    SEE32 "ARPL", "movl $0x10, %eax; movl $3, %ecx; arpl %cx, %ax"
    SEE32 "ARPL, no change", "movl $0x13, %eax; movl $1, %ecx; arpl %cx, %ax"
    SEE32 "SMSW", "smsww %ax; andl $15, %eax"
    SEE32 "MOV from the LDT's segment", "movl $4, %eax; movl %eax, %fs; movl $0x1234, %fs:0x10; movl 0x110, %eax"
    SEE32 "LES", "movl $0x77, scratch; movw $DATA32, scratch+4; lesl scratch, %eax"
    SEE32 "LSS", "movl %esp, scratch; movw %ss, scratch+4; lssl scratch, %esp; movl %esp, %eax"
    SEE32 "PUSHA, POPA", "movl $1, %eax; movl $2, %ecx; movl $3, %edx; pushal; xorl %eax, %eax; movl 24(%esp), %ebx; popal; addl %edx, %eax"
    SEE32 "ENTER and LEAVE, level 2", "pushl $0x1234; leal 4(%esp), %ebp; enter $8, $2; movl -8(%ebp), %eax; subl %esp, %eax; addl -4(%ebp), %eax; leave; addl $4, %esp"
    SEE32 "far CALL, RET 4", "movl %esp, %ebx; pushl $0; lcall $CODE32, $far_leaf; subl %esp, %ebx; movl %ebx, %eax"
    SEE32 "far CALL by memory", "movl $far_leaf, scratch; movl $CODE32, scratch+4; pushl $0; lcall *scratch; movl $7, %eax"
    SEE32 "far CALL to conforming code", "pushl $0; lcall $(CONFORMING & ~3), $far_leaf"
    SEE32 "loop with CX", "movl $0x10003, %ecx; xorl %eax, %eax; 1: incl %eax; addr16 loop 1b; addl %ecx, %eax"
    SEE32 "JCXZ, not JECXZ", "movl $0x10000, %ecx; movl $1, %eax; jcxz 1f; movl $2, %eax; 1: nop"
    SEE32 "16-bit addresses in 32-bit code", "movl $0x77777777, 0x500; movl $0x90000, %ebx; movw $0x4f0, %bx; movl $0x8000f, %esi; movl %ds, %ecx; addr16 movl 1(%bx,%si), %eax"
    SEE32 "STOSB with DI", "movl $0x20600, %edi; movb $0x5a, %al; addr16 stosb; movl %edi, %eax"

    USER32
    CASE32 "ring 3: CS, SS, EFLAGS"
    movl %cs, %eax
    NOTE32 %eax
    movl %ss, %eax
    NOTE32 %eax
    pushfl
    popl %eax
    andl $~0x8d5, %eax
    NOTE32 %eax
    CHECK32 "ring 3: CLI", "cli"
    CHECK32 "ring 3: HLT", "hlt"
    CHECK32 "ring 3: IN, no map", "inb $0x60, %al"
    CHECK32 "ring 3: MOV CR0", "movl %cr0, %eax"
    CHECK32 "ring 3: INT 0x31", "int $0x31"
    CHECK32 "ring 3: INT 0x36, a gate to data", "int $0x36"
    CHECK32 "ring 3: INT3", "int3"
    CHECK32 "ring 3: #UD", "ud2"
    CHECK32 "ring 3: DS of the kernel", "movl $DATA32, %eax; movl %eax, %fs"
    CHECK32 "ring 3: SS of the kernel", "movl $DATA32, %eax; movl %eax, %ss"
    CHECK32 "ring 3: far jump inwards", "ljmp $CODE32, $0"
    CHECK32 "ring 3: far jump through a call gate inwards", "ljmp $CALL_GATE32, $0"
    CHECK32 "ring 3: LGDT", "lgdt gdt_pointer"
    CHECK32 "ring 3: LLDT", "xorl %eax, %eax; lldt %ax"
    CASE32 "ring 3: INT 0x30"
    movl $1f, fault_at
1:  int $0x30
    CASE32 "ring 3: INT 0x35, conforming"
    movl $1f, fault_at
1:  int $0x35
    CASE32 "ring 3: INT 0x33, a 16-bit gate"
    INT_NEAR NEAR_USER_CODE32, USER_CODE32
    movl $USER_STACK, %esp
    movl $1f, fault_at
    pushl $0x1111
    pushl $0x2222
    movl %esp, %ebx
    lcall $CALL_GATE32, $0
1:  CASE32 "ring 3: back from the call gate: ESP moved by, CS, SS"
    subl %esp, %ebx
    NOTE32 %ebx
    movl %cs, %eax
    NOTE32 %eax
    movl %ss, %eax
    NOTE32 %eax
    movl $1f - BASE, fault_at
    movl $0x33334444, (%esp)
    movl %esp, %ebx
    ljmp $NEAR_USER_CODE32, $2f - BASE
2:  lcall $CALL_GATE16, $0
1:  ljmp $USER_CODE32, $1f
1:  CASE32 "ring 3: back from the 16-bit call gate: ESP moved by"
    subl %esp, %ebx
    NOTE32 %ebx
    movl $USER_STACK, %esp
    SEE32 "ring 3: far jump to conforming code keeps CPL", "ljmp $CONFORMING, $1f; 1: movl %cs, %eax; ljmp $USER_CODE32, $1f; 1: nop"
    SEE32 "ring 3: POPF cannot set IF", "pushl $0x3202; popfl; pushfl; popl %eax"
    SEE32 "ring 3: LAR of the kernel's data", "movl $DATA32, %ecx; movl $9, %eax; larl %ecx, %eax"
    SEE32 "ring 3: VERR of conforming code", "movl $CONFORMING, %ecx; verr %cx"
    SEE32 "ring 3: STR, SLDT", "strw %ax; movzwl %ax, %eax; shll $16, %eax; sldtw %ax"
    KERNEL32
    CASE32 "ring 0 again: ESP"
    NOTE32 %esp
    CASE32 "accessed bits: code, data, user code, user data, conforming, read-only"
    movzbl gdt+5+0x08, %eax
    NOTE32 %eax
    movzbl gdt+5+0x10, %eax
    NOTE32 %eax
    movzbl gdt+5+0x18, %eax
    NOTE32 %eax
    movzbl gdt+5+0x20, %eax
    NOTE32 %eax
    movzbl gdt+5+0x60, %eax
    NOTE32 %eax
    movzbl gdt+5+0x68, %eax
    NOTE32 %eax

    /* IRET to ring 3 makes data segments of the kernel null. */
    CASE32 "IRET outwards: DS, ES, FS, GS"
    movl $DATA32, %eax
    movl %eax, %fs
    movl $USER_DATA, %eax
    movl %eax, %gs
    movl $1f, resume
    pushl $USER_DATA
    pushl $USER_STACK
    pushl $2
    pushl $USER_CODE32
    pushl $1f
    iret
1:  movl %ds, %eax
    movl %es, %ebx
    movl %fs, %ecx
    movl %gs, %edx
    movl $USER_DATA, %ebp
    movl %ebp, %ds
    movl %ebp, %es
    NOTE32 %eax
    NOTE32 %ebx
    NOTE32 %ecx
    NOTE32 %edx
    KERNEL32

    /* RET far to ring 3, releasing parameters from both stacks */
    CASE32 "RETF 8 outwards: ESP, CS, SS"
    pushl $USER_DATA
    pushl $(USER_STACK - 32)
    pushl $0
    pushl $0
    pushl $USER_CODE32
    pushl $1f
    lret $8
1:  movl $USER_DATA, %ebp
    movl %ebp, %ds
    movl %ebp, %es
    movl %esp, %eax
    NOTE32 %eax
    movl %cs, %eax
    NOTE32 %eax
    movl %ss, %eax
    NOTE32 %eax
    KERNEL32
    ret

far_leaf:
    lret $4

/* A stack of 16 bits: the 16-bit TSS, and 16-bit code */
protected16:
    movl %esp, kernel_esp
    movl $TSS16, %eax
    ltr %ax
    CASE32 "16-bit TSS: busy"
    NOTE32 gdt_tss16+4
    USER32
    CASE32 "16-bit TSS: INT 0x30 from ring 3"
    movl $1f, fault_at
1:  int $0x30
    CASE32 "16-bit TSS: INT 0x33 from ring 3"
    INT_NEAR NEAR_USER_CODE32, USER_CODE32
    movl $USER_STACK, %esp
    CHECK32 "16-bit TSS: IN", "inb $0x60, %al"
    KERNEL32
    andb $~2, gdt_tss32+5
    movl $TSS32, %eax
    ltr %ax
    movw $STACK16, %ax
    movw %ax, %ss
    movl $0x8000, %esp
    movl $DATA16, %eax
    movl %eax, %ds
    movl %eax, %es
    ljmp $CODE16, $1f-BASE
    .code16
1:  CASE16 "16-bit code in protected mode: CS, SP after two kinds of PUSH, far CALL and RET"
    movw %cs, %ax
    NOTE16 %eax
    pushw $1
    pushl $1
    movl %esp, %eax
    addw $6, %sp
    NOTE16 %eax
    lcall $CODE16, $far_leaf16-BASE
    movl %esp, %eax
    NOTE16 %eax
    lcalll $CODE32, $far_leaf32_of_16
    movl %esp, %eax
    NOTE16 %eax
    FAULT16 "16-bit code: #UD"
    ud2
    END16
    FAULT16 "16-bit code: #GP"
    movw $0x1000, %ax
    movw %ax, %fs
    END16
    CASE16 "16-bit code: INT 0x33, a 16-bit gate"
    movl $1f-BASE, fault_at-BASE
1:  int $0x33
    CASE16 "16-bit code: INT 0x3b, a 16-bit trap gate, with IF"
    movl $1f-BASE, fault_at-BASE
    sti
1:  int $0x3b
    cli
    CASE16 "16-bit code: CALL and RET, ENTER and LEAVE, PUSHA"
    call 2f
    movl %esp, %eax
    NOTE16 %eax
    enter $6, $1
    movl %esp, %eax
    NOTE16 %eax
    leave
    pushaw
    movl %esp, %eax
    popaw
    NOTE16 %eax
    ljmpl $CODE32, $3f
2:  ret
far_leaf16:
    lretw
    .code32
far_leaf32_of_16:
    lret
3:  movl $DATA32, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl kernel_esp, %esp
    ret

    .code16
/* As int30, of 16 bits; the stack may have 32. */
int33:
    pushfl
    pushal
    pushl %ds
    movw $DATA16, %ax
    movw %ax, %ds
    NOTE16 36(%esp)
    leal 40(%esp), %ebp
    NOTE16 %ebp
    movzwl 40(%esp), %eax
    subw fault_at-BASE, %ax
    NOTE16 %eax
    movzwl 42(%esp), %eax
    NOTE16 %eax
    movzwl 44(%esp), %eax
    NOTE16 %eax
    testw $3, 42(%esp)
    jz 1f
    movzwl 46(%esp), %eax
    NOTE16 %eax
    movzwl 48(%esp), %eax
    NOTE16 %eax
1:  popl %ds
    popal
    popfl
    iretw

gate_target16:
    pushl %ds
    pushw $DATA16
    popw %ds
    CASE16 "  in the 16-bit call gate's target: SP, IP CS, parameters, SP SS"
    leal 4(%esp), %eax
    NOTE16 %eax
    movzwl 4(%esp), %eax
    subw fault_at-BASE, %ax
    NOTE16 %eax
    movzwl 6(%esp), %eax
    NOTE16 %eax
    NOTE16 8(%esp)
    NOTE16 12(%esp)
    popl %ds
    lretw $4

note16:
    pushfw
    pushal
    movl 36(%esp), %eax
    movl log_end-BASE, %edi
    movl %eax, -BASE(%edi)
    addl $4, log_end-BASE
    popal
    popfw
    ret $4
begin16:
    pushl $MARK
    call note16
    pushl 2(%esp)
    call note16
    ret $4
    .code32

    .data
kernel_esp: .long 0
    .text
