/*
 * Time and waiting: the wall clock, system time, one-shot and periodic timers, block and poll, event channels. What is
 * printed are claims that hold on every machine ("not before its deadline"), never a time.
 */
#include "event.h"
#include "paging.h"
#include "time.h"
#include "trap.h"

#define LATE (10 * SECOND)                      /* a timer that is this late is lost */

static evtchn_port_t timer;

static vcpu_info_t *vcpu_info(void)
{
    return &shared_info->vcpu_info[0];
}

static long single_shot(uint64_t deadline, uint32_t flags)
{
    struct vcpu_set_singleshot_timer arg = { .timeout_abs_ns = deadline, .flags = flags };

    return vcpu_op(VCPUOP_set_singleshot_timer, 0, &arg);
}

static long periodic(uint64_t period)
{
    struct vcpu_set_periodic_timer arg = { .period_ns = period };

    return vcpu_op(VCPUOP_set_periodic_timer, 0, &arg);
}

static long poll(evtchn_port_t *ports, unsigned int count, uint64_t timeout)
{
    struct sched_poll arg = { .nr_ports = count, .timeout = timeout };

    set_xen_guest_handle(arg.ports, ports);
    return sched_op(SCHEDOP_poll, &arg);
}

/* Blocks until the timer's event has come; what it found is left in events[timer]. */
static void wait_for_timer(void)
{
    unsigned int before = events[timer].count;

    while (events[timer].count == before)
        sched_op(SCHEDOP_block, 0);
    vcpu_info()->evtchn_upcall_mask = 1;
}

/* A timer was set for this moment: it came, not too early and not lost. */
static void claim_timer(const char *what, uint64_t deadline)
{
    wait_for_timer();
    print("%s\n", what);
    claim("  not before its deadline", events[timer].time >= deadline);
    claim("  not much after it", events[timer].time < deadline + LATE);
}

/* Whether the timer stays silent for a while. */
static int is_silent(uint64_t nanoseconds)
{
    unsigned int before = events[timer].count;
    uint64_t end = system_time() + nanoseconds;

    vcpu_info()->evtchn_upcall_mask = 0;
    while (system_time() < end)
        sleep_for(10 * MILLISECOND);
    vcpu_info()->evtchn_upcall_mask = 1;
    return events[timer].count == before;
}

static void clocks(void)
{
    uint64_t seconds, last, first;
    uint32_t nanoseconds;
    int monotonic = 1;
    vcpu_time_info_t *time = &vcpu_info()->time;

    section("clocks");
    wall_clock(&seconds, &nanoseconds);
    seconds += system_time() / SECOND;
    claim("the wall clock is between 2020 and 2100", seconds > 1577836800 && seconds < 4102444800);
    claim("its nanoseconds are below a second", nanoseconds < SECOND);
    claim("wc_version is even", shared_info->wc_version % 2 == 0);
    claim("vcpu_time_info has an even version", time->version % 2 == 0);
    claim("vcpu_time_info has a multiplier", time->tsc_to_system_mul != 0);
    first = last = system_time();
    for (int i = 0; i < 1000; i++) {
        uint64_t now = system_time();

        monotonic &= now >= last;
        last = now;
    }
    claim("system time never goes back", monotonic);
    claim("system time goes on", last > first);
    sleep_for(20 * MILLISECOND);
    claim("20 ms of sleep are at least 20 ms", system_time() - last >= 20 * MILLISECOND);
}

static void binding(void)
{
    evtchn_port_t port = 0;
    struct evtchn_bind_virq bind = { .virq = VIRQ_TIMER, .vcpu = 7 };
    struct evtchn_status status = { .dom = DOMID_SELF };

    section("VIRQ_TIMER");
    result("bind", bind_virq(VIRQ_TIMER, &timer));
    result("bind again", bind_virq(VIRQ_TIMER, &port));
    result("bind virq 24, which does not exist", bind_virq(NR_VIRQS, &port));
    result("bind to vcpu 7, which does not exist", event_channel_op(EVTCHNOP_bind_virq, &bind));
    status.port = timer;
    result("status", event_channel_op(EVTCHNOP_status, &status));
    claim("  a virq, the timer's, on vcpu 0",
          status.status == EVTCHNSTAT_virq && status.u.virq == VIRQ_TIMER && status.vcpu == 0);
    result("unmask", unmask_port(timer));
    result("unmask port 4096", unmask_port(4096));
}

/* Only a running vCPU gets periodic ticks: one that blocks is not woken by them, and gets one tick when it goes on. */
static void periodic_timer(void)
{
    unsigned int count;
    uint64_t start;

    section("periodic timer");
    claim("ticks come before anything was set", !is_silent(50 * MILLISECOND));
    result("stop_periodic_timer", vcpu_op(VCPUOP_stop_periodic_timer, 0, 0));
    clear_pending(timer);
    claim("no tick comes any more", is_silent(100 * MILLISECOND));
    result("set_periodic_timer, 20 ms", periodic(20 * MILLISECOND));
    start = system_time();
    count = events[timer].count;
    vcpu_info()->evtchn_upcall_mask = 0;
    while (events[timer].count < count + 5)
        ;
    claim("5 ticks take about 5 periods", events[timer].time - start > 3 * 20 * MILLISECOND);
    count = events[timer].count;
    sleep_for(200 * MILLISECOND);
    claim("10 periods asleep are not 10 ticks", events[timer].count - count < 5);
    vcpu_info()->evtchn_upcall_mask = 1;
    result("stop_periodic_timer", vcpu_op(VCPUOP_stop_periodic_timer, 0, 0));
    result("set_periodic_timer, 999 us", periodic(999000));
    result("set_periodic_timer, 2^63 ns", periodic(1UL << 63));
    result("set_periodic_timer of vcpu 7", vcpu_op(VCPUOP_set_periodic_timer, 7, &start));
    result("set_periodic_timer, no such pointer", vcpu_op(VCPUOP_set_periodic_timer, 0, 0x8000000000UL));
    result("stop_periodic_timer", vcpu_op(VCPUOP_stop_periodic_timer, 0, 0));
}

static void one_shot_timers(void)
{
    uint64_t now, deadline;

    section("one-shot timers");
    deadline = system_time() + 30 * MILLISECOND;
    result("set_timer_op, in 30 ms", set_timer_op(deadline));
    claim_timer("it fired", deadline);
    claim("  once", is_silent(50 * MILLISECOND));
    deadline = system_time();
    result("set_timer_op, now", set_timer_op(deadline));
    claim_timer("it fired", deadline);
    deadline = system_time();
    result("set_timer_op, long ago", set_timer_op(1));
    claim_timer("it fired", deadline);
    set_timer_op(system_time() + 30 * MILLISECOND);
    result("set_timer_op 0 cancels", set_timer_op(0));
    claim("  nothing fires", is_silent(80 * MILLISECOND));
    now = system_time();
    set_timer_op(now + 30 * MILLISECOND);
    deadline = now + 90 * MILLISECOND;
    result("set_timer_op twice, the second later", set_timer_op(deadline));
    claim_timer("the second fired", deadline);
    now = system_time();
    set_timer_op(now + 60 * SECOND);
    deadline = now + 20 * MILLISECOND;
    result("set_timer_op twice, the second earlier", set_timer_op(deadline));
    claim_timer("the second fired", deadline);
    claim("  and only it", is_silent(50 * MILLISECOND));

    deadline = system_time() + 30 * MILLISECOND;
    result("set_singleshot_timer, in 30 ms", single_shot(deadline, 0));
    claim_timer("it fired", deadline);
    deadline = system_time() + 500 * MILLISECOND;
    result("set_singleshot_timer, in the future as asked", single_shot(deadline, VCPU_SSHOTTMR_future));
    claim_timer("it fired", deadline);
    deadline = system_time();
    result("set_singleshot_timer, long ago", single_shot(1, 0));
    claim_timer("it fired", deadline);
    result("set_singleshot_timer, long ago, but future asked", single_shot(1, VCPU_SSHOTTMR_future));
    clear_pending(timer);
    single_shot(system_time() + 60 * SECOND, 0);
    result("stop_singleshot_timer", vcpu_op(VCPUOP_stop_singleshot_timer, 0, 0));
    result("set_singleshot_timer of vcpu 7", vcpu_op(VCPUOP_set_singleshot_timer, 7, &deadline));
    result("set_singleshot_timer, no such pointer", vcpu_op(VCPUOP_set_singleshot_timer, 0, 0x8000000000UL));
}

static void waiting(void)
{
    uint64_t deadline, start;
    evtchn_port_t ports[1], bad[1] = { 4095 };
    static evtchn_port_t many[129];
    unsigned int before;

    section("block, poll and yield");
    clear_pending(timer);
    is_silent(20 * MILLISECOND);
    vcpu_info()->evtchn_upcall_mask = 1;
    deadline = system_time() + 20 * MILLISECOND;
    set_timer_op(deadline);
    before = upcalls;
    result("block, events masked", sched_op(SCHEDOP_block, 0));
    claim("  block unmasked them", vcpu_info()->evtchn_upcall_mask == 0);
    claim("  and the callback came", upcalls > before);
    claim("  not before the deadline", system_time() >= deadline);

    vcpu_info()->evtchn_upcall_mask = 1;
    ports[0] = timer;
    deadline = system_time() + 20 * MILLISECOND;
    result("poll of a port, timeout in 20 ms", poll(ports, 1, deadline));
    claim("  not before the timeout", system_time() >= deadline);
    claim("  events stay masked", vcpu_info()->evtchn_upcall_mask == 1);
    deadline = system_time() + 20 * MILLISECOND;
    set_timer_op(deadline);
    result("poll of the timer's port, timeout in 60 s", poll(ports, 1, system_time() + 60 * SECOND));
    claim("  its timer ended it", system_time() >= deadline && is_pending(timer));
    start = system_time();
    result("poll again, the port still pending", poll(ports, 1, system_time() + 60 * SECOND));
    claim("  it returned at once", system_time() < start + LATE);
    clear_pending(timer);
    result("poll, the timeout long ago", poll(ports, 1, 1));
    result("poll of port 4095, which is free", poll(bad, 1, 1));
    bad[0] = 4096;
    result("poll of port 4096, beyond all", poll(bad, 1, 1));
    result("poll of 129 ports", poll(many, 129, 1));
    result("poll of ports at no such pointer", poll((void *)0x8000000000, 1, 1));
    result("poll, no such pointer", sched_op(SCHEDOP_poll, 0x8000000000UL));
    result("yield", sched_op(SCHEDOP_yield, 0));
    result("sched_op 99", sched_op(99, 0));
}

static void channels(void)
{
    struct evtchn_bind_ipi ipi = { .vcpu = 0 };
    struct evtchn_send send;
    struct evtchn_close close;
    struct evtchn_alloc_unbound unbound = { .dom = DOMID_SELF, .remote_dom = DOMID_SELF };
    struct evtchn_bind_interdomain interdomain = { .remote_dom = DOMID_SELF };
    unsigned int before;

    section("event channels");
    vcpu_info()->evtchn_upcall_mask = 0;
    result("bind_ipi", event_channel_op(EVTCHNOP_bind_ipi, &ipi));
    unmask_port(ipi.port);
    send.port = ipi.port;
    before = events[ipi.port].count;
    result("send to it", event_channel_op(EVTCHNOP_send, &send));
    claim("  the callback came before send returned", events[ipi.port].count == before + 1);
    mask_port(ipi.port);
    result("send to it, masked", event_channel_op(EVTCHNOP_send, &send));
    claim("  it is pending, no callback came", is_pending(ipi.port) && events[ipi.port].count == before + 1);
    result("send to it, masked, again", event_channel_op(EVTCHNOP_send, &send));
    result("unmask", unmask_port(ipi.port));
    claim("  now one callback came", events[ipi.port].count == before + 2);
    vcpu_info()->evtchn_upcall_mask = 1;
    event_channel_op(EVTCHNOP_send, &send);
    claim("with upcalls masked none comes", events[ipi.port].count == before + 2);
    claim("  but evtchn_upcall_pending is set", vcpu_info()->evtchn_upcall_pending == 1);
    vcpu_info()->evtchn_upcall_mask = 0;
    sched_op(SCHEDOP_yield, 0);
    claim("  it comes with the next hypercall after unmasking", events[ipi.port].count == before + 3);
    close.port = ipi.port;
    result("close", event_channel_op(EVTCHNOP_close, &close));
    result("close again", event_channel_op(EVTCHNOP_close, &close));
    result("send to it", event_channel_op(EVTCHNOP_send, &send));
    send.port = 4096;
    result("send to port 4096", event_channel_op(EVTCHNOP_send, &send));
    send.port = timer;
    result("send to a virq", event_channel_op(EVTCHNOP_send, &send));
    result("alloc_unbound", event_channel_op(EVTCHNOP_alloc_unbound, &unbound));
    interdomain.remote_port = unbound.port;
    result("bind_interdomain with ourselves", event_channel_op(EVTCHNOP_bind_interdomain, &interdomain));
    claim("  the new end is pending at once", is_pending(interdomain.local_port));
    clear_pending(interdomain.local_port);
    send.port = unbound.port;
    result("send to the other end", event_channel_op(EVTCHNOP_send, &send));
    claim("  it is pending at this end", is_pending(interdomain.local_port) && !is_pending(unbound.port));
    interdomain.remote_port = 4000;
    result("bind_interdomain with a free port", event_channel_op(EVTCHNOP_bind_interdomain, &interdomain));
    unbound.dom = 999;
    result("alloc_unbound for a domain that does not exist", event_channel_op(EVTCHNOP_alloc_unbound, &unbound));
    result("event_channel_op 99", event_channel_op(99, &unbound));
    vcpu_info()->evtchn_upcall_mask = 1;
}

static void runstates(void)
{
    static struct vcpu_runstate_info area;
    struct vcpu_runstate_info info;
    struct vcpu_register_runstate_memory_area registration = { .addr.v = &area };
    static vcpu_time_info_t time_area;
    struct vcpu_register_time_memory_area time_registration = { .addr.v = &time_area };
    uint64_t blocked;

    section("runstates");
    result("get_runstate_info", vcpu_op(VCPUOP_get_runstate_info, 0, &info));
    claim("  running", info.state == RUNSTATE_running);
    blocked = info.time[RUNSTATE_blocked];
    sleep_for(30 * MILLISECOND);
    vcpu_op(VCPUOP_get_runstate_info, 0, &info);
    claim("  a sleep of 30 ms was spent blocked", info.time[RUNSTATE_blocked] - blocked >= 20 * MILLISECOND);
    claim("  the times add up to less than system time",
          info.time[0] + info.time[1] + info.time[2] + info.time[3] <= system_time());
    result("register_runstate_memory_area", vcpu_op(VCPUOP_register_runstate_memory_area, 0, &registration));
    claim("  it is filled", area.state == RUNSTATE_running && area.state_entry_time != 0);
    result("register_vcpu_time_memory_area", vcpu_op(VCPUOP_register_vcpu_time_memory_area, 0, &time_registration));
    claim("  it is filled", time_area.tsc_to_system_mul == vcpu_info()->time.tsc_to_system_mul);
    print("is_up: vcpu 0 %ld\n", vcpu_op(VCPUOP_is_up, 0, 0));
    result("is_up: vcpu 1", vcpu_op(VCPUOP_is_up, 1, 0));
    result("is_up: vcpu 9999", vcpu_op(VCPUOP_is_up, 9999, 0));
    result("get_runstate_info, no such pointer", vcpu_op(VCPUOP_get_runstate_info, 0, 0x8000000000UL));
    result("vcpu_op 99", vcpu_op(99, 0, 0));
}

void guest_main(void)
{
    traps_init();
    events_init();
    clocks();
    binding();
    periodic_timer();
    one_shot_timers();
    waiting();
    channels();
    runstates();
    print("clock: done\n");
}
