#include "xenstore.h"
#include "paging.h"
#include <xen/io/xs_wire.h>

static volatile struct xenstore_domain_interface *ring;

static void notify(void)
{
    struct evtchn_send send = { .port = start_info->store_evtchn };

    event_channel_op(EVTCHNOP_send, &send);
}

static void put(const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        while (ring->req_prod - ring->req_cons >= XENSTORE_RING_SIZE) {
            notify();
            sched_op(SCHEDOP_yield, 0);
        }
        ring->req[MASK_XENSTORE_IDX(ring->req_prod)] = ((const char *)bytes)[i];
        barrier();                              /* the byte first, then the index that publishes it */
        ring->req_prod++;
    }
}

/* What does not fit into `room` is thrown away. */
static void get(void *bytes, size_t size, size_t room)
{
    for (size_t i = 0; i < size; i++) {
        while (ring->rsp_cons == ring->rsp_prod) {
            notify();
            sched_op(SCHEDOP_yield, 0);
        }
        barrier();
        if (i < room)
            ((char *)bytes)[i] = ring->rsp[MASK_XENSTORE_IDX(ring->rsp_cons)];
        barrier();                              /* the byte is read before its place is given back */
        ring->rsp_cons++;
    }
}

void xenstore_init(void)
{
    ring = (void *)(VIRT_BASE + machine_to_physical[start_info->store_mfn] * PAGE_SIZE);
}

int xenstore_read(const char *path, char *value, size_t size)
{
    struct xsd_sockmsg header = { .type = XS_READ, .len = strlen(path) + 1 };

    put(&header, sizeof(header));
    put(path, header.len);
    notify();
    get(&header, sizeof(header), sizeof(header));
    get(value, header.len, size - 1);
    notify();
    if (header.type == XS_ERROR)
        return -1;
    value[header.len < size ? header.len : size - 1] = 0;
    return header.len;
}

int xenstore_write(const char *path, const char *value)
{
    struct xsd_sockmsg header = { .type = XS_WRITE, .len = strlen(path) + 1 + strlen(value) };

    put(&header, sizeof(header));
    put(path, strlen(path) + 1);
    put(value, strlen(value));
    notify();
    get(&header, sizeof(header), sizeof(header));
    get(0, header.len, 0);
    notify();
    return header.type == XS_ERROR ? -1 : 0;
}
