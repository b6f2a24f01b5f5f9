/**
 * A random program: blocks of pieces, and what the host does meanwhile. generate.ts makes it, run.ts runs it, shrink.ts makes
 * it small.
 */
import type { Code, Target } from './encode.ts';
import { DATA, type Setting } from './world.ts';

/** Where indirect branches look. */
export const TARGETS = DATA + 0x3fc0;

export interface Piece extends Code {
  readonly label: number;
  /** Offsets of bytes that other pieces may change, with values that keep it an instruction; undefined: any. */
  readonly mutable: readonly { at: number; values?: readonly number[] }[];
}

export interface Block {
  readonly label: number;
  /** Bytes left free before it. */
  gap: number;
  pieces: Piece[];
}

/** What the host does at an instruction boundary. */
export type Action =
  | { kind: 'patch'; target: Target; value: number }
  | { kind: 'entry'; root: number; vaddr: number; entry: bigint }
  | { kind: 'root'; root: number }
  | { kind: 'context' }
  | { kind: 'snapshot' }
  | { kind: 'switch' }
  | { kind: 'interrupt' }
  | { kind: 'flags'; set: number }
  | { kind: 'register'; index: number; value: bigint }
  | { kind: 'jump'; target: Target }
  | { kind: 'watch'; target: Target; isData: boolean }
  | { kind: 'flush' };

/** So many instructions in runs of 1 to `cut`; then what the host does. */
export interface Phase {
  count: number;
  readonly cut: number;
  readonly action?: Action;
}

export interface Program {
  readonly seed: number;
  readonly setting: Setting;
  readonly hotness: number;
  readonly gpr: bigint[];
  readonly xmm: Uint8Array;
  /** Main blocks, then functions; the first begins at CODE. */
  blocks: Block[];
  /** Targets of indirect branches: eight addresses at TARGETS. */
  readonly targets: Target[];
  phases: Phase[];
}
