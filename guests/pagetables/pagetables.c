/*
 * Page tables as a PV64 guest meets them: it may read its own, and asks Xen for every change (xen:arch/x86/mm.c).
 * Xen checks each entry, so that no frame is ever both a page table and writable, and no guest maps what is not its own.
 * Each section builds something, then tries to break the rule that makes it safe, and prints the errno or the fault.
 */
#include "paging.h"
#include "trap.h"
#include "writes.h"

#define TABLE_VADDR  ((char *)0x8000000000)     /* L4 slot 1: nothing is there until we build it */
#define XEN_VADDR    0xffff830000000000UL       /* Xen's own map of all memory */
#define NO_SUCH_MFN  0xfffffffffUL

static char page[16][PAGE_SIZE] __attribute__((aligned(4096)));

#define data   page[0]
#define window page[1]
#define l1     ((pte_t *)page[2])
#define l2     ((pte_t *)page[3])
#define l3     ((pte_t *)page[4])
#define l4     ((pte_t *)page[5])
#define other  page[6]
#define code   page[7]

static void try_read(const char *what, const volatile void *vaddr)
{
    uint64_t value;

    probe.target = vaddr;
    PROBE("movq (%1), %0", "=r" (value) : "r" (vaddr) : "memory");
    report(what);
}

static void try_write(const char *what, volatile void *vaddr)
{
    probe.target = vaddr;
    PROBE("movq %0, (%1)", : "r" (0x1234UL), "r" (vaddr) : "memory");
    report(what);
}

static void try_call(const char *what, void *vaddr)
{
    probe.target = vaddr;
    PROBE("jmp *%0", : "r" (vaddr) : "memory");
    report(what);
}

static void as_built(void)
{
    unsigned long disagree = 0;
    const uint64_t *p2m = (const uint64_t *)start_info->mfn_list;
    struct xen_machphys_mapping mapping;

    section("as built");
    for (int level = 4; level >= 1; level--)
        print("L%d entry of a data page: flags %lx\n", level, *entry_of(data, level) & ~(PTE_FRAME | PTE_A | PTE_D));
    for (int level = 4; level >= 1; level--)
        print("L1 entry of an L%d table: flags %lx\n", level,
              *entry_of(entry_of(data, level), 1) & ~(PTE_FRAME | PTE_A | PTE_D));
    for (unsigned long pfn = 0; pfn < start_info->nr_pages; pfn++)
        disagree += machine_to_physical[p2m[pfn]] != pfn;
    claim("m2p[p2m[pfn]] == pfn for every pfn", disagree == 0);
    result("memory_op machphys_mapping", memory_op(XENMEM_machphys_mapping, &mapping));
    print("m2p from %lx to %lx\n", mapping.v_start, mapping.v_end);
    try_write("write to the m2p", &machine_to_physical[mfn_of(data)]);
    try_read("read of the m2p's far end", (void *)(MACH2PHYS_VIRT_END - 8));
    try_read("read of Xen's memory", (void *)XEN_VADDR);
    try_write("write to Xen's memory", (void *)XEN_VADDR);
    try_call("jump to Xen's memory", (void *)XEN_VADDR);
    try_read("read of the linear page tables", (void *)0xffff810000000000UL);
    try_read("read of slot 271, the last of Xen", (void *)0xffff87fffffffff8UL);
    probe.target = 0;
    PROBE("movq (%0), %%rax", : "r" (0x800000000000UL) : "rax", "memory");
    report("read of a non-canonical address");
    try_read("read of pt_base", (void *)start_info->pt_base);
    try_write("write to pt_base", (void *)start_info->pt_base);
    try_read("read where nothing is mapped", TABLE_VADDR);
}

static void update_one_mapping(void)
{
    volatile uint64_t *word = (uint64_t *)data;
    static const uint8_t ret_insn[] = { 0xc3 };

    section("update_va_mapping");
    *word = 0x5eed;
    result("read-only", remap(data, PTE_RDONLY));
    try_read("  read", data);
    try_write("  write", data);
    result("not present", update_va_mapping(data, 0, UVMF_INVLPG));
    try_read("  read", data);
    try_write("  write", data);
    result("present again, writable", remap(data, PTE_DATA));
    claim("  the page kept its word", *word == 0x5eed);

    memcpy(code, ret_insn, sizeof(ret_insn));
    result("no-execute", remap(code, PTE_DATA | PTE_NX));
    try_call("  jump to it", code);
    result("supervisor, that is without US", remap(data, PTE_P | PTE_RW));
    print("  entry has flags %lx\n", *entry_of(data, 1) & ~(PTE_FRAME | PTE_A | PTE_D));
    try_read("  read", data);

    result("a second mapping of the same frame", update_va_mapping(window, make_pte(data, PTE_DATA), UVMF_INVLPG));
    *(volatile uint64_t *)window = 0xa11a5;
    claim("  what one writes the other reads", *word == 0xa11a5);
    result("back to its own frame", remap(window, PTE_DATA));

    result("a page table, writable", update_va_mapping(window, make_pte(entry_of(data, 1), PTE_DATA), UVMF_INVLPG));
    result("a page table, read-only", update_va_mapping(window, make_pte(entry_of(data, 1), PTE_RDONLY), UVMF_INVLPG));
    result("a frame that does not exist", update_va_mapping(window, NO_SUCH_MFN * PAGE_SIZE | PTE_DATA, UVMF_INVLPG));
    result("  the same, not present", update_va_mapping(window, NO_SUCH_MFN * PAGE_SIZE, UVMF_INVLPG));
    result("machine frame 0", update_va_mapping(window, PTE_RDONLY, UVMF_INVLPG));
    result("back to its own frame", remap(window, PTE_DATA));
    result("at an address without an L1", update_va_mapping(TABLE_VADDR, make_pte(data, PTE_DATA), UVMF_INVLPG));
    result("at Xen's memory", update_va_mapping(XEN_VADDR, make_pte(data, PTE_DATA), UVMF_INVLPG));
    result("at the m2p", update_va_mapping(MACH2PHYS_VIRT_START, make_pte(data, PTE_DATA), UVMF_INVLPG));
    result("at a non-canonical address", update_va_mapping(0x800000000000UL, make_pte(data, PTE_DATA), UVMF_INVLPG));
    result("in the middle of a page", update_va_mapping(window + 123, make_pte(window, PTE_DATA), UVMF_INVLPG));
    result("flags: UVMF_TLB_FLUSH|UVMF_ALL", update_va_mapping(window, make_pte(window, PTE_DATA), UVMF_TLB_FLUSH | UVMF_ALL));
    result("flags: UVMF_INVLPG|UVMF_ALL", update_va_mapping(window, make_pte(window, PTE_DATA), UVMF_INVLPG | UVMF_ALL));
    result("flags: 3", update_va_mapping(window, make_pte(window, PTE_DATA), 3));
    result("flags: a wild pointer to a bitmap",
           update_va_mapping(window, make_pte(window, PTE_DATA), UVMF_INVLPG | (uint64_t)TABLE_VADDR));
    result("other domain, DOMID_SELF",
           update_va_mapping_otherdomain(window, make_pte(window, PTE_DATA), UVMF_INVLPG, DOMID_SELF));
    result("other domain, none of that number",
           update_va_mapping_otherdomain(window, make_pte(window, PTE_DATA), UVMF_INVLPG, 999));
}

/* Which bits may an L1 entry have? One at a time beside PTE_DATA, and what the table then holds. */
static void entry_bits(void)
{
    section("bits of an L1 entry");
    for (int bit = 1; bit < 64; bit++) {
        pte_t pte = make_pte(window, PTE_DATA & ~PTE_RW) ^ 1UL << bit;
        long rc;

        if (bit == 1 || bit == 2 || (bit >= 12 && bit < 52))
            continue;
        rc = update_va_mapping(window, pte, UVMF_INVLPG);
        print("bit %2d -> %s", bit, errno_name(rc));
        if (!rc)
            print(", flags %lx", *entry_of(window, 1) & ~(PTE_FRAME | PTE_A | PTE_D));
        print("\n");
    }
    remap(window, PTE_DATA);
}

static void batches(void)
{
    pte_t *entry = entry_of(window, 1);
    mmu_update_t request[3];
    unsigned int done;
    long rc;

    section("mmu_update");
    result("L1 entry: read-only", write_entry(entry, make_pte(window, PTE_RDONLY)));
    mmuext_linear(MMUEXT_INVLPG_LOCAL, (uint64_t)window, 0);
    try_write("  write", window);
    request[0] = (mmu_update_t){ maddr_of(entry) | MMU_PT_UPDATE_PRESERVE_AD, make_pte(window, PTE_P | PTE_RW | PTE_US) };
    write_entry(entry, make_pte(window, PTE_DATA));
    result("L1 entry, preserving A and D", mmu_update(request, 1, 0, DOMID_SELF));
    claim("  A and D are still there", (*entry & (PTE_A | PTE_D)) == (PTE_A | PTE_D));
    request[0].ptr = maddr_of(entry) | MMU_NORMAL_PT_UPDATE;
    result("L1 entry, not preserving A and D", mmu_update(request, 1, 0, DOMID_SELF));
    claim("  A and D are gone", (*entry & (PTE_A | PTE_D)) == 0);
    request[0].ptr = maddr_of(entry) | MMU_PT_UPDATE_NO_TRANSLATE;
    result("L1 entry, command 3", mmu_update(request, 1, 0, DOMID_SELF));
    request[0].ptr = maddr_of(entry) | 4;
    result("ptr not a multiple of 8", mmu_update(request, 1, 0, DOMID_SELF));

    result("an L2 entry to itself", write_entry(entry_of(window, 2), *entry_of(window, 2)));
    result("an L3 entry to itself", write_entry(entry_of(window, 3), *entry_of(window, 3)));
    result("an L4 entry to itself", write_entry(entry_of(window, 4), *entry_of(window, 4)));
    result("L2 entry: a 2 MiB page", write_entry(entry_of(window, 2), *entry_of(window, 2) | PTE_PS));
    result("L2 entry: a data frame as L1", write_entry(entry_of(window, 2), make_pte(data, PTE_TABLE)));
    result("L2 entry: an L2 as L1", write_entry(entry_of(window, 2), make_pte(entry_of(window, 2), PTE_TABLE)));
    result("L2 entry: a frame that does not exist", write_entry(entry_of(window, 2), NO_SUCH_MFN * PAGE_SIZE | PTE_TABLE));
    result("L3 entry: an L1 as L2", write_entry(entry_of(window, 3) + 1, make_pte(entry, PTE_TABLE)));
    result("L4 entry: an L1 as L3", write_entry(l4_table() + 1, make_pte(entry, PTE_TABLE)));
    result("L4 slot 255, cleared", write_entry(l4_table() + 255, 0));
    result("L4 slot 256, Xen's first, cleared", write_entry(l4_table() + 256, 0));
    result("L4 slot 271, Xen's last, cleared", write_entry(l4_table() + 271, 0));
    result("L4 slot 272, cleared", write_entry(l4_table() + 272, 0));
    result("L4 entry: A, D and G set in an empty one", write_entry(l4_table() + 1, PTE_A | PTE_D | PTE_G));
    result("  and cleared", write_entry(l4_table() + 1, 0));

    *(volatile uint64_t *)data = 0;
    result("a plain data frame as the table", write_entry((pte_t *)data, 0x77));
    claim("  it was simply written", *(volatile uint64_t *)data == 0x77);
    request[0] = (mmu_update_t){ NO_SUCH_MFN * PAGE_SIZE, 0 };
    result("a table that does not exist", mmu_update(request, 1, 0, DOMID_SELF));
    request[0] = (mmu_update_t){ 0, 0 };
    result("machine frame 0 as the table", mmu_update(request, 1, 0, DOMID_SELF));

    request[0] = (mmu_update_t){ maddr_of(data) | MMU_MACHPHYS_UPDATE, 0x4242 };
    result("m2p entry of our frame", mmu_update(request, 1, 0, DOMID_SELF));
    claim("  the m2p has it", machine_to_physical[mfn_of(data)] == 0x4242);
    request[0].val = pfn_of(data);
    result("  and back", mmu_update(request, 1, 0, DOMID_SELF));
    request[0] = (mmu_update_t){ NO_SUCH_MFN * PAGE_SIZE | MMU_MACHPHYS_UPDATE, 0 };
    result("m2p entry of no frame", mmu_update(request, 1, 0, DOMID_SELF));

    request[0] = (mmu_update_t){ maddr_of(entry), make_pte(window, PTE_RDONLY) };
    request[1] = (mmu_update_t){ maddr_of(entry), NO_SUCH_MFN * PAGE_SIZE | PTE_DATA };
    request[2] = (mmu_update_t){ maddr_of(entry), make_pte(window, PTE_DATA) };
    done = 99;
    rc = mmu_update(request, 3, &done, DOMID_SELF);
    print("three requests, the second bad: %s, %u done\n", errno_name(rc), done);
    rc = mmu_update(request + 2, 1, &done, DOMID_SELF);
    print("one good request: %s, %u done\n", errno_name(rc), done);
    rc = mmu_update(request, 0, &done, DOMID_SELF);
    print("no request: %s, %u done\n", errno_name(rc), done);
    result("requests at an unmapped address", mmu_update(TABLE_VADDR, 1, 0, DOMID_SELF));
    result("requests in Xen's memory", mmu_update(XEN_VADDR, 1, 0, DOMID_SELF));
    result("done at an unmapped address", mmu_update(request + 2, 1, TABLE_VADDR, DOMID_SELF));
    result("done in Xen's memory", mmu_update(request + 2, 1, XEN_VADDR, DOMID_SELF));
    result("of a domain that does not exist", mmu_update(request + 2, 1, 0, 999));
    result("of DOMID_XEN", mmu_update(request + 2, 1, 0, DOMID_XEN));
    result("of DOMID_IO", mmu_update(request + 2, 1, 0, DOMID_IO));
    remap(window, PTE_DATA);
}

static void clear_tables(void)
{
    memset(l1, 0, PAGE_SIZE);
    memset(l2, 0, PAGE_SIZE);
    memset(l3, 0, PAGE_SIZE);
    *(volatile uint64_t *)data = 0x5eed;
    l1[0] = make_pte(data, PTE_DATA);
    l1[1] = make_pte(other, PTE_RDONLY);
    l2[0] = make_pte(l1, PTE_TABLE);
    l3[0] = make_pte(l2, PTE_TABLE);
}

static void remap_tables(uint64_t flags)
{
    remap(l1, flags);
    remap(l2, flags);
    remap(l3, flags);
}

static void new_tables(void)
{
    pte_t *slot = l4_table() + 1;

    section("new tables below L4 slot 1");
    clear_tables();
    result("linked while we can still write them", write_entry(slot, make_pte(l3, PTE_TABLE)));
    remap(l3, PTE_RDONLY);
    result("linked with only L3 read-only", write_entry(slot, make_pte(l3, PTE_TABLE)));
    remap(l2, PTE_RDONLY);
    result("linked with L3 and L2 read-only", write_entry(slot, make_pte(l3, PTE_TABLE)));
    remap(l1, PTE_RDONLY);
    result("linked with all three read-only", write_entry(slot, make_pte(l3, PTE_TABLE)));
    claim("  the new address reads the data page", *(volatile uint64_t *)TABLE_VADDR == 0x5eed);
    print("  flags L4 %lx, L3 %lx, L2 %lx, L1 %lx\n", *slot & 0xf9f, l3[0] & 0xf9f, l2[0] & 0xf9f, l1[0] & 0xf9f);
    try_write("  write through the read-only entry", TABLE_VADDR + PAGE_SIZE);
    try_read("  read of the next page", TABLE_VADDR + 2 * PAGE_SIZE);
    result("L1 mapped writable", remap(l1, PTE_DATA));
    result("L3 mapped writable", remap(l3, PTE_DATA));
    result("an entry of the new L1", write_entry(l1 + 2, make_pte(data, PTE_DATA)));
    result("an entry of the new L1: itself, writable", write_entry(l1 + 3, make_pte(l1, PTE_DATA)));
    result("an entry of the new L1: itself, read-only", write_entry(l1 + 3, make_pte(l1, PTE_RDONLY)));
    result("  by update_va_mapping", update_va_mapping(TABLE_VADDR + 4 * PAGE_SIZE, make_pte(data, PTE_DATA), UVMF_INVLPG));
    claim("  the new address reads the data page", *(volatile uint64_t *)(TABLE_VADDR + 4 * PAGE_SIZE) == 0x5eed);
    result("clear_page of the new L1", mmuext(MMUEXT_CLEAR_PAGE, mfn_of(l1)));
    result("unlinked", write_entry(slot, 0));
    mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0);
    try_read("  read", TABLE_VADDR);
    result("L1 mapped writable", remap(l1, PTE_DATA));
    result("L3 mapped writable", remap(l3, PTE_DATA));
    remap_tables(PTE_DATA);
}

static void pins(void)
{
    section("pins");
    clear_tables();
    result("pin L1, mapped writable", mmuext(MMUEXT_PIN_L1_TABLE, mfn_of(l1)));
    remap_tables(PTE_RDONLY);
    result("pin L1, mapped read-only", mmuext(MMUEXT_PIN_L1_TABLE, mfn_of(l1)));
    result("pin L1 again", mmuext(MMUEXT_PIN_L1_TABLE, mfn_of(l1)));
    result("pin it as L2", mmuext(MMUEXT_PIN_L2_TABLE, mfn_of(l1)));
    result("map it writable", remap(l1, PTE_DATA));
    result("write an entry of it", write_entry(l1 + 7, make_pte(data, PTE_DATA)));
    result("unpin", mmuext(MMUEXT_UNPIN_TABLE, mfn_of(l1)));
    result("unpin again", mmuext(MMUEXT_UNPIN_TABLE, mfn_of(l1)));
    result("map it writable", remap(l1, PTE_DATA));
    l1[9] = NO_SUCH_MFN * PAGE_SIZE | PTE_DATA;
    remap(l1, PTE_RDONLY);
    result("pin L1 with an entry to no frame", mmuext(MMUEXT_PIN_L1_TABLE, mfn_of(l1)));
    remap(l1, PTE_DATA);
    l1[9] = make_pte(l1, PTE_DATA);
    remap(l1, PTE_RDONLY);
    result("pin L1 with a writable entry to itself", mmuext(MMUEXT_PIN_L1_TABLE, mfn_of(l1)));
    remap(l1, PTE_DATA);
    l1[9] = make_pte(l1, PTE_RDONLY);
    remap(l1, PTE_RDONLY);
    result("pin L1 with a read-only entry to itself", mmuext(MMUEXT_PIN_L1_TABLE, mfn_of(l1)));
    mmuext(MMUEXT_UNPIN_TABLE, mfn_of(l1));
    result("pin L3, which pulls in L2 and L1", mmuext(MMUEXT_PIN_L3_TABLE, mfn_of(l3)));
    result("  map L1 writable", remap(l1, PTE_DATA));
    result("  unpin L1, which is not pinned", mmuext(MMUEXT_UNPIN_TABLE, mfn_of(l1)));
    result("  unpin L3", mmuext(MMUEXT_UNPIN_TABLE, mfn_of(l3)));
    result("pin a frame that does not exist", mmuext(MMUEXT_PIN_L1_TABLE, NO_SUCH_MFN));
    result("pin machine frame 0", mmuext(MMUEXT_PIN_L1_TABLE, 0));
    result("unpin a frame that does not exist", mmuext(MMUEXT_UNPIN_TABLE, NO_SUCH_MFN));
    result("pin an L3 as L4", mmuext(MMUEXT_PIN_L4_TABLE, mfn_of(l3)));
    remap_tables(PTE_DATA);
}

static uint64_t read_cr3(void)
{
    uint64_t cr3;

    asm volatile ("movq %%cr3, %0" : "=r" (cr3));
    return cr3;
}

static void switch_tables(void)
{
    pte_t *built = l4_table();

    section("a second L4");
    clear_tables();
    remap_tables(PTE_RDONLY);
    for (int slot = 0; slot < 512; slot++)
        l4[slot] = slot >= 256 && slot < 272 ? 0 : built[slot];
    l4[1] = make_pte(l3, PTE_TABLE);
    claim("cr3 names the builder's L4", read_cr3() == maddr_of(built));
    result("switch to it while we can write it", mmuext(MMUEXT_NEW_BASEPTR, mfn_of(l4)));
    remap(l4, PTE_RDONLY);
    result("pin it", mmuext(MMUEXT_PIN_L4_TABLE, mfn_of(l4)));
    claim("  Xen filled slots of its own range", (l4[261] & PTE_P) != 0);
    print("  slot 256, the m2p, is %s\n", l4[256] & PTE_P ? "there" : "not there yet");
    result("switch to it", mmuext(MMUEXT_NEW_BASEPTR, mfn_of(l4)));
    claim("  cr3 names it", read_cr3() == maddr_of(l4));
    print("  slot 256, the m2p, is %s\n", l4[256] & PTE_P ? "there" : "not there yet");
    claim("  slot 1 reads the data page", *(volatile uint64_t *)TABLE_VADDR == 0x5eed);
    result("unpin it while in use", mmuext(MMUEXT_UNPIN_TABLE, mfn_of(l4)));
    result("map it writable while in use", remap(l4, PTE_DATA));
    result("unpin the builder's L4, no longer in use", mmuext(MMUEXT_UNPIN_TABLE, mfn_of(built)));
    result("pin it again", mmuext(MMUEXT_PIN_L4_TABLE, mfn_of(built)));
    result("switch back", mmuext(MMUEXT_NEW_BASEPTR, mfn_of(built)));
    try_read("  slot 1 is empty", TABLE_VADDR);
    result("map the second L4 writable", remap(l4, PTE_DATA));
    result("switch to an L3", mmuext(MMUEXT_NEW_BASEPTR, mfn_of(entry_of(data, 3))));
    result("switch to a frame that does not exist", mmuext(MMUEXT_NEW_BASEPTR, NO_SUCH_MFN));
    result("switch to machine frame 0", mmuext(MMUEXT_NEW_BASEPTR, 0));
    claim("cr3 still names the builder's L4", read_cr3() == maddr_of(built));
    remap_tables(PTE_DATA);
}

static void linear_tables(void)
{
    pte_t *built = l4_table();
    pte_t *slot = built + 2;

    section("an L4 that maps itself");
    result("slot 2 is the L4 itself, writable", write_entry(slot, make_pte(built, PTE_TABLE)));
    result("slot 2 is the L4 itself, read-only", write_entry(slot, make_pte(built, PTE_RDONLY)));
    if (*slot & PTE_P) {
        uint64_t self = 2UL << 39;
        pte_t *seen = (pte_t *)(self | (uint64_t)table_index(data, 4) << 30 | (uint64_t)table_index(data, 3) << 21 |
                                (uint64_t)table_index(data, 2) << 12) + table_index(data, 1);

        claim("  the L1 entry of a data page, seen there", *seen == *entry_of(data, 1));
        try_write("  write", seen);
    }
    result("slot 2 cleared", write_entry(slot, 0));
}

static void other_operations(void)
{
    struct mmuext_op op[3] = {
        { .cmd = MMUEXT_TLB_FLUSH_LOCAL }, { .cmd = 99 }, { .cmd = MMUEXT_TLB_FLUSH_LOCAL },
    };
    struct mmuext_op copy = { .cmd = MMUEXT_COPY_PAGE, .arg1.mfn = mfn_of(other), .arg2.src_mfn = mfn_of(data) };
    unsigned int done = 99;
    long rc;

    section("mmuext_op");
    result("tlb_flush_local", mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0));
    result("tlb_flush_all", mmuext(MMUEXT_TLB_FLUSH_ALL, 0));
    result("invlpg_local", mmuext_linear(MMUEXT_INVLPG_LOCAL, (uint64_t)data, 0));
    result("invlpg_local, Xen's memory", mmuext_linear(MMUEXT_INVLPG_LOCAL, XEN_VADDR, 0));
    result("invlpg_all", mmuext_linear(MMUEXT_INVLPG_ALL, (uint64_t)data, 0));
    result("invlpg_multi, a null bitmap", mmuext(MMUEXT_INVLPG_MULTI, 0));
    result("tlb_flush_multi, a null bitmap", mmuext(MMUEXT_TLB_FLUSH_MULTI, 0));
    result("flush_cache_global", mmuext(MMUEXT_FLUSH_CACHE_GLOBAL, 0));
    *(volatile uint64_t *)data = 0x5eed;
    result("copy_page", mmuext_op(&copy, 1, 0, DOMID_SELF));
    claim("  copied", *(volatile uint64_t *)other == 0x5eed);
    copy.arg2.src_mfn = NO_SUCH_MFN;
    result("copy_page from no frame", mmuext_op(&copy, 1, 0, DOMID_SELF));
    copy = (struct mmuext_op){ .cmd = MMUEXT_COPY_PAGE, .arg1.mfn = mfn_of(l4_table()), .arg2.src_mfn = mfn_of(data) };
    result("copy_page to a page table", mmuext_op(&copy, 1, 0, DOMID_SELF));
    result("clear_page", mmuext(MMUEXT_CLEAR_PAGE, mfn_of(other)));
    claim("  cleared", *(volatile uint64_t *)other == 0);
    result("clear_page of no frame", mmuext(MMUEXT_CLEAR_PAGE, NO_SUCH_MFN));
    result("clear_page of a page table", mmuext(MMUEXT_CLEAR_PAGE, mfn_of(l4_table())));
    result("set_ldt, 1 entry", mmuext_linear(MMUEXT_SET_LDT, (uint64_t)other, 1));
    result("set_ldt, 8193 entries", mmuext_linear(MMUEXT_SET_LDT, (uint64_t)other, 8193));
    result("set_ldt, not page-aligned", mmuext_linear(MMUEXT_SET_LDT, (uint64_t)other + 8, 1));
    result("set_ldt, Xen's memory", mmuext_linear(MMUEXT_SET_LDT, XEN_VADDR, 1));
    result("set_ldt, none", mmuext_linear(MMUEXT_SET_LDT, 0, 0));
    result("mark_super", mmuext(MMUEXT_MARK_SUPER, mfn_of(data)));
    result("command 14, which is not assigned", mmuext(14, 0));
    rc = mmuext_op(op, 3, &done, DOMID_SELF);
    print("three operations, the second unknown: %s, %u done\n", errno_name(rc), done);
    result("operations at an unmapped address", mmuext_op(TABLE_VADDR, 1, 0, DOMID_SELF));
    result("operations in Xen's memory", mmuext_op(XEN_VADDR, 1, 0, DOMID_SELF));
    result("of a domain that does not exist", mmuext_op(op, 1, 0, 999));
}

static void give_and_take(void)
{
    static xen_pfn_t frame;
    struct xen_memory_reservation one = { .nr_extents = 1, .domid = DOMID_SELF };
    uint64_t mfn = mfn_of(other), pfn = pfn_of(other);

    section("memory_op");
    set_xen_guest_handle(one.extent_start, &frame);
    frame = mfn;
    print("decrease_reservation of a mapped page: %ld freed\n", memory_op(XENMEM_decrease_reservation, &one));
    result("unmap it", update_va_mapping(other, 0, UVMF_INVLPG));
    result("map it again", update_va_mapping(other, mfn * PAGE_SIZE | PTE_DATA, UVMF_INVLPG));
    frame = pfn;
    print("populate_physmap: %ld given\n", memory_op(XENMEM_populate_physmap, &one));
    ((uint64_t *)start_info->mfn_list)[pfn] = frame;
    claim("  the m2p knows its pfn", machine_to_physical[frame] == pfn);
    result("  map it", remap(other, PTE_DATA));
    *(volatile uint64_t *)other = 1;
    frame = NO_SUCH_MFN;
    print("decrease_reservation of no frame: %ld freed\n", memory_op(XENMEM_decrease_reservation, &one));
    one.domid = 999;
    result("decrease_reservation of another domain", memory_op(XENMEM_decrease_reservation, &one));
    result("memory_op 63, which is not assigned", memory_op(63, &one));
}

void guest_main(void)
{
    traps_init();
    as_built();
    update_one_mapping();
    entry_bits();
    batches();
    new_tables();
    pins();
    switch_tables();
    linear_tables();
    writes();
    other_operations();
    give_and_take();
    print("pagetables: done\n");
}
