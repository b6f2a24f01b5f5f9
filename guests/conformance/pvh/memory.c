/* memory_op of a translated guest: what is where in its physical memory. */
#include "pvh.h"

static const struct { const char *name; domid_t dom; } domains[] = {
    { "DOMID_SELF", DOMID_SELF }, { "domain 0", 0 }, { "domain 1000", 1000 }, { "DOMID_IO", DOMID_IO }, { "DOMID_XEN", DOMID_XEN },
};
#define DOMAINS (sizeof(domains) / sizeof(*domains))

/* Each page has its number in its first word. */
static void number_pages(void)
{
    for (int i = 0; i < 16; i++)
        word_at(data[i]) = i % 10;
}

static long reservation(unsigned int cmd, domid_t dom, uint64_t gfn, unsigned int order)
{
    static xen_pfn_t frame;
    struct xen_memory_reservation arg = { .nr_extents = 1, .extent_order = order, .domid = dom };

    frame = gfn;
    set_xen_guest_handle(arg.extent_start, &frame);
    return memory_op(cmd, &arg);
}

static long pages(void)
{
    domid_t dom = DOMID_SELF;

    return memory_op(XENMEM_current_reservation, &dom);
}

static void commands(void)
{
    static const struct { const char *name; unsigned int cmd; } all[] = {
        { "memory_op.maximum_ram_page", 2 }, { "memory_op.machphys_mfn_list", 5 }, { "memory_op.machine_memory_map", 10 }, { "memory_op.machphys_mapping", 12 },
        { "memory_op.set_memory_map", 13 }, { "memory_op.set_pod_target", 16 }, { "memory_op.get_pod_target", 17 }, { "memory_op.get_sharing_freed_pages", 18 },
        { "memory_op.paging_op", 20 }, { "memory_op.access_op", 21 }, { "memory_op.sharing_op", 22 }, { "memory_op.claim_pages", 24 },
        { "memory_op.machphys_compat_mfn_list", 25 }, { "memory_op.get_vnumainfo", 26 }, { "memory_op.reserved_device_memory_map", 27 },
        { "memory_op.acquire_resource", 28 }, { "memory_op.29", 29 },
    };
    struct xen_memory_map map = { .nr_entries = 0 };
    domid_t dom = DOMID_SELF;

    for (unsigned int i = 0; i < sizeof(all) / sizeof(*all); i++) {
        if (all[i].cmd != 2)
            check(all[i].name, memory_op(all[i].cmd, zeroed()), "zeros");
        if (all[i].cmd != 2)
            check(all[i].name, memory_op(all[i].cmd, ABSENT), "pointer unmapped");
    }
    check_pointers("memory_op.add_to_physmap", memory_op(XENMEM_add_to_physmap, p->address));
    check_pointers("memory_op.remove_from_physmap", memory_op(XENMEM_remove_from_physmap, p->address));
    check_pointers("memory_op.populate_physmap", memory_op(XENMEM_populate_physmap, p->address));
    check_pointers("memory_op.current_reservation", p->address == SMALL + 8 ? -99 : memory_op(XENMEM_current_reservation, p->address));
    check_out("memory_op.memory_map", memory_op(XENMEM_memory_map, &map), ("room for 0 entries"), ("entries=%u", map.nr_entries));
    map.nr_entries = 32;
    set_xen_guest_handle(map.buffer, page);
    check_out("memory_op.memory_map", memory_op(XENMEM_memory_map, &map), ("room for 32 entries"), ("entries=%u", map.nr_entries));
    fact("memory_op.maximum_gpfn", memory_op(XENMEM_maximum_gpfn, &dom) > 32768, "is it above the RAM?");
    fact("memory_op.current_reservation", pages() > 30000 && pages() <= 34000, "is it about 128 MiB?");
    fact("memory_op.maximum_reservation", memory_op(XENMEM_maximum_reservation, &dom) >= pages(), "is it at least the current?");
}

static void special_pages(void)
{
    static const uint64_t idxs[] = { 0, 1, 63, 64, 65, 1UL << 31, 1UL << 63, -1UL };
    volatile shared_info_t *first = (void *)HOLE, *second = (void *)(HOLE + PAGE_SIZE);

    for (unsigned int space = 0; space < 8; space++)
        for (unsigned int i = 0; i < sizeof(idxs) / sizeof(*idxs); i++)
            if (space != 2)
                check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, space, idxs[i], gfn_of(HOLE) + 2), "space %u, index %lx", space, idxs[i]);
    check("memory_op.remove_from_physmap", remove_from_physmap(DOMID_SELF, gfn_of(HOLE) + 2), "what came there");
    for (unsigned int i = 0; i < DOMAINS; i++) {
        check("memory_op.add_to_physmap", add_to_physmap(domains[i].dom, XENMAPSPACE_shared_info, 0, gfn_of(HOLE)), "shared_info of %s", domains[i].name);
        check("memory_op.remove_from_physmap", remove_from_physmap(domains[i].dom, gfn_of(HOLE) + 8), "a gfn without memory, of %s", domains[i].name);
    }
    fact("memory_op.add_to_physmap", first->vcpu_info[0].time.tsc_to_system_mul != 0, "is shared_info there?");
    first->evtchn_mask[7] = 0x77;
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_shared_info, 0, gfn_of(second)), "shared_info at another place");
    fact("memory_op.add_to_physmap", second->evtchn_mask[7] == 0x77, "is it the same there?");
    fact("memory_op.add_to_physmap", first->evtchn_mask[7] == 0x77, "is it at the first place, too?");
    number_pages();
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_shared_info, 0, gfn_of(data[3])), "shared_info in place of a page");
    fact("memory_op.add_to_physmap", ((shared_info_t *)data[3])->evtchn_mask[7] == 0x77, "is it the same there?");
    check("memory_op.remove_from_physmap", remove_from_physmap(DOMID_SELF, gfn_of(data[3])), "shared_info");
    check("memory_op.populate_physmap", reservation(XENMEM_populate_physmap, DOMID_SELF, gfn_of(data[3]), 0), "in place of shared_info");
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_shared_info, 0, gfn_of(HOLE)), "shared_info once more");
    check("memory_op.decrease_reservation", reservation(XENMEM_decrease_reservation, DOMID_SELF, gfn_of(HOLE), 0), "shared_info");
    static const uint64_t gfns[] = { 1UL << 36, 1UL << 40, 1UL << 52, -1UL };
    for (unsigned int i = 0; i < 4; i++) {
        check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_shared_info, 0, gfns[i]), "shared_info at gfn %lx", gfns[i]);
        check("memory_op.remove_from_physmap", remove_from_physmap(DOMID_SELF, gfns[i]), "gfn %lx", gfns[i]);
        check("memory_op.decrease_reservation", reservation(XENMEM_decrease_reservation, DOMID_SELF, gfns[i], 0), "gfn %lx", gfns[i]);
        check("memory_op.populate_physmap", reservation(XENMEM_populate_physmap, DOMID_SELF, gfns[i], 0), "gfn %lx", gfns[i]);
    }
}

#define seen(call, where) do { asked(call); print("what is at the %s? -> %s\n", #where, content((uint64_t)(where))); } while (0)

static void moves(void)
{
    long before = pages();
    unsigned char *there = (void *)(HOLE + 4 * PAGE_SIZE), *behind = there + PAGE_SIZE;

    number_pages();
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_gmfn, gfn_of(data[1]), gfn_of(there)), "a page to a free place");
    seen("memory_op.add_to_physmap", there);
    seen("memory_op.add_to_physmap", data[1]);
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_gmfn, gfn_of(data[1]), gfn_of(behind)), "from where nothing is");
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_gmfn, gfn_of(data[2]), gfn_of(there)), "a page to where one is");
    seen("memory_op.add_to_physmap", there);
    seen("memory_op.add_to_physmap", data[2]);
    fact("memory_op.current_reservation", pages() == before, "is the page that was there still ours?");
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_gmfn, gfn_of(there), gfn_of(there)), "a page to itself");
    seen("memory_op.add_to_physmap", there);
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_gmfn, gfn_of(there), gfn_of(data[2])), "the page back");
    seen("memory_op.add_to_physmap", data[2]);
    before = pages();
    check("memory_op.remove_from_physmap", remove_from_physmap(DOMID_SELF, gfn_of(data[2])), "a page");
    seen("memory_op.remove_from_physmap", data[2]);
    fact("memory_op.current_reservation", pages() == before, "is it still ours?");
    check("memory_op.remove_from_physmap", remove_from_physmap(DOMID_SELF, gfn_of(data[2])), "again");
    before = pages();
    check("memory_op.populate_physmap", reservation(XENMEM_populate_physmap, DOMID_SELF, gfn_of(data[2]), 0), "a page there");
    fact("memory_op.current_reservation", pages() == before + 1, "is there one more?");
    check("memory_op.populate_physmap", reservation(XENMEM_populate_physmap, DOMID_SELF, gfn_of(data[4]), 0), "a page where one is");
    before = pages();
    check("memory_op.decrease_reservation", reservation(XENMEM_decrease_reservation, DOMID_SELF, gfn_of(data[5]), 0), "a page");
    seen("memory_op.decrease_reservation", data[5]);
    fact("memory_op.current_reservation", pages() == before - 1, "is there one less?");
    check("memory_op.decrease_reservation", reservation(XENMEM_decrease_reservation, DOMID_SELF, gfn_of(data[5]), 0), "again");
    check("memory_op.decrease_reservation", reservation(XENMEM_decrease_reservation, DOMID_SELF, gfn_of(data[8]), 1), "two pages");
    seen("memory_op.decrease_reservation", data[9]);
    check("memory_op.populate_physmap", reservation(XENMEM_populate_physmap, DOMID_SELF, gfn_of(data[8]), 1), "two pages, order 1");
    check("memory_op.populate_physmap", reservation(XENMEM_populate_physmap, DOMID_SELF, gfn_of(data[5]), 0), "one page");
    check("memory_op.populate_physmap", reservation(XENMEM_populate_physmap, DOMID_SELF, gfn_of(HOLE) + 6, 10), "order 10");
    check("memory_op.increase_reservation", reservation(XENMEM_increase_reservation, DOMID_SELF, 0, 0), "a page");
    for (unsigned int i = 1; i < DOMAINS; i++) {
        check("memory_op.decrease_reservation", reservation(XENMEM_decrease_reservation, domains[i].dom, gfn_of(data[6]), 0), "of %s", domains[i].name);
        check("memory_op.populate_physmap", reservation(XENMEM_populate_physmap, domains[i].dom, gfn_of(data[6]), 0), "of %s", domains[i].name);
        check("memory_op.add_to_physmap", add_to_physmap(domains[i].dom, XENMAPSPACE_gmfn, gfn_of(data[6]), gfn_of(there)), "a page of %s", domains[i].name);
    }
    number_pages();
}

static void exchanges(void)
{
    static xen_pfn_t in, out;
    struct xen_memory_exchange arg = { .in = { .nr_extents = 1, .domid = DOMID_SELF }, .out = { .nr_extents = 1, .domid = DOMID_SELF } };

    in = gfn_of(data[6]);
    out = gfn_of(data[6]);
    set_xen_guest_handle(arg.in.extent_start, &in);
    set_xen_guest_handle(arg.out.extent_start, &out);
    check_out("memory_op.exchange", memory_op(XENMEM_exchange, &arg), ("a page"), ("exchanged=%lu", arg.nr_exchanged));
    seen("memory_op.exchange", data[6]);
    in = gfn_of(HOLE);
    arg.nr_exchanged = 0;
    check_out("memory_op.exchange", memory_op(XENMEM_exchange, &arg), ("what is not there"), ("exchanged=%lu", arg.nr_exchanged));
}

static void ranges(void)
{
    static xen_ulong_t idxs[4];
    static xen_pfn_t gfns[4];
    static int errs[4];
    struct xen_add_to_physmap range = { .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn_range, .size = 3 };
    struct xen_add_to_physmap_batch batch = { .domid = DOMID_SELF, .space = XENMAPSPACE_gmfn, .size = 4 };
    unsigned char *there = (void *)(HOLE + 16 * PAGE_SIZE);

    number_pages();
    range.idx = gfn_of(data[10]);
    range.gpfn = gfn_of(there);
    check_out("memory_op.add_to_physmap", memory_op(XENMEM_add_to_physmap, &range), ("a range of 3"), ("size=%u", range.size));
    seen("memory_op.add_to_physmap", there + 2 * PAGE_SIZE);
    range.size = 3;
    range.idx = gfn_of(there);
    range.gpfn = gfn_of(data[10]);
    check("memory_op.add_to_physmap", memory_op(XENMEM_add_to_physmap, &range), "the range back");
    seen("memory_op.add_to_physmap", data[12]);
    range.size = 0;
    check("memory_op.add_to_physmap", memory_op(XENMEM_add_to_physmap, &range), "a range of 0");
    range.size = 4;
    range.idx = gfn_of(HOLE) + 64;
    check("memory_op.add_to_physmap", memory_op(XENMEM_add_to_physmap, &range), "a range of nothing");
    for (int i = 0; i < 4; i++) {
        idxs[i] = gfn_of(data[10 + i]);
        gfns[i] = gfn_of(there) + i;
        errs[i] = 0x55;
    }
    idxs[2] = gfn_of(HOLE) + 64;
    set_xen_guest_handle(batch.idxs, idxs);
    set_xen_guest_handle(batch.gpfns, gfns);
    set_xen_guest_handle(batch.errs, errs);
    check_out("memory_op.add_to_physmap_batch", memory_op(XENMEM_add_to_physmap_batch, &batch), ("four, the third from nothing"), ("%d %d %d %d", errs[0], errs[1], errs[2], errs[3]));
    seen("memory_op.add_to_physmap_batch", there + 3 * PAGE_SIZE);
    for (int i = 0; i < 4; i++) {
        gfns[i] = gfn_of(data[10 + i]);
        idxs[i] = gfn_of(there) + i;
    }
    check_out("memory_op.add_to_physmap_batch", memory_op(XENMEM_add_to_physmap_batch, &batch), ("back"), ("%d %d %d %d", errs[0], errs[1], errs[2], errs[3]));
    for (unsigned int i = 1; i < DOMAINS; i++) {
        batch.domid = domains[i].dom;
        check("memory_op.add_to_physmap_batch", memory_op(XENMEM_add_to_physmap_batch, &batch), "of %s", domains[i].name);
    }
    batch.domid = DOMID_SELF;
    for (unsigned int space = 0; space < 8; space++) {
        batch.space = space;
        idxs[0] = 0;
        gfns[0] = gfn_of(there);
        batch.size = 1;
        if (space != XENMAPSPACE_gmfn)
            check_out("memory_op.add_to_physmap_batch", memory_op(XENMEM_add_to_physmap_batch, &batch), ("space %u", space), ("%d", errs[0]));
    }
    batch.space = XENMAPSPACE_gmfn_foreign;
    for (unsigned int i = 0; i < DOMAINS; i++) {
        batch.u.foreign_domid = domains[i].dom;
        errs[0] = 0x55;
        idxs[0] = gfn_of(data[11]);
        check_out("memory_op.add_to_physmap_batch", memory_op(XENMEM_add_to_physmap_batch, &batch), ("a foreign page of %s", domains[i].name), ("%d", errs[0]));
    }
    batch.space = XENMAPSPACE_gmfn;
    batch.size = 0;
    check("memory_op.add_to_physmap_batch", memory_op(XENMEM_add_to_physmap_batch, &batch), "none");
    batch.size = 4;
    set_xen_guest_handle(batch.errs, (int *)ABSENT);
    check("memory_op.add_to_physmap_batch", memory_op(XENMEM_add_to_physmap_batch, &batch), "errs unmapped");
    set_xen_guest_handle(batch.errs, errs);
    set_xen_guest_handle(batch.idxs, (xen_ulong_t *)ABSENT);
    check("memory_op.add_to_physmap_batch", memory_op(XENMEM_add_to_physmap_batch, &batch), "idxs unmapped");
    number_pages();
}

void memory(void)
{
    commands();
    special_pages();
    moves();
    exchanges();
    ranges();
}
