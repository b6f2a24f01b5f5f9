/* GNTTABOP_copy, swap_grant_ref and cache_flush, in version 1. */
#include "grants.h"

#define SOURCE GNTCOPY_source_gref
#define DEST   GNTCOPY_dest_gref
#define BOTH   (SOURCE | DEST)

static struct gnttab_copy op(uint16_t flags, uint64_t from, uint64_t to, unsigned int from_offset, unsigned int to_offset, unsigned int len)
{
    struct gnttab_copy copy = {
        .source = { .domid = DOMID_SELF, .offset = from_offset }, .dest = { .domid = DOMID_SELF, .offset = to_offset },
        .len = len, .flags = flags, .status = 99,
    };

    copy.source.u.gmfn = from;
    copy.dest.u.gmfn = to;
    return copy;
}

static void told(const char *what, struct gnttab_copy copy)
{
    long answer = grant_table_op(GNTTABOP_copy, &copy, 1);

    tell(what, answer, copy.status);
}

static void fill(void)
{
    for (unsigned int i = 0; i < PAGE_SIZE; i++) {
        data[0][i] = i * 7 + (i >> 8);
        data[1][i] = data[2][i] = 0;
    }
}

static int same(const unsigned char *a, const unsigned char *b, unsigned int size)
{
    for (unsigned int i = 0; i < size; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

/* Bytes of data[1] that are not 0: first and one behind the last. */
static void told_written(void)
{
    unsigned int first = 0, end = PAGE_SIZE;

    while (first < PAGE_SIZE && data[1][first] == 0)
        first++;
    while (end > first && data[1][end - 1] == 0)
        end--;
    print("  written [%u, %u)\n", first, end);
    fill();
}

static void frames(void)
{
    uint64_t from = mfn_of(data[0]), to = mfn_of(data[1]);
    struct gnttab_copy copy;

    section("copy: frames");
    fill();
    told("a page", op(0, from, to, 0, 0, PAGE_SIZE));
    claim("  all of it", same(data[0], data[1], PAGE_SIZE));
    fill();
    told("nothing", op(0, from, to, 0, 0, 0));
    told_written();
    told("nothing at the end", op(0, from, to, PAGE_SIZE, PAGE_SIZE, 0));
    told("nothing beyond the end", op(0, from, to, PAGE_SIZE + 1, 0, 0));
    told("nothing to beyond the end", op(0, from, to, 0, PAGE_SIZE + 1, 0));
    told("part", op(0, from, to, 17, 101, 1000));
    claim("  the right part", same(data[0] + 17, data[1] + 101, 1000));
    told_written();
    told("one byte at the end", op(0, from, to, PAGE_SIZE - 1, PAGE_SIZE - 1, 1));
    told_written();
    told("source beyond its end", op(0, from, to, 1, 0, PAGE_SIZE));
    told("destination beyond its end", op(0, from, to, 0, 1, PAGE_SIZE));
    told("65535 bytes", op(0, from, to, 0, 0, 65535));
    told("offsets 65535", op(0, from, to, 65535, 65535, 1));
    told_written();
    told("within a page, forwards", op(0, from, from, 0, 1, 100));
    print("  bytes %x %x %x %x ... %x %x\n", data[0][0], data[0][1], data[0][2], data[0][9], data[0][100], data[0][101]);
    fill();
    told("within a page, backwards", op(0, from, from, 1, 0, 100));
    print("  bytes %x %x %x %x ... %x %x\n", data[0][0], data[0][1], data[0][2], data[0][9], data[0][99], data[0][100]);
    fill();
    told("from no frame", op(0, NO_FRAME, to, 0, 0, 8));
    told("to no frame", op(0, from, NO_FRAME, 0, 0, 8));
    told("from frame 2^63", op(0, 1UL << 63, to, 0, 0, 8));
    told("from frame 0", op(0, 0, to, 0, 0, 8));
    told("from no frame, beyond the end", op(0, NO_FRAME, to, 0, 0, 65535));
    told("from a page table", op(0, mfn_of(entry_of(data[0], 1)), to, 0, 0, 8));
    told("to a page table", op(0, from, mfn_of(entry_of(data[0], 1)), 0, 0, 0));
    told("from shared_info", op(0, start_info->shared_info / PAGE_SIZE, to, 0, 0, 8));
    copy = op(0, from, to, 0, 0, 8);
    copy.source.domid = self;
    told("our number instead of DOMID_SELF, source", copy);
    copy = op(0, from, to, 0, 0, 8);
    copy.dest.domid = self;
    told("our number instead of DOMID_SELF, destination", copy);
    copy.dest.domid = 999;
    told("to another domain's frame", copy);
    copy = op(0, from, to, 0, 0, 8);
    copy.source.domid = 999;
    told("another domain's frame", copy);
    copy.source.domid = DOMID_IO;
    told("DOMID_IO's frame", copy);
    copy.source.domid = self;
    copy.dest.domid = 999;
    told("our number, to another domain's frame", copy);
    if (!is_dom0()) {
        copy.source.domid = DOMID_SELF;
        copy.dest.domid = 0;
        told("domain 0's frame", copy);
    }
    told("all other flags", op(0xfffc, from, to, 0, 0, 8));
    told_written();
}

static void grants(void)
{
    uint64_t to = mfn_of(data[1]);
    struct gnttab_copy copy;
    struct gnttab_map_grant_ref held;

    section("copy: grants");
    grant_page(8, GTF_permit_access, data[0]);
    grant_page(9, GTF_permit_access, data[1]);
    grant_page(10, GTF_permit_access | GTF_readonly, data[1]);
    grant_page(11, 0, data[1]);
    grant(12, GTF_permit_access, self + 1, to);
    grant(13, GTF_permit_access, self, NO_FRAME);
    grant_page(14, GTF_accept_transfer, data[1]);
    grant_page(15, GTF_transitive, data[1]);
    grant_page(16, GTF_permit_access | GTF_sub_page, data[1]);
    grant_page(17, GTF_permit_access, entry_of(data[0], 1));
    told("from a grant to a frame", op(SOURCE, 8, to, 5, 6, 100));
    claim("  the right part", same(data[0] + 5, data[1] + 6, 100));
    told_written();
    told("from a grant to a grant", op(BOTH, 8, 9, 5, 6, 100));
    claim("  the right part", same(data[0] + 5, data[1] + 6, 100));
    told_written();
    print("  entries %x %x\n", flags_of(8), flags_of(9));
    copy = op(BOTH, 8, 9, 0, 0, 8);
    copy.source.domid = copy.dest.domid = self;
    told("our number", copy);
    copy.source.domid = 999;
    told("from no domain", copy);
    copy = op(BOTH, 8, 9, 0, 0, 8);
    copy.dest.domid = 999;
    told("to no domain", copy);
    copy.dest.domid = DOMID_IO;
    told("to DOMID_IO", copy);
    copy = op(SOURCE, 11, to, 0, 0, 8);
    copy.dest.domid = self;
    told("from a bad reference, our number for the frame", copy);
    copy = op(DEST, mfn_of(data[0]), 11, 0, 0, 8);
    copy.source.domid = self;
    told("our number for the frame, to a bad reference", copy);
    copy = op(SOURCE, 8, to, 0, 0, 8);
    copy.source.domid = 999;
    copy.dest.domid = 999;
    told("from no domain, to another's frame", copy);
    copy = op(DEST, 8, 9, 0, 0, 8);
    copy.source.domid = 999;
    copy.dest.domid = 999;
    told("another's frame, to no domain", copy);
    for (unsigned int ref = 8; ref < 18; ref++) {
        told(numbered("from reference", ref), op(SOURCE, ref, to, 0, 0, 8));
        told(numbered("to reference", ref), op(DEST, mfn_of(data[0]), ref, 0, 0, 0));
    }
    print("  entries %x %x %x %x %x %x\n", flags_of(8), flags_of(9), flags_of(10), flags_of(13), flags_of(16), flags_of(17));
    told("from a reference beyond the table", op(SOURCE, 2048, to, 0, 0, 8));
    told("to a reference beyond the table", op(DEST, mfn_of(data[0]), 2048, 0, 0, 8));
    told("from reference 2^32 + 8", op(SOURCE, 0x100000008, to, 0, 0, 8));
    told("from reference 8, beyond the end", op(SOURCE, 8, to, 0, 0, 5000));
    told("from a bad reference, beyond the end", op(SOURCE, 11, to, 0, 0, 5000));
    told("from a bad reference to a bad reference", op(BOTH, 13, 2048, 0, 0, 8));
    told("from a grant to no frame", op(SOURCE, 8, NO_FRAME, 0, 0, 8));
    print("  entry %x\n", flags_of(8));

    section("copy: grants that are mapped");
    fill();
    told_map("read-only", 8, GNTMAP_host_map | GNTMAP_readonly, window[0]);
    held = map_op;
    told("to it", op(DEST, to, 8, 0, 0, 8));
    print("  entry %x\n", flags_of(8));
    v1[8].flags = 0;
    told("to it, the entry is gone", op(DEST, to, 8, 0, 0, 8));
    print("  entry %x\n", flags_of(8));
    v1[8].flags = GTF_permit_access | GTF_readonly;
    told("to it, the entry is read-only", op(DEST, to, 8, 0, 0, 8));
    print("  entry %x\n", flags_of(8));
    v1[8].domid = self + 1;
    v1[8].flags = GTF_invalid;
    told("to it, the entry is for another domain", op(DEST, to, 8, 0, 0, 8));
    told("from it, the entry is for another domain", op(SOURCE, 8, to, 0, 0, 8));
    print("  entry %x\n", flags_of(8));
    grant_page(8, GTF_permit_access, data[2]);
    fill();
    data[1][0] = 0x42;
    told("to it, the entry now names another page", op(DEST, to, 8, 0, 0, 1));
    print("  %s\n", data[0][0] == 0x42 ? "the old page is written" : data[2][0] == 0x42 ? "the new page is written" : "nothing is written");
    data[2][0] = 0x24;
    told("from it, the entry now names another page", op(SOURCE, 8, to, 0, 0, 1));
    print("  %s\n", data[1][0] == 0x24 ? "the new page is read" : "the old page is read");
    v1[8].flags = 0;
    told("from it, the entry is gone", op(SOURCE, 8, to, 0, 0, 1));
    told("to it, the entry is gone", op(DEST, to, 8, 0, 0, 1));
    print("  entry %x\n", flags_of(8));
    v1[8].frame = NO_FRAME;
    told("to it, the entry names no frame", op(DEST, to, 8, 0, 0, 1));
    print("  entry %x\n", flags_of(8));
    told_unmap("  unmap", window[0], 0, held.handle);
    print("  entry %x\n", flags_of(8));
    grant_page(8, GTF_permit_access, data[0]);
    told_map("writable", 8, GNTMAP_host_map, window[0]);
    held = map_op;
    v1[8].flags = 0;
    told("to it, the entry is gone", op(DEST, to, 8, 0, 0, 1));
    told_unmap("  unmap", window[0], 0, held.handle);
    print("  entry %x\n", flags_of(8));
}

static void batches(void)
{
    uint64_t from = mfn_of(data[0]), to = mfn_of(data[1]);
    struct gnttab_copy *ops = (struct gnttab_copy *)batch;

    section("copy: several at once");
    fill();
    grant_page(8, GTF_permit_access, data[0]);
    grant_page(9, GTF_permit_access, data[1]);
    ops[0] = op(BOTH, 8, 9, 0, 0, 16);
    ops[1] = op(BOTH, 8, 9, 16, 32, 16);
    ops[2] = op(BOTH, 11, 9, 16, 32, 16);
    ops[3] = op(0, from, to, 0, 64, 16);
    ops[4] = op(DEST, from, 9, 0, 128, 5000);
    ops[5] = op(DEST, from, 9, 0, 128, 16);
    result("six", grant_table_op(GNTTABOP_copy, ops, 6));
    print("  status %d %d %d %d %d %d, entries %x %x\n", ops[0].status, ops[1].status, ops[2].status, ops[3].status, ops[4].status,
          ops[5].status, flags_of(8), flags_of(9));
    claim("  all good ones", same(data[0], data[1], 16) && same(data[0] + 16, data[1] + 32, 16) && same(data[0], data[1] + 64, 16)
                             && same(data[0], data[1] + 128, 16));
    told_written();
    ops[0] = op(SOURCE, 8, to, 0, 0, 16);
    ops[1] = op(0, 8, to, 16, 32, 16);
    ops[2] = op(0, 8, to, 16, 32, 16);
    result("a grant, then the frame of that number", grant_table_op(GNTTABOP_copy, ops, 3));
    print("  status %d %d %d\n", ops[0].status, ops[1].status, ops[2].status);
    told_written();
    ops[0] = op(DEST, from, 9, 0, 0, 16);
    ops[1] = op(0, from, 9, 0, 32, 16);
    result("to a grant, then to the frame of that number", grant_table_op(GNTTABOP_copy, ops, 2));
    print("  status %d %d\n", ops[0].status, ops[1].status);
    told_written();
    ops[0] = op(BOTH, 8, 9, 0, 0, 16);
    ops[0].source.domid = ops[0].dest.domid = self;
    ops[1] = op(0, from, to, 0, 32, 16);
    ops[1].source.domid = ops[1].dest.domid = self;
    ops[2] = op(0, from, to, 0, 64, 16);
    ops[3] = op(SOURCE, 8, to, 0, 64, 16);
    ops[3].source.domid = 999;
    ops[4] = op(SOURCE, 8, to, 0, 96, 16);
    result("domains change, also to what may not be", grant_table_op(GNTTABOP_copy, ops, 5));
    print("  status %d %d %d %d %d\n", ops[0].status, ops[1].status, ops[2].status, ops[3].status, ops[4].status);
    told_written();
    ops = (struct gnttab_copy *)(batch + PAGE_SIZE) - 2;
    ops[0] = op(0, from, to, 0, 0, 16);
    ops[1] = op(0, from, to, 0, 32, 16);
    result("three, the third is not there", grant_table_op(GNTTABOP_copy, ops, 3));
    print("  status %d %d\n", ops[0].status, ops[1].status);
    told_written();
}

static void swap(const char *what, grant_ref_t a, grant_ref_t b)
{
    struct gnttab_swap_grant_ref arg = { .ref_a = a, .ref_b = b, .status = 99 };
    long answer = grant_table_op(GNTTABOP_swap_grant_ref, &arg, 1);

    tell(what, answer, arg.status);
}

static void swapping(void)
{
    section("swap_grant_ref");
    grant_page(8, GTF_permit_access | 0x1200, data[0]);
    grant(9, GTF_permit_access | GTF_readonly, 77, 88);
    swap("two", 8, 9);
    claim("  exchanged", v1[8].flags == 5 && v1[8].domid == 77 && v1[8].frame == 88 && v1[9].flags == 0x1201 && v1[9].domid == self);
    swap("one", 9, 9);
    swap("the first is beyond the table", 2048, 9);
    swap("the second is beyond the table", 9, 2048);
    swap("both are the same beyond the table", 2048, 2048);
    told_map("map", 9, GNTMAP_host_map, window[0]);
    swap("the first is in use", 9, 10);
    swap("the second is in use", 10, 9);
    swap("both are the one in use", 9, 9);
    told_unmap("  unmap", window[0], 0, map_op.handle);
    swap("back", 8, 9);
    swap("the console's entry", GNTTAB_RESERVED_CONSOLE, 7);
    swap("the xenstore's entry", 6, GNTTAB_RESERVED_XENSTORE);
    told("from the console's entry", op(SOURCE, GNTTAB_RESERVED_CONSOLE, mfn_of(data[1]), 0, 0, 8));
    told_map("the console's entry mapped", GNTTAB_RESERVED_CONSOLE, GNTMAP_host_map, window[0]);
}

static void flush(const char *what, uint64_t address, unsigned int offset, unsigned int length, uint32_t operation)
{
    struct gnttab_cache_flush arg = { .a.dev_bus_addr = address, .offset = offset, .length = length, .op = operation };

    result(what, grant_table_op(GNTTABOP_cache_flush, &arg, 1));
}

static void flushing(void)
{
    static const uint32_t operations[] = { 0, GNTTAB_CACHE_CLEAN, GNTTAB_CACHE_INVAL, 3, 4, GNTTAB_CACHE_SOURCE_GREF, ~0u };
    uint64_t address = maddr_of(data[0]);
    struct gnttab_cache_flush two[2];

    section("cache_flush");
    for (int i = 0; i < 7; i++)
        flush(numbered("operation", (int)operations[i]), address, 0, 64, operations[i]);
    flush("a page", address, 0, PAGE_SIZE, GNTTAB_CACHE_CLEAN);
    flush("nothing", address, 0, 0, GNTTAB_CACHE_CLEAN);
    flush("offset beyond the page", address, PAGE_SIZE, 0, GNTTAB_CACHE_CLEAN);
    flush("length beyond the page", address, 0, PAGE_SIZE + 1, GNTTAB_CACHE_CLEAN);
    flush("both beyond the page", address, 1, PAGE_SIZE, GNTTAB_CACHE_CLEAN);
    flush("no frame", (uint64_t)NO_FRAME * PAGE_SIZE, 0, 64, GNTTAB_CACHE_CLEAN);
    flush("frame 0", 0, 0, 64, GNTTAB_CACHE_CLEAN);
    flush("I/O memory", 0xb8000, 0, 64, GNTTAB_CACHE_CLEAN);
    flush("shared_info", start_info->shared_info, 0, 64, GNTTAB_CACHE_CLEAN);
    flush("an address in the middle of the page", address + 100, 0, 64, GNTTAB_CACHE_CLEAN);
    flush("nothing of no frame", (uint64_t)NO_FRAME * PAGE_SIZE, 0, 0, GNTTAB_CACHE_CLEAN);
    two[0] = (struct gnttab_cache_flush){ .a.dev_bus_addr = address, .length = 64, .op = GNTTAB_CACHE_CLEAN };
    two[1] = two[0];
    result("two", grant_table_op(GNTTABOP_cache_flush, two, 2));
    two[1].op = 8;
    result("two, the second is bad", grant_table_op(GNTTABOP_cache_flush, two, 2));
    result("in the middle of the search", grant_table_op(GNTTABOP_cache_flush | 0x1000, two, 1));
    two[0].length = 0;
    result("in the middle of the search, for nothing", grant_table_op(GNTTABOP_cache_flush | 0x1000, two, 1));
    result("in the middle of the search, none", grant_table_op(GNTTABOP_cache_flush | 0x1000, two, 0));
}

void copying(void)
{
    frames();
    grants();
    batches();
    swapping();
    flushing();
}
