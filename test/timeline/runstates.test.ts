/** Runstates account for every nanosecond: on random hosts, at every change that anybody could see. */
import t from 'tap';
import type { Domain } from '../../emulator/domain.ts';
import { guestNs } from '../../emulator/guest_time.ts';
import { runSlice } from '../../emulator/run.ts';
import { STRIDE_NS } from '../../emulator/scheduler/cores.ts';
import { CpuMask } from '../../emulator/scheduler/credit2/cpu_mask.ts';
import type { Timeline } from '../../emulator/timeline/timeline.ts';
import type { Vcpu } from '../../emulator/vcpu.ts';
import { RUNSTATE_offline } from '../../hypercalls/abi/vcpu.ts';
import { readRunstate } from '../../hypercalls/vcpu/runstate.ts';
import { Random } from '../support/random/encode.ts';
import { quickOr } from '../support/thorough.ts';
import { TracedHost } from './traced_host.ts';

const MS = 1_000_000;
const SEEDS = quickOr(5, 10);
const STEPS = 12;

t.setTimeout(300_000);

/** A host of random domains to which random things happen; each vCPU has a ledger of our own. */
class RandomHost {
  readonly random: Random;
  readonly cores: number;
  readonly host: TracedHost;
  readonly mistakes: string[] = [];
  changes = 0;
  readonly #births = new Map<Domain, number>();
  readonly #ledgers = new Map<Vcpu, { state: number; since: number; readonly time: number[] }>();

  /** The latest time that each has seen. */
  readonly #seen = new Map<Vcpu, number>();

  constructor(seed: number) {
    this.random = new Random(seed);
    this.cores = 1 + this.random.below(4);
    this.host = new TracedHost(this.cores, [], { memorySize: 96 << 20 });
    const ignore = (): void => {};
    const timeline: Timeline = {
      runstateChanged: (vcpu, state) => this.#change(vcpu, state),
      hypercallBegins: ignore,
      hypercallEnds: (vcpu) => {
        this.check(vcpu);
        this.#look(vcpu);
      },
      eventRaised: (vcpu) => this.check(vcpu),
      upcallBegins: (vcpu) => this.check(vcpu),
      domainEnds: ignore,
    };
    this.host.machine.timeline = timeline;
    for (let i = 0; i < 3; i++) this.#add();
  }

  get domains(): Domain[] {
    return [...this.#births.keys()];
  }

  #add(): void {
    const { random, host } = this;
    const born = host.machine.clock.ns;
    const cmdline = random.below(4) === 0 ? '' : `work=${50 + random.below(2000)} sleep=${50 + random.below(2000)}`;
    const domain = host.add({ guest: 'spin', vcpus: 1 + random.below(3), weight: 1 + random.below(1000), cmdline });
    this.#births.set(domain, born);
    this.#cap(domain);
  }

  #cap(domain: Domain): void {
    this.host.machine.cores.scheduler.adjust(domain.credit!, { cap: this.random.below(3) === 0 ? 10 + this.random.below(90) : 0 });
  }

  #change(vcpu: Vcpu, state: number): void {
    this.changes++;
    this.check(vcpu);
    const ledger = this.#ledgerOf(vcpu);
    const now = Math.max(guestNs(this.host.machine, vcpu.domain), ledger.since);
    ledger.time[ledger.state]! += now - ledger.since;
    ledger.since = now;
    ledger.state = state;
  }

  #ledgerOf(vcpu: Vcpu): { state: number; since: number; readonly time: number[] } {
    const since = this.#births.get(vcpu.domain) ?? this.host.machine.clock.ns;
    const ledger = this.#ledgers.get(vcpu) ?? { state: RUNSTATE_offline, since, time: [0, 0, 0, 0] };
    this.#ledgers.set(vcpu, ledger);
    return ledger;
  }

  /** What the vCPU's guest would read now. */
  check(vcpu: Vcpu): void {
    const born = this.#births.get(vcpu.domain);
    if (born === undefined) return;
    const { machine } = this.host;
    const { state, state_entry_time, time } = readRunstate(machine, vcpu);
    const entry = Number(state_entry_time);
    const now = guestNs(machine, vcpu.domain);
    const elapsed = Math.max(now, entry) - born;
    const sum = time.reduce((sum, value) => sum + Number(value), 0);
    if (sum !== elapsed) this.mistakes.push(`${vcpu.name} at ${now}: ${time.join(' + ')} is ${sum}, not ${elapsed}`);
    if (entry - now > STRIDE_NS) this.mistakes.push(`${vcpu.name} at ${now}: its state began at ${entry}, more than a stride ahead`);
    const ledger = this.#ledgerOf(vcpu);
    const told = ledger.time.map((value, i) => value + (i === ledger.state ? Math.max(0, now - ledger.since) : 0));
    if (ledger.state !== state || told.some((value, i) => value !== Number(time[i])))
      this.mistakes.push(`${vcpu.name} at ${now}: ${time.join(' ')}, but it was ${told.join(' ')}`);
  }

  /** The vCPU, which runs, looks at its clock. */
  #look(vcpu: Vcpu): void {
    const now = guestNs(this.host.machine, vcpu.domain);
    const before = this.#seen.get(vcpu) ?? 0;
    if (now < before) this.mistakes.push(`${vcpu.name} saw ${before}, and now sees ${now}`);
    this.#seen.set(vcpu, now);
  }

  /** Something that a toolstack does. */
  act(): void {
    const { random, domains, host } = this;
    const { machine } = host;
    const domain = domains[random.below(domains.length)]!;
    const acts = [
      () => machine.pause(domain),
      () => domains.forEach((each) => void machine.unpause(each)),
      () => domains.length < 6 && this.#add(),
      () => domains.length > 2 && this.#destroy(domain),
      () => this.#cap(domain),
      () => machine.cores.scheduler.setAffinity(domain.vcpus[0]!.unit!, { hard: new CpuMask(this.cores, [random.below(this.cores)]) }),
    ];
    random.pick(acts)();
  }

  #destroy(domain: Domain): void {
    this.host.machine.destroy(domain);
    this.#births.delete(domain);
  }

  run(ns: number): void {
    const { machine } = this.host;
    const end = machine.clock.ns + ns;
    let isOver = false;
    machine.timers.set(end, () => {
      isOver = true;
    });
    while (!isOver) runSlice(machine, 20_000 + this.random.below(50_000));
    for (const { vcpus } of this.domains) for (const vcpu of vcpus) this.check(vcpu);
  }
}

for (let seed = 1; seed <= SEEDS; seed++) {
  t.test(`the four runstates of every vCPU add up to its age, seed ${seed}`, (t) => {
    const host = new RandomHost(seed);
    for (let step = 0; step < STEPS; step++) {
      host.run((1 + host.random.below(4)) * MS);
      host.act();
    }
    t.same(host.mistakes.slice(0, 5), []);
    t.ok(host.changes > 20, `${host.changes} changes on ${host.cores} cores`);
    t.end();
  });
}
