/* The memory that hypercalls change, compared after each step with what it was. */
#include "fuzz.h"

#define WATCHED_PORTS 64

static unsigned char page_copies[PAGES][PAGE_SIZE], table_copies[TABLES][PAGE_SIZE];
static unsigned char grant_copy[2048];          /* of the first half of the table's first page */
static pte_t window_copies[WINDOWS], page_entries[PAGES], table_entries[TABLES];
static uint64_t m2p_copies[PAGES + TABLES + EXTRAS];
static uint64_t pending_copy[2], mask_copy[2];
static struct { uint8_t pending; uint64_t selector; } vcpu_copies[2];

static void tell_entry(pte_t entry)
{
    if (!(entry & PTE_P) && !(entry & PTE_FRAME))
        print("%lx", entry);
    else
        print("%s:%lx", frame_name((entry & PTE_FRAME) / PAGE_SIZE), entry & ~PTE_FRAME);
}

static void tell_entries(const char *what, pte_t *copies, unsigned char (*of)[PAGE_SIZE], unsigned int count)
{
    for (unsigned int i = 0; i < count; i++) {
        pte_t now = *entry_of(of[i], 1);

        if (now == copies[i])
            continue;
        print(" %s%u->", what, i);
        tell_entry(now);
        copies[i] = now;
    }
}

static int is_same(const void *a, const void *b, size_t words)
{
    int same;

    asm volatile ("repe cmpsq" : "=@cce" (same), "+S" (a), "+D" (b), "+c" (words) :: "memory");
    return same;
}

static void tell_page(const char *what, unsigned int number, unsigned char *now, unsigned char *copy, int is_table)
{
    int is_writable = (*entry_of(now, 1) & PTE_RW) != 0;
    unsigned int words = 0, first = 0, last = 0;
    uint64_t *new = (uint64_t *)now, *old = (uint64_t *)copy, sum = 0;

    if (is_same(new, old, PAGE_SIZE / 8))
        return;
    for (unsigned int i = 0; i < PAGE_SIZE / 8; i++) {
        if (new[i] == old[i] || (is_table && (new[i] & ~PTE_A) == (old[i] & ~PTE_A)))   /* the CPU's own, and CPUs differ */
            continue;
        if (!words++)
            first = i;
        last = i;
        sum = sum * 31 + (new[i] ^ old[i]);
        if (is_table && words <= 3 && !is_hushed) {
            print(" %s%u[%u]=", what, number, i);
            tell_entry(new[i] & ~PTE_A);
        }
        if (!is_hushed || is_table || !is_writable)
            old[i] = new[i];
    }
    if (is_hushed && !is_table && is_writable)  /* as it was */
        memcpy(now, copy, PAGE_SIZE);
    if (words && !is_hushed && (!is_table || words > 3)) {
        print(" %s%u[%u..%u]", what, number, first, last);
        if (!is_table)
            print("^%x", (uint32_t)(sum ^ sum >> 32));
    }
}

static void tell_grants(void)
{
    unsigned int size = grant_version == 2 ? sizeof(grant_entry_v2_t) : sizeof(grant_entry_v1_t);

    for (unsigned int i = 0; i < sizeof(grant_copy) / size; i++) {
        const unsigned char *now = table_page + i * size;
        unsigned char *copy = grant_copy + i * size;

        if (is_same(now, copy, size / 8))
            continue;
        if (i > 1)                              /* the first two are the console's and xenstore's */
            print(" g%u=%x", i, *(const uint16_t *)now);
        memcpy(copy, now, size);
    }
}

static uint64_t our_ports(unsigned int word)
{
    uint64_t mask = -1UL;

    if (!is_dom0() && word == 0)
        mask &= ~(1UL << start_info->console.domU.evtchn | 1UL << start_info->store_evtchn);
    return mask;
}

static void tell_word_of(const char *what, unsigned int number, uint64_t now, uint64_t *copy)
{
    if (now != *copy)
        print(" %s%u=%lx", what, number, now);
    *copy = now;
}

static void tell_events(void)
{
    for (unsigned int i = 0; i < 2; i++) {
        volatile vcpu_info_t *vcpu = &shared_info->vcpu_info[i];
        uint64_t selector = vcpu->evtchn_pending_sel & ~(is_dom0() ? 0UL : 1UL);

        tell_word_of("pending", i, shared_info->evtchn_pending[i] & our_ports(i), &pending_copy[i]);
        tell_word_of("mask", i, shared_info->evtchn_mask[i] & our_ports(i), &mask_copy[i]);
        tell_word_of("selector", i, selector, &vcpu_copies[i].selector);
        if (vcpu->evtchn_upcall_pending != vcpu_copies[i].pending)
            print(" upcall%u=%u", i, vcpu->evtchn_upcall_pending);
        vcpu_copies[i].pending = vcpu->evtchn_upcall_pending;
    }
}

static void tell_m2p(void)
{
    for (unsigned int i = 0; i < PAGES + TABLES + EXTRAS; i++) {
        uint64_t mfn = i < PAGES ? mfn_of(pages[i]) : i < PAGES + TABLES ? mfn_of(tables[i - PAGES]) : extras[i - PAGES - TABLES];
        uint64_t now = mfn ? machine_to_physical[mfn] : 0;

        if (now != m2p_copies[i])
            print(" m2p(%s)=%lx", frame_name(mfn), now);
        m2p_copies[i] = now;
    }
}

void tell_changes(void)
{
    for (unsigned int i = 0; i < PAGES; i++)
        tell_page("p", i, pages[i], page_copies[i], 0);
    for (unsigned int i = 0; i < TABLES; i++)
        tell_page("t", i, tables[i], table_copies[i], 1);
    tell_entries("w", window_copies, windows, WINDOWS);
    tell_entries("at_p", page_entries, pages, PAGES);
    tell_entries("at_t", table_entries, tables, TABLES);
    tell_grants();
    tell_events();
    tell_m2p();
    tell_queues();
    is_hushed = 0;
}

void watch_init(void)
{
    for (unsigned int i = 0; i < PAGES; i++) {
        for (unsigned int j = 0; j < PAGE_SIZE / 8; j++)
            ((uint64_t *)pages[i])[j] = (i + 1) * 0x0101010101010101UL + j;
        memcpy(page_copies[i], pages[i], PAGE_SIZE);
        page_entries[i] = *entry_of(pages[i], 1);
        m2p_copies[i] = machine_to_physical[mfn_of(pages[i])];
    }
    for (unsigned int i = 0; i < TABLES; i++) {
        table_entries[i] = *entry_of(tables[i], 1);
        m2p_copies[PAGES + i] = machine_to_physical[mfn_of(tables[i])];
    }
    for (unsigned int i = 0; i < WINDOWS; i++)
        window_copies[i] = *entry_of(windows[i], 1);
    shared_info->vcpu_info[0].evtchn_upcall_pending = 0;        /* the console has been heard */
    shared_info->vcpu_info[0].evtchn_pending_sel = 0;
    for (unsigned int i = 0; i < 2; i++) {
        pending_copy[i] = shared_info->evtchn_pending[i] & our_ports(i);
        mask_copy[i] = shared_info->evtchn_mask[i] & our_ports(i);
        vcpu_copies[i].pending = shared_info->vcpu_info[i].evtchn_upcall_pending;
        vcpu_copies[i].selector = shared_info->vcpu_info[i].evtchn_pending_sel & ~(is_dom0() ? 0UL : 1UL);
    }
    memcpy(grant_copy, table_page, sizeof(grant_copy));
}

void tell_word(const char *kind, const unsigned char *at)
{
    switch (*kind) {
    case 'f':
        print("%s", frame_name(*(const uint64_t *)at));
        break;
    case 'm':
        print("%s+%lx", frame_name(*(const uint64_t *)at / PAGE_SIZE), *(const uint64_t *)at % PAGE_SIZE);
        break;
    case 'h':
        print("%x", *(const uint16_t *)(at + 2));
        break;
    default:
        print("%x", *(const uint32_t *)at);
    }
}
