/* vcpu_op on vCPUs that are not yet initialised, and their initialising. How they then run: guests/smp. Wants VCPUS vCPUs. */
#include "conform.h"
#include "trap.h"

#define VCPUS 24                                /* as initialise.vcpus says */

static struct vcpu_guest_context context;
static unsigned char gdt[2][PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char data[PAGE_SIZE] __attribute__((aligned(4096)));
static pte_t tables[2][512] __attribute__((aligned(4096)));     /* an L4 that nothing uses, twice */
static unsigned int next = 1;                   /* the first vCPU that is not initialised */

static struct vcpu_guest_context *good(void)
{
    memset(&context, 0, sizeof(context));
    context.flags = VGCF_in_kernel;
    context.user_regs.rip = (uint64_t)data;
    context.user_regs.rsp = (uint64_t)data;
    context.user_regs.cs = KERNEL_CS;
    context.user_regs.ss = KERNEL_SS;
    context.user_regs.rflags = RFLAGS_IF;
    context.kernel_ss = KERNEL_SS;
    context.kernel_sp = (uint64_t)data;
    context.ctrlreg[3] = mfn_of(l4_table()) << 12;
    return &context;
}

/* Initialises a new vCPU with the context as it is. A refusal must leave the vCPU as it was: the next try is with the same one. */
#define ask(...) do {                                                                           \
        if (check("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, next, &context), __VA_ARGS__) == 0) \
            next++;                                                                             \
    } while (0)
#define spoil(field, value, name) do { good()->field = (value); ask(#field " = " name); } while (0)

#define spoil_address(field) do {                                   \
        spoil(field, NON_CANONICAL, "the first that is not canonical");     \
        spoil(field, 0xffff7fffffffffff, "the last that is not canonical"); \
    } while (0)

static void addresses(void)
{
    spoil_address(user_regs.rip);
    spoil_address(user_regs.rsp);
    spoil_address(kernel_sp);
    spoil_address(fs_base);
    spoil_address(gs_base_kernel);
    spoil_address(gs_base_user);
    spoil_address(event_callback_eip);
    spoil_address(failsafe_callback_eip);
    spoil_address(syscall_callback_eip);
    spoil_address(trap_ctxt[0].address);
    spoil_address(trap_ctxt[14].address);
    spoil_address(trap_ctxt[128].address);
    spoil_address(trap_ctxt[255].address);
    spoil_address(ldt_base);
    spoil(ldt_base, IN_XEN, "in Xen, without entries");
    spoil(ldt_base, MACH2PHYS_VIRT_START, "the m2p, without entries");
    spoil(ldt_base, (uint64_t)data + 8, "within a page");
    good()->ldt_base = (uint64_t)data;
    context.ldt_ents = 8193;
    ask("8193 LDT entries");
    context.ldt_ents = -1UL;
    ask("2^64 - 1 LDT entries");
    context.ldt_ents = 1UL << 32;
    ask("2^32 LDT entries");
    context.ldt_base = 8;
    ask("an LDT within a page, 2^32 entries");
}

static void descriptor_tables(void)
{
    good()->gdt_ents = 7169;
    ask("7169 GDT entries");
    context.gdt_ents = -1UL;
    ask("2^64 - 1 GDT entries");
    context.gdt_ents = 1UL << 32;
    ask("2^32 GDT entries");
    context.gdt_ents = (1UL << 32) + 1;
    ask("2^32 + 1 GDT entries");
    context.gdt_ents = 1;
    ask("a GDT in frame 0");
    context.gdt_frames[0] = -1UL;
    ask("a GDT in frame 2^64 - 1");
    context.gdt_frames[0] = 1UL << 40;
    ask("a GDT in frame 2^40");
    context.gdt_frames[0] = mfn_of(data);
    ask("a GDT that is mapped writable");
    context.gdt_frames[0] = mfn_of(l4_table());
    ask("a GDT in a page table");
    context.gdt_frames[0] = start_info->shared_info / PAGE_SIZE;
    ask("a GDT in shared_info");
    remap(gdt[0], PTE_RDONLY);
    remap(gdt[1], PTE_RDONLY);
    context.gdt_frames[0] = mfn_of(gdt[0]);
    context.gdt_ents = 513;
    ask("a second page of GDT in frame 0");
    context.gdt_frames[1] = mfn_of(data);
    ask("a second page of GDT that is mapped writable");
    check("update_va_mapping", remap(gdt[0], PTE_DATA), "the first page of a refused GDT, writable");
    for (int i = 0; i < 512; i++)
        ((uint64_t *)gdt[0])[i] = 0x0000890000000067;   /* a TSS */
    remap(gdt[0], PTE_RDONLY);
    context.gdt_ents = 1;
    ask("a GDT with a TSS");
    remap(gdt[0], PTE_DATA);
    memset(gdt[0], 0, PAGE_SIZE);
    remap(gdt[0], PTE_RDONLY);
    context.gdt_frames[1] = -1UL;
    ask("a GDT of 1 entry, the next frame wild");
    check("update_va_mapping", remap(gdt[0], PTE_DATA), "the page of a GDT, writable");
    good()->gdt_ents = 1024;
    context.gdt_frames[0] = context.gdt_frames[1] = mfn_of(gdt[1]);
    ask("a GDT whose pages are the same");
    good()->gdt_ents = 7168;
    for (int i = 0; i < 14; i++)
        context.gdt_frames[i] = mfn_of(gdt[1]);
    ask("7168 GDT entries");
    good()->ldt_base = (uint64_t)data;
    context.ldt_ents = 8192;
    ask("8192 LDT entries");
    good()->ldt_base = UNMAPPED & ~4095UL;
    context.ldt_ents = 1;
    ask("an LDT at address 0");
}

static void page_tables(void)
{
    static const struct { const char *name; uint64_t value; } frames[] = {
        { "0", 0 }, { "frame 2^39", 1UL << 51 }, { "frame 2^40 - 1", 0xffffffffff000 }, { "frame 2^52 - 1", -4096UL },
    };

    for (int i = 0; i < 512; i++)
        if (i < 256 || i > 271)
            tables[0][i] = tables[1][i] = l4_table()[i];
    for (unsigned int i = 0; i < sizeof(frames) / sizeof(*frames); i++) {
        good()->ctrlreg[3] = frames[i].value;
        ask("ctrlreg[3] = %s", frames[i].name);
        good()->ctrlreg[1] = frames[i].value;
        ask("ctrlreg[1] = %s", frames[i].name);
    }
    for (int reg = 1; reg <= 3; reg += 2) {
        good()->ctrlreg[reg] = mfn_of(data) << 12;
        ask("ctrlreg[%d] = a page", reg);
        for (int level = 1; level <= 3; level++) {
            good()->ctrlreg[reg] = mfn_of(entry_of(data, level)) << 12;
            ask("ctrlreg[%d] = an L%d", reg, level);
        }
        good()->ctrlreg[reg] = mfn_of(tables[0]) << 12;
        ask("ctrlreg[%d] = an L4 that is mapped writable", reg);
        good()->ctrlreg[reg] = start_info->shared_info;
        ask("ctrlreg[%d] = shared_info", reg);
    }
    remap(tables[0], PTE_RDONLY);
    good()->ctrlreg[1] = mfn_of(data) << 12;
    context.ctrlreg[3] = mfn_of(tables[0]) << 12;
    ask("a new L4 for the kernel, a page for the user");
    check("update_va_mapping", remap(tables[0], PTE_DATA), "that L4, writable");
    remap(tables[0], PTE_RDONLY);
    good()->ctrlreg[3] = mfn_of(tables[0]) << 12;
    ask("a new L4 for the kernel");
    check("update_va_mapping", remap(tables[0], PTE_DATA), "that L4, writable");
    check("mmuext_op.UNPIN_TABLE", mmuext(MMUEXT_UNPIN_TABLE, mfn_of(tables[0])), "that L4");
    remap(tables[1], PTE_RDONLY);
    good()->ctrlreg[1] = mfn_of(tables[1]) << 12;
    ask("a new L4 for the user");
    good()->ctrlreg[1] = mfn_of(l4_table()) << 12;
    ask("the same L4 for the kernel and the user");
    good()->flags = 0;
    ask("user mode, no ctrlreg[1]");
    context.ctrlreg[1] = mfn_of(tables[1]) << 12;
    ask("user mode, with ctrlreg[1]");
    good()->ctrlreg[3] |= 0xfff;
    ask("ctrlreg[3] with all low bits set");
}

static void registers(void)
{
    spoil(flags, VGCF_in_kernel | VGCF_I387_VALID, "in_kernel, I387_VALID, all of the area 0");
    memset(&context, FILL, sizeof(context));
    ask("rubbish");
    good()->flags = VGCF_in_kernel | 0xffffff00;
    ask("flags with all bits above 7");
    good();
    memset(context.debugreg, 0xff, sizeof(context.debugreg));
    ask("all bits of the debug registers");
    good();
    for (int i = 0; i < 8; i++)
        if (i != 1 && i != 3)
            context.ctrlreg[i] = -1UL;
    ask("all bits of ctrlreg but 1 and 3");
    good()->user_regs.rflags = -1UL;
    context.user_regs.cs = context.user_regs.ss = 0;
    context.user_regs.ds = context.user_regs.es = context.user_regs.fs = context.user_regs.gs = 0xffff;
    context.kernel_ss = -1UL;
    ask("wild selectors and flags");
    good();
    for (int i = 0; i < 256; i++)
        context.trap_ctxt[i] = (struct trap_info){ .vector = 255 - i, .flags = 0xff, .cs = 0xffff, .address = (uint64_t)data };
    ask("256 wild traps");
    good()->vm_assist = -1UL;
    ask("all bits of vm_assist");
}

static const char *const calls[] = {
    "vcpu_op.initialise", "vcpu_op.up", "vcpu_op.down", "vcpu_op.is_up", "vcpu_op.get_runstate_info", "vcpu_op.register_runstate_memory_area",
    "vcpu_op.set_periodic_timer", "vcpu_op.stop_periodic_timer", "vcpu_op.set_singleshot_timer", "vcpu_op.stop_singleshot_timer",
    "vcpu_op.register_vcpu_info", "vcpu_op.send_nmi", "vcpu_op.get_physid", "vcpu_op.register_vcpu_time_memory_area",
};

/* Of a vCPU that is down: `id` is the last, of which no other check is made. */
static void down(unsigned int id, const char *state)
{
    struct vcpu_register_runstate_memory_area runstate = { .addr.p = 0 };
    struct vcpu_register_time_memory_area time = { .addr.p = 0 };
    struct vcpu_set_periodic_timer periodic = { .period_ns = 1000000 };
    struct vcpu_set_singleshot_timer single = { .timeout_abs_ns = 1 };
    void *args[] = { 0, 0, 0, 0, page, &runstate, &periodic, 0, &single, 0, 0, 0, page, &time };

    for (int cmd = VCPUOP_up + 1; cmd < 14; cmd++) {
        if (cmd == VCPUOP_register_vcpu_info || (is_dom0() && cmd == VCPUOP_get_physid))
            continue;
        check(calls[cmd], vcpu_op(cmd, id, args[cmd]), "%s", state);
        check(calls[cmd], vcpu_op(cmd, id, UNMAPPED), "%s, pointer unmapped", state);
    }
    check_out("vcpu_op.get_runstate_info", vcpu_op(VCPUOP_get_runstate_info, id, page), ("%s", state), ("state=%d", *(int *)page));
    vcpu_op(VCPUOP_register_runstate_memory_area, id, &runstate);
    vcpu_op(VCPUOP_register_vcpu_time_memory_area, id, &time);
    vcpu_op(VCPUOP_stop_periodic_timer, id, 0);
}

static void info_pages(unsigned int id)
{
    static unsigned char place[PAGE_SIZE] __attribute__((aligned(4096)));
    struct vcpu_register_vcpu_info arg = { .mfn = mfn_of(place), .offset = 4096 };

    check_wild("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, id, w->address), "another vCPU, pointer");
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, id, &arg), "another vCPU, offset 4096");
    arg.offset = 64;
    arg.mfn = 1UL << 40;
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, id, &arg), "another vCPU, frame 2^40");
    arg.mfn = mfn_of(place);
    check_out("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, id, &arg), ("another vCPU"), ("pending=%d mask=%d",
              ((vcpu_info_t *)(place + 64))->evtchn_upcall_pending, ((vcpu_info_t *)(place + 64))->evtchn_upcall_mask));
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, id, &arg), "another vCPU, again");
}

void suite(void)
{
    check("vcpu_op.is_up", vcpu_op(VCPUOP_is_up, VCPUS - 1, 0), "the last vCPU");
    check("vcpu_op.is_up", vcpu_op(VCPUOP_is_up, VCPUS, 0), "one behind the last");
    check("vcpu_op.up", vcpu_op(VCPUOP_up, 1, 0), "not initialised");
    check("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, VCPUS, good()), "one behind the last");
    check("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, 0, good()), "the calling vCPU");
    check("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, 0, UNMAPPED), "the calling vCPU, pointer unmapped");
    check_wild("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, 1, w->address), "pointer");
    down(VCPUS - 1, "not initialised");
    addresses();
    descriptor_tables();
    page_tables();
    registers();
    good();
    ask("as it should be");
    check("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, next - 1, &context), "again");
    check("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, next - 1, UNMAPPED), "again, pointer unmapped");
    context.user_regs.rip = NON_CANONICAL;
    check("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, next - 1, &context), "again, wrongly");
    check("vcpu_op.is_up", vcpu_op(VCPUOP_is_up, next - 1, 0), "initialised");
    down(next - 1, "initialised, never up");
    info_pages(next - 1);
}
