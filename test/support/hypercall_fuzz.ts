/**
 * Hostile hypercalls of two domains at once, from a seed: any call of the ABI table with registers and structs that have
 * broken hypervisors. After each thousand the books must add up: frames, types, grants, ports. A round is one machine.
 */
import type { Domain } from '../../emulator/domain.ts';
import type { Host } from '../../emulator/host.ts';
import { checkInvariants } from '../../emulator/memory/invariants.ts';
import { PGT_none, PGT_writable_page } from '../../emulator/memory/page_type.ts';
import { pvCr3 } from '../../emulator/memory/pv_cr3.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { type ErrnoName, errno } from '../../hypercalls/abi/errno.ts';
import { type AnyOp, type Hypercall, hasOps, type Refused } from '../../hypercalls/abi/hypercall.ts';
import { UVMF_INVLPG } from '../../hypercalls/abi/mmu.ts';
import { type AnyStruct, isStruct } from '../../hypercalls/abi/struct.ts';
import { isArgumentPointer, isPointer, type Type } from '../../hypercalls/abi/types.ts';
import { implementations } from '../../hypercalls/all.ts';
import { dispatch } from '../../hypercalls/dispatch.ts';
import { connectToHost, portsOf, virqPorts } from '../../hypercalls/event_channel/ports.ts';
import { checkGrants } from '../../hypercalls/grant_table/check.ts';
import { recentHypercalls } from '../../hypercalls/trace.ts';
import { hypercalls } from './abi_table.ts';
import { ARG, DATA, DOMID_SELF, FakeHost, IN_XEN, LIST, UNMAPPED } from './fake_host.ts';
import { makeRandom } from './vectors.ts';

export const opsOf = ({ body }: Hypercall): readonly (AnyOp | Refused)[] =>
  hasOps(body) ? Object.values(body) : [body as AnyOp | Refused];

interface CallRow {
  readonly row: Hypercall;
  readonly op: AnyOp | Refused;
}

/** Not iret, which leaves; and a domain that ends itself makes no more calls. */
const LEAVING = new Map([
  ['iret', [-1]],
  ['sched_op', [2, 4]],
  ['sched_op_compat', [2]],
  ['vcpu_op', [2]],
]);
const isLeaving = ({ row, op }: CallRow): boolean => LEAVING.get(row.name)?.includes(op.cmd) ?? false;
const calls: readonly CallRow[] = hypercalls
  .filter(({ nr }) => implementations[nr] !== undefined)
  .flatMap((row) => opsOf(row).map((op) => ({ row, op })))
  .filter((call) => !isLeaving(call));

/** Slices of a long call before the guest gives up. */
const SLICES = 4;
const CHECK_EVERY = 1000;
const MEND_EVERY = 20;
const UPDATE_VA_MAPPING = 14;
const RESET = 10;
const CALLS_PER_ROUND = 20_000;
const REGISTERS = [7, 6, 2, 10, 8, 9];
/** Scratch pages that calls name by frame. */
const FIRST_PAGE = 0x220;
const PAGES = 12;

const NUMBERS = [0n, 1n, 2n, 3n, 4n, 5n, 7n, 8n, 9n, 16n, 31n, 63n, 64n, 65n, 129n, 511n, 512n, 1023n, 4095n, 4096n];
const DOMIDS = [BigInt(DOMID_SELF), BigInt(DOMID_SELF), BigInt(DOMID_SELF), 0n, 1n, 2n, 0x7ff1n, 0x7ff2n, 999n];
const LARGE = [0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 1n << 32n, 1n << 40n, (1n << 52n) - 1n, 1n << 62n, 1n << 63n, (1n << 64n) - 1n];
const WILD = [UNMAPPED, IN_XEN, 0xffff_87ff_ffff_ffffn, 0x7fff_ffff_fff8n, 0x8000_0000_0000n, 0xffff_8800_0000_0000n];
const PTE_FLAGS = [0n, 1n, 5n, 7n, 0x67n, 0x8000_0000_0000_0007n];

/** One of the domains, as it takes its turn on the core. */
interface Guest {
  readonly domain: Domain;
  readonly vcpu: Vcpu;
  readonly virtBase: bigint;
  /** By pfn. */
  readonly p2m: readonly number[];
}

/** Whether the row of the call says that it may answer so. */
function isDeclared({ row, op }: CallRow, result: bigint): boolean {
  // A debug register holds what the guest put there, be it like an errno.
  const isValue = op.kind === 'op' && op.returns === 'value' && (op.errnos.length === 0 || row.name === 'get_debugreg');
  if (result >= 0n || isValue || row.name === 'multicall') return true;
  const allowed: ErrnoName[] = ['EFAULT', 'ENOSYS', ...row.before, ...(op.kind === 'refused' ? [op.errno] : op.errnos)];
  return allowed.some((name) => BigInt(-errno[name]) === result);
}

/** No port is in two states, and both ends of a channel agree. */
function checkPorts(host: Host): string | undefined {
  const isPeer = (domain: Domain, number: number, remote: Domain, remotePort: number): boolean => {
    const other = portsOf.of(remote).get(remotePort)?.binding;
    return other?.kind === 'interdomain' && other.remote === domain && other.remotePort === number;
  };
  for (const domain of host.domains.values()) {
    for (const { number, binding, notifyVcpu } of portsOf.of(domain)) {
      if (binding.kind === 'interdomain' && !isPeer(domain, number, binding.remote, binding.remotePort))
        return `port ${number}: its peer disagrees`;
      if (binding.kind === 'virq' && virqPorts.of(domain.vcpus[notifyVcpu]!)[binding.virq] !== number && number !== 0)
        return `port ${number}: its VIRQ is not`;
    }
    for (const vcpu of domain.vcpus) {
      for (const [virq, number] of virqPorts.of(vcpu).entries()) {
        const binding = number === 0 ? undefined : portsOf.of(domain).get(number)?.binding;
        if (number !== 0 && (binding?.kind !== 'virq' || binding.virq !== virq)) return `VIRQ ${virq}: its port ${number} is not`;
      }
    }
  }
  return undefined;
}

class Round {
  readonly #random: () => number;
  readonly #machine: FakeHost;
  readonly #guests: readonly Guest[];

  constructor(random: () => number) {
    this.#random = random;
    const machine = new FakeHost({ others: 1 });
    this.#machine = machine;
    this.#guests = machine.domains.map((domain, i) => {
      const p2m: number[] = [];
      for (let mfn = 0; mfn < machine.memory.frameCount; mfn++) {
        const pfn = machine.memory.getM2p(mfn);
        if (machine.memory.owner[mfn] === domain.id && pfn < 0x1_0000n) p2m[Number(pfn)] = mfn;
      }
      domain.maxPages += 16;
      for (let port = 0; port < 2; port++) connectToHost(machine.host, domain, () => {});
      return { domain, vcpu: domain.vcpus[0]!, virtBase: machine.boots[i]!.image.virtBase, p2m };
    });
  }

  /** So many calls, fewer if a domain ends before. */
  run(count: number): Fuzzed {
    for (let calls = 1; ; calls++) {
      const guest = this.#guests[this.#random() % 2]!;
      if (calls % MEND_EVERY === 0) this.#mend(guest);
      const undeclared = this.#step(guest);
      if (undeclared !== undefined) return { calls, wrong: `${undeclared}: ${recentHypercalls(guest.vcpu).at(-1)}` };
      const isOver = calls === count || this.#guests.some(({ domain }) => domain.shutdownReason !== undefined);
      if (!isOver && calls % CHECK_EVERY !== 0) continue;
      this.#machine.advance(1_000_000n);
      const wrong = this.#check(guest);
      if (wrong !== undefined || isOver) return { calls, wrong };
    }
  }

  /** Its argument pages are where they were, so that calls can be understood again. */
  #mend(guest: Guest): void {
    this.#enter(guest);
    const { cpu, host } = this.#machine;
    for (const pfn of [ARG, LIST]) {
      cpu.gpr[0] = BigInt(UPDATE_VA_MAPPING);
      const entry = (BigInt(guest.p2m[pfn]!) << 12n) | 7n;
      for (const [i, value] of [this.#vaddr(guest, pfn), entry, UVMF_INVLPG].entries()) cpu.gpr[REGISTERS[i]!] = value;
      dispatch(host, guest.vcpu);
    }
  }

  #check(guest: Guest): string | undefined {
    const { memory, host } = this.#machine;
    const wrong = checkInvariants(memory) ?? checkGrants(host) ?? checkPorts(host);
    return wrong === undefined ? undefined : `${wrong}, in the thousand before ${recentHypercalls(guest.vcpu).at(-1)}`;
  }

  #step(guest: Guest): string | undefined {
    const { host, cpu } = this.#machine;
    const call = this.#pickCall();
    const { row, op } = call;
    this.#enter(guest);
    const isPointed = this.#random() % 8 !== 0;
    const { gpr } = cpu;
    gpr[0] = BigInt(row.nr);
    Object.entries(row.params).forEach(([name, type], i) => {
      if (name === 'cmd') gpr[REGISTERS[i]!] = BigInt(op.cmd);
      else if (isArgumentPointer(type) && isPointed) gpr[REGISTERS[i]!] = this.#vaddr(guest, ARG);
      else if (op.kind === 'op' && op.count === name && isPointed) gpr[REGISTERS[i]!] = BigInt(this.#random() % 4);
      else gpr[REGISTERS[i]!] = BigInt.asUintN(64, this.#likely(guest, name, type));
    });
    this.#fillPages(guest, op);
    for (let slice = 0; slice < SLICES; slice++) {
      if (dispatch(host, guest.vcpu) === 'again') continue;
      const result = BigInt.asIntN(64, gpr[0]!);
      return isDeclared(call, result) ? undefined : `undeclared ${result}`;
    }
    return undefined;
  }

  /** Any; a reset, after which there are no ports, is rarer. */
  #pickCall(): CallRow {
    const call = this.#pick(calls);
    return call.row.name === 'event_channel_op' && call.op.cmd === RESET && this.#random() % 16 !== 0 ? this.#pickCall() : call;
  }

  /** Its page tables on the core; nobody sleeps for long. */
  #enter({ vcpu }: Guest): void {
    const { host, cpu, memory } = this.#machine;
    vcpu.isBlocked = false;
    if (host.current === vcpu) return;
    (host as { -readonly [K in keyof Host]: Host[K] }).current = vcpu;
    cpu.cr3 = BigInt(pvCr3.of(vcpu).kernelMfn) << 12n;
    memory.flushTlbs();
  }

  /** The op's structs, and a list of frames or page numbers. */
  #fillPages(guest: Guest, op: AnyOp | Refused): void {
    const { view } = this.#machine.memory;
    const list = this.#writable(guest, LIST);
    const areFrames = this.#random() % 2 === 0;
    for (let i = 0; list >= 0 && i < 4; i++) view.setBigUint64(list + i * 8, areFrames ? this.#frame(guest) : BigInt(this.#page()), true);
    const base = this.#writable(guest, ARG);
    const struct: AnyStruct | null = op.kind === 'op' ? (op.arg ?? op.follows ?? null) : null;
    if (base < 0) return;
    if (struct === null) for (let word = 0; word < 8; word++) view.setBigUint64(base + word * 8, this.#word(guest), true);
    else for (let i = 0; i < 3; i++) this.#fillStruct(guest, struct, base + i * struct.size);
  }

  /** Machine address of a page that is still an ordinary one of the guest's; -1: it is not. */
  #writable(guest: Guest, pfn: number): number {
    const { memory } = this.#machine;
    const mfn = guest.p2m[pfn]!;
    const type = memory.typeOf(mfn);
    if (memory.owner[mfn] !== guest.domain.id || (type !== PGT_none && type !== PGT_writable_page)) return -1;
    memory.written(mfn * 4096, 4096);
    return mfn * 4096;
  }

  #fillStruct(guest: Guest, struct: AnyStruct, base: number): void {
    const { view } = this.#machine.memory;
    for (const { name, type, offset } of struct.fields) {
      const at = base + offset;
      if (isStruct(type)) {
        this.#fillStruct(guest, type, at);
        continue;
      }
      const value = this.#likely(guest, name, type);
      if (type.size === 8) view.setBigUint64(at, BigInt.asUintN(64, value), true);
      else if (type.size === 4) view.setUint32(at, Number(value & 0xffff_ffffn), true);
      else if (type.size === 2) view.setUint16(at, Number(value & 0xffffn), true);
      else if (type.size === 1) view.setUint8(at, Number(value & 0xffn));
    }
  }

  /** A value that fits the name, mostly. */
  #likely(guest: Guest, name: string, type: Type<unknown>): bigint {
    if (this.#random() % 8 === 0) return this.#word(guest);
    if (/dom/.test(name)) return this.#pick(DOMIDS);
    if (isPointer(type)) return this.#vaddr(guest, LIST);
    if (/^(ptr|ma)$/.test(name)) return this.#entryAddress(guest);
    if (/^val$/.test(name)) return (this.#frame(guest) << 12n) | this.#pick(PTE_FLAGS);
    if (/^va$|host_addr|new_addr/.test(name)) return this.#vaddr(guest, this.#page());
    if (/mfn|gfn|frame|gpfn/.test(name)) return this.#frame(guest);
    if (/^arg[12]$/.test(name)) return this.#random() % 2 ? this.#frame(guest) : this.#vaddr(guest, this.#page());
    if (/order/.test(name)) return BigInt(this.#random() % 3);
    if (/^(pad|rsvd|status|flags|mem_flags|offset)/.test(name)) return this.#random() % 2 ? 0n : BigInt(this.#random() % 64);
    return this.#random() % 2 ? BigInt(this.#random() % 24) : this.#word(guest);
  }

  /** Of an entry in a scratch page, with a command of mmu_update in its low bits. */
  #entryAddress(guest: Guest): bigint {
    return (this.#frame(guest) << 12n) | BigInt((this.#random() % 512) * 8 + (this.#random() % 4));
  }

  #word(guest: Guest): bigint {
    switch (this.#random() % 12) {
      case 0:
      case 1:
      case 2:
        return this.#pick(NUMBERS);
      case 3:
        return this.#pick(DOMIDS);
      case 4:
        return this.#pick(LARGE);
      case 5:
        return this.#pick(WILD);
      case 6:
      case 7:
        return this.#vaddr(guest, this.#pick([ARG, LIST, DATA, this.#page()])) + BigInt(this.#random() % 8 === 0 ? 4090 : 0);
      case 8:
        return this.#frame(guest);
      case 9:
        return (this.#frame(guest) << 12n) | this.#pick(PTE_FLAGS);
      case 10:
        return this.#entryAddress(guest);
      default:
        return (BigInt(this.#random()) << 32n) | BigInt(this.#random());
    }
  }

  #page(): number {
    return FIRST_PAGE + (this.#random() % PAGES);
  }

  /** A scratch frame, mostly the caller's, or any. */
  #frame(guest: Guest): bigint {
    const roll = this.#random() % 8;
    if (roll === 0) return BigInt(this.#random() % this.#machine.memory.frameCount);
    const owner = roll === 1 ? this.#guests[this.#random() % 2]! : guest;
    return BigInt(owner.p2m[this.#page()]!);
  }

  #vaddr({ virtBase }: Guest, pfn: number): bigint {
    return virtBase + BigInt(pfn) * 4096n;
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#random() % list.length]!;
  }
}

export interface Fuzzed {
  readonly calls: number;
  /** The first thing that is wrong. */
  readonly wrong: string | undefined;
}

/** Makes `calls` calls, or as many as fit into so many seconds. */
export function fuzzHypercalls(seed: number, calls: number, seconds = Number.POSITIVE_INFINITY): Fuzzed {
  const random = makeRandom(seed);
  const end = performance.now() + seconds * 1000;
  let done = 0;
  while (done < calls && performance.now() < end) {
    const count = Math.min(CALLS_PER_ROUND, calls - done);
    const { calls: made, wrong } = new Round(random).run(count);
    done += made;
    if (wrong !== undefined) return { calls: done, wrong };
  }
  return { calls: done, wrong: undefined };
}
