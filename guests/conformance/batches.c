/*
 * Arrays of operations: which elements are done when one of them fails, when the array ends in a page that is not there, or
 * when the call is long enough to be continued; and what their arguments do to each other. The single operations are the
 * other programs' business.
 */
#include "conform.h"
#include "trap.h"
#include <xen/grant_table.h>

#define grant_table_op(cmd, arg, count) HYPERCALL3(__HYPERVISOR_grant_table_op, cmd, arg, count)
#define MOST  640                               /* longer than any slice of a batch */
#define FIRST 16                                /* the first grant that is tried; of PAGES pages, and none behind them */
#define PAGES 8

static unsigned char table_page[PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char pages[PAGES][PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char windows[PAGES][PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char tables[2][PAGE_SIZE] __attribute__((aligned(4096)));
/* An array may end where the second half begins, which is not there. */
static unsigned char edge[2 * PAGE_SIZE] __attribute__((aligned(4096)));
static grant_entry_v1_t *const v1 = (grant_entry_v1_t *)table_page;
static struct gnttab_map_grant_ref maps[MOST];
static struct gnttab_unmap_grant_ref unmaps[MOST];
static struct gnttab_copy copies[MOST];
static mmu_update_t updates[MOST];
static struct mmuext_op extended[MOST];
static multicall_entry_t entries[MOST];
static domid_t self;

static void grant(grant_ref_t ref, unsigned int flags, uint64_t mfn)
{
    v1[ref] = (grant_entry_v1_t){ .domid = self, .frame = mfn };
    barrier();
    v1[ref].flags = flags;
}

static void prepare_grants(void)
{
    xen_pfn_t frame;
    struct gnttab_setup_table arg = { .dom = DOMID_SELF, .nr_frames = 1 };

    set_xen_guest_handle(arg.frame_list, &frame);
    grant_table_op(GNTTABOP_setup_table, &arg, 1);
    update_va_mapping(table_page, frame * PAGE_SIZE | PTE_DATA, UVMF_INVLPG);
    for (int i = 0; i < PAGES; i++) {
        memset(pages[i], 'A' + i, PAGE_SIZE);
        grant(FIRST + i, GTF_permit_access, mfn_of(pages[i]));
        remap(windows[i], 0);
    }
}

/* How many elements have a status, how many of those are good, and the first that is not. */
#define told_statuses(list, count) ({                                           \
        int set_ = 0, good_ = 0, first_ = 0;                                    \
        for (int i_ = 0; i_ < (int)(count); i_++) {                             \
            set_ += (list)[i_].status != 77;                                    \
            good_ += (list)[i_].status == 0;                                    \
            if (!first_ && (list)[i_].status != 77 && (list)[i_].status)        \
                first_ = (list)[i_].status;                                     \
        }                                                                       \
        print("set=%d good=%d bad=%d", set_, good_, first_); })

#define check_batch(call, answer, words, list, count) do {      \
        long answer_ = (answer);                                \
        asked(call);                                            \
        print words;                                            \
        print(" -> %s {", errno_name(answer_));                 \
        told_statuses(list, count);                             \
        print("}\n");                                           \
    } while (0)

static void fill_maps(int count, int bad)
{
    for (int i = 0; i < count; i++)
        maps[i] = (struct gnttab_map_grant_ref){ .host_addr = (uint64_t)windows[i % PAGES], .flags = GNTMAP_host_map, .dom = self,
                                                 .ref = i == bad ? 500 : FIRST + i % PAGES, .handle = 7, .status = 77 };
}

static void fill_unmaps(int count)
{
    for (int i = 0; i < count; i++)
        unmaps[i] = (struct gnttab_unmap_grant_ref){ .host_addr = (uint64_t)windows[i % PAGES], .handle = maps[i].status ? 0xffffffff : maps[i].handle, .status = 77 };
}

static void grant_batches(void)
{
    static const int counts[] = { 2, 8, 8, 8, 8 }, bads[] = { -1, -1, 0, 4, 7 };

    for (int i = 0; i < 5; i++) {
        fill_maps(counts[i], bads[i]);
        check_batch("grant_table_op.map_grant_ref", grant_table_op(GNTTABOP_map_grant_ref, maps, counts[i]), ("%d of them, wrong is %d", counts[i], bads[i]), maps, counts[i]);
        fill_unmaps(counts[i]);
        check_batch("grant_table_op.unmap_grant_ref", grant_table_op(GNTTABOP_unmap_grant_ref, unmaps, counts[i]), ("%d of them, not mapped is %d", counts[i], bads[i]), unmaps, counts[i]);
    }
    /* One mapped twice in a batch, at two addresses; and one unmapped twice. */
    for (int i = 0; i < 3; i++)
        maps[i] = (struct gnttab_map_grant_ref){ .host_addr = (uint64_t)windows[i], .flags = i == 1 ? GNTMAP_host_map | GNTMAP_readonly : GNTMAP_host_map,
                                                 .dom = self, .ref = FIRST, .status = 77 };
    check_batch("grant_table_op.map_grant_ref", grant_table_op(GNTTABOP_map_grant_ref, maps, 3), ("the same three times"), maps, 3);
    fact("grant_table_op.map_grant_ref", v1[FIRST].flags == (GTF_permit_access | GTF_reading | GTF_writing), "is it marked?");
    fill_unmaps(3);
    unmaps[2].handle = unmaps[0].handle;
    unmaps[2].host_addr = unmaps[0].host_addr;
    check_batch("grant_table_op.unmap_grant_ref", grant_table_op(GNTTABOP_unmap_grant_ref, unmaps, 3), ("two of them, one twice"), unmaps, 3);
    unmaps[0] = (struct gnttab_unmap_grant_ref){ .host_addr = (uint64_t)windows[2], .handle = maps[2].handle, .status = 77 };
    check_batch("grant_table_op.unmap_grant_ref", grant_table_op(GNTTABOP_unmap_grant_ref, unmaps, 1), ("the third"), unmaps, 1);
    fact("grant_table_op.unmap_grant_ref", v1[FIRST].flags == GTF_permit_access, "is the entry as it was?");

    /* As long as a continued call: the same page over and over, at its own place. */
    for (int i = 0; i < MOST; i++)
        maps[i] = (struct gnttab_map_grant_ref){ .host_addr = (uint64_t)windows[0], .flags = GNTMAP_device_map | GNTMAP_readonly, .dom = self,
                                                 .ref = i == 600 ? 500 : FIRST + i % PAGES, .status = 77 };
    check_batch("grant_table_op.map_grant_ref", grant_table_op(GNTTABOP_map_grant_ref, maps, MOST), ("640 for devices, wrong is 600"), maps, MOST);
    for (int i = 0; i < MOST; i++)
        unmaps[i] = (struct gnttab_unmap_grant_ref){ .dev_bus_addr = maps[i].dev_bus_addr, .handle = maps[i].status ? 0xffffffff : maps[i].handle, .status = 77 };
    check_batch("grant_table_op.unmap_grant_ref", grant_table_op(GNTTABOP_unmap_grant_ref, unmaps, MOST), ("640 of devices"), unmaps, MOST);
    fact("grant_table_op.unmap_grant_ref", v1[FIRST].flags == GTF_permit_access, "is the entry as it was?");
}

/* Room for `count` elements of `size` bytes, behind which there are `inside` more and then nothing. */
static void *at_edge(unsigned int count, unsigned int size, unsigned int inside)
{
    return edge + PAGE_SIZE - count * size - inside;
}

static void cut_arrays(void)
{
    static const unsigned int inside[] = { 0, 8 };

    for (int i = 0; i < 2; i++) {
        struct gnttab_map_grant_ref *map = at_edge(2, sizeof(*map), inside[i]);
        struct gnttab_unmap_grant_ref *unmap = at_edge(2, sizeof(*unmap), inside[i]);

        fill_maps(2, -1);
        memcpy(map, maps, 2 * sizeof(*map));
        check_batch("grant_table_op.map_grant_ref", grant_table_op(GNTTABOP_map_grant_ref, map, 3), ("three, the last has %u bytes", inside[i]), map, 2);
        memcpy(maps, map, 2 * sizeof(*map));
        fill_unmaps(2);
        memcpy(unmap, unmaps, 2 * sizeof(*unmap));
        check_batch("grant_table_op.unmap_grant_ref", grant_table_op(GNTTABOP_unmap_grant_ref, unmap, 3), ("three, the last has %u bytes", inside[i]), unmap, 2);
        struct gnttab_copy *copy = at_edge(2, sizeof(*copy), inside[i]);
        for (int j = 0; j < 2; j++)
            copy[j] = (struct gnttab_copy){ .source = { .u.ref = FIRST + j, .domid = self }, .dest = { .u.gmfn = mfn_of(pages[7]), .domid = DOMID_SELF },
                                            .len = 1, .flags = GNTCOPY_source_gref, .status = 77 };
        check_batch("grant_table_op.copy", grant_table_op(GNTTABOP_copy, copy, 3), ("three, the last has %u bytes", inside[i]), copy, 2);
        fact("grant_table_op.copy", v1[FIRST].flags == GTF_permit_access && v1[FIRST + 1].flags == GTF_permit_access, "are the entries as they were?");
        mmu_update_t *update = at_edge(2, sizeof(*update), inside[i]);
        unsigned int done = 77;
        for (int j = 0; j < 2; j++)
            update[j] = (mmu_update_t){ .ptr = maddr_of(entry_of(windows[j], 1)), .val = make_pte(pages[j], PTE_RDONLY) };
        check_out("mmu_update", mmu_update(update, 3, &done, DOMID_SELF), ("three, the last has %u bytes", inside[i]), ("done=%u", done));
        fact("mmu_update", windows[0][0] == pages[0][0] && windows[1][0] == pages[1][0], "are two done?");
        struct mmuext_op *op = at_edge(2, sizeof(*op), inside[i]);
        for (int j = 0; j < 2; j++)
            op[j] = (struct mmuext_op){ .cmd = MMUEXT_INVLPG_LOCAL, .arg1.linear_addr = (unsigned long)windows[j] };
        done = 77;
        check_out("mmuext_op", mmuext_op(op, 3, &done, DOMID_SELF), ("three, the last has %u bytes", inside[i]), ("done=%u", done));
        multicall_entry_t *entry = at_edge(2, sizeof(*entry), inside[i]);
        for (int j = 0; j < 2; j++)
            entry[j] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .result = 77 };
        check_out("multicall", HYPERCALL2(__HYPERVISOR_multicall, entry, 3), ("three, the last has %u bytes", inside[i]),
                  ("results %s %s", entry[0].result == 77 ? "no" : "yes", entry[1].result == 77 ? "no" : "yes"));
        struct gnttab_swap_grant_ref *swap = at_edge(2, sizeof(*swap), inside[i]);
        for (int j = 0; j < 2; j++)
            swap[j] = (struct gnttab_swap_grant_ref){ .ref_a = FIRST, .ref_b = FIRST + 1, .status = 77 };
        check_batch("grant_table_op.swap_grant_ref", grant_table_op(GNTTABOP_swap_grant_ref, swap, 3), ("three, the last has %u bytes", inside[i]), swap, 2);
        for (int j = 0; j < 2; j++)
            remap(windows[j], 0);
    }
}

static void told_copy(const char *what, int count)
{
    for (int i = 0; i < count; i++)
        copies[i].status = 77;
    check_batch("grant_table_op.copy", grant_table_op(GNTTABOP_copy, copies, count), ("%s", what), copies, count);
    int as_before = 1;

    for (int i = 0; i < PAGES; i++)
        as_before &= (v1[FIRST + i].flags & ~GTF_readonly) == GTF_permit_access;
    fact("grant_table_op.copy", as_before, "%s: are the entries as they were?", what);
}

static struct gnttab_copy one_copy(int from, unsigned int offset, int to, unsigned int at, unsigned int size)
{
    return (struct gnttab_copy){ .source = { .u.ref = FIRST + from, .domid = self, .offset = offset }, .dest = { .u.ref = FIRST + to, .domid = self, .offset = at },
                                 .len = size, .flags = GNTCOPY_source_gref | GNTCOPY_dest_gref };
}

static void copy_batches(void)
{
    static const int steps[] = { 1, 3, 4, 7, 8, 9, 12, 16, 100, -1, -3, -4, -7, -8, -9, -12, -100 };

    for (int i = 0; i < 4; i++)
        copies[i] = one_copy(i, 0, i + 4, 0, 16);
    told_copy("four pages to four", 4);
    fact("grant_table_op.copy", pages[4][0] == 'A' && pages[7][15] == 'D' && pages[7][16] == 'H', "are they there?");
    for (int i = 0; i < 4; i++)
        copies[i] = one_copy(0, 16 * i, i % 2, 512 + i, 16);
    told_copy("one page to two in turns, itself among them", 4);
    for (int bad = 0; bad < 4; bad++) {
        for (int i = 0; i < 4; i++)
            copies[i] = one_copy(i == bad ? 400 : 1, 0, 2, 0, 16);
        told_copy("four, one has no grant to read", 4);
        for (int i = 0; i < 4; i++)
            copies[i] = one_copy(1, 0, i == bad ? 400 : 2, 0, 16);
        told_copy("four, one has no grant to write", 4);
        for (int i = 0; i < 4; i++)
            copies[i] = one_copy(1, i == bad ? 4090 : 0, 2, 0, 16);
        told_copy("four, one leaves its page", 4);
        for (int i = 0; i < 4; i++) {
            copies[i] = one_copy(1, 0, 2, 0, 16);
            if (i == bad)
                copies[i].source.domid = 1000;
        }
        told_copy("four, one is of no domain", 4);
    }
    v1[FIRST + 3].flags |= GTF_readonly;
    copies[0] = one_copy(2, 0, 4, 0, 8);
    copies[1] = one_copy(3, 0, 4, 0, 8);
    copies[2] = one_copy(4, 0, 3, 0, 8);
    copies[3] = one_copy(4, 0, 2, 0, 8);
    told_copy("a read-only one as source, and as destination", 4);
    v1[FIRST + 3].flags &= ~GTF_readonly;
    for (int i = 0; i < 3; i++)
        copies[i] = one_copy(5, 0, 6, 0, 8);
    copies[1].source.u.gmfn = mfn_of(pages[5]);
    copies[1].source.domid = DOMID_SELF;
    copies[1].flags = GNTCOPY_dest_gref;
    told_copy("by grant, by frame, by grant", 3);
    copies[1].source.domid = self;
    told_copy("by grant, by frame of our own number, by grant", 3);
    for (unsigned int flags = 0; flags < 16; flags++) {
        copies[0] = one_copy(1, 0, 2, 0, 8);
        copies[0].flags = 3 | 1u << flags;
        told_copy("a flag more", 1);
    }
    /* Within one page: which bytes a copy that overlaps itself leaves. */
    for (unsigned int i = 0; i < sizeof(steps) / sizeof(*steps); i++)
        for (int size = 15; size <= 33; size += 9) {
            uint32_t sum = 0;

            for (int j = 0; j < 512; j++)
                pages[0][j] = j * 7;
            copies[0] = one_copy(0, 200, 0, 200 + steps[i], size);
            copies[0].status = 77;
            long answer = grant_table_op(GNTTABOP_copy, copies, 1);
            for (int j = 0; j < 512; j++)
                sum = sum * 31 + pages[0][j];
            check_out("grant_table_op.copy", answer, ("%d bytes within a page, %d further", size, steps[i]), ("status=%d sum=%x", copies[0].status, sum));
        }
    for (int i = 0; i < MOST; i++)
        copies[i] = one_copy(i == 555 ? 400 : i % PAGES, i, (i + 1) % PAGES, i, 3);
    told_copy("640, one has no grant", MOST);
}

static void swaps_in_use(void)
{
    struct gnttab_swap_grant_ref swap;
    struct gnttab_set_version set;

    fill_maps(2, -1);
    maps[1].flags |= GNTMAP_readonly;
    grant_table_op(GNTTABOP_map_grant_ref, maps, 2);
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 4; b++) {
            swap = (struct gnttab_swap_grant_ref){ .ref_a = FIRST + a, .ref_b = FIRST + b, .status = 77 };
            check_out("grant_table_op.swap_grant_ref", grant_table_op(GNTTABOP_swap_grant_ref, &swap, 1), ("%d and %d, mapped are 0 and 1", a, b), ("status=%d", swap.status));
        }
    for (unsigned int version = 0; version < 4; version++) {
        set.version = version;
        check_out("grant_table_op.set_version", grant_table_op(GNTTABOP_set_version, &set, 1), ("%u while two are mapped", version), ("version=%u", set.version));
    }
    fill_unmaps(2);
    grant_table_op(GNTTABOP_unmap_grant_ref, unmaps, 2);
}

static void cache_flushes(void)
{
    static const struct { const char *name; unsigned int offset, length; } parts[] = {
        { "a page", 0, 4096 }, { "nothing", 0, 0 }, { "nothing at the end", 4096, 0 }, { "a byte", 4095, 1 }, { "a byte beyond", 4096, 1 },
        { "a page and a byte", 0, 4097 }, { "half of it beyond", 4000, 200 }, { "all ones", 65535, 65535 },
    };
    gnttab_cache_flush_t flush[4];

    for (unsigned int i = 0; i < sizeof(parts) / sizeof(*parts); i++)
        for (unsigned int op = 0; op < 4; op++) {
            flush[0] = (gnttab_cache_flush_t){ .a.dev_bus_addr = mfn_of(pages[0]) * PAGE_SIZE, .offset = parts[i].offset, .length = parts[i].length, .op = op };
            check("grant_table_op.cache_flush", grant_table_op(GNTTABOP_cache_flush, flush, 1), "%s of our page, operation %u", parts[i].name, op);
        }
    for (unsigned int bit = 2; bit < 32; bit += bit < 4 ? 1 : 9) {
        flush[0] = (gnttab_cache_flush_t){ .a.dev_bus_addr = mfn_of(pages[0]) * PAGE_SIZE, .length = 1, .op = 1u << bit | GNTTAB_CACHE_CLEAN };
        check("grant_table_op.cache_flush", grant_table_op(GNTTABOP_cache_flush, flush, 1), "operation bit %u", bit);
    }
    flush[0] = (gnttab_cache_flush_t){ .a.ref = FIRST, .length = 1, .op = GNTTAB_CACHE_SOURCE_GREF | GNTTAB_CACHE_CLEAN };
    check("grant_table_op.cache_flush", grant_table_op(GNTTABOP_cache_flush, flush, 1), "by reference");
    static const struct { const char *name; uint64_t address; } wrong[] = { { "2^52", 1UL << 52 }, { "-1", -1UL }, { "2^45", 1UL << 45 } };
    for (unsigned int i = 0; i < 3; i++) {
        flush[0] = (gnttab_cache_flush_t){ .a.dev_bus_addr = wrong[i].address, .length = 1, .op = GNTTAB_CACHE_CLEAN };
        check("grant_table_op.cache_flush", grant_table_op(GNTTABOP_cache_flush, flush, 1), "address %s", wrong[i].name);
    }
    flush[0] = (gnttab_cache_flush_t){ .a.dev_bus_addr = mfn_of(pages[0]) * PAGE_SIZE + 17, .length = 1, .op = GNTTAB_CACHE_CLEAN };
    check("grant_table_op.cache_flush", grant_table_op(GNTTABOP_cache_flush, flush, 1), "an address that is not a page's");
    for (int i = 0; i < 4; i++)
        flush[i] = (gnttab_cache_flush_t){ .a.dev_bus_addr = mfn_of(pages[i]) * PAGE_SIZE, .length = i == 2 ? 5000 : 64, .op = GNTTAB_CACHE_CLEAN | GNTTAB_CACHE_INVAL };
    check("grant_table_op.cache_flush", grant_table_op(GNTTABOP_cache_flush, flush, 2), "two");
    check("grant_table_op.cache_flush", grant_table_op(GNTTABOP_cache_flush, flush, 4), "four, the third too long");
}

static void update_batches(void)
{
    static const int bads[] = { -1, 0, 1, 511, 512, 513, 600, 639 };
    unsigned int done;

    for (unsigned int i = 0; i < sizeof(bads) / sizeof(*bads); i++)
        for (int kind = 0; kind < 3; kind++) {
            for (int j = 0; j < MOST; j++) {
                updates[j] = (mmu_update_t){ .ptr = maddr_of(entry_of(windows[0], 1)), .val = make_pte(pages[j % 2], PTE_RDONLY) };
                if (j != bads[i])
                    continue;
                if (kind == 0)
                    updates[j].val = make_pte(entry_of(windows[0], 1), PTE_DATA);   /* a page table, writable */
                else if (kind == 1)
                    updates[j].ptr |= 5;                                            /* no command */
                else
                    updates[j].ptr = 1UL << 50;                                     /* no frame */
            }
            done = 77;
            check_out("mmu_update", mmu_update(updates, MOST, &done, DOMID_SELF), ("640, wrong is %d in way %d", bads[i], kind), ("done=%u", done));
            fact("mmu_update", bads[i] == 0 || windows[0][0] == pages[(bads[i] < 0 ? MOST - 1 : bads[i] - 1) % 2][0], "is what came before it done?");
            check("mmu_update", mmu_update(updates, MOST, UNMAPPED, DOMID_SELF), "640, wrong is %d in way %d, done unmapped", bads[i], kind);
        }
    remap(windows[0], 0);
    for (unsigned int i = 0; i < sizeof(bads) / sizeof(*bads); i++)
        for (int kind = 0; kind < 2; kind++) {
            for (int j = 0; j < MOST; j++) {
                extended[j] = (struct mmuext_op){ .cmd = MMUEXT_INVLPG_LOCAL, .arg1.linear_addr = (unsigned long)windows[0] };
                if (j == bads[i])
                    extended[j].cmd = kind ? 99 : MMUEXT_UNPIN_TABLE;
                extended[j].arg1.mfn = j == bads[i] ? 1UL << 40 : extended[j].arg1.mfn;
            }
            done = 77;
            check_out("mmuext_op", mmuext_op(extended, MOST, &done, DOMID_SELF), ("640, wrong is %d in way %d", bads[i], kind), ("done=%u", done));
        }
    /* A table that comes and goes within one batch. */
    memset(tables, 0, sizeof(tables));
    remap(tables[0], PTE_RDONLY);
    for (int j = 0; j < 600; j++)
        extended[j] = (struct mmuext_op){ .cmd = j % 2 ? MMUEXT_UNPIN_TABLE : MMUEXT_PIN_L1_TABLE, .arg1.mfn = mfn_of(tables[0]) };
    done = 77;
    check_out("mmuext_op", mmuext_op(extended, 600, &done, DOMID_SELF), ("pinned and unpinned 300 times"), ("done=%u", done));
    extended[1].cmd = MMUEXT_PIN_L2_TABLE;
    check_out("mmuext_op", mmuext_op(extended, 3, &done, DOMID_SELF), ("pinned as L1, as L2, as L1"), ("done=%u", done));
    extended[0].cmd = MMUEXT_UNPIN_TABLE;
    check_out("mmuext_op", mmuext_op(extended, 1, &done, DOMID_SELF), ("unpinned"), ("done=%u", done));
    remap(tables[0], PTE_DATA);
}

/* Who owns the tables (upper half, plus one) and the frames (lower half). */
static void owners(void)
{
    const struct { const char *name; unsigned int dom; } doms[] = {
        { "DOMID_SELF", DOMID_SELF }, { "our own number", self }, { "domain 1000", 1000 }, { "DOMID_IO", DOMID_IO }, { "DOMID_XEN", DOMID_XEN }, { "DOMID_INVALID", DOMID_INVALID },
    };

    for (unsigned int of = 0; of < 6; of++)
        for (unsigned int from = 0; from < 6; from++)
            for (int kind = 0; kind < 2; kind++) {
                unsigned int done = 77, foreign = (doms[of].dom + 1) << 16 | doms[from].dom;

                if (is_dom0())
                    continue;
                updates[0] = (mmu_update_t){ .ptr = maddr_of(entry_of(windows[0], 1)) | (kind ? MMU_PT_UPDATE_PRESERVE_AD : MMU_NORMAL_PT_UPDATE), .val = make_pte(pages[0], PTE_RDONLY) };
                check_out("mmu_update", mmu_update(updates, 1, &done, foreign), ("command %d, tables of %s, frames of %s", kind * 2, doms[of].name, doms[from].name), ("done=%u", done));
            }
    for (unsigned int from = 0; from < 6; from++) {
        if (is_dom0())
            continue;
        for (int kind = 0; kind < 3; kind++) {
            static const struct { unsigned int cmd; const char *name; } ops[] = { { MMUEXT_TLB_FLUSH_LOCAL, "TLB_FLUSH_LOCAL" }, { MMUEXT_CLEAR_PAGE, "CLEAR_PAGE" }, { MMUEXT_PIN_L1_TABLE, "PIN_L1_TABLE" } };
            unsigned int done = 77;

            extended[0] = (struct mmuext_op){ .cmd = ops[kind].cmd, .arg1.mfn = mfn_of(tables[1]) };
            check_out("mmuext_op", mmuext_op(extended, 1, &done, doms[from].dom), ("%s, frames of %s", ops[kind].name, doms[from].name), ("done=%u", done));
        }
    }
    remap(windows[0], 0);
}

static void multicalls(void)
{
    static mmu_update_t inner[2][MOST];
    static unsigned int done[2];

    /* Two long batches and short calls between them: each goes on where it was. */
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < MOST; j++)
            inner[i][j] = (mmu_update_t){ .ptr = maddr_of(entry_of(windows[i], 1)) | (i && j == 620 ? 6 : 0), .val = make_pte(pages[j % 2], PTE_RDONLY) };
    for (int i = 0; i < 5; i++)
        entries[i] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .result = 77 };
    for (int i = 0; i < 2; i++)
        entries[1 + 2 * i] = (multicall_entry_t){ .op = __HYPERVISOR_mmu_update, .args = { (unsigned long)inner[i], MOST, (unsigned long)&done[i], DOMID_SELF }, .result = 77 };
    long answer = HYPERCALL2(__HYPERVISOR_multicall, entries, 5);
    check("multicall", answer, "two updates of 640 and three others, the second wrong at 620");
    for (int i = 0; i < 5; i++)
        check("multicall", (long)entries[i].result == (long)entries[0].result && i != 1 && i != 3 ? 0 : (long)entries[i].result, "  result %d", i);
    check_out("multicall", answer, ("how many were done"), ("%u and %u", done[0], done[1]));
    fill_maps(4, 2);
    for (int i = 0; i < 4; i++)
        entries[i] = (multicall_entry_t){ .op = __HYPERVISOR_grant_table_op, .args = { GNTTABOP_map_grant_ref, (unsigned long)&maps[i], 1 }, .result = 77 };
    answer = HYPERCALL2(__HYPERVISOR_multicall, entries, 4);
    check_batch("multicall", answer, ("four map_grant_ref, wrong is 2"), maps, 4);
    for (int i = 0; i < 4; i++)
        check("multicall", (long)entries[i].result, "  result %d", i);
    fill_unmaps(4);
    for (int i = 0; i < 4; i++)
        entries[i] = (multicall_entry_t){ .op = __HYPERVISOR_grant_table_op, .args = { GNTTABOP_unmap_grant_ref, (unsigned long)&unmaps[i], 1 }, .result = 77 };
    answer = HYPERCALL2(__HYPERVISOR_multicall, entries, 4);
    check_batch("multicall", answer, ("four unmap_grant_ref"), unmaps, 4);
    /* One that takes the list itself out of the address space: those behind it cannot be read. */
    static multicall_entry_t list[4] __attribute__((aligned(4096)));
    for (int i = 0; i < 4; i++)
        list[i] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .result = 77 };
    list[1] = (multicall_entry_t){ .op = __HYPERVISOR_update_va_mapping, .args = { (unsigned long)list, 0, UVMF_INVLPG }, .result = 77 };
    check("multicall", HYPERCALL2(__HYPERVISOR_multicall, list, 4), "the second of four takes the list away");
    remap(list, PTE_DATA);
    fact("multicall", list[0].result != 77 && list[1].result == 77 && list[2].result == 77, "has only the first a result?");
    list[1] = (multicall_entry_t){ .op = __HYPERVISOR_update_va_mapping, .args = { (unsigned long)list, make_pte(list, PTE_RDONLY), UVMF_INVLPG }, .result = 77 };
    list[0].result = 77;
    check("multicall", HYPERCALL2(__HYPERVISOR_multicall, list, 4), "the second of four makes the list read-only");
    remap(list, PTE_DATA);
    fact("multicall", list[0].result != 77 && list[1].result == 77 && list[2].result == 77, "has only the first a result?");
    /* One that changes the entry behind it. */
    for (int i = 0; i < 3; i++)
        list[i] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .result = 77 };
    list[0] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .args = { XENVER_extraversion, (unsigned long)&list[1].op }, .result = 77 };
    check("multicall", HYPERCALL2(__HYPERVISOR_multicall, list, 3), "the first of three writes into the second");
    check("multicall", (long)list[1].result, "  the result of the second");
    fact("multicall", (long)list[2].result > 0, "  has the third been done?");
}

/* memory_op's continuations are its own arguments: what is said to be done already is not looked at. */
static void reservations(void)
{
    static uint64_t frames[PAGES];
    static const struct { int cmd; const char *name; } ops[] = {
        { XENMEM_populate_physmap, "memory_op.populate_physmap" }, { XENMEM_decrease_reservation, "memory_op.decrease_reservation" },
    };

    for (int i = 0; i < PAGES; i++)
        frames[i] = mfn_of(windows[i]);
    for (int step = 0; step < 4; step++)
        for (int which = 1; which >= 0; which--) {
            static const unsigned int starts[] = { 0, 3, 7, 8 };
            struct xen_memory_reservation arg = { .nr_extents = PAGES, .domid = DOMID_SELF };

            if (which == 0)
                for (int i = 0; i < PAGES; i++)
                    frames[i] = pfn_of(windows[i]);
            set_xen_guest_handle(arg.extent_start, frames);
            check(ops[which].name, memory_op(ops[which].cmd | (unsigned long)starts[step] << 6, &arg), "8 pages, %u are done", starts[step]);
            if (which == 0)
                for (unsigned int i = starts[step]; i < PAGES; i++)
                    ((uint64_t *)start_info->mfn_list)[pfn_of(windows[i])] = frames[i];
            for (int i = 0; i < PAGES; i++)
                frames[i] = mfn_of(windows[i]);
        }
    for (int i = 0; i < PAGES; i++)
        fact("memory_op.populate_physmap", machine_to_physical[mfn_of(windows[i])] == pfn_of(windows[i]), "is page %d in the m2p?", i);
    /* The list ends in the middle: those that could be read are done. */
    uint64_t *list = at_edge(3, 8, 0);
    struct xen_memory_reservation arg = { .nr_extents = 4, .domid = DOMID_SELF };

    for (int i = 0; i < 3; i++)
        list[i] = mfn_of(windows[i]);
    set_xen_guest_handle(arg.extent_start, list);
    check("memory_op.decrease_reservation", memory_op(XENMEM_decrease_reservation, &arg), "four, of which the list has three");
    for (int i = 0; i < 3; i++)
        list[i] = pfn_of(windows[i]);
    check("memory_op.populate_physmap", memory_op(XENMEM_populate_physmap, &arg), "four, of which the list has three");
    for (int i = 0; i < 3; i++) {
        fact("memory_op.populate_physmap", machine_to_physical[list[i]] == pfn_of(windows[i]), "is page %d in the m2p?", i);
        ((uint64_t *)start_info->mfn_list)[pfn_of(windows[i])] = list[i];
    }
    for (int bad = 0; bad < 4; bad++) {
        for (int i = 0; i < 4; i++)
            frames[i] = i == bad ? -1UL : mfn_of(windows[i]);
        set_xen_guest_handle(arg.extent_start, frames);
        check("memory_op.decrease_reservation", memory_op(XENMEM_decrease_reservation, &arg), "four, wrong is %d", bad);
        int gone = 0;
        for (int i = 0; i < bad; i++)
            frames[gone++] = pfn_of(windows[i]);
        arg.nr_extents = gone;
        check("memory_op.populate_physmap", memory_op(XENMEM_populate_physmap, &arg), "those before it");
        for (int i = 0; i < gone; i++)
            ((uint64_t *)start_info->mfn_list)[pfn_of(windows[i])] = frames[i];
        arg.nr_extents = 4;
    }
}

void suite(void)
{
    traps_init();
    self = own_domid();
    remap(edge + PAGE_SIZE, 0);
    prepare_grants();
    grant_batches();
    cut_arrays();
    copy_batches();
    swaps_in_use();
    cache_flushes();
    update_batches();
    owners();
    multicalls();
    for (int i = 0; i < PAGES; i++)
        remap(windows[i], 0);
    reservations();
}
