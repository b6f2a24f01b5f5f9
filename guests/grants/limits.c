/* How often a grant may be mapped, how many mappings there may be, and how big the table. */
#include "grants.h"

#define PER_CALL 128

static struct gnttab_map_grant_ref ops[PER_CALL];

/* Maps one reference for devices so often; how many succeeded, and the status of the first that did not. */
static unsigned int map_often(grant_ref_t ref, uint32_t flags, unsigned int count, int *status)
{
    unsigned int done = 0;

    for (unsigned int i = 0; i < count; i++)
        ops[i] = (struct gnttab_map_grant_ref){ .flags = flags, .ref = ref, .dom = self };
    if (grant_table_op(GNTTABOP_map_grant_ref, ops, count))
        panic("map_grant_ref");
    while (done < count && ops[done].status == 0)
        done++;
    *status = done < count ? ops[done].status : 0;
    return done;
}

static void pins(void)
{
    static const struct { uint32_t flags; const char *what; } kinds[] = {
        { GNTMAP_device_map | GNTMAP_readonly, "read-only for devices" }, { GNTMAP_device_map, "writable for devices" },
    };
    int status;

    section("how often a grant may be mapped");
    grant_page(30, GTF_permit_access, data[0]);
    for (int i = 0; i < 2; i++) {
        unsigned int count = map_often(30, kinds[i].flags, 100, &status);

        count += map_often(30, kinds[i].flags, 100, &status);
        print("%-52s -> %u, then status %d\n", kinds[i].what, count, status);
    }
    told_map("for the host", 30, GNTMAP_host_map, window[0]);
    told_map("for the host and devices", 30, GNTMAP_host_map | GNTMAP_device_map, window[0]);
}

static void handles(void)
{
    unsigned long total = 0;
    int status = 0;

    section("how many mappings there may be");
    for (grant_ref_t ref = 40; ref < 2048 && status != GNTST_no_device_space && status != GNTST_no_space; ref++) {
        grant_page(ref, GTF_permit_access, data[ref % 2]);
        total += map_often(ref, GNTMAP_device_map | GNTMAP_readonly, PER_CALL, &status);
        if (status == 0 || status == GNTST_general_error)
            total += map_often(ref, GNTMAP_device_map, PER_CALL, &status);
    }
    print("%lu, then status %d\n", total, status);
    told_map("no handle, and no such grant", 31, GNTMAP_host_map, window[0]);
    print("%-52s -> status %d\n", "no handle, and no such domain", map_at(999, 8, GNTMAP_host_map, 0) ? 99 : map_op.status);
    told_map("no handle, and no flags", 8, 0, window[0]);
}

static void frames(void)
{
    static const uint32_t counts[] = { 5, 4, 9, 64, 65, 0x7fffffff, 0xffffffff, 1, 0 };
    static xen_pfn_t list[64];
    struct gnttab_query_size size = { .dom = DOMID_SELF };

    section("how big the table may be");
    told_version("version 2", 2);
    told_status_frames("two status frames", DOMID_SELF, 2, list);
    for (int i = 0; i < 9; i++) {
        told_setup(numbered("frames", counts[i]), DOMID_SELF, counts[i], list);
        grant_table_op(GNTTABOP_query_size, &size, 1);
        print("  %u frames of %u\n", size.nr_frames, size.max_nr_frames);
        told_status_frames("  two status frames", DOMID_SELF, 2, list);
    }
    told_status_frames("eight status frames", DOMID_SELF, 8, list);
    claim("  all different", list[0] != list[7] && list[6] != list[7]);
    told_status_frames("nine status frames", DOMID_SELF, 9, list);
    told_status_frames("2^32 - 1 status frames", DOMID_SELF, -1, list);
    print("%-52s -> status %d\n", "the last reference", map(64 * 256 - 1, GNTMAP_host_map, window[0]));
    print("%-52s -> status %d\n", "the next", map(64 * 256, GNTMAP_host_map, window[0]));
    told_version("version 1", 1);
    print("%-52s -> status %d\n", "the last reference", map(64 * 512 - 1, GNTMAP_host_map, window[0]));
    print("%-52s -> status %d\n", "the next", map(64 * 512, GNTMAP_host_map, window[0]));
    told_setup("to nowhere", DOMID_SELF, 2, (xen_pfn_t *)UNMAPPED);
}

void limits(void)
{
    frames();
    pins();
    handles();
}
