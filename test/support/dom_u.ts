/** A domU on the fake host, as xl makes one, and tables of what its calls answer. */
import type { Test } from 'tap';
import { type ErrnoName, errno } from '../../hypercalls/abi/errno.ts';
import { connectToHost } from '../../hypercalls/event_channel/ports.ts';
import { FakeHost } from './fake_host.ts';

export const name = (result: number): string | number => Object.entries(errno).find(([, value]) => value === -result)?.[0] ?? result;
export const MS = 1_000_000n;

/** Console and xenstore ports as xl makes them: 1 and 2. */
export function makeDomU(options = {}): FakeHost & { heard: number[] } {
  const guest = Object.assign(new FakeHost(options), { heard: [] as number[] });
  for (let i = 0; i < 2; i++) {
    const channel = connectToHost(guest.host, guest.domain, () => guest.heard.push(channel!.port));
  }
  return guest;
}

export type Row = readonly [claim: string, nr: number, args: readonly (number | bigint)[], answer: ErrnoName | number];

export function check(t: Test, guest: FakeHost, rows: readonly Row[]): void {
  for (const [claim, nr, args, answer] of rows) t.equal(name(guest.call(nr, ...args)), answer, claim);
}
