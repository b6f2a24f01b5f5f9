/* Real mode, entered and left */

.macro SEE16 text, insn:req
    CASE16 "\text"
    \insn
    pushfl
    NOTE16 %eax
    popl %eax
    andl $0x8d5, %eax
    NOTE16 %eax
.endm
.macro CHECK16 text, insn:req
    FAULT16 "\text"
    \insn
    END16
.endm

to_real_and_back:
    movl %esp, kernel_esp
    xorl %edi, %edi
    movl $256, %ecx
1:  movl %edi, %eax
    shll $2, %eax
    addl $(REAL_SEGMENT << 16) + stubs16 - BASE, %eax
    movl %eax, (%edi)
    addl $4, %edi
    cmpl $(16 * 4), %edi
    jb 1b
    movl $(REAL_SEGMENT << 16) + int20 - BASE, 0x20*4
    lidt real_idt_pointer
    ljmp $CODE16, $1f-BASE
    .code16
1:  movw $DATA16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %fs
    movw %ax, %gs
    movw $STACK16, %ax
    movw %ax, %ss
    movl $0x8000, %esp
    movl %cr0, %eax
    andb $~1, %al
    movl %eax, %cr0
    CASE16 "real mode, before the far jump: CS"
    movw %cs, %ax
    movzwl %ax, %eax
    NOTE16 %eax
    ljmp $REAL_SEGMENT, $1f-BASE
1:  movw $REAL_SEGMENT, %ax
    movw %ax, %ds
    movw %ax, %es
    xorw %ax, %ax
    movw %ax, %fs
    movw $0x800, %ax
    movw %ax, %gs
    movw $REAL_STACK, %ax
    movw %ax, %ss
    CASE16 "real mode: CS, SS, SP, FLAGS, MSW"
    movw %cs, %ax
    movzwl %ax, %eax
    NOTE16 %eax
    movw %ss, %ax
    NOTE16 %eax
    NOTE16 %esp
    pushfw
    popw %ax
    andw $~0x8d5, %ax
    NOTE16 %eax
    smsw %ax
    andw $15, %ax
    NOTE16 %eax
    CASE16 "real mode: INT 0x20: FLAGS now, SP, IP, CS, FLAGS"
    movl $1f-BASE, fault_at-BASE
    sti
1:  int $0x20
    cli
    CHECK16 "real mode: #DE", "xorw %cx, %cx; divw %cx"
    CHECK16 "real mode: #UD", "ud2"
    CHECK16 "real mode: SLDT", "sldt %ax"
    CHECK16 "real mode: STR", "str %ax"
    CHECK16 "real mode: LAR", "lar %ax, %ax"
    CHECK16 "real mode: VERR", "verr %ax"
    CHECK16 "real mode: ARPL", "arpl %ax, %ax"
    CHECK16 "real mode: LTR", "ltr %ax"
    CHECK16 "real mode: MOV CS", ".byte 0x8e, 0xc8"
    CHECK16 "real mode: BOUND", "movw $5, scratch-BASE; movw $9, scratch-BASE+2; movw $10, %ax; bound %ax, scratch-BASE"
    CHECK16 "real mode: INTO", "movb $0x7f, %al; incb %al; into"
    CHECK16 "real mode: INT3", "int3"
    CHECK16 "real mode: single step", "pushfw; popw %ax; orw $0x100, %ax; pushw %ax; popfw; nop"
    CHECK16 "real mode: LOCK NOP", ".byte 0xf0, 0x90"

    CASE16 "real mode: far CALL and RET by pointer and memory, SP each time"
    lcall $REAL_SEGMENT, $leaf_real-BASE
    movw $leaf_real-BASE, scratch-BASE
    movw $REAL_SEGMENT, scratch-BASE+2
    lcall *scratch-BASE
    lcall $(REAL_SEGMENT - 0x10), $leaf_real - BASE + 0x100
    pushw $0
    lcall $REAL_SEGMENT, $leaf_real2-BASE
    NOTE16 %esp
    movw %cs, %ax
    NOTE16 %eax
    CASE16 "real mode: IRET of 16 and 32 bits: FLAGS, SP"
    pushfl
    movl (%esp), %ecx
    orl $0x243000, (%esp)
    pushl $REAL_SEGMENT
    pushl $1f-BASE
    iretl
1:  pushfl
    popl %eax
    andl $~0x8d5, %eax
    NOTE16 %eax
    pushw %cx
    pushw %cs
    pushw $1f-BASE
    iretw
1:  pushfl
    popl %eax
    andl $~0x8d5, %eax
    NOTE16 %eax
    NOTE16 %esp
    pushl %ecx
    popfl

    SEE16 "real mode: [BX+SI+d]", "movl $0x11223344, scratch-BASE+8; movw $scratch-BASE, %bx; movw $6, %si; movl 2(%bx,%si), %eax"
    SEE16 "real mode: [BP+DI], of SS", "movl $0x5566, %ebp; movw $4, %di; movl $0x778899aa, (%bp,%di); movl %ss:0x556a, %eax"
    SEE16 "real mode: [SI+d16] with DS override", "movw $0xfff0, %si; movl scratch-BASE+0x18(%si), %eax"
    SEE16 "real mode: 32-bit address", "movl $scratch-BASE, %ebx; movl $2, %ecx; movl (%ebx,%ecx,4), %eax"
    SEE16 "real mode: another segment", "movl $0x01020304, %fs:0x8010; movl %gs:0x10, %eax"
    SEE16 "real mode: write through CS", "movl $0x0a0b0c0d, %cs:scratch-BASE; movl scratch-BASE, %eax"
    SEE16 "real mode: SP wraps", "movw %sp, %cx; movw $2, %sp; pushw $0x1234; pushw $0x5678; movl %esp, %eax; popw %ax; movw %cx, %sp"
    SEE16 "real mode: LES", "movw $0x1234, scratch-BASE; movw $0x4321, scratch-BASE+2; lesw scratch-BASE, %bx; movw %es, %ax; shll $16, %eax; movw %bx, %ax; pushw %ds; popw %es"
    SEE16 "real mode: PUSHA, POPA", "movw $1, %ax; movw $2, %cx; movw $3, %dx; movw $4, %bx; pushaw; movl %esp, %ebx; popaw; shll $16, %eax; movw %bx, %ax"
    SEE16 "real mode: ENTER, LEAVE", "movw $0x7000, %bp; enter $4, $3; movl %esp, %eax; shll $16, %eax; movw %bp, %ax; leave"
    SEE16 "real mode: XLAT", "movb $0x42, scratch-BASE+5; movw $scratch-BASE, %bx; movl $5, %eax; xlatb"
    SEE16 "real mode: LOOP with ECX", "movl $0x20002, %ecx; xorl %eax, %eax; 1: incl %eax; addr32 loop 1b"
    SEE16 "real mode: LOOP with CX", "movl $0x20002, %ecx; xorl %eax, %eax; 1: incl %eax; loop 1b; shll $16, %eax; addl %ecx, %eax"
    SEE16 "real mode: REP STOSW, DF", "movl $3, %ecx; movw $scratch-BASE+8, %di; movw $0x7788, %ax; std; rep stosw; cld; movl scratch-BASE+4, %eax; xorw %di, %ax"
    SEE16 "real mode: REP MOVSB with ESI", "movl $4, %ecx; movl $scratch-BASE+6, %esi; movl $scratch-BASE, %edi; addr32 rep movsb; movl scratch-BASE, %eax"
    SEE16 "real mode: CALL near by memory", "movw $near_leaf-BASE, scratch-BASE; call *scratch-BASE"
    SEE16 "real mode: 32-bit CALL and RET", "calll 2f; jmp 3f; 2: movl (%esp), %eax; subl $2b-BASE, %eax; retl; 3: nop"
    SEE16 "real mode: MUL, IDIV", "movw $0x1234, %ax; movw $0x100, %cx; mulw %cx; movw $0x300, %cx; idivw %cx; shll $16, %eax; movw %dx, %ax"
    SEE16 "real mode: DAA", "movl $0x9c, %eax; clc; daa"
    SEE16 "real mode: AAD", "movl $0x0507, %eax; aad"
    SEE16 "real mode: MOVZX, BSF, SHLD", "movl $0x80f0, %ecx; movzbl %cl, %eax; bsfw %cx, %dx; shldw $4, %cx, %ax; shll $16, %eax; movw %dx, %ax"
    SEE16 "real mode: SMSW, LMSW keeps PE clear", "movl %cr0, %eax; andl $~1, %eax; lmsw %ax; smsw %ax; andl $15, %eax"
    SEE16 "real mode: PUSH imm8, sign", "pushw $-2; popw %ax; movzwl %ax, %eax"
    CASE16 "real mode: SGDT"
    sgdtl scratch-BASE
    NOTE16 scratch-BASE
    movzwl scratch-BASE+4, %eax
    NOTE16 %eax

    lgdtl gdt_pointer-BASE
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $CODE32, $1f
    .code32
1:  movl $DATA32, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl %eax, %fs
    movl %eax, %gs
    movl kernel_esp, %esp
    lidt idt_pointer
    CHECK32 "real mode left: #UD", "ud2"
    ret

    .code16
leaf_real:
    NOTE16 %esp
    movw %cs, %ax
    movzwl %ax, %eax
    NOTE16 %eax
    lretw
leaf_real2:
    lretw $2
near_leaf:
    movw $0x99, %ax
    retw

    .balign 16
stubs16:
    vector = 0
    .rept 16
    .balign 16
    pushl $vector
    jmp common16
    vector = vector + 1
    .endr

/* Frame: vector (4 bytes), IP, CS, FLAGS */
common16:
    pushal
    pushl %ds
    movw $REAL_SEGMENT, %ax
    movw %ax, %ds
    NOTE16 36(%esp)
    movzwl 40(%esp), %eax
    subw fault_at-BASE, %ax
    NOTE16 %eax
    movzwl 42(%esp), %eax
    NOTE16 %eax
    movzwl 44(%esp), %eax
    andw $~0x8d5, %ax
    NOTE16 %eax
    leal 40(%esp), %eax
    NOTE16 %eax
    movl resume-BASE, %eax
    movw %ax, 40(%esp)
    andw $~0x100, 44(%esp)
    popl %ds
    popal
    addw $4, %sp
    iretw

int20:
    pushfl
    pushal
    NOTE16 32(%esp)
    leal 36(%esp), %eax
    NOTE16 %eax
    movzwl 36(%esp), %eax
    subw fault_at-BASE, %ax
    NOTE16 %eax
    movzwl 38(%esp), %eax
    NOTE16 %eax
    movzwl 40(%esp), %eax
    andw $~0x8d5, %ax
    NOTE16 %eax
    popal
    popfl
    iretw
    .code32
