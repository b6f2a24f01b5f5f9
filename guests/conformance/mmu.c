/* mmu_update, mmuext_op, update_va_mapping(_otherdomain): a PV guest's page tables. What a fault says then: guests/pagetables. */
#include "conform.h"

#define AREA 0x10000000000UL                    /* nothing of the builder's is there: L4 slot 2 */

static pte_t own[4][512] __attribute__((aligned(4096)));        /* tables that are built here, L1 to L4 */
static unsigned char data[8][PAGE_SIZE] __attribute__((aligned(4096)));

static const struct { const char *name; domid_t dom; } domains[] = {
    { "DOMID_SELF", DOMID_SELF }, { "domain 0", 0 }, { "domain 1000", 1000 }, { "DOMID_IO", DOMID_IO }, { "DOMID_XEN", DOMID_XEN },
    { "DOMID_COW", DOMID_COW }, { "DOMID_INVALID", DOMID_INVALID },
};
#define DOMAINS (sizeof(domains) / sizeof(*domains))

static const char *const commands[] = { "NORMAL", "MACHPHYS", "PRESERVE_AD", "NO_TRANSLATE", "command 4", "command 5", "command 6", "command 7" };

static long update(uint64_t ptr, uint64_t val, domid_t dom)
{
    mmu_update_t request = { .ptr = ptr, .val = val };

    return mmu_update(&request, 1, 0, dom);
}

/* Four tables of ours, read-only and empty; not yet in use. */
static void clear_tables(void)
{
    for (int i = 0; i < 4; i++) {
        remap(own[i], PTE_DATA);
        memset(own[i], 0, PAGE_SIZE);
        remap(own[i], PTE_RDONLY);
    }
}

static const struct { const char *name; uint64_t bits; } flags[] = {
    { "P", PTE_P }, { "P RW", PTE_P | PTE_RW }, { "P US", PTE_P | PTE_US }, { "P RW US A D", PTE_DATA }, { "P PWT", PTE_P | PTE_PWT },
    { "P PCD", PTE_P | PTE_PCD }, { "P PAT", PTE_P | PTE_PS }, { "P G", PTE_P | PTE_G }, { "P NX", PTE_P | PTE_NX }, { "P avail", PTE_P | 0xe00 },
    { "P bit 52", PTE_P | 1UL << 52 }, { "P bits 53-58", PTE_P | 0x3fUL << 53 }, { "P bits 59-62", PTE_P | 0xfUL << 59 },
    { "P RW A", PTE_P | PTE_RW | PTE_A }, { "0 with a frame", 0 }, { "0 RW US", PTE_RW | PTE_US }, { "0 all flags", 0xfff0000000000ffeUL },
};
#define FLAGS (sizeof(flags) / sizeof(*flags))

static void l1_entries(void)
{
    pte_t *entry = entry_of(data[0], 1);

    for (unsigned int cmd = 0; cmd < 8; cmd++)
        for (unsigned int i = 0; i < FLAGS; i++) {
            if (cmd == 1 || (cmd > 3 && i > 1))
                continue;
            if (is_dom0() && (i == 4 || i == 5 || i == 6))
                continue;
            write_entry(entry, make_pte(data[0], PTE_DATA));
            check_out("mmu_update", update(maddr_of(entry) | cmd, make_pte(data[0], flags[i].bits), DOMID_SELF), ("%s of an L1 entry: %s", commands[cmd], flags[i].name),
                      ("flags=%lx", *entry & ~PTE_FRAME));
        }
    write_entry(entry, make_pte(data[0], PTE_DATA));
    check_out("mmu_update", update(maddr_of(entry) | MMU_PT_UPDATE_PRESERVE_AD, make_pte(data[1], PTE_P | PTE_US), DOMID_SELF),
              ("PRESERVE_AD of an L1 entry: another page"), ("flags=%lx", *entry & ~PTE_FRAME));
    fact("mmu_update", (*entry & PTE_FRAME) / PAGE_SIZE == mfn_of(data[1]), "PRESERVE_AD of an L1 entry: another page: is it there?");
    write_entry(entry, make_pte(data[0], PTE_DATA));
    static const struct { const char *name; uint64_t frame; } frames[] = {
        { "frame 2^39", 1UL << 39 }, { "frame 2^40 - 1", (1UL << 40) - 1 }, { "frame 0, which is Xen's", 0 },
    };
    for (unsigned int i = 0; i < 3; i++) {
        if (is_dom0() && i == 2)
            continue;
        check("mmu_update", update(maddr_of(entry), frames[i].frame * PAGE_SIZE | PTE_DATA, DOMID_SELF), "an L1 entry: %s", frames[i].name);
        check("mmu_update", update(maddr_of(entry), frames[i].frame * PAGE_SIZE | PTE_RDONLY, DOMID_SELF), "an L1 entry: %s, read-only", frames[i].name);
    }
    check("mmu_update", update(maddr_of(entry), make_pte(l4_table(), PTE_DATA), DOMID_SELF), "an L1 entry: a page table, writable");
    check("mmu_update", update(maddr_of(entry), make_pte(l4_table(), PTE_RDONLY), DOMID_SELF), "an L1 entry: a page table, read-only");
    check("mmu_update", update(maddr_of(entry), start_info->shared_info | PTE_DATA, DOMID_SELF), "an L1 entry: shared_info");
    check("mmu_update", update(maddr_of(entry), machine_to_physical[1] == 0 ? 0 : make_pte(data[0], PTE_DATA), DOMID_SELF), "an L1 entry: what it was");
    for (unsigned int i = 1; i < 8; i++) {
        if (i < 4)
            continue;
        check("mmu_update", update(maddr_of(entry) + i, make_pte(data[0], PTE_DATA), DOMID_SELF), "pointer + %u", i);
    }
    for (unsigned int d = 0; d < DOMAINS; d++) {
        if (is_dom0() && domains[d].dom == 0)
            continue;
        for (unsigned int cmd = 0; cmd < 4; cmd++) {
            if (is_dom0() && (domains[d].dom == DOMID_IO || domains[d].dom == DOMID_XEN) && cmd == 1)
                continue;
            check("mmu_update", update(cmd == 1 ? mfn_of(data[0]) * PAGE_SIZE | 1 : maddr_of(entry) | cmd,
                                       cmd == 1 ? pfn_of(data[0]) : make_pte(data[0], PTE_DATA), domains[d].dom),
                  "%s, frames of %s", commands[cmd], domains[d].name);
            check("mmu_update", mmu_update(zeroed(), 0, 0, domains[d].dom), "no request, frames of %s", domains[d].name);
        }
        check("mmu_update", mmu_update(page, 0, 0, (domains[d].dom + 1U) << 16 | DOMID_SELF), "no request, tables of %s", domains[d].name);
    }
    write_entry(entry, make_pte(data[0], PTE_DATA));
}

static void upper_entries(void)
{
    clear_tables();
    for (int level = 2; level <= 4; level++) {
        pte_t *entry = &own[level - 1][5];
        static char name[] = "an L0 entry of ours";

        name[4] = '0' + level;
        for (int l = level - 1; l >= 1; l--)
            mmuext(MMUEXT_PIN_L1_TABLE + l - 1, mfn_of(own[l - 1]));
        check("mmuext_op.PIN", mmuext(MMUEXT_PIN_L1_TABLE + level - 1, mfn_of(own[level - 1])), "an empty table as L%d", level);
        for (unsigned int i = 0; i < FLAGS; i++) {
            check_out("mmu_update", update(maddr_of(entry), make_pte(own[level - 2], flags[i].bits), DOMID_SELF), ("%s: %s", name, flags[i].name),
                      ("flags=%lx", *entry & ~PTE_FRAME));
            write_entry(entry, 0);
        }
        check("mmu_update", update(maddr_of(entry), make_pte(data[0], PTE_TABLE), DOMID_SELF), "%s: a data page that is mapped", name);
        check("mmu_update", update(maddr_of(entry), make_pte(own[level - 1], PTE_TABLE), DOMID_SELF), "%s: itself", name);
        check("mmu_update", update(maddr_of(entry), make_pte(own[level - 1], PTE_P | PTE_US), DOMID_SELF), "%s: itself, read-only", name);
        write_entry(entry, 0);
        check("mmu_update", update(maddr_of(entry), (1UL << 39) * PAGE_SIZE | PTE_TABLE, DOMID_SELF), "%s: frame 2^39", name);
        check("mmu_update", update(maddr_of(entry), start_info->shared_info | PTE_TABLE, DOMID_SELF), "%s: shared_info", name);
        check("mmu_update", update(maddr_of(entry), make_pte(l4_table(), PTE_TABLE), DOMID_SELF), "%s: the L4", name);
        check("mmu_update", update(maddr_of(entry) | MMU_PT_UPDATE_PRESERVE_AD, make_pte(own[level - 2], PTE_P | PTE_US), DOMID_SELF), "%s: PRESERVE_AD", name);
        write_entry(entry, 0);
        for (int l = level; l >= 1; l--)
            mmuext(MMUEXT_UNPIN_TABLE, mfn_of(own[l - 1]));
    }
    static const unsigned int slots[] = { 0, 1, 254, 255, 256, 257, 258, 270, 271, 272, 510 };
    for (unsigned int i = 0; i < sizeof(slots) / sizeof(*slots); i++)
        check("mmu_update", update(maddr_of(&l4_table()[slots[i]]), 0, DOMID_SELF), "slot %u of the L4: 0", slots[i]);
    for (unsigned int i = 0; i < sizeof(slots) / sizeof(*slots); i++) {
        mmuext(MMUEXT_PIN_L3_TABLE, mfn_of(own[2]));
        check("mmu_update", update(maddr_of(&l4_table()[slots[i]]), make_pte(own[2], PTE_TABLE), DOMID_SELF), "slot %u of the L4: an L3", slots[i]);
        update(maddr_of(&l4_table()[slots[i]]), 0, DOMID_SELF);
    }
    mmuext(MMUEXT_UNPIN_TABLE, mfn_of(own[2]));
}

static void other_places(void)
{
    for (unsigned int cmd = 0; cmd < 4; cmd++) {
        if (cmd == 1)
            continue;
        check_out("mmu_update", update(maddr_of(data[1]) | cmd, 0x1122334455667788, DOMID_SELF), ("%s on a data page", commands[cmd]), ("%lx", *(uint64_t *)data[1]));
        remap(data[2], PTE_RDONLY);
        check_out("mmu_update", update(maddr_of(data[2]) | cmd, 0x1122334455667788, DOMID_SELF), ("%s on a page without type", commands[cmd]), ("%lx", *(uint64_t *)data[2]));
        check("mmu_update", update((1UL << 51) | cmd, 0, DOMID_SELF), "%s at machine address 2^51", commands[cmd]);
        check("mmu_update", update((-1UL << 12) | cmd, 0, DOMID_SELF), "%s at the last frame", commands[cmd]);
        check("mmu_update", update(cmd, 0, DOMID_SELF), "%s at machine address 0", commands[cmd]);
        check("mmu_update", update(start_info->shared_info | 0xff8 | cmd, 0, DOMID_SELF), "%s in shared_info", commands[cmd]);
    }
    static const uint64_t pfns[] = { 0, 1UL << 31, 1UL << 52, 0x5555555555555555, -1UL };
    for (unsigned int i = 0; i < sizeof(pfns) / sizeof(*pfns); i++)
        check_out("mmu_update", update(mfn_of(data[1]) * PAGE_SIZE | MMU_MACHPHYS_UPDATE, pfns[i], DOMID_SELF), ("MACHPHYS of a page = %lx", pfns[i]),
                  ("%lx", machine_to_physical[mfn_of(data[1])]));
    for (unsigned int i = 0; i < PAGE_SIZE; i = i ? i * 8 : 8)
        check("mmu_update", update(mfn_of(data[1]) * PAGE_SIZE + i + MMU_MACHPHYS_UPDATE, pfn_of(data[1]), DOMID_SELF), "MACHPHYS of a page + %u", i);
    check("mmu_update", update((1UL << 51) | MMU_MACHPHYS_UPDATE, 0, DOMID_SELF), "MACHPHYS of frame 2^39");
    check("mmu_update", update(MMU_MACHPHYS_UPDATE, 0, DOMID_SELF), "MACHPHYS of frame 0");
    check("mmu_update", update(start_info->shared_info | MMU_MACHPHYS_UPDATE, 5, DOMID_SELF), "MACHPHYS of shared_info");
    check("mmu_update", update(mfn_of(l4_table()) * PAGE_SIZE | MMU_MACHPHYS_UPDATE, pfn_of(l4_table()), DOMID_SELF), "MACHPHYS of a page table");
}

static void batches(void)
{
    static mmu_update_t list[700];
    pte_t *entry = entry_of(data[0], 1);
    unsigned int done;

    for (unsigned int i = 0; i < 700; i++)
        list[i] = (mmu_update_t){ .ptr = maddr_of(entry), .val = make_pte(data[0], i & 1 ? PTE_DATA : PTE_RDONLY) };
    for (unsigned int bad = 0; bad <= 700; bad += 100) {
        if (bad < 700)
            list[bad].val = 1UL << 51 | PTE_DATA;
        done = 77;
        check_out("mmu_update", mmu_update(list, 700, &done, DOMID_SELF), ("700 requests, number %u bad", bad), ("done=%u", done));
        if (bad < 700)
            list[bad].val = make_pte(data[0], PTE_DATA);
    }
    for (unsigned int count = 0; count < 3; count++) {
        done = 77;
        check_out("mmu_update", mmu_update(list, count, &done, DOMID_SELF), ("%u requests", count), ("done=%u", done));
    }
    for_wild(w) {
        done = 77;
        check_out("mmu_update", mmu_update(w->address, 1, &done, DOMID_SELF), ("one request %s", w->name), ("done=%u", done));
        check_out("mmu_update", mmu_update(w->address, 0, &done, DOMID_SELF), ("no request %s", w->name), ("done=%u", done));
        check("mmu_update", mmu_update(list, 1, w->address, DOMID_SELF), "one request, count of done %s", w->name);
        check("mmu_update", mmu_update(list, 0, w->address, DOMID_SELF), "no request, count of done %s", w->name);
    }
    done = 5;
    check_out("mmu_update", mmu_update(list, 2 | 0x80000000, &done, DOMID_SELF), ("2 requests, said to be a continuation after 5"), ("done=%u", done));
    done = 5;
    check_out("mmu_update", mmu_update(list, 0x80000000, &done, DOMID_SELF), ("no request, said to be a continuation after 5"), ("done=%u", done));
    check("mmu_update", mmu_update(list, 2 | 0x80000000, UNMAPPED, DOMID_SELF), "said to be a continuation, count of done unmapped");
    done = 77;
    check_out("mmu_update", mmu_update(list, 1UL << 32 | 2, &done, DOMID_SELF), ("2 requests with rubbish above the 32 bits"), ("done=%u", done));
    write_entry(entry, make_pte(data[0], PTE_DATA));
}

static const char *const ext[] = {
    "mmuext_op.PIN_L1_TABLE", "mmuext_op.PIN_L2_TABLE", "mmuext_op.PIN_L3_TABLE", "mmuext_op.PIN_L4_TABLE", "mmuext_op.UNPIN_TABLE", "mmuext_op.NEW_BASEPTR",
    "mmuext_op.TLB_FLUSH_LOCAL", "mmuext_op.INVLPG_LOCAL", "mmuext_op.TLB_FLUSH_MULTI", "mmuext_op.INVLPG_MULTI", "mmuext_op.TLB_FLUSH_ALL",
    "mmuext_op.INVLPG_ALL", "mmuext_op.FLUSH_CACHE", "mmuext_op.SET_LDT", "mmuext_op.14", "mmuext_op.NEW_USER_BASEPTR", "mmuext_op.CLEAR_PAGE",
    "mmuext_op.COPY_PAGE", "mmuext_op.FLUSH_CACHE_GLOBAL", "mmuext_op.MARK_SUPER", "mmuext_op.UNMARK_SUPER", "mmuext_op.21",
};

static void extended(void)
{
    static const struct { const char *name; uint64_t mfn; } frames[] = {
        { "frame 0", 0 }, { "frame 2^39", 1UL << 39 }, { "frame 2^40", 1UL << 40 }, { "frame 2^52", 1UL << 52 }, { "frame -1", -1UL },
    };
    static const int of_frames[] = { 0, 1, 2, 3, 4, 5, 15, 16, 17, 19, 20 };
    struct mmuext_op op;

    clear_tables();
    for (unsigned int c = 0; c < sizeof(of_frames) / sizeof(*of_frames); c++) {
        int cmd = of_frames[c];

        for (unsigned int i = 0; i < 5; i++) {
            if (is_dom0() && i == 0 && cmd != 5)
                continue;                       /* there frame 0 may be I/O memory of its */
            if (cmd == MMUEXT_NEW_USER_BASEPTR && i == 0)
                continue;
            check(ext[cmd], mmuext(cmd, frames[i].mfn), "%s", frames[i].name);
        }
        if (cmd != MMUEXT_CLEAR_PAGE && cmd != MMUEXT_COPY_PAGE)
            check(ext[cmd], mmuext(cmd, mfn_of(data[3])), "a data page");
        check(ext[cmd], mmuext(cmd, start_info->shared_info / PAGE_SIZE + (cmd == 16 || cmd == 17 ? 1UL << 39 : 0)), "shared_info");
        if (cmd != MMUEXT_NEW_BASEPTR && cmd != MMUEXT_UNPIN_TABLE)
            check(ext[cmd], mmuext(cmd, mfn_of(l4_table())), "the L4");
        for (unsigned int d = 1; d < DOMAINS; d++) {
            if (is_dom0() && (domains[d].dom == 0 || domains[d].dom == DOMID_IO || domains[d].dom == DOMID_XEN))
                continue;
            op = (struct mmuext_op){ .cmd = cmd, .arg1.mfn = mfn_of(data[3]) };
            check(ext[cmd], mmuext_op(&op, 1, 0, domains[d].dom), "a data page, of %s", domains[d].name);
        }
    }
    mmuext(MMUEXT_NEW_USER_BASEPTR, 0);
    check("mmuext_op.NEW_USER_BASEPTR", mmuext(MMUEXT_NEW_USER_BASEPTR, 0), "none");
    check("mmuext_op.NEW_USER_BASEPTR", mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(l4_table())), "the kernel's L4");
    check("mmuext_op.NEW_USER_BASEPTR", mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(l4_table())), "the kernel's L4 again");
    check("mmuext_op.NEW_USER_BASEPTR", mmuext(MMUEXT_NEW_USER_BASEPTR, 0), "none again");
    check("mmuext_op.NEW_BASEPTR", mmuext(MMUEXT_NEW_BASEPTR, mfn_of(l4_table())), "the one it is");
    for (int level = 1; level <= 4; level++) {
        pte_t *table = own[level - 1];

        remap(table, PTE_DATA);
        check(ext[level - 1], mmuext(level - 1, mfn_of(table)), "a table that is mapped writable");
        remap(table, PTE_RDONLY);
        check(ext[level - 1], mmuext(level - 1, mfn_of(table)), "an empty table");
        for (int other = 1; other <= 4; other++)
            check(ext[other - 1], mmuext(other - 1, mfn_of(table)), "a table that is pinned as L%d", level);
        check("update_va_mapping", remap(table, PTE_DATA), "a table that is pinned as L%d, writable", level);
        check("mmuext_op.CLEAR_PAGE", mmuext(MMUEXT_CLEAR_PAGE, mfn_of(table)), "a table that is pinned as L%d", level);
        check("mmuext_op.NEW_USER_BASEPTR", level == 4 ? 0 : mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(table)), "a table that is pinned as L%d", level);
        check("mmuext_op.UNPIN_TABLE", mmuext(MMUEXT_UNPIN_TABLE, mfn_of(table)), "a table that is pinned as L%d", level);
        check("mmuext_op.UNPIN_TABLE", mmuext(MMUEXT_UNPIN_TABLE, mfn_of(table)), "a table that is not pinned");
    }
    static const struct { const char *name; uint64_t address; } addresses[] = {
        { "a page of ours", (uint64_t)data }, { "0", 0 }, { "in Xen", IN_XEN }, { "non-canonical", NON_CANONICAL }, { "-1", -1UL },
    };
    for (unsigned int i = 0; i < 5; i++)
        for (int cmd = MMUEXT_TLB_FLUSH_LOCAL; cmd <= MMUEXT_INVLPG_ALL; cmd++) {
            if (cmd == MMUEXT_TLB_FLUSH_MULTI || cmd == MMUEXT_INVLPG_MULTI)
                continue;
            check(ext[cmd], mmuext(cmd, addresses[i].address), "address %s", addresses[i].name);
        }
    for (int cmd = MMUEXT_TLB_FLUSH_MULTI; cmd <= MMUEXT_INVLPG_MULTI; cmd++) {
        uint64_t masks[] = { 0, 1, 2, 3, -1UL };

        for (unsigned int i = 0; i < 5; i++) {
            op = (struct mmuext_op){ .cmd = cmd, .arg1.linear_addr = (uint64_t)data };
            set_xen_guest_handle(op.arg2.vcpumask, (void *)&masks[i]);
            check(ext[cmd], mmuext_op(&op, 1, 0, DOMID_SELF), "mask %lx", masks[i]);
        }
        for_wild(w) {
            op = (struct mmuext_op){ .cmd = cmd, .arg1.linear_addr = (uint64_t)data };
            set_xen_guest_handle(op.arg2.vcpumask, (void *)w->address);
            check(ext[cmd], mmuext_op(&op, 1, 0, DOMID_SELF), "mask %s", w->name);
        }
    }
    if (!is_dom0()) {
        check(ext[MMUEXT_FLUSH_CACHE], mmuext(MMUEXT_FLUSH_CACHE, 0), "no argument");
        check(ext[MMUEXT_FLUSH_CACHE_GLOBAL], mmuext(MMUEXT_FLUSH_CACHE_GLOBAL, 0), "no argument");
    }
    for (int cmd = 14; cmd < 40; cmd += cmd == 14 ? 7 : 1)
        check(cmd == 14 ? ext[14] : "mmuext_op", mmuext(cmd, mfn_of(data[3])), "command %d", cmd);
    check("mmuext_op", mmuext(0xffffffff, 0), "command -1");
    memset(data[3], 7, PAGE_SIZE);
    memset(data[4], 9, PAGE_SIZE);
    check_out("mmuext_op.CLEAR_PAGE", mmuext(MMUEXT_CLEAR_PAGE, mfn_of(data[3])), ("a data page"), ("%u %u", data[3][0], data[3][PAGE_SIZE - 1]));
    op = (struct mmuext_op){ .cmd = MMUEXT_COPY_PAGE, .arg1.mfn = mfn_of(data[3]), .arg2.src_mfn = mfn_of(data[4]) };
    check_out("mmuext_op.COPY_PAGE", mmuext_op(&op, 1, 0, DOMID_SELF), ("a data page"), ("%u %u", data[3][0], data[3][PAGE_SIZE - 1]));
    for (unsigned int i = 0; i < 5; i++) {
        if (is_dom0() && i == 0)
            continue;
        op.arg2.src_mfn = frames[i].mfn;
        check("mmuext_op.COPY_PAGE", mmuext_op(&op, 1, 0, DOMID_SELF), "from %s", frames[i].name);
    }
    op.arg2.src_mfn = mfn_of(l4_table());
    check("mmuext_op.COPY_PAGE", mmuext_op(&op, 1, 0, DOMID_SELF), "from the L4");
}

static void extended_batches(void)
{
    struct mmuext_op list[4];
    unsigned int done;

    for (unsigned int bad = 0; bad <= 4; bad++) {
        for (unsigned int i = 0; i < 4; i++)
            list[i] = (struct mmuext_op){ .cmd = i == bad ? 99 : MMUEXT_TLB_FLUSH_LOCAL };
        done = 77;
        check_out("mmuext_op", mmuext_op(list, 4, &done, DOMID_SELF), ("4 flushes, number %u bad", bad), ("done=%u", done));
    }
    for_wild(w) {
        done = 77;
        check_out("mmuext_op", mmuext_op(w->address, 1, &done, DOMID_SELF), ("one %s", w->name), ("done=%u", done));
        check_out("mmuext_op", mmuext_op(w->address, 0, &done, DOMID_SELF), ("none %s", w->name), ("done=%u", done));
        check("mmuext_op", mmuext_op(list, 1, w->address, DOMID_SELF), "one flush, count of done %s", w->name);
    }
    for (unsigned int d = 0; d < DOMAINS; d++)
        if (!is_dom0() || domains[d].dom != 0)
            check("mmuext_op", mmuext_op(list, 0, 0, domains[d].dom), "none, for %s", domains[d].name);
    done = 5;
    check_out("mmuext_op", mmuext_op(list, 2 | 0x80000000, &done, DOMID_SELF), ("2 flushes, said to be a continuation after 5"), ("done=%u", done));
}

static void by_address(void)
{
    static const struct { const char *name; uint64_t value; } whens[] = {
        { "no flush", UVMF_NONE }, { "TLB flush", UVMF_TLB_FLUSH }, { "invlpg", UVMF_INVLPG }, { "flush type 3", 3 }, { "TLB flush, all", UVMF_TLB_FLUSH | UVMF_ALL },
        { "invlpg, all", UVMF_INVLPG | UVMF_ALL }, { "no flush, all", UVMF_ALL }, { "flush type 3, all", 3 | UVMF_ALL }, { "TLB flush, mask unmapped", UVMF_TLB_FLUSH | 8 },
        { "invlpg, mask unmapped", UVMF_INVLPG | 8 }, { "no flush, mask unmapped", 8 }, { "TLB flush, mask in Xen", UVMF_TLB_FLUSH | IN_XEN },
        { "invlpg, mask non-canonical", UVMF_INVLPG | NON_CANONICAL },
    };
    static const struct { const char *name; uint64_t address; } places[] = {
        { "0", 0 }, { "without an L1", AREA }, { "in Xen", IN_XEN }, { "the m2p", 0xffff800000000000 }, { "behind Xen", 0xffff880000000000 },
        { "non-canonical", NON_CANONICAL }, { "the last non-canonical", 0xffff7fffffffffff }, { "-1", -1UL },
    };
    uint64_t mask = 1;

    for (unsigned int i = 0; i < sizeof(whens) / sizeof(*whens); i++)
        check("update_va_mapping", update_va_mapping(data[5], make_pte(data[5], PTE_DATA), whens[i].value), "a page, %s", whens[i].name);
    for (mask = 0; mask < 4; mask++) {
        check("update_va_mapping", update_va_mapping(data[5], make_pte(data[5], PTE_DATA), UVMF_TLB_FLUSH | (uint64_t)&mask), "a page, TLB flush, mask %lx", mask);
        check("update_va_mapping", update_va_mapping(data[5], make_pte(data[5], PTE_DATA), UVMF_INVLPG | (uint64_t)&mask), "a page, invlpg, mask %lx", mask);
    }
    for (unsigned int i = 0; i < sizeof(places) / sizeof(*places); i++) {
        check("update_va_mapping", update_va_mapping(places[i].address, make_pte(data[5], PTE_DATA), 0), "address %s", places[i].name);
        check("update_va_mapping", update_va_mapping(places[i].address, 0, 0), "address %s, 0", places[i].name);
    }
    for (unsigned int i = 0; i < FLAGS; i++) {
        if (is_dom0() && (i == 4 || i == 5 || i == 6))
            continue;
        check_out("update_va_mapping", update_va_mapping(data[5], make_pte(data[5], flags[i].bits), UVMF_INVLPG), ("a page: %s", flags[i].name),
                  ("flags=%lx", *entry_of(data[5], 1) & ~PTE_FRAME));
    }
    remap(data[5], PTE_DATA);
    check("update_va_mapping", update_va_mapping(data[5], make_pte(l4_table(), PTE_DATA), 0), "a page table, writable");
    check("update_va_mapping", update_va_mapping(data[5], 1UL << 51 | PTE_DATA, 0), "frame 2^39");
    check("update_va_mapping", update_va_mapping(data[5] + 5, make_pte(data[5], PTE_DATA), 0), "an address within a page");
    for (unsigned int d = 0; d < DOMAINS; d++) {
        if (is_dom0() && (domains[d].dom == 0 || domains[d].dom == DOMID_IO || domains[d].dom == DOMID_XEN))
            continue;
        check("update_va_mapping_otherdomain", update_va_mapping_otherdomain(data[5], make_pte(data[5], PTE_DATA), UVMF_INVLPG, domains[d].dom),
              "a page, of %s", domains[d].name);
        check("update_va_mapping_otherdomain", update_va_mapping_otherdomain(data[5], 0, UVMF_INVLPG, domains[d].dom), "nothing, of %s", domains[d].name);
        remap(data[5], PTE_DATA);
        check("update_va_mapping_otherdomain", update_va_mapping_otherdomain(IN_XEN, 0, 0, domains[d].dom), "address in Xen, of %s", domains[d].name);
        check("update_va_mapping_otherdomain", update_va_mapping_otherdomain(data[5], make_pte(data[5], PTE_DATA), UVMF_INVLPG | 8, domains[d].dom),
              "mask unmapped, of %s", domains[d].name);
    }
}

void suite(void)
{
    l1_entries();
    upper_entries();
    other_places();
    batches();
    extended();
    extended_batches();
    by_address();
}
