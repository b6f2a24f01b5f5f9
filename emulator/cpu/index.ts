/** `beneath/cpu`: the CPU package, usable without anything else of this project. */
export { type CpuCore, type CpuOptions, createCpu } from './cpu.ts';
export { type EngineKind, engineKinds } from './engine.ts';
export type * from './exit.ts';
export * from './interface.ts';
export type { AccessListener, MemoryAccess, NestedPage, NestedPaging } from './nested.ts';
export type { CpuSnapshot, MemorySnapshot } from './snapshot.ts';
export type { EngineStatistics, EngineTimes } from './statistics.ts';
