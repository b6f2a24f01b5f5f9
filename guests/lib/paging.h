/*
 * Frames and page tables of a PV64 guest. It sees pseudo-physical frames (pfn), the tables hold machine frames (mfn);
 * start_info's p2m list and Xen's machine-to-physical table translate. Every page table is mapped read-only, at
 * VIRT_BASE + pfn * 4096 like all memory, and changes by hypercall only.
 */
#pragma once
#include "guest.h"

typedef uint64_t pte_t;

#define PTE_P      0x001UL
#define PTE_RW     0x002UL
#define PTE_US     0x004UL
#define PTE_PWT    0x008UL
#define PTE_PCD    0x010UL
#define PTE_A      0x020UL
#define PTE_D      0x040UL
#define PTE_PS     0x080UL
#define PTE_G      0x100UL
#define PTE_NX     (1UL << 63)
#define PTE_FRAME  0x000ffffffffff000UL
#define PTE_TABLE  (PTE_P | PTE_RW | PTE_US | PTE_A)
#define PTE_DATA   (PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D)
#define PTE_RDONLY (PTE_P | PTE_US | PTE_A)

#define machine_to_physical ((uint64_t *)MACH2PHYS_VIRT_START)

extern shared_info_t *const shared_info;
void map_shared_info(void);

static inline uint64_t pfn_of(const volatile void *vaddr)
{
    return ((uint64_t)vaddr - VIRT_BASE) / PAGE_SIZE;
}

static inline uint64_t mfn_of(const volatile void *vaddr)
{
    return ((const uint64_t *)start_info->mfn_list)[pfn_of(vaddr)];
}

/* Where in machine memory a byte of our memory is. */
static inline uint64_t maddr_of(const volatile void *vaddr)
{
    return mfn_of(vaddr) * PAGE_SIZE + (uint64_t)vaddr % PAGE_SIZE;
}

static inline pte_t make_pte(const volatile void *page, uint64_t flags)
{
    return mfn_of(page) * PAGE_SIZE | flags;
}

/* The table that an entry of a higher level points to. */
static inline pte_t *table_of(pte_t pte)
{
    return (pte_t *)(VIRT_BASE + machine_to_physical[(pte & PTE_FRAME) / PAGE_SIZE] * PAGE_SIZE);
}

static inline unsigned int table_index(const volatile void *vaddr, int level)
{
    return (uint64_t)vaddr >> (12 + 9 * (level - 1)) & 511;
}

static inline pte_t *l4_table(void)
{
    return (pte_t *)start_info->pt_base;
}

/* The entry of vaddr in the table of a level (4 to 1) of the builder's tree; null when a level above has none. */
pte_t *entry_of(const volatile void *vaddr, int level);

/* Changes the entry of one of our own pages. */
long remap(const volatile void *page, uint64_t flags);

/* One mmu_update request; one mmuext_op. */
long write_entry(const pte_t *entry, pte_t value);
long mmuext(unsigned int cmd, uint64_t mfn);
long mmuext_linear(unsigned int cmd, uint64_t vaddr, unsigned int count);
