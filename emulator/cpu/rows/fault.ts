/** Pseudo rows without an encoding: what runs instead of an instruction that is not there or not allowed here. */
import { GP, NM, UD } from '../fault.ts';
import { row } from '../row.ts';

export const faultRows = [
  row('#UD', '', '', '', (q) => q.fault(undefined, UD)),
  row('#GP', '', '', '', (q) => q.fault(undefined, GP)),
  row('#NM', '', '', '', (q) => q.fault(undefined, NM)),
];
