/*
 * grant_table_op, asked rightly and wrongly. A domain may map and copy what it grants itself, so one domain shows nearly
 * everything; it knows its own number from an event channel. Frames and bus addresses are compared, never printed.
 */
#include "grants.h"

static unsigned char table_pages[TABLE_FRAMES][PAGE_SIZE] __attribute__((aligned(4096)));
volatile grant_entry_v1_t *const v1 = (volatile grant_entry_v1_t *)table_pages;
volatile grant_entry_v2_t *const v2 = (volatile grant_entry_v2_t *)table_pages;
domid_t self;
unsigned char data[4][PAGE_SIZE] __attribute__((aligned(4096)));
unsigned char window[8][PAGE_SIZE] __attribute__((aligned(4096)));
unsigned char batch[2 * PAGE_SIZE] __attribute__((aligned(4096)));
struct gnttab_map_grant_ref map_op;

void tell(const char *what, long answer, int status)
{
    if (answer)
        result(what, answer);
    else
        print("%-52s -> status %d\n", what, status);
}

void grant(grant_ref_t ref, uint16_t flags, domid_t domid, uint64_t frame)
{
    v1[ref].flags = 0;
    v1[ref].domid = domid;
    v1[ref].frame = frame;
    barrier();
    v1[ref].flags = flags;
}

void grant_page(grant_ref_t ref, uint16_t flags, const volatile void *page)
{
    grant(ref, flags, self, mfn_of(page));
}

unsigned int flags_of(grant_ref_t ref)
{
    return ref < sizeof(table_pages) / sizeof(*v1) ? v1[ref].flags : 0;
}

long map_at(domid_t dom, grant_ref_t ref, uint32_t flags, uint64_t where)
{
    map_op = (struct gnttab_map_grant_ref){
        .host_addr = where, .flags = flags, .ref = ref, .dom = dom, .status = 99, .handle = 0x5555, .dev_bus_addr = 0x5555,
    };
    return grant_table_op(GNTTABOP_map_grant_ref, &map_op, 1);
}

int map(grant_ref_t ref, uint32_t flags, const volatile void *where)
{
    return map_at(self, ref, flags, (uint64_t)where) ? 99 : map_op.status;
}

static long unmap_op(const volatile void *where, uint64_t bus, grant_handle_t handle, int *status)
{
    struct gnttab_unmap_grant_ref op = { .host_addr = (uint64_t)where, .dev_bus_addr = bus, .handle = handle, .status = 99 };
    long answer = grant_table_op(GNTTABOP_unmap_grant_ref, &op, 1);

    *status = op.status;
    return answer;
}

int unmap(const volatile void *where, grant_handle_t handle)
{
    int status;

    return unmap_op(where, 0, handle, &status) ? 99 : status;
}

void told_map(const char *what, grant_ref_t ref, uint32_t flags, const volatile void *where)
{
    int status = map(ref, flags, where);

    print("%-52s -> status %d", what, status);
    if (status == 0)
        print(", handle %u%s", map_op.handle, map_op.dev_bus_addr % PAGE_SIZE ? ", NO bus address" : "");
    else if (map_op.handle != 0x5555 || map_op.dev_bus_addr != 0x5555)
        print(", results changed");
    print(", entry %x\n", flags_of(ref));
}

void told_unmap(const char *what, const volatile void *where, uint64_t bus, grant_handle_t handle)
{
    int status;
    long answer = unmap_op(where, bus, handle, &status);

    tell(what, answer, status);
}

void told_flags(const char *what, int status, grant_ref_t ref)
{
    print("%-52s -> status %d, entry %x\n", what, status, flags_of(ref));
}

long setup_table(domid_t dom, uint32_t count, xen_pfn_t *list, int *status)
{
    struct gnttab_setup_table arg = { .dom = dom, .nr_frames = count, .status = 99 };
    long answer;

    set_xen_guest_handle(arg.frame_list, list);
    answer = grant_table_op(GNTTABOP_setup_table, &arg, 1);
    *status = arg.status;
    return answer;
}

void told_setup(const char *what, domid_t dom, uint32_t count, xen_pfn_t *list)
{
    int status;
    long answer = setup_table(dom, count, list, &status);

    tell(what, answer, status);
}

void told_status_frames(const char *what, domid_t dom, uint32_t count, xen_pfn_t *frames)
{
    struct gnttab_get_status_frames arg = { .nr_frames = count, .dom = dom, .status = 99 };
    long answer;

    set_xen_guest_handle(arg.frame_list, frames);
    answer = grant_table_op(GNTTABOP_get_status_frames, &arg, 1);
    tell(what, answer, arg.status);
}

void told_version(const char *what, uint32_t version)
{
    struct gnttab_set_version set = { .version = version };
    struct gnttab_get_version get = { .dom = DOMID_SELF };

    result(what, grant_table_op(GNTTABOP_set_version, &set, 1));
    grant_table_op(GNTTABOP_get_version, &get, 1);
    print("  version %u, told %u\n", get.version, set.version);
}

void told_entry(const char *what, const volatile void *where)
{
    print("%-52s -> %lx\n", what, *entry_of(where, 1) & ~PTE_FRAME);
}

void told_access(const char *what, volatile unsigned char *where)
{
    unsigned char byte = 0;

    print("%s\n", what);
    probe.target = where;
    PROBE("movb %1, %0", "+&q" (byte) : "m" (*where));
    report("  read");
    PROBE("movb %1, %0", "=m" (*where) : "q" (byte));
    report("  write");
    probe.target = 0;
}

void empty(volatile void *page)
{
    if (update_va_mapping(page, 0, UVMF_INVLPG))
        panic("a page cannot be unmapped");
}

static domid_t find_self(void)
{
    struct evtchn_alloc_unbound port = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    struct evtchn_status status = { .dom = DOMID_SELF };
    struct evtchn_close close;

    if (event_channel_op(EVTCHNOP_alloc_unbound, &port))
        panic("no event channel");
    status.port = close.port = port.port;
    event_channel_op(EVTCHNOP_status, &status);
    event_channel_op(EVTCHNOP_close, &close);
    return status.u.unbound.dom;
}

static void setup(void)
{
    xen_pfn_t frames[TABLE_FRAMES];

    told_setup("four frames", DOMID_SELF, TABLE_FRAMES, frames);
    for (unsigned int i = 0; i < TABLE_FRAMES; i++)
        if (update_va_mapping(table_pages[i], frames[i] * PAGE_SIZE | PTE_DATA, UVMF_INVLPG))
            panic("the grant table cannot be mapped");
    for (unsigned int i = 0; i < 8; i++)
        empty(window[i]);
    empty(batch + PAGE_SIZE);
}

static void table(void)
{
    static const domid_t doms[] = { DOMID_SELF, 0, 999, DOMID_IO, DOMID_XEN, DOMID_INVALID };
    static xen_pfn_t frames[8];
    struct gnttab_query_size size;
    struct gnttab_get_version version;

    section("the table");
    setup();
    print("granted for console and xenstore: %x %x\n", v1[GNTTAB_RESERVED_CONSOLE].flags, v1[GNTTAB_RESERVED_XENSTORE].flags);
    claim("nothing else is granted", v1[2].flags == 0 && v1[8].flags == 0 && v1[512 * TABLE_FRAMES - 1].flags == 0);
    for (int i = 0; i < 6; i++) {
        long answer;

        if (is_dom0() && doms[i] == 0)
            continue;
        size = (struct gnttab_query_size){ .dom = doms[i], .status = 99, .nr_frames = 77, .max_nr_frames = 88 };
        answer = grant_table_op(GNTTABOP_query_size, &size, 1);
        tell(numbered("query_size of dom", doms[i]), answer, size.status);
        print("  %u frames of %u\n", size.nr_frames, size.max_nr_frames);
        version = (struct gnttab_get_version){ .dom = doms[i], .version = 77 };
        result(numbered("get_version of dom", doms[i]), grant_table_op(GNTTABOP_get_version, &version, 1));
        print("  version %u\n", version.version);
        told_setup(numbered("setup_table of dom", doms[i]), doms[i], 1, frames);
        told_status_frames(numbered("get_status_frames of dom", doms[i]), doms[i], 0, frames);
    }
    size.dom = DOMID_SELF;
    result("query_size of itself by number", (size.dom = self, grant_table_op(GNTTABOP_query_size, &size, 1)));
    told_setup("setup_table, list in Xen", DOMID_SELF, 1, (xen_pfn_t *)IN_XEN);
    told_setup("setup_table, no list, in Xen", DOMID_SELF, 0, (xen_pfn_t *)IN_XEN);
    told_setup("setup_table of no domain, list in Xen", 999, 1, (xen_pfn_t *)IN_XEN);
    told_setup("setup_table, list not there", DOMID_SELF, 1, (xen_pfn_t *)UNMAPPED);
    told_status_frames("get_status_frames of version 1", DOMID_SELF, 1, frames);
    told_status_frames("get_status_frames, none, list in Xen", DOMID_SELF, 0, (xen_pfn_t *)IN_XEN);
    told_status_frames("get_status_frames of no domain, list in Xen", 999, 1, (xen_pfn_t *)IN_XEN);
    for (unsigned int cmd = 0; cmd < 14; cmd++) {
        print("operation %u: ", cmd);
        print("none %s, ", errno_name(grant_table_op(cmd, batch, 0)));
        print("two %s, ", errno_name(cmd == GNTTABOP_transfer ? 0 : grant_table_op(cmd, memset(batch, 0xff, 256), 2)));
        print("at 8 %s, ", errno_name(grant_table_op(cmd, UNMAPPED, 1)));
        print("none at 8 %s, ", errno_name(grant_table_op(cmd, UNMAPPED, 0)));
        print("none in Xen %s, ", errno_name(grant_table_op(cmd, IN_XEN, 0)));
        print("in Xen %s, ", errno_name(grant_table_op(cmd, IN_XEN, 1)));
        print("-1 %s, ", errno_name(grant_table_op(cmd, batch, -1)));
        print("with rubbish %s\n", errno_name(grant_table_op(cmd | 0x1000, batch, 1)));
    }
}

void guest_main(void)
{
    traps_init();
    self = find_self();
    table();
    mapping();
    page_tables();
    copying();
    transferring();
    version_2();
    limits();
    print("grants: done\n");
}
