/*
 * What a guest sees of the time that it does not get: the wall clock goes on, its own counter does not, and the runstate
 * area says where the time went. Without a command line it prints claims that hold on every machine, and ends. With
 * `watch` it prints a line for each second, for ever.
 */
#include "control.h"
#include "paging.h"
#include "runstate.h"
#include "time.h"
#include "trap.h"

#define ROUNDS 200

static volatile vcpu_runstate_info_t runstate __attribute__((aligned(64)));
static uint64_t counter;

static void count_for(uint64_t nanoseconds)
{
    uint64_t end = system_time() + nanoseconds;

    do
        counter++;
    while (system_time() < end);
}

/* When the vCPU was made, if the four times add up to all the time since: the same at every moment. */
static uint64_t birth(void)
{
    uint64_t entry, sum;

    do {
        entry = runstate.state_entry_time;
        barrier();
        sum = runstate.time[0] + runstate.time[1] + runstate.time[2] + runstate.time[3];
        barrier();
    } while (entry != runstate.state_entry_time);
    return entry - sum;
}

static void claims(void)
{
    uint64_t born = birth(), stolen = time_stolen(&runstate), running = time_running(&runstate), asleep, before;
    int adds_up = 1, only_grows = 1, is_running = 1, within = 1;

    section("patience");
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start = system_time(), ran = time_running(&runstate), end;

        if (round & 1)
            sched_op(SCHEDOP_yield, 0);
        count_for(MILLISECOND);
        ran = time_running(&runstate) - ran;
        end = system_time();
        adds_up &= birth() == born;
        only_grows &= time_stolen(&runstate) >= stolen && time_running(&runstate) >= running;
        is_running &= runstate.state == RUNSTATE_running;
        within &= ran <= end - start;
        stolen = time_stolen(&runstate);
        running = time_running(&runstate);
    }
    claim("who looks is running", is_running);
    claim("the four times add up to all the time", adds_up);
    claim("running and stolen time never go back", only_grows);
    claim("it never runs longer than time passes", within);
    asleep = runstate.time[RUNSTATE_blocked];
    before = counter;
    sleep_for(20 * MILLISECOND);
    claim("nearly all of 20 ms of sleep are spent blocked", runstate.time[RUNSTATE_blocked] - asleep >= 15 * MILLISECOND);
    claim("  while its counter stood still", counter == before);
    claim("  and they were not stolen", time_stolen(&runstate) - stolen < 20 * MILLISECOND);
}

static void watch(void)
{
    control_init();
    print("passed ms  running ms  stolen ms       count\n");
    for (;;) {
        obey_control();
        uint64_t start = system_time(), running = time_running(&runstate), stolen = time_stolen(&runstate), before = counter;

        count_for(SECOND);
        print("%9lu %11lu %10lu %11lu\n", (system_time() - start) / MILLISECOND,
              (time_running(&runstate) - running) / MILLISECOND, (time_stolen(&runstate) - stolen) / MILLISECOND, counter - before);
    }
}

void guest_main(void)
{
    traps_init();
    watch_runstate(0, &runstate);
    vcpu_op(VCPUOP_stop_periodic_timer, 0, 0);
    if (!strcmp((const char *)start_info->cmd_line, "watch"))
        watch();
    claims();
    print("patience: done\n");
}
