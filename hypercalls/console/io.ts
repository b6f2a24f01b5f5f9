/** console_io: Xen's emergency console. The initial domain's only one; for others only in a verbose debug build of Xen. */

import { AGAIN } from '../abi/hypercall.ts';
import { console_io } from '../abi/xen_calls.ts';
import { copyFromGuest, copyToGuest } from '../guest_memory.ts';
import { implement } from '../implement.ts';

/** Bytes that are printed before others get their turn, and at a time. */
const SLICE = 4096;
const CHUNK = 128;
/** What Xen's serial line holds of unread keys. */
const CONSOLE_RING_SIZE = 128;
const INT_MAX = 0x7fff_ffff;

const consoleIo = implement(
  console_io,
  {
    write(call, { count, buffer }) {
      const size = Math.min(count, SLICE);
      for (let done = 0; done < size; done += CHUNK) {
        const bytes = new Uint8Array(Math.min(size - done, CHUNK));
        if (!copyFromGuest(call.host, BigInt.asUintN(64, buffer + BigInt(done)), bytes)) return 'EFAULT';
        call.host.consoleWrite(call.domain, bytes);
      }
      if (size === count) return;
      call.args[1] = BigInt(count - size);
      call.args[2] = BigInt.asUintN(64, buffer + BigInt(size));
      return AGAIN;
    },

    read(call, { count, buffer }) {
      if (count > INT_MAX) return 'E2BIG';
      const bytes = call.host.consoleRead(call.domain, Math.min(count, CONSOLE_RING_SIZE));
      return copyToGuest(call.host, buffer, bytes) ? bytes.length : 'EFAULT';
    },
  },
  (call) => {
    if (call.domain.isInitial || (call.host.verboseDebug && Number(call.args[0]! & 0xffff_ffffn) === 0)) return undefined;
    call.host.consoleRefused?.(call.domain);
    return 'EPERM';
  },
);

export const consoleFamily = [consoleIo];
