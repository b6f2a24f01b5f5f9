/*
 * Two ways in: `start64` (64-bit mode is on; rdi = kernel, rsi = rounds; ends in hlt with the checksum in rax), and, for
 * QEMU, a PVH entry that builds page tables, turns on 64-bit mode, and reads both numbers from the command line
 * ("K RRRR"). It writes S to port 0xe9 before and E and the checksum after, and ends by port 0xf4 (isa-debug-exit).
 */
	.section .note.Xen, "a", @note
	.long 4, 4, 18
	.asciz "Xen"
	.long start32

	.text
	.code64
	.globl start64
start64:
	cld
	leaq stack_top(%rip), %rsp
	call run_kernel
	hlt

	.code32
start32:
	cld
	movl $stack_top, %esp
	movl 24(%ebx), %esi		/* hvm_start_info.cmdline_paddr */
	movl $tables, %edi
	movl $tables + 0x1003, (%edi)
	movl $tables + 0x2003, 0x1000(%edi)
	xorl %ecx, %ecx
1:	movl %ecx, %eax
	shll $21, %eax
	orl $0x83, %eax
	movl %eax, 0x2000(%edi, %ecx, 8)
	incl %ecx
	cmpl $512, %ecx
	jne 1b
	movl %edi, %cr3
	movl $0x6a0, %eax
	movl %eax, %cr4
	movl $0xc0000080, %ecx
	rdmsr
	orl $0x101, %eax
	wrmsr
	movl %cr0, %eax
	andl $~4, %eax
	orl $0x80000022, %eax
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $8, $long_mode
	.code64
long_mode:
	movl $16, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl %esi, %esi
	movzbl (%rsi), %edi
	subl $'0', %edi
	addq $2, %rsi
	xorl %edx, %edx
2:	movzbl (%rsi), %eax
	subl $'0', %eax
	cmpl $9, %eax
	ja 3f
	imulq $10, %rdx
	addq %rax, %rdx
	incq %rsi
	jmp 2b
3:	movq %rdx, %rsi
	movb $'S', %al
	outb %al, $0xe9
	call run_kernel
	movq %rax, %rbx
	movb $'E', %al
	outb %al, $0xe9
	movl $16, %ecx
4:	rolq $4, %rbx
	movl %ebx, %eax
	andl $15, %eax
	addl $'0', %eax
	cmpl $'9', %eax
	jbe 5f
	addl $'a' - '9' - 1, %eax
5:	outb %al, $0xe9
	loop 4b
	movb $'\n', %al
	outb %al, $0xe9
	outb %al, $0xf4
6:	hlt
	jmp 6b

	.balign 8
gdt:	.quad 0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdt_pointer:
	.word . - gdt - 1
	.long gdt

	.bss
	.balign 4096
tables:	.skip 3 * 4096
	.skip 65536
stack_top:
	.section .note.GNU-stack,"",@progbits
