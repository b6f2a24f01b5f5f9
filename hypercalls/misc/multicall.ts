/** multicall: several calls, one after the other; each one's RAX goes into its entry (xen:common/multicall.c). */
import { errno } from '../abi/errno.ts';
import { AGAIN } from '../abi/hypercall.ts';
import { type multicall, multicall_entry } from '../abi/xen_calls.ts';
import { type Call, MADE_AGAIN, type Outcome, registerWords, structView, structWords } from '../call.ts';
import { writeStruct } from '../guest_memory.ts';
import { type HandlerOf, WRITTEN } from '../implement.ts';

/** iret replaces the registers, and so ends the multicall. */
const IRET = 23;
const { size, offset } = multicall_entry;
const OP = offset.op >> 2;
const RESULT = offset.result >> 2;
const ARGS = offset.args >> 2;

function storeResult(outcome: Exclude<Outcome, undefined>): void {
  if (typeof outcome === 'number' && outcome === (outcome | 0)) {
    structWords[RESULT] = outcome;
    structWords[RESULT + 1] = outcome >> 31;
  } else {
    structView.setBigInt64(offset.result, BigInt.asIntN(64, BigInt(outcome)), true);
  }
}

/** Copies a part of entry `index` of the call's list to the guest. */
const writePart = (call: Call, index: number, start: number, end: number): boolean =>
  writeStruct(call.host, registerWords[0]!, registerWords[1]!, index * size, start, end);

/** Works in the entry's words as they are: a nested call may use the struct for its own. */
export const performMulticall: HandlerOf<typeof multicall.params, typeof multicall.body> = {
  begin(call) {
    if (call.isInMulticall) return 'EINVAL';
    call.isInMulticall = true;
  },

  each(call, _entry, _registers, index) {
    const nr = structWords[OP]!;
    if (structWords[OP + 1] !== 0) {
      storeResult(-errno.ENOSYS);
      return WRITTEN;
    }
    const outcome = call.perform(nr >>> 0, structWords, ARGS);
    if (outcome === MADE_AGAIN) return writePart(call, index, offset.args, size) ? AGAIN : 'EFAULT';
    storeResult(outcome);
    if (nr !== IRET) return WRITTEN;
    writePart(call, index, offset.result, offset.args);
    return structView.getBigUint64(offset.result, true);
  },

  end(call) {
    call.isInMulticall = false;
  },
};
