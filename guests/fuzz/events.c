/* event_channel_op. */
#include "fuzz.h"

static unsigned char control_pages[2][PAGE_SIZE] __attribute__((aligned(4096)));
static uint32_t event_array[PAGE_SIZE / 4] __attribute__((aligned(4096)));
static int has_queues;

/* The console's and xenstore's words are theirs: masked, so that no queue knows them. */
static void after_expand(const struct call *call, long answer)
{
    (void)call;
    if (answer == 0 && !is_dom0()) {
        event_array[start_info->console.domU.evtchn] |= 1u << EVTCHN_FIFO_MASKED;
        event_array[start_info->store_evtchn] |= 1u << EVTCHN_FIFO_MASKED;
    }
}

static void after_init(const struct call *call, long answer)
{
    (void)call;
    if (answer == 0)
        has_queues = 1;
}

/* Our own number is the machine's. */
static void hide_number(struct evtchn_status *arg, long answer)
{
    if (answer == 0 && (arg->status == EVTCHNSTAT_unbound || arg->status == EVTCHNSTAT_interdomain) && arg->u.unbound.dom == self)
        arg->u.unbound.dom = DOMID_SELF;
}

static void after_status(const struct call *call, long answer)
{
    hide_number((void *)call->ranges[0].at, answer);
}

static void after_old_status(const struct call *call, long answer)
{
    hide_number(&((evtchn_op_t *)call->ranges[0].at)->u.status, answer);
}

#define argument_of(call, type, words) ((struct type *)argument(call, sizeof(struct type), words))
#define op(call_, cmd_, arg_) do {                                      \
        (call_)->args[0] = (cmd_);                                      \
        (call_)->args[1] = pointer(call_, arg_, sizeof(*(arg_)));       \
    } while (0)

void an_event(struct call *call)
{
    struct pick d = domain(), e = domain();
    evtchn_port_t p = port();
    unsigned int vcpu = any(3) ? any(2) : vcpu_number(), what = any(28);

    call->nr = __HYPERVISOR_event_channel_op;
    switch (what) {
    case 0: case 1: case 2: {
        struct evtchn_alloc_unbound *arg = argument_of(call, evtchn_alloc_unbound, ".");
        *arg = (struct evtchn_alloc_unbound){ .dom = d.value, .remote_dom = e.value, .port = 77 };
        print("event.alloc_unbound(%s, %s)", d.name, e.name);
        op(call, EVTCHNOP_alloc_unbound, arg);
        break;
    }
    case 3: case 4: case 5: {
        struct evtchn_bind_interdomain *arg = argument_of(call, evtchn_bind_interdomain, ".");
        *arg = (struct evtchn_bind_interdomain){ .remote_dom = d.value, .remote_port = p, .local_port = 77 };
        print("event.bind_interdomain(%s, %u)", d.name, p);
        op(call, EVTCHNOP_bind_interdomain, arg);
        break;
    }
    case 6: case 7: {
        struct evtchn_bind_virq *arg = argument_of(call, evtchn_bind_virq, ".");
        arg->virq = chance(6) ? number() : any(26);
        if (arg->virq == VIRQ_TIMER || (is_dom0() && arg->virq > 2 && arg->virq < 24))
            arg->virq = VIRQ_DEBUG;
        arg->vcpu = vcpu;
        arg->port = 77;
        print("event.bind_virq(%u, vcpu %u)", arg->virq, vcpu);
        op(call, EVTCHNOP_bind_virq, arg);
        break;
    }
    case 8: case 9: {
        struct evtchn_bind_ipi *arg = argument_of(call, evtchn_bind_ipi, ".");
        arg->vcpu = vcpu;
        arg->port = 77;
        print("event.bind_ipi(vcpu %u)", vcpu);
        op(call, EVTCHNOP_bind_ipi, arg);
        break;
    }
    case 10: {
        struct evtchn_bind_pirq *arg = argument_of(call, evtchn_bind_pirq, ".");
        arg->pirq = is_dom0() ? 4000 + any(20) : number();
        arg->flags = any(4);
        arg->port = 77;
        print("event.bind_pirq(%u, flags %u)", arg->pirq, arg->flags);
        op(call, EVTCHNOP_bind_pirq, arg);
        break;
    }
    case 11: case 12: {
        struct evtchn_close *arg = argument_of(call, evtchn_close, ".");
        arg->port = p;
        print("event.close(%u)", p);
        op(call, EVTCHNOP_close, arg);
        break;
    }
    case 13: case 14: case 15: {
        struct evtchn_send *arg = argument_of(call, evtchn_send, ".");
        arg->port = p;
        print("event.send(%u)", p);
        op(call, EVTCHNOP_send, arg);
        break;
    }
    case 16: case 17: case 18: {
        struct evtchn_status *arg = argument_of(call, evtchn_status, ".");
        memset(arg, 0x11, sizeof(*arg));
        arg->dom = d.value;
        arg->port = p;
        print("event.status(%s, %u)", d.name, p);
        op(call, EVTCHNOP_status, arg);
        call->after = after_status;
        break;
    }
    case 19: case 20: {
        struct evtchn_bind_vcpu *arg = argument_of(call, evtchn_bind_vcpu, ".");
        arg->port = p;
        arg->vcpu = vcpu;
        print("event.bind_vcpu(%u, vcpu %u)", p, vcpu);
        op(call, EVTCHNOP_bind_vcpu, arg);
        break;
    }
    case 21: case 22: {
        struct evtchn_unmask *arg = argument_of(call, evtchn_unmask, ".");
        arg->port = p;
        print("event.unmask(%u)", p);
        op(call, EVTCHNOP_unmask, arg);
        break;
    }
    case 23: {
        struct evtchn_init_control *arg = argument_of(call, evtchn_init_control, ".");
        struct pick f = chance(3) ? own_frame() : (struct pick){ "control", mfn_of(control_pages[any(2)]) };
        static const unsigned int offsets[] = { 0, 0, 64, 72, 4, 8, 4000, 4024, 4032, 4088, 4096, 0xfffffff8 };
        if (*f.name == 't')                     /* the bits of an entry would be queues that are ready */
            f = (struct pick){ "p1", mfn_of(pages[1]) };
        arg->control_gfn = f.value;
        arg->offset = one_of(offsets);
        arg->vcpu = vcpu;
        print("event.init_control(%s, %u, vcpu %u)", f.name, arg->offset, vcpu);
        if (any(3)) {
            print(" later");
            arg->vcpu = 99;
        }
        op(call, EVTCHNOP_init_control, arg);
        call->after = after_init;
        break;
    }
    case 24: {
        struct evtchn_expand_array *arg = argument_of(call, evtchn_expand_array, ".");
        struct pick f = chance(3) ? frame() : (struct pick){ "array", mfn_of(event_array) };
        if (is_page(f.value))                   /* the words of the console's and xenstore's ports would change at any time */
            f = (struct pick){ "mfn_2^40", 1UL << 40 };
        arg->array_gfn = f.value;
        print("event.expand_array(%s)", f.name);
        op(call, EVTCHNOP_expand_array, arg);
        call->after = after_expand;
        break;
    }
    case 25: {
        struct evtchn_set_priority *arg = argument_of(call, evtchn_set_priority, ".");
        arg->port = p;
        arg->priority = any(18);
        print("event.set_priority(%u, %u)", p, arg->priority);
        op(call, EVTCHNOP_set_priority, arg);
        break;
    }
    case 26: {
        struct evtchn_reset *arg = argument_of(call, evtchn_reset, ".");
        static const struct pick others[] = { { "1000", 1000 }, { "DOMID_IO", DOMID_IO }, { "DOMID_XEN", DOMID_XEN }, { "DOMID_INVALID", DOMID_INVALID } };
        struct pick other = one_of(others);
        arg->dom = other.value;
        print("event.reset(%s)", other.name);
        op(call, EVTCHNOP_reset, arg);
        break;
    }
    default: {
        evtchn_op_t *arg = argument(call, sizeof(*arg), ".");
        static const unsigned int safe[] = { EVTCHNOP_send, EVTCHNOP_status, EVTCHNOP_unmask, EVTCHNOP_bind_ipi, EVTCHNOP_alloc_unbound };
        arg->cmd = one_of(safe);
        if (arg->cmd == EVTCHNOP_status) {
            arg->u.status.dom = d.value;
            arg->u.status.port = p;
            call->after = after_old_status;
        } else if (arg->cmd == EVTCHNOP_alloc_unbound) {
            arg->u.alloc_unbound.dom = d.value;
            arg->u.alloc_unbound.remote_dom = e.value;
        } else
            arg->u.send.port = arg->cmd == EVTCHNOP_bind_ipi ? vcpu : p;
        print("event_compat(%u, %s, %s, %u, vcpu %u)", arg->cmd, d.name, e.name, p, vcpu);
        call->nr = __HYPERVISOR_event_channel_op_compat;
        call->args[0] = pointer(call, arg, sizeof(*arg));
    }
    }
}

/* What the queues hold, for the watcher. */
void tell_queues(void)
{
    static uint32_t words[64], heads[2][256 / 4];

    if (!has_queues)
        return;
    for (unsigned int i = 0; i < 64; i++) {
        if (!is_dom0() && (i == start_info->console.domU.evtchn || i == start_info->store_evtchn))
            continue;
        if (event_array[i] != words[i])
            print(" event%u=%x", i, words[i] = event_array[i]);
    }
    for (unsigned int i = 0; i < 2; i++)
        for (unsigned int j = 0; j < 256 / 4; j++) {
            uint32_t now = ((uint32_t *)control_pages[i])[j];

            if (now != heads[i][j])
                print(" control%u[%u]=%x", i, j, heads[i][j] = now);
        }
}
