/** Random grant_table_op calls of two domains at once: nothing throws, and the books add up. */
import t from 'tap';
import { checkInvariants } from '../../emulator/memory/invariants.ts';
import * as abi from '../../hypercalls/abi/grant_table.ts';
import { gnttab_cache_flush, gnttab_swap_grant_ref, gnttab_transfer, gnttab_unmap_and_replace } from '../../hypercalls/abi/grant_table.ts';
import { DOMID_SELF } from '../../hypercalls/abi/xen.ts';
import { releaseDomain } from '../../hypercalls/domain_release.ts';
import { checkGrants } from '../../hypercalls/grant_table/check.ts';
import { type GrantGuest, makeGuests } from '../support/grant_guest.ts';
import { Random } from '../support/random/encode.ts';

const { GNTMAP_device_map: DEVICE, GNTMAP_host_map: HOST, GNTMAP_readonly: READONLY, GNTMAP_contains_pte: PTE } = abi;
const SOURCE = abi.GNTCOPY_source_gref;
const DEST = abi.GNTCOPY_dest_gref;

const WINDOWS = 6;
const PAGES = 10;
const REFS = 24;
const WILD: readonly bigint[] = [0n, 1n, 8n, 0xfffn, 0x8000_0000_0000n, 0xffff_8000_0000_0000n, 0xffff_ffff_ffff_ffffn, 1n << 52n];

class Fuzzer {
  readonly guests: readonly GrantGuest[];
  readonly dice: Random;
  readonly #handles = new Map<GrantGuest, { handle: number; address: bigint; bus: bigint }[]>();
  readonly #l1: Map<GrantGuest, number>;

  constructor(guests: readonly GrantGuest[], dice: Random) {
    this.guests = guests;
    this.dice = dice;
    this.#l1 = new Map(guests.map((guest) => [guest, findL1(guest)]));
    for (const guest of guests) this.#handles.set(guest, []);
  }

  step(): void {
    const { dice } = this;
    const guest = dice.pick(this.guests);
    const kinds = [
      this.fillEntry,
      this.fillEntry,
      this.map,
      this.map,
      this.map,
      this.unmap,
      this.unmap,
      this.copy,
      this.copy,
      this.changeVa,
      this.other,
    ];
    dice.pick(kinds).call(this, guest);
  }

  #frame(guest: GrantGuest): number {
    const { dice } = this;
    const own = () => guest.page(dice.below(PAGES)).mfn;
    const kinds = [
      own,
      own,
      own,
      own,
      () => this.#l1.get(guest)!,
      () => guest.domain.sharedInfoMfn,
      () => dice.pick(this.guests).page(dice.below(PAGES)).mfn,
    ];
    return dice.below(30) === 0 ? dice.below(guest.memory.frameCount + 10) : dice.pick(kinds)();
  }

  #domid(): number {
    return this.dice.below(12) === 0 ? this.dice.pick([0, DOMID_SELF, 999]) : this.dice.pick(this.guests).id;
  }

  #ref(): number {
    return this.dice.below(20) === 0 ? this.dice.pick([255, 256, 511, 512, 0xffff_ffff]) : this.dice.below(REFS);
  }

  /** An address to map at, or now and then anything. */
  #address(guest: GrantGuest, isPte: boolean): bigint {
    const { dice } = this;
    if (dice.below(25) === 0) return dice.pick(WILD);
    const vaddr = guest.window(dice.below(WINDOWS));
    return isPte ? BigInt(this.#l1.get(guest)!) * 4096n + ((vaddr >> 12n) & 511n) * 8n : vaddr;
  }

  fillEntry(guest: GrantGuest): void {
    const { dice } = this;
    const ref = dice.below(REFS);
    const flags = dice.pick([0, 1, 1, 1, 1, 1, 1, 5, 5, 2, 2, 6, 3, 0x101, 0x105, 0x19, 0xffff]);
    guest.grant(ref, this.#domid(), this.#frame(guest), flags);
    if (dice.below(4) === 0) guest.memory.view.setUint16(guest.entry(ref) + 4, dice.below(3000), true);
  }

  map(guest: GrantGuest): void {
    const { dice } = this;
    const flags =
      dice.below(20) === 0
        ? dice.below(2 ** 20)
        : dice.pick([HOST, HOST, DEVICE, HOST | DEVICE, HOST | PTE]) | dice.pick([0, READONLY, READONLY, 8]);
    const address = this.#address(guest, (flags & PTE) !== 0);
    const { status, handle, bus } = guest.map(this.#domid(), this.#ref(), address, flags);
    if (status === 0) this.#handles.get(guest)!.push({ handle, address, bus });
  }

  unmap(guest: GrantGuest): void {
    const { dice } = this;
    const known = this.#handles.get(guest)!;
    const i = dice.below(known.length);
    const mapping = known[i] ?? { handle: dice.below(300), address: this.#address(guest, false), bus: 0n };
    const address = dice.below(8) === 0 ? this.#address(guest, dice.below(2) === 0) : mapping.address;
    const handle = dice.below(20) === 0 ? dice.below(20) : mapping.handle;
    const bus = dice.pick([0n, mapping.bus, mapping.bus, mapping.bus, 4096n]);
    const new_addr = dice.pick([0n, guest.window(dice.below(WINDOWS)), guest.page(dice.below(PAGES)).vaddr]);
    if (dice.below(8) === 0) guest.status(7, gnttab_unmap_and_replace, { handle, host_addr: address, new_addr });
    else if (guest.unmap(handle, address, bus) === 0 && dice.below(2) === 0) known.splice(i, 1);
    if (known.length > 200) known.splice(0, 100);
  }

  copy(guest: GrantGuest): void {
    const { dice } = this;
    const flags = dice.below(4);
    const place = (isGrant: boolean) => ({
      u: BigInt(isGrant ? this.#ref() : this.#frame(guest)),
      domid: isGrant ? this.#domid() : DOMID_SELF,
      offset: dice.below(300),
    });
    const elements = Array.from({ length: 1 + dice.below(3) }, () => ({
      source: place((flags & SOURCE) !== 0),
      dest: place((flags & DEST) !== 0),
      len: dice.pick([0, 1, 64, 4000]),
      flags,
    }));
    guest.op(5, abi.gnttab_copy, elements);
  }

  changeVa(guest: GrantGuest): void {
    const { dice } = this;
    const vaddr = dice.below(3) === 0 ? guest.page(dice.below(PAGES)).vaddr : guest.window(dice.below(WINDOWS));
    guest.updateVa(vaddr, dice.below(3) === 0 ? 0n : (BigInt(this.#frame(guest)) << 12n) | dice.pick([5n, 7n, 7n]));
  }

  other(guest: GrantGuest): void {
    const { dice } = this;
    const mfn = this.#frame(guest);
    switch (dice.below(10)) {
      case 0:
        return void guest.status(4, gnttab_transfer, { mfn: BigInt(mfn), domid: this.#domid(), ref: this.#ref() });
      case 1:
        return void guest.status(11, gnttab_swap_grant_ref, { ref_a: this.#ref(), ref_b: this.#ref() });
      case 2:
        return void guest.setVersion(dice.below(4));
      case 3:
        return void guest.setupTable(dice.below(6), this.#domid());
      case 4:
        return void guest.op(12, gnttab_cache_flush, [
          { a: BigInt(mfn) << 12n, offset: dice.below(5000), length: dice.below(200), op: dice.below(5) },
        ]);
      case 5:
        return void guest.mmuext(dice.pick([0, 0, 1, 4, 4, 4]), mfn);
      case 6:
        return void guest.decreaseReservation(mfn);
      case 7:
        return void guest.populatePhysmap(0x220 + dice.below(PAGES));
      case 8:
        return void guest.call(20, dice.below(16), dice.pick(WILD), dice.below(3));
      default:
        return void guest.status(9, abi.gnttab_get_status_frames, {
          dom: DOMID_SELF,
          nr_frames: dice.below(3),
          frame_list: dice.pick(WILD),
        });
    }
  }
}

/** The L1 table that the windows are in. */
function findL1(guest: GrantGuest): number {
  guest.enter();
  const walk = guest.machine.cpu.walk(guest.window(0));
  return Number(walk.at(-1)!.entryMaddr) >>> 12;
}

/** Calls of each round, and rounds: each with new domains, of which some begin with version 2. */
const CALLS = 10_000;
const ROUNDS = 4;

t.test('random calls of two domains: nothing throws, and the books add up after each thousand', async (t) => {
  const seed = Number(process.env.FUZZ_SEED ?? 20261122);
  t.comment(`seed ${seed} (FUZZ_SEED=${seed} repeats it)`);
  const dice = new Random(seed);
  const calls = Number(process.env.FUZZ_CALLS ?? CALLS);
  for (let round = 0; round < ROUNDS; round++) {
    const guests = makeGuests(2);
    const { memory, host } = guests[0]!.machine;
    const check = (when: string) => {
      const wrong = checkInvariants(memory) ?? checkGrants(host);
      if (wrong !== undefined) throw new Error(`round ${round}, ${when}: ${wrong}`);
    };
    for (const [i, guest] of guests.entries()) {
      guest.domain.maxPages += 16;
      if (round & (1 << i)) guest.setVersion(2);
    }
    const fuzzer = new Fuzzer(guests, dice);
    for (let i = 1; i <= calls; i++) {
      fuzzer.step();
      if (i % 1000 === 0) check(`after ${i} calls`);
    }
    for (const { domain } of guests) {
      releaseDomain(host, domain);
      check(`at the end of domain ${domain.id}`);
    }
    for (const { id } of guests) t.notOk(memory.owner.includes(id), `round ${round}: no frame of domain ${id} is left`);
  }
});
