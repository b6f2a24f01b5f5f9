/**
 * A runqueue: some cpus, the units that are theirs, and among these the queue of those that wait, most credit first. The
 * cpus' masks say who is idle, who has been told to decide anew (tickled), and which cores will stay idle (smtIdle).
 */
import { CpuMask } from './cpu_mask.ts';
import type { Unit } from './unit.ts';

export class Runqueue {
  readonly id: number;
  readonly active: CpuMask;
  readonly idle: CpuMask;
  readonly tickled: CpuMask;
  /** Every thread of these cpus' cores is idle and not tickled. */
  readonly smtIdle: CpuMask;
  cpuCount = 0;
  /** Where the last unit was put: the next one goes to the cpu after it. */
  pickBias = 0;
  maxWeight = 1;
  /** Units that run or wait. */
  load = 0;
  /** Averages of it; the balancer's one foresees what was moved. */
  avgload = 0;
  balanceAvgload = 0;
  loadLastUpdate = 0;
  /** All units that are its, in the order they came. */
  readonly units: Unit[] = [];
  first: Unit | undefined;
  #last: Unit | undefined;

  constructor(id: number, cpuCount: number) {
    this.id = id;
    this.active = new CpuMask(cpuCount);
    this.idle = new CpuMask(cpuCount);
    this.tickled = new CpuMask(cpuCount);
    this.smtIdle = new CpuMask(cpuCount);
  }

  /** Behind all that have as much credit. */
  insert(unit: Unit): void {
    const { credit } = unit;
    let before = this.#last;
    let behind: Unit | undefined;
    // From the end that is nearer as far as credits tell.
    if (before !== undefined && credit - before.credit > this.first!.credit - credit) {
      behind = this.first;
      while (behind !== undefined && credit <= behind.credit) behind = behind.next;
      before = behind === undefined ? this.#last : behind.previous;
    } else {
      while (before !== undefined && credit > before.credit) {
        behind = before;
        before = before.previous;
      }
    }
    unit.previous = before;
    unit.next = behind;
    if (before === undefined) this.first = unit;
    else before.next = unit;
    if (behind === undefined) this.#last = unit;
    else behind.previous = unit;
    unit.isQueued = true;
  }

  remove(unit: Unit): void {
    const { previous, next } = unit;
    if (previous === undefined) this.first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    unit.previous = undefined;
    unit.next = undefined;
    unit.isQueued = false;
  }

  /** The unit is this runqueue's from now on, and with it the load that it brings. */
  assign(unit: Unit): void {
    unit.runqueue = this;
    this.units.push(unit);
    this.updateMaxWeight(unit.weight, 0);
    this.balanceAvgload += unit.avgload;
  }

  deassign(unit: Unit): void {
    this.units.splice(this.units.indexOf(unit), 1);
    this.updateMaxWeight(0, unit.weight);
    this.balanceAvgload = Math.max(this.balanceAvgload - unit.avgload, 0);
    unit.runqueue = undefined;
  }

  /** A unit's weight was `oldWeight` and is `newWeight`; 0: it was not here, is here no longer. */
  updateMaxWeight(newWeight: number, oldWeight: number): void {
    if (newWeight > this.maxWeight) this.maxWeight = newWeight;
    else if (oldWeight === this.maxWeight) this.maxWeight = this.units.reduce((max, { weight }) => Math.max(max, weight), 1);
  }

  markTickled(cpu: number, siblings: CpuMask): void {
    this.tickled.add(cpu);
    this.#wakeCore(siblings);
  }

  clearTickled(cpu: number, siblings: CpuMask): void {
    if (!this.tickled.has(cpu)) return;
    this.tickled.delete(cpu);
    this.#restCore(siblings);
  }

  markIdle(cpu: number, siblings: CpuMask): void {
    if (this.idle.has(cpu)) return;
    this.idle.add(cpu);
    this.#restCore(siblings);
  }

  clearIdle(cpu: number, siblings: CpuMask): void {
    if (!this.idle.has(cpu)) return;
    this.idle.delete(cpu);
    this.#wakeCore(siblings);
  }

  #wakeCore(siblings: CpuMask): void {
    if (siblings.isSubsetOf(this.smtIdle)) this.smtIdle.andNot(siblings);
  }

  #restCore(siblings: CpuMask): void {
    if (siblings.isSubsetOf(this.idle) && !siblings.intersects(this.tickled)) this.smtIdle.or(siblings);
  }
}
