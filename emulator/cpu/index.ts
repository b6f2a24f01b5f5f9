/** `beneath/cpu`: the CPU package, usable without anything else of this project. */
export { type CpuOptions, createCpu, type CpuCore } from './cpu.ts';
export type * from './exit.ts';
export * from './interface.ts';
