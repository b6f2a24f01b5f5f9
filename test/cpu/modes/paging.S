/* 32-bit paging with 4 MiB pages, and PAE paging; ring 3 and CR0.WP */

/* EDI: table; EAX: first entry; EDX: what to add; ECX: entries of 4 bytes */
fill:
    stosl
    addl %edx, %eax
    loop fill
    ret
clear:
    movl $1024, %ecx
    xorl %eax, %eax
    rep stosl
    ret

/* What every mode is asked about WINDOW. */
.macro PAGES text
    CASE32 "\text: supervisor: RW, read-only without WP"
    movl $0xabcd, PLAIN
    NOTE32 FRAME
    movl $0xabce, RO_PAGE
    NOTE32 FRAME
    CHECK32 "\text: supervisor: not present, read", "movl NOT_PRESENT+8, %eax"
    CHECK32 "\text: supervisor: not present, write", "movl %eax, NOT_PRESENT+8"
    CHECK32 "\text: supervisor: not present, over the page's end", "movl PLAIN+0xffe, %eax"
    CHECK32 "\text: supervisor: fetch, not present", "movl $NOT_PRESENT, %eax; jmp *%eax"
    movl %cr0, %eax
    orl $0x10000, %eax
    movl %eax, %cr0
    CHECK32 "\text: supervisor: read-only with WP", "movl %eax, RO_PAGE+4"
    USER32
    CHECK32 "\text: user: not present, read", "movl NOT_PRESENT+8, %eax"
    CHECK32 "\text: user: read-only", "movl %eax, RO_PAGE"
    CHECK32 "\text: user: read-only, add", "addl %eax, RO_PAGE"
    CHECK32 "\text: user: the kernel's, read", "movl KERNEL_PAGE, %eax"
    CHECK32 "\text: user: the kernel's, write", "movl %eax, KERNEL_PAGE"
    CHECK32 "\text: user: the kernel's, fetch", "movl $KERNEL_PAGE, %eax; jmp *%eax"
    SEE32 "\text: user: RW", "movl PLAIN, %eax; incl %eax; movl %eax, PLAIN; movl RO_PAGE, %eax"
    KERNEL32
    movl %cr0, %eax
    andl $~0x10000, %eax
    movl %eax, %cr0
.endm
.macro PAGING_OFF
    movl %cr0, %eax
    andl $0x7fffffff, %eax
    movl %eax, %cr0
.endm

paging32:
    movl %esp, kernel_esp
    movl $PD32, %edi
    call clear
    call clear
    movl $PD32, %edi
    movl $0x87, %eax
    movl $0x400000, %edx
    movl $8, %ecx
    call fill
    movl $(PT32 | 7), PD32 + (WINDOW >> 22) * 4
    movl $PT32, %ebx
    movl $(FRAME | 7), (%ebx)
    movl $(FRAME | 6), 4(%ebx)
    movl $(FRAME | 5), 8(%ebx)
    movl $(FRAME | 3), 12(%ebx)
    movl %cr4, %eax
    orl $0x10, %eax
    movl %eax, %cr4
    movl $PD32, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    jmp 1f
1:  PAGES "32-bit paging"
    CASE32 "32-bit paging: entries marked"
    NOTE32 PD32
    NOTE32 PD32+4
    NOTE32 PD32 + (WINDOW >> 22) * 4
    NOTE32 PT32
    NOTE32 PT32+4
    NOTE32 PT32+8
    NOTE32 PT32+12
    movl $0xa00087, PD32+12
    CHECK32 "32-bit paging: bit 21 of a 4 MiB page", "movl 0xc00000, %eax"
    movl $(FRAME | 7), PT32+4
    invlpg NOT_PRESENT
    SEE32 "32-bit paging: present after INVLPG", "movl NOT_PRESENT, %eax"
    PAGING_OFF
    CASE32 "paging off: linear is physical"
    movl WINDOW, %eax
    NOTE32 %eax
    ret


/* The page directory and table that PAE and 4-level paging share; with EAX = 4 the low 16 MiB are a user's, too. */
make_tables:
    pushl %eax
    movl $PD, %edi
    call clear
    call clear
    movl $PD, %ebx
    popl %eax
    orl $0x83, %eax
1:  movl %eax, (%ebx)
    addl $0x200000, %eax
    addl $8, %ebx
    cmpl $(PD + 8 * 8), %ebx
    jb 1b
    movl $(PT | 7), PD + (WINDOW >> 21) * 8
    movl $PT, %ebx
    movl $(FRAME | 7), (%ebx)
    movl $(FRAME | 6), 8(%ebx)
    movl $(FRAME | 5), 16(%ebx)
    movl $(FRAME | 3), 24(%ebx)
    movl $(FRAME | 7), 32(%ebx)
    movl $0x80000000, 36(%ebx)
    movl $(FRAME | 7), 40(%ebx)
    movl $0x00080000, 44(%ebx)
    ret

.macro PAE_PAGES text
    movl $0xc0000080, %ecx
    rdmsr
    andl $~0x800, %eax
    wrmsr
    CHECK32 "\text: bit 63 without NXE, read", "movl NX_PAGE, %eax"
    CHECK32 "\text: fetch without NXE", "movl $NOT_PRESENT, %eax; jmp *%eax"
    movl $0xc0000080, %ecx
    rdmsr
    orl $0x800, %eax
    wrmsr
    SEE32 "\text: NX, read", "movl NX_PAGE, %eax"
    CHECK32 "\text: NX, fetch", "movl $NX_PAGE, %eax; jmp *%eax"
    CHECK32 "\text: fetch, not present, NXE", "movl $NOT_PRESENT, %eax; jmp *%eax"
    CHECK32 "\text: reserved bit, read", "movl RESERVED_PAGE, %eax"
    CHECK32 "\text: reserved bit, write", "movl %eax, RESERVED_PAGE"
.endm

paging_pae:
    movl %esp, kernel_esp
    movl $4, %eax
    call make_tables
    movl $PAE_TABLE, %edi
    call clear
    movl $(PD | 1), PAE_TABLE
    movl %cr4, %eax
    orl $0x20, %eax
    movl %eax, %cr4
    movl $PAE_TABLE, %eax
    movl %eax, %cr3
    movl %cr0, %eax
    orl $0x80000000, %eax
    movl %eax, %cr0
    jmp 1f
1:  PAGES "PAE"
    PAE_PAGES "PAE"
    CHECK32 "PAE: a directory that is not present", "movl 0x40000000, %eax"
    CASE32 "PAE: entries marked"
    NOTE32 PAE_TABLE
    NOTE32 PD
    NOTE32 PD + (WINDOW >> 21) * 8
    NOTE32 PT
    NOTE32 PT+8
    NOTE32 PT+16
    NOTE32 PT+24
    NOTE32 PT+32
    NOTE32 PT+40
    PAGING_OFF
    ret
