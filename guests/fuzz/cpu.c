/* What a vCPU is made of: descriptors, traps, callbacks, debug registers, segment bases; and instructions that use them. */
#include "fuzz.h"

static const uint64_t descriptors[] = {
    0, 0x00cff3000000ffff, 0x00cffb000000ffff, 0x00affb000000ffff, 0x00cf93000000ffff, 0x00af9b000000ffff, 0x00cff2000000ffff, 0x0040f20000000fff, 0x00cf73000000ffff,
    0x00c0f6000000ffff, 0x00cff7000000ffff, 0x00cfff000000ffff, 0x00effb000000ffff, 0x0000e9000000ffff, 0x0000ec000008ffff, 0x0000ee00e033ffff, 0x0000e2000000ffff,
    0x00008f000000ffff, 0xffcff3ffffffffff, 0x1234567890abcdef, 0x00cffa000000ffff, 0x0000f3000000ffff, 0x0000fb000000ffff, -1UL,
};

/* Of a GDT of ours, an LDT, or Xen's. */
static unsigned int selector(void)
{
    static const unsigned int odd[] = { 0, 3, 0xe02b, 0xe033, 0xe023, 0xe02e, 0xe008, 0xe010, 0xfffb, 0xe003, 0xdffb, 0xe043, 0xe063 };

    return chance(3) ? one_of(odd) : (any(6) << 3) + any(8);
}

static void restore_callbacks(const struct call *call, long answer)
{
    (void)call, (void)answer;
    for (unsigned int vector = 0; vector < 20; vector++)
        set_trap(vector, vector == 3 || vector == 4 ? 3 : 0, TRAP_ENTRY(vector));
    callback_op(CALLBACKOP_register, (&(struct callback_register){ .type = CALLBACKTYPE_event, .address = (uint64_t)event_entry }));
    callback_op(CALLBACKOP_register, (&(struct callback_register){ .type = CALLBACKTYPE_failsafe, .address = (uint64_t)failsafe_entry }));
    callback_op(CALLBACKOP_register, (&(struct callback_register){ .type = CALLBACKTYPE_syscall, .address = (uint64_t)syscall_entry }));
}

static uint64_t code_address(void)
{
    static const struct pick odd[] = { { "0", 0 }, { "in_xen", IN_XEN }, { "non-canonical", NON_CANONICAL }, { "-1", -1UL }, { "user", 0x400000 } };
    struct pick picked = any(3) ? (struct pick){ "door", TRAP_ENTRY(0x40) } : one_of(odd);

    print(" %s", picked.name);
    return picked.value;
}

void a_cpu(struct call *call)
{
    struct pick f = any(4) ? own_frame() : frame();

    switch (any(20)) {
    case 0: case 1: {
        static const unsigned int counts[] = { 0, 1, 16, 511, 512, 513, 1024, 1025, 7168, 7169, 0xffffffff };
        uint64_t *list = argument(call, 4 * sizeof(*list), "-");
        unsigned int count = one_of(counts);

        print("set_gdt(%u:", count);
        for (int i = 0; i < 4; i++) {
            f = any(3) ? own_frame() : frame();
            print(" %s", f.name);
            list[i] = f.value;
        }
        call->nr = __HYPERVISOR_set_gdt;
        call->args[0] = pointer_to_many(call, list, 32, count > 2048);
        call->args[1] = count | (chance(20) ? 1UL << 32 : 0);
        print(")");
        break;
    }
    case 2: case 3: case 4: {
        unsigned int offset = any(3) ? 8 * any(6) : any(PAGE_SIZE);
        uint64_t descriptor = one_of(descriptors);

        while (!strcmp(f.name, "code") || !strcmp(f.name, "start_info") || !strcmp(f.name, "grant_frame") || !strcmp(f.name, "shared_info"))
            f = frame();
        print("update_descriptor(%s+%u, %lx)", f.name, offset, descriptor);
        call->nr = __HYPERVISOR_update_descriptor;
        call->args[0] = f.value * PAGE_SIZE + offset;
        call->args[1] = descriptor;
        break;
    }
    case 5: case 6: {
        static const uint64_t sevens[] = { 0, 0, 0x400, 0x700, 0xff00, 1UL << 32, -1UL, 0x2000, 0x800, 0xdc00 };

        call->nr = __HYPERVISOR_set_debugreg;
        call->args[0] = any(5) ? any(8) : number();
        call->args[1] = call->args[0] == 7 ? one_of(sevens) : call->args[0] < 4 ? (any(2) ? (uint64_t)windows[any(WINDOWS)] : any(2) ? 0x1000 : any(2) ? IN_XEN : NON_CANONICAL) : any(2) ? 0xffff0ff0 | (any(2) << 14) : one_of(sevens);
        print("set_debugreg(%lu, %lx)", call->args[0] > 7 ? 99 : call->args[0], call->args[0] < 4 ? 0 : call->args[1]);
        break;
    }
    case 7: {
        call->nr = __HYPERVISOR_get_debugreg;
        call->args[0] = any(5) ? 4 + any(4) : 8 + any(3);
        print("get_debugreg(%lu)", call->args[0]);
        break;
    }
    case 8:
        call->nr = __HYPERVISOR_fpu_taskswitch;
        call->args[0] = any(4) ? any(2) : number();
        print("fpu_taskswitch(%s)", call->args[0] ? "set" : "clear");
        break;
    case 9: {
        static const uint64_t stacks[] = { 0, 0x400000, NON_CANONICAL, IN_XEN, -1UL, (uint64_t)pages };
        uint64_t stack = one_of(stacks);

        call->nr = __HYPERVISOR_stack_switch;
        call->args[0] = any(2) ? KERNEL_SS : selector();
        call->args[1] = stack;
        print("stack_switch(%lx, %lx)", call->args[0], stack);
        break;
    }
    case 10: case 11: {
        static const uint64_t bases[] = { 0, 0x1000, 0x7fffffffffffUL, NON_CANONICAL, IN_XEN, -1UL, 0xffff7fffffffffffUL, 0xffff800000000000UL, 0xffff87ffffffffffUL, 0xffff880000000000UL };

        call->nr = __HYPERVISOR_set_segment_base;
        call->args[0] = any(8) ? any(4) : number();
        call->args[1] = call->args[0] == 3 ? selector() : one_of(bases);
        print("set_segment_base(%lu, %lx)", call->args[0] > 7 ? 99 : call->args[0], call->args[1]);
        break;
    }
    case 12: case 13: {
        struct trap_info *table = argument(call, 4 * sizeof(*table), "-");
        unsigned int count = any(4);

        print("set_trap_table(");
        for (unsigned int i = 0; i < count; i++) {
            table[i].vector = 0x20 + any(0xe0);
            table[i].flags = any(8);
            table[i].cs = any(3) ? KERNEL_CS : selector();
            print("(%x flags %u cs %x", table[i].vector, table[i].flags, table[i].cs);
            table[i].address = code_address();
            print(")");
            if (any(2))
                table[i].vector = 0x20 + any(4);
        }
        print(")");
        call->nr = __HYPERVISOR_set_trap_table;
        call->args[0] = pointer(call, table, (count + 1) * sizeof(*table));
        call->after = restore_callbacks;        /* NULL forgets all */
        break;
    }
    case 14: case 15: {
        struct callback_register *arg = argument(call, sizeof(*arg), ".");

        arg->type = any(10) ? any(9) : number();
        arg->flags = any(6) ? any(2) : number();
        if (arg->type == CALLBACKTYPE_nmi)
            arg->type = CALLBACKTYPE_sysenter;
        print("callback_register(type %u, flags %x", arg->type, arg->flags);
        arg->address = code_address();
        print(")");
        call->nr = __HYPERVISOR_callback_op;
        call->args[0] = CALLBACKOP_register;
        call->args[1] = pointer(call, arg, sizeof(*arg));
        call->after = restore_callbacks;
        break;
    }
    case 16: {
        struct callback_unregister *arg = argument(call, sizeof(*arg), ".");

        arg->type = any(10) ? any(9) : number();
        print("callback_unregister(type %u)", arg->type);
        call->nr = __HYPERVISOR_callback_op;
        call->args[0] = any(4) ? CALLBACKOP_unregister : 2 + any(3);
        call->args[1] = pointer(call, arg, sizeof(*arg));
        call->after = restore_callbacks;
        break;
    }
    case 17: {
        struct physdev_set_iopl *arg = argument(call, sizeof(*arg), ".");

        arg->iopl = any(6);
        print("set_iopl(%u)", arg->iopl);
        call->nr = __HYPERVISOR_physdev_op;
        call->args[0] = PHYSDEVOP_set_iopl;
        call->args[1] = pointer(call, arg, sizeof(*arg));
        break;
    }
    case 18: {
        struct physdev_set_iobitmap *arg = argument(call, sizeof(*arg), "-");

        arg->nr_ports = one_of(((const uint32_t[]){ 0, 1, 64, 65536, 65537, 0xffffffff }));
        set_xen_guest_handle(arg->bitmap, (void *)address().value);
        print("set_iobitmap(%u)", arg->nr_ports);
        call->nr = __HYPERVISOR_physdev_op;
        call->args[0] = PHYSDEVOP_set_iobitmap;
        call->args[1] = pointer(call, arg, sizeof(*arg));
        break;
    }
    default:
        call->nr = __HYPERVISOR_nmi_op;
        call->args[0] = 1 + any(3);
        call->args[1] = 0;
        print("nmi_op(%lu)", call->args[0]);
    }
}

static void tell_trap(void)
{
    const struct regs *regs = &probe.regs;

    if (!probe.count) {
        print(" no trap");
        return;
    }
    print(" %s %lx(%lx)", vector_name(regs->vector), regs->vector, regs->vector < 32 && 1u << regs->vector & ERROR_CODE_VECTORS ? regs->error : 0);
    if (regs->rip - probe.start < 64)
        print(" at +%lu", regs->rip - probe.start);
    if (regs->vector == 14)
        print(" cr2 target+%lx", probe.cr2 - (uint64_t)probe.target);
    print(" rflags %lx cs %x mask %u", regs->rflags & ~0x8d5UL, regs->cs, probe.upcall_mask);
    if (probe.count > 1)
        print(" %u times", probe.count);
}

static unsigned long value;
#define TOUCH(instruction) PROBE(instruction, "+a" (value) : "D" (target), "c" (other), "d" (other) : "memory", "cc", "rbx")

/* Whether a store there is to a page that we may spoil. */
static int holds_page(const unsigned char *at)
{
    return at >= windows[0] && at < windows[WINDOWS] && (!(*entry_of(at, 1) & PTE_P) || is_page((*entry_of(at, 1) & PTE_FRAME) / PAGE_SIZE));
}

/* An instruction at an address that calls have changed, or with what they have loaded. */
void an_instruction(void)
{
    struct pick a = address();
    unsigned char *target = (unsigned char *)a.value;
    unsigned long other = 0;
    unsigned int which, in_table = any(3), seg = selector();

    probe.target = 0;
    value = 0;
    if (in_table) {
        unsigned int i = any(TABLES), slot = any(4);

        /* Stores to tables: Xen's emulation of a write decides. Nothing is stored in a window, which may be any page of a table. */
        if (any(2)) {
            target = tables[i] + 8 * slot;
            print("t%u[%u]", i, slot);
            other = any(3) ? mfn_of(one_of(((unsigned char *[]){ pages[0], pages[1], tables[0], tables[2], tables[3] }))) << 12 | flags_of_entry() : 0;
            print(":=%s:%lx", frame_name(other >> 12 & 0xffffffffff), other & ~PTE_FRAME);
            which = any(8);
            if (which == 4)                     /* half of an entry is its flags alone */
                other &= ~PTE_FRAME;
            value = which == 3 || any(2) ? *(uint64_t *)target : 0;
        } else {
            print("%s", a.name);
            which = 8 + any(3);
        }
        probe.target = target;
        switch (which) {
        case 0: print(" mov"); TOUCH("movq %%rcx, (%%rdi)"); break;
        case 1: print(" xchg"); TOUCH("xchgq %%rax, (%%rdi)"); break;
        case 2: print(" or"); TOUCH("orq $0x20, (%%rdi)"); break;
        case 3: print(" cmpxchg"); TOUCH("lock cmpxchgq %%rcx, (%%rdi)"); break;
        case 4: print(" movl"); TOUCH("movl %%ecx, 4(%%rdi)"); break;
        case 5: print(" and"); TOUCH("andq $-2, (%%rdi)"); break;
        case 6: print(" movb"); TOUCH("movb %%cl, (%%rdi)"); break;
        case 7: print(" lock btr"); TOUCH("lock btrq $1, (%%rdi)"); break;
        case 8: print(" read"); TOUCH("movb (%%rdi), %%al"); break;
        case 9: print(" jump"); if (a.value >= NON_CANONICAL) TOUCH("testb %%al, (%%rdi)"); else TOUCH("jmp *%%rdi"); break;
        default: if (holds_page(target)) { print(" store"); TOUCH("movb $0x5a, (%%rdi)"); } else { print(" cmp"); TOUCH("cmpb %%cl, (%%rdi)"); } break;
        }
        tell_trap();
        return;
    }
    other = seg;
    which = any(16);
    switch (which) {
    case 0: print("int 0x20"); TOUCH("int $0x20"); break;
    case 1: print("int 0x21"); TOUCH("int $0x21"); break;
    case 2: print("int 0x22"); TOUCH("int $0x22"); break;
    case 3: print("int 0x23"); TOUCH("int $0x23"); break;
    case 4: print("int 0x80"); TOUCH("int $0x80"); break;
    case 5: print("ud2"); TOUCH("ud2"); break;
    case 6: case 7: print("mov %x to es", seg); TOUCH("movw %%es, %%bx; movl %%ecx, %%es; movw %%bx, %%es"); break;
    case 8: print("lar %x", seg); TOUCH("larl %%ecx, %%eax; jz 3f; movl $-1, %%eax; 3:"); print(" %lx", value & ~0xf0000UL); break;
    case 9: print("lsl %x", seg); TOUCH("lsll %%ecx, %%eax; jz 3f; movl $-1, %%eax; 3:"); print(" %lx", value); break;
    case 10: print("verw %x", seg); TOUCH("verw %%cx; movl $0, %%eax; jnz 3f; movl $1, %%eax; 3:"); print(" %lx", value); break;
    case 11: print("fs := %x, gs", seg); TOUCH("movl %%ecx, %%fs; movl $0, %%ecx; movl %%ecx, %%fs"); break;
    case 12: print("fninit"); TOUCH("fninit"); break;
    case 13: print("in"); TOUCH("movl $0x80, %%edx; inb %%dx, %%al"); value = 0; break;
    case 14:
        print("events let in");
        shared_info->vcpu_info[0].evtchn_upcall_mask = 0;
        TOUCH("nop");
        HYPERCALL2(__HYPERVISOR_xen_version, 0, 0);
        shared_info->vcpu_info[0].evtchn_upcall_mask = 1;
        print(" %u", shared_info->vcpu_info[0].evtchn_upcall_pending);
        break;
    default: print("cr0, smsw"); TOUCH("movq %%cr0, %%rax"); print(" %lx", value); break;
    }
    tell_trap();
}
