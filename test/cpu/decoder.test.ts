/**
 * The decoder against two judges: the real CPU (which of 180,000 encodings are valid, how long they are: encodings.ts, the
 * verdicts in vectors/decoder.gz) and capstone (what they are called). Where the two differ, the CPU is right.
 */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { Capstone, Const, loadCapstone } from 'capstone-wasm';
import t from 'tap';
import { Decoder, type Insn } from '../../emulator/cpu/decoder.ts';
import type { CpuCore } from '../../emulator/cpu/index.ts';
import { rows } from '../../emulator/cpu/rows/index.ts';
import { lower } from '../../emulator/cpu/templates.ts';
import { freshBareCpu, loadCode } from '../support/bare_cpu.ts';
import { type CodeSize, encodings, unpackVerdict } from '../support/encodings.ts';
import { makeRandom } from '../support/vectors.ts';

const UD = 6;
const GP = 13;
const CS_MODE_16 = 2;
const decoder = new Decoder(rows);
const modeOf = (code: 64 | 32 | 16) => ({ code, stackSize: code === 64 ? 8 : 4, alignCheck: false }) as const;
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

const LEGACY = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];
const isRex = (byte: number, code: number): boolean => code === 64 && (byte & 0xf0) === 0x40;

/** Mandatory prefix, opcode and ModRM in short, as "f3 0fb8 m0" or "lock 0f20 r0". */
function signature(bytes: Uint8Array, code: CodeSize): string {
  let at = 0;
  while (LEGACY.includes(bytes[at]!) || isRex(bytes[at]!, code)) at++;
  const prefixes = [...bytes.subarray(0, at)];
  const repeat = prefixes.findLast((byte) => byte === 0xf2 || byte === 0xf3);
  const prefix = prefixes.includes(0xf0) ? 'lock' : repeat !== undefined ? repeat.toString(16) : prefixes.includes(0x66) ? '66' : 'np';
  const size = bytes[at] !== 0x0f ? 1 : bytes[at + 1] === 0x38 || bytes[at + 1] === 0x3a ? 3 : 2;
  const modrm = bytes[at + size]!;
  return `${prefix} ${toHex(bytes.subarray(at, at + size))} ${modrm >= 0xc0 ? 'r' : 'm'}${(modrm >> 3) & 7}`;
}

/** What the recording CPU has and our CPUID does not tell of: #UD here until a row claims it. */
const notOffered: readonly (readonly [string, RegExp])[] = [
  ['AVX and its kin', /^np (c4|c5) /],
  ['SSE3', /^(66|f2) 0f(7c|7d|d0) |^f2 0f(f0|12) |^f3 0f(12|16) |^\S+ (db|dd|df) m1$/],
  ['SSE4A', /^(66|f2) 0f7[89] |^f[23] 0f2b /],
  ['POPCNT', /^f3 0fb8 /],
  ['SSSE3, SSE4, AES, SHA, MOVBE, ADX, ...', /^\S+ 0f3[8a].. /],
  ['XGETBV and XSETBV, SVM, RDPRU', /^\S+ 0f01 r[237]$/],
  ['XSAVE, CLWB, CLFLUSHOPT', /^np 0fae m[456]$|^66 0fae m[67]$/],
  ['XSAVES, XSAVEC', /^np 0fc7 m[345]$/],
  ['RDRAND, RDSEED, RDPID', /^(np|66) 0fc7 r[67]$|^f3 0fc7 r7$/],
  ['LOCK MOV CR0 as MOV CR8', /^lock 0f2[02] .0$/],
  ['LOCK VERW, which that CPU happens to let pass', /^lock 0f00 m5$/],
];

/** Whether running the instruction ends in this exception. */
function raises(cpu: CpuCore, bytes: Uint8Array, code: CodeSize, vector: number): boolean {
  cpu.intercepts.syscall = false;
  cpu.setSegment('cs', { selector: 0x13, base: 0n, limit: 0xffff_ffff, attributes: code === 64 ? 0xa0fb : 0xc0fb });
  cpu.gpr.fill(0n);
  loadCode(cpu, bytes);
  const exit = cpu.run(1);
  return exit.kind === 'exception' && exit.vector === vector;
}

const alwaysInvalid = new Map<string, boolean>();

/** A row that is there only to raise #UD. */
function isInvalidRow({ row, shape }: Insn): boolean {
  let known = alwaysInvalid.get(row.opcode);
  if (known === undefined) {
    const last = lower(shape).at(-1);
    known = last?.k === 'fault' && !last.cond && last.vector === UD;
    alwaysInvalid.set(row.opcode, known);
  }
  return known;
}

t.test('every encoding is as valid and as long as the real CPU found it', (t) => {
  const verdicts = gunzipSync(readFileSync(new URL('../../../test/cpu/vectors/decoder.gz', import.meta.url)));
  const cpu = freshBareCpu();
  let next = 0;
  for (const code of [64, 32] as const) {
    const wrong: string[] = [];
    let count = 0;
    for (const bytes of encodings(code)) {
      const { fetched, isInvalid, isProtection } = unpackVerdict(verdicts[next++]!);
      const insn = decoder.decode(bytes, 0, 0x10000n, modeOf(code));
      count++;
      let difference = '';
      if (insn === 'tooLong') {
        if (fetched !== 15 || !isProtection) difference = 'too long';
      } else if (insn === 'invalid' || typeof insn === 'string' || isInvalidRow(insn)) {
        if (isInvalid || (isProtection && raises(cpu, bytes, code, GP))) continue;
        if (!notOffered.some(([, pattern]) => pattern.test(signature(bytes, code)))) difference = 'invalid here';
      } else if (isInvalid) {
        if (!raises(cpu, bytes, code, UD)) difference = `${insn.row.name} is invalid there`;
      } else if (insn.length !== fetched) difference = `${insn.row.name} has ${insn.length} bytes instead of ${fetched}`;
      if (difference) wrong.push(`${toHex(bytes)} ${signature(bytes, code)}: ${difference}`);
    }
    t.equal(wrong.length, 0, `${code}-bit code, ${count} encodings`, { wrong: wrong.slice(0, 10) });
  }
  t.equal(next, verdicts.length, 'every verdict was used');
  t.end();
});

t.test('an instruction cut short asks for more bytes, wherever it is cut', (t) => {
  const random = makeRandom(7);
  const wrong: string[] = [];
  for (const code of [64, 32] as const) {
    for (const bytes of encodings(code)) {
      if (random() % 64 !== 0) continue;
      const insn = decoder.decode(bytes, 0, 0x10000n, modeOf(code));
      if (typeof insn === 'string') continue;
      for (let size = 0; size < insn.length; size++) {
        if (decoder.decode(bytes.subarray(0, size), 0, 0x10000n, modeOf(code)) !== 'needsMore') wrong.push(`${toHex(bytes)} at ${size}`);
      }
    }
  }
  t.strictSame(wrong, []);
  t.end();
});

const CONDITIONS = 'o no b ae e ne be a s ns p np l ge le g'.split(' ');
const SIZE_SUFFIX: Record<number, string> = { 1: 'b', 2: 'w', 4: 'd', 8: 'q' };

/** Capstone's names of our mnemonics where they are not the same word. */
const aliases: Record<string, (insn: Insn) => string> = {
  cbw: ({ shape }) => ({ 2: 'cbw', 4: 'cwde', 8: 'cdqe' })[shape.size as 2 | 4 | 8],
  cwd: ({ shape }) => ({ 2: 'cwd', 4: 'cdq', 8: 'cqo' })[shape.size as 2 | 4 | 8],
  cmpxchg8b: ({ shape }) => (shape.size === 8 ? 'cmpxchg16b' : 'cmpxchg8b'),
  bsf: ({ shape }) => (shape.rep === 'none' ? 'bsf' : 'tzcnt'),
  call_far: () => 'lcall',
  jmp_far: () => 'ljmp',
  ret_far: () => 'retf',
  fwait: () => 'wait',
  mov_cr: () => 'mov',
  mov_dr: () => 'mov',
  xlat: () => 'xlatb',
  jrcxz: ({ shape }) => ({ 2: 'jcxz', 4: 'jecxz', 8: 'jrcxz' })[shape.addressSize],
};
/** What capstone calls otherwise, or does not know; each is decided by the real CPU. */
const capstoneDiffers: readonly (readonly [string, RegExp, RegExp])[] = [
  ['without BMI and LZCNT: F3 means nothing', /^bs[fr]$/, /^(tzcnt|lzcnt|)$/],
  ['hints of newer processors are NOPs', /^(nop|prefetchw)$/, /^(bnd|prefetch|cldemote|endbr|rdssp|wbnoinvd|$)/],
  ['WBNOINVD is WBINVD', /^wbinvd$/, /^wbnoinvd$/],
  ['D0 /6 and its kin are shifts left, too', /^shl$/, /^sal$/],
  ['ports are 4 bytes wide at most, whatever REX.W and 66 say', /^(ins|outs)$/, /^(ins|outs)[wd]$/],
  ['MOV with an absolute offset or a 64-bit immediate', /^mov$/, /^movabs$/],
  ['a far pointer of 4 bytes', /^(call|jmp)_far$/, /^(call|jmp)$/],
  ['a shape of x87 for many names, some undocumented', /^x87$/, /^(f|$)/],
  ['#UD when executed: no such segment, control or debug register', /^mov/, /^(mov|)$/],
  ['the low bits of a fence do not count', /^[lms]fence$/, /^$/],
  ['F3 with REX.R or 66 is PAUSE', /^pause$/, /^(xchg|)$/],
  ['MOVSXD without REX.W', /^movsxd$/, /^$/],
  ['F2 or F3 beside 66', /^(j|bs[fr]|(rd|wr)[fg]sbase)$/, /^$/],
];

function expectedName(insn: Insn): string {
  const { mnemonic } = insn.row;
  const alias = aliases[mnemonic];
  if (alias) return alias(insn);
  return ['j', 'set', 'cmov'].includes(mnemonic) && insn.row.opcode.includes('+cc') ? mnemonic + CONDITIONS[insn.shape.cc] : mnemonic;
}

/** Names that tell the operand's size at their end. */
function isSameName(insn: Insn, theirs: string): boolean {
  const ours = expectedName(insn);
  if (ours === theirs) return true;
  const { size } = insn.shape;
  return (
    theirs === ours + SIZE_SUFFIX[size] ||
    theirs === `${ours}l` ||
    theirs === `${ours}64` ||
    (['movd', 'pextrd', 'pinsrd'].includes(ours) && theirs === ours.replace(/d$/, 'q'))
  );
}

t.test('capstone gives the same names and lengths', async (t) => {
  await loadCapstone();
  for (const [code, flag, step] of [
    [64, Const.CS_MODE_64, 12],
    [32, Const.CS_MODE_32, 12],
    [16, CS_MODE_16, 24],
  ] as const) {
    const capstone = new Capstone(Const.CS_ARCH_X86, flag);
    const random = makeRandom(code);
    const wrong: string[] = [];
    let count = 0;
    for (const bytes of encodings(code === 64 ? 64 : 32)) {
      if (random() % step !== 0) continue;
      const insn = decoder.decode(bytes, 0, 0x10000n, modeOf(code));
      if (typeof insn === 'string') continue;
      count++;
      let theirs: { mnemonic: string; size: number } = { mnemonic: '', size: insn.length };
      try {
        theirs = capstone.disasm(bytes, { address: 0x10000n, count: 1 })[0] ?? theirs;
      } catch {} // capstone throws for what it does not know
      const name = theirs.mnemonic.split(' ').at(-1)!;
      const isKnown = capstoneDiffers.some(([, ours, other]) => ours.test(insn.row.mnemonic) && other.test(name));
      // In 16-bit code capstone knows 66 as operand size only, and calls CBW and CWD by their 32-bit names.
      const isMisread = code === 16 && (insn.row.opcode.startsWith('66 ') || /^c[bw][wd]$/.test(insn.row.mnemonic));
      if (!isMisread && !isSameName(insn, name) && !isKnown) wrong.push(`${toHex(bytes)}: ${insn.row.name} is ${name || 'nothing'} there`);
      // Near branches of 16 bits in 64-bit code are AMD's; redundant prefixes confuse capstone there.
      const isNearBranch = code === 64 && insn.shape.size === 2 && /^[JI]/.test(insn.row.operands[0] ?? '');
      if (theirs.size !== insn.length && !isNearBranch)
        wrong.push(`${toHex(bytes)}: ${insn.row.name} has ${theirs.size} bytes there, ${insn.length} here`);
    }
    capstone.close();
    t.equal(wrong.length, 0, `${code}-bit code, ${count} instructions`, { wrong: wrong.slice(0, 20) });
  }
  t.end();
});

t.test('the operand-size prefix cuts near branches to 16 bits, unless REX.W is there, as on the real CPU', (t) => {
  const AT = 0x340100;
  // Code, flags, RCX; RIP and the change of RSP after it. The stack and [RCX] hold 0x345678.
  const cases: [string, number, number, number, number][] = [
    ['66eb10', 0, 0, 0x113, 0],
    ['6648eb10', 0, 0, AT + 0x14, 0],
    ['66e91000', 0, 0, 0x114, 0],
    ['6648e910000000', 0, 0, AT + 0x17, 0],
    ['667410', 0x40, 0, 0x113, 0],
    ['667510', 0x40, 0, AT + 3, 0],
    ['660f841000', 0x40, 0, 0x115, 0],
    ['660f851000', 0x40, 0, AT + 5, 0],
    ['66e81000', 0, 0, 0x114, -2],
    ['66c3', 0, 0, 0x5678, 2],
    ['66c20800', 0, 0, 0x5678, 10],
    ['6648c3', 0, 0, 0x345678, 8],
    ['66ffe1', 0, 0x123456, 0x3456, 0],
    ['66ffd1', 0, 0x123456, 0x3456, -2],
    ['6648ffe1', 0, 0x123456, 0x123456, 0],
    ['66ff21', 0, 0x20000, 0x5678, 0],
    ['66e210', 0, 5, 0x113, 0],
    ['66e210', 0, 1, AT + 3, 0],
    ['66e310', 0, 0, 0x113, 0],
    ['66e310', 0, 1, AT + 3, 0],
    ['6648e210', 0, 5, AT + 0x14, 0],
    ['66c9', 0, 0, AT + 2, 2],
    ['6648c9', 0, 0, AT + 3, 8],
  ];
  for (const [hex, flags, rcx, rip, moved] of cases) {
    const cpu = freshBareCpu();
    cpu.memory.view.setUint32(0x20000, 0x345678, true);
    cpu.gpr[1] = BigInt(rcx);
    cpu.gpr[4] = 0x20000n;
    cpu.gpr[5] = 0x20000n;
    cpu.rflags = BigInt(2 | flags);
    loadCode(cpu, Buffer.from(hex, 'hex'), AT);
    t.equal(cpu.run(1).kind, 'budget', hex);
    t.equal(Number(cpu.rip), rip, `${hex} goes to ${rip.toString(16)}`);
    t.equal(Number(cpu.gpr[4]! - 0x20000n), moved, `${hex} moves RSP by ${moved}`);
  }
  t.end();
});
