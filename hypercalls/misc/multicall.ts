/** multicall: several calls, one after the other; each one's RAX goes into its entry (xen:common/multicall.c). */
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { errno } from '../abi/errno.ts';
import { AGAIN } from '../abi/hypercall.ts';
import { type multicall, multicall_entry } from '../abi/xen_calls.ts';
import { type Call, copyWords, MADE_AGAIN, registerWords, structView, structWords } from '../call.ts';
import { placeStruct, writeStruct } from '../guest_memory.ts';
import { type HandlerOf, WRITTEN } from '../implement.ts';

/** iret replaces the registers, and so ends the multicall. */
const IRET = 23;
const { size, offset } = multicall_entry;
const { op: OP, result: RESULT, args: ARGS } = offset;
const RESULT_SIZE = ARGS - RESULT;
/** Where they are among the words of an entry. */
const OP_WORD = OP / 4;
const RESULT_WORD = RESULT / 4;
const ARGS_WORD = ARGS / 4;

function storeResult(words: Int32Array, at: number, outcome: number | bigint): void {
  if (typeof outcome !== 'number' || outcome !== (outcome | 0)) return storeBig(words, at, BigInt(outcome));
  words[at] = outcome;
  words[at + 1] = outcome >> 31;
}

function storeBig(words: Int32Array, at: number, outcome: bigint): void {
  words[at] = Number(BigInt.asIntN(32, outcome));
  words[at + 1] = Number(BigInt.asIntN(32, outcome >> 32n));
}

/** The registers of the multicall that runs: its calls leave theirs. */
const own = new Int32Array(2 * 2);
const keepOwn = (): void => copyWords(own, 0, registerWords, 0, own.length);
const putBackOwn = (): void => copyWords(registerWords, 0, own, 0, own.length);

/** Copies a part of entry `index`, which is in the struct, to the guest. */
const writePart = (call: Call, index: number, start: number, end: number): boolean =>
  writeStruct(call, own[0]!, own[1]!, index * size, start, end);

/** The entry asks for what is left to do; false: it cannot be written. */
function writeLeft(call: Call, index: number): boolean {
  copyWords(structWords, ARGS_WORD, registerWords, 0, 2 * call.leftCount);
  return writePart(call, index, ARGS, ARGS + 8 * call.leftCount);
}

/** Where entry `index` lies, -1: not in one page, or it cannot be written. */
const placeEntry = (call: Call, index: number): number => placeStruct(call.host, own[0]!, own[1]!, index * size, size);

/** What ended the calls that were performed in place. */
let ending: 'EFAULT' | typeof AGAIN | undefined;

export const performMulticall: HandlerOf<typeof multicall.params, typeof multicall.body> = {
  begin(call) {
    if (call.isInMulticall) return 'EINVAL';
    call.isInMulticall = true;
    keepOwn();
  },

  /** Most entries are performed where they lie. */
  inPlace(call, first, end) {
    const { cpu, memory } = call.host;
    const { words } = memory;
    let at = -1;
    let flushes = -1;
    for (let index = first; index < end; index++) {
      if (at < 0) {
        at = placeEntry(call, index);
        flushes = cpu.flushes;
        if (at < 0 || at & 3) return index;
      }
      const entry = at >>> 2;
      const nr = words[entry + OP_WORD]! >>> 0;
      const isSmall = words[entry + OP_WORD + 1] === 0;
      if (nr === IRET && isSmall) return index;
      const outcome = isSmall ? call.perform(nr, words, entry + ARGS_WORD) : -errno.ENOSYS;
      if (outcome === MADE_AGAIN) {
        ending = writeLeft(call, index) ? AGAIN : 'EFAULT';
        return index;
      }
      if (cpu.flushes !== flushes) {
        at = placeEntry(call, index);
        flushes = cpu.flushes;
        if (at < 0) {
          ending = 'EFAULT';
          return index;
        }
      }
      storeResult(words, (at >>> 2) + RESULT_WORD, outcome);
      memory.written(at + RESULT, RESULT_SIZE);
      at += size;
      const inPage = at & (PAGE_SIZE - 1);
      if (inPage < size || inPage > PAGE_SIZE - size) at = -1;
    }
    return end;
  },

  /** The nested call may use the struct for its own. */
  each(call, _entry, _registers, index) {
    if (ending !== undefined) return ending;
    const nr = structWords[OP_WORD]! >>> 0;
    const isSmall = structWords[OP_WORD + 1] === 0;
    const outcome = isSmall ? call.perform(nr, structWords, ARGS_WORD) : -errno.ENOSYS;
    if (outcome === MADE_AGAIN) return writeLeft(call, index) ? AGAIN : 'EFAULT';
    storeResult(structWords, RESULT_WORD, outcome);
    if (nr !== IRET || !isSmall) return WRITTEN;
    writePart(call, index, RESULT, ARGS);
    return structView.getBigUint64(RESULT, true);
  },

  end(call) {
    putBackOwn();
    ending = undefined;
    call.isInMulticall = false;
  },
};
