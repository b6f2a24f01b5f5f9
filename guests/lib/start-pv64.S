/*
 * What makes an ELF file a PV64 guest: the Xen notes (xen:public/elfnote.h), the entry point and the
 * hypercall page. Xen starts vCPU 0 here in 64-bit mode, at CPL 3, on page tables it built, with
 * %rsi = virtual address of start_info, %rsp = a one-page boot stack, events masked.
 */
#include <xen/elfnote.h>

#define NOTE(type, value...)                    \
    .pushsection .note.Xen, "a", @note          ;\
    .balign 4                                   ;\
    .long   2f - 1f, 4f - 3f, type              ;\
1:  .asciz  "Xen"                               ;\
2:  .balign 4                                   ;\
3:  value                                       ;\
4:  .balign 4                                   ;\
    .popsection

NOTE(XEN_ELFNOTE_GUEST_OS,       .asciz GUEST_NAME)
NOTE(XEN_ELFNOTE_XEN_VERSION,    .asciz "xen-3.0")
NOTE(XEN_ELFNOTE_LOADER,         .asciz "generic")
NOTE(XEN_ELFNOTE_FEATURES,       .asciz "")
NOTE(XEN_ELFNOTE_VIRT_BASE,      .quad VIRT_BASE)
NOTE(XEN_ELFNOTE_PADDR_OFFSET,   .quad 0)
NOTE(XEN_ELFNOTE_ENTRY,          .quad start)
NOTE(XEN_ELFNOTE_HYPERCALL_PAGE, .quad hypercall_page)

    .text
    .globl  start
    .type   start, @function
start:
    cld
    leaq    boot_stack_top(%rip), %rsp
    movq    %rsi, %rdi
    xorl    %ebp, %ebp
    call    guest_start
1:  jmp     1b
    .size   start, . - start

    .globl  hypercall_page
    .balign 4096
hypercall_page:                 /* filled by Xen: hypercall nr is at nr * 32 */
    .skip   4096

    .bss
    .balign 16
    .skip   32768
    .globl  boot_stack_top
boot_stack_top:
    .section .note.GNU-stack, "", @progbits
