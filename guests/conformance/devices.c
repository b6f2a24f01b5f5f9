/* physdev_op and hvm_op as a PV guest without devices sees them. */
#define __XEN_TOOLS__
#include "conform.h"
#include <xen/hvm/hvm_op.h>
#include <xen/hvm/params.h>

#define hvm_op(cmd, arg) HYPERCALL2(__HYPERVISOR_hvm_op, cmd, arg)

static unsigned char eoi_page[PAGE_SIZE] __attribute__((aligned(4096)));

static const struct { int cmd; const char *name; } physdev[] = {
    { 4, "physdev_op.irq_unmask_notify" }, { 5, "physdev_op.irq_status_query" }, { 6, "physdev_op.set_iopl" }, { 7, "physdev_op.set_iobitmap" },
    { 8, "physdev_op.apic_read" }, { 9, "physdev_op.apic_write" }, { 10, "physdev_op.alloc_irq_vector" }, { 11, "physdev_op.free_irq_vector" },
    { 12, "physdev_op.eoi" }, { 13, "physdev_op.map_pirq" }, { 14, "physdev_op.unmap_pirq" }, { 15, "physdev_op.manage_pci_add" },
    { 16, "physdev_op.manage_pci_remove" }, { 17, "physdev_op.pirq_eoi_gmfn_v1" }, { 19, "physdev_op.restore_msi" },
    { 20, "physdev_op.manage_pci_add_ext" }, { 21, "physdev_op.setup_gsi" }, { 23, "physdev_op.get_free_pirq" },
    { 24, "physdev_op.pci_mmcfg_reserved" }, { 25, "physdev_op.pci_device_add" }, { 26, "physdev_op.pci_device_remove" },
    { 27, "physdev_op.restore_msi_ext" }, { 28, "physdev_op.pirq_eoi_gmfn_v2" }, { 29, "physdev_op.dbgp_op" }, { 30, "physdev_op.prepare_msix" },
    { 31, "physdev_op.release_msix" },
};

static void privilege(void)
{
    struct physdev_set_iopl iopl;
    struct physdev_set_iobitmap bitmap;
    static const unsigned int counts[] = { 0, 1, 0x100, 65535, 65536, 65537, 0x80000000, 0xffffffff };

    for (unsigned int level = 0; level < 6; level++) {
        iopl.iopl = level == 5 ? 0xffffffff : level;
        check("physdev_op.set_iopl", physdev_op(PHYSDEVOP_set_iopl, &iopl), "%u", iopl.iopl);
    }
    iopl.iopl = 0;
    physdev_op(PHYSDEVOP_set_iopl, &iopl);
    for (unsigned int i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        bitmap.nr_ports = counts[i];
        set_xen_guest_handle(bitmap.bitmap, page);
        check("physdev_op.set_iobitmap", physdev_op(PHYSDEVOP_set_iobitmap, &bitmap), "%u ports", counts[i]);
        for_wild(w) {
            set_xen_guest_handle(bitmap.bitmap, (uint8_t *)w->address);
            check("physdev_op.set_iobitmap", physdev_op(PHYSDEVOP_set_iobitmap, &bitmap), "%u ports, bitmap %s", counts[i], w->name);
        }
    }
    bitmap.nr_ports = 0;
    set_xen_guest_handle(bitmap.bitmap, (uint8_t *)0);
    physdev_op(PHYSDEVOP_set_iobitmap, &bitmap);
    check_wild("physdev_op.set_iopl", physdev_op(PHYSDEVOP_set_iopl, w->address), "pointer");
    check_wild("physdev_op.set_iobitmap", physdev_op(PHYSDEVOP_set_iobitmap, w->address), "pointer");
    for (unsigned int cmd = 0; cmd < 16; cmd++) {
        if (cmd == PHYSDEVOP_set_iobitmap || (is_dom0() && cmd >= 8))
            continue;
        *(uint32_t *)zeroed() = cmd;
        check("physdev_op_compat", raw(__HYPERVISOR_physdev_op_compat, (unsigned long)page, 0, 0, 0, 0), "command %u, zeros", cmd);
    }
    check_wild("physdev_op_compat", raw(__HYPERVISOR_physdev_op_compat, w->address, 0, 0, 0, 0), "pointer");
    for (int cmd = -1; cmd < 40; cmd++) {
        int known = 0;

        for (unsigned int i = 0; i < sizeof(physdev) / sizeof(*physdev); i++)
            known |= physdev[i].cmd == cmd;
        if (!known)
            check("physdev_op", physdev_op(cmd, zeroed()), "command %d, zeros", cmd);
    }
}

static void interrupts(void)
{
    static const unsigned int irqs[] = { 0, 1, 15, 16, 31, 32, 255, 256, 1000, 10000, 100000, 0x7fffffff, 0xffffffff };
    struct physdev_irq_status_query query;
    struct physdev_eoi eoi;
    struct physdev_get_free_pirq pirq;
    struct physdev_map_pirq map;
    struct physdev_unmap_pirq unmap;
    struct physdev_pirq_eoi_gmfn gmfn;

    for (unsigned int i = 0; i < sizeof(irqs) / sizeof(*irqs); i++) {
        query = (struct physdev_irq_status_query){ .irq = irqs[i], .flags = 77 };
        check_out("physdev_op.irq_status_query", physdev_op(PHYSDEVOP_irq_status_query, &query), ("irq %u", irqs[i]), ("flags=%u", query.flags));
        eoi.irq = irqs[i];
        check("physdev_op.eoi", physdev_op(PHYSDEVOP_eoi, &eoi), "irq %u", irqs[i]);
    }
    for (int type = -1; type < 6; type++) {
        for (unsigned int d = 0; d < 3; d++) {
            static const domid_t doms[] = { DOMID_SELF, 0, 1000 };

            map = (struct physdev_map_pirq){ .domid = doms[d], .type = type, .index = 5, .pirq = 5 };
            check("physdev_op.map_pirq", physdev_op(PHYSDEVOP_map_pirq, &map), "domain %x, type %d", doms[d], type);
            unmap = (struct physdev_unmap_pirq){ .domid = doms[d], .pirq = type };
            check("physdev_op.unmap_pirq", physdev_op(PHYSDEVOP_unmap_pirq, &unmap), "domain %x, pirq %d", doms[d], type);
        }
        for (unsigned int table = 0; table < 2; table++) {
            map = (struct physdev_map_pirq){ .domid = DOMID_SELF, .type = type, .index = 5, .pirq = 5, .table_base = table };
            check_out("physdev_op.map_pirq", physdev_op(PHYSDEVOP_map_pirq, &map), ("type %d, MSI-X table at %u", type, table),
                      ("type=%d pirq=%d", map.type, map.pirq));
        }
        pirq = (struct physdev_get_free_pirq){ .type = type, .pirq = 77 };
        check("physdev_op.get_free_pirq", physdev_op(PHYSDEVOP_get_free_pirq, &pirq), "type %d", type);
    }
    for (unsigned int i = 0; i < sizeof(physdev) / sizeof(*physdev); i++) {
        if (physdev[i].cmd == 6 || physdev[i].cmd == 7)
            continue;
        if (physdev[i].cmd != 23)
            check(physdev[i].name, physdev_op(physdev[i].cmd, zeroed()), "zeros");
        check_wild(physdev[i].name, physdev_op(physdev[i].cmd, w->address), "pointer");
    }
    static const struct { const char *name; unsigned long frame; } frames[] = {
        { "frame 2^40", 1UL << 40 }, { "frame -1", -1UL }, { "frame 0", 0 }, { "a frame of Xen", 0x100 },
    };
    for (unsigned int i = 0; i < sizeof(frames) / sizeof(*frames); i++) {
        gmfn.gmfn = frames[i].frame;
        check("physdev_op.pirq_eoi_gmfn_v1", physdev_op(PHYSDEVOP_pirq_eoi_gmfn_v1, &gmfn), "%s", frames[i].name);
        check("physdev_op.pirq_eoi_gmfn_v2", physdev_op(PHYSDEVOP_pirq_eoi_gmfn_v2, &gmfn), "%s", frames[i].name);
    }
    gmfn.gmfn = mfn_of(l4_table());
    check("physdev_op.pirq_eoi_gmfn_v2", physdev_op(PHYSDEVOP_pirq_eoi_gmfn_v2, &gmfn), "a page table");
    gmfn.gmfn = mfn_of(eoi_page);
    memset(eoi_page, FILL, PAGE_SIZE);
    check("physdev_op.pirq_eoi_gmfn_v2", physdev_op(PHYSDEVOP_pirq_eoi_gmfn_v2, &gmfn), "a page");
    check("physdev_op.pirq_eoi_gmfn_v2", physdev_op(PHYSDEVOP_pirq_eoi_gmfn_v2, &gmfn), "the page again");
    check("physdev_op.pirq_eoi_gmfn_v1", physdev_op(PHYSDEVOP_pirq_eoi_gmfn_v1, &gmfn), "the page again");
    fact("physdev_op.pirq_eoi_gmfn_v2", eoi_page[100] == FILL && eoi_page[PAGE_SIZE - 1] == FILL, "is the page as it was?");
    query = (struct physdev_irq_status_query){ .irq = 1 };
    check_out("physdev_op.irq_status_query", physdev_op(PHYSDEVOP_irq_status_query, &query), ("irq 1, with a page of pirq_eoi_gmfn"), ("flags=%u", query.flags));
    check("update_va_mapping", remap(eoi_page, PTE_RDONLY), "the page of pirq_eoi_gmfn, read-only");
}

/* What the initial domain tells of its PCI devices. */
static void devices(void)
{
    static const int gsis[] = { -1, 1, 9, 0x7fffffff };
    struct physdev_manage_pci device = { .bus = 0xff, .devfn = 0xff };
    struct physdev_pci_device in_segment = { .seg = 0xffff, .bus = 0xff, .devfn = 0xff };
    struct physdev_manage_pci_ext function;
    struct physdev_setup_gsi gsi;

    check("physdev_op.restore_msi", physdev_op(PHYSDEVOP_restore_msi, &device), "no device");
    check("physdev_op.restore_msi_ext", physdev_op(PHYSDEVOP_restore_msi_ext, &in_segment), "no device");
    for (unsigned int i = 0; i < 9; i++) {
        function = (struct physdev_manage_pci_ext){ .bus = 0xff, .devfn = 0xff, .is_extfn = i / 3, .is_virtfn = i % 3 };
        check("physdev_op.manage_pci_add_ext", physdev_op(PHYSDEVOP_manage_pci_add_ext, &function), "is_extfn %u, is_virtfn %u", i / 3, i % 3);
    }
    for (unsigned int i = 0; i < sizeof(gsis) / sizeof(*gsis); i++) {
        gsi = (struct physdev_setup_gsi){ .gsi = gsis[i] };
        check("physdev_op.setup_gsi", physdev_op(PHYSDEVOP_setup_gsi, &gsi), "GSI %d", gsis[i]);
    }
}

static const char *const hvm[] = {
    [0] = "hvm_op.set_param", [1] = "hvm_op.get_param", [5] = "hvm_op.flush_tlbs", [9] = "hvm_op.pagetable_dying", [10] = "hvm_op.get_time",
    [11] = "hvm_op.xentrace", [12] = "hvm_op.set_mem_access", [13] = "hvm_op.get_mem_access", [15] = "hvm_op.get_mem_type",
    [23] = "hvm_op.set_evtchn_upcall_vector", [24] = "hvm_op.guest_request_vm_event", [25] = "hvm_op.altp2m",
};

static void hvm_calls(void)
{
    static const struct { const char *name; domid_t dom; } doms[] = { { "DOMID_SELF", DOMID_SELF }, { "domain 0", 0 }, { "domain 1000", 1000 } };
    struct xen_hvm_get_time time = { .now = 0 };
    struct xen_hvm_xentrace trace;
    struct xen_hvm_altp2m_op altp2m;

    for (unsigned int d = 0; d < 3; d++)
        for (unsigned int index = 0; index < 9; index++) {
            static const unsigned int indices[] = { HVM_PARAM_CALLBACK_IRQ, HVM_PARAM_STORE_PFN, HVM_PARAM_CONSOLE_EVTCHN, 36, 37, 38, 39, 40, -1U };
            struct xen_hvm_param param = { .domid = doms[d].dom, .index = indices[index], .value = 5 };

            check_out("hvm_op.get_param", hvm_op(HVMOP_get_param, &param), ("%s, index %u", doms[d].name, indices[index]), ("value=%lx", param.value));
            check("hvm_op.set_param", hvm_op(HVMOP_set_param, &param), "%s, index %u", doms[d].name, indices[index]);
        }
    for (int cmd = -1; cmd < 30; cmd++) {
        const char *name = cmd >= 0 && cmd < 26 && hvm[cmd] ? hvm[cmd] : "hvm_op";

        if (cmd == HVMOP_get_time || cmd == HVMOP_xentrace)
            continue;
        for (unsigned int d = 0; d < 3; d++) {
            *(domid_t *)zeroed() = doms[d].dom;
            check(name, hvm_op(cmd, page), "command %d, zeros for %s", cmd, doms[d].name);
        }
        for_wild(w)
            check(name, hvm_op(cmd, w->address), "command %d, pointer %s", cmd, w->name);
    }
    check("hvm_op.get_time", hvm_op(HVMOP_get_time, &time), "a buffer");
    fact("hvm_op.get_time", time.now > 0, "a time?");
    check_wild("hvm_op.get_time", hvm_op(HVMOP_get_time, w->address), "pointer");
    check("hvm_op.get_time", hvm_op(HVMOP_get_time, READ_ONLY), "pointer to a read-only page");
    for (unsigned int extra = 0; extra < 60; extra += 7)
        for (unsigned int event = 0xffe; event < 0x1002; event += 2) {
            trace = (struct xen_hvm_xentrace){ .event = event, .extra_bytes = extra };
            check("hvm_op.xentrace", hvm_op(HVMOP_xentrace, &trace), "event %x, %u bytes", event, extra);
        }
    check_wild("hvm_op.xentrace", hvm_op(HVMOP_xentrace, w->address), "pointer");
    for (unsigned int cmd = 0; cmd < 18; cmd++) {
        altp2m = (struct xen_hvm_altp2m_op){ .version = HVMOP_ALTP2M_INTERFACE_VERSION, .cmd = cmd, .domain = DOMID_SELF };
        check("hvm_op.altp2m", hvm_op(HVMOP_altp2m, &altp2m), "command %u", cmd);
    }
}

void suite(void)
{
    privilege();
    if (is_dom0())
        return;
    interrupts();
    devices();
    hvm_calls();
}
