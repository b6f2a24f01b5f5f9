/* vcpu_op of an HVM guest: its form of VCPUOP_initialise, and areas by gfn. */
#include "pvh.h"
#include <xen/hvm/hvm_vcpu.h>

#define AR_CODE 0xc9b
#define AR_DATA 0xc93
#define AR_TSS  0x08b

static struct vcpu_hvm_context context;
static unsigned int next = 1;

static struct vcpu_hvm_x86_32 *flat(void)
{
    struct vcpu_hvm_x86_32 *r = &context.cpu_regs.x86_32;

    memset(&context, 0, sizeof(context));
    context.mode = VCPU_HVM_MODE_32B;
    r->cr0 = 0x11;
    r->cs_limit = r->ds_limit = r->ss_limit = r->es_limit = 0xffffffff;
    r->tr_limit = 0x67;
    r->cs_ar = AR_CODE;
    r->ds_ar = r->ss_ar = r->es_ar = AR_DATA;
    r->tr_ar = AR_TSS;
    r->eip = (uint32_t)(unsigned long)data;
    return r;
}

static struct vcpu_hvm_x86_64 *wide(void)
{
    struct vcpu_hvm_x86_64 *r = &context.cpu_regs.x86_64;

    memset(&context, 0, sizeof(context));
    context.mode = VCPU_HVM_MODE_64B;
    r->cr0 = 0x80000011;
    r->cr4 = 0x20;
    r->efer = 0x500;
    r->rip = (uint64_t)data;
    return r;
}

#define ask(...) do {                                                                           \
        if (check("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, next, &context), __VA_ARGS__) == 0) \
            next++;                                                                             \
    } while (0)
#define spoil32(field, value) do { flat()->field = (value); ask("32-bit, %s = %s", #field, #value); } while (0)
#define spoil64(field, value) do { wide()->field = (value); ask("64-bit, %s = %s", #field, #value); } while (0)

void vcpus(void)
{
    static vcpu_runstate_info_t state;
    struct vcpu_register_runstate_memory_area runstate = { .addr.v = &state };
    struct vcpu_register_vcpu_info info = { .mfn = gfn_of(HOLE) + 0x400, .offset = 64 };

    check("vcpu_op.is_up", vcpu_op(VCPUOP_is_up, 0, 0), "vCPU 0");
    check("vcpu_op.is_up", vcpu_op(VCPUOP_is_up, 1, 0), "vCPU 1");
    check("vcpu_op.up", vcpu_op(VCPUOP_up, 1, 0), "not initialised");
    check("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, 0, flat()), "ourselves");
    check("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, 1000, flat()), "vCPU 1000");
    check_pointers("vcpu_op.initialise", p->address == SMALL + 8 ? -99 : vcpu_op(VCPUOP_initialise, 1, p->address));
    for (uint32_t mode = 2; mode < 4; mode++) {
        flat();
        context.mode = mode;
        ask("mode %u", mode);
    }
    flat();
    context.pad = 1;
    ask("32-bit, pad = 1");
    spoil32(cr0, 0x10);
    spoil32(cr0, 0x80000010);
    spoil32(cr0, 0xffffffff);
    spoil32(cr4, 0xffffffff);
    spoil32(cr4, 0x20);
    spoil32(efer, 0x100);
    spoil32(efer, 0x500);
    spoil32(efer, -1UL);
    spoil32(cs_ar, 0);
    spoil32(cs_ar, 0xc1b);
    spoil32(cs_ar, AR_DATA);
    spoil32(cs_ar, 0xcfb);
    spoil32(cs_ar, 0xe9b);
    spoil32(cs_ar, 0x1c9b);
    spoil32(cs_limit, 0xffffe);
    spoil32(cs_base, 0x1000);
    spoil32(eip, 0xffffffff);
    spoil32(ss_ar, 0);
    spoil32(ss_ar, AR_CODE);
    spoil32(ss_ar, 0xc91);
    spoil32(ss_ar, 0xcf3);
    spoil32(ds_ar, 0);
    spoil32(ds_ar, 0xc99);
    spoil32(ds_ar, 0xc13);
    spoil32(es_ar, 0);
    spoil32(es_ar, 0xc99);
    spoil32(tr_ar, 0);
    spoil32(tr_ar, 0x089);
    spoil32(tr_ar, AR_DATA);
    spoil32(tr_limit, 0x66);
    spoil32(eflags, 0xffffffff);
    wide();
    context.pad = 1;
    ask("64-bit, pad = 1");
    spoil64(efer, 0);
    spoil64(efer, 0x100);
    spoil64(efer, 0x400);
    spoil64(efer, -1UL);
    spoil64(cr0, 0x10);
    spoil64(cr0, 0x11);
    spoil64(cr0, 0x80000010);
    spoil64(cr0, -1UL);
    spoil64(cr4, 0);
    spoil64(cr4, -1UL);
    spoil64(rip, 0x800000000000);
    spoil64(rflags, -1UL);
    spoil64(cr3, -1UL);
    spoil64(cr3, 1UL << 52);
    flat();
    ask("32-bit, as it should be");
    wide();
    ask("64-bit, as it should be");
    check("vcpu_op.initialise", vcpu_op(VCPUOP_initialise, 1, flat()), "again");
    check("vcpu_op.is_up", vcpu_op(VCPUOP_is_up, 1, 0), "initialised");
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, 0, &info), "a gfn without memory");
    info.mfn = 1UL << 40;
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, 0, &info), "gfn 2^40");
    info.mfn = gfn_of(HOLE) + 0x100;
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, 0, &info), "the grant table");
    info.mfn = gfn_of(data[4]);
    info.offset = 4096 - 63;
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, 0, &info), "at the end of a page");
    info.offset = 64;
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, 0, &info), "a page");
    fact("vcpu_op.register_vcpu_info", ((vcpu_info_t *)(data[4] + 64))->time.tsc_to_system_mul != 0, "is the time there?");
    check("vcpu_op.register_vcpu_info", vcpu_op(VCPUOP_register_vcpu_info, 0, &info), "a page, again");
    check("memory_op.remove_from_physmap", remove_from_physmap(DOMID_SELF, gfn_of(data[4])), "the page of the vcpu_info");
    check_pointers("vcpu_op.register_runstate_memory_area", vcpu_op(VCPUOP_register_runstate_memory_area, 0, p->address));
    check("vcpu_op.register_runstate_memory_area", vcpu_op(VCPUOP_register_runstate_memory_area, 0, &runstate), "an area");
    fact("vcpu_op.register_runstate_memory_area", state.state_entry_time > 0, "is it written?");
    runstate.addr.p = 0;
    check("vcpu_op.register_runstate_memory_area", vcpu_op(VCPUOP_register_runstate_memory_area, 0, &runstate), "NULL");
    for (unsigned int cmd = 6; cmd < 16; cmd++)
        if (cmd != VCPUOP_register_vcpu_info && cmd != VCPUOP_send_nmi)
            check("vcpu_op", vcpu_op(cmd, 0, ABSENT), "command %u, pointer unmapped", cmd);
}
