/* What is random, and has a name. */
#include "fuzz.h"

static uint64_t state;

void random_init(uint32_t seed)
{
    state = 0x9e3779b97f4a7c15UL * (seed + 1UL);
    for (int i = 0; i < 8; i++)
        any(2);
}

unsigned int any(unsigned int below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 16) % below;
}

static const char *const page_names[] = { "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7" };
static const char *const table_names[] = { "t0", "t1", "t2", "t3", "t4", "t5" };
static const char *const extra_names[] = { "x0", "x1", "x2", "x3" };
static const char *const window_names[] = { "w0", "w1", "w2", "w3", "w4", "w5", "w6", "w7" };

static uint64_t grant_frame(void)
{
    return (*entry_of(table_page, 1) & PTE_FRAME) / PAGE_SIZE;
}

static struct pick named_frame(unsigned int which)
{
    switch (which) {
    case 0: return (struct pick){ "shared_info", start_info->shared_info / PAGE_SIZE };
    case 1: return (struct pick){ "l4", mfn_of(l4_table()) };
    case 2: return (struct pick){ "l3", mfn_of(entry_of(windows, 3)) };
    case 3: return (struct pick){ "l2", mfn_of(entry_of(windows, 2)) };
    case 4: return (struct pick){ "l1", mfn_of(entry_of(windows, 1)) };
    case 5: return (struct pick){ "grant_frame", grant_frame() };
    case 6: return (struct pick){ "start_info", mfn_of(start_info) };
    case 7: return (struct pick){ "code", mfn_of((void *)named_frame) };
    case 8: return (struct pick){ "mfn_2^40", 1UL << 40 };
    case 9: return (struct pick){ "mfn_2^39", 1UL << 39 };
    case 10: return (struct pick){ "mfn_-1", -1UL };
    case 11: return (struct pick){ "mfn_2^52-1", (1UL << 52) - 1 };
    default: return (struct pick){ "max_page", memory_op(XENMEM_maximum_ram_page, 0) + 1 };
    }
}
#define NAMED_FRAMES 13

struct pick own_frame(void)
{
    unsigned int which = any(PAGES + TABLES + EXTRAS);

    if (which < PAGES)
        return (struct pick){ page_names[which], mfn_of(pages[which]) };
    if (which < PAGES + TABLES)
        return (struct pick){ table_names[which - PAGES], mfn_of(tables[which - PAGES]) };
    which -= PAGES + TABLES;
    return extras[which] ? (struct pick){ extra_names[which], extras[which] } : (struct pick){ "p0", mfn_of(pages[0]) };
}

struct pick frame(void)
{
    return any(4) ? own_frame() : named_frame(any(NAMED_FRAMES));
}

const char *frame_name(uint64_t mfn)
{
    for (unsigned int i = 0; i < PAGES; i++)
        if (mfn == mfn_of(pages[i]))
            return page_names[i];
    for (unsigned int i = 0; i < TABLES; i++)
        if (mfn == mfn_of(tables[i]))
            return table_names[i];
    for (unsigned int i = 0; i < EXTRAS; i++)
        if (extras[i] && mfn == extras[i])
            return extra_names[i];
    for (unsigned int i = 0; i < NAMED_FRAMES; i++)
        if (mfn == named_frame(i).value)
            return named_frame(i).name;
    for (unsigned int i = 0; i < WINDOWS; i++)
        if (mfn == mfn_of(windows[i]))
            return window_names[i];
    return mfn ? "another" : "0";
}

int is_page(uint64_t mfn)
{
    return *frame_name(mfn) == 'p';
}

struct pick domain(void)
{
    switch (any(16)) {
    case 0: return (struct pick){ "1000", 1000 };
    case 1: return (struct pick){ "DOMID_IO", DOMID_IO };
    case 2: return (struct pick){ "DOMID_XEN", DOMID_XEN };
    case 3: return (struct pick){ "DOMID_COW", DOMID_COW };
    case 4: return (struct pick){ "DOMID_INVALID", DOMID_INVALID };
    case 5: return (struct pick){ "0x7fef", 0x7fef };
    case 6: return (struct pick){ "0xffff", 0xffff };
    case 7: return (struct pick){ "dom0", 0 };
    case 8: case 9: case 10: return (struct pick){ "me", self };
    default: return (struct pick){ "SELF", DOMID_SELF };
    }
}

/* Where t0 is linked into the tables by hand: an address that only random entries lead to. */
#define LINKED (VIRT_BASE + 500UL * 512 * PAGE_SIZE)

struct pick address(void)
{
    unsigned int which = any(24);

    if (which < 12)
        return (struct pick){ window_names[which % WINDOWS], (uint64_t)windows[which % WINDOWS] };
    switch (which) {
    case 12: return (struct pick){ "p2", (uint64_t)pages[2] };
    case 13: return (struct pick){ "p5", (uint64_t)pages[5] };
    case 14: return (struct pick){ "t1", (uint64_t)tables[1] };
    case 15: return (struct pick){ "t4", (uint64_t)tables[4] };
    case 16: return (struct pick){ "linked", LINKED };
    case 17: return (struct pick){ "linked+1", LINKED + PAGE_SIZE };
    case 18: return (struct pick){ "l4[1]", 1UL << 39 };
    case 19: return (struct pick){ "NULL", 0 };
    case 20: return (struct pick){ "in_xen", IN_XEN };
    case 21: return (struct pick){ "non-canonical", NON_CANONICAL };
    case 22: return (struct pick){ "m2p", MACH2PHYS_VIRT_START };
    default: return (struct pick){ "-1", -1UL };
    }
}

struct pick count_of(unsigned int sane)
{
    static const char *const names[] = { "0", "1", "2", "3", "4", "5", "6", "7", "8" };

    if (any(10)) {
        unsigned int count = 1 + any(sane);

        return (struct pick){ names[count], count };
    }
    switch (any(4)) {
    case 0: return (struct pick){ "0", 0 };
    case 1: return (struct pick){ "2^31", 1UL << 31 };
    case 2: return (struct pick){ "2^32-1", 0xffffffff };
    default: return (struct pick){ "2^32+1", (1UL << 32) + 1 };
    }
}

uint64_t flags_of_entry(void)
{
    static const uint64_t common[] = { 0, PTE_P, PTE_RDONLY, PTE_RDONLY, PTE_DATA, PTE_DATA, PTE_TABLE, PTE_TABLE };
    static const uint64_t bits[] = { PTE_RW, PTE_US, PTE_PWT, PTE_PCD, PTE_A, PTE_D, PTE_PS, PTE_G, 0x200, 0x400, 0x800, 1UL << 52, 1UL << 58,
                                     1UL << 59, 1UL << 62, PTE_NX, PTE_NX };
    uint64_t flags = one_of(common);

    while (chance(3))
        flags ^= one_of(bits);
    return flags;
}

uint64_t number(void)
{
    static const uint64_t numbers[] = { 0, 0, 1, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 63, 64, 127, 255, 256, 4095, 4096, 0x7fef, DOMID_SELF, DOMID_IO, DOMID_XEN,
                                        0x7ff3, 0x7ff4, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff, 1UL << 32, (1UL << 32) + 1,
                                        1UL << 47, IN_XEN, 1UL << 63, -2UL, -1UL, 0xffffffff80000000UL, 1UL << 40 };

    return chance(8) ? (uint64_t)windows[any(WINDOWS)] + (any(2) ? 0 : any(PAGE_SIZE)) : one_of(numbers);
}

/* Not the console's and not xenstore's. */
evtchn_port_t port(void)
{
    static const evtchn_port_t odd[] = { 0, 63, 64, 1023, 4095, 4096, 131071, 131072, 0x7fffffff, 0xffffffff };

    return chance(10) ? one_of(odd) : first_port + any(PORTS);
}

unsigned int vcpu_number(void)
{
    static const unsigned int numbers[] = { 0, 0, 0, 0, 0, 1, 1, 1, 2, 31, 32, 8191, 8192, 0x80000000, 0xffffffff };

    return one_of(numbers);
}
