/*
 * Random instructions that trap into ring -1, in kernel mode and in user mode. The command line is a seed and a number of
 * steps; the same two run the same everywhere, so consoles can be compared. A step is a line:
 *
 *     17 user wrmsr 0f30 rcx=c0000100 rax=0 rdx=0 -> #GP(0) 400000 f=10046
 *
 * step, mode, instruction, its bytes, what it stood on; the trap that ended it, RIP, rflags, and every register, selector,
 * base, word of memory and debug bit that is not what it was. Behind the instruction stands int3, so what does not trap ends by
 * #BP. A PV kernel's own stack must take the frame, so in kernel mode RSP stays good.
 */
#include "command_line.h"
#include "instructions.h"

static unsigned char page[8][PAGE_SIZE] __attribute__((aligned(4096)));
static unsigned char tables[6][PAGE_SIZE] __attribute__((aligned(4096)));
#define code_page  page[0]
#define stack_page page[1]                      /* two */
#define data_page  page[3]
#define l1  ((pte_t *)tables[0])
#define l2  ((pte_t *)tables[1])
#define l3  ((pte_t *)tables[2])
#define user_l4 ((pte_t *)tables[3])
#define gdt ((uint64_t *)tables[4])
#define ldt ((uint64_t *)tables[5])
static char trap_stack[2 * PAGE_SIZE] __attribute__((aligned(16)));
static uint8_t io_bitmap[8192];

int as_dom0;
static uint64_t random_state;
static uint64_t first_cr4;

/* What the trap that ended the step brought. */
static struct { struct regs regs; uint64_t cr2; uint8_t mask; uint16_t segments[4]; } end;

void enter_user(const struct regs *regs);
void leave_user(void) __attribute__((noreturn));

unsigned int any(unsigned int below)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (random_state >> 16) % below;
}

static vcpu_info_t *vcpu_info(void)
{
    return &shared_info->vcpu_info[0];
}

static int take(struct regs *regs)
{
    if (regs->vector == EVENT_CALLBACK)
        return 0;
    end.regs = *regs;
    end.cr2 = vcpu_info()->arch.cr2;
    end.mask = vcpu_info()->evtchn_upcall_mask;
    asm volatile ("movw %%ds, %0\n movw %%es, %1\n movw %%fs, %2\n movw %%gs, %3"
                  : "=m" (end.segments[0]), "=m" (end.segments[1]), "=m" (end.segments[2]), "=m" (end.segments[3]));
    vcpu_info()->evtchn_upcall_mask = 1;
    leave_user();
}

static uint64_t read_msr(uint32_t number)
{
    uint32_t low, high;

    asm volatile ("rdmsr" : "=a" (low), "=d" (high) : "c" (number));
    return (uint64_t)high << 32 | low;
}

static void write_msr(uint32_t number, uint64_t value)
{
    asm volatile ("wrmsr" :: "a" ((uint32_t)value), "d" ((uint32_t)(value >> 32)), "c" (number));
}

static void set_iopl(unsigned int iopl)
{
    struct physdev_set_iopl arg = { .iopl = iopl };

    physdev_op(PHYSDEVOP_set_iopl, &arg);
}

static void begin(const struct step *step)
{
    uint64_t gs = step->bases[1], other = step->bases[2];

    memset(code_page, 0xcc, PAGE_SIZE);
    memcpy(code_page + step->regs.rip % PAGE_SIZE, step->code, step->size);
    memset(page[5], 0xcc, PAGE_SIZE);           /* PRIVATE, where one may jump */
    memset(stack_page, 0, 2 * PAGE_SIZE);
    memset(data_page, 0, PAGE_SIZE);
    memcpy(stack_page + STACK_TOP - STACK, step->frame, sizeof(step->frame));
    for (unsigned int i = 0; i < PAGE_SIZE / 16; i++)   /* far pointers, and pointers of descriptor tables */
        memcpy(data_page + 16 * i, step->frame, 16);
    set_iopl(step->iopl);
    set_segment_base(SEGBASE_FS, step->bases[0]);
    set_segment_base(SEGBASE_GS_KERNEL, step->mode == KERNEL_MODE ? gs : other);
    set_segment_base(SEGBASE_GS_USER, step->mode == KERNEL_MODE ? other : gs);
    asm volatile ("movq %0, %%cr4" :: "r" (step->cr4));
    for (int i = 0; i < 4; i++)
        set_debugreg(i, step->debug[i]);
    set_debugreg(6, 0xffff0ff0);
    set_debugreg(7, step->debug[4]);
    vcpu_info()->arch.cr2 = 0;
    fpu_taskswitch(step->task_switched);
    asm volatile ("movl %0, %%ds\n movl %1, %%es" :: "r" ((uint32_t)step->segments[0]), "r" ((uint32_t)step->segments[1]));
}

static void tell_memory(const struct step *step)
{
    const uint64_t *stack = (const uint64_t *)(stack_page + STACK_TOP - STACK), *data = (const uint64_t *)data_page;
    uint64_t rsp = end.regs.rsp;

    if (rsp < STACK_TOP && rsp >= STACK_TOP - 0x40 && rsp % 8 == 0)
        for (uint64_t at = rsp; at < STACK_TOP; at += 8)
            print(" [%lx]=%lx", at, *(uint64_t *)(stack_page + at - STACK));
    for (unsigned int i = 0; i < sizeof(step->frame) / 8; i++)
        if (stack[i] != step->frame[i])
            print(" [%lx]=%lx", STACK_TOP + 8 * i, stack[i]);
    for (unsigned int i = 0, told = 0; i < PAGE_SIZE / 8 && told < 6; i++)
        if (data[i] != step->frame[i % 2]) {
            told++;
            print(" [%lx]=%lx", DATA + 8 * i, step->hidden & HIDE_MEMORY ? data[i] & 0xffff : data[i]);
            if (step->hidden & HIDE_MEMORY)     /* the rest is an address in Xen */
                break;
        }
}

static void finish(const struct step *step)
{
    static const char *const segment_names[] = { "ds", "es", "fs", "gs" }, *const base_names[] = { "fs", "gs", "gs'" };
    uint64_t bases[3] = { read_msr(0xc0000100), read_msr(step->mode == KERNEL_MODE ? 0xc0000101 : 0xc0000102),
                          read_msr(step->mode == KERNEL_MODE ? 0xc0000102 : 0xc0000101) };
    const struct regs *regs = &end.regs;
    long dr6 = get_debugreg(6);
    uint64_t cr0, cr4;

    asm volatile ("movq %%cr0, %0" : "=r" (cr0));
    asm volatile ("movq %%cr4, %0" : "=r" (cr4));
    asm volatile ("movl %0, %%ds\n movl %0, %%es\n movl %0, %%fs\n movl %0, %%gs" :: "r" (0));
    set_debugreg(7, 0);
    asm volatile ("movq %0, %%cr4" :: "r" (first_cr4));
    fpu_taskswitch(0);
    asm volatile ("fninit");

    print(" -> %s", vector_name(regs->vector));
    if (regs->vector < 32 && 1u << regs->vector & ERROR_CODE_VECTORS)
        print("(%lx)", regs->error);
    if (regs->vector >= 20 && regs->vector < 256)
        print(" %lx", regs->vector);
    if (regs->vector == 14)
        print(" cr2=%lx", end.cr2);
    else if (end.cr2)
        print(" cr2:=%lx", end.cr2);
    print(" at %lx f=%lx", regs->rip, regs->rflags & (regs->vector == 3 || regs->vector >= 20 ? ~(uint64_t)RFLAGS_RF : -1UL));
    if (regs->cs != (step->mode == KERNEL_MODE ? step->regs.cs & ~3 : step->regs.cs))
        print(" cs=%x", regs->cs);
    if (regs->ss != step->regs.ss)
        print(" ss=%lx", regs->ss);
    if (regs->saved_upcall_mask == !!(step->regs.rflags & RFLAGS_IF) || end.mask != regs->saved_upcall_mask)
        print(" mask=%u,%u", regs->saved_upcall_mask, end.mask);
    for (unsigned int i = 0; i < 16; i++) {
        uint64_t now = get_register(regs, i);

        if (now == get_register(&step->regs, i))
            continue;
        if (!(step->hidden & HIDE(i)))
            print(" %s=%lx", register_names[i], step->hidden & HIDE_UNDEFINED ? now & ~0xf0000UL : now);
    }
    for (int i = 0; i < 4; i++)
        if (end.segments[i] != step->segments[i])
            print(" %s=%x", segment_names[i], end.segments[i]);
    for (int i = 0; i < 3; i++)
        if (bases[i] != step->bases[i])
            print(" %s_base=%lx", base_names[i], bases[i]);
    if (dr6 != 0xffff0ff0)
        print(" dr6=%lx", dr6);
    if (!(cr0 & 8) != !step->task_switched)
        print(" ts=%d", !!(cr0 & 8));
    if (cr4 != step->cr4)
        print(" cr4=%lx", cr4);
    tell_memory(step);
    print("\n");
    write_msr(0xc0000103, 0);
}

static void prepare(void)
{
    struct callback_register callback = { .address = (uint64_t)syscall_entry };
    struct physdev_set_iobitmap bitmap = { .nr_ports = 65536 };
    xen_pfn_t frames[16] = { mfn_of(gdt) };

    traps_init();
    for (int i = 0; i < 3; i++)
        l1[i == 0 ? 0 : 1 + i] = make_pte(page[i], PTE_DATA);
    l1[4] = make_pte(data_page, PTE_DATA | PTE_NX);
    l1[6] = make_pte(page[4], PTE_RDONLY);
    l1[7] = make_pte(page[5], PTE_P | PTE_RW);
    l2[table_index((void *)CODE, 2)] = make_pte(l1, PTE_TABLE);
    l3[0] = make_pte(l2, PTE_TABLE);
    user_l4[0] = make_pte(l3, PTE_TABLE);
    for (int i = 0; i < 6; i++)
        remap(tables[i], PTE_RDONLY);
    if (mmuext(MMUEXT_PIN_L4_TABLE, mfn_of(user_l4)) || write_entry(l4_table(), make_pte(l3, PTE_TABLE)) ||
        mmuext(MMUEXT_NEW_USER_BASEPTR, mfn_of(user_l4)) || stack_switch(KERNEL_SS, trap_stack + sizeof(trap_stack)))
        panic("no user mode");
    set_gdt(frames, 512);
    mmuext_linear(MMUEXT_SET_LDT, (uint64_t)ldt, DESCRIPTORS);
    for (int i = 0; i < DESCRIPTORS; i++) {
        update_descriptor(maddr_of(&gdt[i]), descriptors[i]);
        update_descriptor(maddr_of(&ldt[i]), descriptors[DESCRIPTORS - 1 - i]);
    }
    callback.type = CALLBACKTYPE_syscall32;
    callback_op(CALLBACKOP_register, &callback);
    callback.type = CALLBACKTYPE_sysenter;
    callback_op(CALLBACKOP_register, &callback);
    /* Gates; those of exceptions with an error code stay of DPL 0, as no door is made for them without one. */
    for (unsigned int vector = 0; vector < 256; vector++)
        if (vector >= 32 || !(1u << vector & ERROR_CODE_VECTORS)) {
            unsigned int is_there = vector < 20 || any(4);

            set_trap(vector, is_there ? any(8) : 0, is_there ? TRAP_ENTRY(vector) : 0);
        }
    for (unsigned int i = 0; i < sizeof(io_bitmap); i++)
        io_bitmap[i] = any(256);
    set_xen_guest_handle(bitmap.bitmap, io_bitmap);
    if (any(2))
        physdev_op(PHYSDEVOP_set_iobitmap, &bitmap);
    if (any(4) == 0)
        vm_assist(VMASST_CMD_enable, VMASST_TYPE_architectural_iopl);
    vcpu_op(VCPUOP_stop_periodic_timer, 0, 0);
    asm volatile ("movq %%cr4, %0" : "=r" (first_cr4));
    vcpu_info()->evtchn_upcall_pending = 0;     /* of xenstore or the console, before all was masked */
    trap_hook = take;
}

void guest_main(void)
{
    static struct step step;
    static struct regs frame;
    uint32_t seed = 1, steps = 100;

    read_number(read_number((const char *)start_info->cmd_line, &seed), &steps);
    print("seed %u, %u steps\n", seed, steps);
    random_state = 0x9e3779b97f4a7c15UL * (seed + 1UL);
    for (int i = 0; i < 8; i++)
        any(2);
    as_dom0 = is_dom0();
    prepare();
    for (uint32_t i = 1; i <= steps; i++) {
        print("%u ", i);
        memset(&step, 0, sizeof(step));
        step.cr4 = first_cr4;
        choose(&step);
        begin(&step);
        enter_user(memcpy(&frame, &step.regs, sizeof(frame)));  /* the way there spoils it */
        finish(&step);
    }
    print("end\n");
}
