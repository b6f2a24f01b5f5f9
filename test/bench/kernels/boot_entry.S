/* What boot.c cannot say in C: the descriptor tables' loading, interrupt entries, the way to user mode and back. */
	.text
	.globl load_tables
load_tables:				/* gdt pointer, idt pointer */
	lgdt (%rdi)
	lidt (%rsi)
	movl $0x10, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	movl $0x28, %eax
	ltr %ax
	popq %rax
	pushq $8
	pushq %rax
	lretq

	.macro save
	pushq %rax
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	.endm
	.macro restore
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rax
	.endm

	.globl page_fault_entry, tick_entry, return_entry
page_fault_entry:
	save
	movq %cr2, %rdi
	movq 72(%rsp), %rsi		/* the error code */
	cld
	call page_fault
	restore
	addq $8, %rsp
	iretq

tick_entry:
	save
	cld
	call tick
	restore
	iretq

/* uint64_t run_user(routine, struct context *, uint64_t x, uint64_t depth, uint64_t *stack): until it returns. */
	.globl run_user, user_return, user_return_end
run_user:
	pushq %rbx
	pushq %rbp
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	movq %rsp, tss + 4
	movq %rdi, %rax
	movq %rsi, %rdi
	movq %rdx, %rsi
	movq %rcx, %rdx
	pushq $0x1b
	pushq %r8
	pushq $2				/* no interrupts: nobody set up their controllers */
	pushq $0x23
	pushq %rax
	iretq
return_entry:				/* int 0x80 of user mode: the result is in rax */
	movq tss + 4, %rsp
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %rbp
	popq %rbx
	ret

user_return:				/* where user code returns to; copied beside the routines */
	int $0x80
user_return_end:
	.section .note.GNU-stack,"",@progbits
