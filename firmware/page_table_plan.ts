/**
 * Which page tables a set of mappings needs, in which frames, and their entries. Tables take consecutive pfns, the L4
 * first: by level downwards in a domU (libxenguest), each L1 before the tables that name it in the initial domain (Xen).
 */
import { PAGE_SIZE } from '../emulator/memory/machine_memory.ts';
export interface Mapping {
  readonly vaddr: bigint;
  readonly pages: number;
  /** Of the first page. */
  pfn: number;
}

export interface TableFrame {
  readonly level: 1 | 2 | 3 | 4;
  /** Which table of its level: its vaddr divided by what one table covers. */
  readonly index: number;
  readonly pfn: number;
}

/** Bytes that one table of the level covers. */
const COVERS = [0, 2 ** 21, 2 ** 30, 2 ** 39, 2 ** 48] as const;

export class PageTablePlan {
  readonly order: 'domU' | 'initial';
  readonly frames: TableFrame[] = [];
  private readonly byPlace = new Map<string, TableFrame>();
  private readonly mappings: Mapping[] = [];

  constructor(order: 'domU' | 'initial') {
    this.order = order;
  }

  /** Adds a mapping; the tables that it needs on top take the pfns from `pfn` on. */
  add(mapping: Mapping, pfn: number): void {
    this.mappings.push(mapping);
    const first = Number(mapping.vaddr & 0xffff_ffff_ffffn);
    const last = first + mapping.pages * PAGE_SIZE - 1;
    let next = pfn;
    const need = (level: 1 | 2 | 3 | 4, vaddr: number) => {
      const index = Math.floor(vaddr / COVERS[level]);
      const place = `${level}:${index}`;
      if (this.byPlace.has(place)) return;
      const frame: TableFrame = { level, index, pfn: next++ };
      this.byPlace.set(place, frame);
      this.frames.push(frame);
    };
    const each = (level: 1 | 2 | 3 | 4, visit: (vaddr: number) => void) => {
      for (let vaddr = first - (first % COVERS[level]); vaddr <= last; vaddr += COVERS[level]) visit(vaddr);
    };
    need(4, first);
    if (this.order === 'domU') {
      for (const level of [3, 2, 1] as const) each(level, (vaddr) => need(level, vaddr));
    } else {
      each(1, (vaddr) => {
        for (const level of [1, 2, 3] as const) need(level, vaddr);
      });
    }
  }

  /** Every entry of every table: in the table at `tablePfn`, slot `slot` names `pfn`. */
  forEachEntry(visit: (tablePfn: number, slot: number, pfn: number, level: 1 | 2 | 3 | 4) => void): void {
    for (const { level, index, pfn } of this.frames) {
      if (level === 4) continue;
      const parent = this.byPlace.get(`${level + 1}:${Math.floor(index / 512)}`)!;
      visit(parent.pfn, index % 512, pfn, parent.level);
    }
    for (const mapping of this.mappings) {
      const first = Number(mapping.vaddr & 0xffff_ffff_ffffn) / PAGE_SIZE;
      for (let i = 0; i < mapping.pages; i++) {
        const table = this.byPlace.get(`1:${Math.floor((first + i) / 512)}`)!;
        visit(table.pfn, (first + i) % 512, mapping.pfn + i, 1);
      }
    }
  }
}
