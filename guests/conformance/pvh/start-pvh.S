/*
 * What makes an ELF file a PVH guest: the one Xen note, and the entry in flat 32-bit protected mode without paging, with
 * %ebx = physical address of hvm_start_info. From here it goes to 64-bit mode, on an identity map of the low 4 GiB in
 * pages of 2 MiB, of which two are for tests: one is not there, one has a table of small pages.
 */
#include <xen/elfnote.h>

    .pushsection .note.Xen, "a", @note
    .balign 4
    .long   4, 4, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz  "Xen"
    .long   start
    .popsection

#define ABSENT_2M   512                         /* at 1 GiB */
#define SMALL_2M    513

    .text
    .code32
    .globl  start
start:
    cld
    movl    $boot_stack_top, %esp
    movl    %ebx, start_info_address
    movl    $pdpt + 7, pml4
    movl    $pds + 7, %eax
    movl    $pdpt, %edi
    movl    $4, %ecx
1:  movl    %eax, (%edi)
    addl    $4096, %eax
    addl    $8, %edi
    loop    1b
    movl    $0xe7, %eax                         /* P RW US A D PS */
    movl    $pds, %edi
    movl    $2048, %ecx
2:  movl    %eax, (%edi)
    addl    $0x200000, %eax
    addl    $8, %edi
    loop    2b
    movl    $0, pds + ABSENT_2M * 8
    movl    $small_pages + 7, pds + SMALL_2M * 8
    movl    $0x20, %eax                         /* PAE */
    movl    %eax, %cr4
    movl    $pml4, %eax
    movl    %eax, %cr3
    movl    $0xc0000080, %ecx
    rdmsr
    orl     $0x100, %eax                        /* LME */
    wrmsr
    movl    $0x80010033, %eax                   /* PG WP NE ET MP PE */
    movl    %eax, %cr0
    lgdt    gdtr
    ljmp    $8, $3f
    .code64
3:  movl    $16, %eax
    movl    %eax, %ds
    movl    %eax, %es
    movl    %eax, %ss
    call    pvh_main
4:  hlt
    jmp     4b

    .data
    .balign 16
gdt:
    .quad   0, 0x00af9b000000ffff, 0x00cf93000000ffff
gdtr:
    .word   gdtr - gdt - 1
    .long   gdt
    .globl  start_info_address
start_info_address:
    .long   0

    .text
    .globl  hypercall_page
    .balign 4096
hypercall_page:                                 /* filled by Xen on a write to its MSR */
    .skip   4096

    .bss
    .balign 4096
pml4:
    .skip   4096
pdpt:
    .skip   4096
pds:
    .skip   4 * 4096
    .globl  small_pages
small_pages:
    .skip   4096
    .skip   32768
boot_stack_top:
    .section .note.GNU-stack, "", @progbits
