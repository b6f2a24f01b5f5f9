/* grant_table_op of a domain that grants to itself: versions 1 and 2, every operation, and the statuses of every misuse. */
#include "conform.h"
#include <xen/grant_table.h>

#define grant_table_op(cmd, arg, count) HYPERCALL3(__HYPERVISOR_grant_table_op, cmd, arg, count)

static unsigned char table_pages[4][PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char shared[PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char other[PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char window[2][PAGE_SIZE] __attribute__((aligned(4096)));
static grant_entry_v1_t *const v1 = (grant_entry_v1_t *)table_pages;
static grant_entry_v2_t *const v2 = (grant_entry_v2_t *)table_pages;
static uint64_t frames[70];
static domid_t self;

#define REF 20                                  /* the grant that is tried */

static const struct { const char *name; domid_t dom; } domains[] = {
    { "DOMID_SELF", DOMID_SELF }, { "domain 0", 0 }, { "domain 1000", 1000 }, { "DOMID_IO", DOMID_IO }, { "DOMID_XEN", DOMID_XEN },
};
#define DOMAINS 5

static const char *const calls[] = {
    "grant_table_op.map_grant_ref", "grant_table_op.unmap_grant_ref", "grant_table_op.setup_table", "grant_table_op.dump_table",
    "grant_table_op.transfer", "grant_table_op.copy", "grant_table_op.query_size", "grant_table_op.unmap_and_replace", "grant_table_op.set_version",
    "grant_table_op.get_status_frames", "grant_table_op.get_version", "grant_table_op.swap_grant_ref", "grant_table_op.cache_flush", "grant_table_op.13",
};

static long setup_table(domid_t dom, unsigned int count, void *list, int16_t *status)
{
    struct gnttab_setup_table arg = { .dom = dom, .nr_frames = count, .status = 77 };
    long answer;

    set_xen_guest_handle(arg.frame_list, list);
    answer = grant_table_op(GNTTABOP_setup_table, &arg, 1);
    *status = arg.status;
    return answer;
}

static void map_table(unsigned int count)
{
    int16_t status;

    setup_table(DOMID_SELF, count, frames, &status);
    for (unsigned int i = 0; i < count; i++)
        update_va_mapping(table_pages[i], frames[i] * PAGE_SIZE | PTE_DATA, UVMF_INVLPG);
}

static void sizes(void)
{
    static const unsigned int counts[] = { 0, 1, 2, 4, 64, 65, 0x80000000, 0xffffffff };
    int16_t status;

    for (unsigned int d = 0; d < DOMAINS; d++) {
        struct gnttab_query_size size = { .dom = domains[d].dom, .status = 77 };
        struct gnttab_get_version version = { .dom = domains[d].dom, .version = 77 };
        gnttab_get_status_frames_t get = { .dom = domains[d].dom, .nr_frames = 1, .status = 77 };

        if (is_dom0() && d == 1)
            continue;
        check_out(calls[6], grant_table_op(GNTTABOP_query_size, &size, 1), ("%s", domains[d].name),
                  ("status=%d nr_frames=%u max_nr_frames=%u", size.status, size.status ? 0 : size.nr_frames, size.status ? 0 : size.max_nr_frames));
        check_out(calls[10], grant_table_op(GNTTABOP_get_version, &version, 1), ("%s", domains[d].name), ("version=%u", version.version));
        check_out(calls[2], setup_table(domains[d].dom, 1, frames, &status), ("%s, one frame", domains[d].name), ("status=%d", status));
        set_xen_guest_handle(get.frame_list, frames);
        check_out(calls[9], grant_table_op(GNTTABOP_get_status_frames, &get, 1), ("%s, version 1", domains[d].name), ("status=%d", get.status));
    }
    for (unsigned int i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        if (counts[i] == 64)
            continue;
        memset(frames, 0, sizeof(frames));
        check_out(calls[2], setup_table(DOMID_SELF, counts[i], frames, &status), ("%u frames", counts[i]),
                  ("status=%d, %s", status, frames[0] ? "told" : "not told"));
    }
    for_wild(w)
        check_out(calls[2], setup_table(DOMID_SELF, 1, (void *)w->address, &status), ("one frame, list %s", w->name), ("status=%d", status));
    for (int cmd = 0; cmd < 14; cmd++) {
        static const unsigned int counts[] = { 0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff };

        for_wild(w)
            for (unsigned int i = 0; i < 3; i++)
                check(calls[cmd], grant_table_op(cmd, w->address, counts[i]), "pointer %s, %u", w->name, counts[i]);
        for (unsigned int i = 3; i < 6; i++)
            check(calls[cmd], grant_table_op(cmd, UNMAPPED, counts[i]), "pointer unmapped, %u", counts[i]);
    }
    check("grant_table_op", grant_table_op(0x100000 | GNTTABOP_query_size, page, 1), "query_size with rubbish in the command");
    check("grant_table_op", grant_table_op(-1, page, 1), "command -1");
}

static long map(unsigned int flags, domid_t dom, grant_ref_t ref, void *at, struct gnttab_map_grant_ref *arg)
{
    *arg = (struct gnttab_map_grant_ref){ .host_addr = (uint64_t)at, .flags = flags, .dom = dom, .ref = ref, .handle = 77, .status = 77 };
    return grant_table_op(GNTTABOP_map_grant_ref, arg, 1);
}

static long unmap(void *at, grant_handle_t handle, struct gnttab_unmap_grant_ref *arg)
{
    *arg = (struct gnttab_unmap_grant_ref){ .host_addr = (uint64_t)at, .handle = handle, .status = 77 };
    return grant_table_op(GNTTABOP_unmap_grant_ref, arg, 1);
}

static void grant(grant_ref_t ref, unsigned int flags, domid_t dom, uint64_t mfn)
{
    v1[ref] = (grant_entry_v1_t){ .domid = dom, .frame = mfn };
    barrier();
    v1[ref].flags = flags;
}

static void mappings(void)
{
    static const unsigned int entries[] = { 0, GTF_permit_access, GTF_permit_access | GTF_readonly, GTF_accept_transfer, GTF_transitive, GTF_permit_access | GTF_sub_page };
    static const char *const names[] = { "no grant", "a grant", "a read-only grant", "a transfer slot", "a transitive grant", "a sub-page grant" };
    static const unsigned int ways[] = { 0, GNTMAP_host_map, GNTMAP_host_map | GNTMAP_readonly, GNTMAP_device_map, GNTMAP_device_map | GNTMAP_host_map,
                                         GNTMAP_host_map | GNTMAP_contains_pte, GNTMAP_host_map | GNTMAP_application_map, GNTMAP_host_map | 0x80 };
    struct gnttab_map_grant_ref arg;
    struct gnttab_unmap_grant_ref gone;

    for (unsigned int e = 0; e < 6; e++)
        for (unsigned int i = 0; i < 8; i++) {
            grant(REF, entries[e], self, mfn_of(shared));
            remap(window[0], 0);
            check_out(calls[0], map(ways[i], DOMID_SELF, REF, window[0], &arg), ("%s, flags %x", names[e], ways[i]),
                      ("status=%d entry=%x pte=%lx", arg.status, v1[REF].flags, arg.status ? 0 : *entry_of(window[0], 1) & ~PTE_FRAME & 0xfff));
            if (arg.status == 0)
                check_out(calls[1], unmap(ways[i] & GNTMAP_host_map ? window[0] : 0, arg.handle, &gone), ("%s, flags %x", names[e], ways[i]),
                          ("status=%d entry=%x", gone.status, v1[REF].flags));
        }
    remap(window[0], 0);
    grant(REF, GTF_permit_access, 1000, mfn_of(shared));
    check_out(calls[0], map(GNTMAP_host_map, DOMID_SELF, REF, window[0], &arg), ("a grant to another domain"), ("status=%d", arg.status));
    static const struct { const char *name; uint64_t mfn; } bad[] = { { "frame -1", 0xffffffff }, { "frame 2^31", 1UL << 31 }, { "frame 0", 0 } };
    for (unsigned int i = 0; i < 3; i++) {
        if (is_dom0())
            continue;
        grant(REF, GTF_permit_access, self, bad[i].mfn);
        check_out(calls[0], map(GNTMAP_host_map, DOMID_SELF, REF, window[0], &arg), ("a grant of %s", bad[i].name), ("status=%d", arg.status));
    }
    grant(REF, GTF_permit_access, self, mfn_of(l4_table()));
    check_out(calls[0], map(GNTMAP_host_map, DOMID_SELF, REF, window[0], &arg), ("a grant of a page table"), ("status=%d", arg.status));
    check_out(calls[0], map(GNTMAP_host_map | GNTMAP_readonly, DOMID_SELF, REF, window[0], &arg), ("a grant of a page table, read-only"), ("status=%d", arg.status));
    if (arg.status == 0)
        unmap(window[0], arg.handle, &gone);
    grant(REF, GTF_permit_access, self, mfn_of(shared));
    for (unsigned int i = 0; i < 6; i++) {
        static const grant_ref_t refs[] = { 511, 2047, 2048, 4096, 0x7fffffff, 0xffffffff };

        check_out(calls[0], map(GNTMAP_host_map, DOMID_SELF, refs[i], window[0], &arg), ("reference %u", refs[i]), ("status=%d", arg.status));
    }
    for (unsigned int d = 1; d < DOMAINS; d++) {
        if (is_dom0() && d == 1)
            continue;
        check_out(calls[0], map(GNTMAP_host_map, domains[d].dom, 1000000, window[0], &arg), ("reference 1000000 of %s", domains[d].name), ("status=%d", arg.status));
    }
    static const struct { const char *name; uint64_t address; } places[] = { { "0", 0 }, { "in Xen", IN_XEN }, { "non-canonical", NON_CANONICAL }, { "without an L1", 0x10000000000 } };
    for (unsigned int i = 0; i < 4; i++)
        check_out(calls[0], map(GNTMAP_host_map, DOMID_SELF, REF, (void *)places[i].address, &arg), ("host address %s", places[i].name), ("status=%d entry=%x", arg.status, v1[REF].flags));
    remap(window[0], PTE_DATA);
    check_out(calls[0], map(GNTMAP_host_map, DOMID_SELF, REF, window[0], &arg), ("host address of a page that is mapped"), ("status=%d", arg.status));
    check_out(calls[1], unmap(window[0], 1000, &gone), ("handle 1000"), ("status=%d", gone.status));
    check_out(calls[1], unmap(window[0], -1, &gone), ("handle -1"), ("status=%d", gone.status));
    check_out(calls[1], unmap(window[1], arg.handle, &gone), ("the wrong host address"), ("status=%d", gone.status));
    check_out(calls[1], unmap(window[0], arg.handle, &gone), ("the right host address"), ("status=%d entry=%x", gone.status, v1[REF].flags));
    check_out(calls[1], unmap(window[0], arg.handle, &gone), ("again"), ("status=%d", gone.status));
    check("update_va_mapping", remap(window[0], PTE_DATA), "the page where a grant was");
    map(GNTMAP_host_map, DOMID_SELF, REF, window[0], &arg);
    check("update_va_mapping", remap(window[0], PTE_DATA), "the page where a grant is");
    check_out(calls[1], unmap(window[0], arg.handle, &gone), ("a grant whose entry was overwritten"), ("status=%d entry=%x", gone.status, v1[REF].flags));
    unmap(0, arg.handle, &gone);
    remap(window[0], 0);
    uint64_t entry = maddr_of(entry_of(window[0], 1));
    check_out(calls[0], map(GNTMAP_host_map | GNTMAP_contains_pte, DOMID_SELF, REF, (void *)entry, &arg), ("by page-table entry"), ("status=%d", arg.status));
    if (arg.status == 0) {
        struct gnttab_unmap_and_replace replace = { .host_addr = (uint64_t)window[0], .new_addr = (uint64_t)window[1], .handle = arg.handle, .status = 77 };

        remap(window[1], PTE_DATA);
        check_out(calls[7], grant_table_op(GNTTABOP_unmap_and_replace, &replace, 1), ("a mapping by page-table entry"), ("status=%d", replace.status));
        check_out(calls[1], unmap((void *)entry, arg.handle, &gone), ("by page-table entry"), ("status=%d entry=%x", gone.status, v1[REF].flags));
    }
    for (unsigned int i = 0; i < 3; i++) {
        static const struct { const char *name; uint64_t at; } bad[] = { { "0", 0 }, { "2^51", 1UL << 51 }, { "not aligned", 5 } };

        check_out(calls[0], map(GNTMAP_host_map | GNTMAP_contains_pte, DOMID_SELF, REF, (void *)(bad[i].at == 5 ? entry + 4 : bad[i].at), &arg),
                  ("by page-table entry at %s", bad[i].name), ("status=%d", arg.status));
    }
}

static void replacements(void)
{
    struct gnttab_map_grant_ref arg;
    struct gnttab_unmap_and_replace replace;

    remap(window[0], 0);
    remap(window[1], PTE_DATA);
    grant(REF, GTF_permit_access, self, mfn_of(shared));
    map(GNTMAP_host_map, DOMID_SELF, REF, window[0], &arg);
    static const struct { const char *name; uint64_t address; } places[] = { { "in Xen", IN_XEN }, { "non-canonical", NON_CANONICAL }, { "without an L1", 0x10000000000 } };
    for (unsigned int i = 0; i < 3; i++) {
        replace = (struct gnttab_unmap_and_replace){ .host_addr = (uint64_t)window[0], .new_addr = places[i].address, .handle = arg.handle, .status = 77 };
        check_out(calls[7], grant_table_op(GNTTABOP_unmap_and_replace, &replace, 1), ("new address %s", places[i].name), ("status=%d", replace.status));
        if (replace.status == 0)
            map(GNTMAP_host_map, DOMID_SELF, REF, window[0], &arg);
    }
    replace = (struct gnttab_unmap_and_replace){ .host_addr = (uint64_t)window[0], .new_addr = (uint64_t)window[1], .handle = arg.handle, .status = 77 };
    check_out(calls[7], grant_table_op(GNTTABOP_unmap_and_replace, &replace, 1), ("a page"), ("status=%d entry=%x", replace.status, v1[REF].flags));
    fact(calls[7], *entry_of(window[1], 1) == 0 && (*entry_of(window[0], 1) & PTE_FRAME) / PAGE_SIZE == mfn_of(window[1]), "did the page move?");
    check_out(calls[7], grant_table_op(GNTTABOP_unmap_and_replace, &replace, 1), ("again"), ("status=%d", replace.status));
    remap(window[0], PTE_DATA);
    remap(window[1], PTE_DATA);
}

static long copy(struct gnttab_copy *arg)
{
    arg->status = 77;
    return grant_table_op(GNTTABOP_copy, arg, 1);
}

static void copies(const char *version)
{
    static const struct { unsigned int from, to, size; } spans[] = {
        { 0, 0, 4096 }, { 0, 0, 0 }, { 100, 200, 300 }, { 0, 1, 4096 }, { 1, 0, 4096 }, { 4096, 0, 0 }, { 4096, 0, 1 }, { 0, 4095, 1 }, { 0, 4096, 1 },
        { 65535, 0, 1 }, { 0, 0, 65535 },
    };
    struct gnttab_copy arg;

    for (unsigned int kind = 0; kind < 4; kind++)
        for (unsigned int i = 0; i < sizeof(spans) / sizeof(*spans); i++) {
            memset(shared, 7, PAGE_SIZE);
            memset(other, 9, PAGE_SIZE);
            arg = (struct gnttab_copy){ .source = { .domid = DOMID_SELF, .offset = spans[i].from }, .dest = { .domid = DOMID_SELF, .offset = spans[i].to },
                                        .len = spans[i].size, .flags = kind };
            if (kind & GNTCOPY_source_gref)
                arg.source.u.ref = REF;
            else
                arg.source.u.gmfn = mfn_of(shared);
            if (kind & GNTCOPY_dest_gref)
                arg.dest.u.ref = REF + 1;
            else
                arg.dest.u.gmfn = mfn_of(other);
            check_out(calls[5], copy(&arg), ("%s, flags %u, %u bytes from %u to %u", version, kind, spans[i].size, spans[i].from, spans[i].to),
                      ("status=%d first=%u last=%u", arg.status, other[0], other[PAGE_SIZE - 1]));
        }
    for (unsigned int d = 0; d < DOMAINS; d++) {
        if (is_dom0() && d != 2)
            continue;
        for (unsigned int kind = 0; kind < 4; kind++) {
            arg = (struct gnttab_copy){ .source = { .domid = DOMID_SELF }, .dest = { .domid = DOMID_SELF }, .len = 1, .flags = kind };
            if (kind & GNTCOPY_source_gref)
                arg.source.u.ref = 1000000;
            else
                arg.source.u.gmfn = 1UL << 40;
            arg.source.domid = domains[d].dom;
            check_out(calls[5], copy(&arg), ("%s, no frame of %s, flags %u", version, domains[d].name, kind), ("status=%d", arg.status));
            arg.source.u.gmfn = mfn_of(shared);
            arg.flags &= ~GNTCOPY_source_gref;
            arg.source.domid = DOMID_SELF;
            arg.dest.domid = domains[d].dom;
            arg.dest.u.ref = 1000000;
            check_out(calls[5], copy(&arg), ("%s, to no frame of %s, flags %u", version, domains[d].name, kind), ("status=%d", arg.status));
        }
    }
    arg = (struct gnttab_copy){ .source = { .domid = DOMID_SELF, .u.gmfn = mfn_of(shared) }, .dest = { .domid = DOMID_SELF, .u.gmfn = mfn_of(l4_table()) }, .len = 1 };
    check_out(calls[5], copy(&arg), ("%s, to a page table", version), ("status=%d", arg.status));
}

static void copies_v1(void)
{
    struct gnttab_copy arg;

    grant(REF, GTF_permit_access, self, mfn_of(shared));
    grant(REF + 1, GTF_permit_access, self, mfn_of(other));
    copies("version 1");
    grant(REF + 1, GTF_permit_access | GTF_readonly, self, mfn_of(other));
    arg = (struct gnttab_copy){ .source = { .domid = DOMID_SELF, .u.ref = REF }, .dest = { .domid = DOMID_SELF, .u.ref = REF + 1 }, .len = 1, .flags = 3 };
    check_out(calls[5], copy(&arg), ("to a read-only grant"), ("status=%d entries=%x %x", arg.status, v1[REF].flags, v1[REF + 1].flags));
    grant(REF, 0, 0, 0);
    grant(REF + 1, 0, 0, 0);
}

static void swaps_and_versions(void)
{
    struct gnttab_set_version set;
    struct gnttab_get_version get = { .dom = DOMID_SELF };
    struct gnttab_swap_grant_ref swap;
    static const grant_ref_t refs[] = { REF, REF + 1, 0, 8, 1000000, 0xffffffff };

    grant(REF, GTF_permit_access, self, mfn_of(shared));
    for (unsigned int a = 0; a < 6; a++)
        for (unsigned int b = 0; b < 6; b += 2) {
            swap = (struct gnttab_swap_grant_ref){ .ref_a = refs[a], .ref_b = refs[b], .status = 77 };
            if (refs[a] < 8 || refs[b] < 8)
                continue;
            check_out(calls[11], grant_table_op(GNTTABOP_swap_grant_ref, &swap, 1), ("%u and %u", refs[a], refs[b]),
                      ("status=%d entries=%x %x", swap.status, v1[REF].flags, v1[REF + 1].flags));
        }
    for (unsigned int version = 0; version < 5; version++) {
        static const uint32_t versions[] = { 0, 3, 0xffffffff, 1, 2 };

        set.version = versions[version];
        grant(REF, 0, 0, 0);
        grant(REF + 1, 0, 0, 0);
        check_out(calls[8], grant_table_op(GNTTABOP_set_version, &set, 1), ("%u", versions[version]), ("version=%u", set.version));
        grant_table_op(GNTTABOP_get_version, &get, 1);
        check_out(calls[10], grant_table_op(GNTTABOP_get_version, &get, 1), ("after set_version %u", versions[version]), ("version=%u", get.version));
    }
}

static void version_two(void)
{
    struct gnttab_map_grant_ref arg;
    struct gnttab_unmap_grant_ref gone;
    gnttab_get_status_frames_t get;
    struct gnttab_copy copying;
    struct gnttab_set_version set = { .version = 1 };

    for (unsigned int count = 0; count < 3; count++) {
        get = (gnttab_get_status_frames_t){ .dom = DOMID_SELF, .nr_frames = count, .status = 77 };
        memset(frames, 0, sizeof(frames));
        set_xen_guest_handle(get.frame_list, frames);
        check_out(calls[9], grant_table_op(GNTTABOP_get_status_frames, &get, 1), ("version 2, %u frames", count), ("status=%d, %s", get.status, frames[0] ? "told" : "not told"));
    }
    for_wild(w) {
        get = (gnttab_get_status_frames_t){ .dom = DOMID_SELF, .nr_frames = 1, .status = 77 };
        set_xen_guest_handle(get.frame_list, (void *)w->address);
        check_out(calls[9], grant_table_op(GNTTABOP_get_status_frames, &get, 1), ("version 2, list %s", w->name), ("status=%d", get.status));
    }
    get = (gnttab_get_status_frames_t){ .dom = DOMID_SELF, .nr_frames = 1 };
    set_xen_guest_handle(get.frame_list, frames);
    grant_table_op(GNTTABOP_get_status_frames, &get, 1);
    update_va_mapping(window[1], frames[0] * PAGE_SIZE | PTE_DATA, UVMF_INVLPG);
    grant_status_t *status = (grant_status_t *)window[1];

    memset(&v2[REF], 0, 2 * sizeof(*v2));
    v2[REF].full_page.hdr.domid = v2[REF + 1].full_page.hdr.domid = self;
    v2[REF].full_page.frame = mfn_of(shared);
    v2[REF + 1].full_page.frame = mfn_of(other);
    barrier();
    v2[REF].full_page.hdr.flags = v2[REF + 1].full_page.hdr.flags = GTF_permit_access;
    remap(window[0], 0);
    check_out(calls[0], map(GNTMAP_host_map, DOMID_SELF, REF, window[0], &arg), ("version 2"), ("status=%d entry=%x status word=%x", arg.status, v2[REF].hdr.flags, status[REF]));
    check_out(calls[1], unmap(window[0], arg.handle, &gone), ("version 2"), ("status=%d entry=%x status word=%x", gone.status, v2[REF].hdr.flags, status[REF]));
    copies("version 2");
    v2[REF].hdr.flags = 0;
    for (unsigned int flags = 0; flags < 3; flags++) {
        static const unsigned int offsets[] = { 0, 90, 200 };

        v2[REF].sub_page.hdr.domid = self;
        v2[REF].sub_page.page_off = 100;
        v2[REF].sub_page.length = 50;
        v2[REF].sub_page.frame = mfn_of(shared);
        barrier();
        v2[REF].sub_page.hdr.flags = GTF_permit_access | GTF_sub_page;
        for (unsigned int size = 10; size < 100; size += 45) {
            copying = (struct gnttab_copy){ .source = { .domid = DOMID_SELF, .offset = offsets[flags], .u.ref = REF }, .dest = { .domid = DOMID_SELF, .u.gmfn = mfn_of(other) },
                                            .len = size, .flags = GNTCOPY_source_gref };
            check_out(calls[5], copy(&copying), ("a sub-page of 50 at 100, %u bytes from %u", size, offsets[flags]), ("status=%d", copying.status));
        }
    }
    check_out(calls[0], map(GNTMAP_host_map, DOMID_SELF, REF, window[0], &arg), ("version 2, a sub-page"), ("status=%d", arg.status));
    v2[REF].hdr.flags = 0;
    v2[REF].transitive.hdr.domid = self;
    v2[REF].transitive.trans_domid = self;
    v2[REF].transitive.gref = REF + 1;
    barrier();
    v2[REF].transitive.hdr.flags = GTF_transitive;
    copying = (struct gnttab_copy){ .source = { .domid = DOMID_SELF, .u.ref = REF }, .dest = { .domid = DOMID_SELF, .u.gmfn = mfn_of(shared) }, .len = 9, .flags = GNTCOPY_source_gref };
    check_out(calls[5], copy(&copying), ("a transitive grant to ourselves"), ("status=%d", copying.status));
    check_out(calls[0], map(GNTMAP_host_map, DOMID_SELF, REF, window[0], &arg), ("version 2, a transitive grant"), ("status=%d", arg.status));
    v2[REF].hdr.flags = v2[REF + 1].hdr.flags = 0;
    update_va_mapping(window[1], make_pte(window[1], PTE_DATA), UVMF_INVLPG);
    check_out(calls[8], grant_table_op(GNTTABOP_set_version, &set, 1), ("back to 1"), ("version=%u", set.version));
    remap(window[0], PTE_DATA);
}

static void transfers(void)
{
    struct gnttab_transfer arg;
    static const struct { const char *name; uint64_t mfn; } bad[] = { { "frame 2^40", 1UL << 40 }, { "frame -1", -1UL }, { "frame 0", 0 } };

    for (unsigned int i = 0; i < 3; i++)
        for (unsigned int d = 0; d < DOMAINS; d++) {
            if (is_dom0())
                continue;
            arg = (struct gnttab_transfer){ .mfn = bad[i].mfn, .domid = domains[d].dom, .ref = REF, .status = 77 };
            check_out(calls[4], grant_table_op(GNTTABOP_transfer, &arg, 1), ("%s to %s", bad[i].name, domains[d].name), ("status=%d", arg.status));
        }
    arg = (struct gnttab_transfer){ .mfn = mfn_of(other), .domid = 1000, .ref = REF, .status = 77 };
    check_out(calls[4], grant_table_op(GNTTABOP_transfer, &arg, 1), ("a mapped page to domain 1000"), ("status=%d", arg.status));
}

void suite(void)
{
    self = own_domid();
    sizes();
    map_table(4);
    mappings();
    replacements();
    copies_v1();
    transfers();
    swaps_and_versions();
    version_two();
}
