/* event_channel_op with the FIFO ABI: control block, event arrays, priorities, and the event words that Xen leaves. */
#include "conform.h"
#include "ports.h"

static unsigned char control[PAGE_SIZE] __attribute__((aligned(4096)));
static event_word_t words[2][PAGE_SIZE / sizeof(event_word_t)] __attribute__((aligned(4096)));
static unsigned char tables[3][PAGE_SIZE] __attribute__((aligned(4096)));

static long init_control(uint64_t mfn, uint32_t offset, uint32_t vcpu, struct evtchn_init_control *arg)
{
    *arg = (struct evtchn_init_control){ .control_gfn = mfn, .offset = offset, .vcpu = vcpu, .link_bits = 77 };
    return event_channel_op(EVTCHNOP_init_control, arg);
}

static evtchn_port_t bind_ipi(void)
{
    struct evtchn_bind_ipi ipi = { .vcpu = 0 };

    if (event_channel_op(EVTCHNOP_bind_ipi, &ipi))
        panic("no port");
    return ipi.port;
}

/* "PENDING MASKED LINKED BUSY link" of a port. */
#define word_of(port) words[0][port]
#define shown(port) word_of(port) >> 31 & 1, word_of(port) >> 30 & 1, word_of(port) >> 29 & 1, word_of(port) >> 28 & 1

static void set_up(void)
{
    struct evtchn_init_control arg;
    static const uint32_t offsets[] = { 0, 4, 8, 4000, 4024, 4028, 4032, 4096, 0xfffffff8 };

    for (unsigned int i = 1; i < sizeof(offsets) / sizeof(*offsets); i++) {
        if (offsets[i] == 8 || offsets[i] == 4000 || offsets[i] == 4024)
            continue;                           /* these are good */
        check("event_channel_op.init_control", init_control(mfn_of(control), offsets[i], 0, &arg), "offset %u", offsets[i]);
    }
    for (unsigned int vcpu = 1; vcpu < 4; vcpu++)
        check("event_channel_op.init_control", init_control(mfn_of(control), 0, vcpu == 3 ? 0xffffffff : vcpu, &arg), "vCPU %d", vcpu == 3 ? -1 : (int)vcpu);
    check("event_channel_op.init_control", init_control(1UL << 40, 0, 0, &arg), "frame 2^40");
    remap(tables[0], PTE_RDONLY);
    mmuext(MMUEXT_PIN_L1_TABLE, mfn_of(tables[0]));
    check("event_channel_op.init_control", init_control(mfn_of(tables[0]), 0, 0, &arg), "a page table");
    check("event_channel_op.expand_array", expand_array(mfn_of(words[0])), "before init_control");
    check("event_channel_op.set_priority", set_priority(start_info->store_evtchn, 3), "before init_control");
    memset(control, FILL, PAGE_SIZE);
    check_out("event_channel_op.init_control", init_control(mfn_of(control), 8, 0, &arg), ("offset 8"),
              ("link_bits=%u ready=%x head0=%x head15=%x", arg.link_bits, *(uint32_t *)(control + 8), *(uint32_t *)(control + 16), *(uint32_t *)(control + 76)));
    check("event_channel_op.init_control", init_control(mfn_of(control), 8, 0, &arg), "again");
    check("event_channel_op.init_control", init_control(mfn_of(control), 512, 0, &arg), "another place");
    static const struct { const char *name; uint64_t mfn; } frames[] = { { "frame 2^40", 1UL << 40 }, { "frame -1", -1UL }, { "frame 0", 0 } };
    for (unsigned int i = 0; i < 3 && !is_dom0(); i++)
        check("event_channel_op.expand_array", expand_array(frames[i].mfn), "%s", frames[i].name);
    check("event_channel_op.expand_array", expand_array(mfn_of(tables[0])), "a page table");
}

static void deliveries(void)
{
    evtchn_port_t port = bind_ipi(), other = bind_ipi();
    struct evtchn_status status;

    check("event_channel_op.send", port_op(EVTCHNOP_send, port), "a port without a word");
    check("event_channel_op.unmask", port_op(EVTCHNOP_unmask, port), "a port without a word");
    for (unsigned int i = 0; i < PAGE_SIZE / sizeof(event_word_t); i++)
        words[0][i] = 1u << EVTCHN_FIFO_MASKED;
    check("event_channel_op.expand_array", expand_array(mfn_of(words[0])), "the first page");
    check("update_va_mapping", remap(words[0], PTE_RDONLY), "the first page of words, read-only");
    remap(words[0], PTE_DATA);
    check_out("event_channel_op.send", port_op(EVTCHNOP_send, port), ("a masked port"), ("P%u M%u L%u B%u", shown(port)));
    check_out("event_channel_op.unmask", port_op(EVTCHNOP_unmask, port), ("a pending port"), ("P%u M%u L%u B%u, ready=%x", shown(port), *(uint32_t *)(control + 8)));
    fact("event_channel_op.unmask", *(uint32_t *)(control + 16 + 4 * EVTCHN_FIFO_PRIORITY_DEFAULT) == port, "is it the head of the default queue?");
    check_out("event_channel_op.unmask", port_op(EVTCHNOP_unmask, other), ("a port that is not pending"), ("P%u M%u L%u B%u", shown(other)));
    for (unsigned int priority = 0; priority < 18; priority++)
        check("event_channel_op.set_priority", set_priority(other, priority), "priority %u", priority);
    check("event_channel_op.set_priority", set_priority(other, 0xffffffff), "priority -1");
    check("event_channel_op.set_priority", set_priority(other, 2), "priority 2");
    check_out("event_channel_op.send", port_op(EVTCHNOP_send, other), ("a port of priority 2"), ("P%u M%u L%u B%u, ready=%x", shown(other), *(uint32_t *)(control + 8)));
    check_out("event_channel_op.send", port_op(EVTCHNOP_send, other), ("the port again"), ("P%u M%u L%u B%u, ready=%x", shown(other), *(uint32_t *)(control + 8)));
    fact("event_channel_op.send", *(uint32_t *)(control + 16 + 4 * 2) == other, "is it the head of queue 2?");
    status = (struct evtchn_status){ .dom = DOMID_SELF, .port = port };
    check_out("event_channel_op.status", event_channel_op(EVTCHNOP_status, &status), ("a port that is pending"), ("status=%u", status.status));
    check_out("event_channel_op.close", port_op(EVTCHNOP_close, other), ("a port that is linked"), ("P%u M%u L%u B%u", shown(other)));
    fact("event_channel_op.bind_ipi", bind_ipi() != other, "a port that is linked is not given again?");
    check("event_channel_op.send", port_op(EVTCHNOP_send, 5000), "a port beyond the arrays");
    check("event_channel_op.unmask", port_op(EVTCHNOP_unmask, 1023), "a port that is not there");
    check("event_channel_op.set_priority", set_priority(5000, 3), "a port beyond the arrays");
}

/* A reset of ourselves, which begins anew, would close the console's port. */
static void arrays(void)
{
    unsigned int count = 1;
    long answer;

    check("event_channel_op.expand_array", expand_array(mfn_of(words[1])), "the second page");
    do
        answer = expand_array(mfn_of(words[1]));
    while (answer == 0 && ++count < 1000);
    check("event_channel_op.expand_array", answer, "after the second page and %u more", count - 1);
}

void suite(void)
{
    shared_info->vcpu_info[0].evtchn_upcall_mask = 1;
    set_up();
    deliveries();
    arrays();
}
