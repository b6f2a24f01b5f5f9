/** Makes a failing program smaller while it still fails, and prints it as assembly. */
import { Capstone, Const, loadCapstone } from 'capstone-wasm';
import type { Piece, Program } from './program.ts';
import { layOut } from './run.ts';
import { CODE } from './world.ts';

/** Tries to leave out ever smaller stretches of a list. */
function withoutStretches<T>(list: readonly T[], isFailing: (list: T[]) => boolean): T[] {
  let best = [...list];
  for (let size = Math.max(1, best.length >> 1); ; size >>= 1) {
    for (let at = 0; at < best.length; ) {
      const rest = [...best.slice(0, at), ...best.slice(at + size)];
      if (isFailing(rest)) best = rest;
      else at += size;
    }
    if (size <= 1) return best;
  }
}

export function shrink(program: Program, isFailing: (program: Program) => boolean, milliseconds = 30_000): Program {
  const end = Date.now() + milliseconds;
  let best = program;
  const attempt = (candidate: Program): boolean => {
    if (Date.now() > end || !isFailing(candidate)) return false;
    best = candidate;
    return true;
  };
  for (let before = ''; before !== sizeOf(best); ) {
    before = sizeOf(best);
    withoutStretches(best.phases, (phases) => phases.length > 0 && attempt({ ...best, phases }));
    withoutStretches(best.blocks, (blocks) => blocks.length > 0 && attempt({ ...best, blocks }));
    for (let i = best.blocks.length - 1; i >= 0; i--) {
      const withPieces = (pieces: Piece[]): Program => ({
        ...best,
        blocks: best.blocks.map((block, k) => (k === i ? { ...block, pieces } : block)),
      });
      withoutStretches(best.blocks[i]!.pieces, (pieces) => attempt(withPieces(pieces)));
      attempt({ ...best, blocks: best.blocks.map((block, k) => (k === i ? { ...block, gap: 0 } : block)) });
    }
    best.phases.forEach((_, i) => {
      const change = (patch: object): boolean =>
        attempt({ ...best, phases: best.phases.map((phase, k) => (k === i ? { ...phase, ...patch } : phase)) });
      while (best.phases[i]!.count > 1 && change({ count: best.phases[i]!.count >> 1 }));
      for (let step = best.phases[i]!.count >> 2; step > 0; step >>= 1)
        while (best.phases[i]!.count > step && change({ count: best.phases[i]!.count - step }));
      change({ cut: 100_000 });
    });
    for (let i = 0; i < 16; i++) {
      const gpr = [...best.gpr];
      if (gpr[i] === 0n) continue;
      gpr[i] = 0n;
      attempt({ ...best, gpr });
    }
    attempt({ ...best, xmm: new Uint8Array(256) });
    for (const part of [{ hasIdt: false }, { alignmentMask: false }, { writeProtect: true }, { cpl: 3 as const }])
      attempt({ ...best, setting: { ...best.setting, ...part } });
  }
  return best;
}

/** Distinct when anything has become smaller. */
const sizeOf = ({ blocks, phases, gpr, setting }: Program): string =>
  JSON.stringify([
    blocks.map(({ pieces, gap }) => [pieces.length, gap]),
    phases.map(({ count, cut }) => [count, cut]),
    gpr.filter((value) => value !== 0n).length,
    setting,
  ]);

let capstone: Capstone | undefined;

/** A program for people: how it runs, what it starts with, its code. */
export async function print(program: Program): Promise<string> {
  await loadCapstone();
  capstone ??= new Capstone(Const.CS_ARCH_X86, Const.CS_MODE_64);
  const { setting, hotness, gpr, phases, blocks } = program;
  const { image, resolve } = layOut(program);
  const names = 'rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15'.split(' ');
  const lines = [
    `seed ${program.seed}: CPL ${setting.cpl}, ${setting.hasIdt ? 'exceptions through the IDT' : 'exceptions leave'}, hotness ${hotness}, ${JSON.stringify(setting)}`,
    names.flatMap((name, i) => (gpr[i] === 0n ? [] : [`${name}=${gpr[i]!.toString(16)}`])).join(' '),
    ...phases.map(
      ({ count, cut, action }) =>
        `${count} instructions, cut ${cut}; ${JSON.stringify(action ?? {}, (_, value) => (typeof value === 'bigint' ? value.toString(16) : value))}`,
    ),
  ];
  for (const block of blocks) {
    lines.push(`L${block.label}:`);
    for (const piece of block.pieces) {
      const at = resolve({ label: piece.label, add: 0 });
      const bytes = image.slice(at - CODE, at - CODE + piece.bytes.length);
      for (let offset = 0; offset < bytes.length; ) {
        let text = 'db';
        let size = bytes.length - offset;
        try {
          const insn = capstone.disasm(bytes.subarray(offset), { address: BigInt(at + offset), count: 1 })[0];
          if (insn) [text, size] = [`${insn.mnemonic} ${insn.opStr}`, insn.size];
        } catch {} // capstone throws for what it does not know
        lines.push(
          `  ${(at + offset).toString(16)}  ${Buffer.from(bytes.subarray(offset, offset + size))
            .toString('hex')
            .padEnd(22)} ${text}`,
        );
        offset += size;
      }
    }
  }
  return lines.filter(Boolean).join('\n');
}
