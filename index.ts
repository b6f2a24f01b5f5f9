/** `beneath`: the machine as a library. `beneath/cpu` is the CPU alone, `beneath/abi` Xen's ABI as tables. */
export { Domain } from './emulator/domain.ts';
export type { DiskSpec, InterfaceSpec } from './emulator/host_ends.ts';
export { type Crash, type DomainSpec, Machine, type MachineOptions } from './emulator/machine.ts';
export { runSlice, type Slice } from './emulator/run.ts';
export { Vcpu } from './emulator/vcpu.ts';
export { ImageError } from './firmware/image_error.ts';
export type { Disk } from './hypercalls/block/disk.ts';
