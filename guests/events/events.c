/*
 * Event channels: what sending, masking, closing and waiting leave in the words that a guest shares with Xen, first with
 * the two-level bitmaps, then with the FIFO ABI's linked queues, and what a reset makes of it all. Events stay masked on
 * the vCPU, so that every word is seen as Xen leaves it. Our own ports are called a to h, in the order of their numbers.
 */
#include "event.h"
#include "paging.h"
#include "ports.h"
#include "time.h"

#define IN_XEN    0xffff830000000000UL
#define UNMAPPED  8UL
#define PORTS     8

static unsigned char control_page[PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char other_page[PAGE_SIZE] __attribute__((aligned(4096)));
static event_word_t words[2][PAGE_SIZE / 4] __attribute__((aligned(4096)));
static unsigned char read_only[PAGE_SIZE] __attribute__((aligned(4096)));
static evtchn_fifo_control_block_t *const control = (void *)(control_page + 64);
static evtchn_port_t port[PORTS];               /* a, b ... */

static vcpu_info_t *vcpu(void)
{
    return &shared_info->vcpu_info[0];
}

static long port_status(evtchn_port_t number, struct evtchn_status *status)
{
    memset(status, 0x55, sizeof(*status));
    status->dom = DOMID_SELF;
    status->port = number;
    return event_channel_op(EVTCHNOP_status, status);
}

static long bind_interdomain(domid_t remote, evtchn_port_t far, evtchn_port_t *number)
{
    struct evtchn_bind_interdomain arg = { .remote_dom = remote, .remote_port = far };
    long answer = event_channel_op(EVTCHNOP_bind_interdomain, &arg);

    if (answer == 0)
        *number = arg.local_port;
    return answer;
}

static long bind_ipi(uint32_t id, evtchn_port_t *number)
{
    struct evtchn_bind_ipi arg = { .vcpu = id };
    long answer = event_channel_op(EVTCHNOP_bind_ipi, &arg);

    if (answer == 0)
        *number = arg.port;
    return answer;
}

static long bind_vcpu(evtchn_port_t number, uint32_t id)
{
    struct evtchn_bind_vcpu arg = { .port = number, .vcpu = id };

    return event_channel_op(EVTCHNOP_bind_vcpu, &arg);
}

static long poll(evtchn_port_t *ports, unsigned int count)
{
    struct sched_poll arg = { .nr_ports = count, .timeout = system_time() + 10 * MILLISECOND };

    set_xen_guest_handle(arg.ports, ports);
    return sched_op(SCHEDOP_poll, &arg);
}

static char name_of(evtchn_port_t number)
{
    for (int i = 0; i < PORTS; i++)
        if (port[i] && port[i] == number)
            return 'a' + i;
    return number == 0 ? '0' : '?';
}

/* The toolstack's ports may be raised at any time. */
static void mask_toolstack(void)
{
    if (!is_dom0()) {
        mask_port(start_info->store_evtchn);
        mask_port(start_info->console.domU.evtchn);
    }
}

static void show_upcall(void)
{
    print("  upcall pending %u, mask %u, selector %lx\n", vcpu()->evtchn_upcall_pending, vcpu()->evtchn_upcall_mask,
          vcpu()->evtchn_pending_sel);
}

static void forget_upcall(void)
{
    vcpu()->evtchn_upcall_pending = 0;
    vcpu()->evtchn_pending_sel = 0;
}

/* Two-level */

static void show_bits(const char *what)
{
    print("  %-24s", what);
    for (int i = 0; i < PORTS; i++)
        if (port[i])
            print(" %c%s%s", 'a' + i, is_pending(port[i]) ? "P" : "-", shared_info->evtchn_mask[0] >> port[i] & 1 ? "M" : "-");
    print("\n");
    show_upcall();
}

/* A port and its own far end: an event sent on one comes out at the other. */
static void make_pair(int i)
{
    result("alloc_unbound for ourselves", alloc_unbound(DOMID_SELF, DOMID_SELF, &port[i]));
    result("bind_interdomain to it", bind_interdomain(DOMID_SELF, port[i], &port[i + 1]));
}

static void close_all(void)
{
    for (int i = 0; i < PORTS; i++) {
        if (port[i])
            port_op(EVTCHNOP_close, port[i]);
        port[i] = 0;
    }
}

static void two_level(void)
{
    evtchn_port_t timer, far, last = 0;
    int count = 0;

    section("two-level: sending");
    forget_upcall();
    make_pair(0);
    show_bits("the new end");
    clear_pending(port[1]);
    forget_upcall();
    mask_port(port[0]);
    result("send on b, a is masked", port_op(EVTCHNOP_send, port[1]));
    show_bits("b to a");
    result("unmask a", port_op(EVTCHNOP_unmask, port[0]));
    show_bits("a unmasked");
    forget_upcall();
    result("unmask a again", port_op(EVTCHNOP_unmask, port[0]));
    show_bits("no news");
    result("send on b, a is pending", port_op(EVTCHNOP_send, port[1]));
    show_bits("no news");
    clear_pending(port[0]);
    vcpu()->evtchn_pending_sel = 1;
    result("send on b, the selector is set", port_op(EVTCHNOP_send, port[1]));
    show_bits("nobody is told");
    clear_pending(port[0]);
    vcpu()->evtchn_pending_sel = 0;
    vcpu()->evtchn_upcall_pending = 0x80;
    result("send on b, an odd upcall_pending", port_op(EVTCHNOP_send, port[1]));
    show_bits("bit 0");
    forget_upcall();
    result("send on a", port_op(EVTCHNOP_send, port[0]));
    show_bits("a to b");
    forget_upcall();
    mask_port(port[1]);
    result("bind_interdomain to b, which is bound", bind_interdomain(DOMID_SELF, port[1], &far));
    result("bind_vcpu a", bind_vcpu(port[0], 0));
    result("bind_vcpu a to vCPU 1", bind_vcpu(port[0], 1));
    result("close a", port_op(EVTCHNOP_close, port[0]));
    show_bits("a closed");
    result("send on b, unbound now", port_op(EVTCHNOP_send, port[1]));
    result("bind_interdomain to b", bind_interdomain(DOMID_SELF, port[1], &port[2]));
    claim("  takes the number of a", port[2] == port[0]);
    port[2] = 0;
    show_bits("a again");
    clear_pending(port[0]);
    clear_pending(port[1]);
    forget_upcall();

    section("two-level: kinds of ports");
    result("an IPI", bind_ipi(0, &port[2]));
    result("IPI for vCPU 1", bind_ipi(1, &far));
    result("IPI for vCPU -1", bind_ipi(-1, &far));
    result("send the IPI", port_op(EVTCHNOP_send, port[2]));
    show_bits("to ourselves");
    result("VIRQ_DEBUG", bind_virq(VIRQ_DEBUG, &timer));
    result("send on a VIRQ", port_op(EVTCHNOP_send, timer));
    result("bind_interdomain to a VIRQ", bind_interdomain(DOMID_SELF, timer, &far));
    result("bind_interdomain to an IPI", bind_interdomain(DOMID_SELF, port[2], &far));
    result("close the VIRQ", port_op(EVTCHNOP_close, timer));
    result("alloc_unbound for dom 0", alloc_unbound(DOMID_SELF, 0, &port[3]));
    result("bind_interdomain to it, ourselves", bind_interdomain(DOMID_SELF, port[3], &port[4]));
    if (is_dom0())                              /* dom 0 is ourselves */
        clear_pending(port[4]);
    result("send on it", port_op(EVTCHNOP_send, port[3]));
    result("bind_vcpu of it", bind_vcpu(port[3], 0));
    result("alloc_unbound for DOMID_IO", alloc_unbound(DOMID_SELF, DOMID_IO, &port[5]));
    result("alloc_unbound for DOMID_INVALID", alloc_unbound(DOMID_SELF, DOMID_INVALID, &port[6]));
    result("bind_interdomain to DOMID_IO", bind_interdomain(DOMID_IO, 1, &far));
    result("bind_interdomain to dom 999", bind_interdomain(999, 1, &far));
    result("bind_interdomain to port 100000", bind_interdomain(DOMID_SELF, 100000, &far));
    result("bind_interdomain to port 0", bind_interdomain(DOMID_SELF, 0, &far));
    result("bind_interdomain to port -1", bind_interdomain(DOMID_SELF, -1, &far));
    for (int i = 0; i < PORTS - 1; i++) {
        struct evtchn_status status;

        if (!port[i])
            continue;
        result("status", port_status(port[i], &status));
        print("  %c: status %u vcpu %u", 'a' + i, status.status, status.vcpu);
        if (status.status == EVTCHNSTAT_interdomain)
            print(" %c", name_of(status.u.interdomain.port));
        print("\n");
    }
    close_all();

    section("two-level: pointers");
    for (int cmd = -1; cmd < 17; cmd++) {
        print("operation %d\n", cmd);
        result("  NULL", event_channel_op(cmd, 0));
        result("  wild", event_channel_op(cmd, UNMAPPED));
        result("  in Xen", event_channel_op(cmd, IN_XEN));
        if (cmd == EVTCHNOP_reset)              /* there it would do something */
            continue;
        memset(other_page, 0xff, PAGE_SIZE);
        result("  all ones", event_channel_op(cmd, other_page));
        memset(other_page, 0xff, PAGE_SIZE);
        *(domid_t *)other_page = DOMID_SELF;
        result("  ones for ourselves", event_channel_op(cmd, other_page));
    }
    result("alloc_unbound", alloc_unbound(DOMID_SELF, 0, &port[0]));
    ((struct evtchn_alloc_unbound *)read_only)->dom = DOMID_SELF;
    remap(read_only, PTE_RDONLY);
    result("alloc_unbound, read-only", event_channel_op(EVTCHNOP_alloc_unbound, read_only));
    result("alloc_unbound", alloc_unbound(DOMID_SELF, 0, &port[1]));
    print("  the next number but %u\n", port[1] - port[0] - 1);
    port_op(EVTCHNOP_close, port[0] + 1);
    remap(read_only, PTE_DATA);
    close_all();

    section("two-level: polling");
    result("an IPI", bind_ipi(0, &port[0]));
    result("another", bind_ipi(0, &port[1]));
    result("poll, nothing is pending", poll(port, 1));
    port_op(EVTCHNOP_send, port[0]);
    result("poll what is pending", poll(port, 1));
    result("poll both", poll(port, 2));
    far = 60;
    result("poll a closed port", poll(&far, 1));
    far = 100000;
    result("poll no port", poll(&far, 1));
    clear_pending(port[0]);
    close_all();

    section("two-level: all ports");
    while (alloc_unbound(DOMID_SELF, 0, &last) == 0)
        count++;
    print("the last is %u\n", last);
    result("an IPI", bind_ipi(0, &port[0]));
    result("VIRQ_DEBUG", bind_virq(VIRQ_DEBUG, &port[0]));
    result("VIRQ 24", bind_virq(24, &port[0]));
    result("bind_interdomain to dom 999", bind_interdomain(999, 1, &far));
    for (; count > 0; count--)
        port_op(EVTCHNOP_close, last--);
    clear_pending(0);
}

/* FIFO */

static long init_control(uint64_t gfn, uint32_t offset, uint32_t id, uint8_t *bits)
{
    struct evtchn_init_control arg = { .control_gfn = gfn, .offset = offset, .vcpu = id, .link_bits = 99 };
    long answer = event_channel_op(EVTCHNOP_init_control, &arg);

    *bits = arg.link_bits;
    return answer;
}

static event_word_t *word_of(evtchn_port_t number)
{
    return &words[number / 1024][number % 1024];
}

static void show_fifo(const char *what)
{
    print("  %-24s", what);
    for (int i = 0; i < PORTS; i++) {
        event_word_t word = port[i] && port[i] < 2048 ? *word_of(port[i]) : 0;

        if (!port[i])
            continue;
        print(" %c%s%s%s", 'a' + i, word >> 31 ? "P" : "-", word >> EVTCHN_FIFO_MASKED & 1 ? "M" : "-",
              word >> EVTCHN_FIFO_LINKED & 1 ? "L" : "-");
        if (word >> EVTCHN_FIFO_BUSY & 1)
            print("B");
        if (word & EVTCHN_FIFO_LINK_MASK)
            print(">%c", name_of(word & EVTCHN_FIFO_LINK_MASK));
    }
    print("\n  ready %x, heads", control->ready);
    for (int i = 0; i < EVTCHN_FIFO_MAX_QUEUES; i++)
        if (control->head[i])
            print(" %d:%c", i, name_of(control->head[i]));
    print("\n");
    show_upcall();
}

/* As a guest's handler does: unlinks the first of a queue and clears its event. */
static void take(int queue)
{
    event_word_t *word = word_of(control->head[queue]);
    evtchn_port_t next = *word & EVTCHN_FIFO_LINK_MASK;

    *word &= ~(1u << EVTCHN_FIFO_LINKED | EVTCHN_FIFO_LINK_MASK);
    control->head[queue] = next;
    if (!(*word & 1u << EVTCHN_FIFO_MASKED))
        *word &= ~(1u << EVTCHN_FIFO_PENDING);
}

static void take_all(void)
{
    vcpu()->evtchn_upcall_pending = 0;
    for (int queue = 0; queue < EVTCHN_FIFO_MAX_QUEUES; queue++) {
        while (control->head[queue])
            take(queue);
    }
    control->ready = 0;
}

static void fifo_begin(void)
{
    uint8_t bits = 0;
    evtchn_port_t ipi = 0;

    section("FIFO: before there is a control block");
    result("expand_array", expand_array(mfn_of(words[0])));
    result("expand_array, no frame", expand_array(-1UL));
    result("set_priority of port 0", set_priority(0, 1));
    result("set_priority of port 100000", set_priority(100000, 1));
    if (!is_dom0())
        words[0][start_info->store_evtchn] = words[0][start_info->console.domU.evtchn] = 1u << EVTCHN_FIFO_MASKED;
    result("an IPI", bind_ipi(0, &ipi));
    result("set_priority of it", set_priority(ipi, 1));
    result("set_priority 16", set_priority(ipi, 16));

    section("FIFO: init_control");
    result("of vCPU 1", init_control(mfn_of(control_page), 64, 1, &bits));
    print("  link bits %u\n", bits);
    result("of vCPU 1 at offset -1", init_control(mfn_of(control_page), -1, 1, &bits));
    result("across the page's end", init_control(mfn_of(control_page), 4096 - 64, 0, &bits));
    result("at offset -8", init_control(mfn_of(control_page), -8, 0, &bits));
    result("at offset 4", init_control(mfn_of(control_page), 4, 0, &bits));
    result("no frame", init_control(-1UL, 0, 0, &bits));
    result("frame 2^40", init_control(1UL << 40, 0, 0, &bits));
    result("frame 0", init_control(0, 0, 0, &bits));
    result("a page table", init_control(mfn_of(l4_table()), 0, 0, &bits));
    result("expand_array after failures", expand_array(mfn_of(words[0])));
    clear_pending(ipi);
    forget_upcall();
    port_op(EVTCHNOP_send, ipi);
    claim("two-level still", is_pending(ipi));
    print("  %u %lx\n", vcpu()->evtchn_upcall_pending, vcpu()->evtchn_pending_sel);
    port[0] = ipi;
    result("another IPI", bind_ipi(0, &port[1]));
    clear_pending(port[1]);
    forget_upcall();
    result("a good one", init_control(mfn_of(control_page), 64, 0, &bits));
    print("  link bits %u\n", bits);
    result("a second", init_control(mfn_of(other_page), 0, 0, &bits));
    result("the last possible offset, too late", init_control(mfn_of(other_page), 4096 - 72, 0, &bits));
    show_upcall();

    section("FIFO: without an array");
    claim("the bit of a is where it was", is_pending(port[0]));
    result("unmask a", port_op(EVTCHNOP_unmask, port[0]));
    result("send a", port_op(EVTCHNOP_send, port[0]));
    result("send b", port_op(EVTCHNOP_send, port[1]));
    claim("the bit of b is not used", !is_pending(port[1]));
    show_fifo("nothing to see");
    result("poll a", poll(port, 1));
    result("set_priority of b", set_priority(port[1], 3));
    result("set_priority of b, 16", set_priority(port[1], 16));
    result("set_priority of b, -1", set_priority(port[1], -1));
    result("set_priority of port 0", set_priority(0, 3));
    result("set_priority of port 0, 16", set_priority(0, 16));
    result("set_priority of a closed port", set_priority(60, 3));
    result("set_priority of port 100000", set_priority(100000, 3));
    result("set_priority of port 100000, 16", set_priority(100000, 16));
    result("expand_array, no frame", expand_array(-1UL));
    result("expand_array, frame 0", expand_array(0));
    result("expand_array, a page table", expand_array(mfn_of(l4_table())));
    result("expand_array", expand_array(mfn_of(words[0])));
    show_fifo("a and b were raised");
    claim("the array's page may not be a page table", mmuext(MMUEXT_PIN_L1_TABLE, mfn_of(words[0])) == -XEN_EINVAL);
    take_all();
    show_fifo("taken");
    close_all();
}

static void fifo_queues(void)
{
    section("FIFO: one queue");
    for (int i = 0; i < 4; i++)
        result("an IPI", bind_ipi(0, &port[i]));
    for (int i = 0; i < 3; i++) {
        result("send", port_op(EVTCHNOP_send, port[i]));
        show_fifo("one more");
    }
    result("send a again", port_op(EVTCHNOP_send, port[0]));
    show_fifo("as before");
    take(7);
    show_fifo("a taken, ready kept");
    result("send a", port_op(EVTCHNOP_send, port[0]));
    show_fifo("a is last");
    take(7);
    take(7);
    take(7);
    show_fifo("all taken");
    result("send d, ready still set", port_op(EVTCHNOP_send, port[3]));
    show_fifo("nobody is told");
    take_all();
    result("send d", port_op(EVTCHNOP_send, port[3]));
    *word_of(port[3]) &= ~(1u << EVTCHN_FIFO_PENDING);
    result("send d, cleared but linked", port_op(EVTCHNOP_send, port[3]));
    show_fifo("linked once");
    take_all();
    control->ready = 1 << 7;
    result("send d, ready set by hand", port_op(EVTCHNOP_send, port[3]));
    show_fifo("nobody is told");
    take_all();
    vcpu()->evtchn_upcall_pending = 1;
    result("send d, upcall pending", port_op(EVTCHNOP_send, port[3]));
    show_fifo("ready");
    take_all();

    section("FIFO: masks");
    *word_of(port[0]) = 1u << EVTCHN_FIFO_MASKED;
    result("send a, masked", port_op(EVTCHNOP_send, port[0]));
    show_fifo("not linked");
    result("poll a", poll(port, 1));
    result("send b", port_op(EVTCHNOP_send, port[1]));
    result("unmask a", port_op(EVTCHNOP_unmask, port[0]));
    show_fifo("linked now");
    result("unmask a again", port_op(EVTCHNOP_unmask, port[0]));
    show_fifo("no change");
    *word_of(port[0]) |= 1u << EVTCHN_FIFO_MASKED;
    *word_of(port[1]) |= 1u << EVTCHN_FIFO_MASKED;
    take_all();
    show_fifo("masked ones keep P");
    result("unmask b", port_op(EVTCHNOP_unmask, port[1]));
    show_fifo("b again");
    take_all();
    *word_of(port[0]) = 0;
    result("unmask c, not pending", port_op(EVTCHNOP_unmask, port[2]));
    result("unmask port 0", port_op(EVTCHNOP_unmask, 0));
    result("unmask port 100000", port_op(EVTCHNOP_unmask, 100000));
    show_fifo("nothing");

    section("FIFO: priorities");
    for (uint32_t i = 0; i < 4; i++) {
        static const uint32_t priorities[] = { 0, 15, 7, 0 };

        result("set_priority", set_priority(port[i], priorities[i]));
        result("send", port_op(EVTCHNOP_send, port[i]));
    }
    show_fifo("three queues");
    result("a to 15, while it is linked", set_priority(port[0], 15));
    result("send a", port_op(EVTCHNOP_send, port[0]));
    show_fifo("where it was");
    take(0);
    result("send a", port_op(EVTCHNOP_send, port[0]));
    show_fifo("behind b");
    take_all();
    show_fifo("all taken");

    section("FIFO: a tail moves");
    result("c to 3", set_priority(port[2], 3));
    result("d to 3", set_priority(port[3], 3));
    result("send c", port_op(EVTCHNOP_send, port[2]));
    result("send d", port_op(EVTCHNOP_send, port[3]));
    show_fifo("d is the tail");
    take(3);
    take(3);
    result("d to 4", set_priority(port[3], 4));
    result("send d", port_op(EVTCHNOP_send, port[3]));
    result("send c", port_op(EVTCHNOP_send, port[2]));
    show_fifo("two queues");
    take_all();

    section("FIFO: pollers");
    result("poll a, nothing is pending", poll(port, 1));
    result("send a", port_op(EVTCHNOP_send, port[0]));
    result("poll a", poll(port, 1));
    result("poll d and a", poll(port, 4));
    take_all();

    section("FIFO: closing");
    result("send a", port_op(EVTCHNOP_send, port[0]));
    result("send b", port_op(EVTCHNOP_send, port[1]));
    show_fifo("both linked");
    result("close a", port_op(EVTCHNOP_close, port[0]));
    show_fifo("a still linked");
    result("alloc_unbound", alloc_unbound(DOMID_SELF, DOMID_SELF, &port[4]));
    claim("  not the number of a", port[4] != port[0]);
    take_all();
    result("alloc_unbound", alloc_unbound(DOMID_SELF, DOMID_SELF, &port[5]));
    claim("  the number of a", port[5] == port[0]);
    port[5] = 0;
    show_fifo("a is new");
    result("send on unbound e", port_op(EVTCHNOP_send, port[4]));
    result("bind_interdomain to e", bind_interdomain(DOMID_SELF, port[4], &port[5]));
    show_fifo("f raised, default priority");
    take_all();
    result("set_priority of f", set_priority(port[5], 2));
    result("send on e", port_op(EVTCHNOP_send, port[4]));
    show_fifo("f, priority 2");
    result("send on f", port_op(EVTCHNOP_send, port[5]));
    show_fifo("e");
    take_all();
    result("close f", port_op(EVTCHNOP_close, port[5]));
    result("bind_interdomain to e", bind_interdomain(DOMID_SELF, port[4], &port[5]));
    show_fifo("default priority again");
    take_all();
    result("VIRQ_DEBUG", bind_virq(VIRQ_DEBUG, &port[6]));
    result("set_priority of it", set_priority(port[6], 1));
    result("close it", port_op(EVTCHNOP_close, port[6]));
    result("set_priority of it", set_priority(port[6], 1));
    result("unmask it", port_op(EVTCHNOP_unmask, port[6]));
    close_all();
}

static void fifo_numbers(void)
{
    static evtchn_port_t last;
    unsigned int pages = 1, count = 0;
    long answer;

    section("FIFO: numbers");
    while (count < 1200 && (answer = alloc_unbound(DOMID_SELF, DOMID_SELF, &last)) == 0)
        count++;
    result("the last answer", answer);
    print("  %s the two-level limit of a domU\n", last > 1023 ? "beyond" : "at");
    if (last > 1023) {
        result("bind_interdomain beyond the array", bind_interdomain(DOMID_SELF, last, &port[0]));
        result("send on it", port_op(EVTCHNOP_send, port[0]));
        port[1] = last;
        result("set_priority", set_priority(last, 1));
    }
    while ((answer = expand_array(mfn_of(pages == 1 ? words[1] : (void *)other_page))) == 0)
        pages++;
    result("expand_array", answer);
    print("  %u pages\n", pages);
    result("expand_array, no frame", expand_array(-1UL));
    show_fifo("all that were pending");
    take_all();
    for (; count > 0; count--)
        port_op(EVTCHNOP_close, last--);
    port_op(EVTCHNOP_close, port[0]);
    port[0] = port[1] = 0;
}

static void resets(void)
{
    struct evtchn_reset reset = { .dom = DOMID_SELF };
    struct evtchn_status console = { .dom = DOMID_SELF }, status;
    uint8_t bits;
    long answer, console_answer = 0;

    section("reset");
    for (int i = 0; i < 3; i++)
        bind_ipi(0, &port[i]);
    for (int i = 0; i < 3; i++)
        port_op(EVTCHNOP_send, port[i]);
    show_fifo("before");
    console.port = start_info->console.domU.evtchn;
    mask_toolstack();
    forget_upcall();
    if (!is_dom0())
        event_channel_op(EVTCHNOP_status, &console);
    reset.dom = 999;
    result("dom 999", event_channel_op(EVTCHNOP_reset, &reset));
    reset.dom = DOMID_IO;
    result("DOMID_IO", event_channel_op(EVTCHNOP_reset, &reset));
    reset.dom = DOMID_SELF;
    answer = event_channel_op(EVTCHNOP_reset, &reset);
    if (!is_dom0())                             /* the far end waits for us again */
        console_answer = bind_interdomain(0, console.u.interdomain.port, &start_info->console.domU.evtchn);
    result("ourselves", answer);
    result("the console's port bound again", console_answer);
    show_fifo("after");
    for (int i = 0; i < 3; i++) {
        result("status", port_status(port[i], &status));
        print("  %c: %s\n", 'a' + i, status.status == EVTCHNSTAT_closed ? "closed" : "not closed");
    }
    result("expand_array", expand_array(mfn_of(words[0])));
    claim("the control block's page is free again", mmuext(MMUEXT_CLEAR_PAGE, mfn_of(control_page)) == 0);
    port[0] = port[1] = port[2] = 0;
    make_pair(0);
    for (int i = 0; i < 2; i++) {
        clear_pending(port[i]);
        unmask_port(port[i]);
    }
    forget_upcall();
    result("send on b", port_op(EVTCHNOP_send, port[1]));
    show_bits("two-level again");
    clear_pending(port[0]);
    forget_upcall();
    result("set_priority", set_priority(port[0], 1));
    memset(words, 0, sizeof(words));
    memset(control_page, 0, sizeof(control_page));
    result("init_control", init_control(mfn_of(control_page), 4096 - 72, 0, &bits));
    result("reset", event_channel_op(EVTCHNOP_reset, &reset));
    result("init_control in shared_info", init_control(start_info->shared_info / PAGE_SIZE, 2048, 0, &bits));
    result("reset", event_channel_op(EVTCHNOP_reset, &reset));
    if (!is_dom0())
        bind_interdomain(0, console.u.interdomain.port, &start_info->console.domU.evtchn);
    result("reset_cont", event_channel_op(14, &reset));
}

void guest_main(void)
{
    vcpu_op(VCPUOP_stop_periodic_timer, 0, 0);
    map_shared_info();
    mask_toolstack();
    two_level();
    fifo_begin();
    fifo_queues();
    fifo_numbers();
    resets();
    print("events: done\n");
}
