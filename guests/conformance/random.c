/*
 * Hypercalls in a random order with random arguments, of which some are right: what earlier ones did decides about later
 * ones. The same seed makes the same calls everywhere; a command line of digits is another seed. What would give pages
 * away is not among them, for which frames come back is the machine's affair.
 */
#include "conform.h"
#include "trap.h"
#include <xen/callback.h>
#include <xen/grant_table.h>

#define grant_table_op(cmd, arg, count) HYPERCALL3(__HYPERVISOR_grant_table_op, cmd, arg, count)
#define STEPS  1500
#define PAGES  6
#define FIRST  16

static unsigned char table_page[PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char pages[PAGES][PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char windows[PAGES][PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char tables[PAGES][PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char areas[2][PAGE_SIZE] __attribute__((aligned(4096)));
static grant_entry_v1_t *const v1 = (grant_entry_v1_t *)table_page;
static domid_t self;
static evtchn_port_t first_port;
static uint32_t seed = 2026;

/* 0 to below - 1. */
static unsigned int any(unsigned int below)
{
    seed ^= seed << 13;
    seed ^= seed >> 17;
    seed ^= seed << 5;
    return (seed >> 8) % below;
}

struct pick { const char *name; uint64_t value; };

static struct pick frame(void)
{
    unsigned int which = any(20);

    if (which < 8)
        return (struct pick){ "a page", mfn_of(pages[any(PAGES)]) };
    if (which < 14)
        return (struct pick){ "a table", mfn_of(tables[any(PAGES)]) };
    switch (which) {
    case 14: return (struct pick){ "shared_info", start_info->shared_info / PAGE_SIZE };
    case 15: return (struct pick){ "the L4", mfn_of(l4_table()) };
    case 16: return (struct pick){ "an L1", mfn_of(entry_of(windows, 1)) };
    case 17: return (struct pick){ "frame 2^40", 1UL << 40 };
    case 18: return (struct pick){ "frame -1", -1UL };
    default: return (struct pick){ "the grant table", (*entry_of(table_page, 1) & PTE_FRAME) / PAGE_SIZE };
    }
}

/* One whose content is ours alone to lose. */
static struct pick plain_frame(void)
{
    struct pick picked = frame();

    while (picked.value == start_info->shared_info / PAGE_SIZE || picked.value == mfn_of(l4_table()) || picked.value == mfn_of(entry_of(windows, 1))
           || picked.value == (*entry_of(table_page, 1) & PTE_FRAME) / PAGE_SIZE)
        picked = frame();
    return picked;
}

static struct pick address(void)
{
    unsigned int which = any(16);

    if (which < 10)
        return (struct pick){ "a window", (uint64_t)windows[any(PAGES)] };
    switch (which) {
    case 10: return (struct pick){ "a page", (uint64_t)areas[1] };
    case 11: return (struct pick){ "nothing", 0 };
    case 12: return (struct pick){ "in Xen", IN_XEN };
    case 13: return (struct pick){ "non-canonical", NON_CANONICAL };
    case 14: return (struct pick){ "unmapped", UNMAPPED };
    default: return (struct pick){ "no L1", 0x10000000000 };
    }
}

static struct pick domain(void)
{
    switch (any(10)) {
    case 0: return (struct pick){ "domain 1000", 1000 };
    case 1: return (struct pick){ "DOMID_IO", DOMID_IO };
    case 2: return (struct pick){ "DOMID_XEN", DOMID_XEN };
    case 3: case 4: case 5: return (struct pick){ "our number", self };
    default: return (struct pick){ "DOMID_SELF", DOMID_SELF };
    }
}

static uint64_t flags_of_entry(void)
{
    static const uint64_t flags[] = { 0, PTE_P, PTE_RDONLY, PTE_RDONLY, PTE_DATA, PTE_DATA, PTE_TABLE, PTE_DATA | PTE_NX, PTE_RDONLY | PTE_PS, PTE_DATA | PTE_G,
                                      PTE_DATA | 0xe00, PTE_RDONLY | PTE_PCD, PTE_RDONLY | 1UL << 52 };

    return flags[any(sizeof(flags) / sizeof(*flags))];
}

/* Of the ports that are not the console's or xenstore's. */
static evtchn_port_t port(void)
{
    static const evtchn_port_t odd[] = { 0, 63, 64, 1023, 4095, 4096, 0xffffffff };
    unsigned int which = any(16);

    return which < 2 ? odd[any(7)] : first_port + which - 2;
}

static void grants(void)
{
    struct pick a = address(), b = address(), d = domain(), f = plain_frame();
    unsigned int ref = FIRST + any(10), other = FIRST + any(10), flags = any(8), handle = any(24), size = any(3) ? any(300) : any(5000);
    static const unsigned int kinds[] = { 0, 1, 1, 1, 1, 2, 3, 5, 5, 9, 0x19, 0x101, 0x35 };

    switch (any(9)) {
    case 0: case 1: {
        v1[ref].flags = 0;
        v1[ref].domid = any(8) ? self : 1000;
        v1[ref].frame = f.value;
        v1[ref].flags = kinds[any(13)] | (strcmp(f.name, "a table") ? 0 : GTF_readonly);
        break;
    }
    case 2: case 3: {
        struct gnttab_map_grant_ref arg = { .host_addr = a.value, .flags = flags | (any(9) ? 0 : 0x10), .ref = any(12) ? ref : 900, .dom = d.value, .handle = 77, .status = 77 };

        if (arg.flags & GNTMAP_contains_pte)
            arg.host_addr = maddr_of(entry_of(windows[any(PAGES)], 1));
        check_out("grant_table_op.map_grant_ref", grant_table_op(GNTTABOP_map_grant_ref, &arg, 1), ("%s, flags %x, %u of %s", a.name, arg.flags, arg.ref, d.name),
                  ("status=%d handle=%u entry=%x", arg.status, arg.handle, v1[ref].flags));
        break;
    }
    case 4: {
        struct gnttab_unmap_grant_ref arg = { .host_addr = a.value, .dev_bus_addr = any(3) ? 0 : f.value * PAGE_SIZE, .handle = handle, .status = 77 };

        check_out("grant_table_op.unmap_grant_ref", grant_table_op(GNTTABOP_unmap_grant_ref, &arg, 1), ("%s, handle %u, bus address %s", a.name, handle, arg.dev_bus_addr ? f.name : "none"),
                  ("status=%d", arg.status));
        break;
    }
    case 5: {
        struct gnttab_unmap_and_replace arg = { .host_addr = a.value, .new_addr = b.value, .handle = handle, .status = 77 };

        check_out("grant_table_op.unmap_and_replace", grant_table_op(GNTTABOP_unmap_and_replace, &arg, 1), ("%s, handle %u, by %s", a.name, handle, b.name), ("status=%d", arg.status));
        break;
    }
    case 6: case 7: {
        struct gnttab_copy arg = { .source.domid = d.value, .source.offset = any(2) ? 0 : any(4200), .dest.domid = any(5) ? DOMID_SELF : self, .dest.offset = any(2) ? 0 : any(4200),
                                   .len = size, .flags = any(4), .status = 77 };

        arg.source.u.gmfn = arg.flags & GNTCOPY_source_gref ? ref : f.value;
        arg.dest.u.gmfn = arg.flags & GNTCOPY_dest_gref ? other : mfn_of(pages[any(PAGES)]);
        check_out("grant_table_op.copy", grant_table_op(GNTTABOP_copy, &arg, 1),
                  ("%u bytes, flags %u, from %u in %s of %s to %u", size, arg.flags, arg.source.offset, arg.flags & 1 ? "a grant" : f.name, d.name, arg.dest.offset),
                  ("status=%d entries=%x %x", arg.status, v1[ref].flags, v1[other].flags));
        memset(pages, 0, sizeof(pages));        /* so that no content gets about, which would differ between machines */
        break;
    }
    default: {
        struct gnttab_swap_grant_ref arg = { .ref_a = ref, .ref_b = other, .status = 77 };

        check_out("grant_table_op.swap_grant_ref", grant_table_op(GNTTABOP_swap_grant_ref, &arg, 1), ("%u and %u", ref, other), ("status=%d", arg.status));
    }
    }
}

static void event_channels(void)
{
    struct pick d = domain(), e = domain();
    evtchn_port_t p = port();
    unsigned int virq = any(26), vcpu = any(5) ? 0 : any(3);

    switch (any(10)) {
    case 0: {
        struct evtchn_alloc_unbound arg = { .dom = d.value, .remote_dom = e.value, .port = 77 };
        check_out("event_channel_op.alloc_unbound", event_channel_op(EVTCHNOP_alloc_unbound, &arg), ("%s for %s", d.name, e.name), ("port=%u", arg.port));
        break;
    }
    case 1: case 2: {
        struct evtchn_bind_interdomain arg = { .remote_dom = d.value, .remote_port = p, .local_port = 77 };
        check_out("event_channel_op.bind_interdomain", event_channel_op(EVTCHNOP_bind_interdomain, &arg), ("port %u of %s", p, d.name), ("port=%u", arg.local_port));
        break;
    }
    case 3: {
        struct evtchn_bind_virq arg = { .virq = virq, .vcpu = vcpu, .port = 77 };
        if (!is_dom0() || virq < 3)
            check_out("event_channel_op.bind_virq", event_channel_op(EVTCHNOP_bind_virq, &arg), ("VIRQ %u, vCPU %u", virq, vcpu), ("port=%u", arg.port));
        break;
    }
    case 4: {
        struct evtchn_bind_ipi arg = { .vcpu = vcpu, .port = 77 };
        check_out("event_channel_op.bind_ipi", event_channel_op(EVTCHNOP_bind_ipi, &arg), ("vCPU %u", vcpu), ("port=%u", arg.port));
        break;
    }
    case 5:
        check("event_channel_op.close", event_channel_op(EVTCHNOP_close, &(struct evtchn_close){ .port = p }), "port %u", p);
        break;
    case 6:
        check("event_channel_op.send", event_channel_op(EVTCHNOP_send, &(struct evtchn_send){ .port = p }), "port %u", p);
        break;
    case 7: {
        struct evtchn_status arg = { .dom = d.value, .port = p, .status = 77 };
        check_out("event_channel_op.status", event_channel_op(EVTCHNOP_status, &arg), ("port %u of %s", p, d.name),
                  ("status=%u vcpu=%u %s", arg.status, arg.status == 77 ? 0 : arg.vcpu,
                   arg.status == EVTCHNSTAT_interdomain ? arg.u.interdomain.dom == self ? "ours" : "another's" : ""));
        break;
    }
    case 8:
        check("event_channel_op.bind_vcpu", event_channel_op(EVTCHNOP_bind_vcpu, (&(struct evtchn_bind_vcpu){ .port = p, .vcpu = vcpu })), "port %u, vCPU %u", p, vcpu);
        break;
    default: {
        int is_pending_before = p < 4096 && (shared_info->evtchn_pending[p / 64] >> p % 64 & 1);
        check("event_channel_op.unmask", event_channel_op(EVTCHNOP_unmask, &(struct evtchn_unmask){ .port = p }), "port %u", p);
        if (p < 4096) {
            fact("event_channel_op.unmask", (shared_info->evtchn_pending[p / 64] >> p % 64 & 1) == (unsigned)is_pending_before, "port %u: is it as pending as before?", p);
            shared_info->evtchn_mask[p / 64] |= 1UL << p % 64;
        }
    }
    }
}

static const struct { unsigned int cmd; const char *name; } extended[] = {
    { MMUEXT_PIN_L1_TABLE, "mmuext_op.PIN_L1_TABLE" }, { MMUEXT_PIN_L1_TABLE, "mmuext_op.PIN_L1_TABLE" }, { MMUEXT_PIN_L2_TABLE, "mmuext_op.PIN_L2_TABLE" },
    { MMUEXT_PIN_L3_TABLE, "mmuext_op.PIN_L3_TABLE" }, { MMUEXT_PIN_L4_TABLE, "mmuext_op.PIN_L4_TABLE" }, { MMUEXT_UNPIN_TABLE, "mmuext_op.UNPIN_TABLE" },
    { MMUEXT_UNPIN_TABLE, "mmuext_op.UNPIN_TABLE" }, { MMUEXT_CLEAR_PAGE, "mmuext_op.CLEAR_PAGE" }, { MMUEXT_COPY_PAGE, "mmuext_op.COPY_PAGE" },
    { MMUEXT_INVLPG_LOCAL, "mmuext_op.INVLPG_LOCAL" }, { MMUEXT_SET_LDT, "mmuext_op.SET_LDT" }, { MMUEXT_NEW_USER_BASEPTR, "mmuext_op.NEW_USER_BASEPTR" },
};

static void page_tables(void)
{
    struct pick f = any(3) ? plain_frame() : frame(), a = address(), d = domain();
    unsigned int which = any(PAGES), cmd = any(9) < 7 ? 2 * any(2) : any(8), slot = any(4), op = any(sizeof(extended) / sizeof(*extended)), done = 77;
    uint64_t flags = flags_of_entry();

    switch (any(8)) {
    case 0: case 1: {
        mmu_update_t update = { .ptr = maddr_of(entry_of(windows[which], 1)) | cmd, .val = f.value << 12 | flags };

        if (cmd == MMU_MACHPHYS_UPDATE)         /* which would be the end of mfn_of */
            break;
        check_out("mmu_update", mmu_update(&update, 1, &done, any(4) ? DOMID_SELF : d.value), ("command %u, the L1 entry of window %u, %s, flags %lx, %s", cmd, which, f.name, flags, d.name),
                  ("done=%u", done));
        break;
    }
    case 2: {
        mmu_update_t update = { .ptr = maddr_of(tables[which]) + 8 * slot, .val = f.value << 12 | flags };

        check_out("mmu_update", mmu_update(&update, 1, &done, DOMID_SELF), ("entry %u of table %u, %s, flags %lx", slot, which, f.name, flags), ("done=%u", done));
        break;
    }
    case 3:
        check("update_va_mapping", update_va_mapping(a.value, f.value << 12 | flags, any(4)), "%s, %s, flags %lx", a.name, f.name, flags);
        break;
    case 4:
        check("update_va_mapping", remap(tables[which], any(3) ? PTE_RDONLY : PTE_DATA), "table %u mapped otherwise", which);
        break;
    default: {
        struct mmuext_op arg = { .cmd = extended[op].cmd };

        if (arg.cmd == MMUEXT_SET_LDT) {
            arg.arg1.linear_addr = a.value;
            arg.arg2.nr_ents = any(3) * 16;
            check_out(extended[op].name, mmuext_op(&arg, 1, &done, DOMID_SELF), ("%u entries, %s", arg.arg2.nr_ents, a.name), ("done=%u", done));
            break;
        }
        if (arg.cmd == MMUEXT_INVLPG_LOCAL)
            arg.arg1.linear_addr = a.value;
        else
            arg.arg1.mfn = f.value;
        if (arg.cmd == MMUEXT_CLEAR_PAGE || arg.cmd == MMUEXT_COPY_PAGE || arg.cmd == MMUEXT_UNPIN_TABLE) {
            f = plain_frame();
            arg.arg1.mfn = f.value;
        }
        arg.arg2.src_mfn = mfn_of(read_only_page);
        check_out(extended[op].name, mmuext_op(&arg, 1, &done, any(6) ? DOMID_SELF : d.value), ("%s, %s", f.name, d.name), ("done=%u", done));
    }
    }
}

static void others(void)
{
    struct pick a = address(), f = plain_frame(), d = domain();
    unsigned int cmd = any(20), vcpu = any(4) ? 0 : any(3), type = any(36);
    static uint64_t zeros[16];

    switch (any(7)) {
    case 0:
        if (cmd == 9 || cmd == 5)               /* the command line and the platform are the machine's */
            break;
        check("xen_version", xen_version(cmd, any(2) ? (uint64_t)zeroed() : a.value) < 0, "command %u, %s: is it refused", cmd, a.name);
        break;
    case 1:
        check("vm_assist", vm_assist(any(3), type), "type %u", type);
        vm_assist(VMASST_CMD_disable, VMASST_TYPE_runstate_update_flag);
        break;
    case 2: {
        struct vcpu_register_runstate_memory_area area = { .addr.p = any(2) ? a.value : (uint64_t)areas[0] };
        check("vcpu_op.register_runstate_memory_area", vcpu_op(VCPUOP_register_runstate_memory_area, vcpu, &area), "vCPU %u, %s", vcpu, area.addr.p == a.value ? a.name : "an area");
        area.addr.p = 0;
        vcpu_op(VCPUOP_register_runstate_memory_area, 0, &area);
        break;
    }
    case 3: {
        static const int cmds[] = { VCPUOP_is_up, VCPUOP_up, VCPUOP_stop_periodic_timer, VCPUOP_stop_singleshot_timer, VCPUOP_get_physid, 20 };
        int op = cmds[any(6)];
        check("vcpu_op", vcpu_op(op, vcpu, any(3) ? (uint64_t)zeroed() : a.value), "command %d, vCPU %u, %s", op, vcpu, a.name);
        break;
    }
    case 4: {
        struct callback_register callback = { .type = any(9), .flags = any(3), .address = a.value };
        if (callback.type == CALLBACKTYPE_nmi)
            break;
        check("callback_op.register", callback_op(CALLBACKOP_register, &callback), "type %u, flags %u, %s", callback.type, callback.flags, a.name);
        break;
    }
    case 5:
        check("update_descriptor", update_descriptor(f.value * PAGE_SIZE + 8 * any(3), zeros[any(4)]), "%s", f.name);
        break;
    default: {
        struct xen_memory_exchange none = { .nr_exchanged = any(3) };
        none.in.domid = none.out.domid = d.value;
        none.in.nr_extents = none.out.nr_extents = any(2);
        if (none.in.nr_extents == 0)
            check("memory_op.exchange", memory_op(XENMEM_exchange, &none), "nothing of %s, %lu are done", d.name, none.nr_exchanged);
        break;
    }
    }
}

void suite(void)
{
    xen_pfn_t frame;
    struct gnttab_setup_table setup = { .dom = DOMID_SELF, .nr_frames = 1 };
    struct evtchn_alloc_unbound first = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    const char *line = (const char *)start_info->cmd_line;

    for (uint32_t given = 0; *line >= '0' && *line <= '9'; line++)
        seed = given = given * 10 + *line - '0';
    traps_init();
    self = own_domid();
    set_xen_guest_handle(setup.frame_list, &frame);
    grant_table_op(GNTTABOP_setup_table, &setup, 1);
    update_va_mapping(table_page, frame * PAGE_SIZE | PTE_DATA, UVMF_INVLPG);
    event_channel_op(EVTCHNOP_alloc_unbound, &first);
    first_port = first.port;
    for (int i = 0; i < PAGES; i++) {
        remap(windows[i], 0);
        remap(tables[i], PTE_RDONLY);
    }
    for (int step = 0; step < STEPS; step++) {
        switch (any(8)) {
        case 0: case 1: case 2: grants(); break;
        case 3: case 4: event_channels(); break;
        case 5: case 6: page_tables(); break;
        default: others();
        }
    }
}
