/* GNTTABOP_map_grant_ref, unmap_grant_ref and unmap_and_replace, in version 1. */
#include "grants.h"

#define RO   (GNTMAP_host_map | GNTMAP_readonly)
#define RW   GNTMAP_host_map

static void refusals(void)
{
    static const uint32_t bad_flags[] = { 0, GNTMAP_readonly, GNTMAP_application_map, GNTMAP_contains_pte, 0x20, 0xffff0000 };
    static const domid_t doms[] = { 999, DOMID_SELF, DOMID_IO, DOMID_XEN, DOMID_INVALID };

    section("map_grant_ref: refusals");
    grant_page(8, GTF_permit_access, data[0]);
    for (int i = 0; i < 6; i++)
        told_map(numbered("flags", bad_flags[i]), 8, bad_flags[i], window[0]);
    for (int i = 0; i < 5; i++) {
        long answer = map_at(doms[i], 8, RW, (uint64_t)window[0]);

        tell(numbered("domain", doms[i]), answer, map_op.status);
    }
    if (!is_dom0()) {
        long answer = map_at(0, 0xffffff, RW, (uint64_t)window[0]);

        tell("a reference far beyond domain 0's table", answer, map_op.status);
    }
    told_map("flags 0, reference beyond the table", 4 * 512, 0, window[0]);
    print("%-52s -> status %d\n", "reference beyond the table", map(4 * 512, RW, window[0]));
    print("%-52s -> status %d\n", "the last reference", map(4 * 512 - 1, RW, window[0]));
    print("%-52s -> status %d\n", "reference -1", map(-1, RW, window[0]));
    grant_page(9, 0, data[0]);
    told_map("an invalid entry", 9, RO, window[0]);
    grant_page(9, GTF_accept_transfer, data[0]);
    told_map("a transfer entry", 9, RO, window[0]);
    grant_page(9, GTF_transitive, data[0]);
    told_map("a transitive entry", 9, RO, window[0]);
    grant_page(9, GTF_permit_access | GTF_sub_page, data[0]);
    told_map("a sub-page entry", 9, RO, window[0]);
    grant(9, GTF_permit_access, self + 1, mfn_of(data[0]));
    told_map("an entry for another domain", 9, RO, window[0]);
    grant(9, GTF_permit_access, DOMID_SELF, mfn_of(data[0]));
    told_map("an entry for DOMID_SELF", 9, RO, window[0]);
    grant_page(9, GTF_permit_access | GTF_readonly, data[0]);
    told_map("a read-only entry, for writing", 9, RW, window[0]);
    grant_page(9, GTF_permit_access | 0xfee0, data[0]);
    told_map("an entry with all other flags", 9, RO, window[0]);
    unmap(window[0], map_op.handle);
    grant(9, GTF_permit_access, self, NO_FRAME);
    told_map("no frame", 9, RW, window[0]);
    told_map("no frame, read-only", 9, RO, window[0]);
    grant(9, GTF_permit_access, self, 0);
    told_map("frame 0", 9, RO, window[0]);
    grant(9, GTF_permit_access, self, 0xb8);
    told_map("I/O memory", 9, RO, window[0]);
    grant(9, GTF_permit_access, self, 0xffffffff);
    told_map("frame 2^32 - 1", 9, RO, window[0]);
    grant_page(9, GTF_permit_access, entry_of(data[0], 1));
    told_map("a page table, for writing", 9, RW, window[0]);
    told_map("a page table, for a device to write", 9, GNTMAP_device_map, 0);
    told_map("a page table, read-only", 9, RO, window[0]);
    print("%-52s -> status %d\n", "  unmap", unmap(window[0], map_op.handle));
}

static void addresses(void)
{
    static const uint64_t bad[] = { 0, UNMAPPED << 30, IN_XEN, 0xffff830000000000, 0x0000800000000000, 0xffff880000000000, -8UL };

    section("map_grant_ref: where");
    grant_page(8, GTF_permit_access, data[0]);
    for (int i = 0; i < 7; i++) {
        long answer = map_at(self, 8, RW, bad[i]);

        print("%-52s -> status %d, answer %s, entry %x\n", numbered("bad address", i), map_op.status, errno_name(answer), flags_of(8));
    }
    data[0][5] = 0x77;
    told_map("in the middle of a page", 8, RW, window[0] + 0x123);
    claim("  the page is there", window[0][5] == 0x77 && map_op.dev_bus_addr == maddr_of(data[0]));
    told_unmap("  unmap with another offset", window[0] + 5, 0, map_op.handle);
    told_access("  after unmap", window[0] + 8);
    told_map("over a page of ours", 8, RW, data[1]);
    mmuext(MMUEXT_TLB_FLUSH_LOCAL, 0);
    claim("  shows the granted page", data[1][5] == 0x77);
    told_unmap("  unmap", data[1], 0, map_op.handle);
    told_access("  after unmap", data[1]);
    result("  back", remap(data[1], PTE_DATA));
}

static void entries(void)
{
    static const struct { uint32_t flags; const char *what; } kinds[] = {
        { RW, "writable" }, { RO, "read-only" },
        { RW | GNTMAP_application_map, "for the application" }, { RO | GNTMAP_application_map, "read-only for the application" },
        { RW | 7U << 16, "three software bits" }, { RW | 8U << 16, "a fourth software bit" }, { RW | 1U << 16, "one software bit" },
        { RW | 0x20, "flag 0x20" }, { RW | 0xffc0, "all flags beyond" },
    };

    section("map_grant_ref: the entry made");
    for (int i = 0; i < 9; i++) {
        told_map(kinds[i].what, 8, kinds[i].flags, window[0]);
        told_entry("  L1 entry", window[0]);
        told_access("  access", window[0] + 8);
        told_unmap("  unmap", window[0], 0, map_op.handle);
        told_entry("  L1 entry", window[0]);
    }
    grant_page(9, GTF_permit_access | GTF_PWT | GTF_PCD | GTF_PAT, data[0]);
    told_map("cache attributes", 9, RW, window[0]);
    told_entry("  L1 entry", window[0]);
    told_unmap("  unmap", window[0], 0, map_op.handle);
}

static void counting(void)
{
    grant_handle_t handles[5];

    section("map_grant_ref: the same grant several times");
    grant_page(8, GTF_permit_access, data[0]);
    told_map("read-only", 8, RO, window[0]);
    handles[0] = map_op.handle;
    told_map("writable", 8, RW, window[1]);
    handles[1] = map_op.handle;
    told_map("read-only again", 8, RO, window[2]);
    handles[2] = map_op.handle;
    v1[8].flags |= GTF_readonly;
    told_map("writable, the grant is now read-only", 8, RW, window[3]);
    handles[3] = map_op.handle;
    told_flags("unmap a writable one", unmap(window[1], handles[1]), 8);
    told_flags("unmap the other writable one", unmap(window[3], handles[3]), 8);
    told_map("writable", 8, RW, window[3]);
    v1[8].flags = 0;
    v1[8].domid = 77;
    v1[8].frame = NO_FRAME;
    told_map("read-only, the entry is gone", 8, RO, window[3]);
    handles[3] = map_op.handle;
    told_map("writable, the entry is gone", 8, RW, window[4]);
    handles[4] = map_op.handle;
    told_flags("  unmap", unmap(window[4], handles[4]), 8);
    claim("  shows the page of before", window[3][5] == 0x77);
    told_flags("unmap", unmap(window[0], handles[0]), 8);
    told_flags("unmap", unmap(window[2], handles[2]), 8);
    told_flags("unmap the last", unmap(window[3], handles[3]), 8);
    told_map("again", 8, RO, window[0]);
}

static void devices(void)
{
    uint64_t bus;

    section("map_grant_ref: for devices");
    grant_page(8, GTF_permit_access, data[0]);
    told_map("device only", 8, GNTMAP_device_map, 0);
    bus = map_op.dev_bus_addr;
    claim("  the bus address is the machine's", bus == maddr_of(data[0]));
    told_entry("  no L1 entry", window[0]);
    told_unmap("  unmap with no address", 0, 0, map_op.handle);
    told_unmap("  unmap with a host address", window[0], 0, map_op.handle);
    told_unmap("  unmap with a wrong bus address", 0, bus + 8, map_op.handle);
    print("  entry %x\n", flags_of(8));
    told_unmap("  unmap", 0, bus, map_op.handle);
    told_unmap("  unmap again", 0, bus, map_op.handle);
    print("  entry %x\n", flags_of(8));
    told_map("device and host", 8, RW | GNTMAP_device_map, window[0]);
    told_unmap("  unmap the host's", window[0], 0, map_op.handle);
    print("  entry %x\n", flags_of(8));
    told_unmap("  unmap the host's again", window[0], 0, map_op.handle);
    told_unmap("  unmap the device's", 0, bus, map_op.handle);
    print("  entry %x\n", flags_of(8));
    told_map("device and host", 8, RW | GNTMAP_device_map, window[0]);
    told_unmap("  unmap both, wrong bus address", window[0], bus + PAGE_SIZE, map_op.handle);
    told_unmap("  unmap both, wrong host address", window[1], bus, map_op.handle);
    told_unmap("  unmap both", window[0], bus, map_op.handle);
    print("  entry %x\n", flags_of(8));
    told_map("device and host, read-only", 8, RO | GNTMAP_device_map, window[0]);
    told_unmap("  unmap both", window[0], bus, map_op.handle);
    told_map("device and host, bad host address", 8, RW | GNTMAP_device_map, (void *)(UNMAPPED << 30));
    grant_page(9, GTF_permit_access, entry_of(data[0], 1));
    told_map("device and host, a page table", 9, RW | GNTMAP_device_map, window[0]);
    told_map("device, read-only, a page table", 9, GNTMAP_device_map | GNTMAP_readonly, 0);
    told_unmap("  unmap", 0, map_op.dev_bus_addr, map_op.handle);
}

static void unmapping(void)
{
    grant_handle_t handle, other;

    section("unmap_grant_ref");
    grant_page(8, GTF_permit_access, data[0]);
    told_unmap("handle -1", window[0], 0, -1);
    told_unmap("a handle never given", window[0], 0, 255);
    told_unmap("a handle beyond the tracked ones", window[0], 0, 256);
    told_map("map", 8, RW, window[0]);
    handle = map_op.handle;
    told_unmap("no address", 0, 0, handle);
    told_unmap("a bus address that is right", 0, map_op.dev_bus_addr, handle);
    told_unmap("a bus address that is wrong", 0, 8, handle);
    told_unmap("an address where nothing is", window[1], 0, handle);
    told_unmap("an address without a table", (void *)(UNMAPPED << 30), 0, handle);
    told_unmap("an address in Xen", (void *)IN_XEN, 0, handle);
    told_unmap("an address of another page", data[1], 0, handle);
    told_unmap("the page's own address, writable too", data[0], 0, handle);
    told_access("  which takes that away", data[0]);
    told_access("  and leaves the other", window[0]);
    told_unmap("again", window[0], 0, handle);
    told_entry("  L1 entry", window[0]);
    result("put back", remap(data[0], PTE_DATA));
    result("empty", update_va_mapping(window[0], 0, UVMF_INVLPG));

    told_map("map read-only", 8, RO, window[0]);
    handle = map_op.handle;
    told_unmap("the page's own address, which is writable", data[0], 0, handle);
    told_map("map writable", 8, RW, window[1]);
    other = map_op.handle;
    told_unmap("the read-only one with the handle of the writable", window[0], 0, other);
    told_unmap("the writable one with the handle of the read-only", window[1], 0, handle);
    told_unmap("right", window[1], 0, other);
    told_unmap("right", window[0], 0, handle);
    told_unmap("again", window[0], 0, handle);

    told_map("map", 8, RW, window[0]);
    handle = map_op.handle;
    result("the entry is cleared behind Xen's back", update_va_mapping(window[0], 0, UVMF_INVLPG));
    print("  entry %x\n", flags_of(8));
    told_unmap("  unmap", window[0], 0, handle);
    result("the page mapped there again, read-only", update_va_mapping(window[0], make_pte(data[0], PTE_RDONLY), UVMF_INVLPG));
    told_unmap("  unmap", window[0], 0, handle);
    result("the page mapped there again, writable", update_va_mapping(window[0], make_pte(data[0], PTE_DATA), UVMF_INVLPG));
    told_unmap("  unmap", window[0], 0, handle);
    print("  entry %x\n", flags_of(8));

    told_map("map", 8, RW, window[0]);
    handle = map_op.handle;
    result("the entry made read-only", update_va_mapping(window[0], make_pte(data[0], PTE_RDONLY), UVMF_INVLPG));
    told_unmap("  unmap", window[0], 0, handle);
    result("the entry made writable, with software bits", update_va_mapping(window[0], make_pte(data[0], PTE_DATA | 0xe00), UVMF_INVLPG));
    told_entry("  L1 entry", window[0]);
    told_unmap("  unmap", window[0], 0, handle);
    told_map("map", 8, RW, window[0]);
    handle = map_op.handle;
    result("another page there", update_va_mapping(window[0], make_pte(data[1], PTE_DATA), UVMF_INVLPG));
    told_unmap("  unmap", window[0], 0, handle);
    result("the page moved", update_va_mapping(window[1], make_pte(data[0], PTE_DATA), UVMF_INVLPG));
    told_unmap("  unmap", window[1], 0, handle);
    result("empty", update_va_mapping(window[0], 0, UVMF_INVLPG));

    told_map("map", 8, RW, window[0]);
    handle = map_op.handle;
    v1[8].flags = 0;
    told_unmap("  unmap, the grant was withdrawn", window[0], 0, handle);
    print("  entry %x\n", flags_of(8));
}

static void pages(void)
{
    uint64_t mfn = mfn_of(data[3]);
    grant_handle_t handle;

    section("what a mapping holds");
    result("the page made read-only", remap(data[3], PTE_RDONLY));
    grant_page(8, GTF_permit_access, data[3]);
    told_map("mapped writable", 8, RW, window[0]);
    handle = map_op.handle;
    result("pinned as a page table", mmuext(MMUEXT_PIN_L1_TABLE, mfn));
    told_map("mapped read-only", 8, RO, window[1]);
    told_unmap("unmap the writable one", window[0], 0, handle);
    result("pinned as a page table", mmuext(MMUEXT_PIN_L1_TABLE, mfn));
    told_flags("mapped writable", map(8, RW, window[0]), 8);
    result("unpinned", mmuext(MMUEXT_UNPIN_TABLE, mfn));
    told_flags("unmap the read-only one", unmap(window[1], handle + 1), 8);
    result("the page writable again", remap(data[3], PTE_DATA));
}

/* A page that is given back while a grant of it is mapped. */
static void given_back(void)
{
    static unsigned char page[PAGE_SIZE] __attribute__((aligned(4096)));
    uint64_t mfn = mfn_of(page);
    struct xen_memory_reservation give = { .nr_extents = 1, .domid = DOMID_SELF };
    domid_t me = DOMID_SELF;
    long before = memory_op(XENMEM_current_reservation, &me);
    grant_handle_t handle;

    section("a page given back while it is mapped");
    page[0] = 0x5a;
    grant_page(24, GTF_permit_access, page);
    told_map("mapped read-only", 24, RO, window[0]);
    handle = map_op.handle;
    empty(page);
    set_xen_guest_handle(give.extent_start, &mfn);
    print("decrease_reservation: %ld, ", memory_op(XENMEM_decrease_reservation, &give));
    print("pages %ld\n", memory_op(XENMEM_current_reservation, &me) - before);
    claim("  is still there", window[0][0] == 0x5a);
    told_map("mapped once more", 24, RO, window[1]);
    told_flags("  unmap", unmap(window[1], map_op.handle), 24);
    print("decrease_reservation again: %ld, ", memory_op(XENMEM_decrease_reservation, &give));
    print("pages %ld\n", memory_op(XENMEM_current_reservation, &me) - before);
    told_flags("  unmap", unmap(window[0], handle), 24);
    print("pages %ld\n", memory_op(XENMEM_current_reservation, &me) - before);
    told_map("mapped again", 24, RO, window[0]);
}

/* A mapping over another one. */
static void covered(void)
{
    grant_handle_t handle;

    section("a mapping over another");
    grant_page(8, GTF_permit_access, data[0]);
    grant_page(9, GTF_permit_access, data[1]);
    told_map("one", 8, RW, window[0]);
    handle = map_op.handle;
    told_map("another there", 9, RW, window[0]);
    told_unmap("unmap the first", window[0], 0, handle);
    told_unmap("unmap the second", window[0], 0, map_op.handle);
    told_unmap("unmap the first", window[0], 0, handle);
    result("its page put there", update_va_mapping(window[0], make_pte(data[0], PTE_DATA), UVMF_INVLPG));
    told_unmap("unmap the first", window[0], 0, handle);
}

static long replace(const volatile void *where, const volatile void *with, grant_handle_t handle, int *status)
{
    struct gnttab_unmap_and_replace op = { .host_addr = (uint64_t)where, .new_addr = (uint64_t)with, .handle = handle, .status = 99 };
    long answer = grant_table_op(GNTTABOP_unmap_and_replace, &op, 1);

    *status = op.status;
    return answer;
}

static void told_replace(const char *what, const volatile void *where, const volatile void *with, grant_handle_t handle)
{
    int status;
    long answer = replace(where, with, handle, &status);

    tell(what, answer, status);
}

static void replacing(void)
{
    static unsigned char spare[PAGE_SIZE] __attribute__((aligned(4096)));
    grant_handle_t handle;

    section("unmap_and_replace");
    grant_page(8, GTF_permit_access, data[0]);
    spare[0] = 0x66;
    told_replace("a bad handle", window[0], spare, 255);
    told_map("map", 8, RW, window[0]);
    handle = map_op.handle;
    told_replace("no address", 0, spare, handle);
    told_replace("without a table", (void *)(UNMAPPED << 30), spare, handle);
    told_access("  the replacement", spare);
    result("  back", remap(spare, PTE_DATA));
    told_replace("the replacement has no table", window[0], (void *)(UNMAPPED << 30), handle);
    told_access("  still mapped", window[0]);
    told_replace("nothing at the address", window[1], spare, handle);
    told_access("  the replacement", spare);
    result("  back", remap(spare, PTE_DATA));
    told_replace("right", window[0], spare, handle);
    claim("  the page is there now", window[0][0] == 0x66);
    told_entry("  L1 entry", window[0]);
    told_access("  the replacement", spare);
    result("  back", remap(spare, PTE_DATA));
    result("  empty", update_va_mapping(window[0], 0, UVMF_INVLPG));
    print("  entry %x\n", flags_of(8));
    told_map("map", 8, RW, window[0]);
    handle = map_op.handle;
    told_replace("with itself", window[0], window[0], handle);
    told_access("  access", window[0]);
    result("put back", update_va_mapping(window[0], make_pte(data[0], PTE_DATA), UVMF_INVLPG));
    told_replace("with nothing: an empty entry", window[0], window[1], handle);
    told_access("  access", window[0]);
    told_map("map", 8, RW, window[0]);
    told_replace("with 0", window[0], 0, map_op.handle);
    told_access("  access", window[0]);
}

static void batches(void)
{
    struct gnttab_map_grant_ref *ops = (struct gnttab_map_grant_ref *)batch;
    struct gnttab_unmap_grant_ref *undo = (struct gnttab_unmap_grant_ref *)batch;
    grant_handle_t handles[3];

    section("several at once");
    grant_page(8, GTF_permit_access, data[0]);
    memset(batch, 0, PAGE_SIZE);
    for (int i = 0; i < 3; i++)
        ops[i] = (struct gnttab_map_grant_ref){ .host_addr = (uint64_t)window[i], .flags = RW, .ref = i == 1 ? 4000 : 8, .dom = self };
    result("three, the second is bad", grant_table_op(GNTTABOP_map_grant_ref, ops, 3));
    print("  status %d %d %d\n", ops[0].status, ops[1].status, ops[2].status);
    handles[0] = ops[0].handle;
    handles[2] = ops[2].handle;
    undo[0] = (struct gnttab_unmap_grant_ref){ .host_addr = (uint64_t)window[0], .handle = handles[0] };
    undo[1] = undo[0];
    undo[2] = (struct gnttab_unmap_grant_ref){ .host_addr = (uint64_t)window[2], .handle = handles[2] };
    result("unmap, one twice", grant_table_op(GNTTABOP_unmap_grant_ref, undo, 3));
    print("  status %d %d %d, entry %x\n", undo[0].status, undo[1].status, undo[2].status, flags_of(8));

    ops = (struct gnttab_map_grant_ref *)(batch + PAGE_SIZE) - 2;
    for (int i = 0; i < 2; i++)
        ops[i] = (struct gnttab_map_grant_ref){ .host_addr = (uint64_t)window[i], .flags = RW, .ref = 8, .dom = self, .status = 99 };
    result("three, the third is not there", grant_table_op(GNTTABOP_map_grant_ref, ops, 3));
    print("  status %d %d\n", ops[0].status, ops[1].status);
    handles[0] = ops[0].handle;
    handles[1] = ops[1].handle;
    undo = (struct gnttab_unmap_grant_ref *)(batch + PAGE_SIZE) - 2;
    for (int i = 0; i < 2; i++)
        undo[i] = (struct gnttab_unmap_grant_ref){ .host_addr = (uint64_t)window[i], .handle = handles[i], .status = 99 };
    result("unmap three, the third is not there", grant_table_op(GNTTABOP_unmap_grant_ref, undo, 3));
    print("  status %d %d, entry %x\n", undo[0].status, undo[1].status, flags_of(8));
}

void mapping(void)
{
    refusals();
    addresses();
    entries();
    counting();
    devices();
    unmapping();
    pages();
    given_back();
    covered();
    replacing();
    batches();
}
