/* hvm_op of an HVM guest about itself. */
#include "pvh.h"

static long get(domid_t dom, uint32_t index, uint64_t *value)
{
    struct xen_hvm_param arg = { .domid = dom, .index = index };
    long answer = hvm_op(HVMOP_get_param, &arg);

    *value = arg.value;
    return answer;
}

static long set(domid_t dom, uint32_t index, uint64_t value)
{
    struct xen_hvm_param arg = { .domid = dom, .index = index, .value = value };

    return hvm_op(HVMOP_set_param, &arg);
}

void parameters(void)
{
    static const domid_t doms[] = { 0, 1000, DOMID_IO, DOMID_XEN };
    static const char *const ops[] = { "2", "3", "4", "flush_tlbs", "6", "7", "8", "pagetable_dying", "get_time", "xentrace", "set_mem_access", "get_mem_access", "14",
                                       "get_mem_type", "16", "17", "18", "19", "20", "21", "22", "set_evtchn_upcall_vector", "guest_request_vm_event", "altp2m", "26" };
    static const unsigned int cmds[] = { 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26 };
    uint64_t value;

    for (uint32_t index = 0; index < 48; index++) {
        check("hvm_op.get_param", get(DOMID_SELF, index, &value), "%u", index);
        if (index == HVM_PARAM_CONSOLE_PFN || index == HVM_PARAM_CONSOLE_EVTCHN || index == HVM_PARAM_CALLBACK_IRQ)
            continue;
        check("hvm_op.set_param", set(DOMID_SELF, index, value), "%u, as it is", index);
        check("hvm_op.set_param", set(DOMID_SELF, index, value + 1), "%u, one more", index);
    }
    check("hvm_op.get_param", get(DOMID_SELF, -1, &value), "2^32 - 1");
    check("hvm_op.set_param", set(DOMID_SELF, -1, 0), "2^32 - 1");
    for (unsigned int i = 0; i < 4; i++) {
        check("hvm_op.get_param", get(doms[i], HVM_PARAM_CONSOLE_PFN, &value), "of domain %x", doms[i]);
        check("hvm_op.set_param", set(doms[i], HVM_PARAM_CALLBACK_IRQ, 0), "of domain %x", doms[i]);
    }
    check_pointers("hvm_op.get_param", hvm_op(HVMOP_get_param, p->address));
    for (unsigned int i = 0; i < sizeof(cmds) / sizeof(*cmds); i++) {
        static char name[40] = "hvm_op.";

        memcpy(name + 7, ops[i], strlen(ops[i]) + 1);
        check(name, hvm_op(cmds[i], zeroed()), "zeros");
        if (cmds[i] == HVMOP_flush_tlbs || cmds[i] == HVMOP_guest_request_vm_event)
            check(name, hvm_op(cmds[i], 0), "NULL");
        check(name, hvm_op(cmds[i], ABSENT), "pointer unmapped");
    }
    static const uint64_t callbacks[] = { 0, 1, 15, 1UL << 56, 2UL << 56 | 0xf, 2UL << 56 | 0x20, 2UL << 56 | 0xff, 2UL << 56 | 0x1ff, 3UL << 56, 255UL << 56, 1UL << 55 };
    for (unsigned int i = 0; i < sizeof(callbacks) / sizeof(*callbacks); i++) {
        check("hvm_op.set_param", set(DOMID_SELF, HVM_PARAM_CALLBACK_IRQ, callbacks[i]), "CALLBACK_IRQ = %lx", callbacks[i]);
        check_out("hvm_op.get_param", get(DOMID_SELF, HVM_PARAM_CALLBACK_IRQ, &value), ("CALLBACK_IRQ"), ("%lx", value));
    }
    set(DOMID_SELF, HVM_PARAM_CALLBACK_IRQ, 0);
    static const struct { uint32_t vcpu; uint8_t vector; } vectors[] = { { 0, 0 }, { 0, 15 }, { 0, 16 }, { 0, 0xf3 }, { 0, 255 }, { 1, 0x20 }, { 1000, 0x20 }, { -1, 0x20 } };
    for (unsigned int i = 0; i < sizeof(vectors) / sizeof(*vectors); i++) {
        struct xen_hvm_evtchn_upcall_vector arg = { .vcpu = vectors[i].vcpu, .vector = vectors[i].vector };

        check("hvm_op.set_evtchn_upcall_vector", hvm_op(HVMOP_set_evtchn_upcall_vector, &arg), "vCPU %d, vector %u", (int)vectors[i].vcpu, vectors[i].vector);
    }
    const struct { const char *name; uint64_t gfn; } frames[] = {
        { "a page", gfn_of(data) }, { "no memory", gfn_of(HOLE) + 0x400 }, { "the grant table", gfn_of(HOLE) + 0x100 }, { "gfn 2^40", 1UL << 40 },
    };
    for (unsigned int i = 0; i < sizeof(frames) / sizeof(*frames); i++) {
        struct xen_hvm_get_mem_type arg = { .domid = DOMID_SELF, .pfn = frames[i].gfn };

        check_out("hvm_op.get_mem_type", hvm_op(HVMOP_get_mem_type, &arg), ("%s", frames[i].name), ("%u", arg.mem_type));
    }
}
