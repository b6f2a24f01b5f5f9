/* grant_table_op, and entries of the table. */
#include "fuzz.h"

#define v1 ((volatile grant_entry_v1_t *)table_page)
#define v2 ((volatile grant_entry_v2_t *)table_page)

static grant_ref_t ref(void)
{
    static const grant_ref_t odd[] = { 0, 1, 8, 255, 256, 511, 512, 1023, 2048, 32767, 0xffffffff };

    return chance(14) ? one_of(odd) : FIRST_REF + any(REFS);
}

static void set_entry(struct call *call)
{
    static const unsigned int kinds[] = { 1, 1, 1, 1, 1, 1, 5, 5, 0, 2, 3, 7, 0x101, 0x105, 0x203, 0x21, 0x41, 0x61, 0x81, 0x9, 0x19, 0xffff };
    grant_ref_t at = FIRST_REF + any(REFS), other = FIRST_REF + any(REFS);
    unsigned int flags = one_of(kinds), offset = any(4) ? any(PAGE_SIZE) : any(0x10000), size = any(4) ? any(PAGE_SIZE) : any(0x10000);
    struct pick f = any(5) ? own_frame() : frame(), d = any(4) ? (struct pick){ "me", self } : domain();

    if (f.value == start_info->shared_info / PAGE_SIZE || !strcmp(f.name, "l4") || !strcmp(f.name, "l3") || !strcmp(f.name, "l2") || !strcmp(f.name, "l1")
        || !strcmp(f.name, "grant_frame") || !strcmp(f.name, "start_info") || !strcmp(f.name, "code"))
        flags |= GTF_readonly;
    print("entry %u: flags %x, %s, %s", at, flags, d.name, f.name);
    if (grant_version == 1) {
        v1[at].flags = 0;
        v1[at].domid = d.value;
        v1[at].frame = f.value;
        barrier();
        v1[at].flags = flags;
    } else {
        v2[at].hdr.flags = 0;
        v2[at].hdr.domid = d.value;
        switch (flags & GTF_type_mask) {
        case GTF_transitive:
            v2[at].transitive.trans_domid = any(3) ? self : d.value;
            v2[at].transitive.gref = other;
            print(", of %u", other);
            break;
        default:
            v2[at].sub_page.frame = f.value;
            if (flags & GTF_sub_page) {
                v2[at].sub_page.page_off = offset;
                v2[at].sub_page.length = size;
                print(", %u+%u", offset, size);
            }
        }
        barrier();
        v2[at].hdr.flags = flags;
    }
    call->nr = __HYPERVISOR_xen_version;        /* none is no call: the version of Xen is the same before and after */
}

static void after_map(const struct call *call, long answer)
{
    const struct gnttab_map_grant_ref *map = (const void *)call->ranges[0].at;

    (void)answer;
    for (unsigned int i = 0; i < call->ranges[0].size / sizeof(*map); i++)
        if (map[i].status == 0 && map[i].handle > last_handle && map[i].handle < 4096)
            last_handle = map[i].handle;
}

static void after_version(const struct call *call, long answer)
{
    struct gnttab_get_version arg = { .dom = DOMID_SELF };

    (void)call, (void)answer;
    if (HYPERCALL3(__HYPERVISOR_grant_table_op, GNTTABOP_get_version, &arg, 1) == 0)
        grant_version = arg.version;
}

static uint32_t map_flags(void)
{
    static const uint32_t bits[] = { GNTMAP_device_map, GNTMAP_readonly, GNTMAP_readonly, GNTMAP_application_map, GNTMAP_contains_pte, 0x20, 0x40, 1u << 16, 1u << 19, 1u << 31 };
    uint32_t flags = any(8) ? GNTMAP_host_map : 0;

    while (chance(2))
        flags ^= one_of(bits);
    return flags;
}

/* Where a grant is mapped: an address, or the machine address of its entry. */
static uint64_t place(uint32_t flags)
{
    struct pick a = address();

    while (*a.name == 'p' || *a.name == 't')    /* those stay where they are */
        a = address();
    if (flags & GNTMAP_contains_pte && any(6)) {
        unsigned int i = any(WINDOWS);

        print(" entry of w%u", i);
        return maddr_of(entry_of(windows[i], 1)) + (chance(10) ? any(8) : 0);
    }
    print(" %s", a.name);
    return a.value + (chance(20) ? any(PAGE_SIZE) : 0);
}

static uint64_t bus_address(void)
{
    struct pick f;

    if (any(3))
        return 0;
    f = own_frame();
    print(" bus %s", f.name);
    return f.value * PAGE_SIZE;
}

static void a_copy(struct gnttab_copy *copy)
{
    struct pick d = domain(), e = any(4) ? (struct pick){ "SELF", DOMID_SELF } : domain();
    int is_plain;

    copy->flags = any(12) ? any(4) : number();
    copy->len = any(4) ? any(200) : any(0x2000);
    copy->source.domid = d.value;
    copy->source.offset = any(3) ? any(200) : any(0x1100);
    copy->dest.domid = e.value;
    copy->dest.offset = any(3) ? any(200) : any(0x1100);
    copy->status = 77;
    print(" (%s", d.name);
    if (copy->flags & GNTCOPY_source_gref) {
        print(" g%u", copy->source.u.ref = ref());
        is_plain = copy->source.u.ref < 64 && (grant_version == 1 ? is_page(v1[copy->source.u.ref].frame)
                                               : v2[copy->source.u.ref].hdr.flags % 4 == 1 && is_page(v2[copy->source.u.ref].full_page.frame));
    } else {
        struct pick f = frame();

        print(" %s", f.name);
        copy->source.u.gmfn = f.value;
        is_plain = is_page(f.value);
    }
    print("+%u %s", copy->source.offset, e.name);
    if (copy->flags & GNTCOPY_dest_gref)
        print(" g%u", copy->dest.u.ref = ref());
    else {
        struct pick f = own_frame();

        print(" %s", f.name);
        copy->dest.u.gmfn = f.value;
    }
    print("+%u %u flags %x)", copy->dest.offset, copy->len, copy->flags);
    if (!is_plain)
        is_hushed = 1;
}

void a_grant(struct call *call)
{
    struct pick d = domain(), count = count_of(3);
    unsigned int what = any(40), filled = count.value < 4 ? count.value : 3, cmd;
    void *array;
    unsigned int size;

    if (what < 10) {
        set_entry(call);
        return;
    }
    call->nr = __HYPERVISOR_grant_table_op;
    if (what < 18) {
        struct gnttab_map_grant_ref *map = array = argument(call, size = filled * sizeof(*map), "....h.m....h.m....h.m");

        print("grant.map[%s]", count.name);
        for (unsigned int i = 0; i < filled; i++) {
            uint32_t flags = map_flags();

            d = any(3) ? (struct pick){ "me", self } : domain();
            map[i] = (struct gnttab_map_grant_ref){ .flags = flags, .ref = ref(), .dom = d.value, .status = 77 };
            print(" (g%u of %s flags %x", map[i].ref, d.name, flags);
            map[i].host_addr = place(flags);
            print(")");
        }
        call->after = after_map;
        cmd = GNTTABOP_map_grant_ref;
    } else if (what < 23) {
        struct gnttab_unmap_grant_ref *unmap = array = argument(call, size = filled * sizeof(*unmap), ".");

        print("grant.unmap[%s]", count.name);
        for (unsigned int i = 0; i < filled; i++) {
            unmap[i].handle = any(12) ? any(last_handle + 2) : number();
            unmap[i].status = 77;
            print(" (handle %u", unmap[i].handle);
            unmap[i].host_addr = any(8) ? place(chance(4) ? GNTMAP_contains_pte : 0) : 0;
            unmap[i].dev_bus_addr = bus_address();
            print(")");
        }
        cmd = GNTTABOP_unmap_grant_ref;
    } else if (what < 29) {
        struct gnttab_copy *copy = array = argument(call, size = filled * sizeof(*copy), ".");

        print("grant.copy[%s]", count.name);
        for (unsigned int i = 0; i < filled; i++)
            a_copy(&copy[i]);
        cmd = GNTTABOP_copy;
    } else if (what < 31) {
        struct gnttab_unmap_and_replace *replace = array = argument(call, size = filled * sizeof(*replace), ".");

        print("grant.replace[%s]", count.name);
        for (unsigned int i = 0; i < filled; i++) {
            replace[i].handle = any(last_handle + 2);
            replace[i].status = 77;
            print(" (handle %u", replace[i].handle);
            replace[i].host_addr = place(0);
            replace[i].new_addr = place(0);
            print(")");
        }
        cmd = GNTTABOP_unmap_and_replace;
    } else if (what < 33) {
        struct gnttab_swap_grant_ref *swap = array = argument(call, size = filled * sizeof(*swap), ".");

        print("grant.swap[%s]", count.name);
        for (unsigned int i = 0; i < filled; i++) {
            swap[i].ref_a = ref();
            swap[i].ref_b = ref();
            swap[i].status = 77;
            print(" (%u %u)", swap[i].ref_a, swap[i].ref_b);
        }
        cmd = GNTTABOP_swap_grant_ref;
    } else if (what == 33) {
        struct gnttab_query_size *query = array = argument(call, size = sizeof(*query), ".");

        query->dom = d.value;
        query->status = 77;
        print("grant.query_size[%s](%s)", count.name, d.name);
        cmd = GNTTABOP_query_size;
    } else if (what == 34) {
        struct gnttab_setup_table *setup = array = argument(call, size = sizeof(*setup), ".");
        xen_pfn_t *list = argument(call, 8 * sizeof(*list), "f");

        setup->dom = d.value;
        setup->nr_frames = any(6) ? any(4) : number();
        setup->status = 77;
        print("grant.setup_table[%s](%s, %u", count.name, d.name, setup->nr_frames);
        set_xen_guest_handle(setup->frame_list, (xen_pfn_t *)pointer(call, list, 8 * sizeof(*list)));
        print(")");
        cmd = GNTTABOP_setup_table;
    } else if (what == 35) {
        struct gnttab_set_version *set = array = argument(call, size = sizeof(*set), ".");

        set->version = any(8) ? 1 + any(2) : any(6);
        print("grant.set_version[%s](%u)", count.name, set->version);
        cmd = GNTTABOP_set_version;
        call->after = after_version;
    } else if (what == 36) {
        struct gnttab_get_version *get = array = argument(call, size = sizeof(*get), ".");

        get->dom = d.value;
        get->version = 77;
        print("grant.get_version[%s](%s)", count.name, d.name);
        cmd = GNTTABOP_get_version;
    } else if (what == 37) {
        struct gnttab_get_status_frames *get = array = argument(call, size = sizeof(*get), ".h.");
        uint64_t *list = argument(call, 8 * sizeof(*list), "f");

        get->dom = d.value;
        get->nr_frames = any(6) ? any(4) : number();
        get->status = 77;
        print("grant.get_status_frames[%s](%s, %u", count.name, d.name, get->nr_frames);
        set_xen_guest_handle(get->frame_list, (uint64_t *)pointer(call, list, 8 * sizeof(*list)));
        print(")");
        cmd = GNTTABOP_get_status_frames;
    } else if (what == 38) {
        struct gnttab_transfer *transfer = array = argument(call, size = sizeof(*transfer), ".");
        struct pick f = any(3) ? (struct pick){ "p7", mfn_of(pages[7]) } : (struct pick){ "mfn_2^40", 1UL << 40 };

        if (d.value == self || d.value == DOMID_SELF)
            d = (struct pick){ "1000", 1000 };
        transfer->mfn = f.value;
        transfer->domid = d.value;
        transfer->ref = ref();
        transfer->status = 77;
        print("grant.transfer[%s](%s to %s g%u)", count.name, f.name, d.name, transfer->ref);
        cmd = GNTTABOP_transfer;
    } else {
        uint64_t *words = array = argument(call, size = 8 * sizeof(*words), ".");

        for (int i = 0; i < 8; i++)
            words[i] = number();
        cmd = 12 + any(6);
        print("grant.%u[%s]", cmd, count.name);
    }
    call->args[0] = cmd;
    call->args[1] = pointer_to_many(call, array, size, count.value > 3);
    call->args[2] = count.value;
}
