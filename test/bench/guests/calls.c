/*
 * Makes one hypercall, or one trap, very often: the command line says which, and how often ("send_self 1000000"). A call
 * that does not answer as it should is a crash, so nobody takes the time of a refusal for that of the work.
 */
#include "paging.h"
#include "trap.h"
#include <xen/grant_table.h>

#define CALLS 32

static char page[2][PAGE_SIZE] __attribute__((aligned(4096)));
static char window[PAGE_SIZE] __attribute__((aligned(4096)));
static char table[PAGE_SIZE] __attribute__((aligned(4096)));
static struct multicall_entry calls[CALLS];
static struct evtchn_status port;               /* ours to ourselves */
static domid_t self;

static void must(long answer, long expected)
{
    if (answer != expected)
        panic(errno_name(answer));
}

/* A port to ourselves is bound, and by what it says we are somebody. */
static void bind_to_self(void)
{
    struct evtchn_alloc_unbound unbound = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    struct evtchn_bind_interdomain bound = { .remote_dom = DOMID_SELF };

    must(event_channel_op(EVTCHNOP_alloc_unbound, &unbound), 0);
    bound.remote_port = unbound.port;
    must(event_channel_op(EVTCHNOP_bind_interdomain, &bound), 0);
    port = (struct evtchn_status){ .dom = DOMID_SELF, .port = bound.local_port };
    must(event_channel_op(EVTCHNOP_status, &port), 0);
    self = port.u.interdomain.dom;
}

static void version(void) { must(xen_version(XENVER_version, 0), 4 << 16 | 17); }
static void yield(void) { must(sched_op(SCHEDOP_yield, 0), 0); }

static void send_closed(void)
{
    struct evtchn_send send = { .port = 500 };

    must(event_channel_op(EVTCHNOP_send, &send), -XEN_EINVAL);
}

static void status(void) { must(event_channel_op(EVTCHNOP_status, &port), 0); }

/* Pending each time anew; events are masked for the vCPU, as in a handler. */
static void send_self(void)
{
    struct evtchn_send send = { .port = port.port };

    must(event_channel_op(EVTCHNOP_send, &send), 0);
    shared_info->evtchn_pending[0] = 0;
    shared_info->vcpu_info[0].evtchn_pending_sel = 0;
    shared_info->vcpu_info[0].evtchn_upcall_pending = 0;
}

/* Another frame each time, as an entry changes hands. */
static void update_entry(void)
{
    static mmu_update_t request;
    static int turn;

    if (request.ptr == 0)
        request.ptr = maddr_of(entry_of(window, 1)) | MMU_NORMAL_PT_UPDATE;
    turn = !turn;
    request.val = make_pte(page[turn], PTE_DATA);
    must(mmu_update(&request, 1, 0, DOMID_SELF), 0);
}

static void multicall(void)
{
    must(HYPERCALL2(__HYPERVISOR_multicall, calls, CALLS), 0);
}

static void prepare_multicall(void)
{
    for (int i = 0; i < CALLS; i++) {
        calls[i].op = __HYPERVISOR_xen_version;
        calls[i].args[0] = XENVER_version;
    }
}

static void prepare_grants(void)
{
    grant_entry_v1_t *entries = (grant_entry_v1_t *)table;
    unsigned long frame;
    struct gnttab_setup_table setup = { .dom = DOMID_SELF, .nr_frames = 1 };

    set_xen_guest_handle(setup.frame_list, &frame);
    bind_to_self();
    must(HYPERCALL3(__HYPERVISOR_grant_table_op, GNTTABOP_setup_table, &setup, 1), 0);
    must(setup.status, GNTST_okay);
    must(update_va_mapping(table, frame * PAGE_SIZE | PTE_DATA, UVMF_INVLPG), 0);
    for (int i = 0; i < 2; i++)
        entries[8 + i] = (grant_entry_v1_t){ .flags = GTF_permit_access, .domid = self, .frame = mfn_of(page[i]) };
    must(update_va_mapping(window, 0, UVMF_INVLPG), 0);
}

static void grant_map_unmap(void)
{
    struct gnttab_map_grant_ref map = { .host_addr = (uint64_t)window, .flags = GNTMAP_host_map, .ref = 8, .dom = self };
    struct gnttab_unmap_grant_ref unmap = { .host_addr = (uint64_t)window };

    must(HYPERCALL3(__HYPERVISOR_grant_table_op, GNTTABOP_map_grant_ref, &map, 1), 0);
    must(map.status, GNTST_okay);
    unmap.handle = map.handle;
    must(HYPERCALL3(__HYPERVISOR_grant_table_op, GNTTABOP_unmap_grant_ref, &unmap, 1), 0);
    must(unmap.status, GNTST_okay);
}

static void grant_copy(void)
{
    struct gnttab_copy copy = { .flags = GNTCOPY_source_gref | GNTCOPY_dest_gref, .len = PAGE_SIZE };

    copy.source.u.ref = 8;
    copy.source.domid = copy.dest.domid = self;
    copy.dest.u.ref = 9;
    must(HYPERCALL3(__HYPERVISOR_grant_table_op, GNTTABOP_copy, &copy, 1), 0);
    must(copy.status, GNTST_okay);
}

static void nothing(void)
{
    barrier();
}

static const struct { const char *name; void (*prepare)(void), (*call)(void); } kinds[] = {
    { "nothing", nothing, nothing },
    { "version", nothing, version },
    { "yield", nothing, yield },
    { "send_closed", nothing, send_closed },
    { "status", bind_to_self, status },
    { "send_self", bind_to_self, send_self },
    { "update_entry", nothing, update_entry },
    { "multicall", prepare_multicall, multicall },
    { "grant_map_unmap", prepare_grants, grant_map_unmap },
    { "grant_copy", prepare_grants, grant_copy },
};

void guest_main(void)
{
    const char *line = (const char *)start_info->cmd_line;

    map_shared_info();
    for (unsigned int i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        size_t size = strlen(kinds[i].name);
        unsigned long count = 0;
        const char *at = line;

        while (size && *at == kinds[i].name[at - line] && --size)
            at++;
        if (size || at[1] != ' ')
            continue;
        for (at += 2; *at >= '0' && *at <= '9'; at++)
            count = count * 10 + (unsigned long)(*at - '0');
        kinds[i].prepare();
        while (count--)
            kinds[i].call();
        return;
    }
    panic("the command line names no call");
}
