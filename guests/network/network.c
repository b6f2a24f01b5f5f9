/*
 * A network of one guest: two virtual interfaces on one bridge, so that what one sends the other receives. Frames of every
 * shape, requests with everything that can be wrong with them, the two ends of a connection, and what ends it for good.
 * xen:public/io/netif.h; the back end is Linux's, the bridge too.
 */
#include "paging.h"
#include "ports.h"
#include "time.h"
#include "trap.h"
#include "event.h"
#include "xenstore.h"
#include <xen/grant_table.h>
#include <xen/io/xenbus.h>

#define xen_mb()  barrier()
#define xen_rmb() barrier()
#define xen_wmb() barrier()
#include <xen/io/ring.h>
#include <xen/io/netif.h>

#define BUFFERS   24                            /* pages to send from; and as many to receive into */
#define PATIENCE  (300 * MILLISECOND)           /* for what comes, and for what shall not come */
#define NO_ANSWER 99
#define FRAME_MAX 2048

struct vif {
    char front[32], back[64];
    uint8_t mac[6];
    netif_tx_front_ring_t tx;
    netif_rx_front_ring_t rx;
    evtchn_port_t tx_port, rx_port;
    grant_ref_t refs;                           /* the rings, then what is sent, then what is received */
    uint8_t (*out)[PAGE_SIZE], (*in)[PAGE_SIZE];
    unsigned int posted;
};

static uint8_t table_page[PAGE_SIZE] __attribute__((aligned(4096)));
static uint8_t rings[4][PAGE_SIZE] __attribute__((aligned(4096)));
static uint8_t sent[2][BUFFERS][PAGE_SIZE] __attribute__((aligned(4096)));
static uint8_t received[2][BUFFERS][PAGE_SIZE] __attribute__((aligned(4096)));
static volatile grant_entry_v1_t *const table = (volatile grant_entry_v1_t *)table_page;
static struct vif vifs[2];

#define REFS      (2 + 2 * BUFFERS)
#define TX_REF(v) ((v)->refs)
#define RX_REF(v) ((v)->refs + 1)
#define OUT_REF(v, i) ((v)->refs + 2 + (i))
#define IN_REF(v, i)  ((v)->refs + 2 + BUFFERS + (i))

/* Texts. */

static char *append(char *to, const char *from)
{
    while ((*to = *from++))
        to++;
    return to;
}

static char *append_number(char *to, unsigned long value)
{
    char digits[24], *end = digits + sizeof(digits);

    *--end = 0;
    do
        *--end = '0' + value % 10;
    while (value /= 10);
    return append(to, end);
}

static const char *path_of(const char *folder, const char *key)
{
    static char path[128];

    append(append(append(path, folder), "/"), key);
    return path;
}

static void put(struct vif *vif, const char *key, const char *value)
{
    if (xenstore_write(path_of(vif->front, key), value))
        panic("a node of our own cannot be written");
}

static void put_number(struct vif *vif, const char *key, unsigned long value)
{
    char text[24];

    append_number(text, value);
    put(vif, key, text);
}

static void show(const char *folder, const char *key)
{
    char value[64];

    print("%-52s -> %s\n", key, xenstore_read(path_of(folder, key), value, sizeof(value)) < 0 ? "(none)" : value);
}

/* Grants and connections. */

static void grant(grant_ref_t ref, uint16_t flags, domid_t domid, const volatile void *page)
{
    table[ref].flags = 0;
    table[ref].domid = domid;
    table[ref].frame = mfn_of(page);
    barrier();
    table[ref].flags = flags;
}

static void grant_init(void)
{
    xen_pfn_t frame;
    struct gnttab_setup_table setup = { .dom = DOMID_SELF, .nr_frames = 1 };

    set_xen_guest_handle(setup.frame_list, &frame);
    if (HYPERCALL3(__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, &setup, 1) || setup.status
        || update_va_mapping(table_page, frame * PAGE_SIZE | PTE_DATA, UVMF_INVLPG))
        panic("no grant table");
}

static uint64_t deadline;

static void be_patient_for(uint64_t nanoseconds)
{
    deadline = system_time() + nanoseconds;
}

static void be_patient(void)
{
    be_patient_for(PATIENCE);
}

static int is_late(void)
{
    sleep_for(MILLISECOND);
    return system_time() > deadline;
}

static int back_state(struct vif *vif)
{
    char value[8];

    return xenstore_read(path_of(vif->back, "state"), value, sizeof(value)) == 1 ? value[0] - '0' : -1;
}

static void wait_for(struct vif *vif, int state)
{
    be_patient_for(10 * SECOND);
    while (back_state(vif) != state && !is_late())
        ;
}

static void told_state(const char *what, struct vif *vif, int state, int expected)
{
    put_number(vif, "state", state);
    wait_for(vif, expected);
    print("%-52s -> back end %d, granted %s\n", what, back_state(vif),
          table[TX_REF(vif)].flags & (GTF_reading | GTF_writing) ? "and mapped" : "only");
}

static void post(struct vif *vif, unsigned int id, grant_ref_t ref)
{
    netif_rx_request_t *request = RING_GET_REQUEST(&vif->rx, vif->rx.req_prod_pvt);

    *request = (netif_rx_request_t){ .id = id, .gref = ref };
    vif->rx.req_prod_pvt++;
    vif->posted++;
}

static void push_posted(struct vif *vif)
{
    int notify;

    RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&vif->rx, notify);
    if (notify)
        port_op(EVTCHNOP_send, vif->rx_port);
}

/* Fresh rings, ports and nodes; nothing is told yet. */
static void offer(struct vif *vif, int is_split)
{
    int which = vif - vifs;
    netif_tx_sring_t *tx = (void *)rings[2 * which];
    netif_rx_sring_t *rx = (void *)rings[2 * which + 1];

    SHARED_RING_INIT(tx);
    FRONT_RING_INIT(&vif->tx, tx, PAGE_SIZE);
    SHARED_RING_INIT(rx);
    FRONT_RING_INIT(&vif->rx, rx, PAGE_SIZE);
    vif->posted = 0;
    grant(TX_REF(vif), GTF_permit_access, 0, tx);
    grant(RX_REF(vif), GTF_permit_access, 0, rx);
    for (int i = 0; i < BUFFERS; i++) {
        grant(OUT_REF(vif, i), GTF_permit_access | GTF_readonly, 0, vif->out[i]);
        grant(IN_REF(vif, i), GTF_permit_access, 0, vif->in[i]);
    }
    if (!vif->tx_port && alloc_unbound(DOMID_SELF, 0, &vif->tx_port))
        panic("no port");
    vif->rx_port = vif->tx_port;
    if (is_split && alloc_unbound(DOMID_SELF, 0, &vif->rx_port))
        panic("no port");
    put_number(vif, "tx-ring-ref", TX_REF(vif));
    put_number(vif, "rx-ring-ref", RX_REF(vif));
    if (is_split) {
        put_number(vif, "event-channel-tx", vif->tx_port);
        put_number(vif, "event-channel-rx", vif->rx_port);
    } else {
        put_number(vif, "event-channel", vif->tx_port);
    }
    put(vif, "request-rx-copy", "1");
    put(vif, "feature-rx-notify", "1");
    put(vif, "feature-sg", "1");
}

static void post_all(struct vif *vif)
{
    for (int i = 0; i < BUFFERS; i++)
        post(vif, i, IN_REF(vif, i));
    push_posted(vif);
}

static void vif_init(int which)
{
    struct vif *vif = &vifs[which];
    char text[24];

    append_number(append(vif->front, "device/vif/"), which);
    if (xenstore_read(path_of(vif->front, "backend"), vif->back, sizeof(vif->back)) < 0) {
        print("This guest needs two interfaces on one bridge.\n");
        poweroff();
    }
    xenstore_read(path_of(vif->front, "mac"), text, sizeof(text));
    for (int i = 0; i < 6; i++) {
        unsigned int byte = 0;

        for (int j = 0; j < 2; j++) {
            char c = text[3 * i + j];
            byte = byte * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
        }
        vif->mac[i] = byte;
    }
    vif->refs = 8 + which * REFS;
    vif->out = sent[which];
    vif->in = received[which];
}

/* Frames. */

struct slot { unsigned int offset, size, flags; grant_ref_t ref; int extra; };

static unsigned int next_id;

static void put_slot(struct vif *vif, const struct slot *slot)
{
    netif_tx_request_t *request = RING_GET_REQUEST(&vif->tx, vif->tx.req_prod_pvt++);

    if (slot->extra) {
        struct netif_extra_info *info = (void *)request;

        memset(request, 0, sizeof(*request));
        info->type = slot->extra & 0xff;
        info->flags = slot->flags;
        if (info->type == XEN_NETIF_EXTRA_TYPE_GSO) {
            info->u.gso.size = 1000;
            info->u.gso.type = XEN_NETIF_GSO_TYPE_TCPV4;
        } else {
            info->u.mcast.addr[0] = 1;
        }
        return;
    }
    *request = (netif_tx_request_t){
        .gref = slot->ref, .offset = slot->offset, .size = slot->size, .flags = slot->flags, .id = next_id++,
    };
}

static void push_slots(struct vif *vif)
{
    int notify;

    RING_PUSH_REQUESTS_AND_CHECK_NOTIFY(&vif->tx, notify);
    if (notify)
        port_op(EVTCHNOP_send, vif->tx_port);
}

/* Waits for so many answers, and tells the status of each; they may come in any order. */
static void told_answers(struct vif *vif, unsigned int first_id, int count)
{
    RING_IDX end = vif->tx.rsp_cons + count;
    int statuses[24], nulls = 0, some = 0;

    for (int i = 0; i < 24; i++)
        statuses[i] = NO_ANSWER;

    be_patient();
    while ((int)(vif->tx.sring->rsp_prod - end) < 0 && !is_late())
        ;
    xen_rmb();
    for (; vif->tx.rsp_cons != vif->tx.sring->rsp_prod; vif->tx.rsp_cons++) {
        netif_tx_response_t *response = RING_GET_RESPONSE(&vif->tx, vif->tx.rsp_cons);

        unsigned int number = (uint16_t)(response->id - first_id);

        some = 1;
        if (response->status == NETIF_RSP_NULL)
            nulls++;
        else if (number < 24)
            statuses[number] = response->status;
        else
            print(" OF ANOTHER");
    }
    for (int i = 0; i < 24; i++)
        if (statuses[i] != NO_ANSWER)
            print(" %d", statuses[i]);
    if (nulls)
        print(", extra %d", nulls);
    if (!some)
        print(" no answer");
    vif->tx.sring->rsp_event = vif->tx.rsp_cons + 1;
}

/* What has come by now: length or status, flags, and whether it is what was sent. */
static void told_received(struct vif *vif, int count, const uint8_t *frame, unsigned int size)
{
    RING_IDX end = vif->rx.rsp_cons + count;

    be_patient();
    while ((int)(vif->rx.sring->rsp_prod - end) < 0 && !is_late())
        ;
    if (count == 0)
        sleep_for(20 * MILLISECOND);
    xen_rmb();
    if (vif->rx.rsp_cons == vif->rx.sring->rsp_prod)
        print("; none received");
    for (; vif->rx.rsp_cons != vif->rx.sring->rsp_prod; vif->rx.rsp_cons++) {
        netif_rx_response_t *response = RING_GET_RESPONSE(&vif->rx, vif->rx.rsp_cons);
        int differ = 0;

        vif->posted--;
        print("; received %d", response->status);
        if (response->status > 0 && response->id < BUFFERS) {
            for (int i = 0; i < response->status && frame; i++)
                differ |= i < (int)size ? vif->in[response->id][response->offset + i] != frame[i] : 0;
            print(" in buffer %d at %d, flags %x%s", response->id, response->offset, response->flags, differ ? ", OTHER BYTES" : "");
        }
    }
    vif->rx.sring->rsp_event = vif->rx.rsp_cons + 1;
}

static uint8_t frame[FRAME_MAX];

static const uint8_t everybody[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

/* An Ethernet frame of a type that nobody knows, of `size` bytes, each number of which is another one. */
static void make_frame(const uint8_t *to, const uint8_t *from, unsigned int size)
{
    static uint8_t number;

    number++;
    for (unsigned int i = 0; i < size; i++)
        frame[i] = i * 7 + number;
    memcpy(frame, to, 6);
    memcpy(frame + 6, from, 6);
    frame[12] = 0x88;
    frame[13] = 0xb5;                           /* for local experiments */
}

/* Sends `frame` from the page of buffer 0 on, in slots of these sizes. */
static void send_frame(const char *what, struct vif *from, const unsigned int *sizes, unsigned int offset, int arrives)
{
    struct vif *to = from == vifs ? vifs + 1 : vifs;
    unsigned int total = 0, first_id = next_id;
    int count = 0;

    for (; sizes[count]; count++)
        total += sizes[count];
    for (int i = 0, done = 0; i < count; done += sizes[i++]) {
        struct slot slot = {
            .offset = offset, .size = i ? sizes[i] : total, .ref = OUT_REF(from, i), .flags = i + 1 < count ? NETTXF_more_data : 0,
        };
        memcpy(from->out[i] + offset, frame + done, sizes[i]);
        put_slot(from, &slot);
    }
    push_slots(from);
    print("%-52s ->", what);
    told_answers(from, first_id, count);
    told_received(to, arrives, frame, total);
    print("\n");
}

#define SIZES(...) ((const unsigned int[]){ __VA_ARGS__, 0 })

static void frames(void)
{
    struct vif *a = vifs, *b = vifs + 1;

    section("frames");
    make_frame(everybody, a->mac, 60);
    send_frame("60 bytes for everybody", a, SIZES(60), 0, 1);
    claim("  the receiver was told", is_pending(b->rx_port));
    claim("  the sender was told", is_pending(a->tx_port));
    make_frame(a->mac, b->mac, 100);
    send_frame("100 bytes back, somewhere in a page", b, SIZES(100), 3000, 1);
    make_frame(b->mac, a->mac, 300);
    send_frame("300 bytes in three slots", a, SIZES(100, 150, 50), 17, 1);
    make_frame(b->mac, a->mac, 14);
    send_frame("14 bytes, a header alone", a, SIZES(14), 0, 1);
    make_frame(b->mac, a->mac, 15);
    send_frame("15 bytes in two slots", a, SIZES(14, 1), 0, 1);
    make_frame(b->mac, a->mac, 1514);
    send_frame("1514 bytes, as much as the network takes", a, SIZES(1514), 4096 - 1514, 1);
    make_frame(b->mac, a->mac, 1519);
    send_frame("1519 bytes are more", a, SIZES(1000, 519), 0, 0);
    make_frame(a->mac, a->mac, 60);
    send_frame("to itself", a, SIZES(60), 0, 0);
    make_frame(b->mac, everybody, 60);
    send_frame("from everybody", a, SIZES(60), 0, 0);
    make_frame((const uint8_t[]){ 1, 0x80, 0xc2, 0, 0, 14 }, a->mac, 60);
    send_frame("to the next bridge", a, SIZES(60), 0, 0);
    make_frame((const uint8_t[]){ 2, 1, 2, 3, 4, 5 }, a->mac, 60);
    send_frame("to nobody known", a, SIZES(60), 0, 1);
    make_frame((const uint8_t[]){ 1, 0, 0x5e, 1, 2, 3 }, a->mac, 60);
    send_frame("to a group", a, SIZES(60), 0, 1);
    make_frame(b->mac, a->mac, 54);
    send_frame("18 slots", a, SIZES(14, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 5), 40, 1);
}

static void told_slots(const char *what, const struct slot *slots, int count, int arrives)
{
    unsigned int first_id = next_id;

    make_frame(vifs[1].mac, vifs[0].mac, 600);
    for (int i = 0; i < BUFFERS; i++)
        memcpy(vifs[0].out[i], frame, 600);
    for (int i = 0; i < count; i++)
        put_slot(vifs, &slots[i]);
    push_slots(vifs);
    print("%-52s ->", what);
    told_answers(vifs, first_id, count);
    told_received(vifs + 1, arrives, 0, 0);
    print("\n");
}

#define TOLD_SLOTS(what, arrives, ...) do {                                             \
        const struct slot slots[] = { __VA_ARGS__ };                                    \
        told_slots(what, slots, sizeof(slots) / sizeof(*slots), arrives);               \
    } while (0)
#define MORE  NETTXF_more_data
#define EXTRA NETTXF_extra_info
#define GOOD  { .size = 60, .ref = OUT_REF(vifs, 0) }
#define PART(n, f) { .size = (n), .ref = OUT_REF(vifs, 0), .flags = (f) }
#define INFO(t, f) { .extra = 0x100 | (t), .flags = (f) }

static void requests(void)
{
    struct slot many[20];

    section("requests");
    TOLD_SLOTS("13 bytes", 0, { .size = 13, .ref = OUT_REF(vifs, 0) });
    TOLD_SLOTS("no bytes", 0, { .size = 0, .ref = OUT_REF(vifs, 0) });
    TOLD_SLOTS("13 bytes in two slots", 0, PART(13, MORE), PART(3, 0));
    TOLD_SLOTS("a reference that grants nothing", 0, { .size = 60, .ref = 400 });
    TOLD_SLOTS("a reference beyond the table", 0, { .size = 60, .ref = 0xffffffff });
    TOLD_SLOTS("two frames, the first without a grant", 1, { .size = 60, .ref = 400 }, GOOD);
    TOLD_SLOTS("a second slot without a grant", 0, PART(300, MORE), { .size = 100, .ref = 400 });
    TOLD_SLOTS("a first slot without a grant", 0, { .size = 300, .ref = 400, .flags = MORE }, PART(100, 0));
    TOLD_SLOTS("a slot larger than its frame", 0, PART(300, MORE), PART(301, 0));
    TOLD_SLOTS("a slot as large as its frame", 0, PART(300, MORE), PART(300, 0));
    TOLD_SLOTS("a slot of no bytes", 1, PART(300, MORE), PART(0, 0));
    for (int i = 0; i < 20; i++)
        many[i] = (struct slot)PART(i ? 10 : 300, i < 18 ? MORE : 0);
    told_slots("19 slots", many, 19, 1);
    many[18].flags = MORE;
    told_slots("20 slots", many, 20, 0);
    TOLD_SLOTS("  and a frame behind them", 1, GOOD);
    TOLD_SLOTS("data that was validated", 1, PART(60, NETTXF_data_validated));
    TOLD_SLOTS("flags that nobody knows", 1, PART(60, 0xfff0));
    TOLD_SLOTS("a blank checksum of no known protocol", 0, PART(60, NETTXF_csum_blank));
    TOLD_SLOTS("a hash", 1, PART(60, EXTRA), INFO(XEN_NETIF_EXTRA_TYPE_HASH, 0));
    TOLD_SLOTS("a hash and a second slot", 1, PART(300, EXTRA | MORE), INFO(XEN_NETIF_EXTRA_TYPE_HASH, 0), PART(100, 0));
    TOLD_SLOTS("a hash twice", 1, PART(60, EXTRA), INFO(XEN_NETIF_EXTRA_TYPE_HASH, 1), INFO(XEN_NETIF_EXTRA_TYPE_HASH, 0));
    TOLD_SLOTS("a hash of 13 bytes", 0, PART(13, EXTRA), INFO(XEN_NETIF_EXTRA_TYPE_HASH, 0));
    TOLD_SLOTS("a group to join", 0, PART(60, EXTRA), INFO(XEN_NETIF_EXTRA_TYPE_MCAST_ADD, 0));
    TOLD_SLOTS("a group to leave", 0, PART(60, EXTRA), INFO(XEN_NETIF_EXTRA_TYPE_MCAST_DEL, 0));
}

static uint16_t sum_of(const uint8_t *bytes, unsigned int size, uint32_t sum)
{
    for (unsigned int i = 0; i < size; i++)
        sum += i & 1 ? bytes[i] : bytes[i] << 8;
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return sum;
}

/* UDP in IPv4: 20 bytes of header, 8 of UDP's, and some data. */
static void make_datagram(unsigned int size, int protocol)
{
    uint8_t *ip = frame + 14, *udp = ip + 20;
    unsigned int length = size - 14;
    uint16_t sum;

    make_frame(vifs[1].mac, vifs[0].mac, size);
    frame[12] = 8;
    frame[13] = 0;
    memcpy(ip, (const uint8_t[]){ 0x45, 0, length >> 8, length, 0, 1, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2 }, 20);
    sum = ~sum_of(ip, 20, 0);
    ip[10] = sum >> 8;
    ip[11] = sum;
    length -= 20;
    if (protocol == 17) {
        memcpy(udp, (const uint8_t[]){ 0x10, 1, 0x10, 2, length >> 8, length, 0, 0 }, 8);
        sum = sum_of(ip + 12, 8, protocol + length);            /* of the pseudo header alone */
        udp[6] = sum >> 8;
        udp[7] = sum;
    }
}

static void send_datagram(const char *what, unsigned int size, int protocol, int arrives)
{
    struct slot slot = { .size = size, .ref = OUT_REF(vifs, 0), .flags = NETTXF_csum_blank | NETTXF_data_validated };
    unsigned int first_id = next_id;
    RING_IDX next = vifs[1].rx.rsp_cons;

    make_datagram(size, protocol);
    memcpy(vifs[0].out[0], frame, size);
    put_slot(vifs, &slot);
    push_slots(vifs);
    print("%-52s ->", what);
    told_answers(vifs, first_id, 1);
    told_received(vifs + 1, arrives, 0, 0);
    if (vifs[1].rx.rsp_cons != next) {
        netif_rx_response_t *response = RING_GET_RESPONSE(&vifs[1].rx, next);
        uint8_t *ip = vifs[1].in[response->id] + response->offset + 14;
        unsigned int length = size - 34;

        print(", %s", ip[26] == frame[40] && ip[27] == frame[41] ? "its checksum as sent"
              : sum_of(ip + 20, length, sum_of(ip + 12, 8, protocol + length)) == 0xffff ? "its checksum right" : "its checksum WRONG");
    }
    print("\n");
}

static void checksums(int is_told)
{
    send_datagram(is_told ? "a blank checksum of UDP" : "a blank checksum, for who takes none", 100, 17, 1);
    send_datagram("  of an odd number of bytes", 101, 17, 1);
    send_datagram("  of a protocol that has none", 100, 200, 0);
}

/* The ring's buffers are used up first, so that those that follow are the next ones. */
static void drain(void)
{
    while (vifs[1].posted) {
        struct slot slot = GOOD;
        RING_IDX end = vifs[1].rx.rsp_cons + 1;

        make_frame(vifs[1].mac, vifs[0].mac, 60);
        memcpy(vifs[0].out[0], frame, 60);
        put_slot(vifs, &slot);
        push_slots(vifs);
        be_patient();
        while ((vifs[1].rx.sring->rsp_prod != end || vifs[0].tx.sring->rsp_prod != vifs[0].tx.rsp_cons + 1) && !is_late())
            ;
        vifs[1].rx.rsp_cons = vifs[1].rx.sring->rsp_prod;
        vifs[0].tx.rsp_cons = vifs[0].tx.sring->rsp_prod;
        vifs[1].posted--;
    }
    vifs[1].rx.sring->rsp_event = vifs[1].rx.rsp_cons + 1;
    vifs[0].tx.sring->rsp_event = vifs[0].tx.rsp_cons + 1;
}

static void told_buffer(const char *what, grant_ref_t ref)
{
    post(vifs + 1, 7, ref);
    push_posted(vifs + 1);
    told_slots(what, (const struct slot[]){ GOOD }, 1, 1);
}

static void buffers(void)
{
    struct vif *to = vifs + 1;

    section("buffers");
    drain();
    told_slots("no buffer", (const struct slot[]){ GOOD }, 1, 0);
    told_slots("  another", (const struct slot[]){ PART(61, 0) }, 1, 0);
    post(to, 3, IN_REF(to, 3));
    push_posted(to);
    print("%-52s ->", "a buffer for the one that waits");
    told_received(to, 1, 0, 0);
    print("\n");
    post(to, 4, IN_REF(to, 4));
    push_posted(to);
    print("%-52s ->", "  and for the other");
    told_received(to, 1, 0, 0);
    print("\n");
    told_buffer("a buffer of its number", IN_REF(to, 7));
    told_buffer("a buffer that is not granted", 400);
    told_buffer("a buffer beyond the table", 0xfffffff0);
    grant(401, GTF_permit_access | GTF_readonly, 0, to->in[7]);
    told_buffer("a buffer to be read only", 401);
    grant(402, GTF_permit_access, 5, to->in[7]);
    told_buffer("a buffer for somebody else", 402);
    told_buffer("  and a good one again", IN_REF(to, 7));
}

static void told_offer(const char *what, const char *key, const char *value)
{
    struct vif *vif = vifs;

    offer(vif, 0);
    put(vif, key, value);
    told_state(what, vif, XenbusStateConnected, XenbusStateConnected);
    put_number(vif, "state", XenbusStateClosed);
    wait_for(vif, XenbusStateClosed);
    put_number(vif, "state", XenbusStateInitialising);
    wait_for(vif, XenbusStateInitWait);
}

static void connections(void)
{
    struct vif *vif = vifs;

    section("connections");
    told_state("closing", vif, XenbusStateClosing, XenbusStateClosing);
    told_state("closed", vif, XenbusStateClosed, XenbusStateClosed);
    told_state("initialising", vif, XenbusStateInitialising, XenbusStateInitWait);
    offer(vif, 0);
    told_state("initialised", vif, XenbusStateInitialised, XenbusStateInitWait);
    told_state("connected", vif, XenbusStateConnected, XenbusStateConnected);
    post_all(vif);
    TOLD_SLOTS("a frame", 0, GOOD);
    told_state("closed at once", vif, XenbusStateClosed, XenbusStateClosed);
    told_state("initialising", vif, XenbusStateInitialising, XenbusStateInitWait);
    told_offer("a ring that is not granted", "tx-ring-ref", "400");
    told_offer("a ring of no number", "rx-ring-ref", "x");
    told_offer("a port that waits for nobody", "event-channel", "1000");
    told_offer("no copies wanted", "request-rx-copy", "0");
    told_offer("more queues than there are", "multi-queue-num-queues", "99");
    put(vif, "multi-queue-num-queues", "1");
    told_offer("all is well", "feature-sg", "1");
}

static void the_end(void)
{
    struct vif *vif = vifs;

    section("the end");
    offer(vif, 0);
    told_state("connected", vif, XenbusStateConnected, XenbusStateConnected);
    TOLD_SLOTS("a slot that crosses a page", 0, { .offset = 4000, .size = 97, .ref = OUT_REF(vif, 0) });
    TOLD_SLOTS("a frame behind it", 0, GOOD);
    print("%-52s -> back end %d\n", "the state", back_state(vif));
    told_state("closed", vif, XenbusStateClosed, XenbusStateClosed);
    told_state("initialising", vif, XenbusStateInitialising, XenbusStateInitWait);
    offer(vif, 0);
    told_state("connected", vif, XenbusStateConnected, XenbusStateConnected);
    TOLD_SLOTS("it stays dead", 0, GOOD);
}

void guest_main(void)
{
    traps_init();
    if (is_dom0()) {
        print("This guest needs two interfaces on one bridge.\n");
        return;
    }
    xenstore_init();
    grant_init();
    vif_init(0);
    vif_init(1);

    section("nodes");
    for (int i = 0; i < 2; i++) {
        const char *const keys[] = { "backend-id", "handle", "mac", "mtu", "state", "trusted" };

        for (unsigned int j = 0; j < sizeof(keys) / sizeof(*keys); j++)
            show(vifs[i].front, keys[j]);
    }
    wait_for(vifs, XenbusStateInitWait);
    const char *const features[] = {
        "frontend-id", "online", "state", "handle", "mac", "bridge", "type", "script", "hotplug-status",
        "feature-rx-copy", "feature-rx-flip", "feature-sg", "feature-split-event-channels", "multi-queue-max-queues",
    };
    for (unsigned int j = 0; j < sizeof(features) / sizeof(*features); j++)
        show(vifs[0].back, features[j]);

    section("two connections");
    offer(vifs, 0);
    told_state("connected, one port for both rings", vifs, XenbusStateConnected, XenbusStateConnected);
    offer(vifs + 1, 1);
    told_state("connected, two ports", vifs + 1, XenbusStateConnected, XenbusStateConnected);
    post_all(vifs);
    post_all(vifs + 1);

    frames();
    post_all(vifs + 1);
    post_all(vifs + 1);
    requests();
    checksums(1);
    buffers();
    told_state("closed", vifs + 1, XenbusStateClosed, XenbusStateClosed);
    told_state("initialising", vifs + 1, XenbusStateInitialising, XenbusStateInitWait);
    offer(vifs + 1, 1);
    put(vifs + 1, "feature-no-csum-offload", "1");
    told_state("connected, without blank checksums", vifs + 1, XenbusStateConnected, XenbusStateConnected);
    post_all(vifs + 1);
    checksums(0);
    connections();
    the_end();
    print("network: done\n");
}
