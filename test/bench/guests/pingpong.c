/*
 * Sends events to and fro with another domain: "serve PEER" offers a port and answers for ever, "play PEER COUNT" finds that
 * port, makes COUNT round trips and powers off. Each waits for the other in SCHEDOP_poll.
 */
#include "event.h"
#include "paging.h"
#include "trap.h"

#define PORTS 64

static const char *at;

static unsigned long number(void)
{
    unsigned long value = 0;

    while (*at == ' ')
        at++;
    for (; *at >= '0' && *at <= '9'; at++)
        value = value * 10 + (unsigned long)(*at - '0');
    return value;
}

static evtchn_port_t offer(domid_t peer)
{
    struct evtchn_alloc_unbound unbound = { .dom = DOMID_SELF, .remote_dom = peer };

    if (event_channel_op(EVTCHNOP_alloc_unbound, &unbound))
        panic("no port to offer");
    return unbound.port;
}

/* The peer may not be there yet. */
static evtchn_port_t find(domid_t peer)
{
    for (;; sched_op(SCHEDOP_yield, 0)) {
        for (evtchn_port_t port = 1; port < PORTS; port++) {
            struct evtchn_bind_interdomain bound = { .remote_dom = peer, .remote_port = port };

            if (event_channel_op(EVTCHNOP_bind_interdomain, &bound) == 0)
                return bound.local_port;
        }
    }
}

static void wait_for(evtchn_port_t port)
{
    struct sched_poll poll = { .nr_ports = 1 };

    set_xen_guest_handle(poll.ports, &port);
    while (!is_pending(port))
        sched_op(SCHEDOP_poll, &poll);
    clear_pending(port);
}

void guest_main(void)
{
    struct evtchn_send send;
    int serves;

    map_shared_info();
    /* With events masked SCHEDOP_poll waits for its port only. */
    shared_info->vcpu_info[0].evtchn_upcall_mask = 1;
    at = (const char *)start_info->cmd_line;
    serves = *at == 's';
    while (*at && *at != ' ')
        at++;
    send.port = serves ? offer((domid_t)number()) : find((domid_t)number());
    mask_port(send.port);
    if (serves) {
        for (;;) {
            wait_for(send.port);
            event_channel_op(EVTCHNOP_send, &send);
        }
    }
    clear_pending(send.port);   /* by the bind, not by the peer */
    for (unsigned long count = number(); count; count--) {
        event_channel_op(EVTCHNOP_send, &send);
        wait_for(send.port);
    }
}
