/** The whole ABI table: structs, hypercalls, sub-operations and errnos. */
export * from './arch_xen.ts';
export * from './callback.ts';
export * from './errno.ts';
export * from './event_channel.ts';
export * from './grant_table.ts';
export * from './hypercall.ts';
export * from './memory.ts';
export * from './mmu.ts';
export * from './nmi.ts';
export * from './physdev.ts';
export * from './sched.ts';
export * from './struct.ts';
export * from './types.ts';
export * from './vcpu.ts';
export * from './version.ts';
export * from './xen.ts';
export * from './xen_calls.ts';
