/* Page tables: mmu_update, update_va_mapping, mmuext_op. t0 and t1 are meant to be L1s, t2 an L2, t3 an L3, t4 an L4. */
#include "fuzz.h"

static unsigned int child_of(unsigned int table)
{
    return table == 0 || table == 1 ? 99 : table == 2 ? any(2) : table - 1;
}

/* A new value for an entry of table `t` (99: of an L1 of the live tree). */
static uint64_t entry_for(unsigned int t)
{
    struct pick f = any(4) ? own_frame() : frame();
    uint64_t flags = flags_of_entry();

    if (t < TABLES && t > 1 && t != 5 && any(4)) {
        f = (struct pick){ frame_name(mfn_of(tables[child_of(t)])), mfn_of(tables[child_of(t)]) };
        flags = PTE_TABLE;
    } else if (*f.name == 't' && any(3))
        flags &= ~PTE_RW;
    if (flags == 0)
        f = (struct pick){ "0", 0 };
    print(" %s:%lx", f.name, flags);
    return f.value << 12 | flags;
}

/* Where it goes: an entry of the live tree that is free, of a table, or something else. */
static void an_update(mmu_update_t *update)
{
    unsigned int what = any(24), cmd = any(6) ? any(2) * 2 : any(8), i;
    static const unsigned int roots[] = { 0, 1, 1, 1, 255, 256, 257, 258, 271, 272, 300, 509, 510 };

    print(" (");
    if (what < 11) {
        i = any(WINDOWS);
        print("entry of w%u", i);
        update->ptr = maddr_of(entry_of(windows[i], 1));
        i = 99;
    } else if (what < 18) {
        unsigned int slot = any(6) ? any(4) : any(512);

        i = any(TABLES);
        print("t%u[%u]", i, slot);
        update->ptr = maddr_of(tables[i]) + 8 * slot;
    } else if (what == 18) {
        i = one_of(roots);
        print("l4[%u]", i);
        update->ptr = maddr_of(&l4_table()[i]);
        i = 4;
    } else if (what == 19) {
        unsigned int slot = any(2) ? 500 : 501;

        print("l2[%u]", slot);
        update->ptr = maddr_of(entry_of(windows, 2)) / PAGE_SIZE * PAGE_SIZE + 8 * slot;
        i = 2;
    } else if (what == 20) {
        i = 3;
        print("l3[511]");
        update->ptr = maddr_of(entry_of(windows, 3)) / PAGE_SIZE * PAGE_SIZE + 8 * 511;
    } else if (what == 21) {
        i = any(PAGES);
        print("p%u", i);
        update->ptr = maddr_of(pages[i]) + 8 * any(512);
        is_hushed = 1;
        i = 99;
    } else {
        struct pick f = frame();

        while (!strcmp(f.name, "code") || !strcmp(f.name, "shared_info") || !strcmp(f.name, "start_info") || *f.name == 'l' || !strcmp(f.name, "grant_frame") || *f.name == 'p')
            f = frame();
        i = any(TABLES);
        print("%s[3]", f.name);
        update->ptr = f.value * PAGE_SIZE + 24;
    }
    update->ptr |= cmd;
    if (cmd & 4)
        print("+4");
    print(" cmd %u", cmd & 3);
    if ((cmd & 3) == MMU_MACHPHYS_UPDATE) {     /* of a frame whose place nobody looks up */
        struct pick f = any(3) ? (struct pick){ "p7", mfn_of(pages[7]) } : (struct pick){ "max_page", memory_op(XENMEM_maximum_ram_page, 0) + 1 };

        print(" of %s", f.name);
        update->ptr = f.value * PAGE_SIZE | cmd;
        update->val = 0x1000 + any(16);
        print(" %lx)", update->val);
        return;
    }
    update->val = entry_for(i);
    print(")");
}

static struct pick foreign(void)
{
    return any(5) ? (struct pick){ "SELF", DOMID_SELF } : domain();
}

void an_entry(struct call *call)
{
    struct pick d = foreign(), count = count_of(4), a = address();
    unsigned int filled = count.value < 5 ? count.value : 4, what = any(16);
    uint32_t *done = argument(call, 4, ".");

    *done = 77;
    if (what < 11) {
        mmu_update_t *updates = argument(call, filled * sizeof(*updates), "-");
        struct pick pair = domain();
        unsigned int dom = d.value;

        call->nr = __HYPERVISOR_mmu_update;
        print("mmu_update[%s] %s", count.name, d.name);
        if (chance(20)) {
            dom |= (pair.value + 1) << 16;
            print(" on %s", pair.name);
        }
        for (unsigned int i = 0; i < filled; i++)
            an_update(&updates[i]);
        call->args[0] = pointer_to_many(call, updates, filled * sizeof(*updates), count.value > 4);
        call->args[1] = count.value | (chance(40) ? 0x80000000 : 0);
        if (call->args[1] != count.value)
            print(" preempted");
        print(" done");
        call->args[2] = chance(4) ? 0 : pointer(call, done, 4);
        call->args[3] = dom;
        return;
    }
    call->args[0] = a.value + (chance(16) ? any(PAGE_SIZE) : 0);
    print(what < 15 ? "va_mapping(%s" : "va_mapping_otherdomain(%s", a.name);
    if (*a.name == 'p' || *a.name == 't') {     /* its own frame, so that it stays */
        uint64_t flags = any(2) ? PTE_RDONLY : PTE_DATA;
        unsigned int i = a.name[1] - '0';

        print(" %s:%lx)", a.name, flags);
        call->args[0] = (uint64_t)(*a.name == 'p' ? pages[i] : tables[i]);
        call->args[1] = mfn_of((void *)call->args[0]) << 12 | flags;
    } else
        call->args[1] = entry_for(99);
    call->nr = what < 15 ? __HYPERVISOR_update_va_mapping : __HYPERVISOR_update_va_mapping_otherdomain;
    call->args[2] = any(4);
    if (chance(6)) {
        uint64_t *mask = argument(call, sizeof(*mask), ".");

        *mask = any(4);
        print(" for %lu", *mask);
        call->args[2] |= pointer(call, mask, sizeof(*mask)) & ~7UL;
    }
    print(" flush %lu", call->args[2] & 7);
    call->args[3] = d.value;
    if (what == 15)
        print(" %s", d.name);
    print(")");
}

static void an_operation(struct call *call, struct mmuext_op *op)
{
    static const unsigned int cmds[] = {
        MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L1_TABLE, MMUEXT_PIN_L2_TABLE, MMUEXT_PIN_L3_TABLE, MMUEXT_PIN_L4_TABLE, MMUEXT_UNPIN_TABLE, MMUEXT_UNPIN_TABLE, MMUEXT_UNPIN_TABLE,
        MMUEXT_NEW_BASEPTR, MMUEXT_TLB_FLUSH_LOCAL, MMUEXT_INVLPG_LOCAL, MMUEXT_TLB_FLUSH_MULTI, MMUEXT_INVLPG_MULTI, MMUEXT_TLB_FLUSH_ALL,
        MMUEXT_INVLPG_ALL, MMUEXT_FLUSH_CACHE, MMUEXT_SET_LDT, MMUEXT_SET_LDT, MMUEXT_NEW_USER_BASEPTR, MMUEXT_CLEAR_PAGE, MMUEXT_CLEAR_PAGE, MMUEXT_COPY_PAGE, MMUEXT_COPY_PAGE,
        MMUEXT_FLUSH_CACHE_GLOBAL, MMUEXT_MARK_SUPER, MMUEXT_UNMARK_SUPER, 14, 21, 0xffffffff,
    };
    struct pick f = any(4) ? own_frame() : frame(), a = address();

    op->cmd = one_of(cmds);
    print(" (%u", op->cmd);
    if (op->cmd <= MMUEXT_PIN_L4_TABLE && any(3)) {
        static const unsigned char meant[] = { 0, 2, 3, 4 };
        unsigned int i = op->cmd == 0 ? any(2) : meant[op->cmd];

        f = (struct pick){ frame_name(mfn_of(tables[i])), mfn_of(tables[i]) };
    }
    switch (op->cmd) {
    case MMUEXT_NEW_BASEPTR:                    /* with another one nobody would be here */
        while (*f.name == 't' || *f.name == 'x' || *f.name == 'p')
            f = frame();
        break;
    case MMUEXT_UNPIN_TABLE: case MMUEXT_CLEAR_PAGE: case MMUEXT_COPY_PAGE:
        f = any(8) ? own_frame() : (struct pick){ "mfn_2^40", 1UL << 40 };
    }
    switch (op->cmd) {
    case MMUEXT_INVLPG_LOCAL: case MMUEXT_INVLPG_MULTI: case MMUEXT_INVLPG_ALL: case MMUEXT_TLB_FLUSH_MULTI: {
        uint64_t *mask = argument(call, sizeof(*mask), ".");

        op->arg1.linear_addr = a.value;
        *mask = any(2) ? any(4) : number();
        print(" %s mask %s", a.name, *mask < 4 ? "few" : "many");
        set_xen_guest_handle(op->arg2.vcpumask, (void *)pointer(call, mask, sizeof(*mask)));
        break;
    }
    case MMUEXT_SET_LDT: {
        static const unsigned int counts[] = { 0, 1, 16, 512, 513, 1024, 8191, 8192, 8193, 0xffffffff };

        op->arg1.linear_addr = a.value;
        op->arg2.nr_ents = one_of(counts);
        print(" %s %u", a.name, op->arg2.nr_ents);
        break;
    }
    case MMUEXT_COPY_PAGE: {
        struct pick from = frame();

        print(" %s", from.name);
        op->arg2.src_mfn = from.value;
        if (!is_page(from.value))
            is_hushed = 1;
    }
    /* fallthrough */
    default:
        op->arg1.mfn = f.value;
        print(" %s", f.name);
    }
    print(")");
}

void an_extended(struct call *call)
{
    struct pick d = foreign(), count = count_of(4);
    unsigned int filled = count.value < 5 ? count.value : 4;
    uint32_t *done = argument(call, 4, ".");
    struct mmuext_op *ops = argument(call, filled * sizeof(*ops), "-");

    *done = 77;
    call->nr = __HYPERVISOR_mmuext_op;
    print("mmuext_op[%s] %s", count.name, d.name);
    for (unsigned int i = 0; i < filled; i++)
        an_operation(call, &ops[i]);
    call->args[0] = pointer_to_many(call, ops, filled * sizeof(*ops), count.value > 4);
    call->args[1] = count.value;
    print(" done");
    call->args[2] = chance(4) ? 0 : pointer(call, done, 4);
    call->args[3] = d.value;
}
