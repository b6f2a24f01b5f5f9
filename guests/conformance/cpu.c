/*
 * What a PV kernel asks of its virtual CPU: trap table, callbacks, descriptor tables, segment bases, debug registers, FPU.
 * What the CPU does with all that is guests/traps's and guests/rings's business.
 */
#include "conform.h"
#include "trap.h"
#include <xen/nmi.h>

#define KERNEL_DS 0xe02b

static uint64_t descriptors[512] __attribute__((aligned(4096)));    /* a GDT that is loaded */
static uint64_t table[512] __attribute__((aligned(4096)));          /* one that is not */
static uint64_t data[512] __attribute__((aligned(4096)));
static char place[16];

static void trap_tables(void)
{
    static struct trap_info list[4];
    static const struct { const char *name; uint64_t address; uint16_t cs; uint8_t vector, flags; } rows[] = {
        { "a good handler", 0, KERNEL_CS, 200, 0 },
        { "vector 255", 0, KERNEL_CS, 255, 0 },
        { "DPL 3", 0, KERNEL_CS, 200, 3 },
        { "DPL 3, events masked", 0, KERNEL_CS, 200, 7 },
        { "all flags", 0, KERNEL_CS, 200, 0xff },
        { "code selector 0", 0, 0, 200, 0 },
        { "code selector of Xen", 0, 0xe008, 200, 0 },
        { "code selector of no descriptor", 0, 0x7777, 200, 0 },
        { "a data selector", 0, KERNEL_DS, 200, 0 },
        { "handler in Xen", IN_XEN, KERNEL_CS, 200, 0 },
        { "handler at the m2p", 0xffff800000000000, KERNEL_CS, 200, 0 },
        { "handler at the first non-canonical address", NON_CANONICAL, KERNEL_CS, 200, 0 },
        { "handler at the last non-canonical address", 0xffff7fffffffffff, KERNEL_CS, 200, 0 },
        { "handler at the last canonical address below", 0x7fffffffffff, KERNEL_CS, 200, 0 },
        { "handler at the last address", -1UL, KERNEL_CS, 200, 0 },
        { "handler at 1", 1, KERNEL_CS, 200, 0 },
    };

    for (unsigned int i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        list[0] = (struct trap_info){ .vector = rows[i].vector, .flags = rows[i].flags, .cs = rows[i].cs,
                                      .address = rows[i].address ? rows[i].address : (uint64_t)trap_entries };
        check("set_trap_table", set_trap_table(list), "%s", rows[i].name);
    }
    memset(list, 0, sizeof(list));
    check("set_trap_table", set_trap_table(list), "an empty list");
    list[0] = (struct trap_info){ .vector = 201, .cs = KERNEL_CS, .address = (uint64_t)trap_entries };
    list[1] = (struct trap_info){ .vector = 202, .cs = KERNEL_CS, .address = NON_CANONICAL };
    check("set_trap_table", set_trap_table(list), "a good handler and a non-canonical one");
    for_wild(w) {
        if (w->address == 0)
            continue;                           /* that one clears the table */
        check("set_trap_table", set_trap_table(w->address), "list %s", w->name);
    }
    check("set_trap_table", set_trap_table(READ_ONLY), "a read-only list of zeros");
    check("set_trap_table", set_trap_table(0), "NULL");
}

static struct { const char *name; uint64_t address; } addresses[] = {
    { "good", (uint64_t)event_entry },
    { "0", 0 },
    { "in Xen", IN_XEN },
    { "the m2p", 0xffff800000000000 },
    { "non-canonical", NON_CANONICAL },
    { "the last non-canonical", 0xffff7fffffffffff },
    { "-1", -1UL },
};
#define ADDRESSES (sizeof(addresses) / sizeof(*addresses))

static void callbacks(void)
{
    struct callback_register arg;
    struct callback_unregister gone = { .type = 0 };
    struct xennmi_callback nmi;

    for (unsigned int i = 0; i < ADDRESSES; i++) {
        for (unsigned int type = 0; type <= 8; type++) {
            arg = (struct callback_register){ .type = type, .address = addresses[i].address };
            check("callback_op.register", callback_op(CALLBACKOP_register, &arg), "type %u, address %s", type, addresses[i].name);
        }
        check("set_callbacks", raw(__HYPERVISOR_set_callbacks, addresses[i].address, addresses[i].address, addresses[i].address, 0, 0),
              "three times the address %s", addresses[i].name);
        nmi = (struct xennmi_callback){ .handler_address = addresses[i].address };
        check("nmi_op.register_callback", raw(__HYPERVISOR_nmi_op, XENNMI_register_callback, (unsigned long)&nmi, 0, 0, 0), "address %s", addresses[i].name);
    }
    for (unsigned int flags = 1; flags <= 0x8000; flags <<= 1) {
        arg = (struct callback_register){ .type = CALLBACKTYPE_event, .flags = flags, .address = (uint64_t)event_entry };
        check("callback_op.register", callback_op(CALLBACKOP_register, &arg), "event, flags %x", flags);
    }
    for (unsigned int type = 0; type < 12; type++) {
        gone.type = type == 11 ? 0xffff : type;
        check("callback_op.unregister", callback_op(CALLBACKOP_unregister, &gone), "type %u", gone.type);
    }
    arg.type = 0xffff;
    check("callback_op.register", callback_op(CALLBACKOP_register, &arg), "type 65535");
    for (int cmd = 0; cmd < 2; cmd++)
        check_wild(cmd ? "callback_op.unregister" : "callback_op.register", callback_op(cmd, w->address), "pointer");
    for (int cmd = 2; cmd >= -1; cmd -= 3)
        check("callback_op", callback_op(cmd, &arg), "command %d", cmd);
    check_wild("nmi_op.register_callback", raw(__HYPERVISOR_nmi_op, XENNMI_register_callback, w->address, 0, 0, 0), "pointer");
    check("nmi_op.unregister_callback", raw(__HYPERVISOR_nmi_op, XENNMI_unregister_callback, 0, 0, 0, 0), "no pointer");
    check("nmi_op.unregister_callback", raw(__HYPERVISOR_nmi_op, XENNMI_unregister_callback, UNMAPPED, 0, 0, 0), "pointer unmapped");
    check("nmi_op", raw(__HYPERVISOR_nmi_op, 2, (unsigned long)&nmi, 0, 0, 0), "command 2");
    check("nmi_op", raw(__HYPERVISOR_nmi_op, -1, (unsigned long)&nmi, 0, 0, 0), "command -1");
}

static void stacks(void)
{
    static const unsigned int selectors[] = { KERNEL_SS, 0, 3, 0xe010, 0xe02b, 0x7777 };

    for (unsigned int i = 0; i < sizeof(selectors) / sizeof(*selectors); i++)
        check("stack_switch", stack_switch(selectors[i], (unsigned long)page + PAGE_SIZE), "ss %x", selectors[i]);
    check("stack_switch", stack_switch(KERNEL_SS, 0), "stack at 0");
    check("stack_switch", stack_switch(KERNEL_SS, IN_XEN), "stack in Xen");
    check("stack_switch", stack_switch(KERNEL_SS, NON_CANONICAL), "stack at a non-canonical address");
    check("stack_switch", stack_switch(KERNEL_SS, (unsigned long)page + PAGE_SIZE), "stack in a page");
    for (int set = -1; set <= 2; set++)
        check("fpu_taskswitch", fpu_taskswitch(set), "%d", set);
    check("fpu_taskswitch", fpu_taskswitch(0), "0");
}

static void debug_registers(void)
{
    static const struct { const char *name; uint64_t value; } values[] = {
        { "0", 0 }, { "a kernel address", (uint64_t)place }, { "a user address", 0x1000 }, { "the last user address", 0x7fffffffffff },
        { "in Xen", IN_XEN }, { "the m2p", 0xffff800000000000 }, { "non-canonical", NON_CANONICAL }, { "-1", -1UL },
        { "0x100000000", 0x100000000 },
    };
    static const uint64_t controls[] = {
        0, 0x400, 0x401, 1, 2, 3, 0x55, 0xaa, 0xff, 0x100, 0x200, 0x300, 0x800, 0x1000, 0x2000, 0x4000, 0x8000, 0xf0001, 0x10001, 0x20001, 0x30001,
        0x60001, 0x80001, 0xc0001, 0xf0000, 0x33330000, 0xffff0000, 0xffffffff, 0x100000000, 0x8000000000000000,
    };

    for (unsigned int reg = 0; reg < 4; reg++)
        for (unsigned int i = 0; i < sizeof(values) / sizeof(*values); i++) {
            long answer = check("set_debugreg", set_debugreg(reg, values[i].value), "%u = %s", reg, values[i].name);

            fact("get_debugreg", answer != 0 || (uint64_t)get_debugreg(reg) == values[i].value, "%u after %s: the same?", reg, values[i].name);
        }
    for (unsigned int reg = 0; reg < 4; reg++)
        set_debugreg(reg, 0);
    for (unsigned int i = 0; i < sizeof(controls) / sizeof(*controls); i++) {
        check_out("set_debugreg", set_debugreg(7, controls[i]), ("7 = 0x%lx", controls[i]), ("reads %lx", get_debugreg(7)));
        set_debugreg(7, 0x400);
        check_out("set_debugreg", set_debugreg(6, controls[i]), ("6 = 0x%lx", controls[i]), ("reads %lx", get_debugreg(6)));
    }
    set_debugreg(6, 0);
    set_debugreg(7, 0);
    for (unsigned int reg = 4; reg < 20; reg++) {
        if (reg == 6 || reg == 7)
            continue;
        check("set_debugreg", set_debugreg(reg, 0), "%u = 0", reg);
        check("get_debugreg", get_debugreg(reg), "%u", reg);
    }
    check("set_debugreg", set_debugreg(-1, 0), "-1 = 0");
    check("get_debugreg", get_debugreg(-1), "-1");
}

static void segment_bases(void)
{
    static const char *const registers[] = { "FS", "GS_USER", "GS_KERNEL", "GS_USER_SEL", "4", "5" };
    static const uint64_t bases[] = { 0x1000, 0x7fffffffffff, NON_CANONICAL, 0xffff7fffffffffff, 0xffff800000000000, IN_XEN, -1UL, 0 };
    static const uint64_t selectors[] = { 0, 3, 0xe02b, 0xe033, 0xe008, 0x7777, 0xffff, 0x1000e02b, 0xffffffff0000e02b, 0 };

    for (unsigned int which = 0; which < 6; which++) {
        if (which == SEGBASE_GS_USER_SEL)
            continue;
        for (unsigned int i = 0; i < sizeof(bases) / sizeof(*bases); i++)
            check("set_segment_base", set_segment_base(which, bases[i]), "%s = %lx", registers[which], bases[i]);
    }
    for (unsigned int i = 0; i < sizeof(selectors) / sizeof(*selectors); i++)
        check("set_segment_base", set_segment_base(SEGBASE_GS_USER_SEL, selectors[i]), "GS_USER_SEL = %lx", selectors[i]);
    check("set_segment_base", set_segment_base(-1, 0), "-1 = 0");
}

static void descriptor_tables(void)
{
    unsigned long frames[16] = { 0 };
    static const struct { const char *name; uint64_t value; } list[] = {
        { "0", 0 },
        { "64-bit code, DPL 3", 0x00affa000000ffff }, { "64-bit code, DPL 0", 0x00af9a000000ffff }, { "64-bit code, DPL 1", 0x00afba000000ffff },
        { "code with L and D", 0x00effa000000ffff }, { "32-bit code, DPL 3", 0x00cffa000000ffff }, { "32-bit code, DPL 2", 0x00cfda000000ffff },
        { "conforming code", 0x00affe000000ffff }, { "code, not present", 0x00af7a000000ffff },
        { "data, DPL 3", 0x00cff2000000ffff }, { "data, DPL 0", 0x00cf92000000ffff }, { "data, accessed", 0x00cff3000000ffff },
        { "expand-down data", 0x00cff6000000ffff }, { "data, base in Xen", 0xffcff283000000ff }, { "data, not present, DPL 0", 0x00cf12000000ffff },
        { "all bits, not present", 0xffff7fffffffffff }, { "all bits", 0xffffffffffffffff },
        { "available TSS", 0x0000890000000067 }, { "busy TSS", 0x00008b0000000067 }, { "LDT", 0x0000820000000067 },
        { "interrupt gate", 0x0000ee0000330000 }, { "trap gate", 0x0000ef0000330000 }, { "task gate", 0x0000e50000330000 },
        { "call gate, DPL 3", 0x0000ec00e0330000 }, { "call gate, DPL 0", 0x00008c00e0330000 }, { "call gate to selector 0", 0x0000ec0000000000 },
        { "call gate to Xen's code", 0x0000ec00e0080000 }, { "call gate, 16-bit", 0x0000e400e0330000 }, { "type 0, present", 0x0000800000000000 },
        { "type 10, present", 0x00008a0000000000 }, { "LDT, not present", 0x0000020000000067 },
    };

    remap(descriptors, PTE_RDONLY);
    frames[0] = mfn_of(descriptors);
    check("set_gdt", set_gdt(frames, 512), "one frame, 512 entries");
    check("set_gdt", set_gdt(frames, 1), "one frame, one entry");
    check("set_gdt", set_gdt(frames, 513), "513 entries, the second frame 0");
    frames[1] = mfn_of(data);
    check("set_gdt", set_gdt(frames, 1024), "1024 entries, the second frame writable");
    frames[1] = -1UL;
    check("set_gdt", set_gdt(frames, 1024), "1024 entries, the second frame none");
    frames[1] = 1UL << 40;
    check("set_gdt", set_gdt(frames, 1024), "1024 entries, the second frame 2^40");
    frames[1] = pfn_of(data);
    for (unsigned int i = 1; i < 16; i++)
        frames[i] = frames[0];
    check("set_gdt", set_gdt(frames, 1024), "1024 entries, twice the same frame");
    check("set_gdt", set_gdt(frames, 7168), "7168 entries, always the same frame");
    check("set_gdt", set_gdt(frames, 7169), "7169 entries");
    check("set_gdt", set_gdt(frames, 8192), "8192 entries");
    check("set_gdt", set_gdt(frames, 0x80000000), "2^31 entries");
    check("set_gdt", set_gdt(frames, 0xffffffff), "2^32 - 1 entries");
    check("set_gdt", set_gdt(frames, 1UL << 32 | 512), "512 entries with rubbish above the 32 bits");
    frames[0] = mfn_of(l4_table());
    check("set_gdt", set_gdt(frames, 512), "a page table");
    frames[0] = mfn_of(descriptors);
    check_wild("set_gdt", set_gdt(w->address, 512), "512 entries, list");
    check_wild("set_gdt", set_gdt(w->address, 0), "no entries, list");
    set_gdt(frames, 512);
    for (unsigned int i = 0; i < sizeof(list) / sizeof(*list); i++)
        check_out("update_descriptor", update_descriptor(maddr_of(&descriptors[7]), list[i].value), ("the GDT's: %s", list[i].name),
                  ("reads %lx", descriptors[7]));
    check("update_descriptor", update_descriptor(maddr_of(&descriptors[0]) + 4, 0), "the GDT's, not aligned");
    check_out("update_descriptor", update_descriptor(maddr_of(&data[1]), 0x1122334455667788), ("a data page: any bits"), ("reads %lx", data[1]));
    remap(table, PTE_RDONLY);
    check_out("update_descriptor", update_descriptor(maddr_of(&table[1]), 0x1122334455667788), ("a page without type: bits that are no descriptor"),
              ("reads %lx", table[1]));
    check("update_descriptor", update_descriptor(maddr_of(l4_table()), 0), "a page table");
    check("update_descriptor", update_descriptor(0, 0), "machine address 0");
    check("update_descriptor", update_descriptor(-8UL, 0), "machine address -8");
    check("update_descriptor", update_descriptor(1UL << 51, 0), "machine address 2^51");
    check("update_descriptor", update_descriptor(start_info->shared_info, 0), "shared_info");
    check("update_va_mapping", remap(descriptors, PTE_DATA), "the loaded GDT's page, writable");
    check("set_gdt", set_gdt(frames, 0), "no entries");
    check("update_va_mapping", remap(descriptors, PTE_DATA), "the page of the GDT that was, writable");
}

static long set_ldt(uint64_t vaddr, unsigned int entries)
{
    return mmuext_linear(MMUEXT_SET_LDT, vaddr, entries);
}

static void local_tables(void)
{
    static const unsigned int counts[] = { 0, 1, 511, 512, 513, 8191, 8192, 8193, 0xffffffff };

    for (unsigned int i = 0; i < sizeof(counts) / sizeof(*counts); i++) {
        check("mmuext_op.SET_LDT", set_ldt((uint64_t)table, counts[i]), "%u entries", counts[i]);
        check("mmuext_op.SET_LDT", set_ldt((uint64_t)table + 8, counts[i]), "%u entries, not aligned", counts[i]);
        check("mmuext_op.SET_LDT", set_ldt(IN_XEN, counts[i]), "%u entries, in Xen", counts[i]);
        check("mmuext_op.SET_LDT", set_ldt(NON_CANONICAL, counts[i]), "%u entries, non-canonical", counts[i]);
        check("mmuext_op.SET_LDT", set_ldt(0, counts[i]), "%u entries, at 0", counts[i]);
    }
    set_ldt(0, 0);
}

void suite(void)
{
    traps_init();
    trap_tables();
    callbacks();
    traps_init();
    stacks();
    debug_registers();
    segment_bases();
    descriptor_tables();
    local_tables();
}
