/**
 * Which templates the interpreter's loop holds as cases of its switch: those that real guests, compiled code and the
 * benchmarks execute most, and the pairs of them that save most steps for their code, as counted by `npm run
 * hot-templates`. Others run as functions, which takes several times as long.
 */
import type { Lowered } from './handlers.ts';
import { hotKeys, hotPairs } from './hot_keys.ts';
import type { HotTemplate } from './interpreter.ts';
import { rows } from './rows/index.ts';
import { ANY_CONDITION } from './sequence_flags.ts';
import { shapeFromBits } from './shape.ts';
import { lower } from './templates.ts';

let list: readonly HotTemplate[] | undefined;

/** The same list each time. */
export function hotTemplates(): readonly HotTemplate[] {
  list ??= lowerHot();
  return list;
}

function lowerHot(): HotTemplate[] {
  const byName = new Map(rows.map((row) => [`${row.opcode}|${row.operands}`, row]));
  const singles = hotKeys.flatMap(([name, ...shapes]) => {
    const row = byName.get(name);
    if (!row) throw new Error(`bug: hot_keys.ts names no row: ${name}`);
    return shapes.map((bits): Lowered => {
      const shape = shapeFromBits(row, bits);
      return { shape, ops: lower(shape) };
    });
  });
  const anyBranch = anyConditional(singles);
  return [
    ...singles.map((single): HotTemplate => [single]),
    ...hotPairs.map(([a, b]): HotTemplate => [singles[a]!, b < 0 ? anyBranch : singles[b]!]),
  ];
}

/** Some conditional branch with its condition left open. */
export function anyConditional(singles: readonly Lowered[]): Lowered {
  const branch = singles.find(({ ops }) => ops.length === 2 && ops[0]!.k === 'cond' && ops[1]!.k === 'branch');
  if (!branch) throw new Error('bug: no conditional branch is hot');
  return { ...branch, ops: branch.ops.map((op) => (op.k === 'cond' ? { ...op, cc: ANY_CONDITION } : op)) };
}
