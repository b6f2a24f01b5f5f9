/*
 * A guest that does each thing wrong that `beneath run --check` reports, once, in a function named after it. Ring -1 does
 * not mind any of them: it runs to its end here and on the real Xen.
 */
#include "event.h"
#include "paging.h"
#include "time.h"
#include "trap.h"
#include <xen/grant_table.h>

#define MISTAKE static __attribute__((noinline)) void
#define FIRST_REF 8
#define GRANT_WINDOW ((char *)(VIRT_BASE + 0x3ff000))

#define grant_table_op(cmd, arg, count) HYPERCALL3(__HYPERVISOR_grant_table_op, cmd, arg, count)

static char page[6][PAGE_SIZE] __attribute__((aligned(4096)));
#define areas    page[0]
#define granted  page[1]
#define window   page[2]
#define trap_stack page[3]
#define user_stack page[4]
#define given_back page[5]

static grant_entry_v1_t *const grants = (grant_entry_v1_t *)window;

/* A call that no Xen knows, and an operation that none has. */
MISTAKE unknown_call(void)
{
    result("hypercall 60", HYPERCALL1(60, 0));
}

MISTAKE unknown_operation(void)
{
    result("event_channel_op 99", event_channel_op(99, 0));
}

/* What sched_op replaced in 2006. */
MISTAKE deprecated_call(void)
{
    result("the old sched_op's yield", HYPERCALL2(__HYPERVISOR_sched_op_compat, SCHEDOP_yield, 0));
}

/* Nobody looks at what it answered. */
MISTAKE ignored_error(void)
{
    struct evtchn_send send = { .port = 100000 };

    event_channel_op(EVTCHNOP_send, &send);
}

MISTAKE closed_port(void)
{
    struct evtchn_bind_ipi ipi = { .vcpu = 0 };
    struct evtchn_close close;
    struct evtchn_send send;

    event_channel_op(EVTCHNOP_bind_ipi, &ipi);
    close.port = send.port = ipi.port;
    result("close", event_channel_op(EVTCHNOP_close, &close));
    result("send on it", event_channel_op(EVTCHNOP_send, &send));
}

/* The time area begins within the runstate area. */
MISTAKE overlapping_areas(void)
{
    struct vcpu_register_runstate_memory_area runstate = { .addr.p = (uint64_t)areas };
    struct vcpu_register_time_memory_area time = { .addr.p = (uint64_t)areas + 16 };

    result("runstate area", vcpu_op(VCPUOP_register_runstate_memory_area, 0, &runstate));
    result("time area", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &time));
}

MISTAKE area_in_page_table(void)
{
    struct vcpu_register_time_memory_area time = { .addr.p = (uint64_t)l4_table() };

    result("time area in a page table", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &time));
}

/* The flag and the selector are cleared, the event is not looked at; then only the timer's event wakes us. */
MISTAKE lost_event(void)
{
    vcpu_info_t *vcpu = &shared_info->vcpu_info[0];
    struct evtchn_bind_ipi ipi = { .vcpu = 0 };
    struct evtchn_send send;
    evtchn_port_t timer = 0;

    event_channel_op(EVTCHNOP_bind_ipi, &ipi);
    bind_virq(VIRQ_TIMER, &timer);
    unmask_port(ipi.port);
    unmask_port(timer);
    vcpu->evtchn_upcall_mask = 1;
    send.port = ipi.port;
    event_channel_op(EVTCHNOP_send, &send);
    vcpu->evtchn_upcall_pending = 0;
    vcpu->evtchn_pending_sel = 0;
    set_timer_op(system_time() + 10 * MILLISECOND);
    while (!events[timer].count)
        result("block", sched_op(SCHEDOP_block, 0));
    vcpu->evtchn_upcall_mask = 1;
}

/* Out of user mode, where a SYSCALL is a system call whatever page it is in. */
extern const char user_code[];
asm (".type user_code, @function\n"
     "user_code: call hypercall_page + 17 * 32\n"
     "ud2\n"
     ".size user_code, . - user_code");

static struct regs user;

static __attribute__((used)) void go_to_user(void)
{
    return_to(&user);
}

static void call_from_user(void)
{
    asm volatile ("movq %%rbp, %0" : "=m" (user.rbp));
    user.rip = (uint64_t)user_code;
    user.cs = KERNEL_CS;
    user.ss = KERNEL_SS;
    user.rflags = RFLAGS_IF | 2;
    user.rsp = (uint64_t)user_stack + PAGE_SIZE;
    result("stack_switch", stack_switch(KERNEL_SS, trap_stack + PAGE_SIZE));
    result("user page tables", mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(l4_table())));
    PROBE("andq $-16, %%rsp\n\tcall go_to_user", :: "memory", "cc", "rax", "rcx", "rdx", "rbx", "rsi", "rdi", "r8", "r9", "r10",
          "r11", "r12", "r13", "r14", "r15");
    print("a hypercall from user mode is a %s\n", vector_name(probe.regs.vector));
}

/* One frame is given back, another is got for it, and then forgotten. */
MISTAKE leaked_frame(void)
{
    xen_pfn_t frame = mfn_of(given_back);
    struct xen_memory_reservation change = { .nr_extents = 1, .domid = DOMID_SELF };

    set_xen_guest_handle(change.extent_start, &frame);
    result("a page unmapped", update_va_mapping(given_back, 0, UVMF_INVLPG));
    result("decrease_reservation takes", memory_op(XENMEM_decrease_reservation, &change));
    result("increase_reservation gives", memory_op(XENMEM_increase_reservation, &change));
}

static domid_t own_domid(void)
{
    struct evtchn_alloc_unbound alloc = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    struct evtchn_status status = { .dom = DOMID_SELF };
    struct evtchn_close close;

    event_channel_op(EVTCHNOP_alloc_unbound, &alloc);
    status.port = close.port = alloc.port;
    event_channel_op(EVTCHNOP_status, &status);
    event_channel_op(EVTCHNOP_close, &close);
    return status.u.unbound.dom;
}

/* Nobody unmaps it before the end, or takes the grant back. */
MISTAKE mapped_grant(domid_t self)
{
    struct gnttab_map_grant_ref map = { .host_addr = (uint64_t)GRANT_WINDOW, .flags = GNTMAP_host_map, .ref = FIRST_REF, .dom = self };
    long answer = grant_table_op(GNTTABOP_map_grant_ref, &map, 1);

    result("map_grant_ref", answer ? answer : map.status);
}

static void grant_page(domid_t self)
{
    xen_pfn_t frame = 0;
    struct gnttab_setup_table setup = { .dom = DOMID_SELF, .nr_frames = 1 };

    set_xen_guest_handle(setup.frame_list, &frame);
    result("setup_table", grant_table_op(GNTTABOP_setup_table, &setup, 1));
    result("its frame mapped", update_va_mapping(window, frame * PAGE_SIZE | PTE_DATA, UVMF_INVLPG));
    grants[FIRST_REF].domid = self;
    grants[FIRST_REF].frame = mfn_of(granted);
    barrier();
    grants[FIRST_REF].flags = GTF_permit_access;
}

void guest_main(void)
{
    domid_t self;

    traps_init();
    unknown_call();
    unknown_operation();
    deprecated_call();
    ignored_error();
    closed_port();
    overlapping_areas();
    area_in_page_table();
    events_init();
    lost_event();
    call_from_user();
    leaked_frame();
    self = own_domid();
    grant_page(self);
    mapped_grant(self);
}
