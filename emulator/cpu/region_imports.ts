/**
 * What regions call. A module imports those that its regions need, and the ones before: V8 compiles a wrapper for each
 * function of TypeScript's, with its optimising compiler, on the thread that waits for the module.
 */
import { handlerImports } from './emitter.ts';
import { HOST_SYSCALL_SIGNATURE } from './host_syscall.ts';
import { SAVE_FLAGS_SIGNATURE } from './lazy_flags.ts';
import type { ImportedFunction } from './wasm_writer.ts';

export const regionImports: readonly ImportedFunction[] = [
  { name: 'saveFlags', signature: SAVE_FLAGS_SIGNATURE },
  { name: 'regionSyscall', signature: HOST_SYSCALL_SIGNATURE },
  handlerImports[0]!,
];
export const IMPORT_SAVE_FLAGS = 0,
  IMPORT_SYSCALL = 1,
  IMPORT_HELPER = 2;
