/* event_channel_op with the two-level ABI: what a port is and becomes, and every refusal. */
#include "conform.h"

static domid_t self;

/* A domain's number, or a name for our own. */
static unsigned int shown(domid_t dom)
{
    return dom == self ? DOMID_SELF : dom;
}

static const char *port_state(domid_t dom, evtchn_port_t port)
{
    static const char *const states[] = { "closed", "unbound", "interdomain", "pirq", "virq", "ipi" };
    struct evtchn_status status = { .dom = dom, .port = port };

    return event_channel_op(EVTCHNOP_status, &status) ? "none" : states[status.status];
}

static long alloc_unbound(domid_t dom, domid_t remote, evtchn_port_t *port)
{
    struct evtchn_alloc_unbound arg = { .dom = dom, .remote_dom = remote, .port = 7777 };
    long answer = event_channel_op(EVTCHNOP_alloc_unbound, &arg);

    *port = arg.port;
    return answer;
}

static long bind_interdomain(domid_t dom, evtchn_port_t remote, evtchn_port_t *port)
{
    struct evtchn_bind_interdomain arg = { .remote_dom = dom, .remote_port = remote, .local_port = 7777 };
    long answer = event_channel_op(EVTCHNOP_bind_interdomain, &arg);

    *port = arg.local_port;
    return answer;
}

static long port_op(int cmd, evtchn_port_t port)
{
    return event_channel_op(cmd, &port);
}

static const struct { const char *name; domid_t dom; } domains[] = {
    { "DOMID_SELF", DOMID_SELF }, { "domain 0", 0 }, { "domain 1000", 1000 }, { "DOMID_IO", DOMID_IO }, { "DOMID_XEN", DOMID_XEN },
    { "DOMID_INVALID", DOMID_INVALID },
};
#define DOMAINS 6

static void unbound(void)
{
    evtchn_port_t port, first, second;
    struct evtchn_status status;

    for (unsigned int d = 0; d < DOMAINS; d++)
        for (unsigned int r = 0; r < DOMAINS; r++) {
            if (is_dom0() && (d == 1 || r == 1))
                continue;
            check_out("event_channel_op.alloc_unbound", alloc_unbound(domains[d].dom, domains[r].dom, &port), ("%s for %s", domains[d].name, domains[r].name),
                      ("port=%u", port));
            if (port == 7777)
                continue;
            status = (struct evtchn_status){ .dom = DOMID_SELF, .port = port };
            check_out("event_channel_op.status", event_channel_op(EVTCHNOP_status, &status), ("an unbound port for %s", domains[r].name),
                      ("status=%u vcpu=%u dom=%x", status.status, status.vcpu, shown(status.u.unbound.dom)));
            port_op(EVTCHNOP_close, port);
        }
    for (unsigned int d = 0; d < DOMAINS; d++)
        for (unsigned int i = 0; i < 4; i++) {
            static const evtchn_port_t remotes[] = { 0, 1, 4095, 100000 };

            if (is_dom0() && d <= 1)
                continue;
            check_out("event_channel_op.bind_interdomain", bind_interdomain(domains[d].dom, remotes[i], &port), ("port %u of %s", remotes[i], domains[d].name),
                      ("local_port=%u", port));
        }
    alloc_unbound(DOMID_SELF, DOMID_SELF, &first);
    check("event_channel_op.bind_interdomain", bind_interdomain(DOMID_SELF, first, &second), "an unbound port of ours");
    fact("event_channel_op.bind_interdomain", is_pending(second) && !is_pending(first), "is the new end pending and the old one not?");
    for (int end = 0; end < 2; end++) {
        status = (struct evtchn_status){ .dom = DOMID_SELF, .port = end ? second : first };
        check_out("event_channel_op.status", event_channel_op(EVTCHNOP_status, &status), ("end %d of a channel", end),
                  ("status=%u vcpu=%u dom=%x other=%s", status.status, status.vcpu, shown(status.u.interdomain.dom),
                   status.u.interdomain.port == (end ? first : second) ? "right" : "wrong"));
    }
    check("event_channel_op.bind_interdomain", bind_interdomain(DOMID_SELF, first, &port), "a port that is bound");
    clear_pending(second);
    check("event_channel_op.send", port_op(EVTCHNOP_send, first), "one end");
    fact("event_channel_op.send", is_pending(second) && !is_pending(first), "is the other end pending?");
    check("event_channel_op.send", port_op(EVTCHNOP_send, first), "one end, pending already");
    clear_pending(second);
    check("event_channel_op.send", port_op(EVTCHNOP_send, second), "the other end");
    fact("event_channel_op.send", is_pending(first), "is the first end pending?");
    for (unsigned int vcpu = 0; vcpu < 3; vcpu++) {
        struct evtchn_bind_vcpu bind = { .port = first, .vcpu = vcpu };

        check("event_channel_op.bind_vcpu", event_channel_op(EVTCHNOP_bind_vcpu, &bind), "an interdomain port, vCPU %u", vcpu);
    }
    for (unsigned int priority = 0; priority < 17; priority += 4) {
        struct evtchn_set_priority set = { .port = first, .priority = priority };

        check("event_channel_op.set_priority", event_channel_op(EVTCHNOP_set_priority, &set), "an interdomain port, priority %u", priority);
    }
    check_out("event_channel_op.close", port_op(EVTCHNOP_close, first), ("one end"), ("other end %s", port_state(DOMID_SELF, second)));
    fact("event_channel_op.close", !is_pending(first), "is its pending bit clear?");
    check("event_channel_op.close", port_op(EVTCHNOP_close, first), "one end again");
    check("event_channel_op.send", port_op(EVTCHNOP_send, second), "the end that is left");
    check_out("event_channel_op.close", port_op(EVTCHNOP_close, second), ("the end that is left"), ("%s", port_state(DOMID_SELF, second)));
    alloc_unbound(DOMID_SELF, 1000, &port);
    check("event_channel_op.bind_interdomain", bind_interdomain(DOMID_SELF, port, &second), "a port that is for another domain");
    check("event_channel_op.send", port_op(EVTCHNOP_send, port), "an unbound port");
    port_op(EVTCHNOP_close, port);
}

static void no_ports(void)
{
    static const evtchn_port_t bad[] = { 0, 40, 63, 64, 1023, 4095, 4096, 131071, 131072, 0x7fffffff, 0x80000000, 0xffffffff };

    for (unsigned int i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct evtchn_bind_vcpu bind = { .port = bad[i], .vcpu = 0 };
        struct evtchn_set_priority set = { .port = bad[i], .priority = 0 };
        struct evtchn_status status = { .dom = DOMID_SELF, .port = bad[i] };

        check("event_channel_op.send", port_op(EVTCHNOP_send, bad[i]), "port %u", bad[i]);
        check("event_channel_op.close", port_op(EVTCHNOP_close, bad[i]), "port %u", bad[i]);
        check("event_channel_op.unmask", port_op(EVTCHNOP_unmask, bad[i]), "port %u", bad[i]);
        check("event_channel_op.bind_vcpu", event_channel_op(EVTCHNOP_bind_vcpu, &bind), "port %u, vCPU 0", bad[i]);
        bind.vcpu = 1;
        check("event_channel_op.bind_vcpu", event_channel_op(EVTCHNOP_bind_vcpu, &bind), "port %u, vCPU 1", bad[i]);
        check("event_channel_op.set_priority", event_channel_op(EVTCHNOP_set_priority, &set), "port %u, priority 0", bad[i]);
        set.priority = 16;
        check("event_channel_op.set_priority", event_channel_op(EVTCHNOP_set_priority, &set), "port %u, priority 16", bad[i]);
        if (bad[i] == 64 || bad[i] == 1023)
            continue;                           /* as far as ports were ever allocated */
        check("event_channel_op.status", event_channel_op(EVTCHNOP_status, &status), "port %u", bad[i]);
    }
    for (unsigned int d = 1; d < DOMAINS; d++) {
        struct evtchn_status status = { .dom = domains[d].dom, .port = 1 };

        if (is_dom0() && d == 1)
            continue;
        check("event_channel_op.status", event_channel_op(EVTCHNOP_status, &status), "port 1 of %s", domains[d].name);
        status.port = 1000000;
        check("event_channel_op.status", event_channel_op(EVTCHNOP_status, &status), "port 1000000 of %s", domains[d].name);
        if (!is_dom0()) {
            struct evtchn_reset reset = { .dom = domains[d].dom };

            check("event_channel_op.reset", event_channel_op(EVTCHNOP_reset, &reset), "%s", domains[d].name);
            check("event_channel_op.reset_cont", event_channel_op(14, &reset), "%s", domains[d].name);
        }
    }
}

static void bound(void)
{
    struct evtchn_bind_virq virq;
    struct evtchn_bind_ipi ipi;
    struct evtchn_bind_pirq pirq;
    evtchn_port_t port;

    for (unsigned int number = 0; number < 27; number++)
        for (unsigned int vcpu = 0; vcpu < 2; vcpu++) {
            static const unsigned int vcpus[] = { 0, 1 };

            if (is_dom0() && number > 0 && number < 16)
                continue;                       /* global ones are sent to whoever takes them */
            virq = (struct evtchn_bind_virq){ .virq = number == 26 ? 0xffffffff : number, .vcpu = vcpus[vcpu], .port = 7777 };
            if (check("event_channel_op.bind_virq", event_channel_op(EVTCHNOP_bind_virq, &virq), "VIRQ %u, vCPU %u", virq.virq, virq.vcpu))
                continue;
            port = virq.port;
            check("event_channel_op.bind_virq", event_channel_op(EVTCHNOP_bind_virq, &virq), "VIRQ %u again", number);
            check("event_channel_op.send", port_op(EVTCHNOP_send, port), "the port of VIRQ %u", number);
            for (unsigned int to = 0; to < 2; to++) {
                struct evtchn_bind_vcpu bind = { .port = port, .vcpu = to };

                check("event_channel_op.bind_vcpu", event_channel_op(EVTCHNOP_bind_vcpu, &bind), "the port of VIRQ %u, vCPU %u", number, to);
            }
            struct evtchn_status status = { .dom = DOMID_SELF, .port = port };
            check_out("event_channel_op.status", event_channel_op(EVTCHNOP_status, &status), ("the port of VIRQ %u", number),
                      ("status=%u vcpu=%u virq=%u", status.status, status.vcpu, status.u.virq));
            check("event_channel_op.close", port_op(EVTCHNOP_close, port), "the port of VIRQ %u", number);
        }
    virq = (struct evtchn_bind_virq){ .virq = VIRQ_DEBUG, .vcpu = 0xffffffff };
    check("event_channel_op.bind_virq", event_channel_op(EVTCHNOP_bind_virq, &virq), "VIRQ 1, vCPU -1");
    for (unsigned int vcpu = 0; vcpu < 4; vcpu++) {
        static const unsigned int vcpus[] = { 0, 1, 8192, 0xffffffff };

        ipi = (struct evtchn_bind_ipi){ .vcpu = vcpus[vcpu], .port = 7777 };
        if (check("event_channel_op.bind_ipi", event_channel_op(EVTCHNOP_bind_ipi, &ipi), "vCPU %u", vcpus[vcpu]))
            continue;
        struct evtchn_status status = { .dom = DOMID_SELF, .port = ipi.port };
        check_out("event_channel_op.status", event_channel_op(EVTCHNOP_status, &status), ("an IPI's port"), ("status=%u vcpu=%u", status.status, status.vcpu));
        check("event_channel_op.send", port_op(EVTCHNOP_send, ipi.port), "an IPI's port");
        fact("event_channel_op.send", is_pending(ipi.port), "is the IPI's port pending?");
        struct evtchn_bind_vcpu bind = { .port = ipi.port, .vcpu = 0 };
        check("event_channel_op.bind_vcpu", event_channel_op(EVTCHNOP_bind_vcpu, &bind), "an IPI's port");
        check("event_channel_op.unmask", port_op(EVTCHNOP_unmask, ipi.port), "an IPI's port that is pending");
        fact("event_channel_op.unmask", is_pending(ipi.port) && shared_info->vcpu_info[0].evtchn_upcall_pending, "is it pending, and is the vCPU told?");
        check("event_channel_op.close", port_op(EVTCHNOP_close, ipi.port), "an IPI's port");
        fact("event_channel_op.close", !is_pending(ipi.port), "is its pending bit clear?");
    }
    for (unsigned int i = 0; i < 6 && !is_dom0(); i++) {
        static const unsigned int numbers[] = { 0, 1, 15, 16, 100000, 0xffffffff };

        for (unsigned int flags = 0; flags < 2; flags++) {
            pirq = (struct evtchn_bind_pirq){ .pirq = numbers[i], .flags = flags };
            check("event_channel_op.bind_pirq", event_channel_op(EVTCHNOP_bind_pirq, &pirq), "pirq %u, flags %u", numbers[i], flags);
        }
    }
    if (is_dom0())
        return;
    port = start_info->console.domU.evtchn;
    for (unsigned int vcpu = 0; vcpu < 2; vcpu++) {
        struct evtchn_bind_vcpu bind = { .port = port, .vcpu = vcpu };

        check("event_channel_op.bind_vcpu", event_channel_op(EVTCHNOP_bind_vcpu, &bind), "the console's port, vCPU %u", vcpu);
    }
}

static const char *const calls[] = {
    "event_channel_op.bind_interdomain", "event_channel_op.bind_virq", "event_channel_op.bind_pirq", "event_channel_op.close", "event_channel_op.send",
    "event_channel_op.status", "event_channel_op.alloc_unbound", "event_channel_op.bind_ipi", "event_channel_op.bind_vcpu", "event_channel_op.unmask",
    "event_channel_op.reset", "event_channel_op.init_control", "event_channel_op.expand_array", "event_channel_op.set_priority",
    "event_channel_op.reset_cont",
};

static void pointers(void)
{
    for (int cmd = 0; cmd < 15; cmd++) {
        check_wild(calls[cmd], event_channel_op(cmd, w->address), "pointer");
        if (cmd == EVTCHNOP_alloc_unbound || cmd == EVTCHNOP_status)
            check(calls[cmd], event_channel_op(cmd, READ_ONLY), "pointer to a read-only page of zeros");
    }
    for (int cmd = 15; cmd < 18; cmd++)
        check("event_channel_op", event_channel_op(cmd, page), "command %d", cmd);
    check("event_channel_op", event_channel_op(-1, page), "command -1");
    for (int cmd = 0; cmd < 16; cmd++)
        check("event_channel_op_compat", raw(__HYPERVISOR_event_channel_op_compat, (unsigned long)((*(uint32_t *)zeroed() = cmd == 10 ? 100 : cmd), page), 0, 0, 0, 0),
              "command %d, zeros", cmd == 10 ? 100 : cmd);
    check_wild("event_channel_op_compat", raw(__HYPERVISOR_event_channel_op_compat, w->address, 0, 0, 0, 0), "pointer");
}

static void fifo_refusals(void)
{
    struct evtchn_init_control init;
    struct evtchn_expand_array expand;
    static const struct { const char *name; uint64_t frame; } frames[] = { { "frame 2^40", 1UL << 40 }, { "frame -1", -1UL } };

    for (unsigned int i = 0; i < 2; i++) {
        init = (struct evtchn_init_control){ .control_gfn = frames[i].frame, .offset = 0, .vcpu = 0 };
        check("event_channel_op.init_control", event_channel_op(EVTCHNOP_init_control, &init), "%s", frames[i].name);
        expand = (struct evtchn_expand_array){ .array_gfn = frames[i].frame };
        check("event_channel_op.expand_array", event_channel_op(EVTCHNOP_expand_array, &expand), "%s, before init_control", frames[i].name);
    }
    for (unsigned int i = 0; i < 5; i++) {
        static const unsigned int offsets[] = { 4, 4096 - 64, 4096 - 71, 4096, 0xfffffff8 };

        init = (struct evtchn_init_control){ .control_gfn = mfn_of(page), .offset = offsets[i], .vcpu = 0 };
        if (offsets[i] != 4096 - 64 || 1)
            check("event_channel_op.init_control", event_channel_op(EVTCHNOP_init_control, &init), "offset %u", offsets[i]);
    }
    init = (struct evtchn_init_control){ .control_gfn = mfn_of(page), .vcpu = 1 };
    check("event_channel_op.init_control", event_channel_op(EVTCHNOP_init_control, &init), "vCPU 1");
    init = (struct evtchn_init_control){ .control_gfn = mfn_of(l4_table()), .vcpu = 0 };
    check("event_channel_op.init_control", event_channel_op(EVTCHNOP_init_control, &init), "a page table");
}

static void all_of_them(void)
{
    evtchn_port_t port = 0, last = 0, first = 0;
    unsigned int count = 0;

    if (is_dom0())
        return;                                 /* it has no limit but memory */
    while (alloc_unbound(DOMID_SELF, 0, &port) == 0) {
        if (!first)
            first = port;
        last = port;
        count++;
    }
    check("event_channel_op.alloc_unbound", alloc_unbound(DOMID_SELF, 0, &port), "after %u ports, up to %u", count, last);
    check("event_channel_op.bind_interdomain", bind_interdomain(DOMID_SELF, 99999, &port), "no port is free, remote port 99999");
    while (first <= last)
        port_op(EVTCHNOP_close, first++);
}

void suite(void)
{
    self = own_domid();
    memset((void *)shared_info->evtchn_mask, 0xff, sizeof(shared_info->evtchn_mask));
    unbound();
    no_ports();
    bound();
    pointers();
    fifo_refusals();
    all_of_them();
}
