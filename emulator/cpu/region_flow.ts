/** Where an instruction leads: what regions are laid out by (region_shape.ts). */
import type { Op } from './ir.ts';
import type { Row } from './row.ts';

/** Where an instruction leads, and what it does to the block that it is in. */
export interface Flow {
  /** It ends the block 'after' it, as a system instruction does, too, or 'before', as only the interpreter can run it. */
  readonly end: 'no' | 'after' | 'before';
  /** To the target in its immediate, to itself again, to what follows it. */
  readonly toTarget: boolean;
  readonly toSelf: boolean;
  readonly toNext: boolean;
  /** Execution comes back behind it later. */
  readonly isCall: boolean;
}

export function flowOf(row: Row, ops: readonly Op[]): Flow {
  let toTarget = false,
    toSelf = false,
    jumpsToNext = false,
    mayBeSystem = false;
  const walk = (list: readonly Op[]): void => {
    for (const op of list) {
      if (op.k === 'branch' || (op.k === 'jump' && op.target === 'imm')) toTarget = true;
      else if (op.k === 'jump' && op.target === 'self') toSelf = true;
      else if (op.k === 'jump' && op.target === 'next') jumpsToNext = true;
      else if (op.k === 'system') mayBeSystem = true;
      else if (op.k === 'if') {
        walk(op.ifTrue);
        walk(op.ifFalse);
      }
    }
  };
  walk(ops);
  const last = ops.at(-1);
  const isSystem = last?.k === 'system';
  const fallsThrough = !(isSystem || last?.k === 'jump' || (last?.k === 'fault' && !last.cond));
  const isForInterpreter = row.attributes.has('end') || (mayBeSystem && !isSystem);
  return {
    end: isForInterpreter ? 'before' : !fallsThrough || toTarget || toSelf ? 'after' : 'no',
    toTarget,
    toSelf,
    toNext: fallsThrough || jumpsToNext,
    isCall: isSystem || row.mnemonic === 'call',
  };
}
