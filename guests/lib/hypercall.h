/*
 * Hypercalls of a PV64 guest: `call hypercall_page + nr * 32`, arguments in rdi rsi rdx r10 r8, result in
 * rax. Structures and numbers are Xen's own public headers (Debian: libxen-dev), used at build time only.
 */
#pragma once

#include <stdint.h>
#include <stddef.h>
#include <xen/xen.h>
#include <xen/sched.h>
#include <xen/event_channel.h>
#include <xen/vcpu.h>
#include <xen/callback.h>
#include <xen/memory.h>
#include <xen/physdev.h>
#include <xen/version.h>
#include <xen/errno.h>

extern char hypercall_page[];

#define HYPERCALL(nr, a1, a2, a3, a4) ({                                                \
    register uint64_t r10_ asm("r10") = (uint64_t)(a4);                                 \
    uint64_t rdi_ = (uint64_t)(a1), rsi_ = (uint64_t)(a2), rdx_ = (uint64_t)(a3);       \
    long rax_;                                                                          \
    asm volatile ("call hypercall_page + %c[slot]"                                      \
                  : "=a" (rax_), "+D" (rdi_), "+S" (rsi_), "+d" (rdx_), "+r" (r10_)     \
                  : [slot] "i" ((nr) * 32)                                              \
                  : "memory", "rcx", "r8", "r9", "r11");                                \
    rax_; })

#define HYPERCALL1(nr, a1)         HYPERCALL(nr, a1, 0, 0, 0)
#define HYPERCALL2(nr, a1, a2)     HYPERCALL(nr, a1, a2, 0, 0)
#define HYPERCALL3(nr, a1, a2, a3) HYPERCALL(nr, a1, a2, a3, 0)

#define sched_op(cmd, arg)          HYPERCALL2(__HYPERVISOR_sched_op, cmd, arg)
#define event_channel_op(cmd, arg)  HYPERCALL2(__HYPERVISOR_event_channel_op, cmd, arg)
#define vcpu_op(cmd, vcpu, arg)     HYPERCALL3(__HYPERVISOR_vcpu_op, cmd, vcpu, arg)
#define xen_version(cmd, arg)       HYPERCALL2(__HYPERVISOR_xen_version, cmd, arg)
#define memory_op(cmd, arg)         HYPERCALL2(__HYPERVISOR_memory_op, cmd, arg)
#define physdev_op(cmd, arg)        HYPERCALL2(__HYPERVISOR_physdev_op, cmd, arg)
#define callback_op(cmd, arg)       HYPERCALL2(__HYPERVISOR_callback_op, cmd, arg)
#define set_trap_table(table)       HYPERCALL1(__HYPERVISOR_set_trap_table, table)
#define set_timer_op(deadline)      HYPERCALL1(__HYPERVISOR_set_timer_op, deadline)
#define stack_switch(ss, rsp)       HYPERCALL2(__HYPERVISOR_stack_switch, ss, rsp)
#define set_segment_base(reg, base) HYPERCALL2(__HYPERVISOR_set_segment_base, reg, base)
#define fpu_taskswitch(set)         HYPERCALL1(__HYPERVISOR_fpu_taskswitch, set)
#define set_debugreg(reg, value)    HYPERCALL2(__HYPERVISOR_set_debugreg, reg, value)
#define get_debugreg(reg)           HYPERCALL1(__HYPERVISOR_get_debugreg, reg)
#define vm_assist(cmd, type)        HYPERCALL2(__HYPERVISOR_vm_assist, cmd, type)
#define set_gdt(frames, entries)    HYPERCALL2(__HYPERVISOR_set_gdt, frames, entries)
#define update_descriptor(maddr, desc)      HYPERCALL2(__HYPERVISOR_update_descriptor, maddr, desc)
#define update_va_mapping(vaddr, pte, flags) HYPERCALL3(__HYPERVISOR_update_va_mapping, vaddr, pte, flags)
#define update_va_mapping_otherdomain(vaddr, pte, flags, dom) \
    HYPERCALL(__HYPERVISOR_update_va_mapping_otherdomain, vaddr, pte, flags, dom)
#define mmu_update(reqs, count, done, dom)  HYPERCALL(__HYPERVISOR_mmu_update, reqs, count, done, dom)
#define mmuext_op(ops, count, done, dom)    HYPERCALL(__HYPERVISOR_mmuext_op, ops, count, done, dom)
#define console_io(cmd, count, text)        HYPERCALL3(__HYPERVISOR_console_io, cmd, count, text)
