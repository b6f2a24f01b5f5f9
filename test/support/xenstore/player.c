/*
 * A PV64 guest that plays a session (session.ts) on its xenstore ring and prints, in hexadecimal, all that comes back.
 * The session is the ramdisk: records of u32 kind, u32 size and that many bytes. record.ts builds it and reads its console.
 */
#include "guest.h"
#include <xen/io/xs_wire.h>

enum { END, MESSAGE, STEP, POKE, PEEK, RAW };

#define BARRIER_ID 0xffffffffU

static volatile struct xenstore_domain_interface *ring;
static struct xsd_sockmsg header;
static char body[XENSTORE_PAYLOAD_MAX + 1];

static void notify(void)
{
    struct evtchn_send send = { .port = start_info->store_evtchn };

    event_channel_op(EVTCHNOP_send, &send);
}

static void put(const void *data, size_t size)
{
    const char *from = data;

    for (size_t i = 0; i < size; i++) {
        while (ring->req_prod - ring->req_cons >= XENSTORE_RING_SIZE) {
            notify();
            sched_op(SCHEDOP_yield, 0);
        }
        ring->req[MASK_XENSTORE_IDX(ring->req_prod)] = from[i];
        barrier();
        ring->req_prod++;
    }
    notify();
}

static void get(void *data, size_t size)
{
    char *to = data;

    for (size_t i = 0; i < size; i++) {
        while (ring->rsp_prod == ring->rsp_cons) {
            notify();
            sched_op(SCHEDOP_yield, 0);
        }
        barrier();
        to[i] = ring->rsp[MASK_XENSTORE_IDX(ring->rsp_cons)];
        barrier();
        ring->rsp_cons++;
    }
}

static void show(void)
{
    static const char digits[] = "0123456789abcdef";
    static char hex[2 * XENSTORE_PAYLOAD_MAX + 1];
    char *to = hex;

    for (uint32_t i = 0; i < header.len; i++) {
        *to++ = digits[(unsigned char)body[i] >> 4];
        *to++ = digits[body[i] & 15];
    }
    *to++ = '\n';
    print("%u %u %u\n", header.type, header.req_id, header.tx_id);
    console_write(hex, to - hex);
}

static void receive(void)
{
    get(&header, sizeof(header));
    get(body, header.len);
    body[header.len] = 0;
}

/* Sends a request of our own and shows all that comes before its answer. */
static void ask(uint32_t type, const char *text)
{
    struct xsd_sockmsg request = { .type = type, .req_id = BARRIER_ID, .len = strlen(text) + 1 };

    put(&request, sizeof(request));
    put(text, request.len);
    for (receive(); header.req_id != BARRIER_ID; receive())
        show();
}

/* The other side runs a command, and then writes the step's number where only it and the guest look. */
static void wait_for_step(const char *number)
{
    print("$ %s\n", number);
    do {
        for (int i = 0; i < 100; i++)
            sched_op(SCHEDOP_yield, 0);
        ask(XS_READ, "control/sysrq");
    } while (strcmp(body, number));
}

/* Long enough for the daemon to have looked. */
static void pause(void)
{
    for (int i = 0; i < 30000; i++)
        sched_op(SCHEDOP_yield, 0);
}

void guest_main(void)
{
    const uint64_t *m2p = (const uint64_t *)MACH2PHYS_VIRT_START;
    const char *at = (const char *)start_info->mod_start;
    uint32_t record[2], poke[2];

    ring = (void *)(VIRT_BASE + m2p[start_info->store_mfn] * PAGE_SIZE);
    pause();
    for (;; at += record[1]) {
        memcpy(record, at, sizeof(record));
        at += sizeof(record);
        switch (record[0]) {
        case MESSAGE:
            put(at, record[1]);
            ask(XS_GET_DOMAIN_PATH, "0");
            break;
        case STEP:
            wait_for_step(at);
            break;
        case RAW:
            put(at, record[1]);
            pause();
            break;
        case POKE:
            memcpy(poke, at, sizeof(poke));
            *(volatile uint32_t *)((volatile char *)ring + poke[0]) = poke[1];
            notify();
            pause();
            break;
        case PEEK:
            memcpy(poke, at, sizeof(poke));
            print("= %u\n", *(volatile uint32_t *)((volatile char *)ring + poke[0]));
            break;
        default:
            return;
        }
        print(".\n");
    }
}
