/* multicall: what each entry's result is, which calls may be in one, and where it stops. */
#include "conform.h"
#include "trap.h"

#define multicall(list, count) HYPERCALL2(__HYPERVISOR_multicall, list, count)

static multicall_entry_t list[600];
static unsigned char data[PAGE_SIZE] __attribute__((aligned(4096)));

static void results(void)
{
    static mmu_update_t updates[700];
    unsigned int done = 77;
    int good = 1;

    list[0] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version };
    list[1] = (multicall_entry_t){ .op = __HYPERVISOR_multicall, .args = { (unsigned long)list, 1 } };
    list[2] = (multicall_entry_t){ .op = 99 };
    list[3] = (multicall_entry_t){ .op = (1UL << 32) + __HYPERVISOR_xen_version };
    list[4] = (multicall_entry_t){ .op = -1UL };
    list[5] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .args = { 1UL << 32 } };
    list[6] = (multicall_entry_t){ .op = __HYPERVISOR_sched_op, .args = { SCHEDOP_yield } };
    list[7] = (multicall_entry_t){ .op = __HYPERVISOR_fpu_taskswitch };
    list[8] = (multicall_entry_t){ .op = __HYPERVISOR_get_debugreg, .args = { 9 } };
    list[9] = (multicall_entry_t){ .op = __HYPERVISOR_event_channel_op, .args = { EVTCHNOP_send, UNMAPPED } };
    list[10] = (multicall_entry_t){ .op = 31 };
    list[11] = (multicall_entry_t){ .op = __HYPERVISOR_update_va_mapping, .args = { (unsigned long)data, make_pte(data, PTE_RDONLY), UVMF_INVLPG } };
    list[12] = (multicall_entry_t){ .op = __HYPERVISOR_vm_assist, .args = { VMASST_CMD_enable, 63 } };
    check("multicall", multicall(list, 13), "13 calls");
    for (unsigned int i = 0; i < 13; i++)
        check("multicall", list[i].result, "entry %u: hypercall %lx", i, (unsigned long)list[i].op);
    for (unsigned int i = 0; i < 6; i++)
        good &= list[5].args[i] == (i ? 0 : 1UL << 32);
    fact("multicall", good, "are the arguments as they were?");
    remap(data, PTE_DATA);
    for (unsigned int i = 0; i < 700; i++)
        updates[i] = (mmu_update_t){ .ptr = maddr_of(entry_of(data, 1)), .val = make_pte(data, i & 1 ? PTE_DATA : PTE_RDONLY) };
    list[0] = (multicall_entry_t){ .op = __HYPERVISOR_mmu_update, .args = { (unsigned long)updates, 700, (unsigned long)&done, DOMID_SELF } };
    list[1] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version };
    check_out("multicall", multicall(list, 2), ("mmu_update of 700, and another"), ("results %s %ld done=%u", errno_name(list[0].result), (long)list[1].result, done));
    for (unsigned int i = 0; i < 600; i++)
        list[i] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .result = 77 };
    check("multicall", multicall(list, 600), "600 calls");
    for (unsigned int i = 0; i < 600; i++)
        good &= list[i].result == list[0].result;
    fact("multicall", good && list[0].result != 77, "have all 600 the same result?");
}

/* iret goes where its frame says, with the registers that are there. */
static void leave(void)
{
    unsigned long rax = __HYPERVISOR_multicall, rdi = (unsigned long)list, rsi = 3;

    for (unsigned int i = 0; i < 3; i++)
        list[i] = (multicall_entry_t){ .op = i == 1 ? __HYPERVISOR_iret : __HYPERVISOR_xen_version, .result = 77 };
    asm volatile (
        "movq %%rsp, %%r12\n\t"
        "pushq $0xe02b\n\t"
        "pushq %%r12\n\t"
        "pushq $0x202\n\t"
        "pushq $0xe030\n\t"
        "pushq $1f\n\t"
        "pushq $0\n\t"                         /* flags: not from a system call */
        "pushq %%rcx\n\t"
        "pushq %%r11\n\t"
        "pushq $0x1234\n\t"                    /* rax */
        "syscall\n\t"
        "movl $0x5678, %%eax\n\t"
        "movq %%r12, %%rsp\n"
        "1:"
        : "+a" (rax), "+D" (rdi), "+S" (rsi) :: "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "memory", "cc");
    asked("multicall");
    print("iret between two others -> %lx {%s, %s, %s}\n", rax, list[0].result == 77 ? "not done" : "done", list[1].result == 77 ? "no result" : "a result",
          list[2].result == 77 ? "not done" : "done");
}

static void lists(void)
{
    for (unsigned long count = 0; count < 3; count++)
        check_wild("multicall", multicall(w->address, count), count == 0 ? "list of none" : count == 1 ? "list of one" : "list of two");
    list[0] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .result = 77 };
    list[1] = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .result = 77 };
    check_out("multicall", multicall(list, 1 | 1UL << 32), ("one call with rubbish above the 32 bits"), ("%s", list[0].result == 77 ? "not done" : "done"));
    check("multicall", multicall(READ_ONLY, 1), "a read-only list");
    list[0].op = __HYPERVISOR_xen_version;
    /* The second entry is beyond the mapped page. */
    multicall_entry_t *edge = (multicall_entry_t *)(wild[CUT].address + 1 - sizeof(*edge));
    *edge = (multicall_entry_t){ .op = __HYPERVISOR_xen_version, .result = 77 };
    check_out("multicall", multicall(edge, 2), ("two calls, the second unmapped"), ("first %s", edge->result == 77 ? "not done" : "done"));
    check("multicall", multicall(list, 0), "none");
}

/* Each of these may be in a multicall: the errors are those of the call itself. */
static void every_call(void)
{
    for (unsigned int nr = 0; nr < 64; nr++) {
        static const unsigned char skipped[] = { 0, 2, 3, 4, 5, 6, 13, 15, 21, 23, 29, 30 };
        int skip = 0;

        for (unsigned int i = 0; i < sizeof(skipped); i++)
            skip |= nr == skipped[i];
        if (skip || (is_dom0() && (nr == 7 || nr == 18 || nr >= 33)))
            continue;
        list[0] = (multicall_entry_t){ .op = nr, .args = { UNMAPPED, UNMAPPED, UNMAPPED, 1000, UNMAPPED } };
        if (nr == __HYPERVISOR_xen_version)
            list[0].args[0] = 1;
        check_out("multicall", multicall(list, 1), ("hypercall %u, all arguments wild", nr), ("%s", errno_name(list[0].result)));
    }
}

void suite(void)
{
    traps_init();
    results();
    leave();
    lists();
    every_call();
}
