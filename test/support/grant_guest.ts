/** One of several domains on a PvHost that take turns on its core: its pages, its grant table, and grant_table_op as functions. */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { PAGE_SIZE } from '../../emulator/memory/machine_memory.ts';
import { pvCr3 } from '../../emulator/memory/pv_cr3.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import * as abi from '../../hypercalls/abi/grant_table.ts';
import { memory_op, xen_memory_reservation } from '../../hypercalls/abi/memory.ts';
import { mmuext_op_t } from '../../hypercalls/abi/mmu.ts';
import type { AnyStruct } from '../../hypercalls/abi/struct.ts';
import { DOMID_SELF } from '../../hypercalls/abi/xen.ts';
import { dispatch } from '../../hypercalls/dispatch.ts';
import { grantTable } from '../../hypercalls/grant_table/table.ts';
import { PvHost } from './pv_host.ts';

type Values = Readonly<Record<string, unknown>>;

const REGISTERS = [7, 6, 2, 10, 8, 9];
/** Scratch pages: in the first mapping, behind everything that the builder put there. */
const ARGUMENT = 0x200;
const LIST = 0x201;
const FIRST_WINDOW = 0x210;
const FIRST_PAGE = 0x220;

export class GrantGuest {
  readonly machine: PvHost;
  readonly domain: Domain;
  readonly vcpu: Vcpu;
  /** Mfn of each pfn, as built. */
  readonly p2m: number[] = [];
  readonly #virtBase: bigint;
  /** Runs whenever a call has to be made again, before it is. */
  onAgain = (): void => {};

  constructor(machine: PvHost, index: number) {
    this.machine = machine;
    this.domain = machine.domains[index]!;
    this.vcpu = this.domain.vcpus[0]!;
    this.#virtBase = machine.boots[index]!.image.virtBase;
    const { memory } = machine;
    for (let mfn = 0; mfn < memory.frameCount; mfn++) {
      if (memory.owner[mfn] === this.domain.id && memory.getM2p(mfn) < 0x1_0000n) this.p2m[Number(memory.getM2p(mfn))] = mfn;
    }
  }

  get id(): number {
    return this.domain.id;
  }

  get memory() {
    return this.machine.memory;
  }

  /** A page to grant, by number. */
  page(i: number): { readonly mfn: number; readonly vaddr: bigint; readonly bytes: Uint8Array } {
    const mfn = this.p2m[FIRST_PAGE + i]!;
    return { mfn, vaddr: this.vaddrOf(FIRST_PAGE + i), bytes: this.memory.frameBytes(mfn) };
  }

  /** An address where something may be mapped, by number. */
  window(i: number): bigint {
    return this.vaddrOf(FIRST_WINDOW + i);
  }

  vaddrOf(pfn: number): bigint {
    return this.#virtBase + BigInt(pfn) * 4096n;
  }

  /** Its page tables on the core. */
  enter(): void {
    const { cpu, host } = this.machine;
    if (host.current === this.vcpu) return;
    (host as { -readonly [K in keyof Host]: Host[K] }).current = this.vcpu;
    cpu.cr3 = BigInt(pvCr3.of(this.vcpu).kernelMfn) << 12n;
    this.memory.flushTlbs();
  }

  /** A hypercall; RAX as a signed number. */
  call(nr: number, ...args: (number | bigint)[]): number {
    this.enter();
    const { gpr } = this.machine.cpu;
    gpr[0] = BigInt(nr);
    for (const [i, arg] of args.entries()) gpr[REGISTERS[i]!] = BigInt.asUintN(64, BigInt(arg));
    while (dispatch(this.machine.host, this.vcpu) === 'again') this.onAgain();
    return Number(BigInt.asIntN(64, gpr[0]!));
  }

  updateVa(vaddr: bigint, entry: bigint): number {
    return this.call(14, vaddr, entry, 2);
  }

  /** What the guest's kernel may do there. */
  access(vaddr: bigint): 'read' | 'write' | 'no' {
    this.enter();
    const { cpu } = this.machine;
    if (cpu.translate(vaddr, 'write', true).ok) return 'write';
    return cpu.translate(vaddr, 'read', true).ok ? 'read' : 'no';
  }

  /** grant_table_op with an array of structs; its answer, and the structs afterwards. */
  op(
    cmd: number,
    row: AnyStruct,
    elements: readonly Values[],
  ): { readonly answer: number; readonly results: readonly Record<string, never>[] } {
    const base = this.p2m[ARGUMENT]! * PAGE_SIZE;
    const { view, bytes } = this.memory;
    bytes.fill(0, base, base + row.size * elements.length);
    for (const [i, element] of elements.entries()) {
      for (const { name, type, offset } of row.fields) {
        if (element[name] !== undefined) type.write(view, base + i * row.size + offset, element[name]);
      }
    }
    const answer = this.call(20, cmd, this.vaddrOf(ARGUMENT), elements.length);
    const results = elements.map((_, i) => row.read(view, base + i * row.size) as Record<string, never>);
    return { answer, results };
  }

  /** One struct: its status, or an errno as `{ errno }` would be told: the answer itself when that is not 0. */
  status(cmd: number, row: AnyStruct, values: Values): number | string {
    const { answer, results } = this.op(cmd, row, [values]);
    return answer === 0 ? results[0]!.status! : `answer ${answer}`;
  }

  /** Fills an entry of its table, version 1 or (a full page) version 2. */
  grant(ref: number, domid: number, mfn: number, flags = abi.GTF_permit_access): void {
    const table = grantTable(this.machine.host, this.domain);
    const row = table.version === 1 ? abi.grant_entry_v1 : abi.grant_entry_v2_full_page;
    const frame = table.version === 1 ? mfn : BigInt(mfn);
    (row as AnyStruct).write(this.memory.view, table.entry(ref), { flags, domid, frame });
  }

  subPage(ref: number, domid: number, mfn: number, page_off: number, length: number): void {
    const flags = abi.GTF_permit_access | abi.GTF_sub_page;
    abi.grant_entry_v2_sub_page.write(this.memory.view, this.entry(ref), { flags, domid, page_off, length, frame: BigInt(mfn) });
  }

  transitive(ref: number, domid: number, trans_domid: number, gref: number): void {
    abi.grant_entry_v2_transitive.write(this.memory.view, this.entry(ref), { flags: abi.GTF_transitive, domid, trans_domid, gref });
  }

  entry(ref: number): number {
    return grantTable(this.machine.host, this.domain).entry(ref);
  }

  flags(ref: number): number {
    return this.memory.view.getUint16(this.entry(ref), true);
  }

  map(
    dom: number,
    ref: number,
    host_addr: bigint,
    flags: number,
  ): { readonly status: number; readonly handle: number; readonly bus: bigint } {
    const [result] = this.op(0, abi.gnttab_map_grant_ref, [{ dom, ref, host_addr, flags }]).results;
    const { status, handle, dev_bus_addr } = result as unknown as { status: number; handle: number; dev_bus_addr: bigint };
    return { status, handle, bus: dev_bus_addr };
  }

  unmap(handle: number, host_addr: bigint, dev_bus_addr = 0n): number | string {
    return this.status(1, abi.gnttab_unmap_grant_ref, { handle, host_addr, dev_bus_addr });
  }

  setVersion(version: number): number {
    return this.op(8, abi.gnttab_set_version, [{ version }]).answer;
  }

  setupTable(nr_frames: number, dom = DOMID_SELF): number | string {
    return this.status(2, abi.gnttab_setup_table, { dom, nr_frames, frame_list: this.vaddrOf(LIST) });
  }

  copy(source: Values, dest: Values, len: number, flags: number): number | string {
    return this.status(5, abi.gnttab_copy, { source: place(source), dest: place(dest), len, flags });
  }

  decreaseReservation(mfn: number): number {
    return this.#changeReservation(memory_op.body.decrease_reservation.cmd, BigInt(mfn));
  }

  /** A new page for a pfn, mapped where the builder had the old one; false: there is none to be had. */
  populatePhysmap(pfn: number): boolean {
    if (this.#changeReservation(memory_op.body.populate_physmap.cmd, BigInt(pfn)) !== 1) return false;
    const mfn = this.memory.view.getBigUint64(this.p2m[LIST]! * PAGE_SIZE, true);
    this.p2m[pfn] = Number(mfn);
    this.updateVa(this.vaddrOf(pfn), (mfn << 12n) | 7n);
    return true;
  }

  #changeReservation(cmd: number, frame: bigint): number {
    this.memory.view.setBigUint64(this.p2m[LIST]! * PAGE_SIZE, frame, true);
    xen_memory_reservation.write(this.memory.view, this.p2m[ARGUMENT]! * PAGE_SIZE, {
      extent_start: this.vaddrOf(LIST),
      nr_extents: 1n,
      extent_order: 0,
      mem_flags: 0,
      domid: DOMID_SELF,
    });
    return this.call(12, cmd, this.vaddrOf(ARGUMENT));
  }

  mmuext(cmd: number, mfn: number): number {
    mmuext_op_t.write(this.memory.view, this.p2m[ARGUMENT]! * PAGE_SIZE, { cmd, arg1: BigInt(mfn), arg2: 0n });
    return this.call(26, this.vaddrOf(ARGUMENT), 1, 0, DOMID_SELF);
  }
}

const place = (values: Values) => ({ u: 0n, domid: DOMID_SELF, offset: 0, ...values });

/** The domains of a machine. */
export function makeGuests(count: number, isInitial = false): GrantGuest[] {
  const machine = new PvHost({ others: count - 1, memoryPages: 1100, isInitial });
  return machine.domains.map((_, i) => new GrantGuest(machine, i));
}
