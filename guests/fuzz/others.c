/* vcpu_op, small hypercalls, and any number with any arguments. */
#include "fuzz.h"
#include <xen/hvm/params.h>
#include <xen/hvm/hvm_op.h>

static unsigned char area[2 * PAGE_SIZE] __attribute__((aligned(4096)));
static struct vcpu_guest_context context;

static void forget_areas(const struct call *call, long answer)
{
    struct vcpu_register_runstate_memory_area none = { .addr.p = 0 };
    const uint32_t *runstate = (const uint32_t *)area;

    if (answer == 0 && call->args[0] == VCPUOP_register_runstate_memory_area)
        print(" state %u", *runstate);
    vcpu_op(VCPUOP_register_runstate_memory_area, 0, &none);
    vcpu_op(VCPUOP_register_runstate_memory_area, 1, &none);
    vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &none);
    vcpu_op(VCPUOP_register_vcpu_time_memory_area, 1, &none);
    memset(area, 0x11, sizeof(area));
}

static void initialise(struct call *call)
{
    static const struct pick odd[] = { { "0", 0 }, { "1", 1 }, { "non-canonical", NON_CANONICAL }, { "in_xen", IN_XEN }, { "-1", -1UL }, { "user", 0x400000 } };
    unsigned int what = any(14);
    struct pick f = frame(), n = one_of(odd);

    memset(&context, 0, sizeof(context));
    context.flags = VGCF_in_kernel;
    context.user_regs.rip = context.user_regs.rsp = (uint64_t)area;
    context.user_regs.cs = KERNEL_CS;
    context.user_regs.ss = context.kernel_ss = KERNEL_SS;
    context.kernel_sp = (uint64_t)area;
    context.ctrlreg[3] = mfn_of(l4_table()) << 12;
    print("initialise(%u: %u %s %s", 1, what, f.name, n.name);
    switch (what) {
    case 0: context.ctrlreg[3] = f.value << 12; break;
    case 1: context.ctrlreg[1] = f.value << 12; break;
    case 2: context.gdt_frames[0] = f.value; context.gdt_ents = 1 + any(512); break;
    case 3: context.ldt_base = n.value; context.ldt_ents = any(2) * 8; break;
    case 4: context.flags = n.value; break;
    case 5: context.debugreg[7] = n.value; break;
    case 6: context.debugreg[any(4)] = n.value; break;
    case 7: context.user_regs.rflags = n.value; break;
    case 8: context.user_regs.cs = n.value; break;
    case 9: context.kernel_ss = n.value; break;
    case 10: context.vm_assist = n.value; break;
    case 11: context.ctrlreg[0] = n.value; break;
    case 12: context.ctrlreg[4] = n.value; break;
    default: context.gs_base_kernel = n.value;
    }
    call->args[0] = VCPUOP_initialise;
    call->args[1] = any(8) ? 1 : vcpu_number();
    call->args[2] = any(10) ? (uint64_t)&context : address().value;
    print(" vcpu %lu)", call->args[1]);
}

void a_vcpu(struct call *call)
{
    unsigned int vcpu = vcpu_number(), what = any(18);
    uint64_t *arg = argument(call, 64, "-");
    struct pick a = any(2) ? (struct pick){ "area", (uint64_t)area } : address();

    call->nr = __HYPERVISOR_vcpu_op;
    call->args[1] = vcpu;
    if (*a.name != 'a' && *a.name != 'N' && *a.name != 'i' && *a.name != 'n' && *a.name != 'm')
        a = (struct pick){ "area's end", (uint64_t)area + PAGE_SIZE - 8 * any(6) };
    switch (what) {
    case 0: case 1:
        initialise(call);
        return;
    case 2:
        if (vcpu == 1)
            call->args[1] = 2;
        call->args[0] = VCPUOP_up;
        break;
    case 3:
        if (vcpu == 0)
            call->args[1] = 1;
        call->args[0] = VCPUOP_down;
        break;
    case 4: call->args[0] = VCPUOP_is_up; break;
    case 5: call->args[0] = VCPUOP_get_runstate_info; break;
    case 6:
        call->args[0] = any(2) ? VCPUOP_register_runstate_memory_area : VCPUOP_register_vcpu_time_memory_area;
        arg[0] = a.value;
        call->after = forget_areas;
        break;
    case 7:
        call->args[0] = VCPUOP_set_periodic_timer;
        arg[0] = any(2) ? 1UL << 50 : one_of(((const uint64_t[]){ 0, 1, 999, 999999, 1UL << 63, -1UL }));
        a.name = arg[0] == 1UL << 50 ? "long" : arg[0] < 1000000 ? "short" : "too long";
        break;
    case 8: call->args[0] = VCPUOP_stop_periodic_timer; break;
    case 9:
        call->args[0] = VCPUOP_set_singleshot_timer;
        arg[0] = one_of(((const uint64_t[]){ 1UL << 60, 1UL << 60, 1UL << 62, 0, 1, 1UL << 63, -1UL }));
        arg[1] = any(5);
        a.name = arg[0] <= 1 ? "past" : arg[0] < 1UL << 63 ? "future" : "negative";
        break;
    case 10: call->args[0] = VCPUOP_stop_singleshot_timer; break;
    case 11: call->args[0] = VCPUOP_get_physid; break;
    case 12: {
        struct pick f = frame();

        call->args[0] = VCPUOP_register_vcpu_info;
        call->args[1] = vcpu == 0 ? 1 : vcpu;
        arg[0] = f.value;
        arg[1] = one_of(((const uint64_t[]){ 0, 64, 4, 4032, 4033, 4096, 0xffffffff, 1UL << 32 }));
        a = f;
        if (is_page(f.value) || *f.name == 't' || *f.name == 'x' || *f.name == 'g') /* Xen writes the time to it from then on */
            arg[0] = mfn_of(area + PAGE_SIZE);
        break;
    }
    case 13: call->args[0] = VCPUOP_send_nmi; call->args[1] = vcpu < 2 ? 2 : vcpu; break;
    default: call->args[0] = 14 + any(20);
    }
    print("vcpu_op(%lu, vcpu %u, %s %lx)", call->args[0], (unsigned int)call->args[1], a.name, arg[1] & 0xffff);
    call->args[2] = chance(8) ? 0 : pointer(call, arg, what == 12 || what == 9 ? 16 : 8);
    if (what == 5)
        call->args[2] = (uint64_t)arg;
    if (what == 14)
        call->args[2] = number();
}

void another(struct call *call)
{
    unsigned char *arg = argument(call, 64, ".");
    static const struct pick far[] = { { "never", 0 }, { "far", 1UL << 60 }, { "farther", 1UL << 62 } };

    switch (any(14)) {
    case 0: case 1: {
        unsigned int cmd = any(14);
        unsigned char *big = argument(call, 1100, "-");

        if (cmd == XENVER_commandline || cmd == XENVER_platform_parameters || cmd == XENVER_build_id)
            cmd = XENVER_get_features;
        *(uint32_t *)big = any(4);
        print("xen_version(%u, %u)", cmd, *(uint32_t *)big);
        call->nr = __HYPERVISOR_xen_version;
        call->args[0] = cmd;
        call->args[1] = pointer(call, big, 1100);
        if (cmd == XENVER_get_features)
            call->ranges[1].words = ".";
        break;
    }
    case 2: case 3:
        call->nr = __HYPERVISOR_vm_assist;
        call->args[0] = any(8) ? any(2) : number();
        call->args[1] = any(8) ? any(34) : number();
        if (call->args[1] > 63 && call->args[1] != (uint32_t)-1)
            call->args[1] = 1UL << 32;
        print("vm_assist(%s, %lx)", call->args[0] == 0 ? "enable" : call->args[0] == 1 ? "disable" : "other", call->args[1]);
        break;
    case 4:
        call->nr = __HYPERVISOR_sched_op;
        call->args[0] = SCHEDOP_yield;
        print("yield");
        break;
    case 5: case 6: {
        struct sched_poll *poll = (struct sched_poll *)arg;
        evtchn_port_t *ports = argument(call, 16, ".");
        struct pick count = any(8) ? (struct pick){ "some", any(4) } : (struct pick){ "129", any(2) ? 129 : 0xffffffff };

        poll->nr_ports = count.value;
        poll->timeout = 1;
        for (int i = 0; i < 4; i++)
            ports[i] = port();
        print("poll(%s %u: %u %u %u", count.name, poll->nr_ports, ports[0], ports[1], ports[2]);
        set_xen_guest_handle(poll->ports, (evtchn_port_t *)pointer(call, ports, 16));
        print(")");
        call->nr = __HYPERVISOR_sched_op;
        call->args[0] = SCHEDOP_poll;
        call->args[1] = pointer(call, arg, sizeof(*poll));
        break;
    }
    case 7: {
        struct pick when = one_of(far);

        call->nr = __HYPERVISOR_set_timer_op;
        call->args[0] = when.value;
        print("set_timer(%s)", when.name);
        break;
    }
    case 8: {
        struct sched_watchdog *watchdog = (struct sched_watchdog *)arg;

        watchdog->id = any(4);
        watchdog->timeout = 1000000;
        print("watchdog(%u, %u)", watchdog->id, watchdog->timeout);
        call->nr = __HYPERVISOR_sched_op;
        call->args[0] = SCHEDOP_watchdog;
        call->args[1] = pointer(call, arg, sizeof(*watchdog));
        break;
    }
    case 9: {
        struct xen_hvm_param *param = (struct xen_hvm_param *)arg;
        struct pick d = domain();

        param->domid = d.value;
        param->index = any(40);
        param->value = 1;
        print("hvm_param(%s, %u)", d.name, param->index);
        call->nr = __HYPERVISOR_hvm_op;
        call->args[0] = any(2) ? HVMOP_set_param : HVMOP_get_param;
        print(" %lu", call->args[0]);
        call->args[1] = pointer(call, arg, sizeof(*param));
        break;
    }
    case 10: {
        unsigned int cmd = any(32);
        struct pick d = domain();

        for (int i = 8; i < 64; i += 8)
            *(uint64_t *)(arg + i) = any(5);
        *(uint16_t *)arg = d.value;
        if (cmd == HVMOP_get_time)
            cmd = 24;
        print("hvm_op(%u, %s)", cmd, d.name);
        call->nr = __HYPERVISOR_hvm_op;
        call->args[0] = cmd;
        call->args[1] = pointer(call, arg, 64);
        break;
    }
    case 11: {
        unsigned int cmd = is_dom0() ? 5 : any(34);
        struct pick d = domain();

        for (int i = 0; i < 64; i += 4)
            *(uint32_t *)(arg + i) = any(3) ? any(5) : 0xffff;
        *(uint16_t *)arg = d.value == self ? any(3) * 8 : d.value;
        if (d.value == self)
            d.name = "little";
        *(uint16_t *)(arg + 8) = *(uint16_t *)arg;      /* where the old form has it */
        if (cmd == PHYSDEVOP_set_iopl || cmd == PHYSDEVOP_set_iobitmap)
            cmd = 5;
        print("physdev_op(%u, %s: %x)", cmd, d.name, *(uint32_t *)(arg + 4));
        call->nr = chance(4) ? __HYPERVISOR_physdev_op_compat : __HYPERVISOR_physdev_op;
        if (call->nr == __HYPERVISOR_physdev_op_compat) {
            print(" compat");
            *(uint32_t *)arg = cmd;
            call->args[0] = pointer(call, arg, 64);
            break;
        }
        call->args[0] = cmd;
        call->args[1] = pointer(call, arg, 64);
        break;
    }
    case 12:
        if (is_dom0())
            goto yield;
        call->nr = __HYPERVISOR_console_io;
        call->args[0] = any(4);
        call->args[1] = any(5);
        call->args[2] = pointer(call, arg, 64);
        print(" console_io(%lu, %lu)", call->args[0], call->args[1]);
        break;
    default:
    yield:
        call->nr = __HYPERVISOR_sched_op;
        call->args[0] = 8 + any(8);
        call->args[1] = number();
        print("sched_op(%lu)", call->args[0]);
    }
}

/* Hypercalls with arguments that mean little. Those that end the guest, or that would make it deaf, are left out. */
void a_raw(struct call *call)
{
    static const unsigned char numbers[] = { 1, 2, 7, 8, 9, 10, 11, 12, 12, 12, 14, 17, 20, 20, 20, 20, 21, 22, 24, 25, 26, 26, 27, 28, 29, 30, 31, 32, 32, 32, 33, 34, 35, 36,
                                             37, 38, 39, 40, 41, 42, 43, 44, 45, 47, 48, 49, 50, 55, 56, 57, 60, 63 };
    unsigned int nr = one_of(numbers), words = 1 + any(8), cmd = any(16) ? any(36) : (unsigned int)number();
    uint64_t *arg = argument(call, 64, "-");

    if (is_dom0() && (nr == 7 || nr == 33 || (nr >= 35 && nr <= 37) || nr == 48 || nr == 31 || nr == 40 || nr == 42 || nr == 28 || nr == 34))
        nr = 11;
    for (unsigned int i = 0; i < words; i++)
        arg[i] = any(4) ? number() : (uint64_t)any(8) << 32 | any(20);
    if (nr == 29 && (cmd == 1 || cmd == 2 || cmd == 3 || cmd == 5 || cmd == 6 || cmd == 7))
        cmd = 4;
    if (nr == 24 && (cmd == VCPUOP_initialise || cmd == VCPUOP_up || cmd == VCPUOP_register_vcpu_info || cmd == VCPUOP_down || cmd == VCPUOP_set_singleshot_timer || cmd == VCPUOP_set_periodic_timer || cmd == VCPUOP_register_runstate_memory_area
                     || cmd == VCPUOP_register_vcpu_time_memory_area))
        cmd = 15;
    if (nr == 12 && (cmd == XENMEM_decrease_reservation || cmd == XENMEM_populate_physmap || cmd == XENMEM_increase_reservation || cmd == XENMEM_exchange || cmd == XENMEM_maximum_ram_page
                     || cmd == XENMEM_maximum_gpfn))
        cmd = 22;
    if (nr == 32 && (cmd == EVTCHNOP_close || cmd == EVTCHNOP_reset || cmd == EVTCHNOP_init_control || cmd == EVTCHNOP_expand_array || cmd == EVTCHNOP_bind_virq))
        cmd = 15;
    if (nr == 34 && cmd == HVMOP_get_time)
        cmd = 24;
    if (nr == 30 || (nr == 31 && cmd == 14) || (nr == 17 && (cmd == XENVER_platform_parameters || cmd == XENVER_commandline || cmd == XENVER_build_id)))
        cmd = 77;
    if (nr == 33 && (cmd == PHYSDEVOP_pirq_eoi_gmfn_v1 || cmd == PHYSDEVOP_pirq_eoi_gmfn_v2))
        cmd = 5;
    if (nr == 28 || (nr == 9 && cmd < 4))
        cmd = 3;
    print("raw(%u, %u", nr, cmd);
    call->nr = nr;
    call->args[0] = cmd;
    call->args[1] = any(6) ? (uint64_t)arg : one_of(((const uint64_t[]){ 0, 1, UNMAPPED, IN_XEN, -1UL }));
    call->args[2] = any(4);
    call->args[3] = any(2) ? DOMID_SELF : any(2) ? DOMID_XEN : 0;
    if ((uint16_t)arg[0] - 1U < 200)            /* which may be our own number */
        arg[0] += 1000;
    switch (nr) {
    case 1: case 26:                            /* arrays */
        call->args[0] = any(4) ? (uint64_t)arg : UNMAPPED;
        for (unsigned int i = 0; i < words; i++)
            arg[i] = nr == 26 && i == 0 ? 14 : (uint64_t)any(3) << 52 | 3;
        call->args[1] = any(3);
        call->args[2] = any(2) ? (uint64_t)(arg + 7) : 0;
        break;
    case 14: case 22:
        call->args[0] = address().value;
        if (call->args[0] > (uint64_t)windows + sizeof(windows) || call->args[0] < (uint64_t)windows)
            call->args[0] = NON_CANONICAL;
        call->args[1] = 0;
        call->args[2] = any(8);
        break;
    case 2: call->args[0] = (uint64_t)arg; call->args[1] = any(3) * 4000; break;
    case 8: call->args[1] = 0; break;
    case 10: call->args[0] = number() & ~PTE_FRAME; call->args[1] = 0; break;
    case 25: call->args[1] = one_of(((const uint64_t[]){ 0, NON_CANONICAL, IN_XEN, 3 })); break;
    case 20: call->args[2] = 1; break;
    case 21: call->args[1] = 40; break;
    }
    print(", %s)", call->args[1] == (uint64_t)arg ? "words" : "bad");
    if (nr == 20 && (cmd < 3 || cmd == 4 || cmd == 5 || cmd == 7)) {
        is_hushed = 1;
        ((uint32_t *)arg)[0] = 4;
        ((uint32_t *)arg)[1] = any(4);
    }
}
