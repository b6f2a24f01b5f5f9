/* event_channel_op as functions: the answer is the call's, a new port goes to `port` if there is one. */
#pragma once
#include "guest.h"

/* The operations that take a port alone: EVTCHNOP_close, EVTCHNOP_send, EVTCHNOP_unmask. */
static inline long port_op(int cmd, evtchn_port_t port)
{
    return event_channel_op(cmd, &port);
}

static inline long alloc_unbound(domid_t dom, domid_t remote, evtchn_port_t *port)
{
    struct evtchn_alloc_unbound arg = { .dom = dom, .remote_dom = remote };
    long answer = event_channel_op(EVTCHNOP_alloc_unbound, &arg);

    if (answer == 0)
        *port = arg.port;
    return answer;
}

static inline long expand_array(uint64_t gfn)
{
    struct evtchn_expand_array arg = { .array_gfn = gfn };

    return event_channel_op(EVTCHNOP_expand_array, &arg);
}

static inline long set_priority(evtchn_port_t port, uint32_t priority)
{
    struct evtchn_set_priority arg = { .port = port, .priority = priority };

    return event_channel_op(EVTCHNOP_set_priority, &arg);
}
