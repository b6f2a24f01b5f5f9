/**
 * Where in the guest's code a hypercall was made: the SYSCALL itself, or, when that is in the hypercall page, the CALL that
 * went there.
 */
import { RSP } from '../cpu/interface.ts';
import type { Host } from '../host.ts';
import { peek, peekNumber } from './peek.ts';

const SYSCALL_LENGTH = 2n;
/** Behind the SYSCALL of an entry of the hypercall page: pop r11; pop rcx; ret. */
const STUB_END = [0x41, 0x5b, 0x59, 0xc3];
/** What it has pushed before. */
const STUB_STACK = 16n;
const CALL_REL32 = 0xe8;
const CALL_REL32_LENGTH = 5n;

export interface CallSite {
  readonly rip: bigint;
  readonly isInHypercallPage: boolean;
}

/** Of the call that the registers on the core are in: RIP is behind its SYSCALL. */
export function callSite(host: Host): CallSite {
  const { cpu } = host;
  const direct = { rip: cpu.rip - SYSCALL_LENGTH, isInHypercallPage: false };
  const code = peek(host, cpu.rip, STUB_END.length);
  if (STUB_END.some((byte, i) => code[i] !== byte)) return direct;
  const back = peekNumber(host, cpu.gpr[RSP]! + STUB_STACK, 8);
  if (back === undefined) return direct;
  const call = BigInt.asUintN(64, back - CALL_REL32_LENGTH);
  const isRel32 = peek(host, call, 1)[0] === CALL_REL32;
  // Of an indirect CALL the size is unknown: its last byte is in it, at least.
  return { rip: isRel32 ? call : back - 1n, isInHypercallPage: true };
}
