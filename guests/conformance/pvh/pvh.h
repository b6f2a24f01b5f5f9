/* A PVH guest of the conformance suite: what conform.h is for PV64 ones, where a page's address tells its gfn. */
#pragma once
#include "../conform.h"
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>

#define HOLE        0x20000000UL                /* gfns without memory, up to HOLE + 16 MiB: 128 MiB is all that there is */
#define ABSENT      0x40000000UL                /* no page-table entry */
#define SMALL       0x40200000UL                /* small_pages maps it */
#define ODD         0xffff900000000000UL        /* canonical, no page table */
#define gfn_of(address) ((uint64_t)(address) / PAGE_SIZE)

#define grant_table_op(cmd, arg, count) HYPERCALL3(__HYPERVISOR_grant_table_op, cmd, arg, count)
#define hvm_op(cmd, arg) HYPERCALL2(__HYPERVISOR_hvm_op, cmd, arg)

extern uint64_t small_pages[512];
extern unsigned char data[16][PAGE_SIZE];       /* RAM to give away and to get back */
extern domid_t self;

/* The first word there: all ones where no memory is. */
#define word_at(address) (*(volatile uint64_t *)(address))
/* "here": a name for what is seen there. */
const char *content(uint64_t address);

struct wild_pointer { const char *name; unsigned long address; };
extern const struct wild_pointer pointers[];
#define POINTERS 7
#define check_pointers(call, answer) for (const struct wild_pointer *p = pointers; p < pointers + POINTERS; p++) check(call, answer, "pointer %s", p->name)

long add_to_physmap(domid_t dom, uint32_t space, uint64_t idx, uint64_t gfn);
long remove_from_physmap(domid_t dom, uint64_t gfn);

void memory(void);
void grants(void);
void parameters(void);
void vcpus(void);
void others(void);
