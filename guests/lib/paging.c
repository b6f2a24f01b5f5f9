#include "paging.h"

static char shared_info_page[PAGE_SIZE] __attribute__((aligned(4096)));
shared_info_t *const shared_info = (shared_info_t *)shared_info_page;

/* start_info->shared_info is a machine address: the page belongs to Xen and is mapped in place of one of ours. */
void map_shared_info(void)
{
    if (update_va_mapping(shared_info_page, start_info->shared_info | PTE_DATA, UVMF_INVLPG))
        panic("cannot map shared_info");
}

pte_t *entry_of(const volatile void *vaddr, int level)
{
    pte_t *table = l4_table();

    for (int above = 4; above > level; above--) {
        pte_t pte = table[table_index(vaddr, above)];

        if (!(pte & PTE_P))
            return 0;
        table = table_of(pte);
    }
    return &table[table_index(vaddr, level)];
}

long remap(const volatile void *page, uint64_t flags)
{
    return update_va_mapping(page, make_pte(page, flags), UVMF_INVLPG);
}

long write_entry(const pte_t *entry, pte_t value)
{
    mmu_update_t request = { .ptr = maddr_of(entry) | MMU_NORMAL_PT_UPDATE, .val = value };

    return mmu_update(&request, 1, 0, DOMID_SELF);
}

long mmuext(unsigned int cmd, uint64_t mfn)
{
    struct mmuext_op op = { .cmd = cmd, .arg1.mfn = mfn };

    return mmuext_op(&op, 1, 0, DOMID_SELF);
}

long mmuext_linear(unsigned int cmd, uint64_t vaddr, unsigned int count)
{
    struct mmuext_op op = { .cmd = cmd, .arg1.linear_addr = vaddr, .arg2.nr_ents = count };

    return mmuext_op(&op, 1, 0, DOMID_SELF);
}
