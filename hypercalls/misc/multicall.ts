/** multicall: several calls, one after the other; each one's RAX goes into its entry (xen:common/multicall.c). */
import { errno } from '../abi/errno.ts';
import { AGAIN } from '../abi/hypercall.ts';
import { type multicall, multicall_entry } from '../abi/xen_calls.ts';
import { type Call, copyWords, left, MADE_AGAIN, type Outcome, registerWords, structView, structWords } from '../call.ts';
import { placeStruct, writeStruct } from '../guest_memory.ts';
import { type HandlerOf, WRITTEN } from '../implement.ts';

/** iret replaces the registers, and so ends the multicall. */
const IRET = 23;
const { size, offset } = multicall_entry;
const RESULT_SIZE = offset.args - offset.result;

function storeResult(view: DataView, at: number, outcome: Exclude<Outcome, undefined>): void {
  if (typeof outcome === 'number' && outcome === (outcome | 0)) {
    view.setInt32(at, outcome, true);
    view.setInt32(at + 4, outcome >> 31, true);
  } else {
    view.setBigInt64(at, BigInt.asIntN(64, BigInt(outcome)), true);
  }
}

/** By the lower half; of one with an upper half `each` knows. */
const mayBeIret = (view: DataView, at: number): boolean => view.getUint32(at + offset.op, true) === IRET;

/** The call that the entry at `at` asks for. */
function perform(call: Call, view: DataView, at: number): Outcome {
  if (view.getInt32(at + offset.op + 4, true) !== 0) return -errno.ENOSYS;
  return call.perform(view.getUint32(at + offset.op, true), view, at + offset.args);
}

/** Copies a part of entry `index`, which is in the struct, to the guest. */
const writePart = (call: Call, index: number, start: number, end: number): boolean =>
  writeStruct(call.host, registerWords[0]!, registerWords[1]!, index * size, start, end);

/** The entry asks for what is left to do. */
function writeLeft(call: Call, index: number): typeof AGAIN | 'EFAULT' {
  copyWords(structWords, offset.args / 4, left.words, 0, 2 * left.count);
  return writePart(call, index, offset.args, offset.args + 8 * left.count) ? AGAIN : 'EFAULT';
}

export const performMulticall: HandlerOf<typeof multicall.params, typeof multicall.body> = {
  begin(call) {
    if (call.isInMulticall) return 'EINVAL';
    call.isInMulticall = true;
  },

  /** Most entries are performed where they lie. */
  inPlace(call, index) {
    const { host } = call;
    const { view } = host.memory;
    const at = placeStruct(host, registerWords[0]!, registerWords[1]!, index * size, size);
    if (at < 0 || mayBeIret(view, at)) return false;
    const outcome = perform(call, view, at);
    if (outcome === MADE_AGAIN) return writeLeft(call, index);
    // The call may have changed what lies there.
    const result = placeStruct(host, registerWords[0]!, registerWords[1]!, index * size + offset.result, RESULT_SIZE);
    if (result < 0) return 'EFAULT';
    storeResult(view, result, outcome);
    host.memory.written(result, RESULT_SIZE);
    return true;
  },

  /** The nested call may use the struct for its own. */
  each(call, _entry, _registers, index) {
    const isIret = mayBeIret(structView, 0) && structView.getUint32(offset.op + 4, true) === 0;
    const outcome = perform(call, structView, 0);
    if (outcome === MADE_AGAIN) return writeLeft(call, index);
    storeResult(structView, offset.result, outcome);
    if (!isIret) return WRITTEN;
    writePart(call, index, offset.result, offset.args);
    return structView.getBigUint64(offset.result, true);
  },

  end(call) {
    call.isInMulticall = false;
  },
};
