/*
 * Writes to page tables through their read-only mapping. With the writable_pagetables assist (as dom0 always) Xen performs
 * those to L1 tables, if they are one aligned access of at most 8 bytes by an instruction that its emulator takes there
 * and the new entry is allowed (xen:arch/x86/pv/ro-page-fault.c); all else is the guest's own page fault.
 */
#include "writes.h"
#include "paging.h"
#include "trap.h"

static char area[4][PAGE_SIZE] __attribute__((aligned(4 * 4096)));     /* so that the entries are one behind the other, the first at 32n */
static pte_t *entries;                          /* of area */
static pte_t before[4];
static pte_t source[4];

/* "area[1] 67": the frame by name; "? 25": another frame, whose number is no one's business. */
static void print_entry(const char *name, pte_t entry)
{
    static const char *const frames[] = { "area[0] ", "area[1] ", "area[2] ", "area[3] " };
    const char *frame = entry & PTE_FRAME ? "? " : "";

    for (int i = 0; i < 4; i++)
        if ((entry & PTE_FRAME) / PAGE_SIZE == mfn_of(area[i]))
            frame = frames[i];
    if ((entry & PTE_FRAME) / PAGE_SIZE == mfn_of(entries))
        frame = "the table ";
    print("    %s is %s%lx\n", name, frame, entry & ~PTE_FRAME);
}

/* All entries of the area as after a remap of each with `flags`. */
static void prepare(uint64_t flags)
{
    for (int i = 0; i < 4; i++)
        write_entry(&entries[i], make_pte(area[i], flags));
    for (int i = 0; i < 4; i++)
        before[i] = entries[i];
}

static void tell(const char *what, uint64_t rax, uint64_t old_rax, uint64_t rdx, uint64_t old_rdx)
{
    report(what);
    for (int i = 0; i < 4; i++)
        if (entries[i] != before[i]) {
            static char name[] = "entry 0";

            name[6] = '0' + i;
            print_entry(name, entries[i]);
        }
    if (rax != old_rax)
        print_entry("rax", rax);
    if (rdx != old_rdx)
        print_entry("rdx", rdx);
}

/*
 * One instruction at entry 0: rdi points at it, rax has it, rdx is `value`, rsi points at `source`, rcx is 3 and rbx `value` too.
 */
#define TRY(what, flags, value, instruction) do {                                               \
        uint64_t rax_, rdx_ = (value), rbx_ = rdx_, old_, old_rdx_ = rdx_, rcx_ = 3;            \
        pte_t *rdi_ = entries, *rsi_ = source;                                                  \
        prepare(flags);                                                                         \
        old_ = rax_ = entries[0];                                                               \
        probe.target = entries;                                                                 \
        PROBE(instruction, "+a" (rax_), "+d" (rdx_), "+b" (rbx_), "+c" (rcx_), "+D" (rdi_), "+S" (rsi_) :: "r8", "r9", "memory", "cc"); \
        tell(what, rax_, old_, rdx_, old_rdx_);                                                 \
    } while (0)

#define OTHER   make_pte(area[1], PTE_DATA)     /* an entry that is allowed */
#define RDONLY  make_pte(area[0], PTE_RDONLY)
#define WRONG   (0xfffffffffUL * PAGE_SIZE | PTE_DATA)  /* names no frame */
#define TABLE   make_pte(entries, PTE_DATA)     /* maps a page table writable */

static void moves(void)
{
    TRY("mov, 8 bytes", PTE_DATA, OTHER, "movq %%rdx, (%%rdi)");
    TRY("mov, 8 bytes, of what is there", PTE_DATA, make_pte(area[0], PTE_DATA), "movq %%rdx, (%%rdi)");
    TRY("mov of zero, 8 bytes, immediate", PTE_DATA, 0, "movq $0, (%%rdi)");
    TRY("mov of zero, 4 bytes, immediate", PTE_DATA, 0, "movl $0, (%%rdi)");
    TRY("mov, 4 bytes", PTE_DATA, RDONLY, "movl %%edx, (%%rdi)");
    TRY("mov, 4 bytes, the upper half", PTE_DATA, PTE_NX >> 32 | RDONLY >> 32, "movl %%edx, 4(%%rdi)");
    TRY("mov, 2 bytes", PTE_DATA, RDONLY, "movw %%dx, (%%rdi)");
    TRY("mov, 2 bytes, the last", PTE_DATA, 0x8000, "movw %%dx, 6(%%rdi)");
    TRY("mov, 1 byte", PTE_DATA, RDONLY, "movb %%dl, (%%rdi)");
    TRY("mov, 1 byte, immediate", PTE_DATA, 0, "movb $5, (%%rdi)");
    TRY("mov, 1 byte, the second", PTE_DATA, (RDONLY >> 8 & 0xf0) | 2, "movb %%dl, 1(%%rdi)");
    TRY("mov, 1 byte, the last", PTE_DATA, 0x80, "movb %%dl, 7(%%rdi)");
    TRY("mov, 8 bytes, at entry + 1", PTE_DATA, OTHER, "movq %%rdx, 1(%%rdi)");
    TRY("mov, 8 bytes, at entry + 4", PTE_DATA, 0, "movq %%rdx, 4(%%rdi)");
    TRY("mov, 4 bytes, at entry + 2", PTE_DATA, 0, "movl %%edx, 2(%%rdi)");
    TRY("mov, 2 bytes, at entry + 1", PTE_DATA, 0, "movw %%dx, 1(%%rdi)");
    TRY("mov, 2 bytes, at entry + 7", PTE_DATA, 0, "movw %%dx, 7(%%rdi)");
    TRY("mov of an entry to no frame", PTE_DATA, WRONG, "movq %%rdx, (%%rdi)");
    TRY("mov of a writable entry to a table", PTE_DATA, TABLE, "movq %%rdx, (%%rdi)");
    TRY("mov of a read-only entry to a table", PTE_DATA, make_pte(entries, PTE_RDONLY), "movq %%rdx, (%%rdi)");
    TRY("mov, 1 byte, that makes a table writable", PTE_DATA, make_pte(entries, PTE_RDONLY), "movq %%rdx, (%%rdi)\n\tmovb $0x67, (%%rdi)");
    TRY("mov of an entry for the supervisor", PTE_DATA, make_pte(area[1], PTE_P | PTE_RW), "movq %%rdx, (%%rdi)");
    TRY("mov of an entry with G and available bits", PTE_DATA, make_pte(area[1], PTE_DATA | PTE_G | 0xe00), "movq %%rdx, (%%rdi)");
    TRY("mov of 0 with all flags but P", PTE_DATA, 0xfff0000000000ffeUL, "movq %%rdx, (%%rdi)");
    TRY("mov to an absent entry", 0, OTHER, "movq %%rdx, (%%rdi)");
    TRY("mov through fs", PTE_DATA, OTHER, "movq %%rdx, %%fs:(%%rdi)");
    TRY("mov with an index", PTE_DATA, OTHER, "movq %%rdx, -24(%%rdi,%%rcx,8)");
    TRY("mov to the next entry", PTE_DATA, OTHER, "movq %%rdx, 8(%%rdi)");
    TRY("mov of a segment register", PTE_DATA, 0, "movw %%ds, (%%rdi)");
    TRY("movnti, 8 bytes", PTE_DATA, OTHER, "movntiq %%rdx, (%%rdi)");
    TRY("movnti, 4 bytes", PTE_DATA, RDONLY, "movntil %%edx, (%%rdi)");
    TRY("setz", PTE_DATA, 0, "setz (%%rdi)");
    TRY("smsw", PTE_DATA, 0, "smsw (%%rdi)");
    TRY("sldt", PTE_DATA, 0, "sldt (%%rdi)");
    TRY("str", PTE_DATA, 0, "str (%%rdi)");
    TRY("sgdt", PTE_DATA, 0, "sgdt (%%rdi)");
    TRY("sidt", PTE_DATA, 0, "sidt (%%rdi)");
}

static void exchanges(void)
{
    TRY("xchg, 8 bytes", PTE_DATA, OTHER, "xchgq %%rdx, (%%rdi)");
    TRY("xchg with zero", PTE_DATA, 0, "xchgq %%rdx, (%%rdi)");
    TRY("xchg, 4 bytes", PTE_DATA, (uint32_t)RDONLY, "xchgl %%edx, (%%rdi)");
    TRY("xchg, 1 byte", PTE_DATA, PTE_RDONLY, "xchgb %%dl, (%%rdi)");
    TRY("xchg, 8 bytes, at entry + 4", PTE_DATA, 0, "xchgq %%rdx, 4(%%rdi)");
    TRY("xchg, an entry to no frame", PTE_DATA, WRONG, "xchgq %%rdx, (%%rdi)");
    TRY("xadd, 8 bytes", PTE_DATA, -PTE_RW, "xaddq %%rdx, (%%rdi)");
    TRY("lock xadd, 8 bytes", PTE_DATA, -PTE_RW, "lock xaddq %%rdx, (%%rdi)");
    TRY("lock xadd, 1 byte", PTE_DATA, 0x100 - PTE_RW, "lock xaddb %%dl, (%%rdi)");
    TRY("cmpxchg, equal", PTE_DATA, OTHER, "cmpxchgq %%rdx, (%%rdi)");
    TRY("cmpxchg, not equal", PTE_DATA, OTHER, "xorl %%eax, %%eax\n\tcmpxchgq %%rdx, (%%rdi)");
    TRY("lock cmpxchg, equal", PTE_DATA, OTHER, "lock cmpxchgq %%rdx, (%%rdi)");
    TRY("lock cmpxchg, not equal", PTE_DATA, OTHER, "xorl %%eax, %%eax\n\tlock cmpxchgq %%rdx, (%%rdi)");
    TRY("lock cmpxchg, not equal, an entry to no frame", PTE_DATA, WRONG, "xorl %%eax, %%eax\n\tlock cmpxchgq %%rdx, (%%rdi)");
    TRY("lock cmpxchg, equal, an entry to no frame", PTE_DATA, WRONG, "lock cmpxchgq %%rdx, (%%rdi)");
    TRY("lock cmpxchg, 4 bytes, equal", PTE_DATA, (uint32_t)RDONLY, "lock cmpxchgl %%edx, (%%rdi)");
    TRY("lock cmpxchg, 1 byte, equal", PTE_DATA, PTE_RDONLY, "lock cmpxchgb %%dl, (%%rdi)");
    TRY("cmpxchg8b, equal", PTE_DATA, OTHER, "movq %%rbx, %%rcx\n\tshrq $32, %%rcx\n\tmovq %%rax, %%rdx\n\tshrq $32, %%rdx\n\tcmpxchg8b (%%rdi)");
    TRY("lock cmpxchg8b, equal", PTE_DATA, OTHER, "movq %%rbx, %%rcx\n\tshrq $32, %%rcx\n\tmovq %%rax, %%rdx\n\tshrq $32, %%rdx\n\tlock cmpxchg8b (%%rdi)");
    TRY("lock cmpxchg8b, not equal", PTE_DATA, OTHER, "xorl %%eax, %%eax\n\txorl %%edx, %%edx\n\tlock cmpxchg8b (%%rdi)");
    TRY("lock cmpxchg8b at entry + 4", PTE_DATA, 0, "movl 4(%%rdi), %%eax\n\tmovl 8(%%rdi), %%edx\n\tlock cmpxchg8b 4(%%rdi)");
    TRY("lock cmpxchg16b, equal", PTE_DATA, OTHER, "movq 8(%%rdi), %%rdx\n\tmovq %%rdx, %%rcx\n\tlock cmpxchg16b (%%rdi)");
    TRY("lock cmpxchg16b, not equal", PTE_DATA, OTHER, "xorl %%eax, %%eax\n\tlock cmpxchg16b (%%rdi)");
}

static void arithmetic(void)
{
    TRY("and, 8 bytes", PTE_DATA, 0, "andq $-3, (%%rdi)");
    TRY("lock and, 8 bytes", PTE_DATA, 0, "lock andq $-3, (%%rdi)");
    TRY("lock and, 8 bytes, a register", PTE_DATA, -1UL ^ PTE_RW, "lock andq %%rdx, (%%rdi)");
    TRY("lock and, 4 bytes", PTE_DATA, 0, "lock andl $-3, (%%rdi)");
    TRY("and, 2 bytes", PTE_DATA, 0, "andw $-3, (%%rdi)");
    TRY("lock and, 1 byte", PTE_DATA, 0, "lock andb $0xfd, (%%rdi)");
    TRY("and that changes nothing", PTE_DATA, 0, "andq $-1, (%%rdi)");
    TRY("or, 8 bytes", PTE_RDONLY, 0, "orq $2, (%%rdi)");
    TRY("lock or, 8 bytes", PTE_RDONLY, 0, "lock orq $2, (%%rdi)");
    TRY("lock or, 1 byte", PTE_RDONLY, 0, "lock orb $2, (%%rdi)");
    TRY("lock or, 1 byte, at entry + 7", PTE_RDONLY, 0, "lock orb $0x80, 7(%%rdi)");
    TRY("or of PWT", PTE_RDONLY, 0, "orq $8, (%%rdi)");
    TRY("or of PCD and PAT", PTE_RDONLY, 0, "orq $0x90, (%%rdi)");
    TRY("xor", PTE_DATA, PTE_RW, "xorq %%rdx, (%%rdi)");
    TRY("add", PTE_RDONLY, PTE_RW, "addq %%rdx, (%%rdi)");
    TRY("lock add", PTE_RDONLY, PTE_RW, "lock addq %%rdx, (%%rdi)");
    TRY("add of 0 at entry + 4", PTE_DATA, 0, "addq $0, 4(%%rdi)");
    TRY("sub", PTE_DATA, PTE_RW, "subq %%rdx, (%%rdi)");
    TRY("adc", PTE_RDONLY, 1, "stc\n\tadcq %%rdx, (%%rdi)");
    TRY("sbb", PTE_DATA, 1, "stc\n\tsbbq %%rdx, (%%rdi)");
    TRY("inc", PTE_DATA, 0, "incq (%%rdi)");
    TRY("lock dec", PTE_DATA, 0, "lock decq (%%rdi)");
    TRY("not, 1 byte, at entry + 7", PTE_DATA, 0, "notb 7(%%rdi)");
    TRY("neg of zero", 0, 0, "negq (%%rdi)");
    TRY("neg", PTE_DATA, 0, "negq (%%rdi)");
    TRY("cmp", PTE_DATA, 0, "cmpq %%rdx, (%%rdi)");
    TRY("test", PTE_DATA, 0, "testq %%rdx, (%%rdi)");
    TRY("shl, 1 byte", PTE_DATA, 0, "shlb $1, 7(%%rdi)");
    TRY("shr, 1 byte", PTE_DATA, 0, "shrb $1, (%%rdi)");
    TRY("sar by 0", PTE_DATA, 0, "xorl %%ecx, %%ecx\n\tsarq %%cl, (%%rdi)");
    TRY("rol, 1 byte, by 8", PTE_DATA, 0, "rolb $8, (%%rdi)");
    TRY("ror", PTE_DATA, 0, "rorb $1, 7(%%rdi)");
    TRY("rcl", PTE_DATA, 0, "stc\n\trclb $1, 7(%%rdi)");
    TRY("shld", PTE_DATA, 0, "shldq $63, %%rdx, (%%rdi)");
    TRY("shrd, 2 bytes", PTE_DATA, 0, "shrdw $1, %%dx, 6(%%rdi)");
    TRY("bts", PTE_RDONLY, 0, "btsq $1, (%%rdi)");
    TRY("lock bts", PTE_RDONLY, 0, "lock btsq $1, (%%rdi)");
    TRY("lock btr", PTE_DATA, 0, "lock btrq $1, (%%rdi)");
    TRY("lock btr, 4 bytes", PTE_DATA, 0, "lock btrl $1, (%%rdi)");
    TRY("lock btc", PTE_DATA, 0, "lock btcq $1, (%%rdi)");
    TRY("lock btr by a register", PTE_DATA, 1, "lock btrq %%rdx, (%%rdi)");
    TRY("btr by a register, of the next entry", PTE_DATA, 65, "btrq %%rdx, (%%rdi)");
    TRY("btr by a register, of the entry before", PTE_DATA, -63, "addq $8, %%rdi\n\tbtrq %%rdx, (%%rdi)");
    TRY("lock btr of a bit that is clear", PTE_RDONLY, 0, "lock btrq $1, (%%rdi)");
    TRY("bt", PTE_DATA, 0, "btq $1, (%%rdi)");
}

#define ON_STACK(instruction) "movq %%rsp, %%r8\n\tleaq 8(%%rdi), %%rsp\n\t" instruction "\n\tmovq %%r8, %%rsp"

static void stack(void)
{
    TRY("pop", PTE_DATA, OTHER, "pushq %%rdx\n\tpopq (%%rdi)");
    TRY("push", PTE_DATA, OTHER, ON_STACK("pushq %%rdx"));
    TRY("push, 2 bytes", PTE_DATA, 0, "movq %%rsp, %%r8\n\tleaq 8(%%rdi), %%rsp\n\tpushw $0\n\tmovq %%r8, %%rsp");
    TRY("push of an immediate", PTE_DATA, 0, ON_STACK("pushq $0"));
    TRY("push of what is in memory", PTE_DATA, 0, ON_STACK("pushq (%%rsi)"));
    TRY("pushf", PTE_DATA, 0, ON_STACK("xorl %%edx, %%edx\n\tpushfq"));
    TRY("call", PTE_DATA, 0, ON_STACK(".balign 4\n\tnop\n\tnop\n\tnop\n\tcall 3f\n3:"));
    TRY("call of a register", PTE_DATA, 0, ON_STACK(".balign 4\n\tnop\n\tnop\n\tnop\n\tmovq $3f, %%rdx\n\tcall *%%rdx\n\tnop\n3:"));
    TRY("enter", PTE_DATA, 0, "movq %%rbp, %%r9\n\txorl %%ebp, %%ebp\n\t" ON_STACK("enter $0, $0") "\n\tmovq %%r9, %%rbp");
}

static void strings(void)
{
    for (int i = 0; i < 4; i++)
        source[i] = make_pte(area[i], PTE_RDONLY);
    TRY("stosq", PTE_DATA, 0, "movq %%rdx, %%rax\n\tstosq");
    TRY("stosb", PTE_DATA, 0, "movb $0x25, %%al\n\tstosb");
    TRY("rep stosq", PTE_DATA, 0, "xorl %%eax, %%eax\n\trep stosq");
    TRY("rep stosq of wrong entries", PTE_DATA, WRONG, "movq %%rdx, %%rax\n\trep stosq");
    TRY("rep stosq, none", PTE_DATA, 0, "xorl %%ecx, %%ecx\n\trep stosq");
    TRY("movsq", PTE_DATA, 0, "movsq");
    TRY("rep movsq", PTE_DATA, 0, "rep movsq");
    TRY("rep movsq downwards", PTE_DATA, 0, "addq $16, %%rsi\n\taddq $16, %%rdi\n\tstd\n\trep movsq\n\tcld");
    TRY("rep movsb, 3 bytes", PTE_DATA, 0, "rep movsb");
    source[1] = WRONG;
    TRY("rep movsq, the second entry to no frame", PTE_DATA, 0, "rep movsq");
}

/* No stores of the x87 unit: they stop Xen 4.17 itself. */
static void floating_point(void)
{
    fpu_taskswitch(0);
    TRY("stmxcsr", PTE_DATA, 0, "stmxcsr (%%rdi)");
    TRY("movd", PTE_DATA, (uint32_t)RDONLY, "movq %%rdx, %%xmm0\n\tmovd %%xmm0, (%%rdi)");
    TRY("movq of an XMM register", PTE_DATA, OTHER, "movq %%rdx, %%xmm0\n\tmovq %%xmm0, (%%rdi)");
    TRY("movq of an MMX register", PTE_DATA, OTHER, "movq %%rdx, %%mm0\n\tmovq %%mm0, (%%rdi)\n\temms");
    TRY("movlps", PTE_DATA, OTHER, "movq %%rdx, %%xmm0\n\tmovlps %%xmm0, (%%rdi)");
    TRY("movhps", PTE_DATA, OTHER, "movq %%rdx, %%xmm0\n\tmovlhps %%xmm0, %%xmm0\n\tmovhps %%xmm0, (%%rdi)");
    TRY("movss", PTE_DATA, 0, "pxor %%xmm0, %%xmm0\n\tmovss %%xmm0, (%%rdi)");
    TRY("movsd of an XMM register", PTE_DATA, 0, "pxor %%xmm0, %%xmm0\n\tmovsd %%xmm0, (%%rdi)");
    TRY("movaps", PTE_DATA, 0, "pxor %%xmm0, %%xmm0\n\tmovaps %%xmm0, (%%rdi)");
    TRY("movdqu", PTE_DATA, 0, "pxor %%xmm0, %%xmm0\n\tmovdqu %%xmm0, (%%rdi)");
    TRY("movntdq", PTE_DATA, 0, "pxor %%xmm0, %%xmm0\n\tmovntdq %%xmm0, (%%rdi)");
    TRY("movntq", PTE_DATA, OTHER, "movq %%rdx, %%mm0\n\tmovntq %%mm0, (%%rdi)\n\temms");
    TRY("fxsave", PTE_DATA, 0, "fxsave64 (%%rdi)");
}

static void places(void)
{
    pte_t *alias = (pte_t *)(area[1] + (uint64_t)entries % PAGE_SIZE);

    TRY("mov, with TF set", PTE_DATA, OTHER, "pushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tmovq %%rdx, (%%rdi)\n\tnop");
    prepare(PTE_DATA);
    write_entry(&entries[1], make_pte(entries, PTE_RDONLY));
    mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0);
    probe.target = alias;
    PROBE("movq %0, (%1)", : "r" (RDONLY), "r" (alias) : "memory");
    report("mov at another read-only mapping of the table");
    print_entry("entry 0", entries[0]);
    prepare(PTE_DATA);
    for (int level = 2; level <= 4; level++) {
        static char name[] = "mov to an L0 entry";
        pte_t *upper = entry_of(area, level) + 1;

        name[11] = '0' + level;
        probe.target = upper;
        PROBE("movq %0, (%1)", : "r" (0UL), "r" (upper) : "memory");
        report(name);
    }
    write_entry(&entries[1], make_pte(area[1], PTE_RDONLY));
    mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0);
    probe.target = area[1];
    PROBE("movq %0, (%1)", : "r" (0UL), "r" (area[1]) : "memory");
    report("mov to a read-only page that is no table");
    memset(area[2], 0, PAGE_SIZE);
    write_entry(&entries[2], make_pte(area[2], PTE_RDONLY));
    mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0);
    result("pin an empty L1", mmuext(MMUEXT_PIN_L1_TABLE, mfn_of(area[2])));
    probe.target = area[2];
    PROBE("movq %0, (%1)", : "r" (OTHER), "r" (area[2]) : "memory");
    report("mov to a pinned L1 that is used nowhere");
    print_entry("its first entry", *(pte_t *)area[2]);
    *(volatile pte_t *)area[2] = 0;
    result("unpin it", mmuext(MMUEXT_UNPIN_TABLE, mfn_of(area[2])));
    PROBE("movq %0, (%1)", : "r" (OTHER), "r" (area[2]) : "memory");
    report("mov to it after that");
    prepare(PTE_DATA);
    mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0);
}

static void without_assist(void)
{
    TRY("mov, 8 bytes", PTE_DATA, OTHER, "movq %%rdx, (%%rdi)");
    TRY("xchg, 8 bytes", PTE_DATA, 0, "xchgq %%rdx, (%%rdi)");
    TRY("lock and, 8 bytes", PTE_DATA, 0, "lock andq $-3, (%%rdi)");
    TRY("mov, 8 bytes, at entry + 4", PTE_DATA, 0, "movq %%rdx, 4(%%rdi)");
}

void writes(void)
{
    entries = entry_of(area, 1);
    section("writes to page tables, without the assist");
    without_assist();
    section("writes to page tables, with the writable_pagetables assist");
    result("vm_assist enable", vm_assist(VMASST_CMD_enable, VMASST_TYPE_writable_pagetables));
    moves();
    exchanges();
    arithmetic();
    stack();
    strings();
    floating_point();
    places();
    result("vm_assist disable", vm_assist(VMASST_CMD_disable, VMASST_TYPE_writable_pagetables));
    result("vm_assist of a type that does not exist", vm_assist(VMASST_CMD_enable, 63));
    result("vm_assist of a command that does not exist", vm_assist(9, VMASST_TYPE_writable_pagetables));
    prepare(PTE_DATA);
}
