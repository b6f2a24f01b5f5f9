/**
 * Which templates the interpreter's loop holds as cases of its switch: those that real guests and the benchmark kernels
 * execute most, as counted by `npm run hot-templates`. Others run through the function table, at half the speed.
 */
import { hotKeys } from './hot_keys.ts';
import type { HotTemplate } from './interpreter.ts';
import type { Op } from './ir.ts';
import { rows } from './rows/index.ts';
import { shapeFromBits } from './shape.ts';
import { lower } from './templates.ts';

export function hotTemplates(): HotTemplate[] {
  const byName = new Map(rows.map((row) => [`${row.opcode}|${row.operands}`, row]));
  return hotKeys
    .flatMap(([name, ...shapes]) => {
      const row = byName.get(name);
      if (!row) throw new Error(`bug: hot_keys.ts names no row: ${name}`);
      return shapes.map((bits) => {
        const shape = shapeFromBits(row, bits);
        return { shape, ops: lower(shape) };
      });
    })
    .filter(({ ops }) => !needsHelp(ops));
}

/** Whether it always calls TypeScript, which the loop never does. */
function needsHelp(ops: readonly Op[]): boolean {
  return ops.some((op) => op.k === 'call' || op.k === 'system');
}
