/**
 * Short functions that run as a part of what calls them: a few instructions in a row, and a return; above all the entries of a
 * hypercall page, which are on a page of their own. They are found in the interpreter's records, and held against those again
 * when they run: the jump cache must lead to the first record, and a block that was dropped has a GOTO in its place.
 */
import * as L from './layout.ts';
import type { RegionTemplate } from './region_template.ts';

/** Instructions in a row, from a block's first; behind them the host may have performed a SYSCALL. */
export interface InlinePart {
  readonly records: readonly number[];
  readonly templates: readonly RegionTemplate[];
}

/** Instructions and parts of a function that is inlined. */
const MAX_INSNS = 12,
  MAX_PARTS = 3;

/** The function whose first record is this, in parts; undefined: it is another kind of function. */
export function inlineParts(
  words: Int32Array,
  first: number,
  templateOf: (record: number) => RegionTemplate | undefined,
): readonly InlinePart[] | undefined {
  const parts: InlinePart[] = [];
  let left = MAX_INSNS;
  for (let start = first; start !== 0 && parts.length < MAX_PARTS; ) {
    const records: number[] = [];
    const templates: RegionTemplate[] = [];
    let record = start;
    let last: RegionTemplate | undefined;
    for (let template = templateOf(record); template && template.flow.end !== 'before'; template = templateOf(record)) {
      if (--left < 0) return undefined;
      records.push(record);
      templates.push(template);
      record += L.RECORD_SIZE;
      last = template;
      if (template.flow.end === 'after') break;
    }
    if (last === undefined) return undefined;
    parts.push({ records, templates });
    if (last.shape.row.mnemonic === 'ret') return parts;
    const isOver = last.flow.end === 'after' && last.shape.row.mnemonic !== 'syscall';
    // Behind a block is a GOTO, with a link to what it leads to in the page.
    const isGoto = (words[(record + L.R_HANDLER) >> 2]! & 0xffff) === L.HANDLER_GOTO;
    start = isOver || !isGoto ? 0 : words[(record + L.R_LINK) >> 2]!;
  }
  return undefined;
}
