/* sched_op, set_timer_op and vcpu_op of a domain with one vCPU. What several vCPUs and time itself do: guests/smp, guests/clock. */
#include "conform.h"
#include "time.h"
#include "trap.h"

static evtchn_port_t timer;

static long poll(void *ports, unsigned int count, uint64_t timeout)
{
    struct sched_poll arg = { .nr_ports = count, .timeout = timeout };

    set_xen_guest_handle(arg.ports, ports);
    return sched_op(SCHEDOP_poll, &arg);
}

static void scheduling(void)
{
    struct sched_remote_shutdown remote;
    struct sched_watchdog watchdog;
    struct sched_pin_override pin;
    static evtchn_port_t ports[130];
    static const char *const calls[] = {
        "sched_op.yield", "sched_op.block", "sched_op.shutdown", "sched_op.poll", "sched_op.remote_shutdown", "sched_op.shutdown_code",
        "sched_op.watchdog", "sched_op.pin_override",
    };

    check("sched_op.yield", sched_op(SCHEDOP_yield, 0), "no argument");
    check("sched_op.yield", sched_op(SCHEDOP_yield, IN_XEN), "pointer in Xen");
    for (int cmd = 2; cmd < 8; cmd++) {
        if (is_dom0() && cmd == SCHEDOP_pin_override)
            continue;
        check_wild(calls[cmd], sched_op(cmd, w->address), "pointer");
    }
    check("sched_op", sched_op(8, page), "command 8");
    check("sched_op", sched_op(-1, page), "command -1");
    check("sched_op", sched_op(1UL << 32, page), "command 0 with rubbish above its 32 bits");
    for (unsigned int reason = 0; reason < 4; reason++) {
        static const domid_t doms[] = { DOMID_SELF, 1000, DOMID_XEN, 0 };

        if (is_dom0() && reason == 3)
            continue;
        remote = (struct sched_remote_shutdown){ .domain_id = doms[reason], .reason = reason };
        check("sched_op.remote_shutdown", sched_op(SCHEDOP_remote_shutdown, &remote), "domain %x, reason %u", doms[reason], reason);
    }
    for (int cpu = -1; cpu < 2 && !is_dom0(); cpu++) {
        pin.pcpu = cpu;
        check("sched_op.pin_override", sched_op(SCHEDOP_pin_override, &pin), "CPU %d", cpu);
    }
    static const struct { uint32_t id, timeout; } dogs[] = {
        { 1, 0 }, { 3, 0 }, { 3, 1 }, { 0xffffffff, 1 }, { 0, 1000 }, { 1, 0 }, { 1, 0 }, { 0, 1000 }, { 0, 1000 }, { 0, 1000 }, { 1, 2000 }, { 2, 2000 },
        { 2, 0 }, { 2, 0 }, { 0, 500 }, { 1, 0 }, { 2, 0 }, { 2, 5 }, { 0, 0x7fffffff }, { 1, 0 },
    };
    for (unsigned int i = 0; i < sizeof(dogs) / sizeof(*dogs); i++) {
        watchdog = (struct sched_watchdog){ .id = dogs[i].id, .timeout = dogs[i].timeout };
        check("sched_op.watchdog", sched_op(SCHEDOP_watchdog, &watchdog), "step %u: id %u, %u s", i, dogs[i].id, dogs[i].timeout);
    }
    check("sched_op.poll", poll(ports, 0, 1), "no port, until 1 ns");
    for (unsigned int port = 0; port < 5; port++) {
        static const evtchn_port_t bad[] = { 0, 9, 4095, 4096, 0xffffffff };

        ports[0] = bad[port];
        check("sched_op.poll", poll(ports, 1, 1), "port %u, until 1 ns", bad[port]);
    }
    for (unsigned int count = 1; count <= 2; count++)
        check_wild("sched_op.poll", poll((void *)w->address, count, 1), count == 1 ? "one port, list" : "two ports, list");
    check_wild("sched_op.poll", poll((void *)w->address, 0, 1), "no port, list");
    for (unsigned int i = 0; i < 130; i++)
        ports[i] = start_info->store_evtchn;
    if (!is_dom0()) {
        check("sched_op.poll", poll(ports, 128, 1), "128 ports, until 1 ns");
        check("sched_op.poll", poll(ports, 1, 1), "one port, until 1 ns");
    }
    check("sched_op.poll", poll(ports, 129, 1), "129 ports");
    check("sched_op.poll", poll(ports, 0xffffffff, 1), "2^32 - 1 ports");
    for (unsigned int cmd = 3; cmd < 6; cmd++)
        check("sched_op_compat", raw(__HYPERVISOR_sched_op_compat, cmd, 0, 0, 0, 0), "command %u", cmd);
    check("sched_op_compat", raw(__HYPERVISOR_sched_op_compat, 0, 0, 0, 0, 0), "yield");
    for (int compat = 0; compat < 2; compat++) {
        shared_info->vcpu_info[0].evtchn_upcall_mask = 1;   /* so that the event cannot come before we block */
        set_timer_op(system_time() + MILLISECOND);
        if (compat)
            check("sched_op_compat", raw(__HYPERVISOR_sched_op_compat, 1, 0, 0, 0, 0), "block, a timer is set");
        else
            check("sched_op.block", sched_op(SCHEDOP_block, 0), "a timer is set");
        fact("sched_op.block", events[timer].count > 0 && !shared_info->vcpu_info[0].evtchn_upcall_mask, "did the event come, and are events enabled?");
        events[timer].count = 0;
    }
}

static void deadlines(void)
{
    static const uint64_t times[] = { 1, 0x7fffffffffffffff, 0x8000000000000000, -1UL, 1UL << 62, 1UL << 50, 0 };

    for (unsigned int i = 0; i < sizeof(times) / sizeof(*times); i++)
        check("set_timer_op", set_timer_op(times[i]), "deadline %lx", times[i]);
}

static void info_page(void)
{
    static unsigned char place[PAGE_SIZE] __attribute__((aligned(4096)));
    struct vcpu_register_vcpu_info arg;
    static const unsigned int offsets[] = { 4096 - 63, 4095, 4096, 0xffffffff, 4, 1, 63 };

    for (unsigned int i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
        if (offsets[i] == 4 || offsets[i] == 1 || offsets[i] == 63)
            continue;
        arg = (struct vcpu_register_vcpu_info){ .mfn = mfn_of(place), .offset = offsets[i] };
        check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, 0, &arg), "offset %u", offsets[i]);
    }
    static const struct { const char *name; uint64_t mfn; } frames[] = { { "frame 2^40", 1UL << 40 }, { "frame -1", -1UL } };
    for (unsigned int i = 0; i < 2; i++) {
        arg = (struct vcpu_register_vcpu_info){ .mfn = frames[i].mfn, .offset = 64 };
        check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, 0, &arg), "%s", frames[i].name);
    }
    arg = (struct vcpu_register_vcpu_info){ .mfn = mfn_of(l4_table()), .offset = 64 };
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, 0, &arg), "a page table");
    arg = (struct vcpu_register_vcpu_info){ .mfn = mfn_of(place), .offset = 64 };
    arg.rsvd = 7;
    shared_info->vcpu_info[0].evtchn_upcall_mask = 1;   /* all is pending then */
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, 0, &arg), "a page");
    fact("vcpu_op.register_vcpu_info", ((vcpu_info_t *)(place + 64))->time.tsc_to_system_mul == shared_info->vcpu_info[0].time.tsc_to_system_mul, "is the time there?");
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, 0, &arg), "a page, again");
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, 1, &arg), "vCPU 1");
}

static const char *const calls[] = {
    "vcpu_op.initialise", "vcpu_op.up", "vcpu_op.down", "vcpu_op.is_up", "vcpu_op.get_runstate_info", "vcpu_op.register_runstate_memory_area",
    "vcpu_op.set_periodic_timer", "vcpu_op.stop_periodic_timer", "vcpu_op.set_singleshot_timer", "vcpu_op.stop_singleshot_timer",
    "vcpu_op.register_vcpu_info", "vcpu_op.send_nmi", "vcpu_op.get_physid", "vcpu_op.register_vcpu_time_memory_area", "vcpu_op.14", "vcpu_op.15", "vcpu_op.16",
};

static void vcpus(void)
{
    static const unsigned int absent[] = { 1, 31, 32, 8191, 8192, 0x80000000, 0xffffffff };
    struct vcpu_register_runstate_memory_area runstate;
    struct vcpu_register_time_memory_area time;
    struct vcpu_set_periodic_timer periodic;
    struct vcpu_set_singleshot_timer single;
    static const uint64_t periods[] = { 0, 1, 999999, 1000000, 10000000, 1UL << 57, 1UL << 62, (1UL << 63) - 1, 1UL << 63, -1UL };
    static vcpu_runstate_info_t state;
    static vcpu_time_info_t copy;

    for (unsigned int i = 0; i < sizeof(absent) / sizeof(*absent); i++)
        for (int cmd = 0; cmd < 17; cmd++)
            check(calls[cmd], vcpu_op(cmd, absent[i], zeroed()), "vCPU %u", absent[i]);
    for (int cmd = 0; cmd < 17; cmd++) {
        if (cmd == VCPUOP_down)
            continue;
        for_wild(w) {
            if (cmd == VCPUOP_register_runstate_memory_area || cmd == VCPUOP_register_vcpu_time_memory_area || cmd == VCPUOP_register_vcpu_info
                || cmd == VCPUOP_set_periodic_timer || cmd == VCPUOP_set_singleshot_timer || cmd == VCPUOP_initialise || cmd == VCPUOP_get_runstate_info
                || cmd == VCPUOP_get_physid || cmd > 13)
                check(calls[cmd], vcpu_op(cmd, 0, w->address), "pointer %s", w->name);
        }
    }
    check("vcpu_op", vcpu_op(-1, 0, page), "command -1");
    check("vcpu_op", vcpu_op(99, 0, page), "command 99");
    check("vcpu_op.is_up", vcpu_op(VCPUOP_is_up, 0, 0), "vCPU 0");
    check("vcpu_op.is_up", vcpu_op(VCPUOP_is_up, 1UL << 32, 0), "vCPU 0 with rubbish above its 32 bits");
    check("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, 0, zeroed()), "vCPU 0");
    check("vcpu_op.up", vcpu_op(VCPUOP_up, 0, 0), "vCPU 0");
    check_out("vcpu_op.get_runstate_info", vcpu_op(VCPUOP_get_runstate_info, 0, &state), ("vCPU 0"), ("state=%d", state.state));
    fact("vcpu_op.get_runstate_info", state.time[RUNSTATE_running] > 0 && state.state_entry_time > 0, "times?");
    check("vcpu_op.get_runstate_info", vcpu_op(VCPUOP_get_runstate_info, 0, READ_ONLY), "pointer to a read-only page");
    check("vcpu_op.stop_periodic_timer", vcpu_op(VCPUOP_stop_periodic_timer, 0, 0), "once");
    check("vcpu_op.stop_periodic_timer", vcpu_op(VCPUOP_stop_periodic_timer, 0, UNMAPPED), "twice, pointer unmapped");
    for (unsigned int i = 0; i < sizeof(periods) / sizeof(*periods); i++) {
        periodic.period_ns = periods[i];
        check("vcpu_op.set_periodic_timer", vcpu_op(VCPUOP_set_periodic_timer, 0, &periodic), "period %lx", periods[i]);
    }
    vcpu_op(VCPUOP_stop_periodic_timer, 0, 0);
    for (unsigned int flags = 0; flags < 4; flags++)
        for (unsigned int i = 0; i < 4; i++) {
            static const uint64_t times[] = { 0, 1, 1UL << 62, -1UL };

            single = (struct vcpu_set_singleshot_timer){ .timeout_abs_ns = times[i], .flags = flags };
            check("vcpu_op.set_singleshot_timer", vcpu_op(VCPUOP_set_singleshot_timer, 0, &single), "until %lx, flags %u", times[i], flags);
        }
    check("vcpu_op.stop_singleshot_timer", vcpu_op(VCPUOP_stop_singleshot_timer, 0, 0), "once");
    check("vcpu_op.stop_singleshot_timer", vcpu_op(VCPUOP_stop_singleshot_timer, 0, UNMAPPED), "twice, pointer unmapped");
    for_wild(w) {
        runstate.addr.p = w->address;
        check("vcpu_op.register_runstate_memory_area", vcpu_op(VCPUOP_register_runstate_memory_area, 0, &runstate), "area %s", w->name);
        time.addr.p = w->address;
        check("vcpu_op.register_vcpu_time_memory_area", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &time), "area %s", w->name);
    }
    runstate.addr.v = &state;
    time.addr.v = &copy;
    memset(&state, FILL, sizeof(state));
    memset(&copy, FILL, sizeof(copy));
    check_out("vcpu_op.register_runstate_memory_area", vcpu_op(VCPUOP_register_runstate_memory_area, 0, &runstate), ("an area"), ("state=%d", state.state));
    check("vcpu_op.register_vcpu_time_memory_area", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &time), "an area");
    fact("vcpu_op.register_vcpu_time_memory_area", copy.tsc_to_system_mul == shared_info->vcpu_info[0].time.tsc_to_system_mul, "is it filled?");
    runstate.addr.p = time.addr.p = 0;
    vcpu_op(VCPUOP_register_runstate_memory_area, 0, &runstate);
    vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &time);
}

void suite(void)
{
    traps_init();
    events_init();
    shared_info->vcpu_info[0].evtchn_upcall_pending = 0;        /* of what came before all ports were masked */
    shared_info->vcpu_info[0].evtchn_pending_sel = 0;
    bind_virq(VIRQ_TIMER, &timer);
    unmask_port(timer);
    vcpu_op(VCPUOP_stop_periodic_timer, 0, 0);
    scheduling();
    mask_port(timer);
    deadlines();
    vcpus();
    info_page();
}
