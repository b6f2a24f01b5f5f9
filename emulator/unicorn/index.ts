/**
 * `beneath/unicorn`: the interface of unicorn.js 2.x for x86 on the engine of `beneath/cpu`. A program written for
 * unicorn.js runs with its import changed.
 */
import { constants } from './constants.ts';
import { strerror } from './errors.ts';
import { Unicorn } from './unicorn.ts';

const VERSION =
  (constants.VERSION_MAJOR << 24) | (constants.VERSION_MINOR << 16) | (constants.VERSION_PATCH << 8) | constants.VERSION_EXTRA;

const functions = {
  Unicorn,
  version: (): number => VERSION,
  arch_supported: (arch: number): boolean => arch === constants.ARCH_X86,
  strerror,
};

export type UnicornModule = typeof constants & typeof functions;
/** The module object: the constants, and the functions that need no engine. */
export const uc: UnicornModule = { ...constants, ...functions };

export default async function MUnicorn(): Promise<UnicornModule> {
  return uc;
}

export type { Hook } from './hooks.ts';
export type { Context, MemoryRegion, Unicorn, UnicornOptions } from './unicorn.ts';
export { MUnicorn };
