/* The program: its console, its helpers, and what does not fit elsewhere. */
#include "pvh.h"
#include <xen/arch-x86/hvm/start_info.h>
#include <xen/io/console.h>
#include <xen/grant_table.h>
#include <xen/physdev.h>

extern uint32_t start_info_address;
unsigned char data[16][PAGE_SIZE] __attribute__((aligned(4096)));
unsigned char page[2 * PAGE_SIZE] __attribute__((aligned(4096)));
domid_t self;

static volatile struct xencons_interface *ring;
static evtchn_port_t ring_port;
static unsigned int checks;

void asked(const char *call)
{
    print("ok %u - %s: ", ++checks, call);
}

void *zeroed(void)
{
    return memset(page, 0, sizeof(page));
}

static void notify_ring(void)
{
    struct evtchn_send send = { .port = ring_port };

    event_channel_op(EVTCHNOP_send, &send);
}

void console_write(const char *text, size_t size)
{
    if (!ring) {
        console_io(CONSOLEIO_write, size, text);
        return;
    }
    for (size_t i = 0; i < size; i++) {
        while (ring->out_prod - ring->out_cons >= sizeof(ring->out)) {
            notify_ring();
            sched_op(SCHEDOP_yield, 0);
        }
        ring->out[MASK_XENCONS_IDX(ring->out_prod, ring->out)] = text[i];
        barrier();
        ring->out_prod++;
    }
    notify_ring();
}

static void end_with(unsigned int reason)
{
    struct sched_shutdown arg = { .reason = reason };

    while (ring && ring->out_cons != ring->out_prod)
        sched_op(SCHEDOP_yield, 0);
    sched_op(SCHEDOP_shutdown, &arg);
    for (;;)
        ;
}

static uint64_t parameter(uint32_t index)
{
    struct xen_hvm_param arg = { .domid = DOMID_SELF, .index = index };

    return hvm_op(HVMOP_get_param, &arg) ? 0 : arg.value;
}

static void find_hypercall_page(void)
{
    uint32_t base = 0x40000000, a, b, c, d;

    asm volatile ("cpuid" : "=a" (a), "=b" (b), "=c" (c), "=d" (d) : "a" (base + 2), "c" (0));
    asm volatile ("wrmsr" :: "c" (b), "a" ((uint32_t)(unsigned long)hypercall_page), "d" (0) : "memory");
}

const char *content(uint64_t address)
{
    static char digit[2];
    uint64_t word = word_at(address);

    if (word == -1UL)
        return "nothing";
    if (word > 9)
        return "something";
    digit[0] = '0' + word;
    return digit;
}

const struct wild_pointer pointers[] = {
    { "unmapped", ABSENT }, { "in the upper half", ODD }, { "non-canonical", NON_CANONICAL }, { "at the last byte of the address space", -1UL },
    { "to a gfn without memory", HOLE }, { "cut by an unmapped page", ABSENT - 1 }, { "to a read-only page", SMALL + 8 },
};

long add_to_physmap(domid_t dom, uint32_t space, uint64_t idx, uint64_t gfn)
{
    struct xen_add_to_physmap arg = { .domid = dom, .space = space, .idx = idx, .gpfn = gfn };

    return memory_op(XENMEM_add_to_physmap, &arg);
}

long remove_from_physmap(domid_t dom, uint64_t gfn)
{
    struct xen_remove_from_physmap arg = { .domid = dom, .gpfn = gfn };

    return memory_op(XENMEM_remove_from_physmap, &arg);
}

static long raw_call(unsigned long nr, unsigned long a1, unsigned long a2, unsigned long a3)
{
    register unsigned long r10 asm("r10") = 0, r8 asm("r8") = 0;
    long rax;

    asm volatile ("call *%[fn]" : "=a" (rax), "+D" (a1), "+S" (a2), "+d" (a3), "+r" (r10), "+r" (r8) : [fn] "r" (hypercall_page + nr * 32) : "memory", "rcx", "r9", "r11");
    return rax;
}

static void find_self(void)
{
    struct evtchn_alloc_unbound port = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    struct evtchn_status status = { .dom = DOMID_SELF };
    struct evtchn_close close;

    event_channel_op(EVTCHNOP_alloc_unbound, &port);
    close.port = status.port = port.port;
    event_channel_op(EVTCHNOP_status, &status);
    event_channel_op(EVTCHNOP_close, &close);
    self = status.u.unbound.dom;
}

/* What each number is for a PVH guest, with arguments that nothing comes of. */
static void numbers(void)
{
    for (unsigned int nr = 0; nr < 64; nr += 1 + (nr == 22))     /* the page has UD2 for iret */
        check("hypercall", raw_call(nr, 99, 0, 0), "number %u, first argument 99", nr);
}

static long feature(uint32_t index, uint32_t *map)
{
    struct xen_feature_info info = { .submap_idx = index };
    long answer = xen_version(XENVER_get_features, &info);

    *map = info.submap;
    return answer;
}

void others(void)
{
    static const char *const ops[] = { "irq_status_query", "set_iopl", "set_iobitmap", "eoi", "map_pirq", "unmap_pirq", "get_free_pirq", "pirq_eoi_gmfn_v2", "setup_gsi" };
    static const unsigned int cmds[] = { 5, 6, 7, 12, 13, 14, 23, 28, 21 };
    static multicall_entry_t calls[3] = { { .op = 17, .args = { XENVER_version } }, { .op = 1 }, { .op = 63 } };
    struct mmuext_op op = { .cmd = MMUEXT_TLB_FLUSH_LOCAL };
    struct evtchn_init_control control = { .control_gfn = gfn_of(data[6]) };
    struct evtchn_expand_array array = { .array_gfn = gfn_of(data[7]) };
    uint32_t map;

    for (uint32_t index = 0; index < 3; index++)
        check_out("xen_version.get_features", feature(index, &map), ("submap %u", index), ("submap=%x", map));
    for (unsigned int i = 0; i < sizeof(cmds) / sizeof(*cmds); i++)
        check("physdev_op", physdev_op(cmds[i], zeroed()), "%s", ops[i]);
    for (unsigned int cmd = 0; cmd < 22; cmd++) {
        op.cmd = cmd;
        check("mmuext_op", mmuext_op(&op, 1, 0, DOMID_SELF), "command %u", cmd);
    }
    check("multicall", HYPERCALL2(__HYPERVISOR_multicall, calls, 3), "xen_version, mmu_update, 63");
    check("multicall", calls[1].result, "mmu_update within");
    check("multicall", calls[2].result, "number 63 within");
    for (unsigned int type = 0; type < 6; type++)
        check("vm_assist", vm_assist(VMASST_CMD_enable, type), "enable %u", type);
    check("console_io", console_io(CONSOLEIO_write, 1, ABSENT), "write from an unmapped pointer");
    check("set_timer_op", set_timer_op(0), "0");
    check_pointers("xen_version.get_features", xen_version(XENVER_get_features, p->address));
    check_pointers("event_channel_op.alloc_unbound", event_channel_op(EVTCHNOP_alloc_unbound, p->address));
    check_pointers("sched_op.poll", p->address == SMALL + 8 ? -99 : sched_op(SCHEDOP_poll, p->address));
    control.control_gfn = gfn_of(HOLE);
    check("event_channel_op.init_control", event_channel_op(EVTCHNOP_init_control, &control), "a gfn without memory");
    control.control_gfn = 1UL << 40;
    check("event_channel_op.init_control", event_channel_op(EVTCHNOP_init_control, &control), "gfn 2^40");
    control.control_gfn = gfn_of(data[6]);
    check("event_channel_op.init_control", event_channel_op(EVTCHNOP_init_control, &control), "a page");
    array.array_gfn = gfn_of(HOLE);
    check("event_channel_op.expand_array", event_channel_op(EVTCHNOP_expand_array, &array), "a gfn without memory");
    array.array_gfn = gfn_of(data[7]);
    check("event_channel_op.expand_array", event_channel_op(EVTCHNOP_expand_array, &array), "a page");
    check("memory_op.remove_from_physmap", remove_from_physmap(DOMID_SELF, gfn_of(data[7])), "a page of the event array");
}

/* Called by start-pvh.S. */
void pvh_main(void)
{
    struct hvm_start_info *info = (void *)(unsigned long)start_info_address;

    find_hypercall_page();
    if (!(info->flags & SIF_INITDOMAIN)) {
        ring = (void *)(parameter(HVM_PARAM_CONSOLE_PFN) * PAGE_SIZE);
        ring_port = parameter(HVM_PARAM_CONSOLE_EVTCHN);
    }
    small_pages[0] = (uint64_t)data[15] | 0x65;
    find_self();
    print("TAP version 13\n");
    numbers();
    memory();
    grants();
    parameters();
    vcpus();
    others();
    print("1..%u\n", checks);
    end_with(SHUTDOWN_poweroff);
}
