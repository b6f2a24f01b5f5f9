/*
 * Several vCPUs: initialising them rightly and wrongly, up and down, their registers at birth, IPIs, NMIs, timers,
 * runstates, TLBs, and the FIFO event ABI across them. Needs four vCPUs. Only vCPU 0 prints; the others carry out functions
 * that it gives them. A vCPU that another one observes may be running or only runnable: nothing here depends on which.
 */
#include "event.h"
#include "paging.h"
#include "ports.h"
#include "time.h"
#include "trap.h"
#include <xen/nmi.h>

#define CPUS          4
#define UNMAPPED      8UL
#define IN_XEN        0xffff830000000000UL
#define NON_CANONICAL 0x800000000000UL
#define LATE          (20 * SECOND)
#define NMI_VECTOR    2
#define BIRTH_RFLAGS  0x0cd5UL                  /* all arithmetic flags and DF */

struct cpu {
    uint64_t rax, rbx, rcx, rdx, rsi, rbp, rsp, r8, r9, r10, r11, r12, r13, r14, r15, rflags;   /* as entry.S noted them */
    uint16_t cs, ss, ds, es, fs, gs;
    uint32_t mxcsr;
    uint16_t fcw, fsw;
    uint32_t id;
    struct cpu *self;
    volatile vcpu_info_t *info;
    long (*volatile task)(struct cpu *);
    volatile long answer;
    volatile unsigned int done, births, nmis, failsafes, upcalls;
    volatile uint64_t spins;
    volatile int shall_stop;
    uint64_t ports;                             /* those whose events it takes */
    volatile unsigned int count[64];
};

extern char cpu_entry[];
static struct cpu cpus[CPUS];
static unsigned char stacks[CPUS][16384] __attribute__((aligned(4096)));
static unsigned char gdt[PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char page[2 * PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char page_b[PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char info_page[PAGE_SIZE] __attribute__((aligned(4096)));
static struct vcpu_guest_context context __attribute__((aligned(4096)));

static struct cpu *this_cpu(void)
{
    struct cpu *cpu;

    asm volatile ("movq %%gs:%c1, %0" : "=r" (cpu) : "i" (offsetof(struct cpu, self)));
    return cpu;
}

static int take(struct regs *regs)
{
    struct cpu *cpu = this_cpu();
    uint64_t selector = 0, ready;

    if (regs->vector == NMI_VECTOR || regs->vector == FAILSAFE_CALLBACK) {
        if (regs->vector == NMI_VECTOR)
            cpu->nmis++;
        else
            cpu->failsafes++;
        regs->iret_flags = 0;
        return 1;
    }
    if (regs->vector != EVENT_CALLBACK)
        return 0;
    cpu->upcalls++;
    cpu->info->evtchn_upcall_pending = 0;
    asm volatile ("xchgq %0, %1" : "+r" (selector), "+m" (cpu->info->evtchn_pending_sel) :: "memory");
    ready = shared_info->evtchn_pending[0] & ~shared_info->evtchn_mask[0] & cpu->ports;
    asm volatile ("lock andq %1, %0" : "+m" (shared_info->evtchn_pending[0]) : "r" (~ready) : "memory");
    for (int port = 0; port < 64; port++)
        if (ready & 1UL << port)
            cpu->count[port]++;
    regs->iret_flags = 0;
    return 1;
}

void cpu_main(struct cpu *cpu)
{
    cpu->births++;
    for (;;) {
        long (*task)(struct cpu *) = cpu->task;

        if (task) {
            cpu->answer = task(cpu);
            cpu->task = 0;
            cpu->done++;
        }
        sched_op(SCHEDOP_yield, 0);
    }
}

/* What must become true within a long time. */
#define eventually(condition) ({                            \
        uint64_t end_ = system_time() + LATE;               \
        while (!(condition) && system_time() < end_)        \
            sched_op(SCHEDOP_yield, 0);                     \
        !!(condition); })

static void start_on(unsigned int id, long (*task)(struct cpu *))
{
    cpus[id].task = task;
}

static int finished(unsigned int id)
{
    return eventually(cpus[id].task == 0);
}

static long run_on(unsigned int id, long (*task)(struct cpu *))
{
    start_on(id, task);
    return finished(id) ? cpus[id].answer : -XEN_ETIME;
}

static void rest(void)
{
    sleep_for(10 * MILLISECOND);
}

static long bind_ipi(uint32_t id, evtchn_port_t *port)
{
    struct evtchn_bind_ipi arg = { .vcpu = id };
    long answer = event_channel_op(EVTCHNOP_bind_ipi, &arg);

    *port = arg.port;
    cpus[id].ports |= 1UL << arg.port;
    unmask_port(arg.port);
    return answer;
}

static long bind_virq_to(uint32_t virq, uint32_t id, evtchn_port_t *port)
{
    struct evtchn_bind_virq arg = { .virq = virq, .vcpu = id };
    long answer = event_channel_op(EVTCHNOP_bind_virq, &arg);

    if (answer == 0) {
        *port = arg.port;
        cpus[id].ports |= 1UL << arg.port;
        unmask_port(arg.port);
    }
    return answer;
}

static int state_of(unsigned int id)
{
    vcpu_runstate_info_t info = { .state = 99 };
    long answer = vcpu_op(VCPUOP_get_runstate_info, id, &info);

    return answer ? answer : info.state;
}

static const char *numbered(const char *name, unsigned int number)
{
    static char text[64];
    char *to = text;

    while (*name)
        *to++ = *name++;
    *to++ = ' ';
    if (number >= 10)
        *to++ = '0' + number / 10;
    *to++ = '0' + number % 10;
    *to = 0;
    return text;
}

static void before(void)
{
    struct vcpu_set_periodic_timer periodic = { .period_ns = 20 * MILLISECOND };
    struct vcpu_set_singleshot_timer single = { .timeout_abs_ns = 1 };
    struct vcpu_register_runstate_memory_area area;
    struct vcpu_register_time_memory_area time;
    static vcpu_runstate_info_t state;
    static vcpu_time_info_t clock;

    section("vCPUs that nobody has initialised");
    for (unsigned int id = 0; id <= CPUS; id++)
        result(numbered("is_up", id), vcpu_op(VCPUOP_is_up, id, 0));
    result("up 1", vcpu_op(VCPUOP_up, 1, 0));
    result("down 1", vcpu_op(VCPUOP_down, 1, 0));
    result("is_up 1", vcpu_op(VCPUOP_is_up, 1, 0));
    print("runstate of 1: %d\n", state_of(1));
    result("periodic timer of 1", vcpu_op(VCPUOP_set_periodic_timer, 1, &periodic));
    result("stop it", vcpu_op(VCPUOP_stop_periodic_timer, 1, 0));
    result("singleshot timer of 1", vcpu_op(VCPUOP_set_singleshot_timer, 1, &single));
    result("  wild pointer", vcpu_op(VCPUOP_set_singleshot_timer, 1, UNMAPPED));
    result("stop it", vcpu_op(VCPUOP_stop_singleshot_timer, 1, 0));
    result("send_nmi to 1", vcpu_op(VCPUOP_send_nmi, 1, 0));
    area.addr.v = &state;
    memset(&state, 0x55, sizeof(state));
    result("runstate area of 1", vcpu_op(VCPUOP_register_runstate_memory_area, 1, &area));
    print("  state %d\n", state.state);
    claim("  has been there all the time", state.time[RUNSTATE_offline] != 0 && state.time[RUNSTATE_running] == 0);
    area.addr.p = 0;
    result("  none", vcpu_op(VCPUOP_register_runstate_memory_area, 1, &area));
    time.addr.v = &clock;
    memset(&clock, 0x55, sizeof(clock));
    result("time area of 1", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 1, &time));
    print("  version %x\n", clock.version);
    claim("its time info in shared_info is written", shared_info->vcpu_info[1].time.tsc_to_system_mul != 0);
    time.addr.p = 0;
    result("  none", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 1, &time));
    print("vcpu_info of 1: pending %u mask %u\n", shared_info->vcpu_info[1].evtchn_upcall_pending,
          shared_info->vcpu_info[1].evtchn_upcall_mask);
    result("bind_ipi 1", bind_ipi(1, &(evtchn_port_t){ 0 }));
}

/* A context that is right, for tests to spoil. */
static struct vcpu_guest_context *good(unsigned int id)
{
    struct vcpu_guest_context *c = &context;

    memset(c, 0, sizeof(*c));
    c->flags = VGCF_in_kernel | VGCF_syscall_disables_events;
    c->user_regs.rip = (uint64_t)cpu_entry;
    c->user_regs.rsp = (uint64_t)(stacks[id] + sizeof(stacks[id]));
    c->user_regs.rdi = (uint64_t)&cpus[id];
    c->user_regs.cs = KERNEL_CS;
    c->user_regs.ss = KERNEL_SS;
    c->user_regs.rflags = BIRTH_RFLAGS;
    c->user_regs.rax = 0x1111111111111111;
    c->user_regs.rbx = 0x2222222222222222;
    c->user_regs.rcx = 0x3333333333333333;
    c->user_regs.rdx = 0x4444444444444444;
    c->user_regs.rsi = 0x5555555555555555;
    c->user_regs.rbp = 0x6666666666666666;
    c->user_regs.r8 = 8;
    c->user_regs.r9 = 9;
    c->user_regs.r10 = 10;
    c->user_regs.r11 = 11;
    c->user_regs.r12 = 12;
    c->user_regs.r15 = 15;
    c->kernel_ss = KERNEL_SS;
    c->kernel_sp = c->user_regs.rsp;
    c->ctrlreg[3] = mfn_of(l4_table()) << 12;
    c->event_callback_eip = (uint64_t)event_entry;
    c->failsafe_callback_eip = (uint64_t)failsafe_entry;
    c->syscall_callback_eip = (uint64_t)syscall_entry;
    c->gs_base_kernel = (uint64_t)&cpus[id];
    for (unsigned int vector = 0; vector < 20; vector++)
        c->trap_ctxt[vector] = (struct trap_info){ .vector = vector, .cs = KERNEL_CS, .address = TRAP_ENTRY(vector) };
    return c;
}

static void spoil(const char *what, struct vcpu_guest_context *c)
{
    result(what, vcpu_op(VCPUOP_initialise, 1, c));
}

#define SPOIL(field, value, ...) do { good(1)->field = (value); spoil(#field " " __VA_ARGS__, &context); } while (0)

static void initialising(void)
{
    section("initialise, wrongly");
    result("wild pointer", vcpu_op(VCPUOP_initialise, 1, UNMAPPED));
    result("NULL", vcpu_op(VCPUOP_initialise, 1, 0));
    result("pointer into Xen", vcpu_op(VCPUOP_initialise, 1, IN_XEN));
    result("vCPU 4", vcpu_op(VCPUOP_initialise, 4, good(1)));
    result("ourselves", vcpu_op(VCPUOP_initialise, 0, good(1)));
    result("ourselves, wild pointer", vcpu_op(VCPUOP_initialise, 0, UNMAPPED));
    SPOIL(user_regs.rip, NON_CANONICAL);
    SPOIL(user_regs.rsp, NON_CANONICAL);
    SPOIL(kernel_sp, NON_CANONICAL);
    SPOIL(fs_base, NON_CANONICAL);
    SPOIL(gs_base_kernel, NON_CANONICAL);
    SPOIL(gs_base_user, NON_CANONICAL);
    SPOIL(event_callback_eip, NON_CANONICAL);
    SPOIL(failsafe_callback_eip, NON_CANONICAL);
    SPOIL(syscall_callback_eip, NON_CANONICAL);
    SPOIL(trap_ctxt[255].address, NON_CANONICAL);
    good(1)->ldt_ents = 1;
    SPOIL(ldt_base, NON_CANONICAL, "without entries");
    SPOIL(ldt_base, IN_XEN, "in Xen");
    SPOIL(ldt_base, 8, "unaligned");
    SPOIL(ldt_ents, 8193);
    SPOIL(flags, 0, "user mode without ctrlreg[1]");
    SPOIL(gdt_ents, 8192, "too many");
    SPOIL(gdt_ents, 1, "no frame");
    good(1)->gdt_frames[0] = mfn_of(gdt);
    context.gdt_ents = 1;
    spoil("a GDT that is mapped writable", &context);
    SPOIL(ctrlreg[3], 0);
    SPOIL(ctrlreg[3], 1UL << 50, "no frame");
    SPOIL(ctrlreg[3], mfn_of(page) << 12, "a page");
    SPOIL(ctrlreg[3], mfn_of(table_of(*entry_of(page, 4))) << 12, "an L3");
    SPOIL(ctrlreg[1], mfn_of(page) << 12, "a page");
    SPOIL(ctrlreg[1], 1UL << 50, "no frame");
    result("up", vcpu_op(VCPUOP_up, 1, 0));
    result("is_up", vcpu_op(VCPUOP_is_up, 1, 0));
}

static void birth(void)
{
    struct cpu *cpu = &cpus[1];

    section("a vCPU begins");
    remap(gdt, PTE_RDONLY);
    good(1)->gdt_frames[0] = mfn_of(gdt);
    context.gdt_ents = 16;
    context.user_regs.ds = 3;
    context.user_regs.es = 0x2b;                /* beyond what the GDT has */
    context.debugreg[0] = (uint64_t)page;
    context.debugreg[1] = NON_CANONICAL;
    context.debugreg[7] = 0x700;
    context.ctrlreg[0] = ~0UL & ~8UL;
    context.ctrlreg[4] = 0;
    result("initialise", vcpu_op(VCPUOP_initialise, 1, &context));
    result("again", vcpu_op(VCPUOP_initialise, 1, &context));
    result("again, wild pointer", vcpu_op(VCPUOP_initialise, 1, UNMAPPED));
    result("is_up", vcpu_op(VCPUOP_is_up, 1, 0));
    print("runstate %d\n", state_of(1));
    rest();
    claim("it has not run", cpu->births == 0);
    result("up", vcpu_op(VCPUOP_up, 1, 0));
    claim("it runs", eventually(cpu->births == 1));
    result("up again", vcpu_op(VCPUOP_up, 1, 0));
    result("is_up", vcpu_op(VCPUOP_is_up, 1, 0));
    print("rax %lx rbx %lx rcx %lx rdx %lx\n", cpu->rax, cpu->rbx, cpu->rcx, cpu->rdx);
    print("rsi %lx rbp %lx r8 %lx r9 %lx r10 %lx r11 %lx r12 %lx r13 %lx\n", cpu->rsi, cpu->rbp, cpu->r8, cpu->r9, cpu->r10,
          cpu->r11, cpu->r12, cpu->r13);
    claim("rsp", cpu->rsp == context.user_regs.rsp);
    print("rflags %lx cs %x ss %x ds %x es %x fs %x gs %x\n", cpu->rflags, cpu->cs, cpu->ss, cpu->ds, cpu->es, cpu->fs, cpu->gs);
    print("mxcsr %x fcw %x fsw %x\n", cpu->mxcsr, cpu->fcw, cpu->fsw);
    print("%u NMIs, %u failsafe callbacks: ds %lx es %lx fs %lx gs %lx\n", cpu->nmis, cpu->failsafes, failsafe_selectors[0], failsafe_selectors[1],
          failsafe_selectors[2], failsafe_selectors[3]);
    print("event mask %u\n", cpu->info->evtchn_upcall_mask);
    result("initialise what runs", vcpu_op(VCPUOP_initialise, 1, good(1)));
}

static long read_registers(struct cpu *cpu)
{
    uint64_t value;

    cpu->rax = get_debugreg(0);
    cpu->rbx = get_debugreg(1);
    cpu->rcx = get_debugreg(6);
    cpu->rdx = get_debugreg(7);
    asm volatile ("movq %%cr0, %0" : "=r" (value));
    cpu->rsi = value;
    return 0;
}

static long own_ops(struct cpu *cpu)
{
    struct vcpu_set_singleshot_timer single = { .timeout_abs_ns = 1 };
    struct vcpu_register_vcpu_info info = { .mfn = mfn_of(info_page), .offset = 0 };
    evtchn_port_t port = 60;

    cpu->rax = vcpu_op(VCPUOP_set_singleshot_timer, 0, &single);
    cpu->rbx = vcpu_op(VCPUOP_stop_singleshot_timer, 0, 0);
    cpu->rcx = vcpu_op(VCPUOP_is_up, 0, 0);
    cpu->rdx = vcpu_op(VCPUOP_register_vcpu_info, 0, &info);
    cpu->rsi = vcpu_op(VCPUOP_up, 0, 0);
    cpu->rbp = vcpu_op(VCPUOP_get_physid, 1, page);
    cpu->r8 = state_of(1);
    cpu->r9 = port_op(EVTCHNOP_send, port);
    return 0;
}

static void on_another(void)
{
    struct cpu *cpu = &cpus[1];

    section("on vCPU 1");
    result("registers", run_on(1, read_registers));
    claim("dr0", cpu->rax == (uint64_t)page);
    print("dr1 %lx dr6 %lx dr7 %lx cr0 %lx\n", cpu->rbx, cpu->rcx, cpu->rdx, cpu->rsi);
    result("calls", run_on(1, own_ops));
    result("singleshot timer of vCPU 0", cpu->rax);
    result("stop it", cpu->rbx);
    result("is_up 0", cpu->rcx);
    result("vcpu_info of vCPU 0", cpu->rdx);
    result("up 0", cpu->rsi);
    result("get_physid", cpu->rbp);
    print("own runstate %lu\n", cpu->r8);
    result("send on a closed port", cpu->r9);
}

/* IPIs */

static evtchn_port_t ping, pong;

static long unmask_events(struct cpu *cpu)
{
    cpu->info->evtchn_upcall_mask = 0;
    xen_version(0, 0);
    return 0;
}

static long mask_events(struct cpu *cpu)
{
    cpu->info->evtchn_upcall_mask = 1;
    return 0;
}

/* Blocks with nothing pending, until something comes. */
static long block(struct cpu *cpu)
{
    long answer;

    clear_pending(ping);
    cpu->info->evtchn_pending_sel = 0;
    cpu->info->evtchn_upcall_pending = 0;
    answer = sched_op(SCHEDOP_block, 0);
    cpu->info->evtchn_upcall_mask = 1;
    return answer;
}

/* Each ping is answered with a pong. */
static long answer_pings(struct cpu *cpu)
{
    for (unsigned int i = 1; i <= 100; i++) {
        while (cpu->count[ping] < i)
            sched_op(SCHEDOP_block, 0);
        port_op(EVTCHNOP_send, pong);
    }
    cpu->info->evtchn_upcall_mask = 1;
    return 0;
}

static long poll_port(evtchn_port_t port)
{
    struct sched_poll arg = { .nr_ports = 1 };

    set_xen_guest_handle(arg.ports, &port);
    return sched_op(SCHEDOP_poll, &arg);
}

static long poll_ping(struct cpu *cpu)
{
    (void)cpu;
    return poll_port(ping);
}

static void ipis(void)
{
    struct evtchn_status status = { .dom = DOMID_SELF };
    struct evtchn_bind_vcpu move = { .vcpu = 1 };
    struct evtchn_alloc_unbound alloc = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    struct evtchn_bind_interdomain join = { .remote_dom = DOMID_SELF };
    struct cpu *cpu = &cpus[1], *self = &cpus[0];
    evtchn_port_t timer;
    unsigned int before;

    section("IPIs");
    result("IPI for vCPU 1", bind_ipi(1, &ping));
    result("IPI for vCPU 0", bind_ipi(0, &pong));
    status.port = ping;
    result("status", event_channel_op(EVTCHNOP_status, &status));
    print("  status %u vcpu %u\n", status.status, status.vcpu);
    result("send", port_op(EVTCHNOP_send, ping));
    claim("pending, on vCPU 1's selector", is_pending(ping) && cpu->info->evtchn_upcall_pending && cpu->info->evtchn_pending_sel == 1);
    claim("not on ours", self->info->evtchn_upcall_pending == 0);
    rest();
    claim("its events are masked", cpu->upcalls == 0);
    result("it unmasks", run_on(1, unmask_events));
    claim("it took one", cpu->count[ping] == 1 && cpu->upcalls == 1);
    result("send", port_op(EVTCHNOP_send, ping));
    claim("it took another, without a call", eventually(cpu->count[ping] == 2));
    run_on(1, mask_events);
    start_on(1, block);
    claim("it blocks", eventually(state_of(1) == RUNSTATE_blocked));
    result("send", port_op(EVTCHNOP_send, ping));
    claim("it is woken", finished(1));
    claim("it took the event", cpu->count[ping] == 3);
    cpu->count[ping] = 0;
    self->count[pong] = 0;
    start_on(1, answer_pings);
    for (unsigned int i = 1; i <= 100; i++) {
        port_op(EVTCHNOP_send, ping);
        while (self->count[pong] < i)
            sched_op(SCHEDOP_block, 0);
    }
    self->info->evtchn_upcall_mask = 1;
    claim("100 pings and pongs", finished(1) && cpu->count[ping] == 100 && self->count[pong] == 100);
    mask_port(ping);
    start_on(1, poll_ping);
    claim("it polls", eventually(state_of(1) == RUNSTATE_blocked));
    result("another port is sent to", port_op(EVTCHNOP_send, pong));
    rest();
    claim("it still polls", state_of(1) == RUNSTATE_blocked);
    result("send", port_op(EVTCHNOP_send, ping));
    claim("the masked port ends it", finished(1) && cpu->answer == 0);
    clear_pending(ping);
    clear_pending(pong);
    unmask_port(ping);

    section("ports move");
    move.port = ping;
    result("an IPI's", event_channel_op(EVTCHNOP_bind_vcpu, &move));
    result("VIRQ_TIMER of vCPU 1", bind_virq_to(VIRQ_TIMER, 1, &timer));
    result("again", bind_virq_to(VIRQ_TIMER, 1, &timer));
    result("VIRQ_DEBUG of vCPU 4", bind_virq_to(VIRQ_DEBUG, 4, &timer));
    result("VIRQ_CONSOLE of vCPU 1", bind_virq_to(VIRQ_CONSOLE, 1, &timer));
    move.port = timer;
    result("a timer's", event_channel_op(EVTCHNOP_bind_vcpu, &move));
    result("close", port_op(EVTCHNOP_close, timer));
    result("again", bind_virq_to(VIRQ_TIMER, 1, &timer));
    result("close", port_op(EVTCHNOP_close, timer));
    event_channel_op(EVTCHNOP_alloc_unbound, &alloc);
    join.remote_port = alloc.port;
    event_channel_op(EVTCHNOP_bind_interdomain, &join);
    clear_pending(join.local_port);
    unmask_port(alloc.port);
    cpu->ports |= 1UL << alloc.port;
    run_on(1, unmask_events);
    before = cpu->upcalls;
    move.port = alloc.port;
    result("an interdomain one", event_channel_op(EVTCHNOP_bind_vcpu, &move));
    result("send", port_op(EVTCHNOP_send, join.local_port));
    claim("vCPU 1 took it", eventually(cpu->count[alloc.port] == 1));
    claim("  in one upcall", cpu->upcalls == before + 1);
    result("close", port_op(EVTCHNOP_close, alloc.port));
    result("alloc_unbound", event_channel_op(EVTCHNOP_alloc_unbound, &alloc));
    status.port = alloc.port;
    event_channel_op(EVTCHNOP_status, &status);
    print("  status %u vcpu %u\n", status.status, status.vcpu);
    port_op(EVTCHNOP_close, alloc.port);
    port_op(EVTCHNOP_close, join.local_port);
    run_on(1, mask_events);
}

/* Timers */

static evtchn_port_t timer_1;

static long set_timer(struct cpu *cpu)
{
    struct vcpu_set_singleshot_timer single = { .timeout_abs_ns = 1 };

    cpu->count[timer_1] = 0;
    cpu->rax = vcpu_op(VCPUOP_set_singleshot_timer, 1, &single);
    while (cpu->count[timer_1] == 0)
        sched_op(SCHEDOP_block, 0);
    single.timeout_abs_ns = cpu->rbx;
    vcpu_op(VCPUOP_set_singleshot_timer, 1, &single);
    while (cpu->count[timer_1] == 1)
        sched_op(SCHEDOP_block, 0);
    cpu->info->evtchn_upcall_mask = 1;
    return 0;
}

static long spin_unmasked(struct cpu *cpu)
{
    cpu->info->evtchn_upcall_mask = 0;
    while (cpu->count[timer_1] < 3)
        cpu->spins++;
    cpu->info->evtchn_upcall_mask = 1;
    return 0;
}

static void timers(void)
{
    struct vcpu_set_periodic_timer periodic = { .period_ns = 5 * MILLISECOND };
    struct cpu *cpu = &cpus[1];
    evtchn_port_t timer_0;
    uint64_t start;

    section("timers of another vCPU");
    result("VIRQ_TIMER of vCPU 1", bind_virq_to(VIRQ_TIMER, 1, &timer_1));
    result("VIRQ_TIMER of vCPU 0", bind_virq_to(VIRQ_TIMER, 0, &timer_0));
    result("stop vCPU 1's periodic timer", vcpu_op(VCPUOP_stop_periodic_timer, 1, 0));
    clear_pending(timer_1);
    cpu->rbx = start = system_time() + 20 * MILLISECOND;
    result("singleshot", run_on(1, set_timer));
    result("  set", cpu->rax);
    claim("  not before its time", system_time() >= start);
    claim("  vCPU 0 has none", !is_pending(timer_0));
    cpu->count[timer_1] = 0;
    start = system_time();
    result("set vCPU 1's periodic timer", vcpu_op(VCPUOP_set_periodic_timer, 1, &periodic));
    result("it spins for 3 ticks", run_on(1, spin_unmasked));
    claim("  they take their time", system_time() - start >= 10 * MILLISECOND);
    claim("  it ran", cpu->spins > 1000);
    result("stop", vcpu_op(VCPUOP_stop_periodic_timer, 1, 0));
    port_op(EVTCHNOP_close, timer_1);
    port_op(EVTCHNOP_close, timer_0);
}

/* NMIs */

static long register_nmi(struct cpu *cpu)
{
    struct callback_register callback = { .type = CALLBACKTYPE_nmi, .address = TRAP_ENTRY(NMI_VECTOR) };

    (void)cpu;
    return callback_op(CALLBACKOP_register, &callback);
}

static long nmi_to_self(struct cpu *cpu)
{
    long answer = vcpu_op(VCPUOP_send_nmi, cpu->id, 0);

    return answer ? answer : (long)cpu->nmis;
}

static void nmis(void)
{
    struct cpu *cpu = &cpus[1];

    section("NMIs");
    result("with an argument", vcpu_op(VCPUOP_send_nmi, 1, page));
    result("to vCPU 4", vcpu_op(VCPUOP_send_nmi, 4, 0));
    rest();
    print("vCPU 1 has had %u: the one sent before its birth\n", cpu->nmis);
    cpu->nmis = 0;
    result("register its callback", run_on(1, register_nmi));
    result("send_nmi", vcpu_op(VCPUOP_send_nmi, 1, 0));
    claim("it comes", eventually(cpu->nmis == 1));
    print("to itself: %ld\n", run_on(1, nmi_to_self));
    start_on(1, block);
    claim("it blocks", eventually(state_of(1) == RUNSTATE_blocked));
    result("send_nmi", vcpu_op(VCPUOP_send_nmi, 1, 0));
    claim("it is woken", finished(1) && cpu->nmis == 3);
}

static long nmi_op(int cmd, uint64_t arg)
{
    return HYPERCALL2(__HYPERVISOR_nmi_op, cmd, arg);
}

static long register_own(uint64_t address)
{
    struct xennmi_callback callback = { .handler_address = address };

    return nmi_op(XENNMI_register_callback, (uint64_t)&callback);
}

static long send_to_self(void)
{
    struct cpu *self = &cpus[0];
    unsigned int before = self->nmis;
    long answer = vcpu_op(VCPUOP_send_nmi, 0, 0);

    return answer ? answer : (long)(self->nmis - before);
}

static void nmi_calls(void)
{
    struct callback_unregister callback = { .type = CALLBACKTYPE_nmi };
    unsigned int before;

    section("nmi_op");
    result("register, wild pointer", nmi_op(XENNMI_register_callback, UNMAPPED));
    result("register, non-canonical", register_own(NON_CANONICAL));
    result("operation 2", nmi_op(2, 0));
    result("unregister", nmi_op(XENNMI_unregister_callback, 0));
    print("NMI to nobody: %ld\n", send_to_self());
    result("register", register_own(TRAP_ENTRY(NMI_VECTOR)));
    print("NMIs: %ld\n", send_to_self());
    result("unregister, pointer into Xen", nmi_op(XENNMI_unregister_callback, IN_XEN));
    print("NMIs: %ld\n", send_to_self());
    shared_info->arch.nmi_reason = 1;
    before = cpus[0].nmis;
    result("register, shared_info has a reason", register_own(TRAP_ENTRY(NMI_VECTOR)));
    print("NMIs: %u\n", cpus[0].nmis - before);
    shared_info->arch.nmi_reason = 0;
    result("unregister by callback_op", callback_op(CALLBACKOP_unregister, &callback));
    print("NMIs: %ld\n", send_to_self());
    result("register", register_own(TRAP_ENTRY(NMI_VECTOR)));
}

static long pin(int pcpu)
{
    struct sched_pin_override arg = { .pcpu = pcpu };

    return sched_op(SCHEDOP_pin_override, &arg);
}

static void pins(void)
{
    static const int pcpus[] = { -1, 0, 0, -1, -2, 4096, 0x7fffffff, 0, -1 };

    section("pin_override and get_physid");
    result("wild pointer", sched_op(SCHEDOP_pin_override, UNMAPPED));
    for (unsigned int i = 0; i < sizeof(pcpus) / sizeof(*pcpus); i++) {
        struct vcpu_get_physid physid = { .phys_id = 99 };

        print("core %d\n", pcpus[i]);
        result("  pin_override", pin(pcpus[i]));
        result("  get_physid", vcpu_op(VCPUOP_get_physid, 0, &physid));
        print("  %lx\n", physid.phys_id);
        result("  get_physid, wild pointer", vcpu_op(VCPUOP_get_physid, 0, UNMAPPED));
    }
}

/* Up and down */

static long down_self(struct cpu *cpu)
{
    return vcpu_op(VCPUOP_down, cpu->id, 0);
}

static long count_up(struct cpu *cpu)
{
    while (!cpu->shall_stop)
        cpu->spins++;
    return 0;
}

static void downs(void)
{
    struct cpu *cpu = &cpus[1];
    uint64_t spins;

    section("down and up");
    start_on(1, count_up);
    spins = cpu->spins;
    claim("it spins", eventually(cpu->spins != spins));
    result("down", vcpu_op(VCPUOP_down, 1, 0));
    claim("it is off", eventually(state_of(1) == RUNSTATE_offline));
    result("is_up", vcpu_op(VCPUOP_is_up, 1, 0));
    spins = cpu->spins;
    rest();
    claim("it stands still", cpu->spins == spins);
    result("down again", vcpu_op(VCPUOP_down, 1, 0));
    port_op(EVTCHNOP_send, ping);
    rest();
    claim("no event wakes it", cpu->spins == spins);
    result("up", vcpu_op(VCPUOP_up, 1, 0));
    claim("it goes on", eventually(cpu->spins != spins));
    cpu->shall_stop = 1;
    claim("to the end", finished(1));
    start_on(1, down_self);
    claim("it takes itself down", eventually(vcpu_op(VCPUOP_is_up, 1, 0) == 0));
    rest();
    claim("  in the middle of the call", cpu->task != 0);
    result("up", vcpu_op(VCPUOP_up, 1, 0));
    claim("  which returns then", finished(1) && cpu->answer == 0);
    start_on(1, block);
    claim("it blocks", eventually(state_of(1) == RUNSTATE_blocked));
    result("down", vcpu_op(VCPUOP_down, 1, 0));
    print("runstate %d\n", state_of(1));
    port_op(EVTCHNOP_send, ping);
    print("runstate after an event %d\n", state_of(1));
    result("up", vcpu_op(VCPUOP_up, 1, 0));
    claim("it took the event", finished(1));

    section("VGCF_online");
    good(2)->flags |= VGCF_online;
    result("initialise vCPU 2", vcpu_op(VCPUOP_initialise, 2, &context));
    result("is_up", vcpu_op(VCPUOP_is_up, 2, 0));
    rest();
    print("births %u\n", cpus[2].births);
    result("up", vcpu_op(VCPUOP_up, 2, 0));
    rest();
    print("births %u\n", cpus[2].births);
    print("runstate %d\n", cpus[2].births ? 0 : state_of(2));
    result("down", vcpu_op(VCPUOP_down, 2, 0));
    result("up", vcpu_op(VCPUOP_up, 2, 0));
    claim("it runs", eventually(cpus[2].births == 1));
}

/* vcpu_info, runstate and time areas */

static vcpu_runstate_info_t area_1;
static vcpu_time_info_t clock_1;

static void areas(void)
{
    struct vcpu_register_vcpu_info info = { .mfn = mfn_of(info_page), .offset = 64 };
    struct vcpu_register_runstate_memory_area area = { .addr.v = &area_1 };
    struct vcpu_register_time_memory_area time = { .addr.v = &clock_1 };
    vcpu_info_t *moved = (vcpu_info_t *)(info_page + 64);
    vcpu_runstate_info_t now;
    uint64_t sum = 0, entry;

    section("areas");
    result("vcpu_info of vCPU 1, which is up", vcpu_op(VCPUOP_register_vcpu_info, 1, &info));
    result("vcpu_info of vCPU 3", vcpu_op(VCPUOP_register_vcpu_info, 3, &info));
    print("  pending %u mask %u selector %lx\n", moved->evtchn_upcall_pending, moved->evtchn_upcall_mask, moved->evtchn_pending_sel);
    result("again", vcpu_op(VCPUOP_register_vcpu_info, 3, &info));
    cpus[3].info = moved;
    result("initialise vCPU 3", vcpu_op(VCPUOP_initialise, 3, good(3)));
    result("up", vcpu_op(VCPUOP_up, 3, 0));
    claim("it runs", eventually(cpus[3].births == 1));
    claim("its time info is in the new place", eventually(moved->time.version > 0 && moved->time.tsc_to_system_mul != 0));
    result("its events", run_on(3, unmask_events));
    claim("  come by the new place", cpus[3].upcalls == 1 && moved->evtchn_upcall_pending == 0);

    result("runstate area of vCPU 1", vcpu_op(VCPUOP_register_runstate_memory_area, 1, &area));
    result("time area of vCPU 1", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 1, &time));
    start_on(1, block);
    claim("it blocks", eventually(state_of(1) == RUNSTATE_blocked));
    entry = area_1.state_entry_time;
    port_op(EVTCHNOP_send, ping);
    claim("it wakes", finished(1));
    claim("the area says when it ran again", eventually(area_1.state_entry_time > entry && area_1.state == RUNSTATE_running));
    claim("  and how long it was blocked", area_1.time[RUNSTATE_blocked] != 0);
    claim("the time area is filled", eventually(clock_1.tsc_to_system_mul != 0));
    vcpu_op(VCPUOP_get_runstate_info, 1, &now);
    for (int i = 0; i < 4; i++)
        sum += now.time[i];
    claim("all times add up", sum <= system_time());
    result("runstate_update_flag", vm_assist(VMASST_CMD_enable, VMASST_TYPE_runstate_update_flag));
    entry = area_1.state_entry_time;
    start_on(1, block);
    eventually(state_of(1) == RUNSTATE_blocked);
    port_op(EVTCHNOP_send, ping);
    claim("it was written", finished(1) && eventually(area_1.state_entry_time > entry));
    claim("the flag is not left", eventually(!(area_1.state_entry_time & XEN_RUNSTATE_UPDATE)));
    vm_assist(VMASST_CMD_disable, VMASST_TYPE_runstate_update_flag);
    area.addr.p = time.addr.p = 0;
    result("no runstate area", vcpu_op(VCPUOP_register_runstate_memory_area, 1, &area));
    result("no time area", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 1, &time));
}

/* TLBs: a vCPU reads one page over and over while vCPU 0 puts another in its place. */

static volatile uint64_t *const watched = (uint64_t *)page;

static long watch(struct cpu *cpu)
{
    while (*watched == cpu->rax)
        cpu->spins++;
    return (long)*watched;
}

static long invlpg_all(unsigned int cmd, uint64_t vaddr)
{
    struct mmuext_op op = { .cmd = cmd, .arg1.linear_addr = vaddr };

    return mmuext_op(&op, 1, 0, DOMID_SELF);
}

static long flush_masked(unsigned int cmd, uint64_t vaddr, const void *mask)
{
    struct mmuext_op op = { .cmd = cmd, .arg1.linear_addr = vaddr };

    set_xen_guest_handle(op.arg2.vcpumask, (void *)mask);
    return mmuext_op(&op, 1, 0, DOMID_SELF);
}

static void tlbs(void)
{
    static const uint64_t both = 3, all = ~0UL, none = 0, strange = 1UL << 40;
    uint64_t old = make_pte(page, PTE_DATA), new = make_pte(page_b, PTE_DATA);

    section("TLBs");
    *watched = 1;
    *(volatile uint64_t *)page_b = 2;
    for (int way = 0; way < 6; way++) {
        static const char *const ways[] = {
            "UVMF_TLB_FLUSH | UVMF_ALL", "UVMF_INVLPG | UVMF_ALL", "INVLPG_ALL", "TLB_FLUSH_ALL", "INVLPG_MULTI", "TLB_FLUSH_MULTI",
        };
        uint64_t from = *watched, spins = cpus[1].spins, pte = from == 1 ? new : old;
        long answer;

        cpus[1].rax = from;
        start_on(1, watch);
        eventually(cpus[1].spins != spins);
        if (way < 2)
            answer = update_va_mapping(page, pte, (way == 0 ? UVMF_TLB_FLUSH : UVMF_INVLPG) | UVMF_ALL);
        else {
            answer = update_va_mapping(page, pte, 0);
            switch (way) {
            case 2: answer |= invlpg_all(MMUEXT_INVLPG_ALL, (uint64_t)page); break;
            case 3: answer |= invlpg_all(MMUEXT_TLB_FLUSH_ALL, 0); break;
            case 4: answer |= flush_masked(MMUEXT_INVLPG_MULTI, (uint64_t)page, &both); break;
            case 5: answer |= flush_masked(MMUEXT_TLB_FLUSH_MULTI, 0, &both); break;
            }
        }
        result(ways[way], answer);
        claim("  vCPU 1 sees the other page", finished(1) && cpus[1].answer == (long)(3 - from));
    }
    result("all vCPUs and more", flush_masked(MMUEXT_TLB_FLUSH_MULTI, 0, &all));
    result("no vCPU", flush_masked(MMUEXT_TLB_FLUSH_MULTI, 0, &none));
    result("vCPU 40", flush_masked(MMUEXT_INVLPG_MULTI, (uint64_t)page, &strange));
    result("a wild mask", flush_masked(MMUEXT_INVLPG_MULTI, (uint64_t)page, (void *)UNMAPPED));
    update_va_mapping(page, old, UVMF_INVLPG | UVMF_ALL);
}

/* All four count together. */

static volatile uint64_t counter;

static long count_together(struct cpu *cpu)
{
    for (int i = 0; i < 20000; i++) {
        asm volatile ("lock incq %0" : "+m" (counter) :: "memory");
        cpu->spins++;
    }
    return 0;
}

static long fifo_send(struct cpu *cpu)
{
    (void)cpu;
    return port_op(EVTCHNOP_send, ping);
}

static void together(void)
{
    section("four at once");
    for (unsigned int id = 1; id < CPUS; id++)
        start_on(id, count_together);
    count_together(&cpus[0]);
    claim("all came to their end", finished(1) && finished(2) && finished(3));
    print("counted to %lu\n", counter);
}

/* FIFO */

static unsigned char control_page[PAGE_SIZE] __attribute__((aligned(4096)));
static event_word_t words[PAGE_SIZE / 4] __attribute__((aligned(4096)));

static evtchn_fifo_control_block_t *control_of(unsigned int id)
{
    return (evtchn_fifo_control_block_t *)control_page + id;
}

static void show_words(const char *what, const evtchn_port_t *port, unsigned int count)
{
    print("  %-24s", what);
    for (unsigned int i = 0; i < count; i++) {
        event_word_t word = words[port[i]];

        print(" %c%s%s%s%s", 'a' + i, word >> 31 ? "P" : "-", word >> EVTCHN_FIFO_MASKED & 1 ? "M" : "-",
              word >> EVTCHN_FIFO_LINKED & 1 ? "L" : "-", word & EVTCHN_FIFO_LINK_MASK ? ">" : "");
    }
    for (unsigned int id = 0; id < 3; id++) {
        print(", vCPU %u: ready %x", id, control_of(id)->ready);
        for (int i = 0; i < EVTCHN_FIFO_MAX_QUEUES; i++)
            if (control_of(id)->head[i])
                print(" %d:%c", i, control_of(id)->head[i] == port[0] ? 'a' : control_of(id)->head[i] == port[1] ? 'b' : '?');
    }
    print("\n");
}

static long init_control(unsigned int id)
{
    struct evtchn_init_control arg = {
        .control_gfn = mfn_of(control_page), .offset = id * sizeof(evtchn_fifo_control_block_t), .vcpu = id,
    };

    return event_channel_op(EVTCHNOP_init_control, &arg);
}

static void fifo(void)
{
    struct evtchn_expand_array expand = { .array_gfn = mfn_of(words) };
    struct evtchn_alloc_unbound alloc = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    struct evtchn_bind_interdomain join = { .remote_dom = DOMID_SELF };
    struct evtchn_bind_vcpu move;
    evtchn_port_t port[2];

    section("FIFO across vCPUs");
    if (!is_dom0())
        words[start_info->store_evtchn] = words[start_info->console.domU.evtchn] = 1u << EVTCHN_FIFO_MASKED;
    event_channel_op(EVTCHNOP_alloc_unbound, &alloc);
    join.remote_port = port[0] = alloc.port;
    event_channel_op(EVTCHNOP_bind_interdomain, &join);
    port[1] = join.local_port;
    clear_pending(port[1]);
    for (unsigned int id = 0; id < CPUS; id++) {
        cpus[id].info->evtchn_upcall_pending = 0;
        cpus[id].info->evtchn_pending_sel = 0;
    }
    clear_pending(ping);
    clear_pending(pong);
    result("init_control 0", init_control(0));
    result("init_control 1", init_control(1));
    result("init_control 1 again", init_control(1));
    result("init_control 4", init_control(4));
    result("expand_array", event_channel_op(EVTCHNOP_expand_array, &expand));
    show_words("nothing", port, 2);
    result("send to a", port_op(EVTCHNOP_send, port[1]));
    show_words("a on vCPU 0", port, 2);
    move = (struct evtchn_bind_vcpu){ .port = port[0], .vcpu = 1 };
    result("a moves to vCPU 1", event_channel_op(EVTCHNOP_bind_vcpu, &move));
    result("send to a", port_op(EVTCHNOP_send, port[1]));
    show_words("still on vCPU 0", port, 2);
    result("send to b", port_op(EVTCHNOP_send, port[0]));
    show_words("b behind it", port, 2);
    words[port[0]] = words[port[1]] = 0;
    control_of(0)->head[7] = 0;
    control_of(0)->ready = 0;
    result("send to a", port_op(EVTCHNOP_send, port[1]));
    show_words("a on vCPU 1", port, 2);
    claim("vCPU 1 was told", cpus[1].info->evtchn_upcall_pending == 1);
    move.vcpu = 2;
    result("a moves to vCPU 2", event_channel_op(EVTCHNOP_bind_vcpu, &move));
    words[port[0]] = 0;
    control_of(1)->head[7] = 0;
    control_of(1)->ready = 0;
    result("send to a, vCPU 2 has no block", port_op(EVTCHNOP_send, port[1]));
    show_words("pending", port, 2);
    result("init_control 2", init_control(2));
    show_words("no more", port, 2);
    result("send to a", port_op(EVTCHNOP_send, port[1]));
    show_words("linked", port, 2);
    words[port[0]] = 0;
    control_of(2)->head[7] = 0;
    control_of(2)->ready = 0;
    cpus[1].info->evtchn_upcall_pending = 0;
    words[ping] = 0;
    start_on(2, fifo_send);
    claim("vCPU 2 sends an IPI to vCPU 1", finished(2) && cpus[2].answer == 0);
    claim("  it was told", cpus[1].info->evtchn_upcall_pending == 1 && control_of(1)->head[7] == ping);
}

void guest_main(void)
{
    traps_init();
    vcpu_op(VCPUOP_stop_periodic_timer, 0, 0);
    for (unsigned int id = 0; id < CPUS; id++) {
        cpus[id].id = id;
        cpus[id].info = &shared_info->vcpu_info[id];
        cpus[id].self = &cpus[id];
    }
    set_segment_base(SEGBASE_GS_KERNEL, &cpus[0]);
    trap_hook = take;
    before();
    initialising();
    birth();
    on_another();
    ipis();
    timers();
    nmis();
    nmi_calls();
    pins();
    downs();
    areas();
    tlbs();
    together();
    fifo();
    for (unsigned int id = 1; id < CPUS; id++)
        result(numbered("down", id), vcpu_op(VCPUOP_down, id, 0));
    print("smp: done; the last vCPU goes down\n");
    sleep_for(SECOND);                          /* the last words must leave first */
    vcpu_op(VCPUOP_down, 0, 0);
    for (;;)
        ;
}
