/** MXCSR, fences, cache hints and PAUSE (SDM 1 10.4.6, 11.4.4). Fences and hints have nothing to order or to fetch here. */
import { GP } from '../fault.ts';
import { MXCSR } from '../layout.ts';
import { type RowSource, row } from '../row.ts';
import { defineSystem } from '../system/index.ts';
import { MXCSR_MASK } from '../x87_helpers.ts';

const SYSTEM_PAUSE = defineSystem((cpu, insn) =>
  cpu.intercepts.instructions.has('pause') ? { kind: 'instruction', name: 'pause', length: insn.length } : undefined,
);

const nothing = (): void => {};

// biome-ignore format: one row a line
export const sseControlRows: RowSource[] = [
  row('pause',      '',   'F3 90 !B',     'system', (q) => q.system(SYSTEM_PAUSE)),
  row('prefetchw',  'Mb', '0F 0D /r',     '', nothing),
  row('prefetchnta', 'Mb', '0F 18 /0',    '', nothing),
  row('prefetcht0', 'Mb', '0F 18 /1',     '', nothing),
  row('prefetcht1', 'Mb', '0F 18 /2',     '', nothing),
  row('prefetcht2', 'Mb', '0F 18 /3',     '', nothing),
  ...['18', '19', '1A', '1B', '1C', '1D', '1E'].map((opcode) => row('nop', 'Ev', `0F ${opcode} /r`, '', nothing)),
  row('ldmxcsr',    'Md', 'NP 0F AE /2',  'sse', (q) => {
    const value = q.wrap(q.rm('r').get());
    q.fault(q.op('i32.and', value, q.con32(~MXCSR_MASK)), GP);
    q.setState('i32.store', MXCSR, value);
  }),
  row('stmxcsr',    'Md', 'NP 0F AE /3',  'sse', (q) => q.rm('w').set(q.widen(q.getState('i32.load', MXCSR)))),
  row('clflush',    'Mb', 'NP 0F AE /7',  '', (q) => void q.ptr(q.ea(1), 1, 'r')),
  row('lfence',     'Rd', 'NP 0F AE /5',  '', nothing),
  row('mfence',     'Rd', 'NP 0F AE /6',  '', nothing),
  row('sfence',     'Rd', 'NP 0F AE /7',  '', nothing),
];
