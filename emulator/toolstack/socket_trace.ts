/** A host's timeline on its way through the control socket, piece by piece; one who does not read it loses the rest of it. */
import type { Machine } from '../machine.ts';
import { type Recording, startRecording } from '../timeline/recording.ts';

/** As much may wait for the reader. */
const MAX_UNREAD = 64 * 1024 * 1024;
const PIECE_SIZE = 64 * 1024;

export type TraceMessage = { readonly trace: string } | { readonly end: true; readonly lost: boolean };

export interface TraceReceiver {
  send(message: TraceMessage): void;
  /** Bytes that were sent and not yet read. */
  readonly unread: number;
}

/** For so many seconds of virtual time, or until it is stopped. */
export function sendTrace(machine: Machine, seconds: number | null, to: TraceReceiver): Recording {
  let text = '';
  let isLost = false;
  let flushing: NodeJS.Immediate | undefined;
  const flush = (): void => {
    clearImmediate(flushing);
    flushing = undefined;
    if (text !== '') to.send({ trace: text });
    text = '';
  };
  const recording = startRecording(machine, {
    ...(seconds !== null && { duration: seconds * 1e9 }),
    write(piece) {
      if (isLost) return;
      text += piece;
      if (text.length >= PIECE_SIZE) flush();
      else flushing ??= setImmediate(flush);
      isLost = to.unread > MAX_UNREAD;
      // Not here: ring -1 is in the middle of what is recorded.
      if (isLost) setImmediate(() => recording?.stop());
    },
    ended() {
      flush();
      to.send({ end: true, lost: isLost });
    },
  });
  if (recording !== undefined) return recording;
  to.send({ end: true, lost: true });
  return { stop() {} };
}
