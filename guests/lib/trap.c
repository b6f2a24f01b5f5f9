#include "trap.h"
#include "paging.h"

struct probe probe;
int (*trap_hook)(struct regs *regs);

const char *vector_name(unsigned int vector)
{
    static const char *const names[] = {
        "#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "vector 9", "#TS", "#NP", "#SS", "#GP", "#PF",
        "vector 15", "#MF", "#AC", "#MC", "#XM",
    };

    switch (vector) {
    case EVENT_CALLBACK:    return "event callback";
    case FAILSAFE_CALLBACK: return "failsafe callback";
    case SYSCALL_CALLBACK:  return "syscall callback";
    }
    return vector < sizeof(names) / sizeof(names[0]) ? names[vector] : "software interrupt";
}

static void die(const struct regs *regs)
{
    print("unexpected %s, vector %lu, error %lx, cr2 %lx\n", vector_name(regs->vector), regs->vector, regs->error,
          shared_info->vcpu_info[0].arch.cr2);
    print("rip %lx cs %x rflags %lx rsp %lx ss %lx\n", regs->rip, regs->cs, regs->rflags, regs->rsp, regs->ss);
    print("rax %lx rcx %lx rdx %lx rbx %lx rsi %lx rdi %lx rbp %lx\n", regs->rax, regs->rcx, regs->rdx, regs->rbx, regs->rsi,
          regs->rdi, regs->rbp);
    panic("nobody expected this");
}

/* Called by entry.S for every trap and callback. */
void trap_dispatch(struct regs *regs)
{
    uint64_t cr2 = shared_info->vcpu_info[0].arch.cr2;

    if (trap_hook && trap_hook(regs))
        return;
    if (regs->vector == EVENT_CALLBACK) {       /* not meant for us: every port is masked */
        shared_info->vcpu_info[0].evtchn_upcall_pending = 0;
        regs->iret_flags = 0;
        return;
    }
    if (!probe.resume)
        die(regs);
    if (probe.count++ == 0) {
        probe.regs = *regs;
        probe.cr2 = cr2;
        probe.upcall_mask = shared_info->vcpu_info[0].evtchn_upcall_mask;
    }
    if (probe.count > 8)
        die(regs);
    regs->iret_flags = probe.iret_flags;
    regs->rip = probe.resume;
    regs->rsp = probe.rsp;
    regs->cs = KERNEL_CS & ~3;
    regs->ss = KERNEL_SS;
    regs->rflags &= ~(uint64_t)(RFLAGS_TF | RFLAGS_NT | RFLAGS_AC);
}

void set_trap(unsigned int vector, unsigned int flags, uint64_t address)
{
    struct trap_info table[2] = { { .vector = vector, .flags = flags, .cs = KERNEL_CS, .address = address } };
    long result = set_trap_table(table);

    if (result)
        print("set_trap_table: %s\n", errno_name(result));
}

static void set_callback(unsigned int type, char *address)
{
    struct callback_register callback = { .type = type, .address = (uint64_t)address };

    if (callback_op(CALLBACKOP_register, &callback))
        panic("callback_op");
}

void traps_init(void)
{
    map_shared_info();
    memset((void *)shared_info->evtchn_mask, 0xff, sizeof(shared_info->evtchn_mask));
    for (unsigned int vector = 0; vector < 20; vector++)
        set_trap(vector, vector == 3 || vector == 4 ? 3 : 0, TRAP_ENTRY(vector));
    set_callback(CALLBACKTYPE_event, event_entry);
    set_callback(CALLBACKTYPE_failsafe, failsafe_entry);
    set_callback(CALLBACKTYPE_syscall, syscall_entry);
}

void report(const char *what)
{
    const struct regs *regs = &probe.regs;

    print("%-52s -> ", what);
    if (probe.count == 0) {
        print("no trap\n");
        return;
    }
    print("%s", vector_name(regs->vector));
    if (regs->vector < 32 && (1u << regs->vector) & ERROR_CODE_VECTORS)
        print("(%lx)", regs->error);
    if (regs->vector >= 32 && regs->vector < 256)
        print(" %lx", regs->vector);
    if (probe.target && regs->rip - (uint64_t)probe.target < PAGE_SIZE)
        print(" at target+%lx", regs->rip - (uint64_t)probe.target);
    else
        print(" at %s%ld", regs->rip >= probe.start ? "+" : "", (long)(regs->rip - probe.start));
    if (regs->vector == 14) {
        if (probe.target)
            print(", cr2 = target+%lx", probe.cr2 - (uint64_t)probe.target);
        else
            print(", cr2 = %lx", probe.cr2);
    }
    if (probe.count > 1)
        print(", %u times", probe.count);
    print("\n");
}
