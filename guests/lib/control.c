/*
 * A client of xenstore that does two things: it watches control/shutdown, reads it when it changes, empties it, and ends;
 * and it watches cpu, and reads the availability of one vCPU after the other. The id of a request is the vCPU it is about, 0
 * for control/shutdown. xen:public/io/xs_wire.h, xen:docs/misc/xenstore-paths.pandoc.
 */
#include "control.h"
#include "paging.h"
#include <xen/io/xs_wire.h>

#define NODE "control/shutdown"
#define VCPUS "cpu"
#define MAX_VCPUS 32

static volatile struct xenstore_domain_interface *ring;
static struct { struct xsd_sockmsg header; char body[64]; } message;
static size_t received;                         /* bytes of the message that is arriving */
static struct sched_shutdown end;               /* as the node said */
static volatile uint32_t wanted = ~0U;          /* a bit a vCPU */

static void put(const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        while (ring->req_prod - ring->req_cons >= XENSTORE_RING_SIZE)
            sched_op(SCHEDOP_yield, 0);
        ring->req[MASK_XENSTORE_IDX(ring->req_prod)] = ((const char *)bytes)[i];
        barrier();                              /* the byte first, then the index that publishes it */
        ring->req_prod++;
    }
}

static void notify(void)
{
    struct evtchn_send send = { .port = start_info->store_evtchn };

    event_channel_op(EVTCHNOP_send, &send);
}

static void request(uint32_t type, uint32_t id, const char *body, size_t size)
{
    struct xsd_sockmsg header = { .type = type, .req_id = id, .len = size };

    put(&header, sizeof(header));
    put(body, size);
    notify();
}

/* Whether a whole message has arrived. */
static int receive(void)
{
    int some = 0;

    while (ring->rsp_cons != ring->rsp_prod) {
        size_t size = sizeof(message.header) + (received < sizeof(message.header) ? 0 : message.header.len);

        if (received >= sizeof(message.header) && received == size)
            break;
        barrier();
        if (received < sizeof(message))         /* what is longer is none that this client asked for */
            ((char *)&message)[received] = ring->rsp[MASK_XENSTORE_IDX(ring->rsp_cons)];
        received++;
        barrier();                              /* the byte is read before its place is given back */
        ring->rsp_cons++;
        some = 1;
    }
    if (some)
        notify();
    return received >= sizeof(message.header) && received == sizeof(message.header) + message.header.len;
}

static int says(const char *word)
{
    size_t size = message.header.len;

    message.body[size < sizeof(message.body) ? size : sizeof(message.body) - 1] = 0;
    return !strcmp(message.body, word);
}

void control_init(void)
{
    if (is_dom0())
        return;
    ring = (void *)(VIRT_BASE + machine_to_physical[start_info->store_mfn] * PAGE_SIZE);
    request(XS_WATCH, 0, NODE "\0" NODE, 2 * sizeof(NODE));
}

void control_watch_vcpus(void)
{
    if (ring)
        request(XS_WATCH, 0, VCPUS "\0" VCPUS, 2 * sizeof(VCPUS));
}

int vcpu_is_wanted(unsigned int vcpu)
{
    return wanted >> vcpu & 1;
}

/* cpu/N/availability */
static void read_availability(unsigned int vcpu)
{
    static const char tail[] = "/availability";
    char path[32] = VCPUS "/";
    size_t size = sizeof(VCPUS);

    if (vcpu >= MAX_VCPUS)
        return;
    if (vcpu >= 10)
        path[size++] = '0' + vcpu / 10;
    path[size++] = '0' + vcpu % 10;
    memcpy(path + size, tail, sizeof(tail));
    request(XS_READ, vcpu, path, size + sizeof(tail));
}

/* The answer; a vCPU that the domain does not have is an XS_ERROR, and the last. */
static void take_availability(unsigned int vcpu)
{
    if (says("online"))
        wanted |= 1U << vcpu;
    else
        wanted &= ~(1U << vcpu);
    read_availability(vcpu + 1);
}

static void take_word(void)
{
    if (says("poweroff") || says("halt"))
        end.reason = SHUTDOWN_poweroff;
    else if (says("reboot"))
        end.reason = SHUTDOWN_reboot;
    else
        return;
    request(XS_WRITE, 0, NODE, sizeof(NODE));           /* without a value behind it */
}

void obey_control(void)
{
    while (ring && receive()) {
        received = 0;
        switch (message.header.type) {
        case XS_WATCH_EVENT:
            if (message.body[1] == VCPUS[1])            /* the path begins with cpu, not with control */
                read_availability(1);
            else
                request(XS_READ, 0, NODE, sizeof(NODE));
            break;
        case XS_READ:
            if (message.header.req_id)
                take_availability(message.header.req_id);
            else
                take_word();
            break;
        case XS_WRITE:
            if (end.reason == SHUTDOWN_poweroff)
                poweroff();
            sched_op(SCHEDOP_shutdown, &end);
        }
    }
}
