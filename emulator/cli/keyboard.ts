/**
 * Keys for the guest from stdin: raw on a terminal, where Ctrl-] leaves, and as they come from a pipe or file.
 */
const LEAVE = 0x1d; // Ctrl-]
const DEADLY = ['SIGTERM', 'SIGHUP', 'SIGINT'] as const;

export interface Keyboard {
  /** Nothing will ever be typed again. */
  readonly isOver: boolean;
  /** Ctrl-] was typed. */
  readonly wantsToLeave: boolean;
  /** Resolves with the next key, the end of the input, or after `ms` (undefined: not by time). */
  wait(ms: number | undefined): Promise<void>;
  close(): void;
}

/** `type` gets the bytes as they arrive. */
export function openKeyboard(type: (bytes: Uint8Array) => void): Keyboard {
  const { stdin } = process;
  const isTerminal = stdin.isTTY === true;
  let isOver = false;
  let wantsToLeave = false;
  let wake: (() => void) | undefined;

  const onEnd = (): void => {
    isOver = true;
    wake?.();
  };
  const onData = (bytes: Uint8Array): void => {
    const leaveAt = isTerminal ? bytes.indexOf(LEAVE) : -1;
    if (leaveAt >= 0) wantsToLeave = true;
    const keys = leaveAt >= 0 ? bytes.subarray(0, leaveAt) : bytes;
    if (keys.length > 0) type(keys);
    wake?.();
  };
  const close = (): void => {
    for (const signal of DEADLY) process.off(signal, onSignal);
    if (isTerminal) stdin.setRawMode(false);
    stdin.destroy();
  };
  // A killed process leaves the terminal as it was, too.
  const onSignal = (signal: NodeJS.Signals): void => {
    close();
    process.kill(process.pid, signal);
  };
  if (isTerminal) {
    stdin.setRawMode(true);
    for (const signal of DEADLY) process.on(signal, onSignal);
  }
  stdin.on('data', onData);
  stdin.on('end', onEnd);
  stdin.on('error', onEnd);

  return {
    get isOver() {
      return isOver;
    },
    get wantsToLeave() {
      return wantsToLeave;
    },
    wait(ms) {
      return new Promise((resolve) => {
        const timer = ms === undefined ? undefined : setTimeout(done, ms);
        function done(): void {
          clearTimeout(timer);
          wake = undefined;
          resolve();
        }
        wake = done;
      });
    },
    close,
  };
}

/** All of a piped stdin at once, so that a deterministic run does not depend on when it comes; a terminal gives nothing. */
export async function readWholeInput(): Promise<Uint8Array> {
  if (process.stdin.isTTY) return new Uint8Array(0);
  const chunks: Uint8Array[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks);
}
