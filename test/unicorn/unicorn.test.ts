// `beneath/unicorn` is held against the C library of Unicorn: its constants, and what it answered to recorded scenarios.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { constants } from '../../emulator/unicorn/constants.ts';
import { play } from './play.ts';
import { differ, readDifferences, scenarios } from './transcripts.ts';

const FPU = 'there the FPU and MXCSR begin as zeros and their exceptions are never raised; ours is as FNINIT and LDMXCSR 0x1f80 leave it';
const CPUID = 'CPUID tells what the engine has: SSE4.2 and POPCNT, no AES, no BMI';
const EXACT_RIP = 'there RIP is the start of the block unless a hook made it exact; ours always is';
const RESUMED = 'stopped in the hook of a store, there RIP stays although the store is done, so that it happens twice; ours is behind it';

/** Where ours is meant to be different, and why. */
// biome-ignore format: a table
const DIFFERENT: Readonly<Record<string, string>> = {
  'initial registers 64':  `CR4 shows that SSE is on, TR is a TSS so that long mode can be entered; ${FPU}`,
  'initial registers 32':  `as in 64-bit mode; ${FPU}`,
  'initial registers 16':  'CR4 shows that SSE is on',
  'sse at start':          FPU,
  'sse div by zero (mxcsr 0)': FPU,
  'x87 div by zero (fcw 0)': FPU,
  'div 0':                 'a second exception while a hook leaves RIP there is the same again, not the double fault of a CPU that delivers',
  'cpuid not skipped':     CPUID,
  'cpuid leaves':          CPUID,
  'in out':                EXACT_RIP,
  'insb outsb':            'there INS announces a store before it asks the port',
  'fall off the end':      'there a block of which the next page is missing does not run at all; ours runs to the edge',
  'fetch crosses into unmapped': 'ours says that one byte is missing, there it is the 4 of the immediate',
  'unmapped read, no hook': EXACT_RIP,
  'read prot, exec prot':  EXACT_RIP,
  'crossing':              'there an access across a page is told in parts, aligned ones around a load and bytes of a store, whose first page is written before the second fails',
  'unmapped write true, no map': EXACT_RIP,
  'unmapped fetch redirect': 'writing RIP mends a fetch, as unicorn.h says',
  'write prot handled':    'a store to a page that the hook made writable takes place, as unicorn.h says',
  'write rip in intr hook, block hook, syscall hook, in hook': 'writing RIP redirects in the hooks of IN, too',
  'stop in code hook, mem hook, block hook': RESUMED,
  'stop in mem read: is it done': RESUMED,
  'hook errors':           'EDGE_GENERATED and TCG_OPCODE hooks are refused: there is no TCG',
  'cpu model effect':      'there is one CPU model',
  'register writes':       'no AVX: upper halves of YMM are refused. RFLAGS has no reserved bits. MM0-7 and CR8 can be read',
  'misc accesses':         `SGDT is told as 8 and 2 bytes; ${FPU}`,
  'fxsave':                'FXSAVE is told in 8-byte pieces, there by field',
  'rep block':             'there a repetition that ends is executed once more, to find that it ended',
  'block enders':          EXACT_RIP,
  'cli sti in out priv':   'CR4 shows that SSE is on',
  'rdtsc, xgetbv, vmcall, monitor, rdpmc, rsm': `RDPMC is a #GP; ${CPUID}`,
  'pf with paging':        "there a guest's page tables are only checked; ours translate, and what they lack is a page fault",
};

t.test('scenarios go as on the C library', (t) => {
  const expected = readDifferences();
  for (const { name, script, transcript } of scenarios) {
    const lines = differ(transcript, play(script));
    const reason = DIFFERENT[name];
    t.same(lines, expected[name] ?? [], reason ? `${name}: different, as ${reason}` : name);
  }
  t.same(Object.keys(expected).sort(), Object.keys(DIFFERENT).sort(), 'every difference has its reason');
  t.end();
});

t.test('the constants are those of the headers', (t) => {
  if (!existsSync('/usr/include/unicorn/x86.h')) {
    t.pass('', { skip: 'libunicorn-dev is not installed' });
    return t.end();
  }
  const folder = mkdtempSync(join(tmpdir(), 'unicorn-'));
  t.teardown(() => rmSync(folder, { recursive: true }));
  const names = Object.keys(constants);
  const lines = names.map((name) => `printf("%d\\n", (int)UC_${name});`);
  writeFileSync(join(folder, 'names.c'), `#include <stdio.h>\n#include <unicorn/unicorn.h>\nint main(void) {\n${lines.join('\n')}\n}\n`);
  execFileSync('gcc', ['-w', '-o', join(folder, 'names'), join(folder, 'names.c')]);
  const values = execFileSync(join(folder, 'names')).toString().trim().split('\n').map(Number);
  t.same(Object.values(constants), values);
  t.end();
});
