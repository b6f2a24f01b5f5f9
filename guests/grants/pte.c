/* Mappings at a page-table entry named by its machine address (GNTMAP_contains_pte), and the fate of such entries. */
#include "grants.h"

#define RO   (GNTMAP_host_map | GNTMAP_readonly | GNTMAP_contains_pte)
#define RW   (GNTMAP_host_map | GNTMAP_contains_pte)

static pte_t l1[512] __attribute__((aligned(4096)));
static unsigned char scratch[PAGE_SIZE] __attribute__((aligned(4096)));

static void *at(const volatile void *vaddr)
{
    return (void *)maddr_of(entry_of(vaddr, 1));
}

void page_tables(void)
{
    grant_handle_t handle, other;
    uint64_t l1_maddr = maddr_of(l1);
    struct gnttab_unmap_and_replace replace = { .status = 99 };
    long answer;

    section("at a page-table entry");
    grant_page(8, GTF_permit_access, data[0]);
    told_map("misaligned", 8, RW, (char *)at(window[0]) + 4);
    told_map("in a page of data", 8, RW, (void *)maddr_of(scratch));
    told_map("in an L2 table", 8, RW, (void *)maddr_of(entry_of(window[0], 2)));
    told_map("in the L4 table", 8, RW, (void *)maddr_of(entry_of(window[0], 4)));
    told_map("in frame 0", 8, RW, (void *)8);
    told_map("in no frame", 8, RW, (void *)(NO_FRAME * PAGE_SIZE));
    told_map("beyond 2^52", 8, RW, (void *)(1UL << 60));
    told_map("in a table that is none yet", 8, RW, (void *)l1_maddr);
    told_map("right", 8, RW, at(window[0]));
    handle = map_op.handle;
    told_entry("  L1 entry", window[0]);
    told_access("  access", window[0] + 8);
    told_unmap("  unmap by its address", window[0], 0, handle);
    told_unmap("  unmap misaligned", (char *)at(window[0]) + 1, 0, handle);
    told_unmap("  unmap elsewhere", at(window[1]), 0, handle);
    told_unmap("  unmap in no table", (void *)maddr_of(scratch), 0, handle);
    replace.host_addr = (uint64_t)at(window[0]);
    replace.new_addr = (uint64_t)scratch;
    replace.handle = handle;
    answer = grant_table_op(GNTTABOP_unmap_and_replace, &replace, 1);
    tell("  unmap_and_replace", answer, replace.status);
    told_unmap("  unmap", at(window[0]), 0, handle);
    told_access("  access", window[0] + 8);
    told_map("read-only", 8, RO, at(window[0]));
    told_entry("  L1 entry", window[0]);
    told_access("  access", window[0] + 8);
    told_unmap("  unmap", at(window[0]), 0, map_op.handle);

    section("mapped entries and other ways to change them");
    told_map("mapped read-only", 8, RO, at(window[0]));
    handle = map_op.handle;
    result("mmu_update: accessed and dirty cleared", write_entry(entry_of(window[0], 1), make_pte(data[0], PTE_P | PTE_US)));
    told_entry("  L1 entry", window[0]);
    result("mmu_update: writable", write_entry(entry_of(window[0], 1), make_pte(data[0], PTE_DATA)));
    told_unmap("  unmap", at(window[0]), 0, handle);
    result("mmu_update: read-only", write_entry(entry_of(window[0], 1), make_pte(data[0], PTE_RDONLY)));
    told_unmap("  unmap", at(window[0]), 0, handle);

    result("a table made read-only", remap(l1, PTE_RDONLY));
    result("  pinned", mmuext(MMUEXT_PIN_L1_TABLE, mfn_of(l1)));
    told_map("mapped into a table that is nowhere linked", 8, RW, (void *)l1_maddr);
    handle = map_op.handle;
    told_map("and once more", 8, RO, (void *)(l1_maddr + 8 * 511));
    other = map_op.handle;
    print("  L1 entries %lx %lx\n", l1[0] & ~PTE_FRAME, l1[511] & ~PTE_FRAME);
    print("  entry %x\n", flags_of(8));
    result("unpinned: the table is none any more", mmuext(MMUEXT_UNPIN_TABLE, mfn_of(l1)));
    print("  L1 entries %lx %lx\n", l1[0] & ~PTE_FRAME, l1[511] & ~PTE_FRAME);
    told_unmap("  unmap", (void *)l1_maddr, 0, handle);
    result("pinned again", mmuext(MMUEXT_PIN_L1_TABLE, mfn_of(l1)));
    told_unmap("  unmap", (void *)l1_maddr, 0, handle);
    told_unmap("  unmap", (void *)(l1_maddr + 8 * 511), 0, other);
    print("  L1 entries %lx %lx\n", l1[0] & ~PTE_FRAME, l1[511] & ~PTE_FRAME);
    print("  entry %x\n", flags_of(8));
    result("unpinned", mmuext(MMUEXT_UNPIN_TABLE, mfn_of(l1)));
    result("writable again", remap(l1, PTE_DATA));
}
