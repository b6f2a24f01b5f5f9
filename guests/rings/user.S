/*
 * The user-mode programs of this guest: each a few instructions, copied to a page that only the user page tables map,
 * and ended by the trap that is its point or by the last `syscall`. rdi points to user data.
 */
    .macro  program name
    .pushsection .rodata
9:  .asciz  "\name"
    .popsection
8:
    .endm

    .macro  end
    syscall
7:  .pushsection .rodata.programs, "a"
    .quad   9b, 8b, 7b - 8b
    .popsection
    .endm

    .section .rodata.programs, "a"
    .globl  user_programs
user_programs:

    .text
    program "nothing but a syscall"; nop; end
    program "ud2"; ud2; end
    program "int3"; int3; end
    program "int $0x20, DPL 0"; int $0x20; end
    program "int $0x21, DPL 1"; int $0x21; end
    program "int $0x22, DPL 2"; int $0x22; end
    program "int $0x23, DPL 3"; int $0x23; end
    program "int $0x80, DPL 3"; int $0x80; end
    program "div by zero"; xorl %ecx, %ecx; divl %ecx; end
    program "cli"; cli; end
    program "sti"; sti; end
    program "hlt"; hlt; end
    program "in from port 0x150"; movl $0x150, %edx; inb %dx, %al; end
    program "out to port 0x150"; movl $0x150, %edx; outb %al, %dx; end
    program "mov %cr0, %rax"; movq %cr0, %rax; end
    program "mov %cr3, %rax"; movq %cr3, %rax; end
    program "mov %rax, %cr3"; movq %rax, %cr3; end
    program "mov %dr7, %rax"; movq %dr7, %rax; end
    program "clts"; clts; end
    program "wbinvd"; wbinvd; end
    program "invlpg"; invlpg (%rdi); end
    program "lgdt"; lgdt (%rdi); end
    program "swapgs"; swapgs; end
    program "sysretq"; sysretq; end
    program "rdmsr of FS_BASE"; movl $0xc0000100, %ecx; rdmsr; end
    program "wrmsr of FS_BASE"; movl $0xc0000100, %ecx; wrmsr; end
    program "rdtsc"; rdtsc; end
    program "cpuid"; xorl %eax, %eax; cpuid; end
    program "forced-emulation cpuid"; movl $0x40000000, %eax; ud2; .ascii "xen"; cpuid; end
    program "popfq with IF clear"; pushq $2; popfq; pushfq; popq %rax; end
    program "popfq with IOPL 3"; pushq $0x3202; popfq; pushfq; popq %rax; end
    program "read of user data"; movq (%rdi), %rax; end
    program "write to user data"; movq %rax, (%rdi); end
    program "read through gs"; movq %gs:0, %rax; end
    program "read of a page without US"; movq 4096(%rdi), %rax; end
    program "write to a read-only page"; movq %rax, 8192(%rdi); end
    program "read where nothing is mapped"; movq 12288(%rdi), %rax; end
    program "jump to no-execute user data"; jmp *%rdi; end
    program "read of the kernel"; movq $hypercall_page, %rax; movq (%rax), %rax; end
    program "write to the kernel"; movq $hypercall_page, %rax; movq %rax, (%rax); end
    program "jump to the kernel"; movq $hypercall_page, %rax; jmp *%rax; end
    program "read of the m2p"; movabsq $0xffff800000000000, %rax; movq (%rax), %rax; end
    program "read of Xen's memory"; movabsq $0xffff830000000000, %rax; movq (%rax), %rax; end
    program "read of a non-canonical address"; movabsq $0x800000000000, %rax; movq (%rax), %rax; end
    program "Xen's code segment"; pushq $0xe008; pushq %rdi; lretq; end
    program "32-bit code"
    leaq    1f(%rip), %rax
    pushq   $0xe023
    pushq   %rax
    lretq
1:  .code32
    movl    $0x12345678, %eax
    incl    %eax                    /* 0x40 here; in 64-bit mode that byte is a prefix */
    int     $0x80
    .code64
    end

    .section .rodata.programs, "a"
    .quad   0
    .section .note.GNU-stack, "", @progbits
