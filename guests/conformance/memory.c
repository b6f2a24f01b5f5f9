/* memory_op: how many pages a domain has, getting, giving back and exchanging them, and what is not for a PV domU. */
#define __XEN_TOOLS__                           /* the toolstack's calls, too */
#include "conform.h"

#define POOL 640                                /* pages that come and go together */

static unsigned char spare[8][PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char pool[POOL][PAGE_SIZE] __attribute__((aligned(4096)));
static uint64_t list[POOL], wanted[POOL];

static const char *const changes[] = {
    [XENMEM_increase_reservation] = "memory_op.increase_reservation",
    [XENMEM_decrease_reservation] = "memory_op.decrease_reservation",
    [XENMEM_populate_physmap] = "memory_op.populate_physmap",
};

static struct xen_memory_reservation reservation(domid_t dom, void *extents, uint64_t count, unsigned int order)
{
    struct xen_memory_reservation arg = { .nr_extents = count, .extent_order = order, .domid = dom };

    set_xen_guest_handle(arg.extent_start, (xen_pfn_t *)extents);
    return arg;
}

static long change(int cmd, domid_t dom, void *extents, uint64_t count, unsigned int order)
{
    struct xen_memory_reservation arg = reservation(dom, extents, count, order);

    return memory_op(cmd, &arg);
}

/* From now on the page is at another frame, or at none. */
static void replace(void *at, uint64_t mfn)
{
    ((uint64_t *)start_info->mfn_list)[pfn_of(at)] = mfn;
    if (mfn)
        update_va_mapping(at, mfn * PAGE_SIZE | PTE_DATA, UVMF_INVLPG);
    else
        update_va_mapping(at, 0, UVMF_INVLPG);
}

/* The page's frame goes back to Xen; there is a new one for it. */
static void give_up(void *at)
{
    list[0] = mfn_of(at);
    replace(at, 0);
    if (change(XENMEM_decrease_reservation, DOMID_SELF, list, 1, 0) != 1)
        panic("a page cannot be given up");
}

static void get_back(void *at)
{
    list[0] = pfn_of(at);
    if (change(XENMEM_populate_physmap, DOMID_SELF, list, 1, 0) != 1)
        panic("a page cannot be had");
    replace(at, list[0]);
}

static void one_page(void)
{
    uint64_t frame = mfn_of(spare[0]);
    static const unsigned int bits[] = { 31, 32, 40, 52, 63, 64 };
    static const unsigned int few_bits[] = { 1, 11, 12, 13, 14 };

    list[0] = frame;
    check("memory_op.decrease_reservation", change(XENMEM_decrease_reservation, DOMID_SELF, list, 1, 0), "a page that is mapped");
    check("memory_op.decrease_reservation", change(XENMEM_decrease_reservation, DOMID_SELF, list, 1, 0), "again");
    fact("memory_op.decrease_reservation", (spare[0][0] = 7) == spare[0][0], "a page that is mapped: can it still be written?");
    replace(spare[0], 0);
    check("memory_op.decrease_reservation", change(XENMEM_decrease_reservation, DOMID_SELF, list, 1, 0), "a page that is gone");
    list[0] = pfn_of(spare[0]);
    check("memory_op.populate_physmap", change(XENMEM_populate_physmap, DOMID_SELF, list, 1, 0), "one page");
    fact("memory_op.populate_physmap", machine_to_physical[list[0]] == pfn_of(spare[0]), "one page: is it in the m2p?");
    replace(spare[0], list[0]);
    for (unsigned int i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
        struct xen_memory_reservation arg = reservation(DOMID_SELF, list, 1, 0);

        arg.mem_flags = XENMEMF_address_bits(bits[i]);
        give_up(spare[0]);
        list[0] = pfn_of(spare[0]);
        check("memory_op.populate_physmap", memory_op(XENMEM_populate_physmap, &arg), "one page below 2^%u", bits[i]);
        fact("memory_op.populate_physmap", bits[i] >= 52 || list[0] >> (bits[i] - 12) == 0, "one page below 2^%u: is it?", bits[i]);
        change(XENMEM_decrease_reservation, DOMID_SELF, list, 1, 0);
        get_back(spare[0]);
    }
    for (unsigned int bit = 16; bit < 24; bit++) {
        struct xen_memory_reservation arg = reservation(DOMID_SELF, list, 1, 0);

        arg.mem_flags = 1u << bit;
        give_up(spare[0]);
        list[0] = pfn_of(spare[0]);
        if (check("memory_op.populate_physmap", memory_op(XENMEM_populate_physmap, &arg), "one page, flag bit %u", bit) == 1)
            change(XENMEM_decrease_reservation, DOMID_SELF, list, 1, 0);
        get_back(spare[0]);
    }
    for (unsigned int i = 0; i < sizeof(few_bits) / sizeof(*few_bits); i++) {
        static const struct { int cmd; const char *name; } cmds[] = {
            { XENMEM_populate_physmap, "memory_op.populate_physmap" }, { XENMEM_increase_reservation, "memory_op.increase_reservation" },
            { XENMEM_decrease_reservation, "memory_op.decrease_reservation" },
        };

        for (unsigned int c = 0; c < 3; c++) {
            struct xen_memory_reservation arg = reservation(DOMID_SELF, list, 1, 0);

            arg.mem_flags = XENMEMF_address_bits(few_bits[i]);
            if (c < 2) {
                give_up(spare[0]);
                list[0] = pfn_of(spare[0]);
            } else {
                list[0] = mfn_of(spare[0]);
                replace(spare[0], 0);
            }
            if (check(cmds[c].name, memory_op(cmds[c].cmd, &arg), "one page below 2^%u", few_bits[i]) == (c < 2))
                change(XENMEM_decrease_reservation, DOMID_SELF, list, 1, 0);
            get_back(spare[0]);
        }
    }
    give_up(spare[0]);
    list[0] = 0;
    check("memory_op.increase_reservation", change(XENMEM_increase_reservation, DOMID_SELF, list, 1, 0), "one page");
    fact("memory_op.increase_reservation", list[0] != 0, "one page: is it told?");
    check("memory_op.decrease_reservation", change(XENMEM_decrease_reservation, DOMID_SELF, list, 1, 0), "that page");
    get_back(spare[0]);
    if (!is_dom0())
        check("memory_op.increase_reservation", change(XENMEM_increase_reservation, DOMID_SELF, 0, 1, 0), "one page, NULL");
}

static void refusals(void)
{
    static const unsigned int orders[] = { 8, 9, 10, 18, 19, 20, 31, 32, 63, 64, 0xffffffff };
    static const uint64_t counts[] = { 0, (1UL << 26) - 1, 1UL << 26, 1UL << 32, 1UL << 60, -1UL };
    static const struct { const char *name; uint64_t frame; } frames[] = {
        { "frame 0", 0 }, { "a frame of Xen", 0x100000 / PAGE_SIZE }, { "frame 2^40", 1UL << 40 }, { "frame 2^52", 1UL << 52 }, { "frame -1", -1UL },
    };

    for (int cmd = XENMEM_increase_reservation; cmd <= XENMEM_populate_physmap; cmd++) {
        if (!changes[cmd])
            continue;
        for (domid_t dom = 1000; dom < 1002; dom++)
            check(changes[cmd], change(cmd, dom, list, 1, 0), "domain %u", dom);
        check(changes[cmd], change(cmd, DOMID_IO, list, 1, 0), "DOMID_IO");
        check(changes[cmd], change(cmd, DOMID_XEN, list, 1, 0), "DOMID_XEN");
        check(changes[cmd], change(cmd, DOMID_INVALID, list, 1, 0), "DOMID_INVALID");
        if (!is_dom0())
            check(changes[cmd], change(cmd, 0, list, 1, 0), "domain 0");
        for (unsigned int i = 0; i < sizeof(orders) / sizeof(*orders); i++) {
            if (is_dom0() && orders[i] < 20)
                continue;                       /* how much there is depends on the machine */
            list[0] = -1UL;
            check(changes[cmd], change(cmd, DOMID_SELF, list, 1, orders[i]), "order %u", orders[i]);
        }
        for (unsigned int i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
            if (counts[i] == (1UL << 26) - 1 && cmd != XENMEM_decrease_reservation)
                continue;                       /* these would take what there is */
            list[0] = -1UL;
            check(changes[cmd], change(cmd, DOMID_SELF, list, counts[i], 0), "%lu extents", counts[i]);
        }
        for_wild(w) {
            if (cmd == XENMEM_increase_reservation && is_dom0())
                continue;
            check(changes[cmd], change(cmd, DOMID_SELF, (void *)w->address, 1, 0), "list %s", w->name);
        }
        check_wild(changes[cmd], memory_op(cmd, w->address), "pointer");
        for (unsigned long start = 1; start < 4; start++) {
            struct xen_memory_reservation arg = reservation(DOMID_SELF, list, 2, 0);

            list[0] = list[1] = list[2] = -1UL;
            if (cmd == XENMEM_decrease_reservation || start > 1)
                check(changes[cmd], memory_op(cmd | start << 6, &arg), "continued: %lu of 2 are done", start);
            check(changes[cmd], memory_op(cmd | start << 6, UNMAPPED), "continued: %lu are done, pointer unmapped", start);
        }
        check(changes[cmd], memory_op(cmd | 0x3ffffffUL << 6, page), "continued: 2^26 - 1 are done");
        check(changes[cmd], memory_op(cmd | 1UL << 32, UNMAPPED), "rubbish above the command's 32 bits, pointer unmapped");
    }
    for (unsigned int i = 0; i < sizeof(frames) / sizeof(*frames); i++) {
        list[0] = frames[i].frame;
        check("memory_op.decrease_reservation", change(XENMEM_decrease_reservation, DOMID_SELF, list, 1, 0), "%s", frames[i].name);
    }
    list[0] = start_info->shared_info / PAGE_SIZE;
    check("memory_op.decrease_reservation", change(XENMEM_decrease_reservation, DOMID_SELF, list, 1, 0), "shared_info");
    list[0] = mfn_of(entry_of(spare, 1));
    check("memory_op.decrease_reservation", change(XENMEM_decrease_reservation, DOMID_SELF, list, 0, 0), "no extents");
    list[0] = mfn_of(spare[2]);
    list[1] = -1UL;
    replace(spare[2], 0);
    check("memory_op.decrease_reservation", change(XENMEM_decrease_reservation, DOMID_SELF, list, 2, 0), "a page and no frame");
    get_back(spare[2]);
}

static void many_pages(void)
{
    long before, after;
    domid_t dom = DOMID_SELF;
    int good = 1;

    before = memory_op(XENMEM_current_reservation, &dom);
    for (unsigned int i = 0; i < POOL; i++) {
        list[i] = mfn_of(pool[i]);
        wanted[i] = pfn_of(pool[i]);
        replace(pool[i], 0);
    }
    check("memory_op.decrease_reservation", change(XENMEM_decrease_reservation, DOMID_SELF, list, POOL, 0), "640 pages");
    after = memory_op(XENMEM_current_reservation, &dom);
    check("memory_op.current_reservation", before - after, "how many fewer");
    memcpy(list, wanted, sizeof(list));
    check("memory_op.populate_physmap", change(XENMEM_populate_physmap, DOMID_SELF, list, POOL, 0), "640 pages");
    after = memory_op(XENMEM_current_reservation, &dom);
    check("memory_op.current_reservation", before - after, "how many fewer");
    for (unsigned int i = 0; i < POOL; i++)
        good &= machine_to_physical[list[i]] == wanted[i];
    fact("memory_op.populate_physmap", good, "640 pages: are all in the m2p?");
    check("memory_op.decrease_reservation", change(XENMEM_decrease_reservation, DOMID_SELF, list, 300, 0), "300 of them");
    memcpy(list, wanted, sizeof(*list) * 8);
    check("memory_op.populate_physmap", change(XENMEM_populate_physmap, DOMID_SELF, list, 1, 7), "128 contiguous pages");
    good = 1;
    for (unsigned int i = 0; i < 128; i++)
        good &= machine_to_physical[list[0] + i] == wanted[0] + i;
    fact("memory_op.populate_physmap", good && list[0] % 128 == 0, "128 contiguous pages: are they in the m2p, aligned?");
    check("memory_op.decrease_reservation", change(XENMEM_decrease_reservation, DOMID_SELF, list, 1, 7), "128 contiguous pages");
    memcpy(list, wanted, sizeof(*list) * 300);
    check("memory_op.populate_physmap", change(XENMEM_populate_physmap, DOMID_SELF, list, 300, 0), "300 pages");
    for (unsigned int i = 0; i < POOL; i++)
        replace(pool[i], list[i]);
}

static struct xen_memory_exchange exchange;

static long exchange_now(uint64_t in, unsigned int in_order, uint64_t out, unsigned int out_order)
{
    exchange.in = reservation(DOMID_SELF, list, in, in_order);
    exchange.out = reservation(DOMID_SELF, wanted, out, out_order);
    exchange.nr_exchanged = 0;
    return memory_op(XENMEM_exchange, &exchange);
}

#define check_exchange(call, ...) check_out("memory_op.exchange", call, (__VA_ARGS__), ("exchanged %lu", exchange.nr_exchanged))

static void prepare(void)
{
    for (unsigned int i = 0; i < POOL; i++) {
        list[i] = mfn_of(pool[i]);
        wanted[i] = pfn_of(pool[i]);
        replace(pool[i], 0);
    }
}

static void exchanges(void)
{
    static const struct { uint64_t in; unsigned int in_order; uint64_t out; unsigned int out_order; } bad[] = {
        { 1, 0, 2, 0 }, { 2, 0, 1, 0 }, { 1, 1, 1, 0 }, { 2, 0, 1, 2 }, { 1, 10, 1, 10 }, { 1, 19, 1, 19 }, { 1, 20, 1, 20 }, { 1, 32, 1, 32 },
        { 1, 0, 1, 64 }, { 1UL << 63, 1, 1UL << 63, 1 }, { 1UL << 60, 0, 1UL << 60, 0 }, { -1UL, 0, -1UL, 0 }, { 0, 0, 0, 0 }, { 0, 0, 1, 0 },
        { 0, 1, 0, 1 }, { 512, 0, 1, 9 },
    };
    int good = 1;

    memset(list, 0xff, sizeof(list));
    for (unsigned int i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        if (is_dom0() && bad[i].in_order == 10)
            continue;
        check_exchange(exchange_now(bad[i].in, bad[i].in_order, bad[i].out, bad[i].out_order), "%lu of order %u for %lu of order %u, no frames",
                       bad[i].in, bad[i].in_order, bad[i].out, bad[i].out_order);
    }
    list[0] = mfn_of(spare[1]);
    wanted[0] = pfn_of(spare[1]);
    check_exchange(exchange_now(1, 0, 1, 0), "a page that is mapped");
    list[0] = mfn_of(l4_table());
    check_exchange(exchange_now(1, 0, 1, 0), "a page table");
    list[0] = start_info->shared_info / PAGE_SIZE;
    check_exchange(exchange_now(1, 0, 1, 0), "shared_info");
    list[0] = 0;
    check_exchange(exchange_now(1, 0, 1, 0), "frame 0");
    list[0] = mfn_of(spare[1]);
    replace(spare[1], 0);
    list[1] = list[0];
    check_exchange(exchange_now(2, 0, 2, 0), "the same page twice");
    list[0] = machine_to_physical[list[0]] == pfn_of(spare[1]) ? list[0] : wanted[0];
    check_exchange(exchange_now(1, 0, 1, 0), "a page");
    fact("memory_op.exchange", machine_to_physical[wanted[0]] == pfn_of(spare[1]), "a page: is it in the m2p?");
    replace(spare[1], wanted[0]);
    static const unsigned int bits[] = { 1, 12, 13, 31, 52, 64 };
    for (unsigned int i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
        uint64_t frame = mfn_of(spare[1]);
        long answer;

        list[0] = frame;
        wanted[0] = pfn_of(spare[1]);
        replace(spare[1], 0);
        exchange.in = reservation(DOMID_SELF, list, 1, 0);
        exchange.out = reservation(DOMID_SELF, wanted, 1, 0);
        exchange.out.mem_flags = XENMEMF_address_bits(bits[i]);
        exchange.nr_exchanged = 0;
        answer = memory_op(XENMEM_exchange, &exchange);
        check_exchange(answer, "a page for one below 2^%u", bits[i]);
        replace(spare[1], answer == 0 ? wanted[0] : frame);
    }
    for (domid_t dom = 0; dom < 3; dom++) {
        exchange.in = exchange.out = reservation(DOMID_SELF, list, 1, 0);
        exchange.nr_exchanged = 0;
        if (!is_dom0() || dom)
            exchange.in.domid = dom ? 1000 : 0;
        if (dom < 2)
            exchange.out.domid = exchange.in.domid;
        list[0] = -1UL;
        check_exchange(memory_op(XENMEM_exchange, &exchange), "domain %u for domain %u", exchange.in.domid == DOMID_SELF ? 7777 : exchange.in.domid,
                       exchange.out.domid == DOMID_SELF ? 7777 : exchange.out.domid);
    }
    for_wild(w) {
        list[0] = mfn_of(spare[1]);
        exchange.in = reservation(DOMID_SELF, (void *)w->address, 1, 0);
        exchange.out = reservation(DOMID_SELF, list, 1, 0);
        exchange.nr_exchanged = 0;
        check_exchange(memory_op(XENMEM_exchange, &exchange), "list of pages given %s", w->name);
        exchange.out = exchange.in;
        exchange.in = reservation(DOMID_SELF, list, 1, 0);
        exchange.nr_exchanged = 0;
        check_exchange(memory_op(XENMEM_exchange, &exchange), "list of pages wanted %s, a mapped page", w->name);
        check("memory_op.exchange", memory_op(XENMEM_exchange, w->address), "pointer %s", w->name);
    }
    static const unsigned int lost[] = { CUT, 1, 0, CUT };
    for (unsigned int i = 0; i < 4; i++) {
        long before, after;
        domid_t dom = DOMID_SELF;

        list[0] = mfn_of(spare[4 + i]);
        replace(spare[4 + i], 0);
        exchange.in = reservation(DOMID_SELF, list, 1, 0);
        exchange.out = reservation(DOMID_SELF, (void *)wild[lost[i]].address, 1, 0);
        exchange.nr_exchanged = 0;
        before = memory_op(XENMEM_current_reservation, &dom);
        check_exchange(memory_op(XENMEM_exchange, &exchange), "list of pages wanted %s, a page", wild[lost[i]].name);
        after = memory_op(XENMEM_current_reservation, &dom);
        check("memory_op.current_reservation", before - after, "how many fewer");
        exchange.out = reservation(DOMID_SELF, list, 1, 0);
        check_exchange(memory_op(XENMEM_exchange, &exchange), "that page again");
    }
    for (uint64_t done = 1; done < 4; done++) {
        list[0] = list[1] = -1UL;
        exchange.in = exchange.out = reservation(DOMID_SELF, list, 2, 0);
        exchange.nr_exchanged = done;
        check_exchange(memory_op(XENMEM_exchange, &exchange), "%lu of two are done", done);
    }
    exchange.nr_exchanged = 0;
    check_exchange(memory_op(XENMEM_exchange | 1 << 6, &exchange), "command says that one is done");
    prepare();
    list[3] = -1UL;
    check_exchange(exchange_now(8, 0, 8, 0), "8 pages, the fourth none");
    for (unsigned int i = 0; i < 3; i++)
        list[i] = wanted[i];
    list[3] = mfn_of(pool[3]) ? mfn_of(pool[3]) : 0;
    for (unsigned int i = 0; i < 3; i++)
        wanted[i] = pfn_of(pool[i]);
    check_exchange(exchange_now(3, 0, 3, 0), "the first three again");
    check_exchange((list[0] = wanted[0], list[1] = wanted[1], wanted[0] = pfn_of(pool[0]), exchange_now(2, 0, 1, 1)), "two pages for two contiguous ones");
    good = machine_to_physical[wanted[0]] == pfn_of(pool[0]) && machine_to_physical[wanted[0] + 1] == pfn_of(pool[1]) && wanted[0] % 2 == 0;
    fact("memory_op.exchange", good, "two contiguous pages: are they in the m2p, aligned?");
    list[0] = wanted[0];
    wanted[0] = pfn_of(pool[0]);
    wanted[1] = pfn_of(pool[1]);
    check_exchange(exchange_now(1, 1, 2, 0), "two contiguous pages for two");
    fact("memory_op.exchange", machine_to_physical[wanted[0]] == pfn_of(pool[0]) && machine_to_physical[wanted[1]] == pfn_of(pool[1]), "two pages: are they in the m2p?");
}

static void queries(void)
{
    static const int of_domain[] = { XENMEM_current_reservation, XENMEM_maximum_reservation, XENMEM_maximum_gpfn };
    static const char *const names[] = { "memory_op.current_reservation", "memory_op.maximum_reservation", "memory_op.maximum_gpfn" };
    struct xen_memory_map map = { .nr_entries = 32 };
    struct xen_machphys_mapping machphys;
    struct xen_machphys_mfn_list mfns = { .max_extents = 1 };
    uint64_t *entry = (uint64_t *)page;
    domid_t dom;

    fact("memory_op.maximum_ram_page", memory_op(XENMEM_maximum_ram_page, UNMAPPED) > 0, "is it a frame number?");
    for (int i = 0; i < 3; i++) {
        dom = DOMID_SELF;
        if (i < 2)
            fact(names[i], memory_op(of_domain[i], &dom) >= (long)start_info->nr_pages, "at least nr_pages?");
        else if (!is_dom0())
            check(names[i], memory_op(of_domain[i], &dom), "DOMID_SELF");
        if (!is_dom0()) {
            dom = 0;
            check(names[i], memory_op(of_domain[i], &dom), "domain 0");
            dom = own_domid();
            fact(names[i], memory_op(of_domain[i], &dom) >= 0, "by our own number: an answer?");
        }
        dom = 1000;
        check(names[i], memory_op(of_domain[i], &dom), "domain 1000");
        for (dom = DOMID_IO; dom < DOMID_IO + 4; dom++)
            check(names[i], memory_op(of_domain[i], &dom), "domain %x", dom);
        check_wild(names[i], memory_op(of_domain[i], w->address), "pointer");
        dom = DOMID_SELF;
        check(names[i], memory_op(of_domain[i] | 1 << 6, &dom), "command says that one is done");
    }
    check("memory_op.maximum_ram_page", memory_op(XENMEM_maximum_ram_page | 1 << 6, 0), "command says that one is done");
    if (is_dom0())
        return;
    set_xen_guest_handle(map.buffer, (void *)page);
    check_out("memory_op.memory_map", memory_op(XENMEM_memory_map, &map), ("32 entries"), ("nr_entries=%u", map.nr_entries));
    fact("memory_op.memory_map", entry[0] == 0 && entry[1] == start_info->nr_pages * PAGE_SIZE && page[16] == 1, "all of our RAM from 0?");
    for (unsigned int room = 0; room < 3; room++) {
        map.nr_entries = room;
        filled();
        check_out("memory_op.memory_map", memory_op(XENMEM_memory_map, &map), ("%u entries", room), ("nr_entries=%u, %u bytes", map.nr_entries, written()));
    }
    for_wild(w) {
        map.nr_entries = 1;
        set_xen_guest_handle(map.buffer, (void *)w->address);
        check_out("memory_op.memory_map", memory_op(XENMEM_memory_map, &map), ("buffer %s", w->name), ("nr_entries=%u", map.nr_entries));
        map.nr_entries = 0;
        check_out("memory_op.memory_map", memory_op(XENMEM_memory_map, &map), ("no entries, buffer %s", w->name), ("nr_entries=%u", map.nr_entries));
        check("memory_op.memory_map", memory_op(XENMEM_memory_map, w->address), "pointer %s", w->name);
    }
    check_out("memory_op.machphys_mapping", memory_op(XENMEM_machphys_mapping, &machphys), ("a buffer"),
              ("v_start=%lx v_end=%lx max_mfn=%lx", machphys.v_start, machphys.v_end, machphys.max_mfn));
    check_wild("memory_op.machphys_mapping", memory_op(XENMEM_machphys_mapping, w->address), "pointer");
    check("memory_op.machphys_mapping", memory_op(XENMEM_machphys_mapping, READ_ONLY), "pointer to a read-only page");
    for (unsigned int room = 0; room < 2; room++) {
        filled();
        mfns = (struct xen_machphys_mfn_list){ .max_extents = room };
        set_xen_guest_handle(mfns.extent_start, (xen_pfn_t *)page);
        check_out("memory_op.machphys_mfn_list", memory_op(XENMEM_machphys_mfn_list, &mfns), ("room for %u", room), ("nr_extents=%u, %u bytes", mfns.nr_extents, written() / 8 * 8));
    }
    for_wild(w) {
        mfns = (struct xen_machphys_mfn_list){ .max_extents = 1, .nr_extents = 77 };
        set_xen_guest_handle(mfns.extent_start, (xen_pfn_t *)w->address);
        check_out("memory_op.machphys_mfn_list", memory_op(XENMEM_machphys_mfn_list, &mfns), ("list %s", w->name), ("nr_extents=%u", mfns.nr_extents));
        check("memory_op.machphys_mfn_list", memory_op(XENMEM_machphys_mfn_list, w->address), "pointer %s", w->name);
    }
    check("memory_op.machphys_compat_mfn_list", memory_op(XENMEM_machphys_compat_mfn_list, &mfns), "a buffer");
}

static struct { const char *name; domid_t dom; } domains[] = {
    { "DOMID_SELF", DOMID_SELF }, { "domain 0", 0 }, { "our own number", 0 }, { "domain 1000", 1000 }, { "DOMID_IO", DOMID_IO }, { "DOMID_XEN", DOMID_XEN },
};
#define OWN     2
#define DOMAINS 6

static void physmap(void)
{
    struct xen_add_to_physmap add;
    struct xen_add_to_physmap_batch batch;
    struct xen_remove_from_physmap gone;
    xen_ulong_t idx[2] = { 0, 0 };
    xen_pfn_t gpfn[2];
    int errs[2];

    for (int d = 0; d < DOMAINS; d++) {
        for (unsigned int space = 0; space < 8; space++) {
            add = (struct xen_add_to_physmap){ .domid = domains[d].dom, .space = space, .gpfn = 1 };
            check("memory_op.add_to_physmap", memory_op(XENMEM_add_to_physmap, &add), "%s, space %u", domains[d].name, space);
            for (unsigned int size = 0; size < 2; size++) {
                batch = (struct xen_add_to_physmap_batch){ .domid = domains[d].dom, .space = space, .size = size, .u.foreign_domid = 0 };
                errs[0] = errs[1] = 77;
                gpfn[0] = gpfn[1] = 1;
                set_xen_guest_handle(batch.idxs, idx);
                set_xen_guest_handle(batch.gpfns, gpfn);
                set_xen_guest_handle(batch.errs, errs);
                check_out("memory_op.add_to_physmap_batch", memory_op(XENMEM_add_to_physmap_batch, &batch), ("%s, space %u, size %u", domains[d].name, space, size),
                          ("errs=%d %d", errs[0], errs[1]));
            }
        }
        gone = (struct xen_remove_from_physmap){ .domid = domains[d].dom, .gpfn = 1 };
        check("memory_op.remove_from_physmap", memory_op(XENMEM_remove_from_physmap, &gone), "%s", domains[d].name);
    }
    add = (struct xen_add_to_physmap){ .domid = DOMID_SELF };
    check("memory_op.add_to_physmap", memory_op(XENMEM_add_to_physmap | 1 << 6, &add), "command says that one is done");
    gone = (struct xen_remove_from_physmap){ .domid = DOMID_SELF };
    check("memory_op.remove_from_physmap", memory_op(XENMEM_remove_from_physmap | 1 << 6, &gone), "command says that one is done");
    batch = (struct xen_add_to_physmap_batch){ .domid = DOMID_SELF, .size = 1 };
    for (int start = 1; start < 3; start++)
        check("memory_op.add_to_physmap_batch", memory_op(XENMEM_add_to_physmap_batch | start << 6, &batch), "size 1, command says that %d are done", start);
    for_wild(w) {
        check("memory_op.add_to_physmap", memory_op(XENMEM_add_to_physmap, w->address), "pointer %s", w->name);
        check("memory_op.remove_from_physmap", memory_op(XENMEM_remove_from_physmap, w->address), "pointer %s", w->name);
        check("memory_op.add_to_physmap_batch", memory_op(XENMEM_add_to_physmap_batch, w->address), "pointer %s", w->name);
        batch = (struct xen_add_to_physmap_batch){ .domid = DOMID_SELF, .size = 1 };
        set_xen_guest_handle(batch.idxs, (xen_ulong_t *)w->address);
        set_xen_guest_handle(batch.gpfns, gpfn);
        set_xen_guest_handle(batch.errs, errs);
        check("memory_op.add_to_physmap_batch", memory_op(XENMEM_add_to_physmap_batch, &batch), "list of indices %s", w->name);
    }
}

static void toolstack(void)
{
    struct xen_foreign_memory_map map;
    struct xen_pod_target pod;
    struct xen_mem_acquire_resource resource;
    struct xen_mem_access_op access;
    struct xen_vnuma_topology_info numa;
    xen_pfn_t frames[2];

    for (int d = 0; d < DOMAINS; d++) {
        check("memory_op.claim_pages", change(XENMEM_claim_pages, domains[d].dom, 0, 0, 0), "%s, 0 pages", domains[d].name);
        check("memory_op.claim_pages", change(XENMEM_claim_pages, domains[d].dom, 0, 1000000, 0), "%s, a million pages", domains[d].name);
        check("memory_op.claim_pages", change(XENMEM_claim_pages, domains[d].dom, list, 1, 0), "%s, a list", domains[d].name);
        check("memory_op.claim_pages", change(XENMEM_claim_pages, domains[d].dom, 0, 1, 1), "%s, order 1", domains[d].name);
        map = (struct xen_foreign_memory_map){ .domid = domains[d].dom };
        check("memory_op.set_memory_map", memory_op(XENMEM_set_memory_map, &map), "%s, no entries", domains[d].name);
        map.map.nr_entries = 1000000;
        check("memory_op.set_memory_map", memory_op(XENMEM_set_memory_map, &map), "%s, a million entries", domains[d].name);
        for (int cmd = XENMEM_set_pod_target; cmd <= XENMEM_get_pod_target; cmd++) {
            pod = (struct xen_pod_target){ .domid = domains[d].dom };
            check(cmd == XENMEM_set_pod_target ? "memory_op.set_pod_target" : "memory_op.get_pod_target", memory_op(cmd, &pod), "%s", domains[d].name);
        }
        for (unsigned int op = 0; op < 6; op++) {
            access = (struct xen_mem_access_op){ .op = op, .domid = domains[d].dom };
            check("memory_op.access_op", memory_op(XENMEM_access_op, &access), "%s, op %u", domains[d].name, op);
        }
        for (unsigned int type = 0; type < 4; type++)
            for (unsigned int nr = 0; nr < 2; nr++) {
                resource = (struct xen_mem_acquire_resource){ .domid = domains[d].dom, .type = type, .nr_frames = nr };
                if (nr)
                    set_xen_guest_handle(resource.frame_list, frames);
                check_out("memory_op.acquire_resource", memory_op(XENMEM_acquire_resource, &resource), ("%s, type %u, %u frames", domains[d].name, type, nr),
                          ("nr_frames=%u", resource.nr_frames));
            }
        resource = (struct xen_mem_acquire_resource){ .domid = domains[d].dom, .pad = 1 };
        check("memory_op.acquire_resource", memory_op(XENMEM_acquire_resource, &resource), "%s, pad 1", domains[d].name);
        for (unsigned int nr = 0; nr < 2; nr++) {
            resource = (struct xen_mem_acquire_resource){ .domid = domains[d].dom, .nr_frames = nr, .frame = 0xffffffff };
            check("memory_op.acquire_resource", memory_op(XENMEM_acquire_resource, &resource), "%s, frame 2^32 - 1, %u frames", domains[d].name, nr);
            resource.frame = 1UL << 32;
            check("memory_op.acquire_resource", memory_op(XENMEM_acquire_resource, &resource), "%s, frame 2^32, %u frames", domains[d].name, nr);
        }
        numa = (struct xen_vnuma_topology_info){ .domid = domains[d].dom };
        check_out("memory_op.get_vnumainfo", memory_op(XENMEM_get_vnumainfo, &numa), ("%s", domains[d].name), ("nr_vnodes=%u", numa.nr_vnodes));
        numa.pad = 1;
        check("memory_op.get_vnumainfo", memory_op(XENMEM_get_vnumainfo, &numa), "%s, pad 1", domains[d].name);
    }
    static const struct { int cmd; const char *name; } ops[] = {
        { 8, "memory_op.8" }, { XENMEM_machine_memory_map, "memory_op.machine_memory_map" }, { XENMEM_set_memory_map, "memory_op.set_memory_map" },
        { XENMEM_set_pod_target, "memory_op.set_pod_target" }, { XENMEM_get_pod_target, "memory_op.get_pod_target" },
        { XENMEM_get_sharing_freed_pages, "memory_op.get_sharing_freed_pages" }, { XENMEM_get_sharing_shared_pages, "memory_op.get_sharing_shared_pages" },
        { XENMEM_paging_op, "memory_op.paging_op" }, { XENMEM_access_op, "memory_op.access_op" }, { XENMEM_sharing_op, "memory_op.sharing_op" },
        { XENMEM_claim_pages, "memory_op.claim_pages" }, { 25, "memory_op.machphys_compat_mfn_list" }, { XENMEM_get_vnumainfo, "memory_op.get_vnumainfo" },
        { XENMEM_reserved_device_memory_map, "memory_op.reserved_device_memory_map" }, { XENMEM_acquire_resource, "memory_op.acquire_resource" },
        { 29, "memory_op.29" }, { 30, "memory_op.30" }, { 63, "memory_op.63" },
    };

    for (unsigned int i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
        zeroed();
        check(ops[i].name, memory_op(ops[i].cmd, page), "zeros");
        check(ops[i].name, memory_op(ops[i].cmd | 1 << 6, page), "zeros, command says that one is done");
        check_wild(ops[i].name, memory_op(ops[i].cmd, w->address), "pointer");
        check(ops[i].name, memory_op(ops[i].cmd, READ_ONLY), "pointer to a read-only page");
    }
}

/* A domain may say itself what its memory map is. */
static void own_map(void)
{
    struct xen_foreign_memory_map map = { .domid = DOMID_SELF };
    uint64_t *entry = (uint64_t *)page;

    for (unsigned int count = 0; count < 3; count++) {
        zeroed();
        entry[0] = 0x1000;
        entry[1] = 0x2000;
        page[16] = 5;
        page[20] = 7;
        map.map.nr_entries = count;
        set_xen_guest_handle(map.map.buffer, (void *)page);
        check("memory_op.set_memory_map", memory_op(XENMEM_set_memory_map, &map), "%u entries of our own", count);
        filled();
        map.map.nr_entries = 8;
        check_out("memory_op.memory_map", memory_op(XENMEM_memory_map, &map.map), ("8 entries, after set_memory_map of %u", count),
                  ("nr_entries=%u, %u bytes, %lx %lx %x %x", map.map.nr_entries, written(), entry[0], entry[1], page[16], page[20]));
    }
    for (unsigned int count = 1; count <= 5000; count = count < 1020 ? count * 4 : count < 1026 ? count + 1 : count * 2) {
        map.map.nr_entries = count;
        set_xen_guest_handle(map.map.buffer, (void *)UNMAPPED);
        check("memory_op.set_memory_map", memory_op(XENMEM_set_memory_map, &map), "%u entries, buffer unmapped", count);
    }
    map.map.nr_entries = 0;
    check("memory_op.set_memory_map", memory_op(XENMEM_set_memory_map, &map), "no entries, buffer unmapped");
}

void suite(void)
{
    one_page();
    refusals();
    many_pages();
    exchanges();
    queries();
    if (is_dom0())
        return;
    domains[OWN].dom = own_domid();
    physmap();
    toolstack();
    own_map();
}
