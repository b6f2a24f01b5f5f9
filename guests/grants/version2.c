/* Version 2: layout, status frames, sub-page and transitive grants, and the ways from one version to the other. */
#include "grants.h"

#define RO     (GNTMAP_host_map | GNTMAP_readonly)
#define RW     GNTMAP_host_map
#define SOURCE GNTCOPY_source_gref
#define DEST   GNTCOPY_dest_gref

static unsigned char status_page[PAGE_SIZE] __attribute__((aligned(4096)));
static volatile grant_status_t *const status_of = (volatile grant_status_t *)status_page;

static void full(grant_ref_t ref, uint16_t flags, domid_t domid, uint64_t frame)
{
    v2[ref].full_page.hdr.flags = 0;
    v2[ref].full_page.hdr.domid = domid;
    v2[ref].full_page.pad0 = 0;
    v2[ref].full_page.frame = frame;
    barrier();
    v2[ref].full_page.hdr.flags = flags;
}

static void sub(grant_ref_t ref, uint16_t flags, uint16_t offset, uint16_t length, const void *page)
{
    full(ref, 0, self, mfn_of(page));
    v2[ref].sub_page.page_off = offset;
    v2[ref].sub_page.length = length;
    barrier();
    v2[ref].sub_page.hdr.flags = flags | GTF_sub_page;
}

static void transitive(grant_ref_t ref, uint16_t flags, domid_t domid, domid_t through, grant_ref_t gref)
{
    full(ref, 0, domid, 0);
    v2[ref].transitive.trans_domid = through;
    v2[ref].transitive.gref = gref;
    barrier();
    v2[ref].transitive.hdr.flags = flags | GTF_transitive;
}

static void told_copy(const char *what, uint16_t flags, uint64_t from, uint64_t to, unsigned int from_offset, unsigned int to_offset,
                      unsigned int len)
{
    struct gnttab_copy copy = {
        .source = { .domid = DOMID_SELF, .offset = from_offset }, .dest = { .domid = DOMID_SELF, .offset = to_offset },
        .len = len, .flags = flags, .status = 99,
    };
    long answer;

    copy.source.u.gmfn = from;
    copy.dest.u.gmfn = to;
    answer = grant_table_op(GNTTABOP_copy, &copy, 1);
    print("%-52s -> status %d", what, answer ? 99 : copy.status);
    if (flags & SOURCE && from < 1024)
        print(", source %x status %x", v2[from].hdr.flags, status_of[from]);
    if (flags & DEST && to < 1024)
        print(", destination %x status %x", v2[to].hdr.flags, status_of[to]);
    print("\n");
}

static void told(const char *what, grant_ref_t ref, uint32_t flags, const volatile void *where)
{
    print("%-52s -> status %d", what, map(ref, flags, where));
    print(", entry %x status %x\n", v2[ref].hdr.flags, status_of[ref]);
}

static void told_undo(const char *what, grant_ref_t ref, const volatile void *where, grant_handle_t handle)
{
    print("%-52s -> status %d", what, unmap(where, handle));
    print(", entry %x status %x\n", v2[ref].hdr.flags, status_of[ref]);
}

static void switching(void)
{
    xen_pfn_t frames[8];
    grant_entry_v1_t reserved[8];
    int kept = 1;

    section("set_version");
    for (int i = 0; i < 8; i++)
        reserved[i] = v1[i];
    told_version("1", 1);
    told_version("0", 0);
    told_version("3", 3);
    told_version("-1", -1);
    grant_page(8, GTF_permit_access, data[0]);
    told_map("a grant mapped", 8, RW, window[0]);
    told_version("2, a grant is in use", 2);
    told_unmap("unmap", window[0], 0, map_op.handle);
    grant_page(5, GTF_permit_access, data[0]);
    told_map("one of the first eight mapped", 5, RW, window[0]);
    grant_page(6, GTF_accept_transfer, data[0]);
    grant_page(7, GTF_permit_access | GTF_readonly | 0x1000, data[0]);
    told_status_frames("no status frames in version 1", DOMID_SELF, 1, frames);
    told_version("2, one of the first eight is in use", 2);
    told_status_frames("one status frame", DOMID_SELF, 1, frames);
    if (update_va_mapping(status_page, frames[0] * PAGE_SIZE | PTE_DATA, UVMF_INVLPG))
        panic("the status frame cannot be mapped");
    for (int i = 0; i < 5; i++)
        kept &= (v2[i].hdr.flags | status_of[i]) == reserved[i].flags && v2[i].hdr.domid == reserved[i].domid && v2[i].full_page.frame == reserved[i].frame;
    claim("  the first entries are kept", kept);
    print("  console and xenstore: entries %x %x, status %x %x\n", v2[0].hdr.flags, v2[1].hdr.flags, status_of[0], status_of[1]);
    for (int i = 5; i < 9; i++)
        print("  entry %d: %x, %s, %s, status %x\n", i, v2[i].hdr.flags, v2[i].hdr.domid == self ? "for us" : "for nobody",
              v2[i].full_page.frame == mfn_of(data[0]) ? "the page" : "no page", status_of[i]);
    told_status_frames("no status frame asked", DOMID_SELF, 0, frames);
    told_status_frames("two status frames", DOMID_SELF, 2, frames);
    told_status_frames("to nowhere", DOMID_SELF, 1, (xen_pfn_t *)UNMAPPED);
    told_status_frames("to Xen", DOMID_SELF, 1, (xen_pfn_t *)IN_XEN);
    told_version("2 again", 2);
    told_undo("unmap", 5, window[0], map_op.handle);
}

static void layout(void)
{
    struct gnttab_map_grant_ref held;

    section("version 2: full pages");
    data[0][9] = 0x99;
    full(8, GTF_permit_access, self, mfn_of(data[0]));
    told("read-only", 8, RO, window[0]);
    held = map_op;
    claim("  shows the page", window[0][9] == 0x99);
    told("writable", 8, RW, window[1]);
    told_undo("unmap the writable", 8, window[1], map_op.handle);
    told_undo("unmap the read-only", 8, window[0], held.handle);
    full(9, GTF_permit_access | GTF_readonly, self, mfn_of(data[0]));
    told("a read-only grant, for writing", 9, RW, window[0]);
    told("a read-only grant", 9, RO, window[0]);
    held = map_op;
    told("for writing too", 9, RW, window[1]);
    v2[9].hdr.flags = 0;
    told("again, the entry is gone", 9, RO, window[1]);
    told_undo("unmap", 9, window[1], map_op.handle);
    told_undo("unmap", 9, window[0], held.handle);
    full(10, GTF_permit_access, self, mfn_of(data[0]) | 1UL << 40);
    told("no frame", 10, RW, window[0]);
    full(10, GTF_permit_access, self + 1, mfn_of(data[0]));
    told("for another domain", 10, RO, window[0]);
    full(10, GTF_accept_transfer, self, mfn_of(data[0]));
    told("of a transfer", 10, RO, window[0]);
    full(10, GTF_permit_access | GTF_reading | GTF_writing, self, mfn_of(data[0]));
    told("reading and writing set by us", 10, RO, window[0]);
    told_undo("unmap", 10, window[0], map_op.handle);
    full(10, GTF_permit_access, self, mfn_of(data[0]));
    v2[10].full_page.pad0 = 0x12345678;
    told("padding", 10, RO, window[0]);
    told_undo("unmap", 10, window[0], map_op.handle);
    status_of[10] = 0xffff;
    told("status set by us", 10, RO, window[0]);
    told_undo("unmap", 10, window[0], map_op.handle);
    status_of[10] = 0;
    told_map("the last entry", 1023, RO, window[0]);
    print("%-52s -> status %d\n", "beyond the table", map(1024, RO, window[0]));
    told_copy("copy", SOURCE, 8, mfn_of(data[1]), 0, 0, 64);
    told_copy("copy to a read-only grant", DEST, mfn_of(data[1]), 9, 0, 0, 64);
    told_copy("copy from the last entry", SOURCE, 1023, mfn_of(data[1]), 0, 0, 64);
    told_copy("copy from beyond", SOURCE, 1024, mfn_of(data[1]), 0, 0, 64);
}

static void sub_pages(void)
{
    uint64_t to = mfn_of(data[1]);

    section("version 2: sub-page grants");
    sub(8, GTF_permit_access, 100, 50, data[0]);
    told("mapped", 8, RO, window[0]);
    told_copy("all of it", SOURCE, 8, to, 100, 0, 50);
    told_copy("the middle", SOURCE, 8, to, 110, 0, 10);
    told_copy("a byte before", SOURCE, 8, to, 99, 0, 10);
    told_copy("a byte behind", SOURCE, 8, to, 101, 0, 50);
    told_copy("nothing before", SOURCE, 8, to, 0, 0, 0);
    told_copy("nothing behind", SOURCE, 8, to, 151, 0, 0);
    told_copy("nothing at its end", SOURCE, 8, to, 150, 0, 0);
    told_copy("beyond the page", SOURCE, 8, to, 100, 0, 4000);
    told_copy("to it", DEST, to, 8, 0, 120, 10);
    told_copy("to before it", DEST, to, 8, 0, 90, 20);
    told_copy("to behind it", DEST, to, 8, 0, 149, 2);
    sub(9, GTF_permit_access, 4000, 1000, data[0]);
    told_copy("a grant beyond its page, what is in it", SOURCE, 9, to, 4000, 0, 96);
    told_copy("a grant beyond its page", SOURCE, 9, to, 4000, 0, 97);
    sub(10, GTF_permit_access, 40000, 10, data[0]);
    told_copy("a grant that begins beyond its page", SOURCE, 10, to, 0, 0, 10);
    sub(10, GTF_permit_access, 32768 + 100, 10, data[0]);
    told_copy("a grant that begins at 32768 + 100", SOURCE, 10, to, 100, 0, 10);
    told_copy("  before it", SOURCE, 10, to, 99, 0, 10);
    sub(11, GTF_permit_access, 0, 0, data[0]);
    told_copy("an empty grant", SOURCE, 11, to, 0, 0, 1);
    told_copy("nothing of an empty grant", SOURCE, 11, to, 0, 0, 0);
    sub(12, GTF_permit_access | GTF_readonly, 0, 100, data[0]);
    told_copy("to a read-only one", DEST, to, 12, 0, 0, 10);
    sub(13, GTF_accept_transfer, 0, 100, data[0]);
    told_copy("of a transfer", SOURCE, 13, to, 0, 0, 10);
    sub(14, GTF_permit_access, 0, 100, (void *)VIRT_BASE);
    v2[14].sub_page.frame = NO_FRAME;
    told_copy("no frame", SOURCE, 14, to, 0, 0, 10);
}

static void transitives(void)
{
    uint64_t to = mfn_of(data[1]);

    section("version 2: transitive grants");
    full(8, GTF_permit_access, self, mfn_of(data[0]));
    transitive(9, 0, self, self, 8);
    told_copy("through ourselves", SOURCE, 9, to, 0, 0, 8);
    told_copy("to it", DEST, to, 9, 0, 0, 8);
    transitive(10, 0, self, 999, 8);
    told_copy("through no domain", SOURCE, 10, to, 0, 0, 8);
    transitive(11, 0, self, DOMID_SELF, 8);
    told_copy("through DOMID_SELF", SOURCE, 11, to, 0, 0, 8);
    transitive(12, 0, self + 1, self, 8);
    told_copy("for another domain", SOURCE, 12, to, 0, 0, 8);
    transitive(13, GTF_readonly, self, self, 8);
    told_copy("to a read-only one", DEST, to, 13, 0, 0, 8);
    transitive(14, GTF_sub_page, self, self, 8);
    told_copy("with the sub-page flag", SOURCE, 14, to, 0, 0, 8);
    if (!is_dom0()) {
        transitive(15, 0, self, 0, 0xffffff);
        told_copy("through domain 0, a reference beyond its table", SOURCE, 15, to, 0, 0, 8);
    }
    transitive(16, 0, self, self, mfn_of(data[0]));
    told("mapped", 16, RO, window[0]);
    if (map_op.status == 0)
        told_undo("unmap", 16, window[0], map_op.handle);
}

static void rest(void)
{
    struct gnttab_swap_grant_ref swap = { .ref_a = 20, .ref_b = 21, .status = 99 };
    struct gnttab_transfer transfer = { .domid = self, .ref = 22, .status = 99 };
    long answer;

    section("version 2: swap and transfer");
    full(20, GTF_permit_access, 7, 77);
    sub(21, GTF_permit_access, 5, 6, data[0]);
    status_of[20] = 0x10;
    status_of[21] = 0x20;
    answer = grant_table_op(GNTTABOP_swap_grant_ref, &swap, 1);
    tell("swap", answer, swap.status);
    claim("  exchanged", v2[20].sub_page.page_off == 5 && v2[20].sub_page.length == 6 && v2[20].hdr.flags == 0x101 && v2[21].full_page.frame == 77);
    print("  status %x %x\n", status_of[20], status_of[21]);
    swap.ref_a = 1024;
    answer = grant_table_op(GNTTABOP_swap_grant_ref, &swap, 1);
    tell("swap beyond the table", answer, swap.status);
    full(22, GTF_accept_transfer, self, 0x123456789a);
    empty(data[3]);
    transfer.mfn = mfn_of(data[3]);
    answer = grant_table_op(GNTTABOP_transfer, &transfer, 1);
    tell("transfer", answer, transfer.status);
    print("  entry %x, %s, %s\n", v2[22].hdr.flags, v2[22].full_page.frame == mfn_of(data[3]) ? "the frame" : "no frame",
          machine_to_physical[mfn_of(data[3])] == 0x123456789a ? "its number" : "no number");
    result("  back", remap(data[3], PTE_DATA));
}

static void returning(void)
{
    section("back to version 1");
    full(8, GTF_permit_access, self, mfn_of(data[0]));
    told("a grant mapped", 8, RW, window[0]);
    told_version("1, a grant is in use", 1);
    told_undo("unmap", 8, window[0], map_op.handle);
    told_version("1, the status frame is mapped", 1);
    claim("  entries are as before", v2[8].hdr.flags == GTF_permit_access);
    empty(status_page);
    full(5, GTF_permit_access, self, 1UL << 32);
    told_version("1, an entry is too big", 1);
    full(5, GTF_permit_access, self, 0xffffffff);
    v2[6].hdr.flags = GTF_transitive;
    told_version("1, an entry is transitive", 1);
    v2[6].hdr.flags = GTF_accept_transfer;
    full(7, GTF_permit_access | GTF_readonly, self, mfn_of(data[0]));
    print("%-52s -> status %d\n", "one of the first eight mapped", map(7, RO, window[0]));
    told_version("1", 1);
    for (int i = 5; i < 9; i++)
        print("  entry %d: %x, %s, %s\n", i, v1[i].flags, v1[i].domid == self ? "for us" : "for nobody",
              v1[i].frame == mfn_of(data[0]) ? "the page" : v1[i].frame == 0xffffffff ? "its frame" : "no page");
    print("%-52s -> status %d, entry %x\n", "unmap", unmap(window[0], map_op.handle), v1[7].flags);
    told_version("2", 2);
    told_version("1", 1);
}

void version_2(void)
{
    switching();
    layout();
    sub_pages();
    transitives();
    rest();
    returning();
}
