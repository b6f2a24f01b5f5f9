/* What the parts of this guest share: its grant table, the pages that it grants, the window where they are mapped. */
#pragma once
#include "numbered.h"
#include "paging.h"
#include "trap.h"
#include <xen/grant_table.h>

#define TABLE_FRAMES 4u                         /* as many as are set up at first */
#define IN_XEN       0xffff800000000000UL
#define UNMAPPED     8UL
#define NO_FRAME     0xffffffu                  /* beyond all RAM */

#define grant_table_op(cmd, arg, count) HYPERCALL3(__HYPERVISOR_grant_table_op, cmd, arg, count)

extern volatile grant_entry_v1_t *const v1;     /* the table, in either layout */
extern volatile grant_entry_v2_t *const v2;
extern domid_t self;                            /* our number */
extern unsigned char data[4][PAGE_SIZE];        /* pages to grant */
extern unsigned char window[8][PAGE_SIZE];      /* addresses with an L1 entry, and nothing there */
extern unsigned char batch[2 * PAGE_SIZE];      /* the second page is not there */

/* "what -> 0, status -1", or the errno alone. */
void tell(const char *what, long answer, int status);

void grant(grant_ref_t ref, uint16_t flags, domid_t domid, uint64_t frame);
void grant_page(grant_ref_t ref, uint16_t flags, const volatile void *page);    /* to ourselves */
unsigned int flags_of(grant_ref_t ref);

extern struct gnttab_map_grant_ref map_op;      /* as the last call left it */
long map_at(domid_t dom, grant_ref_t ref, uint32_t flags, uint64_t where);
int map(grant_ref_t ref, uint32_t flags, const volatile void *where);           /* says the status; 99: the call failed */
int unmap(const volatile void *where, grant_handle_t handle);
void told_map(const char *what, grant_ref_t ref, uint32_t flags, const volatile void *where);
void told_unmap(const char *what, const volatile void *where, uint64_t bus, grant_handle_t handle);
void told_flags(const char *what, int status, grant_ref_t ref);                /* and what the entry is now */
long setup_table(domid_t dom, uint32_t count, xen_pfn_t *list, int *status);
void told_setup(const char *what, domid_t dom, uint32_t count, xen_pfn_t *list);
void told_status_frames(const char *what, domid_t dom, uint32_t count, xen_pfn_t *frames);
void told_version(const char *what, uint32_t version);
void told_entry(const char *what, const volatile void *where);  /* the flags of its L1 entry */
void told_access(const char *what, volatile unsigned char *where);     /* reading and writing it */
void empty(volatile void *page);                /* takes one of our pages out of the address space */

void mapping(void);
void page_tables(void);
void copying(void);
void transferring(void);
void version_2(void);
void limits(void);
