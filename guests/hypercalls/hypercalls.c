/*
 * What the other hypercalls answer to a domU, asked rightly and wrongly: errnos, their order, and what is written back.
 * Where an answer is a name or a number of this very Xen or machine, only a claim about it is printed. The initial domain
 * may do most of what a domU may not, so there only the calls without privilege are asked.
 */
#include "event.h"
#include "numbered.h"
#include "paging.h"
#include "ports.h"
#include <xen/grant_table.h>
#include <xen/hvm/hvm_op.h>

#define IN_XEN   0xffff800000000000UL
#define UNMAPPED 8UL
#define FILL     0x55

#define grant_table_op(cmd, arg, count) HYPERCALL3(__HYPERVISOR_grant_table_op, cmd, arg, count)
#define multicall(list, count)          HYPERCALL2(__HYPERVISOR_multicall, list, count)
#define hvm_op(cmd, arg)                HYPERCALL2(__HYPERVISOR_hvm_op, cmd, arg)

static unsigned char page[2 * PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char info_page[PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char spare[PAGE_SIZE] __attribute__((aligned(4096)));         /* its frame comes and goes */

static void *zeroed(void)
{
    return memset(page, 0, sizeof(page));
}

/* How many bytes of the page a call wrote. */
static unsigned int written(void)
{
    unsigned int size = sizeof(page);

    while (size > 0 && page[size - 1] == FILL)
        size--;
    return size;
}

static void versions(void)
{
    struct xen_feature_info features = { .submap_idx = 0 };

    section("xen_version");
    print("version %lx\n", xen_version(XENVER_version, 0));
    for (int cmd = XENVER_extraversion; cmd <= XENVER_guest_handle; cmd++) {
        if (cmd == XENVER_get_features || cmd == XENVER_pagesize)
            continue;
        memset(page, FILL, sizeof(page));
        result(numbered("operation", cmd), xen_version(cmd, page));
        print("  wrote %u bytes\n", written());
    }
    result("extraversion to NULL", xen_version(XENVER_extraversion, 0));
    result("page size", xen_version(XENVER_pagesize, 0));
    result("page size with a pointer", xen_version(XENVER_pagesize, page));
    result("operation 11", xen_version(11, page));
    result("operation -1", xen_version(-1, page));
    features.submap_idx = 1;
    result("features 1", xen_version(XENVER_get_features, &features));
    features.submap_idx = 0;
    result("features 0", xen_version(XENVER_get_features, &features));
    if (is_dom0())
        return;
    print("  %x\n", features.submap);
    vm_assist(VMASST_CMD_enable, VMASST_TYPE_pae_extended_cr3);
    xen_version(XENVER_get_features, &features);
    print("  %x with pae_extended_cr3\n", features.submap);
    vm_assist(VMASST_CMD_disable, VMASST_TYPE_pae_extended_cr3);
    memset(page, FILL, sizeof(page));
    result("command line", xen_version(XENVER_commandline, page));
    print("  %s, %u bytes\n", (char *)page, written());
    result("build id", xen_version(XENVER_build_id, 0));
}

static long port_status(domid_t dom, evtchn_port_t port, struct evtchn_status *status)
{
    memset(status, FILL, sizeof(*status));
    status->dom = dom;
    status->port = port;
    return event_channel_op(EVTCHNOP_status, status);
}

static domid_t own_domid = DOMID_INVALID;       /* unknown at first; a new number each run on a real Xen */

static void show_status(evtchn_port_t port)
{
    struct evtchn_status status;
    long answer = port_status(DOMID_SELF, port, &status);

    result(numbered("status of port", port), answer);
    if (answer == 0)
        print("  status %u vcpu %u u %x %x\n", status.status, status.vcpu,
              status.u.interdomain.dom == own_domid ? DOMID_SELF : status.u.interdomain.dom, status.u.interdomain.port);
}

static evtchn_port_t first_invalid_port(void)
{
    struct evtchn_status status;
    evtchn_port_t port = 0;

    while (port_status(DOMID_SELF, port, &status) == 0)
        port++;
    return port;
}

static long bind_vcpu(evtchn_port_t port, unsigned int vcpu)
{
    struct evtchn_bind_vcpu arg = { .port = port, .vcpu = vcpu };

    return event_channel_op(EVTCHNOP_bind_vcpu, &arg);
}

static void ports(void)
{
    struct evtchn_bind_interdomain peer = { .remote_dom = DOMID_SELF };
    struct evtchn_bind_ipi ipi = { .vcpu = 1 };
    struct evtchn_bind_pirq pirq = { .flags = 0 };
    struct evtchn_bind_virq virq;
    struct evtchn_reset reset = { .dom = 0 };
    struct evtchn_status status;
    evtchn_port_t port = 0, last = 0;

    section("event channels: what a port is");
    for (evtchn_port_t i = 0; i <= 3; i++) {
        if (i == 1 || i == 2) {                 /* the far ends have the toolstack's numbers */
            port_status(DOMID_SELF, i, &status);
            claim(numbered("bound to domain 0: port", i), status.status == EVTCHNSTAT_interdomain && status.u.interdomain.dom == 0);
        } else
            show_status(i);
    }
    print("first that is no port: %u\n", first_invalid_port());
    result("alloc_unbound for ourselves", alloc_unbound(DOMID_SELF, DOMID_SELF, &port));
    port_status(DOMID_SELF, port, &status);
    own_domid = status.u.unbound.dom;
    show_status(port);
    peer.remote_port = port;
    result("bind_interdomain to it", event_channel_op(EVTCHNOP_bind_interdomain, &peer));
    show_status(port);
    show_status(peer.local_port);
    claim("the new end is pending", is_pending(peer.local_port));
    claim("the old end is not", !is_pending(port));
    result("bind_interdomain again", event_channel_op(EVTCHNOP_bind_interdomain, &peer));
    result("close", port_op(EVTCHNOP_close, port));
    result("close again", port_op(EVTCHNOP_close, port));
    show_status(peer.local_port);
    result("send on the unbound end", port_op(EVTCHNOP_send, peer.local_port));
    result("close it", port_op(EVTCHNOP_close, peer.local_port));
    claim("nothing is pending on a closed port", !is_pending(peer.local_port));

    section("event channels: refusals");
    result("alloc_unbound for dom 0", alloc_unbound(0, 0, &port));
    result("alloc_unbound for dom 999", alloc_unbound(999, 0, &port));
    result("alloc_unbound for DOMID_XEN", alloc_unbound(DOMID_XEN, 0, &port));
    result("alloc_unbound towards dom 999", alloc_unbound(DOMID_SELF, 999, &port));
    show_status(port);
    port_op(EVTCHNOP_close, port);
    for (unsigned int i = 0; i < 3; i++) {
        static const evtchn_port_t bad[] = { 0, 9, 100000 };

        result(numbered("send on port", bad[i]), port_op(EVTCHNOP_send, bad[i]));
        result(numbered("close port", bad[i]), port_op(EVTCHNOP_close, bad[i]));
        result(numbered("unmask port", bad[i]), port_op(EVTCHNOP_unmask, bad[i]));
        result(numbered("bind_vcpu of port", bad[i]), bind_vcpu(bad[i], 0));
    }
    for (unsigned int i = 0; i < 26; i++) {
        virq = (struct evtchn_bind_virq){ .virq = i, .vcpu = 1 };
        result(numbered("vCPU 1 binds VIRQ", i), event_channel_op(EVTCHNOP_bind_virq, &virq));
        virq.vcpu = 0;
        result(numbered("vCPU 0 binds VIRQ", i), event_channel_op(EVTCHNOP_bind_virq, &virq));
        if (i >= 24)
            continue;
        port = virq.port;
        result("  again", event_channel_op(EVTCHNOP_bind_virq, &virq));
        result("  bind_vcpu of it", bind_vcpu(port, 0));
        result("  close", port_op(EVTCHNOP_close, port));
    }
    result("IPI for vCPU 1", event_channel_op(EVTCHNOP_bind_ipi, &ipi));
    ipi.vcpu = 0;
    result("IPI for vCPU 0", event_channel_op(EVTCHNOP_bind_ipi, &ipi));
    show_status(ipi.port);
    result("bind_vcpu of it", bind_vcpu(ipi.port, 0));
    port_op(EVTCHNOP_close, ipi.port);
    result("bind_vcpu of the console's port", bind_vcpu(start_info->console.domU.evtchn, 0));
    result("bind_vcpu of it to vCPU 5", bind_vcpu(start_info->console.domU.evtchn, 5));
    result("physical interrupt 0", event_channel_op(EVTCHNOP_bind_pirq, &pirq));
    pirq.pirq = 100000;
    result("physical interrupt 100000", event_channel_op(EVTCHNOP_bind_pirq, &pirq));
    result("status of dom 0, port 1", port_status(0, 1, &status));
    result("status of dom 0, port 99999", port_status(0, 99999, &status));
    result("status of dom 999", port_status(999, 1, &status));
    result("reset of dom 0", event_channel_op(EVTCHNOP_reset, &reset));
    reset.dom = 999;
    result("reset of dom 999", event_channel_op(EVTCHNOP_reset, &reset));
    result("operation 14 on dom 999", event_channel_op(14, &reset));
    reset.dom = DOMID_SELF;
    result("operation 14 on ourselves", event_channel_op(14, &reset));
    result("operation 15", event_channel_op(15, &reset));
    result("operation -1", event_channel_op(-1, &reset));
    result("send, NULL", event_channel_op(EVTCHNOP_send, 0));
    result("send, pointer into Xen", event_channel_op(EVTCHNOP_send, IN_XEN));
    port = start_info->console.domU.evtchn;
    result("send, rubbish above the command's 32 bits", event_channel_op(EVTCHNOP_send | 1UL << 32, &port));
    result("event_channel_op_compat", HYPERCALL1(__HYPERVISOR_event_channel_op_compat, page));

    section("event channels: all of them");
    while (alloc_unbound(DOMID_SELF, 0, &last) == 0)
        ;
    print("last port: %u, first that is no port: %u\n", last, first_invalid_port());
    result("alloc_unbound", alloc_unbound(DOMID_SELF, 0, &port));
    peer.remote_port = 99999;
    result("bind_interdomain to no port", event_channel_op(EVTCHNOP_bind_interdomain, &peer));
    for (port = start_info->console.domU.evtchn + 1; port <= last; port++)
        port_op(EVTCHNOP_close, port);
}

static long watchdog(uint32_t id, uint32_t timeout)
{
    struct sched_watchdog arg = { .id = id, .timeout = timeout };

    return sched_op(SCHEDOP_watchdog, &arg);
}

static long poll(void *ports, unsigned int count)
{
    struct sched_poll arg = { .nr_ports = count, .timeout = 1 };

    set_xen_guest_handle(arg.ports, ports);
    return sched_op(SCHEDOP_poll, &arg);
}

static void scheduling(void)
{
    struct sched_remote_shutdown remote = { .domain_id = 999 };
    struct sched_pin_override pin = { .pcpu = 0 };
    evtchn_port_t list[2] = { 0, 0 };

    section("sched_op and set_timer_op");
    result("operation 8", sched_op(8, page));
    result("operation -1", sched_op(-1, page));
    result("yield", sched_op(SCHEDOP_yield, 0));
    result("shutdown, wild pointer", sched_op(SCHEDOP_shutdown, UNMAPPED));
    result("remote_shutdown of dom 999", sched_op(SCHEDOP_remote_shutdown, &remote));
    remote.domain_id = DOMID_SELF;
    result("remote_shutdown of DOMID_SELF", sched_op(SCHEDOP_remote_shutdown, &remote));
    if (!is_dom0()) {
        remote.domain_id = 0;
        result("remote_shutdown of dom 0", sched_op(SCHEDOP_remote_shutdown, &remote));
        result("pin_override", sched_op(SCHEDOP_pin_override, &pin));
        result("pin_override, wild pointer", sched_op(SCHEDOP_pin_override, UNMAPPED));
    }
    result("watchdog 3", watchdog(3, 1));
    result("stop watchdog 1, which is off", watchdog(1, 0));
    result("a watchdog of 1000 s", watchdog(0, 1000));
    result("another", watchdog(0, 1000));
    result("a third", watchdog(0, 1000));
    result("the first again", watchdog(1, 2000));
    result("stop the first", watchdog(1, 0));
    result("stop the second", watchdog(2, 0));
    result("stop it again", watchdog(2, 0));
    result("poll no port for a time that is over", poll(list, 0));
    result("poll port 0", poll(list, 1));
    list[0] = 99999;
    result("poll port 99999", poll(list, 1));
    result("poll a wild list", poll((void *)UNMAPPED, 1));
    result("poll a list in Xen", poll((void *)IN_XEN, 1));
    result("poll an empty list in Xen", poll((void *)IN_XEN, 0));
    result("poll 129 ports in Xen", poll((void *)IN_XEN, 129));
    result("sched_op_compat 9", HYPERCALL2(__HYPERVISOR_sched_op_compat, 9, 0));
    result("sched_op_compat yield", HYPERCALL2(__HYPERVISOR_sched_op_compat, 0, 0));
    result("set_timer_op 1", set_timer_op(1));
    result("set_timer_op -1", set_timer_op(-1L));
    result("set_timer_op 0", set_timer_op(0));
}

static long register_vcpu_info(uint64_t mfn, uint32_t offset)
{
    struct vcpu_register_vcpu_info arg = { .mfn = mfn, .offset = offset };

    return vcpu_op(VCPUOP_register_vcpu_info, 0, &arg);
}

static void vcpus(void)
{
    struct vcpu_register_runstate_memory_area runstate;
    struct vcpu_register_time_memory_area time;
    struct vcpu_set_periodic_timer periodic;
    struct vcpu_set_singleshot_timer single = { .timeout_abs_ns = 1, .flags = VCPU_SSHOTTMR_future };
    static vcpu_runstate_info_t state;
    static vcpu_time_info_t copy;
    vcpu_info_t *moved = (vcpu_info_t *)(info_page + 64);
    vcpu_time_info_t *shared = &shared_info->vcpu_info[0].time;

    section("vcpu_op");
    for (int cmd = 0; cmd < 16; cmd++)
        result(numbered("of a vCPU that is not, operation", cmd), vcpu_op(cmd, 77, UNMAPPED));
    result("operation 99", vcpu_op(99, 0, page));
    result("is_up", vcpu_op(VCPUOP_is_up, 0, 0));
    result("initialise vCPU 0", vcpu_op(VCPUOP_initialise, 0, zeroed()));
    result("initialise, wild pointer", vcpu_op(VCPUOP_initialise, 0, UNMAPPED));
    result("up", vcpu_op(VCPUOP_up, 0, 0));
    result("runstate", vcpu_op(VCPUOP_get_runstate_info, 0, &state));
    print("  state %d\n", state.state);
    result("runstate, wild pointer", vcpu_op(VCPUOP_get_runstate_info, 0, UNMAPPED));
    runstate.addr.p = UNMAPPED;
    result("runstate area, unmapped", vcpu_op(VCPUOP_register_runstate_memory_area, 0, &runstate));
    runstate.addr.p = IN_XEN;
    result("runstate area in Xen", vcpu_op(VCPUOP_register_runstate_memory_area, 0, &runstate));
    result("runstate area, wild pointer", vcpu_op(VCPUOP_register_runstate_memory_area, 0, UNMAPPED));
    runstate.addr.v = &state;
    memset(&state, FILL, sizeof(state));
    result("runstate area", vcpu_op(VCPUOP_register_runstate_memory_area, 0, &runstate));
    print("  state %d\n", state.state);
    runstate.addr.p = 0;
    result("runstate area nowhere", vcpu_op(VCPUOP_register_runstate_memory_area, 0, &runstate));
    for (int i = 0; i < 4; i++) {
        static const uint64_t periods[] = { 999999, 1UL << 62, 1UL << 63, 1UL << 57 };

        periodic.period_ns = periods[i];
        result(numbered("periodic timer", periods[i]), vcpu_op(VCPUOP_set_periodic_timer, 0, &periodic));
    }
    result("periodic timer, wild pointer", vcpu_op(VCPUOP_set_periodic_timer, 0, UNMAPPED));
    result("stop it", vcpu_op(VCPUOP_stop_periodic_timer, 0, UNMAPPED));
    result("one-shot timer in the past", vcpu_op(VCPUOP_set_singleshot_timer, 0, &single));
    result("one-shot timer, wild pointer", vcpu_op(VCPUOP_set_singleshot_timer, 0, UNMAPPED));
    result("stop it", vcpu_op(VCPUOP_stop_singleshot_timer, 0, 0));
    result("send_nmi with a pointer", vcpu_op(VCPUOP_send_nmi, 0, page));
    if (!is_dom0())
        result("get_physid", vcpu_op(VCPUOP_get_physid, 0, page));
    time.addr.p = UNMAPPED;
    result("time area, unmapped", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &time));
    time.addr.p = IN_XEN;
    result("time area in Xen", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &time));
    time.addr.v = &copy;
    result("time area", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &time));
    claim("  holds the same scale as vcpu_info", copy.tsc_to_system_mul == shared->tsc_to_system_mul && copy.tsc_shift == shared->tsc_shift);
    claim("  with an even version", copy.version % 2 == 0 && copy.version != 0);
    time.addr.p = 0;
    result("time area nowhere", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &time));

    section("register_vcpu_info");
    result("at the end of the page", register_vcpu_info(mfn_of(info_page), 4096 - 63));
    result("unaligned", register_vcpu_info(mfn_of(info_page), 3));
    result("offset 5000 of no frame", register_vcpu_info(-1UL, 5000));
    result("frame 0", register_vcpu_info(0, 0));
    result("no frame", register_vcpu_info(-1UL, 0));
    result("a page table", register_vcpu_info(mfn_of(l4_table()), 0));
    result("wild pointer", vcpu_op(VCPUOP_register_vcpu_info, 0, UNMAPPED));
    result("a page of ours", register_vcpu_info(mfn_of(info_page), 64));
    print("  pending %u mask %u selector %lx\n", moved->evtchn_upcall_pending, moved->evtchn_upcall_mask, moved->evtchn_pending_sel);
    result("again", register_vcpu_info(mfn_of(info_page), 64));
}

static void reservation(int cmd, const char *what, domid_t dom, uint64_t *list, unsigned long count, unsigned int order)
{
    struct xen_memory_reservation arg = { .nr_extents = count, .extent_order = order, .domid = dom };

    set_xen_guest_handle(arg.extent_start, list);
    result(what, memory_op(cmd, &arg));
}

static void memory(void)
{
    static domid_t dom;
    struct xen_memory_map map = { .nr_entries = 32 };
    struct xen_machphys_mapping machphys;
    struct xen_machphys_mfn_list mfns = { .max_extents = 1 };
    struct xen_memory_exchange exchange = { .in = { .nr_extents = 1, .domid = DOMID_SELF }, .out = { .nr_extents = 1, .domid = DOMID_SELF } };
    uint64_t *entry = (uint64_t *)page, frame;
    static uint64_t in_list[2], out_list[2];

    section("memory_op");
    claim("maximum_ram_page is a frame number", memory_op(XENMEM_maximum_ram_page, UNMAPPED) > 0);
    for (int cmd = XENMEM_current_reservation; cmd <= XENMEM_maximum_reservation; cmd++) {
        dom = DOMID_SELF;
        claim(numbered("at least nr_pages: operation", cmd), memory_op(cmd, &dom) >= (long)start_info->nr_pages);
        dom = 0;
        result("  of dom 0", memory_op(cmd, &dom));
        dom = 999;
        result("  of dom 999", memory_op(cmd, &dom));
        result("  wild pointer", memory_op(cmd, UNMAPPED));
    }
    dom = DOMID_SELF;
    result("maximum_gpfn", memory_op(XENMEM_maximum_gpfn, &dom));
    set_xen_guest_handle(map.buffer, (void *)page);
    result("memory_map", memory_op(XENMEM_memory_map, &map));
    claim("  one entry, from 0, all of our RAM", map.nr_entries == 1 && entry[0] == 0 && entry[1] == start_info->nr_pages * PAGE_SIZE && page[16] == 1);
    map.nr_entries = 0;
    result("memory_map, no room", memory_op(XENMEM_memory_map, &map));
    map.nr_entries = 1;
    set_xen_guest_handle(map.buffer, (void *)UNMAPPED);
    result("memory_map, wild buffer", memory_op(XENMEM_memory_map, &map));
    set_xen_guest_handle(map.buffer, (void *)IN_XEN);
    result("memory_map, buffer in Xen", memory_op(XENMEM_memory_map, &map));
    result("machphys_mapping", memory_op(XENMEM_machphys_mapping, &machphys));
    print("  %lx to %lx, last frame %lx\n", machphys.v_start, machphys.v_end, machphys.max_mfn);
    set_xen_guest_handle(mfns.extent_start, (xen_pfn_t *)page);
    result("machphys_mfn_list", memory_op(XENMEM_machphys_mfn_list, &mfns));
    print("  %u extents\n", mfns.nr_extents);
    mfns.max_extents = 0;
    result("machphys_mfn_list, no room", memory_op(XENMEM_machphys_mfn_list, &mfns));
    mfns.max_extents = 1;
    set_xen_guest_handle(mfns.extent_start, (xen_pfn_t *)UNMAPPED);
    result("machphys_mfn_list, wild list", memory_op(XENMEM_machphys_mfn_list, &mfns));
    for (int cmd = 0; cmd < 30; cmd++) {
        if (cmd == XENMEM_maximum_ram_page || cmd == XENMEM_machphys_mapping || cmd == XENMEM_machphys_mfn_list || cmd == 27)
            continue;
        result(numbered("zeros: operation", cmd), memory_op(cmd, zeroed()));
        result("  wild pointer", memory_op(cmd, UNMAPPED));
    }
    result("operation 63", memory_op(63, page));

    section("memory_op: frames");
    frame = mfn_of(spare);
    in_list[0] = in_list[1] = frame;
    reservation(XENMEM_decrease_reservation, "decrease, dom 999", 999, in_list, 1, 0);
    reservation(XENMEM_decrease_reservation, "decrease, dom 0", 0, in_list, 1, 0);
    reservation(XENMEM_decrease_reservation, "decrease, order 40", DOMID_SELF, in_list, 1, 40);
    reservation(XENMEM_decrease_reservation, "decrease, 2^60 extents", DOMID_SELF, in_list, 1UL << 60, 0);
    reservation(XENMEM_decrease_reservation, "decrease, wild list", DOMID_SELF, (uint64_t *)UNMAPPED, 1, 0);
    remap(spare, 0);
    reservation(XENMEM_decrease_reservation, "decrease, the same frame twice", DOMID_SELF, in_list, 2, 0);
    in_list[0] = -1UL;
    reservation(XENMEM_decrease_reservation, "decrease, no frame", DOMID_SELF, in_list, 1, 0);
    out_list[0] = pfn_of(spare);
    reservation(XENMEM_populate_physmap, "populate", DOMID_SELF, out_list, 1, 0);
    claim("  the machine-to-physical table has it", machine_to_physical[out_list[0]] == pfn_of(spare));
    in_list[0] = out_list[0];
    out_list[0] = pfn_of(spare);
    set_xen_guest_handle(exchange.in.extent_start, in_list);
    set_xen_guest_handle(exchange.out.extent_start, out_list);
    exchange.in.extent_order = 20;
    result("exchange of order 20", memory_op(XENMEM_exchange, &exchange));
    exchange.in.extent_order = 0;
    exchange.in.domid = 0;
    result("exchange, two domains", memory_op(XENMEM_exchange, &exchange));
    exchange.out.domid = 0;
    result("exchange for dom 0", memory_op(XENMEM_exchange, &exchange));
    exchange.in.domid = exchange.out.domid = 999;
    result("exchange for dom 999", memory_op(XENMEM_exchange, &exchange));
    exchange.in.domid = exchange.out.domid = DOMID_SELF;
    exchange.out.nr_extents = 2;
    result("exchange of one for two", memory_op(XENMEM_exchange, &exchange));
    exchange.out.nr_extents = 1;
    exchange.nr_exchanged = 2;
    result("exchange, more done than asked", memory_op(XENMEM_exchange, &exchange));
    exchange.nr_exchanged = 0;
    result("exchange", memory_op(XENMEM_exchange, &exchange));
    print("  exchanged %lu\n", exchange.nr_exchanged);
    claim("  the machine-to-physical table has it", machine_to_physical[out_list[0]] == pfn_of(spare));
    exchange.nr_exchanged = 0;
    result("exchange of what is gone", memory_op(XENMEM_exchange, &exchange));
    print("  exchanged %lu\n", exchange.nr_exchanged);
    in_list[0] = mfn_of(page);
    result("exchange of a mapped page", memory_op(XENMEM_exchange, &exchange));
    set_xen_guest_handle(exchange.in.extent_start, (xen_pfn_t *)UNMAPPED);
    result("exchange, wild list", memory_op(XENMEM_exchange, &exchange));
    result("the new frame is mapped", update_va_mapping(spare, out_list[0] * PAGE_SIZE | PTE_DATA, UVMF_INVLPG));
}

static void grants(void)
{
    static uint64_t frames[8];
    struct gnttab_query_size size = { .dom = DOMID_SELF };
    struct gnttab_setup_table setup = { .dom = DOMID_SELF };
    struct gnttab_get_version version = { .dom = DOMID_SELF };
    struct gnttab_set_version set = { .version = 0 };
    static const domid_t doms[] = { DOMID_SELF, 0, 999 };
    static const uint32_t counts[] = { 1, 0, 65, 4 };

    section("grant_table_op");
    for (int i = 0; i < 3; i++) {
        size = (struct gnttab_query_size){ .dom = doms[i], .status = 77 };
        result(numbered("query_size of dom", doms[i]), grant_table_op(GNTTABOP_query_size, &size, 1));
        print("  status %d", size.status);
        if (size.status == 0)
            print(", %u frames of %u", size.nr_frames, size.max_nr_frames);
        print("\n");
        setup = (struct gnttab_setup_table){ .dom = doms[i], .nr_frames = 1, .status = 77 };
        set_xen_guest_handle(setup.frame_list, frames);
        result(numbered("setup_table of dom", doms[i]), grant_table_op(GNTTABOP_setup_table, &setup, 1));
        print("  status %d\n", setup.status);
        version.dom = doms[i];
        result(numbered("get_version of dom", doms[i]), grant_table_op(GNTTABOP_get_version, &version, 1));
    }
    setup.dom = DOMID_SELF;
    for (int i = 0; i < 4; i++) {
        setup.nr_frames = counts[i];
        result(numbered("setup_table, frames", counts[i]), grant_table_op(GNTTABOP_setup_table, &setup, 1));
        print("  status %d\n", setup.status);
    }
    claim("  four frames were told, no more", frames[3] != 0 && frames[4] == 0);
    set_xen_guest_handle(setup.frame_list, (xen_pfn_t *)UNMAPPED);
    result("setup_table, wild list", grant_table_op(GNTTABOP_setup_table, &setup, 1));
    print("  status %d\n", setup.status);
    result("setup_table of two", grant_table_op(GNTTABOP_setup_table, &setup, 2));
    result("setup_table, wild pointer", grant_table_op(GNTTABOP_setup_table, UNMAPPED, 1));
    result("setup_table of two, wild pointer", grant_table_op(GNTTABOP_setup_table, UNMAPPED, 2));
    result("query_size of none", grant_table_op(GNTTABOP_query_size, &size, 0));
    result("query_size of -1", grant_table_op(GNTTABOP_query_size, &size, -1));
    set.version = 0;
    result("set_version 0", grant_table_op(GNTTABOP_set_version, &set, 1));
    set.version = 3;
    result("set_version 3", grant_table_op(GNTTABOP_set_version, &set, 1));
    set.version = 1;
    result("set_version 1", grant_table_op(GNTTABOP_set_version, &set, 1));
    result("dump_table", grant_table_op(GNTTABOP_dump_table, page, 1));
    result("operation 13", grant_table_op(13, page, 1));
    result("rubbish above the operation", grant_table_op(0x100000 | GNTTABOP_query_size, &size, 1));
}

static void devices(void)
{
    struct physdev_set_iopl iopl = { .iopl = 4 };
    struct physdev_set_iobitmap bitmap = { .nr_ports = 65537 };
    struct physdev_pirq_eoi_gmfn eoi = { .gmfn = mfn_of(info_page) };

    section("physdev_op");
    for (int cmd = 0; cmd < 36; cmd++) {
        if (cmd == PHYSDEVOP_set_iopl || cmd == PHYSDEVOP_set_iobitmap)
            continue;
        result(numbered("zeros: operation", cmd), physdev_op(cmd, zeroed()));
        result("  wild pointer", physdev_op(cmd, UNMAPPED));
    }
    result("pirq_eoi_gmfn_v2", physdev_op(PHYSDEVOP_pirq_eoi_gmfn_v2, &eoi));
    result("pirq_eoi_gmfn_v2 again", physdev_op(PHYSDEVOP_pirq_eoi_gmfn_v2, &eoi));
    result("pirq_eoi_gmfn_v1", physdev_op(PHYSDEVOP_pirq_eoi_gmfn_v1, &eoi));
    result("set_iopl 4", physdev_op(PHYSDEVOP_set_iopl, &iopl));
    iopl.iopl = 1;
    result("set_iopl 1", physdev_op(PHYSDEVOP_set_iopl, &iopl));
    result("set_iopl, wild pointer", physdev_op(PHYSDEVOP_set_iopl, UNMAPPED));
    set_xen_guest_handle(bitmap.bitmap, page);
    result("set_iobitmap of 65537 ports", physdev_op(PHYSDEVOP_set_iobitmap, &bitmap));
    bitmap.nr_ports = 65536;
    result("set_iobitmap of 65536 ports", physdev_op(PHYSDEVOP_set_iobitmap, &bitmap));
    bitmap.nr_ports = 0;
    set_xen_guest_handle(bitmap.bitmap, (uint8_t *)IN_XEN);
    result("set_iobitmap in Xen", physdev_op(PHYSDEVOP_set_iobitmap, &bitmap));
    set_xen_guest_handle(bitmap.bitmap, (uint8_t *)0);
    result("set_iobitmap off", physdev_op(PHYSDEVOP_set_iobitmap, &bitmap));

    section("hvm_op");
    for (int cmd = 0; cmd < 27; cmd++) {
        zeroed();
        *(domid_t *)page = DOMID_SELF;
        result(numbered("operation", cmd), hvm_op(cmd, page));
        result("  wild pointer", hvm_op(cmd, UNMAPPED));
    }
}

/* A call straight by its number, the page as its first argument, zeros behind it. */
static long raw(unsigned long nr)
{
    register unsigned long rax asm("rax") = nr, rdi asm("rdi") = (unsigned long)page;
    register unsigned long rsi asm("rsi") = 0, rdx asm("rdx") = 0, r10 asm("r10") = 0, r8 asm("r8") = 0;

    asm volatile ("syscall" : "+r" (rax), "+r" (rdi), "+r" (rsi), "+r" (rdx), "+r" (r10), "+r" (r8) :: "rcx", "r9", "r11", "memory");
    return rax;
}

static void the_rest(void)
{
    static const unsigned long numbers[] = {
        11, 19, 27, 37, 38, 39, 42, 43, 47, 48, 50, 55, 56, 63, 64, 1000, 0xffffffff,
    };
    static const struct { unsigned int nr, version; } toolstack[] = { { 7, 0x03000001 }, { 35, 0x15 }, { 36, 0x15 } };

    section("console_io");
    for (int cmd = 0; cmd < 3; cmd++) {
        result(numbered("operation", cmd), console_io(cmd, 3, page));
        result("  wild pointer", console_io(cmd, 3, UNMAPPED));
    }
    section("xenpmu_op");
    for (int cmd = 0; cmd < 8; cmd++)
        result(numbered("operation", cmd), HYPERCALL2(__HYPERVISOR_xenpmu_op, cmd, zeroed()));
    section("not for a domU, or not there");
    for (unsigned int i = 0; i < sizeof(toolstack) / sizeof(*toolstack); i++) {
        zeroed();
        result(numbered("of another version: hypercall", toolstack[i].nr), raw(toolstack[i].nr));
        ((uint32_t *)page)[1] = toolstack[i].version;
        *(uint32_t *)page = 1;
        result(numbered("hypercall", toolstack[i].nr), raw(toolstack[i].nr));
    }
    zeroed();
    for (unsigned int i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
        result(numbered("hypercall", numbers[i]), raw(numbers[i]));
}

static void assists(void)
{
    section("vm_assist");
    for (unsigned int type = 0; type < 66; type++) {
        long answer = vm_assist(VMASST_CMD_enable, type);

        if (answer != 0)
            continue;
        print("type %u can be enabled\n", type);
        vm_assist(VMASST_CMD_disable, type);
    }
    result("type 63", vm_assist(VMASST_CMD_enable, 63));
    result("type -1", vm_assist(VMASST_CMD_enable, -1));
    result("type 2^32", vm_assist(VMASST_CMD_enable, 1UL << 32));
    vm_assist(VMASST_CMD_disable, 0);
    result("command 2", vm_assist(2, 2));
    result("command 2, type 77", vm_assist(2, 77));
}

static void calls(void)
{
    static multicall_entry_t list[4];

    section("multicall");
    list[0] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version };
    list[1] = (multicall_entry_t){ .op = __HYPERVISOR_multicall, .args = { (unsigned long)list, 1 } };
    list[2] = (multicall_entry_t){ .op = 99 };
    list[3] = (multicall_entry_t){ .op = (1UL << 32) + __HYPERVISOR_xen_version };
    result("four calls", multicall(list, 4));
    print("  %lx %ld %ld %ld\n", list[0].result, (long)list[1].result, (long)list[2].result, (long)list[3].result);
    result("wild list", multicall(UNMAPPED, 1));
    result("wild list of none", multicall(UNMAPPED, 0));
    result("list of none in Xen", multicall(IN_XEN, 0));
    result("count with rubbish above its 32 bits", multicall(list, 1 | 1UL << 32));

    section("pointers");
    memset(page, FILL, sizeof(page));
    result("a struct across two pages", xen_version(XENVER_compile_info, page + PAGE_SIZE - 70));
    claim("  is whole", page[PAGE_SIZE - 71] == FILL && page[PAGE_SIZE - 70] != FILL && page[PAGE_SIZE + 73] == 0 && page[PAGE_SIZE + 74] == FILL);
    remap(page + PAGE_SIZE, PTE_RDONLY);
    memset(page, FILL, PAGE_SIZE);
    result("the second read-only", xen_version(XENVER_compile_info, page + PAGE_SIZE - 70));
    claim("  the first is written", page[PAGE_SIZE - 70] != FILL);
    remap(page + PAGE_SIZE, 0);
    result("the second not there", xen_version(XENVER_compile_info, page + PAGE_SIZE - 70));
    result("  read from it", event_channel_op(EVTCHNOP_send, page + PAGE_SIZE - 2));
    result("at the first non-canonical address", event_channel_op(EVTCHNOP_send, 1UL << 47));
    result("below it", event_channel_op(EVTCHNOP_send, (1UL << 47) - 2));
    result("at the last byte of Xen", event_channel_op(EVTCHNOP_send, 0xffff87ffffffffffUL));
    result("at the end of the address space", event_channel_op(EVTCHNOP_send, -2UL));
}

void guest_main(void)
{
    map_shared_info();
    versions();
    if (!is_dom0()) {
        ports();
        memory();
        grants();
        devices();
        the_rest();
    }
    scheduling();
    assists();
    vcpus();
    calls();
    print("hypercalls: done\n");
}
