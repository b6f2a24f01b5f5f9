/* grant_table_op of a translated guest: the table and what is granted are mapped by gfn. */
#include "pvh.h"
#include <xen/grant_table.h>

#define TABLE_AT (HOLE + 0x100 * PAGE_SIZE)
#define MAP_AT   (HOLE + 0x200 * PAGE_SIZE)

static grant_entry_v1_t *const v1 = (void *)TABLE_AT;
static struct gnttab_map_grant_ref map_op;

#define seen(call, where) do { asked(call); print("what is at the %s? -> %s\n", #where, content((uint64_t)(where))); } while (0)

static void grant(grant_ref_t ref, uint16_t flags, uint64_t gfn)
{
    v1[ref].domid = self;
    v1[ref].frame = gfn;
    barrier();
    v1[ref].flags = flags;
}

static long map(grant_ref_t ref, uint32_t flags, uint64_t where)
{
    map_op = (struct gnttab_map_grant_ref){ .host_addr = where, .flags = flags, .ref = ref, .dom = self, .status = 99 };
    return grant_table_op(GNTTABOP_map_grant_ref, &map_op, 1);
}

#define told_map(ref, flags, where, ...) do {                                           \
        long told_ = map(ref, flags, (uint64_t)(where));                              \
        check_out("grant_table_op.map_grant_ref", told_, (__VA_ARGS__), ("status=%d", map_op.status)); \
    } while (0)
#define told_unmap(handle_, where, ...) do {                                            \
        struct gnttab_unmap_grant_ref op_ = { .host_addr = (uint64_t)(where), .handle = handle_, .status = 99 }; \
        long told_ = grant_table_op(GNTTABOP_unmap_grant_ref, &op_, 1);               \
        check_out("grant_table_op.unmap_grant_ref", told_, (__VA_ARGS__), ("status=%d", op_.status)); \
    } while (0)

static void table(void)
{
    static const char *const ops[] = { "map_grant_ref", "unmap_grant_ref", "setup_table", "dump_table", "transfer", "copy", "query_size", "unmap_and_replace",
                                       "set_version", "get_status_frames", "get_version", "swap_grant_ref", "cache_flush", "13" };
    struct gnttab_query_size size = { .dom = DOMID_SELF, .status = 99 };
    static xen_pfn_t frames[4];
    struct gnttab_setup_table setup = { .dom = DOMID_SELF, .nr_frames = 2, .status = 99 };
    struct gnttab_set_version version = { .version = 2 };

    for (unsigned int cmd = 0; cmd < 14; cmd++) {
        check("grant_table_op", grant_table_op(cmd, zeroed(), 0), "%s, no element", ops[cmd]);
        check("grant_table_op", grant_table_op(cmd, ABSENT, 1), "%s, pointer unmapped", ops[cmd]);
    }
    set_xen_guest_handle(setup.frame_list, frames);
    check_out("grant_table_op.setup_table", grant_table_op(GNTTABOP_setup_table, &setup, 1), ("2 frames, before any is mapped"),
              ("status=%d %s %s", setup.status, frames[0] == -1UL ? "none" : "some", frames[1] == -1UL ? "none" : "some"));
    check_out("grant_table_op.query_size", grant_table_op(GNTTABOP_query_size, &size, 1), ("ourselves"), ("status=%d", size.status));
    for (unsigned int i = 0; i < 4; i++)
        check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_grant_table, i, gfn_of(TABLE_AT) + i), "grant table, frame %u", i);
    setup.nr_frames = 4;
    setup.status = 99;
    check_out("grant_table_op.setup_table", grant_table_op(GNTTABOP_setup_table, &setup, 1), ("4 frames, mapped"), ("status=%d", setup.status));
    for (int i = 0; i < 4; i++)
        fact("grant_table_op.setup_table", frames[i] == gfn_of(TABLE_AT) + i, "is frame %d told by its gfn?", i);
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_grant_table, 63, gfn_of(TABLE_AT) + 8), "grant table, frame 63");
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_grant_table, 64, gfn_of(TABLE_AT) + 9), "grant table, frame 64");
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_grant_table, XENMAPIDX_grant_table_status, gfn_of(TABLE_AT) + 9), "status frame 0 in version 1");
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_grant_table, 1, gfn_of(TABLE_AT) + 9), "grant table, frame 1 elsewhere");
    seen("memory_op.add_to_physmap", TABLE_AT + PAGE_SIZE);
    seen("memory_op.add_to_physmap", TABLE_AT + 9 * PAGE_SIZE);
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_grant_table, 1, gfn_of(TABLE_AT) + 1), "and back");
    check_out("grant_table_op.set_version", grant_table_op(GNTTABOP_set_version, &version, 1), ("2"), ("version=%u", version.version));
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_grant_table, XENMAPIDX_grant_table_status, gfn_of(TABLE_AT) + 10), "status frame 0 in version 2");
    version.version = 1;
    check_out("grant_table_op.set_version", grant_table_op(GNTTABOP_set_version, &version, 1), ("1, with the status frame mapped"), ("version=%u", version.version));
    seen("grant_table_op.set_version", TABLE_AT + 10 * PAGE_SIZE);
    version.version = 1;
    check_out("grant_table_op.set_version", grant_table_op(GNTTABOP_set_version, &version, 1), ("1, again"), ("version=%u", version.version));
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_grant_table, 0, gfn_of(TABLE_AT)), "grant table, frame 0 where it is");
    memset(v1, 0, PAGE_SIZE);
}

static void mapping(void)
{
    static const struct { const char *name; uint32_t flags; } wrong[] = {
        { "none", 0 }, { "device", GNTMAP_device_map }, { "host and device", GNTMAP_host_map | GNTMAP_device_map },
        { "host and application", GNTMAP_host_map | GNTMAP_application_map }, { "host and contains_pte", GNTMAP_host_map | GNTMAP_contains_pte },
    };
    grant_handle_t first;

    word_at(data[6]) = 6;
    word_at(data[7]) = 7;
    grant(20, GTF_permit_access, gfn_of(data[6]));
    grant(21, GTF_permit_access | GTF_readonly, gfn_of(data[7]));
    grant(22, GTF_permit_access, gfn_of(HOLE) + 0x300);
    grant(23, GTF_permit_access, gfn_of(TABLE_AT));
    grant(24, GTF_permit_access, 0xffffffff);
    for (unsigned int i = 0; i < sizeof(wrong) / sizeof(*wrong); i++)
        told_map(20, wrong[i].flags, MAP_AT, "flags: %s", wrong[i].name);
    told_map(20, GNTMAP_host_map, MAP_AT, "a page");
    seen("grant_table_op.map_grant_ref", MAP_AT);
    first = map_op.handle;
    word_at(MAP_AT) = 5;
    seen("grant_table_op.map_grant_ref", data[6]);
    told_map(20, GNTMAP_host_map, MAP_AT + PAGE_SIZE, "the page, elsewhere too");
    told_unmap(map_op.handle, MAP_AT + 2 * PAGE_SIZE, "where it is not");
    told_unmap(map_op.handle, data[1], "at a page of ours");
    told_unmap(map_op.handle, MAP_AT + PAGE_SIZE + 8, "in the middle of it");
    told_unmap(map_op.handle, MAP_AT + PAGE_SIZE, "it");
    told_map(20, GNTMAP_host_map, MAP_AT + 4 * PAGE_SIZE + 8, "at the middle of a page");
    if (map_op.status == 0)
        told_unmap(map_op.handle, MAP_AT + 4 * PAGE_SIZE + 8, "there");
    told_map(21, GNTMAP_host_map, MAP_AT + PAGE_SIZE, "a read-only one, to write");
    told_map(21, GNTMAP_host_map | GNTMAP_readonly, MAP_AT + PAGE_SIZE, "a read-only one, to read");
    seen("grant_table_op.map_grant_ref", MAP_AT + PAGE_SIZE);
    check("memory_op.add_to_physmap", add_to_physmap(DOMID_SELF, XENMAPSPACE_gmfn, gfn_of(MAP_AT), gfn_of(MAP_AT) + 3), "a page that is mapped by grant");
    check("memory_op.remove_from_physmap", remove_from_physmap(DOMID_SELF, gfn_of(MAP_AT)), "a page that is mapped by grant");
    seen("memory_op.remove_from_physmap", MAP_AT);
    check("xen_version.get_features", xen_version(XENVER_get_features, MAP_AT + PAGE_SIZE + 16), "pointer into a grant that is mapped read-only");
    told_unmap(map_op.handle, MAP_AT + PAGE_SIZE, "the read-only one");
    told_unmap(first, MAP_AT, "the first");
    seen("grant_table_op.unmap_grant_ref", MAP_AT);
    told_unmap(first, MAP_AT, "the first, again");
    told_map(22, GNTMAP_host_map, MAP_AT, "a gfn without memory");
    told_map(23, GNTMAP_host_map, MAP_AT, "the grant table");
    if (map_op.status == 0)
        told_unmap(map_op.handle, MAP_AT, "the grant table");
    told_map(24, GNTMAP_host_map, MAP_AT, "gfn 2^32 - 1");
    told_map(20, GNTMAP_host_map, data[13], "in place of a page");
    seen("grant_table_op.map_grant_ref", data[13]);
    if (map_op.status == 0) {
        told_unmap(map_op.handle, data[13], "in place of a page");
        seen("grant_table_op.unmap_grant_ref", data[13]);
    }
    told_map(20, GNTMAP_host_map, 1UL << 52, "at 2^52");
    told_map(20, GNTMAP_host_map, -4096UL, "at the last page");
}

static void copying(void)
{
    struct gnttab_copy op = { .source = { .u.gmfn = gfn_of(data[7]), .domid = DOMID_SELF }, .dest = { .u.gmfn = gfn_of(data[14]), .domid = DOMID_SELF }, .len = 8 };

    check_out("grant_table_op.copy", grant_table_op(GNTTABOP_copy, &op, 1), ("page to page"), ("status=%d", op.status));
    seen("grant_table_op.copy", data[14]);
    op.source.u.ref = 20;
    op.source.domid = self;
    op.flags = GNTCOPY_source_gref;
    check_out("grant_table_op.copy", grant_table_op(GNTTABOP_copy, &op, 1), ("grant to page"), ("status=%d", op.status));
    seen("grant_table_op.copy", data[14]);
    op.source.u.ref = 22;
    check_out("grant_table_op.copy", grant_table_op(GNTTABOP_copy, &op, 1), ("a grant of no memory"), ("status=%d", op.status));
    op.flags = 0;
    op.source.domid = DOMID_SELF;
    op.source.u.gmfn = gfn_of(HOLE) + 0x300;
    check_out("grant_table_op.copy", grant_table_op(GNTTABOP_copy, &op, 1), ("from no memory"), ("status=%d", op.status));
    op.source.u.gmfn = gfn_of(data[7]);
    op.dest.u.gmfn = 1UL << 40;
    check_out("grant_table_op.copy", grant_table_op(GNTTABOP_copy, &op, 1), ("to gfn 2^40"), ("status=%d", op.status));
}

void grants(void)
{
    table();
    mapping();
    copying();
}
