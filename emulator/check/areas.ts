/** The areas that a guest lets ring -1 write (vcpu_info, runstate, time): they shall be apart from each other and from its page tables. */
import { vcpu_register_vcpu_info, vcpu_runstate_info } from '../../hypercalls/abi/vcpu.ts';
import { vcpu_info, vcpu_time_info } from '../../hypercalls/abi/xen.ts';
import type { CallRecord } from '../../hypercalls/call.ts';
import type { Host } from '../host.ts';
import { PAGE_SIZE } from '../memory/machine_memory.ts';
import { PGT_l1_page_table, PGT_l4_page_table, PGT_seg_desc_page } from '../memory/page_type.ts';
import type { Vcpu } from '../vcpu.ts';
import { maddrOf } from './peek.ts';

/** By operation: what it registers, and how many bytes that has. */
const KINDS: Readonly<Record<string, readonly [name: string, size: number]>> = {
  'vcpu_op.register_vcpu_info': ['vcpu_info', vcpu_info.size],
  'vcpu_op.register_runstate_memory_area': ['runstate area', vcpu_runstate_info.size],
  'vcpu_op.register_vcpu_time_memory_area': ['time area', vcpu_time_info.size],
};

interface Area {
  readonly name: string;
  /** `[start, end)` in machine memory; more than one when it crosses a page. */
  readonly pieces: readonly (readonly [start: number, end: number])[];
}

export class Areas {
  readonly #areas = new Map<string, Area>();

  /** After operation `op` of vcpu_op succeeded: what is wrong with the area. */
  registered(host: Host, vcpu: Vcpu, record: CallRecord, op: string): string[] {
    const kind = KINDS[op];
    if (kind === undefined) return [];
    const [what, size] = kind;
    const name = `the ${what} of vCPU ${record.words[2]!}`;
    const pieces =
      op === 'vcpu_op.register_vcpu_info' ? piecesOfInfo(record, size) : piecesOf(host, record.view.getBigUint64(0, true), size);
    // Address 0 takes the area back.
    if (op !== 'vcpu_op.register_vcpu_info' && record.view.getBigUint64(0, true) === 0n) {
      this.#areas.delete(name);
      return [];
    }
    const area = { name, pieces };
    const mistakes = [...this.#areas.values()]
      .filter((other) => other.name !== name && overlap(area, other))
      .map((other) => `${name} overlaps ${other.name}`);
    if (pieces.length === 0) mistakes.push(`${name} is where nothing is mapped`);
    const mfns = new Set(pieces.map(([start]) => Math.floor(start / PAGE_SIZE)));
    for (const mfn of mfns) {
      const type = host.memory.typeCount[mfn]! > 0 ? host.memory.type[mfn]! : 0;
      if (mfn === vcpu.domain.sharedInfoMfn) mistakes.push(`${name} overlaps shared_info`);
      if (type >= PGT_l1_page_table && type <= PGT_l4_page_table) mistakes.push(`${name} lies in a page table`);
      if (type === PGT_seg_desc_page) mistakes.push(`${name} lies in a descriptor table`);
    }
    this.#areas.set(name, area);
    return mistakes;
  }
}

function piecesOfInfo(record: CallRecord, size: number): Area['pieces'] {
  const { mfn, offset } = vcpu_register_vcpu_info.read(record.view, 0);
  const start = Number(mfn) * PAGE_SIZE + offset;
  return [[start, start + size]];
}

function piecesOf(host: Host, vaddr: bigint, size: number): Area['pieces'] {
  const pieces: [number, number][] = [];
  for (let done = 0; done < size; ) {
    const start = maddrOf(host, vaddr + BigInt(done));
    const inPage = Number((vaddr + BigInt(done)) & 0xfffn);
    const length = Math.min(size - done, PAGE_SIZE - inPage);
    if (start >= 0) pieces.push([start, start + length]);
    done += length;
  }
  return pieces;
}

const overlap = (one: Area, other: Area): boolean =>
  one.pieces.some(([start, end]) => other.pieces.some(([otherStart, otherEnd]) => start < otherEnd && otherStart < end));
