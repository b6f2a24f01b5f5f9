/** What the checker found: each mistake once, with the place in the guest's code and how often it was made there. */
import type { Symbols } from './symbols.ts';

interface Finding {
  readonly rip: bigint;
  readonly what: string;
  count: number;
}

export class Findings {
  readonly #findings = new Map<string, Finding>();

  get count(): number {
    return this.#findings.size;
  }

  add(rip: bigint, what: string, count = 1): void {
    const key = `${rip} ${what}`;
    const known = this.#findings.get(key);
    if (known) known.count += count;
    else this.#findings.set(key, { rip, what, count });
  }

  /** `check: 0xffffffff80101234 main+0x34: what (3 times)`, in the order in which they were made; a summary is the last line. */
  report(symbols: Symbols): string {
    const lines = [...this.#findings.values()].map(({ rip, what, count }) => {
      const name = symbols.nameOf(rip);
      return `check: 0x${rip.toString(16)}${name === undefined ? '' : ` ${name}`}: ${what}${count > 1 ? ` (${count} times)` : ''}`;
    });
    const total = lines.length === 0 ? 'nothing found' : `${lines.length} ${lines.length === 1 ? 'mistake' : 'mistakes'} found`;
    return `${[...lines, `check: ${total}`].join('\n')}\n`;
  }
}
