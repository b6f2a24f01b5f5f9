/* What a domU hears that asks what only the toolstack may; asked of an initial domain they would do it, so there only the misuse is. */
#define __XEN_TOOLS__
#include "conform.h"
#include <xen/domctl.h>
#include <xen/hypfs.h>
#include <xen/platform.h>
#include <xen/pmu.h>
#include <xen/sysctl.h>

static struct { const char *name; domid_t dom; } domains[] = {
    { "DOMID_SELF", DOMID_SELF }, { "domain 0", 0 }, { "our own number", 0 }, { "domain 1000", 1000 }, { "DOMID_XEN", DOMID_XEN },
};
#define OWN     2
#define DOMAINS 5

static void versions(const char *call, unsigned int nr, unsigned int right)
{
    const unsigned int wrong[] = { 0, right - 1, right + 1, 0xffffffff };
    uint32_t *words = zeroed();

    for (unsigned int i = 0; i < 4; i++) {
        words[0] = 1;
        words[1] = wrong[i];
        check(call, raw(nr, (unsigned long)page, 0, 0, 0, 0), "interface version %d of the right one", (int)(wrong[i] - right));
    }
    check_wild(call, raw(nr, w->address, 0, 0, 0, 0), "pointer");
}

static void domain_control(void)
{
    struct xen_domctl *op = (struct xen_domctl *)page;

    for (unsigned int cmd = 0; cmd <= 90; cmd++)
        for (unsigned int d = 0; d < DOMAINS; d++) {
            if (d > OWN && cmd % 8 != 5 && cmd != 1)
                continue;
            zeroed();
            *op = (struct xen_domctl){ .cmd = cmd, .interface_version = XEN_DOMCTL_INTERFACE_VERSION, .domain = domains[d].dom };
            check("domctl", raw(__HYPERVISOR_domctl, (unsigned long)op, 0, 0, 0, 0), "command %u, %s", cmd, domains[d].name);
        }
    for (unsigned int cmd = 1000; cmd < 1004; cmd++) {
        zeroed();
        *op = (struct xen_domctl){ .cmd = cmd, .interface_version = XEN_DOMCTL_INTERFACE_VERSION, .domain = 0 };
        check("domctl", raw(__HYPERVISOR_domctl, (unsigned long)op, 0, 0, 0, 0), "command %u, domain 0", cmd);
    }
}

static void system_control(void)
{
    struct xen_sysctl *op = (struct xen_sysctl *)page;
    struct xen_platform_op *platform = (struct xen_platform_op *)page;

    for (unsigned int cmd = 0; cmd <= 30; cmd++) {
        zeroed();
        op->cmd = cmd;
        op->interface_version = XEN_SYSCTL_INTERFACE_VERSION;
        check("sysctl", raw(__HYPERVISOR_sysctl, (unsigned long)op, 0, 0, 0, 0), "command %u", cmd);
    }
    for (unsigned int cmd = 0; cmd <= 66; cmd++) {
        if (cmd == 1)
            cmd = 17;                           /* old numbers of nothing */
        zeroed();
        platform->cmd = cmd;
        platform->interface_version = XENPF_INTERFACE_VERSION;
        check("platform_op", raw(__HYPERVISOR_platform_op, (unsigned long)platform, 0, 0, 0, 0), "command %u", cmd);
    }
}

static void others(void)
{
    struct xen_pmu_params *pmu = (struct xen_pmu_params *)page;

    for (unsigned int d = 0; d < DOMAINS; d++)
        for (unsigned int count = 0; count < 3; count++)
            check("dm_op", raw(__HYPERVISOR_dm_op, domains[d].dom, count, (unsigned long)zeroed(), 0, 0), "%s, %u buffers", domains[d].name, count);
    check("dm_op", raw(__HYPERVISOR_dm_op, 1000, 1000, (unsigned long)zeroed(), 0, 0), "domain 1000, 1000 buffers");
    check_wild("dm_op", raw(__HYPERVISOR_dm_op, 0, 1, w->address, 0, 0), "buffers");
    for (unsigned int op = 0; op < 8; op++)
        check("kexec_op", raw(__HYPERVISOR_kexec_op, op, (unsigned long)zeroed(), 0, 0, 0), "command %u", op);
    for (unsigned int op = 0; op < 6; op++)
        check("hypfs_op", raw(__HYPERVISOR_hypfs_op, op, (unsigned long)zeroed(), 1, (unsigned long)page, 100), "command %u", op);
    check("mca", raw(__HYPERVISOR_arch_0, (unsigned long)zeroed(), 0, 0, 0, 0), "zeros");
    check_wild("mca", raw(__HYPERVISOR_arch_0, w->address, 0, 0, 0, 0), "pointer");
    for (unsigned int op = 0; op < 10; op++) {
        *(struct xen_pmu_params *)zeroed() = (struct xen_pmu_params){ .version = { 0, 1 } };
        check("xenpmu_op", raw(__HYPERVISOR_xenpmu_op, op, (unsigned long)pmu, 0, 0, 0), "command %u", op);
    }
    check_wild("xenpmu_op", raw(__HYPERVISOR_xenpmu_op, 0, w->address, 0, 0, 0), "command 0, pointer");
    for (unsigned int op = 0; op < 5; op++)
        check("argo_op", raw(__HYPERVISOR_argo_op, op, 0, 0, 0, 0), "command %u", op);
    check("xsm_op", raw(__HYPERVISOR_xsm_op, (unsigned long)zeroed(), 0, 0, 0, 0), "zeros");
    check("tmem_op", raw(__HYPERVISOR_tmem_op, (unsigned long)zeroed(), 0, 0, 0, 0), "zeros");
    for (unsigned int op = 0; op < 20; op++)
        check("xenoprof_op", raw(__HYPERVISOR_xenoprof_op, op, (unsigned long)zeroed(), 0, 0, 0), "command %u", op);
    check("xenoprof_op", raw(__HYPERVISOR_xenoprof_op, -1UL, (unsigned long)page, 0, 0, 0), "command -1");
    check("xenoprof_op", raw(__HYPERVISOR_xenoprof_op, 0, UNMAPPED, 0, 0, 0), "command 0, pointer unmapped");
    check("paging_domctl_cont", raw(__HYPERVISOR_arch_1, (unsigned long)zeroed(), 0, 0, 0, 0), "zeros");
    check_wild("paging_domctl_cont", raw(__HYPERVISOR_arch_1, w->address, 0, 0, 0, 0), "pointer");
}

static void console(void)
{
    static const unsigned int counts[] = { 0, 1, 128, 4096, 0x7fffffff, 0x80000000, 0xffffffff };

    for (int cmd = -1; cmd < 4; cmd++)
        for (unsigned int i = 0; i < sizeof(counts) / sizeof(*counts); i++)
            check("console_io", console_io(cmd, counts[i], page), "command %d, %u bytes", cmd, counts[i]);
    for (int cmd = 0; cmd < 2; cmd++)
        check_wild("console_io", console_io(cmd, 1, w->address), cmd ? "read, buffer" : "write, buffer");
}

void suite(void)
{
    versions("domctl", __HYPERVISOR_domctl, XEN_DOMCTL_INTERFACE_VERSION);
    versions("sysctl", __HYPERVISOR_sysctl, XEN_SYSCTL_INTERFACE_VERSION);
    versions("platform_op", __HYPERVISOR_platform_op, XENPF_INTERFACE_VERSION);
    if (is_dom0())
        return;
    domains[OWN].dom = own_domid();
    domain_control();
    system_control();
    others();
    console();
}
