/* EVTCHNOP_reset of the calling domain: what it closes, frees and leaves, with two levels and with FIFO queues. */
#include "conform.h"

#define reset_self() event_channel_op(EVTCHNOP_reset, &(struct evtchn_reset){ .dom = DOMID_SELF })

static evtchn_port_t console_remote;            /* of our console, at the other end */
static unsigned char control[PAGE_SIZE] __attribute__((aligned(4096)));
static uint32_t words[PAGE_SIZE / 4] __attribute__((aligned(4096)));

static int status_of(evtchn_port_t port)
{
    struct evtchn_status status = { .dom = DOMID_SELF, .port = port };

    return event_channel_op(EVTCHNOP_status, &status) ? -1 : (int)status.status;
}

/* A port for the console again, at its old number or the next free: without one there is nobody to tell. */
static void bind_console(void)
{
    struct evtchn_bind_interdomain bind = { .remote_dom = 0, .remote_port = console_remote };

    if (is_dom0())
        return;
    if (event_channel_op(EVTCHNOP_bind_interdomain, &bind))
        panic("the console does not wait for us");
    start_info->console.domU.evtchn = bind.local_port;
}

static long reset(void)
{
    long answer = reset_self();

    bind_console();
    return answer;
}

/* One port of each kind that a domain has by itself; where they are. */
static evtchn_port_t ports[5];

static void bind_all(void)
{
    struct evtchn_bind_virq virq = { .virq = VIRQ_TIMER };
    struct evtchn_bind_ipi ipi = { .vcpu = 0 };
    struct evtchn_alloc_unbound unbound = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    struct evtchn_bind_interdomain pair = { .remote_dom = DOMID_SELF };

    check_out("event_channel_op.bind_virq", event_channel_op(EVTCHNOP_bind_virq, &virq), ("VIRQ_TIMER"), ("port=%u", virq.port));
    check_out("event_channel_op.bind_ipi", event_channel_op(EVTCHNOP_bind_ipi, &ipi), ("vCPU 0"), ("port=%u", ipi.port));
    check_out("event_channel_op.alloc_unbound", event_channel_op(EVTCHNOP_alloc_unbound, &unbound), ("to bind"), ("port=%u", unbound.port));
    pair.remote_port = unbound.port;
    ports[2] = unbound.port;
    check_out("event_channel_op.bind_interdomain", event_channel_op(EVTCHNOP_bind_interdomain, &pair), ("port %u", unbound.port), ("port=%u", pair.local_port));
    check_out("event_channel_op.alloc_unbound", event_channel_op(EVTCHNOP_alloc_unbound, &unbound), ("to stay unbound"), ("port=%u", unbound.port));
    ports[0] = virq.port;
    ports[1] = ipi.port;
    ports[3] = pair.local_port;
    ports[4] = unbound.port;
}

static void closed(const char *when)
{
    for (int i = 0; i < 5; i++)
        if (is_dom0() || ports[i] != start_info->console.domU.evtchn)
            check("event_channel_op.status", status_of(ports[i]), "port %u, %s", ports[i], when);
}

static void send_to(evtchn_port_t port)
{
    struct evtchn_send send = { .port = port };

    check("event_channel_op.send", event_channel_op(EVTCHNOP_send, &send), "port %u", port);
}

static void arguments(void)
{
    static const struct { const char *name; domid_t dom; } domains[] = {
        { "domain 999", 999 }, { "DOMID_IO", DOMID_IO }, { "DOMID_XEN", DOMID_XEN }, { "DOMID_COW", DOMID_COW }, { "DOMID_INVALID", DOMID_INVALID },
        { "DOMID_IDLE", DOMID_IDLE }, { "domain 0", 0 },
    };

    for (unsigned int i = 0; i < sizeof(domains) / sizeof(*domains); i++) {
        struct evtchn_reset arg = { .dom = domains[i].dom };

        if (is_dom0() && domains[i].dom == 0)
            continue;
        check("event_channel_op.reset", event_channel_op(EVTCHNOP_reset, &arg), "%s", domains[i].name);
        check("event_channel_op.reset_cont", event_channel_op(14, &arg), "%s", domains[i].name);
    }
    check_wild("event_channel_op.reset", event_channel_op(EVTCHNOP_reset, w->address), "pointer");
    check_wild("event_channel_op.reset_cont", event_channel_op(14, w->address), "pointer");
}

static void two_levels(void)
{
    bind_all();
    send_to(ports[1]);
    send_to(ports[2]);
    fact("event_channel_op.send", is_pending(ports[1]) && is_pending(ports[3]), "are they pending?");
    check("event_channel_op.reset", reset(), "ourselves, two levels");
    closed("after the reset");
    fact("event_channel_op.reset", is_pending(ports[1]), "is a pending port still pending?");
    fact("event_channel_op.reset", is_pending(ports[3]), "is a pending port of a pair still pending?");
    fact("event_channel_op.reset", shared_info->evtchn_mask[0] >> ports[1] & 1, "is it still masked?");
    shared_info->evtchn_pending[0] = 0;
    bind_all();
    send_to(ports[1]);
    fact("event_channel_op.send", is_pending(ports[1]), "is it pending?");
    check("event_channel_op.reset", reset(), "ourselves, again");
    check("event_channel_op.reset", reset(), "ourselves, with nothing to do");
    check("event_channel_op.reset", reset_self() || reset(), "ourselves, twice in a row");
    if (!is_dom0()) {
        check("event_channel_op.status", status_of(start_info->store_evtchn), "xenstore's port");
        check("event_channel_op.reset", reset_self(), "ourselves, and the console");
        bind_console();
        fact("event_channel_op.bind_interdomain", start_info->console.domU.evtchn == 1, "does the console have port 1 now?");
    }
}

static long init_control(uint32_t vcpu, uint64_t frame, uint32_t offset)
{
    struct evtchn_init_control arg = { .control_gfn = frame, .offset = offset, .vcpu = vcpu };

    return event_channel_op(EVTCHNOP_init_control, &arg);
}

static long expand(uint64_t frame)
{
    struct evtchn_expand_array arg = { .array_gfn = frame };

    return event_channel_op(EVTCHNOP_expand_array, &arg);
}

static void fifo(void)
{
    struct evtchn_set_priority priority;

    check("event_channel_op.init_control", init_control(0, mfn_of(control), 0), "vCPU 0");
    check("event_channel_op.expand_array", expand(mfn_of(words)), "a page");
    for (int i = 0; i < 32; i++)
        words[i] = 1u << EVTCHN_FIFO_MASKED;
    bind_all();
    priority = (struct evtchn_set_priority){ .port = ports[1], .priority = 3 };
    check("event_channel_op.set_priority", event_channel_op(EVTCHNOP_set_priority, &priority), "port %u", ports[1]);
    send_to(ports[1]);
    fact("event_channel_op.send", words[ports[1]] >> EVTCHN_FIFO_PENDING & 1, "is it pending?");
    check("event_channel_op.reset", reset(), "ourselves, FIFO");
    closed("after the reset");
    check("mmuext_op.CLEAR_PAGE", mmuext(MMUEXT_CLEAR_PAGE, mfn_of(control)), "the control block's page");
    check("mmuext_op.CLEAR_PAGE", mmuext(MMUEXT_CLEAR_PAGE, mfn_of(words)), "the array's page");
    check("update_va_mapping", remap(words, PTE_RDONLY), "the array's page, read-only");
    check("update_va_mapping", remap(words, PTE_DATA), "the array's page, writable");
    check("event_channel_op.expand_array", expand(mfn_of(words)), "after the reset");
    memset((void *)shared_info->evtchn_pending, 0, sizeof(shared_info->evtchn_pending));
    bind_all();
    priority.port = ports[1];
    check("event_channel_op.set_priority", event_channel_op(EVTCHNOP_set_priority, &priority), "with two levels again");
    send_to(ports[1]);
    fact("event_channel_op.send", is_pending(ports[1]), "two levels again: is it pending?");
    check("event_channel_op.init_control", init_control(0, mfn_of(control), 0), "vCPU 0, after the reset");
    check("event_channel_op.init_control", init_control(0, mfn_of(control), 0), "vCPU 0, again");
    check("event_channel_op.reset", reset(), "ourselves, no array");
    closed("after the reset");
}

void suite(void)
{
    struct evtchn_status status = { .dom = DOMID_SELF };

    vcpu_op(VCPUOP_stop_periodic_timer, 0, 0);
    memset((void *)shared_info->evtchn_mask, 0xff, sizeof(shared_info->evtchn_mask));
    if (!is_dom0()) {
        status.port = start_info->console.domU.evtchn;
        event_channel_op(EVTCHNOP_status, &status);
        console_remote = status.u.interdomain.port;
    }
    arguments();
    two_levels();
    fifo();
}
