/*
 * Uses CPU time on every vCPU that the toolstack wants it to use, silently, until it is asked to end, unless the command line
 * says otherwise:
 *
 *     work=US sleep=US     in turns, about so much time on a CPU and so much asleep: half as much to half as much again
 *     for=SECONDS          ends by itself
 *     tell=SECONDS         each so many seconds a line: system time, then how long its vCPUs have been running, runnable,
 *                          blocked and offline, in nanoseconds
 */
#include "control.h"
#include "paging.h"
#include "runstate.h"
#include "time.h"
#include "trap.h"

#define MICROSECOND 1000UL
#define MAX_VCPUS   32

static uint64_t work, rest, interval, end = ~0UL, next_line = ~0UL;
static unsigned int vcpus = 1;
static volatile char is_down[MAX_VCPUS];        /* or about to be */
static volatile vcpu_runstate_info_t runstates[MAX_VCPUS] __attribute__((aligned(64)));
static unsigned char stacks[MAX_VCPUS][4096] __attribute__((aligned(4096)));
static struct vcpu_guest_context context __attribute__((aligned(4096)));

/* The number behind "NAME=" in the command line, 0 when there is none. */
static uint64_t option(const char *name)
{
    const char *at = (const char *)start_info->cmd_line;

    for (; *at; at++) {
        const char *have = at, *want = name;
        uint64_t value = 0;

        while (*want && *have == *want)
            have++, want++;
        if (*want || *have++ != '=')
            continue;
        for (; *have >= '0' && *have <= '9'; have++)
            value = value * 10 + *have - '0';
        return value;
    }
    return 0;
}

/* Between half of it and half as much again. */
static uint64_t about(uint64_t time, uint32_t *seed)
{
    *seed = *seed * 1664525 + 1013904223;
    return time / 2 + time * (*seed >> 16) / 65536;
}

static void tell(void)
{
    uint64_t sums[4] = { 0 };

    for (unsigned int vcpu = 0; vcpu < vcpus; vcpu++) {
        vcpu_runstate_info_t info = { 0 };

        vcpu_op(VCPUOP_get_runstate_info, vcpu, &info);
        for (int state = 0; state < 4; state++)
            sums[state] += info.time[state];
    }
    print("%lu %lu %lu %lu %lu\n", system_time(), sums[RUNSTATE_running], sums[RUNSTATE_runnable], sums[RUNSTATE_blocked],
          sums[RUNSTATE_offline]);
    next_line += interval;
}

static void rest_until_wanted(unsigned int vcpu)
{
    is_down[vcpu] = 1;
    vcpu_op(VCPUOP_down, vcpu, 0);
    is_down[vcpu] = 0;
}

/* A vCPU that goes down just then is up again the next time. */
static void obey(void)
{
    obey_control();
    for (unsigned int vcpu = 1; vcpu < vcpus; vcpu++)
        if (is_down[vcpu] && vcpu_is_wanted(vcpu))
            vcpu_op(VCPUOP_up, vcpu, 0);
}

static void spin(unsigned int vcpu)
{
    volatile vcpu_runstate_info_t *runstate = &runstates[vcpu];
    uint32_t seed = vcpu;

    watch_runstate(vcpu, runstate);
    vcpu_op(VCPUOP_stop_periodic_timer, vcpu, 0);
    while (system_time() < end) {
        uint64_t until = time_running(runstate) + about(work, &seed);

        while (time_running(runstate) < until)
            for (volatile int i = 0; i < 100; i++)
                ;
        if (vcpu == 0)
            obey();
        else if (!vcpu_is_wanted(vcpu))
            rest_until_wanted(vcpu);
        if (vcpu == 0 && system_time() >= next_line)
            tell();
        if (rest)
            sleep_for(about(rest, &seed));
    }
    poweroff();
}

static long start(unsigned int vcpu)
{
    long rc;

    memset(&context, 0, sizeof(context));
    context.flags = VGCF_in_kernel;
    context.user_regs.rip = (uint64_t)spin;
    context.user_regs.rsp = (uint64_t)(stacks[vcpu] + sizeof(stacks[vcpu]) - 8);    /* as after a call */
    context.user_regs.rdi = vcpu;
    context.user_regs.cs = KERNEL_CS;
    context.user_regs.ss = context.kernel_ss = KERNEL_SS;
    context.kernel_sp = context.user_regs.rsp;
    context.user_regs.rflags = RFLAGS_IF;
    context.ctrlreg[3] = mfn_of(l4_table()) << 12;
    rc = vcpu_op(VCPUOP_initialise, vcpu, &context);
    return rc ? rc : vcpu_op(VCPUOP_up, vcpu, 0);
}

void guest_main(void)
{
    uint64_t seconds = option("for");

    traps_init();
    control_init();
    interval = option("tell") * SECOND;
    if (interval)
        next_line = system_time();
    work = option("work") * MICROSECOND;
    rest = option("sleep") * MICROSECOND;
    if (!work)
        work = 10 * MILLISECOND;
    if (seconds)
        end = system_time() + seconds * SECOND;
    while (vcpus < MAX_VCPUS && !start(vcpus))
        vcpus++;
    control_watch_vcpus();
    spin(0);
}
